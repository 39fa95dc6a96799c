//! The shard's end of all streams and listeners: the [`App`] that moves bytes between connections and rings.

use super::link::{Job, Link};
use super::listening::Listening;
use super::shared::{
    CLOSED, CONNECTED, DROPPED, GIVEN_UP, NODELAY, OPTIONS, PEER_CLOSED, RESET, SHUT_READ, SHUT_WRITE, Shared,
};
use super::stream::Parts;
use crate::{
    App, ConnId, ConnectError, ConnectionError, Duration, Half, Instant, Io, ListenError, ListenOptions, ListenerId,
};
use rtrb::{Consumer, Producer};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Streams and listeners seen to per turn: as with frames, few enough for what arrives not to wait long.
const BATCH: usize = 64;

/// How long a peer may leave the rest of a dropped stream without progress: as a connection that is closed
/// (`orphan_r2` of [`Settings`](crate::Settings)).
const ORPHAN: Duration = Duration::from_secs(100);

/// A stream's end at the shard.
#[derive(Debug)]
struct Side {
    conn: ConnId,
    shared: Arc<Shared>,
    rx: Producer<u8>,
    tx: Consumer<u8>,
    /// The peer has closed, what it sent before is not all in the ring yet.
    peer_closed: bool,
    /// What the connection was told of what the user has shut down.
    shut_read: bool,
    shut_write: bool,
    /// The user has dropped it, and the connection has its time.
    orphan: bool,
    /// It is to be reset in the next turn.
    resets: bool,
}

/// What becomes of a stream that was seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stays,
    /// The connection is given up.
    Over,
    /// It is dropped, and to be reset.
    Resets,
}

/// How long what was written before a reset waits for a neighbour to be known, or for room in the peer's window.
const AHEAD: Duration = Duration::from_secs(1);

/// One for each shard.
#[derive(Debug)]
pub(crate) struct Sockets {
    link: Arc<Link>,
    /// By the connection's index.
    sides: Vec<Option<Box<Side>>>,
    listeners: Vec<(ListenerId, Arc<Listening>)>,
    /// Connections wait because there are too many streams.
    crowded: bool,
    /// To be reset once what was written before has begun to leave, or then. Those of this turn are among them.
    resets: Vec<(ConnId, Instant)>,
    fresh: bool,
}

impl Sockets {
    pub(crate) const fn new(link: Arc<Link>) -> Self {
        Self { link, sides: Vec::new(), listeners: Vec::new(), crowded: false, resets: Vec::new(), fresh: false }
    }

    fn side(&mut self, conn: ConnId) -> Option<&mut Side> {
        self.sides.get_mut(conn.index())?.as_deref_mut().filter(|side| side.conn == conn)
    }

