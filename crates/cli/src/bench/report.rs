//! What `bench` reports: medians over the rounds, and how fourwave compares.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::installed::Installed;
use super::overload::{self, Load, Overload};
use super::peers::Peer;
use super::proxy::Proxies;
use super::samples::{Figures, Sample, Samples};
use super::table::{self, in_short};
use super::task::{Part, Point, Task, Test};
use super::{Config, http};
use crate::measure::Machine;
use crate::out;

/// The document of `bench --json`.
#[derive(Clone, Debug)]
pub(crate) struct BenchReport {
    pub(super) machine: Machine,
    config: Config,
    /// All that was to be measured.
    tasks: Vec<Task>,
    /// Complete ones.
    rounds: u32,
    pub(super) interrupted: bool,
    jitter: Jitter,
    installed: Installed,
    pub(super) samples: Samples,
    failures: Vec<Failure>,
}

/// A point of a round that could not be measured.
#[derive(Clone, Debug, Serialize)]
struct Failure {
    test: &'static str,
    point: &'static str,
    /// From 1.
    round: u32,
    reason: String,
    #[serde(skip)]
    task: Task,
}

/// What the probes before the points saw.
#[derive(Clone, Debug, Default, Serialize)]
struct Jitter {
    probes: u32,
    probes_with_gaps: u32,
    largest_gap_ns: u64,
}

impl BenchReport {
    pub(super) fn new(config: &Config, groups: &[Vec<Task>], installed: Installed) -> Self {
        Self {
            machine: Machine::this(),
            config: config.clone(),
            tasks: groups.concat(),
            rounds: 0,
            interrupted: false,
            jitter: Jitter::default(),
            installed,
            samples: Samples::default(),
            failures: Vec::new(),
        }
    }

    pub(super) fn jitter(&mut self, gap_ns: u64) {
        self.jitter.add(gap_ns);
    }

    pub(super) fn add(&mut self, task: Task, sample: Sample) {
        if task == Task::Stack(Test::Rps, Point::Raw) && self.config.parts.contains(&Part::Cps) {
            self.samples.add(Task::Stack(Test::Cps, Point::Raw), sample.clone());
        }
        self.samples.add(task, sample);
    }

    /// The median so far, for the live line.
    pub(super) fn so_far(&self, task: Task) -> String {
        let figures = self.samples.figures(task);
        figures.map(|figures| format!("so far {}", in_short(&figures))).unwrap_or_default()
    }

    /// Fourwave's medians so far, for the line at the end of a round.
    pub(super) fn headline(&self) -> String {
        let of = |test: Test| {
            let figures = self.samples.figures(Task::Stack(test, Point::Fourwave))?;
            Some(format!("; {} {}", test.key(), in_short(&figures)))
        };
        Test::ALL.iter().filter_map(|test| of(*test)).collect()
    }

    pub(super) fn failed(&mut self, task: Task, round: u32, reason: String) {
        let (test, point) = task.names();
        self.failures.push(Failure { test, point, round, reason, task });
    }

    /// A point that failed twice is not tried again: each failure may take its whole time limit.
    pub(super) fn given_up(&self, task: Task) -> bool {
        self.failures.iter().filter(|failure| failure.task == task).count() >= 2
    }

    /// A round is complete if every point of it was measured.
    pub(super) fn end_round(&mut self, round: u32) {
        let every = |task: &Task| self.samples.of(*task).len() > self.rounds as usize;
        let failed = self.failures.iter().any(|failure| failure.round == round);
        if !failed && self.tasks.iter().all(every) {
            self.rounds += 1;
        }
    }

