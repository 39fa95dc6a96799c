//! Frames of one flow, one behind the other: what a frame has in common with the one before is compared, and not read again.

use crate::{
    PROTOCOL_TCP, SeqNum, checksum, eth, ipv4, ipv6,
    tcp::{Flags, Header, Plain, Timestamps},
};

const HEAD: usize = Form::LEAST_BYTES;
/// So many of them for IPv4.
const FRONT: usize = 64;
const WORD: usize = size_of::<u64>();
/// Where the IP header begins: behind an Ethernet header without a tag.
pub(crate) const IP: usize = eth::Header::MIN_LEN;
pub(crate) const TCP_OF_IPV4: usize = IP + ipv4::Header::LEN;
const TCP_OF_IPV6: usize = IP + ipv6::Header::LEN;
/// The bits of ECN: "congestion experienced" (CE) if both are set (RFC 3168, section 5).
pub(crate) const ECN: u8 = 0b11;
/// Timestamps in the layout that RFC 7323, appendix A recommends, but for their values.
pub(crate) const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// What the next frame of a flow has in common with the last one: stations, addresses, ports, ECN, flags, and how long its headers
/// are.
///
/// Only frames of the usual form have one: no VLAN tag, no IP options or extension headers, no fragment, no flag but ACK and PSH,
/// which says nothing that matters, no TCP options or timestamps alone.
#[derive(Debug, Clone)]
pub struct Form {
    /// Which bits of the last frame's first bytes are the next one's too, and what they are; the others are 0.
    common: Words,
    head: Words,
    /// Where TCP's header begins.
    tcp: usize,
    /// It has timestamps.
    stamped: bool,
    /// The packet was marked on its way (CE).
    marked: bool,
    /// The sum of the pseudo-header but for the length.
    sum: u64,
}

impl Form {
    /// Shorter frames have no form, nor are they of one: as many bytes as all that is compared needs.
    pub const LEAST_BYTES: usize = 80;

    /// What the next frame has in common with `frame`, which must be one that the parsers of its layers have taken.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut head = *frame.first_chunk::<HEAD>()?;
        let (link, packet) = eth::Header::parse(frame).ok()?;
        let mut common = [0; HEAD];
        common[..IP].fill(0xff);
        let (tcp, sum, ecn) = match link.ethertype {
            _ if link.vlan.is_some() => return None,
            eth::ETHERTYPE_IPV4 if head[IP] == 0x45 => {
                let (ip, _) = ipv4::Header::parse(packet).ok()?;
                if ip.protocol != PROTOCOL_TCP || ip.is_fragment() {
                    return None;
                }
                common[IP + 1] = ECN;
                // Version and header length; fragmentation; protocol; addresses.
                for range in [0..1, 6..8, 9..10, 12..20] {
                    common[IP..][range].fill(0xff);
                }
                (TCP_OF_IPV4, checksum::pseudo_header_v4(ip.src, ip.dst, PROTOCOL_TCP, 0), ip.tos)
            }
            eth::ETHERTYPE_IPV6 if head[IP + 6] == PROTOCOL_TCP => {
                let (ip, _) = ipv6::Header::parse(packet).ok()?;
                // Version; next header; addresses.
                (common[IP], common[IP + 1]) = (0xf0, ECN << 4);
                for range in [6..7, 8..40] {
                    common[IP..][range].fill(0xff);
                }
                (TCP_OF_IPV6, checksum::pseudo_header_v6(ip.src, ip.dst, PROTOCOL_TCP, 0), ip.traffic_class)
            }
            _ => return None,
        };
        let options = tcp + Header::MIN_LEN;
        // Ports, Data Offset, flags.
        common[tcp..tcp + 4].fill(0xff);
        common[tcp + 12] = 0xf0;
        common[tcp + 13] = !Flags::PSH.0;
        if head[tcp + 13] & !Flags::PSH.0 != Flags::ACK.0 {
            return None;
        }
        let stamped = stamped(&head, tcp)?;
        if stamped {
            common[options..options + TIMESTAMPS.len()].fill(0xff);
        }
        for (byte, common) in head.iter_mut().zip(common) {
            *byte &= common;
        }
        Some(Self {
            common: Words(words(&common)),
            head: Words(words(&head)),
            tcp,
            stamped,
            marked: ecn & ECN == ECN,
            sum,
        })
    }

    /// The flow is one of IPv6.
    #[inline]
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.tcp == TCP_OF_IPV6
    }

    /// The packets were marked on their way (CE).
    #[inline]
    #[must_use]
    pub const fn is_marked(&self) -> bool {
        self.marked
    }

    /// The segment in a frame that has all of that in common, if its lengths and checksums are right; without PSH. `None` if the
    /// flow is not one of IPv4.
    #[inline(always)] // so that what it says stays in registers
    #[must_use]
    pub fn next_ipv4<'a>(&self, frame: &'a [u8]) -> Option<Plain<'a>> {
        let head = frame.first_chunk::<HEAD>()?;
        if self.is_ipv6() || self.differs(head, FRONT) {
            return None;
        }
        if !checksum::is_valid(checksum::native_ipv4(head[IP..].first_chunk()?)) {
            return None;
        }
        self.segment(frame, IP + usize::from(u16::from_be_bytes([head[IP + 2], head[IP + 3]])))
    }

    /// The same for IPv6.
    #[inline(always)]
    #[must_use]
    pub fn next_ipv6<'a>(&self, frame: &'a [u8]) -> Option<Plain<'a>> {
        let head = frame.first_chunk::<HEAD>()?;
        if !self.is_ipv6() || self.differs(head, HEAD) {
            return None;
        }
        self.segment(frame, TCP_OF_IPV6 + usize::from(u16::from_be_bytes([head[IP + 4], head[IP + 5]])))
    }

    /// Whether the bits that should be in common are others, in the first so many bytes.
    #[inline(always)]
    fn differs(&self, head: &[u8; HEAD], bytes: usize) -> bool {
        let words = words(head);
        (0..bytes / WORD).fold(0, |sum, n| sum | (words[n] & self.common.0[n] ^ self.head.0[n])) != 0
    }

    /// The segment that ends at `end`.
    #[inline(always)]
    fn segment<'a>(&self, frame: &'a [u8], end: usize) -> Option<Plain<'a>> {
        let bytes = frame.get(self.tcp..end)?;
        // No longer than an IP packet.
        if !checksum::is_valid_with(bytes, self.sum + bytes.len() as u64) {
            return None;
        }
        plain(bytes, self.stamped)
    }
}

