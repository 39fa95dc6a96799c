//! The connection table: open addressing with linear probing, a keyed hash, 8 bytes a bucket.
//!
//! The key itself stays with its owner (a connection, a TIME-WAIT record); a bucket has 32 bits of the hash, so that one
//! cache line of buckets decides nearly every look-up and the owner is touched once.
//!
//! An entry's home is its hash scaled to the number of homes, so there may be any number of them, and the order of homes is that
//! of hashes. When three quarters are full there are an eighth more (twice as many, while they are few). Entries then move in place,
//! from the last home to the first: what has moved lies by the new number, what has not by the old one, and between the two there
//! is room, since a home only moves up. [`HOMES_PER_INSERT`] homes move with each insertion, so none of them waits for the
//! whole table. Buckets come in chunks that are made when the first entry gets there: what is grown is never copied, and
//! there is no second table while it grows. 10.7 to 12 bytes per entry from 2^16 homes on.

use crate::flow::FlowKey;
use alloc::{boxed::Box, vec, vec::Vec};
use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;

/// Who a table entry belongs to. Slots are below 2^30.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The slot of a connection.
    Connection(u32),
    /// The slot of a TIME-WAIT record.
    TimeWait(u32),
    /// The slot of a passive open in SYN-RECEIVED.
    HalfOpen(u32),
}

// No owner is 0.
const CONNECTION: u32 = 1 << 30;
const TIME_WAIT: u32 = 2 << 30;
const HALF_OPEN: u32 = 3 << 30;

impl Owner {
    const fn encode(self) -> u32 {
        match self {
            Self::Connection(slot) => slot | CONNECTION,
            Self::TimeWait(slot) => slot | TIME_WAIT,
            Self::HalfOpen(slot) => slot | HALF_OPEN,
        }
    }

    const fn decode(code: u32) -> Self {
        let slot = code & !HALF_OPEN;
        match code & HALF_OPEN {
            CONNECTION => Self::Connection(slot),
            TIME_WAIT => Self::TimeWait(slot),
            _ => Self::HalfOpen(slot),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    hash: u32,
    /// 0: nobody.
    owner: u32,
}

const VACANT: Bucket = Bucket { hash: 0, owner: 0 };

/// A bucket as it is stored, hash and owner: memory that comes as zero need not be written to be vacant.
type Stored = [u32; 2];

impl Bucket {
    const fn of([hash, owner]: Stored) -> Self {
        Self { hash, owner }
    }

    const fn stored(self) -> Stored {
        [self.hash, self.owner]
    }

    const fn is_vacant(self) -> bool {
        self.owner == 0
    }
}

/// Buckets that are made at once: 4 MiB of addresses. What is in memory of them is what was touched, and it may be in huge pages.
const CHUNK: usize = if cfg!(test) { 4096 } else { 1 << 19 };
/// Homes of a new table.
const FIRST: usize = 4096;
/// From so many homes on there are an eighth more each time, not twice as many. Tests grow that way from the start.
const MANY: usize = if cfg!(test) { 32 } else { 1 << 16 };
/// Homes whose entries move with an insertion while the table grows: some 24 entries. All have moved before it is 79 % full by the
/// old number of homes; it grows again at 84 %.
const HOMES_PER_INSERT: usize = 32;

/// Maps flow hashes to owners; the caller compares keys.
#[derive(Debug)]
pub struct FlowTable {
    key: (u64, u64),
    /// Entries stand at their home or behind it, with no vacant bucket between. The last of them may be beyond the last home.
    chunks: Vec<Option<Box<[Stored; CHUNK]>>>,
    homes: usize,
    /// While it grows: hashes below this number have their home among the `fewer` there were.
    unmoved: u64,
    fewer: usize,
    /// Of those `fewer` the first so many have not moved yet; 0 when it doesn't grow.
    left: usize,
    /// What moves, between its old place and its new one.
    moving: Vec<Bucket>,
    len: usize,
    /// The connection that was found last: segments come in trains. Forgotten whenever the table changes.
    recent: Option<(FlowKey, u32)>,
    /// How often it has changed.
    changes: u64,
}

impl FlowTable {
    /// A table with a secret key, so that nobody outside can aim at one bucket.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            key: SipHasher13::new_with_key(&key).keys(),
            chunks: Vec::new(),
            homes: FIRST,
            unmoved: 0,
            fewer: 0,
            left: 0,
            moving: Vec::new(),
            len: 0,
            recent: None,
            changes: 0,
        }
    }

