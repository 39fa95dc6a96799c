//! Collects round-trip times, whichever stack they come from.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Config, Report};
use crate::out::{self, Progress};

const HIGHEST_NS: u64 = 60_000_000_000;
const LIVE_EVERY: Duration = Duration::from_secs(1);

/// The round trips of one measurement: skips the warm-up, knows when it is enough, shows a live line on a terminal.
#[derive(Debug)]
pub(crate) struct Recorder {
    histogram: Histogram<u64>,
    warmup_left: u64,
    count: Option<u64>,
    duration: Option<Duration>,
    errors: u64,
    /// Round trips of all shards, if there are several.
    total: Option<Arc<AtomicU64>>,
    first: Option<Instant>,
    last: Option<Instant>,
    live: Option<Live>,
    /// All of the report that is known from the start.
    report: Report,
}

#[derive(Debug)]
struct Live {
    progress: Progress,
    next: Instant,
    shown_count: u64,
}

/// Whether to send another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Send,
    Finished,
}

impl Recorder {
    pub(crate) fn new(config: &Config) -> Self {
        let live = std::io::stderr().is_terminal().then(|| Live {
            progress: Progress::new(),
            next: Instant::now() + LIVE_EVERY,
            shown_count: 0,
        });
        Self {
            // The bounds are constants that satisfy it.
            histogram: Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid bounds"),
            warmup_left: config.warmup,
            count: config.count,
            duration: config.duration,
            errors: 0,
            total: None,
            first: None,
            last: None,
            live,
            report: Report::empty(config),
        }
    }

    /// Counts together with the recorders of other shards: the limit is for all of them. One of them shows the live line, for
    /// its own part.
    pub(crate) fn count_with(&mut self, total: Arc<AtomicU64>, shows: bool) {
        self.total = Some(total);
        self.live = self.live.take().filter(|_| shows);
    }

    /// Takes over what another has recorded.
    pub(crate) fn merge(&mut self, other: Self) {
        // Of the same bounds.
        self.histogram.add(other.histogram).expect("equal bounds");
        self.errors += other.errors;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
    }

    /// A message was sent and all of it came back as it was.
    pub(crate) fn record(&mut self, sent: Instant, received: Instant) -> Next {
        if self.warmup_left > 0 {
            self.warmup_left -= 1;
            return Next::Send;
        }
        if let (Some(total), Some(count)) = (&self.total, self.count)
            && total.fetch_add(1, Ordering::Relaxed) >= count
        {
            return Next::Finished;
        }
        let rtt = received.saturating_duration_since(sent).as_nanos();
        self.histogram.saturating_record(u64::try_from(rtt).unwrap_or(HIGHEST_NS).max(1));
        let first = *self.first.get_or_insert(sent);
        self.last = Some(received);
        if let Some(live) = &mut self.live {
            live.show(received, &self.histogram);
        }
        let recorded = self.total.as_ref().map_or(self.histogram.len(), |total| total.load(Ordering::Relaxed));
        let enough = self.count.is_some_and(|count| recorded >= count)
            || self.duration.is_some_and(|duration| received.saturating_duration_since(first) >= duration);
        if enough { Next::Finished } else { Next::Send }
    }

    /// A message was lost, came back changed, or its connection failed.
    pub(crate) fn error(&mut self) {
        self.errors += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// What was measured so far.
    pub(crate) fn report(self) -> Report {
        let elapsed = match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        };
        self.report.filled(&self.histogram, self.errors, elapsed)
    }
}

impl Live {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn show(&mut self, now: Instant, histogram: &Histogram<u64>) {
        if now < self.next {
            return;
        }
        let quantile = |q| out::nanoseconds(histogram.value_at_quantile(q) as f64);
        let text = format!(
            "{}/s  p50 {}  p99 {}  max {}",
            histogram.len() - self.shown_count,
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        );
        self.progress.now(&text);
        self.shown_count = histogram.len();
        self.next = now + LIVE_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn recorder(flags: &str) -> Recorder {
        let line = format!("fourwave ping 10.77.0.1:7 --stack kernel {flags}");
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Ping(args) => Recorder::new(&args.resolve().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn counts_after_the_warmup() {
        let mut recorder = recorder("--warmup 2 --count 3");
        let now = Instant::now();
        let mut trip = |ns| recorder.record(now, now + Duration::from_nanos(ns));
        assert_eq!([trip(9_000), trip(9_000)], [Next::Send; 2]);
        assert_eq!([trip(100), trip(200)], [Next::Send; 2]);
        assert_eq!(trip(300), Next::Finished);
        let latency = recorder.report().latency_ns;
        assert_eq!((latency.min, latency.p50, latency.max), (100, 200, 300));
    }

    #[test]
    fn shards_count_to_one_limit() {
        let mut recorders = [recorder("--warmup 0 --count 3"), recorder("--warmup 0 --count 3")];
        let total = Arc::default();
        recorders.iter_mut().for_each(|recorder| recorder.count_with(Arc::clone(&total), false));
        let now = Instant::now();
        let at = |ns| now + Duration::from_nanos(ns);
        let [one, two] = &mut recorders;
        assert_eq!([one.record(at(5), at(105)), two.record(at(0), at(200))], [Next::Send; 2]);
        assert_eq!([one.record(at(105), at(405)), two.record(at(200), at(600))], [Next::Finished; 2]);
        let mut all = recorder("--count 3");
        recorders.into_iter().for_each(|recorder| all.merge(recorder));
        let report = all.report();
        assert_eq!((report.count, report.latency_ns.min, report.latency_ns.max), (3, 100, 300));
        // From the first message that was sent to the last that came back.
        assert!((report.duration_s - 405e-9).abs() < 1e-12);
    }

    #[test]
    fn ends_in_time() {
        let mut recorder = recorder("--warmup 0 --seconds 2");
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(recorder.record(at(0), at(1)), Next::Send);
        assert_eq!(recorder.record(at(1999), at(2000)), Next::Finished);
        assert!((recorder.report().duration_s - 2.0).abs() < 1e-9);
    }

    #[test]
    fn an_empty_report_has_all_its_keys() {
        let report = serde_json::to_value(recorder("--count 1").report()).unwrap();
        let keys = [
            "stack",
            "mode",
            "connections",
            "message_bytes",
            "count",
            "errors",
            "duration_s",
            "latency_ns",
            "rate_per_s",
        ];
        for key in keys {
            assert!(report.get(key).is_some(), "{key}");
        }
        for key in ["min", "p50", "p90", "p99", "p999", "p9999", "max", "mean"] {
            assert_eq!(report["latency_ns"][key].as_f64(), Some(0.0), "{key}");
        }
    }
}
