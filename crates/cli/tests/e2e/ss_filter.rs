//! `fourwave ss` with filters beside iproute2's ss, which looks at the same connections from the other end; what `--follow` prints;
//! connections ended from outside; `fourwave top`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{self, FOURWAVE, SOON, json, ok, run, stderr};
use crate::ss::holding;
use crate::support::{Server, eventually, good, lab, peer, text, within};

/// A filter of ours, and the same from the kernel's end.
const FILTERS: [(&str, &str); 22] = [
    ("state established", "state established"),
    ("state all", "state all"),
    ("exclude established exclude listening", "exclude established exclude listening"),
    ("state connected exclude time-wait", "state connected exclude time-wait"),
    ("state big exclude listening", "state big exclude listening"),
    ("sport = :7", "dport = :7"),
    ("sport eq echo", "dport eq echo"),
    ("sport :7 dst 10.77.0.2", "dport :7 src 10.77.0.2"),
    ("sport = 7 and dst = 10.77.0.0/24", "dport = 7 and src = 10.77.0.0/24"),
    ("dst 10.77/16", "src 10.77/16"),
    ("not dst 10.77.0.0/16", "not src 10.77.0.0/16"),
    ("dport >= :P", "sport >= :P"),
    ("dport < :P", "sport < :P"),
    ("dport le P", "sport le P"),
    ("dport gt :P", "sport gt :P"),
    ("dport != :P sport = :7", "sport != :P dport = :7"),
    ("dst 10.77.0.2:P", "src 10.77.0.2:P"),
    ("dst :P or dport = :P", "src :P or sport = :P"),
    // From the left, without precedence.
    ("dport = :P or sport = :7 and dport > :P", "sport = :P or dport = :7 and sport > :P"),
    ("! ( dport = :P or dport < :P )", "! ( sport = :P or sport < :P )"),
    ("not not dport = :P", "not not sport = :P"),
    ("src *:7 && dst any", "dst *:7 && src any"),
];

/// What both take for no filter.
const WRONG: [&str; 12] = [
    "state clsoed",
    "dport =",
    "dport = :nosuchservice",
    "( dport = :1",
    "dport = :1 )",
    "( )",
    "dport = :1 and",
    "and dport = :1",
    "dport=:1",
    "dst != 10.0.0.1",
    "dport = :1 state established",
    "sprot = :1",
];

fn kernel_ss(words: &str) -> Command {
    let mut args = vec!["ss", "-tanH"];
    args.extend(words.split_whitespace());
    within("fw-b", 30, &args)
}

#[test]
fn filters_are_those_of_iproute2() {
    let _lab = lab();
    let server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "4"]);
    let pid = server.pid().to_string();
    let rows = server.connections();
    let mut ports: Vec<u16> =
        rows.iter().map(|row| row["remote"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()).collect();
    ports.sort_unstable();
    let middle = ports[1].to_string();
    for (ours, theirs) in FILTERS {
        let (ours, theirs) = (ours.replace('P', &middle), theirs.replace('P', &middle));
        let words: Vec<&str> = ["ss", "--json", "--pid", &pid].into_iter().chain(ours.split_whitespace()).collect();
        let listed = json(&ok(&words));
        let end = |row: &serde_json::Value| row["remote"].as_str().unwrap().to_owned();
        let listens = |row: &&serde_json::Value| row["state"] != "LISTEN";
        let ours_listed: BTreeSet<_> = listed.as_array().unwrap().iter().filter(listens).map(end).collect();
        let said = good(kernel_ss(&theirs));
        // Of one state alone ss leaves the column away.
        let column = |line: &str| line.split_whitespace().find(|word| word.contains(':')).map(ToOwned::to_owned);
        let kernels: BTreeSet<_> = said.lines().filter_map(column).collect();
        assert_eq!(ours_listed, kernels, "`{ours}` and from there `{theirs}`");
    }
    for words in WRONG {
        let kernel = kernel_ss(words).stdin(Stdio::null()).output().unwrap();
        assert!(!kernel.status.success(), "iproute2 takes `{words}`");
        let output = run(&["ss"].into_iter().chain(words.split_whitespace()).collect::<Vec<_>>());
        assert_eq!(
            (output.status.code(), stderr(&output).lines().count()),
            (Some(2), 1),
            "{words}: {}",
            stderr(&output)
        );
        assert!(stderr(&output).contains("of the filter"), "{words}: {}", stderr(&output));
    }
    let listening = json(&ok(&["ss", "-l", "--json", "--pid", &pid]));
    assert_eq!((listening.as_array().unwrap().len(), &listening[0]["state"]), (1, &"LISTEN".into()));
    assert_eq!(listening[0]["listener"]["half_open_connections"], 0);
    assert_eq!(json(&ok(&["ss", "-a", "--json", "--pid", &pid])).as_array().unwrap().len(), 5);
    drop(client.stdin.take());
    client.wait().unwrap();
    server.stop();
}

