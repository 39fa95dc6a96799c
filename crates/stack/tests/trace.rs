//! The flight recorder: what happened to a connection, in order and with its numbers.

mod support;

use stack::recorder::{Bookmark, Record, What};
use stack::trace::{Named, Trace, detail, traces};
use stack::{Duration, Half, Instant, Shard, ShardConfig};
use support::*;
use tcp::State;
use wire::tcp::Flags;

/// What a request of the control socket reads, in pieces of two.
fn read(shard: &Shard) -> Vec<Trace> {
    let (mut records, mut from) = (Vec::new(), Some(Bookmark::default()));
    while let Some(place) = from {
        from = shard.records(place, 2, &mut records);
    }
    let (mut named, mut from): (Vec<Named>, _) = (Vec::new(), Some(0));
    while let Some(slot) = from {
        from = shard.name(slot, 2, &|who| records.iter().any(|record: &Record| record.who == who), &mut named);
    }
    traces(&records, &named)
}

fn words(trace: &Trace) -> Vec<String> {
    let word = |record: &Record| match detail(record) {
        Some(detail) => format!("{} {detail}", record.what.name()),
        None => record.what.name().into(),
    };
    trace.records.iter().map(word).collect()
}

fn numbers(trace: &Trace, what: What) -> Vec<[u32; 4]> {
    trace.records.iter().filter(|record| record.what == what).map(|record| record.numbers).collect()
}

/// A connection with a peer that knows no options (so segments are of 536 bytes, RFC 9293 MUST-15), through a timeout, a closed
/// window and the four waves.
struct World {
    shard: Shard,
    app: Counting,
    now: Instant,
    iss: u32,
    /// The peer's next number, from its ISS.
    seq: u32,
}

impl World {
    fn new(change: impl FnOnce(&mut ShardConfig)) -> Self {
        let (mut shard, mut app, now) = (shard(change), Counting::default(), Instant::ZERO);
        let iss = open(&mut shard, &mut app, now, 1000, 300);
        Self { shard, app, now, iss, seq: 1 }
    }

    /// From the peer: so many octets of ours are acknowledged.
    fn hears(&mut self, flags: Flags, acked: u32, window: u16, payload: &[u8]) {
        let mut header = header(flags | Flags::ACK, (1000, PORT), 300 + self.seq, self.iss.wrapping_add(1 + acked));
        header.window = window;
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut self.app);
    }

    fn sends(&mut self) -> usize {
        drain(&mut self.shard, self.now).len()
    }

    fn writes(&mut self, bytes: usize) {
        let conn = self.app.accepted[0];
        let written = self.shard.call(self.now, |io| io.send(conn, &vec![7; bytes]));
        assert_eq!(written, Ok(bytes));
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.shard.advance(self.now, &mut self.app);
    }
}

/// RFC 6298: the timer is 200 ms (decision 10: SRTT, which is none here, and 200 ms), then backed off to 400 (5.5); what is sent
/// again is the first segment (5.4), of 536 of 3,000 octets.
#[test]
fn a_timeout_and_an_end_are_told_in_order() {
    let mut w = World::new(|_| {});
    w.writes(3000);
    assert!(w.sends() > 1);
    w.pass(205);
    assert_eq!(w.sends(), 1);
    w.pass(45);
    w.hears(Flags::ACK, 3000, 5000, &[]);
    // The four waves (RFC 9293 figure 12, its other side).
    w.hears(Flags::FIN, 3000, 5000, &[]);
    w.seq += 1;
    // By default an application closes when its peer has.
    assert_eq!(w.sends(), 1);
    assert!(!read(&w.shard)[0].gone);
    w.hears(Flags::ACK, 3001, 5000, &[]);
    w.sends();
    let [trace] = &read(&w.shard)[..] else { panic!("one connection") };
    let expected = [
        "opened passive",
        "state ESTABLISHED",
        "congestion loss",
        "timeout",
        "retransmitted RTO",
        "congestion open",
        "fin-received",
        "state CLOSE-WAIT",
        "called close",
        "state LAST-ACK",
        "fin-sent",
        "ended in order",
        "gone",
    ];
    let seen = words(trace);
    assert_eq!(seen, expected);
    assert_eq!(numbers(trace, What::TimedOut), [[1, 400, 1, 3000]]);
    assert_eq!(numbers(trace, What::Retransmitted)[0][..2], [1, 536]);
    assert_eq!(numbers(trace, What::FinReceived)[0][0], 1);
    assert_eq!(numbers(trace, What::FinSent)[0][0], 3001);
    let ms = |what| trace.records.iter().find(|r| r.what == what).map(|r| r.at.as_nanos() / 1_000_000);
    assert_eq!((ms(What::Opened), ms(What::TimedOut), ms(What::FinReceived)), (Some(0), Some(205), Some(250)));
    assert!(trace.gone && trace.state == State::Closed);
    let ends = Some(((v4(1), PORT).into(), (v4(9), 1000).into()));
    assert_eq!(trace.ends, ends, "its last record says which it was");
}

