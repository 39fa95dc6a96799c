//! Whether the congestion window is what holds data back: RFC 7661's question, with Linux's answer.

use wire::SeqNum;

/// The strongest sign of use within the current window of data.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    limited: bool,
    most: u32,
    until: SeqNum,
}

impl Usage {
    /// Data was sent: `in_flight` bytes of a window of `cwnd` are used, up to `snd_nxt`; SND.UNA is `una`.
    pub(crate) fn sent(&mut self, in_flight: u32, cwnd: u32, mss: u32, una: SeqNum, snd_nxt: SeqNum) {
        let limited = in_flight.saturating_add(mss) > cwnd;
        if una.after_eq(self.until) || limited || (!self.limited && in_flight > self.most) {
            *self = Self { limited, most: in_flight, until: snd_nxt };
        }
    }

    /// Whether a window of `cwnd` may grow: it was full, or in slow start more than half of it was used, since it doubles.
    pub(crate) const fn allows_growth(&self, cwnd: u32, slow_start: bool) -> bool {
        self.limited || (slow_start && cwnd < self.most.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 9 of 10 segments used slow start goes up to 18, with 5 of 10 not at all (Linux's `tcp_is_cwnd_limited`).
    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let una = SeqNum::new(1);
        let mut usage = Usage::default();
        usage.sent(9000, 10_000, 1000, una, una + 9000);
        assert!(usage.allows_growth(17_999, true));
        assert!(!usage.allows_growth(18_000, true));
        assert!(!usage.allows_growth(10_000, false));
        usage.sent(9001, 10_000, 1000, una, una + 9001);
        assert!(usage.allows_growth(100_000, true) && usage.allows_growth(10_000, false));
        // What was so in this window of data holds for all of it; then it is asked again.
        usage.sent(2000, 10_000, 1000, una + 9000, una + 11_000);
        assert!(usage.allows_growth(10_000, false));
        usage.sent(5000, 10_000, 1000, una + 9001, una + 14_001);
        assert!(!usage.allows_growth(10_000, true));
    }
}
