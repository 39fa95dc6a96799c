//! A world from a seed: hosts, what they do, what goes wrong between them, and what must be true at the end.

use crate::{
    crossing::Crosser,
    forger::{Aim, Forger},
    player::{self, Ledger, Player},
};
use sim::{Dumbbell, Host, LinkConfig, LinkCounters, LinkId, Loss, Node, Nodes, Rng, Topology, World};
use stack::{
    Congestion, Duration, Ecn, Instant, ListenOptions, LocalAddress, MacAddr, Profile, Settings, Shard, ShardConfig,
    SynCookies, TcpConfig,
};
use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

pub(crate) const PORT: u16 = 7;

/// When the weather turns fair, and for how long the world goes on: long enough for the last timers, an orphan's,
/// FIN-WAIT-2, 2MSL.
const FAIR: Instant = Instant::from_nanos(240_000_000_000);
const REST: Duration = Duration::from_secs(900);

/// What there was in a world.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Connections that were opened, and are over.
    pub(crate) lifetimes: u64,
    /// Of them those that a listener took.
    pub(crate) accepted: u64,
    /// Simultaneous opens that came to be.
    pub(crate) crossed: u64,
    pub(crate) frames: u64,
    /// Octets read, each compared with what was written.
    pub(crate) octets: u64,
    /// Frames that were lost, late, damaged or repeated.
    pub(crate) impaired: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: Self) {
        self.lifetimes += other.lifetimes;
        self.accepted += other.accepted;
        self.crossed += other.crossed;
        self.frames += other.frames;
        self.octets += other.octets;
        self.impaired += other.impaired;
    }
}

pub(crate) fn address(n: u8, v6: bool) -> IpAddr {
    if v6 { IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(n)]) } else { IpAddr::from([10, 0, 0, n]) }
}

const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

pub(crate) fn config(rng: &mut Rng, n: u8) -> ShardConfig {
    let local = |v6, prefix_len| LocalAddress { ip: address(n, v6), prefix_len, owned: true };
    let mtu = rng.pick(&[1500, 1500, 1280, 9000]);
    let secrets = [(); 4].map(|()| [u8::try_from(rng.below(256)).unwrap_or(0); 16]);
    let mut config = ShardConfig::new(mac(n), mtu, vec![local(false, 24), local(true, 64)], secrets);
    let buffers = [4096, 8192, 65_536, 1 << 20];
    let settings = Settings {
        receive_buffer_bytes: rng.pick(&buffers),
        send_buffer_bytes: rng.pick(&buffers),
        min_rto: Duration::from_millis(rng.pick(&[1, 10, 200, 200])),
        time_wait: Duration::from_secs(1 + rng.below(60)),
        timestamps: rng.percent(70),
        sack: rng.percent(70),
        window_scaling: rng.percent(70),
        mtu_probing: rng.percent(80),
        ecn: rng.pick(&[Ecn::Off, Ecn::Answer, Ecn::Ask]),
        congestion: rng.pick(&[Congestion::Cubic, Congestion::NewReno]),
        delayed_ack: Duration::from_millis(rng.pick(&[0, 1, 40, 400])),
        ack_gather: Duration::from_micros(rng.pick(&[0, 20, 20, 1000])),
        ..Settings::default()
    };
    config.tcp = TcpConfig::new(settings).expect("valid");
    config.most_awake = rng.pick(&[0, 1, 4096]);
    config.pool_bytes = rng.pick(&[32 << 10, 256 << 10, 16 << 20]);
    config
}

pub(crate) fn options(rng: &mut Rng) -> ListenOptions {
    let cookies = [SynCookies::Never, SynCookies::WhenFull, SynCookies::From(1), SynCookies::Always];
    let backlog = rng.pick(&[1, 2, 3, 16]);
    ListenOptions {
        backlog,
        accept_queue: rng.pick(&[None, None, Some(0), Some(1), Some(3)]),
        time_wait: rng.percent(30).then(|| Duration::from_secs(1 + rng.below(10))),
        syn_cookies: rng.pick(&cookies),
        // Of what was drawn, so that worlds are otherwise what they were.
        profile: match backlog % 3 {
            0 => Profile::Balanced,
            1 => Profile::Latency,
            _ => Profile::Throughput,
        },
    }
}

