//! The retransmission timeout of RFC 6298.

use super::rest::short;
use crate::config::Config;
use wheel::Duration;

/// The granularity G of the clock: one tick of the wheel.
const GRANULARITY: Duration = Duration::from_nanos(1024);
/// RFC 6298 (5.7): the RTO with which data begins when the SYN had to be sent again.
const AFTER_LOST_SYN: Duration = Duration::from_secs(3);

/// SRTT, RTTVAR, and the back-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rto {
    /// There was a sample.
    measured: bool,
    srtt: Duration,
    rttvar: Duration,
    rto: Duration,
    /// Doublings since the last sample.
    backoff: u8,
    /// Timeouts since the last acknowledgment of new data.
    timeouts: u8,
}

impl Rto {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            measured: false,
            srtt: Duration::ZERO,
            rttvar: Duration::ZERO,
            rto: config.initial_rto,
            backoff: 0,
            timeouts: 0,
        }
    }

    /// The current timeout, backed off.
    pub(crate) fn timeout(&self, config: &Config) -> Duration {
        let rto = if self.backoff == 0 { self.rto } else { self.rto * (1u32 << self.backoff.min(20)) };
        rto.min(config.max_rto)
    }

    /// The smoothed round-trip time, `None` before the first sample.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.measured.then_some(self.srtt)
    }

    /// RTTVAR.
    pub(crate) const fn rttvar(&self) -> Duration {
        self.rttvar
    }

    /// Doublings since the last sample.
    pub(crate) const fn backoff(&self) -> u8 {
        self.backoff
    }

    /// How often in a row the timer has expired.
    pub(crate) const fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// RFC 6298 (5.5): the timer expired.
    pub(crate) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
        self.timeouts = self.timeouts.saturating_add(1);
    }

    /// The timer of our SYN expired: the first times it may be configured not to back off.
    pub(crate) fn back_off_syn(&mut self, config: &Config) {
        if self.timeouts < config.syn_linear_timeouts {
            self.timeouts += 1;
        } else {
            self.back_off();
        }
    }

    /// New data is acknowledged. The back-off stays until there is a sample again, as Karn's algorithm has it and as RFC 6298
    /// section 5 notes behind (5.7): the path may have become slower than the timeout.
    pub(crate) fn acknowledged(&mut self) {
        self.timeouts = 0;
    }

    /// The timer expired for nothing.
    pub(crate) fn forget_back_off(&mut self) {
        (self.backoff, self.timeouts) = (0, 0);
    }

    /// The handshake is over; RFC 6298 (5.7) if our SYN was sent more than once.
    pub(crate) fn established(&mut self, config: &Config) {
        if self.timeouts > 0 {
            self.rto = AFTER_LOST_SYN.max(config.min_rto);
        }
        self.forget_back_off();
    }

    /// SRTT and RTTVAR in nanoseconds, zero before the first sample, if all the rest follows from them.
    pub(crate) fn resting(&self, config: &Config) -> Option<(u32, u32)> {
        let (srtt, rttvar) = (short(self.srtt)?, short(self.rttvar)?);
        (Self::woken(self.measured.then_some((srtt, rttvar)), config) == *self).then_some((srtt, rttvar))
    }

    /// That of SRTT and RTTVAR in nanoseconds, if there was a sample.
    pub(crate) fn woken(measured: Option<(u32, u32)>, config: &Config) -> Self {
        let mut rto = Self::new(config);
        if let Some((srtt, rttvar)) = measured {
            rto.measured = true;
            (rto.srtt, rto.rttvar) = (Duration::from_nanos(srtt.into()), Duration::from_nanos(rttvar.into()));
            rto.compute(config);
        }
        rto
    }

    /// RFC 6298 (2.2) and (2.3).
    pub(crate) fn sample(&mut self, r: Duration, config: &Config) {
        if !self.measured {
            (self.measured, self.srtt) = (true, r);
            self.rttvar = r / 2;
        } else {
            let error = if self.srtt > r { self.srtt - r } else { r - self.srtt };
            self.rttvar = (self.rttvar * 3 + error) / 4;
            self.srtt = (self.srtt * 7 + r) / 8;
        }
        self.compute(config);
        self.backoff = 0;
    }

    fn compute(&mut self, config: &Config) {
        // Linux's floor lies under the variance alone, so that the timeout exceeds the round trip by the time a peer may sit
        // on its ACK: with both under one floor each delayed ACK of a path of 180 ms would be a timeout. It never falls
        // below `min_rto`, as (2.4) asks.
        let rto = self.srtt + (self.rttvar * 4).max(config.min_rto).max(GRANULARITY);
        self.rto = rto.min(config.max_rto);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config() -> Config {
        Config::new(Settings { min_rto: Duration::from_millis(1), ..Settings::default() }).expect("valid")
    }

    /// MUST-18, RFC6298-2.1-a, RFC6298-2.2-a, RFC6298-2.3-a, RFC6298-3-b.
    #[test]
    fn samples_follow_the_formulas() {
        let config = config();
        let mut rto = Rto::new(&config);
        assert_eq!(rto.timeout(&config), Duration::from_secs(1));
        // (2.2): SRTT = R = 100 ms, RTTVAR = R/2 = 50 ms, RTO = 100 + 4 * 50 = 300 ms.
        rto.sample(Duration::from_millis(100), &config);
        assert_eq!((rto.srtt(), rto.timeout(&config)), (Some(Duration::from_millis(100)), Duration::from_millis(300)));
        // (2.3) with R' = 140: RTTVAR = 3/4 * 50 + 1/4 * 40 = 47.5, SRTT = 7/8 * 100 + 1/8 * 140 = 105, RTO = 295.
        rto.sample(Duration::from_millis(140), &config);
        assert_eq!((rto.srtt(), rto.timeout(&config)), (Some(Duration::from_millis(105)), Duration::from_millis(295)));
    }

    /// MUST-19, RFC6298-2.5-a, RFC6298-5.5-a.
    #[test]
    fn back_off_doubles_and_is_limited() {
        let config = Config::default();
        let mut rto = Rto::new(&config);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
            assert_eq!(rto.timeout(&config), Duration::from_secs(seconds));
            rto.back_off();
        }
        for _ in 0..300 {
            rto.back_off();
        }
        assert_eq!(rto.timeout(&config), config.max_rto);
    }

    /// RFC6298-2.4-a.
    #[test]
    fn the_floor_holds() {
        let config = Config::default();
        let mut rto = Rto::new(&config);
        rto.sample(Duration::from_micros(5), &config);
        assert_eq!(rto.timeout(&config), Duration::from_micros(200_005));
    }

    /// A steady path of 180 ms: its variance fades, the margin for a delayed ACK stays (Linux's `__tcp_set_rto`).
    #[test]
    fn the_floor_is_a_margin_above_the_round_trip() {
        let config = Config::default();
        let mut rto = Rto::new(&config);
        for _ in 0..100 {
            rto.sample(Duration::from_millis(180), &config);
        }
        assert_eq!(rto.timeout(&config), Duration::from_millis(380));
    }

    /// RFC6298-5.7-a.
    #[test]
    fn a_lost_syn_makes_data_begin_with_three_seconds() {
        let config = Config::default();
        let mut rto = Rto::new(&config);
        rto.back_off();
        rto.established(&config);
        assert_eq!(rto.timeout(&config), Duration::from_secs(3));
    }

    /// A rest keeps SRTT and RTTVAR, if the timeout is what follows from them: not behind a lost SYN, nor backed off, nor on a
    /// path of seconds.
    #[test]
    fn what_does_not_follow_is_not_left_out() {
        let config = Config::default();
        let mut rto = Rto::new(&config);
        assert_eq!(rto.resting(&config), Some((0, 0)));
        rto.back_off();
        rto.established(&config);
        assert_eq!((rto.timeout(&config), rto.resting(&config)), (Duration::from_secs(3), None));
        rto.sample(Duration::from_millis(8), &config);
        assert_eq!(rto.resting(&config), Some((8_000_000, 4_000_000)));
        assert_eq!(Rto::woken(Some((8_000_000, 4_000_000)), &config), rto);
        rto.back_off();
        assert_eq!(rto.resting(&config), None);
        rto.sample(Duration::from_secs(50), &config);
        assert_eq!(rto.resting(&config), None);
    }
}
