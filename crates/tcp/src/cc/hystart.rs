//! Slow start (RFC 5681 section 3.1) with HyStart++ (RFC 9406): the first slow start of a connection ends when the round-trip
//! time rises, before the queue that makes it rise is full.

use super::{Acked, Window};
use crate::config::Config;
use wheel::Duration;
use wire::SeqNum;

/// RFC 9406 section 4.3: `MAX_RTT_THRESH`, `MIN_RTT_DIVISOR`, `N_RTT_SAMPLE`, `CSS_GROWTH_DIVISOR`, `CSS_ROUNDS`, and L of a
/// sender that does not pace.
const MAX_RTT_THRESH: u32 = 16_000_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
const L: u32 = 8;
/// `MIN_RTT_THRESH`, and what it never falls below on a short path: a host's own jitter.
const MIN_RTT_THRESH: u32 = 4_000_000;
const JITTER: u32 = 16_000;

/// "Infinity": no round-trip time was measured. Round-trip times are nanoseconds, of 4.3 s at most.
const NONE: u32 = u32::MAX;

/// Slow start, and what it has seen of round-trip times.
#[derive(Debug, Clone)]
pub(crate) struct SlowStart {
    hystart: bool,
    /// The sender paces: L is infinite.
    paced: bool,
    /// A round has begun: there is a `window_end`.
    counts: bool,
    /// RTT samples of this round.
    samples: u8,
    /// Rounds begun in conservative slow start; 0 outside of it.
    css_rounds: u8,
    /// The round ends when this is acknowledged (`windowEnd`).
    window_end: SeqNum,
    last_round_min: u32,
    round_min: u32,
    /// `cssBaselineMinRtt`.
    baseline: u32,
}

/// That of a connection at rest.
#[derive(Debug)]
pub(crate) struct Resting {
    samples: u8,
    css_rounds: u8,
    counts: bool,
    window_end: SeqNum,
    last_round_min: u32,
    round_min: u32,
    baseline: u32,
}

impl SlowStart {
    /// What is kept of it, if it is as `config` says.
    pub(crate) fn resting(&self, config: &Config) -> Option<Resting> {
        let Self { hystart, paced, counts, samples, css_rounds, window_end, last_round_min, round_min, baseline } =
            *self;
        let kept = Resting { samples, css_rounds, counts, window_end, last_round_min, round_min, baseline };
        (hystart == config.hystart && paced == config.pacing).then_some(kept)
    }
}

impl Resting {
    pub(crate) const fn none() -> Self {
        let window_end = SeqNum::new(0);
        Self { samples: 0, css_rounds: 0, counts: false, window_end, last_round_min: 0, round_min: 0, baseline: 0 }
    }

    pub(crate) fn wake(self, config: &Config) -> SlowStart {
        let Self { samples, css_rounds, counts, window_end, last_round_min, round_min, baseline } = self;
        let (hystart, paced) = (config.hystart, config.pacing);
        SlowStart { hystart, paced, counts, samples, css_rounds, window_end, last_round_min, round_min, baseline }
    }
}

impl SlowStart {
    pub(crate) const fn new(hystart: bool, paced: bool) -> Self {
        Self {
            hystart,
            paced,
            counts: false,
            samples: 0,
            css_rounds: 0,
            window_end: SeqNum::new(0),
            last_round_min: NONE,
            round_min: NONE,
            baseline: NONE,
        }
    }

    /// Data is acknowledged that the window had limited. Returns the bytes that are left for congestion avoidance.
    pub(crate) fn on_ack(&mut self, window: &mut Window, acked: &Acked) -> u32 {
        if !window.in_slow_start() {
            return acked.bytes;
        }
        let mut step = acked.bytes;
        // Only the first slow start is HyStart++'s (section 4.3): later ones have a threshold that was found out.
        let first = self.hystart && window.ssthresh == u32::MAX;
        if first {
            if !self.paced {
                step = step.min(L * acked.mss);
            }
            if self.css_rounds > 0 {
                step /= CSS_GROWTH_DIVISOR;
            }
        }
        // RFC 3465 with L = 2 would be for delayed ACKs; whole batches are acknowledged at once here, as Linux counts.
        step = step.min(window.ssthresh - window.cwnd);
        window.cwnd = window.cwnd.saturating_add(step);
        if first {
            self.observe(window, acked);
            return 0;
        }
        acked.bytes - step
    }

