//! Neighbour discovery for owned addresses, what is behind IPv6 extension headers, and VLANs. Expectations are RFC 4861's.
#![allow(clippy::cast_possible_truncation)]

mod support;

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use proptest::prelude::*;
use stack::{Duration, Instant, LocalAddress, MacAddr, Refusal, Route, Shard};
use support::*;
use wire::{
    Malformed, arp, eth, icmpv6, ipv6,
    ndp::{self, ALL_NODES, Advertisement, Packet, Solicitation},
    tcp::{Flags, Segment},
};

const MOVED: MacAddr = MacAddr([2, 0, 0, 0, 0, 10]);

fn six(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

fn ours() -> Ipv6Addr {
    six("fd77::1")
}

fn peer() -> Ipv6Addr {
    six("fd77::9")
}

/// `src` asks the group of `target` for it.
fn solicitation(src: Ipv6Addr, mac: Option<MacAddr>, target: Ipv6Addr) -> Vec<u8> {
    let group = ndp::solicited_node(target);
    let asks = Packet::Solicitation(Solicitation { target, source_mac: mac });
    ndp_frame(ndp::group_mac(group), mac.unwrap_or(PEER), (src, group), asks, None)
}

/// `target` answers us.
fn advertisement(target: Ipv6Addr, mac: Option<MacAddr>, solicited: bool, overrides: bool) -> Vec<u8> {
    let tells = Advertisement { target, target_mac: mac, router: false, solicited, overrides };
    ndp_frame(OURS, mac.unwrap_or(PEER), (target, ours()), Packet::Advertisement(tells), None)
}

/// A frame of neighbour discovery that the shard sent: hop limit and checksum are right.
fn read(frame: &[u8]) -> Option<(eth::Header, ipv6::Header, Packet)> {
    let (link, packet) = eth::Header::parse(frame).expect("Ethernet");
    let (ip, payload) = (link.ethertype == eth::ETHERTYPE_IPV6).then(|| ipv6::Header::parse(packet).expect("IPv6"))?;
    if ip.next_header != 58 {
        return None;
    }
    let message = icmpv6::Message::parse(payload, ip.src, ip.dst).expect("a checksum");
    Some((link, ip, Packet::parse(&ip, &message).expect("valid")?))
}

fn asked(target: Ipv6Addr) -> Packet {
    Packet::Solicitation(Solicitation { target, source_mac: Some(OURS) })
}

fn told(solicited: bool) -> Packet {
    let target_mac = Some(OURS);
    Packet::Advertisement(Advertisement { target: ours(), target_mac, router: false, solicited, overrides: true })
}

fn arrive(shard: &mut Shard, app: &mut Counting, now: Instant, frame: &[u8]) -> Vec<Vec<u8>> {
    shard.on_frame(now, frame, app);
    let out = drain(shard, now);
    assert_eq!(shard.counters().frames_in, shard.counters().frames_accounted());
    out
}

/// The TCP segments among the frames: to which station, with which tag, and their flags.
fn segments(frames: &[Vec<u8>]) -> Vec<(MacAddr, Option<u16>, Flags)> {
    let segment = |frame: &Vec<u8>| {
        let (link, packet) = eth::Header::parse(frame).ok()?;
        let (ip, payload) = ipv6::Header::parse(packet).ok()?;
        let segment = Segment::parse(payload, ip.src.into(), ip.dst.into()).ok().filter(|_| ip.next_header == 6)?;
        Some((link.dst, link.vlan, segment.header.flags))
    };
    frames.iter().filter_map(segment).collect()
}

/// An active open to `remote`: what is sent for it.
fn connect(shard: &mut Shard, now: Instant, remote: Ipv6Addr) -> Vec<Vec<u8>> {
    shard.call(now, |io| io.connect(SocketAddr::new(remote.into(), 7))).expect("begun");
    drain(shard, now)
}

fn syn(src: Ipv6Addr, vlan: Option<u16>) -> Vec<u8> {
    tcp_frame(src.into(), ours().into(), header(Flags::SYN, (1, PORT), 5, 0), &[], vlan)
}

/// A shard that knows no neighbour.
fn alone() -> (Shard, Counting, Instant) {
    let mut shard = shard(|_| {});
    for ip in [v4(9), v6(9)] {
        shard.on_neighbour(ip, None);
    }
    (shard, Counting::default(), Instant::ZERO + Duration::from_secs(1))
}

/// RFC 4861 section 7.2.4: an answer with the solicited and the override flag, to who asked.
#[test]
fn a_solicitation_is_answered() {
    let (mut shard, mut app, now) = alone();
    let unicast = Packet::Solicitation(Solicitation { target: ours(), source_mac: None });
    let frames = [
        solicitation(peer(), Some(PEER), ours()),
        ndp_frame(OURS, PEER, (peer(), ours()), unicast, None),
        // From a link-local address, which is on no prefix of ours.
        solicitation(six("fe80::9"), Some(PEER), ours()),
        // A group's frame that a switch has sent to us alone.
        ndp_frame(OURS, PEER, (peer(), ndp::solicited_node(ours())), unicast, None),
    ];
    for asks in frames {
        let out = arrive(&mut shard, &mut app, now, &asks);
        let (link, ip, packet) = read(&out[0]).expect("an advertisement");
        let src = ipv6::Header::parse(&asks[14..]).expect("IPv6").0.src;
        assert_eq!((out.len(), link.dst, link.src, ip.src, ip.dst), (1, PEER, OURS, ours(), src));
        assert_eq!((ip.hop_limit, packet), (255, told(true)));
    }
    assert_eq!(shard.counters().ndp_in, 4);
    // With the tag that it came with.
    let asks = ndp_frame(OURS, PEER, (peer(), ours()), unicast, Some(0x6005));
    let out = arrive(&mut shard, &mut app, now, &asks);
    assert_eq!(read(&out[0]).expect("an advertisement").0.vlan, Some(0x6005));
}

/// RFC 4861 section 7.2.4, RFC 4862 section 5.4.3: who is about to take our address is told, with everybody.
#[test]
fn who_asks_whether_our_address_is_taken_is_told() {
    let (mut shard, mut app, now) = alone();
    let out = arrive(&mut shard, &mut app, now, &solicitation(Ipv6Addr::UNSPECIFIED, None, ours()));
    let (link, ip, packet) = read(&out[0]).expect("an advertisement");
    assert_eq!((out.len(), link.dst.0, ip.dst), (1, [0x33, 0x33, 0, 0, 0, 1], ALL_NODES));
    assert_eq!(packet, told(false));
}

/// RFC 4861 section 7.1.1, and RFC 1122 section 3.3.6 for what comes in frames to a group.
#[test]
fn what_is_not_ours_to_answer_is_refused_and_counted() {
    let (mut shard, mut app, now) = alone();
    let quiet = |shard: &mut Shard, app: &mut Counting, frame: &[u8]| {
        assert!(arrive(shard, app, now, frame).is_empty(), "{frame:02x?}");
    };
    // Hop limit 254: it has passed a router.
    let mut far = solicitation(peer(), Some(PEER), ours());
    far[21] = 254;
    quiet(&mut shard, &mut app, &far);
    let malformed = |shard: &Shard, reason: Malformed| {
        shard.counters().iter().find(|(name, _)| *name == reason.name()).expect("a counter").1
    };
    assert_eq!(malformed(&shard, Malformed::NdpInvalid), 1);
    // Another's address, whose group is also ours; another group.
    let other = six("fd78::1");
    quiet(&mut shard, &mut app, &solicitation(peer(), Some(PEER), other));
    assert_eq!(shard.counters().refusals(Refusal::Icmp), 1);
    quiet(&mut shard, &mut app, &solicitation(peer(), Some(PEER), six("fd77::2")));
    assert_eq!(shard.counters().refusals(Refusal::NotUnicast), 1);
    // Our own address as the sender's, from us, so the link gives back what we send; nobody's.
    for (src, mac) in [(ours(), OURS), (Ipv6Addr::LOCALHOST, PEER), (six("::ffff:10.0.0.9"), PEER)] {
        quiet(&mut shard, &mut app, &solicitation(src, Some(mac), ours()));
    }
    assert_eq!(shard.counters().refusals(Refusal::BadSource), 3);
    // A segment, an echo request, and one to all nodes, in frames to a group.
    let mut ping = vec![0; 8];
    icmpv6::emit_in_place(icmpv6::ECHO_REQUEST, 0, [0; 4], peer(), ours(), &mut ping);
    let mut all = vec![0; 8];
    icmpv6::emit_in_place(icmpv6::ECHO_REQUEST, 0, [0; 4], peer(), ALL_NODES, &mut all);
    let frames = [
        syn(peer(), None),
        ip_frame(peer().into(), ours().into(), 58, &ping, None),
        ip_frame(peer().into(), ALL_NODES.into(), 58, &all, None),
    ];
    for mut frame in frames {
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
        quiet(&mut shard, &mut app, &frame);
    }
    assert_eq!(shard.counters().refusals(Refusal::NotUnicast), 4);
    assert_eq!((shard.counters().ndp_in, shard.connections()), (0, 0));
    // Of a shared address the kernel tells.
    let mut shared = support::shard(|c| c.addresses[1].owned = false);
    quiet(&mut shared, &mut app, &solicitation(peer(), Some(PEER), ours()));
    assert_eq!(shared.counters().ndp_in, 0);
}

/// RFC 4861 section 7.2.2: the solicited-node group is asked, from the address that has something to send.
#[test]
fn a_neighbour_is_asked_for_before_it_is_spoken_to() {
    let (mut shard, mut app, now) = alone();
    let out = connect(&mut shard, now, peer());
    let (link, ip, packet) = read(&out[0]).expect("a solicitation");
    assert_eq!((out.len(), link.dst.0, ip.src), (1, [0x33, 0x33, 0xff, 0, 0, 9], ours()));
    assert_eq!((ip.dst, ip.hop_limit, packet), (six("ff02::1:ff00:9"), 255, asked(peer())));
    // Answers that nobody wants: for another, and without an address (section 7.2.5).
    let stray = advertisement(six("fd77::8"), Some(PEER), true, true);
    assert!(arrive(&mut shard, &mut app, now, &stray).is_empty());
    assert_eq!(shard.counters().refusals(Refusal::Icmp), 1);
    assert!(arrive(&mut shard, &mut app, now, &advertisement(peer(), None, true, true)).is_empty());
    let out = arrive(&mut shard, &mut app, now, &advertisement(peer(), Some(PEER), true, false));
    assert_eq!(segments(&out), [(PEER, None, Flags::SYN)]);
}

/// RFC 4861 section 7.2.3: who asks for us is learnt, and need not be asked for.
#[test]
fn who_asks_is_known() {
    let (mut shard, mut app, now) = alone();
    arrive(&mut shard, &mut app, now, &solicitation(peer(), Some(PEER), ours()));
    let out = connect(&mut shard, now, peer());
    assert_eq!(segments(&out), [(PEER, None, Flags::SYN)]);
    assert_eq!(out.len(), 1);
    // Not one that is beyond a router, whatever it says.
    let far = six("fd78::9");
    let mut shard = support::shard(|c| {
        c.routes = vec![Route::new([0; 16].into(), 0, Some(v6(9)))];
    });
    arrive(&mut shard, &mut app, now, &solicitation(far, Some(MOVED), ours()));
    assert_eq!(segments(&connect(&mut shard, now, far)), [(PEER, None, Flags::SYN)]);
}

/// RFC 4861 section 2: the link-local prefix is on the link, and where a router's address belongs.
#[test]
fn a_gateway_with_a_link_local_address() {
    let router = six("fe80::1");
    let (mut app, now) = (Counting::default(), Instant::ZERO);
    let mut shard = shard(|c| {
        c.routes = vec![Route::new([0; 16].into(), 0, Some(router.into()))];
    });
    let out = connect(&mut shard, now, six("2001:db8::5"));
    assert_eq!(read(&out[0]).expect("a solicitation").2, asked(router));
    // It asks for us first, then answers.
    let out = arrive(&mut shard, &mut app, now, &solicitation(router, Some(PEER), ours()));
    assert_eq!(read(&out[0]).expect("an advertisement").2, told(true));
    assert_eq!(segments(&out), [(PEER, None, Flags::SYN)]);
}

/// The sequence number of a SYN-ACK.
fn iss(frame: &[u8]) -> u32 {
    let (_, packet) = eth::Header::parse(frame).expect("Ethernet");
    let (ip, payload) = ipv6::Header::parse(packet).expect("IPv6");
    Segment::parse(payload, ip.src.into(), ip.dst.into()).expect("TCP").header.seq.value()
}

/// An open connection from the peer at fd77::9, learnt by its solicitation and confirmed by its answer.
fn talking(shard: &mut Shard, app: &mut Counting, now: Instant) -> u32 {
    arrive(shard, app, now, &solicitation(peer(), Some(PEER), ours()));
    arrive(shard, app, now, &advertisement(peer(), Some(PEER), true, true));
    let out = arrive(shard, app, now, &syn(peer(), None));
    let iss = iss(&out[0]);
    let ack = header(Flags::ACK, (1, PORT), 6, iss.wrapping_add(1));
    arrive(shard, app, now, &tcp_frame(peer().into(), ours().into(), ack, &[], None));
    assert_eq!(app.accepted.len(), 1);
    iss
}

fn send(shard: &mut Shard, app: &Counting, now: Instant) -> Vec<Vec<u8>> {
    shard.call(now, |io| io.send(app.accepted[0], &[1; 10])).expect("open");
    drain(shard, now)
}

/// RFC 4861 section 7.3.3: REACHABLE, then asked by unicast while it is used, three times, then forgotten.
#[test]
fn an_old_neighbour_is_asked_again_by_unicast() {
    let (mut shard, mut app, mut now) = alone();
    let iss = talking(&mut shard, &mut app, now);
    let start = now;
    pass(&mut shard, &mut app, &mut now, start + Duration::from_secs(59));
    assert!(send(&mut shard, &app, now).iter().all(|f| read(f).is_none()), "known well enough");
    let ack = header(Flags::ACK, (1, PORT), 6, iss.wrapping_add(11));
    arrive(&mut shard, &mut app, now, &tcp_frame(peer().into(), ours().into(), ack, &[], None));
    pass(&mut shard, &mut app, &mut now, start + Duration::from_secs(60));
    let out = send(&mut shard, &app, now);
    let probe = out.iter().find_map(|f| read(f)).expect("a question");
    assert_eq!((probe.0.dst, probe.1.src, probe.1.dst, probe.2), (PEER, ours(), peer(), asked(peer())));
    assert_eq!(segments(&out)[0].0, PEER, "and used meanwhile");
    // An answer ends it; without the address it means that the address is still right.
    arrive(&mut shard, &mut app, now, &advertisement(peer(), None, true, false));
    let asked_for = |shard: &mut Shard, app: &mut Counting, now: &mut Instant, seconds: u64| {
        let (mut stations, end) = (Vec::new(), *now + Duration::from_secs(seconds));
        while let Some(at) = shard.next_wakeup().filter(|at| *at <= end) {
            *now = at;
            shard.advance(at, app);
            stations.extend(drain(shard, at).iter().filter_map(|f| read(f)).map(|(link, ..)| link.dst));
        }
        *now = end;
        stations
    };
    let ack = header(Flags::ACK, (1, PORT), 6, iss.wrapping_add(21));
    arrive(&mut shard, &mut app, now, &tcp_frame(peer().into(), ours().into(), ack, &[], None));
    assert_eq!(asked_for(&mut shard, &mut app, &mut now, 55), []);
    // Silence from now on; our data is sent again and again, which makes the neighbour suspect (MUST-20).
    assert_eq!(send(&mut shard, &app, now).len(), 1);
    let stations = asked_for(&mut shard, &mut app, &mut now, 250);
    assert_eq!(stations[..3], [PEER; 3]);
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 9]);
    assert!(stations.len() > 10 && stations[3..].iter().all(|s| *s == group), "{stations:?}");
    // The connection lives on, and finds it at its new station (RFC 9293 MUST-56).
    let out = arrive(&mut shard, &mut app, now, &advertisement(peer(), Some(MOVED), true, true));
    assert!(segments(&out).iter().all(|s| s.0 == MOVED) && !segments(&out).is_empty());
}

