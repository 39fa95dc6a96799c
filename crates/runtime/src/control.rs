//! The control socket: how `fourwave ss` reads a running process. A Unix socket per stack, mode 0600, in a directory of its
//! user's: `PID.sock`, and `PID-1.sock` and so on for further stacks of the same process.
//!
//! A client sends one line, a JSON [`Request`], and reads JSON lines until the end. It is served by a thread of its own,
//! which asks the loops for a piece at a time: a client that is slow or hostile holds up nobody but itself.

mod client;
mod holds;
mod place;
mod server;

pub use client::{Process, processes};
pub(crate) use holds::holder;
pub use place::DIRECTORY;
pub(crate) use place::claim;
pub(crate) use server::{ControlSocket, Source};

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Every connection and TIME-WAIT record: [`Row`]s.
    Connections,
    /// The XDP program's verdicts: [`Count`]s.
    Steering,
    /// The shards' and ports' counters: [`Count`]s.
    Counters,
    /// The ports it holds of addresses that it shares with the kernel: [`Held`]s.
    Ports,
}

/// A port that a stack listens on, or has listened on, and holds in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Address and port, as they are bound.
    pub address: SocketAddr,
    /// In which network namespace: device and number of its file.
    pub namespace: (u64, u64),
}

/// One connection or TIME-WAIT record, as `fourwave ss --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Our address and port.
    pub local: String,
    /// The peer's.
    pub remote: String,
    /// The state, as RFC 9293 spells it.
    pub state: String,
    /// The shard it lives on.
    pub shard: usize,
    /// Bytes accepted from the application and not yet acknowledged.
    pub send_queue_bytes: u32,
    /// Bytes received in order and not yet read.
    pub receive_queue_bytes: u32,
    /// Smoothed round-trip time, microseconds; absent before the first sample.
    pub rtt_us: Option<f64>,
    /// Congestion window, bytes.
    pub cwnd_bytes: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// The timer that is due first; absent when none runs.
    pub timer: Option<String>,
    /// In how many milliseconds it is due.
    pub timer_ms: Option<f64>,
    /// Seconds since the connection was opened (TIME-WAIT: since that began).
    pub age_s: f64,
    /// Seconds since it came into its state; in CLOSE-WAIT: since the peer's FIN, which the application has not answered.
    pub state_age_s: f64,
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