/// A link in bad weather.
fn weather(rng: &mut Rng) -> LinkConfig {
    let up_to = |rng: &mut Rng, chance, percent: u64| {
        if rng.percent(chance) { rng.below(10 * percent + 1) as f64 / 1000.0 } else { 0.0 }
    };
    let delay = Duration::from_micros(20 + rng.magnitude(60_000));
    let rate = rng.percent(40).then(|| 1_000_000 * rng.magnitude(1000));
    LinkConfig {
        rate_bps: rate,
        queue_bytes: rate.map(|_| 20_000 + rng.index(200_000)),
        mark_bytes: (rate.is_some() && rng.percent(40)).then(|| 5000 + rng.index(30_000)),
        delay,
        jitter: if rng.percent(30) { delay / 2 } else { Duration::ZERO },
        loss: match rng.below(10) {
            0..=3 => Loss::None,
            4..=7 => Loss::Random(rng.below(201) as f64 / 1000.0),
            _ => {
                let [enter, leave] = [50, 500].map(|most| (1 + rng.below(most)) as f64 / 1000.0);
                Loss::Burst { enter, leave, within: 0.5 + rng.below(51) as f64 / 100.0 }
            }
        },
        reorder: up_to(rng, 40, 20),
        reorder_by: delay * 3,
        duplicate: up_to(rng, 40, 10),
        corrupt: up_to(rng, 30, 5),
        mtu: rng.percent(15).then(|| if rng.percent(50) { 1280 + rng.index(220) } else { 576 + rng.index(924) }),
        too_big: rng.percent(50),
        outage: rng.percent(20).then(|| {
            let begins = Instant::ZERO + rng.ms(30_000);
            begins..begins + Duration::from_millis(rng.magnitude(100_000))
        }),
    }
}

/// IPv6 wants 1280 octets of every link (RFC 8200 section 5).
fn legal(link: LinkConfig, v6: bool) -> LinkConfig {
    LinkConfig { mtu: link.mtu.map(|mtu| if v6 { mtu.max(1280) } else { mtu }), ..link }
}

/// Both directions of a path: alike, or each as it comes.
pub(crate) fn weathers(rng: &mut Rng, v6: bool) -> [LinkConfig; 2] {
    let there = legal(weather(rng), v6);
    let back = if rng.percent(50) { there.clone() } else { legal(weather(rng), v6) };
    [there, back]
}

pub(crate) fn run(seed: u64) -> Tally {
    let mut rng = Rng::new(seed);
    match rng.below(10) {
        0 => crossing(seed, &mut rng),
        1..=6 => players(seed, &mut rng, 1, 1),
        _ => {
            let (left, right) = (1 + rng.index(3), 1 + rng.index(3));
            players(seed, &mut rng, left, right)
        }
    }
}

/// Two sides of hosts with players on them, and a shared path between the sides.
fn players(seed: u64, rng: &mut Rng, left: usize, right: usize) -> Tally {
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let (both, v6, count) = (rng.percent(30), rng.percent(50), left + right);
    let path = weathers(rng, v6);
    let number = |n: usize| u8::try_from(n + 1).unwrap_or(u8::MAX);
    let mut hosts = Vec::new();
    for n in 0..count {
        let shard = Shard::new(config(rng, number(n)), Instant::ZERO).expect("valid");
        let options = options(rng);
        ledger.borrow_mut().cookies |= options.syn_cookies != SynCookies::Never;
        let local = SocketAddr::new(address(number(n), v6), PORT);
        let mut app = Player::new(Rng::new(rng.bits64()), ledger.clone(), local, options);
        app.roomy = shard.config().pool_bytes >= 16 << 20;
        let others = if n < left { left..count } else { 0..left };
        if n < left || both {
            for peer in others {
                let opens = 1 + rng.below(8);
                app.opens(opens, SocketAddr::new(address(number(peer), v6), PORT));
            }
        }
        if n >= left || both {
            app.listens();
        }
        hosts.push(Host { shard, app });
    }
    let [there, back] = path;
    let topology = if count == 2 {
        Topology::cable(there, back)
    } else {
        let near = LinkConfig::delay(Duration::from_micros(10));
        Topology::dumbbell(count, left, &Dumbbell { up: near.clone(), down: near, right: there, left: back })
    };
    let mut world = World::of(seed, hosts, topology);
    through_the_weather(&mut world, seed, rng);
    for host in world.iter() {
        host.app.assert_over();
        assert_eq!(host.shard.listening().count(), 0);
    }
    player::agree(&ledger.borrow());
    tally(&world)
}

