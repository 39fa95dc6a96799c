//! What a connection is for: all that a profile sets, at once, and Nagle's algorithm by itself.

use super::{Connection, Env};
use crate::profile::Profile;

impl Connection {
    /// Switches Nagle's algorithm off (RFC 9293 MUST-17).
    pub fn set_nodelay(&mut self, on: bool) {
        self.snd.set_nodelay(on);
    }

    /// Sets what a [`Profile`] sets, whatever was set before: Nagle's algorithm, quick ACKs and the cork among it.
    pub fn set_profile(&mut self, env: &Env<'_>, profile: Profile) {
        self.snd.set_profile(profile);
        self.rcv.set_profile(env, profile);
    }
}