    /// Section 4.2.
    fn observe(&mut self, window: &mut Window, acked: &Acked) {
        // Behind SND.NXT it is from long ago: while the window is not used nothing comes here, and half of the numbers went by.
        let round_ends = self.counts && (acked.una.after_eq(self.window_end) || self.window_end.after(acked.snd_nxt));
        if let Some(rtt) = acked.rtt {
            self.round_min = self.round_min.min(u32::try_from(rtt.as_nanos()).unwrap_or(NONE));
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            if self.css_rounds > 0 {
                if self.round_min < self.baseline {
                    // The exit was spurious: slow start goes on.
                    (self.css_rounds, self.baseline) = (0, NONE);
                }
            } else if self.delay_has_risen() {
                (self.css_rounds, self.baseline) = (1, self.round_min);
            }
        }
        if round_ends || !self.counts {
            (self.window_end, self.counts) = (acked.snd_nxt, true);
        }
        if round_ends {
            (self.last_round_min, self.round_min, self.samples) = (self.round_min, NONE, 0);
            if self.css_rounds == CSS_ROUNDS {
                self.css_rounds = 0;
                window.ssthresh = window.cwnd;
            } else if self.css_rounds > 0 {
                self.css_rounds += 1;
            }
        }
    }

    fn delay_has_risen(&self) -> bool {
        let last = self.last_round_min;
        last != NONE && self.round_min != NONE && self.round_min >= last.saturating_add(threshold(last))
    }
}

/// `RttThresh`. Below 16 ms it is a quarter of the round trip: while the window doubles so does the queue, a rise by the whole
/// round trip is never seen in one round, and a queue of 4 ms is longer than most that a short path has.
fn threshold(last_round_min: u32) -> u32 {
    let least = (last_round_min / 4).clamp(JITTER, MIN_RTT_THRESH);
    (last_round_min / MIN_RTT_DIVISOR).min(MAX_RTT_THRESH).max(least)
}

