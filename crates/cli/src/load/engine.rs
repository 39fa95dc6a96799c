//! The generator, over either stack: it opens connections, has as many requests under way on each as it may, counts what comes of
//! them, gives up on what takes too long, and closes. What is said to the server is the [`Protocol`]'s.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::anyhow;
use fourwave::{App, ConnId, ConnMap, ConnectError, ConnectionError, Duration, Instant, Io, Place, TimerId};

use super::client::{Asked, Client, UnderWay};
use super::protocol::{Answer, Protocol, Purpose, Step};
use super::tally::Tally;
use super::{CloseBy, Config};
use crate::stop::Stop;
use crate::{ping, stack};

/// Connections begun in one turn: a burst that a SYN queue and a ring take.
const OPENS: usize = 64;
/// How long none is begun behind one that failed.
const RETRY: Duration = Duration::from_millis(10);

/// Runs until it is done or the end is asked for; what was counted, and what stopped it. `server`: what `fourwave serve` calls
/// such a server.
pub(super) fn run<P: Protocol>(
    config: &Config,
    protocol: &P,
    server: &'static str,
    stop: &Stop,
) -> anyhow::Result<(Tally, anyhow::Result<()>)> {
    let builder = stack::of_choice(&config.at, config.target.ip(), config.kernel_wait)?;
    // On an address of the stack's own nobody else has any.
    let builder = if config.at.address.is_some() { builder.ports(1024..=u16::MAX) } else { builder.active_opens() };
    let busy = Arc::new(AtomicUsize::new(0));
    let make = |place: Place| {
        busy.store(place.count.into(), Ordering::Relaxed);
        Load::new(share(config, place), protocol.clone(), server, Arc::clone(&busy))
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
struct Load<P: Protocol> {
    config: Config,
    protocol: P,
    server: &'static str,
    timeout: Duration,
    tally: Tally,
    clients: ConnMap<Client<P>>,
    /// What clients that are gone have left, for others.
    spare: Vec<UnderWay<P::Tag>>,
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

impl<P: Protocol> Load<P> {
    fn new(config: Config, protocol: P, server: &'static str, busy: Arc<AtomicUsize>) -> Self {
        Self {
            protocol,
            server,
            timeout: stack::duration(config.timeout),
            tally: Tally::new(),
            clients: ConnMap::new(),
            spare: Vec::new(),
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
                    let mut client = Client::new(io.now(), io.now(), self.spare.pop().unwrap_or_default());
                    client.timer = io.start_timer(self.timeout, conn.to_bits()).ok();
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
        // That of one with a connection of its own begins with it.
        let (intended, since) =
            if self.config.close.is_some() { (client.intended, client.since) } else { (io.now(), io.now()) };
        client.ask(Asked { intended, since, tag: self.protocol.next() });
        self.tally.requests += 1;
        self.tally.bytes_sent += client.push(io, conn, &self.protocol);
    }

    /// Part of a response came, or several.
    fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        self.tally.bytes_received += data.len() as u64;
        let mut rest = data;
        while !rest.is_empty() && !self.done {
            let Some(client) = self.clients.get_mut(conn) else { return };
            let (taken, step) = match client.under_way.front() {
                Some(asked) => self.protocol.read(&mut client.reader, asked.tag, rest),
                None => (rest.len(), Step::Malformed),
            };
            rest = &rest[taken..];
            match step {
                Step::More => {}
                Step::Whole(answer) => self.answered(io, conn, answer),
                Step::Malformed => {
                    self.tally.malformed += 1;
                    self.drop_client(io, conn);
                }
            }
        }
    }

    fn answered(&mut self, io: &mut Io<'_>, conn: ConnId, answer: Answer) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let Some((asked, all_sent)) = client.answered() else { return };
        self.count(asked.intended, answer.expected, io.now());
        if self.has_enough() {
            return self.finish(io);
        }
        match self.config.close {
            None if answer.keeps && all_sent => self.ask(io, conn),
            None if all_sent => self.retire(conn, io.now()),
            None => self.drop_client(io, conn),
            Some(by) => self.close(io, conn, by),
        }
    }

    /// A connection is open and that was it.
    fn opened(&mut self, io: &mut Io<'_>, conn: ConnId, since: Instant) {
        self.count(since, true, io.now());
        if self.has_enough() {
            return self.finish(io);
        }
        self.close(io, conn, self.config.close.unwrap_or(CloseBy::Client));
    }

    fn count(&mut self, intended: Instant, expected: bool, now: Instant) {
        self.tally.responses += 1;
        Tally::record(&mut self.tally.latency, now.saturating_since(intended));
        self.tally.unexpected += u64::from(!expected);
    }

    fn has_enough(&self) -> bool {
        self.tally.began.is_some() && self.config.requests.is_some_and(|most| self.tally.responses >= most)
    }

    /// A connection has done what it was there for.
    fn close(&mut self, io: &mut Io<'_>, conn: ConnId, by: CloseBy) {
        match by {
            CloseBy::Client => {
                self.forget(io, conn);
                let _ = io.close(conn);
            }
            CloseBy::Reset => self.drop_client(io, conn),
            CloseBy::Server => self.retire(conn, io.now()),
        }
    }

    /// The server is to close it.
    fn retire(&mut self, conn: ConnId, now: Instant) {
        if let Some(client) = self.clients.get_mut(conn) {
            (client.last, client.since) = (true, now);
        }
    }

    /// Gives a connection up; another will be opened.
    fn drop_client(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.forget(io, conn);
        let _ = io.abort(conn);
    }

    /// A connection is over, on our side at least: another takes its place.
    fn forget(&mut self, io: &mut Io<'_>, conn: ConnId) -> Option<Gone> {
        let mut client = self.clients.remove(conn)?;
        if let Some(timer) = client.timer.take() {
            io.stop_timer(timer);
        }
        self.missing += 1;
        let gone = Gone { connected: client.connected, last: client.last, unanswered: client.under_way.len() };
        client.under_way.clear();
        self.spare.push(client.under_way);
        Some(gone)
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

    /// Why the server could not be reached at all, and what to do about it.
    fn sentence(&self, error: ConnectionError) -> anyhow::Error {
        let (target, server) = (self.config.target, self.server);
        match fourwave::io_error_kind(error) {
            ErrorKind::ConnectionRefused => anyhow!(
                "{target} refused the connection: start a server there, such as `fourwave serve {server} --listen {target}`"
            ),
            kind => ping::sentence(target, &kind.into()),
        }
    }
}

/// What a connection was when it ended.
struct Gone {
    connected: bool,
    last: bool,
    unanswered: usize,
}

impl<P: Protocol> App for Load<P> {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.set_nodelay(conn, true);
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.connected = true;
        let since = client.since;
        self.reached = true;
        self.tally.connects += 1;
        Tally::record(&mut self.tally.connect_latency, io.now().saturating_since(since));
        if self.done {
            return;
        }
        self.protocol.opened(io, conn);
        match self.protocol.purpose() {
            Purpose::Requests => (0..self.config.pipeline).for_each(|_| self.ask(io, conn)),
            Purpose::Opening => self.opened(io, conn, since),
            Purpose::Idling => {}
        }
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.take(io, conn, data);
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            self.tally.bytes_sent += client.push(io, conn, &self.protocol);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.done {
            let _ = io.close(conn);
            return;
        }
        if let Some(client) = self.clients.get_mut(conn)
            && let Some(asked) = client.under_way.front()
            && let Some(answer) = self.protocol.end(&mut client.reader, asked.tag)
        {
            self.answered(io, conn, answer);
        }
        if let Some(gone) = self.forget(io, conn) {
            // What it has not answered behind its last response it has not promised to.
            self.tally.cut_off += if gone.last { 0 } else { gone.unanswered as u64 };
            let _ = io.close(conn);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let Some(gone) = self.forget(io, conn).filter(|_| !self.done) else { return };
        let Some(error) = error else { return };
        if !gone.connected {
            self.tally.connect_errors += 1;
            self.retry_at = io.now() + RETRY;
            if !self.reached {
                self.fail(io, self.sentence(error));
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
        let due = client.waits_since().unwrap_or(io.now()) + self.timeout;
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
