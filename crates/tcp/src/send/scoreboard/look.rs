//! For who only looks.

use super::{AGAIN, LOST, SACKED, Scoreboard};
use wire::SeqNum;

/// What is in flight, in segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// All that is not acknowledged cumulatively.
    pub(crate) outstanding: u32,
    pub(crate) sacked: u32,
    /// Taken for lost, whether sent again or not.
    pub(crate) lost: u32,
    /// Sent again, and that copy is in flight.
    pub(crate) resent: u32,
}

impl Scoreboard {
    /// Counts the records: only who looks at the connection asks for this.
    pub(crate) fn census(&self) -> Census {
        self.records.iter().fold(Census::default(), |n, record| Census {
            outstanding: n.outstanding + 1,
            sacked: n.sacked + u32::from(record.is(SACKED)),
            lost: n.lost + u32::from(record.is(LOST)),
            resent: n.resent + u32::from(record.is(AGAIN)),
        })
    }

    /// As [`next_lost`](Self::next_lost), for who only looks.
    pub(crate) fn first_lost(&self, mss: u32, room: u32) -> Option<(SeqNum, SeqNum)> {
        if self.waiting == 0 {
            return None;
        }
        let skipped = self.records.iter().skip(self.resend).take_while(|r| !r.waits()).count();
        self.lost_from(self.resend + skipped, mss, room)
    }
}
