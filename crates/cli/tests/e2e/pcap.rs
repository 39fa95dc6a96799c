//! `fourwave pcap`: what it captures beside what tcpdump sees at the peer's end, as tshark reads it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::capture::{Capture, lines_of};
use crate::common::{self, FOURWAVE, LabTurn, SOON, json, ok, run};
use crate::support::{Server, bulk, eventually, good, lab, need, peer, sentence, text};

/// A file that is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(Path::new("/run").join(name))
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `fourwave pcap` of a server, which captures when this was made. Killed when the test is over.
struct Pcap {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Pcap {
    fn start(server: &Server, args: &[&str]) -> Self {
        Self::start_to(server, args, Stdio::piped())
    }

    fn start_to(server: &Server, args: &[&str], stdout: Stdio) -> Self {
        let mut command = Command::new(FOURWAVE);
        command.args(["pcap", "--pid", &server.pid().to_string()]).args(args);
        let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("capturing on fw-a0"), "{line}");
        Self { child, said }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its end, which must come: exit code, stdout, and what it said since it began.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut texts = [String::new(), String::new()];
        self.said.read_to_string(&mut texts[0]).unwrap();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut texts[1]).unwrap();
        }
        let code = self.child.wait().unwrap().code();
        let [said, stdout] = texts;
        (code, stdout, said)
    }

    /// Whether it has ended.
    fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ctrl-C; its summary.
    fn stop(self) -> Value {
        self.signal(Signal::INT);
        let (code, stdout, said) = self.end();
        assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
        json(&stdout)
    }
}

impl Drop for Pcap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs tshark, which must have nothing to complain of; its stdout.
fn tshark(args: &[&str]) -> String {
    need("tshark", "tshark");
    quiet(&Command::new("tshark").args(args).stdin(Stdio::null()).output().unwrap())
}

