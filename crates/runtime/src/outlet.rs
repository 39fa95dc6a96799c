//! The way from a shard into a TX ring.

use crate::capture::Recorders;
use stack::Frames;
use xdp::{Frame, Port};

/// Frames sent per turn.
const TX_BATCH: usize = 256;

/// The frames of one turn, on their way into a port.
#[derive(Debug)]
pub(crate) struct Outlet<'a, P> {
    pub(crate) port: &'a mut P,
    /// One to write into; what is left at the end goes back to the port.
    pub(crate) free: Option<Frame>,
    /// One that the ring has no room for: it comes first the next time.
    pub(crate) held: Option<(Frame, usize)>,
    pub(crate) sent: usize,
    /// Who captures frames, if anybody does.
    pub(crate) captures: Option<&'a mut Recorders>,
}

impl<P: Port> Outlet<'_, P> {
    pub(crate) fn put(&mut self, frame: Frame, len: usize) {
        match self.port.transmit(frame, len) {
            Ok(()) => self.sent += 1,
            Err(frame) if (1..=self.port.frame_bytes()).contains(&len) => self.held = Some((frame, len)),
            // The port has counted it, and will never take it.
            Err(frame) => self.port.recycle(frame),
        }
    }
}

impl<P: Port> Frames for Outlet<'_, P> {
    #[inline]
    fn buffer(&mut self) -> Option<&mut [u8]> {
        if self.held.is_some() || self.sent >= TX_BATCH {
            return None;
        }
        if self.free.is_none() {
            self.free = self.port.allocate();
        }
        self.free.as_mut().map(|frame| self.port.buffer(frame))
    }

    #[inline]
    fn push(&mut self, len: usize, checksum_left: Option<(u16, u16)>) {
        let Some(mut frame) = self.free.take() else { return };
        if let Some(captures) = &mut self.captures {
            captures.sends(self.port.buffer(&mut frame).get(..len).unwrap_or_default(), checksum_left);
        }
        if let Some((start, offset)) = checksum_left {
            frame.leave_checksum(start, offset);
        }
        self.put(frame, len);
    }
}
