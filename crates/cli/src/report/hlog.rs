//! HdrHistogram interval logs, ours and those of other tools: read line by line, however long they are.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use anyhow::{Context, bail};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogHistogram, IntervalLogIterator, LogEntry};
use serde_json::{Map, Value, json};

use super::document::{Document, Measurement, Times, shown};
use super::encoded;
use super::series::{Second, Series};

/// A line is a histogram of some kilobytes.
const MOST_LINE_BYTES: u64 = 16 << 20;
/// As many series in one log as a page can show.
const MOST_TAGS: usize = 16;
const YEAR_S: f64 = 365.0 * 86400.0;

/// What the values of a log are: it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// Nanoseconds: ours, and most
    #[default]
    Ns,
    /// Microseconds
    Us,
    /// Milliseconds
    Ms,
}

impl Unit {
    const fn ns(self) -> u64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1000,
            Self::Ms => 1_000_000,
        }
    }
}

/// One line of a log.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    pub(super) tag: Option<String>,
    /// Since 1970, if the log says when that was; else from any time.
    pub(super) start_s: f64,
    pub(super) length_s: f64,
    pub(super) histogram: Histogram<u64>,
}

/// A log as it is read.
pub(super) struct Reader<R> {
    name: String,
    from: R,
    unit: Unit,
    line: u64,
    bytes: Vec<u8>,
    /// What the header says.
    start_s: Option<f64>,
    base_s: Option<f64>,
    /// The last line was not all there.
    pub(super) cut_off: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(name: &str, from: R, unit: Unit) -> Self {
        let name = name.to_owned();
        Self { name, from, unit, line: 0, bytes: Vec::new(), start_s: None, base_s: None, cut_off: false }
    }

    /// The next; none at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Interval>> {
        loop {
            self.bytes.clear();
            self.line += 1;
            let mut limited = self.from.by_ref().take(MOST_LINE_BYTES);
            limited.read_until(b'\n', &mut self.bytes).with_context(|| format!("{}: can't be read", self.name))?;
            if self.bytes.is_empty() {
                return Ok(None);
            }
            let whole = self.bytes.ends_with(b"\n");
            if !whole {
                self.bytes.push(b'\n');
            }
            if self.bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let bytes = std::mem::take(&mut self.bytes);
            let read = self.entry(&bytes);
            self.bytes = bytes;
            match read {
                Ok(Some(interval)) => return Ok(Some(interval)),
                Ok(None) => {}
                // A run that was killed.
                Err(_) if !whole && self.line > 1 => {
                    self.cut_off = true;
                    return Ok(None);
                }
                Err(reason) => bail!("{}: line {} {reason}", self.name, self.line),
            }
        }
    }

    /// What a line says, if it is an interval.
    fn entry(&mut self, line: &[u8]) -> Result<Option<Interval>, String> {
        match IntervalLogIterator::new(line).next() {
            None => Ok(None),
            Some(Ok(LogEntry::StartTime(start))) => {
                self.start_s = Some(start.as_secs_f64());
                Ok(None)
            }
            Some(Ok(LogEntry::BaseTime(base))) => {
                self.base_s = Some(base.as_secs_f64());
                Ok(None)
            }
            Some(Ok(LogEntry::Interval(interval))) => self.interval(&interval).map(Some),
            Some(Err(_)) => Err("is no line of an HdrHistogram interval log".into()),
        }
    }

    fn interval(&self, interval: &IntervalLogHistogram<'_>) -> Result<Interval, String> {
        let stamp = interval.start_timestamp().as_secs_f64();
        // As HdrHistogram's HistogramLogReader takes it.
        let start_s = match (self.base_s, self.start_s) {
            (Some(base), _) => base + stamp,
            (None, Some(start)) if stamp < start - YEAR_S => start + stamp,
            (None, _) => stamp,
        };
        let histogram = encoded::decode(interval.encoded_histogram());
        let histogram = histogram.map_err(|reason| format!("has a histogram that {reason}"))?;
        let length_s = interval.duration().as_secs_f64();
        let tag = interval.tag().map(|tag| shown(tag.as_str()));
        Ok(Interval { tag, start_s, length_s, histogram: in_ns(histogram, self.unit) })
    }
}

/// The same in nanoseconds.
fn in_ns(histogram: Histogram<u64>, unit: Unit) -> Histogram<u64> {
    if unit == Unit::Ns {
        return histogram;
    }
    let mut scaled = empty(histogram.sigfig());
    for value in histogram.iter_recorded() {
        scaled.saturating_record_n(value.value_iterated_to().saturating_mul(unit.ns()), value.count_at_value());
    }
    scaled
}

