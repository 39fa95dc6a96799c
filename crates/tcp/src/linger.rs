//! What `close` does about data and a FIN that are not acknowledged yet (`SO_LINGER`).

use crate::error::Error;
use wheel::{Duration, Instant};

/// The setting, and the waiting once the application has closed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Linger {
    /// `None`: close in the background. Zero: reset. Else: the handle lives on for so long.
    pub(crate) time: Option<Duration>,
    until: Option<Instant>,
    /// The waiting is over: what is to be told.
    outcome: Option<Option<Error>>,
}

impl Linger {
    /// `close` is to be a reset.
    pub(crate) const fn resets(&self) -> bool {
        matches!(self.time, Some(time) if time.is_zero())
    }

    /// The application has closed; nothing is to be waited for if `acknowledged`.
    pub(crate) fn begin(&mut self, now: Instant, acknowledged: bool) {
        self.until = self.time.map(|time| if acknowledged { now } else { now + time });
    }

    pub(crate) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Our FIN is acknowledged (`None`), or the time is over.
    pub(crate) fn end(&mut self, error: Option<Error>) {
        if self.until.take().is_some() {
            self.outcome = Some(error);
        }
    }

    /// Nobody waits any more.
    pub(crate) fn stop(&mut self) {
        self.until = None;
        self.outcome = None;
    }

    pub(crate) const fn has_outcome(&self) -> bool {
        self.outcome.is_some()
    }

    pub(crate) fn take_outcome(&mut self) -> Option<Option<Error>> {
        self.outcome.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_time_set_and_tells_once() {
        let now = Instant::ZERO + Duration::from_secs(5);
        let mut linger = Linger { time: Some(Duration::from_secs(2)), ..Linger::default() };
        assert!(!linger.resets());
        linger.end(None);
        assert_eq!(linger.take_outcome(), None, "nobody waits yet");
        linger.begin(now, false);
        assert_eq!(linger.until(), Some(now + Duration::from_secs(2)));
        linger.end(Some(Error::TimedOut));
        linger.end(None);
        assert_eq!((linger.until(), linger.take_outcome()), (None, Some(Some(Error::TimedOut))));
        assert_eq!(linger.take_outcome(), None);
    }

    #[test]
    fn zero_resets_and_none_does_not_wait() {
        assert!(Linger { time: Some(Duration::ZERO), ..Linger::default() }.resets());
        let mut linger = Linger::default();
        linger.begin(Instant::ZERO, false);
        assert_eq!((linger.resets(), linger.until()), (false, None));
    }
}
