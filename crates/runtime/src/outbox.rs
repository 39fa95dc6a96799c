//! What a loop is told of the kernel's world: news that its queue has no room for wait here, and hold up nobody else's.
//!
//! A loop takes nothing while its application's callback does not return. Of each subject only the latest news wait, so that
//! there are never more than there are subjects; what a loop is told in the end is how things are then.

use crate::interface::Change;
use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::TrySendError;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Between two looks whether there is room again.
pub(crate) const RETRY: Duration = Duration::from_millis(10);
/// How long a loop may take nothing before that is worth a word.
const SLOW: Duration = Duration::from_secs(1);
/// Subjects that news may wait of: more neighbours than the kernel keeps by default (`gc_thresh3` is 1024).
const MOST: usize = 1 << 16;

/// What news are about, in the order in which they are told: a neighbour is as it is last said to be, and that the kernel is
/// not sure of it, or has forgotten it, comes behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Gone,
    Mac,
    Mtu,
    Addresses,
    Routes,
    Link,
    Landing,
    Neighbour(IpAddr),
    Stale(IpAddr),
    Forgotten(IpAddr),
}

impl Subject {
    /// `None`: a question, or what is no news.
    const fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::Neighbour(ip, _) => Self::Neighbour(*ip),
            Command::Changed(Change::Stale(ip)) => Self::Stale(*ip),
            Command::Changed(Change::Forgotten(ip)) => Self::Forgotten(*ip),
            Command::Changed(Change::Routes(_)) => Self::Routes,
            Command::Changed(Change::Mtu(_)) => Self::Mtu,
            Command::Changed(Change::Mac(_)) => Self::Mac,
            Command::Changed(Change::Addresses { .. }) => Self::Addresses,
            Command::Changed(Change::LinkBack) => Self::Link,
            Command::Gone => Self::Gone,
            Command::Landing(_) => Self::Landing,
            _ => return None,
        })
    }
}

/// The way to one loop.
#[derive(Debug)]
pub(crate) struct Outbox {
    shard: usize,
    mailbox: Mailbox,
    waiting: BTreeMap<Subject, Command>,
    /// Since when there is no room, until it has been said.
    full: Option<Instant>,
    /// There was no room for so many here.
    lost: u64,
}

impl Outbox {
    /// One for each loop.
    pub(crate) fn all(mailboxes: Vec<Mailbox>) -> Vec<Self> {
        let one = |(shard, mailbox)| Self { shard, mailbox, waiting: BTreeMap::new(), full: None, lost: 0 };
        mailboxes.into_iter().enumerate().map(one).collect()
    }

