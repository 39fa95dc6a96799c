//! Frames under way, in buffers that are used again.

use crate::check::{Seen, Stamp};
use std::ops::{Index, IndexMut};

/// To all stations.
pub(crate) const FLOOD: u32 = u32::MAX;

/// A frame under way.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    /// The node it is for, or [`FLOOD`].
    pub(crate) dst: u32,
    /// The node that sent it.
    pub(crate) src: u32,
    /// It is not what the node sent: a link has flipped a bit,
    pub(crate) corrupted: bool,
    /// a tamper node has changed it,
    pub(crate) altered: bool,
    /// or no node has sent it.
    pub(crate) made_up: bool,
    /// The segment as it was sent.
    pub(crate) seen: Option<Seen>,
    pub(crate) stamp: Stamp,
    /// Its number in the capture.
    pub(crate) number: usize,
}

/// All frames under way, by number.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    frames: Vec<Frame>,
    free: Vec<u32>,
}

impl Pool {
    /// A frame with these bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.frames.push(Frame::default());
            u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX)
        });
        let frame = &mut self[id];
        frame.bytes.clear();
        frame.bytes.extend_from_slice(bytes);
        (frame.corrupted, frame.altered, frame.made_up) = (false, false, false);
        (frame.seen, frame.number) = (None, usize::MAX);
        id
    }

    /// Another frame like this one.
    pub(crate) fn copy(&mut self, id: u32) -> u32 {
        let bytes = std::mem::take(&mut self[id].bytes);
        let copy = self.add(&bytes);
        let old = &mut self[id];
        let like = Frame { bytes: std::mem::take(&mut old.bytes), seen: old.seen.clone(), ..*old };
        self[id].bytes = bytes;
        let new = &mut self[copy];
        *new = Frame { bytes: std::mem::take(&mut new.bytes), ..like };
        copy
    }

    /// Frames in use.
    pub(crate) fn in_use(&self) -> usize {
        self.frames.len() - self.free.len()
    }

    pub(crate) fn free(&mut self, id: u32) {
        self.free.push(id);
    }
}

impl Index<u32> for Pool {
    type Output = Frame;
    fn index(&self, id: u32) -> &Frame {
        &self.frames[id as usize]
    }
}

impl IndexMut<u32> for Pool {
    fn index_mut(&mut self, id: u32) -> &mut Frame {
        &mut self.frames[id as usize]
    }
}
