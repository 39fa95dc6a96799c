//! One direction of a path: a bottleneck with a queue, a delay, and what goes wrong behind it. Time is an argument.
//!
//! The simulator's links are not these: theirs draw a number only for what is configured, and belong to its queue of events.
//! Here every frame costs the same numbers, so that all who are compared meet the same fates.

use std::time::Duration;

use serde::Serialize;

use sim::Rng;

/// What a frame takes on the wire besides its bytes: preamble, checksum and gap of Ethernet.
const WIRE_OVERHEAD_BYTES: u64 = 24;
/// An Ethernet header: corruption begins behind it, so that the frame still finds its way.
const ETHERNET_BYTES: usize = 14;

/// What one direction does to frames. Probabilities are of 0 to 1, per frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Impairments {
    /// Bits per second of the bottleneck, Ethernet's overhead counted; zero: no limit, and no queue.
    pub rate_bit_s: u64,
    /// Bytes of frames that may wait for it; what comes on top is dropped.
    pub queue_bytes: u64,
    /// How long a frame is under way behind it.
    pub delay: Duration,
    /// Lost.
    pub loss: f64,
    /// Held up by `reorder_by`, so that others overtake it.
    pub reorder: f64,
    /// For how long.
    pub reorder_by: Duration,
    /// Arrives twice.
    pub duplicate: f64,
    /// Arrives with one bit changed, anywhere behind the Ethernet header.
    pub corrupt: f64,
}

impl Default for Impairments {
    /// A perfect path: no limit, no delay.
    fn default() -> Self {
        Self {
            rate_bit_s: 0,
            queue_bytes: u64::MAX,
            delay: Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            duplicate: 0.0,
            corrupt: 0.0,
        }
    }
}

/// What has happened to the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LinkCounters {
    /// Frames that came.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dropped because the queue was full.
    pub queue_drops: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Held up.
    pub reordered: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Corrupted.
    pub corrupted: u64,
}

/// One direction. The fate of the n-th frame depends on the seed and on nothing else, but for the queue: a higher loss loses
/// what a lower one does, and more.
#[derive(Debug, Clone)]
pub struct Link {
    impairments: Impairments,
    rng: Rng,
    /// When the bottleneck has sent everything it was given, in nanoseconds.
    idle_at_ns: u64,
    counters: LinkCounters,
}

