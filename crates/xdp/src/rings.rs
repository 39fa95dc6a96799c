//! What a port needs of its memory, its socket and the four rings, and that by xsk-rs.
//!
//! There is a second one, [`Offloading`](crate::offloading::Offloading), because xsk-rs 0.11 registers the memory without
//! place for metadata.

use std::fmt::Debug;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use crate::config::XskConfig;
use crate::facts::InterfaceFacts;
use crate::port::Unfinished;

/// Says that more of the packet follows, of linux/if_xdp.h.
pub(crate) const XDP_PKT_CONTD: u32 = libc::XDP_PKT_CONTD;

/// Where in the memory something lies: a frame, or what is in it.
pub(crate) trait Descriptor: Copy + Debug + Default + Send {
    /// Bytes from the start of the memory.
    fn addr(&self) -> usize;
    /// Bytes.
    fn len(&self) -> usize;
    fn options(&self) -> u32;
    fn set_options(&mut self, options: u32);

    fn has_more(&self) -> bool {
        self.options() & XDP_PKT_CONTD != 0
    }
}

/// The memory of a port, the socket that is bound to a queue, and the four rings.
pub(crate) trait Rings: Debug + Send + Sized {
    type Descriptor: Descriptor;
    /// Before it is bound.
    type Unbound;

    /// Memory, registered with a socket, and a descriptor for each frame behind the kernel's headroom.
    fn make(config: &XskConfig, huge: bool, multi_buffer: bool) -> io::Result<(Self::Unbound, Vec<Self::Descriptor>)>;
    /// Binds the socket; `flags` are those of `sxdp_flags`. It may be tried again with others.
    fn bind(config: &XskConfig, facts: &InterfaceFacts, unbound: &Self::Unbound, flags: u16) -> io::Result<Self>;
    fn socket(&self) -> BorrowedFd<'_>;

    /// The `len` bytes from a descriptor on.
    ///
    /// # Safety
    /// The descriptor is of this memory, the kernel doesn't have its frame, and nobody writes to it.
    unsafe fn bytes(&self, descriptor: &Self::Descriptor) -> &[u8];
    /// The same, to be written.
    ///
    /// # Safety
    /// The descriptor is of this memory, the kernel doesn't have its frame, and nobody else refers to its bytes.
    #[allow(clippy::mut_from_ref)] // which frame is whose is the caller's to know
    unsafe fn bytes_mut(&self, descriptor: &mut Self::Descriptor) -> &mut [u8];
    /// Sets the length of a descriptor, at most to the end of its frame.
    fn set_len(&self, descriptor: &mut Self::Descriptor, len: usize);
    /// Has the device write a checksum, where it does so.
    ///
    /// # Safety
    /// As [`bytes_mut`](Self::bytes_mut), also of the [`METADATA_BYTES`](crate::offloading::METADATA_BYTES) in front of the
    /// descriptor, which are in its frame.
    unsafe fn request_checksum(&self, descriptor: &mut Self::Descriptor, at: Unfinished);

    fn consume_rx(&mut self, out: &mut [Self::Descriptor]) -> usize;
    fn consume_completion(&mut self, out: &mut [Self::Descriptor]) -> usize;
    /// All of them, or none.
    ///
    /// # Safety
    /// They are of this memory, and nobody refers to their frames.
    unsafe fn produce_fill(&mut self, descriptors: &[Self::Descriptor]) -> usize;
    /// All of them, or none.
    ///
    /// # Safety
    /// As [`produce_fill`](Self::produce_fill).
    unsafe fn produce_tx(&mut self, descriptors: &[Self::Descriptor]) -> usize;
    /// Free slots; the kernel's word is asked for only if there seem to be fewer than `at_least`.
    fn fill_free(&mut self, at_least: u32) -> u32;
    /// Free slots, by the kernel's latest word.
    fn tx_free(&mut self) -> u32;
    /// Filled slots of the RX ring, by the kernel's latest word.
    fn rx_waiting(&mut self) -> u32;
    /// The same of the completion ring.
    fn completion_waiting(&mut self) -> u32;
    fn fill_needs_wakeup(&self) -> bool;
    fn tx_needs_wakeup(&self) -> bool;
}

/// Memory and rings of xsk-rs.
#[derive(Debug)]
pub(crate) struct XskRs {
    umem: Umem,
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
}

impl Descriptor for FrameDesc {
    fn addr(&self) -> usize {
        self.addr()
    }

    fn len(&self) -> usize {
        self.lengths().data()
    }

    fn options(&self) -> u32 {
        self.options()
    }

    fn set_options(&mut self, options: u32) {
        self.set_options(options);
    }
}

