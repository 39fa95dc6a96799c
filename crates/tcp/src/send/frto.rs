//! F-RTO (RFC 5682): was a retransmission timeout for nothing? The first segment goes again, and what the next two
//! acknowledgments say tells, without timestamps: new data is sent in between and not what may be lost.

use wire::SeqNum;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Frto {
    /// No timeout is looked at: conventional recovery.
    #[default]
    Off,
    /// Step 2: the first segment was sent again, and nothing has been heard.
    First,
    /// Step 3: it was acknowledged, and up to two new segments may be sent.
    Second,
}

/// What an acknowledgment shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// The peer sends SACK: section 3.1, else section 2.1.
    pub(crate) sack: bool,
    /// SND.UNA behind it, and whether it moved.
    pub(crate) una: SeqNum,
    pub(crate) new: bool,
    /// It is a duplicate acknowledgment.
    pub(crate) duplicate: bool,
    /// Behind what was sent again: the first segment.
    pub(crate) resent: SeqNum,
    /// `recover`, `RecoveryPoint`: behind what was sent before the timeout.
    pub(crate) point: SeqNum,
    /// It reports, by number or block, something beyond that.
    pub(crate) beyond: bool,
    /// It reports data that was never sent again and that nothing had reported before.
    pub(crate) original: bool,
    /// There is new data, and room for it in the peer's window.
    pub(crate) has_new: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Open,
    /// The timeout was spurious.
    Spurious,
    /// It was not, or it can't be told: what is lost is sent again, in slow start.
    Genuine,
}

impl Frto {
    /// Step 1. `fresh`: no recovery was under way. A timeout that repeats one is looked at as well if nothing was heard in
    /// between: still only the first segment was sent again (as Linux; the RFC looks at the first only).
    pub(crate) fn on_timeout(&mut self, fresh: bool) {
        *self = if fresh || *self == Self::First { Self::First } else { Self::Off };
    }

    /// New data goes before what may be lost.
    pub(crate) fn prefers_new(self) -> bool {
        self == Self::Second
    }

    pub(crate) fn on_ack(&mut self, heard: &Heard) -> Verdict {
        let (next, verdict) = match self {
            Self::Off => (Self::Off, Verdict::Open),
            Self::First => Self::first(heard),
            Self::Second => Self::second(heard),
        };
        *self = next;
        verdict
    }

    /// Step 2: (a) a duplicate (with SACK it is not counted), an acknowledgment of everything, or not of all that was sent
    /// again; (b) an acknowledgment that moves on, if there is new data to send.
    fn first(heard: &Heard) -> (Self, Verdict) {
        if !heard.new {
            let genuine = heard.duplicate && !heard.sack;
            return if genuine { (Self::Off, Verdict::Genuine) } else { (Self::First, Verdict::Open) };
        }
        let part = heard.una.before(heard.point) && heard.una.after_eq(heard.resent);
        if part && heard.has_new { (Self::Second, Verdict::Open) } else { (Self::Off, Verdict::Genuine) }
    }

