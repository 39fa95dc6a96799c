//! More follows: `TCP_CORK` and `MSG_MORE` of Linux.

use super::{Connection, Env, Error};

impl Connection {
    /// As [`send`](Self::send), and says that more follows soon: a segment that is not full waits for it, until the next `send`,
    /// an acknowledgment, or for one retransmission timeout.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_more(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> Result<usize, Error> {
        self.take_bytes(env, bytes, true)
    }

    /// While on, a segment that is not full waits for more, even with Nagle's algorithm switched off: until this is switched
    /// off again, until the application closes, or for one retransmission timeout. Switching Nagle's algorithm off sends what
    /// waits at that time.
    pub fn set_cork(&mut self, on: bool) {
        self.snd.set_cork(on);
    }
}
