//! Links do what their configuration says, by arithmetic.

mod support;

use sim::{Dumbbell, Host, LinkConfig, LinkId, Loss, Node, Pair, Topology, World};
use stack::{Duration, Instant, MacAddr};
use std::net::IpAddr;
use support::{Client, Echo, host, shard};
use wire::{eth, ipv4, ipv6};

const PORT: &str = "10.0.0.2:7";

/// Sends its frames at these times, and notes what arrives when.
#[derive(Debug, Default)]
struct Station {
    n: u8,
    plan: Vec<(Instant, Vec<u8>)>,
    sent: usize,
    got: Vec<(Instant, Vec<u8>)>,
}

impl Node for Station {
    fn mac(&self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, self.n])
    }
    fn frame_bytes(&self) -> usize {
        9018
    }
    fn on_frame(&mut self, now: Instant, frame: &[u8]) {
        self.got.push((now, frame.to_vec()));
    }
    fn advance(&mut self, _: Instant) {}
    fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        let (_, bytes) = self.plan.get(self.sent).filter(|(at, _)| *at <= now)?;
        self.sent += 1;
        frame[..bytes.len()].copy_from_slice(bytes);
        Some(bytes.len())
    }
    fn next_wakeup(&self) -> Option<Instant> {
        self.plan.get(self.sent).map(|(at, _)| *at)
    }
}

fn at(micros: u64) -> Instant {
    Instant::ZERO + Duration::from_micros(micros)
}

/// A frame to station 2 that says its number, of `len` bytes.
fn frame(n: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    eth::Header { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None, ethertype: 0x88b5 }
        .emit(&mut bytes);
    bytes[14..18].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// Frames `0..count` of `len` bytes, one every `every` microseconds, over such a link.
fn over(config: LinkConfig, count: u32, len: usize, every: u64) -> World<Pair<Station, Station>> {
    let plan = (0..count).map(|n| (at(u64::from(n) * every), frame(n, len))).collect();
    let (a, b) = (Station { n: 1, plan, ..Station::default() }, Station { n: 2, ..Station::default() });
    let mut world = World::of(7, Pair { a, b }, Topology::cable(config, LinkConfig::default()));
    world.run(Duration::from_secs(100));
    assert!(world.link(LinkId(0)).add_up());
    assert_eq!(world.link(LinkId(0)).in_flight, 0);
    world
}

fn numbers(world: &World<Pair<Station, Station>>) -> Vec<u32> {
    world.b.got.iter().map(|(_, f)| u32::from_be_bytes(f[14..18].try_into().expect("four bytes"))).collect()
}

#[test]
fn a_rate_spaces_frames_and_the_delay_comes_on_top() {
    // 1000 bytes at 8 Mbit/s are 1 ms; all are put on the link at once.
    let config = LinkConfig { rate_bps: Some(8_000_000), delay: Duration::from_micros(500), ..LinkConfig::default() };
    let world = over(config, 5, 1000, 0);
    let times: Vec<Instant> = world.b.got.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [at(1500), at(2500), at(3500), at(4500), at(5500)]);
}

/// 1514 bytes at 10 Gbit/s are 1211.2 ns: nothing of it is lost to rounding.
#[test]
fn nanoseconds_are_not_rounded_away() {
    let config = LinkConfig { rate_bps: Some(10_000_000_000), ..LinkConfig::default() };
    let world = over(config, 1000, 1514, 0);
    assert_eq!(world.b.got.last().map(|(at, _)| at.as_nanos()), Some(1_211_200));
}

#[test]
fn a_full_queue_drops_the_tail() {
    // Room for five of ten that come at once; each takes 1 ms to leave, so the second ten, 2.5 ms later, find room for two.
    let plan = (0..20).map(|n| (at(if n < 10 { 0 } else { 2500 }), frame(n, 1000))).collect();
    let (a, b) = (Station { n: 1, plan, ..Station::default() }, Station { n: 2, ..Station::default() });
    let link = LinkConfig::rated(8_000_000, Duration::ZERO, 5000);
    let mut world = World::of(0, Pair { a, b }, Topology::cable(link, LinkConfig::default()));
    world.run(Duration::from_secs(1));
    assert_eq!(numbers(&world), [0, 1, 2, 3, 4, 10, 11]);
    let counters = world.link(LinkId(0));
    assert_eq!((counters.delivered, counters.queue_dropped, counters.queue_peak_bytes), (7, 13, 5000));
}

