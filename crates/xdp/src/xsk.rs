//! A NIC queue as a [`Port`]: an AF_XDP socket with memory of its own, whoever made its rings.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::af_xdp;
use crate::config::{CopyMode, HEADROOM_BYTES, HugePages, XskConfig, needed_bytes};
use crate::depth::Depth;
use crate::error::Error;
use crate::facts::InterfaceFacts;
use crate::jumbo;
use crate::offloading::METADATA_BYTES;
use crate::port::{Fill, Frame, MemoryId, Port, PortStats, RingUse, finish};
use crate::privileges::{self, Capability, DEVICE};
use crate::report::AttachMode;
use crate::rings::{Descriptor, Rings, XDP_PKT_CONTD};
use crate::sys;

/// Descriptors moved at a time; the arrays for it live in the port.
const BATCH: usize = 64;
/// The fill ring is refilled when at least this many frames are missing.
const REFILL_AT_LEAST: u32 = 16;
/// Of each packet: the headers of TCP with its options, and a short message.
const PREFETCHED_BYTES: usize = 192;
/// Bytes of a huge page, where they are used.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// What the kernel adds to a frame in its send path, in its own accounts (`truesize`), generously.
const SEND_OVERHEAD_BYTES: u32 = 2048;

/// [`XskPort`](crate::XskPort) with the one or the other rings.
#[derive(Debug)]
pub(crate) struct QueuePort<R: Rings> {
    id: MemoryId,
    rings: R,
    /// One descriptor per frame: where its data starts, and (as its length) how far it may go.
    frames: Box<[R::Descriptor]>,
    free: Vec<u32>,
    /// Large frames, numbered on from `frames`, if the MTU needs them.
    jumbo: Option<jumbo::Pool>,
    /// `frames` as they were at first, each with its whole room, if there are large ones: what those are sent in.
    home: Box<[R::Descriptor]>,
    /// The next descriptor received goes on with the packet of the last one.
    in_chain: bool,
    batch: Box<[R::Descriptor; BATCH]>,
    /// Transmitted, and not yet in the TX ring.
    queued: Vec<R::Descriptor>,
    /// Slots of the TX ring known to be free, beyond `queued`.
    tx_room: u32,
    kick_owed: bool,
    frame_size: usize,
    tx_ring: u32,
    /// Frames in the fill ring, or in the kernel on their way from there to the RX ring, or in that.
    in_fill: u32,
    fill_ring: u32,
    depth: Depth,
    /// Frames in the TX ring, or in the kernel on their way from there to the completion ring.
    in_tx: u32,
    tx_reserve: u32,
    queue: u32,
    made: Made,
    stats: PortStats,
    rx_ring: u32,
    completion_ring: u32,
}

/// What was negotiated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    pub(crate) zero_copy: bool,
    pub(crate) zero_copy_reason: String,
    pub(crate) hugepages: bool,
    pub(crate) hugepages_reason: String,
    pub(crate) multi_buffer: bool,
    pub(crate) tx_budget: u32,
    /// Checksums may be left to the device, and why, or why not.
    pub(crate) tx_checksum: bool,
    pub(crate) tx_checksum_reason: String,
}

