//! How many SYNs of one source prefix the XDP program shows the stack.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::abi::SynLimitValue;
use crate::error::Error;

const SHORTEST: Duration = Duration::from_micros(1);
const LONGEST: Duration = Duration::from_secs(1000);
const MOST_AT_ONCE: u32 = 1_000_000;

/// A limit on new connections: a token bucket for each source prefix. A SYN without ACK that would be redirected takes a token, and
/// without one is dropped (`drop_syn_limit`). 65,536 prefixes are remembered, of which those that were silent longest are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynLimit {
    /// One SYN is let in for each, 1 µs to 1000 s.
    pub interval: Duration,
    /// SYNs that may come at once, 1 to 1,000,000.
    pub burst: u32,
    /// Bits of an IPv4 source that make its prefix, 0 to 32; 0: all have one bucket.
    pub prefix_v4: u8,
    /// The same of IPv6, 0 to 128.
    pub prefix_v6: u8,
}

impl SynLimit {
    /// So many SYNs a second, 0.001 to 1,000,000: as many at once as of a second, one at least. Prefixes of 24 bits (IPv4) and
    /// 56 (IPv6), as sites are given them.
    #[must_use]
    pub fn per_second(rate: f64) -> Self {
        // What is no rate becomes an interval that is refused.
        let interval = Duration::try_from_secs_f64(1.0 / rate).unwrap_or_default();
        let of_a_second = Duration::from_secs(1).as_nanos().checked_div(interval.as_nanos()).unwrap_or_default();
        let burst = u32::try_from(of_a_second).unwrap_or(u32::MAX).clamp(1, MOST_AT_ONCE);
        Self { interval, burst, prefix_v4: 24, prefix_v6: 56 }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`]: names the field, its value and what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        let refused = |field, value, allowed| Err(Error::Config { field, value, allowed });
        if !(SHORTEST..=LONGEST).contains(&self.interval) {
            return refused("syn_limit.interval", format!("{:?}", self.interval), "1 µs to 1000 s for each SYN");
        }
        if !(1..=MOST_AT_ONCE).contains(&self.burst) {
            return refused("syn_limit.burst", self.burst.to_string(), "1 to 1000000");
        }
        if self.prefix_v4 > 32 {
            return refused("syn_limit.prefix_v4", self.prefix_v4.to_string(), "0 to 32");
        }
        if self.prefix_v6 > 128 {
            return refused("syn_limit.prefix_v6", self.prefix_v6.to_string(), "0 to 128");
        }
        Ok(())
    }

    /// As the program has it; of one that was checked.
    pub(crate) fn value(&self) -> SynLimitValue {
        let interval_ns = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let v4 = u32::MAX.checked_shl(32 - u32::from(self.prefix_v4)).unwrap_or(0);
        let v6 = u128::MAX.checked_shl(128 - u32::from(self.prefix_v6)).unwrap_or(0);
        let mut mask_ipv6 = [[0; 4]; 4];
        mask_ipv6.as_flattened_mut().copy_from_slice(&v6.to_be_bytes());
        SynLimitValue {
            interval_ns,
            burst_ns: interval_ns.saturating_mul(self.burst.into()),
            mask_ipv4: v4.to_be_bytes(),
            mask_ipv6,
            zero: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_an_interval_and_a_second_of_it_may_come_at_once() {
        let of = |rate| {
            let limit = SynLimit::per_second(rate);
            limit.check().unwrap();
            (limit.interval, limit.burst)
        };
        assert_eq!(of(100.0), (Duration::from_millis(10), 100));
        assert_eq!(of(1_000_000.0), (SHORTEST, MOST_AT_ONCE));
        assert_eq!(of(0.001), (LONGEST, 1));
        assert_eq!(of(2.5), (Duration::from_millis(400), 2));
        for none in [0.0, -1.0, 2e6, 0.0009, f64::NAN, f64::INFINITY] {
            assert!(SynLimit::per_second(none).check().is_err(), "{none}");
        }
    }

    #[test]
    fn an_error_names_field_value_and_what_is_allowed() {
        let ok = SynLimit::per_second(10.0);
        let cases = [
            (SynLimit { interval: Duration::from_nanos(999), ..ok }, ["syn_limit.interval", "999ns", "1 µs to 1000 s"]),
            (SynLimit { interval: LONGEST + SHORTEST, ..ok }, ["syn_limit.interval", "1000.000001s", "1000 s"]),
            (SynLimit { burst: 0, ..ok }, ["syn_limit.burst", "\"0\"", "1 to 1000000"]),
            (SynLimit { burst: 1_000_001, ..ok }, ["syn_limit.burst", "1000001", "1 to 1000000"]),
            (SynLimit { prefix_v4: 33, ..ok }, ["syn_limit.prefix_v4", "33", "0 to 32"]),
            (SynLimit { prefix_v6: 129, ..ok }, ["syn_limit.prefix_v6", "129", "0 to 128"]),
        ];
        for (limit, words) in cases {
            let text = limit.check().unwrap_err().to_string();
            for word in words {
                assert!(text.contains(word), "{text:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn masks_are_in_network_order_and_nothing_overflows() {
        let limit = |prefix_v4, prefix_v6| SynLimit { prefix_v4, prefix_v6, ..SynLimit::per_second(0.001) };
        for (prefix_v4, prefix_v6, v4, v6) in [
            (0, 0, 0, 0),
            (24, 56, 0xffff_ff00_u32, 0xffff_ffff_ffff_ff00_u128 << 64),
            (13, 61, 0xfff8_0000, 0xffff_ffff_ffff_fff8 << 64),
            (32, 128, u32::MAX, u128::MAX),
        ] {
            let value = limit(prefix_v4, prefix_v6).value();
            assert_eq!((value.mask_ipv4, value.mask_ipv6.as_flattened()), (v4.to_be_bytes(), &v6.to_be_bytes()[..]));
        }
        // The longest in all: 31 years, of which 292 fit with the time of the system's start.
        let most = SynLimit { burst: MOST_AT_ONCE, ..limit(24, 56) };
        assert_eq!(most.value().burst_ns, 1_000_000_000_000_000_000);
    }
}
