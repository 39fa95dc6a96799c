//! A path with a fourwave process at its one end, and what is known of the two.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use impairment::{Forwarder, Impairments, Lab, Placement};
use rustix::process::Signal;
use serde::Serialize;

use crate::conn::Failure;
use crate::process::{Held, Process, Running, output};
use crate::tally::{Book, End};

/// Where a process tells how it is, in its own namespace.
pub(crate) const METRICS: &str = "127.0.0.1:9464";

/// What is on purpose not as it should be: the run must end red.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Break {
    /// The proxy's backend changes one byte in a million
    Corrupt,
    /// Clients hold on to connections that they say they have closed
    Leak,
    /// A server is killed, and nobody says so
    Kill,
}

/// What everybody of a run knows.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) fourwave: PathBuf,
    pub(crate) begin: Instant,
    pub(crate) breaks: Option<Break>,
    /// 0: it goes on; 1: nothing new is begun; 2: what is under way is given up.
    stage: AtomicU8,
    events: Mutex<Vec<Event>>,
}

/// A fault, or another thing that was done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) at_s: f64,
    pub(crate) world: &'static str,
    pub(crate) what: String,
}

impl Run {
    pub(crate) fn new(fourwave: PathBuf, breaks: Option<Break>) -> Self {
        let (begin, events) = (Instant::now(), Mutex::default());
        Self { fourwave, begin, breaks, stage: AtomicU8::new(0), events }
    }

    /// No new connections; asked a second time, no patience either.
    pub(crate) fn stop(&self) {
        let _ = self.stage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |stage| Some((stage + 1).min(2)));
    }

    pub(crate) fn stops(&self) -> bool {
        self.stage.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn hurries(&self) -> bool {
        self.stage.load(Ordering::Relaxed) > 1
    }

    /// Sleeps, but not beyond the end.
    pub(crate) fn pause(&self, time: Duration) {
        let begin = Instant::now();
        while !self.stops() {
            let Some(left) = time.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) else { return };
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    pub(crate) fn event(&self, world: &'static str, what: impl Into<String>) {
        let event = Event { at_s: self.begin.elapsed().as_secs_f64(), world, what: what.into() };
        lock(&self.events).push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }
}

/// When something began, as far as faults count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    /// Odd while there is no process.
    generation: u64,
    /// Odd while a link is down.
    link: u64,
}

/// What a process held at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    /// The number of starts before this process's.
    pub(crate) starts: u64,
    #[serde(flatten)]
    pub(crate) held: Held,
}

/// A path, and at its end `a` a process of fourwave; at `b` is the kernel.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) name: &'static str,
    pub(crate) run: Arc<Run>,
    pub(crate) lab: Lab,
    pub(crate) book: Book,
    /// Of an operator's tools.
    pub(crate) tools: Book,
    /// Of its process; none for the world where clients come and go.
    pub(crate) args: Option<Vec<String>>,
    /// Where clients connect to.
    pub(crate) to: SocketAddr,
    /// Held while a process is started, killed or stopped.
    process: Mutex<Option<Process>>,
    client: Mutex<Option<Running>>,
    forwarder: Mutex<Option<Forwarder>>,
    generation: AtomicU64,
    link: AtomicU64,
    up_since: Mutex<Instant>,
    /// Connections that came about, by the generation in which they began.
    opened: Mutex<BTreeMap<u64, u64>>,
    samples: Mutex<Vec<Sample>>,
    cpu_s: Mutex<f64>,
}

impl World {
    /// Builds the path and starts the process.
    pub(crate) fn new(
        run: &Arc<Run>,
        name: &'static str,
        lab: Lab,
        seed: u64,
        to: SocketAddr,
        args: Option<Vec<String>>,
    ) -> anyhow::Result<Arc<Self>> {
        let clean = Impairments::default();
        let forwarder = Forwarder::start(&lab, clean, clean, seed, Placement::default())
            .with_context(|| format!("the path of {name}"))?;
        let world = Arc::new(Self {
            name,
            run: Arc::clone(run),
            lab,
            book: Book::default(),
            tools: Book::default(),
            args,
            to,
            process: Mutex::default(),
            client: Mutex::default(),
            forwarder: Mutex::new(Some(forwarder)),
            generation: AtomicU64::new(1),
            link: AtomicU64::new(0),
            up_since: Mutex::new(Instant::now()),
            opened: Mutex::default(),
            samples: Mutex::default(),
            cpu_s: Mutex::default(),
        });
        world.start()?;
        Ok(world)
    }

