//! An interface that changes under its connections: routes, neighbours, MTU, addresses.

mod support;

use core::net::{IpAddr, SocketAddr};
use stack::{App, ConnId, ConnectError, Duration, Error, Instant, Io, ListenerId, MacAddr, Refusal, Route, Shard};
use support::*;
use tcp::{IcmpError, SoftError};
use wire::tcp::{Flags, Options};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

/// Somebody beyond the link.
fn far() -> IpAddr {
    IpAddr::from([192, 0, 2, 7])
}

fn default_by(gateway: IpAddr) -> Route {
    Route::new([0; 4].into(), 0, Some(gateway))
}

/// The prefix of the shared addresses, as the kernel lists it.
fn on_link() -> Route {
    Route::new(v4(0), 24, None)
}

/// A shard on shared addresses, with two gateways, 1 and 2 of 10.0.0.240/28, of which the first has the default route.
fn routed() -> Shard {
    let mut shard = shard(|config| {
        config.addresses.iter_mut().for_each(|a| a.owned = false);
        config.routes = vec![default_by(v4(241))];
    });
    shard.on_neighbour(v4(241), Some(A));
    shard.on_neighbour(v4(242), Some(B));
    shard
}

/// What an application hears.
#[derive(Debug, Default)]
struct Hearing {
    accepted: Vec<ConnId>,
    closed: Vec<Option<Error>>,
    soft: Vec<SoftError>,
}

impl App for Hearing {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.push(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.closed.push(error);
    }
    fn on_soft_error(&mut self, _: &mut Io<'_>, _: ConnId, error: SoftError) {
        self.soft.push(error);
    }
}

/// A connection from `peer`, with an MSS of 1,460 and a wide window; our ISS.
fn open_from(shard: &mut Shard, app: &mut Hearing, now: Instant, peer: IpAddr) -> (ConnId, u32) {
    let mut syn = header(Flags::SYN, (1000, PORT), 300, 0);
    syn.options = Options { mss: Some(1460), ..Options::default() };
    shard.on_frame(now, &tcp_frame(peer, v4(1), syn, &[], None), app);
    let syn_ack = drain(shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
    let mut ack = header(Flags::ACK, (1000, PORT), 301, syn_ack.seq.value().wrapping_add(1));
    ack.window = 60_000;
    shard.on_frame(now, &tcp_frame(peer, v4(1), ack, &[], None), app);
    drain(shard, now);
    let conn = *app.accepted.last().expect("accepted");
    shard.call(now, |io| io.set_nodelay(conn, true)).expect("open");
    (conn, syn_ack.seq.value())
}

fn send(shard: &mut Shard, now: Instant, conn: ConnId, n: usize) -> Vec<Vec<u8>> {
    assert_eq!(shard.call(now, |io| io.send(conn, &vec![1; n])), Ok(n));
    drain(shard, now)
}

/// Where frames go.
fn stations(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(|f| &f[..6]).collect()
}

/// Lets time pass to `end`; what is sent.
fn pass_all(shard: &mut Shard, app: &mut Hearing, now: &mut Instant, end: Instant) -> Vec<Vec<u8>> {
    let mut frames = drain(shard, *now);
    while let Some(next) = shard.next_wakeup().filter(|at| *at <= end) {
        *now = (*now).max(next);
        shard.advance(*now, app);
        frames.extend(drain(shard, *now));
    }
    *now = end;
    frames
}

#[test]
fn a_connection_follows_its_route_to_another_gateway_and_onto_the_link() {
    let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    assert_eq!(stations(&send(&mut shard, now, conn, 10)), [&A.0]);
    shard.set_routes(vec![on_link(), default_by(v4(242))]);
    assert_eq!(stations(&send(&mut shard, now, conn, 10)), [&B.0]);
    // A longer prefix is added; of two with the same prefix the first counts.
    let host = |gateway| Route::new(far(), 32, gateway);
    shard.set_routes(vec![on_link(), default_by(v4(242)), host(Some(v4(241))), host(None)]);
    assert_eq!(stations(&send(&mut shard, now, conn, 10)), [&A.0]);
    // Onto the link: the peer itself must be found first.
    shard.set_routes(vec![host(None)]);
    assert!(send(&mut shard, now, conn, 10).is_empty());
    assert_eq!(shard.poll_resolve(), Some(far()));
    shard.on_neighbour(far(), Some(PEER));
    assert_eq!(stations(&drain(&mut shard, now)), [&PEER.0]);
    assert!(app.closed.is_empty() && app.soft.is_empty());
}

/// As Linux: what waits for a dead gateway goes as soon as there is a better way.
#[test]
fn what_waits_for_a_dead_gateway_takes_the_new_way_at_once() {
    let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    shard.on_neighbour(v4(241), None);
    assert!(send(&mut shard, now, conn, 10).is_empty(), "the gateway is asked for");
    shard.set_routes(vec![on_link(), default_by(v4(242))]);
    assert_eq!(stations(&drain(&mut shard, now)), [&B.0]);
}

/// As Linux: a route that goes ends no connection, and new ones find none.
#[test]
fn without_a_route_connections_wait_and_opens_fail() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    shard.set_routes(vec![on_link()]);
    let open = shard.call(now, |io| io.connect(SocketAddr::new(far(), 7)));
    assert_eq!(open, Err(ConnectError::NoRoute));
    assert!(send(&mut shard, now, conn, 10).is_empty());
    let end = now + Duration::from_secs(5);
    assert!(pass_all(&mut shard, &mut app, &mut now, end).is_empty());
    assert_eq!(app.soft, [SoftError::Icmp(IcmpError::NetUnreachable)]);
    shard.set_routes(vec![on_link(), default_by(v4(241))]);
    assert_eq!(stations(&drain(&mut shard, now)), [&A.0]);
    assert!(app.closed.is_empty());
    // It never comes back: R2 (15 minutes), and the reason is known.
    shard.set_routes(Vec::new());
    let end = now + Duration::from_secs(1200);
    assert!(pass_all(&mut shard, &mut app, &mut now, end).is_empty());
    assert_eq!(app.closed, [Some(Error::NetworkUnreachable)]);
    assert_eq!((shard.connections(), shard.next_wakeup()), (0, None));
}

