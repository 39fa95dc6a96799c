//! Loss recovery on the wire. The [traces](support::trace) are what Linux sends in the cases of packetdrill's scripts, or what the
//! RFCs say.
#![allow(clippy::cast_possible_truncation)]

mod support;
use support::case_with;
use support::trace::{SACK, script, trace, trace_with};
use tcp::Congestion;
use wheel::Duration;

/// RFC5681-3.2-a, RFC 3042: as limited-transmit-no-sack and -sack.
#[test]
fn limited_transmit() {
    trace(
        "",
        "100ms",
        "write 15000
         > 1:10001
         +110ms < 1
         > 10001:11001
         +10ms < 1
         > 11001:12001
         +10ms < 3001             // reordering: one segment more in flight, one more by slow start
         > 12001:14001
         +20ms < 5001
         > 14001:15001
         +20ms < 15001",
    );
    trace(
        SACK,
        "100ms",
        "write 15000
         > 1:10001
         +110ms < 1 sack 1001-2001
         > 10001:11001
         +10ms < 1 sack 1001-3001
         > 11001:12001
         +10ms < 3001
         > 12001:14001
         +20ms < 5001
         > 14001:15001
         +20ms < 15001",
    );
}

/// RFC5681-3.2-a, RFC6675-5-a: as fr-4pkt and fr-4pkt-sack, and one acknowledgment that reports as much at once.
#[test]
fn the_third_duplicate_retransmits() {
    trace("", "100ms", "write 4000\n> 1:4001\n+100ms < 1\n< 1\n< 1\n> 1:1001\n+100ms < 4001\nno-timer");
    let sack = "write 4000
         > 1:4001
         +100ms < 1 sack 1001-2001
         < 1 sack 1001-3001
         < 1 sack 1001-4001
         > 1:1001
         +100ms < 4001
         no-timer";
    trace(SACK, "100ms", sack);
    trace(SACK, "100ms", "write 5000\n> 1:5001\n+100ms < 1 sack 1001-5001\n> 1:1001\n+100ms < 5001\nno-timer");
}

/// RFC5681-3.2-b, RFC 6582: each duplicate is a segment that has left the network; down to ssthresh, 7 of 10, fewer go out
/// than that, then one for each; a partial acknowledgment brings the next hole, the last ends it at ssthresh.
#[test]
fn recovery_without_sack() {
    let dups = |n: u32| "< 1\n".repeat(n as usize);
    let open = format!(
        "write 30000\n> 1:10001\n+100ms < 1\n> 10001:11001\n< 1\n> 11001:12001\n< 1\n> 1:1001\n{}< 1\n> 12001:13001\n\
         < 1\n> 13001:14001\n< 1\n> 14001:15001\n< 1\n> 15001:16001\n< 1\n> 16001:17001\n< 1\n> 17001:18001\n",
        dups(2)
    );
    trace(
        "",
        "100ms",
        &format!("{open}+100ms < 12001\n> 18001:19001\n+100ms < 19001\n> 19001:26001\n+100ms < 26001\n> 26001:30001"),
    );
    // 4001:5001 was lost as well.
    trace("", "100ms", &format!("{open}+100ms < 4001\n> 4001:5001\n> 18001:19001\n+100ms < 18001\n> 19001:25001"));
    // RFC 6582 section 3.2, step 1: duplicates of the go-back after a timeout start nothing.
    trace(
        "",
        "100ms",
        &format!(
            "write 3000\n> 1:3001\n+300ms\n> 1:1001\n+50ms < 3001\nwrite 2000\n> 3001:5001\n{}+100ms < 5001\nno-timer",
            "< 3001\n".repeat(5)
        ),
    );
}

