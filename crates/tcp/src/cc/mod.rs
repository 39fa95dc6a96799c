//! Congestion control: a controller hears events and answers with a window and a pacing rate.
//!
//! A controller is one file with a [`Control`]. What all of them share is here: the initial window, validation after a rest,
//! the floors of ssthresh. How the window comes down step by step is proportional rate reduction's (`send::prr`), and undoing
//! is a copy of the whole kept from before (RFC 9438 section 4.9): a controller needs no event for it.

mod cubic;
mod hystart;
mod newreno;
mod usage;

use crate::config::{Config, Congestion as Kind};
use cubic::Cubic;
use hystart::SlowStart;
use newreno::NewReno;
pub(crate) use rest::Resting;
pub(crate) use usage::Usage;
use wheel::{Duration, Instant};
use wire::SeqNum;

/// New data is acknowledged, no reduction is under way, and it was the window that had held data back: only then may it grow
/// (RFC 7661, RFC 9438 section 4.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    pub(crate) now: Instant,
    /// SND.UNA behind it, and SND.NXT: what rounds are counted by.
    pub(crate) una: SeqNum,
    pub(crate) snd_nxt: SeqNum,
    /// Bytes newly delivered.
    pub(crate) bytes: u32,
    /// The round-trip time this acknowledgment shows, if it shows one.
    pub(crate) rtt: Option<Duration>,
    /// Smoothed round-trip time, zero if unknown.
    pub(crate) srtt: Duration,
    /// Effective MSS, bytes.
    pub(crate) mss: u32,
}

/// Why the window is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Segments were lost.
    Loss,
    /// The network says it is congested (RFC 3168).
    Ecn,
    /// The retransmission timer expired.
    Timeout,
}

/// The window and slow-start threshold, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) cwnd: u32,
    /// `u32::MAX` before the first sign of congestion.
    pub(crate) ssthresh: u32,
}

impl Window {
    const fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Linux's pacing of a window: twice of it each round trip while it doubles, then a fifth more than it, so that pacing
    /// never is what limits. Bytes per second.
    fn per_round_trip(&self, srtt: Duration) -> u64 {
        let percent = if self.cwnd < self.ssthresh / 2 { 200 } else { 120 };
        // 2^32 * 200 * 10^7 is less than 2^64.
        u64::from(self.cwnd) * percent * 10_000_000 / srtt.as_nanos().max(1)
    }
}

/// A congestion controller: events in; the window, ssthresh and the pacing rate out.
pub(crate) trait Control {
    /// Data is acknowledged that the window had held back, and no reduction is under way.
    fn on_ack(&mut self, window: &mut Window, acked: &Acked);

    /// Data is acknowledged, and no reduction is under way, but the application leaves the window unused.
    fn on_unused_ack(&mut self, _now: Instant) {}

    /// A sign of congestion with `flight` bytes outstanding: ssthresh, without its floor.
    fn on_congestion(&mut self, window: &Window, signal: Signal, flight: u32) -> u32;

    /// Data is sent again after nothing was outstanding; `reduced` if so long that the window was.
    fn on_restart(&mut self, _now: Instant, _reduced: bool) {}

    /// Bytes per second at which a window is spread over the round trip.
    fn pacing_rate(&self, window: &Window, srtt: Duration) -> u64 {
        window.per_round_trip(srtt)
    }
}

/// The controllers; an enum dispatches.
#[derive(Debug, Clone)]
enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
}

macro_rules! dispatch {
    ($controller:expr, $c:ident => $call:expr) => {
        match $controller {
            Controller::NewReno($c) => $call,
            Controller::Cubic($c) => $call,
        }
    };
}

mod rest;

/// The congestion window of a connection and who steers it.
#[derive(Debug, Clone)]
pub(crate) struct Congestion {
    window: Window,
    controller: Controller,
}

impl Congestion {
    pub(crate) fn new(config: &Config) -> Self {
        let slow = SlowStart::new(config.hystart, config.pacing);
        let controller = match config.congestion {
            Kind::NewReno => Controller::NewReno(NewReno::new(slow)),
            Kind::Cubic => Controller::Cubic(Cubic::new(slow)),
        };
        Self { window: Window { cwnd: 0, ssthresh: u32::MAX }, controller }
    }

    /// The handshake is over and the effective MSS known. RFC 6928: min(10 MSS, max(2 MSS, 14600)); one segment if the SYN
    /// was lost twice (RFC 5681 section 3.1, as RFC 6928 relaxes it).
    pub(crate) fn open(&mut self, mss: u32, lost_syns: u8) {
        self.window = Window { cwnd: if lost_syns > 1 { mss } else { initial_window(mss) }, ssthresh: u32::MAX };
    }

    /// Bytes that may be in flight.
    pub(crate) const fn window(&self) -> u32 {
        self.window.cwnd
    }

    pub(crate) const fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    pub(crate) const fn in_slow_start(&self) -> bool {
        self.window.in_slow_start()
    }

    /// Bytes per second at which the window is to be sent.
    pub(crate) fn pacing_rate(&self, srtt: Duration) -> u64 {
        dispatch!(&self.controller, c => c.pacing_rate(&self.window, srtt))
    }

    /// A reduction sets the window itself, step by step.
    pub(crate) fn set_window(&mut self, bytes: u32) {
        self.window.cwnd = bytes;
    }

