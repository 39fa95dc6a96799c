//! IPv6 headers (RFC 8200). Extension headers are walked on the way in and never sent.

use core::net::Ipv6Addr;

use crate::Malformed;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// More extension headers than this are nobody's honest packet; RFC 8200, section 4.1 knows of six kinds.
const MAX_EXTENSIONS: usize = 8;

/// What an IPv6 Fragment header says (RFC 8200, section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fragment {
    /// Where the payload belongs in the packet's fragmentable part, in bytes: a multiple of 8, at most 65528.
    pub offset: u16,
    /// M: this is not the last fragment.
    pub more: bool,
    /// Identification, which tells the fragments of one packet from another's.
    pub ident: u32,
}

/// The fields of an IPv6 header and its extensions that mean something to an end host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// The protocol of the payload, see [`crate::ip`]: the upper layer behind all extension headers. Of a true
    /// fragment: the kind of header with which the reassembled part begins, possibly an extension.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// 6 bits DSCP (RFC 2474), 2 bits ECN (RFC 3168).
    pub traffic_class: u8,
    /// Flow label, 20 bits (RFC 6437).
    pub flow_label: u32,
    /// The Fragment header, if there was one. Never sent.
    pub fragment: Option<Fragment>,
}

impl Header {
    /// The bytes of a header without extensions, which is how [`emit`](Self::emit) writes it.
    pub const LEN: usize = 40;

    /// Takes the header and its extensions off `bytes`; answers with it and the payload, trimmed to Payload Length.
    ///
    /// A Routing header with segments left, and an option that is unknown and must then not be skipped (RFC 8200,
    /// sections 4.2 and 4.4), are [`Malformed::Ipv6Extension`] too. Jumbograms (RFC 2675) are among these.
    ///
    /// # Errors
    /// [`Malformed::Ipv6Truncated`], [`Malformed::Ipv6Version`], [`Malformed::Ipv6PayloadLength`],
    /// [`Malformed::Ipv6Extension`], tried in this order.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (head, rest) = bytes.split_first_chunk::<{ Self::LEN }>().ok_or(Malformed::Ipv6Truncated)?;
        let [v0, v1, v2, v3, len0, len1, next_header, hop_limit, ..] = *head;
        if v0 >> 4 != 6 {
            return Err(Malformed::Ipv6Version);
        }
        let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
        let payload = rest.get(..payload_len).ok_or(Malformed::Ipv6PayloadLength)?;
        let header = Self {
            src: address(head, 8),
            dst: address(head, 24),
            next_header,
            hop_limit,
            traffic_class: v0 << 4 | v1 >> 4,
            flow_label: u32::from_be_bytes([0, v1 & 0xf, v2, v3]),
            fragment: None,
        };
        if is_extension(next_header) { header.walk_extensions(payload) } else { Ok((header, payload)) }
    }

    /// Skips the extension headers at the start of `rest`.
    fn walk_extensions(mut self, mut rest: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        for nth in 0..MAX_EXTENSIONS {
            let kind = self.next_header;
            if !is_extension(kind) {
                return Ok((self, rest));
            }
            let (&[next_header, len, b2, b3, b4, b5, b6, b7], _) =
                rest.split_first_chunk().ok_or(Malformed::Ipv6Extension)?;
            if kind == FRAGMENT {
                self.next_header = next_header;
                let offset = u16::from_be_bytes([b2, b3]);
                let fragment = Fragment {
                    offset: offset & !7,
                    more: offset & 1 != 0,
                    ident: u32::from_be_bytes([b4, b5, b6, b7]),
                };
                rest = &rest[8..];
                self.fragment = Some(fragment);
                if self.is_fragment() {
                    // What follows is a slice of the reassembled packet, not necessarily a header.
                    return Ok((self, rest));
                }
                continue;
            }
            let (extension, next) = rest.split_at_checked(8 + usize::from(len) * 8).ok_or(Malformed::Ipv6Extension)?;
            let in_order = match kind {
                HOP_BY_HOP => nth == 0 && may_skip_options(&extension[2..]),
                DESTINATION_OPTIONS => may_skip_options(&extension[2..]),
                _ => b3 == 0, // Routing: Segments Left
            };
            if !in_order {
                return Err(Malformed::Ipv6Extension);
            }
            self.next_header = next_header;
            rest = next;
        }
        if is_extension(self.next_header) { Err(Malformed::Ipv6Extension) } else { Ok((self, rest)) }
    }

    /// Whether the payload is only a part of a packet. An atomic fragment (RFC 6946) is a whole packet.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        matches!(self.fragment, Some(Fragment { offset, more, .. }) if more || offset != 0)
    }

    /// Writes the header of a packet with `payload_len` bytes of payload into the first [`LEN`](Self::LEN) bytes of
    /// `buf`. `fragment` is not sent.
    ///
    /// `buf` must hold that many bytes: into a shorter one nothing is written. `payload_len` is at most 65535 (a larger
    /// one is written as that), `flow_label` at most 20 bits (the rest is dropped). A debug build asserts all three.
    #[inline]
    pub fn emit(&self, payload_len: usize, buf: &mut [u8]) {
        let Some(buf) = buf.first_chunk_mut::<{ Self::LEN }>() else {
            debug_assert!(false, "no room for an IPv6 header");
            return;
        };
        debug_assert!(self.flow_label < 1 << 20, "a flow label has 20 bits");
        debug_assert!(payload_len <= usize::from(u16::MAX), "the packet is too long");
        let payload_len = u16::try_from(payload_len).unwrap_or(u16::MAX);
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        buf[0..4].copy_from_slice(&first.to_be_bytes());
        buf[4..6].copy_from_slice(&payload_len.to_be_bytes());
        buf[6] = self.next_header;
        buf[7] = self.hop_limit;
        buf[8..24].copy_from_slice(&self.src.octets());
        buf[24..40].copy_from_slice(&self.dst.octets());
    }
}

#[inline]
fn address(head: &[u8; Header::LEN], at: usize) -> Ipv6Addr {
    let octets: [u8; 16] = core::array::from_fn(|i| head[at + i]);
    Ipv6Addr::from(octets)
}

#[inline]
const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Whether every option may be skipped by a node that knows none but the paddings (RFC 8200, section 4.2): it is well
/// formed, and the two highest bits of its type are zero.
fn may_skip_options(mut options: &[u8]) -> bool {
    const PAD1: u8 = 0;
    loop {
        options = match *options {
            [] => return true,
            [PAD1, ref rest @ ..] => rest,
            [kind, len, ref rest @ ..] if kind >> 6 == 0 => match rest.get(usize::from(len)..) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        };
    }
}
