//! `fourwave load http` by a schedule, and by people who think.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::common::{Background, sh, stderr};
use crate::load::{NO_ERRORS, assert_counts};
use crate::open_loop::{Output, lab_of, read_log, sum};
use crate::support::{Server, assert_no_program, fourwave, good, lab, peer, refused, text};

const MS: u64 = 1_000_000;
/// Of the server that stands still once, in an open loop.
const STALL_MS: u64 = 300;

fn command(args: &str) -> Command {
    let mut all = vec!["load", "http"];
    all.extend(args.split_whitespace());
    fourwave("fw-b", &all)
}

/// Loads the server in fw-a; the report.
fn load(args: &str) -> Value {
    let document = good(command(&format!("http://10.77.0.1/ --interface fw-b0 --json {args}")));
    serde_json::from_str(&document).unwrap()
}

/// The server stands still for so long after 1000 requests; what comes of it.
fn stalled(ms: u64, flags: &str) -> (Value, Histogram<u64>) {
    let args = ["10.77.0.1", "80", "1000", &Duration::from_millis(ms).as_secs_f64().to_string()];
    let _server = Background::server(peer("fw-a", "stalling_http", &args));
    let log = Output::new("stall.hlog");
    let report = load(&format!("--warmup 0 {flags} --hlog {}", log.path()));
    (report, sum(&read_log(log.path().as_ref())))
}

/// 1000 requests per second for two seconds, which a busy machine can do one behind the other: 300 are due while the server stands
/// still, one every millisecond, and the response to each comes no sooner than the stall ends, whether it waits in the server or
/// for a connection. A busy machine only adds to that.
#[test]
fn a_stall_is_in_the_time_of_every_request_that_was_due_within_it() {
    let _lab = lab();
    for flags in ["", "--stack kernel", "--close client", "--connections 1000 --pipeline 2"] {
        let (report, all) = stalled(STALL_MS, &format!("{flags} --rate 1000 --seconds 2"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("responses", 2000), ("requests", 2000)]);
        assert_eq!((&report["mode"], &report["intended_rate_per_s"]), (&"open".into(), &1000.0.into()));
        assert_eq!(all.len(), 2000);
        // The request that stops the server is the first of them, and the histogram has three figures.
        for ms in [250, 200, 100] {
            let due = STALL_MS - ms;
            let over = all.count_between(ms * MS * 999 / 1000, u64::MAX);
            assert!(over >= due, "{flags}: {over} of over {ms} ms, {due} were due");
        }
        // Of the slowest 1 %, 20 requests, the last was due 20 ms behind the beginning of the stall.
        assert!(report["latency_ns"]["p99"].as_u64().unwrap() >= (STALL_MS - 21) * MS, "{flags}: {report:#}");
        let held_back = report["sending"]["held_back"].as_u64().unwrap();
        // With 16 connections of one request each all others had to wait, but for what a turn may send before it is held back.
        assert!(flags.contains("1000") || held_back >= 200, "{flags}: {report:#}");
    }
}

#[test]
fn a_stall_is_one_sample_of_each_connection_in_a_closed_loop_and_that_is_said() {
    let _lab = lab();
    // Longer than whatever else may hold up a busy machine.
    let (report, all) = stalled(2000, "--connections 3 --requests 4000");
    assert_eq!((&report["mode"], all.len()), (&"closed".into(), 4000));
    let over = all.count_between(2000 * MS * 99 / 100, u64::MAX);
    assert!((1..=3).contains(&over), "{over}: {report:#}");
    assert!(report.get("sending").is_none(), "{report:#}");
    let server = Server::start("http --listen 10.77.0.1:80");
    let said = good(command("http://10.77.0.1/ --interface fw-b0 --requests 10 --warmup 0"));
    assert!(said.contains("closed loop (a stall is one sample of each: see --rate)"), "{said}");
    server.stop();
}

/// As many as were asked for, over however many shards, whoever closes; a ramp's by its integral.
#[test]
fn the_rate_is_kept_on_any_stack_and_any_number_of_shards() {
    for queues in [1, 2] {
        let _lab = lab_of(queues);
        let server = Server::start("http --listen 10.77.0.1:80");
        for flags in ["", "--idle busy", "--idle sleep", "--stack kernel", "--close server", "--close client"] {
            let report = load(&format!("--connections 65 --rate 500 --seconds 1 {flags}"));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(&report, &[("responses", 500), ("requests", 500)]);
            let sending = &report["sending"];
            for (key, count) in [("sent", 500), ("unsent", 0), ("unanswered", 0)] {
                assert_eq!(sending[key], count, "{key}: {report:#}");
            }
        }
        let ramp = load("--rate 200..800 --seconds 1 --connections 64");
        assert_eq!((&ramp["rate"], &ramp["intended_rate_per_s"]), (&"200..800".into(), &500.0.into()));
        let sent = ramp["sending"]["sent"].as_u64().unwrap();
        assert!(sent.abs_diff(500) <= 2 && ramp["responses"] == sent, "{ramp:#}");
        assert_counts(&load("--rate 500 --requests 300 --connections 64"), &[("responses", 300)]);
        server.assert_empty();
        server.stop();
        assert_no_program();
    }
}

