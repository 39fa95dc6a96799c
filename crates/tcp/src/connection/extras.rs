//! What few connections have, attached when it is first asked for: an idle connection pays a pointer for all of it.

use super::{Connection, DropReason, Duration, Event, Instant, Outcome};
use crate::{keepalive::Prober, linger::Linger, recv, send, send::pmtu::Pmtu, soft::Soft};

/// The state of the mechanisms that most connections never use.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) linger: Linger,
    pub(super) user_timeout: Option<Duration>,
    pub(super) keepalive: Option<Prober>,
    pub(super) soft: Soft,
    /// The next hop should be asked whether it is still there.
    pub(super) suspect: bool,
    pub(super) path: Pmtu,
    /// A router's word was believed, and others may want to know.
    pub(super) path_mss: Option<u16>,
    pub(super) urgent_in: recv::urgent::Urgent,
    pub(super) urgent_out: send::urgent::Urgent,
    /// Urgent data is ahead: so many octets from where the application was.
    pub(super) urgent: Option<u32>,
}

impl Extras {
    /// Nothing waits to be told.
    pub(super) fn is_quiet(&self) -> bool {
        let Self { suspect, path_mss, urgent, soft, linger, keepalive, .. } = self;
        let probes = keepalive.as_ref().is_some_and(Prober::is_due);
        !suspect && !probes && path_mss.is_none() && urgent.is_none() && !soft.has_report() && !linger.has_outcome()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.suspect) {
            return Some(Event::Suspect);
        }
        if let Some(octets) = self.urgent.take() {
            return Some(Event::Urgent(octets));
        }
        if let Some(mss) = self.path_mss.take() {
            return Some(Event::PathMss(mss));
        }
        if let Some(error) = self.soft.take_report() {
            return Some(Event::SoftError(error));
        }
        self.linger.take_outcome().map(Event::Lingered)
    }
}

impl Connection {
    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// False when [`poll_event`](Self::poll_event) would return `None`, and it need not be called; true says nothing.
    #[inline]
    #[must_use]
    pub const fn may_have_events(&self) -> bool {
        self.events.any() || self.extras.is_some()
    }

    /// A segment was processed, or not.
    pub(super) fn heard(&mut self, now: Instant, outcome: &Outcome) {
        let (una, read) = (self.snd.snd_una(), self.rcv.rcv_nxt() - self.rcv.unread());
        let Some(extras) = &mut self.extras else { return };
        extras.urgent_out.acknowledged(una);
        // What was just delivered may yet be kept: marks are forgotten when they are far behind.
        extras.urgent_in.forget(read - (1 << 30));
        if outcome.dropped.is_none() {
            extras.soft.clear();
        }
        // The peer's own keep-alives lie outside of the window; resets and SYNs that are not believed are no sign of life.
        if matches!(outcome.dropped, None | Some(DropReason::OutOfWindow))
            && let Some(prober) = &mut extras.keepalive
        {
            prober.heard(now);
        }
    }
}
