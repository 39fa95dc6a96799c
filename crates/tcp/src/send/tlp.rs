//! Tail loss probe: RFC 8985 section 7. When acknowledgments stay away, one segment asks for them before the timeout does.

use wheel::Duration;
use wire::SeqNum;

/// The probe's timeout while nothing has been measured.
const UNKNOWN: Duration = Duration::from_secs(1);

/// What became of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is known yet, or there was none.
    Open,
    /// It was not needed, or it was new data and has arrived.
    Delivered,
    /// It repaired a loss: congestion control must hear of it.
    Repaired,
}

/// A probe that is out: SND.NXT behind it (`TLP.end_seq`), and whether it was a segment sent before. It outlives the flight:
/// only what is sent next shows whether it was needed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probe(Option<(SeqNum, bool)>);

impl Probe {
    /// Whether one was sent and its fate is not known.
    pub(crate) const fn is_out(self) -> bool {
        self.0.is_some()
    }

    pub(crate) const fn sent(end: SeqNum, again: bool) -> Self {
        Self(Some((end, again)))
    }

    /// RFC 8985 section 7.4.2. `duplicate`: what a DSACK says has arrived twice; `bare`: a duplicate acknowledgment without
    /// SACK blocks.
    pub(crate) fn acknowledged(&mut self, ack: SeqNum, duplicate: Option<(SeqNum, SeqNum)>, bare: bool) -> Verdict {
        let Some((end, again)) = self.0.filter(|(end, _)| ack.after_eq(*end)) else { return Verdict::Open };
        let verdict = if !again || duplicate.is_some_and(|(_, e)| e == end) {
            Verdict::Delivered
        } else if ack.after(end) {
            Verdict::Repaired
        } else if bare {
            Verdict::Delivered
        } else {
            return Verdict::Open;
        };
        self.0 = None;
        verdict
    }
}

/// RFC 8985 section 7.2: how long to wait for an acknowledgment. With one segment in flight its receiver may delay it.
pub(crate) fn timeout(srtt: Option<Duration>, alone: bool, max_ack_delay: Duration) -> Duration {
    match srtt {
        Some(srtt) if alone => srtt * 2 + max_ack_delay,
        Some(srtt) => srtt * 2,
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// RFC8985-7.2-a: 2 * SRTT, the receiver's delay with one segment in flight, a second when nothing is known.
    #[test]
    fn the_timeout_is_twice_the_round_trip() {
        assert_eq!(timeout(Some(MS * 100), false, MS * 200), MS * 200);
        assert_eq!(timeout(Some(MS * 100), true, MS * 200), MS * 400);
        assert_eq!(timeout(None, true, MS * 200), MS * 1000);
    }

    /// RFC8985-7.4-a: newer data acknowledged and no DSACK: one loss was repaired; with a DSACK there was none.
    #[test]
    fn what_became_of_a_probe() {
        let (start, end) = (SeqNum::new(0xffff_ff00), SeqNum::new(100));
        let probe = |again| Probe::sent(end, again);
        assert_eq!(Probe::default().acknowledged(end, None, false), Verdict::Open);
        assert_eq!(probe(true).acknowledged(start, None, false), Verdict::Open);
        assert_eq!(probe(false).acknowledged(end, None, false), Verdict::Delivered);
        assert_eq!(probe(true).acknowledged(end, Some((start, end)), false), Verdict::Delivered);
        assert_eq!(probe(true).acknowledged(end, Some((start, end - 1)), false), Verdict::Open);
        assert_eq!(probe(true).acknowledged(end + 1, None, false), Verdict::Repaired);
        assert_eq!(probe(true).acknowledged(end, None, true), Verdict::Delivered);
        // The acknowledgment of the probe itself may be followed by one that tells.
        let mut probe = probe(true);
        assert_eq!(probe.acknowledged(end, None, false), Verdict::Open);
        assert!(probe.is_out());
        assert_eq!(probe.acknowledged(end + 10, None, false), Verdict::Repaired);
        assert!(!probe.is_out());
    }
}
