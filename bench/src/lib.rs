//! An impaired path between network namespaces: three of them in a row, and in the middle a forwarder that loses, delays,
//! reorders, doubles and corrupts frames by a seed. For tests and measurements; no part of the stack.
#![forbid(unsafe_code)]

mod flood;
mod forward;
mod lab;
mod link;

pub use flood::{Flood, send_frames};
pub use forward::{Forwarded, Forwarder, Lateness, Placement, realtime};
pub use lab::{End, Lab, within};
pub use link::{Impairments, Link, LinkCounters};
