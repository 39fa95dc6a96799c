//! Writes down what is measured while it is measured: the live line, the interval log and the table of seconds. On a thread of
//! its own, so that no file and no terminal holds up a message.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError};

use super::clock::Watch;
use super::intervals::{Interval, Tap};
use super::results::Run;
use super::seconds::{Second, Seconds};
use super::turning::Generator;
use super::{Live, all, histogram};
use crate::args::UsageError;
use crate::out::{self, Progress};

const NS_PER_US: f64 = 1e3;
/// HdrHistogram's own logs give the highest value in milliseconds.
const NS_PER_MS: f64 = 1e6;
/// What HdrHistogram's readers take for the line of titles.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
const CSV_HEADER: &str = "time_s,count,rate_per_s,min_us,p50_us,p90_us,p99_us,p99.9_us,max_us,errors\n";

/// Where results go besides stdout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) hgrm: Option<PathBuf>,
    pub(crate) hlog: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    /// The page.
    pub(crate) report: Option<PathBuf>,
}

/// Opens a file that a flag names, empty.
pub(crate) fn create(flag: &str, path: Option<&Path>) -> Result<Option<File>, UsageError> {
    let open = |path: &Path| {
        File::create(path).map_err(|error| UsageError(format!("{flag} {}: can't be written: {error}", path.display())))
    };
    path.map(open).transpose()
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(crate) struct Observer {
    sender: Sender<Interval>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<(Vec<Seconds>, anyhow::Result<()>)>,
}

impl Observer {
    /// Opens the files, too. `title` is written into the log; `labels` are of each value of a sweep, for the live line: one if
    /// nothing is swept.
    pub(crate) fn start(
        run: &Run,
        title: String,
        labels: Vec<String>,
        files: &Files,
        live: Live,
    ) -> anyhow::Result<Self> {
        let hlog = create("--hlog", files.hlog.as_deref())?;
        let csv = create("--csv", files.csv.as_deref())?;
        let mut kept = Kept { watch: run.watch(), seconds: vec![Seconds::default(); labels.len()] };
        let open = Arc::<AtomicUsize>::default();
        let screen = Screen { live, progress: Progress::new(), labels, time: Duration::ZERO, open: Arc::clone(&open) };
        let (sender, receiver) = mpsc::channel();
        let write = move || {
            if let Err(error) = fourwave::drop_privileges() {
                tracing::warn!("{error}");
            }
            let written = write_down(&receiver, &title, hlog, csv, screen, &mut kept);
            (kept.seconds, written)
        };
        let thread = thread::Builder::new().name("observer".into()).spawn(write)?;
        Ok(Self { sender, open, thread })
    }

    /// For a shard, which counts its part of each second in it: of which value of a sweep (from 0), how many shards do so, when
    /// measuring began on the first of them, to be set then and shared by them, and how long is measured, if that is known.
    pub(crate) fn tap(
        &self,
        step: usize,
        shards: u16,
        began: &Arc<OnceLock<fourwave::Instant>>,
        time: Option<Duration>,
    ) -> Tap {
        Tap::new(step, shards, Arc::clone(began), time, histogram(), self.sender.clone())
    }

    /// For who opens and closes connections while it measures: how many are open, for the live line.
    pub(crate) fn open(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.open)
    }

    /// Waits until all is written, for which every [`Tap`] must be gone. The seconds of each value of a sweep, or of all, and what
    /// went wrong with the files.
    pub(crate) fn finish(self) -> (Vec<Seconds>, anyhow::Result<()>) {
        drop(self.sender);
        let panicked = |_| (Vec::new(), Err(anyhow::anyhow!("the thread that writes results panicked")));
        self.thread.join().unwrap_or_else(panicked)
    }
}

/// All shards' parts of an interval.
struct Sum {
    start: Instant,
    length: Duration,
    histogram: Histogram<u64>,
    errors: u64,
    lost: Generator,
    parts: u16,
    back: Sender<Histogram<u64>>,
}

type Hlog<'a> = IntervalLogWriter<'a, 'a, LineWriter<File>, V2DeflateSerializer>;

