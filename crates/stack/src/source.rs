//! Which of our addresses an open leaves from, if nobody says: one that the peer can answer.

use crate::{config::LocalAddress, route::Route};
use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};

/// The best of `ours`, which are of the family of `remote` and in the interface's order, for packets that take `route`. One
/// that is `avoided` is taken only where there is no other.
///
/// The route's own, if it has one; else for IPv4 as Linux does it (RFC 1122 section 3.3.4.3 leaves it open), for IPv6 rules 2,
/// 3, 6, 5.5 and 8 of RFC 6724 section 5. Rule 6 goes before 5.5: a router with a unique local address leads to the Internet,
/// where nobody answers one. Of equals the first.
pub(crate) fn choose<'a>(
    ours: impl Iterator<Item = &'a LocalAddress> + Clone,
    route: &Route,
    remote: IpAddr,
    avoided: &[IpAddr],
) -> Option<IpAddr> {
    if let Some(own) = ours.clone().find(|a| Some(a.ip) == route.source) {
        return Some(own.ip);
    }
    let next_hop = route.next_hop(remote);
    let cost = |a: &&LocalAddress| {
        let holds_hop = Route::new(a.ip, a.prefix_len, None).matches(next_hop);
        let (other_scope, other_label, common) = match (a.ip, remote) {
            (IpAddr::V6(ip), IpAddr::V6(to)) => {
                let common = (ip.to_bits() ^ to.to_bits()).leading_zeros().min(a.prefix_len.into());
                (ip.is_unicast_link_local() != to.is_unicast_link_local(), label(ip) != label(to), common)
            }
            _ => (false, false, 0),
        };
        (other_scope, avoided.contains(&a.ip), other_label, !holds_hop, Reverse(common))
    };
    ours.min_by_key(cost).map(|a| a.ip)
}

/// RFC 6724 section 2.1, as far as stations have such addresses today.
const fn label(ip: Ipv6Addr) -> u8 {
    match ip.segments() {
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 5,
        [0xfc00..=0xfdff, ..] => 13,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn ip(s: &str) -> IpAddr {
        s.parse().expect("an address")
    }

    fn network(s: &str) -> (IpAddr, u8) {
        let (prefix, bits) = s.split_once('/').expect("a prefix");
        (ip(prefix), bits.parse().expect("a number"))
    }

    /// The choice among `ours`, all of one family, for `to` by the gateway, where there is one.
    fn choice(ours: &[&str], gateway: Option<&str>, source: Option<&str>, to: &str, avoided: &[&str]) -> IpAddr {
        let address = |(ip, prefix_len)| LocalAddress { ip, prefix_len, owned: false };
        let ours: Vec<_> = ours.iter().map(|s| address(network(s))).collect();
        let route = Route { source: source.map(ip), ..Route::new(ip(to), 0, gateway.map(ip)) };
        let avoided: Vec<_> = avoided.iter().map(|s| ip(s)).collect();
        choose(ours.iter(), &route, ip(to), &avoided).expect("there are some")
    }

    /// Linux, `inet_select_addr`.
    #[test]
    fn an_ipv4_address_in_the_network_of_the_next_hop_is_taken_or_else_the_first() {
        let ours = ["10.0.0.1/24", "172.16.0.1/24", "172.16.0.2/24"];
        for (gateway, to, expected) in [
            (None, "10.0.0.9", "10.0.0.1"),
            (None, "172.16.0.9", "172.16.0.1"),
            (Some("172.16.0.254"), "10.9.9.9", "172.16.0.1"),
            (Some("10.0.0.254"), "172.16.9.9", "10.0.0.1"),
            (Some("192.0.2.1"), "172.16.9.9", "10.0.0.1"),
            (Some("fe80::1"), "172.16.9.9", "10.0.0.1"),
        ] {
            assert_eq!(choice(&ours, gateway, None, to, &[]), ip(expected), "{to} by {gateway:?}");
        }
    }

    /// RFC 6724 section 5, and its examples in section 10.1.
    #[test]
    fn an_ipv6_address_is_chosen_by_scope_label_next_hop_and_longest_match() {
        let both = ["fd97::1/64", "2001:db8:97::1/64"];
        let two = ["2001:db8:1::2/64", "2001:db8:3::2/64"];
        let router = Some("fe80::1");
        for (ours, gateway, to, expected) in [
            (both, router, "2600::1", "2001:db8:97::1"),
            (both, router, "fd00:1::1", "fd97::1"),
            (both, None, "fd97::9", "fd97::1"),
            (both, Some("fd97::ff"), "2600::1", "2001:db8:97::1"),
            (two, router, "2001:db8:2::1", "2001:db8:3::2"),
            (two, router, "2001:db8:1::1", "2001:db8:1::2"),
            (two, Some("2001:db8:3::ff"), "2600::1", "2001:db8:3::2"),
            (["fe80::2/64", "2001:db8:3::2/64"], None, "fe80::1", "fe80::2"),
            (["fe80::2/64", "2001:db8:3::2/64"], router, "2001:db8:1::1", "2001:db8:3::2"),
            (["2001:db8:1::2/64", "2002:c633:6401::2/64"], router, "2002:c633:6401::1", "2002:c633:6401::2"),
        ] {
            for ours in [ours, [ours[1], ours[0]]] {
                assert_eq!(choice(&ours, gateway, None, to, &[]), ip(expected), "{ours:?} to {to} by {gateway:?}");
            }
        }
        // Beyond its own prefix an address has nothing in common with anybody: the first.
        let of_one = ["2001:db8:1::2/64", "2001:db8:1:0:ffff::2/64"];
        assert_eq!(choice(&of_one, None, None, "2001:db8:1:0:ffff::1", &[]), ip("2001:db8:1::2"));
    }

    /// RTA_PREFSRC.
    #[test]
    fn the_routes_own_address_is_taken_if_it_is_ours() {
        let ours = ["10.0.0.1/24", "10.0.0.50/24"];
        let (gateway, to) = (Some("10.0.0.2"), "192.0.2.9");
        assert_eq!(choice(&ours, gateway, Some("10.0.0.50"), to, &[]), ip("10.0.0.50"));
        assert_eq!(choice(&ours, gateway, Some("203.0.113.1"), to, &[]), ip("10.0.0.1"));
    }

    /// RFC 6724 section 5, rule 3.
    #[test]
    fn an_address_that_is_avoided_is_the_last_choice() {
        let ours = ["2001:db8:1::2/64", "2001:db8:2::2/64"];
        assert_eq!(choice(&ours, None, None, "2001:db8:1::1", &["2001:db8:1::2"]), ip("2001:db8:2::2"));
        assert_eq!(choice(&ours[..1], None, None, "2001:db8:1::1", &["2001:db8:1::2"]), ip("2001:db8:1::2"));
    }
}