    fn add(&mut self, side: Side) {
        let index = side.conn.index();
        if index >= self.sides.len() {
            self.sides.resize_with(index + 1, || None);
        }
        side.shared.index.store(u32::try_from(index).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.sides[index] = Some(Box::new(side));
    }

    fn remove(&mut self, conn: ConnId) -> Option<Box<Side>> {
        self.side(conn)?;
        self.sides[conn.index()].take()
    }

    /// What users have asked for.
    fn see_to_jobs(&mut self, io: &mut Io<'_>) {
        for _ in 0..BATCH {
            match self.link.pop() {
                Some(Job::Stream(stream)) => self.see_to_stream(io, &stream),
                Some(Job::Listener(listener)) => self.see_to_listener(io, &listener),
                None => return,
            }
        }
    }

    fn see_to_stream(&mut self, io: &mut Io<'_>, shared: &Arc<Shared>) {
        shared.unqueue();
        let index = shared.index.load(Ordering::Relaxed) as usize;
        if index == u32::MAX as usize && !self.begin(io, shared) {
            return;
        }
        let index = shared.index.load(Ordering::Relaxed) as usize;
        let side = self.sides.get_mut(index).and_then(Option::as_deref_mut).filter(|s| Arc::ptr_eq(&s.shared, shared));
        let Some(side) = side else { return };
        let conn = side.conn;
        self.attend(io, conn);
    }

    fn attend(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.side(conn).map(|side| side.attend(io)) {
            Some(Then::Over) => drop(self.remove(conn)),
            Some(Then::Resets) => self.reset(io, conn),
            Some(Then::Stays) | None => {}
        }
    }

    /// Resets a stream that is dropped. What was written before goes ahead of that, as far as it may go at once: the kernel has
    /// sent it by then. Here it leaves at the end of the turn, and a reset in the same turn would overtake it.
    fn reset(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(side) = self.side(conn).filter(|side| !side.resets) else { return };
        let state = side.shared.state();
        side.send(io, state);
        side.resets = io.info(conn).is_ok_and(|info| info.send_queue_bytes > 0);
        if side.resets {
            self.resets.push((conn, io.now() + AHEAD));
            self.fresh = true;
        } else {
            let _ = io.abort(conn);
            self.remove(conn);
        }
    }

    /// Resets those of earlier turns whose time it is.
    fn reset_due(&mut self, io: &mut Io<'_>) {
        self.fresh = false;
        for (conn, until) in std::mem::take(&mut self.resets) {
            let waits = io.info(conn).is_ok_and(|info| info.send_queue_bytes > 0 && info.in_flight_bytes == 0);
            if waits && io.now() < until {
                self.resets.push((conn, until));
            } else if self.remove(conn).is_some() {
                let _ = io.abort(conn);
            }
        }
    }

    /// Begins an active open; false: nothing comes of it.
    fn begin(&mut self, io: &mut Io<'_>, shared: &Arc<Shared>) -> bool {
        let Some(opening) = shared.take_opening() else { return false };
        if shared.state() & (DROPPED | GIVEN_UP) != 0 {
            return false;
        }
        let conn = match io.connect(opening.remote) {
            Ok(conn) => conn,
            Err(error) => {
                shared.fail(connect_errno(error).raw_os_error());
                return false;
            }
        };
        if let Ok(addresses) = io.addresses(conn) {
            let _ = shared.addresses.set(addresses);
        }
        self.add(Side::new(conn, Arc::clone(shared), opening.rx, opening.tx));
        true
    }

    fn see_to_listener(&mut self, io: &mut Io<'_>, listening: &Arc<Listening>) {
        listening.unqueue(self.link.shard);
        let place = self.listeners.iter().position(|(_, other)| Arc::ptr_eq(other, listening));
        match place {
            Some(place) if listening.is_closed() => {
                let (id, _) = self.listeners.swap_remove(place);
                let _ = io.close_listener(id);
            }
            Some(place) => {
                let (id, _) = self.listeners[place];
                self.accept(io, id);
            }
            None if listening.is_closed() => {}
            None => {
                let options =
                    ListenOptions { accept_queue: u32::try_from(listening.backlog).ok(), ..ListenOptions::default() };
                match io.listen(listening.address, options) {
                    Ok(id) => {
                        self.listeners.push((id, Arc::clone(listening)));
                        listening.opened(0);
                    }
                    Err(error) => listening.opened(listen_errno(error).raw_os_error()),
                }
            }
        }
    }

    /// Accepts what there is room for.
    fn accept(&mut self, io: &mut Io<'_>, listener: ListenerId) {
        let Some(listening) = self.listeners.iter().find(|(id, _)| *id == listener).map(|(_, l)| Arc::clone(l)) else {
            return;
        };
        while listening.has_room(self.link.shard) {
            if !self.link.enter() {
                self.crowded = true;
                return;
            }
            let Some(conn) = io.accept(listener) else { return self.link.leave() };
            let ((rx_in, rx), (tx, tx_out)) = Parts::rings(self.link.ring_bytes);
            let shared = Shared::new(Arc::clone(&self.link), CONNECTED, None);
            if let Ok(addresses) = io.addresses(conn) {
                let _ = shared.addresses.set(addresses);
            }
            self.add(Side::new(conn, Arc::clone(&shared), rx_in, tx_out));
            listening.put(Parts::new(shared, rx, tx));
        }
    }

    fn close_listeners(&mut self, io: &mut Io<'_>) {
        for (id, listening) in self.listeners.drain(..) {
            let _ = io.close_listener(id);
            listening.fail(Errno::NETDOWN.raw_os_error());
        }
    }

    /// The end was asked for: what was written is given to the connections first.
    fn finish(&mut self, io: &mut Io<'_>) {
        self.close_listeners(io);
        if self.sides.iter().flatten().all(|side| side.tx.slots() == 0) {
            self.link.set_flushed();
        }
    }
}

impl Side {
    fn new(conn: ConnId, shared: Arc<Shared>, rx: Producer<u8>, tx: Consumer<u8>) -> Self {
        Self {
            conn,
            shared,
            rx,
            tx,
            peer_closed: false,
            shut_read: false,
            shut_write: false,
            orphan: false,
            resets: false,
        }
    }

