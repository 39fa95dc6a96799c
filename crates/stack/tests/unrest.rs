//! Two hosts on a bad link, and the interface of one of them is never at rest: routes, addresses, MTU, MAC address, neighbours
//! and listeners come and go, connections are ended from outside, and applications do what they like.
//!
//! What must hold in each world: the shards agree with themselves after every round of frames; no frame leaves from an address
//! that is gone, by a MAC address that is not the interface's, or longer than its MTU; an end is told once. Once the link and the
//! interface are well again all that is queued gets through, every end was told, and when all is given up nothing is left.
//!
//! Every world is a function of its seed. `UNREST_SEEDS=first..last cargo test -p fourwave-stack --test unrest` runs others than
//! the fixed ones.

mod support;

use core::{net::IpAddr, ops::Range};
use stack::{
    App, ConnId, Cursor, Duration, End, Error, Half, Instant, Io, ListenOptions, ListenerId, LocalAddress, MacAddr,
    Route, Shard, ShardConfig, State, SynCookies,
};
use std::{collections::HashSet, mem};
use support::{OURS, PEER, PORT, drain, v4, v6};
use wire::{eth, ipv4, ipv6};

/// The worlds of `make test`.
const FIXED: Range<u64> = 1..101;
/// Turns for which the interface changes; most of them take a fifth of a millisecond, one in twenty two seconds.
const TURNS: usize = 4000;
/// Longer than any retransmission, window probe or TIME-WAIT is put off.
const ENOUGH: Duration = Duration::from_secs(900);

#[test]
fn a_shard_on_the_interfaces_addresses_has_no_rest() {
    run(false);
}

/// Addresses of its own are not the interface's to lose; the rest of it changes all the same.
#[test]
fn a_shard_on_addresses_of_its_own_has_no_rest() {
    run(true);
}

fn run(owned: bool) {
    let seeds = seeds();
    let of_all = seeds.end - seeds.start >= FIXED.end - FIXED.start;
    let mut all = Tally::default();
    for seed in seeds {
        match std::panic::catch_unwind(|| World::new(seed, owned).run()) {
            Ok(tally) => all.add(&tally),
            Err(reason) => {
                let next = seed + 1;
                eprintln!("replay: UNREST_SEEDS={seed}..{next} cargo test -p fourwave-stack --test unrest");
                std::panic::resume_unwind(reason);
            }
        }
    }
    println!("addresses of its own: {owned}, {all:?}");
    assert!(!of_all || all.has_everything(), "the worlds are too quiet: {all:?}");
}

fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("UNREST_SEEDS") else { return FIXED };
    let parsed = range.split_once("..").and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    parsed.unwrap_or_else(|| panic!("UNREST_SEEDS is {range:?}, wanted is first..last, two numbers"))
}

/// What the shard on the restless interface has seen.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    connected: u64,
    failed: u64,
    cookies: u64,
    time_waits: u64,
    resets: u64,
    expired: u64,
    ended_from_outside: u64,
}

impl Tally {
    const fn of(shard: &Shard, ended_from_outside: u64) -> Self {
        let c = shard.counters();
        Self {
            accepted: c.accepted,
            connected: c.connected,
            failed: c.failed,
            cookies: c.cookies_accepted,
            time_waits: c.time_wait_in,
            resets: c.resets_out,
            expired: c.half_open_expired,
            ended_from_outside,
        }
    }
    const fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.connected += other.connected;
        self.failed += other.failed;
        self.cookies += other.cookies;
        self.time_waits += other.time_waits;
        self.resets += other.resets;
        self.expired += other.expired;
        self.ended_from_outside += other.ended_from_outside;
    }
    fn has_everything(&self) -> bool {
        let opens = [self.accepted, self.connected, self.failed, self.cookies, self.expired];
        let ends = [self.time_waits, self.resets, self.ended_from_outside];
        !opens.iter().chain(&ends).any(|n| *n == 0)
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    /// 0 to `n` - 1.
    fn below(&mut self, n: u16) -> u16 {
        u16::try_from(self.bits() % u64::from(n)).expect("below n")
    }
    fn one_in(&mut self, n: u16) -> bool {
        self.below(n) == 0
    }
    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.bits() % len as u64).expect("below a length")
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}

/// An application without sense, that knows whose end it has not been told yet.
#[derive(Debug)]
struct Player {
    rng: Rng,
    conns: Vec<ConnId>,
    listeners: Vec<ListenerId>,
    told: HashSet<ConnId>,
}

