use alloc::vec::Vec;
use core::{fmt, hint::black_box};

use crate::{
    Duration, Instant,
    slots::{Place, Slots},
};

/// A level has 2^6 slots: as many as a word has bits.
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
/// Nine levels cover the 54 bits of an instant's ticks; a deadline in the last tick of all rounds up into the tenth.
const LEVELS: u32 = 10;
/// A tick is 2^10 ns = 1.024 µs.
const TICK_BITS: u32 = 10;

/// How a wheel keeps deadlines: as an [`Instant`], or [`Near`].
pub trait Deadline: fmt::Debug + private::Sealed {
    /// What is kept of one.
    #[doc(hidden)]
    type Kept: Copy + fmt::Debug;
    /// Of a timer that isn't armed.
    #[doc(hidden)]
    const NONE: Self::Kept;
    #[doc(hidden)]
    fn keep(deadline: Instant, position: u64) -> Self::Kept;
    /// The first tick that begins at or after the deadline; of an armed timer it is not behind the position.
    #[doc(hidden)]
    fn tick(kept: Self::Kept, position: u64) -> u64;
    #[doc(hidden)]
    fn instant(kept: Self::Kept, position: u64) -> Instant;
}

mod private {
    pub trait Sealed {}
    impl Sealed for crate::Instant {}
    impl Sealed for super::Near {}
}

/// To the nanosecond, as far ahead as there is time.
impl Deadline for Instant {
    /// The upper and the lower half: a word would be aligned, and a timer 16 bytes.
    type Kept = [u32; 2];
    const NONE: [u32; 2] = [0; 2];

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the lower half
    fn keep(deadline: Instant, _: u64) -> [u32; 2] {
        let nanos = deadline.as_nanos();
        [(nanos >> 32) as u32, nanos as u32]
    }

    #[inline]
    fn tick(kept: [u32; 2], position: u64) -> u64 {
        ceil_tick(Self::instant(kept, position))
    }

    #[inline]
    fn instant([upper, lower]: [u32; 2], _: u64) -> Instant {
        Self::from_nanos(u64::from(upper) << 32 | u64::from(lower))
    }
}

/// A deadline in half the bytes: its tick, modulo 2^32.
///
/// So it can be 73 minutes ahead of the wheel's time, which is what [`Wheel::poll`] was told last; a later one is taken for that.
#[derive(Clone, Copy, Debug)]
pub struct Near(());

impl Deadline for Near {
    type Kept = u32;
    const NONE: u32 = 0;

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32, as what it is compared with
    fn keep(deadline: Instant, position: u64) -> u32 {
        let ahead = ceil_tick(deadline).saturating_sub(position).min(u32::MAX.into());
        (position as u32).wrapping_add(ahead as u32)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32
    fn tick(kept: u32, position: u64) -> u64 {
        position + u64::from(kept.wrapping_sub(position as u32))
    }

    #[inline]
    fn instant(kept: u32, position: u64) -> Instant {
        begin_of(Self::tick(kept, position))
    }
}

/// What became of a timer, by who keeps its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its deadline is what it was.
    Same,
    /// It has moved, most often away.
    Moved(Instant),
    /// There is none any more: the timer is disarmed.
    Gone,
}

/// Who knows better than the wheel when its timers are due: see [`Wheel::poll_asking`].
pub trait Keeper {
    /// The wheel [asks](Self::ask) for these next, one behind the other: what is read for them may be read for all at once.
    fn before_asking(&self, keys: &[u32]);

    /// What has become of the timer of `key`?
    fn ask(&mut self, key: u32) -> Asked;
}

/// Of timers whose deadlines the wheel knows.
struct Nobody;

impl Keeper for Nobody {
    #[inline]
    fn before_asking(&self, _: &[u32]) {}

    #[inline]
    fn ask(&mut self, _: u32) -> Asked {
        Asked::Same
    }
}