/// Five IP packets at once, of one ECN codepoint, to a link that marks what finds 2000 bytes before it.
fn marked(v6: bool, ecn: u8) -> Vec<bool> {
    let link = eth::Header {
        dst: MacAddr([2, 0, 0, 0, 0, 2]),
        src: MacAddr([2, 0, 0, 0, 0, 1]),
        vlan: None,
        ethertype: if v6 { eth::ETHERTYPE_IPV6 } else { eth::ETHERTYPE_IPV4 },
    };
    let mut bytes = vec![0; 1000];
    link.emit(&mut bytes);
    if v6 {
        let (src, dst) = ([1; 16].into(), [2; 16].into());
        let (next_header, hop_limit, flow_label, fragment) = (17, 9, 0xabcde, None);
        ipv6::Header { src, dst, next_header, hop_limit, traffic_class: 0xb8 | ecn, flow_label, fragment }
            .emit(946, &mut bytes[14..]);
    } else {
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let (protocol, ttl, ident, fragment_offset) = (17, 9, 5, 0);
        let (dont_fragment, more_fragments) = (true, false);
        let tos = 0xb8 | ecn;
        ipv4::Header { src, dst, protocol, ttl, tos, ident, dont_fragment, more_fragments, fragment_offset }
            .emit(966, &mut bytes[14..]);
    }
    let plan = (0..5).map(|_| (at(0), bytes.clone())).collect();
    let (a, b) = (Station { n: 1, plan, ..Station::default() }, Station { n: 2, ..Station::default() });
    let link = LinkConfig { rate_bps: Some(8_000_000), mark_bytes: Some(2000), ..LinkConfig::default() };
    let mut world = World::of(0, Pair { a, b }, Topology::cable(link, LinkConfig::default()));
    world.run(Duration::from_secs(1));
    let field = |frame: &[u8]| {
        // Parsing verifies the IPv4 header's checksum.
        let class = if v6 {
            ipv6::Header::parse(&frame[14..]).expect("valid").0.traffic_class
        } else {
            ipv4::Header::parse(&frame[14..]).expect("valid").0.tos
        };
        assert_eq!(class & 0xfc, 0xb8, "the DSCP stays");
        class & 3
    };
    let marked = world.b.got.iter().map(|(_, frame)| field(frame) == 3 && ecn != 3).collect::<Vec<_>>();
    assert_eq!(world.link(LinkId(0)).marked, marked.iter().filter(|m| **m).count() as u64);
    marked
}

/// RFC3168: ECT is marked, not-ECT is not.
#[test]
fn congestion_marks_what_may_be_marked() {
    for v6 in [false, true] {
        for ect in [1, 2] {
            assert_eq!(marked(v6, ect), [false, false, true, true, true]);
        }
        for other in [0, 3] {
            assert_eq!(marked(v6, other), [false; 5]);
        }
    }
}

#[test]
fn random_loss_is_what_it_says() {
    let world = over(LinkConfig::default().with_loss(0.03), 100_000, 60, 1);
    // A binomial: 3000 with a standard deviation of 54.
    let lost = world.link(LinkId(0)).lost;
    assert!((2730..=3270).contains(&lost), "{lost}");
}

/// Gilbert and Elliott: in a burst for enter / (enter + leave) of the frames, and for 1 / leave of them in a row.
#[test]
fn bursts_of_loss_have_their_length() {
    let loss = Loss::Burst { enter: 0.01, leave: 0.25, within: 1.0 };
    let world = over(LinkConfig { loss, ..LinkConfig::default() }, 200_000, 60, 1);
    let lost = world.link(LinkId(0)).lost as f64;
    assert!((lost / 200_000.0 - 0.01 / 0.26).abs() < 0.004, "{lost}");
    let arrived = numbers(&world);
    let bursts = arrived.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!((lost / bursts as f64 - 4.0).abs() < 0.3, "{lost} in {bursts} bursts");
}

