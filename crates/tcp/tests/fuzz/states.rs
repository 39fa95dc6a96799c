//! A connection is brought into a state by a peer that keeps to the rules, and by its application; among that come segments
//! that may be anything.

use crate::{
    rules::{self, After, Before},
    segment, stream,
};
use bytes::Bytes;
use fuzz::Input;
use std::sync::OnceLock;
use tcp::{
    Config, Connection, Env, Event, Half, HalfOpen, Outcome, Pool, Settings, Start, State,
    testing::{self, Numbers},
};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, SackBlocks, Segment, Timestamps},
};

const OFFSET: u32 = 0xffff_f000;

fn config(small: bool) -> &'static Config {
    static CONFIGS: OnceLock<[Config; 2]> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        [1 << 20, 4096].map(|receive_buffer_bytes| {
            let settings = Settings { receive_buffer_bytes, send_buffer_bytes: 16 << 10, ..Settings::default() };
            Config::new(settings).expect("valid")
        })
    });
    &configs[usize::from(small)]
}

struct Bench {
    now: Instant,
    config: &'static Config,
    pool: Pool,
    conn: Connection,
    iss: SeqNum,
    irs: SeqNum,
    /// The windows the peer advertises are shifted by this.
    peer_shift: u8,
    /// The farthest the peer has ever let us send; `None` before it has said so.
    peer_edge: Option<SeqNum>,
    /// The application does not read in place.
    lazy: bool,
    deaf: bool,
    /// Where the application is in the peer's stream, and in its own.
    read: SeqNum,
    written: u32,
    /// Behind what the peer has sent in order.
    peer_nxt: SeqNum,
    peer_fin: bool,
    small_pool: bool,
    ended: u32,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut bench = Bench::new(&mut input);
    while !input.is_empty() {
        bench.step(&mut input);
    }
    // Left alone by everyone it falls silent, or waits for its timers without spinning.
    for _ in 0..3 {
        bench.fire();
    }
    let mut env = Env { now: bench.now, config: bench.config, pool: &mut bench.pool };
    bench.conn.release(&mut env);
    assert_eq!((bench.pool.chunks_in_use(), bench.pool.references()), (0, 0), "all memory is given back");
}

impl Bench {
    fn new(input: &mut Input<'_>) -> Self {
        let shape = input.u8();
        let near = [7, 0u32.wrapping_sub(600), (1 << 31) - 600, 0xffff_fffe];
        let (iss, irs) = (SeqNum::new(near[usize::from(shape & 3)]), SeqNum::new(near[usize::from(shape >> 2 & 3)]));
        let (passive, offers) = (shape & 16 != 0, shape >> 5);
        let small = input.u8();
        let (config, small_pool) = (config(small & 1 != 0), small & 6 == 6);
        let mut pool = Pool::new(if small_pool { 4 << 11 } else { 1 << 22 });
        let now = Instant::ZERO + Duration::from_secs(5);
        let env = Env { now, config, pool: &mut pool };
        let start = Start { iss, mss: 1460, default_peer_mss: 536, timestamp_offset: OFFSET };
        let mut syn = testing::segment(Flags::SYN, irs.value(), 0, &[]);
        syn.header.options = Options {
            window_scale: (offers & 1 != 0).then_some(2),
            sack_permitted: offers & 2 != 0,
            timestamps: (offers & 4 != 0).then_some(Timestamps { val: 100, ecr: 0 }),
            mss: Some(200),
            ..Options::default()
        };
        let conn = if passive {
            Connection::from_half_open(&env, start, &HalfOpen::new(&env, start, &syn))
        } else {
            Connection::connect(&env, start)
        };
        let mut bench = Self {
            now,
            config,
            pool,
            conn,
            iss,
            irs,
            peer_shift: if offers & 1 != 0 { 2 } else { 0 },
            peer_edge: None,
            lazy: false,
            deaf: false,
            read: irs + 1,
            written: 0,
            peer_nxt: irs + 1,
            peer_fin: false,
            small_pool,
            ended: 0,
            events: Vec::new(),
            buffer: vec![0; 1600],
        };
        bench.settle();
        // How far a good peer takes it: to SYN-SENT or SYN-RECEIVED, or through the handshake.
        if small & 0x70 != 0 {
            let mut header = syn.header;
            header.ack = bench.iss + 1;
            header.window = 5000;
            if passive {
                (header.flags, header.seq) = (Flags::ACK, irs + 1);
                (header.options.window_scale, header.options.sack_permitted, header.options.mss) = (None, false, None);
            } else {
                header.flags = Flags::SYN | Flags::ACK;
            }
            bench.arrive(&Segment { header, payload: &[] });
        }
        bench
    }