    /// What a flow is looked up by.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // 32 bits of the hash are kept
    pub fn hash(&self, flow: &FlowKey) -> u32 {
        self.hash64(flow) as u32
    }

    #[inline]
    fn hash64(&self, flow: &FlowKey) -> u64 {
        let (k0, k1) = self.key;
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        flow.hash(&mut hasher);
        hasher.finish()
    }

    /// An IPv6 flow label: 20 bits of the hash that are not the table's, so that nothing of those is given away (RFC 6437
    /// sections 3 and 6.1).
    #[allow(clippy::cast_possible_truncation)] // the upper bits
    pub(crate) fn label(&self, flow: &FlowKey) -> u32 {
        ((self.hash64(flow) >> 44) as u32).max(1)
    }

    /// The slot of the connection that was found last, if it has this key.
    #[inline]
    pub(crate) fn recent(&self, flow: &FlowKey) -> Option<u32> {
        self.recent.as_ref().filter(|(key, _)| key == flow).map(|(_, slot)| *slot)
    }

    /// The connection that was found last.
    pub(crate) const fn most_recent(&self) -> Option<(&FlowKey, u32)> {
        match &self.recent {
            Some((flow, slot)) => Some((flow, *slot)),
            None => None,
        }
    }

    /// The connection with this key was found.
    #[inline]
    pub(crate) const fn remember(&mut self, flow: FlowKey, slot: u32) {
        self.recent = Some((flow, slot));
    }

    /// How often an owner has come, gone or been replaced: as long as it is the same, every slot has the key it had.
    #[inline]
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    fn changed(&mut self) {
        self.recent = None;
        self.changes += 1;
    }

    /// Owners.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Reads what a look-up of this hash reads first, so that it is in a cache then; what it read means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u32) -> u32 {
        self.bucket(self.home(hash)).owner
    }

    /// The owner with this hash for which `same` holds.
    #[inline]
    pub fn find(&self, hash: u32, same: impl Fn(Owner) -> bool) -> Option<Owner> {
        self.position(hash, same).map(|(_, owner)| owner)
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        home_among(hash, if u64::from(hash) < self.unmoved { self.fewer } else { self.homes })
    }

    #[inline]
    fn position(&self, hash: u32, same: impl Fn(Owner) -> bool) -> Option<(usize, Owner)> {
        let mut at = self.home(hash);
        loop {
            let chunk = self.chunks.get(at / CHUNK)?.as_ref()?;
            for stored in &chunk[at % CHUNK..] {
                let bucket = Bucket::of(*stored);
                if bucket.is_vacant() {
                    return None;
                }
                let owner = Owner::decode(bucket.owner);
                if bucket.hash == hash && same(owner) {
                    return Some((at, owner));
                }
                at += 1;
            }
        }
    }

    /// What is at a place; nobody where no bucket was made yet.
    fn bucket(&self, at: usize) -> Bucket {
        self.chunks.get(at / CHUNK).and_then(Option::as_ref).map_or(VACANT, |chunk| Bucket::of(chunk[at % CHUNK]))
    }

    #[inline]
    fn set(&mut self, at: usize, bucket: Bucket) {
        match self.chunks.get_mut(at / CHUNK) {
            Some(Some(chunk)) => chunk[at % CHUNK] = bucket.stored(),
            _ => self.set_first(at, bucket),
        }
    }

    /// The first bucket of its chunk.
    #[cold]
    fn set_first(&mut self, at: usize, bucket: Bucket) {
        // Not on the stack first; and it is as long as it was made.
        let Ok(mut chunk) = <Box<[Stored; CHUNK]>>::try_from(vec![VACANT.stored(); CHUNK]) else { return };
        chunk[at % CHUNK] = bucket.stored();
        if at / CHUNK >= self.chunks.len() {
            self.chunks.resize_with(at / CHUNK + 1, || None);
        }
        self.chunks[at / CHUNK] = Some(chunk);
    }

    /// Adds an owner; its key must not be in the table.
    pub fn insert(&mut self, hash: u32, owner: Owner) {
        if (self.len + 1) * 4 > self.homes * 3 {
            self.grow();
        }
        if self.left > 0 {
            self.go_on();
        }
        self.len += 1;
        self.changed();
        self.place(Bucket { hash, owner: owner.encode() });
    }

    fn place(&mut self, bucket: Bucket) {
        let mut at = self.home(bucket.hash);
        while !self.bucket(at).is_vacant() {
            at += 1;
        }
        self.set(at, bucket);
    }

    #[cold]
    fn grow(&mut self) {
        debug_assert_eq!(self.left, 0, "all have moved long before the table is full again");
        self.fewer = self.homes;
        self.left = self.fewer;
        self.unmoved = 1 << 32;
        self.homes += if self.homes < MANY { self.homes } else { self.homes / 8 };
    }

    /// The entries of the last homes that are left move to their new ones.
    fn go_on(&mut self) {
        let first = self.left.saturating_sub(HOMES_PER_INSERT);
        // Without them all others are where they belong, now and by the new boundary.
        self.take_out(first);
        self.left = first;
        self.unmoved = ((first as u64) << 32).div_ceil(self.fewer as u64);
        while let Some(bucket) = self.moving.pop() {
            self.place(bucket);
        }
    }

    /// Takes the entries out that have not moved, whose home is this one or a later one, and will be another.
    fn take_out(&mut self, first: usize) {
        let mut at = first;
        loop {
            let bucket = self.bucket(at);
            if bucket.is_vacant() && at >= self.left {
                return;
            }
            let (home, new) = (home_among(bucket.hash, self.fewer), home_among(bucket.hash, self.homes));
            let moves = u64::from(bucket.hash) < self.unmoved && home >= first && home != new;
            if moves && !bucket.is_vacant() {
                self.moving.push(bucket);
                // Another may be here now.
                self.vacate(at);
            } else {
                at += 1;
            }
        }
    }

    /// Removes an owner; false if it is not there.
    pub(crate) fn remove(&mut self, hash: u32, owner: Owner) -> bool {
        let Some((at, _)) = self.position(hash, |o| o == owner) else { return false };
        self.len -= 1;
        self.changed();
        self.vacate(at);
        true
    }

    /// Backward shift: no tombstones, so a look-up never gets slower with churn.
    fn vacate(&mut self, mut hole: usize) {
        let mut at = hole;
        loop {
            at += 1;
            let bucket = self.bucket(at);
            if bucket.is_vacant() {
                break;
            }
            if self.home(bucket.hash) <= hole {
                self.set(hole, bucket);
                hole = at;
            }
        }
        self.set(hole, VACANT);
    }

    /// Gives an owner's entry to another owner of the same key.
    pub(crate) fn replace(&mut self, hash: u32, old: Owner, new: Owner) {
        if let Some((at, _)) = self.position(hash, |o| o == old) {
            self.set(at, Bucket { hash, owner: new.encode() });
            self.changed();
        }
    }
}

