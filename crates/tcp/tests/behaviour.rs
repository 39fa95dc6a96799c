//! Timers, windows, acknowledgments and congestion control by the texts of RFC 9293, 6298, 5681, 6928 and 7323.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use tcp::Settings;
use wheel::Duration;

// Retransmission: RFC 6298, RFC 9293 section 3.8.

/// MUST-18, MUST-19, RFC6298-2.2-a, RFC6298-3-a, RFC6298-5-a, RFC6298-5.5-a.
#[test]
fn rto_follows_the_measured_round_trip() {
    // R = 100 ms in the handshake: SRTT 100, RTTVAR 50, RTO 300 ms. It doubles, until there is a sample again
    // (Karn's algorithm; RFC 6298 section 5, note behind 5.7).
    case_with(
        |s| s.min_rto = Duration::from_millis(1),
        "connect 100
         out <SEQ=100><CTL=SYN>
         wait 100ms
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>
         out <SEQ=101><ACK=301><CTL=ACK>
         hears connected
         send 10
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>
         timer 300ms
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>
         timer 600ms
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>
         wait 1100ms
         in  <SEQ=301><ACK=111><CTL=ACK>                # Karn: no sample of 2 s
         no-timer
         send 10
         out <SEQ=111><ACK=301><DATA=10><CTL=ACK>
         wait 100ms
         in  <SEQ=301><ACK=121><CTL=ACK>                # SRTT 100, RTTVAR 37.5
         send 10
         out <SEQ=121><ACK=301><DATA=10><CTL=ACK>
         timer 250ms
         out <SEQ=121><ACK=301><DATA=10><CTL=ACK>
         wait 100ms
         in  <SEQ=301><ACK=131><CTL=ACK>                # sent twice: no sample
         send 10
         out <SEQ=131><ACK=301><DATA=10><CTL=ACK>
         timer 500ms
         out <SEQ=131><ACK=301><DATA=10><CTL=ACK>",
    );
}

/// RFC6298-5-a.
#[test]
fn an_ack_of_new_data_restarts_the_timer() {
    // RFC 6298 (5.3), (5.2).
    case(
        "established 300 100
         nodelay
         send 10
         out <SEQ=300><ACK=100><DATA=10><CTL=ACK>
         send 10
         out <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         wait 150ms
         in  <SEQ=100><ACK=310><CTL=ACK>                # RTT 150 ms: SRTT 18.75 ms, RTTVAR 37.5 ms, and the floor
         timer 218750us
         out <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         in  <SEQ=100><ACK=320><CTL=ACK>
         no-timer",
    );
}

/// RFC9293-3.10.8-b, RFC6298-2.1-a, RFC6298-5.7-a.
#[test]
fn data_begins_with_three_seconds_after_a_lost_syn() {
    // RFC 6298 (5.7).
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         timer 1s
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>
         hears connected
         send 10
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>
         timer 3s
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>",
    );
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN>
         out <SEQ=300><ACK=101><CTL=SYN,ACK>
         timer 1s
         out <SEQ=300><ACK=101><CTL=SYN,ACK>
         timer 2s
         out <SEQ=300><ACK=101><CTL=SYN,ACK>
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected
         send 10
         out <SEQ=301><ACK=101><DATA=10><CTL=ACK>
         timer 3s
         out <SEQ=301><ACK=101><DATA=10><CTL=ACK>",
    );
}

/// RFC6298-3-b, RFC6298-5.7-a: the answer to our first SYN was lost, and what answers the second one echoes the first, as Linux's
/// does. That second is no round trip; the first segment has one. Of a second SYN that is echoed itself the time is known.
#[test]
fn the_wait_for_a_lost_answer_is_no_round_trip() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN><TSval=0><TSecr=0>
         timer 1s
         out <SEQ=100><CTL=SYN><TSval=1000><TSecr=0>
         wait 2ms
         in  <SEQ=300><ACK=101><CTL=SYN,ACK><TSval=7><TSecr=0>
         out <SEQ=101><ACK=301><CTL=ACK><TSval=1002><TSecr=7>
         hears connected
         send 10
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK><TSval=1002><TSecr=7>
         wait 2ms
         in  <SEQ=301><ACK=111><CTL=ACK><TSval=9><TSecr=1002>
         close
         out <SEQ=111><ACK=301><CTL=FIN,ACK><TSval=1004><TSecr=9>
         timer 202ms                                      # SRTT 2 ms, 4 * RTTVAR below the floor
         out <SEQ=111><ACK=301><CTL=FIN,ACK><TSval=1206><TSecr=9>",
    );
    case(
        "connect 100
         out <SEQ=100><CTL=SYN><TSval=0><TSecr=0>
         timer 1s
         out <SEQ=100><CTL=SYN><TSval=1000><TSecr=0>
         wait 300ms
         in  <SEQ=300><ACK=101><CTL=SYN,ACK><TSval=7><TSecr=1000>
         out <SEQ=101><ACK=301><CTL=ACK><TSval=1300><TSecr=7>
         hears connected
         send 10
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK><TSval=1300><TSecr=7>
         timer 900ms                                      # 300 + 4 * 150
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK><TSval=2200><TSecr=7>",
    );
}

