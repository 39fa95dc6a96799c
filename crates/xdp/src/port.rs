//! The seam between a device queue and the loop that serves it: owned frames and a batch [`Port`].

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

/// A frame of a port's memory: owned, neither `Copy` nor `Clone`; it moves into [`Port::transmit`] or [`Port::recycle`].
///
/// A frame belongs to the port it came from. Another port refuses it without panicking: [`Port::bytes`] and
/// [`Port::buffer`] give an empty slice, [`Port::transmit`] gives it back, [`Port::recycle`] drops it; each is counted in
/// [`PortStats::foreign_frames`]. A frame that is dropped instead of recycled is lost to its port until the port is dropped
/// ([`PortStats::frames_out`] shows how many are out).
#[must_use = "a frame that is dropped is lost to its port: transmit or recycle it"]
#[derive(Debug)]
pub struct Frame {
    index: u32,
    len: u32,
    memory: MemoryId,
    /// `start` 0: finished.
    unfinished: Unfinished,
}

/// Where in a frame a checksum is to be written: the Internet checksum of all bytes from `start` on, `offset` bytes behind
/// that, where the sum of what else it covers (the pseudo-header) stands until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) start: u16,
    pub(crate) offset: u16,
}

/// Writes the checksum.
pub(crate) fn finish(frame: &mut [u8], at: Unfinished) {
    let (start, field) = (usize::from(at.start), usize::from(at.start) + usize::from(at.offset));
    let Some(covered) = frame.get(start..) else { return };
    let (words, odd) = covered.as_chunks::<2>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    sum += odd.first().map_or(0, |&byte| u64::from(byte) << 8);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    if let Some(checksum) = frame.get_mut(field..field + 2) {
        checksum.copy_from_slice(&[high, low]);
    }
}

impl Frame {
    pub(crate) fn new(memory: MemoryId, index: u32, len: u32) -> Self {
        Self { index, len, memory, unfinished: Unfinished::default() }
    }

    /// Bytes in the frame: as received, or as set by [`Frame::set_len`]. Zero for a fresh one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frame holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets how many bytes [`Port::bytes`] shows; more than the port's [`Port::frame_bytes`] shows that many.
    pub fn set_len(&mut self, len: usize) {
        self.len = u32::try_from(len).unwrap_or(u32::MAX);
    }

    /// Leaves a checksum to the port that sends the frame ([`Port::writes_checksums`]): the Internet checksum (RFC 1071) of all
    /// bytes from `start` on, which is not 0, to be written `offset` bytes behind that. Until then the sum of what else it
    /// covers stands there: for TCP that of the pseudo-header, folded to 16 bits, not complemented.
    pub fn leave_checksum(&mut self, start: u16, offset: u16) {
        self.unfinished = Unfinished { start, offset };
    }

    pub(crate) fn unfinished(&self) -> Option<Unfinished> {
        (self.unfinished.start != 0).then_some(self.unfinished)
    }

    pub(crate) fn set_finished(&mut self) {
        self.unfinished = Unfinished::default();
    }

    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }

    pub(crate) fn index_u32(&self) -> u32 {
        self.index
    }

    pub(crate) fn belongs_to(&self, memory: MemoryId) -> bool {
        self.memory == memory
    }
}

/// Which port's memory a frame is part of; unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryId(u32);

impl MemoryId {
    /// A new identity. Panics after 2^32 ports in one process: two memories must never share one.
    pub(crate) fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let before = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1));
        Self(before.expect("fewer than 2^32 ports in a process"))
    }
}

/// A batch port: what a run-to-completion loop needs of a device queue.
///
/// One turn is: [`receive`](Port::receive), work on the frames, [`transmit`](Port::transmit) or
/// [`recycle`](Port::recycle) each, then [`flush`](Port::flush) once. Nothing reaches the device before `flush`.
///
/// Implemented by [`XskPort`](crate::XskPort) (a NIC queue) and [`MemoryPort`](crate::MemoryPort) (tests).
pub trait Port {
    /// Moves up to `max` received frames to the end of `out`; returns how many.
    fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize;

    /// The bytes of a frame: as many as [`Frame::len`] says, from the start of its buffer.
    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8];

    /// The whole writable buffer of a frame; old contents are still there. One of [`Port::allocate`] is
    /// [`Port::frame_bytes`] long; a received one may be shorter, where jumbo frames are received in several buffers.
    fn buffer<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8];

    /// A free frame for sending; `None` if all are in use ([`PortStats::allocate_failed`]).
    fn allocate(&mut self) -> Option<Frame>;

    /// Gives a frame back unsent.
    fn recycle(&mut self, frame: Frame);

    /// Queues the first `len` bytes of `frame` for sending at the next [`Port::flush`].
    ///
    /// # Errors
    /// Gives the frame back when the TX ring is full ([`PortStats::tx_ring_full`]), when `len` is zero or more than its
    /// buffer ([`PortStats::tx_bad_length`]), or when it is another port's.
    fn transmit(&mut self, frame: Frame, len: usize) -> Result<(), Frame>;

    /// Ends a batch: hands queued frames to the device, reclaims the sent ones, refills the fill ring, and kicks the kernel
    /// if it needs it.
    ///
    /// Syscalls: none when nothing is queued or the driver polls by itself; otherwise one `sendto` per TX budget of the
    /// kernel (the whole TX ring from Linux 6.17 on, 32 frames before). Backpressure (`EAGAIN`, `EBUSY`, `ENOBUFS`) is not
    /// an error: the kick stays owed ([`Port::needs_flush`]) and the next `flush` tries again.
    ///
    /// # Errors
    /// `NetworkDown`: the interface is down; nothing is lost, and a flush once it is up again goes on. The raw error: it is
    /// gone (`ENXIO`).
    fn flush(&mut self) -> io::Result<()>;

    /// Whether frames still wait for a [`Port::flush`], or none can be received before one; a loop must not go to sleep
    /// without a timeout while this holds.
    fn needs_flush(&self) -> bool;

    /// The loop is about to sleep, and may be late for the next burst: the device gets all the frames it may have.
    fn look_away(&mut self) {}

    /// Asks whether the device is still there: one that is gone does not wake anybody up. Costs a syscall on a real socket.
    ///
    /// # Errors
    /// As [`Port::flush`].
    fn check(&self) -> io::Result<()>;

    /// A descriptor that becomes readable when frames arrive, to sleep on. `None` for a port in memory.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Usable bytes of a frame of [`Port::allocate`]; none longer is received.
    fn frame_bytes(&self) -> usize;

    /// Whether the device writes checksums that are left to it ([`Frame::leave_checksum`]). A port whose device doesn't writes
    /// them itself, but a stack does so at less cost.
    fn writes_checksums(&self) -> bool {
        false
    }

    /// How full the rings are. `None` for a port that has none of the kernel's.
    fn rings(&mut self) -> Option<RingUse> {
        None
    }

    /// Counters since the port was made. Costs a syscall on a real socket.
    fn stats(&self) -> PortStats;
}

