//! Initial sequence numbers: RFC 9293 section 3.4.1 and RFC 6528, ISN = M + F(connection, secret). And the offset of timestamps,
//! which is drawn with F.
//!
//! Both come from one hash: F is its lower half, the offset its upper one. `SipHash` with a secret key is a pseudorandom function of
//! 64 bits, so neither half tells anything of the other, or of another connection's: to who sees one the other is as good as drawn
//! by a key of its own.

use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher24;
use wheel::Instant;
use wire::SeqNum;

/// The generator of a shard's initial sequence numbers; the key must come from the system's random source.
#[derive(Debug, Clone)]
pub struct IsnGenerator {
    key: [u8; 16],
}

impl IsnGenerator {
    /// A generator with a secret 128-bit key, which is never reused for another purpose.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The ISN of `connection` (its addresses and ports) at `now`: a clock of 4 µs steps plus a keyed hash.
    #[must_use]
    pub fn isn(&self, now: Instant, connection: &impl Hash) -> SeqNum {
        self.isn_and_offset(now, connection).0
    }

    /// What is added to the timestamp clock of `connection` (RFC 7323 section 5.4): nobody outside can tell it, and it is the
    /// same for every incarnation, so that a new one's timestamps are later than the old one's (RFC 6191).
    #[must_use]
    pub fn timestamp_offset(&self, connection: &impl Hash) -> u32 {
        self.isn_and_offset(Instant::ZERO, connection).1
    }

    /// [`isn`](Self::isn) and [`timestamp_offset`](Self::timestamp_offset), for half of what both cost.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // M and F are taken modulo 2^32
    pub fn isn_and_offset(&self, now: Instant, connection: &impl Hash) -> (SeqNum, u32) {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        connection.hash(&mut hasher);
        let hash = hasher.finish();
        (SeqNum::new(hash as u32) + (now.as_nanos() / 4000) as u32, (hash >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wheel::Duration;

    /// MUST-8, SHLD-1, RFC6528-3-a.
    #[test]
    fn the_clock_steps_every_4_microseconds() {
        let generator = IsnGenerator::new([7; 16]);
        let then = Instant::ZERO + Duration::from_secs(5);
        let (a, b) = (generator.isn(then, &(1, 2)), generator.isn(then + Duration::from_millis(1), &(1, 2)));
        assert_eq!(b.since(a), 250);
    }

    /// MUST-9, SHLD-1, RFC9293-3.4.2-a, RFC6528-3-a.
    #[test]
    fn another_connection_or_key_has_another_offset() {
        let generator = IsnGenerator::new([7; 16]);
        assert_ne!(generator.isn(Instant::ZERO, &(1, 2)), generator.isn(Instant::ZERO, &(1, 3)));
        assert_ne!(generator.isn(Instant::ZERO, &(1, 2)), IsnGenerator::new([8; 16]).isn(Instant::ZERO, &(1, 2)));
    }

    /// RFC7323-7-a: of its own for each connection and key, and not what gives the ISN away.
    #[test]
    fn the_offset_of_timestamps_is_the_connections() {
        let (generator, other) = (IsnGenerator::new([7; 16]), IsnGenerator::new([8; 16]));
        assert_eq!(generator.timestamp_offset(&(1, 2)), generator.timestamp_offset(&(1, 2)));
        assert_ne!(generator.timestamp_offset(&(1, 2)), generator.timestamp_offset(&(1, 3)));
        assert_ne!(generator.timestamp_offset(&(1, 2)), other.timestamp_offset(&(1, 2)));
        assert_ne!(generator.timestamp_offset(&(1, 2)), generator.isn(Instant::ZERO, &(1, 2)).value());
        let later = Instant::ZERO + Duration::from_secs(5);
        let both = (generator.isn(later, &(1, 2)), generator.timestamp_offset(&(1, 2)));
        assert_eq!(generator.isn_and_offset(later, &(1, 2)), both);
    }
}
