//! Whatever a peer sends and an application calls, in any order and at any time: what must always hold.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use support::byte;
use tcp::{Config, Connection, Env, Event, Half, Pool, Settings, Start, State};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, SackBlocks, Segment},
};

#[derive(Debug, Clone)]
enum Op {
    Segment {
        seq: (u8, i32),
        ack: (u8, i32),
        flags: u8,
        window: u16,
        len: usize,
        ws: Option<u8>,
        mss: Option<u16>,
        sack: Vec<(i32, i32)>,
    },
    Send(usize),
    Read(u32),
    Lazy(bool),
    Shutdown(u8),
    Close,
    Abort,
    Nodelay,
    Step(u64),
    Timer,
}

fn near() -> impl Strategy<Value = i32> {
    prop_oneof![6 => -3i32..4, 3 => -2500i32..2500, 1 => any::<i32>()]
}

fn flags() -> impl Strategy<Value = u8> {
    // Mostly ACK and FIN: a RST or SYN often ends a case early.
    prop_oneof![8 => Just(0x10u8), 2 => Just(0x11), 1 => any::<u8>(), 1 => Just(0x12), 1 => Just(0x14)]
}

fn op() -> impl Strategy<Value = Op> {
    let window = prop_oneof![4 => Just(10_000u16), 2 => 0u16..3, 2 => 0u16..2000, 1 => any::<u16>()];
    let len = prop_oneof![3 => Just(0usize), 2 => 1usize..20, 3 => 0usize..2048];
    let segment = (
        (0u8..3, near()),
        (0u8..3, near()),
        flags(),
        window,
        len,
        proptest::option::of(0u8..16),
        proptest::option::of(any::<u16>()),
        proptest::collection::vec((near(), near()), 0..4),
    )
        .prop_map(|(seq, ack, flags, window, len, ws, mss, sack)| Op::Segment {
            seq,
            ack,
            flags,
            window,
            len,
            ws,
            mss,
            sack,
        });
    prop_oneof![
        12 => segment,
        4 => (0usize..9000).prop_map(Op::Send),
        3 => (0u32..5000).prop_map(Op::Read),
        1 => any::<bool>().prop_map(Op::Lazy),
        1 => (0u8..3).prop_map(Op::Shutdown),
        1 => prop_oneof![3 => Just(Op::Nodelay), 1 => Just(Op::Close), 1 => Just(Op::Abort)],
        2 => (0u64..3000).prop_map(Op::Step),
        4 => Just(Op::Timer),
    ]
}

/// What an observer on the wire and at the socket knows.
struct Observer {
    now: Instant,
    config: Config,
    pool: Pool,
    conn: Connection,
    iss: u32,
    /// RCV.NXT and the right edge that were last advertised; both shifts once the handshake is over.
    rcv_nxt: SeqNum,
    edge: Option<SeqNum>,
    our_shift: u8,
    peer_shift: u8,
    snd_max: SeqNum,
    /// The peer's right edge, the farthest ever.
    peer_edge: Option<SeqNum>,
    /// Where the delivered stream begins, and how long it is.
    stream: Option<SeqNum>,
    delivered: u32,
    lazy: bool,
    over: bool,
    ended: u32,
    eof: u32,
    /// Bytes the connection took to send.
    pushed: u32,
}

