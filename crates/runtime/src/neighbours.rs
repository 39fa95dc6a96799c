//! The thread that mirrors the kernel's neighbours into the shards, and asks the kernel to resolve new ones.

use crate::error::Error;
use crate::worker::Command;
use crossbeam::channel::{Receiver, Sender, TrySendError};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use stack::MacAddr;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use xdp::neighbours::{Neighbour, NeighbourChange, NeighbourMirror};

/// Where a loop is told of neighbours.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
}

impl Mailbox {
    /// Puts a command into the loop's queue and wakes it; waits while the queue is full, not when the loop has ended.
    pub(crate) fn send(&self, command: Command) {
        let _ = match self.commands.try_send(command) {
            Err(TrySendError::Full(command)) => {
                let _ = self.waker.wake();
                self.commands.send(command).ok()
            }
            sent => sent.ok(),
        };
        let _ = self.waker.wake();
    }
}

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
    mailbox: Mailbox,
    /// What the loops know, so that a reset can take it back.
    known: BTreeSet<IpAddr>,
}

impl Mirror {
    /// Tells the loop all neighbours of the interface, then follows their changes.
    pub(crate) fn start(ifindex: u32, wanted: Receiver<IpAddr>, mailbox: Mailbox) -> Result<Self, Error> {
        let failed = || Error::system("watching the kernel's neighbours");
        let mirror = NeighbourMirror::open(ifindex)?;
        let poll = Poll::new().map_err(failed())?;
        poll.registry()
            .register(&mut SourceFd(&mirror.fd().as_raw_fd()), CHANGES, Interest::READABLE)
            .map_err(failed())?;
        let waker = Arc::new(Waker::new(poll.registry(), REQUESTS).map_err(failed())?);
        let task = Task { mirror, poll, wanted, mailbox, known: BTreeSet::new() };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("fw-neighbours".into())
            .spawn(move || task.run(&stopped))
            .map_err(failed())?;
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
    fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(8);
        // Told from here, not before the loop runs: there may be more neighbours than its queue has room for.
        let mut changes: Vec<_> = match self.mirror.dump() {
            Ok(all) => all.into_iter().map(NeighbourChange::Updated).collect(),
            Err(error) => return tracing::error!(%error, "the kernel's neighbours can't be read"),
        };
        changes.drain(..).for_each(|change| self.apply(&change));
        while !stop.load(Ordering::Relaxed) {
            while let Ok(ip) = self.wanted.try_recv() {
                // An address that the kernel can't resolve stays unknown; the shard asks again and then gives up.
                if let Err(error) = self.mirror.resolve(ip) {
                    tracing::debug!(%ip, %error, "neighbour");
                }
            }
            match self.mirror.poll_changes(&mut changes) {
                Ok(0) => {
                    if let Err(error) = self.poll.poll(&mut events, None) {
                        tracing::debug!(%error, "neighbours");
                    }
                }
                Ok(_) => changes.drain(..).for_each(|change| self.apply(&change)),
                Err(error) => {
                    tracing::error!(%error, "the kernel's neighbours are no longer followed");
                    return;
                }
            }
        }
    }

    fn apply(&mut self, change: &NeighbourChange) {
        match change {
            NeighbourChange::Reset => {
                for ip in std::mem::take(&mut self.known) {
                    self.mailbox.send(Command::Neighbour(ip, None));
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
                self.mailbox.send(Command::Neighbour(neighbour.ip, Some(MacAddr(mac.0))));
            }
            None if neighbour.failed => self.forget(neighbour.ip),
            // Being resolved: the address it had until now is still the best guess.
            None => {}
        }
    }

    fn forget(&mut self, ip: IpAddr) {
        self.known.remove(&ip);
        self.mailbox.send(Command::Neighbour(ip, None));
    }
}
