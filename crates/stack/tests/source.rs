//! Which address an open leaves from.

mod support;

use core::net::{IpAddr, SocketAddr};
use stack::{ConnectError, Dad, Duration, Instant, LocalAddress, Route, Shard};
use support::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A shard on two IPv4 networks and two IPv6 prefixes that it shares with the kernel, and routers.
fn two_of_each() -> Shard {
    shard(|config| {
        let second = [(ip("172.16.0.1"), 24), (ip("2001:db8::1"), 64)];
        config.addresses.extend(second.map(|(ip, prefix_len)| LocalAddress { ip, prefix_len, owned: false }));
        config.addresses.iter_mut().for_each(|a| a.owned = false);
        config.routes = vec![
            Route::new(ip("0.0.0.0"), 0, Some(ip("172.16.0.254"))),
            Route { source: Some(v4(1)), ..Route::new(ip("192.0.2.0"), 24, Some(ip("172.16.0.254"))) },
            Route { source: Some(ip("203.0.113.1")), ..Route::new(ip("198.51.100.0"), 24, Some(v4(254))) },
            Route::new(ip("::"), 0, Some(ip("fe80::1"))),
        ];
    })
}

/// Where an open to `remote` leaves from.
fn source(shard: &mut Shard, remote: &str) -> Result<IpAddr, ConnectError> {
    let to = SocketAddr::new(ip(remote), 7);
    shard.call(Instant::ZERO, |io| io.connect(to).map(|conn| io.addresses(conn).expect("it is there").0.ip()))
}

/// MUST-44; RFC 1122 section 3.3.4.3 and RFC 6724 section 5.
#[test]
fn an_open_leaves_from_the_address_that_suits_the_way_to_the_peer() {
    let mut shard = two_of_each();
    for (remote, expected) in [
        ("10.0.0.9", "10.0.0.1"),
        ("172.16.0.9", "172.16.0.1"),
        ("203.0.113.9", "172.16.0.1"),
        ("192.0.2.9", "10.0.0.1"),
        ("198.51.100.9", "10.0.0.1"),
        ("fd77::9", "fd77::1"),
        ("fd78::9", "fd77::1"),
        ("2001:db8::9", "2001:db8::1"),
        ("2600::9", "2001:db8::1"),
    ] {
        assert_eq!(source(&mut shard, remote), Ok(ip(expected)), "{remote}");
    }
    // MUST-43: who says which is not asked.
    let from = shard.call(Instant::ZERO, |io| {
        let conn = io.connect_from(v4(1), SocketAddr::new(ip("172.16.0.9"), 7)).expect("one of ours");
        io.addresses(conn).expect("it is there").0.ip()
    });
    assert_eq!(from, v4(1));
}

/// The kernel lists the networks of shared addresses as well, and may say more of them.
#[test]
fn the_source_of_a_route_to_our_own_network_counts() {
    let own = Route { source: Some(v4(50)), ..Route::new(v4(0), 24, None) };
    let second = LocalAddress { ip: v4(50), prefix_len: 24, owned: false };
    let mut shard = shard(|config| {
        config.addresses.iter_mut().for_each(|a| a.owned = false);
        config.addresses.push(second);
        config.routes = vec![own];
    });
    assert_eq!(source(&mut shard, "10.0.0.9"), Ok(v4(50)));
    shard.set_routes(vec![Route::new(v4(0), 24, None)]);
    assert_eq!(source(&mut shard, "10.0.0.9"), Ok(v4(1)));
    shard.set_routes(vec![own]);
    assert_eq!(source(&mut shard, "10.0.0.9"), Ok(v4(50)));
}

/// RFC 6724 section 5, rule 3; what the interface has lost is no address.
#[test]
fn an_address_that_is_lost_or_avoided_is_not_taken_while_there_is_another() {
    let mut shard = two_of_each();
    shard.set_avoided(vec![ip("172.16.0.1"), ip("2001:db8::1")]);
    assert_eq!(source(&mut shard, "172.16.0.9"), Ok(v4(1)));
    assert_eq!(source(&mut shard, "2600::9"), Ok(v6(1)));
    shard.set_avoided(vec![ip("172.16.0.1"), v4(1)]);
    assert_eq!(source(&mut shard, "172.16.0.9"), Ok(ip("172.16.0.1")), "there is no better one");
    shard.set_avoided(Vec::new());
    shard.set_present(&[v4(1), v6(1)]);
    assert_eq!(source(&mut shard, "172.16.0.9"), Ok(v4(1)));
    shard.set_present(&[v6(1)]);
    assert_eq!(source(&mut shard, "172.16.0.9"), Err(ConnectError::NoRoute));
}

/// RFC 4862 section 5.4: one that is still asked about is no address yet.
#[test]
fn an_address_that_is_asked_about_is_not_taken() {
    let mut shard = shard(|config| {
        config.addresses[0].owned = false;
        config.addresses.push(LocalAddress { ip: v4(2), prefix_len: 25, owned: true });
        config.dad = Some(Dad { probe_wait: Duration::from_secs(1), ..Dad::default() });
    });
    assert_eq!(source(&mut shard, "10.0.0.9"), Ok(v4(1)));
    let to = SocketAddr::new(v4(9), 7);
    assert_eq!(shard.call(Instant::ZERO, |io| io.connect_from(v4(2), to)), Err(ConnectError::Tentative));
}
