//! A fuzz target (docs/FUZZING.md): two shards, and the input says what the applications call, what happens to each frame
//! between them, and how time passes.
//!
//! However that goes, each side reads what the other has sent, in order and nothing else. If nobody was rude, that is all of
//! it, and both ends are told to have ended well. At the end nothing is left, and every frame is accounted for.

use fuzz::Input;
use sim::{Duo, Fate, Host, World};
use stack::{
    App, Congestion, ConnId, Duration, Ecn, Error, Half, Instant, Io, ListenerId, LocalAddress, MacAddr, Settings,
    Shard, ShardConfig, TcpConfig,
};
use std::{cell::RefCell, collections::VecDeque, net::SocketAddr, rc::Rc};
use wire::checksum;

#[test]
fn fuzz_sequences() {
    fuzz::check("sequences", sequences);
}

/// Frames that an input may have lost: as many as no handshake or close fails of.
const MOST_LOST: u32 = 5;
/// So many frames are a storm, however the bytes are cut, lost, and asked for again.
const MOST_FRAMES: u64 = 10_000;
/// Bytes that a side may send.
const MOST_SENT: usize = 8_000;

/// The octets of a stream; the other side's begin elsewhere.
const PATTERN: [u8; 4096 + 9000] = {
    let mut pattern = [0; 4096 + 9000];
    let (mut i, mut n) = (0, 0u32);
    while i < pattern.len() {
        pattern[i] = (n % 4096).wrapping_mul(0x9E37_79B9).to_be_bytes()[0];
        (i, n) = (i + 1, n + 1);
    }
    pattern
};

fn stream(side: usize, from: usize, len: usize) -> &'static [u8] {
    &PATTERN[(from + side * 1234) % 4096..][..len]
}

/// An application that does what it is told.
#[derive(Debug)]
struct Side {
    /// 0 opens, 1 listens.
    number: usize,
    conn: Option<ConnId>,
    established: bool,
    /// It does not read.
    lazy: bool,
    /// How much it has to send, and has sent.
    total: usize,
    sent: usize,
    received: usize,
    /// It shuts down writing behind the last octet.
    ends: bool,
    shut: bool,
    peer_closed: bool,
    /// It has given its handle up.
    gone: bool,
    over: Option<Option<Error>>,
    told: u64,
}

impl Side {
    fn new(number: usize) -> Self {
        Self {
            number,
            conn: None,
            established: number == 1,
            lazy: false,
            total: 0,
            sent: 0,
            received: 0,
            ends: false,
            shut: false,
            peer_closed: false,
            gone: false,
            over: None,
            told: 0,
        }
    }

    fn live(&self) -> Option<ConnId> {
        self.conn.filter(|_| !self.gone && self.over.is_none())
    }

    fn push(&mut self, io: &mut Io<'_>) {
        let Some(conn) = self.live().filter(|_| !self.shut) else { return };
        while self.sent < self.total {
            let n = (self.total - self.sent).min(4096);
            let Ok(took) = io.send(conn, stream(self.number, self.sent, n)) else { return };
            self.sent += took;
            if took < n {
                return;
            }
        }
        // (A CLOSE in SYN-SENT would be the end at once.)
        if self.ends && self.established {
            self.shut = true;
            // (Its end may not have been told yet.)
            let _ = io.shutdown(conn, Half::Write);
        }
    }

    fn take(&mut self, data: &[u8]) {
        assert_eq!(data, stream(1 - self.number, self.received, data.len()), "the stream, in order");
        self.received += data.len();
    }

    fn read(&mut self, io: &mut Io<'_>, most: usize) {
        let Some(conn) = self.live() else { return };
        let mut buffer = [0; 1024];
        let mut left = most;
        while left > 0 {
            let n = left.min(buffer.len());
            let Ok(n @ 1..) = io.read(conn, &mut buffer[..n]) else { return };
            self.take(&buffer[..n]);
            left -= n;
        }
    }
}

impl App for Side {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        assert!(self.conn.replace(conn).is_none(), "there is one connection");
        self.told += 1;
        self.push(io);
    }
    fn on_connected(&mut self, io: &mut Io<'_>, _: ConnId) {
        self.told += 1;
        self.established = true;
        self.push(io);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.told += 1;
        let n = if self.lazy { data.len() / 3 } else { data.len() };
        self.take(&data[..n]);
        n
    }
    fn on_readable(&mut self, io: &mut Io<'_>, _: ConnId) {
        self.told += 1;
        if !self.lazy {
            self.read(io, usize::MAX);
        }
    }
    fn on_writable(&mut self, io: &mut Io<'_>, _: ConnId) {
        self.told += 1;
        self.push(io);
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.told += 1;
        assert!(!std::mem::replace(&mut self.peer_closed, true), "the peer's end is told once");
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.told += 1;
        assert!(self.over.replace(error).is_none() && !self.gone, "an end is told once, to who waits for it");
    }
}

