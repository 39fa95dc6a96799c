//! SEND (RFC 9293 section 3.10.2), in its ways to give the bytes: one slice, several, or a reference.

use super::{Connection, Env, Error};
use crate::send::{COPIED_BELOW, Sender};
use bytes::Bytes;

/// What the application waits for after fewer than all bytes were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// It does not wait.
    Nothing,
    /// Room for a copy.
    Room,
    /// Room for a reference.
    Reference,
}

impl Connection {
    /// Takes bytes to send, as many as there is room for; after fewer than all an [`Event::Writable`](super::Event::Writable)
    /// follows.
    ///
    /// # Errors
    /// [`Error::BrokenPipe`] once writing is shut down, [`Error::NotConnected`] when the connection is over.
    #[inline]
    pub fn send(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> Result<usize, Error> {
        self.write(bytes.len(), Want::Room, false, |snd| snd.push(env, bytes))
    }

    /// As [`send`](Self::send), and says that more follows soon: a segment that is not full waits for it, until the next `send`,
    /// an acknowledgment, or for one retransmission timeout.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_more(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> Result<usize, Error> {
        self.write(bytes.len(), Want::Room, true, |snd| snd.push(env, bytes))
    }

    /// As one [`send`](Self::send) of all `parts`, one behind the other.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_vectored(&mut self, env: &mut Env<'_>, parts: &[&[u8]]) -> Result<usize, Error> {
        let offered = parts.iter().map(|part| part.len()).sum();
        self.write(offered, Want::Room, false, |snd| snd.push_parts(env, parts))
    }

    /// As [`send`](Self::send), without a copy: what is taken from the front of `bytes` is held by reference until all of it is
    /// acknowledged, or the connection is over. Fewer than 1,024 bytes are copied all the same.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_bytes(&mut self, env: &mut Env<'_>, bytes: &mut Bytes) -> Result<usize, Error> {
        let wait = if bytes.len() < COPIED_BELOW { Want::Room } else { Want::Reference };
        self.write(bytes.len(), wait, false, |snd| snd.push_bytes(env, bytes))
    }

    #[inline]
    fn write(
        &mut self,
        offered: usize,
        wait: Want,
        more: bool,
        push: impl FnOnce(&mut Sender) -> usize,
    ) -> Result<usize, Error> {
        if !self.state.may_send() || self.snd.is_closed() {
            return Err(if self.snd.is_closed() { Error::BrokenPipe } else { Error::NotConnected });
        }
        self.snd.follows(more);
        let taken = push(&mut self.snd);
        if taken < offered {
            self.want_write = wait;
        }
        Ok(taken)
    }

    /// There is room that the application waits for.
    pub(super) fn is_writable(&self, env: &Env<'_>) -> bool {
        self.want_write != Want::Nothing && self.snd.writable(env, self.want_write == Want::Reference)
    }
}
