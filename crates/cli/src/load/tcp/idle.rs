//! Connections that are there, and now and then say something.

mod closing;
mod course;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, anyhow, bail};
use fourwave::{App, ConnId, ConnMap, ConnectError, ConnectionError, Duration, Half, Instant, Io, Place, Running};
use hdrhistogram::Histogram;

use closing::Ending;

use super::churn::{self, Churned, Churning};
use super::counts::{Count, Counts};
use super::idle_report::Report;
use super::probe::{self, Probe};
use super::timeline::{Looked, Probed, Resident, Watch};
use super::window::Window;
use super::{Idle, part};
use crate::args::Stack;
use crate::load::pace::Evenly;
use crate::load::protocol::{Protocol, Step};
use crate::load::{Config, Pace, tell};
use crate::measure::{self, Run};
use crate::stop::Stop;
use crate::{ping, stack};

/// Connections of a shard that are being opened, or closed, at once: what a SYN queue and a ring take without a loss.
const WINDOW: usize = 256;
/// Messages of a shard that are under way at once: more are not lost, but wait their turn.
const MESSAGES: usize = 1024;
/// How often a shard looks whether the others have their connections.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) fn run(config: &Config, idle: &Idle, stop: &Stop) -> anyhow::Result<()> {
    let page = measure::create("--report", config.files.report.as_deref())?;
    let mut measurement = Run::begin(super::COMMAND);
    let builder = super::builder(config)?.drain_time(stack::duration(config.ramp_down + config.timeout));
    let shared = Arc::new(Shared::default());
    let looked = Looked {
        connections: config.connections,
        counts: Arc::clone(&shared.counts),
        churn: Arc::clone(&shared.churn),
        probed: idle.probe.map(|_| Arc::clone(&shared.probed)),
        server: idle.server_pid,
    };
    let mut watch = None;
    let make = |place: Place| {
        shared.busy.store(place.count.into(), Ordering::Relaxed);
        Load::new(config, idle, place, Arc::clone(&shared))
    };
    let (mut times, mut failure) = (Times::new(), None);
    let ready = |running: &Running<Load>| {
        tracing::info!("{}", stack::place(running));
        watch = Some(Watch::start(config.live, looked));
    };
    let (loads, counts) = stack::run_and_count(builder, make, stop, ready)?;
    measurement.stack_ended(config.at.stack == Stack::Kernel, &counts);
    let mut probed = None;
    for load in loads {
        times.add(&load.times);
        probed = probed.or(load.probe.map(|probe| probe.tally));
        failure = failure.or(load.failure);
    }
    let timeline = watch.context("the stack ended before it began")??.finish()?;
    if let Some(error) = failure.take_if(|_| shared.counts.get(Count::Established) == 0) {
        return Err(error);
    }
    let measured =
        Measured { counts: &shared.counts, churn: &shared.churn, times: &times, timeline: &timeline, probed };
    let mut report = Report::of(config, idle, &measured, &measurement);
    report.warn(&measurement);
    let told = tell(config, super::COMMAND, page, &report);
    let good = if stop.requested() { Ok(()) } else { verdict(config, &shared.counts) };
    failure.map_or(Ok(()), Err).and(told).and(good)
}

/// An error if there was nothing at the end that had been there.
fn verdict(config: &Config, counts: &Counts) -> anyhow::Result<()> {
    let (opened, lost) = (counts.get(Count::Established), counts.lost());
    if opened > 0 && lost >= opened {
        bail!("none of the {opened} connections to {} lasted: see the counters above", config.target);
    }
    Ok(())
}

/// What a run has come to.
pub(super) struct Measured<'a> {
    pub(super) counts: &'a Counts,
    pub(super) churn: &'a Counts,
    pub(super) times: &'a Times,
    pub(super) timeline: &'a super::timeline::Timeline,
    pub(super) probed: Option<probe::Tally>,
}

/// What the shards know of each other.
#[derive(Debug, Default)]
struct Shared {
    counts: Arc<Counts>,
    /// Of short connections.
    churn: Arc<Counts>,
    probed: Arc<Probed>,
    /// Connections that are open, or won't be.
    settled: AtomicUsize,
    /// Short ones that are gone.
    churned: AtomicU64,
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
    /// The server's alike.
    pub(super) server_before: u64,
    pub(super) server: u64,
    pub(super) churned: Churned,
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
            server_before: 0,
            server: 0,
            churned: Churned::new(),
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
        self.server_before = self.server_before.max(other.server_before);
        self.server = self.server.max(other.server);
        self.churned.add(&other.churned);
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
    /// It asks once and is closed.
    short: bool,
    /// It counts in the window.
    fresh: bool,
    /// Its message counts in the window of those.
    asking: bool,
    /// It has answered since there was nothing but holding to do.
    answers: bool,
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
    place: Place,
    /// One shard asks for all: of this process, and of the server's.
    resident: Option<Memory>,
    probe: Option<Probe>,
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
    window: Window,
    messages: Window,
    churning: Option<Churning>,
    /// When each connection is to say something next.
    due: VecDeque<(Instant, ConnId)>,
    ending: Option<Ending>,
    /// Of the addresses to connect from, the next one.
    source: usize,
    reached: bool,
    /// From when on nothing but holding them is left to do, and the last turn.
    quiet: Option<Instant>,
    turned: Instant,
    done: bool,
    shared: Arc<Shared>,
    failure: Option<anyhow::Error>,
}

