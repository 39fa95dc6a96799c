//! One shard of the stack: frames and time in, frames and application events out.
//!
//! A [`Shard`] owns its connections, listeners, TIME-WAIT records, neighbours and timers, and shares nothing. Like a
//! connection it does no input or output and reads no clock:
//!
//! * [`Shard::on_frame`] and [`Shard::advance`] take what happened and call the [`App`],
//! * [`Shard::transmit`] writes the frames to send, [`Shard::poll_transmit`] the next of them, until there is none,
//! * [`Shard::next_wakeup`] says when to call again, [`Shard::poll_resolve`] what to ask the kernel for.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod app;
mod causes;
mod config;
mod conn_map;
mod counters;
mod dad;
mod flow;
mod flow_tag;
mod half_open;
mod handle;
mod landing;
mod listen;
mod messages;
mod neighbour;
mod path_mtu;
mod placement;
mod ports;
mod reply;
mod route;
mod shard;
mod sockets;
mod source;
mod span;
mod table;
mod tap;
mod time_wait;
mod timers;
mod toeplitz;
pub mod trace;

pub use app::{App, ConnectError, Io};
pub use causes::ResetCause;
pub use config::{DEFAULT_PORTS, LocalAddress, ShardConfig};
pub use conn_map::ConnMap;
pub use counters::{Counters, Refusal};
pub use dad::{Conflict, Dad};
pub use flow::FlowKey;
pub use flow_tag::flow_tag;
pub use handle::{ConnId, Via};
pub use landing::{Landing, LandingState, Rss, RssFields, RssInput, RssTransform};
pub use listen::{ListenError, ListenOptions, ListenerId, SynCookies};
pub use messages::Message;
pub use placement::{Place, Placed};
pub use route::Route;
pub use shard::{ConnectionInfo, Cursor, End, Frames, More, Passing, Shard, Usage, Waiting, Wanted};
pub use sockets::{Sending, SocketCounters, SocketEvent, SocketOption, Sockets};
// For measurements.
#[doc(hidden)]
pub use table::{FlowTable, Owner};
pub use tap::Tap;
pub use timers::{TimerId, TooManyTimers};

pub use bytes::Bytes;
pub use tcp::recorder;
pub use tcp::{
    Config as TcpConfig, ConfigError, Congestion, Detail, DropReason, Ecn, Error, Half, IcmpError, Info, Keepalive,
    Listing, LossCounters, PoolCounters, Profile, Recovery, Settings, SoftError, State, Why,
};
pub use wheel::{Duration, Instant};
pub use wire::{MacAddr, SeqNum};
