//! What a connection is like when a frame of its passes: for people who read captures.

use super::{FlowKey, Shard};
use crate::{flow_tag::flow_of, table::Owner};
use core::fmt;
use tcp::{Info, State};

/// A connection, or what comes before and after one.
#[derive(Debug, Clone)]
pub struct Passing {
    /// The state.
    pub state: State,
    /// What a connection has besides; `None` in SYN-RECEIVED, as far as that is a record, and in TIME-WAIT.
    pub info: Option<Info>,
}

impl fmt::Display for Passing {
    /// The state, windows and bytes in bytes, and the round trip in microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state.name())?;
        let Some(info) = &self.info else { return Ok(()) };
        write!(f, ", cwnd {}, ssthresh ", info.cwnd_bytes)?;
        match info.ssthresh_bytes {
            Some(ssthresh) => write!(f, "{ssthresh}")?,
            None => f.write_str("none")?,
        }
        match info.srtt {
            Some(srtt) => write!(f, ", srtt {}.{:03} us", srtt.as_nanos() / 1000, srtt.as_nanos() % 1000)?,
            None => f.write_str(", srtt none")?,
        }
        write!(f, ", in flight {}", info.in_flight_bytes)?;
        for (what, bytes) in [("sacked", info.sacked_bytes), ("lost", info.lost_bytes)] {
            if bytes > 0 {
                write!(f, ", {what} {bytes}")?;
            }
        }
        write!(f, ", send queue {}, receive queue {}", info.send_queue_bytes, info.receive_queue_bytes)?;
        if info.retransmits > 0 {
            write!(f, ", sent again {}", info.retransmits)?;
        }
        match info.timer {
            Some((timer, _)) => write!(f, ", timer {timer}"),
            None => Ok(()),
        }
    }
}

impl Shard {
    /// The connection of a frame that was received, or sent, as it is now; `None` if this shard has none that it is of.
    #[must_use]
    pub fn passing(&self, frame: &[u8], sent: bool) -> Option<Passing> {
        let mut key = flow_of(frame)?;
        if sent {
            let ((local, remote), (local_port, remote_port)) = (key.addresses(), key.ports());
            key = FlowKey::of(remote, remote_port, local, local_port);
        }
        let (conns, half_opens, time_waits) = (&self.conns, &self.half_opens, &self.time_waits);
        let same = |owner| match owner {
            Owner::Connection(slot) => conns.is(slot, &key),
            Owner::TimeWait(slot) => time_waits.is(slot, &key),
            Owner::HalfOpen(slot) => half_opens.get(slot).is_some_and(|record| record.key == key),
        };
        let info = match self.table.find(self.table.hash(&key), same)? {
            Owner::TimeWait(_) => return Some(Passing { state: State::TimeWait, info: None }),
            Owner::HalfOpen(_) => return Some(Passing { state: State::SynReceived, info: None }),
            Owner::Connection(slot) => match conns.awake(slot) {
                Some(entry) => entry.conn.info(),
                None => conns.resting_info(slot)?.0,
            },
        };
        Some(Passing { state: info.state, info: Some(info) })
    }
}
