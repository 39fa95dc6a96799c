//! A segment that comes behind another one of its flow, in order and with nothing unusual about it, goes a short way: its
//! headers are compared with the other's, not read again ([`wire::Form`]), and nobody has to be looked up. Where it leads is
//! where the long way does ([`frame`](Shard::take)); whatever is not as expected goes that way, before anything has been done.

use super::{App, ConnId, Env, Instant, Shard};
use tcp::Data;
use wire::{Form, tcp::Plain};

/// What the last frames were of.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The last frame's [`hint`].
    hint: u32,
    known: Option<Known>,
    /// How many frames have gone the short way.
    #[cfg(test)]
    followed: usize,
}

#[derive(Debug)]
struct Known {
    hint: u32,
    form: Form,
    slot: u32,
    /// Where it is among those in full.
    at: usize,
    /// How often connections had [left](super::connections::Connections::moves) when it was there.
    moves: u64,
}

/// Some bytes that tell a frame's flow from most others: of IPv4 the ports, of IPv6 the end of the source address. A frame that
/// can't be of a train has none.
#[inline]
pub(super) fn hint(frame: &[u8]) -> Option<u32> {
    let head = frame.first_chunk::<{ Form::LEAST_BYTES }>()?;
    Some(u32::from_ne_bytes([head[34], head[35], head[36], head[37]]))
}

impl Shard {
    /// Takes a frame that is the next of a train. False: it goes the long way, and nothing has happened yet.
    #[inline]
    pub(super) fn follow(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> bool {
        let Some(known) = &self.follower.known else { return false };
        if hint(frame) != Some(known.hint) || known.moves != self.conns.moves() {
            return false;
        }
        if known.form.is_ipv6() { self.follow_ipv6(now, frame, app) } else { self.follow_ipv4(now, frame, app) }
    }

    #[inline(always)] // as all on this way, so that a segment stays in registers
    fn follow_ipv4(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> bool {
        // The long way does not ask either whose address it is now.
        let Some(known) = &self.follower.known else { return false };
        let Some(segment) = known.form.next_ipv4(frame) else { return false };
        let (at, marked) = ((known.slot, known.at), known.form.is_marked());
        self.on_next(now, at, marked, &segment, app)
    }

    #[inline(never)] // each family has a copy of the way
    fn follow_ipv6(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> bool {
        let Some(known) = &self.follower.known else { return false };
        let Some(segment) = known.form.next_ipv6(frame) else { return false };
        let (at, marked) = ((known.slot, known.at), known.form.is_marked());
        if !self.may_come(at.0) {
            self.follower.known = None;
            return false;
        }
        self.on_next(now, at, marked, &segment, app)
    }

    #[inline(always)]
    fn on_next(
        &mut self,
        now: Instant,
        at: (u32, usize),
        marked: bool,
        segment: &Plain<'_>,
        app: &mut impl App,
    ) -> bool {
        if !self.if_expected(now, at, marked, segment, app) {
            // What it leads to is seen first.
            self.follower.known = None;
            return false;
        }
        #[cfg(test)]
        {
            self.follower.followed += 1;
        }
        true
    }

    /// A segment of the connection that was in full at `at`, and that the application has been told of, if it
    /// [expects](tcp::Connection::expects) it. False: nothing has happened yet.
    #[inline(always)]
    pub(super) fn if_expected(
        &mut self,
        now: Instant,
        (slot, at): (u32, usize),
        marked: bool,
        segment: &Plain<'_>,
        app: &mut impl App,
    ) -> bool {
        let entry = match self.conns.use_at(slot, at) {
            Some(entry) if entry.conn.expects(segment) => entry,
            _ => return false,
        };
        debug_assert!(entry.told, "who was told of it is not told again");
        debug_assert!(!entry.dead, "of what the application has given up nothing is expected");
        debug_assert_eq!(entry.counted, entry.conn.state(), "what changes the state counts it");
        self.counters.frames_in += 1;
        self.counters.segments_in += 1;
        let id = ConnId { slot, generation: entry.generation };
        entry.conn.congestion_experienced(marked);
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        match entry.conn.on_expected(&mut env, segment) {
            Data::Whole => self.give(now, id, true, segment.payload, app),
            Data::Kept => {}
            Data::Dropped(reason) => {
                self.counters.dropped(reason);
                self.note_no_memory(now, id.slot, segment.seq, segment.payload.len());
            }
        }
        self.tell_and_mark(now, slot, at, app);
        true
    }

    /// Whether both addresses of a connection are such that a frame may have them.
    #[inline(never)] // out of IPv4's way
    fn may_come(&self, slot: u32) -> bool {
        self.conns.awake(slot).is_some_and(|entry| {
            let (local, remote) = entry.key.addresses();
            self.check_addresses(remote, local).is_ok()
        })
    }

    /// A frame has gone the long way. If it was the second of a flow, and of a connection that may expect more of the kind, the
    /// next is compared with it.
    #[inline]
    pub(super) fn note_form(&mut self, frame: &[u8]) {
        let Some(hint) = hint(frame) else { return };
        if core::mem::replace(&mut self.follower.hint, hint) == hint {
            self.learn_form(hint, frame);
        }
    }

    #[inline(never)] // once for each train
    fn learn_form(&mut self, hint: u32, frame: &[u8]) {
        let Some((flow, slot)) = self.table.most_recent() else { return };
        if !self.conns.awake(slot).is_some_and(|entry| entry.told && entry.conn.is_plain()) {
            return;
        }
        if crate::flow_tag::flow_of(frame).as_ref() != Some(flow) {
            return;
        }
        let moves = self.conns.moves();
        if let (Some(form), Some(at)) = (Form::of(frame), self.conns.at(slot)) {
            self.follower.known = Some(Known { hint, form, slot, at, moves });
        }
    }

    /// Nothing is expected of the next frame.
    pub(super) fn forget_form(&mut self) {
        self.follower.known = None;
        self.follower.hint = 0;
    }
}

#[cfg(test)]
mod property;
