//! Urgent data: RFC 9293 section 3.8.5.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::{case, case_with};

/// MUST-30, MUST-62: five urgent octets at SEQ=101: the pointer is 5, and gone from what comes behind them.
#[test]
fn the_pointer_designates_the_octet_behind() {
    case(
        "established 101 300\nnodelay\nsend-urgent 5\nout <SEQ=101><ACK=300><DATA=5><UP=5><CTL=URG,ACK>\n\
         send 10\nout <SEQ=106><ACK=300><DATA=10><CTL=ACK>\ntimer 200ms\n\
         out <SEQ=101><ACK=300><DATA=15><UP=5><CTL=URG,ACK>\nin <SEQ=300><ACK=116><CTL=ACK>\n\
         send 1\nout <SEQ=116><ACK=300><DATA=1><CTL=ACK>",
    );
    // On receive: the mark lies before octet 305, and moves nothing.
    case(
        "established 101 300\nlazy\nin <SEQ=300><ACK=101><DATA=8><UP=5><CTL=URG,ACK>\nout <SEQ=101><ACK=308><CTL=ACK>\n\
         hears data 8\nhears urgent 5\nurgent 5\nread 4\nurgent 1\nread 1\nurgent none\nread 3\nurgent none",
    );
}

/// MUST-31: any length. What is queued before it is urgent with it; an end beyond the field's reach is 65,535 until it is near.
#[test]
fn urgent_data_may_be_long() {
    let open = "established 101 300\nnodelay\nin <SEQ=300><ACK=101><WND=1460><CTL=ACK>\n";
    let steps: String = (0..50)
        .map(|i| {
            let (seq, left) = (101 + 1460 * i, 73_000 - 1460 * i);
            let next = seq + 1460;
            format!(
                "out <SEQ={seq}><ACK=300><DATA=1460><UP={}><CTL=URG,ACK>\nin <SEQ=300><ACK={next}><WND=1460><CTL=ACK>\n",
                left.min(65_535)
            )
        })
        .collect();
    case(&format!(
        "{open}send 1000\n{}",
        "out <SEQ=101><ACK=300><DATA=1000><CTL=ACK>\nin <SEQ=300><ACK=1101><WND=1460><CTL=ACK>\n"
    ));
    case(&format!("{open}batch\nsend 1000\nsend-urgent 72000\nturn\n{steps}urgent none"));
    // The receiver stays in urgent mode to the last octet, over segments that don't say so.
    case(
        "established 101 300\nlazy\nin <SEQ=300><ACK=101><DATA=10><UP=1000><CTL=URG,ACK>\nout <SEQ=101><ACK=310><CTL=ACK>\n\
         hears data 10\nhears urgent 1000\nin <SEQ=310><ACK=101><DATA=990><CTL=ACK>\nout <SEQ=101><ACK=1300><CTL=ACK>\n\
         hears readable\nread 999\nurgent 1\nread 1\nurgent none",
    );
}

/// MUST-32, MUST-33: each advance is told without the application asking, nothing else is.
#[test]
fn an_advance_is_told() {
    case(
        "established 101 300\nlazy\nin <SEQ=300><ACK=101><UP=20><CTL=URG,ACK>\nhears urgent 20\nurgent 20\n\
         in <SEQ=300><ACK=101><DATA=5><UP=20><CTL=URG,ACK>\nout <SEQ=101><ACK=305><CTL=ACK>\nhears data 5\n\
         in <SEQ=305><ACK=101><UP=10><CTL=URG,ACK>\nin <SEQ=305><ACK=101><UP=30><CTL=URG,ACK>\nhears urgent 35\nurgent 35\n\
         read 5\nurgent 30\nin <SEQ=305><ACK=101><DATA=30><CTL=ACK>\nout <SEQ=101><ACK=335><CTL=ACK>\nhears data 30\n\
         read 30\nurgent none\nin <SEQ=335><ACK=101><DATA=1><UP=1><CTL=URG,ACK>\nout <SEQ=101><ACK=336><CTL=ACK>\n\
         hears data 1\nhears urgent 1\nread 1",
    );
}

/// MUST-66: the pointer is taken though the closed window refuses the data.
#[test]
fn the_pointer_passes_a_closed_window() {
    case_with(
        |s| s.receive_buffer_bytes = 4096,
        "established 101 300\nlazy\nin <SEQ=300><ACK=101><DATA=4096><CTL=ACK>\nout <SEQ=101><ACK=4396><WND=0><CTL=ACK>\n\
         hears data 4096\nin <SEQ=4396><ACK=101><DATA=1><UP=1><CTL=URG,ACK>\nout <SEQ=101><ACK=4396><CTL=ACK>\n\
         hears urgent 4097\nurgent 4097\nread 4096\nout <SEQ=101><ACK=4396><CTL=ACK>",
    );
}

/// RFC9293-3.10.7.4-k: behind the peer's FIN there is nothing urgent.
#[test]
fn the_pointer_is_ignored_behind_a_fin() {
    case(
        "established 101 300\nin <SEQ=300><ACK=101><CTL=FIN,ACK> CLOSE-WAIT\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof\n\
         in <SEQ=301><ACK=101><UP=9><CTL=URG,ACK>\nurgent none\nshutdown\nout <SEQ=101><ACK=301><CTL=FIN,ACK> LAST-ACK\n\
         in <SEQ=301><ACK=101><UP=9><CTL=URG,ACK>\nurgent none",
    );
}
