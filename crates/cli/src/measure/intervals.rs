//! What is measured within each second, on its way from the stack's threads to the one that writes it down.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};

use fourwave::{Duration, Instant};
use hdrhistogram::Histogram;

use super::turning::{Generator, Turning};

const SECOND: Duration = Duration::from_secs(1);

/// One shard's part of a second.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Which value of a sweep.
    pub(crate) step: usize,
    /// Counted from when measuring began, from 0.
    pub(crate) index: u64,
    /// How many shards there are: as many parts make the whole.
    pub(crate) shards: u16,
    pub(crate) start: std::time::Instant,
    /// A second, but for the last.
    pub(crate) length: std::time::Duration,
    pub(crate) histogram: Histogram<u64>,
    pub(crate) errors: u64,
    /// What the shard's loop lost since the one before.
    pub(crate) lost: Generator,
    /// Where the histogram is wanted again, empty.
    pub(crate) back: Sender<Histogram<u64>>,
}

/// Counts a shard's part of each second, on the shard's own thread. Histograms go round, so that at the end of one nothing is
/// copied or allocated.
///
/// An application has one for each measurement ([`Observer::tap`](super::Observer::tap)). Its times may be of any clock, such as the
/// stack's ([`Io::now`](fourwave::Io::now)), if they are all of the same: [`Tap::record`] for each answer, [`Tap::error`] for each that
/// will not come, [`Tap::tick`] in every turn of the loop (and the loop awake at [`Tap::ends`]), so that a second without an
/// answer is told as well ([`Tap::awake_at`] says when else it is to be), and [`Tap::end`] when measuring is over. Nothing is told before `began` is set, to when measuring
/// began on whichever shard was first.
#[derive(Debug)]
pub(crate) struct Tap {
    step: usize,
    shards: u16,
    /// When measuring began, on any of the shards.
    began: Arc<OnceLock<Instant>>,
    /// The last interval, if it is known: what comes behind it still counts there.
    last: Option<u64>,
    index: u64,
    ends: Option<Instant>,
    histogram: Histogram<u64>,
    errors: u64,
    turning: Turning,
    to: Sender<Interval>,
    back: Sender<Histogram<u64>>,
    spare: Receiver<Histogram<u64>>,
}

impl Tap {
    /// `histogram` is an empty one of the bounds to use; `time`: how long is measured, if that is known.
    pub(super) fn new(
        step: usize,
        shards: u16,
        began: Arc<OnceLock<Instant>>,
        time: Option<std::time::Duration>,
        histogram: Histogram<u64>,
        to: Sender<Interval>,
    ) -> Self {
        let (back, spare) = mpsc::channel();
        // One is counted in, one is written down, one is on its way. It can't fail: `spare` is there.
        (0..2).for_each(|_| drop(back.send(Histogram::new_from(&histogram))));
        let whole = |time: std::time::Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let last = time.map(|time| whole(time).saturating_sub(1));
        Self {
            step,
            shards,
            began,
            last,
            index: 0,
            ends: None,
            histogram,
            errors: 0,
            turning: Turning::new(false),
            to,
            back,
            spare,
        }
    }

    /// Of a loop that never sleeps: whenever it does not turn for a millisecond, it has been kept from it.
    pub(crate) fn of_a_loop_that_spins(mut self, spins: bool) -> Self {
        self.turning = Turning::new(spins);
        self
    }

    /// When the current interval ends, once measuring has begun.
    pub(crate) fn ends(&mut self) -> Option<Instant> {
        if self.last.is_some_and(|last| self.index >= last) {
            return None;
        }
        if self.ends.is_none() {
            self.ends = self.began.get().map(|began| *began + SECOND);
        }
        self.ends
    }