/// MUST-19, RFC5681-3.1-b.
#[test]
fn the_initial_window_is_one_segment_after_two_lost_syns() {
    // RFC 5681 section 3.1; RFC 6928 recommends to wait for more than one loss. Slow start goes on from there.
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         timer 1s
         out <SEQ=100><CTL=SYN>
         timer 2s
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><ACK=101><CTL=SYN,ACK><MSS=1000>
         out <SEQ=101><ACK=301><CTL=ACK>
         hears connected
         send 9000
         out <SEQ=101><ACK=301><DATA=1000><CTL=ACK>
         in  <SEQ=301><ACK=1101><CTL=ACK>
         out <SEQ=1101><ACK=301><DATA=1000><CTL=ACK>
         out <SEQ=2101><ACK=301><DATA=1000><CTL=ACK>
         in  <SEQ=301><ACK=3101><CTL=ACK>
         out <SEQ=3101><ACK=301><DATA=1000><CTL=ACK>
         out <SEQ=4101><ACK=301><DATA=1000><CTL=ACK>
         out <SEQ=5101><ACK=301><DATA=1000><CTL=ACK>
         out <SEQ=6101><ACK=301><DATA=1000><CTL=ACK>",
    );
}

/// MUST-22, MUST-23, RFC9293-3.10.8-a, RFC1122-4.2.3.1-a.
#[test]
fn a_syn_is_given_up_after_three_minutes() {
    // MUST-23. 1 + 2 + ... + 64 = 127 s, then 120 s: the first expiry at or behind 180 s is at 247 s.
    let syn = "out <SEQ=100><CTL=SYN>\n";
    case(&format!(
        "connect 100\n{syn}\nwait 246999ms\n{}\nstate SYN-SENT\ntimer 1ms\nstate CLOSED\nhears timed-out",
        syn.repeat(7)
    ));
    let syn_ack = "out <SEQ=300><ACK=101><CTL=SYN,ACK>\n";
    case(&format!(
        // A passive open is not ours to insist on: five tries and their time, as Linux.
        "listen 300\nin <SEQ=100><CTL=SYN>\n{syn_ack}\nwait 62999ms\n{}\nstate SYN-RECEIVED\ntimer 1ms\nstate LISTEN",
        syn_ack.repeat(5)
    ));
}

/// As Linux's `tcp_syn_linear_timeouts` = 4 and FreeBSD's table: 1, 1, 1, 1, 1, 2, 4 s. The first RTO of data is 3 s all the same
/// (RFC 6298 (5.7)).
#[test]
fn the_first_syns_may_be_sent_again_without_back_off() {
    let syn = "out <SEQ=100><CTL=SYN>\n";
    let again: String = [1, 1, 1, 1, 1, 2, 4].map(|secs| format!("timer {secs}s\n{syn}")).concat();
    case_with(|s| s.syn_linear_timeouts = 4, &format!("connect 100\n{syn}{again}timer 8s\n{syn}"));
    case_with(
        |s| s.syn_linear_timeouts = 4,
        &format!(
            "connect 100\n{syn}timer 1s\n{syn}in <SEQ=300><ACK=101><CTL=SYN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\n\
             hears connected\nsend 10\nout <SEQ=101><ACK=301><DATA=10><CTL=ACK>\ntimer 3s\n\
             out <SEQ=101><ACK=301><DATA=10><CTL=ACK>"
        ),
    );
}

/// MUST-20, SHLD-11, RFC9293-3.9.1.1-b, RFC9293-3.10.8-a.
#[test]
fn data_is_given_up_after_r2() {
    let data = "out <SEQ=300><ACK=100><DATA=10><CTL=ACK>\n";
    case(&format!(
        "established 300 100\nsend 10\n{data}\nwait 900s\n{}\nstate ESTABLISHED\nwait 130s\nstate CLOSED\n\
         hears timed-out\nin <SEQ=100><ACK=300><CTL=ACK>\nout <SEQ=300><CTL=RST>",
        data.repeat(15)
    ));
}

