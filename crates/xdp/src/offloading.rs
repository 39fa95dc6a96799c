//! Memory with place for metadata in front of each frame, its socket and rings: by libc alone, as libxdp does it.
//!
//! Metadata is how a frame of AF_XDP asks the device for its checksum (Linux 6.11 for the flag that registers it;
//! Documentation/networking/xsk-tx-metadata.rst).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::af_xdp::{self, Mapping};
use crate::config::{HEADROOM_BYTES, TxChecksum, XskConfig};
use crate::facts::InterfaceFacts;
use crate::port::Unfinished;
use crate::rings::{Descriptor, Rings};
use crate::sys;

/// `sizeof(struct xsk_tx_metadata)` since Linux 6.15: flags, and 16 bytes of request. Older kernels take it as padding.
pub(crate) const METADATA_BYTES: usize = 24;
const _: () = assert!(METADATA_BYTES < HEADROOM_BYTES as usize && METADATA_BYTES.is_multiple_of(8));

/// `struct xsk_tx_metadata` of linux/if_xdp.h, with the request in its union.
#[repr(C)]
struct Metadata {
    flags: u64,
    csum_start: u16,
    csum_offset: u16,
    launch_time: u64,
}
const _: () = assert!(size_of::<Metadata>() == METADATA_BYTES);

/// `struct xdp_desc` of linux/if_xdp.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Place {
    addr: u64,
    len: u32,
    options: u32,
}
const _: () = assert!(size_of::<Place>() == size_of::<libc::xdp_desc>());

impl Descriptor for Place {
    fn addr(&self) -> usize {
        usize::try_from(self.addr).unwrap_or(usize::MAX)
    }

    fn len(&self) -> usize {
        self.len as usize
    }

    fn options(&self) -> u32 {
        self.options
    }

    fn set_options(&mut self, options: u32) {
        self.options = options;
    }
}

/// One of the four rings: this end of it, the other one is the kernel's.
#[derive(Debug)]
struct Ring<T> {
    /// Keeps what the pointers point to.
    _map: Mapping,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// Where this end is.
    ours: u32,
    /// Where the kernel's end was when it was looked at last.
    theirs: u32,
}

