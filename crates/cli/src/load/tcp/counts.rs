//! What `load tcp --mode idle` counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Connections that were open.
    Established,
    /// Those that were not: the server refused them,
    Refused,
    /// it did not answer,
    NoAnswer,
    /// it could not be reached,
    Unreachable,
    /// or there was no local port, or no room.
    NoPort,
    /// Those that did not last: the server closed them,
    Closed,
    /// it reset them,
    Reset,
    /// it was silent, to keep-alives or to what was sent,
    TimedOut,
    /// a message was not answered in time,
    Unanswered,
    /// or they ended by anything else.
    Broken,
    /// Those that did last and were closed at the end: both FINs came through, or not.
    InOrder,
    NotInOrder,
    /// Messages.
    Requests,
    Responses,
    Unexpected,
    BytesSent,
    BytesReceived,
    /// Segments that were sent again, up to our FIN.
    Retransmits,
    /// Those that are there at the end of the time and have answered since there was nothing but holding them to do.
    Answering,
}

const COUNTS: usize = Count::Answering as usize + 1;
const NOT_OPENED: [(&str, Count); 4] = [
    ("refused", Count::Refused),
    ("no_answer", Count::NoAnswer),
    ("unreachable", Count::Unreachable),
    ("no_port", Count::NoPort),
];
const LOST: [(&str, Count); 5] = [
    ("closed_by_server", Count::Closed),
    ("reset", Count::Reset),
    ("timed_out", Count::TimedOut),
    ("unanswered", Count::Unanswered),
    ("broken", Count::Broken),
];

/// Of all shards together.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; COUNTS]);

impl Counts {
    pub(super) fn add(&self, what: Count, n: u64) {
        self.0[what as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self, what: Count) -> u64 {
        self.0[what as usize].load(Ordering::Relaxed)
    }

    fn sum(&self, of: &[(&str, Count)]) -> u64 {
        of.iter().map(|(_, what)| self.get(*what)).sum()
    }

    /// Connections that did not last.
    pub(super) fn lost(&self) -> u64 {
        self.sum(&LOST)
    }

    /// Connections that could not be opened.
    pub(super) fn not_opened(&self) -> u64 {
        self.sum(&NOT_OPENED)
    }

    pub(super) fn lost_by(&self) -> BTreeMap<&'static str, u64> {
        self.by_name(&LOST)
    }

    pub(super) fn not_opened_by(&self) -> BTreeMap<&'static str, u64> {
        self.by_name(&NOT_OPENED)
    }

    /// Those that are not none.
    fn by_name(&self, of: &[(&'static str, Count)]) -> BTreeMap<&'static str, u64> {
        of.iter().map(|(name, what)| (*name, self.get(*what))).filter(|(_, n)| *n > 0).collect()
    }
}