/// RFC6298-5.5-a.
#[test]
fn the_timer_runs_though_the_segment_could_not_leave() {
    // RFC 6298 (5.6): the expiry itself starts the timer again; whoever can't send meanwhile still reaches R2.
    let mut endpoint = support::Endpoint::new(support::settings(), 0, 0);
    endpoint.script("established 300 100\nsend 10\nout <SEQ=300><ACK=100><DATA=10><CTL=ACK>", false);
    let mut conn = endpoint.conn.take().expect("open");
    let start = endpoint.now;
    while conn.state() == tcp::State::Established {
        let at = conn.poll_timeout().expect("a timer runs while data is unacknowledged");
        assert!(at > endpoint.now, "time goes on");
        endpoint.now = at;
        let reset = conn.on_timeout(&mut tcp::Env { now: at, config: &endpoint.config, pool: &mut endpoint.pool });
        assert_eq!(reset, None);
    }
    assert!((900..1030).contains(&((endpoint.now - start).as_millis() / 1000)));
    // The same for a SYN that never leaves.
    endpoint.script("connect 100\nout <SEQ=100><CTL=SYN>", false);
    let env = tcp::Env { now: endpoint.now, config: &endpoint.config, pool: &mut endpoint.pool };
    let start = tcp::Start { iss: wire::SeqNum::new(1), mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
    let unsent = tcp::Connection::connect(&env, start);
    assert!(unsent.poll_timeout().is_some());
    let syn = tcp::testing::segment(wire::tcp::Flags::SYN, 5, 0, &[]);
    assert!(tcp::HalfOpen::new(&env, start, &syn).deadline(env.config) > env.now);
}

// Windows: RFC 9293 section 3.8.6.

/// MUST-36, SHLD-29, SHLD-30, RFC1122-4.2.2.20-b.
#[test]
fn a_zero_window_is_probed_and_reopens() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         send 3000
         timer 200ms                                    # SHLD-29: the first after one RTO
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         timer 400ms
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         timer 800ms                                    # SHLD-30: growing intervals
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=300><WND=5000><CTL=ACK>
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=3220><ACK=100><DATA=80><CTL=ACK>",
    );
    // The probe's octet is taken, the window stays closed.
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         send 10
         timer 200ms
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=301><WND=0><CTL=ACK>
         queued 9
         timer 200ms
         out <SEQ=301><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=302><WND=100><CTL=ACK>
         out <SEQ=302><ACK=100><DATA=8><CTL=ACK>",
    );
}

#[test]
fn an_ack_between_probes_lies_inside_the_closed_window() {
    // The peer has refused the probe's octet: RCV.NXT, 300, is all that its window of 0 takes.
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         send 10
         timer 200ms
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=300><WND=0><DATA=5><CTL=ACK>
         out <SEQ=300><ACK=105><CTL=ACK>
         hears data 5",
    );
}

/// MAY-12, RFC5961-5.2-a.
#[test]
fn an_ack_too_old_to_trust_is_challenged() {
    // RFC 5961 section 5.2: (SND.UNA - MAX.SND.WND) =< SEG.ACK; the largest window was 10,000.
    case(
        "established 300 100
         in  <SEQ=100><ACK=-9701><DATA=5><CTL=ACK>
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><ACK=-9700><DATA=5><CTL=ACK>
         out <SEQ=300><ACK=105><CTL=ACK>
         hears data 5",
    );
}

/// MUST-37, SHLD-30.
#[test]
fn a_closed_window_may_stay_closed_for_ever() {
    // MUST-37, as long as the probes are answered; without answers R2 ends it.
    let probe = "out <SEQ=300><ACK=100><DATA=1><CTL=ACK>\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>\n";
    let mut script = String::from("established 300 100\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>\nsend 10\n");
    let mut interval = 200;
    for _ in 0..60 {
        script += &format!("timer {interval}ms\n{probe}");
        interval = (interval * 2).min(120_000);
    }
    case(&format!("{script}state ESTABLISHED"));
    let unanswered = "out <SEQ=300><ACK=100><DATA=1><CTL=ACK>\n".repeat(15);
    case(&format!(
        "established 300 100\nin <SEQ=100><ACK=300><WND=0><CTL=ACK>\nsend 10\nwait 900s\n{unanswered}\nwait 130s\n\
         state CLOSED\nhears timed-out"
    ));
}

/// MUST-36, SHLD-29.
#[test]
fn a_fin_waits_for_the_window_and_is_the_probe() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         shutdown
         timer 200ms
         out <SEQ=300><ACK=100><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=100><ACK=301><WND=0><CTL=ACK>         FIN-WAIT-2
         no-timer",
    );
}