    /// A turn of the loop: tells of the seconds that are over, and counts the gap if it comes late.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.began.get().is_some_and(|began| *began <= now) {
            self.turning.turn(now);
        }
        self.tell(now);
    }

    /// When the loop asks to be woken, for one that sleeps.
    pub(crate) fn awake_at(&mut self, at: Option<Instant>) {
        self.turning.awake_at(at);
    }

    fn tell(&mut self, now: Instant) {
        while let Some(ends) = self.ends().filter(|ends| now >= *ends) {
            self.send(ends - SECOND, SECOND, now);
            self.index += 1;
            self.ends = Some(ends + SECOND);
        }
    }

    /// An answer came now, and took so many nanoseconds.
    pub(crate) fn record(&mut self, ns: u64, now: Instant) {
        self.tell(now);
        self.histogram.saturating_record(ns);
    }

    /// Something went wrong: counted in this second.
    pub(crate) fn error(&mut self) {
        self.errors += 1;
    }

    /// The next value of a sweep, behind [`Tap::end`]; `began` is as for the first.
    pub(crate) fn next_step(self, began: Arc<OnceLock<Instant>>) -> Self {
        let turning = Turning::new(self.turning.spins());
        Self { step: self.step + 1, began, index: 0, ends: None, errors: 0, turning, ..self }
    }

    /// The rest, which may be less than a second.
    pub(crate) fn end(&mut self, now: Instant) {
        self.tell(now);
        let Some(began) = self.began.get().filter(|began| **began <= now) else { return };
        let start = *began + Duration::from_secs(self.index);
        self.send(start, now - start, now);
    }

    fn send(&mut self, start: Instant, length: Duration, now: Instant) {
        let empty = self.spare.try_recv().unwrap_or_else(|_| Histogram::new_from(&self.histogram));
        let histogram = std::mem::replace(&mut self.histogram, empty);
        let (errors, back) = (std::mem::take(&mut self.errors), self.back.clone());
        let lost = std::mem::take(&mut self.turning.gaps);
        let (step, index, shards, length) = (self.step, self.index, self.shards, length.into());
        let ago: std::time::Duration = (now - start).into();
        let here = std::time::Instant::now();
        let start = here.checked_sub(ago).unwrap_or(here);
        // Without a reader nobody wants it.
        let _ = self.to.send(Interval { step, index, shards, start, length, histogram, errors, lost, back });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Instant = Instant::from_nanos(5_000_000);

    fn at(ms: u64) -> Instant {
        BEGAN + Duration::from_millis(ms)
    }

    fn tap(time: Option<Duration>) -> (Tap, Receiver<Interval>) {
        let (to, from) = mpsc::channel();
        let histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        let cell = Arc::new(OnceLock::new());
        cell.set(BEGAN).unwrap();
        (Tap::new(0, 1, cell, time.map(Duration::into), histogram, to), from)
    }

    /// Index, length in milliseconds, round trips and errors of each.
    fn seen(from: &Receiver<Interval>) -> Vec<(u64, u128, u64, u64)> {
        let row = |interval: Interval| {
            (interval.index, interval.length.as_millis(), interval.histogram.len(), interval.errors)
        };
        from.try_iter().map(row).collect()
    }

    #[test]
    fn each_second_is_told_even_an_empty_one_and_the_rest() {
        let (mut tap, from) = tap(None);
        tap.record(5, at(10));
        tap.record(5, at(999));
        tap.error();
        assert!(seen(&from).is_empty());
        tap.record(5, at(1000));
        assert_eq!(seen(&from), [(0, 1000, 2, 1)]);
        // A stall: three seconds end at once.
        tap.tick(at(4000));
        assert_eq!(seen(&from), [(1, 1000, 1, 0), (2, 1000, 0, 0), (3, 1000, 0, 0)]);
        tap.record(5, at(4100));
        tap.end(at(4250));
        assert_eq!(seen(&from), [(4, 250, 1, 0)]);
    }

    #[test]
    fn the_last_second_takes_what_comes_behind_it() {
        let (mut tap, from) = tap(Some(Duration::from_secs(2)));
        tap.record(5, at(500));
        tap.record(5, at(1500));
        assert_eq!(tap.ends(), None);
        tap.record(5, at(2001));
        tap.end(at(2001));
        assert_eq!(seen(&from), [(0, 1000, 1, 0), (1, 1001, 2, 0)]);
    }

    #[test]
    fn gaps_of_the_loop_are_told_with_the_second_in_which_it_came_back() {
        let (tap, from) = tap(None);
        let mut tap = tap.of_a_loop_that_spins(true);
        // Not measured yet.
        tap.tick(Instant::ZERO);
        [0, 1, 6, 7, 2000].iter().for_each(|ms| tap.tick(at(*ms)));
        let lost: Vec<_> = from.try_iter().map(|interval| (interval.index, interval.lost.gaps_ns)).collect();
        assert_eq!(lost, [(0, 1_998_000_000), (1, 0)]);
    }

    #[test]
    fn each_value_of_a_sweep_has_seconds_of_its_own() {
        let (tap, from) = tap(Some(Duration::from_secs(1)));
        let mut tap = tap.of_a_loop_that_spins(true);
        tap.record(5, at(100));
        tap.end(at(1100));
        let began = Arc::new(OnceLock::new());
        let mut tap = tap.next_step(Arc::clone(&began));
        tap.tick(at(1200));
        tap.error();
        began.set(at(1500)).unwrap();
        tap.tick(at(1500));
        tap.tick(at(1503));
        tap.record(5, at(1600));
        tap.end(at(1750));
        let told: Vec<_> =
            from.try_iter().map(|i| (i.step, i.index, i.histogram.len(), i.errors, i.lost.gaps_ns)).collect();
        assert_eq!(told, [(0, 0, 1, 0, 0), (1, 0, 1, 1, 3_000_000)]);
    }

    #[test]
    fn nothing_is_told_before_measuring_begins() {
        let (to, from) = mpsc::channel();
        let histogram = Histogram::new_with_bounds(1, 1000, 3).unwrap();
        let mut tap = Tap::new(0, 1, Arc::default(), None, histogram, to);
        tap.tick(at(2000));
        tap.end(at(2000));
        assert!(seen(&from).is_empty() && tap.ends().is_none());
    }
}
