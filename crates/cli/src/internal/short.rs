//! Opens connections, exchanges 64 bytes on each, and closes them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{PROGRESS, Random};
use crate::ping::sentence;
use crate::say;

const MESSAGE_BYTES: usize = 64;
const LIMIT: Duration = Duration::from_secs(30);
/// The client closes first, so TIME-WAIT keeps its ports for a minute: with none left it waits for the first to be free.
const PORT_WAIT: Duration = Duration::from_secs(75);
/// More errors than these and there is no point in going on.
const TOO_MANY_ERRORS: u64 = 20;

/// How it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShortReport {
    /// Opened, exchanged and closed in order, both ends.
    pub(crate) connections: u64,
    pub(crate) errors: u64,
    pub(crate) duration_s: f64,
    pub(crate) per_s: f64,
}

struct Work {
    target: SocketAddr,
    count: u64,
    started: AtomicU64,
    finished: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<io::Error>>,
}

/// Runs `count` connections, `concurrency` at a time. An error if any of them failed.
pub(super) fn run(target: SocketAddr, count: u64, concurrency: u64) -> anyhow::Result<ShortReport> {
    let work = Work {
        target,
        count,
        started: AtomicU64::new(0),
        finished: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        first_error: Mutex::new(None),
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..concurrency.clamp(1, 256)).map(|_| scope.spawn(|| work.run())).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            say!("{PROGRESS}{} of {count} connections", work.finished.load(Ordering::Relaxed));
            thread::sleep(Duration::from_millis(100));
        }
    });
    let duration_s = started.elapsed().as_secs_f64();
    let connections = work.finished.load(Ordering::Relaxed);
    let errors = work.errors.load(Ordering::Relaxed);
    let first_error = work.first_error.into_inner().ok().flatten();
    if let Some(error) = first_error {
        let context = format!("{errors} of {} short connections failed", connections + errors);
        return Err(sentence(target, &error).context(context));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    let per_s = connections as f64 / duration_s;
    Ok(ShortReport { connections, errors, duration_s, per_s })
}

impl Work {
    fn run(&self) {
        loop {
            let index = self.started.fetch_add(1, Ordering::Relaxed);
            if index >= self.count || self.errors.load(Ordering::Relaxed) > TOO_MANY_ERRORS {
                return;
            }
            match one(self.target, index) {
                Ok(()) => {
                    self.finished.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut first) = self.first_error.lock() {
                        // A blocking socket says so when its time limit is over.
                        let timed_out = error.kind() == ErrorKind::WouldBlock;
                        first.get_or_insert(if timed_out { ErrorKind::TimedOut.into() } else { error });
                    }
                }
            }
        }
    }
}

/// One connection: closed by us first, and only then by the server, whose end of stream is waited for.
fn one(target: SocketAddr, index: u64) -> io::Result<()> {
    let mut stream = connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let (mut message, mut answer) = ([0; MESSAGE_BYTES], [0; MESSAGE_BYTES]);
    Random::new(index).fill(&mut message);
    stream.write_all(&message)?;
    stream.read_exact(&mut answer)?;
    stream.shutdown(Shutdown::Write)?;
    let rest = stream.read(&mut [0])?;
    if rest == 0 && answer == message { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let end = Instant::now() + PORT_WAIT;
    loop {
        match TcpStream::connect_timeout(&target, LIMIT) {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && Instant::now() < end => {
                thread::sleep(Duration::from_millis(200));
            }
            other => return other,
        }
    }
}
