//! The proxy on a shard: what happens to connections, and what is done about it.
//!
//! A client's connection is a [`Session`]. It passes its listener's limit, its PROXY protocol header is read if it has one, a
//! backend is chosen and connected to, and then bytes go both ways: directly out of the segment they came in, and what the
//! other side has no room for stays in the receive buffer of the connection they came over, so that its window closes.

mod checks;
mod open;
mod over;
mod relay;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fourwave::{
    App, ConnId, ConnMap, ConnectError, ConnectionError, Duration, Instant, Io, ListenerId, Message, Place, TimerId,
};

use self::checks::Checks;
use crate::control::Shared;
use crate::live::{Gauge, Live};
use crate::log::End;
use crate::session::{Key, Phase, Session, Sessions, Side};

/// Between two rounds in which every backend was tried.
const PAUSE: Duration = Duration::from_millis(500);
/// Until a port, or what else was missing on our side, is looked for again at first; each time twice as long, up to [`PAUSE`].
const FIRST_SHORT: Duration = Duration::from_millis(5);
/// Between two words about connections that could not be begun.
const WORDS: Duration = Duration::from_secs(60);
/// Until it is looked at first whether one side has taken what the other had said ahead of its reset, and at the most between two
/// looks: each time twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const MOST_LOOK: Duration = Duration::from_millis(250);
/// How long it may take none of that, where no time is set for half of a connection.
const TAKES: Duration = Duration::from_secs(60);
/// The bit of a timer's key that says it is a health check's.
const CHECK: u64 = 1 << 63;

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A session's, by its number.
    Session(u32, Side),
    /// A health check's, by its number.
    Check(u32),
}

/// What is one shard's own about a listener or a pool, by the number of its gauge.
#[derive(Debug, Default)]
struct Local {
    /// Choices so far.
    turn: usize,
    /// Who waits, the longest first; some may be over already.
    queue: VecDeque<Key>,
}

/// What shards tell each other, and what [`Control`](crate::Control) tells them.
#[derive(Debug)]
pub(crate) enum Told {
    /// There is another configuration now.
    Reload(Arc<Live>),
    /// There may be room for who waits at this gauge; so many shards have nobody who does.
    Room(u32, u16),
}

/// The proxy on one shard. Made by [`Control::app`](crate::Control::app).
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    live: Arc<Live>,
    place: Place,
    sessions: Sessions,
    roles: ConnMap<Role>,
    locals: HashMap<u32, Local>,
    /// Gauges at which a place may have become free since the last turn, and how many shards have nobody who waits there.
    freed: Vec<(u32, u16)>,
    checks: Checks,
    began: bool,
    draining: bool,
    now: Instant,
    /// When it was said last that a connection could not be begun.
    said: Option<Instant>,
}

impl Proxy {
    pub(crate) fn new(shared: Arc<Shared>, place: Place) -> Self {
        let live = shared.live();
        Self {
            shared,
            live,
            place,
            sessions: Sessions::default(),
            roles: ConnMap::new(),
            locals: HashMap::new(),
            freed: Vec::new(),
            checks: Checks::default(),
            began: false,
            draining: false,
            now: Instant::ZERO,
            said: None,
        }
    }

    /// Connections of clients that are not over.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Sees to it that a timer is told no later than the session's deadline. One that is told too early is started again, so
    /// that bytes that go do not touch it.
    fn arm(&mut self, io: &mut Io<'_>, index: u32) {
        let key = self.sessions.key(index);
        let Some(session) = self.sessions.at(index) else { return };
        let Some(deadline) = session.deadline(PAUSE) else { return };
        if let Some((timer, at)) = session.timer {
            if at <= deadline {
                return;
            }
            io.stop_timer(timer);
        }
        let after = deadline.saturating_since(io.now());
        session.timer = io.start_timer(after, key.bits()).ok().map(|timer| (timer, deadline));
    }

