//! Two connections and a wire that loses, repeats, reorders and delays: the streams are equal up to the end that the
//! application is told, both ends end, and nothing is left.
#![allow(clippy::cast_possible_truncation)]

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use std::{cmp::Reverse, collections::BTreeMap};
use support::byte;
use tcp::{
    Config, Congestion, Connection, Env, Error, Event, Half, HalfOpen, HalfOpenAnswer, Pool, Settings, Start, State,
    TimeWait, answer_closed,
};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Segment},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Shuts down writing behind the last byte, reads to the end of file, closes.
    Shutdown,
    /// Closes behind the last byte, whatever the peer still has to say.
    Close,
    /// Aborts once that many bytes were queued.
    Abort(usize),
    /// Shuts down reading at once, then as `Shutdown`.
    ShutRead,
}

struct Side {
    conn: Option<Connection>,
    pool: Pool,
    time_wait: Option<(TimeWait, Instant)>,
    total: usize,
    end: End,
    queued: usize,
    received: usize,
    /// The end of file was told; it has done its last verb; how it ended.
    eof: bool,
    done: bool,
    closed: Option<Option<Error>>,
    lazy: bool,
}

type Wire = BTreeMap<(Instant, u64), (usize, Header, Vec<u8>)>;

struct World {
    now: Instant,
    config: Config,
    sides: [Side; 2],
    /// Side 1 before its handshake is complete.
    half: Option<HalfOpen>,
    wire: Wire,
    sequence: u64,
    random: u64,
    loss: u64,
    iss: [SeqNum; 2],
}

impl World {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn send(&mut self, from: usize, header: Header, data: Vec<u8>) {
        // A reset that is lost leaves a peer in FIN-WAIT-2 or CLOSE-WAIT waiting for ever: no timer runs there.
        if self.random(100) < self.loss && !header.flags.contains(Flags::RST) {
            return;
        }
        let copies = 1 + u64::from(self.random(100) < 5);
        for _ in 0..copies {
            let late = if self.random(10) == 0 { self.random(30_000) } else { 0 };
            let at = self.now + Duration::from_micros(500 + self.random(100) + late);
            self.sequence += 1;
            self.wire.insert((at, self.sequence), (1 - from, header, data.clone()));
        }
    }

    fn verb<R>(&mut self, side: usize, f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R) -> Option<R> {
        let side = &mut self.sides[side];
        let mut env = Env { now: self.now, config: &self.config, pool: &mut side.pool };
        side.conn.as_mut().map(|c| f(c, &mut env))
    }

    fn take(&mut self, to: usize, data: &[u8]) {
        let side = &mut self.sides[to];
        for b in data {
            assert_eq!(*b, byte(side.received as u32 + (1 - to as u32) * 77), "the stream of side {to}");
            side.received += 1;
        }
    }

    fn start(&self) -> Start {
        Start { iss: self.iss[1], mss: 1000, default_peer_mss: 536, timestamp_offset: 0 }
    }

    /// A segment for side 1 in SYN-RECEIVED; false if it is for the connection.
    fn arrive_half_open(&mut self, segment: &Segment<'_>) -> bool {
        let Some(mut half) = self.half else { return false };
        let start = self.start();
        let env = Env { now: self.now, config: &self.config, pool: &mut self.sides[1].pool };
        let answer = half.on_segment(&env, segment);
        let (ack, syn_ack) = (half.ack(&env, 0), half.syn_ack(&env, 0));
        self.half = Some(half);
        match answer {
            HalfOpenAnswer::Ignore(_) => {}
            HalfOpenAnswer::Ack(_) => self.send(1, ack, Vec::new()),
            HalfOpenAnswer::SynAckAgain => self.send(1, syn_ack, Vec::new()),
            HalfOpenAnswer::Reset(reset) => self.send(1, reset.header(0, 0), Vec::new()),
            HalfOpenAnswer::Forget => self.half = None,
            HalfOpenAnswer::Complete => {
                self.sides[1].conn = Some(Connection::from_half_open(&env, start, &half));
                self.half = None;
                return false;
            }
        }
        true
    }

