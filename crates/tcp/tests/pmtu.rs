//! The path MTU: by what routers say, with the checks of RFC 5927 section 7.2, and by trying. Sizes are octets behind IP and
//! TCP header: an MTU of 1,400 is 1,360 here.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case;

/// Open, with an MSS of 1,460 on both sides and a window of 60,000.
const OPEN: &str = "established 101 300\nnodelay\nhear-soft\nin <SEQ=300><ACK=101><WND=60000><CTL=ACK>\n";

fn out(seq: u32, len: u32) -> String {
    format!("out <SEQ={seq}><ACK=300><DATA={len}><CTL=ACK>\n")
}

fn ack(ack: u32) -> String {
    format!("in <SEQ=300><ACK={ack}><WND=60000><CTL=ACK>\n")
}

/// RFC9293-3.7.2-a, MUST-16, RFC5927-7.2-a (initial discovery, figure 2): what did not fit is sent again at once, in smaller
/// segments, and so is everything behind it from then on.
#[test]
fn a_router_is_believed_while_nothing_larger_has_arrived() {
    let (first, again) =
        (out(101, 1460) + &out(1561, 1460), out(101, 1360) + &out(1461, 100) + &out(1561, 1360) + &out(2921, 100));
    case(&format!(
        "{OPEN}send 2920\n{first}too-big 101 1360\n{again}hears path 1360\n{}no-timer\nsend 2720\n{}{}{}no-timer",
        ack(3021),
        out(3021, 1360),
        out(4381, 1360),
        ack(5741)
    ));
    // Two routers, one behind the other.
    case(&format!(
        "{OPEN}send 1460\n{}too-big 101 1360\n{}{}hears path 1360\ntoo-big 101 1260\n{}{}hears path 1260\n{}",
        out(101, 1460),
        out(101, 1360),
        out(1461, 100),
        out(101, 1260),
        out(1361, 100),
        ack(1561)
    ));
}

/// RFC5927-7.2-a (figure 4): larger segments have arrived, so this one is forged, and the acknowledgment proves it.
#[test]
fn a_forged_size_does_nothing() {
    let one = format!("{OPEN}send 1460\n{}{}", out(101, 1460), ack(1561));
    case(&format!(
        "{one}send 1460\n{}too-big 1561 28\n{}send 1460\n{}{}",
        out(1561, 1460),
        ack(3021),
        out(3021, 1460),
        ack(4481)
    ));
    // Forgotten by then: a timeout later on is nothing but that.
    case(&format!(
        "{one}send 1460\n{}too-big 1561 28\n{}send 1460\n{}wait 200ms\n{}{}",
        out(1561, 1460),
        ack(3021),
        out(3021, 1460),
        out(3021, 1460),
        ack(4481)
    ));
}

/// RFC5927-7.2-a (figure 6): the path has changed, the segment times out, and the router is believed.
#[test]
fn a_smaller_path_is_believed_after_a_timeout() {
    // The congestion window is one segment of the old size: 1,432 + 28 octets.
    let steps = [
        out(101, 1460),
        ack(1561),
        "send 2920\n".into(),
        out(1561, 1460),
        out(3021, 1460),
        "too-big 1561 1432\ntimer 200ms\n".into(),
        out(1561, 1432),
        out(2993, 28),
        "hears path 1432\n".into(),
        ack(3021),
        out(3021, 1432),
        out(4453, 28),
        ack(4481),
    ];
    case(&format!("{OPEN}send 1460\n{}no-timer", steps.concat()));
}

/// RFC5927-4.1-a, RFC5927-7.2-a: what we don't send can't be too big, and what is not in flight is nobody's business.
#[test]
fn what_can_not_be_is_ignored() {
    case(&format!(
        "{OPEN}too-big-ignored 101 1360\nsend 1000\n{}too-big-ignored 100 536\ntoo-big-ignored 1101 536\n\
         too-big-ignored 101 1000\ntoo-big-ignored 101 1360\n{}too-big-ignored 101 536",
        out(101, 1000),
        ack(1101)
    ));
    case("connect 100\nout <SEQ=100><CTL=SYN>\ntoo-big-ignored 100 536");
}

