//! A fourwave process: started, listened to, watched and ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

/// How long a start may take on a machine that is busy with other things.
const START: Duration = Duration::from_secs(90);
/// The line by which a server says that it is ready.
const READY: &str = "listening on ";

/// `fourwave` with these arguments, in a namespace. It ends with this process, whatever ends this, and Ctrl-C is not for it.
pub(crate) fn command(fourwave: &Path, namespace: &str, args: &[String]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(fourwave).arg("--exit-with-parent").args(args);
    command.stdin(Stdio::piped()).process_group(0);
    command
}

/// A process of `fourwave serve` or `proxy`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Its end is the process's.
    _stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

/// What it holds of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    pub(crate) resident_kib: u64,
    pub(crate) fds: usize,
    pub(crate) threads: u64,
}

impl Process {
    /// Starts it and waits until it listens.
    pub(crate) fn server(fourwave: &Path, namespace: &str, args: &[String]) -> anyhow::Result<Self> {
        let mut process = Self::start(command(fourwave, namespace, args).stdout(Stdio::null()))?;
        let begin = Instant::now();
        while !process.said().iter().any(|line| line.starts_with(READY)) {
            let ended = process.child.try_wait()?;
            if ended.is_some() || begin.elapsed() > START {
                bail!("`fourwave {}` does not listen: {}", args.join(" "), process.said().join("; "));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(process)
    }

    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn().context("cannot run `ip`")?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stderr.take().map(BufReader::new);
        let into = Arc::clone(&said);
        let listener = thread::spawn(move || {
            for line in pipe.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { child, _stdin: stdin, said, listener: Some(listener) })
    }

    /// `ip netns exec` becomes the command, so this is its own number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// A signal once it has a handler for it, without which it would be killed.
    pub(crate) fn hears(&mut self, signal: Signal) {
        let begin = Instant::now();
        let caught = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
            u64::from_str_radix(&line, 16).ok()
        };
        // Signal 1 is the lowest bit.
        let bit = 1 << (signal.as_raw() - 1);
        while caught().is_some_and(|signals| signals & bit == 0) && begin.elapsed() < START {
            thread::sleep(Duration::from_millis(5));
        }
        self.signal(signal);
    }

    /// What it has said on stderr so far.
    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has ended, by itself or not.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end and kills it where that does not come; what it said but for its being ready.
    pub(crate) fn end(mut self, limit: Duration) -> (Option<ExitStatus>, Vec<String>) {
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if begin.elapsed() < limit => thread::sleep(Duration::from_millis(5)),
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Its last words have been read when the pipe has ended.
        let _ = self.listener.take().map(JoinHandle::join);
        let said = self.said().into_iter().filter(|line| !is_start(line));
        (status, said.collect())
    }

    /// Of `/proc`; `None` if it is gone.
    pub(crate) fn held(&self) -> Option<Held> {
        let folder = format!("/proc/{}", self.pid());
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let fds = fs::read_dir(format!("{folder}/fd")).ok()?.count();
        Some(Held { resident_kib: number("VmRSS:")?, fds, threads: number("Threads:")? })
    }

    /// Processor time it has taken, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        // Behind the name, which may have anything in it: field 3 and on. utime and stime are 14 and 15, in hundredths.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        Some((ticks()? + ticks()?) / 100.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What every start says.
fn is_start(line: &str) -> bool {
    line.starts_with(READY) || line.starts_with("metrics at ")
}

/// Runs `fourwave` to its end; what it printed, or what it said instead. Killed after `limit`.
pub(crate) fn output(fourwave: &Path, namespace: &str, args: &[&str], limit: Duration) -> Result<String, String> {
    let args: Vec<_> = args.iter().map(ToString::to_string).collect();
    let run = Running::start(fourwave, namespace, &args)?;
    run.output(limit)
}

/// A command that prints something at its end. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    stdout: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(fourwave: &Path, namespace: &str, args: &[String]) -> Result<Self, String> {
        let mut command = command(fourwave, namespace, args);
        let mut process = Process::start(command.stdout(Stdio::piped())).map_err(|error| format!("{error:#}"))?;
        let stdout = process.child.stdout.take().map(|mut pipe| {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = pipe.read_to_string(&mut text);
                text
            })
        });
        Ok(Self { process, stdout })
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed on stdout by its good end.
    pub(crate) fn output(self, limit: Duration) -> Result<String, String> {
        let Self { process, stdout } = self;
        let (status, said) = process.end(limit);
        let text = stdout.and_then(|reader| reader.join().ok()).unwrap_or_default();
        match status {
            Some(status) if status.success() => Ok(text),
            Some(status) => Err(format!("{status}: {}", said.join("; "))),
            None => Err(format!("no end within {limit:?}")),
        }
    }
}
