//! Rows for people.

use std::fmt::Write as _;

use fourwave::control::Row;

use crate::out;

pub(super) fn head() -> String {
    format!(
        "{:<13}{:>9}{:>9}  {:<28}{:<28}{:>9}{:>10}{:>8}  {:<12}{:<12}{:>8}{:>11}",
        "state", "recv-q", "send-q", "local", "remote", "rtt", "cwnd", "retrans", "why", "timer", "age", "in state"
    )
}

/// One connection, record or listener. Of a listener the queues are what ss shows there: who waits, and how many may.
pub(super) fn line(row: &Row) -> String {
    let queues = row.listener.map_or((row.receive_queue_bytes, row.send_queue_bytes), |listener| {
        let limit = listener.accept_queue_limit_connections.unwrap_or(listener.backlog_connections);
        (listener.accept_queue_connections, limit)
    });
    let listens = row.listener.is_some();
    let age = |seconds: f64| if listens { "-".into() } else { format!("{seconds:.0} s") };
    format!(
        "{:<13}{:>9}{:>9}  {:<28}{:<28}{:>9}{:>10}{:>8}  {:<12}{:<12}{:>8}{:>11}",
        row.state,
        queues.0,
        queues.1,
        row.local,
        if listens { "*:*" } else { &row.remote },
        row.rtt_us.map_or("-".into(), |us| out::nanoseconds(us * 1e3)),
        row.cwnd_bytes,
        row.retransmits,
        row.why.as_deref().unwrap_or("-"),
        row.timer.as_deref().unwrap_or("-"),
        age(row.age_s),
        age(row.state_age_s)
    )
}

/// All the rest of it, in the words of `ss -i` where there are some.
pub(super) fn details(row: &Row) -> String {
    let mut text = format!("    pid:{} shard:{} via:{}", row.pid, row.shard, row.via);
    let mut add = |name: &str, value: String| {
        let _ = write!(text, " {name}:{value}");
    };
    if let Some(listener) = row.listener {
        add("half_open", format!("{}/{}", listener.half_open_connections, listener.backlog_connections));
        return text;
    }
    for timer in &row.timers {
        add("timer", format!("{}/{}", timer.name, out::nanoseconds(timer.left_ms * 1e6)));
    }
    if row.mss_bytes > 0 {
        let time = |us: Option<f64>| us.map_or("-".into(), |us| out::nanoseconds(us * 1e3));
        add("mss", row.mss_bytes.to_string());
        add("rtt", format!("{}/{}", time(row.rtt_us), time(row.rttvar_us)));
        add("minrtt", time(row.min_rtt_us));
        add("rto", row.rto_ms.map_or("-".into(), |ms| out::nanoseconds(ms * 1e6)));
        add("ssthresh", row.ssthresh_bytes.map_or("-".into(), |bytes| bytes.to_string()));
        add("peer_window", row.peer_window_bytes.to_string());
        add("in_flight", row.in_flight_bytes.to_string());
        add("unacked", row.unacked_bytes.to_string());
        add("notsent", row.unsent_bytes.to_string());
        add("sacked", row.sacked_bytes.to_string());
        add("lost", row.lost_bytes.to_string());
        add("retrans", format!("{}/{}", row.timeouts, row.retransmits));
        add("window_probes", row.window_probes.to_string());
        add("bytes_sent", row.bytes_sent.to_string());
        add("bytes_acked", row.bytes_acked.to_string());
        add("bytes_received", row.bytes_received.to_string());
        add("rcv_space", row.receive_buffer_bytes.to_string());
        add("pacing_rate", row.pacing_rate_bytes_per_s.map_or("-".into(), |rate| format!("{}/s", bytes(rate as f64))));
    }
    if let Some(means) = &row.why_means {
        let _ = write!(text, "\n    {}: {means}", row.why.as_deref().unwrap_or_default());
    }
    text
}

/// Bytes, or bytes per second, for people.
pub(crate) fn bytes(bytes: f64) -> String {
    let (value, unit) = match bytes {
        bytes if bytes < 1e3 => return format!("{bytes:.0} B"),
        bytes if bytes < 1e6 => (bytes / 1e3, "kB"),
        bytes if bytes < 1e9 => (bytes / 1e6, "MB"),
        bytes => (bytes / 1e9, "GB"),
    };
    format!("{value:.*} {unit}", if value < 10.0 { 2 } else { usize::from(value < 100.0) })
}
