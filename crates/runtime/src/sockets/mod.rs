//! Connections over the kernel's sockets, in the loop of a shard: what [`stack::Sockets`] asks for, on epoll.
//!
//! Epoll is edge-triggered: an edge is noted with the connection, which stands in a queue until nothing is to be told of it
//! any more. In one turn each is read from once, so that none starves the others. Data goes to the application in place; what
//! it leaves is queued with the connection, up to a limit, behind which the kernel's window closes.

mod empty;
mod errors;
mod listener;
mod queue;
mod socket;
mod soft;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use empty::NoPort;

use listener::{Accept, Listener};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use socket::{Closing, News, Socket};
use stack::{
    ConnId, ConnectError, ConnectionInfo, Detail, Duration, Error, Half, Info, Instant, ListenError, ListenOptions,
    ListenerId, More, Sending, SocketCounters, SocketEvent, SocketOption, Sockets, SoftError, State, Via,
};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use waiting::{WATCHED, Waiting};

/// Events of one look at epoll.
const EVENTS: usize = 256;
/// Looks at epoll in one turn, while they are full.
const LOOKS: usize = 4;
/// Connections and listeners of one turn: as with frames, few enough for those not to wait long.
const BATCH: usize = 64;
/// When there was no descriptor for a connection that waits, it is tried again so much later, or when one is closed.
const RETRY: Duration = Duration::from_millis(100);
/// The bit of a token that says listener.
const LISTENER: usize = 1 << 31;
/// Where a listing has its listeners: behind any slot there may be.
const LISTENERS: u32 = 1 << 31;

/// What the kernel's sockets of one shard are made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Other shards listen on the same ports.
    pub(crate) several: bool,
    /// Bytes that may lie unread with a connection.
    pub(crate) queue_bytes: usize,
    /// Connections.
    pub(crate) most: u32,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u16,
    listener: Option<Listener>,
}

/// What may have something to tell.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Connection(ConnId),
    Listener(ListenerId),
}

/// The kernel's sockets of one shard.
#[derive(Debug)]
pub(crate) struct KernelSockets {
    config: Config,
    poll: Poll,
    events: Events,
    slots: Vec<Slot>,
    free: Vec<u32>,
    places: Vec<Place>,
    ready: VecDeque<Ready>,
    /// How many of `ready` have their turn.
    turn: usize,
    /// When to accept again what there was no room for.
    retry: Option<Instant>,
    lingering: BTreeSet<(Instant, u32)>,
    counters: SocketCounters,
    now: Instant,
    waiting: Waiting,
}

impl KernelSockets {
    pub(crate) fn new(config: Config) -> io::Result<Self> {
        Ok(Self {
            config,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            slots: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            ready: VecDeque::new(),
            turn: 0,
            retry: None,
            lingering: BTreeSet::new(),
            counters: SocketCounters::default(),
            now: Instant::ZERO,
            waiting: Waiting::default(),
        })
    }

    fn id(&self, slot: u32) -> ConnId {
        ConnId::kernel(slot, self.slots[slot as usize].generation)
    }

    /// Whatever has this handle, dead to the application or not.
    fn any(&mut self, conn: ConnId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(conn.index()).filter(|slot| slot.generation == conn.generation());
        slot.and_then(|slot| slot.socket.as_mut())
    }

    fn living(&mut self, conn: ConnId) -> Result<&mut Socket, Error> {
        self.any(conn).filter(|socket| socket.lives()).ok_or(Error::NotConnected)
    }

    fn looked_at(&self, conn: ConnId) -> Result<&Socket, Error> {
        let slot = self.slots.get(conn.index()).filter(|slot| slot.generation == conn.generation());
        slot.and_then(|slot| slot.socket.as_ref()).filter(|socket| socket.lives()).ok_or(Error::NotConnected)
    }

    fn listener(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.places.get_mut(id.index()).filter(|p| p.generation == id.generation())?.listener.as_mut()
    }

