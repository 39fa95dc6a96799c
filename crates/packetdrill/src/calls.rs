//! The functions that C calls: each finds its adapter, catches panics, and answers −1 and `errno` on an error.

use crate::{
    abi::{Flags, PacketdrillInterface, Userdata},
    adapter::{Adapter, timeout_ms},
    errno::{self, Errno, Result},
    profile::Profile,
    sockaddr, user,
};
use libc::{
    c_int, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, msghdr, nfds_t, off64_t, pollfd, size_t, socklen_t,
    ssize_t, timeval,
};
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// The adapter that file descriptors are looked up in by [`getsockopt`], which is told no `userdata`.
static CURRENT: Mutex<Option<Arc<Adapter>>> = Mutex::new(None);

/// packetdrill's entry point: fills the table of functions.
///
/// A mistake in `flags` is said on standard error, and the process ends: packetdrill expects no answer.
///
/// # Safety
/// `flags` is null or a C string, `interface` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: Flags, interface: *mut PacketdrillInterface) {
    if interface.is_null() {
        return;
    }
    let flags = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: not null, so it is a C string, as the caller promises.
        unsafe { CStr::from_ptr(flags) }.to_string_lossy().into_owned()
    };
    let profile: Profile = flags.parse().unwrap_or_else(|problem| {
        eprintln!("fourwave: --so_flags: {problem}");
        std::process::exit(2);
    });
    let adapter = Arc::new(Adapter::new(profile));
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(adapter.clone());
    // SAFETY: not null, so it may be written, as the caller promises.
    unsafe { interface.write(table(Arc::into_raw(adapter).cast_mut().cast())) };
}

fn table(userdata: Userdata) -> PacketdrillInterface {
    PacketdrillInterface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt: get_option,
        setsockopt: set_option,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    }
}

/// The adapter behind `userdata`.
fn adapter<'a>(userdata: Userdata) -> Option<&'a Adapter> {
    // SAFETY: `userdata` is null, or what `packetdrill_interface_init` made of an `Arc`; that lives until `free`, behind which
    // packetdrill calls nothing more. The adapter is only ever shared.
    unsafe { userdata.cast::<Adapter>().as_ref() }
}

/// Runs a call: what it answers, or −1 and `errno`. No panic leaves it.
fn guard<N: TryFrom<i64>>(userdata: Userdata, call: impl FnOnce(&Adapter) -> Result<i64>) -> N
where
    N::Error: std::fmt::Debug,
{
    let result = match adapter(userdata) {
        Some(adapter) => catch_unwind(AssertUnwindSafe(|| call(adapter))).unwrap_or(Err(Errno(libc::EIO))),
        None => Err(Errno(libc::EINVAL)),
    };
    let answer = result.unwrap_or_else(|error| {
        errno::set(error);
        -1
    });
    N::try_from(answer).unwrap_or_else(|_| N::try_from(-1).expect("every signed integer has -1"))
}

fn length(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

extern "C" fn free(userdata: Userdata) {
    if userdata.is_null() {
        return;
    }
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).take();
    // SAFETY: it came from `Arc::into_raw`, and packetdrill frees it once.
    let adapter = unsafe { Arc::from_raw(userdata.cast::<Adapter>().cast_const()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(adapter)));
}

extern "C" fn socket(userdata: Userdata, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    guard(userdata, |a| a.call(|world| world.new_socket(domain, kind, protocol)).map(i64::from))
}

extern "C" fn bind(userdata: Userdata, fd: c_int, address: *const libc::sockaddr, len: socklen_t) -> c_int {
    guard(userdata, |a| {
        let (_, address) = sockaddr::read(address, len)?;
        a.call(|world| world.bind(fd, address)).map(|()| 0)
    })
}

extern "C" fn listen(userdata: Userdata, fd: c_int, backlog: c_int) -> c_int {
    guard(userdata, |a| a.call(|world| world.listen(fd, backlog)).map(|()| 0))
}

extern "C" fn accept(userdata: Userdata, fd: c_int, address: *mut libc::sockaddr, len: *mut socklen_t) -> c_int {
    guard(userdata, |a| {
        let timeout = a.patience(fd, 0);
        let accepted = a.wait(timeout, |world| world.accept(fd))?;
        let (fd, peer, family) = accepted.ok_or(Errno(libc::EAGAIN))?;
        match sockaddr::write(peer, family, address, len) {
            Ok(()) => Ok(fd.into()),
            // Nobody would know the file descriptor: Linux closes it as well.
            Err(error) => a.close(fd).and(Err(error)),
        }
    })
}

