//! What is in flight, segment by segment: the scoreboard of RFC 6675 section 3 with the send times of RFC 8985 section 5.2.
//!
//! A record is one transmission's range of sequence numbers; the records lie end to end. Data is freed by a cumulative
//! acknowledgment only (RFC 2018 section 8): being `SACKed` is a mark here and no more.

use alloc::collections::VecDeque;
use wheel::{Duration, Instant};
use wire::{SeqNum, tcp::SackBlocks};

const SACKED: u8 = 1;
const LOST: u8 = 2;
/// Sent again, and that copy is in flight.
const AGAIN: u8 = 4;
/// Sent more than once: its acknowledgment is ambiguous.
const EVER: u8 = 8;

/// Records kept allocated for the next user of a scoreboard.
const KEPT_RECORDS: usize = 1024;

/// One segment in flight.
#[derive(Debug, Clone, Copy)]
struct Record {
    seq: SeqNum,
    end: SeqNum,
    /// When it was sent last.
    sent: Instant,
    flags: u8,
}

impl Record {
    const fn len(&self) -> u32 {
        self.end.since(self.seq)
    }

    const fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// A transmission, ordered by time and, sent at the same time, by sequence number (RFC 8985 section 6.2,
/// `RACK_sent_after`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transmission {
    pub(crate) sent: Instant,
    pub(crate) end: SeqNum,
}

impl Transmission {
    pub(crate) fn after(self, other: Self) -> bool {
        self.sent > other.sent || (self.sent == other.sent && self.end.after(other.end))
    }
}

/// What one acknowledgment says was delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivered {
    /// A segment sent again after this would have been acknowledged sooner than any round trip, or before the echoed
    /// timestamp: the acknowledgment is for an earlier copy (RFC 8985 section 6.2, step 2).
    pub(crate) ambiguous_after: Instant,
    /// Bytes and segments delivered that had not been reported before.
    pub(crate) bytes: u32,
    pub(crate) segments: u32,
    /// Send time of the first and last segment never sent again: by cumulative acknowledgment, and by SACK.
    pub(crate) acked: Option<(Instant, Instant)>,
    pub(crate) sacked: Option<(Instant, Instant)>,
    /// Something sent more than once was acknowledged cumulatively.
    pub(crate) retransmitted: bool,
    /// The transmission delivered that was sent last.
    pub(crate) latest: Option<Transmission>,
    /// Something never sent again was delivered behind something sent after it.
    pub(crate) reordered: bool,
    /// RFC 2883: this was received twice.
    pub(crate) duplicate: Option<(SeqNum, SeqNum)>,
}

impl Delivered {
    pub(crate) const fn new(ambiguous_after: Instant) -> Self {
        Self {
            ambiguous_after,
            bytes: 0,
            segments: 0,
            acked: None,
            sacked: None,
            retransmitted: false,
            latest: None,
            reordered: false,
            duplicate: None,
        }
    }

    /// `len` bytes of `record` are delivered for the first time; `fack` is what was delivered farthest before.
    fn take(&mut self, record: &Record, len: u32, fack: SeqNum, cumulative: bool) {
        self.bytes += len;
        self.segments += 1;
        let ever = record.is(EVER);
        if ever {
            self.retransmitted |= cumulative;
        } else {
            let times = if cumulative { &mut self.acked } else { &mut self.sacked };
            *times = Some((times.map_or(record.sent, |(first, _)| first), record.sent));
            self.reordered |= record.end.before(fack);
        }
        let this = Transmission { sent: record.sent, end: record.end };
        if (!ever || record.sent <= self.ambiguous_after) && self.latest.is_none_or(|latest| this.after(latest)) {
            self.latest = Some(this);
        }
    }
}

/// The records of what is in flight, first to last, and their sums.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    records: VecDeque<Record>,
    /// Ends and send times of what was sent again, in the order of sending.
    again: VecDeque<Transmission>,
    /// Before this index every record is `SACKed`, lost or was sent again.
    originals: usize,
    /// Before this index no record is lost and waits for being sent again.
    resend: usize,
    sacked: u32,
    lost: u32,
    resent: u32,
    sacked_segments: u32,
    /// Lost records that wait for being sent again.
    waiting: u32,
    /// Behind the last byte ever reported as delivered.
    fack: SeqNum,
    /// The blocks seen last: what lies within them needs no second look.
    seen: SackBlocks,
}

