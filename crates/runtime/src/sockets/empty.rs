//! The port of a stack that has no interface.

use std::io;
use std::os::fd::BorrowedFd;
use xdp::{Frame, Port, PortStats};

/// Receives nothing, and takes nothing to send.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoPort;

impl Port for NoPort {
    fn receive(&mut self, _: &mut Vec<Frame>, _: usize) -> usize {
        0
    }

    fn bytes<'a>(&'a self, _: &'a Frame) -> &'a [u8] {
        &[]
    }

    fn buffer<'a>(&'a mut self, _: &'a mut Frame) -> &'a mut [u8] {
        &mut []
    }

    fn allocate(&mut self) -> Option<Frame> {
        None
    }

    fn recycle(&mut self, _: Frame) {}

    fn transmit(&mut self, frame: Frame, _: usize) -> Result<(), Frame> {
        Err(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn needs_flush(&self) -> bool {
        false
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn frame_bytes(&self) -> usize {
        0
    }

    fn stats(&self) -> PortStats {
        PortStats::default()
    }
}
