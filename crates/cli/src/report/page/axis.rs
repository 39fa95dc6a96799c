//! Axes: where a value lies, and which are labelled.

use crate::out;

/// From the least to the largest value, linearly or by their logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) log: bool,
    /// How many decades the axis shows is the question of who made it; labels are of this kind.
    pub(super) kind: Kind,
}

/// What values are, for their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nanoseconds,
    Number,
    Seconds,
    Bytes,
    /// Decades of 1/(1-q).
    Percentile,
}

/// Whether a plot of these is easier to read by logarithms.
const WIDE: f64 = 25.0;

impl Axis {
    /// From nothing to the largest.
    pub(super) fn linear(kind: Kind, values: impl Iterator<Item = f64>) -> Self {
        let high = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let high = if high > 0.0 { high } else { 1.0 };
        let step = step(high, 5);
        Self { low: 0.0, high: (high / step - 1e-9).ceil() * step, log: false, kind }
    }

    /// From 1, 2 or 5 times a power of ten to such a one. Without a value above 0 it is linear.
    pub(super) fn log(kind: Kind, values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.clone().filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) =
            positive.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        if high <= 0.0 {
            return Self::linear(kind, values);
        }
        let low = round(low, false);
        Self { low, high: round(high, true).max(low * 10.0), log: true, kind }
    }

    /// By logarithms if values differ much.
    pub(super) fn fit(kind: Kind, values: impl Iterator<Item = f64> + Clone) -> Self {
        let log = Self::log(kind, values.clone());
        let least = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.clone().filter(|value| value.is_finite()).fold(0.0, f64::max);
        if log.log && most / least > WIDE { log } else { Self::linear(kind, values) }
    }

    /// From these to those, as they are.
    pub(super) fn exact(kind: Kind, low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, log: false, kind }
    }

    /// Where a value lies: 0 at the beginning, 1 at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// What is labelled: about so many.
    pub(super) fn ticks(&self, most: u32) -> Vec<f64> {
        if self.kind == Kind::Percentile {
            let decades = (0..=6).map(f64::from);
            let half = std::iter::once(2f64.log10());
            let mut all: Vec<_> = decades.chain(half).filter(|tick| *tick <= self.high + 1e-9).collect();
            all.sort_by(f64::total_cmp);
            return all;
        }
        if self.log {
            return self.log_ticks(most);
        }
        let step = step(self.high - self.low, most);
        let first = (self.low / step - 1e-9).ceil();
        let ticks = (0..64).map(|n| (first + f64::from(n)) * step);
        ticks.take_while(|tick| *tick <= self.high + step * 1e-6).collect()
    }

    /// 1, 2 and 5 of each decade, as long as they are few; then only 1, then every so many.
    fn log_ticks(&self, most: u32) -> Vec<f64> {
        let (from, to) = (self.low.log10().floor(), self.high.log10().ceil());
        let decades = (0..40).map(|n| from + f64::from(n)).take_while(|decade| *decade <= to);
        let all = |parts: &'static [f64]| {
            let ticks = decades.clone().flat_map(move |decade| parts.iter().map(move |part| part * 10f64.powf(decade)));
            ticks.filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001).collect::<Vec<_>>()
        };
        let fits = |ticks: &Vec<f64>| ticks.len() <= most as usize + 2;
        let sets = [all(&[1.0, 2.0, 5.0]), all(&[1.0, 3.0]), all(&[1.0])];
        let last = sets[2].clone();
        let every = last.len().div_ceil(most.max(1) as usize).max(1);
        sets.into_iter().find(fits).unwrap_or_else(|| last.into_iter().step_by(every).collect())
    }

    pub(super) fn label(&self, value: f64) -> String {
        match self.kind {
            Kind::Nanoseconds => time(value),
            Kind::Number => count(value),
            Kind::Seconds => format!("{} s", trimmed(value)),
            Kind::Bytes => bytes(value),
            Kind::Percentile => percent(value),
        }
    }
}