/// An open that is under way: MUST-56, it is not ended by what is no hard error.
#[test]
fn an_open_whose_route_goes_is_sent_when_it_is_back() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    shard.call(now, |io| io.connect(SocketAddr::new(far(), 7))).expect("begun");
    shard.set_routes(Vec::new());
    let end = now + Duration::from_secs(10);
    assert!(pass_all(&mut shard, &mut app, &mut now, end).is_empty());
    shard.set_routes(vec![default_by(v4(242))]);
    let frames = drain(&mut shard, now);
    assert_eq!(stations(&frames), [&B.0]);
    assert_eq!(segment_of(&frames[0]).expect("TCP").0.flags, Flags::SYN);
}

#[test]
fn owned_addresses_keep_their_link() {
    let (mut shard, now) = (shard(|_| {}), Instant::ZERO);
    shard.set_routes(Vec::new());
    shard.call(now, |io| io.connect(SocketAddr::new(v4(9), 7))).expect("on the link");
    assert_eq!(stations(&drain(&mut shard, now)), [&PEER.0]);
}

/// Decision: a neighbour that the kernel forgets (`ip neigh flush`) stops no transfer.
#[test]
fn a_forgotten_neighbour_is_used_and_asked_for() {
    let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    shard.on_forgotten_neighbour(v4(241));
    assert_eq!(stations(&send(&mut shard, now, conn, 10)), [&A.0]);
    assert_eq!((shard.poll_resolve(), shard.poll_resolve()), (Some(v4(241)), None));
    // It has moved meanwhile.
    shard.on_neighbour(v4(241), Some(B));
    assert_eq!(stations(&send(&mut shard, now, conn, 10)), [&B.0]);
    assert_eq!(shard.poll_resolve(), None);
}

