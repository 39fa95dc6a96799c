//! What becomes of connections in a shard when the application, the neighbour or an old duplicate ends them early.

mod support;

use core::net::SocketAddr;
use stack::{Duration, Error, Half, Instant, Refusal};
use support::*;
use tcp::Info;
use wire::tcp::{Flags, Header};

/// RFC9293-3.10.4-a.
#[test]
fn shutdown_while_connecting_ends_the_connection_and_tells() {
    // RFC 9293 section 3.10.4: CLOSE in SYN-SENT deletes the TCB.
    let (mut shard, mut app, mut now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    app.connect = Some(SocketAddr::new(v4(9), 7));
    shard.call(now, |io| stack::App::on_turn(&mut app, io));
    assert_eq!(drain(&mut shard, now).len(), 1);
    let conn = app.conn.expect("begun");
    shard.call(now, |io| io.shutdown(conn, Half::Write)).expect("alive");
    let end = now + Duration::from_secs(1);
    assert_eq!(pass(&mut shard, &mut app, &mut now, end), 0);
    assert_eq!(app.closed, [None]);
    assert_eq!((shard.connections(), shard.next_wakeup()), (0, None));
}

#[test]
fn a_half_open_connection_ends_though_its_neighbour_never_answers() {
    let (mut shard, mut app, mut now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    for n in 20..24 {
        let syn = header(Flags::SYN, (1000, PORT), 5, 0);
        shard.on_frame(now, &tcp_frame(v4(n), v4(1), syn, &[], None), &mut app);
    }
    let syn = header(Flags::SYN, (1000, PORT), 5, 0);
    shard.on_frame(now, &tcp_frame(v4(25), v4(1), syn, &[], None), &mut app);
    assert_eq!(shard.counters().refusals(Refusal::BacklogFull), 1);
    let end = now + Duration::from_secs(400);
    pass(&mut shard, &mut app, &mut now, end);
    assert_eq!((shard.connections(), shard.next_wakeup()), (0, None));
    open(&mut shard, &mut app, now, 1001, 77);
    assert_eq!(app.accepted.len(), 1, "the backlog is free again");
}

/// MUST-20, RFC9293-3.10.8-a.
#[test]
fn a_connection_whose_neighbour_is_lost_times_out_without_a_busy_loop() {
    // The neighbour's entry is gone (cable out): nothing can be sent, but R2 runs (MUST-20).
    for closed_window in [false, true] {
        let (mut shard, mut app, mut now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
        let iss = open(&mut shard, &mut app, now, 1000, 5);
        let conn = app.accepted[0];
        if closed_window {
            let mut zero = header(Flags::ACK, (1000, PORT), 6, iss.wrapping_add(1));
            zero.window = 0;
            shard.on_frame(now, &tcp_frame(v4(9), v4(1), zero, &[], None), &mut app);
        }
        shard.call(now, |io| io.send(conn, &[1; 100])).expect("open");
        assert_eq!(drain(&mut shard, now).len(), usize::from(!closed_window));
        shard.on_neighbour(v4(9), None);
        let end = now + Duration::from_secs(1200);
        pass(&mut shard, &mut app, &mut now, end);
        assert_eq!(app.closed, [Some(Error::TimedOut)], "closed window: {closed_window}");
        assert_eq!(shard.connections(), 0);
    }
}

/// The same for what was sent into a window that was shut over it: when it opens, nothing but the neighbour is missing.
#[test]
fn what_is_to_be_sent_again_times_out_though_its_neighbour_is_lost() {
    let (mut shard, mut app, mut now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let iss = open(&mut shard, &mut app, now, 1000, 5);
    shard.call(now, |io| io.send(app.accepted[0], &[1; 100])).expect("open");
    assert_eq!(drain(&mut shard, now).len(), 1);
    let window = |octets: u16| {
        let header = Header { window: octets, ..header(Flags::ACK, (1000, PORT), 6, iss.wrapping_add(1)) };
        tcp_frame(v4(9), v4(1), header, &[], None)
    };
    shard.on_frame(now, &window(0), &mut app);
    // The loss probe, and the retransmission that becomes a window probe.
    let end = now + Duration::from_secs(10);
    assert!(pass(&mut shard, &mut app, &mut now, end) > 1);
    shard.on_neighbour(v4(9), None);
    shard.on_frame(now, &window(5000), &mut app);
    assert!(drain(&mut shard, now).iter().all(|frame| segment_of(frame).is_none()), "but for who asks for it");
    shard.invariants().expect("a timer runs");
    let end = now + Duration::from_secs(1200);
    pass(&mut shard, &mut app, &mut now, end);
    assert_eq!(app.closed, [Some(Error::TimedOut)]);
    assert_eq!((shard.connections(), shard.next_wakeup()), (0, None));
}

/// MUST-63, RFC1122-3.2.1.3-a.
#[test]
fn a_dead_handle_and_a_segment_from_our_own_address() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    open(&mut shard, &mut app, now, 1000, 5);
    let dead = app.accepted[0];
    shard.call(now, |io| io.abort(dead)).expect("alive");
    drain(&mut shard, now);
    // The slot is taken by another connection: the old handle does not name it.
    open(&mut shard, &mut app, now, 1001, 5);
    assert_eq!(app.accepted[1].index(), dead.index());
    assert_eq!(shard.call(now, |io| io.send(dead, b"x")), Err(Error::NotConnected));
    assert_eq!(shard.call(now, |io| io.close(dead)), Err(Error::NotConnected));
    // RFC 1122 section 3.2.1.3, RFC 9293 MUST-63.
    for src in [v4(1), [255; 4].into(), [224, 0, 0, 1].into(), [0; 4].into()] {
        let syn = header(Flags::SYN, (1, PORT), 5, 0);
        shard.on_frame(now, &tcp_frame(src, v4(1), syn, &[], None), &mut app);
    }
    assert_eq!(shard.counters().refusals(Refusal::BadSource), 4);
    assert!(drain(&mut shard, now).is_empty());
}

/// A connection that we close first: it ends in TIME-WAIT with SND.NXT = ISS + 2 and RCV.NXT = 302.
fn in_time_wait(backlog_full: bool, max_half_open: u32) -> (stack::Shard, Counting, Instant, u32) {
    let (mut shard, mut app, now) = (shard(|c| c.max_half_open = max_half_open), Counting::default(), Instant::ZERO);
    let iss = open(&mut shard, &mut app, now, 1000, 300);
    let conn = app.accepted[0];
    shard.call(now, |io| io.shutdown(conn, Half::Write)).expect("open");
    drain(&mut shard, now);
    let fin = header(Flags::FIN | Flags::ACK, (1000, PORT), 301, iss.wrapping_add(2));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), fin, &[], None), &mut app);
    drain(&mut shard, now);
    assert_eq!((shard.connections(), shard.time_waits()), (0, 1));
    for n in 0..if backlog_full { 4 } else { 0 } {
        let syn = header(Flags::SYN, (2000 + n, PORT), 5, 0);
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), syn, &[], None), &mut app);
    }
    drain(&mut shard, now);
    (shard, app, now, iss)
}

