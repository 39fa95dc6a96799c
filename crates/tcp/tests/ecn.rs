//! Explicit congestion notification (RFC 3168): the question of an active open, and what the answer changes.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case_with;
use tcp::{Congestion, Ecn, Settings};

fn asking(settings: &mut Settings) {
    settings.ecn = Ecn::Ask;
}

/// RFC3168-6.1.2-b: a reduction is told by the first new data behind it, and by that alone.
#[test]
fn an_echo_reduces_once_and_is_answered_by_cwr() {
    case_with(
        asking,
        "connect 99
         out <SEQ=99><CTL=SYN,ECE,CWR>
         in  <SEQ=299><ACK=100><CTL=SYN,ACK,ECE>                  ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK>
         hears connected
         nodelay
         send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         in  <SEQ=300><ACK=110><CTL=ACK,ECE>
         send 10
         out <SEQ=110><ACK=300><DATA=10><CTL=ACK,CWR>
         send 10
         out <SEQ=120><ACK=300><DATA=10><CTL=ACK>",
    );
}

/// RFC3168-6.1.1-b: flags that are mirrored, or none, are no agreement.
#[test]
fn a_peer_that_does_not_agree_is_not_told_of_reductions() {
    for answer in ["SYN,ACK", "SYN,ACK,ECE,CWR"] {
        case_with(
            asking,
            &format!(
                "connect 99
                 out <SEQ=99><CTL=SYN,ECE,CWR>
                 in  <SEQ=299><ACK=100><CTL={answer}>             ESTABLISHED
                 out <SEQ=100><ACK=300><CTL=ACK>
                 hears connected
                 nodelay
                 send 10
                 out <SEQ=100><ACK=300><DATA=10><CTL=ACK>
                 in  <SEQ=300><ACK=110><CTL=ACK,ECE>
                 send 10
                 out <SEQ=110><ACK=300><DATA=10><CTL=ACK>"
            ),
        );
    }
}

/// The first SYN asks, its answer is late, and the second does not ask.
const ASKED_ONCE: &str = "connect 99
         out <SEQ=99><CTL=SYN,ECE,CWR>
         timer 1s
         out <SEQ=99><CTL=SYN>
         in  <SEQ=299><ACK=100><CTL=SYN,ACK,ECE>                  ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK>
         hears connected
";

/// RFC3168-6.1.1.1-a, RFC3168-6.1.1-b: who does not answer is not asked again, and then nothing of ours is ECN-capable.
#[test]
fn a_syn_sent_again_does_not_ask() {
    let sent = "send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         in  <SEQ=300><ACK=110><CTL=ACK,ECE>
         send 10
         out <SEQ=110><ACK=300><DATA=10><CTL=ACK>";
    case_with(asking, &format!("{ASKED_ONCE}{sent}"));
}

/// RFC3168-6.1.1-a: an ECN-setup SYN is answered by ECE alone, any other by neither flag; and not at all if it is off.
#[test]
fn a_passive_open_answers() {
    for (ecn, asked, answer) in [
        (Ecn::Answer, "SYN,ECE,CWR", "SYN,ACK,ECE"),
        (Ecn::Ask, "SYN,ECE,CWR", "SYN,ACK,ECE"),
        (Ecn::Off, "SYN,ECE,CWR", "SYN,ACK"),
        (Ecn::Answer, "SYN,ECE", "SYN,ACK"),
        (Ecn::Answer, "SYN,CWR", "SYN,ACK"),
        (Ecn::Answer, "SYN", "SYN,ACK"),
    ] {
        case_with(
            |s| s.ecn = ecn,
            &format!(
                "listen 99
                 in  <SEQ=299><CTL={asked}>
                 out <SEQ=99><ACK=300><CTL={answer}>
                 in  <SEQ=300><ACK=100><CTL=ACK>
                 hears connected"
            ),
        );
    }
}