// SAFETY: the mapping is this ring's alone on this side, and reached through `&mut self`; the indices are atomic.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps a ring of `size` slots, a power of two.
    fn map(socket: BorrowedFd<'_>, offsets: &libc::xdp_ring_offset, page: u64, size: u32) -> io::Result<Self> {
        let map = Mapping::of_socket(socket, Self::bytes(offsets, size)?, page)?;
        Self::over(map, offsets, size)
    }

    /// The bytes of a ring, and of what is in front of it.
    fn bytes(offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<usize> {
        let desc = usize::try_from(offsets.desc).map_err(io::Error::other)?;
        Ok(desc + size as usize * size_of::<T>())
    }

    /// A ring in a mapping, empty.
    fn over(map: Mapping, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        let outside = || io::Error::other("a ring's part is outside of its mapping");
        if map.len() < Self::bytes(offsets, size)? || !size.is_power_of_two() {
            return Err(outside());
        }
        let place = |offset: u64| -> io::Result<NonNull<u8>> {
            let offset = usize::try_from(offset).ok().filter(|offset| offset % 4 == 0 && offset + 4 <= map.len());
            // SAFETY: within the mapping.
            Ok(unsafe { map.start().add(offset.ok_or_else(outside)?) })
        };
        Ok(Self {
            producer: place(offsets.producer)?.cast(),
            consumer: place(offsets.consumer)?.cast(),
            flags: place(offsets.flags)?.cast(),
            slots: place(offsets.desc)?.cast(),
            _map: map,
            size,
            ours: 0,
            theirs: 0,
        })
    }

    /// # Safety
    /// `word` is one of this ring's three.
    unsafe fn word(word: &NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: in the mapping, which lives as long as `self`; aligned, as the kernel lays it out.
        unsafe { word.as_ref() }
    }

    /// The slot of an index.
    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: the mask keeps it within the ring's slots, which are in the mapping.
        unsafe { self.slots.add((index & (self.size - 1)) as usize) }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: one of the three.
        unsafe { Self::word(&self.flags) }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// On a ring that this side fills: free slots; the kernel is looked at if there seem to be fewer than `at_least`.
    fn free(&mut self, at_least: u32) -> u32 {
        let known = self.size.saturating_sub(self.ours.wrapping_sub(self.theirs));
        if known >= at_least {
            return known;
        }
        // SAFETY: one of the three. Acquire: the kernel has read the slots before it said so.
        self.theirs = unsafe { Self::word(&self.consumer) }.load(Ordering::Acquire);
        self.size.saturating_sub(self.ours.wrapping_sub(self.theirs))
    }

    /// On a ring that the kernel fills: filled slots, by the kernel's latest word.
    fn waiting(&mut self) -> u32 {
        // SAFETY: one of the three. Acquire: the slots are read after the kernel said that they are written.
        self.theirs = unsafe { Self::word(&self.producer) }.load(Ordering::Acquire);
        self.theirs.wrapping_sub(self.ours).min(self.size)
    }

    /// Fills slots, if there are as many free ones.
    fn produce(&mut self, values: impl ExactSizeIterator<Item = T>) -> usize {
        let Ok(count) = u32::try_from(values.len()) else { return 0 };
        if count == 0 || self.free(count) < count {
            return 0;
        }
        for value in values {
            // SAFETY: a free slot is this side's to write, and it is as large as `T`.
            unsafe { self.slot(self.ours).write(value) };
            self.ours = self.ours.wrapping_add(1);
        }
        // SAFETY: one of the three. Release: the slots are written before the kernel sees that they are.
        unsafe { Self::word(&self.producer) }.store(self.ours, Ordering::Release);
        count as usize
    }

    /// On a ring that the kernel fills: takes up to `most` slots.
    fn consume(&mut self, most: usize, mut take: impl FnMut(usize, T)) -> usize {
        if self.theirs == self.ours {
            // SAFETY: one of the three. Acquire: the slots are read after the kernel said that they are written.
            self.theirs = unsafe { Self::word(&self.producer) }.load(Ordering::Acquire);
        }
        let count = (self.theirs.wrapping_sub(self.ours).min(self.size) as usize).min(most);
        if count == 0 {
            return 0;
        }
        for at in 0..count {
            // SAFETY: the kernel has written the slot, and leaves it alone until it is given back below. Any bytes are a
            // valid `T`: it is made of integers.
            take(at, unsafe { self.slot(self.ours).read() });
            self.ours = self.ours.wrapping_add(1);
        }
        // SAFETY: one of the three. Release: the slots are read before the kernel may write to them.
        unsafe { Self::word(&self.consumer) }.store(self.ours, Ordering::Release);
        count
    }
}

/// The memory and the socket, not bound yet.
#[derive(Debug)]
pub(crate) struct Unbound {
    socket: Arc<OwnedFd>,
    memory: Arc<Mapping>,
    offsets: libc::xdp_mmap_offsets,
    frame_size: usize,
}

/// Memory and rings, where frames may ask for their checksum.
#[derive(Debug)]
pub(crate) struct Offloading {
    rx: Ring<Place>,
    tx: Ring<Place>,
    fill: Ring<u64>,
    completion: Ring<u64>,
    socket: Arc<OwnedFd>,
    memory: Arc<Mapping>,
    frame_size: usize,
}

impl Offloading {
    /// The start of what a descriptor of this memory names.
    fn start(&self, place: &Place) -> NonNull<u8> {
        debug_assert!(place.addr() + place.len() <= self.memory.len());
        // SAFETY: of this memory, as all that call this were promised.
        unsafe { self.memory.start().add(place.addr()) }
    }
}

impl Rings for Offloading {
    type Descriptor = Place;
    type Unbound = Unbound;