impl<R: Rings> QueuePort<R> {
    /// Opens a port, of a configuration that is valid.
    pub(crate) fn open(config: &XskConfig, facts: &InterfaceFacts, mode: AttachMode) -> Result<Self, Error> {
        let multi_buffer = check_interface(config, facts)?;
        let (memory, descriptors, hugepages, hugepages_reason) = make_memory::<R>(config, multi_buffer)?;
        let (rings, zero_copy, zero_copy_reason) = bind::<R>(config, mode, &memory, facts, multi_buffer)?;
        let made = Made {
            zero_copy,
            zero_copy_reason,
            hugepages,
            hugepages_reason,
            multi_buffer,
            tx_budget: sys::DEFAULT_TX_BUDGET,
            tx_checksum: false,
            tx_checksum_reason: String::new(),
        };
        let mut port = Self {
            id: MemoryId::unique(),
            rings,
            free: (0..config.frame_count).rev().collect(),
            frames: descriptors.into_boxed_slice(),
            jumbo: multi_buffer.then(|| jumbo::Pool::new(needed_bytes(facts.mtu) as usize)),
            home: Box::default(),
            in_chain: false,
            batch: Box::new([R::Descriptor::default(); BATCH]),
            queued: Vec::with_capacity(config.tx_ring as usize),
            tx_room: config.tx_ring,
            kick_owed: false,
            frame_size: config.frame_size as usize,
            tx_ring: config.tx_ring,
            in_fill: 0,
            fill_ring: config.fill_ring,
            depth: Depth::new(config.fill_ring),
            in_tx: 0,
            tx_reserve: config.tx_reserve(),
            queue: config.queue,
            made,
            stats: PortStats::default(),
            rx_ring: config.rx_ring,
            completion_ring: config.completion_ring,
        };
        for index in 0..port.frames.len() {
            port.measure(index);
        }
        if multi_buffer {
            port.home = port.frames.clone();
        }
        port.tune(config);
        port.fill(config.fill_ring);
        Ok(port)
    }

    /// The queue it is bound to.
    pub(crate) fn queue(&self) -> u32 {
        self.queue
    }

    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    pub(crate) fn made_mut(&mut self) -> &mut Made {
        &mut self.made
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.rings.socket()
    }

    /// Settings that are better but not needed.
    fn tune(&mut self, config: &XskConfig) {
        self.made.tx_budget = sys::set_tx_budget(self.socket(), config.tx_ring);
        let bytes =
            config.tx_ring.saturating_mul(config.frame_size + SEND_OVERHEAD_BYTES).min(i32::MAX.cast_unsigned());
        if let Err(error) = sys::set_send_buffer(self.socket(), bytes) {
            tracing::debug!(%error, bytes, "the socket's send buffer stays as it is");
        }
    }

    /// Sets the length of a frame's descriptor to what fits from its start on.
    fn measure(&mut self, index: usize) {
        self.rings.set_len(&mut self.frames[index], usize::MAX);
    }

    /// The frame a received descriptor lies in, and its length, or nothing if it points outside of one.
    fn locate(&self, received: R::Descriptor) -> Option<(u32, u32)> {
        let (address, len) = (received.addr(), received.len());
        let index = address / self.frame_size;
        if index >= self.frames.len() || address % self.frame_size + len > self.frame_size {
            return None;
        }
        Some((u32::try_from(index).ok()?, u32::try_from(len).ok()?))
    }

    /// Has the headers of the packets just received come to this core, all at once: the device or another core wrote them.
    fn prefetch(&self, count: usize) {
        for received in &self.batch[..count] {
            if self.locate(*received).is_some() {
                // SAFETY: it lies within one frame of this memory, which the kernel gave up, and no `Frame` names it.
                let bytes = unsafe { self.rings.bytes(received) };
                sys::prefetch(&bytes[..bytes.len().min(PREFETCHED_BYTES)]);
            }
        }
    }

    /// Takes a received descriptor in: its index and length, or nothing if it can't be used.
    fn accept(&mut self, received: R::Descriptor) -> Option<(u32, u32)> {
        let Some((index, len)) = self.locate(received) else {
            self.drop_received(received);
            return None;
        };
        if self.frames[index as usize].addr() != received.addr() {
            // A driver that uses another headroom.
            self.frames[index as usize] = received;
            self.frames[index as usize].set_options(0);
            self.measure(index as usize);
        }
        Some((index, len))
    }