impl Link {
    /// A direction that is idle.
    #[must_use]
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self { impairments, rng: Rng::new(seed), idle_at_ns: 0, counters: LinkCounters::default() }
    }

    /// A frame comes at `now_ns`: when it arrives at the other end, if it does, and when its double does, if there is one. Its
    /// bytes may change.
    pub fn pass(&mut self, now_ns: u64, frame: &mut [u8]) -> [Option<u64>; 2] {
        let config = self.impairments;
        let [loss, reorder, duplicate, corrupt] = std::array::from_fn(|_| self.rng.fraction());
        let place = self.rng.bits64();
        self.counters.frames += 1;
        self.counters.bytes += frame.len() as u64;
        let Some(left) = self.queue(now_ns, frame.len() as u64) else {
            self.counters.queue_drops += 1;
            return [None, None];
        };
        if loss < config.loss {
            self.counters.lost += 1;
            return [None, None];
        }
        if corrupt < config.corrupt && frame.len() > ETHERNET_BYTES {
            self.counters.corrupted += 1;
            let bits = (frame.len() - ETHERNET_BYTES) as u64 * 8;
            let bit = usize::try_from(place % bits).unwrap_or(0);
            frame[ETHERNET_BYTES + bit / 8] ^= 1 << (bit % 8);
        }
        let mut arrives = left + nanoseconds(config.delay);
        if reorder < config.reorder {
            self.counters.reordered += 1;
            arrives += nanoseconds(config.reorder_by);
        }
        let doubled = duplicate < config.duplicate;
        self.counters.duplicated += u64::from(doubled);
        [Some(arrives), doubled.then_some(arrives)]
    }

    /// When the frame has left the bottleneck; `None` if there is no room to wait.
    fn queue(&mut self, now_ns: u64, bytes: u64) -> Option<u64> {
        let Impairments { rate_bit_s, queue_bytes, .. } = self.impairments;
        if rate_bit_s == 0 {
            return Some(now_ns);
        }
        let waiting_ns = self.idle_at_ns.saturating_sub(now_ns);
        let waiting_bytes = u128::from(waiting_ns) * u128::from(rate_bit_s) / 8_000_000_000;
        if waiting_bytes + u128::from(bytes) > u128::from(queue_bytes) {
            return None;
        }
        let takes = (bytes + WIRE_OVERHEAD_BYTES) * 8_000_000_000 / rate_bit_s;
        self.idle_at_ns = self.idle_at_ns.max(now_ns) + takes;
        Some(self.idle_at_ns)
    }

    /// From the next frame on; the fates of the others are what they would have been.
    pub const fn impair(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counters(&self) -> LinkCounters {
        self.counters
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 1226;

    fn arrivals(impairments: Impairments, seed: u64, times: impl Iterator<Item = u64>) -> Vec<[Option<u64>; 2]> {
        let mut link = Link::new(impairments, seed);
        times.map(|now| link.pass(now, &mut [0; FRAME])).collect()
    }

    /// 1,226 bytes and 24 of overhead are 10,000 bits: 100 us at 100 Mbit/s. Room for two and a half: the third waits its turn,
    /// for the fourth there is no room, and after a rest there is again.
    #[test]
    fn the_bottleneck_sends_one_by_one_and_drops_what_does_not_fit() {
        let path = Impairments {
            rate_bit_s: 100_000_000,
            queue_bytes: 3125 + FRAME as u64,
            delay: Duration::from_micros(7),
            ..Impairments::default()
        };
        let came = arrivals(path, 1, [0, 0, 0, 0, 100_000, 1_000_000].into_iter());
        let first: Vec<_> = came.iter().map(|arrival| arrival[0].map(|at| at / 1000)).collect();
        assert_eq!(first, [Some(107), Some(207), Some(307), None, Some(407), Some(1107)]);
    }

    /// The binomial's standard deviation at 1 % of 100,000 is 31; five of them.
    #[test]
    fn chances_are_what_they_are_said_to_be_and_repeat_with_the_seed() {
        let path = Impairments {
            loss: 0.01,
            reorder: 0.05,
            reorder_by: Duration::from_micros(1),
            duplicate: 0.001,
            corrupt: 0.5,
            ..Impairments::default()
        };
        let mut link = Link::new(path, 42);
        let mut changed = 0;
        for now in 0..100_000 {
            let mut frame = [0; 64];
            link.pass(now, &mut frame);
            assert!(frame[..ETHERNET_BYTES].iter().all(|byte| *byte == 0));
            changed += frame.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        }
        let counters = link.counters();
        assert!(counters.lost.abs_diff(1000) < 155, "{counters:?}");
        assert!(counters.reordered.abs_diff(4950) < 345, "{counters:?}");
        assert!(counters.duplicated.abs_diff(99) < 50, "{counters:?}");
        assert_eq!(counters.corrupted, changed);
        assert_eq!(arrivals(path, 42, 0..1000), arrivals(path, 42, 0..1000));
        assert_ne!(arrivals(path, 42, 0..1000), arrivals(path, 43, 0..1000));
    }

    #[test]
    fn a_higher_loss_loses_what_a_lower_one_does() {
        let lost = |loss| arrivals(Impairments { loss, ..Impairments::default() }, 7, 0..10_000);
        let (few, many) = (lost(0.01), lost(0.03));
        assert!(few.iter().zip(&many).all(|(few, many)| few[0].is_some() || many[0].is_none()));
    }
}
