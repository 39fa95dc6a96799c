use proptest::prelude::*;
use wire::ipv6::{Fragment, Header};
use wire::{Malformed, PROTOCOL_TCP};

use crate::{bytes, v6};

/// A TCP packet from 2001:db8::1 to 2001:db8::2 (RFC 8200, section 3) with these extensions, `first` naming the first.
fn packet(first: u8, extensions: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6a, 0xb1, 0x23, 0x45];
    packet.extend(u16::try_from(extensions.len() + 3).unwrap().to_be_bytes());
    packet.extend([first, 64]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(extensions);
    packet.extend(b"abc");
    packet
}

fn header() -> Header {
    Header {
        src: "2001:db8::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
        next_header: PROTOCOL_TCP,
        hop_limit: 64,
        traffic_class: 0xab,
        flow_label: 0x1_2345,
        fragment: None,
    }
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// An options header that holds nothing but a PadN.
fn padding(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

#[test]
fn a_header() {
    let bytes = packet(PROTOCOL_TCP, &[]);
    assert_eq!(Header::parse(&bytes), Ok((header(), &b"abc"[..])));
    let mut buf = [0xee; Header::LEN];
    header().emit(3, &mut buf);
    assert_eq!(buf, bytes[..40]);
}

#[test]
fn padding_behind_the_packet_is_trimmed() {
    let mut bytes = packet(PROTOCOL_TCP, &[]);
    bytes.extend([0; 9]);
    assert_eq!(Header::parse(&bytes).unwrap().1, b"abc");
}

#[test]
fn a_packet_cut_short() {
    let bytes = packet(DESTINATION, &padding(PROTOCOL_TCP));
    for len in 0..40 {
        assert_eq!(Header::parse(&bytes[..len]), Err(Malformed::Ipv6Truncated), "{len}");
    }
    for len in 40..51 {
        assert_eq!(Header::parse(&bytes[..len]), Err(Malformed::Ipv6PayloadLength), "{len}");
    }
    let mut version = bytes;
    version[0] = 0x4a;
    assert_eq!(Header::parse(&version), Err(Malformed::Ipv6Version));
}

#[test]
fn extensions_are_walked() {
    let mut extensions = padding(ROUTING).to_vec();
    // A Routing header of three units, with no segments left.
    extensions.extend([DESTINATION, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
    // Pad1, Pad1, an unknown option that may be skipped, Pad1.
    extensions.extend([PROTOCOL_TCP, 0, 0, 0, 0x1e, 1, 0xff, 0]);
    let bytes = packet(HOP_BY_HOP, &extensions);
    assert_eq!(Header::parse(&bytes), Ok((header(), &b"abc"[..])));
}

#[test]
fn an_extension_cut_short_by_the_payload_length() {
    let extension = [PROTOCOL_TCP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for kind in [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION] {
        let mut bytes = packet(kind, &extension);
        for len in 0..16 {
            bytes[5] = len;
            if kind == FRAGMENT && len >= 8 {
                continue; // its length is fixed
            }
            assert_eq!(Header::parse(&bytes), Err(Malformed::Ipv6Extension), "{kind} {len}");
        }
    }
}

#[test]
fn hop_by_hop_comes_first_or_not_at_all() {
    let extensions = [padding(HOP_BY_HOP), padding(PROTOCOL_TCP)].concat();
    for first in [HOP_BY_HOP, DESTINATION] {
        assert_eq!(Header::parse(&packet(first, &extensions)), Err(Malformed::Ipv6Extension));
    }
}

#[test]
fn options_that_forbid_to_be_skipped() {
    for (kind, skipped) in [(0x1e, true), (0x3e, true), (0x5e, false), (0x9e, false), (0xde, false), (0xc2, false)] {
        let mut extension = padding(PROTOCOL_TCP);
        extension[2] = kind;
        for first in [HOP_BY_HOP, DESTINATION] {
            assert_eq!(Header::parse(&packet(first, &extension)).is_ok(), skipped, "{kind:#x}");
        }
    }
    let mut overlong = padding(PROTOCOL_TCP);
    overlong[3] = 5;
    assert_eq!(Header::parse(&packet(DESTINATION, &overlong)), Err(Malformed::Ipv6Extension));
}

#[test]
fn a_route_that_goes_on_is_not_for_us() {
    let mut routing = padding(PROTOCOL_TCP);
    routing[3] = 1;
    assert_eq!(Header::parse(&packet(ROUTING, &routing)), Err(Malformed::Ipv6Extension));
}

#[test]
fn eight_extensions_are_walked_and_nine_are_not() {
    let mut extensions = padding(DESTINATION).repeat(7);
    extensions.extend(padding(PROTOCOL_TCP));
    assert_eq!(Header::parse(&packet(DESTINATION, &extensions)), Ok((header(), &b"abc"[..])));
    extensions.splice(0..0, padding(DESTINATION));
    assert_eq!(Header::parse(&packet(DESTINATION, &extensions)), Err(Malformed::Ipv6Extension));
}

#[test]
fn fragments() {
    let first = [DESTINATION, 0, 0x00, 0x01, 0xde, 0xad, 0xbe, 0xef];
    let bytes = packet(FRAGMENT, &first);
    let (header, payload) = Header::parse(&bytes).unwrap();
    assert_eq!(header.fragment, Some(Fragment { offset: 0, more: true, ident: 0xdead_beef }));
    assert!(header.is_fragment());
    assert_eq!((header.next_header, payload), (DESTINATION, &b"abc"[..]), "a fragment isn't walked");

    let last = [PROTOCOL_TCP, 0, 0x05, 0xc8, 0, 0, 0, 1];
    let bytes = packet(FRAGMENT, &last);
    let (header, _) = Header::parse(&bytes).unwrap();
    assert_eq!(header.fragment, Some(Fragment { offset: 1480, more: false, ident: 1 }));
    assert!(header.is_fragment());
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let atomic = [[DESTINATION, 0, 0, 0, 0, 0, 0, 7], padding(PROTOCOL_TCP)].concat();
    let bytes = packet(FRAGMENT, &atomic);
    let (header, payload) = Header::parse(&bytes).unwrap();
    assert_eq!(header.fragment, Some(Fragment { offset: 0, more: false, ident: 7 }));
    assert!(!header.is_fragment());
    assert_eq!((header.next_header, payload), (PROTOCOL_TCP, &b"abc"[..]));
}

#[test]
fn no_next_header_is_an_upper_layer_of_its_own() {
    let bytes = packet(DESTINATION, &padding(NO_NEXT));
    assert_eq!(Header::parse(&bytes).unwrap().0.next_header, NO_NEXT);
}

proptest! {
    #[test]
    fn comes_back(
        (src, dst, next_header, hop_limit) in (v6(), v6(), any::<u8>(), any::<u8>()),
        traffic_class: u8, flow_label in 0u32..1 << 20, payload in bytes(80), padding in bytes(20),
    ) {
        prop_assume!(![HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION].contains(&next_header));
        let header = Header { src, dst, next_header, hop_limit, traffic_class, flow_label, fragment: None };
        let mut packet = [&[0xee; 40], &payload[..], &padding].concat();
        header.emit(payload.len(), &mut packet);
        prop_assert_eq!(Header::parse(&packet), Ok((header, &payload[..])));
    }

    #[test]
    fn arbitrary_bytes_dont_panic(mut packet in bytes(200), kinds in prop::collection::vec(0usize..5, 25)) {
        // Half of the kinds are extensions, or the walk would hardly ever begin.
        const KINDS: [u8; 5] = [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, PROTOCOL_TCP];
        if packet.len() >= 40 {
            packet[0] = 0x60;
            packet[4] = 0;
            packet[5] = u8::try_from(packet.len() - 40).unwrap() & (packet[5] | 0xf8);
            packet[6] = KINDS[kinds[0]];
            for (unit, kind) in packet[40..].chunks_mut(8).zip(&kinds[1..]) {
                unit[0] = KINDS[*kind];
                if let Some(len) = unit.get_mut(1) {
                    *len &= 3;
                }
                if let Some(option) = unit.get_mut(2) {
                    *option &= 0x47;
                }
            }
        }
        if let Ok((_, payload)) = Header::parse(&packet) {
            prop_assert!(payload.len() + 40 <= packet.len());
        }
        let _ = Header::parse(&kinds.iter().map(|kind| KINDS[*kind]).collect::<Vec<_>>());
    }

    #[test]
    fn purely_arbitrary_bytes_dont_panic(packet in bytes(200)) {
        let _ = Header::parse(&packet);
    }
}
