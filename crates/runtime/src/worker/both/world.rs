//! Two loops and what is between them.

use super::super::Worker;
use crate::clock::Clock;
use crate::idle::Idle;
use crate::sockets::{Config, KernelSockets, NoPort};
use crossbeam::channel::bounded;
use stack::{
    App, ConnId, ConnectionInfo, Cursor, Duration, Error, Half, Instant, Io, ListenerId, LocalAddress, MacAddr,
    Settings, Shard, ShardConfig, SocketCounters, TcpConfig, Via,
};
use std::net::SocketAddr;
use xdp::{MemoryConfig, MemoryPort, Port};

const NEAR: [u8; 4] = [10, 0, 0, 1];
const FAR: [u8; 4] = [10, 0, 0, 2];
/// How much the stack's time advances with each step.
const STEP: Duration = Duration::from_micros(50);
/// What may lie unread with a connection of the kernel's.
const QUEUE: usize = 64 << 10;

/// What an application was told. Data in a row is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Accepted,
    Acceptable,
    Connected,
    Data,
    Writable,
    Urgent(u32),
    PeerClosed,
    Closed(Option<Error>),
}

/// Does as it is told, and writes down what happens.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) log: Vec<Event>,
    /// Those it was told of.
    pub(super) conns: Vec<ConnId>,
    /// Those whose peer has closed.
    pub(super) ended: Vec<ConnId>,
    pub(super) got: Vec<u8>,
    /// What was left at an end by error.
    pub(super) last: Vec<u8>,
    /// How much it takes of data each time.
    pub(super) takes: usize,
    pub(super) closes_at_data: bool,
    pub(super) echoes: bool,
    pub(super) leaves_waiting: bool,
    /// Sent when a connection is open.
    pub(super) greets: Vec<u8>,
    /// Closes a connection once so much has come on it.
    pub(super) closes_after: Option<usize>,
    /// What is left to send on a connection.
    pub(super) sends: Option<(ConnId, Vec<u8>)>,
    /// How often there was no room.
    pub(super) refused: usize,
    /// By connection: how much has come.
    counts: Vec<usize>,
    /// Everything goes to the other connection.
    relays: Option<SocketAddr>,
    /// Both directions, each with whether its end is to be passed on.
    pairs: Vec<(ConnId, ConnId, bool)>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            conns: Vec::new(),
            ended: Vec::new(),
            got: Vec::new(),
            last: Vec::new(),
            takes: usize::MAX,
            closes_at_data: false,
            echoes: false,
            leaves_waiting: false,
            greets: Vec::new(),
            closes_after: None,
            sends: None,
            refused: 0,
            counts: Vec::new(),
            relays: None,
            pairs: Vec::new(),
        }
    }
}

impl Script {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.log.last(), Some(Event::Closed(_)))
    }

    fn pump(&mut self, io: &mut Io<'_>) {
        if let Some((conn, rest)) = &mut self.sends {
            let taken = io.send(*conn, rest).unwrap();
            rest.drain(..taken);
            self.refused += usize::from(!rest.is_empty());
        }
    }

    /// Moves what there is from one side to the other, and the FIN behind it.
    fn relay(&mut self, io: &mut Io<'_>) {
        for (from, to, ended) in &mut self.pairs {
            let _ = io.forward(*from, *to);
            if *ended && io.unread(*from).is_ok_and(|n| n == 0) {
                *ended = false;
                let _ = io.shutdown(*to, Half::Write);
            }
        }
    }
}