/// Whether the TCP header at `tcp` has timestamps, in the usual layout, or no options at all; `None` if it has others.
#[inline(always)]
pub(crate) fn stamped(frame: &[u8], tcp: usize) -> Option<bool> {
    let options = tcp + Header::MIN_LEN;
    match frame.get(tcp + 12)? >> 4 {
        5 => Some(false),
        8 if frame.get(options..)?.starts_with(&TIMESTAMPS) => Some(true),
        _ => None,
    }
}

/// The segment that fills `bytes`, with the ACK flag and no other; `None` if it has no room for its header.
#[inline(always)]
pub(crate) fn plain(bytes: &[u8], stamped: bool) -> Option<Plain<'_>> {
    let (header, timestamps, payload) = if stamped {
        let (header, payload) = bytes.split_first_chunk::<{ Header::MIN_LEN + Timestamps::LEN }>()?;
        let [.., v0, v1, v2, v3, e0, e1, e2, e3] = *header;
        let (val, ecr) = (u32::from_be_bytes([v0, v1, v2, v3]), u32::from_be_bytes([e0, e1, e2, e3]));
        (header.first_chunk()?, Some(Timestamps { val, ecr }), payload)
    } else {
        let (header, payload) = bytes.split_first_chunk::<{ Header::MIN_LEN }>()?;
        (header, None, payload)
    };
    let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, _, w0, w1, ..]: [u8; Header::MIN_LEN] = *header;
    Some(Plain {
        seq: SeqNum::new(u32::from_be_bytes([s0, s1, s2, s3])),
        ack: SeqNum::new(u32::from_be_bytes([a0, a1, a2, a3])),
        flags: Flags::ACK,
        window: u16::from_be_bytes([w0, w1]),
        timestamps,
        payload,
    })
}

/// Aligned, so that it takes one instruction less to load two of them.
#[derive(Debug, Clone)]
#[repr(align(16))]
struct Words([u64; HEAD / WORD]);

#[inline]
fn words(bytes: &[u8; HEAD]) -> [u64; HEAD / WORD] {
    let (words, _) = bytes.as_chunks::<WORD>();
    core::array::from_fn(|n| u64::from_ne_bytes(words[n]))
}
