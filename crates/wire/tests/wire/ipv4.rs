use proptest::prelude::*;
use wire::ipv4::Header;
use wire::{Malformed, PROTOCOL_TCP};

use crate::{bytes, naive_sum, v4};

/// RFC 791, section 3.1, filled in by hand. The words but the checksum add up to 4500+0017+1c46+4000+4006+c0a8+0001+
/// c0a8+00c7 = 2_637b, so 637d with the carry; its complement is 9c82.
#[rustfmt::skip]
const PACKET: [u8; 23] = [
    0x45, 0x00, 0x00, 0x17,
    0x1c, 0x46, 0x40, 0x00,
    0x40, 0x06, 0x9c, 0x82,
    192, 168, 0, 1,
    192, 168, 0, 199,
    b'a', b'b', b'c',
];

fn header() -> Header {
    Header {
        src: [192, 168, 0, 1].into(),
        dst: [192, 168, 0, 199].into(),
        protocol: PROTOCOL_TCP,
        ttl: 64,
        tos: 0,
        ident: 0x1c46,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
    }
}

/// Sets the checksum right by the naive sum, whatever the header says.
fn fix(packet: &mut [u8]) {
    let len = (usize::from(packet[0] & 0xf) * 4).min(packet.len());
    packet[10..12].fill(0);
    let sum = !naive_sum(0, &packet[..len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn the_vector_is_right() {
    assert_eq!(naive_sum(0, &PACKET[..20]), 0xffff);
}

#[test]
fn a_header() {
    assert_eq!(Header::parse(&PACKET), Ok((header(), &b"abc"[..])));
    assert!(!header().is_fragment());
    let mut buf = [0xee; 20];
    header().emit(3, &mut buf);
    assert_eq!(buf, PACKET[..20]);
    assert_eq!(Header::LEN, 20);
}

#[test]
fn ethernet_padding_is_trimmed() {
    let padded = [&PACKET[..], &[0; 23]].concat();
    assert_eq!(Header::parse(&padded).unwrap().1, b"abc");
}

/// MUST-50.
#[test]
fn options_are_skipped() {
    let mut packet = PACKET.to_vec();
    packet.splice(20..20, [0x94, 0x04, 0, 0]); // router alert, RFC 2113
    packet[0] = 0x46;
    packet[3] += 4;
    assert_eq!(Header::parse(&packet), Err(Malformed::Ipv4Checksum));
    fix(&mut packet);
    assert_eq!(Header::parse(&packet), Ok((header(), &b"abc"[..])));
    packet[21] ^= 1;
    assert_eq!(Header::parse(&packet), Err(Malformed::Ipv4Checksum), "options are summed too");
}

#[test]
fn a_packet_cut_short() {
    for len in 0..20 {
        assert_eq!(Header::parse(&PACKET[..len]), Err(Malformed::Ipv4Truncated), "{len}");
    }
    for len in 20..23 {
        assert_eq!(Header::parse(&PACKET[..len]), Err(Malformed::Ipv4TotalLength), "{len}");
    }
    let mut options = PACKET.to_vec();
    options[0] = 0x46;
    for len in 20..23 {
        assert_eq!(Header::parse(&options[..len]), Err(Malformed::Ipv4HeaderLength), "{len}");
    }
}

#[test]
fn fields_that_lie() {
    for (at, value, why) in [
        (0, 0x65, Malformed::Ipv4Version),
        (0, 0x44, Malformed::Ipv4HeaderLength),
        (0, 0x4f, Malformed::Ipv4HeaderLength),
        (3, 19, Malformed::Ipv4TotalLength),
        (3, 24, Malformed::Ipv4TotalLength),
    ] {
        let mut packet = PACKET;
        packet[at] = value;
        fix(&mut packet);
        assert_eq!(Header::parse(&packet), Err(why), "byte {at} = {value}");
    }
}

#[test]
fn fragments() {
    let mut packet = PACKET;
    packet[6..8].copy_from_slice(&[0x20, 0x00]);
    fix(&mut packet);
    let (first, _) = Header::parse(&packet).unwrap();
    assert!(first.more_fragments && first.is_fragment() && !first.dont_fragment);
    packet[6..8].copy_from_slice(&[0x00, 0xb9]);
    fix(&mut packet);
    let (last, _) = Header::parse(&packet).unwrap();
    assert_eq!((last.fragment_offset, last.more_fragments, last.is_fragment()), (1480, false, true));
}

proptest! {
    #[test]
    fn comes_back(
        (src, dst, protocol, ttl, tos) in (v4(), v4(), any::<u8>(), any::<u8>(), any::<u8>()),
        (ident, dont_fragment, more_fragments, offset) in (any::<u16>(), any::<bool>(), any::<bool>(), 0u16..1 << 13),
        payload in bytes(80), padding in bytes(20),
    ) {
        let header =
            Header { src, dst, protocol, ttl, tos, ident, dont_fragment, more_fragments, fragment_offset: offset * 8 };
        let mut packet = [&[0xee; 20], &payload[..], &padding].concat();
        header.emit(payload.len(), &mut packet);
        prop_assert_eq!(naive_sum(0, &packet[..20]), 0xffff);
        prop_assert_eq!(Header::parse(&packet), Ok((header, &payload[..])));
    }

    #[test]
    fn a_flipped_bit_is_detected(bit in 0usize..160) {
        let mut packet = PACKET;
        packet[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Header::parse(&packet).is_err());
    }

    #[test]
    fn arbitrary_bytes_dont_panic(mut packet in bytes(100), plausible: bool) {
        if plausible && packet.len() >= 20 {
            packet[0] = 0x40 | packet[0] & 0xf;
            packet[2] = 0;
            packet[3] &= 0x7f;
            fix(&mut packet);
        }
        if let Ok((_, payload)) = Header::parse(&packet) {
            prop_assert!(payload.len() + 20 <= packet.len());
        }
    }
}
