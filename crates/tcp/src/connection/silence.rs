//! A peer that does not acknowledge: R1, R2 and the user timeout (RFC 9293 section 3.8.3, RFC 5482).

use super::{Connection, Duration, Env, Error, Instant, SoftError, State};

/// R1: so many retransmissions without an acknowledgment make the path suspect (RFC 9293 SHLD-10: at least three).
const R1: u8 = 3;

impl Connection {
    /// What there is to send can't leave: the next hop is not known. R2 runs all the same.
    pub fn held_up(&mut self, env: &Env<'_>) {
        self.snd.held_up(env);
    }

    /// R2 of this connection: how long what is sent may stay unacknowledged, the peer's window closed, or keep-alives
    /// unanswered. `None`, the default: as configured. [`Duration::MAX`]: for ever; but a connection that the application
    /// has closed is not held longer than the configured limit for such.
    ///
    /// As Linux's `TCP_USER_TIMEOUT` it holds for a SYN too, and for a peer that answers window probes but opens no window.
    pub fn set_user_timeout(&mut self, time: Option<Duration>) {
        if time.is_some() || self.extras.is_some() {
            self.extras().user_timeout = time;
        }
    }

    pub(super) fn user_timeout(&self) -> Option<Duration> {
        self.extras.as_ref().and_then(|x| x.user_timeout)
    }

    pub(super) fn r2(&self, env: &Env<'_>) -> Duration {
        let user = self.user_timeout();
        match self.state {
            State::SynReceived if self.passive => env.config.syn_received,
            State::SynSent | State::SynReceived => user.unwrap_or(env.config.syn_r2),
            _ if self.orphan && !self.lingers() => user.unwrap_or(Duration::MAX).min(env.config.orphan_r2),
            _ => user.unwrap_or(env.config.r2),
        }
    }

    /// When the user timeout ends the connection unless the peer is heard: to the point, not at the next retransmission.
    pub(super) fn user_deadline(&self) -> Option<Instant> {
        let time = self.user_timeout()?;
        self.snd.timer().map(|_| self.snd.silent_since() + time)
    }

    /// The retransmission timer may have expired; it had `before` times in a row.
    pub(super) fn on_retransmission(&mut self, env: &mut Env<'_>, before: u8) {
        let timeouts = self.snd.timeouts();
        if timeouts <= before {
            return;
        }
        env.pool.count_loss(|c| c.timeouts += 1);
        self.snd.note_timeout(env);
        self.on_path_timeout(env, timeouts);
        if timeouts > R1 {
            let extras = self.extras();
            extras.suspect = true;
            extras.soft.note(SoftError::Retransmissions);
        }
    }

    /// What a connection that is given up for silence ends with: the last that was heard of the path.
    pub(super) fn silence(&self) -> Error {
        self.soft_error().map_or(Error::TimedOut, SoftError::as_end)
    }

    /// What is wrong with the path as far as we know; `None` once the peer is heard again.
    #[must_use]
    pub fn soft_error(&self) -> Option<SoftError> {
        self.extras.as_ref().and_then(|x| x.soft.last())
    }

    /// Switches [`Event::SoftError`](super::Event::SoftError) off, or on as it is by default (RFC 9293 SHLD-20).
    pub fn set_soft_error_reports(&mut self, on: bool) {
        if !on || self.extras.is_some() {
            self.extras().soft.unreported = !on;
        }
    }
}
