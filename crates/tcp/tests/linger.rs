//! `SO_LINGER`: what `close` does about data and a FIN that the peer has not acknowledged.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use wheel::Duration;

/// Zero: a reset instead of FIN, whatever is queued, and no TIME-WAIT (RFC 9293 section 3.9.1.5, RFC9293-3.10.5-a).
#[test]
fn zero_resets_at_once() {
    case("established 101 300\nlinger 0s\nclose\nout <SEQ=101><CTL=RST>\nstate CLOSED\nno-timer");
    case(
        "established 101 300\nsend 100\nout <SEQ=101><ACK=300><DATA=100><CTL=ACK>\nlinger 0s\nclose\nout <SEQ=201><CTL=RST>\nstate CLOSED\nno-timer",
    );
    // The peer has closed before, or only our direction is.
    case(
        "established 101 300\nlinger 0s\nin <SEQ=300><ACK=101><CTL=FIN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof\nclose\nout <SEQ=101><CTL=RST>\nstate CLOSED\nno-timer",
    );
    case(
        "established 101 300\nlinger 0s\nshutdown\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\nclose\nout <SEQ=102><CTL=RST>\nstate CLOSED\nno-timer",
    );
    // Both have: there is nothing left to reset (RFC 9293 section 3.10.5).
    case(
        "established 101 300\nlinger 0s\nin <SEQ=300><ACK=101><CTL=FIN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof\nshutdown\nout <SEQ=101><ACK=301><CTL=FIN,ACK>\nclose\nstate CLOSED\nno-timer",
    );
    // Switched off again: a close in order.
    case(
        "established 101 300\nlinger 0s\nlinger off\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK> FIN-WAIT-1\nin <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\nwait 60s\nstate CLOSED",
    );
}

/// The acknowledgment of our FIN is what is waited for, not the peer's FIN.
#[test]
fn the_end_of_waiting_is_told() {
    case(
        "established 101 300\nlinger 5s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK> FIN-WAIT-1\n\
          in <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\nhears closed\nwait 61s\nstate CLOSED\nno-timer",
    );
    // LAST-ACK and CLOSING: the acknowledgment is the end of the connection, or the beginning of TIME-WAIT.
    case(
        "established 101 300\nlinger 5s\nin <SEQ=300><ACK=101><CTL=FIN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof\n\
          close\nout <SEQ=101><ACK=301><CTL=FIN,ACK> LAST-ACK\nin <SEQ=301><ACK=102><CTL=ACK> CLOSED\nhears closed\nno-timer",
    );
    case(
        "established 101 300\nlinger 5s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
          in <SEQ=300><ACK=101><CTL=FIN,ACK> CLOSING\nout <SEQ=102><ACK=301><CTL=ACK>\n\
          in <SEQ=301><ACK=102><CTL=ACK> TIME-WAIT\nhears closed",
    );
    // ACK and FIN in one segment: told once.
    case(
        "established 101 300\nlinger 5s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
          in <SEQ=300><ACK=102><CTL=FIN,ACK> TIME-WAIT\nout <SEQ=102><ACK=301><CTL=ACK>\nhears closed",
    );
    // Nothing to wait for: told at once.
    case(
        "established 101 300\nlinger 5s\nshutdown\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
          in <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\nbatch\nclose\nturn\nwait 0s\nhears closed\nwait 61s\nstate CLOSED",
    );
}

/// As Linux: when the time is over `close` returns, and the connection goes on as an orphan.
#[test]
fn the_time_is_over_and_the_connection_goes_on() {
    case(
        "established 101 300\nlinger 500ms\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
          wait 499ms\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\nwait 1ms\nhears timed-out\nstate FIN-WAIT-1\n\
          wait 500ms\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\nin <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\nwait 60s\nstate CLOSED\nno-timer",
    );
}

#[test]
fn an_error_while_lingering_is_told() {
    case(
        "established 101 300\nlinger 5s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\nin <SEQ=300><CTL=RST> CLOSED\nhears reset\nno-timer",
    );
    // Data for somebody who has closed: RFC 9293 section 3.6.1.
    case(
        "established 101 300\nlinger 5s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
          in <SEQ=300><ACK=102><DATA=20><CTL=ACK> CLOSED\nout <SEQ=102><CTL=RST>\nhears reset",
    )
}

/// While it lingers a connection is not an orphan: the application has said how long.
#[test]
fn the_orphans_limit_does_not_apply() {
    case_with(
        |s| s.orphan_r2 = Duration::from_secs(1),
        "established 101 300\nlinger 4s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
         timer 200ms\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\ntimer 400ms\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
         timer 800ms\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\ntimer 1600ms\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\n\
         timer 1s\nhears timed-out\ntimer 2200ms\nstate CLOSED",
    );
}

/// A second close gives the waiting up.
#[test]
fn closing_again_ends_the_waiting() {
    case(
        "established 101 300\nlinger 5s\nclose\nout <SEQ=101><ACK=300><CTL=FIN,ACK>\nclose\n\
          in <SEQ=300><ACK=102><CTL=ACK> FIN-WAIT-2\nwait 61s\nstate CLOSED",
    );
}