/// RFC3168-6.1.3-a, RFC3168-6.1.5-a: a mark is echoed on every ACK until the peer says that it has heard; a mark on data out
/// of the window is nothing.
#[test]
fn marks_are_echoed_until_cwr() {
    case_with(
        |s| s.ecn = Ecn::Answer,
        "listen 99
         in  <SEQ=299><CTL=SYN,ECE,CWR>
         out <SEQ=99><ACK=300><CTL=SYN,ACK,ECE>
         in  <SEQ=300><ACK=100><CTL=ACK>
         hears connected
         in  <SEQ=290><ACK=100><DATA=10><CE=1><CTL=ACK>
         out <SEQ=100><ACK=300><CTL=ACK>
         in  <SEQ=300><ACK=100><DATA=10><CE=1><CTL=ACK>
         out <SEQ=100><ACK=310><CTL=ACK,ECE>
         hears data 10
         in  <SEQ=310><ACK=100><DATA=10><CTL=ACK>
         out <SEQ=100><ACK=320><CTL=ACK,ECE>
         hears data 10
         in  <SEQ=320><ACK=100><DATA=10><CTL=ACK,CWR>
         out <SEQ=100><ACK=330><CTL=ACK>
         hears data 10",
    );
}

/// RFC3168-6.1.2-a, RFC3168-6.1.1-b, SHLD-8: however often the echo is repeated, the window comes down once for each window of data.
#[test]
fn one_reduction_for_a_window() {
    use tcp::{Config, Connection, Env, Pool, Start};
    use wire::{SeqNum, tcp::Flags};
    let config = Config::new(Settings { ecn: Ecn::Ask, congestion: Congestion::NewReno, ..Settings::default() });
    let (config, mut pool) = (config.expect("valid"), Pool::new(1 << 20));
    let now = wheel::Instant::ZERO + wheel::Duration::from_secs(1);
    let mut env = Env { now, config: &config, pool: &mut pool };
    let start = Start { iss: SeqNum::new(0), mss: 1000, default_peer_mss: 536, timestamp_offset: 0 };
    let mut conn = Connection::connect(&env, start);
    let mut out = [0; 2000];
    assert!(conn.poll_transmit(&mut env, &mut out).expect("a SYN").header.flags.contains(Flags::ECE | Flags::CWR));
    let from_peer = |flags, ack| {
        let mut segment = tcp::testing::segment(flags, 0, ack, &[]);
        segment.header.options.mss = Some(1000);
        segment.header.window = 60_000;
        segment.header.seq = SeqNum::new(u32::from(!flags.contains(Flags::SYN)));
        segment
    };
    let _ = conn.on_segment(&mut env, &from_peer(Flags::SYN | Flags::ACK | Flags::ECE, 1));
    assert_eq!(conn.send(&mut env, &[1; 50_000]), Ok(50_000));
    // Ten segments, all of them ECN-capable.
    let sent = |conn: &mut Connection, env: &mut Env<'_>| {
        let mut out = [0; 2000];
        core::iter::from_fn(|| conn.poll_transmit(env, &mut out)).filter(|e| e.payload_len > 0).collect::<Vec<_>>()
    };
    let first = sent(&mut conn, &mut env);
    assert!(first.len() == 10 && first.iter().all(|e| e.ect && !e.header.flags.contains(Flags::CWR)));
    let mut told = 0;
    for n in 1..=10 {
        let _ = conn.on_segment(&mut env, &from_peer(Flags::ACK | Flags::ECE, 1 + n * 1000));
        told += sent(&mut conn, &mut env).iter().filter(|e| e.header.flags.contains(Flags::CWR)).count();
    }
    // Half of the window.
    assert_eq!((conn.info().ssthresh_bytes, told), (Some(5000), 1));
    assert_eq!(conn.info().cwnd_bytes, 5000);
}

/// RFC 3168 section 6.1.1: behind a SYN that did not ask nothing of ours is ECN-capable; but the peer's may be, since the SYN
/// that asked has reached it: a mark on it is echoed.
#[test]
fn marks_are_echoed_though_the_syn_was_sent_again() {
    let marked = "in  <SEQ=300><ACK=100><DATA=10><CE=1><CTL=ACK>
                  out <SEQ=100><ACK=310><CTL=ACK,ECE>
                  hears data 10";
    case_with(asking, &format!("{ASKED_ONCE}{marked}"));
}