    fn listener_ids(&self) -> impl Iterator<Item = ListenerId> {
        let open = self.places.iter().enumerate().filter(|(_, place)| place.listener.is_some());
        open.filter_map(|(at, place)| Some(ListenerId::kernel(u16::try_from(at).ok()?, place.generation)))
    }

    /// It may have something to tell: in the next turn, or in this one if it comes from epoll.
    fn mark(&mut self, conn: ConnId) {
        if let Some(socket) = self.any(conn)
            && !std::mem::replace(&mut socket.ready, true)
        {
            self.ready.push_back(Ready::Connection(conn));
        }
    }

    fn mark_if(&mut self, conn: ConnId, goes_on: impl FnOnce(&Socket) -> bool) {
        if self.any(conn).is_some_and(|socket| goes_on(socket)) {
            self.mark(conn);
        }
    }

    fn mark_listener(&mut self, id: ListenerId) {
        if let Some(listener) = self.listener(id)
            && !std::mem::replace(&mut listener.ready, true)
        {
            self.ready.push_back(Ready::Listener(id));
        }
    }

    /// A place for a socket, known to epoll.
    fn insert(&mut self, socket: Socket) -> Result<ConnId, Errno> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot::default());
                u32::try_from(self.slots.len() - 1).map_err(|_| Errno::NOMEM)?
            }
        };
        if let Err(errno) = register(self.poll.registry(), socket.fd(), slot as usize) {
            self.free.push(slot);
            return Err(errno);
        }
        self.slots[slot as usize].socket = Some(socket);
        self.counters.open += 1;
        Ok(self.id(slot))
    }

    /// The end of a handle.
    fn remove(&mut self, conn: ConnId) -> Option<Socket> {
        self.any(conn)?;
        let slot = &mut self.slots[conn.index()];
        let socket = slot.socket.take()?;
        slot.generation = conn.generation().wrapping_add(1) & !(1 << 31);
        let index = u32::try_from(conn.index()).ok()?;
        self.free.push(index);
        if let Some(until) = socket.lingers_until() {
            self.lingering.remove(&(until, index));
        }
        self.counters.open -= 1;
        if self.retry.is_some() {
            self.retry = Some(Instant::ZERO);
        }
        Some(socket)
    }

    fn finish(&mut self, conn: ConnId, closing: Closing) {
        if closing == Closing::Kept {
            return;
        }
        let Some(socket) = self.remove(conn) else { return };
        self.counters.closed += 1;
        if closing == Closing::Reset {
            self.counters.failed += 1;
            socket.reset();
        }
    }

    fn close_living(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> {
        let socket = self.living(conn)?;
        let closing = socket.close(now);
        if let Some(until) = socket.lingers_until().filter(|_| closing == Closing::Kept) {
            self.lingering.insert((until, u32::try_from(conn.index()).unwrap_or(u32::MAX)));
            // It may be acknowledged already.
            self.mark(conn);
        }
        self.finish(conn, closing);
        Ok(())
    }

    /// What epoll has seen since, or sees within a time; how many things of sockets that were.
    fn harvest(&mut self, mut timeout: Option<std::time::Duration>) -> usize {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut seen = 0;
        for _ in 0..LOOKS {
            if self.poll.poll(&mut events, timeout).is_err() {
                break;
            }
            timeout = Some(std::time::Duration::ZERO);
            let mut count = 0;
            for event in &events {
                count += 1;
                seen += usize::from(self.note(event));
            }
            if count < EVENTS {
                break;
            }
        }
        self.events = events;
        seen
    }

    /// False: it is not of a socket.
    fn note(&mut self, event: &mio::event::Event) -> bool {
        let Token(token) = event.token();
        if token == WATCHED {
            self.waiting.was_called();
            return false;
        }
        if token & LISTENER != 0 {
            let at = token & !LISTENER;
            if let (Ok(index), Some(place)) = (u16::try_from(at), self.places.get(at)) {
                self.mark_listener(ListenerId::kernel(index, place.generation));
            }
        } else if let Ok(slot) = u32::try_from(token)
            && let Some(socket) = self.slots.get_mut(token).and_then(|slot| slot.socket.as_mut())
        {
            socket.note(event);
            self.mark(self.id(slot));
        }
        true
    }

    /// One more of what waits at a listener.
    fn take(&mut self, now: Instant, id: ListenerId) -> Accept<ConnId> {
        let full = self.counters.open >= self.config.most.into();
        let Some(listener) = self.listener(id) else { return Accept::Empty };
        let taken = if full { Accept::Later } else { listener.accept() };
        let taken = match taken {
            Accept::Taken((fd, remote)) => match self.insert(Socket::new(fd, remote, false, now)) {
                Ok(conn) => Accept::Taken(conn),
                Err(_) => Accept::Later,
            },
            Accept::Empty => Accept::Empty,
            Accept::Later => Accept::Later,
        };
        match taken {
            Accept::Taken(_) => self.counters.accepted += 1,
            Accept::Later => {
                self.counters.accept_failed += 1;
                self.retry = Some(now + RETRY);
            }
            Accept::Empty => {}
        }
        taken
    }

    /// What a listener has to tell; `None`: nothing more in this turn.
    fn next_of_listener(&mut self, now: Instant, id: ListenerId) -> Option<SocketEvent> {
        let listener = self.listener(id)?;
        if listener.queues {
            return listener.tells_once().then_some(SocketEvent::Acceptable(id));
        }
        if !listener.has_turn() {
            return None;
        }
        match self.take(now, id) {
            Accept::Taken(conn) => Some(SocketEvent::Accepted(conn, id)),
            Accept::Empty | Accept::Later => None,
        }
    }

    fn next_of_connection(&mut self, now: Instant, conn: ConnId, buffer: &mut [u8]) -> Option<SocketEvent> {
        let limit = self.config.queue_bytes;
        let socket = self.any(conn)?;
        let lingered = socket.lingers_until();
        let news = socket.next(now, buffer, limit)?;
        Some(match news {
            News::Connected => SocketEvent::Connected(conn),
            News::Data(len) => SocketEvent::Data(conn, len),
            News::Readable => SocketEvent::Readable(conn),
            News::Writable => SocketEvent::Writable(conn),
            News::Urgent(octets) => SocketEvent::Urgent(conn, octets),
            News::SoftError(error) => SocketEvent::SoftError(conn, SoftError::Icmp(error)),
            News::PeerClosed => SocketEvent::PeerClosed(conn),
            News::Closed(error) => {
                if let Some(until) = lingered {
                    self.lingering.remove(&(until, u32::try_from(conn.index()).unwrap_or(u32::MAX)));
                }
                self.counters.closed += 1;
                self.counters.failed += u64::from(error.is_some());
                SocketEvent::Closed(conn, error)
            }
        })
    }

    /// The first in the queue has nothing more to tell in this turn: it goes, or waits for the next one.
    fn pass_on(&mut self) {
        let limit = self.config.queue_bytes;
        match self.ready.pop_front() {
            Some(Ready::Connection(conn)) => {
                if let Some(socket) = self.any(conn) {
                    socket.begin_turn();
                    socket.ready = socket.goes_on(limit);
                    if socket.ready {
                        self.ready.push_back(Ready::Connection(conn));
                    }
                }
            }
            Some(Ready::Listener(id)) => {
                if let Some(listener) = self.listener(id) {
                    listener.ready = listener.begin_turn();
                    if listener.ready {
                        self.ready.push_back(Ready::Listener(id));
                    }
                }
            }
            None => {}
        }
        self.turn = self.turn.saturating_sub(1);
    }

    fn begin(&mut self, local: Option<IpAddr>, remote: SocketAddr, now: Instant) -> Result<ConnId, ConnectError> {
        let refused = |errno| errors::connect(errno).unwrap_or(ConnectError::TooMany);
        let fd = open(remote).map_err(refused)?;
        if let Some(local) = local {
            // The port is chosen by connect(2), which knows the peer.
            let _ = xdp::sockets::bind_address_no_port(fd.as_fd());
            let bound = net::bind(&fd, &SocketAddr::new(local, 0));
            bound.map_err(|errno| if errors::is_scarcity(errno) { refused(errno) } else { ConnectError::NotOurs })?;
        }
        let failed = match net::connect(&fd, &remote) {
            Ok(()) | Err(Errno::INPROGRESS) => None,
            Err(errno) => match errors::connect(errno) {
                Some(error) => return Err(error),
                None => Some(errno),
            },
        };
        let mut socket = Socket::new(fd, remote, true, now);
        let doomed = failed.inspect(|errno| socket.doom(*errno)).is_some();
        let conn = self.insert(socket).map_err(refused)?;
        if doomed {
            self.mark(conn);
        }
        Ok(conn)
    }

    fn list_listeners(&self, now: Instant, from: u32, max: u32, out: &mut Vec<ConnectionInfo>) -> Option<u32> {
        let places = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let end = from.saturating_add(max).min(places);
        let some = self.places[from.min(end) as usize..end as usize].iter();
        for listener in some.filter_map(|place| place.listener.as_ref()) {
            let local = listener.address();
            let nobody = if local.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            out.push(ConnectionInfo {
                via: Via::Kernel,
                more: More::Listener(listener.waiting()),
                ..ConnectionInfo::bare(now, local, SocketAddr::new(nobody, 0), State::Listen, Duration::ZERO)
            });
        }
        (end < places).then_some(LISTENERS + end)
    }
}

