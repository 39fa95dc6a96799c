//! What a shard tells the [recorder](tcp::recorder) of its connections, and how that is read.

use super::{Env, Instant, Shard};
use crate::{
    causes::ResetCause,
    trace::{Named, key_records},
};
use alloc::vec::Vec;
use tcp::recorder::{Bookmark, Record, What};
use wire::SeqNum;

impl Shard {
    #[cold]
    fn note(&mut self, now: Instant, slot: u32, what: What, detail: u8, numbers: [u32; 4]) {
        if let Some(entry) = self.conns.awake_mut(slot) {
            self.pool.note(now, entry.conn.iss(), what, detail, numbers);
        }
    }

    /// A connection begins; a passive one whose SYN-ACK was sent so many times more.
    pub(super) fn note_opened(&mut self, now: Instant, slot: u32, passive: bool, mss: u16, again: u8) {
        self.note(now, slot, What::Opened, passive.into(), [mss.into(), again.into(), 0, 0]);
    }

    pub(super) fn note_reset(&mut self, now: Instant, slot: u32, cause: ResetCause) {
        self.note(now, slot, What::ResetSent, cause as u8, [0; 4]);
    }

    /// Its next hop is not known, or there is none.
    #[cold]
    pub(super) fn note_waits(&mut self, now: Instant, slot: u32) {
        let Some(key) = self.conns.key(slot) else { return };
        let routed = self.why(slot, &key) != Some(tcp::Why::Route);
        self.note(now, slot, What::Waits, u8::from(!routed), [0; 4]);
    }

    /// Data that came for it was dropped for want of memory.
    #[cold]
    pub(super) fn note_no_memory(&mut self, now: Instant, slot: u32, seq: SeqNum, len: usize) {
        if let Some(entry) = self.conns.awake_mut(slot) {
            let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            entry.conn.note_no_memory(&mut env, seq, len);
        }
    }

    /// Nothing will be left of it: what names it is in the last of its records. Of one that had anything unusual these are among those.
    pub(super) fn note_gone(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.conns.awake_mut(slot) else { return };
        let what = if entry.conn.was_usual() { What::Gone } else { What::GoneUnusual };
        let who = entry.conn.iss();
        for (part, numbers) in key_records(&entry.key) {
            self.pool.note(now, who, what, part, numbers);
        }
    }

    /// Adds up to `max` records of what happened to connections, and says where to go on; `None`: that was all.
    pub fn records(&self, from: Bookmark, max: usize, out: &mut Vec<Record>) -> Option<Bookmark> {
        self.pool.recorder().read(from, max, |record| out.push(*record))
    }

    /// How many are not there any more.
    #[must_use]
    pub fn records_overwritten(&self) -> u64 {
        self.pool.recorder().overwritten()
    }

    /// Adds those of up to `max` slots' connections whose ISS is wanted, and says where to go on; `None`: those were all.
    pub fn name(&self, from: u32, max: u32, wanted: &dyn Fn(SeqNum) -> bool, out: &mut Vec<Named>) -> Option<u32> {
        let end = from.saturating_add(max).min(self.conns.slots());
        out.extend((from..end).filter_map(|slot| {
            let who = self.conns.initial_numbers(slot).map(|(iss, _)| iss).filter(|who| wanted(*who))?;
            let (key, state) = self.listed(slot)?;
            Some(Named { who, local: key.local(), remote: key.remote(), state })
        }));
        (end < self.conns.slots()).then_some(end)
    }
}
