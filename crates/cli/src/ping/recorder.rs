//! Collects round-trip times, whichever stack they come from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fourwave::Instant;
use hdrhistogram::Histogram;

use super::under_way::Message;
use super::{Config, Pace, PerConnection, Report};
use crate::measure::{HIGHEST_NS, Observer, Results, Sending, Tap, UnderWay, histogram};
use crate::stack;

/// The round trips of one measurement: skips the warm-up, and knows when it is enough.
#[derive(Debug)]
pub(crate) struct Recorder {
    histogram: Histogram<u64>,
    warmup_left: u64,
    count: Option<u64>,
    duration: Option<Duration>,
    errors: u64,
    /// What the recorders of the shards share, if there are several.
    total: Option<Arc<AtomicU64>>,
    /// When measuring began, for all shards.
    began: Arc<OnceLock<Instant>>,
    first: Option<Instant>,
    last: Option<Instant>,
    /// When an open loop's measuring begins and its schedule ends.
    schedule: Option<(Instant, Instant)>,
    /// When it was over, and that it was before there was enough.
    over: Option<Instant>,
    cut_short: bool,
    /// Round trips of each connection.
    per_connection: Vec<u64>,
    pub(super) sending: Sending,
    pub(super) under_way: UnderWay,
    tap: Option<Tap>,
    spins: bool,
    /// All of the report that is known from the start.
    report: Report,
}

/// Whether to send another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Send,
    Finished,
}

impl Recorder {
    /// Of one value of a sweep, or of the only one.
    pub(super) fn new(config: &Config, step: usize) -> Self {
        Self {
            histogram: histogram(),
            warmup_left: config.warmup,
            count: config.count,
            duration: config.duration,
            errors: 0,
            total: None,
            began: Arc::default(),
            first: None,
            last: None,
            schedule: None,
            over: None,
            cut_short: false,
            per_connection: vec![0; config.connections],
            sending: Sending::default(),
            under_way: UnderWay::default(),
            tap: None,
            spins: stack::spins(&config.at, config.kernel_wait),
            report: Report::empty(config, &config.steps[step]),
        }
    }

    /// Counts together with the recorders of other shards: the limit is for all of them.
    pub(super) fn count_with(&mut self, total: Arc<AtomicU64>) {
        self.total = Some(total);
    }

    /// Tells an observer of each second, if it is of the first value of a sweep; the others are by [`Recorder::follows`].
    pub(super) fn observed_by(
        &mut self,
        observer: &Observer,
        step: usize,
        shards: u16,
        began: &Arc<OnceLock<Instant>>,
    ) {
        self.began = Arc::clone(began);
        let tap = || observer.tap(step, shards, began, self.duration).of_a_loop_that_spins(self.spins);
        self.tap = (step == 0).then(tap);
    }

    /// Tells of its seconds whom the value before told of its own: it is over.
    pub(super) fn follows(&mut self, tap: Option<Tap>) {
        self.tap = tap.map(|tap| tap.next_step(Arc::clone(&self.began)));
    }

    /// The end of the warm-up of an open loop, and that of its schedule.
    pub(super) fn begins(&mut self, at: Instant, ends: Instant) {
        self.began.get_or_init(|| at);
        self.schedule = Some((at, ends));
    }

    /// Takes over what another has recorded.
    pub(super) fn merge(&mut self, other: Self) {
        // Of the same bounds.
        self.histogram.add(other.histogram).expect("equal bounds");
        self.errors += other.errors;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.schedule = self.schedule.or(other.schedule);
        self.over = self.over.max(other.over);
        self.cut_short |= other.cut_short;
        self.per_connection.extend(other.per_connection);
        self.sending.add(&other.sending);
        self.under_way.add(&other.under_way);
    }

    /// Nothing yet, and of no connection: to merge into.
    pub(super) fn sum(config: &Config, step: usize) -> Self {
        Self { per_connection: Vec::new(), ..Self::new(config, step) }
    }

    /// A message of a closed loop was sent and all of it came back as it was.
    pub(super) fn record(&mut self, connection: usize, sent: Instant, received: Instant) -> Next {
        if self.warmup_left > 0 {
            self.warmup_left -= 1;
            return Next::Send;
        }
        if let (Some(total), Some(count)) = (&self.total, self.count)
            && total.fetch_add(1, Ordering::Relaxed) >= count
        {
            return Next::Finished;
        }
        self.began.get_or_init(|| sent);
        self.add(connection, sent, received);
        let recorded = self.total.as_ref().map_or(self.histogram.len(), |total| total.load(Ordering::Relaxed));
        let first = self.first.unwrap_or(sent);
        let enough = self.count.is_some_and(|count| recorded >= count)
            || self.duration.is_some_and(|duration| received - first >= duration.into());
        if enough { Next::Finished } else { Next::Send }
    }

