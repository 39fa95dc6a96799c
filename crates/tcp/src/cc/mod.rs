//! Congestion control: a controller hears events and answers with a window.

mod cubic;
mod newreno;
mod usage;

use crate::config::Congestion as Kind;
use cubic::Cubic;
use newreno::NewReno;
pub(crate) use usage::Usage;
use wheel::{Duration, Instant};

/// New data is acknowledged, and no reduction is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    pub(crate) now: Instant,
    /// Bytes newly delivered.
    pub(crate) bytes: u32,
    /// Smoothed round-trip time, zero if unknown.
    pub(crate) srtt: Duration,
    /// Effective MSS, bytes.
    pub(crate) mss: u32,
}

/// Why the window is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Segments were lost.
    Loss,
    /// The network says it is congested (RFC 3168).
    Ecn,
    /// The retransmission timer expired.
    Timeout,
}

/// The window and slow-start threshold, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
}

/// The controllers; an enum dispatches.
#[derive(Debug, Clone)]
enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
}

/// The congestion window of a connection and who steers it.
#[derive(Debug, Clone)]
pub(crate) struct Congestion {
    window: Window,
    controller: Controller,
}

impl Congestion {
    pub(crate) fn new(kind: Kind) -> Self {
        let controller = match kind {
            Kind::NewReno => Controller::NewReno(NewReno::default()),
            Kind::Cubic => Controller::Cubic(Cubic::default()),
        };
        Self { window: Window { cwnd: 0, ssthresh: u32::MAX }, controller }
    }

    /// The handshake is over and the effective MSS known. RFC 6928: min(10 MSS, max(2 MSS, 14600)); one segment if the SYN
    /// was lost twice (RFC 5681 section 3.1, as RFC 6928 relaxes it).
    pub(crate) fn open(&mut self, mss: u32, lost_syns: u8) {
        self.window = Window { cwnd: if lost_syns > 1 { mss } else { initial_window(mss) }, ssthresh: u32::MAX };
    }

    /// Bytes that may be in flight.
    pub(crate) const fn window(&self) -> u32 {
        self.window.cwnd
    }

    pub(crate) const fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    pub(crate) const fn in_slow_start(&self) -> bool {
        self.window.cwnd < self.window.ssthresh
    }

    /// A reduction sets the window itself, step by step.
    pub(crate) fn set_window(&mut self, bytes: u32) {
        self.window.cwnd = bytes;
    }

    /// Data is acknowledged; `limited` if it was the window that had held data back.
    pub(crate) fn on_ack(&mut self, acked: Acked, limited: bool) {
        if !limited {
            // A window that is not used proves nothing about the path (RFC 7661, RFC 9438 section 4.2).
            if let Controller::Cubic(c) = &mut self.controller {
                c.not_limited(acked.now);
            }
            return;
        }
        let mut left = acked;
        if self.in_slow_start() {
            // RFC 3465 with L = 2 would be for delayed ACKs; whole batches are acknowledged at once here, as Linux counts.
            let step = acked.bytes.min(self.window.ssthresh - self.window.cwnd);
            self.window.cwnd = self.window.cwnd.saturating_add(step);
            left.bytes -= step;
        }
        if left.bytes > 0 {
            match &mut self.controller {
                Controller::NewReno(c) => c.avoid(&mut self.window, left),
                Controller::Cubic(c) => c.avoid(&mut self.window, left),
            }
        }
    }

    /// Sets ssthresh because of a signal with `flight` bytes outstanding; the window is the caller's to bring down.
    pub(crate) fn reduce(&mut self, signal: Signal, flight: u32, mss: u32) {
        let least = if signal == Signal::Ecn { mss } else { 2 * mss };
        self.window.ssthresh = match &mut self.controller {
            Controller::NewReno(c) => c.reduce(self.window.cwnd, flight),
            Controller::Cubic(c) => c.reduce(self.window.cwnd, signal == Signal::Timeout),
        }
        .max(least);
    }

    /// RFC 5681 section 4.1: data is sent again after `idle`, longer than an RTO: from the initial window at most.
    pub(crate) fn on_restart(&mut self, idle: Duration, rto: Duration, mss: u32) {
        if let Controller::Cubic(c) = &mut self.controller {
            c.idle(idle);
        }
        if idle > rto && self.window.cwnd != 0 {
            self.window.cwnd = self.window.cwnd.min(initial_window(mss));
        }
    }
}

/// RFC 6928.
const fn initial_window(mss: u32) -> u32 {
    let (most, least) = (10 * mss, 2 * mss);
    let least = if least > 14_600 { least } else { 14_600 };
    if most < least { most } else { least }
}