    fn make(config: &XskConfig, huge: bool, multi_buffer: bool) -> io::Result<(Unbound, Vec<Place>)> {
        let frame_size = config.frame_size as usize;
        let memory = Mapping::of_memory(config.frame_count as usize * frame_size, huge)?;
        let socket = af_xdp::socket()?;
        // The kernel's own computing (`xsk_skb_metadata`) looks at the first buffer of a packet only.
        let software = config.tx_checksum == TxChecksum::Software && !multi_buffer;
        let flags = libc::XDP_UMEM_TX_METADATA_LEN | if software { libc::XDP_UMEM_TX_SW_CSUM } else { 0 };
        let metadata_bytes = u32::try_from(METADATA_BYTES).map_err(io::Error::other)?;
        af_xdp::register(socket.as_fd(), &memory, config.frame_size, flags, metadata_bytes)?;
        let rings = [
            (libc::XDP_UMEM_FILL_RING, config.fill_ring),
            (libc::XDP_UMEM_COMPLETION_RING, config.completion_ring),
            (libc::XDP_RX_RING, config.rx_ring),
            (libc::XDP_TX_RING, config.tx_ring),
        ];
        for (name, size) in rings {
            sys::set_option(socket.as_fd(), libc::SOL_XDP, name, size)?;
        }
        let offsets = af_xdp::offsets(socket.as_fd())?;
        let places = (0..u64::from(config.frame_count)).map(|index| Place {
            addr: index * frame_size as u64 + u64::from(HEADROOM_BYTES),
            len: 0,
            options: 0,
        });
        let unbound = Unbound { socket: Arc::new(socket), memory: Arc::new(memory), offsets, frame_size };
        Ok((unbound, places.collect()))
    }

    fn bind(config: &XskConfig, facts: &InterfaceFacts, unbound: &Unbound, flags: u16) -> io::Result<Self> {
        let socket = unbound.socket.as_fd();
        let offsets = &unbound.offsets;
        // Before the bind: the kernel maps no ring behind it.
        let made = Self {
            rx: Ring::map(socket, &offsets.rx, page(libc::XDP_PGOFF_RX_RING)?, config.rx_ring)?,
            tx: Ring::map(socket, &offsets.tx, page(libc::XDP_PGOFF_TX_RING)?, config.tx_ring)?,
            fill: Ring::map(socket, &offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING, config.fill_ring)?,
            completion: Ring::map(socket, &offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING, config.completion_ring)?,
            socket: Arc::clone(&unbound.socket),
            memory: Arc::clone(&unbound.memory),
            frame_size: unbound.frame_size,
        };
        af_xdp::bind(socket, facts.ifindex, config.queue, flags)?;
        Ok(made)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    #[inline]
    unsafe fn bytes(&self, place: &Place) -> &[u8] {
        // SAFETY: the caller's promise; the memory lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start(place).as_ptr(), place.len()) }
    }

    #[inline]
    unsafe fn bytes_mut(&self, place: &mut Place) -> &mut [u8] {
        // SAFETY: the caller's promise; the memory lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start(place).as_ptr(), place.len()) }
    }

    #[inline]
    fn set_len(&self, place: &mut Place, len: usize) {
        let room = self.frame_size - place.addr() % self.frame_size;
        place.len = u32::try_from(len.min(room)).unwrap_or(0);
    }

    #[inline]
    unsafe fn request_checksum(&self, place: &mut Place, at: Unfinished) {
        debug_assert!(place.addr() % self.frame_size >= METADATA_BYTES);
        let metadata = Metadata {
            flags: u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM),
            csum_start: at.start,
            csum_offset: at.offset,
            launch_time: 0,
        };
        // SAFETY: the caller's promise: there are as many bytes in front of it.
        let start = unsafe { self.start(place).sub(METADATA_BYTES) };
        // SAFETY: the caller's promise: nobody refers to them. They need not be aligned.
        unsafe { start.cast::<Metadata>().write_unaligned(metadata) };
        place.options |= libc::XDP_TX_METADATA;
    }

    #[inline]
    fn consume_rx(&mut self, out: &mut [Place]) -> usize {
        self.rx.consume(out.len(), |at, place| out[at] = place)
    }

    #[inline]
    fn consume_completion(&mut self, out: &mut [Place]) -> usize {
        self.completion.consume(out.len(), |at, addr| out[at] = Place { addr, len: 0, options: 0 })
    }

    #[inline]
    unsafe fn produce_fill(&mut self, places: &[Place]) -> usize {
        self.fill.produce(places.iter().map(|place| place.addr))
    }

    #[inline]
    unsafe fn produce_tx(&mut self, places: &[Place]) -> usize {
        self.tx.produce(places.iter().copied())
    }

    #[inline]
    fn fill_free(&mut self, at_least: u32) -> u32 {
        self.fill.free(at_least)
    }

    #[inline]
    fn tx_free(&mut self) -> u32 {
        self.tx.free(u32::MAX)
    }

    fn rx_waiting(&mut self) -> u32 {
        self.rx.waiting()
    }