#[test]
fn a_shrunken_window_is_survived() {
    // MUST-34, SHLD-15: nothing new beyond it; MUST-35: at zero it is probed.
    case(
        "established 300 100
         send 4380
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=3220><ACK=100><DATA=1460><CTL=ACK>
         in  <SEQ=100><ACK=1760><WND=1000><CTL=ACK>
         send 620
         in  <SEQ=100><ACK=4680><WND=0><CTL=ACK>
         timer 200ms
         out <SEQ=4680><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=4680><WND=1460><CTL=ACK>
         out <SEQ=4680><ACK=100><DATA=620><CTL=ACK>",
    );
}

/// MUST-34, MUST-35, SHLD-17: a window that shrinks to nothing, below what is in flight and lost: nothing is sent into it but
/// probes of one octet, and all of it once it opens.
#[test]
fn a_window_that_is_taken_back_is_probed() {
    case(
        "established 300 100
         send 2920
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>
         in  <SEQ=100><ACK=300><WND=0><CTL=ACK>
         wait 200ms
         timer 400ms
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>
         in  <SEQ=100><ACK=301><WND=5000><CTL=ACK>
         out <SEQ=301><ACK=100><DATA=1459><CTL=ACK>     # the congestion window is one segment
         in  <SEQ=100><ACK=1760><WND=5000><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>",
    );
}

/// SHLD-16, RFC7323-2.4-b.
#[test]
fn what_was_lost_is_sent_again_into_a_small_window_at_once() {
    // RFC 6298 (5.4). Silly-window avoidance is for new data: a window of 1,000 is less than half of the largest seen.
    case(
        "established 300 100
         send 8760
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=3220><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=4680><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=6140><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=7600><ACK=100><DATA=1460><CTL=ACK>
         in  <SEQ=100><ACK=7600><WND=1000><CTL=ACK>
         timer 200ms
         out <SEQ=7600><ACK=100><DATA=1000><CTL=ACK>
         timer 400ms
         out <SEQ=7600><ACK=100><DATA=1000><CTL=ACK>",
    );
}

/// RFC9293-3.10.7.4-h.
#[test]
fn an_older_segment_does_not_set_the_window() {
    // 3.10.7.4: SND.WL1 and SND.WL2.
    case(
        "established 300 100
         in  <SEQ=110><ACK=300><DATA=5><WND=0><CTL=ACK>
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><ACK=300><WND=9000><CTL=ACK>      # older: it stays closed
         send 10
         timer 200ms
         out <SEQ=300><ACK=100><DATA=1><CTL=ACK>",
    );
}

/// RFC9293-3.10.7.4-h, RFC5681-2-a, RFC7323-2.4-b.
#[test]
fn an_ack_in_an_older_segment_leaves_the_right_edge() {
    // Its window is not taken, so what it acknowledges is no permission to send beyond 2,300.
    case(
        "established 300 100
         in  <SEQ=110><ACK=300><DATA=5><WND=2000><CTL=ACK>
         out <SEQ=300><ACK=100><CTL=ACK>
         send 5000
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         in  <SEQ=100><ACK=1760><WND=2000><CTL=ACK>
         in  <SEQ=110><ACK=1760><WND=2000><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=1460><CTL=ACK>",
    );
}

/// MUST-38, MUST-60.
#[test]
fn the_sender_avoids_silly_windows() {
    // 3.8.6.2.1: not full-sized, not all there is, less than half of the largest window seen (10,000): it waits. The
    // override is the persist timer's.
    case(
        "established 300 100
         nodelay
         in  <SEQ=100><ACK=300><WND=100><CTL=ACK>
         send 500
         timer 200ms
         out <SEQ=300><ACK=100><DATA=100><CTL=ACK>",
    );
}

/// MUST-39, SHLD-14.
#[test]
fn the_receiver_avoids_silly_windows_and_never_shrinks() {
    // 3.8.6.2.2: the edge moves by min(buffer / 2, MSS) or not at all; SHLD-14: never left.
    case(
        "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=2048><CTL=ACK>
         out <SEQ=300><ACK=2148><WND=2048><CTL=ACK>
         hears data 2048
         in  <SEQ=2148><ACK=300><DATA=2048><CTL=ACK>
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         hears readable
         read 1000
         in  <SEQ=4196><ACK=300><DATA=1><CTL=ACK>
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>        # 1,000 would be silly
         read 500
         in  <SEQ=4196><ACK=300><DATA=1><CTL=ACK>
         out <SEQ=300><ACK=4196><WND=1500><CTL=ACK>
         read 2000
         in  <SEQ=4196><ACK=300><DATA=10><CTL=ACK>
         out <SEQ=300><ACK=4206><WND=3490><CTL=ACK>
         hears readable
         unread 606
         read 606",
    );
}

