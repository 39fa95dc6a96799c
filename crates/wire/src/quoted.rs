//! What an ICMP error quotes: the start of a packet of ours, at least the IP header and 8 bytes behind it (RFC 792; RFC
//! 4443 section 2.4 has more). It is cut short and was changed on its way, so lengths and checksums are not verified.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{PROTOCOL_TCP, SeqNum};

/// A TCP segment of ours that an ICMP error is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Who sent it: one of our addresses, if the error is genuine.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// Our port.
    pub src_port: u16,
    /// The peer's port.
    pub dst_port: u16,
    /// SEG.SEQ
    pub seq: SeqNum,
    /// The bytes of the whole packet as its IP header has them.
    pub packet_len: u32,
}

impl Quoted {
    /// Reads the body of an ICMP error for IPv4; `None` if that is not the beginning of a TCP segment, or too little of it.
    #[must_use]
    pub fn parse_v4(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; 20] = bytes.first_chunk()?;
        let header_len = usize::from(head[0] & 0xf) * 4;
        let first_fragment = u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0;
        if head[0] >> 4 != 4 || header_len < head.len() || head[9] != PROTOCOL_TCP || !first_fragment {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]).into();
        let packet_len = u16::from_be_bytes([head[2], head[3]]).into();
        Self::segment(address(12), address(16), packet_len, bytes.get(header_len..)?)
    }

    /// Reads the body of an ICMPv6 error. We send no extension headers, so none is looked behind.
    #[must_use]
    pub fn parse_v6(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<40>()?;
        if head[0] >> 4 != 6 || head[6] != PROTOCOL_TCP {
            return None;
        }
        let address = |at: usize| Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|i| head[at + i])).into();
        let payload_len = u16::from_be_bytes([head[4], head[5]]);
        Self::segment(address(8), address(24), 40 + u32::from(payload_len), rest)
    }

    fn segment(src: IpAddr, dst: IpAddr, packet_len: u32, tcp: &[u8]) -> Option<Self> {
        let [s0, s1, d0, d1, n0, n1, n2, n3] = *tcp.first_chunk()?;
        let seq = SeqNum::new(u32::from_be_bytes([n0, n1, n2, n3]));
        let (src_port, dst_port) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        Some(Self { src, dst, src_port, dst_port, seq, packet_len })
    }
}
