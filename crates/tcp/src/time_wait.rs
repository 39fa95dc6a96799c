//! TIME-WAIT as a record: what it must remember, and how it answers (RFC 9293 section 3.10.7.4, RFC 6191, RFC 1337).

use crate::recv::paws::{clock, older};
use wheel::Instant;
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Segment, Timestamps},
};

/// What remains of a connection in TIME-WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWait {
    /// SND.NXT: behind our FIN.
    pub snd_nxt: SeqNum,
    /// RCV.NXT: behind the peer's FIN.
    pub rcv_nxt: SeqNum,
    /// TS.Recent, if the connection used timestamps.
    pub timestamps: Option<u32>,
}

/// What TIME-WAIT does with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Drop it silently.
    Ignore,
    /// Send [`TimeWait::ack`].
    Ack,
    /// The peer's FIN again: our last ACK was lost. Send it again and restart 2MSL (A8: for an exact duplicate only).
    AckAndRestart,
    /// A new connection may begin at once, with an ISS after `after` (MAY-2, RFC 6191).
    Reopen {
        /// SND.NXT of the old incarnation.
        after: SeqNum,
    },
}

impl TimeWait {
    /// The answer to a segment of this connection.
    #[must_use]
    pub fn on_segment(&self, segment: &Segment<'_>) -> Answer {
        let Header { seq, flags, .. } = segment.header;
        // RFC 1337, fix F1: a reset doesn't end TIME-WAIT.
        if flags.contains(Flags::RST) {
            return Answer::Ignore;
        }
        if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) {
            // A7: a SYN that is not surely new is dropped, as RFC 6191 says.
            return if self.is_newer(segment) { Answer::Reopen { after: self.snd_nxt } } else { Answer::Ignore };
        }
        if self.is_older(segment) {
            return Answer::Ack;
        }
        if flags.contains(Flags::FIN) && segment.end() == self.rcv_nxt {
            return Answer::AckAndRestart;
        }
        if seq == self.rcv_nxt && segment.is_empty() { Answer::Ignore } else { Answer::Ack }
    }

    /// RFC 6191 section 2: whether a SYN surely belongs to a new incarnation.
    fn is_newer(&self, syn: &Segment<'_>) -> bool {
        // The last sequence number of the old one was the FIN's.
        let beyond = !syn.header.seq.before(self.rcv_nxt);
        match (self.timestamps, syn.header.options.timestamps) {
            (Some(recent), Some(t)) if t.val == recent => beyond,
            (Some(recent), Some(t)) => older(recent, t.val),
            (None, Some(_)) => true,
            (_, None) => beyond,
        }
    }

    /// PAWS (RFC 7323 section 5.3): an old duplicate, by its timestamp.
    fn is_older(&self, segment: &Segment<'_>) -> bool {
        match (self.timestamps, segment.header.options.timestamps) {
            (Some(recent), Some(t)) => older(t.val, recent),
            _ => false,
        }
    }

    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`; the ports are ours and the peer's. `offset` is the connection's timestamp
    /// offset ([`IsnGenerator::timestamp_offset`](crate::IsnGenerator::timestamp_offset)).
    #[must_use]
    pub fn ack(&self, now: Instant, offset: u32, src_port: u16, dst_port: u16) -> Header {
        let (seq, ack) = (self.snd_nxt, self.rcv_nxt);
        let timestamps = self.timestamps.map(|ecr| Timestamps { val: clock(now, offset), ecr });
        let options = Options { timestamps, ..Options::default() };
        Header { src_port, dst_port, seq, ack, flags: Flags::ACK, window: 0, urgent: 0, options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::segment;

    fn record() -> TimeWait {
        TimeWait { snd_nxt: SeqNum::new(101), rcv_nxt: SeqNum::new(301), timestamps: None }
    }

    fn stamped(flags: Flags, seq: u32, val: u32) -> Segment<'static> {
        let mut segment = segment(flags, seq, 101, &[]);
        segment.header.options.timestamps = Some(Timestamps { val, ecr: 0 });
        segment
    }

    /// S24, RFC6191-2-a, RFC6191-2-b, RFC6191-2-c, RFC6191-2-d.
    #[test]
    fn s24_a_syn_is_new_by_its_timestamp() {
        let reopen = Answer::Reopen { after: SeqNum::new(101) };
        let old = TimeWait { timestamps: Some(u32::MAX), ..record() };
        for (seq, val, expected) in [
            // Newer, over the wrap: whatever the sequence number.
            (5, 0, reopen),
            // Equal: the sequence number decides.
            (301, u32::MAX, reopen),
            (300, u32::MAX, Answer::Ignore),
            // Older: refused, whatever the sequence number.
            (1000, u32::MAX - 1, Answer::Ignore),
        ] {
            assert_eq!(old.on_segment(&stamped(Flags::SYN, seq, val)), expected, "SEQ {seq} TSval {val}");
        }
        assert_eq!(record().on_segment(&stamped(Flags::SYN, 5, 1)), reopen);
        assert_eq!(old.on_segment(&segment(Flags::SYN, 300, 0, &[])), Answer::Ignore);
        assert_eq!(old.on_segment(&segment(Flags::SYN, 301, 0, &[])), reopen);
    }

    /// RFC7323-5.3-a, RFC7323-3.2-b: an older duplicate of the FIN restarts nothing; the answer carries the option.
    #[test]
    fn old_timestamps_restart_nothing() {
        let old = TimeWait { timestamps: Some(7), ..record() };
        assert_eq!(old.on_segment(&stamped(Flags::FIN | Flags::ACK, 300, 6)), Answer::Ack);
        assert_eq!(old.on_segment(&stamped(Flags::FIN | Flags::ACK, 300, 7)), Answer::AckAndRestart);
        let now = Instant::ZERO + wheel::Duration::from_millis(3);
        assert_eq!(old.ack(now, 10, 1, 2).options.timestamps, Some(Timestamps { val: 13, ecr: 7 }));
        assert_eq!(record().ack(now, 10, 1, 2).options.timestamps, None);
    }

    /// RFC9293-3.10.7.4-m, A8.
    #[test]
    fn s20_a_retransmitted_fin_restarts() {
        assert_eq!(record().on_segment(&segment(Flags::FIN | Flags::ACK, 300, 101, &[])), Answer::AckAndRestart);
    }

    /// RFC9293-3.5.2-c.
    #[test]
    fn s21_old_segments_are_acknowledged_and_restart_nothing() {
        assert_eq!(record().on_segment(&segment(Flags::ACK, 255, 33, &[])), Answer::Ack);
        assert_eq!(record().on_segment(&segment(Flags::ACK, 301, 101, &[])), Answer::Ignore);
    }

    /// MAY-2, RFC6191-2-b, RFC6191-2-d, A7.
    #[test]
    fn s22_s23_a_syn_reopens_only_above_the_old_fin() {
        assert_eq!(record().on_segment(&segment(Flags::SYN, 250, 0, &[])), Answer::Ignore);
        assert_eq!(record().on_segment(&segment(Flags::SYN, 300, 0, &[])), Answer::Ignore);
        let reopen = Answer::Reopen { after: SeqNum::new(101) };
        assert_eq!(record().on_segment(&segment(Flags::SYN, 1000, 0, &[])), reopen);
    }

    /// RFC1337-3-a.
    #[test]
    fn s25f_a_reset_is_ignored() {
        assert_eq!(record().on_segment(&segment(Flags::RST, 301, 0, &[])), Answer::Ignore);
    }
}
