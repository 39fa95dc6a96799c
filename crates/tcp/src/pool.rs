//! Pooled memory for bytes that must be kept: unsent or unacknowledged data, data the application left unread, and data
//! that arrived out of order. One pool per shard, one limit; a connection that holds nothing owns nothing of it.

mod references;

use crate::{
    losses::LossCounters,
    recorder::{Record, Recorder, What},
    send::Flight,
};
use alloc::{boxed::Box, vec, vec::Vec};
use bytes::Bytes;
use references::References;
use wheel::Instant;
use wire::SeqNum;

/// Bytes in one chunk: a full-sized Ethernet segment fits, and 32 of them make a 64 KiB slab.
pub const CHUNK_BYTES: usize = 2048;
/// What a connection may hold in each direction however little is free; of a small pool a sixteenth, but two chunks.
const LEAST_SHARE: u32 = 64 << 10;
/// Scoreboards kept for reuse.
const SPARE_FLIGHTS: usize = 64;
const CHUNKS_PER_SLAB: usize = 32;
const NONE: u32 = u32::MAX;
/// In the number of a piece: it is no chunk but a reference.
const REFERENCE: u32 = 1 << 31;
const MOST_CHUNKS: u32 = REFERENCE - 1;
const COUNTED_PIECES: usize = 64;

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
    /// Connections without an application, whose peer took too long over the rest, that were ended because the pool was used up.
    pub orphans_ended: u64,
    /// Bytes given by reference that were copied because as many references are held as may be.
    pub references_refused: u64,
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
            ("memory_orphans_ended", self.orphans_ended),
            ("memory_references_refused", self.references_refused),
        ]
        .into_iter()
    }
}

/// A chunk's place in a queue.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// The piece behind it.
    next: u32,
    /// Bytes used of it once there is one.
    end: u32,
}

#[allow(clippy::cast_possible_truncation)] // a small constant
impl Link {
    const LAST: Self = Self { next: NONE, end: CHUNK_BYTES as u32 };
}

/// A bounded pool of [`CHUNK_BYTES`]-sized chunks, linked into [`ByteQueue`]s.
///
/// Memory is taken from the allocator a slab at a time, up to the limit, and kept for reuse. Beside them a queue links what
/// the application has given by reference: that memory is the application's, and the limit of its send buffers is what bounds
/// it.
#[derive(Debug)]
pub struct Pool {
    slabs: Vec<Box<[u8]>>,
    links: Vec<Link>,
    references: References,
    free: u32,
    in_use: u32,
    limit: u32,
    counters: PoolCounters,
    losses: LossCounters,
    /// Scoreboards for the next connections that send: a request and its answer shall not cost an allocation.
    #[allow(clippy::vec_box)] // the boxes are what is handed out
    flights: Vec<Box<Flight>>,
    recorder: Box<Recorder>,
}

