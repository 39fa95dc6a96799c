//! IPv4 headers (RFC 791). Options are skipped on the way in and never sent.

use core::net::Ipv4Addr;

use crate::{Malformed, checksum};

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The fields of an IPv4 header that mean something to an end host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// The protocol of the payload, see [`crate::ip`].
    pub protocol: u8,
    /// Time to live, in hops.
    pub ttl: u8,
    /// The former type of service: 6 bits DSCP (RFC 2474), 2 bits ECN (RFC 3168).
    pub tos: u8,
    /// Identification, which tells the fragments of one datagram from another's.
    pub ident: u16,
    /// DF: routers must not fragment this datagram.
    pub dont_fragment: bool,
    /// MF: this is not the last fragment.
    pub more_fragments: bool,
    /// Where the payload belongs in the datagram, in bytes: a multiple of 8, at most 65528.
    pub fragment_offset: u16,
}

impl Header {
    /// The bytes of a header without options, which is how [`emit`](Self::emit) writes it.
    pub const LEN: usize = 20;

    /// Takes the header and its options off `bytes`; answers with it and the payload, trimmed to Total Length.
    ///
    /// # Errors
    /// [`Malformed::Ipv4Truncated`], [`Malformed::Ipv4Version`], [`Malformed::Ipv4HeaderLength`],
    /// [`Malformed::Ipv4Checksum`], [`Malformed::Ipv4TotalLength`], tried in this order.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let head = bytes.first_chunk::<{ Self::LEN }>().ok_or(Malformed::Ipv4Truncated)?;
        let [version_ihl, tos, len0, len1, id0, id1, frag0, frag1, ttl, protocol, _, _, addresses @ ..] = *head;
        if version_ihl >> 4 != 4 {
            return Err(Malformed::Ipv4Version);
        }
        let header_len = usize::from(version_ihl & 0xf) * 4;
        let sum = match header_len {
            Self::LEN => checksum::native_ipv4(head),
            0..Self::LEN => return Err(Malformed::Ipv4HeaderLength),
            _ => checksum::sum(0, bytes.get(..header_len).ok_or(Malformed::Ipv4HeaderLength)?),
        };
        if !checksum::is_valid(sum) {
            return Err(Malformed::Ipv4Checksum);
        }
        let total_len = usize::from(u16::from_be_bytes([len0, len1]));
        let payload = bytes.get(header_len..total_len).ok_or(Malformed::Ipv4TotalLength)?;
        let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
        let fragment = u16::from_be_bytes([frag0, frag1]);
        let header = Self {
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
            protocol,
            ttl,
            tos,
            ident: u16::from_be_bytes([id0, id1]),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: (fragment & OFFSET_MASK) << 3,
        };
        Ok((header, payload))
    }

    /// Whether the payload is only a part of a datagram.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes the header of a datagram with `payload_len` bytes of payload into the first [`LEN`](Self::LEN) bytes of
    /// `buf`, checksum included.
    ///
    /// `buf` must hold that many bytes: into a shorter one nothing is written. `payload_len` is at most 65515 (a larger
    /// one is written as that), `fragment_offset` a multiple of 8 (it is rounded down). A debug build asserts all three.
    #[inline(always)] // every frame's
    pub fn emit(&self, payload_len: usize, buf: &mut [u8]) {
        let Some(buf) = buf.first_chunk_mut::<{ Self::LEN }>() else {
            debug_assert!(false, "no room for an IPv4 header");
            return;
        };
        debug_assert!(self.fragment_offset.is_multiple_of(8), "a fragment starts at a multiple of 8");
        debug_assert!(payload_len <= usize::from(u16::MAX) - Self::LEN, "the datagram is too long");
        let total_len = u16::try_from(payload_len.saturating_add(Self::LEN)).unwrap_or(u16::MAX);
        let mut fragment = self.fragment_offset >> 3;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        buf[0] = 0x45;
        buf[1] = self.tos;
        buf[2..4].copy_from_slice(&total_len.to_be_bytes());
        buf[4..6].copy_from_slice(&self.ident.to_be_bytes());
        buf[6..8].copy_from_slice(&fragment.to_be_bytes());
        buf[8] = self.ttl;
        buf[9] = self.protocol;
        buf[10..12].copy_from_slice(&[0, 0]);
        buf[12..16].copy_from_slice(&self.src.octets());
        buf[16..20].copy_from_slice(&self.dst.octets());
        let checksum = checksum::finish(checksum::native_ipv4(buf));
        buf[10..12].copy_from_slice(&checksum.to_ne_bytes());
    }
}
