//! The thread that mirrors the kernel's neighbours into the shards, and asks the kernel to resolve new ones.

use crate::error::Error;
use crate::privileges::Privileges;
use crate::worker::Command;
use crossbeam::channel::{Receiver, SendTimeoutError, Sender};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use stack::MacAddr;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use xdp::neighbours::{Neighbour, NeighbourChange, NeighbourMirror};

/// Where a loop is told of neighbours.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
}

impl Mailbox {
    /// Puts a command into the loop's queue and wakes it. Waits while the queue is full; not when the loop has ended, nor
    /// once `stop` is set: then the command is dropped.
    pub(crate) fn send(&self, mut command: Command, stop: &AtomicBool) {
        while let Err(SendTimeoutError::Timeout(back)) = self.commands.send_timeout(command, PATIENCE) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let _ = self.waker.wake();
            command = back;
        }
        let _ = self.waker.wake();
    }
}

/// How long a full queue is waited for before the stop flag is looked at.
const PATIENCE: Duration = Duration::from_millis(10);
const CHANGES: Token = Token(0);
const REQUESTS: Token = Token(1);

/// A running mirror.
#[derive(Debug)]
pub(crate) struct Mirror {
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Task {
    mirror: NeighbourMirror,
    poll: Poll,
    wanted: Receiver<IpAddr>,
    /// One for each loop.
    mailboxes: Vec<Mailbox>,
    stop: Arc<AtomicBool>,
    /// What the loops know, so that a reset can take it back.
    known: BTreeSet<IpAddr>,
}

impl Mirror {
    /// Tells the loops all neighbours of the interface, then follows their changes.
    pub(crate) fn start(
        ifindex: u32,
        wanted: Receiver<IpAddr>,
        mailboxes: Vec<Mailbox>,
        privileges: Privileges,
    ) -> Result<Self, Error> {
        let failed = || Error::system("watching the kernel's neighbours");
        let mut mirror = NeighbourMirror::open(ifindex)?;
        // Told from the thread, since there may be more than the loop's queue has room for; read before, so that a start
        // without them fails.
        let known = mirror.dump()?.into_iter().map(NeighbourChange::Updated).collect();
        let poll = Poll::new().map_err(failed())?;
        poll.registry()
            .register(&mut SourceFd(&mirror.fd().as_raw_fd()), CHANGES, Interest::READABLE)
            .map_err(failed())?;
        let waker = Arc::new(Waker::new(poll.registry(), REQUESTS).map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let task = Task { mirror, poll, wanted, mailboxes, stop: Arc::clone(&stop), known: BTreeSet::new() };
        let run = move || match privileges.give_up_but_mirrors() {
            Ok(()) => task.run(known),
            Err(error) => tracing::error!(%error, "the kernel's neighbours are not followed"),
        };
        let thread = std::thread::Builder::new().name("fw-neighbours".into()).spawn(run).map_err(failed())?;
        Ok(Self { waker, stop, thread: Some(thread) })
    }

    /// Whom to wake when an address is to be resolved.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Task {
    /// Follows the changes behind the first ones.
    fn run(mut self, mut changes: Vec<NeighbourChange>) {
        let mut events = Events::with_capacity(8);
        while !self.stop.load(Ordering::Relaxed) {
            changes.drain(..).for_each(|change| self.apply(&change));
            while let Ok(ip) = self.wanted.try_recv() {
                // An address that the kernel can't resolve stays unknown; the shard asks again and then gives up.
                if let Err(error) = self.mirror.resolve(ip) {
                    tracing::debug!(%ip, %error, "neighbour");
                }
            }
            let drained = match self.mirror.poll_changes(&mut changes) {
                Ok(drained) => drained,
                Err(error) => return tracing::error!(%error, "the kernel's neighbours are no longer followed"),
            };
            // An edge wakes up only who has read everything.
            if drained
                && changes.is_empty()
                && let Err(error) = self.poll.poll(&mut events, None)
            {
                tracing::debug!(%error, "neighbours");
            }
        }
    }

    fn apply(&mut self, change: &NeighbourChange) {
        match change {
            NeighbourChange::Reset => {
                for ip in std::mem::take(&mut self.known) {
                    self.send(ip, None);
                }
            }
            NeighbourChange::Updated(neighbour) => self.tell(neighbour),
            NeighbourChange::Removed(ip) => self.forget(*ip),
        }
    }

    fn tell(&mut self, neighbour: &Neighbour) {
        match neighbour.mac.filter(|_| neighbour.usable) {
            Some(mac) => {
                self.known.insert(neighbour.ip);
                self.send(neighbour.ip, Some(MacAddr(mac.0)));
            }
            None if neighbour.failed => self.forget(neighbour.ip),
            // Being resolved: the address it had until now is still the best guess.
            None => {}
        }
    }

    fn forget(&mut self, ip: IpAddr) {
        self.known.remove(&ip);
        self.send(ip, None);
    }

    fn send(&self, ip: IpAddr, mac: Option<MacAddr>) {
        for mailbox in &self.mailboxes {
            mailbox.send(Command::Neighbour(ip, mac), &self.stop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;

    #[test]
    fn a_full_queue_does_not_hold_who_is_to_stop() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), REQUESTS).unwrap());
        let (commands, inbox) = bounded(1);
        let (mailbox, stop) = (Mailbox { commands, waker }, AtomicBool::new(false));
        let command = || Command::Neighbour([10, 0, 0, 1].into(), None);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                mailbox.send(command(), &stop);
                mailbox.send(command(), &stop);
            });
            std::thread::sleep(Duration::from_millis(50));
            assert!(!sender.is_finished(), "the queue has room for one");
            stop.store(true, Ordering::Relaxed);
        });
        // Nobody took anything out; and an ended loop takes nothing any more.
        assert_eq!(inbox.len(), 1);
        drop(inbox);
        mailbox.send(command(), &AtomicBool::new(false));
    }
}
