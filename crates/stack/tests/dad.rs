//! Duplicate address detection on the wire: what a shard with owned addresses asks, announces, answers and keeps to itself.
//! Expectations are those of RFC 5227, RFC 4862 section 5.4 and RFC 4861 section 7.2.6; `dad.rs` has the times.

mod support;

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use stack::{Conflict, ConnectError, Dad, Duration, Instant, MacAddr, Place, Refusal, Shard, ShardConfig};
use support::*;
use wire::{
    arp, eth, icmpv6, ipv6,
    ndp::{self, ALL_NODES, Advertisement, Packet, Solicitation},
    tcp::Flags,
};

const FOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SIX: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn asking(change: impl FnOnce(&mut ShardConfig)) -> Shard {
    shard(|c| {
        c.dad = Some(Dad::default());
        change(c);
    })
}

/// What is sent at `ms`.
fn sent(shard: &mut Shard, app: &mut Counting, ms: u64) -> Vec<Vec<u8>> {
    shard.advance(at(ms), app);
    drain(shard, at(ms))
}

/// What is sent because of a frame.
fn answers(shard: &mut Shard, app: &mut Counting, ms: u64, frame: &[u8]) -> Vec<Vec<u8>> {
    shard.on_frame(at(ms), frame, app);
    assert_eq!(shard.counters().frames_in, shard.counters().frames_accounted());
    drain(shard, at(ms))
}

fn arp_of(frame: &[u8]) -> (eth::Header, arp::Packet) {
    let (link, packet) = eth::Header::parse(frame).expect("Ethernet");
    assert_eq!(link.ethertype, eth::ETHERTYPE_ARP);
    (link, arp::Packet::parse(packet).expect("ARP"))
}

fn ndp_of(frame: &[u8]) -> (eth::Header, ipv6::Header, Packet) {
    let (link, packet) = eth::Header::parse(frame).expect("Ethernet");
    let (ip, payload) = ipv6::Header::parse(packet).expect("IPv6");
    let message = icmpv6::Message::parse(payload, ip.src, ip.dst).expect("a checksum");
    (link, ip, Packet::parse(&ip, &message).expect("valid").expect("neighbour discovery"))
}

/// An ARP packet of another station.
fn arp_from(mac: MacAddr, operation: arp::Operation, sender: [u8; 4], target: [u8; 4], vlan: Option<u16>) -> Vec<u8> {
    let link = eth::Header { dst: MacAddr::BROADCAST, src: mac, vlan, ethertype: eth::ETHERTYPE_ARP };
    let mut frame = vec![0; link.len() + arp::Packet::LEN];
    link.emit(&mut frame);
    let target_mac = MacAddr::default();
    let packet =
        arp::Packet { operation, sender_mac: mac, sender_ip: sender.into(), target_mac, target_ip: target.into() };
    packet.emit(&mut frame[link.len()..]);
    frame
}

fn request(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    arp_from(PEER, arp::Operation::Request, sender, target, None)
}

/// Another station's question whether it may have our address (RFC 4862 section 5.4.2).
fn solicits(mac: MacAddr) -> Vec<u8> {
    let group = ndp::solicited_node(SIX);
    let packet = Packet::Solicitation(Solicitation { target: SIX, source_mac: None });
    ndp_frame(ndp::group_mac(group), mac, (Ipv6Addr::UNSPECIFIED, group), packet, None)
}

/// What a station that has our address tells all (RFC 4861 section 7.2.4).
fn advertises(mac: MacAddr) -> Vec<u8> {
    let tells = Advertisement { target: SIX, target_mac: Some(mac), router: false, solicited: false, overrides: true };
    ndp_frame(ndp::group_mac(ALL_NODES), mac, (SIX, ALL_NODES), Packet::Advertisement(tells), None)
}

