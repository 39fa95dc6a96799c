//! Whose frames are refused, whom nobody connects to, and neighbours that somebody invents: what was once wrong.
#![allow(clippy::cast_possible_truncation)]

mod support;

use core::net::{IpAddr, SocketAddr};
use stack::{ConnectError, Duration, Instant, LocalAddress, MacAddr, Refusal, Route, Shard, ShardConfig};
use support::*;
use wire::{arp::Operation, icmpv4, tcp::Flags};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn knock(shard: &mut Shard, app: &mut Counting, now: Instant, src: IpAddr, dst: IpAddr) -> Vec<Vec<u8>> {
    shard.on_frame(now, &tcp_frame(src, dst, header(Flags::SYN, (1, PORT), 5, 0), &[], None), app);
    drain(shard, now)
}

/// MUST-63, RFC1122-3.2.1.3-a.
#[test]
fn ipv4_within_ipv6_and_loopback_are_nobodys() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    shard.listen(SocketAddr::new(ip("::"), 81), 4).expect("free");
    let bad = [("::ffff:10.0.0.5", v6(1)), ("::ffff:10.0.0.1", v6(1)), ("::1", v6(1)), ("127.0.0.1", v4(1))];
    for (n, (src, dst)) in bad.into_iter().enumerate() {
        for port in [PORT, 81, 82] {
            let syn = tcp_frame(ip(src), dst, header(Flags::SYN, (1, port), 5, 0), &[], None);
            shard.on_frame(now, &syn, &mut app);
        }
        assert!(drain(&mut shard, now).is_empty(), "{src}");
        assert_eq!(shard.counters().refusals(Refusal::BadSource), 3 * (n as u64 + 1), "{src}");
    }
    for dst in ["::ffff:10.0.0.1", "::1", "::ffff:10.0.0.5"] {
        assert!(knock(&mut shard, &mut app, now, v6(9), ip(dst)).is_empty(), "{dst}");
    }
    assert_eq!((shard.connections(), shard.counters().frames_accounted()), (0, shard.counters().frames_in));
}

/// MUST-63, RFC1122-3.2.1.3-a: nor has a station the broadcast address of its network, or one of "this network". Who is answered
/// there would answer everybody.
#[test]
fn a_broadcast_address_is_nobodys_source() {
    let everywhere = Route::new(ip("0.0.0.0"), 0, Some(v4(9)));
    let (mut shard, mut app, now) = (shard(|c| c.routes = vec![everywhere]), Counting::default(), Instant::ZERO);
    for (n, src) in ["10.0.0.255", "255.255.255.255", "0.0.0.0", "0.1.2.3"].into_iter().enumerate() {
        assert!(knock(&mut shard, &mut app, now, ip(src), v4(1)).is_empty(), "{src}");
        let mut message = vec![5; icmpv4::HEADER_LEN];
        icmpv4::emit_in_place(icmpv4::ECHO_REQUEST, 0, [1, 2, 3, 4], &mut message);
        let echo = ip_frame(ip(src), v4(1), 1, &message, None);
        shard.on_frame(now, &echo, &mut app);
        assert!(drain(&mut shard, now).is_empty(), "{src}");
        assert_eq!(shard.counters().refusals(Refusal::BadSource), 2 * (n as u64 + 1), "{src}");
    }
    assert_eq!((shard.half_open(), shard.counters().echo_in), (0, 0));
    // Of another network it may be a host, and of two stations alone (RFC 3021).
    assert_eq!(knock(&mut shard, &mut app, now, ip("10.0.1.255"), v4(1)).len(), 1);
    let of_two = LocalAddress { ip: v4(2), prefix_len: 31, owned: true };
    let mut two = Shard::new(ShardConfig::new(OURS, 1500, vec![of_two], [[7; 16]; 4]), now).expect("valid");
    two.listen(SocketAddr::new(v4(2), PORT), 4).expect("free");
    assert_eq!(knock(&mut two, &mut app, now, v4(3), v4(2)).len(), 1);
}

#[test]
fn a_unicast_packet_in_a_broadcast_frame_is_refused() {
    // RFC 1122 section 3.3.6: the sender would learn of every station that answers.
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    for (n, dst) in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1]].into_iter().enumerate() {
        for port in [PORT, 81] {
            let mut frame = tcp_frame(v4(9), v4(1), header(Flags::SYN, (1, port), 5, 0), &[], None);
            frame[..6].copy_from_slice(&dst);
            shard.on_frame(now, &frame, &mut app);
        }
        assert!(drain(&mut shard, now).is_empty());
        assert_eq!(shard.counters().refusals(Refusal::NotUnicast), 2 * (n as u64 + 1));
    }
    assert_eq!(shard.connections(), 0);
}