/// SHLD-14.
#[test]
fn a_scaled_window_closes_too() {
    // 32 MiB of buffer are scaled by 2^10: less than a unit's worth of data must still count, or the peer could fill
    // all memory of an application that does not read (RFC 7323 section 2.4 allows the edge to be retracted by rounding).
    for (buffer, piece) in [(32u32 << 20, 700u32), (4 << 20, 100), (128 << 10, 2)] {
        let settings = Settings { receive_buffer_bytes: buffer, ..support::settings() };
        let mut endpoint = support::Endpoint::new(settings, 0, 0);
        endpoint.pool = tcp::Pool::new(64 << 20);
        endpoint.script("lazy\nlisten 99\nin <SEQ=299><CTL=SYN><WS=0><MSS=1460>", false);
        endpoint.out.clear();
        let shift = endpoint.config.window_scale();
        let mut header = tcp::testing::segment(wire::tcp::Flags::ACK, 300, 100, &[]).header;
        endpoint.arrive(&wire::tcp::Segment { header, payload: &[] });
        let mut first = true;
        let mut edge = wire::SeqNum::new(300);
        for n in 0..70_000u32 {
            let payload: Vec<u8> = (0..piece).map(|i| support::byte(header.seq.value().wrapping_add(i))).collect();
            endpoint.arrive(&wire::tcp::Segment { header, payload: &payload });
            header.seq += piece;
            while let Some((reply, _)) = endpoint.out.pop_front() {
                let heard = reply.ack + (u32::from(reply.window) << shift);
                let retracted = edge.since(heard) as i32;
                assert!(first || retracted < 1 << shift, "by less than one unit");
                (edge, first) = (edge.max(heard), false);
            }
            endpoint.heard.clear();
            let held = (n + 1) * piece;
            let promised = edge.since(wire::SeqNum::new(300));
            assert!(promised <= buffer.saturating_add(2 << shift), "{held} held, {promised} promised of {buffer}");
        }
        endpoint.end();
    }
}

#[test]
fn a_full_pool_acknowledges_what_it_kept() {
    // Two chunks for 5,000 octets that the application leaves: the rest counts as never received, and comes again.
    let settings = Settings { receive_buffer_bytes: 8192, ..support::settings() };
    let mut endpoint = support::Endpoint::new(settings, 0, 0);
    endpoint.script("established 300 100\nlazy", false);
    // The window is promised by then.
    endpoint.pool = tcp::Pool::new(2 * tcp::CHUNK_BYTES);
    endpoint.script(
        "in  <SEQ=100><ACK=300><DATA=5000><CTL=ACK>
         out <SEQ=300><ACK=4196><CTL=ACK>               # what was not kept was not received
         hears data 5000
         read 4096",
        false,
    );
}

// Nagle's algorithm and acknowledgments.

/// MUST-17, MUST-60, SHLD-7, SHLD-27, MAY-16.
#[test]
fn nagle_holds_a_small_segment_while_one_is_out() {
    case(
        "established 300 100
         send 10
         out <SEQ=300><ACK=100><DATA=10><CTL=ACK>
         send 10
         send 20
         in  <SEQ=100><ACK=310><CTL=ACK>
         out <SEQ=310><ACK=100><DATA=30><CTL=ACK>
         send 1460
         out <SEQ=340><ACK=100><DATA=1460><CTL=ACK>     # a full segment goes at once
         nodelay
         send 1
         out <SEQ=1800><ACK=100><DATA=1><CTL=ACK>
         send 1
         out <SEQ=1801><ACK=100><DATA=1><CTL=ACK>",
    );
}

/// SHLD-7 in Minshall's form (RFC 9293 appendix A.3), as Linux and FreeBSD: the last piece of a large write goes at once, a small
/// one behind it waits.
#[test]
fn nagle_does_not_hold_the_end_of_a_large_write() {
    case(
        "established 300 100
         send 2000
         out <SEQ=300><ACK=100><DATA=1460><CTL=ACK>
         out <SEQ=1760><ACK=100><DATA=540><CTL=ACK>
         send 10
         in  <SEQ=100><ACK=1760><CTL=ACK>
         in  <SEQ=100><ACK=2300><CTL=ACK>
         out <SEQ=2300><ACK=100><DATA=10><CTL=ACK>",
    );
}

