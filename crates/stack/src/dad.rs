//! Duplicate address detection: whether another station has an address that is to be the stack's own, before it is used (RFC
//! 5227 for IPv4, RFC 4862 section 5.4 for IPv6), telling everybody once it is (RFC 5227 section 2.3, RFC 4861 section
//! 7.2.6), and what is done about a station that claims it later (RFC 5227 section 2.4).
//!
//! An address that is in use is given up at once while it is being probed for. Later it is defended and kept: it was given by
//! an operator to a server, the case RFC 5227 section 2.4 (c) is about.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::net::IpAddr;
use core::ops::RangeInclusive;
use siphasher::sip::SipHasher13;
use tcp::ConfigError;
use wheel::{Duration, Instant};
use wire::MacAddr;

/// Between defences of one address (`DEFEND_INTERVAL`, RFC 5227 section 1.1).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// Announcements of an address (`ANNOUNCE_NUM`; RFC 4861 section 7.2.6 allows three).
const ANNOUNCE_NUM: u8 = 2;
/// Between two of them (`ANNOUNCE_INTERVAL`).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Between solicitations, and after the last of them (`RetransTimer`, RFC 4861 section 10).
const RETRANS_TIMER: Duration = Duration::from_secs(1);

/// How long and how often others are asked whether they have an address, before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dad {
    /// Questions about each address, 0 to 16 (`PROBE_NUM`, `DupAddrDetectTransmits`). 0: none is asked, the address is taken
    /// and announced.
    pub probes: u8,
    /// The first is asked after a random time of at most this, up to 60 s (`PROBE_WAIT`, `MAX_RTR_SOLICITATION_DELAY`): for
    /// hosts that all start when the power comes back.
    pub probe_wait: Duration,
    /// Least time between two for IPv4, up to 60 s (`PROBE_MIN`); for IPv6 it is 1 s.
    pub probe_min: Duration,
    /// Most time between two for IPv4, up to 60 s (`PROBE_MAX`).
    pub probe_max: Duration,
    /// Time for an answer to the last for IPv4, up to 60 s (`ANNOUNCE_WAIT`); for IPv6 it is 1 s.
    pub announce_wait: Duration,
}

impl Dad {
    /// The constants of RFC 5227 section 1.1: a start takes four to seven seconds.
    pub const RFC_5227: Self = Self {
        probes: 3,
        probe_wait: Duration::from_secs(1),
        probe_min: Duration::from_secs(1),
        probe_max: Duration::from_secs(2),
        announce_wait: Duration::from_secs(2),
    };

    /// Checks every field.
    ///
    /// # Errors
    /// The first that is out of its range; times are in milliseconds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let within = |field, value: u64, range: RangeInclusive<u64>, allowed| {
            range.contains(&value).then_some(()).ok_or(ConfigError { field, value, allowed })
        };
        within("dad.probes", self.probes.into(), 0..=16, "0 to 16")?;
        for (field, time) in [
            ("dad.probe_wait", self.probe_wait),
            ("dad.probe_min", self.probe_min),
            ("dad.probe_max", self.probe_max),
            ("dad.announce_wait", self.announce_wait),
        ] {
            within(field, time.as_millis(), 0..=60_000, "0 to 60000 ms")?;
        }
        let least = self.probe_min.as_millis();
        within("dad.probe_max", self.probe_max.as_millis(), least..=60_000, "dad.probe_min to 60000 ms")
    }
}

impl Default for Dad {
    /// One question at once, and a second for the answer, as RFC 4862 has it for IPv6.
    fn default() -> Self {
        Self { probes: 1, probe_wait: Duration::ZERO, announce_wait: Duration::from_secs(1), ..Self::RFC_5227 }
    }
}

/// Another station that has, or claims, an address of the stack's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub ip: IpAddr,
    /// The other station.
    pub mac: MacAddr,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask whether anybody has the address.
    Probe(IpAddr),
    /// Tell everybody that it is ours.
    Announce(IpAddr),
}

