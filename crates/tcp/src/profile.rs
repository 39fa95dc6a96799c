//! What a connection is tuned for, in one word.

/// What a connection is for, where shorter waits cost frames and fewer frames cost waits.
///
/// A profile sets several things at once, each of which may be set otherwise behind it. What the peer sees stays within the
/// RFCs with each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Nagle's algorithm is on; young connections, and those behind a loss, acknowledge every data segment at once, later every
    /// second full one is, or one in eight where a round trip brings many.
    #[default]
    Balanced,
    /// Nothing waits: Nagle's algorithm is off, nothing is corked, the data of each turn of the loop is acknowledged in that turn,
    /// and what leaves in bursts does so in the smallest ([`min_burst`](crate::Settings::min_burst), two segments when paced).
    Latency,
    /// Few frames: Nagle's algorithm is on, an acknowledgment waits for an answer to go with (for a millisecond where it would
    /// have been sent at once), and is one for up to sixteen segments where a round trip brings many; the application may queue
    /// four times [`send_buffer_start_bytes`](crate::Settings::send_buffer_start_bytes) from the start.
    Throughput,
}