/// Where a hash belongs if there are so many homes.
#[inline]
#[allow(clippy::cast_possible_truncation)] // less than `homes`
const fn home_among(hash: u32, homes: usize) -> usize {
    ((hash as u64 * homes as u64) >> 32) as usize
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
            let before = table.changes();
            change(&mut table);
            assert_eq!((table.recent(&key(1)), table.changes()), (None, before + 1));
        }
    }

    impl FlowTable {
        fn with_homes(homes: usize) -> Self {
            Self { homes, ..Self::new([0; 16]) }
        }

        /// What is in the table; each entry can be reached from its home.
        fn entries(&self) -> Vec<(u32, Owner)> {
            let places = 0..self.chunks.len() * CHUNK;
            let taken = places.filter(|at| !self.bucket(*at).is_vacant());
            let mut entries = Vec::new();
            for at in taken {
                let Bucket { hash, owner } = self.bucket(at);
                let home = self.home(hash);
                assert!(home <= at && (home..at).all(|at| !self.bucket(at).is_vacant()), "{hash} of {home} is at {at}");
                entries.push((hash, Owner::decode(owner)));
            }
            entries.sort_by_key(|(hash, owner)| (*hash, owner.encode()));
            entries
        }

        fn bytes(&self) -> usize {
            self.chunks.iter().flatten().count() * CHUNK * size_of::<Bucket>()
        }
    }

    /// Numbers that look random, each once (the finaliser of MurmurHash3).
    fn scatter(n: u32) -> u32 {
        let n = (n ^ n >> 16).wrapping_mul(0x85eb_ca6b);
        let n = (n ^ n >> 13).wrapping_mul(0xc2b2_ae35);
        n ^ n >> 16
    }

    /// Issue: no stall when a table grows. An insertion moves the entries of [`HOMES_PER_INSERT`] homes at most, three quarters of
    /// which have one, and makes three chunks at most; and it costs no more memory than is promised.
    #[test]
    fn it_grows_by_little_at_a_time() {
        let mut table = FlowTable::with_homes(1 << 12);
        let (mut growths, mut left, mut made) = (0, 0, 0);
        for n in 0..400_000 {
            let homes = table.homes;
            table.insert(scatter(n), Owner::Connection(n));
            growths += u32::from(table.homes != homes);
            let had = if table.homes == homes { left } else { homes };
            assert!(table.left + HOMES_PER_INSERT >= had);
            assert!(table.chunks.iter().flatten().count() <= made + 3);
            (left, made) = (table.left, table.chunks.iter().flatten().count());
            let each = f64::from(u32::try_from(table.bytes()).expect("not many")) / f64::from(n + 1);
            assert!(n < 50_000 || (each > 10.6 && each < 12.4) || table.left > 0, "{each} bytes for each of {n}");
        }
        assert_eq!((growths, table.homes), (42, 576_155));
        assert!(table.moving.capacity() <= 2 * HOMES_PER_INSERT);
        assert_eq!(table.entries().len(), 400_000);
    }

    /// How far the entry that is farthest from its home is from it, and what an average one is.
    fn strays(table: &FlowTable) -> (usize, usize) {
        let taken = (0..table.chunks.len() * CHUNK).filter(|at| !table.bucket(*at).is_vacant());
        let far: Vec<_> = taken.map(|at| at - table.home(table.bucket(at).hash)).collect();
        (far.iter().copied().max().unwrap_or(0), far.iter().sum::<usize>() / far.len().max(1))
    }

    /// Who does not know the key can't aim. Flows that collide under another key (here of zeros) are found by the thousand, and so
    /// are those that differ in few bits; in a table with a key of its own they lie as random ones do. At half of its homes taken a
    /// look-up that finds nothing reads 2.5 buckets (Knuth, volume 3, section 6.4, theorem K), and an entry is half a bucket from its
    /// home; the farthest of 2,000 some tens.
    #[test]
    fn nobody_can_aim_at_one_bucket() {
        let flow = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            FlowKey::new("10.0.0.1:80".parse().expect("v4"), ([10, a, b, c], 1024 + u16::from(d)).into())
        };
        let guessed = FlowTable::new([0; 16]);
        let aimed: Vec<_> =
            (0..4_000_000).map(flow).filter(|f| home_among(guessed.hash(f), 512) == 7).take(2000).collect();
        assert_eq!(aimed.len(), 2000);
        let alike: Vec<_> = (0..2000).map(flow).collect();
        let filled = |key: [u8; 16], flows: &[FlowKey]| {
            let mut table = FlowTable::new(key);
            for (slot, flow) in (0..).zip(flows) {
                table.insert(table.hash(flow), Owner::HalfOpen(slot));
            }
            strays(&table)
        };
        let known = filled([0; 16], &aimed);
        assert!(known.0 > 1500, "they do collide where the key is known: {known:?}");
        for key in [[1; 16], [7; 16], *b"sixteen secrets."] {
            for flows in [&aimed, &alike] {
                let (most, average) = filled(key, flows);
                assert!(most < 64 && average <= 1, "{most} {average}");
            }
        }
    }

    proptest! {
        /// Against a map, with hashes that collide on purpose (8 of them, at both ends of the table), and with others: so that it
        /// grows, and entries go while others move.
        #[test]
        fn behaves_as_a_map(
            homes in 1usize..100,
            ops in proptest::collection::vec((0u32..3, 0u32..12, 0u32..3000), 1..4000)
        ) {
            let owner = |slot| [Owner::Connection(slot), Owner::TimeWait(slot), Owner::HalfOpen(slot)][slot as usize % 3];
            let mut table = FlowTable::with_homes(homes);
            let mut model = BTreeMap::new();
            for (at, (op, h, slot)) in ops.into_iter().enumerate() {
                let hash = match h {
                    0..2 => h,
                    2..4 => u32::MAX - h,
                    _ => scatter(slot),
                };
                if op > 0 && !model.contains_key(&slot) {
                    table.insert(hash, owner(slot));
                    model.insert(slot, hash);
                } else if op == 0 {
                    let had = model.get(&slot) == Some(&hash);
                    prop_assert_eq!(table.remove(hash, owner(slot)), had);
                    if had { model.remove(&slot); }
                }
                prop_assert_eq!(table.len, model.len());
                if at % 512 == 0 {
                    prop_assert_eq!(table.entries().len(), model.len());
                }
            }
            prop_assert_eq!(table.entries().len(), model.len());
            for (slot, hash) in model {
                prop_assert_eq!(table.find(hash, |o| o == owner(slot)), Some(owner(slot)));
            }
        }
    }
}
