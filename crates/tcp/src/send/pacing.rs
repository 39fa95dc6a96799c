//! Pacing: what the congestion window lets out leaves in bursts with a pause behind each, so that no queue has to take a whole
//! window at once. The controller says how fast.
//!
//! Not held back are the initial window's worth (RFC 6928 lets that out at once, whatever is known of the path), the first
//! lost segment, a probe, and what carries no data. Nor is anything on a path that is so short that the wait would be less
//! than what a timer is late by.

use super::{Cut, Sender};
use crate::{cc::initial_window, config::Config, env::Env, profile::Profile};
use wheel::{Duration, Instant};

/// A burst is what the rate takes in this time, as Linux has it (`sk_pacing_shift`), ...
const BURST: Duration = Duration::from_millis(1);
/// ... at least two segments, and at most as many bytes.
const MOST: u64 = 64 << 10;
/// How much of the time that a timer is late by is given back: a sleeping loop's timers have a resolution of a millisecond.
const LATE: Duration = Duration::from_millis(2);
/// Paths with a shorter round trip are not paced.
pub(super) const SHORT_PATH: Duration = Duration::from_micros(100);

/// When the next burst may leave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pacer {
    /// Nothing leaves before, once the burst is used up.
    next: Instant,
    /// Bytes of the burst that have not left.
    left: u32,
    /// There is something to send then: the timer runs.
    waiting: bool,
    /// Something had to wait, so the time a burst is late by is not the application's.
    behind: bool,
}

impl Pacer {
    /// Whether the next segment has to wait.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.left == 0 && now < self.next
    }

    /// Bytes of the burst that is leaving, 0 if none is.
    fn rest(&self, now: Instant) -> u32 {
        if now < self.next { self.left } else { 0 }
    }

    /// Nothing waits, and the pause behind the last burst is over.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        !self.waiting && self.next <= now
    }

    /// A segment does wait.
    pub(super) fn wait(&mut self) {
        (self.waiting, self.behind) = (true, true);
    }

    /// When what waits may leave.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.then_some(self.next)
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.waiting &= now < self.next;
    }

    /// `bytes` were sent. A burst has `most` bytes, but two segments in any case; `rate` is asked for, in bytes per
    /// second, when one begins.
    fn sent(&mut self, now: Instant, bytes: u32, mss: u32, most: u64, rate: impl FnOnce() -> u64) {
        if now < self.next {
            if self.left == 0 {
                // What does not wait takes its time all the same.
                self.next += time(bytes.into(), rate());
            }
            self.left = self.left.saturating_sub(bytes);
            return;
        }
        // What an earlier burst has left is forgotten, but for the time its successor is late by.
        let rate = rate();
        let late = if self.behind { (now - self.next).min(LATE) } else { Duration::ZERO };
        let burst = bytes_in(BURST, rate).min(most).max(2 * u64::from(mss));
        self.next = now + time(burst, rate);
        self.left = u32::try_from(burst + bytes_in(late, rate)).unwrap_or(u32::MAX).saturating_sub(bytes);
        (self.waiting, self.behind) = (false, false);
    }
}

/// What `rate` takes in a time.
fn bytes_in(time: Duration, rate: u64) -> u64 {
    rate / 1_000_000 * time.as_micros() + rate % 1_000_000 * time.as_micros() / 1_000_000
}

/// How long `rate` takes for so many bytes (2^32 * 10^9 is less than 2^64).
fn time(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / rate.max(1))
}

impl Sender {
    /// Whether a segment has to wait, with so much in flight.
    pub(super) fn is_held(&self, now: Instant, in_flight: u32) -> bool {
        self.pacer.holds(now) && in_flight + self.smss() > initial_window(self.smss())
    }

    /// It does wait; a timer runs if the window has room for it.
    pub(super) fn hold(&mut self, room: u32) -> Option<Cut> {
        if room >= self.smss() {
            self.pacer.wait();
        }
        None
    }

    pub(super) fn is_paced(&self, config: &Config) -> bool {
        config.pacing && self.path.min_rtt() >= SHORT_PATH && self.rto.srtt().is_some()
    }

    /// How many segments that follow each other may leave at once, with so much in flight before them: all that don't count, or
    /// the rest of the burst.
    pub(super) fn unpaced(&self, env: &Env<'_>, in_flight: u32) -> u32 {
        let (mss, holds, paced) = (self.smss(), self.pacer.holds(env.now), self.is_paced(env.config));
        let free = initial_window(mss).saturating_sub(in_flight) / mss;
        if !paced && !holds {
            u32::MAX
        } else if free > 0 {
            free
        } else if paced {
            self.pacer.rest(env.now).div_ceil(mss)
        } else {
            0
        }
    }

