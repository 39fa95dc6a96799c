//! What came of each second, for the document of a result.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::turning::Generator;

/// Entries that are kept: beyond that, each stands for twice as long.
const MOST: usize = 10_000;

/// A second, or more of them in a long measurement. Times are nanoseconds, to three figures; 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// When it began, from the beginning of measuring on.
    pub(crate) at_s: f64,
    pub(crate) length_s: f64,
    pub(crate) count: u64,
    pub(crate) errors: u64,
    /// Of several seconds each is the worst one's.
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Second {
    pub(super) fn of(at_s: f64, length: Duration, histogram: &Histogram<u64>, errors: u64) -> Self {
        let empty = Self { at_s, length_s: length.as_secs_f64(), errors, ..Self::default() };
        if histogram.is_empty() {
            return empty;
        }
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| histogram.value_at_quantile(q));
        Self { count: histogram.len(), p50, p90, p99, p999, max: histogram.max(), ..empty }
    }

    /// This and the one behind it.
    fn with(self, next: &Self) -> Self {
        Self {
            at_s: self.at_s,
            length_s: self.length_s + next.length_s,
            count: self.count + next.count,
            errors: self.errors + next.errors,
            p50: self.p50.max(next.p50),
            p90: self.p90.max(next.p90),
            p99: self.p99.max(next.p99),
            p999: self.p999.max(next.p999),
            max: self.max.max(next.max),
        }
    }
}

/// The seconds of one measurement: at most [`MOST`] entries (2 h 46 min), each of as many seconds as that needs.
#[derive(Clone, Debug)]
pub(crate) struct Seconds {
    entries: Vec<Second>,
    /// Seconds that an entry stands for.
    each: u64,
    /// Of them those that the last entry has.
    filled: u64,
    /// When measuring began, from 1970 on.
    pub(super) started: Option<Duration>,
    /// What the loops of all shards lost.
    pub(super) lost: Generator,
    pub(super) shards: u16,
}

impl Default for Seconds {
    fn default() -> Self {
        Self { entries: Vec::new(), each: 1, filled: 1, started: None, lost: Generator::default(), shards: 1 }
    }
}

impl Seconds {
    pub(super) fn add(&mut self, second: &Second) {
        if self.filled < self.each
            && let Some(last) = self.entries.last_mut()
        {
            *last = last.with(second);
            self.filled += 1;
            return;
        }
        if self.entries.len() >= MOST {
            self.entries = self.entries.chunks(2).map(pair).collect();
            self.each *= 2;
        }
        self.entries.push(*second);
        self.filled = 1;
    }

    pub(super) fn began(&mut self, at: SystemTime) {
        self.started.get_or_insert(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    }

    /// A sentence if the generator stood still for too much of the time.
    pub(super) fn complaint(&self) -> Option<String> {
        let seconds: f64 = self.entries.iter().map(|entry| entry.length_s).sum();
        let time = Duration::try_from_secs_f64(seconds * f64::from(self.shards)).unwrap_or_default();
        self.lost.complaint(time.into())
    }

    pub(crate) fn into_entries(self) -> Vec<Second> {
        self.entries
    }
}

fn pair(two: &[Second]) -> Second {
    match two {
        [first, second] => first.with(second),
        _ => two.first().copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u32, max: u64) -> Second {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 40, 3).unwrap();
        histogram.record_n(10, 99).unwrap();
        histogram.record(max).unwrap();
        Second::of(at.into(), Duration::from_secs(1), &histogram, 2)
    }

    #[test]
    fn a_second_has_its_percentiles_and_an_empty_one_zeros() {
        let expected =
            Second { at_s: 3.0, length_s: 1.0, count: 100, errors: 2, p50: 10, p90: 10, p99: 10, p999: 500, max: 500 };
        assert_eq!(second(3, 500), expected);
        let nothing = Second::of(0.0, Duration::from_millis(250), &Histogram::new(3).unwrap(), 1);
        assert_eq!(nothing, Second { length_s: 0.25, errors: 1, ..Second::default() });
    }

    /// 10,000 entries are kept as they are; with one more, two become one, of which nothing is lost but which of them was the worst.
    #[test]
    fn a_long_measurement_has_longer_entries_and_no_more_of_them() {
        let one = second(0, 500);
        let at_s = |at: u32, max| Second { at_s: at.into(), max, ..one };
        let mut seconds = Seconds::default();
        (0..10_000).for_each(|at| seconds.add(&at_s(at, 20 + u64::from(at % 2))));
        assert_eq!(seconds.entries.len(), 10_000);
        (10_000..10_003).for_each(|at| seconds.add(&at_s(at, 7)));
        let entries = seconds.clone().into_entries();
        assert_eq!(entries.len(), 5002);
        assert_eq!(entries[1], Second { length_s: 2.0, count: 200, errors: 4, ..at_s(2, 21) });
        let last: Vec<_> = entries[5000..].iter().map(|entry| (entry.at_s, entry.length_s)).collect();
        assert_eq!(last, [(10_000.0, 2.0), (10_002.0, 1.0)]);
        (10_003..100_000).for_each(|at| seconds.add(&at_s(at, 7)));
        let entries = seconds.into_entries();
        assert!(entries.len() <= 10_000);
        assert_eq!(entries.iter().map(|entry| entry.count).sum::<u64>(), 100 * 100_000);
    }
}
