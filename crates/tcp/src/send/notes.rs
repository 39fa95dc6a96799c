//! What the sending half tells the [recorder](crate::recorder).

use super::{Cut, Flight, Sender, recovery::Phase};
use crate::{env::Env, pool::Pool, recorder::What};
use wheel::Instant;
use wire::SeqNum;

/// Details of [`What::Retransmitted`].
const SYN: u8 = 0;
const TIMEOUT: u8 = 1;
const FAST: u8 = 2;
const PROBE: u8 = 3;

impl Sender {
    /// A place in the stream of ours, as it is recorded.
    pub(crate) fn place(&self, seq: SeqNum) -> u32 {
        seq.since(self.iss)
    }

    #[cold]
    pub(super) fn note_syn_again(&self, env: &mut Env<'_>) {
        env.pool.note(env.now, self.iss, What::Retransmitted, SYN, [0, 0, self.cwnd(), 0]);
    }

    /// A segment goes again.
    #[cold]
    pub(super) fn note_again(&self, env: &mut Env<'_>, cut: Cut, f: &Flight) {
        let kind = match f.phase {
            _ if f.probe_due => PROBE,
            Phase::Loss => TIMEOUT,
            _ => FAST,
        };
        let in_flight = f.in_flight(self.mss.into());
        let numbers = [self.place(cut.seq), cut.len, self.cwnd(), in_flight];
        env.pool.note(env.now, self.iss, What::Retransmitted, kind, numbers);
    }

    /// What is done about congestion was `before`.
    #[inline]
    pub(super) fn note_phase(&self, env: &mut Env<'_>, f: &Flight, before: Phase) {
        if f.phase != before {
            self.note_other_phase(env, f);
        }
    }

    #[cold]
    fn note_other_phase(&self, env: &mut Env<'_>, f: &Flight) {
        let (in_flight, una) = (f.in_flight(self.mss.into()), self.place(self.snd_una));
        let numbers = [self.cwnd(), self.congestion.ssthresh(), in_flight, una];
        env.pool.note(env.now, self.iss, What::Phase, f.phase as u8, numbers);
    }

    /// The retransmission timer has expired.
    #[cold]
    pub(crate) fn note_timeout(&self, env: &mut Env<'_>) {
        let next = u32::try_from(self.rto.timeout(env.config).as_millis()).unwrap_or(u32::MAX);
        let unacked = self.snd_max.since(self.snd_una);
        let numbers = [self.rto.timeouts().into(), next, self.place(self.snd_una), unacked];
        env.pool.note(env.now, self.iss, What::TimedOut, 0, numbers);
    }

    /// A window probe is due, and is not the last one any more.
    #[cold]
    pub(crate) fn note_window_probe(&self, env: &mut Env<'_>) {
        let numbers = [self.probes.into(), self.unsent(), 0, 0];
        env.pool.note(env.now, self.iss, What::WindowProbe, 0, numbers);
    }

    /// The peer's window keeps back what there is to send, from now on.
    pub(crate) fn is_shut_out(&self, now: Instant) -> bool {
        self.is_probing() && self.silent_since == now && self.probes == 0 && self.snd_wnd == 0
    }

    #[cold]
    pub(crate) fn note_shut_out(&self, env: &mut Env<'_>) {
        env.pool.note(env.now, self.iss, What::PeerWindowClosed, 0, [self.unsent(), 0, 0, 0]);
    }

    /// The peer's window has grown while it was probed.
    #[cold]
    #[inline(never)]
    pub(super) fn window_opened(&mut self, pool: &mut Pool, now: Instant, (before, window): (u32, u32)) {
        if before == 0 {
            pool.note(now, self.iss, What::PeerWindowOpened, 0, [window, self.probes.into(), 0, 0]);
        }
        self.stop_probing();
    }
}
