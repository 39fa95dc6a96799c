//! The sending half of a connection: what is queued, what is in flight, when to send and when to send again.

mod acknowledge;
mod autotune;
mod cork;
mod cut;
mod detail;
mod frto;
mod inspect;
mod nagle;
mod notes;
mod pacing;
mod persist;
pub(crate) mod pmtu;
mod prr;
mod rack;
mod recovery;
pub(crate) mod rest;
mod rto;
mod scoreboard;
mod syn;
mod tlp;
mod train;
pub(crate) mod urgent;
mod why;
mod write;

use crate::{
    cc::{Congestion, Usage},
    env::Env,
    pool::{ByteQueue, Cursor},
    profile::Profile,
};
pub(crate) use acknowledge::Ack;
use alloc::boxed::Box;
pub(crate) use cut::Cut;
pub use detail::{Detail, Recovery};
use persist::{Persist, WindowProbe};
pub(crate) use recovery::Flight;
use rto::Rto;
use wheel::{Duration, Instant};
use wire::{SeqNum, tcp::Header};
pub(crate) use write::COPIED_BELOW;

/// The timer that is due first, the one before of two at the same time.
pub(crate) fn sooner(
    first: Option<(&'static str, Instant)>,
    name: &'static str,
    at: Instant,
) -> Option<(&'static str, Instant)> {
    if first.is_some_and(|(_, due)| due <= at) { first } else { Some((name, at)) }
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

/// In the order of its lines: what every segment needs, then what only data that is sent or acknowledged does.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Sender {
    pacer: pacing::Pacer,
    queue: ByteQueue,
    persist: Persist,
    /// What is in flight, segment by segment; nothing while there is none.
    flight: Option<Box<Flight>>,
    /// The retransmission timer.
    deadline: Option<Instant>,
    snd_una: SeqNum,
    /// The next sequence number to send for the first time.
    snd_nxt: SeqNum,
    /// One above the highest sequence number ever sent: a window probe's octet lies between SND.NXT and this.
    snd_max: SeqNum,
    snd_wnd: u32,
    wl1: SeqNum,
    wl2: SeqNum,
    /// Our SYN is acknowledged. (SND.UNA passes ISS again every 4 GiB.)
    syn_acked: bool,
    fin: Fin,
    /// The shift of the windows the peer advertises.
    shift: u8,
    cork: cork::Cork,
    /// Segments of new data that left at once so far.
    burst: u8,
    /// Nothing has come since what was sent last; `behind` is the number behind that.
    unbroken: bool,
    /// The effective send MSS.
    mss: u16,
    iss: SeqNum,
    // From here on not every segment's.
    nodelay: bool,
    profile: Profile,
    /// The peer sends SACK blocks.
    sack: bool,
    /// ECN is in use, and CWR is to be sent.
    ecn: bool,
    cwr: bool,
    /// A tail loss probe was sent since the last round-trip sample.
    probed: bool,
    window_probe: WindowProbe,
    /// How many leave at once at most.
    burst_limit: u8,
    usage: Usage,
    max_window: u32,
    /// Where SND.NXT lies in the queue.
    cursor: Cursor,
    /// RFC 6582: SND.NXT when the last recovery began.
    recover: SeqNum,
    /// The number behind the last segment that was smaller than the MSS (Minshall's Nagle).
    small: SeqNum,
    /// An acknowledgment beyond this gives the next round-trip sample: one for each round trip.
    sampled: SeqNum,
    retransmits: u32,
    behind: SeqNum,
    /// Probes since the window closed.
    probes: u8,
    rto: Rto,
    path: rack::Path,
    tail: tlp::Probe,
    congestion: Congestion,
    /// Since when the peer has not acknowledged anything of what is outstanding.
    silent_since: Instant,
    /// When data was sent last.
    last_sent: Instant,
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
            profile: Profile::Balanced,
            cork: cork::Cork::default(),
            sack: false,
            ecn: false,
            cwr: false,
            burst: 0,
            burst_limit: 0,
            unbroken: false,
            behind: iss,
            probed: false,
            window_probe: WindowProbe::None,
            queue: ByteQueue::default(),
            cursor: Cursor::default(),
            rto: Rto::new(env.config),
            persist: Persist::default(),
            probes: 0,
            congestion: Congestion::new(env.config),
            usage: Usage::default(),
            pacer: pacing::Pacer::default(),
            path: rack::Path::default(),
            tail: tlp::Probe::default(),
            flight: None,
            recover: iss,
            small: iss,
            sampled: iss,
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

    /// Whether the peer sends SACK blocks.
    pub(crate) fn set_sack(&mut self, on: bool) {
        self.sack = on;
    }

    /// Whether both ends use ECN (RFC 3168 section 6.1.1).
    pub(crate) fn set_ecn(&mut self, on: bool) {
        self.ecn = on;
    }

    /// The effective send MSS has changed: what is sent again is cut to it, and the window is one segment at least.
    pub(crate) fn set_mss(&mut self, mss: u16) {
        self.mss = mss;
        if let Some(mut flight) = self.flight.take() {
            self.lose_larger(&mut flight);
            self.flight = Some(flight);
        }
        self.congestion.hold_a_segment(mss.into());
    }

    /// Of what size the next segment is, whatever the MSS is otherwise.
    pub(crate) fn cut_to(&mut self, mss: u16) {
        self.mss = mss;
    }

    /// Data that was never sent, octets.
    pub(crate) fn unsent(&self) -> u32 {
        self.queue.len().saturating_sub(self.snd_max.since(self.data_start()))
    }

    /// Nothing from `seq` on was ever sent.
    pub(crate) fn is_new(&self, seq: SeqNum) -> bool {
        seq == self.snd_max
    }

    /// Octets of the first unacknowledged segment, as it would be sent again.
    pub(crate) fn head_len(&self) -> u32 {
        self.queue.len().min(self.snd_max.since(self.snd_una)).min(self.mss.into())
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

    /// The peer's window is closed, as far as is known, and is probed.
    pub(crate) fn is_probing(&self) -> bool {
        self.persist.deadline().is_some()
    }

    /// SND.NXT for a segment without data: behind everything sent, but not behind a probe that the peer may have refused.
    pub(crate) fn ack_seq(&self) -> SeqNum {
        if self.is_probing() { self.snd_nxt } else { self.snd_max }
    }

    /// As [`ack_seq`](Self::ack_seq), of an acknowledgment that the peer must take: where it has drawn its window back from what is
    /// in flight (RFC 9293 section 3.8.6), its right edge, as Linux does; behind it the segment would not be acceptable, and what it
    /// acknowledges be sent again. A FIN and the unit of the window are no reason.
    #[inline]
    pub(crate) fn acceptable_seq(&self) -> SeqNum {
        let (next, edge) = (self.ack_seq(), self.snd_una + self.snd_wnd);
        if next.after(edge) && next.since(edge) > 1 << self.shift { edge } else { next }
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

    /// `None` before the first loss.
    pub(crate) fn ssthresh(&self) -> Option<u32> {
        (self.congestion.ssthresh() != u32::MAX).then(|| self.congestion.ssthresh())
    }

    /// Bytes in flight, `SACKed`, and lost.
    pub(crate) fn flight_bytes(&self) -> (u32, u32, u32) {
        self.flight.as_ref().map_or((0, 0, 0), |f| (f.in_flight(self.mss.into()), f.board.sacked(), f.board.lost()))
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

    /// SND.UNA =< SEG.ACK =< what was sent.
    pub(crate) fn expects(&self, ack: SeqNum) -> bool {
        ack == self.snd_una || ack.since(self.snd_una) <= self.snd_max.since(self.snd_una)
    }

    /// RFC 5961 section 5.2: SEG.ACK is worth a look, (SND.UNA - MAX.SND.WND) =< SEG.ACK =< SND.NXT.
    pub(crate) fn plausible_ack(&self, ack: SeqNum) -> bool {
        ack.before_eq(self.snd_max)
            && self.snd_una.since(ack) as i32 <= i32::try_from(self.max_window).unwrap_or(i32::MAX)
    }

    /// Our FIN is acknowledged.
    /// The application has closed, and the FIN was never sent.
    pub(crate) fn fin_unsent(&self) -> bool {
        self.fin == Fin::Queued && !self.snd_max.after(self.data_end())
    }

    pub(crate) fn fin_acknowledged(&self) -> bool {
        self.fin == Fin::Acknowledged
    }

    /// Our SYN is acknowledged. `syn` says whether this segment carries the peer's (its window is then not scaled).
    pub(crate) fn established(&mut self, header: &Header, syn: bool) {
        // A10: the assignments that RFC 9293 prints for SYN-RECEIVED belong to SYN-SENT as well.
        self.snd_wnd = if syn { u32::from(header.window) } else { u32::from(header.window) << self.shift };
        self.max_window = self.snd_wnd;
        self.wl1 = header.seq;
        self.wl2 = header.ack;
    }

    /// Whether [`update_window`](Self::update_window) would change the window of an acknowledgment that is not new.
    pub(crate) fn changes_window(&self, seq: SeqNum, ack: SeqNum, window: u16) -> bool {
        self.is_newer(seq, ack) && u32::from(window) << self.shift != self.snd_wnd
    }

    fn is_newer(&self, seq: SeqNum, ack: SeqNum) -> bool {
        self.wl1.before(seq) || (self.wl1 == seq && self.wl2.before_eq(ack))
    }

    /// RFC 9293 section 3.10.7.4, fifth: the send window, from a segment that is not older than the last that set it.
    /// `orphan`: nobody waits for the rest to be sent, or not longer than the user timeout.
    #[inline(always)] // most often it is two numbers
    pub(crate) fn update_window(&mut self, env: &mut Env<'_>, seq: SeqNum, ack: SeqNum, window: u16, orphan: bool) {
        if !self.is_newer(seq, ack) {
            return;
        }
        let window = u32::from(window) << self.shift;
        let before = self.snd_wnd;
        if window != before {
            self.snd_wnd = window;
            self.max_window = self.max_window.max(window);
        }
        self.wl1 = seq;
        self.wl2 = ack;
        if self.persist.deadline().is_some() {
            self.heard_while_probing(&mut env.again(), (before, window), orphan);
        }
    }

    /// The sequence number of the first byte queued.
    fn data_start(&self) -> SeqNum {
        if self.syn_acked { self.snd_una } else { self.iss + 1 }
    }

    /// The sequence number behind the last byte queued: the FIN's, if there is one.
    pub(crate) fn data_end(&self) -> SeqNum {
        self.data_start() + self.queue.len()
    }

    /// Copies the bytes of a cut into the frame.
    pub(crate) fn copy(&mut self, env: &Env<'_>, cut: Cut, out: &mut [u8]) {
        self.copy_from(env, cut.seq, out);
    }

    /// The cut has been sent.
    pub(crate) fn sent(&mut self, env: &mut Env<'_>, cut: Cut) {
        let end = cut.seq + cut.len + u32::from(cut.fin);
        if self.snd_una == self.snd_max {
            // Nothing was outstanding: the timers begin here, whatever ran while this could not leave.
            self.deadline = None;
            let rto = if env.config.slow_start_after_idle { self.rto.timeout(env.config) } else { Duration::MAX };
            self.congestion.on_restart(env.now, env.now - self.last_sent, rto, self.mss.into());
            if !cut.push {
                self.burst_limit = self.burst_limit(env, self.mss.into());
            }
        }
        self.last_sent = env.now;
        (self.unbroken, self.behind) = (true, end);
        let before = cut.seq.before(self.snd_max);
        if self.probes_window() && end.since(self.snd_una) > self.snd_wnd {
            // Beyond the window: the byte stays queued as unsent, but its acknowledgment will be believed.
            self.window_probe = WindowProbe::None;
            self.snd_max = self.snd_max.max(end);
            if let Some(flight) = &mut self.flight {
                flight.board.head_probed();
            }
            return;
        }
        self.stop_probing();
        self.cwr &= !cut.cwr;
        let mut flight = self.flight.take().unwrap_or_else(|| env.pool.take_flight());
        let again = cut.seq.before(self.snd_nxt);
        if again {
            flight.board.sent_again(cut.seq, end, env.now);
            env.pool.count_loss(|c| c.retransmitted += 1);
            self.note_again(env, cut, &flight);
            if cut.seq == self.snd_una {
                // RFC 6298 (5.1): no segment's timer expires sooner than one RTO after it was sent.
                self.deadline = None;
            }
        } else {
            flight.board.sent(cut.seq, end, env.now, before, cut.push);
            self.burst = if cut.push { 0 } else { self.burst.saturating_add(1) };
            self.snd_nxt = end;
            self.snd_max = self.snd_max.max(end);
        }
        debug_assert!(self.in_order(), "SND.UNA =< SND.NXT =< what was sent");
        flight.sent(end, end.since(cut.seq), again, env.now);
        if flight.probe_due {
            // RFC 8985 section 7.3: the timeout is next.
            flight.probe_due = false;
            env.pool.count_loss(|c| c.probes += 1);
            self.tail = tlp::Probe::sent(self.snd_nxt, again);
            (self.probed, self.deadline) = (true, None);
        }
        self.note_sent(env, before);
        let in_flight = flight.in_flight(self.mss.into());
        self.usage.sent(in_flight, self.congestion.window(), self.mss.into(), self.snd_una, self.snd_nxt);
        self.pace(env, cut.len, in_flight);
        if !again {
            self.schedule_probe(env, &mut flight);
        }
        self.flight = Some(flight);
    }

    fn in_order(&self) -> bool {
        self.snd_una.before_eq(self.snd_nxt) && self.snd_nxt.before_eq(self.snd_max)
    }

    fn note_sent(&mut self, env: &Env<'_>, again: bool) {
        self.retransmits = self.retransmits.saturating_add(u32::from(again));
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

    /// When data was sent last.
    pub(crate) const fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// Since when the peer has not acknowledged anything of what is outstanding; means something while a timer runs.
    pub(crate) const fn silent_since(&self) -> Instant {
        self.silent_since
    }

    /// How often in a row the retransmission timer has expired.
    pub(crate) const fn timeouts(&self) -> u8 {
        self.rto.timeouts()
    }

    /// The timer that is due first.
    pub(crate) fn timer(&self) -> Option<(&'static str, Instant)> {
        let mut first = None;
        self.timers(|name, at| first = sooner(first, name, at));
        first
    }

    /// All timers that run.
    #[inline]
    pub(crate) fn timers(&self, mut each: impl FnMut(&'static str, Instant)) {
        let mut each = |name, at: Option<Instant>| at.into_iter().for_each(|at| each(name, at));
        if let Some(flight) = &self.flight {
            each("reorder", flight.reorder_at);
            each("loss-probe", flight.probe_at);
        }
        each("retransmit", self.deadline);
        each("persist", self.persist.deadline());
        each("pacing", self.pacer.deadline());
    }

    /// Acts on the timers that are due. False when the peer has been silent for `r2` (RFC 9293 section 3.8.3).
    pub(crate) fn on_timeout(&mut self, env: &mut Env<'_>, r2: Duration) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= env.now);
        let (mut rto, persist) = (due(self.deadline), due(self.persist.deadline()));
        if persist && self.window_probe == WindowProbe::Answered {
            // Nobody was asked since: that is no silence.
            self.silent_since = env.now;
        }
        if (rto || persist) && env.now - self.silent_since >= r2 {
            return false;
        }
        if persist {
            self.window_probe = WindowProbe::Due;
            self.probes = self.probes.saturating_add(1);
            self.persist.expired(self.probes, env.now, self.rto.timeout(env.config), env.config);
        }
        self.pacer.on_timeout(env.now);
        let mut flight = self.flight.take();
        let before = flight.as_ref().map(|f| f.phase);
        if let Some(f) = &mut flight {
            if due(f.reorder_at) {
                self.reorder_timeout(f, env.now);
            }
            if due(f.probe_at) {
                // RFC 8985 section 7.3: it goes out, and the timeout runs from now on.
                (f.probe_at, f.probe_due, rto) = (None, true, false);
                self.deadline = Some(env.now + self.rto.timeout(env.config));
            }
        }
        if rto {
            match &mut flight {
                Some(f) => self.expire(f, env.now),
                None if self.syn_acked => {}
                None => {
                    // RFC 6298 (5.4), (5.5): the SYN again.
                    self.rto.back_off_syn(env.config);
                    self.snd_nxt = self.snd_una;
                }
            }
            // With nothing outstanding what there is to send can't leave, and only R2 runs.
            let wanted = flight.is_some() || !self.syn_acked || self.has_unsent();
            self.deadline = wanted.then(|| env.now + self.rto.timeout(env.config));
        }
        if let Some((f, before)) = flight.as_ref().zip(before) {
            self.note_phase(env, f, before);
        }
        self.flight = flight;
        true
    }

    fn has_unsent(&self) -> bool {
        self.snd_nxt.before(self.data_end()) || (self.fin == Fin::Queued && self.snd_nxt == self.data_end())
    }

    /// What there is to send can't leave: the next hop is not known. R2 runs from now on.
    pub(crate) fn held_up(&mut self, env: &Env<'_>) {
        // What is to be sent again has a timer, but where a window that was shut over it has just opened.
        let untimed = || !self.is_idle() && self.timer().is_none();
        if self.deadline.is_none() && (self.has_unsent() || untimed()) {
            self.silent_since = env.now;
            self.deadline = Some(env.now + self.rto.timeout(env.config));
        }
    }

    /// Nothing will be sent any more: gives the memory back and stops the timers.
    pub(crate) fn clear(&mut self, env: &mut Env<'_>) {
        self.queue.clear(env.pool);
        self.cursor = Cursor::default();
        self.deadline = None;
        self.pacer = pacing::Pacer::default();
        self.stop_probing();
        if let Some(flight) = self.flight.take() {
            env.pool.give_flight(flight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, pool::Pool};
    use wire::tcp::SackBlocks;

    /// 4 GiB later SND.NXT and SND.UNA pass ISS again: that is no SYN.
    #[test]
    fn the_stream_passes_its_iss_again() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let mut env = Env { now: Instant::ZERO, config: &config, pool: &mut pool };
        let iss = SeqNum::new(5);
        let mut sender = Sender::new(iss, 10, &env);
        sender.syn_sent(&mut env);
        let none = SackBlocks::default();
        let ack = |number| Ack { number, sack: &none, echo: None, ece: false, empty: true, window_changed: false };
        sender.on_ack(&mut env, ack(iss + 1));
        sender.established(&crate::testing::segment(wire::tcp::Flags::ACK, 0, 6, &[]).header, false);
        let numbers = [
            &mut sender.snd_una,
            &mut sender.snd_nxt,
            &mut sender.snd_max,
            &mut sender.recover,
            &mut sender.sampled,
            &mut sender.small,
        ];
        for at in numbers {
            *at = iss - 10;
        }
        assert_eq!(sender.push(&mut env, &[7; 30]), 30);
        for n in 0..3 {
            assert!(!sender.syn_due(), "segment {n}");
            let cut = sender.next_cut(&env, 0).expect("the window is open");
            assert_eq!((cut.seq, cut.len), (iss - 10 + 10 * n, 10));
            sender.sent(&mut env, cut);
        }
        for n in 1..=3 {
            assert!(sender.acknowledges_new(iss - 10 + 10 * n));
            sender.on_ack(&mut env, ack(iss - 10 + 10 * n));
            assert_eq!(sender.unacknowledged(), 30 - 10 * n);
            assert!(!sender.syn_due());
        }
    }
    /// PSH ends a burst of several segments: half of the window, as Linux; one segment alone waits for the rest without it.
    #[test]
    fn psh_ends_a_burst() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let mut env = Env { now: Instant::ZERO, config: &config, pool: &mut pool };
        let mut sender = Sender::new(SeqNum::new(0), 10, &env);
        sender.syn_sent(&mut env);
        let none = SackBlocks::default();
        let ack =
            |n| Ack { number: SeqNum::new(n), sack: &none, echo: None, ece: false, empty: true, window_changed: false };
        sender.on_ack(&mut env, ack(1));
        sender.established(&crate::testing::segment(wire::tcp::Flags::ACK, 0, 1, &[]).header, false);
        sender.push(&mut env, &[7; 500]);
        let burst = |sender: &mut Sender, env: &mut Env<'_>| {
            let mut pushes = std::vec::Vec::new();
            while let Some(cut) = sender.next_cut(env, 0) {
                pushes.push(cut.push);
                sender.sent(env, cut);
            }
            pushes
        };
        let five = [false, false, false, false, true];
        assert_eq!(burst(&mut sender, &mut env), [five, five].concat());
        // Two duplicates let out one segment each (limited transmit).
        for _ in 0..2 {
            sender.on_ack(&mut env, ack(1));
            assert_eq!(burst(&mut sender, &mut env), [false]);
        }
    }
}
