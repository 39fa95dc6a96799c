//! Keep-alives: is the peer of an idle connection still there? RFC 9293 section 3.8.4, off by default (MUST-25).

use wheel::{Duration, Instant};

/// The least time of both: a second, as Linux.
const LEAST: Duration = Duration::from_secs(1);
/// Probes that must go unanswered: one alone says nothing (RFC 9293 MUST-29).
const LEAST_PROBES: u8 = 2;

/// When to probe, and when to give up. Values below the least are taken as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How long nothing must have been received before the first probe. At least 1 s.
    pub idle: Duration,
    /// Between probes that are not answered. At least 1 s.
    pub interval: Duration,
    /// Unanswered probes after which the connection is given up. At least 2.
    pub probes: u8,
}

impl Default for Keepalive {
    /// Two hours (MUST-28), then nine probes 75 s apart, as Linux.
    fn default() -> Self {
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), probes: 9 }
    }
}

/// What the timer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wait,
    /// A probe is due.
    Probe,
    /// The peer is gone.
    GiveUp,
}

/// Keep-alives of one connection.
#[derive(Debug)]
pub(crate) struct Prober {
    settings: Keepalive,
    heard: Instant,
    deadline: Instant,
    sent: u8,
    due: bool,
}

impl Prober {
    pub(crate) fn new(settings: Keepalive, now: Instant) -> Self {
        let settings = Keepalive {
            idle: settings.idle.max(LEAST),
            interval: settings.interval.max(LEAST),
            probes: settings.probes.max(LEAST_PROBES),
        };
        Self { settings, heard: now, deadline: now + settings.idle, sent: 0, due: false }
    }

    /// The peer sent something, data or ACK: the whole interval begins again (MUST-26).
    pub(crate) fn heard(&mut self, now: Instant) {
        (self.heard, self.deadline, self.sent, self.due) = (now, now + self.settings.idle, 0, false);
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Time has passed. `quiet`: nothing is queued or outstanding; retransmission sees to the rest (MUST-26). A user
    /// timeout takes the place of the number of probes, as on Linux.
    pub(crate) fn on_timeout(&mut self, now: Instant, quiet: bool, user_timeout: Option<Duration>) -> Verdict {
        if now < self.deadline {
            return Verdict::Wait;
        }
        if !quiet {
            self.heard(now);
            return Verdict::Wait;
        }
        let over = match user_timeout {
            Some(limit) => self.sent >= LEAST_PROBES && now - self.heard >= limit,
            None => self.sent >= self.settings.probes,
        };
        if over {
            return Verdict::GiveUp;
        }
        self.sent = self.sent.saturating_add(1);
        self.due = true;
        self.deadline = now + self.settings.interval;
        Verdict::Probe
    }

    /// A probe is due.
    pub(crate) const fn is_due(&self) -> bool {
        self.due
    }

    /// A probe is due: once.
    pub(crate) fn take_probe(&mut self) -> bool {
        core::mem::take(&mut self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    /// MUST-27, MUST-28: two hours by default, and as it is set.
    #[test]
    fn the_defaults_are_linuxs() {
        let mut prober = Prober::new(Keepalive::default(), at(0));
        assert_eq!(prober.on_timeout(at(7199), true, None), Verdict::Wait);
        for n in 0..9 {
            assert_eq!(prober.deadline(), at(7200 + 75 * n));
            assert_eq!(prober.on_timeout(at(7200 + 75 * n), true, None), Verdict::Probe);
            assert!(prober.take_probe() && !prober.take_probe());
        }
        assert_eq!(prober.on_timeout(at(7200 + 75 * 9), true, None), Verdict::GiveUp);
    }

    /// MUST-29: one probe that is not answered proves nothing, whatever is set.
    #[test]
    fn one_probe_is_not_enough() {
        let settings = Keepalive { idle: Duration::ZERO, interval: Duration::ZERO, probes: 0 };
        let mut prober = Prober::new(settings, at(0));
        assert_eq!(prober.on_timeout(at(1), true, None), Verdict::Probe);
        assert_eq!(prober.on_timeout(at(2), true, None), Verdict::Probe);
        assert_eq!(prober.on_timeout(at(3), true, None), Verdict::GiveUp);
    }

    #[test]
    fn a_user_timeout_decides_instead_of_the_number() {
        let settings = Keepalive { idle: Duration::from_secs(10), interval: Duration::from_secs(5), probes: 2 };
        let mut prober = Prober::new(settings, at(0));
        let limit = Some(Duration::from_secs(30));
        for t in [10, 15, 20, 25] {
            assert_eq!(prober.on_timeout(at(t), true, limit), Verdict::Probe, "{t}");
        }
        assert_eq!(prober.on_timeout(at(30), true, limit), Verdict::GiveUp);
        prober.heard(at(30));
        assert_eq!(prober.on_timeout(at(39), true, limit), Verdict::Wait);
    }

    #[test]
    fn what_is_outstanding_puts_it_off() {
        let mut prober = Prober::new(Keepalive::default(), at(0));
        assert_eq!(prober.on_timeout(at(7200), false, None), Verdict::Wait);
        assert_eq!(prober.deadline(), at(14_400));
    }
}
