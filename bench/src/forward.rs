//! The forwarder: a thread that moves frames between two AF_XDP ports, each when its link says so.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU64,
};

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, gettid, sched_setaffinity, set_current_timer_slack};
use serde::Serialize;
use xdp::{Frame, LocalAddress, Port, PortStats, Steering, XskConfig, XskPort};

use crate::lab::{End, Lab, mac_address, within};
use crate::link::{Impairments, Link, LinkCounters};

/// Frames taken at a time.
const BATCH: usize = 64;
/// What is due sooner than this is waited for awake.
const AWAKE: Duration = Duration::from_micros(60);
/// The longest sleep: how soon a stop is seen.
const NAP: Duration = Duration::from_millis(20);

/// Where and how the thread runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Placement {
    /// Its core; `None`: any.
    pub core: Option<usize>,
    /// Ahead of all ordinary threads (`SCHED_FIFO`, by `chrt`).
    pub realtime: bool,
}

/// A running forwarder. Dropping it stops it.
#[derive(Debug)]
pub struct Forwarder {
    stop: Arc<AtomicBool>,
    changes: Sender<[Impairments; 2]>,
    thread: Option<JoinHandle<io::Result<Forwarded>>>,
}

/// What a forwarder has done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forwarded {
    /// From a to b.
    pub a_to_b: LinkCounters,
    /// From b to a.
    pub b_to_a: LinkCounters,
    /// Frames lost that the links didn't ask for, both ways: the kernel found no room in the port's rings. Not zero: the
    /// forwarder was too slow, and what was measured is worth nothing.
    pub own_drops: u64,
    /// How much later than they should have frames left.
    pub lateness: Lateness,
}

/// Distribution of how late frames left, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lateness {
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// The latest.
    pub max_us: f64,
}

impl Forwarder {
    /// Starts one in the middle of a lab. The directions have seeds of their own, made from `seed`.
    ///
    /// # Errors
    /// A port can't be opened: privileges, AF_XDP; the core doesn't exist.
    pub fn start(
        lab: &Lab,
        a_to_b: Impairments,
        b_to_a: Impairments,
        seed: u64,
        at: Placement,
    ) -> anyhow::Result<Self> {
        let (a, b) = (lab.a().clone(), lab.b().clone());
        let sides = within(&lab.middle(), move || Ok::<_, anyhow::Error>([open(&a, &b)?, open(&b, &a)?]))??;
        let links = [Link::new(a_to_b, seed), Link::new(b_to_a, !seed)];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, started) = mpsc::channel();
        let (changes, asked) = mpsc::channel();
        let thread = std::thread::Builder::new().name("forwarder".into()).spawn(move || {
            let _ = ready.send(at.apply());
            Loop::new(sides, links, asked).run(&stopped)
        })?;
        let forwarder = Self { stop, changes, thread: Some(thread) };
        started.recv().context("the forwarder did not start")??;
        Ok(forwarder)
    }

    /// Other impairments, from a to b and back, within some milliseconds. What is under way arrives as it would have.
    pub fn impair(&self, a_to_b: Impairments, b_to_a: Impairments) {
        // One that has ended says so when it is stopped.
        let _ = self.changes.send([a_to_b, b_to_a]);
    }

    /// Whether it goes on: it ends by itself if the device fails.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends it; what is under way is lost.
    ///
    /// # Errors
    /// The device failed meanwhile.
    pub fn stop(mut self) -> anyhow::Result<Forwarded> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("the forwarder has ended"))?;
        Ok(thread.join().map_err(|_| anyhow!("the forwarder panicked"))??)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Placement {
    /// For the calling thread.
    fn apply(self) -> anyhow::Result<()> {
        set_current_timer_slack(NonZeroU64::new(1)).context("cannot set the timer slack")?;
        if let Some(core) = self.core {
            let mut set = CpuSet::new();
            set.set(core);
            sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))?;
        }
        if self.realtime { realtime(10) } else { Ok(()) }
    }
}

/// Lets the calling thread, and those it starts, run ahead of all ordinary ones (`SCHED_FIFO`), by `chrt`. It must sleep when
/// it has nothing to do.
///
/// # Errors
/// `chrt` is missing, or it is not allowed.
pub fn realtime(priority: u32) -> anyhow::Result<()> {
    let (priority, thread) = (priority.to_string(), gettid().as_raw_nonzero().to_string());
    let result = Command::new("chrt").args(["-f", "-p", &priority, &thread]).stdin(Stdio::null()).status();
    let status = result.context("cannot run `chrt`: it is in the package util-linux")?;
    anyhow::ensure!(status.success(), "`chrt` could not make a real-time thread");
    Ok(())
}

/// The port on the forwarder's interface towards `end`, where everything for `other` comes in.
fn open(end: &End, other: &End) -> anyhow::Result<(Steering, XskPort)> {
    let config = XskConfig { interface: end.gate.clone(), ..XskConfig::default() };
    // By its link-local address it asks for neighbours when it has nothing to send yet.
    let addresses = [other.ipv4.parse()?, other.ipv6.parse()?, IpAddr::V6(link_local(&mac_address(other)?)?)];
    let (steering, mut ports, _) = xdp::open(&config, &[0], &addresses.map(LocalAddress::owned))?;
    let port = ports.pop().ok_or_else(|| anyhow!("{} has no port", end.gate))?;
    Ok((steering, port))
}

/// The address that an interface gives itself (RFC 4291 section 2.5.6 and appendix A): of its MAC address, as Linux has it unless
/// told otherwise.
fn link_local(mac: &str) -> anyhow::Result<Ipv6Addr> {
    let bytes = mac.split(':').map(|byte| u16::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    let [a, b, c, d, e, f] = bytes[..] else { return Err(anyhow!("{mac} is no MAC address")) };
    Ok(Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f))
}

