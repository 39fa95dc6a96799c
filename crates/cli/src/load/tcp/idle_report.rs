//! What `load tcp --mode idle` reports.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Idle;
use super::churn::Churned;
use super::counts::{Count, Counts};
use super::idle::Measured;
use super::probe::Tally;
use super::timeline::{PARTS, Part, Sample};
use crate::args::Stack;
use crate::load::Config;
use crate::measure::{self, Latency, Results, Run, Seconds};
use crate::out;

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
    /// The most of any second.
    resident_bytes_peak: u64,
    /// What one of them takes, without that of the process.
    bytes_per_connection: u64,
    /// The server's alike, if its process was named.
    #[serde(flatten)]
    server: Option<Server>,
    /// Connections that were there at the end of the time and had answered since the others, and the churn, were done.
    answering: u64,
    /// Segments that were sent again, of those that lasted.
    retransmits: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    churn: Option<Churn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
    /// Each second from the first SYN to the last FIN.
    timeline: Vec<Sample>,
    #[serde(flatten)]
    results: Results,
}

/// Memory of the server's process.
#[derive(Debug, Serialize)]
struct Server {
    server_resident_bytes_before: u64,
    server_resident_bytes: u64,
    server_resident_bytes_peak: u64,
    server_bytes_per_connection: u64,
}

/// Short connections that came and went beside the others.
#[derive(Debug, Serialize)]
struct Churn {
    connections: u64,
    /// Opened, answered, and closed with FINs both ways.
    done: u64,
    failed: u64,
    /// By the reason.
    failed_by: BTreeMap<&'static str, u64>,
    unexpected: u64,
    duration_s: f64,
    per_s: f64,
    retransmits: u64,
    /// From the SYN to the answer.
    latency_ns: Latency,
    resident_bytes_before: u64,
    resident_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_resident_bytes_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_resident_bytes: Option<u64>,
}

/// A connection of its own that asks all the time.
#[derive(Debug, Serialize)]
struct Probe {
    every_ms: f64,
    requests: u64,
    responses: u64,
    /// Requests of connections that were lost, and how often that was.
    lost: u64,
    failures: u64,
    /// From when a request was due to its answer: of all, and while others were opened, came and went, were there, were closed.
    latency_ns: Latency,
    ramp_up_ns: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    churn_ns: Option<Latency>,
    hold_ns: Latency,
    ramp_down_ns: Latency,
}

impl Probe {
    fn of(every: std::time::Duration, tally: Tally, by_part: &[Histogram<u64>; PARTS], churns: bool) -> Self {
        let mut all = measure::histogram();
        for part in by_part {
            // Of equal bounds.
            let _ = all.add(part);
        }
        let of = |part: Part| Latency::of(&by_part[part as usize]);
        Self {
            every_ms: every.as_secs_f64() * 1e3,
            requests: tally.asked,
            responses: tally.answered,
            lost: tally.lost,
            failures: tally.failures,
            latency_ns: Latency::of(&all),
            ramp_up_ns: of(Part::RampUp),
            churn_ns: churns.then(|| of(Part::Churn)),
            hold_ns: of(Part::Hold),
            ramp_down_ns: of(Part::RampDown),
        }
    }
}

impl Churn {
    fn of(churn: super::Churn, counts: &Counts, churned: &Churned, with_server: bool) -> Self {
        let (done, duration_s) = (counts.get(Count::InOrder), seconds(churned.began, churned.ended));
        let mut failed_by = counts.not_opened_by();
        failed_by.extend(counts.lost_by());
        let not_in_order = counts.get(Count::NotInOrder);
        if not_in_order > 0 {
            failed_by.insert("not_in_order", not_in_order);
        }
        Self {
            connections: churn.connections,
            done,
            failed: failed_by.values().sum(),
            failed_by,
            unexpected: counts.get(Count::Unexpected),
            duration_s,
            per_s: per_s(done, duration_s),
            retransmits: counts.get(Count::Retransmits),
            latency_ns: Latency::of(&churned.latency),
            resident_bytes_before: churned.resident[0],
            resident_bytes: churned.resident[1],
            server_resident_bytes_before: with_server.then_some(churned.server_resident[0]),
            server_resident_bytes: with_server.then_some(churned.server_resident[1]),
        }
    }
}

