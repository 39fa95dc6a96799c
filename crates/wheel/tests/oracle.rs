//! The wheel against a sorted map, and the promises of its contract one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wheel::{Asked, Duration, Instant, Keeper, Wheel};

const TICK: u64 = 1024;
const MINUTE: u64 = 60 * 1_000_000_000;
const DAY: u64 = 86_400 * 1_000_000_000;
const YEAR: u64 = 365 * DAY;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn drain(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| wheel.poll(now)).collect()
}

/// What a wheel must do, in the plainest terms: a map from keys to deadlines.
struct Oracle {
    deadlines: BTreeMap<u32, u64>,
    now: u64,
}

impl Oracle {
    /// The start of the tick in which a deadline's timer expires; none if that is beyond the end of time.
    fn fires_at(deadline: u64) -> Option<u64> {
        deadline.div_ceil(TICK).checked_mul(TICK)
    }

    /// Checks what a drain at `now` returned, and forgets it.
    fn check_drained(&mut self, now: u64, fired: &[u32]) -> Result<(), TestCaseError> {
        self.now = self.now.max(now);
        let mut last = 0;
        for key in fired {
            let deadline = self.deadlines.remove(key);
            prop_assert!(deadline.is_some(), "{key} fired unarmed");
            let deadline = deadline.unwrap();
            prop_assert!(deadline <= self.now, "{key} fired early");
            let tick = deadline.div_ceil(TICK);
            prop_assert!(tick >= last, "{key} fired out of order");
            last = tick;
        }
        let lost =
            self.deadlines.iter().find(|(_, deadline)| Self::fires_at(**deadline).is_some_and(|tick| tick <= self.now));
        prop_assert!(lost.is_none(), "{lost:?} is due at {} and didn't fire", self.now);
        Ok(())
    }

    fn check_state(&self, wheel: &Wheel) -> Result<(), TestCaseError> {
        prop_assert_eq!(wheel.len(), self.deadlines.len());
        prop_assert_eq!(wheel.is_empty(), self.deadlines.is_empty());
        for key in 0..KEYS + 2 {
            let deadline = self.deadlines.get(&key).copied();
            prop_assert_eq!(wheel.deadline(key), deadline.map(at));
            prop_assert_eq!(wheel.is_armed(key), deadline.is_some());
        }
        let earliest =
            self.deadlines.values().copied().map(|deadline| Self::fires_at(deadline).unwrap_or(u64::MAX)).min();
        match (wheel.next_wakeup(), earliest) {
            (None, None) => {}
            // A deadline in the past fires at the position, which is at most a tick's start before `now`.
            (Some(wakeup), Some(earliest)) => prop_assert!(wakeup <= at(earliest.max(self.now))),
            (wakeup, earliest) => prop_assert!(false, "wakes at {wakeup:?}, earliest is {earliest:?}"),
        }
        Ok(())
    }
}

const KEYS: u32 = 24;

#[derive(Clone, Debug)]
enum Op {
    StartAfter(u32, u64),
    StartBefore(u32, u64),
    Stop(u32),
    Advance(u64),
    GoBack(u64),
    /// Advance to the wakeup the wheel asks for.
    Sleep,
    /// Drain, and after each expiry start another timer so far from then.
    DrainStarting(u64, Vec<(u32, i64)>),
}

/// Nanoseconds of every size a level has, dense near zero and around the levels' borders.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4 * TICK,
        0..200 * TICK,
        0..DAY,
        0..400 * YEAR,
        (0u32..9, 0..8 * TICK).prop_map(|(level, off)| ((TICK << (6 * level)) + off).saturating_sub(4 * TICK)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    prop_oneof![
        8 => (key(), span()).prop_map(|(k, s)| Op::StartAfter(k, s)),
        1 => (key(), span()).prop_map(|(k, s)| Op::StartBefore(k, s)),
        2 => key().prop_map(Op::Stop),
        4 => prop_oneof![0..4 * TICK, 0..200 * TICK, 0..DAY, 0..YEAR].prop_map(Op::Advance),
        1 => span().prop_map(Op::GoBack),
        4 => Just(Op::Sleep),
        2 => (0..100 * TICK, prop::collection::vec((key(), -(TICK as i64)..100 * TICK as i64), 0..6))
            .prop_map(|(s, starts)| Op::DrainStarting(s, starts)),
    ]
}