impl Player {
    fn new(rng: Rng) -> Self {
        Self { rng, conns: Vec::new(), listeners: Vec::new(), told: HashSet::new() }
    }
    fn give_up(&mut self, io: &mut Io<'_>, conn: ConnId, abort: bool) {
        let _ = if abort { io.abort(conn) } else { io.close(conn) };
        // Who lingers lives on, and is told its end.
        if io.info(conn).is_err() {
            self.conns.retain(|c| *c != conn);
        }
    }
    fn accept_all(&mut self, io: &mut Io<'_>) {
        for at in 0..self.listeners.len() {
            while let Some(conn) = io.accept(self.listeners[at]) {
                self.conns.push(conn);
            }
        }
    }
    fn read_all(&self, io: &mut Io<'_>) {
        for conn in &self.conns {
            while io.read(*conn, &mut [0; 4096]).is_ok_and(|n| n > 0) {}
        }
    }
    /// One verb on one connection.
    fn act(&mut self, io: &mut Io<'_>) {
        if self.conns.is_empty() {
            return;
        }
        let conn = self.rng.pick(&self.conns);
        let what = self.rng.below(12);
        let _ = match what {
            0 | 1 => {
                self.give_up(io, conn, what == 1);
                Ok(())
            }
            2 => io.shutdown(conn, Half::Write),
            3 => io.shutdown(conn, Half::Read),
            4 => io.set_linger(conn, Some(Duration::from_millis(500))),
            5 => io.set_linger(conn, Some(Duration::ZERO)),
            6..=8 => io.read(conn, &mut [0; 5000]).map(drop),
            _ => io.send(conn, &[3; 20_000]).map(drop),
        };
    }
}

impl App for Player {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.conns.push(conn);
        if self.rng.one_in(3) {
            let _ = io.send(conn, &[7; 3000]);
        }
        if self.rng.one_in(10) {
            self.give_up(io, conn, false);
        }
    }
    fn on_acceptable(&mut self, io: &mut Io<'_>, _: ListenerId) {
        if self.rng.one_in(2) {
            self.accept_all(io);
        }
    }
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.rng.one_in(3) {
            let _ = io.send(conn, &[7; 9000]);
        }
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        match self.rng.below(80) {
            0..10 => {
                let _ = io.send(conn, &data[..data.len().min(100)]);
            }
            10..20 => return 0,
            20..30 => return data.len() / 2,
            n @ (30 | 31) => self.give_up(io, conn, n == 31),
            _ => {}
        }
        data.len()
    }
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if io.unread(conn).is_ok_and(|n| n == 0) {
            self.give_up(io, conn, false);
        }
    }
    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, _: Option<Error>) {
        assert!(self.told.insert(conn), "an end is told twice");
        self.conns.retain(|c| *c != conn);
    }
}

/// A shard with its application, and what is known of it outside.
struct Host {
    shard: Shard,
    app: Player,
    /// The last octet, or group, of both its addresses.
    number: u8,
    mac: MacAddr,
    mtu: u16,
    /// Addresses that the interface has lost.
    gone: Vec<IpAddr>,
    /// Whom it asks the kernel for.
    asked: Vec<IpAddr>,
    /// Frames on the way to it.
    inbox: Vec<Vec<u8>>,
}

