//! Closing with a limit: `SO_LINGER`.

use super::{Connection, Duration, Env, Error, Instant, State, write::Want};

impl Connection {
    /// What [`close`](Self::close) does: `None`, the default, closes in the background. Zero resets the connection: no
    /// TIME-WAIT, and what is queued is lost. Any other time keeps the handle alive until our FIN is acknowledged, or the
    /// time is over ([`Event::Lingered`](super::Event::Lingered)), or the connection is
    /// ([`Event::Closed`](super::Event::Closed)).
    ///
    /// As on Linux a time that is over aborts nothing: the connection goes on in the background.
    pub fn set_linger(&mut self, time: Option<Duration>) {
        if time.is_some() || self.extras.is_some() {
            self.extras().linger.time = time;
        }
    }

    /// The application has closed and still waits for the outcome. A second [`close`](Self::close) ends the waiting.
    #[must_use]
    pub fn lingers(&self) -> bool {
        self.linger_until().is_some()
    }

    pub(super) fn linger_until(&self) -> Option<Instant> {
        self.extras.as_ref().and_then(|x| x.linger.until())
    }

    pub(super) fn close_resets(&self) -> bool {
        let over = matches!(self.state, State::Closed | State::TimeWait);
        !over && self.extras.as_ref().is_some_and(|x| x.linger.resets())
    }

    /// The application has closed just now.
    pub(super) fn linger(&mut self, env: &Env<'_>) {
        let acknowledged = self.snd.fin_acknowledged();
        let over = matches!(self.state, State::Closed | State::TimeWait);
        let Some(extras) = self.extras.as_mut().filter(|_| !over) else { return };
        extras.linger.begin(env.now, acknowledged);
        if extras.linger.until().is_some() {
            // It hears of the outcome and of nothing else.
            self.want_write = Want::Nothing;
            (self.events.readable, self.events.writable, self.events.peer_closed) = (false, false, false);
        }
    }

    pub(super) fn end_linger(&mut self, error: Option<Error>) {
        if let Some(extras) = &mut self.extras {
            extras.linger.end(error);
        }
    }

    pub(super) fn stop_linger(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.linger.stop();
        }
    }

    pub(super) fn on_linger_timeout(&mut self, now: Instant) {
        if self.linger_until().is_some_and(|at| at <= now) {
            self.end_linger((!self.snd.fin_acknowledged()).then_some(Error::TimedOut));
        }
    }
}
