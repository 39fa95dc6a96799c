//! What was once wrong, a case for each.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{Endpoint, case, case_with, settings};
use tcp::{ByteQueue, Congestion, Connection, Ecn, Env, Pool, Settings, State};
use wheel::Duration;
use wire::{
    SeqNum,
    tcp::{Flags, Header, Segment},
};

fn out(from: u32, n: u32) -> String {
    (0..n).map(|i| format!("out <SEQ={}><ACK=100><DATA=1000><CTL=ACK>\n", from + 1000 * i)).collect()
}

fn ack(n: u32) -> String {
    format!("in <SEQ=100><ACK={n}><WND=60000><CTL=ACK>\n")
}

/// Open, with an MSS of 1,000 and a window of 60,000: SND.NXT = 300, RCV.NXT = 100, cwnd = 10,000.
const OPEN: &str = "listen 299\nin <SEQ=99><CTL=SYN><MSS=1000>\nout <SEQ=299><ACK=100><CTL=SYN,ACK>\n\
                    in <SEQ=100><ACK=300><WND=60000><CTL=ACK>\nhears connected\n";

#[test]
fn a_fast_retransmission_overtaken_by_its_acknowledgment_is_not_sent() {
    // All in one batch: what the third duplicate asked for is acknowledged before it could be sent.
    let duplicates = ack(300).repeat(3);
    case(&format!(
        "{OPEN}send 10000\n{}batch\n{duplicates}{}turn\nqueued 0\nno-timer\nwait 24h\nstate ESTABLISHED",
        out(300, 10),
        ack(10_300)
    ));
    // With our FIN outstanding, too.
    case(&format!(
        "{OPEN}send 9000\n{}shutdown\nout <SEQ=9300><ACK=100><CTL=FIN,ACK>\nbatch\n{duplicates}{}turn\nno-timer\nstate FIN-WAIT-2",
        out(300, 9),
        ack(9301)
    ));
    // An acknowledgment of a part goes on with the next hole (RFC 6582 section 3.2, step 3).
    case(&format!(
        "{OPEN}send 10000\n{}batch\n{duplicates}{}turn\n{}{}no-timer",
        out(300, 10),
        ack(4300),
        out(4300, 1),
        ack(10_300)
    ));
}

/// A connection with the largest segments and windows there are, driven by hand.
struct Giant {
    config: tcp::Config,
    pool: Pool,
    conn: Connection,
    now: wheel::Instant,
    una: SeqNum,
    out: Vec<u8>,
}

const GIANT_MSS: u16 = 65_000;

impl Giant {
    fn new() -> Self {
        let config = tcp::Config::new(Settings { send_buffer_bytes: 8 << 20, ..settings() }).expect("valid");
        let mut pool = Pool::new(32 << 20);
        let now = wheel::Instant::ZERO + Duration::from_secs(1);
        let start = tcp::Start { iss: SeqNum::new(7), mss: GIANT_MSS, default_peer_mss: 536, timestamp_offset: 0 };
        let mut syn = tcp::testing::segment(Flags::SYN, 99, 0, &[]);
        (syn.header.options.mss, syn.header.options.window_scale) = (Some(GIANT_MSS), Some(14));
        let env = Env { now, config: &config, pool: &mut pool };
        let conn = Connection::from_half_open(&env, start, &tcp::HalfOpen::new(&env, start, &syn));
        let mut giant = Self { config, pool, conn, now, una: SeqNum::new(7), out: vec![0; 1 << 16] };
        giant.poll();
        giant.ack(SeqNum::new(8));
        giant
    }

    fn ack(&mut self, ack: SeqNum) {
        let Segment { mut header, .. } = tcp::testing::segment(Flags::ACK, 100, ack.value(), &[]);
        header.window = u16::MAX;
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        let _ = self.conn.on_segment(&mut env, &Segment { header, payload: &[] });
        self.una = ack;
    }

    fn poll(&mut self) -> Option<(Header, usize)> {
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        self.conn.poll_transmit(&mut env, &mut self.out).map(|emit| (emit.header, emit.payload_len))
    }

    /// Sends as much as may be sent; returns SND.NXT.
    fn send(&mut self, bytes: &[u8]) -> SeqNum {
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        self.conn.send(&mut env, bytes).expect("open");
        let mut end = self.una;
        while let Some((header, len)) = self.poll() {
            end = header.seq + len as u32;
        }
        end
    }
}

