//! A frame's flow, by a number: for tables of what is only a hint.

use crate::flow::FlowKey;
use core::hash::{Hash, Hasher};
use core::net::IpAddr;
use wire::{eth, icmpv4, icmpv6, ip, ipv4, ipv6, quoted::Quoted};

/// A name for the flow a frame belongs to: the same for each of its TCP segments that arrives, and for ICMP errors about
/// those that were sent. `None`: the frame is of no flow, or a fragment, or malformed.
///
/// It is not keyed. A peer can make two flows have one name, so it may only be used where a wrong answer costs a detour.
#[must_use]
pub fn flow_tag(frame: &[u8]) -> Option<u64> {
    let key = flow_of(frame)?;
    let mut tag = Tag(0);
    key.hash(&mut tag);
    Some(tag.finish())
}

/// The flow a frame belongs to, if it is of one.
pub(crate) fn flow_of(frame: &[u8]) -> Option<FlowKey> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    match link.ethertype {
        eth::ETHERTYPE_IPV4 => {
            let (header, payload) = ipv4::Header::parse(packet).ok()?;
            match header.protocol {
                _ if header.is_fragment() => None,
                ip::PROTOCOL_TCP => of_segment(header.dst.into(), header.src.into(), payload),
                ip::PROTOCOL_ICMP => {
                    Quoted::parse_v4(icmpv4::Message::parse(payload).ok()?.body).map(|q| of_quoted(&q))
                }
                _ => None,
            }
        }
        eth::ETHERTYPE_IPV6 => {
            let (header, payload) = ipv6::Header::parse(packet).ok()?;
            match header.next_header {
                _ if header.is_fragment() => None,
                ip::PROTOCOL_TCP => of_segment(header.dst.into(), header.src.into(), payload),
                ip::PROTOCOL_ICMPV6 => {
                    let message = icmpv6::Message::parse(payload, header.src, header.dst).ok()?;
                    Quoted::parse_v6(message.body).map(|q| of_quoted(&q))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn of_segment(local: IpAddr, remote: IpAddr, segment: &[u8]) -> Option<FlowKey> {
    let [s0, s1, d0, d1, ..] = *segment else { return None };
    Some(FlowKey::of(local, u16::from_be_bytes([d0, d1]), remote, u16::from_be_bytes([s0, s1])))
}

const fn of_quoted(quoted: &Quoted) -> FlowKey {
    FlowKey::of(quoted.src, quoted.src_port, quoted.dst, quoted.dst_port)
}

/// Multiplies and folds each word: cheap, and every bit reaches every other.
struct Tag(u64);

impl Hasher for Tag {
    #[allow(clippy::cast_possible_truncation)] // both halves are used
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use std::collections::BTreeSet;

    #[test]
    fn no_flow_has_no_name() {
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[8, 6]);
        let short: Vec<u8> = arp.iter().copied().take(13).collect();
        assert_eq!((flow_tag(&arp), flow_tag(&short), flow_tag(&[])), (None, None, None));
    }

    /// Of 20,000 flows that differ in a port, as many at least have different low 16 bits as of random numbers (65,536 *
    /// (1 - e^(-20,000/65,536)) = 17,236, and some spread): good enough to index a table by.
    #[test]
    fn names_are_spread() {
        let local = "10.0.0.1:80".parse().expect("an address");
        let low = (0..20_000_u16).map(|port| {
            let mut tag = Tag(0);
            FlowKey::new(local, ([10, 0, 0, 2], port).into()).hash(&mut tag);
            tag.finish() & 0xffff
        });
        let different = low.collect::<BTreeSet<_>>().len();
        assert!(different > 17_000, "{different}");
    }
}
