//! Messages and their answers over either stack, and over bare frames.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::bail;
use fourwave::{App, ConnId, ConnectionError, Duration, Instant, Io, Place};

use super::course::{Course, Then};
use super::recorder::{Next, Recorder};
use super::under_way::{Answer, Message, UnderWay, number_into, pattern};
use super::{Config, Pace, failure, sentence};
use crate::args::Stack;
use crate::measure::{Clock, Observer, Run, Schedule, Turns};
use crate::stack;
use crate::stop::Stop;

/// A sleep may take that much longer than it should: it ends before the next message is due, and the rest is spun. The kernel
/// counts it in milliseconds, rounded up.
const OVERSLEEP: Duration = Duration::from_micros(1500);
/// How long shards that wait for each other sleep.
const MEET: Duration = Duration::from_millis(1);
/// And those that have nothing to do while others do.
const LOOK: Duration = Duration::from_millis(10);
/// How long messages that were held back are still sent behind the end of the schedule.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Fills the records, one for each step, until they are full or the end is asked for. An error if a connection could not be made,
/// or if none is left.
pub(super) fn run(
    config: &Config,
    stop: &Stop,
    (run, observer): (&mut Run, &Observer),
    records: &mut [Recorder],
) -> anyhow::Result<()> {
    let builder = stack::of_choice(&config.at, config.target.ip(), config.kernel_wait)?.active_opens();
    let course = Arc::new(Course::new(config.connections, config.steps.len()));
    let clock = run.clock();
    let make = |place| Ping::new(config, place, (clock, observer), stop.clone(), Arc::clone(&course));
    let (mut failure, mut failed) = (None, false);
    let ready = |running: &fourwave::Running<Ping>| tracing::info!("{}", stack::place(running));
    let (apps, counts) = stack::run_and_count(builder, make, stop, ready)?;
    run.stack_ended(config.at.stack == Stack::Kernel, &counts);
    for app in apps {
        let left = app.unsettled();
        failure = failure.or(app.failure);
        failed |= app.failed;
        for (step, (sum, mut recorder)) in records.iter_mut().zip(app.records).enumerate() {
            if step == app.step {
                recorder.sending.unsent += left.0;
                recorder.sending.unanswered += left.1;
            }
            recorder.end(clock.now());
            sum.merge(recorder);
        }
    }
    match failure {
        Some(failure) if failed => Err(failure),
        _ => Ok(()),
    }
}

/// A shard's share of the connections, and of the warm-up.
fn share(config: &Config, place: Place) -> Config {
    let (index, count) = (usize::from(place.index), usize::from(place.count));
    let connections = config.connections / count + usize::from(index < config.connections % count);
    let warmup = config.warmup * connections as u64 / config.connections as u64;
    Config { connections, warmup, ..config.clone() }
}

/// Bare frames.
pub(super) fn raw(
    config: &Config,
    stop: &Stop,
    (run, observer): (&Run, &Observer),
    sum: &mut Recorder,
) -> anyhow::Result<()> {
    let mut recorder = Recorder::new(config, 0);
    recorder.observed_by(observer, 0, 1, &Arc::default());
    let clock = run.clock();
    let result = match config.pipeline {
        1 => one_by_one(config, stop, clock, &mut recorder),
        _ => super::window::run(config, stop, clock, &mut recorder),
    };
    let enough = result.is_ok() && !stop.requested();
    let _ = if enough { recorder.end(clock.now()) } else { recorder.cut_short(clock.now()) };
    sum.merge(recorder);
    result
}

fn one_by_one(config: &Config, stop: &Stop, clock: Clock, recorder: &mut Recorder) -> anyhow::Result<()> {
    let builder = stack::builder(&config.at, config.target.ip())?;
    let bytes = config.steps[0].sizes.largest() as usize;
    let (mut port, mut ping) = builder.raw_client(config.target.ip(), bytes)?;
    if !config.at.keep_privileges {
        fourwave::drop_privileges()?;
    }
    raw_trips(config, stop, clock, recorder, || port.round_trip(&mut ping, config.timeout).map(drop))
}

