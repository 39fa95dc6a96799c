//! Children in a namespace that never outlive us.
//!
//! A job has a process group of its own, so that Ctrl-C on the terminal reaches us alone and we end the jobs in order.
//! It watches its stdin pipe (`--exit-with-parent`), so that `kill -9` of ours ends it as well.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::serve::READY;
use crate::stop::Stop;

const POLITE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);
/// Lines of stderr kept for the error message.
const KEPT_LINES: usize = 5;

/// A running `fourwave` in a network namespace. Dropping it ends it: SIGTERM, two seconds, SIGKILL.
#[derive(Debug)]
pub(crate) struct Job {
    child: Child,
    label: String,
    stderr: Receiver<String>,
    last_lines: VecDeque<String>,
    stdout: Option<JoinHandle<String>>,
    /// Held open: its end tells the job that we died.
    _alive: Option<ChildStdin>,
}

impl Job {
    /// Starts this program with `args` in the namespace.
    pub(crate) fn start(namespace: &str, args: &[String]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the program's own file")?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program).arg("--exit-with-parent").args(args);
        let label = args.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
        Self::spawn(command, label)
    }

    /// Starts another program in the namespace, which the kernel ends when the thread that calls this ends.
    pub(crate) fn start_other(namespace: &str, program: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL"]).args(program);
        Self::spawn(command, program.first().copied().unwrap_or_default().to_owned())
    }

    fn spawn(mut command: Command, label: String) -> anyhow::Result<Self> {
        tracing::debug!(?command, "job");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot run `ip netns exec`")?;
        let stdout = child.stdout.take().map(|mut pipe| {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = pipe.read_to_string(&mut text);
                text
            })
        });
        let (lines, stderr) = mpsc::channel();
        if let Some(pipe) = child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if lines.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { _alive: child.stdin.take(), label, child, stderr, last_lines: VecDeque::new(), stdout })
    }

    /// Waits until a server says that it listens.
    pub(crate) fn wait_ready(&mut self, stop: &Stop, limit: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            stop.check()?;
            match self.stderr.recv_timeout(TICK) {
                Ok(line) if line.starts_with(READY) => return Ok(()),
                Ok(line) => self.keep(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return Err(self.failure(status));
                }
            }
        }
        bail!(
            "`{}` did not start to listen within {} s: run it by hand with -v to see why",
            self.label,
            limit.as_secs()
        )
    }

    /// Waits until a program that does not say so listens on a port, over IPv4.
    pub(crate) fn wait_listening(&mut self, port: u16, stop: &Stop, limit: Duration) -> anyhow::Result<()> {
        let (end, sockets) = (Instant::now() + limit, format!("/proc/{}/net/tcp", self.child.id()));
        // Columns: number, local, remote, state; the state of a listener is 0A.
        let (local, listens) = (format!(":{port:04X}"), "0A");
        while Instant::now() < end {
            stop.check()?;
            self.check_running()?;
            let table = std::fs::read_to_string(&sockets).unwrap_or_default();
            let columns = |line: &str| -> Vec<_> { line.split_whitespace().map(str::to_owned).collect() };
            let is_it = |row: Vec<String>| row.len() > 3 && row[1].ends_with(&local) && row[3] == listens;
            if table.lines().map(columns).any(is_it) {
                return Ok(());
            }
            stop.sleep(TICK);
        }
        bail!("`{}` did not start to listen within {} s", self.label, limit.as_secs())
    }

    /// Of the program itself: what puts it into the namespace has become it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time, user's and kernel's.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Behind the name in brackets: utime and stime are the 14th and the 15th of all, in hundredths.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Waits for the end and returns what the job wrote to stdout. `on_line` sees its stderr, line by line.
    pub(crate) fn output(
        mut self,
        stop: &Stop,
        limit: Duration,
        mut on_line: impl FnMut(&str),
    ) -> anyhow::Result<String> {
        let end = Instant::now() + limit;
        let status = loop {
            if let Err(interrupted) = stop.check() {
                self.end();
                return Err(interrupted.into());
            }
            while let Ok(line) = self.stderr.try_recv() {
                on_line(&line);
                self.keep(line);
            }
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                self.end();
                bail!(
                    "`{}` did not finish within {} s and was ended: {}",
                    self.label,
                    limit.as_secs(),
                    self.last_words()
                );
            }
            thread::sleep(TICK);
        };
        if !status.success() {
            return Err(self.failure(status));
        }
        let stdout = self.stdout.take().map(JoinHandle::join);
        Ok(stdout.and_then(Result::ok).unwrap_or_default())
    }

    /// An error if the job ended by itself although it should still run.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(self.failure(status)),
            None => Ok(()),
        }
    }

    /// Ends the job and everything it started.
    pub(crate) fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::TERM);
        let end = Instant::now() + POLITE;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        tracing::warn!(job = self.label, "did not end when asked to, killed");
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }

    fn keep(&mut self, line: String) {
        tracing::debug!(job = self.label, "{line}");
        if self.last_lines.len() == KEPT_LINES {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line);
    }

    fn failure(&mut self, status: ExitStatus) -> anyhow::Error {
        // The reader of stderr may be a moment behind the end of the process.
        while let Ok(line) = self.stderr.recv_timeout(Duration::from_millis(100)) {
            self.keep(line);
        }
        anyhow::anyhow!("`{}` failed ({status}): {}", self.label, self.last_words())
    }

    /// The job's own sentence on what went wrong.
    fn last_words(&self) -> String {
        let lines = || self.last_lines.iter().rev();
        let said = lines().find_map(|line| line.strip_prefix("fourwave: "));
        said.map(str::to_owned).or_else(|| lines().next().cloned()).unwrap_or_else(|| "it said nothing".to_owned())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end();
    }
}
