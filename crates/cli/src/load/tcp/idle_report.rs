//! What `load tcp --mode idle` counts and reports.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Idle;
use super::idle::Times;
use crate::args::Stack;
use crate::load::Config;
use crate::measure::{self, Latency, Live, Results, Run, Seconds};
use crate::out::{self, Progress};

const SECOND: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Connections that were open.
    Established,
    /// Those that were not: the server refused them,
    Refused,
    /// it did not answer,
    NoAnswer,
    /// it could not be reached,
    Unreachable,
    /// or there was no local port, or no room.
    NoPort,
    /// Those that did not last: the server closed them,
    Closed,
    /// it reset them,
    Reset,
    /// it was silent, to keep-alives or to what was sent,
    TimedOut,
    /// a message was not answered in time,
    Unanswered,
    /// or they ended by anything else.
    Broken,
    /// Those that did last and were closed at the end: both FINs came through, or not.
    InOrder,
    NotInOrder,
    /// Messages.
    Requests,
    Responses,
    Unexpected,
    BytesSent,
    BytesReceived,
}

const COUNTS: usize = Count::BytesReceived as usize + 1;
const NOT_OPENED: [(&str, Count); 4] = [
    ("refused", Count::Refused),
    ("no_answer", Count::NoAnswer),
    ("unreachable", Count::Unreachable),
    ("no_port", Count::NoPort),
];
const LOST: [(&str, Count); 5] = [
    ("closed_by_server", Count::Closed),
    ("reset", Count::Reset),
    ("timed_out", Count::TimedOut),
    ("unanswered", Count::Unanswered),
    ("broken", Count::Broken),
];

/// Of all shards together.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; COUNTS]);

