//! SYN-RECEIVED of a passive open as a record, not a connection: what it must remember, and how it answers (RFC 9293
//! section 3.10.7.4, RFC 5961, RFC 4987 section 3.5).
//!
//! What the peer sends with its SYN, or before it acknowledges ours, is not kept: it is not acknowledged either, so it comes
//! again. What comes with the acknowledgment goes through the [`Connection`](crate::Connection) that is made then.

use crate::{
    closed::Reset,
    config::Config,
    connection::Start,
    cookie::{CookieOptions, Cookies, Family},
    ecn::Ecn,
    env::Env,
    error::DropReason,
    negotiation::Negotiated,
    recv::{
        Receiver,
        acceptability::{self, Window},
        paws,
    },
};
use core::hash::Hash;
use wheel::Instant;
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Segment, Timestamps},
};

/// Stands for a peer that did not offer window scaling.
const NO_SCALE: u8 = 0x0f;
/// Beside the scale: the SYN asked for ECN, and we agree.
const ECN: u8 = 0x80;

/// A passive open whose SYN-ACK is not acknowledged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfOpen {
    /// When the SYN came, and the SYN-ACK was sent first.
    began: Instant,
    /// When it was sent last.
    sent: Instant,
    iss: SeqNum,
    irs: SeqNum,
    /// The MSS we announce.
    mss: u16,
    /// What both SYNs have settled, spread out so that it takes less.
    peer_mss: u16,
    recent: u32,
    scale: u8,
    sack: bool,
    stamped: bool,
    /// SYN-ACKs sent again because nobody acknowledged them.
    timeouts: u8,
    /// Answers to segments that prove nothing, and in which interval (modulo 256).
    answers: u16,
    interval: u8,
    tries: Tries,
}

/// How often the SYN-ACK was sent, for whatever reason: what its acknowledgment says of the round trip (Karn's algorithm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tries {
    One,
    /// Which one is acknowledged is not known.
    Several,
    /// It was a cookie: when it was sent, and how often, is not known.
    Cookie,
}

/// What SYN-RECEIVED does with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfOpenAnswer {
    /// Drop it silently.
    Ignore(DropReason),
    /// Drop it, and send [`HalfOpen::ack`].
    Ack(DropReason),
    /// The peer's SYN again: send [`HalfOpen::syn_ack`] again.
    SynAckAgain,
    /// It acknowledges what was never sent: send this, and stay.
    Reset(Reset),
    /// The peer gave up: back to LISTEN, and the application does not hear of it (MUST-11).
    Forget,
    /// The handshake is complete: make a [`Connection`](crate::Connection), and give it the segment.
    Complete,
}

impl HalfOpen {
    /// A SYN arrived at a listener.
    #[must_use]
    pub fn new(env: &Env<'_>, start: Start, syn: &Segment<'_>) -> Self {
        let negotiated = Negotiated::new(env.config, start.mss, start.default_peer_mss, &syn.header.options);
        let ecn = env.config.ecn.agrees_to(syn.header.flags);
        Self::with(env, start, syn.header.seq, negotiated).with_ecn(ecn)
    }

    fn with_ecn(self, ecn: bool) -> Self {
        Self { scale: self.scale | if ecn { ECN } else { 0 }, ..self }
    }

    fn with(env: &Env<'_>, start: Start, irs: SeqNum, negotiated: Negotiated) -> Self {
        Self {
            began: env.now,
            sent: env.now,
            iss: start.iss,
            irs,
            mss: start.mss,
            peer_mss: negotiated.mss,
            recent: negotiated.timestamps.unwrap_or_default(),
            scale: negotiated.window_scale.unwrap_or(NO_SCALE),
            sack: negotiated.sack,
            stamped: negotiated.timestamps.is_some(),
            timeouts: 0,
            answers: 0,
            interval: 0,
            tries: Tries::One,
        }
    }

