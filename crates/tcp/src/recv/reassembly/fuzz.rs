//! A fuzz target (docs/FUZZING.md): reassembly against a map from places to bytes.

use super::Reassembly;
use crate::pool::{ByteQueue, CHUNK_BYTES, Pool};
use fuzz::Input;
use std::{ops::Range, vec::Vec};
use wire::{SeqNum, tcp::SackBlocks};

#[test]
fn fuzz_reassembly() {
    fuzz::check("reassembly", reassembly);
}

/// What is out of order, by its distance from RCV.NXT.
type Map = Vec<Option<u8>>;

struct Bench {
    pool: Pool,
    runs: Reassembly,
    out: ByteQueue,
    next: SeqNum,
    map: Map,
    /// What is in order and not read.
    unread: Vec<u8>,
    /// Where the segment began that arrived last.
    latest: Option<SeqNum>,
}

fn reassembly(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let next = SeqNum::new([0, 0u32.wrapping_sub(700), (1 << 31) - 700, 7][usize::from(input.below(4))]);
    // The smallest pool is full after three cells.
    let pool = Pool::new([1 << 20, 3 * CHUNK_BYTES, 8 * CHUNK_BYTES][usize::from(input.below(3))]);
    let out = ByteQueue::default();
    let runs = Reassembly::behind(&out, next);
    let mut bench = Bench { pool, runs, out, next, map: Map::new(), unread: Vec::new(), latest: None };
    while !input.is_empty() {
        let (op, from, size) = (input.below(16), input.u8(), input.u8());
        // Distances of one byte and, less often, of many, so that more than one chunk is needed.
        let wide = |byte: u8| 1 + usize::from(byte % 192) * if byte < 192 { 1 } else { 33 };
        let (from, len) = (wide(from), wide(size));
        match op {
            0..=9 => bench.insert(from, len, input.u8()),
            10 | 11 => bench.overlap(from, len),
            12 | 13 => bench.advance(len, input.u8()),
            // Many pieces with gaps: the limit on runs is met.
            14 => (0..usize::from(size % 70)).for_each(|i| bench.insert(from + 2 * i, 1, size)),
            _ => bench.clear(),
        }
        bench.check();
    }
    bench.clear();
    bench.out.clear(&mut bench.pool);
    assert_eq!(bench.pool.chunks_in_use(), 0);
}

fn length(n: usize) -> u32 {
    u32::try_from(n).expect("few bytes")
}

impl Bench {
    fn at(&self, place: usize) -> SeqNum {
        self.next + length(place)
    }

    /// Bytes that differ from segment to segment: it shows which one was kept.
    fn data(place: usize, len: usize, mark: u8) -> Vec<u8> {
        (place..place + len).map(|i| i.to_le_bytes()[0].wrapping_mul(31) ^ mark).collect()
    }

    /// What the runs hold.
    fn held(&self) -> Map {
        let mut held = Map::new();
        for range in &self.runs.ranges {
            held.resize(range.start.since(self.next) as usize, None);
            held.extend((0..range.len()).map(|i| {
                let (seq, place) = (range.start + i, self.runs.place(range.start + i));
                let cell =
                    self.runs.cells.iter().find(|cell| cell.start == seq - place).expect("a range has its cells");
                Some(self.pool.bytes(cell.chunk)[place as usize])
            }));
        }
        held
    }

    fn insert(&mut self, place: usize, len: usize, mark: u8) {
        let bytes = Self::data(place, len, mark);
        if self.runs.is_empty() {
            // As the receiver does: there is none while nothing is out of order.
            self.runs = Reassembly::behind(&self.out, self.next);
        }
        let counted = |pool: &Pool| {
            let c = pool.counters();
            (c.out_of_order_refused + c.pieces_refused, c.pruned)
        };
        let (refused, pruned) = counted(&self.pool);
        let kept = self.runs.insert(&mut self.pool, self.next + length(place), &bytes);
        self.latest = Some(self.at(place));
        let (refused, pruned) = (counted(&self.pool).0 > refused, counted(&self.pool).1 > pruned);
        let before = if kept && !pruned { Map::new() } else { self.map.clone() };
        if self.map.len() < place + len {
            self.map.resize(place + len, None);
        }
        for (old, byte) in self.map[place..].iter_mut().zip(bytes) {
            // What is there already stays.
            old.get_or_insert(byte);
        }
        assert_eq!(kept, !refused, "what is not kept is counted");
        if kept && !pruned {
            return;
        }
        let held = self.held();
        assert!(held.iter().zip(&self.map).all(|(held, all)| held.is_none() || held == all), "what never came");
        assert!(held != self.map, "all of it was kept");
        // What was there stays, but for the farthest, which makes room for what is nearer.
        let there = before.iter().zip(&held).all(|(old, new)| old.is_none() || old == new);
        assert!(there && (pruned || held.len() >= before.len()));
        self.map = held;
    }

