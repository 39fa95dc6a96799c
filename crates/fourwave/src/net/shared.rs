//! What a stream's user and its shard both see.

use super::link::{Job, Link};
use super::options::Options;
use super::ready::{Direction, Kind};
use rtrb::{Consumer, Producer};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The shard's: the handshake is complete.
pub(crate) const CONNECTED: u32 = 1;
/// The shard's: the peer has closed its direction, and all it sent is in the ring.
pub(crate) const PEER_CLOSED: u32 = 1 << 1;
/// The shard's: the connection is over, and all that can still be read is in the ring, or in the tail behind it.
pub(crate) const CLOSED: u32 = 1 << 2;
/// The user's: writing is shut down; nothing comes into the ring any more.
pub(crate) const SHUT_WRITE: u32 = 1 << 3;
/// The user's: reading is shut down.
pub(crate) const SHUT_READ: u32 = 1 << 4;
/// The user's: the handle is dropped.
pub(crate) const DROPPED: u32 = 1 << 5;
/// The user's: with DROPPED, data was left unread, or it lingers for no time: to be reset.
pub(crate) const RESET: u32 = 1 << 6;
/// The user's: Nagle's algorithm is to be off.
pub(crate) const NODELAY: u32 = 1 << 7;
/// The user's: an option has changed.
pub(crate) const OPTIONS: u32 = 1 << 8;
/// The user's: with CLOSED, it was shut down before it was open.
pub(crate) const GIVEN_UP: u32 = 1 << 9;
/// With CLOSED: by an error, whether or not somebody was told of it.
pub(crate) const FAILED: u32 = 1 << 10;

/// What an active open is made of: for the shard.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) remote: SocketAddr,
    pub(crate) rx: Producer<u8>,
    pub(crate) tx: Consumer<u8>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    link: Arc<Link>,
    state: AtomicU32,
    /// An error nobody has been told of (`sk_err` of Linux): an errno, or 0.
    error: AtomicI32,
    /// It is in the shard's queue.
    queued: AtomicBool,
    /// The shard has more for the ring than had room.
    pub(crate) starved: AtomicBool,
    pub(crate) read: Direction,
    pub(crate) write: Direction,
    /// Our address and the peer's, once the shard knows the connection.
    pub(crate) addresses: OnceLock<(SocketAddr, SocketAddr)>,
    opening: Mutex<Option<Opening>>,
    /// What had no room in the ring when the connection failed.
    pub(crate) tail: OnceLock<Box<[u8]>>,
    /// The shard's: where it finds its side.
    pub(crate) index: AtomicU32,
    /// To be told with OPTIONS.
    pub(crate) options: Options,
}

impl Shared {
    /// A stream in its link's count ([`Link::enter`]); it leaves when nobody knows it any more.
    pub(crate) fn new(link: Arc<Link>, state: u32, opening: Option<Opening>) -> Arc<Self> {
        Arc::new(Self {
            link,
            state: AtomicU32::new(state),
            error: AtomicI32::new(0),
            queued: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            read: Direction::new(Kind::Read),
            write: Direction::new(Kind::Write),
            addresses: OnceLock::new(),
            opening: Mutex::new(opening),
            tail: OnceLock::new(),
            index: AtomicU32::new(u32::MAX),
            options: Options::default(),
        })
    }

    /// What the bits promise is seen by who has seen them.
    #[inline]
    pub(crate) fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, bits: u32) {
        self.state.fetch_or(bits, Ordering::AcqRel);
    }

    /// Clears bits; which of them were set.
    pub(crate) fn unset(&self, bits: u32) -> u32 {
        self.state.fetch_and(!bits, Ordering::AcqRel) & bits
    }

    /// The errno nobody was told of yet, once.
    pub(crate) fn take_error(&self) -> Option<i32> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.error.swap(0, Ordering::AcqRel)).filter(|error| *error != 0)
    }

    /// It is over by an error.
    pub(crate) fn fail(&self, errno: i32) {
        self.fail_and(errno, 0);
    }

    /// It is over by an error, and so much else is to be said.
    pub(crate) fn fail_and(&self, errno: i32, bits: u32) {
        if self.state() & CLOSED == 0 {
            self.error.store(errno, Ordering::Release);
            self.end(CLOSED | FAILED | bits);
        }
    }

    /// The user's: the open is given up, and so reset (`tcp_disconnect` of Linux). False: it is open already, or over.
    pub(crate) fn give_up(&self) -> bool {
        let opening = |state| (state & (CONNECTED | CLOSED) == 0).then_some(state | CLOSED | GIVEN_UP);
        let given_up = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, opening).is_ok();
        if given_up {
            self.error.store(Errno::CONNRESET.raw_os_error(), Ordering::Release);
            self.end(CLOSED | FAILED);
        }
        given_up
    }

    /// The shard's: an end has come, which everybody who is registered hears of.
    pub(crate) fn end(&self, bits: u32) {
        self.set(bits);
        self.read.announce();
        if bits & CLOSED != 0 {
            self.write.announce();
        }
    }

    /// The user's: the shard is to look at it.
    #[inline]
    pub(crate) fn tell_shard(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.link.push(Job::Stream(Arc::clone(self)));
        }
    }

    /// The shard's: it looks.
    pub(crate) fn unqueue(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn take_opening(&self) -> Option<Opening> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.leave();
    }
}
