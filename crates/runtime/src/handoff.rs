//! Frames of flows that live on other shards: handed from shard to shard through bounded queues.
//!
//! A frame whose flow the shard it arrived at does not know is copied into a parcel and goes round the ring of the shards,
//! each of which is asked. Who knows the flow takes it, and tells the shard where it arrived, which remembers: the flow's next
//! frames go straight there. A parcel that comes back was nobody's, and is then the arriving shard's to open or to refuse.
//!
//! Two frames that open the same flow may arrive at two shards at once (a SYN and its copy, hashed anew by a peer that
//! retransmits), and both would find nobody. So a shard that is asked about a flow which it is asking about itself, and whose
//! number is the lower one, marks the other's frame: that is dropped if it comes back. Who asks later than it was asked needs no
//! mark: its question follows the other's round the ring, and finds the flow where that ended.

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use mio::Waker;
use serde::Serialize;
use stack::{App, Duration, Instant, Placed, Shard, flow_tag};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

mod learnt;

use learnt::{Asks, Learnt};

/// Parcels that may wait for a shard, and buffers that a shard has under way.
pub(crate) const PARCELS: usize = 1024;
/// Parcels taken in per turn: as with frames, few enough for the last one not to wait long.
const BATCH: usize = 256;
/// What a buffer begins with: it grows, once, to what the interface's frames need.
const BUFFER_BYTES: usize = 2048;
/// How often the others are told that cookies are sent here: they are valid for two minutes.
const COOKIES: Duration = Duration::from_secs(1);
/// How long a question may be under way before it counts as lost in a full queue. A shard may stand still for that long; and
/// the second copy of a SYN, three seconds behind the first (RFC 6298 section 2), is no longer contested.
const ASKED: Duration = Duration::from_millis(2900);

/// What became of the frames that arrived at one shard and were not its own; since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HandoffCounters {
    /// Frames put into another shard's queue on arrival.
    pub out: u64,
    /// Of those, sent straight to the shard that was remembered.
    pub straight: u64,
    /// Frames of other shards that were passed on, in the ring or back.
    pub passed: u64,
    /// Frames that came back because no shard knew their flow, and were dropped because another shard was asking about the
    /// same one.
    pub contested: u64,
    /// Copies given to all other shards.
    pub copies: u64,
    /// Frames and messages dropped because a queue was full, or all buffers were under way.
    pub full: u64,
    /// Flows of other shards that are remembered: a gauge.
    pub learnt: u64,
}

impl HandoffCounters {
    /// Every counter by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("handoff_out", self.out),
            ("handoff_straight", self.straight),
            ("handoff_passed", self.passed),
            ("handoff_contested", self.contested),
            ("handoff_copies", self.copies),
            ("handoff_full", self.full),
            ("handoff_learnt", self.learnt),
        ]
        .into_iter()
    }
}

/// What a parcel asks of the shard it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The flow is remembered to be yours.
    Straight,
    /// It is not (any more): to the shard where it arrived.
    Returned,
    /// Is the flow yours? So many have been asked, and perhaps another shard asks as well.
    Ask { asked: u16, contested: bool },
    /// The flow is `shard`'s: to the one that asked.
    Claim { shard: u16 },
    /// The frame was dropped: to the shard that asked.
    Over,
    /// Nobody's: to the shard where it arrived.
    Unclaimed { contested: bool },
    /// For everybody.
    Copy,
    /// SYNs are answered by cookies here: without a frame.
    Cookies,
}

/// A frame on its way between shards, or a word about one.
#[derive(Debug)]
struct Parcel {
    kind: Kind,
    /// The shard where it arrived: whose buffer it is in.
    arrived: u16,
    /// The flow; `None`: it has no name, and is not remembered.
    tag: Option<u64>,
    bytes: Vec<u8>,
}

/// What others reach of a shard.
#[derive(Debug)]
struct Letterbox {
    parcels: ArrayQueue<Parcel>,
    /// Its buffers, from those who are done with them.
    returned: ArrayQueue<Vec<u8>>,
    /// It sleeps, or is about to look into its box for the last time before it does.
    asleep: CachePadded<AtomicBool>,
    waker: Arc<Waker>,
}

#[derive(Debug)]
struct Ring {
    boxes: Vec<Letterbox>,
    /// Shards that have no connection left, at the end.
    drained: AtomicUsize,
}

