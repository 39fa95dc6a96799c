//! What every command that measures shares: when to send, how late it was, what came of each second, whether the machine was up to
//! it, and how it is written down.
//!
//! ```ignore
//! let mut run = Run::begin("load http");
//! let observer = Observer::start(&run, title, vec![String::new()], &files, live)?;
//! // In each shard's application, with one `began` for all: `tap.tick(io.now())` in `on_turn`, `tap.record(ns, io.now())`,
//! // `tap.error()`; and `tap.end(io.now())` when it is done.
//! let tap = observer.tap(0, place.count, &began, config.duration).of_a_loop_that_spins(stack::spins(&config.at, wait));
//! // When the stack has ended, and all taps are gone:
//! run.stack_ended(over_kernel, &counts);
//! let (seconds, written) = observer.finish();
//! let mut results = run.results(&histogram, seconds.into_iter().next().unwrap_or_default());
//! results.connect_histogram = Some(encoded(&connects));
//! results.complain("");
//! warn_of_all(&run.complaints(), std::iter::once(&mut results));
//! ```

mod arrivals;
mod clock;
mod drops;
mod hgrm;
mod intervals;
mod latency;
mod machine;
mod observer;
mod random;
mod results;
mod schedule;
mod seconds;
mod sending;
mod turning;
mod under_way;

use anyhow::anyhow;
use hdrhistogram::Histogram;

use crate::out;

pub(crate) use arrivals::{Arrivals, Gaps, Rate};
pub(crate) use clock::Clock;
pub(crate) use hgrm::write as write_hgrm;
pub(crate) use intervals::Tap;
pub(crate) use latency::Latency;
pub(crate) use machine::Machine;
pub(crate) use observer::{Files, Observer, create};
pub(crate) use random::mixed;
pub(crate) use results::{Results, Run, encoded, warn_of_all};
pub(crate) use schedule::{Schedule, Turns};
pub(crate) use seconds::{Second, Seconds};
pub(crate) use sending::Sending;
pub(crate) use under_way::UnderWay;

/// What is shown while it measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    Off,
    /// One line that is rewritten.
    InPlace,
    /// A line every second.
    Lines,
}

/// What failed, all of it: who reads only of the first file that could not be written takes the others for whole.
pub(crate) fn all(results: impl IntoIterator<Item = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match failures.len() {
        0 => Ok(()),
        // With what it is besides its sentence.
        1 => failures.pop().map_or(Ok(()), Err),
        _ => Err(anyhow!(failures.iter().map(out::sentence).collect::<Vec<_>>().join("; and "))),
    }
}

/// An hour: behind its schedule an open loop may be that late. Longer is recorded as this.
pub(crate) const HIGHEST_NS: u64 = 3_600_000_000_000;

/// An empty one for times, from a nanosecond to [`HIGHEST_NS`], to three figures: all are alike, and can be added up.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are constants that satisfy it.
    Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid bounds")
}