    /// The first stretch of these places that is held, of bytes of one run.
    fn overlap(&self, place: usize, len: usize) {
        let found = self.runs.overlap(self.at(place), len);
        let part = &self.map[place.min(self.map.len())..(place + len).min(self.map.len())];
        let first = part.iter().position(Option::is_some);
        assert_eq!(found.map(|(start, _)| start), first.map(|i| self.at(place + i)));
        let Some((start, end)) = found else { return };
        let stretch = start.since(self.next) as usize..end.since(self.next) as usize;
        assert!(stretch.start < stretch.end && stretch.end <= place + len);
        assert!(self.map[stretch].iter().all(Option::is_some), "all of it is held");
    }

    /// `len` bytes arrive in order, and the application reads most of what there is.
    fn advance(&mut self, len: usize, mark: u8) {
        let bytes = Self::data(0, len, mark);
        let queued = if self.runs.is_empty() {
            self.out.push(&mut self.pool, &bytes)
        } else {
            self.out.push_at(&mut self.pool, self.runs.place(self.next), &bytes)
        };
        self.unread.extend(&bytes[..queued]);
        self.next += length(queued);
        self.map.drain(..queued.min(self.map.len()));
        let moved = self.runs.advance(&mut self.pool, self.next, &mut self.out) as usize;
        let in_order = self.map.iter().map_while(|byte| *byte).count();
        if moved != in_order {
            // Without memory for a copy all that is out of order goes.
            assert!(self.pool.counters().refused > 0 && moved < in_order && self.runs.is_empty());
        }
        self.unread.extend(self.map.drain(..moved).flatten());
        if moved != in_order {
            self.map.clear();
        }
        self.next += length(moved);
        assert_eq!(self.out.len() as usize, self.unread.len());
        let mut left = self.unread.len() - self.unread.len() % 7;
        while left > 0 {
            let front = self.out.front(&self.pool);
            let step = front.len().min(left);
            assert_eq!(front[..step], self.unread[..step]);
            self.unread.drain(..step);
            self.out.consume(&mut self.pool, length(step));
            left -= step;
        }
    }

    fn clear(&mut self) {
        self.runs.clear(&mut self.pool);
        self.map.clear();
    }

    /// What lies together, as RFC 2018 section 3 has blocks: nothing adjoins one.
    fn blocks(&self) -> Vec<(SeqNum, SeqNum)> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for (place, _) in self.map.iter().enumerate().filter(|(_, byte)| byte.is_some()) {
            match blocks.last_mut() {
                Some(last) if last.end == place => last.end += 1,
                _ => blocks.push(place..place + 1),
            }
        }
        blocks.into_iter().map(|block| (self.at(block.start), self.at(block.end))).collect()
    }

    fn check(&mut self) {
        while self.map.last() == Some(&None) {
            self.map.pop();
        }
        assert_eq!(self.held(), self.map);
        assert_eq!(self.runs.is_empty(), self.map.is_empty());
        assert_eq!(self.runs.invariants(self.next), Ok(()));
        assert!(self.runs.ranges.len() <= 64 + self.map.len() / 256 + 1);
        let blocks = self.blocks();
        // Alone, and behind the duplicate, which comes first (RFC 2883 section 4).
        for told in [0, 1] {
            let mut reported = SackBlocks::default();
            for _ in 0..told {
                reported.push(self.next - 2, self.next - 1);
            }
            self.runs.report(&mut reported);
            let reported = &reported.as_slice()[told..];
            assert_eq!(reported.len(), blocks.len().min(SackBlocks::MAX - told), "as many as there is room for");
            assert!(reported.iter().all(|block| blocks.contains(block)), "{reported:?} of {blocks:?}");
            assert!((1..reported.len()).all(|i| !reported[..i].contains(&reported[i])), "{reported:?}: one twice");
            // RFC 2018 section 4: the first block has the segment that arrived last.
            let holds = |(start, end): &&(SeqNum, SeqNum)| {
                self.latest.is_some_and(|at| at.after_eq(self.next) && start.before_eq(at) && at.before(*end))
            };
            let latest = blocks.iter().find(holds);
            assert!(latest.is_none() || latest == reported.first(), "{reported:?}, not {latest:?} first");
        }
    }
}
