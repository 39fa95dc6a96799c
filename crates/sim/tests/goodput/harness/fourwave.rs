//! The flows over fourwave: a host whose connections always have data, and one that counts what arrives.

use super::cell::Cell;
use sim::Host;
use stack::{App, ConnId, Instant, Io, ListenerId, LocalAddress, MacAddr, Shard, ShardConfig};
use std::net::{Ipv4Addr, SocketAddr};
use tcp::{Config, Settings};

/// What is not sent yet is kept above this, bytes: more than one round of events acknowledges.
const LOW: u32 = 1 << 19;
static PIECE: [u8; 1 << 16] = [0x5a; 1 << 16];
pub const PORT: u16 = 5001;

pub fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// The shard of host `n` for a cell.
fn shard(n: u8, cell: &Cell) -> Shard {
    let local = LocalAddress { ip: address(n).into(), prefix_len: 24, owned: true };
    let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, n]), 1500, vec![local], [[n; 16]; 4]);
    config.pool_bytes = 4 << 30;
    let bytes = cell.buffer_bytes();
    config.tcp = Config::new(Settings { receive_buffer_bytes: bytes, send_buffer_bytes: bytes, ..Settings::default() })
        .expect("a buffer of a size that is allowed");
    Shard::new(config, Instant::ZERO).expect("a valid configuration")
}

/// Opens the flows at their times and fills their send buffers.
#[derive(Debug)]
pub struct Source {
    starts: Vec<Instant>,
    flows: Vec<ConnId>,
    open: Vec<bool>,
    turn: usize,
}

impl Source {
    fn fill(io: &mut Io<'_>, conn: ConnId) {
        loop {
            let Ok(info) = io.info(conn) else { return };
            let outstanding = info.in_flight_bytes + info.sacked_bytes + info.lost_bytes;
            if info.send_queue_bytes.saturating_sub(outstanding) >= LOW {
                return;
            }
            if io.send(conn, &PIECE).is_ok_and(|n| n < PIECE.len()) {
                return;
            }
        }
    }
}

impl App for Source {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(n) = self.flows.iter().position(|c| *c == conn) {
            self.open[n] = true;
        }
        Self::fill(io, conn);
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<tcp::Error>) {
        panic!("a flow has ended: {error:?}");
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.starts.get(self.flows.len()).is_some_and(|at| *at <= io.now()) {
            self.flows.push(io.connect(SocketAddr::from((address(2), PORT))).expect("room"));
            self.open.push(false);
        }
        if !self.flows.is_empty() {
            self.turn = (self.turn + 1) % self.flows.len();
            if self.open[self.turn] {
                Self::fill(io, self.flows[self.turn]);
            }
        }
    }
    fn wake_at(&self) -> Option<Instant> {
        self.starts.get(self.flows.len()).copied()
    }
}

/// Counts.
#[derive(Debug, Default)]
pub struct Sink {
    flows: Vec<(ConnId, u64)>,
}

impl Sink {
    /// Bytes each flow has delivered.
    pub fn delivered(&self) -> Vec<u64> {
        self.flows.iter().map(|(_, bytes)| *bytes).collect()
    }
}

impl App for Sink {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.flows.push((conn, 0));
    }
    fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        if let Some((_, bytes)) = self.flows.iter_mut().find(|(c, _)| *c == conn) {
            *bytes += data.len() as u64;
        }
        data.len()
    }
}

/// The host that sends.
pub fn source(cell: &Cell) -> Host<Source> {
    let app = Source { starts: cell.starts(), flows: Vec::new(), open: Vec::new(), turn: 0 };
    Host { shard: shard(1, cell), app }
}

/// The host that receives.
pub fn sink(cell: &Cell) -> Host<Sink> {
    let mut shard = shard(2, cell);
    shard.listen(SocketAddr::from((address(2), PORT)), 64).expect("a free port");
    Host { shard, app: Sink::default() }
}

/// What each flow is doing, for a trace.
pub fn infos(host: &mut Host<Source>, now: Instant) -> Vec<tcp::Info> {
    let flows = host.app.flows.clone();
    host.shard.call(now, |io| flows.iter().filter_map(|conn| io.info(*conn).ok()).collect())
}
