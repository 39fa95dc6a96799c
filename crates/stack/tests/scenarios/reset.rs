//! Resets, acceptability and challenges: RFC 9293 sections 3.5.2, 3.5.3, 3.10.5 and 3.10.7, RFC 5961.

use crate::dsl::case;

/// ESTABLISHED, SND.NXT=300, RCV.NXT=100 and RCV.WND=1000: of the buffer of 4,096 bytes, 3,096 are unread.
const WINDOW_1000: &str = "established 300 -2996
         lazy
         in  <SEQ=-2996><ACK=300><DATA=3096><CTL=ACK>
         out <SEQ=300><ACK=100><WND=1000><CTL=ACK>      ESTABLISHED
         hears data 3096";

/// S10: RFC9293-3.4-b, RFC9293-3.5.2-a.
#[test]
fn s10_a_closed_endpoint_resets() {
    case(
        "in  <SEQ=500><CTL=SYN>                         CLOSED
         out <SEQ==0><ACK=501><CTL=RST,ACK>             CLOSED
         in  <SEQ=500><ACK=700><DATA=10><CTL=ACK>       CLOSED
         out <SEQ=700><CTL=RST>                         CLOSED
         in  <SEQ=500><DATA=10><CTL=FIN>                CLOSED
         out <SEQ==0><ACK=511><CTL=RST,ACK>             CLOSED
         in  <SEQ=500><CTL=RST>                         CLOSED
         in  <SEQ=500><ACK=700><CTL=RST,ACK>            CLOSED",
    );
}

/// S11: RFC9293-3.5.3-a, RFC9293-3.10.7.2-a.
#[test]
fn s11_a_listener_ignores_rst_and_refuses_ack() {
    case(
        "listen 300
         in  <SEQ=500><CTL=RST>                         LISTEN
         in  <SEQ=500><ACK=700><CTL=RST,ACK>            LISTEN
         in  <SEQ=500><ACK=700><CTL=ACK>                LISTEN
         out <SEQ=700><CTL=RST>                         LISTEN
         in  <SEQ=500><ACK=700><CTL=SYN,ACK>            LISTEN
         out <SEQ=700><CTL=RST>                         LISTEN
         in  <SEQ=500><CTL=FIN>                         LISTEN
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED",
    );
}

/// S12: RFC5961-3.2-d, RFC9293-3.10.7.3-b. The sequence number of the reset does not matter (A5).
#[test]
fn s12_rst_in_syn_sent() {
    for seq in ["=0", "12345", "=4294967295"] {
        case(&format!(
            "connect 100
             out <SEQ=100><CTL=SYN>                     SYN-SENT
             in  <SEQ==0><CTL=RST>                      SYN-SENT
             in  <SEQ==0><ACK=100><CTL=RST,ACK>         SYN-SENT
             in  <SEQ==0><ACK=102><CTL=RST,ACK>         SYN-SENT
             hears nothing
             in  <SEQ={seq}><ACK=101><CTL=RST,ACK>      CLOSED
             hears refused"
        ));
    }
}

/// S13: RFC9293-3.5.2-b, RFC9293-3.10.7.3-a.
#[test]
fn s13_an_unacceptable_ack_in_syn_sent_draws_rst() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><ACK=91><CTL=SYN,ACK>             SYN-SENT
         out <SEQ=91><CTL=RST>                          SYN-SENT
         in  <SEQ=300><ACK=100><CTL=ACK>                SYN-SENT     # ISS itself acknowledges nothing
         out <SEQ=100><CTL=RST>
         in  <SEQ=300><ACK=102><CTL=ACK>                SYN-SENT
         out <SEQ=102><CTL=RST>                         SYN-SENT
         in  <SEQ=300><ACK=101><CTL=ACK>                SYN-SENT     # neither SYN nor RST: silent
         in  <SEQ=300><CTL=FIN>                         SYN-SENT
         in  <SEQ=300><ACK=101><CTL=SYN,ACK>            ESTABLISHED
         out <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// S14: MUST-11, RFC9293-3.5.3-a, RFC9293-3.10.7.4-d, RFC5961-3.2-a, RFC5961-3.2-b, RFC5961-3.2-c.
