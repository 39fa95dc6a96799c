//! What `load tcp --mode bulk` counts and reports.

use std::fmt;
use std::net::SocketAddr;

use anyhow::bail;
use fourwave::{Duration, Instant};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Bulk;
use super::seconds::{Carried, gbit_per_s};
use crate::args::Stack;
use crate::load::Config;
use crate::measure::{self, Latency, Results, Run, Seconds};
use crate::out;

/// What one shard counts behind the warm-up, and what all count together.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Connections made, in the warm-up too, and behind it.
    connects: u64,
    measured_connects: u64,
    connect_latency: Histogram<u64>,
    pub(super) connect_errors: u64,
    /// Of those: there was no local port, or no room, for another connection.
    pub(super) no_port: u64,
    pub(super) timeouts: u64,
    pub(super) resets: u64,
    /// Connections that the server ended before all had come.
    pub(super) cut_off: u64,
    /// Connections over which something else came than what was expected.
    pub(super) changed: u64,
    /// Bytes that the server has acknowledged, and bytes that came.
    pub(super) up: u64,
    pub(super) down: u64,
    /// Segments that were sent again.
    pub(super) retransmits: u64,
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            connects: 0,
            measured_connects: 0,
            connect_latency: measure::histogram(),
            connect_errors: 0,
            no_port: 0,
            timeouts: 0,
            resets: 0,
            cut_off: 0,
            changed: 0,
            up: 0,
            down: 0,
            retransmits: 0,
            began: None,
            ended: None,
        }
    }

    /// Begins to measure: connections that are there stay counted, for they are what is measured.
    pub(super) fn begin(&mut self, now: Instant) {
        let (connects, connect_latency) = (self.connects, self.connect_latency.clone());
        *self = Self { began: Some(now), connects, connect_latency, ..Self::new() };
    }

    pub(super) fn connected(&mut self, took: Duration) {
        self.connects += 1;
        self.measured_connects += u64::from(self.began.is_some());
        self.connect_latency.saturating_record(took.as_nanos());
    }

    pub(super) fn errors(&self) -> u64 {
        self.connect_errors + self.timeouts + self.resets + self.cut_off + self.changed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.up == 0 && self.down == 0
    }

    /// It ended before measuring began: what went wrong counts, and connections, but nothing that was carried.
    pub(super) fn without_warmup(mut self) -> Self {
        if self.began.is_none() {
            (self.up, self.down, self.retransmits) = (0, 0, 0);
        }
        self
    }

    /// An error if what was asked for was not done: all of the bytes carried, or anything at all within the time.
    pub(super) fn verdict(&self, target: SocketAddr, bulk: Bulk) -> anyhow::Result<()> {
        let ways = [(bulk.direction.sends(), self.up, "went to"), (bulk.direction.receives(), self.down, "came from")];
        for (_, carried, how) in ways.into_iter().filter(|(wanted, ..)| *wanted) {
            match bulk.bytes {
                Some(bytes) if carried < bytes => {
                    bail!("only {carried} of {bytes} bytes {how} {target}: see the counters above")
                }
                None if self.began.is_none() => {
                    bail!("no connection to {target} lasted until measuring began: see the counters above")
                }
                None if carried == 0 => bail!("no byte {how} {target}: see the counters above, and --direction"),
                _ => {}
            }
        }
        Ok(())
    }

    /// From the first that began to the last that ended.
    pub(super) fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.measured_connects += other.measured_connects;
        // Of equal bounds.
        let _ = self.connect_latency.add(&other.connect_latency);
        self.connect_errors += other.connect_errors;
        self.no_port += other.no_port;
        self.timeouts += other.timeouts;
        self.resets += other.resets;
        self.cut_off += other.cut_off;
        self.changed += other.changed;
        self.up += other.up;
        self.down += other.down;
        self.retransmits += other.retransmits;
        self.began = [self.began, other.began].into_iter().flatten().min();
        self.ended = self.ended.max(other.ended);
    }

    fn duration_s(&self) -> f64 {
        self.began.zip(self.ended).map_or(0.0, |(began, ended)| ended.saturating_since(began).as_secs_f64())
    }
}