/// Writes until the senders are gone, and keeps what the document is to have whatever becomes of the files.
fn write_down(
    from: &Receiver<Interval>,
    title: &str,
    hlog: Option<File>,
    csv: Option<File>,
    mut screen: Screen,
    kept: &mut Kept,
) -> anyhow::Result<()> {
    let base = (Instant::now(), SystemTime::now());
    let mut serializer = V2DeflateSerializer::new();
    let mut file = hlog.map(LineWriter::new);
    let log = file.as_mut().map(|file| begin_log(file, &mut serializer, title, base.1)).transpose();
    let mut hlog = Sink::of("--hlog", log);
    let mut csv = Sink::of("--csv", Ok(csv));
    csv.write(|csv| csv.write_all(CSV_HEADER.as_bytes()));
    let mut sums = BTreeMap::new();
    let mut whole = |(step, index): (usize, u64), sum: &Sum| {
        kept.keep((step, index), sum, base);
        hlog.write(|log| log_interval(log, base.0, sum));
        csv.write(|csv| csv.write_all(row(index, sum).as_bytes()));
        screen.show(step, sum);
    };
    for interval in from {
        let shards = interval.shards;
        add(&mut sums, interval);
        while let Some(first) = sums.first_entry().filter(|first| first.get().parts >= shards) {
            let (key, sum) = first.remove_entry();
            whole(key, &sum);
            give_back(sum.histogram, &sum.back);
        }
    }
    sums.into_iter().for_each(|(key, sum)| whole(key, &sum));
    all([hlog.written, csv.written])
}

/// A file that is to be written, until it can't be: that is no reason to leave another one.
struct Sink<T> {
    flag: &'static str,
    to: Option<T>,
    written: anyhow::Result<()>,
}

impl<T> Sink<T> {
    fn of(flag: &'static str, begun: io::Result<Option<T>>) -> Self {
        let mut sink = Self { flag, to: None, written: Ok(()) };
        match begun {
            Ok(to) => sink.to = to,
            Err(error) => sink.fail(error),
        }
        sink
    }

    fn write(&mut self, write: impl FnOnce(&mut T) -> io::Result<()>) {
        if let Some(Err(error)) = self.to.as_mut().map(write) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.to = None;
        self.written = Err(error).with_context(|| format!("{}: can't be written", self.flag));
    }
}

/// For the document.
struct Kept {
    watch: Watch,
    /// Of each value of a sweep.
    seconds: Vec<Seconds>,
}

impl Kept {
    /// `base`: the same moment on two clocks.
    #[expect(clippy::cast_precision_loss, reason = "seconds below 2^53")]
    fn keep(&mut self, (step, index): (usize, u64), sum: &Sum, base: (Instant, SystemTime)) {
        self.watch.look();
        let Some(seconds) = self.seconds.get_mut(step) else { return };
        seconds.began(base.1 + sum.start.saturating_duration_since(base.0));
        // A second is one from when measuring began, but for the last.
        seconds.lost.add(&sum.lost);
        seconds.shards = seconds.shards.max(sum.parts);
        seconds.add(&Second::of(index as f64, sum.length, &sum.histogram, sum.errors));
    }
}

fn add(sums: &mut BTreeMap<(usize, u64), Sum>, interval: Interval) {
    let Interval { start, length, histogram, errors, lost, back, .. } = interval;
    let key = (interval.step, interval.index);
    match sums.get_mut(&key) {
        None => {
            sums.insert(key, Sum { start, length, histogram, errors, lost, parts: 1, back });
        }
        Some(sum) => {
            // Of the same bounds.
            let _ = sum.histogram.add(&histogram);
            (sum.length, sum.errors, sum.parts) = (sum.length.max(length), sum.errors + errors, sum.parts + 1);
            sum.lost.add(&lost);
            give_back(histogram, &back);
        }
    }
}

fn give_back(mut histogram: Histogram<u64>, back: &Sender<Histogram<u64>>) {
    histogram.reset();
    // It may be over.
    let _ = back.send(histogram);
}

/// Version 1.3 of the format: <https://github.com/HdrHistogram/HdrHistogram>, `HistogramLogWriter`.
fn begin_log<'a>(
    file: &'a mut LineWriter<File>,
    serializer: &'a mut V2DeflateSerializer,
    title: &str,
    start: SystemTime,
) -> io::Result<Hlog<'a>> {
    let mut legend = file.get_ref().try_clone()?;
    let log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("[{title}]"))
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(file, serializer)?;
    legend.write_all(LEGEND.as_bytes())?;
    Ok(log)
}

