//! The asking end.

use super::connect::{connect_within, go_on, is_listening, nothing_within};
use super::list::Line;
use super::place::{self, Place as Directory};
use super::trace::Line as TraceLine;
use super::{Count, Failed, Filter, Held, How, Listed, Place, Request, Row};
use crate::capture;
use crate::trace::Traced;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether an answer is wanted still.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of an answer at most; a page of a listing has some ten of them.
const MOST: u64 = 1 << 28;

/// A stack in a running process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    socket: PathBuf,
    unwanted: Arc<AtomicBool>,
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, &self.socket) == (other.pid, &other.socket)
    }
}

impl Eq for Process {}

/// The running stacks, by their processes' numbers: the caller's own, and all users' if it is root. Sockets that dead ones
/// left are removed.
///
/// # Errors
/// There is none of the caller's own, and those of root can't be read (no privileges).
pub fn processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    let mut refused = None;
    for place in place::all() {
        match look(&place, &mut found) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            looked => looked?,
        }
    }
    if let Some(error) = refused.filter(|_| found.is_empty()) {
        return Err(error);
    }
    found.sort_by(|a, b| (a.pid, &a.socket).cmp(&(b.pid, &b.socket)));
    Ok(found)
}

/// Removes what dead processes left in a directory of the caller's.
pub(super) fn sweep(directory: &Path) {
    let _ = look(&Directory { path: directory.to_owned(), ours: true }, &mut Vec::new());
}

/// Whether there is no such process: a socket that refuses may be one whose process is about to listen.
fn is_dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// The stacks that answer in one directory.
fn look(place: &Directory, found: &mut Vec<Process>) -> io::Result<()> {
    let entries = match fs::read_dir(&place.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let socket = entry?.path();
        let Some(pid) = socket.file_name().and_then(|name| name.to_str()).and_then(pid) else { continue };
        match is_listening(&socket) {
            Ok(()) => found.push(Process::new(pid, socket)),
            // A directory of somebody else's may lead anywhere by now: nothing is removed there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                if place.ours && is_dead(pid) {
                    let _ = fs::remove_file(&socket);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The process of `PID.sock` or `PID-N.sock`.
fn pid(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".sock")?;
    match stem.split_once('-') {
        Some((pid, number)) => number.parse::<u32>().ok().and(pid.parse().ok()),
        None => stem.parse().ok(),
    }
}

impl Process {
    pub(super) fn new(pid: u32, socket: PathBuf) -> Self {
        Self { pid, socket, unwanted: Arc::default() }
    }

    /// The same; what it is asked ends with an error once the flag is set, instead of waiting for a process that does not answer.
    #[must_use]
    pub fn until(self, unwanted: &Arc<AtomicBool>) -> Self {
        Self { unwanted: Arc::clone(unwanted), ..self }
    }

    /// Its connections and TIME-WAIT records.
    ///
    /// # Errors
    /// The process went away, or answers no more.
    pub fn connections(&self) -> io::Result<Vec<Row>> {
        let mut all = Vec::new();
        self.list(&Filter::all(), |row| {
            all.push(row);
            true
        })?;
        Ok(all)
    }

    /// Connections, records and listeners that the filter lets through, as long as `each` wants more. It may take its time.
    ///
    /// # Errors
    /// The process went away, answers no more, or takes the filter for none.
    pub fn list(&self, filter: &Filter, mut each: impl FnMut(Row) -> bool) -> io::Result<()> {
        let mut from = Some(Place::default());
        while let Some(place) = from {
            from = None;
            let Answer { lines, end } = self.ask(&Request::List(Listed { filter: filter.clone(), from: place }))?;
            for line in lines {
                match line {
                    Line::Row(row) => {
                        if !each(*row) {
                            return Ok(());
                        }
                    }
                    Line::Ended(_) => {}
                    Line::Next(next) => from = next,
                }
            }
            end?;
        }
        Ok(())
    }

    /// Ends the connections that the filter lets through, and adds how many those were to `ended`; after an error too.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn end(&self, filter: &Filter, how: How, ended: &mut u64) -> io::Result<()> {
        let mut from = Some(Place::default());
        while let Some(place) = from {
            from = None;
            let Answer { lines, end } = self.ask(&Request::End(Listed { filter: filter.clone(), from: place }, how))?;
            for line in lines {
                match line {
                    Line::Row(_) => {}
                    Line::Ended(some) => *ended += some,
                    Line::Next(next) => from = next,
                }
            }
            end?;
        }
        Ok(())
    }

    /// What happened to the connections that the filter lets through, as far as it is known, as long as `each` wants more; also to those
    /// that are gone, which are CLOSED, or in TIME-WAIT. Returns how many records were overwritten.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn trace(&self, filter: &Filter, mut each: impl FnMut(Traced) -> bool) -> io::Result<u64> {
        let (mut from, mut overwritten) = (Some(Place::default()), 0);
        while let Some(place) = from {
            from = None;
            let Answer { lines, end } = self.ask(&Request::Trace(Listed { filter: filter.clone(), from: place }))?;
            for line in lines {
                match line {
                    TraceLine::Traced(traced) => {
                        if !each(*traced) {
                            return Ok(overwritten);
                        }
                    }
                    TraceLine::Overwritten(records) => overwritten += records,
                    TraceLine::Next(next) => from = next,
                }
            }
            end?;
        }
        Ok(overwritten)
    }

    /// Its XDP program's verdicts.
    ///
    /// # Errors
    /// The process went away, or answers no more.
    pub fn steering(&self) -> io::Result<Vec<Count>> {
        self.ask(&Request::Steering)?.whole()
    }

    /// Its counters.
    ///
    /// # Errors
    /// The process went away, or answers no more.
    pub fn counters(&self) -> io::Result<Vec<Count>> {
        self.ask(&Request::Counters)?.whole()
    }

    /// The ports it holds in the kernel.
    pub(super) fn ports(&self, patience: Duration) -> io::Result<Vec<Held>> {
        self.ask_for(&Request::Ports, patience)?.whole()
    }

    /// Begins to capture the frames that it receives and sends. [`Capture::wait`](capture::Capture::wait) waits so long for more.
    ///
    /// # Errors
    /// The process went away, or answers no more; or it says why not.
    pub fn capture(&self, request: capture::Request, wait: Duration) -> io::Result<capture::Capture> {
        let line = serde_json::to_string(&Request::Capture(request))? + "\n";
        capture::Capture::open(connect_within(&self.socket, PATIENCE, &self.unwanted)?, &line, wait)
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> io::Result<Answer<T>> {
        self.ask_for(request, PATIENCE)
    }

    fn ask_for<T: DeserializeOwned>(&self, request: &Request, patience: Duration) -> io::Result<Answer<T>> {
        let mut stream = connect_within(&self.socket, patience, &self.unwanted)?;
        stream.set_read_timeout(Some(LOOK.min(patience)))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all((serde_json::to_string(request)? + "\n").as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => nothing_within(patience),
            _ => error,
        })?;
        let mut answer = Answer { lines: Vec::new(), end: Ok(()) };
        let answering = Answering { stream, patience, unwanted: &self.unwanted };
        for line in BufReader::new(answering.take(MOST)).lines() {
            match line.and_then(|line| parsed(&line)) {
                Ok(line) => answer.lines.push(line),
                Err(error) => {
                    answer.end = Err(error);
                    break;
                }
            }
        }
        Ok(answer)
    }
}