/// RFC 4861 section 7.3.3: a stale neighbour is probed when it is used, and the kernel does not see that it is.
#[test]
fn a_stale_neighbour_is_asked_for_by_who_uses_it_only() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    for gateway in [v4(241), v4(242)] {
        shard.on_stale_neighbour(now, gateway);
    }
    let end = now + Duration::from_secs(100);
    pass_all(&mut shard, &mut app, &mut now, end);
    assert_eq!((shard.poll_resolve(), shard.next_wakeup()), (None, None), "an idle stack sleeps");
    assert_eq!(stations(&send(&mut shard, now, conn, 10)), [&A.0]);
    assert_eq!((shard.poll_resolve(), shard.poll_resolve()), (Some(v4(241)), None));
}

/// The bytes of IP packets that carry data.
fn packets(frames: &[Vec<u8>]) -> Vec<usize> {
    frames.iter().map(|f| f.len() - 14).filter(|len| *len > 80).collect()
}

#[test]
fn a_smaller_mtu_holds_at_once_for_what_is_in_flight_too() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, iss) = open_from(&mut shard, &mut app, now, far());
    assert_eq!(packets(&send(&mut shard, now, conn, 2920)), [1500, 1500]);
    shard.set_mtu(now, 1400);
    // Each segment of 1,460 octets again, as 1,360 and 100.
    assert_eq!(packets(&drain(&mut shard, now)), [1400, 140, 1400, 140]);
    let mut ack = header(Flags::ACK, (1000, PORT), 301, iss.wrapping_add(2921));
    ack.window = 60_000;
    shard.on_frame(now, &tcp_frame(far(), v4(1), ack, &[], None), &mut app);
    // Larger ones are not tried, however long that lasts.
    for _ in 0..3 {
        now += Duration::from_secs(700);
        let sent = send(&mut shard, now, conn, 2720);
        assert_eq!(packets(&sent), [1400, 1400]);
        ack.ack = segment_of(&sent[1]).expect("TCP").0.seq + 1360;
        shard.on_frame(now, &tcp_frame(far(), v4(1), ack, &[], None), &mut app);
    }
    // It carries more than before: what both ends agreed on is tried, and then used.
    shard.set_mtu(now, 9000);
    now += Duration::from_secs(20);
    let sent = send(&mut shard, now, conn, 2920);
    assert_eq!(packets(&sent)[0], 1500);
    for frame in &sent {
        let (header, len) = segment_of(frame).expect("TCP");
        ack.ack = header.seq + u32::try_from(len).expect("small");
    }
    shard.on_frame(now, &tcp_frame(far(), v4(1), ack, &[], None), &mut app);
    let rest = drain(&mut shard, now);
    assert!(rest.is_empty());
    assert_eq!(packets(&send(&mut shard, now, conn, 2920)), [1500, 1500]);
}

/// What is repeated to who asked may be longer than what the link carries by now: it would not fit a frame.
#[test]
fn an_echo_that_waits_while_the_mtu_shrinks_is_dropped() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let data = 576 - 20 - 8;
    for len in [data, 1400, data + 1] {
        shard.on_frame(now, &echo_frame(len), &mut app);
    }
    shard.set_mtu(now, 576);
    assert_eq!(drain(&mut shard, now).iter().map(Vec::len).collect::<Vec<_>>(), [14 + 576]);
    assert_eq!((shard.counters().refusals(Refusal::RepliesFull), shard.chunks_in_use()), (2, 0));
}

/// MUST-14: the MSS announced is what the interface takes in now.
#[test]
fn a_new_connection_has_the_mss_of_the_new_mtu() {
    let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
    for (mtu, mss) in [(1400, 1360), (3000, 2960), (100, 536)] {
        shard.set_mtu(now, mtu);
        assert_eq!(shard.frame_bytes(), 18 + usize::from(mss) + 40);
        shard.call(now, |io| io.connect(SocketAddr::new(far(), 7))).expect("begun");
        let frames = drain(&mut shard, now);
        assert_eq!(segment_of(&frames[0]).expect("TCP").0.options.mss, Some(mss));
    }
    // One that is being opened meanwhile goes no higher than the link.
    shard.set_mtu(now, 1500);
    let conn = shard.call(now, |io| io.connect(SocketAddr::new(far(), 7))).expect("begun");
    let syn = segment_of(&drain(&mut shard, now)[0]).expect("TCP").0;
    shard.set_mtu(now, 1400);
    let mut syn_ack = header(Flags::SYN | Flags::ACK, (7, syn.src_port), 300, syn.seq.value().wrapping_add(1));
    syn_ack.options = Options { mss: Some(1460), ..Options::default() };
    shard.on_frame(now, &tcp_frame(far(), v4(1), syn_ack, &[], None), &mut app);
    drain(&mut shard, now);
    assert_eq!(packets(&send(&mut shard, now, conn, 1360)), [1400]);
}