    /// Takes in a descriptor of a packet of several: the large frame once it is whole. The descriptor's own frame is free.
    #[inline(never)]
    fn gather(&mut self, received: R::Descriptor) -> Option<(u32, u32)> {
        self.in_chain = received.has_more();
        let place = self.locate(received);
        // SAFETY: the descriptor lies within one frame of this memory, which the kernel gave up, and no `Frame` names it.
        let bytes = place.map(|_| unsafe { self.rings.bytes(&received) });
        // Without large frames nobody has asked for packets in pieces.
        let whole = self.jumbo.as_mut().and_then(|pool| pool.piece(bytes, self.in_chain));
        match place {
            Some((index, len)) if self.jumbo.is_some() => {
                self.free.push(index);
                self.stats.copied_bytes += u64::from(len);
            }
            _ => self.drop_received(received),
        }
        let (index, len) = whole?;
        self.stats.rx_gathered += 1;
        Some((u32::try_from(self.frames.len()).ok()? + index, u32::try_from(len).ok()?))
    }

    /// Queues the first `len` bytes of a large frame in as many frames as it takes; false if there aren't enough, or no room
    /// in the ring for them.
    fn scatter(&mut self, large: &Frame, len: usize) -> bool {
        let index = large.index() - self.frames.len();
        let piece_bytes = self.frame_size - HEADROOM_BYTES as usize;
        let pieces = len.div_ceil(piece_bytes);
        if self.free.len() < pieces {
            self.reclaim();
        }
        let enough = u32::try_from(pieces).is_ok_and(|pieces| self.has_tx_room(pieces));
        let Some(pool) = self.jumbo.as_ref().filter(|_| enough && self.free.len() >= pieces) else { return false };
        for (number, piece) in pool.bytes(index)[..len].chunks(piece_bytes).enumerate() {
            let Some(frame) = self.free.pop() else { return false };
            let mut descriptor = self.home[frame as usize];
            // SAFETY: the frame was free, so nobody refers to it.
            let bytes = unsafe { self.rings.bytes_mut(&mut descriptor) };
            bytes[..piece.len()].copy_from_slice(piece);
            // Only the descriptor's copy is changed.
            self.rings.set_len(&mut descriptor, piece.len());
            descriptor.set_options(if number + 1 < pieces { XDP_PKT_CONTD } else { 0 });
            // The first one has all headers, and it alone has metadata.
            if let Some(at) = large.unfinished().filter(|_| number == 0) {
                // SAFETY: as above; what is in front of its data is nobody's.
                unsafe { self.rings.request_checksum(&mut descriptor, at) };
                self.stats.tx_checksums_left += 1;
            }
            self.queued.push(descriptor);
            self.tx_room -= 1;
        }
        self.stats.copied_bytes += len as u64;
        self.stats.tx_scattered += u64::from(pieces > 1);
        true
    }

    /// Whether the checksum of a frame may be asked for: of one that was received elsewhere than at the kernel's headroom
    /// there may be no place to.
    fn has_room_for_request(&self, frame: &Frame) -> bool {
        let descriptor = self.frames.get(frame.index());
        self.made.tx_checksum && descriptor.is_none_or(|d| d.addr() % self.frame_size >= METADATA_BYTES)
    }

    /// Whether the TX ring has room for so many descriptors more.
    fn has_tx_room(&mut self, descriptors: u32) -> bool {
        if self.tx_room < descriptors {
            let queued = u32::try_from(self.queued.len()).unwrap_or(u32::MAX);
            self.tx_room = self.rings.tx_free().saturating_sub(queued);
        }
        self.tx_room >= descriptors
    }

    /// Takes back the frames that the device has sent.
    fn reclaim(&mut self) {
        loop {
            let count = self.rings.consume_completion(&mut self.batch[..]);
            for descriptor in &self.batch[..count] {
                let index = descriptor.addr() / self.frame_size;
                if let (Ok(number), true) = (u32::try_from(index), index < self.frames.len()) {
                    self.free.push(number);
                }
            }
            self.in_tx = self.in_tx.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            self.stats.tx_completed += count as u64;
            if count < BATCH {
                return;
            }
        }
    }