/// sqrt(2000) = 45: within five deviations, and the same for the same seed.
#[test]
fn poisson_arrivals_are_as_many_as_chance_has_it() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    let report = load("--rate 2000 --seconds 1 --arrivals poisson --seed 7 --connections 64");
    let sent = report["sending"]["sent"].as_u64().unwrap();
    assert!(sent.abs_diff(2000) < 5 * 45 && report["responses"] == sent, "{report:#}");
    assert_eq!(report["arrivals"], "poisson");
    let again = load("--rate 2000 --seconds 1 --arrivals poisson --seed 7 --connections 64 --stack kernel");
    assert_eq!(again["sending"]["sent"], sent);
    server.stop();
}

/// What is more than can be done is not sent, and that is said; the rest goes on.
#[test]
fn what_is_too_much_is_counted_and_said() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    for flags in ["--connections 64", "--address 10.77.0.8/24 --close client --connections 64"] {
        let output =
            command(&format!("http://10.77.0.1/ --interface fw-b0 --json --rate 2000000 --seconds 0.5 {flags}"))
                .output()
                .unwrap();
        let (said, report) = (stderr(&output), serde_json::from_str::<Value>(&text(&output.stdout)).unwrap());
        assert!(output.status.success(), "{said}");
        assert!(said.contains("fourwave: warning: ") && said.contains("--rate"), "{said}");
        let warnings = report["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|one| said.contains(one.as_str().unwrap())), "{report:#}");
        let [sent, unsent] = ["sent", "unsent"].map(|key| report["sending"][key].as_u64().unwrap());
        assert_eq!(sent + unsent, 1_000_000, "{report:#}");
        assert!(sent > 0 && report["responses"] == sent, "{report:#}");
        assert_counts(&report, &NO_ERRORS);
    }
    server.stop();
}

/// Connections that the server ends when it likes: other ones are used, and no request is lost.
#[test]
fn a_server_that_closes_costs_no_arrival() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    let report = load("--rate 500 --seconds 1 --connections 4 --warmup 0 --header Connection:close");
    assert_counts(&report, &NO_ERRORS);
    assert_counts(&report, &[("responses", 500)]);
    assert!(report["connects"].as_u64().unwrap() >= 490, "{report:#}");
    server.stop();
}

/// Each of two waits 50 ms behind each response: in a second they can't have asked more than 20 times each, and once at the
/// beginning.
#[test]
fn who_thinks_asks_no_sooner() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    for flags in ["", "--close client", "--close server", "--stack kernel --close reset"] {
        let report = load(&format!("--connections 2 --think-ms 50 --seconds 1 --warmup 0 {flags}"));
        let responses = report["responses"].as_u64().unwrap();
        assert!((2..=42).contains(&responses), "{flags}: {report:#}");
        assert_counts(&report, &NO_ERRORS);
        assert_eq!((&report["think_ms"], &report["mode"]), (&50.into(), &"closed".into()));
    }
    server.stop();
}

/// No sooner than the ramps and the time between take; and nothing is an error that happens within them.
#[test]
fn connections_are_opened_and_closed_evenly() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    for flags in ["", "--rate 1000"] {
        let began = Instant::now();
        let report =
            load(&format!("--connections 100 --ramp-up 0.4 --ramp-down 0.3 --seconds 0.5 --warmup 0.1 {flags}"));
        assert!(began.elapsed() >= Duration::from_millis(1300), "{:?}", began.elapsed());
        assert_counts(&report, &NO_ERRORS);
        // Opened before measuring begins.
        assert_counts(&report, &[("connects", 0), ("connections", 100)]);
        assert!(report["responses"].as_u64() > Some(0), "{report:#}");
        server.assert_empty();
    }
    server.stop();
}

/// More than are begun in one turn: however short the warm-up, what is measured is of all of them.
#[test]
fn measuring_begins_when_all_connections_are_open() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    let report = load("--connections 2000 --seconds 0.3 --warmup 0.001");
    assert_counts(&report, &NO_ERRORS);
    assert_counts(&report, &[("connects", 0), ("connections", 2000)]);
    assert!(report["responses"].as_u64() > Some(0), "{report:#}");
    server.stop();
}