/// No path is believed to carry less than 552 bytes of IPv4 (as Linux): a forged MTU of 68 costs less.
#[test]
fn there_is_a_least_size() {
    case(&format!(
        "{OPEN}send 1460\n{}too-big 101 28\n{}{}{}hears path 512\n{}",
        out(101, 1460),
        out(101, 512),
        out(613, 512),
        out(1125, 436),
        ack(1561)
    ));
}

/// RFC9293-3.7.2-a, RFC 4821 section 7.7: a path that swallows full-sized segments and says nothing. The third timeout sends
/// 1,024 octets, the fifth 512, and the connection goes on.
#[test]
fn a_black_hole_heals() {
    case(&format!("{}no-timer", hole()));
    // The congestion window is a segment of the size before: 1,460, then 1,024 octets.
    let steps = [
        out(101, 1460),
        "timer 200ms\n".into(),
        out(101, 1460),
        "timer 400ms\n".into(),
        out(101, 1460),
        "timer 800ms\n".into(),
        out(101, 1024),
        out(1125, 436),
        "timer 1600ms\n".into(),
        out(101, 1024),
        "hears suspect\ntimer 3200ms\n".into(),
        out(101, 512),
        out(613, 512),
        "hears suspect\n".into(),
        ack(1125),
        out(1125, 436),
        ack(1561),
    ];
    case(&format!("{OPEN}soft-errors off\nsend 1460\n{}no-timer", steps.concat()));
    // A small segment does not vanish for its size.
    let small: String = (0..6).map(|n| format!("wait {}ms\n{}", 200 << n, out(101, 100))).collect();
    let open = OPEN.replace("hear-soft\n", "");
    case(&format!("{open}send 100\n{}{small}{}send 1460\n{}{}", out(101, 100), ack(201), out(201, 1460), ack(1661)));
}

/// 2,920 octets into a hole for more than 1,024, and how they get through.
fn hole() -> String {
    let steps = [
        out(101, 1460),
        out(1561, 1460),
        "timer 200ms\n".into(),
        out(101, 1460),
        "timer 400ms\n".into(),
        out(101, 1460),
        "timer 800ms\n".into(),
        out(101, 1024),
        out(1125, 436),
        ack(1561),
        out(1561, 1024),
        out(2585, 436),
        ack(3021),
    ];
    format!("{OPEN}soft-errors off\nsend 2920\n{}", steps.concat())
}

/// RFC 4821 section 7: ten seconds after a guess one larger segment tries the path, and the usual size is back if it arrives.
#[test]
fn a_guess_is_tried_again_soon() {
    let arrives = [
        "wait 9s\nsend 1024\n".into(),
        out(3021, 1024),
        ack(4045),
        "wait 1s\nsend 2920\n".into(),
        out(4045, 1460),
        out(5505, 1024),
        out(6529, 436),
        ack(6965),
        "send 2920\n".into(),
        out(6965, 1460),
        out(8425, 1460),
        ack(9885),
    ];
    case(&format!("{}{}no-timer", hole(), arrives.concat()));
    // It is lost, and sent again in usual segments: the next comes 20 s later, and is half-way between.
    let lost = [
        "wait 10s\nsend 2920\n".into(),
        out(3021, 1460),
        out(4481, 1024),
        out(5505, 436),
        // Without timestamps nothing has been measured since the three timeouts: 200 ms, doubled three times.
        "timer 1600ms\n".into(),
        out(3021, 1024),
        ack(4045),
        out(4045, 436),
        out(4481, 1024),
        out(5505, 436),
        ack(5941),
        "wait 19s\nsend 1460\n".into(),
        out(5941, 1024),
        out(6965, 436),
        ack(7401),
        "wait 1s\nsend 1460\n".into(),
        out(7401, 1242),
        out(8643, 218),
        ack(8861),
    ];
    case(&format!("{}{}no-timer", hole(), lost.concat()));
}

