//! The common end of a stack's loops.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Nobody has asked yet.
const RUNNING: u8 = 0;
/// The applications go on while they have connections, for the drain time.
const DRAINING: u8 = 1;
/// What is left is closed now.
const NOW: u8 = 2;

/// What the loops of a stack know of their common end: it was asked for, and how far it is.
#[derive(Debug, Default)]
pub struct Ending {
    stage: AtomicU8,
    /// [`ask`](Self::ask) was called.
    asked: AtomicBool,
    /// Shards that drain and have no connection.
    idle: AtomicUsize,
}

impl Ending {
    /// Nobody has asked.
    #[must_use]
    pub const fn new() -> Self {
        Self { stage: AtomicU8::new(RUNNING), asked: AtomicBool::new(false), idle: AtomicUsize::new(0) }
    }

    /// Asks for the end; asking again cuts the drain time short. Loops that sleep are to be woken.
    pub fn ask(&self) {
        if self.asked.swap(true, Ordering::Relaxed) { self.hasten() } else { self.begin() }
    }

    /// The end has begun: the drain time runs.
    pub(crate) fn begin(&self) {
        self.stage.fetch_max(DRAINING, Ordering::Relaxed);
    }

    /// The drain time is over.
    pub(crate) fn hasten(&self) {
        self.stage.fetch_max(NOW, Ordering::Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.stage.load(Ordering::Relaxed) >= DRAINING
    }

    pub(crate) fn is_now(&self) -> bool {
        self.stage.load(Ordering::Relaxed) >= NOW
    }

    /// One shard more has no connection, or one less; true if so many have none.
    pub(crate) fn note_idle(&self, idle: bool, was: &mut bool, shards: usize) -> bool {
        match (std::mem::replace(was, idle), idle) {
            (false, true) => _ = self.idle.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.idle.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        idle && self.idle.load(Ordering::Relaxed) >= shards
    }
}
