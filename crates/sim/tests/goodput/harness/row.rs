//! A line of a table, as it is committed.

use super::cell::Cell;
use std::fmt;

/// What came of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cell: Cell,
    /// `fourwave`, or which settings of smoltcp.
    pub stack: String,
    /// Goodput of all flows, Mbit/s.
    pub mbit: f64,
    /// Jain's fairness index.
    pub jain: f64,
    /// Virtual seconds measured.
    pub seconds: f64,
    /// Frames sent to the bottleneck in that time,
    pub frames: u64,
    /// those lost by chance,
    pub lost: u64,
    /// and those its queue had no room for.
    pub dropped: u64,
    /// Frames from the start on: what it costs to compute.
    pub all_frames: u64,
}

pub const HEAD: &str =
    "# gbit flows  rtt_us  loss_%   goodput_mbit    jain   seconds    frames     lost  dropped  all_frames  settings";

impl fmt::Display for Row {
    #[allow(clippy::cast_precision_loss)] // parts per million
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { gbit, flows, rtt_us, loss_ppm } = self.cell;
        write!(f, "{gbit:6} {flows:5} {rtt_us:7} {:7}", loss_ppm as f64 / 1e4)?;
        write!(f, " {:14.3} {:7.4} {:9.3}", self.mbit, self.jain, self.seconds)?;
        write!(f, " {:9} {:8} {:8} {:11}  {}", self.frames, self.lost, self.dropped, self.all_frames, self.stack)
    }
}

impl Row {
    /// Reads a line; `None` for a comment.
    pub fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') || line.is_empty() {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let whole = |n: usize| words[n].parse::<u64>().expect("a whole number");
        let real = |n: usize| words[n].parse::<f64>().expect("a number");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // percent
        let loss_ppm = (real(3) * 1e4).round() as u64;
        Some(Self {
            cell: Cell { gbit: whole(0), flows: whole(1), rtt_us: whole(2), loss_ppm },
            mbit: real(4),
            jain: real(5),
            seconds: real(6),
            frames: whole(7),
            lost: whole(8),
            dropped: whole(9),
            all_frames: whole(10),
            stack: words[11].into(),
        })
    }
}