    /// Step 3: (a) a duplicate, or with SACK something beyond `RecoveryPoint`, which may come with data; (b) an original arrived.
    fn second(heard: &Heard) -> (Self, Verdict) {
        let reported = heard.sack && heard.original;
        if !(heard.new || heard.duplicate || reported) {
            return (Self::Second, Verdict::Open);
        }
        let spurious = heard.original && if heard.sack { !heard.beyond } else { heard.new };
        (Self::Off, if spurious { Verdict::Spurious } else { Verdict::Genuine })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten segments of 1,000 from 1 on were in flight, the first was sent again; `una` is acknowledged.
    fn ack(sack: bool, una: u32) -> Heard {
        Heard {
            sack,
            una: SeqNum::new(una),
            new: true,
            duplicate: false,
            resent: SeqNum::new(1001),
            point: SeqNum::new(10_001),
            beyond: una > 10_001,
            original: una > 1001,
            has_new: true,
        }
    }

    fn duplicate(sack: bool, una: u32, original: bool, beyond: bool) -> Heard {
        Heard { new: false, duplicate: true, original, beyond, ..ack(sack, una) }
    }

    fn started() -> Frto {
        let mut frto = Frto::Off;
        frto.on_timeout(true);
        frto
    }

    /// RFC 5682 section 2.1: two acknowledgments in a row that move on.
    #[test]
    fn two_acknowledgments_that_move_on_show_a_spurious_timeout() {
        for sack in [false, true] {
            let mut frto = started();
            assert!(!frto.prefers_new());
            assert_eq!(frto.on_ack(&ack(sack, 1001)), Verdict::Open);
            assert!(frto.prefers_new());
            assert_eq!(frto.on_ack(&ack(sack, 2001)), Verdict::Spurious);
            assert_eq!(frto, Frto::Off);
            assert_eq!(frto.on_ack(&ack(sack, 3001)), Verdict::Open);
        }
    }

    /// Section 2.1, step 2 (a) and the note to (b): nothing is said by a duplicate, by an acknowledgment of everything, of a
    /// part of what was sent again, or when there is nothing new to send.
    #[test]
    fn what_the_first_acknowledgment_ends() {
        for sack in [false, true] {
            assert_eq!(started().on_ack(&ack(sack, 10_001)), Verdict::Genuine);
            assert_eq!(started().on_ack(&ack(sack, 500)), Verdict::Genuine);
            assert_eq!(started().on_ack(&Heard { has_new: false, ..ack(sack, 1001) }), Verdict::Genuine);
        }
        assert_eq!(started().on_ack(&duplicate(false, 1, false, false)), Verdict::Genuine);
        // Section 3.1, step 2: with SACK duplicates are waited through.
        let mut frto = started();
        assert_eq!(frto.on_ack(&duplicate(true, 1, true, false)), Verdict::Open);
        assert_eq!(frto, Frto::First);
    }

    /// Section 2.1, step 3 (a): a duplicate.
    #[test]
    fn a_duplicate_behind_the_first_shows_a_loss() {
        let mut frto = started();
        let _ = frto.on_ack(&ack(false, 1001));
        assert_eq!(frto.on_ack(&duplicate(false, 1001, false, false)), Verdict::Genuine);
    }

    /// Section 3.1, step 3: with SACK a duplicate that reports an original shows a spurious timeout; one that reports nothing
    /// new, or the new data, a loss. An old acknowledgment is neither.
    #[test]
    fn blocks_tell_originals_from_new_data() {
        let second = || {
            let mut frto = started();
            let _ = frto.on_ack(&ack(true, 1001));
            frto
        };
        assert_eq!(second().on_ack(&duplicate(true, 1001, true, false)), Verdict::Spurious);
        assert_eq!(second().on_ack(&duplicate(true, 1001, false, false)), Verdict::Genuine);
        assert_eq!(second().on_ack(&duplicate(true, 1001, true, true)), Verdict::Genuine);
        assert_eq!(second().on_ack(&ack(true, 12_001)), Verdict::Genuine);
        let old = Heard { new: false, duplicate: false, ..ack(true, 1001) };
        assert_eq!(second().on_ack(&old), Verdict::Open);
    }

    /// Section 2.1, step 1: not within a recovery; a timeout behind the first acknowledgment ends it, one before does not.
    #[test]
    fn which_timeouts_are_looked_at() {
        let mut frto = Frto::Off;
        frto.on_timeout(false);
        assert_eq!(frto, Frto::Off);
        frto.on_timeout(true);
        frto.on_timeout(false);
        assert_eq!(frto, Frto::First);
        let _ = frto.on_ack(&ack(false, 1001));
        frto.on_timeout(false);
        assert_eq!(frto, Frto::Off);
    }
}
