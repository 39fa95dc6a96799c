//! What the points gave, and medians of it over the rounds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::task::{Point, Task, Test};
use crate::measure::Latency;

/// One point of one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) latency: Option<Latency>,
    /// Requests, connections or frames.
    pub(super) per_s: Option<f64>,
    /// Beside the requests.
    pub(super) connects_per_s: Option<f64>,
    /// What an open loop was to send.
    pub(super) offered_per_s: Option<f64>,
    pub(super) gbit_per_s: Option<f64>,
    /// Round trips, responses, frames or bytes.
    pub(super) count: u64,
    /// The share of a core that a server took.
    pub(super) cpu: Option<f64>,
}

/// Medians over the rounds, of what was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gbit_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p999_ns: Option<u64>,
    /// Of each round, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) per_s_rounds: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) gbit_per_s_rounds: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) p50_rounds_ns: Vec<u64>,
    /// Over all rounds: round trips, responses, frames, or bytes of a stream.
    pub(super) count: u64,
}

/// All samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<Task, Vec<Sample>>);

impl Samples {
    pub(super) fn add(&mut self, task: Task, sample: Sample) {
        self.0.entry(task).or_default().push(sample);
    }

    pub(super) fn of(&self, task: Task) -> &[Sample] {
        self.0.get(&task).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn figures(&self, task: Task) -> Option<Figures> {
        let samples = self.of(task);
        (!samples.is_empty()).then(|| Figures::of(samples))
    }

    /// What a measurement compares, of a stack.
    pub(super) fn value(&self, test: Test, point: Point) -> Option<f64> {
        self.figures(Task::Stack(test, point))?.value(test)
    }

    /// Fourwave's by a stack's.
    pub(super) fn ratio(&self, test: Test, point: Point) -> Option<f64> {
        Some(self.value(test, Point::Fourwave)? / self.value(test, point)?).filter(|ratio| ratio.is_finite())
    }
}

impl Figures {
    pub(super) fn of(samples: &[Sample]) -> Self {
        let numbers = |value: fn(&Sample) -> Option<f64>| samples.iter().filter_map(value).collect::<Vec<_>>();
        let (per_s_rounds, gbit_per_s_rounds) = (numbers(|s| s.per_s), numbers(|s| s.gbit_per_s));
        let times = |value: fn(&Latency) -> u64| -> Vec<u64> {
            samples.iter().filter_map(|sample| sample.latency.as_ref()).map(value).collect()
        };
        Self {
            per_s: median(per_s_rounds.clone()),
            gbit_per_s: median(gbit_per_s_rounds.clone()),
            p50_ns: median_ns(times(|l| l.p50)),
            p99_ns: median_ns(times(|l| l.p99)),
            p999_ns: median_ns(times(|l| l.p999)),
            per_s_rounds,
            gbit_per_s_rounds,
            p50_rounds_ns: times(|l| l.p50),
            count: samples.iter().map(|sample| sample.count).sum(),
        }
    }

    /// What a measurement compares: a time, or a rate.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    pub(super) fn value(&self, test: Test) -> Option<f64> {
        match test {
            Test::Rtt => self.p50_ns.map(|ns| ns as f64),
            Test::Rps | Test::Cps => self.per_s,
            Test::Bulk | Test::BulkJumbo => self.gbit_per_s,
        }
    }

    /// The same of each round.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    pub(super) fn rounds(&self, test: Test) -> Vec<f64> {
        match test {
            Test::Rtt => self.p50_rounds_ns.iter().map(|ns| *ns as f64).collect(),
            Test::Rps | Test::Cps => self.per_s_rounds.clone(),
            Test::Bulk | Test::BulkJumbo => self.gbit_per_s_rounds.clone(),
        }
    }
}

/// What half of the values are below of; between two of them, what `mean` makes of both.
fn median_by<T: Copy>(
    mut values: Vec<T>,
    order: impl FnMut(&T, &T) -> Ordering,
    mean: impl FnOnce(T, T) -> T,
) -> Option<T> {
    values.sort_unstable_by(order);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(mean(values[middle - 1], values[middle])),
    }
}

pub(super) fn median_ns(values: Vec<u64>) -> Option<u64> {
    median_by(values, u64::cmp, u64::midpoint)
}

pub(super) fn median(values: Vec<f64>) -> Option<f64> {
    median_by(values, f64::total_cmp, f64::midpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median_ns(vec![]), None);
        assert_eq!(median_ns(vec![3, 1, 2]), Some(2));
        assert_eq!(median_ns(vec![4, 1, 2, 8]), Some(3));
        assert_eq!(median(vec![0.5, 3.5, 1.0, 2.0]), Some(1.5));
    }

    #[test]
    fn ratios_are_of_medians() {
        let mut samples = Samples::default();
        for (point, rates) in [(Point::Fourwave, [400.0, 500.0, 9000.0]), (Point::KernelEpoll, [1.0, 100.0, 200.0])] {
            for per_s in rates.map(Some) {
                samples.add(Task::Stack(Test::Rps, point), Sample { per_s, ..Sample::default() });
            }
        }
        assert_eq!(samples.ratio(Test::Rps, Point::KernelEpoll), Some(5.0));
        assert_eq!(samples.ratio(Test::Rps, Point::Raw), None);
        assert_eq!(samples.ratio(Test::Cps, Point::KernelEpoll), None);
        let figures = samples.figures(Task::Stack(Test::Rps, Point::Fourwave)).unwrap();
        assert_eq!(figures.rounds(Test::Rps), [400.0, 500.0, 9000.0]);
        assert_eq!((figures.p50_ns, figures.gbit_per_s), (None, None));
    }
}
