//! What `load` reports.

use std::fmt;

use serde::Serialize;

use super::Config;
use super::tally::Tally;
use crate::measure::Latency;
use crate::out;

/// The document of `load --json`.
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
