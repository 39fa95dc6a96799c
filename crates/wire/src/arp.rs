//! Address resolution for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::eth::ETHERTYPE_IPV4;
use crate::{MacAddr, Malformed};

/// ar$hrd = Ethernet, ar$pro = IPv4, ar$hln = 6, ar$pln = 4: the only kind of ARP there is today.
const ETHERNET_IPV4: [u8; 6] = {
    let [p0, p1] = ETHERTYPE_IPV4.to_be_bytes();
    [0, 1, p0, p1, 6, 4]
};

/// What an ARP packet wants (ar$op).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Who has the target address? (1)
    Request,
    /// The sender has its address. (2)
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// ar$sha
    pub sender_mac: MacAddr,
    /// ar$spa; unspecified in a probe (RFC 5227, section 1.1).
    pub sender_ip: Ipv4Addr,
    /// ar$tha; meaningless in a request.
    pub target_mac: MacAddr,
    /// ar$tpa
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// The packet's bytes on the wire, without Ethernet's padding.
    pub const LEN: usize = 28;

    /// Reads the packet at the start of `bytes`; what follows is padding.
    ///
    /// # Errors
    /// [`Malformed::ArpTruncated`], [`Malformed::ArpUnsupported`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let packet = bytes.first_chunk::<{ Self::LEN }>().ok_or(Malformed::ArpTruncated)?;
        let operation = match (take(packet, 0), [packet[6], packet[7]]) {
            (ETHERNET_IPV4, [0, 1]) => Operation::Request,
            (ETHERNET_IPV4, [0, 2]) => Operation::Reply,
            _ => return Err(Malformed::ArpUnsupported),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(take(packet, 8)),
            sender_ip: Ipv4Addr::from(take(packet, 14)),
            target_mac: MacAddr(take(packet, 18)),
            target_ip: Ipv4Addr::from(take(packet, 24)),
        })
    }

    /// Writes the packet into the first [`LEN`](Self::LEN) bytes of `buf`.
    ///
    /// `buf` must hold that many bytes; into a shorter one nothing is written, and a debug build asserts.
    pub fn emit(&self, buf: &mut [u8]) {
        let Some(buf) = buf.first_chunk_mut::<{ Self::LEN }>() else {
            debug_assert!(false, "no room for an ARP packet");
            return;
        };
        let operation = match self.operation {
            Operation::Request => [0, 1],
            Operation::Reply => [0, 2],
        };
        buf[0..6].copy_from_slice(&ETHERNET_IPV4);
        buf[6..8].copy_from_slice(&operation);
        buf[8..14].copy_from_slice(&self.sender_mac.0);
        buf[14..18].copy_from_slice(&self.sender_ip.octets());
        buf[18..24].copy_from_slice(&self.target_mac.0);
        buf[24..28].copy_from_slice(&self.target_ip.octets());
    }
}

/// The `N` bytes of a packet from `at` on.
fn take<const N: usize>(packet: &[u8; Packet::LEN], at: usize) -> [u8; N] {
    core::array::from_fn(|i| packet[at + i])
}
