//! How full a shard is.

use super::{Counters, Foreign, Shard};
use tcp::CHUNK_BYTES;

/// What a shard holds now, and may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Connections of the stack's own, in any state but TIME-WAIT and the SYN-RECEIVED of a passive open.
    pub connections: u64,
    /// The most there may be.
    pub connections_limit: u64,
    /// Passive opens in SYN-RECEIVED.
    pub half_open: u64,
    /// The most there may be.
    pub half_open_limit: u64,
    /// TIME-WAIT records.
    pub time_wait: u64,
    /// The most there may be.
    pub time_wait_limit: u64,
    /// Timers of the application that run.
    pub timers: u64,
    /// The most there may be.
    pub timers_limit: u64,
    /// Bytes of the pool that are held: data that is queued, unacknowledged, unread or out of order, in whole chunks.
    pub pool_bytes: u64,
    /// The most there may be.
    pub pool_limit_bytes: u64,
    /// Pieces of the application's memory that are held by reference.
    pub references: u64,
    /// Listeners of the stack's own.
    pub listeners: u64,
    /// Connections that wait in their accept queues.
    pub accept_queued: u64,
}

impl Shard {
    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let chunks = |n: u32| u64::from(n) * CHUNK_BYTES as u64;
        let (listeners, accept_queued) = self.listeners.usage();
        Usage {
            connections: self.own_connections() as u64,
            connections_limit: self.config.max_connections.into(),
            half_open: self.half_open() as u64,
            half_open_limit: self.config.max_half_open.into(),
            time_wait: self.time_waits() as u64,
            time_wait_limit: self.config.max_time_wait.into(),
            timers: self.timers.len() as u64,
            timers_limit: self.config.max_timers.into(),
            pool_bytes: chunks(self.pool.chunks_in_use()),
            pool_limit_bytes: chunks(self.pool.chunk_limit()),
            references: self.pool.references().into(),
            listeners: listeners as u64,
            accept_queued: accept_queued as u64,
        }
    }

    /// The counters, with those that others keep for the shard: what it has cost that memory is limited, what was sent again, and
    /// the kernel's sockets.
    #[must_use]
    pub fn all_counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        (counters.memory, counters.losses) = (*self.pool.counters(), *self.pool.losses());
        if let Some(foreign) = self.foreign.as_ref().map(Foreign::counters) {
            counters.sockets = foreign;
        }
        counters
    }
}