/// MUST-40, SHLD-18, SHLD-19, MAY-13, RFC5681-4.2-a, RFC5681-4.2-b.
#[test]
fn acks_are_delayed_but_not_for_long() {
    // RFC 5681 section 4.2, RFC 9293 section 3.8.6.3. The first 16 segments are acknowledged at once (as Linux).
    let mut quick = String::new();
    for i in 0..16 {
        let seq = 100 + 10 * i;
        quick += &format!(
            "in <SEQ={seq}><ACK=300><DATA=10><CTL=ACK>\nout <SEQ=300><ACK={}><CTL=ACK>\nhears data 10\n",
            seq + 10
        );
    }
    case_with(
        |s| (s.delayed_ack, s.receive_buffer_bytes) = (Duration::from_millis(40), 1 << 16),
        &format!(
            "established 300 100
             {quick}
             in  <SEQ=260><ACK=300><DATA=10><CTL=ACK>
             hears data 10
             timer 40ms
             out <SEQ=300><ACK=270><CTL=ACK>
             in  <SEQ=270><ACK=300><DATA=1460><CTL=ACK>
             hears data 1460
             in  <SEQ=1730><ACK=300><DATA=1460><CTL=ACK>    # the second full-sized segment
             out <SEQ=300><ACK=3190><CTL=ACK>
             hears data 1460
             in  <SEQ=3190><ACK=300><DATA=10><CTL=ACK>      # rides on data
             hears data 10
             send 5
             out <SEQ=300><ACK=3200><DATA=5><CTL=ACK>
             in  <SEQ=3200><ACK=305><CTL=ACK>
             no-timer
             in  <SEQ=3210><ACK=305><DATA=10><CTL=ACK>      # out of order
             out <SEQ=305><ACK=3200><CTL=ACK>
             in  <SEQ=3200><ACK=305><DATA=10><CTL=ACK>      # fills the gap
             out <SEQ=305><ACK=3220><CTL=ACK>
             hears readable
             read 20
             in  <SEQ=3220><ACK=305><DATA=10><CTL=ACK>      # behind a loss the peer's window is small: at once again
             out <SEQ=305><ACK=3230><CTL=ACK>
             hears data 10"
        ),
    );
}

/// RFC 9293 section 3.8.6.3: an ACK may wait for half a second, and is wanted at the latest for the second full-sized segment.
/// Nothing says of a FIN that it may not, while ours may follow.
#[test]
fn acks_wait_a_millisecond_for_an_answer_where_asked_to() {
    let settings = |s: &mut Settings| (s.delayed_ack, s.receive_buffer_bytes) = (Duration::from_millis(40), 1 << 16);
    case_with(
        settings,
        "established 300 100
         quick-ack off
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         hears data 10
         timer 1ms
         out <SEQ=300><ACK=110><CTL=ACK>
         in  <SEQ=110><ACK=300><DATA=10><CTL=ACK>
         hears data 10
         send 5
         out <SEQ=300><ACK=120><DATA=5><CTL=ACK>
         in  <SEQ=120><ACK=305><DATA=1460><CTL=ACK>
         hears data 1460
         in  <SEQ=1580><ACK=305><DATA=1460><CTL=ACK>    # the second full-sized segment
         out <SEQ=305><ACK=3040><CTL=ACK>
         hears data 1460
         in  <SEQ=3050><ACK=305><DATA=10><CTL=ACK>      # out of order
         out <SEQ=305><ACK=3040><CTL=ACK>
         in  <SEQ=3040><ACK=305><DATA=10><CTL=ACK>      # fills the gap
         out <SEQ=305><ACK=3060><CTL=ACK>
         hears readable
         read 20
         in  <SEQ=3060><ACK=305><CTL=FIN,ACK>
         hears eof
         timer 1ms
         out <SEQ=305><ACK=3061><CTL=ACK>",
    );
    // Behind our FIN nothing of ours follows.
    case_with(
        settings,
        "established 300 100
         quick-ack off
         shutdown
         out <SEQ=300><ACK=100><CTL=FIN,ACK>
         in  <SEQ=100><ACK=301><CTL=FIN,ACK>
         out <SEQ=301><ACK=101><CTL=ACK>
         hears eof
         hears closed",
    );
}

// Options: RFC 9293 section 3.7.1, RFC 7323 section 2.

/// MUST-14, MUST-15, MUST-16, SHLD-5, SHLD-28.
#[test]
fn the_mss_is_the_lesser_of_both_and_536_by_default() {
    for (option, mss) in [("", 536), ("<MSS=1200>", 1200), ("<MSS=9000>", 1460)] {
        case(&format!(
            "connect 100
             out <SEQ=100><CTL=SYN><MSS=1460><WS=0>
             in  <SEQ=300><ACK=101><CTL=SYN,ACK>{option}
             out <SEQ=101><ACK=301><CTL=ACK>
             hears connected
             send {}
             out <SEQ=101><ACK=301><DATA={mss}><CTL=ACK>
             out <SEQ={}><ACK=301><DATA={mss}><CTL=ACK>",
            2 * mss,
            101 + mss
        ));
    }
}