/// RFC 1122 section 2.3.2.1: the same by ARP.
#[test]
fn an_old_arp_entry_is_asked_again_by_unicast() {
    let (mut shard, mut app, mut now) = alone();
    let request = arp_frame(arp::Operation::Request, [10, 0, 0, 9], [10, 0, 0, 1]);
    shard.on_frame(now, &request, &mut app);
    drain(&mut shard, now);
    open(&mut shard, &mut app, now, 1000, 5);
    let later = now + Duration::from_secs(60);
    pass(&mut shard, &mut app, &mut now, later);
    let questions = |frames: Vec<Vec<u8>>| {
        let arp = |f: &Vec<u8>| {
            let (link, packet) = eth::Header::parse(f).expect("Ethernet");
            let packet = arp::Packet::parse(packet).ok().filter(|_| link.ethertype == eth::ETHERTYPE_ARP)?;
            Some((link.dst, packet.operation, IpAddr::from(packet.target_ip)))
        };
        frames.iter().filter_map(arp).collect::<Vec<_>>()
    };
    assert_eq!(questions(send(&mut shard, &app, now)), [(PEER, arp::Operation::Request, v4(9))]);
    for (second, station) in [(1, PEER), (2, PEER), (3, MacAddr::BROADCAST)] {
        let at = later + Duration::from_secs(second);
        shard.advance(at, &mut app);
        let mut out = drain(&mut shard, at);
        // Asked of all once there is something to send again.
        out.extend(send(&mut shard, &app, at));
        assert_eq!(questions(out), [(station, arp::Operation::Request, v4(9))], "{second}");
    }
    // Its request shows that it is there (and where).
    now = later + Duration::from_secs(4);
    shard.on_frame(now, &request, &mut app);
    assert!(drain(&mut shard, now).iter().any(|f| segment_of(f).is_some()));
    assert!(shard.next_wakeup().is_some());
}

