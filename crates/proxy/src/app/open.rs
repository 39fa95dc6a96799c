//! From an accepted connection to one to a backend.

use std::net::SocketAddr;
use std::sync::Arc;

use fourwave::{ConnId, ConnectError, Duration, Io};

use super::{FIRST_SHORT, PAUSE, Proxy, Role, WORDS, is_ours};
use crate::live::{Choice, Pool, Target};
use crate::log::End;
use crate::proxy_protocol::{self, Header, Progress, Reader};
use crate::session::{Phase, Session, Side};

impl Proxy {
    pub(super) fn accept(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.shared.counters.accepted.one();
        let Ok((local, remote)) = io.addresses(conn) else {
            self.shared.counters.finished.one();
            return;
        };
        let Some(front) = self.live.front(local) else {
            let _ = io.abort(conn);
            self.refuse_unknown(remote);
            return;
        };
        front.accepted.one();
        let front = Arc::clone(front);
        self.shared.connections.set(io, conn);
        let session = Session::new(io.now(), conn, front, local, remote);
        let key = self.sessions.insert(session);
        self.roles.insert(conn, Role::Session(key.index, Side::Client));
        self.enter(io, key.index);
    }

    /// Takes a place at the listener, or waits for one.
    fn enter(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        let (front, key) = (Arc::clone(&session.front), self.sessions.key(index));
        if front.gauge.try_enter(front.config.max_connections) {
            return self.entered(io, index);
        }
        if !front.gauge.try_wait(front.config.queue) {
            return self.end(io, index, End::QueueFull);
        }
        self.shared.counters.queued.one();
        self.locals.entry(front.gauge.id).or_default().queue.push_back(key);
        // It may have become free after it was looked at, with nobody there to be told.
        self.look_again(front.gauge.id);
        self.arm(io, index);
    }

    /// There is a place at the listener.
    fn entered(&mut self, io: &mut Io<'_>, index: u32) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        session.entered = true;
        let accepts = session.front.config.accepts;
        if accepts.any() {
            session.enter(now, Phase::Header(Box::new(Reader::new(accepts))));
            self.arm(io, index);
            // What has come while it waited.
            return self.read_header(io, index);
        }
        self.choose(io, index);
    }

    /// A session that waits tries again. False: it still waits.
    pub(super) fn try_again(&mut self, io: &mut Io<'_>, index: u32) -> bool {
        self.refresh(index);
        let Some(session) = self.sessions.at(index) else { return true };
        let (front, pool) = (Arc::clone(&session.front), Arc::clone(session.pool()));
        match session.phase {
            Phase::AtListener => {
                if !front.gauge.try_enter(front.config.max_connections) {
                    return false;
                }
                front.gauge.stop_waiting();
                self.entered(io, index);
                true
            }
            Phase::AtPool => {
                let turn = &mut self.locals.entry(pool.gauge.id).or_default().turn;
                match pool.choose(&session.tried, turn, session.client_ip()) {
                    Choice::Busy => false,
                    Choice::Target(target) => {
                        pool.gauge.stop_waiting();
                        self.connect(io, index, target);
                        true
                    }
                    Choice::Nobody => {
                        pool.gauge.stop_waiting();
                        session.enter(io.now(), Phase::Connecting);
                        self.no_backend_left(io, index);
                        true
                    }
                }
            }
            _ => true,
        }
    }

    /// Who has no backend yet goes by the configuration of now, if that has its listener, and its place in a queue.
    pub(super) fn refresh(&mut self, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        let Some(now) = self.live.fronts.iter().find(|front| front.gauge.id == session.front.gauge.id) else { return };
        let moves = matches!(session.phase, Phase::AtPool) && now.pool.gauge.id != session.pool().gauge.id;
        if !Arc::ptr_eq(now, &session.front) && !moves {
            session.front = Arc::clone(now);
            (session.last_target, session.tried) = (None, Vec::new());
        }
    }

