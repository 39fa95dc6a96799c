//! What an acknowledgment does to SND.UNA, to the round-trip estimate and to the timers; what it says of losses is `recovery`'s.

use super::{Fin, Sender, recovery::Phase, tlp::Verdict};
use crate::env::Env;
use wheel::{Duration, Instant};
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
    /// Takes any acknowledgment, as a connection does.
    #[cfg(test)]
    pub(crate) fn on_ack(&mut self, env: &mut Env<'_>, ack: Ack<'_>) {
        if !self.on_usual_ack(env, ack.number, ack.sack, ack.ece) {
            self.on_any_ack(env, ack);
        }
    }

    /// Takes an acknowledgment if it is the usual one, which says nothing of losses, or says nothing at all. Any other is for
    /// [`on_any_ack`](Self::on_any_ack) to take, next.
    #[inline]
    pub(crate) fn on_usual_ack(&mut self, env: &mut Env<'_>, number: SeqNum, sack: &SackBlocks, ece: bool) -> bool {
        self.cork_seen();
        let new = self.acknowledges_new(number);
        match &self.flight {
            Some(f) if new && sack.is_empty() && !ece && !self.tail.is_out() && f.is_smooth() => {
                self.on_smooth_ack(env, number);
                true
            }
            Some(_) => false,
            None => !new && !self.tail.is_out() && sack.is_empty(),
        }
    }

    /// The peer is heard, acknowledges nothing new and has no SACK blocks: true if nothing is in flight, so that this is all there is
    /// to it, as [`on_usual_ack`](Self::on_usual_ack) would find. `empty`: it carries nothing. What carries data says nothing of a
    /// tail loss probe, which is in a line of its own that who only receives does not touch.
    #[inline]
    pub(crate) fn hears_nothing(&mut self, empty: bool) -> bool {
        self.cork_seen();
        self.flight.is_none() && !(empty && self.tail.is_out())
    }

    /// What [`on_any_ack`](Self::on_any_ack) comes to for the usual one.
    fn on_smooth_ack(&mut self, env: &mut Env<'_>, number: SeqNum) {
        let Some(mut flight) = self.flight.take() else { return };
        let passed = flight.board.acknowledge_unmarked(number);
        // No echoed timestamp is needed: it is known when all of this was sent.
        self.measure(env, passed.map(|p| (p.first, p.last.sent)), number, None);
        self.advance(env, number);
        self.on_smooth_evidence(env, &mut flight, passed);
        if flight.board.is_empty() {
            env.pool.give_flight(flight);
        } else {
            self.schedule_probe(env, &mut flight);
            self.flight = Some(flight);
        }
    }

    /// Takes any plausible acknowledgment: new, duplicate, or old with SACK blocks.
    pub(crate) fn on_any_ack(&mut self, env: &mut Env<'_>, ack: Ack<'_>) {
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
            // RFC 8985 section 7.4.2: most often the word of a probe that was not needed comes when all is acknowledged.
            let first = ack.sack.iter().next().filter(|(start, end)| start.before(*end) && end.before_eq(ack.number));
            let bare = !new && ack.number == self.snd_una && ack.empty && !ack.window_changed && ack.sack.is_empty();
            let of_probe = self.tail.acknowledged(ack.number, first, bare) == Verdict::Delivered;
            if self.sack && !of_probe && first.is_some() {
                // So does the word of any other copy that was not needed (section 6.2, step 4).
                self.path.duplicated(self.snd_una, self.snd_nxt);
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
        let times = delivered.acked.filter(|_| !delivered.retransmitted).or(delivered.sacked);
        self.measure(env, times, ack.number, ack.echo);
        if new {
            self.advance(env, ack.number);
        }
        let before = flight.phase;
        self.on_evidence(env, &mut flight, &ack, new, &mut delivered);
        if flight.board.is_empty() && flight.phase == Phase::Reducing {
            // Nothing above it will be acknowledged that this flight knows of.
            self.end(&mut flight);
        }
        self.note_phase(env, &flight, before);
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
        let since = env.now - self.last_sent;
        // What echoes our first SYN, though we have sent another, is late by our timeout, as where the peer's answer to the first
        // was lost: Linux echoes that in the second answer too. Such a second would be taken for a round trip for long, so it is
        // none (Karn's algorithm); where it was one the RTO of 3 s of a lost SYN is enough for it.
        let of_last = |age: &Duration| !age.is_zero() && *age <= since + ECHO_RESOLUTION;
        let once = self.retransmits == 0 && ack.number.after(self.sampled);
        let rtt = if once { Some(since) } else { ack.echo.filter(of_last) };
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

    /// Round-trip times: of segments sent once (Karn's algorithm), of which the first and the last were sent at `times`, else of
    /// the echoed timestamp (RFC 7323 section 4).
    fn measure(&mut self, env: &Env<'_>, times: Option<(Instant, Instant)>, number: SeqNum, echo: Option<Duration>) {
        if let Some((_, last)) = times {
            self.path.sample(env.now - last, env.now);
        }
        let una = self.snd_una.max(number);
        if una.before_eq(self.sampled) {
            return;
        }
        self.path.turns.see(una.since(self.iss));
        let echo = echo.filter(|age| number.after(self.snd_una) && !age.is_zero());
        if let Some(rtt) = times.map(|(first, _)| env.now - first).or(echo) {
            self.rto.sample(rtt, env.config);
            (self.sampled, self.probed) = (self.snd_max, false);
        } else {
            // As `recover`.
            self.sampled = una - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, pool::Pool, testing::segment, why::Why};
    use proptest::prelude::*;
    use std::{format, vec};
    use wire::tcp::Flags;

    /// What happens to a sender.
    #[derive(Debug, Clone)]
    enum Op {
        Push(usize),
        Send(u8),
        /// An acknowledgment of so many 255ths of what is outstanding, with the blocks that lie there.
        Ack {
            part: u8,
            blocks: vec::Vec<(u8, u8)>,
            echo: Option<u8>,
            ece: bool,
            empty: bool,
            window: u16,
        },
        /// So many microseconds pass, and timers expire.
        Pass(u32),
        Close,
    }

    fn op() -> impl Strategy<Value = Op> {
        let blocks = proptest::collection::vec((any::<u8>(), any::<u8>()), 0..3);
        let part = prop_oneof![Just(255u8), Just(255), Just(0), any::<u8>()];
        let echo = proptest::option::of(any::<u8>());
        let window = prop_oneof![4 => Just(60_000u16), 1 => any::<u16>()];
        let mark = prop_oneof![15 => Just(false), 1 => Just(true)];
        prop_oneof![
            6 => (1usize..9000).prop_map(Op::Push),
            8 => (1u8..9).prop_map(Op::Send),
            8 => (part, Just(vec![]), echo.clone(), Just(false), any::<bool>(), Just(60_000)).prop_map(
                |(part, blocks, echo, ece, empty, window)| Op::Ack { part, blocks, echo, ece, empty, window }
            ),
            2 => (any::<u8>(), blocks, echo, mark, any::<bool>(), window).prop_map(
                |(part, blocks, echo, ece, empty, window)| Op::Ack { part, blocks, echo, ece, empty, window }
            ),
            5 => (1u32..2000).prop_map(Op::Pass),
            1 => (1u32..2_000_000).prop_map(Op::Pass),
            1 => Just(Op::Close),
        ]
    }

    struct Twin {
        sender: Sender,
        pool: Pool,
        short: bool,
        heard: u32,
    }

    impl Twin {
        fn new(config: &Config, short: bool, sack: bool) -> Self {
            let mut pool = Pool::new(1 << 20);
            let iss = SeqNum::new(u32::MAX - 10_000);
            let mut env = Env { now: Instant::ZERO, config, pool: &mut pool };
            let mut sender = Sender::new(iss, 1000, &env);
            sender.syn_sent(&mut env);
            let none = SackBlocks::default();
            let ack = Ack { number: iss + 1, sack: &none, echo: None, ece: false, empty: true, window_changed: false };
            sender.on_ack(&mut env, ack);
            let header = segment(Flags::ACK, 0, (iss + 1).value(), &[]).header;
            sender.established(&wire::tcp::Header { window: 60_000, ..header }, false);
            sender.set_sack(sack);
            sender.set_ecn(true);
            Self { sender, pool, short, heard: 1 }
        }

        fn apply(&mut self, now: Instant, config: &Config, op: &Op) {
            let Self { sender, pool, short, heard } = self;
            let mut env = Env { now, config, pool };
            match op {
                Op::Push(n) if !sender.is_closed() => {
                    sender.push(&mut env, &[7; 9000][..*n]);
                }
                Op::Push(_) => {}
                Op::Send(n) => {
                    for _ in 0..*n {
                        let Some(cut) = sender.next_cut(&env, 0) else { break };
                        sender.sent(&mut env, cut);
                    }
                }
                Op::Ack { part, blocks, echo, ece, empty, window } => {
                    let outstanding = sender.snd_max.since(sender.snd_una);
                    let at = |part: u8| sender.snd_una + outstanding * u32::from(part) / 255;
                    let mut sack = SackBlocks::default();
                    for (start, end) in blocks {
                        sack.push(at(*start), at(*end));
                    }
                    *heard += 1;
                    let mut header = segment(Flags::ACK, *heard, at(*part).value(), &[]).header;
                    header.window = *window;
                    let ack = Ack {
                        number: header.ack,
                        sack: &sack,
                        echo: echo.map(|ms| Duration::from_millis(ms.into())),
                        ece: *ece,
                        empty: *empty,
                        window_changed: sender.changes_window(header.seq, header.ack, header.window),
                    };
                    if *short {
                        sender.on_ack(&mut env, ack)
                    } else {
                        sender.on_any_ack(&mut env, ack)
                    }
                    sender.update_window(&mut env, header.seq, header.ack, header.window, false);
                }
                Op::Pass(_) => {
                    if sender.timer().is_some_and(|(_, at)| at <= now) {
                        sender.on_timeout(&mut env, Duration::MAX);
                    }
                }
                Op::Close => sender.close(),
            }
        }
    }

    proptest! {
        /// Whatever came before, the short way for the usual acknowledgment leaves the sender as the long way does.
        #[test]
        fn the_short_way_comes_to_the_same(ops in proptest::collection::vec(op(), 1..150), sack: bool) {
            let config = Config::default();
            let (mut short, mut long) = (Twin::new(&config, true, sack), Twin::new(&config, false, sack));
            let mut now = Instant::ZERO + Duration::from_millis(10);
            for op in ops {
                if let Op::Pass(micros) = op {
                    now += Duration::from_micros(micros.into());
                }
                short.apply(now, &config, &op);
                long.apply(now, &config, &op);
                prop_assert_eq!(format!("{:?}", short.sender), format!("{:?}", long.sender));
            }
        }
    }

    proptest! {
        /// Who only looks finds a reason exactly when there is no next segment, whatever came before.
        #[test]
        fn there_is_a_reason_when_nothing_is_sent(ops in proptest::collection::vec(op(), 1..150), sack: bool) {
            let config = Config::default();
            let mut twin = Twin::new(&config, true, sack);
            let mut now = Instant::ZERO + Duration::from_millis(10);
            for op in ops {
                if let Op::Pass(micros) = op {
                    now += Duration::from_micros(micros.into());
                }
                twin.apply(now, &config, &op);
                let Twin { sender, pool, .. } = &mut twin;
                let env = Env { now, config: &config, pool };
                let why = sender.why(env.look());
                prop_assert_eq!(why, sender.why(env.look()));
                let cut = sender.next_cut(&env, 0);
                prop_assert_eq!(why == Why::Sending, cut.is_some(), "{:?} {:?}", why, cut);
                let unsent = sender.has_unsent() || sender.flight.as_ref().is_some_and(|f| f.board.waits());
                prop_assert_eq!(matches!(why, Why::Application | Why::Closed), !unsent && cut.is_none(), "{:?}", why);
            }
        }
    }

    /// A request, its acknowledgment, a burst, the acknowledgments of its parts: all of that goes the short way.
    #[test]
    fn what_is_usual_goes_the_short_way() {
        let config = Config::default();
        let Twin { mut sender, mut pool, .. } = Twin::new(&config, true, true);
        let mut env = Env { now: Instant::ZERO, config: &config, pool: &mut pool };
        let none = SackBlocks::default();
        for segments in [1u32, 5] {
            sender.push(&mut env, &[7; 9000][..segments as usize * 1000]);
            while let Some(cut) = sender.next_cut(&env, 0) {
                sender.sent(&mut env, cut);
            }
            for _ in 0..segments {
                let number = sender.snd_una + 1000;
                assert!(!sender.on_usual_ack(&mut env, number, &none, true));
                assert!(sender.on_usual_ack(&mut env, number, &none, false));
            }
            assert_eq!(sender.snd_una, sender.snd_max);
        }
    }
}
