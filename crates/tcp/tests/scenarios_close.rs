//! Closing: message sequences of RFC 9293 (figures 12 and 13, sections 3.6 and 3.10.4 to 3.10.8), RFC 6191 and RFC 1337,
//! each replayed with both number spaces shifted over 2^31 and 2^32.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use wheel::Duration;

const TIME_WAIT: &str = "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         hears eof
         hears closed";

#[test]
fn s07_normal_close() {
    case(&format!("{TIME_WAIT}\nwait 59999ms\nstate TIME-WAIT\nwait 1ms\nstate CLOSED"));
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         shutdown
         out <SEQ=300><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED
         hears closed",
    );
}

#[test]
fn s08_simultaneous_close() {
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=100><CTL=FIN,ACK>            CLOSING
         out <SEQ=101><ACK=301><CTL=ACK>
         hears eof
         in  <SEQ=301><ACK=101><CTL=ACK>                TIME-WAIT
         hears closed
         wait 60s
         state CLOSED",
    );
}

#[test]
fn s20_a_retransmitted_fin_restarts_2msl() {
    case(&format!(
        "{TIME_WAIT}
         wait 59999ms
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         wait 59999ms
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         wait 60s
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            CLOSED
         out <SEQ=101><CTL=RST>"
    ));
}

#[test]
fn s21_other_old_segments_in_time_wait() {
    case(&format!(
        "{TIME_WAIT}
         wait 59999ms
         in  <SEQ=255><ACK=33><CTL=ACK>                 TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         in  <SEQ=301><ACK=101><CTL=ACK>                TIME-WAIT
         wait 1ms
         state CLOSED"
    ));
}

#[test]
fn s21_an_older_fin_restarts_nothing() {
    // A8: only the exact duplicate.
    case(&format!(
        "{TIME_WAIT}
         wait 59999ms
         in  <SEQ=255><ACK=33><CTL=FIN,ACK>             TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         wait 1ms
         state CLOSED"
    ));
}

#[test]
fn s22_time_wait_refuses_a_syn_that_may_be_old() {
    case(&format!(
        "{TIME_WAIT}
         listen 5000
         in  <SEQ=250><CTL=SYN>                         TIME-WAIT
         in  <SEQ=300><CTL=SYN>                         TIME-WAIT
         wait 60s
         state LISTEN"
    ));
}

#[test]
fn s23_time_wait_is_reopened_by_a_newer_syn() {
    case(&format!(
        "{TIME_WAIT}
         listen 5000
         in  <SEQ=1000><CTL=SYN>                        SYN-RECEIVED
         out <SEQ=5000><ACK=1001><CTL=SYN,ACK>
         in  <SEQ=1001><ACK=5001><CTL=ACK>              ESTABLISHED
         hears connected"
    ));
}

#[test]
fn s25f_time_wait_is_not_assassinated() {
    case(&format!(
        "{TIME_WAIT}
         in  <SEQ=255><ACK=33><CTL=ACK>
         out <SEQ=101><ACK=301><CTL=ACK>
         in  <SEQ=301><CTL=RST>                         TIME-WAIT
         wait 59999ms
         state TIME-WAIT
         wait 1ms
         state CLOSED"
    ));
}

#[test]
fn s28_half_close_keeps_receiving() {
    case(
        "established 100 300
         send 50
         out <SEQ=100><ACK=300><DATA=50><CTL=ACK>
         shutdown
         out <SEQ=150><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=150><CTL=ACK>                FIN-WAIT-1
         in  <SEQ=300><ACK=151><CTL=ACK>                FIN-WAIT-2
         send 1
         hears broken-pipe
         in  <SEQ=300><ACK=151><DATA=20><CTL=ACK>       FIN-WAIT-2
         out <SEQ=151><ACK=320><CTL=ACK>
         hears data 20
         no-timer
         wait 24h
         in  <SEQ=320><ACK=151><DATA=30><CTL=ACK>       FIN-WAIT-2
         out <SEQ=151><ACK=350><CTL=ACK>
         hears data 30
         in  <SEQ=350><ACK=151><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=151><ACK=351><CTL=ACK>
         hears eof
         hears closed",
    );
}

#[test]
fn s28_half_close_keeps_sending() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><DATA=50><CTL=ACK>
         out <SEQ=300><ACK=150><CTL=ACK>
         hears data 50
         in  <SEQ=150><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=151><CTL=ACK>
         hears eof
         send 20
         out <SEQ=300><ACK=151><DATA=20><CTL=ACK>       CLOSE-WAIT
         in  <SEQ=151><ACK=320><CTL=ACK>
         wait 1h
         send 30
         out <SEQ=320><ACK=151><DATA=30><CTL=ACK>
         in  <SEQ=151><ACK=350><CTL=ACK>
         shutdown
         out <SEQ=350><ACK=151><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=151><ACK=351><CTL=ACK>                CLOSED
         hears closed",
    );
}

