//! Listing and ending connections from outside of the application, a piece at a time.

mod support;

use core::net::SocketAddr;
use stack::{
    App, ConnId, ConnectionInfo, Cursor, Duration, End, Error, Half, Instant, Io, ListenOptions, ListenerId, More,
    Refusal, Shard, SynCookies, Why,
};
use support::*;
use tcp::State;
use wire::tcp::Flags;

fn any(_: SocketAddr, _: SocketAddr, _: State) -> bool {
    true
}

/// All of a listing, and the most rows that came in one piece of `max` slots.
fn listed(
    shard: &Shard,
    now: Instant,
    max: u32,
    wanted: impl Fn(SocketAddr, SocketAddr, State) -> bool,
) -> (Vec<ConnectionInfo>, usize) {
    let (mut all, mut most, mut cursor) = (Vec::new(), 0, Some(Cursor::default()));
    while let Some(at) = cursor {
        let had = all.len();
        cursor = shard.list_if(now, at, max, &wanted, &mut all);
        most = most.max(all.len() - had);
        assert_eq!(cursor.map(|at| Cursor::from_numbers(at.to_numbers())), cursor);
    }
    (all, most)
}

fn end_all(
    shard: &mut Shard,
    app: &mut Counting,
    now: Instant,
    how: End,
    wanted: impl Fn(SocketAddr, SocketAddr, State) -> bool,
) -> u32 {
    let (mut sum, mut cursor) = (0, Some(Cursor::default()));
    while let Some(at) = cursor {
        let (ended, next) = shard.end_if(now, at, 2, &wanted, how, app);
        assert!(ended <= 2);
        (sum, cursor) = (sum + ended, next);
    }
    sum
}

fn states(rows: &[ConnectionInfo]) -> Vec<State> {
    rows.iter().map(|row| row.state).collect()
}

/// Two connections, one of which our side has closed, one in SYN-RECEIVED, and one in TIME-WAIT.
fn four() -> (Shard, Counting, Instant) {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    let iss = open(&mut shard, &mut app, now, 1000, 300);
    shard.call(now, |io| io.shutdown(app.accepted[0], Half::Write)).expect("open");
    drain(&mut shard, now);
    let fin = header(Flags::FIN | Flags::ACK, (1000, PORT), 301, iss.wrapping_add(2));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), fin, &[], None), &mut app);
    open(&mut shard, &mut app, now, 1001, 300);
    open(&mut shard, &mut app, now, 1002, 300);
    shard.call(now, |io| io.shutdown(app.accepted[2], Half::Write)).expect("open");
    let syn = header(Flags::SYN, (1003, PORT), 5, 0);
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), syn, &[], None), &mut app);
    drain(&mut shard, now);
    app.closed.clear();
    (shard, app, now)
}

#[test]
fn what_is_wanted_is_listed_and_listeners_last() {
    let (shard, _, now) = four();
    let (all, _) = listed(&shard, now, 1, any);
    let expected = [State::Established, State::FinWait1, State::SynReceived, State::TimeWait];
    assert_eq!(states(&all)[..4], expected);
    assert_eq!(states(&all)[4..], [State::Listen; 2]);
    let why: Vec<_> = all.iter().map(|row| row.why).collect();
    let expected = [Why::Application, Why::Closed, Why::Handshake, Why::Closed];
    assert_eq!(why[..4], expected.map(Some));
    assert!(matches!(&all[4].more, More::Listener(waiting) if (waiting.half_open, waiting.backlog) == (1, 4)));
    assert_eq!((all[4].local, all[5].remote.to_string()), ((v4(1), PORT).into(), "[::]:0".into()));
    let (one, _) = listed(&shard, now, 100, |_, remote, state| remote.port() == 1001 && state == State::Established);
    assert_eq!(states(&one), [State::Established]);
    // Who lists as before sees no listeners.
    let mut rows = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        cursor = shard.list(now, at, 3, &mut rows);
    }
    assert_eq!(rows.len(), 4);
}