    /// Keeps the fill ring as deep as it is to be, once enough is missing.
    fn refill(&mut self) {
        let taken = self.depth.frames().saturating_sub(self.in_fill);
        if taken < REFILL_AT_LEAST.min(self.depth.frames()) {
            return;
        }
        // All of the ring that is not free, by the kernel's latest word.
        let left = self.fill_ring.saturating_sub(self.rings.fill_free(self.fill_ring));
        self.stats.fill_deepened += u64::from(self.depth.on_refill(taken, left));
        self.fill(self.depth.frames());
    }

    /// Gives free frames to the kernel until it has `depth` of them, as far as they fit into the fill ring, except for the TX
    /// reserve.
    fn fill(&mut self, depth: u32) {
        let spare = u32::try_from(self.free.len()).unwrap_or(u32::MAX).saturating_sub(self.tx_reserve);
        let mut count = depth.saturating_sub(self.in_fill).min(spare);
        if count > 0 {
            count = count.min(self.rings.fill_free(count));
        }
        while count > 0 {
            let part = (count as usize).min(BATCH);
            let start = self.free.len() - part;
            for (slot, index) in self.batch.iter_mut().zip(self.free.drain(start..)) {
                *slot = self.frames[index as usize];
            }
            // SAFETY: the frames were free, so nobody refers to them, and they are of this memory.
            let produced = unsafe { self.rings.produce_fill(&self.batch[..part]) };
            if produced < part {
                // The ring had less room than it said; all or nothing is its rule.
                let frame_size = self.frame_size;
                self.free
                    .extend(self.batch[..part].iter().filter_map(|desc| u32::try_from(desc.addr() / frame_size).ok()));
                return;
            }
            let part = u32::try_from(part).unwrap_or(u32::MAX);
            self.in_fill += part;
            count -= part;
        }
    }

    /// Moves what was transmitted into the TX ring.
    fn produce(&mut self) {
        // SAFETY: the frames were moved into `transmit`, so nobody refers to them, and they are of this memory.
        let produced = unsafe { self.rings.produce_tx(&self.queued) };
        if produced == 0 {
            return;
        }
        for descriptor in self.queued.drain(..produced) {
            self.stats.tx_frames += u64::from(!descriptor.has_more());
            self.stats.tx_bytes += descriptor.len() as u64;
        }
        self.in_tx += u32::try_from(produced).unwrap_or(u32::MAX);
        self.kick_owed = true;
    }

    /// Descriptors in the TX ring that the kernel hasn't taken yet.
    fn untaken(&mut self) -> u32 {
        self.tx_ring.saturating_sub(self.rings.tx_free())
    }

    /// Wakes the kernel until it has taken the whole TX ring or says that it can't now. Every round takes at least one
    /// descriptor, so the ring's size bounds it; with a TX budget as large as the ring there is one round.
    fn kick(&mut self) -> io::Result<()> {
        let mut left = self.untaken();
        while left > 0 && self.rings.tx_needs_wakeup() {
            self.stats.kicks += 1;
            let result = sys::kick_tx(self.socket());
            let before = left;
            left = self.untaken();
            if let Err(error) = result {
                if !put_off(&error) {
                    return Err(error);
                }
                if left == before {
                    self.stats.kicks_deferred += 1;
                    return Ok(());
                }
            } else if left == before {
                return Ok(());
            }
        }
        // A driver that polls by itself may ask for a wakeup later, with descriptors still in the ring.
        self.kick_owed = left > 0;
        Ok(())
    }
}