#[test]
fn s14_rst_in_syn_received_after_a_passive_open() {
    case(
        "listen 300 400
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><WND=4096><CTL=SYN,ACK>  SYN-RECEIVED
         in  <SEQ=100><CTL=RST>                         SYN-RECEIVED # outside the window: silent
         in  <SEQ=EDGE><CTL=RST>                        SYN-RECEIVED
         in  <SEQ=102><CTL=RST>                         SYN-RECEIVED
         out <SEQ=301><ACK=101><CTL=ACK>                SYN-RECEIVED
         in  <SEQ=EDGE-1><CTL=RST>                      SYN-RECEIVED
         out <SEQ=301><ACK=101><CTL=ACK>                SYN-RECEIVED
         in  <SEQ=101><CTL=RST>                         LISTEN
         hears nothing
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=400><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED",
    );
}

/// S15: MUST-11, RFC9293-3.5.3-a.
#[test]
fn s15_rst_in_syn_received_after_an_active_open() {
    case(
        "connect 100
         out <SEQ=100><CTL=SYN>                         SYN-SENT
         in  <SEQ=300><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=100><ACK=301><CTL=SYN,ACK>            SYN-RECEIVED
         in  <SEQ=301><CTL=RST>                         CLOSED
         hears refused",
    );
}

