//! Reductions that are undone, because what was taken for lost was not: DSACK (RFC 3708), Eifel (RFC 4015), F-RTO (RFC 5682); and
//! those that are not. The [traces](support::trace) are what Linux sends in the cases of packetdrill's scripts, or what the RFCs say.
#![allow(clippy::cast_possible_truncation)]

mod support;
use support::case_with;
use support::trace::{SACK, trace};

/// RFC2883-5-a, RFC 9438 section 4.9: both copies arrived: the window is what it was.
#[test]
fn a_duplicate_report_undoes_the_reduction() {
    trace(
        SACK,
        "100ms",
        "write 20000
         > 1:10001
         +100ms < 1 sack 1001-2001
         > 10001:11001
         < 1 sack 1001-3001
         > 11001:12001
         < 1 sack 1001-4001
         > 1:1001
         +50ms < 5001             // the first was late; the copy has just left
         +50ms < 6001 sack 1-1001 // six are in flight: the window of ten, and one by slow start
         > 12001:17001
         +50ms < 17001
         > 17001:20001
         +50ms < 20001",
    );
}

/// RFC4015: an acknowledgment that echoes a timestamp of before the retransmission is one of the original.
#[test]
fn the_echoed_timestamp_undoes_a_spurious_timeout() {
    trace(
        "<SACK-OK=1><TSval=1><TSecr=0>",
        "100ms",
        "write 30000
         > 1:9881
         +200ms
         > 9881:10869             // the probe: new data
         +300ms
         > 1:989                  // the path had only paused
         +1ms < 989 ts 100
         > 10869:11857
         +1ms < 9881 ts 100
         > 11857:29641           // 20 in flight",
    );
}

/// RFC 5682 section 2.1, and 3.1 with SACK: the path has paused, without timestamps. Two new segments go before what may be
/// lost; the second acknowledgment that moves on shows that nothing was, and the window is what it was: ten, and what slow start
/// has added.
#[test]
fn a_spurious_timeout_costs_one_segment() {
    // Without SACK no probe goes first: the timeout comes 300 ms behind the flight.
    let lines = "write 40000
         > 1:10001
         +300ms
         > 1:1001
         +50ms < 1001
         > 10001:12001
         < 2001
         > 12001:13001            // ten, and one by slow start
         < 3001
         > 13001:15001
         < 10001
         > 15001:29001";
    trace("", "100ms", lines);
    let lines = "write 40000
         > 1:10001
         +200ms
         > 10001:11001            // the probe
         +300ms
         > 1:1001
         +50ms < 1001
         > 11001:13001
         < 2001                   // eleven in flight of eleven
         < 10001
         > 13001:29001";
    trace(SACK, "100ms", lines);
}

/// RFC 5682 section 2.1, step 3 (a): the new segments bring duplicates, so the timeout was right: what is lost goes again.
#[test]
fn a_genuine_timeout_is_told_from_a_spurious_one() {
    trace(
        "",
        "100ms",
        "write 40000
         > 1:10001
         +300ms
         > 1:1001
         +100ms < 1001
         > 10001:12001
         +100ms < 1001            // two in flight, a window of three
         > 1001:2001
         < 1001
         +100ms < 2001
         > 2001:4001",
    );
}

/// RFC 5682 section 3.1, step 3 (a): with SACK a report of the new segments is enough, whether or not it comes with the peer's own
/// data: the timeout was right, and what is lost goes at once.
#[test]
fn a_report_that_comes_with_data_ends_f_rto() {
    for (data, ack) in [("", 1), ("<DATA=100>", 101)] {
        let mut script = String::from(
            "listen 0
             in <SEQ=0><CTL=SYN><MSS=1000><SACK-OK=1>
             out <SEQ=0><ACK=1><CTL=SYN,ACK>
             wait 100ms
             in <SEQ=1><ACK=1><WND=60000><CTL=ACK>
             hears connected
             unlisten
             nodelay
             send 40000
",
        );
        let out = |seq: u32| format!("out <SEQ={seq}><ACK=1><DATA=1000><CTL=ACK>\n");
        script.extend((0..10).map(|n| out(1 + n * 1000)));
        // All ten are lost, and the tail loss probe; the copy of the first arrives, and so does what is new behind it.
        script += &format!("wait 200ms\n{}wait 300ms\n{}wait 100ms\n", out(10_001), out(1));
        script += &format!("in <SEQ=1><ACK=1001><WND=60000><CTL=ACK>\n{}{}wait 100ms\n", out(11_001), out(12_001));
        script += &format!("in <SEQ=1>{data}<ACK=1001><WND=60000><SACK=11001-12001><CTL=ACK>\n");
        script += &format!("out <SEQ=1001><ACK={ack}><DATA=1000><CTL=ACK>\n");
        script += if data.is_empty() { "" } else { "hears data 100\n" };
        case_with(|_| {}, &script);
    }
}