impl<R: Rings> Port for QueuePort<R> {
    fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut received = 0;
        while received < max {
            let want = (max - received).min(BATCH);
            let count = self.rings.consume_rx(&mut self.batch[..want]);
            self.prefetch(count);
            for slot in 0..count {
                let descriptor = self.batch[slot];
                let in_pieces = descriptor.has_more() || self.in_chain;
                let whole = if in_pieces { self.gather(descriptor) } else { self.accept(descriptor) };
                if let Some((index, len)) = whole {
                    self.stats.rx_bytes += u64::from(len);
                    out.push(Frame::new(self.id, index, len));
                    received += 1;
                }
            }
            self.in_fill = self.in_fill.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            if count < want {
                break;
            }
        }
        self.stats.rx_frames += received as u64;
        received
    }

    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        if !frame.belongs_to(self.id) {
            return &[];
        }
        let Some(descriptor) = self.frames.get(frame.index()) else {
            let large = self.jumbo.as_ref().map_or(&[][..], |pool| pool.bytes(frame.index() - self.frames.len()));
            return &large[..frame.len().min(large.len())];
        };
        // SAFETY: whoever holds a `Frame` holds the memory it names: the kernel gave it up before the frame was made, and
        // it gets it back only by moves into `transmit` or `recycle`. Writing needs `&mut self`.
        let whole = unsafe { self.rings.bytes(descriptor) };
        &whole[..frame.len().min(whole.len())]
    }

    fn buffer<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        if !frame.belongs_to(self.id) {
            self.stats.foreign_frames += 1;
            return &mut [];
        }
        let usable = self.frame_size - HEADROOM_BYTES as usize;
        let count = self.frames.len();
        let Some(descriptor) = self.frames.get_mut(frame.index()) else {
            return self.jumbo.as_mut().map_or(&mut [], |pool| pool.bytes_mut(frame.index() - count));
        };
        // SAFETY: as in `bytes`, and `&mut self` excludes other references.
        let whole = unsafe { self.rings.bytes_mut(descriptor) };
        let len = whole.len().min(usable);
        &mut whole[..len]
    }

    fn allocate(&mut self) -> Option<Frame> {
        let index = if let Some(pool) = &mut self.jumbo {
            pool.take().map(|index| index + u32::try_from(self.frames.len()).unwrap_or(u32::MAX))
        } else {
            if self.free.is_empty() {
                self.reclaim();
            }
            self.free.pop()
        };
        self.stats.allocate_failed += u64::from(index.is_none());
        index.map(|index| Frame::new(self.id, index, 0))
    }

    fn recycle(&mut self, frame: Frame) {
        if frame.belongs_to(self.id) {
            self.give_back(&frame);
        } else {
            self.stats.foreign_frames += 1;
        }
    }

    fn transmit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        if !frame.belongs_to(self.id) {
            self.stats.foreign_frames += 1;
            return Err(frame);
        }
        let mut frame = frame;
        if let Some(at) = frame.unfinished()
            && !self.has_room_for_request(&frame)
        {
            finish(self.buffer(&mut frame).get_mut(..len).unwrap_or_default(), at);
            frame.set_finished();
        }
        let large = frame.index() >= self.frames.len();
        let most = if large { self.frame_bytes() } else { self.frame_size - HEADROOM_BYTES as usize };
        if len == 0 || len > most {
            self.stats.tx_bad_length += 1;
            return Err(frame);
        }
        if large {
            if !self.scatter(&frame, len) {
                self.stats.tx_ring_full += 1;
                return Err(frame);
            }
            self.give_back(&frame);
            return Ok(());
        }
        if !self.has_tx_room(1) {
            self.stats.tx_ring_full += 1;
            return Err(frame);
        }
        let mut descriptor = self.frames[frame.index()];
        // Only the descriptor's copy is changed.
        self.rings.set_len(&mut descriptor, len);
        if let Some(at) = frame.unfinished() {
            // SAFETY: as in `buffer`: the frame was moved here, and what is in front of its data is nobody's.
            unsafe { self.rings.request_checksum(&mut descriptor, at) };
            self.stats.tx_checksums_left += 1;
        }
        self.queued.push(descriptor);
        self.tx_room -= 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.in_tx > 0 {
            self.reclaim();
        }
        if !self.queued.is_empty() {
            self.produce();
        }
        self.refill();
        if self.rings.fill_needs_wakeup() && self.in_fill > 0 {
            self.stats.kicks += 1;
            self.check()?;
        }
        if self.kick_owed { self.kick() } else { Ok(()) }
    }

    fn needs_flush(&self) -> bool {
        // Nothing comes in, so nothing wakes a sleeper, before frames that are on their way out are given back.
        let starved = self.in_fill == 0 && self.in_tx > 0;
        self.kick_owed || !self.queued.is_empty() || starved
    }

    fn look_away(&mut self) {
        if self.in_fill < self.fill_ring {
            self.fill(self.fill_ring);
            if self.rings.fill_needs_wakeup() {
                self.stats.kicks += 1;
                // A device that fails says so at the next flush.
                let _ = self.check();
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        match sys::kick_rx(self.socket()) {
            Err(error) if !put_off(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket())
    }

    fn writes_checksums(&self) -> bool {
        self.made.tx_checksum
    }

    fn frame_bytes(&self) -> usize {
        self.jumbo.as_ref().map_or(self.frame_size - HEADROOM_BYTES as usize, jumbo::Pool::frame_bytes)
    }

    fn rings(&mut self) -> Option<RingUse> {
        let left = |size: u32, free: u32| Fill { used: size.saturating_sub(free), size };
        Some(RingUse {
            rx: Fill { used: self.rings.rx_waiting(), size: self.rx_ring },
            tx: left(self.tx_ring, self.rings.tx_free()),
            fill: left(self.fill_ring, self.rings.fill_free(self.fill_ring)),
            completion: Fill { used: self.rings.completion_waiting(), size: self.completion_ring },
        })
    }

    fn stats(&self) -> PortStats {
        let ours = self.free.len() as u64 + self.queued.len() as u64;
        let kernels = u64::from(self.in_fill) + u64::from(self.in_tx);
        let large = self.jumbo.as_ref();
        let large_out = large.map_or(0, jumbo::Pool::out) as u64;
        let mut stats = PortStats {
            frames_free: self.free.len() as u64,
            large_frames_free: large.map_or(0, jumbo::Pool::free) as u64,
            frames_out: (self.frames.len() as u64).saturating_sub(ours + kernels) + large_out,
            rx_gather_failed: large.map_or(0, jumbo::Pool::lost),
            ..self.stats
        };
        match af_xdp::statistics(self.socket()) {
            Ok(kernel) => {
                // Where it copies, the kernel counts a frame that finds no buffer as both.
                let starved = if self.made.zero_copy { 0 } else { kernel.rx_fill_ring_empty_descs };
                stats.kernel_rx_dropped = kernel.rx_dropped.saturating_sub(starved);
                stats.kernel_rx_invalid_descs = kernel.rx_invalid_descs;
                stats.kernel_rx_ring_full = kernel.rx_ring_full;
                stats.kernel_fill_ring_empty = kernel.rx_fill_ring_empty_descs;
                stats.kernel_tx_invalid_descs = kernel.tx_invalid_descs;
                stats.kernel_tx_ring_empty = kernel.tx_ring_empty_descs;
            }
            Err(error) => tracing::debug!(%error, "the kernel gave no AF_XDP statistics"),
        }
        stats
    }
}

impl<R: Rings> QueuePort<R> {
    /// Frees a frame of this port's.
    fn give_back(&mut self, frame: &Frame) {
        match (frame.index().checked_sub(self.frames.len()), &mut self.jumbo) {
            (None, _) => self.free.push(frame.index_u32()),
            (Some(large), Some(pool)) => pool.give(u32::try_from(large).unwrap_or(u32::MAX)),
            (Some(_), None) => {}
        }
    }

    /// Takes back the frame of a descriptor that can't be used.
    #[cold]
    fn drop_received(&mut self, descriptor: R::Descriptor) {
        self.stats.rx_bad_descriptors += 1;
        let index = descriptor.addr() / self.frame_size;
        if let (Ok(number), true) = (u32::try_from(index), index < self.frames.len()) {
            self.free.push(number);
        }
    }
}

/// Back-pressure: the kernel wants to be asked again.
fn put_off(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR))
}

