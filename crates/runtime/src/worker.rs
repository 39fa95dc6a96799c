//! The loop of one core: read the clock once, take a batch of frames in, advance the time, send what there is to send,
//! one kick. It runs to completion: nothing waits, nothing is shared.

use crate::capture::{Recorder, Recorders};
use crate::claim::Conflicts;
use crate::clock::Clock;
use crate::control::{EndPiece, ListPiece};
use crate::ending::Ending;
use crate::handoff::{Handoff, HandoffCounters};
use crate::idle::{Idle, LINGER, Sleeper};
use crate::interface::Change;
use crate::meter::Meter;
use crate::metrics::ShardMetrics;
use crate::outlet::Outlet;
use crate::post::Post;
use crate::stall::Stall;
use crate::trace::{Faults, TracePiece};
use crossbeam::channel::{Receiver, Sender};
use mio::Waker;
use stack::{App, Counters, Duration, Instant, Landing, LandingState, MacAddr, Placed, Shard};
use std::io;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use xdp::{Frame, Port, PortStats};

pub(crate) use unserved::Unserved;

/// Frames taken in per turn: enough to share the cost of a kick, few enough for the last one not to wait long.
const RX_BATCH: usize = 64;
/// Looks at the RX ring between two turns of a spinning loop: together about half a microsecond, so that timers and the
/// application's own turn are late by no more.
const LOOKS: usize = 32;
/// Turns between two looks at the command queue while there is work.
const COMMAND_TURNS: u32 = 32;
/// How long an orderly end may take before what is left is reset.
const DRAIN: Duration = Duration::from_secs(1);
/// How long is answered behind that, for an owned address or where connections were reset: some round trips of a local network.
const FAREWELL: Duration = Duration::from_millis(50);
/// How often the device is asked whether it is still there: nothing wakes a loop when it is not.
const CHECK: Duration = Duration::from_secs(1);
/// At how many of these looks behind one another a plan of where flows land must not hold for it to be told: longer than it
/// takes to notice that the interface's table is another.
const DISTRUSTED_LOOKS: u32 = 4;
/// What the kernel says of an interface that is gone (linux/errno.h).
pub(crate) const ENODEV: i32 = 19;
/// How often a device that is down is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What other threads ask of a loop.
#[derive(Debug, Clone)]
pub enum Command {
    /// A neighbour's MAC address is known, or no longer.
    Neighbour(IpAddr, Option<MacAddr>),
    /// What a station told everybody; the kernel has it, too.
    Overheard(Box<[u8]>),
    /// Something around the shard has changed.
    Changed(Change),
    /// The interface is gone: the loop ends with an error.
    Gone,
    /// Flows land differently from now on.
    Landing(Landing),
    /// List connections from a place on; the answer says where to go on.
    List(ListPiece),
    /// End connections from a place on.
    End(EndPiece),
    /// Read a piece of what happened to connections.
    Trace(TracePiece),
    /// Say that the loop turns.
    Turn(Sender<()>),
    /// The counters.
    Counters(Sender<(Counters, PortStats, HandoffCounters)>),
    /// All that can be told of the loop and its shard.
    Metrics(Sender<Box<ShardMetrics>>),
    /// Frames are to be captured from now on.
    Capture(Receiver<Recorder>),
}

/// A loop: a port, a shard, and the application on it.
#[derive(Debug)]
pub struct Worker<P, A> {
    port: P,
    shard: Shard,
    app: A,
    clock: Clock,
    idle: Idle,
    sleeper: Sleeper,
    /// There is no port: it sleeps on the kernel's sockets.
    bare: bool,
    commands: Receiver<Command>,
    resolve: Sender<IpAddr>,
    resolver: Option<Arc<Waker>>,
    /// To the other shards, if there are any.
    handoff: Option<Handoff>,
    /// Messages from other shards and threads.
    post: Option<Post>,
    received: Vec<Frame>,
    /// A frame the TX ring had no room for: the next one to go.
    held: Option<(Frame, usize)>,
    /// Who captures frames, if anybody does.
    captures: Option<Box<Recorders>>,
    turns: u32,
    /// When there was work last.
    worked: Instant,
    stall: Stall,
    meter: Meter,
    /// The interface is down: what it is to send waits, and so do the connections.
    down: bool,
    /// Somebody has said that the interface is gone.
    gone: bool,
    /// When to ask the device next.
    next_check: Instant,
    conflicts: Conflicts,
    /// Looks at which the plan of where flows land did not hold, one behind the other.
    distrusting: u32,
    /// Of one of the shards, until it has said so.
    unserved: Option<Unserved>,
    /// How long the application goes on once the end was asked for; from then on when that is over, and whether it is counted as
    /// one without connections.
    drain_time: Duration,
    until: Option<Instant>,
    idles: bool,
    /// What happened is written to a file if the loop fails.
    faults: Option<Faults>,
}

