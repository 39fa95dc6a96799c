//! Data that arrived out of order (RFC 9293 SHLD-31), kept until the gap before it is filled.
//!
//! The stream is cut into cells of one chunk each, in step with the queue of what is in order, so that a cell that has become
//! in order is not copied but linked. Beside the cells there is a list of the ranges that are there, a few bytes for each hole.
//! Both are bounded by the receive window; the cells by the pool as well, and the ranges by what they are worth: who sends
//! every second byte must not make us keep a range for each.

use crate::pool::{ByteQueue, CHUNK_BYTES, Pool};
use alloc::collections::VecDeque;
use wire::{SeqNum, tcp::SackBlocks};

/// Ranges that a connection may hold, however little is in them.
const FREE_RANGES: usize = 64;
/// Beyond these one for so many bytes held.
const BYTES_PER_RANGE: u32 = 256;
#[allow(clippy::cast_possible_truncation)] // a small constant
const CELL: u32 = CHUNK_BYTES as u32;

/// What is there from `start` to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: SeqNum,
    end: SeqNum,
}

impl Range {
    const fn len(self) -> u32 {
        self.end.since(self.start)
    }
}

/// The chunk for the numbers from `start` on. Some range has a part in it.
#[derive(Debug, Clone, Copy)]
struct Cell {
    start: SeqNum,
    chunk: u32,
}

/// Ranges in sequence order, apart from each other, all beyond RCV.NXT, and the cells they lie in.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// Added to a number it gives the place in its cell, modulo [`CELL`].
    phase: u32,
    cells: VecDeque<Cell>,
    ranges: VecDeque<Range>,
    /// Bytes in the ranges.
    held: u32,
    /// Where the latest segments began, the last one first.
    latest: [Option<SeqNum>; SackBlocks::MAX],
}

impl Reassembly {
    /// For what comes behind `rcv_nxt`, the number of the next byte that `queue` gets.
    pub(crate) fn behind(queue: &ByteQueue, rcv_nxt: SeqNum) -> Self {
        Self { phase: queue.next_place().wrapping_sub(rcv_nxt.value()) % CELL, ..Self::default() }
    }