fn raw_trips(
    config: &Config,
    stop: &Stop,
    clock: Clock,
    recorder: &mut Recorder,
    mut round_trip: impl FnMut() -> io::Result<()>,
) -> anyhow::Result<()> {
    while !stop.requested() {
        let sent = clock.now();
        if let Err(error) = round_trip() {
            recorder.error();
            bail!("no answer from {}: {error}; is `fourwave serve echo --stack raw` running there?", config.target);
        }
        if recorder.record(0, sent, clock.now()) == Next::Finished {
            return Ok(());
        }
        if let Pace::Closed { interval: Some(interval) } = config.steps[0].pace {
            stop.sleep(interval.saturating_sub((clock.now() - sent).into()));
        }
    }
    Ok(())
}

/// One connection.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    open: bool,
    /// It is over, by an error.
    failed: bool,
    /// When it was to be opened; then, when to send next, with an interval.
    next: Instant,
    /// Messages of the schedule that are due, and of them those that were begun.
    due: u64,
    begun: u64,
    /// When a message that was due had to wait for others to be answered, or to be taken by the stack.
    held: Option<Instant>,
    under_way: UnderWay,
}

impl Link {
    /// When something is to be done about it, if nothing happens.
    fn check(&self, timeout: Duration, interval: bool) -> Option<Instant> {
        match self.under_way.since() {
            _ if self.failed => None,
            _ if !self.open => Some(self.next + timeout),
            Some(since) => Some(since + timeout),
            None => interval.then_some(self.next),
        }
    }
}

/// What a step is at.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Not all shards are ready for it.
    Waiting,
    /// Until there is enough, of a closed loop.
    Closed { interval: Option<std::time::Duration> },
    /// Until the schedule is over.
    Open { start: Instant, turns: Turns },
    /// There is none left, but other shards are not done.
    Over,
}

struct Ping {
    clock: Clock,
    timeout: Duration,
    /// Set before the connections are closed: what ends then is no failure.
    stop: Stop,
    course: Arc<Course>,
    place: Place,
    /// Of all shards.
    all_connections: usize,
    warmup: u64,
    config: Config,
    /// Of each step.
    records: Vec<Recorder>,
    step: usize,
    phase: Phase,
    pattern: Vec<u8>,
    links: Vec<Link>,
    /// Messages under way.
    under_way: usize,
    /// Messages that are due and were not begun.
    backlog: u64,
    began: bool,
    done: bool,
    /// The first.
    failure: Option<anyhow::Error>,
    /// It has ended by a failure.
    failed: bool,
    /// When the time-outs, and what is to be sent at intervals, are looked at next.
    check: Instant,
    /// When to be awake at the latest, on the stack's clock.
    wake_at: Option<Instant>,
}

impl Ping {
    fn new(all: &Config, place: Place, (clock, observer): (Clock, &Observer), stop: Stop, course: Arc<Course>) -> Self {
        let config = share(all, place);
        let record = |step| {
            let mut recorder = Recorder::new(&config, step);
            if place.count > 1 {
                recorder.count_with(course.total(step));
            }
            // One without a connection has no part of any second.
            if config.connections > 0 {
                let shards = u16::try_from(all.connections).unwrap_or(u16::MAX).min(place.count);
                recorder.observed_by(observer, step, shards, course.began(step));
            }
            recorder
        };
        let largest = config.steps.iter().map(|step| step.sizes.largest()).max().unwrap_or(1);
        Self {
            clock,
            timeout: config.timeout.into(),
            records: (0..config.steps.len()).map(record).collect(),
            stop,
            course,
            place,
            all_connections: all.connections,
            warmup: all.warmup,
            config,
            step: 0,
            phase: Phase::Waiting,
            pattern: pattern(largest as usize),
            links: Vec::new(),
            under_way: 0,
            backlog: 0,
            began: false,
            done: false,
            failure: None,
            failed: false,
            check: clock.now(),
            wake_at: None,
        }
    }

    /// Messages that were due and not sent, and that were sent and not answered.
    fn unsettled(&self) -> (u64, u64) {
        (self.backlog, self.under_way as u64)
    }

    fn begin(&mut self, io: &mut Io<'_>) {
        self.began = true;
        for _ in 0..self.config.connections {
            let now = self.clock.now();
            match io.connect(self.config.target) {
                Ok(conn) => self.links.push(Link {
                    conn,
                    open: false,
                    failed: false,
                    next: now,
                    due: 0,
                    begun: 0,
                    held: None,
                    under_way: UnderWay::new(now),
                }),
                Err(error) => {
                    self.records[0].error();
                    let failure = failure::to_connect(self.config.target, self.config.at.stack, error);
                    return self.end_by(io, failure);
                }
            }
        }
    }