/// Why nothing is sent: as the kernel's `rwnd_limited` has it where the peer does not read.
#[test]
fn a_peer_that_does_not_read_is_why_and_bytes_are_counted() {
    let _lab = lab();
    let server = Server::echo();
    let mut client = peer("fw-b", "stubborn", &["10.77.0.1", "7"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the peer's window keeps it", || {
        let rows = server.connections();
        rows.len() == 1 && rows[0]["why"] == "peer-window" && rows[0]["unsent_bytes"].as_u64().unwrap() > 0
    });
    let pid = server.pid().to_string();
    let row = &server.connections()[0];
    let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"));
    assert!(row["why_means"].as_str().unwrap().contains("receive window"), "{row}");
    assert_eq!(number("send_queue_bytes"), number("unsent_bytes") + number("unacked_bytes"), "{row}");
    assert_eq!(number("bytes_sent"), number("bytes_acked") + number("unacked_bytes"), "{row}");
    assert!(number("mss_bytes") >= 1000 && row["rto_ms"].as_f64().unwrap() >= 200.0, "{row}");
    let field = |kernel: &str, name: &str| {
        kernel.split(name).nth(1).unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    // Its last ACK may be on its way.
    eventually("what is acknowledged is what has come", || {
        let acked = server.connections()[0]["bytes_acked"].as_u64();
        acked == Some(field(&good(kernel_ss("-i dport = :7")), "bytes_received:"))
    });
    let kernel = good(kernel_ss("-i dport = :7"));
    // What our application has not made room for is in flight, or not sent: never more than the kernel says it sent.
    assert!(number("bytes_received") <= field(&kernel, "bytes_sent:"), "{kernel}");
    let shown = ok(&["ss", "-i", "--pid", &pid]);
    assert!(shown.contains("peer-window: the peer's receive window") && shown.contains(" bytes_acked:"), "{shown}");
    drop(client.stdin.take());
    client.wait().unwrap();
    server.assert_empty();
    server.stop();
}

/// As with `ss -K`: the peer's kernel says ECONNRESET.
#[test]
fn kill_resets_what_matches_and_close_is_in_order() {
    let _lab = lab();
    let server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "3"]);
    let pid = server.pid().to_string();
    let remotes: Vec<String> =
        server.connections().iter().map(|row| row["remote"].as_str().unwrap().to_owned()).collect();
    for flag in ["--kill", "--close"] {
        let output = run(&["ss", "--pid", &pid, flag]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("needs a filter"), "{}", stderr(&output));
    }
    assert_eq!(server.connections().len(), 3);
    assert_eq!(ok(&["ss", "--pid", &pid, "-K", "dst", "192.0.2.1"]), "0 connections were reset\n");
    let killed = json(&ok(&["ss", "--pid", &pid, "--json", "-K", "dst", &remotes[0]]));
    assert_eq!((&killed["connections"], &killed["how"]), (&1.into(), &"kill".into()));
    // The kernel's side of it is gone at once.
    eventually("it is reset", || good(kernel_ss(&format!("src {}", remotes[0]))).is_empty());
    assert_eq!(server.connections().len(), 2);
    assert!(ok(&["ss", "--pid", &pid, "--close", "dst", &remotes[1]]).starts_with("1 connection was closed"));
    eventually("its FIN has come", || good(kernel_ss(&format!("src {}", remotes[1]))).starts_with("CLOSE-WAIT"));
    let state = |remote: &str| {
        let rows = server.connections();
        rows.iter().find(|row| row["remote"] == remote).map(|row| row["state"].as_str().unwrap().to_owned())
    };
    eventually("it is acknowledged", || state(&remotes[1]).as_deref() == Some("FIN-WAIT-2"));
    assert_eq!(state(&remotes[2]).as_deref(), Some("ESTABLISHED"));
    drop(client.stdin.take());
    client.wait().unwrap();
    server.assert_empty();
    server.stop();
}

