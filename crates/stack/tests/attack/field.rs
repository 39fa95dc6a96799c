//! A server, a client that streams to it and compares the echo, a cable between them, and a second way into the server, as fast
//! as one likes, for whoever attacks. What the attack costs on a link that both share is not looked at here: that is bytes.

use crate::support::{OURS, PEER, segment_of, v4, v6};
use core::net::{IpAddr, SocketAddr};
use stack::{
    App, ConnId, ConnMap, Duration, Error, Instant, Io, ListenOptions, ListenerId, LocalAddress, Shard, ShardConfig,
};
use std::collections::VecDeque;
use wire::tcp::Header;

/// What comes is sent back.
pub(crate) const ECHO: u16 = 7000;
/// Who connects is sent as much as the stack takes; a peer that takes nothing for 30 s is given up.
pub(crate) const SOURCE: u16 = 7001;
/// Nothing is ever read.
pub(crate) const DEAF: u16 = 7002;
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub(crate) fn word(&mut self) -> u32 {
        self.bits() as u32
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

fn octet(i: usize) -> u8 {
    i.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    listeners: Vec<ListenerId>,
    ports: ConnMap<u16>,
    pub(crate) accepted: usize,
    pub(crate) closed: Vec<Option<Error>>,
}

impl Server {
    fn fill(io: &mut Io<'_>, conn: ConnId) {
        while io.send(conn, &[b'x'; 8192]).is_ok_and(|took| took == 8192) {}
    }
}

impl App for Server {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, listener: ListenerId) {
        let at = self.listeners.iter().position(|l| *l == listener).expect("ours");
        let port = [ECHO, SOURCE, DEAF][at % 3];
        self.ports.insert(conn, port);
        self.accepted += 1;
        if port == SOURCE {
            io.set_user_timeout(conn, Some(PATIENCE)).expect("open");
            Self::fill(io, conn);
        }
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        match self.ports.get(conn) {
            Some(&ECHO) => io.send(conn, data).unwrap_or(data.len()),
            Some(&DEAF) => 0,
            _ => data.len(),
        }
    }
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.ports.get(conn) == Some(&ECHO) {
            let _ = io.forward(conn, conn);
        }
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.ports.get(conn) {
            Some(&ECHO) => drop(io.forward(conn, conn)),
            Some(&SOURCE) => Self::fill(io, conn),
            _ => {}
        }
    }
    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.ports.remove(conn);
        self.closed.push(error);
    }
}

/// The client that has a right to be served.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) to: SocketAddr,
    pub(crate) starts: bool,
    pub(crate) pauses: bool,
    pub(crate) conn: Option<ConnId>,
    sent: usize,
    pub(crate) received: usize,
    pub(crate) ended: Option<Option<Error>>,
}

impl User {
    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        while !self.pauses {
            let piece: Vec<u8> = (self.sent..self.sent + 4096).map(octet).collect();
            let took = io.send(conn, &piece).unwrap_or(0);
            self.sent += took;
            if took < piece.len() {
                return;
            }
        }
    }
}

impl App for User {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        for (i, byte) in data.iter().enumerate() {
            assert_eq!(*byte, octet(self.received + i), "byte {}", self.received + i);
        }
        self.received += data.len();
        data.len()
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.ended = Some(error);
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.starts && self.conn.is_none() {
            self.conn = Some(io.connect(self.to).expect("room"));
        }
    }
}

/// A wire of 100 Mbit/s and a millisecond behind a queue of 128 KiB.
#[derive(Debug, Default)]
struct Cable {
    free_at: Instant,
    flying: VecDeque<(Instant, Vec<u8>)>,
}

impl Cable {
    const NANOS_PER_BYTE: u64 = 80;

    fn put(&mut self, now: Instant, frame: &[u8]) {
        let waits = (self.free_at - now).as_nanos();
        if waits / Self::NANOS_PER_BYTE > 128 << 10 {
            return;
        }
        self.free_at = self.free_at.max(now) + Duration::from_nanos(frame.len() as u64 * Self::NANOS_PER_BYTE);
        self.flying.push_back((self.free_at + Duration::from_millis(1), frame.to_vec()));
    }

    fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.flying.front().is_some_and(|(at, _)| *at <= now).then(|| self.flying.pop_front()).flatten().map(|f| f.1)
    }
}

/// What an attacker knows and does in a tick.
pub(crate) struct Strike<'a> {
    /// Ticks since this attack began.
    pub(crate) tick: usize,
    /// What the server sent to anybody but the client, in the tick before.
    pub(crate) heard: &'a [Vec<u8>],
    /// The latest frames with data from the client, and to it: for who needs to know the right numbers.
    pub(crate) upward: &'a [u8],
    pub(crate) downward: &'a [u8],
    /// What reaches the server now.
    pub(crate) frames: &'a mut Vec<Vec<u8>>,
}

impl Strike<'_> {
    /// The server's view of the client's connection (IPv4): the client's port, SND.NXT, RCV.NXT.
    pub(crate) fn numbers(&self) -> Option<(u16, u32, u32)> {
        let (Header { seq, ack, dst_port, .. }, len) = segment_of(self.downward)?;
        Some((dst_port, seq.value().wrapping_add(len as u32), ack.value()))
    }
}

pub(crate) struct Field {
    pub(crate) now: Instant,
    pub(crate) tick: Duration,
    pub(crate) server: Shard,
    pub(crate) app: Server,
    pub(crate) client: Shard,
    pub(crate) user: User,
    there: Cable,
    back: Cable,
    heard: Vec<Vec<u8>>,
    upward: Vec<u8>,
    downward: Vec<u8>,
    /// Frames the server sent to the client.
    pub(crate) to_client: usize,
    /// The most there were of each at any time.
    pub(crate) most_half_open: usize,
    pub(crate) most_pool_bytes: u64,
}

