//! Peers that hold what others need: memory of those that are served no more, the time of a turn.

use crate::support::{PORT, drain, header, segment_of, shard, tcp_frame, v4};
use stack::{App, ConnId, Duration, Error, Instant, Io, ListenerId, Shard};
use wire::tcp::{Flags, Timestamps};

const PAGE: usize = 64 << 10;

/// Sends a page to whoever connects, when there is memory for it; and closes then, if it is to.
#[derive(Default)]
struct Pages {
    closes: bool,
    taken: Vec<usize>,
    /// Times it was told that there is memory again.
    calls: usize,
}

impl Pages {
    fn send(&self, io: &mut Io<'_>, conn: ConnId) -> usize {
        let taken = io.send(conn, &[7; PAGE]).expect("open");
        if taken > 0 && self.closes {
            io.close(conn).expect("open");
        }
        taken
    }
}

impl App for Pages {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let taken = self.send(io, conn);
        self.taken.push(taken);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.calls += 1;
        self.send(io, conn);
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, _: Option<Error>) {}
}

fn from_peer(flags: Flags, port: u16, ack: u32, window: u16) -> Vec<u8> {
    let seq = if flags.contains(Flags::SYN) { 7 } else { 8 };
    let mut segment = header(flags, (port, PORT), seq, ack);
    segment.window = window;
    tcp_frame(v4(9), v4(1), segment, &[], None)
}

/// Opens, with a window that small for what is sent; our ISS.
fn open(shard: &mut Shard, app: &mut Pages, now: Instant, port: u16, window: u16) -> u32 {
    shard.on_frame(now, &from_peer(Flags::SYN, port, 0, 1000), app);
    let sent = drain(shard, now);
    let syn_ack = sent.iter().filter_map(|f| segment_of(f)).find(|(h, _)| h.flags.contains(Flags::SYN));
    let iss = syn_ack.expect("a SYN-ACK").0.seq.value();
    shard.on_frame(now, &from_peer(Flags::ACK, port, iss.wrapping_add(1), window), app);
    drain(shard, now);
    iss
}

/// Pages for peers that take an octet now and then, from an application that has closed behind them: no timeout ends who goes on, but
/// a new client needs the memory, and gets it (as Linux's `tcp_out_of_resources`).
#[test]
fn orphans_that_take_an_octet_now_and_then() {
    let mut shard = shard(|config| config.pool_bytes = 16 * PAGE);
    let (mut app, mut now) = (Pages { closes: true, ..Pages::default() }, Instant::ZERO + Duration::from_secs(1));
    let isses: Vec<_> = (2000..2016).map(|port| (port, open(&mut shard, &mut app, now, port, 10))).collect();
    assert_eq!(app.taken, [PAGE; 16], "the pool is used up");
    for round in 1..=20 {
        let end = now + Duration::from_secs(25);
        while let Some(at) = shard.next_wakeup().filter(|at| *at <= end) {
            now = now.max(at);
            shard.advance(now, &mut app);
            drain(&mut shard, now);
        }
        now = end;
        for (port, iss) in &isses {
            shard.on_frame(now, &from_peer(Flags::ACK, *port, iss.wrapping_add(1 + round), 10), &mut app);
        }
        drain(&mut shard, now);
    }
    open(&mut shard, &mut app, now, 5000, 10);
    assert_eq!(app.taken[16], PAGE);
    let counters = shard.all_counters();
    assert!((1..16).contains(&counters.memory.orphans_ended), "{:?}", counters.memory);
    assert_eq!(shard.connections() as u64, 17 - counters.memory.orphans_ended);
}

/// A hundred wait for memory, and one that holds some is reset: as many are told as may find some, not all of them.
#[test]
fn memory_for_one_wakes_not_all() {
    let mut shard = shard(|config| config.pool_bytes = 16 * PAGE);
    let (mut app, mut now) = (Pages::default(), Instant::ZERO + Duration::from_secs(1));
    for port in 2000..2116 {
        open(&mut shard, &mut app, now, port, 0);
    }
    assert_eq!((app.taken.iter().filter(|n| **n == PAGE).count(), app.calls), (16, 0));
    for reset in 2000..2008 {
        now += Duration::from_micros(100);
        shard.on_frame(now, &from_peer(Flags::RST, reset, 0, 0), &mut app);
        drain(&mut shard, now);
        while shard.next_wakeup().is_some_and(|at| at <= now) {
            shard.advance(now, &mut app);
            drain(&mut shard, now);
        }
    }
    // There is room for a page once two are gone: a chunk more is wanted.
    assert!((4..=8).contains(&app.calls), "{}", app.calls);
}

/// Timers of many that are due at once, as a peer that chooses its round-trip times may have them: a turn takes a part of them, so that
/// frames are read between.
#[test]
fn timers_of_many_at_once_are_not_one_turn() {
    let mut shard = shard(|config| config.pool_bytes = 256 << 20);
    let (mut app, now) = (Pages::default(), Instant::ZERO + Duration::from_secs(1));
    for port in 2000..5000 {
        open(&mut shard, &mut app, now, port, 1000);
    }
    let later = now + Duration::from_secs(2);
    let mut turns = Vec::new();
    while shard.next_wakeup().is_some_and(|at| at <= later) {
        shard.advance(later, &mut app);
        turns.push(drain(&mut shard, later).len());
    }
    assert_eq!((turns.len(), turns.iter().sum::<usize>()), (3, 3000), "{turns:?}");
    assert!(turns.iter().all(|sent| *sent <= 1024), "{turns:?}");
}

/// SYNs with an old timestamp for a connection: as with all that is nearly right, ten a second are answered (RFC 5961 section 7).
#[test]
fn syns_with_an_old_timestamp_are_answered_ten_times_a_second() {
    let mut shard = shard(|_| {});
    let (mut app, now) = (Pages::default(), Instant::ZERO + Duration::from_secs(10));
    let stamped = |flags, (seq, ack), val, ecr| {
        let mut segment = header(flags, (5, PORT), seq, ack);
        segment.options.timestamps = Some(Timestamps { val, ecr });
        tcp_frame(v4(9), v4(1), segment, &[], None)
    };
    shard.on_frame(now, &stamped(Flags::SYN, (300, 0), 1000, 0), &mut app);
    let syn_ack = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
    let numbers = (301, syn_ack.seq.value().wrapping_add(1));
    let echoed = syn_ack.options.timestamps.expect("both have them").val;
    shard.on_frame(now, &stamped(Flags::ACK, numbers, 1000, echoed), &mut app);
    drain(&mut shard, now);
    let mut answers = 0;
    for n in 0..100 {
        shard.on_frame(now, &stamped(Flags::SYN, (77 + n, 0), 5, 0), &mut app);
        answers += drain(&mut shard, now).len();
    }
    assert_eq!(answers, 10);
}
