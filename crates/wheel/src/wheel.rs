use alloc::vec::Vec;
use core::fmt;

use crate::Instant;

/// A level has 2^6 slots: as many as a word has bits.
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
/// Nine levels cover the 54 bits of an instant's ticks; a deadline in the last tick of all rounds up into the tenth.
const LEVELS: u32 = 10;
/// A tick is 2^10 ns = 1.024 µs.
const TICK_BITS: u32 = 10;
/// The first links are the slots' sentinels, the keys' come after.
const SENTINELS: u32 = LEVELS * SLOTS;
/// The successor of a timer that isn't armed.
const NIL: u32 = u32::MAX;

/// How a wheel keeps deadlines: as an [`Instant`], or [`Near`].
pub trait Deadline: Copy + fmt::Debug + private::Sealed {
    /// Of a timer that isn't armed.
    #[doc(hidden)]
    const NONE: Self;
    #[doc(hidden)]
    fn keep(deadline: Instant, position: u64) -> Self;
    /// The first tick that begins at or after the deadline; of an armed timer it is not behind the position.
    #[doc(hidden)]
    fn tick(self, position: u64) -> u64;
    #[doc(hidden)]
    fn instant(self, position: u64) -> Instant;
}

mod private {
    pub trait Sealed {}
    impl Sealed for crate::Instant {}
    impl Sealed for super::Near {}
}

/// To the nanosecond, as far ahead as there is time.
impl Deadline for Instant {
    const NONE: Self = Self::ZERO;

    #[inline]
    fn keep(deadline: Instant, _: u64) -> Self {
        deadline
    }

    #[inline]
    fn tick(self, _: u64) -> u64 {
        ceil_tick(self)
    }

    #[inline]
    fn instant(self, _: u64) -> Instant {
        self
    }
}

/// A deadline in half the bytes: its tick, modulo 2^32.
///
/// So it can be 73 minutes ahead of the wheel's time, which is what [`Wheel::poll`] was told last; a later one is taken for that.
#[derive(Clone, Copy, Debug)]
pub struct Near(u32);

impl Deadline for Near {
    const NONE: Self = Self(0);

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32, as what it is compared with
    fn keep(deadline: Instant, position: u64) -> Self {
        let ahead = ceil_tick(deadline).saturating_sub(position).min(u32::MAX.into());
        Self((position as u32).wrapping_add(ahead as u32))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32
    fn tick(self, position: u64) -> u64 {
        position + u64::from(self.0.wrapping_sub(position as u32))
    }

    #[inline]
    fn instant(self, position: u64) -> Instant {
        begin_of(self.tick(position))
    }
}

/// A hierarchical timing wheel (Varghese & Lauck 1987, scheme 7), with one timer per key.
///
/// Keys are small and dense: the slots of the caller's slab. Arming, re-arming and stopping take constant time and touch
/// no more than five links of 16 bytes. A timer that is armed far ahead starts on a coarse level and moves at most once
/// per level on its way to the finest one, where a slot is one tick of 1.024 µs. A word per level says which slots are in
/// use, so stretches of time in which nothing is due are skipped however long they are.
///
/// [`Wheel::near`] makes one whose links are 12 bytes, for records of which there are millions.
///
/// Timers of one tick expire in an order that depends only on the calls made, in general the order they were started in.
///
/// # Invariant
/// The position is a tick, a number in base 64. A timer stands on the level of the highest digit in which its tick
/// differs from the position, in the slot which that digit of its tick names. So every timer of a level is due before
/// every one of a higher level, and no slot in use lies behind the position: the lowest bit of the lowest level in use is
/// always the next thing to do.
#[derive(Clone, Debug)]
pub struct Wheel<D: Deadline = Instant> {
    links: Vec<Link<D>>,
    /// Per level, a bit for each slot that holds a timer.
    occupied: [u64; LEVELS as usize],
    /// A bit for each level that has a slot in use.
    levels: u16,
    /// The tick the wheel stands at: all timers before it have expired.
    position: u64,
    /// The latest tick `poll` was told of; the position gets there when nothing is left to expire.
    now: u64,
    armed: usize,
}

/// A timer's place in the circular list of its slot; of a sentinel, the list's two ends.
#[derive(Clone, Copy, Debug)]
struct Link<D> {
    deadline: D,
    next: u32,
    prev: u32,
}

impl<D: Deadline> Link<D> {
    const UNARMED: Self = Self { deadline: D::NONE, next: NIL, prev: NIL };
}

impl Wheel {
    /// The keys a wheel of either kind can have are below this number.
    pub const MAX_KEYS: u32 = NIL - SENTINELS;

