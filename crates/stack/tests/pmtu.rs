//! Packets that are too big for the path, in frames: RFC 1191, RFC 8201, RFC 5927 section 7.2.

mod support;

use core::net::IpAddr;
use stack::{ConnId, Duration, Instant, Io, Refusal, Shard};
use support::*;
use wire::{
    eth, icmpv4, icmpv6, ipv4, ipv6,
    tcp::{Flags, Options, Segment},
};

/// A router's frame: `quoted`, a frame of ours, did not fit into `mtu` bytes.
fn too_big(mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    if quoted[12..14] == [8, 0] {
        let mut message = vec![0; 8 + 28];
        icmpv4::emit(3, 4, [0, 0, high, low], &quoted[14..42], &mut message);
        ip_frame(IpAddr::from([192, 0, 2, 77]), v4(1), 1, &message, None)
    } else {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (v6(77), v6(1)) else { unreachable!() };
        let mut message = vec![0; 8 + 48];
        icmpv6::emit(2, 0, [0, 0, high, low], &quoted[14..62], src, dst, &mut message);
        ip_frame(src.into(), dst.into(), 58, &message, None)
    }
}

/// The bytes of the IP packets in frames that carry data, and DF of IPv4 (of IPv6 it always holds).
fn packets(frames: &[Vec<u8>]) -> Vec<usize> {
    let dont_fragment = |frame: &[u8]| frame[12..14] != [8, 0] || frame[20] & 0x40 != 0;
    assert!(frames.iter().all(|f| dont_fragment(f)), "DF is always set");
    frames.iter().map(|f| f.len() - 14).filter(|len| *len > 80).collect()
}

/// Opens a connection from the peer's `port`, with an MSS of 1,460 or 1,440 and a wide window, that sends `n` octets; the
/// frames.
fn sender(shard: &mut Shard, app: &mut Counting, now: Instant, peer: IpAddr, port: u16, n: usize) -> Vec<Vec<u8>> {
    let local = if peer.is_ipv4() { v4(1) } else { v6(1) };
    let mss = if peer.is_ipv4() { 1460 } else { 1440 };
    let mut syn = header(Flags::SYN, (port, PORT), 300, 0);
    syn.options = Options { mss: Some(mss), ..Options::default() };
    shard.on_frame(now, &tcp_frame(peer, local, syn, &[], None), app);
    let frame = drain(shard, now).pop().expect("a SYN-ACK");
    let iss = segment(&frame).expect("TCP").0;
    let mut ack = header(Flags::ACK, (port, PORT), 301, iss.wrapping_add(1));
    ack.window = 60_000;
    shard.on_frame(now, &tcp_frame(peer, local, ack, &[], None), app);
    let conn: ConnId = *app.accepted.last().expect("accepted");
    let send = |io: &mut Io<'_>| io.set_nodelay(conn, true).and_then(|()| io.send(conn, &vec![1; n]));
    assert_eq!(shard.call(now, send), Ok(n));
    drain(shard, now)
}

/// SEG.SEQ and the payload's length.
fn segment(frame: &[u8]) -> Option<(u32, usize)> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let (src, dst, payload): (IpAddr, IpAddr, _) = if link.ethertype == eth::ETHERTYPE_IPV4 {
        let (ip, payload) = ipv4::Header::parse(packet).ok()?;
        (ip.src.into(), ip.dst.into(), payload)
    } else {
        let (ip, payload) = ipv6::Header::parse(packet).ok()?;
        (ip.src.into(), ip.dst.into(), payload)
    };
    let segment = Segment::parse(payload, src, dst).ok()?;
    Some((segment.header.seq.value(), segment.payload.len()))
}

/// RFC9293-3.7.2-a, RFC7323-5.7-a: DF is set, and what a router asks for is sent, again and from then on; a new connection to
/// the same peer begins with it, one to another peer does not.
#[test]
fn what_a_router_says_is_sent_and_remembered() {
    for (peer, other, mtu) in [(v4(9), v4(8), 1400), (v6(9), v6(8), 1300)] {
        let (mut shard, mut app) = (shard(|_| {}), Counting::default());
        shard.on_neighbour(other, Some(PEER));
        let now = Instant::ZERO;
        let sent = sender(&mut shard, &mut app, now, peer, 1000, 2000);
        assert_eq!(packets(&sent)[0], 1500);
        shard.on_frame(now, &too_big(mtu, &sent[0]), &mut app);
        let again = drain(&mut shard, now);
        assert_eq!(
            (packets(&again)[0], segment(&again[0]).expect("TCP").0),
            (usize::from(mtu), segment(&sent[0]).expect("TCP").0)
        );
        // The rest of the 2,000 bytes fitted, and is not sent again.
        let first = segment(&sent[0]).expect("TCP").1;
        assert_eq!(again.iter().map(|f| segment(f).expect("TCP").1).sum::<usize>(), first);
        assert_eq!(packets(&sender(&mut shard, &mut app, now, peer, 1001, 2000))[0], usize::from(mtu));
        assert_eq!(packets(&sender(&mut shard, &mut app, now, other, 1002, 2000))[0], 1500);
        // Ten minutes later it is forgotten.
        let later = now + Duration::from_secs(600);
        assert_eq!(packets(&sender(&mut shard, &mut app, later, peer, 1003, 2000))[0], 1500);
        assert_eq!(shard.counters().icmp_in, 1);
    }
}

