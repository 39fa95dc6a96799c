//! What routers and switches read and write in a frame.

use wire::{checksum, eth};

/// The ECN field of a packet that met congestion (RFC 3168 section 5).
const CE: u8 = 0b11;

/// Bytes of the Ethernet header, one 802.1Q tag included.
pub(crate) fn link_len(frame: &[u8]) -> usize {
    if frame.get(12..14) == Some(&eth::ETHERTYPE_VLAN.to_be_bytes()) { 18 } else { 14.min(frame.len()) }
}

fn ethertype(frame: &[u8]) -> Option<(usize, u16)> {
    let at = link_len(frame);
    let bytes = frame.get(at.checked_sub(2)?..at)?;
    Some((at, u16::from_be_bytes([bytes[0], bytes[1]])))
}

/// Whether a frame holds a TCP segment, without options or extension headers before it.
pub(crate) fn is_tcp(frame: &[u8]) -> bool {
    match ethertype(frame) {
        Some((at, eth::ETHERTYPE_IPV4)) => frame.get(at + 9) == Some(&wire::PROTOCOL_TCP),
        Some((at, eth::ETHERTYPE_IPV6)) => frame.get(at + 6) == Some(&wire::PROTOCOL_TCP),
        _ => false,
    }
}

/// Marks a packet whose sender understands ECN as one that met congestion, and returns whether that was news to it.
pub(crate) fn congested(frame: &mut [u8]) -> bool {
    match ethertype(frame) {
        Some((at, eth::ETHERTYPE_IPV4)) if frame.len() >= at + 20 => {
            let field = frame[at + 1] & CE;
            if field == 0 || field == CE {
                return false;
            }
            frame[at + 1] |= CE;
            let header = at..at + (usize::from(frame[at] & 0xf) * 4).clamp(20, frame.len() - at);
            frame[at + 10..at + 12].fill(0);
            let sum = checksum::finish(checksum::sum(0, &frame[header]));
            frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
            true
        }
        // The traffic class straddles the first two bytes; its two low bits are bits 5 and 4 of the second.
        Some((at, eth::ETHERTYPE_IPV6)) if frame.len() >= at + 40 => {
            let field = frame[at + 1] >> 4 & CE;
            if field == 0 || field == CE {
                return false;
            }
            frame[at + 1] |= CE << 4;
            true
        }
        _ => false,
    }
}
