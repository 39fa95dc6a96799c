//! The Internet checksum (RFC 1071) and the pseudo-headers it covers (RFC 9293, section 3.1; RFC 8200, section 8.1).
//!
//! A running sum is a plain `u64`, so that header fields can be added to it as numbers:
//! `finish(sum(pseudo_header_v4(…), segment))`. Each piece may be as long as 2^34 bytes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Adds `bytes` to the running sum `acc` as big-endian 16-bit words, an odd last byte padded with a zero byte.
///
/// Only the last piece of a message may have an odd length: the words of what follows would be shifted by one byte.
#[inline]
#[must_use]
pub fn sum(acc: u64, bytes: &[u8]) -> u64 {
    acc + u64::from(u16::from_be(fold(native(bytes))))
}

/// The checksum that makes a message with the running sum `acc` in front of `bytes` valid: as [`finish`] of [`sum`], with one
/// folding for both.
#[inline]
pub(crate) fn finish_with(acc: u64, bytes: &[u8]) -> u16 {
    u16::from_be(!fold(add(native(bytes), u64::from_be(acc))))
}

/// The sum of `bytes` as words in the machine's own order.
///
/// 2^16, 2^32 and 2^64 are all 1 modulo 2^16 - 1, so whole 64-bit words may be added, with the carry brought back in; and the
/// sum of byte-swapped words is the byte-swapped sum (RFC 1071, section 2), so they may be read in the machine's own order.
#[inline]
fn native(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<128>();
    let sum = blocks.iter().fold(0, chain);
    let (blocks, rest) = rest.as_chunks::<32>();
    let sum = blocks.iter().fold(sum, chain);
    let (words, tail) = rest.as_chunks::<4>();
    let mut last: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let padded = match *tail {
        [] => [0; 4],
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c, ..] => [a, b, c, 0],
    };
    last += u64::from(u32::from_ne_bytes(padded));
    add(sum, last)
}

/// Adds the carry back in (RFC 1071, section 1). A sum that has carried is at most all ones less one, however many were added:
/// adding the carry does not carry again.
#[inline]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// The sum of the 32-bit words of an IPv4 header without options, in the machine's own order: what is said of it is true of
/// the sum in network order, but for the order of its bytes.
#[inline]
pub(crate) fn native_ipv4(header: &[u8; 20]) -> u64 {
    let (words, _) = header.as_chunks::<4>();
    let mut sum = 0;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    sum
}

/// Adds a block as one chain of carries, so that only its end waits for the block before: the longer the block, the less often.
#[inline]
fn chain<const N: usize>(sum: u64, block: &[u8; N]) -> u64 {
    let (mut acc, mut carry) = (0, false);
    for word in block.as_chunks::<8>().0 {
        (acc, carry) = u64::from_ne_bytes(*word).carrying_add(acc, carry);
    }
    let (acc, carry) = acc.carrying_add(sum, carry);
    acc + u64::from(carry)
}

/// A number below 2^34 that is the same modulo 2^16 - 1.
#[inline]
#[allow(clippy::cast_possible_truncation)] // each term is masked to 32 bits
const fn narrow(sum: u128) -> u64 {
    const LOW: u128 = 0xffff_ffff;
    (sum >> 96) as u64 + (sum >> 64 & LOW) as u64 + (sum >> 32 & LOW) as u64 + (sum & LOW) as u64
}

/// The checksum that makes a message with the running sum `acc` (its checksum field counted as zero) valid.
#[inline]
#[must_use]
pub const fn finish(acc: u64) -> u16 {
    !fold(acc)
}

/// Whether `acc`, the sum over a whole message with its checksum in place, says that it arrived intact.
#[inline]
#[must_use]
pub const fn is_valid(acc: u64) -> bool {
    finish(acc) == 0
}

/// The sum of the IPv4 pseudo-header; `len` is the upper-layer header and payload in bytes.
#[inline]
#[must_use]
pub const fn pseudo_header_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u32) -> u64 {
    src.to_bits() as u64 + dst.to_bits() as u64 + protocol as u64 + len as u64
}

/// The sum of the IPv6 pseudo-header; `len` is the upper-layer header and payload in bytes.
#[inline]
#[must_use]
pub const fn pseudo_header_v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, len: u32) -> u64 {
    halves(src) + halves(dst) + next_header as u64 + len as u64
}

/// The pseudo-header's sum for addresses of either family.
///
/// Both families' pseudo-headers are the addresses, the protocol and the length; so even a mixed pair has a sum.
#[inline]
#[must_use]
pub const fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: u32) -> u64 {
    address(src) + address(dst) + protocol as u64 + len as u64
}

#[inline]
const fn address(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(v4) => v4.to_bits() as u64,
        IpAddr::V6(v6) => halves(v6),
    }
}

/// The sum of an address's 32-bit words.
#[inline]
const fn halves(addr: Ipv6Addr) -> u64 {
    narrow(addr.to_bits())
}

/// Adds the halves, and the carry back in (RFC 1071, section 1), until 16 bits are left. A sum that has carried is at most
/// all ones less one: adding the carry does not carry again.
#[inline]
#[allow(clippy::cast_possible_truncation)] // the halves
const fn fold(acc: u64) -> u16 {
    let (sum, carry) = ((acc >> 32) as u32).overflowing_add(acc as u32);
    let acc = sum + carry as u32;
    let (sum, carry) = ((acc >> 16) as u16).overflowing_add(acc as u16);
    sum + carry as u16
}
