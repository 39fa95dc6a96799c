//! What must hold in every world, at any time: looked at while it runs.

mod flow;
mod hash;
mod segment;
mod streams;
mod wire;

pub(crate) use hash::FastMap;
pub(crate) use segment::{FlowId, Seen, parse};
pub use streams::Streams;
pub(crate) use wire::{Stamp, Wire};
