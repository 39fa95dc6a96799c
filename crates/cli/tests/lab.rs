//! The lab: built, repaired and removed, whatever it was before. Needs root.

mod common;

use common::{Background, LabTurn, SOON, in_namespace, json, ok, run, sh, stderr};
use rustix::process::Signal;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn namespaces() -> String {
    String::from_utf8(sh("ip netns list").stdout).unwrap()
}

fn assert_up(queues: u64, mtu: u64) {
    let status = json(&ok(&["lab", "status", "--json"]));
    assert_eq!(status["up"], true, "{status}");
    assert_eq!(status["config"]["queues"], queues);
    assert_eq!(status["config"]["mtu"], mtu);
}

fn assert_down() {
    assert!(!namespaces().contains("fw-"), "{}", namespaces());
    assert_eq!(common::lab_not_up()["problems"], serde_json::json!([]));
}

#[test]
fn up_and_down_are_idempotent() {
    let _turn = LabTurn::take();
    ok(&["lab", "up"]);
    assert_up(1, 1500);
    let index = || sh("ip -n fw-a -o link show fw-a0").stdout;
    let before = index();
    ok(&["lab", "up"]);
    assert_eq!(index(), before, "it was left alone");
    ok(&["lab", "up", "--queues", "2", "--mtu", "3000"]);
    assert_up(2, 3000);
    ok(&["lab", "down"]);
    assert_down();
    ok(&["lab", "down"]);
    assert_down();
}

