use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wire::tcp::{Flags, Header, Options, Segment, Timestamps, renumber};
use wire::{Malformed, SeqNum};

use crate::tcp_options::any_options;
use crate::{bytes, naive_sum, pair, v4, v6};

const SRC: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const DST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// RFC 9293, figure 1, filled in by hand. The words of the segment without its checksum and of the pseudo-header
/// (0a00 0001 0a00 0002 0006 0017) add up to 3cc0+0050+0102+0304+1112+1314+5018+7210+6869+2100+1420 = 1_c4ed, so c4ee
/// with its carry; its complement is 3b11.
#[rustfmt::skip]
const DATA: [u8; 23] = [
    0x3c, 0xc0, 0x00, 0x50,
    0x01, 0x02, 0x03, 0x04,
    0x11, 0x12, 0x13, 0x14,
    0x50, 0x18, 0x72, 0x10,
    0x3b, 0x11, 0x00, 0x00,
    b'h', b'i', b'!',
];

fn data_header() -> Header {
    Header {
        src_port: 0x3cc0,
        dst_port: 80,
        seq: SeqNum::new(0x0102_0304),
        ack: SeqNum::new(0x1112_1314),
        flags: Flags::PSH | Flags::ACK,
        window: 0x7210,
        urgent: 0,
        options: Options::default(),
    }
}

fn emitted(header: &Header, src: IpAddr, dst: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut buf = vec![0xee; header.len()];
    buf.extend(payload);
    header.emit(src, dst, &mut buf);
    buf
}

/// The sum by RFC 9293, section 3.1 and RFC 8200, section 8.1, with nothing of the crate's.
fn whole_sum(src: IpAddr, dst: IpAddr, segment: &[u8]) -> u16 {
    let len = u32::try_from(segment.len()).unwrap().to_be_bytes();
    let pseudo = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => [&src.octets()[..], &dst.octets(), &[0, 6], &len[2..]].concat(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => [&src.octets()[..], &dst.octets(), &len, &[0, 0, 0, 6]].concat(),
        _ => unreachable!("one family"),
    };
    naive_sum(naive_sum(0, &pseudo), segment)
}

fn any_header() -> impl Strategy<Value = Header> {
    let numbers = any::<(u16, u16, u32, u32, u8, u16, u16)>();
    (numbers, any_options()).prop_map(|((src_port, dst_port, seq, ack, flags, window, urgent), mut options)| {
        // More blocks than fit are the options' tests' business.
        if options.len() > 36 || options.sack.len() > 2 {
            options.sack = Default::default();
        }
        Header {
            src_port,
            dst_port,
            seq: SeqNum::new(seq),
            ack: SeqNum::new(ack),
            flags: Flags::from_bits(flags),
            window,
            urgent,
            options,
        }
    })
}

/// MUST-2, RFC9293-3.1-a.
#[test]
fn a_segment_with_data() {
    assert_eq!(whole_sum(SRC, DST, &DATA), 0xffff);
    let segment = Segment::parse(&DATA, SRC, DST).unwrap();
    assert_eq!(segment, Segment { header: data_header(), payload: b"hi!" });
    assert_eq!(emitted(&data_header(), SRC, DST, b"hi!"), DATA);
}

#[test]
fn header_lengths() {
    assert_eq!((Header::MIN_LEN, Header::MAX_LEN), (20, 60));
    assert_eq!(data_header().len(), 20);
    let timestamps = Some(Timestamps { val: 1, ecr: 2 });
    let header = Header { options: Options { timestamps, ..Options::default() }, ..data_header() };
    assert_eq!(header.len(), 32);
    assert_eq!(emitted(&header, SRC, DST, b"")[12], 0x80, "Data Offset counts words");
}

