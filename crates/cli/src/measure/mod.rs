//! What every command that measures shares: when to send, how late it was, what came of each second, and how it is written down.

mod arrivals;
mod clock;
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

use hdrhistogram::Histogram;

pub(crate) use arrivals::{Arrivals, Gaps, Rate};
pub(crate) use clock::Clock;
pub(crate) use hgrm::write as write_hgrm;
pub(crate) use intervals::Tap;
pub(crate) use latency::Latency;
pub(crate) use machine::Machine;
pub(crate) use observer::{Files, Observer, create};
pub(crate) use random::mixed;
#[allow(unused_imports, reason = "for load and report")]
pub(crate) use results::{Results, Run, decoded, encoded, warn_of_all};
pub(crate) use schedule::{Schedule, Turns};
#[allow(unused_imports, reason = "for load and report")]
pub(crate) use seconds::{Second, Seconds};
pub(crate) use sending::Sending;

/// What is shown while it measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    Off,
    /// One line that is rewritten.
    InPlace,
    /// A line every second.
    Lines,
}

/// An hour: behind its schedule an open loop may be that late. Longer is recorded as this.
pub(crate) const HIGHEST_NS: u64 = 3_600_000_000_000;

/// An empty one for times, from a nanosecond to [`HIGHEST_NS`], to three figures: all are alike, and can be added up.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are constants that satisfy it.
    Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid bounds")
}
