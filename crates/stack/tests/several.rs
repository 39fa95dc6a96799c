//! Several shards on one interface: a flow is one shard's, wherever its frames arrive.

mod support;
#[path = "several/world.rs"]
mod world;

use core::net::{IpAddr, SocketAddr};
use proptest::prelude::*;
use stack::{Duration, Error, Landing, LandingState, Placed, Refusal, Rss, RssFields, TcpConfig, flow_tag};
use std::collections::BTreeSet;
use support::*;
use wire::{
    arp::Operation,
    icmpv4,
    tcp::{Flags, Options},
};
use world::*;

/// Opens, data both ways and every way to end, of connections from either side and of both families, all shards taking part.
/// `midway` is called when all of them are open, and again when all of their data has gone both ways.
fn lives(count: u16, arrival: Arrival, landing: Landing, mut midway: impl FnMut(&mut World)) -> World {
    let mut world = World::new(count, arrival, |_| {});
    world.host.set_landing(&landing);
    let mut pairs = Vec::new();
    for n in 0..30 {
        let v6 = n % 3 == 0;
        pairs.push(if n % 2 == 0 {
            world.open_from_peer(v6)
        } else {
            world.open_from_host(usize::from(n % count), v6)
        });
    }
    midway(&mut world);
    let data: Vec<u8> = (0..9000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for pair in &pairs {
        world.send_from_host(pair, &data);
        world.send_from_peer(pair, &data);
    }
    world.run(Duration::from_millis(300));
    for pair in &pairs {
        assert_eq!(world.read_of(pair), (&data[..], &data[..]));
    }
    midway(&mut world);
    for (n, pair) in pairs.iter().enumerate() {
        match n / 2 % 5 {
            0 => world.close_at_host(pair),
            1 => world.close_at_peer(pair),
            2 => {
                world.close_at_host(pair);
                world.close_at_peer(pair);
            }
            3 => world.abort_at_host(pair),
            _ => world.abort_at_peer(pair),
        }
    }
    world.run(Duration::from_millis(300));
    assert_eq!((world.host.connections(), world.peer.shard.connections()), (0, 0));
    let (host, peer) = (world.host.ends(), &world.peer.app.ends);
    for ends in [&host, peer] {
        assert!(ends.iter().all(|e| matches!(e, None | Some(Error::Reset))), "{ends:?}");
    }
    assert_eq!(host.iter().chain(peer).filter(|e| e.is_some()).count(), 12, "who aborts is not told, the other end is");
    world.pass(Duration::from_secs(125));
    assert!(world.host.is_empty());
    world.host.check();
    world
}

/// Issue: a flow is not lost even if every single frame of it arrives at the wrong queue.
#[test]
fn every_frame_may_arrive_at_the_wrong_shard() {
    for count in [2, 3, 4] {
        let world = lives(count, Arrival::Wrong, Landing::Unknown, |_| {});
        let home = world.host.sum(|c| c.landed_home);
        assert_eq!((home, world.host.sum(|c| c.landed_elsewhere)), (0, 15), "every first reply went astray");
        assert_eq!(world.host.sum(|c| c.resets_out), 6, "those of six aborts, and no other");
        let unclaimed = world.host.sum(|c| c.strays_unclaimed);
        assert_eq!(
            unclaimed,
            15 + world.host.refusals(Refusal::ListenIgnored),
            "each SYN of the peer's, and late resets"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each frame arrives at a shard of its own choice.
    #[test]
    fn each_frame_may_arrive_anywhere(count in 1_u16..6, seed in any::<u64>()) {
        let world = lives(count, Arrival::Random(seed | 1), Landing::Unknown, |_| {});
        let landed = (world.host.sum(|c| c.landed_home), world.host.sum(|c| c.landed_elsewhere));
        prop_assert_eq!(landed.0 + landed.1, 15);
    }

    /// The table changes while connections are open, and again while they have data on the way: told at once, or never.
    #[test]
    fn flows_may_move(count in 2_u16..5, key in any::<[u8; 40]>(), told in any::<bool>()) {
        let rss = |shift| Rss::new(key.to_vec(), spread(count, shift), RssFields::default()).expect("valid");
        let mut shift = 0;
        lives(count, Arrival::By(rss(0)), Landing::Rss(rss(0)), |world| {
            shift += 1;
            world.host.arrival = Arrival::By(rss(shift));
            if told {
                world.host.set_landing(&Landing::Rss(rss(shift)));
            }
        });
    }
}

/// Issue: active opens land at home, and nothing ever goes from shard to shard.
#[test]
fn what_is_planned_lands_at_home() {
    let world = lives(4, Arrival::By(rss(4, 0)), Landing::Rss(rss(4, 0)), |_| {});
    assert_eq!(world.host.sum(|c| c.landed_home), 15);
    assert_eq!(world.host.sum(|c| c.landed_elsewhere + c.strays_in), 0);
    let late = world.host.refusals(Refusal::ListenIgnored) + world.host.refusals(Refusal::NoEndpoint);
    assert_eq!(world.host.sum(|c| c.strays_out), late, "only what nobody knows is asked for");
    assert!(world.host.shards.iter().all(|s| s.landing_state() == LandingState::Planned));
}

/// Issue: 10,000 active opens of four shards to one peer: no 4-tuple is chosen twice, and each reply lands at home; by both
/// tables after a change.
#[test]
fn ten_thousand_opens_have_ports_of_their_own() {
    let peer = SocketAddr::new(v4(9), 90);
    for landing in [Landing::Unknown, Landing::Rss(rss(4, 0))] {
        let mut world = World::new(4, Arrival::Wrong, |config| config.ports = 20_000..=65_535);
        world.host.set_landing(&landing);
        let mut ports = BTreeSet::new();
        let mut open = |world: &mut World, n: usize, plans: &[&Landing]| {
            for (at, _) in (0..4).flat_map(|at| (0..n).map(move |n| (at, n))) {
                let now = world.now;
                let conn = world.host.shards[at].call(now, |io| io.connect(peer)).expect("a port");
                let local = world.host.shards[at].call(now, |io| io.addresses(conn)).expect("it lives").0;
                assert!(ports.insert(local.port()), "{local} twice");
                for plan in plans {
                    let home = match plan {
                        Landing::Rss(rss) => rss.shard(peer, local),
                        Landing::Unknown => local.port() % 4,
                    };
                    assert_eq!(usize::from(home), at);
                }
            }
        };
        open(&mut world, 2500, &[&landing]);
        let mut table: Vec<u16> = spread(4, 0);
        table[..64].reverse();
        let other = Landing::Rss(Rss::new(KEY.to_vec(), table, RssFields::default()).expect("valid"));
        world.host.set_landing(&other);
        open(&mut world, 100, &[&landing, &other]);
    }
}

/// The ports of a shard are used up one by one, and only they.
#[test]
fn a_shard_without_a_port_left_says_so() {
    let mut world = World::new(3, Arrival::Wrong, |config| config.ports = 61_000..=61_008);
    let now = world.now;
    let connect = |io: &mut stack::Io<'_>| io.connect(SocketAddr::new(v4(9), 90)).map(|_| ());
    for shard in &mut world.host.shards {
        for _ in 0..3 {
            assert_eq!(shard.call(now, connect), Ok(()));
        }
        assert_eq!(shard.call(now, connect), Err(stack::ConnectError::NoPort));
    }
}

/// An interface that does not do what its table says is not believed for long, and its flows live all the same.
#[test]
fn a_plan_that_does_not_hold_is_given_up() {
    let mut world = World::new(2, Arrival::By(rss(2, 1)), |_| {});
    world.host.set_landing(&Landing::Rss(rss(2, 0)));
    for n in 0..3 {
        assert_eq!(world.host.shards[0].landing_state(), LandingState::Planned, "after {n} replies");
        let pair = world.open_from_host(0, false);
        world.close_at_host(&pair);
    }
    assert_eq!(world.host.shards[0].landing_state(), LandingState::Distrusted);
    assert_eq!(world.host.shards[0].counters().landed_elsewhere, 3);
    // Its SYNs are asked for from now on; told what is true, it plans again.
    let syn = tcp_frame(v4(9), v4(1), header(Flags::SYN, (7, PORT), 5, 0), &[], None);
    let (now, app) = (world.now, &mut world.host.apps[0]);
    assert_eq!(world.host.shards[0].on_frame(now, &syn, app), Placed::Elsewhere);
    world.host.set_landing(&Landing::Rss(rss(2, 1)));
    assert_eq!(world.host.shards[0].landing_state(), LandingState::Changed);
    // No port of this shard's brings a reply home now, that is planned.
    for _ in 0..20 {
        world.open_from_host(0, false);
    }
    assert_eq!(world.host.shards[0].counters().landed_elsewhere, 23);
    assert_eq!(world.host.shards[0].landing_state(), LandingState::Changed);
    // A table by which half of them do: those are taken.
    let half = Rss::new(KEY.to_vec(), [0, 1, 1, 0].repeat(32), RssFields::default()).expect("valid");
    world.host.set_landing(&Landing::Rss(half.clone()));
    world.host.arrival = Arrival::By(half);
    for _ in 0..20 {
        world.open_from_host(0, false);
    }
    assert_eq!(world.host.shards[0].counters().landed_home, 20);
}

/// A table that has changed before the shards are told: what lands where it was not planned to is asked for, so that a flow has
/// one shard; and three of those are enough to distrust the plan.
#[test]
fn a_syn_off_the_plan_is_asked_for() {
    let mut world = World::new(2, Arrival::By(rss(2, 0)), |_| {});
    world.host.set_landing(&Landing::Rss(rss(2, 0)));
    world.host.know_the_peer();
    let syn = |port| tcp_frame(v4(9), v4(1), header(Flags::SYN, (port, PORT), 5, 0), &[], None);
    let home = |port| usize::from(rss(2, 0).shard((v4(9), port).into(), (v4(1), PORT).into()));
    let ports: Vec<u16> = (1000..1100).filter(|port| home(*port) == 0).take(4).collect();
    assert_eq!(world.host.deliver(world.now, &syn(ports[0])), 0);
    assert_eq!(world.host.sum(|c| c.strays_out), 0, "as planned");
    world.host.arrival = Arrival::By(rss(2, 1));
    assert_eq!(world.host.deliver(world.now, &syn(ports[0])), 0, "there is a record of it");
    for (n, port) in ports[1..].iter().enumerate() {
        assert_eq!(world.host.shards[1].landing_state(), LandingState::Planned, "after {n}");
        assert_eq!(world.host.deliver(world.now, &syn(*port)), 1, "new, and where it arrived");
    }
    assert_eq!(world.host.shards[1].landing_state(), LandingState::Distrusted);
    assert_eq!(world.host.shards.iter().map(stack::Shard::half_open).collect::<Vec<_>>(), [1, 3]);
    world.host.check();
}

/// A SYN that comes again to another shard (Linux changes the flow label, and so the queue, of what it sends again) finds the
/// record there is.
#[test]
fn a_syn_that_comes_again_elsewhere_makes_no_second_record() {
    for told in [Landing::Unknown, Landing::Rss(rss(3, 1))] {
        let mut world = World::new(3, Arrival::At(0), |_| {});
        world.host.set_landing(&Landing::Rss(rss(3, 0)));
        world.host.set_landing(&told);
        let syn = tcp_frame(v4(9), v4(1), header(Flags::SYN, (7, PORT), 5, 0), &[], None);
        let mut syn_acks = BTreeSet::new();
        for at in [0, 2, 1] {
            world.host.arrival = Arrival::At(at);
            world.host.deliver(world.now, &syn);
            for (from, frame) in world.host.take_output(world.now) {
                assert_eq!(from, 0);
                syn_acks.insert(segment_of(&frame).expect("a SYN-ACK").0.seq.value());
            }
        }
        assert_eq!((syn_acks.len(), world.host.shards.iter().map(stack::Shard::half_open).sum::<usize>()), (1, 1));
        world.host.arrival = Arrival::At(1);
        let iss = syn_acks.pop_first().expect("one");
        let ack = header(Flags::ACK, (7, PORT), 6, iss.wrapping_add(1));
        world.host.deliver(world.now, &tcp_frame(v4(9), v4(1), ack, &[], None));
        assert_eq!(world.host.apps.iter().map(|a| a.open.len()).collect::<Vec<_>>(), [1, 0, 0]);
        world.host.check();
    }
}

/// MAY-2: a SYN for a connection in TIME-WAIT at another shard reopens it there, with an ISS behind the old one's numbers.
#[test]
fn a_syn_finds_its_time_wait_elsewhere() {
    let mut world = World::new(2, Arrival::At(1), |_| {});
    let syn = |world: &mut World, at, irs| {
        world.host.arrival = Arrival::At(at);
        world.host.deliver(world.now, &tcp_frame(v4(9), v4(1), header(Flags::SYN, (7, PORT), irs, 0), &[], None));
        let [(1, syn_ack)] = &world.host.take_output(world.now)[..] else { panic!("one SYN-ACK, of shard 1") };
        segment_of(syn_ack).expect("TCP").0.seq.value()
    };
    world.host.know_the_peer();
    let iss = syn(&mut world, 1, 300);
    let segment = |world: &mut World, flags, seq, ack: u32| {
        let h = header(flags, (7, PORT), seq, ack);
        world.host.deliver(world.now, &tcp_frame(v4(9), v4(1), h, &[], None));
    };
    segment(&mut world, Flags::ACK, 301, iss.wrapping_add(1));
    world.close_all_at_host();
    world.host.take_output(world.now);
    segment(&mut world, Flags::FIN | Flags::ACK, 301, iss.wrapping_add(2));
    assert_eq!(world.host.shards[1].time_waits(), 1);
    world.host.take_output(world.now);
    world.now += Duration::from_millis(1);
    let again = syn(&mut world, 0, 90_000);
    assert!(again.wrapping_sub(iss.wrapping_add(2)) < 1 << 31, "{again} behind {iss}");
    let at = |world: &World, n: usize| (world.host.shards[n].half_open(), world.host.shards[n].time_waits());
    assert_eq!((at(&world, 0), at(&world, 1)), ((0, 0), (1, 0)));
    world.host.check();
}

/// A segment of no connection draws one reset (RFC 9293 section 3.10.7.1), when all have been asked.
#[test]
fn nobodys_segment_draws_one_reset() {
    let mut world = World::new(4, Arrival::At(2), |_| {});
    for (port, refusal) in [(PORT, Refusal::ListenReset), (4, Refusal::NoEndpoint)] {
        let ack = tcp_frame(v4(9), v4(1), header(Flags::ACK, (7, port), 5, 77), &[], None);
        assert_eq!(world.host.deliver(world.now, &ack), 2);
        let [(2, reset)] = &world.host.take_output(world.now)[..] else { panic!("one reset, where it arrived") };
        let reset = segment_of(reset).expect("TCP").0;
        assert_eq!((reset.flags, reset.seq.value()), (Flags::RST, 77));
        assert_eq!(world.host.refusals(refusal), 1);
    }
    let arrived = world.host.shards[2].counters();
    assert_eq!((arrived.strays_out, arrived.strays_unclaimed, arrived.frames_in), (2, 2, 2));
    assert_eq!(world.host.sum(|c| c.frames_in), 2);
    world.host.check();
}

/// MUST-54: the quoted flow's shard hears of a packet too big, wherever the router's message arrives.
#[test]
fn an_icmp_error_finds_the_flow_it_quotes() {
    let mut world = World::new(3, Arrival::At(0), |_| {});
    world.host.know_the_peer();
    let syn = header(Flags::SYN, (7, PORT), 300, 0);
    let syn = wire::tcp::Header { options: Options { mss: Some(1460), ..Options::default() }, ..syn };
    world.host.deliver(world.now, &tcp_frame(v4(9), v4(1), syn, &[], None));
    let (_, syn_ack) = world.host.take_output(world.now).pop().expect("a SYN-ACK");
    let iss = segment_of(&syn_ack).expect("TCP").0.seq.value();
    let ack = header(Flags::ACK, (7, PORT), 301, iss.wrapping_add(1));
    world.host.deliver(world.now, &tcp_frame(v4(9), v4(1), ack, &[], None));
    let conn = *world.host.apps[0].open.first().expect("open at shard 0");
    assert_eq!(world.host.shards[0].call(world.now, |io| io.send(conn, &[1; 3000])), Ok(3000));
    let sent = world.host.take_output(world.now);
    assert_eq!(segment_of(&sent[0].1).expect("TCP").1, 1460);
    world.host.arrival = Arrival::At(2);
    let mut message = vec![0; 8 + 28];
    icmpv4::emit(3, 4, [0, 0, 0x04, 0xb0], &sent[0].1[14..42], &mut message);
    let error = ip_frame(IpAddr::from([192, 0, 2, 77]), v4(1), 1, &message, None);
    assert_eq!(flow_tag(&error), flow_tag(&tcp_frame(v4(9), v4(1), ack, &[], None)), "one flow's");
    assert_eq!(world.host.deliver(world.now, &error), 0);
    assert_eq!(
        world.host.take_output(world.now).iter().map(|(at, f)| (*at, segment_of(f).expect("TCP").1)).max(),
        Some((0, 1160))
    );
    // One about nobody's segment is counted where it arrived.
    icmpv4::emit(3, 1, [0; 4], &[&sent[0].1[14..34], &[0; 8][..]].concat(), &mut message);
    assert_eq!(world.host.deliver(world.now, &ip_frame(v4(77), v4(1), 1, &message, None)), 2);
    assert_eq!(world.host.shards[2].counters().refusals(Refusal::IcmpQuote), 1);
    world.host.check();
}

/// RFC 826: the reply to one shard's question arrives at another. The question of a neighbour is answered once.
#[test]
fn what_a_neighbour_tells_is_everybodys() {
    let mut world = World::new(3, Arrival::At(0), |_| {});
    let now = world.now;
    world.host.shards[2].call(now, |io| io.connect(SocketAddr::new(v4(9), 90))).expect("a port");
    let asked = world.host.take_output(now);
    assert!(matches!(&asked[..], [(2, ask)] if ask[12..14] == [8, 6]));
    assert_eq!(world.host.deliver(now, &arp_frame(Operation::Reply, [10, 0, 0, 9], [10, 0, 0, 1])), 0);
    assert!(matches!(&world.host.take_output(now)[..], [(2, syn)] if segment_of(syn).is_some()));
    world.host.deliver(now, &arp_frame(Operation::Request, [10, 0, 0, 77], [10, 0, 0, 1]));
    assert!(matches!(&world.host.take_output(now)[..], [(0, answer)] if answer[12..14] == [8, 6]));
    // Who asked is known to all: RFC 1122 section 2.3.2.1 needs no question of ours.
    world.host.shards[1].call(now, |io| io.connect(SocketAddr::new(v4(77), 90))).expect("a port");
    assert!(matches!(&world.host.take_output(now)[..], [(1, syn)] if segment_of(syn).is_some()));
    assert_eq!(world.host.sum(|c| c.copies_in), 4);
    world.host.check();
}

/// RFC 4987 section 3.6: the ACK with a cookie is known to nobody: it comes back to where it arrived, as its SYN did.
#[test]
fn a_cookie_is_judged_when_nobody_knows_it() {
    let mut world = World::new(2, Arrival::At(1), |config| config.max_half_open = 1);
    let syn = |port| tcp_frame(v4(9), v4(1), header(Flags::SYN, (port, PORT), 5, 0), &[], None);
    world.host.deliver(world.now, &syn(7));
    world.host.deliver(world.now, &syn(8));
    let (_, cookie) = world.host.take_output(world.now).pop().expect("a SYN-ACK");
    let iss = segment_of(&cookie).expect("TCP").0.seq.value();
    let ack = header(Flags::ACK, (8, PORT), 6, iss.wrapping_add(1));
    assert_eq!(world.host.deliver(world.now, &tcp_frame(v4(9), v4(1), ack, &[], None)), 1);
    assert_eq!((world.host.sum(|c| c.cookies_accepted), world.host.apps[1].open.len()), (1, 1));
    world.host.check();
}

/// Alone, a shard is asked for nothing.
#[test]
fn a_shard_that_is_alone_takes_everything() {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    for frame in [
        tcp_frame(v4(9), v4(1), header(Flags::ACK, (7, PORT), 5, 77), &[], None),
        arp_frame(Operation::Request, [10, 0, 0, 77], [10, 0, 0, 1]),
        echo_frame(9),
        vec![],
    ] {
        assert_eq!(shard.on_frame(stack::Instant::ZERO, &frame, &mut app), Placed::Here);
    }
    assert_eq!(shard.counters().frames_in, 4);
}

/// A malformed segment, and an echo request, are dealt with where they arrive.
#[test]
fn what_has_no_flow_stays_where_it_arrives() {
    let mut world = World::new(2, Arrival::At(1), |_| {});
    let mut bad = tcp_frame(v4(9), v4(1), header(Flags::ACK, (7, PORT), 5, 77), &[], None);
    bad[50] ^= 1;
    for frame in [bad, echo_frame(9), ip_frame(v4(9), v4(1), 99, &[0; 9], None)] {
        assert_eq!(world.host.deliver(world.now, &frame), 1);
        assert_eq!(flow_tag(&frame).is_some(), frame[23] == 6);
    }
    assert_eq!(world.host.sum(|c| c.strays_out + c.copies_in), 0);
    assert!(matches!(&world.host.take_output(world.now)[..], [(1, echo)] if echo[34] == 0));
}

#[test]
fn a_place_is_checked() {
    let place = |index, count| {
        let mut config = config(v4(1), v6(1), OURS);
        config.place = stack::Place { index, count };
        stack::Shard::new(config, stack::Instant::ZERO).map(|_| ()).map_err(|e| e.field)
    };
    assert_eq!((place(0, 0), place(2, 2)), (Err("place.count"), Err("place.index")));
    assert_eq!(place(1, 2), Ok(()));
    let _: TcpConfig = config(v4(1), v6(1), OURS).tcp;
}
