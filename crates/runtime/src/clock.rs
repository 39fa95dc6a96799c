//! The clock of a loop: monotonic, from an arbitrary start, read once per turn.

use stack::{Duration, Instant};

/// Time since the clock was made, as the core counts it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that begins one second after zero, so that no time before it is confused with zero.
    #[must_use]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time now (`CLOCK_MONOTONIC`, read without a system call where the kernel offers that).
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_secs(1) + Duration::from(self.start.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
