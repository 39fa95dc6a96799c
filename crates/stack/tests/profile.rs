//! Profiles of listeners and connections, and one ACK for a batch, counted in frames.

mod support;

use proptest::prelude::*;
use stack::{
    App, ConnId, Duration, Instant, Io, ListenOptions, ListenerId, Profile, Settings, Shard, SynCookies, TcpConfig,
};
use std::net::SocketAddr;
use support::*;
use wire::tcp::{Flags, Header};

const OTHER: u16 = 81;

/// Takes all that arrives.
#[derive(Debug, Default)]
struct Taker {
    conn: Option<ConnId>,
    taken: Vec<u8>,
}

impl App for Taker {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.conn = Some(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.taken.extend(data);
        data.len()
    }
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = io.read(conn, &mut piece) {
            self.taken.extend(&piece[..n]);
        }
    }
}

/// A connection that a peer has opened to a listener with this profile.
struct Bench {
    shard: Shard,
    app: Taker,
    now: Instant,
    /// What the peer sends next, and what it expects.
    seq: u32,
    ack: u32,
}

impl Bench {
    fn new(profile: Profile) -> Self {
        // As if more than two segments were never gathered: what is counted then does not depend on when they come.
        let settings = Settings { ack_gather: Duration::ZERO, ..Settings::default() };
        let mut shard = shard(|config| config.tcp = TcpConfig::new(settings).expect("valid"));
        let options = ListenOptions { syn_cookies: SynCookies::Never, profile, ..4.into() };
        shard.listen(SocketAddr::new(v4(1), OTHER), options).expect("free");
        let now = Instant::ZERO + Duration::from_secs(10);
        let mut bench = Self { shard, app: Taker::default(), now, seq: 300, ack: 0 };
        let mut syn = header(Flags::SYN, (1000, OTHER), 300, 0);
        syn.options.mss = Some(1460);
        bench.say(syn, &[]);
        bench.ack = bench.hear()[0].0.seq.value().wrapping_add(1);
        bench.seq = 301;
        bench.data(0);
        assert!(bench.hear().is_empty());
        bench
    }

    fn say(&mut self, header: Header, payload: &[u8]) {
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut self.app);
    }

    /// The next octets of the peer's stream.
    fn data(&mut self, len: u32) {
        self.piece(self.seq, len);
        self.seq += len;
    }

    fn piece(&mut self, seq: u32, len: u32) {
        let payload: Vec<u8> = (seq..seq + len).map(|at| (at % 251) as u8).collect();
        let mut header = header(Flags::ACK, (1000, OTHER), seq, self.ack);
        header.window = 60_000;
        self.say(header, &payload);
    }

    /// What is sent at the turn's end, and how many bytes each carries.
    fn hear(&mut self) -> Vec<(Header, usize)> {
        self.shard.advance(self.now, &mut self.app);
        let sent: Vec<_> = drain(&mut self.shard, self.now).iter().filter_map(|frame| segment_of(frame)).collect();
        self.ack += sent.iter().map(|(_, len)| u32::try_from(*len).expect("a segment")).sum::<u32>();
        sent
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn send(&mut self, bytes: &[u8]) {
        let conn = self.app.conn.expect("accepted");
        assert_eq!(self.shard.call(self.now, |io| io.send(conn, bytes)), Ok(bytes.len()));
    }
}

const ALL: [Profile; 3] = [Profile::Latency, Profile::Balanced, Profile::Throughput];

/// Twenty requests, each answered half a millisecond later: a frame for the answer, and before it one for the acknowledgment
/// where that does not wait (16 times at the beginning).
fn frames_of_requests(profile: Profile) -> usize {
    let mut bench = Bench::new(profile);
    let mut frames = 0;
    for _ in 0..20 {
        bench.data(64);
        frames += bench.hear().len();
        bench.pass(Duration::from_micros(500));
        bench.send(&[7; 64]);
        frames += bench.hear().len();
    }
    frames
}

/// ACKs of 100 full segments, each of which arrives in a turn of its own.
fn frames_of_a_stream(profile: Profile) -> usize {
    let mut bench = Bench::new(profile);
    (0..100)
        .map(|_| {
            bench.pass(Duration::from_micros(30));
            bench.data(1460);
            bench.hear().len()
        })
        .sum()
}

