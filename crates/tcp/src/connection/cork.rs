//! More follows: `TCP_CORK` of Linux.

use super::Connection;

impl Connection {
    /// While on, a segment that is not full waits for more, even with Nagle's algorithm switched off: until this is switched
    /// off again, until the application closes, or for one retransmission timeout. Switching Nagle's algorithm off sends what
    /// waits at that time.
    pub fn set_cork(&mut self, on: bool) {
        self.snd.set_cork(on);
    }
}