impl Host {
    fn new(number: u8, mac: MacAddr, owned: bool, rng: &mut Rng) -> Self {
        let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned };
        let addresses = vec![address(v4(number), 24), address(v6(number.into()), 64)];
        let mut config = ShardConfig::new(mac, 1500, addresses, [[number; 16]; 4]);
        // So little that every limit is met.
        config.pool_bytes = rng.pick(&[16 << 10, 40 << 10, 256 << 10, 4 << 20]);
        config.max_connections = rng.pick(&[3, 20, 100]);
        config.most_awake = rng.pick(&[0, 3, 4096]);
        config.max_half_open = 8;
        config.max_time_wait = 10;
        config.ports = 61_000..=61_007;
        let shard = Shard::new(config, Instant::ZERO).expect("a valid configuration");
        let app = Player::new(Rng(rng.bits()));
        Self { shard, app, number, mac, mtu: 1500, gone: Vec::new(), asked: Vec::new(), inbox: Vec::new() }
    }
    fn addresses(&self) -> [IpAddr; 2] {
        [v4(self.number), v6(self.number.into())]
    }
    fn call<R>(&mut self, now: Instant, f: impl FnOnce(&mut Player, &mut Io<'_>) -> R) -> R {
        self.shard.call(now, |io| f(&mut self.app, io))
    }
    fn connect(&mut self, now: Instant, remote: (IpAddr, u16)) {
        if let Ok(conn) = self.shard.call(now, |io| io.connect(remote.into())) {
            self.app.conns.push(conn);
        }
    }
    fn set_mtu(&mut self, now: Instant, mtu: u16) {
        self.mtu = mtu;
        self.shard.set_mtu(now, mtu);
    }
    /// The interface loses these of its addresses; one that is the shard's own stays.
    fn lose(&mut self, lost: &[IpAddr], owned: bool) {
        let present: Vec<IpAddr> = self.addresses().into_iter().filter(|ip| !lost.contains(ip)).collect();
        self.shard.set_present(&present);
        self.gone = if owned { Vec::new() } else { lost.to_vec() };
    }
    fn hear(&mut self, now: Instant, look_ahead: bool) {
        let frames = mem::take(&mut self.inbox);
        if look_ahead {
            self.shard.look_ahead(frames.iter().map(Vec::as_slice));
        }
        for frame in &frames {
            self.shard.on_frame(now, frame, &mut self.app);
        }
    }
    /// All it has to send, each frame such as may leave.
    fn sent(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let frames = drain(&mut self.shard, now);
        frames.iter().for_each(|frame| self.look_at(frame));
        frames
    }
    fn look_at(&self, frame: &[u8]) {
        let (link, packet) = eth::Header::parse(frame).expect("Ethernet");
        assert_eq!(link.src, self.mac, "from the interface's MAC address");
        assert!(packet.len() <= self.mtu.into(), "{} octets do not fit into {}", packet.len(), self.mtu);
        let source: Option<IpAddr> = match link.ethertype {
            eth::ETHERTYPE_IPV4 => Some(ipv4::Header::parse(packet).expect("IPv4").0.src.into()),
            eth::ETHERTYPE_IPV6 => Some(ipv6::Header::parse(packet).expect("IPv6").0.src.into()),
            _ => None,
        };
        assert!(source.is_none_or(|ip| !self.gone.contains(&ip)), "{source:?} is gone: {packet:x?}");
    }
    /// Whom it asks for is found, or not, or the answer takes longer.
    fn resolve(&mut self, other: &Self, mut rng: Option<&mut Rng>) -> bool {
        while let Some(ip) = self.shard.poll_resolve() {
            self.asked.push(ip);
        }
        if rng.as_mut().is_some_and(|rng| !rng.one_in(3)) {
            return false;
        }
        let any = !self.asked.is_empty();
        for ip in self.asked.drain(..) {
            let is_silent = other.gone.contains(&ip) || rng.as_mut().is_some_and(|rng| rng.one_in(4));
            self.shard.on_neighbour(ip, (!is_silent).then_some(other.mac));
        }
        any
    }
    fn check(&self) {
        self.shard.invariants().unwrap_or_else(|wrong| panic!("host {}: {wrong}", self.number));
    }
    /// Everything is through to the peer, and who has gone was told so.
    fn is_through(&mut self, now: Instant) {
        for conn in self.app.conns.clone() {
            let info = self.shard.call(now, |io| io.info(conn)).expect("an end is told");
            assert_eq!((info.send_queue_bytes, info.in_flight_bytes), (0, 0), "host {}: {info:?}", self.number);
        }
    }
    fn has_nothing_left(&self) {
        let (shard, usage) = (&self.shard, self.shard.usage());
        assert_eq!((shard.connections(), shard.half_open(), shard.time_waits()), (0, 0, 0), "{usage:?}");
        assert_eq!((shard.chunks_in_use(), usage.references, usage.accept_queued), (0, 0, 0), "{usage:?}");
        assert_eq!((shard.has_output(), shard.next_wakeup()), (false, None));
        for state in State::ALL {
            assert_eq!(shard.counters().in_state(state), 0, "{state:?}");
        }
    }
}

/// The routes of a link, as the kernel lists them.
fn on_link() -> Vec<Route> {
    [(v4(0), 24), (v6(0), 64)].map(|(prefix, prefix_len)| Route::new(prefix, prefix_len, None)).into()
}

/// What the link makes of frames: it loses, repeats and damages some.
fn carry(frames: Vec<Vec<u8>>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut arrived = Vec::new();
    for mut frame in frames {
        if rng.one_in(30) {
            arrived.push(frame.clone());
        }
        // ARP has no checksum: who believes what is damaged there would be right.
        if rng.one_in(200) && frame[12..14] != eth::ETHERTYPE_ARP.to_be_bytes() {
            let at = 14 + rng.index(frame.len() - 14);
            frame[at] ^= 1 << rng.below(8);
        }
        if !rng.one_in(12) {
            arrived.push(frame);
        }
    }
    arrived
}

