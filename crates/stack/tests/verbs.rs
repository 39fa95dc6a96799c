//! What an application can set for a connection, seen in frames and callbacks.

mod support;

use stack::{App, ConnId, Duration, Error, Instant, Io, Keepalive, ListenerId, Shard, SoftError};
use support::*;
use wire::tcp::{Flags, Header};

/// Keeps its handle when the peer closes, and everything it hears.
#[derive(Debug, Default)]
struct Listener {
    accepted: Vec<ConnId>,
    closed: Vec<Option<Error>>,
    soft: Vec<SoftError>,
}

impl App for Listener {
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

struct Bench {
    shard: Shard,
    app: Listener,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { shard: shard(|_| {}), app: Listener::default(), now: Instant::ZERO + Duration::from_secs(10) }
    }
    fn sent(&mut self) -> Vec<Header> {
        drain(&mut self.shard, self.now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect()
    }
    fn arrive(&mut self, header: Header, payload: &[u8]) -> Vec<Header> {
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut self.app);
        self.sent()
    }
    /// A peer's connection from `port`, RCV.NXT = 301: its handle and SND.NXT.
    fn open(&mut self, port: u16) -> (ConnId, u32) {
        let out = self.arrive(header(Flags::SYN, (port, PORT), 300, 0), &[]);
        let snd = out[0].seq.value().wrapping_add(1);
        self.arrive(header(Flags::ACK, (port, PORT), 301, snd), &[]);
        (*self.app.accepted.last().expect("accepted"), snd)
    }
    fn call<R>(&mut self, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        self.shard.call(self.now, f)
    }
    /// Time passes and nobody answers: what is sent meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<Header> {
        let end = self.now + time;
        let mut sent = self.sent();
        for turns in 0.. {
            assert!(turns < 10_000, "a busy loop");
            let Some(next) = self.shard.next_wakeup().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            self.shard.advance(self.now, &mut self.app);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }
}

const PORTS: (u16, u16) = (1000, PORT);

#[test]
fn a_close_that_lingers_is_told_its_outcome() {
    // Acknowledged: told, and the handle is dead; the connection goes on to its end.
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    bench.call(|io| io.set_linger(conn, Some(Duration::from_secs(5)))).expect("open");
    bench.call(|io| io.close(conn)).expect("open");
    assert!(bench.sent()[0].flags.contains(Flags::FIN));
    bench.arrive(header(Flags::ACK, PORTS, 301, snd.wrapping_add(1)), &[]);
    assert_eq!(bench.app.closed, [None]);
    assert_eq!(bench.call(|io| io.info(conn)).map(|i| i.state), Err(Error::NotConnected));
    assert_eq!(bench.shard.connections(), 1);
    bench.arrive(header(Flags::FIN | Flags::ACK, PORTS, 301, snd.wrapping_add(1)), &[]);
    assert_eq!((bench.shard.connections(), bench.shard.time_waits()), (0, 1));
    // Not acknowledged in time: told, and it goes on.
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    bench.call(|io| io.set_linger(conn, Some(Duration::from_secs(5)))).expect("open");
    bench.call(|io| io.close(conn)).expect("open");
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.app.closed, []);
    bench.pass(Duration::from_secs(2));
    assert_eq!((&bench.app.closed[..], bench.shard.connections()), (&[Some(Error::TimedOut)][..], 1));
    bench.arrive(header(Flags::FIN | Flags::ACK, PORTS, 301, snd.wrapping_add(1)), &[]);
    assert_eq!((bench.shard.connections(), bench.shard.time_waits(), bench.app.closed.len()), (0, 1, 1));
    // Failed.
    let mut bench = Bench::new();
    let (conn, _) = bench.open(1000);
    bench.call(|io| io.set_linger(conn, Some(Duration::from_secs(5)))).expect("open");
    bench.call(|io| io.close(conn)).expect("open");
    bench.arrive(header(Flags::RST, PORTS, 301, 0), &[]);
    assert_eq!((&bench.app.closed[..], bench.shard.connections()), (&[Some(Error::Reset)][..], 0));
}