/// Refuses an interface that can't do what is configured. Whether its MTU needs several frames for a packet.
fn check_interface(config: &XskConfig, facts: &InterfaceFacts) -> Result<bool, Error> {
    let interface = || config.interface.clone();
    if !facts.up {
        return Err(Error::InterfaceDown { interface: interface() });
    }
    if config.queue >= facts.rx_queues {
        return Err(Error::QueueOutOfRange { interface: interface(), queue: config.queue, queues: facts.rx_queues });
    }
    if facts.mtu > config.most_mtu() {
        let reason = format!("a packet of AF_XDP is in {} frames at most", jumbo::MAX_PIECES);
        return Err(Error::MtuTooLarge { interface: interface(), mtu: facts.mtu, most: config.most_mtu(), reason });
    }
    Ok(config.needs_multi_buffer(facts.mtu))
}

/// Memory, a descriptor for each frame, whether it is in huge pages, and why.
type Memory<R> = (<R as Rings>::Unbound, Vec<<R as Rings>::Descriptor>, bool, String);

/// The frames' memory, in huge pages if it can be.
fn make_memory<R: Rings>(config: &XskConfig, multi_buffer: bool) -> Result<Memory<R>, Error> {
    let bytes = u64::from(config.frame_count) * u64::from(config.frame_size);
    let reason = if config.hugepages == HugePages::Never {
        "as configured".to_owned()
    } else if bytes % HUGE_PAGE_BYTES != 0 {
        format!("{bytes} bytes aren't a whole number of 2 MiB pages")
    } else {
        match R::make(config, true, multi_buffer) {
            Ok((memory, frames)) => return Ok((memory, frames, true, "available".to_owned())),
            Err(_) => "no free huge pages, see vm.nr_hugepages".to_owned(),
        }
    };
    let (memory, frames) = R::make(config, false, multi_buffer).map_err(|error| memory_error(error, bytes))?;
    Ok((memory, frames, false, reason))
}

