//! The gateway of an owned address: it moves, it dies, it comes back. Expectations are those of RFC 826, RFC 1122 section
//! 2.3.2.1, RFC 4861 sections 7.2.5 and 7.3.

mod support;

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use stack::{Duration, Error, Instant, MacAddr, Route, Shard};
use support::*;
use wire::{
    arp, eth, icmpv6, ipv4, ipv6,
    ndp::{self, ALL_NODES, Advertisement, Packet},
};

const MOVED: MacAddr = MacAddr([2, 0, 0, 0, 0, 10]);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A shard with a default gateway of each family, and somebody behind it.
fn routed() -> Shard {
    shard(|c| {
        let default = |any: IpAddr, gateway| Route::new(any, 0, Some(gateway));
        c.routes = vec![default([0; 4].into(), v4(8)), default([0; 16].into(), ROUTER6.into())];
    })
}

fn far(six: bool) -> SocketAddr {
    let ip = if six { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 5]) } else { IpAddr::from([192, 0, 2, 5]) };
    SocketAddr::new(ip, 7)
}

/// An ARP packet or an advertisement of the gateway, which is the station `mac`: an answer to us, or told everybody.
fn told(six: bool, mac: MacAddr, everybody: bool) -> Vec<u8> {
    if six {
        let dst = if everybody { ALL_NODES } else { Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1) };
        let station = if everybody { ndp::group_mac(dst) } else { OURS };
        let tells = Advertisement {
            target: ROUTER6,
            target_mac: Some(mac),
            router: true,
            solicited: !everybody,
            overrides: true,
        };
        return ndp_frame(station, mac, (ROUTER6, dst), Packet::Advertisement(tells), None);
    }
    let operation = if everybody { arp::Operation::Request } else { arp::Operation::Reply };
    let mut frame = arp_frame(operation, [10, 0, 0, 8], if everybody { [10, 0, 0, 8] } else { [10, 0, 0, 1] });
    frame[6..12].copy_from_slice(&mac.0);
    frame[22..28].copy_from_slice(&mac.0);
    frame
}

/// The stations that were asked for the gateway, and those that got a segment.
fn stations(frames: &[Vec<u8>]) -> (Vec<MacAddr>, Vec<MacAddr>) {
    let (mut asked, mut got) = (vec![], vec![]);
    for frame in frames {
        let (link, packet) = eth::Header::parse(frame).expect("Ethernet");
        let protocol = match link.ethertype {
            eth::ETHERTYPE_IPV4 => ipv4::Header::parse(packet).expect("IPv4").0.protocol,
            eth::ETHERTYPE_IPV6 => ipv6::Header::parse(packet).expect("IPv6").0.next_header,
            _ => 0,
        };
        if protocol == 6 { got.push(link.dst) } else { asked.push(link.dst) }
    }
    (asked, got)
}

fn all(six: bool) -> MacAddr {
    if six { ndp::group_mac(ndp::solicited_node(ROUTER6)) } else { MacAddr::BROADCAST }
}

/// What the shard sends until a time.
fn until(shard: &mut Shard, app: &mut Counting, now: &mut Instant, end: Instant) -> Vec<Vec<u8>> {
    let mut sent = vec![];
    while let Some(at) = shard.next_wakeup().filter(|at| *at <= end) {
        *now = at.max(*now);
        shard.advance(*now, app);
        sent.extend(drain(shard, *now));
    }
    *now = end;
    sent
}

/// A gateway with a new network card says so; what is under way goes there at once, and it is soon asked whether it hears us.
#[test]
fn a_gateway_that_tells_everybody_of_its_move_is_followed() {
    for six in [false, true] {
        let (mut shard, mut app, mut now) = (routed(), Counting::default(), Instant::ZERO);
        app.connect = Some(far(six));
        shard.call(now, |io| stack::App::on_turn(&mut app, io));
        assert_eq!(stations(&drain(&mut shard, now)), (vec![all(six)], vec![]));
        shard.on_frame(now, &told(six, PEER, false), &mut app);
        assert_eq!(stations(&drain(&mut shard, now)), (vec![], vec![PEER]));

        shard.on_overheard(now, &told(six, MOVED, true));
        // The SYN goes out again after a second.
        let end = now + Duration::from_secs(2);
        let sent = until(&mut shard, &mut app, &mut now, end);
        assert_eq!(stations(&sent), (vec![], vec![MOVED]));
        // DELAY_FIRST_PROBE_TIME is five seconds: it has told, but not heard.
        let end = now + Duration::from_secs(6);
        let sent = until(&mut shard, &mut app, &mut now, end);
        let (asked, got) = stations(&sent);
        assert!(asked.first() == Some(&MOVED) && got.iter().all(|mac| *mac == MOVED), "{asked:?} {got:?}");
        let counters = shard.counters();
        assert_eq!(counters.frames_in, counters.frames_accounted());
    }
}

