//! Requests per second over kept connections, and connections per second with one request each.
//!
//! The server closes first where each request has its connection, as HTTP servers do without keep-alive: no client runs out of
//! ports by its TIME-WAIT, whatever its stack.

use anyhow::bail;
use serde::Deserialize;

use super::place::{Place, WARMUP_S};
use super::samples::Sample;
use super::task::Point;
use crate::internal::RawReport;
use crate::measure::Latency;

/// Connections at a time; of bare frames, frames under way.
pub(super) const CONNECTIONS: &str = "64";

/// What of the document of `load http` is of interest here.
#[derive(Debug, Deserialize)]
pub(super) struct Loaded {
    responses: u64,
    requests_per_s: f64,
    connects_per_s: f64,
    pub(super) latency_ns: Latency,
    #[serde(flatten)]
    errors: Errors,
}

/// None of them is expected.
#[derive(Debug, Deserialize)]
struct Errors {
    connect_errors: u64,
    timeouts: u64,
    resets: u64,
    #[serde(default)]
    cut_off: u64,
    #[serde(default)]
    malformed: u64,
    #[serde(default)]
    unexpected: u64,
}

/// Over kept connections.
pub(super) fn requests(place: &Place<'_>, point: Point) -> anyhow::Result<Sample> {
    let loaded = load(place, point, &[])?;
    Ok(Sample { per_s: Some(loaded.requests_per_s), ..loaded.sample() })
}

/// Each with its request; the server closes.
pub(super) fn connections(place: &Place<'_>, point: Point) -> anyhow::Result<Sample> {
    let loaded = load(place, point, &["--close", "server"])?;
    Ok(Sample { per_s: Some(loaded.connects_per_s), ..loaded.sample() })
}

/// Bare frames there and back, as many under way as there are connections.
pub(super) fn frames(place: &Place<'_>) -> anyhow::Result<Sample> {
    let server = place.serve(&["serve", "echo"], Point::Raw)?;
    let (target, bytes) = (place.address()?.to_string(), place.config.message_bytes.to_string());
    let raw = ["internal", "raw", "--target", &target, "--bytes", &bytes, "--window", CONNECTIONS];
    let report: RawReport = place.ask(server, &raw, Point::Raw)?;
    if report.frames == 0 {
        bail!("no frame came back");
    }
    Ok(Sample {
        latency: Some(report.latency_ns),
        per_s: Some(report.frames_per_s),
        count: report.frames,
        ..Sample::default()
    })
}

fn load(place: &Place<'_>, point: Point, more: &[&str]) -> anyhow::Result<Loaded> {
    let bytes = place.config.message_bytes.to_string();
    let server = place.serve(&["serve", "http", "--body-bytes", &bytes], point)?;
    let url = format!("http://{}/", place.address()?);
    let mut words = vec!["load", "http", &url, "--json", "--connections", CONNECTIONS, "--warmup", WARMUP_S];
    words.extend(more);
    place.ask::<Loaded>(server, &words, point)?.without_errors()
}

impl Loaded {
    /// An error if there were any.
    pub(super) fn without_errors(self) -> anyhow::Result<Self> {
        let Errors { connect_errors, timeouts, resets, cut_off, malformed, unexpected } = self.errors;
        if self.responses == 0 || connect_errors + timeouts + resets + cut_off + malformed + unexpected > 0 {
            bail!(
                "{} responses, {connect_errors} connect errors, {timeouts} time-outs, {resets} resets, {cut_off} cut off, \
                 {malformed} malformed, {unexpected} unexpected: see what `fourwave load http` says",
                self.responses
            );
        }
        Ok(self)
    }

    fn sample(&self) -> Sample {
        Sample { latency: Some(self.latency_ns.clone()), count: self.responses, ..Sample::default() }
    }
}
