//! The end of a session: whoever is left is reset, and places are given back.

use std::sync::Arc;
use std::time::SystemTime;

use fourwave::{Instant, Io};

use super::Proxy;
use crate::counters::Counter;
use crate::log::{End, Record};
use crate::session::{Phase, Session};

impl Proxy {
    /// Ends a session: what is left of it is reset.
    pub(super) fn end(&mut self, io: &mut Io<'_>, index: u32, end: End) {
        self.leave_backend(io, index);
        let Some(session) = self.sessions.at(index) else { return };
        for conn in [session.client.take(), session.backend.take()].into_iter().flatten() {
            self.roles.remove(conn);
            let _ = io.abort(conn);
        }
        if let Some((timer, _)) = session.timer.take() {
            io.stop_timer(timer);
        }
        let gauge = session.entered.then(|| Arc::clone(&session.front.gauge));
        self.forget(io.now(), index, end);
        if let Some(gauge) = gauge.filter(|gauge| gauge.waiting() > 0) {
            self.on_room(io, &gauge);
        }
    }

    /// Gives back the place at the backend.
    pub(super) fn leave_backend(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        if let Some(target) = session.target() {
            target.state.gauge.leave();
            session.target = None;
            let pool = Arc::clone(&session.pool().gauge);
            if pool.waiting() > 0 {
                self.on_room(io, &pool);
            }
        }
    }

    /// Takes a session away: counts it, tells of it, gives its places back.
    pub(super) fn forget(&mut self, now: Instant, index: u32, end: End) {
        let Some(session) = self.sessions.remove(index) else { return };
        match session.phase {
            Phase::AtListener if !session.entered && end != End::QueueFull => session.front.gauge.stop_waiting(),
            Phase::AtPool | Phase::Short(_) => session.pool().gauge.stop_waiting(),
            _ => {}
        }
        if let Some(target) = session.target() {
            target.state.gauge.leave();
        }
        if session.entered {
            session.front.gauge.leave();
        }
        self.count(&session, end);
        self.shared.log(|| record(now, &session, end));
    }

    fn count(&self, session: &Session, end: End) {
        let counters = &self.shared.counters;
        counters.finished.one();
        counters.bytes_to_backends.add(session.bytes[0]);
        counters.bytes_to_clients.add(session.bytes[1]);
        let counter: Option<&Counter> = match end {
            End::Done => None,
            End::ClientReset => Some(&counters.client_resets),
            End::BackendReset => Some(&counters.backend_resets),
            End::ClientLost | End::BackendLost => Some(&counters.peers_lost),
            End::NoBackend => Some(&counters.no_backend),
            End::NoListener => Some(&counters.no_listener),
            End::QueueFull => Some(&counters.queue_full),
            End::QueueTimeout => Some(&counters.queue_timed_out),
            End::HeaderMalformed => Some(&counters.header_malformed),
            End::HeaderTimeout => Some(&counters.header_timed_out),
            End::IdleTimeout => Some(&counters.idle_timed_out),
            End::HalfClosedTimeout => Some(&counters.half_closed_timed_out),
            End::Drained => Some(&counters.not_drained),
        };
        if let Some(counter) = counter {
            counter.one();
        }
    }
}

fn record(now: Instant, session: &Session, end: End) -> Record {
    let us = |from: Instant, to: Instant| to.saturating_since(from).as_micros();
    Record {
        ended_at: SystemTime::now(),
        client: session.remote,
        proxied: session.proxied.as_ref().map(|addresses| addresses.0),
        front: Some(Arc::clone(&session.front)),
        target: session.last_target,
        attempts: session.attempts,
        bytes: session.bytes,
        waited_us: session.attempt.map(|at| us(session.accepted, at)),
        connect_us: session.attempt.zip(session.connected).map(|(from, to)| us(from, to)),
        total_us: us(session.accepted, now),
        end,
    }
}
