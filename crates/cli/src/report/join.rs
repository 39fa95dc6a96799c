//! Interval logs of several machines in one, interval by interval.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, LineWriter, Write};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};
use hdrhistogram::serialization::{V2DeflateSerializeError, V2DeflateSerializer};

use super::document::Document;
use super::hlog::{self, Interval, Reader};

/// HdrHistogram's own logs give the highest value in milliseconds.
const NS_PER_MS: f64 = 1e6;
/// What HdrHistogram's readers take for the line of titles.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// One of those that are joined.
pub(super) enum Source {
    Log(Box<Reader<BufReader<File>>>),
    /// Of a JSON document there is one histogram: one interval, as long as it ran.
    Whole(std::vec::IntoIter<Interval>),
}

impl Source {
    pub(super) fn of(document: &Document) -> Self {
        let interval = |step: &super::document::Measurement| {
            let (histogram, start_s) = (step.histogram.clone()?, step.started_unix_s.unwrap_or_default());
            Some(Interval { tag: None, start_s, length_s: step.duration_s, histogram })
        };
        let all: Vec<_> = document.steps.iter().filter_map(interval).collect();
        Self::Whole(all.into_iter())
    }

    fn next(&mut self) -> anyhow::Result<Option<Interval>> {
        match self {
            Self::Log(reader) => reader.next(),
            Self::Whole(intervals) => Ok(intervals.next()),
        }
    }
}

/// Start and length in seconds, and what was measured.
type Sum = (f64, f64, Option<Histogram<u64>>);

/// Writes them as one log. Intervals that begin in the same second, counted from the first of all, and are of a length become one.
/// What is kept is one interval of each source.
pub(super) fn join(mut sources: Vec<Source>, out: File) -> anyhow::Result<()> {
    let mut heads = sources.iter_mut().map(Source::next).collect::<anyhow::Result<Vec<_>>>()?;
    let begin = heads.iter().flatten().map(|interval| interval.start_s).fold(f64::INFINITY, f64::min);
    let begin = if begin.is_finite() { begin } else { 0.0 };
    let mut file = LineWriter::new(out);
    let mut serializer = V2DeflateSerializer::new();
    let since = SystemTime::UNIX_EPOCH.checked_add(seconds(begin)).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut legend = file.get_ref().try_clone()?;
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[fourwave report --merge: times in ns]")
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(since)
        .with_base_time(since)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut file, &mut serializer)
        .context("--hlog: can't be written")?;
    legend.write_all(LEGEND.as_bytes()).context("--hlog: can't be written")?;
    while let Some(key) = heads.iter().flatten().map(|interval| place(interval, begin)).min() {
        let mut sums: BTreeMap<Option<String>, Sum> = BTreeMap::new();
        for (head, source) in heads.iter_mut().zip(&mut sources) {
            let Some(interval) = head.take_if(|interval| place(interval, begin) == key) else { continue };
            let sum = sums.entry(interval.tag).or_insert((interval.start_s, 0.0, None));
            (sum.0, sum.1) = (sum.0.min(interval.start_s), sum.1.max(interval.length_s));
            hlog::add(&mut sum.2, &interval.histogram)?;
            *head = source.next()?;
        }
        for (tag, (start_s, length_s, histogram)) in sums {
            let Some(histogram) = histogram else { continue };
            let tag = tag.as_deref().and_then(Tag::new);
            let written = log.write_histogram(&histogram, seconds(start_s - begin), seconds(length_s), tag);
            written.map_err(io_error).context("--hlog: can't be written")?;
        }
    }
    drop(log);
    file.flush().context("--hlog: can't be written")
}

/// Which second it begins in, and how long it is, in milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is in order")]
fn place(interval: &Interval, begin: f64) -> (u64, u64) {
    ((interval.start_s - begin).round() as u64, (interval.length_s * 10.0).round() as u64)
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s.max(0.0)).unwrap_or_default()
}

fn io_error(error: IntervalLogWriterError<V2DeflateSerializeError>) -> io::Error {
    match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    }
}
