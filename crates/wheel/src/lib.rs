//! A hierarchical timing wheel, and the time types of the core.
//!
//! Nothing here reads a clock: whoever drives the stack reads it once per turn and hands the [`Instant`] down. So the
//! same code runs on a NIC's queue and, a thousand times faster than real time, in the simulator.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod slots;
mod time;
mod wheel;

pub use time::{Duration, Instant};
pub use wheel::{Asked, Deadline, Keeper, Near, Wheel};