fn quiet(output: &Output) -> String {
    let said = common::stderr(output);
    let complaints: Vec<_> = said.lines().filter(|line| !line.starts_with("Running as user")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:#?}");
    text(&output.stdout)
}

/// Nothing is malformed, nothing is wrong, and every checksum is right where the whole frame is there.
fn assert_sound(file: &str) {
    let checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
    let experts = tshark(&[&["-r", file, "-q", "-z", "expert,error"], &checks[..]].concat());
    assert!(!experts.contains("Errors"), "{experts}");
    let malformed = tshark(&["-r", file, "-Y", "_ws.malformed or frame.len != frame.cap_len"]);
    assert_eq!(malformed, "");
    // Of a sum of zero the kernel writes the other zero (CSUM_MANGLED_0), which is right for UDP: one frame of 65,536.
    let odd = "(tcp.checksum.status == 0 and not (tcp.checksum == 0xffff and ip.src == 10.77.0.2)) or ip.checksum.status == 0";
    let wrong = [&["-r", file, "-Y", odd], &checks[..]].concat();
    assert_eq!(tshark(&wrong), "");
}

/// A field of every frame.
fn field(file: &str, name: &str) -> Vec<String> {
    tshark(&["-r", file, "-T", "fields", "-e", name]).lines().map(str::to_owned).collect()
}

/// Both ways, every segment once and as it was on the wire: with checksums that are left to somebody else, in frames of several
/// buffers, and where half of them arrive at the wrong shard.
#[test]
fn what_is_captured_is_what_the_peer_s_tcpdump_saw() {
    need("tcpdump", "tcpdump");
    let turn = LabTurn::take();
    let cases = [
        (&[][..], ""),
        (&[], " --tx-checksum software"),
        (&["--mtu", "9000"], ""),
        (&["--queues", "4"], " --xdp-mode native"),
    ];
    for (link, flags) in cases {
        ok(&[&["lab", "up"], link].concat());
        let server = Server::start(&format!("echo --listen 10.77.0.1:7{flags}"));
        let file = Scratch::new("ours.pcapng");
        let pcap = Pcap::start(&server, &["-w", file.name(), "--tcb", "--json", "--buffer-bytes", "16777216", "tcp"]);
        let theirs = Capture::of(|| {
            good(peer("fw-b", "many", &["10.77.0.1", "7", "8"]));
            bulk("10.77.0.1", "7", "2");
            server.assert_empty();
        });
        let summary = pcap.stop();
        assert_eq!((&summary["dropped"], &summary["ended"]), (&0.into(), &"asked".into()), "{summary}");
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let (ours, theirs) = (sorted(lines_of(&file.0)), sorted(theirs.lines()));
        assert!(theirs.len() > 500 || link.len() == 2, "{}", theirs.len());
        assert_eq!(summary["frames"], ours.len());
        let odd = |these: &[String], those: &[String]| {
            these.iter().filter(|line| those.binary_search(line).is_err()).take(3).cloned().collect::<Vec<_>>()
        };
        assert!(
            ours == theirs,
            "{link:?} {flags}: {} and {}: {:#?} {:#?}",
            ours.len(),
            theirs.len(),
            odd(&ours, &theirs),
            odd(&theirs, &ours)
        );
        assert_sound(file.name());
        let times: Vec<f64> = field(file.name(), "frame.time_epoch").iter().map(|time| time.parse().unwrap()).collect();
        assert!(times.is_sorted());
        // Inbound is 1, outbound 2; the peer's frames come in.
        let directions = field(file.name(), "frame.packet_flags_direction");
        let sources = field(file.name(), "ip.src");
        for (direction, source) in directions.iter().zip(&sources) {
            let expected = if source == "10.77.0.1" { "0x00000002" } else { "0x00000001" };
            assert_eq!(direction, expected, "{source}");
        }
        let comments = field(file.name(), "frame.comment");
        for says in ["SYN-RECEIVED", "from SYN-RECEIVED to ESTABLISHED, cwnd ", "ssthresh ", "srtt ", "in flight "] {
            assert!(comments.iter().any(|comment| comment.contains(says)), "{says}");
        }
        if link.contains(&"--queues") {
            let mut queues = field(file.name(), "frame.interface_name");
            queues.sort();
            queues.dedup();
            assert!(queues.len() > 1 && queues[0].starts_with("fw-a0 queue "), "{queues:?}");
            assert!(comments.iter().any(|comment| comment == "handed to another shard"));
        } else {
            assert!(comments.iter().all(|comment| !comment.is_empty()));
        }
        server.stop();
        ok(&["lab", "down"]);
    }
    drop(turn);
}

/// A pipe into tshark: those that the filter chooses, cut, and not one more than asked for.
#[test]
fn a_pipe_has_what_the_filter_chooses_up_to_the_snap_length() {
    let _lab = lab();
    let server = Server::echo();
    let args = ["--snaplen", "60", "--count", "20", "tcp dst port 7", "and greater 1000"];
    let mut pcap = Pcap::start(&server, &args);
    let mut command = Command::new("tshark");
    command.args(["-r", "-", "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len", "-e", "tcp.dstport"]);
    let reader = command.stdin(pcap.child.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let reader = reader.spawn().unwrap();
    bulk("10.77.0.1", "7", "1");
    let lines = quiet(&reader.wait_with_output().unwrap());
    assert_eq!(lines.lines().count(), 20, "{lines}");
    for line in lines.lines() {
        let [kept, len, port] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!((kept, port), ("60", "7"));
        assert!(len.parse::<u32>().unwrap() >= 1000, "{line}");
    }
    let (code, _, said) = pcap.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("20 frames captured; "), "{said}");
    server.stop();
}

#[test]
fn a_ring_keeps_the_last_files_and_each_is_whole() {
    let _lab = lab();
    let server = Server::echo();
    let name = "/run/ring.pcapng";
    let pcap = Pcap::start(&server, &["-w", name, "--ring-files", "3", "--ring-bytes", "100000", "--json"]);
    bulk("10.77.0.1", "7", "2");
    let summary = pcap.stop();
    let files: Vec<_> = summary["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    let there = || {
        let entries = std::fs::read_dir("/run").unwrap().flatten().map(|entry| entry.path().display().to_string());
        let mut files: Vec<_> = entries.filter(|path| path.starts_with("/run/ring_")).collect();
        files.sort();
        files
    };
    assert_eq!((files.len(), there()), (3, files.iter().map(|file| (*file).to_owned()).collect()));
    // Two megabytes each way are more than forty files.
    assert!(files[0] > "/run/ring_00038", "{files:?}");
    for file in &files {
        assert_sound(file);
        let len = std::fs::metadata(file).unwrap().len();
        assert!(len < 104_000 && (len > 100_000 || *file == files[2]), "{file} has {len}");
        std::fs::remove_file(file).unwrap();
    }
    let pcap = Pcap::start(&server, &["-w", name, "--ring-seconds", "0.2", "--duration", "1.1", "--json"]);
    let (code, stdout, said) = pcap.end();
    assert_eq!(code, Some(0), "{said}");
    let summary = json(&stdout);
    assert_eq!(summary["ended"], "duration");
    let files = summary["files"].as_array().unwrap().len();
    assert!((2..=6).contains(&files), "{files}");
    there().iter().for_each(|file| std::fs::remove_file(file).unwrap());
    server.stop();
}

/// Who captures is stopped: what finds the buffer full is dropped from the capture and counted, and the server serves on.
#[test]
fn a_reader_that_stands_still_holds_up_nobody() {
    let _lab = lab();
    let server = Server::echo();
    let file = Scratch::new("slow.pcapng");
    let pcap = Pcap::start(&server, &["-w", file.name(), "--buffer-bytes", "65536", "--json"]);
    pcap.signal(Signal::STOP);
    bulk("10.77.0.1", "7", "8");
    server.assert_empty();
    pcap.signal(Signal::CONT);
    good(peer("fw-b", "many", &["10.77.0.1", "7", "3"]));
    let summary = pcap.stop();
    let number = |key: &str| summary[key].as_u64().unwrap();
    assert!(number("dropped") > 1000, "{summary}");
    assert_eq!(number("frames") + number("dropped"), number("matched"), "{summary}");
    assert_eq!(number("seen"), number("matched"));
    assert_sound(file.name());
    assert_eq!(field(file.name(), "frame.number").len() as u64, number("frames"));
    // Of a reader that is killed as well.
    let pcap = Pcap::start(&server, &["-w", file.name()]);
    pcap.signal(Signal::KILL);
    pcap.end();
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

/// Its ring is 8 MiB, whichever of the C library's arenas it came from, and whoever has asked for something between.
#[test]
fn memory_of_captures_goes_back_when_they_end() {
    let _lab = lab();
    let server = Server::echo();
    bulk("10.77.0.1", "7", "1");
    let (before, pid) = (server.resident_kb(), server.pid().to_string());
    for at_once in [3, 1, 2, 1, 3, 1] {
        let start = |_| {
            ok(&["ss", "--pid", &pid]);
            Pcap::start(&server, &["-w", "/dev/null", "--json"])
        };
        let captures: Vec<_> = (0..at_once).map(start).collect();
        let during = server.resident_kb();
        assert!(during > before + at_once * 7000, "{before} KiB before, {during} with {at_once} rings");
        bulk("10.77.0.1", "7", "1");
        captures.into_iter().for_each(|pcap| _ = pcap.stop());
        eventually("memory is as before", || server.resident_kb() < before + 2048);
    }
    server.stop();
}

#[test]
fn a_capture_ends_with_its_process_and_has_the_last_segments() {
    let _lab = lab();
    for signal in [Signal::INT, Signal::KILL] {
        let mut server = Server::echo();
        let file = Scratch::new("end.pcapng");
        let pcap = Pcap::start(&server, &["-w", file.name(), "--json"]);
        let mut client = crate::ss::holding(&["10.77.0.1", "7", "1"]);
        // What was written by a mark is there, whatever comes.
        eventually("the handshake is in the file", || std::fs::metadata(&file.0).is_ok_and(|file| file.len() > 500));
        server.signal(signal);
        server.end();
        let (code, stdout, said) = pcap.end();
        let (expected, ended, sentence) = match signal {
            Signal::INT => (0, "process", "has ended"),
            _ => (1, "lost", "went away without a word"),
        };
        assert_eq!((code, &json(&stdout)["ended"]), (Some(expected), &ended.into()));
        assert!(said.contains(sentence), "{said}");
        assert_sound(file.name());
        let fins = tshark(&["-r", file.name(), "-Y", "tcp.flags.fin == 1 and ip.src == 10.77.0.1"]);
        assert_eq!(fins.lines().count(), usize::from(signal == Signal::INT), "{fins}");
        drop(client.stdin.take());
        client.wait().unwrap();
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_the_end_of_it() {
    let _lab = lab();
    let server = Server::echo();
    for traffic in [true, false] {
        let mut pcap = Pcap::start(&server, &[]);
        let mut head = [0; 100];
        pcap.child.stdout.as_mut().unwrap().read_exact(&mut head).unwrap();
        drop(pcap.child.stdout.take());
        if traffic {
            bulk("10.77.0.1", "7", "1");
        }
        let (code, _, said) = pcap.end();
        assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    }
    server.stop();
}

#[test]
fn what_cannot_be_is_one_sentence() {
    let _lab = lab();
    let refused = |args: &[&str]| sentence(&run(&[&["pcap"], args].concat()));
    assert!(refused(&["-w", "/run/x", "--pid", "4294967294"]).contains("no fourwave stack runs in process 4294967294"));
    let server = Server::echo();
    let pid = server.pid().to_string();
    let of = |args: &[&str]| refused(&[&["--pid", &pid], args].concat());
    let typo = of(&["-w", "/run/x", "prot", "80"]);
    assert!(typo.contains("`prot 80` is wrong: ") && typo.contains("syntax error"), "{typo}");
    let unwritable = of(&["-w", "/nowhere/x"]);
    assert!(unwritable.contains("cannot write to /nowhere/x: No such file"), "{unwritable}");
    assert!(of(&["-w", "/dev/full"]).contains("cannot write to /dev/full: No space left"));
    assert!(of(&["-w", "/run/x", "--interface", "eth9"]).contains("no fourwave stack runs on eth9"));
    let path = std::env::var("PATH").unwrap();
    let mut without = Command::new(FOURWAVE);
    without.args(["pcap", "--pid", &pid, "-w", "/run/x", "tcp"]).env("PATH", "/nowhere");
    let said = sentence(&without.output().unwrap());
    assert!(said.contains("tcpdump, which is not installed: apt-get install tcpdump"), "{said} {path}");
    // Which one? Somebody else's on this machine may be among them.
    let kernel = Server::start_in("fw-b", "echo --listen 10.77.0.2:7 --stack kernel");
    let several = refused(&["-w", "/run/x"]);
    assert!(several.contains("several") && several.contains(&pid) && several.contains("--pid"), "{several}");
    let over = refused(&["-w", "/run/x", "--pid", &kernel.pid().to_string()]);
    assert!(over.contains("kernel's sockets") && over.contains("tcpdump"), "{over}");
    for wrong in
        [&["--json"][..], &["-w", "/run/x", "--ring-files", "3"], &["--ring-bytes", "5000"], &["--snaplen", "0"]]
    {
        let output = run(&[&["pcap", "--pid", &pid], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", common::stderr(&output));
    }
    assert!(!Path::new("/run/x").exists());
    kernel.stop();
    server.stop();
}

/// The control socket is open to every program of this user: what it asks for is checked by who serves it.
#[test]
fn abuse_of_the_control_socket_is_refused_and_bounded() {
    let _lab = lab();
    let server = Server::echo();
    let ask = |filter: &str, snaplen: u32, buffer: u32| {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = format!(
            "{{\"capture\":{{\"filter\":{filter},\"snaplen\":{snaplen},\"comments\":false,\"buffer_bytes\":{buffer}}}}}\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        (stream, line)
    };
    for (filter, says) in [
        ("[[5,0,0,4000000000],[6,0,0,1]]", "instruction 0 of the filter jumps beyond its end"),
        ("[[0,0,0,1]]", "does not end in a return"),
        ("[[52,0,0,0],[6,0,0,1]]", "divides by zero"),
        ("[[2,0,0,99],[6,0,0,1]]", "uses memory beyond"),
        (&format!("[{}[6,0,0,1]]", "[0,0,0,0],".repeat(4096)), "1 to 4096 instructions"),
    ] {
        let (_, line) = ask(filter, 100, 65536);
        assert!(line.contains("refused") && line.contains(says), "{line}");
    }
    for (snaplen, buffer) in [(0, 65536), (262_145, 65536), (100, 65535), (100, u32::MAX)] {
        assert!(ask("[]", snaplen, buffer).1.contains("a snap length goes from"));
    }
    // Those that never read: four of them, and the fifth is told so; then they go, and there is room again.
    let held: Vec<_> = (0..4).map(|_| ask("[]", 262_144, 65536)).collect();
    assert!(held.iter().all(|(_, line)| line.contains("queues")), "{held:?}");
    assert!(ask("[]", 100, 65536).1.contains("4 captures of it are under way"));
    bulk("10.77.0.1", "7", "4");
    drop(held);
    let end = Instant::now() + SOON;
    while !ask("[]", 100, 65536).1.contains("queues") {
        assert!(Instant::now() < end, "there is no room again");
    }
    // The end waits for nobody who does not read.
    let (_stream, line) = ask("[]", 262_144, 65536);
    assert!(line.contains("queues"), "{line}");
    bulk("10.77.0.1", "7", "4");
    server.stop();
}

/// A reader that stops reading, as one that is stopped itself: the pipe takes 64 KiB (pipe(7)), and there is far more.
#[test]
fn a_reader_that_does_not_read_keeps_nobody() {
    let _lab = lab();
    let server = Server::echo();
    let mut pcap = Pcap::start(&server, &["-w", "-"]);
    bulk("10.77.0.1", "7", "5");
    assert!(!pcap.is_over());
    pcap.signal(Signal::INT);
    let end = Instant::now() + SOON;
    while !pcap.is_over() {
        assert!(Instant::now() < end, "Ctrl-C does not end it");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // What it has taken is no whole capture.
    drop(pcap.child.stdout.take());
    let (code, _, said) = pcap.end();
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    assert!(said.starts_with("the capture's reader does not read") && said.contains("frames captured"), "{said}");
    server.stop();
}

/// open(2) of a named pipe waits for its reader: whoever asks twice does not.
#[test]
fn a_named_pipe_without_a_reader_keeps_nobody_who_asks_twice() {
    let _lab = lab();
    let server = Server::echo();
    let pipe = Scratch::new("pipe");
    assert!(common::sh(&format!("mkfifo {}", pipe.name())).status.success());
    let mut command = Command::new(FOURWAVE);
    command.args(["pcap", "--pid", &server.pid().to_string(), "-w", pipe.name()]);
    let mut waits = common::Background::start(command);
    waits.hears_ctrl_c();
    waits.signal(Signal::INT);
    waits.signal(Signal::TERM);
    let (code, _, said) = waits.end(SOON);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("fourwave: interrupted"), "{said}");
    server.stop();
}
