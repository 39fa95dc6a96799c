//! How a loop learns what has happened on the kernel's sockets: by one look at epoll in each turn, in its sleep, or, where it
//! spins over a few connections, by reading from them.

use super::KernelSockets;
use std::time::Duration;

/// The token of what a sleep is ended by besides.
pub(super) const WATCHED: usize = usize::MAX;
/// As many connections as a spinning loop reads from without being told: with more, one look at epoll is cheaper.
const FEW: usize = 8;
/// Reads from each in one turn while nothing comes: what else there is in a turn then takes little of the time.
const READS: u32 = 8;
/// Turns of which one looks at epoll all the same: for who connects, for room to send, and for what a read does not tell.
const TURNS: u32 = 4;

/// What is known between a sleep, or a turn, and the next one.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// A sleep has looked at epoll, and has seen so much.
    slept: Option<usize>,
    /// What is watched besides was readable, and nobody has been told yet.
    called: bool,
    /// The loop does not sleep.
    spins: bool,
    turns: u32,
    /// Reads that are left in this turn.
    reads: u32,
}

impl Waiting {
    pub(super) const fn was_called(&mut self) {
        self.called = true;
    }

    pub(super) const fn never_sleeps(&mut self) {
        self.spins = true;
    }

    /// Something has come.
    pub(super) const fn is_over(&mut self) {
        self.reads = 0;
    }
}

impl KernelSockets {
    /// Looks what has happened, in a turn.
    pub(super) fn look(&mut self) -> usize {
        if let Some(seen) = self.waiting.slept.take() {
            return seen;
        }
        if !self.waiting.spins || self.slots.len() > FEW {
            return self.harvest(Some(Duration::ZERO));
        }
        self.waiting.turns = self.waiting.turns.wrapping_add(1);
        self.waiting.reads = READS;
        if self.waiting.turns.is_multiple_of(TURNS) { self.harvest(Some(Duration::ZERO)) } else { 0 }
    }

    /// Reads once more from every connection. False: that is not for this turn.
    pub(super) fn ask_again(&mut self) -> bool {
        if self.waiting.reads == 0 {
            return false;
        }
        self.waiting.reads -= 1;
        let limit = self.config.queue_bytes;
        for slot in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
            if self.slots[slot as usize].socket.as_mut().is_some_and(|socket| socket.ask(limit)) {
                self.mark(self.id(slot));
            }
        }
        self.turn = self.ready.len();
        true
    }

    /// Looks, in a sleep. True: what is watched besides has ended it.
    pub(super) fn sleep(&mut self, most: Option<Duration>) -> bool {
        let most = if self.waiting.called { Some(Duration::ZERO) } else { most };
        let seen = self.harvest(most) + self.waiting.slept.unwrap_or(0);
        self.waiting.slept = Some(seen);
        std::mem::take(&mut self.waiting.called)
    }
}
