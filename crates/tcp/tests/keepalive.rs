//! Keep-alives: RFC 9293 section 3.8.4.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case;

/// SHLD-12: one below SND.NXT, no data.
const PROBE: &str = "out <SEQ=100><ACK=300><CTL=ACK>\n";
const ANSWER: &str = "in <SEQ=300><ACK=101><CTL=ACK>\n";

/// MAY-5, MUST-25: off by default; a day of silence, and not a segment.
#[test]
fn they_are_off_by_default() {
    case("established 101 300\nno-timer\nwait 24h\nstate ESTABLISHED");
}

/// MAY-5, MUST-24, MUST-28, SHLD-12: on for this connection, first after two hours; switched off again.
#[test]
fn the_first_probe_comes_after_two_hours() {
    case(&format!(
        "established 101 300\nkeepalive default\ntimer 2h\n{PROBE}{ANSWER}timer 2h\n{PROBE}{ANSWER}keepalive off\n\
         no-timer\nwait 24h\nstate ESTABLISHED"
    ));
}

/// MUST-27: 30 s and 90 s; and the time between probes that nobody answers.
#[test]
fn the_interval_can_be_set() {
    for idle in [30, 90] {
        case(&format!("established 101 300\nkeepalive {idle}s 7s 3\ntimer {idle}s\n{PROBE}timer 7s\n{PROBE}"));
        case(&format!(
            "established 101 300\nkeepalive {idle}s 10s 3\ntimer {idle}s\n{PROBE}{ANSWER}timer {idle}s\n{PROBE}"
        ));
    }
}

/// MUST-26: whatever is received starts the interval anew, the peer's own keep-alives too; while something is outstanding
/// there are retransmissions and nothing else.
#[test]
fn probes_are_for_idle_connections_only() {
    case(&format!(
        "established 101 300\nkeepalive 60s 10s 3\nwait 59s\n{ANSWER}timer 60s\n{PROBE}{ANSWER}wait 59s\n\
         in <SEQ=299><ACK=101><CTL=ACK>\nout <SEQ=101><ACK=300><CTL=ACK>\nwait 59s\n\
         in <SEQ=300><ACK=101><DATA=5><CTL=ACK>\nout <SEQ=101><ACK=305><CTL=ACK>\nhears data 5\nwait 59s\n\
         timer 1s\nout <SEQ=100><ACK=305><CTL=ACK>"
    ));
    let data = "out <SEQ=101><ACK=300><DATA=10><CTL=ACK>\n";
    // Sent at 0; again at 0.2, 0.6, 1.4, 3.0, 6.2, 12.6 s: no probe at 1 s, 2 s, ...
    let again: String = (0..6).map(|n| format!("wait {}ms\n{data}", 200u32 << n)).collect();
    case(&format!(
        "established 101 300\nkeepalive 1s 1s 3\nsend 10\n{data}{again}in <SEQ=300><ACK=111><CTL=ACK>\n\
         timer 1s\nout <SEQ=110><ACK=300><CTL=ACK>"
    ));
}

/// MUST-29: the first probe goes unanswered, the second does not. Who answers none is told that it is over, as by Linux.
#[test]
fn one_lost_probe_ends_nothing() {
    case(&format!(
        "established 101 300\nkeepalive 60s 10s 1\ntimer 60s\n{PROBE}timer 10s\n{PROBE}{ANSWER}timer 60s\n{PROBE}timer 10s\n\
         {PROBE}state ESTABLISHED\ntimer 10s\nout <SEQ=101><ACK=300><CTL=RST,ACK>\nhears timed-out\nstate CLOSED\nno-timer"
    ));
}

/// RFC 5482 as Linux has it: the user timeout takes the place of the number of probes.
#[test]
fn the_user_timeout_decides_when_it_is_set() {
    case(&format!(
        "established 101 300\nkeepalive 60s 10s 2\nuser-timeout 90s\ntimer 60s\n{PROBE}timer 10s\n{PROBE}timer 10s\n{PROBE}\
         timer 10s\nout <SEQ=101><ACK=300><CTL=RST,ACK>\nhears timed-out\nstate CLOSED"
    ));
}

/// A half-closed connection is kept alive as well; one that the application has closed has limits of its own.
#[test]
fn the_application_must_still_be_there() {
    case(
        "established 101 300\nkeepalive 60s 10s 2\nshutdown\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
         in <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\ntimer 60s\nout <SEQ=101><ACK=300><CTL=ACK>\n\
         in <SEQ=300><ACK=102><CTL=ACK>\nclose\ntimer 60s\nstate CLOSED\nno-timer",
    );
    case(
        "established 101 300\nkeepalive 60s 10s 2\nin <SEQ=300><ACK=101><CTL=FIN,ACK> CLOSE-WAIT\n\
         out <SEQ=101><ACK=301><CTL=ACK>\nhears eof\ntimer 60s\nout <SEQ=100><ACK=301><CTL=ACK>\n\
         in <SEQ=301><CTL=RST> CLOSED\nhears reset",
    );
}
