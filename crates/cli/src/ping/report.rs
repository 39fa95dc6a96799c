//! What `ping` reports.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Config, Pace, PerConnection, Sizes, Step, Swept};
use crate::args::Stack;
use crate::measure::{Latency, Results, Sending, UnderWay};
use crate::out;

/// The document of `ping --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) stack: String,
    /// `closed`: each message waits for the answer to one before. `open`: each is sent when it is due, and its time counts from
    /// then.
    pub(crate) mode: String,
    #[serde(skip, default = "unknown")]
    pub(super) pace: Pace,
    /// What `--rate` asked for, over all connections; of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) intended_rate_per_s: Option<u32>,
    /// How the kernel's sockets were waited on; only with `stack` `kernel`.
    pub(crate) kernel_wait: Option<String>,
    pub(crate) target: String,
    pub(crate) connections: usize,
    /// Messages under way on each connection at the most.
    pub(crate) pipeline: usize,
    /// Their mean, if they differ.
    pub(crate) message_bytes: usize,
    /// What they were drawn from, and by which seed, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_sizes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Measured round trips.
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) duration_s: f64,
    pub(crate) latency_ns: Latency,
    pub(crate) rate_per_s: f64,
    /// Of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sending: Option<Sending>,
    #[serde(default)]
    pub(crate) under_way: UnderWay,
    /// Measured round trips of each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_connection: Option<PerConnection>,
    #[serde(flatten)]
    pub(crate) results: Results,
}

/// Of a report that was read: its `mode` says it.
const fn unknown() -> Pace {
    Pace::Closed { interval: None }
}

impl Report {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of sizes")]
    pub(super) fn empty(config: &Config, step: &Step) -> Self {
        let kernel = config.at.stack == Stack::Kernel;
        let (mode, rate) = match step.pace {
            Pace::Closed { .. } => ("closed", None),
            Pace::Open { rate } => ("open", Some(rate)),
        };
        let differ = !matches!(step.sizes, Sizes::One(_));
        Self {
            stack: config.at.stack.name().to_owned(),
            mode: mode.to_owned(),
            pace: step.pace,
            intended_rate_per_s: rate,
            kernel_wait: kernel.then(|| config.kernel_wait.name().to_owned()),
            target: config.target.to_string(),
            connections: config.connections,
            pipeline: config.pipeline,
            message_bytes: step.sizes.mean().round() as usize,
            message_sizes: differ.then(|| step.sizes.to_string()),
            seed: differ.then_some(config.seed),
            count: 0,
            errors: 0,
            duration_s: 0.0,
            latency_ns: Latency::default(),
            rate_per_s: 0.0,
            sending: None,
            under_way: UnderWay::default(),
            per_connection: None,
            results: Results::default(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn filled(self, histogram: &Histogram<u64>, errors: u64, elapsed: Duration) -> Self {
        let (count, duration_s) = (histogram.len(), elapsed.as_secs_f64());
        Self {
            count,
            errors,
            duration_s,
            latency_ns: Latency::of(histogram),
            rate_per_s: if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 },
            ..self
        }
    }
}

impl Report {
    /// It ended within the warm-up.
    pub(super) fn is_unmeasured(&self) -> bool {
        self.count == 0 && self.sending.as_ref().is_none_or(|sending| sending.sent == 0)
    }

    /// Whose latency it is, for people; in a sweep without what is swept.
    pub(super) fn title(&self, swept: Option<Swept>) -> String {
        let wait = self.kernel_wait.as_ref().map(|wait| format!(" ({wait})")).unwrap_or_default();
        let bytes = match (swept, &self.message_sizes) {
            (Some(Swept::Size), _) => String::new(),
            (_, Some(sizes)) => format!("{sizes} bytes, "),
            (_, None) => format!("{} bytes, ", self.message_bytes),
        };
        let pace = match (self.intended_rate_per_s, self.pipeline) {
            (Some(_), _) if swept == Some(Swept::Rate) => "open loop".to_owned(),
            (Some(rate), _) => format!("open loop at {rate} per second"),
            // It can't tell how long others would have waited.
            (None, 1) => "closed loop (a stall is one sample: see --rate)".to_owned(),
            (None, under_way) => {
                format!("closed loop, {under_way} under way on each (a stall is few samples: see --rate)")
            }
        };
        format!("{}{wait} to {}: {bytes}{} connection(s), {pace}", self.stack, self.target, self.connections)
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title(None))?;
        write!(
            f,
            "  {} round trips in {:.2} s, {:.0} per second, {} errors",
            self.count, self.duration_s, self.rate_per_s, self.errors
        )?;
        if let Some(sending) = &self.sending {
            write!(f, "\n  {sending}")?;
        }
        if self.count == 0 {
            return Ok(());
        }
        if let Some(PerConnection { min, max, jain }) = self.per_connection.as_ref().filter(|_| self.connections > 1) {
            write!(f, "\n  per connection: {min} to {max} round trips, Jain's index {jain:.4}")?;
        }
        let latency = &self.latency_ns;
        let rows = [
            ("min", latency.min as f64),
            ("mean", latency.mean),
            ("p50", latency.p50 as f64),
            ("p90", latency.p90 as f64),
            ("p99", latency.p99 as f64),
            ("p99.9", latency.p999 as f64),
            ("p99.99", latency.p9999 as f64),
            ("max", latency.max as f64),
        ];
        for (name, ns) in rows {
            write!(f, "\n  {name:<7}{:>9}", out::nanoseconds(ns))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_rate_is_the_count_by_the_time_and_none_of_no_time() {
        let command = Cli::try_parse_from(["fourwave", "ping", "10.77.0.1:7"]).unwrap().command;
        let Command::Ping(args) = command else { panic!("{command:?}") };
        let config = args.resolve().unwrap();
        let mut histogram = crate::measure::histogram();
        histogram.record_n(5000, 10).unwrap();
        let report = |time| Report::empty(&config, &config.steps[0]).filled(&histogram, 3, time);
        let two = report(Duration::from_millis(2500));
        assert_eq!((two.count, two.errors, two.duration_s, two.rate_per_s), (10, 3, 2.5, 4.0));
        assert_eq!(report(Duration::ZERO).rate_per_s, 0.0);
    }
}
