//! The demo over fourwave: its end, whenever it comes, leaves nothing.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{self, Background, LabTurn, SOON, json, ok, run, sh, stderr};
use crate::support::{eventually, text};

fn demo(args: &[&str]) -> Background {
    let mut command = Command::new(common::FOURWAVE);
    command.arg("demo").args(args);
    Background::start(command)
}

fn assert_nothing_left() {
    common::lab_not_up();
    assert!(!text(&sh("ip netns list").stdout).contains("fw-"));
}

/// Another stack on the machine, and who is connected to it, are none of its business.
#[test]
fn a_small_demo_repairs_what_a_crash_left_and_shows_all() {
    let _turn = LabTurn::take();
    sh("ip netns add fw-b");
    let mut other = Command::new(common::FOURWAVE);
    other.args(["serve", "echo", "--stack", "kernel", "--listen", "127.0.0.1:0"]);
    let (_other, place) = Background::listening(other);
    let address = place.split_whitespace().next().unwrap();
    let _connected = TcpStream::connect(address).unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut demo = demo(&["--mib", "8", "--connections", "200", "--rounds", "1", "--json"]);
    let (code, stdout, said) = demo.end(3 * SOON);
    assert_eq!(code, Some(0), "{said}");
    let report = json(&stdout);
    assert_eq!(report["left_over"]["connections"], 0, "{report}");
    for point in ["raw", "fourwave", "kernel_epoll", "kernel_spin"] {
        assert!(report["bench"]["rtt"][point]["p50_ns"].as_u64().unwrap() > 0, "{point}");
    }
    assert_nothing_left();
}

#[test]
fn ctrl_c_at_any_moment_leaves_nothing() {
    let _turn = LabTurn::take();
    for delay_ms in [0, 50, 300, 600, 1000, 2500, 4000] {
        let mut demo = demo(&["--mib", "64", "--connections", "25000", "--rounds", "5"]);
        demo.hears_ctrl_c();
        std::thread::sleep(Duration::from_millis(delay_ms));
        demo.signal(Signal::INT);
        let (code, _, said) = demo.end(SOON);
        assert_eq!(code, Some(1), "after {delay_ms} ms: {said}");
        assert!(said.lines().last().unwrap().contains("interrupted"), "after {delay_ms} ms: {said}");
        assert_nothing_left();
    }
}

/// It would take the lab down at its end, and a server in it along.
#[test]
fn a_lab_that_is_somebody_elses_is_left_alone() {
    let _turn = LabTurn::take();
    ok(&["lab", "up", "--queues", "2"]);
    let index = || sh("ip -n fw-a -o link show fw-a0").stdout;
    let before = index();
    let output = run(&["demo"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output).lines().last(),
        Some("fourwave: there is a lab already, which `fourwave demo` would take down: `fourwave lab down` first")
    );
    assert_eq!(index(), before);
    assert_eq!(json(&ok(&["lab", "status", "--json"]))["config"]["queues"], 2);
    ok(&["lab", "down"]);
    assert_nothing_left();
}

#[test]
fn an_interface_that_vanishes_is_one_sentence_and_leaves_nothing() {
    let _turn = LabTurn::take();
    let mut demo = demo(&["--mib", "4096"]);
    eventually("its client runs", || text(&sh("ip netns pids fw-b").stdout).lines().count() > 0);
    std::thread::sleep(Duration::from_millis(300));
    sh("ip -n fw-b link delete fw-b0");
    let (code, stdout, said) = demo.end(3 * SOON);
    assert_eq!(code, Some(1), "{said}");
    assert!(stdout.is_empty());
    assert!(said.lines().last().unwrap().starts_with("fourwave: "), "{said}");
    assert_nothing_left();
}
