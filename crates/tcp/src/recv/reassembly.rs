//! Data that arrived out of order (RFC 9293 SHLD-31): kept in runs until the gap before it is filled. Bounded by the
//! receive window in bytes and by [`MAX_RUNS`] in pieces.

use crate::pool::{ByteQueue, Pool};
use alloc::vec::Vec;
use wire::{SeqNum, tcp::SackBlocks};

/// Runs a connection may hold; a segment that would begin one more is dropped and comes again.
const MAX_RUNS: usize = 64;

#[derive(Debug)]
struct Run {
    start: SeqNum,
    bytes: ByteQueue,
}

impl Run {
    fn end(&self) -> SeqNum {
        self.start + self.bytes.len()
    }
}

/// Runs in sequence order, apart from each other, all beyond RCV.NXT.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    runs: Vec<Run>,
    /// Where the latest segments began, the last one first.
    latest: [Option<SeqNum>; SackBlocks::MAX],
}

impl Reassembly {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The first thing that is not as it must be.
    pub(crate) fn invariants(&self, rcv_nxt: SeqNum) -> Result<(), &'static str> {
        let mut end = rcv_nxt;
        for run in &self.runs {
            // Runs may touch: what lies between them was filled at another time.
            if run.start.before(end) || run.start == rcv_nxt || run.bytes.is_empty() {
                return Err("runs out of order lie beyond RCV.NXT, in order, apart from each other");
            }
            end = run.end();
        }
        if self.runs.len() > MAX_RUNS { Err("runs out of order are limited") } else { Ok(()) }
    }

    /// The bytes around `seq` that lie together: runs that touch are one block.
    fn block(&self, seq: SeqNum) -> Option<(SeqNum, SeqNum)> {
        let at = self.runs.iter().position(|run| run.start.before_eq(seq) && run.end().after(seq))?;
        let (mut first, mut last) = (at, at);
        while first > 0 && self.runs[first - 1].end() == self.runs[first].start {
            first -= 1;
        }
        while self.runs.get(last + 1).is_some_and(|next| next.start == self.runs[last].end()) {
            last += 1;
        }
        Some((self.runs[first].start, self.runs[last].end()))
    }

    /// The first stretch of `len` bytes at `seq` that is there already.
    pub(crate) fn overlap(&self, seq: SeqNum, len: usize) -> Option<(SeqNum, SeqNum)> {
        let end = seq + u32::try_from(len).unwrap_or(u32::MAX);
        let run = self.runs.iter().find(|run| run.end().after(seq) && run.start.before(end))?;
        let first = if run.start.after(seq) { run.start } else { seq };
        Some((first, if run.end().before(end) { run.end() } else { end }))
    }

    /// Adds the blocks to a SACK option, those that changed last first (RFC 2018 section 4).
    pub(crate) fn report(&self, blocks: &mut SackBlocks) {
        let told = blocks.len();
        let latest = self.latest.iter().flatten().copied();
        for seq in latest.chain(self.runs.iter().map(|run| run.start)) {
            let Some((start, end)) = self.block(seq) else { continue };
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
        let kept = self.insert_runs(pool, seq, bytes);
        self.note(seq);
        kept
    }

    fn insert_runs(&mut self, pool: &mut Pool, seq: SeqNum, bytes: &[u8]) -> bool {
        let (mut seq, mut rest) = (seq, bytes);
        // The first run that ends behind `seq` decides; each turn either fills one hole or skips one run.
        let mut at = self.runs.iter().position(|run| run.end().after(seq)).unwrap_or(self.runs.len());
        while !rest.is_empty() {
            let hole = self
                .runs
                .get(at)
                .map_or(rest.len(), |run| if run.start.after(seq) { run.start.since(seq) as usize } else { 0 });
            let fill = hole.min(rest.len());
            if fill > 0 {
                let kept = self.fill(pool, &mut at, seq, &rest[..fill]);
                if kept < fill {
                    return false;
                }
            }
            let mut passed = fill;
            if let Some(run) = self.runs.get(at) {
                passed += (run.end().since(seq) as usize).saturating_sub(fill).min(rest.len() - fill);
            }
            rest = &rest[passed..];
            seq += u32::try_from(passed).unwrap_or(u32::MAX);
            at += 1;
        }
        true
    }

    /// Puts `bytes` into the hole before run `at`: onto the run that ends there, or as a run of its own.
    fn fill(&mut self, pool: &mut Pool, at: &mut usize, seq: SeqNum, bytes: &[u8]) -> usize {
        let previous = at.checked_sub(1).and_then(|i| self.runs.get_mut(i));
        if let Some(previous) = previous.filter(|run| run.end() == seq) {
            return previous.bytes.push(pool, bytes);
        }
        if self.runs.len() == MAX_RUNS {
            return 0;
        }
        let mut run = Run { start: seq, bytes: ByteQueue::default() };
        let kept = run.bytes.push(pool, bytes);
        if kept > 0 {
            self.runs.insert(*at, run);
            *at += 1;
        }
        kept
    }

    /// RCV.NXT is now `rcv_nxt`: moves the bytes that have become in order to the end of `out`, and returns how many.
    ///
    /// Where there is no memory for a copy the rest is thrown away: it was not acknowledged, and comes again.
    pub(crate) fn advance(&mut self, pool: &mut Pool, rcv_nxt: SeqNum, out: &mut ByteQueue) -> u32 {
        let mut nxt = rcv_nxt;
        while self.runs.first().is_some_and(|run| run.start.before_eq(nxt)) {
            let mut run = self.runs.remove(0);
            let old = nxt.since(run.start).min(run.bytes.len());
            run.bytes.consume(pool, old);
            while !run.bytes.is_empty() {
                let moved = move_front(pool, &mut run.bytes, out);
                nxt += moved;
                if moved == 0 {
                    run.bytes.clear(pool);
                    self.clear(pool);
                }
            }
        }
        nxt.since(rcv_nxt)
    }

    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        for run in &mut self.runs {
            run.bytes.clear(pool);
        }
        self.runs.clear();
    }
}

