//! A train: full segments of one connection that leave one behind the other and differ in their sequence numbers and their bytes
//! alone. What they have in common is found out once (what segmentation offload saves), and what comes of them is what comes of
//! [`poll_transmit`](Connection::poll_transmit), called as often.

use super::{Connection, Emit, Env, Flags};
use wire::SeqNum;

/// The segments behind one that [`poll_transmit`](Connection::poll_transmit) gave. Those that were [taken](Self::next) are sent.
#[derive(Debug)]
pub struct Train<'c, 'e> {
    conn: &'c mut Connection,
    env: &'c Env<'e>,
    /// What the next one begins with.
    seq: SeqNum,
    taken: u32,
}

impl Connection {
    /// How many segments like `emit`, which [`poll_transmit`](Self::poll_transmit) gave just now, it would give next if it were
    /// asked again at this time: with the same header but for the sequence number, and with as much payload.
    #[inline]
    #[must_use]
    pub fn followers(&self, env: &Env<'_>, emit: &Emit) -> u32 {
        // No PSH, FIN or CWR, and no urgent pointer; ECE is what all have. SACK blocks would have taken some of its room.
        let plain = emit.header.flags | Flags::ECE == Flags::ACK | Flags::ECE;
        let full = emit.payload_len == usize::from(self.snd.mss());
        if full && plain { self.snd.followers(env, emit.ect) } else { 0 }
    }

    /// The [followers](Self::followers) of the segment that [`poll_transmit`](Self::poll_transmit) gave just now.
    pub fn train<'c, 'e>(&'c mut self, env: &'c Env<'e>) -> Train<'c, 'e> {
        let seq = self.snd.ack_seq();
        Train { conn: self, env, seq, taken: 0 }
    }
}

impl Train<'_, '_> {
    /// Writes the payload of the next of the [followers](Connection::followers), of which there must be one, into `payload`,
    /// which is as long as those before. Returns its sequence number.
    #[inline]
    pub fn next(&mut self, payload: &mut [u8]) -> SeqNum {
        let seq = self.seq;
        let len = self.conn.snd.copy_from(self.env, seq, payload);
        self.seq = seq + len;
        self.taken += 1;
        seq
    }
}

impl Drop for Train<'_, '_> {
    fn drop(&mut self) {
        self.conn.snd.sent_followers(self.env, self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::super::predicted::tests::{Op as Any, Twin, op as any_op};
    use super::*;
    use crate::config::{Config, Settings};
    use proptest::prelude::*;
    use std::{format, string::String, vec, vec::Vec};
    use wheel::{Duration, Instant};
    use wire::tcp::Header;

    /// What happens to a connection that sends much.
    #[derive(Debug, Clone)]
    enum Op {
        /// Something of what happens to any.
        Any(Any),
        Write(usize),
        /// So many segments leave at most.
        Transmit(usize),
        /// Such a part of what is outstanding is acknowledged, in 255ths, with this window; ECE is set.
        Ack(u8, u16, bool),
        /// Nothing is, but a piece of it has arrived.
        Sack(u8, u8),
        /// Data of the peer's, so far from what is expected.
        Data(i32),
        Pass(u32),
        Cork(bool),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (1usize..60_000).prop_map(Op::Write),
            4 => Just(Op::Transmit(usize::MAX)),
            6 => (1usize..40).prop_map(Op::Transmit),
            12 => (prop_oneof![Just(255u8), any::<u8>()], prop_oneof![4 => Just(60_000u16), 1 => any::<u16>()], prop_oneof![30 => Just(false), 1 => Just(true)])
                .prop_map(|(part, window, ece)| Op::Ack(part, window, ece)),
            2 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Op::Sack(from.min(to), from.max(to))),
            2 => prop_oneof![Just(0), Just(100), -100..1000].prop_map(Op::Data),
            10 => (1u32..300).prop_map(Op::Pass),
            1 => any::<bool>().prop_map(Op::Cork),
            2 => any_op().prop_map(Op::Any),
        ]
    }

    struct Sender {
        twin: Twin,
        trains: bool,
        written: usize,
        /// The longest train it has sent.
        longest: u32,
    }

    impl Sender {
        fn new(config: &Config, trains: bool, ecn: bool, mss: u16) -> Self {
            let mut twin = Twin::new(config, true, true, true);
            twin.conn.snd.set_ecn(ecn);
            twin.conn.snd.cut_to(mss);
            Self { twin, trains, written: 0, longest: 0 }
        }

        /// Returns what it says, for comparing.
        fn apply(&mut self, now: Instant, config: &Config, op: &Op) -> Vec<String> {
            let Self { twin: Twin { conn, pool, .. }, written, .. } = self;
            let mut env = Env { now, config, pool };
            match *op {
                Op::Write(n) => {
                    // No two places look the same.
                    let bytes: Vec<u8> =
                        (*written..*written + n).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
                    *written += conn.send(&mut env, &bytes).unwrap_or(0);
                    vec![format!("{conn:?}")]
                }
                Op::Transmit(most) => self.transmit(now, config, most),
                Op::Any(Any::Transmit) => self.transmit(now, config, usize::MAX),
                Op::Ack(part, window, ece) => {
                    let flags = if ece { Flags::ACK | Flags::ECE } else { Flags::ACK };
                    self.hear(now, config, (0, 0), flags, part, window, None)
                }
                Op::Sack(from, to) => self.hear(now, config, (0, 0), Flags::ACK, 0, 60_000, Some((from, to))),
                Op::Data(seq) => self.hear(now, config, (seq, 100), Flags::ACK, 0, 60_000, None),
                Op::Pass(micros) => self.twin.apply(now, config, &Any::Pass(micros)),
                Op::Cork(on) => {
                    conn.set_cork(on);
                    Vec::new()
                }
                Op::Any(ref op) => self.twin.apply(now, config, op),
            }
        }

