//! The serving end.

use super::client::sweep;
use super::clients::{ClientCounts, Clients};
use super::connect::is_listening;
use super::{Count, Failed, Held, Request, holds, list, place, trace};
use crate::capture;
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::neighbours::Mailbox;
use crate::privileges::Privileges;
use crate::totals::{by_name, sums};
use crate::worker::Command;
use crossbeam::channel::{Receiver, bounded};
use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token, Waker};
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xdp::Steering;

const CLIENTS: Token = Token(0);
const STOP: Token = Token(1);
/// How long a client may let itself be waited for, in all; then it is dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// Stacks of one process.
const MOST: u32 = 64;
/// Bytes of a request at most: a filter of as many instructions as there may be.
const MOST_REQUEST: u64 = 128 << 10;
/// A loop that has not answered by then stands still, or is ending.
const ANSWER: Duration = Duration::from_secs(2);

/// What the socket tells of.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) shards: Vec<Mailbox>,
    /// None without an interface.
    pub(crate) steering: Option<Arc<Mutex<Steering>>>,
    /// None without an interface: the kernel itself tells who listens.
    pub(crate) endpoints: Option<Endpoints>,
    /// None without an interface: there are no frames.
    pub(crate) interface: Option<capture::Interface>,
    pub(crate) clients: Arc<ClientCounts>,
}

/// An open control socket; its file is removed on drop.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl ControlSocket {
    pub(crate) fn open(source: Source, privileges: Privileges) -> Result<Self, Error> {
        let failed = || Error::system("opening a control socket");
        let directory = place::claim().map_err(failed())?;
        sweep(&directory);
        let (path, mut listener) = bind(&directory).map_err(failed())?;
        let poll = Poll::new().map_err(failed())?;
        poll.registry().register(&mut listener, CLIENTS, Interest::READABLE).map_err(failed())?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP).map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || match privileges.give_up() {
            Ok(()) => serve(poll, &listener, source, &stopped),
            Err(error) => tracing::error!(%error, "the control socket is not served"),
        };
        let thread = std::thread::Builder::new().name("fw-control".into()).spawn(run).map_err(failed())?;
        Ok(Self { path, stop, waker, thread: Some(thread) })
    }
}

/// Binds the first free name. The directory is closed to others, so that the socket is from the start.
fn bind(directory: &Path) -> io::Result<(PathBuf, UnixListener)> {
    // Between the look at a name and the socket there no other thread may take it: the names are this process's own.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    for number in 0..MOST {
        let name = if number == 0 { format!("{pid}.sock") } else { format!("{pid}-{number}.sock") };
        let path = directory.join(name);
        // One that answers is another stack's. One that does not is of a dead process, whose number is ours now.
        if is_listening(&path).is_ok() {
            continue;
        }
        let _ = fs::remove_file(&path);
        let bound = UnixListener::bind(&path)
            .and_then(|listener| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map(|()| listener));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let listener = bound.map_err(named)?;
        return Ok((path, listener));
    }
    Err(io::Error::other("this process has too many stacks"))
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn serve(mut poll: Poll, listener: &UnixListener, source: Source, stop: &AtomicBool) {
    let mut events = Events::with_capacity(8);
    let captures = Arc::new(Mutex::new(capture::Servers::default()));
    let source = Arc::new(source);
    let mut clients = Clients::new(Arc::clone(&source.clients));
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                let (source, captures) = (Arc::clone(&source), Arc::clone(&captures));
                clients.serve(client.into(), move |client| serve_one(client, &source, &captures));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll.poll(&mut events, None);
            }
            Err(error) => {
                tracing::debug!(%error, "control socket");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A client's stream, and how long it may still let itself be waited for.
struct Client {
    stream: UnixStream,
    left: Duration,
}

impl Client {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self { stream, left: PATIENCE })
    }

    fn wait<T>(&mut self, operation: impl FnOnce(&mut UnixStream, Option<Duration>) -> io::Result<T>) -> io::Result<T> {
        if self.left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let began = Instant::now();
        let result = operation(&mut self.stream, Some(self.left));
        self.left = self.left.saturating_sub(began.elapsed());
        result
    }
}

