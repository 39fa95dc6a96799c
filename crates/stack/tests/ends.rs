//! Ends of connections in a shard that were once told wrongly, twice, too early or never.

mod support;

use core::net::SocketAddr;
use stack::{App, ConnId, Duration, Error, Half, Instant, Io, ListenerId, Refusal, Shard, SoftError};
use support::*;
use wire::tcp::{Flags, Header};

/// What the application does when a connection is over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Close,
    Abort,
}

/// Takes of what arrives as much as it is told to, and keeps its handle when the peer closes.
#[derive(Debug, Default)]
struct Keeper {
    takes: usize,
    got: Vec<u8>,
    accepted: Vec<ConnId>,
    eof: usize,
    closed: Vec<Option<Error>>,
    last: Last,
}

impl App for Keeper {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.push(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        let n = data.len().min(self.takes);
        self.got.extend(&data[..n]);
        n
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.eof += 1;
    }
    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.closed.push(error);
        match self.last {
            Last::Nothing => {}
            Last::Close => assert_eq!(io.close(conn), Ok(())),
            Last::Abort => assert_eq!(io.abort(conn), Ok(())),
        }
    }
}

struct Bench {
    shard: Shard,
    app: Keeper,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { shard: shard(|_| {}), app: Keeper::default(), now: Instant::ZERO }
    }
    /// The peer's segment arrives; what is sent because of it.
    fn arrive(&mut self, header: Header, payload: &[u8]) -> Vec<Header> {
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut self.app);
        self.sent()
    }
    fn sent(&mut self) -> Vec<Header> {
        drain(&mut self.shard, self.now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect()
    }
    /// A peer's connection from `port`, RCV.NXT = 301: its handle and SND.NXT.
    fn open(&mut self, port: u16) -> (ConnId, u32) {
        let out = self.arrive(header(Flags::SYN, (port, PORT), 300, 0), &[]);
        let snd = out[0].seq.value().wrapping_add(1);
        self.arrive(header(Flags::ACK, (port, PORT), 301, snd), &[]);
        (*self.app.accepted.last().expect("accepted"), snd)
    }
    fn call<R>(&mut self, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        let result = self.shard.call(self.now, f);
        // What a verb brings about is told when the shard is advanced.
        self.now += Duration::from_micros(5);
        self.shard.advance(self.now, &mut self.app);
        result
    }
    /// Time passes without an answer of anybody's; how many TCP segments are sent meanwhile.
    fn pass(&mut self, time: Duration) -> usize {
        let end = self.now + time;
        let mut segments = self.sent().len();
        for turns in 0u64.. {
            assert!(turns < 1000 + 25 * time.as_millis() / 1000, "a busy loop");
            let Some(next) = self.shard.next_wakeup().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            self.shard.advance(self.now, &mut self.app);
            segments += self.sent().len();
        }
        self.now = end;
        segments
    }
    fn nothing_is_left(&mut self) {
        self.pass(Duration::from_secs(61));
        let shard = &self.shard;
        assert_eq!((shard.connections(), shard.time_waits(), shard.chunks_in_use()), (0, 0, 0));
        assert_eq!((shard.has_output(), shard.next_wakeup()), (false, None));
    }
}

const FIN: Flags = Flags::FIN;

