//! Whatever arrives: no panic, every frame is accounted for exactly once, and memory stays bounded.
#![allow(clippy::cast_possible_truncation)]

mod support;

use proptest::prelude::*;
use stack::{Duration, Instant, Shard};
use std::sync::OnceLock;
use support::*;
use wire::{
    SeqNum,
    arp::Operation,
    icmpv4,
    ndp::{self, Packet},
    tcp::{Flags, Header, Options, SackBlocks, Timestamps},
};

/// A shard with a listener, an open connection from port 1000, one in CLOSE-WAIT, and one in TIME-WAIT.
fn world() -> (Shard, Counting, Instant, &'static [Vec<u8>]) {
    let now = Instant::ZERO + Duration::from_secs(3);
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    let iss = open(&mut shard, &mut app, now, 1000, 300);
    let half = open(&mut shard, &mut app, now, 1001, 300);
    let fin = header(Flags::FIN | Flags::ACK, (1001, PORT), 301, half.wrapping_add(1));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), fin, &[], None), &mut app);
    let old = open(&mut shard, &mut app, now, 1002, 300);
    let conn = *app.accepted.last().expect("open");
    shard.call(now, |io| io.close(conn)).expect("open");
    drain(&mut shard, now);
    let last = header(Flags::FIN | Flags::ACK, (1002, PORT), 301, old.wrapping_add(2));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), last, &[], None), &mut app);
    drain(&mut shard, now);
    assert_eq!(shard.time_waits(), 1);
    let (rich, data) = open_rich(&mut shard, &mut app, now);
    let frames = FRAMES.get_or_init(|| frames(&[(1000, iss), (1001, half), (1002, old)], rich, &data));
    (shard, app, now, frames)
}

/// Every world is the same, and so are the frames for it.
static FRAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();

/// Well-formed frames of every kind, for each of the connections; the numbers are ours before what they acknowledge.
fn frames(conns: &[(u16, u32); 3], rich: u32, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let [(_, iss), (_, half), (_, old)] = *conns;
    let mut frames = vec![
        arp_frame(Operation::Request, [10, 0, 0, 9], [10, 0, 0, 1]),
        arp_frame(Operation::Reply, [10, 0, 0, 9], [10, 0, 0, 1]),
        arp_frame(Operation::Request, [10, 0, 0, 9], [10, 0, 0, 2]),
        echo_frame(0),
        echo_frame(200),
        ip_frame(v4(9), v4(1), 17, &[0; 20], None),
        ip_frame(v6(9), v6(1), 58, &[128, 0, 0, 0, 0, 0, 0, 0], None),
        discovery(false),
        discovery(true),
        last_of(v4(9), v4(1)),
        last_of(v6(9), v6(1)),
    ];
    for (port, ack) in [(1000, iss.wrapping_add(1)), (1001, half.wrapping_add(1)), (1002, old.wrapping_add(2)), (9, 77)]
    {
        for (flags, len) in
            [(Flags::ACK, 300), (Flags::ACK, 0), (Flags::FIN | Flags::ACK, 5), (Flags::RST, 0), (Flags::SYN, 0)]
        {
            for vlan in [None, Some(5)] {
                let mut h = header(flags, (port, PORT), 301, ack);
                h.options.mss = flags.contains(Flags::SYN).then_some(1400);
                frames.push(tcp_frame(v4(9), v4(1), h, &vec![3; len], vlan));
                frames.push(tcp_frame(v6(9), v6(1), h, &vec![3; len], vlan));
            }
        }
    }
    frames.extend(rich_frames(rich));
    frames.extend(errors_about(&data[0]));
    frames
}

/// The port of a connection with every option: window scale, timestamps, SACK and ECN. It has data in flight.
const RICH: u16 = 1003;

/// Opens it: SND.UNA, and the frames with its data.
fn open_rich(shard: &mut Shard, app: &mut Counting, now: Instant) -> (u32, Vec<Vec<u8>>) {
    let mut syn = header(Flags::SYN | Flags::ECE | Flags::CWR, (RICH, PORT), 300, 0);
    let timestamps = Some(Timestamps { val: 50, ecr: 0 });
    syn.options =
        Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps, ..Options::default() };
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), syn, &[], None), app);
    let answer = drain(shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
    let una = answer.seq.value().wrapping_add(1);
    let echoed = answer.options.timestamps.expect("agreed on").val;
    let mut ack = header(Flags::ACK, (RICH, PORT), 301, una);
    ack.options.timestamps = Some(Timestamps { val: 51, ecr: echoed });
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), app);
    drain(shard, now);
    let conn = *app.accepted.last().expect("open");
    shard.call(now, |io| io.send(conn, &[1; 9000])).expect("open");
    (una, drain(shard, now))
}