#[test]
fn jitter_delays_and_reorders_nothing() {
    let config = LinkConfig { jitter: Duration::from_micros(500), ..LinkConfig::delay(Duration::from_micros(100)) };
    let world = over(config, 1000, 60, 10);
    assert!(numbers(&world).is_sorted());
    let delays: Vec<u64> = world.b.got.iter().zip(0..).map(|((when, _), n)| (*when - at(n * 10)).as_micros()).collect();
    assert!(delays.iter().all(|us| (100..=600).contains(us)));
    assert!(delays.iter().max() > delays.iter().min());
}

#[test]
fn reordering_duplication_and_corruption_are_counted() {
    let config = LinkConfig {
        reorder: 0.1,
        reorder_by: Duration::from_micros(100),
        duplicate: 0.05,
        corrupt: 1.0,
        ..LinkConfig::default()
    };
    let world = over(config, 10_000, 60, 10);
    let arrived = numbers(&world);
    let c = world.link(LinkId(0));
    assert_eq!(arrived.len() as u64, 10_000 + c.duplicated);
    assert!((880..=1120).contains(&c.reordered) && (400..=600).contains(&c.duplicated), "{c:?}");
    assert!(arrived.windows(2).filter(|pair| pair[1] < pair[0]).count() > 500);
    // Nothing of this is TCP: Ethernet's check sequence would have caught it.
    assert_eq!(c.corrupted, 0);
}

#[test]
fn an_outage_is_silence() {
    let config = LinkConfig { outage: Some(at(1000)..at(2000)), ..LinkConfig::default() };
    let world = over(config, 30, 60, 100);
    assert_eq!(numbers(&world), (0..10).chain(20..30).collect::<Vec<_>>());
}

/// Two hosts over a link for packets of 1000 bytes at most.
fn narrow(too_big: bool) -> World<Pair<Host<Client>, Host<Echo>>> {
    let mut b = host(2, Echo::default());
    b.shard.listen(PORT.parse().expect("an address"), 16).expect("free");
    let a = host(1, Client::new(PORT, 50_000));
    let link = LinkConfig { mtu: Some(1000), too_big, ..LinkConfig::delay(Duration::from_millis(1)) };
    let mut world = World::of(1, Pair { a, b }, Topology::cable(link.clone(), link));
    world.run(Duration::from_secs(120));
    assert_eq!((world.a.app.received, world.a.app.closed), (50_000, Some(None)));
    assert!(world.link(LinkId(0)).too_big > 0);
    world.run(Duration::from_secs(120));
    world.assert_nothing_left();
    world
}

#[test]
fn a_router_says_too_big_and_a_black_hole_does_not() {
    let (honest, hole) = (narrow(true), narrow(false));
    assert!(honest.a.shard.counters().icmp_in > 0);
    assert_eq!(hole.a.shard.counters().icmp_in, 0);
}

/// Two pairs of hosts share 10 Mbit/s; ARP finds its way through both switches.
#[test]
fn a_dumbbell_is_shared() {
    let bottleneck = LinkConfig::rated(10_000_000, Duration::from_millis(5), 50_000);
    let links = Dumbbell { right: bottleneck.clone(), left: bottleneck, ..Dumbbell::default() };
    let mut nodes: Vec<Box<dyn Node>> = Vec::new();
    for (n, to) in [(1, "10.0.0.3:7"), (2, "10.0.0.4:7")] {
        nodes.push(Box::new(host(n, Client::new(to, 1_000_000))));
    }
    for n in [3, 4] {
        let mut shard = shard(n, |_| {});
        shard.listen((IpAddr::from([10, 0, 0, n]), 7).into(), 16).expect("free");
        nodes.push(Box::new(Host { shard, app: Echo::default() }));
    }
    let mut world = World::of(3, nodes, Topology::dumbbell(4, 2, &links));
    // 2 MB and headers at 10 Mbit/s are 1.7 s each way, both ways at once.
    world.run(Duration::from_secs(1));
    assert!(world.streams().octets() < 2_500_000);
    world.run(Duration::from_secs(20));
    assert_eq!((world.streams().octets(), world.streams().connections()), (4_000_000, 2 + 2));
    let through = world.link(LinkId(0));
    assert!(through.bytes >= 2_000_000 && through.delivered > 1000, "{through:?}");
    world.run(Duration::from_secs(120));
    world.assert_nothing_left();
}