/// Over in order with 1,000 bytes unread: by TIME-WAIT if we close first, else by LAST-ACK.
fn over_with_unread(we_first: bool) -> (Bench, ConnId) {
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    let ports = (1000, PORT);
    if we_first {
        bench.call(|io| io.shutdown(conn, Half::Write)).expect("open");
        assert_eq!(bench.sent().len(), 1);
        bench.arrive(header(Flags::ACK, ports, 301, snd.wrapping_add(1)), &[]);
        let out = bench.arrive(header(FIN | Flags::ACK, ports, 301, snd.wrapping_add(1)), &[5; 1000]);
        assert_eq!(out[0].ack.value(), 1302);
    } else {
        bench.arrive(header(FIN | Flags::ACK, ports, 301, snd), &[5; 1000]);
        bench.call(|io| io.shutdown(conn, Half::Write)).expect("open");
        assert_eq!(bench.sent().len(), 1);
        bench.arrive(header(Flags::ACK, ports, 1302, snd.wrapping_add(1)), &[]);
    }
    // The record is made at once, the end is not told yet.
    assert_eq!((bench.shard.time_waits(), bench.app.eof), (usize::from(we_first), 1));
    assert_eq!(bench.pass(Duration::from_secs(5)), 0);
    assert_eq!((bench.app.closed.len(), bench.shard.connections()), (0, 1));
    (bench, conn)
}

/// RFC9293-3.10.3-a, A15.
#[test]
fn an_end_in_order_is_told_when_all_is_read() {
    for we_first in [true, false] {
        let (mut bench, conn) = over_with_unread(we_first);
        let mut piece = [0; 600];
        assert_eq!(bench.call(|io| io.read(conn, &mut piece)), Ok(600));
        assert_eq!(bench.app.closed, []);
        assert_eq!(bench.call(|io| io.read(conn, &mut piece)), Ok(400));
        assert_eq!((piece[399], &bench.app.closed[..]), (5, &[None][..]), "we first: {we_first}");
        assert_eq!(bench.call(|io| io.read(conn, &mut piece)), Err(Error::NotConnected));
        assert!(bench.sent().is_empty());
        assert_eq!((bench.shard.connections(), bench.shard.counters().closed), (0, 1));
        bench.nothing_is_left();
        assert_eq!((bench.app.closed.len(), bench.shard.counters().failed), (1, 0));
    }
}

/// Whoever asks in each turn, before it is advanced, hears of the end in the first, and once; and the loop may sleep.
#[test]
fn an_end_is_not_put_off_by_who_asks_for_it() {
    for we_first in [true, false] {
        let (mut bench, conn) = over_with_unread(we_first);
        let Bench { shard, app, now } = &mut bench;
        for turn in 0..10 {
            let _ = shard.call(*now, |io| io.read(conn, &mut [0; 2000]));
            shard.advance(*now, app);
            assert_eq!(app.closed, [None], "we first: {we_first}, turn {turn}");
            *now += Duration::from_micros(2);
        }
        bench.nothing_is_left();
    }
    // An open that was shut down is over, and told so.
    let mut bench = Bench::new();
    let Bench { shard, app, now } = &mut bench;
    *now += Duration::from_nanos(100);
    let conn = shard.call(*now, |io| io.connect(SocketAddr::new(v4(9), 7))).expect("begun");
    for _ in 0..10 {
        let _ = shard.call(*now, |io| io.shutdown(conn, Half::Write));
        shard.advance(*now, app);
        *now += Duration::from_micros(2);
    }
    assert_eq!(app.closed.len(), 1);
    bench.nothing_is_left();
}

#[test]
fn closing_instead_of_reading_the_rest_is_an_end_too() {
    for we_first in [true, false] {
        for abort in [false, true] {
            let (mut bench, conn) = over_with_unread(we_first);
            bench.call(|io| if abort { io.abort(conn) } else { io.close(conn) }).expect("alive");
            assert!(bench.sent().is_empty(), "the peer knows of the end");
            assert_eq!(bench.shard.time_waits(), usize::from(we_first));
            assert_eq!((bench.shard.connections(), bench.shard.counters().closed), (0, 1));
            bench.nothing_is_left();
            assert_eq!(bench.app.closed, []);
        }
    }
}

#[test]
fn the_rest_can_be_forwarded_behind_the_end() {
    for we_first in [true, false] {
        let (mut bench, from) = over_with_unread(we_first);
        let (to, snd) = bench.open(1001);
        assert_eq!(bench.call(|io| io.forward(from, to)), Ok(1000));
        assert_eq!(bench.app.closed, [None]);
        let sent = bench.sent();
        // The peer takes 536 bytes at a time: it named no MSS.
        assert_eq!((sent.len(), sent[0].dst_port), (2, 1001));
        bench.arrive(header(Flags::RST, (1001, PORT), 301, snd), &[]);
        bench.nothing_is_left();
    }
}

