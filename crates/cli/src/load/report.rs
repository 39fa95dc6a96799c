//! What `load` counts and reports.

use std::fmt;

use fourwave::{Duration, Instant};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Config;
use crate::measure::Latency;
use crate::out;

/// Longer is recorded as this.
const HIGHEST_NS: u64 = 3_600_000_000_000;

/// What one shard counts behind the warm-up, and what all count together.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) responses: u64,
    pub(super) connects: u64,
    pub(super) connect_errors: u64,
    /// Of those: there was no local port, or no room, for another connection.
    pub(super) no_port: u64,
    pub(super) timeouts: u64,
    pub(super) resets: u64,
    /// Connections that the server ended before it had answered.
    pub(super) cut_off: u64,
    pub(super) malformed: u64,
    /// Responses of another status or length than expected.
    pub(super) unexpected: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) connect_latency: Histogram<u64>,
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("bounds of a constant");
        Self {
            requests: 0,
            responses: 0,
            connects: 0,
            connect_errors: 0,
            no_port: 0,
            timeouts: 0,
            resets: 0,
            cut_off: 0,
            malformed: 0,
            unexpected: 0,
            bytes_sent: 0,
            bytes_received: 0,
            latency: histogram(),
            connect_latency: histogram(),
            began: None,
            ended: None,
        }
    }

    /// Begins to measure.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self { began: Some(now), ..Self::new() };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.responses == 0
    }

    pub(super) fn record(histogram: &mut Histogram<u64>, took: Duration) {
        histogram.saturating_record(took.as_nanos());
    }

    /// From the first that began to the last that ended.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.responses += other.responses;
        self.connects += other.connects;
        self.connect_errors += other.connect_errors;
        self.no_port += other.no_port;
        self.timeouts += other.timeouts;
        self.resets += other.resets;
        self.cut_off += other.cut_off;
        self.malformed += other.malformed;
        self.unexpected += other.unexpected;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        // Of equal bounds.
        let _ = self.latency.add(&other.latency);
        let _ = self.connect_latency.add(&other.connect_latency);
        self.began = [self.began, other.began].into_iter().flatten().min();
        self.ended = self.ended.max(other.ended);
    }

    fn duration_s(&self) -> f64 {
        self.began.zip(self.ended).map_or(0.0, |(began, ended)| ended.saturating_since(began).as_secs_f64())
    }
}

/// The document of `load http --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    stack: &'static str,
    /// `closed`: each request waits for the response to the one before.
    mode: &'static str,
    /// How the kernel's sockets were waited on; only with `stack` `kernel`.
    kernel_wait: Option<&'static str>,
    target: String,
    connections: usize,
    pipeline: usize,
    requests: u64,
    responses: u64,
    connects: u64,
    connect_errors: u64,
    no_port: u64,
    timeouts: u64,
    resets: u64,
    cut_off: u64,
    malformed: u64,
    unexpected: u64,
    bytes_sent: u64,
    bytes_received: u64,
    duration_s: f64,
    requests_per_s: f64,
    connects_per_s: f64,
    /// What came and what went.
    gbit_per_s: f64,
    /// From a request, or from its connection's SYN where each has its own, to the end of its response.
    latency_ns: Latency,
    /// From a SYN to the SYN that acknowledges it.
    connect_latency_ns: Latency,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn of(config: &Config, tally: &Tally) -> Self {
        let duration_s = tally.duration_s();
        let rate = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        Self {
            stack: config.at.stack.name(),
            mode: "closed",
            kernel_wait: (config.at.stack == crate::args::Stack::Kernel).then(|| config.kernel_wait.name()),
            target: config.target.to_string(),
            connections: config.connections,
            pipeline: config.pipeline,
            requests: tally.requests,
            responses: tally.responses,
            connects: tally.connects,
            connect_errors: tally.connect_errors,
            no_port: tally.no_port,
            timeouts: tally.timeouts,
            resets: tally.resets,
            cut_off: tally.cut_off,
            malformed: tally.malformed,
            unexpected: tally.unexpected,
            bytes_sent: tally.bytes_sent,
            bytes_received: tally.bytes_received,
            duration_s,
            requests_per_s: rate(tally.responses),
            connects_per_s: rate(tally.connects),
            gbit_per_s: rate((tally.bytes_sent + tally.bytes_received) * 8) / 1e9,
            latency_ns: Latency::of(&tally.latency),
            connect_latency_ns: Latency::of(&tally.connect_latency),
        }
    }

    /// What went wrong, by its name.
    fn errors(&self) -> Vec<String> {
        let all = [
            ("connect errors", self.connect_errors - self.no_port),
            ("times no local port", self.no_port),
            ("time-outs", self.timeouts),
            ("resets", self.resets),
            ("cut off", self.cut_off),
            ("malformed", self.malformed),
            ("unexpected", self.unexpected),
        ];
        all.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect()
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.kernel_wait.map(|wait| format!(" ({wait})")).unwrap_or_default();
        let pipeline =
            if self.pipeline > 1 { format!(", {} requests under way each", self.pipeline) } else { String::new() };
        writeln!(
            f,
            "{}{wait} to {}: {} connection(s){pipeline}, closed loop",
            self.stack, self.target, self.connections
        )?;
        let errors = match self.errors() {
            errors if errors.is_empty() => "no errors".to_owned(),
            errors => errors.join(", "),
        };
        writeln!(f, "  {} responses in {:.2} s, {errors}", self.responses, self.duration_s)?;
        writeln!(
            f,
            "  {:.0} requests/s, {:.0} connections/s, {:.3} Gbit/s",
            self.requests_per_s, self.connects_per_s, self.gbit_per_s
        )?;
        write!(f, "  {:<10}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "p99.9", "max")?;
        for (name, latency) in [("response", &self.latency_ns), ("connect", &self.connect_latency_ns)] {
            if latency.max > 0 {
                write!(f, "\n  {name:<10}")?;
                for ns in [latency.p50, latency.p90, latency.p99, latency.p999, latency.max] {
                    write!(f, "{:>10}", out::nanoseconds(ns as f64))?;
                }
            }
        }
        Ok(())
    }
}
