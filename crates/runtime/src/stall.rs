//! What arrived while a loop was stopped comes before the timers. The machine may have stopped it for longer than a
//! retransmission timeout: the acknowledgments are in the ring by then, more of them than one turn takes in, and timers that fire
//! ahead of them would send again what was acknowledged in time.

use stack::{Duration, Instant};

/// A loop that did not turn for so long was stopped, or slept.
const STALL: Duration = Duration::from_millis(10);
/// The most frames that timers wait for then: what a ring holds. Later ones arrived later.
const RING: usize = 8192;

#[derive(Debug)]
pub(crate) struct Stall {
    turned: Instant,
    /// Frames that may still be from before.
    ahead: usize,
}

impl Stall {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { turned: now, ahead: 0 }
    }

    /// A turn begins at `now`. Whether frames from before may be in the ring, also behind those that were taken already.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        if now - self.turned > STALL {
            self.ahead = RING;
        }
        self.turned = now;
        self.ahead > 0
    }

    /// The turn took in `taken` frames, or `all` that there were. Whether timers may fire.
    pub(crate) const fn is_over(&mut self, taken: usize, all: bool) -> bool {
        self.ahead = if all { 0 } else { self.ahead.saturating_sub(taken) };
        self.ahead == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_wait_for_what_a_stall_has_left_and_no_longer() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut stall = Stall::new(at(0));
        let mut turn = |ms, taken, all| (stall.look(at(ms)), stall.is_over(taken, all));
        // A loop that turns is not held up, however much there is.
        assert!((1..100).all(|ms| turn(ms, 64, false) == (false, true)));
        // After a stall the ring is emptied first.
        assert_eq!(turn(300, 64, false), (true, false));
        assert_eq!(turn(301, 64, false), (true, false));
        assert_eq!(turn(302, 3, true), (true, true));
        assert_eq!(turn(303, 64, false), (false, true));
        // One that never gets empty holds the timers up for one ring.
        let turns = (0..1000).take_while(|turns| !turn(600 + turns / 10, 64, false).1).count();
        assert_eq!(turns, 8192 / 64 - 1);
        // A sleep that ends with a frame or two is over at once.
        assert_eq!(turn(9000, 1, true), (true, true));
    }
}