/// Memory in RAM: of this process, and of the server's.
#[derive(Debug)]
struct Memory {
    here: Resident,
    there: Option<Resident>,
}

impl Memory {
    fn now(&mut self) -> [u64; 2] {
        [self.here.bytes(), self.there.as_mut().map_or(0, Resident::bytes)]
    }
}

impl Load {
    fn new(config: &Config, idle: &Idle, place: Place, shared: Arc<Shared>) -> Self {
        let connections = part(config.connections as u64, place.index, place.count);
        let (first, probed) = (place.index == 0, Arc::clone(&shared.probed));
        Self {
            resident: first.then(|| Memory { here: Resident::here(), there: idle.server_pid.map(Resident::of) }),
            probe: idle.probe.filter(|_| first).map(|every| Probe::new(config, every, &idle.exchange, probed)),
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
            window: Window::new(WINDOW),
            messages: Window::new(MESSAGES),
            churning: None,
            due: VecDeque::new(),
            ending: None,
            source: 0,
            reached: false,
            quiet: None,
            turned: Instant::ZERO,
            done: false,
            place,
            shared,
            failure: None,
            config: config.clone(),
            idle: idle.clone(),
        }
    }

    /// Of those that stay, or of short ones.
    fn counts(&self, short: bool) -> &Counts {
        if short { &self.shared.churn } else { &self.shared.counts }
    }

