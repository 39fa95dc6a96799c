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
use crate::job::Job;
use crate::measure::Latency;

/// Connections at a time; of bare frames, frames under way.
pub(super) const CONNECTIONS: &str = "64";

/// What of the document of `load http` is of interest here.
#[derive(Debug, Deserialize)]
struct Loaded {
    responses: u64,
    requests_per_s: f64,
    connects_per_s: f64,
    latency_ns: Latency,
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
    ask(place, serve(place, point)?, point, CONNECTIONS, &[])
}

/// Each with its request; the server closes.
pub(super) fn connections(place: &Place<'_>, point: Point) -> anyhow::Result<Sample> {
    let sample = ask(place, serve(place, point)?, point, CONNECTIONS, &["--close", "server"])?;
    Ok(Sample { per_s: sample.connects_per_s, ..sample })
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

/// Our server.
pub(super) fn serve(place: &Place<'_>, point: Point) -> anyhow::Result<Job> {
    let bytes = place.config.message_bytes.to_string();
    place.serve(&["serve", "http", "--body-bytes", &bytes], point)
}

/// Our client, against whatever serves; requests per second.
pub(super) fn ask(
    place: &Place<'_>,
    server: Job,
    point: Point,
    connections: &str,
    more: &[&str],
) -> anyhow::Result<Sample> {
    let url = format!("http://{}/", place.address()?);
    let mut words = vec!["load", "http", &url, "--json", "--connections", connections, "--warmup", WARMUP_S];
    words.extend(more);
    place.ask::<Loaded>(server, &words, point)?.sample()
}

impl Loaded {
    /// An error if there were any.
    fn sample(self) -> anyhow::Result<Sample> {
        let Errors { connect_errors, timeouts, resets, cut_off, malformed, unexpected } = self.errors;
        if self.responses == 0 || connect_errors + timeouts + resets + cut_off + malformed + unexpected > 0 {
            bail!(
                "{} responses, {connect_errors} connect errors, {timeouts} time-outs, {resets} resets, {cut_off} cut off, \
                 {malformed} malformed, {unexpected} unexpected: see what `fourwave load http` says",
                self.responses
            );
        }
        Ok(Sample {
            latency: Some(self.latency_ns),
            per_s: Some(self.requests_per_s),
            connects_per_s: Some(self.connects_per_s),
            count: self.responses,
            ..Sample::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(resets: u64) -> Loaded {
        let latency = serde_json::to_value(Latency { p50: 5, ..Latency::default() }).unwrap();
        let document = json!({ "responses": 7, "requests_per_s": 3.5, "connects_per_s": 1.5, "latency_ns": latency,
            "connect_errors": 0, "timeouts": 0, "resets": resets, "gbit_per_s": 0.1 });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_point_with_errors_is_none() {
        let sample = document(0).sample().unwrap();
        assert_eq!((sample.per_s, sample.connects_per_s, sample.count), (Some(3.5), Some(1.5), 7));
        assert!(document(2).sample().unwrap_err().to_string().contains("2 resets"));
    }
}
