//! Which station a packet goes to: on the link, or a gateway.

use alloc::vec::Vec;
use core::net::IpAddr;

/// A route of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The destination's prefix.
    pub prefix: IpAddr,
    /// Its length, bits.
    pub prefix_len: u8,
    /// The gateway; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The address that opens leave from, if it is one of the shard's (`src` of a route in Linux); `None`: the shard chooses.
    pub source: Option<IpAddr>,
    /// Bytes of IP packet that may take it (`mtu` of a route in Linux), at least 576; `None`: what the link carries.
    pub mtu: Option<u16>,
}

impl Route {
    /// A route of which nothing else is known.
    #[must_use]
    pub const fn new(prefix: IpAddr, prefix_len: u8, gateway: Option<IpAddr>) -> Self {
        Self { prefix, prefix_len, gateway, source: None, mtu: None }
    }

    /// Whether `ip` lies in the prefix; one longer than the address is taken as the whole of it.
    #[must_use]
    pub fn matches(&self, ip: IpAddr) -> bool {
        match (self.prefix, ip) {
            (IpAddr::V4(prefix), IpAddr::V4(ip)) => {
                let shift = 32u32.saturating_sub(self.prefix_len.into());
                (prefix.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(prefix), IpAddr::V6(ip)) => {
                let shift = 128u32.saturating_sub(self.prefix_len.into());
                (prefix.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The station that a packet to `ip` is sent to.
    pub(crate) fn next_hop(&self, ip: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(ip)
    }
}

/// The least MTU that is worked with: what every station takes (RFC 791 section 3.1).
pub(crate) const LEAST_MTU: u16 = 576;

/// The routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Longest prefix first.
    all: Vec<Route>,
    /// One has an MTU of its own: seldom.
    limited: bool,
}

impl Routes {
    /// Of two with the same prefix the first counts.
    pub(crate) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| core::cmp::Reverse(route.prefix_len));
        Self { limited: routes.iter().any(|route| route.mtu.is_some()), all: routes }
    }

    /// The route that a packet to `ip` takes.
    pub(crate) fn find(&self, ip: IpAddr) -> Option<&Route> {
        self.all.iter().find(|route| route.matches(ip))
    }

    /// The largest packet to `ip`, where the link carries `link`.
    pub(crate) fn mtu(&self, ip: IpAddr, link: u16) -> u16 {
        let own = if self.limited { self.find(ip).and_then(|route| route.mtu) } else { None };
        own.map_or(link, |mtu| link.min(mtu.max(LEAST_MTU)))
    }

    /// The station that a packet to `ip` is sent to.
    pub(crate) fn next_hop(&self, ip: IpAddr) -> Option<IpAddr> {
        self.find(ip).map(|route| route.next_hop(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().expect("an address")
    }

    #[test]
    fn the_longest_prefix_wins() {
        let routes = Routes::new(alloc::vec![
            Route::new(ip("0.0.0.0"), 0, Some(ip("10.0.0.1"))),
            Route::new(ip("10.0.0.0"), 24, None),
            Route::new(ip("10.0.0.128"), 25, Some(ip("10.0.0.2"))),
        ]);
        assert_eq!(routes.next_hop(ip("10.0.0.9")), Some(ip("10.0.0.9")));
        assert_eq!(routes.next_hop(ip("10.0.0.200")), Some(ip("10.0.0.2")));
        assert_eq!(routes.next_hop(ip("192.0.2.1")), Some(ip("10.0.0.1")));
        assert_eq!(routes.next_hop(ip("fd77::1")), None);
    }

    #[test]
    fn a_host_route_and_ipv6() {
        let routes = Routes::new(alloc::vec![Route::new(ip("fd77::"), 64, None)]);
        assert_eq!(routes.next_hop(ip("fd77::5")), Some(ip("fd77::5")));
        assert_eq!(routes.next_hop(ip("fd78::5")), None);
    }
}
