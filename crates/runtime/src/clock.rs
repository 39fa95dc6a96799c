//! The clock of a loop: monotonic, the same for all stacks of a machine, read once per turn.

use stack::{Duration, Instant};

/// Time since the machine started, as the core counts it: initial sequence numbers and timestamps of a process that is started
/// anew go on where the last one's were.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: std::time::Instant,
    /// Then, on the core's clock.
    then: Instant,
}

impl Clock {
    /// A clock that shows `CLOCK_MONOTONIC` and a second, so that no time before it is confused with zero.
    #[must_use]
    pub fn new() -> Self {
        let then = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let then = std::time::Duration::try_from(then).unwrap_or_default();
        Self { start: std::time::Instant::now(), then: Instant::ZERO + Duration::from_secs(1) + then.into() }
    }

    /// The time now (`CLOCK_MONOTONIC`, read without a system call where the kernel offers that).
    #[must_use]
    pub fn now(&self) -> Instant {
        self.then + Duration::from(self.start.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