/// RFC 9293 section 3.8.6.1: a window of zero, a probe after a timeout's time, and an ACK that opens it.
#[test]
fn a_closed_window_is_told_with_its_probes() {
    let mut w = World::new(|_| {});
    w.hears(Flags::ACK, 0, 0, &[]);
    w.writes(100);
    w.sends();
    w.sends();
    w.pass(205);
    assert_eq!(w.sends(), 1);
    w.pass(10);
    w.hears(Flags::ACK, 0, 5000, &[]);
    w.sends();
    let trace = &read(&w.shard)[0];
    assert_eq!(words(trace)[2..], ["peer-window-closed", "window-probe", "peer-window-opened"]);
    assert_eq!(numbers(trace, What::PeerWindowClosed), [[100, 0, 0, 0]]);
    assert_eq!(numbers(trace, What::WindowProbe), [[1, 100, 0, 0]]);
    assert_eq!(numbers(trace, What::PeerWindowOpened), [[5000, 1, 0, 0]]);
    assert_eq!((trace.gone, trace.state), (false, State::Established));
}

/// RFC 5961: a SYN, and a reset that is not exact, are answered and change nothing; a sweep of them is one record. An exact one ends
/// the connection, and what its own application asks for is told.
#[test]
fn drops_and_resets_are_told_with_their_reasons() {
    let mut w = World::new(|_| {});
    let at = w.seq;
    w.seq = at + 100;
    for _ in 0..3 {
        w.hears(Flags::RST, 0, 5000, &[]);
    }
    w.seq = at;
    w.hears(Flags::SYN, 0, 5000, &[]);
    w.hears(Flags::RST, 0, 5000, &[]);
    w.sends();
    let trace = &read(&w.shard)[0];
    let expected =
        ["dropped tcp_reset_not_exact", "dropped tcp_unexpected_syn", "ended the peer reset the connection", "gone"];
    assert_eq!(words(trace)[2..], expected);
    let drops: Vec<_> =
        trace.records.iter().filter(|r| r.what == What::Dropped).map(|r| (r.times, r.numbers)).collect();
    assert_eq!(drops, [(3, [101, 0, 1, 0]), (1, [1, 0, 1, 0])]);

    let mut w = World::new(|_| {});
    let conn = w.app.accepted[0];
    w.shard.call(w.now, |io| {
        io.shutdown(conn, Half::Read).expect("open");
        io.abort(conn).expect("open");
    });
    w.sends();
    let seen = words(&read(&w.shard)[0]);
    let expected = [
        "called shutdown read",
        "called abort",
        "ended the connection was aborted on this side",
        "reset-sent application",
        "gone",
    ];
    assert_eq!(seen[2..], expected);
}

/// Data that comes in order, and is acknowledged, is nothing to tell; nor is an answer.
#[test]
fn what_is_usual_is_not_recorded() {
    let mut w = World::new(|_| {});
    let before = words(&read(&w.shard)[0]);
    for n in 0..100 {
        w.hears(Flags::PSH, 10 * n, 5000, &[7; 16]);
        w.seq += 16;
        // The application answers each by ten octets, and leaves a quarter, which is read here.
        let conn = w.app.accepted[0];
        w.shard.call(w.now, |io| io.skip(conn, 4)).expect("open");
        w.sends();
        w.pass(1);
    }
    assert_eq!(words(&read(&w.shard)[0]), before);
}

/// Short lives leave the troubles of a long one alone, and a small ring has the latest and counts the others.
#[test]
fn short_lives_do_not_wash_out_troubles() {
    let mut w = World::new(|config| config.trace_records = 64);
    w.writes(100);
    w.sends();
    w.pass(205);
    w.sends();
    w.hears(Flags::ACK, 100, 5000, &[]);
    for port in 2000..2100 {
        let iss = open(&mut w.shard, &mut w.app, w.now, port, 300);
        let mut fin = header(Flags::FIN | Flags::ACK, (port, PORT), 301, iss.wrapping_add(1));
        w.shard.on_frame(w.now, &tcp_frame(v4(9), v4(1), fin, &[], None), &mut w.app);
        drain(&mut w.shard, w.now);
        (fin.flags, fin.seq, fin.ack) = (Flags::ACK, fin.seq + 1, fin.ack + 1);
        w.shard.on_frame(w.now, &tcp_frame(v4(9), v4(1), fin, &[], None), &mut w.app);
        drain(&mut w.shard, w.now);
    }
    let all = read(&w.shard);
    let long = all.iter().find(|trace| !trace.gone).expect("it is there");
    assert!(words(long).contains(&"retransmitted RTO".into()), "{long:?}");
    assert!(words(long).iter().all(|word| !word.starts_with("opened")), "that is overwritten");
    // Nine of each life, of which 32 fit: the last three are whole, and the one before has its end.
    let ends: Vec<_> = all.iter().filter_map(|trace| trace.ends).map(|(_, remote)| remote.port()).collect();
    assert!([2097, 2098, 2099].iter().all(|port| ends.contains(port)), "{ends:?}");
    assert!(shard_forgot(&w.shard, 100 * 8), "{}", w.shard.records_overwritten());
}

fn shard_forgot(shard: &Shard, least: u64) -> bool {
    shard.records_overwritten() >= least
}
