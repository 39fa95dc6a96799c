//! What is told of one connection.

use serde::{Deserialize, Serialize};
use stack::{ConnectionInfo, Duration, Info, Listing, More, Via, Waiting, Why};

/// One connection, record or listener, as `fourwave ss --json` prints it. What one of these does not have is absent or zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Whose it is.
    pub pid: u32,
    /// Our address and port.
    pub local: String,
    /// The peer's.
    pub remote: String,
    /// The state, as RFC 9293 spells it.
    pub state: String,
    /// The shard it lives on.
    pub shard: usize,
    /// `stack`, or `kernel`: over its sockets.
    pub via: String,
    /// One word: why it is not sending. Absent of listeners and the kernel's connections.
    pub why: Option<String>,
    /// The same in a sentence.
    pub why_means: Option<String>,
    /// Bytes accepted from the application and not yet acknowledged.
    pub send_queue_bytes: u32,
    /// Of them, never sent.
    pub unsent_bytes: u32,
    /// Of them, sent and not acknowledged.
    pub unacked_bytes: u32,
    /// Bytes believed to be in the network.
    pub in_flight_bytes: u32,
    /// Bytes reported by SACK, and not acknowledged otherwise.
    pub sacked_bytes: u32,
    /// Bytes taken for lost, and not acknowledged.
    pub lost_bytes: u32,
    /// Bytes received in order and not yet read.
    pub receive_queue_bytes: u32,
    /// What may lie unread or out of order.
    pub receive_buffer_bytes: u32,
    /// Smoothed round-trip time, microseconds; absent before the first sample.
    pub rtt_us: Option<f64>,
    /// Its variation.
    pub rttvar_us: Option<f64>,
    /// The least of the last minutes.
    pub min_rtt_us: Option<f64>,
    /// The retransmission timeout, backed off.
    pub rto_ms: Option<f64>,
    /// Congestion window, bytes.
    pub cwnd_bytes: u32,
    /// Slow-start threshold; absent before the first sign of congestion.
    pub ssthresh_bytes: Option<u32>,
    /// The window the peer offers.
    pub peer_window_bytes: u32,
    /// The most data in a segment of ours.
    pub mss_bytes: u16,
    /// What leaves in a second at most; absent where segments are not paced.
    pub pacing_rate_bytes_per_s: Option<u64>,
    /// Segments sent again, in all.
    pub retransmits: u32,
    /// Timeouts of the retransmission timer behind one another, now.
    pub timeouts: u8,
    /// Probes of a closed window, now.
    pub window_probes: u8,
    /// Bytes of data sent, each counted once.
    pub bytes_sent: u64,
    /// Of them, acknowledged.
    pub bytes_acked: u64,
    /// Bytes of data received in order.
    pub bytes_received: u64,
    /// The timer that is due first; absent when none runs.
    pub timer: Option<String>,
    /// In how many milliseconds it is due.
    pub timer_ms: Option<f64>,
    /// All that run.
    pub timers: Vec<TimerRow>,
    /// Of a listener: who waits.
    pub listener: Option<ListenerRow>,
    /// Seconds since the connection was opened (TIME-WAIT: since that began).
    pub age_s: f64,
    /// Seconds since it came into its state; in CLOSE-WAIT: since the peer's FIN, which the application has not answered.
    pub state_age_s: f64,
}

/// A timer that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimerRow {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub left_ms: f64,
}

/// Who waits at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// Connections nobody has accepted yet.
    pub accept_queue_connections: u32,
    /// How many of those there may be; absent if the application takes each at once.
    pub accept_queue_limit_connections: Option<u32>,
    /// Connections that are half open.
    pub half_open_connections: u32,
    /// How many of those there may be.
    pub backlog_connections: u32,
}

impl Row {
    /// `blocked`: the device takes nothing.
    pub(super) fn new(shard: usize, info: &ConnectionInfo, blocked: bool) -> Self {
        let mut row = Self::bare(shard, info);
        let why = info.why.map(|why| if blocked && why == Why::Sending { Why::Device } else { why });
        (row.why, row.why_means) = (why.map(|why| why.name().into()), why.map(|why| why.explanation().into()));
        match &info.more {
            More::Nothing => {}
            More::Connection(more, listing) => row.add(info, more, listing),
            More::Listener(waiting) => row.listener = Some(listener(*waiting)),
        }
        row
    }

