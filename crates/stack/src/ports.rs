//! Source ports of active opens: RFC 6056, algorithm 3 (simple hash-based), without its counter per destination.

use crate::flow::FlowKey;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use siphasher::sip::SipHasher13;
use wheel::{Duration, Instant};

/// Ports looked at behind one that can be reused, for one that is free. Where all are in TIME-WAIT each open would else look
/// at the whole range.
const MORE: u32 = 8;
/// How long a search that found nothing is believed at most, if no connection of those addresses ends before. A search of
/// 64,512 ports takes 4 ms and more, and whoever asks may ask for every client it has.
const BELIEVED: Duration = Duration::from_millis(100);
/// Pairs of addresses of which it is remembered.
const FULL: usize = 64;

/// What a port is to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Free,
    /// In TIME-WAIT, in this slot, and a new incarnation can be told from the old one.
    Reusable(u32),
    /// In TIME-WAIT, and reusable from then on.
    Later(Instant),
    Taken,
}

#[derive(Debug)]
pub(crate) struct Ports {
    key: [u8; 16],
    range: RangeInclusive<u16>,
    next: u64,
    /// Which had no port left lately: few, and nearly always none.
    full: Vec<Full>,
}

/// Our address and the peer's had no port left, which is believed until then.
#[derive(Debug)]
struct Full {
    local: IpAddr,
    remote: SocketAddr,
    until: Instant,
}

impl Full {
    fn is(&self, local: IpAddr, remote: SocketAddr) -> bool {
        (self.local, self.remote.ip(), self.remote.port()) == (local, remote.ip(), remote.port())
    }
}

impl Ports {
    pub(crate) const fn new(key: [u8; 16], range: RangeInclusive<u16>) -> Self {
        Self { key, range, next: 0, full: Vec::new() }
    }

    /// Whether a search that is not long over has found nothing.
    pub(crate) fn are_full(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> bool {
        self.full.retain(|full| full.until > now);
        self.full.iter().any(|full| full.is(local, remote))
    }

    /// A search has found nothing, and `soonest` is from when on one can be reused.
    pub(crate) fn note_full(&mut self, now: Instant, (local, remote): (IpAddr, SocketAddr), soonest: Instant) {
        if self.full.len() < FULL {
            self.full.push(Full { local, remote, until: soonest.min(now + BELIEVED) });
        }
    }

    /// Whether there is anything to be told of by [`note_free`](Self::note_free).
    #[inline]
    pub(crate) const fn any_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// A connection, or its record, is gone: its port is free.
    #[cold]
    pub(crate) fn note_free(&mut self, key: &FlowKey) {
        let (local, remote) = (key.local().ip(), key.remote());
        self.full.retain(|full| !full.is(local, remote));
    }

    /// Other ports are this shard's now.
    pub(crate) fn forget_full(&mut self) {
        self.full.clear();
    }

    /// A port from `local_ip` to `remote` that is this shard's (`ours`): a free one, or the first [`Use::Reusable`] if none is
    /// free among the next few. When every one has been tried, from when on one can be reused if none gets free before.
    pub(crate) fn choose(
        &mut self,
        local_ip: IpAddr,
        remote: SocketAddr,
        ours: impl Fn(u16) -> bool,
        used: impl Fn(&FlowKey) -> Use,
    ) -> Result<(FlowKey, Option<u32>), Instant> {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        (local_ip, remote).hash(&mut hasher);
        // 32 bits, so that adding to them never wraps: where it does the search would leave ports out.
        let offset = hasher.finish() & 0xffff_ffff;
        let (low, high) = (u64::from(*self.range.start()), u64::from(*self.range.end()));
        let count = (high + 1).saturating_sub(low);
        let (mut reusable, mut more, mut soonest) = (None, MORE, Instant::MAX);
        for _ in 0..count {
            if more == 0 {
                break;
            }
            let port = low + (offset + self.next) % count;
            self.next += 1;
            let Ok(port) = u16::try_from(port) else { break };
            if !ours(port) {
                continue;
            }
            more -= u32::from(reusable.is_some());
            let key = FlowKey::new(SocketAddr::new(local_ip, port), remote);
            match used(&key) {
                Use::Free => return Ok((key, None)),
                Use::Reusable(slot) if reusable.is_none() => reusable = Some((key, slot, self.next)),
                Use::Later(from) => soonest = soonest.min(from),
                Use::Reusable(_) | Use::Taken => {}
            }
        }
        let (key, slot, next) = reusable.ok_or(soonest)?;
        // The search goes on behind it: what comes next is the longest in TIME-WAIT.
        self.next = next;
        Ok((key, Some(slot)))
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
        while let Ok((key, None)) = ports.choose(local, remote, |_| true, |key| free(&used, key)) {
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
            assert_eq!(found, Ok(free));
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

    /// Only of these addresses, until a port of theirs is free, and not for long.
    #[test]
    fn a_search_that_found_nothing_is_remembered() {
        let (local, remote): (_, SocketAddr) = ([10, 0, 0, 1].into(), "10.0.0.2:80".parse().expect("an address"));
        let elsewhere: [(IpAddr, SocketAddr); 3] = [
            ([10, 0, 0, 7].into(), remote),
            (local, "10.0.0.2:81".parse().expect("an address")),
            (local, "10.0.0.3:80".parse().expect("an address")),
        ];
        let key = |(local, remote)| FlowKey::new(SocketAddr::new(local, 61_000), remote);
        let mut ports = Ports::new([3; 16], 61_000..=61_009);
        let now = Instant::ZERO;
        assert!(!ports.are_full(now, local, remote));
        ports.note_full(now, (local, remote), Instant::MAX);
        for (local, remote) in elsewhere {
            assert!(!ports.are_full(now, local, remote));
            ports.note_free(&key((local, remote)));
        }
        assert!(ports.are_full(now + Duration::from_millis(99), local, remote));
        ports.note_free(&key((local, remote)));
        assert!(!ports.are_full(now, local, remote));
        ports.note_full(now, (local, remote), Instant::MAX);
        assert!(!ports.are_full(now + Duration::from_millis(100), local, remote));
        ports.note_full(now, (local, remote), now + Duration::from_millis(7));
        assert!(!ports.are_full(now + Duration::from_millis(7), local, remote));
        for port in 0..1000 {
            ports.note_full(now, (local, SocketAddr::new(remote.ip(), port)), Instant::MAX);
        }
        assert_eq!(ports.full.len(), FULL);
    }

    #[test]
    fn the_last_port_is_usable() {
        let mut ports = Ports::new([3; 16], 65_535..=65_535);
        let remote = "10.0.0.2:80".parse().expect("an address");
        let (key, _) = ports.choose(IpAddr::from([10, 0, 0, 1]), remote, |_| true, |_| Use::Free).expect("free");
        assert_eq!(key.local().port(), 65_535);
    }
}