/// What a peer may send on it: urgent pointers, marks, timestamps, blocks of any kind, options nobody knows.
fn rich_frames(una: u32) -> Vec<Vec<u8>> {
    let stamped = |flags: Flags, seq: u32, ack: u32, ms: u32| {
        let mut h = header(flags, (RICH, PORT), seq, ack);
        h.options.timestamps = Some(Timestamps { val: 52u32.wrapping_add(ms), ecr: ms });
        h
    };
    let mut frames = Vec::new();
    let mut add = |h, payload: &[u8]| frames.push(tcp_frame(v4(9), v4(1), h, payload, None));
    for urgent in [0, 1, 7, 0xffff] {
        let h = stamped(Flags::ACK | Flags::URG, 301, una, 0);
        add(Header { urgent, ..h }, &[5; 9]);
        add(Header { urgent, seq: SeqNum::new(290), ..h }, &[]);
    }
    for flags in [Flags::ECE, Flags::CWR, Flags::ECE | Flags::CWR] {
        add(stamped(Flags::ACK | flags, 301, una, 0), &[6; 3]);
    }
    for ms in [0, 1 << 31, (1 << 31) - 1, u32::MAX] {
        add(stamped(Flags::ACK, 301, una, ms), &[]);
        add(stamped(Flags::ACK, 400, una, ms), &[8; 40]);
    }
    let lists: [&[(u32, u32)]; 8] = [
        &[(1448, 2896)],
        &[(0, 1448), (2896, 4344)],
        &[(4344, 2896)],
        &[(0, u32::MAX)],
        &[(7000, 7000)],
        &[(1, 2), (3, 4), (5, 6)],
        &[(1 << 31, 1 << 30)],
        &[(20_000, 30_000), (8000, 9001)],
    ];
    for list in lists {
        let mut h = stamped(Flags::ACK, 301, una, 0);
        for (start, end) in list {
            h.options.sack.push(SeqNum::new(una.wrapping_add(*start)), SeqNum::new(una.wrapping_add(*end)));
        }
        add(h, &[]);
    }
    // Every kind, with no length, one too short, every one that fits, and one too long.
    for kind in [0u8, 1, 2, 3, 4, 5, 6, 8, 14, 19, 28, 29, 30, 34, 69, 253, 255] {
        for len in [0u8, 1, 2, 3, 4, 10, 18, 41, 255] {
            frames.push(raw_options(una, kind, len));
        }
    }
    frames
}

/// A segment with 40 bytes of options, of which the first is of this kind and claims this length.
fn raw_options(una: u32, kind: u8, len: u8) -> Vec<u8> {
    let mut frame = tcp_frame(v4(9), v4(1), header(Flags::ACK, (RICH, PORT), 301, una), &[1; 44], None);
    frame[34 + 12] = 15 << 4;
    frame[54..56].copy_from_slice(&[kind, len]);
    repair(&mut frame);
    frame
}

/// ICMP errors of every kind about a frame of ours, from a router, quoting as little and as much as there may be.
fn errors_about(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (3, 99), (4, 0), (5, 1), (11, 0), (12, 0)] {
        for mtu in [0u16, 68, 1400] {
            for quoted in [0, 20, 27, 28, 200] {
                let [high, low] = mtu.to_be_bytes();
                let body = &frame[14..frame.len().min(14 + quoted)];
                let mut message = vec![0; 8 + body.len()];
                icmpv4::emit(kind, code, [0, 0, high, low], body, &mut message);
                all.push(ip_frame([192, 0, 2, 77].into(), v4(1), 1, &message, None));
            }
        }
    }
    all
}

/// The peer asks for our IPv6 address, or tells its own.
fn discovery(tells: bool) -> Vec<u8> {
    let (core::net::IpAddr::V6(ours), core::net::IpAddr::V6(peer)) = (v6(1), v6(9)) else { unreachable!() };
    let (to, dst) = (ndp::group_mac(ndp::solicited_node(ours)), ndp::solicited_node(ours));
    let asks = Packet::Solicitation(ndp::Solicitation { target: ours, source_mac: Some(PEER) });
    let told =
        ndp::Advertisement { target: peer, target_mac: Some(PEER), router: false, solicited: true, overrides: true };
    match tells {
        true => ndp_frame(OURS, PEER, (peer, ours), Packet::Advertisement(told), None),
        false => ndp_frame(to, PEER, (peer, dst), asks, None),
    }
}

