//! The access log: a line for each connection, written by a thread of its own. A shard only puts a record into a bounded queue.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::queue::ArrayQueue;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::config::AccessLog;
use crate::counters::Counters;
use crate::live::Front;

/// Records that may wait to be written.
const WAITING: usize = 16_384;
/// The writer looks so often: shards need not wake it, which would be a system call of theirs.
const LOOK: Duration = Duration::from_millis(50);
/// How long the end of the proxy waits for what is written to: a disk, or a pipe that nobody reads.
const END: Duration = Duration::from_secs(3);

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
    /// Where lines go next, once so many that were queued before are where they belong. It is held for no longer than a record is
    /// taken out: whoever opens the log again does not wait for what is written to.
    next: Mutex<Option<(Place, usize)>>,
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
            AccessLog::File(path) => Self::File(BufWriter::new(open(path).map_err(|error| named(path, &error))?)),
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

/// Nobody waits for the reader of a named pipe to come; then, the writer's thread may wait for it as long as it likes.
fn open(path: &Path) -> io::Result<File> {
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().create(true).append(true).custom_flags(at_once).open(path);
    let file = opened.map_err(|error| match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_fifo() && error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            io::Error::new(error.kind(), "it is a pipe that nobody reads: start its reader first")
        }
        _ => error,
    })?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
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
    fn new(waiting: usize, on: bool) -> Self {
        let (on, stop) = (AtomicBool::new(on), AtomicBool::new(false));
        Self { queue: ArrayQueue::new(waiting), next: Mutex::new(None), on, stop }
    }

    /// Opens the log and starts its writer, in the calling thread's place of the world: before privileges are given up.
    pub(crate) fn start(to: &AccessLog, counters: Arc<Counters>) -> io::Result<(Arc<Self>, Writer)> {
        let place = Place::open(to)?;
        let log = Arc::new(Self::new(WAITING, *to != AccessLog::Off));
        let of_thread = Arc::clone(&log);
        let run = move || of_thread.run(place, &counters);
        let thread = std::thread::Builder::new().name("fw-access-log".into()).spawn(run)?;
        Ok((Arc::clone(&log), Writer { log, thread: Some(thread) }))
    }

    /// From now on lines go there; a file is opened again, so that one that was renamed is left behind. The writer turns to it when it
    /// gets there: opened twice meanwhile, what was queued before the second time is in the old place.
    pub(crate) fn reopen(&self, to: &AccessLog) -> io::Result<()> {
        let place = Place::open(to)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropped behind the lock.
        let _before = next.replace((place, self.queue.len()));
        drop(next);
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

    fn run(&self, mut place: Place, counters: &Counters) {
        // What is written to is open, and a reload opens it elsewhere.
        if let Err(error) = fourwave::drop_privileges() {
            tracing::warn!("{error}");
        }
        loop {
            // What was there before the flag was set is written.
            let over = self.stop.load(Ordering::Acquire);
            self.write_all(&mut place, counters);
            if over {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn write_all(&self, place: &mut Place, counters: &Counters) {
        let mut some = false;
        loop {
            let (next, record) = self.take();
            if let Some(next) = next {
                flush(place, counters);
                *place = next;
            }
            let Some(record) = record else { break };
            some = true;
            if place.write(&record).is_err() {
                counters.log_lines_dropped.one();
            }
        }
        if some {
            flush(place, counters);
        }
    }

    /// The next record, and where it goes from there on if that is another place than before.
    fn take(&self) -> (Option<Place>, Option<Record>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match &mut *next {
            Some((_, before)) if *before > 0 && !self.queue.is_empty() => {
                *before -= 1;
                None
            }
            next => next.take().map(|(place, _)| place),
        };
        (place, self.queue.pop())
    }
}

fn flush(place: &mut Place, counters: &Counters) {
    if place.flush().is_err() {
        counters.log_lines_dropped.one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.log.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() > END {
                let seconds = END.as_secs();
                tracing::warn!(
                    "the last lines of the access log are lost: they could not be written within {seconds} s"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = thread.join();
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
        fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("log"), folder.join("log.1"));
        let counters = Arc::new(Counters::default());
        let to = AccessLog::File(path.clone());
        let (log, writer) = Log::start(&to, Arc::clone(&counters)).unwrap();
        log.push(record(End::Done), &counters);
        while fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        fs::rename(&path, &old).unwrap();
        log.reopen(&to).unwrap();
        log.push(record(End::NoBackend), &counters);
        log.push(record(End::Drained), &counters);
        drop(writer);
        let ends = |path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(|line| line.rsplit_once('=').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((ends(&old), ends(&path)), (vec!["done".to_owned()], vec!["no-backend".into(), "drained".into()]));
        assert_eq!(counters.log_lines_dropped.get(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    /// A pipe that nobody reads takes 64 KiB, pipe(7): the writer waits there with most of the records behind it.
    #[test]
    fn nobody_waits_for_what_is_written_to() {
        const BEFORE: usize = 2000;
        let folder = std::env::temp_dir().join(format!("fourwave-access-log-slow-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (pipe, path) = (folder.join("pipe"), folder.join("log"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Open for both, so that neither end waits for the other.
        let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let counters = Arc::new(Counters::default());
        let (log, writer) = Log::start(&AccessLog::File(pipe), Arc::clone(&counters)).unwrap();
        (0..BEFORE).for_each(|_| log.push(record(End::Done), &counters));
        let full = log.queue.len();
        while log.queue.len() == full {
            std::thread::yield_now();
        }

        let (sent, done) = std::sync::mpsc::channel();
        let (again, to) = (Arc::clone(&log), AccessLog::File(path.clone()));
        std::thread::spawn(move || sent.send(again.reopen(&to)));
        done.recv_timeout(Duration::from_secs(20)).expect("a reload waits for a pipe").unwrap();
        log.push(record(End::NoBackend), &counters);
        let (sent, done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(writer);
            sent.send(())
        });
        done.recv_timeout(END + Duration::from_secs(20)).expect("the end waits for a pipe");

        let lines = io::BufRead::lines(io::BufReader::new(reader)).take(BEFORE);
        assert!(lines.into_iter().all(|line| line.unwrap().ends_with("end=done")), "they were there before");
        let began = Instant::now();
        while !fs::read_to_string(&path).unwrap().ends_with("end=no-backend\n") {
            assert!(began.elapsed() < Duration::from_secs(20), "what came then is not in the new file");
            std::thread::yield_now();
        }
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(counters.log_lines_dropped.get(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    /// fifo(7): a pipe can't be opened for writing before somebody reads it, and open(2) waits for that.
    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("fourwave-access-log-pipe-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (sent, done) = std::sync::mpsc::channel();
        let to = AccessLog::File(pipe.clone());
        let place = to.clone();
        std::thread::spawn(move || sent.send(Place::open(&place).map(drop)));
        let opened = done.recv_timeout(Duration::from_secs(20)).expect("the start waits for a reader");
        let said = opened.unwrap_err().to_string();
        let of_pipe = format!("the access log {} can't be opened: it is a pipe that nobody reads", pipe.display());
        assert!(said.starts_with(&of_pipe), "{said}");
        // With a reader the writer may wait: no line is lost for it.
        let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let Ok(Place::File(file)) = Place::open(&to) else { panic!("there is a reader") };
        assert!(!fcntl_getfl(file.get_ref()).unwrap().contains(OFlags::NONBLOCK));
        fs::remove_dir_all(&folder).unwrap();
    }

    /// What `drop_privileges` leaves, as the kernel tells it.
    #[test]
    fn the_writer_has_no_privileges() {
        let (_log, _writer) = Log::start(&AccessLog::Stderr, Arc::default()).unwrap();
        let began = Instant::now();
        let given_up = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            (field("Name:") == Some("fw-access-log")).then(|| {
                let none = |set: &str| set.trim_start_matches('0').is_empty();
                field("CapPrm:").is_some_and(none)
                    && field("CapEff:").is_some_and(none)
                    && field("NoNewPrivs:") == Some("1")
            })
        };
        loop {
            let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
            let writers: Vec<_> = tasks.filter_map(given_up).collect();
            if !writers.is_empty() && writers.iter().all(|given_up| *given_up) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{writers:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let counters = Counters::default();
        let log = Log::new(2, true);
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
