//! Segments that are larger than what is sent usually: the path carries less now, or they tried whether it carries more.

use super::{LOST, Record, SACKED, Scoreboard};

impl Scoreboard {
    /// What is longer than `mss` is lost. Returns its bytes.
    pub(crate) fn lose_larger(&mut self, mss: u32) -> u32 {
        let larger = |r: &Record| r.len() > mss && !r.is(SACKED);
        (0..self.records.len()).map(|at| if larger(&self.records[at]) { self.mark_lost(at) } else { 0 }).sum()
    }

    /// All that is lost are segments longer than `mss`.
    pub(crate) fn lost_only_larger(&self, mss: u32) -> bool {
        self.records.iter().all(|r| !r.is(LOST) || r.len() > mss)
    }
}