/// MUST-12.
#[test]
fn a_reset_in_last_ack_or_closing_is_an_error() {
    for closing in [false, true] {
        let mut bench = Bench::new();
        let (conn, snd) = bench.open(1000);
        let fin = header(FIN | Flags::ACK, (1000, PORT), 301, snd);
        if !closing {
            bench.arrive(fin, &[]);
        }
        bench.call(|io| io.shutdown(conn, Half::Write)).expect("open");
        bench.sent();
        if closing {
            bench.arrive(fin, &[]);
        }
        bench.arrive(header(Flags::RST, (1000, PORT), 302, 0), &[]);
        assert_eq!(bench.app.closed, [Some(Error::Reset)], "closing: {closing}");
        bench.nothing_is_left();
    }
}

#[test]
fn giving_up_a_connection_that_has_just_ended_is_counted_once() {
    for last in [Last::Close, Last::Abort] {
        for reset in [true, false] {
            for unread in [0, 100] {
                let mut bench = Bench::new();
                bench.app.last = last;
                let (conn, snd) = bench.open(1000);
                bench.arrive(header(Flags::ACK, (1000, PORT), 301, snd), &vec![1; unread]);
                let next = 301 + u32::try_from(unread).expect("small");
                if reset {
                    bench.arrive(header(Flags::RST, (1000, PORT), next, snd), &[]);
                } else {
                    bench.arrive(header(FIN | Flags::ACK, (1000, PORT), next, snd), &[]);
                    bench.call(|io| io.shutdown(conn, Half::Write)).expect("open");
                    bench.sent();
                    bench.arrive(header(Flags::ACK, (1000, PORT), next + 1, snd.wrapping_add(1)), &[]);
                    bench.call(|io| io.skip(conn, unread)).unwrap_or_default();
                }
                let counters = bench.shard.counters();
                assert_eq!(bench.app.closed, [reset.then_some(Error::Reset)]);
                assert_eq!((counters.closed, counters.failed), (1, u64::from(reset)), "{last:?}, reset: {reset}");
                assert!(bench.sent().is_empty());
                bench.nothing_is_left();
                // The slot is free once, not twice.
                let (a, b) = (bench.open(1001).0, bench.open(1002).0);
                assert_ne!(a.index(), b.index());
            }
        }
    }
}

// The neighbour is gone.

/// RFC9293-3.10.8-a.
#[test]
fn what_is_sent_after_the_neighbour_was_lost_ends_by_r2() {
    for orphan in [false, true] {
        let mut bench = Bench::new();
        let (conn, _) = bench.open(1000);
        bench.shard.on_neighbour(v4(9), None);
        bench.call(|io| io.send(conn, &[1; 100])).expect("open");
        if orphan {
            bench.call(|io| io.close(conn)).expect("open");
        }
        let (before, rest) = if orphan { (99, 60) } else { (899, 130) };
        assert_eq!(bench.pass(Duration::from_secs(before)), 0);
        assert_eq!(bench.shard.connections(), 1);
        bench.pass(Duration::from_secs(rest));
        assert_eq!(bench.shard.connections(), 0, "orphan: {orphan}");
        assert_eq!(bench.app.closed, if orphan { vec![] } else { vec![Some(Error::TimedOut)] });
        bench.nothing_is_left();
    }
}

