//! What to send next: lost segments, a tail loss probe, new data, a window probe.

use super::{
    Fin, Flight, Sender,
    frto::Frto,
    nagle::{self, Decision},
};
use crate::{config::Config, env::Env, pool::Pool, profile::Profile};
use wire::SeqNum;

/// The next segment to send: `len` bytes from `seq` on, and FIN behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) seq: SeqNum,
    pub(crate) len: u32,
    pub(crate) fin: bool,
    /// It empties the queue, or ends a burst: PSH.
    pub(crate) push: bool,
    /// New data: it may be sent ECN-capable (RFC 3168 section 6.1).
    pub(crate) ect: bool,
    /// CWR: the first new data behind a reduction of the window (RFC 3168 section 6.1.2).
    pub(crate) cwr: bool,
}

impl Sender {
    /// Segments in flight, at most: those of a full send buffer, if they are of 256 bytes. A record is 24 bytes.
    pub(super) fn most_segments(&self, config: &Config, pool: &Pool) -> usize {
        (pool.share(self.queue.len(), self.limit(config)) / 256) as usize
    }

    /// The next segment the windows, Nagle and the timers allow. `option_bytes` of its room are taken by options that not
    /// every segment has.
    #[inline]
    pub(crate) fn next_cut(&mut self, env: &Env<'_>, option_bytes: u32) -> Option<Cut> {
        let mss = u32::from(self.mss).saturating_sub(option_bytes).max(1);
        let cut = match self.flight.take() {
            Some(mut flight) => {
                let cut = self.next_in_flight(env, &mut flight, mss);
                self.flight = Some(flight);
                cut
            }
            None => self.cut_new(env, 0, mss),
        };
        if cut.is_none() {
            (self.burst, self.unbroken) = (0, false);
        }
        cut
    }

    /// The same with data in flight: what is lost comes first.
    fn next_in_flight(&mut self, env: &Env<'_>, f: &mut Flight, mss: u32) -> Option<Cut> {
        let in_flight = f.in_flight(self.mss.into());
        let room = self.congestion.window().saturating_sub(in_flight);
        let held = self.is_held(env.now, in_flight);
        match f.board.next_lost(mss, room) {
            Some((seq, _)) if held && seq != self.snd_una => self.hold(room),
            Some(range) if f.frto.prefers_new() => match f.new_since(self.snd_max) {
                0 => self.cut_new(env, in_flight, mss).or_else(|| {
                    f.frto = Frto::Off;
                    self.cut_lost(env, f, range, mss)
                }),
                sent if sent < 2 * mss => self.cut_new(env, in_flight, mss),
                _ => None,
            },
            Some(range) => self.cut_lost(env, f, range, mss),
            None if f.probe_due => self.cut_probe(f, mss),
            None if f.board.segments() >= self.most_segments(env.config, env.pool) && !self.probes_window() => None,
            None if held && !self.probes_window() && self.unsent() > 0 => self.hold(room),
            None => self.cut_new(env, in_flight, mss),
        }
    }

    /// True when [`next_cut`](Self::next_cut) would return `None` because there is nothing to send; false says nothing.
    pub(crate) fn sent_all(&mut self) -> bool {
        let resends = |f: &Flight| f.board.waits() || f.probe_due;
        let sent_all = !self.has_unsent() && !self.flight.as_ref().is_some_and(|f| resends(f));
        if sent_all {
            (self.burst, self.unbroken) = (0, false);
        }
        sent_all
    }

    /// A lost segment goes again as soon as the windows allow.
    fn cut_lost(&mut self, env: &Env<'_>, f: &Flight, (seq, end): (SeqNum, SeqNum), mss: u32) -> Option<Cut> {
        let in_flight = f.in_flight(self.mss.into());
        let peer = self.snd_wnd.saturating_sub(seq.since(self.snd_una));
        if peer == 0 && !self.probes_window() {
            // The peer has shrunk its window (RFC 9293 section 3.8.6): probe it once nothing is on its way.
            if in_flight == 0 {
                self.wait_for_window(env, seq);
            }
            return None;
        }
        let len = end.since(seq).min(mss).min(peer.max(1));
        let room = self.congestion.window().saturating_sub(in_flight);
        (self.probes_window() || len <= room).then(|| self.cut_again(f, seq, end, if peer == 0 { 1 } else { len }))
    }

    /// The first `len` numbers of the segment `seq..end` again.
    fn cut_again(&self, f: &Flight, seq: SeqNum, end: SeqNum, len: u32) -> Cut {
        let data = self.data_end().min(end).since(seq).min(len);
        let fin = seq + data == self.data_end() && end.after(self.data_end()) && (len > data || data == 0);
        // What ended a burst ends it again, if it leaves with the rest of it.
        let push = data > 0 && self.unbroken && self.behind == seq && f.board.pushed(seq + data + u32::from(fin));
        let cut = self.cut(seq, data, fin);
        Cut { push: cut.push || push, ..cut }
    }

