//! What is sent at once behind a full segment, and like it: how much that is, and what it leaves behind. Both are what
//! [`next_cut`](Sender::next_cut) and [`sent`](Sender::sent) come to, called for one after the other.

use super::Sender;
use crate::env::Env;
use wire::SeqNum;

impl Sender {
    /// How many cuts of one MSS [`next_cut`](Self::next_cut) would give behind one that was sent just now, at this time: of new
    /// data, ECN-capable (`ect`) as that was, without PSH, FIN and CWR. Never more; fewer where something is out of the ordinary.
    pub(crate) fn followers(&self, env: &Env<'_>, ect: bool) -> u32 {
        let mss = self.smss();
        let queued = self.queue.len().saturating_sub(self.snd_nxt.since(self.data_start()));
        // The last of what is queued ends it, with PSH.
        if queued <= mss || mss == 0 {
            return 0;
        }
        let Some(f) = &self.flight else { return 0 };
        // A probe of a window is not ECN-capable, what follows it is. CWR was the first's, if it was due.
        if !f.is_smooth() || ect != self.ecn {
            return 0;
        }
        let new = self.snd_nxt == self.snd_max && !self.probes_window() && !f.probe_due;
        debug_assert!(new, "a full segment leaves nothing behind it that would come before new data");
        let in_flight = f.in_flight(mss);
        let peer = self.snd_wnd.saturating_sub(self.snd_nxt.since(self.snd_una));
        let usable = peer.min(self.congestion.window().saturating_sub(in_flight));
        // Where the windows let nothing follow a burst ends, with PSH.
        let room = if usable >= queued { (queued - 1) / mss } else { (usable / mss).saturating_sub(1) };
        let burst = match self.burst {
            0 => 0,
            burst => u32::from(self.burst_limit).saturating_sub(1 + u32::from(burst)),
        };
        let records = self.most_segments(env.config, env.pool).saturating_sub(f.board.segments());
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        room.min(burst).min(records).min(self.unpaced(env, in_flight))
    }

    /// So many of them have been sent.
    pub(crate) fn sent_followers(&mut self, env: &Env<'_>, count: u32) {
        if count == 0 {
            return;
        }
        let Some(mut flight) = self.flight.take() else { return };
        let (mss, mut end) = (self.smss(), self.snd_nxt);
        for _ in 0..count {
            let seq = end;
            end = seq + mss;
            flight.board.sent(seq, end, env.now, false, false);
        }
        flight.sent(end, count * mss, false, env.now);
        // That is less than a burst's limit.
        self.burst = self.burst.saturating_add(u8::try_from(count).unwrap_or(u8::MAX));
        (self.unbroken, self.behind) = (true, end);
        (self.snd_nxt, self.snd_max) = (end, end);
        let in_flight = flight.in_flight(mss);
        // The last one says what each would have said.
        self.usage.sent(in_flight, self.congestion.window(), mss, self.snd_una, end);
        self.pace_followers(env, count * mss, in_flight);
        self.schedule_probe(env, &mut flight);
        self.flight = Some(flight);
    }

    /// Copies what is queued from `seq` on, as much as `out` has room for. Returns how much that is.
    pub(crate) fn copy_from(&mut self, env: &Env<'_>, seq: SeqNum, out: &mut [u8]) -> u32 {
        let at = seq.since(self.data_start());
        let copied = self.queue.copy_at(env.pool, &mut self.cursor, at, out);
        debug_assert_eq!(copied, out.len(), "what follows lies within the queue");
        u32::try_from(copied).unwrap_or(u32::MAX)
    }
}
