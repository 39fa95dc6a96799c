//! What a look at a connection shows of its sending half.

use super::{Sender, recovery::Phase, scoreboard::Census};
use crate::config::Config;
use wheel::Duration;

/// What loss recovery is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// Nothing.
    #[default]
    Open,
    /// Something has arrived out of order; nothing is taken for lost yet.
    Disorder,
    /// The window comes down because the network has marked a segment (RFC 3168).
    Reducing,
    /// Lost segments are sent again (RFC 5681 section 3.2).
    Recovery,
    /// The retransmission timer expired.
    Loss,
}

/// The state of loss recovery and the timers: what `ss -i` shows on Linux. [`Info`](crate::Info) has the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// What loss recovery is doing.
    pub recovery: Recovery,
    /// The retransmission timeout, backed off.
    pub rto: Duration,
    /// How often it has doubled since the last round-trip sample.
    pub backoff: u8,
    /// How often in a row the retransmission timer has expired.
    pub timeouts: u8,
    /// Probes sent since the peer's window closed.
    pub window_probes: u8,
    /// RTTVAR of RFC 6298, zero before the first sample.
    pub rttvar: Duration,
    /// The least round-trip time of the last minutes, zero before the first sample.
    pub min_rtt: Duration,
    /// Segments not acknowledged cumulatively.
    pub outstanding: u32,
    /// Of them, reported by SACK.
    pub sacked: u32,
    /// Of them, taken for lost, whether sent again or not.
    pub lost: u32,
    /// Of them, sent again with the copy in flight.
    pub resent: u32,
    /// How far behind a segment was delivered that was not lost, segments, at most so far; 0 if that was never seen.
    pub reordering: u16,
    /// Acknowledgments that showed reordering.
    pub reordered: u16,
    /// The window the peer offers, bytes from the first unacknowledged one on.
    pub peer_window_bytes: u32,
    /// Bytes accepted from the application and never sent.
    pub unsent_bytes: u32,
    /// The peer sends SACK blocks.
    pub sack: bool,
    /// ECN is in use.
    pub ecn: bool,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// The shifts of the windows we receive and send, if both ends scale.
    pub window_scale: Option<(u8, u8)>,
}

impl Sender {
    /// `timestamps`: whether they are in use; `shift`: that of the windows we send, if both ends scale.
    pub(crate) fn detail(&self, config: &Config, timestamps: bool, shift: Option<u8>) -> Detail {
        let census = self.flight.as_ref().map_or(Census::default(), |f| f.board.census());
        let recovery = self.flight.as_ref().map_or(Recovery::Open, |f| match f.phase {
            Phase::Open if f.is_disordered() => Recovery::Disorder,
            Phase::Open => Recovery::Open,
            Phase::Reducing => Recovery::Reducing,
            Phase::Recovery => Recovery::Recovery,
            Phase::Loss => Recovery::Loss,
        });
        let (reordering, reordered) = self.path.reordering();
        Detail {
            recovery,
            rto: self.rto.timeout(config),
            backoff: self.rto.backoff(),
            timeouts: self.rto.timeouts(),
            window_probes: self.probes,
            rttvar: self.rto.rttvar(),
            min_rtt: self.path.min_rtt(),
            outstanding: census.outstanding,
            sacked: census.sacked,
            lost: census.lost,
            resent: census.resent,
            reordering,
            reordered,
            peer_window_bytes: self.snd_wnd,
            unsent_bytes: self.unsent(),
            sack: self.sack,
            ecn: self.ecn,
            timestamps,
            window_scale: shift.map(|ours| (self.shift, ours)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ack;
    use super::*;
    use crate::{env::Env, pool::Pool};
    use wheel::Instant;
    use wire::{SeqNum, tcp::SackBlocks};

    /// Ten segments, of which the peer reports 2, 6, 8, then 3 and 9 (counted from 0): the numbers are those of Linux's
    /// `tcp_info` in the same case.
    #[test]
    fn the_counts_are_linuxs() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut env = Env { now: at(0), config: &config, pool: &mut pool };
        let mut sender = Sender::new(SeqNum::new(0), 100, &env);
        sender.set_sack(true);
        sender.syn_sent(&mut env);
        let ack = |sender: &mut Sender, env: &mut Env<'_>, number: u32, list: &[(u32, u32)]| {
            let mut sack = SackBlocks::default();
            for (from, to) in list {
                sack.push(SeqNum::new(*from), SeqNum::new(*to));
            }
            let number = SeqNum::new(number);
            sender.on_ack(env, Ack { number, sack: &sack, echo: None, ece: false, empty: true, window_changed: false });
            while let Some(cut) = sender.next_cut(env, 0) {
                sender.sent(env, cut);
            }
            let d = sender.detail(&config, false, None);
            (d.recovery, [d.outstanding, d.sacked, d.lost, d.resent], (d.reordering, d.reordered))
        };
        env.now = at(100);
        ack(&mut sender, &mut env, 1, &[]);
        sender.established(&crate::testing::segment(wire::tcp::Flags::ACK, 0, 1, &[]).header, false);
        assert_eq!(sender.push(&mut env, &[7; 1000]), 1000);
        while let Some(cut) = sender.next_cut(&env, 0) {
            sender.sent(&mut env, cut);
        }
        env.now = at(200);
        let said = ack(&mut sender, &mut env, 1, &[(201, 301)]);
        assert_eq!(said, (Recovery::Disorder, [10, 1, 0, 0], (0, 0)));
        ack(&mut sender, &mut env, 1, &[(601, 701), (201, 301)]);
        let said = ack(&mut sender, &mut env, 1, &[(801, 901), (201, 301), (601, 701)]);
        assert_eq!(said, (Recovery::Recovery, [10, 3, 6, 1], (0, 0)));
        env.now = at(210);
        // 901 - 301 bytes behind what was reported before.
        let said = ack(&mut sender, &mut env, 1, &[(201, 401), (801, 901), (601, 701)]);
        assert_eq!(said, (Recovery::Recovery, [10, 4, 5, 2], (6, 1)));
        env.now = at(300);
        // 401 was never sent again: 500 bytes behind.
        assert_eq!(ack(&mut sender, &mut env, 1001, &[]), (Recovery::Open, [0; 4], (6, 2)));
    }
}
