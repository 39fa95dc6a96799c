//! The client of `load http`, over either stack: each connection has as many requests under way as it may.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::anyhow;
use fourwave::{App, ConnId, ConnMap, ConnectError, ConnectionError, Duration, Instant, Io, Place, TimerId};

use super::report::Tally;
use super::response::{Reader, Response, Step};
use super::{CloseBy, Config};
use crate::stop::Stop;
use crate::{ping, stack};

/// Connections begun in one turn: a burst that a SYN queue and a ring take.
const OPENS: usize = 64;
/// How long none is begun behind one that failed.
const RETRY: Duration = Duration::from_millis(10);

/// Runs until it is done or the end is asked for; what was counted, and what stopped it.
pub(super) fn run(config: &Config, stop: &Stop) -> anyhow::Result<(Tally, anyhow::Result<()>)> {
    let builder = stack::of_choice(&config.at, config.target.ip(), config.kernel_wait)?;
    // On an address of the stack's own nobody else has any.
    let builder = if config.at.address.is_some() { builder.ports(1024..=u16::MAX) } else { builder.active_opens() };
    let busy = Arc::new(AtomicUsize::new(0));
    let make = |place: Place| {
        busy.store(place.count.into(), Ordering::Relaxed);
        Load::new(share(config, place), Arc::clone(&busy))
    };
    let (mut tally, mut failure) = (Tally::new(), None);
    for load in stack::run_to_end(builder, make, stop, |running| tracing::info!("{}", stack::place(running)))? {
        tally.add(&load.tally);
        failure = failure.or(load.failure);
    }
    Ok((tally, failure.map_or(Ok(()), Err)))
}

/// A shard's share of connections and requests.
fn share(config: &Config, place: Place) -> Config {
    let (index, count) = (usize::from(place.index), usize::from(place.count));
    let (wide_index, wide_count) = (u64::from(place.index), u64::from(place.count));
    Config {
        connections: config.connections / count + usize::from(index < config.connections % count),
        requests: config.requests.map(|all| all / wide_count + u64::from(wide_index < all % wide_count)),
        ..config.clone()
    }
}

#[derive(Debug)]
struct Client {
    /// When its SYN went.
    since: Instant,
    connected: bool,
    /// The server has said that it will take no more.
    last: bool,
    reader: Reader,
    /// When each request went that is not answered.
    under_way: VecDeque<Instant>,
    /// Bytes of them that the send buffer had no room for.
    owed: usize,
    timer: Option<TimerId>,
}

#[derive(Debug)]
struct Load {
    config: Config,
    timeout: Duration,
    tally: Tally,
    clients: ConnMap<Client>,
    /// Connections to be begun, and not before when.
    missing: usize,
    retry_at: Instant,
    began: Option<Instant>,
    /// A connection was made.
    reached: bool,
    done: bool,
    /// Shards that are not done.
    busy: Arc<AtomicUsize>,
    failure: Option<anyhow::Error>,
}

impl Load {
    fn new(config: Config, busy: Arc<AtomicUsize>) -> Self {
        Self {
            timeout: stack::duration(config.timeout),
            tally: Tally::new(),
            clients: ConnMap::new(),
            missing: config.connections,
            retry_at: Instant::ZERO,
            began: None,
            reached: false,
            done: false,
            busy,
            failure: None,
            config,
        }
    }

    fn open(&mut self, io: &mut Io<'_>) {
        for _ in 0..OPENS.min(self.missing) {
            match io.connect(self.config.target) {
                Ok(conn) => {
                    self.missing -= 1;
                    let timer = io.start_timer(self.timeout, conn.to_bits()).ok();
                    let (reader, under_way) = (Reader::default(), VecDeque::new());
                    let client =
                        Client { since: io.now(), connected: false, last: false, reader, under_way, owed: 0, timer };
                    self.clients.insert(conn, client);
                }
                // Ports in TIME-WAIT come back, and so does room.
                Err(ConnectError::NoPort | ConnectError::TooMany) if self.reached => {
                    self.tally.connect_errors += 1;
                    self.tally.no_port += 1;
                    self.retry_at = io.now() + RETRY;
                    return;
                }
                Err(error) => return self.fail(io, anyhow!("cannot connect to {}: {error}", self.config.target)),
            }
        }
    }

    /// Sends another request, or as much of it as there is room for.
    fn ask(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.under_way.push_back(if self.config.close.is_some() { client.since } else { io.now() });
        client.owed += self.config.request.len();
        self.tally.requests += 1;
        self.push(io, conn);
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let request = &self.config.request;
        while client.owed > 0 {
            let rest = match client.owed % request.len() {
                0 => &request[..],
                part => &request[request.len() - part..],
            };
            // Its end is told as well, with the reason.
            let Ok(sent) = io.send(conn, rest) else { return };
            client.owed -= sent;
            self.tally.bytes_sent += sent as u64;
            if sent < rest.len() {
                return;
            }
        }
    }