fn memory_error(source: io::Error, bytes: u64) -> Error {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::privilege("opening an AF_XDP socket", &DEVICE),
        Some(libc::ENOBUFS) if !Capability::IpcLock.held() => {
            Error::Locked { bytes, command: privileges::setcap_line(&[Capability::IpcLock]) }
        }
        _ => Error::Memory { bytes, source },
    }
}

/// Binds a socket, zero-copy first if it may be; the rings, whether zero-copy, and why.
fn bind<R: Rings>(
    config: &XskConfig,
    mode: AttachMode,
    memory: &R::Unbound,
    facts: &InterfaceFacts,
    multi_buffer: bool,
) -> Result<(R, bool, String), Error> {
    let always = libc::XDP_USE_NEED_WAKEUP | if multi_buffer { libc::XDP_USE_SG } else { 0 };
    let reason = match (config.copy_mode, mode) {
        (CopyMode::Copy, _) => "as configured".to_owned(),
        (CopyMode::Auto, AttachMode::Generic) => "generic XDP always copies".to_owned(),
        (wanted, _) => match bind_when_free::<R>(config, facts, memory, libc::XDP_ZEROCOPY | always) {
            Ok(rings) => return Ok((rings, true, format!("driver {} supports it", facts.driver))),
            Err(source) => match (wanted, bind_error(config, &source)) {
                (_, Some(error)) => return Err(error),
                (CopyMode::ZeroCopy, None) => {
                    return Err(Error::ZeroCopyUnsupported {
                        interface: config.interface.clone(),
                        queue: config.queue,
                        driver: facts.driver.clone(),
                        answer: source,
                    });
                }
                _ => format!("driver {} has no zero-copy: {source}", facts.driver),
            },
        },
    };
    let rings = bind_when_free::<R>(config, facts, memory, libc::XDP_COPY | always).map_err(|source| {
        let refused = multi_buffer.then(|| multi_buffer_error(config, facts.mtu, &source)).flatten();
        let known = refused.or_else(|| bind_error(config, &source));
        known.unwrap_or(Error::System { action: "binding an AF_XDP socket", source })
    })?;
    Ok((rings, false, reason))
}

