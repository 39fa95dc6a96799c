//! A link in one direction: a queue, a wire of some rate and length, and what goes wrong on it.

use crate::{frame::Pool, mark, rng::Rng};
use stack::{Duration, Instant};
use std::{collections::VecDeque, ops::Range};

/// What a link is like. The default is a perfect wire: no delay, no limit, no loss. Probabilities are 0 to 1.
///
/// A frame meets, in this order: the MTU, the queue, the rate, outage and loss, corruption, then delay, jitter, reordering
/// and duplication.
#[derive(Debug, Clone, Default)]
pub struct LinkConfig {
    /// Bits per second, of whole Ethernet frames without preamble, check sequence and gap; `None`: no limit, and no queue.
    pub rate_bps: Option<u64>,
    /// Bytes that wait or are being sent, at most: a frame that doesn't fit is dropped (drop-tail). `None`: no limit.
    pub queue_bytes: Option<usize>,
    /// A packet that finds so many bytes before it is marked CE, if its sender understands that (RFC 3168).
    pub mark_bytes: Option<usize>,
    /// Propagation delay.
    pub delay: Duration,
    /// Further delay, from zero to this, by chance; it doesn't reorder.
    pub jitter: Duration,
    /// Frames that are lost.
    pub loss: Loss,
    /// Probability of a frame that others overtake,
    pub reorder: f64,
    /// and by how much it is late, at most.
    pub reorder_by: Duration,
    /// Probability of a frame that arrives twice.
    pub duplicate: f64,
    /// Probability of a frame in whose IP packet a bit is flipped. ARP and neighbour discovery are spared: nothing protects
    /// them but Ethernet's check sequence, which would have.
    pub corrupt: f64,
    /// Larger IP packets vanish, bytes.
    pub mtu: Option<usize>,
    /// The router in front of the small MTU says so, by ICMP. Otherwise it is a black hole.
    pub too_big: bool,
    /// While nothing comes through.
    pub outage: Option<Range<Instant>>,
}

impl LinkConfig {
    /// A wire that only takes time.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A drop-tail queue before a wire of this rate.
    #[must_use]
    pub fn rated(rate_bps: u64, delay: Duration, queue_bytes: usize) -> Self {
        Self { rate_bps: Some(rate_bps), queue_bytes: Some(queue_bytes), delay, ..Self::default() }
    }

    /// The same with random loss, a probability of 0 to 1.
    #[must_use]
    pub fn with_loss(self, probability: f64) -> Self {
        Self { loss: Loss::Random(probability), ..self }
    }
}

/// How frames are lost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Loss {
    /// None is.
    #[default]
    None,
    /// Each with this probability.
    Random(f64),
    /// In bursts (Gilbert and Elliott): a state in which each frame is lost with probability `within`, entered before a frame
    /// with probability `enter` and left with `leave`.
    Burst {
        /// Probability that a burst begins, per frame.
        enter: f64,
        /// Probability that it ends, per frame.
        leave: f64,
        /// Probability of loss within a burst.
        within: f64,
    },
}

/// What became of the frames of a link. [`LinkCounters::add_up`] holds at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames put on the link.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that arrived, copies included.
    pub delivered: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames lost while nothing came through.
    pub outage: u64,
    /// Frames the queue had no room for.
    pub queue_dropped: u64,
    /// Frames larger than the MTU.
    pub too_big: u64,
    /// Copies made by duplication.
    pub duplicated: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
    /// Frames that others may overtake.
    pub reordered: u64,
    /// Packets marked CE.
    pub marked: u64,
    /// Frames under way: a gauge.
    pub in_flight: u64,
    /// The most bytes there were in the queue.
    pub queue_peak_bytes: u64,
}

impl LinkCounters {
    /// Whether every frame is accounted for.
    #[must_use]
    pub const fn add_up(&self) -> bool {
        let gone = self.delivered + self.lost + self.outage + self.queue_dropped + self.too_big;
        self.frames + self.duplicated == gone + self.in_flight
    }
}

/// What is done with a frame that was put on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It arrives then, and a copy of it at that time.
    Arrives(Instant, Option<Instant>),
    Lost,
    Outage,
    QueueDropped,
    TooBig,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: LinkConfig,
    pub(crate) counters: LinkCounters,
    /// Where it leads.
    pub(crate) to: usize,
    rng: Rng,
    /// When the last bit of the queue is on the wire, and what of a nanosecond is left over, in bits times 10^9.
    busy_until: Instant,
    carry: u64,
    /// In the middle of a burst of losses.
    burst: bool,
    last_arrival: Instant,
    /// Frames under way in their order: only the first of them is in the queue of events.
    pub(crate) flying: VecDeque<(Instant, u64, u32)>,
}