/// `mtu` of a route: MUST-67, and as Linux announces it.
#[test]
fn a_route_with_an_mtu_limits_what_is_announced_and_sent() {
    let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
    let by = |mtu| Route { mtu: Some(mtu), ..Route::new(far(), 32, Some(v4(241))) };
    for (mtu, mss) in [(1300, 1260), (9000, 1460), (100, 536)] {
        shard.set_routes(vec![by(mtu), on_link(), default_by(v4(241))]);
        shard.call(now, |io| io.connect(SocketAddr::new(far(), 7))).expect("begun");
        let frames = drain(&mut shard, now);
        assert_eq!(segment_of(&frames[0]).expect("TCP").0.options.mss, Some(mss));
    }
    shard.set_routes(vec![by(1300), on_link(), default_by(v4(241))]);
    // The way back of one that comes.
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    assert_eq!(packets(&send(&mut shard, now, conn, 2520)), [1300, 1300]);
    // Nor does a larger link carry more to there.
    shard.set_mtu(now, 9000);
    assert_eq!(packets(&send(&mut shard, now, conn, 2520)), [1300, 1300]);
    shard.call(now, |io| io.connect(SocketAddr::new(IpAddr::from([192, 0, 2, 8]), 7))).expect("begun");
    let frames = drain(&mut shard, now);
    assert_eq!(segment_of(&frames[0]).expect("TCP").0.options.mss, Some(8960), "elsewhere as ever");
}

#[test]
fn another_mac_address_is_sent_from_and_taken() {
    let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, iss) = open_from(&mut shard, &mut app, now, far());
    shard.set_mac(now, B);
    assert_eq!(send(&mut shard, now, conn, 10)[0][6..12], B.0);
    let ack = header(Flags::ACK, (1000, PORT), 301, iss.wrapping_add(11));
    let mut frame = tcp_frame(far(), v4(1), ack, &[], None);
    shard.on_frame(now, &frame, &mut app);
    assert_eq!(shard.counters().refusals(Refusal::NotOurMac), 1);
    frame[..6].copy_from_slice(&B.0);
    shard.on_frame(now, &frame, &mut app);
    assert_eq!(shard.counters().refusals(Refusal::NotOurMac), 1);
}

/// As Linux: nobody may send from an address that the host has lost; its connections live on, and go on when it is back.
#[test]
fn an_address_that_is_gone_is_silent_until_it_is_back() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    shard.set_present(&[v6(1)]);
    assert!(send(&mut shard, now, conn, 10).is_empty());
    let syn = header(Flags::SYN, (1001, PORT), 300, 0);
    let syn = tcp_frame(far(), v4(1), syn, &[], None);
    shard.on_frame(now, &syn, &mut app);
    assert!(drain(&mut shard, now).is_empty());
    assert_eq!(shard.counters().refusals(Refusal::NotOurAddress), 1);
    let connect = |shard: &mut Shard| shard.call(now, |io| io.connect(SocketAddr::new(v4(9), 7)));
    assert_eq!(connect(&mut shard), Err(ConnectError::NoRoute));
    let end = now + Duration::from_secs(5);
    assert!(pass_all(&mut shard, &mut app, &mut now, end).is_empty());
    shard.set_present(&[v4(1), v6(1)]);
    assert_eq!(stations(&drain(&mut shard, now)), [&A.0]);
    shard.on_frame(now, &syn, &mut app);
    assert_eq!(drain(&mut shard, now).len(), 1, "a SYN-ACK");
    assert!(app.closed.is_empty());
}