    fn on_session_timer(&mut self, io: &mut Io<'_>, key: Key) {
        let now = io.now();
        let Some(session) = self.sessions.get(key) else { return };
        session.timer = None;
        if matches!(session.phase, Phase::Relaying) {
            // What a peer takes out of our send buffer is life as well; what is in there for the first time may yet go.
            let queued = [session.client, session.backend].into_iter().flatten().filter_map(|conn| io.info(conn).ok());
            let queued = queued.map(|info| u64::from(info.send_queue_bytes)).sum();
            if std::mem::replace(&mut session.queued_bytes, queued) != queued {
                session.active = now;
            }
        }
        let index = key.index;
        if session.deadline(PAUSE).is_none_or(|deadline| deadline > now) {
            return self.arm(io, index);
        }
        match session.phase {
            Phase::AtListener | Phase::AtPool => self.end(io, index, End::QueueTimeout),
            Phase::Header(_) => self.end(io, index, End::HeaderTimeout),
            Phase::Pause => {
                self.refresh(index);
                self.choose(io, index);
            }
            Phase::Short(_) if session.short.is_some_and(|at| now >= at + session.pool().config.queue_timeout) => {
                self.end(io, index, End::QueueTimeout);
            }
            Phase::Short(_) => {
                session.pool().gauge.stop_waiting();
                session.enter(now, Phase::Connecting);
                self.refresh(index);
                self.choose(io, index);
            }
            Phase::Connecting => {
                self.shared.counters.connects_timed_out.one();
                self.on_no_connection(io, index);
            }
            Phase::Ending(end, looked) => self.look_at_end(io, index, end, looked),
            Phase::Relaying if session.is_half_closed() => self.end(io, index, End::HalfClosedTimeout),
            Phase::Relaying => self.end(io, index, End::IdleTimeout),
        }
    }

    /// Lets those go on that wait where there is room now.
    fn serve_freed(&mut self, io: &mut Io<'_>) {
        while let Some((id, asked)) = self.freed.pop() {
            if !self.serve(io, id) && asked + 1 < self.place.count {
                let next = (self.place.index + 1) % self.place.count;
                let _ = io.post(next, Box::new(Told::Room(id, asked + 1)));
            }
        }
    }

    /// Lets those of ours go on that wait at a gauge, as far as there is room. False: there is nobody.
    fn serve(&mut self, io: &mut Io<'_>, id: u32) -> bool {
        let mut served = false;
        loop {
            let Some(key) = self.locals.get_mut(&id).and_then(|local| local.queue.pop_front()) else { return served };
            let waits = |session: &mut Session| match session.phase {
                Phase::AtListener => session.front.gauge.id == id,
                Phase::AtPool => session.pool().gauge.id == id,
                _ => false,
            };
            if self.sessions.get(key).is_some_and(waits) {
                served = true;
                if !self.try_again(io, key.index) {
                    // It is still its turn.
                    if let Some(local) = self.locals.get_mut(&id) {
                        local.queue.push_front(key);
                    }
                    return true;
                }
            }
        }
    }

    /// A place at a gauge is free: for one that waits, on each shard in its turn.
    fn on_room(&mut self, io: &mut Io<'_>, gauge: &Gauge) {
        let shard = gauge.next_shard(self.place.count);
        if shard == self.place.index || io.post(shard, Box::new(Told::Room(gauge.id, 0))).is_err() {
            self.freed.push((gauge.id, 0));
        }
    }

    /// Perhaps there is room at a gauge for more than one.
    fn tell_all(&mut self, io: &mut Io<'_>, id: u32) {
        let nobody_else = self.place.count;
        for shard in 0..self.place.count {
            let _ = io.post(shard, Box::new(Told::Room(id, nobody_else)));
        }
    }

    /// Looks again in this turn whether there is room.
    fn look_again(&mut self, id: u32) {
        self.freed.push((id, self.place.count));
    }

