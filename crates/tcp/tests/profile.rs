//! What a profile sets, in segments.

#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};
use wheel::Duration;

/// `count` segments of ten octets from 100 on, each acknowledged at once.
fn acknowledged(count: u32) -> String {
    let each = |seq| {
        format!("in <SEQ={seq}><ACK=300><DATA=10><CTL=ACK>\nout <SEQ=300><ACK={}><CTL=ACK>\nhears data 10\n", seq + 10)
    };
    (0..count).map(|n| each(100 + 10 * n)).collect()
}

/// MUST-17, MUST-58: every segment is acknowledged in its turn, and not only the first 16; nothing waits for an acknowledgment.
#[test]
fn for_latency_nothing_waits() {
    case_with(
        |s| s.receive_buffer_bytes = 1 << 16,
        &format!(
            "established 300 100
             profile latency
             {}
             send 5
             out <SEQ=300><ACK=500><DATA=5><CTL=ACK>
             send 5
             out <SEQ=305><ACK=500><DATA=5><CTL=ACK>",
            acknowledged(40)
        ),
    );
    // One acknowledgment that waits already waits no more.
    case(&format!(
        "established 300 100
         {}
         in <SEQ=260><ACK=300><DATA=10><CTL=ACK>
         hears data 10
         profile latency
         out <SEQ=300><ACK=270><CTL=ACK>",
        acknowledged(16)
    ));
    // What arrives together has one.
    case(
        "established 300 100
         profile latency
         batch
         in <SEQ=100><ACK=300><DATA=1000><CTL=ACK>
         hears data 1000
         in <SEQ=1100><ACK=300><DATA=1000><CTL=ACK>
         hears data 1000
         in <SEQ=2100><ACK=300><DATA=1000><CTL=ACK>
         hears data 1000
         turn
         out <SEQ=300><ACK=3100><CTL=ACK>",
    );
}

/// SHLD-7, MUST-58: an acknowledgment waits a millisecond for an answer even where it would have been sent at once, and a small
/// segment waits behind another.
#[test]
fn for_throughput_frames_are_saved() {
    case_with(
        |s| (s.delayed_ack, s.receive_buffer_bytes) = (Duration::from_millis(40), 1 << 16),
        "established 300 100
         profile throughput
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         hears data 10
         timer 1ms
         out <SEQ=300><ACK=110><CTL=ACK>
         in  <SEQ=110><ACK=300><DATA=10><CTL=ACK>
         hears data 10
         send 5
         out <SEQ=300><ACK=120><DATA=5><CTL=ACK>
         send 5
         in  <SEQ=120><ACK=305><CTL=ACK>
         out <SEQ=305><ACK=120><DATA=5><CTL=ACK>
         profile balanced
         in  <SEQ=120><ACK=310><DATA=10><CTL=ACK>
         out <SEQ=310><ACK=130><CTL=ACK>
         hears data 10",
    );
}

/// What is set behind a profile holds.
#[test]
fn a_profile_may_be_corrected() {
    case(
        "established 300 100
         profile throughput
         nodelay
         quick-ack on
         send 5
         out <SEQ=300><ACK=100><DATA=5><CTL=ACK>
         send 5
         out <SEQ=305><ACK=100><DATA=5><CTL=ACK>
         in  <SEQ=100><ACK=310><DATA=10><CTL=ACK>
         out <SEQ=310><ACK=110><CTL=ACK>
         hears data 10",
    );
}