/// Moves up to 512 bytes from the front of one queue to the end of another.
fn move_front(pool: &mut Pool, from: &mut ByteQueue, to: &mut ByteQueue) -> u32 {
    let mut piece = [0; 512];
    let front = from.front(pool);
    let n = front.len().min(piece.len());
    piece[..n].copy_from_slice(&front[..n]);
    let moved = u32::try_from(to.push(pool, &piece[..n])).unwrap_or(0);
    from.consume(pool, moved);
    moved
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // places in streams of 4,000 bytes
mod tests {
    use super::*;
    use alloc::vec;
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

    proptest! {
        /// Pieces of one stream in any order, overlapping anyhow, give the stream.
        /// SHLD-31.
        #[test]
        fn any_order_gives_the_stream(
            start in any::<u32>(),
            pieces in proptest::collection::vec((0usize..3000, 1usize..900), 1..60),
        ) {
            let stream: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let mut pool = Pool::new(1 << 20);
            let (mut reassembly, mut out) = (Reassembly::default(), ByteQueue::default());
            let base = SeqNum::new(start);
            let mut have = vec![false; 4000];
            // The first octet is kept missing until the end.
            for (at, len) in pieces {
                let at = at + 1;
                prop_assert!(reassembly.insert(&mut pool, base + at as u32, &stream[at..at + len]));
                have[at..at + len].fill(true);
                let runs = &reassembly.runs;
                prop_assert!(runs.windows(2).all(|w| w[0].end().before_eq(w[1].start)));
            }
            out.push(&mut pool, &stream[..1]);
            let moved = reassembly.advance(&mut pool, base + 1, &mut out) as usize;
            let expected = have[1..].iter().take_while(|h| **h).count();
            prop_assert_eq!(moved, expected);
            prop_assert_eq!(drain(&mut pool, &mut out), &stream[..=expected]);
            reassembly.clear(&mut pool);
            prop_assert_eq!(pool.chunks_in_use(), 0);
        }
    }

    #[test]
    fn runs_are_bounded() {
        let mut pool = Pool::new(1 << 20);
        let mut reassembly = Reassembly::default();
        for i in 0..MAX_RUNS as u32 {
            assert!(reassembly.insert(&mut pool, SeqNum::new(10 + i * 10), &[1]));
        }
        assert!(!reassembly.insert(&mut pool, SeqNum::new(5), &[1]));
        assert_eq!(reassembly.runs.len(), MAX_RUNS);
    }
}
