//! When the requests of an open loop are due: at a constant rate or one that changes evenly, at even intervals or by chance. Unlike
//! a [`Schedule`](super::Schedule)'s they are not any connection's.

use std::fmt;
use std::time::Duration;

use super::random::mixed;

/// Positions are counted in these parts of an arrival: sums of them are exact.
const PARTS: u32 = 32;
const NS_PER_S: u128 = 1_000_000_000;

/// Arrivals per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    Constant(u32),
    /// From the one to the other, evenly over the time that is measured; before that it is the first.
    Ramp {
        from: u32,
        to: u32,
    },
}

impl Rate {
    /// Over the time that is measured.
    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Constant(rate) => rate.into(),
            Self::Ramp { from, to } => f64::midpoint(from.into(), to.into()),
        }
    }
}

/// As it is typed.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(rate) => write!(f, "{rate}"),
            Self::Ramp { from, to } => write!(f, "{from}..{to}"),
        }
    }
}

/// How long arrivals are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Always as long.
    Constant,
    /// As if each came from somebody who knows nothing of the others (a Poisson process): exponentially distributed.
    Poisson { seed: u64 },
}

impl Gaps {
    /// As it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson { .. } => "poisson",
        }
    }
}

/// When arrivals are due, by their number: the rate, integrated and turned around.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    Constant {
        rate: u32,
    },
    /// So many arrivals in the `warmup` seconds before the ramp, then one that gains `gains` per second in each second.
    Ramp {
        from: f64,
        warmup: f64,
        gains: f64,
    },
}

impl Course {
    fn new(rate: Rate, warmup: Duration, time: Duration) -> Self {
        match rate {
            Rate::Constant(rate) => Self::Constant { rate: rate.max(1) },
            Rate::Ramp { from, to } => Self::Ramp {
                from: f64::from(from.max(1)),
                warmup: warmup.as_secs_f64(),
                gains: (f64::from(to) - f64::from(from)) / time.as_secs_f64().max(1e-9),
            },
        }
    }

    /// When the arrival at a position is due. Computed from the start on, so that no rounding adds up.
    #[expect(clippy::cast_precision_loss, reason = "a ramp's times are as exact as a double is: 10 ns in a day")]
    fn when(&self, position: u128) -> Duration {
        match *self {
            Self::Constant { rate } => {
                let ns = (position * NS_PER_S / u128::from(rate)) >> PARTS;
                Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
            }
            Self::Ramp { from, warmup, gains } => {
                let arrivals = position as f64 / (1u64 << PARTS) as f64;
                let ramped = arrivals - from * warmup;
                // Of from * t + gains * t^2 / 2 = ramped, in the form that does not cancel out. Behind the end of a ramp that falls
                // there may be no solution: it is late enough.
                let root = (from * from + 2.0 * gains * ramped).max(0.0).sqrt();
                let seconds = if ramped < 0.0 { arrivals / from } else { warmup + 2.0 * ramped / (from + root) };
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
        }
    }
}

/// One shard's arrivals. Shards share the rate: of even intervals each takes every nth, and Poisson processes of an nth of the
/// rate each are together one of the whole rate.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    course: Course,
    shards: u32,
    /// Of chance, and how often it was asked; none for even intervals.
    key: Option<u64>,
    drawn: u64,
    position: u128,
    next: Duration,
}

impl Arrivals {
    /// Over all shards `rate` per second; a ramp begins behind the warm-up and takes `time`.
    pub(crate) fn new(rate: Rate, gaps: Gaps, (shard, shards): (u16, u16), warmup: Duration, time: Duration) -> Self {
        let (key, first) = match gaps {
            Gaps::Constant => (None, u128::from(shard) << PARTS),
            Gaps::Poisson { seed } => (Some(mixed(seed ^ mixed(shard.into()))), 0),
        };
        let course = Course::new(rate, warmup, time);
        let (shards, next) = (u32::from(shards.max(1)), course.when(first));
        let mut arrivals = Self { course, shards, key, drawn: 0, position: first, next };
        if key.is_some() {
            arrivals.advance();
        }
        arrivals
    }

    /// When the next one is due, from the start on.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    pub(crate) fn advance(&mut self) {
        let gap = match self.key {
            None => 1 << PARTS,
            Some(key) => {
                self.drawn += 1;
                exponential(mixed(key ^ self.drawn))
            }
        };
        // A gap of this shard is as many times longer as there are shards.
        self.position += gap * u128::from(self.shards);
        self.next = self.course.when(self.position);
    }
}