/// Of up to 146 years, in nanoseconds; it grows as it is needed.
pub(super) fn empty(figures: u8) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, figures).expect("bounds of a constant");
    histogram.auto(true);
    histogram
}

/// Adds one of any bounds: what is not there yet takes its figures.
pub(super) fn add(sum: &mut Option<Histogram<u64>>, part: &Histogram<u64>) -> anyhow::Result<()> {
    let sum = sum.get_or_insert_with(|| {
        let mut same = Histogram::new_from(part);
        same.auto(true);
        same
    });
    sum.add(part).map_err(|error| anyhow::anyhow!("histograms can't be added: {error}"))
}

/// What is known of all intervals of a tag.
#[derive(Default)]
struct Sum {
    histogram: Option<Histogram<u64>>,
    first_s: f64,
    end_s: f64,
    seconds: Series,
}

/// A log as results: one for each tag.
pub(super) fn read<R: BufRead>(name: &str, mut log: Reader<R>) -> anyhow::Result<Vec<Document>> {
    let mut sums: BTreeMap<Option<String>, Sum> = BTreeMap::new();
    while let Some(Interval { tag, start_s, length_s, histogram }) = log.next()? {
        if sums.len() >= MOST_TAGS && !sums.contains_key(&tag) {
            bail!("{name} has more than {MOST_TAGS} tags");
        }
        let fresh = !sums.contains_key(&tag);
        let sum = sums.entry(tag).or_default();
        if fresh {
            (sum.first_s, sum.end_s) = (start_s, start_s + length_s);
        }
        sum.end_s = sum.end_s.max(start_s + length_s);
        sum.seconds.push(second(start_s - sum.first_s, length_s, &histogram));
        add(&mut sum.histogram, &histogram).with_context(|| name.to_owned())?;
    }
    if sums.is_empty() {
        bail!("{name} is an interval log without an interval");
    }
    let several = sums.len() > 1;
    let document = |(tag, sum): (Option<String>, Sum)| {
        let tag = tag.filter(|_| several);
        let name = tag.as_ref().map_or_else(|| name.to_owned(), |tag| format!("{name} {tag}"));
        Document { name: shown(&name), swept: None, steps: vec![sum.measurement(tag, log.cut_off)] }
    };
    Ok(sums.into_iter().map(document).collect())
}

fn second(at_s: f64, length_s: f64, histogram: &Histogram<u64>) -> Second {
    let times = Times::of(histogram).unwrap_or_default();
    let (at_s, count) = (at_s.max(0.0), histogram.len());
    let Times { p50, p90, p99, p999, max, .. } = times;
    Second { at_s, length_s, count, errors: 0, p50, p90, p99, p999, max }
}

impl Sum {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn measurement(mut self, tag: Option<String>, cut_off: bool) -> Measurement {
        self.seconds.finish();
        let count = self.histogram.as_ref().map_or(0, Histogram::len);
        let duration_s = self.end_s - self.first_s;
        let mut raw = Map::new();
        raw.extend(tag.map(|tag| ("tag".to_owned(), Value::from(tag))));
        for (key, value) in [("count", json!(count)), ("duration_s", json!(duration_s))] {
            raw.insert(key.to_owned(), value);
        }
        let note = "the log ends in the middle of a line: its last interval is left out";
        Measurement {
            raw,
            // Before 2001 it is no date.
            started_unix_s: Some(self.first_s).filter(|first| *first > 1e9),
            duration_s,
            count,
            rate_per_s: if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 },
            latency: self.histogram.as_ref().and_then(Times::of),
            histogram: self.histogram,
            seconds: self.seconds,
            warnings: cut_off.then(|| note.to_owned()).into_iter().collect(),
            ..Measurement::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    const HEAD: &str = "#[StartTime: 1700000000.500 (seconds since epoch), Tue Nov 14]\n\
        \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

    fn histogram(value: u64, count: u64) -> String {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1 << 40, 3).unwrap();
        histogram.record_n(value, count).unwrap();
        encoded::encode(&histogram).unwrap()
    }

    fn documents(text: &[u8], unit: Unit) -> anyhow::Result<Vec<Document>> {
        read("x.hlog", Reader::new("x.hlog", text, unit))
    }

    fn refusal(text: &[u8]) -> String {
        crate::out::sentence(&documents(text, Unit::Ns).unwrap_err())
    }

