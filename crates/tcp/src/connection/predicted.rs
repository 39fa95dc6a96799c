//! Header prediction (V. Jacobson, 1990): the segment that nearly always comes next, in order and with nothing unusual about
//! it, goes a short way. It leads to where the long one does (`segment`).

use super::{Connection, DropReason, Env, Flags, Outcome, Plain, SackBlocks, Segment, State};
use crate::{
    recv::{Taken, autotune::Clue},
    send::Ack,
};
use wire::tcp::Timestamps;

/// PSH says nothing that matters.
const USUAL: Flags = Flags(Flags::ACK.0 | Flags::PSH.0);

/// What becomes of the data of a segment that was expected.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// All of it is to be given to the application now, as [`Outcome::deliver`].
    Whole,
    /// There is none, or it is in the queue.
    Kept,
    /// There was no memory for all of it.
    Dropped(DropReason),
}

impl Connection {
    /// The connection is open, and there is nothing about it that the short way leaves out: a segment may go it.
    #[inline(always)]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let shut = self.read_shut | self.orphan;
        self.state == State::Established && self.extras.is_none() && !shut && self.rcv.is_regular()
    }

    /// Whether a segment goes the short way, [`on_expected`](Self::on_expected): the connection is open, nothing is out of order, and
    /// the segment is the next one and says nothing of a special kind.
    #[inline(always)] // as all on this way, so that a segment stays in registers
    #[must_use]
    pub fn expects(&self, segment: &Plain<'_>) -> bool {
        segment.flags | Flags::PSH == USUAL
            && self.is_plain()
            && self.rcv.expects(segment.seq, segment.payload.len())
            && self.snd.expects(segment.ack)
            && self.clock.expects(segment.timestamps)
    }

    /// As [`on_segment`](Self::on_segment), for a segment without other options that [is expected](Self::expects).
    #[inline(always)]
    pub fn on_expected(&mut self, env: &mut Env<'_>, segment: &Plain<'_>) -> Data {
        debug_assert!(self.expects(segment), "who calls has asked");
        let Plain { seq, ack, window, .. } = *segment;
        if ack != self.snd.snd_una() || !self.snd.hears_nothing(segment.payload.is_empty()) {
            let segment = *segment;
            return self.on_expected_ack(&mut env.again(), &segment);
        }
        self.snd.update_window(env, seq, ack, window, false);
        let taken = self.on_predicted_text(env, segment);
        if taken == Taken::InPlace { Data::Whole } else { self.kept(taken) }
    }

    #[inline(never)] // of no interest to who only receives
    fn on_expected_ack(&mut self, env: &mut Env<'_>, segment: &Plain<'_>) -> Data {
        let taken = self.on_predicted(env, segment, &SackBlocks::NONE);
        if taken == Taken::InPlace { Data::Whole } else { self.kept(taken) }
    }

    /// What was not delivered in place.
    #[inline(never)] // of no interest to who reads at once
    fn kept(&mut self, taken: Taken) -> Data {
        self.taken(taken, 0, &[]).dropped.map_or(Data::Kept, Data::Dropped)
    }

    /// What becomes of a segment that goes the short way.
    #[inline(always)]
    pub(super) fn if_expected(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Option<Outcome> {
        let plain = segment.plain();
        self.expects(&plain).then(|| {
            let taken = self.on_predicted(env, &plain, &segment.header.options.sack);
            self.taken(taken, 0, plain.payload)
        })
    }

    /// What [`on_any_segment`](Self::on_any_segment) comes to for a segment that [is expected](Self::expects).
    #[inline(always)]
    fn on_predicted(&mut self, env: &mut Env<'_>, segment: &Plain<'_>, sack: &SackBlocks) -> Taken {
        let Plain { seq, ack, window, timestamps, payload, .. } = *segment;
        let new = ack != self.snd.snd_una();
        if new || !sack.is_empty() || !self.snd.hears_nothing(payload.is_empty()) {
            // Whether the window changes means something for duplicates only.
            let window_changed = !new && self.snd.changes_window(seq, ack, window);
            let (ece, empty) = (false, payload.is_empty());
            self.take_ack(env, timestamps, Ack { number: ack, sack, echo: None, ece, empty, window_changed });
        }
        self.snd.update_window(env, seq, ack, window, false);
        if new {
            self.on_progress(env);
        }
        self.on_predicted_text(env, segment)
    }

    /// The timestamps and the data.
    #[inline(always)]
    fn on_predicted_text(&mut self, env: &mut Env<'_>, segment: &Plain<'_>) -> Taken {
        let Plain { seq, timestamps, payload, .. } = *segment;
        debug_assert!(!self.clock.is_on() || timestamps.is_some(), "or it is not expected");
        if payload.is_empty() {
            if let Some(Timestamps { val, .. }) = timestamps {
                self.clock.update(env.now, seq, val);
            }
            return Taken::Nothing;
        }
        self.echo.data(segment.flags);
        let clue = match timestamps {
            Some(Timestamps { val, ecr }) if self.clock.is_on() => {
                self.clock.update(env.now, seq, val);
                self.rcv.clue(ecr, || self.clock.age(env.now, ecr))
            }
            _ => Clue::Window(self.snd.srtt()),
        };
        self.rcv.on_next_data(env, payload, clue)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Emit, Event, Half, Header, Options, Start};
    use super::*;
    use crate::{config::Config, pool::Pool, profile::Profile};
    use proptest::prelude::*;
    use std::{format, vec, vec::Vec};
    use wheel::{Duration, Instant};
    use wire::{SeqNum, tcp::Timestamps};

    /// What happens to a connection.
    #[derive(Debug, Clone)]
    pub(in super::super) enum Op {
        /// A segment, told by how far it is from what is expected.
        Arrive {
            seq: i32,
            len: usize,
            flags: u8,
            /// 255ths of what is outstanding, and so many octets off.
            ack: (u8, i32),
            window: u16,
            age: Option<i32>,
            block: Option<(u8, u8)>,
            /// How much of the data the application leaves.
            left: usize,
        },
        Write(usize),
        Read(u32),
        Transmit,
        Pass(u32),
        Shutdown(bool),
        Close,
        /// Rests, if it can: to wake at once.
        Rest,
        Profile(Profile),
    }

    fn mostly<T: Clone + core::fmt::Debug + 'static>(
        usual: T,
        other: impl Strategy<Value = T> + 'static,
    ) -> impl Strategy<Value = T> {
        prop_oneof![9 => Just(usual), 1 => other]
    }

    pub(in super::super) fn op() -> impl Strategy<Value = Op> {
        let blocks = proptest::option::of((any::<u8>(), any::<u8>()));
        let arrive = (
            mostly(0, prop_oneof![-3000..3000, -2..2]),
            prop_oneof![2 => Just(0), 2 => 1usize..1448, 1 => 0usize..3],
            mostly(
                Flags::ACK.0,
                prop_oneof![2 => Just(USUAL.0), 4 => Just(Flags::FIN.0 | Flags::ACK.0), 1 => any::<u8>()],
            ),
            (prop_oneof![Just(255u8), Just(0), any::<u8>()], mostly(0, -3..3)),
            prop_oneof![4 => Just(60_000u16), 1 => Just(0), 1 => any::<u16>()],
            mostly(Some(0), proptest::option::of(-3..3)),
            mostly(None, blocks),
            prop_oneof![3 => Just(0usize), 1 => 0usize..1000],
        )
            .prop_map(|(seq, len, flags, ack, window, age, block, left)| Op::Arrive {
                seq,
                len,
                flags,
                ack,
                window,
                age,
                block,
                left,
            });
        prop_oneof![
            30 => arrive,
            10 => (1usize..5000).prop_map(Op::Write),
            5 => (1u32..3000).prop_map(Op::Read),
            20 => Just(Op::Transmit),
            10 => (1u32..3000).prop_map(Op::Pass),
            1 => (1u32..2_000_000).prop_map(Op::Pass),
            1 => any::<bool>().prop_map(Op::Shutdown),
            1 => Just(Op::Close),
            5 => Just(Op::Rest),
            1 => prop_oneof![Just(Profile::Balanced), Just(Profile::Latency), Just(Profile::Throughput)].prop_map(Op::Profile),
        ]
    }

    /// As the long way says it of a segment of so many octets.
    fn outcome_of(data: Data, len: usize) -> Outcome {
        match data {
            Data::Whole => Outcome { deliver: Some((0, len)), ..Outcome::default() },
            Data::Kept => Outcome::default(),
            Data::Dropped(reason) => Outcome { dropped: Some(reason), ..Outcome::default() },
        }
    }

    /// Everything that is to be sent; bare acknowledgments the short way, or not.
    fn transmitted(
        conn: &mut Connection,
        env: &mut Env<'_>,
        bare_acks: &mut usize,
        short: bool,
    ) -> Vec<std::string::String> {
        let mut said = Vec::new();
        let mut out = [0; 2048];
        let mut bare = None;
        loop {
            let last = bare;
            bare = if short { conn.bare_ack(env) } else { None };
            let emit = match bare {
                Some(Plain { seq, ack, flags, window, timestamps, .. }) => {
                    let options = Options { timestamps, ..Options::default() };
                    let header = Header { src_port: 0, dst_port: 0, seq, ack, flags, window, urgent: 0, options };
                    *bare_acks += 1;
                    Some(Emit { header, payload_len: 0, ect: false })
                }
                None => conn.poll_transmit(env, &mut out),
            };
            let Some(emit) = emit else { return said };
            assert_eq!(last, None, "nothing is behind a bare acknowledgment");
            said.push(format!("{emit:?}"));
        }
    }

    pub(in super::super) struct Twin {
        pub(in super::super) conn: Connection,
        pub(in super::super) pool: Pool,
        short: bool,
        rests: bool,
        /// How often the short way was gone, and how often it was at rest.
        predicted: usize,
        rested: usize,
        bare_acks: usize,
    }

    impl Twin {
        pub(in super::super) fn new(config: &Config, short: bool, timestamps: bool, sack: bool) -> Self {
            let mut pool = Pool::new(1 << 18);
            let mut env = Env { now: Instant::ZERO, config, pool: &mut pool };
            let iss = SeqNum::new(u32::MAX - 5000);
            let start = Start { iss, mss: 1460, default_peer_mss: 536, timestamp_offset: 77 };
            let mut conn = Connection::connect(&env, start);
            let mut out = [0; 2048];
            while conn.poll_transmit(&mut env, &mut out).is_some() {}
            let options = Options {
                mss: Some(1460),
                window_scale: Some(2),
                sack_permitted: sack,
                timestamps: timestamps.then_some(Timestamps { val: 1000, ecr: 77 }),
                ..Options::default()
            };
            let header = Header {
                src_port: 0,
                dst_port: 0,
                seq: SeqNum::new(u32::MAX - 9000),
                ack: iss + 1,
                flags: Flags::SYN | Flags::ACK,
                window: 60_000,
                urgent: 0,
                options,
            };
            let _ = conn.on_segment(&mut env, &Segment { header, payload: &[] });
            assert_eq!(conn.poll_event(), Some(Event::Established));
            Self { conn, pool, short, rests: false, predicted: 0, rested: 0, bare_acks: 0 }
        }

        /// Rests, if it can, and wakes; or forgets what it would.
        fn rest(&mut self, now: Instant, config: &Config) -> Vec<std::string::String> {
            let Self { conn, pool, rests, rested, .. } = self;
            let env = Env { now, config, pool };
            if !conn.is_at_rest(&env) || conn.sizes.settled().is_none() {
                return Vec::new();
            }
            *rested += 1;
            let seen;
            if *rests {
                let resting = conn.rest(&env).expect("it is at rest");
                seen = (resting.info(), resting.initial_numbers());
                *conn = resting.wake(config);
            } else {
                conn.calm();
                seen = (conn.info(), conn.initial_numbers());
            }
            vec![format!("{seen:?}"), format!("{conn:?}")]
        }

        /// Returns what it says, for comparing.
        pub(in super::super) fn apply(&mut self, now: Instant, config: &Config, op: &Op) -> Vec<std::string::String> {
            let Self { conn, pool, short, predicted, bare_acks, .. } = self;
            let mut env = Env { now, config, pool };
            let mut said = Vec::new();
            match *op {
                Op::Arrive { seq, len, flags, ack, window, age, block, left } => {
                    let outstanding = conn.snd.ack_seq().since(conn.snd.snd_una());
                    let at = |part: u8| conn.snd.snd_una() + outstanding * u32::from(part) / 255;
                    let mut sack = SackBlocks::default();
                    if let Some((start, end)) = block {
                        sack.push(at(start), at(end));
                    }
                    let timestamps = age.map(|age| Timestamps {
                        val: conn.clock.recent().unwrap_or(0).wrapping_add_signed(age),
                        ecr: crate::recv::paws::clock(now, 77),
                    });
                    let header = Header {
                        src_port: 0,
                        dst_port: 0,
                        seq: SeqNum::new(conn.rcv.rcv_nxt().value().wrapping_add_signed(seq)),
                        ack: SeqNum::new(at(ack.0).value().wrapping_add_signed(ack.1)),
                        flags: Flags(flags),
                        window,
                        urgent: 1,
                        options: Options { timestamps, sack, ..Options::default() },
                    };
                    let payload = vec![7; len];
                    let segment = Segment { header, payload: &payload };
                    conn.congestion_experienced(window == 0);
                    let plain = segment.plain();
                    let expected = conn.expects(&plain);
                    *predicted += usize::from(expected);
                    let outcome = if *short && expected && sack.is_empty() {
                        outcome_of(conn.on_expected(&mut env, &plain), len)
                    } else if *short {
                        conn.on_segment(&mut env, &segment)
                    } else {
                        conn.on_any_segment(&mut env, &segment)
                    };
                    if let Some((at, len)) = outcome.deliver {
                        conn.keep(&mut env, &payload[at + len - left.min(len)..at + len]);
                    }
                    said.push(format!("{outcome:?}"));
                }
                Op::Write(n) => said.push(format!("{:?}", conn.send(&mut env, &[7; 5000][..n]))),
                Op::Read(n) => {
                    let n = n.min(conn.unread());
                    conn.consume(&mut env, n);
                }
                Op::Transmit => {
                    said.extend(transmitted(conn, &mut env, bare_acks, *short));
                }
                Op::Pass(_) => {
                    if conn.poll_timeout().is_some_and(|at| at <= now) {
                        said.push(format!("{:?}", conn.on_timeout(&mut env)));
                    }
                }
                Op::Shutdown(read) => conn.shutdown(&mut env, if read { Half::Read } else { Half::Write }),
                Op::Rest => return self.rest(now, config),
                Op::Profile(profile) => conn.set_profile(&env, profile),
                Op::Close => said.push(format!("{:?}", conn.close(&mut env))),
            }
            while let Some(event) = conn.poll_event() {
                said.push(format!("{event:?}"));
            }
            said.push(format!("{conn:?}"));
            said
        }
    }

    proptest! {
        /// Whatever came before, a segment that is predicted leads the short way where it leads the long one.
        #[test]
        fn the_short_way_leads_there_too(
            ops in proptest::collection::vec(op(), 1..120),
            timestamps in mostly(true, Just(false)),
            sack: bool,
        ) {
            let config = Config::default();
            let mut short = Twin::new(&config, true, timestamps, sack);
            let mut long = Twin::new(&config, false, timestamps, sack);
            let mut now = Instant::ZERO + Duration::from_millis(10);
            for op in ops {
                if let Op::Pass(micros) = op {
                    now += Duration::from_micros(micros.into());
                }
                prop_assert_eq!(short.apply(now, &config, &op), long.apply(now, &config, &op));
            }
        }
    }

    proptest! {
        /// Whatever came before, a connection that rests wakes as it was.
        #[test]
        fn who_rests_wakes_as_it_was(
            ops in proptest::collection::vec(op(), 1..200),
            timestamps in mostly(true, Just(false)),
            sack: bool,
        ) {
            let config = Config::default();
            let mut sleeper = Twin { rests: true, ..Twin::new(&config, true, timestamps, sack) };
            let mut other = Twin::new(&config, true, timestamps, sack);
            let mut now = Instant::ZERO + Duration::from_millis(10);
            for op in ops {
                if let Op::Pass(micros) = op {
                    now += Duration::from_micros(micros.into());
                }
                prop_assert_eq!(sleeper.apply(now, &config, &op), other.apply(now, &config, &op));
            }
        }
    }

    /// Requests and answers, and a rest behind each; in the middle timeouts, which are remembered: without timestamps there is no
    /// sample behind it, and the timeout stays backed off (Karn's algorithm).
    #[test]
    fn a_connection_rests_between_requests() {
        let config = Config::default();
        let all = (255, 0);
        for timestamps in [true, false] {
            let mut sleeper = Twin { rests: true, ..Twin::new(&config, true, timestamps, true) };
            let mut other = Twin::new(&config, true, timestamps, true);
            let mut now = Instant::ZERO;
            let mut both = |ms, op| {
                now += Duration::from_millis(ms);
                assert_eq!(sleeper.apply(now, &config, &op), other.apply(now, &config, &op), "{op:?}");
                (sleeper.rested, sleeper.conn.info().retransmits)
            };
            let arrive = |len| {
                let age = timestamps.then_some(1);
                let (seq, flags, window, block, left) = (0, USUAL.0, 60_000, None, 0);
                Op::Arrive { seq, len, flags, ack: all, window, age, block, left }
            };
            for round in 1..20 {
                both(1, arrive(64));
                both(1, Op::Write(3000));
                both(1, Op::Transmit);
                while round == 10 && both(100, Op::Pass(0)).1 < 3 {
                    both(0, Op::Transmit);
                }
                both(0, Op::Transmit);
                both(1, arrive(0));
                assert_eq!(both(1, Op::Rest).0, round, "it is at rest");
            }
            assert!(both(0, Op::Rest).1 > 0, "something was sent again");
        }
    }

    /// A request, the acknowledgment of the answer with the next request, an acknowledgment alone.
    #[test]
    fn what_is_usual_is_predicted() {
        let config = Config::default();
        let mut twin = Twin::new(&config, true, true, true);
        let arrive = |len, flags: Flags| Op::Arrive {
            seq: 0,
            len,
            flags: flags.0,
            ack: (255, 0),
            window: 60_000,
            age: Some(1),
            block: None,
            left: 0,
        };
        let mut now = Instant::ZERO;
        for op in
            [arrive(64, USUAL), Op::Write(64), Op::Transmit, arrive(64, USUAL), Op::Transmit, arrive(0, Flags::ACK)]
        {
            now += Duration::from_millis(1);
            twin.apply(now, &config, &op);
        }
        assert_eq!(twin.predicted, 3);
        // The first request is in the quick phase; what acknowledges the second is sent with no data either.
        assert_eq!(twin.bare_acks, 1);
    }
}
