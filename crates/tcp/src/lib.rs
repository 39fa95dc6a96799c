//! One TCP connection, sans-io.
//!
//! A [`Connection`] does no input or output, reads no clock and knows no addresses. It has four kinds of method:
//!
//! * what happened goes **in**: [`Connection::on_segment`], [`Connection::on_timeout`];
//! * what the application wants goes **in**: [`Connection::send`], [`Connection::consume`], [`Connection::shutdown`],
//!   [`Connection::close`], [`Connection::abort`], [`Connection::set_nodelay`];
//! * what is to be done comes **out**: [`Connection::poll_transmit`], [`Connection::poll_timeout`],
//!   [`Connection::poll_event`];
//! * what is so is **asked**: [`Connection::state`], [`Connection::info`] and their like.
//!
//! Time is an argument ([`Env::now`]). A peer's odd segment is an [`Outcome`] with a counted [`DropReason`], never an error;
//! an [`Error`] says whose fault the end was. Listening, SYN-RECEIVED of a passive open and TIME-WAIT are
//! not connections: [`answer_listen`], [`HalfOpen`] and [`TimeWait`] are what a stack keeps instead.
//!
//! One file per mechanism: `state` is RFC 9293's figure 5, `recv` and `send` are the halves, `cc` congestion control,
//! `connection` only dispatches.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod cc;
mod challenge;
mod closed;
mod config;
mod connection;
mod cookie;
mod ecn;
mod env;
mod error;
mod half_open;
mod icmp;
mod isn;
mod keepalive;
mod linger;
mod losses;
mod negotiation;
mod pool;
mod profile;
pub mod recorder;
mod recv;
mod send;
mod soft;
mod stamp;
mod state;
mod time_wait;
mod turns;
mod why;

pub mod testing;

pub use closed::{Knock, Reset, answer_closed, answer_listen};
pub use config::{Config, ConfigError, Congestion, Settings};
pub use connection::{Connection, Data, Emit, Event, Half, Info, Listing, Outcome, Resting, Start, Timers, Train};
pub use cookie::{CookieOptions, Cookies, Family};
pub use ecn::Ecn;
pub use env::{Env, Look};
pub use error::{DropReason, Error};
pub use half_open::{HalfOpen, HalfOpenAnswer};
pub use icmp::IcmpError;
pub use isn::IsnGenerator;
pub use keepalive::Keepalive;
pub use losses::LossCounters;
pub use negotiation::Negotiated;
pub use pool::{ByteQueue, CHUNK_BYTES, Cursor, Pool, PoolCounters};
pub use profile::Profile;
pub use send::{Detail, Recovery};
pub use soft::SoftError;
pub use state::{Input, State};
pub use time_wait::{Answer, TimeWait};
pub use why::Why;
