//! A bulk transfer over one bottleneck: a rate, a queue, a delay, in virtual time. What a sender does to the queue is what is
//! looked at.
#![allow(clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use tcp::{Config, Connection, Env, HalfOpen, HalfOpenAnswer, Info, Pool, Settings, Start};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Header, Segment},
};

/// The path towards the receiver; the way back is only as long.
#[derive(Debug, Clone, Copy)]
struct Path {
    bytes_per_second: u64,
    /// Drop-tail, bytes.
    queue: u64,
    /// One way.
    delay: Duration,
}

impl Path {
    fn takes(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 1_000_000_000 / self.bytes_per_second)
    }
}

/// When it arrives, in the order of sending; where.
type Arrivals = BTreeMap<(Instant, u64), (usize, Header, Vec<u8>)>;

/// A sender (0) that always has data and a receiver (1) that reads at once.
struct World {
    now: Instant,
    config: Config,
    pools: [Pool; 2],
    conns: [Connection; 2],
    path: Path,
    /// When the bottleneck has sent all it holds.
    busy_until: Instant,
    arrivals: Arrivals,
    frames: u64,
    /// Holds back everything the bottleneck sends until then: a delay spike.
    stalled_until: Instant,
    unsent: usize,
    /// What was seen: data segments, drops, the longest queue in bytes, the most bytes that left in one instant.
    segments: u64,
    drops: u64,
    longest_queue: u64,
    most_at_once: u64,
    at_once: (Instant, u64),
    received: u64,
}

const HEADERS: u64 = 14 + 20;

impl World {
    /// A connection that is established, with `bytes` to send.
    fn new(change: impl Fn(&mut Settings), path: Path, bytes: usize) -> Self {
        let mut settings =
            Settings { receive_buffer_bytes: 64 << 20, send_buffer_bytes: 64 << 20, ..Settings::default() };
        change(&mut settings);
        let config = Config::new(settings).expect("valid");
        let mut pools = [Pool::new(256 << 20), Pool::new(256 << 20)];
        let mut now = Instant::ZERO + Duration::from_secs(1);
        let start = |iss| Start { iss: SeqNum::new(iss), mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
        let mut buffer = vec![0; 2000];
        let mut env = Env { now, config: &config, pool: &mut pools[0] };
        let mut client = Connection::connect(&env, start(0xffff_0000));
        let syn = client.poll_transmit(&mut env, &mut buffer).expect("a SYN").header;
        now += path.delay;
        let env = Env { now, config: &config, pool: &mut pools[1] };
        let mut half = HalfOpen::new(&env, start(5), &Segment { header: syn, payload: &[] });
        let syn_ack = half.syn_ack(&env, 0);
        now += path.delay;
        let mut env = Env { now, config: &config, pool: &mut pools[0] };
        let _ = client.on_segment(&mut env, &Segment { header: syn_ack, payload: &[] });
        let ack = client.poll_transmit(&mut env, &mut buffer).expect("an ACK").header;
        now += path.delay;
        let mut env = Env { now, config: &config, pool: &mut pools[1] };
        assert_eq!(half.on_segment(&env, &Segment { header: ack, payload: &[] }), HalfOpenAnswer::Complete);
        let mut server = Connection::from_half_open(&env, start(5), &half);
        let _ = server.on_segment(&mut env, &Segment { header: ack, payload: &[] });
        Self {
            now,
            config,
            pools,
            conns: [client, server],
            path,
            busy_until: now,
            arrivals: BTreeMap::new(),
            frames: 0,
            stalled_until: now,
            unsent: bytes,
            segments: 0,
            drops: 0,
            longest_queue: 0,
            most_at_once: 0,
            at_once: (now, 0),
            received: 0,
        }
    }

    fn with<R>(&mut self, side: usize, f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R) -> R {
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pools[side] };
        f(&mut self.conns[side], &mut env)
    }

    fn info(&self) -> Info {
        self.conns[0].info()
    }

    fn write(&mut self) {
        while self.unsent > 0 {
            let bytes = vec![7; self.unsent.min(1 << 16)];
            let taken = self.with(0, |c, env| c.send(env, &bytes)).expect("open");
            self.unsent -= taken;
            if taken < bytes.len() {
                return;
            }
        }
    }

    fn transmit(&mut self, side: usize) {
        let mut buffer = vec![0; 2000];
        while let Some(emit) = self.with(side, |c, env| c.poll_transmit(env, &mut buffer)) {
            let at = emit.header.len();
            let data = buffer[at..at + emit.payload_len].to_vec();
            let bytes = HEADERS + (at + emit.payload_len) as u64;
            let at = if side == 1 { Some(self.now + self.path.delay) } else { self.enqueue(bytes) };
            if let Some(at) = at {
                self.frames += 1;
                self.arrivals.insert((at, self.frames), (1 - side, emit.header, data));
            }
        }
    }

