//! Fuzz targets (docs/FUZZING.md): whatever the bytes are, what can be parsed comes out of emitting it and parsing again,
//! and options are read as RFC 9293 section 3.1 words it.
#![allow(clippy::cast_possible_truncation)] // lengths of inputs, some hundred bytes

use fuzz::Input;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{
    Malformed, PROTOCOL_ICMPV6, PROTOCOL_TCP, SeqNum, arp, eth, icmpv4, icmpv6, ipv4, ipv6, ndp,
    quoted::Quoted,
    tcp::{Options, SackBlocks, Segment, Timestamps},
};

#[test]
fn fuzz_wire() {
    fuzz::check("wire", wire);
}

fn wire(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.u8();
    // No fuzzer finds a checksum by trying.
    let repair = kind & 0x80 != 0;
    match kind % 10 {
        0 => ethernet(input.rest()),
        1 => arp_packet(input.rest()),
        2 => ipv4_packet(input.rest(), repair),
        3 => ipv6_packet(input.rest()),
        4 => icmpv4_message(input.rest(), repair),
        5 => icmpv6_message(input, repair),
        6 => neighbour_discovery(input),
        7 => tcp_segment(input, repair),
        8 => quoted(input),
        _ => {
            // Of an error that quotes anything at all, no more than that it does no harm.
            let _ = Quoted::parse_v4(input.rest());
            let _ = Quoted::parse_v6(input.rest());
        }
    }
}

