//! Segments of a large write that leave one behind the other: what they have in common is done once, for many of them, as
//! segmentation offload does.

use super::{Env, Instant, Shard, output::BURST};
use core::fmt;
use tcp::Train;
use wire::{
    eth, ipv6,
    tcp::{Header, renumber},
};

/// Headers of a frame, all but the payload; at most.
const MOST_HEADERS: usize = eth::Header::MAX_LEN + ipv6::Header::LEN + Header::MAX_LEN;

/// Where frames go: the rings of a device, a buffer behind the other.
pub trait Frames {
    /// The buffer that the next frame is written into, the same until one was: `None` while there is no room.
    fn buffer(&mut self) -> Option<&mut [u8]>;

    /// In the first `len` bytes of the buffer is a frame. Of its checksum is left what
    /// [`checksum_left`](Shard::checksum_left) says.
    fn push(&mut self, len: usize, checksum_left: Option<(u16, u16)>);
}

/// Room for one.
pub(super) struct One<'a> {
    pub(super) frame: &'a mut [u8],
    pub(super) len: Option<usize>,
}

impl Frames for One<'_> {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        if self.len.is_none() { Some(self.frame) } else { None }
    }

    fn push(&mut self, len: usize, _: Option<(u16, u16)>) {
        self.len = Some(len);
    }
}

/// A frame with a full segment that others like it follow: with the same headers but for the sequence number and the checksum.
/// (The identification of IP is always the same.)
pub(super) struct Model {
    headers: [u8; MOST_HEADERS],
    /// Where the TCP header begins, where the payload does, and the length of it all.
    at: usize,
    payload_at: usize,
    len: usize,
    /// What their checksums have in common, if they are not left to who sends them.
    common: Option<u64>,
    pub(super) followers: u32,
}

impl fmt::Debug for Model {
    /// What is left of the last one means nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

impl Default for Model {
    fn default() -> Self {
        Self { headers: [0; MOST_HEADERS], at: 0, payload_at: 0, len: 0, common: None, followers: 0 }
    }
}

impl Model {
    /// So many follow `frame`, of which the TCP header begins `at`, with a payload of `payload_len` bytes.
    pub(super) fn of(&mut self, followers: u32, frame: &[u8], (at, payload_len): (usize, usize), common: Option<u64>) {
        let payload_at = frame.len() - payload_len;
        self.headers[..payload_at].copy_from_slice(&frame[..payload_at]);
        (self.at, self.payload_at, self.len) = (at, payload_at, frame.len());
        (self.common, self.followers) = (common, followers);
    }

    /// Writes the next of them, into a frame of its length.
    #[inline]
    fn write(&self, frame: &mut [u8], train: &mut Train<'_, '_>) {
        frame[..self.payload_at].copy_from_slice(&self.headers[..self.payload_at]);
        let seq = train.next(&mut frame[self.payload_at..]);
        renumber(&mut frame[self.at..], self.payload_at - self.at, seq, self.common);
    }
}

impl Shard {
    /// The frames like the one that was written last, in the same turn, as far as there are buffers for them.
    #[inline(never)] // what is sent most often is one segment
    pub(super) fn send_followers(&mut self, now: Instant, frames: &mut impl Frames) {
        let followers = core::mem::take(&mut self.model.followers);
        // Replies go first: its neighbour may have been asked for just now.
        if !self.replies.is_empty() {
            return;
        }
        let most = followers.min(BURST - self.burst);
        let slot = self.dirty.front().copied().unwrap_or(u32::MAX);
        let Some(entry) = self.conns.get_mut(slot) else { return };
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let (mut train, mut sent) = (entry.conn.train(&env), 0);
        while sent < most
            && let Some(frame) = frames.buffer()
            && let Some(frame) = frame.get_mut(..self.model.len)
        {
            self.model.write(frame, &mut train);
            frames.push(self.model.len, self.checksum_left);
            sent += 1;
        }
        drop(train);
        if sent > 0 {
            self.sent_of_turn(sent);
        }
    }
}
