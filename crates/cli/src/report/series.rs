//! What was measured second by second, as much of it as a plot can show.

use serde::{Deserialize, Serialize};

/// More are thinned to half of it: neighbours become one.
const MOST: usize = 4096;

/// A second, or several of them in one. Times in nanoseconds; without a message there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Second {
    /// From the beginning of the measurement.
    pub(super) at_s: f64,
    pub(super) length_s: f64,
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) p50: Option<u64>,
    pub(super) p90: Option<u64>,
    pub(super) p99: Option<u64>,
    pub(super) p999: Option<u64>,
    pub(super) max: Option<u64>,
}

impl Second {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn rate_per_s(&self) -> f64 {
        if self.length_s > 0.0 { self.count as f64 / self.length_s } else { 0.0 }
    }

    pub(super) fn end_s(&self) -> f64 {
        self.at_s + self.length_s
    }

    /// Both in one. Percentiles can't be added up: of each the larger is kept, which no percentile of both exceeds.
    fn with(&self, other: &Self) -> Self {
        Self {
            at_s: self.at_s,
            length_s: self.length_s + other.length_s,
            count: self.count.saturating_add(other.count),
            errors: self.errors.saturating_add(other.errors),
            p50: self.p50.max(other.p50),
            p90: self.p90.max(other.p90),
            p99: self.p99.max(other.p99),
            p999: self.p999.max(other.p999),
            max: self.max.max(other.max),
        }
    }

    /// Two that ran at the same time: the longer of the two is how long it took.
    pub(super) fn beside(&self, other: &Self) -> Self {
        let length_s = self.length_s.max(other.length_s);
        Self { at_s: self.at_s.min(other.at_s), length_s, ..self.with(other) }
    }
}

/// Seconds in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    seconds: Vec<Second>,
    /// How many are one by now, as a power of two.
    halvings: u32,
    /// What is not a whole one yet, and of how many.
    open: Option<(Second, u64)>,
}

impl Series {
    pub(super) fn push(&mut self, second: Second) {
        let (sum, parts) = match self.open.take() {
            None => (second, 1),
            Some((sum, parts)) => (sum.with(&second), parts + 1),
        };
        if parts < 1 << self.halvings {
            self.open = Some((sum, parts));
            return;
        }
        self.seconds.push(sum);
        if self.seconds.len() >= MOST {
            self.seconds = thinned(&self.seconds, MOST / 2);
            self.halvings = (self.halvings + 1).min(62);
        }
    }

    /// Call it when all are in.
    pub(super) fn finish(&mut self) {
        self.seconds.extend(self.open.take().map(|(sum, _)| sum));
    }

    pub(super) fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// How many seconds were made one.
    pub(super) fn each(&self) -> u64 {
        1 << self.halvings
    }
}

impl FromIterator<Second> for Series {
    fn from_iter<T: IntoIterator<Item = Second>>(seconds: T) -> Self {
        let mut series = Self::default();
        seconds.into_iter().for_each(|second| series.push(second));
        series.finish();
        series
    }
}

/// No more than so many: as many neighbours as it takes are one.
pub(super) fn thinned(seconds: &[Second], most: usize) -> Vec<Second> {
    let each = seconds.len().div_ceil(most.max(1)).max(1);
    let one = |part: &[Second]| part[1..].iter().fold(part[0].clone(), |sum, second| sum.with(second));
    seconds.chunks(each).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u32, max: u64) -> Second {
        let (at_s, errors, times) = (f64::from(at), u64::from(at == 777), Some(max));
        Second { at_s, length_s: 1.0, count: 10, errors, p50: times, p90: times, p99: times, p999: times, max: times }
    }

    /// A million seconds: few are kept, and no count, no error and no maximum is lost.
    #[test]
    fn a_million_seconds_are_thinned_and_keep_their_maxima() {
        let series: Series = (0..1_000_003).map(|at| second(at, u64::from(at == 654_321) * 99 + 1)).collect();
        let seconds = series.seconds();
        assert!(seconds.len() <= MOST && seconds.len() > MOST / 4, "{}", seconds.len());
        assert_eq!(seconds.iter().map(|second| second.count).sum::<u64>(), 10_000_030);
        assert_eq!(seconds.iter().map(|second| second.errors).sum::<u64>(), 1);
        assert_eq!(seconds.iter().filter(|second| second.max == Some(100)).count(), 1);
        assert!(seconds.iter().all(|second| (second.rate_per_s() - 10.0).abs() < 1e-9));
        assert!(series.each() >= 256);
        assert_eq!(thinned(seconds, 300).iter().filter_map(|second| second.max).max(), Some(100));
    }

    #[test]
    fn few_stay_as_they_are() {
        let series: Series = (0..5).map(|at| second(at, 7)).collect();
        assert_eq!((series.seconds().len(), series.each()), (5, 1));
        assert_eq!(thinned(series.seconds(), 5), series.seconds());
        assert!(thinned(&[], 5).is_empty());
    }
}
