//! Several shards, one for each queue of the lab. On veth the queue is the sending socket's, by a hash that the kernel changes
//! when it has to send again; and it knows nothing of where a flow lives, so what is opened from here is answered anywhere.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, Background, LabTurn, SOON, json, ok};
use crate::ss::holding;
use crate::support::{Server, assert_no_program, bulk, eventually, fourwave, good, kernel_echo, peer, refused};

fn lab(queues: &str) -> LabTurn {
    let turn = LabTurn::take();
    ok(&["lab", "up", "--queues", queues]);
    turn
}

/// How many rows each shard has.
fn by_shard(rows: &[Value]) -> BTreeMap<u64, usize> {
    let mut shards = BTreeMap::new();
    for row in rows {
        *shards.entry(row["shard"].as_u64().unwrap()).or_default() += 1;
    }
    shards
}

/// A counter, all told and of each shard.
fn counter(pid: u32, name: &str) -> (u64, Vec<u64>) {
    let all = json(&ok(&["ss", "--counters", "--json", "--pid", &pid.to_string()]));
    let row = all.as_array().unwrap().iter().find(|row| row["counter"] == name).cloned().expect(name);
    let shards = row["shards"].as_array().expect("several shards").iter().map(|value| value.as_u64().unwrap());
    (row["value"].as_u64().unwrap(), shards.collect())
}

/// Sixty-four at once are spread over the shards; what they send comes back as it was, and all are closed in order.
///
/// In generic mode the kernel's veth has the number of the queue one too low: 0 gets the share of two, and the last one none.
#[test]
fn kernel_clients_of_a_server_on_two_and_four_queues() {
    for (queues, mode, shards) in [("2", "native", 2), ("4", "native", 4), ("4", "generic", 3)] {
        let _lab = lab(queues);
        let server = Server::start(&format!("echo --listen 10.77.0.1:7 --xdp-mode {mode}"));
        let mut client = holding(&["10.77.0.1", "7", "64"]);
        let rows = server.connections();
        assert!(rows.iter().all(|row| row["state"] == "ESTABLISHED"));
        let each = by_shard(&rows);
        assert_eq!(each.values().sum::<usize>(), 64, "{each:?}");
        // By a hash: the chance that one of four gets none of 64 is one in a hundred million.
        assert!(each.len() >= shards, "{mode}: {each:?}");
        drop(client.stdin.take());
        client.wait().unwrap();
        good(peer("fw-b", "many", &["10.77.0.1", "7", "64"]));
        bulk("10.77.0.1", "7", "32");
        server.assert_empty();
        let (accepted, each) = counter(server.pid(), "accepted");
        assert_eq!((accepted, each.len().to_string().as_str()), (64 + 64 + 1, queues), "{each:?}");
        assert_eq!(each.iter().sum::<u64>(), accepted);
        server.stop();
        assert_no_program();
    }
}

/// Each shard opens its share; the answers come to any of them.
#[test]
fn ping_from_two_and_four_queues_to_a_kernel_server() {
    for queues in ["2", "4"] {
        let _lab = lab(queues);
        let _server = kernel_echo("fw-a", "10.77.0.1", "8000");
        let args = ["ping", "10.77.0.1:8000", "--connections", "64", "--count", "5000", "--json"];
        let report = json(&good(fourwave("fw-b", &args)));
        assert_eq!((&report["count"], &report["errors"]), (&5000.into(), &0.into()), "{report}");

        let args = ["ping", "10.77.0.1:8000", "--connections", "64", "--seconds", "600", "--json"];
        let mut ping = Background::start(common::in_namespace("fw-b", &args));
        let pid = ping.pid();
        let rows = || -> Vec<Value> {
            let output = common::run(&["ss", "--json", "--pid", &pid.to_string()]);
            serde_json::from_slice(&output.stdout).unwrap_or_default()
        };
        let share = 64 / queues.parse::<usize>().unwrap();
        eventually("each shard has its share", || {
            let established: Vec<_> = rows().into_iter().filter(|row| row["state"] == "ESTABLISHED").collect();
            established.len() == 64 && by_shard(&established).values().all(|rows| *rows == share)
        });
        eventually("answers were handed over", || counter(pid, "handoff_straight").0 > 1000);
        assert_eq!(counter(pid, "connected").0, 64);
        ping.signal(Signal::INT);
        let (code, stdout, said) = ping.end(SOON);
        assert_eq!((code, common::but_warnings(&said).len()), (Some(0), 0), "{said}{stdout}");
        let report = json(&stdout);
        assert!(report["count"].as_u64().unwrap() > 1000 && report["errors"] == 0, "{report}");
        assert_no_program_in("fw-b", "fw-b0");
    }
}

