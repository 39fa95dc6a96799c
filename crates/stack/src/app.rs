//! The application's side of a shard: it is called, and calls back through an [`Io`].

use crate::{
    handle::{ConnId, Via},
    listen::{ListenError, ListenOptions, ListenerId},
    messages::Message,
    placement::Place,
    shard::Shard,
    sockets::{Sending, SocketOption},
    timers::{TimerId, TooManyTimers},
};
use bytes::{Buf, Bytes};
use core::net::{IpAddr, SocketAddr};
use tcp::{Detail, Error, Half, Info, Keepalive, Profile, SoftError, State, recorder::What};
use wheel::{Duration, Instant};

/// An application on a shard's own thread. A callback must not block: nothing else runs meanwhile.
///
/// A callback that panics ends the whole stack, as it would a process: every connection of its shard is reset to its peer, the
/// application is dropped without being called again, the other shards end in order and without a drain time, and whoever waits
/// for the stack is told by an error that names the shard. A program built with `panic = "abort"` ends at once instead, and
/// resets nothing; on an address shared with the kernel that one does, when the peers say something next.
pub trait App {
    /// A peer has opened a connection to a listener.
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, listener: ListenerId) {
        let _ = (io, conn, listener);
    }

    /// Connections wait in the accept queue of a listener ([`ListenOptions::accept_queue`]) that was empty before. By default
    /// all of them are accepted, and told by [`App::on_accept`].
    fn on_acceptable(&mut self, io: &mut Io<'_>, listener: ListenerId) {
        while let Some(conn) = io.accept(listener) {
            self.on_accept(io, conn, listener);
        }
    }

    /// A connection of ours is open.
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// Bytes arrived in order, in place. Returns how many were taken; the rest is queued for [`Io::read`], and what arrives
    /// behind it is told by [`App::on_readable`].
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize;

    /// There are queued bytes: more behind those left unread, or what came into order when a gap was filled. By default they
    /// go through [`App::on_data`] as if they had just arrived, as far as it takes them.
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let mut piece = [0; 2048];
        while let Ok(n @ 1..) = io.peek(conn, &mut piece) {
            let taken = self.on_data(io, conn, &piece[..n]).min(n);
            if io.skip(conn, taken).is_err() || taken < n {
                return;
            }
        }
    }

    /// There is room again after [`Io::send`] took less than all. By default what was left queued meanwhile is told by
    /// [`App::on_readable`], and if that takes the last of it, [`App::on_peer_closed`] again where it applies.
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if io.unread(conn).is_ok_and(|n| n > 0) {
            self.on_readable(io, conn);
            if io.unread(conn) == Ok(0) && io.info(conn).is_ok_and(|info| info.state == State::CloseWait) {
                self.on_peer_closed(io, conn);
            }
        }
    }

    /// The peer has closed its direction; what it sent before may still be queued. By default the connection is closed, once
    /// all of that is read: closing before would reset it.
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if io.unread(conn).is_ok_and(|n| n == 0) {
            let _ = io.close(conn);
        }
    }

    /// The connection is over, in order (`None`) or by an error. An end in order is told once everything is read; after an
    /// error what is left can still be read within this call.
    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        let _ = (io, conn, error);
    }

    /// The peer marks data as urgent, or more of it: so many octets from the next one this application is given. They come
    /// through [`App::on_data`] like all others (RFC 9293 section 3.8.5). Over the kernel's sockets it is told once the last of
    /// them has arrived, and not of one that the peer sends just as all before it was read: a read may then be sooner.
    fn on_urgent(&mut self, io: &mut Io<'_>, conn: ConnId, octets: u32) {
        let _ = (io, conn, octets);
    }

    /// Something is wrong on the way to the peer; the connection goes on trying, and this may be ignored (RFC 9293 section
    /// 3.9.2.2). The same is told again only after the peer was heard. [`Io::set_soft_error_reports`] switches it off. Of
    /// connections over the kernel's sockets: what ICMP says, by the kernel's errno, in which IPv4's prohibitions and expired hop
    /// limits are unreachable hosts; not retransmissions, of which Linux does not tell, nor an error that arrives while the
    /// kernel is at a call for the same connection: it keeps that to itself.
    fn on_soft_error(&mut self, io: &mut Io<'_>, conn: ConnId, error: SoftError) {
        let _ = (io, conn, error);
    }

    /// A timer of [`Io::start_timer`] is due, with the key it was started with. It is dead already.
    fn on_timer(&mut self, io: &mut Io<'_>, timer: TimerId, key: u64) {
        let _ = (io, timer, key);
    }

    /// Somebody has sent a message: the application of another shard, or of this one ([`Io::post`]), or another thread. Those
    /// of one sender come in their order.
    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        let _ = (io, message);
    }

    /// The end of the stack was asked for, here or elsewhere; told once. Behind this call the listeners are closed: new SYNs are
    /// refused, and what still waits in an accept queue is reset. Everything else goes on until no shard has a connection left,
    /// but no longer than the drain time the stack was started with (none, by default). Then what is left is closed as by
    /// [`Io::close`], and a second later reset. An application that drains tells its peers by the means of its protocol, closes
    /// connections that are idle, and the others as they become so.
    fn on_drain(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// Once per turn of the loop, behind everything else. A loop with nothing to do sleeps: see [`App::wake_at`].
    fn on_turn(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// When [`App::on_turn`] is to be called even if nothing happens before; `None`: no need. Asked before every sleep.
    fn wake_at(&self) -> Option<Instant> {
        None
    }
}

/// Why an active open could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Every port of the range is in use towards this peer (`AddrNotAvailable`).
    NoPort,
    /// We have no address of the peer's family, or no route to it (`NetworkUnreachable`).
    NoRoute,
    /// The local address is none of ours, or not of the peer's family (`AddrNotAvailable`).
    NotOurs,
    /// The shard's connection limit is reached.
    TooMany,
    /// Nobody can be connected to there: multicast, broadcast, unspecified, loopback, our own, or port 0
    /// (`InvalidInput`; RFC 9293 MUST-46).
    BadAddress,
    /// It is not known yet whether the local address is the stack's ([`Dad`](crate::Dad)); or another station has it.
    Tentative,
    /// The stack was started without the kernel's sockets (`InvalidInput`).
    NoSockets,
}