#[test]
fn follow_prints_what_changes_until_ctrl_c() {
    let _lab = lab();
    let server = Server::echo();
    let pid = server.pid().to_string();
    let mut first = holding(&["10.77.0.1", "7", "1"]);
    let mut plain = follow(&["--pid", &pid, "--interval", "0.1", "sport", "=", ":7"]);
    let mut documented = follow(&["--pid", &pid, "--interval", "0.1", "--json"]);
    // They look at different moments.
    let both = |plain: &mut Follow, documented: &mut Follow| {
        plain.until(|line| line.starts_with("+ ESTABLISHED"));
        documented.until(|line| line.contains("\"change\":\"new\"") && line.contains("\"state\":\"ESTABLISHED\""));
    };
    both(&mut plain, &mut documented);
    let mut second = holding(&["10.77.0.1", "7", "1", "close=0"]);
    both(&mut plain, &mut documented);
    let remote = json(&ok(&["ss", "--json", "--pid", &pid]))[1]["remote"].as_str().unwrap().to_owned();
    ok(&["ss", "--pid", &pid, "--close", "dst", &remote]);
    plain.until(|line| line.starts_with("~ TIME-WAIT") && line.contains("(state"));
    documented.until(|line| line.contains("\"change\":\"changed\"") && line.contains("\"state\":\"TIME-WAIT\""));
    drop(first.stdin.take());
    first.wait().unwrap();
    plain.until(|line| line.starts_with("- "));
    documented.until(|line| line.contains("\"change\":\"gone\""));
    let (code, _) = plain.interrupt();
    assert_eq!(code, Some(0));
    let (code, said) = documented.interrupt();
    assert_eq!(code, Some(0));
    let changes = json(&said);
    let kinds: BTreeSet<_> = changes.as_array().unwrap().iter().map(|row| row["change"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["changed", "gone", "new"]), "{changes}");
    assert!(changes[0]["row"].is_null() && changes[0]["local"] == "10.77.0.1:7", "the row's keys are its own");
    drop(second.stdin.take());
    second.wait().unwrap();
    server.stop();
}

/// Nothing is known to have changed of a process that is stopped; it is named once, and followed again when it goes on.
#[test]
fn a_process_that_is_stopped_is_followed_again() {
    let _lab = lab();
    let server = Server::echo();
    let mut first = holding(&["10.77.0.1", "7", "1"]);
    let mut followed = follow(&["--pid", &server.pid().to_string(), "--interval", "0.1", "sport", "=", ":7"]);
    followed.until(|line| line.starts_with("+ ESTABLISHED"));
    server.signal(Signal::STOP);
    let named = format!("its connections are taken to be as they were: process {} does not answer", server.pid());
    followed.until(|line| line.contains(&named));
    // As long again as it took to say so.
    std::thread::sleep(Duration::from_secs(6));
    server.signal(Signal::CONT);
    let mut second = holding(&["10.77.0.1", "7", "1"]);
    followed.until(|line| line.starts_with("+ ESTABLISHED"));
    let (code, said) = followed.interrupt();
    assert_eq!((code, said.matches(&named).count(), said.contains("\n- ")), (Some(0), 1, false), "{said}");
    for client in [&mut first, &mut second] {
        drop(client.stdin.take());
        client.wait().unwrap();
    }
    server.stop();
}

/// A `fourwave ss --follow` that runs.
struct Follow {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
    said: String,
}

fn follow(args: &[&str]) -> Follow {
    let mut command = Command::new(FOURWAVE);
    command.args(["ss", "--follow"]).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let (stdout, to) = (BufReader::new(child.stdout.take().unwrap()), sender.clone());
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    Follow { child, lines, said: String::new() }
}

