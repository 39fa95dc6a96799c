//! SYN cookies: an ISS from which the final ACK of a handshake brings back what the SYN said, so that nothing need be kept of
//! it (RFC 4987 section 3.6 and appendix A).
//!
//! `ISS = F(connection) + SEG.SEQ + T * 2^24 + (MAC * 8 + M)`, where T counts 64 s, M is an index into a table of MSS values,
//! and the MAC has 21 bits and covers all of it. It grows with T and with the peer's own clock, as RFC 9293 section 3.4.1
//! wants of an ISS. Of 2^32 numbers sixteen are valid at a time: a blind ACK is believed with a chance of 2^-28.
//!
//! Window scale, SACK and ECN don't fit in there. If the peer sends timestamps they stand in the low six bits of our TSval,
//! which comes back as TSecr; otherwise the connection does without.

use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher24;
use wheel::{Duration, Instant};
use wire::SeqNum;

/// T: how long a cookie's time lasts. It is valid during the one it was made in, and the next.
const TICK: Duration = Duration::from_secs(64);
const INDEX_BITS: u32 = 3;
const LOW_BITS: u32 = 24;
const LOW_MASK: u32 = (1 << LOW_BITS) - 1;

/// The MSS values a cookie can tell: what the field has, rounded down. The least is the least a peer is believed.
const MSS_V4: [u16; 8] = [48, 256, 536, 1220, 1360, 1440, 1460, 8960];
const MSS_V6: [u16; 8] = [48, 536, 1220, 1340, 1400, 1420, 1440, 8940];

/// The bits of TSval that carry options, as in Linux: four of window scale (15: none), SACK, ECN.
const OPTION_BITS: u32 = 6;
const SCALE_MASK: u32 = 0xf;
const SACK_BIT: u32 = 1 << 4;
const ECN_BIT: u32 = 1 << 5;

/// Which table of MSS values a connection uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Makes cookies and reads them; the key must come from the system's random source and serve nothing else.
#[derive(Debug, Clone)]
pub struct Cookies {
    key: [u8; 16],
}

impl Cookies {
    /// The longest a cookie is valid; the shortest is half of it.
    pub const VALID_FOR: Duration = Duration::from_secs(128);

    /// Cookies with a secret 128-bit key.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The ISS for a SYN of number `irs` of `connection` (its addresses and ports), and the MSS it will tell: the largest of
    /// the table that is not above `mss`.
    #[must_use]
    pub fn iss(&self, now: Instant, connection: &impl Hash, family: Family, irs: SeqNum, mss: u16) -> (SeqNum, u16) {
        let table = table(family);
        let index = table.iter().rposition(|known| *known <= mss).unwrap_or(0);
        let at = u32::try_from(index).unwrap_or(0);
        let tick = tick(now);
        let low = self.mac(connection, tick, irs, at) << INDEX_BITS | at;
        (self.base(connection) + irs.value() + (tick << LOW_BITS) + low, table[index])
    }

    /// The MSS that a cookie tells, or `None`: it is forged, stale, or none at all.
    #[must_use]
    pub fn mss(&self, now: Instant, connection: &impl Hash, family: Family, irs: SeqNum, iss: SeqNum) -> Option<u16> {
        let rest = iss.since(self.base(connection) + irs.value());
        let (low, tick) = (rest & LOW_MASK, tick(now));
        let index = low & ((1 << INDEX_BITS) - 1);
        let age = (tick << LOW_BITS).wrapping_sub(rest & !LOW_MASK) >> LOW_BITS;
        let valid = age <= 1 && low >> INDEX_BITS == self.mac(connection, tick.wrapping_sub(age), irs, index);
        valid.then(|| table(family)[index as usize])
    }

    #[allow(clippy::cast_possible_truncation)] // 32 bits of the hash are used
    fn base(&self, connection: &impl Hash) -> SeqNum {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        (0u8, connection).hash(&mut hasher);
        SeqNum::new(hasher.finish() as u32)
    }

    #[allow(clippy::cast_possible_truncation)] // 21 bits of the hash are used
    fn mac(&self, connection: &impl Hash, tick: u32, irs: SeqNum, index: u32) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        (1u8, connection, tick, irs.value(), index).hash(&mut hasher);
        hasher.finish() as u32 & (LOW_MASK >> INDEX_BITS)
    }
}

#[allow(clippy::cast_possible_truncation)] // T is taken modulo 2^32; 8 bits of it are sent
fn tick(now: Instant) -> u32 {
    (now.as_nanos() / TICK.as_nanos()) as u32
}

const fn table(family: Family) -> &'static [u16; 8] {
    match family {
        Family::V4 => &MSS_V4,
        Family::V6 => &MSS_V6,
    }
}

/// What our TSval can carry of a SYN's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieOptions {
    /// The peer's shift, 0 to 14, if it offered one.
    pub window_scale: Option<u8>,
    /// SACK-Permitted.
    pub sack: bool,
    /// ECN was negotiated.
    pub ecn: bool,
}

