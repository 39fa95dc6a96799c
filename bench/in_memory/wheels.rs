//! The timing wheel by itself, with so many timers armed. smoltcp has none: it asks each socket.

use super::{Run, random::Random};
use wheel::{Duration, Instant, Wheel};

/// Timers are due within so long: retransmission, keep-alive and TIME-WAIT are.
const WITHIN_NS: u64 = 60_000_000_000;

fn armed(timers: usize) -> (Wheel, Random) {
    let mut random = Random(3);
    let mut wheel = Wheel::with_capacity(Instant::ZERO, timers + 1);
    for key in 0..timers as u32 {
        wheel.start(key, Instant::from_nanos(random.below(WITHIN_NS)));
    }
    (wheel, random)
}

/// One more is started and stopped: that of a connection that is busy.
pub fn start_stop(timers: usize) -> Run {
    let (mut wheel, mut random) = armed(timers);
    let key = timers as u32;
    Box::new(move |times| {
        for _ in 0..times {
            wheel.start(key, Instant::from_nanos(random.below(WITHIN_NS)));
            assert!(wheel.stop(key));
        }
    })
}

/// Any of them is stopped and started anew.
pub fn restart(timers: usize) -> Run {
    let (mut wheel, mut random) = armed(timers);
    Box::new(move |times| {
        for _ in 0..times {
            let key = random.below(timers as u64) as u32;
            assert!(wheel.stop(key));
            wheel.start(key, Instant::from_nanos(random.below(WITHIN_NS)));
        }
    })
}

/// The next one expires and is started anew, with all its moves from level to level on the way.
pub fn expire(timers: usize) -> Run {
    let (mut wheel, mut random) = armed(timers);
    let mut now = Instant::ZERO;
    Box::new(move |times| {
        for _ in 0..times {
            let key = loop {
                if let Some(key) = wheel.poll(now) {
                    break key;
                }
                now = wheel.next_wakeup().expect("timers are armed");
            };
            wheel.start(key, now + Duration::from_nanos(random.below(WITHIN_NS)));
        }
    })
}
