//! What each shard of a stack may hold.

use crate::Stack;

/// Each is for one shard, and checked when the stack starts: what is out of its range is refused by its name.
impl Stack {
    /// Connections, in any state but TIME-WAIT and the SYN-RECEIVED of a passive open. Beyond it SYNs wait for the peer to
    /// repeat them (`connections_full`), and opens fail ([`ConnectError::TooMany`](crate::ConnectError::TooMany)). 1 to 2^30;
    /// default: 2^20.
    #[must_use]
    pub const fn max_connections(mut self, connections: u32) -> Self {
        self.options.limits.max_connections = Some(connections);
        self
    }

    /// Passive opens in SYN-RECEIVED, of all listeners together; beyond it SYNs are answered by cookies, where those are allowed
    /// ([`SynCookies`](crate::SynCookies)). 1 to 2^24; default: 2^18. Not over the kernel's sockets (`net.ipv4.tcp_max_syn_backlog`).
    #[must_use]
    pub const fn max_half_open(mut self, opens: u32) -> Self {
        self.options.limits.max_half_open = Some(opens);
        self
    }

    /// TIME-WAIT records. 1 to 2^30; default: 2^20. Not over the kernel's sockets (`net.ipv4.tcp_max_tw_buckets`).
    #[must_use]
    pub const fn max_time_wait(mut self, records: u32) -> Self {
        self.options.limits.max_time_wait = Some(records);
        self
    }

    /// Timers of the application that run at once; beyond it [`Io::start_timer`](crate::Io::start_timer) fails. 0 to 2^30;
    /// default: 2^22.
    #[must_use]
    pub const fn max_timers(mut self, timers: u32) -> Self {
        self.options.limits.max_timers = Some(timers);
        self
    }

    /// Messages that may wait for one shard; beyond it [`Io::post`](crate::Io::post) and [`Poster::post`](crate::Poster::post)
    /// give them back. 1 to 2^20; default: 4096.
    #[must_use]
    pub const fn max_messages(mut self, messages: u32) -> Self {
        self.options.limits.max_messages = Some(messages);
        self
    }

    /// Bytes of data kept for all connections together, sent and received. 16 KiB to 4 TiB; default: 256 MiB. It is taken from
    /// the system as it is needed. Not over the kernel's sockets (`net.ipv4.tcp_mem`).
    #[must_use]
    pub const fn pool_bytes(mut self, bytes: usize) -> Self {
        self.options.limits.pool_bytes = Some(bytes);
        self
    }

    /// Frames of 4096 bytes in the memory of each queue (UMEM), which is locked. 128 to 1,048,576; default: 8192. Of fewer than
    /// the four rings hold those that come and go take from each other. Not over the kernel's sockets.
    #[must_use]
    pub const fn frames(mut self, frames: u32) -> Self {
        self.options.limits.frames = Some(frames);
        self
    }

    /// Frames that each of a queue's rings holds: longer ones take in longer bursts before the kernel drops. A power of two from
    /// 64 to 32,768; default: 2048. Not over the kernel's sockets.
    #[must_use]
    pub const fn ring(mut self, frames: u32) -> Self {
        self.options.limits.ring = Some(frames);
        self
    }

    /// Records of what happens to connections, of 32 bytes: half of them for the course of their lives, half for what is unusual
    /// ([`recorder`](crate::recorder)). 0 to 2^24, where 0 is none; default: 65,536. Not over the kernel's sockets.
    #[must_use]
    pub const fn trace_records(mut self, records: u32) -> Self {
        self.options.limits.trace_records = Some(records);
        self
    }
}
