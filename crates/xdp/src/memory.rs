//! A pair of ports joined in memory, for tests: no NIC, no root, the same [`Port`].

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::port::{Frame, MemoryId, Port, PortStats, finish};

/// Sizes of a [`MemoryPort`] pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Frames of each port.
    pub frame_count: u32,
    /// Usable bytes of a frame.
    pub frame_bytes: usize,
    /// Frames that fit on the wire in each direction before arrivals are dropped; also the length of the TX ring.
    pub ring_size: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { frame_count: 1024, frame_bytes: 2048 - 256, ring_size: 512 }
    }
}

/// One end of an in-memory pair. `Send`: the two ends may live on different threads.
///
/// Like a device it drops, and counts in [`PortStats::kernel_rx_dropped`] of the *receiving* end, what arrives while the
/// receiver's ring is full.
#[derive(Debug)]
pub struct MemoryPort {
    id: MemoryId,
    frame_bytes: usize,
    ring_size: usize,
    memory: Box<[u8]>,
    free: Vec<u32>,
    frame_count: u32,
    queued: Vec<(u32, usize)>,
    writes_checksums: bool,
    outgoing: Arc<Wire>,
    incoming: Arc<Wire>,
    stats: PortStats,
}

/// One direction of the pair.
#[derive(Debug)]
struct Wire {
    frames: ArrayQueue<Box<[u8]>>,
    dropped: AtomicU64,
}

impl MemoryPort {
    /// Two ports; what one transmits the other receives. Zero sizes are taken as one.
    #[must_use]
    pub fn pair(config: MemoryConfig) -> (Self, Self) {
        let wire = || Arc::new(Wire { frames: ArrayQueue::new(config.ring_size.max(1)), dropped: AtomicU64::new(0) });
        let (one, two) = (wire(), wire());
        (Self::new(config, Arc::clone(&one), Arc::clone(&two)), Self::new(config, two, one))
    }

    fn new(config: MemoryConfig, outgoing: Arc<Wire>, incoming: Arc<Wire>) -> Self {
        let frame_count = config.frame_count.max(1);
        let frame_bytes = config.frame_bytes.max(1);
        let ring_size = config.ring_size.max(1);
        Self {
            id: MemoryId::unique(),
            frame_bytes,
            ring_size,
            memory: vec![0; frame_bytes * frame_count as usize].into_boxed_slice(),
            free: (0..frame_count).rev().collect(),
            frame_count,
            queued: Vec::with_capacity(ring_size),
            writes_checksums: false,
            outgoing,
            incoming,
            stats: PortStats::default(),
        }
    }

    /// Whether it asks for checksums to be left to it; it writes those that are left in any case.
    pub fn set_writes_checksums(&mut self, on: bool) {
        self.writes_checksums = on;
    }

    fn range(&self, index: usize, len: usize) -> std::ops::Range<usize> {
        let start = index * self.frame_bytes;
        start..start + len.min(self.frame_bytes)
    }
}

impl Port for MemoryPort {
    fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut received = 0;
        // Without a free frame arrivals stay on the wire, as on a NIC whose fill ring is empty.
        while received < max
            && let Some(&index) = self.free.last()
            && let Some(bytes) = self.incoming.frames.pop()
        {
            if bytes.len() > self.frame_bytes {
                self.stats.rx_bad_descriptors += 1;
                continue;
            }
            self.free.pop();
            received += 1;
            let range = self.range(index as usize, bytes.len());
            self.memory[range].copy_from_slice(&bytes);
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += bytes.len() as u64;
            out.push(Frame::new(self.id, index, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        }
        received
    }

    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        if frame.belongs_to(self.id) { &self.memory[self.range(frame.index(), frame.len())] } else { &[] }
    }

