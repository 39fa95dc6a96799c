//! `fourwave load tcp`, every mode of it over both stacks, against servers of ours and against others that count for themselves.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Background, SOON};
use crate::support::{Server, eventually, fourwave, good, lab, peer, refused, text, within};

const STACKS: [&str; 2] = ["fourwave", "kernel"];

/// Loads the server at port 7 in fw-a; the report.
fn load(flags: &str) -> Value {
    let args: Vec<_> = flags.split(' ').collect();
    let args = [&["load", "tcp", "10.77.0.1:7", "--interface", "fw-b0", "--json"], &args[..]].concat();
    serde_json::from_str(&good(fourwave("fw-b", &args))).unwrap()
}

/// One that ends with a failure, which is said, behind its report.
fn failing(flags: &str, says: &str) -> Value {
    let args: Vec<_> = flags.split(' ').collect();
    let args = [&["load", "tcp", "10.77.0.1:7", "--interface", "fw-b0", "--json"], &args[..]].concat();
    let output = fourwave("fw-b", &args).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(says), "{:?}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// So many of each.
fn assert_counts(report: &Value, counts: &[(&str, u64)]) {
    for (key, count) in counts {
        assert_eq!(report[key], *count, "{key} of {report:#}");
    }
}

const NO_ERRORS: [(&str, u64); 3] = [("connect_errors", 0), ("timeouts", 0), ("resets", 0)];

/// A server that nobody here wrote, which writes down how many bytes came and went over each connection.
struct Tally {
    file: PathBuf,
    _server: Background,
}

impl Tally {
    fn start(does: &[&str]) -> Self {
        let file = crate::common::temporary(&format!("tally-{}", does.join("-")));
        let _ = std::fs::remove_file(&file);
        let args = [&["10.77.0.1", "7", file.to_str().unwrap()], does].concat();
        let server = Background::server(peer("fw-a", "tally", &args));
        Self { file, _server: server }
    }

    /// What came and went over all connections, once so many have ended.
    fn sum(&self, connections: usize) -> (u64, u64) {
        let rows = || -> Vec<(u64, u64)> {
            let row = |line: &str| {
                let (came, went) = line.split_once(' ').unwrap();
                (came.parse().unwrap(), went.parse().unwrap())
            };
            std::fs::read_to_string(&self.file).unwrap_or_default().lines().map(row).collect()
        };
        eventually("every connection has ended at the server, too", || rows().len() == connections);
        rows().iter().fold((0, 0), |(came, went), row| (came + row.0, went + row.1))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Both ends count the same bytes, to the last one, and end in order.
#[test]
fn bulk_is_counted_as_the_other_end_counts_it() {
    let _lab = lab();
    for stack in STACKS {
        let server = Tally::start(&["sink"]);
        let report = load(&format!("--stack {stack} --mode bulk --connections 3 --bytes 5000001"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("bytes_sent", 5_000_001), ("bytes_received", 0), ("connects", 3), ("cut_off", 0)]);
        assert_eq!((&report["mode"], &report["direction"]), (&"bulk".into(), &"up".into()));
        assert!(report["gbit_per_s_up"].as_f64() > Some(0.0) && report["gbit_per_s_down"] == 0.0, "{report:#}");
        let parts = report["throughput"].as_array().unwrap().iter().map(|part| part["bytes_up"].as_u64().unwrap());
        assert_eq!(parts.sum::<u64>(), 5_000_001);
        assert_eq!(server.sum(3), (5_000_001, 0));
        drop(server);

        // The server sends as many to each, and that is the end of it.
        let server = Tally::start(&["source", "1000003"]);
        let report =
            load(&format!("--stack {stack} --mode bulk --direction down --verify --connections 2 --bytes 2000006"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("bytes_sent", 0), ("bytes_received", 2_000_006), ("cut_off", 0), ("changed", 0)]);
        assert_eq!(server.sum(2), (0, 2_000_006));
        // One that asks for a byte more is told that it did not come.
        let flags = format!("--stack {stack} --mode bulk --direction down --connections 1 --bytes 1000004");
        let report = failing(&flags, "only 1000003 of 1000004 bytes came from");
        assert_counts(&report, &[("bytes_received", 1_000_003), ("cut_off", 1)]);
        drop(server);

        let server = Tally::start(&["mirror"]);
        let report =
            load(&format!("--stack {stack} --mode bulk --direction both --verify --connections 2 --bytes 3000001"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("bytes_sent", 3_000_001), ("bytes_received", 3_000_001), ("changed", 0)]);
        assert_eq!(server.sum(2), (3_000_001, 3_000_001));
    }
}

/// The same with the servers of ours, which chargen ends by a reset; and for a time.
#[test]
fn bulk_goes_each_way_over_both_stacks() {
    let _lab = lab();
    for (service, direction) in [("discard", "up"), ("chargen", "down"), ("echo", "both")] {
        for server in STACKS {
            let server = Server::start(&format!("{service} --listen 10.77.0.1:7 --stack {server}"));
            for stack in STACKS {
                let flags = format!("--stack {stack} --mode bulk --direction {direction} --connections 2");
                let report = load(&format!("{flags} --bytes 2000001"));
                assert_counts(&report, &NO_ERRORS);
                let (up, down) = (direction != "down", direction != "up");
                let expected = |there| if there { 2_000_001 } else { 0 };
                assert_counts(&report, &[("bytes_sent", expected(up)), ("bytes_received", expected(down))]);
                let report = load(&format!("{flags} --seconds 0.3 --warmup 0.1"));
                assert_counts(&report, &NO_ERRORS);
                let carried = |key: &str| report[key].as_f64() > Some(0.0);
                assert_eq!((carried("gbit_per_s_up"), carried("gbit_per_s_down")), (up, down), "{report:#}");
                assert!(report["duration_s"].as_f64() >= Some(0.3), "{report:#}");
            }
            server.stop();
        }
    }
}

/// Of a server that does not read, the receive buffer is acknowledged, and what waits in the send buffer here does not count.
#[test]
fn what_the_server_has_not_acknowledged_is_not_counted() {
    let _lab = lab();
    let script = "import socket, sys, time\n\
         l = socket.socket()\n\
         l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)\n\
         l.bind(('10.77.0.1', 7))\n\
         l.listen()\n\
         print('listening on port 7', file=sys.stderr, flush=True)\n\
         kept = []\n\
         while True:\n    kept.append(l.accept())\n";
    let _server = Background::server(within("fw-a", 60, &["python3", "-c", script]));
    for stack in STACKS {
        let report = load(&format!("--stack {stack} --mode bulk --seconds 1 --warmup 0"));
        // Linux doubles what it is asked for.
        let bytes = report["bytes_sent"].as_u64().unwrap();
        assert!((1..=65_536).contains(&bytes), "{stack}: {bytes}");
        let report = load(&format!("--stack {stack} --mode bulk --seconds 20 --warmup 0 --timeout-s 0.5"));
        assert_counts(&report, &[("timeouts", 1), ("resets", 0)]);
        assert!(report["duration_s"].as_f64() < Some(10.0), "{report:#}");
    }
}

/// A byte that comes back changed ends it, by its place; the report is there all the same.
#[test]
fn a_byte_that_is_changed_on_the_way_is_noticed() {
    let _lab = lab();
    for stack in STACKS {
        let _server = Tally::start(&["spoil"]);
        let flags = format!("--stack {stack} --mode bulk --direction both --verify --bytes 1000000");
        assert_counts(&failing(&flags, "does not send what was expected"), &[("changed", 1), ("cut_off", 0)]);
    }
}

/// As many responses as were asked for, of the sizes that were asked for.
#[test]
fn requests_and_responses_have_the_sizes_that_are_given() {
    let _lab = lab();
    for server in STACKS {
        for (request, response, pipeline) in [(100, 200_000, 1), (70_000, 5, 4), (1, 1, 50)] {
            let sizes = format!("--request-bytes {request} --response-bytes {response}");
            let service = Server::start(&format!("exchange --listen 10.77.0.1:7 --stack {server} {sizes}"));
            for stack in STACKS {
                let flags = format!("--stack {stack} {sizes} --connections 3 --warmup 0 --requests 60");
                let report = load(&format!("{flags} --pipeline {pipeline}"));
                assert_counts(&report, &NO_ERRORS);
                assert_counts(&report, &[("responses", 60), ("unexpected", 0), ("malformed", 0), ("cut_off", 0)]);
                assert!(report["bytes_sent"].as_u64() >= Some(60 * request), "{report:#}");
                assert!(report["bytes_received"].as_u64() >= Some(60 * response), "{report:#}");
            }
            service.stop();
        }
        // What comes back is what was sent.
        let service = Server::start(&format!("echo --listen 10.77.0.1:7 --stack {server}"));
        for stack in STACKS {
            let report = load(&format!("--stack {stack} --warmup 0 --requests 500 --request-bytes 3000"));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(&report, &[("responses", 500), ("unexpected", 0), ("connections", 16), ("connects", 16)]);
            assert!(report["mode"] == "closed" && report["latency_ns"]["p50"].as_u64() > Some(0), "{report:#}");
            let report = load(&format!("--stack {stack} --rate 500 --seconds 0.4 --warmup 0"));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(&report, &[("responses", 200), ("unexpected", 0)]);
            assert_eq!(report["mode"], "open");
        }
        service.stop();
    }
    let _server = Tally::start(&["spoil"]);
    let report = load("--connections 1 --warmup 0 --requests 400 --request-bytes 1000");
    assert_counts(&report, &[("responses", 400), ("unexpected", 1)]);
}

/// TIME-WAIT is where the connection was closed first (RFC 9293 section 3.6), and after a reset nowhere.
#[test]
fn connections_that_are_opened_and_closed_are_closed_by_who_is_to() {
    let _lab = lab();
    let waiting_here = || good(within("fw-b", 5, &["ss", "-Htan", "state", "time-wait"])).lines().count();
    for stack in STACKS {
        for (close, here, there) in [("reset", 0, 0), ("server", 0, 200), ("client", 200, 0)] {
            let service = if close == "server" { "exchange --request-bytes 0 --response-bytes 0" } else { "discard" };
            let server = Server::start(&format!("{service} --listen 10.77.0.1:7"));
            let before = waiting_here();
            let report = load(&format!(
                "--stack {stack} --mode connect --close {close} --connections 4 --warmup 0 --requests 200"
            ));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(&report, &[("responses", 200), ("cut_off", 0), ("bytes_sent", 0), ("bytes_received", 0)]);
            let connects = report["connects"].as_u64().unwrap();
            assert!((200..=204).contains(&connects), "{connects}");
            assert!(report["connects_per_s"].as_f64() > Some(0.0), "{report:#}");
            assert!(report["connect_latency_ns"]["p50"].as_u64() > Some(0), "{report:#}");
            server.assert_empty();
            let states = server.connections().iter().filter(|row| row["state"] == "TIME-WAIT").count();
            // Those under way at the end are closed by the client.
            assert!((there..=there + 4).contains(&states), "{stack}, {close}: {states} at the server");
            if stack == "kernel" {
                let waits = waiting_here() - before;
                assert!((here..=here + 4).contains(&waits), "{close}: {waits} at the client");
            }
            server.stop();
        }
    }
}

/// All that were opened last, and end with FINs both ways.
#[test]
fn idle_connections_last_and_end_in_order() {
    let _lab = lab();
    for server in STACKS {
        let server = Server::start(&format!("echo --listen 10.77.0.1:7 --stack {server} --backlog 4096"));
        for stack in STACKS {
            let flags = format!("--stack {stack} --mode idle --connections 300 --ramp-up 0.2 --ramp-down 0.1");
            let report = load(&format!("{flags} --seconds 0.5"));
            assert_counts(&report, &NO_ERRORS);
            let all = [("established", 300), ("lasted", 300), ("lost", 0), ("ended_in_order", 300), ("bytes_sent", 0)];
            assert_counts(&report, &all);
            assert!(report["established_in_s"].as_f64() >= Some(0.19), "{report:#}");
            assert!(report["duration_s"].as_f64() >= Some(0.5), "{report:#}");
            let report = load(&format!("{flags} --seconds 2 --think-ms 100 --request-bytes 200"));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(
                &report,
                &[("established", 300), ("lasted", 300), ("ended_in_order", 300), ("unexpected", 0)],
            );
            // Nineteen of each connection are due while they are all there, but for what a stall leaves out.
            assert!(report["responses"].as_u64() >= Some(4 * 300), "{report:#}");
        }
        server.stop();
    }
}

/// Each of them does one thing to every connection, and that is what they were lost by. It waits for a request first: over the
/// kernel's sockets a connection that is reset before the loop has looked is one that was refused.
#[test]
fn idle_connections_are_lost_by_a_reason() {
    let _lab = lab();
    let reset = "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()";
    for (does, reason) in [("c.close()", "closed_by_server"), (reset, "reset"), ("kept.append(c)", "unanswered")] {
        let script = format!(
            "import socket, struct, sys\n\
             l = socket.create_server(('10.77.0.1', 7), backlog=1000)\n\
             print('listening on port 7', file=sys.stderr, flush=True)\n\
             kept = []\n\
             while True:\n    c = l.accept()[0]\n    c.recv(64)\n    {does}\n"
        );
        let _server = Background::server(within("fw-a", 60, &["python3", "-c", &script]));
        for stack in STACKS {
            // Soon only where it is waited for: any other end may take as long as the machine stands still.
            let timeout = if reason == "unanswered" { "0.2" } else { "20" };
            let flags = format!("--mode idle --connections 20 --think-ms 150 --timeout-s {timeout} --seconds 1");
            let report =
                failing(&format!("--stack {stack} {flags}"), "none of the 20 connections to 10.77.0.1:7 lasted");
            assert_counts(&report, &[("established", 20), ("lasted", 0), ("lost", 20), ("connect_errors", 0)]);
            assert_eq!(report["lost_by"], serde_json::json!({ reason: 20 }), "{stack}: {report:#}");
        }
    }
}

#[test]
fn idle_connections_end_in_order_at_ctrl_c() {
    let _lab = lab();
    let server = Server::echo();
    for stack in STACKS {
        let mut args =
            vec!["load", "tcp", "10.77.0.1:7", "--interface", "fw-b0", "--mode", "idle", "--connections", "100"];
        args.extend(["--seconds", "100", "--json", "--stack", stack]);
        // Without `timeout` in between, which would hear the signal.
        let mut idle = Background::start(crate::common::in_namespace("fw-b", &args));
        eventually("all are there", || {
            server.connections().iter().filter(|row| row["state"] == "ESTABLISHED").count() == 100
        });
        idle.hears_ctrl_c();
        idle.signal(Signal::INT);
        let (code, stdout, stderr) = idle.end(SOON);
        assert_eq!(code, Some(0), "{stderr}");
        let report = serde_json::from_str(&stdout).unwrap();
        assert_counts(&report, &[("established", 100), ("lasted", 100), ("ended_in_order", 100)]);
        server.assert_empty();
    }
    server.stop();
}

/// In turn, so that each has as many.
#[test]
fn idle_connections_come_from_every_address_that_is_given() {
    let _lab = lab();
    let server = Server::echo();
    let mut args = vec!["load", "tcp", "10.77.0.1:7", "--interface", "fw-b0", "--mode", "idle", "--connections", "30"];
    args.extend(["--address", "10.77.0.8/24", "--source", "10.77.0.8,10.77.0.20-10.77.0.21", "--seconds", "100"]);
    let _idle = Background::start(crate::common::in_namespace("fw-b", &args));
    eventually("all are there", || server.connections().len() == 30);
    for address in ["10.77.0.8:", "10.77.0.20:", "10.77.0.21:"] {
        let rows = server.connections();
        let from = rows.iter().filter(|row| row["remote"].as_str().unwrap().starts_with(address)).count();
        assert_eq!(from, 10, "{address} of {rows:#?}");
    }
}

#[test]
fn what_cannot_be_loaded_is_said_in_one_sentence() {
    let _lab = lab();
    for (mode, server) in [("exchange", "echo"), ("connect", "discard"), ("bulk", "discard"), ("idle", "echo")] {
        for stack in STACKS {
            let args = ["load", "tcp", "10.77.0.1:81", "--interface", "fw-b0", "--stack", stack, "--mode", mode];
            let said = refused(fourwave("fw-b", &args));
            let words =
                format!("10.77.0.1:81 refused the connection: start a server there, such as `fourwave serve {server}");
            assert!(said.contains(&words), "{said}");
        }
    }
    for (flags, words) in [
        (&["10.77.0.1:0"][..], "port 0"),
        (&["10.77.0.1"], "ADDR:PORT"),
        (&["10.77.0.1:7", "--stack", "raw"], "--stack raw has no connections"),
        (&["10.77.0.1:7", "--direction", "up"], "--direction is for --mode bulk"),
        (&["10.77.0.1:7", "--request-bytes", "0"], "1..=1073741824"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fourwave")).args(["load", "tcp"]).args(flags).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{flags:?}: {said}");
    }
}

/// Bytes that were there before a request went out can't be its response: a server that says more than it is asked for is not
/// as fast as that.
#[test]
fn what_comes_before_it_is_asked_for_is_no_response() {
    let _lab = lab();
    let server = Server::start("echo --listen 10.77.0.1:7");
    for stack in STACKS {
        let report =
            load(&format!("--stack {stack} --request-bytes 100 --response-bytes 50 --requests 100 --warmup 0"));
        assert!(report["malformed"].as_u64().unwrap() >= 50, "{report:#}");
        // There and back takes a microsecond at the very least.
        assert!(report["latency_ns"]["min"].as_u64().unwrap() > 1000, "{report:#}");
    }
    server.stop();
}

/// Ctrl-C in the warm-up: nothing was measured, and it says so.
#[test]
fn what_ended_before_it_measured_says_so() {
    let _lab = lab();
    let server = Server::start("echo --listen 10.77.0.1:7");
    let args = ["load", "tcp", "10.77.0.1:7", "--interface", "fw-b0", "--warmup", "60", "--json"];
    // Without `timeout` in between, which would hear the signal.
    let mut load = Background::start(crate::common::in_namespace("fw-b", &args));
    eventually("it has begun", || crate::connections::counter(&server, "segments_in") > 1000);
    load.hears_ctrl_c();
    load.signal(Signal::INT);
    let (code, report, said) = load.end(SOON);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_counts(&report, &[("responses", 0), ("requests", 0)]);
    assert!(said.contains("nothing was measured"), "{said}");
    assert_eq!((code, report["latency_ns"]["max"].as_u64()), (Some(0), Some(0)));
    server.stop();
}