    /// An error if a point could not be measured; the reasons are in the report.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let Some(Failure { test, point, round, reason, .. }) = self.failures.first() else { return Ok(()) };
        let others = match self.failures.len() {
            1 => String::new(),
            all => format!(" ({} more failed)", all - 1),
        };
        anyhow::bail!("cannot measure {point}, {test}, in round {round}: {reason}{others}")
    }

    /// Stopped by the user.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// What measures the same again.
    pub(super) fn command(&self) -> String {
        let Config { parts, rounds, seconds, pause, message_bytes, points, .. } = &self.config;
        let mut command = "fourwave bench".to_owned();
        if parts[..] != Part::ALL {
            command += &format!(" --only {}", parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(","));
        }
        command += &format!(
            " --rounds {rounds} --seconds {} --pause-s {} --bytes {message_bytes}",
            seconds.as_secs_f64(),
            pause.as_secs_f64()
        );
        if points[..] != Point::ALL {
            command += &format!(" --points {}", points.iter().map(|point| point.name()).collect::<Vec<_>>().join(","));
        }
        command
    }

    /// How it was measured, for people.
    pub(super) fn heading(&self) -> String {
        let Machine { cpu, cores, kernel } = &self.machine;
        format!(
            "medians of {} interleaved round(s), {} s per point; {cpu}, {cores} cores, Linux {kernel}",
            self.rounds,
            self.config.seconds.as_secs_f64(),
        )
    }

    /// What else is to be said of it, for people.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.installed.skipped.clone();
        notes.extend(self.jitter.sentence());
        let failure = |f: &Failure| format!("{}, {}, failed in round {}: {}", f.point, f.test, f.round, f.reason);
        notes.extend(self.failures.iter().map(failure));
        if self.interrupted {
            notes.push("interrupted: this is what was measured so far".to_owned());
        }
        notes
    }

    /// The points of a test that were to be measured.
    pub(super) fn points(&self, test: Test) -> Vec<Point> {
        let wanted = |test| self.tasks.iter().any(|task| matches!(task, Task::Stack(of, _) if *of == test));
        if wanted(test) { self.config.points.clone() } else { Vec::new() }
    }

    /// Those that were to be asked.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let asked = |task: &Task| match task {
            Task::Peer(peer) => Some(*peer),
            _ => None,
        };
        self.tasks.iter().filter_map(asked).collect()
    }

    /// By what was measured, and who measured it.
    fn peer_figures(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, Figures>> {
        let mut figures: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for peer in self.peers() {
            let of_peer = self.samples.figures(Task::Peer(peer));
            figures.entry(peer.test()).or_default().extend(of_peer.map(|figures| (peer.key(), figures)));
        }
        figures
    }

    pub(super) fn has_overload(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task, Task::Overload(..)))
    }

    /// The heading of its table, for people.
    pub(super) fn overload_title(load: Load, overload: &Overload) -> String {
        let what = match load {
            Load::Requests => "HTTP requests",
            Load::Connects => "HTTP connections with one request each",
        };
        let most = overload.max_per_s.map(|most| format!("; the most is {most:.0}/s, in a closed loop"));
        format!("overload: {what} offered to fourwave, {} at a time{}", overload::CONNECTIONS, most.unwrap_or_default())
    }

    pub(super) fn haproxy(&self) -> Option<&str> {
        self.installed.haproxy.as_deref()
    }

    pub(super) fn has_proxies(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task, Task::Proxy(..)))
    }

    /// The heading of a test's table, for people.
    pub(super) fn title(&self, test: Test) -> String {
        let bytes = self.config.message_bytes;
        let connections = http::CONNECTIONS;
        match test {
            Test::Rtt => format!("round trip of {bytes} bytes"),
            Test::Rps => format!("HTTP requests/s, {connections} kept connections, body of {bytes} bytes"),
            Test::Cps => format!("HTTP connections/s, one request each, {connections} at a time, closed by the server"),
            Test::Bulk => "bulk, one connection, MTU 1500".to_owned(),
            Test::BulkJumbo => "bulk, one connection, MTU 9000".to_owned(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
pub(super) fn nanoseconds(ns: u64) -> String {
    out::nanoseconds(ns as f64)
}

/// A measurement of all stacks.
struct Stacks<'a>(&'a BenchReport, Test);

impl Serialize for Stacks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(report, test) = *self;
        let mut map = serializer.serialize_map(None)?;
        let mut ratios = BTreeMap::new();
        for point in report.points(test) {
            if let Some(figures) = report.samples.figures(Task::Stack(test, point)) {
                map.serialize_entry(point.name(), &figures)?;
            }
            if let Some(ratio) = report.samples.ratio(test, point).filter(|_| point != Point::Fourwave) {
                ratios.insert(point.name(), ratio);
            }
        }
        map.serialize_entry("ratio", &ratios)?;
        map.end()
    }
}

impl Serialize for BenchReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("machine", &self.machine)?;
        map.serialize_entry("version", env!("CARGO_PKG_VERSION"))?;
        map.serialize_entry("command", &self.command())?;
        map.serialize_entry("rounds", &self.rounds)?;
        map.serialize_entry("interrupted", &self.interrupted)?;
        map.serialize_entry("seconds_per_point", &self.config.seconds.as_secs_f64())?;
        map.serialize_entry("message_bytes", &self.config.message_bytes)?;
        map.serialize_entry("pause_s", &self.config.pause.as_secs_f64())?;
        map.serialize_entry("jitter", &self.jitter)?;
        for test in Test::ALL {
            if !self.points(test).is_empty() {
                map.serialize_entry(test.key(), &Stacks(self, test))?;
            }
        }
        if self.config.parts.contains(&Part::Peers) {
            map.serialize_entry("peers", &self.peer_figures())?;
        }
        if self.has_overload() {
            let of = |load: Load| (load.key(), Overload::of(&self.samples, load));
            map.serialize_entry("overload", &BTreeMap::from(Load::ALL.map(of)))?;
        }
        if self.has_proxies() {
            map.serialize_entry("haproxy", &self.installed.haproxy)?;
            map.serialize_entry("proxy", &Proxies(&self.samples))?;
        }
        map.serialize_entry("skipped", &self.installed.skipped)?;
        map.serialize_entry("failures", &self.failures)?;
        map.end()
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading())?;
        table::tables(self).iter().try_for_each(|table| write!(f, "\n{table}"))?;
        self.notes().iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

