//! What a shard remembers of flows that are not its own: where they live, and what it is asking about.

use super::{ASKED, PARCELS};
use stack::Instant;
use std::collections::HashMap;

/// Flows that are remembered: 65,536, in a mebibyte.
const SETS: usize = 1 << 14;
/// Flows that share a place, the one used longest ago goes first. A set is a cache line.
const WAYS: usize = 4;

/// Where flows live. Names are not unique and shards forget, so what is found here may be wrong: that costs a detour.
#[derive(Debug)]
pub(super) struct Learnt {
    sets: Vec<[Entry; WAYS]>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u64,
    /// `None`: the place is empty.
    shard: Option<u16>,
}

impl Entry {
    const EMPTY: Self = Self { tag: 0, shard: None };

    fn is(&self, tag: u64) -> bool {
        self.tag == tag && self.shard.is_some()
    }
}

impl Learnt {
    pub(super) fn new() -> Self {
        Self { sets: vec![[Entry::EMPTY; WAYS]; SETS], len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn find(&mut self, tag: u64) -> Option<u16> {
        let set = &mut self.sets[place(tag, SETS)];
        let at = set.iter().position(|entry| entry.is(tag))?;
        set[..=at].rotate_right(1);
        set[0].shard
    }

    pub(super) fn put(&mut self, tag: u64, shard: u16) {
        let set = &mut self.sets[place(tag, SETS)];
        let found = set.iter().position(|entry| entry.shard.is_none() || entry.is(tag));
        let at = found.unwrap_or(WAYS - 1);
        self.len += usize::from(set[at].shard.is_none());
        set[at] = Entry { tag, shard: Some(shard) };
        set[..=at].rotate_right(1);
    }

    pub(super) fn forget(&mut self, tag: u64) {
        let set = &mut self.sets[place(tag, SETS)];
        if let Some(at) = set.iter().position(|entry| entry.is(tag)) {
            set[at..].rotate_left(1);
            set[WAYS - 1] = Entry::EMPTY;
            self.len -= 1;
        }
    }
}

/// A set's index: Fibonacci hashing, the tag may be good in some of its bits only.
#[allow(clippy::cast_possible_truncation)] // fewer than 2^32 places
const fn place(tag: u64, places: usize) -> usize {
    (tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % places
}

/// The flows that are being asked about: all of them, since each is a parcel in one of the shard's own buffers.
#[derive(Debug)]
pub(super) struct Asks(HashMap<u64, Ask>);

#[derive(Debug, Clone, Copy)]
struct Ask {
    /// Parcels under way.
    under_way: u32,
    /// When the last one went.
    since: Instant,
}

impl Asks {
    pub(super) fn new() -> Self {
        // Twice as many as there ever are: it does not grow.
        Self(HashMap::with_capacity(2 * PARCELS))
    }

    pub(super) fn begin(&mut self, now: Instant, tag: u64) {
        if self.0.len() >= PARCELS && !self.0.contains_key(&tag) {
            self.0.retain(|_, ask| ask.is_open(now));
            if self.0.len() >= PARCELS {
                return;
            }
        }
        let ask = self.0.entry(tag).or_insert(Ask { under_way: 0, since: now });
        if !ask.is_open(now) {
            ask.under_way = 0;
        }
        ask.under_way += 1;
        ask.since = now;
    }

    /// Whether a parcel of this flow is under way.
    pub(super) fn is_asking(&self, now: Instant, tag: u64) -> bool {
        self.0.get(&tag).is_some_and(|ask| ask.is_open(now))
    }

    /// A parcel came to its end.
    pub(super) fn end(&mut self, now: Instant, tag: u64) {
        let Some(ask) = self.0.get_mut(&tag) else { return };
        ask.under_way -= 1;
        if !ask.is_open(now) {
            self.0.remove(&tag);
        }
    }
}

impl Ask {
    /// A parcel that was dropped on its way never ends.
    fn is_open(&self, now: Instant) -> bool {
        self.under_way > 0 && now - self.since < ASKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::Duration;

    #[test]
    fn the_flow_used_longest_ago_is_forgotten_first() {
        let mut learnt = Learnt::new();
        // All of one set: whatever the hash is, five of so many share a place.
        let tags: Vec<u64> = (0..).filter(|tag| place(*tag, SETS) == 7).take(5).collect();
        for (tag, shard) in tags.iter().take(4).zip(1..) {
            learnt.put(*tag, shard);
        }
        assert_eq!(learnt.find(tags[0]), Some(1));
        learnt.put(tags[4], 9);
        assert_eq!(
            tags.iter().map(|tag| learnt.find(*tag)).collect::<Vec<_>>(),
            [Some(1), None, Some(3), Some(4), Some(9)]
        );
        assert_eq!(learnt.len(), 4);
        learnt.put(tags[3], 2);
        assert_eq!((learnt.find(tags[3]), learnt.len()), (Some(2), 4));
        tags.iter().for_each(|tag| learnt.forget(*tag));
        assert_eq!(learnt.len(), 0);
        assert!(tags.iter().all(|tag| learnt.find(*tag).is_none()));
    }

    #[test]
    fn a_question_is_open_until_its_last_parcel_ends_or_is_lost() {
        let (mut asks, now) = (Asks::new(), Instant::ZERO);
        asks.begin(now, 5);
        asks.begin(now, 5);
        for open in [true, false, false] {
            asks.end(now, 5);
            assert_eq!(asks.is_asking(now, 5), open);
        }
        asks.begin(now, 5);
        assert!(asks.is_asking(now, 5) && !asks.is_asking(now, 6));
        assert!(!asks.is_asking(now + ASKED, 5));
    }

    /// As many as there are buffers, none of them unwatched; and those whose parcels were lost make room.
    #[test]
    fn every_question_is_watched() {
        let (mut asks, now) = (Asks::new(), Instant::ZERO);
        let room = asks.0.capacity();
        let tags = || 0..PARCELS as u64;
        tags().for_each(|tag| asks.begin(now, tag));
        assert!(tags().all(|tag| asks.is_asking(now, tag)));
        asks.begin(now, 5000);
        assert!(!asks.is_asking(now, 5000), "there are no more buffers than that");
        asks.begin(now + Duration::from_millis(1), 7);
        asks.begin(now + ASKED, 5000);
        assert!(asks.is_asking(now + ASKED, 5000) && asks.is_asking(now + ASKED, 7));
        assert_eq!((asks.0.len(), asks.0.capacity()), (2, room));
        for _ in 0..2 {
            asks.end(now + ASKED, 7);
        }
        asks.end(now + ASKED, 5000);
        assert!(asks.0.is_empty());
        asks.end(now + ASKED, 5000);
    }
}
