//! The connection table: open addressing with linear probing, a keyed hash, 8 bytes a bucket.
//!
//! The key itself stays with its owner (a connection, a TIME-WAIT record); a bucket has 32 bits of the hash, so that one
//! cache line of buckets decides nearly every look-up and the owner is touched once.

use crate::flow::FlowKey;
use alloc::{vec, vec::Vec};
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// Who a table entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The slot of a connection.
    Connection(u32),
    /// The slot of a TIME-WAIT record.
    TimeWait(u32),
    /// The slot of a passive open in SYN-RECEIVED.
    HalfOpen(u32),
}

// Slots are below 2^30.
const TIME_WAIT: u32 = 1 << 31;
const HALF_OPEN: u32 = 1 << 30;
const EMPTY: u32 = u32::MAX;

impl Owner {
    const fn encode(self) -> u32 {
        match self {
            Self::Connection(slot) => slot,
            Self::TimeWait(slot) => slot | TIME_WAIT,
            Self::HalfOpen(slot) => slot | HALF_OPEN,
        }
    }

    const fn decode(code: u32) -> Self {
        if code & TIME_WAIT != 0 {
            Self::TimeWait(code & !TIME_WAIT)
        } else if code & HALF_OPEN != 0 {
            Self::HalfOpen(code & !HALF_OPEN)
        } else {
            Self::Connection(code)
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    hash: u32,
    owner: u32,
}

const VACANT: Bucket = Bucket { hash: 0, owner: EMPTY };

/// Maps flow hashes to owners; the caller compares keys.
#[derive(Debug)]
pub(crate) struct FlowTable {
    key: (u64, u64),
    buckets: Vec<Bucket>,
    len: usize,
    /// The connection that was found last: segments come in trains. Forgotten whenever the table changes.
    recent: Option<(FlowKey, u32)>,
}

impl FlowTable {
    /// A table with a secret key, so that nobody outside can aim at one bucket.
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key: SipHasher13::new_with_key(&key).keys(), buckets: vec![VACANT; 1024], len: 0, recent: None }
    }

    #[allow(clippy::cast_possible_truncation)] // 32 bits of the hash are kept
    pub(crate) fn hash(&self, flow: &FlowKey) -> u32 {
        self.hash64(flow) as u32
    }

    #[inline]
    fn hash64(&self, flow: &FlowKey) -> u64 {
        let (k0, k1) = self.key;
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        flow.hash_into(&mut hasher);
        hasher.finish()
    }

    /// An IPv6 flow label: 20 bits of the hash that are not the table's, so that nothing of those is given away (RFC 6437
    /// sections 3 and 6.1).
    #[allow(clippy::cast_possible_truncation)] // the upper bits
    pub(crate) fn label(&self, flow: &FlowKey) -> u32 {
        ((self.hash64(flow) >> 44) as u32).max(1)
    }

    const fn mask(&self) -> usize {
        self.buckets.len() - 1
    }

    /// The slot of the connection that was found last, if it has this key.
    #[inline]
    pub(crate) fn recent(&self, flow: &FlowKey) -> Option<u32> {
        self.recent.as_ref().filter(|(key, _)| key == flow).map(|(_, slot)| *slot)
    }

    /// The connection with this key was found.
    #[inline]
    pub(crate) const fn remember(&mut self, flow: FlowKey, slot: u32) {
        self.recent = Some((flow, slot));
    }

    /// The owner with this hash for which `same` holds.
    pub(crate) fn find(&self, hash: u32, same: impl Fn(Owner) -> bool) -> Option<Owner> {
        self.position(hash, same).map(|at| Owner::decode(self.buckets[at].owner))
    }

