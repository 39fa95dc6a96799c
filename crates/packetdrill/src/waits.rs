//! Calls that block. Their threads really sleep, and time stands still until they have gone on.
//!
//! packetdrill runs one such call in a thread of its own and looks at our clock when it returns. Since the clock is moved by
//! the other thread, that one waits, whenever something has changed, until every blocked call has looked at it
//! ([`Waits::quiet`]), and has asked for the time if it has returned.

use stack::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::ThreadId;

#[derive(Debug)]
struct Wait {
    deadline: Option<Instant>,
    /// It has looked at the latest change.
    looked: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Waits {
    asleep: BTreeMap<u64, Wait>,
    tickets: u64,
    /// Threads whose call has returned, and who haven't asked for the time since. (`ThreadId` has no order.)
    returned: Vec<ThreadId>,
}

impl Waits {
    /// A call blocks, until `deadline` at most; returns its ticket.
    pub(crate) fn begin(&mut self, deadline: Option<Instant>) -> u64 {
        self.tickets += 1;
        self.asleep.insert(self.tickets, Wait { deadline, looked: true });
        self.tickets
    }

    /// A blocked call has looked, and goes on sleeping.
    pub(crate) fn looked(&mut self, ticket: u64) {
        if let Some(wait) = self.asleep.get_mut(&ticket) {
            wait.looked = true;
        }
    }

    /// A blocked call returns.
    pub(crate) fn end(&mut self, ticket: u64, thread: ThreadId) {
        self.asleep.remove(&ticket);
        self.returned.push(thread);
    }

    /// A thread asks for the time; whether somebody may have waited for that.
    pub(crate) fn asked_time(&mut self, thread: ThreadId) -> bool {
        let before = self.returned.len();
        self.returned.retain(|other| *other != thread);
        before != self.returned.len()
    }

    /// Something has changed: every blocked call should look.
    pub(crate) fn changed(&mut self) {
        self.asleep.values_mut().for_each(|wait| wait.looked = false);
    }

    /// Nobody has still to look, or to ask for the time.
    pub(crate) fn quiet(&self) -> bool {
        self.returned.is_empty() && self.asleep.values().all(|wait| wait.looked)
    }

    /// No more waiting for who has returned and does not ask.
    pub(crate) fn give_up(&mut self) {
        self.returned.clear();
    }

    /// The next deadline of a blocked call after `now`.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines: BTreeSet<_> = self.asleep.values().filter_map(|wait| wait.deadline).collect();
        deadlines.into_iter().find(|at| *at > now)
    }
}