fn seconds(from: Option<fourwave::Instant>, until: Option<fourwave::Instant>) -> f64 {
    from.zip(until).map_or(0.0, |(from, until)| until.saturating_since(from).as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn per_s(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Report {
    pub(super) fn of(config: &Config, idle: &Idle, measured: &Measured<'_>, run: &Run) -> Self {
        let Measured { counts, churn, times, timeline, probed } = *measured;
        let established_in_s = seconds(times.began, times.established);
        let duration_s = seconds(times.holds, times.ended);
        // Messages go from the first connection on.
        let total_s = seconds(times.began, times.ended);
        let (established, lost) = (counts.get(Count::Established), counts.lost());
        let each = |before: u64, with: u64| with.saturating_sub(before) / established.max(1);
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
            lost_by: counts.lost_by(),
            failed_by: counts.not_opened_by(),
            ended_in_order: counts.get(Count::InOrder),
            established_in_s,
            requests: counts.get(Count::Requests),
            responses: counts.get(Count::Responses),
            unexpected: counts.get(Count::Unexpected),
            connects: established,
            connect_errors: counts.not_opened(),
            timeouts: counts.get(Count::TimedOut) + counts.get(Count::Unanswered) + counts.get(Count::NoAnswer),
            resets: counts.get(Count::Reset),
            bytes_sent: sent,
            bytes_received: received,
            duration_s,
            requests_per_s: per_s(counts.get(Count::Responses), total_s),
            connects_per_s: per_s(established, established_in_s),
            gbit_per_s: per_s((sent + received) * 8, total_s) / 1e9,
            latency_ns: Latency::of(&times.latency),
            connect_latency_ns: Latency::of(&times.connect_latency),
            resident_bytes_before: times.resident_before,
            resident_bytes: times.resident,
            resident_bytes_peak: timeline.peak(),
            bytes_per_connection: each(times.resident_before, times.resident),
            server: idle.server_pid.map(|_| Server {
                server_resident_bytes_before: times.server_before,
                server_resident_bytes: times.server,
                server_resident_bytes_peak: timeline.server_peak().unwrap_or(0),
                server_bytes_per_connection: each(times.server_before, times.server),
            }),
            answering: counts.get(Count::Answering),
            retransmits: counts.get(Count::Retransmits),
            churn: idle.churn.map(|wanted| Churn::of(wanted, churn, &times.churned, idle.server_pid.is_some())),
            probe: idle
                .probe
                .zip(probed)
                .map(|(every, tally)| Probe::of(every, tally, &timeline.probe, idle.churn.is_some())),
            timeline: timeline.samples.clone(),
            results,
        }
    }

    /// Says what the figures may be wrong by.
    pub(super) fn warn(&mut self, run: &Run) {
        measure::warn_of_all(&run.complaints(), std::iter::once(&mut self.results));
        if self.server.as_ref().is_some_and(|server| server.server_resident_bytes_peak == 0) {
            self.results.warn("no memory can be read of the process that --server-pid names".into());
        }
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
        let (before, with, each) = (self.resident_bytes_before, self.resident_bytes, self.bytes_per_connection);
        write!(f, "  memory here: {} before, {} with them ({each} bytes each)", mib(before), mib(with))?;
        if let Some(server) = &self.server {
            let (before, with) = (server.server_resident_bytes_before, server.server_resident_bytes);
            let each = server.server_bytes_per_connection;
            write!(f, "\n  the server's: {} before, {} with them ({each} bytes each)", mib(before), mib(with))?;
        }
        if let Some(churn) = &self.churn {
            let Churn { done, connections, duration_s, per_s, failed, failed_by, retransmits, .. } = churn;
            write!(
                f,
                "\n  churn: {done} of {connections} came and went in {duration_s:.2} s, {per_s:.0}/s; {failed} failed{}, \
                 {retransmits} segments sent again; memory here {} before, {} behind it",
                named(failed_by),
                mib(churn.resident_bytes_before),
                mib(churn.resident_bytes)
            )?;
        }
        if self.requests > 0 {
            write!(
                f,
                "\n  {} messages, {} answers; {} answer at the end",
                self.requests, self.responses, self.answering
            )?;
        }
        for (name, latency) in [("answer", &self.latency_ns), ("connect", &self.connect_latency_ns)] {
            if latency.max > 0 {
                let all = [latency.p50, latency.p99, latency.max].map(|ns| out::nanoseconds(ns as f64));
                write!(f, "\n  {name:<8} p50 {}, p99 {}, max {}", all[0], all[1], all[2])?;
            }
        }
        self.probe.as_ref().map_or(Ok(()), |probe| probe.fmt(f))
    }
}

impl fmt::Display for Probe {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { every_ms, requests, responses, lost, .. } = self;
        write!(f, "\n  the probe, each {every_ms} ms: {responses} of {requests} answered, {lost} lost")?;
        let parts = [("ramp-up", Some(&self.ramp_up_ns)), ("churn", self.churn_ns.as_ref())];
        let parts = parts.into_iter().chain([("hold", Some(&self.hold_ns)), ("ramp-down", Some(&self.ramp_down_ns))]);
        for (name, latency) in parts {
            let Some(latency) = latency.filter(|latency| latency.max > 0) else { continue };
            let all = [latency.p50, latency.p99, latency.p999, latency.max].map(|ns| out::nanoseconds(ns as f64));
            write!(f, "\n    {name:<9} p50 {}, p99 {}, p99.9 {}, max {}", all[0], all[1], all[2], all[3])?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, to a tenth")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
