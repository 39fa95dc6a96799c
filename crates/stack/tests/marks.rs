//! What the IP header says besides addresses: hop limit, DSCP, flow label.

mod support;

use core::net::IpAddr;
use stack::{Instant, Shard};
use support::*;
use wire::tcp::Flags;

/// TTL or hop limit, traffic class, flow label.
fn marks(frame: &[u8]) -> (u8, u8, u32) {
    let ip = &frame[14..];
    if ip[0] >> 4 == 4 {
        (ip[8], ip[1], 0)
    } else {
        (ip[7], ip[0] << 4 | ip[1] >> 4, u32::from_be_bytes([0, ip[1] & 15, ip[2], ip[3]]))
    }
}

fn syn(shard: &mut Shard, app: &mut Counting, peer: IpAddr, port: u16) -> Vec<Vec<u8>> {
    let local = if peer.is_ipv4() { v4(1) } else { v6(1) };
    let syn = header(Flags::SYN, (port, PORT), 300, 0);
    shard.on_frame(Instant::ZERO, &tcp_frame(peer, local, syn, &[], None), app);
    drain(shard, Instant::ZERO)
}

/// MUST-49: the hop limit is as configured, of SYN-ACKs and of resets, in both families.
#[test]
fn the_hop_limit_is_configured() {
    for limit in [37, 64] {
        let (mut shard, mut app) = (shard(|c| c.hop_limit = limit), Counting::default());
        for peer in [v4(9), v6(9)] {
            assert_eq!(marks(&syn(&mut shard, &mut app, peer, 1000)[0]).0, limit);
            let local = if peer.is_ipv4() { v4(1) } else { v6(1) };
            let stray = header(Flags::ACK, (1001, 99), 300, 5);
            shard.on_frame(Instant::ZERO, &tcp_frame(peer, local, stray, &[], None), &mut app);
            assert_eq!(marks(&drain(&mut shard, Instant::ZERO)[0]).0, limit);
        }
    }
}

/// MUST-48, SHLD-21, SHLD-22: DSCP 46 from the SYN on, another one later, on data, ACKs and what is sent again; ECN's bits are
/// not touched.
#[test]
fn the_dscp_is_the_applications() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let conn = shard.call(now, |io| io.connect((v4(9), 90).into())).expect("a port");
    shard.call(now, |io| io.set_traffic_class(conn, 46)).expect("open");
    let syn = drain(&mut shard, now).pop().expect("a SYN");
    assert_eq!(marks(&syn).1, 46 << 2);
    let (ours, _) = segment_of(&syn).expect("TCP");
    let (ports, next) = ((90, ours.src_port), ours.seq.value().wrapping_add(1));
    let answer = header(Flags::SYN | Flags::ACK, ports, 300, next);
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), answer, &[], None), &mut app);
    assert_eq!(marks(&drain(&mut shard, now)[0]).1, 46 << 2);
    // More than six bits are not taken from anybody.
    shard.call(now, |io| io.set_traffic_class(conn, 0xc0 | 10)).expect("open");
    shard.call(now, |io| io.send(conn, &[1; 100])).expect("open");
    assert_eq!(marks(&drain(&mut shard, now)[0]).1, 10 << 2);
    let again = (0..9).find_map(|_| {
        let later = shard.next_wakeup().expect("a retransmission is due");
        shard.advance(later, &mut app);
        drain(&mut shard, later).pop()
    });
    assert_eq!(marks(&again.expect("sent again")).1, 10 << 2);
}

/// RFC 6437 section 3: one label for all packets of a flow, resets too, not zero, and another for another flow.
#[test]
fn a_flow_has_its_label() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let frame = syn(&mut shard, &mut app, v6(9), 1000).remove(0);
    let label = marks(&frame).2;
    assert_ne!(label, 0);
    assert_ne!(marks(&syn(&mut shard, &mut app, v6(9), 1001)[0]).2, label);
    // An ACK of what was never sent: the reset of SYN-RECEIVED is a reply, and belongs to the flow.
    let wrong = header(Flags::ACK, (1000, PORT), 301, 12345);
    shard.on_frame(now, &tcp_frame(v6(9), v6(1), wrong, &[], None), &mut app);
    let reset = drain(&mut shard, now);
    assert_eq!(reset.iter().map(|f| marks(f).2).collect::<Vec<_>>(), [label]);
}

