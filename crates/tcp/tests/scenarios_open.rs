//! Opening, resets and acceptability, beyond the scenarios (which are the stack's tests, over whole frames): RFC 9293
//! sections 3.5 and 3.10.7, RFC 5961, with both number spaces shifted over 2^31 and 2^32.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case;

/// MUST-14, SHLD-5, RFC9293-3.10.7.4-f, A4.
#[test]
fn a_retransmitted_syn_is_answered_by_the_syn_ack_again() {
    // A4; a SYN inside the window is challenged.
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN><WS=3>
         out <SEQ=300><ACK=101><CTL=SYN,ACK><MSS=1460><WS=0>
         in  <SEQ=100><CTL=SYN><WS=3>                   SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK><MSS=1460><WS=0>
         in  <SEQ=102><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=301><ACK=101><CTL=ACK>
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// MUST-66, SHLD-2, RFC9293-3.8.6.1-a.
#[test]
fn a_zero_window_still_takes_valid_acks() {
    // 3.10.7.4, first: "special allowance should be made to accept valid ACKs, URGs, and RSTs" (MUST-66 for the RST).
    let full = "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=2048><CTL=ACK>
         out <SEQ=300><ACK=2148><CTL=ACK>
         hears data 2048
         in  <SEQ=2148><ACK=300><DATA=2048><CTL=ACK>
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         hears readable
         send 7
         out <SEQ=300><ACK=4196><DATA=7><CTL=ACK>";
    case(&format!(
        "{full}
         in  <SEQ=4196><ACK=307><DATA=1><CTL=ACK>       ESTABLISHED
         out <SEQ=307><ACK=4196><WND=0><CTL=ACK>
         queued 0
         unread 4096"
    ));
    case(&format!("{full}\nin <SEQ=4196><DATA=9><CTL=RST> CLOSED\nhears reset"));
}

/// RFC5961-7-a.
#[test]
fn challenges_are_limited_to_ten_a_second() {
    let ten = "in <SEQ=600><CTL=SYN>\nout <SEQ=300><ACK=100><CTL=ACK>\n".repeat(10);
    case(&format!("established 300 100\n{ten}in <SEQ=600><CTL=SYN>\nin <SEQ=101><CTL=RST>\nwait 1s\n{ten}"));
}

/// RFC9293-3.10.7.4-c, RFC9293-3.10.7.4-l.
#[test]
fn what_lies_beyond_the_window_is_trimmed_and_a_fin_with_it() {
    // 3.10.7.4, seventh and its note: portions outside the window are cut off, "including SYN and FIN".
    case(
        "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=4096><CTL=FIN,ACK> ESTABLISHED  # the FIN is the first octet behind the window
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         hears data 4096
         read 4096
         out <SEQ=300><ACK=4196><WND=4096><CTL=ACK>
         in  <SEQ=4196><ACK=300><CTL=FIN,ACK>           CLOSE-WAIT
         out <SEQ=300><ACK=4197><CTL=ACK>
         hears eof",
    );
}