    /// A message of an open loop came back. Its time counts from when it should have been sent.
    pub(super) fn record_scheduled(&mut self, connection: usize, message: &Message, received: Instant) {
        if message.measured {
            self.add(connection, message.intended, received);
        }
    }

    fn add(&mut self, connection: usize, sent: Instant, received: Instant) {
        let ns = (received - sent).as_nanos().clamp(1, HIGHEST_NS);
        self.histogram.saturating_record(ns);
        self.first = Some(self.first.map_or(sent, |first| first.min(sent)));
        self.last = Some(received);
        if let Some(count) = self.per_connection.get_mut(connection) {
            *count += 1;
        }
        if let Some(tap) = &mut self.tap {
            tap.record(ns, received);
        }
    }

    /// A message was lost, came back changed, or its connection failed.
    pub(super) fn error(&mut self) {
        self.errors += 1;
        if let Some(tap) = &mut self.tap {
            tap.error();
        }
    }

    /// Ends a second that is over. Returns when the next one is, if anybody wants to know.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Instant> {
        let tap = self.tap.as_mut()?;
        tap.tick(now);
        tap.ends()
    }

    /// When the loop asks to be woken.
    pub(super) fn awake_at(&mut self, at: Instant) {
        if let Some(tap) = &mut self.tap {
            tap.awake_at(Some(at));
        }
    }

    /// Nothing more follows, but perhaps another value.
    pub(super) fn end(&mut self, now: Instant) -> Option<Tap> {
        self.over.get_or_insert(now);
        let mut tap = self.tap.take()?;
        tap.end(now);
        Some(tap)
    }

    /// It ends now, and there is not enough of it.
    pub(super) fn cut_short(&mut self, now: Instant) -> Option<Tap> {
        self.cut_short = true;
        self.end(now)
    }

    /// How long was measured: of an open loop to the end of its schedule at least, as each message stands for an interval of it;
    /// of a closed one to the last answer, or to where it was cut short without one.
    fn elapsed(&self) -> fourwave::Duration {
        let (from, to) = match self.schedule {
            Some((from, ends)) => (Some(from), Some(self.over.map_or(ends, |over| over.min(ends)))),
            None => (self.first, self.over.filter(|_| self.cut_short)),
        };
        from.zip(self.last.max(to)).map_or(fourwave::Duration::ZERO, |(from, to)| to.saturating_since(from))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    pub(super) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// What was measured so far.
    pub(super) fn report(self, results: Results) -> Report {
        let elapsed = self.elapsed();
        let open = matches!(self.report.pace, Pace::Open { .. });
        let report = Report {
            per_connection: PerConnection::of(&self.per_connection),
            sending: open.then_some(self.sending),
            under_way: self.under_way,
            results,
            ..self.report
        };
        report.filled(&self.histogram, self.errors, elapsed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use fourwave::Duration;

    fn recorder(flags: &str) -> Recorder {
        let line = format!("fourwave ping 10.77.0.1:7 --stack kernel {flags}");
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Ping(args) => Recorder::new(&args.resolve().unwrap(), 0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn counts_after_the_warmup() {
        let mut recorder = recorder("--warmup 2 --count 3");
        let now = Instant::from_nanos(5);
        let mut trip = |ns| recorder.record(0, now, now + Duration::from_nanos(ns));
        assert_eq!([trip(9_000), trip(9_000)], [Next::Send; 2]);
        assert_eq!([trip(100), trip(200)], [Next::Send; 2]);
        assert_eq!(trip(300), Next::Finished);
        let latency = recorder.report(Results::default()).latency_ns;
        assert_eq!((latency.min, latency.p50, latency.max), (100, 200, 300));
    }

    #[test]
    fn shards_count_to_one_limit() {
        let mut recorders = [recorder("--warmup 0 --count 3"), recorder("--warmup 0 --count 3")];
        let total = Arc::default();
        recorders.iter_mut().for_each(|recorder| recorder.count_with(Arc::clone(&total)));
        let now = Instant::from_nanos(5);
        let at = |ns| now + Duration::from_nanos(ns);
        let [one, two] = &mut recorders;
        assert_eq!([one.record(0, at(5), at(105)), two.record(0, at(0), at(200))], [Next::Send; 2]);
        assert_eq!([one.record(0, at(105), at(405)), two.record(0, at(200), at(600))], [Next::Finished; 2]);
        let mut all = Recorder { per_connection: Vec::new(), ..recorder("--count 3") };
        recorders.into_iter().for_each(|recorder| all.merge(recorder));
        let report = all.report(Results::default());
        assert_eq!((report.count, report.latency_ns.min, report.latency_ns.max), (3, 100, 300));
        // From the first message that was sent to the last that came back.
        assert!((report.duration_s - 405e-9).abs() < 1e-12);
        let fairness = report.per_connection.unwrap();
        assert_eq!((fairness.min, fairness.max), (1, 2));
    }

    #[test]
    fn ends_in_time() {
        let mut recorder = recorder("--warmup 0 --seconds 2");
        let start = Instant::from_nanos(5);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(recorder.record(0, at(0), at(1)), Next::Send);
        assert_eq!(recorder.record(0, at(1999), at(2000)), Next::Finished);
        assert!((recorder.report(Results::default()).duration_s - 2.0).abs() < 1e-9);
    }

    #[test]
    fn an_open_loop_counts_from_when_a_message_should_have_gone() {
        let mut recorder = recorder("--rate 1000 --count 3");
        let start = Instant::from_nanos(5);
        let at = |ms| start + Duration::from_millis(ms);
        let message = |ms, measured| Message { number: 1, bytes: 64, intended: at(ms), measured };
        recorder.record_scheduled(0, &message(0, false), at(50));
        // Three that were due within a stall came back together.
        (1..=3).for_each(|ms| recorder.record_scheduled(0, &message(ms, true), at(51)));
        let report = recorder.report(Results::default());
        let near = |ns: u64, ms: u64| ns.abs_diff(ms * 1_000_000) < ms * 1000;
        assert!(near(report.latency_ns.min, 48) && near(report.latency_ns.max, 50), "{report:?}");
        assert_eq!((report.count, report.mode.as_str()), (3, "open"));
    }

    /// Four messages a second apart stand for four seconds, whenever the last of them is answered; cut short, for what there was.
    #[test]
    fn an_open_loop_takes_as_long_as_its_schedule() {
        let start = Instant::from_nanos(5);
        let at = |ms| start + Duration::from_millis(ms);
        let open_loop = || recorder("--rate 1 --seconds 4 --warmup 0");
        let seconds = |answers: u64, last: u64, over: u64| {
            let mut recorder = open_loop();
            recorder.begins(start, at(4000));
            for number in 0..answers {
                let message = Message { number, bytes: 64, intended: at(number * 1000), measured: true };
                recorder.record_scheduled(
                    0,
                    &message,
                    at(if number + 1 == answers { last } else { number * 1000 + 1 }),
                );
            }
            recorder.end(at(over));
            let mut all = Recorder { per_connection: Vec::new(), ..open_loop() };
            all.merge(recorder);
            let report = all.report(Results::default());
            (report.duration_s, report.rate_per_s)
        };
        assert_eq!(seconds(4, 3001, 4000), (4.0, 1.0));
        assert_eq!(seconds(4, 5000, 5000), (5.0, 0.8), "the last came behind the end");
        assert_eq!(seconds(2, 1001, 2500), (2.5, 0.8), "it was asked to end");
    }

    /// A closed loop that gets no answer more has measured until it was asked to end.
    #[test]
    fn a_stall_that_is_cut_short_is_time_as_well() {
        let start = Instant::from_nanos(5);
        let at = |ms| start + Duration::from_millis(ms);
        let seconds = |cut_short: bool| {
            let mut recorder = recorder("--warmup 0 --seconds 9");
            recorder.record(0, at(0), at(500));
            let _ = if cut_short { recorder.cut_short(at(4000)) } else { recorder.end(at(4000)) };
            recorder.report(Results::default()).duration_s
        };
        assert_eq!((seconds(true), seconds(false)), (4.0, 0.5));
    }

    #[test]
    fn an_empty_report_has_all_its_keys() {
        let report = serde_json::to_value(recorder("--count 1").report(Results::default())).unwrap();
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
