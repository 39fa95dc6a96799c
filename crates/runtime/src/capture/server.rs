//! The serving thread of a capture: it empties the loops' rings into the socket of who asked. That one may be slow, or gone: the
//! rings fill up meanwhile, and the loops see nothing of it.

use super::message::{self, Kind, Mark};
use super::recorder::{Ear, MOST, Recorder, Shared};
use super::{BUFFER_BYTES, Counts, Opened, Queue, Request, WHOLE, bpf::Program};
use crate::clock::Clock;
use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::{Sender, bounded};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two looks at the rings: while there is something, and once there has been nothing for so many looks.
const BUSY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(10);
const IDLE_LOOKS: u32 = 50;
/// How often it is said that nothing has come.
const SILENCE: Duration = Duration::from_millis(100);
/// Bytes of a message at most, so that a ring is emptied piece by piece.
const PIECE: usize = 256 << 10;
/// How often somebody who does not read is waited for before it is seen whether the stack ends.
const STALL: Duration = Duration::from_millis(100);
/// How long a loop may take to let go, or to begin; and a reader once the stack ends.
const PATIENCE: Duration = Duration::from_secs(1);
/// A difference between the clocks that is no error of reading them: the machine's time was set.
const STEP_NANOS: u64 = 1_000_000;

/// Where the shards' frames come and go.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// The queue of each shard.
    pub(crate) queues: Vec<u32>,
    /// The loops' clock.
    pub(crate) clock: Clock,
}

/// The captures that are under way. They end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    running: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Servers {
    /// Serves a client on a thread of its own.
    ///
    /// # Errors
    /// It went away, or there can be no thread.
    pub(crate) fn start(
        &mut self,
        stream: UnixStream,
        request: &Request,
        interface: Option<&Interface>,
        shards: &[Mailbox],
    ) -> io::Result<()> {
        self.running.retain(|one| !one.is_finished());
        stream.set_write_timeout(Some(STALL))?;
        let mut line = Line { stream, stop: Arc::clone(&self.stop), until: None };
        let (interface, filter) = match self.check(request, interface) {
            Ok(checked) => checked,
            Err(why) => return line.open(&Opened::Refused(why)),
        };
        let (request, shards, interface) = (request.clone(), shards.to_vec(), interface.clone());
        let serve = move || {
            if let Err(error) = serve(line, &request, &filter, &interface, &shards) {
                tracing::debug!(%error, "capture");
            }
        };
        self.running.push(std::thread::Builder::new().name("fw-capture".into()).spawn(serve)?);
        Ok(())
    }

    /// Who asks may be anybody of this user, and ask for anything.
    fn check<'a>(
        &self,
        request: &Request,
        interface: Option<&'a Interface>,
    ) -> Result<(&'a Interface, Program), String> {
        let [least, most] = BUFFER_BYTES;
        if !(1..=WHOLE).contains(&request.snaplen) || !(least..=most).contains(&request.buffer_bytes) {
            return Err(format!("a snap length goes from 1 to {WHOLE}, a buffer from {least} to {most} bytes"));
        }
        let filter = if request.filter.is_empty() { Ok(Program::all()) } else { Program::check(&request.filter) };
        let filter = filter.map_err(|refused| refused.to_string())?;
        let interface =
            interface.ok_or("it runs over the kernel's sockets, and what those send and receive `tcpdump` shows")?;
        if self.running.len() >= MOST {
            return Err(format!("{MOST} captures of it are under way, which is the most"));
        }
        Ok((interface, filter))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for one in self.running.drain(..) {
            let _ = one.join();
        }
    }
}

/// The way to who asked. Who does not read is waited for, but not when the stack ends.
struct Line {
    stream: UnixStream,
    stop: Arc<AtomicBool>,
    /// When a stack that ends waits no longer.
    until: Option<Instant>,
}

impl Line {
    fn open(&mut self, opened: &Opened) -> io::Result<()> {
        let line = serde_json::to_string(opened)? + "\n";
        self.write_all(line.as_bytes())
    }

    fn stops(&mut self) -> bool {
        if self.stop.load(Ordering::Relaxed) && self.until.is_none() {
            self.until = Some(Instant::now() + PATIENCE);
        }
        self.until.is_some()
    }

