//! A stack whose one loop is turned by its owner, in the owner's thread.

use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::options::{KernelSockets, Options};
use crate::start::{Prepared, Running, prepare};
use crate::worker::{Finished, Worker};
use mio::Waker;
use stack::{App, Duration, Place};
use std::io;
use std::os::fd::RawFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use xdp::{Port, Report, XskPort};

/// A loop without a thread. Whoever has it calls [`turn`](Self::turn) when its descriptor is readable, when
/// [`timeout`](Self::timeout) is over, and whenever the application was asked for something in between.
#[derive(Debug)]
pub struct Driven<A, P = XskPort> {
    /// `None`: it has ended.
    worker: Option<Worker<P, A>>,
    /// What is held, and the threads beside the data path; `None` for a loop over a port of the caller's.
    running: Option<Running<A>>,
}

/// As [`start`](crate::start), without a thread for the loop. The privileges of the calling thread are not touched.
///
/// # Errors
/// As [`start`](crate::start); or the interface has several queues ([`Error::Queues`]).
pub fn drive<A: App>(options: Options, make: impl FnMut(Place) -> A) -> Result<Driven<A>, Error> {
    if options.kernel_sockets == KernelSockets::Only {
        let allowed = "an interface: over the kernel's sockets alone the program needs no stack to drive";
        return Err(Error::Option { field: "kernel_sockets", value: "Only".into(), allowed });
    }
    let Prepared { mut workers, running, .. } = prepare(options, make)?;
    if workers.len() > 1 {
        let interface = running.report().map(|report| report.interface.clone()).unwrap_or_default();
        return Err(Error::Queues { interface, queues: workers.len() });
    }
    Ok(Driven { worker: workers.pop(), running: Some(running) })
}

impl<A: App, P: Port> Driven<A, P> {
    /// A loop over a port of the caller's.
    #[must_use]
    pub const fn over(worker: Worker<P, A>) -> Self {
        Self { worker: Some(worker), running: None }
    }

    /// Does what there is to do, for at most some batches; whether there may be more.
    ///
    /// # Errors
    /// The device failed, which ends the loop and drops its application; or the loop has ended.
    ///
    /// # Panics
    /// As the application does: the loop has ended, and its connections are reset.
    pub fn turn(&mut self) -> io::Result<bool> {
        let turned = self.worker.as_mut().ok_or(io::ErrorKind::NotConnected)?.catch(Worker::turn_once);
        if !matches!(turned, Ok(Ok(_))) {
            drop(self.worker.take());
        }
        turned.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// How long may be slept before the next turn.
    pub fn timeout(&mut self) -> Duration {
        self.worker.as_mut().map_or(Duration::ZERO, Worker::may_sleep)
    }

    /// A descriptor that becomes readable when there is something to do (an epoll one). -1: the loop has ended.
    #[must_use]
    pub fn as_raw_fd(&self) -> RawFd {
        self.worker.as_ref().map_or(-1, Worker::as_raw_fd)
    }

    /// Makes that descriptor readable, from any thread.
    #[must_use]
    pub fn waker(&self) -> Option<Arc<Waker>> {
        self.worker.as_ref().map(Worker::waker)
    }

    /// Whether the application has asked for the end.
    #[must_use]
    pub fn finish_requested(&self) -> bool {
        self.worker.as_ref().is_none_or(Worker::finish_requested)
    }

    /// What was negotiated with the kernel.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.running.as_ref().and_then(Running::report)
    }

    /// Opens ports to listeners.
    #[must_use]
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.running.as_ref().and_then(Running::endpoints)
    }

    /// Ends the loop: connections are closed in order within a second. What remains of the shard; `None`: it has ended
    /// before.
    ///
    /// # Errors
    /// The device failed.
    pub fn end(&mut self) -> io::Result<Option<Finished<A>>> {
        self.worker.take().map(Worker::end).transpose()
    }
}