/// The address may be another host's by now: neither a handshake that was under way nor a reset is heard from it.
#[test]
fn what_was_begun_on_an_address_that_is_gone_is_silent_too() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    let (conn, _) = open_from(&mut shard, &mut app, now, far());
    let syn = tcp_frame(far(), v4(1), header(Flags::SYN, (1001, PORT), 300, 0), &[], None);
    shard.on_frame(now, &syn, &mut app);
    assert_eq!(drain(&mut shard, now).len(), 1, "a SYN-ACK");
    shard.set_present(&[v6(1)]);
    shard.call(now, |io| io.abort(conn)).expect("open");
    let end = now + Duration::from_secs(2);
    assert!(pass_all(&mut shard, &mut app, &mut now, end).is_empty());
    assert_eq!(shard.counters().syn_acks_again, 0);
    // It is back: the SYN-ACK goes out again when it is due, 3 s and 7 s behind the first.
    shard.set_present(&[v4(1), v6(1)]);
    let end = now + Duration::from_secs(6);
    assert_eq!(pass_all(&mut shard, &mut app, &mut now, end).len(), 2);
    assert_eq!(shard.counters().syn_acks_again, 2);
}

/// Nor is the last ACK of a connection, or a reset for data that nobody reads: what comes in is still heard.
#[test]
fn what_ends_on_an_address_that_is_gone_ends_in_silence() {
    for abort in [false, true] {
        let (mut shard, mut app, now) = (routed(), Hearing::default(), Instant::ZERO);
        let (conn, iss) = open_from(&mut shard, &mut app, now, far());
        let half = if abort { tcp::Half::Read } else { tcp::Half::Write };
        shard.call(now, |io| io.shutdown(conn, half)).expect("open");
        drain(&mut shard, now);
        shard.set_present(&[v6(1)]);
        let (flags, data) = if abort { (Flags::ACK, &[1; 5][..]) } else { (Flags::FIN | Flags::ACK, &[][..]) };
        let last = header(flags, (1000, PORT), 301, iss.wrapping_add(if abort { 1 } else { 2 }));
        shard.on_frame(now, &tcp_frame(far(), v4(1), last, data, None), &mut app);
        assert!(drain(&mut shard, now).is_empty(), "{abort}");
        assert_eq!((shard.connections(), shard.time_waits()), (0, usize::from(!abort)));
        assert_eq!(shard.counters().resets_out, 0);
    }
}

/// As Linux: a handshake whose last ACK comes while there is no route (a link that flaps) is complete when that comes again.
#[test]
fn a_handshake_outlives_a_route_that_goes_and_comes_back() {
    let (mut shard, mut app, mut now) = (routed(), Hearing::default(), Instant::ZERO);
    let syn = tcp_frame(far(), v4(1), header(Flags::SYN, (1000, PORT), 300, 0), &[], None);
    shard.on_frame(now, &syn, &mut app);
    let iss = segment_of(&drain(&mut shard, now)[0]).expect("a SYN-ACK").0.seq;
    let ack = header(Flags::ACK, (1000, PORT), 301, iss.value().wrapping_add(1));
    let ack = tcp_frame(far(), v4(1), ack, &[], None);
    shard.set_routes(Vec::new());
    shard.on_frame(now, &ack, &mut app);
    assert!(drain(&mut shard, now).is_empty());
    assert_eq!((shard.half_open(), shard.counters().refusals(Refusal::NoRoute)), (1, 1));
    shard.set_routes(vec![on_link(), default_by(v4(241))]);
    let end = now + Duration::from_millis(1500);
    let again = pass_all(&mut shard, &mut app, &mut now, end);
    assert_eq!(segment_of(&again[0]).expect("TCP").0.flags, Flags::SYN | Flags::ACK);
    shard.on_frame(now, &ack, &mut app);
    assert!(drain(&mut shard, now).is_empty(), "no reset");
    assert_eq!((app.accepted.len(), shard.connections(), shard.half_open()), (1, 1, 0));
}