/// One shard's end of the handoff.
#[derive(Debug)]
pub(crate) struct Handoff {
    index: u16,
    ring: Arc<Ring>,
    learnt: Learnt,
    asks: Asks,
    /// Buffers that are at home, and how many there are in all.
    buffers: Vec<Vec<u8>>,
    made: usize,
    /// To whom something was sent since the last [`wake`](Self::wake).
    touched: Vec<bool>,
    any_touched: bool,
    drained: bool,
    /// Cookies sent when the others were told of them last, and when that was.
    cookies: (u64, Option<Instant>),
    counters: HandoffCounters,
}

impl Handoff {
    /// The ends of as many shards as there are wakers, each with room for so many parcels.
    pub(crate) fn ring(wakers: Vec<Arc<Waker>>, parcels: usize) -> Vec<Self> {
        let count = wakers.len();
        let letterbox = |waker| Letterbox {
            parcels: ArrayQueue::new(parcels),
            returned: ArrayQueue::new(parcels),
            asleep: CachePadded::new(AtomicBool::new(false)),
            waker,
        };
        let boxes = wakers.into_iter().map(letterbox).collect();
        let ring = Arc::new(Ring { boxes, drained: AtomicUsize::new(0) });
        let end = |index| Self {
            index,
            ring: Arc::clone(&ring),
            learnt: Learnt::new(),
            asks: Asks::new(),
            buffers: Vec::new(),
            made: 0,
            touched: vec![false; count],
            any_touched: false,
            drained: false,
            cookies: (0, None),
            counters: HandoffCounters::default(),
        };
        (0..u16::try_from(count).unwrap_or(u16::MAX)).map(end).collect()
    }

    /// The counters.
    pub(crate) fn counters(&self) -> HandoffCounters {
        HandoffCounters { learnt: self.learnt.len() as u64, ..self.counters }
    }

    /// Parcels that wait for this shard, and the most that may.
    pub(crate) fn queue(&self) -> (u64, u64) {
        let parcels = &self.ring.boxes[usize::from(self.index)].parcels;
        (parcels.len() as u64, parcels.capacity() as u64)
    }

    /// A frame that has arrived is not, or not only, this shard's.
    #[cold]
    pub(crate) fn on_placed(&mut self, now: Instant, placed: Placed, frame: &[u8]) {
        match placed {
            Placed::Here | Placed::Refused => {}
            Placed::Elsewhere => self.send_out(now, frame),
            Placed::Everybodys => self.send_copies(frame),
        }
    }

    fn send_out(&mut self, now: Instant, frame: &[u8]) {
        let Some(bytes) = self.fill(frame) else { return };
        let tag = flow_tag(frame);
        self.counters.out += 1;
        let parcel = Parcel { kind: Kind::Straight, arrived: self.index, tag, bytes };
        match tag.and_then(|tag| self.learnt.find(tag)) {
            Some(shard) => {
                self.counters.straight += 1;
                self.send(shard, parcel);
            }
            None => self.ask(now, parcel),
        }
    }

    fn send_copies(&mut self, frame: &[u8]) {
        let index = self.index;
        for to in (0..self.count()).filter(|to| *to != index) {
            let Some(bytes) = self.fill(frame) else { return };
            self.counters.copies += 1;
            self.send(to, Parcel { kind: Kind::Copy, arrived: index, tag: None, bytes });
        }
    }

    /// Tells the others that SYNs are answered by cookies here, if so many were sent: an acknowledgment may come to them.
    pub(crate) fn tell_of_cookies(&mut self, now: Instant, sent: u64) {
        let (told, at) = self.cookies;
        if sent == told || at.is_some_and(|at| now - at < COOKIES) {
            return;
        }
        self.cookies = (sent, Some(now));
        let index = self.index;
        for to in (0..self.count()).filter(|to| *to != index) {
            self.send(to, Parcel { kind: Kind::Cookies, arrived: index, tag: None, bytes: Vec::new() });
        }
    }

    /// Sends a parcel of ours round the ring.
    fn ask(&mut self, now: Instant, mut parcel: Parcel) {
        if let Some(tag) = parcel.tag {
            self.asks.begin(now, tag);
        }
        parcel.kind = Kind::Ask { asked: 1, contested: false };
        let tag = parcel.tag;
        if !self.send(self.next(), parcel)
            && let Some(tag) = tag
        {
            // Nobody was asked: another shard's question about it is not contested.
            self.asks.end(now, tag);
        }
    }

