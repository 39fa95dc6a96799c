//! How much the application may queue: what the congestion window can use, as Linux's tcp_sndbuf_expand, and no more, so that
//! what it queues on a slow path is not old before it leaves.

use crate::profile::Profile;

/// Bytes a connection may hold unsent or unacknowledged: two windows, one in flight and one to follow, and what the peer holds
/// out of order beside that, which is queued here but not in flight. At least `start`, at most `most`.
pub(super) fn limit(cwnd: u32, sacked: u32, start: u32, most: u32) -> u32 {
    cwnd.saturating_mul(2).saturating_add(sacked).max(start).min(most)
}

/// What a connection may hold from the start: of one that is for throughput four times as much, so that an application that
/// has much to send is called the less often.
pub(super) const fn start(profile: Profile, start: u32) -> u32 {
    match profile {
        Profile::Throughput => start.saturating_mul(4),
        Profile::Balanced | Profile::Latency => start,
    }
}

/// Whether an application that waits for room should be told: a third is free (as Linux).
pub(super) const fn is_writable(queued: u32, limit: u32) -> bool {
    queued <= limit / 3 * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_windows_between_the_bounds() {
        assert_eq!(limit(0, 0, 16_000, 1 << 20), 16_000);
        assert_eq!(limit(14_600, 0, 16_000, 1 << 20), 29_200);
        // A hole in front does not stop what comes behind.
        assert_eq!(limit(14_600, 10_000, 16_000, 1 << 20), 39_200);
        assert_eq!(limit(1 << 30, 1 << 30, 16_000, 1 << 20), 1 << 20);
        assert_eq!(limit(u32::MAX, u32::MAX, 0, u32::MAX), u32::MAX);
        // A start above the most is no start.
        assert_eq!(limit(0, 0, 1 << 20, 4096), 4096);
    }

    #[test]
    fn for_throughput_four_times_as_much_from_the_start() {
        assert_eq!(start(Profile::Throughput, 16_000), 64_000);
        assert_eq!([Profile::Balanced, Profile::Latency].map(|p| start(p, 16_000)), [16_000; 2]);
        assert_eq!(limit(0, 0, start(Profile::Throughput, u32::MAX), 1 << 20), 1 << 20);
    }

    /// When room is told of there is still a window to send, less what was acknowledged meanwhile: with two windows queued and
    /// one in flight, a third of a window.
    #[test]
    fn a_third_is_free() {
        assert!(is_writable(20_000, 30_000));
        assert!(!is_writable(20_001, 30_000));
        assert!(is_writable(0, 0));
    }
}
