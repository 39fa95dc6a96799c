//! The flight recorder: what happened to the connections of a shard, apart from data that comes and goes as it should. It is kept in
//! two rings of records, one for the course of connections' lives and one for what is unusual, so that neither pushes the other out: many
//! short connections leave the troubles of a long one alone. The latest are there, older ones are overwritten and counted.
//!
//! The connections of a shard share it as they share the [`Pool`](crate::Pool), which keeps it. A record names its connection by the ISS,
//! which every part of a connection knows; that two of those in a ring have the same has a chance of 2^-32.

use alloc::vec::Vec;
use wheel::{Duration, Instant};
use wire::SeqNum;

/// What happened. Numbers that mean a place in a stream count from the initial sequence number: 1 is the first octet of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum What {
    /// A connection began; the detail is [`OPENED`]'s.
    Opened,
    /// It came into a state, the detail by [`State::ALL`](crate::State::ALL), from another.
    State,
    /// The application's call; the detail is [`CALLS`]'s.
    Called,
    /// Our FIN left.
    FinSent,
    /// The peer's FIN came in order.
    FinReceived,
    /// It is over: in order (the detail is 0), or by an error (the detail is one more than [`Error::index`](crate::Error::index)).
    Ended,
    /// Nothing is left of it. The numbers are its key, as whoever recorded it writes one.
    Gone,
    /// The same of one to which anything unusual had happened, and beside that.
    GoneUnusual,
    /// A segment was sent again; the detail is [`KINDS`]'s.
    Retransmitted,
    /// The retransmission timer expired, and was backed off.
    TimedOut,
    /// What is done about congestion is another thing now; the detail is [`PHASES`]'s.
    Phase,
    /// The peer has closed its window, and there is something to send.
    PeerWindowClosed,
    /// The peer has opened it again.
    PeerWindowOpened,
    /// A window probe is due.
    WindowProbe,
    /// Our window is closed: the application doesn't read.
    WindowClosed,
    /// The application has read, from a window that was closed.
    WindowOpened,
    /// A keep-alive was sent.
    Keepalive,
    /// A reset was sent; the detail is why, as whoever recorded it counts.
    ResetSent,
    /// A segment was dropped, by [`DropReason::ALL`](crate::DropReason::ALL).
    Dropped,
    /// An ICMP error was taken, by [`IcmpError::ALL`](crate::IcmpError::ALL).
    Icmp,
    /// A router said that a segment was too big, and is believed or has yet to be.
    TooBig,
    /// The path carries less than was thought.
    PathMss,
    /// A larger segment tries the path.
    PathProbe,
    /// What there is to send waits for the next hop; the detail is [`WAITS`]'s.
    Waits,
    /// Its segments arrive at another shard, and are handed over.
    Handed,
}

/// Details of [`What::Opened`].
pub const OPENED: [&str; 2] = ["active", "passive"];
/// Details of [`What::Called`].
pub const CALLS: [&str; 8] = [
    "close",
    "shutdown read",
    "shutdown write",
    "shutdown both",
    "abort",
    "profile balanced",
    "profile latency",
    "profile throughput",
];
/// Details of [`What::Retransmitted`].
pub const KINDS: [&str; 4] = ["SYN", "RTO", "fast", "TLP"];
/// Details of [`What::Phase`].
pub const PHASES: [&str; 4] = ["open", "reducing", "recovery", "loss"];
/// Details of [`What::Waits`].
pub const WAITS: [&str; 2] = ["neighbour", "route"];