/// RFC8985-6.2-b, RFC8985-6.2-c: as fr-4pkt-fack-last-mss: a quarter of the round trip is waited for what may be reordered.
#[test]
fn one_block_waits_for_reordering() {
    trace(
        SACK,
        "100ms",
        "write 4000
         > 1:4001
         +100ms < 1 sack 3001-4001
         +24ms
         +1ms
         > 1:1001                 // ssthresh and the window are 7: proportional reduction lets out one at first
         +100ms < 1001 sack 3001-4001
         > 1001:3001
         +100ms < 4001
         no-timer",
    );
    // What arrives within the wait is no loss.
    trace(SACK, "100ms", "write 4000\n> 1:4001\n+100ms < 1 sack 3001-4001\n+20ms < 4001\nno-timer");
}

/// RFC 8985 section 6.2, step 4: the word of a copy that was not needed widens the window by a quarter of the round trip also where
/// it comes last, as it does of what is sent by request and response.
#[test]
fn a_dsack_behind_everything_widens_the_reordering_window() {
    trace(
        SACK,
        "100ms",
        "write 2000
         > 1:2001
         +100ms < 1 sack 1001-2001
         +24ms
         +1ms
         > 1:1001
         +10ms < 2001
         +90ms < 2001 sack 1-1001
         write 2000
         > 2001:4001
         +100ms < 2001 sack 3001-4001
         +49ms
         +1ms
         > 2001:3001
         +100ms < 4001
         no-timer",
    );
}

/// RFC8985-7.2-a, RFC8985-7.3-a, RFC8985-7.3-b, RFC8985-6.3-a: as fr-4pkt-fack-last-byte: a part of a segment is no
/// segment; the probe is the last segment, after two round trips, and the timeout follows one RTO later.
#[test]
fn the_tail_is_probed_and_then_timed_out() {
    trace(
        SACK,
        "100ms",
        "write 4000
         > 1:4001
         +100ms < 1 sack 4000-4001
         +100ms
         > 3001:4001
         +300ms
         > 1:1001
         +500ms < 1001 sack 4000-4001
         > 1001:3001
         +100ms < 3001 sack 4000-4001
         > 3001:4001
         +100ms < 4001
         no-timer",
    );
    // The last of five is lost, and the probe repairs it: 2 * SRTT and the receiver's delay, but at most the RTO, SRTT + 200
    // ms.
    trace(SACK, "100ms", "write 5000\n> 1:5001\n+100ms < 4001\n+299ms\n+1ms\n> 4001:5001\n+100ms < 5001\nno-timer");
    // With one segment in flight the receiver may delay: never later than the RTO.
    trace(
        SACK,
        "100ms",
        "write 1000\n> 1:1001\n+299ms\n+1ms\n> 1:1001\n+299ms\n+1ms\n> 1:1001\n+100ms < 1001\nno-timer",
    );
}

/// RFC8985-7.3-a: the acknowledgment of a probe that sent something again is no sample (Karn), and without one there is no
/// second probe: what expires next is the timeout, and doubles.
#[test]
fn no_second_probe_without_a_sample() {
    trace(
        SACK,
        "100ms",
        "write 2000\n> 1:2001\n+100ms < 1001\n+299ms\n+1ms\n> 1001:2001\n+100ms < 2001\n\
         write 1000\n> 2001:3001\n+299ms\n+1ms\n> 2001:3001\n+599ms\n+1ms\n> 2001:3001\n+100ms < 3001\nno-timer",
    );
}

/// RFC8985-7.3-b: new data is the better probe, beyond the window if need be.
#[test]
fn the_probe_is_new_data_if_there_is_some() {
    trace(
        SACK,
        "100ms",
        "write 15000\n> 1:10001\n+200ms\n> 10001:11001\n+100ms < 11001\n> 11001:15001\n+100ms < 15001",
    );
}

/// RFC8985-7.4-a: a probe that repaired a loss was needed: the window is reduced once. With a DSACK it was not.
#[test]
fn a_loss_that_a_probe_repaired_is_congestion() {
    let open = "write 10000\n> 1:10001\n+100ms < 9001\n+300ms\n> 9001:10001\n";
    // 10 and the 9 acknowledged, and one for the probe: 20; CUBIC makes 14 of it.
    trace(
        SACK,
        "100ms",
        &format!("{open}+100ms < 10001\nwrite 1000\n> 10001:11001\n+100ms < 11001\nwrite 30000\n> 11001:25001"),
    );
}

