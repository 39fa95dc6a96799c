//! Small segments that are kept though nothing else would keep them, because the application says that more follows: until it
//! takes that back, or for one retransmission timeout (as Linux's `TCP_CORK` and `MSG_MORE`).

use super::Sender;
use crate::profile::Profile;

/// Whatever the application sends may be added to.
const ON: u8 = 1;
/// What it sent last will be added to: no PSH ends it.
const MORE: u8 = 2;
/// That keeps it: nothing has come between.
const KEPT: u8 = 4;
/// What is queued goes nevertheless.
const FLUSHED: u8 = 8;

/// What the application has said of what follows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cork(u8);

impl Cork {
    /// A segment smaller than the MSS that empties the queue waits.
    pub(crate) const fn keeps(self) -> bool {
        self.0 & (ON | KEPT) != 0 && self.0 & FLUSHED == 0
    }

    /// The last octet queued is the end of something.
    pub(crate) const fn ends(self) -> bool {
        self.0 & MORE == 0
    }
}

impl Sender {
    pub(crate) fn set_nodelay(&mut self, on: bool) {
        self.nodelay = on;
        if on {
            self.uncork_once();
        }
    }

    /// Sets what a profile sets of the sending half.
    pub(crate) fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
        self.burst_limit = 0;
        self.set_cork(false);
        self.set_nodelay(profile == Profile::Latency);
    }

    /// What is pushed next is the end of something, or `more` that belongs to it follows.
    pub(crate) fn follows(&mut self, more: bool) {
        let said = if more { MORE | KEPT } else { 0 };
        self.cork.0 = self.cork.0 & ON | said;
    }

    pub(crate) fn set_cork(&mut self, on: bool) {
        // What is taken off with the cork is all that was kept.
        self.cork.0 = if on { self.cork.0 | ON } else { self.cork.0 & MORE };
    }

    /// Nagle's algorithm is switched off: what is kept goes.
    pub(crate) fn uncork_once(&mut self) {
        self.cork.0 = self.cork.0 & !KEPT | FLUSHED;
    }

    /// The peer is heard: what was to be added has not come in time (Linux sends it then, unless the cork is on).
    pub(crate) fn cork_seen(&mut self) {
        self.cork.0 &= !KEPT;
    }
}
