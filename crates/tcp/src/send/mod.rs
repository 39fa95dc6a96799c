//! The sending half of a connection: what is queued, what is in flight, when to send and when to send again.

mod nagle;
mod persist;
mod rto;

use crate::{
    cc::{Controller, Flight, Reaction},
    env::Env,
    pool::{ByteQueue, Cursor},
};
use nagle::Decision;
use persist::Persist;
use rto::Rto;
use wheel::{Duration, Instant};
use wire::{SeqNum, tcp::Header};

/// The next segment to send: `len` bytes from `seq` on, and FIN behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) seq: SeqNum,
    pub(crate) len: u32,
    pub(crate) fin: bool,
    /// It empties the queue.
    pub(crate) push: bool,
}

/// Our FIN: it follows whatever is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    /// The application has not closed.
    No,
    /// It has: FIN is sent or to be sent.
    Queued,
    /// The peer has acknowledged it.
    Acknowledged,
}

#[derive(Debug)]
pub(crate) struct Sender {
    iss: SeqNum,
    /// Our SYN is acknowledged. (SND.UNA passes ISS again every 4 GiB.)
    syn_acked: bool,
    snd_una: SeqNum,
    /// The next sequence number to send; set back to SND.UNA when the retransmission timer expires.
    snd_nxt: SeqNum,
    /// One above the highest sequence number ever sent.
    snd_max: SeqNum,
    snd_wnd: u32,
    max_window: u32,
    wl1: SeqNum,
    wl2: SeqNum,
    /// The effective send MSS.
    mss: u16,
    /// The shift of the windows the peer advertises.
    shift: u8,
    fin: Fin,
    nodelay: bool,
    /// The first unacknowledged segment is to be sent again at once.
    head_again: bool,
    /// A window probe is due.
    probe: bool,
    queue: ByteQueue,
    /// Where SND.NXT lies in the queue.
    cursor: Cursor,
    rto: Rto,
    persist: Persist,
    congestion: Controller,
    /// The retransmission timer.
    deadline: Option<Instant>,
    /// Since when the peer has not acknowledged anything of what is outstanding.
    silent_since: Instant,
    /// When data was sent last.
    last_sent: Instant,
    retransmits: u32,
}

impl Sender {
    pub(crate) fn new(iss: SeqNum, mss: u16, env: &Env<'_>) -> Self {
        Self {
            iss,
            syn_acked: false,
            snd_una: iss,
            snd_nxt: iss,
            snd_max: iss,
            snd_wnd: 0,
            max_window: 0,
            wl1: SeqNum::default(),
            wl2: SeqNum::default(),
            mss,
            shift: 0,
            fin: Fin::No,
            nodelay: false,
            head_again: false,
            probe: false,
            queue: ByteQueue::default(),
            cursor: Cursor::default(),
            rto: Rto::new(env.config),
            persist: Persist::default(),
            congestion: Controller::new(iss),
            // R2 runs even if the SYN can't leave.
            deadline: Some(env.now + env.config.initial_rto),
            silent_since: env.now,
            last_sent: env.now,
            retransmits: 0,
        }
    }

    /// The peer's SYN arrived with its options: the effective MSS, and the shift of its windows.
    pub(crate) fn synchronize(&mut self, mss: u16, shift: u8) {
        self.mss = mss;
        self.shift = shift;
    }

    pub(crate) fn set_nodelay(&mut self, on: bool) {
        self.nodelay = on;
    }

    /// Takes as much of `bytes` as the send buffer and the pool have room for.
    pub(crate) fn push(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> usize {
        let limit = env.pool.share(env.config.send_buffer_bytes);
        let room = limit.saturating_sub(self.queue.len()) as usize;
        self.queue.push(env.pool, &bytes[..bytes.len().min(room)])
    }

    /// A third of the send buffer is free again: worth telling an application that waits (as Linux).
    pub(crate) fn writable(&self, env: &Env<'_>) -> bool {
        self.queue.len() <= env.config.send_buffer_bytes / 3 * 2
    }

    /// FIN follows what is queued.
    pub(crate) fn close(&mut self) {
        if self.fin == Fin::No {
            self.fin = Fin::Queued;
        }
    }

    /// The application has closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.fin != Fin::No
    }

