//! Everything there is: the clock, the shard, sockets, and what has been sent.

use crate::{
    clock::Clock,
    epoll::Epoll,
    errno::{Errno, Result},
    frames,
    heard::{Event, Heard},
    profile::{PEER_MAC, Profile},
    qdisc::Qdisc,
    socket::{Key, Role, Socket},
    waits::Waits,
};
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, c_int};
use stack::{ConnId, Frames, Instant, Io, Shard};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

/// What a file descriptor of ours names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    Socket(Key),
    Epoll,
}

#[derive(Debug)]
pub(crate) struct World {
    profile: Profile,
    pub(crate) clock: Clock,
    pub(crate) waits: Waits,
    shard: Option<Shard>,
    heard: Heard,
    pub(crate) fds: HashMap<c_int, Handle>,
    pub(crate) sockets: BTreeMap<Key, Socket>,
    next_key: Key,
    pub(crate) by_conn: HashMap<ConnId, Key>,
    pub(crate) epolls: BTreeMap<c_int, Epoll>,
    /// Datagrams sent, with their times.
    sent: VecDeque<(Instant, Vec<u8>)>,
    frame: Vec<u8>,
    qdisc: Qdisc,
    /// Nothing can leave.
    closed: bool,
}

/// What leaves, by the time it does.
struct Wire<'a> {
    now: Instant,
    frame: &'a mut [u8],
    sent: &'a mut VecDeque<(Instant, Vec<u8>)>,
}

impl Frames for Wire<'_> {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        Some(self.frame)
    }

    fn push(&mut self, len: usize, _: Option<(u16, u16)>) {
        if let Some(datagram) = frames::unwrap(&self.frame[..len]) {
            self.sent.push_back((self.now, datagram.to_vec()));
        }
    }
}

