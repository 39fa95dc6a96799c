//! The clock of a measurement.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What time stamps are made with: monotonic, in nanoseconds. Its times have the type of the stack's clock but are not comparable
/// with that one's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    #[inline]
    pub(crate) fn now(&self) -> fourwave::Instant {
        fourwave::Instant::ZERO + self.origin.elapsed().into()
    }
}

/// How well the clock kept time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClockReport {
    /// `tsc` or `clock_monotonic`.
    pub(crate) source: String,
    /// Of the processor's counter, if that is the source.
    pub(crate) tsc_hz: Option<u64>,
    /// How much faster than `CLOCK_MONOTONIC_RAW` it went, over the whole run; none if that was too short to tell.
    pub(crate) drift_ppm: Option<f64>,
    pub(crate) stable: bool,
}