/// The address of this family that an ARP request or a message of ICMPv6, of which there are solicitations only, is about.
fn asks_for(frame: &[u8], [v4, v6]: &[IpAddr; 2]) -> Option<IpAddr> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    match link.ethertype {
        eth::ETHERTYPE_ARP => Some(*v4),
        eth::ETHERTYPE_IPV6 => ipv6::Header::parse(packet).ok().filter(|(ip, _)| ip.next_header == 58).map(|_| *v6),
        _ => None,
    }
}

struct World {
    rng: Rng,
    now: Instant,
    us: Host,
    peer: Host,
    owned: bool,
    /// In half of the worlds nobody ends connections from outside, in a third the way is there for longer: they grow older.
    is_ended: bool,
    is_steady: bool,
    ended: u64,
}

impl World {
    fn new(seed: u64, owned: bool) -> Self {
        let mut rng = Rng(seed);
        let us = Host::new(1, OURS, owned, &mut rng);
        let peer = Host::new(9, PEER, true, &mut rng);
        let now = Instant::ZERO + Duration::from_secs(1);
        Self { us, peer, now, owned, is_ended: rng.one_in(2), is_steady: rng.one_in(3), ended: 0, rng }
    }

    fn run(mut self) -> Tally {
        for _ in 0..TURNS {
            self.something_happens();
            self.time_passes();
            for _ in 0..3 {
                self.exchange();
            }
        }
        self.settle();
        self.give_all_up();
        Tally::of(&self.us.shard, self.ended)
    }

    fn something_happens(&mut self) {
        match self.rng.below(40) {
            0..10 => self.interface_changes(),
            10..12 => self.neighbours_change(),
            12..16 => self.listeners_change(),
            16..22 => self.peer.connect(self.now, (self.rng.pick(&self.us.addresses()), PORT + self.rng.below(3))),
            // Nobody listens there.
            22..24 => self.us.connect(self.now, (self.rng.pick(&self.peer.addresses()), PORT)),
            24..31 => {
                let host = if self.rng.one_in(2) { &mut self.us } else { &mut self.peer };
                host.call(self.now, Player::act);
            }
            31 if self.is_ended => {
                let how = if self.rng.one_in(2) { End::Reset } else { End::Close };
                let any = &|_, _, _| true;
                let (n, _) = self.us.shard.end_if(self.now, Cursor::default(), 5, any, how, &mut self.us.app);
                self.ended += u64::from(n);
            }
            32 => self.peer.set_mtu(self.now, 600 + self.rng.below(1000)),
            _ => {}
        }
    }

    fn interface_changes(&mut self) {
        let breaks = !self.is_steady || self.rng.one_in(4);
        match self.rng.below(10) {
            0 if breaks => self.us.shard.set_routes(Vec::new()),
            1..4 => self.us.shard.set_routes(on_link()),
            4 if breaks => {
                let lost = self.rng.pick(&self.us.addresses());
                self.us.lose(&[lost], self.owned);
            }
            5..7 => self.us.lose(&[], self.owned),
            7 | 8 => self.us.set_mtu(self.now, 576 + self.rng.below(9000)),
            9 => {
                self.us.mac = MacAddr([2, 0, 0, 0, 1, self.rng.pick(&[0, 1, 2])]);
                self.us.shard.set_mac(self.now, self.us.mac);
                // By announcements, the stack's or the kernel's, of which none is lost.
                self.us.addresses().into_iter().for_each(|ip| self.peer.shard.on_neighbour(ip, Some(self.us.mac)));
            }
            _ => {}
        }
    }

    fn neighbours_change(&mut self) {
        let ip = self.rng.pick(&self.peer.addresses());
        match self.rng.below(3) {
            0 if !self.is_steady => self.us.shard.on_neighbour(ip, None),
            1 => self.us.shard.on_forgotten_neighbour(ip),
            _ => self.us.shard.on_stale_neighbour(self.now, ip),
        }
    }

    fn listeners_change(&mut self) {
        let (rng, us) = (&mut self.rng, &mut self.us);
        match rng.below(4) {
            0 | 1 => {
                let options = ListenOptions {
                    backlog: rng.below(6).into(),
                    accept_queue: rng.pick(&[None, Some(0), Some(1), Some(2)]),
                    syn_cookies: rng.pick(&[
                        SynCookies::Never,
                        SynCookies::WhenFull,
                        SynCookies::Always,
                        SynCookies::From(2),
                    ]),
                    ..ListenOptions::default()
                };
                let local = (rng.pick(&us.addresses()), PORT + rng.below(3));
                us.app.listeners.extend(us.shard.listen(local.into(), options).ok());
            }
            2 if !us.app.listeners.is_empty() => {
                let id = us.app.listeners.swap_remove(rng.index(us.app.listeners.len()));
                us.shard.call(self.now, |io| io.close_listener(id)).expect("open");
            }
            _ => us.call(self.now, Player::accept_all),
        }
    }