/// A segment for a port where nobody listens.
fn last_of(src: core::net::IpAddr, dst: core::net::IpAddr) -> Vec<u8> {
    tcp_frame(src, dst, header(Flags::ACK, (5, 81), 1, 2), &[1; 9], None)
}

fn check(shard: &mut Shard, now: Instant) -> Result<(), TestCaseError> {
    let frames = drain(shard, now).len();
    prop_assert!(frames < 2000);
    let counters = shard.counters();
    prop_assert_eq!(counters.frames_in, counters.frames_accounted(), "{:?}", counters);
    prop_assert!(shard.connections() <= 4 + 8 && shard.time_waits() <= 8);
    prop_assert!(shard.chunks_in_use() <= 512);
    Ok(())
}

#[test]
fn every_well_formed_frame_at_every_length() {
    let (_, _, _, frames) = world();
    for frame in frames {
        let (mut shard, mut app, now, _) = world();
        // Behind the headers one length is as another.
        for len in (0..=frame.len()).rev().filter(|len| *len < 120 || len % 16 == 0 || *len == frame.len()) {
            shard.on_frame(now, &frame[..len], &mut app);
            check(&mut shard, now).expect("accounted for");
        }
        // Trailing bytes, as short Ethernet frames have.
        let mut padded = frame.clone();
        padded.extend([0; 46]);
        shard.on_frame(now, &padded, &mut app);
        check(&mut shard, now).expect("accounted for");
    }
}

/// Repairs the checksums of a frame with TCP or ICMP, so that what was changed reaches the connection.
fn repair(frame: &mut [u8]) {
    let fold = |mut sum: u32| {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    };
    let words = |bytes: &[u8]| {
        bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum::<u32>()
    };
    let (at, end, protocol, addresses) = match &*frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 8, 0, 0x45, _, high, low, ..] if frame.len() >= 54 => {
            (34, 14 + usize::from(u16::from_be_bytes([*high, *low])), frame[23], 26..34)
        }
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, 0x60..=0x6f, _, _, _, high, low, ..] if frame.len() >= 62 => {
            (54, 54 + usize::from(u16::from_be_bytes([*high, *low])), frame[20], 22..54)
        }
        _ => return,
    };
    if end > frame.len() || end < at + 8 {
        return;
    }
    if at == 34 {
        frame[24..26].fill(0);
        let ip = fold(words(&frame[14..34]));
        frame[24..26].copy_from_slice(&ip.to_be_bytes());
    }
    let pseudo = words(&frame[addresses]) + u32::from(protocol) + (end - at) as u32;
    let (place, pseudo) = match protocol {
        6 if end >= at + 20 => (at + 16, pseudo),
        1 => (at + 2, 0),
        58 => (at + 2, pseudo),
        _ => return,
    };
    frame[place..place + 2].fill(0);
    let sum = fold(words(&frame[at..end]) + pseudo);
    frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}

#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Word(usize, u16),
    Cut(usize),
    Extend(usize),
    Repair,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0usize..80, 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (0usize..40, prop_oneof![any::<u16>(), Just(0u16), Just(0xffff)]).prop_map(|(at, v)| Change::Word(at, v)),
        1 => (0usize..400).prop_map(Change::Cut),
        1 => (0usize..60).prop_map(Change::Extend),
        4 => Just(Change::Repair),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_frames(picks in proptest::collection::vec((any::<usize>(), proptest::collection::vec(change(), 0..4), 0u64..400), 1..120)) {
        let (mut shard, mut app, mut now, frames) = world();
        for (pick, changes, ms) in picks {
            let mut frame = frames[pick % frames.len()].clone();
            for change in changes {
                match change {
                    Change::Flip(at, bit) => if let Some(byte) = frame.get_mut(at) { *byte ^= 1 << bit },
                    Change::Word(at, v) => if let Some(word) = frame.get_mut(2 * at..2 * at + 2) { word.copy_from_slice(&v.to_be_bytes()) },
                    Change::Cut(len) => frame.truncate(len),
                    Change::Extend(n) => frame.extend(vec![0; n]),
                    Change::Repair => repair(&mut frame),
                }
            }
            shard.on_frame(now, &frame, &mut app);
            check(&mut shard, now)?;
            let end = now + Duration::from_millis(ms);
            pass(&mut shard, &mut app, &mut now, end);
        }
        // When all that has run out, nothing is left but what the application holds.
        shard.abort_all(now);
        let end = now + Duration::from_secs(300);
        pass(&mut shard, &mut app, &mut now, end);
        prop_assert_eq!((shard.connections(), shard.time_waits(), shard.chunks_in_use()), (0, 0, 0));
    }

    #[test]
    fn arbitrary_bytes(inputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..60), kinds in any::<u8>()) {
        let (mut shard, mut app, now, _) = world();
        for (i, mut bytes) in inputs.into_iter().enumerate() {
            // Half of them get past the first look.
            if i % 2 == 0 && bytes.len() > 14 {
                bytes[..6].copy_from_slice(&OURS.0);
                let ethertype = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][usize::from(kinds) % 4];
                bytes[12..14].copy_from_slice(&ethertype);
            }
            shard.on_frame(now, &bytes, &mut app);
            check(&mut shard, now)?;
        }
    }
}

