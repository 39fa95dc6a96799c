//! What a loop does with its time: one addition to a histogram for each turn, of a clock that is read anyway.

use stack::{Duration, Instant};

/// Durations of turns, by powers of two of nanoseconds.
pub(crate) const BUCKETS: usize = 40;

/// How long turns took, from the clock's reading of one to that of the next, or to a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Of those that found something to do and of those that found nothing: how many took at most 2^n ns, and more than half
    /// of that. The last one has all that took longer.
    busy: [u64; BUCKETS],
    idle: [u64; BUCKETS],
    /// What they took together, ns.
    busy_ns: u64,
    idle_ns: u64,
    /// What the loop has slept, ns.
    asleep_ns: u64,
}

/// Turns that were longer than 2^23 ns, 8.4 ms, were stalls: the machine had taken the core away, or the application did not
/// return.
const STALL_BUCKET: usize = 23;

impl Turns {
    const NONE: Self = Self { busy: [0; BUCKETS], idle: [0; BUCKETS], busy_ns: 0, idle_ns: 0, asleep_ns: 0 };

    /// How many turns that found something to do, or nothing, took at most 2^n ns, for each n from 0 on; the last is how many
    /// there were.
    pub fn at_most(&self, busy: bool) -> impl Iterator<Item = u64> {
        let mut sum = 0;
        let buckets = if busy { &self.busy } else { &self.idle };
        buckets.iter().map(move |n| {
            sum += n;
            sum
        })
    }

    /// What turns that found something to do took together.
    #[must_use]
    pub const fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns)
    }

    /// What turns took that found nothing: the loop spun.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        Duration::from_nanos(self.idle_ns)
    }

    /// How long the loop has slept.
    #[must_use]
    pub const fn asleep(&self) -> Duration {
        Duration::from_nanos(self.asleep_ns)
    }

    /// Turns that took more than 8.4 ms (2^23 ns).
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.busy
            .iter()
            .chain(&self.idle)
            .zip((0..BUCKETS).cycle())
            .filter(|(_, at)| *at > STALL_BUCKET)
            .map(|(n, _)| n)
            .sum()
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::NONE
    }
}

/// What the loop is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Asleep,
    Idle,
    Busy,
}

/// Measures a loop.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Instant,
    at: At,
    turns: Turns,
}

impl Meter {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { since: now, at: At::Asleep, turns: Turns::NONE }
    }

    pub(crate) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// A turn begins: the one before is over, or the sleep.
    #[inline]
    pub(crate) fn begins(&mut self, now: Instant) {
        self.end(now);
        self.at = At::Idle;
    }

    /// Whether that turn found something to do.
    #[inline]
    pub(crate) fn worked(&mut self, worked: bool) {
        if worked {
            self.at = At::Busy;
        }
    }

    /// The loop is about to sleep.
    pub(crate) fn sleeps(&mut self, now: Instant) {
        self.end(now);
        self.at = At::Asleep;
    }

    #[inline]
    fn end(&mut self, now: Instant) {
        let took = (now - self.since).as_nanos();
        self.since = now;
        let (buckets, sum) = match self.at {
            At::Asleep => return self.turns.asleep_ns += took,
            At::Idle => (&mut self.turns.idle, &mut self.turns.idle_ns),
            At::Busy => (&mut self.turns.busy, &mut self.turns.busy_ns),
        };
        *sum += took;
        buckets[bucket(took)] += 1;
    }
}

/// The least n with 2^n ns no less than that.
#[inline]
fn bucket(ns: u64) -> usize {
    let bits = u64::BITS - ns.saturating_sub(1).leading_zeros();
    (bits as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_is_at_most_its_power_of_two() {
        let cases =
            [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11), (1 << 39, 39), (u64::MAX, 39)];
        assert!(cases.iter().all(|(ns, n)| bucket(*ns) == *n), "{:?}", cases.map(|(ns, _)| bucket(ns)));
    }

    #[test]
    fn time_is_that_of_work_of_spinning_or_of_sleep() {
        let at = |us| Instant::ZERO + Duration::from_micros(us);
        let mut meter = Meter::new(at(0));
        meter.begins(at(100));
        meter.worked(true);
        meter.begins(at(110));
        meter.worked(false);
        meter.begins(at(111));
        meter.worked(true);
        meter.sleeps(at(113));
        meter.begins(at(1113));
        meter.worked(false);
        meter.begins(at(21_113));
        let turns = *meter.turns();
        let us = Duration::from_micros;
        assert_eq!((turns.busy(), turns.idle(), turns.asleep()), (us(12), us(20_001), us(1100)));
        let counts = |busy| turns.at_most(busy).collect::<Vec<_>>();
        // 2 us are less than 2^11 ns, 10 us less than 2^14; 1 us is less than 2^10, and 20 ms less than 2^25.
        assert_eq!((counts(true)[10], counts(true)[11], counts(true)[13], counts(true)[14]), (0, 1, 1, 2));
        assert_eq!((counts(false)[9], counts(false)[10], counts(false)[24], counts(false)[25]), (0, 1, 1, 2));
        assert_eq!((counts(true)[BUCKETS - 1], counts(false)[BUCKETS - 1]), (2, 2));
        assert_eq!(turns.stalls(), 1);
    }
}
