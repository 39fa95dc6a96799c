//! Readiness of one direction: how a program that has met `WouldBlock` hears that it may try again.
//!
//! It is told once: who tries and finds nothing arms it *before* looking a last time, and the shard, having done something,
//! looks whether it is armed. So either the program's last look or the shard sees what the other did, and no edge is lost.
//! A spurious one is possible, as mio allows.

#[cfg(feature = "tokio")]
use super::waiters::Waiters;
use atomic_waker::AtomicWaker;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

/// What an event descriptor holds when it is full: it is not writable then (eventfd(2)).
const FULL: u64 = u64::MAX - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its event descriptor is readable when the stream is: it holds something.
    Read,
    /// Its event descriptor is writable when the stream is: it is not full.
    Write,
}

#[derive(Debug)]
pub(crate) struct Direction {
    kind: Kind,
    armed: AtomicBool,
    /// The program has given its handle up: its loop hears no more of it, though the descriptor is not closed yet.
    muted: AtomicBool,
    task: AtomicWaker,
    #[cfg(feature = "tokio")]
    pub(crate) waiters: Waiters,
    /// Made when the stream is first registered with mio; a stream of tokio's has none.
    fd: OnceLock<OwnedFd>,
}

impl Direction {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            armed: AtomicBool::new(false),
            muted: AtomicBool::new(false),
            task: AtomicWaker::new(),
            #[cfg(feature = "tokio")]
            waiters: Waiters::new(),
            fd: OnceLock::new(),
        }
    }

    /// The shard's: something has happened, and what it was can be seen.
    pub(crate) fn signal(&self) {
        fence(Ordering::SeqCst);
        if self.is_armed() {
            self.fire();
        }
    }

    /// The shard's: as [`signal`](Self::signal), also to who has not met `WouldBlock`, as the kernel tells of an end.
    pub(crate) fn announce(&self) {
        self.armed.store(true, Ordering::SeqCst);
        self.fire();
    }

    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    #[cold]
    fn fire(&self) {
        if self.armed.swap(false, Ordering::SeqCst) && !self.muted.load(Ordering::SeqCst) {
            self.raise();
            if self.muted.load(Ordering::SeqCst) {
                // It was given up meanwhile.
                self.lower();
            }
            self.task.wake();
            #[cfg(feature = "tokio")]
            self.waiters.wake();
        }
    }

    /// The user's: no event comes from now on, as from a descriptor that is closed. The shard may keep its own end for long.
    pub(crate) fn mute(&self) {
        self.muted.store(true, Ordering::SeqCst);
        self.lower();
        drop(self.task.take());
    }

    /// The user's: to be told of what happens from now on. To be followed by a last look.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The user's, who was about to return `WouldBlock`: as [`arm`](Self::arm), and the descriptor says the same.
    pub(crate) fn arm_empty(&self) {
        self.lower();
        self.arm();
    }

    /// The user's: a task to be woken instead of a descriptor. To be followed by [`arm`](Self::arm).
    pub(crate) fn set_task(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// An edge for epoll, whatever the descriptor said before.
    fn raise(&self) {
        let Some(fd) = self.fd.get() else { return };
        match self.kind {
            Kind::Read => {
                let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
            }
            Kind::Write => {
                let _ = rustix::io::write(fd, &FULL.to_ne_bytes());
                let _ = rustix::io::read(fd, &mut [0; 8]);
            }
        }
    }

    fn lower(&self) {
        let Some(fd) = self.fd.get() else { return };
        let _ = match self.kind {
            Kind::Read => rustix::io::read(fd, &mut [0; 8]).map(|_| ()),
            Kind::Write => rustix::io::write(fd, &FULL.to_ne_bytes()).map(|_| ()),
        };
    }

    fn descriptor(&self) -> io::Result<&OwnedFd> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd);
        }
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(self.fd.get_or_init(|| fd))
    }

    /// Registers, or registers anew: if `is_ready` there is an event at once.
    fn register(
        &self,
        registry: &Registry,
        token: Token,
        anew: bool,
        is_ready: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let fd = self.descriptor()?.as_raw_fd();
        self.arm_empty();
        if is_ready() {
            self.fire();
        }
        let interest = match self.kind {
            Kind::Read => Interest::READABLE,
            Kind::Write => Interest::WRITABLE,
        };
        match anew {
            true => registry.reregister(&mut SourceFd(&fd), token, interest),
            false => registry.register(&mut SourceFd(&fd), token, interest),
        }
    }

    fn deregister(&self, registry: &Registry) -> io::Result<()> {
        match self.fd.get() {
            Some(fd) => registry.deregister(&mut SourceFd(&fd.as_raw_fd())),
            None => Ok(()),
        }
    }
}

/// Which directions are registered.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    read: bool,
    write: bool,
}

impl Registration {
    /// Makes it what `interests` says. After an error it is what it was, so that it can be tried again.
    pub(crate) fn set(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
        (read, is_readable): (&Direction, impl FnOnce() -> bool),
        (write, is_writable): (&Direction, impl FnOnce() -> bool),
    ) -> io::Result<()> {
        // Descriptors may be wanting: both are there before anything changes.
        for (wanted, direction) in [(interests.is_readable(), read), (interests.is_writable(), write)] {
            if wanted {
                direction.descriptor()?;
            }
        }
        if interests.is_readable() {
            read.register(registry, token, self.read, is_readable)?;
        }
        if interests.is_writable()
            && let Err(error) = write.register(registry, token, self.write, is_writable)
        {
            if interests.is_readable() && !self.read {
                let _ = read.deregister(registry);
            }
            return Err(error);
        }
        let now = Self { read: interests.is_readable(), write: interests.is_writable() };
        let before = std::mem::replace(self, now);
        if before.read && !self.read {
            read.deregister(registry)?;
        }
        if before.write && !self.write {
            write.deregister(registry)?;
        }
        Ok(())
    }

    pub(crate) const fn is_any(&self) -> bool {
        self.read || self.write
    }

    pub(crate) fn clear(&mut self, registry: &Registry, read: &Direction, write: &Direction) -> io::Result<()> {
        if !self.is_any() {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error()));
        }
        if std::mem::take(&mut self.read) {
            read.deregister(registry)?;
        }
        if std::mem::take(&mut self.write) {
            write.deregister(registry)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    /// Nothing is left behind that would refuse the next attempt.
    #[test]
    fn a_registration_that_failed_can_be_tried_again() {
        let mut poll = Poll::new().unwrap();
        let (read, write) = (Direction::new(Kind::Read), Direction::new(Kind::Write));
        let both = Interest::READABLE | Interest::WRITABLE;
        let mut registration = Registration::default();
        let set = |registration: &mut Registration, token| {
            registration.set(poll.registry(), token, both, (&read, || true), (&write, || false))
        };
        // Somebody else's: the second of the two is refused.
        let taken = write.descriptor().unwrap().as_raw_fd();
        poll.registry().register(&mut SourceFd(&taken), Token(1), Interest::WRITABLE).unwrap();
        assert_eq!(set(&mut registration, Token(2)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!registration.is_any());
        poll.registry().deregister(&mut SourceFd(&taken)).unwrap();
        set(&mut registration, Token(3)).unwrap();
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(3)]);
    }
}
