//! Whatever arrives: no panic, every frame is accounted for exactly once, and memory stays bounded.
#![allow(clippy::cast_possible_truncation)]

mod support;

use proptest::prelude::*;
use stack::{Duration, Instant, Shard};
use support::*;
use wire::{
    arp::Operation,
    ndp::{self, Packet},
    tcp::Flags,
};

/// A shard with a listener, an open connection from port 1000, one in CLOSE-WAIT, and one in TIME-WAIT.
fn world() -> (Shard, Counting, Instant, Vec<Vec<u8>>) {
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
    // Well-formed frames of every kind, for each of them.
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
    (shard, app, now, frames)
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
    prop_assert!(shard.connections() <= 3 + 8 && shard.time_waits() <= 8);
    prop_assert!(shard.chunks_in_use() <= 512);
    Ok(())
}

#[test]
fn every_well_formed_frame_at_every_length() {
    let (_, _, _, frames) = world();
    for frame in frames {
        let (mut shard, mut app, now, _) = world();
        for len in (0..=frame.len()).rev() {
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

/// Repairs the checksums of an IPv4 TCP frame, so that what was changed reaches the connection.
fn repair(frame: &mut [u8]) {
    if frame.len() < 54 || frame[12..14] != [8, 0] || frame[14] != 0x45 || frame[23] != 6 {
        return;
    }
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if total < 40 || frame.len() < 14 + total {
        return;
    }
    let fold = |mut sum: u32| {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    };
    let words = |bytes: &[u8]| {
        bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum::<u32>()
    };
    frame[24..26].fill(0);
    let ip = fold(words(&frame[14..34]));
    frame[24..26].copy_from_slice(&ip.to_be_bytes());
    frame[50..52].fill(0);
    let tcp = fold(words(&frame[26..34]) + 6 + (total as u32 - 20) + words(&frame[34..14 + total]));
    frame[50..52].copy_from_slice(&tcp.to_be_bytes());
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

#[test]
fn a_flood_of_requests_is_bounded() {
    let (mut shard, mut app, now, frames) = world();
    for n in 0..20_000usize {
        shard.on_frame(now, &frames[n % frames.len()], &mut app);
    }
    assert_eq!(shard.counters().frames_in, shard.counters().frames_accounted());
    assert!(shard.connections() <= 11 && shard.chunks_in_use() <= 512);
    assert!(drain(&mut shard, now).len() <= 1200);
}
