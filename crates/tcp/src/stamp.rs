//! A time that is kept where every byte counts.

use wheel::Instant;

/// An [`Instant`] that lies on any boundary of four bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp([u32; 2]);

impl Stamp {
    #[allow(clippy::cast_possible_truncation)] // the halves
    pub(crate) const fn of(at: Instant) -> Self {
        let nanos = at.as_nanos();
        Self([(nanos >> 32) as u32, nanos as u32])
    }

    pub(crate) const fn instant(self) -> Instant {
        let [high, low] = self.0;
        Instant::from_nanos((high as u64) << 32 | low as u64)
    }
}