    fn link(&mut self, conn: ConnId) -> Option<usize> {
        // Handles are dense and come in order, unless some connections failed: the guess is nearly always right.
        let guess = self.links.get(conn.index()).is_some_and(|link| link.conn == conn);
        if guess { Some(conn.index()) } else { self.links.iter().position(|link| link.conn == conn) }
    }

    /// A connection as all shards count it.
    fn of_all(&self, at: usize) -> u64 {
        at as u64 * u64::from(self.place.count) + u64::from(self.place.index)
    }

    fn begin_step(&mut self, io: &mut Io<'_>, start: Instant) {
        match self.config.steps[self.step].pace {
            Pace::Closed { interval } => {
                self.phase = Phase::Closed { interval };
                for at in 0..self.links.len() {
                    self.links[at].next = start;
                    self.fill(io, at);
                }
            }
            Pace::Open { rate } => {
                let Config { count, duration, .. } = self.config;
                let schedule = Schedule::new(rate, self.all_connections, self.warmup, count, duration);
                let turns = Turns::new(schedule, self.place.index, self.place.count, self.links.len());
                let ends = start + schedule.end().into();
                self.records[self.step].begins(start + schedule.measures_from().into(), ends);
                self.phase = Phase::Open { start, turns };
                self.links.iter_mut().for_each(|link| (link.due, link.begun, link.held) = (0, 0, None));
            }
        }
    }

    /// Sends what has become due.
    fn send_due(&mut self, io: &mut Io<'_>, now: Instant) {
        loop {
            let Phase::Open { start, turns } = &mut self.phase else { return };
            let Some((at, _)) = turns.next().filter(|(_, due)| *start + (*due).into() <= now) else { return };
            turns.advance();
            self.links[at].due += 1;
            self.backlog += 1;
            self.fill(io, at);
            if self.done {
                return;
            }
        }
    }

    /// When a connection's next message should go, and whether it is measured. `None`: none is due.
    fn next_message(&self, at: usize, now: Instant) -> Option<(Instant, bool)> {
        let link = &self.links[at];
        match &self.phase {
            Phase::Closed { interval } => {
                let due = !self.course.has_enough(self.step) && (interval.is_none() || now >= link.next);
                due.then_some((now, true))
            }
            Phase::Open { start, turns } if link.begun < link.due => {
                let message = turns.schedule.message(turns.of_all(at), link.begun);
                Some((*start + turns.schedule.due(message).into(), turns.schedule.is_measured(message)))
            }
            _ => None,
        }
    }

    /// Sends on a connection what is to be sent, as far as there is room.
    fn fill(&mut self, io: &mut Io<'_>, at: usize) {
        if !self.links[at].open || self.links[at].failed {
            return;
        }
        while self.send_on(io, at) {
            let link = &self.links[at];
            let full = link.under_way.len() >= self.config.pipeline;
            // The clock is read only for who sends.
            if link.begun == link.due && (full || matches!(self.phase, Phase::Open { .. })) {
                return;
            }
            let now = self.clock.now();
            let Some((intended, measured)) = self.next_message(at, now) else { return };
            if full {
                self.links[at].held = Some(now);
                return;
            }
            self.begin_message(at, intended, measured, now);
        }
        if self.links[at].begun < self.links[at].due {
            self.links[at].held = Some(self.clock.now());
        }
    }

    fn begin_message(&mut self, at: usize, intended: Instant, measured: bool, now: Instant) {
        let (connection, sizes) = (self.of_all(at), &self.config.steps[self.step].sizes);
        let link = &mut self.links[at];
        let bytes = sizes.draw(self.config.seed, connection, link.under_way.number());
        link.under_way.begin(bytes as usize, intended, measured, now);
        self.under_way += 1;
        if matches!(self.phase, Phase::Open { .. }) {
            (link.begun, self.backlog) = (link.begun + 1, self.backlog - 1);
            if measured {
                self.records[self.step].sending.begun(intended, now, link.held);
            }
        }
    }