/// RFC6298-5-a.
#[test]
fn a_neighbour_found_again_lets_all_through_and_the_rto_begins_then() {
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    bench.shard.on_neighbour(v4(9), None);
    bench.call(|io| io.send(conn, &[1; 100])).expect("open");
    bench.call(|io| io.close(conn)).expect("open");
    assert_eq!(bench.pass(Duration::from_millis(10_150)), 0);
    bench.shard.on_neighbour(v4(9), Some(PEER));
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].seq.value(), sent[0].flags.contains(FIN)), (1, snd, true));
    // RFC 6298 (5.1): the timer starts when the segment is sent; nothing was lost before.
    assert_eq!(bench.pass(Duration::from_millis(199)), 0);
    assert_eq!(bench.pass(Duration::from_millis(2)), 1);
    bench.arrive(header(Flags::ACK, (1000, PORT), 301, snd.wrapping_add(101)), &[]);
    bench.arrive(header(FIN | Flags::ACK, (1000, PORT), 301, snd.wrapping_add(101)), &[]);
    assert_eq!((bench.shard.connections(), bench.shard.time_waits()), (0, 1));
    bench.nothing_is_left();
}

/// RFC9293-3.10.5-a.
#[test]
fn an_abort_reaches_the_last_known_station_of_a_lost_neighbour() {
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    bench.shard.on_neighbour(v4(9), None);
    bench.call(|io| io.abort(conn)).expect("open");
    let out = drain(&mut bench.shard, bench.now);
    let (reset, _) = segment_of(&out[0]).expect("TCP");
    assert_eq!(
        (out.len(), &out[0][..6], reset.flags, reset.seq.value()),
        (1, &PEER.0[..], Flags::RST | Flags::ACK, snd)
    );
    bench.nothing_is_left();
}

#[test]
fn a_dead_hop_ends_only_those_that_wait_for_it() {
    for other in [v4(9), v4(51)] {
        let mut bench = Bench::new();
        let dead = bench.call(|io| io.connect(SocketAddr::new(v4(50), 7))).expect("begun");
        assert!(bench.sent().is_empty(), "it is asked for");
        // Between the last request and the time of its answer.
        bench.pass(Duration::from_millis(2500));
        bench.call(|io| io.abort(dead)).expect("alive");
        bench.sent();
        let conn = bench.call(|io| io.connect(SocketAddr::new(other, 7))).expect("begun");
        assert_eq!(conn.index(), dead.index(), "the slot is used again");
        bench.pass(Duration::from_millis(1500));
        assert_eq!(bench.app.closed, [], "the first hop was given up after 3 s, this one was not");
        bench.shard.on_neighbour(other, Some(PEER));
        bench.pass(Duration::from_secs(10));
        assert_eq!(bench.shard.connections(), 1);
    }
}

#[test]
fn a_half_open_connection_leaves_the_backlog_after_63_s() {
    // Five SYN-ACKs again, after 1, 3, 7, 15 and 31 s, and the time of the last, as Linux.
    let mut bench = Bench::new();
    for port in 1000..1004 {
        assert_eq!(bench.arrive(header(Flags::SYN, (port, PORT), 5, 0), &[]).len(), 1);
    }
    bench.arrive(header(Flags::SYN, (1004, PORT), 5, 0), &[]);
    assert_eq!(bench.shard.counters().refusals(Refusal::BacklogFull), 1);
    assert_eq!(bench.pass(Duration::from_millis(62_999)), 4 * 5);
    assert_eq!(bench.shard.half_open(), 4);
    assert_eq!(bench.pass(Duration::from_millis(2)), 0);
    assert_eq!(bench.shard.half_open(), 0);
    bench.open(1005);
    assert_eq!(bench.app.closed, []);
}

// The pool.