impl Counts {
    pub(super) fn add(&self, what: Count, n: u64) {
        self.0[what as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self, what: Count) -> u64 {
        self.0[what as usize].load(Ordering::Relaxed)
    }

    fn sum(&self, of: &[(&str, Count)]) -> u64 {
        of.iter().map(|(_, what)| self.get(*what)).sum()
    }

    /// Those that are not none.
    fn by_name(&self, of: &[(&'static str, Count)]) -> BTreeMap<&'static str, u64> {
        of.iter().map(|(name, what)| (*name, self.get(*what))).filter(|(_, n)| *n > 0).collect()
    }
}

/// A line every second.
#[derive(Debug)]
pub(super) struct Watch(Option<(Sender<()>, JoinHandle<()>)>);

impl Watch {
    pub(super) fn start(live: Live, connections: usize, counts: Arc<Counts>) -> anyhow::Result<Self> {
        if live == Live::Off {
            return Ok(Self(None));
        }
        let (sender, end) = mpsc::channel();
        let watch = move || {
            if let Err(error) = fourwave::drop_privileges() {
                tracing::warn!("{error}");
            }
            let (mut progress, began) = (Progress::new(), Instant::now());
            while end.recv_timeout(SECOND) == Err(RecvTimeoutError::Timeout) {
                let line = format!("{:4.0} s  {}", began.elapsed().as_secs_f64(), line(&counts, connections));
                match live {
                    Live::Lines => progress.done(&line),
                    _ => progress.now(&line),
                }
            }
        };
        Ok(Self(Some((sender, thread::Builder::new().name("watch".into()).spawn(watch)?))))
    }

    pub(super) fn finish(self) {
        if let Some((sender, thread)) = self.0 {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn line(counts: &Counts, connections: usize) -> String {
    let (established, lost, failed) = (counts.get(Count::Established), counts.sum(&LOST), counts.sum(&NOT_OPENED));
    let responses = counts.get(Count::Responses);
    format!("{established} of {connections} established  {lost} lost  {failed} failed  {responses} answers")
}

/// Memory of this process that is in RAM.
#[derive(Debug)]
pub(super) struct Resident {
    /// Open from the start: when it is wanted there may be no descriptor left.
    status: Option<File>,
}

impl Resident {
    pub(super) fn new() -> Self {
        Self { status: File::open("/proc/self/status").ok() }
    }

    pub(super) fn bytes(&mut self) -> u64 {
        let mut status = String::new();
        let read = self.status.as_mut().map(|file| file.rewind().and_then(|()| file.read_to_string(&mut status)));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        read.and(kib).unwrap_or(0) << 10
    }
}

/// The document of `load tcp --mode idle --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    stack: &'static str,
    mode: &'static str,
    /// How the kernel's sockets were waited on; only with `stack` `kernel`.
    kernel_wait: Option<&'static str>,
    target: String,
    connections: usize,
    /// Connections that were open, those of them that still were at the end, and those that were not.
    established: u64,
    lasted: u64,
    lost: u64,
    /// By its reason.
    lost_by: BTreeMap<&'static str, u64>,
    /// Connections that could not be opened, by the reason.
    failed_by: BTreeMap<&'static str, u64>,
    /// Of those that lasted: they ended with FINs both ways.
    ended_in_order: u64,
    /// From the first SYN to the last connection that was made.
    established_in_s: f64,
    /// Messages over them.
    requests: u64,
    responses: u64,
    unexpected: u64,
    connects: u64,
    connect_errors: u64,
    timeouts: u64,
    resets: u64,
    bytes_sent: u64,
    bytes_received: u64,
    /// For which all of them were held.
    duration_s: f64,
    requests_per_s: f64,
    /// While they were set up.
    connects_per_s: f64,
    gbit_per_s: f64,
    latency_ns: Latency,
    connect_latency_ns: Latency,
    /// Memory of this process in RAM, before the first connection and at the end of the time.
    resident_bytes_before: u64,
    resident_bytes: u64,
    #[serde(flatten)]
    results: Results,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn of(config: &Config, _: &Idle, counts: &Counts, times: &Times, run: &Run) -> Self {
        let seconds = |from: Option<fourwave::Instant>, until: Option<fourwave::Instant>| {
            from.zip(until).map_or(0.0, |(from, until)| until.saturating_since(from).as_secs_f64())
        };
        let established_in_s = seconds(times.began, times.established);
        let duration_s = seconds(times.holds, times.ended);
        // Messages go from the first connection on.
        let total_s = seconds(times.began, times.ended);
        let rate = |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let (established, lost) = (counts.get(Count::Established), counts.sum(&LOST));
        let (sent, received) = (counts.get(Count::BytesSent), counts.get(Count::BytesReceived));
        let mut results = run.results(&times.latency, Seconds::default());
        results.connect_histogram = Some(measure::encoded(&times.connect_latency));
        Self {
            stack: config.at.stack.name(),
            mode: "idle",
            kernel_wait: (config.at.stack == Stack::Kernel).then(|| config.kernel_wait.name()),
            target: config.target.to_string(),
            connections: config.connections,
            established,
            lasted: established - lost,
            lost,
            lost_by: counts.by_name(&LOST),
            failed_by: counts.by_name(&NOT_OPENED),
            ended_in_order: counts.get(Count::InOrder),
            established_in_s,
            requests: counts.get(Count::Requests),
            responses: counts.get(Count::Responses),
            unexpected: counts.get(Count::Unexpected),
            connects: established,
            connect_errors: counts.sum(&NOT_OPENED),
            timeouts: counts.get(Count::TimedOut) + counts.get(Count::Unanswered) + counts.get(Count::NoAnswer),
            resets: counts.get(Count::Reset),
            bytes_sent: sent,
            bytes_received: received,
            duration_s,
            requests_per_s: rate(counts.get(Count::Responses), total_s),
            connects_per_s: rate(established, established_in_s),
            gbit_per_s: rate((sent + received) * 8, total_s) / 1e9,
            latency_ns: Latency::of(&times.latency),
            connect_latency_ns: Latency::of(&times.connect_latency),
            resident_bytes_before: times.resident_before,
            resident_bytes: times.resident,
            results,
        }
    }

    /// Says what the figures may be wrong by.
    pub(super) fn warn(&mut self, run: &Run) {
        measure::warn_of_all(&run.complaints(), std::iter::once(&mut self.results));
        if let Some(no_port) = self.failed_by.get("no_port") {
            let sentence = format!(
                "no local port, or no room, was left for {no_port} connections: give the stack an address and all ports of \
                 it (--address)"
            );
            self.results.warn(sentence);
        }
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.kernel_wait.map(|wait| format!(" ({wait})")).unwrap_or_default();
        let named = |by: &BTreeMap<&'static str, u64>| {
            let all = by.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
            let all = all.collect::<Vec<_>>().join(", ");
            if all.is_empty() { all } else { format!(" ({all})") }
        };
        writeln!(f, "{}{wait} to {}: {} idle connection(s)", self.stack, self.target, self.connections)?;
        let (established, failed) = (self.established, named(&self.failed_by));
        let (seconds, rate) = (self.established_in_s, self.connects_per_s);
        writeln!(
            f,
            "  {established} established in {seconds:.3} s, {rate:.0}/s; {} failed{failed}",
            self.connect_errors
        )?;
        let (lasted, lost, by) = (self.lasted, self.lost, named(&self.lost_by));
        writeln!(
            f,
            "  {lasted} lasted {:.2} s, {lost} lost{by}; {} ended in order",
            self.duration_s, self.ended_in_order
        )?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let each = self.resident_bytes.saturating_sub(self.resident_bytes_before) / self.established.max(1);
        write!(
            f,
            "  memory here: {:.1} MiB before, {:.1} MiB with them ({each} bytes each)",
            mib(self.resident_bytes_before),
            mib(self.resident_bytes)
        )?;
        if self.requests > 0 {
            write!(f, "\n  {} messages, {} answers", self.requests, self.responses)?;
        }
        for (name, latency) in [("answer", &self.latency_ns), ("connect", &self.connect_latency_ns)] {
            if latency.max > 0 {
                let all = [latency.p50, latency.p99, latency.max].map(|ns| out::nanoseconds(ns as f64));
                write!(f, "\n  {name:<8} p50 {}, p99 {}, max {}", all[0], all[1], all[2])?;
            }
        }
        Ok(())
    }
}
