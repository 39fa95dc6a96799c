//! The ping-pong over either stack, and over bare frames.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::bail;
use fourwave::{App, ConnId, ConnectionError, Io, Place};

use super::recorder::Next;
use super::{Config, Recorder, failure, sentence};
use crate::stack;
use crate::stop::Stop;

/// Fills the recorder until it is full or the end is asked for. An error if a connection could not be made, or if none is left.
pub(super) fn run(config: &Config, stop: &Stop, recorder: &mut Recorder) -> anyhow::Result<()> {
    let builder = stack::of_choice(&config.at, config.target.ip(), config.kernel_wait)?.active_opens();
    // The recorders live on the stack's threads while it runs.
    let total = Arc::default();
    let all = Arc::new(All { over: AtomicBool::new(false), alive: AtomicUsize::new(config.connections) });
    let make = |place| {
        let config = share(config, place);
        let mut recorder = Recorder::new(&config);
        if place.count > 1 {
            recorder.count_with(Arc::clone(&total), place.index == 0);
        }
        Ping::new(config, recorder, stop.clone(), Arc::clone(&all))
    };
    let (mut failure, mut failed) = (None, false);
    for app in stack::run_to_end(builder, make, stop, |running| tracing::info!("{}", stack::place(running)))? {
        recorder.merge(app.recorder);
        failure = failure.or(app.failure);
        failed |= app.failed;
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
pub(super) fn raw(config: &Config, stop: &Stop, recorder: &mut Recorder) -> anyhow::Result<()> {
    let builder = stack::builder(&config.at, config.target.ip())?;
    let (mut port, mut ping) = builder.raw_client(config.target.ip(), config.message_bytes)?;
    if !config.at.keep_privileges {
        fourwave::drop_privileges()?;
    }
    while !stop.requested() {
        let sent = Instant::now();
        if let Err(error) = port.round_trip(&mut ping, config.timeout) {
            recorder.error();
            bail!("no answer from {}: {error}; is `fourwave serve echo --stack raw` running there?", config.target);
        }
        if recorder.record(sent, Instant::now()) == Next::Finished {
            return Ok(());
        }
        if let Some(interval) = config.interval {
            stop.sleep(interval.saturating_sub(sent.elapsed()));
        }
    }
    Ok(())
}

/// One connection's round trip.
#[derive(Debug)]
struct Trip {
    conn: ConnId,
    open: bool,
    /// It is over, by an error.
    failed: bool,
    /// Which one it is: its message begins with that, so that a stale answer is noticed.
    round: u64,
    /// When its message went, while it is under way.
    sent: Option<Instant>,
    /// Bytes of it that the stack has taken: the send buffer may be smaller.
    queued: usize,
    /// Bytes of the answer that have come.
    received: usize,
    /// When to send next, with an interval.
    due: Instant,
}

/// What the shards know of each other.
#[derive(Debug)]
struct All {
    /// Set by the first that is done, before its connections are closed: what ends then is no failure.
    over: AtomicBool,
    /// Connections that have not failed.
    alive: AtomicUsize,
}

struct Ping {
    /// Set before the connections are closed: what ends then is no failure.
    stop: Stop,
    all: Arc<All>,
    config: Config,
    recorder: Recorder,
    message: Vec<u8>,
    trips: Vec<Trip>,
    began: bool,
    done: bool,
    /// The first.
    failure: Option<anyhow::Error>,
    /// It has ended by a failure.
    failed: bool,
    /// When the time-outs, and what is to be sent, are looked at next.
    check: Instant,
    /// The same on the stack's clock, so that it doesn't sleep longer.
    wake_at: Option<fourwave::Instant>,
}

impl Ping {
    fn new(config: Config, recorder: Recorder, stop: Stop, all: Arc<All>) -> Self {
        let message = (0..config.message_bytes).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
        let check = Instant::now();
        Self {
            stop,
            all,
            config,
            recorder,
            message,
            trips: Vec::new(),
            began: false,
            done: false,
            failure: None,
            failed: false,
            check,
            wake_at: None,
        }
    }

    fn begin(&mut self, io: &mut Io<'_>) {
        self.began = true;
        for _ in 0..self.config.connections {
            match io.connect(self.config.target) {
                Ok(conn) => {
                    let due = Instant::now();
                    let (open, failed) = (false, false);
                    self.trips.push(Trip { conn, open, failed, round: 0, sent: None, queued: 0, received: 0, due });
                }
                Err(error) => {
                    self.recorder.error();
                    let failure = failure::to_connect(self.config.target, self.config.at.stack, error);
                    return self.end_by(io, failure);
                }
            }
        }
    }

    fn trip(&mut self, conn: ConnId) -> Option<usize> {
        // Handles are dense and come in order, unless some connections failed: the guess is nearly always right.
        let guess = self.trips.get(conn.index()).is_some_and(|trip| trip.conn == conn);
        if guess { Some(conn.index()) } else { self.trips.iter().position(|trip| trip.conn == conn) }
    }

    fn send(&mut self, io: &mut Io<'_>, at: usize) {
        let trip = &mut self.trips[at];
        trip.sent = Some(Instant::now());
        (trip.queued, trip.received) = (0, 0);
        trip.round += 1;
        self.send_on(io, at);
    }

    /// The message of a connection's round, all of it.
    fn message(&mut self, at: usize) -> &[u8] {
        let round = self.trips[at].round.to_le_bytes();
        let len = round.len().min(self.message.len());
        self.message[..len].copy_from_slice(&round[..len]);
        &self.message
    }

    /// What of the message the stack has not taken yet.
    fn send_on(&mut self, io: &mut Io<'_>, at: usize) {
        let (conn, queued) = (self.trips[at].conn, self.trips[at].queued);
        match io.send(conn, &self.message(at)[queued..]) {
            Ok(sent) => self.trips[at].queued += sent,
            // Its end is told as well, with the reason.
            Err(error) => tracing::debug!(connection = at, %error, "nothing more can be sent"),
        }
    }

    /// A connection has failed: the others go on, if all were opened and there are any.
    fn fail(&mut self, io: &mut Io<'_>, at: usize, failure: anyhow::Error) {
        if self.stop.requested() || self.all.over.load(Ordering::Relaxed) {
            return self.finish(io);
        }
        let trip = &mut self.trips[at];
        if std::mem::replace(&mut trip.failed, true) {
            return;
        }
        tracing::info!(connection = at, "{failure}");
        let _ = io.close(trip.conn);
        self.recorder.error();
        if !trip.open || self.all.alive.fetch_sub(1, Ordering::Relaxed) == 1 {
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
            self.done = true;
            self.all.over.store(true, Ordering::Relaxed);
            io.finish();
        }
    }

    /// Part of an answer came.
    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        let Some(at) = self.trip(conn).filter(|at| !self.done && !self.trips[*at].failed) else { return };
        let received = self.trips[at].received;
        if self.message(at).get(received..received + data.len()) != Some(data) {
            let failure = sentence(self.config.target, &ErrorKind::InvalidData.into());
            return self.fail(io, at, failure);
        }
        let trip = &mut self.trips[at];
        trip.received += data.len();
        let Some(sent) = trip.sent.filter(|_| trip.received == self.message.len()) else { return };
        trip.sent = None;
        let received = Instant::now();
        if self.recorder.record(sent, received) == Next::Finished {
            return self.finish(io);
        }
        match self.config.interval {
            None => self.send(io, at),
            Some(interval) => {
                self.trips[at].due = sent + interval;
                self.look_at(io, received, self.check.min(sent + interval));
            }
        }
    }

    /// When to look next: no later than anything is due or overdue.
    fn look_at(&mut self, io: &Io<'_>, now: Instant, check: Instant) {
        self.check = check;
        self.wake_at = Some(io.now() + check.saturating_duration_since(now).into());
    }

    /// Messages that are due, answers that are overdue.
    fn look(&mut self, io: &mut Io<'_>, now: Instant) {
        for at in 0..self.trips.len() {
            let trip = &self.trips[at];
            if trip.failed {
                continue;
            }
            let since = trip.sent.unwrap_or(trip.due);
            let waits = !trip.open || trip.sent.is_some();
            if waits && now.saturating_duration_since(since) >= self.config.timeout {
                let failure = failure::silence(self.config.target, self.config.timeout);
                self.fail(io, at, failure);
                if self.done {
                    return;
                }
            } else if trip.open && trip.sent.is_none() && now >= trip.due {
                self.send(io, at);
            }
        }
    }
}

impl App for Ping {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.set_nodelay(conn, true);
        if let Some(at) = self.trip(conn).filter(|_| !self.done) {
            self.trips[at].open = true;
            self.send(io, at);
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
        let Some(at) = self.trip(conn).filter(|_| !self.done) else { return };
        let trip = &self.trips[at];
        if !trip.failed && trip.sent.is_some() && trip.queued < self.message.len() {
            self.send_on(io, at);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.close(conn);
        if let Some(at) = self.trip(conn).filter(|_| !self.done) {
            let failure = sentence(self.config.target, &ErrorKind::UnexpectedEof.into());
            self.fail(io, at, failure);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let at = self.trip(conn).filter(|_| !self.done);
        if let (Some(at), Some(error)) = (at, error) {
            let error = io::Error::new(fourwave::io_error_kind(error), error);
            self.fail(io, at, sentence(self.config.target, &error));
        }
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if !self.began {
            self.begin(io);
        }
        if self.done {
            return;
        }
        let now = Instant::now();
        if now >= self.check {
            self.look(io, now);
            let timeout = self.config.timeout;
            let next = |trip: &Trip| match trip.sent {
                Some(sent) => sent + timeout,
                None if trip.open => trip.due,
                None => trip.due + timeout,
            };
            let next = self.trips.iter().filter(|trip| !trip.failed).map(next).min();
            self.look_at(io, now, next.unwrap_or(now + timeout));
        }
    }

    fn wake_at(&self) -> Option<fourwave::Instant> {
        self.wake_at.filter(|_| !self.done)
    }
}