/// IEEE 802.3: a group is no station, and what answers it would go to all of the group.
#[test]
fn a_frame_from_a_group_is_refused() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let ack = tcp_frame(v4(9), v4(1), header(Flags::ACK, (1, 81), 5, 5), &[], None);
    let syn = tcp_frame(v6(9), v6(1), header(Flags::SYN, (1, PORT), 5, 0), &[], Some(5));
    let arp = arp_frame(Operation::Request, [10, 0, 0, 9], [10, 0, 0, 1]);
    for (n, frame) in [ack, syn, echo_frame(10), arp].into_iter().enumerate() {
        for src in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            let mut frame = frame.clone();
            frame[6..12].copy_from_slice(&src);
            shard.on_frame(now, &frame, &mut app);
            assert!(drain(&mut shard, now).is_empty());
        }
        assert_eq!(shard.counters().refusals(Refusal::BadSource), 2 * (n as u64 + 1));
        shard.on_frame(now, &frame, &mut app);
        assert_eq!(drain(&mut shard, now).len(), 1, "a station is answered");
    }
    assert_eq!(shard.counters().frames_accounted(), shard.counters().frames_in);
}

/// RFC 826: "Send the packet to the (new) target hardware address". The frame may be from who passed the question on.
#[test]
fn an_arp_answer_goes_to_the_station_that_asked() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let mut asks = arp_frame(Operation::Request, [10, 0, 0, 9], [10, 0, 0, 1]);
    asks[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 77]);
    shard.on_frame(now, &asks, &mut app);
    assert_eq!(drain(&mut shard, now).iter().map(|f| f[..6].to_vec()).collect::<Vec<_>>(), [PEER.0]);
}

/// MUST-46, RFC9293-3.10.1-a.
#[test]
fn nobody_is_connected_to_at_an_address_of_no_other_host() {
    let (mut shard, now) = (shard(|_| {}), Instant::ZERO);
    let bad = [
        "255.255.255.255:7",
        "224.0.0.1:7",
        "0.0.0.0:7",
        "0.1.2.3:7",
        "127.0.0.1:7",
        "10.0.0.255:7",
        "10.0.0.1:7",
        "10.0.0.9:0",
        "[::ffff:1.2.3.4]:7",
        "[::ffff:10.0.0.9]:7",
        "[::]:7",
        "[::1]:7",
        "[ff02::1]:7",
        "[fd77::1]:7",
    ];
    for to in bad {
        let to = to.parse().expect("an address");
        assert_eq!(shard.call(now, |io| io.connect(to)), Err(ConnectError::BadAddress), "{to}");
    }
    assert!(drain(&mut shard, now).is_empty());
    assert_eq!(shard.connections(), 0);
    shard.call(now, |io| io.connect(SocketAddr::new(v4(9), 7))).expect("a host like any other");
}

/// A shard on 10.0.0.0/8 whose port 81 takes any number of half-open connections.
fn wide() -> Shard {
    let mut shard = shard(|c| {
        c.addresses[0].prefix_len = 8;
        c.routes = vec![Route::new(ip("192.168.0.0"), 16, Some(v4(254)))];
    });
    shard.listen(SocketAddr::new(v4(1), 81), 10_000).expect("free");
    shard
}

/// A neighbour that was never heard of opens a connection: it is asked for, answers, and is accepted.
fn a_new_neighbour_gets_in(shard: &mut Shard, app: &mut Counting, now: Instant) {
    let accepted = app.accepted.len();
    let answers = knock(shard, app, now, v4(77), v4(1));
    let (syn_ack, _) = answers.iter().find_map(|f| segment_of(f)).expect("a SYN-ACK, to where the SYN came from");
    let snd = syn_ack.seq.value().wrapping_add(1);
    shard.on_frame(now, &tcp_frame(v4(77), v4(1), header(Flags::ACK, (1, PORT), 6, snd), &[], None), app);
    let requests = drain(shard, now);
    assert_eq!(requests.iter().filter(|f| f[12..14] == [8, 6]).count(), 1, "one ARP request");
    shard.on_frame(now, &arp_frame(Operation::Reply, [10, 0, 0, 77], [10, 0, 0, 1]), app);
    shard.on_frame(now, &tcp_frame(v4(77), v4(1), header(Flags::ACK, (1, PORT), 6, snd), &[1; 9], None), app);
    assert_eq!(drain(shard, now).iter().filter_map(|f| segment_of(f)).map(|(_, len)| len).sum::<usize>(), 9);
    assert_eq!(app.accepted.len(), accepted + 1);
}

#[test]
fn invented_sources_do_not_fill_the_neighbours_for_ever() {
    let (mut shard, mut app, mut now) = (wide(), Counting::default(), Instant::ZERO);
    for n in 0..5000u16 {
        let [high, low] = n.to_be_bytes();
        let syn = header(Flags::SYN, (1, 81), 5, 0);
        shard.on_frame(now, &tcp_frame([10, 1, high, low].into(), v4(1), syn, &[], None), &mut app);
    }
    drain(&mut shard, now);
    assert_eq!((shard.half_open(), shard.connections()), (5000, 0));
    assert_eq!(shard.counters().refusals(Refusal::NeighboursFull), 0, "a SYN that nobody sent costs no neighbour");
    let hour = now + Duration::from_secs(3600);
    pass(&mut shard, &mut app, &mut now, hour);
    assert_eq!((shard.half_open(), shard.connections(), shard.next_wakeup()), (0, 0, None));
    a_new_neighbour_gets_in(&mut shard, &mut app, now);
}

