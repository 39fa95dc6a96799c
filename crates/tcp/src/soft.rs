//! Errors that don't end a connection: the application may hear of them (RFC 9293 section 3.9.2.2, RFC 1122 section 4.2.4.1).

use crate::error::Error;

/// What goes wrong on the way to the peer, while the connection goes on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SoftError {
    /// One segment was sent again and again: R1 of RFC 9293 section 3.8.3 is reached.
    Retransmissions,
}

impl SoftError {
    /// The error of a connection that is given up while this is the last that was heard of the path.
    pub(crate) const fn as_end(self) -> Error {
        match self {
            Self::Retransmissions => Error::TimedOut,
        }
    }
}

/// The last soft error of a connection, until the peer is heard again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Soft {
    pub(crate) last: Option<SoftError>,
    /// The application does not want to hear of them (SHLD-20).
    pub(crate) unreported: bool,
    report: Option<SoftError>,
}

impl Soft {
    /// One has happened: the same again is no news.
    pub(crate) fn note(&mut self, error: SoftError) {
        if self.last != Some(error) && !self.unreported {
            self.report = Some(error);
        }
        self.last = Some(error);
    }

    /// The peer can be reached after all.
    pub(crate) fn clear(&mut self) {
        self.last = None;
    }

    pub(crate) fn take_report(&mut self) -> Option<SoftError> {
        self.report.take()
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
        assert_eq!((soft.take_report(), soft.last), (None, Some(SoftError::Retransmissions)));
        soft.clear();
        soft.note(SoftError::Retransmissions);
        assert_eq!(soft.take_report(), Some(SoftError::Retransmissions));
    }

    #[test]
    fn reports_can_be_switched_off() {
        let mut soft = Soft { unreported: true, ..Soft::default() };
        soft.note(SoftError::Retransmissions);
        assert_eq!((soft.take_report(), soft.last), (None, Some(SoftError::Retransmissions)));
    }
}
