//! Waking a loop that sleeps, at no cost if it does not.

use crossbeam::utils::CachePadded;
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// How others call a loop's attention to what they have left for it. A loop that is awake looks by itself: then ringing reads
/// a flag that nobody writes, and makes no system call.
#[derive(Debug)]
pub(crate) struct Bell {
    /// The loop sleeps, or is about to look for the last time before it does.
    asleep: CachePadded<AtomicBool>,
    waker: Arc<Waker>,
}

impl Bell {
    pub(crate) const fn new(waker: Arc<Waker>) -> Self {
        Self { asleep: CachePadded::new(AtomicBool::new(false)), waker }
    }

    /// Ends a sleep of the loop in any case.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Something was left for the loop: it is woken if it sleeps.
    pub(crate) fn ring(&self) {
        // Either the sleeper sees what was left when it looks for the last time, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            let _ = self.waker.wake();
        }
    }

    /// The loop is about to sleep: it is to look once more behind this, and to say [`awake`](Self::awake) afterwards.
    pub(crate) fn about_to_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The loop sleeps no longer, whoever woke it.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
