//! Bytes as fast as they go, over some connections, one way or both.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use anyhow::anyhow;
use fourwave::{
    App, Bytes, ConnId, ConnMap, ConnectError, ConnectionError, Duration, Half, Instant, Io, Place, Running,
};

use super::bulk_report::{Report, Tally};
use super::seconds::{Part, Seconds};
use super::{Bulk, Direction, part};
use crate::args::Stack;
use crate::internal::Random;
use crate::load::{Config, tell};
use crate::measure::{self, Run};
use crate::stop::Stop;
use crate::{ping, serve, stack};

/// Connections begun in one turn: a burst that a SYN queue and a ring take.
const OPENS: usize = 64;
/// How often a connection is filled before others get their turn: the kernel may pass bytes on as fast as they come.
const FILLS: usize = 16;
/// Of what is sent: a prime, so that bytes out of their place are noticed.
const PATTERN_BYTES: usize = 65_521;
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn run(config: &Config, bulk: Bulk, stop: &Stop) -> anyhow::Result<()> {
    let page = measure::create("--report", config.files.report.as_deref())?;
    let mut measurement = Run::begin(super::COMMAND);
    let builder = super::builder(config)?;
    let seconds = Seconds::start(config.live)?;
    let (busy, text) = (Arc::new(AtomicUsize::new(0)), text(bulk.direction));
    let make = |place: Place| {
        busy.store(place.count.into(), Ordering::Relaxed);
        Load::new(config, bulk, place, text.clone(), Arc::clone(&busy), seconds.sender())
    };
    let (mut tally, mut failure) = (Tally::new(), None);
    let ready = |running: &Running<Load>| tracing::info!("{}", stack::place(running));
    let (loads, counts) = stack::run_and_count(builder, make, stop, ready)?;
    measurement.stack_ended(config.at.stack == Stack::Kernel, &counts);
    for load in loads {
        tally.add(&load.tally.without_warmup());
        failure = failure.or(load.failure);
    }
    let seconds = seconds.finish()?;
    if let Some(error) = failure.take_if(|_| tally.is_empty() && tally.changed == 0) {
        return Err(error);
    }
    let mut report = Report::of(config, bulk, &tally, seconds, &measurement);
    report.warn(&measurement);
    let told = tell(config, super::COMMAND, page, &report);
    let good = if stop.requested() { Ok(()) } else { tally.verdict(config.target, bulk) };
    failure.map_or(Ok(()), Err).and(told).and(good)
}

/// What is sent again and again, or is expected: what `serve chargen` sends.
fn text(direction: Direction) -> Bytes {
    if direction == Direction::Down {
        return serve::chargen_text().into();
    }
    let mut text = vec![0; PATTERN_BYTES];
    Random::new(1).fill(&mut text);
    text.into()
}

#[derive(Clone, Copy, Debug)]
struct Link {
    /// When its SYN went.
    since: Instant,
    connected: bool,
    /// Bytes that the stack is still to take, and that it has taken; without a limit the former are never none.
    to_queue: u64,
    queued: u64,
    /// Bytes that are still to come, and that have come.
    to_receive: u64,
    received: u64,
    /// Nothing more will be sent: the FIN is.
    shut: bool,
    looked: Looked,
}

impl Link {
    fn new(direction: Direction, share: u64, now: Instant) -> Self {
        let (to_queue, to_receive) = match direction {
            Direction::Up => (share, 0),
            Direction::Down => (0, share),
            Direction::Both => (share, share),
        };
        let looked = Looked { acked: 0, received: 0, retransmits: 0, moved: now };
        Self { since: now, connected: false, to_queue, queued: 0, to_receive, received: 0, shut: false, looked }
    }

    fn is_complete(&self) -> bool {
        self.to_queue == 0 && self.to_receive == 0
    }
}

/// What a connection had done when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Looked {
    acked: u64,
    received: u64,
    retransmits: u32,
    /// When something had moved then.
    moved: Instant,
}

/// What becomes of a connection behind what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    /// All has come that was to.
    Shut,
    Drop,
}

