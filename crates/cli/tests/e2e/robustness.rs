//! Ends that nobody asked for: of the process, of the link, of the interface.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{self, Background, LabTurn};
use crate::ss::holding;
use crate::support::{
    SOON, Server, assert_no_program, assert_refused, bulk, eventually, good, lab, long_transfer, need, text, within,
};

fn sh(script: &str) {
    let output = common::sh(script);
    assert!(output.status.success(), "{script}: {}", common::stderr(&output));
}

/// The client of a transfer that was cut off: an error, and soon.
fn assert_cut_off(mut transfer: Background) {
    let (code, stdout, _) = transfer.end(SOON);
    assert_eq!(code, Some(1), "{stdout}");
}

#[test]
fn kill_9_during_a_transfer_leaves_nothing() {
    let _lab = lab();
    for _ in 0..2 {
        let mut server = Server::echo();
        let transfer = long_transfer();
        server.signal(Signal::KILL);
        server.end();
        assert_no_program();
        // The kernel has its port back: it resets the connection it knows nothing of, and refuses new ones.
        assert_cut_off(transfer);
        assert_refused("10.77.0.1", "7");
        let server = Server::echo();
        bulk("10.77.0.1", "7", "1");
        server.stop();
    }
}

#[test]
fn ctrl_c_during_a_transfer_ends_in_order() {
    let _lab = lab();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut server = Server::echo();
        let socket = server.socket();
        assert!(Path::new(&socket).exists());
        let transfer = long_transfer();
        server.signal(signal);
        let (code, said) = server.end();
        assert_eq!((code, said.len()), (Some(0), 0), "{said:?}");
        assert!(!Path::new(&socket).exists());
        assert_no_program();
        // Its data was cut off, and it is told so: an end of the stream, or a reset.
        assert_cut_off(transfer);
        assert_refused("10.77.0.1", "7");
    }
}

#[test]
fn a_link_that_goes_down_for_a_while_costs_no_connection() {
    let _lab = lab();
    let mut server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "1"]);
    let mut echo = |down: &str, up: &str| {
        sh(down);
        client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        sh(up);
        let mut echoed = [0; 7];
        client.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"echoed\n");
    };
    echo("true", "true");
    echo("ip -n fw-a link set fw-a0 down", "ip -n fw-a link set fw-a0 up");
    echo("ip -n fw-b link set fw-b0 down", "ip -n fw-b link set fw-b0 up");
    assert!(server.running());
    drop(client.stdin.take());
    client.wait().unwrap();
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

#[test]
fn a_link_that_goes_down_under_a_sender_costs_no_connection() {
    need("nc", "netcat-openbsd");
    let _lab = lab();
    let mut server = Server::start("chargen --listen 10.77.0.1:19");
    let mut client = Background::start(within("fw-b", 30, &["sh", "-c", "nc -d 10.77.0.1 19 | wc -c"]));
    let sent = || server.connections().first().map(|row| (row["state"].clone(), row["retransmits"].as_u64()));
    eventually("the client reads", || sent().is_some());
    sh("ip -n fw-a link set fw-a0 down");
    std::thread::sleep(Duration::from_secs(2));
    sh("ip -n fw-a link set fw-a0 up");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sent().map(|(state, _)| state), Some("ESTABLISHED".into()));
    assert!(server.running());
    server.stop();
    client.end(SOON);
}

#[test]
fn an_interface_that_is_deleted_under_a_sender_ends_the_server() {
    need("nc", "netcat-openbsd");
    let _lab = lab();
    let mut server = Server::start("chargen --listen 10.77.0.1:19");
    let _client = Background::start(within("fw-b", 30, &["sh", "-c", "nc -d 10.77.0.1 19 | wc -c"]));
    eventually("the client reads", || !server.connections().is_empty());
    sh("ip -n fw-a link delete fw-a0");
    let (code, said) = server.end();
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("fw-a0") && said[0].contains("gone"), "{said:?}");
    assert!(!Path::new(&server.socket()).exists());
}

#[test]
fn an_interface_that_is_deleted_ends_an_idle_server() {
    let _lab = lab();
    for idle in ["adaptive", "busy"] {
        common::ok(&["lab", "up"]);
        let mut server = Server::start(&format!("echo --listen 10.77.0.1:7 --idle {idle}"));
        sh("ip -n fw-a link delete fw-a0");
        let (code, said) = server.end();
        assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
        assert!(said[0].contains("fw-a0"), "{said:?}");
    }
}

#[test]
fn ctrl_c_works_when_the_interface_is_gone() {
    let _lab = lab();
    let mut server = Server::echo();
    let mut client = holding(&["10.77.0.1", "7", "1"]);
    sh("ip -n fw-a link delete fw-a0");
    std::thread::sleep(Duration::from_millis(300));
    if server.running() {
        server.signal(Signal::INT);
    }
    let (_, said) = server.end();
    assert!(said.len() <= 1, "{said:?}");
    assert!(!Path::new(&server.socket()).exists());
    client.kill().unwrap();
    client.wait().unwrap();
}

/// The kernel's own packets pass the program, whatever fills the stack's ring.
#[test]
fn the_kernel_answers_during_a_transfer() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::echo();
    let transfer = long_transfer();
    let ping = within("fw-b", 30, &["ping", "-n", "-c", "10", "-i", "0.1", "-W", "5", "10.77.0.1"]).output().unwrap();
    assert!(text(&ping.stdout).contains(" 0% packet loss"), "{}", text(&ping.stdout));
    drop(transfer);
    server.assert_empty();
    server.stop();
}

/// `--drain-time`: who is there when the end is asked for may finish, nobody else is let in; and then the server ends. A second
/// signal does not wait for who is left.
#[test]
fn a_drain_lets_connections_end() {
    let _lab = lab();
    for again in [false, true] {
        let mut server = Server::start("echo --listen 10.77.0.1:7 --drain-time 600");
        let mut client = holding(&["10.77.0.1", "7", "1"]);
        server.signal(Signal::TERM);
        let open = "import socket; socket.create_connection((\"10.77.0.1\", 7), timeout=5)";
        let is_let_in = || common::sh(&format!("ip netns exec fw-b python3 -c '{open}'")).status.success();
        eventually("nobody is let in", || !is_let_in());
        assert!(server.running());
        if again {
            server.signal(Signal::TERM);
        } else {
            client.kill().unwrap();
        }
        let (code, said) = server.end();
        assert_eq!((code, said.len()), (Some(0), 0), "{said:?}");
        let _ = client.kill();
        client.wait().unwrap();
    }
    assert_no_program();
}

/// `/run/fourwave` is there from before, and what it is in can only be read: the next place is taken, and found.
#[test]
fn a_control_socket_goes_where_it_can_be_written() {
    let _turn = LabTurn::take();
    let other = common::temporary("runtime");
    std::fs::create_dir_all(&other).unwrap();
    assert!(common::sh("mkdir -m 700 /run/fourwave && mount -o remount,ro /run").status.success());
    let fourwave = |args: &[&str]| {
        let mut command = Command::new(common::FOURWAVE);
        command.args(args).env("XDG_RUNTIME_DIR", &other);
        command
    };
    let server = Server::spawn(fourwave(&["serve", "echo", "--stack", "kernel", "--listen", "127.0.0.1:7777"]));
    assert!(other.join(format!("fourwave/{}.sock", server.pid())).exists());
    good(fourwave(&["ss", "--pid", &server.pid().to_string()]));
    server.stop();
    std::fs::remove_dir_all(&other).unwrap();
}
