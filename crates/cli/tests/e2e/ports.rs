//! Ports that the kernel and the stack could both use: who has them is named, and the stack's are kept from the kernel.

use std::fs;

use rustix::process::Signal;

use crate::common::{self, Background, SOON};
use crate::support::{Server, assert_no_program, eventually, fourwave, good, kernel_echo, lab, refused, text};

fn sh(script: &str) -> String {
    let output = common::sh(script);
    assert!(output.status.success(), "{script}: {}", common::stderr(&output));
    text(&output.stdout).trim().to_owned()
}

fn reserved() -> String {
    sh("ip netns exec fw-a cat /proc/sys/net/ipv4/ip_local_reserved_ports")
}

/// Files of reservations.
fn records() -> usize {
    let entries = fs::read_dir("/run/fourwave").unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "ports")).count()
}

/// fw-a's kernel takes its ports from everywhere, but for some that its administrator has reserved: more than 32 bytes of
/// them, since the kernel gives the list in one piece only.
fn wide_kernel() {
    sh("ip netns exec fw-a sysctl -q -w net.ipv4.ip_local_port_range='1024 65535'");
    sh(&format!("ip netns exec fw-a sysctl -q -w net.ipv4.ip_local_reserved_ports={ADMINISTRATORS}"));
}

const ADMINISTRATORS: &str = "2000,2002,2004,2006,2008,2010,2012,61000-61009";
const WITH_OURS: &str = "2000,2002,2004,2006,2008,2010,2012,61000-65535";

/// A client in fw-a that goes on for long, and is connected.
fn client() -> Background {
    let client = Background::start(common::in_namespace("fw-a", &["ping", "10.77.0.2:8000", "--seconds", "600"]));
    eventually("the client is connected", || {
        sh("ip netns exec fw-b ss -Htn state established sport = :8000").lines().count() == 1
    });
    client
}

#[test]
fn who_has_a_port_is_named() {
    let _lab = lab();
    let serve = |listen: &str| refused(fourwave("fw-a", &["serve", "echo", "--listen", listen]));
    for (has, wanted) in
        [("10.77.0.1", "10.77.0.1"), ("0.0.0.0", "10.77.0.1"), ("::", "10.77.0.1"), ("::", "[fd77::1]")]
    {
        let _kernel = kernel_echo("fw-a", has, "8000");
        let said = serve(&format!("{wanted}:8000"));
        let pid = sh("ip netns exec fw-a ss -Hltnp sport = :8000 | sed 's/.*pid=\\([0-9]*\\).*/\\1/'");
        assert!(said.contains(&format!("python3 (process {pid})")), "{has}: {said}");
        assert!(said.contains(&format!("{wanted}:8000 is in use")), "{has}: {said}");
    }
    // Another address is nobody's business.
    let _kernel = kernel_echo("fw-a", "127.0.0.1", "8000");
    Server::start("echo --listen 10.77.0.1:8000").stop();
    // A socket of the kernel's among the ports of active opens.
    let _far = kernel_echo("fw-b", "10.77.0.2", "8000");
    let _kernel = kernel_echo("fw-a", "0.0.0.0", "62000");
    let said = refused(fourwave("fw-a", &["ping", "10.77.0.2:8000", "--count", "1"]));
    assert!(said.contains("port 62000") && said.contains("python3 (process "), "{said}");
    assert_no_program();
}

#[test]
fn ports_of_active_opens_are_reserved_for_as_long_as_the_stack_runs() {
    let _lab = lab();
    let _far = kernel_echo("fw-b", "10.77.0.2", "8000");
    wide_kernel();
    for signal in [Signal::INT, Signal::TERM] {
        let mut client = client();
        assert_eq!((reserved().as_str(), records()), (WITH_OURS, 1));
        client.signal(signal);
        client.end(SOON);
        assert_eq!((reserved().as_str(), records()), (ADMINISTRATORS, 0));
    }
    // A start that fails leaves nothing.
    let busy = kernel_echo("fw-a", "10.77.0.1", "62000");
    refused(fourwave("fw-a", &["ping", "10.77.0.2:8000", "--count", "1"]));
    assert_eq!((reserved().as_str(), records()), (ADMINISTRATORS, 0));
    drop(busy);
    // Nor do those who need none reserve any.
    let server = Server::echo();
    assert_eq!((reserved().as_str(), records()), (ADMINISTRATORS, 0));
    server.stop();
}

#[test]
fn what_a_killed_process_reserved_is_taken_back_by_the_next() {
    let _lab = lab();
    let _far = kernel_echo("fw-b", "10.77.0.2", "8000");
    wide_kernel();
    for next_is_server in [false, true] {
        let mut killed = client();
        // The far end may know the connection of the one before for a while.
        eventually("it has its ports", || reserved() == WITH_OURS);
        killed.signal(Signal::KILL);
        killed.end(SOON);
        assert_eq!((reserved().as_str(), records()), (WITH_OURS, 1), "harmless, and known");
        eventually("the kernel is rid of the program", || !sh("ip -n fw-a -d link show fw-a0").contains("xdp"));
        if next_is_server {
            Server::echo().stop();
        } else {
            good(fourwave("fw-a", &["ping", "10.77.0.2:8000", "--count", "10"]));
        }
        assert_eq!((reserved().as_str(), records()), (ADMINISTRATORS, 0));
    }
}

/// Without the right to reserve them they are refused, with what to do.
#[test]
fn ports_that_cannot_be_reserved_are_refused() {
    let _lab = lab();
    let _far = kernel_echo("fw-b", "10.77.0.2", "8000");
    wide_kernel();
    // A namespace of mounts in which the list can't be written.
    let args = ["ping", "10.77.0.2:8000", "--count", "1"].join(" ");
    let script = format!(
        "mount --bind -o ro /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec {} {args}",
        common::FOURWAVE
    );
    let said = refused(crate::support::within("fw-a", 30, &["sh", "-c", &script]));
    assert!(said.contains("61010-65535") && said.contains("ip_local_reserved_ports"), "{said}");
    assert_eq!((reserved().as_str(), records()), (ADMINISTRATORS, 0));
    assert_no_program();
}
