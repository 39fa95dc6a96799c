//! The loops that drive shards: a pinned worker per queue, the clock, idling, and the threads beside the data path.
//!
//! [`start`] opens the interface, makes a shard per receive queue with its listeners, and runs each with an application on a
//! thread of its own, pinned to a core. Frames that arrive at one shard and belong to another's flow are handed over
//! ([`HandoffCounters`]). Beside them run a thread that mirrors the kernel's neighbours, routes and interface, and one that answers `fourwave ss` on a
//! control socket. [`Worker`] is the loop itself, over any [`xdp::Port`].
#![forbid(unsafe_code)]

mod bell;
pub mod capture;
mod claim;
mod clock;
pub mod control;
mod driven;
mod ending;
mod endpoints;
mod error;
mod handoff;
mod idle;
mod interface;
mod kernel;
mod landing;
mod limits;
mod meter;
pub mod metrics;
mod neighbours;
mod options;
mod outbox;
mod outlet;
mod overhear;
mod post;
mod privileges;
mod pulse;
pub mod raw;
mod secret;
mod sockets;
mod stall;
mod start;
mod totals;
pub mod trace;
mod worker;

pub use clock::Clock;
pub use driven::{Driven, drive};
pub use ending::Ending;
pub use endpoints::Endpoints;
pub use error::{Error, connect_error_kind, io_error_kind, listen_error_kind};
pub use handoff::HandoffCounters;
pub use idle::Idle;
pub use interface::Change;
pub use kernel::Holder;
pub use limits::Limits;
pub use options::{Address, KernelSockets, Options};
pub use post::Poster;
pub use privileges::drop_privileges;
pub use pulse::Pulse;
pub use start::{Running, interface_for, start, start_each};
pub use totals::totals;
pub use worker::{Command, Finished, Worker};

pub use stack;
pub use xdp;