/// How long a queue may seem to be another's who has gone: the kernel gives it back in work that it puts off
/// (`xp_release_deferred`), behind the end of the process, which took more than half a second on a busy machine. Another stack
/// that is there has its program on the interface, so that it does not come to this: who waits in vain is told of a socket
/// without one.
const GONE: Duration = Duration::from_secs(5);

/// Binds, if need be when the queue has been given back.
fn bind_when_free<R: Rings>(
    config: &XskConfig,
    facts: &InterfaceFacts,
    memory: &R::Unbound,
    flags: u16,
) -> io::Result<R> {
    let since = Instant::now();
    loop {
        match R::bind(config, facts, memory, flags) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && since.elapsed() < GONE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// The errors of a bind that another copy mode wouldn't cure.
fn bind_error(config: &XskConfig, error: &io::Error) -> Option<Error> {
    match error.raw_os_error()? {
        libc::EPERM | libc::EACCES => Some(Error::privilege("opening an AF_XDP socket", &DEVICE)),
        libc::EBUSY => Some(Error::QueueTaken { interface: config.interface.clone(), queue: config.queue }),
        libc::ENODEV => Some(Error::NoInterface { interface: config.interface.clone() }),
        libc::ENETDOWN => Some(Error::InterfaceDown { interface: config.interface.clone() }),
        _ => None,
    }
}

/// A kernel before Linux 6.6 doesn't know `XDP_USE_SG`, and refuses the flag.
fn multi_buffer_error(config: &XskConfig, mtu: u32, error: &io::Error) -> Option<Error> {
    let reason = match error.raw_os_error()? {
        libc::EINVAL => "this kernel's AF_XDP has no multi-buffer (Linux 6.6 has)".to_owned(),
        libc::EOPNOTSUPP => format!("multi-buffer is refused ({error})"),
        _ => return None,
    };
    Some(Error::MtuTooLarge { interface: config.interface.clone(), mtu, most: config.single_buffer_mtu(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_multi_buffer_is_told_from_other_refusals() {
        let config = XskConfig { interface: "eth0".into(), ..XskConfig::default() };
        let refused = |code| multi_buffer_error(&config, 9000, &io::Error::from_raw_os_error(code));
        let text = refused(libc::EINVAL).unwrap().to_string();
        for words in ["MTU of eth0 is 9000", "Linux 6.6", "mtu 3818`"] {
            assert!(text.contains(words), "{text}");
        }
        assert!(refused(libc::EBUSY).is_none() && refused(libc::EPERM).is_none());
    }

    /// An Ethernet header of 14 bytes, two tags of 4; 256 bytes of a frame are the kernel's.
    #[test]
    fn the_mtu_decides_how_many_frames_a_packet_takes() {
        let config = XskConfig::default();
        assert_eq!((config.single_buffer_mtu(), config.most_mtu()), (4096 - 256 - 22, 17 * 3840 - 22));
        assert!(!config.needs_multi_buffer(3818) && config.needs_multi_buffer(3819));
        let small = XskConfig { frame_size: 2048, ..config };
        assert_eq!((small.single_buffer_mtu(), small.most_mtu()), (1770, 17 * 1792 - 22));
    }
}
