//! Connections that are there, and now and then say something.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::anyhow;
use fourwave::{App, ConnId, ConnMap, ConnectError, ConnectionError, Duration, Half, Instant, Io, Place, Running};
use hdrhistogram::Histogram;

use super::idle_report::{Count, Counts, Report, Resident, Watch};
use super::{Idle, part};
use crate::args::Stack;
use crate::load::pace::Evenly;
use crate::load::protocol::{Protocol, Step};
use crate::load::{CloseBy, Config, Pace, tell};
use crate::measure::{self, Run};
use crate::stop::Stop;
use crate::{ping, stack};

/// Connections of a shard that are being opened, or closed, at once: what a SYN queue and a ring take without a loss.
const WINDOW: usize = 256;
/// Messages of a shard that are sent in one turn.
const MESSAGES: usize = 1024;
/// How often a shard looks whether the others have their connections.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) fn run(config: &Config, idle: &Idle, stop: &Stop) -> anyhow::Result<()> {
    let page = measure::create("--report", config.files.report.as_deref())?;
    let mut measurement = Run::begin(super::COMMAND);
    let builder = super::builder(config)?.drain_time(stack::duration(config.ramp_down + config.timeout));
    let shared = Arc::new(Shared::default());
    let watch = Watch::start(config.live, config.connections, Arc::clone(&shared.counts))?;
    let make = |place: Place| {
        shared.busy.store(place.count.into(), Ordering::Relaxed);
        Load::new(config, idle, place, Arc::clone(&shared))
    };
    let (mut times, mut failure) = (Times::new(), None);
    let ready = |running: &Running<Load>| tracing::info!("{}", stack::place(running));
    let (loads, counts) = stack::run_and_count(builder, make, stop, ready)?;
    measurement.stack_ended(config.at.stack == Stack::Kernel, &counts);
    for load in loads {
        times.add(&load.times);
        failure = failure.or(load.failure);
    }
    watch.finish();
    if let Some(error) = failure.take_if(|_| shared.counts.get(Count::Established) == 0) {
        return Err(error);
    }
    let mut report = Report::of(config, idle, &shared.counts, &times, &measurement);
    report.warn(&measurement);
    let told = tell(config, super::COMMAND, page, &report);
    failure.map_or(Ok(()), Err).and(told)
}

/// What the shards know of each other.
#[derive(Debug, Default)]
struct Shared {
    counts: Arc<Counts>,
    /// Connections that are open, or won't be.
    settled: AtomicUsize,
    /// Shards that are not done.
    busy: AtomicUsize,
}

/// What one shard measures, and all together.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) connect_latency: Histogram<u64>,
    /// Of messages.
    pub(super) latency: Histogram<u64>,
    /// The first SYN, and the last connection that was made.
    pub(super) began: Option<Instant>,
    pub(super) established: Option<Instant>,
    /// From when all were there, to the end.
    pub(super) holds: Option<Instant>,
    pub(super) ended: Option<Instant>,
    /// Memory of this process before the first connection, and at the end of the time.
    pub(super) resident_before: u64,
    pub(super) resident: u64,
}

