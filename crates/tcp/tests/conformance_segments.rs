//! Single requirements of RFC 9293 and RFC 7323 on what segments say: windows, flags, options, acknowledgments.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;

use support::{Endpoint, byte, case, settings};
use tcp::{Config, Connection, Env, HalfOpen, Settings, Start};
use wheel::Duration;
use wire::{
    SeqNum,
    tcp::{Flags, Options, Segment},
};

fn out(from: u32, n: u32) -> String {
    (0..n).map(|i| format!("out <SEQ={}><ACK=100><DATA=1000><CTL=ACK>\n", from + 1000 * i)).collect()
}

/// MUST-1: 40,000 and 65,535 have the top bit set, and are filled by as many bytes in flight.
#[test]
fn a_window_is_an_unsigned_number() {
    let ack = |n: u32, wnd: u32| format!("in <SEQ=100><ACK={n}><WND={wnd}><CTL=ACK>\n");
    case(&format!(
        "listen 299\nin <SEQ=99><CTL=SYN><MSS=1000><WND=40000>\nout <SEQ=299><ACK=100><CTL=SYN,ACK>\n{}hears connected\n\
         send 200000\n{}{}{}{}{}{}{}",
        ack(300, 40_000),
        out(300, 10),
        ack(10_300, 40_000),
        out(10_300, 20),
        ack(30_300, 40_000),
        out(30_300, 40), // the congestion window allows 40,000, too
        ack(70_300, 65_535),
        out(70_300, 65), // and now 80,000; the last 535 bytes of the window would be silly
    ));
    // In a SYN-ACK: ten segments, the initial window, fit into 32,800.
    let segments: String =
        (0..10).map(|n| format!("out <SEQ={}><ACK=300><DATA=1460><CTL=ACK>\n", 100 + 1460 * n)).collect();
    case(&format!(
        "connect 99\nout <SEQ=99><CTL=SYN>\nin <SEQ=299><ACK=100><WND=32800><CTL=SYN,ACK><MSS=1460>\n\
         out <SEQ=100><ACK=300><CTL=ACK>\nhears connected\nsend 30000\n{segments}"
    ));
}

/// MUST-61: PSH is on the segment that empties the queue, and on no other.
#[test]
fn the_last_segment_of_the_queue_is_pushed() {
    let mut endpoint = Endpoint::new(settings(), 0, 0);
    endpoint.script("established 300 100\nnodelay\nsend 3000", false);
    let pushed: Vec<_> = endpoint.out.drain(..).map(|(h, data)| (data.len(), h.flags.contains(Flags::PSH))).collect();
    assert_eq!(pushed, [(1460, false), (1460, false), (80, true)]);
    endpoint.script("in <SEQ=100><ACK=3300><CTL=ACK>\nsend 1", false);
    assert!(endpoint.out.pop_front().is_some_and(|(header, _)| header.flags.contains(Flags::PSH)));
    endpoint.end();
}

/// MUST-65, MAY-3, RFC2018-2-a: the MSS is in the SYN, be it the default, and in nothing behind it; nor are SACK-Permitted and
/// Window Scale.
#[test]
fn the_mss_is_in_every_syn_and_nowhere_else() {
    for passive in [false, true] {
        let mut endpoint = Endpoint::new(settings(), 0, 0);
        let start = Start { iss: SeqNum::new(7), mss: 536, default_peer_mss: 536, timestamp_offset: 0 };
        let mut env = Env { now: endpoint.now, config: &endpoint.config, pool: &mut endpoint.pool };
        let options = Options { window_scale: Some(3), sack_permitted: true, ..Options::default() };
        let with_options = |mut segment: Segment<'static>| {
            segment.header.options = options;
            segment
        };
        let syn = with_options(tcp::testing::segment(Flags::SYN, 99, 0, &[]));
        let mut buffer = vec![0; 2000];
        let (mut conn, header) = if passive {
            let half = HalfOpen::new(&env, start, &syn);
            (Connection::from_half_open(&env, start, &half), half.syn_ack(&env, 0))
        } else {
            let mut conn = Connection::connect(&env, start);
            let emit = conn.poll_transmit(&mut env, &mut buffer).expect("a SYN");
            (conn, emit.header)
        };
        assert_eq!((header.flags.contains(Flags::SYN), header.options.mss), (true, Some(536)));
        let flags = if passive { Flags::ACK } else { Flags::SYN | Flags::ACK };
        let mut answer = tcp::testing::segment(flags, if passive { 100 } else { 99 }, 8, &[]);
        if !passive {
            answer = with_options(answer);
        }
        let _ = conn.on_segment(&mut env, &answer);
        conn.send(&mut env, &[1; 100]).expect("open");
        let data = tcp::testing::segment(Flags::FIN | Flags::ACK, 100, 8, &[2; 10]);
        let _ = conn.on_segment(&mut env, &data);
        let mut segments = 0;
        while let Some(emit) = conn.poll_transmit(&mut env, &mut buffer) {
            assert_eq!((emit.header.flags.contains(Flags::SYN), emit.header.options.mss), (false, None));
            let Options { sack_permitted, window_scale, .. } = emit.header.options;
            assert_eq!((sack_permitted, window_scale), (false, None));
            segments += 1;
        }
        assert!(segments > 0);
        conn.release(&mut env);
    }
}