impl App for Script {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.log.push(Event::Accepted);
        self.conns.push(conn);
        if let Some(to) = self.relays {
            let via = if conn.via() == Via::Stack { Via::Kernel } else { Via::Stack };
            let other = io.connect_via(via, None, to).unwrap();
            self.pairs.extend([(conn, other, false), (other, conn, false)]);
        }
    }

    fn on_acceptable(&mut self, io: &mut Io<'_>, listener: ListenerId) {
        self.log.push(Event::Acceptable);
        while !self.leaves_waiting
            && let Some(conn) = io.accept(listener)
        {
            self.on_accept(io, conn, listener);
        }
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.log.push(Event::Connected);
        self.conns.push(conn);
        if !self.greets.is_empty() {
            assert_eq!(io.send(conn, &self.greets), Ok(self.greets.len()));
        }
        self.relay(io);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        if self.log.last() != Some(&Event::Data) {
            self.log.push(Event::Data);
        }
        if self.relays.is_some() {
            return 0;
        }
        let mut taken = data.len().min(self.takes);
        if self.echoes {
            taken = io.send(conn, &data[..taken]).unwrap_or(taken);
        }
        self.got.extend_from_slice(&data[..taken]);
        if self.closes_at_data {
            assert_eq!(io.close(conn), Ok(()));
        }
        if let Some(all) = self.closes_after {
            self.counts.resize(self.counts.len().max(conn.index() + 1), 0);
            self.counts[conn.index()] += taken;
            if self.counts[conn.index()] == all {
                assert_eq!(io.close(conn), Ok(()));
            }
        }
        taken
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.relays.is_some() {
            return self.relay(io);
        }
        let mut piece = [0; 2048];
        while self.takes > 0
            && let Ok(n @ 1..) = io.peek(conn, &mut piece)
        {
            let taken = self.on_data(io, conn, &piece[..n]);
            if io.skip(conn, taken).is_err() || taken < n {
                return;
            }
        }
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.log.push(Event::Writable);
        self.pump(io);
        self.on_readable(io, conn);
    }

    fn on_urgent(&mut self, _: &mut Io<'_>, _: ConnId, octets: u32) {
        self.log.push(Event::Urgent(octets));
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.log.push(Event::PeerClosed);
        self.ended.push(conn);
        for (from, _, ended) in &mut self.pairs {
            *ended |= *from == conn;
        }
        self.relay(io);
        if self.echoes && self.closes_after.is_none() && self.takes == usize::MAX && self.relays.is_none() {
            let _ = io.unread(conn).is_ok_and(|n| n == 0)
                && self.greets.is_empty()
                && io.shutdown(conn, Half::Write).is_ok();
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.log.push(Event::Closed(error));
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = io.read(conn, &mut piece) {
            self.last.extend_from_slice(&piece[..n]);
        }
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.relays.is_some() {
            self.relay(io);
        }
    }
}

/// A loop with a [`Script`], whatever its port.
pub(super) trait Side {
    fn turn(&mut self, now: Instant);
    fn call_dyn(&mut self, now: Instant, f: &mut dyn FnMut(&mut Io<'_>));
    fn app(&mut self) -> &mut Script;
    fn shard(&mut self) -> &mut Shard;
    /// The application sends what it is to.
    fn pump(&mut self, now: Instant);
    /// As behind the second that a loop has for its end.
    fn end_all(&mut self, now: Instant);
}

impl<P: Port> Side for Worker<P, Script> {
    fn turn(&mut self, now: Instant) {
        if self.sleeps_at_once() {
            self.sleep(now, Some(now)).unwrap();
        }
        Self::turn(self, now).unwrap();
    }
    fn call_dyn(&mut self, now: Instant, f: &mut dyn FnMut(&mut Io<'_>)) {
        self.shard.call(now, f);
    }
    fn app(&mut self) -> &mut Script {
        &mut self.app
    }
    fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }
    fn end_all(&mut self, now: Instant) {
        Self::end_all(self, now);
    }
    fn pump(&mut self, now: Instant) {
        let app = &mut self.app;
        self.shard.call(now, |io| app.pump(io));
    }
}

impl dyn Side {
    pub(super) fn call<R>(&mut self, now: Instant, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        let (mut f, mut result) = (Some(f), None);
        self.call_dyn(now, &mut |io| result = f.take().map(|f| f(io)));
        result.unwrap()
    }

    pub(super) fn drain(&mut self, now: Instant) {
        self.shard().drain(now);
    }

    pub(super) fn list(&mut self, now: Instant) -> Vec<ConnectionInfo> {
        let (mut rows, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.shard().list(now, from, 2, &mut rows);
        }
        rows
    }

    pub(super) fn sockets(&mut self) -> SocketCounters {
        self.shard().all_counters().sockets
    }
}

pub(super) struct World {
    pub(super) near: Box<dyn Side>,
    pub(super) far: Box<dyn Side>,
    pub(super) via: Via,
    /// Where the far side listens.
    pub(super) to: SocketAddr,
    pub(super) now: Instant,
    /// Whether epoll tells of what is urgent before it is read.
    pub(super) tells_marks: bool,
    clock: Clock,
}

/// So many octets of an endless text, from one of them on.
pub(super) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// The same test over the stack and over the kernel's sockets; those in loops that look at epoll in every turn, that sleep
/// before it, and that read without being told.
pub(super) fn both(test: impl Fn(&mut World)) {
    test(&mut World::stack());
    test(&mut World::kernel_with_at_most(1000));
    test(&mut World::kernel_alone(Idle::Sleep));
    test(&mut World::kernel_alone(Idle::Busy));
}

fn worker<P: Port>(port: P, shard: Shard, clock: Clock) -> Worker<P, Script> {
    let ((_, commands), (resolve, _)) = (bounded(1), bounded(1));
    Worker::new(port, shard, Script::default(), clock, Idle::Busy, commands, resolve).unwrap()
}

/// A shard that owns an address.
fn shard(ip: [u8; 4], now: Instant) -> Shard {
    let own = LocalAddress { ip: ip.into(), prefix_len: 24, owned: true };
    let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, ip[3]]), 1500, vec![own], [[ip[3]; 16]; 4]);
    config.tcp = TcpConfig::new(Settings { send_buffer_bytes: 1 << 20, ..Settings::default() }).unwrap();
    Shard::new(config, now).unwrap()
}

