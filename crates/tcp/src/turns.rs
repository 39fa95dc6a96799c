//! How many bytes have gone one way. Sequence numbers come round every 4 GiB; what is kept besides is how often they have.

/// Half turns of the sequence numbers, as far as anybody has looked: at least once for every 2 GiB somebody must, which any
/// duty that comes once in a round trip does. They come round themselves behind 128 TiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turns(u16);

impl Turns {
    /// So far from the first number it is now, modulo 2^32.
    #[inline]
    pub(crate) const fn see(&mut self, distance: u32) {
        self.0 = self.at(distance);
    }

    /// The bytes up to that distance.
    pub(crate) const fn total(self, distance: u32) -> u64 {
        ((self.at(distance) >> 1) as u64) << 32 | distance as u64
    }

    /// The upper bit of a distance is the lower bit of its half turn.
    #[allow(clippy::cast_possible_truncation)] // one bit
    const fn at(self, distance: u32) -> u16 {
        self.0.wrapping_add((self.0 ^ (distance >> 31) as u16) & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever steps of less than 2 GiB are taken, and though every other one is not looked at as long as two are less.
    #[test]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32
    fn bytes_are_counted_beyond_4_gib() {
        for step in [1 << 10, (1 << 29) + 7, (1 << 30) - 1] {
            let (mut turns, mut bytes) = (Turns::default(), 0u64);
            for n in 0..100 {
                assert_eq!(turns.total(bytes as u32), bytes, "{step} {n}");
                if n % 2 == 0 {
                    turns.see(bytes as u32);
                }
                bytes += step;
            }
        }
    }
}