/// REC-1, RFC9293-3.4-a, RFC5681-3.2-a.
#[test]
fn fast_retransmit_works_behind_2_gib_of_stream() {
    // RFC 6582's `recover` must not come round again and pass for a recovery that is not over.
    let mut giant = Giant::new();
    let bytes = vec![7; 4 << 20];
    let mut sent = 0u64;
    for stop in [1u64 << 20, (1 << 31) + (1 << 24)] {
        while sent < stop {
            let end = giant.send(&bytes);
            sent += u64::from(end.since(giant.una));
            giant.ack(end);
        }
        while giant.conn.info().send_queue_bytes > 0 {
            let end = giant.send(&[]);
            giant.ack(end);
        }
        let una = giant.una;
        let end = giant.send(&bytes[..10 * usize::from(GIANT_MSS)]);
        for n in 0..3 {
            assert_eq!(giant.poll(), None, "duplicate {n} behind {sent} bytes");
            giant.ack(una);
        }
        let again = giant.poll().map(|(header, len)| (header.seq, len));
        assert_eq!(again, Some((una, GIANT_MSS.into())), "behind {sent} bytes");
        giant.ack(end);
        sent += u64::from(end.since(una));
        assert_eq!(giant.conn.info().send_queue_bytes, 0);
    }
}

#[test]
fn a_flood_of_duplicate_acks_inflates_nothing() {
    // 70,000 times 65,000 is more than 2^32; of what a duplicate lets out no more is counted than was sent.
    let mut giant = Giant::new();
    let end = giant.send(&vec![7; 10 * usize::from(GIANT_MSS)]);
    let una = giant.una;
    for _ in 0..70_000 {
        giant.ack(una);
    }
    assert!(giant.conn.info().cwnd_bytes <= 10 * u32::from(GIANT_MSS));
    assert_eq!(giant.poll().map(|(header, _)| header.seq), Some(una));
    giant.ack(una + u32::from(GIANT_MSS));
    giant.ack(end);
    // ssthresh: recovery is over.
    assert!(giant.conn.info().cwnd_bytes <= 10 * u32::from(GIANT_MSS));
}

#[test]
fn cwnd_grows_only_when_it_is_what_limits() {
    // RFC 7661 section 4: 50 round trips of one segment say nothing about ten at once.
    let mut script = String::from(OPEN);
    for i in 0..50 {
        script += &format!("send 1000\n{}{}", out(300 + 1000 * i, 1), ack(1300 + 1000 * i));
    }
    case(&format!("{script}send 60000\n{}", out(50_300, 10)));
}

/// RFC5681-4.1-a.
#[test]
fn cwnd_begins_anew_after_an_idle_rto() {
    // RFC 5681 section 4.1: it was 20,000 and is the initial window again; without the pause it stays.
    let open = format!("{OPEN}send 10000\n{}{}", out(300, 10), ack(10_300));
    case(&format!("{open}wait 201ms\nsend 60000\n{}", out(10_300, 10)));
    case(&format!("{open}wait 199ms\nsend 60000\n{}", out(10_300, 20)));
}

/// MUST-12.
#[test]
fn a_reset_ends_last_ack_and_closing_by_an_error() {
    // What the peer has not acknowledged it has not taken: the application must not hear of an orderly end.
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         send 10
         out <SEQ=300><ACK=101><DATA=10><CTL=ACK>
         shutdown
         out <SEQ=310><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><CTL=RST>                         CLOSED
         hears reset",
    );
    case(
        "established 300 100
         shutdown
         out <SEQ=300><ACK=100><CTL=FIN,ACK>
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSING
         out <SEQ=301><ACK=101><CTL=ACK>
         hears eof
         in  <SEQ=101><CTL=RST>                         CLOSED
         hears reset",
    );
}

#[test]
fn an_absurd_mss_is_not_believed() {
    // 48 bytes at least, as Linux (TCP_MIN_SND_MSS).
    let data: String = (0..3).map(|i| format!("out <SEQ={}><ACK=100><DATA=48><CTL=ACK>\n", 300 + 48 * i)).collect();
    for mss in [0, 1, 47] {
        case(&format!(
            "listen 299\nin <SEQ=99><CTL=SYN><MSS={mss}>\nout <SEQ=299><ACK=100><CTL=SYN,ACK>\n\
             in <SEQ=100><ACK=300><CTL=ACK>\nhears connected\nsend 144\n{data}"
        ));
        case(&format!(
            "connect 299\nout <SEQ=299><CTL=SYN>\nin <SEQ=99><ACK=300><CTL=SYN,ACK><MSS={mss}>\n\
             out <SEQ=300><ACK=100><CTL=ACK>\nhears connected\nsend 144\n{data}"
        ));
    }
}