    fn verb<R>(&mut self, f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R) -> R {
        let mut env = Env { now: self.now, config: self.config, pool: &mut self.pool };
        f(&mut self.conn, &mut env)
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let numbers = self.conn.numbers();
        match input.below(24) {
            0..=7 => {
                let edge = numbers.rcv_nxt + numbers.rcv_wnd;
                let seqs = [numbers.rcv_nxt, edge, self.irs, self.peer_nxt];
                let acks = [numbers.snd_una, numbers.snd_max, self.iss + 1, numbers.snd_nxt];
                let stamps = self.stamps(&numbers);
                let segment = segment(input, &seqs, &acks, &stamps);
                self.arrive(&segment);
            }
            8 | 9 => self.good(input.u8().into(), 0, false, numbers.snd_max),
            // Some of it is missing on the way.
            10 => self.good(1 + usize::from(input.u8()), input.u8().into(), false, numbers.snd_max),
            11 => self.good(0, 0, false, numbers.snd_max),
            12 => {
                let sent = numbers.snd_max.since(numbers.snd_una);
                self.good(0, 0, false, numbers.snd_una + u32::from(input.u8()).min(sent));
            }
            13 => self.sack(input, &numbers),
            14 => self.good(input.below(32).into(), 0, true, numbers.snd_max),
            15 => self.send(usize::from(input.u8()) * 8, false),
            16 => self.send(usize::from(input.u8()) * 8, true),
            17 => self.read(input.u8().into()),
            18 => self.lazy = input.bool(),
            19 => {
                let half = [Half::Write, Half::Both, Half::Read, Half::Write][usize::from(input.below(4))];
                self.deaf |= half != Half::Write;
                if half != Half::Write {
                    // What is thrown away counts as read.
                    self.read = numbers.rcv_nxt;
                }
                self.verb(|conn, env| conn.shutdown(env, half));
            }
            20 => {
                let close = input.below(8);
                self.deaf = true;
                let _ = self.verb(|conn, env| if close == 7 { conn.abort(env) } else { conn.close(env) });
            }
            21 => self.conn.set_nodelay(input.bool()),
            22 => {
                self.now += Duration::from_millis(1 << input.below(12));
                self.due();
            }
            _ => self.fire(),
        }
        self.settle();
    }

    /// What a peer may have in its segments: the clock's present, the past, and an echo of what was sent.
    fn stamps(&self, numbers: &Numbers) -> Vec<Timestamps> {
        let ms = self.now.as_nanos() / 1_000_000;
        let ecr = OFFSET.wrapping_add(ms as u32);
        let recent = numbers.ts_recent.unwrap_or(0);
        let stamp = |val: u32, ecr: u32| Timestamps { val, ecr };
        vec![
            stamp(recent, ecr),
            stamp(recent.wrapping_add(1), ecr),
            stamp(recent.wrapping_sub(1), ecr),
            stamp(recent, 0),
        ]
    }

    /// The header of a peer that keeps to the rules.
    fn header(&self, seq: SeqNum, ack: SeqNum) -> Header {
        let mut header = testing::segment(Flags::ACK, seq.value(), ack.value(), &[]).header;
        header.window = 2000;
        header.options.timestamps = self
            .conn
            .numbers()
            .ts_recent
            .map(|val| Timestamps { val, ecr: OFFSET.wrapping_add((self.now.as_nanos() / 1_000_000) as u32) });
        header
    }

    /// The peer's next data, or its FIN; `lost` bytes before it never arrive.
    fn good(&mut self, len: usize, lost: u32, fin: bool, ack: SeqNum) {
        if matches!(self.conn.state(), State::SynSent | State::Closed | State::TimeWait) {
            return;
        }
        let numbers = self.conn.numbers();
        // Behind everything that was taken: nothing of it was ever overlapped.
        let seq = self.peer_nxt.max(numbers.rcv_nxt) + lost;
        let len = if self.peer_fin { 0 } else { len };
        let mut header = self.header(seq, ack);
        if fin && !self.peer_fin {
            header.flags |= Flags::FIN;
            self.peer_fin = true;
        }
        if lost == 0 {
            self.peer_nxt = seq + len as u32;
        }
        self.arrive(&Segment { header, payload: stream(seq.value(), len) });
    }

    fn sack(&mut self, input: &mut Input<'_>, numbers: &Numbers) {
        let mut blocks = SackBlocks::default();
        for _ in 0..=input.below(3) {
            let start = numbers.snd_una + u32::from(input.u8()) * 8;
            blocks.push(start, start + u32::from(input.u8()) * 8);
        }
        let mut header = self.header(numbers.rcv_nxt, numbers.snd_una);
        header.options.sack = blocks;
        self.arrive(&Segment { header, payload: &[] });
    }

    fn arrive(&mut self, segment: &Segment<'_>) {
        let before = Before {
            state: self.conn.state(),
            numbers: self.conn.numbers(),
            iss: self.iss,
            irs: self.irs,
            deaf: self.deaf,
            scarce: self.small_pool,
        };
        let outcome = self.verb(|conn, env| conn.on_segment(env, segment));
        let state = self.conn.state();
        if before.state == State::SynSent && !matches!(state, State::SynSent | State::Closed) {
            let syn = &segment.header;
            (self.irs, self.read, self.peer_nxt) = (syn.seq, syn.seq + 1, syn.seq + 1);
            self.peer_shift = syn.options.window_scale.unwrap_or(0).min(14);
        }
        self.note_window(&before, segment);
        let numbers = self.conn.numbers();
        self.deliver(segment, &outcome);
        let sent = self.settle();
        let after = After { state, numbers, outcome, events: &self.events, sent };
        rules::check(&before, segment, &after);
        self.events.clear();
    }

