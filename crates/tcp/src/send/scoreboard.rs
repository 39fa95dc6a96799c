//! What is in flight, segment by segment: the scoreboard of RFC 6675 section 3 with the send times of RFC 8985 section 5.2.
//!
//! A record is one transmission's range of sequence numbers; the records lie end to end. Data is freed by a cumulative
//! acknowledgment only (RFC 2018 section 8): being `SACKed` is a mark here and no more.

mod larger;
mod look;

use alloc::collections::VecDeque;
pub(crate) use look::Census;
use wheel::{Duration, Instant};
use wire::{SeqNum, tcp::SackBlocks};

const SACKED: u8 = 1;
const LOST: u8 = 2;
/// Sent again, and that copy is in flight.
const AGAIN: u8 = 4;
/// Sent more than once: its acknowledgment is ambiguous.
const EVER: u8 = 8;
/// It was sent with PSH.
const PUSH: u8 = 16;
/// Some of it was sent as a window probe: of an acknowledgment nobody knows which it is for, but the whole was sent once.
const PROBED: u8 = 32;

/// Records kept allocated for the next user of a scoreboard.
const KEPT_RECORDS: usize = 1024;

/// One segment in flight.
#[derive(Debug, Clone, Copy)]
struct Record {
    seq: SeqNum,
    end: SeqNum,
    /// When it was sent last.
    sent: Instant,
    /// Of one that is `SACKed`: so many from here on are, itself among them, and possibly more.
    run: u32,
    flags: u8,
}

impl Record {
    const fn len(&self) -> u32 {
        self.end.since(self.seq)
    }

    const fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// It is in flight as it was first sent: RACK looks for it in that order.
    const fn is_first_copy(&self) -> bool {
        !self.is(SACKED | LOST) && (!self.is(EVER) || self.is(PROBED))
    }

    /// It is lost, and was not sent again.
    const fn waits(&self) -> bool {
        self.is(LOST) && !self.is(AGAIN)
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
    /// When the segment looked at last was sent: its round-trip time is `RACK.rtt`.
    pub(crate) sent: Option<Instant>,
    /// What was delivered farthest before this acknowledgment.
    fack: SeqNum,
    /// Something never sent again was delivered behind something sent after it: how far, in bytes; otherwise 0.
    pub(crate) reordered: u32,
    /// RFC 2883: this was received twice.
    pub(crate) duplicate: Option<(SeqNum, SeqNum)>,
}

impl Delivered {
    const fn new(ambiguous_after: Instant, fack: SeqNum) -> Self {
        Self {
            ambiguous_after,
            fack,
            sent: None,
            bytes: 0,
            segments: 0,
            acked: None,
            sacked: None,
            retransmitted: false,
            latest: None,
            reordered: 0,
            duplicate: None,
        }
    }

    /// When the last segment of it was sent whose round-trip time is not ambiguous (Karn's algorithm).
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.acked.filter(|_| !self.retransmitted).or(self.sacked).map(|(_, last)| last)
    }

    /// `len` bytes of `record` are delivered for the first time.
    fn take(&mut self, record: &Record, len: u32, cumulative: bool) {
        self.bytes += len;
        self.segments += 1;
        let ever = record.is(EVER);
        if ever {
            self.retransmitted |= cumulative;
        } else {
            let times = if cumulative { &mut self.acked } else { &mut self.sacked };
            *times = Some((times.map_or(record.sent, |(first, _)| first), record.sent));
            if record.end.before(self.fack) {
                self.reordered = self.reordered.max(self.fack.since(record.seq));
            }
        }
        let this = Transmission { sent: record.sent, end: record.end };
        if ever && record.sent > self.ambiguous_after {
            return;
        }
        self.sent = Some(record.sent);
        if self.latest.is_none_or(|latest| this.after(latest)) {
            self.latest = Some(this);
        }
    }
}