    /// Whether [`flush`](Self::flush) has something to do, after [`RETRY`].
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells the loop, now or when it has room. Never waits.
    pub(crate) fn tell(&mut self, command: Command) {
        if self.waits() {
            return self.wait(command);
        }
        match self.mailbox.commands.try_send(command) {
            Ok(()) => {
                let _ = self.mailbox.waker.wake();
            }
            Err(TrySendError::Full(command)) => {
                self.full = Some(Instant::now());
                self.wait(command);
            }
            // It has ended.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn wait(&mut self, command: Command) {
        let Some(subject) = Subject::of(&command) else { return };
        match subject {
            Subject::Neighbour(ip) => {
                self.waiting.remove(&Subject::Stale(ip));
                self.waiting.remove(&Subject::Forgotten(ip));
            }
            Subject::Forgotten(ip) => drop(self.waiting.remove(&Subject::Stale(ip))),
            _ => {}
        }
        if self.waiting.len() < MOST || self.waiting.contains_key(&subject) {
            self.waiting.insert(subject, command);
        } else {
            self.lost += 1;
            if self.lost == 1 {
                tracing::warn!(self.shard, "a shard takes no news, and more than {MOST} wait for it: some are lost");
            }
        }
    }

    /// Tells the loop what waits for it, as far as there is room now.
    pub(crate) fn flush(&mut self) {
        if !self.waits() {
            return;
        }
        while let Some((subject, command)) = self.waiting.pop_first() {
            match self.mailbox.commands.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => {
                    self.waiting.insert(subject, command);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
        let _ = self.mailbox.waker.wake();
        if self.waits() && self.full.take_if(|since| since.elapsed() >= SLOW).is_some() {
            tracing::warn!(
                self.shard,
                "a shard has taken no news of neighbours and routes for a second: its application's callback does not return"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::{Receiver, bounded};
    use mio::{Poll, Token, Waker};
    use stack::MacAddr;
    use std::sync::Arc;

    /// Ways to loops whose queues have room for so many.
    fn loops(rooms: &[usize]) -> (Vec<Outbox>, Vec<Receiver<Command>>, Poll) {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let ends = rooms.iter().map(|room| bounded(*room));
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            ends.map(|(commands, inbox)| (Mailbox { shard: 0, commands, waker: Arc::clone(&waker) }, inbox)).unzip();
        (Outbox::all(mailboxes), inboxes, poll)
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn at(last: u8, mac: u8) -> Command {
        Command::Neighbour(ip(last), Some(MacAddr([2, 0, 0, 0, 0, mac])))
    }

    fn shown(inbox: &Receiver<Command>) -> Vec<String> {
        inbox.try_iter().map(|command| format!("{command:?}")).collect()
    }

    fn expected(commands: &[Command]) -> Vec<String> {
        commands.iter().map(|command| format!("{command:?}")).collect()
    }

    /// The one whose loop takes nothing gets later what the other got at once, and what is out of date not at all.
    #[test]
    fn a_loop_that_takes_nothing_holds_up_nobody() {
        let (mut all, inboxes, _poll) = loops(&[2, 100]);
        let forgotten = |last| Command::Changed(Change::Forgotten(ip(last)));
        let stale = |last| Command::Changed(Change::Stale(ip(last)));
        let news = [
            at(1, 1),
            at(2, 1),
            // From here on there is no room for the first.
            at(3, 1),
            stale(3),
            at(3, 2),
            at(4, 1),
            stale(4),
            forgotten(4),
            Command::Changed(Change::Mtu(1400)),
            Command::Changed(Change::Mtu(1300)),
            at(1, 2),
            forgotten(2),
        ];
        for command in &news {
            all.iter_mut().for_each(|one| one.tell(command.clone()));
        }
        assert_eq!(shown(&inboxes[1]), expected(&news));
        assert_eq!((all[0].waits(), all[1].waits()), (true, false));
        let mut got = Vec::new();
        while all[0].waits() {
            got.extend(shown(&inboxes[0]));
            all[0].flush();
        }
        got.extend(shown(&inboxes[0]));
        let left = [
            at(1, 1),
            at(2, 1),
            Command::Changed(Change::Mtu(1300)),
            at(1, 2),
            at(3, 2),
            at(4, 1),
            forgotten(2),
            forgotten(4),
        ];
        assert_eq!(got, expected(&left));
    }

    /// News never overtake older ones, though there may be room for them.
    #[test]
    fn what_is_new_comes_behind_what_waits() {
        let (mut all, inboxes, _poll) = loops(&[2]);
        let one = &mut all[0];
        (1..=3).for_each(|last| one.tell(at(last, 1)));
        assert_eq!(shown(&inboxes[0]), expected(&[at(1, 1), at(2, 1)]));
        one.tell(at(3, 2));
        one.flush();
        assert_eq!(shown(&inboxes[0]), expected(&[at(3, 2)]));
        assert!(!one.waits());
        one.tell(at(3, 3));
        assert_eq!(shown(&inboxes[0]), expected(&[at(3, 3)]));
    }

    #[test]
    fn what_waits_is_bounded_and_ends_with_the_loop() {
        let (mut all, mut inboxes, _poll) = loops(&[1]);
        let one = &mut all[0];
        for number in 0..u32::try_from(MOST).unwrap() + 10 {
            let ip = IpAddr::from(number.to_be_bytes());
            one.tell(Command::Neighbour(ip, None));
        }
        assert_eq!((one.waiting.len(), one.lost), (MOST, 9), "one is in the queue");
        inboxes.clear();
        one.flush();
        assert!(!one.waits());
        one.tell(at(1, 1));
        assert!(!one.waits());
    }
}
