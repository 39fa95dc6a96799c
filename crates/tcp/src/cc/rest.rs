//! The congestion window of a connection at rest.

use super::{Congestion, Controller, Window, hystart};
use crate::config::Config;
use wheel::Duration;

/// That of a connection which has only known slow start, under the controller that is configured.
#[derive(Debug)]
pub(crate) struct Resting {
    window: Window,
    slow: hystart::Resting,
}

impl Congestion {
    /// The short form; `None` if the controller knows more than slow start does.
    pub(crate) fn resting(&self, config: &Config) -> Option<Resting> {
        let configured = Self::new(config);
        let slow = match (&self.controller, &configured.controller) {
            (Controller::NewReno(reno), Controller::NewReno(_)) => reno.only_slow_start()?,
            (Controller::Cubic(cubic), Controller::Cubic(_)) => cubic.only_slow_start()?,
            _ => return None,
        };
        Some(Resting { window: self.window, slow: slow.resting(config)? })
    }
}

impl Resting {
    /// For who keeps the long form.
    pub(crate) const fn none() -> Self {
        Self { window: Window { cwnd: 0, ssthresh: 0 }, slow: hystart::Resting::none() }
    }

    /// The window, and ssthresh.
    pub(crate) const fn window(&self) -> (u32, u32) {
        (self.window.cwnd, self.window.ssthresh)
    }

    /// What is left to the window by both controllers.
    pub(crate) fn pacing_rate(&self, srtt: Duration) -> u64 {
        self.window.per_round_trip(srtt)
    }

    pub(crate) fn wake(self, config: &Config) -> Congestion {
        let mut congestion = Congestion::new(config);
        congestion.window = self.window;
        *dispatch!(&mut congestion.controller, c => c.slow_start()) = self.slow.wake(config);
        congestion
    }
}
