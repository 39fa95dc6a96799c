//! What leaves: the next segment, with all that it acknowledges.

use super::{Connection, Emit, State};
use crate::{env::Env, send::Cut};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Plain, SackBlocks},
};

impl Connection {
    /// Writes the next segment's payload into `out`, leaving room for the header before it, and returns the header.
    ///
    /// `out` begins where the TCP header will; it must hold the header and one MSS. Call until `None`.
    pub fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<Emit> {
        let mut emit = Emit::default();
        self.transmit_into(env, out, &mut emit).then_some(emit)
    }

    /// As [`poll_transmit`](Self::poll_transmit), in place: a header is too large to be moved about. False: there is nothing, and
    /// `emit` is not written.
    pub fn transmit_into(&mut self, env: &mut Env<'_>, out: &mut [u8], emit: &mut Emit) -> bool {
        if matches!(self.state, State::Closed | State::TimeWait) && !self.rcv.ack_wanted() {
            return false;
        }
        if self.snd.syn_due() {
            *emit = self.emit_syn(env);
            return true;
        }
        let may_send = !matches!(self.state, State::SynSent | State::SynReceived);
        // Nearly always there are none: then none are carried about.
        let sack = self.rcv.reports().then(|| self.rcv.sack_blocks());
        let option_bytes = sack.as_ref().map_or(0, |sack| self.bytes_of(sack));
        match if may_send { self.next_cut(env, option_bytes) } else { None } {
            Some(cut) => self.emit_data(env, cut, sack, out, emit),
            None if self.rcv.ack_wanted() => self.emit_ack(env, sack, emit),
            None => return self.emit_other(env, emit),
        }
        true
    }

    /// The next segment, if it is an acknowledgment that has no data and no option but timestamps, and nothing is behind it: then
    /// it has been sent. `None`: [`transmit_into`](Self::transmit_into) says what it is.
    #[inline]
    pub fn bare_ack(&mut self, env: &Env<'_>) -> Option<Plain<'static>> {
        let bare = self.state == State::Established && self.extras.is_none() && !self.rcv.reports();
        if !bare || !self.rcv.ack_wanted() || !self.snd.sent_all() {
            return None;
        }
        let (window, ack) = (self.rcv.acknowledge(env), self.rcv.rcv_nxt());
        let (flags, timestamps) = (Flags::ACK | self.echo.flags(), self.clock.stamp(env.now, ack));
        Some(Plain { seq: self.snd.acceptable_seq(), ack, flags, window, timestamps, payload: &[] })
    }

    /// True when [`poll_transmit`](Self::poll_transmit) would return `None`, and it need not be called; false says nothing.
    pub fn sent_all(&mut self) -> bool {
        let nothing = self.state.is_synchronized() && !self.rcv.ack_wanted() && self.extras.is_none();
        nothing && self.snd.sent_all()
    }

    /// What a SACK option takes, as far as it fits.
    fn bytes_of(&self, sack: &SackBlocks) -> u32 {
        match u32::try_from(sack.len()).unwrap_or(0).min(if self.clock.is_on() { 3 } else { 4 }) {
            0 => 0,
            blocks => 4 + 8 * blocks,
        }
    }

    fn emit_data(&mut self, env: &mut Env<'_>, cut: Cut, sack: Option<SackBlocks>, out: &mut [u8], emit: &mut Emit) {
        let mut flags = Flags::ACK;
        if cut.push {
            flags |= Flags::PSH;
        }
        if cut.fin {
            flags |= Flags::FIN;
            self.note_fin_sent(env, cut);
        }
        if cut.cwr {
            flags |= Flags::CWR;
        }
        self.header(env, cut.seq, flags, &mut emit.header);
        let header = &mut emit.header;
        if let Some(sack) = sack {
            header.options.sack = sack;
        }
        let payload_len = cut.len as usize;
        self.snd.copy(env, cut, &mut out[header.len()..header.len() + payload_len]);
        self.snd.sent(env, cut);
        let size = header.options.len() + payload_len;
        self.sizes.sent(u16::try_from(size).unwrap_or(u16::MAX), cut.seq + cut.len);
        (emit.payload_len, emit.ect) = (payload_len, cut.ect);
    }

    /// There is nothing to send, or it is held back.
    fn emit_other(&mut self, env: &mut Env<'_>, emit: &mut Emit) -> bool {
        if self.snd.is_shut_out(env.now) {
            self.snd.note_shut_out(env);
        }
        self.emit_keepalive(env, emit)
    }

    fn emit_ack(&mut self, env: &mut Env<'_>, sack: Option<SackBlocks>, emit: &mut Emit) {
        self.header(env, self.snd.acceptable_seq(), Flags::ACK, &mut emit.header);
        if let Some(sack) = sack {
            emit.header.options.sack = sack;
        }
        (emit.payload_len, emit.ect) = (0, false);
    }

    /// A header that acknowledges everything received. Field by field: one that is made and then moved is copied twice, and the
    /// copies wait for what was written in other pieces than they read.
    pub(super) fn header(&mut self, env: &Env<'_>, seq: SeqNum, flags: Flags, header: &mut Header) {
        header.window = self.rcv.acknowledge(env);
        header.ack = self.rcv.rcv_nxt();
        header.seq = seq;
        header.flags = flags | self.echo.flags();
        (header.src_port, header.dst_port, header.urgent) = (0, 0, 0);
        header.options.clear();
        header.options.timestamps = self.clock.stamp(env.now, header.ack);
        self.point(header);
    }
}
