//! A batch of frames is looked at before it is worked through: where its connections are. With a million of them that is in no
//! cache, and what is asked for all at once takes hardly longer than for one.
//!
//! These are ordinary loads, in loops without a branch that would have to wait for one of them: so the processor has a dozen
//! on their way at the same time.

use super::{Shard, follow};
use crate::{flow::FlowKey, flow_tag::flow_of, table::Owner};
use core::hint::black_box;
use core::net::Ipv4Addr;
use wire::ip;

/// With fewer connections and records everything is in a cache anyway. Tests look at all of them.
pub(super) const FROM: usize = if cfg!(test) { 1 } else { 8192 };
/// Frames that are looked at at once.
pub(super) const BATCH: usize = 64;

/// How far a flow is looked for.
const NEAR: usize = 8;

/// The flows of a batch, in the order in which they come; one for each train.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    flows: alloc::vec::Vec<Seen>,
    next: usize,
    /// How often the table had changed.
    changes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    flow: FlowKey,
    hash: u32,
    /// The connection that is found first, nearly always the one; or [`NONE`].
    slot: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

impl Ahead {
    /// Where the next frame's connection is to be looked for, if nobody has come or gone meanwhile. It is the one if it has the
    /// frame's key: then [`pass`](Self::pass).
    #[inline]
    pub(super) fn next(&self, changes: u64) -> Option<u32> {
        let seen = self.flows.get(self.next)?;
        (seen.slot != NONE && self.changes == changes).then_some(seen.slot)
    }

    /// How many were looked at and not asked for yet.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.flows.len() - self.next
    }

    /// The next frame has been taken.
    #[inline]
    pub(super) const fn pass(&mut self) {
        self.next += 1;
    }

    /// The hash of a flow, if it is one of the next in the batch, and where its connection is to be looked for: those before were
    /// not asked for.
    #[inline]
    pub(super) fn take(&mut self, key: &FlowKey, changes: u64) -> Option<(u32, Option<u32>)> {
        let at = self.flows.get(self.next..)?.iter().take(NEAR).position(|seen| seen.flow == *key)?;
        self.next += at + 1;
        let Seen { hash, slot, .. } = *self.flows.get(self.next - 1)?;
        Some((hash, Some(slot).filter(|slot| *slot != NONE && self.changes == changes)))
    }
}

/// The flow a frame is probably of. Of the usual one it is read where it stands, and nothing is checked: who takes the frame does
/// that, and a frame that fails is one that was looked at in vain.
#[inline]
pub(super) fn hint(frame: &[u8]) -> Option<FlowKey> {
    let head = frame.first_chunk::<38>()?;
    let (whole, tcp) = (head[20] & 0x3f == 0 && head[21] == 0, head[23] == ip::PROTOCOL_TCP);
    // Ethernet without a tag, IPv4 without options.
    if head[12..15] != [8, 0, 0x45] || !whole || !tcp {
        return flow_of(frame);
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (src, dst) = (Ipv4Addr::from_bits(word(26)), Ipv4Addr::from_bits(word(30)));
    Some(FlowKey::of(dst.into(), port(36), src.into(), port(34)))
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
        let mut before = None;
        for frame in frames.take(BATCH) {
            let Some(flow) = hint(frame) else { continue };
            // Of a train only the first is looked up: the others are compared with it.
            let mark = follow::hint(frame);
            if core::mem::replace(&mut before, mark) == mark && flows.last().is_some_and(|seen| seen.flow == flow) {
                continue;
            }
            flows.push(Seen { flow, hash: 0, slot: NONE });
        }
        // Not at once: what was just written in pieces is read slowly as a whole.
        for seen in flows.iter_mut() {
            seen.hash = table.hash(&seen.flow);
        }
        (self.ahead.next, self.ahead.changes) = (0, table.changes());
        black_box(flows.iter().fold(0, |sum, seen| sum ^ table.touch(seen.hash)));
        let (mut slots, mut len) = ([NONE; BATCH], 0);
        for seen in flows.iter_mut() {
            if let Some(Owner::Connection(slot)) = table.find(seen.hash, |_| true) {
                (seen.slot, slots[len]) = (slot, slot);
                len += 1;
            }
        }
        self.conns.look_ahead(&slots[..len], &self.wheel);
    }

    /// The same of timers: the one that expires now has others behind it.
    #[inline]
    pub(super) fn look_at_timers(&self) -> usize {
        if self.table.len() < FROM {
            return usize::MAX;
        }
        let (mut slots, mut len) = ([NONE; BATCH], 0);
        for (slot, coming) in slots.iter_mut().zip(self.wheel.coming()) {
            *slot = coming;
            len += 1;
        }
        if len > 1 {
            self.conns.look_at_expiring(&slots[..len], &self.wheel);
        }
        len
    }
}