fn assert_announced(frames: &[Vec<u8>], vlan: Option<u16>) {
    assert_eq!(frames.len(), 2);
    let (link, packet) = arp_of(&frames[0]);
    assert_eq!((link.dst, link.vlan), (MacAddr::BROADCAST, vlan));
    assert_eq!((packet.operation, packet.sender_mac), (arp::Operation::Request, OURS));
    assert_eq!((packet.sender_ip, packet.target_ip), (FOUR, FOUR));
    let (link, ip, packet) = ndp_of(&frames[1]);
    assert_eq!((link.dst, link.vlan), (ndp::group_mac(ALL_NODES), vlan));
    assert_eq!((ip.src, ip.dst, ip.hop_limit), (SIX, ALL_NODES, 255));
    let tells = Advertisement { target: SIX, target_mac: Some(OURS), router: false, solicited: false, overrides: true };
    assert_eq!(packet, Packet::Advertisement(tells));
}

/// RFC 5227 sections 2.1.1 and 2.3; RFC 4862 section 5.4.2: a probe has no sender address and no source option, so that
/// nobody learns it; then the address is announced. In the VLAN that is configured.
#[test]
fn a_probe_claims_nothing_and_an_announcement_all() {
    for vlan in [None, Some(5)] {
        let (mut shard, mut app) = (asking(|c| c.vlan = vlan), Counting::default());
        assert!(shard.tentative());
        assert_eq!(shard.next_wakeup(), Some(at(0)));
        let frames = sent(&mut shard, &mut app, 0);
        assert_eq!(frames.len(), 2);
        let (link, packet) = arp_of(&frames[0]);
        assert_eq!((link.dst, link.src, link.vlan), (MacAddr::BROADCAST, OURS, vlan));
        assert_eq!((packet.operation, packet.sender_mac), (arp::Operation::Request, OURS));
        assert_eq!((packet.sender_ip, packet.target_ip), (Ipv4Addr::UNSPECIFIED, FOUR));
        assert_eq!(packet.target_mac, MacAddr::default());
        let (link, ip, packet) = ndp_of(&frames[1]);
        assert_eq!((link.dst.0, link.vlan), ([0x33, 0x33, 0xff, 0, 0, 1], vlan));
        assert_eq!((ip.src, ip.dst, ip.hop_limit), (Ipv6Addr::UNSPECIFIED, ndp::solicited_node(SIX), 255));
        assert_eq!(packet, Packet::Solicitation(Solicitation { target: SIX, source_mac: None }));

        assert_eq!(shard.next_wakeup(), Some(at(1000)));
        assert!(sent(&mut shard, &mut app, 999).is_empty());
        assert!(shard.tentative());
        assert_announced(&sent(&mut shard, &mut app, 1000), vlan);
        assert!(!shard.tentative() && shard.duplicate().is_none());
        assert_announced(&sent(&mut shard, &mut app, 3000), vlan);
        assert_eq!(shard.next_wakeup(), None, "idle again");
    }
}

/// RFC 4862 section 5.4: until then nobody is answered, nothing is taken, and nothing can be opened.
#[test]
fn a_tentative_address_is_silent() {
    let (mut shard, mut app) = (asking(|_| {}), Counting::default());
    sent(&mut shard, &mut app, 0);
    let syn = tcp_frame(v4(9), v4(1), header(Flags::SYN, (1, PORT), 5, 0), &[], None);
    let syn6 = tcp_frame(v6(9), v6(1), header(Flags::SYN, (1, PORT), 5, 0), &[], None);
    let asks = Packet::Solicitation(Solicitation { target: SIX, source_mac: Some(PEER) });
    let from = "fd77::9".parse().expect("an address");
    let group = ndp::solicited_node(SIX);
    let resolves = ndp_frame(ndp::group_mac(group), PEER, (from, group), asks, None);
    let questions = [syn, syn6, echo_frame(10), request([10, 0, 0, 9], [10, 0, 0, 1]), resolves];
    for frame in &questions {
        assert!(answers(&mut shard, &mut app, 500, frame).is_empty(), "{frame:02x?}");
    }
    assert_eq!(shard.counters().refusals(Refusal::Tentative), 3);
    for remote in [v4(9), v6(9)] {
        let opened = shard.call(at(500), |io| io.connect(SocketAddr::new(remote, 7)));
        assert_eq!(opened, Err(ConnectError::Tentative));
    }
    assert_eq!(shard.counters().refusals(Refusal::AddressConflict), 0);
    sent(&mut shard, &mut app, 1000);
    for frame in &questions {
        assert_eq!(answers(&mut shard, &mut app, 1000, frame).len(), 1, "{frame:02x?}");
    }
    assert!(shard.call(at(1000), |io| io.connect(SocketAddr::new(v4(9), 7))).is_ok());
}