/// RFC 9293 section 3.8.6.3: an acknowledgment may wait for half a second. What waited for the end of the batch when it was
/// switched off goes with the answer, or by itself in a millisecond.
#[test]
fn a_request_is_acknowledged_by_its_answer_where_asked_to() {
    let request = |bench: &mut Bench, seq: u32, snd: u32| {
        let frame = tcp_frame(v4(9), v4(1), header(Flags::ACK, PORTS, seq, snd), b"request", None);
        bench.shard.on_frame(bench.now, &frame, &mut bench.app);
    };
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    request(&mut bench, 301, snd);
    bench.call(|io| io.set_quick_ack(conn, false)).expect("open");
    assert_eq!(bench.sent(), []);
    bench.call(|io| io.send(conn, b"answer")).expect("open");
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].ack.value()), (1, 308));
    request(&mut bench, 308, snd.wrapping_add(6));
    assert_eq!(bench.pass(Duration::from_micros(900)), []);
    let sent = bench.pass(Duration::from_micros(200));
    assert_eq!(sent.iter().map(|h| h.ack.value()).collect::<Vec<_>>(), [315]);
    // On again: at once.
    bench.call(|io| io.set_quick_ack(conn, true)).expect("open");
    request(&mut bench, 315, snd.wrapping_add(6));
    assert_eq!(bench.sent()[0].ack.value(), 322);
}

/// Closes with a linger time as soon as it hears of a connection, or of its data if it is `late`.
#[derive(Debug, Default)]
struct Hasty {
    late: bool,
    data: usize,
    closed: Vec<Option<Error>>,
}

impl Hasty {
    fn close(io: &mut Io<'_>, conn: ConnId) {
        io.set_linger(conn, Some(Duration::from_secs(5))).expect("open");
        io.close(conn).expect("open");
    }
}

impl App for Hasty {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        if !self.late {
            Self::close(io, conn);
        }
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, _: &[u8]) -> usize {
        self.data += 1;
        Self::close(io, conn);
        0
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.closed.push(error);
    }
}

/// S31 within a callback: data that comes with the last ACK of the handshake is not given to who has closed, and what he left
/// unread is answered by a reset; who lingers is told so.
#[test]
fn data_for_who_lingers_is_a_reset_he_hears_of() {
    for late in [false, true] {
        let (mut shard, mut app, now) = (shard(|_| {}), Hasty { late, ..Hasty::default() }, Instant::ZERO);
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), header(Flags::SYN, PORTS, 300, 0), &[], None), &mut app);
        let syn_ack = drain(&mut shard, now).iter().find_map(|f| segment_of(f)).expect("a SYN-ACK").0;
        let ack = header(Flags::ACK, PORTS, 301, syn_ack.seq.value().wrapping_add(1));
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[1; 10], None), &mut app);
        let out: Vec<Header> = drain(&mut shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect();
        assert!(out.iter().any(|h| h.flags.contains(Flags::RST)), "{out:?}");
        assert_eq!((app.data, &app.closed[..]), (usize::from(late), &[Some(Error::Aborted)][..]));
        assert_eq!((shard.connections(), shard.chunks_in_use()), (0, 0));
    }
}

#[test]
fn a_close_with_linger_zero_is_a_reset() {
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    bench.call(|io| io.set_linger(conn, Some(Duration::ZERO))).expect("open");
    bench.call(|io| io.close(conn)).expect("open");
    let out = bench.sent();
    assert_eq!((out.len(), out[0].flags.contains(Flags::RST), out[0].seq.value()), (1, true, snd));
    assert_eq!((bench.shard.connections(), bench.shard.time_waits(), bench.app.closed.len()), (0, 0, 0));
}

/// MUST-20, MUST-47, SHLD-20: at R1 the next hop is asked for its address again, and the application hears of it, unless it
/// doesn't want to; what is sent is the same.
#[test]
fn a_silent_peer_makes_the_next_hop_suspect() {
    let mut frames = Vec::new();
    for reports in [true, false] {
        let mut bench = Bench::new();
        let (conn, snd) = bench.open(1000);
        bench.call(|io| io.set_soft_error_reports(conn, reports)).expect("open");
        bench.call(|io| io.send(conn, &[1; 10])).expect("open");
        let arps = |bench: &mut Bench, time| {
            let end = bench.now + time;
            let (mut arps, mut segments) = (0, 0);
            loop {
                for frame in drain(&mut bench.shard, bench.now) {
                    assert_ne!(frame[12..14], [8, 6], "the kernel knows this neighbour, and is asked");
                    segments += 1;
                }
                while bench.shard.poll_resolve().is_some() {
                    arps += 1;
                }
                let Some(next) = bench.shard.next_wakeup().filter(|at| *at <= end) else { break };
                bench.now = next;
                bench.shard.advance(next, &mut bench.app);
            }
            bench.now = end;
            (arps, segments)
        };
        // Sent at 0, 200, 600, 1400 ms (the third retransmission), 3000 ms: then it is suspect.
        assert_eq!(arps(&mut bench, Duration::from_millis(2900)), (0, 4));
        assert_eq!(arps(&mut bench, Duration::from_millis(200)), (1, 1));
        let told: &[SoftError] = if reports { &[SoftError::Retransmissions] } else { &[] };
        assert_eq!(bench.app.soft, told);
        assert_eq!(bench.call(|io| io.soft_error(conn)), Ok(Some(SoftError::Retransmissions)));
        frames.push(arps(&mut bench, Duration::from_secs(5)));
        // The next hop's new address is used at once.
        bench.shard.on_neighbour(v4(9), Some(OURS));
        bench.arrive(header(Flags::ACK, PORTS, 301, snd.wrapping_add(10)), &[]);
        assert_eq!(bench.call(|io| io.soft_error(conn)), Ok(None));
        assert_eq!((bench.app.soft.len(), bench.app.closed.len()), (told.len(), 0));
    }
    assert_eq!(frames[0], frames[1]);
}