fn assert_no_program_in(namespace: &str, interface: &str) {
    let shown = common::sh(&format!("ip -n {namespace} -d link show {interface}"));
    assert!(!crate::support::text(&shown.stdout).contains("xdp"));
}

/// The answers to ARP and neighbour solicitations come to one queue, and all shards need them.
#[test]
fn an_owned_address_on_four_queues() {
    let _lab = lab("4");
    let server = Server::start("echo --listen 10.77.0.50:7 --interface fw-a0 --address 10.77.0.50/24");
    good(peer("fw-b", "many", &["10.77.0.50", "7", "64"]));
    server.assert_empty();
    let ping =
        ["ping", "10.77.0.50:7", "--address", "10.77.0.60/24", "--connections", "16", "--count", "2000", "--json"];
    assert_eq!(json(&good(fourwave("fw-b", &ping)))["errors"], 0);
    assert!(counter(server.pid(), "copies_in").0 >= 3);
    server.stop();
    let server = Server::start("echo --listen [fd77::50]:7 --interface fw-a0 --address fd77::50/64");
    good(peer("fw-b", "many", &["fd77::50", "7", "64"]));
    server.assert_empty();
    let ping = ["ping", "[fd77::50]:7", "--address", "fd77::60/64", "--connections", "16", "--count", "2000", "--json"];
    assert_eq!(json(&good(fourwave("fw-b", &ping)))["errors"], 0);
    server.stop();
}

/// One shard's connections are no reason to reset another's, and the program is off at the end.
#[test]
fn ctrl_c_closes_the_connections_of_all_shards() {
    let _lab = lab("4");
    let server = Server::echo();
    // Each closes when the server does.
    let numbers: Vec<String> = (0..32).map(|number| format!("close={number}")).collect();
    let mut args = vec!["10.77.0.1", "7", "32"];
    args.extend(numbers.iter().map(String::as_str));
    let mut client = holding(&args);
    assert!(by_shard(&server.connections()).len() > 1);
    server.stop();
    assert_no_program();
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
}

#[test]
fn what_does_not_fit_the_queues_is_refused() {
    let _lab = lab("2");
    let serve = |args: &str| {
        let mut all = vec!["serve", "echo", "--listen", "10.77.0.1:7"];
        all.extend(args.split(' ').filter(|word| !word.is_empty()));
        fourwave("fw-a", &all)
    };
    let cases: [(&str, &[&str]); 4] = [
        ("--cores 0", &["1 core", "2 queue", "fw-a0"]),
        ("--queues 0", &["2 queues", "ethtool -L fw-a0 rx 1"]),
        ("--queues 0-2", &["no receive queue 2", "it has 2"]),
        ("--stack raw", &["one queue", "fw-a0 has 2", "ethtool -L fw-a0 rx 1"]),
    ];
    for (args, words) in cases {
        let said = refused(serve(args));
        assert!(words.iter().all(|word| said.contains(word)), "`{args}` says {said:?}, of {words:?}");
        assert_no_program();
    }
    let server = Server::start("echo --listen 10.77.0.1:7 --queues 1,0");
    bulk("10.77.0.1", "7", "1");
    server.stop();
}
