//! Probing a closed window: RFC 9293 section 3.8.6.1. The first probe comes after one RTO, the interval doubles.

use crate::config::Config;
use wheel::{Duration, Instant};

/// Armed while the peer's window keeps queued data back and nothing is in flight that would bring an ACK.
#[derive(Debug, Clone, Default)]
pub(crate) struct Persist {
    deadline: Option<Instant>,
}

impl Persist {
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Arms the timer if it is not; `rto` is the current retransmission timeout.
    pub(crate) fn arm(&mut self, now: Instant, rto: Duration) {
        if self.deadline.is_none() {
            self.deadline = Some(now + rto);
        }
    }

    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    /// A probe is due at `now`, which with it are so many: the next comes after twice the interval, at most the largest RTO.
    pub(crate) fn expired(&mut self, probes: u8, now: Instant, rto: Duration, config: &Config) {
        self.deadline = Some(now + (rto * (1u32 << probes.min(16))).min(config.max_rto));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHLD-30.
    #[test]
    fn the_interval_doubles_up_to_the_largest_rto() {
        let config = Config::default();
        let rto = Duration::from_secs(1);
        let mut persist = Persist::default();
        let mut now = Instant::ZERO;
        persist.arm(now, rto);
        persist.arm(now + rto, rto);
        for (seconds, probes) in [1, 2, 4, 8, 16, 32, 64, 120, 120].into_iter().zip(1..) {
            let next = persist.deadline().expect("armed");
            assert_eq!(next - now, Duration::from_secs(seconds));
            now = next;
            persist.expired(probes, now, rto, &config);
        }
        persist.stop();
        assert_eq!(persist.deadline(), None);
    }
}