#[test]
fn data_out_of_order_of_many_leaves_data_in_order_to_others() {
    let mut bench = Bench::new();
    bench.shard = shard(|c| c.pool_bytes = 64 << 10);
    bench.app.takes = usize::MAX;
    for port in 1000..1040 {
        let (_, snd) = bench.open(port);
        bench.arrive(header(Flags::ACK, (port, PORT), 1301, snd), &[3; 1000]);
    }
    assert!((1..=16).contains(&bench.shard.chunks_in_use()), "{}", bench.shard.chunks_in_use());
    let (conn, snd) = bench.open(2000);
    for n in 0..100 {
        let out = bench.arrive(header(Flags::ACK, (2000, PORT), 301 + 1000 * n, snd), &[4; 1000]);
        assert!(out.is_empty() || out[0].ack.value() == 1301 + 1000 * n);
    }
    assert_eq!(bench.app.got, vec![4; 100_000]);
    assert_eq!(bench.call(|io| io.send(conn, &[1; 10_000])), Ok(10_000), "and memory to send with");
}

/// Fills the pool with what it sends as soon as it is connected to, and reads ten octets of what comes.
#[derive(Debug, Default)]
struct Greedy {
    got: Vec<u8>,
    eof: usize,
    conn: Option<ConnId>,
}

impl App for Greedy {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.conn = Some(conn);
        while io.send(conn, &[1; 4096]) == Ok(4096) {}
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.got.extend(&data[..10]);
        10
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.eof += 1;
    }
}

/// RFC9293-3.10.3-a, A15: data and FIN come with the last ACK of a handshake, and the application leaves no memory for what
/// it does not read at once. The end is not told without it.
#[test]
fn no_data_is_lost_before_an_end_that_is_told() {
    let mut shard = shard(|config| config.pool_bytes = 16 << 10);
    let (mut app, now) = (Greedy::default(), Instant::ZERO);
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), header(Flags::SYN, (1000, PORT), 300, 0), &[], None), &mut app);
    let syn_ack = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
    let last = header(Flags::FIN | Flags::ACK, (1000, PORT), 301, syn_ack.seq.value().wrapping_add(1));
    let data: Vec<u8> = (0..100).collect();
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), last, &data, None), &mut app);
    let acks: Vec<u32> =
        drain(&mut shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h.ack.value()).collect();
    let mut rest = [0; 200];
    let n = shard.call(now, |io| io.read(app.conn.expect("open"), &mut rest)).expect("open");
    app.got.extend(&rest[..n]);
    assert_eq!((app.eof, acks.last()), (1, Some(&402)));
    assert_eq!(app.got, data);
}

/// Hears what it should not hear.
#[derive(Debug, Default)]
struct Listens {
    accepted: Vec<ConnId>,
    writable: Vec<ConnId>,
    soft: Vec<(ConnId, SoftError)>,
}

impl App for Listens {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.push(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_writable(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.writable.push(conn);
    }
    fn on_soft_error(&mut self, _: &mut Io<'_>, conn: ConnId, error: SoftError) {
        self.soft.push((conn, error));
    }
}

/// So many connections from one port each.
fn opened(pool_bytes: usize, ports: core::ops::Range<u16>) -> (Shard, Listens) {
    let (mut shard, mut app, now) = (shard(|c| c.pool_bytes = pool_bytes), Listens::default(), Instant::ZERO);
    for port in ports {
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), header(Flags::SYN, (port, PORT), 300, 0), &[], None), &mut app);
        let iss = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0.seq.value();
        let ack = header(Flags::ACK, (port, PORT), 301, iss.wrapping_add(1));
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), &mut app);
        drain(&mut shard, now);
    }
    (shard, app)
}

