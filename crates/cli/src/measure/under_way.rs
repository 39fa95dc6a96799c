//! What nobody has answered when a measurement ends: it is in no time, so that a stall at the end would not be seen.

use fourwave::Instant;
use serde::{Deserialize, Serialize};

use crate::out;

/// Who has waited for less has just been asked.
const LONG_NS: u64 = 10_000_000;

/// Messages that were begun and neither answered nor given up by the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) count: u64,
    /// How long the oldest has waited, from when its time counts.
    pub(crate) longest_ns: u64,
}

impl UnderWay {
    /// So many more, of which the oldest was `intended` then.
    pub(crate) fn wait(&mut self, count: usize, intended: Instant, now: Instant) {
        self.add(&Self { count: count as u64, longest_ns: now.saturating_since(intended).as_nanos() });
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    /// A sentence if one has waited for longer than whoever was answered: `max` nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    pub(crate) fn complaint(&self, max: u64) -> Option<String> {
        let Self { count, longest_ns } = *self;
        (longest_ns > max.max(LONG_NS)).then(|| {
            format!(
                "it ended within a stall, which is in none of the times: {count} without an answer by then, one of them for {}",
                out::nanoseconds(longest_ns as f64)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fourwave::Duration;

    #[test]
    fn who_waits_for_longer_than_any_other_is_told_of() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut all = UnderWay::default();
        all.wait(2, at(100), at(105));
        assert_eq!(all.complaint(0), None, "it was asked 5 ms ago");
        all.wait(1, at(50), at(105));
        assert_eq!(all, UnderWay { count: 3, longest_ns: 55_000_000 });
        assert_eq!(all.complaint(60_000_000), None, "as others did");
        let said = all.complaint(50_000_000).unwrap();
        assert!(said.contains("3 without an answer by then, one of them for 55.0 ms"), "{said}");
    }
}
