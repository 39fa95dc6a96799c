//! Closing: RFC 9293 sections 3.6 and 3.10.4 to 3.10.8, figures 12 and 13.

use crate::dsl::case;

/// S07: MUST-12, MUST-13, RFC9293-3.8-a, RFC9293-3.10.7.4-j, RFC9293-3.10.7.4-l. Figure 12; the DUT is A, then B.
#[test]
fn s07_normal_close() {
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         hears nothing
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         hears eof
         hears closed
         timer 60s
         state CLOSED
         no-timer",
    );
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears eof
         shutdown
         out <SEQ=300><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED
         hears closed",
    );
}

/// S08: MUST-13, RFC9293-3.10.7.4-j. Figure 13, which is the same for both sides but for the order of the FINs.
#[test]
fn s08_simultaneous_close() {
    for (snd, rcv) in [(100, 300), (300, 100)] {
        let (fin, eof) = (snd + 1, rcv + 1);
        case(&format!(
            "established {snd} {rcv}
             shutdown
             out <SEQ={snd}><ACK={rcv}><CTL=FIN,ACK>    FIN-WAIT-1
             in  <SEQ={rcv}><ACK={snd}><CTL=FIN,ACK>    CLOSING
             out <SEQ={fin}><ACK={eof}><CTL=ACK>        CLOSING
             hears eof
             in  <SEQ={eof}><ACK={fin}><CTL=ACK>        TIME-WAIT
             hears closed
             timer 60s
             state CLOSED"
        ));
    }
}

/// S28: MUST-25, RFC9293-3.6-a, RFC9293-3.10.2-a, A9. The DUT is A: FIN-WAIT-2 has no end while the application has its
/// handle.
#[test]
fn s28_half_close_keeps_receiving() {
    case(
        "established 100 300
         send 50
         out <SEQ=100><ACK=300><DATA=50><CTL=ACK>       ESTABLISHED
         shutdown
         out <SEQ=150><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=150><CTL=ACK>                FIN-WAIT-1
         in  <SEQ=300><ACK=151><CTL=ACK>                FIN-WAIT-2
         send 1
         hears broken-pipe
         in  <SEQ=300><ACK=151><DATA=20><CTL=ACK>       FIN-WAIT-2
         out <SEQ=151><ACK=320><CTL=ACK>                FIN-WAIT-2
         hears data 20
         no-timer
         wait 1h
         in  <SEQ=320><ACK=151><DATA=30><CTL=ACK>       FIN-WAIT-2
         out <SEQ=151><ACK=350><CTL=ACK>                FIN-WAIT-2
         hears data 30
         wait 24h
         state FIN-WAIT-2
         in  <SEQ=350><ACK=151><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=151><ACK=351><CTL=ACK>                TIME-WAIT
         hears eof
         hears closed",
    );
}

/// S28: RFC9293-3.6-a, RFC9293-3.10.2-a. The DUT is B.
#[test]
fn s28_half_close_keeps_sending() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><DATA=50><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=150><CTL=ACK>
         hears data 50
         in  <SEQ=150><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=151><CTL=ACK>                CLOSE-WAIT
         hears eof
         send 20
         out <SEQ=300><ACK=151><DATA=20><CTL=ACK>       CLOSE-WAIT
         in  <SEQ=151><ACK=320><CTL=ACK>                CLOSE-WAIT
         wait 1h
         send 30
         out <SEQ=320><ACK=151><DATA=30><CTL=ACK>       CLOSE-WAIT
         in  <SEQ=151><ACK=350><CTL=ACK>                CLOSE-WAIT
         shutdown
         out <SEQ=350><ACK=151><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=151><ACK=351><CTL=ACK>                CLOSED
         hears closed",
    );
}

/// S29: RFC9293-3.10.7.4-j. Figure 5, note 2: from FIN-WAIT-1 to TIME-WAIT; also with data before the FIN.
#[test]
fn s29_a_fin_that_acknowledges_ours() {
    for (data, ack, heard) in [("", 301, ""), ("<DATA=5>", 306, "hears data 5")] {
        case(&format!(
            "established 100 300
             shutdown
             out <SEQ=100><ACK=300><CTL=FIN,ACK>        FIN-WAIT-1
             in  <SEQ=300><ACK=101>{data}<CTL=FIN,ACK>  TIME-WAIT
             out <SEQ=101><ACK={ack}><CTL=ACK>          TIME-WAIT
             {heard}
             hears eof
             hears closed"
        ));
    }
}