    /// When a frame is through the bottleneck and at the other end; `None` if the queue is full.
    fn enqueue(&mut self, bytes: u64) -> Option<Instant> {
        self.segments += 1;
        self.at_once = if self.at_once.0 == self.now { (self.now, self.at_once.1 + bytes) } else { (self.now, bytes) };
        self.most_at_once = self.most_at_once.max(self.at_once.1);
        let begins = self.busy_until.max(self.now).max(self.stalled_until);
        let queued =
            (begins - self.now.max(self.stalled_until)).as_nanos() * self.path.bytes_per_second / 1_000_000_000;
        if queued + bytes > self.path.queue {
            self.drops += 1;
            return None;
        }
        self.longest_queue = self.longest_queue.max(queued + bytes);
        self.busy_until = begins + self.path.takes(bytes);
        Some(self.busy_until + self.path.delay)
    }

    /// Until nothing is left to do, or `until`.
    fn run(&mut self, until: Instant) {
        loop {
            self.write();
            self.transmit(0);
            self.transmit(1);
            let timers = self.conns.iter().filter_map(Connection::poll_timeout);
            let next = timers.chain(self.arrivals.keys().next().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.arrivals.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to, header, data) = entry.remove();
                let segment = Segment { header, payload: &data };
                self.received += self.with(to, |c, env| {
                    let outcome = c.on_segment(env, &segment);
                    let mut got = outcome.deliver.map_or(0, |(_, n)| n as u64);
                    while c.unread() > 0 {
                        let n = c.front(env).len() as u32;
                        c.consume(env, n);
                        got += u64::from(n);
                    }
                    got
                });
            }
            for side in 0..2 {
                if self.conns[side].poll_timeout().is_some_and(|at| at <= self.now) {
                    let _ = self.with(side, |c, env| c.on_timeout(env));
                }
            }
        }
    }

    /// Until everything is received; how long it took from now.
    fn finish(&mut self, bytes: u64) -> Duration {
        let begin = self.now;
        while self.received < bytes {
            assert!(self.now - begin < Duration::from_secs(600), "{} of {bytes}", self.received);
            self.run(self.now + self.path.delay);
        }
        self.now - begin
    }
}

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// A rate in Mbit/s, a delay one way in microseconds, and a queue in hundredths of what the round trip holds.
fn path(mbit: u64, delay: u64, queue: u64) -> (Path, u64) {
    let bytes_per_second = mbit * 125_000;
    let bdp = bytes_per_second * 2 * delay / 1_000_000;
    (Path { bytes_per_second, queue: bdp * queue / 100, delay: us(delay) }, bdp)
}

/// RFC 9406: the queue is three times what the path holds. Slow start without HyStart++ loses about as much as fits into both;
/// with it a small part of that, on a short path as on a long one, and it costs no time.
#[test]
fn hystart_ends_slow_start_before_the_queue_is_full() {
    for (mbit, delay) in [(10_000, 25), (1000, 500), (100, 10_000)] {
        let (path, bdp) = path(mbit, delay, 300);
        let bytes = 40 * bdp;
        let run = |hystart| {
            let mut world = World::new(|s| s.hystart = hystart, path, bytes as usize);
            let took = world.finish(bytes);
            (world.drops, took)
        };
        let ((without, long), (with, short)) = (run(false), run(true));
        assert!(without > 2 * bdp / 1514, "{without} of {bdp} bytes");
        assert!(with < without / 2, "{with} and {without} at {mbit} Mbit/s");
        assert!(short <= long, "{short:?} and {long:?}");
    }
}

/// A window that opens at once: after a pause shorter than the RTO all of it may leave, and does if it is not paced.
#[test]
fn a_paced_window_does_not_burst() {
    let (path, bdp) = path(1000, 10_000, 300);
    let run = |pacing| {
        let mut world = World::new(|s| s.pacing = pacing, path, 8 * bdp as usize);
        world.finish(8 * bdp);
        world.run(world.now + us(100_000));
        let cwnd = world.info().cwnd_bytes;
        assert!(u64::from(cwnd) > bdp, "{cwnd} of {bdp}");
        world.most_at_once = 0;
        world.unsent = bdp as usize;
        world.run(world.now + us(5000));
        world.most_at_once
    };
    assert!(run(false) > bdp);
    // The initial window, 64 KiB, and headers.
    let burst = run(true);
    assert!(burst < 85_000, "{burst} bytes");
}