pub(crate) fn nobody(_: &mut Strike<'_>) {}

impl Field {
    pub(crate) fn new(ipv6: bool, options: ListenOptions, change: impl FnOnce(&mut ShardConfig)) -> Self {
        let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned: true };
        let start = Instant::ZERO + Duration::from_secs(1000);
        let mut config = ShardConfig::new(OURS, 1500, vec![address(v4(1), 8), address(v6(1), 64)], [[7; 16]; 4]);
        config.pool_bytes = 32 << 20;
        change(&mut config);
        let mut server = Shard::new(config, start).expect("a valid configuration");
        let mut app = Server::default();
        for ip in [v4(1), v6(1)] {
            for port in [ECHO, SOURCE, DEAF] {
                app.listeners.push(server.listen(SocketAddr::new(ip, port), options.clone()).expect("free"));
            }
        }
        let config = ShardConfig::new(PEER, 1500, vec![address(v4(9), 8), address(v6(9), 64)], [[9; 16]; 4]);
        let mut client = Shard::new(config, start).expect("a valid configuration");
        for ip in [v4(1), v6(1)] {
            client.on_neighbour(ip, Some(OURS));
        }
        for ip in [v4(9), v6(9)] {
            server.on_neighbour(ip, Some(PEER));
        }
        let to = SocketAddr::new(if ipv6 { v6(1) } else { v4(1) }, ECHO);
        let user = User { to, starts: true, pauses: false, conn: None, sent: 0, received: 0, ended: None };
        let (there, back) = (Cable::default(), Cable::default());
        Self {
            now: start,
            tick: Duration::from_micros(50),
            server,
            app,
            client,
            user,
            there,
            back,
            heard: Vec::new(),
            upward: Vec::new(),
            downward: Vec::new(),
            to_client: 0,
            most_half_open: 0,
            most_pool_bytes: 0,
        }
    }

    pub(crate) fn v4() -> Self {
        Self::new(false, ListenOptions::default(), |_| {})
    }

    /// Lets time pass; the bytes that the client has got back meanwhile.
    pub(crate) fn run(&mut self, time: Duration, mut attack: impl FnMut(&mut Strike<'_>)) -> usize {
        let (before, end) = (self.user.received, self.now + time);
        let mut frames = Vec::new();
        for tick in 0.. {
            if self.now >= end {
                break;
            }
            self.now += self.tick;
            let (upward, downward) = (&*self.upward, &*self.downward);
            attack(&mut Strike { tick, heard: &self.heard, upward, downward, frames: &mut frames });
            self.heard.clear();
            for frame in frames.drain(..) {
                self.server.on_frame(self.now, &frame, &mut self.app);
            }
            while let Some(frame) = self.there.take(self.now) {
                self.server.on_frame(self.now, &frame, &mut self.app);
            }
            while let Some(frame) = self.back.take(self.now) {
                self.client.on_frame(self.now, &frame, &mut self.user);
            }
            self.turn();
        }
        let counters = self.server.counters();
        assert_eq!(counters.frames_in, counters.frames_accounted(), "{counters:?}");
        self.server.invariants().expect("as it must be");
        assert_eq!(self.user.ended, None, "the client's connection lives");
        self.user.received - before
    }

    /// The client goes on.
    pub(crate) fn resume(&mut self) {
        self.user.pauses = false;
        let conn = self.user.conn.expect("connected");
        self.client.call(self.now, |io| self.user.push(io, conn));
    }

    fn turn(&mut self) {
        let now = self.now;
        self.server.advance(now, &mut self.app);
        self.client.advance(now, &mut self.user);
        self.client.call(now, |io| self.user.on_turn(io));
        let mut buffer = vec![0; self.server.frame_bytes()];
        while let Some(len) = self.server.poll_transmit(now, &mut buffer) {
            let frame = &buffer[..len];
            if is_to_client(frame) {
                self.to_client += 1;
                self.back.put(now, frame);
                self.downward.clear();
                self.downward.extend(frame);
            } else {
                self.heard.push(frame.to_vec());
            }
        }
        while let Some(len) = self.client.poll_transmit(now, &mut buffer) {
            self.there.put(now, &buffer[..len]);
            self.upward.clear();
            self.upward.extend(&buffer[..len]);
        }
        self.most_half_open = self.most_half_open.max(self.server.half_open());
        self.most_pool_bytes = self.most_pool_bytes.max(self.server.usage().pool_bytes);
    }

    /// A counter by the name that `fourwave ss --counters` has.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.server.all_counters().iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Counters that an attack must move, and by how much.
    pub(crate) fn assert_counts(&self, expected: &[(&str, u64)]) {
        for (name, n) in expected {
            assert_eq!(self.count(name), *n, "{name}");
        }
    }
}

fn is_to_client(frame: &[u8]) -> bool {
    match frame[12..14] {
        [8, 0] => IpAddr::from(<[u8; 4]>::try_from(&frame[30..34]).expect("four")) == v4(9),
        [8, 6] => false,
        _ => IpAddr::from(<[u8; 16]>::try_from(&frame[38..54]).expect("sixteen")) == v6(9),
    }
}

/// The client has at least nine tenths of the goodput it has without an attack.
pub(crate) fn assert_served(under: usize, quiet: usize) {
    assert!(quiet > 100_000 && under * 10 >= quiet * 9, "{under} bytes under attack, {quiet} without");
}
