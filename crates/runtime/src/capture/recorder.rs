//! The loop's side: who is there copies the frames that are wanted into its ring.

use super::record::{HEADER, Header, MOST_COMMENT};
use super::{Counts, Request, bpf::Program};
use crate::clock::Clock;
use rtrb::{Consumer, Producer, RingBuffer};
use stack::{Passing, Shard};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Recorders of a loop.
pub(super) const MOST: usize = 4;
/// Bytes of the frames of one turn that wait for their connection's state.
const STAGE: usize = 1 << 20;
/// Frames of one turn that wait so.
const STAGED: usize = 256;

/// What a recorder and the thread behind it know of each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Nobody reads any more: the loop is to let go.
    closed: AtomicBool,
    /// While a turn has frames whose time was taken and which are not all in the ring: a time before that of the first, on the
    /// loop's clock. 0: there are none.
    under_way: AtomicU64,
    seen: AtomicU64,
    matched: AtomicU64,
    dropped: AtomicU64,
}

impl Shared {
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Up to when all frames are in the ring, if it is `now` on the loop's clock.
    pub(super) fn settled(&self, now: u64) -> u64 {
        // Who takes a frame's time says before that it does: either that is seen here, or the time is behind `now`.
        match self.under_way.load(Ordering::SeqCst) {
            0 => now,
            before => before.min(now),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        // What was matched was seen, and what was dropped matched: read in the other order than they are written in.
        let dropped = self.dropped.load(Ordering::Acquire);
        let matched = self.matched.load(Ordering::Acquire);
        Counts { seen: self.seen.load(Ordering::Acquire), matched, dropped }
    }
}

/// The only writer adds.
fn add(to: &AtomicU64) {
    to.store(to.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// One capture on one loop.
#[derive(Debug)]
pub struct Recorder {
    filter: Program,
    snaplen: u32,
    comments: bool,
    ring: Producer<u8>,
    shared: Arc<Shared>,
    /// Frames dropped since the last one that was kept.
    lost: u32,
}

/// What the thread has of a recorder.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) ring: Consumer<u8>,
    pub(super) shared: Arc<Shared>,
}

impl Recorder {
    /// A recorder, and the other end of its ring. The ring's memory is there: the loop is not to wait for the kernel to find it.
    pub(super) fn new(request: &Request, filter: Program) -> (Self, Ear) {
        let (mut producer, mut consumer) = RingBuffer::new(request.buffer_bytes as usize);
        if let Ok(all) = producer.write_chunk(request.buffer_bytes as usize) {
            all.commit_all();
        }
        if let Ok(all) = consumer.read_chunk(request.buffer_bytes as usize) {
            all.commit_all();
        }
        let shared = Arc::new(Shared::default());
        let ear = Ear { ring: consumer, shared: Arc::clone(&shared) };
        let Request { snaplen, comments, .. } = *request;
        (Self { filter, snaplen, comments, ring: producer, shared, lost: 0 }, ear)
    }

    /// Keeps a frame if it is wanted.
    fn take(&mut self, at: u64, sent: bool, frame: &Frame<'_>, comment: &str) {
        add(&self.shared.seen);
        let wanted = self.filter.run(frame.bytes).min(self.snaplen) as usize;
        if wanted == 0 {
            return;
        }
        add(&self.shared.matched);
        let kept = wanted.min(frame.bytes.len());
        let header = Header {
            at,
            len: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
            lost: self.lost,
            comment: u16::try_from(comment.len()).unwrap_or(0),
            sent,
        };
        let Ok(mut room) = self.ring.write_chunk(header.whole()) else {
            add(&self.shared.dropped);
            self.lost = self.lost.saturating_add(1);
            return;
        };
        let (first, second) = room.as_mut_slices();
        let mut into = Spread { first, second };
        into.put(&header.write());
        match frame.checksum {
            Some((field, sum)) if field + 2 <= kept => {
                into.put(&frame.bytes[..field]);
                into.put(&sum);
                into.put(&frame.bytes[field + 2..kept]);
            }
            _ => into.put(&frame.bytes[..kept]),
        }
        into.put(comment.as_bytes());
        room.commit_all();
        self.lost = 0;
    }

    fn is_over(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed) || self.ring.is_abandoned()
    }
}

/// Room in two pieces.
struct Spread<'a> {
    first: &'a mut [u8],
    second: &'a mut [u8],
}

impl Spread<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (here, behind) = bytes.split_at(bytes.len().min(self.first.len()));
        let first = std::mem::take(&mut self.first);
        let (into, first) = first.split_at_mut(here.len());
        into.copy_from_slice(here);
        self.first = first;
        let second = std::mem::take(&mut self.second);
        let (into, second) = second.split_at_mut(behind.len().min(second.len()));
        into.copy_from_slice(&behind[..into.len()]);
        self.second = second;
    }
}

/// A frame, and a checksum that stands in it when it is on the wire.
struct Frame<'a> {
    bytes: &'a [u8],
    checksum: Option<(usize, [u8; 2])>,
}