    /// An empty wheel, whose time begins at `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self::with_capacity(start, 0)
    }

    /// An empty wheel, whose time begins at `start`, with memory set aside for the keys below `keys`.
    #[must_use]
    pub fn with_capacity(start: Instant, keys: usize) -> Self {
        Self::begin(start, keys)
    }
}

impl Wheel<Near> {
    /// An empty wheel of [`Near`] deadlines, whose time begins at `start`.
    #[must_use]
    pub fn near(start: Instant) -> Self {
        Self::begin(start, 0)
    }
}

impl<D: Deadline> Wheel<D> {
    fn begin(start: Instant, keys: usize) -> Self {
        let mut links = Vec::with_capacity(keys.saturating_add(SENTINELS as usize));
        links.extend((0..SENTINELS).map(|slot| Link { next: slot, prev: slot, ..Link::UNARMED }));
        let position = floor_tick(start);
        Self { links, occupied: [0; LEVELS as usize], levels: 0, position, now: position, armed: 0 }
    }

    /// Arms the timer of `key`, or moves it if it is armed. A `deadline` in the past is due at once.
    ///
    /// # Panics
    /// When `key` is not below [`MAX_KEYS`](Wheel::MAX_KEYS).
    #[inline]
    pub fn start(&mut self, key: u32, deadline: Instant) {
        let index = self.index_of(key).unwrap_or_else(|| self.grow(key));
        if self.is_linked(index) {
            self.unlink(index);
        } else {
            self.armed += 1;
        }
        self.links[index as usize].deadline = D::keep(deadline, self.position);
        self.link(index);
    }

    /// Disarms the timer of `key`; false if it wasn't armed.
    #[inline]
    pub fn stop(&mut self, key: u32) -> bool {
        let Some(index) = self.index_of(key).filter(|&index| self.is_linked(index)) else {
            return false;
        };
        self.disarm(index);
        true
    }

    /// Whether the timer of `key` is armed.
    #[inline]
    #[must_use]
    pub fn is_armed(&self, key: u32) -> bool {
        self.index_of(key).is_some_and(|index| self.is_linked(index))
    }

    /// The deadline of `key`, to the nanosecond as it was given; `None` when it isn't armed. Of [`Near`] ones, the tick.
    #[inline]
    #[must_use]
    pub fn deadline(&self, key: u32) -> Option<Instant> {
        let index = self.index_of(key).filter(|&index| self.is_linked(index))?;
        Some(self.links[index as usize].deadline.instant(self.position))
    }

    /// How many timers are armed.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Disarms the next timer that is due at `now` and answers with its key; `None` when none is left.
    ///
    /// A timer is never early, and less than one tick late: it is due from the first tick that begins at or after its
    /// deadline. Drained at one `now`, timers come in the order of these ticks, also those started in between; one that
    /// is started behind the position comes next. A `now` before an earlier call's counts as that.
    #[inline]
    pub fn poll(&mut self, now: Instant) -> Option<u32> {
        self.now = self.now.max(floor_tick(now));
        while let Some((slot, tick)) = self.next_slot() {
            if tick > self.now {
                break;
            }
            self.position = tick;
            if slot < SLOTS {
                let first = self.links[slot as usize].next;
                self.disarm(first);
                return Some(first - SENTINELS);
            }
            self.cascade(slot);
        }
        // No slot in use begins at or before `now`: moving there keeps every timer on its level.
        self.position = self.now;
        None
    }