    /// Part of a response came, or several.
    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        self.tally.bytes_received += data.len() as u64;
        let mut rest = data;
        while !rest.is_empty() && !self.done {
            let Some(client) = self.clients.get_mut(conn) else { return };
            let (taken, step) = client.reader.read(rest, self.config.head_only);
            rest = &rest[taken..];
            match step {
                Step::More => {}
                Step::Whole(response) => self.answered(io, conn, response),
                Step::Malformed => {
                    self.tally.malformed += 1;
                    self.drop_client(io, conn);
                }
            }
        }
    }

    fn answered(&mut self, io: &mut Io<'_>, conn: ConnId, response: Response) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let Some(sent) = client.under_way.pop_front() else {
            self.tally.malformed += 1;
            return self.drop_client(io, conn);
        };
        self.tally.responses += 1;
        Tally::record(&mut self.tally.latency, io.now().saturating_since(sent));
        let as_expected = self.config.expect_status.map_or(response.status < 400, |status| response.status == status)
            && self.config.expect_bytes.is_none_or(|bytes| response.bytes == bytes);
        self.tally.unexpected += u64::from(!as_expected);
        if self.tally.began.is_some() && self.config.requests.is_some_and(|most| self.tally.responses >= most) {
            return self.finish(io);
        }
        match self.config.close {
            Some(CloseBy::Client) => {
                self.forget(io, conn);
                let _ = io.close(conn);
            }
            Some(CloseBy::Reset) => self.drop_client(io, conn),
            // It is to close.
            Some(CloseBy::Server) => {}
            None if response.keeps => self.ask(io, conn),
            None => client.last = true,
        }
    }

    /// Gives a connection up; another will be opened.
    fn drop_client(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.forget(io, conn);
        let _ = io.abort(conn);
    }

    /// A connection is over, on our side at least: another takes its place.
    fn forget(&mut self, io: &mut Io<'_>, conn: ConnId) -> Option<Client> {
        let mut client = self.clients.remove(conn)?;
        if let Some(timer) = client.timer.take() {
            io.stop_timer(timer);
        }
        self.missing += 1;
        Some(client)
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.end(io);
        io.finish();
    }

    /// This shard is done; the last one ends it all.
    fn finish(&mut self, io: &mut Io<'_>) {
        if !self.done {
            self.end(io);
            if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
                io.finish();
            }
        }
    }

    fn end(&mut self, io: &Io<'_>) {
        self.done = true;
        self.tally.ended.get_or_insert(io.now());
    }

    /// When something is to be done even if nothing comes: the warm-up or the duration is over, connections are missing.
    fn next(&self) -> Option<Instant> {
        let began = self.began?;
        let time = match self.tally.began {
            None => Some(began + self.config.warmup.into()),
            Some(measured) => self.config.duration.map(|duration| measured + duration.into()),
        };
        let retry = (self.missing > 0).then_some(self.retry_at);
        [time, retry].into_iter().flatten().min()
    }
}

/// Why the server could not be reached at all, and what to do about it.
fn sentence(config: &Config, error: ConnectionError) -> anyhow::Error {
    let target = config.target;
    match fourwave::io_error_kind(error) {
        ErrorKind::ConnectionRefused => anyhow!(
            "{target} refused the connection: start a server there, such as `fourwave serve http --listen {target}`"
        ),
        kind => ping::sentence(target, &kind.into()),
    }
}

impl App for Load {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.set_nodelay(conn, true);
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.connected = true;
        self.reached = true;
        self.tally.connects += 1;
        Tally::record(&mut self.tally.connect_latency, io.now().saturating_since(client.since));
        if !self.done {
            for _ in 0..self.config.pipeline {
                self.ask(io, conn);
            }
        }
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.take(io, conn, data);
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.push(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.done {
            let _ = io.close(conn);
            return;
        }
        if let Some(response) = self.clients.get_mut(conn).and_then(|client| client.reader.end()) {
            self.answered(io, conn, response);
        }
        if let Some(client) = self.forget(io, conn) {
            // What it has not answered behind its last response it has not promised to.
            let cut_off = if client.last { 0 } else { client.under_way.len() };
            self.tally.cut_off += cut_off as u64;
            let _ = io.close(conn);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let Some(client) = self.forget(io, conn).filter(|_| !self.done) else { return };
        let Some(error) = error else { return };
        if !client.connected {
            self.tally.connect_errors += 1;
            self.retry_at = io.now() + RETRY;
            if !self.reached {
                self.fail(io, sentence(&self.config, error));
            }
        } else if error == ConnectionError::TimedOut {
            self.tally.timeouts += 1;
        } else {
            self.tally.resets += 1;
        }
    }

    fn on_timer(&mut self, io: &mut Io<'_>, _: TimerId, key: u64) {
        let conn = ConnId::from_bits(key);
        let Some(client) = self.clients.get_mut(conn).filter(|_| !self.done) else { return };
        client.timer = None;
        let since = if client.connected { client.under_way.front().copied() } else { Some(client.since) };
        let due = since.unwrap_or(io.now()) + self.timeout;
        if io.now() < due {
            client.timer = io.start_timer(due.saturating_since(io.now()), key).ok();
            return;
        }
        self.tally.timeouts += 1;
        self.drop_client(io, conn);
        if !self.reached {
            let (target, seconds) = (self.config.target, self.config.timeout.as_secs_f64());
            self.fail(io, anyhow!("{target} did not answer within {seconds} s: check that it is up"));
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
        let began = *self.began.get_or_insert(now);
        match self.tally.began {
            None if now >= began + self.config.warmup.into() => self.tally.begin(now),
            Some(measured) if self.config.duration.is_some_and(|duration| now >= measured + duration.into()) => {
                return self.finish(io);
            }
            _ => {}
        }
        if self.missing > 0 && now >= self.retry_at {
            self.open(io);
        }
        // A shard without a connection has nothing to wait for.
        if self.config.connections == 0 && self.config.requests.is_some() {
            self.finish(io);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.next().filter(|_| !self.done)
    }
}
