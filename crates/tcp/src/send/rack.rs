//! RACK: loss is inferred from the time since a segment was sent (RFC 8985 section 6). The scoreboard has the times.

use super::{
    rest::short,
    scoreboard::{Delivered, Transmission},
};
use crate::turns::Turns;
use wheel::{Duration, Instant};
use wire::SeqNum;

/// Segments `SACKed` that mean loss while no reordering was seen (RFC 8985 section 6.2, `DupThresh`).
const DUP_THRESHOLD: u32 = 3;
/// Recoveries without a `DSACK` after which the reordering window is what it was at first.
const PERSIST: u8 = 16;
/// How long a minimum of the round-trip time is believed (as Linux).
const MIN_RTT_FOR: Duration = Duration::from_secs(300);

/// What RACK knows of the path: kept as long as the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// Of SND.UNA. (Here is room for it.)
    pub(super) turns: Turns,
}

impl Path {
    pub(crate) const fn min_rtt(&self) -> Duration {
        self.min_rtt
    }

    /// The least round-trip time in nanoseconds, and when it was measured, if there is nothing else to keep.
    pub(crate) fn resting(&self) -> Option<(u32, Instant)> {
        let min_rtt = short(self.min_rtt)?;
        (Self::woken(min_rtt, self.measured) == *self).then_some((min_rtt, self.measured))
    }

    pub(crate) fn woken(min_rtt: u32, measured: Instant) -> Self {
        Self { min_rtt: Duration::from_nanos(min_rtt.into()), measured, ..Self::default() }
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
        if delivered.duplicate.is_some() {
            self.duplicated(una, snd_nxt);
        } else {
            self.passed(una);
        }
    }

    /// Something has arrived twice: of a round trip the first such word widens the window.
    pub(crate) fn duplicated(&mut self, una: SeqNum, snd_nxt: SeqNum) {
        self.passed(una);
        if self.dsack_round.is_none() {
            self.dsack_round = Some(snd_nxt);
            self.widened = self.widened.saturating_add(1);
            self.persist = PERSIST;
        }
    }

