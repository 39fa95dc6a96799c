//! Errors that don't end a connection: the application may hear of them (RFC 9293 section 3.9.2.2, RFC 1122 section 4.2.4.1).

use crate::{error::Error, icmp::IcmpError};

/// What goes wrong on the way to the peer, while the connection goes on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SoftError {
    /// One segment was sent again and again: R1 of RFC 9293 section 3.8.3 is reached.
    Retransmissions,
    /// Somebody on the path, or the peer's host, reports this of a segment that is in flight.
    Icmp(IcmpError),
}

impl SoftError {
    /// The error of a connection that is given up while this is what is known of the path.
    pub(crate) const fn as_end(self) -> Error {
        match self {
            Self::Retransmissions => Error::TimedOut,
            Self::Icmp(error) => error.as_end(),
        }
    }
}

/// The soft errors of a connection, until the peer is heard again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Soft {
    icmp: Option<IcmpError>,
    silent: bool,
    /// The application does not want to hear of them (SHLD-20).
    pub(crate) unreported: bool,
    tell_icmp: bool,
    tell_silent: bool,
}

impl Soft {
    /// One has happened: the same again is no news.
    pub(crate) fn note(&mut self, error: SoftError) {
        match error {
            SoftError::Retransmissions => {
                self.tell_silent |= !self.silent && !self.unreported;
                self.silent = true;
            }
            SoftError::Icmp(error) => {
                self.tell_icmp |= self.icmp != Some(error) && !self.unreported;
                self.icmp = Some(error);
            }
        }
    }

    /// What is known of the path: who says what is wrong tells more than silence.
    pub(crate) fn last(&self) -> Option<SoftError> {
        self.icmp.map(SoftError::Icmp).or(self.silent.then_some(SoftError::Retransmissions))
    }

    /// The peer can be reached after all.
    pub(crate) fn clear(&mut self) {
        (self.icmp, self.silent, self.tell_icmp, self.tell_silent) = (None, false, false, false);
    }

    pub(crate) const fn has_report(&self) -> bool {
        self.tell_icmp || self.tell_silent
    }

    pub(crate) fn take_report(&mut self) -> Option<SoftError> {
        if core::mem::take(&mut self.tell_icmp) {
            return self.icmp.map(SoftError::Icmp);
        }
        core::mem::take(&mut self.tell_silent).then_some(SoftError::Retransmissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_reported_once_until_the_peer_is_heard() {
        let mut soft = Soft::default();
        soft.note(SoftError::Retransmissions);
        soft.note(SoftError::Retransmissions);
        assert_eq!(soft.take_report(), Some(SoftError::Retransmissions));
        soft.note(SoftError::Retransmissions);
        assert_eq!((soft.take_report(), soft.last()), (None, Some(SoftError::Retransmissions)));
        soft.clear();
        assert_eq!(soft.last(), None);
        soft.note(SoftError::Retransmissions);
        assert_eq!(soft.take_report(), Some(SoftError::Retransmissions));
    }

    #[test]
    fn an_icmp_error_says_more_than_silence() {
        let mut soft = Soft::default();
        let unreachable = SoftError::Icmp(IcmpError::HostUnreachable);
        soft.note(unreachable);
        soft.note(SoftError::Retransmissions);
        soft.note(unreachable);
        assert_eq!(soft.last(), Some(unreachable));
        assert_eq!((soft.take_report(), soft.take_report()), (Some(unreachable), Some(SoftError::Retransmissions)));
        assert_eq!(soft.take_report(), None);
        assert_eq!(unreachable.as_end(), Error::HostUnreachable);
    }

    #[test]
    fn reports_can_be_switched_off() {
        let mut soft = Soft { unreported: true, ..Soft::default() };
        soft.note(SoftError::Retransmissions);
        soft.note(SoftError::Icmp(IcmpError::NetUnreachable));
        assert_eq!((soft.take_report(), soft.last()), (None, Some(SoftError::Icmp(IcmpError::NetUnreachable))));
    }
}