impl Observer {
    fn new(iss: u32, irs: u32, passive: bool, settings: Settings, pool: usize) -> Self {
        let (config, mut pool) = (Config::new(settings).expect("valid"), Pool::new(pool));
        let now = Instant::ZERO + Duration::from_secs(5);
        let env = Env { now, config: &config, pool: &mut pool };
        let start = Start { iss: SeqNum::new(iss), mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
        let mut syn = tcp::testing::segment(Flags::SYN, irs, 0, &[]);
        syn.header.options.window_scale = Some(2);
        syn.header.options.sack_permitted = true;
        let conn = if passive {
            Connection::from_half_open(&env, start, &tcp::HalfOpen::new(&env, start, &syn))
        } else {
            Connection::connect(&env, start)
        };
        Self {
            now,
            conn,
            iss,
            rcv_nxt: SeqNum::new(irs.wrapping_add(1)),
            edge: None,
            our_shift: config.window_scale(),
            config,
            pool,
            peer_shift: 14,
            // A passive open's SYN-ACK was its record's to send.
            snd_max: SeqNum::new(iss) + u32::from(passive),
            peer_edge: None,
            stream: passive.then(|| SeqNum::new(irs.wrapping_add(1))),
            delivered: 0,
            lazy: false,
            over: false,
            ended: 0,
            eof: 0,
            pushed: 0,
        }
    }

    fn verb<R>(&mut self, f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R) -> R {
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        f(&mut self.conn, &mut env)
    }

    fn take(&mut self, data: &[u8]) {
        let stream = self.stream.expect("data comes behind a SYN");
        for b in data {
            assert_eq!(*b, byte((stream + self.delivered).value()), "the stream only ever extends");
            self.delivered += 1;
        }
    }

    fn arrive(&mut self, header: Header, len: usize) {
        let syn = u32::from(header.flags.contains(Flags::SYN));
        let payload: Vec<u8> = (0..len as u32).map(|i| byte((header.seq + syn + i).value())).collect();
        let before = self.conn.state();
        let outcome = self.verb(|c, env| c.on_segment(env, &Segment { header, payload: &payload }));
        if before == State::SynSent && syn == 1 && self.conn.state() != State::SynSent {
            self.stream = Some(header.seq + 1);
            self.rcv_nxt = header.seq + 1;
        }
        if header.flags.contains(Flags::ACK) && self.snd_max.since(header.ack) < 1 << 30 {
            let shift = if syn == 1 { 0 } else { self.peer_shift };
            let edge = header.ack + (u32::from(header.window) << shift);
            self.peer_edge = Some(self.peer_edge.map_or(edge, |old| old.max(edge)));
        }
        if let Some((at, n)) = outcome.deliver {
            let taken = if self.lazy { n / 3 } else { n };
            self.take(&payload[at..at + taken]);
            self.verb(|c, env| c.keep(env, &payload[at + taken..at + n]));
        }
    }

    fn read(&mut self, mut n: u32) {
        while n > 0 {
            let front = self.verb(|c, env| c.front(env).to_vec());
            let step = (front.len() as u32).min(n);
            if step == 0 {
                return;
            }
            self.take(&front[..step as usize]);
            self.verb(|c, env| c.consume(env, step));
            n -= step;
        }
    }

    fn drain(&mut self) {
        let mut buffer = vec![0; 2000];
        for n in 0.. {
            assert!(n < 20_000, "endless output");
            let Some(emit) = self.verb(|c, env| c.poll_transmit(env, &mut buffer)) else { break };
            let h = emit.header;
            let data = &buffer[h.len()..h.len() + emit.payload_len];
            assert!(data.len() <= 1460);
            let syn = u32::from(h.flags.contains(Flags::SYN));
            let end = h.seq + syn + data.len() as u32 + u32::from(h.flags.contains(Flags::FIN));
            assert!(h.seq.before_eq(self.snd_max), "no gap in what is sent");
            for (i, b) in data.iter().enumerate() {
                assert_eq!(*b, byte(h.seq.value().wrapping_sub(self.iss) + i as u32), "what was sent");
            }
            if end.after(self.snd_max) && syn == 0 {
                let edge = self.peer_edge.unwrap_or(self.snd_max);
                assert!(end.before_eq(edge) || end.since(self.snd_max) == 1, "beyond the window: {end} {edge}");
                self.snd_max = end;
            }
            if syn == 1 {
                self.snd_max = self.snd_max.max(end);
            }
            if h.flags.contains(Flags::ACK) {
                assert!(h.ack.after_eq(self.rcv_nxt), "RCV.NXT never goes back");
                let shift = if syn == 1 { 0 } else { self.our_shift };
                let edge = h.ack + (u32::from(h.window) << shift);
                let old = self.edge.unwrap_or(edge);
                // (A SYN sent again can't say more than 65,535.)
                let kept = syn == 1 || edge.after_eq(old) || old.since(edge) < 1 << shift;
                assert!(kept, "the right edge moved left");
                (self.rcv_nxt, self.edge) = (h.ack, Some(old.max(edge)));
            }
        }
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::Closed(_) => {
                    self.over = true;
                    self.ended += 1;
                }
                Event::PeerClosed => self.eof += 1,
                _ => {}
            }
        }
        assert!(self.ended <= 1 && self.eof <= 1, "an end is told once");
        // All that is in order may still be unread; nothing is held that the window did not promise.
        assert!(self.conn.unread() <= self.config.receive_buffer_bytes + (1 << self.our_shift) + 0xffff);
    }

    fn base(&self, which: u8, low: SeqNum, high: SeqNum, off: i32) -> SeqNum {
        let base = if which == 0 { low } else { high };
        SeqNum::new(base.value().wrapping_add(off as u32))
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Segment { seq, ack, flags, window, len, ws, mss, ref sack } => {
                let mut blocks = SackBlocks::default();
                for (start, len) in sack {
                    let start = self.base(1, self.snd_max, self.snd_max, start.wrapping_mul(3));
                    blocks.push(start, SeqNum::new(start.value().wrapping_add(*len as u32)));
                }
                let seq = self.base(seq.0, self.rcv_nxt, self.edge.unwrap_or(self.rcv_nxt), seq.1);
                let una =
                    self.snd_max - self.conn.info().send_queue_bytes.min(self.snd_max.since(SeqNum::new(self.iss)));
                let header = Header {
                    src_port: 0,
                    dst_port: 0,
                    seq,
                    ack: self.base(ack.0, una, self.snd_max, ack.1),
                    flags: Flags::from_bits(flags),
                    window,
                    urgent: 3,
                    options: Options {
                        mss,
                        window_scale: ws,
                        sack: blocks,
                        sack_permitted: true,
                        ..Options::default()
                    },
                };
                let opening = self.conn.state() == State::SynSent;
                self.arrive(header, len);
                if opening && self.conn.state() != State::SynSent && ws.is_none() {
                    // The peer's SYN came without the option: nothing is scaled.
                    (self.peer_shift, self.our_shift) = (0, 0);
                }
            }
            Op::Send(n) => {
                let from = self.pushed + 1;
                let bytes: Vec<u8> = (0..n as u32).map(|i| byte(from + i)).collect();
                let mut given = Bytes::from(bytes.clone());
                let by_reference = n % 2 == 1;
                let taken = self
                    .verb(|c, env| if by_reference { c.send_bytes(env, &mut given) } else { c.send(env, &bytes) })
                    .unwrap_or(0);
                self.pushed += taken as u32;
            }
            Op::Read(n) => self.read(n),
            Op::Lazy(lazy) => self.lazy = lazy,
            Op::Shutdown(half) => {
                let half = [Half::Read, Half::Write, Half::Both][usize::from(half)];
                if half != Half::Write {
                    // What is thrown away counts as read.
                    self.read(u32::MAX);
                    self.lazy = false;
                }
                self.verb(|c, env| c.shutdown(env, half));
            }
            Op::Close => drop(self.verb(Connection::close)),
            Op::Abort => drop(self.verb(Connection::abort)),
            Op::Nodelay => self.conn.set_nodelay(true),
            Op::Step(ms) => {
                let end = self.now + Duration::from_millis(ms);
                while self.conn.poll_timeout().is_some_and(|at| at <= end) {
                    self.fire();
                }
                self.now = end;
            }
            Op::Timer => self.fire(),
        }
        self.drain();
    }

    fn fire(&mut self) {
        let Some(at) = self.conn.poll_timeout() else { return };
        self.now = self.now.max(at);
        self.verb(Connection::on_timeout);
        self.drain();
        assert!(self.conn.poll_timeout().is_none_or(|at| at > self.now), "a busy loop in {:?}", self.conn.info());
    }
}