/// RFC6675-5-b, RFC6675-5-c, RFC6937: as prr-ss-10pkt-lost-1.
#[test]
fn one_segment_goes_for_each_delivered_when_the_flight_is_at_ssthresh() {
    trace(
        SACK,
        "100ms",
        "write 10000
         > 1:10001
         +110ms < 1 sack 1001-2001
         +10ms < 1 sack 1001-3001
         +10ms < 1 sack 1001-4001
         > 1:1001
         +20ms write 7000
         +10ms < 1 sack 1001-5001
         > 10001:11001
         +10ms < 1 sack 1001-6001
         > 11001:12001
         +10ms < 1 sack 1001-7001
         > 12001:13001
         +10ms < 1 sack 1001-8001
         > 13001:14001
         +10ms < 1 sack 1001-9001
         > 14001:15001
         +10ms < 1 sack 1001-10001
         > 15001:16001
         +20ms < 10001
         > 16001:17001
         +40ms < 12001
         +20ms < 17001
         no-timer",
    );
}

/// RFC6675-5-d, RFC8985-9-a: as prr-ss-30pkt-lost-1_4-11_16: packet conservation, then slow start; the retransmission that is lost is found by
/// what was sent after it.
#[test]
fn proportional_rate_reduction_with_a_lost_retransmission() {
    trace(
        SACK,
        "10ms",
        "write 20000
         > 1:10001
         +10ms < 1 sack 4001-5001
         > 10001:11001
         +2ms < 1 sack 4001-6001
         > 11001:12001
         +2ms < 1 sack 4001-7001
         > 1:1001
         +2ms < 1 sack 4001-8001
         > 1001:2001
         +2ms < 1 sack 4001-9001
         > 2001:3001
         +2ms < 1 sack 4001-10001
         > 3001:4001
         +2ms < 1 sack 4001-11001
         > 12001:13001
         +2ms < 1 sack 4001-12001
         > 13001:14001
         +10ms < 1001 sack 4001-12001
         > 14001:16001
         +2ms < 1001 sack 2001-12001
         > 1001:2001
         > 16001:17001
         +2ms < 1001 sack 2001-13001
         > 17001:18001
         +2ms < 1001 sack 2001-14001
         > 18001:19001
         +10ms < 19001
         > 19001:20001
         +10ms < 20001
         no-timer",
    );
}

/// As prr-ss-30pkt-lost1_4: when recovery ends the window is ssthresh.
#[test]
fn recovery_ends_at_ssthresh() {
    trace(
        SACK,
        "10ms",
        "write 10000
         > 1:10001
         +10ms < 1 sack 4001-5001
         +2ms < 1 sack 4001-6001
         < 1 sack 4001-7001
         > 1:1001
         < 1 sack 4001-8001
         > 1001:2001
         < 1 sack 4001-9001
         > 2001:3001
         < 1 sack 4001-10001
         > 3001:4001
         +10ms < 1001 sack 4001-10001
         < 2001 sack 4001-10001
         < 3001 sack 4001-10001
         < 10001
         +10ms write 10000
         > 10001:17001
         +10ms < 17001
         > 17001:20001
         +10ms < 20001
         no-timer",
    );
}

/// As prr-ss-ack-below-snd_una-cubic: an acknowledgment that was overtaken still brings its blocks.
#[test]
fn an_old_acknowledgment_brings_its_blocks() {
    trace(
        SACK,
        "10ms",
        "write 10000
         > 1:10001
         +10ms < 1 sack 1001-2001
         < 1 sack 1001-3001
         < 1 sack 1001-3001,8001-9001
         > 1:1001
         +12ms < 4001 sack 8001-9001
         > 4001:7001
         write 10000
         +2ms < 3001 sack 5001-7001
         > 7001:8001
         > 10001:11001
         +1ms                     // a quarter of 10 ms behind the round trip that was seen last
         > 9001:10001
         +9ms < 11001
         > 11001:18001
         +10ms < 18001
         > 18001:20001
         +10ms < 20001
         no-timer",
    );
}

