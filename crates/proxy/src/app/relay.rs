//! Bytes, ends of file and resets, from each side to the other.

use fourwave::{ConnId, ConnectionError, Duration, Half, Io};

use super::{FIRST_LOOK, MOST_LOOK, Proxy, TAKES};
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
                // A side that takes nothing any more is told of by its own event; what it was not given may go to another.
                let Ok(taken) = io.send(to, data) else {
                    session.blocked[side as usize] = true;
                    return 0;
                };
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
        let gone = match side {
            Side::Client => session.client.take(),
            Side::Backend => session.backend.take(),
        };
        match (side, error) {
            // It waits for nothing else.
            _ if let Phase::Ending(end, _) = session.phase => self.end(io, index, end),
            (_, None) if session.client.is_none() && session.backend.is_none() => self.end(io, index, End::Done),
            // The other one has something to do yet; the backend has room for another already.
            (Side::Backend, None) if matches!(session.phase, Phase::Relaying) => self.leave_backend(io, index),
            (Side::Backend, _) if matches!(session.phase, Phase::Connecting) => self.on_no_connection(io, index),
            // Nobody there has heard a byte of it, or what was heard may be told to another one.
            (Side::Backend, Some(_)) if session.is_untold() && session.client.is_some() => {
                self.on_no_connection(io, index);
            }
            (_, None) => {}
            (Side::Client, Some(ConnectionError::Reset)) => self.pass_on_end(io, index, side, gone, End::ClientReset),
            (Side::Client, Some(_)) => self.pass_on_end(io, index, side, gone, End::ClientLost),
            (Side::Backend, Some(ConnectionError::Reset)) => self.pass_on_end(io, index, side, gone, End::BackendReset),
            (Side::Backend, Some(_)) => self.pass_on_end(io, index, side, gone, End::BackendLost),
        }
    }

    /// A side has ended by an error. The other is to have what it had said, as it would without a proxy, and the reset behind it:
    /// one that left at once would overtake all that waits for the end of this turn, or for an acknowledgment.
    fn pass_on_end(&mut self, io: &mut Io<'_>, index: u32, side: Side, gone: Option<ConnId>, end: End) {
        let Some(session) = self.sessions.at(index) else { return };
        let (Phase::Relaying, Some(to)) = (&session.phase, session.ends(side).1) else {
            return self.end(io, index, end);
        };
        // Behind what is to be said again first there is nothing to be said without that.
        if let Some(from) = gone.filter(|_| side == Side::Backend || session.again.is_empty()) {
            session.bytes[side as usize] += io.forward(from, to).unwrap_or(0) as u64;
            session.rest = vec![0; io.unread(from).unwrap_or(0)];
            let read = io.read(from, &mut session.rest).unwrap_or(0);
            session.rest.truncate(read);
        }
        if side == Side::Backend {
            self.leave_backend(io, index);
        }
        self.look_at_end(io, index, end, Duration::ZERO);
    }

    /// Ends it, if the side that is left has taken all, or nothing for too long. `looked`: so long ago it was looked at last.
    pub(super) fn look_at_end(&mut self, io: &mut Io<'_>, index: u32, end: End, looked: Duration) {
        let now = io.now();
        self.push_rest(io, index);
        let Some(session) = self.sessions.at(index) else { return };
        let left = session.client.or(session.backend).and_then(|conn| io.info(conn).ok());
        let queued = left.map_or(0, |info| u64::from(info.send_queue_bytes)) + session.rest.len() as u64;
        if looked == Duration::ZERO || std::mem::replace(&mut session.queued_bytes, queued) != queued {
            (session.active, session.queued_bytes) = (now, queued);
        }
        let most = session.pool().config.half_closed_timeout.unwrap_or(TAKES);
        if queued == 0 || now >= session.active + most {
            return self.end(io, index, end);
        }
        let next = if looked == Duration::ZERO { FIRST_LOOK } else { MOST_LOOK.min(looked * 2) };
        (session.phase, session.since) = (Phase::Ending(end, next), now);
        self.arm(io, index);
    }

    /// There is room for more of what a side had said that has ended.
    pub(super) fn push_rest(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        let (side, to) = match (session.client, session.backend) {
            (Some(to), _) => (Side::Backend, to),
            (None, Some(to)) => (Side::Client, to),
            (None, None) => return,
        };
        if !session.rest.is_empty() {
            let said = io.send(to, &session.rest).unwrap_or(session.rest.len());
            session.bytes[side as usize] += said as u64;
            session.rest.drain(..said);
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