/// RFC 4861 sections 7.2.3 and 7.2.5, RFC 826: a neighbour with a new network card.
#[test]
fn a_neighbour_that_has_moved_is_followed() {
    let tells =
        Advertisement { target: peer(), target_mac: Some(MOVED), router: false, solicited: false, overrides: true };
    let all = ndp_frame(ndp::group_mac(ALL_NODES), MOVED, (peer(), ALL_NODES), Packet::Advertisement(tells), None);
    let news = [
        (solicitation(peer(), Some(MOVED), ours()), MOVED),
        (advertisement(peer(), Some(MOVED), true, true), MOVED),
        (advertisement(peer(), Some(MOVED), false, true), MOVED),
        // To all nodes, unasked.
        (all, MOVED),
        // Without the override flag only doubt is left.
        (advertisement(peer(), Some(MOVED), true, false), PEER),
    ];
    for (n, (told, station)) in news.into_iter().enumerate() {
        let (mut shard, mut app, now) = alone();
        talking(&mut shard, &mut app, now);
        arrive(&mut shard, &mut app, now, &told);
        shard.advance(now, &mut app);
        let out = send(&mut shard, &app, now);
        assert_eq!(segments(&out)[0].0, station, "{n}");
        assert_eq!(out.iter().any(|f| read(f).is_some()), station == PEER, "{n}: the doubt is a question");
    }
}

