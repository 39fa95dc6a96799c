//! Floods from sources that nobody has: SYNs, with and without cookies, and ACKs, RSTs and FINs.

use crate::{
    field::{ECHO, Field, Rng, SOURCE, Strike, assert_served, nobody},
    support::{header, segment_of, tcp_frame, v4, v6},
};
use core::net::IpAddr;
use stack::{Duration, ListenOptions, SynCookies};
use wire::tcp::Flags;

/// One of 2^24 stations that are not there.
fn forged(n: usize, ipv6: bool) -> IpAddr {
    let [_, a, b, c] = (n as u32 + (1 << 16)).to_be_bytes();
    if ipv6 { [0xfd77, 0, 0, 0, 0, 7, u16::from(a), u16::from_be_bytes([b, c])].into() } else { [10, a, b, c].into() }
}

/// A thousand SYNs each millisecond.
fn syns(ipv6: bool, sent: &mut usize) -> impl FnMut(&mut Strike<'_>) {
    move |strike| {
        if strike.tick.is_multiple_of(20) {
            for _ in 0..1000 {
                let syn = header(Flags::SYN, (2000, ECHO), *sent as u32, 0);
                let to = if ipv6 { v6(1) } else { v4(1) };
                strike.frames.push(tcp_frame(forged(*sent, ipv6), to, syn, &[], None));
                *sent += 1;
            }
        }
    }
}

fn a_flood_of_syns(ipv6: bool, ms: u64) {
    let field = || {
        let mut field = Field::new(ipv6, 256.into(), |_| {});
        field.user.starts = false;
        field
    };
    let (before, time) = (Duration::from_millis(100), Duration::from_millis(ms - 100));
    let mut quiet = field();
    quiet.run(before, nobody);
    quiet.user.starts = true;
    let unharmed = quiet.run(time, nobody);
    let (mut attacked, mut sent) = (field(), 0);
    attacked.run(before, syns(ipv6, &mut sent));
    // It comes while the backlog is full: in by a cookie.
    attacked.user.starts = true;
    assert_served(attacked.run(time, syns(ipv6, &mut sent)), unharmed);
    assert_eq!(sent as u64, 1000 * ms);
    // 256 have a record, and all others a cookie; and what they hold is that, whatever came.
    attacked.assert_counts(&[
        ("opened", 256),
        ("cookies_sent", sent as u64 - 255),
        ("cookies_accepted", 1),
        ("replies_full", 0),
        ("resets_out", 0),
    ]);
    assert_eq!((attacked.most_half_open, attacked.server.connections(), attacked.app.accepted), (256, 1, 1));
    // That is the client's, whose path holds some 400 KB both ways.
    assert!(attacked.most_pool_bytes <= 1 << 20, "{}", attacked.most_pool_bytes);
    assert_eq!(attacked.server.time_waits(), 0);
}

/// RFC 4987 section 3.6: a million in a second; who connects in the middle of it is served as if there were none.
#[test]
fn a_million_forged_syns_a_second_beside_a_client() {
    a_flood_of_syns(false, 1000);
}

/// The same over IPv6.
#[test]
fn forged_syns_over_ipv6_beside_a_client() {
    a_flood_of_syns(true, 600);
}

/// RFC 4987 section 3.2: without cookies the backlog is the limit. Who is in stays and is served, another listener has its own
/// backlog, and who could not get in gets in once the records have expired: 63 s behind the last SYN at the latest.
#[test]
fn a_flood_without_cookies_costs_one_listener_its_newcomers() {
    let options = ListenOptions { syn_cookies: SynCookies::Never, ..256.into() };
    let field = || Field::new(false, options.clone(), |_| {});
    let (begin, time) = (Duration::from_millis(50), Duration::from_millis(300));
    let (mut quiet, mut attacked, mut sent) = (field(), field(), 0);
    quiet.run(begin, nobody);
    attacked.run(begin, nobody);
    assert_served(attacked.run(time, syns(false, &mut sent)), quiet.run(time, nobody));
    attacked.assert_counts(&[("opened", 257), ("backlog_full", sent as u64 - 256), ("cookies_sent", 0)]);
    assert_eq!((attacked.most_half_open, attacked.server.connections()), (256, 1));

    // Somebody real: refused there, answered by the other listener.
    attacked.user.pauses = true;
    let answered = |attacked: &mut Field, port| {
        let mut answer = false;
        attacked.run(Duration::from_millis(1), |strike| {
            if strike.tick == 0 {
                let syn = header(Flags::SYN, (3000, port), 77, 0);
                strike.frames.push(tcp_frame(v4(55), v4(1), syn, &[], None));
            }
            answer |= strike.heard.iter().filter_map(|f| segment_of(f)).any(|(h, _)| h.src_port == port);
        });
        answer
    };
    assert!(!answered(&mut attacked, ECHO) && answered(&mut attacked, SOURCE));
    attacked.tick = Duration::from_millis(10);
    attacked.run(Duration::from_secs(64), nobody);
    attacked.tick = Duration::from_micros(50);
    assert_eq!(attacked.server.half_open(), 0);
    attacked.assert_counts(&[("half_open_expired", 257)]);
    assert!(answered(&mut attacked, ECHO));
}

/// RFC 9293 sections 3.10.7.1 and 3.10.7.2: what is of no connection is answered by a reset, but never a reset by one; nothing is
/// kept of it, and where answers come faster than they leave they are dropped and counted.
#[test]
fn floods_of_acks_rsts_and_fins_from_nowhere() {
    const EACH: usize = 2000;
    let (begin, time) = (Duration::from_millis(50), Duration::from_millis(500));
    let mut quiet = Field::v4();
    quiet.run(begin, nobody);
    let unharmed = quiet.run(time, nobody);
    let kinds = [Flags::ACK, Flags::RST, Flags::FIN, Flags::FIN | Flags::ACK, Flags::RST | Flags::ACK, Flags(0)];
    // 2,000 in one turn, 50 times: the queue of answers has room for 1,024 of them, and is sent in each turn.
    let bursts = 50;
    for (port, flags) in [ECHO, 9].into_iter().flat_map(|port| kinds.map(|flags| (port, flags))) {
        let (mut attacked, mut rng) = (Field::v4(), Rng(1));
        attacked.run(begin, nobody);
        let under = attacked.run(time, |strike| {
            if strike.tick.is_multiple_of(200) {
                for n in 0..EACH {
                    let segment = header(flags, (2000, port), rng.word(), rng.word());
                    strike.frames.push(tcp_frame(forged(strike.tick * 100 + n, false), v4(1), segment, &[], None));
                }
            }
        });
        assert_served(under, unharmed);
        let all = (bursts * EACH) as u64;
        let answered = !flags.contains(Flags::RST) && (port != ECHO || flags.contains(Flags::ACK));
        let resets = if answered { bursts as u64 * 1024 } else { 0 };
        let reason = match (port, flags.contains(Flags::RST), flags.contains(Flags::ACK)) {
            (ECHO, false, true) => "listen_reset",
            (ECHO, _, _) => "listen_ignored",
            _ => "no_endpoint",
        };
        let full = if answered { all - resets } else { 0 };
        attacked.assert_counts(&[(reason, all), ("resets_out", resets), ("replies_full", full)]);
        assert_eq!((attacked.server.connections(), attacked.most_half_open), (1, 1), "{flags:?}");
        assert!(attacked.most_pool_bytes <= 1 << 20);
    }
}