    /// Does what the user asks for.
    fn attend(&mut self, io: &mut Io<'_>) -> Then {
        let state = self.shared.state();
        if self.resets {
            return Then::Stays;
        }
        if state & OPTIONS != 0 {
            self.shared.unset(OPTIONS);
            if let Some(profile) = self.shared.options.profile() {
                let _ = io.set_profile(self.conn, profile);
            }
            let _ = io.set_nodelay(self.conn, self.shared.state() & NODELAY != 0);
            if let Some(time) = self.shared.options.user_timeout() {
                let _ = io.set_user_timeout(self.conn, time);
            }
            if let Some(settings) = self.shared.options.keepalive() {
                let _ = io.set_keepalive(self.conn, settings);
            }
        }
        if state & GIVEN_UP != 0 {
            let _ = io.abort(self.conn);
            return Then::Over;
        }
        if state & DROPPED != 0 && (state & RESET != 0 || self.has_unread(io)) {
            return Then::Resets;
        }
        if state & SHUT_READ != 0 && !std::mem::replace(&mut self.shut_read, true) {
            let _ = io.shutdown(self.conn, Half::Read);
        }
        self.send(io, state);
        if state & DROPPED == 0 {
            self.receive(io);
            return Then::Stays;
        }
        let over = self.tx.slots() == 0 || state & CONNECTED == 0;
        if over {
            let _ = io.close(self.conn);
        } else if !std::mem::replace(&mut self.orphan, true) {
            // Nobody waits for the rest: a peer that only keeps its window closed is not waited for, either.
            let _ = io.set_user_timeout(self.conn, Some(ORPHAN));
        }
        if over { Then::Over } else { Then::Stays }
    }

    /// Whether there is data that the user has not read, wherever it is.
    fn has_unread(&self, io: &mut Io<'_>) -> bool {
        self.rx.slots() < self.rx.buffer().capacity() || io.unread(self.conn).is_ok_and(|n| n > 0)
    }

    /// Moves what was written into the connection.
    fn send(&mut self, io: &mut Io<'_>, state: u32) {
        if state & CONNECTED == 0 {
            return;
        }
        while let n @ 1.. = self.tx.slots() {
            let Ok(chunk) = self.tx.read_chunk(n) else { break };
            let (a, b) = chunk.as_slices();
            let Ok(mut taken) = io.send(self.conn, a) else { break };
            if taken == a.len() && !b.is_empty() {
                taken += io.send(self.conn, b).unwrap_or(0);
            }
            chunk.commit(taken);
            if taken < n {
                break;
            }
        }
        fence(Ordering::SeqCst);
        if self.shared.write.is_armed() && self.tx.slots() <= self.tx.buffer().capacity() / 2 {
            self.shared.write.signal();
        }
        // The state was read before the ring: what was written before it was shut down has gone.
        if state & SHUT_WRITE != 0 && state & DROPPED == 0 && self.tx.slots() == 0 && !self.shut_write {
            self.shut_write = true;
            let _ = io.shutdown(self.conn, Half::Write);
        }
    }