/// RFC 4443 section 4.2; RFC 1122 section 3.2.2.6 for IPv4 is shown elsewhere.
#[test]
fn an_echo_request_is_answered_over_ipv6() {
    let (mut shard, mut app, now) = alone();
    for len in [0, 56, 1452, 1453] {
        let mut message = vec![5; 8 + len];
        icmpv6::emit_in_place(icmpv6::ECHO_REQUEST, 0, [1, 2, 3, 4], peer(), ours(), &mut message);
        let out = arrive(&mut shard, &mut app, now, &ip_frame(peer().into(), ours().into(), 58, &message, None));
        if len > 1452 {
            // The answer would not fit into the MTU of 1500.
            assert!(out.is_empty());
            continue;
        }
        let (link, packet) = eth::Header::parse(&out[0]).expect("Ethernet");
        let (ip, payload) = ipv6::Header::parse(packet).expect("IPv6");
        assert_eq!((link.dst, ip.src, ip.dst, out.len()), (PEER, ours(), peer(), 1));
        let reply = icmpv6::Message::parse(payload, ip.src, ip.dst).expect("a checksum");
        assert_eq!((reply.kind, reply.code, reply.rest), (icmpv6::ECHO_REPLY, 0, [1, 2, 3, 4]));
        assert_eq!(reply.body, vec![5; len]);
    }
    assert_eq!((shard.counters().echo_in, shard.chunks_in_use()), (3, 0));
    // A code that there isn't; errors, which are for connections; of a shared address.
    for (kind, code) in [(128, 1), (129, 0), (1, 0), (2, 0), (3, 0), (4, 0), (133, 0), (134, 0), (137, 0), (200, 0)] {
        let mut message = vec![0; 48];
        icmpv6::emit_in_place(kind, code, [0, 0, 5, 0], peer(), ours(), &mut message);
        let frame = ip_frame(peer().into(), ours().into(), 58, &message, None);
        assert!(arrive(&mut shard, &mut app, now, &frame).is_empty(), "{kind}");
    }
}

