//! When to acknowledge: RFC 9293 section 3.8.6.3 (delayed ACK), RFC 5681 section 4.2.
//!
//! Both say that every second full-sized segment SHOULD be acknowledged, for the sake of the sender's clock. Where so many
//! arrive in a round trip that one in eight keeps that clock as well, and within a few microseconds, the ACKs between are left
//! out: they cost both ends more than the segments do. (What Linux with GRO comes to.)

use crate::profile::Profile;

/// What an arriving data segment asks of the acknowledgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// At the end of this batch.
    Now,
    /// At the end of this batch, for the peer's sake; an answer that is about to come would do as well.
    Quick,
    /// In some microseconds; more segments may have come by then.
    Gather,
    /// With the next data of ours, or when the delayed-ACK timer expires.
    Delay,
}

/// Data segments acknowledged at once at the start of a connection and behind a loss, while the peer's window is small: where
/// one segment is all that is under way, a delayed ACK would stop the peer for its whole time (as Linux).
const QUICK: u8 = 16;

/// The least MSS there should be (RFC 9293 section 3.7.1): what is smaller need not be all that the peer could send.
const LEAST_FULL: u16 = 536;

/// All of them are: nothing waits.
const ALWAYS: u8 = u8::MAX;

/// Full-sized segments that one ACK is for at most, ...
const GATHERED: u8 = 8;
/// ... with this bit if it is for two only because something was lost in this round trip or the one before, ...
const GAP: u8 = 0x80;
/// ... and ACKs that a round trip has at least: twice as many samples as RFC 9406 section 4.3 wants of each.
const ACKS: u32 = 16;
/// Where it is for throughput: twice as many segments, and as many samples as wanted.
const GATHERED_FOR_THROUGHPUT: u8 = 16;
const ACKS_FOR_THROUGHPUT: u32 = 8;

#[derive(Debug, Clone)]
pub(crate) struct AckPolicy {
    /// Bytes received in order and not acknowledged.
    pending: u32,
    /// The largest segment seen: what the peer takes for full-sized. At least [`LEAST_FULL`].
    full: u16,
    quick: u8,
    /// Full-sized segments that one ACK is for, 2 to [`GATHERED`] or [`GATHERED_FOR_THROUGHPUT`]; or 2 with [`GAP`].
    gathered: u8,
}

impl Default for AckPolicy {
    fn default() -> Self {
        Self { pending: 0, full: LEAST_FULL, quick: QUICK, gathered: 2 }
    }
}

impl AckPolicy {
    /// Data of `len` bytes arrived; `regular` if it was in order and nothing out of order is held (RFC 5681: anything else
    /// is acknowledged at once).
    #[inline(always)] // most often it is one sum
    pub(crate) fn on_data(&mut self, len: u32, mss: u16, regular: bool) -> Ack {
        if len > self.full.into() {
            self.full = self.full.max(u16::try_from(len).unwrap_or(mss).min(mss));
        }
        self.pending = self.pending.saturating_add(len);
        if !regular {
            (self.quick, self.gathered) = (self.quick.max(QUICK), 2 | GAP);
        }
        // SHLD-19: an ACK for at least every second full-sized segment.
        let full = u32::from(self.full);
        if !regular || self.pending >= u32::from(self.gathered & !GAP) * full {
            return Ack::Now;
        }
        self.wait(full)
    }

    #[inline(never)] // of a batch hardly one waits
    fn wait(&mut self, full: u32) -> Ack {
        let quick = self.quick > 0;
        self.quick -= u8::from(quick && self.quick != ALWAYS);
        match (self.pending >= 2 * full, quick) {
            (true, true) => Ack::Now,
            (true, false) => Ack::Gather,
            (false, true) => Ack::Quick,
            (false, false) => Ack::Delay,
        }
    }

    /// A round trip is over, and the sender has settled at so many bytes in each; `None`: it has not, it is in slow start, and
    /// HyStart++ counts on our ACKs.
    pub(crate) fn on_round(&mut self, settled: Option<u32>, profile: Profile) {
        let (most, acks) = match profile {
            Profile::Throughput => (GATHERED_FOR_THROUGHPUT, ACKS_FOR_THROUGHPUT),
            Profile::Balanced | Profile::Latency => (GATHERED, ACKS),
        };
        let segments = settled.filter(|_| self.gathered & GAP == 0).unwrap_or(0) / u32::from(self.full) / acks;
        self.gathered = u8::try_from(segments).unwrap_or(most).clamp(2, most);
    }