extern "C" fn connect(userdata: Userdata, fd: c_int, address: *const libc::sockaddr, len: socklen_t) -> c_int {
    guard(userdata, |a| {
        let (family, remote) = sockaddr::read(address, len)?;
        a.connect(fd, family, remote).map(|()| 0)
    })
}

extern "C" fn read(userdata: Userdata, fd: c_int, to: *mut c_void, len: size_t) -> ssize_t {
    guard(userdata, |a| a.receive(fd, &vec![(to, len)], 0).map(length))
}

extern "C" fn readv(userdata: Userdata, fd: c_int, to: *const iovec, count: c_int) -> ssize_t {
    guard(userdata, |a| a.receive(fd, &vector(to, count)?, 0).map(length))
}

extern "C" fn recv(userdata: Userdata, fd: c_int, to: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    guard(userdata, |a| a.receive(fd, &vec![(to, len)], flags).map(length))
}

extern "C" fn recvfrom(
    userdata: Userdata,
    fd: c_int,
    to: *mut c_void,
    len: size_t,
    flags: c_int,
    _from: *mut libc::sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    guard(userdata, |a| {
        let n = a.receive(fd, &vec![(to, len)], flags)?;
        no_address(from_len)?;
        Ok(length(n))
    })
}

/// A connected socket names no sender.
fn no_address(len: *mut socklen_t) -> Result<()> {
    if len.is_null() { Ok(()) } else { user::write(len.cast(), &0i32.to_ne_bytes()) }
}

extern "C" fn recvmsg(userdata: Userdata, fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    guard(userdata, |a| {
        let n = a.receive(fd, &message_pieces(message)?, flags)?;
        // Of control messages there are none, and no flags to tell.
        user::write(
            message.wrapping_byte_add(std::mem::offset_of!(msghdr, msg_controllen)).cast(),
            &0usize.to_ne_bytes(),
        )?;
        user::write(message.wrapping_byte_add(std::mem::offset_of!(msghdr, msg_flags)).cast(), &0i32.to_ne_bytes())?;
        Ok(length(n))
    })
}

extern "C" fn write(userdata: Userdata, fd: c_int, from: *const c_void, len: size_t) -> ssize_t {
    guard(userdata, |a| a.transmit(fd, &vec![(from.cast_mut(), len)], 0).map(length))
}

extern "C" fn writev(userdata: Userdata, fd: c_int, from: *const iovec, count: c_int) -> ssize_t {
    guard(userdata, |a| a.transmit(fd, &vector(from, count)?, 0).map(length))
}

extern "C" fn send(userdata: Userdata, fd: c_int, from: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    guard(userdata, |a| a.transmit(fd, &vec![(from.cast_mut(), len)], flags).map(length))
}

/// TCP ignores the address of a connected socket.
extern "C" fn sendto(
    userdata: Userdata,
    fd: c_int,
    from: *const c_void,
    len: size_t,
    flags: c_int,
    _to: *const libc::sockaddr,
    _to_len: socklen_t,
) -> ssize_t {
    send(userdata, fd, from, len, flags)
}

extern "C" fn sendmsg(userdata: Userdata, fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    guard(userdata, |a| a.transmit(fd, &message_pieces(message)?, flags).map(length))
}

fn vector(pieces: *const iovec, count: c_int) -> Result<user::Pieces> {
    user::pieces(pieces, usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?)
}

fn message_pieces(message: *const msghdr) -> Result<user::Pieces> {
    let field = |at| user::word(message.wrapping_byte_add(at).cast());
    let vector = field(std::mem::offset_of!(msghdr, msg_iov))? as *const iovec;
    let count = field(std::mem::offset_of!(msghdr, msg_iovlen))?;
    if count > 1024 { Err(Errno(libc::EMSGSIZE)) } else { user::pieces(vector, count) }
}

extern "C" fn fcntl(userdata: Userdata, fd: c_int, command: c_int, argument: c_int) -> c_int {
    guard(userdata, |a| a.call(|world| world.fcntl(fd, command, argument)).map(i64::from))
}

extern "C" fn ioctl(userdata: Userdata, fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    guard(userdata, |a| a.call(|world| world.ioctl(fd, request, argument)).map(|()| 0))
}

extern "C" fn close(userdata: Userdata, fd: c_int) -> c_int {
    guard(userdata, |a| a.close(fd).map(|()| 0))
}

extern "C" fn shutdown(userdata: Userdata, fd: c_int, how: c_int) -> c_int {
    guard(userdata, |a| a.call(|world| world.shutdown(fd, how)).map(|()| 0))
}

extern "C" fn get_option(
    userdata: Userdata,
    fd: c_int,
    level: c_int,
    name: c_int,
    to: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    guard(userdata, |a| a.call(|world| world.getsockopt(fd, level, name, to, len)).map(|()| 0))
}