/// MUST-1, RFC7323-2.2-a, RFC7323-2.2-b, RFC7323-2.2-d, RFC7323-2.3-a, RFC1122-4.2.2.20-a, A10.
#[test]
fn windows_are_scaled_only_if_both_offer_and_never_in_a_syn() {
    let big = |s: &mut Settings| s.receive_buffer_bytes = 1 << 20;
    case_with(
        big,
        "listen 300
         in  <SEQ=100><CTL=SYN><MSS=1460>
         out <SEQ=300><ACK=101><WND=65535><CTL=SYN,ACK><MSS=1460>
         in  <SEQ=101><ACK=301><WND=10><CTL=ACK>
         hears connected
         in  <SEQ=101><ACK=301><DATA=1><WND=10><CTL=ACK>
         out <SEQ=301><ACK=102><WND=65534><CTL=ACK>     # the right edge moves by worthwhile steps
         hears data 1
         send 11
         out <SEQ=301><ACK=102><DATA=10><CTL=ACK>",
    );
    case_with(
        big,
        "listen 300
         in  <SEQ=100><CTL=SYN><WND=1><MSS=1460><WS=7>
         out <SEQ=300><ACK=101><WND=65535><CTL=SYN,ACK><MSS=1460><WS=5>
         in  <SEQ=101><ACK=301><WND=10><CTL=ACK>
         hears connected
         in  <SEQ=101><ACK=301><DATA=1><WND=10><CTL=ACK>
         out <SEQ=301><ACK=102><WND=32768><CTL=ACK>
         hears data 1
         send 1280
         out <SEQ=301><ACK=102><DATA=1280><CTL=ACK>",
    );
    // The window of a SYN-ACK is not scaled: 10 octets, not 1,280.
    case_with(
        big,
        "connect 100
         out <SEQ=100><WND=65535><CTL=SYN><MSS=1460><WS=5>
         in  <SEQ=300><ACK=101><WND=10><CTL=SYN,ACK><WS=7>
         out <SEQ=101><ACK=301><WND=32768><CTL=ACK>
         hears connected
         send 11
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>",
    );
}

// Congestion control: RFC 5681, RFC 6928.

/// MUST-19, SHLD-28, RFC5681-2-a, RFC5681-3.1-a, RFC5681-3.1-b, RFC5681-3.1-c.
#[test]
fn slow_start_begins_with_ten_segments_and_doubles() {
    let out = |from: u32, n: u32| {
        (0..n).map(|i| format!("out <SEQ={}><ACK=100><DATA=1000><CTL=ACK>\n", from + 1000 * i)).collect::<String>()
    };
    case(&format!(
        "listen 299
         in  <SEQ=99><CTL=SYN><MSS=1000>
         out <SEQ=299><ACK=100><CTL=SYN,ACK>
         in  <SEQ=100><ACK=300><WND=60000><CTL=ACK>
         hears connected
         send 100000
         {}
         in  <SEQ=100><ACK=10300><WND=60000><CTL=ACK>
         {}",
        out(300, 10),
        out(10_300, 20)
    ));
}

/// MUST-19, RFC5681-3.1-d, RFC5681-3.1-e, RFC5681-3.1-f, RFC6298-5.5-a.
#[test]
fn an_rto_leaves_one_segment_and_halves_the_threshold() {
    // RFC 5681 section 3.1: the loss window is one segment; flight 10,000, so ssthresh 5,000: then one segment a round trip.
    let out = |from: u32, n: u32| {
        (0..n).map(|i| format!("out <SEQ={}><ACK=100><DATA=1000><CTL=ACK>\n", from + 1000 * i)).collect::<String>()
    };
    let ack = |n: u32| format!("in <SEQ=100><ACK={n}><WND=60000><CTL=ACK>\n");
    let script = [
        "listen 299\nin <SEQ=99><CTL=SYN><MSS=1000>\nout <SEQ=299><ACK=100><CTL=SYN,ACK>\n".into(),
        "in <SEQ=100><ACK=300><WND=60000><CTL=ACK>\nhears connected\nsend 10000\n".into(),
        out(300, 10),
        "timer 200ms\n".into(),
        out(300, 1),
        ack(1300),
        out(1300, 2),
        // Not sooner: new data would go first (F-RTO).
        "send 50000\n".into(),
        ack(3300),
        out(3300, 4),
        ack(7300), // cwnd 4,000 + 4,000, but not beyond ssthresh: 5,000
        out(7300, 5),
        ack(12_300), // one full window acknowledged: 6,000
        out(12_300, 6),
        ack(18_300),
        out(18_300, 7),
    ];
    case_with(|s| s.congestion = tcp::Congestion::NewReno, &script.concat());
}

