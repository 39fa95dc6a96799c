//! The receiving half of a connection: what arrived, what may still arrive, what must be acknowledged.

pub(crate) mod acceptability;
mod ack_policy;
pub(crate) mod autotune;
mod inspect;
pub(crate) mod paws;
mod reassembly;
pub(crate) mod rest;
pub(crate) mod urgent;
mod window;

use crate::{
    env::Env,
    negotiation::Negotiated,
    pool::{ByteQueue, Pool},
    profile::Profile,
    turns::Turns,
};
use acceptability::{Acceptable, Window};
use ack_policy::{Ack, AckPolicy};
use alloc::boxed::Box;
use autotune::{Arrival, Autotune, Clue, Verdict};
use reassembly::Reassembly;
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, SackBlocks, Segment},
};

/// Where the data of a segment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There was none, or none that is new.
    Nothing,
    /// In order, and nothing is queued before it: the application may have it in place.
    InPlace,
    /// In the queue; more may have become in order with it.
    Queued,
    /// Out of order, kept.
    Kept,
    /// Not (all) kept: no memory.
    NoMemory,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) irs: SeqNum,
    rcv_nxt: SeqNum,
    /// The right edge of the window we have promised.
    edge: SeqNum,
    /// Where the peer's FIN is, if [`FIN`] says that it has come.
    fin_seq: SeqNum,
    /// The shift of the windows we advertise; 0 unless both sides offered one.
    shift: u8,
    /// Our MSS.
    mss: u16,
    facts: Facts,
    /// Data that came twice, to be reported once (RFC 2883); nothing if both are equal.
    duplicate: (SeqNum, SeqNum),
    queue: ByteQueue,
    /// Attached only while something is out of order.
    reassembly: Option<Box<Reassembly>>,
    policy: AckPolicy,
    tune: Autotune,
    /// When the delayed ACK is due; [`Instant::MAX`]: there is none.
    delayed: Instant,
    /// An ACK is to go out.
    ack: Due,
    profile: Profile,
    /// Of RCV.NXT.
    turns: Turns,
}

/// What is so or not, in one octet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Facts(u8);

/// The peer's FIN has come, in order or not.
const FIN: u8 = 1;
/// Both sides permit SACK.
const SACK: u8 = 2;
/// Answers are waited for instead of acknowledging at once.
const AWAITS_ANSWER: u8 = 4;

impl Facts {
    const fn has(self, fact: u8) -> bool {
        self.0 & fact != 0
    }

    const fn set(&mut self, fact: u8, on: bool) {
        self.0 = if on { self.0 | fact } else { self.0 & !fact };
    }
}

/// Whether an ACK goes out at the end of this batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    /// For the peer's sake only: an answer that is about to come would do as well.
    Quick,
    Now,
}

/// How long an answer is waited for where one is likely to come, so that one segment does for both: what another host of the
/// network takes for it, and too little for a peer that sends its request in two parts to notice.
const SOON: Duration = Duration::from_millis(1);

impl Receiver {
    pub(crate) fn new(mss: u16) -> Self {
        Self {
            irs: SeqNum::default(),
            rcv_nxt: SeqNum::default(),
            edge: SeqNum::default(),
            fin_seq: SeqNum::default(),
            shift: 0,
            mss,
            facts: Facts::default(),
            duplicate: NOTHING,
            queue: ByteQueue::default(),
            reassembly: None,
            policy: AckPolicy::default(),
            tune: Autotune::new(Instant::ZERO, 0, 0, SeqNum::default(), SeqNum::default()),
            delayed: Instant::MAX,
            ack: Due::No,
            profile: Profile::Balanced,
            turns: Turns::default(),
        }
    }

    /// The peer's SYN arrived: its number, and what holds from now on.
    pub(crate) fn synchronize(&mut self, irs: SeqNum, negotiated: &Negotiated, env: &Env<'_>) {
        self.irs = irs;
        self.rcv_nxt = irs + 1;
        // The window in a SYN is never scaled (RFC 7323 section 2.2).
        self.edge = self.rcv_nxt + Self::syn_window(env);
        self.shift = if negotiated.window_scale.is_some() { env.config.window_scale() } else { 0 };
        self.facts.set(SACK, negotiated.sack);
        let start = env.config.receive_buffer_start();
        self.tune = Autotune::new(env.now, start, self.mss.into(), self.rcv_nxt, self.edge);
    }

