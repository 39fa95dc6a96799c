//! Options of a stream, from its user to its shard: without a lock.

use crate::{Duration, Keepalive, Profile};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The user's: the shard has not seen it yet.
const CHANGED: u64 = 1 << 63;
/// Bits of a time in seconds: the kernel's limit is 32,767 (`MAX_TCP_KEEPIDLE`).
const SECONDS: u32 = 15;

/// What is set, for the shard to look at when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Milliseconds; 0: none.
    user_timeout: AtomicU64,
    /// Probes, interval and idle time; 0: none.
    keepalive: AtomicU64,
    /// Its place in [`PROFILES`].
    profile: AtomicU64,
}

const PROFILES: [Profile; 3] = [Profile::Balanced, Profile::Latency, Profile::Throughput];

impl Options {
    pub(crate) fn set_user_timeout(&self, time: Option<Duration>) {
        self.user_timeout.store(time.map_or(0, |time| time.as_millis().min(CHANGED - 1)) | CHANGED, Ordering::Release);
    }

    /// The user's, if the shard hasn't seen it yet.
    pub(crate) fn user_timeout(&self) -> Option<Option<Duration>> {
        changed(&self.user_timeout).map(|ms| (ms > 0).then(|| Duration::from_millis(ms)))
    }

    pub(crate) fn set_profile(&self, profile: Profile) {
        let place = PROFILES.iter().position(|p| *p == profile).unwrap_or(0);
        self.profile.store(place as u64 | CHANGED, Ordering::Release);
    }

    /// As [`user_timeout`](Self::user_timeout).
    pub(crate) fn profile(&self) -> Option<Profile> {
        changed(&self.profile).and_then(|place| PROFILES.get(usize::try_from(place).ok()?).copied())
    }

    pub(crate) fn set_keepalive(&self, settings: Option<WholeKeepalive>) {
        let packed = settings.map_or(0, |WholeKeepalive { idle, interval, probes }| {
            u64::from(probes) << (2 * SECONDS) | interval << SECONDS | idle
        });
        self.keepalive.store(packed | CHANGED, Ordering::Release);
    }

    /// As [`user_timeout`](Self::user_timeout).
    pub(crate) fn keepalive(&self) -> Option<Option<Keepalive>> {
        let seconds = |packed: u64| Duration::from_secs(packed & ((1 << SECONDS) - 1));
        changed(&self.keepalive).map(|packed| {
            let probes = u8::try_from(packed >> (2 * SECONDS)).unwrap_or(u8::MAX);
            (packed > 0).then(|| Keepalive { idle: seconds(packed), interval: seconds(packed >> SECONDS), probes })
        })
    }
}

fn changed(option: &AtomicU64) -> Option<u64> {
    let value = option.fetch_and(!CHANGED, Ordering::AcqRel);
    (value & CHANGED != 0).then_some(value & !CHANGED)
}

/// A user timeout that sockets take: the kernel's are whole milliseconds.
pub(crate) fn check_user_timeout(time: Option<std::time::Duration>) -> io::Result<Option<Duration>> {
    let most = std::time::Duration::from_millis(i32::MAX.unsigned_abs().into());
    match time {
        Some(time) if !(std::time::Duration::from_millis(1)..=most).contains(&time) => {
            Err(refused("user_timeout", time, "1 ms to 2147483647 ms (24 days)"))
        }
        time => Ok(time.map(|time| Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))),
    }
}

/// Keep-alives by whole seconds, as the kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WholeKeepalive {
    pub(crate) idle: u64,
    pub(crate) interval: u64,
    pub(crate) probes: u8,
}

impl WholeKeepalive {
    /// What the kernel takes too: 1 to 32,767 seconds, 1 to 127 probes.
    pub(crate) fn of(settings: Keepalive) -> io::Result<Self> {
        let whole = |field, time: Duration| {
            let seconds = time.as_millis().div_ceil(1000);
            let ok = (1..1 << SECONDS).contains(&seconds).then_some(seconds);
            ok.ok_or_else(|| refused(field, std::time::Duration::from(time), "1 to 32767 s"))
        };
        let (idle, interval) =
            (whole("keepalive.idle", settings.idle)?, whole("keepalive.interval", settings.interval)?);
        match settings.probes {
            probes @ 1..=127 => Ok(Self { idle, interval, probes }),
            probes => Err(refused("keepalive.probes", probes, "1 to 127")),
        }
    }
}

/// Sets them, or none, of a socket of the kernel's.
pub(crate) fn set_kernels_keepalive(socket: &SockRef<'_>, settings: Option<WholeKeepalive>) -> io::Result<()> {
    let Some(WholeKeepalive { idle, interval, probes }) = settings else { return socket.set_keepalive(false) };
    let (idle, interval) = (std::time::Duration::from_secs(idle), std::time::Duration::from_secs(interval));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes.into()))
}

fn refused(field: &str, value: impl std::fmt::Debug, allowed: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{field} is {value:?}, allowed is {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keepalive(idle: u64, interval: u64, probes: u8) -> Keepalive {
        Keepalive { idle: Duration::from_millis(idle), interval: Duration::from_millis(interval), probes }
    }

    #[test]
    fn the_shard_is_told_once_what_was_set() {
        let options = Options::default();
        assert_eq!((options.user_timeout(), options.keepalive()), (None, None));
        options.set_user_timeout(Some(Duration::from_millis(1500)));
        assert_eq!((options.user_timeout(), options.user_timeout()), (Some(Some(Duration::from_millis(1500))), None));
        options.set_user_timeout(None);
        assert_eq!(options.user_timeout(), Some(None));
        for (idle, interval, probes) in [(1000, 2000, 3), (32_767_000, 32_767_000, 127), (1000, 1000, 1)] {
            let set = keepalive(idle, interval, probes);
            options.set_keepalive(Some(WholeKeepalive::of(set).unwrap()));
            assert_eq!((options.keepalive(), options.keepalive()), (Some(Some(set)), None));
        }
        options.set_keepalive(None);
        assert_eq!(options.keepalive(), Some(None));
        assert_eq!(options.profile(), None);
        for profile in PROFILES {
            options.set_profile(profile);
            assert_eq!((options.profile(), options.profile()), (Some(profile), None));
        }
    }

    /// include/net/tcp.h of Linux: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT.
    #[test]
    fn what_the_kernel_would_not_take_is_refused_by_its_name() {
        assert_eq!(
            WholeKeepalive::of(keepalive(1, 1001, 2)).unwrap(),
            WholeKeepalive { idle: 1, interval: 2, probes: 2 }
        );
        for (settings, says) in [
            (keepalive(0, 1000, 2), "keepalive.idle is 0ns, allowed is 1 to 32767 s"),
            (keepalive(1000, 32_767_001, 2), "keepalive.interval is 32767.001s, allowed is 1 to 32767 s"),
            (keepalive(1000, 1000, 0), "keepalive.probes is 0, allowed is 1 to 127"),
            (keepalive(1000, 1000, 128), "keepalive.probes is 128, allowed is 1 to 127"),
        ] {
            assert_eq!(WholeKeepalive::of(settings).unwrap_err().to_string(), says);
        }
        let error = check_user_timeout(Some(std::time::Duration::ZERO)).unwrap_err();
        assert_eq!(error.to_string(), "user_timeout is 0ns, allowed is 1 ms to 2147483647 ms (24 days)");
        assert_eq!(check_user_timeout(None).unwrap(), None);
    }
}