/// As sack-route-refresh-ip-tos: what is `SACKed` is not sent again.
#[test]
fn only_the_holes_are_sent_again() {
    trace(
        SACK,
        "10ms",
        "write 10000
         > 1:10001
         +10ms < 1001 sack 3001-4001,6001-10001
         > 1001:3001
         > 4001:6001
         +10ms < 10001
         no-timer",
    );
}

/// RFC2018-5-a, RFC2018-8-a, RFC6675-4-a: a peer that withdraws what it has reported gets it again.
#[test]
fn a_reneging_peer_is_survived() {
    trace(
        SACK,
        "100ms",
        "write 4000
         > 1:4001
         +100ms < 1 sack 1001-2001
         < 1 sack 1001-3001
         < 1 sack 1001-4001
         > 1:1001
         +100ms < 1001            // and no blocks: it has forgotten them
         +299ms
         +1ms
         > 1001:2001
         +100ms < 2001
         > 2001:4001
         +100ms < 4001
         no-timer",
    );
}

/// The same of a peer whose window ends before what is lost: what is wanted is within it, and was reported once. Linux as the peer
/// does so when an application leaves a small buffer full (`tcp_prune_ofo_queue`).
#[test]
fn a_peer_that_reneges_with_a_small_window_is_survived() {
    trace(
        SACK,
        "100ms",
        "write 6000
         > 1:6001
         +100ms < 1 sack 2001-4001
         +25ms
         > 1:1001                 // after a quarter of the round trip
         +300ms
         > 1:1001
         +100ms < 1001 wnd=1000 sack 2001-4001
         > 1001:2001
         +100ms < 2001 wnd=1000   // and no blocks: it has forgotten them
         +599ms                   // backed off once
         +1ms
         > 2001:3001
         +100ms < 3001 wnd=1000
         > 3001:4001
         +100ms < 4001 wnd=2000
         > 4001:6001
         +100ms < 6001
         no-timer",
    );
}

/// RFC5681-3.1-f, RFC6675-5.1-a: after a timeout one segment, then two; what is `SACKed` is left out; no second reduction.
#[test]
fn a_timeout_goes_on_with_slow_start_around_what_is_sacked() {
    trace(
        SACK,
        "100ms",
        "write 10000
         > 1:10001
         +100ms < 1 sack 6001-7001
         +25ms
         > 1:1001                 // after a quarter of the round trip; and nothing else arrives
         +300ms
         > 1:1001
         +100ms < 1001 sack 6001-7001
         > 1001:3001
         +100ms < 3001 sack 6001-7001
         > 3001:6001
         > 7001:8001
         +100ms < 8001
         > 8001:10001
         +100ms < 10001
         no-timer",
    );
}

/// RFC6298-5.5-a: the timeout doubles while nothing is heard, and only the first segment goes.
#[test]
fn timeouts_double() {
    // The third timeout would make the path suspect of a black hole.
    trace_with(
        |s| s.mtu_probing = false,
        "",
        "100ms",
        "write 3000\n> 1:3001\n+300ms\n> 1:1001\n+600ms\n> 1:1001\n+1200ms\n> 1:1001\n+100ms < 3001\nno-timer",
    );
}