/// What remains of a shard and its loop.
#[derive(Debug)]
pub struct Finished<A> {
    /// The application.
    pub app: A,
    /// The shard's counters.
    pub counters: Counters,
    /// The port's counters.
    pub port: PortStats,
    /// What was handed to and from other shards.
    pub handoff: HandoffCounters,
}

impl<P: Port, A: App> Worker<P, A> {
    /// A loop over `port`. `commands` come from other threads, addresses to resolve go to `resolve`.
    ///
    /// # Errors
    /// The system has no descriptor left to sleep on.
    pub fn new(
        port: P,
        mut shard: Shard,
        app: A,
        clock: Clock,
        idle: Idle,
        commands: Receiver<Command>,
        resolve: Sender<IpAddr>,
    ) -> io::Result<Self> {
        shard.leave_checksums(port.writes_checksums());
        let sleeper = Sleeper::new(port.fd(), shard.sockets_descriptor())?;
        let worked = clock.now();
        let received = Vec::with_capacity(RX_BATCH);
        Ok(Self {
            port,
            shard,
            app,
            clock,
            idle,
            sleeper,
            bare: false,
            commands,
            resolve,
            resolver: None,
            handoff: None,
            post: None,
            received,
            held: None,
            captures: None,
            turns: 0,
            worked,
            stall: Stall::new(worked),
            meter: Meter::new(worked),
            down: false,
            gone: false,
            next_check: worked + CHECK,
            conflicts: Conflicts::default(),
            distrusting: 0,
            unserved: None,
            drain_time: Duration::ZERO,
            until: None,
            idles: false,
            faults: None,
        })
    }

