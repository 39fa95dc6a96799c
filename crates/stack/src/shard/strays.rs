//! Frames that arrive at one shard and are another's: a stray goes from shard to shard until one knows its flow, or all have
//! been asked.

use super::{App, Entry, Env, FlowKey, Instant, Shard};
use crate::{
    counters::Counters,
    landing::{Landing, LandingState, Plans},
    placement::{Placed, Way},
};
use tcp::{Knock, State, answer_listen, recorder::What};
use wire::tcp::Segment;

impl Shard {
    /// A frame that arrived at another shard: its flow is one of ours ([`Placed::Here`]), or nothing is done
    /// ([`Placed::Elsewhere`]). Of ARP and NDP a copy, which is learnt from and not answered.
    #[must_use]
    pub fn on_handed(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> Placed {
        match self.take(now, frame, Way::Handed, app) {
            Placed::Elsewhere => Placed::Elsewhere,
            Placed::Refused => Placed::Refused,
            Placed::Here => {
                self.counters.strays_in += 1;
                Placed::Here
            }
            Placed::Everybodys => {
                self.counters.copies_in += 1;
                Placed::Here
            }
        }
    }

    /// A frame that arrived here and that every other shard has been handed: it is new (a SYN for a listener), or nobody's.
    pub fn on_unclaimed(&mut self, now: Instant, frame: &[u8], app: &mut impl App) {
        self.counters.strays_unclaimed += 1;
        self.take(now, frame, Way::Unclaimed, app);
    }

    /// Another shard has answered SYNs by cookies. Their acknowledgments may come to this one, and be nobody's.
    pub fn on_cookies_elsewhere(&mut self, now: Instant) {
        self.listeners.note_cookies(now);
    }

    /// What is known of where flows land. Every shard is told the same, and before the first frame and the first active open,
    /// even if that is [`Landing::Unknown`]: by the first telling ports are divided for good. Any other told later is a
    /// change: then flows may have their place elsewhere, and where there is a choice active opens take the ports that land at
    /// home now. The same again is no change.
    pub fn set_landing(&mut self, landing: Landing) {
        let Counters { frames_in, strays_out, connected, .. } = self.counters;
        self.ports.forget_full();
        self.plans.set(landing, frames_in + strays_out + connected == 0);
    }

    /// How far the shard trusts what it was told last. Three connections whose segments contradict it are too many, of
    /// the last sixteen that were looked at.
    #[must_use]
    pub const fn landing_state(&self) -> LandingState {
        self.plans.state()
    }

    /// Whether what is unknown here may be known to another shard that has not been asked.
    pub(super) fn may_be_elsewhere(&self, way: Way) -> bool {
        self.config.place.count > 1 && way != Way::Unclaimed
    }

    /// Whether a segment of a flow that is in no table of ours is to be asked for. Not a SYN to a listener where flows have
    /// always landed as they do, and it lands as planned.
    pub(super) fn is_stray(&self, way: Way, key: &FlowKey, segment: &Segment<'_>) -> bool {
        let is_taken = || {
            way == Way::Arrived
                && matches!(answer_listen(segment), Knock::Open)
                && self.listeners.find(key.local()).is_some()
                && self.plans.is_home(key.local(), key.remote())
        };
        self.may_be_elsewhere(way) && !is_taken()
    }

    /// What is for all shards, where there are others.
    pub(super) fn everybodys(&self, way: Way) -> Placed {
        if self.may_be_elsewhere(way) { Placed::Everybodys } else { Placed::Here }
    }

    /// A connection got a segment: the first reply to its SYN, or one that was handed over. What that says of the plan is
    /// said once.
    pub(super) fn note_landing(
        entry: &mut Entry,
        way: Way,
        plans: &mut Plans,
        counters: &mut Counters,
        env: &mut Env<'_>,
    ) {
        let (local, remote, home) = (entry.key.local(), entry.key.remote(), way != Way::Handed);
        if entry.counted != State::SynSent {
            if !home && !core::mem::replace(&mut entry.astray, true) {
                env.pool.note(env.now, entry.conn.iss(), What::Handed, 0, [0; 4]);
                plans.on_stray(local, remote);
            }
        } else if entry.conn.state() != State::SynSent {
            entry.astray = !home;
            *(if home { &mut counters.landed_home } else { &mut counters.landed_elsewhere }) += 1;
            plans.on_first_reply(entry.plan, local, remote, home);
        }
    }
}