/// What everybody is asked the kernel hears as well, and so does the shard that it was sent to: a copy is not answered.
#[test]
fn what_is_overheard_is_not_answered() {
    let (mut shard, mut app, now) = (routed(), Counting::default(), Instant::ZERO);
    let questions = arp_frame(arp::Operation::Request, [10, 0, 0, 8], [10, 0, 0, 1]);
    let claims = arp_frame(arp::Operation::Request, [10, 0, 0, 1], [10, 0, 0, 1]);
    let mut echo = vec![0; 8];
    let (src, dst) = (ROUTER6, Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
    icmpv6::emit_in_place(icmpv6::ECHO_REQUEST, 0, [0; 4], src, dst, &mut echo);
    for frame in [questions, claims, ip_frame(src.into(), dst.into(), 58, &echo, None), echo_frame(1), vec![0; 5]] {
        shard.on_overheard(now, &frame);
        shard.advance(now, &mut app);
        assert!(drain(&mut shard, now).is_empty(), "{frame:02x?}");
    }
    let counters = shard.counters();
    assert_eq!((counters.frames_in, counters.frames_accounted()), (5, 5));
    // Nor is anything learnt of a station that nobody wants (RFC 826's merge flag, RFC 4861 section 7.2.5).
    let mut shard = routed();
    for six in [false, true] {
        shard.on_overheard(now, &told(six, MOVED, true));
        app.connect = Some(far(six));
        shard.call(now, |io| stack::App::on_turn(&mut app, io));
        assert_eq!(stations(&drain(&mut shard, now)), (vec![all(six)], vec![]));
    }
}

/// RFC 1122 section 2.3.2.1, RFC 9293 MUST-56: who opens through a dead gateway is told; when it is back, as another station
/// even, everybody gets through.
#[test]
fn a_gateway_dies_and_comes_back() {
    for six in [false, true] {
        let (mut shard, mut app, mut now) = (routed(), Counting::default(), Instant::ZERO);
        app.connect = Some(far(six));
        shard.call(now, |io| stack::App::on_turn(&mut app, io));
        let mut sent = drain(&mut shard, now);
        let end = now + Duration::from_secs(5);
        sent.extend(until(&mut shard, &mut app, &mut now, end));
        assert_eq!(stations(&sent), (vec![all(six); 3], vec![]));
        assert_eq!(app.closed, [Some(Error::HostUnreachable)]);

        app.connect = Some(far(six));
        shard.call(now, |io| stack::App::on_turn(&mut app, io));
        assert_eq!(stations(&drain(&mut shard, now)), (vec![all(six)], vec![]));
        shard.on_frame(now, &told(six, MOVED, false), &mut app);
        assert_eq!(stations(&drain(&mut shard, now)), (vec![], vec![MOVED]));
    }
}

/// MAX_MULTICAST_SOLICIT of RFC 4861 section 10: three questions, a second apart, before an open is given up, whatever others
/// have asked before that are gone.
#[test]
fn each_open_asks_three_times() {
    for others_before in [false, true] {
        let (mut shard, mut app) = (shard(|_| {}), Counting::default());
        let (mut now, nobody) = (Instant::ZERO + Duration::from_secs(10), SocketAddr::new(v4(77), 80));
        let mut step = |shard: &mut Shard, now: &mut Instant, time| {
            *now += time;
            shard.advance(*now, &mut app);
            drain(shard, *now).len()
        };
        if others_before {
            let conn = shard.call(now, |io| io.connect(nobody)).expect("a route");
            drain(&mut shard, now);
            step(&mut shard, &mut now, Duration::from_millis(1100));
            shard.call(now, |io| io.abort(conn)).expect("open");
            for _ in 0..10 {
                step(&mut shard, &mut now, Duration::from_millis(1100));
            }
            step(&mut shard, &mut now, Duration::from_secs(3600));
            assert_eq!(shard.connections(), 0);
        }
        let began = now;
        shard.call(now, |io| io.connect(nobody)).expect("a route");
        let mut asked = drain(&mut shard, now).len();
        while shard.connections() > 0 {
            asked += step(&mut shard, &mut now, Duration::from_millis(100));
        }
        assert_eq!((asked, now - began), (3, Duration::from_secs(3)), "{others_before}");
    }
}

/// RFC 8950's `default via inet6 fe80::1`: the gateway of IPv4 is asked for in its own family.
#[test]
fn a_gateway_of_the_other_family_is_asked_for() {
    let gateway = |any: IpAddr, gateway| vec![Route::new(any, 0, Some(gateway))];
    for (routes, far) in [(gateway([0; 4].into(), v6(9)), far(false)), (gateway([0; 16].into(), v4(9)), far(true))] {
        let mut shard = shard(|_| {});
        let station = routes[0].gateway.expect("one");
        shard.on_neighbour(station, None);
        shard.set_routes(routes);
        let now = Instant::ZERO + Duration::from_secs(1);
        shard.call(now, |io| io.connect(far)).expect("there is a route");
        let asks = drain(&mut shard, now);
        let ethertype = if far.is_ipv4() { eth::ETHERTYPE_IPV6 } else { eth::ETHERTYPE_ARP };
        let asked: Vec<_> = asks.iter().map(|f| eth::Header::parse(f).expect("Ethernet").0.ethertype).collect();
        assert_eq!(asked, [ethertype], "{station}");
    }
}