    /// Starts its process, if it has one of its own.
    fn start(&self) -> anyhow::Result<()> {
        let Some(args) = &self.args else {
            self.generation.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let process = Process::server(&self.run.fourwave, &self.lab.a().namespace, args)?;
        *lock(&self.process) = Some(process);
        *lock(&self.up_since) = Instant::now();
        self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        lock(&self.process).as_ref().map(Process::pid)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &*lock(&self.process) {
            process.signal(signal);
        }
        if let Some(client) = &mut *lock(&self.client) {
            client.process().signal(signal);
        }
    }

    /// kill -9, and a new process.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        if self.args.is_none() {
            return Ok(());
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        let process = lock(&self.process).take();
        if let Some(process) = process {
            self.add_cpu(&process);
            process.signal(Signal::KILL);
            let (_, said) = process.end(Duration::from_secs(60));
            self.judge_words(said);
        }
        self.start()
    }

    /// Whether its process has ended though nobody asked it to; said once.
    pub(crate) fn has_died(&self) -> bool {
        let mut process = lock(&self.process);
        let died = process.as_mut().is_some_and(Process::has_ended);
        if died && let Some(process) = process.take() {
            let (status, said) = process.end(Duration::ZERO);
            let status = status.map_or_else(String::new, |status| status.to_string());
            self.book.deviation(format!("the process ended by itself ({status}): {}", said.join("; ")));
        }
        died
    }

    /// Ctrl-C, and an orderly end.
    pub(crate) fn end(&self) {
        let Some(process) = lock(&self.process).take() else { return };
        self.add_cpu(&process);
        process.signal(Signal::INT);
        let (status, said) = process.end(Duration::from_secs(60));
        if !status.is_some_and(|status| status.success()) {
            self.book.deviation(format!("the process did not end in order: {status:?}: {}", said.join("; ")));
        }
        self.judge_words(said);
    }

    /// The process of the moment, for the world of clients: what a fault is for.
    pub(crate) fn hold_client(&self, client: Option<Running>) -> Option<Running> {
        std::mem::replace(&mut *lock(&self.client), client)
    }

    pub(crate) fn client_has_ended(&self) -> bool {
        lock(&self.client).as_mut().is_none_or(|client| client.process().has_ended())
    }

    /// kill -9 of that.
    pub(crate) fn kill_client(&self) {
        if let Some(client) = &mut *lock(&self.client) {
            self.generation.fetch_add(2, Ordering::Relaxed);
            client.process().signal(Signal::KILL);
        }
    }

    /// What `ss -i` says of its process's connections.
    pub(crate) fn describe(&self, filter: &[&str]) -> String {
        let Some(pid) = self.pid().map(|pid| pid.to_string()) else { return "there is no process".into() };
        let args = [&["ss", "-i", "--pid", &pid], filter].concat();
        let said = output(&self.run.fourwave, &self.lab.a().namespace, &args, Duration::from_secs(60));
        match said {
            Ok(text) => {
                // A connection with its details is two lines or three: of many the first tell enough.
                let lines: Vec<_> =
                    text.lines().take(10).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
                let more = text.lines().count().saturating_sub(lines.len());
                let more = if more > 0 { format!(" … and {more} lines more") } else { String::new() };
                format!("`ss -i`: {}{more}", lines.join(" "))
            }
            Err(why) => format!("`ss -i` failed: {why}"),
        }
    }

    fn add_cpu(&self, process: &Process) {
        *lock(&self.cpu_s) += process.cpu_seconds().unwrap_or(0.0);
    }