extern "C" fn set_option(
    userdata: Userdata,
    fd: c_int,
    level: c_int,
    name: c_int,
    from: *const c_void,
    len: socklen_t,
) -> c_int {
    guard(userdata, |a| a.call(|world| world.setsockopt(fd, level, name, from, len)).map(|()| 0))
}

extern "C" fn poll(userdata: Userdata, fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    guard(userdata, |a| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        let due = a.wait(timeout_ms(timeout), |world| world.poll(fds.cast(), count, false))?;
        match due {
            Some(due) => Ok(due.into()),
            // Nothing by then: the answers say so.
            None => a.call(|world| world.poll(fds.cast(), count, true)).map(|due| due.unwrap_or(0).into()),
        }
    })
}

extern "C" fn netdev_send(userdata: Userdata, from: *const c_void, len: size_t) -> c_int {
    guard(userdata, |a| a.netdev_send(from, len).map(|()| 0))
}

/// 0 whatever happens: packetdrill would ask again for ever. `*count` is 0 if nothing will ever come.
extern "C" fn netdev_receive(
    userdata: Userdata,
    to: *mut c_void,
    count: *mut size_t,
    time_usecs: *mut c_longlong,
) -> c_int {
    let received: c_int = guard(userdata, |a| {
        let room = user::word(count.cast())?;
        // packetdrill only says then that a packet of no bytes is too short.
        let (at, datagram) = a.netdev_receive().ok_or_else(|| {
            eprintln!("fourwave: nothing is sent any more: no datagram waits, and no timer runs");
            Errno(libc::EIO)
        })?;
        if datagram.len() > room {
            eprintln!("fourwave: a datagram of {} bytes is sent, packetdrill has room for {room}", datagram.len());
            return Err(Errno(libc::EMSGSIZE));
        }
        user::write(to, &datagram)?;
        user::write(time_usecs.cast(), &at.to_ne_bytes())?;
        user::write(count.cast(), &datagram.len().to_ne_bytes()).map(|()| 0)
    });
    if received != 0 {
        let _ = user::write(count.cast(), &0usize.to_ne_bytes());
    }
    0
}

extern "C" fn usleep(userdata: Userdata, usec: c_uint) -> c_int {
    guard(userdata, |a| {
        a.usleep(usec);
        Ok(0)
    })
}

extern "C" fn gettimeofday(userdata: Userdata, to: *mut timeval, _zone: *mut c_void) -> c_int {
    guard(userdata, |a| {
        let us = a.gettimeofday();
        let time = [us / 1_000_000, us % 1_000_000].map(u64::to_ne_bytes).concat();
        user::write(to.cast(), &time).map(|()| 0)
    })
}

extern "C" fn epoll_create(userdata: Userdata, size: c_int) -> c_int {
    guard(userdata, |a| a.call(|world| world.new_epoll(size)).map(i64::from))
}

extern "C" fn epoll_ctl(userdata: Userdata, epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    guard(userdata, |a| a.call(|world| world.epoll_ctl(epfd, op, fd, event.cast_const().cast())).map(|()| 0))
}

extern "C" fn epoll_wait(userdata: Userdata, epfd: c_int, to: *mut epoll_event, max: c_int, timeout: c_int) -> c_int {
    guard(userdata, |a| {
        a.wait(timeout_ms(timeout), |world| world.epoll_wait(epfd, to.cast(), max)).map(|n| n.unwrap_or(0).into())
    })
}

/// Pipes are the kernel's, and `splice` has none of ours to move bytes to.
extern "C" fn pipe(userdata: Userdata, _ends: *mut c_int) -> c_int {
    guard(userdata, |_| Err(Errno(libc::ENOSYS)))
}

extern "C" fn splice(
    userdata: Userdata,
    _from: c_int,
    _from_at: *mut off64_t,
    _to: c_int,
    _to_at: *mut off64_t,
    _len: size_t,
    _flags: c_uint,
) -> ssize_t {
    guard(userdata, |_| Err(Errno(libc::ENOSYS)))
}

/// libc's `getsockopt`, in whose place this stands when the object is preloaded: packetdrill asks it for `TCP_INFO` of our
/// file descriptors. Any other goes to the kernel.
///
/// # Safety
/// As for getsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    to: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(adapter) = current.filter(|adapter| adapter.owns(fd)) {
        return get_option(Arc::as_ptr(&adapter).cast_mut().cast(), fd, level, name, to, len);
    }
    // SAFETY: the kernel checks what it is given; the caller's promise covers what it writes.
    let answer = unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, to, len) };
    c_int::try_from(answer).unwrap_or(-1)
}