/// SHLD-19, RFC5681-4.2-c.
#[test]
fn small_segments_are_acknowledged_in_twos_as_well() {
    // SHLD-19: full-sized is what the peer sends. The first 16 are acknowledged at once.
    let mut script = String::from("established 300 100\n");
    for n in 1..=40 {
        let seq = 100 + 536 * (n - 1);
        script += &format!("in <SEQ={seq}><ACK=300><DATA=536><CTL=ACK>\n");
        if n <= 16 || n % 2 == 0 {
            script += &format!("out <SEQ=300><ACK={}><CTL=ACK>\n", seq + 536);
        }
        script += "hears data 536\n";
    }
    case_with(|s| (s.delayed_ack, s.receive_buffer_bytes) = (Duration::from_millis(40), 1 << 16), &script);
}

#[test]
fn reading_byte_by_byte_sends_few_window_updates() {
    // The peer does not scale: of a buffer of 1 MiB it can be told 65,535, and that has been said.
    let mut endpoint = Endpoint::new(Settings { receive_buffer_bytes: 1 << 20, ..settings() }, 0, 0);
    endpoint.script(
        "listen 299\nin <SEQ=99><CTL=SYN><MSS=1460>\nout <SEQ=299><ACK=100><CTL=SYN,ACK>\n\
         in <SEQ=100><ACK=300><CTL=ACK>\nhears connected\nlazy",
        false,
    );
    for n in 0..20 {
        let seq = 100 + 1460 * n;
        endpoint.script(&format!("in <SEQ={seq}><ACK=300><DATA=1460><CTL=ACK>"), false);
        endpoint.out.clear();
    }
    endpoint.heard.clear();
    // The last delayed ACK.
    endpoint.script("wait 1ms", false);
    endpoint.out.clear();
    for _ in 0..20 * 1460 {
        endpoint.script("read 1", false);
        assert!(endpoint.out.is_empty(), "65,535 were promised already");
    }
    endpoint.end();
}

// A pool that others have filled.

/// Takes `chunks` of the endpoint's pool.
fn pin(pool: &mut Pool, chunks: usize) -> ByteQueue {
    let mut other = ByteQueue::default();
    other.push(pool, &vec![0; chunks * tcp::CHUNK_BYTES]);
    other
}

#[test]
fn what_is_in_order_takes_the_place_of_what_is_not() {
    let mut endpoint = Endpoint::new(settings(), 0, 0);
    endpoint.pool = Pool::new(16 * tcp::CHUNK_BYTES);
    endpoint.script(
        "established 300 100
         in  <SEQ=2200><ACK=300><DATA=1000><CTL=ACK>
         out <SEQ=300><ACK=100><CTL=ACK>",
        false,
    );
    let mut other = pin(&mut endpoint.pool, 16);
    assert!(!endpoint.pool.has_room(1));
    endpoint.script(
        "in  <SEQ=100><ACK=300><DATA=1000><CTL=ACK>
         out <SEQ=300><ACK=1100><CTL=ACK>
         hears readable
         read 1000
         in  <SEQ=1100><ACK=300><DATA=1000><CTL=ACK>
         out <SEQ=300><ACK=2100><CTL=ACK>
         hears data 1000                                # in place; the third comes again
         in  <SEQ=4100><ACK=300><DATA=1000><CTL=ACK>
         out <SEQ=300><ACK=2100><CTL=ACK>               # and of the pool the half that is left is not for this
         in  <SEQ=2100><ACK=300><DATA=1000><CTL=ACK>
         out <SEQ=300><ACK=3100><CTL=ACK>
         hears data 1000",
        false,
    );
    other.clear(&mut endpoint.pool);
    endpoint.end();
}

#[test]
fn an_orphan_is_not_kept_by_answers_to_its_probes() {
    // Nobody waits for the rest; its memory would be the peer's to hold. Probes after 0.2, 0.6, ..., 51 s; 102.2 > 100.
    let mut script = String::from("established 300 100\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>\nsend 10\nclose\n");
    for n in 0..8 {
        script += &format!(
            "timer {}ms\nout <SEQ=300><ACK=100><DATA=1><CTL=ACK>\nin <SEQ=100><ACK=300><WND=0><CTL=ACK> FIN-WAIT-1\n",
            200 << n
        );
    }
    case(&format!("{script}timer 51200ms\nstate CLOSED\nno-timer"));
}

/// Buffers as large from the start as they may be.
fn fixed() -> Settings {
    Settings { receive_buffer_bytes: 1 << 20, ..settings() }
}

