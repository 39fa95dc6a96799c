//! TIME-WAIT records: not connections, but 38 bytes each, 12 in the wheel and 12 at most in the table, with a limit.

use crate::flow::{CompactKey, FlowKey};
use alloc::vec::Vec;
use core::net::IpAddr;
use tcp::TimeWait;
use wheel::{Duration, Instant, Near, Wheel};
use wire::SeqNum;

/// The least time between two ACKs that TIME-WAIT sends to old segments: half a second, what Linux calls the out-of-window rate
/// limit. Counted in steps of 2^24 ns (16.8 ms), of which more than 30 lie between; modulo 2^16 they last for 18 minutes.
const ACK_INTERVAL: u16 = 31;
const NONE: u32 = u32::MAX;

/// A connection in TIME-WAIT. Our address is kept by its place among the shard's own, and its deadline is a [`Near`] one: that is what
/// brings a record to 64 bytes all told.
#[derive(Debug, Clone, Copy)]
struct Packed {
    key: CompactKey,
    /// 2MSL, in seconds: 1 to 240.
    secs: u8,
    stamped: bool,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    /// Of a slot that is free, the next one that is.
    recent: u32,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) key: FlowKey,
    pub(crate) time_wait: TimeWait,
    /// 2MSL, 1 s to 4 minutes; a fraction of a second counts as a whole one.
    pub(crate) lasts: Duration,
}

#[derive(Debug)]
pub(crate) struct TimeWaits {
    /// Our addresses, as the shard's configuration has them.
    local: Vec<IpAddr>,
    /// Slots in use have a nonzero `secs`.
    records: Vec<Packed>,
    /// When the last ACK was sent, by slot.
    acked: Vec<u16>,
    /// The first free slot.
    free: u32,
    wheel: Wheel<Near>,
    limit: u32,
}

impl TimeWaits {
    pub(crate) fn new(now: Instant, limit: u32, local: Vec<IpAddr>) -> Self {
        Self { local, records: Vec::new(), acked: Vec::new(), free: NONE, wheel: Wheel::near(now), limit }
    }

    /// Keeps a record until `until`; `None` when the limit is reached.
    pub(crate) fn add(&mut self, now: Instant, record: Record, until: Instant) -> Option<u32> {
        let packed = self.pack(record)?;
        // The ACK of the FIN is on its way; that of a FIN that comes again is always sent.
        let acked = steps(now).wrapping_sub(ACK_INTERVAL);
        let slot = if let Some(place) = self.records.get_mut(self.free as usize) {
            let slot = core::mem::replace(&mut self.free, place.recent);
            *place = packed;
            self.acked[slot as usize] = acked;
            slot
        } else if self.records.len() < self.limit as usize {
            self.records.push(packed);
            self.acked.push(acked);
            u32::try_from(self.records.len() - 1).ok()?
        } else {
            return None;
        };
        if self.wheel.is_empty() {
            // Its time stands still while nobody polls it.
            self.wheel.poll(now);
        }
        self.wheel.start(slot, until);
        Some(slot)
    }

    fn pack(&self, record: Record) -> Option<Packed> {
        let Record { key, time_wait, lasts } = record;
        Some(Packed {
            key: CompactKey::of(&key, &self.local)?,
            secs: u8::try_from(lasts.as_millis().div_ceil(1000)).unwrap_or(u8::MAX).max(1),
            stamped: time_wait.timestamps.is_some(),
            snd_nxt: time_wait.snd_nxt,
            rcv_nxt: time_wait.rcv_nxt,
            recent: time_wait.timestamps.unwrap_or_default(),
        })
    }

    fn packed(&self, slot: u32) -> Option<&Packed> {
        self.records.get(slot as usize).filter(|p| p.secs != 0)
    }

