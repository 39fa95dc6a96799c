//! Opening, resets and acceptability: message sequences of RFC 9293 (figures 6 to 11, sections 3.5 and 3.10.7) and
//! RFC 5961, each replayed with both number spaces shifted over 2^31 and 2^32.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;
use support::case;

#[test]
fn s01_basic_handshake_active() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected
         send 10
         out <SEQ=101><ACK=301><DATA=10><CTL=ACK>       ESTABLISHED  # a pure ACK uses no sequence space
         in  <SEQ=301><ACK=111><CTL=ACK>                ESTABLISHED
         queued 0",
    );
}

#[test]
fn s01_basic_handshake_passive() {
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected
         in  <SEQ=101><ACK=301><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=301><ACK=111><CTL=ACK>                ESTABLISHED
         hears data 10",
    );
}

#[test]
fn s02_simultaneous_open() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>            SYN-RECEIVED # SEQ stays at ISS
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED  # for a peer that is strict
         hears connected
         in  <SEQ=301><ACK=101><CTL=ACK>                ESTABLISHED",
    );
}

#[test]
fn s02s_simultaneous_open_with_a_strict_peer() {
    // The peer answers our crossing SYN-ACK by an ACK (step 1 of 3.10.7.4), its own SYN-ACK was lost.
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>
         in  <SEQ=301><ACK=101><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

#[test]
fn s03_old_duplicate_syn_at_the_active_side() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><ACK=91><CTL=SYN,ACK>             SYN-SENT
         out <SEQ=91><CTL=RST>                          SYN-SENT
         in  <SEQ=400><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=401><CTL=ACK>
         hears connected",
    );
}

#[test]
fn s03_old_duplicate_syn_at_the_passive_side() {
    case(
        "listen 300 400
         in  <SEQ=90><CTL=SYN>                          SYN-RECEIVED
         out <SEQ=300><ACK=91><CTL=SYN,ACK>
         in  <SEQ=91><CTL=RST>                          LISTEN       # the application is not told
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=400><ACK=101><CTL=SYN,ACK>
         in  <SEQ=101><ACK=401><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

#[test]
fn s04_half_open_discovered_by_a_syn() {
    case(
        "established 300 100
         in  <SEQ=400><CTL=SYN>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset
         in  <SEQ=400><CTL=SYN>                         CLOSED
         out <SEQ==0><ACK=401><CTL=RST,ACK>",
    );
    case(
        "connect 400
         out <SEQ=400><CTL=SYN>
         in  <SEQ=300><ACK=100><CTL=ACK>                SYN-SENT
         out <SEQ=100><CTL=RST>                         SYN-SENT
         timer 1s
         out <SEQ=400><CTL=SYN>                         SYN-SENT
         in  <SEQ==0><ACK=401><CTL=RST,ACK>             CLOSED
         hears refused",
    );
}

#[test]
fn s05_the_active_side_discovers_a_half_open_connection() {
    case(
        "in  <SEQ=300><ACK=100><DATA=10><CTL=ACK>       CLOSED
         out <SEQ=100><CTL=RST>",
    );
    case(
        "established 300 100
         send 10
         out <SEQ=300><ACK=100><DATA=10><CTL=ACK>
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset",
    );
}

#[test]
fn s06_an_old_syn_between_two_listeners() {
    case(
        "listen 700
         in  <SEQ=90><CTL=SYN>                          SYN-RECEIVED
         out <SEQ=700><ACK=91><CTL=SYN,ACK>
         in  <SEQ=91><CTL=RST>                          LISTEN",
    );
    case(
        "listen 700
         in  <SEQ=700><ACK=91><CTL=SYN,ACK>             LISTEN
         out <SEQ=91><CTL=RST>                          LISTEN",
    );
}

#[test]
fn s10_a_closed_endpoint_resets() {
    case(
        "in  <SEQ=500><CTL=SYN>                         CLOSED
         out <SEQ==0><ACK=501><CTL=RST,ACK>
         in  <SEQ=500><ACK=700><DATA=10><CTL=ACK>
         out <SEQ=700><CTL=RST>
         in  <SEQ=500><DATA=10><CTL=FIN>
         out <SEQ==0><ACK=511><CTL=RST,ACK>
         in  <SEQ=500><CTL=RST>
         in  <SEQ=500><ACK=700><CTL=RST,ACK>            CLOSED",
    );
}

#[test]
fn s11_a_listener_ignores_rst_and_refuses_ack() {
    case(
        "listen 300
         in  <SEQ=500><CTL=RST>                         LISTEN
         in  <SEQ=500><ACK=700><CTL=ACK>                LISTEN
         out <SEQ=700><CTL=RST>
         in  <SEQ=500><ACK=700><CTL=SYN,ACK>            LISTEN
         out <SEQ=700><CTL=RST>
         in  <SEQ=500><CTL=FIN>                         LISTEN
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>",
    );
}

#[test]
fn s12_rst_in_syn_sent() {
    for seq in ["=0", "12345", "=4294967295"] {
        case(&format!(
            "connect 100
             out <SEQ=100><CTL=SYN>
             in  <SEQ==0><CTL=RST>                      SYN-SENT
             in  <SEQ==0><ACK=100><CTL=RST,ACK>         SYN-SENT
             in  <SEQ==0><ACK=102><CTL=RST,ACK>         SYN-SENT
             in  <SEQ={seq}><ACK=101><CTL=RST,ACK>      CLOSED
             hears refused"
        ));
    }
}

#[test]
fn s13_an_unacceptable_ack_in_syn_sent_draws_rst() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><ACK=91><CTL=SYN,ACK>             SYN-SENT
         out <SEQ=91><CTL=RST>
         in  <SEQ=300><ACK=100><CTL=ACK>                SYN-SENT     # ISS itself acknowledges nothing
         out <SEQ=100><CTL=RST>
         in  <SEQ=300><ACK=102><CTL=ACK>                SYN-SENT
         out <SEQ=102><CTL=RST>
         in  <SEQ=300><ACK=101><CTL=ACK>                SYN-SENT     # neither SYN nor RST: silent
         in  <SEQ=300><CTL=FIN>                         SYN-SENT
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>
         hears connected",
    );
}

