//! What keeps the sender from sending: the questions of [`next_cut`](Sender::next_cut), in the same order, of who only looks.

use super::{
    Fin, Sender,
    nagle::{self, Decision, Hold},
};
use crate::{config::Config, env::Look, why::Why};
use wheel::Duration;
use wire::SeqNum;

impl Sender {
    /// Why there is no next segment; [`Why::Sending`] if there is one.
    pub(crate) fn why(&self, look: Look<'_>) -> Why {
        let mss = u32::from(self.mss).max(1);
        let Some(f) = &self.flight else { return self.why_not_new(0, mss) };
        let in_flight = f.in_flight(self.mss.into());
        let held = self.is_held(look.now, in_flight);
        let room = self.congestion.window().saturating_sub(in_flight);
        match f.board.first_lost(mss, room) {
            Some((seq, _)) if held && seq != self.snd_una => self.why_held(room),
            Some(range) if f.frto.prefers_new() => match f.new_since(self.snd_max) {
                0 => match self.why_not_new(in_flight, mss) {
                    Why::Sending => Why::Sending,
                    _ => self.why_not_lost(range, room, mss),
                },
                sent if sent < 2 * mss => match self.why_not_new(in_flight, mss) {
                    // What was sent is to be acknowledged first; then what is lost may go.
                    Why::Application | Why::Closed => Why::Recovery,
                    why => why,
                },
                _ => Why::Recovery,
            },
            Some(range) => self.why_not_lost(range, room, mss),
            None if f.probe_due => Why::Sending,
            None if f.board.segments() >= self.most_segments(look.config, look.pool)
                && !self.probes_window()
                && self.has_unsent() =>
            {
                Why::Memory
            }
            None if held && !self.probes_window() && self.unsent() > 0 => self.why_held(room),
            None => self.why_not_new(in_flight, mss),
        }
    }

    /// The burst is used up; but without room in the window there would be none.
    fn why_held(&self, room: u32) -> Why {
        if room >= u32::from(self.mss) { Why::Pacing } else { Why::Cwnd }
    }

    fn why_not_lost(&self, (seq, end): (SeqNum, SeqNum), room: u32, mss: u32) -> Why {
        let peer = self.snd_wnd.saturating_sub(seq.since(self.snd_una));
        let len = end.since(seq).min(mss).min(peer.max(1));
        match (self.probes_window(), peer) {
            (true, _) => Why::Sending,
            // What was SACKed is wanted again: that waits for the timeout.
            (false, 0) if seq != self.snd_una => Why::Recovery,
            (false, 0) => Why::PeerWindow,
            _ if len <= room => Why::Sending,
            _ => Why::Cwnd,
        }
    }

    fn why_not_new(&self, in_flight: u32, mss: u32) -> Why {
        let queued = self.queue.len().saturating_sub(self.snd_nxt.since(self.data_start()));
        let fin_due = self.fin == Fin::Queued && self.snd_nxt.before_eq(self.data_end());
        if queued == 0 && !fin_due {
            return if self.is_closed() { Why::Closed } else { Why::Application };
        }
        let peer = self.snd_wnd.saturating_sub(self.snd_nxt.since(self.snd_una));
        let room = self.congestion.window().saturating_sub(in_flight);
        let window = if peer <= room { Why::PeerWindow } else { Why::Cwnd };
        let decision = Decision {
            queued,
            usable: peer.min(room),
            mss,
            max_window: self.max_window,
            small_in_flight: self.small.after(self.snd_una),
            nodelay: self.nodelay || self.snd_nxt != self.snd_max,
            closing: self.is_closed(),
            corked: self.cork.keeps(),
        };
        match nagle::holds(decision) {
            _ if self.probes_window() => Why::Sending,
            _ if queued == 0 && peer > 0 => Why::Sending,
            _ if queued == 0 => Why::PeerWindow,
            Hold::Nothing => Why::Sending,
            Hold::Window => window,
            Hold::Nagle => Why::Nagle,
            Hold::Cork => Why::Cork,
        }
    }

    pub(crate) fn rto(&self, config: &Config) -> Duration {
        self.rto.timeout(config)
    }

    pub(crate) const fn rttvar(&self) -> Duration {
        self.rto.rttvar()
    }

    pub(crate) const fn min_rtt(&self) -> Duration {
        self.path.min_rtt()
    }

    pub(crate) const fn window_probes(&self) -> u8 {
        self.probes
    }

    pub(crate) const fn peer_window(&self) -> u32 {
        self.snd_wnd
    }

    /// What may leave in a second: what the controller says where segments are paced, `None` where they are not.
    pub(crate) fn pacing_rate(&self, config: &Config) -> Option<u64> {
        let srtt = self.rto.srtt().filter(|_| self.is_paced(config))?;
        Some(self.congestion.pacing_rate(srtt))
    }

