//! What ICMP errors quote, as RFC 792 and RFC 4443 lay it out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wire::{SeqNum, quoted::Quoted};

/// An IPv4 header of 24 bytes (one word of options), 1,500 bytes in all, and 8 bytes of TCP.
const V4: [u8; 32] = [
    0x46, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 63, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 9, 1, 1, 1, 0, // IP
    0x00, 0x50, 0x03, 0xe8, 0xff, 0xff, 0xff, 0xfe, // ports 80 and 1000, SEQ
];

#[test]
fn eight_bytes_behind_the_header_are_enough() {
    let quoted = Quoted::parse_v4(&V4).expect("a TCP segment");
    let [src, dst] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9)].map(IpAddr::from);
    let seq = SeqNum::new(0xffff_fffe);
    assert_eq!(quoted, Quoted { src, dst, src_port: 80, dst_port: 1000, seq, packet_len: 1500 });
    for len in 0..V4.len() {
        assert_eq!(Quoted::parse_v4(&V4[..len]), None, "{len} bytes");
    }
    // Version, header length, protocol (UDP), a later fragment.
    for (at, value) in [(0, 0x66), (0, 0x44), (9, 17), (7, 1)] {
        let mut other = V4;
        other[at] = value;
        assert_eq!(Quoted::parse_v4(&other), None, "byte {at}");
    }
}

#[test]
fn ipv6_is_quoted_without_extensions() {
    let mut bytes = vec![0x60, 0, 0, 0, 0x05, 0xb4, 6, 63];
    let (src, dst) = (Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9));
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(&V4[24..]);
    let (seq, packet_len) = (SeqNum::new(0xffff_fffe), 1500);
    let expected = Quoted { src: src.into(), dst: dst.into(), src_port: 80, dst_port: 1000, seq, packet_len };
    assert_eq!(Quoted::parse_v6(&bytes), Some(expected));
    for len in 0..bytes.len() {
        assert_eq!(Quoted::parse_v6(&bytes[..len]), None, "{len} bytes");
    }
    bytes[6] = 44;
    assert_eq!(Quoted::parse_v6(&bytes), None, "a fragment");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_not(bytes in super::bytes(100)) {
        let _ = (Quoted::parse_v4(&bytes), Quoted::parse_v6(&bytes));
    }
}
