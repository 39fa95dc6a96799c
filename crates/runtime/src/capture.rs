//! Capturing what a running stack receives and sends: `fourwave pcap`.
//!
//! Each loop copies the frames that a filter chooses into a ring of bytes of its own, which a thread of the serving process
//! empties into the control socket; who asked merges what comes from all shards by its time. A ring that is full is a frame that
//! is not kept, and counted: the loops wait for nobody.
//!
//! The answer to a [`Request`] is a line of JSON (the queues, or a sentence why not) and then messages until the end: their
//! kind, the shard and a length, and whole records of one shard, or how far all shards have come.

mod client;
mod message;
mod record;
mod recorder;
mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use client::{Capture, Event, Frame, Moment};
pub use pcap::{bpf, pcapng};
pub(crate) use recorder::{Recorder, Recorders};
pub(crate) use server::{Interface, Servers};

use bpf::Instruction;
use serde::{Deserialize, Serialize};

/// The longest frame there is: nothing is cut.
pub const WHOLE: u32 = 262_144;
/// Bytes of a shard's ring at least and at most.
pub const BUFFER_BYTES: [u32; 2] = [64 << 10, 256 << 20];

/// What is to be captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The program that chooses frames, as [`bpf::Program::check`] has it; none: all of them.
    pub filter: Vec<Instruction>,
    /// Bytes kept of a frame at most, 1 to [`WHOLE`].
    pub snaplen: u32,
    /// Each frame with a word on its connection's state.
    pub comments: bool,
    /// Bytes of each shard's ring; see [`BUFFER_BYTES`].
    pub buffer_bytes: u32,
}

/// Where frames are captured: the queue of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The interface.
    pub interface: String,
    /// The receive queue.
    pub queue: u32,
    /// The shard.
    pub shard: usize,
}

/// The first line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Opened {
    /// In the order in which messages count them.
    Queues(Vec<Queue>),
    /// Why not.
    Refused(String),
}

/// What a shard has seen since the capture began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames, both ways.
    pub seen: u64,
    /// Of those, the ones that the filter chose.
    pub matched: u64,
    /// Of those, the ones that found its ring full.
    pub dropped: u64,
}
