//! Source ports of active opens: RFC 6056, algorithm 3 (simple hash-based), without its counter per destination.

use crate::flow::FlowKey;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use siphasher::sip::SipHasher13;

/// Ports looked at behind one that can be reused, for one that is free. Where all are in TIME-WAIT each open would else look
/// at the whole range.
const MORE: u32 = 8;

/// What a port is to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Free,
    /// In TIME-WAIT, in this slot, and a new incarnation can be told from the old one.
    Reusable(u32),
    Taken,
}

#[derive(Debug)]
pub(crate) struct Ports {
    key: [u8; 16],
    range: RangeInclusive<u16>,
    next: u64,
}

impl Ports {
    pub(crate) const fn new(key: [u8; 16], range: RangeInclusive<u16>) -> Self {
        Self { key, range, next: 0 }
    }

    /// A port from `local_ip` to `remote` that is this shard's (`ours`): a free one, or the first [`Use::Reusable`] if none is
    /// free among the next few. `None` when every one has been tried.
    pub(crate) fn choose(
        &mut self,
        local_ip: IpAddr,
        remote: SocketAddr,
        ours: impl Fn(u16) -> bool,
        used: impl Fn(&FlowKey) -> Use,
    ) -> Option<(FlowKey, Option<u32>)> {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        (local_ip, remote).hash(&mut hasher);
        // 32 bits, so that adding to them never wraps: where it does the search would leave ports out.
        let offset = hasher.finish() & 0xffff_ffff;
        let (low, high) = (u64::from(*self.range.start()), u64::from(*self.range.end()));
        let count = (high + 1).saturating_sub(low);
        let (mut reusable, mut more) = (None, MORE);
        for _ in 0..count {
            if more == 0 {
                break;
            }
            let port = low + (offset + self.next) % count;
            self.next += 1;
            let port = u16::try_from(port).ok()?;
            if !ours(port) {
                continue;
            }
            more -= u32::from(reusable.is_some());
            let key = FlowKey::new(SocketAddr::new(local_ip, port), remote);
            match used(&key) {
                Use::Free => return Some((key, None)),
                Use::Reusable(slot) if reusable.is_none() => reusable = Some((key, slot, self.next)),
                Use::Reusable(_) | Use::Taken => {}
            }
        }
        let (key, slot, next) = reusable?;
        // The search goes on behind it: what comes next is the longest in TIME-WAIT.
        self.next = next;
        Some((key, Some(slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::{collections::BTreeSet, vec::Vec};

    #[test]
    fn every_port_of_the_range_is_found_once() {
        let mut ports = Ports::new([3; 16], 61_000..=61_009);
        let remote = "10.0.0.2:80".parse().expect("an address");
        let mut used = BTreeSet::new();
        let local = IpAddr::from([10, 0, 0, 1]);
        let free = |used: &BTreeSet<u16>, key: &FlowKey| match used.contains(&key.local().port()) {
            true => Use::Taken,
            false => Use::Free,
        };
        while let Some((key, None)) = ports.choose(local, remote, |_| true, |key| free(&used, key)) {
            assert!(used.insert(key.local().port()));
        }
        assert_eq!(used, (61_000..=61_009).collect());
    }

    /// Wherever it has come to, a search finds the last port that is free.
    #[test]
    fn a_search_leaves_no_port_out() {
        let (remote, local): (SocketAddr, _) =
            ("10.0.0.2:80".parse().expect("an address"), IpAddr::from([10, 0, 0, 1]));
        let mut ports = Ports::new([3; 16], 61_000..=61_999);
        let mut hasher = SipHasher13::new_with_key(&[3; 16]);
        (local, remote).hash(&mut hasher);
        let offset = hasher.finish() & 0xffff_ffff;
        for free in 61_000..=61_999 {
            // Where the sum of 32 bits would wrap in the midst of it.
            ports.next = (1 << 32) - 500 - offset;
            let used = |key: &FlowKey| if key.local().port() == free { Use::Free } else { Use::Taken };
            let found = ports.choose(local, remote, |_| true, used).map(|(key, _)| key.local().port());
            assert_eq!(found, Some(free));
        }
    }

    /// The whole range in TIME-WAIT: each open looks at a few of them, and takes the one that has been there longest.
    #[test]
    fn a_range_in_time_wait_is_reused_in_turn() {
        let mut ports = Ports::new([3; 16], 61_000..=62_999);
        let (remote, local) = ("10.0.0.2:80".parse().expect("an address"), IpAddr::from([10, 0, 0, 1]));
        let looks = Cell::new(0);
        let mut choose = || {
            let used = |key: &FlowKey| {
                looks.set(looks.get() + 1);
                Use::Reusable(key.local().port().into())
            };
            let (key, slot) = ports.choose(local, remote, |_| true, used).expect("one of them");
            assert_eq!(slot, Some(key.local().port().into()));
            key.local().port()
        };
        let first: Vec<u16> = (0..2000).map(|_| choose()).collect();
        let again: Vec<u16> = (0..2000).map(|_| choose()).collect();
        assert_eq!(first, again, "in turn");
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2000);
        assert!(looks.get() <= 4000 * (1 + MORE), "{}", looks.get());
    }

    #[test]
    fn a_free_port_nearby_is_better_and_one_far_away_is_not_looked_for() {
        let (remote, local) = ("10.0.0.2:80".parse().expect("an address"), IpAddr::from([10, 0, 0, 1]));
        let first = Ports::new([3; 16], 61_000..=62_999).choose(local, remote, |_| true, |_| Use::Free).expect("free");
        let first = first.0.local().port();
        for (behind, reused) in [(1, false), (MORE, false), (MORE + 1, true)] {
            let there = 61_000 + (first - 61_000 + u16::try_from(behind).expect("small")) % 2000;
            let used = |key: &FlowKey| if key.local().port() == there { Use::Free } else { Use::Reusable(0) };
            let chosen = Ports::new([3; 16], 61_000..=62_999).choose(local, remote, |_| true, used).expect("one");
            let expected = if reused { (first, Some(0)) } else { (there, None) };
            assert_eq!((chosen.0.local().port(), chosen.1), expected, "{behind} behind");
        }
    }

    #[test]
    fn the_last_port_is_usable() {
        let mut ports = Ports::new([3; 16], 65_535..=65_535);
        let remote = "10.0.0.2:80".parse().expect("an address");
        let (key, _) = ports.choose(IpAddr::from([10, 0, 0, 1]), remote, |_| true, |_| Use::Free).expect("free");
        assert_eq!(key.local().port(), 65_535);
    }
}
