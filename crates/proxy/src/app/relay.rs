//! Bytes, ends of file and resets, from each side to the other.

use fourwave::{ConnId, ConnectionError, Half, Io};

use super::Proxy;
use crate::log::End;
use crate::session::{Phase, Session, Side};

impl Proxy {
    /// Bytes have come in order: they go on at once, out of the segment. Returns how many the other side had room for; the
    /// rest is queued where it came from.
    #[inline]
    pub(super) fn relay(&mut self, io: &mut Io<'_>, index: u32, side: Side, data: &[u8]) -> usize {
        let Some(session) = self.sessions.at(index) else { return data.len() };
        match (&session.phase, session.ends(side).1) {
            (Phase::Relaying, Some(_)) if side == Side::Client && !session.again.is_empty() => 0,
            (Phase::Relaying, Some(to)) => {
                // A side that takes nothing any more is told of by its own event.
                let taken = io.send(to, data).unwrap_or(data.len());
                session.passed(io.now(), side, &data[..taken]);
                session.blocked[side as usize] = taken < data.len();
                taken
            }
            (Phase::Header(_), _) => self.take_header(io, index, data),
            _ => 0,
        }
    }

    pub(super) fn on_session_readable(&mut self, io: &mut Io<'_>, index: u32, side: Side) {
        let Some(session) = self.sessions.at(index) else { return };
        match session.phase {
            // More behind what has no room yet: [`App::on_writable`](fourwave::App::on_writable) will tell.
            Phase::Relaying if session.blocked[side as usize] => {}
            Phase::Relaying => self.pump(io, index, side),
            Phase::Header(_) => self.read_header(io, index),
            _ => {}
        }
    }

    /// Passes on what is queued, as far as there is room, and the end of file behind it.
    pub(super) fn pump(&mut self, io: &mut Io<'_>, index: u32, side: Side) {
        let Some(session) = self.sessions.at(index) else { return };
        let (Phase::Relaying, (Some(from), Some(to))) = (&session.phase, session.ends(side)) else { return };
        if side == Side::Client && !session.again.is_empty() {
            let said = io.send(to, &session.again).unwrap_or(0);
            session.again.drain(..said);
            if !session.again.is_empty() {
                session.blocked[0] = true;
                return;
            }
        }
        if session.kept.is_some() {
            pump_kept(io, session, side, from, to);
        }
        let moved = io.forward(from, to).unwrap_or(0);
        let left = io.unread(from).unwrap_or(0);
        session.bytes[side as usize] += moved as u64;
        session.blocked[side as usize] = left > 0;
        if moved > 0 {
            session.active = io.now();
        }
        if left == 0 && session.ended[side as usize] && !session.passed_on[side as usize] {
            session.passed_on[side as usize] = true;
            let _ = io.shutdown(to, Half::Write);
        }
    }

    /// A side will send no more.
    pub(super) fn on_end_of_file(&mut self, io: &mut Io<'_>, index: u32, side: Side) {
        let now = io.now();
        let Some(session) = self.sessions.at(index) else { return };
        session.ended[side as usize] = true;
        session.active = now;
        match session.phase {
            // It has taken what it was asked, and gone without a word; or gone before it was asked anything.
            Phase::Relaying if side == Side::Backend && (session.went_silently() || session.went_at_once(now)) => {
                self.on_no_connection(io, index);
            }
            Phase::Relaying => {
                self.pump(io, index, side);
                // From now on there is less time.
                self.arm(io, index);
            }
            Phase::Header(_) => self.read_header(io, index),
            // It is passed on once there is somebody to pass it on to.
            _ => {}
        }
    }

    /// A side's connection is over.
    pub(super) fn on_side_closed(&mut self, io: &mut Io<'_>, index: u32, side: Side, error: Option<ConnectionError>) {
        let Some(session) = self.sessions.at(index) else { return };
        match side {
            Side::Client => session.client = None,
            Side::Backend => session.backend = None,
        }
        match (side, error) {
            (_, None) if session.client.is_none() && session.backend.is_none() => self.end(io, index, End::Done),
            // The other one has something to do yet; the backend has room for another already.
            (Side::Backend, None) if matches!(session.phase, Phase::Relaying) => self.leave_backend(io, index),
            (Side::Backend, _) if matches!(session.phase, Phase::Connecting) => self.on_no_connection(io, index),
            // Nobody there has heard a byte of it, or what was heard may be told to another one.
            (Side::Backend, Some(_)) if session.is_untold() && session.client.is_some() => {
                self.on_no_connection(io, index);
            }
            (_, None) => {}
            (Side::Client, Some(ConnectionError::Reset)) => self.end(io, index, End::ClientReset),
            (Side::Client, Some(_)) => self.end(io, index, End::ClientLost),
            (Side::Backend, Some(ConnectionError::Reset)) => self.end(io, index, End::BackendReset),
            (Side::Backend, Some(_)) => self.end(io, index, End::BackendLost),
        }
    }
}

/// Passes on what is queued piece by piece, as long as it is to be kept.
fn pump_kept(io: &mut Io<'_>, session: &mut Session, side: Side, from: ConnId, to: ConnId) {
    let mut piece = [0; 2048];
    while session.kept.is_some() {
        let Ok(n @ 1..) = io.peek(from, &mut piece) else { return };
        let Ok(taken @ 1..) = io.send(to, &piece[..n]) else { return };
        session.passed(io.now(), side, &piece[..taken]);
        let _ = io.skip(from, taken);
        if taken < n {
            return;
        }
    }
}