/// S28, RFC9293-3.10.3-a, A15: what has arrived is read first, then the connection has its end; its TIME-WAIT, or its
/// being CLOSED, does not wait for that.
#[test]
fn s28_unread_data_outlives_the_connection() {
    let unread = "established 100 300
         lazy
         in  <SEQ=300><ACK=100><DATA=50><CTL=ACK>       ESTABLISHED
         out <SEQ=100><ACK=350><CTL=ACK>
         hears data 50";
    let end = "hears nothing\nread 20\nwait 1ms\nhears nothing\nread 30\nwait 1ms\nhears closed";
    case(&format!(
        "{unread}
         shutdown
         out <SEQ=100><ACK=350><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=350><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=351><CTL=ACK>                TIME-WAIT
         hears eof
         {end}
         state TIME-WAIT"
    ));
    case(&format!(
        "{unread}
         in  <SEQ=350><ACK=100><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=100><ACK=351><CTL=ACK>
         hears eof
         shutdown
         out <SEQ=100><ACK=351><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=351><ACK=101><CTL=ACK>                CLOSED
         {end}
         state CLOSED"
    ));
}

const UNREAD: &str = "established 100 300
         lazy
         in  <SEQ=300><ACK=100><DATA=100><CTL=ACK>      ESTABLISHED
         out <SEQ=100><ACK=400><CTL=ACK>                ESTABLISHED
         hears data 100";

/// S30: SHLD-3, MAY-1, MUST-12, A12. The DUT is A; then the control runs, and B.
#[test]
fn s30_close_with_unread_data_sends_rst() {
    case(&format!("{UNREAD}\nclose\nout <SEQ=100><ACK=400><CTL=RST,ACK> CLOSED\nhears nothing"));
    case(&format!("{UNREAD}\nread 100\nclose\nout <SEQ=100><ACK=400><CTL=FIN,ACK> FIN-WAIT-1"));
    case(&format!("{UNREAD}\nshutdown\nout <SEQ=100><ACK=400><CTL=FIN,ACK> FIN-WAIT-1\nread 100"));
    // Behind our FIN it is a reset still; with nothing left to reset, none.
    let shutdown = format!("{UNREAD}\nshutdown\nout <SEQ=100><ACK=400><CTL=FIN,ACK> FIN-WAIT-1");
    case(&format!("{shutdown}\nclose\nout <SEQ=101><ACK=400><CTL=RST,ACK> CLOSED"));
    case(&format!(
        "{shutdown}
         in  <SEQ=400><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=401><CTL=ACK>                TIME-WAIT
         hears eof
         close
         state TIME-WAIT
         hears nothing"
    ));
    case(
        "established 300 100
         send 100
         out <SEQ=300><ACK=100><DATA=100><CTL=ACK>      ESTABLISHED
         in  <SEQ=100><ACK=400><CTL=ACK>                ESTABLISHED
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset
         send 1
         hears not-connected",
    );
}

/// S31: SHLD-3, MAY-1. In FIN-WAIT-2, in FIN-WAIT-1, and the peer.
#[test]
fn s31_data_after_a_full_close_draws_rst() {
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         in  <SEQ=300><ACK=101><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=101><CTL=RST>                         CLOSED
         hears nothing",
    );
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=100><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=101><CTL=RST>                         CLOSED   # our FIN comes before it",
    );
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         timer 200ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=100><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=100><CTL=RST>                         CLOSED   # our FIN does not arrive",
    );
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         send 20
         out <SEQ=300><ACK=101><DATA=20><CTL=ACK>       CLOSE-WAIT
         in  <SEQ=101><CTL=RST>                         CLOSED
         hears reset
         send 1
         hears not-connected",
    );
}

/// S31: shutdown of reading alone, the other way to leave nobody who reads. A FIN is no data.
#[test]
fn s31_data_after_shutdown_of_reading_draws_rst() {
    case(
        "established 100 300
         shutdown-read
         in  <SEQ=300><ACK=100><DATA=20><CTL=ACK>       CLOSED
         out <SEQ=100><CTL=RST>                         CLOSED
         hears reset",
    );
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

/// S31b: RFC9293-3.5.2-a.
#[test]
fn s31b_data_after_the_tcb_is_gone_draws_rst() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears eof
         shutdown
         out <SEQ=300><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED
         hears closed
         in  <SEQ=101><ACK=301><DATA=10><CTL=ACK>       CLOSED
         out <SEQ=301><CTL=RST>                         CLOSED",
    );
}

/// S32: RFC9293-3.6-b, RFC9293-3.10.8-b, RFC6298-5.5-a. The DUT is A, then B. R is the floor of 200 ms: the handshake
/// took no time.
#[test]
fn s32_a_fin_is_retransmitted() {
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         timer 200ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         timer 400ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         timer 800ms
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         no-timer",
    );
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT   # lost
         hears eof
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears nothing",
    );
}

