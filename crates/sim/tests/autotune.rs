//! Buffers that tune themselves, on paths that need more than they begin with, and in pools that hold less than they would.

mod support;

use sim::{Duo, Fate, Host, LinkConfig, Pair, Topology, World};
use stack::{App, ConnId, Duration, Half, Instant, Io, ListenerId, Settings, ShardConfig, TcpConfig};
use std::{cell::RefCell, rc::Rc};
use support::shard;
use wire::{SeqNum, eth, ipv4, tcp::Flags, tcp::Segment};

const TO: &str = "10.0.0.2:7";

fn octet(i: usize) -> u8 {
    i.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]
}

/// Sends `total` bytes over each of `count` connections, and shuts down writing.
#[derive(Debug, Default)]
struct Source {
    count: usize,
    total: usize,
    /// Writing is not shut down.
    stay: bool,
    sent: Vec<(ConnId, usize)>,
}

impl Source {
    fn new(count: usize, total: usize) -> Self {
        Self { count, total, ..Self::default() }
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some((_, sent)) = self.sent.iter_mut().find(|(c, _)| *c == conn) else { return };
        while *sent < self.total {
            let piece: Vec<u8> = (*sent..self.total.min(*sent + 8192)).map(octet).collect();
            let took = io.send(conn, &piece).expect("open");
            *sent += took;
            if took < piece.len() {
                return;
            }
        }
        if !self.stay {
            let _ = io.shutdown(conn, Half::Write);
        }
    }
}

impl App for Source {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {}
    fn on_turn(&mut self, io: &mut Io<'_>) {
        while self.sent.len() < self.count {
            self.sent.push((io.connect(TO.parse().expect("an address")).expect("room"), 0));
        }
    }
}

/// Compares what comes; reads it as it comes, or at its own pace.
#[derive(Debug, Default)]
struct Sink {
    got: Vec<(ConnId, usize)>,
    /// Connections at their end, and when the last one was.
    ended: usize,
    over: Option<Instant>,
    /// From then on so many bytes every 10 ms.
    pace: Option<(Instant, usize)>,
    /// Nothing is read of the first connection.
    ignores_first: bool,
    /// The largest receive buffer seen.
    buffer: u32,
}

impl Sink {
    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        self.buffer = self.buffer.max(io.info(conn).expect("open").receive_buffer_bytes);
        let (_, got) = self.got.iter_mut().find(|(c, _)| *c == conn).expect("accepted");
        assert!(data.iter().enumerate().all(|(i, b)| *b == octet(*got + i)), "behind {got}");
        *got += data.len();
    }

    fn ignores(&self, conn: ConnId) -> bool {
        self.ignores_first && self.got.first().is_some_and(|(c, _)| *c == conn)
    }

    fn read(&mut self, io: &mut Io<'_>, conn: ConnId, most: usize) {
        let mut left = most;
        let mut piece = [0; 4096];
        while left > 0 {
            let room = left.min(piece.len());
            let Ok(n @ 1..) = io.read(conn, &mut piece[..room]) else { return };
            self.take(io, conn, &piece[..n]);
            left -= n;
        }
    }
}

impl App for Sink {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.got.push((conn, 0));
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        if self.pace.is_some() || self.ignores(conn) {
            return 0;
        }
        self.take(io, conn, data);
        data.len()
    }
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.pace.is_none() && !self.ignores(conn) {
            self.read(io, conn, usize::MAX);
        }
    }
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.ended += 1;
        self.over = Some(io.now());
        if self.pace.is_none() && !self.ignores(conn) {
            let _ = io.close(conn);
        }
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if let Some((at, bytes)) = self.pace.filter(|(at, _)| *at <= io.now()) {
            self.pace = Some((at + Duration::from_millis(10), bytes));
            for (conn, _) in self.got.clone() {
                self.read(io, conn, bytes);
            }
        }
    }
    fn wake_at(&self) -> Option<Instant> {
        self.pace.map(|(at, _)| at)
    }
}

/// What the path of these tests is: 100 Mbit/s, 20 ms each way, and a queue of as much again: 500 kB fly, 500 kB wait.
const RATE: u64 = 100_000_000;
const ONE_WAY: Duration = Duration::from_millis(20);
const PRODUCT: usize = 500_000;

