//! A segment in a frame of the [usual form](Usual), which its connection expects, goes a short way: its headers are read at one go,
//! and nothing is asked that the answer is known to. It leads where the long one does; what is not expected goes on there.

use super::{
    App, Instant, Shard,
    input::{Link, Rejected},
};
use crate::{
    flow::FlowKey,
    placement::{Placed, Way},
    table::Owner,
};
use wire::{Usual, eth};

impl Shard {
    /// A frame that does not [follow](Self::follow) another one.
    #[inline(never)] // so that who follows does not carry what others need
    pub(super) fn on_other_frame(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> Placed {
        match Usual::parse(frame, self.config.mac) {
            Some(usual) => self.on_usual(now, frame, &usual, app),
            None => self.on_any_frame(now, frame, app),
        }
    }

    #[inline(always)] // so that a segment stays in registers
    fn on_usual(&mut self, now: Instant, frame: &[u8], usual: &Usual<'_>, app: &mut impl App) -> Placed {
        let (remote_port, local_port) = usual.ports;
        let key = FlowKey::of(usual.dst.into(), local_port, usual.src.into(), remote_port);
        let owner = self.owner(&key);
        if let (Some(Owner::Connection(slot)), _) = owner
            && let Some(at) = self.conns.at(slot)
            && self.conns.look_at(slot, at).told
            && self.if_expected(now, (slot, at), usual.marked, &usual.segment, app)
        {
            self.note_form(frame);
            return Placed::Here;
        }
        self.on_unexpected(now, frame, usual, &key, owner, app)
    }

    #[inline(never)] // it is the long way
    fn on_unexpected(
        &mut self,
        now: Instant,
        frame: &[u8],
        usual: &Usual<'_>,
        key: &FlowKey,
        owner: (Option<Owner>, u32),
        app: &mut impl App,
    ) -> Placed {
        self.counters.frames_in += 1;
        let taken = eth::Header::parse(frame).map_err(Rejected::from).and_then(|(header, _)| {
            let link = Link { src: header.src, vlan: header.vlan, marked: usual.marked, way: Way::Arrived };
            self.of_owner(now, &link, key, owner, &usual.segment(), app)
        });
        let placed = self.count_taken(taken.map(|()| Placed::Here));
        self.arrived(frame, placed)
    }
}
