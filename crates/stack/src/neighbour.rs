//! Neighbours: which MAC address an on-link address has, and who waits to learn it.
//!
//! For an address of the interface's the kernel resolves, and its table is mirrored ([`Resolve::AskKernel`]); for one of our
//! own the shard sends the ARP requests itself ([`Resolve::Arp`]). Either way a connection with something to send waits
//! here, not its frames: nothing is lost, and a dead neighbour holds nobody up but its own connections.

use crate::handle::ConnId;
use alloc::{collections::BTreeMap, vec::Vec};
use core::net::IpAddr;
use wheel::{Duration, Instant};
use wire::MacAddr;

/// Neighbours known or being resolved.
const LIMIT: usize = 4096;
/// Between requests for one address (RFC 1122 section 2.3.2.1: at most one a second).
const RETRY: Duration = Duration::from_secs(1);
/// Unanswered requests after which an active open fails, as Linux (`mcast_solicit`).
const GIVE_UP: u8 = 3;

/// A request to resolve an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolve {
    AskKernel(IpAddr),
    Arp(IpAddr),
}

#[derive(Debug, Default)]
struct Neighbour {
    mac: Option<MacAddr>,
    asked: Option<Instant>,
    /// Requests in a row that were not answered.
    tries: u8,
    /// Connections that have something to send.
    waiting: Vec<ConnId>,
}

/// The answer to a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Known(MacAddr),
    /// It is not known yet; the request, if one is due now.
    Waiting(Option<Resolve>),
    /// The table is full of addresses that others wait for.
    Full,
}

#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    table: BTreeMap<IpAddr, Neighbour>,
    epoch: u32,
    /// No request is due again before; `None`: none is unanswered.
    retry_at: Option<Instant>,
}

impl Neighbours {
    /// Changes whenever a MAC address does: what was looked up in an earlier epoch must be looked up again.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The MAC address of `ip`. While it is not known, `waiter` (a connection that is not yet on a list) is put on its list.
    pub(crate) fn lookup(&mut self, now: Instant, ip: IpAddr, waiter: Option<ConnId>, owned: bool) -> Lookup {
        if !self.make_room(ip) {
            return Lookup::Full;
        }
        let entry = self.table.entry(ip).or_default();
        if let Some(mac) = entry.mac {
            return Lookup::Known(mac);
        }
        entry.waiting.extend(waiter);
        if entry.asked.is_some_and(|at| now - at < RETRY) {
            return Lookup::Waiting(None);
        }
        entry.asked = Some(now);
        entry.tries = entry.tries.saturating_add(1);
        self.retry_at = Some(self.retry_at.map_or(now + RETRY, |at| at.min(now + RETRY)));
        Lookup::Waiting(Some(if owned { Resolve::Arp(ip) } else { Resolve::AskKernel(ip) }))
    }

    /// Room for `ip`: in a full table one that nobody waits for goes, an unresolved one first.
    fn make_room(&mut self, ip: IpAddr) -> bool {
        if self.table.len() < LIMIT || self.table.contains_key(&ip) {
            return true;
        }
        let idle = |(_, n): &(&IpAddr, &Neighbour)| n.waiting.is_empty();
        let unresolved = self.table.iter().filter(idle).find(|(_, n)| n.mac.is_none());
        let victim = unresolved.or_else(|| self.table.iter().find(idle)).map(|(ip, _)| *ip);
        victim.is_some_and(|victim| self.table.remove(&victim).is_some())
    }

    /// A neighbour's address was learnt, or lost. Returns the connections that waited for it.
    pub(crate) fn update(&mut self, ip: IpAddr, mac: Option<MacAddr>) -> Vec<ConnId> {
        if mac.is_none() && !self.table.contains_key(&ip) || !self.make_room(ip) {
            return Vec::new();
        }
        let entry = self.table.entry(ip).or_default();
        if entry.mac != mac {
            entry.mac = mac;
            entry.asked = None;
            entry.tries = 0;
            self.epoch = self.epoch.wrapping_add(1);
        }
        if mac.is_some() {
            return core::mem::take(&mut entry.waiting);
        }
        if entry.waiting.is_empty() {
            self.table.remove(&ip);
        }
        Vec::new()
    }

    /// Whether somebody waits for this address, so that an unasked answer is worth keeping (RFC 826's merge rule).
    pub(crate) fn knows_of(&self, ip: IpAddr) -> bool {
        self.table.contains_key(&ip)
    }

