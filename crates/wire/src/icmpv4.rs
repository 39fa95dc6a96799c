//! ICMP messages for IPv4 (RFC 792).

use crate::{Malformed, checksum};

/// Echo Reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination Unreachable.
pub const DEST_UNREACHABLE: u8 = 3;
/// Source Quench: no longer sent or heeded (RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Echo.
pub const ECHO_REQUEST: u8 = 8;
/// Time Exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter Problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Code of Destination Unreachable: no route to the network.
pub const CODE_NET_UNREACHABLE: u8 = 0;
/// Code of Destination Unreachable: no such host.
pub const CODE_HOST_UNREACHABLE: u8 = 1;
/// Code of Destination Unreachable: the host doesn't speak the protocol.
pub const CODE_PROTOCOL_UNREACHABLE: u8 = 2;
/// Code of Destination Unreachable: nothing listens on the port.
pub const CODE_PORT_UNREACHABLE: u8 = 3;
/// Code of Destination Unreachable: too long for the next hop, and DF is set; see [`Message::next_hop_mtu`].
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// The bytes before a message's body.
pub const HEADER_LEN: usize = 8;

/// An ICMP message whose checksum has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Type.
    pub kind: u8,
    /// Code, a subdivision of the type.
    pub code: u8,
    /// The second word, whose meaning depends on the type: of Echo, the identifier and the sequence number.
    pub rest: [u8; 4],
    /// What follows: of Echo, data to be sent back; of an error, the start of the datagram it is about.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message that fills `bytes`.
    ///
    /// # Errors
    /// [`Malformed::IcmpTruncated`], [`Malformed::IcmpChecksum`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&[kind, code, _, _, r0, r1, r2, r3], body) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::IcmpTruncated)?;
        if !checksum::is_valid(checksum::sum(0, bytes)) {
            return Err(Malformed::IcmpChecksum);
        }
        Ok(Self { kind, code, rest: [r0, r1, r2, r3], body })
    }

    /// Writes the message at the start of `buf`, see [`emit`].
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> usize {
        emit(self.kind, self.code, self.rest, self.body, buf)
    }

    /// Of Fragmentation Needed: the next hop's MTU in bytes, 0 from a router older than RFC 1191 (section 4).
    #[inline]
    #[must_use]
    pub const fn next_hop_mtu(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }
}

/// Writes a message at the start of `buf` and answers with its length in bytes.
///
/// `buf` must hold [`HEADER_LEN`] bytes and the body; into a shorter one nothing is written, the answer is 0, and a debug
/// build asserts.
#[inline]
pub fn emit(kind: u8, code: u8, rest: [u8; 4], body: &[u8], buf: &mut [u8]) -> usize {
    let Some(message) = HEADER_LEN.checked_add(body.len()).and_then(|len| buf.get_mut(..len)) else {
        debug_assert!(false, "no room for an ICMP message");
        return 0;
    };
    message[HEADER_LEN..].copy_from_slice(body);
    emit_in_place(kind, code, rest, message);
    message.len()
}

/// Writes the header of a message that fills `buf`, its body already in place from [`HEADER_LEN`] on.
///
/// `buf` must hold at least the header; into a shorter one nothing is written, and a debug build asserts.
#[inline]
pub fn emit_in_place(kind: u8, code: u8, rest: [u8; 4], buf: &mut [u8]) {
    let Some(head) = buf.first_chunk_mut::<HEADER_LEN>() else {
        debug_assert!(false, "no room for an ICMP header");
        return;
    };
    let [r0, r1, r2, r3] = rest;
    *head = [kind, code, 0, 0, r0, r1, r2, r3];
    let checksum = checksum::finish(checksum::sum(0, buf));
    buf[2..4].copy_from_slice(&checksum.to_be_bytes());
}