    /// Takes in what others have sent; how many parcels that was.
    pub(crate) fn take_in(&mut self, now: Instant, shard: &mut Shard, app: &mut impl App) -> usize {
        for taken in 0..BATCH {
            let Some(parcel) = self.ring.boxes[usize::from(self.index)].parcels.pop() else { return taken };
            self.on_parcel(now, parcel, shard, app);
        }
        BATCH
    }

    fn on_parcel(&mut self, now: Instant, parcel: Parcel, shard: &mut Shard, app: &mut impl App) {
        match parcel.kind {
            Kind::Copy => {
                let _ = shard.on_handed(now, &parcel.bytes, app);
                self.give_back(parcel);
            }
            Kind::Cookies => shard.on_cookies_elsewhere(now),
            Kind::Claim { shard } => {
                if let Some(tag) = parcel.tag {
                    self.asks.end(now, tag);
                    self.learnt.put(tag, shard);
                }
            }
            Kind::Straight | Kind::Ask { .. } => match shard.on_handed(now, &parcel.bytes, app) {
                Placed::Here | Placed::Everybodys => self.on_taken(parcel),
                Placed::Elsewhere => self.pass_on(now, parcel),
                Placed::Refused => self.on_refused(parcel),
            },
            Kind::Over => {
                if let Some(tag) = parcel.tag {
                    self.asks.end(now, tag);
                }
            }
            Kind::Returned => {
                if let Some(tag) = parcel.tag {
                    self.learnt.forget(tag);
                }
                self.ask(now, parcel);
            }
            Kind::Unclaimed { contested } => {
                if let Some(tag) = parcel.tag {
                    self.asks.end(now, tag);
                }
                if contested {
                    self.counters.contested += 1;
                } else {
                    shard.on_unclaimed(now, &parcel.bytes, app);
                }
                self.give_back(parcel);
            }
        }
    }

    /// A parcel's flow is ours.
    fn on_taken(&mut self, parcel: Parcel) {
        if let Kind::Ask { .. } = parcel.kind {
            let kind = Kind::Claim { shard: self.index };
            self.send(parcel.arrived, Parcel { kind, arrived: parcel.arrived, tag: parcel.tag, bytes: Vec::new() });
        }
        self.give_back(parcel);
    }

    /// A parcel was dropped here, which does not say that its flow is ours: its question is over, and nothing is learnt.
    fn on_refused(&mut self, parcel: Parcel) {
        if let Kind::Ask { .. } = parcel.kind {
            let over = Parcel { kind: Kind::Over, arrived: parcel.arrived, tag: parcel.tag, bytes: Vec::new() };
            self.send(parcel.arrived, over);
        }
        self.give_back(parcel);
    }

    /// A parcel's flow is not ours.
    fn pass_on(&mut self, now: Instant, mut parcel: Parcel) {
        self.counters.passed += 1;
        let Kind::Ask { asked, mut contested } = parcel.kind else {
            parcel.kind = Kind::Returned;
            self.send(parcel.arrived, parcel);
            return;
        };
        contested |= self.index < parcel.arrived && parcel.tag.is_some_and(|tag| self.asks.is_asking(now, tag));
        if asked + 1 < self.count() {
            parcel.kind = Kind::Ask { asked: asked + 1, contested };
            self.send(self.next(), parcel);
        } else {
            parcel.kind = Kind::Unclaimed { contested };
            self.send(parcel.arrived, parcel);
        }
    }

    /// False if there was no room.
    fn send(&mut self, to: u16, parcel: Parcel) -> bool {
        match self.ring.boxes[usize::from(to)].parcels.push(parcel) {
            Ok(()) => {
                self.touched[usize::from(to)] = true;
                self.any_touched = true;
                true
            }
            Err(parcel) => {
                self.counters.full += 1;
                self.give_back(parcel);
                false
            }
        }
    }

    /// The frame in a buffer of ours; `None` if all are under way.
    fn fill(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let letterbox = &self.ring.boxes[usize::from(self.index)];
        let buffer = self.buffers.pop().or_else(|| letterbox.returned.pop()).or_else(|| {
            let new = self.made < letterbox.returned.capacity();
            self.made += usize::from(new);
            new.then(|| Vec::with_capacity(BUFFER_BYTES.max(frame.len())))
        });
        self.counters.full += u64::from(buffer.is_none());
        buffer.map(|mut buffer| {
            buffer.clear();
            buffer.extend_from_slice(frame);
            buffer
        })
    }