/// A number near one that means something: the left edge, the window's, or anything.
fn near() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..20_000, 2 => (0u32..3000).prop_map(u32::wrapping_neg), 1 => any::<u32>()]
}

prop_compose! {
    /// A segment as a peer of the connection with every option may send it; its numbers are offsets from what is in flight.
    fn any_segment()(
        bits in prop_oneof![3 => Just(Flags::ACK.bits()), 2 => any::<u8>().prop_map(|b| b | Flags::ACK.bits()), 1 => any::<u8>()],
        seq in near(),
        ack in near(),
        window in any::<u16>(),
        urgent in any::<u16>(),
        sack in proptest::collection::vec((near(), near()), 0..4),
        timestamps in proptest::option::weighted(0.9, (near(), near())),
        syn in proptest::option::weighted(0.1, (any::<u16>(), any::<u8>(), any::<bool>())),
        len in prop_oneof![Just(0usize), 1usize..1400],
        mark in 0u8..4,
    ) -> (Header, Vec<(u32, u32)>, usize, u8) {
        let timestamps = timestamps.map(|(val, ecr)| Timestamps { val: val.wrapping_add(52), ecr });
        let options = Options {
            mss: syn.map(|s| s.0),
            window_scale: syn.map(|s| s.1),
            sack_permitted: syn.is_some_and(|s| s.2),
            timestamps,
            ..Options::default()
        };
        let (seq, ack) = (SeqNum::new(seq.wrapping_add(301)), SeqNum::new(ack));
        let h = Header { src_port: RICH, dst_port: PORT, seq, ack, flags: Flags::from_bits(bits), window, urgent, options };
        (h, sack, len, mark)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A peer that is within its rights to send, and doesn't care what.
    #[test]
    fn a_peer_without_sense(segments in proptest::collection::vec((any_segment(), 0u64..400), 1..100)) {
        let (mut shard, mut app, mut now, _) = world();
        let mut bare = self::shard(|_| {});
        let (una, _) = open_rich(&mut bare, &mut Counting::default(), now);
        for ((mut header, sack, len, mark), ms) in segments {
            header.ack += una;
            header.options.sack = SackBlocks::default();
            for (start, end) in sack {
                header.options.sack.push(SeqNum::new(una) + start, SeqNum::new(una) + end);
            }
            let mut frame = tcp_frame(v4(9), v4(1), header, &vec![7; len], None);
            frame[15] |= mark;
            repair(&mut frame);
            shard.on_frame(now, &frame, &mut app);
            check(&mut shard, now)?;
            let end = now + Duration::from_millis(ms);
            pass(&mut shard, &mut app, &mut now, end);
        }
        shard.abort_all(now);
        let end = now + Duration::from_secs(300);
        pass(&mut shard, &mut app, &mut now, end);
        prop_assert_eq!((shard.connections(), shard.time_waits(), shard.chunks_in_use()), (0, 0, 0));
    }
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let (mut shard, mut app, now, frames) = world();
    for n in 0..20_000usize {
        shard.on_frame(now, &frames[n % frames.len()], &mut app);
    }
    assert_eq!(shard.counters().frames_in, shard.counters().frames_accounted());
    assert!(shard.connections() <= 12 && shard.chunks_in_use() <= 512);
    assert!(drain(&mut shard, now).len() <= 1200);
}