    /// Takes from bytes that have just arrived what has room.
    fn take(&mut self, data: &[u8]) -> usize {
        let taken = self.rx.push_partial_slice(data).0.len();
        if taken > 0 {
            self.shared.read.signal();
        }
        if taken < data.len() {
            self.starve();
        }
        taken
    }

    /// There is more than has room: the user says when there is. False: there is already.
    fn starve(&mut self) -> bool {
        self.shared.starved.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let room = self.rx.slots() >= self.rx.buffer().capacity() / 2;
        if room && self.shared.starved.swap(false, Ordering::SeqCst) {
            // What is left is in the connection's queue, or about to be.
            self.shared.tell_shard();
        }
        !room
    }

    /// Moves what is queued into the ring, as far as it has room.
    fn receive(&mut self, io: &mut Io<'_>) {
        let mut moved = 0;
        while let Ok(queued @ 1..) = io.unread(self.conn) {
            let rx = &mut self.rx;
            let pushed = io.read_with(self.conn, |front| {
                let taken = rx.push_partial_slice(front).0.len();
                (taken, taken)
            });
            let Ok(taken) = pushed else { break };
            moved += taken;
            // If there is room again meanwhile, nobody will say so: it goes on.
            if taken < queued && self.rx.slots() == 0 {
                self.starve();
                break;
            }
        }
        if moved > 0 {
            self.shared.read.signal();
        }
        if self.peer_closed && io.unread(self.conn).is_ok_and(|n| n == 0) {
            self.peer_closed = false;
            self.shared.end(PEER_CLOSED);
        }
    }

