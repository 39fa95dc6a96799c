//! TIME-WAIT on the side that opens: ports come back, and never too early.
#![allow(clippy::cast_possible_truncation)]

mod support;

use core::net::SocketAddr;
use stack::{ConnectError, Duration, Instant, Shard};
use support::*;
use wire::tcp::{Flags, Header, Timestamps};

const PORTS: u32 = 4;

fn few_ports() -> Shard {
    shard(|c| c.ports = 61_000..=61_000 + PORTS as u16 - 1)
}

fn remote() -> SocketAddr {
    SocketAddr::new(v4(9), 7)
}

/// The peer's segment to our `port`, and what the shard sends then.
fn answer(shard: &mut Shard, app: &mut Counting, now: Instant, mut h: Header, stamp: Option<u32>) -> Vec<Header> {
    h.options.timestamps = stamp.map(|val| Timestamps { val, ecr: 0 });
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), h, &[], None), app);
    drain(shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect()
}

/// Opens a connection and closes it first. Returns the SYN and our SND.NXT at the end.
fn open_and_close(shard: &mut Shard, app: &mut Counting, now: Instant, stamp: Option<u32>) -> (Header, u32) {
    let conn = shard.call(now, |io| io.connect(remote())).expect("a free port");
    let (syn, _) = segment_of(&drain(shard, now)[0]).expect("a SYN");
    let port = syn.src_port;
    let ours = syn.seq.value();
    let n = |n: u32| ours.wrapping_add(n);
    answer(shard, app, now, header(Flags::SYN | Flags::ACK, (7, port), 500, n(1)), stamp);
    shard.call(now, |io| io.close(conn)).expect("open");
    drain(shard, now);
    answer(shard, app, now, header(Flags::FIN | Flags::ACK, (7, port), 501, n(2)), stamp);
    (syn, n(2))
}

/// SHLD-4's mirror, RFC6191-2-a: every port in TIME-WAIT doesn't mean that no connection can be opened; RFC1337: the new
/// one's sequence numbers and timestamps lie behind the old one's.
#[test]
fn time_wait_does_not_exhaust_the_ports() {
    let (mut shard, mut app) = (few_ports(), Counting::default());
    let begin = Instant::ZERO + Duration::from_secs(100);
    let mut old = Vec::new();
    for n in 0..PORTS {
        old.push(open_and_close(&mut shard, &mut app, begin, Some(9)));
        assert_eq!(shard.time_waits() as u32, n + 1, "another port each time");
    }
    // Too early: the timestamps would not differ enough.
    let early = begin + Duration::from_millis(999);
    assert_eq!(shard.call(early, |io| io.connect(remote())), Err(ConnectError::NoPort));
    let later = begin + Duration::from_secs(1);
    shard.call(later, |io| io.connect(remote())).expect("a port in TIME-WAIT is taken");
    let (syn, _) = segment_of(&drain(&mut shard, later)[0]).expect("a SYN");
    let (old_syn, old_nxt) = old.iter().find(|(h, _)| h.src_port == syn.src_port).expect("one of the ports");
    assert!(syn.seq.after(wire::SeqNum::new(*old_nxt)));
    let stamp = |h: &Header| h.options.timestamps.expect("timestamps").val;
    assert_eq!(stamp(&syn).wrapping_sub(stamp(old_syn)), 1000);
    assert_eq!((shard.time_waits(), shard.connections()), (3, 1));
    assert_eq!(shard.counters().time_wait_reused, 1);
}

/// That there is no port is remembered, but only as long as it is true: whoever ends frees theirs at once.
#[test]
fn a_port_that_is_free_is_found_where_there_was_none() {
    let (mut shard, mut app) = (few_ports(), Counting::default());
    let now = Instant::ZERO;
    let open = |shard: &mut Shard| shard.call(now, |io| io.connect(remote()));
    let all: Vec<_> = (0..PORTS).map(|_| open(&mut shard).expect("a free port")).collect();
    for conn in all {
        assert_eq!(open(&mut shard), Err(ConnectError::NoPort));
        assert_eq!(open(&mut shard), Err(ConnectError::NoPort));
        shard.call(now, |io| io.abort(conn)).expect("open");
        shard.advance(now, &mut app);
        drain(&mut shard, now);
        open(&mut shard).expect("its port");
    }
}

