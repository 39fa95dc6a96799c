//! How many bytes a message has.

use std::fmt;

use crate::measure::mixed;

/// What sizes are drawn from; each is 1 to [`Sizes::MOST`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sizes {
    One(u32),
    /// Each of them as often.
    Uniform {
        least: u32,
        most: u32,
    },
    /// By the share of each, which needn't add up to 1. Not empty.
    Weighted(Vec<(u32, f64)>),
}

impl Sizes {
    pub(crate) const MOST: u32 = 1 << 20;

    /// The size of a connection's `number`th message: the same for the same seed, however connections are shared out.
    pub(crate) fn draw(&self, seed: u64, connection: u64, number: u64) -> u32 {
        let chance = || mixed(mixed(seed ^ mixed(connection)) ^ number);
        match self {
            Self::One(size) => *size,
            Self::Uniform { least, most } => {
                let sizes = u128::from(most - least) + 1;
                // Less than the number of sizes.
                least + u32::try_from((u128::from(chance()) * sizes) >> 64).unwrap_or(0)
            }
            Self::Weighted(shares) => pick(shares, chance()),
        }
    }

    pub(crate) fn largest(&self) -> u32 {
        match self {
            Self::One(size) => *size,
            Self::Uniform { most, .. } => *most,
            Self::Weighted(shares) => shares.iter().map(|(size, _)| *size).max().unwrap_or(1),
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        match self {
            Self::One(size) => f64::from(*size),
            Self::Uniform { least, most } => f64::midpoint(f64::from(*least), f64::from(*most)),
            Self::Weighted(shares) => {
                let sum = |of: fn(&(u32, f64)) -> f64| shares.iter().map(of).sum::<f64>();
                sum(|(size, share)| f64::from(*size) * share) / sum(|(_, share)| *share)
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "53 bits of chance are enough")]
fn pick(shares: &[(u32, f64)], chance: u64) -> u32 {
    let whole: f64 = shares.iter().map(|(_, share)| share).sum();
    let mut left = (chance >> 11) as f64 / (1u64 << 53) as f64 * whole;
    for (size, share) in shares {
        if left < *share {
            return *size;
        }
        left -= share;
    }
    // Nothing but rounding leads here.
    shares.last().map_or(1, |(size, _)| *size)
}

/// As they are typed.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(size) => write!(f, "{size}"),
            Self::Uniform { least, most } => write!(f, "{least}-{most}"),
            Self::Weighted(shares) => {
                for (index, (size, share)) in shares.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{size}:{share}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 100_000;

    fn drawn(sizes: &Sizes, seed: u64) -> Vec<u32> {
        (0..DRAWS).map(|number| sizes.draw(seed, 3, number.into())).collect()
    }

    #[test]
    fn a_range_gives_each_size_as_often() {
        let sizes = Sizes::Uniform { least: 5, most: 8 };
        let drawn = drawn(&sizes, 1);
        for size in 5..=8u32 {
            let count = u32::try_from(drawn.iter().filter(|found| **found == size).count()).unwrap();
            // A quarter, within five standard deviations: sqrt(n p q) = 137.
            assert!(count.abs_diff(DRAWS / 4) < 5 * 137, "{size}: {count}");
        }
        assert!(drawn.iter().all(|size| (5..=8).contains(size)));
        assert!((sizes.mean() - 6.5).abs() < 1e-9);
    }

    #[test]
    fn shares_are_kept() {
        let sizes = Sizes::Weighted(vec![(64, 0.9), (1400, 0.1)]);
        let small = drawn(&sizes, 7).iter().filter(|size| **size == 64).count();
        // sqrt(n p q) = 95.
        assert!(small.abs_diff(90_000) < 5 * 95, "{small}");
        assert!((sizes.mean() - 197.6).abs() < 1e-9);
        let twice = Sizes::Weighted(vec![(64, 1.8), (1400, 0.2)]);
        assert!((twice.mean() - 197.6).abs() < 1e-9, "shares need not add up to 1");
        assert_eq!((sizes.largest(), sizes.to_string().as_str()), (1400, "64:0.9,1400:0.1"));
    }

    #[test]
    fn a_seed_gives_the_same_sizes_and_another_gives_others() {
        let sizes = Sizes::Uniform { least: 1, most: Sizes::MOST };
        assert_eq!(drawn(&sizes, 1), drawn(&sizes, 1));
        assert_ne!(drawn(&sizes, 1), drawn(&sizes, 2));
        assert_ne!(sizes.draw(1, 0, 0), sizes.draw(1, 1, 0));
        assert_eq!(drawn(&Sizes::One(9), 1), vec![9; DRAWS as usize]);
    }
}
