//! The clock that jumps from event to event, and who is called when.

use crate::{
    link::{LinkConfig, LinkCounters},
    network::{Network, What},
    node::{Host, Nodes, Pair},
    topology::{LinkId, Topology},
};
use stack::{App, Duration, Instant};
use std::ops::{Deref, DerefMut};

/// What a tamper node does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It is lost.
    Drop,
    /// It arrives later by this much: others overtake it.
    Delay(Duration),
    /// It is sent twice.
    Duplicate,
}

/// Decides over every frame that a node sends: which node, and the frame's bytes, which it may change.
pub type Tamper = Box<dyn FnMut(usize, &mut Vec<u8>) -> Fate>;

/// Nodes, and a network between them, in virtual time. Everything that happens is a function of the seed.
///
/// The nodes are reached through the world itself: `world.a.app` of a [`Pair`], `world[3]` of a `Vec`.
pub struct World<S> {
    nodes: S,
    net: Network,
    now: Instant,
    tamper: Option<Tamper>,
    frames: u64,
    /// When each node is called next: what the queue of events has of it.
    wakes: Vec<Option<Instant>>,
    /// Nodes to which something has happened now, each once.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    buffer: Vec<u8>,
}

/// Two hosts.
pub type Duo<A, B> = World<Pair<Host<A>, Host<B>>>;

impl<A: App, B: App> Duo<A, B> {
    /// Two hosts on a perfect cable that takes `delay` each way.
    #[must_use]
    pub fn new(a: Host<A>, b: Host<B>, delay: Duration) -> Self {
        Self::of(0, Pair { a, b }, Topology::cable(LinkConfig::delay(delay), LinkConfig::delay(delay)))
    }
}

impl<S: Nodes> World<S> {
    /// A world at time zero. Panics if there are more or fewer nodes than the topology has.
    #[must_use]
    pub fn of(seed: u64, nodes: S, topology: Topology) -> Self {
        let count = nodes.count();
        assert_eq!(count, topology.nodes, "as many nodes as places");
        let frame_bytes = (0..count).map(|n| nodes.node(n).frame_bytes()).max().unwrap_or(0);
        let net = Network::new(seed, topology, (0..count).map(|n| nodes.node(n).mac()));
        Self {
            nodes,
            net,
            now: Instant::ZERO,
            tamper: None,
            frames: 0,
            wakes: vec![None; count],
            touched: Vec::new(),
            is_touched: vec![false; count],
            buffer: vec![0; frame_bytes],
        }
    }

    /// Puts a tamper node behind every node.
    #[must_use]
    pub fn with_tamper(mut self, tamper: impl FnMut(usize, &mut Vec<u8>) -> Fate + 'static) -> Self {
        self.tamper = Some(Box::new(tamper));
        self
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Frames that nodes have sent so far.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// A link's counters.
    pub fn link(&self, link: LinkId) -> &LinkCounters {
        &self.net.links[link.0].counters
    }

    /// What a link is like from now on. What is on it already is not affected.
    pub fn link_mut(&mut self, link: LinkId) -> &mut LinkConfig {
        &mut self.net.links[link.0].config
    }

    /// How many links there are: numbers 0 to that less one.
    pub fn links(&self) -> usize {
        self.net.links.len()
    }

    /// Hands node `to` a frame that no node has sent.
    pub fn inject(&mut self, to: usize, frame: &[u8]) {
        let (node, frame) = (u32::try_from(to).unwrap_or(u32::MAX), self.net.pool.add(frame));
        self.net.schedule(self.now, What::Injected { node, frame });
    }

    /// Runs for a time.
    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| false);
    }

    /// Runs until nothing is left to happen before `until`, or `stop` holds between two events.
    pub fn run_until(&mut self, until: Instant, mut stop: impl FnMut(&Self) -> bool) {
        // Somebody may have called the nodes meanwhile.
        for node in 0..self.nodes.count() {
            self.touch(node);
        }
        loop {
            self.turns();
            if stop(self) {
                return;
            }
            let Some(next) = self.net.next_at().filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            self.now = self.now.max(next);
            while let Some(what) = self.net.pop(self.now) {
                self.happen(what);
            }
        }
    }

    fn touch(&mut self, node: usize) {
        if !std::mem::replace(&mut self.is_touched[node], true) {
            self.touched.push(node);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Head(link) => {
                if let Some(frame) = self.net.head(link) {
                    self.arrive(link, frame);
                }
            }
            What::Arrives { link, frame } => self.arrive(link, frame),
            What::Injected { node, frame } => self.deliver(node as usize, frame),
            What::Wake(node) => {
                let node = node as usize;
                if self.wakes[node].is_some_and(|at| at <= self.now) {
                    self.wakes[node] = None;
                    // The deadline may have moved away meanwhile.
                    if self.nodes.node(node).next_wakeup().is_some_and(|at| at <= self.now) {
                        self.touch(node);
                    } else {
                        self.wake_later(node);
                    }
                }
            }
        }
    }

    fn arrive(&mut self, link: u32, frame: u32) {
        if let Some(node) = self.net.arrive(self.now, link, frame) {
            self.deliver(node, frame);
        }
    }

    fn deliver(&mut self, node: usize, frame: u32) {
        self.nodes.node_mut(node).on_frame(self.now, &self.net.pool[frame].bytes);
        self.net.pool.free(frame);
        self.touch(node);
    }

    /// The turns of those to which something has happened.
    fn turns(&mut self) {
        self.touched.sort_unstable();
        for n in 0..self.touched.len() {
            let node = self.touched[n];
            self.is_touched[node] = false;
            self.turn(node);
        }
        self.touched.clear();
    }

    fn turn(&mut self, n: usize) {
        self.nodes.node_mut(n).advance(self.now);
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(len) = self.nodes.node_mut(n).poll_transmit(self.now, &mut buffer) {
            self.send(n, &buffer[..len]);
        }
        self.buffer = buffer;
        self.wake_later(n);
    }

    /// Sees to it that a node is called when it wants to be. A call that is due earlier stays where it is.
    fn wake_later(&mut self, n: usize) {
        if let Some(at) = self.nodes.node(n).next_wakeup().map(|at| at.max(self.now))
            && self.wakes[n].is_none_or(|due| due > at)
        {
            self.wakes[n] = Some(at);
            self.net.schedule(at, What::Wake(u32::try_from(n).unwrap_or(u32::MAX)));
        }
    }

    fn send(&mut self, from: usize, bytes: &[u8]) {
        self.frames += 1;
        let frame = self.net.pool.add(bytes);
        self.net.pool[frame].src = u32::try_from(from).unwrap_or(u32::MAX);
        let fate = match &mut self.tamper {
            Some(tamper) => tamper(from, &mut self.net.pool[frame].bytes),
            None => Fate::Pass,
        };
        match fate {
            Fate::Pass => self.net.send(self.now, from, frame, Duration::ZERO),
            Fate::Drop => self.net.pool.free(frame),
            Fate::Delay(more) => self.net.send(self.now, from, frame, more),
            Fate::Duplicate => {
                let copy = self.net.pool.copy(frame);
                self.net.send(self.now, from, frame, Duration::ZERO);
                self.net.send(self.now, from, copy, Duration::ZERO);
            }
        }
    }
}

impl<S> Deref for World<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.nodes
    }
}

impl<S> DerefMut for World<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.nodes
    }
}