fn world(source: Source, sink: Sink, loss: f64, change: impl Fn(&mut Settings), pools: usize) -> Duo<Source, Sink> {
    let config = |config: &mut ShardConfig| {
        let mut settings = Settings::default();
        change(&mut settings);
        config.tcp = TcpConfig::new(settings).expect("valid");
        config.pool_bytes = pools;
    };
    let a = Host { shard: shard(1, config), app: source };
    let mut b = Host { shard: shard(2, config), app: sink };
    b.shard.listen(TO.parse().expect("an address"), 1024).expect("free");
    let there = LinkConfig::rated(RATE, ONE_WAY, PRODUCT).with_loss(loss);
    World::of(7, Pair { a, b }, Topology::cable(there, LinkConfig::delay(ONE_WAY)))
}

struct Ran {
    took: Duration,
    /// The most memory both hosts have held at a time, bytes.
    sender_held: usize,
    receiver_held: usize,
    buffer: usize,
}

/// 20 MB over one connection.
fn transfer(change: impl Fn(&mut Settings)) -> Ran {
    let mut world = world(Source::new(1, 20_000_000), Sink::default(), 0.0, change, 256 << 20);
    let held = RefCell::new((0, 0));
    world.run_until(Instant::ZERO + Duration::from_secs(600), |world| {
        let now = [&world.a.shard, &world.b.shard].map(|s| s.chunks_in_use() as usize * 2048);
        let most = &mut *held.borrow_mut();
        *most = (most.0.max(now[0]), most.1.max(now[1]));
        world.b.app.over.is_some()
    });
    assert_eq!(world.b.app.got[0].1, 20_000_000);
    let (sender_held, receiver_held) = *held.borrow();
    let took = world.b.app.over.expect("it ended") - Instant::ZERO;
    Ran { took, sender_held, receiver_held, buffer: world.b.app.buffer as usize }
}

/// The path is filled as with buffers that are large from the start, and no more memory is used than a few times what it
/// holds. Buffers that stay as they begin would carry a window of 64 KiB per round trip: 13 Mbit/s, 12 s.
#[test]
fn a_fat_path_is_filled_from_small_buffers() {
    let fixed = transfer(|s| (s.receive_buffer_start_bytes, s.send_buffer_start_bytes) = (1 << 30, 1 << 30));
    let small = transfer(|s| (s.receive_buffer_bytes, s.send_buffer_bytes) = (64 << 10, 64 << 10));
    // 20 MB at 100 Mbit/s, headers and a slow start of some round trips on top.
    let ideal = Duration::from_millis(1600);
    assert!(small.took > Duration::from_secs(11), "{:?}", small.took);
    for timestamps in [true, false] {
        let tuned = transfer(|s| s.timestamps = timestamps);
        assert!(tuned.took.as_micros() * 20 <= fixed.took.as_micros() * 21, "{:?} and {:?}", tuned.took, fixed.took);
        assert!(tuned.took.as_micros() * 4 <= ideal.as_micros() * 6, "{:?}", tuned.took);
        // In slow start the window grows to twice what path and queue hold, the send buffer is twice that, and beside it what
        // the receiver holds behind the losses that follow.
        assert!(tuned.sender_held <= 6 * 2 * PRODUCT, "{}", tuned.sender_held);
        assert!(tuned.receiver_held <= 2 * 2 * PRODUCT, "{}", tuned.receiver_held);
        // What comes within a round trip is at most what path and queue hold: six times that while it grows.
        assert!((2 * PRODUCT..=6 * 2 * PRODUCT).contains(&tuned.buffer), "{}", tuned.buffer);
    }
    assert!(fixed.sender_held > 12_000_000, "who may fill 32 MiB does: {}", fixed.sender_held);
}

/// What has nothing to keep holds nothing.
#[test]
fn a_thousand_idle_connections_hold_no_buffer() {
    let source = Source { stay: true, ..Source::new(1000, 100) };
    let mut world = world(source, Sink::default(), 0.0, |_| {}, 256 << 20);
    world.run(Duration::from_secs(10));
    assert!(world.b.app.got.len() == 1000 && world.b.app.got.iter().all(|(_, n)| *n == 100));
    assert_eq!((world.a.shard.connections(), world.b.shard.connections()), (1000, 1000));
    assert_eq!((world.a.shard.chunks_in_use(), world.b.shard.chunks_in_use()), (0, 0));
}

/// What a segment of the receiver's says of the window: acknowledgment, field, and the shift if it is a SYN.
fn window(frame: &[u8]) -> Option<(SeqNum, u32, Option<Option<u8>>)> {
    let (header, packet) = eth::Header::parse(frame).ok()?;
    if header.ethertype != eth::ETHERTYPE_IPV4 {
        return None;
    }
    let (ip, payload) = ipv4::Header::parse(packet).ok()?;
    let segment = Segment::parse(payload, ip.src.into(), ip.dst.into()).ok()?;
    let syn = segment.header.flags.contains(Flags::SYN);
    Some((segment.header.ack, segment.header.window.into(), syn.then_some(segment.header.options.window_scale)))
}

