//! A connection at rest: open, with nothing to send, to read, to acknowledge or to wait for. Of a million connections nearly
//! all are, and what they have to remember is a third of what one at work needs.
//!
//! Nothing of the protocol is lost: who is woken goes on as if it had not slept, but that a measurement of the receive buffer
//! that was under way begins anew.

use super::{Connection, Env, Info, Pending, extras::Extras, write::Want};
use crate::{
    challenge::ChallengeLimit,
    config::Config,
    ecn::Echo,
    keepalive::Prober,
    negotiation::TIMESTAMPS_BYTES,
    profile::Profile,
    recv::{self, paws},
    send::{self, pmtu::Sizes},
    state::State,
    turns::Turns,
};
use alloc::boxed::Box;
use wheel::{Duration, Instant};
use wire::SeqNum;

/// What is kept of a connection at rest.
#[derive(Debug)]
pub struct Resting {
    pub(super) snd: send::rest::Resting,
    pub(super) rcv: recv::rest::Resting,
    clock: paws::Resting,
    opened: Instant,
    /// From then to when it came into its state, nanoseconds.
    since: u32,
    mss: u16,
    default_peer_mss: u16,
    /// The largest segment that was sent.
    size: u16,
    pub(super) state: State,
    flags: u8,
    pub(super) aside: Option<Box<Aside>>,
}

const PASSIVE: u8 = 1;
const READ_SHUT: u8 = 2;
const SCALED: u8 = 4;
const STAMPED: u8 = 8;
const ECN: u8 = 16;
const ECHOES: u8 = 32;
const LATENCY: u8 = 64;
const THROUGHPUT: u8 = 128;

/// What few connections have.
#[derive(Debug)]
pub(super) struct Aside {
    extras: Option<Box<Extras>>,
    pub(super) unusual: Option<send::rest::Unusual>,
    /// If it did not come into its state within four seconds: in CLOSE-WAIT.
    since: Option<Instant>,
    /// Of RCV.NXT.
    pub(super) turns: Turns,
}

impl Connection {
    /// What is kept while the connection is at rest, if it is: then only [`Resting::wake`] is of use any more. Such a
    /// connection has no timer but that of keep-alives ([`poll_timeout`](Self::poll_timeout)).
    pub fn rest(&mut self, env: &Env<'_>) -> Option<Resting> {
        let size = self.sizes.settled().filter(|_| self.is_at_rest(env))?;
        self.calm();
        let (snd, unusual) = self.snd.rest(env.config);
        let took = self.since - self.opened;
        let since = u32::try_from(took.as_nanos()).ok();
        let late = if since.is_none() { Some(self.since) } else { None };
        let extras = self.extras.take();
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let (ecn, echoes) = self.echo.rest();
        let profile = self.rcv.profile();
        let turns = self.rcv.turns();
        let far = turns != Turns::default();
        let aside = extras.is_some() || unusual.is_some() || late.is_some() || far;
        Some(Resting {
            snd,
            rcv: self.rcv.rest(),
            clock: self.clock.rest(),
            opened: self.opened,
            since: since.unwrap_or(0),
            mss: self.mss,
            default_peer_mss: self.default_peer_mss,
            size,
            state: self.state,
            flags: flag(self.passive, PASSIVE)
                | flag(self.read_shut, READ_SHUT)
                | flag(self.scaled, SCALED)
                | flag(self.clock.is_on(), STAMPED)
                | flag(ecn, ECN)
                | flag(echoes, ECHOES)
                | flag(profile == Profile::Latency, LATENCY)
                | flag(profile == Profile::Throughput, THROUGHPUT),
            aside: aside.then(|| Box::new(Aside { extras, unusual, since: late, turns })),
        })
    }

    pub(super) fn is_at_rest(&self, env: &Env<'_>) -> bool {
        matches!(self.state, State::Established | State::CloseWait)
            && !self.orphan
            && self.want_write == Want::Nothing
            && self.fin_wait2.is_none()
            && !self.events.any()
            && self.extras.as_ref().is_none_or(|extras| extras.is_quiet())
            && self.rcv.is_at_rest()
            && self.snd.is_at_rest(env.now)
            && self.challenge.is_at_rest(env.now, env.config)
    }