#[test]
fn s29_a_fin_that_acknowledges_ours() {
    for (data, ack) in [("", 301), ("<DATA=5>", 306)] {
        let heard = if data.is_empty() { "" } else { "hears data 5" };
        case(&format!(
            "established 100 300
             shutdown
             out <SEQ=100><ACK=300><CTL=FIN,ACK>        FIN-WAIT-1
             in  <SEQ=300><ACK=101>{data}<CTL=FIN,ACK>  TIME-WAIT
             out <SEQ=101><ACK={ack}><CTL=ACK>
             {heard}
             hears eof
             hears closed"
        ));
    }
}

const UNREAD: &str = "established 100 300
         lazy
         in  <SEQ=300><ACK=100><DATA=100><CTL=ACK>
         out <SEQ=100><ACK=400><CTL=ACK>
         hears data 100";

#[test]
fn s30_close_with_unread_data_resets() {
    case(&format!("{UNREAD}\nclose\nout <SEQ=100><CTL=RST>\nstate CLOSED"));
    case(&format!("{UNREAD}\nread 100\nclose\nout <SEQ=100><ACK=400><CTL=FIN,ACK> FIN-WAIT-1"));
    case(&format!("{UNREAD}\nshutdown\nout <SEQ=100><ACK=400><CTL=FIN,ACK> FIN-WAIT-1\nread 100"));
}

#[test]
fn s30_the_peer_of_such_a_close() {
    case(
        "established 300 100
         send 100
         out <SEQ=300><ACK=100><DATA=100><CTL=ACK>
         in  <SEQ=100><ACK=400><CTL=ACK>
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset
         send 1
         hears not-connected",
    );
}

#[test]
fn s31_data_after_close_draws_rst() {
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         in  <SEQ=300><ACK=101><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=101><CTL=RST>",
    );
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=100><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=101><CTL=RST>",
    );
}

#[test]
fn s31_data_after_shutdown_of_reading_draws_rst() {
    case(
        "established 100 300
         shutdown-read
         in  <SEQ=300><ACK=100><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=100><CTL=RST>
         hears reset",
    );
    // Its FIN alone is no reason for that.
    case(
        "established 100 300
         shutdown-both
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         hears eof
         hears closed",
    );
}

#[test]
fn s31b_data_after_the_tcb_is_gone_draws_rst() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         shutdown
         out <SEQ=300><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED
         hears closed
         in  <SEQ=101><ACK=301><DATA=10><CTL=ACK>       CLOSED
         out <SEQ=301><CTL=RST>",
    );
}

#[test]
fn s32_a_fin_is_retransmitted() {
    // R is the floor of 200 ms: the handshake took no time.
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         timer 200ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         timer 400ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         timer 800ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         no-timer",
    );
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears nothing",
    );
}

#[test]
fn s33_last_ack_gives_up() {
    // R = 200 ms doubles up to 120 s: 0.2 * (2^k - 1) seconds after the k-th expiry; the first at or after R2 ends it.
    for (verb, seconds, resent) in [("shutdown", 900, 15), ("close", 100, 8)] {
        let fin = "out <SEQ=300><ACK=101><CTL=FIN,ACK>\n";
        let heard = if verb == "shutdown" { "hears timed-out" } else { "" };
        case(&format!(
            "established 300 100
             in  <SEQ=100><ACK=300><CTL=FIN,ACK>
             out <SEQ=300><ACK=101><CTL=ACK>
             hears eof
             {verb}
             {fin}
             state LAST-ACK
             wait {seconds}s
             {}
             state LAST-ACK
             wait 130s
             state CLOSED
             {heard}
             in  <SEQ=101><ACK=301><CTL=ACK>            CLOSED
             out <SEQ=301><CTL=RST>",
            fin.repeat(resent)
        ));
    }
}

#[test]
fn s34_an_orphan_in_fin_wait_2_is_given_up() {
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         timer 60s
         state CLOSED
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            CLOSED
         out <SEQ=101><CTL=RST>",
    );
    // Its peer closes in time: TIME-WAIT, and the timer is gone.
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         wait 30s
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         wait 59999ms
         state TIME-WAIT",
    );
    // shutdown first, close later: an orphan from then on.
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         wait 24h
         close
         timer 60s
         state CLOSED",
    );
}

#[test]
fn s35_close_wait_never_times_out() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         no-timer
         wait 24h
         state CLOSE-WAIT
         send 20
         out <SEQ=300><ACK=101><DATA=20><CTL=ACK>
         in  <SEQ=101><ACK=320><CTL=ACK>
         in  <SEQ=100><ACK=320><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=320><ACK=101><CTL=ACK>
         hears nothing
         shutdown
         out <SEQ=320><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><ACK=321><CTL=ACK>                CLOSED
         hears closed",
    );
}

#[test]
fn s37_abort_with_data_in_flight() {
    case(
        "established 100 300
         send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         abort
         out <SEQ=110><CTL=RST>
         state CLOSED
         in  <SEQ=300><ACK=100><CTL=ACK>
         out <SEQ=100><CTL=RST>",
    );
    case(
        "established 300 100
         in  <SEQ=110><CTL=RST>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset",
    );
}

