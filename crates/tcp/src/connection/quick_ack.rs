//! Acknowledgments that wait for an answer (`TCP_QUICKACK`).

use super::{Connection, Env};

impl Connection {
    /// Whether the first segments of a connection, those behind a loss and the peer's FIN are acknowledged at once, as they are
    /// by default; off, the acknowledgment waits a millisecond for an answer to go with.
    pub fn set_quick_ack(&mut self, env: &Env<'_>, on: bool) {
        self.rcv.set_quick_ack(env, on);
    }
}
