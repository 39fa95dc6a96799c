//! A listener of the stack: one queue of accepted connections for all shards and all who accept.

use super::link::{Job, Link};
use super::ready::{Direction, Kind, Registration};
use super::shared::{DROPPED, RESET};
use super::stream::{Keep, Parts, Stream};
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a shard may take to open a listener; one that is ending does not.
const OPENED: Duration = Duration::from_secs(2);

/// What one shard knows of a listener.
#[derive(Debug)]
struct Home {
    link: Arc<Link>,
    /// It is in the shard's queue.
    queued: AtomicBool,
    /// Connections wait at the shard for room here.
    blocked: AtomicBool,
}

/// What the user and all shards see.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// Connections that may wait; each shard may be one over.
    pub(crate) backlog: usize,
    queue: ArrayQueue<Parts>,
    homes: Vec<Home>,
    pub(crate) read: Direction,
    closed: AtomicBool,
    /// An error that [`Listener::take_error`] has not told.
    error: AtomicI32,
    /// Nobody is accepted any more (an errno): it stays so.
    over: AtomicI32,
    /// A shard has opened it, or could not.
    opened: Sender<i32>,
}

impl Listening {
    /// The shard's: it was asked to look.
    pub(crate) fn unqueue(&self, shard: usize) {
        if let Some(home) = self.homes.get(shard) {
            home.queued.swap(false, Ordering::AcqRel);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The shard's: it listens, or can't (an errno).
    pub(crate) fn opened(&self, errno: i32) {
        if errno != 0 {
            return self.fail(errno);
        }
        let _ = self.opened.try_send(errno);
    }

    /// It is over, which everybody who is registered hears of, and who waits until it is open.
    pub(crate) fn fail(&self, errno: i32) {
        self.error.store(errno, Ordering::Release);
        self.over.store(errno, Ordering::Release);
        let _ = self.opened.try_send(errno);
        self.read.announce();
    }

    /// The shard's: whether another connection may be put in; if not, the shard is told when.
    pub(crate) fn has_room(&self, shard: usize) -> bool {
        if self.queue.len() < self.backlog {
            return true;
        }
        let Some(home) = self.homes.get(shard) else { return false };
        home.blocked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.queue.len() < self.backlog
    }

    /// The shard's.
    pub(crate) fn put(&self, parts: Parts) {
        if let Err(parts) = self.queue.push(parts) {
            reset(&parts);
        }
        self.read.signal();
        if self.is_closed() {
            self.empty();
        }
    }

    fn tell(self: &Arc<Self>, home: &Home) {
        if !home.queued.swap(true, Ordering::AcqRel) {
            home.link.push(Job::Listener(Arc::clone(self)));
        }
    }

    fn tell_all(self: &Arc<Self>) {
        for home in &self.homes {
            self.tell(home);
        }
    }

    fn empty(&self) {
        while let Some(parts) = self.queue.pop() {
            reset(&parts);
        }
    }
}

/// Nobody has accepted it.
fn reset(parts: &Parts) {
    parts.shared.set(DROPPED | RESET);
    parts.shared.tell_shard();
}

/// The user's end.
#[derive(Debug)]
pub(crate) struct Listener {
    listening: Arc<Listening>,
    registration: Mutex<Registration>,
    keep: Keep,
    /// Called when it is closed: its address is free.
    release: Release,
}

/// Gives an address back.
pub(crate) struct Release(pub(crate) Box<dyn Fn(SocketAddr) + Send + Sync>);

impl std::fmt::Debug for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Release")
    }
}

impl Listener {
    /// Asks all shards to listen; the answer of each comes by the channel.
    pub(crate) fn open(
        links: &[Arc<Link>],
        address: SocketAddr,
        backlog: usize,
        keep: Keep,
        release: Release,
    ) -> (Self, Receiver<i32>) {
        let (opened, answers) = bounded(links.len());
        let home = |link: &Arc<Link>| Home {
            link: Arc::clone(link),
            queued: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
        };
        let listening = Arc::new(Listening {
            address,
            backlog,
            queue: ArrayQueue::new(backlog + links.len()),
            homes: links.iter().map(home).collect(),
            read: Direction::new(Kind::Read),
            closed: AtomicBool::new(false),
            error: AtomicI32::new(0),
            over: AtomicI32::new(0),
            opened,
        });
        listening.tell_all();
        let listener = Self { listening, registration: Mutex::default(), keep, release };
        (listener, answers)
    }

    /// Waits until all shards listen.
    pub(crate) fn wait(&self, answers: &Receiver<i32>) -> io::Result<()> {
        for _ in 0..self.listening.homes.len() {
            match answers.recv_timeout(OPENED) {
                Ok(0) => {}
                Ok(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Err(_) => return Err(io::ErrorKind::NetworkDown.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        self.take(None)
    }

    /// As [`accept`](Self::accept); a task is woken instead of `WouldBlock`.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        match self.take(Some(cx)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    /// What a task waits for that accepts.
    #[cfg(feature = "tokio")]
    pub(crate) fn reading(&self) -> &Direction {
        &self.listening.read
    }

    fn take(&self, cx: Option<&mut Context<'_>>) -> io::Result<(Stream, SocketAddr)> {
        if let Some(accepted) = self.look() {
            return accepted;
        }
        if let Some(cx) = cx {
            self.listening.read.set_task(cx.waker());
        }
        self.listening.read.arm_empty();
        self.look().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    fn look(&self) -> Option<io::Result<(Stream, SocketAddr)>> {
        let Some(parts) = self.listening.queue.pop() else {
            let over = self.listening.over.load(Ordering::Acquire);
            return (over != 0).then(|| {
                let _ = self.take_error();
                Err(io::Error::from_raw_os_error(over))
            });
        };
        fence(Ordering::SeqCst);
        for home in &self.listening.homes {
            if home.blocked.load(Ordering::Relaxed) && home.blocked.swap(false, Ordering::SeqCst) {
                self.listening.tell(home);
            }
        }
        let remote = parts.shared.addresses.get().map_or(self.listening.address, |(_, remote)| *remote);
        Some(Ok((parts.into_stream(Arc::clone(&self.keep)), remote)))
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        let errno = self.listening.error.swap(0, Ordering::AcqRel);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listening.address
    }

    fn is_readable(&self) -> bool {
        !self.listening.queue.is_empty() || self.listening.over.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let mut registration = self.registration.lock().unwrap_or_else(PoisonError::into_inner);
        if registration.is_any() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set_registration(&mut registration, registry, token, interests)
    }

    pub(crate) fn reregister(&self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let mut registration = self.registration.lock().unwrap_or_else(PoisonError::into_inner);
        if !registration.is_any() {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error()));
        }
        self.set_registration(&mut registration, registry, token, interests)
    }

    fn set_registration(
        &self,
        registration: &mut Registration,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        let read = &self.listening.read;
        // A listener is never writable.
        let never = Direction::new(Kind::Write);
        let interests = interests.remove(Interest::WRITABLE).unwrap_or(Interest::READABLE);
        registration.set(registry, token, interests, (read, || self.is_readable()), (&never, || false))
    }

    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        let mut registration = self.registration.lock().unwrap_or_else(PoisonError::into_inner);
        registration.clear(registry, &self.listening.read, &Direction::new(Kind::Write))
    }
}

impl Drop for Listener {
    /// Who was not accepted is reset.
    fn drop(&mut self) {
        self.listening.closed.store(true, Ordering::SeqCst);
        self.listening.read.mute();
        self.listening.empty();
        self.listening.tell_all();
        (self.release.0)(self.listening.address);
    }
}
