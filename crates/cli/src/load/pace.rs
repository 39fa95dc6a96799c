//! When requests are sent: each when one before is answered (closed loop), or each when it is due (open loop).

use std::collections::VecDeque;
use std::time::Duration;

use fourwave::{ConnId, Instant};

use super::Config;
use crate::measure::{Arrivals, Gaps, Rate};

/// How long arrivals that were held back are still begun behind the end of the schedule.
pub(super) const CATCH_UP: fourwave::Duration = fourwave::Duration::from_secs(1);

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// For the response to one before, and then for so much of time.
    Closed { think: Option<Duration> },
    /// For nothing but its time.
    Open { rate: Rate, gaps: Gaps },
}

/// One shard's arrivals, and the connections that they may go to. An arrival that finds none waits in the schedule, which lags:
/// there is no queue of them.
#[derive(Debug)]
pub(super) struct OpenLoop {
    arrivals: Arrivals,
    /// When the first is due, once that is known.
    start: Option<Instant>,
    /// Those that are due from here on, counted from the start, don't come. Behind the last of a limited number it is known.
    end: Option<Duration>,
    /// Measured ones that are to come, if their number is limited.
    left: Option<u64>,
    /// Connections with room for a request, longest first. Some may be dead.
    free: VecDeque<ConnId>,
    /// Until when there was no connection with room, last. It is known in turns: `waits` is so from one that found none to the next.
    held: Option<Instant>,
    waits: bool,
    /// Begun, and neither answered nor given up.
    pub(super) outstanding: u64,
    /// When the last answer came.
    pub(super) last_answer: Option<Instant>,
}

impl OpenLoop {
    /// `config` is a shard's share.
    pub(super) fn of(config: &Config, shard: u16, shards: u16) -> Option<Self> {
        let Pace::Open { rate, gaps } = config.pace else { return None };
        let time = config.duration.unwrap_or_default();
        Some(Self {
            arrivals: Arrivals::new(rate, gaps, (shard, shards), config.warmup, time),
            start: None,
            end: config.duration.map(|time| config.warmup + time),
            left: config.requests,
            free: VecDeque::new(),
            held: None,
            waits: false,
            outstanding: 0,
            last_answer: None,
        })
    }

    pub(super) fn starts(&mut self, at: Instant) {
        self.start.get_or_insert(at);
    }

    /// When the next arrival is due, which may be past. `None`: it has not started, or none is left.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = Some(self.arrivals.next()).filter(|next| self.end.is_none_or(|end| *next < end))?;
        self.start.filter(|_| self.left != Some(0)).map(|start| start + next.into())
    }

    /// The arrival of [`next`](Self::next) is begun, or given up.
    pub(super) fn advance(&mut self, measured: bool) {
        self.arrivals.advance();
        if let Some(left) = self.left.as_mut().filter(|_| measured) {
            *left -= 1;
            if *left == 0 {
                let next = self.arrivals.next();
                self.end = Some(self.end.map_or(next, |end| end.min(next)));
            }
        }
    }

    /// What is due is begun now, as far as there is room. Who waited for room has found none until this turn: what has become due
    /// meanwhile waited as well, though a loop that slept for want of room did not see it.
    pub(super) fn looks(&mut self, now: Instant) {
        if std::mem::take(&mut self.waits) {
            self.held = Some(now);
        }
    }

    /// Who was due last has found no room.
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// An arrival that is due finds no room.
    pub(super) fn finds_no_room(&mut self, now: Instant) {
        (self.held, self.waits) = (Some(now), true);
    }

    /// Until when there was no room.
    pub(super) const fn held(&self) -> Option<Instant> {
        self.held
    }

    /// The next arrival is due, and waits for room.
    pub(super) fn lags(&self) -> bool {
        self.held.zip(self.next()).is_some_and(|(held, due)| due <= held)
    }

    /// When the schedule is over, if that is known yet.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.start.zip(self.end).map(|(start, end)| start + end.into())
    }

    /// Passes over what is due by now. How many of that were measured, which is from `from` on.
    pub(super) fn give_up(&mut self, from: Option<Instant>, now: Instant) -> u64 {
        let mut unsent = 0;
        while let Some(next) = self.next().filter(|next| *next <= now) {
            let measured = from.is_some_and(|from| next >= from);
            unsent += u64::from(measured);
            self.advance(measured);
        }
        unsent
    }

    /// A connection has room. `most`: how many there can be.
    pub(super) fn free(&mut self, conn: ConnId, most: usize, lives: impl Fn(ConnId) -> bool) {
        // Where connections end faster than arrivals come, dead ones gather.
        if self.free.len() > 2 * most + 64 {
            self.free.retain(|conn| lives(*conn));
        }
        self.free.push_back(conn);
    }

    pub(super) fn take_free(&mut self) -> Option<ConnId> {
        self.free.pop_front()
    }
}

