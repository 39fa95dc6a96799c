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

const FRAMES: Token = Token(0);
const COMMANDS: Token = Token(1);
const SOCKETS: Token = Token(2);

/// Sleeps on the port's descriptor, the kernel's sockets and on commands.
#[derive(Debug)]
pub(crate) struct Sleeper {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Sleeper {
    /// `sockets`: readable when the kernel's sockets have something to tell.
    pub(crate) fn new(fd: Option<BorrowedFd<'_>>, sockets: Option<RawFd>) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(fd) = sockets {
            poll.registry().register(&mut SourceFd(&fd), SOCKETS, Interest::READABLE)?;
        }
        if let Some(fd) = fd {
            poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), FRAMES, Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        Ok(Self { poll, events: Events::with_capacity(8), waker })
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
        // Deadlines in the past cost one turn of epoll, not a spin; epoll's own resolution is a millisecond, rounded up.
        let timeout = deadline.map(|at| std::time::Duration::from(at - now));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
