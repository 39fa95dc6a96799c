//! Headers, options, checksums and sequence numbers: bytes in, validated values out.
//!
//! A `parse` takes the bytes a layer was given, checks lengths, versions and checksums, and answers with the header as
//! a value and the rest of the bytes as a slice, or with the [`Malformed`] reason the stack counts. It never panics and
//! never allocates. An `emit` writes into space the caller has set aside and fills in lengths and checksums.
//!
//! All numbers in the values are in host order; all bytes in the buffers are in network order.

#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod eth;
mod form;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
mod malformed;
pub mod ndp;
pub mod quoted;
mod seq;
pub mod tcp;
mod usual;

pub use eth::MacAddr;
pub use form::Form;
pub use ip::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP};
pub use malformed::Malformed;
pub use seq::SeqNum;
pub use usual::Usual;
