//! The timestamps option, and PAWS: RFC 7323 sections 3 to 5.

use crate::stamp::Stamp;
use wheel::{Duration, Instant};
use wire::{SeqNum, tcp::Timestamps};

/// RFC 7323 section 5.5: a remembered timestamp is no longer trusted when the connection was idle for so long.
const OUTDATED: Duration = Duration::from_secs(24 * 86_400);

/// Our timestamp clock at `now`: milliseconds, and the connection's offset, so that it tells nobody our uptime (RFC 7323
/// section 5.4).
#[allow(clippy::cast_possible_truncation)] // the clock is taken modulo 2^32
pub(crate) const fn clock(now: Instant, offset: u32) -> u32 {
    offset.wrapping_add((now.as_nanos() / 1_000_000) as u32)
}

/// `a` < `b` modulo 2^32.
pub(crate) const fn older(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) >= 1 << 31
}

/// The timestamps of a connection: ours, and, once both SYNs carried the option, the peer's.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    offset: u32,
    peer: Option<Peer>,
}

#[derive(Debug, Clone)]
struct Peer {
    /// TS.Recent, and when it was set.
    recent: u32,
    recent_at: Instant,
    /// Last.ACK.sent.
    last_ack_sent: SeqNum,
}

impl Clock {
    pub(crate) const fn new(offset: u32) -> Self {
        Self { offset, peer: None }
    }

    /// The peer's SYN carried `recent`, and so do all segments from now on.
    pub(crate) fn negotiated(&mut self, now: Instant, recent: Option<u32>) {
        self.peer = recent.map(|recent| Peer { recent, recent_at: now, last_ack_sent: SeqNum::default() });
    }

    /// For our SYN: there is nothing to echo yet.
    pub(crate) const fn offer(&self, now: Instant) -> Timestamps {
        Timestamps { val: clock(now, self.offset), ecr: 0 }
    }

    /// What a segment that acknowledges `ack` carries.
    pub(crate) fn stamp(&mut self, now: Instant, ack: SeqNum) -> Option<Timestamps> {
        let peer = self.peer.as_mut()?;
        peer.last_ack_sent = ack;
        Some(Timestamps { val: clock(now, self.offset), ecr: peer.recent })
    }

    /// Whether the option is in use.
    pub(crate) const fn is_on(&self) -> bool {
        self.peer.is_some()
    }

    /// PAWS test R1 (section 5.3): whether a segment with this TSval may be new. Not asked for a RST.
    pub(crate) fn acceptable(&self, now: Instant, val: u32) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer.may_be_new(now, val))
    }

    /// A segment with this option is as it should be: its timestamp is there if it must be, and no older than the latest.
    pub(crate) fn expects(&self, timestamps: Option<Timestamps>) -> bool {
        self.peer.as_ref().is_none_or(|peer| timestamps.is_some_and(|t| !older(t.val, peer.recent)))
    }

    /// Section 4.3: an acceptable segment that begins at or before the last ACK sent brings the timestamp to echo.
    pub(crate) fn update(&mut self, now: Instant, seq: SeqNum, val: u32) {
        let Some(peer) = &mut self.peer else { return };
        if seq.before_eq(peer.last_ack_sent) && peer.may_be_new(now, val) {
            peer.recent = val;
            peer.recent_at = now;
        }
    }

    /// How many milliseconds ago we sent the timestamp that a segment echoes (RFC 7323 section 4).
    pub(crate) fn age(&self, now: Instant, ecr: u32) -> Option<u32> {
        let age = clock(now, self.offset).wrapping_sub(ecr);
        (self.is_on() && age < 1 << 31).then_some(age)
    }

    /// TS.Recent: what TIME-WAIT must remember (RFC 6191).
    pub(crate) fn recent(&self) -> Option<u32> {
        self.peer.as_ref().map(|peer| peer.recent)
    }
}

/// The timestamps of a connection at rest: as many bytes as they take.
#[derive(Debug)]
pub(crate) struct Resting {
    offset: u32,
    recent: u32,
    last_ack_sent: SeqNum,
    recent_at: Stamp,
}

impl Clock {
    pub(crate) fn rest(&self) -> Resting {
        let Self { offset, ref peer } = *self;
        let (recent, last_ack_sent) = peer.as_ref().map(|p| (p.recent, p.last_ack_sent)).unwrap_or_default();
        let recent_at = peer.as_ref().map_or(Instant::ZERO, |p| p.recent_at);
        Resting { offset, recent, last_ack_sent, recent_at: Stamp::of(recent_at) }
    }
}

impl Resting {
    pub(crate) const fn touch(&self) -> u32 {
        self.recent
    }

    pub(crate) fn wake(self, is_on: bool) -> Clock {
        let Self { offset, recent, last_ack_sent, recent_at } = self;
        let recent_at = recent_at.instant();
        Clock { offset, peer: is_on.then_some(Peer { recent, recent_at, last_ack_sent }) }
    }
}

impl Peer {
    fn may_be_new(&self, now: Instant, val: u32) -> bool {
        !older(val, self.recent) || now - self.recent_at > OUTDATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn with(offset: u32, recent: u32, now: Instant) -> Clock {
        let mut clock = Clock::new(offset);
        clock.negotiated(now, Some(recent));
        clock
    }

    /// RFC7323-5.3-a.
    #[test]
    fn an_older_timestamp_is_refused_across_the_wrap() {
        let clock = with(0, 5, at(1));
        assert!(clock.acceptable(at(2), 5));
        assert!(clock.acceptable(at(2), 6));
        assert!(!clock.acceptable(at(2), 4));
        assert!(!clock.acceptable(at(2), u32::MAX));
    }

    /// RFC7323-5.5-a.
    #[test]
    fn after_24_idle_days_anything_is_believed() {
        let clock = with(0, 5, at(0));
        assert!(!clock.acceptable(at(24 * 86_400), 4));
        assert!(clock.acceptable(at(24 * 86_400 + 1), 4));
    }

    /// RFC7323-4.3-a.
    #[test]
    fn only_a_segment_at_the_left_edge_is_echoed() {
        let mut clock = with(0, 5, at(0));
        clock.stamp(at(0), SeqNum::new(100));
        clock.update(at(1), SeqNum::new(101), 9);
        assert_eq!(clock.recent(), Some(5));
        clock.update(at(1), SeqNum::new(100), 9);
        assert_eq!(clock.recent(), Some(9));
        clock.update(at(1), SeqNum::new(100), 8);
        assert_eq!(clock.recent(), Some(9));
    }

    /// RFC7323-7-a: a millisecond clock from an offset that it is given (`isn` has that one).
    #[test]
    fn the_clock_ticks_in_milliseconds_from_its_offset() {
        let mut clock = with(7, 5, at(0));
        assert_eq!(clock.stamp(at(2), SeqNum::new(1)), Some(Timestamps { val: 2007, ecr: 5 }));
    }
}
