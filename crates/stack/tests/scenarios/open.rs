//! Opening: RFC 9293 section 3.5, figures 6 to 11.

use crate::dsl::case;

/// S01: MUST-14, SHLD-5, RFC9293-3.4-b, RFC9293-3.8-a, RFC9293-3.10.7.2-a, RFC1122-4.2.2.20-a. Figure 6; the DUT is A,
/// then B.
#[test]
fn s01_basic_three_way_handshake() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN><MSS=1460>               SYN-SENT
         hears nothing
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected
         send 10
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>       ESTABLISHED  # a pure ACK uses no sequence space
         in  <SEQ=301><ACK=111><CTL=ACK>                ESTABLISHED
         queued 0",
    );
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK><MSS=1460>  SYN-RECEIVED
         hears nothing
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected
         in  <SEQ=101><ACK=301><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=301><ACK=111><CTL=ACK>                ESTABLISHED
         hears data 10",
    );
}

/// S02: MUST-10, MUST-11, A20. Figure 7; the DUT is A, then B, whose SYN leaves before A's arrives in either case.
#[test]
fn s02_simultaneous_open() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>            SYN-RECEIVED # SEQ stays at ISS
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED  # for a peer that is strict
         hears connected
         in  <SEQ=301><ACK=101><CTL=ACK>                ESTABLISHED",
    );
    case(
        "connect 300
         out <SEQ=300><CTL=SYN>                         SYN-SENT
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED
         in  <SEQ=100><ACK=301><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=301><ACK=101><CTL=ACK>
         hears connected",
    );
}

/// S02s: MUST-10, A20. The peer is strict (step 1 of 3.10.7.4, appendix A.2): it answers our SYN-ACK by an ACK, and its own
/// SYN-ACK, which we take, may be lost.
#[test]
fn s02s_simultaneous_open_with_a_strict_peer() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>            SYN-RECEIVED
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED  # A20: it completes the handshake...
         out <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED  # ...and is answered as one that does not
         hears connected
         in  <SEQ=301><ACK=101><CTL=ACK>                ESTABLISHED",
    );
    case(
        "connect 300
         out <SEQ=300><CTL=SYN>
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// S03: MUST-11, RFC9293-3.5.2-b, RFC9293-3.5.3-a. Figure 8; the DUT is A, then B.
#[test]
fn s03_recovery_from_an_old_duplicate_syn() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><ACK=91><CTL=SYN,ACK>             SYN-SENT
         out <SEQ=91><CTL=RST>                          SYN-SENT
         in  <SEQ=400><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=401><CTL=ACK>                ESTABLISHED
         hears connected",
    );
    case(
        "listen 300 400
         in  <SEQ=90><CTL=SYN>                          SYN-RECEIVED
         out <SEQ=300><ACK=91><CTL=SYN,ACK>             SYN-RECEIVED
         in  <SEQ=91><CTL=RST>                          LISTEN
         hears nothing
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=400><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED # a new ISS
         in  <SEQ=101><ACK=401><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// S04: MUST-12, RFC5961-3.2-b, RFC5961-4.2-a, RFC9293-3.5.2-a, RFC9293-3.5.2-b, RFC9293-3.10.8-b, RFC6298-2.1-a. Figure 9; the DUT is A, then B without and with a listener.
#[test]
fn s04_half_open_connection_discovery() {
    case(
        "connect 400
         out <SEQ=400><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><ACK=100><CTL=ACK>                SYN-SENT
         out <SEQ=100><CTL=RST>                         SYN-SENT
         timer 1s
         out <SEQ=400><CTL=SYN>                         SYN-SENT
         in  <SEQ==0><ACK=401><CTL=RST,ACK>             CLOSED
         hears refused",
    );
    let discovered = "established 300 100
         in  <SEQ=400><CTL=SYN>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED  # a challenge ACK
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset";
    case(&format!("{discovered}\nin <SEQ=400><CTL=SYN> CLOSED\nout <SEQ==0><ACK=401><CTL=RST,ACK> CLOSED"));
    case(&format!(
        "{discovered}
         listen 700
         in  <SEQ=400><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=700><ACK=401><CTL=SYN,ACK>
         in  <SEQ=401><ACK=701><CTL=ACK>                ESTABLISHED
         hears connected"
    ));
}

/// S05: RFC9293-3.5.2-a, MUST-12. Figure 10; the DUT is A, then B.
#[test]
fn s05_the_active_side_discovers_a_half_open_connection() {
    case(
        "in  <SEQ=300><ACK=100><DATA=10><CTL=ACK>       CLOSED
         out <SEQ=100><CTL=RST>                         CLOSED",
    );
    case(
        "established 300 100
         send 10
         out <SEQ=300><ACK=100><DATA=10><CTL=ACK>       ESTABLISHED
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset
         send 1
         hears not-connected",
    );
}

/// S06: RFC9293-3.10.7.2-a, MUST-11. Figure 11; the DUT is B, then A.
#[test]
fn s06_an_old_syn_between_two_passive_sockets() {
    case(
        "listen 700
         in  <SEQ=90><CTL=SYN>                          SYN-RECEIVED
         out <SEQ=700><ACK=91><CTL=SYN,ACK>             SYN-RECEIVED
         in  <SEQ=91><CTL=RST>                          LISTEN
         hears nothing",
    );
    case(
        "listen 700
         in  <SEQ=700><ACK=91><CTL=SYN,ACK>             LISTEN
         out <SEQ=91><CTL=RST>                          LISTEN
         hears nothing",
    );
}
