//! `TCP_CORK` and `MSG_MORE`, as packetdrill's scripts of Linux have them.

#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case;

const OPEN: &str = "established 100 300\nnodelay\nin <SEQ=300><ACK=100><WND=60000><CTL=ACK>\n";

/// MAY-16, MUST-60: as `sendmsg_msg_more`: what is not full waits for more, for one retransmission timeout, or until the
/// peer is heard.
#[test]
fn more_follows() {
    // Nothing does.
    case(&format!("{OPEN}send-more 40\ntimer 200ms\nout <SEQ=100><ACK=300><DATA=40><CTL=ACK>"));
    // It does, in four pieces, and the last says so.
    case(&format!(
        "{OPEN}send-more 100
         wait 5ms
         send-more 160
         wait 10ms
         send-more 495
         send 5
         out <SEQ=100><ACK=300><DATA=760><CTL=ACK>"
    ));
    // What is full goes, and the rest when something is heard.
    case(&format!(
        "{OPEN}send-more 3000
         out <SEQ=100><ACK=300><DATA=1460><CTL=ACK>
         out <SEQ=1560><ACK=300><DATA=1460><CTL=ACK>
         in  <SEQ=300><ACK=1560><WND=60000><CTL=ACK>
         out <SEQ=3020><ACK=300><DATA=80><CTL=ACK>"
    ));
}

/// MAY-16, MUST-60: as `sockopt_cork_nodelay`: what is under the cork waits whatever is heard, and goes with it, with Nagle's
/// algorithm switched off, with FIN, or after one retransmission timeout.
#[test]
fn what_is_corked_waits() {
    let corked = format!(
        "{OPEN}cork on
         send 1500
         out <SEQ=100><ACK=300><DATA=1460><CTL=ACK>
         wait 10ms
         send 6
         in  <SEQ=300><ACK=1560><WND=60000><CTL=ACK>
         "
    );
    let rest = "out <SEQ=1560><ACK=300><DATA=46><CTL=ACK>";
    case(&format!("{corked}cork off\n{rest}"));
    case(&format!(
        "{corked}nodelay
         {rest}
         in  <SEQ=300><ACK=1606><WND=60000><CTL=ACK>
         send 1
         wait 100ms
         cork off
         out <SEQ=1606><ACK=300><DATA=1><CTL=ACK>"
    ));
    // SRTT is an eighth of 10 ms, and the floor.
    case(&format!("{corked}timer 201250us\n{rest}"));
    case(&format!("{corked}close\nout <SEQ=1560><ACK=300><DATA=46><CTL=FIN,ACK>"));
}