impl Pool {
    /// A pool that holds at most `limit_bytes` (rounded down to whole chunks, at least one).
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let limit = u32::try_from(limit_bytes / CHUNK_BYTES).unwrap_or(MOST_CHUNKS).clamp(1, MOST_CHUNKS);
        Self {
            slabs: Vec::new(),
            links: Vec::new(),
            references: References::default(),
            free: NONE,
            in_use: 0,
            limit,
            counters: PoolCounters::default(),
            losses: LossCounters::default(),
            flights: Vec::new(),
            recorder: Box::default(),
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

    /// Pieces of the application's memory that are held by reference now.
    #[must_use]
    pub const fn references(&self) -> u32 {
        self.references.in_use()
    }

    /// What its limits have cost.
    #[must_use]
    pub const fn counters(&self) -> &PoolCounters {
        &self.counters
    }

    /// What its connections had to send again.
    #[must_use]
    pub const fn losses(&self) -> &LossCounters {
        &self.losses
    }

    #[cold]
    pub(crate) fn count_loss(&mut self, f: impl FnOnce(&mut LossCounters)) {
        f(&mut self.losses);
    }

    /// Records what happens to its connections from now on.
    pub fn set_recorder(&mut self, recorder: Recorder) {
        *self.recorder = recorder;
    }

    /// What has happened to its connections: nothing, unless it was given a [recorder](Self::set_recorder).
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Something happened to the connection with the ISS `who`: see [`recorder`](crate::recorder).
    #[cold]
    #[inline(never)]
    pub fn note(&mut self, at: Instant, who: SeqNum, what: What, detail: u8, numbers: [u32; 4]) {
        self.recorder.write(Record { at, who, what, detail, times: 1, numbers });
    }

    pub(crate) fn count(&mut self, f: impl FnOnce(&mut PoolCounters)) {
        f(&mut self.counters);
    }

    /// How much of `most` a connection that holds `held` bytes may hold in one direction now: half as much as is free besides.
    /// So n that take all they can hold n parts of n + 2, and a newcomer finds something ("dynamic thresholds", Choudhury and
    /// Hahne, 1998). It is never less than a small share: what the application takes as it comes needs a window, and no memory.
    #[inline]
    #[must_use]
    pub fn share(&self, held: u32, most: u32) -> u32 {
        // Nearly always there is plenty.
        let free = (i64::from(self.limit) - i64::from(self.in_use)) * CHUNK_BYTES as i64;
        if i64::from(most) * 3 <= free { most } else { self.scarce_share(held, most) }
    }

    fn scarce_share(&self, held: u32, most: u32) -> u32 {
        let share = (u64::from(held) + self.free_bytes()) / 3;
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

    const fn free_bytes(&self) -> u64 {
        self.free_chunks() as u64 * CHUNK_BYTES as u64
    }

    /// Whether `bytes` more fit below the limit.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        // One chunk more: the bytes may begin at the end of one.
        (self.free_chunks() as usize) > bytes.div_ceil(CHUNK_BYTES)
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.in_use >= self.limit {
            self.counters.refused += 1;
            return None;
        }
        if self.free == NONE {
            self.grow();
        }
        let chunk = self.free;
        self.free = core::mem::replace(&mut self.links[chunk as usize], Link::LAST).next;
        self.in_use += 1;
        Some(chunk)
    }

    #[cold]
    #[allow(clippy::cast_possible_truncation)] // chunk numbers stay below the limit, which is a u32
    fn grow(&mut self) {
        let first = self.links.len() as u32;
        self.slabs.push(vec![0; CHUNKS_PER_SLAB * CHUNK_BYTES].into_boxed_slice());
        for i in 0..CHUNKS_PER_SLAB as u32 {
            let last = i + 1 == CHUNKS_PER_SLAB as u32;
            self.links.push(Link { next: if last { NONE } else { first + i + 1 }, ..Link::LAST });
        }
        self.free = first;
    }

    pub(crate) fn give_back(&mut self, chunk: u32) {
        self.links[chunk as usize].next = self.free;
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

    /// Whether one more piece may be held by reference; counts it if not.
    pub(crate) fn may_refer(&mut self) -> bool {
        let may = self.references.have_room();
        self.counters.references_refused += u64::from(!may);
        may
    }

    /// The memory of a piece, from its first byte to where the next piece goes on.
    fn piece(&self, piece: u32) -> &[u8] {
        if piece & REFERENCE != 0 {
            return self.references.bytes(piece);
        }
        let at = piece as usize % CHUNKS_PER_SLAB * CHUNK_BYTES;
        let end = at + self.links[piece as usize].end as usize;
        &self.slabs[piece as usize / CHUNKS_PER_SLAB][at..end]
    }

    #[allow(clippy::cast_possible_truncation)] // a piece is not longer than its queue
    fn end(&self, piece: u32) -> u32 {
        if piece & REFERENCE == 0 { self.links[piece as usize].end } else { self.references.bytes(piece).len() as u32 }
    }

    fn next(&self, piece: u32) -> u32 {
        if piece & REFERENCE == 0 { self.links[piece as usize].next } else { self.references.next(piece) }
    }
}

/// A first-in first-out run of bytes in a [`Pool`]: 16 bytes when empty, no allocation of its own.
///
/// It is a list of pieces: chunks of the pool, and memory of the application's that was given [by reference](Self::refer). The
/// owner must [`clear`](ByteQueue::clear) it before dropping it; the pool counts what is still held.
#[derive(Debug)]
pub struct ByteQueue {
    head: u32,
    tail: u32,
    /// Where the first byte lies in the head chunk. (A reference knows that itself.)
    head_at: u16,
    /// Bytes used of the tail chunk; all of it if that is a reference.
    tail_used: u16,
    len: u32,
}

/// A remembered place in a [`ByteQueue`], so that sending on is O(1) however much lies before it.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    piece: u32,
    at: u32,
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
        Self { piece: NONE, at: 0, position: 0 }
    }
}