    /// Both sides permit SACK.
    pub(crate) const fn sacks(&self) -> bool {
        self.facts.has(SACK)
    }

    /// Data came that was received before: the next ACK says so (RFC 2883 section 4).
    pub(crate) fn on_old_data(&mut self, segment: &Segment<'_>) {
        let (start, end) = (segment.header.seq, segment.header.seq + length(segment.payload));
        if !segment.payload.is_empty() && start.before(self.rcv_nxt) {
            self.note_duplicate(start, if end.before(self.rcv_nxt) { end } else { self.rcv_nxt });
        }
    }

    fn note_duplicate(&mut self, start: SeqNum, end: SeqNum) {
        if self.facts.has(SACK) && start != end {
            self.duplicate = (start, end);
            self.ack = Due::Now;
        }
    }

    /// Whether there are [`sack_blocks`](Self::sack_blocks).
    #[inline]
    pub(crate) fn reports(&self) -> bool {
        self.duplicate.0 != self.duplicate.1 || self.reassembly.is_some()
    }

    /// The blocks for an ACK, most recent first (RFC 2018 section 4), before them what came twice.
    pub(crate) fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let (start, end) = self.duplicate;
        if start != end {
            blocks.push(start, end);
        }
        if let Some(runs) = self.reassembly.as_ref().filter(|_| self.facts.has(SACK)) {
            runs.report(&mut blocks);
        }
        blocks
    }

    /// The window a SYN advertises. (It can't be taken back, so it does not depend on how much of the pool is free.)
    pub(crate) fn syn_window(env: &Env<'_>) -> u32 {
        env.config.receive_buffer_start().min(env.pool.least_share()).min(0xffff)
    }

    pub(crate) fn window(&self) -> Window {
        Window { rcv_nxt: self.rcv_nxt, rcv_wnd: self.edge.since(self.rcv_nxt) }
    }

    /// The window ends before `seq`.
    pub(crate) fn ends_at(&self, seq: SeqNum) -> bool {
        self.edge == seq
    }

    /// The window is closed, and `seq` is the number that would be next.
    pub(crate) fn is_shut_at(&self, seq: SeqNum) -> bool {
        self.edge == self.rcv_nxt && seq == self.rcv_nxt
    }

    /// It is no more than the octet before RCV.NXT: a window probe again, what follows one, or a keep-alive.
    pub(crate) fn is_last_octet(&self, segment: &Segment<'_>) -> bool {
        let plain = !segment.header.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        plain && segment.header.seq + 1 == self.rcv_nxt && segment.payload.len() <= 1
    }

    /// The shift of the windows we advertise.
    pub(crate) const fn shift(&self) -> u8 {
        self.shift
    }

    fn fin_at(&self) -> Option<SeqNum> {
        self.facts.has(FIN).then_some(self.fin_seq)
    }

    /// `len` octets from `seq` on are the next in order and fit the window.
    #[inline]
    pub(crate) fn expects(&self, seq: SeqNum, len: usize) -> bool {
        seq == self.rcv_nxt && len <= self.edge.since(self.rcv_nxt) as usize
    }

    /// Nothing is out of order, and no FIN has come.
    #[inline]
    pub(crate) fn is_regular(&self) -> bool {
        self.is_in_order() && self.fin_at().is_none()
    }

    /// Nothing is out of order.
    #[inline]
    pub(crate) const fn is_in_order(&self) -> bool {
        self.reassembly.is_none()
    }

    pub(crate) const fn rcv_nxt(&self) -> SeqNum {
        self.rcv_nxt
    }

    /// Bytes received in order, a FIN among them if it was.
    pub(crate) fn bytes(&self) -> u64 {
        self.turns.total(self.rcv_nxt.since(self.irs)).saturating_sub(1)
    }

    pub(crate) const fn turns(&self) -> Turns {
        self.turns
    }

    pub(crate) const fn unread(&self) -> u32 {
        self.queue.len()
    }

    /// The receive buffer now, bytes.
    pub(crate) const fn buffer(&self) -> u32 {
        self.tune.buffer()
    }

    /// Takes the data (and the place of the FIN) of an acceptable segment.
    pub(crate) fn on_data(&mut self, env: &mut Env<'_>, segment: &Acceptable<'_>, clue: Clue) -> Taken {
        if !segment.payload().is_empty() {
            self.measure(env, segment.seq(), segment.payload(), clue);
        }
        let taken = self.take(env, segment);
        // A FIN behind data that may have to come again comes again with it.
        let kept = match taken {
            Taken::NoMemory => false,
            Taken::InPlace => env.pool.has_room(segment.payload().len()),
            _ => true,
        };
        if segment.fin() && kept {
            self.facts.set(FIN, true);
            self.fin_seq = segment.seq() + length(segment.payload());
        } else if !kept && self.fin_at() == Some(self.rcv_nxt) {
            self.facts.set(FIN, false);
        }
        match taken {
            Taken::Nothing => {}
            Taken::InPlace | Taken::Queued => self.note_data(env, segment.payload(), self.reassembly.is_none()),
            Taken::Kept | Taken::NoMemory => self.ack = Due::Now,
        }
        let carries = !segment.payload().is_empty() || segment.fin();
        if carries && self.fin_at().is_some_and(|at| at != self.rcv_nxt) {
            // Out of order: RFC 5681 section 4.2. (Two that answered each other's bare ACKs so would never end.)
            self.ack = Due::Now;
        }
        self.release_filled();
        taken
    }

    /// What [`on_data`](Self::on_data) comes to for data that is [expected](Self::expects), without FIN.
    #[inline(always)] // into the short way, and nowhere else
    pub(crate) fn on_next_data(&mut self, env: &mut Env<'_>, payload: &[u8], clue: Clue) -> Taken {
        self.measure(env, self.rcv_nxt, payload, clue);
        debug_assert!(self.reassembly.is_none(), "or nothing is expected");
        if self.queue.is_empty() {
            self.rcv_nxt += length(payload);
            self.note_data(env, payload, true);
            return Taken::InPlace;
        }
        self.on_more_data(&mut env.again(), payload)
    }

    #[inline(never)] // of no interest to who reads at once
    fn on_more_data(&mut self, env: &mut Env<'_>, payload: &[u8]) -> Taken {
        let taken = self.queue_next(env.pool, payload);
        if taken == Taken::NoMemory {
            self.ack = Due::Now;
        } else {
            self.note_data(env, payload, true);
        }
        taken
    }

    /// Data has come in order: when is it to be acknowledged? `regular`: nothing is out of order.
    #[inline(always)] // most often it is one sum
    fn note_data(&mut self, env: &Env<'_>, payload: &[u8], regular: bool) {
        match self.policy.on_data(length(payload), self.mss, regular) {
            Ack::Now => self.ack = Due::Now,
            Ack::Gather => self.gather(env),
            Ack::Quick => self.ack_quickly(env),
            Ack::Delay => self.delay(env, env.config.delayed_ack),
        }
    }

    /// Some segments more, and one ACK does for all: unless the window leaves no room for them.
    fn gather(&mut self, env: &Env<'_>) {
        let time = env.config.ack_gather.min(env.config.delayed_ack);
        if time.is_zero() || self.edge.since(self.rcv_nxt) < self.policy.pending() {
            self.ack = Due::Now;
        } else {
            self.delay(env, time);
        }
    }

    /// What a segment tells of the round trip that echoes `ecr`, which we sent `age` milliseconds ago.
    #[inline]
    pub(crate) fn clue(&self, ecr: u32, age: impl FnOnce() -> Option<u32>) -> Clue {
        self.tune.clue(ecr, age)
    }

    /// Data arrives: the buffer grows with what the application has taken of what came before.
    #[inline(always)] // the same
    fn measure(&mut self, env: &mut Env<'_>, seq: SeqNum, payload: &[u8], clue: Clue) {
        let len = length(payload);
        match clue {
            Clue::Nothing => self.tune.on_more(len),
            clue => self.measure_round(&mut env.again(), seq, len, clue),
        }
        if env.pool.share(self.queue.len(), self.tune.buffer()) < self.tune.buffer() {
            env.pool.count(|c| c.windows_held += 1);
        }
    }

    #[inline(never)] // once in a round trip or a millisecond
    fn measure_round(&mut self, env: &mut Env<'_>, seq: SeqNum, len: u32, clue: Clue) {
        let taken = self.rcv_nxt - self.queue.len();
        let arrival = Arrival { now: env.now, clue, len, end: seq + len, edge: self.edge, taken };
        if let Some(measured) = self.tune.on_data(arrival, env.config.receive_buffer_bytes, !env.pool.is_pressed()) {
            self.policy.on_round(measured.settled, self.profile);
            self.turns.see(self.rcv_nxt.since(self.irs));
            if measured.verdict == Verdict::Held {
                env.pool.count(|c| c.growth_held += 1);
            }
        }
    }

    fn take(&mut self, env: &mut Env<'_>, segment: &Acceptable<'_>) -> Taken {
        let payload = segment.payload();
        self.note_duplicate(segment.seq() - u32::try_from(segment.skipped()).unwrap_or(0), segment.seq());
        if payload.is_empty() {
            return Taken::Nothing;
        }
        if segment.seq() != self.rcv_nxt {
            let runs = self.reassembly.get_or_insert_with(|| Box::new(Reassembly::behind(&self.queue, self.rcv_nxt)));
            if let Some((start, end)) = runs.overlap(segment.seq(), payload.len()) {
                self.duplicate = if self.facts.has(SACK) { (start, end) } else { NOTHING };
            }
            return if runs.insert(env.pool, segment.seq(), payload) { Taken::Kept } else { Taken::NoMemory };
        }
        self.take_next(env.pool, payload)
    }

    /// Takes what is next in order.
    #[inline]
    fn take_next(&mut self, pool: &mut Pool, payload: &[u8]) -> Taken {
        if self.queue.is_empty() && self.reassembly.is_none() {
            self.rcv_nxt += length(payload);
            return Taken::InPlace;
        }
        self.queue_next(pool, payload)
    }

    fn queue_next(&mut self, pool: &mut Pool, payload: &[u8]) -> Taken {
        let twice = self.reassembly.as_ref().and_then(|runs| runs.overlap(self.rcv_nxt, payload.len()));
        if self.queue_up(pool, payload) < payload.len() {
            return Taken::NoMemory;
        }
        if let Some(runs) = &mut self.reassembly {
            self.rcv_nxt += runs.advance(pool, self.rcv_nxt, &mut self.queue);
            self.ack = Due::Now;
            // RFC 2883 section 4.2: of several stretches that came twice the first is told.
            if let Some(twice) = twice.filter(|_| self.facts.has(SACK) && self.duplicate.0 == self.duplicate.1) {
                self.duplicate = twice;
            }
        }
        Taken::Queued
    }

    /// Appends what is in order, as far as there is memory: what is out of order makes room for it, the farthest first. (The
    /// peer sends that again, it was not acknowledged.)
    fn queue_up(&mut self, pool: &mut Pool, payload: &[u8]) -> usize {
        let Some(runs) = &mut self.reassembly else {
            let queued = self.queue.push(pool, payload);
            self.rcv_nxt += length(&payload[..queued]);
            return queued;
        };
        let mut queued = 0;
        loop {
            let more = self.queue.push_at(pool, runs.place(self.rcv_nxt), &payload[queued..]);
            self.rcv_nxt += length(&payload[queued..queued + more]);
            queued += more;
            if queued == payload.len() || !runs.prune_any(pool) {
                return queued;
            }
        }
    }

    fn release_filled(&mut self) {
        if self.reassembly.as_ref().is_some_and(|runs| runs.is_empty()) {
            self.reassembly = None;
        }
    }

    /// The FIN is next in order: counts it. True once.
    pub(crate) fn take_fin(&mut self) -> bool {
        if self.fin_at() != Some(self.rcv_nxt) {
            return false;
        }
        self.facts.set(FIN, false);
        self.rcv_nxt += 1;
        if self.edge.before(self.rcv_nxt) {
            self.edge = self.rcv_nxt;
        }
        true
    }

    /// The FIN is to be acknowledged; if one of ours may follow, with that.
    pub(crate) fn acknowledge_fin(&mut self, env: &Env<'_>, may_follow: bool) {
        if may_follow {
            self.ack_quickly(env);
        } else {
            self.ack = Due::Now;
        }
    }

    fn ack_quickly(&mut self, env: &Env<'_>) {
        if self.facts.has(AWAITS_ANSWER) {
            self.delay(env, SOON.min(env.config.delayed_ack));
        } else {
            if self.ack == Due::No {
                self.ack = Due::Quick;
            }
        }
    }

    fn delay(&mut self, env: &Env<'_>, time: Duration) {
        self.delayed = self.delayed.min(env.now + time);
    }

    /// Whether segments of a young connection, those behind a loss and a FIN are acknowledged at once, or wait for an answer for
    /// [`SOON`].
    pub(crate) fn set_quick_ack(&mut self, env: &Env<'_>, on: bool) {
        self.facts.set(AWAITS_ANSWER, !on);
        if !on && self.ack == Due::Quick {
            self.ack = Due::No;
            self.ack_quickly(env);
        }
    }

    /// What was set last.
    pub(crate) const fn profile(&self) -> Profile {
        self.profile
    }

    /// Sets what a profile sets of acknowledgments: those that wait for a frame to go with, and how many segments each is for.
    pub(crate) fn set_profile(&mut self, env: &Env<'_>, profile: Profile) {
        self.profile = profile;
        self.policy.set_profile(profile);
        self.set_quick_ack(env, profile != Profile::Throughput);
        if profile == Profile::Latency && self.policy.pending() > 0 {
            self.ack = Due::Now;
        }
    }

    /// Keeps what the application left of data delivered in place.
    ///
    /// What there is no memory for counts as never received: nothing of it was acknowledged yet, and it comes again. Not so if
    /// it was the `last` before the FIN, which has been told already: there was room for that, though the application may have
    /// used it up since.
    pub(crate) fn keep(&mut self, pool: &mut Pool, rest: &[u8], last: bool) {
        if last {
            return self.queue.push_all(pool, rest);
        }
        let kept = self.queue.push(pool, rest);
        if kept < rest.len() {
            self.rcv_nxt = self.rcv_nxt - length(&rest[kept..]);
            self.ack = Due::Now;
        }
    }

    /// The bytes to read first.
    pub(crate) fn front<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        self.queue.front(pool)
    }

    /// The application has read `n` bytes: tells the peer when the window has opened worthwhile.
    pub(crate) fn consume(&mut self, env: &mut Env<'_>, n: u32, still_open: bool) {
        self.queue.consume(env.pool, n);
        if still_open && window::worth_an_update(self.situation(env)) {
            self.ack = Due::Now;
        }
    }

    /// An ACK should go out at the end of the batch.
    pub(crate) fn request_ack(&mut self) {
        self.ack = Due::Now;
    }

    pub(crate) const fn ack_wanted(&self) -> bool {
        !matches!(self.ack, Due::No)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.delayed).filter(|due| *due != Instant::MAX)
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.delayed <= now {
            self.delayed = Instant::MAX;
            self.ack = Due::Now;
            self.policy.timed_out();
        }
    }

    /// A segment with ACK is about to go: the window field for it. It carries the acknowledgment.
    pub(crate) fn acknowledge(&mut self, env: &Env<'_>) -> u16 {
        let advertisement = window::advertise(self.situation(env), self.shift);
        self.edge = advertisement.edge;
        self.answered();
        advertisement.field
    }

    fn situation(&self, env: &Env<'_>) -> window::Situation {
        let buffer = env.pool.share(self.queue.len(), self.tune.buffer());
        window::Situation {
            rcv_nxt: self.rcv_nxt,
            edge: self.edge,
            // More than the field can say is no room to tell of.
            free: buffer.saturating_sub(self.queue.len()).min(0xffff << self.shift),
            buffer,
            mss: self.mss.into(),
        }
    }

    /// Gives all memory back.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.queue.clear(pool);
        self.drop_out_of_order(pool);
    }

    /// Whatever is not in order is given up.
    pub(crate) fn drop_out_of_order(&mut self, pool: &mut Pool) {
        if let Some(mut runs) = self.reassembly.take() {
            runs.clear(pool);
        }
    }

    /// Nothing will arrive or be acknowledged any more; what is in order stays readable.
    pub(crate) fn stop(&mut self, pool: &mut Pool) {
        self.drop_out_of_order(pool);
        self.answered();
    }

    /// The acknowledgment has gone out, or will never.
    pub(crate) fn answered(&mut self) {
        self.ack = Due::No;
        self.delayed = Instant::MAX;
        self.duplicate = NOTHING;
        self.policy.sent();
    }
}

