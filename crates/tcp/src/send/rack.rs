//! RACK: loss is inferred from the time since a segment was sent (RFC 8985 section 6). The scoreboard has the times.

use super::scoreboard::{Delivered, Transmission};
use wheel::{Duration, Instant};
use wire::SeqNum;

/// Segments `SACKed` that mean loss while no reordering was seen (RFC 8985 section 6.2, `DupThresh`).
const DUP_THRESHOLD: u32 = 3;
/// Recoveries without a `DSACK` after which the reordering window is what it was at first.
const PERSIST: u8 = 16;
/// How long a minimum of the round-trip time is believed (as Linux).
const MIN_RTT_FOR: Duration = Duration::from_secs(300);

/// What RACK knows of the path: kept as long as the connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    /// The least round-trip time, and when it was measured; zero if none was.
    min_rtt: Duration,
    measured: Instant,
    /// How far behind a segment was delivered that was not lost, segments, at most so far; 0 if reordering was never seen.
    reordering: u16,
    /// Acknowledgments that showed reordering.
    reordered: u16,
    /// The reordering window in quarters of the least round-trip time, less one.
    widened: u8,
    persist: u8,
    /// The window was widened in the round trip that ends here.
    dsack_round: Option<SeqNum>,
}

impl Path {
    pub(crate) const fn min_rtt(&self) -> Duration {
        self.min_rtt
    }

    /// The farthest reordering seen, segments, and how many acknowledgments showed any.
    pub(crate) const fn reordering(&self) -> (u16, u16) {
        (self.reordering, self.reordered)
    }

    /// The path reorders farther than loss looks like: then the window grows by what is delivered in whatever order, or each
    /// piece that overtakes another would be growth forgone (as Linux's `tcp_may_raise_cwnd`).
    pub(crate) const fn reorders(&self) -> bool {
        self.reordering as u32 > DUP_THRESHOLD
    }

    /// RFC 8985 section 6.2, step 1: a round-trip time that is not ambiguous.
    pub(crate) fn sample(&mut self, rtt: Duration, now: Instant) {
        if self.min_rtt.is_zero() || rtt <= self.min_rtt || now - self.measured > MIN_RTT_FOR {
            (self.min_rtt, self.measured) = (rtt, now);
        }
    }

    /// Steps 3 and 4: reordering and duplicates that an acknowledgment shows.
    pub(crate) fn observe(&mut self, delivered: &Delivered, una: SeqNum, snd_nxt: SeqNum, mss: u32) {
        if delivered.reordered > 0 {
            let extent = delivered.reordered.div_ceil(mss.max(1));
            self.reordering = self.reordering.max(u16::try_from(extent).unwrap_or(u16::MAX));
            self.reordered = self.reordered.saturating_add(1);
        }
        if self.dsack_round.is_some_and(|round| una.after_eq(round)) {
            self.dsack_round = None;
        }
        if delivered.duplicate.is_some() && self.dsack_round.is_none() {
            self.dsack_round = Some(snd_nxt);
            self.widened = self.widened.saturating_add(1);
            self.persist = PERSIST;
        }
    }

    /// A recovery is over.
    pub(crate) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.widened = 0;
        }
    }

    /// How long reordering is waited for (`RACK_update_reo_wnd`).
    pub(crate) fn reordering_window(&self, recovering: bool, sacked_segments: u32, srtt: Duration) -> Duration {
        if self.reordering == 0 && (recovering || sacked_segments >= DUP_THRESHOLD) {
            return Duration::ZERO;
        }
        (self.min_rtt * (u32::from(self.widened) + 1) / 4).min(srtt)
    }
}

/// What was delivered most recently of what is in flight.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latest {
    transmission: Option<Transmission>,
    rtt: Duration,
}

impl Latest {
    /// RFC 8985 section 6.2, step 2.
    pub(crate) fn advance(&mut self, delivered: &Delivered, now: Instant) {
        if let Some(sent) = delivered.sent {
            self.rtt = now - sent;
        }
        if let Some(latest) = delivered.latest.filter(|d| self.transmission.is_none_or(|t| d.after(t))) {
            self.transmission = Some(latest);
        }
    }

    pub(crate) const fn transmission(&self) -> Option<Transmission> {
        self.transmission
    }

    /// RACK.rtt: the round-trip time of what was delivered most recently.
    pub(crate) const fn rtt(&self) -> Duration {
        self.rtt
    }
}