    /// RFC 8985 section 7.3: new data if there is and the peer has room for it, else the last segment again.
    fn cut_probe(&mut self, f: &mut Flight, mss: u32) -> Option<Cut> {
        let queued = self.data_end().since(self.snd_nxt);
        let peer = self.snd_wnd.saturating_sub(self.snd_nxt.since(self.snd_una));
        if self.snd_nxt.before(self.data_end()) && peer > 0 {
            let len = queued.min(peer).min(mss);
            let fin = self.fin == Fin::Queued && len == queued && peer > len;
            return Some(self.cut(self.snd_nxt, len, fin));
        }
        let Some((seq, end)) = f.board.tail() else {
            f.probe_due = false;
            return None;
        };
        // A FIN goes along if all data before it fits.
        let fits = self.data_end().min(end).since(seq) <= mss;
        Some(self.cut_again(f, seq, end, if fits { end.since(seq) } else { mss }))
    }

    fn cut_new(&mut self, env: &Env<'_>, in_flight: u32, mss: u32) -> Option<Cut> {
        let at = self.snd_nxt.since(self.data_start());
        let queued = self.queue.len().saturating_sub(at);
        let fin_due = self.fin == Fin::Queued && self.snd_nxt.before_eq(self.data_end());
        if queued == 0 && !fin_due {
            return None;
        }
        let outstanding = self.snd_nxt.since(self.snd_una);
        let peer = self.snd_wnd.saturating_sub(outstanding);
        let usable = peer.min(self.congestion.window().saturating_sub(in_flight));
        let decision = Decision {
            queued,
            usable,
            mss,
            max_window: self.max_window,
            small_in_flight: self.small.after(self.snd_una),
            // What a probe has sent was judged when it was sent first.
            nodelay: self.nodelay || self.snd_nxt != self.snd_max,
            closing: self.is_closed(),
            corked: self.cork.keeps(),
        };
        let allowed = if queued == 0 { peer > 0 } else { nagle::may_send(decision) };
        if !allowed && !self.probes_window() {
            if outstanding == 0 && (usable < queued || peer == 0 || decision.corked) {
                self.start_probing(env);
            }
            return None;
        }
        // A probe sends at least one byte into a closed window (RFC 9293 section 3.8.6.1).
        let room = if self.probes_window() { usable.max(1) } else { usable };
        let len = queued.min(room).min(mss);
        if len > 0 && len < mss && !self.probes_window() {
            self.small = self.snd_nxt + len;
        }
        let cut = self.cut(self.snd_nxt, len, fin_due && len == queued && (peer > len || self.probes_window()));
        let push = cut.push || self.ends_burst(env, mss, usable.saturating_sub(len) < (queued - len).min(mss));
        Some(Cut { push, ..cut })
    }

    /// PSH also ends what leaves at once, if that is more than one segment: the peer's interface has nothing to wait for.
    /// `full`: the windows let nothing follow.
    fn ends_burst(&mut self, env: &Env<'_>, mss: u32, full: bool) -> bool {
        if self.burst == 0 || self.burst >= self.burst_limit {
            (self.burst, self.burst_limit) = (0, self.burst_limit(env, mss));
        }
        self.burst > 0 && (self.burst + 1 >= self.burst_limit || full)
    }

    /// Segments that leave at once, at most: what the rate of the path takes in a millisecond, at least two unless more are
    /// configured, and never more than half of the window (as Linux's segmentation offload). For latency
    /// it is the least: the peer's interface hands on what it has the sooner.
    pub(super) fn burst_limit(&self, env: &Env<'_>, mss: u32) -> u8 {
        if self.profile == Profile::Latency {
            return env.config.min_burst;
        }
        let srtt = self.rto.srtt().map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
        let most = (0xffff / mss).clamp(2, 255);
        // Twice the window each round trip while it doubles.
        let rate = u64::from(self.congestion.window()) * 2000 / u64::from(srtt.max(1)) / u64::from(mss);
        let half = self.congestion.window() / mss / 2;
        let limit = rate.max(env.config.min_burst.into()).min(most.into()).min(half.max(1).into());
        u8::try_from(limit).unwrap_or(u8::MAX)
    }

    /// Nothing is on its way, and the first segment that is lost, at `seq`, is beyond the peer's window. If the left edge is not, then
    /// what lies between has been `SACKed`, and is wanted again: the peer has withdrawn its word (RFC 2018 section 8), and to probe its
    /// window tells nothing new. That shows when the timeout expires.
    #[cold]
    fn wait_for_window(&mut self, env: &Env<'_>, seq: SeqNum) {
        if seq == self.snd_una {
            self.start_probing(env);
        } else if self.deadline.is_none() {
            self.deadline = Some(env.now + self.rto.timeout(env.config));
        }
    }

    fn start_probing(&mut self, env: &Env<'_>) {
        if self.persist.deadline().is_none() && self.snd_una == self.snd_max {
            self.silent_since = env.now;
        }
        self.deadline = None;
        self.persist.arm(env.now, self.rto.timeout(env.config));
    }

    fn cut(&self, seq: SeqNum, len: u32, fin: bool) -> Cut {
        // RFC 3168 sections 6.1.5 and 6.1.6: neither what is sent again nor a window probe.
        let ect = self.ecn && len > 0 && seq == self.snd_max && !self.probes_window();
        let push =
            seq + len == self.data_end() && len > 0 && (self.cork.ends() || self.probes_window() || self.is_closed());
        Cut { seq, len, fin, push, ect, cwr: ect && self.cwr }
    }
}
