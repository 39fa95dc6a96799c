//! The generator, over either stack: it opens connections, sends requests when they are to be sent, counts what comes of them,
//! gives up on what takes too long, and closes. What is said to the server is the [`Protocol`]'s.

mod asking;
mod ending;
mod opening;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use fourwave::{App, ConnId, ConnMap, ConnectionError, Duration, Instant, Io, Place, Running, TimerId};

use super::client::{Client, UnderWay};
use super::pace::{Evenly, OpenLoop, Pace};
use super::protocol::{Protocol, Purpose};
use super::tally::Tally;
use super::{CloseBy, Config, builder};
use crate::args::Stack;
use crate::measure::{Clock, Observer, Run, Tap};
use crate::stack;
use crate::stop::Stop;
use ending::WindingDown;

/// A sleep may take that much longer than it should: it ends before the next request is due, and the rest is spun. The kernel
/// counts it in milliseconds, rounded up.
const OVERSLEEP: Duration = Duration::from_micros(1500);
/// From the last connection to the first arrival: shards that slept are awake by then.
const HEAD_START: Duration = Duration::from_millis(3);
/// How long shards that wait for the connections of others sleep.
const MEET: Duration = Duration::from_millis(1);

/// Runs until it is done or the end is asked for; what was counted, and what stopped it. `server`: what `fourwave serve` calls
/// such a server.
pub(super) fn run<P: Protocol>(
    config: &Config,
    protocol: &P,
    server: &'static str,
    (measurement, observer): (&mut Run, &Observer),
    stop: &Stop,
) -> anyhow::Result<(Tally, anyhow::Result<()>)> {
    let builder = builder(config)?;
    let shared = Arc::new(Shared { connections: config.connections, open: observer.open(), ..Shared::default() });
    let (clock, spins) = (measurement.clock(), stack::spins(&config.at, config.kernel_wait));
    let make = |place: Place| {
        shared.busy.store(place.count.into(), Ordering::Relaxed);
        let part = Part::of(config, place);
        let tap = observer.tap(0, part.count, &shared.measures, config.duration).of_a_loop_that_spins(spins);
        let tap = Some(tap).filter(|_| part.has_work());
        Load::new(part.share(config), protocol.clone(), server, part, Arc::clone(&shared), (clock, tap))
    };
    let (mut tally, mut failure) = (Tally::new(), None);
    let ready = |running: &Running<Load<P>>| tracing::info!("{}", stack::place(running));
    let (loads, counts) = stack::run_and_count(builder, make, stop, ready)?;
    measurement.stack_ended(config.at.stack == Stack::Kernel, &counts);
    for mut load in loads {
        load.settle_sending();
        tally.add(&load.tally.without_warmup());
        failure = failure.or(load.failure);
    }
    Ok((tally, failure.map_or(Ok(()), Err)))
}

/// Which of the shards that have something to do one is: one without a connection must not have requests or a part of the rate,
/// which would never be sent, and one without a request no connection.
#[derive(Clone, Copy, Debug)]
struct Part {
    index: u16,
    count: u16,
}

impl Part {
    fn of(config: &Config, place: Place) -> Self {
        let most = config.requests.map_or(config.connections, |requests| {
            usize::try_from(requests).unwrap_or(usize::MAX).min(config.connections)
        });
        let count = u16::try_from(most).unwrap_or(u16::MAX).clamp(1, place.count.max(1));
        Self { index: place.index, count }
    }

    const fn has_work(self) -> bool {
        self.index < self.count
    }

    /// Its share of connections and requests.
    fn share(self, config: &Config) -> Config {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        let part = |all: u64| if self.has_work() { all / count + u64::from(index < all % count) } else { 0 };
        Config {
            connections: usize::try_from(part(config.connections as u64)).unwrap_or(usize::MAX),
            requests: config.requests.map(part),
            ..config.clone()
        }
    }
}

/// What the shards know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// Of all of them.
    connections: usize,
    /// How many were opened so far, and how many are open.
    opened: AtomicUsize,
    open: Arc<AtomicUsize>,
    /// Those that are not done.
    busy: AtomicUsize,
    /// When the warm-up begins, and when measuring does.
    start: OnceLock<Instant>,
    measures: Arc<OnceLock<Instant>>,
}