impl core::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoPort => "every local port is in use towards this peer, or active opens are switched off",
            Self::NoRoute => "there is no route to the peer",
            Self::NotOurs => "the local address is none of the stack's, or not of the peer's family",
            Self::TooMany => "the shard's connection limit is reached",
            Self::BadAddress => "that is no address of another host",
            Self::Tentative => "the local address may be another station's: duplicate address detection is not over",
            Self::NoSockets => "the stack was started without the kernel's sockets",
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
        self.shard.connect_via(self.now, self.shard.default_via(), None, remote)
    }

    /// Begins an active open from one of our addresses (RFC 9293 MUST-43); the port is chosen.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`ConnectError::NotOurs`].
    pub fn connect_from(&mut self, local: IpAddr, remote: SocketAddr) -> Result<ConnId, ConnectError> {
        self.shard.connect_via(self.now, self.shard.default_via(), Some(local), remote)
    }

    /// Begins an active open by a way of choice, where [`connect`](Self::connect) takes the stack's default.
    ///
    /// # Errors
    /// As [`connect_from`](Self::connect_from); [`ConnectError::NoSockets`] if the stack was started without the kernel's.
    pub fn connect_via(&mut self, via: Via, local: Option<IpAddr>, remote: SocketAddr) -> Result<ConnId, ConnectError> {
        self.shard.connect_via(self.now, via, local, remote)
    }

    /// Takes bytes to send, as many as there is room for; [`App::on_writable`] follows if not all. Over the kernel's sockets the
    /// room is that of the socket's send buffer (`net.ipv4.tcp_wmem`), and there is none before the connection is open.
    ///
    /// # Errors
    /// [`Error::BrokenPipe`] once writing is shut down, [`Error::NotConnected`] for a dead handle.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.send(conn, bytes, Sending::Plain);
        }
        let taken = self.shard.with(self.now, conn, |c, env| c.send(env, bytes))??;
        self.shard.tap_wrote(conn, &bytes[..taken]);
        if taken < bytes.len() {
            self.shard.note_starved(conn);
        }
        Ok(taken)
    }

    /// As [`send`](Self::send), and says that more follows soon: a segment that is not full waits for it, until the next
    /// `send`, an acknowledgment, or for one retransmission timeout.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_more(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.send(conn, bytes, Sending::More);
        }
        let taken = self.shard.with(self.now, conn, |c, env| c.send_more(env, bytes))??;
        self.shard.tap_wrote(conn, &bytes[..taken]);
        if taken < bytes.len() {
            self.shard.note_starved(conn);
        }
        Ok(taken)
    }

    /// As one [`send`](Self::send) of all `parts`, one behind the other; returns how many octets of them were taken.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_vectored(&mut self, conn: ConnId, parts: &[&[u8]]) -> Result<usize, Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.send_vectored(conn, parts);
        }
        let taken = self.shard.with(self.now, conn, |c, env| c.send_vectored(env, parts))??;
        let mut left = taken;
        for part in parts {
            let n = part.len().min(left);
            self.shard.tap_wrote(conn, &part[..n]);
            left -= n;
            if n < part.len() {
                self.shard.note_starved(conn);
                break;
            }
        }
        Ok(taken)
    }

    /// As [`send`](Self::send), without a copy: takes from the front of `bytes` what there is room for and returns how much.
    /// That is held by reference until all of it is acknowledged or the connection is over, and copied only into frames. It
    /// counts against the send buffer of the connection, not against the shard's pool. Fewer than 1,024 octets are copied all
    /// the same: it is cheaper. The kernel's sockets copy everything.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); `bytes` is as it was.
    pub fn send_bytes(&mut self, conn: ConnId, bytes: &mut Bytes) -> Result<usize, Error> {
        if conn.is_kernel() {
            let taken = self.shard.sockets()?.send(conn, bytes, Sending::Plain)?;
            bytes.advance(taken);
            return Ok(taken);
        }
        let tapped = self.shard.tap_copy(bytes);
        let taken = self.shard.with(self.now, conn, |c, env| c.send_bytes(env, bytes))??;
        self.shard.tap_wrote(conn, &tapped[..taken.min(tapped.len())]);
        if !bytes.is_empty() {
            self.shard.note_starved(conn);
        }
        Ok(taken)
    }

    /// While on, a segment that is not full waits for more, even with Nagle's algorithm switched off, but no longer than one
    /// retransmission timeout.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_cork(&mut self, conn: ConnId, on: bool) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::Cork(on));
        }
        self.shard.with(self.now, conn, |c, _| c.set_cork(on))
    }

    /// Gives `read` the first queued octets in place, as many as lie together, and takes away as many as it returns. It is
    /// given nothing only if nothing is queued.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle: `read` is not called.
    pub fn read_with<R>(&mut self, conn: ConnId, read: impl FnOnce(&[u8]) -> (usize, R)) -> Result<R, Error> {
        if conn.is_kernel() {
            let sockets = self.shard.sockets()?;
            let (taken, result) = read(sockets.front(conn)?);
            return sockets.skip(conn, taken).map(|()| result);
        }
        let (taken, result) = self.shard.with(self.now, conn, |c, env| {
            let front = c.front(env);
            let (taken, result) = read(front);
            (taken.min(front.len()), result)
        })?;
        if taken > 0 {
            self.skip(conn, taken)?;
        }
        Ok(result)
    }

    /// Moves queued bytes into `out` and returns how many.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn read(&mut self, conn: ConnId, out: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < out.len() {
            let n = self.peek(conn, &mut out[done..])?;
            if n == 0 {
                break;
            }
            self.skip(conn, n)?;
            done += n;
        }
        Ok(done)
    }

    /// Moves queued bytes of `from` into the send buffer of `to` (the same, or another connection), as many as it has room
    /// for, and returns how many. While bytes remain, [`App::on_writable`] follows for `to`.
    ///
    /// # Errors
    /// Those of [`Io::send`] for `to`; [`Error::NotConnected`] if `from` is dead.
    pub fn forward(&mut self, from: ConnId, to: ConnId) -> Result<usize, Error> {
        if to.is_kernel() {
            return self.forward_at_once(from, to);
        }
        let mut piece = [0; 2048];
        let mut moved = 0;
        loop {
            let n = self.peek(from, &mut piece)?;
            let took = if n == 0 { 0 } else { self.send(to, &piece[..n])? };
            self.skip(from, took)?;
            moved += took;
            if took < n || n == 0 {
                return Ok(moved);
            }
        }
    }

    /// What is sent to the kernel's sockets costs a system call each time: so it is as much as can be.
    fn forward_at_once(&mut self, from: ConnId, to: ConnId) -> Result<usize, Error> {
        const MOST: usize = 64 << 10;
        let mut moved = 0;
        loop {
            let piece = self.shard.copy_queued(self.now, from, MOST)?;
            let took = if piece.is_empty() { 0 } else { self.send(to, &piece)? };
            self.skip(from, took)?;
            moved += took;
            if took < piece.len() || piece.is_empty() {
                return Ok(moved);
            }
        }
    }

    /// Copies the first queued bytes into `out`, and leaves them queued; returns how many.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn peek(&mut self, conn: ConnId, out: &mut [u8]) -> Result<usize, Error> {
        if conn.is_kernel() {
            let front = self.shard.sockets_ref()?.front(conn)?;
            let n = front.len().min(out.len());
            out[..n].copy_from_slice(&front[..n]);
            return Ok(n);
        }
        self.shard.with(self.now, conn, |c, env| {
            let front = c.front(env);
            let n = front.len().min(out.len());
            out[..n].copy_from_slice(&front[..n]);
            n
        })
    }

    /// Throws away the first `n` queued bytes, at most all.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn skip(&mut self, conn: ConnId, n: usize) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.skip(conn, n);
        }
        self.shard.tap_skip(conn, n);
        self.shard.with(self.now, conn, |c, env| c.consume(env, u32::try_from(n).unwrap_or(u32::MAX)))
    }

    /// Bytes queued for [`Io::read`].
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn unread(&mut self, conn: ConnId) -> Result<usize, Error> {
        if conn.is_kernel() {
            return Ok(self.shard.sockets_ref()?.front(conn)?.len());
        }
        self.shard.with(self.now, conn, |c, _| c.unread() as usize)
    }

    /// Shuts down one direction or both and keeps the handle.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn shutdown(&mut self, conn: ConnId, half: Half) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.shutdown(self.now, conn, half);
        }
        self.shard.shutdown(self.now, conn, half)
    }

    /// Gives the connection up: closed in order, or by a reset if data was left unread.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn close(&mut self, conn: ConnId) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.close(self.now, conn);
        }
        self.shard.close(self.now, conn)
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn abort(&mut self, conn: ConnId) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.abort(conn);
        }
        self.shard.abort(self.now, conn)
    }

    /// Switches Nagle's algorithm off.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_nodelay(&mut self, conn: ConnId, on: bool) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::Nodelay(on));
        }
        self.shard.with(self.now, conn, |c, _| c.set_nodelay(on))
    }

    /// Whether the first segments of a connection, those behind a loss and the peer's FIN are acknowledged at once
    /// (`TCP_QUICKACK`). Default: on, so that no peer waits for an acknowledgment while there is little under way. Off is for
    /// an application that asks elsewhere for its answers: acknowledgments wait a millisecond for one to go with, and a
    /// request with its response takes a segment less.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_quick_ack(&mut self, conn: ConnId, on: bool) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::QuickAck(on));
        }
        self.shard.with(self.now, conn, |c, env| c.set_quick_ack(env, on))
    }

    /// What the connection is for ([`Profile`]): sets Nagle's algorithm, quick acknowledgments and the cork, whatever was set
    /// before, and how bursts leave and acknowledgments are gathered. What is set behind it holds. Of one over the kernel's
    /// sockets it is `TCP_NODELAY`, `TCP_CORK` and `TCP_QUICKACK`, the last for the moment only.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_profile(&mut self, conn: ConnId, profile: Profile) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::Profile(profile));
        }
        self.shard.with(self.now, conn, |c, env| {
            env.pool.note(env.now, c.iss(), What::Called, 5 + profile as u8, [0; 4]);
            c.set_profile(env, profile);
        })
    }

    /// What `fourwave ss` shows.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn info(&mut self, conn: ConnId) -> Result<Info, Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.info(conn);
        }
        self.shard.with(self.now, conn, |c, _| c.info())
    }

    /// The state of loss recovery and the timers. It counts what is in flight.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn detail(&mut self, conn: ConnId) -> Result<Detail, Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.detail(conn);
        }
        self.shard.with(self.now, conn, |c, env| c.detail(env))
    }

    /// Our address and the peer's.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn addresses(&self, conn: ConnId) -> Result<(SocketAddr, SocketAddr), Error> {
        if conn.is_kernel() {
            return self.shard.sockets_ref()?.addresses(conn);
        }
        self.shard.addresses(conn)
    }

    /// Starts a timer: [`App::on_timer`] is called with it and its `key` once, when that time has passed; never earlier, and
    /// later by a tick of 1.024 µs and what the loop is busy with. The key is the application's own, and need not be unique.
    ///
    /// ```
    /// use stack::{App, ConnId, ConnMap, Duration, Io, ListenerId, TimerId};
    ///
    /// /// Resets who says nothing for ten seconds after connecting.
    /// #[derive(Default)]
    /// struct Impatient {
    ///     timers: ConnMap<TimerId>,
    /// }
    ///
    /// impl App for Impatient {
    ///     fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
    ///         if let Ok(timer) = io.start_timer(Duration::from_secs(10), conn.to_bits()) {
    ///             self.timers.insert(conn, timer);
    ///         }
    ///     }
    ///     fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
    ///         if let Some(timer) = self.timers.remove(conn) {
    ///             io.stop_timer(timer);
    ///         }
    ///         data.len()
    ///     }
    ///     fn on_timer(&mut self, io: &mut Io<'_>, _: TimerId, key: u64) {
    ///         let conn = ConnId::from_bits(key);
    ///         self.timers.remove(conn);
    ///         let _ = io.abort(conn);
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn start_timer(&mut self, after: Duration, key: u64) -> Result<TimerId, TooManyTimers> {
        self.shard.start_timer(self.now, after, key)
    }

    /// Stops a timer: it will not be told. False if it was told, or stopped, already.
    pub fn stop_timer(&mut self, timer: TimerId) -> bool {
        self.shard.stop_timer(timer)
    }

    /// Sends a message to the application of a shard, by its index: that of another one gets it within its next turns, this
    /// one's own in the next. Messages to one shard arrive in their order. Nothing that was taken is lost while that shard
    /// runs.
    ///
    /// # Errors
    /// The message, if there is no such shard, or as many wait for it as may.
    pub fn post(&mut self, shard: u16, message: Message) -> Result<(), Message> {
        self.shard.post(shard, message)
    }

    /// Which of the stack's shards this is, and how many there are.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.shard.config().place
    }

    /// Asks for the end of the stack, all its shards: [`App::on_drain`] is called, and after the drain time connections are
    /// closed in order; then the loops return. Asking again changes nothing.
    pub fn finish(&mut self) {
        self.shard.request_finish();
    }

    /// Opens a listener. A number alone is its backlog.
    ///
    /// # Errors
    /// The address is in use or none of ours, or an option is out of its range.
    pub fn listen(&mut self, local: SocketAddr, options: impl Into<ListenOptions>) -> Result<ListenerId, ListenError> {
        self.shard.listen_via(self.shard.default_via(), local, options)
    }

    /// Opens a listener by a way of choice, where [`listen`](Self::listen) takes the stack's default. Over the kernel's sockets
    /// the backlog is that of listen(2), for connections that wait to be accepted; TIME-WAIT and SYN cookies are as the kernel
    /// has them, and `[::]` does not take IPv4.
    ///
    /// # Errors
    /// As [`listen`](Self::listen); [`ListenError::NoSockets`] if the stack was started without the kernel's,
    /// [`ListenError::Forbidden`].
    pub fn listen_via(
        &mut self,
        via: Via,
        local: SocketAddr,
        options: impl Into<ListenOptions>,
    ) -> Result<ListenerId, ListenError> {
        self.shard.listen_via(via, local, options)
    }

    /// Where a listener listens. Over the kernel's sockets one that was opened on port 0 has got another.
    ///
    /// # Errors
    /// [`ListenError::Closed`].
    pub fn listener_address(&self, listener: ListenerId) -> Result<SocketAddr, ListenError> {
        self.shard.listener_address(listener)
    }

    /// The listener on this address and port, such as one that was opened before the application began: that of
    /// [`listen`](Self::listen), not of another way.
    #[must_use]
    pub fn listener_on(&self, local: SocketAddr) -> Option<ListenerId> {
        self.shard.listener_on(local)
    }

    /// The connection that has waited longest in a listener's accept queue. What it has received, and its end if it is over
    /// already, is told behind this call. `None`: nobody waits; or, over the kernel's sockets, enough were accepted in this
    /// turn, or there is no descriptor left: [`App::on_acceptable`] follows when there may be more.
    pub fn accept(&mut self, listener: ListenerId) -> Option<ConnId> {
        if listener.via() == Via::Kernel {
            return self.shard.sockets().ok()?.accept(self.now, listener);
        }
        self.shard.accept(listener)
    }

    /// Closes a listener: its port is free at once. Handshakes that are not complete are forgotten, connections that were not
    /// accepted are reset, those that were live on.
    ///
    /// # Errors
    /// [`ListenError::Closed`] if it is closed already.
    pub fn close_listener(&mut self, listener: ListenerId) -> Result<(), ListenError> {
        if listener.via() == Via::Kernel {
            return self.shard.sockets().map_err(|_| ListenError::Closed)?.close_listener(listener);
        }
        self.shard.close_listener(self.now, listener)
    }

    /// What [`Io::close`] does about what the peer has not acknowledged (`SO_LINGER`). `None`, the default: it is sent in the
    /// background, and the handle is dead at once. Zero: the connection is reset, without TIME-WAIT. Any other time: the
    /// handle lives on, and [`App::on_closed`] tells when our FIN is acknowledged (`None`), the time is over, or the loop's is
    /// ([`Error::TimedOut`]; the connection goes on without a handle, as on Linux), or the connection has failed. A second
    /// close ends the waiting. A connection that is over already is not waited for.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_linger(&mut self, conn: ConnId, time: Option<Duration>) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::Linger(time));
        }
        self.shard.with(self.now, conn, |c, _| c.set_linger(time))
    }

    /// How long what is sent may stay unacknowledged, the peer's window closed, or keep-alives unanswered, before the
    /// connection ends with [`Error::TimedOut`] (`TCP_USER_TIMEOUT`; RFC 9293 MUST-21). `None`, the default: as configured
    /// for all. [`Duration::MAX`]: for ever.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_user_timeout(&mut self, conn: ConnId, time: Option<Duration>) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::UserTimeout(time));
        }
        self.shard.with(self.now, conn, |c, _| c.set_user_timeout(time))
    }

    /// What is wrong on the way to the peer, as far as is known; `None` once the peer is heard again.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn soft_error(&mut self, conn: ConnId) -> Result<Option<SoftError>, Error> {
        if conn.is_kernel() {
            return self.shard.sockets_ref()?.soft_error(conn);
        }
        self.shard.with(self.now, conn, |c, _| c.soft_error())
    }

    /// Whether [`App::on_soft_error`] is called for this connection; it is by default (RFC 9293 SHLD-20).
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_soft_error_reports(&mut self, conn: ConnId, on: bool) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::SoftErrorReports(on));
        }
        self.shard.with(self.now, conn, |c, _| c.set_soft_error_reports(on))
    }

    /// Switches keep-alives on, or off as they are by default: when nothing was received for a while the peer is asked
    /// whether it is still there, and the connection ends with [`Error::TimedOut`] when it does not answer.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_keepalive(&mut self, conn: ConnId, settings: Option<Keepalive>) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::Keepalive(settings));
        }
        self.shard.with(self.now, conn, |c, env| c.set_keepalive(env, settings))
    }

    /// As [`Io::send`], and the peer is told that this is urgent (`MSG_OOB`; RFC 6093 advises new applications against it).
    ///
    /// # Errors
    /// Those of [`Io::send`].
    pub fn send_urgent(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.send(conn, bytes, Sending::Urgent);
        }
        let taken = self.shard.with(self.now, conn, |c, env| c.send_urgent(env, bytes))??;
        self.shard.tap_wrote(conn, &bytes[..taken]);
        if taken < bytes.len() {
            self.shard.note_starved(conn);
        }
        Ok(taken)
    }

    /// Octets up to the end of what the peer marked as urgent, from the next one to read; within [`App::on_data`] from behind
    /// what that was given. `None`: nothing ahead is urgent.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn urgent(&mut self, conn: ConnId) -> Result<Option<u32>, Error> {
        if conn.is_kernel() {
            return self.shard.sockets_ref()?.urgent(conn);
        }
        self.shard.with(self.now, conn, |c, _| c.urgent_unread())
    }

    /// The DSCP of the connection's packets from now on, 0 to 63: before the first turn after [`Io::connect`] of the SYN too.
    /// It may change at any time (RFC 9293 MUST-48, SHLD-21), though that reorders. The ECN bits are TCP's own.
    ///
    /// # Errors
    /// [`Error::NotConnected`] for a dead handle.
    pub fn set_traffic_class(&mut self, conn: ConnId, dscp: u8) -> Result<(), Error> {
        if conn.is_kernel() {
            return self.shard.sockets()?.set(conn, SocketOption::TrafficClass(dscp));
        }
        self.shard.set_dscp(conn, dscp)
    }
}