impl Cursor {
    /// Follows the queue's [`consume`](ByteQueue::consume) of `n` bytes.
    pub fn consumed(&mut self, n: u32) {
        if self.position > n {
            self.position -= n;
        } else {
            // At or before the new head the place is found from the head at no cost.
            *self = Self::default();
        }
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

    /// Appends `bytes` without a copy: they are held until they are [consumed](Self::consume) to the last. What is in use of
    /// the last chunk is all that it will hold.
    #[allow(clippy::cast_possible_truncation)] // the queue is bounded by its owner
    pub fn refer(&mut self, pool: &mut Pool, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len() as u32;
        let reference = pool.references.take(bytes);
        self.link(pool, reference);
        self.tail_used = CHUNK_BYTES as u16;
    }

    fn link(&mut self, pool: &mut Pool, piece: u32) {
        if self.tail == NONE {
            self.head = piece;
            self.head_at = 0;
        } else if self.tail & REFERENCE == 0 {
            pool.links[self.tail as usize] = Link { next: piece, end: self.tail_used.into() };
        } else {
            pool.references.set_next(self.tail, piece);
        }
        self.tail = piece;
        self.tail_used = 0;
    }

    /// The first bytes, as many as lie together; empty only when the queue is.
    #[must_use]
    pub fn front<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        if self.is_empty() {
            return &[];
        }
        if self.head & REFERENCE != 0 {
            return pool.references.rest(self.head);
        }
        &pool.bytes(self.head)[self.head_at as usize..self.head_end(pool) as usize]
    }

    /// Bytes used of the first chunk.
    fn head_end(&self, pool: &Pool) -> u32 {
        if self.head == self.tail { self.tail_used.into() } else { pool.links[self.head as usize].end }
    }

    /// Whether it holds nothing, not even room for more.
    pub(crate) const fn is_vacant(&self) -> bool {
        self.len == 0 && self.head == NONE
    }

    /// Removes the first `n` bytes (at most all).
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // within a chunk
    pub fn consume(&mut self, pool: &mut Pool, n: u32) {
        let mut left = n.min(self.len);
        self.len -= left;
        while left > 0 {
            if self.head & REFERENCE != 0 {
                left = self.consume_reference(pool, left);
                continue;
            }
            let here = self.head_end(pool) - u32::from(self.head_at);
            let step = left.min(here);
            left -= step;
            self.head_at += step as u16;
            if step == here {
                let chunk = self.head;
                self.unlink_head(pool.links[chunk as usize].next);
                pool.give_back(chunk);
            }
        }
    }

    /// Removes the first `n` bytes as far as they lie in the first piece, a reference. Returns how many are still to go.
    #[inline(never)] // the path of a chunk is short
    fn consume_reference(&mut self, pool: &mut Pool, n: u32) -> u32 {
        let here = pool.references.left(self.head);
        if n < here {
            pool.references.advance(self.head, n);
            return 0;
        }
        let reference = self.head;
        self.unlink_head(pool.references.next(reference));
        pool.references.give_back(reference);
        n - here
    }

    fn unlink_head(&mut self, next: u32) {
        self.head = next;
        self.head_at = 0;
        if next == NONE {
            self.tail = NONE;
            self.tail_used = 0;
        }
    }

    /// Bytes that are held by reference, among the first [`COUNTED_PIECES`] pieces: to count them all would take long.
    pub(crate) fn referred(&self, pool: &Pool) -> u32 {
        let (mut piece, mut bytes) = (self.head, 0);
        for _ in 0..COUNTED_PIECES {
            if piece == NONE || pool.references() == 0 {
                break;
            }
            if piece & REFERENCE != 0 {
                bytes += pool.references.left(piece);
            }
            piece = pool.next(piece);
        }
        bytes
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
        let (mut piece, mut at) = self.seek(pool, cursor, position);
        let mut done = 0;
        loop {
            let bytes = &pool.piece(piece)[at as usize..];
            let n = bytes.len().min(total - done);
            out[done..done + n].copy_from_slice(&bytes[..n]);
            at += n as u32;
            done += n;
            if done == total {
                break;
            }
            (piece, at) = (pool.next(piece), 0);
        }
        *cursor = Cursor { piece, at, position: position + total as u32 };
        total
    }