impl Jitter {
    /// What a probe has found: its largest gap above a millisecond.
    fn add(&mut self, gap_ns: u64) {
        self.probes += 1;
        self.probes_with_gaps += u32::from(gap_ns > 0);
        self.largest_gap_ns = self.largest_gap_ns.max(gap_ns);
    }

    /// For people, if there is something to say.
    fn sentence(&self) -> Option<String> {
        let Self { probes, probes_with_gaps, largest_gap_ns } = self;
        let gap = nanoseconds(*largest_gap_ns);
        let sentence =
            format!("the machine is not quiet: it stalled before {probes_with_gaps} of {probes} points, up to {gap}");
        (*probes_with_gaps > 0).then_some(sentence)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::task;
    use crate::measure::Latency;
    use std::time::Duration;

    fn config(parts: &[Part]) -> Config {
        Config {
            parts: parts.to_vec(),
            rounds: 3,
            seconds: Duration::from_secs(1),
            pause: Duration::ZERO,
            message_bytes: 64,
            points: Point::ALL.to_vec(),
            results: None,
            json: true,
        }
    }

    pub(in crate::bench) fn report(parts: &[Part]) -> BenchReport {
        let config = config(parts);
        let installed = Installed::default();
        BenchReport::new(&config, &task::groups(&config, &installed), installed)
    }

    fn sample(p50: u64) -> Sample {
        let latency = Latency { p50, p99: p50 * 2, p999: p50 * 3, ..Latency::default() };
        Sample { latency: Some(latency), count: 10, ..Sample::default() }
    }

    const RTT: fn(Point) -> Task = |point| Task::Stack(Test::Rtt, point);

    #[test]
    fn the_document_has_its_keys() {
        let mut report = report(&[Part::Rtt]);
        for (point, p50) in Point::ALL.into_iter().zip([2500, 3000, 6000, 12_000]) {
            for noise in [0, 500, 100_000] {
                report.add(RTT(point), sample(p50 + noise));
            }
        }
        let document = serde_json::to_value(&report).unwrap();
        assert!(document["machine"]["kernel"].is_string());
        assert!(document["rounds"].is_number());
        let rtt = &document["rtt"];
        for point in Point::ALL {
            for key in ["p50_ns", "p99_ns", "p999_ns"] {
                assert!(rtt[point.name()][key].is_number(), "{} {key}", point.name());
            }
        }
        assert_eq!(rtt["fourwave"]["p50_ns"], 3500);
        let ratio = |point: &str| rtt["ratio"][point].as_f64().unwrap();
        assert!((ratio("raw") - 3500.0 / 3000.0).abs() < 1e-9);
        assert!((ratio("kernel_spin") - 3500.0 / 6500.0).abs() < 1e-9);
        assert!(rtt["ratio"].get("fourwave").is_none());
        assert!(document.get("rps").is_none());
    }

    /// The floor of both is the rate of frames there and back, which is measured once.
    #[test]
    fn requests_and_connections_share_their_floor() {
        let mut report = report(&[Part::Rps, Part::Cps]);
        for (test, point, rate) in
            [(Test::Rps, Point::Raw, 1000.0), (Test::Rps, Point::Fourwave, 500.0), (Test::Cps, Point::Fourwave, 250.0)]
        {
            let task = Task::Stack(test, point);
            assert!(report.tasks.contains(&task));
            report.add(task, Sample { per_s: Some(rate), ..Sample::default() });
        }
        assert!(!report.tasks.contains(&Task::Stack(Test::Cps, Point::Raw)));
        let document = serde_json::to_value(&report).unwrap();
        assert_eq!(document["rps"]["ratio"]["raw"], 0.5);
        assert_eq!(
            (&document["cps"]["raw"]["per_s"], &document["cps"]["ratio"]["raw"]),
            (&1000.0.into(), &0.25.into())
        );
    }

    #[test]
    fn half_a_measurement_can_be_shown() {
        let mut report = report(&[Part::Rtt]);
        report.add(RTT(Point::Raw), sample(2500));
        let text = report.to_string();
        assert!(text.contains("2.50 µs") && text.contains("not yet"), "{text}");
    }

    #[test]
    fn a_failed_point_leaves_the_others() {
        let mut report = report(&[Part::Rtt]);
        report.add(RTT(Point::Raw), sample(2500));
        report.failed(RTT(Point::Fourwave), 1, "the reason".into());
        report.end_round(1);
        assert!(!report.given_up(RTT(Point::Fourwave)));
        report.failed(RTT(Point::Fourwave), 2, "the reason".into());
        assert!(report.given_up(RTT(Point::Fourwave)));
        let document = serde_json::to_value(&report).unwrap();
        assert_eq!((&document["rounds"], &document["rtt"]["raw"]["p50_ns"]), (&0.into(), &2500.into()));
        assert_eq!(
            (&document["failures"][0]["point"], &document["failures"][1]["round"]),
            (&"fourwave".into(), &2.into())
        );
        assert!(report.to_string().contains("fourwave, rtt, failed in round 1: the reason"));
        let said = report.verdict().unwrap_err().to_string();
        assert!(said.contains("fourwave") && said.contains("the reason (1 more failed)"), "{said}");
    }
}