    fn reload(&mut self, io: &mut Io<'_>, live: Arc<Live>) {
        let before = std::mem::replace(&mut self.live, live);
        let address = |front: &Arc<crate::live::Front>| front.config.address;
        // Not one on all addresses that would take its connections.
        let listener = |io: &Io<'_>, at| io.listener_on(at).filter(|id| io.listener_address(*id) == Ok(at));
        for front in &before.fronts {
            if !self.live.fronts.iter().any(|new| address(new) == address(front))
                && let Some(listener) = listener(io, address(front))
            {
                let _ = io.close_listener(listener);
            }
        }
        for front in &self.live.fronts {
            // Where one could not be opened before it may be possible now.
            if self.draining || listener(io, address(front)).is_some() {
                continue;
            }
            if let Err(error) = io.listen(address(front), self.shared.connections.listen.clone()) {
                tracing::error!(listener = front.config.name, "cannot listen on {}: {error}", address(front));
            }
        }
        self.restart_checks(io);
        // Limits may be higher, backends more.
        let waiting = self.locals.iter().filter(|(_, local)| !local.queue.is_empty());
        self.freed.extend(waiting.map(|(id, _)| (*id, self.place.count)));
        let live = &self.live;
        let known = |id: u32| {
            live.fronts.iter().any(|front| front.gauge.id == id) || live.pools.iter().any(|pool| pool.gauge.id == id)
        };
        self.locals.retain(|id, local| known(*id) || !local.queue.is_empty());
    }
}

/// What was missing is ours: it says nothing of who was to be connected to.
const fn is_ours(error: ConnectError) -> bool {
    matches!(error, ConnectError::NoPort | ConnectError::TooMany | ConnectError::Tentative)
}

impl App for Proxy {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accept(io, conn);
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.roles.get(conn) {
            Some(Role::Session(index, _)) => self.on_backend_connected(io, *index),
            Some(Role::Check(index)) => self.on_check_connected(io, *index),
            None => {}
        }
    }

    #[inline]
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        match self.roles.get(conn) {
            Some(Role::Session(index, side)) => self.relay(io, *index, *side, data),
            Some(Role::Check(index)) => self.on_check_data(io, *index, data),
            None => data.len(),
        }
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.roles.get(conn) {
            Some(Role::Session(index, side)) => self.on_session_readable(io, *index, *side),
            Some(Role::Check(index)) => {
                let index = *index;
                let mut piece = [0; 256];
                while let Ok(n @ 1..) = io.read(conn, &mut piece) {
                    self.on_check_data(io, index, &piece[..n]);
                }
            }
            None => {}
        }
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(Role::Session(index, side)) = self.roles.get(conn).copied() {
            let from = if side == Side::Client { Side::Backend } else { Side::Client };
            self.pump(io, index, from);
            self.push_rest(io, index);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.roles.get(conn).copied() {
            Some(Role::Session(index, side)) => self.on_end_of_file(io, index, side),
            Some(Role::Check(index)) => self.on_check_over(io, index),
            None => {
                let _ = io.close(conn);
            }
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        match self.roles.remove(conn) {
            Some(Role::Session(index, side)) => self.on_side_closed(io, index, side, error),
            Some(Role::Check(index)) => self.on_check_over(io, index),
            None => {}
        }
    }

    fn on_timer(&mut self, io: &mut Io<'_>, _: TimerId, key: u64) {
        if key & CHECK == 0 {
            self.on_session_timer(io, Key::of_bits(key));
        } else {
            self.on_check_timer(io, key & !CHECK);
        }
    }

    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        match message.downcast().map(|told| *told) {
            Ok(Told::Reload(live)) => self.reload(io, live),
            Ok(Told::Room(id, asked)) => self.freed.push((id, asked)),
            Err(_) => {}
        }
    }

    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.draining = true;
        // What checks nobody needs any more would count as a connection that is waited for.
        self.stop_checks(io);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        self.now = io.now();
        if !self.began {
            self.began = true;
            self.restart_checks(io);
        }
        if !self.freed.is_empty() {
            self.serve_freed(io);
        }
    }
}

impl Drop for Proxy {
    /// What the stack has closed at the end of its drain is told of here.
    fn drop(&mut self) {
        for index in self.sessions.indices() {
            self.forget(self.now, index, End::Drained);
        }
    }
}