/// What a parsed segment costs to pass around; a larger one deserves a second thought.
#[test]
fn sizes() {
    assert_eq!(size_of::<SeqNum>(), 4);
    assert_eq!(size_of::<Flags>(), 1);
    assert_eq!(size_of::<Timestamps>(), 8);
    assert!(size_of::<Options>() <= 60, "{}", size_of::<Options>());
    assert!(size_of::<Header>() <= 80, "{}", size_of::<Header>());
    assert!(size_of::<Segment<'_>>() <= 96, "{}", size_of::<Segment<'_>>());
}

#[test]
fn a_segment_cut_short() {
    let mut options = data_header();
    options.options.timestamps = Some(Timestamps { val: 1, ecr: 2 });
    for segment in [DATA.to_vec(), emitted(&options, SRC, DST, b"hello")] {
        let header_len = usize::from(segment[12] >> 4) * 4;
        for len in 0..segment.len() {
            let why = match len {
                0..20 => Malformed::TcpTruncated,
                _ if len < header_len => Malformed::TcpDataOffset,
                _ => Malformed::TcpChecksum,
            };
            assert_eq!(Segment::parse(&segment[..len], SRC, DST), Err(why), "{len}");
        }
    }
}

#[test]
fn a_data_offset_below_five() {
    for words in 0..5 {
        let mut segment = DATA;
        segment[12] = words << 4;
        assert_eq!(Segment::parse(&segment, SRC, DST), Err(Malformed::TcpDataOffset));
    }
}

/// RFC9293-3.1-a.
#[test]
fn reserved_bits_are_ignored() {
    let mut segment = DATA;
    segment[12] |= 0x0f;
    segment[16] -= 0x0f; // byte 12 is the high half of its word, as byte 16 is
    assert_eq!(Segment::parse(&segment, SRC, DST).unwrap().header, data_header());
}

/// RFC9293-3.4-b.
#[test]
fn syn_and_fin_occupy_a_sequence_number_each() {
    let seq = SeqNum::new(u32::MAX);
    for (flags, payload, len) in [
        (Flags::ACK, &b""[..], 0),
        (Flags::RST | Flags::ACK, b"", 0),
        (Flags::SYN, b"", 1),
        (Flags::FIN | Flags::ACK, b"", 1),
        (Flags::SYN | Flags::FIN, b"abc", 5),
        (Flags::ACK, b"abc", 3),
    ] {
        let segment = Segment { header: Header { flags, seq, ..data_header() }, payload };
        assert_eq!(segment.len(), len);
        assert_eq!(segment.is_empty(), len == 0);
        assert_eq!(segment.end(), seq + len);
    }
}

#[test]
fn flags_read_and_print() {
    let flags = Flags::SYN | Flags::ACK;
    assert_eq!(format!("{flags:?} {:?} {:?}", Flags::default(), Flags::from_bits(0xc1)), "SYN|ACK none FIN|ECE|CWR");
    assert_eq!(flags.bits(), 0x12);
    assert!(flags.contains(Flags::SYN) && flags.contains(flags) && !flags.contains(Flags::SYN | Flags::FIN));
    assert!(flags.intersects(Flags::SYN | Flags::FIN) && !flags.intersects(Flags::RST));
    assert_eq!(flags.without(Flags::SYN | Flags::FIN), Flags::ACK);
    let mut more = flags;
    more |= Flags::URG;
    assert_eq!(more, Flags(0x32));
}