    /// Reads the header out of what is queued.
    pub(super) fn read_header(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(client) = self.sessions.at(index).and_then(|session| session.client) else { return };
        let mut piece = [0; 512];
        while let Ok(n @ 1..) = io.peek(client, &mut piece) {
            let taken = self.take_header(io, index, &piece[..n]);
            let over = self.sessions.at(index).is_none_or(|session| !matches!(session.phase, Phase::Header(_)));
            if self.roles.get(client).is_none() || io.skip(client, taken).is_err() {
                return;
            }
            if over {
                // The backend is under way; what is behind the header waits for it.
                return;
            }
        }
        let ended = self.sessions.at(index).is_some_and(|s| matches!(s.phase, Phase::Header(_)) && s.ended[0]);
        if ended {
            self.end(io, index, End::HeaderMalformed);
        }
    }

    /// Takes the bytes that belong to the header; how many.
    pub(super) fn take_header(&mut self, io: &mut Io<'_>, index: u32, data: &[u8]) -> usize {
        let Some(session) = self.sessions.at(index) else { return data.len() };
        let Phase::Header(reader) = &mut session.phase else { return 0 };
        let (taken, progress) = reader.push(data);
        match progress {
            Progress::More => taken,
            Progress::Done(header) => {
                if let Header::Proxied { source, destination } = header {
                    session.proxied = Some(Box::new((source, destination)));
                }
                self.choose(io, index);
                // It may be over already.
                if self.sessions.at(index).is_some_and(|session| session.client.is_some()) { taken } else { data.len() }
            }
            Progress::Malformed => {
                self.end(io, index, End::HeaderMalformed);
                data.len()
            }
        }
    }

    /// Chooses a backend and connects to it, or waits for one.
    pub(super) fn choose(&mut self, io: &mut Io<'_>, index: u32) {
        let key = self.sessions.key(index);
        let Some(session) = self.sessions.at(index) else { return };
        let pool = Arc::clone(session.pool());
        let turn = &mut self.locals.entry(pool.gauge.id).or_insert_with(|| super::Local {
            // Shards don't begin with the same one.
            turn: self.place.index.into(),
            ..super::Local::default()
        });
        match pool.choose(&session.tried, &mut turn.turn, session.client_ip()) {
            Choice::Target(target) => self.connect(io, index, target),
            Choice::Nobody => self.no_backend_left(io, index),
            Choice::Busy => {
                if !pool.gauge.try_wait(pool.config.queue) {
                    return self.end(io, index, End::QueueFull);
                }
                turn.queue.push_back(key);
                session.enter(io.now(), Phase::AtPool);
                self.shared.counters.queued.one();
                self.look_again(pool.gauge.id);
                self.arm(io, index);
            }
        }
    }

    /// Connects to a backend at which it has a place.
    fn connect(&mut self, io: &mut Io<'_>, index: u32, target: usize) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        session.target = Some(target);
        session.enter(now, Phase::Connecting);
        let (pool, backend) = (Arc::clone(session.pool()), Arc::clone(&session.pool().targets[target]));
        let begun = self.shared.connect(io, backend.config.via, backend.config.address);
        if let Err(error) = begun {
            self.say_no_connection(io, error, &pool, &backend);
            if is_ours(error) {
                return self.try_elsewhere(io, index, error);
            }
        }
        let Some(session) = self.sessions.at(index) else { return };
        session.last_target = Some(target);
        session.attempt = Some(now);
        session.attempts += 1;
        self.shared.counters.connects.one();
        self.shared.counters.retries.add(u64::from(session.attempts > 1));
        backend.state.connects.one();
        match begun {
            Ok(conn) => {
                (session.backend, session.short) = (Some(conn), None);
                self.roles.insert(conn, Role::Session(index, Side::Backend));
                self.arm(io, index);
            }
            Err(_) => self.on_no_connection(io, index),
        }
    }