    /// Whether a slot's record is the connection's with this key.
    pub(crate) fn is(&self, slot: u32, key: &FlowKey) -> bool {
        self.get(slot).is_some_and(|record| record.key == *key)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<Record> {
        let p = self.packed(slot)?;
        let key = p.key.key(&self.local)?;
        let timestamps = p.stamped.then_some(p.recent);
        let time_wait = TimeWait { snd_nxt: p.snd_nxt, rcv_nxt: p.rcv_nxt, timestamps };
        Some(Record { key, time_wait, lasts: Duration::from_secs(p.secs.into()) })
    }

    /// From when on an active open may take the connection's place: its timestamps will be later than the old one's, whose last
    /// segments PAWS then refuses. So the clock must have moved: a second, as Linux has it. `None`: not at all.
    pub(crate) fn reusable_from(&self, slot: u32) -> Option<Instant> {
        let began = self.until(slot)? - Duration::from_secs(self.packed(slot).filter(|p| p.stamped)?.secs.into());
        Some(began + Duration::from_secs(1))
    }

    /// When the record's 2MSL end.
    pub(crate) fn until(&self, slot: u32) -> Option<Instant> {
        self.wheel.deadline(slot)
    }

    /// The peer's FIN came again: 2MSL begin again, and its timestamp is the one to echo.
    pub(crate) fn restart(&mut self, now: Instant, slot: u32, recent: Option<u32>) {
        let Some(p) = self.records.get_mut(slot as usize).filter(|p| p.secs != 0) else { return };
        p.recent = recent.unwrap_or(p.recent);
        let until = now + Duration::from_secs(p.secs.into());
        self.wheel.start(slot, until);
    }

    /// Whether an old segment is answered: not more than twice a second, so that two ends can't keep each other busy.
    pub(crate) fn may_acknowledge(&mut self, now: Instant, slot: u32) -> bool {
        let Some(acked) = self.acked.get_mut(slot as usize) else { return false };
        let may = steps(now).wrapping_sub(*acked) >= ACK_INTERVAL;
        if may {
            *acked = steps(now);
        }
        may
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Record> {
        let record = self.take(slot)?;
        self.wheel.stop(slot);
        Some(record)
    }

    /// What has no timer any more.
    fn take(&mut self, slot: u32) -> Option<Record> {
        let record = self.get(slot)?;
        let place = &mut self.records[slot as usize];
        (place.secs, place.recent) = (0, self.free);
        self.free = slot;
        Some(record)
    }

    /// The next record whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(u32, Record)> {
        loop {
            let slot = self.wheel.poll(now)?;
            if let Some(record) = self.take(slot) {
                return Some((slot, record));
            }
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.wheel.next_wakeup()
    }

    pub(crate) fn len(&self) -> usize {
        self.wheel.len()
    }

    /// Slots there may be: for listing.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }
}

#[allow(clippy::cast_possible_truncation)] // modulo 2^16
const fn steps(now: Instant) -> u16 {
    (now.as_nanos() >> 24) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv6Addr, SocketAddr};

    const LOCAL: [IpAddr; 2] =
        [IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1))];

    fn record(local: usize, remote: &str, timestamps: Option<u32>) -> Record {
        let key = FlowKey::new(SocketAddr::new(LOCAL[local], 80), remote.parse().expect("an address"));
        let time_wait = TimeWait { snd_nxt: SeqNum::new(5), rcv_nxt: SeqNum::new(6), timestamps };
        Record { key, time_wait, lasts: Duration::from_secs(60) }
    }

    /// Issue: at most 64 bytes. The record, its last ACK, its timer in the wheel (8 bytes, and 4.6 for its key), and its bucket in the
    /// table when that has just grown.
    #[test]
    fn a_record_is_small() {
        assert_eq!(size_of::<Packed>() + size_of::<u16>() + 13 + 12, 63);
    }

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let mut all = TimeWaits::new(Instant::ZERO, 10, LOCAL.to_vec());
        for r in
            [record(0, "10.0.0.2:9", None), record(1, "[fd77::2]:65535", Some(0)), record(0, "10.9.9.9:1", Some(7))]
        {
            let slot = all.add(Instant::ZERO, r, Instant::ZERO + r.lasts).expect("room");
            let back = all.get(slot).expect("there");
            assert_eq!((back.key, back.time_wait, back.lasts), (r.key, r.time_wait, r.lasts));
            assert!(all.is(slot, &r.key));
        }
        let end = Instant::ZERO + Duration::from_secs(61);
        assert_eq!(core::iter::from_fn(|| all.expire(end)).count(), 3);
        assert_eq!((all.len(), all.get(0).is_none()), (0, true));
    }

    /// Whatever comes and goes, no slot is used twice and none is lost; a record that is not polled for years lasts as long.
    #[test]
    fn slots_that_are_free_are_used_again() {
        let mut all = TimeWaits::new(Instant::ZERO, 4, LOCAL.to_vec());
        let mut now = Instant::ZERO + Duration::from_secs(1 << 30);
        for round in 0..100_u32 {
            let slots: Vec<_> = (0..5)
                .map(|n| {
                    all.add(now, record(0, &std::format!("10.0.0.2:{}", n + 1), None), now + Duration::from_secs(60))
                })
                .collect();
            assert_eq!((all.len(), all.slots(), slots[4]), (4, 4, None));
            let mut taken: Vec<_> = slots[..4].iter().flatten().copied().collect();
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2, 3]);
            for n in [round % 4, (round + 1 + round % 3) % 4] {
                assert!(all.remove(n).is_some() && all.remove(n).is_none() && all.until(n).is_none());
            }
            now += Duration::from_millis(59_999);
            assert!(all.expire(now).is_none());
            now += Duration::from_millis(2);
            assert_eq!(core::iter::from_fn(|| all.expire(now)).count(), 2);
        }
    }

    #[test]
    fn old_segments_are_answered_twice_a_second() {
        let mut all = TimeWaits::new(Instant::ZERO, 10, LOCAL.to_vec());
        let slot = all.add(Instant::ZERO, record(0, "10.0.0.2:9", None), Instant::ZERO).expect("room");
        let answers = (0..2000).filter(|ms| all.may_acknowledge(Instant::ZERO + Duration::from_millis(*ms), slot));
        assert_eq!(answers.count(), 4);
    }
}