    fn position(&self, hash: u32, same: impl Fn(Owner) -> bool) -> Option<usize> {
        let mut at = hash as usize & self.mask();
        loop {
            let bucket = self.buckets[at];
            if bucket.owner == EMPTY {
                return None;
            }
            if bucket.hash == hash && same(Owner::decode(bucket.owner)) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Adds an owner; its key must not be in the table.
    pub(crate) fn insert(&mut self, hash: u32, owner: Owner) {
        if (self.len + 1) * 4 > self.buckets.len() * 3 {
            self.grow();
        }
        self.len += 1;
        self.recent = None;
        self.place(Bucket { hash, owner: owner.encode() });
    }

    fn place(&mut self, bucket: Bucket) {
        let mut at = bucket.hash as usize & self.mask();
        while self.buckets[at].owner != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.buckets[at] = bucket;
    }

    fn grow(&mut self) {
        let doubled = vec![VACANT; self.buckets.len() * 2];
        let old = core::mem::replace(&mut self.buckets, doubled);
        for bucket in old.into_iter().filter(|b| b.owner != EMPTY) {
            self.place(bucket);
        }
    }

    /// Removes an owner; false if it is not there.
    pub(crate) fn remove(&mut self, hash: u32, owner: Owner) -> bool {
        let Some(mut hole) = self.position(hash, |o| o == owner) else { return false };
        self.len -= 1;
        self.recent = None;
        // Backward shift: no tombstones, so a look-up never gets slower with churn.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let bucket = self.buckets[at];
            if bucket.owner == EMPTY {
                break;
            }
            let home = bucket.hash as usize & self.mask();
            let from_home = at.wrapping_sub(home) & self.mask();
            if from_home >= (at.wrapping_sub(hole) & self.mask()) {
                self.buckets[hole] = bucket;
                hole = at;
            }
        }
        self.buckets[hole] = VACANT;
        true
    }

    /// Gives an owner's entry to another owner of the same key.
    pub(crate) fn replace(&mut self, hash: u32, old: Owner, new: Owner) {
        if let Some(at) = self.position(hash, |o| o == old) {
            self.buckets[at].owner = new.encode();
            self.recent = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Whatever changes the table, the connection found last is looked for again.
    #[test]
    fn what_was_found_last_is_not_remembered_beyond_a_change() {
        let key = |port| FlowKey::new("10.0.0.1:80".parse().expect("v4"), ([10, 0, 0, 2], port).into());
        let changes: [fn(&mut FlowTable); 3] = [
            |table| table.insert(9, Owner::Connection(9)),
            |table| assert!(table.remove(7, Owner::Connection(1))),
            |table| table.replace(7, Owner::Connection(1), Owner::TimeWait(2)),
        ];
        for change in changes {
            let mut table = FlowTable::new([0; 16]);
            table.insert(7, Owner::Connection(1));
            assert_eq!(table.recent(&key(1)), None);
            table.remember(key(1), 1);
            assert_eq!((table.recent(&key(1)), table.recent(&key(2))), (Some(1), None));
            change(&mut table);
            assert_eq!(table.recent(&key(1)), None);
        }
    }

    proptest! {
        /// Against a map, with hashes that collide on purpose (8 of them, at both ends of the table).
        #[test]
        fn behaves_as_a_map(ops in proptest::collection::vec((any::<bool>(), 0u32..8, 0u32..300), 1..2000)) {
            let mut table = FlowTable::new([0; 16]);
            let mut model = BTreeMap::new();
            for (insert, h, slot) in ops {
                let hash = if h < 4 { h } else { u32::MAX - h };
                let owner = [Owner::Connection(slot), Owner::TimeWait(slot), Owner::HalfOpen(slot)][slot as usize % 3];
                if insert && !model.contains_key(&slot) {
                    table.insert(hash, owner);
                    model.insert(slot, hash);
                } else if !insert {
                    let had = model.get(&slot) == Some(&hash);
                    prop_assert_eq!(table.remove(hash, owner), had);
                    if had { model.remove(&slot); }
                }
                prop_assert_eq!(table.len, model.len());
            }
            for (slot, hash) in model {
                let owner = [Owner::Connection(slot), Owner::TimeWait(slot), Owner::HalfOpen(slot)][slot as usize % 3];
                prop_assert_eq!(table.find(hash, |o| o == owner), Some(owner));
            }
        }
    }
}