    /// A buffer goes home.
    fn give_back(&mut self, parcel: Parcel) {
        if parcel.arrived == self.index {
            if parcel.bytes.capacity() > 0 {
                self.buffers.push(parcel.bytes);
            }
        } else if parcel.bytes.capacity() > 0 {
            // There is room for as many as there are.
            let _ = self.ring.boxes[usize::from(parcel.arrived)].returned.push(parcel.bytes);
        }
    }

    /// Wakes whom something was sent to, if it sleeps: once per turn.
    pub(crate) fn wake(&mut self) {
        if !std::mem::take(&mut self.any_touched) {
            return;
        }
        // Either the sleeper sees the parcel when it looks for the last time, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        for (touched, letterbox) in self.touched.iter_mut().zip(&self.ring.boxes) {
            if std::mem::take(touched)
                && letterbox.asleep.load(Ordering::Relaxed)
                && letterbox.asleep.swap(false, Ordering::Relaxed)
            {
                let _ = letterbox.waker.wake();
            }
        }
    }

    /// Says that this shard is about to sleep; false if there is something for it. [`awake`](Self::awake) ends it.
    pub(crate) fn may_sleep(&self) -> bool {
        let letterbox = &self.ring.boxes[usize::from(self.index)];
        letterbox.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        letterbox.parcels.is_empty()
    }

    /// The shard sleeps no longer, whoever woke it.
    pub(crate) fn awake(&self) {
        self.ring.boxes[usize::from(self.index)].asleep.store(false, Ordering::Relaxed);
    }

    /// Ends the sleep of every shard, whether there is something for it or not.
    pub(crate) fn wakers(&self) -> Vec<Arc<Waker>> {
        self.ring.boxes.iter().map(|letterbox| Arc::clone(&letterbox.waker)).collect()
    }

    /// This shard has no connection left; but what arrives here may be for others who have.
    pub(crate) fn set_drained(&mut self) {
        if !std::mem::replace(&mut self.drained, true) {
            self.ring.drained.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nobody has a connection left.
    pub(crate) fn all_drained(&self) -> bool {
        self.ring.drained.load(Ordering::Relaxed) >= self.ring.boxes.len()
    }

    fn count(&self) -> u16 {
        u16::try_from(self.ring.boxes.len()).unwrap_or(u16::MAX)
    }

    /// Forgets where flows live.
    #[cfg(test)]
    pub(crate) fn forget_all(&mut self) {
        self.learnt = Learnt::new();
    }

    /// The next in the ring.
    fn next(&self) -> u16 {
        (self.index + 1) % self.count()
    }
}

impl Drop for Handoff {
    /// Nobody waits for a shard that has failed.
    fn drop(&mut self) {
        self.set_drained();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    /// A TCP frame over IPv6, whose header has no checksum, from a port.
    fn frame(port: u16) -> Vec<u8> {
        let mut frame = vec![0; 74];
        frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        (frame[19], frame[20], frame[21]) = (20, 6, 64);
        (frame[22], frame[37], frame[38], frame[53]) = (0xfd, 2, 0xfd, 1);
        frame[54..56].copy_from_slice(&port.to_be_bytes());
        (frame[57], frame[66], frame[67]) = (7, 5 << 4, 2);
        frame
    }

    /// However long the next shard's queue is full: who could not ask is not asking, so that another shard that can is not
    /// told that its question is contested; and no buffer is lost.
    #[test]
    fn a_question_that_finds_no_room_is_none() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut ends = Handoff::ring(vec![waker; 3], 2);
        let (mut now, flow) = (Instant::ZERO, frame(1000));
        let tag = flow_tag(&flow).unwrap();
        // Words without a buffer fill the box of shard 1.
        ends[2].tell_of_cookies(now, 1);
        now += COOKIES;
        ends[2].tell_of_cookies(now, 2);
        for asked in 1..100 {
            ends[0].send_out(now, &flow);
            assert!(!ends[0].asks.is_asking(now, tag));
            assert_eq!((ends[0].counters.out, ends[0].counters.full), (asked, asked));
            now += Duration::from_millis(10);
        }
        // There is room again, and the question is asked.
        while ends[1].ring.boxes[1].parcels.pop().is_some() {}
        ends[0].send_out(now, &flow);
        assert!(ends[0].asks.is_asking(now, tag));
        assert_eq!((ends[0].counters.full, ends[0].made), (99, 1));
    }
}
