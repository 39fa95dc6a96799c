//! Closing, beyond the scenarios (which are the stack's tests, over whole frames): RFC 9293 sections 3.6 and 3.10.4 to
//! 3.10.8, with both number spaces shifted over 2^31 and 2^32.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use wheel::Duration;

/// RFC9293-3.10.4-a, RFC9293-3.10.4-b.
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

/// RFC9293-3.10.4-c.
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

/// RFC9293-3.6-a, RFC9293-3.10.8-b.
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

/// SHLD-31, RFC9293-3.10.3-a, RFC9293-3.10.7.4-l, RFC5681-4.2-b, A22.
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

/// RFC9293-3.10.7.4-k, A22.
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

/// RFC9293-3.10.8-b, RFC6298-5.5-a.
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

/// S37: an ABORT in SYN-RECEIVED after a passive open; over frames no application has the handle by then.
#[test]
fn s37_abort_in_syn_received() {
    // After a simultaneous open: a passive one has no handle before its handshake is complete.
    case(
        "connect 99
         out <SEQ=99><CTL=SYN>
         in  <SEQ=299><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=99><ACK=300><CTL=SYN,ACK>
         abort
         out <SEQ=100><CTL=RST>
         state CLOSED",
    );
}
