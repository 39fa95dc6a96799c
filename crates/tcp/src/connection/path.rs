//! What routers say of our segments: RFC 9293 section 3.9.2.2, RFC 5927.

use super::{Connection, Cut, Env, Instant, SoftError, State};
use crate::{icmp::IcmpError, negotiation::TIMESTAMPS_BYTES, send::pmtu::TooBig};
use wire::SeqNum;

/// The least an IPv4 path is believed to carry: 552 bytes less both headers, as Linux (`min_pmtu`). What a router says is
/// never taken for less: a forged 68 would cost us dearly (RFC 5927 section 7).
const LEAST_V4: u16 = 512;

impl Connection {
    /// An ICMP error arrived that quotes a segment of this connection with SEG.SEQ `seq`. False if it is ignored: nothing of
    /// what is in flight begins there, so anybody may have made it up (RFC 5927 section 4.1).
    ///
    /// Only a connection that is not open yet is ended by it, and only by a hard error; any other is remembered
    /// ([`soft_error`](Self::soft_error)) and told.
    pub fn on_icmp(&mut self, env: &mut Env<'_>, seq: SeqNum, error: IcmpError) -> bool {
        if !self.is_in_flight(seq) {
            return false;
        }
        self.note_icmp(env, seq, error);
        if matches!(self.state, State::SynSent | State::SynReceived) && error.is_hard() {
            self.finish(env, Some(error.as_end()));
        } else {
            self.extras().soft.note(SoftError::Icmp(error));
        }
        true
    }

    /// SND.UNA =< SEG.SEQ < SND.NXT.
    fn is_in_flight(&self, seq: SeqNum) -> bool {
        !matches!(self.state, State::Closed | State::TimeWait) && self.snd.is_outstanding(seq)
    }

    /// A router says that a segment at `seq` did not fit: it forwards at most `mss` behind IP and TCP headers without
    /// options (RFC 1191, RFC 8201). False if it is ignored (RFC 5927 sections 4.1 and 7.2). What is believed is told by
    /// [`Event::PathMss`](super::Event::PathMss), possibly later.
    pub fn on_too_big(&mut self, env: &mut Env<'_>, seq: SeqNum, mss: u16) -> bool {
        if !self.is_in_flight(seq) {
            return false;
        }
        let (mss, sizes) = (mss.max(self.least_mss()), self.sizes);
        let word = self.extras().path.too_big(mss, seq, sizes);
        if matches!(word, TooBig::Ignored) {
            return false;
        }
        self.note_too_big(env, mss, matches!(word, TooBig::Now(_)));
        if let TooBig::Now(mss) = word {
            self.lower_mss(env, mss, true);
        }
        true
    }

    /// Another connection has learnt that the path to this peer carries `mss`, and that holds until `until`.
    pub fn set_path_mss(&mut self, mss: u16, until: Instant) {
        let mss = mss.max(self.least_mss());
        let overhead = self.option_bytes();
        let (current, negotiated) = (self.snd.mss() + overhead, self.state != State::SynSent);
        let path = &mut self.extras().path;
        path.start(mss, until);
        if negotiated {
            let mss = path.negotiated(current);
            self.snd.set_mss(mss - overhead);
        }
    }

    /// Our own link carries `mss` now, behind IP and TCP headers without options: no more is sent, beginning with what is in
    /// flight. If it carries more than before, and both ends agreed on that, it is tried. That is no word of a router's, to be
    /// doubted: it may be less than any path of IPv6 carries.
    pub fn set_link_mss(&mut self, env: &mut Env<'_>, mss: u16) {
        let mss = mss.max(LEAST_V4);
        let overhead = self.option_bytes();
        let current = if self.state == State::SynSent { 0 } else { self.snd.mss() + overhead };
        let untouched = self.extras.is_none() && (1..=mss).contains(&current);
        if untouched || matches!(self.state, State::Closed | State::TimeWait) {
            return;
        }
        let mut sizes = self.sizes;
        if let Some(mss) = self.extras().path.set_link(env.now, mss, current, &mut sizes) {
            self.sizes = sizes;
            let was = self.snd.mss();
            self.snd.set_mss(mss - overhead);
            self.note_path_mss(env, was);
        }
    }

