//! Opening: RFC 9293 sections 3.5 and 3.10.7.2 to 3.10.7.3.

use super::{
    Connection, DropReason, Emit, Env, Error, Flags, Header, Input, Options, Outcome, Receiver, Reset, Segment, SeqNum,
    Start, State,
};
use crate::{ecn, half_open::HalfOpen, negotiation::Negotiated};

impl Connection {
    /// A passive open whose handshake a segment completes ([`HalfOpenAnswer::Complete`](crate::HalfOpenAnswer)): give it
    /// that segment next. Of `start` the ISS is the record's.
    #[must_use]
    pub fn from_half_open(env: &Env<'_>, start: Start, half: &HalfOpen) -> Self {
        let start = Start { iss: half.iss(), ..start };
        let mut connection = Self::new(env, start, State::SynReceived, true);
        connection.opened = half.began();
        // Our link may carry less than when both ends agreed.
        let agreed = half.negotiated();
        let agreed = Negotiated { mss: agreed.mss.min(start.mss), ..agreed };
        connection.synchronize(env, half.irs(), &agreed);
        connection.clock.stamp(env.now, half.irs() + 1);
        if half.uses_ecn() {
            connection.use_ecn();
        }
        connection.snd.syn_was_sent(env, half.began(), half.timeouts(), half.tries());
        connection
    }

    /// Both ends have agreed on ECN.
    fn use_ecn(&mut self) {
        self.snd.set_ecn(true);
        self.echo.start();
    }

    /// The peer's SYN: its sequence number and options.
    fn synchronize(&mut self, env: &Env<'_>, irs: SeqNum, negotiated: &Negotiated) {
        let negotiated = Negotiated { mss: self.limit_to_path(negotiated.mss), ..*negotiated };
        self.snd.synchronize(negotiated.data_mss(), negotiated.window_scale.unwrap_or(0));
        self.snd.set_sack(negotiated.sack);
        self.rcv.synchronize(irs, &negotiated, env);
        self.clock.negotiated(env.now, negotiated.timestamps);
        self.scaled = negotiated.window_scale.is_some();
    }

    /// The SYN, or the SYN-ACK.
    pub(super) fn emit_syn(&mut self, env: &mut Env<'_>) -> Emit {
        let answer = self.state != State::SynSent;
        let window = u16::try_from(Receiver::syn_window(env)).unwrap_or(u16::MAX);
        // A SYN-ACK may offer only what the SYN did (RFC 7323 sections 2.2 and 3.2).
        let scales = if answer { self.scaled } else { env.config.window_scaling };
        let mut options = Options {
            mss: Some(self.mss),
            window_scale: scales.then(|| env.config.window_scale()),
            sack_permitted: if answer { self.rcv.sacks() } else { env.config.sack },
            ..Options::default()
        };
        let (flags, ack) =
            if answer { (Flags::SYN | Flags::ACK, self.rcv.rcv_nxt()) } else { (Flags::SYN, Default::default()) };
        if answer {
            options.timestamps = self.clock.stamp(env.now, ack);
            self.rcv.answered();
        } else if env.config.timestamps {
            options.timestamps = Some(self.clock.offer(env.now));
        }
        // RFC 3168 section 6.1.1.1: who does not answer may not bear the question.
        let first = self.snd.ack_seq() == self.snd.iss();
        let flags = if !answer && first && env.config.ecn.asks() { flags | ecn::SETUP } else { flags };
        let seq = self.snd.iss();
        self.snd.syn_sent(env);
        let header = Header { src_port: 0, dst_port: 0, seq, ack, flags, window, urgent: 0, options };
        Emit { header, payload_len: 0, ect: false }
    }

    /// RFC 9293 section 3.10.7.3.
    pub(super) fn in_syn_sent(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        let header = &segment.header;
        let acked = header.flags.contains(Flags::ACK);
        let acceptable = acked && self.snd.acknowledges_new(header.ack);
        if acked && !acceptable {
            let reset = (!header.flags.contains(Flags::RST)).then_some(Reset::answer(header));
            return Outcome { reset, dropped: Some(DropReason::AckUnacceptable), ..Outcome::default() };
        }
        if header.flags.contains(Flags::RST) {
            // A5: the sequence number has nothing to be compared with; the ACK proves that our SYN was seen.
            if acceptable {
                self.finish(env, Some(Error::Refused));
                return Outcome::default();
            }
            return Outcome { dropped: Some(DropReason::ResetNotExact), ..Outcome::default() };
        }
        if !header.flags.contains(Flags::SYN) {
            return Outcome { dropped: Some(DropReason::NotSynSent), ..Outcome::default() };
        }
        let negotiated = Negotiated::new(env.config, self.mss, self.default_peer_mss, &header.options);
        self.synchronize(env, header.seq, &negotiated);
        if !acceptable {
            // Simultaneous open (RFC 9293 section 3.5, figure 7): answer with SYN-ACK of the same ISS.
            self.step(Input::Syn);
            self.snd.syn_again();
            return Outcome::default();
        }
        self.take_ack_of(env, segment, false);
        // RFC 3168 section 6.1.1: behind a SYN that did not ask ours are not ECN-capable. What the peer sends may be, since one
        // that asked has reached it.
        if env.config.ecn.asks() && ecn::agrees(header.flags) {
            self.echo.start();
            self.snd.set_ecn(self.snd.retransmits() == 0);
        }
        self.establish(header);
        self.rcv.request_ack();
        self.text_of_syn(env, segment)
    }

    /// Data or FIN that came with the SYN-ACK: processed as in ESTABLISHED (3.10.7.3, fourth, "continue at the sixth step").
    fn text_of_syn(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        if segment.payload.is_empty() && !segment.header.flags.contains(Flags::FIN) {
            return Outcome::default();
        }
        match crate::recv::acceptability::check(self.rcv.window(), segment) {
            Some(acceptable) => self.text(env, segment, &acceptable),
            None => Outcome::default(),
        }
    }

    /// Our SYN is acknowledged: ESTABLISHED.
    pub(super) fn establish(&mut self, header: &Header) {
        self.snd.established(header, header.flags.contains(Flags::SYN));
        self.step(Input::AckOfSyn);
        self.step_if_closed();
        self.events.established = true;
    }
}
