//! Hosts and applications for the tests of this folder.
#![allow(dead_code, unreachable_pub)]

use sim::Host;
use stack::{App, ConnId, Error, Instant, Io, ListenerId, LocalAddress, MacAddr, Shard, ShardConfig};
use std::net::{IpAddr, SocketAddr};

pub const A: &str = "10.0.0.1";
pub const B: &str = "10.0.0.2";

pub fn shard(n: u8, change: impl FnOnce(&mut ShardConfig)) -> Shard {
    let address = LocalAddress { ip: IpAddr::from([10, 0, 0, n]), prefix_len: 24, owned: true };
    let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, n]), 1500, vec![address], [[n; 16]; 4]);
    change(&mut config);
    Shard::new(config, Instant::ZERO).expect("a valid configuration")
}

pub fn host<T: App>(n: u8, app: T) -> Host<T> {
    Host { shard: shard(n, |_| {}), app }
}

/// Echoes everything, then closes.
#[derive(Debug, Default)]
pub struct Echo {
    pub open: usize,
    pub closed: Vec<Option<Error>>,
    ending: Vec<ConnId>,
}

impl Echo {
    fn pump(io: &mut Io<'_>, conn: ConnId) {
        let _ = io.forward(conn, conn);
    }
    fn end(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.ending.contains(&conn) && io.unread(conn) == Ok(0) {
            let _ = io.close(conn);
            self.open -= 1;
            self.ending.retain(|c| *c != conn);
        }
    }
}

impl App for Echo {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.open += 1;
        let _ = io.set_nodelay(conn, true);
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        io.send(conn, data).unwrap_or(data.len())
    }
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        Self::pump(io, conn);
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        Self::pump(io, conn);
        self.end(io, conn);
    }
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.ending.push(conn);
        Self::pump(io, conn);
        self.end(io, conn);
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.open -= 1;
        self.closed.push(error);
    }
}

/// Sends `total` bytes of a pattern, compares what comes back, then shuts down writing and waits for the end.
#[derive(Debug)]
pub struct Client {
    pub to: SocketAddr,
    pub total: usize,
    pub sent: usize,
    pub received: usize,
    pub conn: Option<ConnId>,
    pub done: bool,
    pub closed: Option<Option<Error>>,
}

impl Client {
    pub fn new(to: &str, total: usize) -> Self {
        let to = to.parse().expect("an address");
        Self { to, total, sent: 0, received: 0, conn: None, done: false, closed: None }
    }
    fn byte(i: usize) -> u8 {
        i.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]
    }
    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        while self.sent < self.total {
            let n = (self.total - self.sent).min(5000);
            let piece: Vec<u8> = (self.sent..self.sent + n).map(Self::byte).collect();
            let took = io.send(conn, &piece).expect("open");
            self.sent += took;
            if took < n {
                return;
            }
        }
        if !self.done {
            self.done = true;
            io.shutdown(conn, stack::Half::Write).expect("open");
        }
    }
}

impl App for Client {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        for (i, byte) in data.iter().enumerate() {
            assert_eq!(*byte, Self::byte(self.received + i), "byte {}", self.received + i);
        }
        self.received += data.len();
        data.len()
    }
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let mut buffer = [0; 9000];
        while let Ok(n @ 1..) = io.read(conn, &mut buffer) {
            self.on_data(io, conn, &buffer[..n]);
        }
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    // Writing is shut down by then: the end is heard of by `on_closed`.
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {}
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.closed = Some(error);
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.conn.is_none() {
            self.conn = Some(io.connect(self.to).expect("room"));
        }
    }
}