#[derive(Debug)]
struct Load {
    config: Config,
    bulk: Bulk,
    timeout: Duration,
    tally: Tally,
    text: Bytes,
    links: ConnMap<Link>,
    /// Those that take more at once.
    again: Vec<ConnId>,
    /// For a look at all of them.
    all: Vec<ConnId>,
    /// Connections to be begun, as all shards count them.
    missing: Range<u64>,
    began: Option<Instant>,
    next_look: Instant,
    /// The current second, once there is one.
    second: Option<Opened>,
    shards: u16,
    /// Of the addresses to connect from, the next one.
    source: usize,
    /// A connection was made.
    reached: bool,
    done: bool,
    /// Shards that are not done.
    busy: Arc<AtomicUsize>,
    seconds: Sender<Part>,
    failure: Option<anyhow::Error>,
}

/// When a second began, and what had been counted by then.
#[derive(Clone, Copy, Debug)]
struct Opened {
    at: Instant,
    up: u64,
    down: u64,
    errors: u64,
}

impl Load {
    fn new(
        config: &Config,
        bulk: Bulk,
        place: Place,
        text: Bytes,
        busy: Arc<AtomicUsize>,
        seconds: Sender<Part>,
    ) -> Self {
        let all = config.connections as u64;
        let first = (0..place.index).map(|index| part(all, index, place.count)).sum::<u64>();
        Self {
            timeout: stack::duration(config.timeout),
            tally: Tally::new(),
            text,
            links: ConnMap::new(),
            again: Vec::new(),
            all: Vec::new(),
            missing: first..first + part(all, place.index, place.count),
            began: None,
            next_look: Instant::ZERO,
            second: None,
            shards: place.count,
            source: 0,
            reached: false,
            done: false,
            busy,
            seconds,
            failure: None,
            config: config.clone(),
            bulk,
        }
    }

    fn open(&mut self, io: &mut Io<'_>) {
        for number in self.missing.by_ref().take(OPENS) {
            let share = self.bulk.bytes.map_or(u64::MAX, |bytes| share(bytes, number, self.config.connections as u64));
            match super::connect(&self.config, &mut self.source, io) {
                Ok(conn) => {
                    self.links.insert(conn, Link::new(self.bulk.direction, share, io.now()));
                }
                Err(ConnectError::NoPort | ConnectError::TooMany) if self.reached => {
                    self.tally.connect_errors += 1;
                    self.tally.no_port += 1;
                }
                Err(error) => return self.fail(io, anyhow!("cannot connect to {}: {error}", self.config.target)),
            }
        }
    }