/// An active open begins with it as well.
#[test]
fn an_active_open_begins_with_what_is_known() {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    let now = Instant::ZERO;
    let sent = sender(&mut shard, &mut app, now, v4(9), 1000, 2000);
    shard.on_frame(now, &too_big(1400, &sent[0]), &mut app);
    drain(&mut shard, now);
    app.connect = Some((v4(9), 90).into());
    shard.call(now, |io| stack::App::on_turn(&mut app, io));
    let syn = drain(&mut shard, now).pop().expect("a SYN");
    let (iss, _) = segment(&syn).expect("TCP");
    // MUST-67: what we announce is our link's.
    let (ours, _) = segment_of(&syn).expect("TCP");
    assert_eq!(ours.options.mss, Some(1460));
    let mut answer = header(Flags::SYN | Flags::ACK, (90, ours.src_port), 300, iss.wrapping_add(1));
    answer.window = 60_000;
    answer.options = Options { mss: Some(1460), ..Options::default() };
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), answer, &[], None), &mut app);
    let conn = app.conn.expect("connecting");
    shard.call(now, |io| io.send(conn, &[1; 3000])).expect("open");
    assert_eq!(packets(&drain(&mut shard, now))[0], 1400);
}

/// RFC 1191 section 5: a router that does not say how much means the next size below; RFC 8201 section 4: less than 1,280 is
/// discarded; and for IPv4 nothing below 552 is believed.
#[test]
fn odd_sizes() {
    for (peer, mtu, expected) in [
        (v4(9), 0, Some(1492)),
        (v4(9), 68, Some(552)),
        (v6(9), 1279, None),
        (v6(9), 0, None),
        (v6(9), 1280, Some(1280)),
    ] {
        let (mut shard, mut app) = (shard(|_| {}), Counting::default());
        let sent = sender(&mut shard, &mut app, Instant::ZERO, peer, 1000, 2000);
        shard.on_frame(Instant::ZERO, &too_big(mtu, &sent[0]), &mut app);
        let again = packets(&drain(&mut shard, Instant::ZERO));
        assert_eq!(again.first().copied(), expected, "{peer} {mtu}");
        let refused = shard.counters().refusals(Refusal::Icmp);
        assert_eq!(refused, u64::from(expected.is_none()), "{peer} {mtu}");
        assert_eq!(shard.counters().frames_accounted(), shard.counters().frames_in);
    }
}

/// What our own link carries is no router's word: less than 1,280 bytes of IPv6 hold as well.
#[test]
fn no_more_is_sent_than_our_link_carries() {
    for peer in [v4(9), v6(9)] {
        let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        assert_eq!(packets(&sender(&mut shard, &mut app, now, peer, 1000, 4000))[0], 1500);
        shard.set_mtu(now, 800);
        let again = packets(&drain(&mut shard, now));
        assert!(!again.is_empty() && again.iter().all(|len| *len <= 800), "{again:?}");
    }
}

/// Nor if it carried more when the peer's SYN was answered.
#[test]
fn a_link_that_shrinks_during_a_handshake_is_not_overstepped() {
    for (peer, local) in [(v4(9), v4(1)), (v6(9), v6(1))] {
        let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        let mut syn = header(Flags::SYN, (1000, PORT), 300, 0);
        syn.options = Options { mss: Some(1440), ..Options::default() };
        shard.on_frame(now, &tcp_frame(peer, local, syn, &[], None), &mut app);
        let iss = segment(&drain(&mut shard, now)[0]).expect("a SYN-ACK").0;
        shard.set_mtu(now, 800);
        let ack = header(Flags::ACK, (1000, PORT), 301, iss.wrapping_add(1));
        shard.on_frame(now, &tcp_frame(peer, local, ack, &[], None), &mut app);
        assert_eq!(shard.call(now, |io| io.send(app.accepted[0], &[1; 3000])), Ok(3000));
        assert_eq!(packets(&drain(&mut shard, now))[0], 800);
    }
}
