//! A host of several shards: its interface gives each frame to one of them, and they hand over what is another's.

use crate::{
    check::Streams,
    node::{Batch, Host, Node},
};
use stack::{App, Instant, Landing, MacAddr, Placed};
use std::{collections::VecDeque, fmt};

/// At which shard a frame arrives.
pub type Arrival = Box<dyn FnMut(Instant, &[u8]) -> usize>;

/// A host with as many shards as its interface has queues. Handing over takes no time, and loses nothing.
pub struct Several<A> {
    /// The shards, in the order of their places, each with its application.
    pub shards: Vec<Host<A>>,
    arrival: Arrival,
    news: VecDeque<(Instant, Landing)>,
    /// Strays, and copies of what is for all, that the shard they were handed to has dropped: it counts them by reason.
    refused: [u64; 2],
}

impl<A> fmt::Debug for Several<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Several").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl<A: App> Several<A> {
    /// Panics without shards, or if their places are not 0, 1, …
    #[must_use]
    pub fn new(shards: Vec<Host<A>>, arrival: impl FnMut(Instant, &[u8]) -> usize + 'static) -> Self {
        let places = shards.iter().map(|host| usize::from(host.shard.config().place.index));
        assert!(!shards.is_empty() && places.eq(0..shards.len()), "each shard in its place");
        Self { shards, arrival: Box::new(arrival), news: VecDeque::new(), refused: [0; 2] }
    }

    /// Tells the shards at `at`, or when the host is next called after that, where flows land. In the order of time.
    pub fn tell(&mut self, at: Instant, landing: Landing) {
        self.news.push_back((at, landing));
    }

    fn hear(&mut self, now: Instant) {
        while self.news.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, landing)) = self.news.pop_front() else { return };
            self.shards.iter_mut().for_each(|host| host.shard.set_landing(landing.clone()));
        }
    }

    fn sum<T: std::iter::Sum<T>>(&self, of: impl Fn(&Host<A>) -> T) -> T {
        self.shards.iter().map(of).sum()
    }
}

impl<A: App> Node for Several<A> {
    fn mac(&self) -> MacAddr {
        self.shards[0].mac()
    }

    fn frame_bytes(&self) -> usize {
        self.shards[0].frame_bytes()
    }

    fn on_frame(&mut self, now: Instant, frame: &[u8]) {
        self.hear(now);
        let count = self.shards.len();
        let at = (self.arrival)(now, frame) % count;
        let Host { shard, app } = &mut self.shards[at];
        let placed = shard.on_frame(now, frame, app);
        if placed == Placed::Here {
            return;
        }
        for n in (1..count).map(|n| (at + n) % count) {
            let Host { shard, app } = &mut self.shards[n];
            let there = shard.on_handed(now, frame, app);
            if there == Placed::Refused {
                self.refused[usize::from(placed == Placed::Everybodys)] += 1;
            }
            if there != Placed::Elsewhere && placed == Placed::Elsewhere {
                return;
            }
        }
        if placed == Placed::Elsewhere {
            let Host { shard, app } = &mut self.shards[at];
            shard.on_unclaimed(now, frame, app);
        }
    }

    fn advance(&mut self, now: Instant) {
        self.hear(now);
        self.shards.iter_mut().for_each(|host| host.advance(now));
    }

    fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        self.shards.iter_mut().find_map(|host| host.poll_transmit(now, frame))
    }

    fn transmit(&mut self, now: Instant, batch: &mut Batch) {
        self.shards.iter_mut().for_each(|host| host.transmit(now, batch));
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.shards.iter().filter_map(Node::next_wakeup).min()
    }

    fn watch(&mut self, streams: &Streams) -> bool {
        self.shards.iter_mut().fold(true, |all, host| all & host.watch(streams))
    }

    fn check(&self, frames_in: u64, frames_out: u64) -> Result<usize, String> {
        let [mut strays, mut claimed, mut frames, mut sent] = [0; 4];
        let [refused, copies_refused] = self.refused;
        for host in &self.shards {
            let c = host.shard.counters();
            strays += c.strays_out;
            claimed += c.strays_in + c.strays_unclaimed;
            frames += c.frames_in - c.copies_in;
            sent += c.frames_out;
            host.shard.invariants()?;
        }
        if (strays, frames, sent) != (claimed + refused, frames_in + copies_refused, frames_out) {
            let counted = format!("{frames} and {sent}, strays {strays} out, {claimed} in");
            return Err(format!("{frames_in} frames in and {frames_out} out are counted as {counted}"));
        }
        Ok(self.sum(|host| host.shard.connections()))
    }

    fn left(&self) -> Option<String> {
        self.shards.iter().enumerate().find_map(|(n, host)| host.left().map(|left| format!("shard {n}: {left}")))
    }
}
