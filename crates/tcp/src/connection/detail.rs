//! A look at a connection.

use super::{Connection, Env};
use crate::send::Detail;

impl Connection {
    /// What [`info`](Self::info) leaves out, for who looks for the reason of something: it counts what is in flight.
    #[must_use]
    pub fn detail(&self, env: &Env<'_>) -> Detail {
        let shift = self.scaled.then(|| self.rcv.shift());
        self.snd.detail(env.config, self.clock.is_on(), shift)
    }
}
