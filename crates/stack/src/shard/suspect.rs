//! A next hop that may be gone: RFC 9293 section 3.8.3, R1 (MUST-20), RFC 1122 section 2.3.2.1.

use super::{Instant, Shard};
use crate::neighbour::Hop;

impl Shard {
    /// A connection has sent one segment again and again: its next hop is asked for its MAC address anew. The one we have
    /// stays in use meanwhile: the fault may lie anywhere on the path.
    pub(super) fn suspect(&mut self, now: Instant, slot: u32) {
        let Some((remote, vlan)) = self.entry(slot).map(|entry| (entry.key.remote().ip(), entry.vlan())) else {
            return;
        };
        let Some(next_hop) = self.routes.next_hop(remote) else { return };
        let question = self.neighbours.suspect(now, Hop::new(next_hop, vlan));
        self.ask_for(question);
    }
}