impl Read for Client {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wait(|stream, left| {
            stream.set_read_timeout(left)?;
            stream.read(bytes)
        })
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(|stream, left| {
            stream.set_write_timeout(left)?;
            stream.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first line a client sends.
fn request(client: &mut Client) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(client.take(MOST_REQUEST)).read_line(&mut line)?;
    Ok(line)
}

/// Serves one client: a line in, lines out. Whether it has said anything, and how it went.
fn serve_one(client: UnixStream, source: &Source, captures: &Mutex<capture::Servers>) -> (bool, io::Result<()>) {
    let asked = Client::new(client).and_then(|mut client| Ok((request(&mut client)?, client)));
    match asked {
        Ok((line, client)) => (!line.is_empty(), answer(client, &line, source, captures)),
        Err(error) => (true, Err(error)),
    }
}

fn answer(client: Client, line: &str, source: &Source, captures: &Mutex<capture::Servers>) -> io::Result<()> {
    let request = serde_json::from_str(line)?;
    if let Request::Capture(request) = &request {
        let mut captures = captures.lock().unwrap_or_else(PoisonError::into_inner);
        return captures.start(client.stream, request, source.interface.as_ref(), &source.shards);
    }
    let mut out = BufWriter::new(client);
    let said = say(request, source, &mut out);
    if let Err(error) = &said
        && error.get_ref().is_some_and(|why| why.is::<StandsStill>())
    {
        put(&mut out, &Failed { failed: error.to_string() })?;
    }
    out.flush().and(said)
}

fn say(request: Request, source: &Source, out: &mut impl Write) -> io::Result<()> {
    match request {
        Request::Capture(_) => {}
        Request::List(listed) => list::list(&source.shards, &listed, out)?,
        Request::End(listed, how) => list::end(&source.shards, &listed, how, out)?,
        Request::Trace(listed) => trace::trace(&source.shards, &listed, out)?,
        Request::Steering => {
            let Some(steering) = &source.steering else { return Ok(()) };
            let steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, value) in steering.verdicts().map_err(io::Error::other)? {
                put(out, &Count { name: name.into(), value, shards: Vec::new() })?;
            }
        }
        Request::Counters => {
            let each = source.shards.iter().map(counters).collect::<io::Result<_>>()?;
            for count in sums(each) {
                put(out, &count)?;
            }
        }
        Request::Ports => {
            let namespace = holds::namespace()?;
            for address in source.endpoints.iter().flat_map(Endpoints::held) {
                put(out, &Held { address, namespace })?;
            }
        }
    }
    Ok(())
}

pub(super) fn put(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A loop does not answer, and has not ended.
#[derive(Debug)]
struct StandsStill {
    shard: usize,
}

impl fmt::Display for StandsStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} has said nothing within {} s: its loop stands still", self.shard, ANSWER.as_secs())
    }
}

impl std::error::Error for StandsStill {}

/// Asks a loop, which may be held up by its application, and waits for the answer, if it still gives one.
pub(crate) fn ask<T>(mailbox: &Mailbox, question: Command, answer: &Receiver<T>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, StandsStill { shard: mailbox.shard });
    let ended = || io::Error::other("its loop has ended");
    let sent = mailbox.commands.send_timeout(question, ANSWER);
    let _ = mailbox.waker.wake();
    sent.map_err(|error| if error.is_timeout() { late() } else { ended() })?;
    answer.recv_timeout(ANSWER).map_err(|error| if error.is_timeout() { late() } else { ended() })
}

fn counters(mailbox: &Mailbox) -> io::Result<Vec<(String, u64)>> {
    let (reply, answer) = bounded(1);
    let (shard, port, handoff) = ask(mailbox, Command::Counters(reply), &answer)?;
    Ok(by_name(&shard, &port, &handoff))
}

#[cfg(test)]
mod tests {
    use super::super::{Filter, Process};
    use super::*;

    #[test]
    fn stacks_of_one_process_have_names_of_their_own() {
        let directory = std::env::temp_dir().join(format!("fourwave-control-{}", std::process::id()));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let pid = std::process::id();
        fs::create_dir(&directory).unwrap();
        let (first, listener) = bind(&directory).unwrap();
        let (second, _second) = bind(&directory).unwrap();
        assert_eq!((name(&first), name(&second)), (format!("{pid}.sock"), format!("{pid}-1.sock")));
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
        // The file of a stack that is dead.
        drop(listener);
        assert_eq!(name(&bind(&directory).unwrap().0), format!("{pid}.sock"));
        fs::remove_dir_all(&directory).unwrap();
    }