    /// There is no route to the peer any more: nothing is sent until there is, and the application is told. That ends no
    /// connection, as on Linux.
    pub fn on_no_route(&mut self) {
        self.extras().soft.note(SoftError::Icmp(IcmpError::NetUnreachable));
    }

    /// Both SYNs allow `mss`: how much of it is used.
    pub(super) fn limit_to_path(&mut self, mss: u16) -> u16 {
        self.extras.as_mut().map_or(mss, |x| x.path.negotiated(mss))
    }

    /// What any path carries: 576 bytes of IPv4 by RFC 791, and we go a little lower; 1,280 of IPv6.
    const fn least_mss(&self) -> u16 {
        if self.default_peer_mss > 1000 { self.default_peer_mss } else { LEAST_V4 }
    }

    /// What options take of every segment.
    fn option_bytes(&self) -> u16 {
        if self.clock.recent().is_some() { TIMESTAMPS_BYTES } else { 0 }
    }

    fn lower_mss(&mut self, env: &mut Env<'_>, mss: u16, routers_word: bool) {
        let overhead = self.option_bytes();
        let (current, mut sizes) = (self.snd.mss() + overhead, self.sizes);
        let extras = self.extras();
        // The estimate is not increased by what a router says (RFC 1191 section 3), but by a segment that tries a larger size: what
        // is said while that is on its way may be more than the usual one.
        let usual = if extras.path.tries_more_than(mss) { mss } else { mss.min(current) };
        extras.path.lower(env.now, mss, current, routers_word, &mut sizes);
        if routers_word {
            extras.path_mss = Some(mss);
        }
        self.sizes = sizes;
        // What is in flight and too big is sent again at once, and does not count as lost for congestion (RFC 1191
        // section 6.4).
        let was = self.snd.mss();
        self.snd.set_mss(usual - overhead);
        self.note_path_mss(env, was);
    }

    /// The retransmission timer has expired for the `nth` time in a row.
    pub(super) fn on_path_timeout(&mut self, env: &mut Env<'_>, nth: u8) {
        if !self.state.is_synchronized() || (self.extras.is_none() && nth < 3) {
            return;
        }
        let overhead = self.option_bytes();
        let full = (env.config.mtu_probing && self.snd.head_len() == u32::from(self.snd.mss()))
            .then(|| self.snd.mss() + overhead);
        let (una, least) = (self.snd.snd_una(), self.least_mss());
        if let Some((mss, routers_word)) = self.extras().path.on_timeout(nth, una, full, least) {
            self.lower_mss(env, mss, routers_word);
        }
    }

    /// Something new is acknowledged.
    pub(super) fn on_path_ack(&mut self, now: Instant) {
        let una = self.snd.snd_una();
        self.sizes.acknowledged(una);
        let overhead = self.option_bytes();
        if let Some(mss) = self.extras.as_mut().and_then(|x| x.path.on_ack(now, una)) {
            self.snd.set_mss(mss - overhead);
        }
    }

    /// The next segment; now and then a larger one than usual, to see whether the path carries it (RFC 4821 section 7).
    pub(super) fn next_cut(&mut self, env: &mut Env<'_>, option_bytes: u32) -> Option<Cut> {
        let Some(extras) = &mut self.extras else { return self.snd.next_cut(env, option_bytes) };
        let due = extras.path.probe_due(env.now).filter(|_| option_bytes == 0);
        let Some(size) = due.filter(|size| self.snd.unsent() >= u32::from(*size)) else {
            let cut = self.snd.next_cut(env, option_bytes)?;
            // (What is new lies behind a segment that tries a larger size.)
            extras.path.sent_again(cut.seq, cut.seq + cut.len);
            return Some(cut);
        };
        let overhead = self.option_bytes();
        let usual = self.snd.mss();
        self.snd.cut_to(size - overhead);
        let cut = self.snd.next_cut(env, option_bytes);
        self.snd.cut_to(usual);
        let Some(cut) = cut.filter(|c| c.len == u32::from(size - overhead) && self.snd.is_new(c.seq)) else {
            return self.snd.next_cut(env, option_bytes);
        };
        self.extras().path.probing(size, cut.seq, cut.seq + cut.len);
        self.note_path_probe(env, size);
        Some(cut)
    }
}
