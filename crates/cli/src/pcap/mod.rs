//! `fourwave pcap`: what the stack of a running process receives and sends, as pcapng.

mod files;
mod filter;
mod pipe;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use fourwave::capture::{Capture, Counts, Event, Request};
use fourwave::control::{self, Process};
use serde::Serialize;

use crate::args::UsageError;
use crate::stop::Stop;
use crate::{out, say};
use files::Files;
pub(crate) use files::{Ring, Target};

/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// How long the process may take to send what is under way, once it is asked for the end; and at least to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be captured, and where it goes.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) pid: Option<u32>,
    pub(crate) interface: Option<String>,
    pub(crate) target: Target,
    pub(crate) snaplen: u32,
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) comments: bool,
    pub(crate) buffer_bytes: u32,
    pub(crate) json: bool,
    pub(crate) filter: String,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Ended {
    /// Ctrl-C.
    Asked,
    Count,
    Duration,
    /// The captured process ended.
    Process,
    /// It went away without a word.
    Lost,
    /// Who reads the pipe went away.
    Reader,
}

/// What was captured.
#[derive(Debug, Serialize)]
struct Summary {
    pid: u32,
    interface: String,
    ended: Ended,
    /// Frames in the files, and what was kept of them.
    frames: u64,
    bytes: u64,
    /// Frames that came by, that the filter chose, and that the buffer had no room for.
    seen: u64,
    matched: u64,
    dropped: u64,
    duration_s: f64,
    files: Vec<PathBuf>,
}

/// `fourwave pcap`.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    if config.target == Target::Stdout && std::io::stdout().is_terminal() {
        let advice =
            "a capture is not for a terminal: name a file with -w FILE, or pipe it (fourwave pcap | tshark -r -)";
        return Err(UsageError(advice.into()).into());
    }
    let filter = if config.filter.is_empty() { Vec::new() } else { filter::compile(&config.filter)? };
    let request =
        Request { filter, snaplen: config.snaplen, comments: config.comments, buffer_bytes: config.buffer_bytes };
    let patience = config.duration.map(|duration| duration.max(PATIENCE));
    let (pid, mut capture) = open(config, &Asked { request, patience, stop })?;
    let interface = capture.queues().first().map(|queue| queue.interface.clone()).unwrap_or_default();
    let files = Files::open(config, capture.queues(), stop)?;
    say!("capturing on {interface}, process {pid}; Ctrl-C ends it");
    let began = Instant::now();
    let mut session = Session { config, stop, files, frames: 0, bytes: 0 };
    let ended = session.run(&mut capture, began)?;
    let Session { files, frames, bytes, .. } = session;
    let files = files.finish(capture.counts())?;
    let sum = |count: fn(&Counts) -> u64| capture.counts().iter().map(count).sum::<u64>();
    let (seen, matched, dropped) = (sum(|c| c.seen), sum(|c| c.matched), sum(|c| c.dropped));
    let duration_s = began.elapsed().as_secs_f64();
    let summary = Summary { pid, interface, ended, frames, bytes, seen, matched, dropped, duration_s, files };
    report(&summary);
    if config.json {
        out::json(&summary)?;
    }
    if ended == Ended::Lost {
        bail!("process {pid} went away without a word: its last frames are missing");
    }
    Ok(())
}

fn report(summary: &Summary) {
    let Summary { pid, frames, seen, matched, dropped, files, .. } = summary;
    let why = match summary.ended {
        Ended::Process => format!("; process {pid} has ended"),
        _ => String::new(),
    };
    let to = match &files[..] {
        [] => String::new(),
        [one] => format!(" to {}", one.display()),
        [first, .., last] => format!(" to {} files, {} to {}", files.len(), first.display(), last.display()),
    };
    say!("{frames} frames captured{to}; {seen} came by, {matched} were chosen, {dropped} were dropped{why}");
}

/// What a process is asked for.
struct Asked<'a> {
    request: Request,
    /// How long it may take to begin; `None`: as long as it takes.
    patience: Option<Duration>,
    stop: &'a Stop,
}

