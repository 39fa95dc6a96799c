//! Pooled memory for bytes that must be kept: unsent or unacknowledged data, data the application left unread, and data
//! that arrived out of order. One pool per shard, one limit; a connection that holds nothing owns nothing of it.

use crate::send::Flight;
use alloc::{boxed::Box, vec, vec::Vec};

/// Bytes in one chunk: a full-sized Ethernet segment fits, and 32 of them make a 64 KiB slab.
pub const CHUNK_BYTES: usize = 2048;
/// What a connection may hold in each direction however little is free; of a small pool a sixteenth, but two chunks.
const LEAST_SHARE: u32 = 64 << 10;
/// Scoreboards kept for reuse.
const SPARE_FLIGHTS: usize = 64;
const CHUNKS_PER_SLAB: usize = 32;
const NONE: u32 = u32::MAX;

/// What it has cost that memory is limited, since the pool was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// Chunks that were asked for when the limit had been reached.
    pub refused: u64,
    /// Chunks of data out of order that were given up for data nearer to what is read next.
    pub pruned: u64,
    /// Segments out of order that were not kept, or not whole, because half of the pool is taken.
    pub out_of_order_refused: u64,
    /// Segments out of order that were not kept, or not whole, because their connection holds too many pieces.
    pub pieces_refused: u64,
    /// Times a receive buffer would have grown and did not because half of the pool is taken.
    pub growth_held: u64,
    /// Data segments that came while their connection's window was held back because the pool is scarce.
    pub windows_held: u64,
}

impl PoolCounters {
    /// Every counter by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("memory_refused", self.refused),
            ("memory_pruned", self.pruned),
            ("memory_out_of_order_refused", self.out_of_order_refused),
            ("memory_pieces_refused", self.pieces_refused),
            ("memory_growth_held", self.growth_held),
            ("memory_windows_held", self.windows_held),
        ]
        .into_iter()
    }
}

/// A bounded pool of [`CHUNK_BYTES`]-sized chunks, linked into [`ByteQueue`]s.
///
/// Memory is taken from the allocator a slab at a time, up to the limit, and kept for reuse.
#[derive(Debug)]
pub struct Pool {
    slabs: Vec<Box<[u8]>>,
    next: Vec<u32>,
    free: u32,
    in_use: u32,
    limit: u32,
    counters: PoolCounters,
    /// Scoreboards for the next connections that send: a request and its answer shall not cost an allocation.
    #[allow(clippy::vec_box)] // the boxes are what is handed out
    flights: Vec<Box<Flight>>,
}

