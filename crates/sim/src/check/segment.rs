//! A TCP segment as the checkers see it.

use crate::{forge, mark};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};
use wire::{
    SeqNum,
    tcp::{Flags, Header},
};

/// Both ends of a connection, the smaller address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlowId {
    ends: [u128; 2],
    ports: u32,
}

/// A segment, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) flow: FlowId,
    /// Which end sent it.
    pub(crate) side: usize,
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) header: Header,
    pub(crate) len: u32,
}

impl Seen {
    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.header.flags.contains(flags)
    }

    /// The sequence number behind the segment.
    pub(crate) fn end(&self) -> SeqNum {
        self.header.seq + self.len + u32::from(self.has(Flags::SYN)) + u32::from(self.has(Flags::FIN))
    }
}

const fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The TCP segment in a frame; `None` if there is none, or it is not valid.
pub(crate) fn parse(frame: &[u8]) -> Option<Seen> {
    if !mark::is_tcp(frame) {
        return None;
    }
    let (_, src, dst, segment) = forge::parse(frame)?;
    let header = segment.header;
    let (a, b) = ((bits(src), header.src_port), (bits(dst), header.dst_port));
    let ((one, p), (other, q)) = if a < b { (a, b) } else { (b, a) };
    Some(Seen {
        flow: FlowId { ends: [one, other], ports: u32::from(p) << 16 | u32::from(q) },
        side: usize::from(a > b),
        src: SocketAddr::new(src, header.src_port),
        dst: SocketAddr::new(dst, header.dst_port),
        header,
        len: u32::try_from(segment.payload.len()).unwrap_or(u32::MAX),
    })
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { seq, ack, flags, window, options, .. } = &self.header;
        let (src, dst, len) = (self.src, self.dst, self.len);
        write!(f, "{src} to {dst} {flags:?} seq {seq} ack {ack} win {window} len {len} {options:?}")
    }
}

/// A segment of a flow between node 0 and node 1, for the tests of the checkers.
#[cfg(test)]
pub(super) fn test_segment(side: usize, flags: Flags, seq: u32, ack: u32, window: u16, len: u32) -> Seen {
    let ends: [SocketAddr; 2] = [([10, 0, 0, 1], 1000).into(), ([10, 0, 0, 2], 2000).into()];
    let (src, dst) = (ends[side], ends[1 - side]);
    let (seq, ack) = (SeqNum::new(seq), SeqNum::new(ack));
    let (src_port, dst_port, options) = (src.port(), dst.port(), wire::tcp::Options::default());
    let header = Header { src_port, dst_port, seq, ack, flags, window, urgent: 0, options };
    Seen { flow: FlowId { ends: [1, 2], ports: 3 }, side, src, dst, header, len }
}
