//! How a connection ends other than in order, and why a segment was dropped.

/// Why a connection failed, by whose fault.
///
/// `std::io::ErrorKind` has a name for each; `runtime` maps them (this crate is `no_std`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// The peer sent RST on a connection that was open (`ConnectionReset`).
    Reset,
    /// The peer answered our SYN with RST, or by ICMP that nobody listens (`ConnectionRefused`).
    Refused,
    /// The path or the peer is silent: retransmission gave up (`TimedOut`; RFC 9293 section 3.8.3, R2).
    TimedOut,
    /// The next hop does not answer, or a router says that the peer can't be reached (`HostUnreachable`).
    HostUnreachable,
    /// A router says that there is no route to the peer (`NetworkUnreachable`).
    NetworkUnreachable,
    /// We sent RST: `abort`, or `close` with unread data (`ConnectionAborted`).
    Aborted,
    /// We have shut down writing and tried to write (`BrokenPipe`).
    BrokenPipe,
    /// There is no such connection any more (`NotConnected`).
    NotConnected,
}

impl Error {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// Every one, in the order of [`index`](Self::index).
    pub const ALL: [Self; Self::COUNT] = [
        Self::Reset,
        Self::Refused,
        Self::TimedOut,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::Aborted,
        Self::BrokenPipe,
        Self::NotConnected,
    ];

    /// Its place in an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// In a sentence's words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "the peer reset the connection",
            Self::Refused => "the peer refused the connection",
            Self::TimedOut => "the peer did not answer",
            Self::HostUnreachable => "the peer can't be reached",
            Self::NetworkUnreachable => "the peer's network can't be reached",
            Self::Aborted => "the connection was aborted on this side",
            Self::BrokenPipe => "this side has shut down writing",
            Self::NotConnected => "the connection is closed",
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Error {}

/// Why a well-formed segment for a connection was not processed; counted by the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Fails the acceptability test of RFC 9293 table 6.
    OutOfWindow,
    /// RST outside the window, or in the window without being exact (RFC 5961 section 3.2).
    ResetNotExact,
    /// SYN in a synchronized state (RFC 5961 section 4.2).
    UnexpectedSyn,
    /// No ACK where there must be one.
    NoAck,
    /// Acknowledges what was never sent, or is too old to trust (RFC 5961 section 5.2).
    AckUnacceptable,
    /// In SYN-SENT: neither an acceptable SYN nor an acceptable RST.
    NotSynSent,
    /// Data that was not kept, or not whole: in order without memory, or out of order at one of the limits of that. The peer will
    /// send it again.
    NoMemory,
    /// Data for an application that is gone, or that has shut down reading: answered by RST.
    NobodyReads,
    /// Its timestamp is older than the latest (RFC 7323 section 5.3, PAWS): answered by an ACK.
    OldTimestamp,
    /// It carries no timestamp though both sides agreed on them (RFC 7323 section 3.2).
    NoTimestamp,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 10;
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: [Self; Self::COUNT] = [
        Self::OutOfWindow,
        Self::ResetNotExact,
        Self::UnexpectedSyn,
        Self::NoAck,
        Self::AckUnacceptable,
        Self::NotSynSent,
        Self::NoMemory,
        Self::NobodyReads,
        Self::OldTimestamp,
        Self::NoTimestamp,
    ];

    /// The reason's place in an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The counter's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfWindow => "tcp_out_of_window",
            Self::ResetNotExact => "tcp_reset_not_exact",
            Self::UnexpectedSyn => "tcp_unexpected_syn",
            Self::NoAck => "tcp_no_ack",
            Self::AckUnacceptable => "tcp_ack_unacceptable",
            Self::NotSynSent => "tcp_not_for_syn_sent",
            Self::NoMemory => "tcp_no_memory",
            Self::NobodyReads => "tcp_nobody_reads",
            Self::OldTimestamp => "tcp_old_timestamp",
            Self::NoTimestamp => "tcp_no_timestamp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_index() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
        }
    }
}