/// What an acknowledgment delivers where nothing is marked: bytes, when the first of its segments was sent, and the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) bytes: u32,
    pub(crate) first: Instant,
    pub(crate) last: Transmission,
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
    /// No record behind this was ever `SACKed`, lost or sent before; `None`: no record was.
    marked: Option<SeqNum>,
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

    /// Something lost waits for being sent again.
    pub(crate) const fn waits(&self) -> bool {
        self.waiting > 0
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
        if self.records.capacity() > KEPT_RECORDS {
            self.records.shrink_to(KEPT_RECORDS);
        }
        if self.again.capacity() > KEPT_RECORDS {
            self.again.shrink_to(KEPT_RECORDS);
        }
        // In place, and by name, so that a new field is not forgotten: this runs whenever nothing is in flight any more.
        let Self {
            records: _,
            again: _,
            originals,
            resend,
            sacked,
            lost,
            resent,
            sacked_segments,
            waiting,
            fack,
            marked,
        } = self;
        (*originals, *resend) = (0, 0);
        (*sacked, *lost, *resent, *sacked_segments, *waiting) = (0, 0, 0, 0, 0);
        (*fack, *marked) = (SeqNum::default(), None);
    }

    /// Some record may be `SACKed`, lost, or sent more than once.
    pub(crate) const fn is_marked(&self) -> bool {
        self.marked.is_some()
    }

    /// A record is about to be marked.
    fn mark(&mut self) {
        self.marked = self.records.back().map(|last| last.end);
    }

    /// For the next acknowledgment; see [`Delivered::ambiguous_after`].
    pub(crate) const fn delivered(&self, ambiguous_after: Instant) -> Delivered {
        Delivered::new(ambiguous_after, self.fack)
    }

    /// A new segment was sent, behind all others. `before` says whether some of it was sent before (a window probe).
    /// `push`: with PSH.
    pub(crate) fn sent(&mut self, seq: SeqNum, end: SeqNum, now: Instant, before: bool, push: bool) {
        if self.records.is_empty() {
            self.fack = seq;
        }
        debug_assert!(self.records.back().is_none_or(|r| r.end == seq), "records lie end to end");
        let flags = if before { EVER | PROBED } else { 0 } | if push { PUSH } else { 0 };
        self.records.push_back(Record { seq, end, sent: now, run: 1, flags });
        if before {
            self.mark();
        }
    }

    /// `seq..end`, the beginning of a record or all of some that [`next_lost`](Self::next_lost) joined, was sent again.
    pub(crate) fn sent_again(&mut self, seq: SeqNum, end: SeqNum, now: Instant) {
        let at = self.find(seq);
        let Some(mut record) = self.records.get(at).copied().filter(|r| r.seq == seq && !r.is(SACKED)) else { return };
        if record.end.before(end) {
            let mut behind = self.find(end - 1) + 1;
            if let Some(last) = self.records.get_mut(behind - 1).filter(|last| last.end.after(end)) {
                // The peer's window had room for its beginning only.
                last.seq = end;
                behind -= 1;
            }
            let push = self.records.drain(at + 1..behind).fold(0, |flags, r| flags | r.flags & PUSH);
            self.records[at].end = end;
            self.records[at].flags |= push;
            record.end = end;
            self.waiting -= u32::try_from(behind - at - 1).unwrap_or(u32::MAX);
            // What has gone was lost: none of it was looked for behind there.
            let gone = behind - at - 1;
            self.originals = if self.originals < behind { self.originals.min(at + 1) } else { self.originals - gone };
        }
        if record.end.after(end) {
            // The MSS is smaller now: the rest is a segment of its own.
            self.records[at].end = end;
            self.records.insert(at + 1, Record { seq: end, ..record });
            // Both halves keep their marks.
            self.waiting += u32::from(record.is(LOST) && !record.is(AGAIN));
            self.originals += usize::from(self.originals > at);
        }
        self.mark();
        let record = &mut self.records[at];
        let len = record.len();
        if !record.is(AGAIN) {
            self.waiting -= u32::from(record.is(LOST));
            self.resent += len;
        }
        record.flags = record.flags & !PROBED | AGAIN | EVER;
        record.sent = now;
        self.again.push_back(Transmission { sent: now, end: record.end });
    }

    /// Whether a segment that ended here was sent with PSH.
    pub(crate) fn pushed(&self, end: SeqNum) -> bool {
        self.records.get(self.find(end - 1)).is_some_and(|r| r.end == end && r.is(PUSH))
    }

    /// Part of the first record was sent as a window probe: its acknowledgment is ambiguous.
    pub(crate) fn head_probed(&mut self) {
        if let Some(head) = self.records.front_mut() {
            head.flags |= if head.is(EVER) { 0 } else { EVER | PROBED };
        }
        self.mark();
    }

    /// The index of the record that holds `seq`, or of the first behind it.
    fn find(&self, seq: SeqNum) -> usize {
        self.records.partition_point(|r| r.end.before_eq(seq))
    }

    /// Everything before `una` is acknowledged cumulatively.
    pub(crate) fn acknowledge(&mut self, una: SeqNum, delivered: &mut Delivered) {
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
                delivered.take(&head, len, true);
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
        while self.again.front().is_some_and(|copy| copy.end.before_eq(una)) {
            self.again.pop_front();
        }
        if self.marked.is_some_and(|end| una.after_eq(end)) {
            self.marked = None;
            self.again.clear();
        }
    }

    /// [`acknowledge`](Self::acknowledge) where no record is marked.
    pub(crate) fn acknowledge_unmarked(&mut self, una: SeqNum) -> Option<Passed> {
        debug_assert!(!self.is_marked(), "marks would be lost");
        let Record { seq, end, sent, .. } = *self.records.front().filter(|r| r.seq.before(una))?;
        let (mut last, mut gone) = (Transmission { sent, end }, 0);
        while let Some(head) = self.records.front_mut().filter(|r| r.seq.before(una)) {
            last = Transmission { sent: head.sent, end: head.end };
            if head.end.after(una) {
                head.seq = una;
                break;
            }
            self.records.pop_front();
            gone += 1;
        }
        self.originals = self.originals.saturating_sub(gone);
        self.resend = self.resend.saturating_sub(gone);
        self.fack = self.fack.max(una);
        let bytes = if last.end.before(una) { last.end } else { una }.since(seq);
        Some(Passed { bytes, first: sent, last })
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
        // A block of what is not sent yet is none, and must be looked at when it has become one.
        for &(start, end) in slice {
            if start.before(end) && start.after(una) && end.before_eq(last) {
                self.take_block(start, end, delivered);
            }
        }
    }

    /// What is `SACKed` is leapt over, and whoever leaps makes the next leap from there a longer one (Tarjan's path compression):
    /// each record is looked at once, whatever blocks are told, and an acknowledgment costs a logarithm besides.
    #[allow(clippy::cast_possible_truncation)] // there are fewer records than bytes
    fn take_block(&mut self, start: SeqNum, end: SeqNum, delivered: &mut Delivered) {
        let mut first = self.find(start);
        first += usize::from(self.records.get(first).is_some_and(|r| r.seq.before(start)));
        let mut behind = first;
        while let Some(record) = self.records.get(behind).filter(|r| r.end.before_eq(end)) {
            if record.is(SACKED) {
                behind += record.run as usize;
            } else {
                self.mark_sacked(behind, delivered);
                behind += 1;
            }
        }
        while first < behind {
            let leap = core::mem::replace(&mut self.records[first].run, (behind - first) as u32);
            first += leap as usize;
        }
    }

    fn mark_sacked(&mut self, at: usize, delivered: &mut Delivered) {
        self.mark();
        let record = &mut self.records[at];
        if record.is(SACKED) {
            return;
        }
        let len = record.len();
        delivered.take(record, len, false);
        if record.is(LOST) {
            self.lost -= len;
            self.waiting -= u32::from(!record.is(AGAIN));
        }
        if record.is(AGAIN) {
            self.resent -= len;
        }
        (record.flags, record.run) = ((record.flags & (EVER | PROBED | PUSH)) | SACKED, 1);
        self.sacked += len;
        self.sacked_segments += 1;
        self.fack = self.fack.max(record.end);
    }

    /// Marks the record lost: what was sent of it last, that is. Returns its bytes.
    fn mark_lost(&mut self, at: usize) -> u32 {
        self.mark();
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
        record.flags = (record.flags & (EVER | PROBED | PUSH)) | LOST;
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
            if record.is_first_copy() {
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
            if self.records.get(at).is_some_and(|r| r.is(AGAIN) && r.sent == copy.sent && r.end == copy.end) {
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

    fn forget_sacks(&mut self) {
        for record in &mut self.records {
            record.flags &= !SACKED;
        }
        (self.sacked, self.sacked_segments, self.originals) = (0, 0, 0);
    }

    /// Nothing was lost after all: what was marked so and not yet sent again is in flight.
    pub(crate) fn unmark_lost(&mut self) {
        for record in &mut self.records {
            record.flags &= !LOST;
        }
        (self.lost, self.waiting, self.originals, self.resend) = (0, 0, 0, 0);
    }

    /// The first lost segment that waits for being sent again, joined with those behind it as long as they fit into `mss`
    /// (RFC 9293 section 3.8.1 lets segments be packed anew) and into the `room` there is.
    pub(crate) fn next_lost(&mut self, mss: u32, room: u32) -> Option<(SeqNum, SeqNum)> {
        if self.waiting == 0 {
            return None;
        }
        while self.records.get(self.resend).is_some_and(|r| !r.waits()) {
            self.resend += 1;
        }
        self.lost_from(self.resend, mss, room)
    }

    /// The lost segment at an index, with those behind it.
    #[inline]
    fn lost_from(&self, at: usize, mss: u32, room: u32) -> Option<(SeqNum, SeqNum)> {
        let first = self.records.get(at)?;
        let rest = self.records.iter().skip(at + 1).take_while(|r| r.waits());
        // No farther than needed: there may be many.
        let most = mss.min(room);
        let joined = rest.map(|r| r.end).take_while(|end| end.since(first.seq) <= most).last();
        Some((first.seq, joined.unwrap_or(first.end)))
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, vec::Vec};

    const LEN: u32 = 100;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn blocks(list: &[(u32, u32)]) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        for (start, end) in list {
            blocks.push(SeqNum::new(*start), SeqNum::new(*end));
        }
        blocks
    }

    /// `n` segments of 100 bytes from 0 on, one each millisecond from 1 ms on.
    fn board(n: u32) -> Scoreboard {
        let mut board = Scoreboard::default();
        for i in 0..n {
            board.sent(SeqNum::new(i * LEN), SeqNum::new((i + 1) * LEN), at(u64::from(i) + 1), false, false);
        }
        board
    }

    fn sack(board: &mut Scoreboard, ack: u32, list: &[(u32, u32)]) -> Delivered {
        let mut delivered = board.delivered(at(1_000_000));
        let una = board.records.front().map_or(SeqNum::new(ack), |r| r.seq);
        board.sack(SeqNum::new(ack), una, &blocks(list), &mut delivered);
        delivered
    }

    fn sums(board: &Scoreboard) -> [u32; 5] {
        let sum = |test: &dyn Fn(&Record) -> bool| board.records.iter().filter(|r| test(r)).map(Record::len).sum();
        let count = |flags: u8, not: u8| board.records.iter().filter(|r| r.is(flags) && !r.is(not)).count();
        [
            sum(&|r| r.is(SACKED)),
            sum(&|r| r.is(LOST)),
            sum(&|r| r.is(AGAIN)),
            u32::try_from(count(SACKED, 0)).expect("few"),
            u32::try_from(count(LOST, AGAIN)).expect("few"),
        ]
    }

    fn check(board: &Scoreboard) {
        let said = [board.sacked, board.lost, board.resent, board.sacked_segments, board.waiting];
        assert_eq!(said, sums(board), "{board:?}");
        let records: Vec<_> = board.records.iter().collect();
        assert!(records.windows(2).all(|w| w[0].end == w[1].seq), "{board:?}");
        assert!(records.iter().all(|r| r.len() > 0 && !(r.is(SACKED) && r.is(LOST | AGAIN))), "{board:?}");
        let lost = |r: &&Record| r.is(LOST) && !r.is(AGAIN);
        assert!(board.records.iter().take(board.resend).all(|r| !lost(&r)), "{board:?}");
        // RACK looks at no record before this one again.
        assert!(board.records.iter().take(board.originals).all(|r| !r.is_first_copy()), "{board:?}");
        // The sum behind the saturating subtraction never goes below zero.
        assert!(board.outstanding() + board.resent >= board.sacked + board.lost, "{board:?}");
    }

    /// RFC6675-4-a, RFC2018-8-a: what is reported stays until it is acknowledged, and counts once.
    #[test]
    fn blocks_are_marks() {
        let mut board = board(10);
        assert_eq!(sack(&mut board, 0, &[(200, 400)]).bytes, 200);
        assert_eq!(sack(&mut board, 0, &[(200, 500), (800, 900)]).bytes, 200);
        assert_eq!((board.outstanding(), board.sacked(), board.in_flight()), (1000, 400, 600));
        let mut delivered = board.delivered(at(1_000_000));
        board.acknowledge(SeqNum::new(450), &mut delivered);
        assert_eq!((delivered.bytes, delivered.segments), (200, 2));
        assert_eq!((board.outstanding(), board.sacked()), (550, 150));
        check(&board);
    }

    /// RFC2883-4-a, RFC2883-4-b, RFC2883-5-a: a first block below the acknowledgment it came with, or within the second, tells of
    /// a duplicate; compared with a later SND.UNA it would be one always.
    #[test]
    fn duplicates_are_told_by_the_first_block() {
        let mut board = board(10);
        let mut delivered = board.delivered(at(1_000_000));
        board.acknowledge(SeqNum::new(400), &mut delivered);
        let told = |d: Delivered| d.duplicate.map(|(s, e)| (s.value(), e.value()));
        assert_eq!(told(sack(&mut board, 400, &[(300, 400)])), Some((300, 400)));
        assert_eq!(told(sack(&mut board, 400, &[(500, 550), (450, 550)])), Some((500, 550)));
        assert_eq!(told(sack(&mut board, 200, &[(300, 400)])), None);
        assert_eq!(told(sack(&mut board, 400, &[(600, 700)])), None);
        assert_eq!(told(sack(&mut board, 400, &[(400, 300)])), None);
    }

    /// RFC8985-6.2-b, RFC8985-4-a: lost is what was sent before what was delivered, once the wait is over; the rest has a deadline.
    #[test]
    fn loss_is_a_matter_of_time() {
        let mut board = board(5);
        let delivered = sack(&mut board, 0, &[(300, 400)]);
        let latest = delivered.latest.expect("delivered");
        assert_eq!(latest, Transmission { sent: at(4), end: SeqNum::new(400) });
        // Sent at 1, 2 and 3 ms; the one sent at 5 ms was sent after it.
        let wait = Duration::from_millis(10);
        assert_eq!(board.detect(latest, wait, at(10)), (0, Some(at(11))));
        assert_eq!(board.detect(latest, wait, at(12)), (200, Some(at(13))));
        assert_eq!(board.detect(latest, wait, at(100)), (100, None));
        assert_eq!((board.lost(), board.in_flight()), (300, 100));
        assert_eq!(board.next_lost(LEN, u32::MAX), Some((SeqNum::new(0), SeqNum::new(100))));
        check(&board);
        // Sent at the same time, the sequence number decides.
        let a = Transmission { sent: at(1), end: SeqNum::new(5) };
        assert!(a.after(Transmission { sent: at(1), end: SeqNum::new(u32::MAX) }));
        assert!(!a.after(a) && a.after(Transmission { sent: at(0), end: SeqNum::new(9) }));
    }

    /// RFC8985-9-a: a copy is lost when what was sent after it is delivered.
    #[test]
    fn a_lost_copy_is_found() {
        let mut board = board(4);
        let latest = sack(&mut board, 0, &[(100, 200)]).latest.expect("delivered");
        board.detect(latest, Duration::ZERO, at(20));
        board.sent_again(SeqNum::new(0), SeqNum::new(100), at(20));
        board.sent(SeqNum::new(400), SeqNum::new(500), at(21), false, false);
        assert_eq!(board.next_lost(LEN, u32::MAX), None);
        let latest = sack(&mut board, 0, &[(400, 500), (100, 200)]).latest.expect("delivered");
        let (lost, next) = board.detect(latest, Duration::from_millis(10), at(29));
        // 200..400 were sent long ago, the copy's time is up in a millisecond.
        assert_eq!((lost, next), (200, Some(at(30))));
        assert_eq!(board.detect(latest, Duration::from_millis(10), at(30)).0, 100);
        assert_eq!(board.next_lost(LEN, u32::MAX), Some((SeqNum::new(0), SeqNum::new(100))));
        check(&board);
    }

    /// RFC8985-6.2-a: a copy that is acknowledged sooner than any round trip tells nothing.
    #[test]
    fn an_ambiguous_copy_is_no_evidence() {
        let mut board = board(2);
        board.expire(Duration::ZERO, at(100));
        board.sent_again(SeqNum::new(0), SeqNum::new(100), at(100));
        let mut delivered = board.delivered(at(99));
        board.acknowledge(SeqNum::new(100), &mut delivered);
        assert_eq!((delivered.bytes, delivered.latest, delivered.sent), (100, None, None));
        assert!(delivered.retransmitted && delivered.acked.is_none());
    }

    /// RFC8985-6.3-a: at the timeout the first is lost, and what was sent long enough ago.
    #[test]
    fn a_timeout_spares_what_was_just_sent() {
        let mut board = board(10);
        assert_eq!(board.expire(Duration::from_millis(5), at(10)), 500);
        check(&board);
        let mut board = self::board(3);
        assert_eq!(board.expire(Duration::from_millis(50), at(10)), 100);
    }

    /// RFC2018-8-a: of what the peer has taken back by the timeout each segment can be found lost again, however young it was.
    #[test]
    fn what_a_peer_takes_back_is_watched_again() {
        let mut board = board(4);
        let latest = sack(&mut board, 0, &[(100, 300)]).latest.expect("delivered");
        assert_eq!(board.detect(latest, Duration::ZERO, at(20)).0, 100);
        board.acknowledge(SeqNum::new(100), &mut board.delivered(at(20)));
        // The first is reported and yet not acknowledged: what was reported counts no more. The others are not lost yet.
        assert_eq!((board.expire(Duration::from_millis(50), at(21)), board.sacked()), (100, 0));
        check(&board);
        board.sent_again(SeqNum::new(100), SeqNum::new(200), at(21));
        let mut delivered = board.delivered(at(60));
        board.acknowledge(SeqNum::new(200), &mut delivered);
        let latest = delivered.latest.expect("delivered");
        assert_eq!(board.detect(latest, Duration::ZERO, at(60)).0, 200);
    }

    /// RFC 2018 section 4: what a block reports before it was even sent is not believed, but when it was sent it is.
    #[test]
    fn a_block_ahead_of_its_time_is_looked_at_again() {
        let mut board = board(3);
        assert_eq!(sack(&mut board, 0, &[(300, 400)]).bytes, 0);
        board.sent(SeqNum::new(300), SeqNum::new(400), at(4), false, false);
        assert_eq!(sack(&mut board, 0, &[(300, 400)]).bytes, 100);
        check(&board);
    }

    /// The peer's window may cut through a segment that was joined: its rest stays.
    #[test]
    fn a_joined_segment_may_be_cut() {
        let mut board = board(3);
        board.expire(Duration::ZERO, at(100));
        assert_eq!(board.next_lost(300, u32::MAX), Some((SeqNum::new(0), SeqNum::new(300))));
        for (end, segments) in [(150, 3), (300, 2)] {
            let from = board.next_lost(300, u32::MAX).expect("lost").0;
            board.sent_again(from, SeqNum::new(end), at(100));
            check(&board);
            assert_eq!((board.segments(), board.outstanding()), (segments, 300));
        }
        assert_eq!((board.next_lost(300, u32::MAX), board.in_flight()), (None, 300));
    }

    /// RFC6675-4-a: a block that held a part of a segment holds all of what is left of it when it was cut there.
    #[test]
    fn what_a_cut_leaves_is_looked_at_again() {
        let mut board = board(3);
        assert_eq!(sack(&mut board, 0, &[(150, 300)]).bytes, 100);
        board.expire(Duration::ZERO, at(100));
        assert_eq!(board.next_lost(300, u32::MAX), Some((SeqNum::new(0), SeqNum::new(200))));
        board.sent_again(SeqNum::new(0), SeqNum::new(150), at(100));
        assert_eq!(sack(&mut board, 0, &[(150, 300)]).bytes, 50);
        check(&board);
    }

    /// What was lost is packed anew: joined up to the MSS, cut to a smaller one.
    #[test]
    fn lost_segments_are_packed_anew() {
        let mut board = board(5);
        board.expire(Duration::ZERO, at(100));
        assert_eq!(board.next_lost(250, u32::MAX), Some((SeqNum::new(0), SeqNum::new(200))));
        board.sent_again(SeqNum::new(0), SeqNum::new(200), at(100));
        check(&board);
        assert_eq!((board.segments(), board.in_flight()), (4, 200));
        assert_eq!(board.next_lost(60, u32::MAX), Some((SeqNum::new(200), SeqNum::new(300))));
        board.sent_again(SeqNum::new(200), SeqNum::new(260), at(100));
        check(&board);
        assert_eq!(board.next_lost(60, u32::MAX), Some((SeqNum::new(260), SeqNum::new(300))));
        assert_eq!((board.segments(), board.in_flight()), (5, 260));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Send(u32),
        Ack(u32),
        Sack(Vec<(u32, u32)>),
        Again(u32),
        Tail,
        Detect(u64),
        Expire(u64),
        Larger(u32),
        Unmark,
    }

    fn op() -> impl Strategy<Value = Op> {
        let place = || prop_oneof![8 => (0u32..60).prop_map(|n| n * 50), 3 => 0u32..3000, 1 => any::<u32>()];
        let block = (place(), place());
        prop_oneof![
            6 => prop_oneof![Just(100u32), Just(50), 1u32..150].prop_map(Op::Send),
            2 => (0u32..400).prop_map(Op::Ack),
            5 => proptest::collection::vec(block, 1..5).prop_map(Op::Sack),
            4 => prop_oneof![Just(1000u32), 1u32..300].prop_map(Op::Again),
            3 => Just(Op::Tail),
            4 => (0u64..10).prop_map(Op::Detect),
            1 => (0u64..10).prop_map(Op::Expire),
            1 => (50u32..120).prop_map(Op::Larger),
            1 => Just(Op::Unmark),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a peer reports: the sums are those of the records, nothing is marked that no block covered, every
        /// byte is delivered once, and the records cover what was sent and not acknowledged.
        #[test]
        fn the_scoreboard_agrees_with_a_set_of_bytes(
            base in prop_oneof![Just(0u32), Just(0u32.wrapping_sub(900)), Just((1u32 << 31) - 900)],
            ops in proptest::collection::vec(op(), 1..120),
        ) {
            let mut board = Scoreboard::default();
            let (mut una, mut max, mut now) = (0u32, 0u32, 1u64);
            let (mut covered, mut delivered_bytes) = (BTreeSet::new(), 0u32);
            let mut latest: Option<Transmission> = None;
            let seq = |n: u32| SeqNum::new(base.wrapping_add(n));
            for op in ops {
                now += 1;
                let mut delivered = board.delivered(at(now));
                match op {
                    Op::Send(len) => {
                        board.sent(seq(max), seq(max + len), at(now), false, false);
                        max += len;
                    }
                    Op::Ack(n) => {
                        una = (una + n).min(max);
                        board.acknowledge(seq(una), &mut delivered);
                    }
                    Op::Sack(list) => {
                        let list: Vec<_> = list.iter().map(|(s, e)| (base.wrapping_add(*s), base.wrapping_add(*e))).collect();
                        board.sack(seq(una), seq(una), &blocks(&list), &mut delivered);
                        for (s, e) in list.iter().map(|(s, e)| (s.wrapping_sub(base), e.wrapping_sub(base))) {
                            if una < s && s < e && e <= max {
                                covered.extend(s..e);
                            }
                        }
                    }
                    Op::Again(mss) => {
                        if let Some((s, e)) = board.next_lost(mss, u32::MAX) {
                            let len = e.since(s).min(mss);
                            board.sent_again(s, s + len, at(now));
                        }
                    }
                    Op::Tail => {
                        if let Some((s, e)) = board.tail() {
                            board.sent_again(s, e, at(now));
                        }
                    }
                    Op::Detect(wait) => {
                        if let Some(latest) = latest {
                            board.detect(latest, Duration::from_millis(wait), at(now));
                        }
                    }
                    Op::Expire(wait) => {
                        board.expire(Duration::from_millis(wait), at(now));
                    }
                    Op::Larger(mss) => {
                        board.lose_larger(mss);
                    }
                    Op::Unmark => board.unmark_lost(),
                }
                delivered_bytes += delivered.bytes;
                if let Some(l) = delivered.latest {
                    latest = Some(latest.map_or(l, |old| if l.after(old) { l } else { old }));
                }
                check(&board);
                prop_assert_eq!(board.outstanding(), max - una);
                prop_assert!(delivered_bytes <= max + 4 * board.sacked.max(max), "bytes are not delivered again and again");
                for r in board.records.iter().filter(|r| r.is(SACKED)) {
                    let from = r.seq.value().wrapping_sub(base);
                    prop_assert!((from..from + r.len()).all(|n| covered.contains(&n)), "{:?}", r);
                }
            }
        }
    }
}
