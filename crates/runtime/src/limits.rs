//! How much a shard may hold.

use stack::ShardConfig;

/// Limits of each shard, as [`ShardConfig`] has them; `None`: its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "they are called as in the shard's configuration")]
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
    }
}
