//! The application's side of a shard: it is called, and calls back through an [`Io`].

use crate::{
    listen::{ListenError, ListenerId},
    shard::Shard,
};
use core::net::SocketAddr;
use tcp::{Error, Half, Info};
use wheel::Instant;

/// A connection's handle. It is dead after [`App::on_closed`] and after [`Io::close`] or [`Io::abort`]; a dead handle is
/// answered with [`Error::NotConnected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// A small dense number, unique among the shard's living connections: an index for the application's own state.
    #[must_use]
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// An application on a shard's own thread. A callback must not block: nothing else runs meanwhile.
pub trait App {
    /// A peer has opened a connection to a listener.
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, listener: ListenerId) {
        let _ = (io, conn, listener);
    }

    /// A connection of ours is open.
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// Bytes arrived in order, in place. Returns how many were taken; the rest is queued for [`Io::read`], and what arrives
    /// behind it is told by [`App::on_readable`].
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize;

    /// More bytes were queued behind those left unread.
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// There is room again after [`Io::send`] took less than all.
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// The peer has closed its direction; what it sent before may still be queued. By default the connection is closed.
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.close(conn);
    }

    /// The connection is over, in order (`None`) or by an error. [`Io::read`] still works within this call.
    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        let _ = (io, conn, error);
    }

    /// Once per turn of the loop, behind everything else.
    fn on_turn(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }
}

/// Why an active open could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Every port of the range is in use towards this peer (`AddrNotAvailable`).
    NoPort,
    /// We have no address of the peer's family, or no route to it (`NetworkUnreachable`).
    NoRoute,
    /// The shard's connection limit is reached.
    TooMany,
}

impl core::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoPort => "every local port is in use towards this peer",
            Self::NoRoute => "there is no route to the peer",
            Self::TooMany => "the shard's connection limit is reached",
        })
    }
}

impl core::error::Error for ConnectError {}

/// What a callback may do: every verb takes effect within this turn of the loop.
#[derive(Debug)]
pub struct Io<'a> {
    pub(crate) shard: &'a mut Shard,
    pub(crate) now: Instant,
}

impl Io<'_> {
    /// The time of this turn.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Begins an active open; [`App::on_connected`] or [`App::on_closed`] follows.
    ///
    /// # Errors
    /// No route, no free port, or no room for another connection.
    pub fn connect(&mut self, remote: SocketAddr) -> Result<ConnId, ConnectError> {
        self.shard.connect(self.now, remote)
    }

    /// Takes bytes to send, as many as there is room for; [`App::on_writable`] follows if not all.
    ///
    /// # Errors
    /// [`Error::BrokenPipe`] once writing is shut down, [`Error::NotConnected`] for a dead handle.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, Error> {
        let taken = self.shard.with(self.now, conn, |c, env| c.send(env, bytes))??;
        if taken < bytes.len() {
            self.shard.note_starved(conn);
        }
        Ok(taken)
    }

    /// Moves queued bytes into `out` and returns how many.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn read(&mut self, conn: ConnId, out: &mut [u8]) -> Result<usize, Error> {
        self.shard.with(self.now, conn, |c, env| {
            let mut done = 0;
            while done < out.len() {
                let front = c.front(env);
                let n = front.len().min(out.len() - done);
                if n == 0 {
                    break;
                }
                out[done..done + n].copy_from_slice(&front[..n]);
                c.consume(env, u32::try_from(n).unwrap_or(u32::MAX));
                done += n;
            }
            done
        })
    }

    /// Moves queued bytes of `from` into the send buffer of `to` (the same, or another connection), as many as it has room
    /// for, and returns how many. While bytes remain, [`App::on_writable`] follows for `to`.
    ///
    /// # Errors
    /// Those of [`Io::send`] for `to`; [`Error::NotConnected`] if `from` is dead.
    pub fn forward(&mut self, from: ConnId, to: ConnId) -> Result<usize, Error> {
        let mut piece = [0; 2048];
        let mut moved = 0;
        loop {
            let n = self.shard.with(self.now, from, |c, env| {
                let front = c.front(env);
                let n = front.len().min(piece.len());
                piece[..n].copy_from_slice(&front[..n]);
                n
            })?;
            let took = if n == 0 { 0 } else { self.send(to, &piece[..n])? };
            self.shard.with(self.now, from, |c, env| c.consume(env, u32::try_from(took).unwrap_or(0)))?;
            moved += took;
            if took < n || n == 0 {
                return Ok(moved);
            }
        }
    }

    /// Bytes queued for [`Io::read`].
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn unread(&mut self, conn: ConnId) -> Result<usize, Error> {
        self.shard.with(self.now, conn, |c, _| c.unread() as usize)
    }

    /// Shuts down one direction or both and keeps the handle.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn shutdown(&mut self, conn: ConnId, half: Half) -> Result<(), Error> {
        self.shard.shutdown(self.now, conn, half)
    }

    /// Gives the connection up: closed in order, or by a reset if data was left unread.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn close(&mut self, conn: ConnId) -> Result<(), Error> {
        self.shard.close(self.now, conn)
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn abort(&mut self, conn: ConnId) -> Result<(), Error> {
        self.shard.abort(self.now, conn)
    }

    /// Switches Nagle's algorithm off.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_nodelay(&mut self, conn: ConnId, on: bool) -> Result<(), Error> {
        self.shard.with(self.now, conn, |c, _| c.set_nodelay(on))
    }

    /// What `fourwave ss` shows.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn info(&mut self, conn: ConnId) -> Result<Info, Error> {
        self.shard.with(self.now, conn, |c, _| c.info())
    }

    /// Our address and the peer's.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn addresses(&self, conn: ConnId) -> Result<(SocketAddr, SocketAddr), Error> {
        self.shard.addresses(conn)
    }

    /// Asks for the end of the loop: connections are closed in order, then it returns.
    pub fn finish(&mut self) {
        self.shard.request_finish();
    }

    /// Opens a listener; `backlog` connections may be half open at once.
    ///
    /// # Errors
    /// The address is in use or none of ours.
    pub fn listen(&mut self, local: SocketAddr, backlog: u32) -> Result<ListenerId, ListenError> {
        self.shard.listen(local, backlog)
    }
}
