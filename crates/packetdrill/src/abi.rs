//! packetdrill's contract, as its `packetdrill.h` has it: a table of functions, each called with our `userdata` first.

use libc::{
    c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, msghdr, nfds_t, off64_t, pollfd,
    size_t, sockaddr, socklen_t, ssize_t, timeval,
};

/// The state that packetdrill hands back to us with every call.
pub(crate) type Userdata = *mut c_void;

/// `struct packetdrill_interface`. packetdrill checks no slot, so all of them are filled.
///
/// `fcntl` and `ioctl` are variadic there. Ours take their third argument by name: the calling conventions of Linux on
/// x86-64 and AArch64 pass an integer or a pointer alike either way.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PacketdrillInterface {
    pub(crate) userdata: Userdata,
    pub(crate) free: extern "C" fn(Userdata),
    pub(crate) socket: extern "C" fn(Userdata, c_int, c_int, c_int) -> c_int,
    pub(crate) bind: extern "C" fn(Userdata, c_int, *const sockaddr, socklen_t) -> c_int,
    pub(crate) listen: extern "C" fn(Userdata, c_int, c_int) -> c_int,
    pub(crate) accept: extern "C" fn(Userdata, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub(crate) connect: extern "C" fn(Userdata, c_int, *const sockaddr, socklen_t) -> c_int,
    pub(crate) read: extern "C" fn(Userdata, c_int, *mut c_void, size_t) -> ssize_t,
    pub(crate) readv: extern "C" fn(Userdata, c_int, *const iovec, c_int) -> ssize_t,
    pub(crate) recv: extern "C" fn(Userdata, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    pub(crate) recvfrom:
        extern "C" fn(Userdata, c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t,
    pub(crate) recvmsg: extern "C" fn(Userdata, c_int, *mut msghdr, c_int) -> ssize_t,
    pub(crate) write: extern "C" fn(Userdata, c_int, *const c_void, size_t) -> ssize_t,
    pub(crate) writev: extern "C" fn(Userdata, c_int, *const iovec, c_int) -> ssize_t,
    pub(crate) send: extern "C" fn(Userdata, c_int, *const c_void, size_t, c_int) -> ssize_t,
    pub(crate) sendto:
        extern "C" fn(Userdata, c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t,
    pub(crate) sendmsg: extern "C" fn(Userdata, c_int, *const msghdr, c_int) -> ssize_t,
    pub(crate) fcntl: extern "C" fn(Userdata, c_int, c_int, c_int) -> c_int,
    pub(crate) ioctl: extern "C" fn(Userdata, c_int, c_ulong, *mut c_void) -> c_int,
    pub(crate) close: extern "C" fn(Userdata, c_int) -> c_int,
    pub(crate) shutdown: extern "C" fn(Userdata, c_int, c_int) -> c_int,
    pub(crate) getsockopt: extern "C" fn(Userdata, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub(crate) setsockopt: extern "C" fn(Userdata, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub(crate) poll: extern "C" fn(Userdata, *mut pollfd, nfds_t, c_int) -> c_int,
    pub(crate) netdev_send: extern "C" fn(Userdata, *const c_void, size_t) -> c_int,
    pub(crate) netdev_receive: extern "C" fn(Userdata, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    pub(crate) usleep: extern "C" fn(Userdata, c_uint) -> c_int,
    pub(crate) gettimeofday: extern "C" fn(Userdata, *mut timeval, *mut c_void) -> c_int,
    pub(crate) epoll_create: extern "C" fn(Userdata, c_int) -> c_int,
    pub(crate) epoll_ctl: extern "C" fn(Userdata, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    pub(crate) epoll_wait: extern "C" fn(Userdata, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pub(crate) pipe: extern "C" fn(Userdata, *mut c_int) -> c_int,
    pub(crate) splice: extern "C" fn(Userdata, c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t,
}

/// The flags packetdrill passes on from `--so_flags`; null if there are none.
pub(crate) type Flags = *const c_char;

// 33 pointers.
const _: () = assert!(size_of::<PacketdrillInterface>() == 264 || size_of::<c_long>() != 8);
