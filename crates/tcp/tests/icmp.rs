//! ICMP errors about a segment of a connection: RFC 9293 section 3.9.2.2, RFC 5927.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use wheel::Duration;

/// Soft in every state: RFC 9293 MUST-56.
const SOFT: [&str; 12] = [
    "v4 3 0", "v4 3 1", "v4 3 5", "v4 11 0", "v4 11 1", "v4 12 0", "v6 1 0", "v6 1 3", "v6 3 0", "v6 4 0", "v6 4 1",
    "v6 4 2",
];
/// Hard, and what they end an open with.
const HARD: [(&str, &str); 5] = [
    ("v4 3 2", "refused"),
    ("v4 3 3", "refused"),
    ("v4 3 13", "unreachable"),
    ("v6 1 1", "unreachable"),
    ("v6 1 4", "refused"),
];
const SYN: &str = "connect 100\nout <SEQ=100><CTL=SYN>\n";
const DATA: &str = "established 101 300\nsend 10\nout <SEQ=101><ACK=300><DATA=10><CTL=ACK>\n";

/// SHLD-26, RFC1122-3.2.2.1-a: in SYN-SENT a hard error that quotes our SYN fails the open at once.
#[test]
fn a_hard_error_fails_an_open() {
    for (error, end) in HARD {
        case(&format!("{SYN}icmp 100 {error}\nturn\nhears {end}\nstate CLOSED\nno-timer"));
        // Simultaneous open: SYN-RECEIVED, our SYN is still in flight.
        case(&format!(
            "{SYN}in <SEQ=300><CTL=SYN><MSS=1460> SYN-RECEIVED\nout <SEQ=100><ACK=301><CTL=SYN,ACK>\nicmp 100 {error}\nturn\n\
             hears {end}\nstate CLOSED\nno-timer"
        ));
    }
}

/// MUST-56, SHLD-25, A19: a soft error ends nothing, not even an open: SYNs go on. It is what the open ends with if nobody
/// ever answers.
#[test]
fn a_soft_error_is_remembered_while_the_syn_goes_on() {
    for error in SOFT {
        case(&format!(
            "{SYN}icmp 100 {error}\ntimer 1s\nout <SEQ=100><CTL=SYN> SYN-SENT\nicmp 100 {error}\n\
             in <SEQ=300><ACK=101><CTL=SYN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\nhears connected\nsoft-error none"
        ));
    }
    let silence: String =
        [1, 2, 4, 8, 16, 32, 64].iter().map(|n| format!("timer {n}s\nout <SEQ=100><CTL=SYN>\n")).collect();
    for (error, end) in [("v4 3 0", "net-unreachable"), ("v4 3 1", "unreachable"), ("v6 3 0", "unreachable")] {
        case(&format!("{SYN}icmp 100 {error}\n{silence}timer 120s\nhears {end}\nstate CLOSED"));
    }
    case(&format!("{SYN}{silence}timer 120s\nhears timed-out\nstate CLOSED"));
}

/// MUST-56, RFC5927-5.2-a: in a synchronized state nothing that a router says aborts the connection; retransmission goes on.
#[test]
fn an_open_connection_is_not_aborted() {
    for error in SOFT.into_iter().chain(HARD.map(|(error, _)| error)) {
        case(&format!(
            "{DATA}icmp 101 {error}\ntimer 200ms\nout <SEQ=101><ACK=300><DATA=10><CTL=ACK> ESTABLISHED\nicmp 101 {error}\n\
             in <SEQ=300><ACK=111><CTL=ACK>\nsoft-error none\nno-timer\nstate ESTABLISHED"
        ));
    }
}

/// MUST-47, SHLD-25: the application hears of it, once until the peer is heard again; and the end names the cause.
#[test]
fn a_soft_error_is_told() {
    case(&format!(
        "{DATA}hear-soft\nicmp 101 v4 3 1\nturn\nhears soft Icmp(HostUnreachable)\n\
         soft-error Icmp(HostUnreachable)\nicmp 101 v4 3 1\nturn\nicmp 101 v4 11 0\nturn\nhears soft Icmp(TimeExceeded)\n\
         in <SEQ=300><ACK=111><CTL=ACK>\nsoft-error none"
    ));
    case_with(
        |s| s.r2 = Duration::from_secs(100),
        &format!("{DATA}icmp 101 v4 3 1\nuser-timeout 100ms\ntimer 100ms\nhears unreachable\nstate CLOSED"),
    );
    // SHLD-20.
    case(&format!(
        "{DATA}hear-soft\nsoft-errors off\nicmp 101 v4 3 1\nturn\nsoft-error Icmp(HostUnreachable)\n\
         in <SEQ=300><ACK=111><CTL=ACK>"
    ));
}

/// RFC5927-4.1-a: SND.UNA =< SEQ < SND.NXT, or it is made up; with nothing in flight all are.
#[test]
fn only_what_is_in_flight_can_be_quoted() {
    case(&format!(
        "{DATA}icmp-ignored 100 v4 3 1\nicmp-ignored 111 v4 3 1\nsoft-error none\nicmp 110 v4 3 1\n\
         in <SEQ=300><ACK=111><CTL=ACK>\nicmp-ignored 101 v4 3 1\nicmp-ignored 110 v4 3 1\nicmp-ignored 111 v4 3 1\n\
         soft-error none"
    ));
    // The SYN's own number, and no other.
    case(&format!(
        "{SYN}icmp-ignored 99 v4 3 3\nicmp-ignored 101 v4 3 3\nstate SYN-SENT\nicmp 100 v4 3 3\nturn\nhears refused"
    ));
    // Our FIN is in flight as well; once it is acknowledged nothing is.
    case(
        "established 101 300\nshutdown\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\nicmp 101 v4 3 3\nstate FIN-WAIT-1\n\
         in <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\nicmp-ignored 101 v4 3 3",
    );
}