impl Scoreboard {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Segments in flight or waiting.
    pub(crate) fn segments(&self) -> usize {
        self.records.len()
    }

    /// Bytes sent and not acknowledged cumulatively.
    pub(crate) fn outstanding(&self) -> u32 {
        match (self.records.front(), self.records.back()) {
            (Some(first), Some(last)) => last.end.since(first.seq),
            _ => 0,
        }
    }

    /// RFC 6675's pipe: bytes that are believed to be in the network.
    pub(crate) fn in_flight(&self) -> u32 {
        (self.outstanding() + self.resent).saturating_sub(self.sacked + self.lost)
    }

    pub(crate) const fn sacked(&self) -> u32 {
        self.sacked
    }

    pub(crate) const fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }

    pub(crate) const fn lost(&self) -> u32 {
        self.lost
    }

    /// Bytes of the first record.
    pub(crate) fn head_len(&self) -> u32 {
        self.records.front().map_or(0, Record::len)
    }

    /// The last record.
    pub(crate) fn tail(&self) -> Option<(SeqNum, SeqNum)> {
        self.records.back().map(|r| (r.seq, r.end))
    }

    /// Empties it; what was allocated is kept, within limits, for the next user.
    pub(crate) fn reset(&mut self) {
        self.records.clear();
        self.again.clear();
        self.records.shrink_to(KEPT_RECORDS);
        self.again.shrink_to(KEPT_RECORDS);
        let (records, again) = (core::mem::take(&mut self.records), core::mem::take(&mut self.again));
        *self = Self { records, again, ..Self::default() };
    }

    /// A new segment was sent, behind all others. `before` says whether some of it was sent before (a window probe).
    pub(crate) fn sent(&mut self, seq: SeqNum, end: SeqNum, now: Instant, before: bool) {
        if self.records.is_empty() {
            self.fack = seq;
        }
        debug_assert!(self.records.back().is_none_or(|r| r.end == seq), "records lie end to end");
        self.records.push_back(Record { seq, end, sent: now, flags: if before { EVER } else { 0 } });
    }

    /// `seq..end`, the beginning of a record or all of some that [`next_lost`](Self::next_lost) joined, was sent again.
    pub(crate) fn sent_again(&mut self, seq: SeqNum, end: SeqNum, now: Instant) {
        let at = self.find(seq);
        let Some(mut record) = self.records.get(at).copied().filter(|r| r.seq == seq) else { return };
        if record.end.before(end) {
            let mut behind = self.find(end - 1) + 1;
            if let Some(last) = self.records.get_mut(behind - 1).filter(|last| last.end.after(end)) {
                // Only its beginning went along.
                last.seq = end;
                behind -= 1;
            }
            self.records.drain(at + 1..behind);
            self.records[at].end = end;
            record.end = end;
            self.waiting -= u32::try_from(behind - at - 1).unwrap_or(u32::MAX);
            self.originals = self.originals.min(at + 1);
        }
        if record.end.after(end) {
            // The MSS is smaller now: the rest is a segment of its own.
            self.records[at].end = end;
            self.records.insert(at + 1, Record { seq: end, ..record });
            self.seen = SackBlocks::default();
            // Both halves keep their marks: one segment more of each kind.
            self.sacked_segments += u32::from(record.is(SACKED));
            self.waiting += u32::from(record.is(LOST) && !record.is(AGAIN));
            self.originals = self.originals.min(at + 1);
        }
        let record = &mut self.records[at];
        let len = record.len();
        if !record.is(AGAIN) {
            self.waiting -= u32::from(record.is(LOST));
            self.resent += len;
        }
        record.flags |= AGAIN | EVER;
        record.sent = now;
        self.again.push_back(Transmission { sent: now, end: record.end });
    }

    /// Part of the first record was sent as a window probe: its acknowledgment is ambiguous.
    pub(crate) fn head_probed(&mut self) {
        if let Some(head) = self.records.front_mut() {
            head.flags |= EVER;
        }
    }

    /// The index of the record that holds `seq`, or of the first behind it.
    fn find(&self, seq: SeqNum) -> usize {
        self.records.partition_point(|r| r.end.before_eq(seq))
    }

    /// Everything before `una` is acknowledged cumulatively.
    pub(crate) fn acknowledge(&mut self, una: SeqNum, delivered: &mut Delivered) {
        let fack = self.fack;
        while let Some(head) = self.records.front().copied() {
            if head.seq.after_eq(una) {
                break;
            }
            let whole = head.end.before_eq(una);
            let len = if whole { head.len() } else { una.since(head.seq) };
            if head.is(SACKED) {
                self.sacked -= len;
                self.sacked_segments -= u32::from(whole);
            } else {
                delivered.take(&head, len, fack, true);
            }
            if head.is(LOST) {
                self.lost -= len;
                self.waiting -= u32::from(whole && !head.is(AGAIN));
            }
            if head.is(AGAIN) {
                self.resent -= len;
            }
            if !whole {
                self.records[0].seq = una;
                break;
            }
            self.records.pop_front();
            self.originals = self.originals.saturating_sub(1);
            self.resend = self.resend.saturating_sub(1);
        }
        self.fack = self.fack.max(una);
    }

    /// Takes the blocks of an acknowledgment with number `ack`. What lies outside of what is in flight is no block
    /// (RFC 2018 section 4, RFC 6675 section 4); the first may report a duplicate (RFC 2883 section 4).
    pub(crate) fn sack(&mut self, ack: SeqNum, una: SeqNum, blocks: &SackBlocks, delivered: &mut Delivered) {
        let Some((_, last)) = self.tail() else { return };
        let slice = blocks.as_slice();
        if let [(start, end), rest @ ..] = slice
            && start.before(*end)
            && end.before_eq(last)
        {
            // RFC 2883 section 5 compares with the acknowledgment the block came with.
            let within = rest.first().is_some_and(|(s, e)| s.before_eq(*start) && end.before_eq(*e));
            if end.before_eq(ack) || within {
                delivered.duplicate = Some((*start, *end));
            }
        }
        let fack = self.fack;
        for &(start, end) in slice {
            if start.before(end) && start.after(una) && end.before_eq(last) {
                self.take_block(start, end, fack, delivered);
            }
        }
        self.seen = *blocks;
    }

    fn take_block(&mut self, start: SeqNum, end: SeqNum, fack: SeqNum, delivered: &mut Delivered) {
        // The block grew from one that was seen: only what is new is looked at, so that a window of data costs its length
        // once and not with every acknowledgment.
        let known = self
            .seen
            .iter()
            .filter(|(s, e)| s.before(*e) && start.before_eq(*s) && e.before_eq(end))
            .max_by_key(|(s, e)| e.since(*s))
            .unwrap_or((end, end));
        let mut at = self.find(start);
        while let Some(record) = self.records.get(at).filter(|r| r.seq.before(end)) {
            if record.seq.after_eq(known.0) && record.end.before_eq(known.1) {
                at = self.find(known.1);
                continue;
            }
            if record.seq.after_eq(start) && record.end.before_eq(end) {
                self.mark_sacked(at, fack, delivered);
            }
            at += 1;
        }
    }

    fn mark_sacked(&mut self, at: usize, fack: SeqNum, delivered: &mut Delivered) {
        let record = &mut self.records[at];
        if record.is(SACKED) {
            return;
        }
        let len = record.len();
        delivered.take(record, len, fack, false);
        if record.is(LOST) {
            self.lost -= len;
            self.waiting -= u32::from(!record.is(AGAIN));
        }
        if record.is(AGAIN) {
            self.resent -= len;
        }
        record.flags = (record.flags & EVER) | SACKED;
        self.sacked += len;
        self.sacked_segments += 1;
        self.fack = self.fack.max(record.end);
    }

    /// Marks the record lost: what was sent of it last, that is. Returns its bytes.
    fn mark_lost(&mut self, at: usize) -> u32 {
        let record = &mut self.records[at];
        let len = record.len();
        if record.is(LOST) && !record.is(AGAIN) {
            return 0;
        }
        if !record.is(LOST) {
            self.lost += len;
        }
        if record.is(AGAIN) {
            self.resent -= len;
        }
        record.flags = (record.flags & EVER) | LOST;
        self.waiting += 1;
        self.resend = self.resend.min(at);
        len
    }

    /// Marks the first segment lost, unless it is already. Returns its bytes.
    pub(crate) fn lose_head(&mut self) -> u32 {
        match self.records.front() {
            Some(head) if !head.is(SACKED | LOST) => self.mark_lost(0),
            _ => 0,
        }
    }

    /// RFC 8985 section 6.2, step 5: what was sent before `latest`, which was delivered, and `wait` or longer ago, is lost.
    /// Returns the bytes newly lost, and when the next segment's wait is over.
    pub(crate) fn detect(&mut self, latest: Transmission, wait: Duration, now: Instant) -> (u32, Option<Instant>) {
        let (mut lost, mut next) = (0, None);
        while let Some(record) = self.records.get(self.originals) {
            if !record.is(SACKED | LOST | EVER) {
                if !latest.after(Transmission { sent: record.sent, end: record.end }) {
                    break;
                }
                if record.sent + wait > now {
                    next = Some(record.sent + wait);
                    break;
                }
                lost += self.mark_lost(self.originals);
            }
            self.originals += 1;
        }
        while let Some(copy) = self.again.front().copied() {
            let at = self.find(copy.end - 1);
            if self.records.get(at).is_some_and(|r| r.is(AGAIN) && r.sent == copy.sent) {
                if !latest.after(copy) {
                    break;
                }
                let due = copy.sent + wait;
                if due > now {
                    next = Some(next.map_or(due, |other: Instant| other.min(due)));
                    break;
                }
                lost += self.mark_lost(at);
            }
            self.again.pop_front();
        }
        (lost, next)
    }

    /// The retransmission timer expired: the first segment is lost, and what was sent `wait` or longer ago (RFC 8985
    /// section 6.3). A first segment that is `SACKed` shows that the peer has withdrawn its word (RFC 2018 section 8).
    pub(crate) fn expire(&mut self, wait: Duration, now: Instant) -> u32 {
        if self.records.front().is_some_and(|r| r.is(SACKED)) {
            self.forget_sacks();
        }
        let mut lost = 0;
        for at in 0..self.records.len() {
            let record = &self.records[at];
            if !record.is(SACKED) && (at == 0 || record.sent + wait <= now) {
                lost += self.mark_lost(at);
            }
        }
        lost
    }

    /// What is longer than `mss` is lost. Returns its bytes.
    pub(crate) fn lose_larger(&mut self, mss: u32) -> u32 {
        let larger = |r: &Record| r.len() > mss && !r.is(SACKED);
        (0..self.records.len()).map(|at| if larger(&self.records[at]) { self.mark_lost(at) } else { 0 }).sum()
    }

    fn forget_sacks(&mut self) {
        for record in &mut self.records {
            record.flags &= !SACKED;
        }
        self.seen = SackBlocks::default();
        (self.sacked, self.sacked_segments, self.originals) = (0, 0, 0);
    }

    /// Nothing was lost after all: what was marked so and not yet sent again is in flight.
    pub(crate) fn unmark_lost(&mut self) {
        for record in &mut self.records {
            record.flags &= !LOST;
        }
        (self.lost, self.waiting, self.originals, self.resend) = (0, 0, 0, 0);
    }

    /// The first lost segment that waits for being sent again, joined with what of those behind it fits into `mss` (RFC 9293
    /// section 3.8.1 lets segments be packed anew) and into the `room` there is.
    pub(crate) fn next_lost(&mut self, mss: u32, room: u32) -> Option<(SeqNum, SeqNum)> {
        if self.waiting == 0 {
            return None;
        }
        let waits = |r: &Record| r.is(LOST) && !r.is(AGAIN);
        while self.records.get(self.resend).is_some_and(|r| !waits(r)) {
            self.resend += 1;
        }
        let first = self.records.get(self.resend)?;
        let rest = self.records.iter().skip(self.resend + 1).take_while(|r| waits(r));
        // No farther than needed: there may be many.
        let most = mss.min(room);
        let joined = rest.map(|r| r.end).take_while(|end| end.since(first.seq) <= most).last().unwrap_or(first.end);
        let next = self.records.get(self.find(joined)).filter(|r| r.seq == joined && waits(r));
        let fits = joined.since(first.seq) < mss && mss <= room && next.is_some();
        Some((first.seq, if fits { first.seq + mss } else { joined }))
    }
}
