//! What a running stack tells of itself: a snapshot of typed values, and as Prometheus reads it.
//!
//! The loops count in plain numbers of their own. Whoever wants to know asks them, by the same mailbox as the control socket: a
//! loop that spins looks into it at every 32nd turn, one that sleeps is woken. One that does not answer in time is left out.
//!
//! [`FAMILIES`] has every metric's name, kind and meaning; docs/METRICS.md is held against it.

mod families;
mod process;
mod server;
mod text;

pub use families::FAMILIES;
pub(crate) use server::{Listening, Server};
pub use text::{Family, Kind, Text};

pub use crate::meter::Turns;

use crate::control::ClientCounts;
use crate::handoff::HandoffCounters;
use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::bounded;
use stack::{Counters, Usage};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use xdp::{PortStats, Report, RingUse, Steering};

/// A loop that has not answered by then is held up by its application, or by the machine.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// One shard and its loop.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// What the shard has counted since its start.
    pub counters: Counters,
    /// How full it is.
    pub usage: Usage,
    /// What the port has counted; over the kernel's sockets nothing.
    pub port: PortStats,
    /// How full the port's rings are.
    pub rings: Option<RingUse>,
    /// What was handed to and from other shards.
    pub handoff: HandoffCounters,
    /// Parcels of other shards that wait for this one, and the most that may; `None` where there is one shard.
    pub handoff_queue: Option<(u64, u64)>,
    /// Messages to its application that wait.
    pub messages_waiting: u64,
    /// The most that may.
    pub messages_limit: u64,
    /// What the loop does with its time.
    pub turns: Turns,
}

/// A stack, at one time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Metrics {
    /// The shards, in their order; `None`: it did not answer in time, or has ended.
    pub shards: Vec<Option<Box<ShardMetrics>>>,
    /// Packets by what the XDP program decided; empty over the kernel's sockets, and where the kernel does not let it be read.
    pub verdicts: Vec<(&'static str, u64)>,
    /// What was negotiated with the kernel; `None` over the kernel's sockets alone.
    pub report: Option<Arc<Report>>,
    /// Whether connections over the kernel's sockets are counted as well.
    pub kernel_sockets: bool,
    /// Clients of the control socket, by what became of them.
    pub control_clients: Vec<(&'static str, u64)>,
}

impl Metrics {
    /// As Prometheus reads it (text format 0.0.4).
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = Text::new();
        self.write(&mut text);
        text.to_string()
    }

    /// The same, to be followed by an application's own.
    pub fn write(&self, text: &mut Text) {
        families::write(self, text);
        process::write(text);
    }

    /// The shards that did not answer.
    pub fn silent(&self) -> impl Iterator<Item = usize> {
        self.shards.iter().enumerate().filter(|(_, shard)| shard.is_none()).map(|(index, _)| index)
    }
}

/// Asks the loops of a stack, from any thread. It may outlive the stack: then no shard answers.
#[derive(Debug, Clone)]
pub struct Monitor {
    pub(crate) shards: Vec<Mailbox>,
    /// None without an interface.
    pub(crate) steering: Option<Arc<Mutex<Steering>>>,
    pub(crate) report: Option<Arc<Report>>,
    pub(crate) kernel_sockets: bool,
    pub(crate) clients: Arc<ClientCounts>,
}

impl Monitor {
    /// Of loops, and of what they have an interface by; `kernel_sockets`: they have the kernel's as well.
    pub(crate) fn new(
        shards: Vec<Mailbox>,
        of_interface: Option<(Arc<Mutex<Steering>>, Arc<Report>)>,
        kernel_sockets: bool,
    ) -> Self {
        let (steering, report) = of_interface.unzip();
        Self { shards, steering, report, kernel_sockets, clients: Arc::default() }
    }

    /// How things are: all shards are asked at once, and waited for as long as `patience` says.
    #[must_use]
    pub fn metrics(&self, patience: Duration) -> Metrics {
        let until = Instant::now() + patience;
        let asked: Vec<_> = self.shards.iter().map(|mailbox| ask(mailbox, until)).collect();
        let shards = asked.into_iter().map(|answer| answer?.recv_deadline(until).ok()).collect();
        let verdicts = self.steering.as_ref().and_then(|steering| {
            let steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
            steering.verdicts().inspect_err(|error| tracing::debug!(%error, "the verdicts can't be read")).ok()
        });
        let (report, kernel_sockets) = (self.report.clone(), self.kernel_sockets);
        let (verdicts, control_clients) = (verdicts.unwrap_or_default(), self.clients.list());
        Metrics { shards, verdicts, report, kernel_sockets, control_clients }
    }
}

fn ask(mailbox: &Mailbox, until: Instant) -> Option<crossbeam::channel::Receiver<Box<ShardMetrics>>> {
    let (reply, answer) = bounded(1);
    let sent = mailbox.commands.send_deadline(Command::Metrics(reply), until);
    let _ = mailbox.waker.wake();
    sent.ok().map(|()| answer)
}

/// What an application adds to the metrics of its stack.
type More = Arc<dyn Fn(&mut Text) + Send + Sync>;

/// Where metrics are served over HTTP (`GET /metrics`, `GET /healthz`), on a kernel socket by a thread of its own.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) more: Option<More>,
}

impl Endpoint {
    /// The stack's own metrics.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, more: None }
    }

    /// And others behind them: `more` is called for each answer, on the thread that serves.
    #[must_use]
    pub fn with(self, more: impl Fn(&mut Text) + Send + Sync + 'static) -> Self {
        Self { more: Some(Arc::new(more)), ..self }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token, Waker};

    /// One whose loop does not look into its mailbox, and one whose loop has ended: nobody waits longer than he said, and both
    /// are told of as such.
    #[test]
    fn a_shard_that_does_not_answer_is_told_of() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mailbox = || {
            let (commands, inbox) = bounded(1);
            (Mailbox { shard: 0, commands, waker: Arc::clone(&waker) }, inbox)
        };
        let ((held_up, _inbox), (ended, _)) = (mailbox(), mailbox());
        let monitor = Monitor::new(vec![held_up, ended], None, true);
        let (began, patience) = (Instant::now(), Duration::from_millis(100));
        // The second time the question of the first is still there, and there is no room.
        for _ in 0..2 {
            let metrics = monitor.metrics(patience);
            assert_eq!(metrics.silent().collect::<Vec<_>>(), [0, 1]);
            let text = metrics.to_text();
            assert!(text.contains("\nfourwave_shard_up{shard=\"0\"} 0\nfourwave_shard_up{shard=\"1\"} 0\n"), "{text}");
            assert!(text.contains("\nprocess_start_time_seconds "), "{text}");
        }
        assert!(began.elapsed() >= 2 * patience && began.elapsed() < Duration::from_secs(60));
    }
}