    /// Sends what the stack has not taken yet of the youngest message. True: it has all.
    fn send_on(&mut self, io: &mut Io<'_>, at: usize) -> bool {
        let link = &mut self.links[at];
        let Some((Message { number, bytes, .. }, queued)) = link.under_way.unfinished() else { return true };
        number_into(&mut self.pattern[..bytes], number);
        let sent = io.send(link.conn, &self.pattern[queued..bytes]);
        match sent {
            Ok(sent) => {
                link.under_way.queued(sent);
                queued + sent == bytes
            }
            // Its end is told as well, with the reason.
            Err(error) => {
                tracing::debug!(connection = at, %error, "nothing more can be sent");
                false
            }
        }
    }

    /// A connection has failed: the others go on, if all were opened and there are any.
    fn fail(&mut self, io: &mut Io<'_>, at: usize, failure: anyhow::Error) {
        if self.stop.requested() || self.course.over.load(Ordering::Relaxed) {
            return self.finish(io);
        }
        let link = &mut self.links[at];
        if std::mem::replace(&mut link.failed, true) {
            return;
        }
        tracing::info!(connection = at, "{failure}");
        let _ = io.close(link.conn);
        let lost = link.under_way.len();
        self.under_way -= lost;
        let record = self.step.min(self.records.len() - 1);
        self.records[record].sending.unanswered += lost as u64;
        self.records[record].error();
        if !self.links[at].open || self.course.failed() {
            return self.end_by(io, failure);
        }
        self.failure.get_or_insert(failure);
    }

    fn end_by(&mut self, io: &mut Io<'_>, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.failed = true;
        self.finish(io);
    }

    fn finish(&mut self, io: &mut Io<'_>) {
        if !self.done {
            self.end();
            self.course.over.store(true, Ordering::Relaxed);
            io.finish();
        }
    }

    /// Nothing is measured any more: what is still under way stays unanswered.
    fn end(&mut self) {
        self.done = true;
        let (now, enough) = (self.clock.now(), self.course.has_enough(self.step.min(self.records.len() - 1)));
        if let Some(record) = self.records.get_mut(self.step) {
            for link in self.links.iter().filter(|link| !link.failed) {
                let oldest = link.under_way.oldest();
                oldest.into_iter().for_each(|intended| record.under_way.wait(link.under_way.len(), intended, now));
            }
            let _ = if enough { record.end(now) } else { record.cut_short(now) };
        }
    }

