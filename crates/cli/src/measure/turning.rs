//! Gaps in which the generator's own loop did not turn: what came meanwhile waited for it, not for the server.

use fourwave::{Duration, Instant};
use serde::{Deserialize, Serialize};

use crate::out;

/// Shorter ones are interrupts and scheduling.
const GAP: Duration = Duration::from_millis(1);
/// A loop that sleeps may wake so much later than it asked to: the kernel counts in milliseconds.
const OVERSLEEP: Duration = Duration::from_micros(1500);
/// One part in so many of the time may be lost without a word.
const FEW: u64 = 100;

/// What the loops of all shards lost, while it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// A loop that never sleeps: from one turn to the next. One that sleeps: behind the time at which it was to be awake.
    pub(crate) gaps_over_1ms: u64,
    /// Of any length.
    pub(crate) largest_gap_ns: u64,
    /// Of those above a millisecond.
    pub(crate) gaps_ns: u64,
}

impl Generator {
    pub(super) fn add(&mut self, other: &Self) {
        self.gaps_over_1ms += other.gaps_over_1ms;
        self.largest_gap_ns = self.largest_gap_ns.max(other.largest_gap_ns);
        self.gaps_ns += other.gaps_ns;
    }

    /// A sentence if the gaps make up more than a hundredth of `time`, of all shards together.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    pub(super) fn complaint(&self, time: Duration) -> Option<String> {
        let Self { gaps_over_1ms, largest_gap_ns, gaps_ns } = *self;
        let share = gaps_ns as f64 / time.as_nanos().max(1) as f64 * 100.0;
        (gaps_ns > time.as_nanos() / FEW).then(|| {
            format!(
                "the generator was the bottleneck: its own loop stood still for {share:.0} % of the time, {gaps_over_1ms} times and up \
                 to {}, which is in the times measured; give it a core that nobody else uses (--cores)",
                out::nanoseconds(largest_gap_ns as f64)
            )
        })
    }
}

/// Watches one loop turn.
#[derive(Debug)]
pub(super) struct Turning {
    /// It never sleeps.
    spins: bool,
    last: Option<Instant>,
    /// When it is to be awake.
    awake: Option<Instant>,
    pub(super) gaps: Generator,
}

impl Turning {
    pub(super) const fn new(spins: bool) -> Self {
        let gaps = Generator { gaps_over_1ms: 0, largest_gap_ns: 0, gaps_ns: 0 };
        Self { spins, last: None, awake: None, gaps }
    }

    pub(super) const fn spins(&self) -> bool {
        self.spins
    }

    /// A turn begins.
    #[inline]
    pub(super) fn turn(&mut self, now: Instant) {
        let expected = if self.spins { self.last } else { self.awake.map(|awake| awake + OVERSLEEP) };
        self.last = Some(now);
        let Some(gap) = expected.map(|expected| now - expected) else { return };
        if gap.as_nanos() > self.gaps.largest_gap_ns {
            self.gaps.largest_gap_ns = gap.as_nanos();
        }
        if gap > GAP {
            self.gaps.gaps_over_1ms += 1;
            self.gaps.gaps_ns += gap.as_nanos();
        }
    }

    /// When the next turn is to be, if nothing happens before.
    pub(super) fn awake_at(&mut self, at: Option<Instant>) {
        self.awake = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    #[test]
    fn a_loop_that_spins_has_a_gap_wherever_it_did_not_turn() {
        let mut turning = Turning::new(true);
        [0, 10, 1010, 2011, 2020, 7020].map(at).iter().for_each(|now| turning.turn(*now));
        let expected = Generator { gaps_over_1ms: 2, largest_gap_ns: 5_000_000, gaps_ns: 6_001_000 };
        assert_eq!(turning.gaps, expected, "a millisecond is no gap yet");
    }

    #[test]
    fn a_loop_that_sleeps_has_a_gap_if_it_comes_late() {
        let mut turning = Turning::new(false);
        turning.turn(at(0));
        turning.turn(at(500_000));
        assert_eq!(turning.gaps, Generator::default(), "nothing was to be done");
        // Awake for 1.5 ms and a millisecond at the latest.
        for (awake, turn) in [(501_000, 500_100), (501_000, 503_500), (510_000, 520_000)] {
            turning.awake_at(Some(at(awake)));
            turning.turn(at(turn));
        }
        assert_eq!(turning.gaps, Generator { gaps_over_1ms: 1, largest_gap_ns: 8_500_000, gaps_ns: 8_500_000 });
    }

    #[test]
    fn a_hundredth_of_the_time_may_be_lost() {
        let lost = Generator { gaps_over_1ms: 5, largest_gap_ns: 4_000_000, gaps_ns: 10_000_000 };
        assert_eq!(lost.complaint(Duration::from_secs(1)), None);
        let said = lost.complaint(Duration::from_millis(500)).unwrap();
        assert!(said.contains("2 % of the time, 5 times and up to 4.00 ms"), "{said}");
        let mut both = Generator { largest_gap_ns: 9_000_000, ..Generator::default() };
        both.add(&lost);
        assert_eq!(both, Generator { largest_gap_ns: 9_000_000, ..lost });
    }
}
