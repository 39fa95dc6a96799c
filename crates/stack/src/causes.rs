//! Why resets were sent, and by what connections ended that did not end in order.

use tcp::Error;

/// Why a reset was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResetCause {
    /// There is no connection and no listener.
    NoEndpoint,
    /// An acknowledgment came to a listener, which knows nothing of it.
    Listen,
    /// The acknowledgment returned no SYN cookie of ours.
    Cookie,
    /// A segment acknowledged what was never sent, while its connection opened.
    Opening,
    /// Data came for an application that is gone, or that has shut down reading.
    NobodyReads,
    /// The application: an abort, or a close with data unread or with no time to linger.
    Application,
    /// The peer was silent for too long.
    Timeout,
    /// Somebody ended it from outside ([`Shard::end_if`](crate::Shard::end_if)): `fourwave ss --kill`.
    Operator,
}

impl ResetCause {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// Every one, in the order of its index, with its counter's name.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::NoEndpoint, "reset_no_endpoint"),
        (Self::Listen, "reset_listen"),
        (Self::Cookie, "reset_cookie"),
        (Self::Opening, "reset_opening"),
        (Self::NobodyReads, "reset_nobody_reads"),
        (Self::Application, "reset_application"),
        (Self::Timeout, "reset_timeout"),
        (Self::Operator, "reset_operator"),
    ];
}

/// The counter of connections that ended by this error.
pub(crate) const fn failed_name(error: Error) -> &'static str {
    match error {
        Error::Reset => "failed_reset",
        Error::Refused => "failed_refused",
        Error::TimedOut => "failed_timed_out",
        Error::HostUnreachable => "failed_host_unreachable",
        Error::NetworkUnreachable => "failed_network_unreachable",
        Error::Aborted => "failed_aborted",
        Error::BrokenPipe => "failed_broken_pipe",
        Error::NotConnected => "failed_not_connected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_index() {
        assert!(ResetCause::ALL.iter().enumerate().all(|(i, (cause, _))| *cause as usize == i));
        assert!(Error::ALL.iter().enumerate().all(|(i, error)| error.index() == i));
    }
}
