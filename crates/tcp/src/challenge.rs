//! The limit on ACKs that answer segments which prove nothing: challenge ACKs (RFC 5961 section 7) and re-ACKs of
//! segments without data. Per connection, so that it is no side channel between connections (A21).

use wheel::{Duration, Instant};

const PER_INTERVAL: u8 = 10;
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(crate) struct ChallengeLimit {
    /// When the current interval began.
    began: Instant,
    sent: u8,
}

impl ChallengeLimit {
    /// Whether one more may be sent at `now`.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        if now - self.began >= INTERVAL {
            *self = Self { began: now, sent: 0 };
        }
        self.sent = self.sent.saturating_add(1);
        self.sent <= PER_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_second() {
        let mut limit = ChallengeLimit::default();
        let now = Instant::ZERO + Duration::from_secs(100);
        assert_eq!((0..500).filter(|_| limit.allow(now)).count(), 10);
        assert!(!limit.allow(now + Duration::from_millis(999)));
        assert!(limit.allow(now + Duration::from_secs(1)));
    }
}
