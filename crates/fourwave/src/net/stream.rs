//! The user's end of a stream of the stack.

use super::link::Link;
use super::options::WholeKeepalive;
use super::ready::Registration;
use super::shared::{
    CLOSED, CONNECTED, DROPPED, FAILED, GIVEN_UP, NODELAY, OPTIONS, Opening, PEER_CLOSED, RESET, SHUT_READ, SHUT_WRITE,
    Shared,
};
use mio::{Interest, Registry, Token};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::io::Errno;
use std::any::Any;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// What keeps the stack running.
pub(crate) type Keep = Arc<dyn Any + Send + Sync>;

/// Where bytes are put in, and where they are taken out.
pub(crate) type Ring = (Producer<u8>, Consumer<u8>);

/// Where bytes that are read go.
pub(crate) trait Sink {
    fn room(&self) -> usize;
    /// No more than there is room for.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for &mut [u8] {
    fn room(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        let (into, rest) = std::mem::take(self).split_at_mut(bytes.len());
        into.copy_from_slice(bytes);
        *self = rest;
    }
}

/// Several buffers, one behind the other.
struct Scattered<'a, 'b> {
    bufs: &'a mut [io::IoSliceMut<'b>],
    filled: usize,
}

impl Sink for Scattered<'_, '_> {
    fn room(&self) -> usize {
        self.bufs.iter().map(|buf| buf.len()).sum::<usize>() - self.filled
    }

    fn put(&mut self, mut bytes: &[u8]) {
        let mut skip = self.filled;
        self.filled += bytes.len();
        for buf in &mut *self.bufs {
            let full = skip.min(buf.len());
            let n = (buf.len() - full).min(bytes.len());
            buf[full..full + n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            skip -= full;
        }
    }
}

/// The bytes that have come: the ring, and what is behind it when the connection has failed.
#[derive(Debug)]
struct Incoming {
    ring: Consumer<u8>,
    /// Bytes of the tail that are read.
    tail_read: usize,
}

/// What becomes a [`Stream`] when it is accepted.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    rx: Consumer<u8>,
    tx: Producer<u8>,
}

impl Parts {
    /// Both ends of a stream's rings.
    pub(crate) fn rings(bytes: usize) -> (Ring, Ring) {
        (RingBuffer::new(bytes), RingBuffer::new(bytes))
    }

    pub(crate) const fn new(shared: Arc<Shared>, rx: Consumer<u8>, tx: Producer<u8>) -> Self {
        Self { shared, rx, tx }
    }

    pub(crate) fn into_stream(self, keep: Keep) -> Stream {
        Stream {
            shared: self.shared,
            rx: Mutex::new(Incoming { ring: self.rx, tail_read: 0 }),
            tx: Mutex::new(self.tx),
            registration: Mutex::default(),
            linger: Mutex::default(),
            reset: AtomicBool::new(false),
            _keep: keep,
        }
    }
}

/// The user's end. The locks are for threads that share a stream among them; the shard never takes one.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    rx: Mutex<Incoming>,
    tx: Mutex<Producer<u8>>,
    registration: Mutex<Registration>,
    linger: Mutex<Option<Duration>>,
    /// To be reset on drop: it lingers for no time.
    reset: AtomicBool,
    _keep: Keep,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

impl Stream {
    /// Asks a shard for an active open; the stream has its place there ([`Link::enter`]).
    pub(crate) fn connect(link: &Arc<Link>, remote: SocketAddr, keep: Keep) -> Self {
        let ((rx_in, rx), (tx, tx_out)) = Parts::rings(link.ring_bytes);
        let opening = Opening { remote, rx: rx_in, tx: tx_out };
        let shared = Shared::new(Arc::clone(link), 0, Some(opening));
        shared.tell_shard();
        Parts::new(shared, rx, tx).into_stream(keep)
    }

