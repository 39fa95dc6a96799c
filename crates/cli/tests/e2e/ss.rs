//! `fourwave ss`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, SOON, json, ok, run};
use crate::support::{Server, eventually, good, lab, peer, sentence};

const KEYS: [&str; 12] = [
    "local",
    "remote",
    "state",
    "shard",
    "send_queue_bytes",
    "receive_queue_bytes",
    "rtt_us",
    "cwnd_bytes",
    "retransmits",
    "timer",
    "age_s",
    "state_age_s",
];

/// A client that holds connections; it has said so when this returns.
pub(crate) fn holding(args: &[&str]) -> Child {
    let mut command = peer("fw-b", "hold", args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 29];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"listening on nothing, holding");
    child
}

fn states(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["state"].as_str().unwrap()).collect()
}

#[test]
fn established_connections_have_their_keys() {
    let _lab = lab();
    let server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "3"]);
    let rows = server.connections();
    assert_eq!(states(&rows), ["ESTABLISHED"; 3]);
    for row in &rows {
        for key in KEYS {
            assert!(row.get(key).is_some(), "{key} in {row}");
        }
        assert_eq!((&row["local"], &row["shard"]), (&"10.77.0.1:7".into(), &0.into()));
        assert!(row["remote"].as_str().unwrap().starts_with("10.77.0.2:"), "{row}");
        assert!(row["rtt_us"].as_f64().unwrap() > 0.0 && row["cwnd_bytes"].as_u64().unwrap() > 0, "{row}");
    }
    let table = ok(&["ss", "--pid", &server.pid().to_string()]);
    assert_eq!(table.lines().filter(|line| line.starts_with("ESTABLISHED")).count(), 3, "{table}");
    drop(client.stdin.take());
    client.wait().unwrap();
    server.assert_empty();
    server.stop();
}

/// What is sent is more than the send buffer that the server begins with, 64 KiB, so it can't close before the peer reads; and
/// what it leaves unread fits into its receive buffer.
#[test]
fn close_wait_while_the_peer_does_not_read() {
    let _lab = lab();
    let server = Server::echo();
    let mut command = peer("fw-b", "stubborn", &["10.77.0.1", "7"]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("CLOSE-WAIT", || {
        let rows = server.connections();
        let queued = |key: &str| rows[0][key].as_u64().unwrap() > 0;
        states(&rows) == ["CLOSE-WAIT"] && queued("send_queue_bytes") && queued("receive_queue_bytes")
    });
    let row = &server.connections()[0];
    assert!(row["timer"].is_string(), "{row}");
    assert!(row["state_age_s"].as_f64().unwrap() < row["age_s"].as_f64().unwrap(), "{row}");
    drop(client.stdin.take());
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"right\n");
    server.assert_empty();
    server.stop();
}

/// The server closes first when it is asked to end: of two peers one closes as well, the other does not. The second that
/// this may take is short for a busy machine, so it is tried again.
#[test]
fn fin_wait_and_time_wait_when_the_server_closes_first() {
    let _lab = lab();
    let mut seen = BTreeSet::new();
    let enough = Instant::now() + SOON;
    while Instant::now() < enough {
        let mut server = Server::echo();
        let mut client = holding(&["10.77.0.1", "7", "2", "close=0"]);
        let processes = fourwave::control::processes().unwrap();
        let process = processes.iter().find(|process| process.pid == server.pid()).unwrap();
        server.signal(Signal::INT);
        while server.running() {
            let rows = process.connections().unwrap_or_default();
            seen.extend(rows.iter().map(|row| row.state.to_string()));
        }
        assert_eq!(server.end().0, Some(0));
        drop(client.stdin.take());
        client.wait().unwrap();
        if seen.contains("FIN-WAIT-2") && seen.contains("TIME-WAIT") {
            return;
        }
    }
    panic!("FIN-WAIT-2 and TIME-WAIT were not seen: {seen:?}");
}

