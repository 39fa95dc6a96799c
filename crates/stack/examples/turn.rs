//! What a turn costs: frames in, the application's answer, frames out, over one connection with timestamps.
//! `cargo run --release -p fourwave-stack --example turn -- 1000000` prints nanoseconds for each kind of turn, those of the fastest of fifty parts.
//!
//! Instructions do not depend on what else the machine does: `valgrind --tool=callgrind --collect-atstart=no
//! --toggle-collect='*turns*' target/release/examples/turn 9000 echo`, and divide by 10000: a thousand turns come before.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use core::net::SocketAddr;
use stack::{App, ConnId, Duration, Instant, Io, LocalAddress, Shard, ShardConfig};
use support::{OURS, PEER, PORT, header, segment_of, tcp_frame, v4};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Timestamps},
};

/// What passes in a turn.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A request of 64 bytes comes in, which acknowledges the last answer; an answer of 64 bytes goes out.
    Echo,
    /// Two full segments come in, their ACK goes out.
    Receive,
    /// Two full segments go out, their ACK comes in.
    Send,
}

/// Answers, swallows, or sends, as the kind of turn asks.
struct Peer {
    kind: Kind,
    conn: Option<ConnId>,
    piece: [u8; 2 * FULL],
}

/// The payload of a full segment with timestamps.
const FULL: usize = 1448;
/// Parts of a run, of which the fastest counts.
const SLICES: u32 = 50;
const STEP: Duration = Duration::from_micros(10);
/// Where a frame's IP and TCP headers begin, and its payload, behind the timestamps.
const TCP: usize = 34;
const PAYLOAD: usize = TCP + 32;

impl App for Peer {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: stack::ListenerId) {
        self.conn = Some(conn);
        let _ = io.set_nodelay(conn, true);
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        if self.kind == Kind::Echo {
            let _ = io.send(conn, data);
        }
        data.len()
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if let Some(conn) = self.conn.filter(|_| self.kind == Kind::Send) {
            let _ = io.send(conn, &self.piece);
        }
    }
}

/// The remote host: it knows what the next frame must say.
struct Wire {
    shard: Shard,
    app: Peer,
    now: Instant,
    buffer: Vec<u8>,
    /// A frame without data and one with, of which the numbers are overwritten.
    frames: [Vec<u8>; 2],
    sequence: u32,
    acked: u32,
}

impl Wire {
    fn open(kind: Kind) -> Self {
        let address = LocalAddress { ip: v4(1), prefix_len: 24, owned: false };
        let config = ShardConfig::new(OURS, 1500, vec![address], [[7; 16]; 4]);
        let mut shard = Shard::new(config, Instant::ZERO).expect("a valid configuration");
        shard.listen(SocketAddr::new(v4(1), PORT), 4).expect("free");
        shard.on_neighbour(v4(9), Some(PEER));
        let buffer = vec![0; shard.frame_bytes()];
        let app = Peer { kind, conn: None, piece: [7; 2 * FULL] };
        let now = Instant::ZERO + Duration::from_secs(1);
        let mut this = Self { shard, app, now, buffer, frames: [Vec::new(), Vec::new()], sequence: 8, acked: 0 };
        let stamps = Timestamps { val: 1, ecr: 0 };
        let mss = Some(1460);
        let options = Options {
            mss,
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(stamps),
            ..Options::default()
        };
        let syn = Header { options, ..header(Flags::SYN, (5000, PORT), 7, 0) };
        this.frame(&tcp_frame(v4(9), v4(1), syn, &[], None));
        let len = this.transmit().expect("a SYN-ACK");
        let (syn_ack, _) = segment_of(&this.buffer[..len]).expect("a SYN-ACK");
        this.acked = syn_ack.seq.value().wrapping_add(1);
        let ecr = syn_ack.options.timestamps.expect("timestamps").val;
        let payload: &[u8] = match kind {
            Kind::Echo => &[7; 64],
            Kind::Receive => &[7; FULL],
            Kind::Send => &[],
        };
        this.frames = [&[], payload].map(|payload| {
            let options = Options { timestamps: Some(Timestamps { val: 1, ecr }), ..Options::default() };
            let ack = Header { options, window: 60_000, ..header(Flags::ACK | Flags::PSH, (5000, PORT), 0, 0) };
            tcp_frame(v4(9), v4(1), Header { seq: SeqNum::new(0), ..ack }, payload, None)
        });
        this.send(0);
        this.settle();
        this
    }