    /// Reads, as a kernel's socket that doesn't block does: data first, then the end in order or the error, once.
    pub(crate) fn read(&self, mut buf: &mut [u8]) -> io::Result<usize> {
        self.receive(&mut buf, None, false)
    }

    pub(crate) fn read_vectored(&self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        self.receive(&mut Scattered { bufs, filled: 0 }, None, false)
    }

    pub(crate) fn peek(&self, mut buf: &mut [u8]) -> io::Result<usize> {
        self.receive(&mut buf, None, true)
    }

    /// As [`read`](Self::read); a task is woken instead of `WouldBlock`.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<io::Result<usize>> {
        pending(self.receive(sink, Some(cx), false))
    }

    /// As [`peek`](Self::peek), for a task.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<io::Result<usize>> {
        pending(self.receive(sink, Some(cx), true))
    }

    fn receive(&self, sink: &mut impl Sink, cx: Option<&mut Context<'_>>, peek: bool) -> io::Result<usize> {
        if sink.room() == 0 {
            return Ok(0);
        }
        let mut rx = lock(&self.rx);
        if let Some(result) = self.look(&mut rx, sink, peek) {
            return result;
        }
        if let Some(cx) = cx {
            self.shared.read.set_task(cx.waker());
        }
        self.shared.read.arm_empty();
        self.look(&mut rx, sink, peek).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// One look at what is there; `None`: nothing yet.
    fn look(&self, rx: &mut Incoming, sink: &mut impl Sink, peek: bool) -> Option<io::Result<usize>> {
        // The state first: what it promises is in the ring then.
        let state = self.shared.state();
        let room = sink.room();
        let (before, n) = take_from(&mut rx.ring, sink, peek);
        if n > 0 {
            match peek {
                true => self.after_peek(&rx.ring, before),
                false => self.after_read(&rx.ring, n < room),
            }
            return Some(Ok(n));
        }
        if state & CLOSED != 0
            && let Some(rest) =
                self.shared.tail.get().and_then(|tail| tail.get(rx.tail_read..)).filter(|r| !r.is_empty())
        {
            let n = rest.len().min(room);
            sink.put(&rest[..n]);
            rx.tail_read += if peek { 0 } else { n };
            return Some(Ok(n));
        }
        // As tcp_recvmsg of Linux: behind a FIN there is nothing but the end; an error is told once, then there is the end. Who
        // doesn't want to read is not told by a read.
        if state & (PEER_CLOSED | SHUT_READ) != 0 {
            return Some(Ok(0));
        }
        // An error that has come behind the look at the state may have data before it.
        if state & CLOSED == 0 {
            return None;
        }
        let then = if state & GIVEN_UP == 0 { Ok(0) } else { Err(errno(Errno::NOTCONN)) };
        Some(self.shared.take_error().map_or(then, |error| Err(io::Error::from_raw_os_error(error))))
    }

    /// Tells the shard when half of the ring is free again; and who has read the last byte without a `WouldBlock` shall hear
    /// of the next one, too, as from epoll.
    fn after_read(&self, ring: &Consumer<u8>, short: bool) {
        fence(Ordering::SeqCst);
        let starved = &self.shared.starved;
        if starved.load(Ordering::Relaxed)
            && ring.slots() <= ring.buffer().capacity() / 2
            && starved.swap(false, Ordering::SeqCst)
        {
            self.shared.tell_shard();
        }
        if short {
            self.shared.read.arm();
            if self.is_readable(ring) {
                self.shared.read.signal();
            }
        }
    }

    /// Who peeks and finds too little waits for more: it is news, though what is there was not read.
    fn after_peek(&self, ring: &Consumer<u8>, before: usize) {
        self.shared.read.arm();
        if ring.slots() > before {
            self.shared.read.signal();
        }
    }

    fn is_readable(&self, ring: &Consumer<u8>) -> bool {
        self.is_read_closed() || ring.slots() > 0
    }

    /// Writes, as a kernel's socket that doesn't block does: an error is told once, then writing is broken.
    pub(crate) fn write(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.transmit(bufs, None)
    }

    /// As [`write`](Self::write); a task is woken instead of `WouldBlock`.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        pending(self.transmit(bufs, Some(cx)))
    }

    fn transmit(&self, bufs: &[io::IoSlice<'_>], cx: Option<&mut Context<'_>>) -> io::Result<usize> {
        let mut tx = lock(&self.tx);
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.may_write()?;
        let mut done = if self.is_connected() { push(&mut tx, bufs, 0) } else { 0 };
        if done < wanted {
            if let Some(cx) = cx {
                self.shared.write.set_task(cx.waker());
            }
            if done == 0 {
                self.shared.write.arm_empty();
                self.may_write()?;
            } else {
                self.shared.write.arm();
            }
            if self.is_connected() {
                done += push(&mut tx, bufs, done);
            }
        }
        if done > 0 {
            self.shared.tell_shard();
        }
        if done == 0 && wanted > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(done) }
    }

    /// As `tcp_sendmsg` of Linux: what nobody was told of yet, then `EPIPE`.
    fn may_write(&self) -> io::Result<()> {
        let state = self.shared.state();
        if let Some(error) = self.shared.take_error() {
            return Err(io::Error::from_raw_os_error(error));
        }
        if state & (CLOSED | SHUT_WRITE) != 0 { Err(errno(Errno::PIPE)) } else { Ok(()) }
    }

    fn is_connected(&self) -> bool {
        self.shared.state() & CONNECTED != 0
    }

    fn is_writable(&self) -> bool {
        let state = self.shared.state();
        state & (CLOSED | SHUT_WRITE) != 0 || (state & CONNECTED != 0 && lock(&self.tx).slots() > 0)
    }

    /// For a task: the open is over, one way or the other; its error is taken.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.write.set_task(cx.waker());
        self.shared.write.arm();
        let state = self.shared.state();
        match self.shared.take_error() {
            Some(error) => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            None if state & CONNECTED != 0 => Poll::Ready(Ok(())),
            None if state & CLOSED != 0 => Poll::Ready(Err(errno(Errno::NOTCONN))),
            None => Poll::Pending,
        }
    }

    /// For a task: whether a read would give something now.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let rx = lock(&self.rx);
        self.shared.read.set_task(cx.waker());
        self.shared.read.arm();
        if self.is_readable(&rx.ring) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// For a task: whether a write would take something now.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.write.set_task(cx.waker());
        self.shared.write.arm();
        if self.is_writable() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The direction a task waits for, and whether its waiting is over.
    #[cfg(feature = "tokio")]
    pub(crate) fn reading(&self) -> (&super::ready::Direction, bool) {
        (&self.shared.read, self.is_readable(&lock(&self.rx).ring))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn writing(&self) -> (&super::ready::Direction, bool) {
        (&self.shared.write, self.is_writable())
    }

    /// Nothing more comes than is there: told where data is.
    pub(crate) fn is_read_closed(&self) -> bool {
        self.shared.state() & (PEER_CLOSED | CLOSED | SHUT_READ) != 0
    }

    /// It is over by an error, told there as well.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.state() & FAILED != 0
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if self.shared.give_up() {
            self.shared.tell_shard();
            return Ok(());
        }
        if self.shared.state() & CLOSED != 0 {
            return Err(errno(Errno::NOTCONN));
        }
        if how != Shutdown::Read {
            // Under the lock: nothing is written behind it.
            let _tx = lock(&self.tx);
            self.shared.set(SHUT_WRITE);
        }
        if how != Shutdown::Write {
            self.shared.set(SHUT_READ);
        }
        self.shared.tell_shard();
        self.shared.read.signal();
        self.shared.write.signal();
        Ok(())
    }

    pub(crate) fn set_nodelay(&self, on: bool) {
        match on {
            true => self.shared.set(NODELAY),
            false => _ = self.shared.unset(NODELAY),
        }
        self.shared.set(OPTIONS);
        self.shared.tell_shard();
    }

    /// Nagle's algorithm is part of it, and may be set otherwise behind it.
    pub(crate) fn set_profile(&self, profile: crate::Profile) {
        self.shared.options.set_profile(profile);
        self.set_nodelay(profile == crate::Profile::Latency);
    }

    pub(crate) fn nodelay(&self) -> bool {
        self.shared.state() & NODELAY != 0
    }

    pub(crate) fn set_user_timeout(&self, time: Option<crate::Duration>) {
        self.shared.options.set_user_timeout(time);
        self.shared.set(OPTIONS);
        self.shared.tell_shard();
    }

    pub(crate) fn set_keepalive(&self, settings: Option<WholeKeepalive>) {
        self.shared.options.set_keepalive(settings);
        self.shared.set(OPTIONS);
        self.shared.tell_shard();
    }

    pub(crate) fn set_linger(&self, time: Option<Duration>) {
        *lock(&self.linger) = time;
        self.reset.store(time == Some(Duration::ZERO), Ordering::Relaxed);
    }

    pub(crate) fn linger(&self) -> Option<Duration> {
        *lock(&self.linger)
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.shared.take_error().map(io::Error::from_raw_os_error)
    }

    /// Until the shard has begun the open: the unspecified address, as of a kernel's socket that is not bound.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.shared.addresses.get().map_or((Ipv4Addr::UNSPECIFIED, 0).into(), |(local, _)| *local)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        let state = self.shared.state();
        match self.shared.addresses.get() {
            Some((_, remote)) if state & CONNECTED != 0 && state & CLOSED == 0 => Ok(*remote),
            _ => Err(errno(Errno::NOTCONN)),
        }
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let mut registration = lock(&self.registration);
        if registration.is_any() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set_registration(&mut registration, registry, token, interests)
    }

    pub(crate) fn reregister(&self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let mut registration = lock(&self.registration);
        if !registration.is_any() {
            return Err(errno(Errno::NOENT));
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
        let read = (&self.shared.read, || self.is_readable(&lock(&self.rx).ring));
        let write = (&self.shared.write, || self.is_writable());
        registration.set(registry, token, interests, read, write)
    }

    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        lock(&self.registration).clear(registry, &self.shared.read, &self.shared.write)
    }
}

