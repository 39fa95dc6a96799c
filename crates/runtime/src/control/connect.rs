//! Connecting to a control socket. Without a limit a client waits for ever where the process is stopped and its queue full.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a full queue is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// Connects now. [`io::ErrorKind::WouldBlock`]: somebody listens, and has as many clients waiting as there may be.
pub(super) fn connect(socket: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Whether somebody listens there. No answer is waited for.
pub(super) fn is_listening(socket: &Path) -> io::Result<()> {
    match connect(socket) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        connected => connected.map(drop),
    }
}

/// Connects; a process that is busy is waited for, as long as that is wanted.
pub(super) fn connect_within(socket: &Path, patience: Duration, unwanted: &AtomicBool) -> io::Result<UnixStream> {
    let began = Instant::now();
    loop {
        match connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            connected => return connected,
        }
        go_on(unwanted)?;
        if began.elapsed() >= patience {
            return Err(nothing_within(patience));
        }
        std::thread::sleep(AGAIN);
    }
}

/// An error once nothing more is wanted: none that a read tries again after.
pub(super) fn go_on(unwanted: &AtomicBool) -> io::Result<()> {
    if unwanted.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its answer is not waited for any more"));
    }
    Ok(())
}

/// The end of patience, in words of its own: the kernel's are about resources.
pub(crate) fn nothing_within(patience: Duration) -> io::Error {
    let seconds = patience.as_secs_f64();
    let why = format!("nothing within {seconds} s: is it stopped, or do its loops stand still?");
    io::Error::new(io::ErrorKind::TimedOut, why)
}