#[test]
fn of_a_scarce_pool_a_connection_gets_a_share_to_send() {
    let mut endpoint = Endpoint::new(fixed(), 0, 0);
    endpoint.pool = Pool::new(4 << 20);
    endpoint.script("established 300 100\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>", false);
    let bytes = vec![0; 1 << 19];
    let send = |endpoint: &mut Endpoint| {
        let mut env = Env { now: endpoint.now, config: &endpoint.config, pool: &mut endpoint.pool };
        endpoint.conn.as_mut().expect("open").send(&mut env, &bytes).expect("open")
    };
    // 34 of 2,048 chunks are free: 64 KiB is the least.
    let mut other = pin(&mut endpoint.pool, 2048 - 34);
    assert_eq!(send(&mut endpoint), 64 << 10);
    assert_eq!(send(&mut endpoint), 0);
    other.clear(&mut endpoint.pool);
    // With what it has, 448 chunks: a third of them.
    let mut other = pin(&mut endpoint.pool, 1600);
    assert_eq!(send(&mut endpoint), 448 * 2048 / 3 - (64 << 10));
    assert_eq!(send(&mut endpoint), 0);
    other.clear(&mut endpoint.pool);
    assert_eq!(send(&mut endpoint), 1 << 19, "there is room again");
    endpoint.end();
}

#[test]
fn of_a_scarce_pool_a_connection_gets_a_share_to_receive() {
    // Promised before the pool became scarce or not: the right edge never moves left (SHLD-14), and no further right. What was
    // promised is kept as long as there is any memory.
    let (third, least, rest) = ((8192 - 7000) * 2048 / 3, 64 << 10, 34 * 2048);
    let cases = [(7000, false, third), (7000, true, 1 << 20), (8192 - 34, false, least), (8192 - 34, true, rest)];
    for (pinned, promised_before, limit) in cases {
        let mut endpoint = Endpoint::new(fixed(), 0, 0);
        endpoint.pool = Pool::new(16 << 20);
        let mut other = ByteQueue::default();
        if !promised_before {
            other = pin(&mut endpoint.pool, pinned);
        }
        endpoint.script("lazy\nlisten 99\nin <SEQ=299><CTL=SYN><WS=0><MSS=1460>", false);
        endpoint.out.clear();
        endpoint.script("in <SEQ=300><ACK=100><CTL=ACK>\nhears connected", false);
        let (mut seq, mut edge) = (300, SeqNum::new(300 + 65_535));
        for n in 0..1500 {
            if n == 1 && promised_before {
                other = pin(&mut endpoint.pool, pinned);
            }
            endpoint.script(&format!("in <SEQ={seq}><ACK=100><DATA=1460><CTL=ACK>"), false);
            while let Some((header, _)) = endpoint.out.pop_front() {
                let heard = header.ack + (u32::from(header.window) << 5);
                assert!(edge.since(heard) as i32 <= 32, "moved left by {}", edge.since(heard));
                (seq, edge) = (header.ack.value(), edge.max(heard));
            }
            assert_eq!(endpoint.conn.as_ref().map(Connection::state), Some(State::Established));
        }
        endpoint.heard.clear();
        let held = endpoint.conn.as_ref().map_or(0, Connection::unread);
        assert!((limit - 4000..=limit + 1460).contains(&held), "{held} of {limit}");
        other.clear(&mut endpoint.pool);
        endpoint.end();
    }
}

/// RFC8985-7.3-a, MUST-16: the last segment was full and had the FIN behind it. When the probe that sends it again
/// carries SACK blocks there is room for less, and not for one octet more in the FIN's stead.
#[test]
fn a_tail_loss_probe_with_sack_blocks_is_no_larger_than_the_mss() {
    case(
        "listen 99
         in <SEQ=299><CTL=SYN><MSS=1000><SACK-OK=1>
         out <SEQ=99><ACK=300><CTL=SYN,ACK><SACK-OK=1>
         wait 50ms
         in <SEQ=300><ACK=100><CTL=ACK>
         hears connected
         batch
         send 1000
         shutdown
         turn
         out <SEQ=100><ACK=300><DATA=1000><CTL=FIN,ACK>
         in <SEQ=400><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=1101><ACK=300><CTL=ACK><SACK=400-410>
         timer 250ms
         out <SEQ=100><ACK=300><DATA=988><CTL=ACK><SACK=400-410>",
    );
}

/// An ACK whose number is the end of our window acknowledges all the same: two ends that have filled each other's windows,
/// with a segment lost each way, send nothing else that the other has not seen (Linux's `tcp_sequence`).
#[test]
fn an_ack_of_a_peer_that_has_filled_our_window_is_heard() {
    case(
        "established 300 100
         send 10
         out <SEQ=300><ACK=100><DATA=10><CTL=ACK>
         in  <SEQ=EDGE><ACK=310><CTL=ACK> ESTABLISHED
         wait 1h",
    );
}