    /// A SYN of which nothing is to be kept: the SYN-ACK with a cookie as its ISS. `flow` is what the cookie is made from.
    #[must_use]
    pub fn cookie_syn_ack(
        env: &Env<'_>,
        start: Start,
        syn: &Segment<'_>,
        cookies: &Cookies,
        (flow, family): (&impl Hash, Family),
    ) -> Header {
        let all = Negotiated::new(env.config, start.mss, start.default_peer_mss, &syn.header.options);
        // Without timestamps there is no place for the rest.
        let negotiated =
            if all.timestamps.is_some() { all } else { Negotiated { window_scale: None, sack: false, ..all } };
        let (iss, _) = cookies.iss(env.now, flow, family, syn.header.seq, all.mss);
        let ecn = negotiated.timestamps.is_some() && env.config.ecn.agrees_to(syn.header.flags);
        let half = Self::with(env, Start { iss, ..start }, syn.header.seq, negotiated).with_ecn(ecn);
        let mut header = half.syn_ack(env, start.timestamp_offset);
        if let Some(timestamps) = &mut header.options.timestamps {
            let options = CookieOptions { window_scale: half.scale(), sack: half.sack, ecn };
            timestamps.val = options.in_tsval(timestamps.val);
        }
        header
    }

    /// The record a cookie stood for, from the ACK that returns it; `None` if it is forged or stale. The ACK completes it.
    #[must_use]
    pub fn from_cookie(
        env: &Env<'_>,
        start: Start,
        ack: &Segment<'_>,
        cookies: &Cookies,
        (flow, family): (&impl Hash, Family),
    ) -> Option<Self> {
        let (irs, iss) = (ack.header.seq - 1, ack.header.ack - 1);
        let mss = cookies.mss(env.now, flow, family, irs, iss)?.min(start.mss);
        // An echo that our clock has not shown while cookies live is not of our SYN-ACK.
        let clock = paws::clock(env.now, start.timestamp_offset);
        let recent = |t: &Timestamps| u64::from(clock.wrapping_sub(t.ecr)) <= Cookies::VALID_FOR.as_millis() + 64;
        let stamps = ack.header.options.timestamps.filter(|t| env.config.timestamps && recent(t));
        let options = stamps.map(|t| CookieOptions::of_tsecr(t.ecr));
        let negotiated = Negotiated {
            mss,
            window_scale: options.and_then(|o| o.window_scale).filter(|_| env.config.window_scaling),
            sack: options.is_some_and(|o| o.sack) && env.config.sack,
            timestamps: stamps.map(|t| t.val),
        };
        let half = Self::with(env, Start { iss, ..start }, irs, negotiated);
        let ecn = options.is_some_and(|o| o.ecn) && env.config.ecn != Ecn::Off;
        Some(Self { tries: Tries::Cookie, ..half.with_ecn(ecn) })
    }

