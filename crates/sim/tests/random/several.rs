//! A world from a seed whose hosts have several shards, and interfaces that give frames to any of them.

use crate::{
    player::{self, Ledger, Player},
    world::{PORT, Tally, address, config, impaired, options, through_the_weather, weathers},
};
use sim::{Arrival, Host, Rng, Several, Topology, World, forge};
use stack::{Instant, Landing, Place, Rss, RssFields, RssInput, RssTransform, Shard, SynCookies, flow_tag};
use std::{cell::RefCell, net::SocketAddr, rc::Rc};

/// How an interface of `count` queues spreads flows, and from when on by which plan. A plan may be told, or not.
fn interface(rng: &mut Rng, count: u16) -> (Arrival, Vec<(Instant, Landing)>) {
    let mut dice = Rng::new(rng.bits64());
    match rng.below(4) {
        // Each frame as it comes.
        0 => (Box::new(move |_, _| dice.index(usize::from(count))), Vec::new()),
        // By the flow, and differently after a while.
        1 => {
            let period = 1 + rng.magnitude(60_000_000_000);
            let arrival = move |now: Instant, frame: &[u8]| {
                let turn = now.as_nanos() / period;
                usize::try_from((flow_tag(frame).unwrap_or(0) ^ turn) >> 5 & 0xffff).unwrap_or(0)
            };
            (Box::new(arrival), Vec::new())
        }
        // By RSS that is known, and may change, which the shards hear of at once, later or never.
        _ => {
            let changes = u32::try_from(rng.below(3)).unwrap_or(0);
            let mut plans = vec![(Instant::ZERO, rss(rng, count))];
            for n in 0..changes {
                plans.push((Instant::ZERO + rng.ms(30_000) * (n + 1), rss(rng, count)));
            }
            plans.sort_by_key(|(at, _)| *at);
            // Who is never told, or late, can't know of two changes.
            let late = if changes == 2 { 0 } else { rng.pick(&[0, 0, 1, 2000, 1_000_000]) };
            let told = plans.iter().map(|(at, rss)| {
                let late = if *at == Instant::ZERO { 0 } else { late };
                (*at + stack::Duration::from_millis(late), Landing::Rss(rss.clone()))
            });
            let told = told.collect();
            let arrival = move |now: Instant, frame: &[u8]| {
                let Some((_, src, dst, segment)) = forge::parse(frame) else { return 0 };
                let (_, rss) = plans.iter().rfind(|(at, _)| *at <= now).expect("one from the start");
                let from = SocketAddr::new(src, segment.header.src_port);
                rss.shard(from, SocketAddr::new(dst, segment.header.dst_port)).into()
            };
            (Box::new(arrival), told)
        }
    }
}

fn rss(rng: &mut Rng, count: u16) -> Rss {
    let key = (0..rng.pick(&[40, 52])).map(|_| rng.bits64().to_be_bytes()[0]).collect();
    let shards = if rng.percent(80) { count } else { 1 + count / 2 };
    let table = (0..rng.pick(&[1, 4, 128])).map(|_| u16::try_from(rng.index(shards.into())).unwrap_or(0)).collect();
    let input = if rng.percent(80) { RssInput::AddressesAndPorts } else { RssInput::Addresses };
    let transforms = [RssTransform::Nothing, RssTransform::SymmetricXor, RssTransform::SymmetricOrXor];
    Rss::new(key, table, RssFields { ipv4: input, ipv6: input, transform: rng.pick(&transforms) }).expect("valid")
}

/// Two hosts with a player on each shard.
pub(crate) fn run(seed: u64) -> Tally {
    let rng = &mut Rng::new(seed);
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let (both, v6) = (rng.percent(30), rng.percent(50));
    let [there, back] = weathers(rng, v6);
    let mut hosts = Vec::new();
    for n in 0..2_u8 {
        let count = 1 + u16::try_from(rng.below(4)).unwrap_or(0);
        let (config, options) = (config(rng, n + 1), options(rng));
        ledger.borrow_mut().cookies |= options.syn_cookies != SynCookies::Never;
        let (arrival, told) = interface(rng, count);
        let mut shards = Vec::new();
        for index in 0..count {
            let mut config = config.clone();
            config.place = Place { index, count };
            let shard = Shard::new(config, Instant::ZERO).expect("valid");
            let local = SocketAddr::new(address(n + 1, v6), PORT);
            let mut app = Player::new(Rng::new(rng.bits64()), ledger.clone(), local, options.clone());
            app.roomy = shard.config().pool_bytes >= 16 << 20;
            if n == 0 || both {
                app.opens(rng.below(5), SocketAddr::new(address(2 - n, v6), PORT));
            }
            if n == 1 || both {
                app.listens();
            }
            shards.push(Host { shard, app });
        }
        let mut host = Several::new(shards, arrival);
        told.into_iter().for_each(|(at, landing)| host.tell(at, landing));
        hosts.push(host);
    }
    let mut world = World::of(seed, hosts, Topology::cable(there, back));
    through_the_weather(&mut world, seed, rng);
    let mut tally = Tally { frames: world.frames(), octets: world.streams().octets(), ..Tally::default() };
    tally.impaired = impaired(&world);
    for host in world.iter().flat_map(|several| &several.shards) {
        host.app.assert_over();
        assert_eq!(host.shard.listening().count(), 0);
        tally.lifetimes += host.shard.counters().connected;
        tally.accepted += host.shard.counters().accepted;
    }
    player::agree(&ledger.borrow());
    tally
}
