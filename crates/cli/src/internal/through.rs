//! The load of `fourwave bench --only proxy`: one process over AF_XDP that sends requests to a proxy, and is the backend that
//! the proxy carries them to. One core then suffices for both, and it is the same on both sides of every proxy.
//!
//! Closed loop: each connection has one request under way. Times are those of the loop's turns, which take no clock of their
//! own for each request: this program is not to be what is measured. The backend answers each request with as many bytes. With
//! a connection for each request the backend closes behind its answer, as HTTP servers do without keep-alive.

use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use fourwave::{App, ConnId, ConnMap, ConnectionError, Duration, Half, Instant, Io, ListenerId, Running};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::StackConfig;
use crate::measure::Latency;
use crate::serve::READY;
use crate::stop::Stop;
use crate::{out, say, stack};

const HIGHEST_NS: u64 = 60_000_000_000;
/// How often the clock is looked at for what is overdue.
const CHECK: Duration = Duration::from_millis(20);
/// With nothing answered for so long there is no point in going on.
const SILENCE: Duration = Duration::from_secs(5);

/// What to send, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Target or listener: finds the interface where none is named.
    pub(crate) near: IpAddr,
    pub(crate) target: Option<SocketAddr>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) connections: u32,
    pub(crate) one_each: bool,
    pub(crate) bytes: usize,
    pub(crate) seconds: std::time::Duration,
    pub(crate) warmup: std::time::Duration,
    pub(crate) at: StackConfig,
}

/// What was measured, behind the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ThroughReport {
    pub(crate) requests: u64,
    /// Opened, used and closed in order; 0 where connections are kept.
    pub(crate) connects: u64,
    pub(crate) errors: u64,
    pub(crate) duration_s: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) connects_per_s: f64,
    /// From a request, or from the SYN of its connection, to its answer.
    pub(crate) latency_ns: Latency,
}

/// `fourwave internal through`.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let builder = stack::builder(&config.at, config.near)?.active_opens();
    let builder = config.listen.into_iter().fold(builder, fourwave::Stack::listen);
    let make = |_| Through::new(config.clone());
    let ready = |running: &Running<_>| {
        let listen = config.listen.map(|at| at.to_string()).unwrap_or_default();
        say!("{READY}{listen} ({})", stack::place(running));
    };
    let Some(app) = stack::run_to_end(builder, make, stop, ready)?.pop() else { return Ok(()) };
    if let Some(failure) = app.failure {
        bail!(failure);
    }
    if config.target.is_some() { out::json(&app.report()) } else { Ok(()) }
}

/// What a connection is there for.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// Sends requests: since when it waits for an answer, and how much of that has come.
    Client { since: Instant, received: usize },
    /// Answers them: how much of one has come.
    Backend { received: usize },
}

#[derive(Debug)]
struct Through {
    config: Config,
    message: Vec<u8>,
    roles: ConnMap<Role>,
    latency: Histogram<u64>,
    began: Option<Instant>,
    /// When measuring began.
    measured: Option<Instant>,
    ended: Option<Instant>,
    requests: u64,
    connects: u64,
    errors: u64,
    failure: Option<String>,
    /// When the clock is looked at next.
    check: Instant,
    /// When the last answer had come, and how many.
    heard: (Instant, u64),
}

impl Through {
    fn new(config: Config) -> Self {
        Self {
            message: vec![b'x'; config.bytes],
            config,
            roles: ConnMap::new(),
            latency: Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("bounds of a constant"),
            began: None,
            measured: None,
            ended: None,
            requests: 0,
            connects: 0,
            errors: 0,
            failure: None,
            check: Instant::ZERO,
            heard: (Instant::ZERO, 0),
        }
    }

    const fn counts(&self) -> bool {
        self.measured.is_some() && self.ended.is_none()
    }