    /// The first thing that is not as it must be.
    pub(crate) fn invariants(&self, rcv_nxt: SeqNum) -> Result<(), &'static str> {
        let (mut end, mut held) = (rcv_nxt, 0);
        let (mut cells, mut last) = (self.cells.iter(), None);
        for range in &self.ranges {
            if !range.start.after(end) || range.len() == 0 {
                return Err("ranges out of order lie beyond RCV.NXT, in order, apart from each other");
            }
            end = range.end;
            held += range.len();
            let mut start = range.start - self.place(range.start);
            while start.before(range.end) {
                if last != Some(start) && cells.next().map(|cell| cell.start) != Some(start) {
                    return Err("each byte out of order has its cell, and each cell has some");
                }
                last = Some(start);
                start += CELL;
            }
        }
        match cells.next() {
            Some(_) => Err("each cell has bytes out of order"),
            None if held != self.held => Err("the bytes out of order are counted"),
            None => Ok(()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Where in its chunk the byte `seq` has its place.
    pub(crate) const fn place(&self, seq: SeqNum) -> u32 {
        seq.value().wrapping_add(self.phase) % CELL
    }

    /// The first range that ends behind `seq`.
    fn find(&self, seq: SeqNum) -> usize {
        self.ranges.partition_point(|range| range.end.before_eq(seq))
    }

    /// The range around `seq`.
    fn block(&self, seq: SeqNum) -> Option<Range> {
        self.ranges.get(self.find(seq)).copied().filter(|range| range.start.before_eq(seq))
    }

    /// The first stretch of `len` bytes at `seq` that is there already.
    pub(crate) fn overlap(&self, seq: SeqNum, len: usize) -> Option<(SeqNum, SeqNum)> {
        let end = seq + u32::try_from(len).unwrap_or(u32::MAX);
        let range = self.ranges.get(self.find(seq)).filter(|range| range.start.before(end))?;
        Some((range.start.max(seq), range.end.min(end)))
    }

    /// Adds the blocks to a SACK option, those that changed last first (RFC 2018 section 4).
    pub(crate) fn report(&self, blocks: &mut SackBlocks) {
        let told = blocks.len();
        let latest = self.latest.iter().flatten().filter_map(|seq| self.block(*seq));
        for Range { start, end } in latest.chain(self.ranges.iter().copied()) {
            let known = blocks.as_slice()[told..].contains(&(start, end));
            if !known && !blocks.push(start, end) {
                break;
            }
        }
    }

    fn note(&mut self, seq: SeqNum) {
        let block = self.block(seq);
        let same = self.latest.iter().position(|l| l.is_none_or(|l| self.block(l) == block));
        let until = same.unwrap_or(SackBlocks::MAX - 1);
        self.latest[..=until].rotate_right(1);
        self.latest[0] = Some(seq);
    }

    /// Keeps what of `bytes` at `seq` is not there yet, as far as there is memory. False if any of it was not kept.
    pub(crate) fn insert(&mut self, pool: &mut Pool, seq: SeqNum, bytes: &[u8]) -> bool {
        let kept = self.fill_holes(pool, seq, bytes);
        if self.block(seq).is_some() {
            self.note(seq);
        }
        kept
    }

    fn fill_holes(&mut self, pool: &mut Pool, seq: SeqNum, bytes: &[u8]) -> bool {
        // The first range that ends at `seq` or behind it.
        let i = self.ranges.partition_point(|range| range.end.before(seq));
        let mut swallowed = 0;
        let kept = self.fill(pool, seq, bytes, i, &mut swallowed);
        if swallowed > 0 {
            self.ranges.drain(i + 1..=i + swallowed);
        }
        kept
    }

    /// Each turn skips what range `i` has, and fills one hole. Those behind range `i` that have become a part of it are counted, and
    /// go at once: there may be hundreds, of a hundred thousand.
    fn fill(&mut self, pool: &mut Pool, seq: SeqNum, bytes: &[u8], i: usize, swallowed: &mut usize) -> bool {
        let end = seq + u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut at = seq;
        loop {
            let joins = self.ranges.get(i).is_some_and(|range| range.start.before_eq(at));
            if joins {
                at = at.max(self.ranges[i].end);
            }
            if at.after_eq(end) {
                return true;
            }
            let next = self.ranges.get(i + usize::from(joins) + *swallowed).map(|range| range.start);
            let hole_end = next.map_or(end, |start| start.min(end));
            if !joins && next != Some(hole_end) && self.ranges.len() >= self.most_ranges() {
                pool.count(|c| c.pieces_refused += 1);
                return false;
            }
            let from = at.since(seq) as usize;
            let stored = self.write(pool, at, &bytes[from..from + hole_end.since(at) as usize]);
            if stored > 0 {
                *swallowed += usize::from(self.add(i, joins, *swallowed, Range { start: at, end: at + stored }));
            }
            at += stored;
            if at != hole_end {
                pool.count(|c| c.out_of_order_refused += 1);
                return false;
            }
        }
    }

    fn most_ranges(&self) -> usize {
        FREE_RANGES + (self.held / BYTES_PER_RANGE) as usize
    }

    /// Notes that `new` is there: it prolongs range `i`, if it joins that, or comes before it; and may close the hole behind. True
    /// if the range there, behind those `swallowed` before, is a part of range `i` now.
    fn add(&mut self, i: usize, joins: bool, swallowed: usize, new: Range) -> bool {
        self.held += new.len();
        if joins {
            self.ranges[i].end = new.end;
        } else {
            self.ranges.insert(i, new);
        }
        let next = self.ranges.get(i + 1 + swallowed).copied().filter(|next| next.start == new.end);
        if let Some(next) = next {
            self.ranges[i].end = next.end;
        }
        next.is_some()
    }

    /// Puts bytes in their places, and returns how many.
    fn write(&mut self, pool: &mut Pool, at: SeqNum, bytes: &[u8]) -> u32 {
        let (mut seq, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let place = self.place(seq);
            let Some(chunk) = self.cell(pool, seq - place) else { break };
            let (now, later) = rest.split_at(rest.len().min((CELL - place) as usize));
            pool.bytes_mut(chunk)[place as usize..][..now.len()].copy_from_slice(now);
            seq += u32::try_from(now.len()).unwrap_or(CELL);
            rest = later;
        }
        seq.since(at)
    }

    /// The chunk of the cell that begins at `start`. Without memory the farthest cell makes room for a nearer one.
    fn cell(&mut self, pool: &mut Pool, start: SeqNum) -> Option<u32> {
        let i = self.cells.partition_point(|cell| cell.start.before(start));
        if let Some(cell) = self.cells.get(i).filter(|cell| cell.start == start) {
            return Some(cell.chunk);
        }
        if !pool.spares_room() && !self.prune(pool, start) {
            return None;
        }
        let chunk = pool.take()?;
        self.cells.insert(i, Cell { start, chunk });
        Some(chunk)
    }

    /// Gives up the farthest cell, if it lies beyond `near`: what is needed last comes again first.
    pub(crate) fn prune(&mut self, pool: &mut Pool, near: SeqNum) -> bool {
        let Some(cell) = self.cells.back().copied().filter(|cell| cell.start.after(near)) else { return false };
        self.cells.pop_back();
        pool.give_back(cell.chunk);
        pool.count(|c| c.pruned += 1);
        while let Some(range) = self.ranges.back_mut().filter(|range| range.end.after(cell.start)) {
            let start = range.start.max(cell.start);
            self.held -= range.end.since(start);
            if start == range.start {
                self.ranges.pop_back();
            } else {
                range.end = start;
            }
        }
        true
    }

    /// As [`prune`](Self::prune), for data that is in order: any cell.
    pub(crate) fn prune_any(&mut self, pool: &mut Pool) -> bool {
        self.cells.back().map(|cell| cell.start - 1).is_some_and(|near| self.prune(pool, near))
    }

    /// RCV.NXT is now `rcv_nxt`: moves the bytes that have become in order to the end of `out`, and returns how many.
    pub(crate) fn advance(&mut self, pool: &mut Pool, rcv_nxt: SeqNum, out: &mut ByteQueue) -> u32 {
        let mut nxt = rcv_nxt;
        while let Some(range) = self.ranges.front().copied().filter(|range| range.start.before_eq(nxt)) {
            self.cut_front(range.end.min(nxt));
            self.trim(pool);
            if range.end.after(nxt) {
                nxt += self.move_cell(pool, Range { start: nxt, end: range.end }, out);
                self.cut_front(nxt);
            }
            self.trim(pool);
        }
        nxt.since(rcv_nxt)
    }

    /// The first range begins at `start`, or is used up.
    fn cut_front(&mut self, start: SeqNum) {
        let Some(range) = self.ranges.front_mut() else { return };
        self.held -= start.since(range.start);
        range.start = start;
        if range.len() == 0 {
            self.ranges.pop_front();
        }
    }

    /// Gives back the cells before the first range.
    fn trim(&mut self, pool: &mut Pool) {
        let first = self.ranges.front().map(|range| range.start);
        while let Some(cell) = self.cells.front().filter(|c| first.is_none_or(|seq| seq.after_eq(c.start + CELL))) {
            pool.give_back(cell.chunk);
            self.cells.pop_front();
        }
    }

    /// Moves the beginning of the first range, as far as it lies in one cell, to the end of `out`.
    fn move_cell(&mut self, pool: &mut Pool, range: Range, out: &mut ByteQueue) -> u32 {
        let from = self.place(range.start);
        let len = range.len().min(CELL - from);
        let Some(cell) = self.cells.front().copied() else { return 0 };
        debug_assert_eq!(cell.start, range.start - from, "a range has its cells");
        let shared = self.ranges.get(1).is_some_and(|next| next.start.before(cell.start + CELL));
        if shared || !out.needs_chunk() {
            // The queue has a chunk for these places already, or another range needs this one.
            let mut piece = [0; CHUNK_BYTES];
            let piece = &mut piece[..len as usize];
            piece.copy_from_slice(&pool.bytes(cell.chunk)[from as usize..(from + len) as usize]);
            if out.push_at(pool, from, piece) == piece.len() {
                return len;
            }
            // No memory for a copy: what follows comes again.
            while self.prune(pool, cell.start) {}
            self.ranges.truncate(1);
            self.held = range.len();
        }
        self.cells.pop_front();
        out.splice(pool, cell.chunk, from, from + len);
        len
    }

    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.ranges.clear();
        self.held = 0;
        self.trim(pool);
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // places in streams of 12,000 bytes
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn drain(pool: &mut Pool, queue: &mut ByteQueue) -> Vec<u8> {
        let mut all = Vec::new();
        while !queue.is_empty() {
            let front = queue.front(pool).to_vec();
            queue.consume(pool, u32::try_from(front.len()).expect("short"));
            all.extend(front);
        }
        all
    }

    fn stream() -> Vec<u8> {
        (0..16_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// What the fields say of each other, and of a map of the bytes that are there.
    fn check(r: &Reassembly, base: SeqNum, have: &[bool]) {
        let mut map = vec![false; have.len()];
        let mut cells: Vec<SeqNum> = Vec::new();
        for range in &r.ranges {
            map[range.start.since(base) as usize..range.end.since(base) as usize].fill(true);
            let mut seq = range.start;
            while seq.before(range.end) {
                let cell = seq - r.place(seq);
                cells.push(cell);
                seq = cell + CELL;
            }
        }
        assert!(map == have, "the ranges are what is there");
        let apart = r.ranges.iter().zip(r.ranges.iter().skip(1)).all(|(a, b)| a.end.before(b.start));
        assert!(apart && r.ranges.iter().all(|range| range.len() > 0));
        assert_eq!(r.held as usize, have.iter().filter(|h| **h).count());
        cells.dedup();
        assert_eq!(r.cells.iter().map(|c| c.start).collect::<Vec<_>>(), cells, "a chunk for each cell in use");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Pieces of one stream in any order, overlapping anyhow, give the stream, a part at a time; RCV.NXT moves whether or
        /// not what it passes was there. The oracle is a map of bytes.
        /// SHLD-31.
        #[test]
        fn any_order_gives_the_stream(
            start in any::<u32>(),
            before in 0usize..3000,
            pieces in proptest::collection::vec((0usize..11_000, 1usize..3000, any::<bool>()), 1..60),
        ) {
            let (stream, base) = (stream(), SeqNum::new(start));
            let mut pool = Pool::new(1 << 20);
            // So much is in order and not read: the cells are in step with that.
            let mut out = ByteQueue::default();
            out.push(&mut pool, &stream[..before]);
            let mut nxt = before;
            let mut reassembly = Reassembly::behind(&out, base + nxt as u32);
            let (mut have, mut read) = (vec![false; stream.len()], Vec::new());
            for (at, len, in_order) in pieces {
                if in_order {
                    let end = (nxt + len / 4).min(stream.len());
                    let place = reassembly.place(base + nxt as u32);
                    prop_assert_eq!(out.push_at(&mut pool, place, &stream[nxt..end]), end - nxt);
                    nxt = end;
                    let moved = reassembly.advance(&mut pool, base + nxt as u32, &mut out) as usize;
                    prop_assert_eq!(moved, have[nxt..].iter().take_while(|h| **h).count());
                    nxt += moved;
                    have[..nxt].fill(false);
                } else if at > nxt {
                    prop_assert!(reassembly.insert(&mut pool, base + at as u32, &stream[at..at + len]));
                    have[at..at + len].fill(true);
                } else {
                    read.extend(drain(&mut pool, &mut out));
                }
                check(&reassembly, base, &have);
            }
            read.extend(drain(&mut pool, &mut out));
            prop_assert!(read == stream[..nxt], "{} of {nxt}", read.len());
            prop_assert_eq!(pool.chunks_in_use() as usize, reassembly.cells.len());
            reassembly.clear(&mut pool);
            prop_assert_eq!(pool.chunks_in_use(), 0);
        }

        /// The same with a pool of eight chunks, four of which are for this: what is kept is the stream's, what is nearer takes
        /// the place of what is farther, and what is in order the place of all.
        #[test]
        fn scarce_memory_is_for_what_is_near(
            start in any::<u32>(),
            pieces in proptest::collection::vec((1usize..11_000, 1usize..3000), 1..60),
        ) {
            let (stream, base) = (stream(), SeqNum::new(start));
            let mut pool = Pool::new(8 * CHUNK_BYTES);
            let (mut reassembly, mut out) = (Reassembly::default(), ByteQueue::default());
            for (at, len) in pieces {
                let kept = reassembly.insert(&mut pool, base + at as u32, &stream[at..at + len]);
                prop_assert!(pool.chunks_in_use() <= 4);
                let last = reassembly.ranges.back().map_or(0, |r| r.end.since(base) as usize);
                prop_assert!(kept || reassembly.cells.len() == 4 && at + len >= last);
                let mut have = vec![false; stream.len()];
                for r in &reassembly.ranges {
                    have[r.start.since(base) as usize..r.end.since(base) as usize].fill(true);
                }
                check(&reassembly, base, &have);
            }
            let place = reassembly.place(base);
            prop_assert_eq!(out.push_at(&mut pool, place, &stream[..1]), 1);
            let moved = reassembly.advance(&mut pool, base + 1, &mut out) as usize;
            prop_assert!(drain(&mut pool, &mut out) == stream[..=moved]);
            while reassembly.prune_any(&mut pool) {}
            prop_assert!(reassembly.is_empty() && pool.chunks_in_use() == 0);
        }
    }

    /// With no memory for a copy, what shares a cell with the bytes in order makes room; nothing is lost of those.
    #[test]
    fn without_memory_for_a_copy_the_chunk_itself_is_taken() {
        let (stream, base) = (stream(), SeqNum::new(7));
        let mut pool = Pool::new(2 * CHUNK_BYTES);
        let (mut out, mut others) = (ByteQueue::default(), ByteQueue::default());
        let mut reassembly = Reassembly::behind(&out, base);
        assert!(reassembly.insert(&mut pool, base + 10, &stream[10..20]));
        assert!(reassembly.insert(&mut pool, base + 30, &stream[30..40]));
        others.push(&mut pool, &[0; CHUNK_BYTES]);
        // The application took the first ten in place.
        assert_eq!(reassembly.advance(&mut pool, base + 10, &mut out), 10);
        assert_eq!(out.front(&pool), &stream[10..20]);
        assert!(reassembly.is_empty() && pool.chunks_in_use() == 2);
    }

    /// Every second byte: 64 ranges, and one more for 256 bytes. Every second segment: as many as there are.
    #[test]
    fn ranges_are_bounded_by_what_they_hold() {
        let mut pool = Pool::new(64 << 20);
        let mut reassembly = Reassembly::default();
        for i in 0..1000 {
            assert_eq!(reassembly.insert(&mut pool, SeqNum::new(10 + i * 2), &[1]), i < 64);
        }
        assert_eq!((reassembly.ranges.len(), reassembly.cells.len(), pool.counters().pieces_refused), (64, 1, 936));
        // A byte that joins two of them is no new range.
        assert!(reassembly.insert(&mut pool, SeqNum::new(11), &[1]));
        assert!(reassembly.insert(&mut pool, SeqNum::new(1010), &[1]));
        reassembly.clear(&mut pool);
        for i in 0..5000 {
            assert!(reassembly.insert(&mut pool, SeqNum::new(10 + i * 2920), &[1; 1460]));
        }
        assert_eq!(reassembly.ranges.len(), 5000);
        reassembly.clear(&mut pool);
        assert_eq!(pool.chunks_in_use(), 0);
    }
}
