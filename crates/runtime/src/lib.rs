//! The loops that drive shards: a pinned worker per queue, the clock, idling, and the threads beside the data path.
//!
//! [`start`] opens the interface, makes a shard with its listeners, and runs it with an application on a thread of its own,
//! pinned to a core. Beside it run a thread that mirrors the kernel's neighbours, routes and interface, and one
//! that answers `fourwave ss` on a control socket. [`Worker`] is the loop itself, over any [`xdp::Port`].
#![forbid(unsafe_code)]

mod clock;
pub mod control;
mod error;
mod idle;
mod interface;
mod kernel;
mod neighbours;
mod options;
pub mod raw;
mod start;
mod worker;

pub use clock::Clock;
pub use error::{Error, io_error_kind};
pub use idle::Idle;
pub use interface::Change;
pub use kernel::Holder;
pub use options::{Address, Options};
pub use start::{Running, interface_for, start};
pub use worker::{Command, Finished, Worker};

pub use stack;
pub use xdp;