/// A hierarchical timing wheel (Varghese & Lauck 1987, scheme 7), with one timer per key.
///
/// Keys are small and dense: the slots of the caller's slab. Arming, re-arming and stopping take constant time. A timer that
/// is armed far ahead starts on a coarse level and moves at most once per level on its way to the finest one, where a slot is
/// one tick of 1.024 µs. A word per level says which slots are in use, so stretches of time in which nothing is due are skipped
/// however long they are.
///
/// A timer is 12 bytes, of [`Wheel::near`] 8, and while it is armed 4.6 more: the keys of a slot stand side by side in blocks,
/// so that with millions of timers a slot's can be asked for all at once. A list from one to the next would be a cache miss
/// behind the other.
///
/// Timers of one tick expire in an order that depends only on the calls made: that in which they were started, but for one that
/// has taken the place of another which was stopped or moved.
///
/// # Invariant
/// The position is a tick, a number in base 64. A timer stands on the level of the highest digit in which its tick
/// differs from the position, in the slot which that digit of its tick names. So every timer of a level is due before
/// every one of a higher level, and no slot in use lies behind the position: the lowest bit of the lowest level in use is
/// always the next thing to do.
#[derive(Clone, Debug)]
pub struct Wheel<D: Deadline = Instant> {
    timers: Vec<Timer<D::Kept>>,
    /// The keys that are armed, by level and slot.
    slots: Slots,
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

#[derive(Clone, Copy, Debug)]
struct Timer<K> {
    deadline: K,
    /// Where its key stands, [`Place::NONE`] while it isn't armed.
    place: Place,
}

impl Wheel {
    /// The keys a wheel of either kind can have are below this number.
    pub const MAX_KEYS: u32 = 1 << 31;
    /// A timer expires less than this behind its deadline.
    pub const TICK: Duration = Duration::from_nanos(1 << TICK_BITS);

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
        let (timers, position) = (Vec::with_capacity(keys), floor_tick(start));
        let slots = Slots::new(LEVELS * SLOTS, keys);
        Self { timers, slots, occupied: [0; LEVELS as usize], levels: 0, position, now: position, armed: 0 }
    }

    /// Arms the timer of `key`, or moves it if it is armed. A `deadline` in the past is due at once.
    ///
    /// # Panics
    /// When `key` is not below [`MAX_KEYS`](Wheel::MAX_KEYS).
    #[inline]
    pub fn start(&mut self, key: u32, deadline: Instant) {
        if key as usize >= self.timers.len() {
            self.grow(key);
        }
        let Timer { deadline: before, place } = self.timers[key as usize];
        let deadline = D::keep(deadline, self.position);
        let slot = self.slot_of(deadline);
        self.timers[key as usize].deadline = deadline;
        if place.is_some() {
            let old = self.slot_of(before);
            if old == slot {
                return;
            }
            self.take_out(old, place);
        } else {
            self.armed += 1;
        }
        self.put_in(slot, key);
    }

    /// Disarms the timer of `key`; false if it wasn't armed.
    #[inline]
    pub fn stop(&mut self, key: u32) -> bool {
        let Some(Timer { deadline, place }) = self.armed(key) else { return false };
        self.take_out(self.slot_of(deadline), place);
        self.timers[key as usize].place = Place::NONE;
        self.armed -= 1;
        true
    }

    /// Whether the timer of `key` is armed.
    #[inline]
    #[must_use]
    pub fn is_armed(&self, key: u32) -> bool {
        self.armed(key).is_some()
    }

    /// The deadline of `key`, to the nanosecond as it was given; `None` when it isn't armed. Of [`Near`] ones, the tick.
    #[inline]
    #[must_use]
    pub fn deadline(&self, key: u32) -> Option<Instant> {
        self.armed(key).map(|timer| D::instant(timer.deadline, self.position))
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
        self.poll_asking(now, &mut Nobody)
    }

    /// The same where deadlines move away more often than timers expire, and who keeps them does not tell the wheel: it asks whenever
    /// a timer comes to a finer level, for the last time less than 64 ticks ahead of it. So most timers never expire in vain.
    ///
    /// A deadline that comes nearer is to be told at once, with [`start`](Self::start).
    #[inline]
    pub fn poll_asking(&mut self, now: Instant, keeper: &mut impl Keeper) -> Option<u32> {
        self.now = self.now.max(floor_tick(now));
        while let Some((slot, tick)) = self.next_slot() {
            if tick > self.now {
                break;
            }
            self.position = tick;
            if slot < SLOTS {
                return self.take_first(slot);
            }
            self.cascade(slot, keeper);
        }
        // No slot in use begins at or before `now`: moving there keeps every timer on its level.
        self.position = self.now;
        None
    }