    fn buffer<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        if !frame.belongs_to(self.id) {
            self.stats.foreign_frames += 1;
            return &mut [];
        }
        let range = self.range(frame.index(), self.frame_bytes);
        &mut self.memory[range]
    }

    fn allocate(&mut self) -> Option<Frame> {
        let index = self.free.pop();
        self.stats.allocate_failed += u64::from(index.is_none());
        index.map(|index| Frame::new(self.id, index, 0))
    }

    fn recycle(&mut self, frame: Frame) {
        if frame.belongs_to(self.id) {
            self.free.push(frame.index_u32());
        } else {
            self.stats.foreign_frames += 1;
        }
    }

    fn transmit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        if !frame.belongs_to(self.id) {
            self.stats.foreign_frames += 1;
            return Err(frame);
        }
        if len == 0 || len > self.frame_bytes {
            self.stats.tx_bad_length += 1;
            return Err(frame);
        }
        if self.queued.len() == self.ring_size {
            self.stats.tx_ring_full += 1;
            return Err(frame);
        }
        if let Some(at) = frame.unfinished() {
            let range = self.range(frame.index(), len);
            finish(&mut self.memory[range], at);
        }
        self.queued.push((frame.index_u32(), len));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let queued = std::mem::take(&mut self.queued);
        for &(index, len) in &queued {
            let range = self.range(index as usize, len);
            if self.outgoing.frames.push(self.memory[range].into()).is_err() {
                self.outgoing.dropped.fetch_add(1, Ordering::Relaxed);
            }
            self.free.push(index);
            self.stats.tx_frames += 1;
            self.stats.tx_bytes += len as u64;
            self.stats.tx_completed += 1;
        }
        self.queued = queued;
        self.queued.clear();
        Ok(())
    }

    fn needs_flush(&self) -> bool {
        !self.queued.is_empty()
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    fn writes_checksums(&self) -> bool {
        self.writes_checksums
    }

    fn stats(&self) -> PortStats {
        let here = self.free.len() + self.queued.len();
        PortStats {
            kernel_rx_dropped: self.incoming.dropped.load(Ordering::Relaxed),
            frames_free: self.free.len() as u64,
            frames_out: (self.frame_count as usize).saturating_sub(here) as u64,
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> MemoryConfig {
        MemoryConfig { frame_count: 4, frame_bytes: 128, ring_size: 2 }
    }

    fn send(port: &mut MemoryPort, bytes: &[u8]) {
        let mut frame = port.allocate().unwrap();
        port.buffer(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        port.transmit(frame, bytes.len()).unwrap();
    }

    #[test]
    fn frames_arrive_in_order_after_the_flush() {
        let (mut one, mut two) = MemoryPort::pair(small());
        let mut frames = Vec::new();
        send(&mut one, b"first");
        send(&mut one, b"second");
        assert!(one.needs_flush());
        assert_eq!(two.receive(&mut frames, 8), 0);
        one.flush().unwrap();
        assert!(!one.needs_flush());
        assert_eq!(two.receive(&mut frames, 1), 1);
        assert_eq!(two.receive(&mut frames, 8), 1);
        assert_eq!((two.bytes(&frames[0]), two.bytes(&frames[1])), (&b"first"[..], &b"second"[..]));
        assert_eq!((two.stats().frames_out, two.stats().rx_bytes), (2, 11));
        // The received frame is sent back in place.
        let frame = frames.remove(0);
        two.transmit(frame, 5).unwrap();
        two.flush().unwrap();
        let mut back = Vec::new();
        assert_eq!(one.receive(&mut back, 8), 1);
        assert_eq!(one.bytes(&back[0]), b"first");
    }

    #[test]
    fn every_limit_is_counted() {
        let (mut one, mut two) = MemoryPort::pair(small());
        for _ in 0..2 {
            send(&mut one, b"x");
            send(&mut one, b"y");
            let frame = one.allocate().unwrap();
            let frame = one.transmit(frame, 1).unwrap_err();
            let frame = one.transmit(frame, 129).unwrap_err();
            let frame = two.transmit(frame, 1).unwrap_err();
            one.recycle(frame);
            one.flush().unwrap();
        }
        let held: Vec<_> = std::iter::from_fn(|| one.allocate()).collect();
        let stats = one.stats();
        assert_eq!((held.len(), stats.frames_out, stats.allocate_failed), (4, 4, 1));
        assert_eq!((stats.tx_ring_full, stats.tx_bad_length, stats.tx_frames), (2, 2, 4));
        // Two fitted on the wire, two were dropped.
        let mut frames = Vec::new();
        assert_eq!(two.receive(&mut frames, 8), 2);
        assert_eq!((two.stats().kernel_rx_dropped, two.stats().foreign_frames), (2, 2));
    }

    #[test]
    fn without_a_free_frame_arrivals_wait() {
        let (mut one, mut two) = MemoryPort::pair(small());
        let held: Vec<_> = std::iter::from_fn(|| two.allocate()).collect();
        send(&mut one, b"later");
        one.flush().unwrap();
        let mut frames = Vec::new();
        assert_eq!(two.receive(&mut frames, 8), 0);
        held.into_iter().for_each(|frame| two.recycle(frame));
        assert_eq!(two.receive(&mut frames, 8), 1);
    }

    #[test]
    fn set_len_is_bounded_by_the_buffer() {
        let (mut one, _two) = MemoryPort::pair(small());
        let mut frame = one.allocate().unwrap();
        assert!(frame.is_empty() && one.bytes(&frame).is_empty());
        frame.set_len(usize::MAX);
        assert_eq!(one.bytes(&frame).len(), 128);
        assert_eq!(one.buffer(&mut frame).len(), 128);
        one.recycle(frame);
    }
}
