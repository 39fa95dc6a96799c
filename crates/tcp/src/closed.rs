//! Segments for which there is no connection: RFC 9293 sections 3.5.2, 3.10.7.1 (CLOSED) and 3.10.7.2 (LISTEN).

use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Segment, Timestamps},
};

/// A reset to send: what RFC 9293 writes as `<SEQ=seq><CTL=RST>` or `<SEQ=seq><ACK=ack><CTL=RST,ACK>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK, and with it the ACK flag.
    pub ack: Option<SeqNum>,
    /// A reset of a connection that uses timestamps should carry them (RFC 7323 section 3.2).
    pub timestamps: Option<Timestamps>,
}

impl Reset {
    /// `<SEQ=SEG.ACK><CTL=RST>`: to whoever acknowledges what is not there (RFC 9293 section 3.10.7.1). Its number is the one
    /// the peer expects next.
    pub(crate) const fn answer(header: &Header) -> Self {
        Self { seq: header.ack, ack: None, timestamps: None }
    }

    /// The header to send; the ports are the reply's own.
    #[must_use]
    pub fn header(&self, src_port: u16, dst_port: u16) -> Header {
        let flags = if self.ack.is_some() { Flags::RST | Flags::ACK } else { Flags::RST };
        Header {
            src_port,
            dst_port,
            seq: self.seq,
            ack: self.ack.unwrap_or_default(),
            flags,
            window: 0,
            urgent: 0,
            options: Options { timestamps: self.timestamps, ..Options::default() },
        }
    }
}

/// The answer of an endpoint in CLOSED: a reset to everything but a reset.
#[must_use]
pub fn answer_closed(segment: &Segment<'_>) -> Option<Reset> {
    let header = &segment.header;
    if header.flags.contains(Flags::RST) {
        return None;
    }
    Some(if header.flags.contains(Flags::ACK) {
        Reset::answer(header)
    } else {
        Reset { seq: SeqNum::new(0), ack: Some(segment.end()), timestamps: None }
    })
}

/// What a listener does with a segment of no known connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// A connection request: open a connection in SYN-RECEIVED.
    Open,
    /// An old acknowledgment: answer with this.
    Refuse(Reset),
    /// Neither: drop it silently.
    Ignore,
}

/// The answer of an endpoint in LISTEN.
#[must_use]
pub fn answer_listen(segment: &Segment<'_>) -> Knock {
    let flags = segment.header.flags;
    if flags.contains(Flags::RST) {
        Knock::Ignore
    } else if flags.contains(Flags::ACK) {
        Knock::Refuse(Reset::answer(&segment.header))
    } else if flags.contains(Flags::SYN) {
        Knock::Open
    } else {
        Knock::Ignore
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::segment;

    fn seq(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    /// Scenario S10: what a closed endpoint answers.
    /// RFC9293-3.5.2-a.
    #[test]
    fn closed_answers_as_rfc_9293_3_10_7_1() {
        let syn = answer_closed(&segment(Flags::SYN, 500, 0, &[]));
        assert_eq!(syn, Some(Reset { seq: seq(0), ack: Some(seq(501)), timestamps: None }));
        let data = answer_closed(&segment(Flags::ACK, 500, 700, &[0; 10]));
        assert_eq!(data, Some(Reset { seq: seq(700), ack: None, timestamps: None }));
        let fin = answer_closed(&segment(Flags::FIN, 500, 0, &[0; 10]));
        assert_eq!(fin, Some(Reset { seq: seq(0), ack: Some(seq(511)), timestamps: None }));
        assert_eq!(answer_closed(&segment(Flags::RST, 500, 0, &[])), None);
        assert_eq!(answer_closed(&segment(Flags::RST | Flags::ACK, 500, 700, &[])), None);
    }

    /// Scenario S11: what a listener answers.
    /// RFC9293-3.10.7.2-a.
    #[test]
    fn listen_answers_as_rfc_9293_3_10_7_2() {
        assert_eq!(answer_listen(&segment(Flags::RST, 500, 0, &[])), Knock::Ignore);
        assert_eq!(answer_listen(&segment(Flags::RST | Flags::ACK, 500, 700, &[])), Knock::Ignore);
        assert_eq!(answer_listen(&segment(Flags::RST | Flags::SYN, 500, 0, &[])), Knock::Ignore);
        let refuse = Knock::Refuse(Reset { seq: seq(700), ack: None, timestamps: None });
        assert_eq!(answer_listen(&segment(Flags::ACK, 500, 700, &[])), refuse);
        assert_eq!(answer_listen(&segment(Flags::SYN | Flags::ACK, 500, 700, &[])), refuse);
        assert_eq!(answer_listen(&segment(Flags::FIN, 500, 0, &[])), Knock::Ignore);
        assert_eq!(answer_listen(&segment(Flags::SYN, 100, 0, &[])), Knock::Open);
    }
}