    pub(crate) fn cpu_s(&self) -> f64 {
        *lock(&self.cpu_s)
    }

    /// What a process may say on stderr: that its link, or an address of it, went and came.
    fn judge_words(&self, said: Vec<String>) {
        const EXPECTED: [&str; 6] = [
            "the interface is down",
            "is no longer an address of",
            "is an address of",
            "has no carrier",
            "reload",
            "proxy.toml",
        ];
        for line in said.into_iter().filter(|line| !EXPECTED.iter().any(|words| line.contains(words))) {
            self.book.deviation(format!("the process said `{line}`"));
        }
    }

    /// What is said about it from now on.
    pub(crate) fn age(&self) -> Age {
        Age { generation: self.generation.load(Ordering::Relaxed), link: self.link.load(Ordering::Relaxed) }
    }

    /// A connection that began at `age` has come about.
    pub(crate) fn opened(&self, age: Age) {
        *lock(&self.opened).entry(age.generation).or_default() += 1;
    }

    /// Connections that this process must have accepted, and those that it may have.
    pub(crate) fn opened_since_start(&self) -> (u64, u64) {
        let opened = lock(&self.opened);
        let now = self.generation.load(Ordering::Relaxed);
        let of = |generation: u64| opened.get(&generation).copied().unwrap_or(0);
        (of(now), of(now) + of(now - 1))
    }

    /// What came of something that began at `age` and failed.
    pub(crate) fn judge(&self, age: Age, failure: Failure) -> End {
        let now = self.age();
        let killed = age.generation % 2 == 1 || age.generation != now.generation;
        let cut = self.was_cut(age);
        match failure {
            Failure::Changed(why) => End::Wrong(why),
            _ if killed => End::Killed,
            Failure::Broken(why) => End::Wrong(why),
            Failure::NotOpened(error) => match error.kind() {
                ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable if cut => End::Unreachable,
                _ => End::Wrong(format!("it could not be opened: {error}")),
            },
        }
    }

    /// Whether a link has been down since then.
    pub(crate) fn was_cut(&self, age: Age) -> bool {
        age.link % 2 == 1 || age.link != self.age().link
    }

    /// Since when the process with which something of this age has begun is gone, and another one is there.
    pub(crate) fn lost_for(&self, age: Age) -> Duration {
        let now = self.generation.load(Ordering::Relaxed);
        if now == age.generation || now % 2 == 1 { Duration::ZERO } else { lock(&self.up_since).elapsed() }
    }

    pub(crate) fn hurries(&self) -> bool {
        self.run.hurries()
    }

    /// A link goes down, or is up again.
    pub(crate) fn link_changes(&self) {
        self.link.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn impair(&self, there: Impairments, back: Impairments) {
        if let Some(forwarder) = &*lock(&self.forwarder) {
            forwarder.impair(there, back);
        }
    }

    /// Ends the path; what it has done to frames.
    pub(crate) fn end_path(&self) -> Option<impairment::Forwarded> {
        let forwarder = lock(&self.forwarder).take()?;
        match forwarder.stop() {
            Ok(done) => Some(done),
            Err(error) => {
                self.book.deviation(format!("the path has failed, the stack has not: {error:#}"));
                None
            }
        }
    }

    pub(crate) fn sample(&self) {
        let starts = self.generation.load(Ordering::Relaxed) / 2;
        let Some(held) = lock(&self.process).as_ref().and_then(Process::held) else { return };
        let at_s = self.run.begin.elapsed().as_secs_f64();
        lock(&self.samples).push(Sample { at_s, starts, held });
    }

    /// Processes it has had.
    pub(crate) fn starts(&self) -> u64 {
        if self.args.is_some() { self.generation.load(Ordering::Relaxed) / 2 } else { 0 }
    }

    /// What its process holds now.
    pub(crate) fn held(&self) -> Option<Held> {
        lock(&self.process).as_ref().and_then(Process::held)
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }
}

pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
