//! Any sequence of arrivals, reads and scarce memory: the window never shrinks, and what it promised is taken while there is
//! memory.
#![allow(clippy::cast_possible_truncation)] // places in short streams

use super::*;
use crate::{
    config::{Config, Settings},
    testing::segment,
};
use proptest::prelude::*;
use std::vec::Vec;
use wheel::Duration;
use wire::tcp::Flags;

#[derive(Debug, Clone)]
enum Op {
    /// Data at so many thousandths of the promised window, of which the application takes so many quarters in place.
    Arrive {
        at: u32,
        len: usize,
        takes: usize,
    },
    /// The next data in order.
    Next {
        len: usize,
        takes: usize,
    },
    Read(u32),
    /// Others take so many chunks of the pool, or give them back.
    Pin(usize),
    Unpin,
    /// An ACK goes out.
    Answer,
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u32..1000, 1usize..3000, 0usize..5).prop_map(|(at, len, takes)| Op::Arrive { at, len, takes }),
        6 => (1usize..3000, 0usize..5).prop_map(|(len, takes)| Op::Next { len, takes }),
        3 => (0u32..20_000).prop_map(Op::Read),
        1 => (1usize..600).prop_map(Op::Pin),
        1 => Just(Op::Unpin),
        5 => Just(Op::Answer),
        3 => (0u64..30).prop_map(Op::Pass),
    ]
}

fn byte(at: SeqNum) -> u8 {
    at.value().wrapping_mul(0x9E37_79B9).to_le_bytes()[2]
}

struct Bench {
    config: Config,
    pool: Pool,
    now: Instant,
    rcv: Receiver,
    others: Vec<u32>,
    /// The next byte for the application, and the farthest edge that the peer was told.
    read: SeqNum,
    edge: SeqNum,
}

impl Bench {
    fn new(irs: SeqNum, settings: Settings, pool: usize) -> Self {
        let (config, mut pool, now) = (Config::new(settings).expect("valid"), Pool::new(pool), Instant::ZERO);
        let env = Env { now, config: &config, pool: &mut pool };
        let mut rcv = Receiver::new(1460);
        let negotiated = Negotiated { mss: 1460, window_scale: Some(0), sack: true, timestamps: None };
        rcv.synchronize(irs, &negotiated, &env);
        let edge = irs + 1 + Receiver::syn_window(&env);
        Self { config, pool, now, rcv, others: Vec::new(), read: irs + 1, edge }
    }

    fn env(&mut self) -> (&mut Receiver, Env<'_>) {
        (&mut self.rcv, Env { now: self.now, config: &self.config, pool: &mut self.pool })
    }

    fn arrive(&mut self, seq: SeqNum, len: usize, takes: usize) {
        let bytes: Vec<u8> = (0..len as u32).map(|i| byte(seq + i)).collect();
        let before = (self.rcv.rcv_nxt(), self.pool.spares_room(), self.pool.counters().pieces_refused);
        let segment = segment(Flags::ACK, seq.value(), 1, &bytes);
        let promised = len.min(self.edge.since(seq) as usize);
        let acceptable = acceptability::check(self.rcv.window(), &segment);
        let Some(acceptable) = acceptable else {
            assert_eq!(promised, 0, "what was promised is acceptable");
            return;
        };
        let payload = acceptable.payload().len();
        assert!(payload + acceptable.skipped() >= promised, "all of what was promised is");
        let in_order = acceptable.seq() == before.0;
        let (rcv, mut env) = self.env();
        let taken = rcv.on_data(&mut env, &acceptable, Clue::Echo(0, 5));
        match taken {
            Taken::InPlace => {
                let used = payload * takes / 4;
                assert!(acceptable.payload()[..used].iter().zip(0..).all(|(b, i)| *b == byte(before.0 + i)));
                rcv.keep(env.pool, &acceptable.payload()[used..], false);
                self.read += used as u32;
            }
            Taken::NoMemory if in_order => assert!(!self.pool.has_room(payload), "there was room for it"),
            Taken::NoMemory => {
                let many = self.pool.counters().pieces_refused > before.2;
                assert!(many || !before.1 || !self.pool.spares_room(), "there was room for it");
            }
            Taken::Nothing | Taken::Queued | Taken::Kept => {}
        }
        assert!(self.rcv.rcv_nxt().after_eq(before.0));
    }

    fn read(&mut self, n: u32) {
        let mut left = n;
        while left > 0 {
            let front = self.rcv.front(&self.pool);
            let n = left.min(front.len() as u32);
            assert!(front[..n as usize].iter().zip(0..).all(|(b, i)| *b == byte(self.read + i)));
            if n == 0 {
                return;
            }
            self.read += n;
            left -= n;
            let (rcv, mut env) = self.env();
            rcv.consume(&mut env, n, true);
        }
    }

    fn unpin(&mut self) {
        self.others.drain(..).for_each(|chunk| self.pool.give_back(chunk));
    }

    fn answer(&mut self) {
        let (rcv, env) = self.env();
        let field = rcv.acknowledge(&env);
        let (ack, shift) = (rcv.rcv_nxt(), rcv.shift());
        let heard = ack + (u32::from(field) << shift);
        // RFC 7323 section 2.4: the scale rounds.
        assert!(heard.after_eq(self.edge) || self.edge.since(heard) < 1 << shift, "the right edge moved left");
        self.edge = self.edge.max(heard);
        assert!(ack.before_eq(self.edge), "more was taken than promised");
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Arrive { at, len, takes } => {
                let room = u64::from(self.edge.since(self.rcv.rcv_nxt()));
                self.arrive(self.rcv.rcv_nxt() + (room * u64::from(at) / 1000) as u32, len, takes);
            }
            Op::Next { len, takes } => self.arrive(self.rcv.rcv_nxt(), len, takes),
            Op::Read(n) => self.read(n),
            Op::Pin(chunks) => self.others.extend((0..chunks).map_while(|_| self.pool.take())),
            Op::Unpin => self.unpin(),
            Op::Answer => self.answer(),
            Op::Pass(ms) => self.now += Duration::from_millis(ms),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// SHLD-14: with any scale, any buffers, and a pool that others fill and empty.
    #[test]
    fn what_is_promised_is_kept(
        irs in prop_oneof![any::<u32>(), 0xffff_0000u32..=0xffff_ffff],
        (start, most) in (12u32..18, 12u32..26),
        pool in prop_oneof![Just(16usize << 10), Just(128 << 10), Just(2 << 20)],
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let settings = Settings {
            receive_buffer_start_bytes: 1 << start,
            receive_buffer_bytes: 1 << most,
            ..Settings::default()
        };
        let mut bench = Bench::new(SeqNum::new(irs), settings, pool);
        for op in &ops {
            bench.run(op);
        }
        // Once the others have given their memory back the gaps can be filled, and all comes through.
        bench.unpin();
        bench.read(u32::MAX);
        let end = bench.edge;
        while bench.rcv.rcv_nxt() != end {
            bench.arrive(bench.rcv.rcv_nxt(), (end.since(bench.rcv.rcv_nxt()) as usize).min(1460), 4);
            bench.read(u32::MAX);
        }
        prop_assert_eq!(bench.read, end);
        bench.answer();
        prop_assert!(bench.edge.after(end), "and the window opens again");
        prop_assert_eq!(bench.pool.chunks_in_use(), 0);
    }
}
