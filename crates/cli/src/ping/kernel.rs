//! Ping over the kernel's sockets, to compare with.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::recorder::Next;
use super::{Config, Recorder};
use crate::args::KernelWait;
use crate::stop::Stop;

const WAKE: Token = Token(usize::MAX);
/// How often connections are looked through for an answer that is overdue.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);
/// While spinning, turns between two looks at the clock for that.
const SPINS_PER_CHECK: u32 = 4096;

/// Measures until the recorder has enough or the end is asked for. An error if no connection could be made, or if none
/// is left.
pub(super) fn run(config: &Config, stop: &Stop, recorder: &mut Recorder) -> anyhow::Result<()> {
    let mut fleet = Fleet::connect(config, stop, recorder)?;
    match config.kernel_wait {
        KernelWait::Epoll => fleet.run_in_epoll(stop),
        KernelWait::Spin => fleet.run_spinning(stop),
    }
}

struct Fleet<'a> {
    exchanges: Vec<Exchange>,
    alive: usize,
    finished: bool,
    first_error: Option<io::Error>,
    config: &'a Config,
    recorder: &'a mut Recorder,
}

impl<'a> Fleet<'a> {
    fn connect(config: &'a Config, stop: &Stop, recorder: &'a mut Recorder) -> anyhow::Result<Self> {
        let mut exchanges = Vec::with_capacity(config.connections);
        for index in 0..config.connections {
            if stop.requested() {
                break;
            }
            let stream = connect(config.target, config.timeout).map_err(|error| sentence(config.target, &error))?;
            exchanges.push(Exchange::new(stream, config.message_bytes, index));
        }
        Ok(Self { alive: exchanges.len(), exchanges, finished: false, first_error: None, config, recorder })
    }