impl What {
    /// Every one, in the order of its index.
    pub const ALL: [Self; 25] = [
        Self::Opened,
        Self::State,
        Self::Called,
        Self::FinSent,
        Self::FinReceived,
        Self::Ended,
        Self::Gone,
        Self::GoneUnusual,
        Self::Retransmitted,
        Self::TimedOut,
        Self::Phase,
        Self::PeerWindowClosed,
        Self::PeerWindowOpened,
        Self::WindowProbe,
        Self::WindowClosed,
        Self::WindowOpened,
        Self::Keepalive,
        Self::ResetSent,
        Self::Dropped,
        Self::Icmp,
        Self::TooBig,
        Self::PathMss,
        Self::PathProbe,
        Self::Waits,
        Self::Handed,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::State => "state",
            Self::Called => "called",
            Self::FinSent => "fin-sent",
            Self::FinReceived => "fin-received",
            Self::Ended => "ended",
            Self::Gone | Self::GoneUnusual => "gone",
            Self::Retransmitted => "retransmitted",
            Self::TimedOut => "timeout",
            Self::Phase => "congestion",
            Self::PeerWindowClosed => "peer-window-closed",
            Self::PeerWindowOpened => "peer-window-opened",
            Self::WindowProbe => "window-probe",
            Self::WindowClosed => "window-closed",
            Self::WindowOpened => "window-opened",
            Self::Keepalive => "keepalive",
            Self::ResetSent => "reset-sent",
            Self::Dropped => "dropped",
            Self::Icmp => "icmp",
            Self::TooBig => "too-big",
            Self::PathMss => "path-mss",
            Self::PathProbe => "path-probe",
            Self::Waits => "waits",
            Self::Handed => "handed-over",
        }
    }

    /// What its numbers are, as many as it has.
    #[must_use]
    pub const fn numbers(self) -> &'static [&'static str] {
        match self {
            Self::Opened => &["mss_bytes", "syn_acks_again"],
            Self::FinSent | Self::FinReceived | Self::Icmp => &["seq"],
            Self::Retransmitted => &["seq", "bytes", "cwnd_bytes", "in_flight_bytes"],
            Self::TimedOut => &["in_a_row", "next_ms", "una", "unacked_bytes"],
            Self::Phase => &["cwnd_bytes", "ssthresh_bytes", "in_flight_bytes", "una"],
            Self::PeerWindowClosed => &["unsent_bytes"],
            Self::PeerWindowOpened => &["window_bytes", "probes"],
            Self::WindowProbe => &["in_a_row", "unsent_bytes"],
            Self::WindowClosed | Self::WindowOpened => &["unread_bytes"],
            Self::Dropped => &["seq", "bytes", "answered"],
            Self::TooBig => &["mss_bytes", "believed"],
            Self::PathMss => &["mss_bytes", "was_bytes"],
            Self::PathProbe => &["mss_bytes"],
            Self::State | Self::Called | Self::Ended | Self::Gone | Self::GoneUnusual => &[],
            Self::Keepalive | Self::ResetSent | Self::Waits | Self::Handed => &[],
        }
    }

    /// It belongs to every connection's life.
    const fn is_of_life(self) -> bool {
        (self as u8) <= Self::Gone as u8
    }

    /// One that comes again at once is the same one: it can be had for nothing, as by a sweep of forged segments.
    const fn repeats(self) -> bool {
        matches!(self, Self::Dropped | Self::WindowClosed | Self::Waits | Self::Icmp | Self::PeerWindowClosed)
    }
}

/// One thing that happened to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When; of what came several times, the first time. Of two that are of one time the second is a nanosecond later, so that what came
    /// first is seen.
    pub at: Instant,
    /// The connection's ISS.
    pub who: SeqNum,
    /// What.
    pub what: What,
    /// Of which kind.
    pub detail: u8,
    /// How often, one behind the other.
    pub times: u16,
    /// What the numbers mean [depends](What::numbers).
    pub numbers: [u32; 4],
}

/// The latest records, in a ring.
#[derive(Default)]
struct Ring {
    records: Vec<Record>,
    limit: usize,
    /// Since the start, those that are overwritten as well.
    written: u64,
}

impl Ring {
    /// The latest with so many records: memory is the system's to give as they are written.
    fn of(limit: usize) -> Self {
        Self { records: Vec::with_capacity(limit), limit, written: 0 }
    }

    #[allow(clippy::cast_possible_truncation)] // smaller than the limit
    fn place(&self, number: u64) -> usize {
        (number % self.limit.max(1) as u64) as usize
    }

    fn oldest(&self) -> u64 {
        self.written - self.records.len() as u64
    }

    fn write(&mut self, record: Record) {
        if self.limit == 0 {
            return;
        }
        if record.what.repeats()
            && let Some(last) = self.written.checked_sub(1).map(|last| self.place(last))
            && let Some(last) = self.records.get_mut(last)
            && (last.who, last.what, last.detail) == (record.who, record.what, record.detail)
        {
            last.times = last.times.saturating_add(1);
            return;
        }
        match self.place(self.written) {
            at if at < self.records.len() => self.records[at] = record,
            _ => self.records.push(record),
        }
        self.written += 1;
    }
}

/// Where a reading of the records goes on: the ring, and the number of a record in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bookmark {
    ring: usize,
    number: u64,
}

/// What happened to the connections of a shard. See the [module](self).
#[derive(Default)]
pub struct Recorder {
    /// Lives, and what is unusual.
    rings: [Ring; 2],
    /// When the next one is, at least.
    next: Instant,
}

impl core::fmt::Debug for Recorder {
    /// Without the records, of which there are many.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// One of so many records in all, half of them for each ring; of none it is off.
    #[must_use]
    pub fn new(records: u32) -> Self {
        Self { rings: [(); 2].map(|()| Ring::of(records as usize / 2)), next: Instant::ZERO }
    }