    pub(crate) const fn unacknowledged(&self) -> u32 {
        self.queue.len()
    }

    pub(crate) const fn snd_una(&self) -> SeqNum {
        self.snd_una
    }

    /// SND.NXT for a segment without data: behind everything sent, but not behind a probe that the peer may have refused.
    pub(crate) fn ack_seq(&self) -> SeqNum {
        if self.persist.deadline().is_some() { self.snd_nxt } else { self.snd_max }
    }

    pub(crate) const fn iss(&self) -> SeqNum {
        self.iss
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.rto.srtt()
    }

    pub(crate) const fn mss(&self) -> u16 {
        self.mss
    }

    pub(crate) const fn cwnd(&self) -> u32 {
        self.congestion.window()
    }

    pub(crate) const fn retransmits(&self) -> u32 {
        self.retransmits
    }

    /// SND.UNA =< `seq` < what was sent: an octet, SYN or FIN that is in flight.
    pub(crate) fn is_outstanding(&self, seq: SeqNum) -> bool {
        seq.in_window(self.snd_una, self.snd_max.since(self.snd_una))
    }

    /// SEG.ACK lies in (SND.UNA, what was sent]: it acknowledges something new.
    pub(crate) fn acknowledges_new(&self, ack: SeqNum) -> bool {
        ack.after(self.snd_una) && ack.before_eq(self.snd_max)
    }

    /// RFC 5961 section 5.2: SEG.ACK is worth a look, (SND.UNA - MAX.SND.WND) =< SEG.ACK =< SND.NXT.
    pub(crate) fn plausible_ack(&self, ack: SeqNum) -> bool {
        ack.before_eq(self.snd_max)
            && self.snd_una.since(ack) as i32 <= i32::try_from(self.max_window).unwrap_or(i32::MAX)
    }

    /// Our FIN is acknowledged.
    pub(crate) fn fin_acknowledged(&self) -> bool {
        self.fin == Fin::Acknowledged
    }

    /// Takes an acknowledgment that [`acknowledges_new`](Self::acknowledges_new) data, SYN or FIN.
    pub(crate) fn on_ack(&mut self, env: &mut Env<'_>, ack: SeqNum) {
        let before = self.flight().bytes();
        let syn = u32::from(!self.syn_acked);
        let data = (ack.since(self.snd_una) - syn).min(self.queue.len());
        if self.fin == Fin::Queued && ack.after(self.data_end()) {
            self.fin = Fin::Acknowledged;
        }
        self.queue.consume(env.pool, data);
        self.cursor.consumed(data);
        // The right edge stays where it is: only a segment that is newer moves it (`update_window`).
        self.snd_wnd = self.snd_wnd.saturating_sub(ack.since(self.snd_una));
        self.snd_una = ack;
        self.snd_nxt = self.snd_nxt.max(ack);
        self.stop_probing();
        if !self.syn_acked {
            self.syn_acked = true;
            self.rto.established(env.config);
        }
        self.rto.acknowledged(env.now, ack, env.config);
        self.silent_since = env.now;
        // RFC 6298 (5.2), (5.3).
        self.deadline = (self.snd_una != self.snd_max).then(|| env.now + self.rto.timeout(env.config));
        debug_assert!(self.in_order(), "SND.UNA =< SND.NXT =< what was sent");
        // A retransmission that waited is settled by this: it goes on only if recovery does.
        self.head_again = syn == 0 && self.congestion.on_ack(data, before, self.flight()) == Reaction::RetransmitHead;
    }

