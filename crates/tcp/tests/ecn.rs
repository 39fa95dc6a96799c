//! Explicit congestion notification (RFC 3168): the question of an active open, and what the answer changes.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case_with;
use tcp::Settings;

fn asking(settings: &mut Settings) {
    settings.ecn = true;
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

/// RFC 3168 section 6.1.1: flags that are mirrored, or none, are no agreement.
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

/// RFC3168-6.1.1.1-a, RFC3168-6.1.1-b: who does not answer is not asked again, and then ECN is not used.
#[test]
fn a_syn_sent_again_does_not_ask() {
    case_with(
        asking,
        "connect 99
         out <SEQ=99><CTL=SYN,ECE,CWR>
         timer 1s
         out <SEQ=99><CTL=SYN>
         in  <SEQ=299><ACK=100><CTL=SYN,ACK,ECE>                  ESTABLISHED
         out <SEQ=100><ACK=300><CTL=ACK>
         hears connected
         send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>
         in  <SEQ=300><ACK=110><CTL=ACK,ECE>
         send 10
         out <SEQ=110><ACK=300><DATA=10><CTL=ACK>",
    );
}