/// However many there are: a piece has no more rows than slots were asked for, and a filter makes it no longer. Nobody at rest is
/// woken, since a listing changes nothing (it borrows the shard, no more).
#[test]
fn a_piece_is_a_piece_of_very_many() {
    const MANY: u16 = 5000;
    let (mut shard, mut app, mut now) = (shard(|config| config.most_awake = 16), Counting::default(), Instant::ZERO);
    for port in 0..MANY {
        open(&mut shard, &mut app, now, 1000 + port, 300);
        now += Duration::from_micros(10);
        shard.advance(now, &mut app);
        drain(&mut shard, now);
    }
    let (all, most) = listed(&shard, now, 256, any);
    assert_eq!((all.len(), most), (usize::from(MANY) + 2, 256));
    let (one, most) = listed(&shard, now, 256, |_, remote, _| remote.port() == 1000 + MANY / 2);
    assert_eq!((one.len(), most), (1, 1));
    let More::Connection(info, listing) = &one[0].more else { panic!("a connection") };
    assert_eq!((info.state, listing.why, one[0].why), (State::Established, Why::Application, Some(Why::Application)));
    shard.invariants().expect("as before");
}

#[test]
fn who_waits_for_its_neighbour_or_a_route_says_so() {
    let (mut shard, mut app, now) = (shard(|_| {}), Counting::default(), Instant::ZERO);
    open(&mut shard, &mut app, now, 1000, 300);
    let why = |shard: &Shard| listed(shard, now, 100, |_, _, state| state != State::Listen).0[0].why;
    assert_eq!(why(&shard), Some(Why::Application));
    shard.on_neighbour(v4(9), None);
    shard.call(now, |io| io.send(app.accepted[0], b"x")).expect("open");
    assert_eq!(why(&shard), Some(Why::Sending), "nobody has asked for it yet");
    drain(&mut shard, now);
    assert_eq!(why(&shard), Some(Why::Neighbour));
    shard.on_neighbour(v4(9), Some(PEER));
    drain(&mut shard, now);
    assert_eq!(why(&shard), Some(Why::Application));
}

/// As Linux's `ss -K`: the application is told ECONNABORTED, the peer gets a reset, records are forgotten.
#[test]
fn a_kill_tells_both_sides_and_forgets_records() {
    let (mut shard, mut app, now) = four();
    let refused = |_: SocketAddr, remote: SocketAddr, _: State| remote.port() == 9;
    assert_eq!(end_all(&mut shard, &mut app, now, End::Reset, refused), 0);
    assert_eq!(end_all(&mut shard, &mut app, now, End::Reset, any), 4);
    assert_eq!(app.closed, [Some(Error::Aborted); 2]);
    let sent: Vec<_> = drain(&mut shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect();
    let mut resets: Vec<_> = sent.iter().filter(|h| h.flags.contains(Flags::RST)).map(|h| h.dst_port).collect();
    resets.sort_unstable();
    assert_eq!(resets, [1001, 1002]);
    let (left, _) = listed(&shard, now, 100, any);
    assert_eq!(states(&left), [State::Listen; 2]);
    assert_eq!((shard.connections(), shard.half_open(), shard.time_waits()), (0, 0, 0));
    assert_eq!(shard.next_wakeup(), None);
    shard.invariants().expect("nobody is left");
    // The ports are free again.
    open(&mut shard, &mut app, now, 1000, 9000);
    assert_eq!(shard.counters().refusals(Refusal::BacklogFull), 0);
}

/// Those at rest as well, and those nobody has accepted yet.
#[test]
fn a_kill_finds_everybody() {
    let (mut shard, mut app, mut now) = (shard(|config| config.most_awake = 0), Counting::default(), Instant::ZERO);
    let queued = ListenOptions { accept_queue: Some(4), syn_cookies: SynCookies::Never, ..4.into() };
    let queue = shard.listen((v4(1), 81).into(), queued).expect("free");
    open(&mut shard, &mut app, now, 1000, 300);
    for _ in 0..10 {
        now += Duration::from_secs(1);
        shard.advance(now, &mut app);
        drain(&mut shard, now);
    }
    let mut lazy = Lazy::default();
    let syn = header(Flags::SYN, (1001, 81), 300, 0);
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), syn, &[], None), &mut lazy);
    let iss = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0.seq.value();
    let ack = header(Flags::ACK, (1001, 81), 301, iss.wrapping_add(1));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), &mut lazy);
    drain(&mut shard, now);
    let (first, next) = shard.end_if(now, Cursor::default(), 100, &any, End::Reset, &mut lazy);
    assert_eq!((first, next.is_some()), (2, true));
    assert_eq!(lazy.closed, [Some(Error::Aborted)], "of the other nobody knew");
    assert_eq!(drain(&mut shard, now).len(), 2);
    // As on Linux who accepts it finds out.
    let accepted = shard.call(now, |io| io.accept(queue)).expect("it waits");
    shard.advance(now + Duration::from_secs(1), &mut lazy);
    drain(&mut shard, now);
    assert_eq!(lazy.closed, [Some(Error::Aborted); 2]);
    assert_eq!(shard.call(now, |io| io.send(accepted, b"x")), Err(Error::NotConnected));
    assert_eq!(shard.connections(), 0);
}

