//! What routers have said of paths: new connections begin with it (RFC 1191 section 6.1, RFC 8201 section 5.2).

use alloc::collections::BTreeMap;
use core::net::IpAddr;
use wheel::{Duration, Instant};

/// Paths remembered; beyond that the one that would be forgotten first is.
const LIMIT: usize = 4096;
/// How long: RFC 1191 section 6.3.
const LIFE: Duration = Duration::from_secs(600);
/// RFC 1191 section 7.1: sizes there are, for routers that don't say theirs.
const PLATEAUS: [u16; 7] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

/// The largest segment to each peer whose path carries less than our link.
#[derive(Debug, Default)]
pub(crate) struct PathMtus(BTreeMap<IpAddr, (u16, Instant)>);

impl PathMtus {
    pub(crate) fn learn(&mut self, now: Instant, peer: IpAddr, mss: u16) {
        if self.0.len() >= LIMIT && !self.0.contains_key(&peer) {
            self.0.retain(|_, (_, until)| *until > now);
            let oldest = self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(ip, _)| *ip);
            if let Some(ip) = oldest.filter(|_| self.0.len() >= LIMIT) {
                self.0.remove(&ip);
            }
        }
        self.0.insert(peer, (mss, now + LIFE));
    }

    /// The size, and until when it holds.
    pub(crate) fn get(&self, now: Instant, peer: IpAddr) -> Option<(u16, Instant)> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&peer).copied().filter(|(_, until)| *until > now)
    }
}

/// The next-hop MTU of a router that reports a packet of `packet_len` bytes and does not say (RFC 1191 section 5): the next
/// size below it that there is.
pub(crate) fn guess(packet_len: u32) -> u16 {
    PLATEAUS.into_iter().find(|mtu| u32::from(*mtu) < packet_len).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // LIMIT is small
mod tests {
    use super::*;

    #[test]
    fn a_path_is_remembered_for_ten_minutes() {
        let (mut paths, now) = (PathMtus::default(), Instant::ZERO);
        let ip = IpAddr::from([10, 0, 0, 9]);
        assert_eq!(paths.get(now, ip), None);
        paths.learn(now, ip, 1360);
        let until = now + Duration::from_secs(600);
        assert_eq!(paths.get(now, ip), Some((1360, until)));
        assert_eq!(paths.get(now, IpAddr::from([10, 0, 0, 8])), None);
        assert_eq!(paths.get(until, ip), None);
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut paths = PathMtus::default();
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..=LIMIT as u32 {
            paths.learn(Instant::ZERO + Duration::from_millis(n.into()), ip(n), 1360);
        }
        let now = Instant::ZERO + Duration::from_secs(5);
        assert_eq!((paths.0.len(), paths.get(now, ip(0))), (LIMIT, None));
        assert!(paths.get(now, ip(1)).is_some() && paths.get(now, ip(LIMIT as u32)).is_some());
    }

    #[test]
    fn a_router_that_does_not_say_means_the_next_plateau() {
        assert_eq!([9000, 8166, 1500, 1492, 1006].map(guess), [8166, 4352, 1492, 1006, 0]);
    }
}