impl Follow {
    fn until(&mut self, wanted: impl Fn(&str) -> bool) {
        loop {
            let line = self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("not in {}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
            if wanted(&line) {
                return;
            }
        }
    }

    fn interrupt(&mut self) -> (Option<i32>, String) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let status = self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        (status.code(), std::mem::take(&mut self.said))
    }
}

#[test]
fn top_shows_shards_and_who_does_most_and_gives_the_terminal_back() {
    let _lab = lab();
    let server = Server::echo();
    let pid = server.pid().to_string();
    let mut client = holding(&["10.77.0.1", "7", "2"]);
    let document = json(&ok(&["top", "--json", "--pid", &pid, "--interval", "0.2", "--count", "2"]));
    let frames = document["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!((&frames[0]["shards"][0]["connections"], &frames[0]["why"]["application"]), (&2.into(), &2.into()));
    assert_eq!(frames[0]["connections"].as_array().unwrap().len(), 2);
    let plain = ok(&["top", "--pid", &pid, "--interval", "0.1", "--count", "1", "--lines", "1"]);
    assert!(!plain.contains('\x1b') && plain.matches("ESTABLISHED").count() == 1, "{plain}");
    // On a terminal, by a signal: script(1) gives it one.
    let command = format!("exec {FOURWAVE} top --pid {pid} --interval 0.1");
    let mut script = Command::new("timeout");
    script.args(["--signal=INT", "--foreground", "180", "script", "-qefc", &command, "/dev/null"]);
    let mut child = script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    while !text(&shown).contains("connections 2: application 2") {
        let bytes = stdout.read(&mut piece).unwrap();
        assert!(bytes > 0, "{:?}", text(&shown));
        shown.extend(&piece[..bytes]);
    }
    for top in top_of(&pid) {
        kill_process(Pid::from_raw(top).unwrap(), Signal::INT).unwrap();
    }
    stdout.read_to_end(&mut shown).unwrap();
    child.wait().unwrap();
    let shown = text(&shown);
    assert!(shown.starts_with("\x1b[?1049h\x1b[?25l"), "{shown:?}");
    assert!(shown.trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "{shown:?}");
    assert!(shown.contains("\x1b[Hconnections 2: application 2\x1b[K"), "{shown:?}");
    drop(client.stdin.take());
    client.wait().unwrap();
    server.stop();
}

/// The processes that show this one.
fn top_of(pid: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let is = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(text).collect();
        words.first().is_some_and(|word| word == FOURWAVE)
            && words[1..].starts_with(&["top".into(), "--pid".into(), pid.into()])
    };
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is).collect()
}

/// The loop turns for others while very many are listed: a listing asks it for a piece at a time.
#[test]
fn a_listing_of_many_connections_holds_up_nobody() {
    const MANY: &str = "3000";
    let _lab = lab();
    let server = Server::echo();
    let pid = server.pid().to_string();
    let mut client = holding(&["10.77.0.1", "7", MANY]);
    assert_eq!(json(&ok(&["ss", "--json", "--pid", &pid])).as_array().unwrap().len(), 3000);
    let one = server.connections()[1500]["remote"].as_str().unwrap().to_owned();
    assert_eq!(json(&ok(&["ss", "--json", "--pid", &pid, "dst", &one])).as_array().unwrap().len(), 1);
    // As one who lists without a pause, while an echo is asked for: both get on.
    let listing = Command::new("sh")
        .args(["-c", &format!("while :; do {FOURWAVE} ss --pid {pid} >/dev/null || exit; done")])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let said =
        good(common::in_namespace("fw-b", &["ping", "10.77.0.1:7", "--stack", "kernel", "--count", "200", "--json"]));
    let mut listing = listing;
    listing.kill().unwrap();
    listing.wait().unwrap();
    let answer = json(&said);
    assert_eq!((&answer["count"], &answer["errors"]), (&200.into(), &0.into()), "{answer}");
    drop(client.stdin.take());
    client.wait().unwrap();
    server.stop();
}
