//! Packets from outside the nodes: reading those under way, what routers have to say of them, and what somebody makes up.

use stack::MacAddr;
use std::net::{IpAddr, Ipv6Addr};
use wire::{eth, icmpv4, icmpv6, ip, ipv4, ipv6, tcp::Segment};

/// The TCP segment in a frame, between which addresses, and the frame's own header; `None` if there is none, or it is not valid.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<(eth::Header, IpAddr, IpAddr, Segment<'_>)> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let (src, dst, payload): (IpAddr, IpAddr, _) = if link.ethertype == eth::ETHERTYPE_IPV4 {
        let (ip, payload) = ipv4::Header::parse(packet).ok()?;
        (ip.src.into(), ip.dst.into(), payload)
    } else {
        let (ip, payload) = ipv6::Header::parse(packet).ok()?;
        (ip.src.into(), ip.dst.into(), payload)
    };
    Some((link, src, dst, Segment::parse(payload, src, dst).ok()?))
}

/// "Too big" about a frame, from the router before a link of that MTU, to who sent it.
pub(crate) fn too_big(quoted: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
    let (kind, code) = if quoted.get(12..14)? == [0x08, 0x00] { (3, 4) } else { (2, 0) };
    error(quoted, kind, code, [0, 0, high, low])
}

/// A router's error about an untagged frame, to who sent that; `None` if it holds no whole IP and TCP header.
#[must_use]
pub fn error(quoted: &[u8], kind: u8, code: u8, rest: [u8; 4]) -> Option<Vec<u8>> {
    let (link, packet_of) = eth::Header::parse(quoted).ok()?;
    let back = eth::Header { dst: link.src, src: MacAddr([2, 0, 0, 0, 0, 99]), ..link };
    if link.ethertype == eth::ETHERTYPE_IPV4 {
        let src: [u8; 4] = packet_of.get(12..16)?.try_into().ok()?;
        let mut message = vec![0; icmpv4::HEADER_LEN + 28];
        icmpv4::emit(kind, code, rest, packet_of.get(..28)?, &mut message);
        packet(back, IpAddr::from([192, 0, 2, 77]), IpAddr::from(src), ip::PROTOCOL_ICMP, &message)
    } else {
        let src: [u8; 16] = packet_of.get(8..24)?.try_into().ok()?;
        let router = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 77);
        let mut message = vec![0; icmpv4::HEADER_LEN + 48];
        icmpv6::emit(kind, code, rest, packet_of.get(..48)?, router, src.into(), &mut message);
        packet(back, router.into(), IpAddr::from(src), ip::PROTOCOL_ICMPV6, &message)
    }
}

/// A frame with an IP packet. `None` if the addresses are of two families.
#[must_use]
pub fn packet(link: eth::Header, src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let ip_len = if src.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN };
    let mut frame = vec![0; link.len() + ip_len];
    link.emit(&mut frame);
    frame.extend(payload);
    let out = &mut frame[link.len()..];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (ttl, tos, ident, fragment_offset) = (64, 0, 0, 0);
            let (dont_fragment, more_fragments) = (true, false);
            ipv4::Header { src, dst, protocol, ttl, tos, ident, dont_fragment, more_fragments, fragment_offset }
                .emit(payload.len(), out);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (next_header, hop_limit, traffic_class, flow_label, fragment) = (protocol, 64, 0, 0, None);
            ipv6::Header { src, dst, next_header, hop_limit, traffic_class, flow_label, fragment }
                .emit(payload.len(), out);
        }
        _ => return None,
    }
    Some(frame)
}