/// RFC 5681 section 3.1: a path of 536 octets is found to carry 1,460, by a segment that was marked on its way. What the echo
/// brings the window down to is a segment of the new size, not one of the old.
#[test]
fn the_window_is_a_segment_of_the_new_size_at_least() {
    let mut endpoint = Endpoint::new(Settings { ecn: Ecn::Ask, congestion: Congestion::NewReno, ..settings() }, 0, 0);
    endpoint.script(
        "connect 99
         out <SEQ=99><CTL=SYN,ECE,CWR>
         path 536 60s
         in  <SEQ=299><ACK=100><WND=60000><MSS=1460><CTL=SYN,ACK,ECE>
         out <SEQ=100><ACK=300><CTL=ACK>
         hears connected
         nodelay
         wait 60s
         send 1460
         out <SEQ=100><ACK=300><DATA=1460><CTL=ACK>
         in  <SEQ=300><ACK=1560><WND=60000><CTL=ACK,ECE>
         send 10
         out <SEQ=1560><ACK=300><DATA=10><CTL=ACK,CWR>
         in  <SEQ=300><ACK=1570><WND=60000><CTL=ACK>",
        false,
    );
    let window = endpoint.conn.as_ref().map_or(0, |conn| conn.info().cwnd_bytes);
    assert!(window >= 1460, "{window} octets");
}

/// RFC5681-4.2-b, RFC5681-4.2-c: a FIN behind a gap is answered at once, and so is what fills a part of the gap. A bare ACK is
/// not answered: when both ends have such a gap, each would answer the other's answer for ever.
#[test]
fn a_bare_ack_behind_a_fin_out_of_order_is_not_answered() {
    case(
        "established 300 100
         in  <SEQ=120><ACK=300><CTL=FIN,ACK>
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=121><ACK=300><CTL=ACK>
         in  <SEQ=100><ACK=300><CTL=ACK>
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         out <SEQ=300><ACK=110><CTL=ACK>
         hears data 10",
    );
}

/// RFC9293-3.10.5-a, section 3.10.4: the CLOSE of CLOSE-WAIT waits there until its FIN can be sent, so an ABORT before that is
/// told to the peer; one behind it is not.
#[test]
fn an_abort_before_the_fin_has_left_is_told() {
    let closed_by_peer = "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof";
    case(&format!(
        "{closed_by_peer}
         batch
         shutdown
         abort
         out <SEQ=300><ACK=101><CTL=RST,ACK>                      CLOSED"
    ));
    case(&format!(
        "{closed_by_peer}
         shutdown
         out <SEQ=300><ACK=101><CTL=FIN,ACK>
         abort                                                    CLOSED"
    ));
}

/// MUST-36, MUST-66: both windows were closed, each end has probed the other's with an octet, and both were taken. The peer has
/// not heard of that either, so what it says is numbered as its probe was.
#[test]
fn two_that_probed_each_other_hear_each_other() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         send 10
         timer 200ms
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=300><WND=0><DATA=1><CTL=ACK>
         out <SEQ=300><ACK=101><CTL=ACK>
         hears data 1
         in  <SEQ=100><ACK=301><WND=4096><CTL=ACK>
         out <SEQ=301><ACK=101><DATA=9><CTL=ACK>",
    );
}

/// ESTABLISHED as the passive end, with 1000 bytes acknowledged after 100 ms: numbers go on at 1001. The MSS is 1000.
fn warm(options: &str) -> String {
    format!(
        "listen 0\nin <SEQ=0><CTL=SYN><MSS=1000>{options}\nout <SEQ=0><ACK=1><CTL=SYN,ACK>\nwait 100ms\n\
         in <SEQ=1><ACK=1><WND=60000><CTL=ACK>\nhears connected\nunlisten\nsend 1000\n\
         out <SEQ=1><ACK=1><DATA=1000><CTL=ACK>\nwait 100ms\n"
    )
}

/// Eight segments from 1001 on.
fn eight() -> String {
    (1..9).map(|i| format!("out <SEQ={i}001><ACK=1><DATA=1000><CTL=ACK>\n")).collect()
}

/// RFC 8985 section 6.2: that an octet of it was a window probe before makes its round-trip time ambiguous, not its loss.
#[test]
fn a_segment_with_a_probed_octet_is_found_lost() {
    case(&format!(
        "{}in <SEQ=1><ACK=1001><WND=0><CTL=ACK>\nsend 8000\ntimer 300ms\nout <SEQ=1001><ACK=1><DATA=1><CTL=ACK>\nwait 50ms\n\
         in <SEQ=1><ACK=1001><WND=60000><CTL=ACK>\n{}wait 100ms\n\
         in <SEQ=1><ACK=1001><WND=60000><CTL=ACK><SACK=2001-6001>\nout <SEQ=1001><ACK=1><DATA=1000><CTL=ACK>\n",
        warm("<SACK-OK=1>"),
        eight()
    ));
}

