//! A world in virtual time, made of real shards: hosts on one link, a clock that jumps from event to event.
//!
//! The link delays every frame by the same time; a [`Tamper`] may drop, change or repeat exactly the frames it chooses.
//! (Rates, queues and seeded impairments have an issue of their own: this is the seam they fit in.)
#![forbid(unsafe_code)]

use stack::{App, Duration, Instant, Shard};
use std::collections::VecDeque;

/// What happens to a frame on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Pass,
    /// It is lost.
    Drop,
    /// It arrives later by this much: others overtake it.
    Delay(Duration),
    /// It arrives twice.
    Duplicate,
}

/// Decides over every frame: who sent it (0 or 1), and its bytes, which it may change.
pub type Tamper = Box<dyn FnMut(usize, &mut Vec<u8>) -> Fate>;

/// A host: a shard, and the application on it.
#[derive(Debug)]
pub struct Host<A> {
    /// The shard.
    pub shard: Shard,
    /// Its application.
    pub app: A,
}

/// Two hosts and the link between them.
pub struct World<A, B> {
    /// The first host.
    pub a: Host<A>,
    /// The second host.
    pub b: Host<B>,
    now: Instant,
    delay: Duration,
    tamper: Tamper,
    /// Frames under way: when each arrives, at whom.
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    frames: u64,
}

impl<A: App, B: App> World<A, B> {
    /// A world at time zero with a link of `delay` one way.
    pub fn new(a: Host<A>, b: Host<B>, delay: Duration) -> Self {
        let tamper: Tamper = Box::new(|_, _| Fate::Pass);
        Self { a, b, now: Instant::ZERO, delay, tamper, flying: VecDeque::new(), frames: 0 }
    }

    /// Puts a tamper node on the link.
    #[must_use]
    pub fn with_tamper(mut self, tamper: impl FnMut(usize, &mut Vec<u8>) -> Fate + 'static) -> Self {
        self.tamper = Box::new(tamper);
        self
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Frames put on the link so far.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Puts a frame on the link that neither host has sent, to arrive at host `to` (0 or 1) now.
    pub fn inject(&mut self, to: usize, frame: Vec<u8>) {
        self.flying.push_front((self.now, to, frame));
    }

    /// Runs until nothing is left to happen before `until`, or `stop` holds between two events.
    pub fn run_until(&mut self, until: Instant, mut stop: impl FnMut(&Self) -> bool) {
        loop {
            self.collect();
            if stop(self) {
                return;
            }
            let Some(next) = self.next_event().filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            self.now = self.now.max(next);
            self.deliver();
            self.a.shard.advance(self.now, &mut self.a.app);
            self.b.shard.advance(self.now, &mut self.b.app);
        }
    }

    /// Runs for a time.
    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| false);
    }

    fn next_event(&self) -> Option<Instant> {
        let frame = self.flying.iter().map(|(at, ..)| *at).min();
        let a = [self.a.shard.next_wakeup(), self.a.app.wake_at()];
        let b = [self.b.shard.next_wakeup(), self.b.app.wake_at()];
        a.into_iter().chain(b).chain([frame]).flatten().min()
    }

    /// Calls the applications once per turn and puts what the hosts send on the link.
    fn collect(&mut self) {
        let now = self.now;
        self.a.shard.call(now, |io| self.a.app.on_turn(io));
        self.b.shard.call(now, |io| self.b.app.on_turn(io));
        let mut buffer = vec![0; 65_600];
        for from in 0..2 {
            loop {
                let shard = if from == 0 { &mut self.a.shard } else { &mut self.b.shard };
                let Some(len) = shard.poll_transmit(now, &mut buffer) else { break };
                self.send(from, buffer[..len].to_vec());
            }
        }
    }

    fn send(&mut self, from: usize, mut frame: Vec<u8>) {
        self.frames += 1;
        let (to, at) = (1 - from, self.now + self.delay);
        match (self.tamper)(from, &mut frame) {
            Fate::Pass => self.flying.push_back((at, to, frame)),
            Fate::Drop => {}
            Fate::Delay(more) => self.flying.push_back((at + more, to, frame)),
            Fate::Duplicate => {
                self.flying.push_back((at, to, frame.clone()));
                self.flying.push_back((at, to, frame));
            }
        }
    }

    fn deliver(&mut self) {
        let mut later = VecDeque::new();
        while let Some((at, to, frame)) = self.flying.pop_front() {
            if at > self.now {
                later.push_back((at, to, frame));
            } else if to == 0 {
                self.a.shard.on_frame(self.now, &frame, &mut self.a.app);
            } else {
                self.b.shard.on_frame(self.now, &frame, &mut self.b.app);
            }
        }
        self.flying = later;
    }
}
