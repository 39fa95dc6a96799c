//! Frames as nearly all are, whoever's they are.

use core::net::Ipv4Addr;

use crate::{
    PROTOCOL_TCP, checksum, eth,
    eth::MacAddr,
    form::{ECN, IP, TCP_OF_IPV4, TIMESTAMPS, plain, stamped},
    ipv4,
    tcp::{Flags, Header, Options, Plain, Segment, Timestamps},
};

/// Where its headers end, without TCP's options.
const HEAD: usize = TCP_OF_IPV4 + Header::MIN_LEN;
/// Of the two bytes that say how a datagram is fragmented: all but DF.
const FRAGMENT: u16 = !0x4000;
/// The word of the IPv4 header with identification, flags and fragment offset.
const DONT_FRAGMENT: u32 = 0x4000;

/// A segment in a frame of the usual form: of IPv4, without VLAN tag, IP options or fragmentation, with no flag but ACK and PSH, and
/// no TCP options or timestamps alone. All that the parsers of its layers check is right.
#[derive(Debug, Clone, Copy)]
pub struct Usual<'a> {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// The packet was marked on its way (CE, RFC 3168 section 5).
    pub marked: bool,
    /// The segment.
    pub segment: Plain<'a>,
}

impl<'a> Usual<'a> {
    /// The segment in a frame to the station `to`. `None` says nothing: the frame may have another form, or be wrong.
    #[inline(always)] // so that what it says stays in registers
    #[must_use]
    pub fn parse(frame: &'a [u8], to: MacAddr) -> Option<Self> {
        let head = frame.first_chunk::<HEAD>()?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let of_ipv4 = half(IP - 2) == eth::ETHERTYPE_IPV4 && head[IP] == 0x45 && head[IP + 9] == PROTOCOL_TCP;
        let whole = half(IP + 6) & FRAGMENT == 0;
        if head[..6] != to.0 || !of_ipv4 || !whole || head[TCP_OF_IPV4 + 13] & !Flags::PSH.0 != Flags::ACK.0 {
            return None;
        }
        let stamped = stamped(frame, TCP_OF_IPV4)?;
        if !checksum::is_valid(checksum::native_ipv4(head[IP..].first_chunk()?)) {
            return None;
        }
        let bytes = frame.get(TCP_OF_IPV4..IP + usize::from(half(IP + 2)))?;
        let (src, dst) = (Ipv4Addr::from_bits(word(IP + 12)), Ipv4Addr::from_bits(word(IP + 16)));
        let sum = checksum::pseudo_header_v4(src, dst, PROTOCOL_TCP, 0);
        // No longer than an IP packet.
        if !checksum::is_valid_with(bytes, sum + bytes.len() as u64) {
            return None;
        }
        let ports = (half(TCP_OF_IPV4), half(TCP_OF_IPV4 + 2));
        let segment = Plain { flags: Flags::from_bits(head[TCP_OF_IPV4 + 13]), ..plain(bytes, stamped)? };
        Some(Self { src, dst, ports, marked: head[IP + 1] & ECN == ECN, segment })
    }

    /// Writes the frame of a segment without data from station `from` to station `to`, as their headers' `emit` would; the IPv4
    /// header has the DF bit and no identification (RFC 6864 section 4.1). Returns its length; if `frame` has no room for it,
    /// `None`, and nothing is written. Whether the packet [was marked](Self::marked) is in `tos`.
    #[inline]
    pub fn emit_bare(&self, (from, to): (MacAddr, MacAddr), (ttl, tos): (u8, u8), frame: &mut [u8]) -> Option<usize> {
        debug_assert!(self.segment.payload.is_empty(), "it has no data");
        let Self { src, dst, ports: (src_port, dst_port), .. } = *self;
        let Plain { seq, ack, flags, window, timestamps, .. } = self.segment;
        let options = if timestamps.is_some() { Timestamps::LEN } else { 0 };
        let tcp_len = Header::MIN_LEN + options;
        let out = frame.get_mut(..TCP_OF_IPV4 + tcp_len)?;
        let (head, rest) = out.split_first_chunk_mut::<HEAD>()?;
        // Lengths below a hundred.
        #[allow(clippy::cast_possible_truncation)]
        let (ip_len, offset) = ((ipv4::Header::LEN + tcp_len) as u16, (tcp_len as u32 / 4) << 28);
        let addresses = u64::from(src.to_bits()) + u64::from(dst.to_bits());
        let first = 0x4500_0000 | u32::from(tos) << 16 | u32::from(ip_len);
        let third = u32::from(ttl) << 24 | u32::from(PROTOCOL_TCP) << 16;
        let ip_sum = checksum::finish(addresses + u64::from(first) + u64::from(DONT_FRAGMENT) + u64::from(third));
        let ports = u32::from(src_port) << 16 | u32::from(dst_port);
        let control = offset | u32::from(flags.bits()) << 16 | u32::from(window);
        let mut sum = addresses + u64::from(PROTOCOL_TCP) + tcp_len as u64;
        for word in [ports, seq.value(), ack.value(), control] {
            sum += u64::from(word);
        }
        if let (Some(Timestamps { val, ecr }), Some(options)) =
            (timestamps, rest.first_chunk_mut::<{ Timestamps::LEN }>())
        {
            let kind = u32::from_be_bytes(TIMESTAMPS);
            for (to, word) in options.as_chunks_mut().0.iter_mut().zip([kind, val, ecr]) {
                *to = word.to_be_bytes();
                sum += u64::from(word);
            }
        }
        head[..6].copy_from_slice(&to.0);
        head[6..12].copy_from_slice(&from.0);
        head[12..14].copy_from_slice(&eth::ETHERTYPE_IPV4.to_be_bytes());
        let (words, last) = (
            [first, DONT_FRAGMENT, third | u32::from(ip_sum), src.to_bits(), dst.to_bits()],
            [ports, seq.value(), ack.value(), control, u32::from(checksum::finish(sum)) << 16],
        );
        for (to, word) in head[IP..].as_chunks_mut().0.iter_mut().zip(words.into_iter().chain(last)) {
            *to = word.to_be_bytes();
        }
        Some(TCP_OF_IPV4 + tcp_len)
    }

    /// As the parser of segments has it; but an urgent pointer that means nothing is 0.
    #[must_use]
    pub fn segment(&self) -> Segment<'a> {
        let Plain { seq, ack, flags, window, timestamps, payload } = self.segment;
        let (src_port, dst_port) = self.ports;
        let options = Options { timestamps, ..Options::default() };
        Segment { header: Header { src_port, dst_port, seq, ack, flags, window, urgent: 0, options }, payload }
    }
}

const _: () = assert!(ipv4::Header::LEN + IP == TCP_OF_IPV4);