#[test]
fn steering_counts_what_it_redirects() {
    let _lab = lab();
    let server = Server::echo();
    let pid = server.pid().to_string();
    let redirected = || {
        let rows = json(&ok(&["ss", "--steering", "--json", "--pid", &pid]));
        let row = rows.as_array().unwrap().iter().find(|row| row["verdict"] == "redirect_endpoint").cloned();
        row.unwrap()["packets"].as_u64().unwrap()
    };
    assert_eq!(redirected(), 0);
    good(peer("fw-b", "many", &["10.77.0.1", "7", "10"]));
    assert!(redirected() >= 10 * 3, "{}", redirected());
    let table = ok(&["ss", "--steering", "--pid", &pid]);
    assert!(table.contains("redirect_endpoint"), "{table}");
    server.stop();
}

#[test]
fn without_a_process_there_is_nothing() {
    let _lab = lab();
    let output = run(&["ss", "--pid", "4294967294"]);
    assert!(sentence(&output).contains("4294967294"));
    let listed = json(&ok(&["ss", "--json"]));
    let sockets = std::fs::read_dir("/run/fourwave").unwrap().flatten();
    // Others on this machine may run theirs.
    if sockets.filter(|file| file.path().extension().is_some_and(|extension| extension == "sock")).count() == 0 {
        assert_eq!(listed.as_array().unwrap().len(), 0, "{listed}");
        assert_eq!(ok(&["ss"]).lines().count(), 1, "the head of the table");
    }
}

#[test]
fn a_stale_socket_is_cleared_away() {
    let _lab = lab();
    let path = Path::new("/run/fourwave/4294967293.sock");
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
    ok(&["ss"]);
    assert!(!path.exists());
}

#[test]
fn a_killed_servers_socket_is_no_hindrance() {
    let _lab = lab();
    let mut server = Server::echo();
    let socket = server.socket();
    server.signal(Signal::KILL);
    server.end();
    assert!(Path::new(&socket).exists(), "nobody was left to remove it");
    // Nor does it wait for somebody who looks.
    let next = Server::echo();
    assert!(!Path::new(&socket).exists());
    next.stop();
}

#[test]
fn without_root_one_sentence() {
    let _lab = lab();
    let server = Server::echo();
    let program = common::for_nobody();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program.path())
        .arg("ss")
        .output()
        .unwrap();
    assert!(sentence(&output).contains("sudo"), "{}", common::stderr(&output));
    server.stop();
}

#[test]
fn a_hostile_client_of_the_control_socket_holds_up_nobody() {
    let _lab = lab();
    let server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "1"]);
    let connect = || std::os::unix::net::UnixStream::connect(server.socket()).unwrap();
    let silent = connect();
    let mut wrong = connect();
    wrong.write_all(&[b'x'; 10_000]).unwrap_or(());
    let mut gone = connect();
    gone.write_all(b"\"connections\"\n").unwrap();
    drop(gone);
    // The data path is another thread.
    client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut echoed = [0; 7];
    client.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
    assert_eq!(states(&server.connections()), ["ESTABLISHED"]);
    drop((silent, wrong, client.stdin.take()));
    client.wait().unwrap();
    server.stop();
}

/// One that is stopped is told, by `top` as well, and hides nothing of the others.
#[test]
fn a_stopped_process_hides_no_other() {
    let _lab = lab();
    let stopped = Server::echo();
    let other = Server::start("echo --stack kernel --listen 10.77.0.1:8");
    stopped.signal(Signal::STOP);
    let listed = run(&["ss", "--counters", "--json"]);
    let topped = run(&["top", "--count", "1", "--interval", "0.1", "--json"]);
    stopped.signal(Signal::CONT);
    let said = sentence(&listed);
    let why = "does not answer: nothing within 5 s: is it stopped, or do its loops stand still?";
    assert_eq!(said, format!("fourwave: process {} {why}\n", stopped.pid()));
    let rows = json(std::str::from_utf8(&listed.stdout).unwrap());
    assert!(rows.as_array().unwrap().iter().all(|row| row["pid"] == other.pid()), "{rows}");
    assert!(!rows.as_array().unwrap().is_empty());
    assert!(topped.status.success(), "{}", common::stderr(&topped));
    let document = json(std::str::from_utf8(&topped.stdout).unwrap());
    assert_eq!(document["frames"][0]["silent"], serde_json::json!([stopped.pid()]));
    other.stop();
    stopped.stop();
}
