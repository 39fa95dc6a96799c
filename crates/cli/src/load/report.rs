//! What `load` reports.

use std::fmt;

use serde::Serialize;

use super::pace::Pace;
use super::tally::Tally;
use super::{CloseBy, Config};
use crate::measure::{Latency, Results, Sending, UnderWay};
use crate::out;

/// One in so many requests may come to nothing without a word.
const FEW: u64 = 100;

/// The document of `load --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    stack: &'static str,
    /// `closed`: each request waits for the response to one before. `open`: each is sent when it is due, and its time counts from
    /// then.
    mode: &'static str,
    /// What `--rate` asked for, over all connections: the mean of a ramp; of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    intended_rate_per_s: Option<f64>,
    /// As it was typed, and `constant` or `poisson`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrivals: Option<&'static str>,
    /// Of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    think_ms: Option<u64>,
    /// How the kernel's sockets were waited on; only with `stack` `kernel`.
    kernel_wait: Option<&'static str>,
    target: String,
    connections: usize,
    pipeline: usize,
    requests: u64,
    responses: u64,
    /// Of those, behind the end of a closed loop's time: rates are without them.
    responses_behind_end: u64,
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
    /// Of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    sending: Option<Sending>,
    under_way: UnderWay,
    #[serde(flatten)]
    results: Results,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn of(config: &Config, tally: &Tally, results: Results) -> Self {
        let duration_s = tally.duration_s();
        let rated = tally.rated();
        let rate = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        let (open, think_ms) = match config.pace {
            Pace::Open { rate, gaps } => (Some((rate, gaps)), None),
            Pace::Closed { think } => (None, think.and_then(|think| u64::try_from(think.as_millis()).ok())),
        };
        Self {
            stack: config.at.stack.name(),
            mode: if open.is_some() { "open" } else { "closed" },
            intended_rate_per_s: open.map(|(rate, _)| rate.mean()),
            rate: open.map(|(rate, _)| rate.to_string()),
            arrivals: open.map(|(_, gaps)| gaps.name()),
            think_ms,
            kernel_wait: (config.at.stack == crate::args::Stack::Kernel).then(|| config.kernel_wait.name()),
            target: config.target.to_string(),
            connections: config.connections,
            pipeline: config.pipeline,
            requests: tally.requests,
            responses: tally.responses,
            responses_behind_end: tally.responses - rated.responses,
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
            requests_per_s: rate(rated.responses),
            connects_per_s: rate(rated.connects),
            gbit_per_s: rate(rated.bytes * 8) / 1e9,
            latency_ns: Latency::of(&tally.latency),
            connect_latency_ns: Latency::of(&tally.connect_latency),
            sending: open.map(|_| tally.sending.clone()),
            under_way: tally.under_way,
            results,
        }
    }

    /// Says where the load was not what was asked for, or this side was the limit.
    pub(super) fn warn(&mut self, tally: &Tally, close: Option<CloseBy>, complaints: Vec<String>) {
        complaints.into_iter().for_each(|complaint| self.results.warn(complaint));
        if tally.began.is_none() {
            self.results.warn("it ended before measuring began: nothing was measured".to_owned());
        }
        if tally.no_port > 0 {
            let close = match close {
                Some(CloseBy::Client) => "keep TIME-WAIT away from here (--close server or reset), or ",
                _ => "",
            };
            self.results.warn(format!(
                "local ports ran out {} times, so this client was the limit: {close}give the stack an address and all ports of \
                 it, or several (--address, --source, --ports)",
                tally.no_port
            ));
        }
        let failures = tally.failures();
        if failures * FEW > tally.responses {
            let names = self.failures().join(", ");
            self.results.warn(format!(
                "more than one in a hundred came to nothing ({names}): the times are of the {} that were answered",
                tally.responses
            ));
        }
        if let Some(complaint) = self.under_way.complaint(tally.latency.max()) {
            self.results.warn(complaint);
        }
        match self.sending.as_ref().and_then(|sending| sending.complaint()) {
            Some(complaint) => self.results.warn(complaint),
            None => self.results.complain(""),
        }
    }

    /// How requests are paced, for people.
    fn pace(&self) -> String {
        match (&self.rate, self.arrivals, self.think_ms) {
            (Some(rate), Some("poisson"), _) => format!("open loop at {rate} per second, Poisson arrivals"),
            (Some(rate), ..) => format!("open loop at {rate} per second"),
            // It can't tell how long others would have waited.
            (None, _, Some(think)) => {
                format!("closed loop, {think} ms between (a stall is one sample of each: see --rate)")
            }
            (None, ..) => "closed loop (a stall is one sample of each: see --rate)".to_owned(),
        }
    }

    /// What came to nothing, by its name.
    fn failures(&self) -> Vec<String> {
        named(&[
            ("connect errors", self.connect_errors - self.no_port),
            ("time-outs", self.timeouts),
            ("resets", self.resets),
            ("cut off", self.cut_off),
            ("malformed", self.malformed),
        ])
    }

    /// What went wrong, by its name.
    fn errors(&self) -> Vec<String> {
        let others = named(&[("times no local port", self.no_port), ("unexpected", self.unexpected)]);
        self.failures().into_iter().chain(others).collect()
    }
}

/// Those there are any of.
fn named(counts: &[(&str, u64)]) -> Vec<String> {
    counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect()
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.kernel_wait.map(|wait| format!(" ({wait})")).unwrap_or_default();
        let pipeline =
            if self.pipeline > 1 { format!(", {} requests under way each", self.pipeline) } else { String::new() };
        let (stack, target, connections, pace) = (self.stack, &self.target, self.connections, self.pace());
        writeln!(f, "{stack}{wait} to {target}: {connections} connection(s){pipeline}, {pace}")?;
        let errors = match self.errors() {
            errors if errors.is_empty() => "no errors".to_owned(),
            errors => errors.join(", "),
        };
        let behind = match self.responses_behind_end {
            0 => String::new(),
            behind => format!(" ({behind} of them behind the end)"),
        };
        writeln!(f, "  {} responses in {:.2} s{behind}, {errors}", self.responses, self.duration_s)?;
        writeln!(
            f,
            "  {:.0} requests/s, {:.0} connections/s, {:.3} Gbit/s",
            self.requests_per_s, self.connects_per_s, self.gbit_per_s
        )?;
        if let Some(sending) = &self.sending {
            writeln!(f, "  {sending}")?;
        }
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fourwave::{Duration, Instant};

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn rates_are_counts_by_the_time_and_none_of_no_time() {
        let command = Cli::try_parse_from(["fourwave", "load", "http", "http://10.77.0.1/"]).unwrap().command;
        let Command::Load(args) = command else { panic!("{command:?}") };
        let (config, _) = args.resolve().unwrap();
        let ends = Instant::ZERO + Duration::from_millis(2500);
        let tally = Tally {
            responses: 10,
            connects: 5,
            bytes_sent: 1_000_000,
            bytes_received: 250_000_000 - 1_000_000,
            began: Some(Instant::ZERO),
            ended: Some(ends),
            ..Tally::new()
        };
        let rates = |tally: &Tally| {
            let report = Report::of(&config, tally, Results::default());
            [report.requests_per_s, report.connects_per_s, report.gbit_per_s]
        };
        assert_eq!(rates(&tally), [4.0, 2.0, 0.8]);
        assert_eq!(rates(&Tally { began: Some(ends), ..tally.clone() }), [0.0; 3]);
        assert_eq!(rates(&Tally { began: None, ..tally }), [0.0; 3]);
    }
}
