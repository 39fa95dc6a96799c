//! Congestion control: a controller hears events and answers with a window.

mod newreno;

pub(crate) use newreno::NewReno;
use wheel::Duration;
use wire::SeqNum;

/// What the sender must do at once because of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing special.
    None,
    /// Send the first unacknowledged segment again.
    RetransmitHead,
}

/// The sender's view at the time of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) snd_una: SeqNum,
    /// Highest sequence number sent, and one.
    pub(crate) snd_max: SeqNum,
    /// Effective MSS, bytes.
    pub(crate) mss: u32,
}

impl Flight {
    /// Bytes sent and not acknowledged.
    pub(crate) const fn bytes(&self) -> u32 {
        self.snd_max.since(self.snd_una)
    }
}

/// The controllers; an enum dispatches. `NewReno` alone for now (CUBIC has an issue of its own).
#[derive(Debug, Clone)]
pub(crate) enum Controller {
    NewReno(NewReno),
}

impl Controller {
    pub(crate) fn new(iss: SeqNum) -> Self {
        Self::NewReno(NewReno::new(iss))
    }

    /// The handshake is over and the effective MSS known.
    pub(crate) fn established(&mut self, mss: u32) {
        let Self::NewReno(c) = self;
        c.established(mss);
    }

    /// `acked` bytes of new data are acknowledged; `before` were in flight, `flight` is what is outstanding behind that.
    pub(crate) fn on_ack(&mut self, acked: u32, before: u32, flight: Flight) -> Reaction {
        let Self::NewReno(c) = self;
        c.on_ack(acked, before, flight)
    }

    /// Data is sent while nothing is in flight, `idle` after data was sent last.
    pub(crate) fn on_restart(&mut self, idle: Duration, rto: Duration, mss: u32) {
        let Self::NewReno(c) = self;
        c.on_restart(idle, rto, mss);
    }

    /// A duplicate ACK by RFC 5681's definition.
    pub(crate) fn on_duplicate_ack(&mut self, flight: Flight) -> Reaction {
        let Self::NewReno(c) = self;
        c.on_duplicate_ack(flight)
    }

    /// The retransmission timer expired with `flight` outstanding; `again` if not for the first time.
    pub(crate) fn on_rto(&mut self, flight: Flight, again: bool) {
        let Self::NewReno(c) = self;
        c.on_rto(flight, again);
    }

    /// Bytes that may be in flight.
    pub(crate) const fn window(&self) -> u32 {
        let Self::NewReno(c) = self;
        c.window()
    }
}