    /// Our SYN is acknowledged. `syn` says whether this segment carries the peer's (its window is then not scaled).
    pub(crate) fn established(&mut self, header: &Header, syn: bool) {
        self.congestion.established(self.mss.into());
        // A10: the assignments that RFC 9293 prints for SYN-RECEIVED belong to SYN-SENT as well.
        self.snd_wnd = if syn { u32::from(header.window) } else { u32::from(header.window) << self.shift };
        self.max_window = self.snd_wnd;
        self.wl1 = header.seq;
        self.wl2 = header.ack;
    }

    /// RFC 9293 section 3.10.7.4, fifth: the send window, from a segment that is not older than the last that set it.
    /// True if it has changed. `orphan`: nobody waits for the rest to be sent, or not longer than the user timeout.
    pub(crate) fn update_window(&mut self, env: &Env<'_>, header: &Header, orphan: bool) -> bool {
        let newer = self.wl1.before(header.seq) || (self.wl1 == header.seq && self.wl2.before_eq(header.ack));
        if !newer {
            return false;
        }
        let window = u32::from(header.window) << self.shift;
        let changed = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_window = self.max_window.max(window);
        self.wl1 = header.seq;
        self.wl2 = header.ack;
        if self.persist.deadline().is_some() {
            // The peer answers our probes: a closed window may stay closed for ever (MUST-37). But not to an orphan: its
            // memory would be the peer's to hold.
            if !orphan {
                self.silent_since = env.now;
            }
            if window > 0 && changed {
                self.stop_probing();
            }
        }
        changed
    }

    fn stop_probing(&mut self) {
        self.persist.stop();
        self.probe = false;
    }

    /// A duplicate ACK by RFC 5681 section 2: the caller has seen that it carries nothing and repeats SND.UNA.
    pub(crate) fn on_duplicate_ack(&mut self) {
        // What answers a window probe is no sign of loss.
        let outstanding = self.snd_una != self.snd_max && self.persist.deadline().is_none();
        if outstanding && self.congestion.on_duplicate_ack(self.flight()) == Reaction::RetransmitHead {
            self.head_again = true;
        }
    }

    fn flight(&self) -> Flight {
        Flight { snd_una: self.snd_una, snd_max: self.snd_max, mss: self.mss.into() }
    }

    /// The sequence number of the first byte queued.
    fn data_start(&self) -> SeqNum {
        if self.syn_acked { self.snd_una } else { self.iss + 1 }
    }

    /// The sequence number behind the last byte queued: the FIN's, if there is one.
    fn data_end(&self) -> SeqNum {
        self.data_start() + self.queue.len()
    }

    /// The SYN has not been sent, or must be sent again.
    pub(crate) fn syn_due(&self) -> bool {
        !self.syn_acked && self.snd_nxt == self.iss
    }

    /// The SYN has been sent.
    pub(crate) fn syn_sent(&mut self, env: &Env<'_>) {
        let again = self.snd_max != self.iss;
        if !again {
            self.deadline = None;
        }
        self.snd_nxt = self.iss + 1;
        self.snd_max = self.snd_nxt;
        self.note_sent(env, again, self.snd_nxt);
    }

    /// The SYN is to be sent again though its timer has not expired: the peer has not seen our answer.
    pub(crate) fn syn_again(&mut self) {
        self.snd_nxt = self.iss;
    }

