//! How much a shard and its port may hold.

use stack::ShardConfig;
use xdp::XskConfig;

/// Limits of each shard, as [`ShardConfig`] has them; `None`: its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub max_connections: Option<u32>,
    /// Passive opens in SYN-RECEIVED.
    pub max_half_open: Option<u32>,
    /// TIME-WAIT records.
    pub max_time_wait: Option<u32>,
    /// Timers of the application.
    pub max_timers: Option<u32>,
    /// Messages that wait for the shard.
    pub max_messages: Option<u32>,
    /// Bytes of data kept for all connections together.
    pub pool_bytes: Option<usize>,
    /// Frames of a queue's memory, as [`XskConfig`] has them.
    pub frames: Option<u32>,
    /// Descriptors of each of its rings, as [`XskConfig`] has them.
    pub ring: Option<u32>,
    /// Records of what happens to connections.
    pub trace_records: Option<u32>,
}

impl Limits {
    /// Checked where the shard is made.
    pub(crate) fn apply(&self, config: &mut ShardConfig) {
        fn set<T: Copy>(to: &mut T, limit: Option<T>) {
            *to = limit.unwrap_or(*to);
        }
        set(&mut config.max_connections, self.max_connections);
        set(&mut config.max_half_open, self.max_half_open);
        set(&mut config.max_time_wait, self.max_time_wait);
        set(&mut config.max_timers, self.max_timers);
        set(&mut config.max_messages, self.max_messages);
        set(&mut config.pool_bytes, self.pool_bytes);
        set(&mut config.trace_records, self.trace_records);
    }

    /// Checked where the port is opened.
    pub(crate) fn of_port(&self) -> XskConfig {
        let default = XskConfig::default();
        let ring = |usual| self.ring.unwrap_or(usual);
        XskConfig {
            frame_count: self.frames.unwrap_or(default.frame_count),
            rx_ring: ring(default.rx_ring),
            tx_ring: ring(default.tx_ring),
            fill_ring: ring(default.fill_ring),
            completion_ring: ring(default.completion_ring),
            ..default
        }
    }
}
