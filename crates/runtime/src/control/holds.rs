//! Which stack holds a port: a socket that is bound and does not listen is in none of the kernel's tables.

use super::client::{Process, processes};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A stack that does not answer by then is passed over: this is for the words of an error.
const PATIENCE: Duration = Duration::from_millis(500);

/// The process whose stack holds `address` against those who would bind it here; as far as the caller may ask them.
pub(crate) fn holder(address: SocketAddr) -> Option<u32> {
    let here = namespace().ok()?;
    let holds = |process: &Process| {
        let held = process.ports(PATIENCE).unwrap_or_default();
        held.iter().any(|held| held.namespace == here && clash(held.address, address))
    };
    processes().ok()?.iter().find(|process| holds(process)).map(|process| process.pid)
}

/// The network namespace of the calling thread.
pub(super) fn namespace() -> io::Result<(u64, u64)> {
    fs::metadata("/proc/thread-self/ns/net").map(|file| (file.dev(), file.ino()))
}

/// Whether two sockets can't be bound so: those of IPv6 are for IPv6 alone.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (any || a.ip() == b.ip())
}

#[cfg(test)]
mod tests {
    use super::clash;

    #[test]
    fn one_port_of_one_address_or_of_any() {
        let clash = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(clash(a, b), clash(b, a));
            clash(a, b)
        };
        assert!(
            clash("10.0.0.1:7", "10.0.0.1:7") && clash("10.0.0.1:7", "0.0.0.0:7") && clash("[::]:7", "[fd77::1]:7")
        );
        assert!(
            !clash("10.0.0.1:7", "10.0.0.2:7") && !clash("10.0.0.1:7", "10.0.0.1:8") && !clash("0.0.0.0:7", "[::]:7")
        );
    }
}