/// The right edges that the receiver's segments tell, in their order: each not left of the one before.
#[derive(Debug, Default)]
struct Edges {
    shift: u8,
    edge: Option<SeqNum>,
    closed: usize,
    opened: usize,
    /// Moves to the left, beyond what scaling rounds.
    shrunk: usize,
}

impl Edges {
    fn see(&mut self, frame: &[u8]) {
        let Some((ack, field, syn)) = window(frame) else { return };
        if let Some(scale) = syn {
            self.shift = scale.unwrap_or(0);
        }
        let shift = if syn.is_some() { 0 } else { self.shift };
        let edge = ack + (field << shift);
        let Some(old) = self.edge else {
            self.edge = Some(edge);
            return;
        };
        self.shrunk += usize::from(edge.before(old) && old.since(edge) >= 1 << self.shift);
        self.closed += usize::from(field == 0);
        self.opened += usize::from(field > 0 && edge.after(old));
        self.edge = Some(old.max(edge));
    }
}

/// SHLD-14: nobody reads for two seconds, then 20 kB every 10 ms: the window closes, and opens again, and its right
/// edge never moves left. Who does not read gets no larger buffer.
#[test]
fn a_slow_readers_window_closes_and_opens_and_never_shrinks() {
    let edges = Rc::new(RefCell::new(Edges::default()));
    let sink = Sink { pace: Some((Instant::ZERO + Duration::from_secs(2), 20_000)), ..Sink::default() };
    let seen = edges.clone();
    let mut world = world(Source::new(1, 3_000_000), sink, 0.01, |_| {}, 256 << 20).with_tamper(move |from, frame| {
        if from == 1 {
            seen.borrow_mut().see(frame);
        }
        Fate::Pass
    });
    world.run_until(Instant::ZERO + Duration::from_millis(1990), |_| false);
    let conn = world.b.app.got[0].0;
    let now = world.now();
    let info = world.b.shard.call(now, |io| io.info(conn)).expect("open");
    assert_eq!((info.receive_buffer_bytes, info.receive_queue_bytes / 1000), (64 << 10, 65));
    assert!(edges.borrow().closed > 0, "the window is full");
    world.run_until(Instant::ZERO + Duration::from_secs(600), |world| world.b.app.got[0].1 == 3_000_000);
    assert_eq!((world.b.app.got[0].1, edges.borrow().shrunk), (3_000_000, 0));
    assert!(edges.borrow().opened > 100, "{:?}", edges.borrow());
}

/// Of a pool of 64 KiB for everything, on a path that loses one frame in a hundred and holds half a megabyte: both
/// connections come to their end, and what the limits have cost is counted.
#[test]
fn two_connections_share_a_tiny_pool() {
    let mut world = world(Source::new(2, 500_000), Sink::default(), 0.01, |_| {}, 64 << 10);
    world.run_until(Instant::ZERO + Duration::from_secs(600), |world| world.b.app.ended == 2);
    assert_eq!(world.b.app.got.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [500_000, 500_000]);
    world.run(Duration::from_secs(1));
    let counters = world.b.shard.all_counters();
    assert!(counters.memory.windows_held > 0, "{:?}", counters.memory);
    assert_eq!(
        counters.iter().find(|(name, _)| *name == "memory_windows_held").expect("named").1,
        counters.memory.windows_held
    );
    assert_eq!((world.a.shard.chunks_in_use(), world.b.shard.chunks_in_use()), (0, 0));
}

/// One of two connections is never read from: it can't take the memory that the other one needs to get behind its losses.
#[test]
fn who_does_not_read_stops_nobody_else() {
    for pool in [64 << 10, 1 << 20] {
        let sink = Sink { ignores_first: true, ..Sink::default() };
        let mut world = world(Source::new(2, 2_000_000), sink, 0.01, |_| {}, pool);
        let read = |world: &Duo<Source, Sink>| world.b.app.got.get(1).is_some_and(|(_, n)| *n == 2_000_000);
        world.run_until(Instant::ZERO + Duration::from_secs(1200), read);
        assert!(read(&world), "{:?}", world.b.app.got);
        let held = world.b.shard.chunks_in_use() as usize * 2048;
        assert!(held <= pool / 2, "{held} of {pool}");
    }
}
