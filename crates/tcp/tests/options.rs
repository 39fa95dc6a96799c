//! Timestamps and PAWS (RFC 7323), selective acknowledgments by the receiver (RFC 2018, RFC 2883).
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};

/// SND.NXT 100, RCV.NXT 300, opened by the peer at time 0; its TSval was 1000.
const STAMPED: &str = "listen 99
         in  <SEQ=299><CTL=SYN><MSS=1460><TSval=1000><TSecr=0>
         out <SEQ=99><ACK=300><CTL=SYN,ACK><TSval=0><TSecr=1000>
         in  <SEQ=300><ACK=100><CTL=ACK><TSval=1001><TSecr=0>     ESTABLISHED
         hears connected
         unlisten";

/// The same with SACK.
const SACKED: &str = "listen 99
         in  <SEQ=299><CTL=SYN><MSS=1460><SACK-OK=1>
         out <SEQ=99><ACK=300><CTL=SYN,ACK><SACK-OK=1>
         in  <SEQ=300><ACK=100><CTL=ACK>                          ESTABLISHED
         hears connected
         unlisten";

/// RFC7323-2.2-b, RFC7323-3.2-a: our SYN offers; a SYN-ACK only answers.
#[test]
fn a_syn_offers_everything_and_a_syn_ack_what_was_offered() {
    case(
        "connect 99
         out <SEQ=99><CTL=SYN><MSS=1460><WS=0><SACK-OK=1><TSval=0><TSecr=0>
         wait 5ms
         in  <SEQ=299><ACK=100><CTL=SYN,ACK><TSval=7><TSecr=0>    ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK><TSval=5><TSecr=7>
         hears connected",
    );
    // Without timestamps in the SYN there are none in any segment.
    case(
        "listen 99
         in  <SEQ=299><CTL=SYN>
         out <SEQ=99><ACK=300><CTL=SYN,ACK>
         in  <SEQ=300><ACK=100><CTL=ACK>                          ESTABLISHED
         hears connected
         send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>",
    );
}

/// RFC7323-3.2-b: every segment carries the option, and data is shorter for it (MUST-16).
#[test]
fn every_segment_carries_the_option() {
    case(&format!(
        "{STAMPED}
         send 1460
         out <SEQ=100><ACK=300><DATA=1448><CTL=ACK><TSval=0><TSecr=1001>
         out <SEQ=1548><ACK=300><DATA=12><CTL=ACK><TSval=0><TSecr=1001>
         in  <SEQ=300><ACK=1560><CTL=ACK><TSval=1003><TSecr=0>
         wait 3ms
         shutdown
         out <SEQ=1560><ACK=300><CTL=FIN,ACK><TSval=3><TSecr=1003> FIN-WAIT-1"
    ));
}

/// RFC7323-5.3-a: an old timestamp makes a segment unacceptable whatever its sequence number; the answer is an ACK.
#[test]
fn an_old_timestamp_is_answered_and_dropped() {
    case(&format!(
        "{STAMPED}
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK><TSval=1000><TSecr=0>
         out <SEQ=100><ACK=300><CTL=ACK><TSval=0><TSecr=1001>
         in  <SEQ=300><ACK=100><CTL=FIN,ACK><TSval=900><TSecr=0>  ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK><TSval=0><TSecr=1001>
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK><TSval=1001><TSecr=0>
         out <SEQ=100><ACK=310><CTL=ACK><TSval=0><TSecr=1001>
         hears data 10"
    ));
}

/// RFC7323-4.3-a: a segment whose acknowledgment is not plausible, or missing, does not set TS.Recent: what comes after it would
/// be taken for old.
#[test]
fn a_forged_timestamp_is_not_remembered() {
    case(&format!(
        "{STAMPED}
         in  <SEQ=300><ACK=9999><CTL=FIN,ACK><TSval=200000><TSecr=0> ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK><TSval=0><TSecr=1001>
         in  <SEQ=300><DATA=10><CTL=><TSval=200000><TSecr=0>         ESTABLISHED
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK><TSval=1002><TSecr=0>
         out <SEQ=100><ACK=310><CTL=ACK><TSval=0><TSecr=1002>
         hears data 10"
    ));
}