/// A shard's part. What is measured is measured by [`Load::clock`], everything else by the stack's own.
#[derive(Debug)]
struct Load<P: Protocol> {
    config: Config,
    protocol: P,
    server: &'static str,
    timeout: Duration,
    /// Of an open loop, whose times are exact; else the stack's is used, which is read once in a turn.
    clock: Option<Clock>,
    open: Option<OpenLoop>,
    /// Of a closed loop.
    think: Option<Duration>,
    tally: Tally,
    tap: Option<Tap>,
    clients: ConnMap<Client<P>>,
    /// What clients that are gone have left, for others.
    spare: Vec<UnderWay<P::Tag>>,
    /// Connections that may be begun, and not before when; the first ones are let in evenly.
    missing: usize,
    retry_at: Instant,
    /// How often one of the addresses to connect from was taken.
    source: usize,
    ramp: Option<Evenly>,
    /// Who thinks until when: of a connection, or of one that is to be opened.
    thinking: VecDeque<(Instant, Option<ConnId>)>,
    /// The first turn.
    first: Option<Instant>,
    /// When to be awake at the latest.
    wake_at: Option<Instant>,
    /// A connection was made.
    reached: bool,
    /// What is still under way of a closed loop whose time is over; nothing more is asked then.
    left: Option<u64>,
    done: bool,
    winding_down: Option<WindingDown>,
    shared: Arc<Shared>,
    failure: Option<anyhow::Error>,
}

impl<P: Protocol> Load<P> {
    fn new(
        config: Config,
        protocol: P,
        server: &'static str,
        part: Part,
        shared: Arc<Shared>,
        (clock, tap): (Clock, Option<Tap>),
    ) -> Self {
        let open = OpenLoop::of(&config, part.index, part.count);
        let think = match config.pace {
            Pace::Closed { think } => think.map(Duration::from),
            Pace::Open { .. } => None,
        };
        Self {
            protocol,
            server,
            timeout: stack::duration(config.timeout),
            clock: open.is_some().then_some(clock),
            open,
            think,
            tally: Tally::new(),
            tap,
            clients: ConnMap::new(),
            spare: Vec::new(),
            missing: 0,
            retry_at: Instant::ZERO,
            source: 0,
            ramp: None,
            thinking: VecDeque::new(),
            first: None,
            wake_at: None,
            reached: false,
            left: None,
            done: false,
            winding_down: None,
            shared,
            failure: None,
            config,
        }
    }

    /// What is measured is measured by this.
    #[inline]
    fn now(&self, io: &Io<'_>) -> Instant {
        self.clock.map_or_else(|| io.now(), |clock| clock.now())
    }

    /// Something went wrong.
    fn wrong(&mut self, counter: impl FnOnce(&mut Tally) -> &mut u64) {
        *counter(&mut self.tally) += 1;
        if let Some(tap) = self.tap.as_mut().filter(|_| self.tally.began.is_some()) {
            tap.error();
        }
    }

    /// When the warm-up begins, once that is known: in the first turn; but over connections that are kept when they are there,
    /// or what is measured would be of fewer. A closed loop without a warm-up has all counted that it does.
    fn start(&mut self, io: &Io<'_>, now: Instant) -> Option<Instant> {
        if let Some(start) = self.shared.start.get() {
            return Some(*start);
        }
        let ramp_up = Duration::from(self.config.ramp_up);
        let first = self.first.unwrap_or(io.now());
        let at_once = self.open.is_none() && self.config.warmup.is_zero();
        if at_once || self.config.close.is_some() {
            return Some(*self.shared.start.get_or_init(|| now + ramp_up));
        }
        // Without those that will not come.
        let late = io.now() >= first + ramp_up + self.timeout;
        let all = self.shared.opened.load(Ordering::Relaxed) >= self.shared.connections;
        (late || all).then(|| *self.shared.start.get_or_init(|| now + HEAD_START))
    }

    /// Goes from the warm-up to measuring, and on to the end.
    fn go_on(&mut self, io: &mut Io<'_>, now: Instant) {
        let Some(start) = self.start(io, now) else { return };
        let from = start + self.config.warmup.into();
        if let Some(open) = &mut self.open {
            open.starts(start);
        }
        if self.tally.began.is_none() && now >= from {
            self.tally.begin(from);
            if self.open.is_none() {
                // Their answers count.
                self.tally.requests = self.clients.iter().map(|(_, client)| client.under_way.len() as u64).sum();
            }
            // What the warm-up was too short for is not made up for.
            self.open.as_mut().map(|open| open.give_up(None, from - Duration::from_nanos(1)));
            self.shared.measures.get_or_init(|| from);
        }
        if self.open.is_none() && self.config.duration.is_some_and(|time| now >= from + time.into()) {
            self.ask_no_more(now);
        }
        if self.has_enough() {
            self.finish(io);
        }
    }
}

