//! Single requirements of RFC 9293 on addresses, ports and what IP hands up, frame by frame.

mod support;

use core::net::{IpAddr, SocketAddr};
use stack::{ConnectError, Instant, ListenError, LocalAddress, Refusal, Shard, State};
use std::collections::BTreeSet;
use support::*;
use wire::{
    eth, icmpv4, ipv4, ipv6,
    tcp::{Flags, Header, Segment},
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The addresses, the header and the payload's length of a TCP frame of either family.
fn parsed(frame: &[u8]) -> Option<(IpAddr, IpAddr, Header, usize)> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let (src, dst, protocol, bytes): (IpAddr, IpAddr, u8, &[u8]) = match link.ethertype {
        eth::ETHERTYPE_IPV4 => {
            let (header, bytes) = ipv4::Header::parse(packet).ok()?;
            (header.src.into(), header.dst.into(), header.protocol, bytes)
        }
        eth::ETHERTYPE_IPV6 => {
            let (header, bytes) = ipv6::Header::parse(packet).ok()?;
            (header.src.into(), header.dst.into(), header.next_header, bytes)
        }
        _ => return None,
    };
    let segment = (protocol == 6).then(|| Segment::parse(bytes, src, dst).ok()).flatten()?;
    Some((src, dst, segment.header, segment.payload.len()))
}

fn sent(shard: &mut Shard, now: Instant) -> Vec<(IpAddr, IpAddr, Header, usize)> {
    drain(shard, now).iter().filter_map(|frame| parsed(frame)).collect()
}

/// MUST-57: nobody hears of it, on whatever port.
#[test]
fn a_syn_to_a_broadcast_or_multicast_address_is_dropped_silently() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    shard.listen(SocketAddr::new(ip("0.0.0.0"), 81), 4).expect("free");
    shard.listen(SocketAddr::new(ip("::"), 81), 4).expect("free");
    for dst in ["255.255.255.255", "10.0.0.255", "224.0.0.1", "239.1.2.3", "ff02::1", "ff05::2"] {
        let src = if ip(dst).is_ipv4() { v4(9) } else { v6(9) };
        for port in [PORT, 81, 82] {
            let syn = tcp_frame(src, ip(dst), header(Flags::SYN, (1, port), 5, 0), &[], None);
            shard.on_frame(now, &syn, &mut app);
        }
        assert!(drain(&mut shard, now).is_empty(), "{dst}");
    }
    let refused = |reason| shard.counters().refusals(reason);
    assert_eq!((refused(Refusal::NotUnicast), refused(Refusal::NotOurAddress), shard.connections()), (15, 3, 0));
}

/// MUST-55: it neither slows the connection down nor draws an answer.
#[test]
fn source_quench_is_dropped_silently() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let iss = open(&mut shard, &mut app, now, 1000, 5);
    let conn = app.accepted[0];
    shard.call(now, |io| io.send(conn, &[1; 100])).expect("open");
    let frames = drain(&mut shard, now);
    let before = shard.call(now, |io| io.info(conn)).expect("alive");
    // It quotes the packet that is in flight: its IP header and eight bytes.
    let mut message = vec![0; icmpv4::HEADER_LEN];
    message.extend(&frames[0][14..14 + 28]);
    icmpv4::emit_in_place(4, 0, [0; 4], &mut message);
    shard.on_frame(now, &ip_frame(v4(9), v4(1), 1, &message, None), &mut app);
    assert!(drain(&mut shard, now).is_empty());
    assert_eq!(shard.call(now, |io| io.info(conn)), Ok(before));
    let ack = header(Flags::ACK, (1000, PORT), 6, iss.wrapping_add(101));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), &mut app);
    assert_eq!(shard.call(now, |io| io.info(conn)).expect("alive").send_queue_bytes, 0);
}

/// MUST-14, MUST-15, MUST-67, SHLD-5: of a frame of 1,500 bytes IPv4 leaves 1,460 to TCP's data, IPv6 1,440; a peer that
/// says nothing is sent 536 and 1,220.
#[test]
fn the_mss_of_each_family_and_its_default() {
    for (src, dst, announced, assumed) in [(v4(9), v4(1), 1460, 536), (v6(9), v6(1), 1440, 1220)] {
        let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        shard.on_frame(now, &tcp_frame(src, dst, header(Flags::SYN, (1, PORT), 5, 0), &[], None), &mut app);
        let (_, _, syn_ack, _) = sent(&mut shard, now)[0];
        assert_eq!(syn_ack.options.mss, Some(announced));
        let ack = header(Flags::ACK, (1, PORT), 6, syn_ack.seq.value().wrapping_add(1));
        shard.on_frame(now, &tcp_frame(src, dst, ack, &[], None), &mut app);
        shard.call(now, |io| io.send(app.accepted[0], &[1; 4000])).expect("open");
        let lengths: Vec<usize> = sent(&mut shard, now).iter().map(|(.., len)| *len).collect();
        assert_eq!(lengths[..2], [assumed, assumed], "{lengths:?}");
        shard.call(now, |io| io.connect(SocketAddr::new(src, 7))).expect("begun");
        assert_eq!(sent(&mut shard, now).last().expect("a SYN").2.options.mss, Some(announced));
    }
}

