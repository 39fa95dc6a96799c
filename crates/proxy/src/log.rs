//! The access log: a line for each connection, written by a thread of its own. A shard only puts a record into a bounded queue.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::queue::ArrayQueue;

use crate::config::AccessLog;
use crate::counters::Counters;
use crate::live::Front;

/// Records that may wait to be written.
const WAITING: usize = 16_384;
/// The writer looks so often: shards need not wake it, which would be a system call of theirs.
const LOOK: Duration = Duration::from_millis(50);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both directions, in order.
    Done,
    /// The client reset it.
    ClientReset,
    /// The client did not answer any more.
    ClientLost,
    /// The backend reset it.
    BackendReset,
    /// The backend did not answer any more.
    BackendLost,
    /// No backend could be connected to.
    NoBackend,
    /// Its listener is gone.
    NoListener,
    /// There was no room in a queue.
    QueueFull,
    /// It had waited too long in a queue.
    QueueTimeout,
    /// What it began with was no PROXY protocol header.
    HeaderMalformed,
    /// The PROXY protocol header did not come in time.
    HeaderTimeout,
    /// It was silent for too long.
    IdleTimeout,
    /// It was silent for too long after one direction had ended.
    HalfClosedTimeout,
    /// The proxy ended before it did.
    Drained,
}

impl End {
    /// Its name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ClientReset => "client-reset",
            Self::ClientLost => "client-lost",
            Self::BackendReset => "backend-reset",
            Self::BackendLost => "backend-lost",
            Self::NoBackend => "no-backend",
            Self::NoListener => "no-listener",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::HeaderMalformed => "header-malformed",
            Self::HeaderTimeout => "header-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::HalfClosedTimeout => "half-closed-timeout",
            Self::Drained => "drained",
        }
    }
}

/// What is told of a connection. Times are microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) ended_at: SystemTime,
    pub(crate) client: SocketAddr,
    /// The client that a PROXY protocol header has named.
    pub(crate) proxied: Option<SocketAddr>,
    pub(crate) front: Option<Arc<Front>>,
    pub(crate) target: Option<usize>,
    pub(crate) attempts: u32,
    pub(crate) bytes: [u64; 2],
    /// From the accept until the last attempt to connect to a backend began.
    pub(crate) waited_us: Option<u64>,
    /// What that attempt took.
    pub(crate) connect_us: Option<u64>,
    pub(crate) total_us: u64,
    pub(crate) end: End,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.ended_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(f, "{} client={}", Utc(since), self.client)?;
        if let Some(proxied) = self.proxied {
            write!(f, " proxied={proxied}")?;
        }
        match &self.front {
            Some(front) => write!(f, " listener={}", front.config.name)?,
            None => f.write_str(" listener=-")?,
        }
        match self.front.as_ref().zip(self.target).map(|(front, i)| (&front.pool, &front.pool.targets[i].config)) {
            Some((pool, backend)) => {
                write!(f, " backend={}/{} to={}", pool.config.name, backend.name, backend.address)?
            }
            None => f.write_str(" backend=- to=-")?,
        }
        let [up, down] = self.bytes;
        write!(f, " attempts={} bytes_to_backend={up} bytes_to_client={down}", self.attempts)?;
        for (name, us) in [("wait", self.waited_us), ("connect", self.connect_us), ("total", Some(self.total_us))] {
            match us {
                Some(us) => write!(f, " {name}_ms={}.{:03}", us / 1000, us % 1000)?,
                None => write!(f, " {name}_ms=-")?,
            }
        }
        write!(f, " end={}", self.end.name())
    }
}

/// A time since 1970 as in RFC 3339, with milliseconds.
struct Utc(Duration);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, ms) = (self.0.as_secs(), self.0.subsec_millis());
        let (days, second) = (secs / 86_400, secs % 86_400);
        // Days to a date of the Gregorian calendar: years begin in March, eras have 400 of them.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// The queue, and where its records go.
#[derive(Debug)]
pub(crate) struct Log {
    queue: ArrayQueue<Record>,
    place: Mutex<Place>,
    on: AtomicBool,
    stop: AtomicBool,
}

#[derive(Debug)]
enum Place {
    Off,
    Stderr,
    File(BufWriter<File>),
}