impl<P: Protocol> App for Load<P> {
    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        stack::set_asking(io, conn, &self.config.at.tcp);
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.connected = true;
        let (since, intended) = (client.since, client.intended);
        self.reached = true;
        self.tally.connects += 1;
        Tally::record(&mut self.tally.connect_latency, io.now().saturating_since(since));
        self.shared.opened.fetch_add(1, Ordering::Relaxed);
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        if self.done {
            return;
        }
        self.protocol.opened(io, conn);
        match self.protocol.purpose() {
            Purpose::Requests if self.config.close.is_some() => self.ask(io, conn, intended, since),
            Purpose::Requests if self.open.is_some() => self.has_room(conn),
            Purpose::Requests if self.left.is_some() => {}
            Purpose::Requests => (0..self.config.pipeline).for_each(|_| self.ask(io, conn, io.now(), io.now())),
            Purpose::Opening => self.opened(io, conn, intended),
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
            self.has_room(conn);
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
            let cut_off = if gone.last { 0 } else { gone.unanswered };
            (0..cut_off).for_each(|_| self.wrong(|tally| &mut tally.cut_off));
            let _ = io.close(conn);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let Some(gone) = self.forget(io, conn).filter(|_| !self.done) else { return };
        let Some(error) = error else { return };
        if !gone.connected {
            self.wrong(|tally| &mut tally.connect_errors);
            self.retry_at = io.now() + opening::RETRY;
            if !self.reached {
                self.fail(io, self.sentence(error));
            }
        } else if error == ConnectionError::TimedOut {
            self.wrong(|tally| &mut tally.timeouts);
        } else {
            self.wrong(|tally| &mut tally.resets);
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
        self.wrong(|tally| &mut tally.timeouts);
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
        if !self.done {
            self.first.get_or_insert(io.now());
            let now = self.now(io);
            if let Some(tap) = &mut self.tap {
                tap.tick(now);
            }
            self.go_on(io, now);
            if self.left.is_none() {
                self.let_in(io.now());
                self.think_on(io);
            }
            match self.open {
                Some(_) => self.send_due(io),
                None => self.open_missing(io),
            }
            self.settle(io);
        }
        if self.done {
            self.wind_down(io);
        }
        self.wake_at = self.next_wake(io);
        let awake = self.wake_at.map(|at| self.now(io) + (at - io.now()));
        if let Some(tap) = &mut self.tap {
            tap.awake_at(awake);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn config(flags: &str) -> Config {
        let line = format!("fourwave load http http://127.0.0.1/ --stack kernel {flags}");
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Load(args) => args.resolve().unwrap().0,
            other => panic!("{other:?}"),
        }
    }

    fn parts(config: &Config, count: u16) -> Vec<(Part, Config)> {
        let part = |index| Part::of(config, Place { index, count });
        (0..count).map(|index| (part(index), part(index).share(config))).collect()
    }

    /// Whatever there is less of, connections, requests or shards: all of it is somebody's who can do it.
    #[test]
    fn shards_share_all_there_is_among_those_that_can_do_it() {
        for (connections, requests) in [(1, 10), (2, 1), (3, 100), (16, 7), (5, 5), (100, 1000)] {
            let all = config(&format!("--connections {connections} --requests {requests}"));
            for count in [1, 2, 3, 8, 32] {
                let shares = parts(&all, count);
                let sum = |of: fn(&Config) -> u64| shares.iter().map(|(_, share)| of(share)).sum::<u64>();
                assert_eq!(sum(|share| share.connections as u64), connections, "{count} shards");
                assert_eq!(sum(|share| share.requests.unwrap()), requests, "{count} shards");
                let idle = |share: &Config| (share.connections == 0, share.requests == Some(0));
                assert!(shares.iter().all(|(part, share)| idle(share) == (!part.has_work(), !part.has_work())));
            }
        }
    }

    /// 1000 a second for a second, of one connection, whose shard is one of four.
    #[test]
    fn the_rate_is_that_of_shards_with_connections() {
        let all = config("--connections 1 --rate 1000 --seconds 1 --warmup 0");
        let arrivals = |(part, share): &(Part, Config)| {
            let mut open = OpenLoop::of(share, part.index, part.count)?;
            open.starts(Instant::ZERO);
            Some(open.give_up(Some(Instant::ZERO), Instant::ZERO + Duration::from_secs(2)))
        };
        let shares = parts(&all, 4);
        assert_eq!(shares.iter().map(|(_, share)| share.connections).collect::<Vec<_>>(), [1, 0, 0, 0]);
        assert_eq!(arrivals(&shares[0]), Some(1000));
    }
}