    fn open(&mut self, io: &mut Io<'_>) {
        let Some(target) = self.config.target.filter(|_| self.ended.is_none()) else { return };
        match io.connect(target) {
            Ok(conn) => {
                self.roles.insert(conn, Role::Client { since: io.now(), received: 0 });
            }
            Err(error) => self.fail(io, format!("cannot connect to {target}: {error}")),
        }
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: String) {
        self.failure.get_or_insert(failure);
        self.finish(io);
    }

    fn finish(&mut self, io: &mut Io<'_>) {
        if self.ended.is_none() {
            self.ended = Some(io.now());
            io.finish();
        }
    }

    fn ask(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if io.send(conn, &self.message) != Ok(self.message.len()) {
            self.fail(io, "a request does not fit into an empty send buffer".into());
        }
    }

    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        let (length, one_each) = (self.message.len(), self.config.one_each);
        match self.roles.get_mut(conn) {
            Some(Role::Backend { received }) => {
                *received += data.len();
                if *received >= length {
                    *received -= length;
                    let _ = io.send(conn, &self.message);
                    if one_each {
                        let _ = io.shutdown(conn, Half::Write);
                    }
                }
            }
            Some(Role::Client { since, received }) => {
                *received += data.len();
                if *received < length {
                    return;
                }
                let took = io.now().saturating_since(*since);
                (*since, *received) = (io.now(), 0);
                self.requests += u64::from(self.counts());
                if self.counts() {
                    self.latency.saturating_record(took.as_nanos());
                }
                if !one_each && self.ended.is_none() {
                    self.ask(io, conn);
                }
            }
            None => {}
        }
    }

    /// Begins, measures, ends when it is time.
    fn look(&mut self, io: &mut Io<'_>, now: Instant) {
        let Some(began) = self.began else {
            (self.began, self.heard.0) = (Some(now), now);
            return (0..self.config.connections).for_each(|_| self.open(io));
        };
        if self.measured.is_none() && now >= began + self.config.warmup.into() {
            self.measured = Some(now);
            self.latency.reset();
        }
        if self.measured.is_some_and(|measured| now >= measured + self.config.seconds.into()) {
            return self.finish(io);
        }
        if self.heard.1 != self.requests || self.measured.is_none() {
            self.heard = (now, self.requests);
        } else if now.saturating_since(self.heard.0) > SILENCE {
            self.fail(io, format!("no answer for {} s", SILENCE.as_secs_f64()));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn report(&self) -> ThroughReport {
        let times = self.measured.zip(self.ended);
        let duration_s = times.map_or(0.0, |(from, to)| to.saturating_since(from).as_secs_f64());
        let rate = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        ThroughReport {
            requests: self.requests,
            connects: self.connects,
            errors: self.errors,
            duration_s,
            requests_per_s: rate(self.requests),
            connects_per_s: rate(self.connects),
            latency_ns: Latency::of(&self.latency),
        }
    }
}

impl App for Through {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let _ = io.set_nodelay(conn, true);
        self.roles.insert(conn, Role::Backend { received: 0 });
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.set_nodelay(conn, true);
        if !self.config.one_each
            && let Some(Role::Client { since, .. }) = self.roles.get_mut(conn)
        {
            *since = io.now();
        }
        self.ask(io, conn);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.take(io, conn, data);
        data.len()
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        // Not `close`: its end is to be told.
        let _ = io.shutdown(conn, Half::Write);
        if !self.config.one_each && matches!(self.roles.get(conn), Some(Role::Client { .. })) {
            self.errors += 1;
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let Some(Role::Client { .. }) = self.roles.remove(conn) else { return };
        if self.ended.is_some() {
            return;
        }
        if error.is_some() || !self.config.one_each {
            self.errors += 1;
        } else if self.counts() {
            self.connects += 1;
        }
        match error {
            Some(error) if self.errors > 20 => self.fail(io, format!("connections fail: {error}")),
            _ => self.open(io),
        }
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.config.target.is_none() || self.ended.is_some() {
            return;
        }
        let now = io.now();
        if now >= self.check {
            self.look(io, now);
            self.check = now + CHECK;
        }
    }
}
