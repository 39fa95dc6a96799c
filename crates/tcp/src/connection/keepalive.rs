//! Keep-alives of a connection: RFC 9293 section 3.8.4.

use super::{Connection, Emit, Env, Flags, Instant, Reset};
use crate::keepalive::{Keepalive, Prober, Verdict};

impl Connection {
    /// Switches keep-alives on, or off as they are by default (RFC 9293 MUST-24, MUST-25). A peer that answers none ends the
    /// connection with [`Error::TimedOut`](super::Error::TimedOut).
    pub fn set_keepalive(&mut self, env: &Env<'_>, settings: Option<Keepalive>) {
        if settings.is_some() || self.extras.is_some() {
            self.extras().keepalive = settings.map(|settings| Prober::new(settings, env.now));
        }
    }

    /// There is somebody to keep it alive for, and a peer to ask.
    fn may_probe(&self) -> bool {
        self.state.is_synchronized() && !self.orphan && self.state != super::State::TimeWait
    }

    pub(super) fn keepalive_deadline(&self) -> Option<Instant> {
        let prober = self.extras.as_ref()?.keepalive.as_ref()?;
        self.may_probe().then(|| prober.deadline())
    }

    /// The peer may be gone: then the connection is, and a reset says so, as Linux and the BSDs have it.
    pub(super) fn on_keepalive_timeout(&mut self, env: &mut Env<'_>) -> Option<Reset> {
        let (quiet, may_probe) = (self.snd.is_idle(), self.may_probe());
        let extras = self.extras.as_mut().filter(|_| may_probe)?;
        let user_timeout = extras.user_timeout;
        let verdict = extras.keepalive.as_mut().map(|k| k.on_timeout(env.now, quiet, user_timeout));
        (verdict == Some(Verdict::GiveUp)).then(|| {
            let reset = self.reset_of_ours(env);
            self.finish(env, Some(self.silence()));
            reset
        })
    }

    /// `<SEQ=SND.NXT-1><ACK=RCV.NXT><CTL=ACK>` without data (SHLD-12): not acceptable, so it is answered.
    pub(super) fn emit_keepalive(&mut self, env: &mut Env<'_>, emit: &mut Emit) -> bool {
        let quiet = self.snd.is_idle();
        let Some(prober) = self.extras.as_mut().and_then(|extras| extras.keepalive.as_mut()) else { return false };
        if !prober.take_probe() || !quiet {
            return false;
        }
        self.header(env, self.snd.ack_seq() - 1, Flags::ACK, &mut emit.header);
        (emit.payload_len, emit.ect) = (0, false);
        self.note_keepalive(env);
        true
    }
}