    fn time_passes(&mut self) {
        self.now += Duration::from_micros(match self.rng.below(20) {
            0 => 2_000_000,
            1 => 300_000,
            2..6 => 20_000,
            _ => 200,
        });
        self.advance();
    }

    fn advance(&mut self) {
        self.us.shard.advance(self.now, &mut self.us.app);
        self.peer.shard.advance(self.now, &mut self.peer.app);
    }

    /// What is on the way arrives, and what there is to say because of it goes: nothing that was made waits for the next change.
    fn exchange(&mut self) {
        let Self { rng, us, peer, now, .. } = self;
        us.hear(*now, rng.one_in(2));
        peer.hear(*now, rng.one_in(2));
        us.resolve(peer, Some(&mut *rng));
        peer.resolve(us, Some(&mut *rng));
        peer.inbox = carry(us.sent(*now), rng);
        us.inbox = carry(peer.sent(*now), rng);
        self.kernel_answers();
        let Self { us, peer, .. } = self;
        us.check();
        peer.check();
    }

    /// All is well again, and nothing is lost any more: what lives gets through.
    fn settle(&mut self) {
        self.us.shard.set_routes(on_link());
        self.us.lose(&[], self.owned);
        self.us.set_mtu(self.now, 1500);
        self.peer.set_mtu(self.now, 1500);
        let end = self.now + ENOUGH;
        for turns in 0.. {
            assert!(turns < 20_000, "endless: {:?} {:?}", self.us.shard.usage(), self.peer.shard.usage());
            // As an application does that looks at all of its connections in each turn.
            for host in [&mut self.us, &mut self.peer] {
                host.call(self.now, Player::accept_all);
                host.call(self.now, |app, io| app.read_all(io));
            }
            self.advance();
            if self.exchange_well() {
                self.now += Duration::from_micros(50);
                continue;
            }
            let Some(next) = self.next_wakeup().filter(|at| *at < end) else { break };
            // Not more than a tick of the wheel later, as a loop that sleeps.
            self.now = self.now.max(next) + Duration::from_micros(2);
        }
        self.us.is_through(self.now);
        self.peer.is_through(self.now);
    }

    /// For the interface's own addresses it is the kernel that answers ARP and neighbour solicitations.
    fn kernel_answers(&mut self) {
        let Self { us, peer, .. } = self;
        let asks = us.inbox.iter().filter_map(|frame| asks_for(frame, &us.addresses()));
        for ip in asks.filter(|ip| !self.owned && !us.gone.contains(ip)) {
            peer.shard.on_neighbour(ip, Some(us.mac));
        }
    }

    /// Whether there was anything.
    fn exchange_well(&mut self) -> bool {
        let Self { us, peer, now, .. } = self;
        us.hear(*now, false);
        peer.hear(*now, false);
        let any = us.resolve(peer, None) | peer.resolve(us, None);
        peer.inbox = us.sent(*now);
        us.inbox = peer.sent(*now);
        self.kernel_answers();
        let Self { us, peer, .. } = self;
        any || !peer.inbox.is_empty() || !us.inbox.is_empty()
    }

    fn next_wakeup(&self) -> Option<Instant> {
        [&self.us, &self.peer].into_iter().filter_map(|host| host.shard.next_wakeup()).min()
    }

    /// What waits for time alone, such as TIME-WAIT, is over when that has passed.
    fn give_all_up(&mut self) {
        for listener in mem::take(&mut self.us.app.listeners) {
            self.us.shard.call(self.now, |io| io.close_listener(listener)).expect("open");
        }
        self.us.shard.abort_all(self.now);
        self.peer.shard.abort_all(self.now);
        for turns in 0.. {
            assert!(turns < 10_000, "a busy loop");
            self.advance();
            for host in [&mut self.us, &mut self.peer] {
                host.sent(self.now);
                host.check();
            }
            let Some(next) = self.next_wakeup() else { break };
            self.now = self.now.max(next) + Duration::from_nanos(1);
        }
        self.us.has_nothing_left();
        self.peer.has_nothing_left();
    }
}
