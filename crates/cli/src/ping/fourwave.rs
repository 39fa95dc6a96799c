//! The ping-pong over fourwave, and over bare frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use fourwave::{App, ConnId, ConnectionError, Io, Place};

use super::recorder::Next;
use super::{Config, Recorder};
use crate::stack;
use crate::stop::Stop;

/// Over fourwave: fills the recorder until it is full or the end is asked for.
pub(super) fn run(config: &Config, stop: &Stop, recorder: &mut Recorder) -> anyhow::Result<()> {
    let builder = stack::builder(&config.at, config.target.ip())?.active_opens();
    // The recorders live on the stack's threads while it runs.
    let (total, over) = (Arc::default(), Arc::default());
    let make = |place| {
        let config = share(config, place);
        let mut recorder = Recorder::new(&config);
        if place.count > 1 {
            recorder.count_with(Arc::clone(&total), place.index == 0);
        }
        Ping::new(config, recorder, stop.clone(), Arc::clone(&over))
    };
    let mut failure = None;
    for app in stack::run_to_end(builder, make, stop, |how| tracing::info!("{how}"))? {
        recorder.merge(app.recorder);
        failure = failure.or(app.failure);
    }
    match failure {
        Some(failure) => Err(anyhow!(failure)),
        None => Ok(()),
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
        ::fourwave::drop_privileges()?;
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
    /// When its message went, while it is under way.
    sent: Option<Instant>,
    /// Bytes of it that the stack has taken: the send buffer may be smaller.
    queued: usize,
    /// Bytes of the answer that have come.
    received: usize,
    /// When to send next, with an interval.
    due: Instant,
}

struct Ping {
    /// Set before the connections are closed: what ends then is no failure.
    stop: Stop,
    /// The same, set by the first shard that is done.
    over: Arc<AtomicBool>,
    config: Config,
    recorder: Recorder,
    message: Vec<u8>,
    trips: Vec<Trip>,
    began: bool,
    done: bool,
    failure: Option<String>,
    /// When the time-outs, and what is to be sent, are looked at next.
    check: Instant,
    /// The same on the stack's clock, so that it doesn't sleep longer.
    wake_at: Option<fourwave::Instant>,
}

const CHECK: Duration = Duration::from_millis(20);

impl Ping {
    fn new(config: Config, recorder: Recorder, stop: Stop, over: Arc<AtomicBool>) -> Self {
        let message = (0..config.message_bytes).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
        let check = Instant::now();
        Self {
            stop,
            over,
            config,
            recorder,
            message,
            trips: Vec::new(),
            began: false,
            done: false,
            failure: None,
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
                    self.trips.push(Trip { conn, open: false, sent: None, queued: 0, received: 0, due });
                }
                Err(error) => return self.fail(io, format!("cannot connect to {}: {error}", self.config.target)),
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
        self.send_on(io, at);
    }

    /// What of the message the stack has not taken yet.
    fn send_on(&mut self, io: &mut Io<'_>, at: usize) {
        let trip = &mut self.trips[at];
        match io.send(trip.conn, &self.message[trip.queued..]) {
            Ok(sent) => trip.queued += sent,
            Err(error) => self.fail(io, error.to_string()),
        }
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: String) {
        if self.stop.requested() || self.over.load(Ordering::Relaxed) {
            return self.finish(io);
        }
        self.recorder.error();
        self.failure.get_or_insert(failure);
        self.finish(io);
    }

    fn finish(&mut self, io: &mut Io<'_>) {
        if !self.done {
            self.done = true;
            self.over.store(true, Ordering::Relaxed);
            io.finish();
        }
    }

    /// Part of an answer came.
    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        let Some(at) = self.trip(conn).filter(|_| !self.done) else { return };
        let trip = &mut self.trips[at];
        let expected = self.message.get(trip.received..trip.received + data.len());
        if expected != Some(data) {
            return self.fail(
                io,
                format!("{} does not send back what it was sent: is it an echo server?", self.config.target),
            );
        }
        trip.received += data.len();
        let Some(sent) = trip.sent.filter(|_| trip.received == self.message.len()) else { return };
        trip.sent = None;
        let received = Instant::now();
        if self.recorder.record(sent, received) == Next::Finished {
            return self.finish(io);
        }
        match self.config.interval {
            None => self.send(io, at),
            Some(interval) => self.trips[at].due = sent + interval,
        }
    }

    /// Messages that are due, answers that are overdue.
    fn look(&mut self, io: &mut Io<'_>, now: Instant) {
        for at in 0..self.trips.len() {
            let trip = &self.trips[at];
            let since = trip.sent.unwrap_or(trip.due);
            let waits = !trip.open || trip.sent.is_some();
            if waits && now.saturating_duration_since(since) > self.config.timeout {
                let seconds = self.config.timeout.as_secs_f64();
                return self.fail(io, format!("no answer from {} within {seconds} s", self.config.target));
            }
            if trip.open && trip.sent.is_none() && now >= trip.due {
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
        let waits =
            |ping: &Self, at: usize| ping.trips[at].sent.is_some() && ping.trips[at].queued < ping.message.len();
        if let Some(at) = self.trip(conn).filter(|at| !self.done && waits(self, *at)) {
            self.send_on(io, at);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.close(conn);
        if !self.done {
            self.fail(io, format!("{} closed the connection", self.config.target));
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, _: ConnId, error: Option<ConnectionError>) {
        if let Some(error) = error.filter(|_| !self.done) {
            self.fail(io, format!("{}: {error}", self.config.target));
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
            let due = self.trips.iter().filter(|trip| trip.open && trip.sent.is_none()).map(|trip| trip.due).min();
            self.check = due.map_or(now + CHECK, |due| due.min(now + CHECK));
            self.wake_at = Some(io.now() + (self.check - now).into());
        }
    }

    fn wake_at(&self) -> Option<fourwave::Instant> {
        self.wake_at.filter(|_| !self.done)
    }
}