/// What the shard sends unasked in a VLAN: the question for a peer's station in the VLAN of its SYN, active opens in the
/// configured one.
#[test]
fn questions_and_opens_have_a_tag() {
    let (mut shard, mut app, now) = alone();
    let out = arrive(&mut shard, &mut app, now, &syn(peer(), Some(5)));
    assert_eq!(segments(&out), [(PEER, Some(5), Flags::SYN | Flags::ACK)], "to where the SYN came from");
    let iss = iss(&out[0]);
    let ack = header(Flags::ACK, (1, PORT), 6, iss.wrapping_add(1));
    let out = arrive(&mut shard, &mut app, now, &tcp_frame(peer().into(), ours().into(), ack, &[], Some(5)));
    assert_eq!(read(&out[0]).expect("a solicitation").0.vlan, Some(5));
    for vlan in [None, Some(0x2007)] {
        let mut shard = support::shard(|c| c.vlan = vlan);
        shard.on_neighbour(v6(9), None);
        shard.on_neighbour(v4(9), None);
        for ip in [v6(9), v4(9)] {
            shard.call(now, |io| io.connect(SocketAddr::new(ip, 7))).expect("begun");
        }
        let tag = |f: &Vec<u8>| eth::Header::parse(f).expect("Ethernet").0.vlan;
        assert_eq!(drain(&mut shard, now).iter().map(tag).collect::<Vec<_>>(), [vlan; 2]);
        // What another VLAN's station of that address says is of no interest.
        meet(&mut shard, now, if vlan.is_some() { None } else { Some(7) });
        let mut app = Counting::default();
        let tells =
            Advertisement { target: peer(), target_mac: Some(PEER), router: false, solicited: true, overrides: true };
        let tells = ndp_frame(OURS, PEER, (peer(), ours()), Packet::Advertisement(tells), vlan);
        let out = arrive(&mut shard, &mut app, now, &tells);
        assert_eq!(segments(&out), [(PEER, vlan, Flags::SYN)]);
    }
}