/// RFC5681-3.1-e, RFC9438-4.8-a: ssthresh is half of the flight with `NewReno`, 0.7 of the window with CUBIC. (While there is
/// nothing new to send F-RTO does not look at the timeout.)
#[test]
fn slow_start_after_a_timeout_ends_at_ssthresh() {
    let lines = |ssthresh: u32| {
        let next = 7001 + ssthresh * 1000;
        format!(
            "write 10000\n> 1:10001\n+300ms\n> 1:1001\n+100ms < 1001\n> 1001:3001\nwrite 30000\n+100ms < 3001\n> 3001:7001\n\
             +100ms < 7001\n> 7001:{next}"
        )
    };
    trace_with(|s| s.congestion = Congestion::NewReno, "", "100ms", &lines(5));
    trace("", "100ms", &lines(7));
}

/// RFC 4821 section 4: a segment that tries a larger size and is the only one lost says something of the path's MTU, and nothing of
/// congestion: it goes again in usual segments, and the window of ten usual ones stays. With another lost beside it, it comes down.
#[test]
fn a_lost_segment_of_a_larger_size_is_no_congestion() {
    let out = |from: u32, len: u32| format!("out <SEQ={from}><ACK=1><DATA={len}><CTL=ACK>\n");
    let usual = |from: u32, n: u32| (0..n).map(|i| out(from + i * 1024, 1024)).collect::<String>();
    let hear = |words: &str| format!("wait 100ms\nin <SEQ=1>{words}<WND=60000><CTL=ACK>\n");
    let flight = script(1460, SACK, "100ms", "nodelay") + "path 1024 10s\nwait 10s\nsend 9652\n" + &out(1, 1460);
    let flight = flight + &usual(1461, 8);
    let alone = hear("<ACK=1><SACK=1461-4533>") + &out(1, 1024) + &out(1025, 436) + &hear("<ACK=9653>");
    case_with(|_| {}, &format!("{flight}{alone}send 10240\n{}", usual(9653, 10)));
    let beside = hear("<ACK=1><SACK=2485-5557>") + &out(1, 1024) + &out(1025, 436) + &out(1461, 1024);
    let reduced = 10240 * 7 / 10 / 1024;
    case_with(|_| {}, &format!("{flight}{beside}{}send 10240\n{}", hear("<ACK=9653>"), usual(9653, reduced)));
}

/// RFC3168-6.1.2-a is the connection's test; here garbage blocks: outside of the flight, empty, reversed, of half the number
/// space. None of them is believed (RFC 2018 section 4).
#[test]
fn garbage_blocks_change_nothing() {
    trace(
        SACK,
        "100ms",
        "write 4000
         > 1:4001
         +100ms < 1 sack 4001-5001,2001-2001,3001-2001,1-2147483648
         < 1 sack 1-4001,2001-100001
         < 1 sack 4000001-4001001,3000000000-3000001000
         +100ms
         > 3001:4001              // the probe: nothing was reported
         +50ms < 4001
         no-timer",
    );
}

/// As cubic-rack-reo-timeout-retrans-failed-incoming-data (Linux's `tcp_may_raise_cwnd`): seven segments of reordering, and the
/// window of 10 grows by all that is delivered since, in whatever order: 1 + 8.
#[test]
fn the_window_grows_on_a_path_that_reorders() {
    trace(
        SACK,
        "20ms",
        "write 10000
         > 1:10001
         +20ms < 1 sack 9001-10001
         < 1 sack 3001-4001
         < 10001
         write 30000
         > 10001:29001
         +20ms < 29001
         > 29001:40001",
    );
    // Three segments are no more than what three duplicates allow for: 10 + 8.
    trace(
        SACK,
        "20ms",
        "write 10000
         > 1:10001
         +20ms < 1 sack 3001-4001
         < 1 sack 1001-2001
         < 10001
         write 30000
         > 10001:28001
         +20ms < 28001
         > 28001:40001",
    );
}

/// RFC5681-4.1-a, and what an operator may choose instead, as slow-start-after-idle: 36 segments are open, and after two
/// seconds 10 of them or all.
#[test]
fn the_window_after_an_idle_time() {
    for (begins_anew, edge) in [(true, 36001), (false, 56001)] {
        trace_with(
            |s| s.slow_start_after_idle = begins_anew,
            SACK,
            "100ms",
            &format!(
                "write 26000
                 > 1:10001
                 +100ms < 10001
                 > 10001:26001
                 +100ms < 26001
                 +2000ms
                 write 30000
                 > 26001:{edge}"
            ),
        );
    }
}