impl Link {
    pub(crate) fn new(config: LinkConfig, to: usize, rng: Rng) -> Self {
        Self {
            config,
            counters: LinkCounters::default(),
            to,
            rng,
            busy_until: Instant::ZERO,
            carry: 0,
            burst: false,
            last_arrival: Instant::ZERO,
            flying: VecDeque::new(),
        }
    }

    /// A frame is put on the link.
    pub(crate) fn enter(&mut self, now: Instant, pool: &mut Pool, frame: u32) -> Verdict {
        let len = pool[frame].bytes.len();
        self.counters.frames += 1;
        self.counters.bytes += len as u64;
        let verdict = self.judge(now, pool, frame, len);
        match verdict {
            Verdict::Arrives(_, copy) => {
                self.counters.in_flight += 1 + u64::from(copy.is_some());
                self.counters.duplicated += u64::from(copy.is_some());
            }
            Verdict::Lost => self.counters.lost += 1,
            Verdict::Outage => self.counters.outage += 1,
            Verdict::QueueDropped => self.counters.queue_dropped += 1,
            Verdict::TooBig => self.counters.too_big += 1,
        }
        verdict
    }

    fn judge(&mut self, now: Instant, pool: &mut Pool, frame: u32, len: usize) -> Verdict {
        if self.config.mtu.is_some_and(|mtu| len - mark::link_len(&pool[frame].bytes) > mtu) {
            return Verdict::TooBig;
        }
        let Some(sent) = self.queue(now, pool, frame, len) else { return Verdict::QueueDropped };
        if self.config.outage.as_ref().is_some_and(|outage| outage.contains(&now)) {
            return Verdict::Outage;
        }
        if self.is_lost() {
            return Verdict::Lost;
        }
        if self.rng.chance(self.config.corrupt) && mark::is_tcp(&pool[frame].bytes) {
            self.counters.corrupted += 1;
            let frame = &mut pool[frame];
            let at = mark::link_len(&frame.bytes);
            let at = at + self.rng.index(frame.bytes.len() - at);
            frame.bytes[at] ^= 1 << self.rng.below(8);
            frame.corrupted = true;
        }
        // The order of arrival is the order of sending, whatever the jitter; but for those that are late on purpose.
        let jitter = if self.config.jitter.is_zero() { Duration::ZERO } else { self.rng.up_to(self.config.jitter) };
        let mut arrival = (sent + self.config.delay + jitter).max(self.last_arrival);
        if self.rng.chance(self.config.reorder) {
            self.counters.reordered += 1;
            arrival += self.rng.up_to(self.config.reorder_by);
        } else {
            self.last_arrival = arrival;
        }
        let copy = self.rng.chance(self.config.duplicate).then_some(arrival);
        Verdict::Arrives(arrival, copy)
    }

    /// When the frame's last bit is on the wire; `None` if the queue has no room for it.
    fn queue(&mut self, now: Instant, pool: &mut Pool, frame: u32, len: usize) -> Option<Instant> {
        const NANOS: u128 = 1_000_000_000;
        let Some(rate) = self.config.rate_bps else { return Some(now) };
        // What waits is what the wire will need that long for: no event is needed when a frame leaves the queue.
        let waiting = u128::from((self.busy_until - now).as_nanos()) * u128::from(rate) / (8 * NANOS);
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        if self.config.queue_bytes.is_some_and(|limit| waiting + len > limit) {
            return None;
        }
        self.counters.queue_peak_bytes = self.counters.queue_peak_bytes.max((waiting + len) as u64);
        if self.config.mark_bytes.is_some_and(|threshold| waiting >= threshold) {
            self.counters.marked += u64::from(mark::congested(&mut pool[frame].bytes));
        }
        if self.busy_until <= now {
            (self.busy_until, self.carry) = (now, 0);
        }
        let bits = len as u128 * 8 * NANOS + u128::from(self.carry);
        self.carry = u64::try_from(bits % u128::from(rate)).unwrap_or(0);
        self.busy_until += Duration::from_nanos(u64::try_from(bits / u128::from(rate)).unwrap_or(u64::MAX));
        Some(self.busy_until)
    }

    fn is_lost(&mut self) -> bool {
        match self.config.loss {
            Loss::None => false,
            Loss::Random(probability) => self.rng.chance(probability),
            Loss::Burst { enter, leave, within } => {
                self.burst = if self.burst { !self.rng.chance(leave) } else { self.rng.chance(enter) };
                self.burst && self.rng.chance(within)
            }
        }
    }
}