fn arrive(shard: &mut stack::Shard, app: &mut Counting, now: Instant, h: Header) -> Vec<Header> {
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), h, &[], None), app);
    drain(shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect()
}

/// MAY-2.
#[test]
fn s23d_time_wait_comes_back_when_the_reopening_syn_was_old() {
    let (mut shard, mut app, now, iss) = in_time_wait(false, 9);
    let out = arrive(&mut shard, &mut app, now, header(Flags::SYN, (1000, PORT), 1000, 0));
    assert_eq!((out.len(), out[0].flags, out[0].ack.value()), (1, Flags::SYN | Flags::ACK, 1001));
    assert!(out[0].seq.after(wire::SeqNum::new(iss) + 2), "the new ISS lies behind the old incarnation");
    assert_eq!((shard.half_open(), shard.connections(), shard.time_waits()), (1, 0, 0));
    assert!(arrive(&mut shard, &mut app, now, header(Flags::RST, (1000, PORT), 1001, 0)).is_empty());
    assert_eq!((shard.connections(), shard.time_waits()), (0, 1));
    // And it answers as before.
    let old =
        arrive(&mut shard, &mut app, now, header(Flags::FIN | Flags::ACK, (1000, PORT), 301, iss.wrapping_add(2)));
    assert_eq!((old[0].flags, old[0].ack.value()), (Flags::ACK, 302));
    let mut later = now;
    pass(&mut shard, &mut app, &mut later, now + Duration::from_secs(61));
    assert_eq!(shard.time_waits(), 0);
}

/// MAY-2: a peer whose old connection is in TIME-WAIT gets in though the backlog is full, as in Linux; without room for
/// another record TIME-WAIT stays as it was.
#[test]
fn a_refused_reopening_leaves_time_wait_as_it_was() {
    for crowded in [false, true] {
        let (mut shard, mut app, now, _) = in_time_wait(true, if crowded { 4 } else { 5 });
        let out = arrive(&mut shard, &mut app, now, header(Flags::SYN, (1000, PORT), 1000, 0));
        assert_eq!(out.len(), usize::from(!crowded));
        assert_eq!(shard.counters().refusals(Refusal::BacklogFull), u64::from(crowded));
        assert_eq!(shard.time_waits(), usize::from(crowded));
    }
}

/// MAY-2, RFC6191-2-b.
#[test]
fn s23_a_newer_syn_reopens_and_is_accepted() {
    let (mut shard, mut app, now, _) = in_time_wait(false, 9);
    let out = arrive(&mut shard, &mut app, now, header(Flags::SYN, (1000, PORT), 1000, 0));
    let ack = header(Flags::ACK, (1000, PORT), 1001, out[0].seq.value().wrapping_add(1));
    assert!(arrive(&mut shard, &mut app, now, ack).is_empty());
    assert_eq!((app.accepted.len(), shard.connections(), shard.time_waits()), (2, 1, 0));
    let info: Info = shard.call(now, |io| io.info(app.accepted[1])).expect("alive");
    assert_eq!(info.state, stack::State::Established);
    // Once established, its end brings the old incarnation back no more.
    arrive(&mut shard, &mut app, now, header(Flags::RST, (1000, PORT), 1001, 0));
    assert_eq!((shard.connections(), shard.time_waits()), (0, 0));
}