impl CookieOptions {
    /// The TSval to send instead of `tsval`: the latest not after it whose low bits are these options.
    #[must_use]
    pub fn in_tsval(self, tsval: u32) -> u32 {
        let scale = self.window_scale.map_or(SCALE_MASK, |shift| u32::from(shift.min(14)));
        let bits = scale | if self.sack { SACK_BIT } else { 0 } | if self.ecn { ECN_BIT } else { 0 };
        tsval.wrapping_sub(tsval.wrapping_sub(bits) & ((1 << OPTION_BITS) - 1))
    }

    /// What came back as TSecr.
    #[must_use]
    pub fn of_tsecr(tsecr: u32) -> Self {
        let scale = u8::try_from(tsecr & SCALE_MASK).unwrap_or(15);
        Self { window_scale: (scale < 15).then_some(scale), sack: tsecr & SACK_BIT != 0, ecn: tsecr & ECN_BIT != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOW: (u32, u16) = (7, 8);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn mss(now: Instant, irs: SeqNum, iss: SeqNum) -> Option<u16> {
        Cookies::new([3; 16]).mss(now, &FLOW, Family::V4, irs, iss)
    }

    /// RFC4987-3.6-a: valid during its 64 s and the next, and for nobody else.
    #[test]
    fn a_cookie_lives_for_two_ticks() {
        let (irs, cookies) = (SeqNum::new(0xffff_fff0), Cookies::new([3; 16]));
        for start in [0, 64 * 255, 64 * 256] {
            let (iss, told) = cookies.iss(at(start), &FLOW, Family::V4, irs, 1460);
            assert_eq!(told, 1460);
            for (age, valid) in [(0, true), (63, true), (127, true), (128, false), (64 * 200, false)] {
                assert_eq!(mss(at(start + age), irs, iss).is_some(), valid, "{start} {age}");
            }
            assert_eq!(mss(at(start), irs + 1, iss), None, "of another SYN");
            assert_eq!(cookies.mss(at(start), &(7, 9), Family::V4, irs, iss), None, "of another connection");
            assert_eq!(Cookies::new([4; 16]).mss(at(start), &FLOW, Family::V4, irs, iss), None, "of another host");
        }
    }

    #[test]
    fn a_later_cookie_is_a_later_number() {
        // RFC 9293 section 3.4.1: 256 s in which T moves on, and the peer's clock of 4 µs with it.
        let cookies = Cookies::new([3; 16]);
        let iss = |t: u64| {
            let irs = SeqNum::new(u32::try_from(t * 250_000 % (1 << 32)).expect("below 2^32"));
            cookies.iss(at(t), &FLOW, Family::V4, irs, 1460).0
        };
        assert!((64..=320).step_by(64).all(|t| iss(t).after(iss(t - 64))));
    }

    /// Forged numbers: one in 2^28 would be believed, of these 100,000 around a true one no other is.
    #[test]
    fn neighbours_of_a_cookie_are_none() {
        let irs = SeqNum::new(5);
        let (iss, _) = Cookies::new([3; 16]).iss(at(9), &FLOW, Family::V4, irs, 536);
        let believed = (0..100_000u32).filter(|n| mss(at(9), irs, iss - 50_000 + *n).is_some()).count();
        assert_eq!(believed, 1);
    }

    #[test]
    fn the_tables_are_sorted() {
        assert!(MSS_V4.is_sorted() && MSS_V6.is_sorted());
    }

    proptest! {
        /// What a cookie tells is never more than the peer takes, unless that is less than anybody is believed.
        #[test]
        fn the_mss_is_rounded_down(irs in any::<u32>(), mss_of_peer in 48u16.., v6 in any::<bool>(), seconds in 0u64..1 << 30) {
            let (cookies, irs) = (Cookies::new([9; 16]), SeqNum::new(irs));
            let family = if v6 { Family::V6 } else { Family::V4 };
            let (iss, told) = cookies.iss(at(seconds), &FLOW, family, irs, mss_of_peer);
            prop_assert!(told <= mss_of_peer);
            prop_assert!(table(family).iter().all(|known| *known <= told || *known > mss_of_peer));
            prop_assert_eq!(cookies.mss(at(seconds), &FLOW, family, irs, iss), Some(told));
        }

        /// Options come back, and TSval lies at most 63 behind the clock.
        #[test]
        fn options_come_back(tsval in any::<u32>(), shift in proptest::option::of(0u8..15), sack in any::<bool>(), ecn in any::<bool>()) {
            let options = CookieOptions { window_scale: shift, sack, ecn };
            let sent = options.in_tsval(tsval);
            prop_assert!(tsval.wrapping_sub(sent) < 64);
            prop_assert_eq!(CookieOptions::of_tsecr(sent), options);
        }
    }
}