    /// 3 of 1000 ns and then 1 of 2000 ns, a second each; relative to the start, as HdrHistogram writes without a base time.
    #[test]
    fn a_log_of_another_tool_is_one_result() {
        let log =
            format!("{HEAD}0.100,1.000,0.001,{}\r\n1.100,1.000,0.002,{}\n", histogram(1000, 3), histogram(2000, 1));
        let all = documents(log.as_bytes(), Unit::Ns).unwrap();
        let step = &all[0].steps[0];
        assert_eq!((all.len(), step.count, step.duration_s, step.rate_per_s), (1, 4, 2.0, 2.0));
        assert_eq!(step.started_unix_s, Some(1_700_000_000.6));
        let seconds: Vec<_> = step.seconds.seconds().iter().map(|second| (second.count, second.max)).collect();
        assert_eq!(seconds, [(3, Some(1000)), (1, Some(2000))]);
        let times = documents(log.as_bytes(), Unit::Us).unwrap().remove(0).steps.remove(0).latency.unwrap();
        assert_eq!((times.p50.unwrap() / 1000, times.max.unwrap() / 1000), (1000, 2000));
    }

    #[test]
    fn tags_are_results_of_their_own() {
        let log = format!("Tag=A,0.0,1.0,1.0,{}\nTag=B,0.0,1.0,1.0,{}\n", histogram(5, 1), histogram(6, 2));
        let all = documents(log.as_bytes(), Unit::Ns).unwrap();
        let seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.steps[0].count)).collect();
        assert_eq!(seen, [("x.hlog A", 1), ("x.hlog B", 2)]);
        let many: String = (0..40).map(|n| format!("Tag=T{n},0.0,1.0,1.0,{}\n", histogram(5, 1))).collect();
        assert!(refusal(many.as_bytes()).contains("more than 16 tags"));
    }

    #[test]
    fn a_run_that_was_killed_has_all_but_its_last_interval() {
        let line = format!("0.0,1.0,1.0,{}\n", histogram(5, 7));
        let log = format!("{HEAD}{line}{}", &line[..30]);
        let all = documents(log.as_bytes(), Unit::Ns).unwrap();
        assert_eq!(all[0].steps[0].count, 7);
        assert!(all[0].steps[0].warnings[0].contains("ends in the middle of a line"));
        // Not so within the file.
        assert!(
            refusal(format!("{HEAD}{}\n{line}", &line[..30]).as_bytes())
                .contains("x.hlog: line 3 has a histogram that")
        );
    }

    #[test]
    fn garbage_is_one_sentence() {
        let good = histogram(5, 7);
        for text in [
            "hello\n".to_owned(),
            format!("-1.0,1.0,1.0,{good}\n"),
            format!("NaN,1.0,1.0,{good}\n"),
            format!("1.0,inf,1.0,{good}\n"),
            "0.0,1.0,1.0,\n".to_owned(),
            "0.0,1.0,1.0,AAAA\n".to_owned(),
            "\u{0}\u{1}\u{2}\n".to_owned(),
        ] {
            let said = refusal(text.as_bytes());
            assert!(said.starts_with("x.hlog: line 1 ") && !said.contains('\n'), "{said}");
        }
        assert!(refusal(HEAD.as_bytes()).contains("without an interval"));
        // Huge, and yet numbers.
        let log = format!("18446744073709551615.999999999999,1.0,1e300,{good}\n");
        assert_eq!(documents(log.as_bytes(), Unit::Ms).unwrap()[0].steps[0].count, 7);
    }

    /// What is kept does not grow with the log. A reader that makes its lines up takes the place of the file.
    #[test]
    fn a_long_log_takes_no_more_memory() {
        struct Lines(Vec<u8>, usize);
        impl Read for Lines {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                if self.1 == 0 {
                    return Ok(0);
                }
                self.1 -= 1;
                out[..self.0.len()].copy_from_slice(&self.0);
                Ok(self.0.len())
            }
        }
        let mut small = Histogram::<u64>::new_with_bounds(1, 2, 0).unwrap();
        small.record(1).unwrap();
        let line = format!("0.0,1.0,1.0,{}\n", encoded::encode(&small).unwrap()).into_bytes();
        let log = Reader::new("x.hlog", BufReader::new(Lines(line, 20_000)), Unit::Ns);
        let all = read("x.hlog", log).unwrap();
        let step = &all[0].steps[0];
        assert_eq!(step.count, 20_000);
        assert!(step.seconds.seconds().len() <= 4096, "{}", step.seconds.seconds().len());
    }
}
