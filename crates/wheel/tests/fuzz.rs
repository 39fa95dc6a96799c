//! A fuzz target (docs/FUZZING.md): the wheel against a sorted map.

use fuzz::Input;
use std::collections::BTreeMap;
use wheel::{Instant, Wheel};

const TICK: u64 = 1024;
const KEYS: u8 = 12;

#[test]
fn fuzz_wheel() {
    fuzz::check("wheel", wheel);
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// A span of any size up to the end of time, often near a border of a level.
fn span(input: &mut Input<'_>) -> u64 {
    let (size, off) = (u32::from(input.u8()), u64::from(input.u16()));
    match size {
        0..64 => off << (size % 48),
        64..128 => off * TICK,
        _ => (1u64 << (size % 64)).wrapping_add(off).wrapping_sub(0x8000),
    }
}

struct Map {
    wheel: Wheel,
    deadlines: BTreeMap<u32, u64>,
    now: u64,
}

fn wheel(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let start = if input.bool() { span(&mut input) } else { 0 };
    let mut map = Map { wheel: Wheel::new(at(start)), deadlines: BTreeMap::new(), now: start };
    while !input.is_empty() {
        let (op, key) = (input.below(8), u32::from(input.below(KEYS)));
        match op {
            0..=2 => {
                let ahead = span(&mut input);
                map.start(key, map.now.saturating_add(ahead));
            }
            3 => {
                let behind = span(&mut input);
                map.start(key, map.now.saturating_sub(behind));
            }
            4 => assert_eq!(map.wheel.stop(key), map.deadlines.remove(&key).is_some()),
            5 => {
                let ahead = span(&mut input);
                map.drain(map.now.saturating_add(ahead), None);
            }
            6 => {
                if let Some(wakeup) = map.wheel.next_wakeup() {
                    map.drain(wakeup.as_nanos(), None);
                }
            }
            _ => {
                let (ahead, offset) = (span(&mut input), span(&mut input));
                map.drain(map.now.saturating_add(ahead), Some((key, offset)));
            }
        }
        map.check();
    }
}

impl Map {
    fn start(&mut self, key: u32, deadline: u64) {
        self.wheel.start(key, at(deadline));
        self.deadlines.insert(key, deadline);
    }

    /// Everything due fires, in the order of ticks; after the first of them `again` is started, so far ahead of `to`.
    fn drain(&mut self, to: u64, mut again: Option<(u32, u64)>) {
        // What was overdue when it was started is due in the tick the wheel stood at, with what was due then anyway.
        let floor = self.now / TICK;
        let to_tick = self.now.max(to) / TICK;
        let mut last = 0;
        while let Some(key) = self.wheel.poll(at(to)) {
            let deadline = self.deadlines.remove(&key).unwrap_or_else(|| panic!("{key} fired unarmed"));
            let tick = deadline.div_ceil(TICK).max(floor);
            assert!(tick <= to_tick, "{key} fired early");
            assert!(tick >= last, "{key} fired out of order");
            last = tick;
            if let Some((key, ahead)) = again.take() {
                self.now = self.now.max(to);
                self.start(key, to.saturating_add(ahead));
            }
        }
        self.now = self.now.max(to);
        let lost = self.deadlines.iter().find(|(_, deadline)| deadline.div_ceil(TICK) <= to_tick);
        assert!(lost.is_none(), "{lost:?} is due at {to} and did not fire");
    }

    fn check(&self) {
        assert_eq!((self.wheel.len(), self.wheel.is_empty()), (self.deadlines.len(), self.deadlines.is_empty()));
        for key in 0..=u32::from(KEYS) {
            let deadline = self.deadlines.get(&key).copied().map(at);
            assert_eq!((self.wheel.deadline(key), self.wheel.is_armed(key)), (deadline, deadline.is_some()));
        }
        let earliest = self.deadlines.values().map(|d| d.div_ceil(TICK).saturating_mul(TICK)).min();
        match (self.wheel.next_wakeup(), earliest) {
            (None, None) => {}
            (Some(wakeup), Some(earliest)) => assert!(wakeup <= at(earliest.max(self.now)), "it would sleep too long"),
            (wakeup, earliest) => panic!("it wakes at {wakeup:?}, the earliest is {earliest:?}"),
        }
    }
}