    /// Nobody takes, or removes, the name that another thread is about to listen on.
    #[test]
    fn stacks_that_start_at_once_have_names_of_their_own() {
        let directory = std::env::temp_dir().join(format!("fourwave-at-once-{}", std::process::id()));
        for _ in 0..20 {
            fs::create_dir(&directory).unwrap();
            let start = std::sync::Barrier::new(8);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let bind_at_once = || {
                    start.wait();
                    bind(&directory).unwrap()
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind_at_once)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(bound.iter().all(|(path, _)| UnixStream::connect(path).is_ok()));
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 8);
            fs::remove_dir_all(&directory).unwrap();
        }
    }

    /// Of two loops one turns and one does not: what the first says is told, and of the other that it stands still.
    #[test]
    fn a_loop_that_stands_still_is_named() {
        let directory = std::env::temp_dir().join(format!("fourwave-still-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join(format!("{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (poll, [(turning, commands), (still, _unread)]) = (Poll::new().unwrap(), [bounded(8), bounded(8)]);
        let waker = Arc::new(Waker::new(poll.registry(), STOP).unwrap());
        let mailbox = |(shard, commands)| Mailbox { shard, commands, waker: Arc::clone(&waker) };
        let source = Source {
            shards: [turning, still].into_iter().enumerate().map(mailbox).collect(),
            steering: None,
            endpoints: None,
            interface: None,
            clients: Arc::default(),
        };
        let ip = [10, 0, 0, 1].into();
        let address = stack::LocalAddress { ip, prefix_len: 24, owned: true };
        let config = stack::ShardConfig::new(stack::MacAddr([2, 0, 0, 0, 0, 1]), 1500, vec![address], [[7; 16]; 4]);
        let mut shard = stack::Shard::new(config, stack::Instant::ZERO).unwrap();
        shard.listen((ip, 80).into(), stack::ListenOptions::default()).unwrap();
        std::thread::spawn(move || {
            for command in commands {
                match command {
                    Command::List(piece) => piece.serve(stack::Instant::ZERO, &shard, false),
                    Command::Counters(reply) => reply.send(Default::default()).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        });
        std::thread::spawn(move || {
            for client in listener.incoming() {
                drop(serve_one(client.unwrap(), &source, &Mutex::default()));
            }
        });

        let process = Process::new(std::process::id(), path);
        let still = |result: io::Result<()>| {
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), "shard 1 has said nothing within 2 s: its loop stands still");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        };
        let listeners = Filter { states: vec!["LISTEN".into()], condition: Vec::new() };
        let mut rows = Vec::new();
        still(process.list(&listeners, |row| {
            rows.push((row.shard, row.state));
            true
        }));
        assert_eq!(rows, [(0, "LISTEN".into())]);
        still(process.counters().map(drop));
        fs::remove_dir_all(&directory).unwrap();
    }

    /// What was killed left its socket. A process that is there may be about to listen.
    #[test]
    fn sockets_of_the_dead_are_swept_away() {
        let directory = std::env::temp_dir().join(format!("fourwave-sweep-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let own = std::process::id();
        let path = |name: String| directory.join(name);
        let [gone, second, ours] =
            [format!("{}.sock", dead.id()), format!("{}-1.sock", dead.id()), format!("{own}-7.sock")].map(path);
        for path in [&gone, &second, &ours] {
            drop(UnixListener::bind(path).unwrap());
        }
        fs::write(directory.join("1.ports"), "").unwrap();
        let (listens, _listener) = bind(&directory).unwrap();
        sweep(&directory);
        assert!(!gone.exists() && !second.exists());
        assert!(ours.exists() && listens.exists() && directory.join("1.ports").exists());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_byte_now_and_then_does_not_hold_the_thread() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let slow = std::thread::spawn(move || {
            while near.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let began = Instant::now();
        let mut client = Client::new(far).unwrap();
        request(&mut client).unwrap_err();
        let elapsed = began.elapsed();
        // As many bytes as it would take otherwise are hours.
        assert!(elapsed >= PATIENCE && elapsed < PATIENCE + Duration::from_secs(60), "{elapsed:?}");
        drop(client);
        slow.join().unwrap();
    }
}
