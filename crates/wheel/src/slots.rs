//! The keys that stand in a wheel's slots: of each slot side by side, in blocks of a cache line.

use alloc::{vec, vec::Vec};
use core::{iter, ops::Range};

/// Keys of a block: with two links it is 64 bytes.
const KEYS: u32 = 14;
/// A place is a block's number and, in the lower four bits, which of its keys.
const OFFSET_BITS: u32 = 4;
const NO_BLOCK: u32 = u32::MAX;
/// Blocks whose keys are told together: so many cache misses can be under way at once, and some more.
const TOGETHER: usize = 4;

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) const NONE: Self = Self(u32::MAX);

    #[inline]
    const fn new(block: u32, offset: u32) -> Self {
        Self(block << OFFSET_BITS | offset)
    }

    #[inline]
    pub(crate) const fn is_some(self) -> bool {
        self.0 != u32::MAX
    }

    /// Something to have read.
    #[inline]
    pub(crate) const fn touch(self) -> u32 {
        self.0
    }

    #[inline]
    const fn split(self) -> (usize, usize) {
        ((self.0 >> OFFSET_BITS) as usize, (self.0 & ((1 << OFFSET_BITS) - 1)) as usize)
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block {
    keys: [u32; KEYS as usize],
    next: u32,
    before: u32,
}

/// Of a slot in use: its blocks are full but for the first one's beginning and the last one's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    first: u32,
    last: u32,
    /// In the first block, its first key.
    begin: u32,
    /// In the last block, behind its last key.
    end: u32,
}

/// A key that has left, or taken another's place.
pub(crate) struct Taken {
    pub(crate) key: u32,
    /// The slot has no other.
    pub(crate) was_alone: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    blocks: Vec<Block>,
    /// The first of the blocks that nobody uses.
    free: u32,
    /// Keys on their way to other slots.
    gathered: [u32; TOGETHER * KEYS as usize],
}

impl Slots {
    /// Empty ones, with memory set aside for so many keys.
    pub(crate) fn new(slots: u32, keys: usize) -> Self {
        let blocks = if keys == 0 { 0 } else { keys / KEYS as usize + 2 * slots as usize };
        let empty = Slot { first: NO_BLOCK, last: NO_BLOCK, begin: 0, end: 0 };
        Self {
            slots: vec![empty; slots as usize],
            blocks: Vec::with_capacity(blocks),
            free: NO_BLOCK,
            gathered: [0; TOGETHER * KEYS as usize],
        }
    }

    /// Behind the others of a slot. Whether there are others the caller knows.
    #[inline]
    pub(crate) fn push(&mut self, slot: u32, is_first: bool, key: u32) -> Place {
        let at = &self.slots[slot as usize];
        if is_first || at.end == KEYS {
            self.add_block(slot, is_first);
        }
        let Slot { last, end, .. } = &mut self.slots[slot as usize];
        let place = Place::new(*last, *end);
        self.blocks[*last as usize].keys[*end as usize] = key;
        *end += 1;
        place
    }

    #[inline(never)] // one of fourteen times
    fn add_block(&mut self, slot: u32, is_first: bool) {
        let at = &mut self.slots[slot as usize];
        let block = Block { keys: [0; KEYS as usize], next: NO_BLOCK, before: at.last };
        let mut number = self.free;
        if let Some(free) = self.blocks.get_mut(number as usize) {
            self.free = core::mem::replace(free, block).next;
        } else {
            // There are far fewer than keys.
            number = u32::try_from(self.blocks.len()).unwrap_or(NO_BLOCK);
            self.blocks.push(block);
        }
        if is_first {
            *at = Slot { first: number, last: number, begin: 0, end: 0 };
        } else {
            self.blocks[at.last as usize].next = number;
            (at.last, at.end) = (number, 0);
        }
    }

    fn free_block(&mut self, number: u32) {
        self.blocks[number as usize].next = self.free;
        self.free = number;
    }