    /// The piece of `position`, and where in it that lies: at the cursor or behind it, else found from the queue's first byte.
    #[inline]
    fn seek(&self, pool: &Pool, cursor: &Cursor, position: u32) -> (u32, u32) {
        let (mut piece, mut at) = if cursor.piece != NONE && cursor.position <= position {
            (cursor.piece, position - cursor.position + cursor.at)
        } else if self.head & REFERENCE == 0 {
            (self.head, position + u32::from(self.head_at))
        } else {
            (self.head, position + pool.references.at(self.head))
        };
        while at >= pool.end(piece) {
            at -= pool.end(piece);
            piece = pool.next(piece);
        }
        (piece, at)
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
        Refer(usize),
        Consume(u32),
        Copy { position: u32, len: usize },
        Next(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0usize..6000).prop_map(Op::Push),
            (0usize..6000).prop_map(Op::Refer),
            (0u32..6000).prop_map(Op::Consume),
            (0u32..9000, 0usize..4000).prop_map(|(position, len)| Op::Copy { position, len }),
            (0usize..3000).prop_map(Op::Next),
        ]
    }

    proptest! {
        /// The queue against `VecDeque<u8>`, with a pool of 8 chunks so that its limit is met. A reference is held from when it
        /// is given to when its last byte is consumed.
        #[test]
        fn queue_behaves_as_a_vecdeque(ops in proptest::collection::vec(op(), 1..80)) {
            let mut pool = Pool::new(8 * CHUNK_BYTES);
            let (mut queue, mut model, mut cursor) = (ByteQueue::default(), VecDeque::new(), Cursor::default());
            let mut fill = 0u8;
            let mut more = |n: usize| -> Vec<u8> { (0..n).map(|_| { fill = fill.wrapping_mul(5).wrapping_add(3); fill }).collect() };
            let (mut given, mut consumed) = (VecDeque::new(), 0);
            for op in ops {
                match op {
                    Op::Refer(n) => {
                        let bytes = Bytes::from(more(n));
                        model.extend(&bytes);
                        queue.refer(&mut pool, bytes.clone());
                        given.push_back((consumed + model.len(), bytes));
                    }
                    Op::Push(n) => {
                        let bytes = more(n);
                        let taken = queue.push(&mut pool, &bytes);
                        prop_assert!(taken == n || pool.chunks_in_use() == 8);
                        model.extend(&bytes[..taken]);
                    }
                    Op::Consume(n) => {
                        let n = n.min(queue.len());
                        queue.consume(&mut pool, n);
                        cursor.consumed(n);
                        model.drain(..n as usize);
                        consumed += n as usize;
                        while given.front().is_some_and(|(end, _)| *end <= consumed) {
                            let (_, bytes) = given.pop_front().expect("just seen");
                            prop_assert!(bytes.is_empty() || bytes.is_unique(), "dropped with its last byte");
                        }
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
                for (_, bytes) in given.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                    prop_assert!(!bytes.is_unique(), "held to its last byte");
                }
                prop_assert_eq!(pool.references() as usize, given.iter().filter(|(_, bytes)| !bytes.is_empty()).count());
            }
            queue.clear(&mut pool);
            prop_assert!(given.iter().all(|(_, bytes)| bytes.is_empty() || bytes.is_unique()));
            prop_assert_eq!(pool.references(), 0);
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

    /// What is given by reference is read where it lies, and costs the pool nothing.
    #[test]
    fn a_reference_is_no_copy() {
        let mut pool = Pool::new(2 * CHUNK_BYTES);
        let (mut queue, bytes) = (ByteQueue::default(), Bytes::from(vec![7; 100_000]));
        queue.refer(&mut pool, bytes.clone());
        assert_eq!((queue.front(&pool).as_ptr(), queue.front(&pool).len()), (bytes.as_ptr(), 100_000));
        queue.consume(&mut pool, 99_999);
        assert_eq!(queue.front(&pool).as_ptr(), bytes[99_999..].as_ptr());
        assert_eq!((pool.chunks_in_use(), pool.references(), bytes.is_unique()), (0, 1, false));
        queue.consume(&mut pool, 1);
        assert_eq!((pool.references(), bytes.is_unique()), (0, true));
    }

    /// The table of references has an end, and is used again.
    #[test]
    fn references_are_limited_and_counted() {
        let mut pool = Pool::new(CHUNK_BYTES);
        let mut queue = ByteQueue::default();
        for _ in 0..2 {
            while pool.may_refer() {
                queue.refer(&mut pool, Bytes::from_static(b"x"));
            }
            assert_eq!((queue.len(), pool.references()), (1 << 20, 1 << 20));
            queue.clear(&mut pool);
        }
        assert_eq!((pool.references(), pool.counters().references_refused), (0, 2));
    }

    #[test]
    fn an_empty_queue_is_16_bytes() {
        assert_eq!(size_of::<ByteQueue>(), 16);
        assert_eq!(size_of::<Cursor>(), 12);
    }
}
