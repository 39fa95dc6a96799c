//! Segments from SYN-RECEIVED on: RFC 9293 section 3.10.7.4, step by step.

use super::{Connection, DropReason, Duration, Env, Error, Flags, Input, Outcome, Reset, Segment, State, write::Want};
use crate::{
    recv::{
        Taken,
        acceptability::{self, Acceptable},
        autotune::Clue,
    },
    send::Ack,
};
use wire::tcp::Timestamps;

fn dropped(reason: DropReason) -> Outcome {
    Outcome { dropped: Some(reason), ..Outcome::default() }
}

impl Connection {
    pub(super) fn in_later_states(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        let flags = segment.header.flags;
        // Before all: RFC 7323 section 5.3, R1.
        if let Some(outcome) = self.old_timestamp(env, segment) {
            return outcome;
        }
        // First: the sequence number.
        let Some(acceptable) = acceptability::check(self.rcv.window(), segment) else {
            let probed = self.snd.is_probing() && self.rcv.is_last_octet(segment);
            if self.rcv.is_shut_at(segment.header.seq) || probed {
                return self.at_zero_window(env, segment);
            }
            // An ACK of a peer that has filled our window: its number is the window's end, and the letter of table 6 refuses it.
            // Two that have filled each other's, each with a segment lost, would never hear of what has arrived. As Linux.
            let bare = segment.is_empty() && flags.contains(Flags::ACK) && !flags.contains(Flags::RST);
            if bare && self.rcv.ends_at(segment.header.seq) && self.state.is_synchronized() {
                return self.acknowledge(env, segment).unwrap_or_default();
            }
            return self.unacceptable(env, segment);
        };
        // Second: RST. Fourth: SYN. (Third, security, is obsolete.)
        if flags.contains(Flags::RST) {
            return self.reset(env, segment);
        }
        if flags.contains(Flags::SYN) {
            return self.challenge(env, DropReason::UnexpectedSyn);
        }
        // Fifth: ACK.
        if !flags.contains(Flags::ACK) {
            return dropped(DropReason::NoAck);
        }
        if self.state == State::SynReceived {
            if !self.snd.acknowledges_new(segment.header.ack) {
                let reset = Some(Reset::answer(&segment.header));
                return Outcome { reset, ..dropped(DropReason::AckUnacceptable) };
            }
            self.take_ack_of(env, segment, false);
            self.establish(&segment.header);
        } else if let Some(outcome) = self.acknowledge(env, segment) {
            return outcome;
        }
        // RFC 7323 section 4.3; not before the acknowledgment was found plausible, so that nobody who guesses a place in the
        // window can set TS.Recent ahead of the peer's clock (as Linux).
        if let Some(timestamps) = segment.header.options.timestamps {
            self.clock.update(env.now, segment.header.seq, timestamps.val);
        }
        if self.state == State::Closed || self.state == State::TimeWait {
            return Outcome::default();
        }
        // Sixth: URG is no more than a mark in the stream here; seventh and eighth: text and FIN.
        self.text(env, segment, &acceptable)
    }

    /// RFC 7323 sections 3.2 and 5.3: a segment whose timestamp is older than the latest, or missing, is not processed.
    /// A reset is never asked (section 5.2).
    fn old_timestamp(&mut self, env: &Env<'_>, segment: &Segment<'_>) -> Option<Outcome> {
        let flags = segment.header.flags;
        if !self.clock.is_on() || flags.contains(Flags::RST) {
            return None;
        }
        match segment.header.options.timestamps {
            // RFC 5961 section 4.2: a new incarnation's must learn of this one, whether it uses them or not.
            None if flags.contains(Flags::SYN) && self.state.is_synchronized() => None,
            None => Some(dropped(DropReason::NoTimestamp)),
            Some(t) if self.clock.acceptable(env.now, t.val) => None,
            Some(_) => {
                let data = !segment.is_empty() && !flags.contains(Flags::SYN);
                if data || self.challenge.allow(env.now, env.config) {
                    self.rcv.request_ack();
                }
                Some(dropped(DropReason::OldTimestamp))
            }
        }
    }