    /// SND.UNA is `una`: a round trip may have ended.
    #[inline]
    pub(crate) fn passed(&mut self, una: SeqNum) {
        if self.dsack_round.is_some_and(|round| una.after_eq(round)) {
            self.dsack_round = None;
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
        if let Some(latest) = delivered.latest {
            self.note(latest);
        }
    }

    /// The same where nothing was sent again: `last` was sent last of what is delivered.
    pub(crate) fn heard_of(&mut self, last: Transmission, now: Instant) {
        self.rtt = now - last.sent;
        self.note(last);
    }

    fn note(&mut self, latest: Transmission) {
        if self.transmission.is_none_or(|t| latest.after(t)) {
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

#[cfg(test)]
mod tests {
    use super::{super::scoreboard::Scoreboard, *};

    const MS: Duration = Duration::from_millis(1);

    fn seq(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn nothing() -> Delivered {
        Scoreboard::default().delivered(at(0))
    }

    fn with(change: impl FnOnce(&mut Delivered)) -> Delivered {
        let mut delivered = nothing();
        change(&mut delivered);
        delivered
    }

    fn duplicate() -> Delivered {
        with(|d| d.duplicate = Some((seq(1), seq(1001))))
    }

    /// A path of 40 ms, with a smoothed round-trip time of 100 ms.
    fn path() -> Path {
        let mut path = Path::default();
        path.sample(MS * 40, at(0));
        path
    }

    fn window(path: &Path) -> Duration {
        path.reordering_window(false, 0, MS * 100)
    }

    /// RFC8985-6.2-b, `RACK_update_reo_wnd`: a quarter of the least round trip; none once three segments are `SACKed`, or in
    /// recovery, unless reordering was seen.
    #[test]
    fn the_window_is_a_quarter_of_the_round_trip_or_nothing() {
        let mut path = path();
        assert_eq!(window(&path), MS * 10);
        assert_eq!(path.reordering_window(false, 2, MS * 100), MS * 10);
        assert_eq!(path.reordering_window(false, 3, MS * 100), Duration::ZERO);
        assert_eq!(path.reordering_window(true, 0, MS * 100), Duration::ZERO);
        path.observe(&with(|d| d.reordered = 1000), seq(1), seq(9), 1000);
        assert_eq!(path.reordering_window(true, 7, MS * 100), MS * 10);
    }

    /// RFC 8985 section 6.2, step 4: each round trip with a DSACK widens it by a quarter, up to SRTT; 16 recoveries later it is
    /// what it was, and a DSACK in between counts anew.
    #[test]
    fn duplicates_widen_it_and_recoveries_narrow_it() {
        let mut path = path();
        path.observe(&duplicate(), seq(1), seq(10_001), 1000);
        assert_eq!(window(&path), MS * 20);
        // The same round trip: SND.NXT was 10,001.
        path.observe(&duplicate(), seq(10_000), seq(20_001), 1000);
        assert_eq!(window(&path), MS * 20);
        path.observe(&duplicate(), seq(10_001), seq(30_001), 1000);
        assert_eq!(window(&path), MS * 30);
        for round in 3..40 {
            path.observe(&duplicate(), seq(10_000 * round + 1), seq(10_000 * (round + 1) + 1), 1000);
        }
        assert_eq!(window(&path), MS * 100, "SRTT at most");
        for _ in 0..15 {
            path.recovered();
        }
        path.observe(&duplicate(), seq(1_000_001), seq(1_010_001), 1000);
        for recoveries in 1..=16 {
            assert_eq!(window(&path), MS * 100, "{recoveries} recoveries");
            path.recovered();
        }
        assert_eq!(window(&path), MS * 10);
        path.recovered();
        assert_eq!(window(&path), MS * 10);
    }

    /// Section 6.2, step 1: the least round-trip time of five minutes (Linux's `tcp_min_rtt_wlen`).
    #[test]
    fn a_minimum_is_believed_for_five_minutes() {
        let mut path = path();
        path.sample(MS * 90, at(299_000));
        assert_eq!(path.min_rtt(), MS * 40);
        path.sample(MS * 30, at(299_500));
        path.sample(MS * 90, at(599_500));
        assert_eq!(path.min_rtt(), MS * 30);
        path.sample(MS * 90, at(599_501));
        assert_eq!(path.min_rtt(), MS * 90);
    }

    /// Section 6.2, step 2: the transmission sent last counts, of two sent at once the one farther behind; `RACK.rtt` is of what
    /// this acknowledgment delivered.
    #[test]
    fn the_latest_transmission_counts() {
        let mut latest = Latest::default();
        let deliver = |sent: u64, end: u32| {
            let sent = at(sent);
            with(|d| (d.sent, d.latest) = (Some(sent), Some(Transmission { sent, end: seq(end) })))
        };
        latest.advance(&deliver(10, 2001), at(50));
        assert_eq!(latest.rtt(), MS * 40);
        for (sent, end, then) in
            [(10, 1001, (10, 2001)), (10, 3001, (10, 3001)), (5, 9001, (10, 3001)), (11, 1001, (11, 1001))]
        {
            latest.advance(&deliver(sent, end), at(60));
            assert_eq!(latest.transmission(), Some(Transmission { sent: at(then.0), end: seq(then.1) }));
        }
        latest.advance(&nothing(), at(90));
        assert_eq!(latest.rtt(), MS * 49);
    }

    /// A rest keeps the least round-trip time alone: what was seen of reordering makes a path that is kept in full.
    #[test]
    fn a_path_that_reorders_is_not_left_out() {
        let at = Instant::ZERO + Duration::from_secs(9);
        let mut path = Path::default();
        path.sample(Duration::from_micros(70), at);
        assert_eq!(path.resting(), Some((70_000, at)));
        assert_eq!(Path::woken(70_000, at), path);
        path.reordering = 1;
        assert_eq!(path.resting(), None);
    }
}