impl World {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            profile,
            clock: Clock::default(),
            waits: Waits::default(),
            shard: None,
            heard: Heard::default(),
            fds: HashMap::new(),
            sockets: BTreeMap::new(),
            next_key: 0,
            by_conn: HashMap::new(),
            epolls: BTreeMap::new(),
            sent: VecDeque::new(),
            frame: Vec::new(),
            qdisc: Qdisc::new(),
            closed: false,
        }
    }

    /// The shard begins with the first socket: by then the script's init command has made its settings.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.shard.is_some() {
            return Ok(());
        }
        let refuse = |problem: String| {
            eprintln!("fourwave: no stack can be had with these --so_flags and sysctls: {problem}");
            Errno(libc::EINVAL)
        };
        let config = self.profile.shard_config().map_err(refuse)?;
        let shard = Shard::new(config, self.clock.now()).map_err(|error| refuse(error.to_string()))?;
        self.frame = vec![0; shard.frame_bytes()];
        self.shard = Some(shard);
        Ok(())
    }

    /// Calls the shard as its application.
    pub(crate) fn io<R>(&mut self, call: impl FnOnce(&mut Io<'_>) -> R) -> Result<R> {
        let now = self.clock.now();
        self.shard.as_mut().map(|shard| shard.call(now, call)).ok_or(Errno(libc::EBADF))
    }

    /// Calls the shard about a connection: an error of the shard's is one of the call.
    pub(crate) fn on_conn<R>(
        &mut self,
        call: impl FnOnce(&mut Io<'_>) -> std::result::Result<R, stack::Error>,
    ) -> Result<R> {
        Ok(self.io(call)??)
    }

    pub(crate) fn settings<R>(&self, look: impl FnOnce(&stack::Settings) -> R) -> Option<R> {
        self.shard.as_ref().map(|shard| look(&shard.config().tcp))
    }

    // Sockets.

    pub(crate) fn add(&mut self, socket: Socket) -> Key {
        self.next_key += 1;
        if let Some(conn) = socket.conn() {
            self.by_conn.insert(conn, self.next_key);
        }
        self.sockets.insert(self.next_key, socket);
        self.next_key
    }

    pub(crate) fn set_role(&mut self, key: Key, role: Role) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        if let Some(old) = socket.conn() {
            self.by_conn.remove(&old);
        }
        socket.role = role;
        if let Some(conn) = socket.conn() {
            self.by_conn.insert(conn, key);
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Socket> {
        let socket = self.sockets.remove(&key)?;
        if let Some(conn) = socket.conn() {
            self.by_conn.remove(&conn);
        }
        for epoll in self.epolls.values_mut() {
            epoll.forget(key);
        }
        Some(socket)
    }

    /// The socket behind a file descriptor.
    pub(crate) fn key(&self, fd: c_int) -> Result<Key> {
        match self.fds.get(&fd) {
            Some(Handle::Socket(key)) => Ok(*key),
            Some(Handle::Epoll) => Err(Errno(libc::ENOTSOCK)),
            None => Err(Errno(libc::EBADF)),
        }
    }

    pub(crate) fn socket(&mut self, key: Key) -> Result<&mut Socket> {
        self.sockets.get_mut(&key).ok_or(Errno(libc::EBADF))
    }

    /// Whether an address may be bound: one of ours, or all of a family.
    pub(crate) fn check_ours(&self, address: SocketAddr) -> Result<()> {
        let ours = |shard: &Shard| shard.config().addresses.iter().any(|a| a.ip == address.ip());
        let known = address.ip().is_unspecified() || self.shard.as_ref().is_some_and(ours);
        if known { Ok(()) } else { Err(Errno(libc::EADDRNOTAVAIL)) }
    }

    // Time and frames.

    /// A datagram arrives.
    pub(crate) fn deliver(&mut self, datagram: &[u8]) {
        let now = self.clock.now();
        if let Some(shard) = &mut self.shard {
            shard.on_frame(now, &frames::wrap(datagram), &mut self.heard);
        }
        self.pump();
    }

    /// A command of the script may have stopped the device.
    pub(crate) fn look_at_device(&mut self) {
        self.closed = self.qdisc.is_closed();
    }

    /// The next datagram we have sent, and when.
    pub(crate) fn take_sent(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.sent.pop_front()
    }

    /// Goes on to the next moment at which something happens, `limit` at most; false if nothing does until then.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        let now = self.clock.now();
        let wakeup = self.shard.as_ref().and_then(Shard::next_wakeup);
        let Some(next) = [wakeup, self.waits.next_deadline(now)].into_iter().flatten().min() else { return false };
        if next > limit {
            return false;
        }
        self.clock.jump(next);
        self.pump();
        true
    }

    /// Everything that can happen now happens: timers that are due, frames that can leave, what the shard has to tell.
    pub(crate) fn pump(&mut self) {
        let now = self.clock.now();
        let Some(mut shard) = self.shard.take() else { return };
        loop {
            shard.advance(now, &mut self.heard);
            if !self.closed {
                shard.transmit(now, &mut Wire { now, frame: &mut self.frame, sent: &mut self.sent });
            }
            // Everybody on this link has one address, and need not be asked for it.
            while let Some(ip) = shard.poll_resolve() {
                shard.on_neighbour(ip, Some(PEER_MAC));
            }
            if (self.closed || !shard.has_output()) && shard.next_wakeup().is_none_or(|at| at > now) {
                break;
            }
        }
        self.shard = Some(shard);
        while let Some(event) = self.heard.0.pop_front() {
            self.hear(event);
        }
    }

    fn hear(&mut self, event: Event) {
        let conn = match event {
            Event::Acceptable(listener) => return self.on_acceptable(listener),
            Event::Connected(conn)
            | Event::Readable(conn)
            | Event::Writable(conn)
            | Event::PeerClosed(conn)
            | Event::Closed(conn, ..) => conn,
        };
        let Some(key) = self.by_conn.get(&conn).copied() else { return };
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        match event {
            Event::Acceptable(_) => {}
            Event::Connected(conn) => {
                self.set_role(key, Role::Open(conn));
                self.edge(key, EPOLLIN | EPOLLOUT);
            }
            Event::Readable(_) => self.edge(key, EPOLLIN),
            Event::Writable(_) => self.edge(key, EPOLLOUT),
            Event::PeerClosed(_) => {
                (socket.eof, socket.done) = (true, true);
                self.edge(key, EPOLLIN | EPOLLRDHUP);
            }
            Event::Closed(_, error, rest) => {
                // tcp_reset of Linux: in CLOSE-WAIT it only ends our writing.
                let reset_behind_fin = socket.done && !socket.shut_write && error == Some(stack::Error::Reset);
                socket.eof = true;
                socket.shut_write = true;
                socket.error = if reset_behind_fin { Some(Errno(libc::EPIPE)) } else { error.map(Errno::from) };
                socket.rest = rest.into();
                self.set_role(key, Role::Over);
                self.edge(key, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
            }
        }
    }

    fn on_acceptable(&mut self, of: stack::ListenerId) {
        let found = |socket: &Socket| matches!(socket.role, Role::Listening { listener, .. } if listener == of);
        if let Some(key) = self.sockets.iter().find_map(|(key, socket)| found(socket).then_some(*key)) {
            self.edge(key, EPOLLIN);
        }
    }

    /// Takes a connection off a listener's queue and makes a socket of it, without a file descriptor yet.
    pub(crate) fn take_waiting(&mut self, key: Key) -> Option<Key> {
        let Some(Socket { role: Role::Listening { listener, .. }, family, options, .. }) = self.sockets.get(&key)
        else {
            return None;
        };
        let (listener, family, options) = (*listener, *family, options.clone());
        let conn = self.io(|io| io.accept(listener)).ok().flatten()?;
        let child = self.add(Socket { options, ..Socket::new(family, Role::Open(conn)) });
        self.apply_options(child);
        Some(child)
    }

    /// Something has happened to a socket: edge-triggered waits hear of it.
    pub(crate) fn edge(&mut self, key: Key, events: c_int) {
        for epoll in self.epolls.values_mut() {
            epoll.edge(key, events);
        }
    }
}