/// Keeps the unit of the constants: nanoseconds.
const _: () = assert!(Duration::from_millis(4).as_nanos() == MIN_RTT_THRESH as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cc::testing;
    use wheel::Instant;

    const MSS: u32 = 1000;

    /// RFC 9406 section 4.2: a round ends when windowEnd is acknowledged, however much was sent without using the window since.
    #[test]
    fn rounds_end_behind_two_gibibytes() {
        let mut slow = SlowStart::new(true, true);
        let mut window = Window { cwnd: 100 * MSS, ssthresh: u32::MAX };
        let mut ack = |una: SeqNum, ms| {
            let acked = testing::acked(Instant::ZERO, MSS, Duration::ZERO, MSS);
            slow.on_ack(
                &mut window,
                &Acked { una, snd_nxt: una + 10 * MSS, rtt: Some(Duration::from_millis(ms)), ..acked },
            );
            slow.window_end
        };
        assert_eq!(ack(SeqNum::new(0), 20), SeqNum::new(10 * MSS));
        let una = SeqNum::new((1 << 31) + 100 * MSS);
        assert_eq!(ack(una, 20), una + 10 * MSS);
    }

    /// A sender in its first slow start: every acknowledgment is one segment's.
    struct Path {
        slow: SlowStart,
        window: Window,
        una: SeqNum,
        snd_nxt: SeqNum,
    }

    impl Path {
        fn new(slow: SlowStart) -> Self {
            let una = SeqNum::new(u32::MAX - 5000);
            Self { slow, window: Window { cwnd: 10 * MSS, ssthresh: u32::MAX }, una, snd_nxt: una + 10 * MSS }
        }

        fn ack(&mut self, bytes: u32, rtt: Option<Duration>) {
            self.una += bytes;
            let acked = testing::acked(Instant::ZERO, bytes, Duration::ZERO, MSS);
            let left =
                self.slow.on_ack(&mut self.window, &Acked { una: self.una, snd_nxt: self.snd_nxt, rtt, ..acked });
            assert_eq!(left, 0, "nothing is left while ssthresh is not known");
            // What is less than a segment waits.
            self.snd_nxt = self.una + self.window.cwnd / MSS * MSS;
        }

        /// All that is in flight is acknowledged.
        fn flight(&mut self, rtt: Duration) {
            for _ in 0..self.snd_nxt.since(self.una) / MSS {
                self.ack(MSS, Some(rtt));
            }
        }

        /// The rest of a round: up to SND.NXT as it was when the one before ended. Returns its acknowledgments.
        fn round(&mut self, rtt: Duration) -> u32 {
            let acks = if self.slow.counts { self.slow.window_end } else { self.snd_nxt }.since(self.una) / MSS;
            for _ in 0..acks {
                self.ack(MSS, Some(rtt));
            }
            acks
        }
    }

    fn paced() -> Path {
        Path::new(SlowStart::new(true, true))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// RFC 9406 section 4.2: `RttThresh = max(MIN_RTT_THRESH, min(lastRoundMinRTT / MIN_RTT_DIVISOR, MAX_RTT_THRESH))`: 4 ms
    /// up to 32 ms, an eighth of 80 ms, 16 ms from 128 ms on.
    #[test]
    fn the_threshold_is_the_rfcs_from_16_milliseconds_on() {
        for (last, expected) in [(16, 4), (20, 4), (32, 4), (80, 10), (128, 16), (500, 16)] {
            assert_eq!(threshold(last * 1_000_000), expected * 1_000_000, "{last} ms");
        }
        // Ours: paths of 4 ms, 1 ms and 50 µs.
        assert_eq!((threshold(4_000_000), threshold(1_000_000)), (1_000_000, 250_000));
        assert_eq!((threshold(50_000), threshold(0)), (16_000, 16_000));
    }

    /// Section 4.2: as long as the delay does not rise a flight doubles the window.
    #[test]
    fn a_steady_path_doubles() {
        let mut path = paced();
        for n in 1..=6 {
            path.flight(ms(100));
            assert_eq!(path.window.cwnd, (10 * MSS) << n);
        }
        // 111 ms are less than 100 + 100 / 8.
        path.flight(ms(111));
        path.flight(ms(111));
        assert_eq!((path.window.cwnd, path.window.ssthresh), (2560 * MSS, u32::MAX));
    }

    /// Section 4.2: a rise by an eighth, with the eighth sample of the round: from there on a quarter of the growth, for the rest
    /// of this round and four more (`CSS_ROUNDS` = 5, a partial round counts); then ssthresh is the window.
    #[test]
    fn a_rise_ends_slow_start_after_five_rounds() {
        let mut path = paced();
        path.round(ms(100));
        assert_eq!(path.window.cwnd, 20 * MSS);
        for n in 1..=8 {
            path.ack(MSS, Some(Duration::from_micros(112_500)));
            assert_eq!(path.window.cwnd, (20 + n) * MSS);
        }
        for round in 1..=5 {
            assert_eq!(path.window.ssthresh, u32::MAX, "round {round}");
            let before = path.window.cwnd;
            let acks = path.round(ms(120));
            assert_eq!(path.window.cwnd, before + acks * MSS / 4, "round {round}");
        }
        assert_eq!(path.window.ssthresh, path.window.cwnd);
    }

    /// Section 4.2: a rise that was jitter: the minimum falls below what it was when conservative slow start began, and the
    /// window doubles again.
    #[test]
    fn a_spurious_exit_is_taken_back() {
        let mut path = paced();
        path.round(ms(100));
        path.round(ms(130));
        let before = path.window.cwnd;
        assert!(before < 36 * MSS);
        for n in 1..=8 {
            path.ack(MSS, Some(ms(105)));
            assert_eq!(path.window.cwnd, before + n * MSS / 4);
        }
        path.ack(MSS, Some(ms(105)));
        assert_eq!(path.window.cwnd, before + 2 * MSS + MSS);
        for _ in 0..10 {
            path.round(ms(105));
        }
        assert_eq!(path.window.ssthresh, u32::MAX);
    }

    /// Section 4.2: fewer than `N_RTT_SAMPLE` = 8 samples in a round prove nothing.
    #[test]
    fn seven_samples_are_too_few() {
        let mut path = paced();
        path.round(ms(100));
        for rtt in [200, 400, 800] {
            let before = path.window.cwnd;
            let end = path.slow.window_end;
            let mut acks = 0;
            while path.una.before(end) {
                path.ack(MSS, (acks < 7).then(|| ms(rtt)));
                acks += 1;
            }
            assert_eq!(path.window.cwnd, before + acks * MSS);
        }
    }

    /// Section 4.3: L is infinite for a sender that paces, 8 for one that doesn't; without HyStart++ nothing limits.
    #[test]
    fn what_one_acknowledgment_adds() {
        for (hystart, paced, expected) in [(true, true, 40), (true, false, 28), (false, false, 40)] {
            let mut path = Path::new(SlowStart::new(hystart, paced));
            path.window.cwnd = 20 * MSS;
            path.ack(20 * MSS, Some(ms(100)));
            assert_eq!(path.window.cwnd, expected * MSS);
        }
    }

    /// Section 4.3: only the first slow start; a later one doubles up to ssthresh whatever the delay.
    #[test]
    fn a_later_slow_start_is_not_watched() {
        let mut slow = SlowStart::new(true, true);
        let mut window = Window { cwnd: MSS, ssthresh: 64 * MSS };
        let mut una = SeqNum::new(0);
        let mut left = 0;
        for round in 0..7u64 {
            let nxt = una + window.cwnd;
            while una.before(nxt) {
                una += MSS;
                let acked = testing::acked(Instant::ZERO, MSS, Duration::ZERO, MSS);
                left += slow.on_ack(&mut window, &Acked { una, snd_nxt: nxt, rtt: Some(ms(100 << round)), ..acked });
            }
        }
        // 1 + 2 + ... + 64 segments are acknowledged, 63 of them fill the window up to 64.
        assert_eq!((window.cwnd, left), (64 * MSS, 64 * MSS));
    }

    /// A path of 50 µs: a rise by a quarter that is more than 16 µs ends slow start; the jitter of a host does not.
    #[test]
    fn short_paths_have_thresholds_of_their_own() {
        let us = Duration::from_micros;
        let mut path = paced();
        for rtt in [50, 65, 80, 101] {
            let before = path.window.cwnd;
            let acks = path.round(us(rtt));
            assert_eq!(path.window.cwnd < before + acks * MSS, rtt == 101);
        }
    }
}
