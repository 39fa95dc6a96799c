//! Messages to the applications on the shards: from one another, and from any other thread.
//!
//! Each shard has a bounded queue that many write to and it alone reads. Looking whether there is anything are two loads of
//! lines that nobody writes meanwhile, so a spinning loop looks in every turn.

use crate::bell::Bell;
use crossbeam::queue::ArrayQueue;
use mio::Waker;
use stack::{App, Instant, Message, Shard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Messages an application is given per turn: as with frames, few enough for the rest of the turn not to wait long.
const BATCH: usize = 64;

/// What others reach of a shard.
#[derive(Debug)]
struct Letterbox {
    messages: ArrayQueue<Message>,
    bell: Bell,
    /// Its loop has ended.
    closed: AtomicBool,
    /// Messages of other threads that there was no room for.
    refused: AtomicU64,
}

impl Letterbox {
    /// Something was put in: if the loop has ended meanwhile nobody will take it out, and whoever waits for an answer is to
    /// hear of that by its drop.
    fn bury(&self) {
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.empty();
        }
    }

    fn empty(&self) {
        while self.messages.pop().is_some() {}
    }
}

/// Sends messages to the applications on a stack's shards, from any thread. It may outlive the stack: then everything comes
/// back.
#[derive(Debug, Clone)]
pub struct Poster {
    boxes: Arc<[Letterbox]>,
}

impl Poster {
    /// Sends a message to the application of a shard, by its index, which gets it by [`App::on_message`] in one of its loop's
    /// next turns; a loop that sleeps is woken. Those of one thread come in their order. What is still under way when the stack
    /// ends is dropped.
    ///
    /// # Errors
    /// The message, if there is no such shard, it has ended, or as many wait for it as may
    /// ([`ShardConfig::max_messages`](stack::ShardConfig::max_messages)).
    pub fn post(&self, shard: u16, message: Message) -> Result<(), Message> {
        let Some(letterbox) = self.boxes.get(usize::from(shard)) else { return Err(message) };
        if letterbox.closed.load(Ordering::Relaxed) {
            return Err(message);
        }
        letterbox.messages.push(message).inspect_err(|_| {
            letterbox.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        letterbox.bell.ring();
        letterbox.bury();
        Ok(())
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.boxes.len()).unwrap_or(u16::MAX)
    }
}

/// One shard's end of the post.
#[derive(Debug)]
pub(crate) struct Post {
    index: usize,
    boxes: Arc<[Letterbox]>,
}

impl Post {
    /// The ends of as many shards as there are wakers, each with room for so many messages.
    pub(crate) fn offices(wakers: Vec<Arc<Waker>>, messages: usize) -> (Vec<Self>, Poster) {
        let letterbox = |waker| Letterbox {
            messages: ArrayQueue::new(messages),
            bell: Bell::new(waker),
            closed: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        };
        let boxes: Arc<[_]> = wakers.into_iter().map(letterbox).collect();
        let end = |index| Self { index, boxes: Arc::clone(&boxes) };
        ((0..boxes.len()).map(end).collect(), Poster { boxes: Arc::clone(&boxes) })
    }

    fn own(&self) -> &Letterbox {
        &self.boxes[self.index]
    }

    /// Messages that wait for this shard.
    pub(crate) fn waiting(&self) -> u64 {
        self.own().messages.len() as u64
    }

    /// Gives the application what has come; how many messages that was.
    #[inline]
    pub(crate) fn take_in(&self, now: Instant, shard: &mut Shard, app: &mut impl App) -> usize {
        // Popping from an empty queue takes a fence.
        if self.own().messages.is_empty() {
            return 0;
        }
        for taken in 0..BATCH {
            let Some(message) = self.own().messages.pop() else { return taken };
            shard.on_message(now, message, app);
        }
        BATCH
    }

    /// Moves on what the application has posted to others, as far as they have room.
    #[inline]
    pub(crate) fn forward(&self, shard: &mut Shard) {
        if shard.has_messages() {
            self.forward_all(shard);
        }
    }

    #[cold]
    fn forward_all(&self, shard: &mut Shard) {
        let mut last = None;
        shard.forward_messages(|to, message| {
            let Some(letterbox) = self.boxes.get(usize::from(to)) else { return Ok(()) };
            if letterbox.closed.load(Ordering::Relaxed) {
                return Ok(());
            }
            letterbox.messages.push(message)?;
            letterbox.bury();
            // They come receiver by receiver: each is woken once.
            if last.replace(to).is_some_and(|last| last != to) {
                self.ring(last);
            }
            Ok(())
        });
        self.ring(last);
    }

    fn ring(&self, shard: Option<u16>) {
        if let Some(letterbox) = shard.and_then(|shard| self.boxes.get(usize::from(shard))) {
            letterbox.bell.ring();
        }
    }

    /// Says that this shard is about to sleep; false if there is something for it. [`awake`](Self::awake) ends it.
    pub(crate) fn may_sleep(&self) -> bool {
        self.own().bell.about_to_sleep();
        self.own().messages.is_empty()
    }

    /// The shard sleeps no longer, whoever woke it.
    pub(crate) fn awake(&self) {
        self.own().bell.awake();
    }

    /// Ends the sleep of every shard, whether there is something for it or not.
    pub(crate) fn wakers(&self) -> Vec<Arc<Waker>> {
        self.boxes.iter().map(|letterbox| letterbox.bell.waker()).collect()
    }

    /// Messages of other threads that there was no room for.
    pub(crate) fn refused(&self) -> u64 {
        self.own().refused.load(Ordering::Relaxed)
    }
}

impl Drop for Post {
    /// Nobody waits for a shard that has ended.
    fn drop(&mut self) {
        self.own().closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.own().empty();
    }
}