    /// Ends a sleep of the loop, so that it sees a command or the stop flag.
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        self.sleeper.waker()
    }

    /// Whom to wake when an address is to be resolved.
    pub fn set_resolver(&mut self, waker: Arc<Waker>) {
        self.resolver = Some(waker);
    }

    /// Joins the loop to those of the other shards.
    pub(crate) fn set_handoff(&mut self, handoff: Handoff) {
        self.handoff = Some(handoff);
    }

    /// Lets messages in from other threads, and other shards if there are any.
    pub(crate) fn set_post(&mut self, post: Post) {
        self.post = Some(post);
    }

    /// If the loop fails, what happened to its connections is written to a file.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = Some(faults);
    }

    /// Has this loop look for packets that come by queues which no shard serves.
    pub(crate) fn set_unserved(&mut self, unserved: Unserved) {
        self.unserved = Some(unserved);
    }

    /// How long the application may go on with its connections once the end was asked for. Default: not at all.
    pub const fn set_drain_time(&mut self, time: Duration) {
        self.drain_time = time;
    }

    /// Runs until the end is asked for, by others or by the application; that is the end of the other shards, too. The
    /// application goes on while there are connections, for the drain time; then every one is closed in order, and what is
    /// left after a second is reset.
    ///
    /// # Errors
    /// The device failed: the interface is gone. One that is down is waited for.
    ///
    /// # Panics
    /// As the application does, once all connections are reset; the other shards end as if the device had failed here.
    pub fn run(mut self, ending: &Ending) -> io::Result<Finished<A>> {
        match self.catch(|worker| worker.go_round(ending)) {
            Ok(ended) => ended.inspect_err(|_| self.write_trace("failure"))?,
            Err(panic) => resume_unwind(panic),
        }
        Ok(self.finished())
    }

    /// Runs until the end, and ends.
    fn go_round(&mut self, ending: &Ending) -> io::Result<()> {
        let wakers = match (&self.post, &self.handoff) {
            (Some(post), _) => post.wakers(),
            (None, Some(handoff)) => handoff.wakers(),
            (None, None) => Vec::new(),
        };
        let end = EndOfAll { ending, wakers };
        self.sleep_on_sockets()?;
        if self.idle == Idle::Busy {
            self.sleeper.look_away();
        }
        while !ending.has_begun() && !self.shard.finish_requested() {
            self.spin()?;
        }
        end.begin();
        self.go_on(&end)?;
        drop(end);
        self.drain()
    }

    fn finished(self) -> Finished<A> {
        let (counters, handoff) = (self.counters(), self.handoff_counters());
        Finished { app: self.app, counters, port: self.port.stats(), handoff }
    }

    /// Looks, turns and rests, once. The clock is read behind the looks: a core that was taken away meanwhile would have a frame
    /// arrive before the time it came at, and a round trip measured so stays the path's least for minutes.
    fn spin(&mut self) -> io::Result<()> {
        self.watch();
        let now = self.clock.now();
        self.meter.begins(now);
        let worked = self.turn(now)?;
        self.meter.worked(worked);
        self.rest(now, worked)
    }

    /// The drain time: the application knows that the end was asked for, and goes on until no shard has a connection left.
    fn go_on(&mut self, end: &EndOfAll<'_>) -> io::Result<()> {
        let began = self.clock.now();
        let until = began + self.drain_time;
        self.until = Some(until);
        self.shard.begin_drain(began, &mut self.app);
        while !end.ending.is_now() && self.clock.now() < until {
            if end.ending.note_idle(self.shard.connections() == 0, &mut self.idles, end.wakers.len().max(1)) {
                break;
            }
            self.spin()?;
        }
        Ok(())
    }

    /// The shard's counters, with what it does not see itself.
    fn counters(&self) -> Counters {
        let mut counters = self.shard.all_counters();
        counters.messages_full += self.post.as_ref().map_or(0, Post::refused);
        counters
    }

    fn handoff_counters(&self) -> HandoffCounters {
        self.handoff.as_ref().map(Handoff::counters).unwrap_or_default()
    }

    /// All there is to tell; off the usual path.
    fn metrics(&mut self) -> Box<ShardMetrics> {
        Box::new(ShardMetrics {
            counters: self.counters(),
            usage: self.shard.usage(),
            port: self.port.stats(),
            rings: self.port.rings(),
            handoff: self.handoff_counters(),
            handoff_queue: self.handoff.as_ref().map(Handoff::queue),
            messages_waiting: self.post.as_ref().map_or(0, Post::waiting),
            messages_limit: self.shard.config().max_messages.into(),
            turns: *self.meter.turns(),
        })
    }

    /// Looks at the RX ring, and at nothing else, for a moment: most turns of a spinning loop would find nothing to do, and
    /// a frame is seen the sooner the less lies between two looks.
    fn watch(&mut self) {
        if self.idle == Idle::Sleep || self.shard.has_output() || self.held.is_some() || self.shard.has_sockets() {
            return;
        }
        for _ in 0..LOOKS {
            if self.port.receive(&mut self.received, RX_BATCH) > 0 {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// One turn; true if there was anything to do.
    fn turn(&mut self, now: Instant) -> io::Result<bool> {
        if self.stall.look(now) || self.received.is_empty() {
            let room = RX_BATCH - self.received.len();
            self.port.receive(&mut self.received, room);
        }
        let taken = self.received.len();
        self.shard.look_ahead(self.received.iter().map(|frame| self.port.bytes(frame)));
        for frame in self.received.drain(..) {
            let bytes = self.port.bytes(&frame);
            if let Some(captures) = &mut self.captures {
                captures.arrives(&self.shard, bytes);
            }
            let placed = self.shard.on_frame(now, bytes, &mut self.app);
            if let Some(captures) = &mut self.captures {
                captures.received(&self.shard, bytes, placed == Placed::Elsewhere);
            }
            if placed != Placed::Here
                && let Some(handoff) = &mut self.handoff
            {
                handoff.on_placed(now, placed, bytes);
            }
            self.port.recycle(frame);
        }
        let handed = match &mut self.handoff {
            Some(handoff) => handoff.take_in(now, &mut self.shard, &mut self.app),
            None => 0,
        };
        let posted = match &self.post {
            Some(post) => post.take_in(now, &mut self.shard, &mut self.app),
            None => 0,
        };
        let heard = if self.shard.has_sockets() { self.shard.poll_sockets(now, &mut self.app) } else { 0 };
        let told = posted + heard;
        if self.stall.is_over(taken, taken < RX_BATCH) {
            self.shard.advance(now, &mut self.app);
        }
        let app = &mut self.app;
        self.shard.call(now, |io| app.on_turn(io));
        let sent = self.transmit(now);
        self.flush(now)?;
        if let Some(handoff) = &mut self.handoff {
            handoff.tell_of_cookies(now, self.shard.counters().cookies_sent);
            handoff.wake();
        }
        if let Some(post) = &self.post {
            post.forward(&mut self.shard);
        }
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(COMMAND_TURNS) {
            self.serve_commands(now);
        }
        while let Some(ip) = self.shard.poll_resolve() {
            self.ask_kernel(ip);
        }
        Ok(taken > 0 || sent > 0 || handed > 0 || told > 0)
    }

    /// Moves what the shard has to send into the TX ring, as far as there is room; the rest waits in the shard.
    fn transmit(&mut self, now: Instant) -> usize {
        let captures = self.captures.as_deref_mut();
        let mut outlet = Outlet { port: &mut self.port, free: None, held: None, sent: 0, captures };
        if let Some((frame, len)) = self.held.take() {
            outlet.put(frame, len);
        }
        self.shard.transmit(now, &mut outlet);
        let (free, sent) = (outlet.free.take(), outlet.sent);
        self.held = outlet.held.take();
        if let Some(free) = free {
            self.port.recycle(free);
        }
        if let Some(captures) = &mut self.captures {
            captures.sent(&self.shard);
        }
        sent
    }

    /// Ends a batch at the device. One that is down is asked again at intervals, and keeps what it has until then.
    fn flush(&mut self, now: Instant) -> io::Result<()> {
        if self.gone {
            return Err(io::Error::from_raw_os_error(ENODEV));
        }
        let due = now >= self.next_check;
        if self.down && !due {
            return Ok(());
        }
        if due {
            self.conflicts.look(now, &mut self.shard);
            self.look_at_landing();
            if self.unserved.as_mut().is_some_and(Unserved::look) {
                self.unserved = None;
            }
        }
        let asked = if due { self.port.check() } else { Ok(()) };
        match asked.and_then(|()| self.port.flush()) {
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {
                // All shards see it, one says it.
                if !std::mem::replace(&mut self.down, true) && self.shard.config().place.index == 0 {
                    tracing::warn!("the interface is down: connections are kept until it is up again");
                }
                self.next_check = now + RETRY;
                Ok(())
            }
            Ok(()) if due => {
                if std::mem::take(&mut self.down) {
                    self.shard.announce_owned(now);
                    if self.shard.config().place.index == 0 {
                        tracing::info!("the interface is up again");
                    }
                }
                self.next_check = now + CHECK;
                Ok(())
            }
            result => result,
        }
    }

    /// Says once, of each plan, that the interface does not spread flows as it says it does. A table that was changed makes
    /// the old plan look so until it is read again.
    fn look_at_landing(&mut self) {
        let distrusted = self.shard.landing_state() == LandingState::Distrusted;
        self.distrusting = if distrusted { self.distrusting.saturating_add(1) } else { 0 };
        if self.distrusting == DISTRUSTED_LOOKS {
            tracing::warn!(
                "flows don't land where the interface's RSS key and table say: the shards hand over what lands elsewhere"
            );
        }
    }

    /// Between two turns: spin on, or sleep.
    fn rest(&mut self, now: Instant, worked: bool) -> io::Result<()> {
        if worked {
            self.worked = now;
            self.sleeper.worked();
            if !self.sleeps_at_once() {
                return Ok(());
            }
        }
        let sleepy = match self.idle {
            Idle::Busy => false,
            Idle::Adaptive => now - self.worked > LINGER,
            Idle::Sleep => true,
        };
        let output = self.shard.has_output() || self.held.is_some() || self.port.needs_flush();
        // A message that waits for room is not waited for: nobody tells when there is some.
        if !sleepy || (output && !self.down) || self.shard.has_messages() {
            std::hint::spin_loop();
            return Ok(());
        }
        self.serve_commands(now);
        let ends = self.shard.finish_requested() && self.until.is_none();
        if (self.shard.has_output() && !self.down) || ends || !self.commands.is_empty() {
            return Ok(());
        }
        let check = (!self.bare).then_some(self.next_check);
        let deadline = [check, self.shard.next_wakeup(), self.app.wake_at(), self.until].into_iter().flatten().min();
        let (handoff, post) = (self.handoff.as_ref(), self.post.as_ref());
        let may_sleep = handoff.is_none_or(Handoff::may_sleep) & post.is_none_or(Post::may_sleep);
        let slept = if may_sleep {
            self.port.look_away();
            self.meter.sleeps(self.clock.now());
            self.sleep(now, deadline)
        } else {
            Ok(())
        };
        self.handoff.as_ref().inspect(|handoff| handoff.awake());
        self.post.as_ref().inspect(|post| post.awake());
        slept
    }

    fn serve_commands(&mut self, now: Instant) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Neighbour(ip, mac) => self.shard.on_neighbour(ip, mac),
                Command::Overheard(frame) => self.shard.on_overheard(now, &frame),
                Command::Changed(change) => change.apply(now, &mut self.shard),
                Command::Gone => self.gone = true,
                Command::Landing(landing) => self.shard.set_landing(landing),
                // One piece, then a turn: the next may be here already.
                Command::List(piece) => {
                    return piece.serve(now, &self.shard, self.held.is_some() || self.down);
                }
                Command::Trace(piece) => return piece.serve(now, &self.shard),
                Command::End(piece) => return piece.serve(now, &mut self.shard, &mut self.app),
                Command::Turn(answer) => _ = answer.try_send(()),
                Command::Counters(answer) => {
                    let _ = answer.try_send((self.counters(), self.port.stats(), self.handoff_counters()));
                }
                Command::Metrics(answer) => {
                    let _ = answer.try_send(self.metrics());
                }
                Command::Capture(recorder) => {
                    let captures = self.captures.get_or_insert_with(|| Box::new(Recorders::new(self.clock)));
                    recorder.try_iter().for_each(|recorder| captures.add(recorder));
                }
            }
        }
        if self.captures.as_mut().is_some_and(|captures| captures.sweep()) {
            self.captures = None;
        }
    }

    /// Off the usual path: a neighbour that was never met. A full queue is no loss, the shard asks again.
    fn ask_kernel(&mut self, ip: IpAddr) {
        let _ = self.resolve.try_send(ip);
        if let Some(waker) = &self.resolver {
            let _ = waker.wake();
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        let (began, resets) = (self.clock.now(), self.shard.counters().resets_out);
        self.shard.drain(began);
        while !self.has_drained() && self.clock.now() - began < DRAIN {
            let now = self.clock.now();
            if !self.turn(now)? {
                self.serve_commands(now);
                self.sleep(now, Some(now + Duration::from_millis(1)))?;
            }
        }
        self.end_all(self.clock.now());
        self.send_rest()?;
        self.say_farewell(resets)
    }

    /// The time for an orderly end is over.
    fn end_all(&mut self, now: Instant) {
        self.shard.end_lingering(now, &mut self.app);
        self.shard.abort_all(now);
    }

    /// Resets every connection that is left, and tells the application nothing.
    fn reset_all(&mut self) -> io::Result<()> {
        self.shard.abort_all(self.clock.now());
        self.send_rest()
    }

    fn send_rest(&mut self) -> io::Result<()> {
        // What is queued goes out; a device that takes nothing any more is not waited for.
        for _ in 0..1000 {
            let now = self.clock.now();
            let sent = self.transmit(now);
            if self.down || (sent == 0 && self.held.is_none() && !self.shard.has_output()) {
                break;
            }
            self.flush(now)?;
        }
        self.flush(self.clock.now())
    }

    /// Nobody answers for an owned address once this has ended: what crosses our last segments is answered now, by a reset
    /// that its sender takes (one that answered its data had a number that our FIN may have made old).
    ///
    /// For a shared address the kernel answers, once the program is detached; until then nobody would. What is sent only once is a
    /// challenge of RFC 5961, to a reset that came before lost data: unanswered, its sender may keep its connection for ever.
    /// There are such answers only where there were more than `resets`.
    fn say_farewell(&mut self, resets: u64) -> io::Result<()> {
        let began = self.clock.now();
        let counters = self.shard.counters();
        let owned = counters.segments_in > 0 && self.shard.config().addresses.iter().any(|a| a.owned);
        let answers = owned || counters.resets_out > resets;
        while answers && !self.down && self.clock.now() - began < FAREWELL {
            let now = self.clock.now();
            self.turn(now)?;
            self.sleep(now, Some(now + Duration::from_millis(1)))?;
        }
        Ok(())
    }

    /// No connection is left here; nor elsewhere, since what arrives here may be of theirs.
    fn has_drained(&mut self) -> bool {
        if self.shard.connections() > 0 {
            return false;
        }
        self.handoff.as_mut().is_none_or(|handoff| {
            handoff.set_drained();
            handoff.all_drained()
        })
    }
}

/// The end of one loop, however it comes, is the end of all.
struct EndOfAll<'a> {
    ending: &'a Ending,
    /// Of all shards, as far as they know of each other.
    wakers: Vec<Arc<Waker>>,
}

impl EndOfAll<'_> {
    /// The drain time begins for all.
    fn begin(&self) {
        self.ending.begin();
        self.wake();
    }

    fn wake(&self) {
        for waker in &self.wakers {
            let _ = waker.wake();
        }
    }
}

impl Drop for EndOfAll<'_> {
    /// The drain time is over, or this loop has failed.
    fn drop(&mut self) {
        self.ending.hasten();
        self.wake();
    }
}

mod asleep;
mod panic;
mod turned;
mod unserved;

#[cfg(test)]
mod both;
#[cfg(test)]
mod captured;
#[cfg(test)]
mod services;
#[cfg(test)]
mod several;
#[cfg(test)]
mod tests;
