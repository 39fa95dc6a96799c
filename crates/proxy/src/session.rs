//! One client's connection and what has become of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fourwave::{ConnId, Duration, Instant, TimerId};

use crate::live::{Front, Pool, Target};
use crate::log::End;
use crate::proxy_protocol::{Header, Reader};

/// A direction: whose bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the client to the backend.
    Client = 0,
    /// From the backend to the client.
    Backend = 1,
}

/// Where a connection is on its way to a backend.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its listener has as many as it may.
    AtListener,
    /// The PROXY protocol's header is read.
    Header(Box<Reader>),
    /// Every backend has as many as it may.
    AtPool,
    /// Every backend was tried; a moment later they are tried again.
    Pause,
    /// What is missing for a connection is ours, as a port; so long after this began it is looked for again.
    Short(Duration),
    /// A backend has not answered yet.
    Connecting,
    /// Bytes go both ways.
    Relaying,
    /// One side has ended by an error. What it had said goes to the other, which is reset behind that: this is to be said of it then,
    /// and so long after the last look it is looked at next.
    Ending(End, Duration),
}

/// Names a session, and no other after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// As the key of a timer.
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn of_bits(bits: u64) -> Self {
        let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
        Self { index: low(bits), generation: low(bits >> 32) }
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) phase: Phase,
    /// `None` once it is over.
    pub(crate) client: Option<ConnId>,
    /// `None` while there is none, and once it is over.
    pub(crate) backend: Option<ConnId>,
    /// By [`Side`]: its end of file has come.
    pub(crate) ended: [bool; 2],
    /// By [`Side`]: that was passed on to the other.
    pub(crate) passed_on: [bool; 2],
    /// By [`Side`]: some of its bytes are queued, since the other has no room.
    pub(crate) blocked: [bool; 2],
    /// By [`Side`]: what was taken by the other.
    pub(crate) bytes: [u64; 2],
    /// What went to the backend, to be sent to another if this one never says a word. `None`: it has, or it was too much.
    pub(crate) kept: Option<Vec<u8>>,
    /// What is to be said to this backend again, before anything else.
    pub(crate) again: Vec<u8>,
    /// In [`Phase::Ending`]: what the side that has ended had said, and the other has no room for yet.
    pub(crate) rest: Vec<u8>,
    /// When bytes went last.
    pub(crate) active: Instant,
    pub(crate) front: Arc<Front>,
    /// Which of the pool's it is at, and counts as a connection of.
    pub(crate) target: Option<usize>,
    /// As [`Session::target`], for the log: also once it is over.
    pub(crate) last_target: Option<usize>,
    /// Backends that were tried in this round.
    pub(crate) tried: Vec<u16>,
    pub(crate) attempts: u32,
    /// Since when what a connection takes has been missing on our side, if it still is.
    pub(crate) short: Option<Instant>,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// What a PROXY protocol header has named instead: the client, and what it has connected to.
    pub(crate) proxied: Option<Box<(SocketAddr, SocketAddr)>>,
    pub(crate) accepted: Instant,
    /// When the phase began.
    pub(crate) since: Instant,
    pub(crate) attempt: Option<Instant>,
    pub(crate) connected: Option<Instant>,
    pub(crate) timer: Option<(TimerId, Instant)>,
    /// What both had to send and acknowledge when the timer last looked.
    pub(crate) queued_bytes: u64,
    /// It counts as one of its listener's.
    pub(crate) entered: bool,
}

