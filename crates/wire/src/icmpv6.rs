//! ICMP messages for IPv6 (RFC 4443), and the numbers of neighbour discovery (RFC 4861).

use core::net::Ipv6Addr;

use crate::{Malformed, PROTOCOL_ICMPV6, checksum};

/// Destination Unreachable.
pub const DEST_UNREACHABLE: u8 = 1;
/// Packet Too Big; see [`Message::mtu`].
pub const PACKET_TOO_BIG: u8 = 2;
/// Time Exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter Problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo Request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo Reply.
pub const ECHO_REPLY: u8 = 129;
/// Router Solicitation (RFC 4861, section 4.1).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router Advertisement (RFC 4861, section 4.2).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbor Solicitation (RFC 4861, section 4.3).
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbor Advertisement (RFC 4861, section 4.4).
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Code of Destination Unreachable: no route to the destination.
pub const CODE_NO_ROUTE: u8 = 0;
/// Code of Destination Unreachable: administratively prohibited.
pub const CODE_PROHIBITED: u8 = 1;
/// Code of Destination Unreachable: no such address on the last link.
pub const CODE_ADDRESS_UNREACHABLE: u8 = 3;
/// Code of Destination Unreachable: nothing listens on the port.
pub const CODE_PORT_UNREACHABLE: u8 = 4;
/// Code of Parameter Problem: a Next Header that is not known.
pub const CODE_UNRECOGNIZED_NEXT_HEADER: u8 = 1;

/// The bytes before a message's body.
pub const HEADER_LEN: usize = 8;

/// An ICMPv6 message whose checksum has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Type; an error below 128, information from there on.
    pub kind: u8,
    /// Code, a subdivision of the type.
    pub code: u8,
    /// The second word, whose meaning depends on the type: of Echo, the identifier and the sequence number.
    pub rest: [u8; 4],
    /// What follows: of Echo, data to be sent back; of an error, as much as fits of the packet it is about.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message that fills `bytes`, sent from `src` to `dst`.
    ///
    /// # Errors
    /// [`Malformed::IcmpTruncated`], [`Malformed::IcmpChecksum`].
    #[inline]
    pub fn parse(bytes: &'a [u8], src: Ipv6Addr, dst: Ipv6Addr) -> Result<Self, Malformed> {
        let (&[kind, code, _, _, r0, r1, r2, r3], body) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::IcmpTruncated)?;
        if !checksum::is_valid(whole_sum(src, dst, bytes)) {
            return Err(Malformed::IcmpChecksum);
        }
        Ok(Self { kind, code, rest: [r0, r1, r2, r3], body })
    }

    /// Writes the message at the start of `buf`, see [`emit`].
    #[inline]
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, buf: &mut [u8]) -> usize {
        emit(self.kind, self.code, self.rest, self.body, src, dst, buf)
    }

    /// Of Packet Too Big: the next hop's MTU in bytes (RFC 4443, section 3.2).
    #[inline]
    #[must_use]
    pub const fn mtu(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }
}

/// Writes a message from `src` to `dst` at the start of `buf` and answers with its length in bytes.
///
/// `buf` must hold [`HEADER_LEN`] bytes and the body; into a shorter one nothing is written, the answer is 0, and a debug
/// build asserts.
#[inline]
pub fn emit(kind: u8, code: u8, rest: [u8; 4], body: &[u8], src: Ipv6Addr, dst: Ipv6Addr, buf: &mut [u8]) -> usize {
    let Some(message) = HEADER_LEN.checked_add(body.len()).and_then(|len| buf.get_mut(..len)) else {
        debug_assert!(false, "no room for an ICMPv6 message");
        return 0;
    };
    message[HEADER_LEN..].copy_from_slice(body);
    emit_in_place(kind, code, rest, src, dst, message);
    message.len()
}

/// Writes the header of a message that fills `buf`, its body already in place from [`HEADER_LEN`] on.
///
/// `buf` must hold at least the header; into a shorter one nothing is written, and a debug build asserts.
#[inline]
pub fn emit_in_place(kind: u8, code: u8, rest: [u8; 4], src: Ipv6Addr, dst: Ipv6Addr, buf: &mut [u8]) {
    let Some(head) = buf.first_chunk_mut::<HEADER_LEN>() else {
        debug_assert!(false, "no room for an ICMPv6 header");
        return;
    };
    let [r0, r1, r2, r3] = rest;
    *head = [kind, code, 0, 0, r0, r1, r2, r3];
    let checksum = checksum::finish(whole_sum(src, dst, buf));
    buf[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// The sum over the pseudo-header and all of a message (RFC 4443, section 2.3).
#[inline]
fn whole_sum(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> u64 {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    checksum::sum(checksum::pseudo_header_v6(src, dst, PROTOCOL_ICMPV6, len), message)
}
