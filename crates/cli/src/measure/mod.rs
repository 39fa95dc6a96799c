//! What every command that measures shares: when to send, how late it was, what came of each second, and how it is written down.

mod hgrm;
mod intervals;
mod latency;
mod observer;
mod schedule;
mod sending;

pub(crate) use hgrm::write as write_hgrm;
pub(crate) use intervals::Tap;
pub(crate) use latency::Latency;
pub(crate) use observer::{Files, Observer, create};
pub(crate) use schedule::{Schedule, Turns};
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