fn run(start: u64, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut wheel = Wheel::new(at(start));
    let mut oracle = Oracle { deadlines: BTreeMap::new(), now: start };
    for op in ops {
        let now = oracle.now;
        let advance_to = match op {
            Op::StartAfter(key, span) => {
                wheel.start(key, at(now.saturating_add(span)));
                oracle.deadlines.insert(key, now.saturating_add(span));
                None
            }
            Op::StartBefore(key, span) => {
                wheel.start(key, at(now.saturating_sub(span)));
                oracle.deadlines.insert(key, now.saturating_sub(span));
                None
            }
            Op::Stop(key) => {
                prop_assert_eq!(wheel.stop(key), oracle.deadlines.remove(&key).is_some());
                None
            }
            Op::Advance(span) => Some(now.saturating_add(span)),
            Op::GoBack(span) => Some(now.saturating_sub(span)),
            Op::Sleep => wheel.next_wakeup().map(Instant::as_nanos),
            Op::DrainStarting(span, starts) => {
                drain_starting(&mut wheel, &mut oracle, now.saturating_add(span), starts)?;
                None
            }
        };
        if let Some(to) = advance_to {
            // What was started in the past stands in one tick with what was due anyway: drain it as the map would.
            let past: Vec<u32> = oracle.deadlines.iter().filter(|(_, d)| **d <= now).map(|(k, _)| *k).collect();
            let fired = drain(&mut wheel, at(to));
            let (overdue, fired): (Vec<u32>, Vec<u32>) = fired.into_iter().partition(|key| past.contains(key));
            for key in overdue {
                prop_assert!(oracle.deadlines.remove(&key).is_some(), "{key} fired twice");
            }
            oracle.check_drained(to, &fired)?;
        }
        oracle.check_state(&wheel)?;
    }
    Ok(())
}

/// Everything due fires in this one drain, also what is started during it.
fn drain_starting(
    wheel: &mut Wheel,
    oracle: &mut Oracle,
    to: u64,
    starts: Vec<(u32, i64)>,
) -> Result<(), TestCaseError> {
    oracle.now = oracle.now.max(to);
    let mut starts = starts.into_iter();
    while let Some(key) = wheel.poll(at(to)) {
        let deadline = oracle.deadlines.remove(&key);
        prop_assert!(deadline.is_some_and(|deadline| deadline <= oracle.now), "{key} fired at {}: {deadline:?}", to);
        prop_assert!(!wheel.is_armed(key));
        if let Some((key, offset)) = starts.next() {
            let deadline = oracle.now.saturating_add_signed(offset);
            wheel.start(key, at(deadline));
            oracle.deadlines.insert(key, deadline);
        }
    }
    oracle.check_drained(to, &[])
}

/// Whose deadlines move away, and are told when they are asked for; and how often it was asked.
#[derive(Default)]
struct Lazy {
    deadlines: BTreeMap<u32, u64>,
    asked: usize,
}

impl Keeper for Lazy {
    fn before_asking(&self, keys: &[u32]) {
        assert!(!keys.is_empty());
    }

    fn ask(&mut self, key: u32) -> Asked {
        self.asked += 1;
        self.deadlines.get(&key).map_or(Asked::Gone, |deadline| Asked::Moved(at(*deadline)))
    }
}