    /// For latency every segment is acknowledged at once from now on.
    pub(crate) fn set_profile(&mut self, profile: Profile) {
        self.quick = match profile {
            Profile::Latency => ALWAYS,
            Profile::Balanced | Profile::Throughput => self.quick.min(QUICK),
        };
    }

    /// The timer has sent an ACK: the peer may have been waiting for it with two segments of a size that is full by now, where its
    /// path has shrunk. The next one tells how large they are.
    pub(crate) fn timed_out(&mut self) {
        self.full = LEAST_FULL;
    }

    /// Bytes in order that wait for their acknowledgment.
    pub(crate) const fn pending(&self) -> u32 {
        self.pending
    }

    /// An acknowledgment went out, alone or with data.
    pub(crate) fn sent(&mut self) {
        self.pending = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

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

    /// RFC 9406 section 4.3: the sender has eight samples of the round trip, whatever the window.
    #[test]
    fn one_ack_in_eight_segments_if_a_round_trip_has_enough_of_them() {
        for (segments, per_ack) in [(0, 2), (10, 2), (32, 2), (48, 3), (64, 4), (128, 8), (10_000, 8)] {
            let mut policy = AckPolicy { quick: 0, ..AckPolicy::default() };
            policy.full = 1000;
            policy.on_round(Some(segments * 1000), Profile::Balanced);
            let mut arrive = || policy.on_data(1000, 1460, true);
            assert_eq!(arrive(), Ack::Delay);
            for _ in 2..per_ack {
                assert_eq!(arrive(), Ack::Gather, "{segments}");
            }
            assert_eq!(arrive(), Ack::Now, "{segments}");
            // In slow start each second one counts, and behind a loss, when the window is small.
            policy.sent();
            policy.on_round(None, Profile::Balanced);
            assert_eq!(policy.on_data(1000, 1460, true), Ack::Delay);
            assert_eq!(policy.on_data(1000, 1460, true), Ack::Now);
            policy.on_round(Some(segments * 1000), Profile::Balanced);
            assert_eq!(policy.on_data(1000, 1460, false), Ack::Now);
            assert_eq!((policy.gathered, policy.quick), (2 | GAP, QUICK));
            policy.on_round(Some(segments * 1000), Profile::Balanced);
            assert_eq!(policy.gathered, 2);
            policy.on_round(Some(segments * 1000), Profile::Balanced);
            assert_eq!(u32::from(policy.gathered), per_ack);
        }
    }

    /// RFC 9406 section 4.3 wants eight samples of a round trip: so many ACKs it has.
    #[test]
    fn for_throughput_one_ack_in_sixteen() {
        for (segments, per_ack) in [(15, 2), (32, 4), (64, 8), (128, 16), (10_000, 16)] {
            let mut policy = AckPolicy { quick: 0, ..AckPolicy::default() };
            policy.full = 1000;
            policy.on_round(Some(segments * 1000), Profile::Throughput);
            let answers: Vec<_> = (0..per_ack).map(|_| policy.on_data(1000, 1460, true)).collect();
            assert_eq!(answers.iter().position(|ack| *ack == Ack::Now), Some(per_ack - 1), "{segments}");
        }
    }

    /// Not even losses end it, which bring quick ACKs for a time only.
    #[test]
    fn for_latency_each_segment_has_its_ack() {
        let mut policy = AckPolicy::default();
        policy.set_profile(Profile::Latency);
        for n in 0..1000 {
            assert_eq!(policy.on_data(10, 1460, n % 100 != 7), if n % 100 == 7 { Ack::Now } else { Ack::Quick });
            policy.sent();
        }
        policy.set_profile(Profile::Balanced);
        for _ in 0..QUICK {
            assert_eq!(policy.on_data(10, 1460, true), Ack::Quick);
            policy.sent();
        }
        assert_eq!(policy.on_data(10, 1460, true), Ack::Delay);
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
        assert_eq!(policy.on_data(1460, 1460, true), Ack::Now);
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