    /// Sends on, as much as there is room for; behind the last byte our FIN.
    fn fill(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn).filter(|link| link.connected && !link.shut) else { return };
        for _ in 0..FILLS {
            if link.to_queue == 0 {
                link.shut = true;
                let _ = io.shutdown(conn, Half::Write);
                return;
            }
            let at = place_in(&self.text, link.queued);
            let most = usize::try_from(link.to_queue).unwrap_or(usize::MAX).min(self.text.len() - at);
            let mut rest = self.text.slice(at..at + most);
            // Its end is told as well, with the reason.
            let Ok(taken) = io.send_bytes(conn, &mut rest) else { return };
            (link.queued, link.to_queue) = (link.queued + taken as u64, link.to_queue - taken as u64);
            if !rest.is_empty() {
                return;
            }
        }
        self.again.push(conn);
    }

    /// Counts what came, and compares it.
    fn receive(&mut self, conn: ConnId, data: &[u8]) -> Then {
        let Some(link) = self.links.get_mut(conn).filter(|_| !self.done) else { return Then::GoesOn };
        // What comes behind the last byte that was wanted was on its way before our FIN got there.
        let wanted = data.len().min(usize::try_from(link.to_receive).unwrap_or(usize::MAX));
        let data = if self.bulk.direction == Direction::Down { &data[..wanted] } else { data };
        let bytes = data.len() as u64;
        // Nothing comes back before it was sent.
        let early = self.bulk.direction == Direction::Both && link.received + bytes > link.queued;
        if early || self.bulk.verify && !matches(&self.text, link.received, data) {
            let (byte, target) = (link.received, self.config.target);
            self.tally.changed += 1;
            self.failure.get_or_insert_with(|| {
                anyhow!("from byte {byte} on {target} does not send what was expected: is it the right server?")
            });
            return Then::Drop;
        }
        link.received += bytes;
        link.to_receive -= bytes.min(link.to_receive);
        self.tally.down += bytes;
        if link.is_complete() && !link.shut {
            link.shut = true;
            return Then::Shut;
        }
        Then::GoesOn
    }

    fn act(&mut self, io: &mut Io<'_>, conn: ConnId, then: Then) {
        match then {
            Then::GoesOn => {}
            Then::Shut => {
                let _ = io.shutdown(conn, Half::Write);
            }
            Then::Drop => self.drop_link(io, conn),
        }
    }

    /// Gives a connection up.
    fn drop_link(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.account(io, conn);
        self.links.remove(conn);
        let _ = io.abort(conn);
    }

    /// Counts what was acknowledged since the last look.
    fn account(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn).filter(|link| link.connected) else { return };
        let Ok(info) = io.info(conn) else { return };
        let acked = link.queued.saturating_sub(info.send_queue_bytes.into()).max(link.looked.acked);
        self.tally.up += acked - link.looked.acked;
        self.tally.retransmits += u64::from(info.retransmits.saturating_sub(link.looked.retransmits));
        if acked > link.looked.acked || link.received > link.looked.received {
            link.looked.moved = io.now();
        }
        let moved = link.looked.moved;
        link.looked = Looked { acked, received: link.received, retransmits: info.retransmits, moved };
    }

    /// Looks at all connections: at what was acknowledged, and whether anything moves.
    fn look(&mut self, io: &mut Io<'_>) {
        let mut all = std::mem::take(&mut self.all);
        all.extend(self.links.iter().map(|(conn, _)| conn));
        for conn in all.drain(..) {
            self.account(io, conn);
            let Some(link) = self.links.get(conn) else { continue };
            let since = if link.connected { link.looked.moved } else { link.since };
            if io.now() < since + self.timeout {
                continue;
            }
            self.tally.timeouts += 1;
            self.drop_link(io, conn);
            if !self.reached {
                let (target, seconds) = (self.config.target, self.config.timeout.as_secs_f64());
                self.fail(io, anyhow!("{target} did not answer within {seconds} s: check that it is up"));
            }
        }
        self.all = all;
        self.next_look = io.now() + self.timeout.min(SECOND);
    }

    /// Tells what was carried since the second began.
    fn tell(&mut self, now: Instant) {
        let (Some(began), Some(second)) = (self.tally.began, self.second) else { return };
        let (up, down, errors) = (self.tally.up, self.tally.down, self.tally.errors());
        // The end of it all may be the end of a second.
        if now > second.at {
            // Without a reader nobody wants it.
            let _ = self.seconds.send(Part {
                shards: self.shards,
                at_s: second.at.saturating_since(began).as_secs_f64(),
                length_s: now.saturating_since(second.at).as_secs_f64(),
                up: up - second.up,
                down: down - second.down,
                errors: errors - second.errors,
            });
        }
        self.second = Some(Opened { at: now, up, down, errors });
    }

    /// When the current second is over: seconds are counted from when measuring began, whatever stalls.
    fn second_ends(&self) -> Option<Instant> {
        let (began, second) = (self.tally.began?, self.second?);
        let whole = second.at.saturating_since(began).as_nanos() / SECOND.as_nanos();
        Some(began + Duration::from_secs(whole + 1))
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.end(io);
        io.finish();
    }

    /// This shard is done; the last one ends it all.
    fn finish(&mut self, io: &mut Io<'_>) {
        if !self.done {
            self.look(io);
            self.end(io);
            if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
                io.finish();
            }
        }
    }

    fn end(&mut self, io: &Io<'_>) {
        if !self.done {
            self.done = true;
            self.tally.ended = Some(io.now());
            self.tell(io.now());
        }
    }

    /// The connections are gone, or done.
    fn is_over(&self) -> bool {
        let bounded = self.bulk.bytes.is_some() || self.config.connections > 0 && self.reached;
        bounded && self.missing.is_empty() && self.links.is_empty()
    }
}

/// Bytes of one of so many connections.
fn share(bytes: u64, number: u64, connections: u64) -> u64 {
    bytes / connections + u64::from(number < bytes % connections)
}

/// Where in a text that is repeated without end a byte of the stream is.
fn place_in(text: &[u8], byte: u64) -> usize {
    usize::try_from(byte % text.len() as u64).unwrap_or(0)
}

/// Whether `data` is what stands from `from` on in a text that is repeated without end.
fn matches(text: &[u8], from: u64, mut data: &[u8]) -> bool {
    let mut at = place_in(text, from);
    while !data.is_empty() {
        let n = data.len().min(text.len() - at);
        if data[..n] != text[at..at + n] {
            return false;
        }
        (data, at) = (&data[n..], 0);
    }
    true
}

