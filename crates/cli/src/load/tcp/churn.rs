//! Short connections beside those that are there: each is opened, asks once, and is closed in order.

use std::collections::VecDeque;
use std::time::Duration;

use fourwave::{ConnId, Instant};
use hdrhistogram::Histogram;

use crate::load::pace::Evenly;
use crate::measure;

/// Short connections of a shard that are there at once, at the most: those that wait for a lost segment among them.
const MOST: usize = 16_384;
/// And so many of them under way, without a loss.
pub(super) const WINDOW: usize = 64;
/// Where no port is free, until one is looked for again.
const RETRY: fourwave::Duration = fourwave::Duration::from_millis(10);

/// What is to come and go, over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Churn {
    pub(crate) connections: u64,
    /// How many a second; otherwise as many as the server takes.
    pub(crate) rate: Option<u32>,
}

/// A shard's part of it.
#[derive(Debug)]
pub(super) struct Churning {
    evenly: Evenly,
    /// So many may be begun by now.
    pub(super) may: usize,
    pub(super) under_way: usize,
    /// When each is given up.
    deadlines: VecDeque<(Instant, ConnId)>,
    /// When one was begun last, and when the next may be.
    began: Instant,
    retry: Instant,
}

impl Churning {
    /// `part` of so many are this shard's.
    pub(super) fn new(churn: Churn, part: u64, now: Instant) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "connections below 2^53")]
        let seconds = churn.rate.map_or(0.0, |rate| churn.connections as f64 / f64::from(rate));
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        Self {
            evenly: Evenly::new(part, Duration::from_secs_f64(seconds), now),
            may: 0,
            under_way: 0,
            deadlines: VecDeque::new(),
            began: now,
            retry: now,
        }
    }

    /// Whether one more may be begun now.
    pub(super) fn wants(&mut self, now: Instant) -> bool {
        self.may += self.evenly.due(now);
        self.may > 0 && self.under_way < MOST && now >= self.retry
    }

    pub(super) fn begin(&mut self, now: Instant, conn: ConnId, timeout: fourwave::Duration) {
        (self.may, self.under_way, self.began) = (self.may - 1, self.under_way + 1, now);
        self.deadlines.push_back((now + timeout, conn));
    }

    /// No port is free, or there is no room: others will end. True: none did for so long, and this one is given up.
    pub(super) fn held_up(&mut self, now: Instant, timeout: fourwave::Duration) -> bool {
        let gives_up = now >= self.began + timeout;
        self.may -= usize::from(gives_up);
        self.retry = if gives_up { now } else { now + RETRY };
        gives_up
    }

    /// The next one whose time is over. `lives`: whether it is still there.
    pub(super) fn expired(&mut self, now: Instant, lives: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        while let Some((until, conn)) = self.deadlines.front().copied() {
            let lives = lives(conn);
            if lives && now < until {
                return None;
            }
            self.deadlines.pop_front();
            if lives {
                return Some(conn);
            }
        }
        None
    }

    const fn held(&self) -> bool {
        self.retry.as_nanos() > self.began.as_nanos()
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let begins = if self.may > 0 { Some(self.retry).filter(|_| self.held()) } else { self.evenly.next() };
        let ends = self.deadlines.front().map(|(until, _)| *until);
        begins.into_iter().chain(ends).min()
    }
}

/// What one shard measures of it, and all together.
#[derive(Clone, Debug)]
pub(super) struct Churned {
    /// From the SYN to the answer.
    pub(super) latency: Histogram<u64>,
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
    /// Memory of this process and of the server's when it began, and when it was over.
    pub(super) resident: [u64; 2],
    pub(super) server_resident: [u64; 2],
}

impl Churned {
    pub(super) fn new() -> Self {
        Self { latency: measure::histogram(), began: None, ended: None, resident: [0; 2], server_resident: [0; 2] }
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Of equal bounds.
        let _ = self.latency.add(&other.latency);
        self.began = [self.began, other.began].into_iter().flatten().min();
        self.ended = self.ended.max(other.ended);
        for at in 0..2 {
            self.resident[at] = self.resident[at].max(other.resident[at]);
            self.server_resident[at] = self.server_resident[at].max(other.server_resident[at]);
        }
    }
}