/// RFC3168-6.1.1-b, RFC3168-6.1.4-a, RFC3168-6.1.3-a: ECT(0) is on new data alone: not on the handshake, pure ACKs, window
/// probes or what is sent again. A mark on the way in is echoed.
#[test]
fn only_new_data_is_ecn_capable() {
    for (peer, own) in [(v4(9), v4(1)), (v6(9), v6(1))] {
        let (mut shard, mut app, mut now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        let ecn = |frame: &[u8]| marks(frame).1 & 3;
        let arrive = |shard: &mut Shard, app: &mut Counting, now, header, payload: &[u8], mark: u8| {
            let mut frame = tcp_frame(peer, own, header, payload, None);
            if peer.is_ipv4() {
                // The header's checksum is kept right: its ECN field was 0.
                frame[15] |= mark;
                let sum = u16::from_be_bytes([frame[24], frame[25]]) - u16::from(mark);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            } else {
                frame[15] |= mark << 4;
            }
            shard.on_frame(now, &frame, app);
            drain(shard, now)
        };
        let setup = header(Flags::SYN | Flags::ECE | Flags::CWR, (1000, PORT), 300, 0);
        let syn_ack = arrive(&mut shard, &mut app, now, setup, &[], 0);
        let tcp = |frame: &[u8]| {
            let at = if peer.is_ipv4() { 34 } else { 54 };
            wire::tcp::Segment::parse(&frame[at..], own, peer).expect("TCP").header
        };
        let answer = tcp(&syn_ack[0]);
        assert_eq!((ecn(&syn_ack[0]), answer.flags), (0, Flags::SYN | Flags::ACK | Flags::ECE));
        let next = answer.seq.value().wrapping_add(1);
        let ack = |n: u32| header(Flags::ACK, (1000, PORT), 301, next.wrapping_add(n));
        arrive(&mut shard, &mut app, now, ack(0), &[], 0);
        shard.call(now, |io| io.send(app.accepted[0], &[1; 8])).expect("open");
        let data = drain(&mut shard, now);
        assert_eq!((data.len(), ecn(&data[0])), (1, 2), "new data");
        let mut later = |shard: &mut Shard, app: &mut Counting| loop {
            now = shard.next_wakeup().expect("a timer").max(now);
            shard.advance(now, app);
            let out = drain(shard, now);
            if !out.is_empty() {
                return (now, out);
            }
        };
        let (_, again) = later(&mut shard, &mut app);
        assert_eq!((again.len(), ecn(&again[0])), (1, 0), "sent again");
        let (now, _) = later(&mut shard, &mut app);
        let mut closed = ack(8);
        closed.window = 0;
        assert!(arrive(&mut shard, &mut app, now, closed, &[], 0).is_empty());
        shard.call(now, |io| io.send(app.accepted[0], &[1; 8])).expect("open");
        assert!(drain(&mut shard, now).is_empty());
        let (now, probe) = later(&mut shard, &mut app);
        assert_eq!((probe.len(), ecn(&probe[0]), tcp(&probe[0]).flags.contains(Flags::CWR)), (1, 0, false), "a probe");
        let mut marked = ack(8);
        marked.window = 0;
        let out = arrive(&mut shard, &mut app, now, marked, &[7; 4], 3);
        assert_eq!((out.len(), ecn(&out[0]), tcp(&out[0]).flags), (1, 0, Flags::ACK | Flags::ECE), "an ACK");
        // Whatever else there is goes out and is acknowledged.
        let all = |n: u32| header(Flags::ACK, (1000, PORT), 305, next.wrapping_add(n));
        let rest = arrive(&mut shard, &mut app, now, all(9), &[], 0);
        let len: usize = rest.iter().map(|f| wire_payload(f, own, peer)).sum();
        arrive(&mut shard, &mut app, now, all(9 + u32::try_from(len).expect("short")), &[], 0);
        shard.call(now, |io| io.shutdown(app.accepted[0], stack::Half::Write)).expect("open");
        let out = drain(&mut shard, now);
        assert_eq!((out.len(), ecn(&out[0])), (1, 0), "a FIN without data");
        assert!(tcp(&out[0]).flags.contains(Flags::FIN));
    }
}

/// The octets of data in a frame of ours.
fn wire_payload(frame: &[u8], own: IpAddr, peer: IpAddr) -> usize {
    let at = if own.is_ipv4() { 34 } else { 54 };
    wire::tcp::Segment::parse(&frame[at..], own, peer).expect("TCP").payload.len()
}

/// RFC3168-6.1.1-b: who was not asked, or is not to answer, sends nothing that is ECN-capable.
#[test]
fn without_agreement_nothing_is_ecn_capable() {
    let asks = Flags::SYN | Flags::ECE | Flags::CWR;
    for (ecn, syn) in [(stack::Ecn::Answer, Flags::SYN), (stack::Ecn::Off, asks)] {
        let settings = stack::Settings { ecn, ..stack::Settings::default() };
        let (mut app, now) = (Counting::default(), Instant::ZERO);
        let mut shard = shard(|config| config.tcp = stack::TcpConfig::new(settings).expect("valid"));
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), header(syn, (1000, PORT), 300, 0), &[], None), &mut app);
        let answer = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
        let ack = header(Flags::ACK, (1000, PORT), 301, answer.seq.value().wrapping_add(1));
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), &mut app);
        shard.call(now, |io| io.send(app.accepted[0], &[1; 8])).expect("open");
        let data = drain(&mut shard, now);
        assert_eq!((data.len(), marks(&data[0]).1 & 3), (1, 0));
    }
}