    pub(crate) fn write(&mut self, mut record: Record) {
        record.at = record.at.max(self.next);
        self.next = record.at + Duration::from_nanos(1);
        self.rings[usize::from(!record.what.is_of_life())].write(record);
    }

    /// Records that were overwritten.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.rings.iter().map(Ring::oldest).sum()
    }

    /// Gives up to `max` records to `each`, the oldest of each ring first, and says where to go on; `None`: that was all.
    pub fn read(&self, from: Bookmark, max: usize, mut each: impl FnMut(&Record)) -> Option<Bookmark> {
        let Bookmark { ring: index, number } = from;
        let ring = self.rings.get(index)?;
        let start = number.max(ring.oldest());
        let end = ring.written.min(start.saturating_add(max as u64));
        (start..end).filter_map(|number| ring.records.get(ring.place(number))).for_each(&mut each);
        let next = if end < ring.written {
            Bookmark { ring: index, number: end }
        } else {
            Bookmark { ring: index + 1, number: 0 }
        };
        (next.ring < self.rings.len()).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn record(at: u64, who: u32, what: What) -> Record {
        let (at, who) = (Instant::from_nanos(at), SeqNum::new(who));
        Record { at, who, what, detail: 0, times: 1, numbers: [0; 4] }
    }

    fn times(recorder: &Recorder, piece: usize) -> Vec<u64> {
        let (mut all, mut from) = (vec![], Some(Bookmark::default()));
        while let Some(place) = from {
            from = recorder.read(place, piece, |record| all.push(record.at.as_nanos()));
        }
        all
    }

    #[test]
    fn a_record_is_half_a_cache_line() {
        assert_eq!(size_of::<Record>(), 32);
        assert!(What::ALL.iter().enumerate().all(|(i, what)| *what as usize == i && what.numbers().len() <= 4));
    }

    /// Of ten in a ring of four the last four are there, in their order, and six are counted; whatever the piece is that is read.
    #[test]
    fn the_latest_are_kept_and_the_others_counted() {
        let mut recorder = Recorder::new(8);
        (0..10).for_each(|at| recorder.write(record(at, 1, What::Keepalive)));
        for piece in 1..6 {
            assert_eq!(times(&recorder, piece), [6, 7, 8, 9]);
        }
        assert_eq!(recorder.overwritten(), 6);
        // Lives are apart.
        (20..23).for_each(|at| recorder.write(record(at, 1, What::State)));
        assert_eq!(times(&recorder, 3), [20, 21, 22, 6, 7, 8, 9]);
        assert_eq!(recorder.overwritten(), 6);
    }

    /// Of one time, in two rings.
    #[test]
    fn what_came_first_is_seen() {
        let mut recorder = Recorder::new(8);
        [What::State, What::Dropped, What::Called].into_iter().for_each(|what| recorder.write(record(7, 1, what)));
        assert_eq!(times(&recorder, 8), [7, 9, 8]);
    }

    /// Who reads a piece at a time, while others are written, misses what was overwritten and nothing else.
    #[test]
    fn a_reading_goes_on_where_it_was() {
        let mut recorder = Recorder::new(8);
        (0..4).for_each(|at| recorder.write(record(at, 1, What::State)));
        let mut seen = vec![];
        let next = recorder.read(Bookmark::default(), 2, |record| seen.push(record.at.as_nanos()));
        (4..7).for_each(|at| recorder.write(record(at, 1, What::State)));
        recorder.read(next.expect("there is more"), 8, |record| seen.push(record.at.as_nanos()));
        assert_eq!(seen, [0, 1, 3, 4, 5, 6]);
    }

    /// A sweep of forged segments takes one record, with what it was first.
    #[test]
    fn what_comes_again_at_once_is_one_record() {
        let mut recorder = Recorder::new(8);
        (0..70_000).for_each(|at| recorder.write(record(at, 1, What::Dropped)));
        recorder.write(record(70_000, 2, What::Dropped));
        recorder.write(record(70_001, 1, What::Dropped));
        let mut seen = vec![];
        recorder.read(Bookmark { ring: 1, number: 0 }, 8, |r| seen.push((r.at.as_nanos(), r.who.value(), r.times)));
        assert_eq!(seen, [(0, 1, u16::MAX), (70_000, 2, 1), (70_001, 1, 1)]);
        (0..2).for_each(|at| recorder.write(record(at, 3, What::Retransmitted)));
        assert_eq!(times(&recorder, 8).len(), 4, "what is done twice is told twice");
    }

    #[test]
    fn one_of_no_records_is_off() {
        let mut recorder = Recorder::new(0);
        (0..10).for_each(|at| recorder.write(record(at, 1, What::State)));
        assert_eq!((times(&recorder, 8), recorder.overwritten()), (vec![], 0));
    }
}
