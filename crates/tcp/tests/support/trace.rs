//! Traces of what both ends send, as short as they can be written.
//!
//! A line is `+10ms < 1 sack 4001-5001` (10 ms later the peer acknowledges 1 and reports a block; `ts 20` echoes our
//! timestamp of that millisecond; `wnd=1000` behind the number is another window than 60,000), `> 1:2001` (we send these
//! numbers, in segments of one MSS at most, `F` behind it with FIN), `write 1000`, `close`, `+10ms` (time passes, timers fire).

use super::case_with;
use tcp::Settings;

/// The options of a SYN with SACK permitted.
pub const SACK: &str = "<SACK-OK=1>";

/// Plays a trace: of an MSS of 1,000, with these options of the SYN, and this round trip.
pub fn trace(options: &str, rtt: &str, lines: &str) {
    trace_with(|_| {}, options, rtt, lines);
}

/// The same with other settings.
pub fn trace_with(change: impl Fn(&mut Settings), options: &str, rtt: &str, lines: &str) {
    case_with(change, &script(1000, options, rtt, lines));
}

/// The script of a trace in the segment notation. Our numbers begin at 1, the peer's at 1; the peer's window is 60,000.
pub fn script(mss: u32, options: &str, rtt: &str, trace: &str) -> String {
    let stamps = options.contains("TSval");
    let mut now = 0;
    let mut script = format!(
        "listen 0\nin <SEQ=0><CTL=SYN><MSS={mss}>{options}\nout <SEQ=0><ACK=1><CTL=SYN,ACK>{}\nwait {rtt}\n",
        if stamps { "<TSval=0><TSecr=1>" } else { "" }
    );
    let ms = |time: &str| time.trim_start_matches('+').trim_end_matches("ms").parse::<u32>().expect("milliseconds");
    let stamp = |now: u32| if stamps { format!("<TSval={now}><TSecr=1>") } else { String::new() };
    let mss = if stamps { mss - 12 } else { mss };
    now += ms(rtt);
    script += &format!(
        "in <SEQ=1><ACK=1><WND=60000><CTL=ACK>{}\nhears connected\nunlisten\n",
        if stamps { "<TSval=1><TSecr=0>" } else { "" }
    );
    for line in trace.lines().map(|l| l.split("//").next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
        let mut words = line.split_whitespace().peekable();
        if let Some(time) = words.next_if(|w| w.starts_with('+')) {
            now += ms(time);
            script += &format!("wait {}\n", &time[1..]);
        }
        match words.next() {
            Some("<") => {
                let number = words.next().expect("a number");
                let window = words.next_if(|w| w.starts_with("wnd=")).map_or("60000", |w| &w[4..]);
                let mut ack = format!("in <SEQ=1><ACK={number}><WND={window}><CTL=ACK>");
                while let Some(word) = words.next() {
                    let value = words.next().expect("a value");
                    ack += &match word {
                        "sack" => format!("<SACK={value}>"),
                        "ts" => format!("<TSval=1><TSecr={value}>"),
                        other => panic!("{other}"),
                    };
                }
                script += &(ack + "\n");
            }
            Some(">") => {
                let range = words.next().expect("a range");
                let (from, to) = range.trim_end_matches('F').split_once(':').expect("a range");
                let (mut from, to): (u32, u32) = (from.parse().expect("a number"), to.parse().expect("a number"));
                loop {
                    let len = (to - from).min(mss);
                    let fin = range.ends_with('F') && from + len == to;
                    let flags = if fin { "FIN,ACK" } else { "ACK" };
                    script += &format!("out <SEQ={from}><ACK=1><DATA={len}><CTL={flags}>{}\n", stamp(now));
                    from += len;
                    if from >= to {
                        break;
                    }
                }
            }
            Some("write") => script += &format!("send {}\n", words.next().expect("octets")),
            Some(verb) => script += &format!("{verb}\n"),
            None => {}
        }
    }
    script
}