/// A socket for this peer's family.
fn open(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    // What is urgent comes with everything else (RFC 6093 section 3.2).
    sockopt::set_socket_oobinline(&fd, true)?;
    // Who can't be told goes without.
    let _ = xdp::sockets::report_icmp(fd.as_fd(), address.is_ipv6());
    Ok(fd)
}

fn register(registry: &Registry, fd: &OwnedFd, token: usize) -> Result<(), Errno> {
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    let registered = registry.register(&mut SourceFd(&fd.as_raw_fd()), Token(token), all);
    registered.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))
}

/// RFC 9293 MUST-46; the kernel takes an address of nobody for its own.
fn can_be_peer(remote: SocketAddr) -> bool {
    let ip = remote.ip();
    remote.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

impl Sockets for KernelSockets {
    fn connect(&mut self, now: Instant, local: Option<IpAddr>, remote: SocketAddr) -> Result<ConnId, ConnectError> {
        if !can_be_peer(remote) {
            return Err(ConnectError::BadAddress);
        }
        if local.is_some_and(|local| local.is_ipv4() != remote.is_ipv4()) {
            return Err(ConnectError::NotOurs);
        }
        let full = self.counters.open >= self.config.most.into();
        let begun = if full { Err(ConnectError::TooMany) } else { self.begin(local, remote, now) };
        match begun {
            Ok(_) => self.counters.connected += 1,
            Err(ConnectError::TooMany) => self.counters.connect_refused += 1,
            Err(_) => {}
        }
        begun
    }

    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, ListenError> {
        let at = self.places.iter().position(|p| p.listener.is_none()).unwrap_or(self.places.len());
        let index = u16::try_from(at).map_err(|_| ListenError::TooMany)?;
        let listener = Listener::open(local, options, self.config.several).map_err(errors::listen)?;
        register(self.poll.registry(), listener.fd(), at | LISTENER).map_err(errors::listen)?;
        if at == self.places.len() {
            self.places.push(Place::default());
        }
        self.places[at].listener = Some(listener);
        Ok(ListenerId::kernel(index, self.places[at].generation))
    }

    fn accept(&mut self, now: Instant, listener: ListenerId) -> Option<ConnId> {
        if self.listener(listener)?.holds_back() {
            // Who connects faster than is accepted does not hold the loop.
            self.mark_listener(listener);
            return None;
        }
        match self.take(now, listener) {
            Accept::Taken(conn) => Some(conn),
            Accept::Empty | Accept::Later => None,
        }
    }

    fn close_listener(&mut self, listener: ListenerId) -> Result<(), ListenError> {
        self.listener(listener).ok_or(ListenError::Closed)?;
        let place = &mut self.places[listener.index()];
        place.listener = None;
        place.generation = place.generation.wrapping_add(1) & !(1 << 15);
        Ok(())
    }

    fn listener_address(&self, listener: ListenerId) -> Result<SocketAddr, ListenError> {
        let place = self.places.get(listener.index()).filter(|p| p.generation == listener.generation());
        place.and_then(|place| place.listener.as_ref()).map(Listener::address).ok_or(ListenError::Closed)
    }

    fn listener_on(&self, local: SocketAddr) -> Option<ListenerId> {
        self.listener_ids().find(|id| self.listener_address(*id) == Ok(local))
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8], how: Sending) -> Result<usize, Error> {
        let socket = self.living(conn)?;
        let taken = socket.send(bytes, how);
        if taken.as_ref().is_ok_and(|n| *n == bytes.len()) && !socket.has_soft_news() {
            return taken;
        }
        let limit = self.config.queue_bytes;
        self.mark_if(conn, |socket| socket.goes_on(limit));
        taken
    }

    fn send_vectored(&mut self, conn: ConnId, parts: &[&[u8]]) -> Result<usize, Error> {
        let taken = self.living(conn)?.send_vectored(parts);
        let limit = self.config.queue_bytes;
        self.mark_if(conn, |socket| socket.goes_on(limit));
        taken
    }

    fn front(&self, conn: ConnId) -> Result<&[u8], Error> {
        Ok(self.looked_at(conn)?.unread())
    }

    fn skip(&mut self, conn: ConnId, n: usize) -> Result<(), Error> {
        if self.living(conn)?.skip(n) {
            self.mark(conn);
        }
        Ok(())
    }

    fn urgent(&self, conn: ConnId) -> Result<Option<u32>, Error> {
        Ok(self.looked_at(conn)?.urgent())
    }

    fn soft_error(&self, conn: ConnId) -> Result<Option<SoftError>, Error> {
        Ok(self.looked_at(conn)?.soft_error().map(SoftError::Icmp))
    }

    fn shutdown(&mut self, now: Instant, conn: ConnId, half: Half) -> Result<(), Error> {
        self.living(conn)?.shutdown(now, half);
        self.mark(conn);
        Ok(())
    }

    fn close(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> {
        self.close_living(now, conn)
    }

    fn abort(&mut self, conn: ConnId) -> Result<(), Error> {
        let over = self.living(conn)?.give_up();
        self.finish(conn, if over { Closing::Kept } else { Closing::Reset });
        Ok(())
    }

    fn set(&mut self, conn: ConnId, option: SocketOption) -> Result<(), Error> {
        self.living(conn)?.set(option);
        Ok(())
    }

    fn info(&self, conn: ConnId) -> Result<Info, Error> {
        Ok(self.looked_at(conn)?.info(self.config.queue_bytes))
    }

    fn detail(&self, conn: ConnId) -> Result<Detail, Error> {
        self.looked_at(conn)?.detail()
    }

    fn addresses(&self, conn: ConnId) -> Result<(SocketAddr, SocketAddr), Error> {
        let socket = self.looked_at(conn)?;
        Ok((socket.local().ok_or(Error::NotConnected)?, socket.remote))
    }

    fn poll(&mut self, now: Instant) -> usize {
        self.now = now;
        let seen = self.look();
        while let Some(&(until, slot)) = self.lingering.first().filter(|(until, _)| *until <= now) {
            self.lingering.remove(&(until, slot));
            self.mark(self.id(slot));
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            for id in self.listener_ids().collect::<Vec<_>>() {
                if let Some(listener) = self.listener(id) {
                    listener.try_again();
                }
                self.mark_listener(id);
            }
        }
        self.turn = self.ready.len().min(BATCH);
        seen
    }

    fn next_event(&mut self, now: Instant, buffer: &mut [u8]) -> Option<SocketEvent> {
        loop {
            while self.turn > 0 {
                let event = match *self.ready.front()? {
                    Ready::Connection(conn) => self.next_of_connection(now, conn, buffer),
                    Ready::Listener(id) => self.next_of_listener(now, id),
                };
                if event.is_some() {
                    self.waiting.is_over();
                    return event;
                }
                self.pass_on();
            }
            if !self.ask_again() {
                return None;
            }
        }
    }

    fn delivered(&mut self, conn: ConnId, rest: &[u8]) {
        let closed = self.any(conn).is_some_and(|socket| socket.delivered(rest));
        if closed {
            let _ = self.close_living(self.now, conn);
        }
    }

    fn ended(&mut self, conn: ConnId) {
        self.remove(conn);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        if self.is_empty() {
            // Nobody polls then: what may be left in the queue is dead.
            return None;
        }
        if !self.ready.is_empty() {
            return Some(Instant::ZERO);
        }
        self.retry.into_iter().chain(self.lingering.first().map(|(until, _)| *until)).min()
    }

    fn connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn is_empty(&self) -> bool {
        self.counters.open == 0 && self.places.iter().all(|place| place.listener.is_none())
    }

    fn counters(&self) -> SocketCounters {
        self.counters
    }

    fn drain(&mut self, now: Instant) {
        self.close_listeners();
        for slot in 0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX) {
            let conn = self.id(slot);
            if self.any(conn).is_some_and(|socket| socket.lingers_until().is_none()) {
                let _ = self.close_living(now, conn);
            }
        }
    }

    fn lingering(&self) -> Vec<ConnId> {
        let linger = |slot: &Slot| slot.socket.as_ref().is_some_and(|socket| socket.lingers_until().is_some());
        (0..).zip(&self.slots).filter(|(_, slot)| linger(slot)).map(|(slot, _)| self.id(slot)).collect()
    }

    fn end_linger(&mut self, conn: ConnId) {
        let Some(until) = self.any(conn).and_then(Socket::end_linger) else { return };
        self.lingering.remove(&(until, u32::try_from(conn.index()).unwrap_or(u32::MAX)));
        self.counters.closed += 1;
        self.counters.failed += 1;
    }

    fn close_listeners(&mut self) {
        for id in self.listener_ids().collect::<Vec<_>>() {
            let _ = self.close_listener(id);
        }
    }

    fn abort_all(&mut self) {
        for slot in 0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX) {
            let conn = self.id(slot);
            if self.any(conn).is_some() {
                self.finish(conn, Closing::Reset);
            }
        }
    }

    fn list(&self, now: Instant, from: u32, max: u32, out: &mut Vec<ConnectionInfo>) -> Option<u32> {
        if let Some(from) = from.checked_sub(LISTENERS) {
            return self.list_listeners(now, from, max, out);
        }
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let end = from.saturating_add(max).min(slots);
        for socket in self.slots[from.min(end) as usize..end as usize].iter().filter_map(|slot| slot.socket.as_ref()) {
            let (info, Some(local)) = (socket.info(self.config.queue_bytes), socket.local()) else { continue };
            out.push(ConnectionInfo {
                via: Via::Kernel,
                send_queue_bytes: info.send_queue_bytes,
                receive_queue_bytes: info.receive_queue_bytes,
                srtt: info.srtt,
                cwnd_bytes: info.cwnd_bytes,
                retransmits: info.retransmits,
                state_age: now - info.since,
                more: socket.listing(&info).map_or(More::Nothing, |listing| More::Connection(info, listing)),
                ..ConnectionInfo::bare(now, local, socket.remote, info.state, now - info.opened)
            });
        }
        Some(if end < slots { end } else { LISTENERS })
    }

    fn descriptor(&self) -> i32 {
        self.poll.as_raw_fd()
    }

    fn watch(&mut self, descriptor: i32) -> bool {
        let registered = self.poll.registry().register(&mut SourceFd(&descriptor), Token(WATCHED), Interest::READABLE);
        registered.is_ok()
    }

    fn wait(&mut self, most: Option<Duration>) -> bool {
        self.sleep(most.map(Into::into))
    }
}