/// What another station was heard to do with an address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It asks whether it may have it.
    Probes,
    /// It says, or acts as if, it has it.
    Claims,
}

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No conflict.
    Nothing,
    /// A conflict: the address is not ours, or somebody has been told so lately.
    Conflict,
    /// A conflict about an address that is ours: everybody is to be told.
    Defend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So many questions are left.
    Probing(u8),
    /// It is ours; so many announcements are left.
    Ours(u8),
    /// Another station has it.
    Duplicate(MacAddr),
}

#[derive(Debug)]
struct Claim {
    ip: IpAddr,
    phase: Phase,
    /// When there is something to do next.
    due: Option<Instant>,
    /// When it was defended last.
    defended: Option<Instant>,
}

/// The owned addresses of a shard.
#[derive(Debug)]
pub(crate) struct Claims {
    settings: Dad,
    key: [u8; 16],
    claims: Vec<Claim>,
    /// Addresses that are not known to be ours.
    unsettled: usize,
    /// When there is something to do next.
    next: Option<Instant>,
    /// The latest conflict about an address of ours.
    latest: Option<Conflict>,
}

impl Claims {
    /// `addresses` are claimed from `now` on; without settings they are ours, and have been announced by somebody else.
    pub(crate) fn new(
        now: Instant,
        settings: Option<Dad>,
        key: [u8; 16],
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Self {
        let mut all = Self {
            settings: settings.unwrap_or_default(),
            key,
            claims: Vec::new(),
            unsettled: 0,
            next: None,
            latest: None,
        };
        let phase = match settings {
            None => Phase::Ours(0),
            Some(Dad { probes: 0, .. }) => Phase::Ours(ANNOUNCE_NUM),
            Some(Dad { probes, .. }) => Phase::Probing(probes),
        };
        for ip in addresses {
            let wait = match phase {
                Phase::Probing(_) => all.random(ip, phase, Duration::ZERO, all.settings.probe_wait),
                _ => Duration::ZERO,
            };
            let due = settings.map(|_| now + wait);
            all.claims.push(Claim { ip, phase, due, defended: None });
        }
        all.look();
        all.unsettled = if matches!(phase, Phase::Probing(_)) { all.claims.len() } else { 0 };
        all
    }

    /// Uniformly distributed over `min` to `max`; the same for the same key, address and phase.
    fn random(&self, ip: IpAddr, phase: Phase, min: Duration, max: Duration) -> Duration {
        let left = if let Phase::Probing(left) = phase { left } else { 0 };
        let mut hasher = SipHasher13::new_with_key(&self.key);
        ("duplicate address detection", ip, left).hash(&mut hasher);
        let span = max.as_millis().saturating_sub(min.as_millis());
        min + Duration::from_millis(hasher.finish() % (span + 1))
    }

    /// Whether `ip`, an address of the shard's, may be used.
    pub(crate) fn usable(&self, ip: IpAddr) -> bool {
        self.unsettled == 0 || !self.claims.iter().any(|c| c.ip == ip && !matches!(c.phase, Phase::Ours(_)))
    }

    /// Whether an address is still asked about.
    pub(crate) fn tentative(&self) -> bool {
        self.claims.iter().any(|c| matches!(c.phase, Phase::Probing(_)))
    }

    /// An address that another station has.
    pub(crate) fn duplicate(&self) -> Option<Conflict> {
        self.claims.iter().find_map(|c| match c.phase {
            Phase::Duplicate(mac) => Some(Conflict { ip: c.ip, mac }),
            _ => None,
        })
    }

    /// The latest conflict about an address that is ours, once.
    pub(crate) const fn take_conflict(&mut self) -> Option<Conflict> {
        self.latest.take()
    }

    /// When [`due`](Self::due) has something.
    pub(crate) const fn next_due(&self) -> Option<Instant> {
        self.next
    }

    fn look(&mut self) {
        self.next = self.claims.iter().filter_map(|c| c.due).min();
    }

    /// The next thing to send at `now`; to be called until there is none.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Act> {
        let at = self.claims.iter().position(|c| c.due.is_some_and(|at| at <= now))?;
        let Claim { ip, phase, .. } = self.claims[at];
        let (act, phase, pause) = match phase {
            Phase::Probing(left @ 1..) => {
                let pause = match (ip, left) {
                    (IpAddr::V6(_), _) => RETRANS_TIMER,
                    (_, 1) => self.settings.announce_wait,
                    _ => self.random(ip, phase, self.settings.probe_min, self.settings.probe_max),
                };
                (Act::Probe(ip), Phase::Probing(left - 1), Some(pause))
            }
            // Nobody has answered the last (RFC 5227 section 2.1.1, RFC 4862 section 5.4).
            Phase::Probing(0) => {
                self.unsettled -= 1;
                (Act::Announce(ip), Phase::Ours(ANNOUNCE_NUM - 1), Some(ANNOUNCE_INTERVAL))
            }
            Phase::Ours(left) => {
                let left = left.saturating_sub(1);
                (Act::Announce(ip), Phase::Ours(left), (left > 0).then_some(ANNOUNCE_INTERVAL))
            }
            Phase::Duplicate(_) => return None,
        };
        self.claims[at].phase = phase;
        self.claims[at].due = pause.map(|pause| now + pause);
        self.look();
        Some(act)
    }

