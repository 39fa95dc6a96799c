//! What `serve` refuses: one sentence that says what is wrong, and nothing left behind.

use std::process::Command;

use crate::common::{self, run};
use crate::support::{Server, assert_no_program, bulk, fourwave, kernel_echo, lab, refused, text};

fn serve(args: &str) -> Command {
    let mut all = vec!["serve", "echo"];
    all.extend(args.split(' '));
    fourwave("fw-a", &all)
}

fn assert_says(args: &str, words: &[&str]) {
    let said = refused(serve(args));
    for word in words {
        assert!(said.contains(word), "`{args}` says {said:?}, which lacks {word:?}");
    }
}

#[test]
fn each_mistake_is_named() {
    let _lab = lab();
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "8000");
    let cases: [(&str, &[&str]); 13] = [
        ("--listen 10.77.0.1:8000", &["10.77.0.1:8000", "in use"]),
        ("--listen 10.77.0.9:7", &["10.77.0.9 is not an address of fw-a0", "10.77.0.1", "--address"]),
        ("--listen 192.0.2.7:7", &["192.0.2.7", "--interface"]),
        ("--listen 0.0.0.0:7", &["0.0.0.0", "--interface"]),
        ("--listen 10.77.0.1:7 --interface nope", &["\"nope\"", "ip link"]),
        ("--listen 10.77.0.51:7 --address 10.77.0.50/24", &["10.77.0.51", "10.77.0.50"]),
        ("--listen 10.77.0.1:7 --address 10.77.0.1/24", &["10.77.0.1", "kernel's own", "fw-a0"]),
        ("--listen 127.0.0.1:7 --interface lo", &["lo is no Ethernet interface", "--stack kernel"]),
        ("--listen 10.77.0.1:7 --queues 1", &["queue 1", "fw-a0"]),
        ("--listen 10.77.0.1:7 --queues 0,1", &["queue 1", "fw-a0"]),
        ("--listen 10.77.0.1:7 --cores 0,1", &["2 core", "1 queue", "fw-a0 rx 2"]),
        ("--listen 10.77.0.1:7 --cores 4000", &["core 4000"]),
        ("--listen 10.77.0.1:7 --copy zero-copy", &["can't do zero-copy: use --copy auto\n"]),
    ];
    for (args, words) in cases {
        assert_says(args, words);
        assert_no_program();
    }
    let server = Server::echo();
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

/// RFC 4862 section 5.4: fw-b has the second.
#[test]
fn an_address_that_is_tentative_is_waited_for_and_one_that_is_somebody_elses_is_named() {
    let _lab = lab();
    // In the lab addresses are there at once.
    let dad = "net.ipv6.conf.fw-a0.accept_dad=1 net.ipv6.conf.fw-a0.dad_transmits=1";
    assert!(common::sh(&format!("ip netns exec fw-a sysctl -q -w {dad}")).status.success());
    for last in ["e", "2"] {
        let added = common::sh(&format!("ip -n fw-a addr add fd77::{last}/64 dev fw-a0"));
        assert!(added.status.success(), "{}", common::stderr(&added));
    }
    Server::start("echo --listen [fd77::e]:7").stop();
    assert_says("--listen [fd77::2]:7", &["fd77::2", "fw-a0", "duplicate", "dadfailed"]);
}

/// The kernel lets an interface have one, and nobody on its link can.
#[test]
fn an_address_of_loopback_on_the_interface_is_left_to_the_kernel() {
    let _lab = lab();
    let added = common::sh("ip -n fw-a addr add 127.0.0.5/8 dev fw-a0");
    assert!(added.status.success(), "{}", common::stderr(&added));
    Server::echo().stop();
    assert_says("--listen 127.0.0.5:7 --interface fw-a0", &["127.0.0.5 is not an address of fw-a0"]);
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    for args in [
        &["serve", "echo", "--listen", "10.77.0.1:7", "--ilde", "busy"][..],
        &["serve", "echo"],
        &["serve", "http", "--listen", "10.77.0.1"],
        &["serve", "echo", "--listen", "10.77.0.1:0"],
        &["serve", "echo", "--listen", "10.77.0.1:7", "--gateway", "10.77.0.2"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", common::stderr(&output));
    }
}

#[test]
fn an_interface_that_is_down() {
    let _lab = lab();
    common::sh("ip -n fw-a link set fw-a0 down");
    assert_says("--listen 10.77.0.1:7 --interface fw-a0", &["fw-a0 is down", "ip link set fw-a0 up"]);
    common::sh("ip -n fw-a link set fw-a0 up");
    let server = Server::echo();
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

#[test]
fn a_second_server_on_the_interface() {
    let _lab = lab();
    let server = Server::echo();
    let first = format!("by the fourwave stack of fourwave (process {})", server.pid());
    assert_says("--listen 10.77.0.1:7", &["10.77.0.1:7 is in use", &first]);
    assert_says("--listen 0.0.0.0:7 --interface fw-a0", &["0.0.0.0:7 is in use", &first]);
    assert_says("--listen 10.77.0.1:70", &["fw-a0", "already runs XDP program"]);
    // The first has taken no harm.
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

#[test]
fn without_root() {
    let _lab = lab();
    let program = common::for_nobody();
    let program = program.path();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "fw-a", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(&program).args(args).output().unwrap()
    };
    for args in [
        &["serve", "echo", "--listen", "10.77.0.1:7"][..],
        &["serve", "echo", "--listen", "10.77.0.1:7777"],
        &["serve", "echo", "--listen", "10.77.0.50:7", "--address", "10.77.0.50/24"],
        &["serve", "echo", "--listen", "10.77.0.1:7", "--stack", "raw"],
        &["ping", "10.77.0.2:7"],
        &["ping", "10.77.0.2:7", "--stack", "raw"],
    ] {
        let output = nobody(args);
        let said = crate::support::sentence(&output);
        assert!(said.contains("root") && said.contains("sudo"), "{args:?}: {said}");
        assert!(text(&output.stdout).is_empty());
    }
}