/// Brings a fresh connection on its way to a state, so that cases do not all die in the handshake.
fn prelude(o: &mut Observer, passive: bool, depth: u8, ws: bool) {
    o.drain();
    if depth == 0 && !passive {
        return;
    }
    let (irs, mut header) = (o.rcv_nxt - 1, tcp::testing::segment(Flags::ACK, 0, 0, &[]).header);
    header.seq = if passive { o.rcv_nxt } else { irs };
    header.ack = SeqNum::new(o.iss.wrapping_add(1));
    header.window = 10_000;
    if !passive {
        header.flags = Flags::SYN | Flags::ACK;
        header.options.window_scale = ws.then_some(2);
    }
    (o.peer_shift, o.our_shift) = if passive || ws { (2, o.our_shift) } else { (0, 0) };
    o.arrive(header, 0);
    o.drain();
    let mut fin = header;
    (fin.flags, fin.seq, fin.options) = (Flags::FIN | Flags::ACK, o.rcv_nxt, Options::default());
    if depth == 2 || depth == 4 {
        o.arrive(fin, 0);
        o.drain();
    }
    if depth >= 3 {
        o.verb(|c, env| c.shutdown(env, Half::Write));
        o.drain();
    }
    if depth == 5 {
        (fin.flags, fin.ack) = (Flags::ACK, o.snd_max);
        o.arrive(fin, 0);
        o.drain();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// SHLD-14, RFC5681-2-a.
    #[test]
    fn nothing_a_peer_sends_breaks_it(
        numbers in (
            prop_oneof![any::<u32>(), 0xffff_e000u32..=0xffff_ffff],
            prop_oneof![any::<u32>(), 0xffff_e000u32..=0xffff_ffff],
        ),
        (passive, depth, ws) in (any::<bool>(), 0u8..6, any::<bool>()),
        (buffer, pool) in (prop_oneof![Just(4096u32), Just(1 << 17), Just(1 << 20)], prop_oneof![Just(1usize << 22), Just(6 << 11)]),
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let settings = Settings { receive_buffer_bytes: buffer, send_buffer_bytes: 20_000, ..Settings::default() };
        let mut o = Observer::new(numbers.0, numbers.1, passive, settings, pool);
        prelude(&mut o, passive, depth, ws);
        for op in &ops {
            o.run(op);
        }
        // Left alone by everyone, it ends or falls silent.
        for _ in 0..200 {
            o.fire();
        }
        let mut env = Env { now: o.now, config: &o.config, pool: &mut o.pool };
        o.conn.release(&mut env);
        prop_assert_eq!((o.pool.chunks_in_use(), o.pool.references()), (0, 0));
    }
}