    fn arrive(&mut self, to: usize, header: Header, data: &[u8]) {
        let segment = Segment { header, payload: data };
        if to == 1 && self.arrive_half_open(&segment) {
            return;
        }
        if self.sides[to].conn.is_none() {
            if let Some((record, _)) = self.sides[to].time_wait {
                match record.on_segment(&segment) {
                    tcp::Answer::Ignore | tcp::Answer::Reopen { .. } => {}
                    answer => {
                        if answer == tcp::Answer::AckAndRestart {
                            self.sides[to].time_wait = Some((record, self.now + self.config.time_wait));
                        }
                        self.send(to, record.ack(self.now, 0, 0, 0), Vec::new());
                    }
                }
            } else if to == 1 && self.sides[1].closed.is_none() && header.flags == Flags::SYN {
                let start = self.start();
                let env = Env { now: self.now, config: &self.config, pool: &mut self.sides[1].pool };
                let half = HalfOpen::new(&env, start, &segment);
                let syn_ack = half.syn_ack(&env, 0);
                self.half = Some(half);
                self.send(1, syn_ack, Vec::new());
            } else if let Some(reset) = answer_closed(&segment) {
                self.send(to, reset.header(0, 0), Vec::new());
            }
            return;
        }
        let Some(outcome) = self.verb(to, |c, env| c.on_segment(env, &segment)) else { return };
        if let Some(reset) = outcome.reset {
            self.send(to, reset.header(0, 0), Vec::new());
        }
        if let Some((at, n)) = outcome.deliver {
            let taken = if self.sides[to].lazy { self.random(n as u64 + 1) as usize } else { n };
            self.take(to, &data[at..at + taken]);
            let _ = self.verb(to, |c, env| c.keep(env, &data[at + taken..at + n]));
        }
    }

    /// Gives bytes to a connection in one of the ways there are.
    fn write(&mut self, at: usize, bytes: &[u8]) -> usize {
        let (how, cut) = (self.random(8), self.random(bytes.len() as u64 + 1) as usize);
        let mut given = Bytes::copy_from_slice(bytes);
        let taken = self.verb(at, |c, env| match how {
            0 => c.send_more(env, bytes),
            1 | 2 => c.send_vectored(env, &[&bytes[..cut], &[], &bytes[cut..]]),
            3..=5 => c.send_bytes(env, &mut given),
            _ => c.send(env, bytes),
        });
        taken.expect("open").expect("may send")
    }

    /// The application of a side: reads, writes, and ends as it was told to.
    fn application(&mut self, at: usize) {
        let Some(state) = self.sides[at].conn.as_ref().map(Connection::state) else { return };
        while self.verb(at, |c, _| c.unread()) > Some(0) {
            let front = self.verb(at, |c, env| c.front(env).to_vec()).expect("open");
            self.take(at, &front);
            let _ = self.verb(at, |c, env| c.consume(env, front.len() as u32));
        }
        if self.sides[at].done || !matches!(state, State::Established | State::CloseWait) {
            if self.sides[at].eof && self.sides[at].done {
                self.sides[at].done = true;
            }
            return;
        }
        let limit = if let End::Abort(n) = self.sides[at].end { n } else { usize::MAX };
        while self.sides[at].queued < self.sides[at].total.min(limit) {
            let from = self.sides[at].queued;
            let n = (self.sides[at].total.min(limit) - from).min(3000);
            let bytes: Vec<u8> = (from..from + n).map(|i| byte(i as u32 + at as u32 * 77)).collect();
            let taken = self.write(at, &bytes);
            self.sides[at].queued += taken;
            if taken < n {
                return;
            }
        }
        self.sides[at].done = true;
        match self.sides[at].end {
            End::Shutdown => drop(self.verb(at, |c, env| c.shutdown(env, Half::Write))),
            End::ShutRead => drop(self.verb(at, |c, env| c.shutdown(env, Half::Both))),
            End::Close | End::Abort(_) => {
                let abort = matches!(self.sides[at].end, End::Abort(_));
                let reset = self.verb(at, |c, env| if abort { c.abort(env) } else { c.close(env) });
                if let Some(reset) = reset.flatten() {
                    self.send(at, reset.header(0, 0), Vec::new());
                }
            }
        }
    }

    fn settle(&mut self, at: usize) {
        self.application(at);
        let mut buffer = vec![0; 2000];
        while let Some(Some(emit)) = self.verb(at, |c, env| c.poll_transmit(env, &mut buffer)) {
            let from = emit.header.len();
            self.send(at, emit.header, buffer[from..from + emit.payload_len].to_vec());
        }
        let mut over = false;
        while let Some(Some(event)) = self.verb(at, |c, _| c.poll_event()) {
            let side = &mut self.sides[at];
            match event {
                Event::PeerClosed => side.eof = true,
                Event::TimeWait(record) => side.time_wait = Some((record, self.now + self.config.time_wait)),
                Event::Closed(error) => {
                    side.closed = Some(error);
                    over = true;
                }
                _ => {}
            }
        }
        if over {
            let _ = self.verb(at, |c, env| c.release(env));
            self.sides[at].conn = None;
            assert_eq!((self.sides[at].pool.chunks_in_use(), self.sides[at].pool.references()), (0, 0), "side {at}");
        }
    }

    /// A reset that is lost leaves a peer in FIN-WAIT-2, with nothing to send, where it is for ever (A9): its application may
    /// end it.
    fn half_open(&mut self) {
        for (at, other) in [(0, 1), (1, 0)] {
            let reset = self.sides[other].closed.is_some_and(|error| error.is_some());
            let waits = self.sides[at].conn.as_ref().is_some_and(|c| c.state() == State::FinWait2);
            if waits && reset {
                let _ = self.verb(at, Connection::abort);
                self.settle(at);
            }
        }
    }

