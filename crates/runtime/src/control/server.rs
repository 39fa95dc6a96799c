//! The serving end.

use super::{Count, DIRECTORY, Request, Row};
use crate::error::Error;
use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::bounded;
use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token, Waker};
use stack::{ConnectionInfo, Cursor};
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use xdp::Steering;

const CLIENTS: Token = Token(0);
const STOP: Token = Token(1);
/// A client that neither reads nor writes for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// A loop that has not answered by then is ending.
const ANSWER: Duration = Duration::from_secs(2);

/// What the socket tells of.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) shards: Vec<Mailbox>,
    pub(crate) steering: Arc<Mutex<Steering>>,
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
    pub(crate) fn open(source: Source) -> Result<Self, Error> {
        let path = PathBuf::from(DIRECTORY).join(format!("{}.sock", std::process::id()));
        let failed = || Error::system(format!("opening the control socket {}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY).map_err(failed())?;
        // A socket of this name is of a process that is dead: its number is ours now.
        let _ = fs::remove_file(&path);
        let mut listener = UnixListener::bind(&path).map_err(failed())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed())?;
        let poll = Poll::new().map_err(failed())?;
        poll.registry().register(&mut listener, CLIENTS, Interest::READABLE).map_err(failed())?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP).map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("fw-control".into())
            .spawn(move || serve(poll, &listener, &source, &stopped))
            .map_err(failed())?;
        Ok(Self { path, stop, waker, thread: Some(thread) })
    }
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

fn serve(mut poll: Poll, listener: &UnixListener, source: &Source, stop: &AtomicBool) {
    let mut events = Events::with_capacity(8);
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                if let Err(error) = answer(client.into(), source) {
                    tracing::debug!(%error, "control socket");
                }
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

/// Serves one client: a line in, lines out.
fn answer(client: UnixStream, source: &Source) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&client).take(4096)).read_line(&mut line)?;
    let mut out = BufWriter::new(&client);
    match serde_json::from_str(&line)? {
        Request::Connections => {
            for (shard, mailbox) in source.shards.iter().enumerate() {
                connections(shard, mailbox, &mut out)?;
            }
        }
        Request::Steering => {
            let steering = source.steering.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, value) in steering.verdicts().map_err(io::Error::other)? {
                put(&mut out, &Count { name: name.into(), value })?;
            }
        }
        Request::Counters => {
            for mailbox in &source.shards {
                counters(mailbox, &mut out)?;
            }
        }
    }
    out.flush()
}

fn put(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn connections(shard: usize, mailbox: &Mailbox, out: &mut impl Write) -> io::Result<()> {
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        let (reply, answer) = bounded(1);
        mailbox.send(Command::List(from, reply));
        let (rows, next) = answer.recv_timeout(ANSWER).map_err(io::Error::other)?;
        for info in &rows {
            put(out, &row(shard, info))?;
        }
        cursor = next;
    }
    Ok(())
}

fn row(shard: usize, info: &ConnectionInfo) -> Row {
    Row {
        local: info.local.to_string(),
        remote: info.remote.to_string(),
        state: info.state.name().into(),
        shard,
        send_queue_bytes: info.send_queue_bytes,
        receive_queue_bytes: info.receive_queue_bytes,
        rtt_us: info.srtt.map(|rtt| rtt.as_secs_f64() * 1e6),
        cwnd_bytes: info.cwnd_bytes,
        retransmits: info.retransmits,
        timer: info.timer.map(|(name, _)| name.into()),
        timer_ms: info.timer.map(|(_, left)| left.as_secs_f64() * 1e3),
        age_s: info.age.as_secs_f64(),
    }
}

fn counters(mailbox: &Mailbox, out: &mut impl Write) -> io::Result<()> {
    let (reply, answer) = bounded(1);
    mailbox.send(Command::Counters(reply));
    let (shard, port) = answer.recv_timeout(ANSWER).map_err(io::Error::other)?;
    for (name, value) in shard.iter() {
        put(out, &Count { name: name.into(), value })?;
    }
    if let serde_json::Value::Object(port) = serde_json::to_value(port)? {
        for (name, value) in port {
            put(out, &Count { name: format!("port_{name}"), value: value.as_u64().unwrap_or(0) })?;
        }
    }
    Ok(())
}