/// Runs a world to its end, with somebody off the path in half of the cases.
pub(crate) fn through_the_weather<N: Node>(world: &mut World<Vec<N>>, seed: u64, rng: &mut Rng) {
    let replay = format!("make sim SEEDS={seed}..{}", seed + 1);
    world.set_replay(replay);
    if rng.percent(50) {
        let forger = Rc::new(RefCell::new(Forger::new(Rng::new(rng.bits64()))));
        let seen = forger.clone();
        world.set_witness(move |from, frame| seen.borrow_mut().sees(from, frame));
        let mut at = Instant::ZERO + Duration::from_millis(1);
        while at < FAIR {
            world.run_until(at, |_| false);
            for _ in 0..=rng.below(3) {
                if let Some((aim, frame)) = forger.borrow_mut().forged() {
                    let station = |mac| world.iter().position(|host| host.mac() == mac);
                    let to = match aim {
                        Aim::Node(n) => Some(n),
                        Aim::Station(mac) => station(mac),
                    };
                    if let Some(to) = to {
                        world.forge(to, &frame);
                    }
                }
            }
            at = world.now() + Duration::from_micros(1 + rng.magnitude(3_000_000));
        }
    }
    world.run_until(FAIR, |_| false);
    for link in 0..world.links() {
        let link = world.link_mut(LinkId(link));
        *link = LinkConfig { delay: link.delay, rate_bps: link.rate_bps, ..LinkConfig::default() };
    }
    world.run(REST);
    world.assert_nothing_left();
}

fn tally<A: stack::App>(world: &World<Vec<Host<A>>>) -> Tally {
    let mut tally = Tally { frames: world.frames(), octets: world.streams().octets(), ..Tally::default() };
    for n in 0..world.count() {
        let counters = world[n].shard.counters();
        tally.lifetimes += counters.connected;
        tally.accepted += counters.accepted;
    }
    tally.impaired = impaired(world);
    tally
}

pub(crate) fn impaired<N: Node>(world: &World<Vec<N>>) -> u64 {
    let of = |c: &LinkCounters| {
        let gone = c.lost + c.outage + c.queue_dropped + c.too_big;
        gone + c.duplicated + c.corrupted + c.reordered + c.marked
    };
    (0..world.links()).map(|n| of(world.link(LinkId(n)))).sum()
}

/// Both open at the same time, from and to the same ports.
fn crossing(seed: u64, rng: &mut Rng) -> Tally {
    let v6 = rng.percent(50);
    let [there, back] = weathers(rng, v6);
    let times: Vec<Instant> = (0..12).map(|n| Instant::ZERO + Duration::from_secs(20 * n)).collect();
    let hosts = (1..=2).map(|n| {
        let mut config = config(rng, n);
        config.ports = PORT..=PORT;
        config.pool_bytes = 16 << 20;
        let shard = Shard::new(config, Instant::ZERO).expect("valid");
        let peer = SocketAddr::new(address(3 - n, v6), PORT);
        Host { shard, app: Crosser::new(Rng::new(rng.bits64()), peer, times.clone()) }
    });
    let hosts: Vec<Host<Crosser>> = hosts.collect();
    let mut world = World::of(seed, hosts, Topology::cable(there, back));
    through_the_weather(&mut world, seed, rng);
    let crossed = world.iter().map(|host| host.app.opened).min().unwrap_or(0);
    Tally { crossed, ..tally(&world) }
}