/// MUST-45, RFC9293-3.9.1.1-a: a listener on all addresses answers from the one that was addressed, and goes on from it.
#[test]
fn a_connection_keeps_the_address_that_was_addressed() {
    let second = LocalAddress { ip: v4(2), prefix_len: 24, owned: true };
    let (mut shard, mut app, now) = (shard(|c| c.addresses.push(second)), Counting::default(), Instant::ZERO);
    shard.listen(SocketAddr::new(ip("0.0.0.0"), 81), 4).expect("free");
    for (n, local) in [v4(1), v4(2)].into_iter().enumerate() {
        let syn = tcp_frame(v4(9), local, header(Flags::SYN, (1, 81), 5, 0), &[], None);
        shard.on_frame(now, &syn, &mut app);
        let (from, _, syn_ack, _) = sent(&mut shard, now)[0];
        let ack = header(Flags::ACK, (1, 81), 6, syn_ack.seq.value().wrapping_add(1));
        shard.on_frame(now, &tcp_frame(v4(9), local, ack, &[], None), &mut app);
        let conn = app.accepted[n];
        shard.call(now, |io| io.send(conn, b"x")).expect("open");
        let (later, ..) = sent(&mut shard, now)[0];
        shard.call(now, |io| io.abort(conn)).expect("open");
        let (last, ..) = sent(&mut shard, now)[0];
        assert_eq!((from, later, last), (local, local, local));
    }
}

/// MUST-44, MUST-45: the local address of an active open is there in its first SYN, and stays.
#[test]
fn an_active_open_has_an_address_of_the_peers_family() {
    for (local, remote) in [(v4(1), v4(9)), (v6(1), v6(9))] {
        let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        let conn = shard.call(now, |io| io.connect(SocketAddr::new(remote, 7))).expect("begun");
        let (src, dst, syn, _) = sent(&mut shard, now)[0];
        assert_eq!((src, dst, syn.flags), (local, remote, Flags::SYN));
        let answer = header(Flags::SYN | Flags::ACK, (7, syn.src_port), 5, syn.seq.value().wrapping_add(1));
        shard.on_frame(now, &tcp_frame(remote, local, answer, &[], None), &mut app);
        shard.call(now, |io| io.send(conn, b"x")).expect("open");
        let segments = sent(&mut shard, now);
        assert!(!segments.is_empty() && segments.iter().all(|(src, dst, ..)| (*src, *dst) == (local, remote)));
    }
}

/// MUST-43, MUST-45: an active open from the address it was given, and from no other.
#[test]
fn an_active_open_may_name_its_local_address() {
    let second = LocalAddress { ip: v4(2), prefix_len: 24, owned: true };
    let (mut shard, now) = (shard(|c| c.addresses.push(second)), Instant::ZERO);
    let remote = SocketAddr::new(v4(9), 7);
    for local in [v4(2), v4(1)] {
        shard.call(now, |io| io.connect_from(local, remote)).expect("begun");
        let (src, dst, syn, _) = sent(&mut shard, now)[0];
        assert_eq!((src, dst, syn.flags), (local, v4(9), Flags::SYN));
    }
    for local in [v4(3), v6(1), ip("0.0.0.0"), ip("127.0.0.1")] {
        assert_eq!(shard.call(now, |io| io.connect_from(local, remote)), Err(ConnectError::NotOurs), "{local}");
    }
    assert!(sent(&mut shard, now).is_empty());
}