/// The document of `load tcp --mode bulk --json`. There are no requests: what is of them is none.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    stack: &'static str,
    mode: &'static str,
    direction: &'static str,
    verify: bool,
    /// How the kernel's sockets were waited on; only with `stack` `kernel`.
    kernel_wait: Option<&'static str>,
    target: String,
    connections: usize,
    requests: u64,
    responses: u64,
    connects: u64,
    connect_errors: u64,
    no_port: u64,
    timeouts: u64,
    resets: u64,
    cut_off: u64,
    changed: u64,
    /// Acknowledged by the server.
    bytes_sent: u64,
    bytes_received: u64,
    retransmits: u64,
    duration_s: f64,
    requests_per_s: f64,
    connects_per_s: f64,
    /// Both ways together.
    gbit_per_s: f64,
    gbit_per_s_up: f64,
    gbit_per_s_down: f64,
    latency_ns: Latency,
    /// From a SYN to the SYN that acknowledges it, of the warm-up too.
    connect_latency_ns: Latency,
    /// What was carried within each second.
    throughput: Vec<Carried>,
    #[serde(flatten)]
    results: Results,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn of(config: &Config, bulk: Bulk, tally: &Tally, throughput: Vec<Carried>, run: &Run) -> Self {
        let duration_s = tally.duration_s();
        // There are no responses whose time could be told.
        let mut results = run.results(&measure::histogram(), Seconds::default());
        results.connect_histogram = Some(measure::encoded(&tally.connect_latency));
        results.seconds = throughput.iter().map(Carried::second).collect();
        let rate = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        Self {
            stack: config.at.stack.name(),
            mode: "bulk",
            direction: bulk.direction.name(),
            verify: bulk.verify,
            kernel_wait: (config.at.stack == Stack::Kernel).then(|| config.kernel_wait.name()),
            target: config.target.to_string(),
            connections: config.connections,
            requests: 0,
            responses: 0,
            connects: tally.connects,
            connect_errors: tally.connect_errors,
            no_port: tally.no_port,
            timeouts: tally.timeouts,
            resets: tally.resets,
            cut_off: tally.cut_off,
            changed: tally.changed,
            bytes_sent: tally.up,
            bytes_received: tally.down,
            retransmits: tally.retransmits,
            duration_s,
            requests_per_s: 0.0,
            connects_per_s: rate(tally.measured_connects),
            gbit_per_s: gbit_per_s(tally.up + tally.down, duration_s),
            gbit_per_s_up: gbit_per_s(tally.up, duration_s),
            gbit_per_s_down: gbit_per_s(tally.down, duration_s),
            latency_ns: Latency::default(),
            connect_latency_ns: Latency::of(&tally.connect_latency),
            throughput,
            results,
        }
    }

    /// Says what the figures may be wrong by.
    pub(super) fn warn(&mut self, run: &Run) {
        measure::warn_of_all(&run.complaints(), std::iter::once(&mut self.results));
        if self.no_port > 0 {
            let sentence = format!(
                "no local port, or no room, was left for {} connections: give the stack an address and all ports of it (--address)",
                self.no_port
            );
            self.results.warn(sentence);
        }
    }

    /// What went wrong, by its name.
    fn errors(&self) -> String {
        let all = [
            ("connect errors", self.connect_errors - self.no_port),
            ("times no local port", self.no_port),
            ("time-outs", self.timeouts),
            ("resets", self.resets),
            ("cut off", self.cut_off),
            ("with other bytes than expected", self.changed),
        ];
        let there = all.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}"));
        let text = there.collect::<Vec<_>>().join(", ");
        if text.is_empty() { "no errors".to_owned() } else { text }
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.kernel_wait.map(|wait| format!(" ({wait})")).unwrap_or_default();
        let (stack, target, connections) = (self.stack, &self.target, self.connections);
        writeln!(f, "{stack}{wait} to {target}: {connections} connection(s), bulk {}", self.direction)?;
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        for (name, bytes, rate, how) in [
            ("up", self.bytes_sent, self.gbit_per_s_up, "acknowledged"),
            ("down", self.bytes_received, self.gbit_per_s_down, "received"),
        ] {
            if bytes > 0 {
                writeln!(f, "  {name:<6}{rate:8.3} Gbit/s  {:10.3} GB {how}", gigabytes(bytes))?;
            }
        }
        write!(f, "  in {:.2} s, {} segments sent again, {}", self.duration_s, self.retransmits, self.errors())?;
        let latency = &self.connect_latency_ns;
        if latency.max > 0 {
            let [p50, max] = [latency.p50, latency.max].map(|ns| out::nanoseconds(ns as f64));
            write!(f, "\n  {} connects, p50 {p50}, max {max}", self.connects)?;
        }
        Ok(())
    }
}
