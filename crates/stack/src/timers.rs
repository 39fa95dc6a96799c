//! The application's own timers: a slab of keys beside a wheel.

use alloc::vec::Vec;
use wheel::{Instant, Wheel};

/// A timer of the application's ([`Io::start_timer`](crate::Io::start_timer)). It is dead once it was told or stopped, and
/// names no other from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId {
    slot: u32,
    generation: u32,
}

/// The shard's limit of timers ([`ShardConfig::max_timers`](crate::ShardConfig::max_timers)) is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyTimers;

impl core::fmt::Display for TooManyTimers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the shard's limit of timers is reached")
    }
}

impl core::error::Error for TooManyTimers {}

#[derive(Debug, Default)]
struct Slot {
    key: u64,
    /// One more with each timer that was here: odd while there is one, even while there is none.
    generation: u32,
}

#[derive(Debug)]
pub(crate) struct Timers {
    wheel: Wheel,
    slots: Vec<Slot>,
    free: Vec<u32>,
    most: u32,
}

impl Timers {
    pub(crate) fn new(now: Instant, most: u32) -> Self {
        Self { wheel: Wheel::new(now), slots: Vec::new(), free: Vec::new(), most }
    }

    pub(crate) fn start(&mut self, at: Instant, key: u64) -> Result<TimerId, TooManyTimers> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < self.most);
                self.slots.push(Slot::default());
                slot.ok_or_else(|| {
                    self.slots.pop();
                    TooManyTimers
                })?
            }
        };
        let place = &mut self.slots[slot as usize];
        place.key = key;
        place.generation = place.generation.wrapping_add(1);
        let generation = place.generation;
        self.wheel.start(slot, at);
        Ok(TimerId { slot, generation })
    }

    /// False if it is dead.
    pub(crate) fn stop(&mut self, timer: TimerId) -> bool {
        let lives = self.slots.get(timer.slot as usize).is_some_and(|place| place.generation == timer.generation);
        if lives {
            self.wheel.stop(timer.slot);
            self.end(timer.slot);
        }
        lives
    }

    /// The next that is due, which is dead from now on.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(TimerId, u64)> {
        let slot = self.wheel.poll(now)?;
        let place = &self.slots[slot as usize];
        let (timer, key) = (TimerId { slot, generation: place.generation }, place.key);
        self.end(slot);
        Some((timer, key))
    }

    fn end(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
    }

    pub(crate) const fn len(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.wheel.next_wakeup()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wheel::Duration;

    const START: Instant = Instant::ZERO;

    fn at(ms: u64) -> Instant {
        START + Duration::from_millis(ms)
    }

    #[test]
    fn a_dead_timer_does_not_stop_the_one_in_its_place() {
        let mut timers = Timers::new(START, 4);
        let old = timers.start(at(1), 7).unwrap();
        assert_eq!(timers.poll(at(0)), None);
        assert_eq!(timers.poll(at(2)), Some((old, 7)));
        let new = timers.start(at(3), 8).unwrap();
        assert_eq!(old.slot, new.slot);
        assert!(!timers.stop(old));
        assert_eq!(timers.len(), 1);
        assert!(timers.stop(new));
        assert!(!timers.stop(new));
        assert_eq!((timers.poll(at(9)), timers.len()), (None, 0));
    }

    #[test]
    fn the_limit_is_of_those_that_live() {
        let mut timers = Timers::new(START, 2);
        let first = timers.start(at(1), 1).unwrap();
        timers.start(at(2), 2).unwrap();
        assert_eq!(timers.start(at(3), 3), Err(TooManyTimers));
        assert!(timers.stop(first));
        timers.start(at(3), 3).unwrap();
        assert_eq!(timers.start(at(4), 4), Err(TooManyTimers));
        assert_eq!(Timers::new(START, 0).start(at(1), 1), Err(TooManyTimers));
    }
}