/// Things that happen evenly over some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evenly {
    total: usize,
    over: fourwave::Duration,
    from: Instant,
    done: usize,
}

impl Evenly {
    pub(super) fn new(total: usize, over: Duration, from: Instant) -> Self {
        Self { total, over: over.into(), from, done: 0 }
    }

    /// How many more have become due.
    pub(super) fn due(&mut self, now: Instant) -> usize {
        let (passed, over) = ((now - self.from).as_nanos(), self.over.as_nanos());
        let due = match passed < over {
            // Not more than there are.
            true => usize::try_from(self.total as u128 * u128::from(passed) / u128::from(over)).unwrap_or(self.total),
            false => self.total,
        };
        let more = due.saturating_sub(self.done);
        self.done += more;
        more
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = (self.done as u128 + 1) * u128::from(self.over.as_nanos());
        let after = next.div_ceil((self.total as u128).max(1));
        let after = fourwave::Duration::from_nanos(u64::try_from(after).unwrap_or(u64::MAX));
        (self.done < self.total).then(|| self.from + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sending;

    const MS: fourwave::Duration = fourwave::Duration::from_millis(1);

    /// A server that stalls for half a second holds up what is due within it, whether the loop that has nothing to send on sleeps
    /// meanwhile or not; what it gets to late behind that is its own doing.
    #[test]
    fn what_waits_for_room_is_held_back_and_the_loop_is_not_late() {
        let start = Instant::ZERO;
        let arrivals =
            Arrivals::new(Rate::Constant(100), Gaps::Constant, (0, 1), Duration::ZERO, Duration::from_secs(1));
        let mut open = OpenLoop {
            arrivals,
            start: Some(start),
            end: Some(Duration::from_secs(1)),
            left: None,
            free: VecDeque::new(),
            held: None,
            waits: false,
            outstanding: 0,
            last_answer: None,
        };
        let mut sending = Sending::default();
        let mut begin_all = |open: &mut OpenLoop, now: Instant| {
            open.looks(now);
            while let Some(due) = open.next().filter(|due| *due <= now) {
                sending.begun(due, now, open.held());
                open.advance(true);
            }
            (sending.sent, sending.late, sending.held_back)
        };
        assert_eq!(begin_all(&mut open, start), (1, 0, 0));
        open.looks(start + MS * 10);
        open.finds_no_room(start + MS * 10);
        assert!(open.lags());
        assert_eq!(begin_all(&mut open, start + MS * 500), (51, 0, 50));
        assert!(!open.lags());
        assert_eq!(begin_all(&mut open, start + MS * 525), (53, 2, 50));
    }

    #[test]
    fn what_is_to_happen_evenly_does() {
        let start = Instant::from_nanos(5);
        let mut evenly = Evenly::new(4, Duration::from_millis(10), start);
        assert_eq!((evenly.due(start), evenly.next()), (0, Some(start + MS * 5 / 2)));
        assert_eq!((evenly.due(start + MS * 5 / 2), evenly.next()), (1, Some(start + MS * 5)));
        assert_eq!(evenly.due(start + MS * 9), 2);
        assert_eq!((evenly.due(start + MS * 10), evenly.next()), (1, None));
        assert_eq!(evenly.due(start + MS * 99), 0);
        let mut at_once = Evenly::new(3, Duration::ZERO, start);
        assert_eq!((at_once.due(start), at_once.next()), (3, None));
        // The time that is told is always one at which something is due.
        let mut odd = Evenly::new(7, Duration::from_nanos(100), start);
        let mut now = start;
        while let Some(next) = odd.next() {
            assert!(next > now);
            now = next;
            assert_eq!(odd.due(now), 1);
        }
        assert_eq!(now, start + fourwave::Duration::from_nanos(100));
    }
}