/// RFC5681-3.2-a.
#[test]
fn the_third_duplicate_ack_retransmits() {
    let out = |from: u32, n: u32| {
        (0..n).map(|i| format!("out <SEQ={}><ACK=100><DATA=1000><CTL=ACK>\n", from + 1000 * i)).collect::<String>()
    };
    let open = "listen 299\nin <SEQ=99><CTL=SYN><MSS=1000>\nout <SEQ=299><ACK=100><CTL=SYN,ACK>\n\
                in <SEQ=100><ACK=300><WND=60000><CTL=ACK>\nhears connected\nsend 10000\n";
    let duplicate = "in <SEQ=100><ACK=300><WND=60000><CTL=ACK>\n";
    case(&format!("{open}{}{duplicate}{duplicate}{duplicate}{}", out(300, 10), out(300, 1)));
    // A partial acknowledgment sends the next hole (RFC 6582 section 3.2, step 3).
    case(&format!(
        "{open}{}{duplicate}{duplicate}{duplicate}{}in <SEQ=100><ACK=4300><WND=60000><CTL=ACK>\n{}\
         in <SEQ=100><ACK=10300><WND=60000><CTL=ACK>\nno-timer",
        out(300, 10),
        out(300, 1),
        out(4300, 1)
    ));
    // RFC 5681's definition: a segment with data, or one that changes the window, is no duplicate.
    let update = "in <SEQ=100><ACK=300><WND=59999><CTL=ACK>\nin <SEQ=100><ACK=300><WND=60000><CTL=ACK>\n";
    case(&format!("{open}{}{update}{update}{update}", out(300, 10)));
    let data = |i: u32| {
        let seq = 100 + i;
        format!(
            "in <SEQ={seq}><ACK=300><WND=60000><DATA=1><CTL=ACK>\nout <SEQ=10300><ACK={}><CTL=ACK>\nhears data 1\n",
            seq + 1
        )
    };
    case(&format!("{open}{}{}{}{}{}", out(300, 10), data(0), data(1), data(2), data(3)));
}

/// RFC1122-4.2.2.20-a, RFC1122-4.2.2.20-b: the end of the handshake sets SND.WL1 and SND.WL2, so that an ACK with the same
/// numbers sets the window, wherever in the number space they are.
#[test]
fn the_same_numbers_again_set_the_window() {
    let segments: String =
        (0..8).map(|n| format!("out <SEQ={}><ACK=300><DATA=1460><CTL=ACK>\n", 100 + 1460 * n)).collect();
    // Of the 10,000 of the handshake six would fit.
    case(&format!("established 100 300\nin <SEQ=300><ACK=100><WND=12000><CTL=ACK>\nsend 30000\n{segments}"));
}

// What the application may do when.

/// RFC9293-3.10.2-a.
#[test]
fn send_after_shutdown_is_a_broken_pipe() {
    case(
        "established 300 100
         shutdown
         out <SEQ=300><ACK=100><CTL=FIN,ACK>
         send 1
         hears broken-pipe",
    );
    // The FIN that waits for ESTABLISHED is behind everything, too.
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>
         shutdown
         send 1
         hears broken-pipe
         in  <SEQ=301><ACK=101><CTL=ACK>                FIN-WAIT-1
         out <SEQ=101><ACK=301><CTL=FIN,ACK>
         hears connected",
    );
}

/// RFC9293-3.10.2-a, RFC9293-3.10.7.3-c.
#[test]
fn data_queued_before_established_is_sent_behind_the_handshake() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         send 10
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>
         hears connected",
    );
}

/// RFC9293-3.5-a.
#[test]
fn data_with_the_syn_ack_and_with_the_last_ack() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><ACK=101><DATA=5><CTL=SYN,ACK>
         out <SEQ=101><ACK=306><CTL=ACK>
         hears connected
         hears data 5",
    );
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN>
         out <SEQ=300><ACK=101><CTL=SYN,ACK>
         in  <SEQ=101><ACK=301><DATA=5><CTL=FIN,ACK>    CLOSE-WAIT
         out <SEQ=301><ACK=107><CTL=ACK>
         hears connected
         hears data 5
         hears eof",
    );
}

#[test]
fn what_is_left_of_data_after_shutdown_of_reading_is_thrown_away() {
    case(
        "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=50><CTL=ACK>
         out <SEQ=300><ACK=150><CTL=ACK>
         hears data 50
         shutdown-read
         unread 0
         shutdown
         out <SEQ=300><ACK=150><CTL=FIN,ACK>            FIN-WAIT-1",
    );
}