/// What a process says, as long as that is wanted, and as it does not take too long over the next piece.
struct Answering<'a> {
    stream: UnixStream,
    patience: Duration,
    unwanted: &'a AtomicBool,
}

impl Read for Answering<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            go_on(self.unwanted)?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if began.elapsed() >= self.patience {
                return Err(nothing_within(self.patience));
            }
        }
    }
}

/// What a process has said, and whether that is all.
struct Answer<T> {
    lines: Vec<T>,
    end: io::Result<()>,
}

impl<T> Answer<T> {
    fn whole(self) -> io::Result<Vec<T>> {
        self.end.map(|()| self.lines)
    }
}

fn parsed<T: DeserializeOwned>(line: &str) -> io::Result<T> {
    if line.starts_with(Failed::BEGINS) {
        let Failed { failed } = serde_json::from_str(line)?;
        return Err(io::Error::new(io::ErrorKind::TimedOut, failed));
    }
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "its answer is cut off: has it ended?");
    serde_json::from_str(line).map_err(|error| if error.is_eof() { cut() } else { error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

    #[test]
    fn a_process_is_found_by_the_name_of_its_sockets() {
        let names = ["17.sock", "17-1.sock", "17-x.sock", "17", "x.sock", "-1.sock"];
        assert_eq!(names.map(pid), [Some(17), Some(17), None, None, None, None]);
    }

    /// As one that is stopped: nobody is accepted. A queue of length 0 takes one client, unix(7) and listen(2).
    #[test]
    fn one_that_does_not_answer_is_found_and_waited_for_no_longer_than_patience() {
        let path = std::env::temp_dir().join(format!("fourwave-busy-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let name = path.join("17.sock");
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&name).unwrap()).unwrap();
        listen(&listener, 0).unwrap();

        let process = Process::new(17, name.clone());
        let patience = Duration::from_millis(100);
        let refused = |process: &Process| {
            let error = process.ports(patience).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(error.to_string(), "nothing within 0.1 s: is it stopped, or do its loops stand still?");
        };
        // Who sets the flag is not waited for any longer.
        let unwanted = Arc::new(AtomicBool::new(false));
        let asking = process.clone().until(&unwanted);
        let asked = std::thread::spawn(move || asking.ports(Duration::from_secs(600)).unwrap_err().to_string());
        std::thread::sleep(patience);
        unwanted.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(asked.join().unwrap(), "its answer is not waited for any more");
        // The first waits for an answer; it stays in the queue when it has gone, and the next one does not get into it.
        refused(&process);
        refused(&process);
        let mut found = Vec::new();
        look(&Directory { path: path.clone(), ours: true }, &mut found).unwrap();
        assert_eq!(found, [process]);
        assert!(name.exists());
        fs::remove_dir_all(path).unwrap();
    }
}
