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
#[inline(never)] // it is long, and there are many who need it
fn native(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<256>();
    let mut sum = 0;
    for block in blocks {
        sum = chain(sum, block.as_chunks().0);
    }
    // What is left is taken without a loop.
    let (sum, rest) = piece::<128>(sum, rest);
    let (sum, rest) = piece::<64>(sum, rest);
    let (words, rest) = rest.as_chunks::<8>();
    let sum = match words.len() {
        1 => few::<1>(sum, words),
        2 => few::<2>(sum, words),
        3 => few::<3>(sum, words),
        4 => few::<4>(sum, words),
        5 => few::<5>(sum, words),
        6 => few::<6>(sum, words),
        7 => few::<7>(sum, words),
        _ => sum,
    };
    if rest.is_empty() { sum } else { add(sum, last(bytes, rest)) }
}

/// The word that `rest`, the end of `bytes`, is the beginning of, padded with zeros.
#[inline(always)]
fn last(bytes: &[u8], rest: &[u8]) -> u64 {
    let word = match bytes.last_chunk() {
        // What stands before has been added.
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * (rest.len() & 7)),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    word.to_le()
}

/// The first `N` bytes, if there are so many, and what is left.
#[inline(always)]
fn piece<const N: usize>(sum: u64, bytes: &[u8]) -> (u64, &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((block, rest)) => (chain(sum, block.as_chunks().0), rest),
        None => (sum, bytes),
    }
}

/// The first `N` words, which there are.
#[inline(always)]
fn few<const N: usize>(sum: u64, words: &[[u8; 8]]) -> u64 {
    words.first_chunk::<N>().map_or(sum, |words| chain(sum, words))
}

/// Adds the carry back in (RFC 1071, section 1). A sum that has carried is at most all ones less one, however many were added:
/// adding the carry does not carry again.
#[inline]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// The sum of the words of an IPv4 header without options, in the machine's own order: what is said of it is true of
/// the sum in network order, but for the order of its bytes.
#[inline]
pub(crate) fn native_ipv4(header: &[u8; 20]) -> u64 {
    let (sum, rest) = piece::<16>(0, header);
    let last = rest.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    add(sum, u64::from(last))
}

/// Adds a block as one chain of carries, so that only its end waits for the block before: the longer the block, the less often.
#[inline(always)]
fn chain(sum: u64, block: &[[u8; 8]]) -> u64 {
    let (mut acc, mut carry) = (0, false);
    for word in block {
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
    // It folds to all ones if it is a multiple of 2^16 - 1, but for 0. Multiplied by this number, whose product with 2^16 - 1 is
    // 1 modulo 2^64, a multiple becomes the number it is a multiple by, and whatever else something larger.
    let times = acc.wrapping_mul(0xfffe_fffe_fffe_ffff);
    times.wrapping_sub(1) < u64::MAX / 0xffff
}

/// Whether `bytes` and what the running sum `acc` is of, which are all of a message with its checksum in place, arrived intact.
#[inline]
#[must_use]
pub(crate) fn is_valid_with(bytes: &[u8], acc: u64) -> bool {
    is_valid(add(native(bytes), u64::from_be(acc)))
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
