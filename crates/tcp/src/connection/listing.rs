//! What a listing of very many connections shows of each: nothing that takes longer the more is in flight.

use super::{Connection, Instant, Resting, State};
use crate::{config::Config, env::Look, why::Why};
use wheel::Duration;

/// Timers there are.
const TIMERS: usize = 10;

/// The timers of a connection that run, by name and time, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timers([Option<(&'static str, Instant)>; TIMERS]);

impl Timers {
    fn add(&mut self, name: &'static str, at: Instant) {
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some((name, at));
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Instant)> {
        self.0.iter().flatten().copied()
    }
}

/// What [`Info`](super::Info) leaves out and a listing shows. [`Detail`](crate::Detail) has more, and counts what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// Why it is not sending.
    pub why: Why,
    /// The timers that run.
    pub timers: Timers,
    /// The retransmission timeout, backed off.
    pub rto: Duration,
    /// How often in a row the retransmission timer has expired.
    pub timeouts: u8,
    /// Probes sent since the peer's window closed.
    pub window_probes: u8,
    /// RTTVAR of RFC 6298, zero before the first sample.
    pub rttvar: Duration,
    /// The least round-trip time of the last minutes, zero before the first sample.
    pub min_rtt: Duration,
    /// The window the peer offers, bytes from the first unacknowledged one on.
    pub peer_window_bytes: u32,
    /// Bytes accepted from the application and never sent.
    pub unsent_bytes: u32,
    /// What leaves in a second at most, bytes; `None` where segments are not paced.
    pub pacing_rate: Option<u64>,
    /// Bytes of data sent, each counted once.
    pub bytes_sent: u64,
    /// Of them, acknowledged.
    pub bytes_acked: u64,
    /// Bytes of data received in order.
    pub bytes_received: u64,
}

impl Connection {
    /// What a listing shows.
    #[must_use]
    pub fn listing(&self, look: Look<'_>) -> Listing {
        let mut timers = Timers::default();
        self.timers(|name, at| timers.add(name, at));
        let (bytes_acked, bytes_sent) = self.snd.bytes();
        Listing {
            why: self.why(look),
            timers,
            rto: self.snd.rto(look.config),
            timeouts: self.snd.timeouts(),
            window_probes: self.snd.window_probes(),
            rttvar: self.snd.rttvar(),
            min_rtt: self.snd.min_rtt(),
            peer_window_bytes: self.snd.peer_window(),
            unsent_bytes: self.snd.unsent(),
            pacing_rate: self.snd.pacing_rate(look.config),
            bytes_sent,
            bytes_acked,
            bytes_received: data(self.rcv.bytes(), self.state),
        }
    }

    /// What keeps the connection from sending, as far as it is TCP.
    #[must_use]
    pub fn why(&self, look: Look<'_>) -> Why {
        match self.state {
            State::Closed | State::Listen | State::TimeWait => Why::Closed,
            State::SynSent | State::SynReceived => Why::Handshake,
            _ => self.snd.why(look),
        }
    }
}

/// The peer's FIN, if it has come, is no data.
fn data(received: u64, state: State) -> u64 {
    use State::{CloseWait, Closing, LastAck, TimeWait};
    received.saturating_sub(matches!(state, CloseWait | Closing | LastAck | TimeWait).into())
}

impl Resting {
    /// As [`Connection::listing`]: it is not woken for that.
    #[must_use]
    pub fn listing(&self, config: &Config) -> Listing {
        let mut timers = Timers::default();
        self.deadline().into_iter().for_each(|at| timers.add("keepalive", at));
        let unusual = self.aside.as_ref().and_then(|aside| aside.unusual.as_ref());
        let turns = self.aside.as_ref().map(|aside| aside.turns).unwrap_or_default();
        let times = self.snd.times(unusual, config);
        let bytes = self.snd.bytes(unusual);
        Listing {
            why: Why::Application,
            timers,
            rto: times.rto,
            timeouts: 0,
            window_probes: 0,
            rttvar: times.rttvar,
            min_rtt: times.min_rtt,
            peer_window_bytes: self.snd.peer_window(),
            unsent_bytes: 0,
            pacing_rate: times.pacing_rate,
            bytes_sent: bytes,
            bytes_acked: bytes,
            bytes_received: data(self.rcv.bytes(turns), self.state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env::Env, pool::Pool, testing::segment};
    use std::format;
    use wire::{SeqNum, tcp::Flags};

    /// An open connection that has exchanged some bytes, and what it was before and behind its rest.
    #[test]
    fn who_rests_is_listed_as_who_is_awake() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut env = Env { now: at(0), config: &config, pool: &mut pool };
        let start =
            super::super::Start { iss: SeqNum::new(100), mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
        let mut conn = Connection::connect(&env, start);
        let mut out = [0; 2048];
        assert_eq!(conn.listing(env.look()).why, Why::Handshake);
        while conn.poll_transmit(&mut env, &mut out).is_some() {}
        env.now = at(30);
        let _ = conn.on_segment(&mut env, &segment(Flags::SYN | Flags::ACK, 300, 101, &[]));
        assert_eq!(conn.send(&mut env, &[7; 500]), Ok(500));
        assert_eq!(conn.listing(env.look()).why, Why::Sending);
        while conn.poll_transmit(&mut env, &mut out).is_some() {}
        let sent = conn.listing(env.look());
        assert_eq!((sent.why, sent.bytes_sent, sent.bytes_acked), (Why::Application, 500, 0));
        assert!(sent.timers.iter().any(|(name, at)| name == "retransmit" && at > env.now));
        env.now = at(60);
        let _ = conn.on_segment(&mut env, &segment(Flags::ACK, 301, 601, &[9; 40]));
        while conn.poll_transmit(&mut env, &mut out).is_some() {}
        while conn.poll_event().is_some() {}
        env.now = at(1000);
        let _ = conn.on_timeout(&mut env);
        while conn.poll_transmit(&mut env, &mut out).is_some() {}
        let awake = conn.listing(env.look());
        assert_eq!((awake.bytes_sent, awake.bytes_acked, awake.bytes_received), (500, 500, 40));
        let info = conn.info();
        let resting = conn.rest(&env).expect("nothing is left to do");
        assert_eq!(format!("{:?}", resting.listing(&config)), format!("{awake:?}"));
        assert_eq!(resting.info(), info);
        assert_eq!(resting.wake(&config).listing(env.look()), awake);
    }

    #[test]
    fn of_all_timers_none_is_left_out() {
        let mut timers = Timers::default();
        (0..TIMERS).for_each(|_| timers.add("one", Instant::ZERO));
        assert_eq!(timers.iter().count(), TIMERS);
    }
}