/// A frame under way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due_ns: u64,
    /// What is due at once leaves in the order in which it came.
    number: u64,
    /// The side it came from.
    from: usize,
    bytes: Vec<u8>,
}

struct Loop {
    steering: [Steering; 2],
    ports: [XskPort; 2],
    links: [Link; 2],
    changes: Receiver<[Impairments; 2]>,
    start: Instant,
    flying: BinaryHeap<Reverse<Flying>>,
    numbers: u64,
    /// Buffers that are empty.
    spare: Vec<Vec<u8>>,
    received: Vec<Frame>,
    late_ns: Histogram<u64>,
}

impl Loop {
    fn new(sides: [(Steering, XskPort); 2], links: [Link; 2], changes: Receiver<[Impairments; 2]>) -> Self {
        let [(steering_a, port_a), (steering_b, port_b)] = sides;
        Self {
            steering: [steering_a, steering_b],
            ports: [port_a, port_b],
            links,
            changes,
            start: Instant::now(),
            flying: BinaryHeap::new(),
            numbers: 0,
            spare: Vec::new(),
            received: Vec::with_capacity(BATCH),
            // Two digits are enough to judge by, and the bounds are fixed: this can't fail.
            late_ns: Histogram::new_with_max(60_000_000_000, 2).expect("valid bounds"),
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn run(mut self, stop: &AtomicBool) -> io::Result<Forwarded> {
        while !stop.load(Ordering::Relaxed) {
            for [a_to_b, b_to_a] in self.changes.try_iter() {
                self.links[0].impair(a_to_b);
                self.links[1].impair(b_to_a);
            }
            let came = self.take(0) + self.take(1);
            let left = self.release()?;
            if came + left == 0 {
                self.rest()?;
            }
        }
        Ok(self.report())
    }

    /// What has come in at a side is handed to its link.
    fn take(&mut self, from: usize) -> usize {
        let count = self.ports[from].receive(&mut self.received, BATCH);
        let now = self.now_ns();
        for frame in self.received.drain(..) {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(self.ports[from].bytes(&frame));
            self.ports[from].recycle(frame);
            let [first, second] = self.links[from].pass(now, &mut bytes);
            // Buffers go round: one more is made for a frame that is doubled only, or the spare ones would become more with each.
            if let Some(due_ns) = second {
                let mut copy = self.spare.pop().unwrap_or_default();
                copy.clone_from(&bytes);
                self.numbers += 1;
                self.flying.push(Reverse(Flying { due_ns, number: self.numbers, from, bytes: copy }));
            }
            match first {
                Some(due_ns) => {
                    self.numbers += 1;
                    self.flying.push(Reverse(Flying { due_ns, number: self.numbers, from, bytes }));
                }
                None => self.spare.push(bytes),
            }
        }
        count
    }

    /// What is due leaves.
    fn release(&mut self) -> io::Result<usize> {
        let mut left = 0;
        while self.flying.peek().is_some_and(|Reverse(next)| next.due_ns <= self.now_ns()) {
            let Some(Reverse(next)) = self.flying.pop() else { break };
            let port = &mut self.ports[1 - next.from];
            let Some(mut frame) = port.allocate() else {
                // It leaves later, and the lateness shows it.
                self.flying.push(Reverse(next));
                break;
            };
            let len = next.bytes.len().min(port.frame_bytes());
            port.buffer(&mut frame)[..len].copy_from_slice(&next.bytes[..len]);
            if let Err(frame) = port.transmit(frame, len) {
                port.recycle(frame);
                self.flying.push(Reverse(next));
                break;
            }
            let late = self.now_ns().saturating_sub(next.due_ns);
            self.late_ns.saturating_record(late);
            self.spare.push(next.bytes);
            left += 1;
        }
        for port in &mut self.ports {
            if left > 0 || port.needs_flush() {
                port.flush()?;
            }
        }
        Ok(left)
    }

    /// Sleeps until a frame comes, or until shortly before one is due.
    fn rest(&mut self) -> io::Result<()> {
        let due =
            self.flying.peek().map(|Reverse(next)| Duration::from_nanos(next.due_ns.saturating_sub(self.now_ns())));
        let sleep = due.map_or(Some(NAP), |due| due.checked_sub(AWAKE).filter(|sleep| !sleep.is_zero()));
        let Some(sleep) = sleep.filter(|_| !self.ports.iter().any(Port::needs_flush)) else {
            std::hint::spin_loop();
            return Ok(());
        };
        for port in &mut self.ports {
            port.flush()?;
        }
        let timeout = Timespec::try_from(sleep.min(NAP)).map_err(io::Error::other)?;
        let mut fds: Vec<_> =
            self.ports.iter().filter_map(Port::fd).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn report(self) -> Forwarded {
        let us = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        let lost = |stats: PortStats| {
            stats.kernel_rx_dropped
                + stats.kernel_rx_ring_full
                + stats.kernel_fill_ring_empty
                + stats.rx_bad_descriptors
        };
        let late = &self.late_ns;
        let forwarded = Forwarded {
            a_to_b: self.links[0].counters(),
            b_to_a: self.links[1].counters(),
            own_drops: self.ports.iter().map(|port| lost(port.stats())).sum(),
            lateness: Lateness {
                p50_us: us(late.value_at_quantile(0.5)),
                p99_us: us(late.value_at_quantile(0.99)),
                p999_us: us(late.value_at_quantile(0.999)),
                max_us: us(late.max()),
            },
        };
        drop((self.ports, self.steering));
        forwarded
    }
}