/// Of a response that is written in two parts, in two turns, the frames that leave before the peer is heard.
fn frames_of_parts(profile: Profile) -> usize {
    let mut bench = Bench::new(profile);
    let mut part = || {
        bench.send(b"part");
        bench.hear().len()
    };
    part() + part()
}

/// MUST-17, SHLD-7, SHLD-19: what a listener's profile comes to, in frames.
#[test]
fn a_profile_is_seen_in_frames() {
    assert_eq!(ALL.map(frames_of_requests), [40, 36, 20]);
    // 16 at the beginning, then every second one.
    assert_eq!(ALL.map(frames_of_a_stream), [100, 58, 50]);
    assert_eq!(ALL.map(frames_of_parts), [2, 1, 1]);
}

/// A connection's own profile takes the place of its listener's, and is told of itself.
#[test]
fn a_connection_may_have_another_profile() {
    let mut bench = Bench::new(Profile::Throughput);
    let conn = bench.app.conn.expect("accepted");
    bench.shard.call(bench.now, |io| io.set_profile(conn, Profile::Latency)).expect("open");
    for _ in 0..40 {
        bench.data(64);
        assert_eq!(bench.hear().len(), 1);
    }
    bench.shard.call(bench.now, |io| io.abort(conn)).expect("open");
    let dead = bench.shard.call(bench.now, |io| io.set_profile(conn, Profile::Latency));
    assert_eq!(dead, Err(stack::Error::NotConnected));
}

/// For throughput an application may queue four times as much before it is told to wait.
#[test]
fn more_may_be_queued_for_throughput() {
    let queued = |profile| {
        let mut bench = Bench::new(profile);
        let conn = bench.app.conn.expect("accepted");
        bench.shard.call(bench.now, |io| io.send(conn, &vec![7; 1 << 20])).expect("open")
    };
    assert_eq!(ALL.map(queued), [64 << 10, 64 << 10, 256 << 10]);
}

/// RFC 9293 section 3.8.6.3, RFC 5681 section 4.2: an ACK is for all that came in the batch it ends.
#[test]
fn a_batch_has_one_ack() {
    for profile in ALL {
        for count in [2, 3, 8, 32] {
            let mut bench = Bench::new(profile);
            (0..count).for_each(|_| bench.data(1460));
            let sent = bench.hear();
            assert_eq!(sent.len(), 1, "{count} segments, {profile:?}");
            assert_eq!(sent[0].0.ack.value(), 301 + 1460 * count);
            assert_eq!(bench.app.taken.len(), 1460 * count as usize);
        }
    }
}

proptest! {
    /// Segments in order, behind gaps and twice over lead to the same bytes and the same acknowledgment, whether each has a
    /// turn of its own or all have one; and a batch is answered by no more frames.
    #[test]
    fn a_batch_leads_where_its_segments_do(
        pieces in proptest::collection::vec((0u32..12, 1u32..3), 1..40),
        profile in prop_oneof![Just(Profile::Balanced), Just(Profile::Latency), Just(Profile::Throughput)],
    ) {
        let mut ends = Vec::new();
        for batch in [false, true] {
            let mut bench = Bench::new(profile);
            let mut next = 0;
            let mut frames = 0;
            for (which, count) in &pieces {
                // Most are the next one.
                let at = if *which < 9 { next } else { (next + which).saturating_sub(10) };
                bench.piece(301 + 700 * at, 700 * count);
                next = next.max(at + count);
                if !batch {
                    frames += bench.hear().len();
                }
            }
            frames += bench.hear().len();
            // An old octet draws an ACK of all there is.
            bench.piece(300, 1);
            let last = bench.hear().pop().expect("an ACK").0;
            let conn = bench.app.conn.expect("accepted");
            let info = bench.shard.call(bench.now, |io| io.info(conn)).expect("open");
            let queue = info.receive_queue_bytes;
            ends.push((frames, (last.ack, last.seq, info.state, queue, core::mem::take(&mut bench.app.taken))));
        }
        prop_assert_eq!(&ends[0].1, &ends[1].1);
        prop_assert!(ends[1].0 <= 1.max(ends[0].0));
    }
}
