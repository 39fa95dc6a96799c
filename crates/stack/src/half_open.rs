//! SYN-RECEIVED of passive opens: not connections, but 125 bytes each, all told, with a limit.

use crate::{flow::FlowKey, listen::ListenerId, time_wait};
use alloc::{boxed::Box, vec::Vec};
use tcp::HalfOpen;
use wheel::{Instant, Near, Wheel};
use wire::MacAddr;

/// A passive open, and where its SYN came from: the SYN-ACK returns to that station. So a SYN that nobody sent costs no
/// look-up of a neighbour, and no memory but this.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: FlowKey,
    pub(crate) half: HalfOpen,
    pub(crate) listener: ListenerId,
    pub(crate) mac: MacAddr,
    /// [`NO_VLAN`], or the tag.
    vlan: u16,
    /// The incarnation in TIME-WAIT that this one took the place of.
    pub(crate) old: Option<Box<(time_wait::Record, Instant)>>,
}

/// No tag: the identifier 4095 is reserved (IEEE 802.1Q).
pub(crate) const NO_VLAN: u16 = u16::MAX;

impl Record {
    pub(crate) fn new(
        key: FlowKey,
        half: HalfOpen,
        listener: ListenerId,
        (mac, vlan): (MacAddr, Option<u16>),
        old: Option<Box<(time_wait::Record, Instant)>>,
    ) -> Self {
        Self { key, half, listener, mac, vlan: vlan.unwrap_or(NO_VLAN), old }
    }

    pub(crate) fn vlan(&self) -> Option<u16> {
        (self.vlan != NO_VLAN).then_some(self.vlan)
    }
}

#[derive(Debug)]
pub(crate) struct HalfOpens {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    wheel: Wheel<Near>,
    limit: u32,
    /// Slots that were [looked at](Self::look_at).
    #[cfg(test)]
    looked: usize,
}

impl HalfOpens {
    pub(crate) fn new(now: Instant, limit: u32) -> Self {
        Self {
            records: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::near(now),
            limit,
            #[cfg(test)]
            looked: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// Keeps a record; `None` when the limit is reached.
    pub(crate) fn add(&mut self, now: Instant, record: Record, deadline: Instant) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.records.push(None);
                u32::try_from(self.records.len() - 1).ok()?
            }
        };
        self.records[slot as usize] = Some(record);
        if self.wheel.is_empty() {
            // Its time stands still while nobody polls it.
            self.wheel.poll(now);
        }
        self.wheel.start(slot, deadline);
        Some(slot)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Record> {
        self.records.get(slot as usize)?.as_ref()
    }

    /// As [`get`](Self::get), for who goes through all slots.
    pub(crate) fn look_at(&mut self, slot: u32) -> Option<&Record> {
        #[cfg(test)]
        {
            self.looked += 1;
        }
        self.get(slot)
    }

    #[cfg(test)]
    pub(crate) fn looked_at(&self) -> usize {
        self.looked
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Record> {
        self.records.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Record> {
        let record = self.records.get_mut(slot as usize)?.take()?;
        self.wheel.stop(slot);
        self.free.push(slot);
        Some(record)
    }

    /// The next record whose deadline has come.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<u32> {
        self.wheel.poll(now)
    }

    pub(crate) fn arm(&mut self, slot: u32, deadline: Instant) {
        self.wheel.start(slot, deadline);
    }

    pub(crate) fn deadline(&self, slot: u32) -> Option<Instant> {
        self.wheel.deadline(slot)
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.wheel.next_wakeup()
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// Slots there may be: for listing.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC4987-3.5-a: the record, its timer (13 bytes), its place in the table (12 when that has just grown) and in the list of
    /// free ones (4) take 128 bytes at most.
    #[test]
    fn a_record_is_small() {
        assert_eq!(size_of::<Option<Record>>(), size_of::<Record>());
        assert_eq!(size_of::<Record>() + 13 + 12 + 4, 125);
    }
}