/// RFC 1191 section 6.3: a router's word holds for ten minutes; what another connection has learnt for the rest of them.
#[test]
fn a_routers_word_expires() {
    let open = "connect 100\nout <SEQ=100><CTL=SYN>\npath 1360 60s\nin <SEQ=299><ACK=101><WND=60000><MSS=1460><CTL=SYN,ACK>\n\
                out <SEQ=101><ACK=300><CTL=ACK>\nhears connected\nnodelay\n";
    case(&format!(
        "{open}send 2720\n{}{}{}wait 59s\nsend 1460\n{}{}{}wait 1s\nsend 2920\n{}{}{}{}send 1460\n{}{}",
        out(101, 1360),
        out(1461, 1360),
        ack(2821),
        out(2821, 1360),
        out(4181, 100),
        ack(4281),
        out(4281, 1460),
        out(5741, 1360),
        out(7101, 100),
        ack(7201),
        out(7201, 1460),
        ack(8661)
    ));
    // A peer that takes less has the last word.
    case(&format!("{}send 1000\n{}{}{}", open.replace("MSS=1460", "MSS=600"), out(101, 600), out(701, 400), ack(1101)));
    // On an open connection.
    case(&format!("{OPEN}path 1360 60s\nsend 1460\n{}{}{}", out(101, 1360), out(1461, 100), ack(1561)));
}

/// RFC 1191 section 3: the estimate is not increased by what a router says. It may be a message that has been floating around
/// since the larger size was tried, or a forged one.
#[test]
fn a_routers_word_does_not_raise_the_size() {
    let tried = [out(1561, 1460), "wait 200ms\n".into(), out(1561, 1300), ack(2861), out(2861, 160), ack(3021)];
    case(&format!(
        "{OPEN}send 1460\n{}too-big 101 1300\n{}{}hears path 1300\n{}wait 600s\nsend 1460\n{}\
         send 1300\n{}too-big 3021 1400\nwait 400ms\n{}hears path 1400\n{}send 2600\n{}{}{}",
        out(101, 1460),
        out(101, 1300),
        out(1401, 160),
        ack(1561),
        tried.concat(),
        out(3021, 1300),
        out(3021, 1300),
        ack(4321),
        out(4321, 1300),
        out(5621, 1300),
        ack(6921)
    ));
}

/// RFC 1191 sections 6.3 and 6.4: ten minutes later the larger size is tried, and what a router says of that is the size of the
/// path, though it is more than the usual one was. The segment goes again at once.
#[test]
fn a_routers_word_about_a_larger_size_is_used() {
    let after = [out(1561, 1400), out(2961, 60), "hears path 1400\n".into(), ack(4481), "send 1400\n".into()];
    case(&format!(
        "{OPEN}send 1460\n{}too-big 101 1300\n{}{}hears path 1300\n{}wait 600s\nsend 2920\n{}{}{}too-big 1561 1400\n{}{}{}",
        out(101, 1460),
        out(101, 1300),
        out(1401, 160),
        ack(1561),
        out(1561, 1460),
        out(3021, 1300),
        out(4321, 160),
        after.concat(),
        out(4481, 1400),
        ack(5881)
    ));
}

/// RFC 4821 section 7.6.1: that it arrives shows that the path carries it, whatever was lost beside it.
#[test]
fn a_larger_segment_that_arrives_beside_a_loss_raises_the_size() {
    let duplicate = ack(101);
    case(&format!(
        "{OPEN}path 1024 10s\nwait 9999ms\nsend 1024\n{}wait 10ms\nsend 4532\n{}{}{}{}wait 10ms\n{}{}{duplicate}wait 10ms\n{}\
         send 2920\n{}{}{}",
        out(101, 1024),
        out(1125, 1460),
        out(2585, 1024),
        out(3609, 1024),
        out(4633, 1024),
        duplicate.repeat(3),
        out(101, 1024),
        ack(5657),
        out(5657, 1460),
        out(7117, 1460),
        ack(8577)
    ));
}
