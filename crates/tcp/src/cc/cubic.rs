//! CUBIC (RFC 9438). Sizes are bytes where the RFC has segments, times milliseconds.

use super::{Acked, Control, Signal, Window, hystart::SlowStart};
use wheel::{Duration, Instant};

/// beta, the factor of a reduction: 0.7 (section 4.6).
const BETA: (u32, u32) = (7, 10);
/// (1 + beta) / 2, for fast convergence (section 4.7).
const CONVERGENCE: (u32, u32) = (17, 20);
/// alpha of the Reno-friendly region, 3 * (1 - beta) / (1 + beta) = 9/17 (section 4.3).
const ALPHA: (u64, u64) = (9, 17);
/// No K is as long as that: (2^31 / (0.4 * 48))^(1/3) s is 8 minutes.
const LONGEST: u64 = 1_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Cubic {
    slow: SlowStart,
    /// The window at the last reduction: the plateau of the curve.
    w_max: u32,
    /// The window before the last reduction.
    prior: u32,
    /// When this stage of congestion avoidance began; moved on by the time the application left the window unused.
    epoch: Instant,
    /// When data was acknowledged last.
    heard: Instant,
    /// Milliseconds from the epoch to the plateau.
    k: u32,
    /// What Reno's window would be.
    w_est: u32,
    /// Parts of a byte of `w_est` and of the window: numerators over the window.
    est_credit: u32,
    credit: u32,
    /// A stage of congestion avoidance is under way.
    started: bool,
    /// The last reduction was a timeout's: the next stage starts at its plateau (section 4.8).
    timed_out: bool,
}

impl Cubic {
    pub(crate) const fn new(slow: SlowStart) -> Self {
        Self {
            slow,
            w_max: 0,
            prior: 0,
            epoch: Instant::ZERO,
            heard: Instant::ZERO,
            k: 0,
            w_est: 0,
            est_credit: 0,
            credit: 0,
            started: false,
            timed_out: false,
        }
    }

    pub(crate) const fn slow_start(&mut self) -> &mut SlowStart {
        &mut self.slow
    }

    /// Slow start, if that is all there was. (Times mean nothing before a stage of congestion avoidance has begun.)
    pub(crate) const fn only_slow_start(&self) -> Option<&SlowStart> {
        let untouched = !(self.started || self.timed_out) && self.w_max == 0 && self.prior == 0;
        if untouched { Some(&self.slow) } else { None }
    }

    /// A stage of congestion avoidance begins (section 4.2).
    fn start(&mut self, now: Instant, cwnd: u32, mss: u32) {
        (self.epoch, self.started) = (now, true);
        self.heard = now;
        if self.timed_out || cwnd >= self.w_max {
            self.k = 0;
            self.w_max = cwnd;
        } else {
            self.k = k_ms(self.w_max - cwnd, mss);
        }
        self.timed_out = false;
        self.w_est = cwnd;
        (self.credit, self.est_credit) = (0, 0);
    }

    /// Sections 4.2 to 4.5: `bytes` of what is acknowledged are congestion avoidance's.
    fn avoid(&mut self, window: &mut Window, acked: &Acked, bytes: u32) {
        let cwnd = window.cwnd.max(1);
        if !self.started {
            self.start(acked.now, cwnd, acked.mss);
        }
        self.heard = acked.now;
        // Figure 4: alpha is 1 once the old window is reached.
        let (num, den) = if self.w_est < self.prior { ALPHA } else { (1, 1) };
        let growth = u64::from(bytes) * u64::from(acked.mss) * num / den;
        self.w_est = self.w_est.saturating_add(share(&mut self.est_credit, growth, cwnd));
        let t = acked.now - self.epoch;
        if self.at(t, acked.mss) < self.w_est {
            window.cwnd = cwnd.max(self.w_est);
            return;
        }
        let target = self.at(t + acked.srtt, acked.mss).clamp(cwnd, cwnd.saturating_add(cwnd / 2));
        let growth = u64::from(target - cwnd) * u64::from(bytes);
        window.cwnd = cwnd.saturating_add(share(&mut self.credit, growth, cwnd));
    }