/// RFC 6298 (5.1)-(5.3): while something is outstanding the retransmission timer runs; RFC 9293 section 3.8.6.1 (MUST-36, 37): or
/// the window is probed. The first of two segments was late, the second is lost; between, the peer's window is closed. The report
/// that the first came twice undoes the timeout, and takes the mark from the second, which nobody has sent again, while no timer
/// but the window's runs; the window opens, and that one stops.
#[test]
fn an_undo_while_the_window_is_probed_leaves_a_timer() {
    trace(
        SACK,
        "100ms",
        "write 2000
         > 1:2001
         +200ms
         > 1001:2001                  // the probe, lost
         +300ms
         > 1:1001                     // the timeout: the original is late
         +10ms < 1001 wnd=0           // it has come; the application does not read
         +10ms < 1001 sack 1-1001     // so has the copy, and now it reads
         +300ms                       // RFC 6298: SRTT + 200 ms, nothing backed off
         > 1001:2001
         +100ms < 2001
         no-timer",
    );
}

/// The same while the window stays closed: nothing is probed any more.
#[test]
fn an_undo_while_the_window_is_probed_leaves_the_probes() {
    trace(
        SACK,
        "100ms",
        "write 2000
         > 1:2001
         +200ms
         > 1001:2001
         +300ms
         > 1:1001
         +10ms < 1001 wnd=0
         +10ms < 1001 wnd=0 sack 1-1001
         +900ms                       // the timeout at 300 ms finds the window closed; the probe one (backed off) timeout later
         > 1001:1002
         +10ms < 1001
         > 1001:2001
         +100ms < 2001
         no-timer",
    );
}

/// RFC 3708 section 3: a recovery is undone when all that it sent again came twice. Here the tail loss probe of before did, the
/// first segment was lost, and the window stays at 0.7 of what it was.
#[test]
fn a_probes_duplicate_undoes_no_genuine_loss() {
    trace(
        SACK,
        "100ms",
        "write 40000
         > 1:10001
         +100ms < 10001                      // slow start, cwnd 20
         > 10001:30001
         +100ms < 30001                      // cwnd 40
         > 30001:40001
         +200ms                              // late: 2 SRTT
         > 39001:40001
         +10ms < 30001 sack 31001-40001      // the first is lost
         > 30001:31001
         +50ms < 30001 sack 39001-40001,31001-40001   // the probe was for nothing; the first is lost all the same
         +50ms < 40001
         write 100000
         > 40001:68001", // 0.7 * 40
    );
}

/// The same where the network has doubled a segment that was sent once.
#[test]
fn a_networks_duplicate_undoes_no_genuine_loss() {
    trace(
        SACK,
        "100ms",
        "write 10000
         > 1:10001
         +100ms < 1 sack 1001-10001
         > 1:1001
         +10ms < 1 sack 5001-6001,1001-10001   // 5001 came twice: nobody has sent it twice
         +90ms < 10001
         write 50000
         > 10001:17001",
    );
}

/// The same of a timeout.
#[test]
fn a_probes_duplicate_undoes_no_genuine_timeout() {
    trace(
        SACK,
        "100ms",
        "write 10000
         > 1:10001
         +200ms
         > 9001:10001                         // the path is slow
         +300ms
         > 1:1001                             // the first was lost, the others come late
         +10ms < 1 sack 1001-10001
         +50ms < 1 sack 9001-10001,1001-10001 // the probe was for nothing (control: without this block it passes)
         +50ms < 10001
         write 50000
         > 10001:12001", // slow start from one segment: not ten
    );
}