impl Pool {
    /// A pool that holds at most `limit_bytes` (rounded down to whole chunks, at least one).
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let limit = u32::try_from(limit_bytes / CHUNK_BYTES).unwrap_or(NONE - 1).clamp(1, NONE - 1);
        Self {
            slabs: Vec::new(),
            next: Vec::new(),
            free: NONE,
            in_use: 0,
            limit,
            counters: PoolCounters::default(),
            flights: Vec::new(),
        }
    }

    pub(crate) fn take_flight(&mut self) -> Box<Flight> {
        self.flights.pop().unwrap_or_default()
    }

    pub(crate) fn give_flight(&mut self, mut flight: Box<Flight>) {
        if self.flights.len() < SPARE_FLIGHTS {
            flight.reset();
            self.flights.push(flight);
        }
    }

    /// Chunks held by connections now.
    #[must_use]
    pub const fn chunks_in_use(&self) -> u32 {
        self.in_use
    }

    /// Chunks the pool may hand out.
    #[must_use]
    pub const fn chunk_limit(&self) -> u32 {
        self.limit
    }

    /// What its limits have cost.
    #[must_use]
    pub const fn counters(&self) -> &PoolCounters {
        &self.counters
    }

    pub(crate) fn count(&mut self, f: impl FnOnce(&mut PoolCounters)) {
        f(&mut self.counters);
    }

    /// How much of `most` a connection that holds `held` bytes may hold in one direction now: half as much as is free besides.
    /// So n that take all they can hold n parts of n + 2, and a newcomer finds something ("dynamic thresholds", Choudhury and
    /// Hahne, 1998). It is never less than a small share: what the application takes as it comes needs a window, and no memory.
    #[must_use]
    pub fn share(&self, held: u32, most: u32) -> u32 {
        let free = u64::from(self.free_chunks()) * CHUNK_BYTES as u64;
        let share = (u64::from(held) + free) / 3;
        u32::try_from(share.max(self.least_share().into()).min(most.into())).unwrap_or(most)
    }

    /// What a connection may hold in each direction at least. It never changes.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // a small constant
    pub const fn least_share(&self) -> u32 {
        let (least, share) = (2 * CHUNK_BYTES as u32, (self.limit / 16).saturating_mul(CHUNK_BYTES as u32));
        if share > LEAST_SHARE {
            LEAST_SHARE
        } else if share < least {
            least
        } else {
            share
        }
    }

    /// Half of the pool is taken: no receive buffer grows any more.
    #[must_use]
    pub const fn is_pressed(&self) -> bool {
        self.in_use > self.limit / 2
    }

    /// Whether data out of order may be kept: it must leave half of the pool to what is in order and what is sent.
    #[must_use]
    pub const fn spares_room(&self) -> bool {
        self.in_use < self.limit / 2
    }

    const fn free_chunks(&self) -> u32 {
        self.limit.saturating_sub(self.in_use)
    }

    /// Whether `bytes` more fit below the limit.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        // One chunk more: the bytes may begin at the end of one.
        (self.free_chunks() as usize) > bytes.div_ceil(CHUNK_BYTES)
    }

    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.in_use >= self.limit {
            self.counters.refused += 1;
            return None;
        }
        if self.free == NONE {
            self.grow();
        }
        let chunk = self.free;
        self.free = self.next[chunk as usize];
        self.next[chunk as usize] = NONE;
        self.in_use += 1;
        Some(chunk)
    }

    #[allow(clippy::cast_possible_truncation)] // chunk numbers stay below the limit, which is a u32
    fn grow(&mut self) {
        let first = self.next.len() as u32;
        self.slabs.push(vec![0; CHUNKS_PER_SLAB * CHUNK_BYTES].into_boxed_slice());
        for i in 0..CHUNKS_PER_SLAB as u32 {
            let last = i + 1 == CHUNKS_PER_SLAB as u32;
            self.next.push(if last { NONE } else { first + i + 1 });
        }
        self.free = first;
    }

    pub(crate) fn give_back(&mut self, chunk: u32) {
        self.next[chunk as usize] = self.free;
        self.free = chunk;
        self.in_use -= 1;
    }

    pub(crate) fn bytes(&self, chunk: u32) -> &[u8] {
        let at = chunk as usize % CHUNKS_PER_SLAB * CHUNK_BYTES;
        &self.slabs[chunk as usize / CHUNKS_PER_SLAB][at..at + CHUNK_BYTES]
    }

    pub(crate) fn bytes_mut(&mut self, chunk: u32) -> &mut [u8] {
        let at = chunk as usize % CHUNKS_PER_SLAB * CHUNK_BYTES;
        &mut self.slabs[chunk as usize / CHUNKS_PER_SLAB][at..at + CHUNK_BYTES]
    }
}

/// A first-in first-out run of bytes in a [`Pool`]: 16 bytes when empty, no allocation of its own.
///
/// The owner must [`clear`](ByteQueue::clear) it before dropping it; the pool counts what is still held.
#[derive(Debug)]
pub struct ByteQueue {
    head: u32,
    tail: u32,
    /// Where the first byte lies in the head chunk.
    head_at: u16,
    /// Bytes used of the tail chunk.
    tail_used: u16,
    len: u32,
}

/// A remembered place in a [`ByteQueue`], so that sending on is O(1) however much lies before it.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    chunk: u32,
    at: u16,
    /// Distance from the queue's first byte.
    position: u32,
}

impl Default for ByteQueue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, head_at: 0, tail_used: 0, len: 0 }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self { chunk: NONE, at: 0, position: 0 }
    }
}

impl Cursor {
    /// Follows the queue's [`consume`](ByteQueue::consume) of `n` bytes.
    pub fn consumed(&mut self, n: u32) {
        // At or before the new head the place is found from the head at no cost.
        *self = if self.position > n { Self { position: self.position - n, ..*self } } else { Self::default() };
    }
}

