//! The clock that jumps from event to event, and who is called when.

use crate::{
    capture::Note,
    check::{self, Seen, Streams, Wire},
    frame::Frame,
    link::{LinkConfig, LinkCounters},
    mark,
    network::{Network, What},
    node::{Batch, Host, Nodes, Pair},
    report,
    rules::Rules,
    topology::{LinkId, Topology},
};
use stack::{App, Duration, Instant};
use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
};

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

/// Sees every frame that a node sends: which node, and the frame.
pub type Witness = Box<dyn FnMut(usize, &[u8])>;

/// Nodes, and a network between them, in virtual time. Everything that happens is a function of the seed.
///
/// The nodes are reached through the world itself: `world.a.app` of a [`Pair`], `world[3]` of a `Vec`.
pub struct World<S> {
    nodes: S,
    net: Network,
    now: Instant,
    tamper: Option<Tamper>,
    witness: Option<Witness>,
    frames: u64,
    /// When each node is called next: what the queue of events has of it.
    wakes: Vec<Option<Instant>>,
    /// Nodes to which something has happened now, each once.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    batch: Batch,
    wire: Wire,
    streams: Streams,
    audits: Vec<Audit>,
    seed: u64,
    replay: Option<String>,
    report: Option<PathBuf>,
}

/// What a node did since it was checked.
#[derive(Debug, Clone, Copy, Default)]
struct Audit {
    frames_in: u64,
    frames_out: u64,
    /// Turns until it is looked at again.
    rest: usize,
    /// Turns in a row without a frame in or out.
    idle: u32,
}

/// Turns between two checks of a node: a check costs as much as there are connections.
const CHECK_EVERY: usize = 16;

