//! Bytes per second, one way, over one connection.

use anyhow::bail;
use serde::Deserialize;

use super::place::{Place, WARMUP_S};
use super::samples::Sample;
use super::task::Point;
use crate::internal::RawReport;

/// Bare frames under way: more than a kick takes, and less than the rings hold, also of jumbo frames in several pieces.
const FRAMES: &str = "256";

/// What of the document of `load tcp` is of interest here.
#[derive(Debug, Deserialize)]
struct Loaded {
    gbit_per_s: f64,
    bytes_sent: u64,
    connect_errors: u64,
    timeouts: u64,
    resets: u64,
}

/// From the client to the server.
pub(super) fn stream(place: &Place<'_>, point: Point) -> anyhow::Result<Sample> {
    let server = place.serve(&["serve", "discard"], point)?;
    let target = place.address()?.to_string();
    let words = ["load", "tcp", &target, "--json", "--mode", "bulk", "--direction", "up", "--connections", "1"];
    let words = [&words[..], &["--warmup", WARMUP_S]].concat();
    let Loaded { gbit_per_s, bytes_sent, connect_errors, timeouts, resets } = place.ask(server, &words, point)?;
    if bytes_sent == 0 || connect_errors + timeouts + resets > 0 {
        bail!(
            "{bytes_sent} bytes sent, {connect_errors} connect errors, {timeouts} time-outs, {resets} resets: see what \
             `fourwave load tcp` says"
        );
    }
    Ok(Sample { gbit_per_s: Some(gbit_per_s), count: bytes_sent, ..Sample::default() })
}

/// Bare frames as long as the MTU allows; all bytes of a frame count.
pub(super) fn frames(place: &Place<'_>) -> anyhow::Result<Sample> {
    let server = place.serve(&["internal", "raw"], Point::Raw)?;
    let target = place.address()?.to_string();
    let words = ["internal", "raw", "--target", &target, "--one-way", "--window", FRAMES];
    let report: RawReport = place.ask(server, &words, Point::Raw)?;
    if report.frames == 0 {
        bail!("no frame came");
    }
    let (gbit_per_s, per_s) = (Some(report.gbit_per_s), Some(report.frames_per_s));
    Ok(Sample { gbit_per_s, per_s, count: report.frames, ..Sample::default() })
}
