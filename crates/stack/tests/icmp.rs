//! ICMP errors that quote what a shard has sent: RFC 9293 section 3.9.2.2, RFC 5927.

mod support;

use core::net::IpAddr;
use stack::{Error, IcmpError, Instant, Refusal, Shard, SoftError};
use support::*;
use wire::{SeqNum, icmpv4, icmpv6, tcp::Flags};

/// An error of a router (which is not the peer) that quotes `quoted`, a whole frame of ours without a VLAN tag: its IP
/// header and 8 bytes.
fn error_frame(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let ipv4 = quoted[12..14] == [8, 0];
    let body = &quoted[14..14 + if ipv4 { 28 } else { 48 }];
    let mut message = vec![0; 8 + body.len()];
    if ipv4 {
        icmpv4::emit(kind, code, rest, body, &mut message);
        ip_frame(v4_router(), v4(1), 1, &message, None)
    } else {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (v6(77), v6(1)) else { unreachable!() };
        icmpv6::emit(kind, code, rest, body, src, dst, &mut message);
        ip_frame(src.into(), dst.into(), 58, &message, None)
    }
}

fn v4_router() -> IpAddr {
    IpAddr::from([192, 0, 2, 77])
}

/// An active open to port 90 of the peer 9 in either family: its SYN's frame.
fn connecting(shard: &mut Shard, app: &mut Counting, peer: IpAddr) -> Vec<u8> {
    app.connect = Some((peer, 90).into());
    shard.call(Instant::ZERO, |io| stack::App::on_turn(app, io));
    drain(shard, Instant::ZERO).pop().expect("a SYN")
}

fn accounted(shard: &Shard) {
    assert_eq!(shard.counters().frames_accounted(), shard.counters().frames_in);
}

/// MUST-54, SHLD-26, RFC1122-3.2.2.1-a: over IPv4 and IPv6, from any router.
#[test]
fn an_open_fails_by_a_hard_error() {
    for (peer, kind, code, end) in [
        (v4(9), 3, 3, Error::Refused),
        (v4(9), 3, 13, Error::HostUnreachable),
        (v6(9), 1, 4, Error::Refused),
        (v6(9), 1, 1, Error::HostUnreachable),
    ] {
        let (mut shard, mut app) = (shard(|_| {}), Counting::default());
        let syn = connecting(&mut shard, &mut app, peer);
        shard.on_frame(Instant::ZERO, &error_frame(kind, code, [0; 4], &syn), &mut app);
        assert_eq!((drain(&mut shard, Instant::ZERO).len(), shard.counters().icmp_in), (0, 1));
        assert_eq!((&app.closed[..], shard.connections()), (&[Some(end)][..], 0));
        accounted(&shard);
    }
}

/// MUST-54, MUST-56: of two connections to one host the one that is quoted hears of it, and lives.
#[test]
fn only_the_quoted_connection_is_concerned() {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    for port in [1000, 1001] {
        open(&mut shard, &mut app, Instant::ZERO, port, 300);
    }
    let conns = app.accepted.clone();
    for conn in &conns {
        shard.call(Instant::ZERO, |io| io.send(*conn, &[1; 100])).expect("open");
    }
    let data = drain(&mut shard, Instant::ZERO);
    for (kind, code) in [(3, 1), (3, 2), (3, 3)] {
        shard.on_frame(Instant::ZERO, &error_frame(kind, code, [0; 4], &data[1]), &mut app);
    }
    let soft = |shard: &mut Shard, n: usize| shard.call(Instant::ZERO, |io| io.soft_error(conns[n]));
    assert_eq!(soft(&mut shard, 0), Ok(None));
    assert_eq!(soft(&mut shard, 1), Ok(Some(SoftError::Icmp(IcmpError::PortUnreachable))));
    assert_eq!((app.closed.len(), shard.connections(), drain(&mut shard, Instant::ZERO).len()), (0, 2, 0));
    accounted(&shard);
}

