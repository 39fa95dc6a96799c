//! A fuzz target (docs/FUZZING.md): reassembly against a map from places to bytes.

use super::Reassembly;
use crate::pool::{ByteQueue, CHUNK_BYTES, Pool, PoolCounters};
use fuzz::Input;
use std::{ops::Range, vec::Vec};
use wire::{SeqNum, tcp::SackBlocks};

#[test]
fn fuzz_reassembly() {
    fuzz::check("reassembly", reassembly);
}

/// The most places that segments reach.
const PLACES: usize = 6000;

/// What is out of order, by its distance from RCV.NXT. (Whole slices at a time: with coverage, loops over bytes are dear.)
#[derive(Debug, Clone, Default, PartialEq)]
struct Map {
    bytes: Vec<u8>,
    there: Vec<bool>,
}

impl Map {
    fn len(&self) -> usize {
        self.there.len()
    }

    fn grow(&mut self, len: usize) {
        let more = len.saturating_sub(self.len());
        self.bytes.extend_from_slice(&[0; PLACES][..more]);
        self.there.extend_from_slice(&[false; PLACES][..more]);
    }

    /// Writes where nothing is.
    fn add(&mut self, place: usize, bytes: &[u8]) {
        self.grow(place + bytes.len());
        for (i, byte) in (place..).zip(bytes) {
            if !self.there[i] {
                (self.bytes[i], self.there[i]) = (*byte, true);
            }
        }
    }

    /// Whether all that is here is there as well.
    fn within(&self, other: &Self) -> bool {
        let same = |i: usize| !self.there[i] || other.there[i] && self.bytes[i] == other.bytes[i];
        self.len() <= other.len() && (0..self.len()).all(same)
    }

    /// The nearest `len` places.
    fn cut(&self, len: usize) -> Self {
        let len = len.min(self.len());
        Self { bytes: self.bytes[..len].to_vec(), there: self.there[..len].to_vec() }
    }

    fn consume(&mut self, n: usize) -> Vec<u8> {
        self.there.drain(..n);
        self.bytes.drain(..n).collect()
    }

    fn clear(&mut self) {
        self.there.clear();
        self.bytes.clear();
    }
}

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
    let mut bench = Bench { pool, runs, out, next, map: Map::default(), unread: Vec::new(), latest: None };
    let mut crowded = false;
    while !input.is_empty() {
        let (op, from, size) = (input.below(16), input.u8(), input.u8());
        // Seldom so large that more than one chunk is needed.
        let wide = |byte: u8| if byte < 250 { 1 + usize::from(byte % 48) } else { 300 * usize::from(byte - 249) };
        let (from, len) = (wide(from), wide(size));
        match op {
            0..=9 => {
                bench.insert(from, len, input.u8());
            }
            10 | 11 => bench.overlap(from, len),
            12 | 13 => bench.advance(len, input.u8()),
            // Many pieces with gaps, once: the limit on runs is met.
            14 if !crowded => {
                crowded = true;
                for i in 0..usize::from(size % 70) {
                    bench.insert(1 + 2 * i, 1, size);
                }
            }
            15 => bench.clear(),
            _ => {}
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

    /// Bytes that differ from place to place, and from segment to segment: it shows which one was kept.
    fn data(place: usize, len: usize, mark: u8) -> Vec<u8> {
        const PATTERN: [u8; PLACES] = {
            let mut pattern = [0; PLACES];
            let mut i = 0;
            while i < PLACES {
                pattern[i] = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
                i += 1;
            }
            pattern
        };
        PATTERN[place + usize::from(mark)..][..len].to_vec()
    }

    /// What the runs hold.
    fn held(&self) -> Map {
        let mut held = Map::default();
        for range in &self.runs.ranges {
            let (start, len) = (range.start.since(self.next) as usize, range.len() as usize);
            held.grow(start + len);
            held.there[start..].fill(true);
            let mut done = 0;
            while done < len {
                let (seq, place) = (range.start + length(done), self.runs.place(range.start + length(done)));
                let cell =
                    self.runs.cells.iter().find(|cell| cell.start == seq - place).expect("a range has its cells");
                let part = &self.pool.bytes(cell.chunk)[place as usize..];
                let part = &part[..part.len().min(len - done)];
                held.bytes[start + done..][..part.len()].copy_from_slice(part);
                done += part.len();
            }
        }
        held
    }

    /// Whether all of it was kept.
    fn insert(&mut self, place: usize, len: usize, mark: u8) -> bool {
        let bytes = Self::data(place, len, mark);
        if self.runs.is_empty() {
            // As the receiver does: there is none while nothing is out of order.
            self.runs = Reassembly::behind(&self.out, self.next);
        }
        let before = *self.pool.counters();
        let kept = self.runs.insert(&mut self.pool, self.next + length(place), &bytes);
        self.latest = Some(self.at(place));
        let after = *self.pool.counters();
        let refused = |c: PoolCounters| c.out_of_order_refused + c.pieces_refused;
        assert_eq!(kept, refused(before) == refused(after), "what is not kept is counted");
        let pruned = after.pruned > before.pruned;
        let mut all = self.map.clone();
        all.add(place, &bytes);
        if kept && !pruned {
            self.map = all;
            return true;
        }
        let held = self.held();
        // What was kept is kept, but for the farthest, which makes room for what is nearer.
        assert!(if pruned { self.map.cut(held.len()).within(&held) } else { self.map.within(&held) });
        assert!(held.within(&all), "what never came");
        assert!(held != all, "all of it was kept");
        self.map = held;
        false
    }

    /// The first stretch of these places that is held, of bytes of one run.
    fn overlap(&self, place: usize, len: usize) {
        let found = self.runs.overlap(self.at(place), len);
        let part = &self.map.there[place.min(self.map.len())..(place + len).min(self.map.len())];
        let first = part.iter().position(|there| *there);
        assert_eq!(found.map(|(start, _)| start), first.map(|i| self.at(place + i)));
        let Some((start, end)) = found else { return };
        let stretch = start.since(self.next) as usize..end.since(self.next) as usize;
        assert!(stretch.start < stretch.end && stretch.end <= place + len);
        assert!(!self.map.there[stretch].contains(&false), "all of it is held");
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
        self.map.consume(queued.min(self.map.len()));
        let moved = self.runs.advance(&mut self.pool, self.next, &mut self.out) as usize;
        let in_order = self.map.there.iter().take_while(|there| **there).count();
        if moved != in_order {
            // Without memory for a copy all that is out of order goes.
            assert!(self.pool.counters().refused > 0 && moved < in_order && self.runs.is_empty());
        }
        self.unread.extend(self.map.consume(moved));
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
        for (place, _) in self.map.there.iter().enumerate().filter(|(_, there)| **there) {
            match blocks.last_mut() {
                Some(last) if last.end == place => last.end += 1,
                _ => blocks.push(place..place + 1),
            }
        }
        blocks.into_iter().map(|block| (self.at(block.start), self.at(block.end))).collect()
    }

    fn check(&self) {
        assert_eq!(self.held(), self.map);
        assert_eq!(self.runs.is_empty(), self.map.len() == 0);
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
