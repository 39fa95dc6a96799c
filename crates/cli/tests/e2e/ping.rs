//! `fourwave ping` over fourwave.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, Background, SOON, json};
use crate::connections::counter;
use crate::support::{Server, assert_no_program, eventually, fourwave, good, kernel_echo, lab, peer, refused};

const KEYS: [&str; 9] =
    ["stack", "mode", "connections", "message_bytes", "count", "errors", "duration_s", "latency_ns", "rate_per_s"];
const LATENCY_KEYS: [&str; 8] = ["min", "p50", "p90", "p99", "p999", "p9999", "max", "mean"];

fn ping(args: &str) -> Command {
    let mut all = vec!["ping"];
    all.extend(args.split(' '));
    fourwave("fw-b", &all)
}

/// `count` round trips without an error; the report.
fn measured(args: &str, count: u64) -> Value {
    let report = json(&good(ping(&format!("{args} --count {count} --json"))));
    assert_eq!((report["count"].as_u64(), report["errors"].as_u64()), (Some(count), Some(0)), "{report}");
    report
}

#[test]
fn to_a_kernel_server() {
    let _lab = lab();
    let _server = kernel_echo("fw-a", "10.77.0.1", "8000");
    let report = measured("10.77.0.1:8000", 2000);
    for key in KEYS {
        assert!(report.get(key).is_some(), "{key} in {report}");
    }
    for key in LATENCY_KEYS {
        assert!(report["latency_ns"][key].as_f64().unwrap() > 0.0, "{key} in {report}");
    }
    assert_eq!((&report["stack"], &report["mode"]), (&"fourwave".into(), &"closed".into()));
    measured("10.77.0.1:8000 --connections 50", 2000);
    measured("10.77.0.1:8000 --bytes 1000000", 20);
}

#[test]
fn fourwave_to_fourwave() {
    let _lab = lab();
    let server = Server::echo();
    measured("10.77.0.1:7", 2000);
    assert_eq!(measured("10.77.0.1:7 --connections 50", 2000)["connections"], 50);
    measured("10.77.0.1:7 --connections 20 --bytes 300000 --warmup 0", 100);
    for idle in ["busy", "sleep"] {
        measured(&format!("10.77.0.1:7 --idle {idle}"), 500);
    }
    measured("10.77.0.1:7 --address 10.77.0.60/24", 500);
    server.assert_empty();
    server.stop();
    assert_no_program();
}

#[test]
fn over_ipv6() {
    let _lab = lab();
    let server = Server::start("echo --listen [fd77::1]:7");
    measured("[fd77::1]:7 --connections 5", 1000);
    server.stop();
    let _server = kernel_echo("fw-a", "fd77::1", "8000");
    measured("[fd77::1]:8000", 1000);
}

#[test]
fn failures_are_one_sentence() {
    let _lab = lab();
    let said = refused(ping("10.77.0.1:9 --json"));
    assert!(said.contains("10.77.0.1:9") && said.contains("refused"), "{said}");
    let said = refused(ping("10.77.0.99:7 --json"));
    assert!(said.contains("10.77.0.99:7") && said.contains("be reached"), "{said}");
    let said = refused(ping("[fd77::99]:7 --json"));
    assert!(said.contains("fd77::99") && said.contains("be reached"), "{said}");
    let said = refused(ping("192.0.2.1:7 --interface fw-b0"));
    assert!(said.contains("no route"), "{said}");
    let discard = Server::start("chargen --listen 10.77.0.1:19");
    let said = refused(ping("10.77.0.1:19 --json"));
    assert!(said.contains("is it an echo server"), "{said}");
    discard.stop();
}

#[test]
fn a_silent_server_is_given_up() {
    let _lab = lab();
    let _server = Background::server(peer("fw-a", "echo_server", &["10.77.0.1", "8000", "silent"]));
    let said = refused(ping("10.77.0.1:8000 --timeout-s 1"));
    assert!(said.contains("no answer from 10.77.0.1:8000 within 1 s"), "{said}");
}

#[test]
fn an_interval_is_kept() {
    let _lab = lab();
    let server = Server::echo();
    let began = Instant::now();
    measured("10.77.0.1:7 --interval-ms 1500 --warmup 0", 4);
    assert!(began.elapsed() >= Duration::from_millis(4500));
    server.stop();
}

#[test]
fn ctrl_c_prints_the_report() {
    let _lab = lab();
    let server = Server::echo();
    for flags in [&["--interval-ms", "5"][..], &["--connections", "10"]] {
        let mut args = vec!["ping", "10.77.0.1:7", "--seconds", "600", "--warmup", "0", "--json"];
        args.extend(flags);
        let before = counter(&server, "segments_in");
        let mut ping = Background::start(common::in_namespace("fw-b", &args));
        // Handshakes, and some answers on each connection.
        eventually("the ping is under way", || counter(&server, "segments_in") > before + 100);
        ping.signal(Signal::INT);
        let (code, stdout, said) = ping.end(SOON);
        let said = common::but_warnings(&said);
        assert_eq!((code, said.len()), (Some(0), 0), "{said:?}");
        let report = json(&stdout);
        assert!(report["count"].as_u64().unwrap() >= 2 && report["errors"] == 0, "{report}");
    }
    server.assert_empty();
    server.stop();
}

#[test]
fn a_server_that_goes_away_is_an_error_with_a_report() {
    let _lab = lab();
    for (signal, flags) in [(Signal::INT, &[][..]), (Signal::KILL, &[]), (Signal::KILL, &["--rate", "500"])] {
        let mut server = Server::echo();
        let args = ["ping", "10.77.0.1:7", "--seconds", "600", "--timeout-s", "2", "--warmup", "0", "--json"];
        let args = [&args[..], flags].concat();
        let mut ping = Background::start(common::in_namespace("fw-b", &args));
        eventually("the ping is under way", || counter(&server, "segments_in") > 10);
        server.signal(signal);
        server.end();
        let (code, stdout, said) = ping.end(SOON);
        let said = common::but_warnings(&said);
        assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
        assert!(said[0].contains("10.77.0.1:7"), "{said:?}");
        assert_eq!(json(&stdout)["errors"], 1, "{stdout}");
    }
}