/// RFC7323-5.2-a: a reset is not asked for its timestamp.
#[test]
fn a_reset_needs_no_timestamp() {
    case(&format!("{STAMPED}\nin <SEQ=300><CTL=RST><TSval=1><TSecr=0> CLOSED\nhears reset"));
    case(&format!("{STAMPED}\nin <SEQ=300><CTL=RST> CLOSED\nhears reset"));
}

/// RFC7323-3.2-c, RFC7323-3.2-e: without the option that was agreed on a segment is dropped in silence, and nothing ends.
#[test]
fn a_missing_timestamp_is_silence() {
    case(&format!(
        "{STAMPED}
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK>                 ESTABLISHED
         in  <SEQ=300><ACK=100><CTL=FIN,ACK>                      ESTABLISHED"
    ));
}

/// RFC7323-3.2-d: an option that was not agreed on means nothing.
#[test]
fn a_timestamp_nobody_asked_for_is_ignored() {
    case(
        "established 100 300
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK><TSval=5><TSecr=1>
         out <SEQ=100><ACK=310><CTL=ACK>
         hears data 10
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK><TSval=4><TSecr=1>
         out <SEQ=100><ACK=320><CTL=ACK>
         hears data 10",
    );
}

/// RFC7323-4.3-a: what is echoed is the timestamp of the earliest segment not acknowledged; of a hole's filler, its own.
#[test]
fn the_echo_is_that_of_the_left_edge() {
    case(&format!(
        "{STAMPED}
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK><TSval=1010><TSecr=0>
         out <SEQ=100><ACK=300><CTL=ACK><TSval=0><TSecr=1001>
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK><TSval=1005><TSecr=0>
         out <SEQ=100><ACK=320><CTL=ACK><TSval=0><TSecr=1005>
         hears readable
         read 20"
    ));
    // Two segments before one ACK: the first one's.
    case(&format!(
        "{STAMPED}
         batch
         in  <SEQ=300><ACK=100><DATA=10><CTL=ACK><TSval=1005><TSecr=0>
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK><TSval=1006><TSecr=0>
         turn
         out <SEQ=100><ACK=320><CTL=ACK><TSval=0><TSecr=1005>
         hears data 10
         hears data 10"
    ));
}

/// RFC2018-4-a, RFC2018-2-a: no SACK unless both SYNs permit it.
#[test]
fn no_sack_unless_it_was_permitted() {
    case(
        "established 100 300
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK>",
    );
    case_with(
        |s| s.sack = false,
        "listen 99
         in  <SEQ=299><CTL=SYN><SACK-OK=1>
         out <SEQ=99><ACK=300><CTL=SYN,ACK>
         in  <SEQ=300><ACK=100><CTL=ACK>
         hears connected
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK>",
    );
}

/// RFC2018-4-b: case 3 of RFC 2018 section 7: the 2nd, 4th, 6th and 8th of eight segments of 500 are lost.
#[test]
fn sack_blocks_come_latest_first() {
    case(
        "listen 99
         in  <SEQ=4999><CTL=SYN><SACK-OK=1>
         out <SEQ=99><ACK=5000><CTL=SYN,ACK><SACK-OK=1>
         in  <SEQ=5000><ACK=100><CTL=ACK>
         hears connected
         in  <SEQ=5000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=5500><CTL=ACK>
         hears data 500
         in  <SEQ=6000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=5500><CTL=ACK><SACK=6000-6500>
         in  <SEQ=7000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=5500><CTL=ACK><SACK=7000-7500,6000-6500>
         in  <SEQ=8000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=5500><CTL=ACK><SACK=8000-8500,7000-7500,6000-6500>
         in  <SEQ=6500><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=5500><CTL=ACK><SACK=6000-7500,8000-8500>
         in  <SEQ=5500><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=7500><CTL=ACK><SACK=8000-8500>
         hears readable
         in  <SEQ=7500><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=8500><CTL=ACK>
         hears readable",
    );
}

