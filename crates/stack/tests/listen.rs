//! Listeners through frames: half-open records, cookies, accept queues, and what is left when they close. Over IPv4 and IPv6.
#![allow(clippy::cast_possible_truncation)]

mod support;

use core::net::{IpAddr, SocketAddr};
use proptest::prelude::*;
use stack::{
    App, ConnId, Cursor, Duration, Error, Half, Instant, Io, ListenError, ListenOptions, ListenerId, Refusal, Shard,
    State, SynCookies,
};
use support::*;
use wire::{
    eth, ipv4, ipv6,
    tcp::{Flags, Header, Segment, Timestamps},
};

/// Port of the listener under test; `PORT` has one of the support's own.
const SERVICE: u16 = 7000;

/// Accepts at once or when told to, reads everything.
#[derive(Debug, Default)]
struct Server {
    waits: bool,
    acceptable: usize,
    accepted: Vec<ConnId>,
    got: Vec<(ConnId, Vec<u8>)>,
    eof: Vec<ConnId>,
    closed: Vec<(ConnId, Option<Error>)>,
}

impl App for Server {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.push(conn);
    }
    fn on_acceptable(&mut self, io: &mut Io<'_>, listener: ListenerId) {
        self.acceptable += 1;
        while !self.waits
            && let Some(conn) = io.accept(listener)
        {
            self.on_accept(io, conn, listener);
        }
    }
    fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.got.push((conn, data.to_vec()));
        data.len()
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.eof.push(conn);
    }
    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.closed.push((conn, error));
    }
}

struct Bench {
    shard: Shard,
    app: Server,
    now: Instant,
    v6: bool,
    listener: ListenerId,
}

/// A segment the shard sent, and to whom.
#[derive(Debug, Clone)]
struct Sent {
    to: SocketAddr,
    header: Header,
    payload: Vec<u8>,
}

fn parse(frame: &[u8]) -> Option<Sent> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let (src, dst, payload): (IpAddr, IpAddr, &[u8]) = match link.ethertype {
        eth::ETHERTYPE_IPV4 => ipv4::Header::parse(packet).ok().map(|(h, p)| (h.src.into(), h.dst.into(), p))?,
        eth::ETHERTYPE_IPV6 => ipv6::Header::parse(packet).ok().map(|(h, p)| (h.src.into(), h.dst.into(), p))?,
        _ => return None,
    };
    let segment = Segment::parse(payload, src, dst).expect("well-formed, with a good checksum");
    let to = SocketAddr::new(dst, segment.header.dst_port);
    Some(Sent { to, header: segment.header, payload: segment.payload.to_vec() })
}

impl Bench {
    fn new(v6: bool, options: impl Into<ListenOptions>) -> Self {
        let mut shard = shard(|c| c.addresses[0].prefix_len = 8);
        let mut bench = Self {
            listener: shard
                .listen(SocketAddr::new(if v6 { support::v6(1) } else { v4(1) }, SERVICE), options)
                .expect("free"),
            shard,
            app: Server::default(),
            now: Instant::ZERO + Duration::from_secs(1000),
            v6,
        };
        bench.shard.advance(bench.now, &mut bench.app);
        bench
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        if self.v6 { (v6(9), v6(1)) } else { (v4(9), v4(1)) }
    }

    /// The peer's segment arrives; what is sent at once.
    fn arrive(&mut self, header: Header, data: &[u8]) -> Vec<Sent> {
        let (peer, own) = self.addresses();
        self.shard.on_frame(self.now, &tcp_frame(peer, own, header, data, None), &mut self.app);
        self.sent()
    }

    fn segment(&mut self, flags: Flags, port: u16, seq: u32, ack: u32) -> Vec<Sent> {
        self.arrive(header(flags, (port, SERVICE), seq, ack), &[])
    }

    fn sent(&mut self) -> Vec<Sent> {
        let frames = drain(&mut self.shard, self.now);
        let counters = self.shard.counters();
        assert_eq!(counters.frames_in, counters.frames_accounted());
        frames.iter().filter_map(|f| parse(f)).collect()
    }

    /// Lets time pass; what is sent, and when.
    fn pass(&mut self, time: Duration) -> Vec<(Duration, Sent)> {
        let (begin, end) = (self.now, self.now + time);
        let mut all = Vec::new();
        for turns in 0.. {
            assert!(turns < 100_000, "a busy loop");
            all.extend(self.sent().into_iter().map(|sent| (self.now - begin, sent)));
            let Some(next) = self.shard.next_wakeup().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            self.shard.advance(self.now, &mut self.app);
        }
        self.now = end;
        all
    }

    /// A SYN with ISN 300; returns our ISS.
    fn syn(&mut self, port: u16) -> u32 {
        let out = self.segment(Flags::SYN, port, 300, 0);
        assert_eq!((out.len(), out[0].header.flags), (1, Flags::SYN | Flags::ACK));
        assert_eq!((out[0].header.ack.value(), out[0].to.port()), (301, port));
        out[0].header.seq.value()
    }

