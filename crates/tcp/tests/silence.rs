//! A peer that does not answer: R1, R2 and the user timeout.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use wheel::Duration;

const DATA: &str = "out <SEQ=101><ACK=300><DATA=10><CTL=ACK>\n";

/// The first retransmissions of data, with Linux's least RTO: the timer and what it sends.
fn again(segment: &str, from: u32, n: u32) -> String {
    (from..from + n).map(|i| format!("timer {}ms\n{segment}", 200u32 << i)).collect()
}

/// MUST-21, RFC9293-3.10.8-a: five seconds, to the point, on one connection; another goes on beyond the default R2 (900 s).
#[test]
fn the_user_timeout_is_the_connections_own() {
    // 200 + 400 + 800 + 1600 = 3000 ms; the fifth timer would expire at 6.2 s.
    case(&format!(
        "established 101 300\nuser-timeout 5s\nsend 10\n{DATA}{}timer 2s\nhears timed-out\nstate CLOSED\nno-timer\n\
         in <SEQ=300><ACK=101><CTL=ACK>\nout <SEQ=101><CTL=RST>",
        again(DATA, 0, 4)
    ));
    // 200 ms * (2^9 - 1) = 102.2 s, then every 120 s: R2 of 15 minutes would end it at 942.2 s.
    let far: String = (0..10).map(|_| format!("timer 120s\n{DATA}")).collect();
    case(&format!(
        "established 101 300\nuser-timeout never\nsend 10\n{DATA}{}timer 102400ms\n{DATA}{far}state ESTABLISHED\n\
         in <SEQ=300><ACK=111><CTL=ACK>\nno-timer",
        again(DATA, 0, 9)
    ));
    // Switched off again: the configured R2 holds.
    case_with(
        |s| s.r2 = Duration::from_secs(100),
        &format!(
            "established 101 300\nuser-timeout 1s\nuser-timeout off\nsend 10\n{DATA}{}timer 51200ms\nhears timed-out",
            again(DATA, 0, 8)
        ),
    );
}

/// RFC9293-3.10.8-a: in SYN-SENT, CLOSE-WAIT, FIN-WAIT-1 and LAST-ACK as in ESTABLISHED.
#[test]
fn the_user_timeout_holds_in_every_state() {
    case(
        "connect 100\nout <SEQ=100><CTL=SYN>\nuser-timeout 2s\ntimer 1s\nout <SEQ=100><CTL=SYN> SYN-SENT\ntimer 1s\nhears timed-out\nstate CLOSED",
    );
    let fin = "out <SEQ=101><ACK=301><CTL=FIN,ACK>\n";
    case(
        "established 101 300\nuser-timeout 1s\nin <SEQ=300><ACK=101><CTL=FIN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof\n\
         send 10\nout <SEQ=101><ACK=301><DATA=10><CTL=ACK>\ntimer 200ms\nout <SEQ=101><ACK=301><DATA=10><CTL=ACK> CLOSE-WAIT\n\
         timer 400ms\nout <SEQ=101><ACK=301><DATA=10><CTL=ACK>\ntimer 400ms\nhears timed-out\nstate CLOSED",
    );
    case(&format!(
        "established 101 300\nuser-timeout 1s\nin <SEQ=300><ACK=101><CTL=FIN,ACK>\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof\n\
         shutdown\n{fin}{}state LAST-ACK\ntimer 400ms\nhears timed-out\nstate CLOSED",
        again(fin, 0, 2)
    ));
    let fin = "out <SEQ=101><ACK=300><CTL=FIN,ACK>\n";
    case(&format!(
        "established 101 300\nuser-timeout 1s\nshutdown\n{fin}{}state FIN-WAIT-1\ntimer 400ms\nhears timed-out\nstate CLOSED",
        again(fin, 0, 2)
    ));
}

/// As Linux (packetdrill's user_timeout.pkt): an orphan is given up after the user timeout, if that is shorter than its own.
#[test]
fn the_user_timeout_of_an_orphan() {
    let fin = "out <SEQ=101><ACK=300><CTL=FIN,ACK>\n";
    case(&format!(
        "established 101 300\nuser-timeout 3s\nclose\n{fin}{}timer 1600ms\nstate CLOSED\nno-timer",
        again(fin, 0, 3)
    ));
    // A longer one doesn't hold memory for somebody who is gone.
    case_with(
        |s| s.orphan_r2 = Duration::from_secs(2),
        &format!("established 101 300\nuser-timeout never\nclose\n{fin}{}timer 1600ms\nstate CLOSED", again(fin, 0, 3)),
    );
}

/// As Linux: the user timeout ends a connection whose peer answers window probes and opens no window. Without one it may stay
/// closed for ever (MUST-37).
#[test]
fn the_user_timeout_bounds_a_closed_window() {
    let probe = "out <SEQ=101><ACK=300><DATA=1><CTL=ACK>\nin <SEQ=300><ACK=101><WND=0><CTL=ACK>\n";
    let open = "established 101 300\nin <SEQ=300><ACK=101><WND=0><CTL=ACK>\n";
    case(&format!(
        "{open}user-timeout 2s\nsend 10\ntimer 200ms\n{probe}timer 400ms\n{probe}timer 800ms\n{probe}timer 600ms\n\
         hears timed-out\nstate CLOSED"
    ));
    case(&format!(
        "{open}send 10\ntimer 200ms\n{probe}timer 400ms\n{probe}timer 800ms\n{probe}timer 1600ms\n{probe}state ESTABLISHED\nin <SEQ=300><ACK=102><WND=10><CTL=ACK>\nout <SEQ=102><ACK=300><DATA=9><CTL=ACK>\nin <SEQ=300><ACK=111><CTL=ACK>\nno-timer"
    ));
}

/// MUST-20, SHLD-9, SHLD-10, MUST-47, SHLD-25: not before the third retransmission, then the next hop is suspect and the
/// application hears of it once.
#[test]
fn three_retransmissions_make_the_path_suspect() {
    case(&format!(
        "established 101 300\nhear-soft\nsend 10\n{DATA}{}soft-error none\ntimer 1600ms\n{DATA}hears suspect\n\
         hears soft Retransmissions\nsoft-error Retransmissions\ntimer 3200ms\n{DATA}hears suspect\n\
         in <SEQ=300><ACK=111><CTL=ACK>\nsoft-error none\nno-timer\nstate ESTABLISHED",
        again(DATA, 0, 3)
    ));
}

/// SHLD-20: without reports the connection does the same, and says nothing.
#[test]
fn soft_errors_can_be_switched_off() {
    case(&format!(
        "established 101 300\nhear-soft\nsoft-errors off\nsend 10\n{DATA}{}timer 1600ms\n{DATA}hears suspect\n\
         soft-error Retransmissions\nin <SEQ=300><ACK=111><CTL=ACK>\nno-timer",
        again(DATA, 0, 3)
    ));
}