    /// Once a minute: whatever happens to one connection happens to many.
    pub(super) fn say_no_connection(&mut self, io: &Io<'_>, error: ConnectError, pool: &Pool, backend: &Target) {
        let now = io.now();
        if self.said.is_none_or(|at| now >= at + WORDS) {
            self.said = Some(now);
            let (pool, backend) = (&pool.config.name, &backend.config);
            tracing::warn!("no connection to backend {pool}/{} ({}): {error}", backend.name, backend.address);
        }
    }

    /// We could not begin a connection to a backend, and it has no part in that. There may be a port to another one.
    fn try_elsewhere(&mut self, io: &mut Io<'_>, index: u32, error: ConnectError) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        session.short.get_or_insert(now);
        session.tried.extend(session.target.and_then(|i| u16::try_from(i).ok()));
        let more = error == ConnectError::NoPort && session.tried.len() <= session.pool().config.retries as usize;
        self.leave_backend(io, index);
        if more { self.choose(io, index) } else { self.wait_short(io, index) }
    }

    /// Waits for what is missing on our side: in the pool's queue, but by time, since nobody tells.
    fn wait_short(&mut self, io: &mut Io<'_>, index: u32) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        let pool = Arc::clone(session.pool());
        if !pool.gauge.try_wait(pool.config.queue) {
            return self.end(io, index, End::QueueFull);
        }
        // As long again as it has waited.
        let waited = session.short.map_or(Duration::ZERO, |at| now.saturating_since(at));
        self.shared.counters.queued.add(u64::from(waited == Duration::ZERO));
        session.tried.clear();
        session.enter(now, Phase::Short(waited.clamp(FIRST_SHORT, PAUSE)));
        self.arm(io, index);
    }

    /// The backend could not be connected to: another one is tried.
    pub(super) fn on_no_connection(&mut self, io: &mut Io<'_>, index: u32) {
        self.shared.counters.connects_failed.one();
        let Some(session) = self.sessions.at(index) else { return };
        if let Some(target) = session.target() {
            target.state.failed.one();
        }
        self.try_another(io, index);
    }

    /// Leaves the backend, whose connection is over or of no use, for another one.
    pub(super) fn try_another(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        if let Some(conn) = session.backend.take() {
            self.roles.remove(conn);
            let _ = io.abort(conn);
        }
        session.tried.extend(session.target.and_then(|i| u16::try_from(i).ok()));
        session.enter(io.now(), Phase::Connecting);
        (session.ended[1], session.passed_on, session.blocked) = (false, [false; 2], [false; 2]);
        self.leave_backend(io, index);
        let Some(session) = self.sessions.at(index) else { return };
        if session.attempts > session.pool().config.retries {
            return self.end(io, index, End::NoBackend);
        }
        self.choose(io, index);
    }

    /// Every backend was tried. After a moment they are tried again, if another attempt is allowed.
    fn no_backend_left(&mut self, io: &mut Io<'_>, index: u32) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        if session.attempts > session.pool().config.retries {
            return self.end(io, index, End::NoBackend);
        }
        if session.short.is_some() {
            return self.wait_short(io, index);
        }
        session.tried.clear();
        session.enter(now, Phase::Pause);
        self.arm(io, index);
    }

    pub(super) fn on_backend_connected(&mut self, io: &mut Io<'_>, index: u32) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        let Some(conn) = session.backend else { return };
        self.shared.connections.set(io, conn);
        if let Some(version) = session.pool().config.sends {
            let header = proxy_protocol::write(version, &session.header());
            if io.send(conn, &header) != Ok(header.len()) {
                // No memory: a connection without it would be another's.
                return self.on_no_connection(io, index);
            }
        }
        // What another backend was told that never said a word.
        session.again = session.kept.clone().unwrap_or_default();
        session.connected = Some(now);
        session.enter(now, Phase::Relaying);
        // What the client has sent meanwhile.
        self.pump(io, index, Side::Client);
        self.arm(io, index);
    }

    fn refuse_unknown(&self, remote: SocketAddr) {
        self.shared.counters.no_listener.one();
        self.shared.counters.finished.one();
        self.shared.log_unknown(remote);
    }
}