    /// What the peer may have let us send: whatever the segment was, it is not held against us that we believed it.
    fn note_window(&mut self, before: &Before, segment: &Segment<'_>) {
        let header = &segment.header;
        if !header.flags.contains(Flags::ACK) || before.numbers.snd_max.before(header.ack) {
            return;
        }
        let shift = if header.flags.contains(Flags::SYN) { 0 } else { self.peer_shift };
        let edge = self.conn.numbers().snd_una.max(header.ack) + (u32::from(header.window) << shift);
        self.peer_edge = Some(self.peer_edge.map_or(edge, |old| old.max(edge)));
    }

    fn deliver(&mut self, segment: &Segment<'_>, outcome: &Outcome) {
        let Some((at, len)) = outcome.deliver else { return };
        let data = &segment.payload[at..at + len];
        let taken = if self.lazy { len / 3 } else { len };
        self.take(&data[..taken]);
        self.verb(|conn, env| conn.keep(env, &data[taken..]));
    }

    fn take(&mut self, data: &[u8]) {
        assert_eq!(data, stream(self.read.value(), data.len()), "the stream, in order");
        self.read += data.len() as u32;
    }

    fn read(&mut self, mut n: usize) {
        while n > 0 {
            let front = self.verb(|conn, env| conn.front(env).to_vec());
            let step = front.len().min(n);
            if step == 0 {
                return;
            }
            self.take(&front[..step]);
            self.verb(|conn, env| conn.consume(env, step as u32));
            n -= step;
        }
    }

    fn send(&mut self, len: usize, by_reference: bool) {
        // The first octet of the stream is behind the SYN.
        let bytes = stream(self.written, len);
        let mut given = Bytes::copy_from_slice(bytes);
        let taken = self
            .verb(|conn, env| if by_reference { conn.send_bytes(env, &mut given) } else { conn.send(env, bytes) })
            .unwrap_or(0);
        self.written += taken as u32;
    }

    /// Sends what is to be sent, and hears what there is to hear. Returns how many segments were sent.
    fn settle(&mut self) -> usize {
        let mut sent = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let before = self.conn.numbers();
            let Some(emit) = self.verb(|conn, env| conn.poll_transmit(env, &mut buffer)) else { break };
            sent += 1;
            assert!(sent < 2000, "endless output");
            let at = emit.header.len();
            self.check_sent(&before, &emit.header, &buffer[at..at + emit.payload_len]);
        }
        self.buffer = buffer;
        while let Some(event) = self.conn.poll_event() {
            self.ended += u32::from(matches!(event, Event::Closed(_)));
            self.events.push(event);
        }
        assert!(self.ended <= 1, "an end is told once");
        let n = self.conn.numbers();
        if !matches!(self.conn.state(), State::Closed | State::TimeWait) {
            assert!(n.snd_una.before_eq(n.snd_nxt) && n.snd_nxt.before_eq(n.snd_max), "{n:?}");
        }
        sent
    }

    fn check_sent(&mut self, before: &Numbers, header: &Header, data: &[u8]) {
        let (syn, fin) = (header.flags.contains(Flags::SYN), header.flags.contains(Flags::FIN));
        let end = header.seq + u32::from(syn) + data.len() as u32 + u32::from(fin);
        assert!(header.seq.before_eq(before.snd_max) && data.len() <= 1460, "no gap in what is sent");
        let position = header.seq.since(self.iss).wrapping_sub(1);
        assert!(data.is_empty() || data == stream(position, data.len()), "what the application wrote");
        assert!(data.is_empty() || position + data.len() as u32 <= self.written);
        if header.flags.contains(Flags::ACK) {
            assert_eq!(header.ack, self.conn.numbers().rcv_nxt);
        }
        if end.after(before.snd_max) && !syn {
            let edge = self.peer_edge.unwrap_or(before.snd_max);
            // A probe of a closed window is one octet (RFC 9293 section 3.8.6.1).
            assert!(end.before_eq(edge) || end.since(before.snd_max) == 1, "beyond the window: {header:?} {edge}");
        }
        // Blocks are of data beyond RCV.NXT, but for a duplicate, which comes first (RFC 2018 section 3, RFC 2883 section 4).
        for (i, (start, end)) in header.options.sack.iter().enumerate() {
            assert!(start.before(end) && (i == 0 || start.after(header.ack)), "{header:?}");
        }
    }

    /// The timers that are due by now. (A round trip may have taken no time at all here, so one may follow at once.)
    fn due(&mut self) {
        for n in 0.. {
            assert!(n < 100, "a busy loop in {:?}", self.conn.info());
            if self.conn.poll_timeout().is_none_or(|at| at > self.now) {
                break;
            }
            let _ = self.verb(Connection::on_timeout);
            self.settle();
        }
        self.events.clear();
    }

    fn fire(&mut self) {
        self.now = self.conn.poll_timeout().map_or(self.now, |at| at.max(self.now));
        self.due();
    }
}