/// RFC 8985 section 7.4.2: the word of a probe that was not needed, when nothing else is in flight.
#[test]
fn a_needless_tail_loss_probe_costs_nothing_though_its_dsack_comes_last() {
    let mut end = Endpoint::new(settings(), 0, 0);
    end.script(
        &format!(
            "{}in <SEQ=1><ACK=1001><WND=60000><CTL=ACK>\n\
             send 1000\nout <SEQ=1001><ACK=1><DATA=1000><CTL=ACK>\ntimer 300ms\nout <SEQ=1001><ACK=1><DATA=1000><CTL=ACK>\n\
             wait 10ms\nin <SEQ=1><ACK=2001><WND=60000><CTL=ACK>\n\
             wait 90ms\nin <SEQ=1><ACK=2001><WND=60000><CTL=ACK><SACK=1001-2001>\n\
             send 1000\nout <SEQ=2001><ACK=1><DATA=1000><CTL=ACK>\n\
             wait 100ms\nin <SEQ=1><ACK=3001><WND=60000><CTL=ACK>\n",
            warm("<SACK-OK=1>")
        ),
        false,
    );
    assert_eq!(end.conn.as_ref().unwrap().info().ssthresh_bytes, None);
}

/// RFC 9438 section 4.6, RFC 6937: a reduction ends with the window at ssthresh, 0.7 of what it was, also if the ACK that
/// begins it acknowledges everything. (Before that the window, of ten segments, was not filled: it has not grown.)
#[test]
fn a_reduction_ends_though_nothing_is_in_flight() {
    let mut end = Endpoint::new(settings(), 0, 0);
    end.script(
        "listen 0\nin <SEQ=0><CTL=SYN,ECE,CWR><MSS=1000><SACK-OK=1>\nout <SEQ=0><ACK=1><CTL=SYN,ACK,ECE>\nwait 100ms\n\
         in <SEQ=1><ACK=1><WND=60000><CTL=ACK>\nhears connected\nunlisten\n",
        false,
    );
    for (i, window) in [7000, 4900, 3430].into_iter().enumerate() {
        let (from, cwr) = (1 + 1000 * i, if i > 0 { ",CWR" } else { "" });
        end.script(
            &format!(
                "send 1000\nout <SEQ={from}><ACK=1><DATA=1000><CTL=ACK{cwr}>\nwait 100ms\n\
                 in <SEQ=1><ACK={}><WND=60000><CTL=ACK,ECE>\n",
                from + 1000
            ),
            false,
        );
        let info = end.conn.as_ref().unwrap().info();
        assert_eq!((info.cwnd_bytes, info.ssthresh_bytes), (window, Some(window)));
    }
}

/// What is remembered of copies goes when they are acknowledged, though there is never a time without one.
#[test]
fn copies_that_are_acknowledged_are_forgotten() {
    let mut end = Endpoint::new(settings(), 0, 0);
    end.script(&format!("{}in <SEQ=1><ACK=1001><WND=60000><CTL=ACK>\n", warm("")), false);
    for una in (1001..).step_by(1000).take(2000) {
        let mut env = Env { now: end.now, config: &end.config, pool: &mut end.pool };
        let conn = end.conn.as_mut().unwrap();
        let room = 60_000_u32.saturating_sub(conn.info().send_queue_bytes);
        assert_eq!(conn.send(&mut env, &vec![7; room as usize]), Ok(room as usize));
        end.now += Duration::from_millis(1);
        for _ in 0..4 {
            let (seq, ack) = (SeqNum::new(1), SeqNum::new(una));
            let header = Header { seq, ack, flags: Flags::ACK, window: 60_000, ..Header::default() };
            end.arrive(&Segment { header, payload: &[] });
            end.out.clear();
            end.heard.clear();
        }
    }
    let conn = end.conn.as_ref().unwrap();
    assert!(conn.info().retransmits > 1000, "each is sent again");
    // At most what is in flight: 60 segments.
    let kept = format!("{conn:?}").matches("Transmission {").count();
    assert!(kept <= 100, "{kept}");
}