/// Without timestamps 2MSL pass in full.
#[test]
fn without_timestamps_a_port_comes_back_after_2msl() {
    let (mut shard, mut app) = (few_ports(), Counting::default());
    for _ in 0..PORTS {
        open_and_close(&mut shard, &mut app, Instant::ZERO, None);
    }
    let end = Instant::ZERO + Duration::from_millis(59_999);
    shard.advance(end, &mut app);
    assert_eq!(shard.call(end, |io| io.connect(remote())), Err(ConnectError::NoPort));
    let end = Instant::ZERO + Duration::from_millis(60_001);
    shard.advance(end, &mut app);
    shard.call(end, |io| io.connect(remote())).expect("2MSL are over");
}

/// RFC7323-3.2-b, RFC9293-3.10.7.4-m: the answer to the FIN that comes again carries a timestamp that has gone on, and
/// restarts 2MSL; old segments are answered within limits.
#[test]
fn the_fin_again_is_answered_with_a_timestamp() {
    let (mut shard, mut app) = (few_ports(), Counting::default());
    let (syn, nxt) = open_and_close(&mut shard, &mut app, Instant::ZERO, Some(9));
    let fin = header(Flags::FIN | Flags::ACK, (7, syn.src_port), 501, nxt);
    let now = Instant::ZERO + Duration::from_secs(50);
    let out = answer(&mut shard, &mut app, now, fin, Some(10));
    assert_eq!((out.len(), out[0].flags, out[0].seq.value(), out[0].ack.value()), (1, Flags::ACK, nxt, 502));
    let stamps = (out[0].options.timestamps, syn.options.timestamps.expect("timestamps").val);
    assert_eq!(stamps.0, Some(Timestamps { val: stamps.1.wrapping_add(50_000), ecr: 10 }));
    shard.advance(Instant::ZERO + Duration::from_secs(109), &mut app);
    assert_eq!(shard.time_waits(), 1);
    let old = header(Flags::ACK, (7, syn.src_port), 400, nxt);
    let answers = (0..100).map(|_| answer(&mut shard, &mut app, now, old, Some(10)).len());
    assert_eq!(answers.sum::<usize>(), 1, "twice a second at most");
    shard.advance(Instant::ZERO + Duration::from_secs(111), &mut app);
    assert_eq!(shard.time_waits(), 0);
}

/// However many end at once, the shard's connections wait for few of them: the rest is due in the next turn.
#[test]
fn the_end_of_many_takes_several_turns() {
    let (mut shard, mut app) = (shard(|c| c.ports = 61_000..=65_535), Counting::default());
    for _ in 0..1500 {
        open_and_close(&mut shard, &mut app, Instant::ZERO, None);
    }
    let end = Instant::ZERO + Duration::from_secs(61);
    shard.advance(end, &mut app);
    assert_eq!((shard.time_waits(), shard.next_wakeup().is_some_and(|at| at <= end)), (1500 - 1024, true));
    shard.advance(end, &mut app);
    assert_eq!(shard.time_waits(), 0);
}

/// RFC6191-2-d, A7: where no incarnation would use timestamps, those of an old SYN that comes late make nothing new of it.
#[test]
fn a_late_syn_is_not_made_new_by_timestamps_that_nobody_uses() {
    let settings = stack::Settings { timestamps: false, ..Default::default() };
    let mut shard = shard(|c| c.tcp = stack::TcpConfig::new(settings).expect("valid"));
    let (mut app, now) = (Counting::default(), Instant::ZERO + Duration::from_secs(100));
    let iss = open(&mut shard, &mut app, now, 5000, 500);
    let conn = app.accepted[0];
    shard.call(now, |io| io.close(conn)).expect("open");
    drain(&mut shard, now);
    let fin = header(Flags::FIN | Flags::ACK, (5000, PORT), 501, iss.wrapping_add(2));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), fin, &[], None), &mut app);
    drain(&mut shard, now);
    assert_eq!(shard.time_waits(), 1);
    let mut syn = header(Flags::SYN, (5000, PORT), 500, 0);
    syn.options.timestamps = Some(Timestamps { val: 77, ecr: 0 });
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), syn, &[], None), &mut app);
    assert_eq!((drain(&mut shard, now).len(), shard.time_waits(), shard.half_open()), (0, 1, 0));
}
