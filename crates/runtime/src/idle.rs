//! What a loop does while there is nothing to do: spin, or sleep until a frame, a deadline, or a command.

use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use stack::{Duration, Instant};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// The strategy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Idle {
    /// Spin: the lowest latency, a whole core.
    Busy,
    /// Spin while there is traffic and 0.1 ms beyond, then sleep.
    #[default]
    Adaptive,
    /// Sleep at once.
    Sleep,
}

/// How long an adaptive loop spins behind the last work before it sleeps: a few round trips of a fast network.
pub(crate) const LINGER: Duration = Duration::from_micros(100);

/// Turns with work after which a loop that has not slept in between is taken for a busy one.
const BUSY_TURNS: u32 = 64;

const FRAMES: Token = Token(0);
const COMMANDS: Token = Token(1);
const SOCKETS: Token = Token(2);

/// Sleeps on the port's descriptor, the kernel's sockets and on commands.
#[derive(Debug)]
pub(crate) struct Sleeper {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    frames: Option<RawFd>,
    /// Whether the port's descriptor is looked at. It costs the kernel a wakeup for every frame received and sent, whether
    /// anybody sleeps or not: a tenth of what a frame costs on veth.
    watching: bool,
    /// Turns with work since the last sleep.
    worked: u32,
}

impl Sleeper {
    /// `sockets`: readable when the kernel's sockets have something to tell.
    pub(crate) fn new(fd: Option<BorrowedFd<'_>>, sockets: Option<RawFd>) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(fd) = sockets {
            poll.registry().register(&mut SourceFd(&fd), SOCKETS, Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let frames = fd.map(|fd| fd.as_raw_fd());
        let mut sleeper = Self { poll, events: Events::with_capacity(8), waker, frames, watching: false, worked: 0 };
        sleeper.watch()?;
        Ok(sleeper)
    }

    /// The kernel's sockets are slept on by somebody else.
    pub(crate) fn leave(&self, sockets: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&sockets))
    }

    /// From now on a frame ends a sleep; one that is there already ends the next.
    fn watch(&mut self) -> io::Result<()> {
        if let Some(fd) = self.frames.filter(|_| !self.watching) {
            self.poll.registry().register(&mut SourceFd(&fd), FRAMES, Interest::READABLE)?;
            self.watching = true;
        }
        Ok(())
    }

    /// A turn had work to do. After some of them without a sleep the kernel need not tell of frames until the next one.
    pub(crate) fn worked(&mut self) {
        self.worked = self.worked.saturating_add(1);
        if self.worked >= BUSY_TURNS && self.watching {
            self.look_away();
        }
    }

    /// The kernel need not tell of frames until the next sleep.
    #[cold]
    pub(crate) fn look_away(&mut self) {
        // One that can't be let go is still looked at, as before.
        if let Some(fd) = self.frames.filter(|_| self.watching) {
            self.watching = self.poll.registry().deregister(&mut SourceFd(&fd)).is_err();
        }
    }

    /// Ends a sleep from another thread.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// The descriptor that becomes readable when a sleep would end.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Sleeps until there is something to do, or until `deadline`.
    pub(crate) fn sleep(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        self.watch()?;
        self.worked = 0;
        // Deadlines in the past cost one turn of epoll, not a spin; epoll's own resolution is a millisecond, rounded up.
        let timeout = deadline.map(|at| std::time::Duration::from(at - now));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    /// The sleep has no deadline: if nothing ends it, this never ends.
    #[test]
    fn what_came_while_nobody_looked_ends_the_next_sleep() {
        let (port, device) = UnixDatagram::pair().unwrap();
        let mut sleeper = Sleeper::new(Some(port.as_fd()), None).unwrap();
        (1..BUSY_TURNS).for_each(|_| sleeper.worked());
        assert!(sleeper.watching);
        sleeper.worked();
        assert!(!sleeper.watching);
        device.send(b"frame").unwrap();
        sleeper.sleep(Instant::ZERO, None).unwrap();
        assert!(sleeper.watching && sleeper.worked == 0);
    }
}