#[test]
fn solicitations_of_many_senders_do_not_fill_the_neighbours() {
    let (mut shard, mut app, now) = alone();
    for n in 0..5000u16 {
        let src = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 1, n);
        assert_eq!(arrive(&mut shard, &mut app, now, &solicitation(src, Some(PEER), ours())).len(), 1);
    }
    let out = connect(&mut shard, now, six("fd77::2:1"));
    assert_eq!(read(&out[0]).expect("a solicitation").2, asked(six("fd77::2:1")));
}

#[test]
fn a_solicitation_from_beyond_the_link_is_not_learnt() {
    // Learnt, 5,000 of them would have driven out the neighbour that is known.
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    for n in 0..5000u16 {
        let src = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, n);
        assert_eq!(arrive(&mut shard, &mut app, now, &solicitation(src, Some(MOVED), ours())).len(), 1);
    }
    let out = arrive(&mut shard, &mut app, now, &syn(peer(), None));
    assert_eq!(segments(&out), [(PEER, None, Flags::SYN | Flags::ACK)]);
}

/// One extension header, with anything in it; `None` as the length: as long as it is.
#[derive(Debug, Clone)]
struct Extension {
    kind: u8,
    claims: Option<u8>,
    rest: Vec<u8>,
}

fn extension() -> impl Strategy<Value = Extension> {
    let kind = prop_oneof![8 => prop::sample::select(vec![0u8, 43, 44, 60]), 1 => any::<u8>()];
    let claims = prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(Some)];
    // Padding, no segments left, no fragment; or whatever.
    let rest = prop_oneof![
        3 => (0usize..4).prop_map(|n| vec![0; 6 + n * 8]),
        1 => (0usize..4, any::<[u8; 6]>()).prop_map(|(n, head)| { let mut v = head.to_vec(); v.resize(6 + n * 8, 0); v }),
    ];
    (kind, claims, rest).prop_map(|(kind, claims, rest)| Extension { kind, claims, rest })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// RFC 8200 section 4: a segment behind any chain of headers is delivered, or its frame is counted as something else.
    #[test]
    fn any_chain_of_extension_headers(
        chain in prop::collection::vec(extension(), 0..11),
        cut in prop_oneof![3 => Just(None), 1 => (0usize..200).prop_map(Some)],
        vlan in prop_oneof![Just(None), Just(Some(5u16))],
        last in prop_oneof![6 => Just(6u8), 1 => Just(58u8), 1 => any::<u8>()],
    ) {
        let plain = tcp_frame(peer().into(), ours().into(), header(Flags::SYN, (1, PORT), 5, 0), &[], vlan);
        let at = if vlan.is_some() { 18 } else { 14 };
        let mut packet = plain[at..at + 40].to_vec();
        packet[6] = chain.first().map_or(last, |e| e.kind);
        let next = chain.iter().skip(1).map(|e| e.kind).chain([last]);
        for (e, next) in chain.iter().zip(next) {
            let len = if e.kind == 44 { 0 } else { (e.rest.len() + 2) as u8 / 8 - 1 };
            packet.extend([next, e.claims.unwrap_or(len)]);
            packet.extend(if e.kind == 44 { &e.rest[..6] } else { &e.rest[..] });
        }
        packet.extend(&plain[at + 40..]);
        let payload = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        let mut frame = [&plain[..at], &packet].concat();
        frame.truncate(cut.unwrap_or(frame.len()));
        let (mut shard, mut app, now) = alone();
        shard.on_frame(now, &frame, &mut app);
        drain(&mut shard, now);
        let counters = shard.counters();
        prop_assert_eq!((counters.frames_in, counters.frames_accounted()), (1, 1));
        // The chains that RFC 8200 lets pass for certain.
        let passes = |(n, e): (usize, &Extension)| {
            (e.kind == 0 && n == 0 || matches!(e.kind, 43 | 44 | 60)) && e.claims.is_none() && e.rest.iter().all(|b| *b == 0)
        };
        if cut.is_none() && last == 6 && chain.len() <= 8 && chain.iter().enumerate().all(passes) {
            prop_assert_eq!(counters.opened, 1);
        }
    }
}

