//! Bytes that nobody else sends, of which each is known by its place.

/// An endless stream of bytes, the same for the same seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    seed: u64,
}

impl Pattern {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The bytes from `at` on.
    pub(crate) fn fill(self, at: u64, piece: &mut [u8]) {
        let mut word = self.word(at / 8);
        for (byte, place) in piece.iter_mut().zip(at..) {
            if place % 8 == 0 {
                word = self.word(place / 8);
            }
            *byte = word[usize::try_from(place % 8).unwrap_or(0)];
        }
    }

    /// The first place in `piece` that is not as it should be from `at` on.
    pub(crate) fn differs(self, at: u64, piece: &[u8]) -> Option<u64> {
        let mut expected = [0; 4096];
        let mut before = 0;
        for part in piece.chunks(expected.len()) {
            let expected = &mut expected[..part.len()];
            self.fill(at + before, expected);
            if part != expected {
                let place = part.iter().zip(expected.iter()).position(|(came, sent)| came != sent);
                return place.map(|place| before + place as u64);
            }
            before += part.len() as u64;
        }
        None
    }

    /// A finaliser of splitmix64.
    const fn word(self, number: u64) -> [u8; 8] {
        let mut z = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_parts_of_one_stream_and_a_changed_byte_is_found() {
        let pattern = Pattern::new(7);
        let mut whole = vec![0; 10_000];
        pattern.fill(0, &mut whole);
        for (at, len) in [(0, 10), (1, 8), (7, 2), (8, 4097), (4099, 5901)] {
            let mut part = vec![0; len];
            pattern.fill(at as u64, &mut part);
            assert_eq!(part, whole[at..at + len]);
            assert_eq!(pattern.differs(at as u64, &whole[at..at + len]), None);
        }
        whole[5000] ^= 1;
        assert_eq!(pattern.differs(0, &whole), Some(5000));
        assert_eq!(pattern.differs(13, &whole[13..]), Some(4987));
        assert!(Pattern::new(8).differs(0, &whole).is_some());
    }
}