    /// Reads a little of each cache line that a segment needs, so that they are there then; what it read means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self) -> u32 {
        let boxes = self.extras.is_none() ^ self.rcv.is_in_order() ^ self.clock.is_on();
        self.snd.touch() ^ self.rcv.buffer() ^ self.rcv.rcv_nxt().value() ^ u32::from(boxes)
    }

    /// The same of what only those need that have something in flight; nothing of others.
    #[inline]
    #[must_use]
    pub fn touch_flight(&self) -> u32 {
        self.snd.touch_flight()
    }

    /// Forgets what means nothing any more.
    pub(super) fn calm(&mut self) {
        self.snd.calm();
        self.rcv.calm(self.snd.last_sent());
        self.sizes = Sizes::of(self.sizes.settled().unwrap_or_default());
        self.challenge = ChallengeLimit::default();
        self.echo.packet(false);
    }
}

impl Resting {
    /// Reads a little of each cache line, so that they are there when it is woken; what it read means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self) -> u32 {
        let ends = u32::from(self.flags) ^ u32::from(self.size) ^ u32::from(self.aside.is_some());
        self.snd.touch() ^ self.rcv.buffer() ^ self.clock.touch() ^ ends
    }

    /// As [`Connection::initial_numbers`].
    #[must_use]
    pub const fn initial_numbers(&self) -> (SeqNum, SeqNum) {
        (self.snd.iss(), self.rcv.irs())
    }

    /// When it is to be woken if nothing happens before: for a keep-alive.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.aside.as_ref()?.extras.as_ref()?.keepalive.as_ref().map(Prober::deadline)
    }

    /// Whether [`Connection::set_link_mss`] would do anything.
    #[must_use]
    pub fn minds_link_mss(&self, mss: u16) -> bool {
        let extras = self.aside.as_ref().is_some_and(|aside| aside.extras.is_some());
        extras || self.snd.mss() + if self.flags & STAMPED != 0 { TIMESTAMPS_BYTES } else { 0 } > mss
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// As [`Connection::info`].
    #[must_use]
    pub fn info(&self) -> Info {
        let unusual = self.aside.as_ref().and_then(|aside| aside.unusual.as_ref());
        let (srtt, cwnd_bytes, ssthresh) = self.snd.path(unusual);
        Info {
            state: self.state,
            send_queue_bytes: 0,
            receive_queue_bytes: 0,
            receive_buffer_bytes: self.rcv.buffer(),
            srtt,
            cwnd_bytes,
            send_mss: self.snd.mss(),
            ssthresh_bytes: Some(ssthresh).filter(|bytes| *bytes != u32::MAX),
            in_flight_bytes: 0,
            sacked_bytes: 0,
            lost_bytes: 0,
            retransmits: self.snd.retransmits(),
            timer: self.deadline().map(|at| ("keepalive", at)),
            opened: self.opened,
            since: self.since(),
        }
    }

    fn since(&self) -> Instant {
        let late = self.aside.as_ref().and_then(|aside| aside.since);
        late.unwrap_or(self.opened + Duration::from_nanos(self.since.into()))
    }

    /// The connection, as it was.
    #[must_use]
    pub fn wake(self, config: &Config) -> Connection {
        let since = self.since();
        let aside = self.aside.map(|aside| (aside.extras, aside.unusual, aside.turns));
        let (extras, unusual, turns) = aside.unwrap_or_default();
        let is = |flag: u8| self.flags & flag != 0;
        let profile = match (is(LATENCY), is(THROUGHPUT)) {
            (true, _) => Profile::Latency,
            (_, true) => Profile::Throughput,
            _ => Profile::Balanced,
        };
        Connection {
            state: self.state,
            passive: is(PASSIVE),
            orphan: false,
            read_shut: is(READ_SHUT),
            scaled: is(SCALED),
            want_write: Want::Nothing,
            events: Pending::default(),
            mss: self.mss,
            default_peer_mss: self.default_peer_mss,
            rcv: self.rcv.wake(self.mss, self.snd.last_sent(), profile, turns),
            snd: self.snd.wake(unusual, config, profile),
            clock: self.clock.wake(is(STAMPED)),
            echo: Echo::woken(is(ECN), is(ECHOES)),
            challenge: ChallengeLimit::default(),
            fin_wait2: None,
            opened: self.opened,
            sizes: Sizes::of(self.size),
            extras,
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::Sender;
    use core::mem::offset_of;

    /// A million connections have a gigabyte less than they would have in full.
    #[test]
    fn sizes() {
        assert_eq!(size_of::<Resting>(), 176);
        assert_eq!(size_of::<Connection>(), 520);
        assert_eq!(size_of::<Aside>(), 176);
    }

    /// What every segment needs lies at the front: with what the shard has before it, 72 bytes, five cache lines.
    #[test]
    fn hot_lines() {
        assert!(72 + offset_of!(Connection, snd) + Sender::HOT <= 5 * 64);
    }
}
