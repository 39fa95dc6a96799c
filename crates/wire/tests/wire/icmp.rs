use std::net::Ipv6Addr;

use proptest::prelude::*;
use wire::{Malformed, icmpv4, icmpv6};

use crate::{bytes, naive_sum, v6};

/// RFC 792: an echo request, identifier 1, sequence number 2, data "ping!".
/// 0800 + 0001 + 0002 + 7069 + 6e67 + 2100 = 1_07d3, so 07d4 with its carry; its complement is f82b.
const ECHO: [u8; 13] = [8, 0, 0xf8, 0x2b, 0, 1, 0, 2, b'p', b'i', b'n', b'g', b'!'];

#[test]
fn an_echo_request() {
    let message = icmpv4::Message { kind: icmpv4::ECHO_REQUEST, code: 0, rest: [0, 1, 0, 2], body: b"ping!" };
    assert_eq!(icmpv4::Message::parse(&ECHO), Ok(message));
    let mut buf = [0xee; 20];
    assert_eq!(message.emit(&mut buf), 13);
    assert_eq!(buf[..13], ECHO);
    assert_eq!(buf[13..], [0xee; 7], "nothing is written behind the message");
}

#[test]
fn the_mtu_of_the_next_hop() {
    let mut buf = [0; 8];
    icmpv4::emit_in_place(icmpv4::DEST_UNREACHABLE, icmpv4::CODE_FRAGMENTATION_NEEDED, [0, 0, 0x05, 0x78], &mut buf);
    assert_eq!(icmpv4::Message::parse(&buf).unwrap().next_hop_mtu(), 1400);
    let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    icmpv6::emit_in_place(icmpv6::PACKET_TOO_BIG, 0, [0, 0, 0x05, 0x78], src, dst, &mut buf);
    assert_eq!(icmpv6::Message::parse(&buf, src, dst).unwrap().mtu(), 1400);
}

#[test]
fn a_message_cut_short() {
    for len in 0..8 {
        assert_eq!(icmpv4::Message::parse(&ECHO[..len]), Err(Malformed::IcmpTruncated));
        let any = Ipv6Addr::UNSPECIFIED;
        assert_eq!(icmpv6::Message::parse(&ECHO[..len], any, any), Err(Malformed::IcmpTruncated));
    }
    for len in 8..13 {
        assert_eq!(icmpv4::Message::parse(&ECHO[..len]), Err(Malformed::IcmpChecksum));
    }
    assert_eq!(icmpv4::Message::parse(&[0; 8]), Err(Malformed::IcmpChecksum), "zeros are no echo reply");
}

proptest! {
    #[test]
    fn icmpv4_comes_back(kind: u8, code: u8, rest: [u8; 4], body in bytes(80)) {
        let message = icmpv4::Message { kind, code, rest, body: &body };
        let mut buf = vec![0xee; 8 + body.len()];
        prop_assert_eq!(message.emit(&mut buf), buf.len());
        prop_assert_eq!(naive_sum(0, &buf), 0xffff);
        prop_assert_eq!(icmpv4::Message::parse(&buf), Ok(message));
        let mut in_place = [&[0xee; 8], &body[..]].concat();
        icmpv4::emit_in_place(kind, code, rest, &mut in_place);
        prop_assert_eq!(in_place, buf);
    }

    #[test]
    fn icmpv6_comes_back(src in v6(), dst in v6(), kind: u8, code: u8, rest: [u8; 4], body in bytes(80)) {
        let message = icmpv6::Message { kind, code, rest, body: &body };
        let mut buf = vec![0xee; 8 + body.len()];
        prop_assert_eq!(message.emit(src, dst, &mut buf), buf.len());
        let len = u32::try_from(buf.len()).unwrap().to_be_bytes();
        let pseudo = [&src.octets()[..], &dst.octets(), &len, &[0, 0, 0, 58]].concat();
        prop_assert_eq!(naive_sum(naive_sum(0, &pseudo), &buf), 0xffff);
        prop_assert_eq!(icmpv6::Message::parse(&buf, src, dst), Ok(message));
        let elsewhere = Ipv6Addr::from_bits(dst.to_bits() ^ 1);
        prop_assert_eq!(icmpv6::Message::parse(&buf, src, elsewhere), Err(Malformed::IcmpChecksum));
    }

    #[test]
    fn a_flipped_bit_is_detected(bit in 0..8 * ECHO.len()) {
        let mut message = ECHO;
        message[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(icmpv4::Message::parse(&message), Err(Malformed::IcmpChecksum));
    }

    #[test]
    fn arbitrary_bytes_dont_panic(bytes in bytes(80), src in v6(), dst in v6()) {
        let _ = icmpv4::Message::parse(&bytes);
        let _ = icmpv6::Message::parse(&bytes, src, dst);
    }
}