        #[allow(clippy::too_many_arguments)]
        fn hear(
            &mut self,
            now: Instant,
            config: &Config,
            (seq, len): (i32, usize),
            flags: Flags,
            part: u8,
            window: u16,
            block: Option<(u8, u8)>,
        ) -> Vec<String> {
            let (flags, ack, age, left) = (flags.0, (part, 0), Some(1), 0);
            self.twin.apply(now, config, &Any::Arrive { seq, len, flags, ack, window, age, block, left })
        }

        /// At most so many segments: their headers, their bytes.
        fn transmit(&mut self, now: Instant, config: &Config, most: usize) -> Vec<String> {
            let Self { twin: Twin { conn, pool, .. }, trains, longest, .. } = self;
            let mut env = Env { now, config, pool };
            let (mut said, mut out, mut left) = (Vec::new(), [0; 2048], most);
            let mut say =
                |header: Header, ect: bool, payload: &[u8]| said.push(format!("{header:?} {ect} {payload:?}"));
            while left > 0
                && let Some(emit) = conn.poll_transmit(&mut env, &mut out)
            {
                left -= 1;
                let Emit { header, payload_len, ect } = emit;
                say(header, ect, &out[header.len()..][..payload_len]);
                let count =
                    if *trains { conn.followers(&env, &emit).min(u32::try_from(left).unwrap_or(u32::MAX)) } else { 0 };
                *longest = count.max(*longest);
                left -= count as usize;
                let mut train = conn.train(&env);
                for _ in 0..count {
                    let payload = &mut out[..payload_len];
                    let seq = train.next(payload);
                    say(Header { seq, ..header }, ect, payload);
                }
            }
            said.push(format!("{conn:?}"));
            said
        }
    }

    /// Does the same with trains and without, and compares what comes of it.
    fn hold_against(ops: &[Op], pacing: bool, ecn: bool, mss: u16) {
        let config = Config::new(Settings { pacing, ..Settings::default() }).expect("valid");
        let mut trains = Sender::new(&config, true, ecn, mss);
        let mut single = Sender::new(&config, false, ecn, mss);
        let mut now = Instant::ZERO + Duration::from_millis(10);
        for op in ops {
            if let Op::Pass(micros) | Op::Any(Any::Pass(micros)) = op {
                now += Duration::from_micros((*micros).into());
            }
            assert_eq!(trains.apply(now, &config, op), single.apply(now, &config, op), "{op:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Whatever came before, what leaves in trains is what leaves one by one, and leads to the same.
        #[test]
        fn a_train_is_its_segments(
            ops in proptest::collection::vec(op(), 1..120),
            pacing: bool,
            ecn: bool,
            mss in prop_oneof![3 => Just(1448u16), 1 => 30u16..300],
        ) {
            hold_against(&ops, pacing, ecn, mss);
        }
    }

    /// RFC 3168 section 6.1.6: a window probe is not ECN-capable, though it is as large as what follows it.
    #[test]
    fn what_follows_a_probe_is_ecn_capable_again() {
        let ops =
            [Op::Cork(true), Op::Write(100), Op::Transmit(9), Op::Pass(3_000_000), Op::Write(9000), Op::Transmit(9)];
        hold_against(&ops, false, true, 1448);
    }

    /// Small segments: where a train ends is how many records there may be.
    #[test]
    fn a_train_ends_where_the_scoreboard_does() {
        let round = [Op::Write(60_000), Op::Transmit(usize::MAX), Op::Pass(1000), Op::Ack(255, 60_000, false)];
        let ops: Vec<Op> = round.into_iter().cycle().take(60).collect();
        hold_against(&ops, false, false, 60);
    }

    /// Of 40 full segments the first is cut by itself, and the last, which ends them with PSH; so where the peer's window ends
    /// them, at ten.
    #[test]
    fn a_large_write_is_one_train() {
        let config = Config::new(Settings { pacing: false, ..Settings::default() }).expect("valid");
        let mut sender = Sender::new(&config, true, false, 1448);
        let mut now = Instant::ZERO + Duration::from_millis(10);
        let mut send = |segments: usize, window: u32| {
            sender.longest = 0;
            for op in [Op::Write(segments * 1448), Op::Transmit(usize::MAX)] {
                sender.apply(now, &config, &op);
            }
            now += Duration::from_millis(1);
            let window = u16::try_from(window / 4).expect("it is scaled");
            sender.apply(now, &config, &Op::Ack(255, window, false));
            sender.longest
        };
        // The congestion window grows until it takes more than twice as many.
        for _ in 0..20 {
            send(40, 240_000);
        }
        assert_eq!(send(40, 10 * 1448), 38);
        assert_eq!(send(40, 240_000), 8);
    }
}
