//! What arrives with a wrong checksum.

use crate::connections::counter;
use crate::support::{Server, good, lab, peer};

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
