//! What stands at the ends of links: hosts made of real shards, or anything else that takes and gives frames.

use crate::check::Streams;
use stack::{App, Frames, Instant, MacAddr, Shard};

/// Frames that a node gives at once, at most: fewer than a connection sends in its turn, so that it is interrupted.
const BATCH: usize = 13;

/// Frames that a node has to send, one behind the other.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    lens: Vec<usize>,
    frame_bytes: usize,
}

impl Batch {
    /// Room for frames of so many bytes.
    #[must_use]
    pub fn new(frame_bytes: usize) -> Self {
        Self { frame_bytes, ..Self::default() }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.lens.clear();
    }

    /// The frames.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.lens.len()).map(|n| &self.bytes[n * self.frame_bytes..][..self.lens[n]])
    }
}

impl Frames for Batch {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        let at = self.lens.len() * self.frame_bytes;
        self.bytes.resize(self.bytes.len().max(at + self.frame_bytes), 0);
        (self.lens.len() < BATCH).then(|| &mut self.bytes[at..at + self.frame_bytes])
    }

    fn push(&mut self, len: usize, _: Option<(u16, u16)>) {
        self.lens.push(len);
    }
}

/// Something that takes and gives Ethernet frames, in virtual time.
///
/// The world calls a node in turns: [`on_frame`](Self::on_frame) for every frame that arrives now, then
/// [`advance`](Self::advance), then [`poll_transmit`](Self::poll_transmit) until there is nothing more, then
/// [`next_wakeup`](Self::next_wakeup).
pub trait Node {
    /// The station's address: switches send its frames there.
    fn mac(&self) -> MacAddr;

    /// The most bytes of a frame that [`poll_transmit`](Self::poll_transmit) writes.
    fn frame_bytes(&self) -> usize;

    /// A frame arrived.
    fn on_frame(&mut self, now: Instant, frame: &[u8]);

    /// Time has passed, or frames have arrived: timers fire, the application has its turn.
    fn advance(&mut self, now: Instant);

    /// Writes the next frame to send, and returns its length; `None` when there is none (for now).
    fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize>;

    /// Writes frames to send, as many as there are or as `batch` takes: by default one by one.
    fn transmit(&mut self, now: Instant, batch: &mut Batch) {
        while let Some(buffer) = batch.buffer()
            && let Some(len) = self.poll_transmit(now, buffer)
        {
            batch.push(len, None);
        }
    }

    /// When the node's turn is at the latest, if no frame arrives before.
    fn next_wakeup(&self) -> Option<Instant>;

    /// Takes a tap on the streams of its connections, and returns whether it can: what its applications write and read is
    /// then compared with what those of other nodes read and write.
    fn watch(&mut self, streams: &Streams) -> bool {
        let _ = streams;
        false
    }

    /// Whether what it sends is held against the RFCs. A foreign stack is not the simulator's to judge.
    fn is_judged(&self) -> bool {
        true
    }

    /// What must be true between turns, given how many frames it has taken and given. Returns how much there was to look at.
    ///
    /// # Errors
    /// Says what should hold and does not.
    fn check(&self, frames_in: u64, frames_out: u64) -> Result<usize, String> {
        let _ = (frames_in, frames_out);
        Ok(1)
    }

    /// What is left when all should be over: connections, timers, memory. `None`: nothing.
    fn left(&self) -> Option<String> {
        None
    }
}