fn log_interval(log: &mut Hlog<'_>, base: Instant, sum: &Sum) -> io::Result<()> {
    let start = sum.start.saturating_duration_since(base);
    log.write_histogram(&sum.histogram, start, sum.length, None).map_err(|error| match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    })
}

/// A line of the table. What nothing was measured of is left empty.
#[expect(clippy::cast_precision_loss, reason = "microseconds to three decimals, of three figures")]
fn row(index: u64, sum: &Sum) -> String {
    let (histogram, us) = (&sum.histogram, |ns: u64| ns as f64 / NS_PER_US);
    let times = if histogram.is_empty() {
        ",,,,,".to_owned()
    } else {
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|q| histogram.value_at_quantile(q));
        let [p50, p90, p99, p999] = quantiles.map(us);
        let (min, max) = (us(histogram.min()), us(histogram.max()));
        format!("{min:.3},{p50:.3},{p90:.3},{p99:.3},{p999:.3},{max:.3}")
    };
    format!("{index},{},{:.0},{times},{}\n", histogram.len(), rate(sum), sum.errors)
}

/// Per second.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn rate(sum: &Sum) -> f64 {
    let seconds = sum.length.as_secs_f64();
    if seconds > 0.0 { sum.histogram.len() as f64 / seconds } else { 0.0 }
}

/// The live line.
struct Screen {
    live: Live,
    progress: Progress,
    /// Of each value of a sweep.
    labels: Vec<String>,
    time: Duration,
    /// Connections, if anybody counts them.
    open: Arc<AtomicUsize>,
}

impl Screen {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn show(&mut self, step: usize, sum: &Sum) {
        self.time += sum.length;
        let quantile = |q| out::nanoseconds(sum.histogram.value_at_quantile(q) as f64);
        let times = if sum.histogram.is_empty() {
            "no answer".to_owned()
        } else {
            format!("p50 {}  p99 {}  max {}", quantile(0.5), quantile(0.99), quantile(1.0))
        };
        let errors = if sum.errors > 0 { format!("  {} error(s)", sum.errors) } else { String::new() };
        let label = self.labels.get(step).map_or("", String::as_str);
        let open = match self.open.load(Ordering::Relaxed) {
            0 => String::new(),
            open => format!("  {open} open"),
        };
        let text = format!("{:4.0} s  {label}{:.0}/s  {times}{open}{errors}", self.time.as_secs_f64(), rate(sum));
        match self.live {
            Live::Off => {}
            Live::InPlace => self.progress.now(&text),
            Live::Lines => self.progress.done(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[u64], ms: u64) -> Sum {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 40, 3).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        let length = Duration::from_millis(ms);
        let lost = Generator { gaps_over_1ms: 1, largest_gap_ns: ms, gaps_ns: 7 };
        Sum { start: Instant::now(), length, histogram, errors: 3, lost, parts: 1, back: mpsc::channel().0 }
    }

    #[test]
    fn rows_are_as_the_header_says_and_a_second_without_answers_has_no_times() {
        // Values below 2048 ns are exact.
        assert_eq!(row(7, &sum(&[1000, 1500, 2000], 500)), "7,3,6,1.000,1.500,2.000,2.000,2.000,2.000,3\n");
        let empty = row(0, &sum(&[], 1000));
        assert_eq!(empty, "0,0,0,,,,,,,3\n");
        assert_eq!(empty.matches(',').count(), CSV_HEADER.matches(',').count());
    }

    #[test]
    fn parts_of_shards_make_one_interval_and_their_histograms_go_back() {
        let (back, given_back) = mpsc::channel();
        let mut sums = BTreeMap::new();
        for (value, ms) in [(1000, 900), (3, 950)] {
            let Sum { start, length, histogram, errors, lost, .. } = sum(&[value], ms);
            let back = back.clone();
            add(&mut sums, Interval { step: 0, index: 4, shards: 2, start, length, histogram, errors, lost, back });
        }
        let sum = &sums[&(0, 4)];
        assert_eq!((sum.parts, sum.errors, sum.length.as_millis(), sum.histogram.len()), (2, 6, 950, 2));
        assert_eq!((sum.histogram.min(), sum.histogram.max()), (3, 1000));
        assert_eq!(sum.lost, Generator { gaps_over_1ms: 2, largest_gap_ns: 950, gaps_ns: 14 });
        assert!(given_back.try_recv().unwrap().is_empty() && given_back.try_recv().is_err());
    }
}
