//! When to acknowledge: RFC 9293 section 3.8.6.3 (delayed ACK), RFC 5681 section 4.2.

/// What an arriving data segment asks of the acknowledgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// At the end of this batch.
    Now,
    /// At the end of this batch, for the peer's sake; an answer that is about to come would do as well.
    Quick,
    /// With the next data of ours, or when the delayed-ACK timer expires.
    Delay,
}

/// Data segments acknowledged at once at the start of a connection and behind a loss, while the peer's window is small: where
/// one segment is all that is under way, a delayed ACK would stop the peer for its whole time (as Linux).
const QUICK: u8 = 16;

#[derive(Debug, Clone)]
pub(crate) struct AckPolicy {
    /// Bytes received in order and not acknowledged.
    pending: u32,
    /// The largest segment seen: what the peer takes for full-sized. At least 536.
    full: u16,
    quick: u8,
}

impl Default for AckPolicy {
    fn default() -> Self {
        Self { pending: 0, full: 536, quick: QUICK }
    }
}

impl AckPolicy {
    /// Data of `len` bytes arrived; `regular` if it was in order and nothing out of order is held (RFC 5681: anything else
    /// is acknowledged at once).
    pub(crate) fn on_data(&mut self, len: u32, mss: u16, regular: bool) -> Ack {
        self.pending = self.pending.saturating_add(len);
        self.full = self.full.max(u16::try_from(len).unwrap_or(mss).min(mss));
        if !regular {
            self.quick = QUICK;
        }
        // SHLD-19: an ACK for at least every second full-sized segment.
        if !regular || self.pending >= 2 * u32::from(self.full) {
            return Ack::Now;
        }
        if self.quick > 0 {
            self.quick -= 1;
            return Ack::Quick;
        }
        Ack::Delay
    }

    /// An acknowledgment went out, alone or with data.
    pub(crate) fn sent(&mut self) {
        self.pending = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHLD-19, RFC5681-4.2-b.
    #[test]
    fn every_second_full_segment_is_acknowledged() {
        let mut policy = AckPolicy { quick: 0, ..AckPolicy::default() };
        assert_eq!(policy.on_data(1460, 1460, true), Ack::Delay);
        assert_eq!(policy.on_data(1460, 1460, true), Ack::Now);
        policy.sent();
        assert_eq!(policy.on_data(1, 1460, true), Ack::Delay);
        assert_eq!(policy.on_data(1, 1460, false), Ack::Now);
    }

    /// A peer that is down to a window of one segment would wait 40 ms for each: 16 segments are acknowledged one by one behind
    /// the one that filled a gap.
    #[test]
    fn segments_behind_a_loss_are_acknowledged_at_once() {
        let mut policy = AckPolicy { quick: 0, ..AckPolicy::default() };
        assert_eq!(policy.on_data(1460, 1460, false), Ack::Now);
        policy.sent();
        for _ in 0..QUICK {
            assert_eq!(policy.on_data(1460, 1460, true), Ack::Quick);
            policy.sent();
        }
        assert_eq!(policy.on_data(1460, 1460, true), Ack::Delay);
    }

    #[test]
    fn the_first_segments_are_acknowledged_at_once() {
        let mut policy = AckPolicy::default();
        for _ in 0..QUICK {
            assert_eq!(policy.on_data(1, 1460, true), Ack::Quick);
            policy.sent();
        }
        assert_eq!(policy.on_data(1, 1460, true), Ack::Delay);
    }
}