    /// Segments of so many `bytes` together, of those that may leave [unpaced](Self::unpaced), were sent.
    pub(super) fn pace_followers(&mut self, env: &Env<'_>, bytes: u32, in_flight: u32) {
        if self.is_paced(env.config) && in_flight > initial_window(self.smss()) {
            self.pacer.left = self.pacer.left.saturating_sub(bytes);
        }
    }

    /// `bytes` were sent, and now so much is in flight.
    pub(super) fn pace(&mut self, env: &Env<'_>, bytes: u32, in_flight: u32) {
        let mss = self.smss();
        if !self.is_paced(env.config) || in_flight <= initial_window(mss) {
            return;
        }
        let Some(srtt) = self.rto.srtt() else { return };
        let most = if self.profile == Profile::Latency { 0 } else { MOST };
        self.pacer.sent(env.now, bytes, mss, most, || self.congestion.pacing_rate(srtt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    const MSS: u32 = 1000;

    fn us(us: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(us)
    }

    /// Sends whenever it is allowed to; a timer is late by `late`. Returns when each segment left, in microseconds.
    fn send(pacer: &mut Pacer, rate: u64, segments: usize, begin: Instant, late: Duration) -> Vec<u64> {
        send_in(pacer, MOST, rate, segments, begin, late)
    }

    fn send_in(pacer: &mut Pacer, most: u64, rate: u64, segments: usize, begin: Instant, late: Duration) -> Vec<u64> {
        let mut now = begin;
        let mut times = vec![];
        while times.len() < segments {
            if pacer.holds(now) {
                pacer.wait();
                now = pacer.deadline().expect("it waits") + late;
                pacer.on_timeout(now);
                assert_eq!(pacer.deadline(), None);
            } else {
                pacer.sent(now, MSS, MSS, most, || rate);
                times.push((now - Instant::ZERO).as_micros());
            }
        }
        times
    }

    /// 1 MB/s: two segments at least leave at once, and the next two when they have taken their 2 ms.
    #[test]
    fn slow_paths_get_two_segments_at_a_time() {
        let times = send(&mut Pacer::default(), 1_000_000, 6, us(0), Duration::ZERO);
        assert_eq!(times, [0, 0, 2000, 2000, 4000, 4000]);
    }

    /// 10 MB/s: a segment takes 100 µs.
    #[test]
    fn for_latency_two_segments_at_a_time_on_any_path() {
        let times = send_in(&mut Pacer::default(), 0, 10_000_000, 6, us(0), Duration::ZERO);
        assert_eq!(times, [0, 0, 200, 200, 400, 400]);
    }

    /// 10 MB/s: ten segments each millisecond. 1 GB/s: 64 KiB, 66 segments, each 65.5 µs.
    #[test]
    fn a_burst_is_a_milliseconds_worth_or_64_kib() {
        let times = send(&mut Pacer::default(), 10_000_000, 25, us(0), Duration::ZERO);
        let expected: Vec<u64> = (0..25).map(|n| n / 10 * 1000).collect();
        assert_eq!(times, expected);
        let times = send(&mut Pacer::default(), 1_000_000_000, 133, us(0), Duration::ZERO);
        assert_eq!((times[0], times[65], times[66], times[131], times[132]), (0, 0, 65, 65, 131));
    }

    /// What leaves though it should wait takes its time from what does wait.
    #[test]
    fn what_does_not_wait_is_counted() {
        let mut pacer = Pacer::default();
        for _ in 0..3 {
            pacer.sent(us(0), MSS, MSS, MOST, || 1_000_000);
        }
        assert!(pacer.holds(us(2999)) && !pacer.holds(us(3000)));
    }

    /// Timers that are 1 ms late cost nothing of the rate: 1 GB/s is 1,000 segments in a millisecond.
    #[test]
    fn a_late_timer_is_made_up_for() {
        let times = send(&mut Pacer::default(), 1_000_000_000, 10_000, us(0), Duration::from_millis(1));
        assert!((9_000..=11_000).contains(&times[9_999]), "{}", times[9_999]);
    }

    /// An application that sends nothing for a while has not saved up anything.
    #[test]
    fn a_rest_gives_no_credit() {
        let mut pacer = Pacer::default();
        send(&mut pacer, 10_000_000, 10, us(0), Duration::ZERO);
        let times = send(&mut pacer, 10_000_000, 20, us(50_000), Duration::ZERO);
        let expected: Vec<u64> = (0..20).map(|n| 50_000 + n / 10 * 1000).collect();
        assert_eq!(times, expected);
    }
}