/// 1, 2, or 5 times a power of ten, so that there are no more than so many.
fn step(range: f64, most: u32) -> f64 {
    let least = range / f64::from(most.max(1));
    let power = 10f64.powf(least.log10().floor());
    let part = least / power;
    let nice = [1.0, 2.0, 5.0].into_iter().find(|nice| part <= nice * 1.000_001).unwrap_or(10.0);
    let step = nice * power;
    if step.is_finite() && step > 0.0 { step } else { 1.0 }
}

/// To the next of 1, 2, and 5 times a power of ten.
fn round(value: f64, up: bool) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let part = value / power;
    let nice = [1.0, 2.0, 5.0, 10.0];
    let found = if up {
        nice.into_iter().find(|nice| part <= nice * 1.000_001)
    } else {
        nice.into_iter().rev().find(|nice| part >= nice * 0.999_999)
    };
    found.unwrap_or(1.0) * power
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Of a tick, which has one figure or two.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    if value == 0.0 { "0".to_owned() } else { format!("{} {unit}", trimmed(value)) }
}

fn count(value: f64) -> String {
    match value {
        value if value < 1e4 => trimmed(value),
        value if value < 1e6 => format!("{} k", trimmed(value / 1e3)),
        value if value < 1e9 => format!("{} M", trimmed(value / 1e6)),
        value => format!("{} G", trimmed(value / 1e9)),
    }
}

fn bytes(value: f64) -> String {
    let (value, unit) = in_bytes(value);
    if value == 0.0 { "0".to_owned() } else { format!("{} {unit}", trimmed(value)) }
}

fn in_bytes(value: f64) -> (f64, &'static str) {
    match value {
        value if value < 1e6 => (value / 1e3, "kB"),
        value if value < 1e9 => (value / 1e6, "MB"),
        value => (value / 1e9, "GB"),
    }
}

/// A size for people.
pub(super) fn exact_bytes(value: f64) -> String {
    let (value, unit) = in_bytes(value);
    format!("{value:.2} {unit}")
}

/// Of decades of 1/(1-q): 2 is 99 %.
pub(super) fn percent(decades: f64) -> String {
    let left = 100.0 * 10f64.powf(-decades);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10")]
    let decimals = (decades - 2.0).ceil().clamp(0.0, 10.0) as usize;
    format!("{:.decimals$} %", 100.0 - left)
}

/// A time for people.
pub(super) fn exact_time(ns: f64) -> String {
    out::nanoseconds(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, most: u32) -> Vec<String> {
        axis.ticks(most).into_iter().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        let linear = Axis::linear(Kind::Nanoseconds, [3.0, 8_700.0].into_iter());
        assert_eq!(labels(linear, 5), ["0", "2 µs", "4 µs", "6 µs", "8 µs", "10 µs"]);
        let log = Axis::log(Kind::Nanoseconds, [3_000.0, 870_000.0].into_iter());
        assert_eq!(labels(log, 8), ["2 µs", "5 µs", "10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]);
        let far = Axis::log(Kind::Nanoseconds, [1.0, 1e11].into_iter());
        assert!(labels(far, 6).len() <= 8, "{:?}", labels(far, 6));
        assert_eq!(labels(Axis::exact(Kind::Percentile, 0.0, 3.0), 9), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(labels(Axis::linear(Kind::Number, [1_400_000.0].into_iter()), 3), ["0", "500 k", "1 M", "1.5 M"]);
    }

    #[test]
    fn everything_has_a_place() {
        for values in [vec![], vec![0.0], vec![1.0], vec![f64::NAN, f64::INFINITY], vec![1e-300, 1e300]] {
            for axis in [
                Axis::linear(Kind::Number, values.iter().copied()),
                Axis::log(Kind::Number, values.iter().copied()),
                Axis::fit(Kind::Seconds, values.iter().copied()),
            ] {
                for value in [0.0, 1.0, -5.0, f64::NAN, f64::INFINITY, 1e300] {
                    assert!((0.0..=1.0).contains(&axis.place(value)), "{value} on {axis:?}");
                }
                assert!(axis.ticks(6).len() < 70);
            }
        }
        let axis = Axis::log(Kind::Nanoseconds, [1000.0, 100_000.0].into_iter());
        assert!((axis.place(10_000.0) - 0.5).abs() < 1e-9);
    }
}
