//! The probe: a connection of its own that asks for something again and again, whatever the others do, and so tells how long a user
//! would have waited meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use fourwave::{ConnId, Duration, Half, Instant, Io};

use super::timeline::{Part, Probed};
use super::{Exchange, Reader};
use crate::load::Config;
use crate::load::protocol::{Protocol, Step};
use crate::stack;

/// Before another connection is tried.
const RETRY: Duration = Duration::from_millis(100);
/// A loop that sleeps may come that much too late without anything being wrong.
const OVERSLEEP: Duration = Duration::from_millis(2);
/// Requests under way at the most; what is due beyond them goes later, and its time runs.
const MOST: usize = 4096;

/// What became of its requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Those of connections that were lost.
    pub(super) lost: u64,
    /// How often it had to be opened again, or could not be opened.
    pub(super) failures: u64,
}

#[derive(Debug)]
pub(super) struct Probe {
    every: Duration,
    timeout: Duration,
    spins: bool,
    exchange: Exchange,
    conn: Option<ConnId>,
    open: bool,
    ending: bool,
    /// When the next request is, or a connection is to be tried again or given up.
    due: Instant,
    /// From when on the times of requests count that are not answered.
    asked: VecDeque<Instant>,
    /// Bytes of the last one that there was no room for.
    unsent: usize,
    reader: Reader,
    pub(super) tally: Tally,
    probed: Arc<Probed>,
}

impl Probe {
    pub(super) fn new(config: &Config, every: std::time::Duration, exchange: &Exchange, probed: Arc<Probed>) -> Self {
        Self {
            every: every.into(),
            timeout: stack::duration(config.timeout),
            spins: stack::spins(&config.at, config.kernel_wait),
            exchange: exchange.clone(),
            conn: None,
            open: false,
            ending: false,
            due: Instant::ZERO,
            asked: VecDeque::new(),
            unsent: 0,
            reader: Reader::default(),
            tally: Tally::default(),
            probed,
        }
    }

    pub(super) fn is(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    pub(super) const fn is_ending(&self) -> bool {
        self.ending
    }

    /// Does what is due.
    pub(super) fn on_turn(&mut self, config: &Config, source: &mut usize, io: &mut Io<'_>) {
        let now = io.now();
        if self.ending || now < self.due {
            return;
        }
        match self.conn {
            None => {
                self.conn = super::connect(config, source, io).ok();
                self.due = now + if self.conn.is_some() { self.timeout } else { RETRY };
                self.tally.failures += u64::from(self.conn.is_none());
            }
            Some(conn) if !self.open || self.asked.front().is_some_and(|asked| now >= *asked + self.timeout) => {
                let _ = io.abort(conn);
                self.on_closed(now);
            }
            Some(conn) => self.ask(io, conn),
        }
    }

    fn ask(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let now = io.now();
        while self.due <= now && self.unsent == 0 && self.asked.len() < MOST {
            // What a stall has held back counts from when it was due.
            let late = self.spins || now - self.due > OVERSLEEP;
            self.asked.push_back(if late { self.due } else { now });
            self.due += self.every;
            self.tally.asked += 1;
            self.unsent = self.exchange.bytes(()).len();
            self.push(io, conn);
        }
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let all = self.exchange.bytes(());
        let sent = io.send(conn, &all[all.len() - self.unsent..]).unwrap_or(0);
        self.unsent -= sent.min(self.unsent);
    }

    pub(super) fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let _ = io.set_nodelay(conn, true);
        (self.open, self.due) = (true, io.now());
    }

    pub(super) fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.unsent > 0 {
            self.push(io, conn);
        }
    }

    pub(super) fn on_data(&mut self, now: Instant, part: Part, mut data: &[u8]) {
        while !data.is_empty() {
            let Some(asked) = self.asked.front().copied() else { return };
            let (taken, step) = self.exchange.read(&mut self.reader, (), data);
            data = &data[taken..];
            if let Step::Whole(_) = step {
                self.asked.pop_front();
                self.tally.answered += 1;
                self.probed.add(part, now.saturating_since(asked).as_nanos());
            }
        }
    }

    /// It is gone, and another is opened.
    pub(super) fn on_closed(&mut self, now: Instant) {
        self.tally.lost += self.asked.len() as u64;
        self.tally.failures += u64::from(!self.ending);
        (self.conn, self.open, self.unsent, self.due) = (None, false, 0, now + RETRY);
        self.asked.clear();
        self.reader = Reader::default();
    }

    /// Closes it in order. False: it is gone.
    pub(super) fn end(&mut self, io: &mut Io<'_>) -> bool {
        let Some(conn) = self.conn else { return false };
        if !self.open {
            let _ = io.abort(conn);
            self.conn = None;
            return false;
        }
        if !self.ending {
            self.ending = true;
            let _ = io.shutdown(conn, Half::Write);
        }
        true
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        // With no room for more it is an answer that is waited for, up to its time.
        let full = self.unsent > 0 || self.asked.len() >= MOST;
        let waits = self.asked.front().filter(|_| full).map(|asked| *asked + self.timeout);
        (!self.ending).then(|| waits.unwrap_or(self.due))
    }
}