/// MUST-58, MUST-59: what waits in one batch is processed first, and answered by one ACK for all of it.
#[test]
fn a_batch_is_answered_by_one_ack() {
    case(
        "established 300 100
         batch
         in  <SEQ=100><ACK=300><DATA=500><CTL=ACK>
         hears data 500
         in  <SEQ=600><ACK=300><DATA=500><CTL=ACK>
         hears data 500
         in  <SEQ=1200><ACK=300><DATA=500><CTL=ACK>     # out of order
         in  <SEQ=1100><ACK=300><DATA=100><CTL=ACK>
         turn
         out <SEQ=300><ACK=1700><CTL=ACK>
         hears readable
         read 600",
    );
}

/// SHLD-15, SHLD-17: the window shrinks before what was sent. While the peer answers, that is no reason to give up: here
/// for more than two hours.
#[test]
fn data_beyond_a_shrunken_window_does_not_end_the_connection() {
    let mut script = String::from(
        "established 300 100
         send 2920
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>
         in  <SEQ=100><ACK=1760><WND=0><CTL=ACK>\n",
    );
    let mut endpoint = Endpoint::new(settings(), 0, 0);
    endpoint.script(&script, false);
    let start = endpoint.now;
    while endpoint.now - start < Duration::from_secs(2 * 3600) {
        endpoint.script("wait 1s", false);
        if endpoint.out.pop_front().is_some() {
            endpoint.script("in <SEQ=100><ACK=1760><WND=0><CTL=ACK>", false);
        }
    }
    script = String::from("state ESTABLISHED\nin <SEQ=100><ACK=1760><WND=5000><CTL=ACK>\n");
    script += "out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>\nin <SEQ=100><ACK=3220><CTL=ACK>\nqueued 0";
    endpoint.script(&script, false);
    endpoint.end();
}

/// RFC7323-2.2-c: scaled by 3 the window of 10 would take all 50 bytes.
#[test]
fn a_window_scale_behind_the_handshake_is_ignored() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=10><CTL=ACK><WS=3>
         send 50
         timer 200ms
         out <SEQ=300><ACK=100><DATA=10><CTL=ACK>",
    );
}

/// RFC7323-2.4-a: the edge that was promised is kept, though what the field can say of it has been rounded off.
#[test]
fn an_edge_that_rounding_moved_left_is_honoured() {
    // 128 KiB are scaled by 4, and pieces of 1,461 bytes leave what is free between two multiples of it.
    const BUFFER: u32 = 128 << 10;
    let mut endpoint = Endpoint::new(Settings { receive_buffer_bytes: BUFFER, ..settings() }, 0, 0);
    endpoint.script("lazy\nlisten 99\nin <SEQ=299><CTL=SYN><WS=0><MSS=1460>", false);
    assert_eq!(endpoint.out.pop_front().and_then(|(syn_ack, _)| syn_ack.options.window_scale), Some(2));
    let mut header = tcp::testing::segment(Flags::ACK, 300, 100, &[]).header;
    endpoint.arrive(&Segment { header, payload: &[] });
    let (end, mut edge, mut retracted) = (SeqNum::new(300 + BUFFER), SeqNum::new(300), 0);
    while header.seq.before(end) {
        let len = end.since(header.seq).min(1461);
        let payload: Vec<u8> = (0..len).map(|i| byte(header.seq.value() + i)).collect();
        endpoint.arrive(&Segment { header, payload: &payload });
        if endpoint.out.is_empty() {
            endpoint.script("wait 1ms", false);
        }
        let (reply, _) = endpoint.out.pop_front().expect("an ACK");
        assert_eq!(reply.ack, header.seq + len, "all of it was promised");
        let heard = reply.ack + (u32::from(reply.window) << 2);
        retracted += u32::from(heard.before(edge));
        edge = edge.max(heard);
        header.seq = reply.ack;
    }
    assert!(retracted > 0 && edge == end, "{retracted} {edge}");
    endpoint.heard.clear();
    endpoint.end();
}

/// MUST-13, MUST-40, SHLD-11: what the RFCs forbid can't be configured.
#[test]
fn times_beyond_the_bounds_of_the_rfcs_are_refused() {
    let refused = |settings: Settings| Config::new(settings).expect_err("refused").field;
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    assert_eq!(refused(Settings { delayed_ack: ms(500), ..Settings::default() }), "delayed_ack");
    assert_eq!(refused(Settings { r2: ms(99_999), ..Settings::default() }), "r2");
    assert_eq!(refused(Settings { time_wait: ms(999), ..Settings::default() }), "time_wait");
    assert_eq!(refused(Settings { max_rto: s(59), ..Settings::default() }), "max_rto");
}