/// Whoever lingers hears of the outcome and of nothing else: not that there is memory again, which it waited for before, and not
/// what a router says of its FIN.
#[test]
fn who_lingers_hears_of_nothing_else() {
    let ((mut shard, mut app), now) = (opened(64 << 10, 1000..1040), Instant::ZERO);
    let [small, ref big @ ..] = app.accepted.clone()[..] else { panic!("40") };
    for big in big {
        while shard.call(now, |io| io.send(*big, &[1; 4096])).expect("open") == 4096 {}
    }
    let took = shard.call(now, |io| io.send(small, &[1; 4096])).expect("open");
    assert!(took < 4096, "{took}: it waits for memory");
    shard.call(now, |io| io.set_linger(small, Some(Duration::from_secs(5)))).expect("open");
    shard.call(now, |io| io.close(small)).expect("open");
    let sent = drain(&mut shard, now);
    for big in big {
        shard.call(now, |io| io.abort(*big)).expect("open");
    }
    for _ in 0..2 {
        shard.advance(now, &mut app);
        drain(&mut shard, now);
    }
    let fin = sent.iter().find(|f| segment_of(f).is_some_and(|(h, _)| h.flags.contains(Flags::FIN))).expect("a FIN");
    // Host unreachable, of an IPv4 header and eight octets behind it.
    let mut message = vec![0; 8 + 28];
    message[8..].copy_from_slice(&fin[14..42]);
    wire::icmpv4::emit_in_place(3, 1, [0; 4], &mut message);
    shard.on_frame(now, &ip_frame(v4(254), v4(1), 1, &message, None), &mut app);
    assert_eq!((app.writable, app.soft), (vec![], vec![]));
}

/// RFC 9293 section 3.10.5: an ABORT sends a reset, however many there are at once.
#[test]
fn each_of_many_that_are_aborted_at_once_is_reset() {
    let now = Instant::ZERO;
    for by_application in [true, false] {
        let (mut shard, app) = opened(16 << 20, 1000..4000);
        assert_eq!(shard.connections(), 3000);
        if by_application {
            shard.call(now, |io| app.accepted.iter().for_each(|conn| io.abort(*conn).expect("open")));
        } else {
            shard.abort_all(now);
        }
        let sent = drain(&mut shard, now);
        let resets = sent.iter().filter_map(|f| segment_of(f)).filter(|(h, _)| h.flags.contains(Flags::RST)).count();
        assert_eq!((resets, shard.connections()), (3000, 0), "{by_application}");
        assert_eq!(shard.counters().resets_out, 3000);
    }
}

/// Closes as soon as it is given data, and takes none of it.
#[derive(Debug, Default)]
struct Rude(Option<ConnId>);

impl App for Rude {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.0 = Some(conn);
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, _: &[u8]) -> usize {
        assert_eq!(io.close(conn), Ok(()));
        0
    }
}

/// Behind our FIN, the segment that brings the peer's has data, and the application closes and leaves it. In CLOSING that is a reset
/// (RFC 2525 section 2.17, RFC 9293 SHLD-3, as Linux); in TIME-WAIT both are acknowledged, and the record stays.
#[test]
fn data_and_fin_that_the_application_leaves_find_an_answer() {
    for acks_our_fin in [false, true] {
        let mut shard = shard(|_| {});
        let (mut app, now) = (Rude::default(), Instant::ZERO + Duration::from_secs(10));
        let frame =
            |flags, seq, ack, data: &[u8]| tcp_frame(v4(9), v4(1), header(flags, (5, PORT), seq, ack), data, None);
        shard.on_frame(now, &frame(Flags::SYN, 300, 0, &[]), &mut app);
        let syn_ack = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
        let una = syn_ack.seq.value().wrapping_add(1);
        shard.on_frame(now, &frame(Flags::ACK, 301, una, &[]), &mut app);
        shard.call(now, |io| io.shutdown(app.0.expect("accepted"), Half::Write)).expect("open");
        drain(&mut shard, now);
        let ack = una.wrapping_add(acks_our_fin.into());
        shard.on_frame(now, &frame(Flags::FIN | Flags::ACK, 301, ack, b"hello"), &mut app);
        let sent: Vec<Header> = drain(&mut shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect();
        let [answer] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(answer.flags.contains(Flags::RST), !acks_our_fin, "{answer:?}");
        assert_eq!((answer.seq.value(), shard.time_waits()), (una.wrapping_add(1), usize::from(acks_our_fin)));
        if acks_our_fin {
            assert_eq!(answer.ack.value(), 301 + 5 + 1);
        }
    }
}
