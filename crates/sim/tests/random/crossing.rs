//! Applications that open towards each other at the same time (RFC 9293 section 3.5, figure 7).

use sim::Rng;
use stack::{App, ConnId, Duration, Error, Half, Instant, Io};
use std::net::SocketAddr;

/// Opens at these times, or nearly; sends something, shuts down, reads to the end. Whether the streams are equal is the
/// world's to see.
#[derive(Debug)]
pub(crate) struct Crosser {
    rng: Rng,
    peer: SocketAddr,
    times: Vec<Instant>,
    conn: Option<(ConnId, Instant)>,
    left: usize,
    /// Connections that were established.
    pub(crate) opened: u64,
}

impl Crosser {
    pub(crate) fn new(mut rng: Rng, peer: SocketAddr, mut times: Vec<Instant>) -> Self {
        // Within a few milliseconds of each other: sometimes the SYNs cross, sometimes one is refused.
        times.iter_mut().for_each(|at| *at += rng.ms(4));
        times.reverse();
        Self { rng, peer, times, conn: None, left: 0, opened: 0 }
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let piece: Vec<u8> = (0..5000).map(|_| self.rng.bits().to_be_bytes()[0]).collect();
        while self.left > 0 {
            let n = self.left.min(piece.len());
            let Ok(taken) = io.send(conn, &piece[..n]) else { return };
            self.left -= taken;
            if taken < n {
                return;
            }
        }
        let _ = io.shutdown(conn, Half::Write);
    }
}

impl App for Crosser {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.opened += 1;
        self.left = self.rng.index(40_000);
        self.push(io, conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {}
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, _: Option<Error>) {
        self.conn = None;
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if let Some((conn, until)) = self.conn
            && until <= io.now()
        {
            self.conn = None;
            let _ = io.abort(conn);
        }
        while self.times.last().is_some_and(|at| *at <= io.now()) {
            self.times.pop();
            if self.conn.is_none() {
                // The port may still be in TIME-WAIT.
                self.conn = io.connect(self.peer).ok().map(|conn| (conn, io.now() + Duration::from_secs(100)));
            }
        }
    }
    fn wake_at(&self) -> Option<Instant> {
        self.times.last().copied().into_iter().chain(self.conn.map(|(_, until)| until)).min()
    }
}
