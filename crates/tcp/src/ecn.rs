//! Explicit congestion notification (RFC 3168): who uses it, and the receiver's echo. What a sender does about an echo is
//! `send`'s.

use wire::tcp::Flags;

/// Whether connections use ECN (RFC 3168 section 6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// Never.
    Off,
    /// If the peer asks (Linux's default).
    Answer,
    /// Active opens ask, and passive ones answer.
    Ask,
}

impl Ecn {
    /// Whether active opens ask.
    pub(crate) const fn asks(self) -> bool {
        matches!(self, Self::Ask)
    }

    /// Whether a passive open agrees: the SYN must be an ECN-setup SYN.
    pub(crate) const fn agrees_to(self, syn: Flags) -> bool {
        !matches!(self, Self::Off) && syn.contains(SETUP)
    }
}

/// What an ECN-setup SYN carries (RFC 3168 section 6.1.1).
pub(crate) const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

/// Whether a SYN-ACK agrees: ECE alone. One that mirrors both flags comes from a host that knows nothing of them.
pub(crate) const fn agrees(syn_ack: Flags) -> bool {
    syn_ack.contains(Flags::ECE) && !syn_ack.contains(Flags::CWR)
}

/// The receiving end of a connection that may use ECN.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo {
    on: bool,
    /// The packet being processed was marked on its way.
    marked: bool,
    /// Every acknowledgment says so until the peer has reduced its window.
    echoes: bool,
}

impl Echo {
    /// Both ends use ECN.
    pub(crate) fn start(&mut self) {
        self.on = true;
    }

    /// Whether ECN is in use, and whether acknowledgments echo a mark.
    pub(crate) const fn rest(self) -> (bool, bool) {
        (self.on, self.echoes)
    }

    pub(crate) const fn woken(on: bool, echoes: bool) -> Self {
        Self { on, marked: false, echoes }
    }

    /// The packet that comes next, or is being processed, carries CE, or doesn't.
    pub(crate) fn packet(&mut self, marked: bool) {
        self.marked = marked;
    }

    /// Data in the window arrived (RFC 3168 section 6.1.5: other data says nothing). CWR ends the echo, a mark on the same
    /// packet begins it anew (section 6.1.3).
    pub(crate) fn data(&mut self, flags: Flags) {
        if self.on {
            self.echoes = self.marked || (self.echoes && !flags.contains(Flags::CWR));
        }
    }

    /// What an acknowledgment carries.
    pub(crate) const fn flags(self) -> Flags {
        if self.echoes { Flags::ECE } else { Flags(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC3168-6.1.1-a, seen from the other side.
    #[test]
    fn only_ece_alone_agrees() {
        assert!(agrees(Flags::SYN | Flags::ACK | Flags::ECE));
        assert!(!agrees(Flags::SYN | Flags::ACK));
        assert!(!agrees(Flags::SYN | Flags::ACK | SETUP));
    }

    /// RFC3168-6.1.3-a: from the marked packet on, until CWR.
    #[test]
    fn a_mark_is_echoed_until_the_peer_has_reduced() {
        let mut echo = Echo::default();
        echo.start();
        let mut data = |marked, flags| {
            echo.packet(marked);
            echo.data(flags);
            echo.flags()
        };
        assert_eq!(data(false, Flags::ACK), Flags(0));
        assert_eq!(data(true, Flags::ACK), Flags::ECE);
        assert_eq!(data(false, Flags::ACK), Flags::ECE);
        assert_eq!(data(false, Flags::ACK | Flags::CWR), Flags(0));
        assert_eq!(data(true, Flags::ACK | Flags::CWR), Flags::ECE);
    }

    #[test]
    fn without_an_agreement_nothing_is_echoed() {
        let mut echo = Echo::default();
        echo.packet(true);
        echo.data(Flags::ACK);
        assert_eq!(echo.flags(), Flags(0));
    }
}