impl Session {
    pub(crate) fn new(now: Instant, client: ConnId, front: Arc<Front>, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            phase: Phase::AtListener,
            client: Some(client),
            backend: None,
            ended: [false; 2],
            passed_on: [false; 2],
            blocked: [false; 2],
            bytes: [0; 2],
            kept: Some(Vec::new()),
            again: Vec::new(),
            rest: Vec::new(),
            active: now,
            front,
            target: None,
            last_target: None,
            tried: Vec::new(),
            attempts: 0,
            short: None,
            local,
            remote,
            proxied: None,
            accepted: now,
            since: now,
            attempt: None,
            connected: None,
            timer: None,
            queued_bytes: 0,
            entered: false,
        }
    }

    pub(crate) fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.since = now;
        self.active = now;
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.front.pool
    }

    pub(crate) fn target(&self) -> Option<&Arc<Target>> {
        self.target.map(|i| &self.front.pool.targets[i])
    }

    /// The backend may have heard nothing, or nothing that can't be told to another one, and the client has heard nothing of it,
    /// not even its end.
    pub(crate) const fn is_untold(&self) -> bool {
        self.bytes[1] == 0 && !self.passed_on[1] && (self.bytes[0] == 0 || self.kept.is_some())
    }

    /// The backend has ended, with an answer due that another one can give.
    pub(crate) const fn went_silently(&self) -> bool {
        self.bytes[0] > 0 && self.is_untold()
    }

    /// The backend has ended as soon as it was there, before it was asked anything: it was about to go when it accepted. Who
    /// does so time and again means it, and the last one's end is passed on; so is one that comes later, a server's own timeout.
    pub(crate) fn went_at_once(&self, now: Instant) -> bool {
        let config = &self.pool().config;
        let young = self.connected.is_some_and(|at| now < at + config.connect_timeout);
        young && !self.ended[0] && self.bytes == [0, 0] && self.attempts <= config.retries
    }

    /// Bytes have gone from a side to the other.
    #[inline]
    pub(crate) fn passed(&mut self, now: Instant, side: Side, bytes: &[u8]) {
        self.bytes[side as usize] += bytes.len() as u64;
        self.active = now;
        if self.kept.is_some() {
            self.keep(side, bytes);
        }
    }

    fn keep(&mut self, side: Side, bytes: &[u8]) {
        let most = self.front.pool.config.replay_bytes as usize;
        self.kept = self.kept.take().filter(|kept| side == Side::Client && kept.len() + bytes.len() <= most);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
    }

    /// Who sends, and who receives.
    pub(crate) fn ends(&self, side: Side) -> (Option<ConnId>, Option<ConnId>) {
        match side {
            Side::Client => (self.client, self.backend),
            Side::Backend => (self.backend, self.client),
        }
    }

    /// The client's address that balancing goes by.
    pub(crate) fn client_ip(&self) -> IpAddr {
        self.proxied.as_ref().map_or(self.remote, |addresses| addresses.0).ip()
    }

    /// What a backend is told in a header.
    pub(crate) fn header(&self) -> Header {
        let (source, destination) = self.proxied.as_deref().copied().unwrap_or((self.remote, self.local));
        Header::Proxied { source, destination }
    }

    /// One direction has ended.
    pub(crate) const fn is_half_closed(&self) -> bool {
        self.ended[0] || self.ended[1]
    }

    /// When it has taken too long; `pause` is for [`Phase::Pause`].
    pub(crate) fn deadline(&self, pause: Duration) -> Option<Instant> {
        let (front, pool) = (&self.front.config, &self.front.pool.config);
        let within = match self.phase {
            Phase::AtListener => front.queue_timeout,
            Phase::Header(_) => front.header_timeout,
            Phase::AtPool => pool.queue_timeout,
            Phase::Pause => pause,
            Phase::Short(wait) => return Some((self.since + wait).min(self.short? + pool.queue_timeout)),
            Phase::Connecting => pool.connect_timeout,
            Phase::Relaying => {
                let half = pool.half_closed_timeout.filter(|_| self.is_half_closed());
                let most = [pool.idle_timeout, half].into_iter().flatten().min()?;
                return Some(self.active + most);
            }
            Phase::Ending(_, next) => next,
        };
        Some(self.since + within)
    }
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    session: Option<Box<Session>>,
}

/// The sessions of a shard. Memory of those that are over is used again.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Sessions {
    pub(crate) fn insert(&mut self, session: Session) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.places[index as usize];
        place.session = Some(Box::new(session));
        Key { index, generation: place.generation }
    }

    /// By number alone: for who holds the number of a living one.
    #[inline]
    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Session> {
        self.places.get_mut(index as usize)?.session.as_deref_mut()
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Session> {
        let place = self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?;
        place.session.as_deref_mut()
    }

    pub(crate) fn key(&self, index: u32) -> Key {
        Key { index, generation: self.places.get(index as usize).map_or(0, |place| place.generation) }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Box<Session>> {
        let place = self.places.get_mut(index as usize)?;
        let session = place.session.take()?;
        // The upper half of a timer's key; its highest bit is for others.
        place.generation = (place.generation + 1) & (u32::MAX >> 1);
        self.free.push(index);
        Some(session)
    }

    pub(crate) fn indices(&self) -> Vec<u32> {
        let living = self.places.iter().zip(0u32..).filter(|(place, _)| place.session.is_some());
        living.map(|(_, index)| index).collect()
    }

    pub(crate) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
