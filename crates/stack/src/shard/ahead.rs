//! A batch of frames is looked at before it is worked through: where its connections are. With a million of them that is in no
//! cache, and what is asked for all at once takes hardly longer than for one.
//!
//! These are ordinary loads, in loops without a branch that would have to wait for one of them: so the processor has a dozen
//! on their way at the same time.

use super::Shard;
use crate::{flow::FlowKey, flow_tag::flow_of, table::Owner};
use core::hint::black_box;

/// With fewer connections and records everything is in a cache anyway.
const FROM: usize = 8192;
/// Frames that are looked at at once.
pub(super) const BATCH: usize = 64;

/// How far a flow is looked for.
const NEAR: usize = 8;

/// The flows of a batch, and their hashes, in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    flows: alloc::vec::Vec<(FlowKey, u32)>,
    next: usize,
}

impl Ahead {
    /// The hash of a flow, if it is one of the next in the batch: those before were not asked for.
    #[inline]
    pub(super) fn take(&mut self, key: &FlowKey) -> Option<u32> {
        let at = self.flows.iter().skip(self.next).take(NEAR).position(|(flow, _)| flow == key)?;
        self.next += at + 1;
        self.flows.get(self.next - 1).map(|(_, hash)| *hash)
    }
}

impl Shard {
    /// The frames that are given to [`on_frame`](Self::on_frame) next, in this order; at most 64 are looked at. To be called or
    /// not: it makes a difference to caches only.
    #[inline]
    pub fn look_ahead<'a>(&mut self, frames: impl ExactSizeIterator<Item = &'a [u8]>) {
        if frames.len() > 1 && self.table.len() >= FROM {
            self.look_at(frames);
        }
    }

    #[inline(never)]
    fn look_at<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]>) {
        let table = &self.table;
        let flows = &mut self.ahead.flows;
        flows.clear();
        flows.extend(frames.take(BATCH).filter_map(|frame| flow_of(frame).map(|key| (key, table.hash(&key)))));
        self.ahead.next = 0;
        let touched = flows.iter().fold(0, |sum, (_, hash)| sum ^ table.touch(*hash));
        black_box(touched);
        let mut slots = [None; BATCH];
        for ((_, hash), slot) in flows.iter().zip(&mut slots) {
            *slot = match table.find(*hash, |_| true) {
                Some(Owner::Connection(slot)) => Some(slot),
                _ => None,
            };
        }
        self.conns.look_ahead(slots.iter().flatten().copied(), &self.wheel);
    }

    /// The same of timers: the one that expires now has others behind it.
    #[inline]
    pub(super) fn look_at_timers(&self) -> usize {
        let coming = self.wheel.coming();
        if coming.len() > 1 && self.table.len() >= FROM {
            self.conns.look_ahead(coming.iter().copied(), &self.wheel);
        }
        coming.len()
    }
}