    fn frame(&mut self, frame: &[u8]) {
        self.shard.on_frame(self.now, frame, &mut self.app);
    }

    /// A frame of the peer's with the numbers that are due.
    fn send(&mut self, which: usize) {
        let mut frame = core::mem::take(&mut self.frames[which]);
        put(&mut frame, TCP + 4, self.sequence);
        put(&mut frame, TCP + 8, self.acked);
        self.shard.on_frame(self.now, &frame, &mut self.app);
        self.sequence = self.sequence.wrapping_add((frame.len() - PAYLOAD) as u32);
        self.frames[which] = frame;
    }

    fn transmit(&mut self) -> Option<usize> {
        if !self.shard.has_output() {
            return None;
        }
        self.shard.poll_transmit(self.now, &mut self.buffer)
    }

    /// The end of a turn of the loop: the time, the application's turn, what is to be sent. Returns the bytes sent.
    fn settle(&mut self) -> usize {
        self.shard.advance(self.now, &mut self.app);
        let app = &mut self.app;
        self.shard.call(self.now, |io| app.on_turn(io));
        let mut bytes = 0;
        while let Some(len) = self.transmit() {
            bytes += len - PAYLOAD;
        }
        self.acked = self.acked.wrapping_add(bytes as u32);
        bytes
    }
}

/// Overwrites a number of the TCP header, and keeps the checksum right (RFC 1624).
fn put(frame: &mut [u8], at: usize, value: u32) {
    let old = u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    let sum = u16::from_be_bytes([frame[TCP + 16], frame[TCP + 17]]);
    let mut acc = u64::from(!sum) + u64::from(!old) + u64::from(value);
    while acc > 0xffff {
        acc = (acc >> 16) + (acc & 0xffff);
    }
    frame[TCP + 16..TCP + 18].copy_from_slice(&(!(acc as u16)).to_be_bytes());
    frame[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[inline(never)]
fn turns(wire: &mut Wire, count: u32) {
    for _ in 0..count {
        wire.now += STEP;
        wire.send(1);
        if wire.app.kind == Kind::Receive {
            wire.send(1);
        }
        let bytes = wire.settle();
        debug_assert_eq!(bytes, [64, 0, 2 * FULL][wire.app.kind as usize]);
    }
}

fn main() {
    let count: u32 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number of turns"));
    let only = std::env::args().nth(2);
    let kinds = [("echo", Kind::Echo), ("receive", Kind::Receive), ("send", Kind::Send)];
    for (name, kind) in kinds.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let mut wire = Wire::open(kind);
        turns(&mut wire, 1000);
        let before = wire.shard.counters().clone();
        // Other programs take time, never give any: the fastest slice is closest to the truth.
        let mut fastest = std::time::Duration::MAX;
        for _ in 0..SLICES {
            let began = std::time::Instant::now();
            turns(&mut wire, count / SLICES);
            fastest = fastest.min(began.elapsed());
        }
        let after = wire.shard.counters();
        let frames = (after.frames_in - before.frames_in, after.frames_out - before.frames_out);
        let of_all = f64::from(count / SLICES * SLICES);
        println!(
            "{name:8} {:6.0} ns, {:.1} frames in and {:.1} out a turn",
            fastest.as_nanos() as f64 / f64::from(count / SLICES),
            frames.0 as f64 / of_all,
            frames.1 as f64 / of_all
        );
    }
}