/// Pacing: an initial window's worth leaves at once, then two segments each 5 ms, twice a window of 20 in a round trip of 100
/// ms. The first lost segment does not wait.
#[test]
fn what_is_paced_and_what_is_not() {
    trace_with(
        |s| s.pacing = true,
        SACK,
        "100ms",
        "write 40000
         > 1:10001
         +100ms < 10001
         > 10001:22001
         +4ms
         +1ms
         > 22001:24001
         +5ms
         > 24001:26001
         +1ms < 10001 sack 11001-14001
         > 10001:11001",
    );
}

/// RFC8985-6.2-b, RFC 8985 section 6.2, step 4: a DSACK shows that a retransmission was for nothing: from the next round trip on
/// half of the least round trip is waited for what is late, not a quarter.
#[test]
fn a_duplicate_report_makes_it_wait_longer() {
    trace(
        SACK,
        "100ms",
        "write 4000
         > 1:4001
         +100ms < 1 sack 3001-4001
         +24ms
         +1ms
         > 1:1001
         +5ms < 4001 sack 1-1001  // the first was late by 30 ms
         write 4000
         > 4001:8001
         +100ms < 4001 sack 7001-8001
         +49ms
         +1ms
         > 4001:5001
         +100ms < 8001
         no-timer",
    );
}

/// A minimum RTO of 1 ms (RFC 6298 section 2.4 with another minimum): on a path of 2 ms a lost flight is probed for after two
/// round trips, and a lost tail times out 1 ms above the round trip where nobody sends SACK; the timeout doubles.
#[test]
fn one_millisecond_is_a_timeout() {
    trace_with(
        |s| s.min_rto = Duration::from_millis(1),
        "",
        "2ms",
        // (2.2): SRTT 2, RTTVAR 1: 2 + 4. The sample that follows makes RTTVAR 3/4, and the next.
        "write 2000\n> 1:2001\n+5ms\n+1ms\n> 1:1001\n+11ms\n+1ms\n> 1:1001\n+2ms < 2001\nno-timer",
    );
    trace_with(
        |s| s.min_rto = Duration::from_millis(1),
        SACK,
        "2ms",
        "write 2000\n> 1:2001\n+3ms\n+1ms\n> 1001:2001\n+5ms\n+1ms\n> 1:1001\n+2ms < 2001\nno-timer",
    );
}

/// RFC 8985 section 6.3: at a timeout the first segment is lost, and what was sent longer ago than RACK.rtt and RACK.reo_wnd. That is
/// the round trip of what was delivered last, 100 ms, though nothing of this flight was; what was sent 30 ms before is not lost.
#[test]
fn what_was_sent_just_before_a_timeout_is_not_lost() {
    trace(
        SACK,
        "100ms",
        "write 1000
         > 1:1001
         +100ms < 1001
         write 1000
         > 1001:2001
         +300ms
         > 1001:2001             // the probe
         +270ms
         write 3000
         > 2001:5001
         +30ms
         > 1001:2001             // the timeout
         +10ms < 2001            // it was late
         +60ms < 5001
         no-timer",
    );
}

/// RFC8985-7.4-a: as by a fast recovery, half of the window of then, not of the one segment that is in flight when it shows.
#[test]
fn newreno_halves_for_a_repaired_loss() {
    trace_with(
        |s| s.congestion = Congestion::NewReno,
        SACK,
        "100ms",
        "write 10000
         > 1:10001
         +100ms < 10001
         write 20000
         > 10001:30001
         +100ms < 29001
         +300ms
         > 29001:30001
         +100ms < 30001
         write 1000
         > 30001:31001
         +100ms < 31001
         write 60000
         > 31001:51001", // 40 / 2
    );
}
