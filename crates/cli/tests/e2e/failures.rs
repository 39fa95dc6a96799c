//! Kill, cable-out and restart during transfers: each side learns it as the table of ends says.

use std::io::Write;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{self, Background};
use crate::support::{
    SOON, Server, assert_no_program, assert_whole, bulk, eventually, fourwave, kernel_echo, lab, long_transfer, text,
};

fn sh(script: &str) {
    let output = common::sh(script);
    assert!(output.status.success(), "{script}: {}", common::stderr(&output));
}

/// The client of a transfer that was reset: python's name for it.
fn assert_reset(mut transfer: Background) {
    let (code, stdout, _) = transfer.end(SOON);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("ConnectionResetError"), "{stdout}");
}

/// Nobody is left to answer for the port but the kernel, and it resets what it doesn't know (RFC 9293 section 3.10.7.1).
#[test]
fn a_killed_servers_peers_are_reset_and_its_port_is_the_kernels() {
    let _lab = lab();
    let mut server = Server::echo();
    let transfer = long_transfer();
    server.signal(Signal::KILL);
    server.end();
    assert_reset(transfer);
    assert_no_program();
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "7");
    bulk("10.77.0.1", "7", "1");
}

#[test]
fn a_server_that_is_killed_and_started_again_resets_old_peers_and_takes_new_ones() {
    let _lab = lab();
    for _ in 0..3 {
        let mut server = Server::echo();
        let transfer = long_transfer();
        server.signal(Signal::KILL);
        server.end();
        // At once: nothing keeps the address, the interface or the port.
        let server = Server::echo();
        bulk("10.77.0.1", "7", "1");
        assert_reset(transfer);
        server.assert_empty();
        server.stop();
    }
}

/// An idle peer learns it when it speaks: the new server's stack doesn't know the connection.
#[test]
fn an_idle_peer_of_a_killed_server_is_reset_by_the_next() {
    let _lab = lab();
    let mut server = Server::echo();
    let mut client = crate::ss::holding(&["10.77.0.1", "7", "1"]);
    server.signal(Signal::KILL);
    server.end();
    let server = Server::echo();
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut client = Background::of(client);
    let (code, _, stderr) = client.end(SOON);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("ConnectionResetError"), "{stderr}");
    server.assert_empty();
    server.stop();
}

#[test]
fn a_killed_client_leaves_nothing_in_the_server() {
    let _lab = lab();
    let mut server = Server::echo();
    for signal in [Signal::KILL, Signal::TERM] {
        let mut transfer = long_transfer();
        assert_eq!(server.connections().len(), 1);
        transfer.signal(signal);
        transfer.end(SOON);
        eventually("the connection is gone", || server.connections().is_empty());
    }
    assert!(server.running());
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

/// RFC 9293 section 3.8.1: what was lost meanwhile is sent again, from both sides.
#[test]
fn a_transfer_survives_three_seconds_without_a_cable() {
    let _lab = lab();
    let mut server = Server::echo();
    let transfer = long_transfer();
    sh("ip -n fw-b link set fw-b0 down");
    std::thread::sleep(Duration::from_secs(3));
    let rows = server.connections();
    assert_eq!((rows.len(), &rows[0]["state"]), (1, &"ESTABLISHED".into()), "it is under way while the cable is out");
    sh("ip -n fw-b link set fw-b0 up");
    assert_whole(transfer);
    assert!(server.running());
    server.assert_empty();
    server.stop();
}

/// fourwave as the client. A server that is killed ends the connection in order or by a reset, and a new one is met by new
/// connections only.
#[test]
fn a_kernel_server_that_is_killed_and_started_again() {
    let _lab = lab();
    let kernel = kernel_echo("fw-b", "10.77.0.2", "8000");
    let ping = || fourwave("fw-a", &["ping", "10.77.0.2:8000", "--connections", "4", "--seconds", "25", "--json"]);
    let mut client = Background::start(ping());
    eventually("the client is connected", || {
        let shown = common::sh("ip netns exec fw-b ss -Htn state established sport = :8000");
        text(&shown.stdout).lines().count() == 4
    });
    drop(kernel);
    eventually("the old server is dead", || {
        let shown = common::sh("ip netns exec fw-b ss -Hltn sport = :8000");
        shown.status.success() && shown.stdout.is_empty()
    });
    let _kernel = kernel_echo("fw-b", "10.77.0.2", "8000");
    let (code, _, stderr) = client.end(SOON);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("closed the connection") || stderr.contains("reset the connection"), "{stderr}");
    let args = ["ping", "10.77.0.2:8000", "--connections", "4", "--count", "100", "--json"];
    crate::support::good(fourwave("fw-a", &args));
}