    /// The next segment the windows, Nagle and the timers allow.
    pub(crate) fn next_cut(&mut self, env: &Env<'_>) -> Option<Cut> {
        if self.head_again && self.snd_una != self.snd_max {
            return Some(self.cut_head());
        }
        self.head_again = false;
        let at = self.snd_nxt.since(self.data_start());
        let queued = self.queue.len().saturating_sub(at);
        let fin_due = self.fin == Fin::Queued && self.snd_nxt.before_eq(self.data_end());
        if queued == 0 && !fin_due {
            return None;
        }
        let in_flight = self.snd_nxt.since(self.snd_una);
        let peer = self.snd_wnd.saturating_sub(in_flight);
        let usable = peer.min(self.congestion.window().saturating_sub(in_flight));
        let decision = Decision {
            queued,
            usable,
            mss: self.mss.into(),
            max_window: self.max_window,
            in_flight: in_flight > 0,
            // What is sent again was judged when it was sent first.
            nodelay: self.nodelay || self.snd_nxt != self.snd_max,
            closing: self.is_closed(),
        };
        // RFC 6298 (5.4): what was lost is not held back for being small.
        let lost = self.rto.backoff() > 0 && self.snd_nxt.before(self.snd_max) && usable > 0;
        let allowed = if queued == 0 { peer > 0 } else { lost || nagle::may_send(decision) };
        if !allowed && !self.probe {
            if in_flight == 0 && (usable < queued || peer == 0) {
                if self.persist.deadline().is_none() {
                    self.silent_since = env.now;
                }
                self.deadline = None;
                self.persist.arm(env.now, self.rto.timeout(env.config));
            }
            return None;
        }
        // A probe sends at least one byte into a closed window (RFC 9293 section 3.8.6.1).
        let room = if self.probe { usable.max(1) } else { usable };
        let len = queued.min(room).min(self.mss.into());
        Some(self.cut(self.snd_nxt, len, fin_due && len == queued && (peer > len || self.probe)))
    }

    fn cut_head(&self) -> Cut {
        let sent = self.snd_max.since(self.snd_una);
        let len = self.queue.len().min(sent).min(self.mss.into());
        let fin = self.fin == Fin::Queued && self.queue.len() == len && sent > len;
        self.cut(self.snd_una, len, fin)
    }

    fn cut(&self, seq: SeqNum, len: u32, fin: bool) -> Cut {
        Cut { seq, len, fin, push: seq + len == self.data_end() && len > 0 }
    }

    /// Copies the bytes of a cut into the frame.
    pub(crate) fn copy(&mut self, env: &Env<'_>, cut: Cut, out: &mut [u8]) {
        let at = cut.seq.since(self.data_start());
        let copied = self.queue.copy_at(env.pool, &mut self.cursor, at, out);
        debug_assert_eq!(copied, out.len(), "a cut lies within the queue");
    }

    /// The cut has been sent.
    pub(crate) fn sent(&mut self, env: &Env<'_>, cut: Cut) {
        let end = cut.seq + cut.len + u32::from(cut.fin);
        let again = cut.seq.before(self.snd_max);
        if self.snd_una == self.snd_max {
            // Nothing was outstanding: the timers begin here, whatever ran while this could not leave.
            self.deadline = None;
            self.congestion.on_restart(env.now - self.last_sent, self.rto.timeout(env.config), self.mss.into());
        }
        self.last_sent = env.now;
        if self.head_again {
            self.head_again = false;
        } else if self.probe && end.since(self.snd_una) > self.snd_wnd {
            // Beyond the window: the byte stays queued as unsent, but its acknowledgment will be believed.
            self.probe = false;
            self.snd_max = self.snd_max.max(end);
            return;
        } else {
            self.stop_probing();
            self.snd_nxt = end;
        }
        self.snd_max = self.snd_max.max(end);
        debug_assert!(self.in_order(), "SND.UNA =< SND.NXT =< what was sent");
        self.note_sent(env, again, end);
    }

    fn in_order(&self) -> bool {
        self.snd_una.before_eq(self.snd_nxt) && self.snd_nxt.before_eq(self.snd_max)
    }

    fn note_sent(&mut self, env: &Env<'_>, again: bool, end: SeqNum) {
        if again {
            self.retransmits = self.retransmits.saturating_add(1);
            self.rto.retransmitted();
        } else {
            self.rto.sent(env.now, end);
        }
        if self.deadline.is_none() {
            if !again {
                self.silent_since = env.now;
            }
            self.deadline = Some(env.now + self.rto.timeout(env.config));
        }
    }

