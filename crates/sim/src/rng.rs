//! Random numbers from a seed: `SplitMix64`.

use wheel::Duration;

/// A seeded source of random numbers. The same seed gives the same numbers, everywhere and for ever.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A source of its own for part `n` of what this seed is for.
    #[must_use]
    pub fn part(seed: u64, n: u64) -> Self {
        let mut rng = Self(seed ^ n.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        rng.bits64();
        rng
    }

    /// 64 random bits.
    pub const fn bits64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        u32::try_from(self.bits64() >> 32).unwrap_or(0)
    }

    /// 0 to `n` - 1; 0 if `n` is.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.bits64() % n }
    }

    /// An index into something of that length.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// In 0 to 1, 1 excluded.
    pub fn fraction(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        (self.bits64() >> 11) as f64 * UNIT
    }

    /// True with a probability of 0 to 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.fraction() < probability
    }

    /// True in so many of a hundred cases.
    pub const fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of them, each as likely as another. Panics if there is none.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())].clone()
    }

    /// Above zero and up to `most`; zero if that is.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() { most } else { Duration::from_nanos(1 + self.below(most.as_nanos())) }
    }

    /// Up to that many milliseconds.
    pub const fn ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }

    /// 1 to `most` (at least 1), each order of magnitude as likely as another.
    pub fn magnitude(&mut self, most: u64) -> u64 {
        let bits = 1 + self.below(u64::from(most.ilog2()) + 1);
        (1 + self.below(1 << bits)).min(most)
    }
}