    /// When unanswered requests are due again, at the earliest.
    pub(crate) const fn next_retry(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The connections whose neighbour must be asked for again at `now`. With an address: it has failed to answer for so
    /// long that an open to it gives up.
    pub(crate) fn retry(&mut self, now: Instant) -> Vec<(ConnId, Option<IpAddr>)> {
        let mut again = Vec::new();
        self.retry_at = None;
        self.table.retain(|ip, n| {
            let Some(asked) = n.asked.filter(|_| n.mac.is_none()) else { return true };
            if now - asked < RETRY {
                self.retry_at = Some(self.retry_at.map_or(asked + RETRY, |other| other.min(asked + RETRY)));
                return true;
            }
            let failed = (n.tries >= GIVE_UP).then_some(*ip);
            again.extend(n.waiting.drain(..).map(|conn| (conn, failed)));
            // Those that still want it come back within this turn.
            failed.is_none()
        });
        again
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // LIMIT is small
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    #[test]
    fn the_first_asks_the_rest_wait_and_all_are_woken() {
        let mut neighbours = Neighbours::default();
        let now = Instant::ZERO;
        assert_eq!(neighbours.lookup(now, ip(1), Some(conn(7)), true), Lookup::Waiting(Some(Resolve::Arp(ip(1)))));
        assert_eq!(neighbours.lookup(now, ip(1), Some(conn(8)), true), Lookup::Waiting(None));
        assert_eq!(neighbours.next_retry(), Some(now + RETRY));
        let mac = MacAddr([2; 6]);
        assert_eq!(neighbours.update(ip(1), Some(mac)), [conn(7), conn(8)]);
        assert_eq!(neighbours.lookup(now, ip(1), Some(conn(9)), true), Lookup::Known(mac));
        assert!(neighbours.retry(now + RETRY).is_empty());
        assert_eq!(neighbours.next_retry(), None);
    }

    #[test]
    fn a_change_is_a_new_epoch() {
        let mut neighbours = Neighbours::default();
        neighbours.lookup(Instant::ZERO, ip(1), Some(conn(7)), false);
        let before = neighbours.epoch();
        neighbours.update(ip(1), Some(MacAddr([2; 6])));
        assert_ne!(neighbours.epoch(), before);
        let before = neighbours.epoch();
        neighbours.update(ip(1), Some(MacAddr([2; 6])));
        assert_eq!(neighbours.epoch(), before);
    }

    #[test]
    fn an_unanswered_request_is_repeated_once_a_second() {
        let mut neighbours = Neighbours::default();
        neighbours.lookup(Instant::ZERO, ip(1), Some(conn(7)), false);
        assert!(neighbours.retry(Instant::ZERO + Duration::from_millis(999)).is_empty());
        let later = Instant::ZERO + RETRY;
        assert_eq!(neighbours.retry(later), [(conn(7), None)]);
        assert_eq!(
            neighbours.lookup(later, ip(1), Some(conn(7)), false),
            Lookup::Waiting(Some(Resolve::AskKernel(ip(1))))
        );
    }

    #[test]
    fn a_dead_neighbour_is_told_and_forgotten() {
        let mut neighbours = Neighbours::default();
        let mut now = Instant::ZERO;
        for _ in 0..GIVE_UP {
            neighbours.lookup(now, ip(1), Some(conn(7)), false);
            now += RETRY;
            if neighbours.retry(now) == [(conn(7), Some(ip(1)))] {
                assert!(neighbours.table.is_empty());
                return;
            }
        }
        panic!("never told");
    }

    #[test]
    fn a_full_table_makes_room_where_nobody_waits() {
        let mut neighbours = Neighbours::default();
        let addresses = (0..LIMIT as u32).map(|n| IpAddr::from(n.to_be_bytes()));
        for address in addresses {
            assert!(matches!(neighbours.lookup(Instant::ZERO, address, Some(conn(1)), true), Lookup::Waiting(_)));
        }
        assert_eq!(neighbours.lookup(Instant::ZERO, ip(1), Some(conn(2)), true), Lookup::Full);
        neighbours.update(IpAddr::from([0, 0, 0, 9]), Some(MacAddr([2; 6])));
        assert!(matches!(neighbours.lookup(Instant::ZERO, ip(1), Some(conn(2)), true), Lookup::Waiting(_)));
        assert_eq!(neighbours.table.len(), LIMIT);
    }
}
