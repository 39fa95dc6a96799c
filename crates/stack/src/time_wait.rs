//! TIME-WAIT records: not connections, but 44 bytes each (and 16 in the wheel), with a limit.

use crate::flow::FlowKey;
use alloc::vec::Vec;
use tcp::TimeWait;
use wheel::{Instant, Wheel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) key: FlowKey,
    pub(crate) time_wait: TimeWait,
}

#[derive(Debug)]
pub(crate) struct TimeWaits {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    wheel: Wheel,
    limit: u32,
}

impl TimeWaits {
    pub(crate) fn new(now: Instant, limit: u32) -> Self {
        Self { records: Vec::new(), free: Vec::new(), wheel: Wheel::new(now), limit }
    }

    /// Keeps a record until `until`; `None` when the limit is reached.
    pub(crate) fn add(&mut self, record: Record, until: Instant) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.records.len() < self.limit as usize => {
                self.records.push(None);
                u32::try_from(self.records.len() - 1).ok()?
            }
            None => return None,
        };
        self.records[slot as usize] = Some(record);
        self.wheel.start(slot, until);
        Some(slot)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Record> {
        self.records.get(slot as usize)?.as_ref()
    }

    /// When the record's 2MSL end.
    pub(crate) fn until(&self, slot: u32) -> Option<Instant> {
        self.wheel.deadline(slot)
    }

    /// 2MSL begin again.
    pub(crate) fn restart(&mut self, slot: u32, until: Instant) {
        self.wheel.start(slot, until);
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Record> {
        let record = self.records.get_mut(slot as usize)?.take()?;
        self.wheel.stop(slot);
        self.free.push(slot);
        Some(record)
    }

    /// The next record whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(u32, Record)> {
        loop {
            let slot = self.wheel.poll(now)?;
            if let Some(record) = self.remove(slot) {
                return Some((slot, record));
            }
        }
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

    #[test]
    fn a_record_is_small() {
        assert_eq!(size_of::<Record>(), 44);
        assert_eq!(size_of::<Option<Record>>(), 48);
    }
}