    /// Part of an answer came, or several.
    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, mut data: &[u8]) {
        let Some(at) = self.link(conn) else { return };
        let now = self.clock.now();
        while !data.is_empty() && !self.done && !self.links[at].failed {
            match self.links[at].under_way.receive(&self.pattern, data, now) {
                Answer::Part => return,
                Answer::Whole(message, used) => {
                    data = &data[used..];
                    self.under_way -= 1;
                    self.answered(io, at, &message, now);
                }
                Answer::Wrong => {
                    let failure = sentence(self.config.target, &ErrorKind::InvalidData.into());
                    return self.fail(io, at, failure);
                }
            }
        }
    }

    fn answered(&mut self, io: &mut Io<'_>, at: usize, message: &Message, now: Instant) {
        let record = &mut self.records[self.step];
        match self.phase {
            Phase::Closed { .. } if self.course.has_enough(self.step) => {}
            Phase::Closed { interval } => {
                if record.record(at, message.intended, now) == Next::Finished {
                    self.course.enough(self.step);
                    if self.step + 1 == self.records.len() {
                        self.finish(io);
                    }
                    return;
                }
                if let Some(interval) = interval {
                    self.links[at].next = message.intended + interval.into();
                    self.check = self.check.min(self.links[at].next);
                }
            }
            _ => record.record_scheduled(at, message, now),
        }
        self.fill(io, at);
    }

    /// What is due by the time alone. When to look again, but for time-outs.
    fn step_on(&mut self, io: &mut Io<'_>, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Waiting => match self.course.start(self.step) {
                Some(start) if start <= now => {
                    self.begin_step(io, start);
                    Some(now)
                }
                // One that waits for its own connections is woken by them.
                start => start.map(ahead).or((self.place.count > 1).then_some(now + MEET)),
            },
            Phase::Closed { interval } => {
                let enough = self.course.has_enough(self.step);
                if enough && self.under_way == 0 {
                    self.end_step(io, now);
                }
                // Who has no connection, or none any more, is woken by nothing else when the others have enough.
                let idle = self.links.is_empty() || interval.is_none() && self.under_way == 0;
                if enough { Some(now + MEET) } else { idle.then_some(now + LOOK) }
            }
            Phase::Open { start, turns } => {
                self.send_due(io, now);
                self.settle(io, start + turns.schedule.end().into(), now)
            }
            Phase::Over => None,
        }
    }

    /// When the next message is due; or, behind the last one, when to give up on what was held back.
    fn settle(&mut self, io: &mut Io<'_>, end: Instant, now: Instant) -> Option<Instant> {
        let Phase::Open { start, turns } = &self.phase else { return None };
        if let Some((_, due)) = turns.next() {
            return Some(ahead(*start + due.into()));
        }
        if self.backlog > 0 && now >= end + CATCH_UP {
            self.records[self.step].sending.unsent += std::mem::take(&mut self.backlog);
            self.links.iter_mut().for_each(|link| link.begun = link.due);
        }
        if self.backlog == 0 && self.under_way == 0 && now >= end {
            self.end_step(io, now);
        }
        Some(if now < end { end } else { end + CATCH_UP }).filter(|at| *at > now)
    }

    /// Nothing is left to do in this step.
    fn end_step(&mut self, io: &mut Io<'_>, now: Instant) {
        let tap = self.records[self.step].end(now);
        let then = self.course.done(self.step, self.place.count, now);
        self.step += 1;
        if let Some(record) = self.records.get_mut(self.step) {
            record.follows(tap);
        }
        self.phase = if self.step < self.records.len() { Phase::Waiting } else { Phase::Over };
        if then == Then::Finish {
            self.finish(io);
        }
    }

    /// Messages that are due at intervals, answers that are overdue.
    fn look(&mut self, io: &mut Io<'_>, now: Instant) {
        for at in 0..self.links.len() {
            let link = &self.links[at];
            let since = if link.open { link.under_way.since() } else { Some(link.next) };
            if !link.failed && since.is_some_and(|since| now - since >= self.timeout) {
                let failure = failure::silence(self.config.target, self.config.timeout);
                self.fail(io, at, failure);
                if self.done {
                    return;
                }
            } else if matches!(self.phase, Phase::Closed { interval: Some(_) }) && since.is_none() {
                self.fill(io, at);
            }
        }
        let interval = matches!(self.phase, Phase::Closed { interval: Some(_) });
        let timeout = self.timeout;
        // What is begun meanwhile is overdue no sooner; half of the time is no long delay for it.
        let latest = now + timeout / 2;
        let next = self.links.iter().filter_map(|link| link.check(timeout, interval)).min();
        self.check = next.map_or(latest, |next| next.min(latest));
    }
}

/// When to be awake for something that is to happen in time.
fn ahead(at: Instant) -> Instant {
    at - OVERSLEEP
}

impl App for Ping {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        stack::set_asking(io, conn, &self.config.at.tcp);
        if let Some(at) = self.link(conn).filter(|_| !self.done) {
            self.links[at].open = true;
            self.course.opened(self.clock.now());
        }
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.take(io, conn, data);
        data.len()
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = io.read(conn, &mut piece) {
            self.take(io, conn, &piece[..n]);
        }
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(at) = self.link(conn).filter(|_| !self.done) {
            self.fill(io, at);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.close(conn);
        if let Some(at) = self.link(conn).filter(|_| !self.done) {
            let failure = sentence(self.config.target, &ErrorKind::UnexpectedEof.into());
            self.fail(io, at, failure);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let at = self.link(conn).filter(|_| !self.done);
        if let (Some(at), Some(error)) = (at, error) {
            let error = io::Error::new(fourwave::io_error_kind(error), error);
            self.fail(io, at, sentence(self.config.target, &error));
        }
    }

    fn on_drain(&mut self, _: &mut Io<'_>) {
        if !self.done {
            self.end();
        }
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if !self.began {
            self.begin(io);
        }
        if self.done {
            return;
        }
        let now = self.clock.now();
        let next = self.step_on(io, now);
        let second = self.records.get_mut(self.step).and_then(|record| record.tick(now));
        if now >= self.check && !self.done {
            self.look(io, now);
        }
        let wake = [next, second, Some(self.check)].into_iter().flatten().min().unwrap_or(now);
        if let Some(record) = self.records.get_mut(self.step) {
            record.awake_at(wake);
        }
        self.wake_at = Some(io.now() + (wake - now));
    }

    fn wake_at(&self) -> Option<Instant> {
        self.wake_at.filter(|_| !self.done)
    }
}