    /// What is ours is announced again: others may have an old MAC address for it, or have forgotten it.
    pub(crate) fn again(&mut self, now: Instant) {
        for claim in self.claims.iter_mut().filter(|c| matches!(c.phase, Phase::Ours(_))) {
            (claim.phase, claim.due) = (Phase::Ours(ANNOUNCE_NUM), Some(now));
        }
        self.look();
    }

    /// The station `mac`, which is not ours, was heard to do something with `ip`.
    pub(crate) fn heard(&mut self, now: Instant, ip: IpAddr, mac: MacAddr, evidence: Evidence) -> Meaning {
        let Some(claim) = self.claims.iter_mut().find(|c| c.ip == ip) else { return Meaning::Nothing };
        match (claim.phase, evidence) {
            // Even who only asks as we do: neither may have it (RFC 5227 section 2.1.1, RFC 4862 section 5.4.3).
            (Phase::Probing(_), _) => {
                claim.phase = Phase::Duplicate(mac);
                claim.due = None;
                self.look();
                Meaning::Conflict
            }
            // It is told by the answer to its question.
            (Phase::Ours(_), Evidence::Probes) | (Phase::Duplicate(_), _) => Meaning::Nothing,
            (Phase::Ours(_), Evidence::Claims) => {
                self.latest = Some(Conflict { ip, mac });
                if claim.defended.is_some_and(|at| now - at < DEFEND_INTERVAL) {
                    return Meaning::Conflict;
                }
                claim.defended = Some(now);
                Meaning::Defend
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn four() -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }

    fn six() -> IpAddr {
        IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, 1])
    }

    fn claims(settings: impl Into<Option<Dad>>, seed: u8, ip: IpAddr) -> Claims {
        Claims::new(Instant::ZERO, settings.into(), [seed; 16], [ip].into_iter())
    }

    /// What is done, and when, in milliseconds.
    fn course(claims: &mut Claims) -> Vec<(u64, Act)> {
        let mut all = vec![];
        while let Some(now) = claims.next_due() {
            while let Some(act) = claims.due(now) {
                all.push(((now - Instant::ZERO).as_millis(), act));
            }
            assert!(all.len() < 100, "endless");
        }
        all
    }