/// RFC 9293 section 3.10.7.4, eighth: nothing comes behind a FIN, so what was sent from there is not reported.
#[test]
fn data_behind_the_fin_is_given_up() {
    case(&format!(
        "{SACKED}
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=310-320>
         in  <SEQ=300><ACK=100><DATA=5><CTL=FIN,ACK>
         out <SEQ=100><ACK=306><CTL=ACK> CLOSE-WAIT
         hears readable
         hears eof"
    ));
}

/// RFC2018-4-c: as many blocks as fit, four.
#[test]
fn four_gaps_are_four_blocks() {
    case(&format!(
        "{SACKED}
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=310-320>
         in  <SEQ=330><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=330-340,310-320>
         in  <SEQ=350><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=350-360,330-340,310-320>
         in  <SEQ=370><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=370-380,350-360,330-340,310-320>
         in  <SEQ=390><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=390-400,370-380,350-360,330-340>
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK><SACK=310-320,310-320,390-400,370-380>"
    ));
}

/// RFC2883-4-a: a duplicate below the cumulative ACK is reported once.
#[test]
fn a_duplicate_is_reported_once() {
    case(
        "listen 99
         in  <SEQ=2999><CTL=SYN><SACK-OK=1>
         out <SEQ=99><ACK=3000><CTL=SYN,ACK><SACK-OK=1>
         in  <SEQ=3000><ACK=100><CTL=ACK>
         hears connected
         in  <SEQ=3000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=3500><CTL=ACK>
         hears data 500
         in  <SEQ=3500><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=4000><CTL=ACK>
         hears data 500
         in  <SEQ=3000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=4000><CTL=ACK><SACK=3000-3500>
         in  <SEQ=4500><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=4000><CTL=ACK><SACK=4500-5000>
         in  <SEQ=3800><ACK=100><DATA=300><CTL=ACK>
         out <SEQ=100><ACK=4100><CTL=ACK><SACK=3800-4000,4500-5000>
         hears readable
         read 100",
    );
}

/// RFC2883-4-a, RFC 2883 section 4.2: so is what a segment in order repeats of what waited behind it, the first stretch of
/// several.
#[test]
fn what_a_segment_in_order_repeats_is_reported() {
    case(
        "listen 99
         in  <SEQ=499><CTL=SYN><SACK-OK=1>
         out <SEQ=99><ACK=500><CTL=SYN,ACK><SACK-OK=1>
         in  <SEQ=500><ACK=100><CTL=ACK>
         hears connected
         in  <SEQ=1000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=500><CTL=ACK><SACK=1000-1500>
         in  <SEQ=2000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=500><CTL=ACK><SACK=2000-2500,1000-1500>
         in  <SEQ=3500><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=500><CTL=ACK><SACK=3500-4000,2000-2500,1000-1500>
         in  <SEQ=500><ACK=100><DATA=2500><CTL=ACK>
         out <SEQ=100><ACK=3000><CTL=ACK><SACK=1000-1500,3500-4000>
         hears readable
         in  <SEQ=3000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=4000><CTL=ACK>
         hears readable",
    );
}

/// RFC2883-4-b: a duplicate above it is reported together with the block it lies in.
#[test]
fn a_duplicate_out_of_order_comes_with_its_block() {
    case(
        "listen 99
         in  <SEQ=3999><CTL=SYN><SACK-OK=1>
         out <SEQ=99><ACK=4000><CTL=SYN,ACK><SACK-OK=1>
         in  <SEQ=4000><ACK=100><CTL=ACK>
         hears connected
         in  <SEQ=4500><ACK=100><DATA=1000><CTL=ACK>
         out <SEQ=100><ACK=4000><CTL=ACK><SACK=4500-5500>
         in  <SEQ=5000><ACK=100><DATA=500><CTL=ACK>
         out <SEQ=100><ACK=4000><CTL=ACK><SACK=5000-5500,4500-5500>",
    );
}
