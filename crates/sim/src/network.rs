//! What is under way, and the queue of what happens next.

use crate::{
    capture::{Capture, Note},
    forge,
    frame::{FLOOD, Pool},
    link::{Link, Verdict},
    rng::Rng,
    topology::{Routes, Topology},
};
use stack::{Duration, Instant, MacAddr};
use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The first frame in a link's order reaches its end.
    Head(u32),
    /// A frame reaches the end of a link out of order.
    Arrives { link: u32, frame: u32 },
    /// A frame reaches a node from nowhere.
    Injected { node: u32, frame: u32 },
    /// A node wants to be called.
    Wake(u32),
}

/// Something that will happen. What is put in first happens first, at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    at: Instant,
    seq: u64,
    what: What,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) links: Vec<Link>,
    pub(crate) pool: Pool,
    pub(crate) capture: Capture,
    routes: Routes,
    nodes: usize,
    stations: HashMap<MacAddr, u32>,
    events: BinaryHeap<Reverse<Event>>,
    seq: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, topology: Topology, macs: impl Iterator<Item = MacAddr>) -> Self {
        let routes = topology.routes();
        let links = topology.links.into_iter().enumerate();
        let links = links.map(|(n, (_, to, config))| Link::new(config, to, Rng::part(seed, n as u64 + 1))).collect();
        Self {
            links,
            pool: Pool::default(),
            capture: Capture::new(),
            routes,
            nodes: topology.nodes,
            stations: macs.zip(0..).collect(),
            events: BinaryHeap::new(),
            seq: 0,
        }
    }

    fn seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(crate) fn schedule(&mut self, at: Instant, what: What) {
        let seq = self.seq();
        self.events.push(Reverse(Event { at, seq, what }));
    }

    /// When the next event is.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.events.peek().map(|Reverse(event)| event.at)
    }

    /// The next event that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<What> {
        let due = self.events.peek().is_some_and(|Reverse(event)| event.at <= now);
        due.then(|| self.events.pop().map(|Reverse(event)| event.what)).flatten()
    }

    /// A node sends a frame, which is late by `more`.
    pub(crate) fn send(&mut self, now: Instant, from: usize, frame: u32, more: Duration) {
        let bytes = &self.pool[frame].bytes;
        let mac = bytes.first_chunk().map_or(MacAddr::BROADCAST, |mac: &[u8; 6]| MacAddr(*mac));
        self.pool[frame].dst = self.stations.get(&mac).copied().unwrap_or(FLOOD);
        match self.routes.away[from].first() {
            Some(link) => self.enter(now, *link, frame, more),
            None => self.pool.free(frame),
        }
    }

    fn enter(&mut self, now: Instant, n: usize, frame: u32, more: Duration) {
        let link = &mut self.links[n];
        let verdict = link.enter(now, &mut self.pool, frame);
        match verdict {
            Verdict::Arrives(at, copy) => {
                if let Some(at) = copy {
                    let copy = self.pool.copy(frame);
                    self.fly(n, frame, at + more);
                    self.fly(n, copy, at);
                } else {
                    self.fly(n, frame, at + more);
                }
            }
            Verdict::TooBig => {
                let (mtu, tells) = (link.config.mtu.unwrap_or(0), link.config.too_big);
                let src = self.pool[frame].src;
                let error = tells.then(|| forge::too_big(&self.pool[frame].bytes, mtu)).flatten();
                self.lose(frame, n, "too big");
                if let Some(error) = error {
                    let frame = self.pool.add(&error);
                    self.pool[frame].made_up = true;
                    self.schedule(now, What::Injected { node: src, frame });
                }
            }
            Verdict::Lost => self.lose(frame, n, "lost"),
            Verdict::Outage => self.lose(frame, n, "lost in an outage"),
            Verdict::QueueDropped => self.lose(frame, n, "no room in the queue"),
        }
    }

    fn lose(&mut self, frame: u32, link: usize, how: &'static str) {
        self.note(frame, Note::Link(u32::try_from(link).unwrap_or(u32::MAX), how));
        self.pool.free(frame);
    }

    /// What has become of a frame, for the capture.
    pub(crate) fn note(&mut self, frame: u32, note: Note) {
        self.capture.note(self.pool[frame].number, note);
    }

    /// A frame is on a link until then.
    fn fly(&mut self, n: usize, frame: u32, at: Instant) {
        let seq = self.seq();
        let link = u32::try_from(n).unwrap_or(u32::MAX);
        let flying = &mut self.links[n].flying;
        let (what, first) = match flying.back() {
            Some((last, ..)) if *last > at => (What::Arrives { link, frame }, true),
            back => {
                let first = back.is_none();
                flying.push_back((at, seq, frame));
                (What::Head(link), first)
            }
        };
        if first {
            self.events.push(Reverse(Event { at, seq, what }));
        }
    }

    /// The first frame in a link's order is at its end: the next one is now the first.
    pub(crate) fn head(&mut self, link: u32) -> Option<u32> {
        let flying = &mut self.links[link as usize].flying;
        let (_, _, frame) = flying.pop_front()?;
        if let Some((at, seq, _)) = flying.front() {
            self.events.push(Reverse(Event { at: *at, seq: *seq, what: What::Head(link) }));
        }
        Some(frame)
    }

    /// A frame is at the end of a link: returns the node, if it is one's. A switch forwards it.
    pub(crate) fn arrive(&mut self, now: Instant, link: u32, frame: u32) -> Option<usize> {
        let link = &mut self.links[link as usize];
        link.counters.in_flight -= 1;
        link.counters.delivered += 1;
        let at = link.to;
        if at < self.nodes {
            return Some(at);
        }
        let (dst, src) = (self.pool[frame].dst, self.pool[frame].src);
        if dst != FLOOD {
            match self.routes.next(at, dst as usize) {
                Some(link) => self.enter(now, link, frame, Duration::ZERO),
                None => self.pool.free(frame),
            }
            return None;
        }
        let back = self.routes.next(at, src as usize);
        for n in 0..self.routes.away[at].len() {
            let link = self.routes.away[at][n];
            if Some(link) != back {
                let copy = self.pool.copy(frame);
                self.enter(now, link, copy, Duration::ZERO);
            }
        }
        self.pool.free(frame);
        None
    }
}