#[test]
fn s14_rst_in_passive_syn_received() {
    case(
        "listen 300 400
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><WND=4096><CTL=SYN,ACK>
         in  <SEQ=100><CTL=RST>                         SYN-RECEIVED
         in  <SEQ=EDGE><CTL=RST>                        SYN-RECEIVED
         in  <SEQ=102><CTL=RST>                         SYN-RECEIVED
         out <SEQ=301><ACK=101><CTL=ACK>
         in  <SEQ=EDGE-1><CTL=RST>                      SYN-RECEIVED
         out <SEQ=301><ACK=101><CTL=ACK>
         in  <SEQ=101><CTL=RST>                         LISTEN
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=400><ACK=101><CTL=SYN,ACK>",
    );
}

#[test]
fn s15_rst_in_active_syn_received() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>
         in  <SEQ=301><CTL=RST>                         CLOSED
         hears refused",
    );
}

#[test]
fn s16_an_unacceptable_ack_in_syn_received_draws_rst() {
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN>
         out <SEQ=300><ACK=101><CTL=SYN,ACK>
         in  <SEQ=101><ACK=300><CTL=ACK>                SYN-RECEIVED
         out <SEQ=300><CTL=RST>
         in  <SEQ=101><ACK=302><CTL=ACK>                SYN-RECEIVED
         out <SEQ=302><CTL=RST>
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

#[test]
fn a_retransmitted_syn_is_answered_by_the_syn_ack_again() {
    // A4; a SYN inside the window is challenged.
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN><WS=3>
         out <SEQ=300><ACK=101><CTL=SYN,ACK><MSS=1460><WS=0>
         in  <SEQ=100><CTL=SYN><WS=3>                   SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK><MSS=1460><WS=0>
         in  <SEQ=102><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=301><ACK=101><CTL=ACK>
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// Table P1: state, the way to it, SND.NXT, RCV.NXT, what the application hears before, and at the exact RST.
const P1: [(&str, &str, u32, u32, &str); 6] = [
    ("ESTABLISHED", "", 300, 100, "hears reset"),
    ("FIN-WAIT-1", "shutdown\nout <SEQ=300><ACK=100><CTL=FIN,ACK>", 301, 100, "hears reset"),
    (
        "FIN-WAIT-2",
        "shutdown\nout <SEQ=300><ACK=100><CTL=FIN,ACK>\nin <SEQ=100><ACK=301><CTL=ACK>",
        301,
        100,
        "hears reset",
    ),
    (
        "CLOSE-WAIT",
        "in <SEQ=100><ACK=300><CTL=FIN,ACK>\nout <SEQ=300><ACK=101><CTL=ACK>\nhears eof",
        300,
        101,
        "hears reset",
    ),
    (
        "CLOSING",
        "shutdown\nout <SEQ=300><ACK=100><CTL=FIN,ACK>\nin <SEQ=100><ACK=300><CTL=FIN,ACK>\n\
         out <SEQ=301><ACK=101><CTL=ACK>\nhears eof",
        301,
        101,
        "hears reset",
    ),
    (
        "LAST-ACK",
        "in <SEQ=100><ACK=300><CTL=FIN,ACK>\nout <SEQ=300><ACK=101><CTL=ACK>\nhears eof\nshutdown\n\
         out <SEQ=300><ACK=101><CTL=FIN,ACK>",
        301,
        101,
        "hears reset",
    ),
];

#[test]
fn s17_p1_rst_in_every_synchronized_state() {
    for (state, way, snd_nxt, rcv_nxt, heard) in P1 {
        let (before, behind) = (rcv_nxt - 1, rcv_nxt + 1);
        case(&format!(
            "established 300 100
             {way}
             state {state}
             in  <SEQ={before}><CTL=RST>                {state}
             in  <SEQ=EDGE><CTL=RST>                    {state}
             in  <SEQ={behind}><CTL=RST>                {state}
             out <SEQ={snd_nxt}><ACK={rcv_nxt}><CTL=ACK>
             in  <SEQ=EDGE-1><CTL=RST>                  {state}
             out <SEQ={snd_nxt}><ACK={rcv_nxt}><CTL=ACK>
             in  <SEQ={rcv_nxt}><DATA=5><CTL=RST>       CLOSED
             {heard}"
        ));
    }
}

#[test]
fn s18_unacceptable_segments_draw_ack_never_rst() {
    case(
        "established 300 100
         in  <SEQ=50><ACK=300><DATA=10><CTL=ACK>        ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=EDGE><ACK=300><DATA=10><CTL=ACK>      ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><ACK=301><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><DATA=10><CTL=>                   ESTABLISHED
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=110><CTL=ACK>
         hears data 10",
    );
}

#[test]
fn s19_rst_and_probes_at_a_zero_window() {
    case(
        "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=1460><CTL=ACK>
         out <SEQ=300><ACK=1560><CTL=ACK>
         hears data 1460
         in  <SEQ=1560><ACK=300><DATA=1460><CTL=ACK>
         out <SEQ=300><ACK=3020><CTL=ACK>
         hears readable
         in  <SEQ=3020><ACK=300><DATA=1176><CTL=ACK>
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         hears readable
         in  <SEQ=4197><CTL=RST>                        ESTABLISHED
         in  <SEQ=4196><ACK=300><DATA=1><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         in  <SEQ=4196><CTL=RST>                        CLOSED
         hears reset
         unread 4096
         read 4096",
    );
}

#[test]
fn a_zero_window_still_takes_valid_acks() {
    // 3.10.7.4, first: "special allowance should be made to accept valid ACKs, URGs, and RSTs" (MUST-66 for the RST).
    let full = "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=2048><CTL=ACK>
         out <SEQ=300><ACK=2148><CTL=ACK>
         hears data 2048
         in  <SEQ=2148><ACK=300><DATA=2048><CTL=ACK>
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         hears readable
         send 7
         out <SEQ=300><ACK=4196><DATA=7><CTL=ACK>";
    case(&format!(
        "{full}
         in  <SEQ=4196><ACK=307><DATA=1><CTL=ACK>       ESTABLISHED
         out <SEQ=307><ACK=4196><WND=0><CTL=ACK>
         queued 0
         unread 4096"
    ));
    case(&format!("{full}\nin <SEQ=4196><DATA=9><CTL=RST> CLOSED\nhears reset"));
}

#[test]
fn s36_syn_in_a_synchronized_state_is_challenged() {
    case(
        "established 300 100
         in  <SEQ=100><CTL=SYN>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=600><CTL=SYN>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=5000><CTL=SYN>                        ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=99><ACK=300><CTL=SYN,ACK>             ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=110><CTL=ACK>
         hears data 10",
    );
}

#[test]
fn challenges_are_limited_to_ten_a_second() {
    let ten = "in <SEQ=600><CTL=SYN>\nout <SEQ=300><ACK=100><CTL=ACK>\n".repeat(10);
    case(&format!("established 300 100\n{ten}in <SEQ=600><CTL=SYN>\nin <SEQ=101><CTL=RST>\nwait 1s\n{ten}"));
}

#[test]
fn p2_segment_acceptability() {
    const TABLE: [(i64, [bool; 6]); 9] = [
        (400, [false, false, false, false, false, true]),
        (401, [false, false, false, false, true, false]),
        (500, [false, false, false, false, true, false]),
        (999, [false, false, false, false, true, false]),
        (1000, [true, true, false, true, true, true]),
        (1001, [false, true, false, true, true, true]),
        (1500, [false, true, false, true, true, true]),
        (1999, [false, true, false, true, true, true]),
        (2000, [false; 6]),
    ];
    // The buffer of 4,096 is filled until the window is WND, at RCV.NXT = 1000.
    for (seq, row) in TABLE {
        for (acceptable, (len, wnd)) in
            row.iter().zip([(0, 0), (0, 1000), (1, 0), (1, 1000), (600, 1000), (1600, 1000)])
        {
            let fill = 4096 - wnd;
            let first = 1000 - fill;
            let mut script = format!(
                "established 300 {first}\nlazy\nin <SEQ={first}><ACK=300><DATA={fill}><CTL=ACK>\n\
                 out <SEQ=300><ACK=1000><WND={wnd}><CTL=ACK>\nhears data {fill}\n\
                 send 1\nout <SEQ=300><ACK=1000><DATA=1><CTL=ACK>\nin <SEQ={seq}><ACK=301><DATA={len}><CTL=ACK>\n"
            );
            // Processed: its acknowledgment counts. Not: it is answered by an ACK and delivers nothing.
            if *acceptable && len > 0 && seq <= 1000 {
                let end = (seq + len).min(2000);
                script += &format!("out <SEQ=301><ACK={end}><CTL=ACK>\nhears readable\nunread {}\n", end - first);
            } else if *acceptable && len == 0 {
                script += &format!("unread {fill}\n");
            } else {
                script += &format!("out <SEQ=301><ACK=1000><CTL=ACK>\nunread {fill}\n");
            }
            // At a zero window RCV.NXT is special: the ACK counts though the octet is refused.
            let counts = *acceptable || (wnd == 0 && seq == 1000);
            script += if counts { "queued 0\n" } else { "queued 1\n" };
            case(&script);
        }
    }
}

#[test]
fn what_lies_beyond_the_window_is_trimmed_and_a_fin_with_it() {
    // 3.10.7.4, seventh and its note: portions outside the window are cut off, "including SYN and FIN".
    case(
        "established 300 100
         lazy
         in  <SEQ=100><ACK=300><DATA=4096><CTL=FIN,ACK> ESTABLISHED  # the FIN is the first octet behind the window
         out <SEQ=300><ACK=4196><WND=0><CTL=ACK>
         hears data 4096
         read 4096
         out <SEQ=300><ACK=4196><WND=4096><CTL=ACK>
         in  <SEQ=4196><ACK=300><CTL=FIN,ACK>           CLOSE-WAIT
         out <SEQ=300><ACK=4197><CTL=ACK>
         hears eof",
    );
}
