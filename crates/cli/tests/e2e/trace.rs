//! What happened to connections: `ss --trace`, and files of it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{LabTurn, in_namespace, json, ok, temporary};
use crate::ss::holding;
use crate::support::{Server, eventually, good, lab, peer, refused};

fn traced(server: &Server, filter: &[&str]) -> Vec<Value> {
    let pid = server.pid().to_string();
    let args = [&["ss", "--trace", "--json", "--pid", &pid], filter].concat();
    json(&ok(&args)).as_array().unwrap().clone()
}

/// What happened; but whether the neighbour was known is chance.
fn events(connection: &Value) -> Vec<String> {
    let events = connection["events"].as_array().unwrap().iter().filter(|event| event["event"] != "waits");
    let word = |event: &Value| format!("{} {}", event["event"].as_str().unwrap(), event["kind"].as_str().unwrap_or(""));
    events.map(|event| word(event).trim_end().to_owned()).collect()
}

/// The four waves of a connection that the peer closes first (RFC 9293 figure 12), while it is there and behind it; the kernel is the
/// peer. Each is a moment behind the one before.
#[test]
fn the_waves_are_told_also_of_who_is_gone() {
    let _lab = lab();
    let server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "1"]);
    let [there] = &traced(&server, &["sport", "=", ":7"])[..] else { panic!("one connection") };
    assert_eq!(events(there), ["opened passive", "state ESTABLISHED"]);
    assert_eq!((&there["state"], &there["gone"]), (&"ESTABLISHED".into(), &false.into()));
    assert_eq!(there["events"][0]["mss_bytes"], 1460, "an MTU of 1500 less 40 (RFC 9293 section 3.7.1)");
    drop(client.stdin.take());
    client.wait().unwrap();
    server.assert_empty();
    let remote = there["remote"].as_str().unwrap();
    eventually("the end is told", || traced(&server, &["dst", remote]).iter().any(|gone| gone["gone"] == true));
    let [gone] = &traced(&server, &["dst", remote])[..] else { panic!("one connection") };
    let expected = [
        "opened passive",
        "state ESTABLISHED",
        "fin-received",
        "state CLOSE-WAIT",
        "called close",
        "state LAST-ACK",
        "fin-sent",
        "ended in order",
        "gone",
    ];
    assert_eq!((events(gone), &gone["state"]), (expected.map(String::from).to_vec(), &"CLOSED".into()));
    // One octet went each way, so each FIN is the third number.
    let seqs: Vec<_> = gone["events"].as_array().unwrap().iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, [2, 2]);
    let times: Vec<_> = gone["events"].as_array().unwrap().iter().map(|e| e["at_unix_ns"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(traced(&server, &["state", "established"]).is_empty());
    let table = ok(&["ss", "--trace", "--pid", &server.pid().to_string(), "dst", remote]);
    assert!(table.starts_with(&format!("10.77.0.1:7 {remote} CLOSED, gone pid:{}", server.pid())), "{table}");
    assert!(table.contains(" fin-received seq:2\n"), "{table}");
    server.stop();
}

/// A twentieth of all frames is lost each way: of a stream there and back some are sent again, and that is told.
#[test]
fn retransmissions_are_told_over_a_path_that_loses() {
    let turn = LabTurn::take();
    ok(&["lab", "up", "--loss", "5%"]);
    let server = Server::echo();
    good(peer("fw-b", "bulk", &["10.77.0.1", "7", "2"]));
    server.assert_empty();
    let all = traced(&server, &[]);
    let again: Vec<_> = all.iter().flat_map(|of| of["events"].as_array().unwrap()).collect();
    let again: Vec<_> = again.into_iter().filter(|event| event["event"] == "retransmitted").collect();
    assert!(!again.is_empty(), "{all:#?}");
    assert!(again.iter().all(|event| event["bytes"].as_u64() <= Some(1460) && event["cwnd_bytes"].as_u64() > Some(0)));
    let counters = json(&ok(&["ss", "--counters", "--json", "--pid", &server.pid().to_string()]));
    let counted = counters.as_array().unwrap().iter().find(|row| row["counter"] == "retransmitted").unwrap();
    // SYN-ACKs are counted elsewhere.
    assert_eq!(counted["value"].as_u64(), Some(again.len() as u64));
    assert!(all.iter().any(|of| events(of).iter().any(|event| event == "congestion recovery")), "{all:#?}");
    server.stop();
    ok(&["lab", "down"]);
    drop(turn);
}

/// SIGUSR2 writes a file, which is its owner's alone, and ends nothing; without a ring there is nothing to tell.
#[test]
fn a_signal_makes_a_file() {
    let _lab = lab();
    let directory = temporary("traces");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.to_str().unwrap();
    let mut server = Server::start(&format!("echo --listen 10.77.0.1:7 --trace-directory {path}"));
    let mut client = holding(&["10.77.0.1", "7", "1"]);
    server.signal(Signal::USR2);
    let line = server.line_with("what happened to the connections is in ");
    let file = line.split(" is in ").nth(1).unwrap();
    assert!(file.starts_with(&format!("{path}/{}-", server.pid())) && file.ends_with("-signal.trace"), "{file}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("shard 0: 1 connections, 0 older records are overwritten\n10.77.0.1:7 10.77.0.2:"), "{text}");
    assert!(text.contains(" opened (passive) mss_bytes:1460 syn_acks_again:0\n"), "{text}");
    // It goes on.
    client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut echoed = [0; 7];
    client.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
    drop(client.stdin.take());
    client.wait().unwrap();
    server.assert_empty();
    server.stop();
    std::fs::remove_dir_all(&directory).unwrap();

    let server = Server::start("echo --listen 10.77.0.1:7 --trace-records 0");
    good(peer("fw-b", "many", &["10.77.0.1", "7", "3"]));
    assert!(traced(&server, &[]).is_empty());
    server.stop();
}

#[test]
fn a_directory_that_is_not_there_is_refused_at_once() {
    let _lab = lab();
    for more in ["", " --stack kernel"] {
        let args = format!("serve echo --listen 10.77.0.1:7 --trace-directory /nowhere/at/all{more}");
        let said = refused(in_namespace("fw-a", &args.split(' ').collect::<Vec<_>>()));
        assert!(said.contains("the trace directory /nowhere/at/all can't be written to: "), "{said}");
    }
}