/// Turns without a frame before a node is taken for one that wakes up for nothing.
const IDLE_TURNS: u32 = 100_000;

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
    pub fn of(seed: u64, mut nodes: S, topology: Topology) -> Self {
        report::begin();
        let count = nodes.count();
        assert_eq!(count, topology.nodes, "as many nodes as places");
        let frame_bytes = (0..count).map(|n| nodes.node(n).frame_bytes()).max().unwrap_or(0);
        let net = Network::new(seed, topology, (0..count).map(|n| nodes.node(n).mac()));
        let streams = Streams::default();
        if (0..count).map(|n| nodes.node_mut(n).watch(&streams)).fold(true, |all, watched| all & watched) {
            streams.set_whole();
        }
        Self {
            nodes,
            net,
            now: Instant::ZERO,
            tamper: None,
            witness: None,
            frames: 0,
            wakes: vec![None; count],
            touched: Vec::new(),
            is_touched: vec![false; count],
            batch: Batch::new(frame_bytes),
            wire: Wire::default(),
            streams,
            audits: vec![Audit::default(); count],
            seed,
            replay: None,
            report: None,
        }
    }

    /// Puts a tamper node with rules behind every node.
    #[must_use]
    pub fn with_rules(self, mut rules: Rules) -> Self {
        self.with_tamper(move |from, frame| rules.decide(from, frame))
    }

    /// The command that runs this world again, for a report of what went wrong. By default that of the test.
    #[must_use]
    pub fn with_replay(mut self, command: impl Into<String>) -> Self {
        self.replay = Some(command.into());
        self
    }

    /// The same for a world that there is already.
    pub fn set_replay(&mut self, command: impl Into<String>) {
        self.replay = Some(command.into());
    }

    /// Shows every frame that a node sends, and which node that is.
    pub fn set_witness(&mut self, witness: impl FnMut(usize, &[u8]) + 'static) {
        self.witness = Some(Box::new(witness));
    }

    /// Where the capture goes if something goes wrong. By default the folder for temporary files.
    #[must_use]
    pub fn with_report(mut self, path: impl Into<PathBuf>) -> Self {
        self.report = Some(path.into());
        self
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

    /// Hands node `to` a frame that no node has sent, and that it may believe. What the wire shows of that connection is not
    /// held against anybody from then on.
    pub fn inject(&mut self, to: usize, frame: &[u8]) {
        if let Some(seen) = check::parse(frame) {
            self.wire.taint(seen.flow);
        }
        self.forge(to, frame);
    }

    /// Hands node `to` a frame that somebody has made up who doesn't know the connection's numbers: it is not to have any
    /// effect on a connection.
    pub fn forge(&mut self, to: usize, frame: &[u8]) {
        let (node, frame) = (u32::try_from(to).unwrap_or(u32::MAX), self.net.pool.add(frame));
        self.net.pool[frame].made_up = true;
        self.net.schedule(self.now, What::Injected { node, frame });
    }

    /// What the applications of the nodes have written and read.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Writes the last frames of the world to a pcapng file; all of them if `SIM_CAPTURE` was set in the environment.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write_capture(&self, path: &std::path::Path, comment: &str) -> std::io::Result<()> {
        self.net.capture.write(path, comment, &report::interfaces(self.audits.len()))
    }

    /// All must be over: no connection, timer, chunk or record, no frame under way. Panics, and reports, if something is left.
    pub fn assert_nothing_left(&mut self) {
        self.check_all();
        for n in 0..self.nodes.count() {
            if let Some(left) = self.nodes.node(n).left() {
                self.fail(&format!("left of node {n}: {left}"));
            }
        }
        let (frames, streams) = (self.net.pool.in_use(), self.streams.left());
        if (frames, streams) != (0, 0) {
            self.fail(&format!("{frames} frames and {streams} streams are left"));
        }
    }

    /// Checks every node and every link.
    fn check_all(&mut self) {
        for n in 0..self.nodes.count() {
            self.check(n);
        }
        if let Some(n) = self.net.links.iter().position(|link| !link.counters.add_up()) {
            self.fail(&format!("the counters of link {n} don't add up: {:?}", self.net.links[n].counters));
        }
    }

    fn check(&mut self, n: usize) {
        let Audit { frames_in, frames_out, .. } = self.audits[n];
        match self.nodes.node(n).check(frames_in, frames_out) {
            Ok(looked_at) => self.audits[n].rest = CHECK_EVERY + 2 * looked_at,
            Err(wrong) => self.fail(&format!("node {n}: {wrong}")),
        }
    }

    /// A checker has found something.
    fn fail(&self, what: &str) -> ! {
        panic!("seed {}, {:?}: {what}", self.seed, self.now);
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
                return self.check_all();
            }
            let Some(next) = self.net.next_at().filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return self.check_all();
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
        let Frame { bytes, corrupted, altered, made_up, seen, stamp, .. } = &self.net.pool[frame];
        let note = match (made_up, corrupted, altered) {
            (true, ..) => Note::Injected,
            (_, true, _) => Note::Corrupted,
            (.., true) => Note::Altered,
            _ => Note::None,
        };
        if *corrupted || *altered {
            if let Some(seen) = check::parse(bytes) {
                self.wire.arrives(&seen, *stamp);
            }
        } else if let Some(seen) = seen {
            self.wire.arrives(seen, *stamp);
        }
        self.net.capture.add(self.now, node, false, bytes, note);
        self.audits[node].frames_in += 1;
        self.audits[node].idle = 0;
        self.nodes.node_mut(node).on_frame(self.now, bytes);
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
        let mut batch = std::mem::take(&mut self.batch);
        loop {
            batch.clear();
            self.nodes.node_mut(n).transmit(self.now, &mut batch);
            if batch.iter().len() == 0 {
                break;
            }
            batch.iter().for_each(|frame| self.send(n, frame));
        }
        self.batch = batch;
        self.wake_later(n);
        let audit = &mut self.audits[n];
        audit.idle += 1;
        if audit.idle > IDLE_TURNS {
            self.fail(&format!("node {n} wakes up for nothing"));
        }
        if let Some(wrong) = self.streams.violation() {
            self.fail(&wrong);
        }
        match self.audits[n].rest.checked_sub(1) {
            Some(rest) => self.audits[n].rest = rest,
            None => self.check(n),
        }
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
        self.audits[from].frames_out += 1;
        self.audits[from].idle = 0;
        let number = self.net.capture.add(self.now, from, true, bytes, Note::None);
        if let Some(witness) = &mut self.witness {
            witness(from, bytes);
        }
        let seen = check::parse(bytes);
        let stamp = self.judge(from, bytes, seen.as_ref());
        let id = self.net.pool.add(bytes);
        let frame = &mut self.net.pool[id];
        (frame.src, frame.number) = (u32::try_from(from).unwrap_or(u32::MAX), number);
        (frame.seen, frame.stamp) = (seen, stamp);
        let Some(tamper) = &mut self.tamper else { return self.net.send(self.now, from, id, Duration::ZERO) };
        let fate = tamper(from, &mut frame.bytes);
        if frame.bytes != bytes {
            frame.altered = true;
            self.net.note(id, Note::Altered);
            if let Some(seen) = check::parse(&self.net.pool[id].bytes) {
                self.wire.taint(seen.flow);
            }
        }
        self.tampered(from, id, fate);
    }

    /// What a node sends is held against the RFCs.
    fn judge(&mut self, from: usize, bytes: &[u8], seen: Option<&Seen>) -> check::Stamp {
        let judged = self.nodes.node(from).is_judged();
        let Some(seen) = seen else {
            if judged && mark::is_tcp(bytes) {
                self.fail(&format!("node {from} sends a segment that is malformed"));
            }
            return check::Stamp::default();
        };
        let (stamp, result) = self.wire.sent(seen);
        if let Err(wrong) = result
            && judged
        {
            self.fail(&format!("node {from} sends {wrong}: {seen}"));
        }
        stamp
    }

    fn tampered(&mut self, from: usize, frame: u32, fate: Fate) {
        match fate {
            Fate::Pass => self.net.send(self.now, from, frame, Duration::ZERO),
            Fate::Drop => {
                self.net.note(frame, Note::Tamper("dropped"));
                self.net.pool.free(frame);
            }
            Fate::Delay(more) => {
                self.net.note(frame, Note::Tamper("delayed"));
                self.net.send(self.now, from, frame, more);
            }
            Fate::Duplicate => {
                self.net.note(frame, Note::Tamper("duplicated"));
                let copy = self.net.pool.copy(frame);
                self.net.send(self.now, from, frame, Duration::ZERO);
                self.net.send(self.now, from, copy, Duration::ZERO);
            }
        }
    }
}

/// Whatever goes wrong, a test's own assertions among it, is reported when the world goes.
impl<S> Drop for World<S> {
    fn drop(&mut self) {
        if std::thread::panicking() && report::is_first() {
            let replay = self.replay.take().unwrap_or_else(report::this_test);
            let path = self.report.take().unwrap_or_else(|| report::capture_path(self.seed));
            let written = self.net.capture.write(
                &path,
                &format!("seed {}, until {:?}; again: {replay}", self.seed, self.now),
                &report::interfaces(self.audits.len()),
            );
            eprintln!("{}", report::text(self.seed, self.now, &replay, &path, &written));
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