/// RFC 1071 section 1, 16 bits at a time.
fn checksum(pseudo: &[u8], bytes: &[u8]) -> u16 {
    let mut acc: u16 = 0;
    for pair in pseudo.chunks(2).chain(bytes.chunks(2)) {
        let (sum, carry) = acc.overflowing_add(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        acc = sum + u16::from(carry);
    }
    !acc
}

/// The bytes with the checksum at `at` made right over `..len`, where they reach so far.
fn repaired(bytes: &[u8], at: usize, len: usize, pseudo: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= len.max(at + 2) {
        bytes[at..at + 2].fill(0);
        let sum = checksum(pseudo, &bytes[..len]);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// RFC 9293 section 3.1 and RFC 8200 section 8.1, byte by byte.
fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let len = (len as u32).to_be_bytes();
    let mut bytes = Vec::new();
    for address in [src, dst] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(len);
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

fn ethernet(bytes: &[u8]) {
    let tagged = bytes.get(12..14).is_some_and(|t| t == [0x81, 0] || t == [0x88, 0xa8]);
    let parsed = eth::Header::parse(bytes);
    match bytes.len() {
        0..14 => assert_eq!(parsed, Err(Malformed::EthTruncated)),
        14..18 if tagged => assert_eq!(parsed, Err(Malformed::VlanTruncated)),
        _ => {
            let (header, payload) = parsed.expect("long enough");
            assert_eq!((header.vlan.is_some(), bytes.len() - payload.len()), (tagged, header.len()));
            let mut again = bytes.to_vec();
            header.emit(&mut again);
            assert_eq!(eth::Header::parse(&again), Ok((header, payload)));
            // Nothing but the kind of tag may differ.
            assert!(again == bytes || again[12..14] == [0x81, 0]);
        }
    }
}

fn arp_packet(bytes: &[u8]) {
    match arp::Packet::parse(bytes) {
        Ok(packet) => {
            let mut again = [0; arp::Packet::LEN];
            packet.emit(&mut again);
            assert_eq!(again, bytes[..arp::Packet::LEN]);
        }
        Err(why) => assert_eq!(why == Malformed::ArpTruncated, bytes.len() < arp::Packet::LEN),
    }
}

fn ipv4_packet(bytes: &[u8], repair: bool) {
    let header_len = bytes.first().map_or(0, |b| usize::from(b & 0xf) * 4);
    let mut bytes = if repair && header_len >= 20 { repaired(bytes, 10, header_len, &[]) } else { bytes.to_vec() };
    let total = bytes.get(2..4).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
    let valid = bytes.len() >= 20
        && bytes[0] >> 4 == 4
        && (20..=bytes.len()).contains(&header_len)
        && checksum(&[], &bytes[..header_len]) == 0
        && (header_len..=bytes.len()).contains(&total);
    let parsed = ipv4::Header::parse(&bytes);
    assert_eq!(parsed.is_ok(), valid, "{parsed:?}");
    let Ok((header, payload)) = parsed else { return };
    assert_eq!(payload, &bytes[header_len..total]);
    let mut again = [&[0; ipv4::Header::LEN], payload].concat();
    header.emit(payload.len(), &mut again);
    assert_eq!(ipv4::Header::parse(&again), Ok((header, payload)));
    if header_len == ipv4::Header::LEN {
        // The reserved bit is not kept; but for that the bytes are the same.
        bytes[6] &= 0x7f;
        let whole = repaired(&bytes[..total], 10, 20, &[]);
        assert_eq!(again, whole);
    }
}

fn ipv6_packet(bytes: &[u8]) {
    let Ok((header, payload)) = ipv6::Header::parse(bytes) else { return };
    let len = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    // The payload is the end of what Payload Length says.
    assert_eq!(payload, &bytes[40 + len - payload.len()..40 + len]);
    let extensions = len - payload.len();
    assert!(extensions.is_multiple_of(8) && (extensions > 0 || bytes[6] == header.next_header));
    assert!(!header.is_fragment() || extensions >= 8);
    let is_extension = matches!(header.next_header, 0 | 43 | 44 | 60);
    assert!(!is_extension || header.is_fragment(), "an extension is left over");
    if !is_extension {
        let mut again = [&[0; ipv6::Header::LEN], payload].concat();
        header.emit(payload.len(), &mut again);
        let plain = ipv6::Header { fragment: None, ..header };
        assert_eq!(ipv6::Header::parse(&again), Ok((plain, payload)));
        if extensions == 0 {
            assert_eq!(again, &bytes[..40 + len]);
        }
    }
}

fn icmpv4_message(bytes: &[u8], repair: bool) {
    let bytes = if repair { repaired(bytes, 2, bytes.len(), &[]) } else { bytes.to_vec() };
    let parsed = icmpv4::Message::parse(&bytes);
    assert_eq!(parsed.is_ok(), bytes.len() >= 8 && checksum(&[], &bytes) == 0, "{parsed:?}");
    let Ok(message) = parsed else { return };
    let mut again = vec![0; bytes.len()];
    assert_eq!(message.emit(&mut again), bytes.len());
    assert_eq!(icmpv4::Message::parse(&again), Ok(message));
}

fn address(input: &mut Input<'_>) -> Ipv6Addr {
    let bytes = input.u64();
    match bytes.to_be_bytes()[0] % 4 {
        0 => Ipv6Addr::UNSPECIFIED,
        1 => ndp::ALL_NODES,
        2 => ndp::solicited_node(Ipv6Addr::from_bits(bytes.into())),
        _ => Ipv6Addr::from_bits(u128::from(bytes) << 64 | 1),
    }
}

fn icmpv6_message(mut input: Input<'_>, repair: bool) {
    let (src, dst) = (address(&mut input), address(&mut input));
    let bytes = input.rest();
    let pseudo = pseudo(src.into(), dst.into(), PROTOCOL_ICMPV6, bytes.len());
    let bytes = if repair { repaired(bytes, 2, bytes.len(), &pseudo) } else { bytes.to_vec() };
    let parsed = icmpv6::Message::parse(&bytes, src, dst);
    assert_eq!(parsed.is_ok(), bytes.len() >= 8 && checksum(&pseudo, &bytes) == 0, "{parsed:?}");
    let Ok(message) = parsed else { return };
    let mut again = vec![0; bytes.len()];
    assert_eq!(message.emit(src, dst, &mut again), bytes.len());
    assert_eq!(icmpv6::Message::parse(&again, src, dst), Ok(message));
}

fn neighbour_discovery(mut input: Input<'_>) {
    let (src, dst, choice) = (address(&mut input), address(&mut input), input.u8());
    let fragment = (choice & 4 != 0).then_some(ipv6::Fragment { offset: 0, more: false, ident: 7 });
    let ip = ipv6::Header {
        src,
        dst,
        next_header: PROTOCOL_ICMPV6,
        hop_limit: if choice & 8 == 0 { 255 } else { input.u8() },
        traffic_class: 0,
        flow_label: 0,
        fragment,
    };
    let kind = if choice & 1 == 0 { icmpv6::NEIGHBOR_SOLICITATION } else { icmpv6::NEIGHBOR_ADVERTISEMENT };
    let code = if choice & 16 == 0 { 0 } else { input.u8() };
    let rest = input.u32().to_be_bytes();
    let message = icmpv6::Message { kind, code, rest, body: input.rest() };
    let Ok(Some(packet)) = ndp::Packet::parse(&ip, &message) else { return };
    assert!(ip.hop_limit == 255 && code == 0 && fragment.is_none(), "RFC 4861 section 7.1, RFC 6980 section 5");
    let mut bytes = [0; ndp::Packet::MAX_LEN];
    let len = packet.emit(src, dst, &mut bytes);
    let again = icmpv6::Message::parse(&bytes[..len], src, dst).expect("its checksum is right");
    assert_eq!(ndp::Packet::parse(&ip, &again), Ok(Some(packet)));
}

fn tcp_segment(mut input: Input<'_>, repair: bool) {
    let (src, dst): (IpAddr, IpAddr) = if input.bool() {
        (address(&mut input).into(), address(&mut input).into())
    } else {
        (Ipv4Addr::from_bits(input.u32()).into(), Ipv4Addr::from_bits(input.u32()).into())
    };
    let bytes = input.rest();
    let pseudo = pseudo(src, dst, PROTOCOL_TCP, bytes.len());
    let bytes = if repair { repaired(bytes, 16, bytes.len(), &pseudo) } else { bytes.to_vec() };
    let offset = bytes.get(12).map_or(0, |b| usize::from(b >> 4) * 4);
    let valid = bytes.len() >= 20 && (20..=bytes.len()).contains(&offset) && checksum(&pseudo, &bytes) == 0;
    let parsed = Segment::parse(&bytes, src, dst);
    assert_eq!(parsed.is_ok(), valid, "{parsed:?}");
    let Ok(segment) = parsed else { return };
    assert_eq!(segment.payload, &bytes[offset..]);
    let mut again = [&vec![0; segment.header.len()], segment.payload].concat();
    segment.header.emit(src, dst, &mut again);
    let reparsed = Segment::parse(&again, src, dst).expect("what was emitted is valid");
    let mut expected = segment;
    expected.header.options = as_sent(&segment.header.options);
    assert_eq!(reparsed, expected);
    if offset == 20 {
        assert_eq!(again[..16], bytes[..12].iter().chain(&[0x50]).chain(&bytes[13..16]).copied().collect::<Vec<_>>());
    }
}

/// What is left of options on the wire: all but the SACK blocks for which there is no room in 40 bytes, in the layout of RFC
/// 7323 appendix A (each option of a SYN padded to a word, two no-operations before SACK).
fn as_sent(options: &Options) -> Options {
    let mut len = if options.mss.is_some() { 4 } else { 0 };
    len += if options.window_scale.is_some() { 4 } else { 0 };
    len += match (options.timestamps.is_some(), options.sack_permitted) {
        (true, _) => 12,
        (false, true) => 4,
        (false, false) => 0,
    };
    let mut sack = SackBlocks::default();
    for (n, (start, end)) in options.sack.iter().enumerate() {
        if len + 4 + 8 * (n + 1) <= 40 {
            sack.push(start, end);
        }
    }
    Options { sack, malformed: false, ..*options }
}

/// A segment that parses is found in the quote of its packet, however short that is.
fn quoted(mut input: Input<'_>) {
    let (v6, cut) = (input.bool(), usize::from(input.u8()));
    let (src, dst) = (input.u32(), input.u32());
    let tcp = input.rest();
    if v6 {
        let header = ipv6::Header {
            src: Ipv6Addr::from_bits(src.into()),
            dst: Ipv6Addr::from_bits(dst.into()),
            next_header: PROTOCOL_TCP,
            hop_limit: 1,
            traffic_class: 0,
            flow_label: src & 0xf_ffff,
            fragment: None,
        };
        let mut packet = [&[0; ipv6::Header::LEN], tcp].concat();
        header.emit(tcp.len(), &mut packet);
        packet.truncate((40 + cut).min(packet.len()));
        check_quoted(Quoted::parse_v6(&packet), header.src.into(), header.dst.into(), &packet[40..], 40 + tcp.len());
    } else {
        let header = ipv4::Header {
            src: Ipv4Addr::from_bits(src),
            dst: Ipv4Addr::from_bits(dst),
            protocol: PROTOCOL_TCP,
            ttl: 1,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
        };
        let mut packet = [&[0; ipv4::Header::LEN], tcp].concat();
        header.emit(tcp.len(), &mut packet);
        packet.truncate((20 + cut).min(packet.len()));
        check_quoted(Quoted::parse_v4(&packet), header.src.into(), header.dst.into(), &packet[20..], 20 + tcp.len());
    }
}

fn check_quoted(quoted: Option<Quoted>, src: IpAddr, dst: IpAddr, tcp: &[u8], len: usize) {
    // RFC 792: the header and 64 bits.
    let expected = tcp.first_chunk::<8>().map(|t| Quoted {
        src,
        dst,
        src_port: u16::from_be_bytes([t[0], t[1]]),
        dst_port: u16::from_be_bytes([t[2], t[3]]),
        seq: SeqNum::new(u32::from_be_bytes([t[4], t[5], t[6], t[7]])),
        packet_len: len as u32,
    });
    assert_eq!(quoted, expected);
}

#[test]
fn fuzz_options() {
    fuzz::check("options", options);
}

/// MUST-6, MUST-7.
fn options(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(Options::MAX_LEN)];
    let parsed = Options::parse(bytes);
    assert_eq!(parsed, by_the_letter(bytes));
    let mut again = [0xff; Options::MAX_LEN];
    let len = parsed.len();
    assert!(len <= Options::MAX_LEN && len.is_multiple_of(4) && parsed.is_empty() == (len == 0));
    parsed.emit(&mut again[..len]);
    assert_eq!(Options::parse(&again[..len]), as_sent(&parsed));
    // In front of another option list nothing changes but what that adds.
    assert!(again[len..].iter().all(|b| *b == 0xff));
}

/// RFC 9293 section 3.1, RFC 7323 sections 2.2 and 3.2, RFC 2018 sections 2 and 3, one byte after another.
fn by_the_letter(bytes: &[u8]) -> Options {
    let mut options = Options::default();
    let mut at = 0;
    while at < bytes.len() && bytes[at] != 0 {
        if bytes[at] == 1 {
            at += 1;
            continue;
        }
        let len = bytes.get(at + 1).map_or(0, |len| usize::from(*len));
        if len < 2 || at + len > bytes.len() {
            options.malformed = true;
            break;
        }
        let word = |i: usize| u32::from_be_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        match (bytes[at], len) {
            (2, 4) => options.mss = Some(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])),
            (3, 3) => options.window_scale = Some(bytes[at + 2].min(14)),
            (4, 2) => options.sack_permitted = true,
            (5, _) if len % 8 == 2 => {
                options.sack = SackBlocks::default();
                for block in (at + 2..at + len).step_by(8) {
                    options.sack.push(SeqNum::new(word(block)), SeqNum::new(word(block + 4)));
                }
            }
            (8, 10) => options.timestamps = Some(Timestamps { val: word(at + 2), ecr: word(at + 6) }),
            _ => {}
        }
        at += len;
    }
    options
}