/// S16: RFC9293-3.5.2-b, A3.
#[test]
fn s16_an_unacceptable_ack_in_syn_received_draws_rst() {
    case(
        "listen 300
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED
         in  <SEQ=101><ACK=300><CTL=ACK>                SYN-RECEIVED # ISS acknowledges nothing
         out <SEQ=300><CTL=RST>                         SYN-RECEIVED
         in  <SEQ=101><ACK=302><CTL=ACK>                SYN-RECEIVED # nor was 301 sent
         out <SEQ=302><CTL=RST>                         SYN-RECEIVED
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
    case(
        "connect 300
         out <SEQ=300><CTL=SYN>                         SYN-SENT
         in  <SEQ=100><CTL=SYN>                         SYN-RECEIVED
         out <SEQ=300><ACK=101><CTL=SYN,ACK>            SYN-RECEIVED
         in  <SEQ=101><ACK=302><CTL=ACK>                SYN-RECEIVED
         out <SEQ=302><CTL=RST>                         SYN-RECEIVED
         in  <SEQ=101><ACK=301><CTL=ACK>                ESTABLISHED
         hears connected",
    );
}

/// A row of table P1: the state, the way to it, SND.NXT, RCV.NXT, and the RSTs that are silent and that are challenged.
type Row = (&'static str, &'static str, u32, u32, [u32; 2], [u32; 2]);

const P1: [Row; 6] = [
    ("ESTABLISHED", "", 300, 100, [99, 1100], [101, 1099]),
    ("FIN-WAIT-1", "shutdown\nout <SEQ=300><ACK=100><CTL=FIN,ACK>", 301, 100, [99, 1100], [101, 1099]),
    (
        "FIN-WAIT-2",
        "shutdown\nout <SEQ=300><ACK=100><CTL=FIN,ACK>\nin <SEQ=100><ACK=301><CTL=ACK>",
        301,
        100,
        [99, 1100],
        [101, 1099],
    ),
    (
        "CLOSE-WAIT",
        "in <SEQ=100><ACK=300><CTL=FIN,ACK>\nout <SEQ=300><ACK=101><CTL=ACK>\nhears eof",
        300,
        101,
        [100, 1101],
        [102, 1100],
    ),
    (
        "CLOSING",
        "shutdown\nout <SEQ=300><ACK=100><CTL=FIN,ACK>\nin <SEQ=100><ACK=300><CTL=FIN,ACK>\n\
         out <SEQ=301><ACK=101><CTL=ACK>\nhears eof",
        301,
        101,
        [100, 1101],
        [102, 1100],
    ),
    (
        "LAST-ACK",
        "in <SEQ=100><ACK=300><CTL=FIN,ACK>\nout <SEQ=300><ACK=101><CTL=ACK>\nhears eof\nshutdown\n\
         out <SEQ=300><ACK=101><CTL=FIN,ACK>",
        301,
        101,
        [100, 1101],
        [102, 1100],
    ),
];

/// S17, P1: RFC5961-3.2-a, RFC5961-3.2-b, RFC5961-3.2-c, SHLD-2, MUST-12, RFC9293-3.5.3-a,
/// RFC9293-3.10.7.4-d. In TIME-WAIT: S25f.
#[test]
fn s17_rst_in_every_synchronized_state() {
    for (state, way, snd_nxt, rcv_nxt, silent, challenged) in P1 {
        // A FIN moves RCV.NXT, not the window's edge: RCV.WND is to be 1000 behind it.
        let fill = 3196 - rcv_nxt as i32;
        let first = 100 - fill;
        let silent = silent.map(|seq| format!("in <SEQ={seq}><CTL=RST> {state}\n")).concat();
        let challenge = |seq| format!("in <SEQ={seq}><CTL=RST> {state}\nout <SEQ={snd_nxt}><ACK={rcv_nxt}><CTL=ACK>\n");
        let challenged = challenged.map(challenge).concat();
        case(&format!(
            "established 300 {first}
             lazy
             in  <SEQ={first}><ACK=300><DATA={fill}><CTL=ACK>
             out <SEQ=300><ACK=100><CTL=ACK>
             hears data {fill}
             {way}
             state {state}
             {silent}
             {challenged}
             hears nothing
             in  <SEQ={rcv_nxt}><DATA=5><CTL=RST>       CLOSED
             hears reset
             unread {fill}
             read {fill}"
        ));
    }
}

/// S18: RFC9293-3.5.2-c, RFC9293-3.10.7.4-b, RFC9293-3.10.7.4-g, RFC9293-3.10.7.4-i.
#[test]
fn s18_unacceptable_segments_draw_ack_never_rst() {
    case(&format!(
        "{WINDOW_1000}
         in  <SEQ=50><ACK=300><DATA=10><CTL=ACK>        ESTABLISHED  # an old duplicate
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=1100><ACK=300><DATA=10><CTL=ACK>      ESTABLISHED  # beyond the window
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=100><ACK=301><DATA=10><CTL=ACK>       ESTABLISHED  # acknowledges what was not sent
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=100><DATA=10><CTL=>                   ESTABLISHED  # no ACK: silent
         hears nothing
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=110><CTL=ACK>                ESTABLISHED
         hears readable
         read 3106
         out <SEQ=300><ACK=110><WND=4096><CTL=ACK>"
    ));
}

/// S19: MUST-66, MAY-8, RFC9293-3.8.6.1-a.
#[test]
fn s19_rst_and_probes_at_a_zero_window() {
    case(
        "established 300 -3996
         lazy
         in  <SEQ=-3996><ACK=300><DATA=4096><CTL=ACK>
         out <SEQ=300><ACK=100><WND=0><CTL=ACK>
         hears data 4096
         in  <SEQ=101><CTL=RST>                         ESTABLISHED
         in  <SEQ=100><ACK=300><DATA=1><CTL=ACK>        ESTABLISHED
         out <SEQ=300><ACK=100><WND=0><CTL=ACK>         ESTABLISHED
         hears nothing
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset
         unread 4096
         read 4096",
    );
}

/// S36: RFC5961-4.2-a, RFC9293-3.10.7.4-e.
#[test]
fn s36_a_syn_in_a_synchronized_state_is_challenged() {
    case(&format!(
        "{WINDOW_1000}
         in  <SEQ=100><CTL=SYN>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=600><CTL=SYN>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=5000><CTL=SYN>                        ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=99><ACK=300><CTL=SYN,ACK>             ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         hears nothing
         in  <SEQ=100><ACK=300><DATA=10><CTL=ACK>       ESTABLISHED
         out <SEQ=300><ACK=110><CTL=ACK>                ESTABLISHED
         hears readable
         unread 3106"
    ));
}

/// S37: RFC9293-3.5.2-d, RFC9293-3.10.5-a, RFC5961-3.2-c, A6, A12. The DUT is A, then B.
#[test]
fn s37_abort_with_data_in_flight() {
    case(
        "established 100 300
         send 10
         out <SEQ=100><ACK=300><DATA=10><CTL=ACK>       ESTABLISHED
         abort
         out <SEQ=110><ACK=300><CTL=RST,ACK>            CLOSED
         hears nothing
         in  <SEQ=300><ACK=100><CTL=ACK>                CLOSED
         out <SEQ=100><CTL=RST>                         CLOSED
         send 1
         hears not-connected",
    );
    case(
        "established 300 100
         in  <SEQ=110><CTL=RST>                         ESTABLISHED
         out <SEQ=300><ACK=100><CTL=ACK>                ESTABLISHED
         in  <SEQ=100><CTL=RST>                         CLOSED
         hears reset",
    );
}

/// S37: RFC9293-3.10.5-a, A12. Per state: a reset, or no segment. (In SYN-RECEIVED after a passive open the application has no
/// handle yet; after an active open it has.)
#[test]
fn s37_abort_in_every_state() {
    let fin = "out <SEQ=100><ACK=300><CTL=FIN,ACK>";
    let eof = "in <SEQ=300><ACK=100><CTL=FIN,ACK>";
    let told = [
        ("established 100 300".to_string(), 100, 300),
        (format!("established 100 300\nshutdown\n{fin}\nstate FIN-WAIT-1"), 101, 300),
        (format!("established 100 300\nshutdown\n{fin}\nin <SEQ=300><ACK=101><CTL=ACK> FIN-WAIT-2"), 101, 300),
        (format!("established 100 300\n{eof} CLOSE-WAIT\nout <SEQ=100><ACK=301><CTL=ACK>\nhears eof"), 100, 301),
        (
            "connect 99\nout <SEQ=99><CTL=SYN>\nin <SEQ=299><CTL=SYN> SYN-RECEIVED\nout <SEQ=99><ACK=300><CTL=SYN,ACK>"
                .into(),
            100,
            300,
        ),
    ];
    for (way, snd_nxt, rcv_nxt) in told {
        case(&format!("{way}\nabort\nout <SEQ={snd_nxt}><ACK={rcv_nxt}><CTL=RST,ACK>\nstate CLOSED\nhears nothing"));
    }
    let silent = [
        "connect 99\nout <SEQ=99><CTL=SYN> SYN-SENT".to_string(),
        format!("established 100 300\nshutdown\n{fin}\n{eof} CLOSING\nout <SEQ=101><ACK=301><CTL=ACK>\nhears eof"),
        format!(
            "established 100 300\n{eof}\nout <SEQ=100><ACK=301><CTL=ACK>\nhears eof\nshutdown\n\
             out <SEQ=100><ACK=301><CTL=FIN,ACK> LAST-ACK"
        ),
    ];
    for way in silent {
        case(&format!("{way}\nabort\nstate CLOSED\nhears nothing"));
    }
    // TIME-WAIT is a record: the application was told its end and has nothing left to abort.
    case(&format!(
        "established 100 300\nshutdown\n{fin}\nin <SEQ=300><ACK=101><CTL=FIN,ACK> TIME-WAIT\n\
         out <SEQ=101><ACK=301><CTL=ACK>\nhears eof\nhears closed\nabort\nhears not-connected\nstate TIME-WAIT"
    ));
}

/// Table P2, which is RFC 9293's table 6 for RCV.NXT=1000: SEQ, and for each LEN and WND whether it is acceptable.
const P2: [(i64, [bool; 6]); 9] = [
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

/// P2: RFC9293-3.10.7.4-a, RFC9293-3.10.7.4-b, RFC9293-3.10.7.4-c. The buffer of 4,096 is filled until the window is WND, at RCV.NXT = 1000.
#[test]
fn p2_segment_acceptability() {
    for (seq, row) in P2 {
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
            // The ACK of a peer that has filled the window is heard all the same (decision 42).
            let filled = (seq, len, wnd) == (2000, 0, 1000);
            // Processed: its acknowledgment counts. Not: it is answered by an ACK and delivers nothing.
            if *acceptable && len > 0 && seq <= 1000 {
                let end = (seq + len).min(2000);
                script += &format!("out <SEQ=301><ACK={end}><CTL=ACK>\nhears readable\nunread {}\n", end - first);
            } else if len == 0 && (*acceptable || filled) {
                script += &format!("unread {fill}\n");
            } else {
                script += &format!("out <SEQ=301><ACK=1000><CTL=ACK>\nunread {fill}\n");
            }
            // At a zero window RCV.NXT is special: the ACK counts though the octet is refused.
            let counts = *acceptable || filled || (wnd == 0 && seq == 1000);
            script += if counts { "queued 0\n" } else { "queued 1\n" };
            case(&script);
        }
    }
}