    /// Nothing is queued, nothing outstanding.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.snd_una == self.snd_max && !self.has_unsent()
    }

    /// Since when the peer has not acknowledged anything of what is outstanding; means something while a timer runs.
    pub(crate) const fn silent_since(&self) -> Instant {
        self.silent_since
    }

    /// How often in a row the retransmission timer has expired.
    pub(crate) const fn timeouts(&self) -> u8 {
        self.rto.backoff()
    }

    /// The earlier of the retransmission and the persist timer.
    pub(crate) fn timer(&self) -> Option<(Instant, &'static str)> {
        let rto = self.deadline.map(|at| (at, "retransmit"));
        let persist = self.persist.deadline().map(|at| (at, "persist"));
        match (rto, persist) {
            (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
            (a, b) => a.or(b),
        }
    }

    /// Acts on the timers that are due. False when the peer has been silent for `r2` (RFC 9293 section 3.8.3).
    pub(crate) fn on_timeout(&mut self, env: &Env<'_>, r2: Duration) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= env.now);
        let (rto, persist) = (due(self.deadline), due(self.persist.deadline()));
        if (rto || persist) && env.now - self.silent_since >= r2 {
            return false;
        }
        if persist {
            self.probe = true;
            self.persist.expired(env.now, self.rto.timeout(env.config), env.config);
        }
        if rto && self.syn_acked && self.snd_una == self.snd_max {
            // Nothing is outstanding: what there is to send can't leave, and only R2 runs.
            self.deadline = self.has_unsent().then(|| env.now + self.rto.timeout(env.config));
        } else if rto {
            let again = self.rto.backoff() > 0;
            self.congestion.on_rto(self.flight(), again);
            // RFC 6298 (5.4) to (5.6): send the earliest again, double the timeout, start the timer.
            self.rto.back_off();
            self.snd_nxt = self.snd_una;
            self.head_again = false;
            self.deadline = Some(env.now + self.rto.timeout(env.config));
        }
        true
    }

    fn has_unsent(&self) -> bool {
        self.snd_nxt.before(self.data_end()) || (self.fin == Fin::Queued && self.snd_nxt == self.data_end())
    }

    /// What there is to send can't leave: the next hop is not known. R2 runs from now on.
    pub(crate) fn held_up(&mut self, env: &Env<'_>) {
        if self.deadline.is_none() && self.has_unsent() {
            self.silent_since = env.now;
            self.deadline = Some(env.now + self.rto.timeout(env.config));
        }
    }

    /// Nothing will be sent any more: gives the memory back and stops the timers.
    pub(crate) fn clear(&mut self, env: &mut Env<'_>) {
        self.queue.clear(env.pool);
        self.cursor = Cursor::default();
        self.deadline = None;
        self.stop_probing();
        self.head_again = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, pool::Pool};

    /// 4 GiB later SND.NXT and SND.UNA pass ISS again: that is no SYN.
    #[test]
    fn the_stream_passes_its_iss_again() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let mut env = Env { now: Instant::ZERO, config: &config, pool: &mut pool };
        let iss = SeqNum::new(5);
        let mut sender = Sender::new(iss, 10, &env);
        sender.syn_sent(&env);
        sender.on_ack(&mut env, iss + 1);
        sender.established(&crate::testing::segment(wire::tcp::Flags::ACK, 0, 6, &[]).header, false);
        for at in [&mut sender.snd_una, &mut sender.snd_nxt, &mut sender.snd_max] {
            *at = iss - 10;
        }
        assert_eq!(sender.push(&mut env, &[7; 30]), 30);
        for n in 0..3 {
            assert!(!sender.syn_due(), "segment {n}");
            let cut = sender.next_cut(&env).expect("the window is open");
            assert_eq!((cut.seq, cut.len), (iss - 10 + 10 * n, 10));
            sender.sent(&env, cut);
        }
        for n in 1..=3 {
            assert!(sender.acknowledges_new(iss - 10 + 10 * n));
            sender.on_ack(&mut env, iss - 10 + 10 * n);
            assert_eq!(sender.unacknowledged(), 30 - 10 * n);
            assert!(!sender.syn_due());
        }
    }
}