/// RFC 5227 section 2.1.1 (any ARP packet from the address, any probe for it), RFC 4862 sections 5.4.3 and 5.4.4.
#[test]
fn whoever_has_or_wants_a_tentative_address_gets_it() {
    let reply = arp_from(PEER, arp::Operation::Reply, [10, 0, 0, 1], [0; 4], None);
    let four = [
        reply,
        request([10, 0, 0, 1], [10, 0, 0, 1]),
        request([10, 0, 0, 1], [10, 0, 0, 77]),
        request([0; 4], [10, 0, 0, 1]),
    ];
    let six = [solicits(PEER), advertises(PEER)];
    for (ip, frame) in four.iter().map(|f| (v4(1), f)).chain(six.iter().map(|f| (v6(1), f))) {
        let (mut shard, mut app) = (asking(|_| {}), Counting::default());
        sent(&mut shard, &mut app, 0);
        assert!(answers(&mut shard, &mut app, 900, frame).is_empty(), "{frame:02x?}");
        assert_eq!(shard.duplicate(), Some(Conflict { ip, mac: PEER }), "{frame:02x?}");
        assert_eq!(shard.counters().refusals(Refusal::AddressConflict), 1);
        // The other family's address is another matter.
        assert_eq!(sent(&mut shard, &mut app, 1000).len(), 1);
        assert!(!shard.tentative());
        assert!(answers(&mut shard, &mut app, 2000, &echo_frame(1)).len() == usize::from(ip == v6(1)));
    }
    // What the link gives back to us, what is in another VLAN, and a question that is no probe, is no conflict; a tag with a
    // priority alone is no VLAN.
    let (mut shard, mut app) = (asking(|_| {}), Counting::default());
    sent(&mut shard, &mut app, 0);
    let probe = |mac, vlan| arp_from(mac, arp::Operation::Request, [0; 4], [10, 0, 0, 1], vlan);
    for frame in [
        probe(OURS, None),
        solicits(OURS),
        advertises(OURS),
        probe(PEER, Some(5)),
        request([10, 0, 0, 9], [10, 0, 0, 1]),
    ] {
        answers(&mut shard, &mut app, 900, &frame);
        assert_eq!(shard.duplicate(), None, "{frame:02x?}");
    }
    answers(&mut shard, &mut app, 900, &probe(PEER, Some(0x6000)));
    assert!(shard.duplicate().is_some());
}

/// RFC 5227 section 2.4 (c): who claims the address later is answered by one announcement in ten seconds, and the address
/// stays; who only asks for it is told.
#[test]
fn an_address_in_use_is_defended() {
    let (mut shard, mut app) = (asking(|_| {}), Counting::default());
    for ms in [0, 1000, 3000] {
        sent(&mut shard, &mut app, ms);
    }
    let claim = request([10, 0, 0, 1], [10, 0, 0, 1]);
    let frames = answers(&mut shard, &mut app, 5000, &claim);
    // The claim asks for the address, too: it is answered.
    assert_eq!(arp_of(&frames[0]).1.sender_ip, FOUR);
    assert_eq!((arp_of(&frames[0]).0.dst, arp_of(&frames[1]).1.operation), (MacAddr::BROADCAST, arp::Operation::Reply));
    assert_eq!(shard.take_conflict(), Some(Conflict { ip: v4(1), mac: PEER }));
    let reply = arp_from(PEER, arp::Operation::Reply, [10, 0, 0, 1], [10, 0, 0, 1], None);
    for (ms, count) in [(5001, 0), (14_999, 0), (15_000, 1), (15_001, 0)] {
        assert_eq!(answers(&mut shard, &mut app, ms, &reply).len(), count, "{ms}");
    }
    let frames = [5000, 6000].map(|ms| answers(&mut shard, &mut app, ms, &advertises(PEER)));
    assert_eq!(frames.each_ref().map(Vec::len), [1, 0]);
    assert_eq!(ndp_of(&frames[0][0]).1.dst, ALL_NODES);
    assert_eq!(shard.counters().refusals(Refusal::AddressConflict), 7);
    // Nobody learns that our address is another's.
    assert_eq!(shard.duplicate(), None);
    assert_eq!(answers(&mut shard, &mut app, 16_000, &echo_frame(1)).len(), 1);
    // A probe is a question, and answered (RFC 5227 section 2.1.1; RFC 4862 section 5.4.3).
    for (frame, dst) in [(request([0; 4], [10, 0, 0, 1]), PEER), (solicits(PEER), ndp::group_mac(ALL_NODES))] {
        let frames = answers(&mut shard, &mut app, 20_000, &frame);
        assert_eq!(frames.len(), 1);
        assert_eq!(eth::Header::parse(&frames[0]).expect("Ethernet").0.dst, dst);
    }
}