    fn run_in_epoll(&mut self, stop: &Stop) -> anyhow::Result<()> {
        let mut poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        stop.on_request(move || {
            let _ = waker.wake();
        });
        for (index, exchange) in self.exchanges.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut exchange.stream, Token(index), interest)?;
        }
        for index in 0..self.exchanges.len() {
            self.send(index);
        }
        let mut events = Events::with_capacity(256);
        let mut next_check = Instant::now() + OVERDUE_EVERY;
        while !stop.requested() && !self.finished && self.alive > 0 {
            let timeout = self.until_due().unwrap_or(OVERDUE_EVERY);
            match poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.progress(event.token().0);
            }
            if self.config.interval.is_some() {
                self.send_due();
            }
            // The loop is bounded by what it measures: it looks at the clock only when a second went by without events,
            // or when several connections may hide one that is silent.
            if (events.is_empty() || self.exchanges.len() > 1) && Instant::now() >= next_check {
                self.fail_overdue();
                next_check = Instant::now() + OVERDUE_EVERY;
            }
        }
        self.end()
    }

    fn run_spinning(&mut self, stop: &Stop) -> anyhow::Result<()> {
        for index in 0..self.exchanges.len() {
            self.send(index);
        }
        let mut spins = 0u32;
        while !stop.requested() && !self.finished && self.alive > 0 {
            for index in 0..self.exchanges.len() {
                self.progress(index);
            }
            if self.config.interval.is_some() {
                self.send_due();
            }
            spins += 1;
            if spins == SPINS_PER_CHECK {
                spins = 0;
                self.fail_overdue();
            }
        }
        self.end()
    }

    /// Starts the next round trip of a connection.
    fn send(&mut self, index: usize) {
        let exchange = &mut self.exchanges[index];
        exchange.begin();
        if let Err(error) = exchange.flush() {
            self.fail(index, error);
        }
    }

    /// Does what can be done on a connection. A completed round trip is recorded, and the next one begins; its answer
    /// can't be there yet, so it is waited for in order.
    fn progress(&mut self, index: usize) {
        if self.finished {
            return;
        }
        let exchange = &mut self.exchanges[index];
        let received = match exchange.advance() {
            Ok(None) => return,
            Ok(Some(received)) => received,
            Err(error) => return self.fail(index, error),
        };
        self.finished |= self.recorder.record(exchange.started, received) == Next::Finished;
        match self.config.interval {
            Some(interval) => exchange.due = Some(exchange.started + interval),
            None if self.finished => {}
            None => self.send(index),
        }
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.exchanges.len() {
            if self.exchanges[index].due.is_some_and(|due| due <= now) {
                self.send(index);
            }
        }
    }

    /// Time until the next message is to be sent; none if none is planned.
    fn until_due(&self) -> Option<Duration> {
        self.config.interval?;
        let due = self.exchanges.iter().filter_map(|exchange| exchange.due);
        let left = due.min()?.saturating_duration_since(Instant::now());
        Some(left.min(OVERDUE_EVERY))
    }

    fn fail_overdue(&mut self) {
        let now = Instant::now();
        for index in 0..self.exchanges.len() {
            let exchange = &self.exchanges[index];
            let waited = now.saturating_duration_since(exchange.started);
            if exchange.phase == Phase::UnderWay && waited > self.config.timeout {
                self.fail(index, ErrorKind::TimedOut.into());
            }
        }
    }

    fn fail(&mut self, index: usize, error: io::Error) {
        tracing::info!(connection = index, %error, "connection failed");
        let exchange = &mut self.exchanges[index];
        exchange.phase = Phase::Failed;
        exchange.due = None;
        self.alive -= 1;
        self.recorder.error();
        self.first_error.get_or_insert(error);
    }

    fn end(&mut self) -> anyhow::Result<()> {
        match self.first_error.take() {
            Some(error) if self.alive == 0 => Err(sentence(self.config.target, &error)),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Resting,
    UnderWay,
    Failed,
}

/// One connection and the message that goes back and forth on it.
struct Exchange {
    stream: TcpStream,
    message: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
    received: usize,
    round: u64,
    phase: Phase,
    started: Instant,
    due: Option<Instant>,
}

impl Exchange {
    fn new(stream: TcpStream, bytes: usize, index: usize) -> Self {
        let mut random = crate::internal::Random::new(index as u64);
        let mut message = vec![0; bytes];
        random.fill(&mut message);
        Self {
            stream,
            answer: vec![0; bytes],
            message,
            sent: 0,
            received: 0,
            round: 0,
            phase: Phase::Resting,
            started: Instant::now(),
            due: None,
        }
    }

    /// A new message: its first bytes differ from round to round, so that a stale answer is noticed.
    fn begin(&mut self) {
        self.round += 1;
        for (byte, new) in self.message.iter_mut().zip(self.round.to_le_bytes()) {
            *byte = new;
        }
        (self.sent, self.received) = (0, 0);
        (self.phase, self.due) = (Phase::UnderWay, None);
        self.started = Instant::now();
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.message.len() {
            match self.stream.write(&self.message[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends and reads what it can. When the whole answer is there: the time, or an error if it is not what was sent.
    fn advance(&mut self) -> io::Result<Option<Instant>> {
        if self.phase != Phase::UnderWay {
            return Ok(None);
        }
        self.flush()?;
        loop {
            match self.stream.read(&mut self.answer[self.received..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => self.received += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.received == self.answer.len() {
                break;
            }
        }
        let received = Instant::now();
        self.phase = Phase::Resting;
        if self.answer == self.message { Ok(Some(received)) } else { Err(ErrorKind::InvalidData.into()) }
    }
}

fn connect(target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::connect_timeout(&target, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

/// What went wrong, and what to do about it.
pub(crate) fn sentence(target: SocketAddr, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            anyhow!("{target} refused the connection: start `fourwave serve echo --listen {target}` there")
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            anyhow!("there is no way to {target} from here: check the address, `ip route` and the namespace")
        }
        ErrorKind::TimedOut => {
            anyhow!("{target} did not answer in time: check that it is up, or give it more with --timeout-s")
        }
        ErrorKind::UnexpectedEof => {
            anyhow!("{target} closed the connection: check that an echo server listens there")
        }
        ErrorKind::InvalidData => {
            anyhow!("{target} sent back other bytes than it got: check that an echo server listens there")
        }
        ErrorKind::ConnectionReset => {
            anyhow!("{target} reset the connection: see what its server says")
        }
        _ => anyhow!("cannot exchange data with {target}: {error}"),
    }
}