    /// Who asked has heard enough: it has closed its end, or is gone.
    fn is_enough(&self) -> bool {
        let mut rest = [0; 64];
        match recv(&self.stream, &mut rest, RecvFlags::DONTWAIT) {
            Ok((_, count)) => count == 0,
            Err(error) => error != Errno::AGAIN && error != Errno::INTR,
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.stream, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) if !self.stops() || self.until.is_some_and(|until| Instant::now() < until) => {}
                sent => return Ok(sent?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the loops write, and who has it.
struct Ears {
    all: Vec<Ear>,
    /// Of each shard, to tell it that it is over.
    shards: Vec<Mailbox>,
}

impl Drop for Ears {
    /// However it ends: the loops let go first, so that they don't free the rings.
    fn drop(&mut self) {
        self.close();
    }
}

impl Ears {
    fn close(&mut self) {
        self.all.iter().for_each(|ear| ear.shared.close());
        self.shards.iter().for_each(|shard| _ = shard.waker.wake());
        let until = Instant::now() + PATIENCE;
        while !self.have_ended() && Instant::now() < until {
            std::thread::sleep(BUSY);
        }
    }

    fn have_ended(&self) -> bool {
        self.all.iter().all(|ear| ear.ring.is_abandoned())
    }

    /// Up to when all frames of all loops are in their rings, if it is `now`.
    fn settled(&self, now: u64) -> u64 {
        self.all.iter().map(|ear| ear.shared.settled(now)).min().unwrap_or(now)
    }

    fn counts(&self) -> Vec<Counts> {
        self.all.iter().map(|ear| Shared::counts(&ear.shared)).collect()
    }

    /// Sends what the rings hold now; whether that was anything.
    fn empty(&mut self, line: &mut Line) -> io::Result<bool> {
        let mut any = false;
        for (shard, ear) in (0..).zip(&mut self.all) {
            let mut left = ear.ring.slots();
            any |= left > 0;
            while left > 0 {
                let piece = left.min(PIECE);
                let chunk = ear.ring.read_chunk(piece).map_err(io::Error::other)?;
                line.write_all(&message::header(Kind::Records, shard, u32::try_from(piece).unwrap_or(u32::MAX)))?;
                let (first, second) = chunk.as_slices();
                line.write_all(first)?;
                line.write_all(second)?;
                chunk.commit_all();
                left -= piece;
            }
        }
        Ok(any)
    }
}

/// The difference between the time since 1970 and the loops'.
fn offset(clock: &Clock) -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let nanos = u64::try_from(since_1970).unwrap_or(u64::MAX);
    nanos.wrapping_sub(clock.now().as_nanos()).cast_signed()
}

fn serve(
    mut line: Line,
    request: &Request,
    filter: &Program,
    interface: &Interface,
    shards: &[Mailbox],
) -> io::Result<()> {
    let clock = interface.clock;
    let make = |_| Recorder::new(request, filter.clone());
    let (recorders, all): (Vec<_>, _) = shards.iter().map(make).unzip();
    let mut ears = Ears { all, shards: shards.to_vec() };
    if !begin(recorders, shards) {
        return line.open(&Opened::Refused("one of its shards does not answer".into()));
    }
    let queue = |(shard, queue): (usize, &u32)| Queue { interface: interface.name.clone(), queue: *queue, shard };
    line.open(&Opened::Queues(interface.queues.iter().enumerate().map(queue).collect()))?;
    let (mut looks, mut marked, mut set) = (0, Instant::now(), offset(&clock));
    let ended = loop {
        // What is older than this is in the rings by now.
        let at = ears.settled(clock.now().as_nanos());
        let (ended, enough) = (ears.have_ended(), line.is_enough());
        let any = ears.empty(&mut line)?;
        if ended || enough {
            break ended;
        }
        if any || marked.elapsed() >= SILENCE {
            let now = offset(&clock);
            if now.abs_diff(set) > STEP_NANOS {
                set = now;
            }
            line.write_all(&message::mark(Kind::Mark, false, Mark { at, offset: set }, &ears.counts()))?;
            marked = Instant::now();
        }
        looks = if any { 0 } else { looks + 1 };
        if line.stops() {
            break true;
        }
        std::thread::sleep(if looks < IDLE_LOOKS { BUSY } else { IDLE });
    };
    ears.close();
    ears.empty(&mut line)?;
    let last = Mark { at: clock.now().as_nanos(), offset: set };
    line.write_all(&message::mark(Kind::End, ended, last, &ears.counts()))
}

/// Gives each loop its recorder; whether all have taken it.
fn begin(recorders: Vec<Recorder>, shards: &[Mailbox]) -> bool {
    let until = Instant::now() + PATIENCE;
    let given: Vec<Sender<Recorder>> = recorders
        .into_iter()
        .zip(shards)
        .filter_map(|(recorder, shard)| {
            let (give, given) = bounded(1);
            give.try_send(recorder).ok()?;
            shard.commands.send_timeout(Command::Capture(given), PATIENCE).ok()?;
            shard.waker.wake().ok()?;
            Some(give)
        })
        .collect();
    let taken = || given.len() == shards.len() && given.iter().all(Sender::is_empty);
    while !taken() && Instant::now() < until {
        std::thread::sleep(BUSY);
    }
    taken()
}
