//! A segment notation for tests, so that a case reads like a packet trace.

pub use crate::connection::Numbers;
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Segment},
};

/// A segment with a window of 1,000, as the scenarios have it.
#[must_use]
pub fn segment(flags: Flags, seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
    let header = Header {
        src_port: 0,
        dst_port: 0,
        seq: SeqNum::new(seq),
        ack: SeqNum::new(ack),
        flags,
        window: 1000,
        urgent: 0,
        options: Options::default(),
    };
    Segment { header, payload }
}