    /// Data at RCV.NXT that the closed window refuses: "special allowance should be made to accept valid ACKs, URGs, and
    /// RSTs" (first step; MUST-66). And, while we probe a closed window, whatever is numbered as the last octet that was taken:
    /// who has probed ours with that goes on from there. When both took it, each would refuse for ever to hear so.
    fn at_zero_window(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        let flags = segment.header.flags;
        if flags.contains(Flags::RST) {
            return self.reset(env, segment);
        }
        if self.rcv.is_shut_at(segment.header.seq) {
            self.note_window_closed(env);
        }
        let takes_ack = self.state.is_synchronized() && flags.contains(Flags::ACK) && !flags.contains(Flags::SYN);
        if takes_ack && self.snd.plausible_ack(segment.header.ack) {
            let outcome = self.acknowledge(env, segment);
            debug_assert!(outcome.is_none(), "a plausible ACK is taken");
            self.on_urgent(segment);
        }
        if matches!(self.state, State::Closed | State::TimeWait) {
            return Outcome::default();
        }
        self.unacceptable(env, segment)
    }

    /// Not acceptable: an ACK in reply, unless it is a reset.
    fn unacceptable(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        let header = &segment.header;
        if header.flags.contains(Flags::RST) {
            return dropped(DropReason::ResetNotExact);
        }
        if header.flags.contains(Flags::SYN) {
            return self.old_syn(env, segment);
        }
        self.rcv.on_old_data(segment);
        // Data that comes again has lost its ACK: that one is always sent. What carries nothing is answered within limits.
        if !segment.is_empty() || self.challenge.allow(env.now, env.config) {
            self.rcv.request_ack();
        }
        dropped(DropReason::OutOfWindow)
    }

    /// A SYN outside the window: the peer's own again (A4), a simultaneous open's SYN-ACK (A20), or a stranger's.
    fn old_syn(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        let header = &segment.header;
        if self.state != State::SynReceived || header.seq != self.rcv.irs {
            return self.challenge(env, DropReason::UnexpectedSyn);
        }
        if header.flags.contains(Flags::ACK) && self.snd.acknowledges_new(header.ack) {
            // Figure 7 of RFC 9293 and its appendix A.2: this SYN-ACK completes the handshake.
            // The ACK is for a peer that is strict.
            self.take_ack_of(env, segment, false);
            self.establish(header);
            self.rcv.request_ack();
            return Outcome::default();
        }
        if self.challenge.allow(env.now, env.config) {
            self.snd.syn_again();
        }
        dropped(DropReason::OutOfWindow)
    }

    fn challenge(&mut self, env: &Env<'_>, reason: DropReason) -> Outcome {
        if self.challenge.allow(env.now, env.config) {
            self.rcv.request_ack();
        }
        dropped(reason)
    }

    /// RST in the window: RFC 5961 section 3.2.
    fn reset(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        if segment.header.seq != self.rcv.rcv_nxt() {
            return self.challenge(env, DropReason::ResetNotExact);
        }
        let error = match self.state {
            State::SynReceived => Error::Refused,
            _ => Error::Reset,
        };
        // In CLOSING and LAST-ACK too: what the peer has not acknowledged, it has not taken.
        self.finish(env, Some(error));
        Outcome::default()
    }

