use proptest::prelude::*;
use wire::arp::{Operation, Packet};
use wire::eth::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Header};
use wire::{MacAddr, Malformed};

use crate::{bytes, v4};

const DST: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x0d]);
const SRC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x05]);

#[rustfmt::skip]
const PLAIN: [u8; 16] = [
    0x02, 0, 0, 0, 0, 0x0d,
    0x02, 0, 0, 0, 0, 0x05,
    0x08, 0x00,
    0xca, 0xfe,
];

#[rustfmt::skip]
const TAGGED: [u8; 20] = [
    0x02, 0, 0, 0, 0, 0x0d,
    0x02, 0, 0, 0, 0, 0x05,
    0x81, 0x00, 0xa0, 0x64, // priority 5, VLAN 100
    0x08, 0x06,
    0xca, 0xfe,
];

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

#[test]
fn a_plain_header() {
    let header = Header { dst: DST, src: SRC, vlan: None, ethertype: ETHERTYPE_IPV4 };
    assert_eq!(Header::parse(&PLAIN), Ok((header, &[0xca, 0xfe][..])));
    assert_eq!(header.len(), 14);
    let mut buf = [0xca, 0xfe].repeat(8);
    header.emit(&mut buf);
    assert_eq!(buf, PLAIN);
}

#[test]
fn a_tagged_header() {
    let header = Header { dst: DST, src: SRC, vlan: Some(0xa064), ethertype: ETHERTYPE_ARP };
    assert_eq!(Header::parse(&TAGGED), Ok((header, &[0xca, 0xfe][..])));
    assert_eq!(header.len(), 18);
    let mut buf = [0xca, 0xfe].repeat(10);
    header.emit(&mut buf);
    assert_eq!(buf, TAGGED);
}

#[test]
fn of_two_tags_the_outer_one_is_taken_off() {
    let mut frame = TAGGED.to_vec();
    frame.splice(12..12, [0x88, 0xa8, 0x00, 0x07]);
    let (header, rest) = Header::parse(&frame).unwrap();
    assert_eq!((header.vlan, header.ethertype), (Some(7), ETHERTYPE_VLAN));
    assert_eq!(rest, &TAGGED[14..]);
    assert_eq!(ETHERTYPE_QINQ, 0x88a8);
}

#[test]
fn a_header_cut_short() {
    for len in 0..14 {
        assert_eq!(Header::parse(&PLAIN[..len]), Err(Malformed::EthTruncated), "{len}");
        assert_eq!(Header::parse(&TAGGED[..len]), Err(Malformed::EthTruncated), "{len}");
    }
    for len in 14..18 {
        assert_eq!(Header::parse(&TAGGED[..len]), Err(Malformed::VlanTruncated), "{len}");
    }
    assert_eq!(Header::parse(&TAGGED[..18]).unwrap().1, []);
}

#[test]
fn addresses_print_and_know_groups() {
    assert_eq!(MacAddr([0, 0x1b, 0x21, 0xab, 0xcd, 0xef]).to_string(), "00:1b:21:ab:cd:ef");
    assert_eq!(format!("{:?}", MacAddr::BROADCAST), "ff:ff:ff:ff:ff:ff");
    assert!(MacAddr::BROADCAST.is_multicast());
    assert!(MacAddr([0x33, 0x33, 0, 0, 0, 1]).is_multicast());
    assert!(!SRC.is_multicast());
}

/// RFC 826, "Packet format", filled in by hand: who has 10.0.0.2, tell 10.0.0.1.
#[rustfmt::skip]
const REQUEST: [u8; 28] = [
    0, 1,  0x08, 0x00,  6, 4,  0, 1,
    0x02, 0, 0, 0, 0, 0x05,  10, 0, 0, 1,
    0, 0, 0, 0, 0, 0,        10, 0, 0, 2,
];

#[test]
fn an_arp_request() {
    let request = Packet {
        operation: Operation::Request,
        sender_mac: SRC,
        sender_ip: [10, 0, 0, 1].into(),
        target_mac: MacAddr::default(),
        target_ip: [10, 0, 0, 2].into(),
    };
    assert_eq!(Packet::parse(&REQUEST), Ok(request));
    let mut buf = [0xee; Packet::LEN];
    request.emit(&mut buf);
    assert_eq!(buf, REQUEST);
    let padded = [&REQUEST[..], &[0; 18]].concat();
    assert_eq!(Packet::parse(&padded), Ok(request));
}

#[test]
fn arp_of_other_kinds_is_unsupported() {
    // Hardware type, protocol type, the two address lengths, the operation.
    for (at, value) in [(1, 6), (0, 1), (2, 0x86), (3, 1), (4, 8), (5, 16), (7, 0), (7, 3), (6, 1)] {
        let mut packet = REQUEST;
        packet[at] = value;
        assert_eq!(Packet::parse(&packet), Err(Malformed::ArpUnsupported), "byte {at} = {value}");
    }
    for len in 0..28 {
        assert_eq!(Packet::parse(&REQUEST[..len]), Err(Malformed::ArpTruncated));
    }
}

proptest! {
    #[test]
    fn ethernet_comes_back(dst in mac(), src in mac(), vlan: Option<u16>, ethertype: u16, payload in bytes(40)) {
        prop_assume!(vlan.is_some() || !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ));
        let header = Header { dst, src, vlan, ethertype };
        let mut frame = vec![0xee; header.len()];
        frame.extend(&payload);
        header.emit(&mut frame);
        prop_assert_eq!(Header::parse(&frame), Ok((header, &payload[..])));
    }

    #[test]
    fn arp_comes_back(reply: bool, sender_mac in mac(), sender_ip in v4(), target_mac in mac(), target_ip in v4()) {
        let operation = if reply { Operation::Reply } else { Operation::Request };
        let packet = Packet { operation, sender_mac, sender_ip, target_mac, target_ip };
        let mut buf = [0xee; Packet::LEN];
        packet.emit(&mut buf);
        prop_assert_eq!(Packet::parse(&buf), Ok(packet));
    }

    #[test]
    fn arbitrary_bytes_dont_panic(bytes in bytes(64)) {
        let _ = Header::parse(&bytes);
        let _ = Packet::parse(&bytes);
    }
}