/// The capture of the process that is meant.
fn open(config: &Config, asked: &Asked<'_>) -> anyhow::Result<(u32, Capture)> {
    let advice = "cannot look for running fourwave processes: run it again with sudo";
    let mut found = control::processes().context(advice)?;
    if let Some(pid) = config.pid {
        found.retain(|process| process.pid == pid);
        if found.is_empty() {
            bail!(
                "no fourwave stack runs in process {pid}: `fourwave pcap` without --pid captures the only one there is"
            );
        }
    }
    match (&found[..], &config.interface) {
        ([], _) => bail!("no fourwave stack runs here: start one, or run this as the user whose it is, or with sudo"),
        ([one], None) => Ok((one.pid, asked.begin(one)?)),
        (several, None) => {
            let pids = several.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>().join(", ");
            bail!("several fourwave stacks run, in processes {pids}: say which one with --pid or --interface")
        }
        (all, Some(interface)) => on(interface, all, asked),
    }
}

/// That of the process whose stack is on an interface.
fn on(interface: &str, all: &[Process], asked: &Asked<'_>) -> anyhow::Result<(u32, Capture)> {
    let mut refused = None;
    for process in all {
        match asked.begin(process) {
            Ok(capture) if capture.queues().iter().any(|queue| queue.interface == interface) => {
                return Ok((process.pid, capture));
            }
            Ok(_) => {}
            Err(_) if asked.stop.requested() => break,
            Err(error) => refused = Some(error),
        }
    }
    asked.stop.check()?;
    Err(refused.unwrap_or_else(|| anyhow!("no fourwave stack runs on {interface}")))
}

impl Asked<'_> {
    /// On a thread of its own, which is left behind when nobody wants its answer any more: the command ends.
    fn begin(&self, process: &Process) -> anyhow::Result<Capture> {
        let (tell, told) = mpsc::channel();
        let (asked, request, began) = (process.clone(), self.request.clone(), Instant::now());
        thread::spawn(move || drop(tell.send(asked.capture(request, LOOK))));
        let answer = loop {
            match told.recv_timeout(LOOK) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) => self.stop.check()?,
                Err(RecvTimeoutError::Disconnected) => bail!("nobody asks process {} any more", process.pid),
            }
            if let Some(patience) = self.patience.filter(|patience| began.elapsed() >= *patience) {
                bail!("process {} does not answer: nothing within {} s", process.pid, patience.as_secs_f64());
            }
        };
        answer.map_err(|error| match error.kind() {
            std::io::ErrorKind::Other => anyhow!("process {} can't be captured: {error}", process.pid),
            _ => anyhow::Error::new(error).context(format!("process {} does not answer", process.pid)),
        })
    }
}

struct Session<'a> {
    config: &'a Config,
    stop: &'a Stop,
    files: Files,
    frames: u64,
    bytes: u64,
}

impl Session<'_> {
    /// Writes what comes until there is enough.
    fn run(&mut self, capture: &mut Capture, began: Instant) -> anyhow::Result<Ended> {
        let (mut enough, mut counts): (Option<(Ended, Instant)>, _) = (None, Vec::new());
        loop {
            if enough.is_none()
                && let Some(why) = self.is_enough(began)
            {
                enough = Some((why, Instant::now() + PATIENCE));
                // One that is gone is seen below.
                let _ = capture.finish();
            }
            if counts != capture.counts() {
                counts.clear();
                counts.extend_from_slice(capture.counts());
            }
            match capture.wait() {
                Ok(Event::Frame(frame)) => {
                    let full = self.config.count.is_some_and(|count| self.frames >= count);
                    // Once there is enough, what was under way is kept, unless it was asked for so many.
                    if !full && self.files.is_open() {
                        self.files.packet(&frame, &counts)?;
                        self.frames += 1;
                        self.bytes += frame.bytes.len() as u64;
                    }
                }
                Ok(Event::Mark(now)) => self.files.mark(now, &counts)?,
                Ok(Event::Nothing) => {}
                Ok(Event::Over { process }) => {
                    let why = if process { Ended::Process } else { Ended::Asked };
                    return Ok(enough.map_or(why, |(why, _)| why));
                }
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Err(error.into()),
                Err(_) => return Ok(enough.map_or(Ended::Lost, |(why, _)| why)),
            }
            if let Some((why, until)) = enough
                && Instant::now() > until
            {
                return Ok(why);
            }
        }
    }

    fn is_enough(&self, began: Instant) -> Option<Ended> {
        if self.stop.requested() {
            Some(Ended::Asked)
        } else if !self.files.is_open() {
            Some(Ended::Reader)
        } else if self.config.count.is_some_and(|count| self.frames >= count) {
            Some(Ended::Count)
        } else if self.config.duration.is_some_and(|duration| began.elapsed() >= duration) {
            Some(Ended::Duration)
        } else {
            None
        }
    }
}
