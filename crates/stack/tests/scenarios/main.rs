//! Message sequences of RFC 9293 (figures 6 to 13, section 3.10) and of its companions, frame by frame through a shard:
//! over IPv4 and IPv6, with both number spaces shifted over 2^31 and 2^32, and checksums verified.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod close;
mod dsl;
mod open;
mod reset;
#[path = "../support/mod.rs"]
mod support;
mod time_wait;