    /// The effective MSS has changed: neither window nor ssthresh is less than one segment.
    pub(crate) fn hold_a_segment(&mut self, mss: u32) {
        self.window.cwnd = self.window.cwnd.max(mss);
        self.window.ssthresh = self.window.ssthresh.max(mss);
    }

    pub(crate) fn on_ack(&mut self, acked: &Acked) {
        dispatch!(&mut self.controller, c => c.on_ack(&mut self.window, acked));
    }

    /// The same where the application leaves the window unused.
    #[inline]
    pub(crate) fn on_unused_ack(&mut self, now: Instant) {
        dispatch!(&mut self.controller, c => c.on_unused_ack(now));
    }

    /// Sets ssthresh because of a signal with `flight` bytes outstanding; the window is the caller's to bring down.
    pub(crate) fn reduce(&mut self, signal: Signal, flight: u32, mss: u32) {
        let least = if signal == Signal::Ecn { mss } else { 2 * mss };
        let ssthresh = dispatch!(&mut self.controller, c => c.on_congestion(&self.window, signal, flight));
        self.window.ssthresh = ssthresh.max(least);
    }

    /// Data is sent again after `idle`, during which nothing was. As Linux's `tcp_cwnd_restart`: the window is halved for each
    /// RTO of it, down to the initial window (RFC 5681 section 4.1, gentler for short rests); ssthresh remembers three
    /// quarters of what it was (RFC 7661 section 4.4.1), so that slow start goes back there.
    #[inline]
    pub(crate) fn on_restart(&mut self, now: Instant, idle: Duration, rto: Duration, mss: u32) {
        let reduced = idle > rto && self.window.cwnd > initial_window(mss);
        dispatch!(&mut self.controller, c => c.on_restart(now, reduced));
        if reduced {
            let (cwnd, restart) = (self.window.cwnd, initial_window(mss));
            self.window.ssthresh = self.window.ssthresh.max(cwnd / 4 * 3);
            let halvings = (idle.as_nanos() - 1) / rto.as_nanos().max(1);
            self.window.cwnd = (cwnd >> halvings.min(31)).max(restart);
        }
    }
}

/// RFC 6928.
pub(crate) const fn initial_window(mss: u32) -> u32 {
    let (most, least) = (10 * mss, 2 * mss);
    let least = if least > 14_600 { least } else { 14_600 };
    if most < least { most } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// Linux's `tcp_cwnd_restart` with a window of 100 segments: nothing up to one RTO, half for each RTO begun behind that, the
    /// initial window at least; ssthresh is three quarters of the old window, if it was less.
    #[test]
    fn a_rest_halves_the_window_for_each_rto() {
        let rto = Duration::from_millis(200);
        for (ms, cwnd) in [
            (1, 100_000),
            (200, 100_000),
            (201, 50_000),
            (400, 50_000),
            (401, 25_000),
            (601, 12_500),
            (801, 10_000),
            (1 << 40, 10_000),
        ] {
            for (ssthresh, after) in [(60, 75), (90, 90)] {
                let mut c = testing::congestion(Kind::Cubic);
                c.window = Window { cwnd: 100 * MSS, ssthresh: ssthresh * MSS };
                c.on_restart(Instant::ZERO, Duration::from_millis(ms), rto, MSS);
                let after = if cwnd == 100_000 { ssthresh } else { after };
                assert_eq!((c.window(), c.ssthresh()), (cwnd, after * MSS), "{ms} ms");
            }
        }
        // What is below the initial window already stays.
        let mut c = testing::congestion(Kind::NewReno);
        c.window = Window { cwnd: 3 * MSS, ssthresh: u32::MAX };
        c.on_restart(Instant::ZERO, rto * 100, rto, MSS);
        assert_eq!((c.window(), c.ssthresh()), (3 * MSS, u32::MAX));
    }

    /// Linux's `tcp_update_pacing_rate`: a window of 100 segments over 100 ms is 1 MB/s; twice that below half of ssthresh, else
    /// 1.2 times. No overflow with the largest window and the shortest round trip.
    #[test]
    fn the_pacing_rate_is_the_windows_and_a_margin() {
        for kind in [Kind::Cubic, Kind::NewReno] {
            let mut c = testing::congestion(kind);
            let rate = |c: &Congestion| c.pacing_rate(Duration::from_millis(100));
            for (ssthresh, expected) in
                [(u32::MAX, 2_000_000), (201 * MSS, 2_000_000), (200 * MSS, 1_200_000), (0, 1_200_000)]
            {
                c.window = Window { cwnd: 100 * MSS, ssthresh };
                assert_eq!(rate(&c), expected);
            }
            c.window = Window { cwnd: u32::MAX / 2, ssthresh: u32::MAX };
            assert!(c.pacing_rate(Duration::from_nanos(1)) > 1 << 60);
        }
    }
}

#[cfg(test)]
mod testing {
    use super::{Acked, Congestion, Kind};
    use crate::config::{Config, Settings};
    use wheel::{Duration, Instant};
    use wire::SeqNum;

    /// A controller of a connection without HyStart++.
    pub(super) fn congestion(congestion: Kind) -> Congestion {
        let settings = Settings { congestion, hystart: false, ..Settings::default() };
        Congestion::new(&Config::new(settings).expect("valid"))
    }

    /// An acknowledgment that shows no round-trip time, of data that the window had limited.
    pub(super) fn acked(now: Instant, bytes: u32, srtt: Duration, mss: u32) -> Acked {
        let una = SeqNum::new(0);
        Acked { now, una, snd_nxt: una, bytes, rtt: None, srtt, mss }
    }
}
