//! Time that passes only when packetdrill asks for it.

use stack::{Duration, Instant};

/// The clock's start on packetdrill's calendar, microseconds since 1970: any time that is no multiple of much.
const START_US: u64 = 1_700_000_000_123_457;
/// The shard's time begins at one second, so that nothing is "at the beginning of time".
const OFFSET: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Clock {
    now: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { now: Instant::ZERO + OFFSET }
    }
}

impl Clock {
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    /// Goes on to `to`; a time that has passed changes nothing.
    pub(crate) fn jump(&mut self, to: Instant) {
        self.now = self.now.max(to);
    }

    /// Who asks for the time has used some: packetdrill spins on it until a moment comes.
    pub(crate) fn tick(&mut self) {
        self.now += Duration::from_micros(1);
    }

    /// A time of the shard on packetdrill's calendar, microseconds.
    pub(crate) fn calendar_us(at: Instant) -> u64 {
        START_US + at.as_nanos() / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_every_look_takes_a_microsecond() {
        let mut clock = Clock::default();
        let start = clock.now();
        clock.jump(start + Duration::from_millis(5));
        clock.jump(start);
        assert_eq!(clock.now(), start + Duration::from_millis(5));
        let before = Clock::calendar_us(clock.now());
        clock.tick();
        assert_eq!(Clock::calendar_us(clock.now()), before + 1);
    }
}