    /// RFC 5227 sections 1.1, 2.1.1 and 2.3: PROBE_NUM 3 after 0 to 1 s, 1 to 2 s apart, ANNOUNCE_WAIT 2 s, ANNOUNCE_NUM 2,
    /// 2 s apart; the random times are not always the same.
    #[test]
    fn ipv4_is_probed_for_as_rfc_5227_says() {
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut claims = claims(Dad::RFC_5227, seed, four());
            let course = course(&mut claims);
            let (times, acts): (Vec<_>, Vec<_>) = course.into_iter().unzip();
            assert_eq!(acts, [[Act::Probe(four()); 3].as_slice(), &[Act::Announce(four()); 2]].concat());
            assert!(times[0] <= 1000, "{times:?}");
            assert!((1..3).all(|i| (1000..=2000).contains(&(times[i] - times[i - 1]))), "{times:?}");
            assert_eq!((times[3] - times[2], times[4] - times[3]), (2000, 2000));
            firsts.insert((times[0], times[1] - times[0], times[2] - times[1]));
        }
        assert!(firsts.len() > 40, "{firsts:?}");
    }

    /// RFC 4862 section 5.4, RFC 4861 section 10: DupAddrDetectTransmits solicitations, RetransTimer (1 s) apart and after
    /// the last; the default of both families is one, and a second.
    #[test]
    fn ipv6_is_solicited_for_as_rfc_4862_says() {
        let settings = Dad { probes: 3, ..Dad::default() };
        let (probe, announce) = (Act::Probe(six()), Act::Announce(six()));
        let expected = [(0, probe), (1000, probe), (2000, probe), (3000, announce), (5000, announce)];
        assert_eq!(course(&mut claims(settings, 1, six())), expected);
        for ip in [four(), six()] {
            let expected = [(0, Act::Probe(ip)), (1000, Act::Announce(ip)), (3000, Act::Announce(ip))];
            assert_eq!(course(&mut claims(Dad::default(), 1, ip)), expected);
        }
        let announced = [(0, announce), (2000, announce)];
        assert_eq!(course(&mut claims(Dad { probes: 0, ..Dad::default() }, 1, six())), announced);
        assert_eq!(course(&mut claims(None, 1, six())), []);
    }

    /// RFC 5227 section 2.1.1, RFC 4862 section 5.4.5: an address is used from the end of the wait on, and never if anybody
    /// has it, or asks for it as we do.
    #[test]
    fn an_address_that_somebody_has_or_asks_for_is_never_used() {
        for (ip, evidence) in [(four(), Evidence::Claims), (six(), Evidence::Probes)] {
            let mut all = claims(Dad::default(), 1, ip);
            assert!(all.tentative() && !all.usable(ip));
            assert_eq!(all.due(Instant::ZERO), Some(Act::Probe(ip)));
            let late = Instant::ZERO + Duration::from_millis(999);
            assert_eq!(all.due(late), None);
            assert_eq!(all.heard(late, ip, MAC, evidence), Meaning::Conflict);
            assert_eq!(all.duplicate(), Some(Conflict { ip, mac: MAC }));
            assert_eq!(course(&mut all), []);
            assert!(!all.usable(ip) && !all.tentative());
            // It has been said.
            assert_eq!(all.heard(late, ip, MAC, Evidence::Claims), Meaning::Nothing);

            let mut all = claims(Dad::default(), 1, ip);
            course(&mut all);
            assert!(!all.tentative() && all.usable(ip) && all.duplicate().is_none());
        }
    }

    /// RFC 5227 section 2.4 (c): one announcement in DEFEND_INTERVAL (10 s), however many conflicts there are; the address is
    /// kept.
    #[test]
    fn what_is_ours_is_defended_once_in_ten_seconds() {
        let mut all = claims(Dad::default(), 1, four());
        course(&mut all);
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        assert_eq!(all.heard(at(5000), four(), MAC, Evidence::Probes), Meaning::Nothing);
        assert_eq!(all.take_conflict(), None);
        assert_eq!(all.heard(at(5000), four(), MAC, Evidence::Claims), Meaning::Defend);
        for ms in (6000..15_000).step_by(500) {
            assert_eq!(all.heard(at(ms), four(), MAC, Evidence::Claims), Meaning::Conflict);
        }
        assert_eq!(all.heard(at(15_000), four(), MAC, Evidence::Claims), Meaning::Defend);
        assert!(all.usable(four()) && all.duplicate().is_none());
        assert_eq!(all.take_conflict(), Some(Conflict { ip: four(), mac: MAC }));
        assert_eq!(all.take_conflict(), None);
        assert_eq!(all.heard(at(15_000), six(), MAC, Evidence::Claims), Meaning::Nothing, "not an address of ours");
    }
}
