//! Streams over a path that loses, reorders, doubles and corrupts, against clients on the kernel's TCP.

use std::time::Duration;

use impairment::{Forwarded, Forwarder, Impairments, Lab, Placement};

use crate::common::LabTurn;
use crate::connections::counter;
use crate::support::{Server, good, within};

/// Every kind of disorder at once.
fn lossy() -> Impairments {
    Impairments {
        delay: Duration::from_micros(100),
        loss: 0.01,
        reorder: 0.05,
        reorder_by: Duration::from_micros(300),
        duplicate: 0.001,
        ..Impairments::default()
    }
}

/// A path with an echo server at its one end; nothing else of the command's own tests runs meanwhile.
struct Path {
    server: Server,
    forwarder: Forwarder,
    lab: Lab,
    _turn: LabTurn,
}

impl Path {
    fn new(listen: &str, impairments: Impairments, seed: u64) -> Self {
        let turn = LabTurn::take();
        let lab = Lab::build("fwt").unwrap();
        let forwarder = Forwarder::start(&lab, impairments, impairments, seed, Placement::default()).unwrap();
        let server = Server::start_in(&lab.a().namespace, &format!("echo --listen {listen}"));
        Self { server, forwarder, lab, _turn: turn }
    }

    /// So many MiB there and back at the same time, SHA-256 compared. A few seconds; on a machine that is busy with other
    /// things the forwarder comes late, and every round trip takes longer.
    fn bulk(&self, address: &str, mib: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/bulk.py");
        good(within(&self.lab.b().namespace, 180, &["python3", script, address, "7", mib]));
        self.server.assert_empty();
    }

    /// Nothing is left of it.
    fn end(self) -> Forwarded {
        let Self { server, forwarder, lab, _turn } = self;
        server.stop();
        let done = forwarder.stop().unwrap();
        let namespaces = [lab.a().namespace.clone(), lab.middle(), lab.b().namespace.clone()];
        drop(lab);
        for namespace in namespaces {
            assert!(!std::path::Path::new("/run/netns").join(&namespace).exists(), "{namespace}");
        }
        done
    }
}

fn through_loss(listen: &str, address: &str, seed: u64) {
    let path = Path::new(listen, lossy(), seed);
    path.bulk(address, "32");
    let done = path.end();
    for way in [done.a_to_b, done.b_to_a] {
        // 32 MiB are 23,000 full segments: 230 lost, 1,150 late, 23 doubled, more or less.
        assert!(way.lost > 100 && way.reordered > 500 && way.duplicated > 0, "{done:?}");
    }
}

/// Every octet once and in its place, whatever happens to the segments.
#[test]
fn a_stream_through_loss_reordering_and_doubles() {
    through_loss("10.79.0.1:7", "10.79.0.1", 1);
}

#[test]
fn a_stream_through_loss_reordering_and_doubles_over_ipv6() {
    through_loss("[fd79::1]:7", "fd79::1", 2);
}

/// MUST-3: what fails its checksum is dropped, and counted; the stream is whole.
#[test]
fn flipped_bits_are_found_by_the_checksums() {
    let path = Path::new("10.79.0.1:7", Impairments { corrupt: 0.01, ..lossy() }, 3);
    path.bulk("10.79.0.1", "16");
    let counted: u64 = ["tcp_checksum", "ipv4_checksum", "ipv4_header_length", "ipv4_total_length", "ipv4_version"]
        .iter()
        .map(|name| counter(&path.server, name))
        .sum();
    let done = path.end();
    // A few end up elsewhere, in the kernel: those whose address or protocol was hit.
    assert!(counted <= done.b_to_a.corrupted && counted > done.b_to_a.corrupted / 2, "{counted} of {done:?}");
}
