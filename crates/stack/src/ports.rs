//! Source ports of active opens: RFC 6056, algorithm 3 (simple hash-based), without its counter per destination.

use crate::flow::FlowKey;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use siphasher::sip::SipHasher13;

#[derive(Debug)]
pub(crate) struct Ports {
    key: [u8; 16],
    range: RangeInclusive<u16>,
    next: u32,
}

impl Ports {
    pub(crate) const fn new(key: [u8; 16], range: RangeInclusive<u16>) -> Self {
        Self { key, range, next: 0 }
    }

    /// A port from `local_ip` to `remote` that is this shard's (`ours`) and for which `free` holds, or `None` when every one
    /// has been tried.
    #[allow(clippy::cast_possible_truncation)] // the hash is taken modulo the range
    pub(crate) fn choose(
        &mut self,
        local_ip: IpAddr,
        remote: SocketAddr,
        ours: impl Fn(u16) -> bool,
        free: impl Fn(&FlowKey) -> bool,
    ) -> Option<FlowKey> {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        (local_ip, remote).hash(&mut hasher);
        let offset = hasher.finish() as u32;
        let (low, high) = (u32::from(*self.range.start()), u32::from(*self.range.end()));
        let count = (high + 1).saturating_sub(low);
        for _ in 0..count {
            let port = low + offset.wrapping_add(self.next) % count;
            self.next = self.next.wrapping_add(1);
            let port = u16::try_from(port).ok()?;
            let key = FlowKey::new(SocketAddr::new(local_ip, port), remote);
            if ours(port) && free(&key) {
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_port_of_the_range_is_found_once() {
        let mut ports = Ports::new([3; 16], 61_000..=61_009);
        let remote = "10.0.0.2:80".parse().expect("an address");
        let mut used = BTreeSet::new();
        let local = IpAddr::from([10, 0, 0, 1]);
        while let Some(key) = ports.choose(local, remote, |_| true, |k| !used.contains(&k.local().port())) {
            assert!(used.insert(key.local().port()));
        }
        assert_eq!(used, (61_000..=61_009).collect());
    }

    #[test]
    fn the_last_port_is_usable() {
        let mut ports = Ports::new([3; 16], 65_535..=65_535);
        let remote = "10.0.0.2:80".parse().expect("an address");
        let key = ports.choose(IpAddr::from([10, 0, 0, 1]), remote, |_| true, |_| true).expect("free");
        assert_eq!(key.local().port(), 65_535);
    }
}
