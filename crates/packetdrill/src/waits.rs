//! Calls that block. Their threads really sleep, and time stands still until they have gone on.
//!
//! packetdrill runs one such call in a thread of its own and looks at our clock when it returns. Since the clock is moved by
//! the other thread, that one waits, whenever something has changed, until every blocked call has looked at it
//! ([`Waits::quiet`]), and has asked for the time if it has returned. Then it takes packetdrill's lock to note what was
//! returned, which it can only do while the other thread sleeps: [`Waits::go_on`].

use stack::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::ThreadId;
use std::time::Duration;

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
    /// Threads that have asked, by the kernel's numbers: what they note has not been waited for.
    noting: Vec<i32>,
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
        let was_waited_for = before != self.returned.len();
        if was_waited_for {
            self.noting.push(own_number());
        }
        was_waited_for
    }

    /// The threads that may have something to note: see [`go_on`].
    pub(crate) fn take_noting(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.noting)
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

/// The kernel's number of this thread.
fn own_number() -> i32 {
    // SAFETY: gettid has no arguments and can't fail.
    unsafe { libc::gettid() }
}

/// Waits, in real time and at most a second, until these threads sleep again: they have noted what their calls returned.
pub(crate) fn go_on(threads: &[i32]) {
    const STEP: Duration = Duration::from_micros(200);
    for thread in threads {
        for _ in 0..5000 {
            // Field 3 of proc_pid_stat(5), behind the name in parentheses.
            let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if matches!(state, None | Some('S')) {
                break;
            }
            std::thread::sleep(STEP);
        }
    }
}