/// MUST-55, RFC5927-4.1-a: source quench, what is not in flight, what is nobody's, what is no error: counted, and nothing
/// else.
#[test]
fn the_rest_is_refused() {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    open(&mut shard, &mut app, Instant::ZERO, 1000, 300);
    let conn = app.accepted[0];
    shard.call(Instant::ZERO, |io| io.send(conn, &[1; 100])).expect("open");
    let data = drain(&mut shard, Instant::ZERO).pop().expect("data");
    let info = shard.call(Instant::ZERO, |io| io.info(conn));
    let altered = |at: usize, value: u8| {
        let mut frame = data.clone();
        frame[at] = value;
        frame
    };
    let acknowledged = {
        // SND.UNA - 1: the SYN's number.
        let seq = SeqNum::new(u32::from_be_bytes([data[38], data[39], data[40], data[41]])) - 1;
        let mut frame = data.clone();
        frame[38..42].copy_from_slice(&seq.value().to_be_bytes());
        frame
    };
    let cases = [
        (error_frame(4, 0, [0; 4], &data), Refusal::SourceQuench),
        (error_frame(3, 1, [0; 4], &acknowledged), Refusal::IcmpStale),
        (error_frame(3, 1, [0; 4], &altered(36, 0x77)), Refusal::IcmpQuote), // destination port
        (error_frame(3, 1, [0; 4], &altered(23, 17)), Refusal::IcmpQuote),   // UDP
        (error_frame(3, 1, [0; 4], &altered(29, 2)), Refusal::IcmpQuote),    // another source than the error is sent to
        (error_frame(3, 99, [0; 4], &data), Refusal::Icmp),
        (error_frame(0, 0, [0; 4], &data), Refusal::Icmp), // an echo reply
    ];
    for (frame, refusal) in cases {
        let before = shard.counters().refusals(refusal);
        shard.on_frame(Instant::ZERO, &frame, &mut app);
        assert_eq!(shard.counters().refusals(refusal), before + 1, "{refusal:?}");
        assert_eq!(shard.call(Instant::ZERO, |io| (io.soft_error(conn), io.info(conn))), (Ok(None), info));
        assert!(drain(&mut shard, Instant::ZERO).is_empty());
    }
    assert_eq!(shard.counters().icmp_in, 0);
    accounted(&shard);
}

/// A connection in TIME-WAIT has nothing in flight; and arbitrary ends of the quotation do no harm.
#[test]
fn time_wait_and_short_quotations() {
    let (mut shard, mut app) = (shard(|_| {}), Counting::default());
    let iss = open(&mut shard, &mut app, Instant::ZERO, 1000, 300);
    let conn = app.accepted[0];
    shard.call(Instant::ZERO, |io| io.close(conn)).expect("open");
    let fin = drain(&mut shard, Instant::ZERO).pop().expect("FIN");
    for len in 0..28 {
        let mut message = vec![0; 8 + len];
        icmpv4::emit(3, 3, [0; 4], &fin[14..14 + len], &mut message);
        shard.on_frame(Instant::ZERO, &ip_frame(v4_router(), v4(1), 1, &message, None), &mut app);
    }
    assert_eq!(shard.counters().refusals(Refusal::IcmpQuote), 28);
    let end = header(Flags::FIN | Flags::ACK, (1000, PORT), 301, iss.wrapping_add(2));
    shard.on_frame(Instant::ZERO, &tcp_frame(v4(9), v4(1), end, &[], None), &mut app);
    assert_eq!(shard.time_waits(), 1);
    shard.on_frame(Instant::ZERO, &error_frame(3, 3, [0; 4], &fin), &mut app);
    assert_eq!((shard.counters().refusals(Refusal::IcmpQuote), shard.time_waits()), (29, 1));
    accounted(&shard);
}

/// SHLD-26, RFC5927-5.2-a, MUST-56: a hard error about our SYN-ACK ends the handshake, a soft one, or one about another
/// segment, does not.
#[test]
fn a_half_open_connection_ends_by_a_hard_error() {
    for (peer, own) in [(v4(9), v4(1)), (v6(9), v6(1))] {
        let (mut shard, mut app) = (shard(|_| {}), Counting::default());
        let syn = tcp_frame(peer, own, header(Flags::SYN, (1000, PORT), 5, 0), &[], None);
        shard.on_frame(Instant::ZERO, &syn, &mut app);
        let syn_ack = drain(&mut shard, Instant::ZERO).remove(0);
        let (soft, hard) = if peer.is_ipv4() { ((3, 1), (3, 3)) } else { ((1, 0), (1, 4)) };
        let mut other = syn_ack.clone();
        other[if peer.is_ipv4() { 14 + 20 + 7 } else { 14 + 40 + 7 }] ^= 1;
        for ((kind, code), quoted, taken, left) in
            [(soft, &syn_ack, 1, 1), (hard, &other, 1, 1), (hard, &syn_ack, 2, 0), (hard, &syn_ack, 2, 0)]
        {
            shard.on_frame(Instant::ZERO, &error_frame(kind, code, [0; 4], quoted), &mut app);
            assert_eq!((shard.counters().icmp_in, shard.half_open()), (taken, left));
            accounted(&shard);
        }
        assert_eq!(shard.counters().refusals(Refusal::IcmpStale), 1);
        assert!(drain(&mut shard, Instant::ZERO).is_empty() && app.closed.is_empty());
    }
}