impl ByteQueue {
    /// Bytes held.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether nothing is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends as much of `bytes` as the pool has room for, and returns how many were taken.
    #[allow(clippy::cast_possible_truncation)] // lengths within a chunk are below 2,048; the queue is bounded by its owner
    pub fn push(&mut self, pool: &mut Pool, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.tail == NONE || self.tail_used as usize == CHUNK_BYTES {
                let Some(chunk) = pool.take() else { break };
                self.link(pool, chunk);
            }
            let used = self.tail_used as usize;
            let n = rest.len().min(CHUNK_BYTES - used);
            pool.bytes_mut(self.tail)[used..used + n].copy_from_slice(&rest[..n]);
            self.tail_used += n as u16;
            self.len += n as u32;
            rest = &rest[n..];
        }
        bytes.len() - rest.len()
    }

    /// As [`push`](Self::push); an empty queue begins at `place` of its first chunk.
    #[allow(clippy::cast_possible_truncation)] // within a chunk
    pub(crate) fn push_at(&mut self, pool: &mut Pool, place: u32, bytes: &[u8]) -> usize {
        debug_assert!(self.needs_chunk() || self.next_place() == place, "the queue is in step");
        if self.tail == NONE && !bytes.is_empty() {
            let Some(chunk) = pool.take() else { return 0 };
            self.link(pool, chunk);
            (self.head_at, self.tail_used) = (place as u16, place as u16);
        }
        self.push(pool, bytes)
    }

    /// Whether the next byte needs another chunk.
    pub(crate) const fn needs_chunk(&self) -> bool {
        self.tail == NONE || self.tail_used as usize == CHUNK_BYTES
    }

    /// Where in its chunk the next byte will lie.
    pub(crate) fn next_place(&self) -> u32 {
        if self.needs_chunk() { 0 } else { self.tail_used.into() }
    }

    /// Appends a chunk of which the bytes `from..to` are used. The queue is empty, or ends with its last chunk's and `from` is 0.
    #[allow(clippy::cast_possible_truncation)] // within a chunk
    pub(crate) fn splice(&mut self, pool: &mut Pool, chunk: u32, from: u32, to: u32) {
        debug_assert!(self.tail == NONE || (self.needs_chunk() && from == 0), "no gap within the queue");
        let first = self.tail == NONE;
        self.link(pool, chunk);
        if first {
            self.head_at = from as u16;
        }
        self.tail_used = to as u16;
        self.len += to - from;
    }

    /// Appends all of `bytes`, above the pool's limit if need be: for what can't come again, a segment's at most.
    pub(crate) fn push_all(&mut self, pool: &mut Pool, bytes: &[u8]) {
        let limit = pool.limit;
        pool.limit = u32::MAX;
        let kept = self.push(pool, bytes);
        pool.limit = limit;
        debug_assert_eq!(kept, bytes.len());
    }

    fn link(&mut self, pool: &mut Pool, chunk: u32) {
        if self.tail == NONE {
            self.head = chunk;
            self.head_at = 0;
        } else {
            pool.next[self.tail as usize] = chunk;
        }
        self.tail = chunk;
        self.tail_used = 0;
    }

    /// The first bytes, as many as lie together; empty only when the queue is.
    #[must_use]
    pub fn front<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        if self.is_empty() {
            return &[];
        }
        let end = if self.head == self.tail { self.tail_used as usize } else { CHUNK_BYTES };
        &pool.bytes(self.head)[self.head_at as usize..end]
    }

    /// Removes the first `n` bytes (at most all).
    #[allow(clippy::cast_possible_truncation)] // within a chunk
    pub fn consume(&mut self, pool: &mut Pool, n: u32) {
        let mut left = n.min(self.len);
        self.len -= left;
        while left > 0 {
            let here = self.front_len();
            let step = left.min(here);
            self.head_at += step as u16;
            left -= step;
            if step == here {
                self.unlink_head(pool);
            }
        }
    }

    #[allow(clippy::cast_possible_truncation)] // CHUNK_BYTES is a small constant
    fn front_len(&self) -> u32 {
        let end = if self.head == self.tail { u32::from(self.tail_used) } else { CHUNK_BYTES as u32 };
        end - u32::from(self.head_at)
    }

    fn unlink_head(&mut self, pool: &mut Pool) {
        let chunk = self.head;
        self.head = pool.next[chunk as usize];
        self.head_at = 0;
        if self.head == NONE {
            self.tail = NONE;
            self.tail_used = 0;
        }
        pool.give_back(chunk);
    }

    /// Removes everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.consume(pool, self.len);
    }

    /// Copies the bytes from `position` on into `out` and leaves `cursor` behind them.
    ///
    /// Returns how many were copied: fewer than `out` holds only at the end of the queue.
    #[allow(clippy::cast_possible_truncation)] // within a chunk
    pub fn copy_at(&self, pool: &Pool, cursor: &mut Cursor, position: u32, out: &mut [u8]) -> usize {
        let total = out.len().min(self.len.saturating_sub(position) as usize);
        if total == 0 {
            return 0;
        }
        self.seek(pool, cursor, position);
        let mut done = 0;
        while done < total {
            if cursor.at as usize == CHUNK_BYTES {
                cursor.chunk = pool.next[cursor.chunk as usize];
                cursor.at = 0;
            }
            let at = cursor.at as usize;
            let n = (total - done).min(CHUNK_BYTES - at);
            out[done..done + n].copy_from_slice(&pool.bytes(cursor.chunk)[at..at + n]);
            cursor.at += n as u16;
            done += n;
        }
        cursor.position = position + total as u32;
        total
    }

    #[allow(clippy::cast_possible_truncation)] // within a chunk
    fn seek(&self, pool: &Pool, cursor: &mut Cursor, position: u32) {
        if cursor.chunk != NONE && cursor.position == position {
            return;
        }
        let mut chunk = self.head;
        let mut at = position as usize + self.head_at as usize;
        while at >= CHUNK_BYTES {
            chunk = pool.next[chunk as usize];
            at -= CHUNK_BYTES;
        }
        *cursor = Cursor { chunk, at: at as u16, position };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Push(usize),
        Consume(u32),
        Copy { position: u32, len: usize },
        Next(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0usize..6000).prop_map(Op::Push),
            (0u32..6000).prop_map(Op::Consume),
            (0u32..9000, 0usize..4000).prop_map(|(position, len)| Op::Copy { position, len }),
            (0usize..3000).prop_map(Op::Next),
        ]
    }

    proptest! {
        /// The queue against `VecDeque<u8>`, with a pool of 8 chunks so that its limit is met.
        #[test]
        fn queue_behaves_as_a_vecdeque(ops in proptest::collection::vec(op(), 1..80)) {
            let mut pool = Pool::new(8 * CHUNK_BYTES);
            let (mut queue, mut model, mut cursor) = (ByteQueue::default(), VecDeque::new(), Cursor::default());
            let mut fill = 0u8;
            for op in ops {
                match op {
                    Op::Push(n) => {
                        let bytes: Vec<u8> = (0..n).map(|_| { fill = fill.wrapping_mul(5).wrapping_add(3); fill }).collect();
                        let taken = queue.push(&mut pool, &bytes);
                        prop_assert!(taken == n || pool.chunks_in_use() == 8);
                        model.extend(&bytes[..taken]);
                    }
                    Op::Consume(n) => {
                        let n = n.min(queue.len());
                        queue.consume(&mut pool, n);
                        cursor.consumed(n);
                        model.drain(..n as usize);
                    }
                    Op::Copy { position, len } => {
                        let mut out = vec![0; len];
                        let n = queue.copy_at(&pool, &mut cursor, position, &mut out);
                        let expected: Vec<u8> = model.iter().skip(position as usize).take(len).copied().collect();
                        prop_assert_eq!(&out[..n], &expected[..]);
                    }
                    Op::Next(len) => {
                        let position = cursor.position;
                        let mut out = vec![0; len];
                        let n = queue.copy_at(&pool, &mut cursor, position, &mut out);
                        let expected: Vec<u8> = model.iter().skip(position as usize).take(len).copied().collect();
                        prop_assert_eq!(&out[..n], &expected[..]);
                    }
                }
                prop_assert_eq!(queue.len() as usize, model.len());
                prop_assert_eq!(queue.front(&pool).first(), model.front());
                prop_assert_eq!(queue.front(&pool).is_empty(), model.is_empty());
            }
            queue.clear(&mut pool);
            prop_assert_eq!(pool.chunks_in_use(), 0);
        }
    }

    #[test]
    fn the_limit_is_met_and_counted() {
        let mut pool = Pool::new(2 * CHUNK_BYTES);
        let mut queue = ByteQueue::default();
        assert_eq!(queue.push(&mut pool, &[7; 3 * CHUNK_BYTES]), 2 * CHUNK_BYTES);
        assert_eq!(pool.counters().refused, 1);
        queue.clear(&mut pool);
        assert_eq!(queue.push(&mut pool, &[7; 10]), 10);
    }

    /// Each that takes all it may leaves two parts of n + 2 after n of them, rounded to chunks.
    #[test]
    fn a_share_is_half_of_what_is_free_besides() {
        let mut pool = Pool::new(1200 * CHUNK_BYTES);
        let mut queues = [(); 4].map(|()| ByteQueue::default());
        // A third, then a third of the two thirds that are left, and so on.
        for (queue, chunks) in queues.iter_mut().zip([400, 266, 177, 118]) {
            let share = pool.share(queue.len(), u32::MAX);
            assert_eq!(share as usize / CHUNK_BYTES, chunks);
            queue.push(&mut pool, &vec![0; share as usize]);
            // It has its share now, to the byte, but for the end of a chunk.
            assert!(pool.share(queue.len(), u32::MAX) <= share);
        }
        assert_eq!(pool.share(0, 5000), 5000);
        for queue in &mut queues {
            queue.clear(&mut pool);
        }
        // However little is free: 64 KiB, of a small pool a sixteenth, but two chunks.
        for (limit, least) in [(64 << 20, 64 << 10), (1 << 20, 64 << 10), (512 << 10, 32 << 10), (16 << 10, 4096)] {
            let mut pool = Pool::new(limit);
            let mut queue = ByteQueue::default();
            assert!(pool.spares_room() && !pool.is_pressed());
            queue.push(&mut pool, &vec![0; limit]);
            assert_eq!(pool.share(0, u32::MAX), least);
            assert!(!pool.spares_room() && pool.is_pressed());
            queue.clear(&mut pool);
        }
    }

    #[test]
    fn an_empty_queue_is_16_bytes() {
        assert_eq!(size_of::<ByteQueue>(), 16);
        assert_eq!(size_of::<Cursor>(), 12);
    }
}