#[test]
fn arp_requests_of_many_senders_do_not_fill_the_neighbours() {
    let (mut shard, mut app, now) = (wide(), Counting::default(), Instant::ZERO);
    for n in 0..5000u16 {
        let [high, low] = n.to_be_bytes();
        shard.on_frame(now, &arp_frame(Operation::Request, [10, 1, high, low], [10, 0, 0, 1]), &mut app);
        assert_eq!(drain(&mut shard, now).len(), 1, "each is answered");
    }
    a_new_neighbour_gets_in(&mut shard, &mut app, now);
}

#[test]
fn a_sender_that_is_not_on_the_link_is_not_learnt() {
    // Learnt, 5,000 of them would have driven out the neighbour that is known.
    let (mut shard, mut app, now) = (wide(), Counting::default(), Instant::ZERO);
    for n in 0..5000u16 {
        let [high, low] = n.to_be_bytes();
        shard.on_frame(now, &arp_frame(Operation::Request, [192, 168, high, low], [10, 0, 0, 1]), &mut app);
        shard.on_frame(now, &arp_frame(Operation::Request, [172, 16, high, low], [10, 0, 0, 1]), &mut app);
        drain(&mut shard, now);
    }
    let out = knock(&mut shard, &mut app, now, v4(9), v4(1));
    assert!(segment_of(&out[0]).is_some(), "no need to ask for it");
}

#[test]
fn a_mistaken_configuration_is_refused_by_its_field() {
    let wrong = |change: fn(&mut ShardConfig)| {
        let address = LocalAddress { ip: v4(1), prefix_len: 24, owned: true };
        let mut config = ShardConfig::new(MacAddr([2; 6]), 1500, vec![address], [[7; 16]; 4]);
        change(&mut config);
        let error = Shard::new(config, Instant::ZERO).expect_err("refused");
        (error.field, error.value)
    };
    assert_eq!(wrong(|c| c.mtu = 100), ("mtu", 100));
    assert_eq!(wrong(|c| c.max_connections = 0), ("max_connections", 0));
    assert_eq!(wrong(|c| c.max_time_wait = 0), ("max_time_wait", 0));
    assert_eq!(wrong(|c| c.pool_bytes = 1), ("pool_bytes", 1));
    assert_eq!(wrong(|c| c.vlan = Some(0xffff)), ("vlan", 4095));
    // None is for a shard over the kernel's sockets alone.
    assert_eq!(wrong(|c| c.addresses = vec![c.addresses[0]; 1025]), ("addresses", 1025));
    assert_eq!(wrong(|c| c.addresses[0].prefix_len = 33), ("prefix_len", 33));
    assert_eq!(wrong(|c| c.addresses[0].ip = ip("127.0.0.1")).0, "addresses");
    assert_eq!(wrong(|c| c.addresses[0].ip = ip("224.0.0.1")).0, "addresses");
    assert_eq!(wrong(|c| c.addresses[0].ip = ip("255.255.255.255")).0, "addresses");
    assert_eq!(wrong(|c| c.addresses[0].ip = ip("0.0.0.5")).0, "addresses");
    assert_eq!(wrong(|c| c.addresses[0].ip = ip("::ffff:10.0.0.1")).0, "addresses");
}

/// The same address in another VLAN is another station's: what it says is not believed of ours, nor the other way round.
#[test]
fn a_station_of_another_vlan_is_not_the_neighbour() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    open(&mut shard, &mut app, now, 1000, 5);
    let conn = app.accepted[0];
    let impostor = [2, 0, 0, 0, 0, 66];
    for vlan in [Some(20), Some(0x2014)] {
        for operation in [Operation::Request, Operation::Reply] {
            let mut frame = arp_frame(operation, [10, 0, 0, 9], [10, 0, 0, 1]);
            frame[6..12].copy_from_slice(&impostor);
            frame[22..28].copy_from_slice(&impostor);
            shard.on_frame(now, &tagged(&frame, vlan), &mut app);
        }
    }
    drain(&mut shard, now);
    shard.call(now, |io| io.send(conn, b"hello")).expect("open");
    assert_eq!(drain(&mut shard, now).iter().map(|f| f[..6].to_vec()).collect::<Vec<_>>(), [PEER.0]);
    // A tag with a priority alone is of no VLAN.
    let mut moved = arp_frame(Operation::Request, [10, 0, 0, 9], [10, 0, 0, 1]);
    moved[22..28].copy_from_slice(&[2, 0, 0, 0, 0, 67]);
    shard.on_frame(now, &tagged(&moved, Some(0x2000)), &mut app);
    drain(&mut shard, now);
    shard.call(now, |io| io.set_nodelay(conn, true)).expect("open");
    shard.call(now, |io| io.send(conn, b"hello")).expect("open");
    assert_eq!(drain(&mut shard, now)[0][..6], [2, 0, 0, 0, 0, 67]);
}