    fn completion_waiting(&mut self) -> u32 {
        self.completion.waiting()
    }

    #[inline]
    fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    #[inline]
    fn tx_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }
}

fn page(offset: libc::off_t) -> io::Result<u64> {
    u64::try_from(offset).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 8;
    const OFFSETS: libc::xdp_ring_offset = libc::xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };

    /// A ring whose indices begin shortly before they wrap, and the kernel's end of it.
    fn ring(begin: u32) -> (Ring<u64>, Ring<u64>) {
        let map = Mapping::of_memory(Ring::<u64>::bytes(&OFFSETS, SIZE).unwrap(), false).unwrap();
        let mut ours = Ring::over(map, &OFFSETS, SIZE).unwrap();
        (ours.ours, ours.theirs) = (begin, begin);
        let theirs = ring_at(&ours);
        // SAFETY: words of the ring.
        unsafe { ours.producer.as_ref() }.store(begin, Ordering::Relaxed);
        // SAFETY: words of the ring.
        unsafe { ours.consumer.as_ref() }.store(begin, Ordering::Relaxed);
        (ours, theirs)
    }

    /// The same ring once more; whose mapping it is stays with the first.
    fn ring_at(ring: &Ring<u64>) -> Ring<u64> {
        let spare = Mapping::of_memory(4096, false).unwrap();
        let Ring { producer, consumer, flags, slots, size, ours, theirs, .. } = *ring;
        Ring { _map: spare, producer, consumer, flags, slots, size, ours, theirs }
    }

    /// Against a queue of at most `SIZE`, in steps of any length, with the indices wrapping on the way.
    #[test]
    fn both_ends_see_a_bounded_queue() {
        for begin in [0, u32::MAX - 1000] {
            let (mut producer, mut consumer) = ring(begin);
            let (mut random, mut next, mut expected, mut inside) = (7_u64, 0_u64, 0_u64, 0_usize);
            for _ in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let count = (random >> 60) as usize;
                if random >> 32 & 1 == 0 {
                    assert_eq!(producer.free(u32::MAX) as usize, SIZE as usize - inside);
                    let values: Vec<u64> = (next..).take(count).collect();
                    let made = producer.produce(values.into_iter());
                    assert_eq!(made, if count + inside <= SIZE as usize { count } else { 0 }, "all or nothing");
                    next += made as u64;
                    inside += made;
                } else {
                    let mut got = Vec::new();
                    assert_eq!(consumer.waiting() as usize, inside);
                    let mut taken = consumer.consume(count, |_, value| got.push(value));
                    // What was there when it looked last; an empty one looks again.
                    taken += consumer.consume(count - taken, |_, value| got.push(value));
                    assert_eq!(taken, count.min(inside));
                    assert!(got.iter().copied().eq((expected..).take(taken)));
                    expected += taken as u64;
                    inside -= taken;
                }
            }
            assert!(expected > 10_000);
        }
    }

    /// A kernel that says impossible things gets no access outside of the ring.
    #[test]
    fn what_the_kernel_says_is_bounded() {
        let (mut producer, mut consumer) = ring(0);
        // SAFETY: words of the ring.
        unsafe { producer.producer.as_ref() }.store(1000, Ordering::Relaxed);
        assert_eq!(consumer.consume(usize::MAX, |_, _| ()), SIZE as usize);
        // SAFETY: words of the ring.
        unsafe { producer.consumer.as_ref() }.store(1000, Ordering::Relaxed);
        assert_eq!(producer.free(u32::MAX), 0);
        let short = Mapping::of_memory(100, false).unwrap();
        assert!(Ring::<u64>::over(short, &OFFSETS, SIZE).is_err());
    }

    #[test]
    fn a_request_is_in_front_of_its_frame() {
        let at = Unfinished { start: 34, offset: 16 };
        let metadata = Metadata { flags: 2, csum_start: at.start, csum_offset: at.offset, launch_time: 0 };
        // linux/if_xdp.h: XDP_TXMD_FLAGS_CHECKSUM is bit 1; the request is behind the 64 bits of flags.
        assert_eq!(u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM), metadata.flags);
        assert_eq!(std::mem::offset_of!(Metadata, csum_start), 8);
        assert_eq!(std::mem::offset_of!(Metadata, csum_offset), 10);
    }
}