    /// The earliest time at which [`poll`](Self::poll) may have something; `None` when no timer is armed.
    ///
    /// Never later than the time the earliest timer expires. Exact to a tick for one that is less than 64 ticks ahead
    /// and already on the lowest level; otherwise the time its slot's timers move to finer levels, after which the answer
    /// gets closer.
    #[inline]
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        let (_, tick) = self.next_slot()?;
        Some(begin_of(tick))
    }

    /// The next slot in use and the tick at which it begins.
    #[inline]
    fn next_slot(&self) -> Option<(u32, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let digit = self.occupied[level as usize].trailing_zeros();
        let shift = level * SLOT_BITS;
        let above = self.position >> shift >> SLOT_BITS << SLOT_BITS << shift;
        Some((level * SLOTS + digit, above | u64::from(digit) << shift))
    }

    /// Moves the timers of a slot, at whose beginning the position stands, to lower levels.
    fn cascade(&mut self, slot: u32) {
        let sentinel = &mut self.links[slot as usize];
        let mut index = sentinel.next;
        sentinel.next = slot;
        sentinel.prev = slot;
        self.vacate(slot);
        while index != slot {
            let next = self.links[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// Appends a timer to the slot that its deadline belongs to, seen from the position.
    #[inline]
    fn link(&mut self, index: u32) {
        let tick = self.links[index as usize].deadline.tick(self.position).max(self.position);
        let differing = tick ^ self.position;
        // The lowest bit is set so that a tick equal to the position is on level 0.
        let level = (differing | 1).ilog2() / SLOT_BITS;
        // Masked to six bits, the digit fits any integer.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (tick >> (level * SLOT_BITS)) as u32 % SLOTS;
        self.occupied[level as usize] |= 1 << digit;
        self.levels |= 1 << level;

        let sentinel = level * SLOTS + digit;
        let last = self.links[sentinel as usize].prev;
        self.links[last as usize].next = index;
        self.links[sentinel as usize].prev = index;
        let link = &mut self.links[index as usize];
        link.next = sentinel;
        link.prev = last;
    }

    /// Takes a timer out of its slot's list. Its own link keeps its old neighbours.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let Link { next, prev, .. } = self.links[index as usize];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        if next == prev && next < SENTINELS {
            self.vacate(next);
        }
    }

    /// Records that a slot's list is empty.
    #[inline]
    fn vacate(&mut self, slot: u32) {
        let level = slot / SLOTS;
        self.occupied[level as usize] &= !(1 << (slot % SLOTS));
        if self.occupied[level as usize] == 0 {
            self.levels &= !(1 << level);
        }
    }

    #[inline]
    fn disarm(&mut self, index: u32) {
        self.unlink(index);
        self.links[index as usize].next = NIL;
        self.armed -= 1;
    }

    #[inline]
    fn is_linked(&self, index: u32) -> bool {
        self.links[index as usize].next != NIL
    }

    /// The link of `key`, if there is one yet.
    #[inline]
    fn index_of(&self, key: u32) -> Option<u32> {
        let index = key.checked_add(SENTINELS)?;
        ((index as usize) < self.links.len()).then_some(index)
    }

    /// Makes links for all keys up to `key`.
    #[cold]
    fn grow(&mut self, key: u32) -> u32 {
        assert!(key < Wheel::MAX_KEYS, "a wheel's keys are small numbers");
        let index = key + SENTINELS;
        self.links.resize(index as usize + 1, Link::UNARMED);
        index
    }
}

/// The tick that `now` is in.
#[inline]
const fn floor_tick(now: Instant) -> u64 {
    now.as_nanos() >> TICK_BITS
}

/// The first tick that begins at or after `deadline`.
#[inline]
const fn ceil_tick(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(1 << TICK_BITS)
}

#[inline]
const fn begin_of(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(1 << TICK_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_costs_sixteen_bytes_or_twelve() {
        assert_eq!((size_of::<Link<Instant>>(), size_of::<Link<Near>>()), (16, 12));
        assert_eq!(Wheel::with_capacity(Instant::ZERO, 1000).links.capacity(), 1000 + SENTINELS as usize);
    }

    #[test]
    fn a_link_array_grows_to_the_largest_key_and_no_further() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.start(9, Instant::ZERO);
        wheel.start(3, Instant::ZERO);
        assert_eq!(wheel.links.len(), 10 + SENTINELS as usize);
    }

    #[test]
    #[should_panic(expected = "small numbers")]
    fn a_key_beyond_the_sentinels_room_is_refused() {
        Wheel::new(Instant::ZERO).start(Wheel::MAX_KEYS, Instant::ZERO);
    }
}