    /// `W_cubic(t)`: C * (t - K)^3 + `W_max`, C = 0.4 MSS/s^3 (figure 1).
    fn at(&self, t: Duration, mss: u32) -> u32 {
        let t = t.as_millis().min(LONGEST);
        let k = u64::from(self.k);
        let part = rise(t.abs_diff(k), mss);
        if t < k { self.w_max.saturating_sub(part) } else { self.w_max.saturating_add(part) }
    }

    /// The time since the last acknowledgment does not count.
    #[inline]
    fn pause(&mut self, now: Instant) {
        if !self.started {
            return;
        }
        self.epoch += now - self.heard;
        self.heard = now;
    }
}

impl Control for Cubic {
    fn on_ack(&mut self, window: &mut Window, acked: &Acked) {
        let rest = self.slow.on_ack(window, acked);
        if rest > 0 {
            self.avoid(window, acked, rest);
        }
    }

    /// Section 4.2.
    #[inline]
    fn on_unused_ack(&mut self, now: Instant) {
        self.pause(now);
    }

    /// Sections 4.6 to 4.8. The window is reduced, not the flight: it does not grow while it is not used.
    fn on_congestion(&mut self, window: &Window, signal: Signal, _: u32) -> u32 {
        let cwnd = window.cwnd;
        self.started = false;
        self.w_max = if cwnd < self.w_max { scale(cwnd, CONVERGENCE) } else { cwnd };
        self.prior = cwnd;
        self.timed_out = signal == Signal::Timeout;
        scale(cwnd, BETA)
    }

    fn on_restart(&mut self, now: Instant, reduced: bool) {
        self.pause(now);
        // Slow start comes first, and behind it a stage of its own.
        self.started &= !reduced;
    }
}