    /// What can still be read after a failure goes where the user finds it.
    fn keep_rest(&mut self, io: &mut Io<'_>) {
        self.receive(io);
        let Ok(n @ 1..) = io.unread(self.conn) else { return };
        let mut tail = vec![0; n];
        if let Ok(n) = io.read(self.conn, &mut tail) {
            tail.truncate(n);
            let _ = self.shared.tail.set(tail.into_boxed_slice());
        }
    }
}

impl App for Sockets {
    fn on_acceptable(&mut self, io: &mut Io<'_>, listener: ListenerId) {
        self.accept(io, listener);
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(side) = self.side(conn) else { return };
        if let Ok(addresses) = io.addresses(conn) {
            let _ = side.shared.addresses.set(addresses);
        }
        side.shared.set(CONNECTED);
        side.shared.write.signal();
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let Some(side) = self.side(conn) else { return 0 };
        let state = side.shared.state();
        // As Linux behind a close: nobody will read it, and the peer is told. The connection may not know it yet.
        if state & DROPPED != 0 {
            self.reset(io, conn);
            return data.len();
        }
        if state & (SHUT_READ | GIVEN_UP) != 0 {
            let _ = io.abort(conn);
            if let Some(side) = self.remove(conn) {
                side.shared.fail(Errno::CONNRESET.raw_os_error());
            }
            return data.len();
        }
        side.take(data)
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(side) = self.side(conn) else { return };
        if side.shared.state() & DROPPED == 0 {
            return side.receive(io);
        }
        self.reset(io, conn);
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.attend(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(side) = self.side(conn) {
            side.peer_closed = true;
            side.receive(io);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let Some(mut side) = self.remove(conn) else { return };
        side.keep_rest(io);
        // The peer's FIN may be behind data that has had no room until now.
        let closed = if side.peer_closed { PEER_CLOSED } else { 0 };
        let state = side.shared.state() | closed;
        match error {
            Some(error) => side.shared.fail_and(errno(error, state).raw_os_error(), closed),
            None => side.shared.end(PEER_CLOSED | CLOSED),
        }
    }

    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.close_listeners(io);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        self.link.awake();
        if !self.resets.is_empty() {
            self.reset_due(io);
        }
        self.see_to_jobs(io);
        if self.crowded && self.link.has_room() {
            self.crowded = false;
            let all: Vec<_> = self.listeners.iter().map(|(id, _)| *id).collect();
            for id in all {
                self.accept(io, id);
            }
        }
        if self.link.is_finishing() {
            self.finish(io);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let busy = !self.link.may_sleep() || self.fresh || (self.crowded && self.link.has_room());
        if busy { Some(Instant::ZERO) } else { self.resets.iter().map(|(_, until)| *until).min() }
    }
}

impl Drop for Sockets {
    /// The loop is gone, and with it what was open.
    fn drop(&mut self) {
        self.link.die();
        for side in self.sides.drain(..).flatten() {
            side.shared.fail(Errno::CONNABORTED.raw_os_error());
        }
        for (_, listening) in self.listeners.drain(..) {
            listening.fail(Errno::NETDOWN.raw_os_error());
        }
    }
}

/// What the kernel calls the end of a connection (`tcp_reset`, `tcp_write_err`, `tcp_v4_err`): a reset behind the peer's FIN
/// is a broken pipe.
const fn errno(error: ConnectionError, state: u32) -> Errno {
    match error {
        ConnectionError::Reset if state & PEER_CLOSED != 0 && state & SHUT_WRITE == 0 => Errno::PIPE,
        ConnectionError::Reset => Errno::CONNRESET,
        ConnectionError::Refused => Errno::CONNREFUSED,
        ConnectionError::TimedOut => Errno::TIMEDOUT,
        ConnectionError::HostUnreachable => Errno::HOSTUNREACH,
        ConnectionError::NetworkUnreachable => Errno::NETUNREACH,
        ConnectionError::Aborted => Errno::CONNABORTED,
        ConnectionError::BrokenPipe => Errno::PIPE,
        ConnectionError::NotConnected => Errno::NOTCONN,
    }
}

/// What connect(2) calls it.
const fn connect_errno(error: ConnectError) -> Errno {
    match error {
        ConnectError::NoPort | ConnectError::NotOurs | ConnectError::Tentative => Errno::ADDRNOTAVAIL,
        ConnectError::NoRoute => Errno::NETUNREACH,
        ConnectError::TooMany => Errno::NFILE,
        ConnectError::BadAddress | ConnectError::NoSockets => Errno::INVAL,
    }
}

/// What bind(2) and listen(2) call it.
const fn listen_errno(error: ListenError) -> Errno {
    match error {
        ListenError::InUse => Errno::ADDRINUSE,
        ListenError::NotOurs => Errno::ADDRNOTAVAIL,
        ListenError::TooMany => Errno::NFILE,
        ListenError::Invalid(_) | ListenError::NoSockets => Errno::INVAL,
        ListenError::Forbidden => Errno::ACCESS,
        ListenError::Closed => Errno::NOTCONN,
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectError, ListenError, connect_errno, listen_errno};
    use crate::{ConfigError, connect_error_kind, listen_error_kind};
    use rustix::io::Errno;
    use std::io::{Error, ErrorKind};

    /// What `std` makes of Linux's number; of `ENFILE` it makes what has no name.
    fn agree(kind: ErrorKind, errno: Errno) {
        if errno == Errno::NFILE {
            assert_eq!(kind, ErrorKind::Other);
        } else {
            assert_eq!(kind, Error::from_raw_os_error(errno.raw_os_error()).kind(), "{errno}");
        }
    }

    #[test]
    fn what_cannot_begin_is_called_the_same_at_every_level() {
        use ConnectError::*;
        for error in [NoPort, NoRoute, NotOurs, TooMany, BadAddress, Tentative, NoSockets] {
            agree(connect_error_kind(error), connect_errno(error));
        }
        let invalid = ListenError::Invalid(ConfigError { field: "backlog", value: 0, allowed: "more" });
        for error in [
            ListenError::InUse,
            ListenError::NotOurs,
            ListenError::TooMany,
            invalid,
            ListenError::Closed,
            ListenError::Forbidden,
            ListenError::NoSockets,
        ] {
            agree(listen_error_kind(error), listen_errno(error));
        }
    }
}
