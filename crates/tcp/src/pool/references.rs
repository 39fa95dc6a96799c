//! Memory of the application's that queues hold by reference, until it is acknowledged: a table of them, and its free list.

use super::{NONE, REFERENCE};
use alloc::vec::Vec;
use bytes::Bytes;

/// References a pool holds at most, 40 bytes each; what is given beyond is copied. There are a thousand bytes behind each, so
/// a gibibyte is in the send buffers when this is met.
const MOST: usize = 1 << 20;

#[derive(Debug)]
struct Reference {
    bytes: Bytes,
    /// The piece behind it, or the next free one.
    next: u32,
    /// Bytes of it that are consumed.
    at: u32,
}

/// The references of a pool, by numbers that have [`REFERENCE`] set.
#[derive(Debug)]
pub(super) struct References {
    all: Vec<Reference>,
    free: u32,
    in_use: u32,
}

impl Default for References {
    fn default() -> Self {
        Self { all: Vec::new(), free: NONE, in_use: 0 }
    }
}

const fn index(reference: u32) -> usize {
    (reference & !REFERENCE) as usize
}

impl References {
    pub(super) const fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(super) const fn have_room(&self) -> bool {
        (self.in_use as usize) < MOST
    }

    #[allow(clippy::cast_possible_truncation)] // who asks first (`have_room`) stays far below 2^31
    pub(super) fn take(&mut self, bytes: Bytes) -> u32 {
        let reference = Reference { bytes, next: NONE, at: 0 };
        self.in_use += 1;
        if self.free == NONE {
            self.all.push(reference);
            return (self.all.len() - 1) as u32 | REFERENCE;
        }
        let taken = self.free;
        self.free = core::mem::replace(&mut self.all[index(taken)], reference).next;
        taken
    }

    /// Drops the reference.
    pub(super) fn give_back(&mut self, reference: u32) {
        self.all[index(reference)] = Reference { bytes: Bytes::new(), next: self.free, at: 0 };
        self.free = reference;
        self.in_use -= 1;
    }

    /// All of it, what is consumed too.
    pub(super) fn bytes(&self, reference: u32) -> &[u8] {
        &self.all[index(reference)].bytes
    }

    /// What is not consumed.
    pub(super) fn rest(&self, reference: u32) -> &[u8] {
        let Reference { bytes, at, .. } = &self.all[index(reference)];
        &bytes[*at as usize..]
    }

    #[allow(clippy::cast_possible_truncation)] // a piece is not longer than its queue
    pub(super) fn left(&self, reference: u32) -> u32 {
        self.rest(reference).len() as u32
    }

    pub(super) fn at(&self, reference: u32) -> u32 {
        self.all[index(reference)].at
    }

    pub(super) fn advance(&mut self, reference: u32, n: u32) {
        self.all[index(reference)].at += n;
    }

    pub(super) fn next(&self, reference: u32) -> u32 {
        self.all[index(reference)].next
    }

    pub(super) fn set_next(&mut self, reference: u32, next: u32) {
        self.all[index(reference)].next = next;
    }
}
