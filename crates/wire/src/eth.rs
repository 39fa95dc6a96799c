//! Ethernet II frames with at most one VLAN tag (IEEE 802.3, 802.1Q).

use core::fmt;

use crate::Malformed;

/// IPv4 (RFC 894).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// IPv6 (RFC 2464).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The tag of a VLAN (IEEE 802.1Q, a C-tag).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// The outer tag of stacked VLANs (IEEE 802.1ad, an S-tag).
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// An Ethernet hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`, every station.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the address names a group, the broadcast address among them (IEEE 802.3: the I/G bit).
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ethernet header, with the VLAN tag it may carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// The station or group the frame is for.
    pub dst: MacAddr,
    /// The station that sent it.
    pub src: MacAddr,
    /// The tag control information of one tag: 3 bits priority, 1 bit drop eligible, 12 bits VLAN identifier.
    pub vlan: Option<u16>,
    /// What the payload is. After an outer tag this may itself be [`ETHERTYPE_VLAN`]: a second tag is not taken off.
    pub ethertype: u16,
}

impl Header {
    /// The bytes of a header without a tag.
    pub const MIN_LEN: usize = 14;
    /// The bytes of a header with a tag.
    pub const MAX_LEN: usize = 18;

    /// Takes the header off `frame` and answers with it and the payload, padding included.
    ///
    /// # Errors
    /// [`Malformed::EthTruncated`], [`Malformed::VlanTruncated`].
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (head, rest) = frame.split_first_chunk::<{ Self::MIN_LEN }>().ok_or(Malformed::EthTruncated)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *head;
        let dst = MacAddr([d0, d1, d2, d3, d4, d5]);
        let src = MacAddr([s0, s1, s2, s3, s4, s5]);
        let ethertype = u16::from_be_bytes([t0, t1]);
        if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            return Ok((Self { dst, src, vlan: None, ethertype }, rest));
        }
        let (&[v0, v1, t0, t1], rest) = rest.split_first_chunk::<4>().ok_or(Malformed::VlanTruncated)?;
        let vlan = Some(u16::from_be_bytes([v0, v1]));
        Ok((Self { dst, src, vlan, ethertype: u16::from_be_bytes([t0, t1]) }, rest))
    }

    /// The header's bytes on the wire: 14, or 18 with a tag.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a header is never empty
    pub const fn len(&self) -> usize {
        if self.vlan.is_some() { Self::MAX_LEN } else { Self::MIN_LEN }
    }

    /// Writes the header into the first [`len`](Self::len) bytes of `buf`, a tag always as 802.1Q's 0x8100.
    ///
    /// `buf` must hold that many bytes; into a shorter one nothing is written, and a debug build asserts.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) {
        let Some(buf) = buf.get_mut(..self.len()) else {
            debug_assert!(false, "no room for an Ethernet header");
            return;
        };
        buf[0..6].copy_from_slice(&self.dst.0);
        buf[6..12].copy_from_slice(&self.src.0);
        let ethertype = self.ethertype.to_be_bytes();
        match self.vlan {
            None => buf[12..14].copy_from_slice(&ethertype),
            Some(tci) => {
                buf[12..14].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
                buf[14..16].copy_from_slice(&tci.to_be_bytes());
                buf[16..18].copy_from_slice(&ethertype);
            }
        }
    }
}
