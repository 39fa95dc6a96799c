//! MTUs above what a frame of AF_XDP holds.

use crate::capture::Capture;
use crate::common::{self, json, ok};
use crate::connections::counter;
use crate::support::{Server, bulk, fourwave, good, need, refused};

/// RFC 9293 section 3.7.1: the MSS is what the interface's MTU leaves, and timestamps take 12 bytes of it.
/// MUST-16, MUST-67.
#[test]
fn full_sized_segments_go_both_ways_in_both_modes() {
    need("tcpdump", "tcpdump");
    let turn = common::LabTurn::take();
    let cases = [
        ("9000", "generic", ["10.77.0.1", "10.77.0.2"], 9000 - 20 - 20),
        ("9216", "native", ["fd77::1", "fd77::2"], 9216 - 40 - 20),
    ];
    for (mtu, mode, [ours, theirs], mss) in cases {
        ok(&["lab", "up", "--mtu", mtu]);
        let listen = if mss == 8960 { "10.77.0.1:7" } else { "[fd77::1]:7" };
        let server = Server::start(&format!("echo --listen {listen} --xdp-mode {mode}"));
        let lines = Capture::of(|| drop(bulk(ours, "7", "1"))).lines();
        for from in [format!("{ours}.7 > "), format!("{theirs}.")] {
            let sent: Vec<_> = lines.iter().filter(|line| line.contains(&format!(" {from}"))).collect();
            // A MiB is 117 of them; a sender that waits, for the window or for what is to be echoed, cuts some shorter.
            let full = sent.iter().filter(|line| line.ends_with(&format!(", length {}", mss - 12))).count();
            assert!(full > 50, "{full} full-sized ones of {} from {from}: {:#?}", sent.len(), &lines[..9]);
            let syn = sent.iter().find(|line| line.contains("Flags [S")).unwrap();
            assert!(syn.contains(&format!("mss {mss},")), "{syn}");
            assert!(sent.iter().all(|line| line.contains("(correct)")), "{sent:#?}");
        }
        bulk(ours, "7", "30");
        server.assert_empty();
        let least = [("port_rx_gathered", 3000), ("port_tx_scattered", 3000), ("port_copied_bytes", 60 << 20)];
        for (name, least) in least {
            assert!(counter(&server, name) >= least, "{mode} {name}: {}", counter(&server, name));
        }
        for name in ["port_rx_gather_failed", "port_rx_bad_descriptors", "port_frames_out", "tcp_checksum"] {
            assert_eq!(counter(&server, name), 0, "{mode} {name}");
        }
        server.stop();
    }
    drop(turn);
}

#[test]
fn two_stacks_speak_in_jumbo_frames() {
    let turn = common::LabTurn::take();
    ok(&["lab", "up", "--mtu", "9000"]);
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7");
    let args = ["ping", "10.77.0.50:7", "--address", "10.77.0.60/24", "--bytes", "50000", "--count", "200", "--json"];
    assert_eq!(json(&good(fourwave("fw-b", &args)))["errors"], 0);
    assert!(counter(&server, "port_rx_gathered") > 1000 && counter(&server, "port_tx_scattered") > 1000);
    server.stop();
    drop(turn);
}

/// What is used above is not used below: nothing is copied.
#[test]
fn an_mtu_that_a_frame_holds_costs_no_copy() {
    let turn = common::LabTurn::take();
    for mtu in ["1500", "3818"] {
        ok(&["lab", "up", "--mtu", mtu]);
        let server = Server::echo();
        bulk("10.77.0.1", "7", "10");
        for name in ["port_rx_gathered", "port_tx_scattered", "port_copied_bytes", "port_large_frames_free"] {
            assert_eq!(counter(&server, name), 0, "{mtu} {name}");
        }
        server.stop();
    }
    drop(turn);
}

#[test]
fn what_no_chain_of_frames_holds_is_refused() {
    let turn = common::LabTurn::take();
    ok(&["lab", "up", "--mtu", "65535"]);
    let said = refused(fourwave("fw-a", &["serve", "echo", "--listen", "10.77.0.1:7"]));
    assert!(said.contains("MTU of fw-a0 is 65535") && said.contains("`ip link set fw-a0 mtu 65258`"), "{said}");
    ok(&["lab", "up", "--mtu", "65258"]);
    let server = Server::echo();
    bulk("10.77.0.1", "7", "30");
    server.assert_empty();
    assert_eq!((counter(&server, "port_rx_gather_failed"), counter(&server, "port_frames_out")), (0, 0));
    server.stop();
    drop(turn);
}
