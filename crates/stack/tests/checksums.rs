//! Checksums that are left to who sends the frames.

mod support;

use core::net::IpAddr;
use stack::{Instant, Shard};
use support::*;
use wire::tcp::Flags;

/// What a device does (linux/Documentation/networking/checksum-offloads.rst), with nothing of the stack's.
fn finish(frame: &mut [u8], (start, offset): (u16, u16)) {
    let (start, field) = (usize::from(start), usize::from(start + offset));
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = frame[start..].chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let checksum = !u16::try_from(sum).unwrap();
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// All there is to send, finished where it was not; how many were not.
fn finished(shard: &mut Shard) -> (Vec<Vec<u8>>, usize) {
    let (mut frames, mut left) = (Vec::new(), 0);
    let mut buffer = vec![0xee; shard.frame_bytes()];
    while let Some(len) = shard.poll_transmit(Instant::ZERO, &mut buffer) {
        let frame = &mut buffer[..len];
        if let Some(at) = shard.checksum_left() {
            let before = frame.to_vec();
            finish(frame, at);
            assert_ne!(before, frame, "there was nothing left to do");
            left += 1;
        }
        frames.push(frame.to_vec());
    }
    (frames, left)
}

/// The frames of a conversation: handshake, data of each length from nothing to a whole segment and more, a reset, an answer
/// to a ping; and how many had their checksum left.
fn conversation(leave: bool, peer: IpAddr, vlan: Option<u16>) -> (Vec<Vec<u8>>, usize) {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    meet(&mut shard, Instant::ZERO, vlan);
    shard.leave_checksums(leave);
    let (mut all, mut left) = (Vec::new(), 0);
    let mut collect = |shard: &mut Shard| {
        let (frames, count) = finished(shard);
        all.extend(frames);
        left += count;
    };
    let local = if peer.is_ipv4() { v4(1) } else { v6(1) };
    let now = Instant::ZERO;
    let hear = |shard: &mut Shard, app: &mut Counting, header, payload: &[u8]| {
        shard.on_frame(now, &tcp_frame(peer, local, header, payload, vlan), app);
    };
    hear(&mut shard, &mut app, header(Flags::SYN, (1000, PORT), 300, 0), &[]);
    let mut buffer = vec![0; shard.frame_bytes()];
    let len = shard.poll_transmit(now, &mut buffer).expect("a SYN-ACK");
    assert_eq!(shard.checksum_left(), None, "without data");
    let at = if vlan.is_some() { 18 } else { 14 } + if peer.is_ipv4() { 20 } else { 40 };
    let iss = u32::from_be_bytes(buffer[at + 4..at + 8].try_into().unwrap());
    assert!(len >= at + 20);
    let mut acked = iss.wrapping_add(1);
    hear(&mut shard, &mut app, header(Flags::ACK, (1000, PORT), 301, acked), &[]);
    let conn = app.accepted[0];
    for len in [1, 2, 3, 4, 7, 8, 31, 32, 33, 500, 1400, 3001] {
        let data: Vec<u8> = (0..len).map(|n| u8::try_from((n * 7 + len) % 251).unwrap()).collect();
        let sent = shard.call(now, |io| io.send(conn, &data)).expect("open");
        assert_eq!(sent, data.len());
        collect(&mut shard);
        acked = acked.wrapping_add(u32::try_from(len).unwrap());
        hear(&mut shard, &mut app, header(Flags::ACK, (1000, PORT), 301, acked), &[]);
    }
    hear(&mut shard, &mut app, header(Flags::ACK, (1001, 99), 300, 5), &[]);
    collect(&mut shard);
    shard.on_frame(now, &echo_frame(33), &mut app);
    collect(&mut shard);
    (all, left)
}

/// MUST-2, RFC9293-3.1-a: what leaves is the same, byte for byte, whether the stack computes the checksum or a device does; of
/// both families, with and without a VLAN tag. Segments without data, resets and ICMP are finished in any case.
#[test]
fn what_a_device_finishes_is_what_the_stack_computes() {
    for peer in [v4(9), v6(9)] {
        for vlan in [None, Some(5)] {
            let (computed, none) = conversation(false, peer, vlan);
            let (offloaded, left) = conversation(true, peer, vlan);
            assert_eq!(none, 0);
            // The peer names no MSS (RFC 9293 section 3.7.1). A segment for each of ten lengths up to 500, and those of the
            // other two; the reset and the pong are finished.
            let mss = if peer.is_ipv4() { 536_usize } else { 1220 };
            let segments = 10 + 1400_usize.div_ceil(mss) + 3001_usize.div_ceil(mss);
            assert_eq!((left, offloaded.len()), (segments, segments + 2));
            assert_eq!(computed, offloaded);
        }
    }
}
