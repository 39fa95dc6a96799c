//! A look at a connection.

use super::{Connection, Env, Instant};
use crate::send::{Detail, sooner};

impl Connection {
    /// What [`info`](Self::info) leaves out, for who looks for the reason of something: it counts what is in flight.
    #[must_use]
    pub fn detail(&self, env: &Env<'_>) -> Detail {
        let shift = self.scaled.then(|| self.rcv.shift());
        self.snd.detail(env.config, self.clock.is_on(), shift)
    }

    /// The timer that is due first, the one listed before of two at the same time.
    pub(super) fn timer(&self) -> Option<(&'static str, Instant)> {
        let mut first = None;
        self.timers(|name, at| first = sooner(first, name, at));
        first
    }
}