/// C * `t`^3 in bytes: `t` milliseconds cubed are 10^-9 s^3. With 64 bits: `t` is `LONGEST` at most.
fn rise(t: u64, mss: u32) -> u32 {
    const PARTS: u64 = 2_500_000_000;
    // 60,000^3 * 2^16 is less than 2^64; beyond that a part is less than a thousandth of a percent.
    let part = if t < 60_000 { t.pow(3) * u64::from(mss) / PARTS } else { t.pow(3) / PARTS * u64::from(mss) };
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// `growth` / `cwnd` in whole bytes; what is left is kept in `credit`.
fn share(credit: &mut u32, growth: u64, cwnd: u32) -> u32 {
    let sum = growth.saturating_add((*credit).into());
    // A remainder is less than the divisor.
    *credit = u32::try_from(sum % u64::from(cwnd)).unwrap_or(0);
    u32::try_from(sum / u64::from(cwnd)).unwrap_or(u32::MAX)
}

fn scale(bytes: u32, (num, den): (u32, u32)) -> u32 {
    u32::try_from(u64::from(bytes) * u64::from(num) / u64::from(den)).unwrap_or(u32::MAX)
}

/// K in milliseconds: the cube root of `bytes` / C (figure 2).
fn k_ms(bytes: u32, mss: u32) -> u32 {
    // 10^9 ms^3/s^3 / 0.4
    let cube = u64::from(bytes).saturating_mul(2_500_000_000) / u64::from(mss.max(1));
    let mut root = 0u64;
    for bit in (0..21).rev() {
        let next = root | (1 << bit);
        if next.pow(3) <= cube {
            root = next;
        }
    }
    u32::try_from(root).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::{Cubic, k_ms, rise};

    const MSS: u32 = 1000;
    const RTT: Duration = Duration::from_millis(100);

    fn acked(now: Instant, bytes: u32) -> Acked {
        testing::acked(now, bytes, RTT, MSS)
    }

    fn at_window(cwnd: u32) -> Congestion {
        let mut c = testing::congestion(Kind::Cubic);
        c.open(MSS, 0);
        c.set_window(cwnd);
        c
    }

    fn cubic(c: &Congestion) -> &Cubic {
        match &c.controller {
            Controller::Cubic(cubic) => cubic,
            Controller::NewReno(_) => panic!("not CUBIC"),
        }
    }

    /// One round trip: a window is acknowledged segment by segment.
    fn round(c: &mut Congestion, now: &mut Instant) {
        let segments = c.window() / MSS;
        for n in 0..segments {
            c.on_ack(&acked(*now + RTT * n / segments, MSS));
        }
        *now += RTT;
    }

    /// RFC9438-4.10-a: below ssthresh the window grows by what is acknowledged, and by the curve only from there on.
    #[test]
    fn slow_start_below_ssthresh() {
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Timeout, 100 * MSS, MSS);
        c.set_window(MSS);
        let mut now = Instant::ZERO + RTT;
        for expected in [2, 4, 8, 16, 32, 64] {
            round(&mut c, &mut now);
            assert_eq!(c.window(), expected * MSS);
        }
        assert!(c.in_slow_start());
        // Six segments more are 70; the other 58 of this round trip are the curve's, which is flat at its plateau.
        round(&mut c, &mut now);
        assert!(!c.in_slow_start());
        assert!((70 * MSS..72 * MSS).contains(&c.window()), "{}", c.window());
    }

    /// MAY-18: who is configured steers: a loss takes three tenths, or half of what is in flight.
    #[test]
    fn the_controller_is_configured() {
        for (kind, expected) in [(Kind::Cubic, 70), (Kind::NewReno, 50)] {
            let mut c = testing::congestion(kind);
            c.open(MSS, 0);
            c.set_window(100 * MSS);
            c.reduce(Signal::Loss, 100 * MSS, MSS);
            assert_eq!(c.ssthresh(), expected * MSS);
        }
        assert_eq!(Kind::default(), Kind::Cubic);
    }

    /// RFC9438-4.6-a: 100 segments become 70, 2 stay 2 for a loss, and 1 for ECN.
    #[test]
    fn a_loss_takes_three_tenths() {
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Loss, 100 * MSS, MSS);
        assert_eq!(c.ssthresh(), 70 * MSS);
        let mut c = at_window(2 * MSS);
        c.reduce(Signal::Loss, 2 * MSS, MSS);
        assert_eq!(c.ssthresh(), 2 * MSS);
        let mut c = at_window(MSS);
        c.reduce(Signal::Ecn, MSS, MSS);
        assert_eq!(c.ssthresh(), MSS);
    }

    /// RFC9438-4.7-a: losses at 100 and then at 80 segments: the next plateau is at 80 * 0.85 = 68.
    #[test]
    fn fast_convergence_lowers_the_plateau() {
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Loss, 100 * MSS, MSS);
        assert_eq!(cubic(&c).w_max, 100 * MSS);
        c.set_window(80 * MSS);
        c.reduce(Signal::Loss, 80 * MSS, MSS);
        assert_eq!(cubic(&c).w_max, 68 * MSS);
    }

    /// RFC9438-4.4-a: the window follows 0.4 * (t - K)^3 + `W_max`, K = cbrt(300 / 0.4) = 9.086 s, within half a percent; it
    /// grows by half each round trip at most.
    #[test]
    fn the_window_follows_the_curve() {
        assert_eq!(k_ms(300 * MSS, MSS), 9085);
        let mut c = at_window(1000 * MSS);
        c.reduce(Signal::Loss, 1000 * MSS, MSS);
        c.set_window(c.ssthresh());
        let start = Instant::ZERO + Duration::from_secs(7);
        let mut now = start;
        for _ in 0..150 {
            let before = c.window();
            round(&mut c, &mut now);
            assert!(c.window() <= before + before / 2);
            let t = (now - start).as_secs_f64();
            let curve = 0.4 * (t - 9.0856).powi(3) + 1000.0;
            let cwnd = f64::from(c.window()) / f64::from(MSS);
            assert!((cwnd - curve).abs() < 5.0, "{cwnd} and {curve} at {t}");
        }
        assert!(c.window() > 1080 * MSS, "beyond the plateau it probes");
    }

    /// RFC9438-4.3-a: where CUBIC is slower than Reno would be, the window is `W_est`: 9/17 MSS each round trip.
    #[test]
    fn the_window_is_never_below_renos() {
        let mut c = at_window(20 * MSS);
        c.reduce(Signal::Loss, 20 * MSS, MSS);
        c.set_window(c.ssthresh());
        let rtt = Duration::from_millis(1);
        let mut now = Instant::ZERO + rtt;
        let mut rounds = 0.0;
        for _ in 0..11 {
            for _ in 0..c.window() / MSS {
                c.on_ack(&Acked { srtt: rtt, ..acked(now, MSS) });
            }
            now += rtt;
            rounds += 1.0;
            let est = 14_000.0 + 1000.0 * 9.0 / 17.0 * rounds;
            assert!((f64::from(c.window()) - est).abs() < 600.0, "{} and {est}", c.window());
        }
        // Back at the old window after 6 / (9/17) = 11.3 round trips; from there on one MSS each.
        let before = c.window();
        for _ in 0..12 {
            for _ in 0..c.window() / MSS {
                c.on_ack(&Acked { srtt: rtt, ..acked(now, MSS) });
            }
            now += rtt;
        }
        assert!((10 * MSS..=12 * MSS).contains(&(c.window() - before)), "{before} {}", c.window());
    }

    /// RFC9438-4.2-a: ten seconds without anything to send do not make the window jump.
    #[test]
    fn idle_time_does_not_count() {
        let run = |idle: u64| {
            let mut c = at_window(100 * MSS);
            c.reduce(Signal::Loss, 100 * MSS, MSS);
            c.set_window(c.ssthresh());
            let mut now = Instant::ZERO + RTT;
            for _ in 0..20 {
                round(&mut c, &mut now);
            }
            for _ in 0..idle {
                now += RTT;
                c.on_unused_ack(now);
            }
            round(&mut c, &mut now);
            c.window()
        };
        assert!(run(100).abs_diff(run(0)) <= MSS);
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Loss, 100 * MSS, MSS);
        c.set_window(c.ssthresh());
        let mut now = Instant::ZERO + RTT;
        round(&mut c, &mut now);
        let before = c.window();
        now += Duration::from_secs(10);
        c.on_restart(now, Duration::from_secs(10), Duration::from_secs(20), MSS);
        round(&mut c, &mut now);
        assert!(c.window() - before < 3 * MSS, "{before} {}", c.window());
    }

    /// RFC9438-4.8-a: behind a timeout slow start goes up to 0.7 of the window, and the curve starts at its plateau.
    #[test]
    fn a_timeout_starts_the_next_stage_at_its_plateau() {
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Timeout, 100 * MSS, MSS);
        c.set_window(MSS);
        assert_eq!(c.ssthresh(), 70 * MSS);
        let mut now = Instant::ZERO + RTT;
        for _ in 0..7 {
            round(&mut c, &mut now);
        }
        assert!(!c.in_slow_start());
        round(&mut c, &mut now);
        assert_eq!(cubic(&c).k, 0);
        assert!(cubic(&c).w_max.abs_diff(70 * MSS) <= MSS);
    }

    /// Figure 1: 0.4 segments per cubic second, in whole bytes, from a millisecond to a quarter of an hour.
    #[test]
    fn the_cube_is_exact() {
        for (ms, mss, expected) in [
            (1, 1460, 0),
            (100, 1460, 0),
            (1000, 1460, 584),
            (10_000, 1460, 584_000),
            (59_999, 1000, 86_395_680),
            (60_000, 1000, 86_400_000),
            (60_000, u16::MAX.into(), u32::MAX),
            (1_000_000, 1, 400_000_000),
            (1_000_000, 1460, u32::MAX),
        ] {
            assert_eq!(rise(ms, mss), expected, "{ms} ms");
        }
        // Figure 2: K = cbrt((1000 - 700) / 0.4) s; and the longest there is.
        assert_eq!((k_ms(300_000, 1000), k_ms(0, 1000)), (9085, 0));
        assert_eq!(k_ms(u32::MAX, 536), 271_588);
    }

    /// RFC9438-4.3-a at 50 µs and 10^5 segments: each acknowledgment adds less than a byte, and after 2,000 round trips `W_est`
    /// has grown by 2,000 * 9/17 = 1,058.8 segments.
    #[test]
    fn small_shares_add_up() {
        const SEGMENT: u32 = 1460;
        let mut c = at_window(100_000 * SEGMENT);
        c.reduce(Signal::Loss, 100_000 * SEGMENT, SEGMENT);
        c.set_window(c.ssthresh());
        let rtt = Duration::from_micros(50);
        let mut now = Instant::ZERO + rtt;
        for _ in 0..2000 {
            let mut left = c.window();
            while left > 0 {
                let bytes = left.min(64 * SEGMENT);
                c.on_ack(&Acked { srtt: rtt, mss: SEGMENT, ..acked(now, bytes) });
                left -= bytes;
            }
            now += rtt;
        }
        let grown = f64::from(c.window() - 70_000 * SEGMENT) / f64::from(SEGMENT);
        assert!((grown - 1058.8).abs() < 2.0, "{grown}");
    }

    /// Windows of 1 GiB and more: nothing overflows, nothing shrinks.
    #[test]
    fn the_largest_windows() {
        for kind in [Kind::Cubic, Kind::NewReno] {
            for mss in [536, u16::MAX.into()] {
                let mut c = testing::congestion(kind);
                c.open(mss, 0);
                c.set_window(1 << 30);
                c.reduce(Signal::Loss, 1 << 30, mss);
                c.set_window(1 << 30);
                let mut now = Instant::ZERO + RTT;
                for _ in 0..200 {
                    let before = c.window();
                    c.on_ack(&Acked { mss, ..acked(now, 1 << 30) });
                    assert!(c.window() >= before);
                    now += Duration::from_secs(3);
                }
                c.set_window(u32::MAX);
                c.on_ack(&Acked { mss, ..acked(now, u32::MAX) });
                assert_eq!(c.window(), u32::MAX);
            }
        }
    }

    /// Section 4.9: undone, everything is as it was: the window goes on as if there had been no reduction.
    #[test]
    fn an_undone_reduction_leaves_no_trace() {
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Loss, 100 * MSS, MSS);
        c.set_window(c.ssthresh());
        let mut now = Instant::ZERO + RTT;
        for _ in 0..10 {
            round(&mut c, &mut now);
        }
        let kept = c.clone();
        c.reduce(Signal::Timeout, 100 * MSS, MSS);
        c.set_window(MSS);
        assert!(c.ssthresh() < kept.window() && cubic(&c).w_max < cubic(&kept).w_max);
        let (mut undone, mut other) = (kept.clone(), kept);
        let mut then = now;
        for _ in 0..60 {
            round(&mut undone, &mut now);
            round(&mut other, &mut then);
            assert_eq!((undone.window(), undone.ssthresh()), (other.window(), other.ssthresh()));
        }
        assert!(undone.window() > 100 * MSS, "{}", undone.window());
    }

    /// Section 4.2: a rest that took the window down is followed by slow start and a stage of its own: no jump to where the old
    /// one had come. One that is counted twice would begin it in the future.
    #[test]
    fn a_rest_begins_a_stage_of_its_own() {
        let mut c = at_window(100 * MSS);
        c.reduce(Signal::Loss, 100 * MSS, MSS);
        c.set_window(c.ssthresh());
        let mut now = Instant::ZERO + RTT;
        for _ in 0..40 {
            round(&mut c, &mut now);
        }
        let before = c.window();
        assert!(before > 95 * MSS);
        let idle = Duration::from_secs(10);
        now += idle;
        c.on_restart(now, idle, Duration::from_millis(300), MSS);
        assert_eq!((c.window(), c.ssthresh()), (10 * MSS, before / 4 * 3));
        c.on_unused_ack(now + RTT);
        assert!(cubic(&c).epoch <= now + RTT);
        now += RTT;
        let mut last = c.window();
        for _ in 0..20 {
            round(&mut c, &mut now);
            assert!(c.window() <= 2 * last, "{} and {last}", c.window());
            if last > c.ssthresh() {
                assert!(c.window() < last + last / 10, "{} and {last}", c.window());
            }
            last = c.window();
        }
    }
}