/// What happens to frames.
#[derive(Debug, Default)]
struct Road {
    /// What becomes of the next ones; those behind them pass.
    fates: VecDeque<u8>,
    lost: u32,
}

impl Road {
    fn tamper(&mut self, frame: &mut [u8]) -> Fate {
        // A neighbour that is not found is another story.
        if frame.get(12..14) != Some(&[8, 0]) {
            return Fate::Pass;
        }
        let Some(fate) = self.fates.pop_front() else { return Fate::Pass };
        let spared = self.lost >= MOST_LOST;
        match fate {
            0..64 => Fate::Pass,
            64..112 if spared => Fate::Pass,
            64..96 => {
                self.lost += 1;
                Fate::Drop
            }
            96..112 => {
                // One bit behind the Ethernet header: some checksum finds it.
                self.lost += 1;
                let at = 14 + usize::from(fate) * 7 % (frame.len() - 14);
                frame[at] ^= 1 << (fate & 7);
                Fate::Pass
            }
            112..144 => Fate::Duplicate,
            144..160 => {
                mark(frame);
                Fate::Pass
            }
            _ => Fate::Delay(Duration::from_micros(10 << (fate % 18))),
        }
    }
}

/// The packet met congestion (RFC 3168 section 5), if its sender understands that.
fn mark(frame: &mut [u8]) {
    if frame.len() >= 34 && frame[15] & 3 != 0 {
        frame[15] |= 3;
        frame[24..26].fill(0);
        let sum = checksum::finish(checksum::sum(0, &frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}

fn shard(input: &mut Input<'_>, n: u8) -> Shard {
    let (shape, sizes) = (input.u8(), input.u8());
    let address = LocalAddress { ip: [10, 0, 0, n].into(), prefix_len: 24, owned: true };
    let mtu = [1500, 576, 9000, 1500][usize::from(sizes & 3)];
    let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, n]), mtu, vec![address], [[n; 16]; 4]);
    let buffer = |bits: u8| [1 << 16, 4096, 10_000, 1 << 20][usize::from(bits & 3)];
    let settings = Settings {
        receive_buffer_bytes: buffer(sizes >> 2),
        send_buffer_bytes: buffer(sizes >> 4),
        // The scripts choose what is unusual.
        timestamps: shape & 1 == 0,
        sack: shape & 2 == 0,
        window_scaling: shape & 4 == 0,
        ecn: if shape & 8 == 0 { Ecn::Ask } else { Ecn::Answer },
        congestion: if shape & 16 == 0 { Congestion::Cubic } else { Congestion::NewReno },
        min_rto: Duration::from_millis(if shape & 32 == 0 { 200 } else { 1 }),
        ..Settings::default()
    };
    config.tcp = TcpConfig::new(settings).expect("valid");
    config.most_awake = if shape & 64 == 0 { 4096 } else { 0 };
    config.pool_bytes = if sizes >> 6 == 3 { 32 << 10 } else { 1 << 20 };
    Shard::new(config, Instant::ZERO).expect("valid")
}

struct Game {
    world: Duo<Side, Side>,
    road: Rc<RefCell<Road>>,
    /// Somebody has done what draws a reset, at once or later.
    rude: bool,
}

fn sequences(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let to: SocketAddr = ([10, 0, 0, 2], 7).into();
    let (mut a, mut b) = (shard(&mut input, 1), shard(&mut input, 2));
    b.listen(to, 4).expect("free");
    let mut opener = Side::new(0);
    opener.conn = a.call(Instant::ZERO, |io| io.connect(to).ok());
    let road = Rc::new(RefCell::new(Road::default()));
    let link = road.clone();
    let delay = Duration::from_micros(10 << input.below(14));
    let (a, b) = (Host { shard: a, app: opener }, Host { shard: b, app: Side::new(1) });
    let world = World::new(a, b, delay).with_tamper(move |_, frame| link.borrow_mut().tamper(frame.as_mut_slice()));
    let mut game = Game { world, road, rude: false };
    while !input.is_empty() {
        game.step(&mut input);
    }
    game.end();
}