/// A shard without an interface.
fn bare(most: u32, now: Instant) -> Shard {
    let config = ShardConfig::new(MacAddr::default(), 1500, Vec::new(), [[1; 16]; 4]);
    let mut shard = Shard::new(config, now).unwrap();
    shard.set_sockets(sockets(most), Via::Kernel);
    shard
}

fn sockets(most: u32) -> Box<KernelSockets> {
    Box::new(KernelSockets::new(Config { several: false, queue_bytes: QUEUE, most }).unwrap())
}

impl World {
    pub(super) fn stack() -> Self {
        let (clock, to) = (Clock::new(), SocketAddr::from((FAR, 7)));
        let now = clock.now();
        let (one, two) = MemoryPort::pair(MemoryConfig::default());
        let near = Box::new(worker(one, shard(NEAR, now), clock));
        let far = Box::new(worker(two, shard(FAR, now), clock));
        Self { near, far, via: Via::Stack, to, now, tells_marks: true, clock }.listening()
    }

    pub(super) fn kernel_with_at_most(most: u32) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        let tells_marks = true;
        let [near, far] = [0; 2].map(|_| Box::new(worker(NoPort, bare(most, now), clock)));
        Self { near, far, via: Via::Kernel, to: ([127, 0, 0, 1], 0).into(), now, tells_marks, clock }.listening()
    }

    /// Loops that have nothing but the kernel's sockets.
    fn kernel_alone(idle: Idle) -> Self {
        let clock = Clock::new();
        let tells_marks = idle != Idle::Busy;
        let now = clock.now();
        let [near, far] = [0; 2].map(|_| {
            let mut shard = bare(1000, now);
            let mut sockets = sockets(1000);
            if !tells_marks {
                sockets.read_unasked();
            }
            shard.set_sockets(sockets, Via::Kernel);
            let mut worker = worker(NoPort, shard, clock);
            worker.idle = idle;
            worker.sleep_on_sockets().unwrap();
            Box::new(worker)
        });
        Self { near, far, via: Via::Kernel, to: ([127, 0, 0, 1], 0).into(), now, tells_marks, clock }.listening()
    }

    fn listening(mut self) -> Self {
        let to = self.to;
        self.to = self.far.call(self.now, |io| {
            let listener = io.listen(to, 512).unwrap();
            io.listener_address(listener).unwrap()
        });
        self
    }

    /// Where nobody listens.
    pub(super) fn nobody(&self) -> SocketAddr {
        match self.via {
            Via::Stack => (FAR, 9).into(),
            Via::Kernel => std::net::TcpListener::bind(self.free_address()).unwrap().local_addr().unwrap(),
        }
    }

    /// Where one can listen.
    pub(super) fn free_address(&self) -> SocketAddr {
        match self.via {
            Via::Stack => (FAR, 8).into(),
            Via::Kernel => ([127, 0, 0, 1], 0).into(),
        }
    }

    pub(super) fn most_unread(&self) -> usize {
        match self.via {
            Via::Stack => Settings::default().receive_buffer_bytes as usize,
            Via::Kernel => QUEUE,
        }
    }

    pub(super) fn step(&mut self) {
        self.now = if self.via == Via::Stack { self.now + STEP } else { self.clock.now() };
        self.near.turn(self.now);
        self.far.turn(self.now);
    }

    pub(super) fn pump(&mut self) {
        self.near.pump(self.now);
        self.far.pump(self.now);
    }

    pub(super) fn until(&mut self, over: impl Fn(&mut Self) -> bool) {
        let (began, real) = (self.now, std::time::Instant::now());
        while !over(self) {
            self.step();
            let long = match self.via {
                Via::Stack => self.now - began > Duration::from_secs(300),
                Via::Kernel => real.elapsed() > std::time::Duration::from_secs(30),
            };
            let logs = [&self.near.app().log, &self.far.app().log.clone()].map(|log| log.clone());
            assert!(!long, "{:?}: it has come to a standstill: {logs:?}", self.via);
        }
    }

    /// A connection, open: the near handle and the far one.
    pub(super) fn open(&mut self) -> (ConnId, ConnId) {
        let to = self.to;
        let near = self.near.call(self.now, |io| io.connect(to)).unwrap();
        self.until(|world| world.near.app().conns.len() == 1 && world.far.app().conns.len() == 1);
        assert_eq!(self.near.app().conns, [near]);
        (near, self.far.app().conns[0])
    }

    /// No connection is left on either side, and nobody wants another turn at once.
    pub(super) fn nothing_is_left(&mut self) {
        for conn in [self.near.app().ended.clone(), self.near.app().conns.clone()].concat() {
            let _ = self.near.call(self.now, |io| io.close(conn));
        }
        for conn in [self.far.app().ended.clone(), self.far.app().conns.clone()].concat() {
            let _ = self.far.call(self.now, |io| io.close(conn));
        }
        self.until(|world| world.near.shard().connections() + world.far.shard().connections() == 0);
        // The counters are those of the last turn.
        self.step();
        for side in [&mut self.near, &mut self.far] {
            let counters = side.sockets();
            assert_eq!((counters.open, counters.accepted + counters.connected), (0, counters.closed));
            side.shard().invariants().unwrap();
            if self.via == Via::Kernel {
                assert_eq!(side.shard().next_wakeup(), None);
            }
        }
    }
}