/// A real fragment is refused; an atomic one is a whole packet (RFC 6946, RFC 8200 section 4.5).
#[test]
fn fragments_to_an_owned_address_are_refused() {
    for (field, opened) in [(0x0001u16, 0), (0x0008, 0), (0xfff9, 0), (0, 1), (0x0006, 1)] {
        let (mut shard, mut app, now) = alone();
        let mut frame = syn(peer(), None);
        let [high, low] = field.to_be_bytes();
        frame.splice(54..54, [6, 0, high, low, 0, 0, 0, 9]);
        frame[20] = 44;
        frame[19] += 8;
        arrive(&mut shard, &mut app, now, &frame);
        assert_eq!((shard.counters().opened, shard.counters().refusals(Refusal::Fragment)), (opened, 1 - opened));
    }
    // RFC 6980: neighbour discovery not even in an atomic one.
    let (mut shard, mut app, now) = alone();
    let mut frame = solicitation(peer(), Some(PEER), ours());
    frame.splice(54..54, [58, 0, 0, 0, 0, 0, 0, 9]);
    (frame[19], frame[20]) = (frame[19] + 8, 44);
    frame[..6].copy_from_slice(&OURS.0);
    assert!(arrive(&mut shard, &mut app, now, &frame).is_empty());
    assert_eq!((shard.counters().ndp_in, shard.counters().malformed_total()), (0, 1));
}

/// The first address of a family, shared, beside an owned one: the kernel is asked for the first's neighbours.
#[test]
fn of_a_shared_address_the_kernel_is_asked() {
    let now = Instant::ZERO;
    let mut shard = shard(|c| {
        c.addresses[1].owned = false;
        c.addresses.push(LocalAddress { ip: v6(3), prefix_len: 64, owned: true });
    });
    shard.on_neighbour(v6(9), None);
    assert!(connect(&mut shard, now, peer()).is_empty());
    assert_eq!((shard.poll_resolve(), shard.poll_resolve()), (Some(v6(9)), None));
}