impl Rings for XskRs {
    type Descriptor = FrameDesc;
    type Unbound = Umem;

    fn make(config: &XskConfig, huge: bool, _: bool) -> io::Result<(Umem, Vec<FrameDesc>)> {
        let mut builder = UmemConfig::builder();
        builder
            .frame_size(config.frame_size.try_into().map_err(|_| invalid())?)
            .fill_queue_size(config.fill_ring.try_into().map_err(|_| invalid())?)
            .comp_queue_size(config.completion_ring.try_into().map_err(|_| invalid())?)
            .frame_headroom(0);
        let umem_config = builder.build().map_err(|_| invalid())?;
        let count = NonZeroU32::new(config.frame_count).ok_or_else(invalid)?;
        Umem::new(umem_config, count, huge).map_err(|error| os_error(&error))
    }

    fn bind(config: &XskConfig, _: &InterfaceFacts, umem: &Umem, flags: u16) -> io::Result<Self> {
        let ring = |size: u32| size.try_into().map_err(|_| invalid());
        let mut builder = SocketConfig::builder();
        builder
            .rx_queue_size(ring(config.rx_ring)?)
            .tx_queue_size(ring(config.tx_ring)?)
            .bind_flags(BindFlags::from_bits_truncate(flags))
            // The steering program is ours to load.
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD);
        let interface: Interface = config.interface.parse().map_err(|_| invalid())?;
        // SAFETY: loading of a program is inhibited, as the contract asks for shared queues; and none is shared here.
        let made = unsafe { Socket::new(builder.build(), umem, &interface, config.queue) };
        let (tx, rx, rest) = made.map_err(|error| os_error(&error))?;
        let (fill, completion) = rest.ok_or_else(|| io::Error::from_raw_os_error(libc::EBUSY))?;
        let bound = Self { umem: umem.clone(), rx, tx, fill, completion };
        // libxdp leaves it open across an exec: a program started from here would hold the queue when we are long gone.
        rustix::io::fcntl_setfd(bound.socket(), rustix::io::FdFlags::CLOEXEC)?;
        Ok(bound)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the queues hold the socket, and so its descriptor, open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    #[inline]
    unsafe fn bytes(&self, descriptor: &FrameDesc) -> &[u8] {
        // SAFETY: the caller's promise.
        unsafe { self.umem.data(descriptor) }.contents()
    }

    #[inline]
    unsafe fn bytes_mut(&self, descriptor: &mut FrameDesc) -> &mut [u8] {
        // SAFETY: the caller's promise.
        let mut data = unsafe { self.umem.data_mut(descriptor) };
        let whole = data.contents_mut();
        let (start, len) = (whole.as_mut_ptr(), whole.len());
        // SAFETY: the same bytes; `DataMut` only can't give them out for as long as the memory lives.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    #[inline]
    fn set_len(&self, descriptor: &mut FrameDesc, len: usize) {
        // SAFETY: the position changes the descriptor alone; no byte is looked at.
        let mut data = unsafe { self.umem.data_mut(descriptor) };
        data.cursor().set_pos(len);
    }

    unsafe fn request_checksum(&self, _: &mut FrameDesc, _: Unfinished) {
        debug_assert!(false, "this memory has no place for metadata");
    }

    #[inline]
    fn consume_rx(&mut self, out: &mut [FrameDesc]) -> usize {
        // SAFETY: the descriptors are filled by the RX ring of this memory.
        unsafe { self.rx.consume(out) }
    }

    #[inline]
    fn consume_completion(&mut self, out: &mut [FrameDesc]) -> usize {
        // SAFETY: the descriptors are filled by the completion ring of this memory.
        unsafe { self.completion.consume(out) }
    }

    #[inline]
    unsafe fn produce_fill(&mut self, descriptors: &[FrameDesc]) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.fill.produce(descriptors) }
    }

    #[inline]
    unsafe fn produce_tx(&mut self, descriptors: &[FrameDesc]) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.tx.produce(descriptors) }
    }

    #[inline]
    fn fill_free(&mut self, at_least: u32) -> u32 {
        self.fill.nb_free(at_least)
    }

    #[inline]
    fn tx_free(&mut self) -> u32 {
        self.tx.nb_free_exact()
    }

    fn rx_waiting(&mut self) -> u32 {
        self.rx.nb_avail_exact()
    }

    fn completion_waiting(&mut self) -> u32 {
        self.completion.nb_avail_exact()
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

/// What the kernel would say of a size that [`XskConfig::validate`] refuses.
fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

/// The system's error behind one of xsk-rs'.
fn os_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let code = error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    code.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}