    /// Some of the keys that [`poll`](Self::poll) will answer with next, if it has answered with one and nothing is started
    /// or stopped meanwhile: for who would have what belongs to them in a cache by then.
    #[inline]
    pub fn coming(&self) -> impl Iterator<Item = u32> + Clone {
        #[allow(clippy::cast_possible_truncation)] // masked to six bits
        let slot = self.position as u32 % SLOTS;
        let any = self.occupied[0] >> slot & 1 != 0;
        any.then(|| self.slots.front(slot)).into_iter().flatten()
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
    #[inline(never)] // one of many turns
    fn cascade(&mut self, slot: u32, keeper: &mut impl Keeper) {
        self.vacate(slot);
        let mut rest = self.slots.take_all(slot);
        while rest.is_some() {
            let gathered = self.slots.gather(&mut rest);
            // With millions of timers theirs are in no cache: asked for one behind the other, all are under way at once.
            let keys = self.slots.gathered(gathered.clone());
            black_box(keys.iter().fold(0, |sum, key| sum ^ self.timers[*key as usize].place.touch()));
            keeper.before_asking(keys);
            for at in gathered {
                let key = self.slots.gathered(at..at + 1)[0];
                match keeper.ask(key) {
                    Asked::Same => {}
                    Asked::Moved(deadline) => {
                        self.timers[key as usize].deadline = D::keep(deadline, self.position);
                    }
                    Asked::Gone => {
                        self.timers[key as usize].place = Place::NONE;
                        self.armed -= 1;
                        continue;
                    }
                }
                let slot = self.slot_of(self.timers[key as usize].deadline);
                self.put_in(slot, key);
            }
        }
    }

    /// The level and the slot where a timer stands, seen from the position.
    #[inline]
    fn slot_of(&self, deadline: D::Kept) -> u32 {
        let tick = D::tick(deadline, self.position).max(self.position);
        let differing = tick ^ self.position;
        // The lowest bit is set so that a tick equal to the position is on level 0.
        let level = (differing | 1).ilog2() / SLOT_BITS;
        // Masked to six bits, the digit fits any integer.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (tick >> (level * SLOT_BITS)) as u32 % SLOTS;
        level * SLOTS + digit
    }

    #[inline]
    fn put_in(&mut self, slot: u32, key: u32) {
        let level = slot / SLOTS;
        let bit = 1 << (slot % SLOTS);
        let is_first = self.occupied[level as usize] & bit == 0;
        self.occupied[level as usize] |= bit;
        self.levels |= 1 << level;
        self.timers[key as usize].place = self.slots.push(slot, is_first, key);
    }

    /// The last key of its slot takes its place.
    #[inline]
    fn take_out(&mut self, slot: u32, place: Place) {
        let last = self.slots.remove(slot, place);
        self.timers[last.key as usize].place = place;
        if last.was_alone {
            self.vacate(slot);
        }
    }

    #[inline]
    fn take_first(&mut self, slot: u32) -> Option<u32> {
        let first = self.slots.pop(slot);
        self.timers[first.key as usize].place = Place::NONE;
        self.armed -= 1;
        if first.was_alone {
            self.vacate(slot);
        }
        Some(first.key)
    }

    /// Records that a slot is empty.
    #[inline]
    fn vacate(&mut self, slot: u32) {
        let level = slot / SLOTS;
        self.occupied[level as usize] &= !(1 << (slot % SLOTS));
        if self.occupied[level as usize] == 0 {
            self.levels &= !(1 << level);
        }
    }

    #[inline]
    fn armed(&self, key: u32) -> Option<Timer<D::Kept>> {
        self.timers.get(key as usize).copied().filter(|timer| timer.place.is_some())
    }

    /// Makes timers for all keys up to `key`.
    #[cold]
    fn grow(&mut self, key: u32) {
        assert!(key < Wheel::MAX_KEYS, "a wheel's keys are small numbers");
        self.timers.resize(key as usize + 1, Timer { deadline: D::NONE, place: Place::NONE });
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

    /// And 4.6 while they are armed.
    #[test]
    fn a_timer_is_twelve_bytes_or_eight() {
        type Of<D> = Timer<<D as Deadline>::Kept>;
        assert_eq!((size_of::<Of<Instant>>(), size_of::<Of<Near>>()), (12, 8));
        assert_eq!(Wheel::with_capacity(Instant::ZERO, 1000).timers.capacity(), 1000);
    }

    #[test]
    fn there_are_timers_for_the_largest_key_and_no_further() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.start(9, Instant::ZERO);
        wheel.start(3, Instant::ZERO);
        assert_eq!(wheel.timers.len(), 10);
    }

    #[test]
    #[should_panic(expected = "small numbers")]
    fn a_key_beyond_what_places_can_tell_is_refused() {
        Wheel::new(Instant::ZERO).start(Wheel::MAX_KEYS, Instant::ZERO);
    }
}