impl<N: Node + ?Sized> Node for Box<N> {
    fn mac(&self) -> MacAddr {
        (**self).mac()
    }
    fn frame_bytes(&self) -> usize {
        (**self).frame_bytes()
    }
    fn on_frame(&mut self, now: Instant, frame: &[u8]) {
        (**self).on_frame(now, frame);
    }
    fn advance(&mut self, now: Instant) {
        (**self).advance(now);
    }
    fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        (**self).poll_transmit(now, frame)
    }
    fn transmit(&mut self, now: Instant, batch: &mut Batch) {
        (**self).transmit(now, batch);
    }
    fn next_wakeup(&self) -> Option<Instant> {
        (**self).next_wakeup()
    }
    fn watch(&mut self, streams: &Streams) -> bool {
        (**self).watch(streams)
    }
    fn is_judged(&self) -> bool {
        (**self).is_judged()
    }
    fn check(&self, frames_in: u64, frames_out: u64) -> Result<usize, String> {
        (**self).check(frames_in, frames_out)
    }
    fn left(&self) -> Option<String> {
        (**self).left()
    }
}

/// A host: a shard, and the application on it.
#[derive(Debug)]
pub struct Host<A> {
    /// The shard.
    pub shard: Shard,
    /// Its application.
    pub app: A,
}

impl<A: App> Node for Host<A> {
    fn mac(&self) -> MacAddr {
        self.shard.config().mac
    }

    fn frame_bytes(&self) -> usize {
        self.shard.frame_bytes()
    }

    fn on_frame(&mut self, now: Instant, frame: &[u8]) {
        self.shard.on_frame(now, frame, &mut self.app);
    }

    fn advance(&mut self, now: Instant) {
        self.shard.advance(now, &mut self.app);
        self.shard.call(now, |io| self.app.on_turn(io));
    }

    fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        self.shard.poll_transmit(now, frame)
    }

    fn transmit(&mut self, now: Instant, batch: &mut Batch) {
        self.shard.transmit(now, batch);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        [self.shard.next_wakeup(), self.app.wake_at()].into_iter().flatten().min()
    }

    fn watch(&mut self, streams: &Streams) -> bool {
        self.shard.set_tap(Some(streams.tap()));
        true
    }

    fn check(&self, frames_in: u64, frames_out: u64) -> Result<usize, String> {
        let counters = self.shard.counters();
        let counted = (counters.frames_in, counters.frames_out);
        if counted != (frames_in, frames_out) {
            return Err(format!("{frames_in} frames in and {frames_out} out are counted as {counted:?}"));
        }
        self.shard.invariants()?;
        Ok(self.shard.connections())
    }

    fn left(&self) -> Option<String> {
        let shard = &self.shard;
        let left = (shard.connections(), shard.half_open(), shard.time_waits(), shard.chunks_in_use());
        if (left, shard.references()) != ((0, 0, 0, 0), 0) {
            return Some(format!("connections, half-open, TIME-WAIT, chunks: {left:?}; {:?}", shard.counters()));
        }
        if shard.has_output() || shard.next_wakeup().is_some() {
            return Some(format!("something to send, or a timer: {:?}", shard.next_wakeup()));
        }
        None
    }
}

/// The nodes of a world, by number.
pub trait Nodes {
    /// How many there are.
    fn count(&self) -> usize;

    /// Node `n`, below [`count`](Self::count).
    fn node(&self, n: usize) -> &dyn Node;

    /// Node `n`, to be called.
    fn node_mut(&mut self, n: usize) -> &mut dyn Node;
}

impl<N: Node> Nodes for Vec<N> {
    fn count(&self) -> usize {
        self.len()
    }
    fn node(&self, n: usize) -> &dyn Node {
        &self[n]
    }
    fn node_mut(&mut self, n: usize) -> &mut dyn Node {
        &mut self[n]
    }
}

/// Two nodes of different kinds: number 0 is `a`, number 1 is `b`.
#[derive(Debug)]
pub struct Pair<A, B> {
    /// The first.
    pub a: A,
    /// The second.
    pub b: B,
}

impl<A: Node, B: Node> Nodes for Pair<A, B> {
    fn count(&self) -> usize {
        2
    }
    fn node(&self, n: usize) -> &dyn Node {
        if n == 0 { &self.a } else { &self.b }
    }
    fn node_mut(&mut self, n: usize) -> &mut dyn Node {
        if n == 0 { &mut self.a } else { &mut self.b }
    }
}