/// What pacing must not cost: time. A bulk transfer is as fast as without.
#[test]
fn pacing_is_not_what_limits() {
    for (mbit, delay, queue) in [(10_000, 100, 100), (1000, 500, 100), (200, 5000, 100), (100, 10_000, 25)] {
        let (path, bdp) = path(mbit, delay, queue);
        let bytes = 60 * bdp;
        let run = |pacing| World::new(|s| s.pacing = pacing, path, bytes as usize).finish(bytes);
        let (without, with) = (run(false), run(true));
        assert!(with <= without + without / 20, "{with:?} and {without:?} at {mbit} Mbit/s");
    }
}

/// On a path shorter than 100 µs nothing is paced: segment for segment the same.
#[test]
fn a_short_path_is_not_paced() {
    let (path, bdp) = path(10_000, 25, 100);
    let run = |pacing| {
        let mut world = World::new(|s| s.pacing = pacing, path, 40 * bdp as usize);
        let took = world.finish(40 * bdp);
        (took, world.segments, world.drops, world.longest_queue)
    };
    assert_eq!(run(true), run(false));
}

/// The initial window leaves at once, and so does an answer of that size however large the window has become.
#[test]
fn an_initial_window_leaves_at_once() {
    let (path, bdp) = path(1000, 10_000, 300);
    let mut world = World::new(|_| {}, path, 14_000);
    world.finish(14_000);
    assert_eq!(world.segments, 10);
    assert_eq!(world.at_once.1 / 1514, 9, "{} bytes", world.at_once.1);
    world.unsent = 8 * bdp as usize;
    world.finish(14_000 + 8 * bdp);
    world.run(world.now + us(50_000));
    (world.segments, world.unsent) = (0, 14_000);
    world.run(world.now);
    assert_eq!((world.segments, world.now), (10, world.at_once.0));
}

/// While a burst waits its turn the timer that runs is named so.
#[test]
fn the_pacing_timer_has_a_name() {
    let (path, bdp) = path(100, 10_000, 100);
    let mut world = World::new(|_| {}, path, 8 * bdp as usize);
    let mut seen = false;
    for _ in 0..200 {
        world.run(world.now + us(500));
        seen |= world.info().timer.is_some_and(|(name, at)| name == "pacing" && at > world.now);
    }
    assert!(seen);
}

/// SHLD-19. In slow start every second segment is acknowledged, and later one ACK is for eight, or for what comes within 20 µs:
/// at 10 Gbit/s a segment takes 1.2 µs, at 1 Gbit/s 12.1 µs, so that a third one comes. Where a round trip has fewer than 48
/// segments it stays at two.
#[test]
fn acks_are_gathered_where_a_round_trip_has_many() {
    for (mbit, delay, queue, each) in [(10_000, 200, 100, 8), (1000, 2000, 50, 3), (100, 1000, 100, 2)] {
        let (path, bdp) = path(mbit, delay, queue);
        let segments_per_ack = |gather| {
            let mut world = World::new(|s| s.ack_gather = us(gather), path, 400 * bdp as usize);
            world.finish(100 * bdp);
            (world.segments, world.frames) = (0, 0);
            world.finish(300 * bdp);
            world.segments as f64 / (world.frames - (world.segments - world.drops)) as f64
        };
        let (without, with) = (segments_per_ack(0), segments_per_ack(20));
        // Behind a loss it is one by one.
        assert!((1.7..2.1).contains(&without), "{without} at {mbit} Mbit/s");
        let least = 0.85 * f64::from(each);
        assert!(with > least && with < f64::from(each) + 0.1, "{with} at {mbit} Mbit/s");
    }
}

/// RFC 5682, RFC 4015: the path stands still for longer than the timeout and then delivers everything. With timestamps and
/// without, with SACK and without, nothing is sent again but the first segment (once for each timeout) and a probe, and the
/// window is not reduced.
#[test]
fn a_delay_spike_costs_no_window() {
    for (timestamps, sack) in [(true, true), (false, true), (true, false), (false, false)] {
        let (mut path, bdp) = path(100, 10_000, 0);
        path.queue = 4 << 20;
        let bytes = 30 * bdp;
        let set = |s: &mut Settings| (s.timestamps, s.sack) = (timestamps, sack);
        let mut world = World::new(set, path, bytes as usize);
        world.run(world.now + us(100_000));
        let before = world.info();
        assert_eq!((before.ssthresh_bytes, before.retransmits), (None, 0));
        world.stalled_until = world.now + us(500_000);
        world.finish(bytes);
        let after = world.info();
        assert_eq!(world.drops, 0);
        assert!(after.cwnd_bytes >= before.cwnd_bytes, "{} and {}", after.cwnd_bytes, before.cwnd_bytes);
        assert_eq!(after.ssthresh_bytes, None, "{timestamps} {sack}");
        assert!((1..=4).contains(&after.retransmits), "{} {timestamps} {sack}", after.retransmits);
    }
}
