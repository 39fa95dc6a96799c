//! When a shard's timers call, and when they do not.

mod support;

use stack::{App, ConnId, Duration, Error, Instant, Io, ListenerId, Settings, Shard, TcpConfig};
use support::*;
use wire::tcp::{Flags, Header};

/// Takes all that arrives.
#[derive(Debug, Default)]
struct Taker {
    conn: Option<ConnId>,
    closed: Vec<Option<Error>>,
}

impl App for Taker {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.conn = Some(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.closed.push(error);
    }
}

/// A connection whose peer has just sent a full segment that is not acknowledged at once.
struct Bench {
    shard: Shard,
    app: Taker,
    now: Instant,
    /// What the peer sends next, and what it expects.
    seq: u32,
    ack: u32,
}

impl Bench {
    fn new() -> Self {
        // Every second full segment is acknowledged at once, however many there are in a round trip.
        let settings = Settings { ack_gather: Duration::ZERO, ..Settings::default() };
        let shard = shard(|config| config.tcp = TcpConfig::new(settings).expect("valid"));
        let now = Instant::ZERO + Duration::from_secs(10);
        let mut bench = Self { shard, app: Taker::default(), now, seq: 300, ack: 0 };
        let mut syn = header(Flags::SYN, (1000, PORT), 300, 0);
        syn.options.mss = Some(1460);
        bench.say(syn, &[]);
        bench.ack = bench.hear()[0].seq.value().wrapping_add(1);
        bench.seq = 301;
        bench.say(header(Flags::ACK, (1000, PORT), 301, bench.ack), &[]);
        // The first segments of a connection are.
        assert!((0..100).any(|_| bench.acknowledgments() == 0), "every second one waits");
        bench
    }

    fn say(&mut self, header: Header, payload: &[u8]) {
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut self.app);
    }

    fn hear(&mut self) -> Vec<Header> {
        self.shard.advance(self.now, &mut self.app);
        drain(&mut self.shard, self.now)
            .iter()
            .filter_map(|frame| segment_of(frame))
            .map(|(header, _)| header)
            .collect()
    }

    /// Of the peer's next full segment.
    fn acknowledgments(&mut self) -> usize {
        self.say(header(Flags::ACK, (1000, PORT), self.seq, self.ack), &[7; 1460]);
        self.seq += 1460;
        self.hear().len()
    }
}

/// The ACK of two segments goes out with the second. When it would have been due for the first alone nothing is done, nor is the
/// loop woken: by then the wheel has asked.
#[test]
fn an_ack_that_has_gone_out_wakes_nobody_when_it_would_have_been_due() {
    let mut bench = Bench::new();
    let due = bench.now + Settings::default().delayed_ack;
    assert!(bench.shard.next_wakeup().is_some_and(|at| at <= due));
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.acknowledgments(), 1);
    while let Some(wakeup) = bench.shard.next_wakeup() {
        assert!(wakeup < due, "{wakeup:?}, the ACK was due at {due:?}");
        bench.now = wakeup;
        assert_eq!(bench.hear(), []);
    }
}

/// MUST-40: one that has not gone out does so when it is due, less than a tick of the wheel later.
#[test]
fn an_ack_that_nothing_carries_goes_out_when_it_is_due() {
    let mut bench = Bench::new();
    let due = bench.now + Settings::default().delayed_ack;
    let sent = loop {
        bench.now = bench.shard.next_wakeup().expect("it is due");
        let sent = bench.hear();
        if !sent.is_empty() {
            break sent;
        }
    };
    assert_eq!((sent.len(), sent[0].ack.value()), (1, bench.seq));
    assert!(bench.now >= due && bench.now < due + Duration::from_micros(2), "{:?}, due at {due:?}", bench.now);
}

/// A deadline that came while nothing could leave is not forgotten for an old one that has moved away: the time of who lingers.
#[test]
fn who_lingers_while_nothing_can_leave_is_called_in_time() {
    let mut bench = Bench::new();
    assert_eq!(bench.acknowledgments(), 1, "a timer is armed, and nothing is due");
    let conn = bench.app.conn.expect("accepted");
    let second = Duration::from_secs(1);
    let end = bench.now + second;
    bench.shard.call(bench.now, |io| {
        io.set_linger(conn, Some(second)).expect("open");
        io.send(conn, &[7; 100]).expect("room");
        io.close(conn).expect("open");
    });
    // No frame leaves.
    while bench.app.closed.is_empty() {
        bench.now = bench.shard.next_wakeup().expect("its time runs");
        assert!(bench.now < end + Duration::from_micros(2));
        bench.shard.advance(bench.now, &mut bench.app);
    }
    assert!(bench.now >= end);
}
