//! Listing connections a piece at a time, so that a million of them don't stop the loop.

use super::{Instant, Shard};
use alloc::vec::Vec;
use core::net::SocketAddr;
use tcp::State;
use wheel::Duration;

/// What `fourwave ss` shows of one connection or TIME-WAIT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The state.
    pub state: State,
    /// Bytes accepted from the application and not acknowledged.
    pub send_queue_bytes: u32,
    /// Bytes received in order and not read.
    pub receive_queue_bytes: u32,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Congestion window, bytes.
    pub cwnd_bytes: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// The timer that is due first, and in how long.
    pub timer: Option<(&'static str, Duration)>,
    /// Since the connection was opened; for TIME-WAIT, since that began.
    pub age: Duration,
    /// Since it came into its state. In CLOSE-WAIT: how long the application has sat on the peer's FIN.
    pub state_age: Duration,
}

/// Where a listing goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    connection: u32,
    half_open: u32,
    time_wait: u32,
    foreign: u32,
}

impl Shard {
    /// Adds up to `max` slots' connections, then those in SYN-RECEIVED, then TIME-WAIT records, then connections over the kernel's sockets, to
    /// `out`; `None` when the listing is complete.
    pub fn list(&self, now: Instant, cursor: Cursor, max: u32, out: &mut Vec<ConnectionInfo>) -> Option<Cursor> {
        let slots = self.conns.slots();
        if cursor.connection < slots {
            let end = cursor.connection.saturating_add(max).min(slots);
            out.extend((cursor.connection..end).filter_map(|slot| self.connection_info(now, slot)));
            return Some(Cursor { connection: end, ..cursor });
        }
        if cursor.half_open < self.half_opens.slots() {
            let end = cursor.half_open.saturating_add(max).min(self.half_opens.slots());
            out.extend((cursor.half_open..end).filter_map(|slot| self.half_open_info(now, slot)));
            return Some(Cursor { half_open: end, ..cursor });
        }
        if cursor.time_wait < self.time_waits.slots() {
            let end = cursor.time_wait.saturating_add(max).min(self.time_waits.slots());
            out.extend((cursor.time_wait..end).filter_map(|slot| self.time_wait_info(now, slot)));
            return (end < self.time_waits.slots() || self.foreign.is_some())
                .then_some(Cursor { time_wait: end, ..cursor });
        }
        let next = self.foreign.as_ref()?.list(now, cursor.foreign, max, out);
        next.map(|foreign| Cursor { foreign, ..cursor })
    }

    fn connection_info(&self, now: Instant, slot: u32) -> Option<ConnectionInfo> {
        let awake = self.conns.awake(slot).filter(|e| !e.over && !e.unread_end).map(|e| (e.key, e.conn.info()));
        let (key, info) = awake.or_else(|| self.conns.resting_info(slot))?;
        if info.state == State::Closed {
            // It was reset before it was accepted.
            return None;
        }
        Some(ConnectionInfo {
            local: key.local(),
            remote: key.remote(),
            state: info.state,
            send_queue_bytes: info.send_queue_bytes,
            receive_queue_bytes: info.receive_queue_bytes,
            srtt: info.srtt,
            cwnd_bytes: info.cwnd_bytes,
            retransmits: info.retransmits,
            timer: info.timer.map(|(name, at)| (name, at - now)),
            age: now - info.opened,
            state_age: now - info.since,
        })
    }

    fn half_open_info(&self, now: Instant, slot: u32) -> Option<ConnectionInfo> {
        let record = self.half_opens.get(slot)?;
        Some(ConnectionInfo {
            local: record.key.local(),
            remote: record.key.remote(),
            state: State::SynReceived,
            send_queue_bytes: 0,
            receive_queue_bytes: 0,
            srtt: None,
            cwnd_bytes: 0,
            retransmits: record.half.timeouts().into(),
            timer: self.half_opens.deadline(slot).map(|at| ("retransmit", at - now)),
            age: now - record.half.began(),
            state_age: now - record.half.began(),
        })
    }

    fn time_wait_info(&self, now: Instant, slot: u32) -> Option<ConnectionInfo> {
        let record = self.time_waits.get(slot)?;
        let left = self.time_waits.until(slot).map_or(Duration::ZERO, |until| until - now);
        Some(ConnectionInfo {
            local: record.key.local(),
            remote: record.key.remote(),
            state: State::TimeWait,
            send_queue_bytes: 0,
            receive_queue_bytes: 0,
            srtt: None,
            cwnd_bytes: 0,
            retransmits: 0,
            timer: Some(("time-wait", left)),
            age: record.lasts - left,
            state_age: record.lasts - left,
        })
    }
}
