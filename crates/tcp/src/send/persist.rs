//! Probing a closed window: RFC 9293 section 3.8.6.1. The first probe comes after one RTO, the interval doubles.

use super::{Fin, Sender};
use crate::{config::Config, env::Env};
use wheel::{Duration, Instant};

/// A probe of the peer's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WindowProbe {
    /// None is due, and the last one was not answered.
    #[default]
    None,
    /// One is to be sent.
    Due,
    /// The last one was answered.
    Answered,
}

impl WindowProbe {
    /// The peer was heard.
    pub(crate) fn answered(&mut self) {
        if *self == Self::None {
            *self = Self::Answered;
        }
    }
}

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

impl Sender {
    /// The peer answers our probes: a closed window may stay closed for ever (MUST-37). But not to an orphan: its memory would be the
    /// peer's to hold.
    #[cold]
    pub(super) fn heard_while_probing(&mut self, env: &mut Env<'_>, (before, window): (u32, u32), orphan: bool) {
        if !orphan {
            self.silent_since = env.now;
            self.window_probe.answered();
        }
        let wanted = (self.queue.len() + u32::from(self.fin == Fin::Queued)).min(self.mss.into());
        if window >= wanted && before < wanted {
            // What is sent now has its own time.
            self.silent_since = env.now;
        }
        if window > 0 && window != before {
            self.window_opened(env.pool, env.now, (before, window));
        }
    }

    /// A probe of the peer's window is to be sent.
    #[inline]
    pub(super) fn probes_window(&self) -> bool {
        self.window_probe == WindowProbe::Due
    }

    pub(super) fn stop_probing(&mut self) {
        self.persist.stop();
        (self.window_probe, self.probes) = (WindowProbe::None, 0);
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