/// Nobody could tell the end of one that waits to be accepted: it stays, and its flow is not lost to the next incarnation.
#[test]
fn a_close_passes_by_who_is_not_accepted() {
    let (mut shard, mut lazy, now) = (shard(|_| {}), Lazy::default(), Instant::ZERO);
    let queued = ListenOptions { accept_queue: Some(4), syn_cookies: SynCookies::Never, ..4.into() };
    let queue = shard.listen((v4(1), 81).into(), queued).expect("free");
    let syn = header(Flags::SYN, (1001, 81), 300, 0);
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), syn, &[], None), &mut lazy);
    let iss = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0.seq.value();
    let peer =
        |flags, ack: u32| tcp_frame(v4(9), v4(1), header(flags, (1001, 81), 301, iss.wrapping_add(ack)), &[], None);
    shard.on_frame(now, &peer(Flags::ACK, 1), &mut lazy);
    assert_eq!(shard.end_if(now, Cursor::default(), 100, &any, End::Close, &mut lazy).0, 0);
    assert!(drain(&mut shard, now).is_empty(), "no FIN");
    let accepted = shard.call(now, |io| io.accept(queue)).expect("it waits");
    assert_eq!(shard.end_if(now, Cursor::default(), 100, &any, End::Close, &mut lazy).0, 1);
    assert_eq!(drain(&mut shard, now).len(), 1, "a FIN");
    shard.on_frame(now, &peer(Flags::FIN | Flags::ACK, 2), &mut lazy);
    drain(&mut shard, now);
    shard.invariants().expect("as it must be");
    assert_eq!((shard.connections(), shard.time_waits()), (0, 1));
    assert_eq!(shard.call(now, |io| io.send(accepted, b"x")), Err(Error::NotConnected));
}

/// Accepts nobody by itself.
#[derive(Debug, Default)]
struct Lazy {
    closed: Vec<Option<Error>>,
}

impl App for Lazy {
    fn on_acceptable(&mut self, _: &mut Io<'_>, _: ListenerId) {}
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.closed.push(error);
    }
}

/// In order: FIN behind what is queued, and the application reads on. What is closed, or not open yet, is not closed again.
#[test]
fn a_close_loses_nothing() {
    let (mut shard, mut app, now) = four();
    let conn = app.accepted[1];
    shard.call(now, |io| io.send(conn, b"last words")).expect("open");
    assert_eq!(end_all(&mut shard, &mut app, now, End::Close, any), 1);
    let sent: Vec<_> = drain(&mut shard, now).iter().filter_map(|f| segment_of(f)).collect();
    let (last, data) = sent.last().expect("the FIN");
    assert!(last.flags.contains(Flags::FIN) && last.dst_port == 1001);
    assert_eq!(*data, 10, "what was queued comes along");
    assert_eq!(shard.call(now, |io| io.send(conn, b"x")), Err(Error::BrokenPipe));
    let (bytes, ack) = (app.bytes, last.seq.value().wrapping_add(11));
    let more = header(Flags::ACK, (1001, PORT), 301, ack);
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), more, &[1; 8], None), &mut app);
    assert_eq!((app.bytes, app.closed.len()), (bytes + 8, 0));
    assert_eq!(end_all(&mut shard, &mut app, now, End::Close, any), 0, "all are closed");
}