    /// What is said of the flight adds up.
    fn check(&self) {
        for info in self.sides.iter().filter_map(|s| s.conn.as_ref()).map(Connection::info) {
            let queued = info.send_queue_bytes + 1;
            assert!(info.sacked_bytes + info.lost_bytes <= queued, "{info:?}");
            assert!(info.in_flight_bytes <= 2 * queued, "{info:?}");
        }
    }

    fn run(&mut self) {
        for round in 0.. {
            assert!(
                round < 200_000,
                "it never ends: {:?}",
                self.sides.each_ref().map(|s| s.conn.as_ref().map(|c| c.info()))
            );
            self.settle(0);
            self.settle(1);
            self.check();
            let frame = self.wire.keys().next().map(|(at, _)| *at);
            let timers = self.sides.iter().filter_map(|s| s.conn.as_ref().and_then(Connection::poll_timeout));
            let half = self.half.map(|half| half.deadline(&self.config));
            let Some(next) = timers.chain(frame).chain(half).min_by_key(|at| Reverse(Reverse(*at))) else { return };
            self.now = self.now.max(next);
            for side in 0..2 {
                if self.sides[side].time_wait.is_some_and(|(_, at)| at <= self.now) {
                    self.sides[side].time_wait = None;
                }
                let due =
                    self.sides[side].conn.as_ref().and_then(Connection::poll_timeout).is_some_and(|at| at <= self.now);
                if due {
                    let _ = self.verb(side, Connection::on_timeout);
                }
            }
            if let Some(mut half) = self.half.filter(|half| half.deadline(&self.config) <= self.now) {
                let env = Env { now: self.now, config: &self.config, pool: &mut self.sides[1].pool };
                self.half = half.on_timeout(&env).then_some(half);
                let syn_ack = half.syn_ack(&env, 0);
                self.half.is_some().then(|| self.send(1, syn_ack, Vec::new()));
            }
            while let Some(entry) = self.wire.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to, header, data) = entry.remove();
                self.arrive(to, header, &data);
                self.settle(to);
            }
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        5 => Just(End::Shutdown),
        2 => Just(End::Close),
        1 => (0usize..60_000).prop_map(End::Abort),
        1 => Just(End::ShutRead),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// RFC9293-3.4-a, RFC9293-3.6-a, RFC9293-3.6-b.
    #[test]
    fn streams_arrive_and_both_ends_end(
        seed in any::<u64>(),
        loss in prop_oneof![Just(0u64), 1u64..15],
        iss in (any::<u32>(), 0xffff_f000u32..=0xffff_ffff),
        totals in (0usize..80_000, 0usize..80_000),
        ends in (end(), end()),
        lazy in (any::<bool>(), any::<bool>()),
        buffer in prop_oneof![Just(4096u32), Just(20_000), Just(1 << 20)],
        nodelay in any::<bool>(),
        (timestamps, sack, newreno, quick) in any::<(bool, bool, bool, bool)>(),
    ) {
        let settings = Settings {
            receive_buffer_bytes: buffer,
            send_buffer_bytes: if quick { 100_000 } else { 16_384 },
            min_rto: Duration::from_millis(if quick { 1 } else { 200 }),
            timestamps,
            sack,
            congestion: if newreno { Congestion::NewReno } else { Congestion::Cubic },
            ..Settings::default()
        };
        let config = Config::new(settings).expect("valid");
        let side = |total, end, lazy| Side {
            conn: None, pool: Pool::new(1 << 21), time_wait: None, total, end, queued: 0, received: 0, eof: false, done: false,
            closed: None, lazy,
        };
        let sides = [side(totals.0, ends.0, lazy.0), side(totals.1, ends.1, lazy.1)];
        let iss = [SeqNum::new(iss.0), SeqNum::new(iss.1)];
        let now = Instant::ZERO + Duration::from_secs(1);
        let mut world = World { now, config, sides, half: None, wire: Wire::new(), sequence: 0, random: seed, loss, iss };
        let env = Env { now, config: &world.config, pool: &mut world.sides[0].pool };
        let mut client = Connection::connect(&env, Start { iss: iss[0], mss: 1460, default_peer_mss: 536, timestamp_offset: 0 });
        client.set_nodelay(nodelay);
        world.sides[0].conn = Some(client);
        world.run();
        world.half_open();
        let [a, b] = &world.sides;
        for s in [a, b] {
            prop_assert!(s.conn.is_none() && s.pool.chunks_in_use() == 0);
            prop_assert!(s.closed.is_some() || s.queued == 0, "an end was told");
        }
        if ends == (End::Shutdown, End::Shutdown) {
            prop_assert_eq!((a.closed, b.closed), (Some(None), Some(None)));
        }
        for (to, from) in [(a, b), (b, a)] {
            prop_assert!(to.received <= from.queued);
            if to.eof && !matches!(to.end, End::ShutRead) {
                prop_assert_eq!(to.received, from.total, "an end of file comes behind the last byte");
            }
        }
    }
}