#[test]
fn the_user_timeout_is_set_through_the_stack() {
    let mut bench = Bench::new();
    let (conn, snd) = bench.open(1000);
    bench.call(|io| io.set_user_timeout(conn, Some(Duration::from_secs(5)))).expect("open");
    bench.call(|io| io.send(conn, &[1; 10])).expect("open");
    bench.pass(Duration::from_millis(4900));
    assert_eq!(bench.app.closed, []);
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.app.closed, [Some(Error::TimedOut)]);
    // The connection is gone: what comes now is answered by a reset.
    let out = bench.arrive(header(Flags::ACK, PORTS, 301, snd), &[]);
    assert_eq!((out[0].flags, out[0].seq.value()), (Flags::RST, snd));
}

/// MUST-30, MUST-32, MUST-33: the application hears of the mark before the data it is about, and can ask for it; what it
/// sends as urgent leaves with the pointer.
#[test]
fn urgent_data_is_marked_both_ways() {
    #[derive(Default)]
    struct Marked {
        conn: Option<ConnId>,
        heard: Vec<(&'static str, u32)>,
    }
    impl App for Marked {
        fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
            self.conn = Some(conn);
        }
        fn on_urgent(&mut self, _: &mut Io<'_>, _: ConnId, octets: u32) {
            self.heard.push(("urgent", octets));
        }
        fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
            self.heard.push(("data", u32::try_from(data.len()).expect("small")));
            3
        }
    }
    let (mut shard, mut app, now) = (shard(|_| {}), Marked::default(), Instant::ZERO);
    let arrive = |shard: &mut Shard, app: &mut Marked, header: Header, payload: &[u8]| {
        shard.on_frame(now, &tcp_frame(v4(9), v4(1), header, payload, None), app);
        drain(shard, now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect::<Vec<_>>()
    };
    let snd = arrive(&mut shard, &mut app, header(Flags::SYN, PORTS, 300, 0), &[])[0].seq.value().wrapping_add(1);
    // With the last ACK of the handshake: the connection, its mark, its data.
    let urgent = Header { urgent: 7, ..header(Flags::ACK | Flags::URG, PORTS, 301, snd) };
    arrive(&mut shard, &mut app, urgent, &[1; 10]);
    assert_eq!(app.heard, [("urgent", 7), ("data", 10)]);
    let conn = app.conn.expect("accepted");
    assert_eq!(shard.call(now, |io| io.urgent(conn)), Ok(Some(4)));
    assert_eq!(shard.call(now, |io| io.skip(conn, 4).and_then(|()| io.urgent(conn))), Ok(None));
    assert_eq!(shard.call(now, |io| io.send_urgent(conn, &[1; 5])), Ok(5));
    let sent = drain(&mut shard, now);
    let (out, _) = segment_of(&sent[0]).expect("TCP");
    assert_eq!((out.flags.contains(Flags::URG), out.urgent), (true, 5));
}

/// RFC 9293 MUST-28: not before two hours. That is farther ahead than the wheel keeps a deadline, in full and at rest.
#[test]
fn a_keepalive_comes_after_two_hours() {
    for most_awake in [0, 4096] {
        let mut bench = Bench { shard: shard(|config| config.most_awake = most_awake), ..Bench::new() };
        let (conn, _) = bench.open(1000);
        bench.call(|io| io.set_keepalive(conn, Some(Keepalive::default()))).expect("open");
        let two_hours = Duration::from_secs(7200);
        assert!(bench.pass(two_hours - Duration::from_millis(1)).is_empty());
        bench.shard.invariants().expect("armed, though earlier");
        let probe = bench.pass(Duration::from_millis(2));
        assert_eq!(probe.iter().map(|h| h.flags).collect::<Vec<_>>(), [Flags::ACK]);
        // Nine that nobody answers, 75 s apart.
        assert_eq!(bench.pass(Duration::from_secs(9 * 75)).len(), 9, "eight, and the reset");
        assert_eq!(bench.app.closed, [Some(Error::TimedOut)]);
    }
}