/// The remote addresses of connections in TIME-WAIT at the server, how many of each.
fn remotes(server: &Server) -> BTreeMap<String, Vec<u16>> {
    let mut found = BTreeMap::<_, Vec<u16>>::new();
    for row in server.connections().iter().filter(|row| row["state"] == "TIME-WAIT") {
        let remote: SocketAddr = row["remote"].as_str().unwrap().parse().unwrap();
        found.entry(remote.ip().to_string()).or_default().push(remote.port());
    }
    found
}

/// 20 ports of five addresses are as many connections as are asked for, and no more; each address has its share.
#[test]
fn connections_are_opened_from_several_addresses_and_a_range_of_ports() {
    for queues in [1, 2] {
        let _lab = lab_of(queues);
        let server = Server::start("http --listen 10.77.0.1:80");
        let own = "--address 10.77.0.8/24 --source 10.77.0.8-10.77.0.12 --ports 62000-62019 --warmup 0";
        let report = load(&format!("{own} --connections 100 --requests 1000"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("responses", 1000), ("connects", 100)]);
        server.assert_empty();
        // The server's records of connections that it closed first, none of which is opened again within so few.
        load(&format!("{own} --connections 4 --requests 50 --close server"));
        let found = remotes(&server);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["10.77.0.10", "10.77.0.11", "10.77.0.12", "10.77.0.8", "10.77.0.9"]
        );
        // With two shards a port may be taken again by the other one.
        let least = if queues == 1 { 10 } else { 1 };
        assert!(found.values().all(|ports| (least..=12).contains(&ports.len())), "{found:?}");
        assert!(found.values().flatten().all(|port| (62000..=62019).contains(port)), "{found:?}");
        server.stop();
        assert_no_program();
    }
}

/// Those that the kernel has: by the stack, which shares them, and over the kernel's sockets.
#[test]
fn connections_are_opened_from_addresses_of_the_interface() {
    let _lab = lab();
    assert!(sh("ip -n fw-b address add 10.77.0.50/24 dev fw-b0").status.success());
    for flags in ["--ports 61500-65000", "--stack kernel"] {
        let server = Server::start("http --listen 10.77.0.1:80");
        load(&format!("{flags} --source 10.77.0.2,10.77.0.50 --connections 4 --requests 50 --close server --warmup 0"));
        let found = remotes(&server);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["10.77.0.2", "10.77.0.50"], "{flags}");
        assert!(found.values().all(|ports| (24..=28).contains(&ports.len())), "{flags}: {found:?}");
        let said = refused(command(&format!("http://10.77.0.1/ --interface fw-b0 {flags} --source 10.77.0.99")));
        assert!(
            said.contains("cannot connect to 10.77.0.1:80 from 10.77.0.99: the local address is none of"),
            "{said}"
        );
        server.stop();
    }
}

/// Also of several shards: the files say what the report says.
#[test]
fn files_and_the_document_say_the_same() {
    let _lab = lab_of(2);
    let server = Server::start("http --listen 10.77.0.1:80");
    for flags in ["", "--rate 500"] {
        let [hgrm, hlog, csv] = ["load.hgrm", "load.hlog", "load.csv"].map(Output::new);
        let files = format!("--hgrm {} --hlog {} --csv {}", hgrm.path(), hlog.path(), csv.path());
        let output =
            command(&format!("http://10.77.0.1/ --interface fw-b0 --json --live --seconds 2.2 {flags} {files}"))
                .output()
                .unwrap();
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        let report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        assert!(said.matches("/s  p50 ").count() >= 2 && said.contains("  16 open"), "{said}");
        let count = report["responses"].as_u64().unwrap();
        let all = sum(&read_log(hlog.path().as_ref()));
        assert_eq!((all.len(), all.max()), (count, report["latency_ns"]["max"].as_u64().unwrap()));
        let in_csv: u64 = std::fs::read_to_string(csv.path())
            .unwrap()
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(1).unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(in_csv, count);
        let hgrm = std::fs::read_to_string(hgrm.path()).unwrap();
        assert!(hgrm.contains(&format!("Total count    = {count:12}]")), "{count}: {hgrm}");
        let seconds = report["seconds"].as_array().unwrap();
        assert_eq!(seconds.iter().map(|second| second["count"].as_u64().unwrap()).sum::<u64>(), count);
        assert_eq!((&report["command"], seconds.len() >= 2), (&"load http".into(), true));
        for key in ["arguments", "version", "histogram", "connect_histogram"] {
            assert!(report[key].is_string(), "{key}");
        }
    }
    server.stop();
}