/// How many descriptors are in a ring, and how many it has room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fill {
    /// In it now.
    pub used: u32,
    /// As many fit.
    pub size: u32,
}

/// How full the rings between a port and the kernel are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RingUse {
    /// Received, and not yet taken by the loop.
    pub rx: Fill,
    /// To be sent, and not yet taken by the kernel.
    pub tx: Fill,
    /// Buffers that the kernel may receive into.
    pub fill: Fill,
    /// Sent, and not yet taken back.
    pub completion: Fill,
}

/// Counters of a [`Port`] since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames handed to the device.
    pub tx_frames: u64,
    /// Bytes handed to the device.
    pub tx_bytes: u64,
    /// Frames the device has finished with; of one that was scattered, each part.
    pub tx_completed: u64,
    /// Frames refused by `transmit` because the TX ring was full, or its frames were not enough for the parts of a large one.
    pub tx_ring_full: u64,
    /// Frames refused by `transmit` because of their length.
    pub tx_bad_length: u64,
    /// Times `allocate` had no free frame.
    pub allocate_failed: u64,
    /// Frames of another port refused.
    pub foreign_frames: u64,
    /// Received descriptors that pointed outside their frame, dropped: a kernel that lies, or a packet in several buffers
    /// that nobody has asked for.
    pub rx_bad_descriptors: u64,
    /// Frames received that came in several buffers and were copied together.
    pub rx_gathered: u64,
    /// Packets in several buffers dropped: longer than [`Port::frame_bytes`], in too many buffers, with a bad descriptor, or
    /// no large frame was free.
    pub rx_gather_failed: u64,
    /// Frames that left in several buffers.
    pub tx_scattered: u64,
    /// Frames whose checksum was left to the device.
    pub tx_checksums_left: u64,
    /// Bytes copied between large frames and buffers, both ways; none unless the MTU needs multi-buffer.
    pub copied_bytes: u64,
    /// Syscalls made to wake the kernel up.
    pub kicks: u64,
    /// Kicks that the kernel put off (`EAGAIN`, `EBUSY`, `ENOBUFS`) and that were owed to the next flush.
    pub kicks_deferred: u64,
    /// Times a burst used up half of what the fill ring had been kept at, and it was filled up.
    pub fill_deepened: u64,
    /// Frames at the caller's: received or allocated, and neither transmitted nor recycled yet.
    pub frames_out: u64,
    /// Free frames.
    pub frames_free: u64,
    /// Free large frames, where the MTU needs them.
    pub large_frames_free: u64,
    /// Kernel: frames dropped, neither for a full RX ring nor for an empty fill ring (`rx_dropped`, less the latter where frames are
    /// copied). Memory port: arrivals dropped because the ring was full or no frame was free.
    pub kernel_rx_dropped: u64,
    /// Kernel: fill-ring descriptors that were invalid.
    pub kernel_rx_invalid_descs: u64,
    /// Kernel: frames dropped because the RX ring was full.
    pub kernel_rx_ring_full: u64,
    /// Kernel: frames dropped, or put off, because the fill ring was empty.
    pub kernel_fill_ring_empty: u64,
    /// Kernel: TX descriptors that were invalid.
    pub kernel_tx_invalid_descs: u64,
    /// Kernel: times it looked for a TX descriptor and found none.
    pub kernel_tx_ring_empty: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071 section 3: 0001 f203 f4f5 f6f7 sum to ddf2. The field is one of the words, and what stands in
    /// it counts.
    #[test]
    fn a_checksum_is_written_where_it_was_left() {
        let at = Unfinished { start: 3, offset: 2 };
        let mut frame = [&[9; 3][..], &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]].concat();
        finish(&mut frame, at);
        assert_eq!(frame, [&[9; 3][..], &[0x00, 0x01, 0x22, 0x0d, 0xf4, 0xf5, 0xf6, 0xf7]].concat());
        // An odd last byte is padded with zero: ddf2 + 0300.
        let mut frame = [&[9; 3][..], &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x03]].concat();
        finish(&mut frame, at);
        assert_eq!(frame[5..7], (!0xe0f2_u16).to_be_bytes());
        for outside in [Unfinished { start: 12, offset: 0 }, Unfinished { start: 3, offset: 8 }] {
            let before = frame.clone();
            finish(&mut frame, outside);
            assert_eq!(frame, before);
        }
    }
}