/// MUST-41: a second listener on the port is refused, and the connection does not notice.
#[test]
fn a_passive_open_leaves_connections_alone() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let iss = open(&mut shard, &mut app, now, 1000, 5);
    assert_eq!(shard.listen(SocketAddr::new(v4(1), PORT), 4), Err(ListenError::InUse));
    assert_eq!(shard.listen(SocketAddr::new(ip("0.0.0.0"), PORT), 4), Err(ListenError::InUse));
    shard.listen(SocketAddr::new(v4(1), 1000), 4).expect("another port");
    let data = header(Flags::ACK, (1000, PORT), 6, iss.wrapping_add(1));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), data, &[7; 4], None), &mut app);
    assert_eq!((app.bytes, sent(&mut shard, now)[0].2.ack.value(), shard.connections()), (4, 10, 1));
}

/// MUST-42: in SYN-SENT, and in SYN-RECEIVED by a SYN that crossed; the listener takes others meanwhile.
#[test]
fn a_port_can_be_listened_on_while_a_connection_from_it_opens() {
    for crossing in [false, true] {
        let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        let conn = shard.call(now, |io| io.connect(SocketAddr::new(v4(9), 7))).expect("begun");
        let (_, _, syn, _) = sent(&mut shard, now)[0];
        let (port, next) = (syn.src_port, syn.seq.value().wrapping_add(1));
        if crossing {
            let theirs = header(Flags::SYN, (7, port), 5, 0);
            shard.on_frame(now, &tcp_frame(v4(9), v4(1), theirs, &[], None), &mut app);
            sent(&mut shard, now);
        }
        let expected = if crossing { State::SynReceived } else { State::SynSent };
        assert_eq!(shard.call(now, |io| io.info(conn)).expect("alive").state, expected);
        shard.listen(SocketAddr::new(v4(1), port), 4).expect("free");
        open_at(&mut shard, &mut app, now, port);
        assert_eq!(app.accepted.len(), 1);
        let answer = header(Flags::SYN | Flags::ACK, (7, port), 5, next);
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), answer, &[], None), &mut app);
        assert_eq!(shard.call(now, |io| io.info(conn)).expect("alive").state, State::Established);
    }
}

/// A peer's connection to `port`.
fn open_at(shard: &mut Shard, app: &mut Counting, now: Instant, port: u16) {
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), header(Flags::SYN, (1000, port), 5, 0), &[], None), app);
    let (_, _, syn_ack, _) = sent(shard, now)[0];
    let ack = header(Flags::ACK, (1000, port), 6, syn_ack.seq.value().wrapping_add(1));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), app);
}

/// MUST-50, MUST-51, MUST-52, MUST-53, SHLD-24, A17: options of a packet are skipped; a source route among them leads
/// nowhere, the answer goes straight to the sender and has none.
#[test]
fn ip_options_and_source_routes_are_skipped() {
    let timestamp: &[u8] = &[68, 8, 5, 0, 0, 0, 0, 0];
    let loose: &[u8] = &[131, 7, 8, 10, 0, 0, 77, 0]; // by 10.0.0.77, and its pointer behind it: this is where it ends
    for options in [timestamp, loose] {
        let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        let mut frame = tcp_frame(v4(9), v4(1), header(Flags::SYN, (1, PORT), 5, 0), &[], None);
        frame.splice(34..34, options.iter().copied());
        frame[14] += 2;
        frame[17] += 8;
        frame[24..26].fill(0);
        let sum: u32 = frame[14..42].chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
        let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("one carry");
        frame[24..26].copy_from_slice(&(!folded).to_be_bytes());
        shard.on_frame(now, &frame, &mut app);
        let out = drain(&mut shard, now);
        assert_eq!((out.len(), out[0][14]), (1, 0x45), "{:?}", shard.counters());
        let (_, dst, syn_ack, _) = parsed(&out[0]).expect("TCP");
        assert_eq!((dst, syn_ack.flags), (v4(9), Flags::SYN | Flags::ACK));
    }
}

/// RFC5927-4.2-a: nobody knows the first port without the key, and those that follow are all of the range.
#[test]
fn ephemeral_ports_depend_on_a_secret() {
    let first = |key: u8, to: u8| {
        let (mut shard, now) = (shard(|c| c.secrets = [[key; 16]; 4]), Instant::ZERO);
        shard.on_neighbour(v4(to), Some(PEER));
        shard.call(now, |io| io.connect(SocketAddr::new(v4(to), 7))).expect("begun");
        sent(&mut shard, now)[0].2.src_port
    };
    let ports: BTreeSet<u16> = (0..100).map(|key| first(key, 9)).collect();
    assert!(ports.len() > 90 && ports.iter().all(|port| *port >= 61_000), "{} different of 100", ports.len());
    let ports: BTreeSet<u16> = (10..110).map(|to| first(1, to)).collect();
    assert!(ports.len() > 90, "{} different of 100", ports.len());
}