impl Times {
    fn new() -> Self {
        Self {
            connect_latency: measure::histogram(),
            latency: measure::histogram(),
            began: None,
            established: None,
            holds: None,
            ended: None,
            resident_before: 0,
            resident: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        // Of equal bounds.
        let _ = self.connect_latency.add(&other.connect_latency);
        let _ = self.latency.add(&other.latency);
        self.began = [self.began, other.began].into_iter().flatten().min();
        self.established = self.established.max(other.established);
        self.holds = [self.holds, other.holds].into_iter().flatten().min();
        self.ended = self.ended.max(other.ended);
        self.resident_before = self.resident_before.max(other.resident_before);
        self.resident = self.resident.max(other.resident);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    /// A message is not answered.
    Asked,
    /// Our FIN is sent.
    Ending,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    phase: Phase,
    /// When the SYN went, or the message.
    since: Instant,
    /// Bytes of the message that there was no room for.
    unsent: u32,
    reader: super::Reader,
}

#[derive(Debug)]
struct Load {
    config: Config,
    idle: Idle,
    /// One shard asks for all.
    resident: Option<Resident>,
    timeout: Duration,
    think: Option<Duration>,
    times: Times,
    links: ConnMap<Link>,
    /// Of all connections of this shard: how many there are to be, and how many may be begun by now.
    connections: usize,
    ramp: Option<Evenly>,
    missing: usize,
    /// Begun, and neither open nor failed; until when each of them may be.
    connecting: VecDeque<(Instant, ConnId)>,
    opening: usize,
    /// When each connection is to say something next.
    due: VecDeque<(Instant, ConnId)>,
    ending: Option<Ending>,
    /// Of the addresses to connect from, the next one.
    source: usize,
    reached: bool,
    done: bool,
    shared: Arc<Shared>,
    failure: Option<anyhow::Error>,
}

/// Connections that are closed in order, some at a time.
#[derive(Debug)]
struct Ending {
    left: Vec<ConnId>,
    evenly: Evenly,
    /// Of those that are left, so many may be closed by now.
    may: usize,
    under_way: usize,
    /// When the last of them ended.
    moved: Instant,
}

impl Load {
    fn new(config: &Config, idle: &Idle, place: Place, shared: Arc<Shared>) -> Self {
        let connections = part(config.connections as u64, place.index, place.count);
        Self {
            resident: (place.index == 0).then(Resident::new),
            timeout: stack::duration(config.timeout),
            think: match config.pace {
                Pace::Closed { think } => think.map(Duration::from),
                Pace::Open { .. } => None,
            },
            times: Times::new(),
            links: ConnMap::new(),
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            ramp: None,
            missing: 0,
            connecting: VecDeque::new(),
            opening: 0,
            due: VecDeque::new(),
            ending: None,
            source: 0,
            reached: false,
            done: false,
            shared,
            failure: None,
            config: config.clone(),
            idle: idle.clone(),
        }
    }

    fn count(&self, what: Count) {
        self.shared.counts.add(what, 1);
    }

    fn open(&mut self, io: &mut Io<'_>) {
        while self.missing > 0 && self.opening < WINDOW {
            match super::connect(&self.config, &mut self.source, io) {
                Ok(conn) => {
                    let link = Link { phase: Phase::Connecting, since: io.now(), unsent: 0, reader: <_>::default() };
                    self.links.insert(conn, link);
                    self.connecting.push_back((io.now() + self.timeout, conn));
                    (self.opening, self.missing) = (self.opening + 1, self.missing - 1);
                }
                // None will come free: those that are there stay.
                Err(ConnectError::NoPort | ConnectError::TooMany) if self.reached => {
                    self.missing -= 1;
                    self.not_opened(Count::NoPort);
                }
                Err(error) => return self.fail(io, anyhow!("cannot connect to {}: {error}", self.config.target)),
            }
        }
    }

    fn not_opened(&mut self, why: Count) {
        self.count(why);
        self.shared.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives up on what has been opening for too long.
    fn give_up(&mut self, io: &mut Io<'_>) {
        while let Some((_, conn)) = self.connecting.front().copied().filter(|(until, _)| io.now() >= *until) {
            self.connecting.pop_front();
            if self.links.get(conn).is_some_and(|link| link.phase == Phase::Connecting) {
                self.links.remove(conn);
                let _ = io.abort(conn);
                self.opening -= 1;
                self.not_opened(Count::NoAnswer);
                if !self.reached {
                    let (target, seconds) = (self.config.target, self.config.timeout.as_secs_f64());
                    self.fail(io, anyhow!("{target} did not answer within {seconds} s: check that it is up"));
                }
            }
        }
    }

    /// Says something over those whose time it is.
    fn speak(&mut self, io: &mut Io<'_>) {
        let Some(think) = self.think else { return };
        for _ in 0..MESSAGES {
            let Some((due, conn)) = self.due.front().copied().filter(|(due, _)| io.now() >= *due) else { return };
            self.due.pop_front();
            let Some(link) = self.links.get_mut(conn) else { continue };
            match link.phase {
                Phase::Open => {
                    let all = u32::try_from(self.idle.exchange.bytes(()).len()).unwrap_or(u32::MAX);
                    (link.phase, link.since, link.unsent) = (Phase::Asked, io.now(), all);
                    self.count(Count::Requests);
                    self.push(io, conn);
                }
                Phase::Asked if io.now() >= link.since + self.timeout => {
                    self.lost(io, conn, Count::Unanswered);
                    let _ = io.abort(conn);
                    continue;
                }
                _ => {}
            }
            // Behind a stall what was missed is not made up for.
            let next = if due + think > io.now() { due } else { io.now() };
            self.due.push_back((next + think, conn));
        }
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn).filter(|link| link.unsent > 0) else { return };
        let all = self.idle.exchange.bytes(());
        let rest = &all[all.len() - (link.unsent as usize).min(all.len())..];
        // Its end is told as well, with the reason.
        let sent = io.send(conn, rest).unwrap_or(0);
        link.unsent -= u32::try_from(sent).unwrap_or(u32::MAX).min(link.unsent);
        self.shared.counts.add(Count::BytesSent, sent as u64);
    }

    fn take(&mut self, io: &Io<'_>, conn: ConnId, data: &[u8]) {
        self.shared.counts.add(Count::BytesReceived, data.len() as u64);
        // What was not asked for is heard and forgotten.
        let Some(link) = self.links.get_mut(conn).filter(|link| link.phase == Phase::Asked) else { return };
        if let (_, Step::Whole(answer)) = self.idle.exchange.read(&mut link.reader, (), data) {
            link.phase = Phase::Open;
            self.times.latency.saturating_record(io.now().saturating_since(link.since).as_nanos());
            self.count(Count::Responses);
            if !answer.expected {
                self.count(Count::Unexpected);
            }
        }
    }

    /// A connection has not lasted.
    fn lost(&mut self, io: &Io<'_>, conn: ConnId, why: Count) {
        self.links.remove(conn);
        self.count(why);
        tracing::debug!(connection = conn.index(), ?why, now = ?io.now(), "lost");
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.done = true;
        io.finish();
    }

    /// The time is over: all are closed.
    fn end(&mut self, io: &mut Io<'_>) {
        if self.ending.is_some() || self.done {
            return;
        }
        self.times.ended = Some(io.now());
        self.times.resident = self.resident.as_mut().map_or(0, Resident::bytes);
        (self.missing, self.ramp) = (0, Some(Evenly::new(0, std::time::Duration::ZERO, io.now())));
        let left: Vec<_> = self.links.iter().map(|(conn, _)| conn).collect();
        let evenly = Evenly::new(left.len(), self.config.ramp_down, io.now());
        self.ending = Some(Ending { left, evenly, may: 0, under_way: 0, moved: io.now() });
        self.close(io);
    }

    /// Goes on closing; behind the last one it is over.
    fn close(&mut self, io: &mut Io<'_>) {
        let Some(ending) = &mut self.ending else { return };
        ending.may += ending.evenly.due(io.now());
        while ending.under_way < WINDOW && ending.may > 0 {
            let Some(conn) = ending.left.pop() else { break };
            ending.may -= 1;
            let Some(link) = self.links.get_mut(conn) else { continue };
            if link.phase == Phase::Connecting || self.config.close == Some(CloseBy::Reset) {
                self.links.remove(conn);
                let _ = io.abort(conn);
            } else {
                link.phase = Phase::Ending;
                ending.under_way += 1;
                let _ = io.shutdown(conn, Half::Write);
            }
        }
        if ending.under_way == 0 {
            ending.moved = io.now();
        }
        let stuck = io.now() >= ending.moved + self.timeout;
        if (ending.left.is_empty() && ending.under_way == 0 || stuck) && !self.done {
            self.done = true;
            if self.shared.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
                io.finish();
            }
        }
    }

    /// The server has closed too.
    fn ended(&mut self, io: &mut Io<'_>, conn: ConnId, why: Count) {
        self.links.remove(conn);
        self.count(why);
        if let Some(ending) = &mut self.ending {
            (ending.under_way, ending.moved) = (ending.under_way.saturating_sub(1), io.now());
        }
        if !self.done {
            self.close(io);
        }
    }

    /// Why the server could not be reached at all, and what to do about it.
    fn sentence(&self, error: ConnectionError) -> anyhow::Error {
        let target = self.config.target;
        match fourwave::io_error_kind(error) {
            ErrorKind::ConnectionRefused => anyhow!(
                "{target} refused the connection: start a server there, such as `fourwave serve echo --listen {target}`"
            ),
            kind => ping::sentence(target, &kind.into()),
        }
    }

    /// All connections of all shards are there, or won't be.
    fn holds(&mut self, now: Instant) -> Option<Instant> {
        if self.times.holds.is_none() && self.shared.settled.load(Ordering::Relaxed) >= self.config.connections {
            self.times.holds = Some(now);
        }
        self.times.holds
    }
}

impl App for Load {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn) else { return };
        link.phase = Phase::Open;
        stack::set_asking(io, conn, &self.config.at.tcp);
        let _ = io.set_keepalive(conn, Some(self.idle.keepalive));
        self.times.connect_latency.saturating_record(io.now().saturating_since(link.since).as_nanos());
        self.times.established = Some(io.now());
        (self.opening, self.reached) = (self.opening - 1, true);
        if let Some(think) = self.think {
            self.due.push_back((io.now() + think, conn));
        }
        self.count(Count::Established);
        self.shared.settled.fetch_add(1, Ordering::Relaxed);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.take(io, conn, data);
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get(conn) else {
            let _ = io.close(conn);
            return;
        };
        // Behind our FIN it is to; that its own is there is told when both are.
        if link.phase != Phase::Ending {
            self.lost(io, conn, Count::Closed);
            let _ = io.close(conn);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let Some(link) = self.links.get(conn) else { return };
        match (link.phase, error) {
            (Phase::Ending, None) => self.ended(io, conn, Count::InOrder),
            (Phase::Ending, Some(_)) => self.ended(io, conn, Count::NotInOrder),
            (Phase::Connecting, error) => {
                self.links.remove(conn);
                self.opening -= 1;
                self.not_opened(match error {
                    Some(ConnectionError::Refused | ConnectionError::Reset) => Count::Refused,
                    Some(ConnectionError::TimedOut) => Count::NoAnswer,
                    _ => Count::Unreachable,
                });
                if let Some(error) = error.filter(|_| !self.reached) {
                    self.fail(io, self.sentence(error));
                }
            }
            (_, None) => self.lost(io, conn, Count::Closed),
            (_, Some(ConnectionError::Reset)) => self.lost(io, conn, Count::Reset),
            (_, Some(ConnectionError::TimedOut)) => self.lost(io, conn, Count::TimedOut),
            (_, Some(_)) => self.lost(io, conn, Count::Broken),
        }
    }

    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.end(io);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.done {
            return;
        }
        if self.ending.is_some() {
            return self.close(io);
        }
        let now = io.now();
        if self.times.began.is_none() {
            self.times.began = Some(now);
            self.times.resident_before = self.resident.as_mut().map_or(0, Resident::bytes);
        }
        let (connections, over) = (self.connections, self.config.ramp_up);
        self.missing += self.ramp.get_or_insert_with(|| Evenly::new(connections, over, now)).due(now);
        self.open(io);
        self.give_up(io);
        self.speak(io);
        let duration = self.config.duration.map(Duration::from);
        if self.holds(now).zip(duration).is_some_and(|(holds, duration)| now >= holds + duration) {
            self.end(io);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        if let Some(ending) = &self.ending {
            let closes = if ending.may > 0 { None } else { ending.evenly.next() };
            return [Some(ending.moved + self.timeout), closes].into_iter().flatten().min();
        }
        let Some(began) = self.times.began else { return Some(Instant::ZERO) };
        let ramp = self.ramp.and_then(|ramp| ramp.next());
        let connecting = self.connecting.front().map(|(until, _)| *until);
        let due = self.due.front().map(|(due, _)| *due);
        let holds = match self.times.holds {
            Some(holds) => self.config.duration.map(|duration| holds + duration.into()),
            // Other shards are not asked before ours are there.
            None => (self.opening == 0 && self.missing == 0).then(|| self.times.established.unwrap_or(began) + LOOK),
        };
        [ramp, connecting, due, holds].into_iter().flatten().min()
    }
}