/// Why the server could not be reached at all, and what to do about it.
fn sentence(config: &Config, direction: Direction, error: ConnectionError) -> anyhow::Error {
    let (target, service) = (config.target, direction.service());
    match fourwave::io_error_kind(error) {
        ErrorKind::ConnectionRefused => anyhow!(
            "{target} refused the connection: start a server there, such as `fourwave serve {service} --listen {target}`"
        ),
        kind => ping::sentence(target, &kind.into()),
    }
}

impl App for Load {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn) else { return };
        (link.connected, link.looked.moved) = (true, io.now());
        self.reached = true;
        self.tally.connected(io.now().saturating_since(link.since));
        // A server that sends may want to know that nothing comes; but it may also take that for the end.
        if self.bulk.direction.sends() && !self.done {
            self.fill(io, conn);
        }
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let then = self.receive(conn, data);
        self.act(io, conn, then);
        data.len()
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let mut one = |data: &[u8]| (data.len(), (!data.is_empty()).then(|| self.receive(conn, data)));
        while let Ok(Some(then)) = io.read_with(conn, &mut one) {
            if then != Then::GoesOn {
                return self.act(io, conn, then);
            }
        }
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if !self.done {
            self.fill(io, conn);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn).filter(|_| !self.done) else {
            let _ = io.close(conn);
            return;
        };
        // It may have closed its half alone: what it has not read is told by a reset.
        if self.bulk.direction != Direction::Up && link.to_receive > 0 {
            self.tally.cut_off += 1;
            self.account(io, conn);
            self.links.remove(conn);
            let _ = io.close(conn);
        } else if !link.shut && !self.bulk.direction.sends() {
            link.shut = true;
            let _ = io.shutdown(conn, Half::Write);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        self.account(io, conn);
        let Some(link) = self.links.remove(conn).filter(|_| !self.done) else { return };
        let Some(error) = error else {
            // In order: all of it was acknowledged, the FIN too.
            self.tally.up += link.queued - link.looked.acked;
            return;
        };
        if !link.connected {
            self.tally.connect_errors += 1;
            if !self.reached {
                self.fail(io, sentence(&self.config, self.bulk.direction, error));
            }
        } else if link.shut && self.bulk.direction == Direction::Down {
            // A server that sends without end has no other way.
        } else if error == ConnectionError::TimedOut {
            self.tally.timeouts += 1;
        } else {
            self.tally.resets += 1;
        }
    }

    fn on_drain(&mut self, io: &mut Io<'_>) {
        if !self.done {
            self.look(io);
            self.end(io);
        }
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.done {
            return;
        }
        let now = io.now();
        let began = *self.began.get_or_insert(now);
        match self.tally.began {
            None if now >= began + self.config.warmup.into() => {
                self.look(io);
                self.tally.begin(now);
                self.second = Some(Opened { at: now, up: 0, down: 0, errors: 0 });
            }
            Some(measured) if self.config.duration.is_some_and(|duration| now >= measured + duration.into()) => {
                return self.finish(io);
            }
            _ => {}
        }
        let over = self.second_ends().is_some_and(|ends| now >= ends);
        if over || now >= self.next_look {
            self.look(io);
        }
        if over {
            self.tell(now);
        }
        for conn in std::mem::take(&mut self.again) {
            self.fill(io, conn);
        }
        self.open(io);
        if !self.done && self.is_over() {
            self.finish(io);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        if !self.again.is_empty() || !self.missing.is_empty() {
            return Some(Instant::ZERO);
        }
        let began = self.began?;
        let time = match self.tally.began {
            None => Some(began + self.config.warmup.into()),
            Some(measured) => self.config.duration.map(|duration| measured + duration.into()),
        };
        let look = (!self.links.is_empty()).then_some(self.next_look);
        [time, look, self.second_ends()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_out_of_their_place_are_noticed() {
        let text = b"abcde";
        assert!(matches(text, 3, b"deabcdeab") && matches(text, 10, b"ab") && matches(text, 7, b""));
        assert!(!matches(text, 3, b"deabcdeaa") && !matches(text, 4, b"d") && !matches(text, 3, b"dea."));
    }

    #[test]
    fn shares_make_all_of_it() {
        let shares: Vec<_> = (0..4).map(|number| share(1002, number, 4)).collect();
        assert_eq!(shares, [251, 251, 250, 250]);
    }
}
