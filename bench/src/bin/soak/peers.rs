//! Servers on the kernel's sockets: what the proxy has behind it, and what `fourwave load` is for.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use impairment::within;

/// How often somebody who waits looks whether the server has been ended.
const LOOK: Duration = Duration::from_millis(300);

/// What a server does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Echo,
    /// Sends it back, but for one byte in a million.
    EchoWrongly,
    Discard,
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    does: Does,
    ended: AtomicBool,
    /// How often it has let go of whom it serves.
    let_go: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    came: AtomicU64,
    went: AtomicU64,
    broken: AtomicU64,
}

/// What it has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) came: u64,
    pub(crate) went: u64,
    /// Connections that did not end in order.
    pub(crate) broken: u64,
}

impl Peer {
    /// Listens in a namespace.
    pub(crate) fn start(namespace: &str, at: SocketAddr, does: Does) -> anyhow::Result<Self> {
        let listener =
            within(namespace, || TcpListener::bind(at))?.with_context(|| format!("cannot listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let zero = || AtomicU64::new(0);
        let shared = Arc::new(Shared {
            does,
            ended: AtomicBool::new(false),
            let_go: zero(),
            accepted: zero(),
            open: zero(),
            came: zero(),
            went: zero(),
            broken: zero(),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Gives up the connections of a client that was killed: of those that were silent nobody would tell.
    pub(crate) fn let_go(&self) {
        self.shared.let_go.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that have not ended.
    pub(crate) fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { accepted, came, went, broken, .. } = &*self.shared;
        Counts { accepted: of(accepted), came: of(came), went: of(went), broken: of(broken) }
    }
}

impl Counts {
    /// What has come on top of `before`.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            came: self.came - before.came,
            went: self.went - before.went,
            broken: self.broken - before.broken,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        shared.open.fetch_add(1, Ordering::Relaxed);
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            if serve(&stream, &shared).is_err() {
                shared.broken.fetch_add(1, Ordering::Relaxed);
            }
            drop(stream);
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Until the peer closes.
fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let mut piece = [0; 32 << 10];
    let served = shared.let_go.load(Ordering::Relaxed);
    loop {
        let count = match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) => {
                waits(&error, shared, served)?;
                continue;
            }
        };
        let before = shared.came.fetch_add(count as u64, Ordering::Relaxed);
        let mut rest = match shared.does {
            Does::Discard => continue,
            Does::Echo => &piece[..count],
            Does::EchoWrongly => {
                if before / 1_000_000 != (before + count as u64) / 1_000_000 {
                    piece[count / 2] ^= 1;
                }
                &piece[..count]
            }
        };
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) => {
                    shared.went.fetch_add(count as u64, Ordering::Relaxed);
                    rest = &rest[count..];
                }
                Err(error) => waits(&error, shared, served)?,
            }
        }
    }
}

/// An error that is none, unless the server has been ended, or has let go.
fn waits(error: &std::io::Error, shared: &Shared, served: u64) -> std::io::Result<()> {
    let goes_on = !shared.ended.load(Ordering::Relaxed) && shared.let_go.load(Ordering::Relaxed) == served;
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted if goes_on => Ok(()),
        kind => Err(kind.into()),
    }
}