/// client ─stack─ relay ─kernel─ server.
pub(super) fn relay(all: Vec<u8>) {
    let clock = Clock::new();
    let now = clock.now();
    let (one, two) = MemoryPort::pair(MemoryConfig::default());
    let mut mixed = shard(FAR, now);
    mixed.set_sockets(sockets(10), Via::Stack);
    let (mut client, mut relay) = (worker(one, shard(NEAR, now), clock), worker(two, mixed, clock));
    let mut server = worker(NoPort, bare(10, now), clock);
    let behind = server.shard.call(now, |io| {
        let listener = io.listen(([127, 0, 0, 1], 0).into(), 16).unwrap();
        io.listener_address(listener).unwrap()
    });
    relay.app.relays = Some(behind);
    relay.shard.call(now, |io| io.listen((FAR, 7).into(), 16)).unwrap();
    server.app.echoes = true;
    let conn = client.shard.call(now, |io| io.connect((FAR, 7).into())).unwrap();
    client.app.sends = Some((conn, all.clone()));
    Side::pump(&mut client, now);
    let began = std::time::Instant::now();
    let mut shut = false;
    while !client.app.is_over() {
        let now = clock.now();
        Side::turn(&mut client, now);
        Side::turn(&mut relay, now);
        Side::turn(&mut server, now);
        if !shut && client.app.sends.as_ref().is_some_and(|(_, rest)| rest.is_empty()) {
            shut = true;
            client.shard.call(now, |io| io.shutdown(conn, Half::Write)).unwrap();
        }
        let got = [client.app.got.len(), server.app.got.len()];
        assert!(began.elapsed().as_secs() < 60, "it has come to a standstill: {got:?} {:?}", relay.app.log);
    }
    assert!(client.app.got == all);
    assert_eq!(client.app.log.last(), Some(&Event::Closed(None)));
    assert_eq!(relay.app.log.iter().filter(|event| **event == Event::PeerClosed).count(), 2);
}