/// A reduction that was undone has not been: what follows has no CWR (RFC 3168 section 6.1.2, Linux's tcp_ecn_withdraw_cwr).
#[test]
fn an_undone_reduction_is_not_told() {
    let mut script = String::from(
        "listen 0
         in <SEQ=0><CTL=SYN,ECE,CWR><MSS=1000><SACK-OK=1><TSval=1><TSecr=0>
         out <SEQ=0><ACK=1><CTL=SYN,ACK,ECE><TSval=0><TSecr=1>
         wait 100ms
         in <SEQ=1><ACK=1><WND=60000><CTL=ACK><TSval=1><TSecr=0>
         hears connected
         unlisten
         send 30000
",
    );
    let out =
        |n: u32, stamp: u32| format!("out <SEQ={}><ACK=1><DATA=988><CTL=ACK><TSval={stamp}><TSecr=1>\n", 1 + n * 988);
    script.extend((0..10).map(|n| out(n, 100)));
    // A tail loss probe, and the timeout.
    script += &format!("wait 200ms\n{}wait 300ms\n{}", out(10, 300), out(0, 600));
    // The first one has arrived, not its copy.
    script += "batch\nwait 1ms\nin <SEQ=1><ACK=989><WND=60000><CTL=ACK><TSval=1><TSecr=100>\n";
    let mut end = support::Endpoint::new(Settings { ecn: Ecn::Answer, ..support::settings() }, 0, 0);
    end.script(&script, false);
    let info = end.conn.as_ref().expect("open").info();
    assert_eq!(info.ssthresh_bytes, None, "all is as it was");
    assert!(info.cwnd_bytes >= 9880, "{}", info.cwnd_bytes);
    end.script(&format!("turn\n{}", out(11, 601)), false);
}

/// Ten segments in flight.
fn ten() -> String {
    let sent = |n: u32| format!("out <SEQ={}><ACK=300><DATA=1000><CTL=ACK>\n", 100 + n * 1000);
    let sent: String = (0..10).map(sent).collect();
    format!(
        "connect 99
         out <SEQ=99><CTL=SYN,ECE,CWR>
         wait 100ms
         in  <SEQ=299><ACK=100><WND=60000><CTL=SYN,ACK,ECE><MSS=1000><SACK-OK=1>   ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK>
         hears connected
         nodelay
         send 10000
         {sent}wait 100ms
"
    )
}

/// RFC 3168 section 6.1.2: the window is halved, also where the echo comes with the acknowledgment of all that was in it.
#[test]
fn newreno_halves_for_an_echo_that_acknowledges_all() {
    let cwr = |n: u32| if n == 0 { ",CWR" } else { "" };
    let more = |n: u32| format!("out <SEQ={}><ACK=300><DATA=1000><CTL=ACK{}>\n", 10_100 + n * 1000, cwr(n));
    let more: String = (0..5).map(more).collect();
    let echo = "in <SEQ=300><ACK=10100><WND=60000><CTL=ACK,ECE>\nsend 30000\n";
    let settings = |s: &mut Settings| (s.ecn, s.congestion) = (Ecn::Ask, Congestion::NewReno);
    case_with(settings, &format!("{}{echo}{more}", ten()));
}

/// RFC8985-7.2-a: a tail is probed but in a recovery, behind a timeout, or where something is SACKed. A window that comes down for
/// an echo is none of these.
#[test]
fn a_tail_is_probed_while_the_window_comes_down() {
    let rest = "in <SEQ=300><ACK=8100><WND=60000><CTL=ACK,ECE>
         timer 200ms
         out <SEQ=9100><ACK=300><DATA=1000><CTL=ACK>
         in <SEQ=300><ACK=10100><WND=60000><CTL=ACK>";
    case_with(asking, &format!("{}{rest}", ten()));
}
