use std::net::Ipv6Addr;

use proptest::prelude::*;
use wire::{
    MacAddr, Malformed, icmpv6, ipv6,
    ndp::{self, Advertisement, Packet, Solicitation},
};

use crate::{bytes, v6};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn header(src: &str, dst: &str) -> ipv6::Header {
    ipv6::Header {
        src: ip(src),
        dst: ip(dst),
        next_header: 58,
        hop_limit: 255,
        traffic_class: 0,
        flow_label: 0,
        fragment: None,
    }
}

fn parse(header: &ipv6::Header, kind: u8, flags: u8, body: &[u8]) -> Result<Option<Packet>, Malformed> {
    Packet::parse(header, &icmpv6::Message { kind, code: 0, rest: [flags, 0, 0, 0], body })
}

/// The target `fd77::99` and `options` behind it.
fn body(options: &[u8]) -> Vec<u8> {
    [&ip("fd77::99").octets()[..], options].concat()
}

#[test]
fn groups_and_their_mac_addresses() {
    // The example of RFC 4291, section 2.7.1, and RFC 2464, section 7.
    let group = ndp::solicited_node(ip("4037::01:800:200e:8c6c"));
    assert_eq!(group, ip("ff02::1:ff0e:8c6c"));
    assert_eq!(ndp::group_mac(group), MacAddr([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    assert_eq!(ndp::group_mac(ndp::ALL_NODES), MacAddr([0x33, 0x33, 0, 0, 0, 1]));
}

/// RFC 4861, sections 4.3, 4.4 and 4.6.1, byte by byte.
#[test]
fn both_messages_on_the_wire() {
    let (src, dst) = (ip("fd77::2"), ip("ff02::1:ff00:99"));
    let mut buf = [0xee; 40];
    let asks = Packet::Solicitation(Solicitation { target: ip("fd77::99"), source_mac: Some(MAC) });
    assert_eq!(asks.emit(src, dst, &mut buf), 32);
    assert_eq!(buf[..2], [135, 0]);
    assert_eq!(buf[4..8], [0; 4]);
    assert_eq!(buf[8..24], ip("fd77::99").octets());
    assert_eq!(buf[24..32], [1, 1, 2, 0, 0, 0, 0, 7]);
    assert_eq!(buf[32..], [0xee; 8], "nothing is written behind the message");
    icmpv6::Message::parse(&buf[..32], src, dst).expect("a valid checksum");
    let tells = Advertisement {
        target: ip("fd77::99"),
        target_mac: Some(MAC),
        router: false,
        solicited: true,
        overrides: true,
    };
    assert_eq!(Packet::Advertisement(tells).emit(src, dst, &mut buf), 32);
    assert_eq!((buf[0], buf[4]), (136, 0x60));
    assert_eq!(buf[24..32], [2, 1, 2, 0, 0, 0, 0, 7]);
    let bare = Packet::Advertisement(Advertisement { target_mac: None, solicited: false, router: true, ..tells });
    assert_eq!(bare.emit(src, dst, &mut buf), 24);
    assert_eq!(buf[4], 0xa0);
}

/// RFC 4861, section 7.1.1: what a solicitation must be.
#[test]
fn a_solicitation_is_validated() {
    let good = header("fd77::2", "ff02::1:ff00:99");
    let of = |source_mac| Ok(Some(Packet::Solicitation(Solicitation { target: ip("fd77::99"), source_mac })));
    assert_eq!(parse(&good, 135, 0, &body(&[])), of(None));
    assert_eq!(parse(&good, 135, 0, &body(&[1, 1, 2, 0, 0, 0, 0, 7])), of(Some(MAC)));
    // An option that is unknown is skipped, the target's means nothing here.
    let options = [[14, 1, 9, 9, 9, 9, 9, 9], [2, 1, 4, 4, 4, 4, 4, 4], [1, 1, 2, 0, 0, 0, 0, 7]].concat();
    assert_eq!(parse(&good, 135, 0, &body(&options)), of(Some(MAC)));
    // Flags are reserved here.
    assert_eq!(parse(&good, 135, 0xff, &body(&[])), of(None));

    let invalid = Err(Malformed::NdpInvalid);
    for hop_limit in [0, 1, 64, 254] {
        assert_eq!(parse(&ipv6::Header { hop_limit, ..good }, 135, 0, &body(&[])), invalid);
    }
    let message = icmpv6::Message { kind: 135, code: 1, rest: [0; 4], body: &body(&[]) };
    assert_eq!(Packet::parse(&good, &message), invalid);
    assert_eq!(parse(&good, 135, 0, &ip("ff02::1").octets()), invalid);
    // Asking whether an address is taken: only the group, and without an address of the asker's.
    assert_eq!(parse(&header("::", "ff02::1:ff00:99"), 135, 0, &body(&[])), of(None));
    assert_eq!(parse(&header("::", "ff02::1:ff00:98"), 135, 0, &body(&[])), invalid);
    assert_eq!(parse(&header("::", "fd77::99"), 135, 0, &body(&[])), invalid);
    assert_eq!(parse(&header("::", "ff02::1:ff00:99"), 135, 0, &body(&[1, 1, 2, 0, 0, 0, 0, 7])), invalid);
    // RFC 6980, section 5.
    let fragment = Some(ipv6::Fragment { offset: 0, more: false, ident: 1 });
    assert_eq!(parse(&ipv6::Header { fragment, ..good }, 135, 0, &body(&[])), invalid);
    for len in 0..16 {
        assert_eq!(parse(&good, 135, 0, &body(&[])[..len]), Err(Malformed::NdpTruncated));
    }
}

/// RFC 4861, section 7.1.2: what an advertisement must be.
#[test]
fn an_advertisement_is_validated() {
    let (good, all) = (header("fd77::99", "fd77::2"), header("fd77::99", "ff02::1"));
    let of = |solicited, overrides| {
        let target_mac = Some(MAC);
        let told = Advertisement { target: ip("fd77::99"), target_mac, router: false, solicited, overrides };
        Ok(Some(Packet::Advertisement(told)))
    };
    let options = [2, 1, 2, 0, 0, 0, 0, 7];
    assert_eq!(parse(&good, 136, 0x60, &body(&options)), of(true, true));
    assert_eq!(parse(&good, 136, 0x40, &body(&options)), of(true, false));
    assert_eq!(parse(&all, 136, 0x20, &body(&options)), of(false, true));
    let invalid = Err(Malformed::NdpInvalid);
    assert_eq!(parse(&all, 136, 0x60, &body(&options)), invalid, "solicited, to a group");
    assert_eq!(parse(&header("::", "fd77::2"), 136, 0x60, &body(&options)), invalid);
    assert_eq!(parse(&ipv6::Header { hop_limit: 254, ..good }, 136, 0x60, &body(&options)), invalid);
    assert_eq!(parse(&good, 136, 0x60, &ip("ff02::1").octets()), invalid);
}

/// RFC 4861, sections 4.6 and 7.1: "all included options have a length that is greater than zero".
#[test]
fn an_option_that_spoils_the_message() {
    let good = header("fd77::2", "ff02::1:ff00:99");
    let long = [1, 2, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    let group = [1, 1, 0x33, 0x33, 0, 0, 0, 1];
    let bad: [&[u8]; 7] = [&[1], &[1, 0], &[14, 0, 0, 0, 0, 0, 0, 0], &[1, 1, 2, 0, 0, 0, 0], &[9, 255], &long, &group];
    for options in bad {
        assert_eq!(parse(&good, 135, 0, &body(options)), Err(Malformed::NdpOption), "{options:?}");
    }
    // Behind a good one, too.
    let options = [1, 1, 2, 0, 0, 0, 0, 7, 14, 0];
    assert_eq!(parse(&good, 135, 0, &body(&options)), Err(Malformed::NdpOption));
}

#[test]
fn other_messages_are_none_of_these() {
    for kind in [1, 2, 128, 129, 133, 134, 137] {
        assert_eq!(parse(&header("fd77::2", "fd77::99"), kind, 0, &[]), Ok(None));
    }
}

proptest! {
    #[test]
    fn messages_come_back(src in v6(), dst in v6(), target in v6(), mac: Option<[u8; 6]>, flags: [bool; 4]) {
        prop_assume!(!target.is_multicast() && !src.is_multicast() && !src.is_unspecified());
        let mac = mac.map(|[a, rest @ ..]| { let [b, c, d, e, f] = rest; MacAddr([a & 0xfe, b, c, d, e, f]) });
        let [solicits, router, solicited, overrides] = flags;
        let solicited = solicited && !dst.is_multicast();
        let packet = match solicits {
            true => Packet::Solicitation(Solicitation { target, source_mac: mac }),
            false => Packet::Advertisement(Advertisement { target, target_mac: mac, router, solicited, overrides }),
        };
        let mut buf = [0; Packet::MAX_LEN];
        let len = packet.emit(src, dst, &mut buf);
        let message = icmpv6::Message::parse(&buf[..len], src, dst).unwrap();
        let ip = ipv6::Header { src, dst, ..header("::", "::") };
        prop_assert_eq!(Packet::parse(&ip, &message), Ok(Some(packet)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(src in v6(), dst in v6(), kind in 134..138u8, body in bytes(80)) {
        let ip = ipv6::Header { src, dst, ..header("::", "::") };
        let _ = Packet::parse(&ip, &icmpv6::Message { kind, code: 0, rest: [0; 4], body: &body });
    }
}