#[test]
fn s37_abort_in_every_state() {
    let fin = "out <SEQ=100><ACK=300><CTL=FIN,ACK>";
    let eof = "in <SEQ=300><ACK=100><CTL=FIN,ACK>";
    let told = [
        ("established 100 300".to_string(), 100),
        (format!("established 100 300\nshutdown\n{fin}"), 101),
        (format!("established 100 300\nshutdown\n{fin}\nin <SEQ=300><ACK=101><CTL=ACK>"), 101),
        (format!("established 100 300\n{eof}\nout <SEQ=100><ACK=301><CTL=ACK>\nhears eof"), 100),
        ("listen 99\nin <SEQ=299><CTL=SYN>\nout <SEQ=99><ACK=300><CTL=SYN,ACK>\nunlisten".to_string(), 100),
    ];
    for (way, snd_nxt) in told {
        case(&format!("{way}\nabort\nout <SEQ={snd_nxt}><CTL=RST>\nstate CLOSED"));
    }
    let silent = [
        "connect 99\nout <SEQ=99><CTL=SYN>".to_string(),
        format!("established 100 300\nshutdown\n{fin}\n{eof}\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof"),
        format!(
            "established 100 300\n{eof}\nout <SEQ=100><ACK=301><CTL=ACK>\nhears eof\nshutdown\n\
             out <SEQ=100><ACK=301><CTL=FIN,ACK>"
        ),
    ];
    for way in silent {
        case(&format!("{way}\nabort\nstate CLOSED"));
    }
}

#[test]
fn close_before_established() {
    // 3.10.4: in SYN-SENT the TCB is deleted; a late SYN-ACK draws a reset.
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         close
         state CLOSED
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            CLOSED
         out <SEQ=101><CTL=RST>",
    );
    // In SYN-RECEIVED the FIN follows once ESTABLISHED is reached.
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>
         shutdown
         in  <SEQ=301><ACK=101><CTL=ACK>                FIN-WAIT-1
         out <SEQ=101><ACK=301><CTL=FIN,ACK>
         hears connected
         in  <SEQ=301><ACK=102><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=102><ACK=302><CTL=ACK>
         hears eof
         hears closed",
    );
}

#[test]
fn a_second_close_sends_no_second_fin() {
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         shutdown
         close
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         close
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>",
    );
}

#[test]
fn a_fin_rides_on_the_last_data() {
    // Nagle keeps the second write back; the close makes it the last.
    case(
        "established 100 300
         send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         send 20
         shutdown
         out <SEQ=110><ACK=300><DATA=20><CTL=FIN,ACK>   FIN-WAIT-1
         timer 200ms
         out <SEQ=100><ACK=300><DATA=30><CTL=FIN,ACK>
         in  <SEQ=300><ACK=131><CTL=ACK>                FIN-WAIT-2",
    );
}

#[test]
fn a_fin_out_of_order_is_remembered() {
    case(
        "established 300 100
         in  <SEQ=110><ACK=300><DATA=5><CTL=FIN,ACK>    ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         hears nothing
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>       CLOSE-WAIT
         out <SEQ=300><ACK=116><CTL=ACK>
         hears readable
         hears eof
         unread 15
         read 15",
    );
    // A bare FIN out of order draws its duplicate ACK at once, as any segment out of order (RFC 5681 section 4.2).
    case_with(
        |s| s.delayed_ack = Duration::from_millis(40),
        "established 300 100
         in  <SEQ=110><ACK=300><CTL=FIN,ACK>            ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>       CLOSE-WAIT
         out <SEQ=300><ACK=111><CTL=ACK>
         hears data 10
         hears eof",
    );
}

#[test]
fn data_beyond_the_fin_is_ignored() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><DATA=10><CTL=FIN,ACK>   CLOSE-WAIT
         out <SEQ=300><ACK=111><CTL=ACK>
         hears data 10
         hears eof
         in  <SEQ=111><ACK=300><DATA=10><CTL=ACK>       CLOSE-WAIT
         hears nothing
         unread 0
         send 1
         out <SEQ=300><ACK=111><DATA=1><CTL=ACK>",
    );
}

#[test]
fn all_that_arrived_is_read_before_the_reset() {
    case(
        "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=30><CTL=ACK>
         out <SEQ=300><ACK=130><CTL=ACK>
         hears data 30
         in  <SEQ=130><CTL=RST>                         CLOSED
         hears reset
         read 30",
    );
}

#[test]
fn our_fin_lost_and_theirs_arrives() {
    // CLOSING retransmits the FIN too; LAST-ACK is S33.
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         in  <SEQ=300><ACK=100><CTL=FIN,ACK>            CLOSING
         out <SEQ=101><ACK=301><CTL=ACK>
         hears eof
         timer 200ms
         out <SEQ=100><ACK=301><CTL=FIN,ACK>            CLOSING
         in  <SEQ=300><ACK=100><CTL=FIN,ACK>            CLOSING
         out <SEQ=101><ACK=301><CTL=ACK>
         in  <SEQ=301><ACK=101><CTL=ACK>                TIME-WAIT
         hears closed",
    );
}