/// S33: MUST-20, SHLD-11, RFC9293-3.6-b, RFC9293-3.9.1.1-b, RFC9293-3.10.8-a, RFC6298-5.5-a. R = 200 ms doubles up to
/// 120 s: 0.2 * (2^k - 1) seconds after the k-th expiry; the first at or after R2 (15 minutes, of an orphan 100 s) ends it.
#[test]
fn s33_last_ack_gives_up() {
    let fin = "out <SEQ=300><ACK=101><CTL=FIN,ACK> LAST-ACK\n";
    for (verb, seconds, resent, heard) in [("shutdown", 899, 15, "hears timed-out"), ("close", 99, 8, "")] {
        case(&format!(
            "established 300 100
             in  <SEQ=100><ACK=300><CTL=FIN,ACK>        CLOSE-WAIT
             out <SEQ=300><ACK=101><CTL=ACK>
             hears eof
             {verb}
             {fin}
             timer 200ms
             {fin}
             timer 400ms
             {fin}
             wait {seconds}s
             {}
             state LAST-ACK
             hears nothing
             wait 130s
             state CLOSED
             {heard}
             in  <SEQ=101><ACK=301><CTL=ACK>            CLOSED       # the peer returns late
             out <SEQ=301><CTL=RST>                     CLOSED",
            fin.repeat(resent - 2)
        ));
    }
}

/// S33: MUST-21, RFC9293-3.10.8-a. The same by the connection's own user timeout: to the point, and without a segment.
#[test]
fn s33_last_ack_ends_by_the_user_timeout() {
    let fin = "out <SEQ=300><ACK=101><CTL=FIN,ACK> LAST-ACK\n";
    case(&format!(
        "established 300 100
         user-timeout 1s
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         shutdown
         {fin}
         timer 200ms
         {fin}
         timer 400ms
         {fin}
         timer 400ms
         state CLOSED
         hears timed-out
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED
         out <SEQ=301><CTL=RST>                         CLOSED"
    ));
}

/// S33: RFC9293-3.6-b. A window of zero does not shorten it: the FIN is the probe of that window, first after R.
#[test]
fn s33_last_ack_of_a_peer_without_a_window() {
    let fin = "out <SEQ=300><ACK=101><CTL=FIN,ACK> LAST-ACK\n";
    case(&format!(
        "established 300 100
         in  <SEQ=100><ACK=300><WND=0><CTL=FIN,ACK>     CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         shutdown
         state LAST-ACK
         wait 899s
         {}
         state LAST-ACK
         hears nothing
         wait 130s
         state CLOSED
         hears timed-out",
        fin.repeat(15)
    ));
}

/// S34: RFC9293-3.6-a, A9: 60 s, and for orphans alone.
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
         out <SEQ=101><CTL=RST>                         CLOSED",
    );
    // Its peer closes in time: TIME-WAIT, all of it.
    case(
        "established 100 300
         close
         out <SEQ=100><ACK=300><CTL=FIN,ACK>
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         wait 30s
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>
         timer 60s
         state CLOSED",
    );
}

/// S34: RFC9293-3.6-a. The negative run: with shutdown instead of close the state survives 24 h, and until it is closed.
#[test]
fn s34_with_a_handle_fin_wait_2_stays() {
    case(
        "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         no-timer
         wait 24h
         state FIN-WAIT-2
         hears nothing
         close
         timer 60s
         state CLOSED",
    );
}

/// S35: RFC9293-3.10.3-a, RFC9293-3.10.7.4-l, MUST-25, A9. Only the application ends CLOSE-WAIT.
#[test]
fn s35_close_wait_never_times_out() {
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears eof
         no-timer
         age 0s
         wait 24h
         state CLOSE-WAIT
         age 24h
         send 20
         out <SEQ=300><ACK=101><DATA=20><CTL=ACK>       CLOSE-WAIT
         in  <SEQ=101><ACK=320><CTL=ACK>                CLOSE-WAIT
         in  <SEQ=100><ACK=320><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=320><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears nothing
         age 24h
         shutdown
         out <SEQ=320><ACK=101><CTL=FIN,ACK>            LAST-ACK
         age 0s
         in  <SEQ=101><ACK=321><CTL=ACK>                CLOSED
         hears closed",
    );
    // The peer is gone: an error.
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears eof
         wait 24h
         in  <SEQ=101><CTL=RST>                         CLOSED
         hears reset",
    );
    let probe = "out <SEQ=299><ACK=101><CTL=ACK> CLOSE-WAIT\n";
    case(&format!(
        "established 300 100
         keepalive 60s 10s 3
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>                CLOSE-WAIT
         hears eof
         timer 60s
         {probe}
         timer 10s
         {probe}
         timer 10s
         {probe}
         hears nothing
         timer 10s
         out <SEQ=300><ACK=101><CTL=RST,ACK>            CLOSED
         hears timed-out"
    ));
}