/// A shard that was not told to ask takes its addresses as given, and defends them all the same.
#[test]
fn without_detection_nothing_is_asked() {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    assert!(!shard.tentative());
    assert_eq!((shard.next_wakeup(), sent(&mut shard, &mut app, 0).len()), (None, 0));
    assert_eq!(answers(&mut shard, &mut app, 0, &advertises(PEER)).len(), 1);
    let mut shard = asking(|c| c.dad = Some(Dad { probes: 0, ..Dad::default() }));
    assert!(!shard.tentative());
    assert_announced(&sent(&mut shard, &mut app, 0), None);
    // A shared address is the kernel's to find out about.
    let mut shard = asking(|c| c.addresses.iter_mut().for_each(|a| a.owned = false));
    assert_eq!((shard.tentative(), sent(&mut shard, &mut app, 0).len()), (false, 0));
    assert!(
        Shard::new(ShardConfig { dad: Some(Dad { probes: 17, ..Dad::default() }), ..shard.config().clone() }, at(0))
            .is_err()
    );
}

/// RFC 4861 section 7.2.6, RFC 5227 section 3: a station whose MAC address is another one tells all, as it did at first
/// (ANNOUNCE_NUM 2, 2 s apart). Of several shards the first one does; what is not ours yet is not announced.
#[test]
fn another_mac_address_is_announced() {
    let new = MacAddr([2, 0, 0, 0, 0, 0xbb]);
    let senders = |frames: &[Vec<u8>]| frames.iter().map(|f| f[6..12].to_vec()).collect::<Vec<_>>();
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    assert!(sent(&mut shard, &mut app, 0).is_empty());
    shard.set_mac(at(1000), new);
    assert_eq!(shard.next_wakeup(), Some(at(1000)));
    for ms in [1000, 3000] {
        let frames = sent(&mut shard, &mut app, ms);
        assert_eq!(senders(&frames), [new.0, new.0]);
        assert_eq!((arp_of(&frames[0]).1.sender_mac, arp_of(&frames[0]).1.sender_ip), (new, FOUR));
        assert!(matches!(ndp_of(&frames[1]).2, Packet::Advertisement(tells) if tells.target_mac == Some(new)));
    }
    assert_eq!((sent(&mut shard, &mut app, 9000).len(), shard.next_wakeup()), (0, None));

    let mut second = support::shard(|c| c.place = Place { index: 1, count: 2 });
    second.set_mac(at(0), new);
    assert_eq!((sent(&mut second, &mut app, 0).len(), second.next_wakeup()), (0, Some(at(2000))));

    let mut asking = asking(|_| {});
    asking.set_mac(at(0), new);
    let frames = sent(&mut asking, &mut app, 0);
    assert_eq!(arp_of(&frames[0]).1.sender_ip, Ipv4Addr::UNSPECIFIED, "a question");
    assert!(asking.tentative());
}