/// Of mean 1, in parts.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "53 bits of chance; the logarithm of its least is -37"
)]
fn exponential(chance: u64) -> u128 {
    let uniform = ((chance >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-uniform.ln() * (1u64 << PARTS) as f64).round() as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NO_WARMUP: Duration = Duration::ZERO;

    /// All that are due before `end`.
    fn until(mut arrivals: Arrivals, end: Duration) -> Vec<Duration> {
        let mut found = Vec::new();
        while arrivals.next() < end {
            found.push(arrivals.next());
            arrivals.advance();
        }
        found
    }

    fn constant(rate: u32, shard: u16, shards: u16) -> Arrivals {
        Arrivals::new(Rate::Constant(rate), Gaps::Constant, (shard, shards), NO_WARMUP, SECOND)
    }

    fn poisson(rate: u32, seed: u64, shard: u16, shards: u16) -> Arrivals {
        Arrivals::new(Rate::Constant(rate), Gaps::Poisson { seed }, (shard, shards), NO_WARMUP, SECOND)
    }

    #[test]
    fn intervals_are_constant_and_rounding_does_not_add_up() {
        let found = until(constant(3, 0, 1), SECOND * 2);
        assert_eq!(
            found.iter().map(Duration::as_nanos).take(4).collect::<Vec<_>>(),
            [0, 333_333_333, 666_666_666, 1_000_000_000]
        );
        // A day at the highest rate ends to the nanosecond where it should.
        let course = Course::new(Rate::Constant(10_000_000), NO_WARMUP, SECOND);
        assert_eq!(course.when(864_000_000_000 << PARTS), 86_400 * SECOND);
    }

    #[test]
    fn shards_share_even_intervals() {
        let mut together: Vec<_> = (0..3).flat_map(|shard| until(constant(700, shard, 3), SECOND)).collect();
        together.sort();
        assert_eq!(together, until(constant(700, 0, 1), SECOND));
        assert_eq!(together.len(), 700);
    }

    /// By then a * t + (b - a) * t^2 / (2 * T) have arrived.
    #[test]
    fn a_ramp_has_as_many_arrivals_as_its_integral() {
        for (from, to, by_half, in_all) in
            [(1000, 3000, 7500, 20_000), (3000, 1000, 12_500, 20_000), (1, 20_000, 25_004, 100_005), (5, 5, 25, 50)]
        {
            let arrivals = Arrivals::new(Rate::Ramp { from, to }, Gaps::Constant, (0, 1), NO_WARMUP, 10 * SECOND);
            let found = until(arrivals, 10 * SECOND);
            let half = found.iter().filter(|due| **due < 5 * SECOND).count();
            // The first is due at once; 25,003.75 and 100,005 are up to one more.
            assert!(half.abs_diff(by_half) <= 1 && found.len().abs_diff(in_all) <= 1, "{from}..{to}: {half} {found:?}");
            assert!(found.is_sorted());
        }
    }

    #[test]
    fn a_ramp_begins_behind_the_warmup() {
        let rate = Rate::Ramp { from: 100, to: 200 };
        let found = until(Arrivals::new(rate, Gaps::Constant, (0, 1), 2 * SECOND, SECOND), 3 * SECOND);
        let within = |from: u32, to: u32| found.iter().filter(|due| (from * SECOND..to * SECOND).contains(due)).count();
        assert_eq!((within(0, 1), within(1, 2)), (100, 100));
        assert_eq!(within(2, 3), 150);
    }

    #[test]
    fn one_that_falls_goes_on_behind_its_end() {
        let rate = Rate::Ramp { from: 10, to: 1 };
        let mut arrivals = Arrivals::new(rate, Gaps::Constant, (0, 1), NO_WARMUP, SECOND);
        for _ in 0..1000 {
            let before = arrivals.next();
            arrivals.advance();
            assert!(arrivals.next() > before);
        }
    }

    /// Of n gaps of an exponential distribution with mean m the mean is m, with a standard deviation of m / sqrt(n); their variance
    /// is m^2, with one of m^2 * sqrt(8 / n), since its fourth central moment is 9 m^4.
    #[test]
    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    fn poisson_gaps_are_exponential() {
        const RATE: u32 = 1000;
        for (shard, shards) in [(0, 1), (1, 2), (3, 4)] {
            let found = until(poisson(RATE, 7, shard, shards), 200 * SECOND * u32::from(shards));
            let gaps: Vec<_> = found.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
            let (n, expected) = (gaps.len() as f64, f64::from(shards) / f64::from(RATE));
            let mean = gaps.iter().sum::<f64>() / n;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
            assert!((mean / expected - 1.0).abs() < 5.0 / n.sqrt(), "{mean}");
            assert!((variance / expected.powi(2) - 1.0).abs() < 5.0 * (8.0 / n).sqrt(), "{variance}");
            // A gap of at least the mean is 1 in e: sqrt(p q / n) is the deviation.
            let long = gaps.iter().filter(|gap| **gap >= expected).count() as f64 / n;
            let p = (-1.0f64).exp();
            assert!((long - p).abs() < 5.0 * (p * (1.0 - p) / n).sqrt(), "{long}");
            // What comes next is nobody's consequence: the correlation of neighbours has a deviation of 1 / sqrt(n).
            let product: f64 = gaps.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
            assert!((product / n / variance).abs() < 5.0 / n.sqrt(), "{product}");
        }
    }

    /// In a second as many as the whole rate, each shard of it its share: sqrt(100,000) = 316.
    #[test]
    fn shards_have_processes_of_their_own() {
        let counts = [0, 1, 2].map(|shard| until(poisson(300_000, 1, shard, 3), SECOND).len());
        for count in counts {
            assert!(count.abs_diff(100_000) < 5 * 316, "{counts:?}");
        }
        assert_ne!(until(poisson(1000, 1, 0, 2), SECOND), until(poisson(1000, 1, 1, 2), SECOND));
    }

    #[test]
    fn a_seed_gives_the_same_arrivals_and_another_gives_others() {
        let of = |seed| until(poisson(1000, seed, 0, 1), SECOND);
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
    }

    /// Twice the rate at the end is as many in the last tenth as its integral says: 1950 of 15,000, within five deviations.
    #[test]
    fn a_ramp_by_chance_has_its_integral_as_well() {
        let rate = Rate::Ramp { from: 1000, to: 2000 };
        let arrivals = Arrivals::new(rate, Gaps::Poisson { seed: 3 }, (0, 1), NO_WARMUP, 10 * SECOND);
        let found = until(arrivals, 10 * SECOND);
        let last = found.iter().filter(|due| **due >= 9 * SECOND).count();
        assert!(found.len().abs_diff(15_000) < 5 * 123 && last.abs_diff(1950) < 5 * 45, "{} {last}", found.len());
    }
}