/// The time without progress of data that could not be sent is none of the data's.
#[test]
fn a_window_that_opens_gives_the_user_timeout_anew() {
    let probe = "out <SEQ=101><ACK=300><DATA=1><CTL=ACK>\nin <SEQ=300><ACK=101><WND=0><CTL=ACK>\n";
    case(&format!(
        "established 101 300\nin <SEQ=300><ACK=101><WND=0><CTL=ACK>\nuser-timeout 2s\nsend 10\ntimer 200ms\n{probe}timer 400ms\n{probe}\
         timer 800ms\n{probe}wait 500ms\nin <SEQ=300><ACK=101><WND=1000><CTL=ACK>\nout <SEQ=101><ACK=300><DATA=10><CTL=ACK>\n\
         wait 150ms\nin <SEQ=300><ACK=111><CTL=ACK>\nno-timer\nstate ESTABLISHED"
    ));
}

/// Two seconds for an orphan, of which the peer takes nothing: each 200 ms it opens its window by less than what waits, and
/// closes it again.
#[test]
fn an_orphan_s_time_is_not_begun_anew_by_a_window_that_flips() {
    let probe = "timer 200ms\nout <SEQ=101><ACK=300><DATA=1><CTL=ACK>\n";
    let flip = "in <SEQ=300><ACK=101><WND=1><CTL=ACK>\nin <SEQ=300><ACK=101><WND=0><CTL=ACK>\n";
    case_with(
        |s| s.orphan_r2 = Duration::from_secs(2),
        &format!(
            "established 101 300\nin <SEQ=300><ACK=101><WND=0><CTL=ACK>\nsend 100\nclose\n{}timer 200ms\nstate CLOSED",
            format!("{probe}{flip}").repeat(9)
        ),
    );
}

/// RFC 5681 section 3.2, RFC 6582: three duplicates of an acknowledgment of what was sent behind a rest are a loss as any others.
#[test]
fn a_rest_takes_no_fast_retransmit_away() {
    for rests in [false, true] {
        let mut end = Endpoint::new(settings(), 0, 0);
        end.script(&format!("{}in <SEQ=1><ACK=1001><WND=60000><CTL=ACK>\nwait 5s\n", warm("")), false);
        if rests {
            let mut conn = end.conn.take().unwrap();
            let env = Env { now: end.now, config: &end.config, pool: &mut end.pool };
            end.conn = Some(conn.rest(&env).expect("it is at rest").wake(&end.config));
        }
        let duplicate = "in <SEQ=1><ACK=1001><WND=60000><CTL=ACK>\n";
        end.script(
            &format!(
                "send 8000\n{}wait 100ms\n{duplicate}{duplicate}{duplicate}out <SEQ=1001><ACK=1><DATA=1000><CTL=ACK>\n",
                eight()
            ),
            false,
        );
    }
}

#[test]
fn an_acknowledgment_lies_within_a_window_that_was_drawn_back() {
    // RFC 9293 section 3.10.7.4, first: behind RCV.NXT + RCV.WND nothing is acceptable to a peer that has taken two of ten segments
    // and then has room for three. What it sends must not have to wait for our retransmissions.
    case(&format!(
        "{OPEN}send 10000\n{}in <SEQ=100><ACK=2300><WND=3000><CTL=ACK>\n\
         in <SEQ=100><ACK=2300><WND=3000><DATA=600><CTL=ACK>\nout <SEQ=5300><ACK=700><CTL=ACK>\nhears data 600\n\
         in <SEQ=700><ACK=10300><WND=60000><DATA=600><CTL=ACK>\nout <SEQ=10300><ACK=1300><CTL=ACK>\nhears data 600\n",
        out(300, 10)
    ));
}

/// SHLD-19: the peer's path has shrunk, and what is full-sized with it. It waits for the delayed ACK once.
#[test]
fn every_second_segment_is_acknowledged_once_the_peers_are_smaller() {
    let mut script = String::from("established 101 300\n");
    let mut seq = 300;
    let mut data = |script: &mut String, len: u32, then: &[&str]| {
        *script += &format!("in <SEQ={seq}><ACK=101><DATA={len}><CTL=ACK>\n");
        seq += len;
        for then in then {
            *script += &match *then {
                "ack" => format!("out <SEQ=101><ACK={seq}><CTL=ACK>\n"),
                _ => format!("hears data {len}\n"),
            };
        }
    };
    // The first sixteen are acknowledged at once.
    (0..16).for_each(|_| data(&mut script, 1460, &["ack", "data"]));
    for (len, pairs) in [(1460, 2), (600, 0), (600, 10)] {
        if pairs == 0 {
            (0..2).for_each(|_| data(&mut script, len, &["data"]));
            script += "timer 40ms\n";
            script += &format!("out <SEQ=101><ACK={}><CTL=ACK>\n", 300 + 20 * 1460 + 2 * 600);
        }
        for _ in 0..pairs {
            data(&mut script, len, &["data"]);
            data(&mut script, len, &["ack", "data"]);
        }
    }
    case_with(|s| (s.delayed_ack, s.receive_buffer_bytes) = (Duration::from_millis(40), 1 << 16), &script);
}

