//! What user threads and one shard have in common: the queue of what the shard is asked for, and how it is woken.

use super::listening::Listening;
use super::shared::Shared;
use crossbeam::queue::ArrayQueue;
use mio::Waker;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// Listeners of one stack. A shard's queue has room for all of them, beside its streams.
pub(crate) const MAX_LISTENERS: usize = 1024;

/// Something that has news for its shard. It is in the queue at most once, so a queue as long as there may be streams and
/// listeners is never full.
#[derive(Debug)]
pub(crate) enum Job {
    Stream(Arc<Shared>),
    Listener(Arc<Listening>),
}

/// The way to one shard.
#[derive(Debug)]
pub(crate) struct Link {
    /// The shard's number.
    pub(crate) shard: usize,
    jobs: ArrayQueue<Job>,
    /// The shard's loop sleeps, or is about to look into the queue for the last time before it does.
    asleep: AtomicBool,
    waker: OnceLock<Arc<Waker>>,
    /// Streams whose memory is not free yet, and how many there may be.
    streams: AtomicUsize,
    max_streams: usize,
    /// Bytes of each of a stream's two rings.
    pub(crate) ring_bytes: usize,
    /// The end was asked for; what was written before is with the connections.
    finish: AtomicBool,
    flushed: AtomicBool,
    /// The shard's loop is gone: nobody looks into the queue.
    dead: AtomicBool,
}

impl Link {
    pub(crate) fn new(shard: usize, max_streams: usize, ring_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            shard,
            jobs: ArrayQueue::new(max_streams + MAX_LISTENERS),
            asleep: AtomicBool::new(false),
            waker: OnceLock::new(),
            streams: AtomicUsize::new(0),
            max_streams,
            ring_bytes,
            finish: AtomicBool::new(false),
            flushed: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        })
    }

    /// Said once, before anybody has the link: what ends a sleep of the loop.
    pub(crate) fn set_waker(&self, waker: Arc<Waker>) {
        let _ = self.waker.set(waker);
    }

    /// A place for another stream; given back by [`leave`](Self::leave).
    pub(crate) fn enter(&self) -> bool {
        let enter = |n: usize| (n < self.max_streams).then_some(n + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    pub(crate) fn leave(&self) {
        if self.streams.fetch_sub(1, Ordering::SeqCst) == self.max_streams {
            // Connections may wait for the place.
            self.wake();
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.max_streams
    }

    pub(crate) fn push(&self, job: Job) {
        let pushed = self.jobs.push(job);
        debug_assert!(pushed.is_ok(), "each is in the queue at most once");
        fence(Ordering::SeqCst);
        if self.is_dead() {
            self.bury();
        } else if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            let _ = waker.wake();
        }
    }

    pub(crate) fn ask_to_finish(&self) {
        self.finish.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finish.load(Ordering::Relaxed)
    }

    pub(crate) fn set_flushed(&self) {
        self.flushed.store(true, Ordering::Release);
    }

    /// After the end was asked for: nothing that was written waits for its connection.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Acquire) || self.is_dead()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// The shard's: the next to see to.
    pub(crate) fn pop(&self) -> Option<Job> {
        self.jobs.pop()
    }

    /// The shard's: whether it may sleep. Whoever pushes from now on wakes it.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.jobs.is_empty()
    }

    /// The shard's: it is awake.
    pub(crate) fn awake(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.asleep.store(false, Ordering::Relaxed);
        }
    }

    /// The shard's loop is gone.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.bury();
    }

    /// What was asked of a shard that is gone fails.
    fn bury(&self) {
        while let Some(job) = self.jobs.pop() {
            match job {
                Job::Stream(stream) => stream.fail(rustix::io::Errno::CONNABORTED.raw_os_error()),
                Job::Listener(listener) => listener.fail(rustix::io::Errno::NETDOWN.raw_os_error()),
            }
        }
    }
}
