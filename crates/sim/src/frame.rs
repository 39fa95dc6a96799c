//! Frames under way, in buffers that are used again.

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
    /// A link has flipped a bit of it.
    pub(crate) corrupted: bool,
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
        frame.corrupted = false;
        id
    }

    /// Another frame like this one.
    pub(crate) fn copy(&mut self, id: u32) -> u32 {
        let bytes = std::mem::take(&mut self[id].bytes);
        let copy = self.add(&bytes);
        let old = &mut self[id];
        old.bytes = bytes;
        let (dst, src, corrupted) = (old.dst, old.src, old.corrupted);
        let new = &mut self[copy];
        (new.dst, new.src, new.corrupted) = (dst, src, corrupted);
        copy
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