    fn bare(shard: usize, info: &ConnectionInfo) -> Self {
        let timer = info.timer.map(|(name, left)| TimerRow { name: name.into(), left_ms: ms(left) });
        Self {
            pid: std::process::id(),
            local: info.local.to_string(),
            remote: info.remote.to_string(),
            state: info.state.name().into(),
            shard,
            via: if info.via == Via::Kernel { "kernel" } else { "stack" }.into(),
            why: None,
            why_means: None,
            send_queue_bytes: info.send_queue_bytes,
            unsent_bytes: 0,
            unacked_bytes: 0,
            in_flight_bytes: 0,
            sacked_bytes: 0,
            lost_bytes: 0,
            receive_queue_bytes: info.receive_queue_bytes,
            receive_buffer_bytes: 0,
            rtt_us: info.srtt.map(us),
            rttvar_us: None,
            min_rtt_us: None,
            rto_ms: None,
            cwnd_bytes: info.cwnd_bytes,
            ssthresh_bytes: None,
            peer_window_bytes: 0,
            mss_bytes: 0,
            pacing_rate_bytes_per_s: None,
            retransmits: info.retransmits,
            timeouts: 0,
            window_probes: 0,
            bytes_sent: 0,
            bytes_acked: 0,
            bytes_received: 0,
            timer: timer.as_ref().map(|timer| timer.name.clone()),
            timer_ms: timer.as_ref().map(|timer| timer.left_ms),
            timers: timer.into_iter().collect(),
            listener: None,
            age_s: info.age.as_secs_f64(),
            state_age_s: info.state_age.as_secs_f64(),
        }
    }

    fn add(&mut self, of: &ConnectionInfo, info: &Info, listing: &Listing) {
        self.unsent_bytes = listing.unsent_bytes;
        self.unacked_bytes = info.send_queue_bytes.saturating_sub(listing.unsent_bytes);
        self.in_flight_bytes = info.in_flight_bytes;
        self.sacked_bytes = info.sacked_bytes;
        self.lost_bytes = info.lost_bytes;
        self.receive_buffer_bytes = info.receive_buffer_bytes;
        self.rttvar_us = info.srtt.map(|_| us(listing.rttvar));
        self.min_rtt_us = info.srtt.map(|_| us(listing.min_rtt));
        self.rto_ms = Some(ms(listing.rto));
        self.ssthresh_bytes = info.ssthresh_bytes;
        self.peer_window_bytes = listing.peer_window_bytes;
        self.mss_bytes = info.send_mss;
        self.pacing_rate_bytes_per_s = listing.pacing_rate;
        self.timeouts = listing.timeouts;
        self.window_probes = listing.window_probes;
        self.bytes_sent = listing.bytes_sent;
        self.bytes_acked = listing.bytes_acked;
        self.bytes_received = listing.bytes_received;
        let mut timers: Vec<_> = listing.timers.iter().map(|(name, at)| (at, name)).collect();
        timers.sort_unstable();
        let row = |(at, name): (_, &str)| TimerRow { name: name.into(), left_ms: ms(at - of.at) };
        self.timers = timers.into_iter().map(row).collect();
    }
}

fn listener(waiting: Waiting) -> ListenerRow {
    ListenerRow {
        accept_queue_connections: waiting.accept_queue,
        accept_queue_limit_connections: waiting.accept_queue_limit,
        half_open_connections: waiting.half_open,
        backlog_connections: waiting.backlog,
    }
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::{Instant, State};

    /// What has something to send waits for the device if that takes nothing; what waits for something else does so all the same.
    #[test]
    fn a_device_that_takes_nothing_is_why() {
        let why = |why, blocked| {
            let at = |port| ([10, 0, 0, 1], port).into();
            let bare = ConnectionInfo::bare(Instant::ZERO, at(1), at(2), State::Established, Duration::ZERO);
            Row::new(0, &ConnectionInfo { why, ..bare }, blocked).why
        };
        assert_eq!(why(Some(Why::Sending), true).as_deref(), Some("device"));
        assert_eq!(why(Some(Why::Sending), false).as_deref(), Some("sending"));
        assert_eq!(why(Some(Why::Cwnd), true).as_deref(), Some("cwnd"));
        assert_eq!(why(None, true), None);
    }
}