impl Drop for Stream {
    /// What is written is sent in the background, and the connection closed; reset, if data was left unread.
    fn drop(&mut self) {
        let unread = lock(&self.rx).ring.slots() > 0;
        let reset = if unread || self.reset.load(Ordering::Relaxed) { RESET } else { 0 };
        self.shared.set(DROPPED | SHUT_WRITE | reset);
        self.shared.read.mute();
        self.shared.write.mute();
        self.shared.tell_shard();
    }
}

#[allow(dead_code, reason = "for sockets of tasks")]
fn pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// Gives the sink what it has room for; it stays in the ring if it is only looked at. How much there was, and what was given.
fn take_from(ring: &mut Consumer<u8>, sink: &mut impl Sink, peek: bool) -> (usize, usize) {
    let there = ring.slots();
    let n = there.min(sink.room());
    let Ok(chunk) = ring.read_chunk(n) else { return (there, 0) };
    let (a, b) = chunk.as_slices();
    sink.put(a);
    sink.put(b);
    if !peek {
        chunk.commit_all();
    }
    (there, n)
}

/// Moves what there is room for into the ring, behind the first `skip` bytes.
fn push(ring: &mut Producer<u8>, bufs: &[io::IoSlice<'_>], mut skip: usize) -> usize {
    let mut done = 0;
    for buf in bufs {
        let rest = &buf[skip.min(buf.len())..];
        skip -= buf.len() - rest.len();
        let taken = ring.push_partial_slice(rest).0.len();
        done += taken;
        if taken < rest.len() {
            break;
        }
    }
    done
}
