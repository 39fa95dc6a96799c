//! TIME-WAIT as a record: what it must remember, and how it answers (RFC 9293 section 3.10.7.4, RFC 6191, RFC 1337).

use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Segment},
};

/// What remains of a connection in TIME-WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWait {
    /// SND.NXT: behind our FIN.
    pub snd_nxt: SeqNum,
    /// RCV.NXT: behind the peer's FIN.
    pub rcv_nxt: SeqNum,
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
            // A7: a SYN that is not surely new is dropped, as RFC 6191 says; the last sequence number was the FIN's.
            let newer = !seq.before(self.rcv_nxt);
            return if newer { Answer::Reopen { after: self.snd_nxt } } else { Answer::Ignore };
        }
        if flags.contains(Flags::FIN) && segment.end() == self.rcv_nxt {
            return Answer::AckAndRestart;
        }
        if seq == self.rcv_nxt && segment.is_empty() { Answer::Ignore } else { Answer::Ack }
    }

    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`; the ports are ours and the peer's.
    #[must_use]
    pub fn ack(&self, src_port: u16, dst_port: u16) -> Header {
        let (seq, ack) = (self.snd_nxt, self.rcv_nxt);
        Header { src_port, dst_port, seq, ack, flags: Flags::ACK, window: 0, urgent: 0, options: Options::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::segment;

    fn record() -> TimeWait {
        TimeWait { snd_nxt: SeqNum::new(101), rcv_nxt: SeqNum::new(301) }
    }

    #[test]
    fn s20_a_retransmitted_fin_restarts() {
        assert_eq!(record().on_segment(&segment(Flags::FIN | Flags::ACK, 300, 101, &[])), Answer::AckAndRestart);
    }

    #[test]
    fn s21_old_segments_are_acknowledged_and_restart_nothing() {
        assert_eq!(record().on_segment(&segment(Flags::ACK, 255, 33, &[])), Answer::Ack);
        assert_eq!(record().on_segment(&segment(Flags::ACK, 301, 101, &[])), Answer::Ignore);
    }

    #[test]
    fn s22_s23_a_syn_reopens_only_above_the_old_fin() {
        assert_eq!(record().on_segment(&segment(Flags::SYN, 250, 0, &[])), Answer::Ignore);
        assert_eq!(record().on_segment(&segment(Flags::SYN, 300, 0, &[])), Answer::Ignore);
        let reopen = Answer::Reopen { after: SeqNum::new(101) };
        assert_eq!(record().on_segment(&segment(Flags::SYN, 1000, 0, &[])), reopen);
    }

    #[test]
    fn s25f_a_reset_is_ignored() {
        assert_eq!(record().on_segment(&segment(Flags::RST, 301, 0, &[])), Answer::Ignore);
    }
}