    /// The last ACK of the handshake.
    fn ack(&mut self, port: u16, iss: u32) -> Vec<Sent> {
        self.segment(Flags::ACK, port, 301, iss.wrapping_add(1))
    }

    fn open(&mut self, port: u16) -> u32 {
        let iss = self.syn(port);
        assert!(self.ack(port, iss).is_empty());
        iss
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        self.shard.call(self.now, f)
    }

    fn turn(&mut self) -> Vec<Sent> {
        self.shard.advance(self.now, &mut self.app);
        self.sent()
    }

    fn refused(&self, reason: Refusal) -> u64 {
        self.shard.counters().refusals(reason)
    }

    fn states(&self) -> Vec<(State, u32)> {
        let (mut all, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(at) = cursor {
            cursor = self.shard.list(self.now, at, 3, &mut all);
        }
        all.iter().map(|c| (c.state, c.retransmits)).collect()
    }
}

fn both(case: impl Fn(bool)) {
    case(false);
    case(true);
}

fn never(backlog: u32) -> ListenOptions {
    ListenOptions { syn_cookies: SynCookies::Never, ..backlog.into() }
}

fn queue(limit: u32) -> ListenOptions {
    ListenOptions { accept_queue: Some(limit), ..ListenOptions::default() }
}

// Half-open records.

/// RFC4987-3.3-a, RFC6298-5.5-a: the SYN-ACK goes out again after 1, 3, 7, 15 and 31 s, and after 63 s nothing is left.
#[test]
fn a_syn_ack_is_sent_five_times_again() {
    both(|v6| {
        let mut bench = Bench::new(v6, never(1));
        let iss = bench.syn(1000);
        assert_eq!(bench.states(), [(State::SynReceived, 0)]);
        assert_eq!((bench.shard.half_open(), bench.shard.connections()), (1, 0));
        let again = bench.pass(Duration::from_millis(62_999));
        let times: Vec<_> = again.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(times, [1000, 3000, 7000, 15_000, 31_000]);
        assert!(again.iter().all(|(_, s)| s.header.seq.value() == iss && s.header.flags == Flags::SYN | Flags::ACK));
        assert_eq!(bench.states(), [(State::SynReceived, 5)]);
        assert!(bench.segment(Flags::SYN, 1001, 5, 0).is_empty(), "the backlog is full");
        assert!(bench.pass(Duration::from_millis(2)).is_empty());
        assert_eq!((bench.states(), bench.shard.next_wakeup()), (vec![], None));
        assert_eq!((bench.refused(Refusal::BacklogFull), bench.shard.counters().half_open_expired), (1, 1));
        // Its ACK comes too late.
        let out = bench.ack(1000, iss);
        assert_eq!((out[0].header.flags, out[0].header.seq.value()), (Flags::RST, iss.wrapping_add(1)));
        bench.open(1002);
        assert_eq!((bench.app.accepted.len(), bench.app.closed.len()), (1, 0));
    });
}

/// S03, RFC9293-3.5.3-a, MUST-11: an old SYN is taken back by the reset that its SYN-ACK draws; the application hears nothing.
#[test]
fn s03_an_old_duplicate_syn() {
    both(|v6| {
        let mut bench = Bench::new(v6, 4);
        let old = bench.segment(Flags::SYN, 1000, 90, 0);
        assert_eq!(old[0].header.ack.value(), 91);
        assert!(bench.segment(Flags::RST, 1000, 91, 0).is_empty());
        assert_eq!(bench.shard.half_open(), 0);
        bench.now += Duration::from_millis(1);
        let new = bench.segment(Flags::SYN, 1000, 100, 0);
        assert_eq!(new[0].header.ack.value(), 101);
        assert_ne!(new[0].header.seq, old[0].header.seq, "a new ISS");
        let snd = new[0].header.seq.value().wrapping_add(1);
        assert!(bench.segment(Flags::ACK, 1000, 101, snd).is_empty());
        assert_eq!((bench.app.accepted.len(), bench.app.closed.len()), (1, 0));
    });
}

/// S06, RFC9293-3.10.7.2-a, MUST-11: with two listeners the SYN-ACK that an old SYN draws is answered by a reset, and both
/// are back in LISTEN.
#[test]
fn s06_an_old_syn_between_two_listeners() {
    both(|v6| {
        let mut bench = Bench::new(v6, 4);
        let syn_ack = bench.segment(Flags::SYN, SERVICE, 90, 0).remove(0).header;
        assert!(bench.segment(Flags::RST, SERVICE, syn_ack.ack.value(), 0).is_empty());
        // And the other one: a SYN-ACK at a listener.
        let out = bench.segment(Flags::SYN | Flags::ACK, SERVICE, 700, 91);
        assert_eq!((out[0].header.flags, out[0].header.seq.value()), (Flags::RST, 91));
        assert_eq!((bench.shard.half_open(), bench.app.accepted.len(), bench.app.closed.len()), (0, 0, 0));
    });
}

/// S14, S16, RFC5961-3.2-a, RFC5961-3.2-b, RFC5961-3.2-c, RFC9293-3.5.2-b: resets and acknowledgments that are wrong leave
/// the handshake as it is.
#[test]
fn s14_s16_what_is_wrong_in_syn_received() {
    both(|v6| {
        let mut bench = Bench::new(v6, 4);
        let iss = bench.syn(1000);
        for seq in [300, 301 + 65_535] {
            assert!(bench.segment(Flags::RST, 1000, seq, 0).is_empty(), "out of the window");
        }
        let out = bench.segment(Flags::RST, 1000, 302, 0);
        let (seq, ack) = (out[0].header.seq.value(), out[0].header.ack.value());
        assert_eq!((out.len(), out[0].header.flags, seq, ack), (1, Flags::ACK, iss.wrapping_add(1), 301));
        for wrong in [iss, iss.wrapping_add(2)] {
            let out = bench.segment(Flags::ACK, 1000, 301, wrong);
            assert_eq!((out[0].header.flags, out[0].header.seq.value()), (Flags::RST, wrong));
        }
        // The peer's own SYN again, and a stranger's in the window (A4).
        let out = bench.segment(Flags::SYN, 1000, 300, 0);
        assert_eq!((out[0].header.flags, out[0].header.seq.value()), (Flags::SYN | Flags::ACK, iss));
        assert_eq!(bench.segment(Flags::SYN, 1000, 400, 0)[0].header.flags, Flags::ACK);
        assert_eq!(bench.states(), [(State::SynReceived, 0)]);
        assert!(bench.ack(1000, iss).is_empty());
        // One segment was sent again: the SYN-ACK.
        assert_eq!(bench.states(), [(State::Established, 1)]);
        assert_eq!((bench.app.accepted.len(), bench.shard.half_open()), (1, 0));
    });
}

/// RFC9293-3.10.7.2-a and the fifth to eighth step of 3.10.7.4: data before the handshake is complete comes again; with the
/// last ACK, and FIN behind it, it is taken.
#[test]
fn data_with_the_last_ack_is_taken_and_with_the_syn_is_not() {
    both(|v6| {
        let mut bench = Bench::new(v6, 4);
        let out = bench.arrive(header(Flags::SYN, (1000, SERVICE), 300, 0), b"early");
        assert_eq!(out[0].header.ack.value(), 301, "the data is not acknowledged");
        let snd = out[0].header.seq.value().wrapping_add(1);
        let fin = header(Flags::ACK | Flags::FIN, (1000, SERVICE), 301, snd);
        let out = bench.arrive(fin, b"early and late");
        assert_eq!((out.len(), out[0].header.ack.value()), (1, 301 + 14 + 1));
        let conn = bench.app.accepted[0];
        assert_eq!((&bench.app.got[..], &bench.app.eof[..]), (&[(conn, b"early and late".to_vec())][..], &[conn][..]));
    });
}

/// RFC4987-3.3-a: while the backlog is full the oldest make room, after two SYN-ACKs more instead of five (as Linux).
#[test]
fn under_pressure_the_oldest_go_first() {
    both(|v6| {
        let mut bench = Bench::new(v6, never(10));
        for port in 1000..1010 {
            bench.syn(port);
        }
        assert!(bench.segment(Flags::SYN, 1010, 300, 0).is_empty());
        assert_eq!(bench.pass(Duration::from_millis(6999)).len(), 2 * 10);
        assert_eq!(bench.shard.half_open(), 10);
        bench.pass(Duration::from_millis(2));
        // As soon as there is less pressure, who is left is waited for.
        assert_eq!((bench.shard.half_open(), bench.shard.counters().half_open_expired), (5, 5));
        bench.open(1011);
        bench.pass(Duration::from_millis(56_000));
        assert_eq!(bench.shard.half_open(), 0);
    });
}

/// RFC6298-5.7-a, RFC5681-3.1-b: after a lost SYN-ACK data begins with an RTO of 3 s, after two with one segment; nothing is
/// measured by it (Karn).
#[test]
fn a_lost_syn_ack_is_remembered_by_the_connection() {
    both(|v6| {
        let mut bench = Bench::new(v6, 4);
        let iss = bench.syn(1000);
        assert_eq!(bench.pass(Duration::from_millis(1500)).len(), 1);
        bench.ack(1000, iss);
        let conn = bench.app.accepted[0];
        let info = bench.call(|io| io.info(conn)).expect("open");
        assert_eq!((info.srtt, info.retransmits), (None, 1));
        bench.call(|io| io.send(conn, &[1; 100])).expect("open");
        let sent = bench.pass(Duration::from_millis(3001));
        let times: Vec<_> = sent.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(times, [0, 3000]);
        // A second loss: one segment, not ten.
        let iss = bench.syn(1002);
        assert_eq!(bench.pass(Duration::from_millis(3500)).iter().filter(|(_, s)| s.to.port() == 1002).count(), 2);
        bench.ack(1002, iss);
        let conn = bench.app.accepted[1];
        bench.call(|io| io.send(conn, &[1; 5000])).expect("open");
        assert_eq!(bench.sent().len(), 1);
        // One that was not lost is measured from the SYN-ACK to the ACK, over both sides of the record.
        let iss = bench.syn(1001);
        bench.pass(Duration::from_millis(80));
        bench.ack(1001, iss);
        let conn = bench.app.accepted[2];
        let info = bench.call(|io| io.info(conn)).expect("open");
        assert_eq!(info.srtt.map(Duration::as_millis), Some(80));
    });
}

/// RFC4987-3.5-a: 10^6 SYNs of invented sources, in memory of the backlog, while a connection works and others begin.
#[test]
fn a_flood_of_a_million_syns() {
    both(|v6| {
        let mut bench = Bench::new(v6, 256);
        let snd = bench.open(1).wrapping_add(1);
        let conn = bench.app.accepted[0];
        let (_, own) = bench.addresses();
        let mut buffer = vec![0; bench.shard.frame_bytes()];
        for n in 0..500_000u32 {
            let [a, b, c, d] = (n + (1 << 16)).to_be_bytes();
            let source: IpAddr =
                if v6 { [0xfd77, 0, 0, 0, 0, 7, (n >> 16) as u16, n as u16].into() } else { [10 + a, b, c, d].into() };
            let syn = header(Flags::SYN, (2000, SERVICE), n, 0);
            bench.shard.on_frame(bench.now, &tcp_frame(source, own, syn, &[], None), &mut bench.app);
            while bench.shard.poll_transmit(bench.now, &mut buffer).is_some() {}
            if n % 50_000 == 0 {
                bench.now += Duration::from_millis(100);
                bench.shard.advance(bench.now, &mut bench.app);
                // Who is open already does not notice; who begins now gets in.
                let rcv = 301 + 100 * (n / 50_000);
                bench.call(|io| io.send(conn, &[6; 10])).expect("open");
                let out = bench.arrive(header(Flags::ACK, (1, SERVICE), rcv, snd), &[5; 100]);
                assert!(out.iter().any(|s| s.payload.len() == 10 && s.header.ack.value() == rcv + 100));
                let ack = header(Flags::ACK, (1, SERVICE), rcv + 100, snd + 10 * (n / 50_000 + 1));
                assert!(bench.arrive(ack, &[]).is_empty());
                bench.open((30_000 + n / 50_000) as u16);
            }
            assert!(bench.shard.half_open() <= 256);
        }
        let counters = bench.shard.counters();
        assert!(counters.cookies_sent >= 499_000 && counters.frames_in == counters.frames_accounted());
        assert_eq!((bench.shard.connections(), bench.app.accepted.len()), (11, 11));
        assert_eq!(bench.app.got.iter().map(|(_, data)| data.len()).sum::<usize>(), 1000);
        bench.pass(Duration::from_secs(64));
        assert_eq!(bench.shard.half_open(), 0);
    });
}

// Cookies.

/// A SYN with every option; its timestamp is `val`.
fn full_syn(port: u16, seq: u32, val: u32) -> Header {
    let mut syn = header(Flags::SYN, (port, SERVICE), seq, 0);
    syn.options.mss = Some(1400);
    syn.options.window_scale = Some(7);
    syn.options.sack_permitted = true;
    syn.options.timestamps = Some(Timestamps { val, ecr: 0 });
    syn
}

/// RFC4987-3.6-a: with a full backlog the SYN-ACK is a cookie, nothing is kept, and what the ACK brings back keeps MSS, window
/// scale, SACK and timestamps. Data that comes with it is delivered.
#[test]
fn a_cookie_keeps_every_option_of_who_sends_timestamps() {
    both(|v6| {
        let mut bench = Bench::new(v6, 1);
        bench.syn(1000);
        let syn_ack = bench.arrive(full_syn(2000, 300, 77), &[]).remove(0).header;
        let (options, stamp) = (syn_ack.options, syn_ack.options.timestamps.expect("agreed"));
        // The scale of 32 MiB.
        assert_eq!((options.window_scale, options.sack_permitted, stamp.ecr), (Some(10), true, 77));
        assert_eq!((bench.shard.half_open(), bench.shard.connections()), (1, 0));
        bench.pass(Duration::from_millis(500));
        let snd = syn_ack.seq.value().wrapping_add(1);
        let mut ack = header(Flags::ACK, (2000, SERVICE), 301, snd);
        (ack.window, ack.options.timestamps) = (30, Some(Timestamps { val: 99, ecr: stamp.val }));
        let out = bench.arrive(ack, b"hello");
        let conn = bench.app.accepted[0];
        assert_eq!(bench.app.got, [(conn, b"hello".to_vec())]);
        assert!(out.iter().all(|s| s.header.options.timestamps.is_some_and(|t| t.ecr == 99)));
        assert_eq!(bench.shard.counters().cookies_accepted, 1);
        // The MSS is rounded down to 1,360 (IPv6: 1,400), 12 bytes are the timestamps'; the window is 30 * 2^7: two whole
        // segments, and a third that is not worth it (RFC 9293 section 3.8.6.2.1).
        bench.call(|io| io.send(conn, &[1; 10_000])).expect("open");
        let sizes: Vec<_> = bench.sent().iter().map(|s| s.payload.len()).collect();
        assert_eq!(sizes, if v6 { [1388, 1388] } else { [1348, 1348] });
        // Data out of order is reported by SACK.
        let mut late = header(Flags::ACK, (2000, SERVICE), 406, snd);
        (late.window, late.options.timestamps) = (30, Some(Timestamps { val: 100, ecr: stamp.val }));
        let out = bench.arrive(late, b"later");
        let blocks: Vec<_> = out[0].header.options.sack.iter().map(|(a, b)| (a.value(), b.value())).collect();
        assert_eq!(blocks, [(406, 411)]);
    });
}

/// RFC4987-3.6-a: without timestamps there is no place for window scale and SACK, so they are not agreed on.
#[test]
fn a_cookie_without_timestamps_offers_only_an_mss() {
    both(|v6| {
        let mut bench = Bench::new(v6, ListenOptions { syn_cookies: SynCookies::Always, ..ListenOptions::default() });
        let mut syn = full_syn(2000, 300, 0);
        syn.options.timestamps = None;
        let syn_ack = bench.arrive(syn, &[]).remove(0).header;
        let mss = if v6 { 1440 } else { 1460 };
        assert_eq!(syn_ack.options, wire::tcp::Options { mss: Some(mss), ..Default::default() });
        assert_eq!(bench.shard.half_open(), 0);
        assert_eq!(bench.pass(Duration::from_secs(70)).len(), 0, "nothing is remembered, so nothing is sent again");
        let mut ack = header(Flags::ACK, (2000, SERVICE), 301, syn_ack.seq.value().wrapping_add(1));
        ack.window = 65_000;
        assert!(bench.arrive(ack, &[]).is_empty());
        let conn = bench.app.accepted[0];
        let info = bench.call(|io| io.info(conn)).expect("open");
        assert_eq!((info.srtt, info.retransmits), (None, 0), "nobody knows when the SYN-ACK was sent, but it was once");
        bench.call(|io| io.send(conn, &[1; 10_000])).expect("open");
        assert_eq!(bench.sent()[0].payload.len(), if v6 { 1400 } else { 1360 });
    });
}

/// RFC4987-3.6-a: what is no cookie, or too old, draws a reset and opens nothing. Without cookies sent an ACK at the listener
/// is an old one (RFC9293-3.10.7.2-a).
#[test]
fn forged_and_stale_cookies_draw_a_reset() {
    both(|v6| {
        let mut bench = Bench::new(v6, 0);
        let stray = |bench: &mut Bench, ack: u32| {
            let out = bench.segment(Flags::ACK, 2000, 301, ack);
            assert_eq!((out.len(), out[0].header.flags, out[0].header.seq.value()), (1, Flags::RST, ack));
        };
        stray(&mut bench, 12345);
        assert_eq!((bench.refused(Refusal::ListenReset), bench.refused(Refusal::CookieInvalid)), (1, 0));
        let iss = bench.syn(2000);
        for n in 0..1000 {
            stray(&mut bench, iss.wrapping_add(2 + n));
        }
        assert_eq!(bench.refused(Refusal::CookieInvalid), 1000);
        // Of another connection, and of another SYN.
        assert_eq!(bench.segment(Flags::ACK, 2001, 301, iss.wrapping_add(1))[0].header.flags, Flags::RST);
        assert_eq!(bench.segment(Flags::ACK, 2000, 302, iss.wrapping_add(1))[0].header.flags, Flags::RST);
        // A SYN-ACK and a reset are no ACK of a handshake.
        assert_eq!(bench.segment(Flags::ACK | Flags::SYN, 2000, 301, iss.wrapping_add(1))[0].header.flags, Flags::RST);
        assert!(bench.segment(Flags::ACK | Flags::RST, 2000, 301, iss.wrapping_add(1)).is_empty());
        bench.pass(Duration::from_secs(127));
        let second = bench.syn(2002);
        bench.pass(Duration::from_secs(1));
        stray(&mut bench, iss.wrapping_add(1));
        assert_eq!(bench.refused(Refusal::CookieInvalid), 1003);
        assert!(bench.ack(2002, second).is_empty());
        // When the last is too old, the listener asks no more.
        bench.pass(Duration::from_secs(129));
        stray(&mut bench, second.wrapping_add(1));
        assert_eq!((bench.refused(Refusal::ListenReset), bench.app.accepted.len()), (3, 1));
        assert_eq!(bench.shard.connections(), 1);
    });
}

/// RFC 9293 section 3.10.7.4 would have the record refuse what acknowledges no SYN-ACK of its own. But a SYN that came twice,
/// before and after there was room for a record, was answered twice, and the peer takes the first answer. Linux takes both.
#[test]
fn a_cookie_is_good_beside_a_record() {
    both(|v6| {
        let mut bench = Bench::new(v6, 1);
        bench.syn(1000);
        let cookie = bench.syn(2000);
        assert_eq!(bench.segment(Flags::RST, 1000, 301, 0).len(), 0);
        let record = bench.syn(2000);
        assert_eq!((bench.shard.half_open(), bench.shard.counters().cookies_sent), (1, 1));
        assert_ne!(cookie, record);
        // Neither of both is refused as before.
        assert_eq!(bench.ack(2000, cookie.wrapping_add(1))[0].header.flags, Flags::RST);
        assert_eq!((bench.shard.half_open(), bench.shard.connections()), (1, 0));
        assert!(bench.ack(2000, cookie).is_empty());
        assert_eq!((bench.shard.half_open(), bench.shard.connections()), (0, 1));
        assert_eq!((bench.app.accepted.len(), bench.shard.counters().cookies_accepted), (1, 1));
        // The other SYN-ACK was never seen: its number is that of no octet of this connection.
        let out = bench.arrive(header(Flags::ACK, (2000, SERVICE), 301, cookie.wrapping_add(1)), b"hello");
        assert!(out.iter().all(|s| s.header.flags == Flags::ACK));
        assert_eq!(bench.app.got, [(bench.app.accepted[0], b"hello".to_vec())]);
        // The backlog's place is free.
        bench.syn(3000);
        assert_eq!(bench.shard.half_open(), 1);
    });
}

// The accept queue.

/// Linux: of a queue of one two connections wait; then last ACKs and SYNs are dropped, and the SYN-ACK goes out again.
#[test]
fn a_full_accept_queue_is_waited_for() {
    both(|v6| {
        let mut bench = Bench::new(v6, queue(1));
        bench.app.waits = true;
        let iss: Vec<_> = (1000..1004).map(|port| bench.syn(port)).collect();
        for n in 0..4 {
            assert!(bench.ack(1000 + n, iss[usize::from(n)]).is_empty());
        }
        assert_eq!((bench.shard.connections(), bench.shard.half_open(), bench.app.acceptable), (2, 2, 1));
        assert!(bench.segment(Flags::SYN, 1005, 300, 0).is_empty());
        assert_eq!(bench.refused(Refusal::AcceptQueueFull), 3);
        // Linux counts the SYN-ACKs as of a handshake that nobody completes.
        let again = bench.pass(Duration::from_millis(1001));
        let mut to: Vec<_> = again.iter().map(|(_, s)| s.to.port()).collect();
        to.sort_unstable();
        assert_eq!(to, [1002, 1003]);
        assert!(bench.ack(1002, iss[2]).is_empty());
        let listener = bench.listener;
        let first = bench.call(|io| io.accept(listener)).expect("one waits");
        assert_eq!(bench.call(|io| io.addresses(first)).expect("open").1.port(), 1000);
        assert!(bench.ack(1002, iss[2]).is_empty());
        assert_eq!((bench.shard.connections(), bench.shard.half_open()), (3, 1));
        let mut ports = Vec::new();
        while let Some(conn) = bench.call(|io| io.accept(listener)) {
            ports.push(bench.call(|io| io.addresses(conn)).expect("open").1.port());
        }
        assert_eq!(ports, [1001, 1002]);
        // The last one was never let in: it is given up after 63 s.
        bench.pass(Duration::from_secs(63));
        assert_eq!(bench.shard.half_open(), 0);
        assert_eq!(bench.ack(1003, iss[3])[0].header.flags, Flags::RST);
    });
}

/// What arrives for a connection that nobody has accepted yet is kept, and told when somebody does: data, the end of file, a
/// reset.
#[test]
fn a_connection_that_waits_receives() {
    both(|v6| {
        let mut bench = Bench::new(v6, queue(10));
        bench.app.waits = true;
        let snd: Vec<_> = (1000..1003).map(|port| bench.open(port).wrapping_add(1)).collect();
        let out = bench.arrive(header(Flags::ACK | Flags::FIN, (1000, SERVICE), 301, snd[0]), b"and the end");
        assert_eq!(out.last().expect("an ACK").header.ack.value(), 313);
        bench.arrive(header(Flags::ACK, (1001, SERVICE), 301, snd[1]), b"and a reset");
        assert!(bench.segment(Flags::RST, 1001, 312, 0).is_empty());
        assert_eq!(bench.states().len(), 2, "one is over");
        // Its address may open another one.
        let again = bench.segment(Flags::SYN, 1001, 5000, 0).remove(0).header.seq.value();
        assert!(bench.segment(Flags::ACK, 1001, 5001, again.wrapping_add(1)).is_empty());
        assert!(bench.app.got.is_empty() && bench.app.eof.is_empty() && bench.app.closed.is_empty());
        let listener = bench.listener;
        let mut conns = Vec::new();
        while let Some(conn) = bench.call(|io| io.accept(listener)) {
            conns.push(conn);
        }
        assert_eq!((conns.len(), bench.app.acceptable), (4, 1));
        bench.turn();
        let got = [(conns[0], b"and the end".to_vec()), (conns[1], b"and a reset".to_vec())];
        assert_eq!((&bench.app.got[..], &bench.app.eof[..]), (&got[..], &conns[..1]));
        assert_eq!(bench.app.closed, [(conns[1], Some(Error::Reset))]);
        assert_eq!(bench.call(|io| io.send(conns[1], b"x")), Err(Error::NotConnected));
        assert_eq!(bench.call(|io| io.send(conns[2], b"x")), Ok(1));
        assert_eq!(bench.shard.connections(), 3);
        assert_eq!(bench.call(|io| io.accept(listener)), None);
    });
}

/// By default whoever waits is accepted at once; the data of the last ACK follows in place.
#[test]
fn an_accept_queue_that_is_emptied_at_once_is_none() {
    both(|v6| {
        let mut bench = Bench::new(v6, queue(0));
        for port in 1000..1005 {
            let iss = bench.syn(port);
            bench.arrive(header(Flags::ACK, (port, SERVICE), 301, iss.wrapping_add(1)), b"now");
        }
        assert_eq!((bench.app.accepted.len(), bench.app.got.len(), bench.app.acceptable), (5, 5, 5));
        bench.turn();
        assert_eq!((bench.app.got.len(), bench.app.closed.len()), (5, 0));
    });
}

// The end of a listener.

/// Issue 3, point 3: children in every stage when the listener closes, by itself and with everything else.
#[test]
fn a_listener_closes_with_children_in_every_stage() {
    both(|v6| {
        let mut bench = Bench::new(v6, queue(10));
        bench.app.waits = true;
        let listener = bench.listener;
        let accepted = bench.open(1000);
        let conn = bench.call(|io| io.accept(listener)).expect("waits");
        let waiting = bench.open(1001);
        let with_data = bench.open(1002);
        bench.arrive(header(Flags::ACK, (1002, SERVICE), 301, with_data.wrapping_add(1)), &[1; 500]);
        bench.open(1003);
        bench.segment(Flags::RST, 1003, 301, 0);
        let half_open = bench.syn(1004);
        bench.turn();
        assert_eq!(bench.call(|io| io.close_listener(listener)), Ok(()));
        let resets: Vec<_> = bench.sent().iter().map(|s| (s.to.port(), s.header.flags, s.header.seq.value())).collect();
        let reset = Flags::RST | Flags::ACK;
        assert_eq!(resets, [(1001, reset, waiting.wrapping_add(1)), (1002, reset, with_data.wrapping_add(1))]);
        assert_eq!((bench.shard.half_open(), bench.shard.connections()), (0, 1));
        assert_eq!(bench.shard.chunks_in_use(), 0);
        // Forgotten without a word: who completes it, and who begins, is refused.
        assert_eq!(bench.ack(1004, half_open)[0].header.flags, Flags::RST);
        assert_eq!(bench.segment(Flags::SYN, 1005, 300, 0)[0].header.flags, Flags::RST | Flags::ACK);
        // Who was accepted lives on.
        let out = bench.arrive(header(Flags::ACK, (1000, SERVICE), 301, accepted.wrapping_add(1)), b"still here");
        assert!(out.iter().all(|s| s.header.flags == Flags::ACK));
        assert_eq!(bench.app.got, [(conn, b"still here".to_vec())]);
        // The port is free, the id dead.
        assert_eq!(bench.call(|io| io.close_listener(listener)), Err(ListenError::Closed));
        assert_eq!(bench.call(|io| io.accept(listener)), None);
        let own = SocketAddr::new(bench.addresses().1, SERVICE);
        let next = bench.call(|io| io.listen(own, 5)).expect("free at once");
        assert_ne!(next, listener);
        bench.open(1006);
        assert_eq!((bench.app.accepted.len(), bench.app.closed.len()), (1, 0));
        bench.shard.drain(bench.now);
        assert_eq!(bench.sent().iter().filter(|s| s.header.flags.contains(Flags::FIN)).count(), 2);
        assert_eq!(bench.segment(Flags::SYN, 1007, 300, 0)[0].header.flags, Flags::RST | Flags::ACK);
    });
}

/// SHLD-4 and issue 3, point 4: 2MSL per listener.
#[test]
fn time_wait_lasts_as_long_as_the_listener_says() {
    both(|v6| {
        for (time_wait, seconds) in
            [(None, 60), (Some(Duration::from_secs(5)), 5), (Some(Duration::from_secs(240)), 240)]
        {
            let mut bench = Bench::new(v6, ListenOptions { time_wait, ..ListenOptions::default() });
            let iss = bench.open(1000);
            let conn = bench.app.accepted[0];
            bench.call(|io| io.shutdown(conn, Half::Write)).expect("open");
            bench.sent();
            bench.segment(Flags::FIN | Flags::ACK, 1000, 301, iss.wrapping_add(2));
            assert_eq!((bench.shard.connections(), bench.shard.time_waits()), (0, 1));
            bench.pass(Duration::from_millis(seconds * 1000 - 1));
            assert_eq!(bench.shard.time_waits(), 1);
            bench.pass(Duration::from_millis(2));
            assert_eq!(bench.shard.time_waits(), 0);
        }
    });
}

/// A TIME-WAIT record whose place a SYN took is back when nobody completes that handshake (MAY-2).
#[test]
fn time_wait_is_resumed_when_the_handshake_expires() {
    both(|v6| {
        let options = ListenOptions { time_wait: Some(Duration::from_secs(240)), ..ListenOptions::default() };
        let mut bench = Bench::new(v6, options);
        let iss = bench.open(1000);
        let conn = bench.app.accepted[0];
        bench.call(|io| io.shutdown(conn, Half::Write)).expect("open");
        bench.sent();
        bench.segment(Flags::FIN | Flags::ACK, 1000, 301, iss.wrapping_add(2));
        let out = bench.segment(Flags::SYN, 1000, 5000, 0);
        assert!(out[0].header.seq.after(wire::SeqNum::new(iss.wrapping_add(2))));
        assert_eq!((bench.shard.half_open(), bench.shard.time_waits()), (1, 0));
        bench.pass(Duration::from_millis(63_001));
        assert_eq!((bench.shard.half_open(), bench.shard.time_waits()), (0, 1));
        bench.pass(Duration::from_secs(178));
        assert_eq!(bench.shard.time_waits(), 0);
    });
}

/// What a peer may do next: which of a few ports, flags, and numbers near those that matter.
#[derive(Debug, Clone)]
struct Move {
    port: u16,
    flags: u8,
    seq: i32,
    ack: i32,
    len: usize,
    stamp: Option<u32>,
    accept: bool,
    ms: u64,
}

fn moves() -> impl Strategy<Value = Move> {
    let flags = prop_oneof![4 => Just(2u8), 6 => Just(16u8), 1 => Just(17u8), 1 => Just(4u8), 1 => Just(18u8), 1 => any::<u8>()];
    let near = || prop_oneof![6 => Just(0i32), 2 => -3i32..4, 1 => any::<i32>()];
    let stamp = prop_oneof![2 => Just(None), 2 => (0u32..4).prop_map(Some), 1 => any::<u32>().prop_map(Some)];
    let ms = prop_oneof![6 => Just(0u64), 2 => 0u64..3000, 1 => 0u64..200_000];
    (0u16..4, flags, near(), near(), 0usize..40, stamp, any::<bool>(), ms).prop_map(
        |(port, flags, seq, ack, len, stamp, accept, ms)| Move { port, flags, seq, ack, len, stamp, accept, ms },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever arrives at a listener of any kind: every frame is accounted for, the limits hold, and in the end nothing is
    /// left but what was accepted.
    #[test]
    fn nothing_a_peer_sends_breaks_a_listener(
        v6 in any::<bool>(),
        backlog in 0u32..4,
        cookies in prop::sample::select(vec![SynCookies::Never, SynCookies::WhenFull, SynCookies::From(1), SynCookies::Always]),
        accept_queue in prop::option::of(0u32..3),
        moves in prop::collection::vec(moves(), 1..80),
        close in any::<bool>(),
    ) {
        let options = ListenOptions { backlog, accept_queue, syn_cookies: cookies, ..ListenOptions::default() };
        let mut bench = Bench::new(v6, options);
        bench.app.waits = true;
        let (listener, mut iss) = (bench.listener, [0u32; 4]);
        for m in moves {
            let at = usize::from(m.port);
            let syn = m.flags & 2 != 0;
            let seq = (if syn { 300u32 } else { 301 }).wrapping_add_signed(m.seq);
            let ack = iss[at].wrapping_add(1).wrapping_add_signed(m.ack);
            let mut h = header(Flags::from_bits(m.flags), (1000 + m.port, SERVICE), seq, ack);
            h.options.timestamps = m.stamp.map(|val| Timestamps { val, ecr: val });
            for sent in bench.arrive(h, &vec![1; m.len]) {
                if sent.header.flags.contains(Flags::SYN) {
                    iss[at] = sent.header.seq.value();
                }
            }
            if m.accept {
                bench.call(|io| io.accept(listener));
            }
            bench.pass(Duration::from_millis(m.ms));
            prop_assert!(bench.shard.half_open() <= backlog as usize);
            prop_assert_eq!(bench.shard.counters().in_state(State::SynReceived), bench.shard.half_open() as u64);
        }
        if close {
            prop_assert_eq!(bench.call(|io| io.close_listener(listener)), Ok(()));
            prop_assert_eq!(bench.shard.half_open(), 0);
        }
        bench.shard.abort_all(bench.now);
        bench.pass(Duration::from_secs(300));
        prop_assert_eq!((bench.shard.half_open(), bench.shard.connections(), bench.shard.time_waits()), (0, 0, 0));
        prop_assert_eq!((bench.shard.chunks_in_use(), bench.shard.next_wakeup()), (0, None));
    }
}
