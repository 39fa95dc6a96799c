//! What `ping` reports.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::args::Stack;
use crate::out;

/// The document of `ping --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) stack: String,
    /// `closed`: each message waits for the answer to the one before.
    pub(crate) mode: String,
    /// How the kernel's sockets were waited on; only with `stack` `kernel`.
    pub(crate) kernel_wait: Option<String>,
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) message_bytes: usize,
    /// Measured round trips.
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) duration_s: f64,
    pub(crate) latency_ns: Latency,
    pub(crate) rate_per_s: f64,
}

/// The distribution of round-trip times, to three figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    pub(crate) max: u64,
    pub(crate) mean: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            mean: histogram.mean(),
        }
    }
}

impl Report {
    pub(super) fn empty(config: &Config) -> Self {
        let kernel = config.at.stack == Stack::Kernel;
        Self {
            stack: config.at.stack.name().to_owned(),
            mode: "closed".to_owned(),
            kernel_wait: kernel.then(|| config.kernel_wait.name().to_owned()),
            target: config.target.to_string(),
            connections: config.connections,
            message_bytes: config.message_bytes,
            count: 0,
            errors: 0,
            duration_s: 0.0,
            latency_ns: Latency::default(),
            rate_per_s: 0.0,
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

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.kernel_wait.as_ref();
        let wait = wait.map(|wait| format!(" ({wait})")).unwrap_or_default();
        writeln!(
            f,
            "{}{wait} to {}: {} bytes, {} connection(s), closed loop",
            self.stack, self.target, self.message_bytes, self.connections
        )?;
        writeln!(
            f,
            "  {} round trips in {:.2} s, {:.0} per second, {} errors",
            self.count, self.duration_s, self.rate_per_s, self.errors
        )?;
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
        for (index, (name, ns)) in rows.iter().enumerate() {
            let end = if index + 1 == rows.len() { "" } else { "\n" };
            write!(f, "  {name:<7}{:>9}{end}", out::nanoseconds(*ns))?;
        }
        Ok(())
    }
}
