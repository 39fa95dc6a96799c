//! Why a connection is not sending.

use core::fmt;

/// What keeps a connection from sending now. Its own reasons are TCP's; the last three are those of what is below it, and are set
/// by who knows of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Nothing does.
    Sending,
    /// There is nothing to send.
    Application,
    /// The peer's receive window.
    PeerWindow,
    /// The congestion window.
    Cwnd,
    /// Pacing.
    Pacing,
    /// Nagle's algorithm.
    Nagle,
    /// The application's cork.
    Cork,
    /// Loss recovery, which waits to hear whether anything was lost at all (F-RTO).
    Recovery,
    /// The limit on segments in flight.
    Memory,
    /// The handshake.
    Handshake,
    /// This side has closed, and has sent everything.
    Closed,
    /// The next hop's address on the link is not known.
    Neighbour,
    /// There is no route to the peer.
    Route,
    /// The device takes nothing.
    Device,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Sending,
        Self::Application,
        Self::PeerWindow,
        Self::Cwnd,
        Self::Pacing,
        Self::Nagle,
        Self::Cork,
        Self::Recovery,
        Self::Memory,
        Self::Handshake,
        Self::Closed,
        Self::Neighbour,
        Self::Route,
        Self::Device,
    ];

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Application => "application",
            Self::PeerWindow => "peer-window",
            Self::Cwnd => "cwnd",
            Self::Pacing => "pacing",
            Self::Nagle => "nagle",
            Self::Cork => "cork",
            Self::Recovery => "recovery",
            Self::Memory => "memory",
            Self::Handshake => "handshake",
            Self::Closed => "closed",
            Self::Neighbour => "neighbour",
            Self::Route => "route",
            Self::Device => "device",
        }
    }

    /// A sentence.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Sending => "it has something to send, and may",
            Self::Application => "the application has given nothing that was not sent",
            Self::PeerWindow => "the peer's receive window has no room: its application does not read as fast",
            Self::Cwnd => "the congestion window is in flight: acknowledgments let more out",
            Self::Pacing => "the next burst has its time, by the rate of the path",
            Self::Nagle => "a small segment waits until the one before it is acknowledged (Nagle's algorithm)",
            Self::Cork => "the application has said that more follows",
            Self::Recovery => "after a timeout the next acknowledgments say whether anything was lost at all (F-RTO)",
            Self::Memory => "as many segments are in flight as a send buffer may have",
            Self::Handshake => "the handshake is not over",
            Self::Closed => "this side has closed, and everything was sent",
            Self::Neighbour => "the MAC address of the next hop is not known (yet)",
            Self::Route => "there is no route to the peer, or the interface has lost the connection's address",
            Self::Device => "the transmit ring is full, or the interface is down",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_has_one_word_of_its_own_and_a_sentence() {
        let names: BTreeSet<_> = Why::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), Why::ALL.len());
        assert!(names.iter().all(|name| !name.contains(' ')));
        assert!(Why::ALL.iter().all(|why| why.explanation().contains(' ')));
    }
}