    fn open(&mut self, io: &mut Io<'_>) {
        while self.missing > 0 && self.window.has_room() {
            match super::connect(&self.config, &mut self.source, io) {
                Ok(conn) => {
                    self.begun(io.now(), conn, false);
                    self.connecting.push_back((io.now() + self.timeout, conn));
                    (self.opening, self.missing) = (self.opening + 1, self.missing - 1);
                }
                // None will come free: those that are there stay.
                Err(ConnectError::NoPort | ConnectError::TooMany) if self.reached => {
                    self.missing -= 1;
                    self.shared.counts.add(Count::NoPort, 1);
                    self.shared.settled.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return self.fail(io, anyhow!("cannot connect to {}: {error}", self.config.target)),
            }
        }
    }

    fn begun(&mut self, now: Instant, conn: ConnId, short: bool) {
        let link = Link {
            phase: Phase::Connecting,
            short,
            fresh: true,
            asking: false,
            answers: false,
            since: now,
            unsent: 0,
            reader: <_>::default(),
        };
        self.links.insert(conn, link);
        self.window.begin(now, conn);
    }

    /// Lets short connections come and go, once all others are there.
    fn churn(&mut self, io: &mut Io<'_>) {
        let Some(churn) = self.idle.churn.filter(|_| self.times.holds.is_some() && self.quiet.is_none()) else {
            return;
        };
        let (now, mut late) = (io.now(), Vec::new());
        let churning = self.churning.get_or_insert_with(|| {
            let own = part(churn.connections, self.place.index, self.place.count);
            self.times.churned.began = Some(now);
            let memory = self.resident.as_mut().map_or([0; 2], Memory::now);
            (self.times.churned.resident[0], self.times.churned.server_resident[0]) = memory.into();
            self.window = Window::new(churn::WINDOW);
            Churning::new(churn, own, now)
        });
        while let Some(conn) = churning.expired(now, |conn| self.links.get(conn).is_some()) {
            let why = match self.links.get(conn).map(|link| link.phase) {
                Some(Phase::Connecting) => Count::NoAnswer,
                Some(Phase::Ending) => Count::NotInOrder,
                _ => Count::Unanswered,
            };
            late.push((conn, why));
        }
        for (conn, why) in late {
            let _ = io.abort(conn);
            self.gone(now, conn, why);
        }
        while self.window.has_room() && self.churning.as_mut().is_some_and(|churning| churning.wants(now)) {
            match super::connect(&self.config, &mut self.source, io) {
                Ok(conn) => {
                    self.begun(now, conn, true);
                    self.churning.iter_mut().for_each(|churning| churning.begin(now, conn, self.timeout));
                }
                Err(_) if self.churning.as_mut().is_some_and(|churning| churning.held_up(now, self.timeout)) => {
                    self.shared.churn.add(Count::NoPort, 1);
                    self.shared.churned.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => return,
            }
        }
    }

    /// Gives up on what has been opening for too long.
    fn give_up(&mut self, io: &mut Io<'_>) {
        while let Some((_, conn)) = self.connecting.front().copied().filter(|(until, _)| io.now() >= *until) {
            self.connecting.pop_front();
            if self.links.get(conn).is_some_and(|link| link.phase == Phase::Connecting) {
                self.gone(io.now(), conn, Count::NoAnswer);
                let _ = io.abort(conn);
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
        while self.messages.has_room() {
            let Some((due, conn)) = self.due.front().copied().filter(|(due, _)| io.now() >= *due) else { return };
            self.due.pop_front();
            let Some(link) = self.links.get_mut(conn) else { continue };
            match link.phase {
                Phase::Open => self.ask(io, conn),
                Phase::Asked if io.now() >= link.since + self.timeout => {
                    self.gone(io.now(), conn, Count::Unanswered);
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

    fn ask(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn) else { return };
        let all = u32::try_from(self.idle.exchange.bytes(()).len()).unwrap_or(u32::MAX);
        (link.phase, link.unsent) = (Phase::Asked, all);
        // The time of a short one is from its SYN on.
        let short = link.short;
        if !short {
            (link.since, link.asking) = (io.now(), true);
            self.messages.begin(io.now(), conn);
        }
        self.counts(short).add(Count::Requests, 1);
        self.push(io, conn);
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn).filter(|link| link.unsent > 0) else { return };
        let all = self.idle.exchange.bytes(());
        let rest = &all[all.len() - (link.unsent as usize).min(all.len())..];
        // Its end is told as well, with the reason.
        let sent = io.send(conn, rest).unwrap_or(0);
        link.unsent -= u32::try_from(sent).unwrap_or(u32::MAX).min(link.unsent);
        let short = link.short;
        self.counts(short).add(Count::BytesSent, sent as u64);
    }

    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        let Some(link) = self.links.get_mut(conn) else { return };
        let (short, since) = (link.short, link.since);
        let counts = if short { &self.shared.churn } else { &self.shared.counts };
        counts.add(Count::BytesReceived, data.len() as u64);
        // What was not asked for is heard and forgotten.
        if link.phase != Phase::Asked {
            return;
        }
        if let (_, Step::Whole(answer)) = self.idle.exchange.read(&mut link.reader, (), data) {
            if std::mem::take(&mut link.asking) {
                self.messages.done();
            }
            link.phase = Phase::Open;
            link.answers = self.quiet.is_some_and(|quiet| since >= quiet);
            counts.add(Count::Responses, 1);
            counts.add(Count::Unexpected, u64::from(!answer.expected));
            let latency = if short { &mut self.times.churned.latency } else { &mut self.times.latency };
            latency.saturating_record(io.now().saturating_since(since).as_nanos());
            if short {
                self.shut(io, conn);
            }
        }
    }

    /// Our FIN.
    fn shut(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn) else { return };
        link.phase = Phase::Ending;
        let short = link.short;
        let again = io.info(conn).map_or(0, |info| info.retransmits);
        self.counts(short).add(Count::Retransmits, again.into());
        let _ = io.shutdown(conn, Half::Write);
    }

    /// A connection is there no more, or never was.
    fn gone(&mut self, now: Instant, conn: ConnId, why: Count) {
        let Some(link) = self.links.remove(conn) else { return };
        if link.fresh {
            self.window.done();
        }
        if link.asking {
            self.messages.done();
        }
        self.counts(link.short).add(why, 1);
        if link.short {
            self.churning.iter_mut().for_each(|churning| churning.under_way -= 1);
            self.times.churned.ended = Some(now);
            self.shared.churned.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match link.phase {
            Phase::Connecting => {
                self.opening -= 1;
                self.shared.settled.fetch_add(1, Ordering::Relaxed);
            }
            Phase::Ending => {
                let ending = self.ending.iter_mut();
                ending.for_each(|ending| (ending.under_way, ending.moved) = (ending.under_way.saturating_sub(1), now));
            }
            Phase::Open | Phase::Asked => {
                tracing::debug!(connection = conn.index(), ?why, ?now, "lost");
            }
        }
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.done = true;
        io.finish();
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
}

impl App for Load {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.is(conn)) {
            return probe.on_connected(io, conn);
        }
        let Some(link) = self.links.get_mut(conn) else { return };
        let (short, since) = (link.short, link.since);
        link.phase = Phase::Open;
        stack::set_asking(io, conn, &self.config.at.tcp);
        self.counts(short).add(Count::Established, 1);
        if short {
            return self.ask(io, conn);
        }
        if self.links.get_mut(conn).is_some_and(|link| std::mem::take(&mut link.fresh)) {
            self.window.done();
        }
        let _ = io.set_keepalive(conn, Some(self.idle.keepalive));
        self.times.connect_latency.saturating_record(io.now().saturating_since(since).as_nanos());
        self.times.established = Some(io.now());
        (self.opening, self.reached) = (self.opening - 1, true);
        if let Some(think) = self.think {
            self.due.push_back((io.now() + think, conn));
        }
        self.shared.settled.fetch_add(1, Ordering::Relaxed);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let part = self.part();
        match self.probe.as_mut().filter(|probe| probe.is(conn)) {
            Some(probe) => probe.on_data(io.now(), part, data),
            None => self.take(io, conn, data),
        }
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.probe.as_mut().filter(|probe| probe.is(conn)) {
            Some(probe) => probe.on_writable(io, conn),
            None => self.push(io, conn),
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        // Behind our FIN it is to; that its own is there is told when both are.
        match self.links.get(conn) {
            Some(link) if link.phase == Phase::Ending => return,
            Some(_) => self.gone(io.now(), conn, Count::Closed),
            None => match self.probe.as_mut().filter(|probe| probe.is(conn)) {
                Some(probe) if probe.is_ending() => return,
                Some(probe) => probe.on_closed(io.now()),
                None => {}
            },
        }
        let _ = io.close(conn);
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.is(conn)) {
            probe.on_closed(io.now());
            return self.close(io);
        }
        let Some(link) = self.links.get(conn).copied() else { return };
        let why = match (link.phase, error) {
            (Phase::Ending, None) => Count::InOrder,
            (Phase::Ending, Some(_)) => Count::NotInOrder,
            (Phase::Connecting, Some(ConnectionError::Refused | ConnectionError::Reset)) => Count::Refused,
            (Phase::Connecting, Some(ConnectionError::TimedOut)) => Count::NoAnswer,
            (Phase::Connecting, _) => Count::Unreachable,
            (_, None) => Count::Closed,
            (_, Some(ConnectionError::Reset)) => Count::Reset,
            (_, Some(ConnectionError::TimedOut)) => Count::TimedOut,
            (_, Some(_)) => Count::Broken,
        };
        self.gone(io.now(), conn, why);
        match error {
            Some(error) if link.phase == Phase::Connecting && !self.reached => self.fail(io, self.sentence(error)),
            _ if link.phase == Phase::Ending && !self.done => self.close(io),
            _ => {}
        }
    }

    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.end(io);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.done {
            return;
        }
        let now = io.now();
        self.turned = now;
        if self.reached {
            let links = &mut self.links;
            self.window.age(now, |conn| links.get_mut(conn).is_some_and(|link| std::mem::take(&mut link.fresh)));
            self.messages.age(now, |conn| links.get_mut(conn).is_some_and(|link| std::mem::take(&mut link.asking)));
        }
        if self.times.began.is_none() {
            self.times.began = Some(now);
            let memory = self.resident.as_mut().map_or([0; 2], Memory::now);
            (self.times.resident_before, self.times.server_before) = memory.into();
        }
        if let Some(probe) = &mut self.probe {
            probe.on_turn(&self.config, &mut self.source, io);
        }
        if self.ending.is_some() {
            return self.close(io);
        }
        let (connections, over) = (self.connections, self.config.ramp_up);
        self.missing += self.ramp.get_or_insert_with(|| Evenly::new(connections, over, now)).due(now);
        self.open(io);
        self.give_up(io);
        self.speak(io);
        let duration = self.config.duration.map(Duration::from);
        if self.quiet(now).zip(duration).is_some_and(|(quiet, duration)| now >= quiet + duration) {
            return self.end(io);
        }
        self.churn(io);
    }

    fn wake_at(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        let probe = self.probe.as_ref().and_then(Probe::next);
        let window = self.window.next().filter(|_| self.reached);
        if let Some(ending) = &self.ending {
            let closes = if ending.may > 0 { None } else { ending.evenly.next() };
            return [Some(ending.moved + self.timeout), closes, probe, window].into_iter().flatten().min();
        }
        if self.times.began.is_none() {
            return Some(Instant::ZERO);
        }
        let ramp = self.ramp.and_then(|ramp| ramp.next());
        let connecting = self.connecting.front().map(|(until, _)| *until);
        let due = self.messages.next().or_else(|| self.due.front().map(|(due, _)| *due));
        let churn = self.churning.as_ref().filter(|_| self.quiet.is_none()).and_then(Churning::next);
        let waits_for_others = match self.times.holds {
            Some(_) => self.quiet.is_none(),
            // Not before ours are there.
            None => self.opening == 0 && self.missing == 0,
        };
        let look = waits_for_others.then(|| self.turned + LOOK);
        let ends = self.quiet.zip(self.config.duration).map(|(quiet, duration)| quiet + duration.into());
        [ramp, connecting, due, churn, look, ends, probe, window].into_iter().flatten().min()
    }
}