    /// Bytes that the peer has acknowledged, and those that were sent so far, each counted once; FIN not, SYN not.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        if !self.syn_acked {
            return (0, 0);
        }
        let acked = self.path.turns.total(self.snd_una.since(self.iss));
        let unsent_fin = u64::from(self.fin == Fin::Acknowledged);
        // SND.UNA is behind the SYN, and behind the FIN once that is acknowledged.
        let acked = acked.saturating_sub(1 + unsent_fin);
        (acked, acked + u64::from(self.queue.len() - self.unsent()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ack;
    use super::*;
    use crate::{env::Env, pool::Pool, testing::segment};
    use std::vec;
    use wheel::Instant;
    use wire::tcp::{Flags, Header, SackBlocks};

    const MSS: u16 = 1000;
    const ISS: SeqNum = SeqNum::new(u32::MAX - 5000);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Open since 100 ms, on a path of 100 ms, to a peer that offers `window` bytes.
    fn open(env: &mut Env<'_>, window: u16) -> Sender {
        env.now = at(0);
        let mut sender = Sender::new(ISS, MSS, env);
        sender.syn_sent(env);
        env.now = at(100);
        acknowledge(&mut sender, env, 1, window);
        sender.established(&Header { window, ..segment(Flags::ACK, 0, (ISS + 1).value(), &[]).header }, false);
        sender
    }

    fn acknowledge(sender: &mut Sender, env: &mut Env<'_>, number: u32, window: u16) {
        let none = SackBlocks::default();
        let number = ISS + number;
        sender.on_ack(env, Ack { number, sack: &none, echo: None, ece: false, empty: true, window_changed: false });
        sender.update_window(env, SeqNum::new(1), number, window, false);
    }

    fn send_all(sender: &mut Sender, env: &mut Env<'_>) -> usize {
        let mut cuts = 0;
        while let Some(cut) = sender.next_cut(env, 0) {
            sender.sent(env, cut);
            cuts += 1;
        }
        cuts
    }

    /// RFC 6928: ten segments are what the window lets out first.
    #[test]
    fn application_then_sending_then_cwnd() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let env = &mut Env { now: at(0), config: &config, pool: &mut pool };
        let mut sender = open(env, 60_000);
        assert_eq!(sender.why(env.look()), Why::Application);
        sender.push(env, &vec![7; 12_000]);
        assert_eq!(sender.why(env.look()), Why::Sending);
        assert_eq!(send_all(&mut sender, env), 10);
        assert_eq!(sender.why(env.look()), Why::Cwnd);
        assert_eq!(sender.bytes(), (0, 10_000));
        env.now = at(200);
        acknowledge(&mut sender, env, 10_001, 60_000);
        send_all(&mut sender, env);
        assert_eq!((sender.why(env.look()), sender.bytes()), (Why::Application, (10_000, 12_000)));
        sender.close();
        assert_eq!(sender.why(env.look()), Why::Sending);
        send_all(&mut sender, env);
        assert_eq!(sender.why(env.look()), Why::Closed);
        acknowledge(&mut sender, env, 12_002, 60_000);
        assert_eq!((sender.why(env.look()), sender.bytes()), (Why::Closed, (12_000, 12_000)));
    }

    #[test]
    fn a_window_that_is_too_small_or_closed_is_the_peers() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let env = &mut Env { now: at(0), config: &config, pool: &mut pool };
        let mut sender = open(env, 3000);
        sender.push(env, &vec![7; 5000]);
        assert_eq!(send_all(&mut sender, env), 3);
        assert_eq!(sender.why(env.look()), Why::PeerWindow);
        acknowledge(&mut sender, env, 3001, 0);
        assert_eq!((sender.next_cut(env, 0), sender.why(env.look())), (None, Why::PeerWindow));
        // A silly window: less than half of the largest, and less than a segment.
        acknowledge(&mut sender, env, 3001, 400);
        assert_eq!((sender.next_cut(env, 0), sender.why(env.look())), (None, Why::PeerWindow));
        // A FIN needs room, too.
        acknowledge(&mut sender, env, 3001, 2000);
        sender.close();
        assert_eq!(send_all(&mut sender, env), 2);
        assert_eq!(sender.why(env.look()), Why::PeerWindow);
    }

    #[test]
    fn nagle_and_cork() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let env = &mut Env { now: at(0), config: &config, pool: &mut pool };
        let mut sender = open(env, 60_000);
        sender.push(env, &[7; 10]);
        send_all(&mut sender, env);
        sender.push(env, &[7; 10]);
        assert_eq!(sender.why(env.look()), Why::Nagle);
        sender.set_nodelay(true);
        assert_eq!(sender.why(env.look()), Why::Sending);
        send_all(&mut sender, env);
        sender.set_cork(true);
        sender.follows(false);
        sender.push(env, &[7; 10]);
        assert_eq!((sender.next_cut(env, 0), sender.why(env.look())), (None, Why::Cork));
    }

    /// A path of 100 ms is paced once more than the initial window is in flight.
    #[test]
    fn pacing() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let env = &mut Env { now: at(0), config: &config, pool: &mut pool };
        let mut sender = open(env, 60_000);
        sender.push(env, &vec![7; 50_000]);
        send_all(&mut sender, env);
        env.now = at(200);
        acknowledge(&mut sender, env, 10_001, 60_000);
        assert!(send_all(&mut sender, env) < 20);
        assert_eq!(sender.why(env.look()), Why::Pacing);
        assert!(sender.pacing_rate(&config).is_some_and(|rate| rate >= 100_000), "ten segments in 100 ms");
    }
}
