//! What an acknowledgment does to SND.UNA, to the round-trip estimate and to the timers; what it says of losses is `recovery`'s.

use super::{Fin, Sender, scoreboard::Delivered};
use crate::env::Env;
use wheel::Duration;
use wire::{SeqNum, tcp::SackBlocks};

/// The echoed timestamps count in milliseconds.
pub(super) const ECHO_RESOLUTION: Duration = Duration::from_millis(1);

/// What a segment acknowledges, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack<'a> {
    /// SEG.ACK, plausible by RFC 5961 section 5.2.
    pub(crate) number: SeqNum,
    pub(crate) sack: &'a SackBlocks,
    /// How long ago the timestamp it echoes was sent, in whole milliseconds; `None` without timestamps.
    pub(crate) echo: Option<Duration>,
    /// ECE is set, on a connection that uses ECN.
    pub(crate) ece: bool,
    /// It carries no data, no SYN and no FIN.
    pub(crate) empty: bool,
    /// It changes the send window.
    pub(crate) window_changed: bool,
}

impl Sender {
    /// Takes any plausible acknowledgment: new, duplicate, or old with SACK blocks.
    #[inline]
    pub(crate) fn on_ack(&mut self, env: &mut Env<'_>, ack: Ack<'_>) {
        if self.is_smooth(&ack) {
            self.on_smooth_ack(env, &ack);
        } else {
            self.on_any_ack(env, ack);
        }
    }

    /// The usual acknowledgment, which says nothing of losses.
    fn is_smooth(&self, ack: &Ack<'_>) -> bool {
        self.acknowledges_new(ack.number)
            && ack.sack.is_empty()
            && !ack.ece
            && !self.tail.is_out()
            && self.flight.as_ref().is_some_and(|f| f.is_smooth())
    }

    /// What [`on_any_ack`](Self::on_any_ack) comes to for the usual one.
    fn on_smooth_ack(&mut self, env: &mut Env<'_>, ack: &Ack<'_>) {
        let Some(mut flight) = self.flight.take() else { return };
        let mut delivered = flight.board.delivered(env.now);
        flight.board.acknowledge_unmarked(ack.number, &mut delivered);
        self.measure(env, &delivered, ack);
        self.advance(env, ack.number);
        self.on_smooth_evidence(env, &mut flight, &delivered);
        if flight.board.is_empty() {
            env.pool.give_flight(flight);
        } else {
            self.schedule_probe(env, &mut flight);
            self.flight = Some(flight);
        }
    }

    fn on_any_ack(&mut self, env: &mut Env<'_>, ack: Ack<'_>) {
        let new = self.acknowledges_new(ack.number);
        if !self.syn_acked {
            if new {
                self.on_syn_acked(env, &ack);
            }
            return;
        }
        let Some(mut flight) = self.flight.take() else {
            if new {
                self.advance(env, ack.number);
            }
            return;
        };
        let sooner = env.now - self.path.min_rtt();
        let echoed = ack.echo.map_or(sooner, |age| env.now - age + ECHO_RESOLUTION);
        let mut delivered = flight.board.delivered(sooner.min(echoed));
        if self.sack && !ack.sack.is_empty() {
            flight.board.sack(ack.number, self.snd_una, ack.sack, &mut delivered);
        }
        if new {
            flight.board.acknowledge(ack.number, &mut delivered);
        }
        self.measure(env, &delivered, &ack);
        if new {
            self.advance(env, ack.number);
        }
        self.on_evidence(env, &mut flight, &ack, new, &mut delivered);
        if flight.board.is_empty() {
            env.pool.give_flight(flight);
            return;
        }
        if new || delivered.bytes > 0 {
            self.schedule_probe(env, &mut flight);
        }
        self.flight = Some(flight);
    }

    /// The peer has our SYN. Nothing else can have been sent before.
    fn on_syn_acked(&mut self, env: &mut Env<'_>, ack: &Ack<'_>) {
        self.congestion.open(self.mss.into(), self.rto.timeouts());
        self.rto.established(env.config);
        let rtt =
            if self.retransmits == 0 { Some(env.now - self.last_sent) } else { ack.echo.filter(|e| !e.is_zero()) };
        if let Some(rtt) = rtt {
            self.rto.sample(rtt, env.config);
            self.path.sample(rtt, env.now);
        }
        self.advance(env, ack.number);
        self.syn_acked = true;
        (self.recover, self.sampled) = (self.iss, self.iss);
    }

    /// SND.UNA moves to `number`, which is new.
    fn advance(&mut self, env: &mut Env<'_>, number: SeqNum) {
        let syn = u32::from(!self.syn_acked);
        let data = (number.since(self.snd_una) - syn).min(self.queue.len());
        if self.fin == Fin::Queued && number.after(self.data_end()) {
            self.fin = Fin::Acknowledged;
        }
        self.queue.consume(env.pool, data);
        self.cursor.consumed(data);
        // The right edge stays where it is: only a segment that is newer moves it (`update_window`).
        self.snd_wnd = self.snd_wnd.saturating_sub(number.since(self.snd_una));
        self.snd_una = number;
        self.snd_nxt = self.snd_nxt.max(number);
        if number.after(self.recover) {
            // It has done its work; left behind it would come round again after 2 GiB.
            self.recover = number - 1;
        }
        if number.after(self.small) {
            self.small = number;
        }
        self.stop_probing();
        self.rto.acknowledged();
        self.silent_since = env.now;
        // RFC 6298 (5.2), (5.3).
        self.deadline = (self.snd_una != self.snd_max).then(|| env.now + self.rto.timeout(env.config));
        debug_assert!(self.in_order(), "SND.UNA =< SND.NXT =< what was sent");
    }

    /// Round-trip times: of segments sent once (Karn's algorithm), else of the echoed timestamp (RFC 7323 section 4).
    fn measure(&mut self, env: &Env<'_>, delivered: &Delivered, ack: &Ack<'_>) {
        let times = delivered.acked.filter(|_| !delivered.retransmitted).or(delivered.sacked);
        if let Some((_, last)) = times {
            self.path.sample(env.now - last, env.now);
        }
        let una = self.snd_una.max(ack.number);
        if una.before_eq(self.sampled) {
            return;
        }
        let echo = ack.echo.filter(|age| ack.number.after(self.snd_una) && !age.is_zero());
        if let Some(rtt) = times.map(|(first, _)| env.now - first).or(echo) {
            self.rto.sample(rtt, env.config);
            (self.sampled, self.probed) = (self.snd_max, false);
        } else {
            // As `recover`.
            self.sampled = una - 1;
        }
    }
}