    /// Takes a key out. The last of its slot, which it answers with, takes its place; that may be the same.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32, place: Place) -> Taken {
        let Slot { first, last, begin, end } = self.slots[slot as usize];
        let key = self.blocks[last as usize].keys[end as usize - 1];
        let (block, offset) = place.split();
        self.blocks[block].keys[offset] = key;
        let at = &mut self.slots[slot as usize];
        at.end = end - 1;
        let was_alone = first == last && begin == at.end;
        if was_alone {
            self.free_block(last);
        } else if at.end == 0 {
            (at.last, at.end) = (self.blocks[last as usize].before, KEYS);
            self.free_block(last);
        }
        Taken { key, was_alone }
    }

    /// Takes out the first of a slot.
    #[inline]
    pub(crate) fn pop(&mut self, slot: u32) -> Taken {
        let at = &mut self.slots[slot as usize];
        let Block { keys, next, .. } = self.blocks[at.first as usize];
        let key = keys[at.begin as usize];
        at.begin += 1;
        let gone = at.first;
        let was_alone = gone == at.last && at.begin == at.end;
        if at.begin == KEYS && !was_alone {
            (at.first, at.begin) = (next, 0);
            self.free_block(gone);
        } else if was_alone {
            self.free_block(gone);
        }
        Taken { key, was_alone }
    }

    /// The keys of a slot's first blocks, [`TOGETHER`] of them.
    #[inline]
    pub(crate) fn front(&self, slot: u32) -> impl Iterator<Item = u32> + Clone {
        let Slot { first, last, begin, end } = self.slots[slot as usize];
        let blocks = iter::successors(Some(first), move |at| (*at != last).then(|| self.blocks[*at as usize].next));
        blocks.take(TOGETHER).flat_map(move |at| {
            let (begin, end) = (if at == first { begin } else { 0 }, if at == last { end } else { KEYS });
            self.blocks[at as usize].keys[begin as usize..end as usize].iter().copied()
        })
    }

    /// Empties a slot; its keys are to be [gathered](Self::gather).
    #[inline]
    pub(crate) fn take_all(&self, slot: u32) -> Option<Slot> {
        Some(self.slots[slot as usize])
    }

    /// Puts the keys of the next [`TOGETHER`] blocks of what was taken side by side, and says where; the blocks are free then.
    #[inline]
    pub(crate) fn gather(&mut self, rest: &mut Option<Slot>) -> Range<usize> {
        let mut gathered = 0..0;
        let mut blocks = self.gathered.as_chunks_mut().0.iter_mut();
        while let Some((Slot { first, last, begin, end }, keys)) = rest.zip(blocks.next()) {
            let block = &mut self.blocks[first as usize];
            // Whole blocks side by side: only the first may begin later, only the last end earlier.
            *keys = block.keys;
            if gathered.end == 0 {
                gathered.start = begin as usize;
            }
            *rest = (first != last).then_some(Slot { first: block.next, last, begin: 0, end });
            gathered.end += if first == last { end } else { KEYS } as usize;
            block.next = core::mem::replace(&mut self.free, first);
        }
        gathered
    }

    /// Keys that were gathered last.
    #[inline]
    pub(crate) fn gathered(&self, range: Range<usize>) -> &[u32] {
        &self.gathered[range]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_a_cache_line() {
        assert_eq!((size_of::<Block>(), align_of::<Block>()), (64, 64));
    }

    /// However keys leave a slot, its blocks are used again.
    #[test]
    fn no_block_is_lost() {
        let mut slots = Slots::new(1, 0);
        let many = 3 * KEYS + 1;
        for round in 0..30 {
            let places: Vec<_> = (0..many).map(|key| slots.push(0, key == 0, key)).collect();
            match round % 4 {
                0 => (1..=many).for_each(|left| assert_eq!(slots.pop(0).was_alone, left == many)),
                // Always the first place that is left: what takes it is the last key.
                1 => (1..=many).for_each(|left| assert_eq!(slots.remove(0, places[0]).was_alone, left == many)),
                // The last one that is left stands behind one that is gone.
                2 => {
                    slots.pop(0);
                    (2..=many).for_each(|left| assert_eq!(slots.remove(0, places[1]).was_alone, left == many));
                }
                _ => {
                    // Four blocks and what one more has, from the second key on.
                    (many..many + KEYS).for_each(|key| _ = slots.push(0, false, key));
                    slots.pop(0);
                    let (mut rest, mut keys) = (slots.take_all(0), Vec::new());
                    while rest.is_some() {
                        let gathered = slots.gather(&mut rest);
                        keys.extend_from_slice(slots.gathered(gathered));
                    }
                    assert!(keys.into_iter().eq(1..many + KEYS));
                }
            }
            assert!(slots.blocks.len() <= 5, "what fifty-seven keys take");
        }
    }
}
