//! The thread that listens to what stations tell everybody about themselves, on behalf of owned addresses: a gateway that has
//! another MAC address says so, and the kernel's program gives such frames to the kernel.

use crate::error::Error;
use crate::neighbours::Mailbox;
use crate::privileges::Privileges;
use crate::worker::Command;
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use xdp::Announcements;

const FRAMES: Token = Token(0);
const STOP: Token = Token(1);
/// More than any of these frames has.
const FRAME_BYTES: usize = 256;

/// A running listener.
#[derive(Debug)]
pub(crate) struct Overhearing {
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Overhearing {
    /// Gives what is told everybody in the network of `ip` to every loop.
    pub(crate) fn start(
        ifindex: u32,
        ip: IpAddr,
        vlan: Option<u16>,
        loops: Vec<Mailbox>,
        privileges: Privileges,
    ) -> Result<Self, Error> {
        let failed = || Error::system("listening to announcements");
        let announcements = Announcements::open(ifindex, ip, vlan)?;
        let poll = Poll::new().map_err(failed())?;
        poll.registry()
            .register(&mut SourceFd(&announcements.fd().as_raw_fd()), FRAMES, Interest::READABLE)
            .map_err(failed())?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP).map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || match privileges.give_up() {
            Ok(()) => run(announcements, poll, &loops, &stopped),
            Err(error) => tracing::error!(%error, "announcements are not listened to"),
        };
        let thread = std::thread::Builder::new().name("fw-overhear".into()).spawn(run).map_err(failed())?;
        Ok(Self { waker, stop, thread: Some(thread) })
    }
}

impl Drop for Overhearing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut announcements: Announcements, mut poll: Poll, loops: &[Mailbox], stop: &AtomicBool) {
    let mut events = Events::with_capacity(4);
    let mut frame = [0; FRAME_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match announcements.next(&mut frame) {
            Ok(Some(frame)) => {
                for each in loops {
                    // One that has no room is not held up by news: it finds out by asking.
                    let _ = each.commands.try_send(Command::Overheard(frame.into()));
                    let _ = each.waker.wake();
                }
            }
            // An interface that goes down says so once, and is listened to when it is up again; one that is gone is silent.
            Ok(None) | Err(_) => {
                if let Err(error) = poll.poll(&mut events, None) {
                    tracing::debug!(%error, "announcements");
                }
            }
        }
    }
}