    /// Fifth step in a synchronized state. `Some` ends the processing.
    fn acknowledge(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Option<Outcome> {
        let header = &segment.header;
        if !self.snd.plausible_ack(header.ack) {
            return Some(self.challenge(env, DropReason::AckUnacceptable));
        }
        let new = self.snd.acknowledges_new(header.ack);
        let window_changed = self.snd.changes_window(header.seq, header.ack, header.window);
        self.take_ack_of(env, segment, window_changed);
        if header.ack == self.snd.snd_una() {
            let unwaited = self.orphan || self.user_timeout().is_some();
            self.snd.update_window(env, header.seq, header.ack, header.window, unwaited);
        }
        if new {
            self.on_progress(env);
            if self.snd.fin_acknowledged() {
                self.fin_acknowledged(env);
            }
        }
        None
    }

    /// Something new is acknowledged.
    #[inline]
    pub(super) fn on_progress(&mut self, env: &Env<'_>) {
        self.on_path_ack(env.now);
        if self.is_writable(env) {
            self.want_write = Want::Nothing;
            self.events.writable = true;
        }
    }

    /// Hands the acknowledgment of a segment to the sender.
    pub(super) fn take_ack_of(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, window_changed: bool) {
        let header = &segment.header;
        let (sack, ece, empty) = (&header.options.sack, header.flags.contains(Flags::ECE), segment.is_empty());
        let ack = Ack { number: header.ack, sack, echo: None, ece, empty, window_changed };
        self.take_ack(env, header.options.timestamps, ack);
    }

    /// What it echoes is seen here.
    #[inline(always)] // so that there is one call and not two
    pub(super) fn take_ack(&mut self, env: &mut Env<'_>, timestamps: Option<Timestamps>, ack: Ack<'_>) {
        if self.snd.on_usual_ack(env, ack.number, ack.sack, ack.ece) {
            return;
        }
        let echo = timestamps.and_then(|t| self.clock.age(env.now, t.ecr));
        self.snd.on_any_ack(env, Ack { echo: echo.map(|ms| Duration::from_millis(ms.into())), ..ack });
    }

    fn fin_acknowledged(&mut self, env: &mut Env<'_>) {
        self.step(Input::AckOfFin);
        match self.state {
            State::FinWait2 => {
                self.watch_fin_wait2(env);
                self.end_linger(None);
            }
            State::TimeWait => self.enter_time_wait(env),
            State::Closed => self.finish(env, None),
            _ => {}
        }
    }

    /// Seventh and eighth step: the data, and the FIN behind it.
    pub(super) fn text(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, acceptable: &Acceptable<'_>) -> Outcome {
        if !self.state.may_receive() {
            // The peer has closed already: this "should not occur" (3.10.7.4, seventh) and is ignored.
            return Outcome::default();
        }
        if !acceptable.payload().is_empty() && (self.orphan || self.read_shut) {
            // S31: nobody will read this; the peer must learn it, and takes a reset only at what it expects next (RFC 5961 section
            // 3.2). That is SND.NXT: our FIN has crossed this segment and comes before the reset, where SEG.ACK would be old and
            // passed over. But it is SEG.ACK once the retransmission timer has shown that ours does not arrive.
            let seq = if self.snd.timeouts() > 0 { segment.header.ack } else { self.snd.ack_seq() };
            let reset = Some(Reset { seq, ack: None, timestamps: None });
            self.finish(env, Some(Error::Reset));
            return Outcome { reset, ..dropped(DropReason::NobodyReads) };
        }
        if !acceptable.payload().is_empty() {
            self.echo.data(segment.header.flags);
        }
        self.on_urgent(segment);
        let taken = self.rcv.on_data(env, acceptable, self.clue(env, segment.header.options.timestamps));
        let outcome = self.taken(taken, acceptable.skipped(), acceptable.payload());
        debug_assert!(outcome.deliver.is_none_or(|(at, len)| at + len <= segment.payload.len()));
        if self.rcv.take_fin() {
            self.on_fin(env);
        }
        outcome
    }

    /// Where the data went that begins at `at` of the segment's.
    #[inline]
    pub(super) fn taken(&mut self, taken: Taken, at: usize, payload: &[u8]) -> Outcome {
        match taken {
            Taken::Nothing | Taken::Kept => Outcome::default(),
            Taken::InPlace => Outcome { deliver: Some((at, payload.len())), ..Outcome::default() },
            Taken::Queued => {
                self.events.readable = true;
                Outcome::default()
            }
            Taken::NoMemory => {
                // Some of it may have been queued, and only reading makes room.
                self.events.readable = self.rcv.unread() > 0;
                dropped(DropReason::NoMemory)
            }
        }
    }

    /// What a segment says of the round trip.
    #[inline]
    pub(super) fn clue(&self, env: &Env<'_>, timestamps: Option<Timestamps>) -> Clue {
        if !self.clock.is_on() {
            return Clue::Window(self.snd.srtt());
        }
        timestamps.map_or(Clue::Nothing, |t| self.rcv.clue(t.ecr, || self.clock.age(env.now, t.ecr)))
    }

    fn on_fin(&mut self, env: &mut Env<'_>) {
        self.step(Input::Fin);
        self.rcv.acknowledge_fin(env, self.state == State::CloseWait);
        // Nothing comes behind a FIN: what a peer without sense has sent from there is not kept, nor reported.
        self.rcv.drop_out_of_order(env.pool);
        self.note_fin_received(env);
        self.events.peer_closed = !self.orphan;
        self.fin_wait2 = None;
        if self.state == State::TimeWait {
            self.enter_time_wait(env);
        }
    }

    /// Both directions are closed: what remains is a record, and the bytes nobody has read yet.
    fn enter_time_wait(&mut self, env: &mut Env<'_>) {
        self.snd.clear(env);
        self.stop_linger();
        self.events.time_wait = true;
        self.events.closed = Some(None);
    }
}