    /// The answer to a segment of this connection: RFC 9293 section 3.10.7.4 for SYN-RECEIVED after a passive OPEN.
    pub fn on_segment(&mut self, env: &Env<'_>, segment: &Segment<'_>) -> HalfOpenAnswer {
        let Header { seq, ack, flags, .. } = segment.header;
        let window = Window { rcv_nxt: self.rcv_nxt(), rcv_wnd: Receiver::syn_window(env) };
        // Before all: RFC 7323 section 5.3, R1.
        if let Some(answer) = self.old_timestamp(env, segment) {
            return answer;
        }
        // First: the sequence number.
        if acceptability::check(window, segment).is_none() {
            if flags.contains(Flags::RST) {
                return HalfOpenAnswer::Ignore(DropReason::ResetNotExact);
            }
            // A4: the peer's own SYN again has not seen our answer.
            if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) && seq == self.irs {
                return self.syn_ack_again(env, &segment.header.options);
            }
            return self.challenge(env, DropReason::OutOfWindow);
        }
        // Second: RST, by RFC 5961 section 3.2.
        if flags.contains(Flags::RST) {
            return if seq == self.rcv_nxt() {
                HalfOpenAnswer::Forget
            } else {
                self.challenge(env, DropReason::ResetNotExact)
            };
        }
        // Fourth: SYN. A4: as in later states (RFC 5961 section 4.2), so that nobody off the path ends this.
        if flags.contains(Flags::SYN) {
            return self.challenge(env, DropReason::UnexpectedSyn);
        }
        // Fifth: ACK. A3: RFC 5961 section 5 is for synchronized states.
        if !flags.contains(Flags::ACK) {
            return HalfOpenAnswer::Ignore(DropReason::NoAck);
        }
        if ack != self.iss + 1 {
            return HalfOpenAnswer::Reset(Reset::answer(&segment.header));
        }
        HalfOpenAnswer::Complete
    }

    /// RFC 7323 sections 3.2 and 5.3. A reset is never asked, and a SYN that lacks the option may be a new incarnation's: it
    /// must learn of this one.
    fn old_timestamp(&mut self, env: &Env<'_>, segment: &Segment<'_>) -> Option<HalfOpenAnswer> {
        let flags = segment.header.flags;
        if !self.stamped || flags.contains(Flags::RST) {
            return None;
        }
        match segment.header.options.timestamps {
            None if !flags.contains(Flags::SYN) => Some(HalfOpenAnswer::Ignore(DropReason::NoTimestamp)),
            Some(t) if paws::older(t.val, self.recent) => Some(self.challenge(env, DropReason::OldTimestamp)),
            _ => None,
        }
    }

    fn syn_ack_again(&mut self, env: &Env<'_>, syn: &Options) -> HalfOpenAnswer {
        if !self.allow(env) {
            return HalfOpenAnswer::Ignore(DropReason::OutOfWindow);
        }
        // What it does not offer any more it does not use (some leave options out when nobody answers).
        self.stamped &= syn.timestamps.is_some();
        self.sack &= syn.sack_permitted;
        if syn.window_scale.is_none() {
            self.scale |= NO_SCALE;
        }
        self.tries = Tries::Several;
        self.sent = env.now;
        HalfOpenAnswer::SynAckAgain
    }

    fn challenge(&mut self, env: &Env<'_>, reason: DropReason) -> HalfOpenAnswer {
        if self.allow(env) { HalfOpenAnswer::Ack(reason) } else { HalfOpenAnswer::Ignore(reason) }
    }

    /// The limit of RFC 5961 section 7, as a connection has it. Per record, so that it is no side channel between connections
    /// (A21).
    fn allow(&mut self, env: &Env<'_>) -> bool {
        let interval = (env.now - self.began).as_nanos() / env.config.challenge_interval.as_nanos().max(1);
        let [.., interval] = interval.to_be_bytes();
        if interval != self.interval {
            (self.interval, self.answers) = (interval, 0);
        }
        self.answers = self.answers.saturating_add(1);
        self.answers <= env.config.challenge_acks
    }

    /// When to call [`on_timeout`](Self::on_timeout): the RTO doubles with every SYN-ACK it sends (RFC 6298 section 5.5),
    /// up to [`syn_received`](crate::Settings::syn_received). A SYN-ACK that answers the peer's SYN puts it off.
    #[must_use]
    pub fn deadline(&self, config: &Config) -> Instant {
        let rto = (config.initial_rto * (1 << self.timeouts.min(20))).min(config.max_rto);
        (self.sent + rto).min(self.began + config.syn_received)
    }

    /// The deadline has come: true to send [`syn_ack`](Self::syn_ack) again, false when the time is over.
    pub fn on_timeout(&mut self, env: &Env<'_>) -> bool {
        if env.now - self.began >= env.config.syn_received || self.timeouts == u8::MAX {
            return false;
        }
        self.timeouts += 1;
        self.tries = Tries::Several;
        self.sent = env.now;
        true
    }

    /// `<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>`; the ports are 0. `offset` is the connection's timestamp offset
    /// ([`Start::timestamp_offset`]).
    #[must_use]
    pub fn syn_ack(&self, env: &Env<'_>, offset: u32) -> Header {
        // A SYN-ACK offers only what the SYN did, and its own window is not scaled (RFC 7323 sections 2.2 and 3.2).
        let options = Options {
            mss: Some(self.mss),
            window_scale: self.scale().map(|_| env.config.window_scale()),
            sack_permitted: self.sack,
            timestamps: self.stamp(env, offset),
            ..Options::default()
        };
        let window = Receiver::syn_window(env);
        let flags = Flags::SYN | Flags::ACK;
        self.header(self.iss, if self.uses_ecn() { flags | Flags::ECE } else { flags }, window, options)
    }

    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`; the ports are 0. `offset` as in [`syn_ack`](Self::syn_ack).
    #[must_use]
    pub fn ack(&self, env: &Env<'_>, offset: u32) -> Header {
        let shift = self.scale().map_or(0, |_| env.config.window_scale());
        let options = Options { timestamps: self.stamp(env, offset), ..Options::default() };
        self.header(self.iss + 1, Flags::ACK, Receiver::syn_window(env) >> shift, options)
    }

    fn stamp(&self, env: &Env<'_>, offset: u32) -> Option<Timestamps> {
        self.stamped.then(|| Timestamps { val: paws::clock(env.now, offset), ecr: self.recent })
    }

    fn header(&self, seq: SeqNum, flags: Flags, window: u32, options: Options) -> Header {
        let window = u16::try_from(window).unwrap_or(u16::MAX);
        Header { src_port: 0, dst_port: 0, seq, ack: self.rcv_nxt(), flags, window, urgent: 0, options }
    }

    pub(crate) fn negotiated(&self) -> Negotiated {
        Negotiated {
            mss: self.peer_mss,
            window_scale: self.scale(),
            sack: self.sack,
            timestamps: self.stamped.then_some(self.recent),
        }
    }

    /// The SYN asked for ECN, and we agree.
    pub(crate) const fn uses_ecn(&self) -> bool {
        self.scale & ECN != 0
    }

    /// Our initial sequence number.
    #[must_use]
    pub const fn iss(&self) -> SeqNum {
        self.iss
    }

    /// The peer's.
    pub(crate) const fn irs(&self) -> SeqNum {
        self.irs
    }

    fn rcv_nxt(&self) -> SeqNum {
        self.irs + 1
    }

    fn scale(&self) -> Option<u8> {
        Some(self.scale & NO_SCALE).filter(|scale| *scale != NO_SCALE)
    }

    /// When the SYN came.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// SYN-ACKs sent again by the timer.
    #[must_use]
    pub const fn timeouts(&self) -> u8 {
        self.timeouts
    }

    pub(crate) const fn tries(&self) -> Tries {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pool::Pool, testing::segment};
    use wheel::Duration;

    fn start() -> Start {
        Start { iss: SeqNum::new(300), mss: 1460, default_peer_mss: 536, timestamp_offset: 0 }
    }

    /// A record for `<SEQ=100><CTL=SYN>`, and what it answers.
    struct Bench {
        config: Config,
        pool: Pool,
        now: Instant,
        half: HalfOpen,
    }

    impl Bench {
        fn new() -> Self {
            let config =
                Config::new(crate::Settings { receive_buffer_bytes: 4096, ..Default::default() }).expect("valid");
            let (mut pool, now) = (Pool::new(1 << 20), Instant::ZERO + Duration::from_secs(9));
            let env = Env { now, config: &config, pool: &mut pool };
            let half = HalfOpen::new(&env, start(), &segment(Flags::SYN, 100, 0, &[]));
            Self { config, pool, now, half }
        }

        fn on(&mut self, flags: Flags, seq: u32, ack: u32, data: &[u8]) -> HalfOpenAnswer {
            let env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
            self.half.on_segment(&env, &segment(flags, seq, ack, data))
        }
    }

    /// S14, RFC5961-3.2-a, RFC5961-3.2-b, RFC5961-3.2-c, MUST-11: a reset outside the window is dropped, one within it is
    /// challenged, the exact one goes back to LISTEN.
    #[test]
    fn s14_resets() {
        let mut bench = Bench::new();
        assert_eq!(bench.on(Flags::RST, 100, 0, &[]), HalfOpenAnswer::Ignore(DropReason::ResetNotExact));
        assert_eq!(bench.on(Flags::RST, 101 + 4096, 0, &[]), HalfOpenAnswer::Ignore(DropReason::ResetNotExact));
        assert_eq!(bench.on(Flags::RST, 102, 0, &[]), HalfOpenAnswer::Ack(DropReason::ResetNotExact));
        assert_eq!(bench.on(Flags::RST, 100 + 4096, 0, &[]), HalfOpenAnswer::Ack(DropReason::ResetNotExact));
        assert_eq!(bench.on(Flags::RST, 101, 0, &[0; 5]), HalfOpenAnswer::Forget);
        let env = Env { now: bench.now, config: &bench.config, pool: &mut bench.pool };
        let ack = bench.half.ack(&env, 0);
        assert_eq!((ack.seq.value(), ack.ack.value(), ack.flags, ack.window), (301, 101, Flags::ACK, 4096));
    }

    /// S16, RFC9293-3.5.2-b: an acknowledgment of anything but our SYN draws a reset, and changes nothing.
    #[test]
    fn s16_unacceptable_acknowledgments() {
        let mut bench = Bench::new();
        let before = bench.half;
        for ack in [300, 302, 0, 300u32.wrapping_add(1 << 31)] {
            let reset = Reset { seq: SeqNum::new(ack), ack: None, timestamps: None };
            assert_eq!(bench.on(Flags::ACK, 101, ack, &[]), HalfOpenAnswer::Reset(reset));
        }
        assert_eq!(bench.half, before);
        assert_eq!(bench.on(Flags::ACK, 101, 301, &[]), HalfOpenAnswer::Complete);
        assert_eq!(bench.on(Flags::ACK | Flags::FIN, 101, 301, &[7; 9]), HalfOpenAnswer::Complete);
    }

    /// RFC9293-3.10.7.4-b: what lies outside of the window is acknowledged and dropped, though it acknowledges our SYN; a SYN
    /// of another number is no less (A4).
    #[test]
    fn what_is_out_of_window_completes_nothing() {
        let mut bench = Bench::new();
        assert_eq!(bench.on(Flags::ACK, 100, 301, &[]), HalfOpenAnswer::Ack(DropReason::OutOfWindow));
        assert_eq!(bench.on(Flags::ACK, 101 + 4096, 301, &[1]), HalfOpenAnswer::Ack(DropReason::OutOfWindow));
        assert_eq!(bench.on(Flags::SYN, 90, 0, &[]), HalfOpenAnswer::Ack(DropReason::OutOfWindow));
        assert_eq!(bench.on(Flags::SYN, 200, 0, &[]), HalfOpenAnswer::Ack(DropReason::UnexpectedSyn));
        assert_eq!(bench.on(Flags::FIN, 101, 0, &[]), HalfOpenAnswer::Ignore(DropReason::NoAck));
        assert_eq!(bench.on(Flags::SYN, 100, 0, &[]), HalfOpenAnswer::SynAckAgain);
    }

    /// RFC7323-5.3-a, RFC7323-3.2-d: once both SYNs carried timestamps an older one is acknowledged and dropped, a segment
    /// without is dropped; a reset is never asked, nor the SYN of a peer that has begun anew.
    #[test]
    fn timestamps_are_looked_at_first() {
        let mut bench = Bench::new();
        let mut stamped = |flags, seq, ack, val: Option<u32>| {
            let mut s = segment(flags, seq, ack, &[]);
            s.header.options.timestamps = val.map(|val| Timestamps { val, ecr: 0 });
            let env = Env { now: bench.now, config: &bench.config, pool: &mut bench.pool };
            if flags == Flags::SYN && seq == 100 {
                bench.half = HalfOpen::new(&env, start(), &s);
                assert_eq!(
                    bench.half.syn_ack(&env, 7).options.timestamps,
                    Some(Timestamps { val: 9007, ecr: u32::MAX })
                );
            }
            bench.half.on_segment(&env, &s)
        };
        assert_eq!(stamped(Flags::SYN, 100, 0, Some(u32::MAX)), HalfOpenAnswer::SynAckAgain);
        assert_eq!(stamped(Flags::ACK, 101, 301, Some(u32::MAX - 1)), HalfOpenAnswer::Ack(DropReason::OldTimestamp));
        assert_eq!(stamped(Flags::ACK, 101, 301, None), HalfOpenAnswer::Ignore(DropReason::NoTimestamp));
        assert_eq!(stamped(Flags::SYN, 700, 0, None), HalfOpenAnswer::Ack(DropReason::UnexpectedSyn));
        assert_eq!(stamped(Flags::ACK, 101, 301, Some(3)), HalfOpenAnswer::Complete);
        assert_eq!(stamped(Flags::RST, 101, 0, None), HalfOpenAnswer::Forget);
    }

    /// RFC4987-3.6-a: what the SYN said comes back with the ACK; an echo that our clock has not shown lately says nothing.
    #[test]
    fn a_cookie_comes_back_as_a_record() {
        let mut bench = Bench::new();
        let cookies = Cookies::new([5; 16]);
        let flow = (&7u8, Family::V4);
        let mut syn = segment(Flags::SYN, 100, 0, &[]);
        syn.header.options = Options {
            mss: Some(1300),
            window_scale: Some(0),
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 50, ecr: 0 }),
            ..Options::default()
        };
        let env = Env { now: bench.now, config: &bench.config, pool: &mut bench.pool };
        let header = HalfOpen::cookie_syn_ack(&env, start(), &syn, &cookies, flow);
        let stamp = header.options.timestamps.expect("the SYN had one");
        let back = |ecr: u32, now: Instant, pool: &mut Pool| {
            let mut ack = segment(Flags::ACK, 101, header.seq.value().wrapping_add(1), &[]);
            ack.header.options.timestamps = Some(Timestamps { val: 60, ecr });
            let env = Env { now, config: &bench.config, pool };
            HalfOpen::from_cookie(&env, start(), &ack, &cookies, flow)
        };
        let mut pool = Pool::new(1 << 20);
        let half = back(stamp.val, bench.now, &mut pool).expect("it is ours");
        let all = Negotiated { mss: 1220, window_scale: Some(0), sack: true, timestamps: Some(60) };
        assert_eq!((half.negotiated(), half.tries(), half.irs().value()), (all, Tries::Cookie, 100));
        let none = Negotiated { mss: 1220, window_scale: None, sack: false, timestamps: None };
        for strange in [stamp.val.wrapping_add(64), stamp.val.wrapping_sub(200_000)] {
            let half = back(strange, bench.now, &mut pool).expect("the number is ours");
            assert_eq!(half.negotiated(), none);
        }
        assert_eq!(back(stamp.val, bench.now + Duration::from_secs(130), &mut pool), None, "too old");
    }

    /// RFC5961-7-a: ten answers a second.
    #[test]
    fn answers_are_limited() {
        let mut bench = Bench::new();
        let answers = |bench: &mut Bench| {
            let challenge = HalfOpenAnswer::Ack(DropReason::ResetNotExact);
            (0..500).filter(|_| bench.on(Flags::RST, 102, 0, &[]) == challenge).count()
        };
        assert_eq!(answers(&mut bench), 10);
        assert_eq!(bench.on(Flags::SYN, 100, 0, &[]), HalfOpenAnswer::Ignore(DropReason::OutOfWindow));
        bench.now += Duration::from_millis(999);
        assert_eq!(answers(&mut bench), 0);
        bench.now += Duration::from_millis(1);
        assert_eq!(answers(&mut bench), 10);
    }

    /// RFC4987-3.3-a, RFC6298-5.5-a: SYN-ACKs again after 1, 3, 7, 15 and 31 s, and the end after 63 s, as Linux.
    #[test]
    fn the_syn_ack_is_sent_again_for_63_seconds() {
        let mut bench = Bench::new();
        let began = bench.now;
        for seconds in [1, 3, 7, 15, 31] {
            assert_eq!(bench.half.deadline(&bench.config) - began, Duration::from_secs(seconds));
            let env = Env { now: began + Duration::from_secs(seconds), config: &bench.config, pool: &mut bench.pool };
            assert!(bench.half.on_timeout(&env));
        }
        assert_eq!(bench.half.deadline(&bench.config) - began, Duration::from_secs(63));
        let env = Env { now: began + Duration::from_secs(63), config: &bench.config, pool: &mut bench.pool };
        assert!(!bench.half.on_timeout(&env));
    }
}
