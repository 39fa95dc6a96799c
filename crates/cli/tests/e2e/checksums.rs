//! What arrives with a wrong checksum, and what leaves without one.

use crate::capture::Capture;
use crate::common::{self, json, ok};
use crate::connections::counter;
use crate::support::{Server, bulk, fourwave, good, kernel_echo, lab, need, peer, refused};

/// RFC 9293 section 3.1, RFC 791 section 3.1: a segment whose checksum is wrong, and a packet whose header's is, are dropped
/// without an answer, and counted. AF_XDP sees them before the kernel, on a shared address as on one of the stack's own.
/// MUST-3.
#[test]
fn wrong_checksums_are_dropped_and_counted_on_shared_and_owned_addresses() {
    let _lab = lab();
    let cases = [
        ("10.77.0.1", "10.77.0.2", "--listen 10.77.0.1:7", 1),
        ("10.77.0.50", "10.77.0.2", "--address 10.77.0.50/24 --listen 10.77.0.50:7", 1),
        ("fd77::1", "fd77::2", "--listen [fd77::1]:7", 0),
        ("fd77::50", "fd77::2", "--address fd77::50/64 --listen [fd77::50]:7", 0),
    ];
    for (far, own, at, wrong_headers) in cases {
        for mode in ["generic", "native"] {
            let server = Server::start(&format!("echo {at} --xdp-mode {mode}"));
            let answered = good(peer("fw-b", "corrupt", &["fw-b0", own, far, "7"]));
            assert_eq!(answered, "50004\n", "{far} {mode}");
            let counted = (counter(&server, "tcp_checksum"), counter(&server, "ipv4_checksum"));
            assert_eq!(counted, (2, wrong_headers), "{far} {mode}");
            server.stop();
        }
    }
}

/// Every packet of a capture has a right checksum.
fn all_right(lines: &[String]) {
    for line in lines {
        assert!(line.contains("(correct)"), "{line}");
    }
}

/// Segments whose checksum is left to be written behind the stack are, byte for byte, what the peer's kernel takes and a
/// sniffer calls correct: of both families, as server and as client, on a shared address and on one of its own. In place of a
/// device the kernel does it here (`XDP_UMEM_TX_SW_CSUM`).
/// MUST-2.
#[test]
fn checksums_left_to_the_device_arrive_right() {
    need("tcpdump", "tcpdump");
    let _lab = lab();
    let cases = [
        ("10.77.0.1", "--listen 10.77.0.1:7 --xdp-mode native"),
        ("fd77::1", "--listen [fd77::1]:7"),
        ("fd77::50", "--address fd77::50/64 --listen [fd77::50]:7"),
    ];
    for (address, at) in cases {
        let server = Server::start(&format!("echo {at} --tx-checksum software"));
        let lines = Capture::of(|| drop(bulk(address, "7", "1"))).lines();
        all_right(&lines);
        bulk(address, "7", "20");
        server.assert_empty();
        // 21 MiB are some 15,000 full segments.
        let (left, sent) = (counter(&server, "port_tx_checksums_left"), counter(&server, "port_tx_frames"));
        assert!(left > 14_000 && left < sent, "{address}: {left} of {sent}");
        assert_eq!(counter(&server, "port_kernel_tx_invalid_descs"), 0);
        server.stop();
    }
    for address in ["10.77.0.2", "fd77::2"] {
        let _echo = kernel_echo("fw-b", address, "7");
        let to = if address.contains(':') { format!("[{address}]:7") } else { format!("{address}:7") };
        let args = ["ping", &to, "--tx-checksum", "software", "--bytes", "5000", "--count", "100", "--json"];
        let mut report = String::new();
        let lines = Capture::of(|| report = good(fourwave("fw-a", &args))).lines();
        all_right(&lines);
        assert!(lines.len() > 600, "{} packets", lines.len());
        assert_eq!(json(&report)["errors"], 0);
    }
}

/// Packets in several buffers carry the request in their first one. The kernel's own computing for AF_XDP looks at that one
/// alone, so here the send path of the interface does it, whose transmit checksums are off.
/// MUST-2.
#[test]
fn checksums_of_jumbo_frames_are_left_too() {
    need("tcpdump", "tcpdump");
    let turn = common::LabTurn::take();
    ok(&["lab", "up", "--mtu", "9000"]);
    for (address, listen) in [("10.77.0.1", "10.77.0.1:7"), ("fd77::1", "[fd77::1]:7")] {
        let server = Server::start(&format!("echo --listen {listen} --tx-checksum software"));
        let lines = Capture::of(|| drop(bulk(address, "7", "1"))).lines();
        all_right(&lines);
        bulk(address, "7", "20");
        server.assert_empty();
        assert!(counter(&server, "port_tx_checksums_left") > 2000 && counter(&server, "port_tx_scattered") > 2000);
        assert_eq!(counter(&server, "port_kernel_tx_invalid_descs"), 0);
        server.stop();
    }
    drop(turn);
}

/// A veth has no device behind it, whether it says that it leaves checksums or not.
#[test]
fn offload_is_refused_where_no_device_does_it() {
    let _lab = lab();
    for copy in ["auto", "copy"] {
        let args = ["serve", "echo", "--listen", "10.77.0.1:7", "--tx-checksum", "offload", "--copy", copy];
        let said = refused(fourwave("fw-a", &args));
        assert!(said.contains("fw-a0 (driver veth)") && said.contains("--tx-checksum auto"), "{said}");
        crate::support::assert_no_program();
    }
    let doctor = ["doctor", "--interface", "fw-a0", "--peer", "10.77.0.2", "--json"];
    let found = json(&good(fourwave("fw-a", &doctor)));
    assert_eq!((&found["mode"]["wished_tx_checksum"], &found["mode"]["tx_checksum"]), (&"auto".into(), &false.into()));
    for word in ["auto", "compute"] {
        let server = Server::start(&format!("echo --listen 10.77.0.1:7 --tx-checksum {word}"));
        bulk("10.77.0.1", "7", "1");
        assert_eq!(counter(&server, "port_tx_checksums_left"), 0);
        server.stop();
    }
}
