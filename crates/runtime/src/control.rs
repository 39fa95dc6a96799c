//! The control socket: how `fourwave ss` reads a running process. A Unix socket per stack, mode 0600, in a directory of its
//! user's: `PID.sock`, and `PID-1.sock` and so on for further stacks of the same process.
//!
//! A client sends one line, a JSON [`Request`], and reads JSON lines until the end. It is served by a thread of its own
//! (`clients.rs`), which asks the loops for a piece at a time: a client that is slow or hostile holds up nobody but itself.

mod client;
mod clients;
mod connect;
mod filter;
mod holds;
mod list;
mod place;
mod row;
mod server;
mod trace;

pub use client::{Process, processes};
pub(crate) use clients::ClientCounts;
pub(crate) use connect::nothing_within;
pub use filter::{Filter, MOST_TERMS, Network, Side, Term};
pub(crate) use holds::holder;
#[cfg(test)]
pub(crate) use list::piece_of_all;
pub use list::{EndPiece, How, ListPiece, Listed, Place};
pub use place::DIRECTORY;
pub(crate) use place::claim;
pub use row::{ListenerRow, Row, TimerRow};
pub(crate) use server::{ControlSocket, Source, ask};

use crate::capture;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A page of connections, records and listeners: [`Row`]s.
    List(Listed),
    /// To end connections.
    End(Listed, How),
    /// What happened to the connections of the shard that the place names: [`Traced`](crate::trace::Traced)s.
    Trace(Listed),
    /// The XDP program's verdicts: [`Count`]s.
    Steering,
    /// The shards' and ports' counters: [`Count`]s.
    Counters,
    /// The ports it holds of addresses that it shares with the kernel: [`Held`]s.
    Ports,
    /// The frames that come and go, until the client has enough: see [`capture`].
    Capture(capture::Request),
}

/// The last line of an answer that a loop stands in the way of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    failed: String,
}

impl Failed {
    /// No other line begins with it.
    const BEGINS: &str = r#"{"failed":"#;
}

/// A port that a stack listens on, or has listened on, and holds in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Address and port, as they are bound.
    pub address: SocketAddr,
    /// In which network namespace: device and number of its file.
    pub namespace: (u64, u64),
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Its name.
    pub name: String,
    /// Its value; over several shards, their sum.
    pub value: u64,
    /// Each shard's, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<u64>,
}