/// A tenth of the frames each way: of 2000 pings 1620 come back, and from 1500 to 1740 in all but one of 10^10 runs (seven
/// standard deviations).
#[test]
fn a_lossy_path_loses_what_it_is_to() {
    let _turn = LabTurn::take();
    ok(&["lab", "up", "--loss", "10%"]);
    let loss = || json(&ok(&["lab", "status", "--json"]))["config"]["loss_ppm"].as_u64();
    assert_eq!(loss(), Some(100_000));
    assert!(ok(&["lab", "status"]).contains("10 % of the frames lost each way"));
    let index = || sh("ip -n fw-a -o link show fw-a0").stdout;
    let before = index();
    ok(&["lab", "up", "--loss", "10%"]);
    assert_eq!(index(), before, "it was left alone");
    // Who is whose neighbour is known for good, so that nothing but pings is lost.
    for (from, to) in [("a", "b"), ("b", "a")] {
        let mac = String::from_utf8(sh(&format!("ip netns exec fw-{to} cat /sys/class/net/fw-{to}0/address")).stdout);
        let number = if to == "a" { 1 } else { 2 };
        let set = format!("neighbour replace 10.77.0.{number} lladdr {} dev fw-{from}0", mac.unwrap().trim());
        assert!(sh(&format!("ip -n fw-{from} {set}")).status.success(), "{set}");
    }
    let pings = sh("ip netns exec fw-b ping -q -c 2000 -i 0.002 -W 1 10.77.0.1").stdout;
    let said = String::from_utf8(pings).unwrap();
    let came: u32 = said.split(", ").find_map(|part| part.strip_suffix(" received")).unwrap().parse().unwrap();
    assert!((1500..=1740).contains(&came), "{said}");
    ok(&["lab", "up"]);
    assert_eq!(loss(), Some(0));
    assert!(!namespaces().contains("fw-m"));
    ok(&["lab", "down"]);
    assert_down();
    for wrong in ["51%", "-1%", "much"] {
        assert_eq!(run(&["lab", "up", &format!("--loss={wrong}")]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn both_families_reach_the_other_end() {
    let _turn = LabTurn::take();
    ok(&["lab", "up"]);
    for listen in ["10.77.0.1:9", "[fd77::1]:9"] {
        let _server =
            Background::server(in_namespace("fw-a", &["serve", "echo", "--stack", "kernel", "--listen", listen]));
        let args = ["ping", listen, "--stack", "kernel", "--count", "10", "--json"];
        let output = in_namespace("fw-b", &args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn what_a_crash_left_is_repaired_and_removed() {
    let _turn = LabTurn::take();
    let damages = [
        "ip netns add fw-b",
        "mkdir -p /run/netns && touch /run/netns/fw-a",
        "ip netns add fw-a && ip netns add fw-b && ip -n fw-a link add fw-a0 type veth peer name fw-b0",
        "fourwave lab up && ip -n fw-b link delete fw-b0",
        "fourwave lab up && ip -n fw-a address flush dev fw-a0",
        "fourwave lab up && ip -n fw-a link set fw-a0 down",
        "fourwave lab up && ip netns exec fw-b ethtool -K fw-b0 gro on tx on",
        "fourwave lab up --loss 1% && ip -n fw-m link delete fw-ma",
        "fourwave lab up --loss 1% && tc -n fw-m filter delete dev fw-mb ingress prio 1",
        "fourwave lab up --loss 1% && ip -n fw-m link set dev fw-mb nomaster",
        "fourwave lab up --loss 1% && ip netns delete fw-a && ip netns delete fw-b",
    ];
    for damage in damages {
        let damage = damage.replace("fourwave", common::FOURWAVE);
        let cause = || {
            let output = sh(&damage);
            assert!(output.status.success(), "{damage}: {}", stderr(&output));
            assert_ne!(common::lab_not_up()["problems"], serde_json::json!([]), "{damage}");
        };
        cause();
        ok(&["lab", "up"]);
        assert_up(1, 1500);
        ok(&["lab", "down"]);
        cause();
        ok(&["lab", "down"]);
        assert_down();
    }
}

fn demo() -> Background {
    let mut command = Command::new(common::FOURWAVE);
    command.args(["demo", "--stack", "kernel", "--connections", "20000", "--mib", "512"]);
    Background::start(command)
}

/// Waits until the demo's server runs; the ids of its processes in the lab.
fn wait_for_processes() -> String {
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        let pids = String::from_utf8(sh("ip netns pids fw-a").stdout).unwrap();
        if !pids.trim().is_empty() {
            return pids.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the demo did not start its server");
}

#[test]
fn ctrl_c_of_the_demo_leaves_nothing() {
    let _turn = LabTurn::take();
    for delay_ms in [0, 20, 100, 400, 1500] {
        let mut demo = demo();
        demo.hears_ctrl_c();
        std::thread::sleep(Duration::from_millis(delay_ms));
        demo.signal(Signal::INT);
        let (code, _, said) = demo.end(SOON);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("interrupted"), "{said}");
        assert_down();
    }
}

#[test]
fn kill_of_the_demo_takes_its_children_along() {
    let _turn = LabTurn::take();
    let demo = demo();
    let pids = wait_for_processes();
    demo.signal(Signal::KILL);
    let alive = || sh(&format!("ps -o pid=,stat=,args= -p {} | grep -v ' Z'", pids.replace(' ', ","))).stdout;
    let end = Instant::now() + SOON;
    while !alive().is_empty() {
        assert!(Instant::now() < end, "{}", String::from_utf8_lossy(&alive()));
        std::thread::sleep(Duration::from_millis(10));
    }
    ok(&["lab", "down"]);
    assert_down();
}

#[test]
fn a_running_demo_keeps_others_from_the_lab() {
    let _turn = LabTurn::take();
    let mut demo = demo();
    wait_for_processes();
    for command in [&["lab", "up", "--queues", "4"][..], &["lab", "down"], &["demo"], &["bench"]] {
        let output = run(command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(stderr(&output).contains("is using the lab"), "{}", stderr(&output));
    }
    demo.signal(Signal::TERM);
    demo.end(SOON);
    assert_down();
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let _turn = LabTurn::take();
    let output = Command::new(common::FOURWAVE)
        .args(["lab", "up"])
        .env("PATH", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("apt-get install iproute2"), "{}", stderr(&output));
}