/// Flips one bit of the segment, or of an address of its pseudo-header.
fn corrupt(segment: &mut [u8], src: &mut IpAddr, dst: &mut IpAddr, bit: usize) {
    let flip = |addr: &mut IpAddr, bit: usize| {
        *addr = match *addr {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() ^ 1 << (bit % 32)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() ^ 1 << (bit % 128)).into(),
        };
    };
    match bit.checked_sub(256) {
        None if bit < 128 => flip(src, bit),
        None => flip(dst, bit),
        Some(bit) => {
            let bit = bit % (8 * segment.len());
            segment[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    /// MUST-2, MUST-5.
    #[test]
    fn comes_back((src, dst) in pair(), header in any_header(), payload in bytes(120)) {
        let segment = emitted(&header, src, dst, &payload);
        prop_assert_eq!(whole_sum(src, dst, &segment), 0xffff);
        prop_assert_eq!(Segment::parse(&segment, src, dst), Ok(Segment { header, payload: &payload }));
    }

    /// MUST-3.
    #[test]
    fn a_flipped_bit_is_detected(
        (mut src, mut dst) in pair(), header in any_header(), payload in bytes(40), bit in 0usize..1100,
    ) {
        let mut segment = emitted(&header, src, dst, &payload);
        corrupt(&mut segment, &mut src, &mut dst, bit);
        prop_assert!(Segment::parse(&segment, src, dst).is_err());
    }

    /// MUST-2, RFC9293-3.1-a: what a device does with a segment whose checksum was left to it, with nothing of the crate's,
    /// gives the segment that is computed here, byte for byte. (One's complement sums of anything but zeros are never zero, so
    /// there is one checksum and not two.)
    #[test]
    fn an_unfinished_segment_is_finished_by_its_own_sum(
        header in any_header(), (src, dst) in pair(), payload in bytes(100), before in any::<u16>()
    ) {
        let mut buf = vec![0xee; header.len()];
        buf.extend(&payload);
        buf[16..18].copy_from_slice(&before.to_be_bytes());
        header.emit_unfinished(src, dst, &mut buf);
        // linux/Documentation/networking/checksum-offloads.rst: all from the start on, the field as it stands included.
        let checksum = !naive_sum(0, &buf);
        let field = usize::from(Header::CHECKSUM_AT);
        buf[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        prop_assert_eq!(whole_sum(src, dst, &buf), 0xffff);
        prop_assert_eq!(buf, emitted(&header, src, dst, &payload));
    }

    #[test]
    fn arbitrary_bytes_dont_panic(mut segment in bytes(100), (src, dst) in pair(), words in 0u8..16) {
        let _ = Segment::parse(&segment, src, dst);
        // Once more with a checksum and an offset that let it through to the options.
        if segment.len() >= 20 {
            segment[12] = words << 4;
            segment[16..18].fill(0);
            let sum = !whole_sum(src, dst, &segment);
            segment[16..18].copy_from_slice(&sum.to_be_bytes());
            let fits = words >= 5 && usize::from(words) * 4 <= segment.len();
            let parsed = Segment::parse(&segment, src, dst);
            prop_assert_eq!(parsed.is_ok(), fits);
            if let Ok(parsed) = parsed {
                prop_assert_eq!(parsed.payload, &segment[usize::from(words) * 4..]);
            }
        }
    }

    #[test]
    fn addresses_of_two_families_dont_panic(segment in bytes(60), src in v4(), dst in v6()) {
        let _ = Segment::parse(&segment, src.into(), dst.into());
        let _ = Segment::parse(&segment, dst.into(), src.into());
    }
}

proptest! {
    /// Behind a copy of another's header, other bytes and another number: as it would be written by itself, the checksum
    /// finished or not.
    #[test]
    fn a_segment_is_renumbered(
        header in any_header(),
        (src, dst) in pair(),
        (one, other) in bytes(1500).prop_flat_map(|one| { let len = one.len(); (Just(one), prop::collection::vec(any::<u8>(), len)) }),
        seq: u32,
    ) {
        let (seq, at) = (SeqNum::new(seq), header.len());
        let mut segment = emitted(&header, src, dst, &one);
        segment[at..].copy_from_slice(&other);
        renumber(&mut segment, at, seq, Some(header.common_sum(src, dst, other.len())));
        prop_assert_eq!(&segment, &emitted(&Header { seq, ..header }, src, dst, &other));
        let mut unfinished = segment.clone();
        header.emit_unfinished(src, dst, &mut unfinished);
        renumber(&mut unfinished, at, seq, None);
        Header { seq, ..header }.emit_unfinished(src, dst, &mut segment);
        prop_assert_eq!(unfinished, segment);
    }
}