/// RFC5961-4.2-a, RFC 9293 section 3.10.7.4: a peer that has started anew, or another behind the same NAT, need not use timestamps; its
/// SYN is answered all the same, so that it learns of the old connection and resets it.
#[test]
fn a_syn_without_timestamps_learns_of_the_old_connection() {
    for syn in ["<SEQ=9000000><CTL=SYN>", "<SEQ=400><CTL=SYN>"] {
        case(&format!(
            "listen 100
             in  <SEQ=300><TSval=1000><CTL=SYN>                      SYN-RECEIVED
             out <SEQ=100><ACK=301><TSval=0><TSecr=1000><CTL=SYN,ACK>
             in  <SEQ=301><ACK=101><TSval=1001><TSecr=0><CTL=ACK>    ESTABLISHED
             hears connected
             in  {syn}                                               ESTABLISHED
             out <SEQ=101><ACK=301><TSval=0><TSecr=1001><CTL=ACK>
             in  <SEQ=301><CTL=RST>                                  LISTEN
             hears reset"
        ));
    }
}

/// Some clients leave out options when nobody answers their SYN (FreeBSD's `rexmit_drop_options`): what it does not offer any more
/// is not used, and the handshake completes.
#[test]
fn a_syn_that_comes_again_with_fewer_options_is_answered_so() {
    case(
        "listen 100
         in  <SEQ=300><TSval=1000><CTL=SYN>             SYN-RECEIVED
         out <SEQ=100><ACK=301><TSval=0><TSecr=1000><CTL=SYN,ACK>
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>
         in  <SEQ=301><ACK=101><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// MUST-37 (RFC 9293 section 3.8.6.1): probes are two minutes apart in the end, and R2 is less. It runs from the next one on, not from
/// the last that was answered.
#[test]
fn a_closed_window_may_stay_closed_for_ever_whatever_r2_is() {
    case_with(|s| s.r2 = Duration::from_secs(100), &format!("{}state ESTABLISHED", answered_probes(15)));
}

/// An application that closes late between two probes: `orphan_r2`, 100 s, is not over yet when the next one is due.
#[test]
fn an_orphan_has_its_time_behind_a_long_closed_window() {
    let late =
        "wait 110s\nclose\nstate FIN-WAIT-1\nwait 20s\nout <SEQ=300><ACK=100><DATA=1><CTL=ACK>\nstate FIN-WAIT-1";
    case(&format!("{}{late}", answered_probes(12)));
    // And then it is over, whatever is answered: its memory would be the peer's to hold.
    let answered = "\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>\nwait 120s\nstate CLOSED";
    case(&format!("{}{late}{answered}", answered_probes(12)));
}

/// Data for a window that was never open, and so many probes of it that are answered.
fn answered_probes(n: u32) -> String {
    let probe = "out <SEQ=300><ACK=100><DATA=1><CTL=ACK>\nin <SEQ=100><ACK=300><WND=0><CTL=ACK> ESTABLISHED\n";
    let open = "established 300 100\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>\nsend 10\n";
    let interval = |n: u32| (200u64 << n).min(120_000);
    (0..n).fold(open.into(), |script: String, n| script + &format!("timer {}ms\n{probe}", interval(n)))
}

/// SHLD-3, RFC 1122 section 4.2.2.13: whoever closes and leaves data unread resets, also behind our own FIN.
#[test]
fn data_left_unread_is_told_behind_our_fin() {
    case(
        "established 100 300
         lazy
         in  <SEQ=300><ACK=100><DATA=5><CTL=FIN,ACK>    CLOSE-WAIT
         out <SEQ=100><ACK=306><CTL=ACK>
         hears data 5
         hears eof
         shutdown
         out <SEQ=100><ACK=306><CTL=FIN,ACK>            LAST-ACK
         close
         out <SEQ=101><ACK=306><CTL=RST,ACK>            CLOSED",
    );
}

/// Linux's `tcp_send_active_reset`: a reset lies within the window that the peer has drawn back, or it would not count it.
#[test]
fn an_aborts_reset_lies_within_a_window_that_was_drawn_back() {
    case(
        "established 100 300
         send 1000
         out <SEQ=100><ACK=300><DATA=1000><CTL=ACK>
         in  <SEQ=300><ACK=100><WND=100><CTL=ACK>       ESTABLISHED
         abort
         out <SEQ=200><ACK=300><CTL=RST,ACK>            CLOSED",
    );
}