/// A deadline that is moved or given up, without a word to the wheel, before its slot is come to.
#[test]
fn a_timer_that_has_moved_away_does_not_expire_in_vain() {
    let (mut wheel, mut keeper) = (Wheel::near(Instant::ZERO), Lazy::default());
    for key in 0..100 {
        wheel.start(key, at(40_000_000));
        keeper.deadlines.insert(key, 72_000_000 + u64::from(key) * TICK);
    }
    // One has nothing to wait for any more, and one was right from the start.
    keeper.deadlines.remove(&7);
    keeper.deadlines.insert(8, 40_000_000);
    let mut fired = BTreeMap::new();
    while let Some(now) = wheel.next_wakeup() {
        assert_eq!(
            wheel.len(),
            if keeper.asked == 0 { 100 } else { 99 - fired.len() },
            "who is gone is gone when asked"
        );
        while let Some(key) = wheel.poll_asking(now, &mut keeper) {
            fired.insert(key, now.as_nanos());
        }
    }
    let expected = keeper.deadlines.iter().map(|(key, deadline)| (*key, deadline.next_multiple_of(TICK)));
    assert!(fired.into_iter().eq(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_a_sorted_map_does(start in prop_oneof![Just(0), span()], ops in prop::collection::vec(op(), 1..80)) {
        run(start, ops)?;
    }

    #[test]
    fn following_its_wakeups_misses_nothing_by_a_tick(start in span().prop_map(|s| s % (100 * YEAR)), spans in prop::collection::vec(span(), 1..60)) {
        let mut wheel = Wheel::new(at(start));
        let mut deadlines = BTreeMap::new();
        for (key, span) in (0u32..).zip(spans) {
            let deadline = start.saturating_add(span).min(500 * YEAR);
            wheel.start(key, at(deadline));
            deadlines.insert(key, deadline);
        }
        for key in drain(&mut wheel, at(start)) {
            prop_assert!(deadlines.remove(&key).unwrap() <= start);
        }
        // A timer moves down at most once per level, and expires once.
        let mut wakeups = 10 * deadlines.len();
        let mut now = start;
        while let Some(wakeup) = wheel.next_wakeup() {
            prop_assert!(wakeup.as_nanos() > now, "slept for nothing");
            now = wakeup.as_nanos();
            for key in drain(&mut wheel, wakeup) {
                let deadline = deadlines.remove(&key).unwrap();
                prop_assert!(deadline <= now && now - deadline < TICK, "{deadline} fired at {now}");
            }
            prop_assert!(wakeups > 0, "wakes too often");
            wakeups -= 1;
        }
        prop_assert!(deadlines.is_empty());
    }

    /// [`Near`](wheel::Near) deadlines beside a map: never early, less than a tick late, wherever the wheel's time is modulo 2^32 ticks.
    #[test]
    fn a_wheel_of_near_deadlines_does_what_a_sorted_map_does(
        start in span().prop_map(|s| s % (100 * YEAR)),
        ops in prop::collection::vec((0..KEYS, 0..4u8, prop_oneof![0..4 * TICK, 0..MINUTE, 0..70 * MINUTE]), 1..200)
    ) {
        let mut wheel = Wheel::near(at(start));
        let (mut now, mut deadlines) = (start, BTreeMap::new());
        for (key, op, span) in ops {
            match op {
                0 => prop_assert_eq!(wheel.stop(key), deadlines.remove(&key).is_some()),
                1 | 2 => {
                    // Some in the past.
                    let deadline = (now + span).saturating_sub(u64::from(key == 0) * MINUTE);
                    wheel.start(key, at(deadline));
                    deadlines.insert(key, deadline.max(now / TICK * TICK));
                    let end = deadlines[&key].next_multiple_of(TICK);
                    prop_assert_eq!(wheel.deadline(key), Some(at(end)));
                }
                _ => {
                    now = wheel.next_wakeup().filter(|_| key % 2 == 0).map_or(now + span, |wakeup| wakeup.as_nanos().max(now));
                    for key in std::iter::from_fn(|| wheel.poll(at(now))) {
                        let deadline = deadlines.remove(&key).expect("armed");
                        prop_assert!(deadline <= now, "{key} is early");
                    }
                    let late = deadlines.values().find(|deadline| **deadline + TICK <= now);
                    prop_assert_eq!(late, None);
                }
            }
            prop_assert_eq!(wheel.len(), deadlines.len());
            let earliest = deadlines.values().min().map(|deadline| at(deadline.next_multiple_of(TICK).max(now)));
            prop_assert!(wheel.next_wakeup().is_none() == earliest.is_none() && wheel.next_wakeup() <= earliest);
        }
    }

    /// Who follows its wakeups hears of each deadline within a tick, however these have moved away since they were told; what was
    /// called in vain is started anew.
    #[test]
    fn who_is_asked_hears_of_every_deadline(
        start in span().prop_map(|s| s % (100 * YEAR)),
        ops in prop::collection::vec((0..KEYS, 0..4u8, prop_oneof![0..4 * TICK, 0..200 * TICK, 0..MINUTE, 0..70 * MINUTE]), 1..200)
    ) {
        let (mut wheel, mut keeper, mut now) = (Wheel::near(at(start)), Lazy::default(), start);
        for (key, op, span) in ops {
            match op {
                0 => _ = keeper.deadlines.remove(&key),
                1 if keeper.deadlines.contains_key(&key) => *keeper.deadlines.get_mut(&key).expect("there") += span,
                1 | 2 => {
                    wheel.start(key, at(now + span));
                    keeper.deadlines.insert(key, now + span);
                }
                _ => {
                    let end = now + span;
                    while let Some(wakeup) = wheel.next_wakeup().map(Instant::as_nanos).filter(|wakeup| *wakeup <= end) {
                        now = now.max(wakeup);
                        while let Some(key) = wheel.poll_asking(at(now), &mut keeper) {
                            match keeper.deadlines.get(&key).copied() {
                                Some(deadline) if deadline > now => wheel.start(key, at(deadline)),
                                Some(deadline) => {
                                    prop_assert!(now < deadline.next_multiple_of(TICK).max(start) + TICK, "{deadline} at {now}");
                                    keeper.deadlines.remove(&key);
                                }
                                None => {}
                            }
                        }
                    }
                    now = end;
                    let lost = keeper.deadlines.values().find(|deadline| **deadline + TICK <= now);
                    prop_assert_eq!(lost, None);
                }
            }
            prop_assert!(keeper.deadlines.keys().all(|key| wheel.is_armed(*key)), "who has a deadline is called");
        }
    }

    /// Hundreds of timers in a few slots, so that these have several blocks and lose keys at the beginning, in the middle and at
    /// the end; all are there, and none twice.
    #[test]
    fn many_timers_in_few_slots_do_what_a_sorted_map_does(
        ops in prop::collection::vec((0..400u32, 0..8u8, 0..5u64), 1..3000)
    ) {
        let mut wheel = Wheel::new(Instant::ZERO);
        let (mut now, mut deadlines) = (0, BTreeMap::new());
        for (key, op, far) in ops {
            match op {
                0 | 1 => prop_assert_eq!(wheel.stop(key), deadlines.remove(&key).is_some()),
                // Few by few, so that slots are seen half empty.
                2 => for _ in 0..7 {
                    now = wheel.next_wakeup().map_or(now, |wakeup| wakeup.as_nanos().max(now));
                    let Some(key) = wheel.poll(at(now)) else { break };
                    prop_assert!(deadlines.remove(&key).is_some_and(|deadline| deadline <= now));
                },
                _ => {
                    let deadline = now.next_multiple_of(TICK << 12) + far * (TICK << (2 * far));
                    wheel.start(key, at(deadline));
                    deadlines.insert(key, deadline);
                }
            }
            prop_assert_eq!(wheel.len(), deadlines.len());
            prop_assert_eq!(wheel.deadline(key), deadlines.get(&key).copied().map(at));
        }
        for key in wheel.coming() {
            prop_assert!(deadlines.contains_key(&key));
        }
        let mut last = 0;
        for key in drain(&mut wheel, at(u64::MAX)) {
            let deadline = deadlines.remove(&key).expect("armed").max(now);
            prop_assert!(deadline >= last, "{} is late", key);
            last = deadline;
        }
        prop_assert!(deadlines.is_empty() && wheel.is_empty());
    }

    /// What is said to come does, in this order.
    #[test]
    fn what_is_coming_comes(keys in 2..100u32) {
        let mut wheel = Wheel::new(Instant::ZERO);
        (0..keys).for_each(|key| wheel.start(key, at(TICK)));
        let mut polled = 0;
        while let Some(key) = wheel.poll(at(TICK)) {
            prop_assert_eq!(key, polled);
            polled += 1;
            let coming: Vec<u32> = wheel.coming().collect();
            prop_assert_eq!(coming.is_empty(), polled == keys);
            prop_assert!(coming.iter().copied().eq((polled..keys).take(coming.len())));
        }
        prop_assert_eq!(polled, keys);
    }

    #[test]
    fn the_same_calls_give_the_same_order(ops in prop::collection::vec((0..KEYS, span()), 1..60)) {
        let order = || {
            let mut wheel = Wheel::new(Instant::ZERO);
            for (key, span) in &ops {
                wheel.start(*key, at(*span));
            }
            drain(&mut wheel, at(u64::MAX))
        };
        prop_assert_eq!(order(), order());
    }
}

#[test]
fn fires_in_the_first_tick_at_or_after_its_deadline() {
    for (deadline, not_yet, due) in
        [(0, None, 0), (1, Some(1023), 1024), (1024, Some(1023), 1024), (1025, Some(2047), 2048)]
    {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.start(0, at(deadline));
        if let Some(not_yet) = not_yet {
            assert_eq!(wheel.poll(at(not_yet)), None, "{deadline}");
        }
        assert_eq!(wheel.next_wakeup(), Some(at(due)), "{deadline}");
        assert_eq!(wheel.poll(at(due)), Some(0), "{deadline}");
        assert_eq!(wheel.poll(at(due)), None, "{deadline}");
    }
}

/// 2^32 ticks are 73 minutes.
#[test]
fn what_is_too_far_for_a_near_deadline_is_taken_for_the_farthest() {
    let mut wheel = Wheel::near(at(DAY));
    wheel.start(0, at(YEAR));
    let end = DAY / TICK * TICK + u64::from(u32::MAX) * TICK;
    assert_eq!(wheel.deadline(0), Some(at(end)));
    assert_eq!((wheel.poll(at(end - 1)), wheel.poll(at(end))), (None, Some(0)));
}

/// An idle wheel keeps up with the time: what is started next stands as low as it can.
#[test]
fn a_timer_less_than_64_ticks_ahead_in_one_turn_of_the_lowest_level_wakes_exactly() {
    let now = DAY.next_multiple_of(64 * TICK);
    let mut wheel = Wheel::new(Instant::ZERO);
    assert_eq!(wheel.poll(at(now)), None);
    for ticks in 1..64 {
        wheel.start(0, at(now + ticks * TICK - 1));
        assert_eq!(wheel.next_wakeup(), Some(at(now + ticks * TICK)));
    }
    wheel.start(0, at(now - DAY));
    assert_eq!(wheel.next_wakeup(), Some(at(now)), "overdue is due now");
}

#[test]
fn timers_of_one_tick_come_in_the_order_they_were_started() {
    let mut wheel = Wheel::new(Instant::ZERO);
    for key in [5, 2, 9, 0] {
        wheel.start(key, at(70 * TICK - u64::from(key)));
    }
    assert_eq!(drain(&mut wheel, at(70 * TICK)), [5, 2, 9, 0]);
}

#[test]
fn one_drain_over_all_levels_goes_by_deadline() {
    let mut wheel = Wheel::new(at(12_345));
    let keys: Vec<u32> = (0..54).collect();
    for key in keys.iter().rev() {
        wheel.start(*key, at(12_345 + (TICK << key)));
    }
    assert_eq!(drain(&mut wheel, at(u64::MAX)), keys);
}

#[test]
fn a_timer_that_restarts_itself_at_once_doesnt_starve_its_tick() {
    let mut wheel = Wheel::new(Instant::ZERO);
    wheel.start(0, at(TICK));
    wheel.start(1, at(TICK));
    assert_eq!(wheel.poll(at(5 * TICK)), Some(0));
    wheel.start(0, at(TICK));
    assert_eq!(wheel.poll(at(5 * TICK)), Some(1));
    assert_eq!(wheel.poll(at(5 * TICK)), Some(0));
}

#[test]
fn time_that_goes_backwards_counts_as_the_latest() {
    let mut wheel = Wheel::new(at(DAY));
    assert_eq!(wheel.poll(at(2 * DAY)), None);
    wheel.start(0, at(2 * DAY - 1));
    assert_eq!(wheel.poll(at(0)), Some(0));
}

#[test]
fn a_deadline_in_the_last_tick_of_time_is_never_early() {
    let mut wheel = Wheel::new(Instant::ZERO);
    wheel.start(0, Instant::MAX);
    wheel.start(1, at(u64::MAX - TICK));
    assert_eq!(drain(&mut wheel, at(u64::MAX - 1)), [1]);
    assert!(wheel.stop(0));
    assert!(wheel.is_empty());
    assert_eq!(wheel.next_wakeup(), None);
}

#[test]
fn centuries_of_empty_time_cost_nothing() {
    let began = std::time::Instant::now();
    let mut wheel = Wheel::new(Instant::ZERO);
    for year in 1..500 {
        wheel.start(7, at(year * YEAR));
        assert_eq!(wheel.poll(at(year * YEAR - 1)), None);
        assert_eq!(wheel.poll(at(year * YEAR + TICK)), Some(7));
    }
    // Ticking through 500 years would be 10^16 steps.
    assert!(began.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn a_key_that_was_never_started_is_not_armed() {
    let mut wheel = Wheel::with_capacity(Instant::ZERO, 4);
    for key in [0, 3, 4, u32::MAX] {
        assert!(!wheel.stop(key));
        assert!(!wheel.is_armed(key));
        assert_eq!(wheel.deadline(key), None);
    }
    wheel.start(3, at(5));
    assert!(!wheel.is_armed(2), "a key the array grew over");
    assert!(wheel.stop(3));
    assert!(!wheel.stop(3));
}

#[test]
fn time_saturates() {
    assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
    assert_eq!(Instant::MAX + Duration::from_nanos(1), Instant::MAX);
    assert_eq!(at(3) - at(5), Duration::ZERO);
    assert_eq!(at(5).saturating_since(at(3)), Duration::from_nanos(2));
    assert_eq!(Duration::from_nanos(3) - Duration::from_nanos(5), Duration::ZERO);
    assert_eq!(Duration::MAX + Duration::MAX, Duration::MAX);
    assert_eq!(Duration::MAX * 2, Duration::MAX);
    assert_eq!(Instant::from_nanos(u64::MAX), Instant::MAX);
    assert_eq!((Instant::ZERO.as_nanos(), Instant::default()), (0, Instant::ZERO));
    assert_eq!(Instant::from_nanos(5) - Duration::from_nanos(6), Instant::ZERO);
    assert_eq!((Instant::from_nanos(5) - Duration::from_nanos(3)).as_nanos(), 2);
    assert_eq!(size_of::<Option<Instant>>(), 8);
    assert_eq!(Duration::from_secs(u64::MAX), Duration::MAX);
    assert_eq!(Duration::from(std::time::Duration::MAX), Duration::MAX);
}

#[test]
fn time_has_units() {
    assert_eq!(Duration::from_micros(1500), Duration::from_nanos(1_500_000));
    assert_eq!(Duration::from_millis(1500).as_micros(), 1_500_000);
    assert_eq!(Duration::from_secs(2).as_millis(), 2000);
    assert_eq!(Duration::from_micros(1999).as_millis(), 1);
    assert_eq!(Duration::from_secs(3) / 2, Duration::from_millis(1500));
    assert_eq!(Duration::from_millis(3) * 2, Duration::from_millis(6));
    assert!((Duration::from_millis(1500).as_secs_f64() - 1.5).abs() < f64::EPSILON);
    assert_eq!(std::time::Duration::from(Duration::from_millis(7)), std::time::Duration::from_millis(7));
    assert_eq!(format!("{:?} {:?}", Duration::from_micros(1500), at(2_000)), "1.5ms t+2µs");
    assert_eq!(Duration::from_secs(1).max(Duration::from_millis(1)), Duration::from_secs(1));
}
