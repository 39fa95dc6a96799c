//! Round-trip times: the same ping-pong over each stack.

use anyhow::bail;

use super::place::Place;
use super::samples::Sample;
use super::task::Point;
use crate::ping;

/// Round trips that are not measured.
const WARMUP: &str = "2000";

pub(super) fn point(place: &Place<'_>, point: Point) -> anyhow::Result<Sample> {
    let server = place.serve(&["serve", "echo"], point)?;
    let (target, bytes) = (place.address()?.to_string(), place.config.message_bytes.to_string());
    let ping = ["ping", &target, "--json", "--bytes", &bytes, "--warmup", WARMUP];
    let report: ping::Report = place.ask(server, &ping, point)?;
    if report.count == 0 || report.errors > 0 {
        bail!("{} round trips and {} errors: see what `fourwave ping` says", report.count, report.errors);
    }
    Ok(Sample { latency: Some(report.latency_ns), count: report.count, ..Sample::default() })
}