impl Place {
    fn open(to: &AccessLog) -> io::Result<Self> {
        Ok(match to {
            AccessLog::Off => Self::Off,
            AccessLog::Stderr => Self::Stderr,
            AccessLog::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Self::File(BufWriter::new(file.map_err(|error| named(path, &error))?))
            }
        })
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::Stderr => writeln!(io::stderr().lock(), "{record}"),
            Self::File(file) => writeln!(file, "{record}"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Self::File(file) = self { file.flush() } else { Ok(()) }
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the access log {} can't be opened: {error}", path.display()))
}

/// The writer's thread; ends, with everything written, when it is dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Opens the log and starts its writer, in the calling thread's place of the world: before privileges are given up.
    pub(crate) fn start(to: &AccessLog, counters: Arc<Counters>) -> io::Result<(Arc<Self>, Writer)> {
        let place = Mutex::new(Place::open(to)?);
        let on = AtomicBool::new(*to != AccessLog::Off);
        let log = Arc::new(Self { queue: ArrayQueue::new(WAITING), place, on, stop: AtomicBool::new(false) });
        let of_thread = Arc::clone(&log);
        let run = move || of_thread.run(&counters);
        let thread = std::thread::Builder::new().name("fw-access-log".into()).spawn(run)?;
        Ok((Arc::clone(&log), Writer { log, thread: Some(thread) }))
    }

    /// From now on lines go there; a file is opened again, so that one that was renamed is left behind.
    pub(crate) fn reopen(&self, to: &AccessLog) -> io::Result<()> {
        let place = Place::open(to)?;
        let mut now = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = now.flush();
        *now = place;
        self.on.store(*to != AccessLog::Off, Ordering::Relaxed);
        Ok(())
    }

    /// Whether records are wanted.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes a record, if there is room.
    pub(crate) fn push(&self, record: Record, counters: &Counters) {
        if self.queue.push(record).is_err() {
            counters.log_lines_dropped.one();
        }
    }

    fn run(&self, counters: &Counters) {
        loop {
            // What was there before the flag was set is written.
            let over = self.stop.load(Ordering::Acquire);
            self.write_all(counters);
            if over {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn write_all(&self, counters: &Counters) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut some, mut lost) = (false, 0);
        while let Some(record) = self.queue.pop() {
            some = true;
            lost += u64::from(place.write(&record).is_err());
        }
        if some && place.flush().is_err() {
            lost += 1;
        }
        counters.log_lines_dropped.add(lost);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.log.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(end: End) -> Record {
        Record {
            ended_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            client: "10.0.0.9:4321".parse().unwrap(),
            proxied: None,
            front: None,
            target: None,
            attempts: 2,
            bytes: [78, 1234],
            waited_us: Some(1500),
            connect_us: None,
            total_us: 12_034,
            end,
        }
    }

    /// The times are those of `date -u -d @…`.
    #[test]
    fn times_are_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc(Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn a_line_has_everything_in_its_place() {
        assert_eq!(
            record(End::BackendReset).to_string(),
            "2023-11-14T22:13:20.123Z client=10.0.0.9:4321 listener=- backend=- to=- attempts=2 bytes_to_backend=78 \
             bytes_to_client=1234 wait_ms=1.500 connect_ms=- total_ms=12.034 end=backend-reset"
        );
    }

    #[test]
    fn lines_are_written_in_order_and_a_renamed_file_is_left_behind() {
        let folder = std::env::temp_dir().join(format!("fourwave-access-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("log"), folder.join("log.1"));
        let counters = Arc::new(Counters::default());
        let to = AccessLog::File(path.clone());
        let (log, writer) = Log::start(&to, Arc::clone(&counters)).unwrap();
        log.push(record(End::Done), &counters);
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &old).unwrap();
        log.reopen(&to).unwrap();
        log.push(record(End::NoBackend), &counters);
        log.push(record(End::Drained), &counters);
        drop(writer);
        let ends = |path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| line.rsplit_once('=').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((ends(&old), ends(&path)), (vec!["done".to_owned()], vec!["no-backend".into(), "drained".into()]));
        assert_eq!(counters.log_lines_dropped.get(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let counters = Counters::default();
        let place = Mutex::new(Place::Off);
        let (on, stop) = (AtomicBool::new(true), AtomicBool::new(false));
        let log = Log { queue: ArrayQueue::new(2), place, on, stop };
        (0..5).for_each(|_| log.push(record(End::Done), &counters));
        assert_eq!(counters.log_lines_dropped.get(), 3);
    }

    #[test]
    fn a_file_that_cant_be_opened_is_named() {
        let to = AccessLog::File("/nowhere/at/all".into());
        let error = Log::start(&to, Arc::default()).unwrap_err().to_string();
        assert!(error.contains("the access log /nowhere/at/all can't be opened"), "{error}");
    }
}
