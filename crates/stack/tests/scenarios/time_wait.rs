//! TIME-WAIT: RFC 9293 sections 3.6.1 and 3.10.7.4, RFC 6191, RFC 1337.

use crate::dsl::case;

/// TIME-WAIT with SND.NXT=101 and RCV.NXT=301.
const TIME_WAIT: &str = "established 100 300
         shutdown
         out <SEQ=100><ACK=300><CTL=FIN,ACK>            FIN-WAIT-1
         in  <SEQ=300><ACK=101><CTL=ACK>                FIN-WAIT-2
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         hears eof
         hears closed";

/// S20: MUST-13, RFC9293-3.10.7.4-m, A8.
#[test]
fn s20_a_retransmitted_fin_restarts_2msl() {
    case(&format!(
        "{TIME_WAIT}
         wait 59999ms
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         wait 59999ms
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         timer 60s
         state CLOSED
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            CLOSED
         out <SEQ=101><CTL=RST>                         CLOSED"
    ));
}

/// S21: RFC9293-3.5.2-c. An old duplicate, a FIN among them (A8), restarts nothing.
#[test]
fn s21_other_old_segments_in_time_wait() {
    for flags in ["ACK", "FIN,ACK"] {
        case(&format!(
            "{TIME_WAIT}
             wait 59999ms
             in  <SEQ=255><ACK=33><CTL={flags}>         TIME-WAIT
             out <SEQ=101><ACK=301><CTL=ACK>            TIME-WAIT
             in  <SEQ=301><ACK=101><CTL=ACK>            TIME-WAIT    # in order, nothing new: no reply
             timer 1ms
             state CLOSED"
        ));
    }
}

/// S22: RFC6191-2-b, RFC6191-2-d, MAY-2, A7.
#[test]
fn s22_time_wait_refuses_a_syn_that_may_be_old() {
    case(&format!(
        "{TIME_WAIT}
         listen 5000
         in  <SEQ=250><CTL=SYN>                         TIME-WAIT
         in  <SEQ=300><CTL=SYN>                         TIME-WAIT
         hears nothing
         wait 60s
         state LISTEN"
    ));
    // With nobody listening not even a newer one is taken (A7).
    case(&format!("{TIME_WAIT}\nin <SEQ=1000><CTL=SYN> TIME-WAIT\ntimer 60s\nstate CLOSED"));
}

/// S23: MAY-2, RFC6191-2-b.
#[test]
fn s23_time_wait_is_reopened_by_a_newer_syn() {
    for seq in [301, 1000] {
        let next = seq + 1;
        case(&format!(
            "{TIME_WAIT}
             listen 5000
             in  <SEQ={seq}><CTL=SYN>                   SYN-RECEIVED
             out <SEQ=5000><ACK={next}><CTL=SYN,ACK>    SYN-RECEIVED
             in  <SEQ={next}><ACK=5001><CTL=ACK>        ESTABLISHED
             hears connected
             in  <SEQ={next}><CTL=RST>                  LISTEN       # the old incarnation does not return
             hears reset"
        ));
    }
}

/// S23d: MAY-2, its second clause.
#[test]
fn s23d_the_reopening_syn_was_an_old_duplicate() {
    case(&format!(
        "{TIME_WAIT}
         listen 5000
         in  <SEQ=1000><CTL=SYN>                        SYN-RECEIVED
         out <SEQ=5000><ACK=1001><CTL=SYN,ACK>          SYN-RECEIVED
         in  <SEQ=1001><CTL=RST>                        TIME-WAIT
         hears nothing
         in  <SEQ=300><ACK=101><CTL=FIN,ACK>            TIME-WAIT    # it answers as before
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         timer 60s
         state LISTEN"
    ));
}

/// A connection with timestamps in TIME-WAIT: SND.NXT=101, RCV.NXT=301, TSval=900 the latest.
const STAMPED: &str = "established 100 300 <TSval=890>
         shutdown
         out <SEQ=100><ACK=300><TSecr=890><CTL=FIN,ACK> FIN-WAIT-1
         in  <SEQ=300><ACK=101><TSval=900><CTL=ACK>     FIN-WAIT-2
         in  <SEQ=300><ACK=101><TSval=900><CTL=FIN,ACK> TIME-WAIT
         out <SEQ=101><ACK=301><TSecr=900><CTL=ACK>     TIME-WAIT
         hears eof
         hears closed
         listen 5000";

/// S24: SHLD-4, RFC6191-2-a, RFC6191-2-b, RFC6191-2-c, RFC6191-2-d.
#[test]
fn s24_time_wait_is_reopened_by_a_newer_timestamp() {
    case(&format!(
        "{STAMPED}
         in  <SEQ=250><TSval=899><CTL=SYN>              TIME-WAIT    # older
         in  <SEQ=1000><TSval=899><CTL=SYN>             TIME-WAIT    # older, though its sequence number is new
         in  <SEQ=250><TSval=900><CTL=SYN>              TIME-WAIT    # equal, and the sequence number is old
         hears nothing
         in  <SEQ=250><TSval=901><CTL=SYN>              SYN-RECEIVED
         out <SEQ=5000><ACK=251><TSecr=901><CTL=SYN,ACK> SYN-RECEIVED
         in  <SEQ=251><ACK=5001><TSval=901><CTL=ACK>    ESTABLISHED
         hears connected"
    ));
    case(&format!(
        "{STAMPED}
         in  <SEQ=301><TSval=900><CTL=SYN>              SYN-RECEIVED # equal, and the sequence number is new
         out <SEQ=5000><ACK=302><TSecr=900><CTL=SYN,ACK> SYN-RECEIVED"
    ));
    // The old incarnation had none: one with timestamps is new, whatever its sequence number.
    case(&format!(
        "{TIME_WAIT}
         listen 5000
         in  <SEQ=250><TSval=1><CTL=SYN>                SYN-RECEIVED
         out <SEQ=5000><ACK=251><TSecr=1><CTL=SYN,ACK>  SYN-RECEIVED"
    ));
}

/// S25: RFC1337-3-a. The scenario's last step, the premature end of TIME-WAIT, does not happen: fix F1 is always on. B:
/// its closing is S07's.
#[test]
fn s25_time_wait_assassination() {
    case(&format!(
        "{TIME_WAIT}
         in  <SEQ=255><ACK=33><CTL=ACK>                 TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         in  <SEQ=301><CTL=RST>                         TIME-WAIT"
    ));
    case(
        "established 300 100
         in  <SEQ=100><ACK=300><CTL=FIN,ACK>            CLOSE-WAIT
         out <SEQ=300><ACK=101><CTL=ACK>
         hears eof
         shutdown
         out <SEQ=300><ACK=101><CTL=FIN,ACK>            LAST-ACK
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED
         hears closed
         in  <SEQ=101><ACK=301><CTL=ACK>                CLOSED       # A's answer to the old duplicate
         out <SEQ=301><CTL=RST>                         CLOSED",
    );
}

/// S25f, P1: RFC1337-3-a. A reset is ignored wherever it lies, and TIME-WAIT runs to its end.
#[test]
fn s25f_time_wait_is_not_assassinated() {
    case(&format!(
        "{TIME_WAIT}
         in  <SEQ=255><ACK=33><CTL=ACK>                 TIME-WAIT
         out <SEQ=101><ACK=301><CTL=ACK>                TIME-WAIT
         in  <SEQ=301><CTL=RST>                         TIME-WAIT
         in  <SEQ=302><CTL=RST>                         TIME-WAIT
         in  <SEQ=300><CTL=RST>                         TIME-WAIT
         timer 60s
         state CLOSED"
    ));
}
