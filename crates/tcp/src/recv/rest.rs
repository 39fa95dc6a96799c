//! The receiving half of a connection at rest: all is read and acknowledged.

use super::{Due, Facts, NOTHING, Receiver, ack_policy::AckPolicy, autotune::Autotune};
use crate::{pool::ByteQueue, profile::Profile, turns::Turns};
use wheel::Instant;
use wire::SeqNum;

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct Resting {
    irs: SeqNum,
    rcv_nxt: SeqNum,
    edge: SeqNum,
    buffer: u32,
    space: u32,
    policy: AckPolicy,
    shift: u8,
    facts: Facts,
}

impl Receiver {
    /// Nothing is unread, out of order or unacknowledged.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.queue.is_vacant()
            && self.reassembly.is_none()
            && self.fin_at().is_none()
            && self.delayed == Instant::MAX
            && !self.ack_wanted()
            && !self.reports()
    }

    /// Forgets what means nothing while the receiver [is at rest](Self::is_at_rest); the measurement of the receive buffer
    /// begins anew at `since`.
    pub(crate) fn calm(&mut self, since: Instant) {
        self.queue = ByteQueue::default();
        self.fin_seq = SeqNum::default();
        self.duplicate = NOTHING;
        self.tune = Autotune::resumed(self.tune.sizes(), since, self.rcv_nxt, self.edge);
    }

    pub(crate) fn rest(&self) -> Resting {
        let (buffer, space) = self.tune.sizes();
        Resting {
            irs: self.irs,
            rcv_nxt: self.rcv_nxt,
            edge: self.edge,
            buffer,
            space,
            policy: self.policy.clone(),
            shift: self.shift,
            facts: self.facts,
        }
    }
}

impl Resting {
    pub(crate) const fn irs(&self) -> SeqNum {
        self.irs
    }

    /// As [`Receiver::bytes`].
    pub(crate) fn bytes(&self, turns: Turns) -> u64 {
        turns.total(self.rcv_nxt.since(self.irs)).saturating_sub(1)
    }

    pub(crate) const fn buffer(&self) -> u32 {
        self.buffer
    }

    /// The receiver of a connection that announced `mss`, as it was [calmed](Receiver::calm) with `since`.
    pub(crate) fn wake(self, mss: u16, since: Instant, profile: Profile, turns: Turns) -> Receiver {
        Receiver {
            irs: self.irs,
            rcv_nxt: self.rcv_nxt,
            edge: self.edge,
            fin_seq: SeqNum::default(),
            shift: self.shift,
            mss,
            facts: self.facts,
            duplicate: NOTHING,
            queue: ByteQueue::default(),
            reassembly: None,
            policy: self.policy,
            tune: Autotune::resumed((self.buffer, self.space), since, self.rcv_nxt, self.edge),
            delayed: Instant::MAX,
            ack: Due::No,
            profile,
            turns,
        }
    }
}
