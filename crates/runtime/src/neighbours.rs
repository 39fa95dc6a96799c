//! The thread that mirrors the kernel's neighbours, routes and interface into the shards, and asks the kernel to resolve new
//! neighbours.

use crate::error::Error;
use crate::interface::{Change, Follower, Start};
use crate::outbox::{Outbox, RETRY};
use crate::privileges::Privileges;
use crate::worker::Command;
use crossbeam::channel::{Receiver, Sender};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use stack::MacAddr;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use xdp::neighbours::{Neighbour, NeighbourChange, NeighbourMirror, Reachability};

/// Where a loop is told of neighbours.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) shard: usize,
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
}

const CHANGES: Token = Token(0);
const REQUESTS: Token = Token(1);
const INTERFACE: Token = Token(2);

/// A running mirror.
#[derive(Debug)]
pub(crate) struct Mirror {
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Task {
    /// Only for addresses shared with the kernel.
    neighbours: Option<NeighbourMirror>,
    interface: Follower,
    poll: Poll,
    wanted: Receiver<IpAddr>,
    /// One for each loop.
    loops: Vec<Outbox>,
    stop: Arc<AtomicBool>,
    /// What the kernel said last of those it knows.
    known: BTreeMap<IpAddr, Reachability>,
}

impl Mirror {
    /// Tells the loops all neighbours of the interface if they share its addresses, then follows their changes and the
    /// interface's.
    pub(crate) fn start(
        start: Start,
        wanted: Receiver<IpAddr>,
        mailboxes: Vec<Mailbox>,
        privileges: Privileges,
    ) -> Result<Self, Error> {
        let failed = || Error::system("watching the kernel's neighbours and interfaces");
        let poll = Poll::new().map_err(failed())?;
        let interface = Follower::open(start)?;
        poll.registry()
            .register(&mut SourceFd(&interface.fd().as_raw_fd()), INTERFACE, Interest::READABLE)
            .map_err(failed())?;
        let (mut neighbours, mut first) = (None, Vec::new());
        if !interface.start().shared.is_empty() {
            let mut mirror = NeighbourMirror::open(interface.start().facts.ifindex)?;
            poll.registry()
                .register(&mut SourceFd(&mirror.fd().as_raw_fd()), CHANGES, Interest::READABLE)
                .map_err(failed())?;
            // Told from the thread, since there may be more than the loop's queue has room for; read before, so that a
            // start without them fails.
            first = mirror.dump()?.into_iter().map(NeighbourChange::Updated).collect();
            neighbours = Some(mirror);
        }
        let waker = Arc::new(Waker::new(poll.registry(), REQUESTS).map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let loops = Outbox::all(mailboxes);
        let task = Task { neighbours, interface, poll, wanted, loops, stop: stopped, known: BTreeMap::new() };
        let run = move || match privileges.give_up_but_mirrors() {
            Ok(()) => task.run(first),
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
            self.loops.iter_mut().for_each(Outbox::flush);
            changes.drain(..).for_each(|change| self.apply(&change));
            self.resolve();
            let drained = match self.read(&mut changes) {
                Ok(drained) => drained,
                Err(error) => {
                    return tracing::error!(%error, "the kernel's neighbours and routes are no longer followed");
                }
            };
            // An edge wakes up only who has read everything.
            if drained
                && changes.is_empty()
                && let Err(error) = self.poll.poll(&mut events, self.wait())
            {
                tracing::debug!(%error, "neighbours");
            }
        }
    }

    /// How long there is nothing to do, if nobody says anything.
    fn wait(&self) -> Option<Duration> {
        let retry = self.loops.iter().any(Outbox::waits).then_some(RETRY);
        [self.interface.wait(), retry].into_iter().flatten().min()
    }

    /// What the kernel has said since; true if that was all.
    fn read(&mut self, changes: &mut Vec<NeighbourChange>) -> Result<bool, Error> {
        let mut drained = match &mut self.neighbours {
            Some(mirror) => mirror.poll_changes(changes)?,
            None => true,
        };
        let mut commands = Vec::new();
        drained &= self.interface.poll(&mut commands)?;
        commands.into_iter().for_each(|command| self.tell(&command));
        Ok(drained)
    }

    fn resolve(&mut self) {
        while let Ok(ip) = self.wanted.try_recv() {
            // An address that the kernel can't resolve stays unknown; the shard asks again and then gives up.
            if let Some(Err(error)) = self.neighbours.as_mut().map(|mirror| mirror.resolve(ip)) {
                tracing::debug!(%ip, %error, "neighbour");
            }
        }
    }

    fn apply(&mut self, change: &NeighbourChange) {
        match change {
            NeighbourChange::Reset => {
                for ip in std::mem::take(&mut self.known).into_keys() {
                    self.tell(&Command::Changed(Change::Forgotten(ip)));
                }
            }
            NeighbourChange::Updated(neighbour) => self.update(neighbour),
            NeighbourChange::Removed(ip) => {
                self.known.remove(ip);
                self.tell(&Command::Changed(Change::Forgotten(*ip)));
            }
        }
    }

    fn update(&mut self, neighbour: &Neighbour) {
        let Neighbour { ip, mac, state } = *neighbour;
        let before = self.known.insert(ip, state);
        if state == Reachability::Failed {
            // It was asked and has not answered. Or somebody wants it forgotten, who does not know better (`ip neigh flush`).
            let asked =
                matches!(before, None | Some(Reachability::Unresolved | Reachability::Probe | Reachability::Failed));
            return match asked {
                true => self.tell(&Command::Neighbour(ip, None)),
                false => self.tell(&Command::Changed(Change::Forgotten(ip))),
            };
        }
        // Being resolved: the address it had until now is still the best guess.
        let Some(mac) = mac.filter(|_| neighbour.usable()) else { return };
        self.tell(&Command::Neighbour(ip, Some(MacAddr(mac.0))));
        if state == Reachability::Stale {
            self.tell(&Command::Changed(Change::Stale(ip)));
        }
    }

    /// Tells all loops.
    fn tell(&mut self, command: &Command) {
        self.loops.iter_mut().for_each(|each| each.tell(command.clone()));
    }
}
