//! The system calls of an AF_XDP socket (Documentation/networking/af_xdp.rst), each behind a safe function.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// A mapping, unmapped when it is dropped. What is in it may change at any time: it is shared with the kernel.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is the process's, not a thread's, and this type gives out no reference into it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Fresh memory, zeroed and there at once.
    pub(crate) fn of_memory(len: usize, huge: bool) -> io::Result<Self> {
        let huge = if huge { libc::MAP_HUGETLB } else { 0 };
        Self::new(len, libc::MAP_ANONYMOUS | libc::MAP_SHARED | libc::MAP_POPULATE | huge, -1, 0)
    }

    /// A ring of a socket.
    pub(crate) fn of_socket(socket: BorrowedFd<'_>, len: usize, offset: u64) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        Self::new(len, libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd(), offset)
    }

    fn new(len: usize, flags: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: no address is asked for, so nothing that is mapped is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("a mapping at address 0"))?;
        Ok(Self { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is this value's, and what points into it doesn't outlive it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A socket, bound to nothing.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers `memory` with a socket. The caller keeps it as long as the socket.
pub(crate) fn register(
    socket: BorrowedFd<'_>,
    memory: &Mapping,
    frame_size: u32,
    flags: u32,
    metadata_bytes: u32,
) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: memory.start.as_ptr().expose_provenance() as u64,
        len: memory.len as u64,
        chunk_size: frame_size,
        headroom: 0,
        flags,
        tx_metadata_len: metadata_bytes,
    };
    let len = bytes_of::<libc::xdp_umem_reg>();
    // SAFETY: the registration is read during the call only, and its length is given. The kernel pins the pages it names,
    // which are a mapping's.
    let result = unsafe {
        let value = (&raw const registration).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, value, len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Where in its mapping each ring has what.
pub(crate) fn offsets(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    option(socket, libc::XDP_MMAP_OFFSETS)
}

/// What the kernel has counted.
pub(crate) fn statistics(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    option(socket, libc::XDP_STATISTICS)
}

/// Binds a socket to a queue.
pub(crate) fn bind(socket: BorrowedFd<'_>, ifindex: u32, queue: u32, flags: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).map_err(io::Error::other)?,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let len = bytes_of::<libc::sockaddr_xdp>();
    // SAFETY: the address is read during the call only, and its length is given.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The structures that `getsockopt` may fill: integers only, so that any bytes are valid.
trait Answer: Copy {}
impl Answer for libc::xdp_mmap_offsets {}
impl Answer for libc::xdp_statistics {}

fn option<T: Answer>(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    // SAFETY: `Answer` says that all zeros are a value.
    let mut value: T = unsafe { zeroed() };
    let mut len = bytes_of::<T>();
    // SAFETY: the kernel writes as many bytes as `len` says at most, and both outlive the call.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, (&raw mut value).cast(), &raw mut len) };
    match result {
        0 if len == bytes_of::<T>() => Ok(value),
        0 => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bytes_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}