/// No range.
const NOTHING: (SeqNum, SeqNum) = (SeqNum::new(0), SeqNum::new(0));

/// A payload's length as sequence space.
fn length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod property;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, pool::CHUNK_BYTES, testing::segment};
    use wire::tcp::Flags;

    /// RFC2018-8-b: what had to make room for data in order is not reported any more, nor is a segment for which there is no
    /// room.
    #[test]
    fn what_is_given_up_is_not_reported() {
        let (config, mut pool) = (Config::default(), Pool::new(8 * CHUNK_BYTES));
        let mut env = Env { now: Instant::ZERO, config: &config, pool: &mut pool };
        let mut rcv = Receiver::new(1460);
        let negotiated = Negotiated { mss: 1460, window_scale: None, sack: true, timestamps: None };
        rcv.synchronize(SeqNum::new(99), &negotiated, &env);
        let arrive = |rcv: &mut Receiver, env: &mut Env<'_>, seq: u32, len: usize| {
            let bytes = [7; 16 * CHUNK_BYTES];
            let segment = segment(Flags::ACK, seq, 1, &bytes[..len]);
            let window = Window { rcv_wnd: 60_000, ..rcv.window() };
            let acceptable = acceptability::check(window, &segment).expect("within the window");
            rcv.on_data(env, &acceptable, Clue::Window(None))
        };
        let reported = |rcv: &Receiver| -> std::vec::Vec<(u32, u32)> {
            rcv.sack_blocks().as_slice().iter().map(|(start, end)| (start.value(), end.value())).collect()
        };
        // Six of eight chunks hold what the application has not read, two what is out of order.
        assert_eq!(arrive(&mut rcv, &mut env, 100, 2 * CHUNK_BYTES), Taken::InPlace);
        rcv.keep(env.pool, &[7; 2 * CHUNK_BYTES], false);
        let next = 100 + 2 * 2048;
        assert_eq!(arrive(&mut rcv, &mut env, next + 20_000, 100), Taken::Kept);
        assert_eq!(arrive(&mut rcv, &mut env, next + 30_000, 100), Taken::Kept);
        assert_eq!(reported(&rcv), [(next + 30_000, next + 30_100), (next + 20_000, next + 20_100)]);
        assert_eq!(arrive(&mut rcv, &mut env, next, 4 * CHUNK_BYTES), Taken::Queued);
        assert_eq!(reported(&rcv).len(), 2);
        // Two more in order take the place of those.
        let next = next + 4 * 2048;
        assert_eq!(arrive(&mut rcv, &mut env, next, 2 * CHUNK_BYTES), Taken::Queued);
        assert_eq!((rcv.rcv_nxt().value(), reported(&rcv).len()), (next + 2 * 2048, 0));
        assert_eq!(arrive(&mut rcv, &mut env, next + 20_000, 100), Taken::NoMemory);
        assert_eq!(reported(&rcv).len(), 0);
    }
}
