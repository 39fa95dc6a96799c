//! Congestion avoidance of RFC 5681 section 3.1.

use super::{Acked, Control, Signal, Window, hystart::SlowStart};

#[derive(Debug, Clone)]
pub(crate) struct NewReno {
    slow: SlowStart,
    /// Bytes acknowledged since the window last grew.
    credit: u32,
}

impl NewReno {
    pub(crate) const fn new(slow: SlowStart) -> Self {
        Self { slow, credit: 0 }
    }

    pub(crate) const fn slow_start(&mut self) -> &mut SlowStart {
        &mut self.slow
    }

    /// Slow start, if that is all there was.
    pub(crate) fn only_slow_start(&self) -> Option<&SlowStart> {
        (self.credit == 0).then_some(&self.slow)
    }
}

impl Control for NewReno {
    /// One MSS for each window acknowledged.
    fn on_ack(&mut self, window: &mut Window, acked: &Acked) {
        let rest = self.slow.on_ack(window, acked);
        self.credit = self.credit.saturating_add(rest);
        while self.credit >= window.cwnd.max(1) {
            self.credit -= window.cwnd.max(1);
            window.cwnd = window.cwnd.saturating_add(acked.mss);
        }
    }

    /// RFC 5681 (4): half of the flight. What limited transmit sent beyond the window does not count (section 3.2).
    fn on_congestion(&mut self, window: &Window, _: Signal, flight: u32) -> u32 {
        self.credit = 0;
        flight.min(window.cwnd) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    const MSS: u32 = 1000;

    fn acked(bytes: u32) -> Acked {
        testing::acked(Instant::ZERO, bytes, Duration::ZERO, MSS)
    }

    fn open() -> Congestion {
        let mut c = testing::congestion(Kind::NewReno);
        c.open(MSS, 0);
        c
    }

    /// RFC5681-3.1-a.
    #[test]
    fn initial_window_is_rfc_6928s() {
        for (mss, expected) in [(536, 5360), (1460, 14_600), (4000, 14_600), (8960, 17_920)] {
            let mut c = testing::congestion(Kind::NewReno);
            c.open(mss, 1);
            assert_eq!(c.window(), expected, "MSS {mss}");
            c.open(mss, 2);
            assert_eq!(c.window(), mss, "MSS {mss} after two lost SYNs");
        }
    }

    /// MUST-19, RFC5681-3.1-c, RFC5681-3.1-d, RFC5681-3.1-e.
    #[test]
    fn slow_start_doubles_and_congestion_avoidance_adds_one_mss() {
        let mut c = open();
        c.on_ack(&acked(10_000));
        assert_eq!(c.window(), 20_000);
        // Not used: no growth.
        c.on_unused_ack(Instant::ZERO);
        assert_eq!(c.window(), 20_000);
        c.reduce(Signal::Timeout, 20_000, MSS);
        c.set_window(MSS);
        assert_eq!(c.ssthresh(), 10_000);
        for _ in 0..9 {
            c.on_ack(&acked(1000));
        }
        assert_eq!(c.window(), 10_000);
        c.on_ack(&acked(10_000));
        assert_eq!(c.window(), 11_000);
        c.reduce(Signal::Loss, 3000, MSS);
        assert_eq!(c.ssthresh(), 2000, "2 MSS at least");
    }
}