impl<'a> Frame<'a> {
    const fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, checksum: None }
    }

    /// One whose checksum the device is to write: that of all from `start` on, so far behind it.
    fn left(bytes: &'a [u8], left: Option<(u16, u16)>) -> Self {
        let checksum = left.and_then(|(start, offset)| {
            let field = usize::from(start) + usize::from(offset);
            Some((field, checksum(bytes.get(start.into()..)?)))
        });
        Self { bytes, checksum: checksum.filter(|(field, _)| field + 2 <= bytes.len()) }
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (words, odd) = bytes.as_chunks::<2>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    sum += odd.first().map_or(0, |byte| u64::from(*byte) << 8);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// A frame of this turn.
#[derive(Debug)]
struct Staged {
    at: u64,
    bytes: Range<usize>,
    left: Option<(u16, u16)>,
}

/// All captures on a loop.
#[derive(Debug)]
pub(crate) struct Recorders {
    all: Vec<Recorder>,
    clock: Clock,
    /// The last time that was taken; and whether one was in this turn.
    last: u64,
    under_way: bool,
    /// When the frame came that is being processed, and what its connection was like before it.
    arrival: u64,
    before: Option<Passing>,
    /// Frames that were sent in this turn, for those who want to know of their connections.
    stage: Vec<u8>,
    staged: Vec<Staged>,
    text: String,
}

impl Recorders {
    pub(crate) fn new(clock: Clock) -> Self {
        let (all, text) = (Vec::with_capacity(MOST), String::with_capacity(2 * MOST_COMMENT));
        let last = clock.now().as_nanos().max(1);
        Self {
            all,
            clock,
            last,
            under_way: false,
            arrival: 0,
            before: None,
            stage: Vec::new(),
            staged: Vec::new(),
            text,
        }
    }

    /// One more. Where there is no room for it nobody hears of it again, and who asked sees its end.
    pub(crate) fn add(&mut self, recorder: Recorder) {
        if recorder.comments && self.stage.capacity() == 0 {
            self.stage.reserve_exact(STAGE);
            self.staged.reserve_exact(STAGED);
        }
        if self.all.len() < MOST {
            // Between two turns: nothing is under way.
            self.all.push(recorder);
        }
    }

    /// Lets go of those that nobody reads; true if none is left.
    pub(crate) fn sweep(&mut self) -> bool {
        self.all.retain(|recorder| !recorder.is_over());
        self.all.is_empty()
    }

    /// The time of a frame, on the loop's clock.
    fn now(&mut self) -> u64 {
        if !self.under_way {
            self.under_way = true;
            self.all.iter().for_each(|recorder| recorder.shared.under_way.store(self.last, Ordering::SeqCst));
        }
        self.last = self.clock.now().as_nanos();
        self.last
    }

    fn comments(&self) -> bool {
        self.all.iter().any(|recorder| recorder.comments)
    }

    /// A frame has come, and is about to be processed.
    #[cold]
    pub(crate) fn arrives(&mut self, shard: &Shard, frame: &[u8]) {
        self.arrival = self.now();
        self.before = if self.comments() { shard.passing(frame, false) } else { None };
    }

    /// A frame was received, and processed, unless it is another shard's.
    #[cold]
    pub(crate) fn received(&mut self, shard: &Shard, frame: &[u8], elsewhere: bool) {
        self.text.clear();
        if elsewhere {
            self.text.push_str("handed to another shard");
        } else if self.comments() {
            let after = shard.passing(frame, false);
            say(&mut self.text, self.before.as_ref(), after.as_ref());
        }
        for recorder in &mut self.all {
            let comment = if recorder.comments { self.text.as_str() } else { "" };
            recorder.take(self.arrival, false, &Frame::whole(frame), comment);
        }
    }

    /// A frame was written, to be sent. Its checksum may be left to the device.
    #[cold]
    pub(crate) fn sends(&mut self, frame: &[u8], left: Option<(u16, u16)>) {
        let at = self.now();
        let comments = self.comments();
        if comments {
            self.stage(at, frame, left);
        }
        let whole = Frame::left(frame, left);
        self.all
            .iter_mut()
            .filter(|recorder| !recorder.comments)
            .for_each(|recorder| recorder.take(at, true, &whole, ""));
    }

    /// The shard lends its connections again only when it has written all: what each frame's is like is said then.
    fn stage(&mut self, at: u64, frame: &[u8], left: Option<(u16, u16)>) {
        if self.staged.len() == STAGED || self.stage.len() + frame.len() > STAGE {
            self.send_staged(|_| None);
        }
        if frame.len() > STAGE {
            return;
        }
        let begins = self.stage.len();
        self.stage.extend_from_slice(frame);
        self.staged.push(Staged { at, bytes: begins..self.stage.len(), left });
    }

    /// The shard has written all of this turn.
    #[cold]
    pub(crate) fn sent(&mut self, shard: &Shard) {
        if !self.staged.is_empty() {
            self.send_staged(|frame| shard.passing(frame, true));
        }
        if std::mem::take(&mut self.under_way) {
            self.all.iter().for_each(|recorder| recorder.shared.under_way.store(0, Ordering::Release));
        }
    }

    fn send_staged(&mut self, passing: impl Fn(&[u8]) -> Option<Passing>) {
        for Staged { at, bytes, left } in self.staged.drain(..) {
            let frame = &self.stage[bytes];
            self.text.clear();
            if let Some(now) = passing(frame) {
                let _ = write!(self.text, "{now}");
            }
            let whole = Frame::left(frame, left);
            for recorder in self.all.iter_mut().filter(|recorder| recorder.comments) {
                recorder.take(at, true, &whole, &self.text);
            }
        }
        self.stage.clear();
    }
}

/// What a frame did to its connection, and what that is like now.
fn say(text: &mut String, before: Option<&Passing>, after: Option<&Passing>) {
    let _ = match (before, after) {
        (None, None) => Ok(()),
        (Some(before), None) => write!(text, "from {} to CLOSED", before.state.name()),
        (Some(before), Some(after)) if before.state != after.state => {
            write!(text, "from {} to {after}", before.state.name())
        }
        (_, Some(after)) => write!(text, "{after}"),
    };
}

const _: () = assert!(HEADER == 24);
