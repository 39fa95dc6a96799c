//! The limit on ACKs that answer segments which prove nothing: challenge ACKs (RFC 5961 section 7) and re-ACKs of
//! segments without data. Per connection, so that it is no side channel between connections (A21).

use crate::config::Config;
use wheel::Instant;

#[derive(Debug, Clone, Default)]
pub(crate) struct ChallengeLimit {
    /// When the current interval began.
    began: Instant,
    sent: u16,
}

impl ChallengeLimit {
    /// None was sent in this interval, or it is over.
    pub(crate) fn is_at_rest(&self, now: Instant, config: &Config) -> bool {
        self.sent == 0 || now - self.began >= config.challenge_interval
    }

    /// Whether one more may be sent at `now`: [`challenge_acks`](crate::Settings::challenge_acks) per
    /// [`challenge_interval`](crate::Settings::challenge_interval).
    pub(crate) fn allow(&mut self, now: Instant, config: &Config) -> bool {
        if now - self.began >= config.challenge_interval {
            *self = Self { began: now, sent: 0 };
        }
        self.sent = self.sent.saturating_add(1);
        self.sent <= config.challenge_acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use wheel::Duration;

    /// RFC5961-7-a, RFC5961-7-b: so many in an interval, both set by the administrator.
    #[test]
    fn ten_a_second_or_what_is_configured() {
        let (mut limit, config) = (ChallengeLimit::default(), Config::default());
        let now = Instant::ZERO + Duration::from_secs(100);
        assert_eq!((0..500).filter(|_| limit.allow(now, &config)).count(), 10);
        assert!(!limit.allow(now + Duration::from_millis(999), &config));
        assert!(limit.allow(now + Duration::from_secs(1), &config));
        let settings =
            Settings { challenge_acks: 300, challenge_interval: Duration::from_secs(5), ..Settings::default() };
        let (mut limit, config) = (ChallengeLimit::default(), Config::new(settings).expect("valid"));
        assert_eq!((0..500).filter(|_| limit.allow(now, &config)).count(), 300);
        assert!(!limit.allow(now + Duration::from_millis(4999), &config));
        assert!(limit.allow(now + Duration::from_secs(5), &config));
    }
}