impl Game {
    fn run(&mut self, time: Duration) {
        let (mut idle, mut last) = (0, (0, 0));
        self.world.run_until(self.world.now() + time, |world| {
            let state = (world.frames(), world.a.app.told + world.b.app.told);
            idle = if state == last { idle + 1 } else { 0 };
            last = state;
            assert!(idle < 3000, "wakes up for nothing at {:?}", world.now());
            assert!(world.frames() < MOST_FRAMES, "a storm at {:?}", world.now());
            false
        });
    }

    fn on<R>(&mut self, side: usize, f: impl FnOnce(&mut Side, &mut Io<'_>) -> R) -> R {
        let now = self.world.now();
        let host = if side == 0 { &mut self.world.a } else { &mut self.world.b };
        let app = &mut host.app;
        host.shard.call(now, |io| f(app, io))
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let side = usize::from(op & 1);
        match op >> 1 & 15 {
            0..=2 => {
                let n = usize::from(input.u8());
                let n = if n < 200 { n * 4 } else { (n - 199) * 100 };
                self.on(side, |app, io| {
                    // Behind its end there is nothing more to send.
                    app.total = if app.ends { app.total } else { (app.total + n).min(MOST_SENT) };
                    app.push(io);
                });
            }
            3..=5 => self.run(Duration::from_micros(1 << input.below(24))),
            6..=9 => {
                let fates = input.take(1 + usize::from(op >> 5));
                self.road.borrow_mut().fates.extend(fates);
            }
            10 => {
                let most = usize::from(input.u8()) * 16;
                self.on(side, |app, io| app.read(io, most));
            }
            11 => self.on(side, |app, _| app.lazy = !app.lazy),
            12 => self.on(side, |app, io| {
                app.ends = true;
                app.push(io);
            }),
            13 => self.on(side, |app, io| {
                if let Some(conn) = app.live() {
                    let _ = io.set_nodelay(conn, op & 64 == 0);
                }
            }),
            14 if op >= 224 => self.be_rude(side, op),
            _ => self.run(Duration::from_secs(1)),
        }
    }

    fn be_rude(&mut self, side: usize, op: u8) {
        let how = op & 31;
        let rude = self.on(side, |app, io| {
            let Some(conn) = app.live() else { return false };
            let _ = match how & 2 {
                0 => io.abort(conn),
                _ => io.close(conn),
            };
            app.gone = true;
            true
        });
        self.rude |= rude;
    }

    /// Nothing happens to frames any more; both send the rest, and read all there is.
    fn end(mut self) {
        self.road.borrow_mut().fates.clear();
        for side in [0, 1] {
            self.finish(side);
        }
        self.run(Duration::from_secs(1));
        // Who was not accepted before is told to finish now.
        self.finish(1);
        self.run(Duration::from_secs(1200));
        // Whose peer has vanished without a word that arrived waits for it.
        if self.rude {
            self.be_rude(0, 0);
            self.be_rude(1, 0);
            self.run(Duration::from_secs(1));
        }
        let shards = [&self.world.a.shard, &self.world.b.shard];
        for shard in shards {
            let counters = shard.counters();
            assert_eq!(counters.frames_in, counters.frames_accounted(), "{counters:?}");
            assert_eq!((shard.connections(), shard.half_open(), shard.time_waits()), (0, 0, 0), "{counters:?}");
            assert_eq!((shard.chunks_in_use(), shard.has_output()), (0, false));
            assert_eq!(shard.next_wakeup(), None);
        }
        let (a, b) = (&self.world.a.app, &self.world.b.app);
        for app in [a, b] {
            assert!(app.conn.is_none() || app.gone || app.over.is_some(), "{app:?}");
        }
        assert!(a.received <= b.sent && b.received <= a.sent);
        if !self.rude {
            assert_eq!((a.over, b.over), (Some(None), Some(None)), "{a:?} {b:?}");
            assert_eq!((a.received, b.received), (b.sent, a.sent), "{a:?} {b:?}");
            assert_eq!((a.sent, b.sent), (a.total, b.total));
            assert!(a.peer_closed && b.peer_closed);
        }
    }

    fn finish(&mut self, side: usize) {
        self.on(side, |app, io| {
            (app.lazy, app.ends) = (false, true);
            app.push(io);
            app.read(io, usize::MAX);
        });
    }
}
