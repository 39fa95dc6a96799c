//! What `bench` reports: medians over the rounds, and how fourwave compares.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Config, Point};
use crate::measure::{Latency, Machine};
use crate::out;

/// One point of one round.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) latency: Latency,
    pub(super) round_trips: u64,
    /// Largest gap above a millisecond just before it, in nanoseconds.
    pub(super) jitter: u64,
}

/// The document of `bench --json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenchReport {
    machine: Machine,
    /// Complete ones.
    rounds: u32,
    pub(super) interrupted: bool,
    seconds_per_point: f64,
    message_bytes: u32,
    jitter: Jitter,
    rtt: Rtt,
    failures: Vec<Failure>,
}

/// A point of a round that could not be measured.
#[derive(Clone, Debug, Serialize)]
struct Failure {
    point: &'static str,
    /// From 1.
    round: u32,
    reason: String,
}

/// What the probes before the points saw.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Jitter {
    probes: u32,
    probes_with_gaps: u32,
    largest_gap_ns: u64,
}

/// All samples, in the order of the points.
#[derive(Clone, Debug)]
struct Rtt(Vec<(Point, Vec<Sample>)>);

#[derive(Clone, Debug, Serialize)]
struct Figures {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    /// The p50 of each round.
    p50_rounds_ns: Vec<u64>,
    round_trips: u64,
}

impl BenchReport {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            machine: Machine::this(),
            rounds: 0,
            interrupted: false,
            seconds_per_point: config.seconds.as_secs_f64(),
            message_bytes: config.message_bytes,
            jitter: Jitter::default(),
            rtt: Rtt(config.points.iter().map(|point| (*point, Vec::new())).collect()),
            failures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, point: Point, sample: Sample) {
        self.jitter.add(sample.jitter);
        let row = self.rtt.0.iter_mut().find(|row| row.0 == point);
        if let Some((_, samples)) = row {
            samples.push(sample);
        }
    }

    /// The median so far, for the live line.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    pub(super) fn so_far(&self, point: Point) -> String {
        let figures = self.rtt.figures(point);
        figures.map(|figures| format!("p50 so far {}", out::nanoseconds(figures.p50_ns as f64))).unwrap_or_default()
    }

    pub(super) fn failed(&mut self, point: Point, round: u32, reason: String) {
        self.failures.push(Failure { point: point.name(), round, reason });
    }

    /// A point that failed twice is not tried again: each failure may take its whole time limit.
    pub(super) fn given_up(&self, point: Point) -> bool {
        self.failures.iter().filter(|failure| failure.point == point.name()).count() >= 2
    }

    /// A round is complete if every point of it was measured.
    pub(super) fn end_round(&mut self, round: u32) {
        let every = |(_, samples): &(Point, Vec<Sample>)| samples.len() > self.rounds as usize;
        let failed = self.failures.iter().any(|failure| failure.round == round);
        if !failed && self.rtt.0.iter().all(every) {
            self.rounds += 1;
        }
    }

    /// An error if a point could not be measured; the reasons are in the report.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let Some(Failure { point, round, reason }) = self.failures.first() else { return Ok(()) };
        let others = match self.failures.len() {
            1 => String::new(),
            all => format!(" ({} more failed)", all - 1),
        };
        anyhow::bail!("cannot measure {point} in round {round}: {reason}{others}")
    }

    /// Stopped by the user.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }
}

impl Rtt {
    fn figures(&self, point: Point) -> Option<Figures> {
        let (_, samples) = self.0.iter().find(|row| row.0 == point)?;
        let of = |value: fn(&Latency) -> u64| median(samples.iter().map(|sample| value(&sample.latency)).collect());
        Some(Figures {
            p50_ns: of(|latency| latency.p50)?,
            p99_ns: of(|latency| latency.p99)?,
            p999_ns: of(|latency| latency.p999)?,
            p50_rounds_ns: samples.iter().map(|sample| sample.latency.p50).collect(),
            round_trips: samples.iter().map(|sample| sample.round_trips).sum(),
        })
    }

    /// Fourwave's median divided by the median of `point`.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    fn ratio(&self, point: Point) -> Option<f64> {
        let fourwave = self.figures(Point::Fourwave)?.p50_ns as f64;
        Some(fourwave / self.figures(point)?.p50_ns as f64)
    }
}

impl Serialize for Rtt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut ratios = BTreeMap::new();
        for (point, _) in &self.0 {
            if let Some(figures) = self.figures(*point) {
                map.serialize_entry(point.name(), &figures)?;
            }
            if let Some(ratio) = self.ratio(*point).filter(|_| *point != Point::Fourwave) {
                ratios.insert(point.name(), ratio);
            }
        }
        map.serialize_entry("ratio", &ratios)?;
        map.end()
    }
}

impl fmt::Display for BenchReport {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "round trip of {} bytes, median of {} round(s) of {} s; {}, {} cores, Linux {}",
            self.message_bytes,
            self.rounds,
            self.seconds_per_point,
            self.machine.cpu,
            self.machine.cores,
            self.machine.kernel
        )?;
        let compared = self.rtt.figures(Point::Fourwave).map_or("", |_| "    fourwave is");
        write!(f, "  {:<20}{:>10}{:>10}{:>10}{compared}", "", "p50", "p99", "p99.9")?;
        for (point, _) in &self.rtt.0 {
            let Some(figures) = self.rtt.figures(*point) else {
                write!(f, "\n  {:<20}{:>10}", point.title(), "not yet")?;
                continue;
            };
            let [p50, p99, p999] =
                [figures.p50_ns, figures.p99_ns, figures.p999_ns].map(|ns| out::nanoseconds(ns as f64));
            let ratio = self.rtt.ratio(*point).filter(|_| *point != Point::Fourwave);
            let ratio = ratio.map(|ratio| format!("{ratio:.2} × that")).unwrap_or_default();
            let row = format!("  {:<20}{p50:>10}{p99:>10}{p999:>10}    {ratio}", point.title());
            write!(f, "\n{}", row.trim_end())?;
        }
        if let Some(sentence) = self.jitter.sentence() {
            write!(f, "\n  {sentence}")?;
        }
        for Failure { point, round, reason } in &self.failures {
            write!(f, "\n  {point} failed in round {round}: {reason}")?;
        }
        if self.interrupted {
            write!(f, "\n  interrupted: this is what was measured so far")?;
        }
        Ok(())
    }
}

impl Jitter {
    /// What a probe has found: its largest gap above a millisecond.
    pub(super) fn add(&mut self, gap_ns: u64) {
        self.probes += 1;
        self.probes_with_gaps += u32::from(gap_ns > 0);
        self.largest_gap_ns = self.largest_gap_ns.max(gap_ns);
    }

    /// For people, if there is something to say.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    pub(super) fn sentence(&self) -> Option<String> {
        let Self { probes, probes_with_gaps, largest_gap_ns } = self;
        let gap = out::nanoseconds(*largest_gap_ns as f64);
        let sentence =
            format!("the machine is not quiet: it stalled before {probes_with_gaps} of {probes} points, up to {gap}");
        (*probes_with_gaps > 0).then_some(sentence)
    }
}

/// What half of the values are below of; between two of them, what `mean` makes of both.
pub(super) fn median_by<T: Copy>(
    mut values: Vec<T>,
    order: impl FnMut(&T, &T) -> Ordering,
    mean: impl FnOnce(T, T) -> T,
) -> Option<T> {
    values.sort_unstable_by(order);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(mean(values[middle - 1], values[middle])),
    }
}

fn median(values: Vec<u64>) -> Option<u64> {
    median_by(values, u64::cmp, u64::midpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report() -> BenchReport {
        BenchReport::new(&Config {
            rounds: 3,
            seconds: Duration::from_secs(1),
            pause: Duration::ZERO,
            message_bytes: 64,
            points: Point::ALL.to_vec(),
            json: true,
        })
    }

    fn sample(p50: u64) -> Sample {
        Sample {
            latency: Latency { p50, p99: p50 * 2, p999: p50 * 3, ..Latency::default() },
            round_trips: 10,
            jitter: 0,
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3, 1, 2]), Some(2));
        assert_eq!(median(vec![4, 1, 2, 8]), Some(3));
    }

    #[test]
    fn the_document_has_its_keys() {
        let mut report = report();
        for (point, p50) in Point::ALL.into_iter().zip([2500, 3000, 6000, 12_000]) {
            for noise in [0, 500, 100_000] {
                report.add(point, sample(p50 + noise));
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
    }

    #[test]
    fn half_a_measurement_can_be_shown() {
        let mut report = report();
        report.add(Point::Raw, sample(2500));
        let text = report.to_string();
        assert!(text.contains("2.50 µs") && text.contains("not yet"), "{text}");
    }

    #[test]
    fn a_failed_point_leaves_the_others() {
        let mut report = report();
        report.add(Point::Raw, sample(2500));
        report.failed(Point::Fourwave, 1, "the reason".into());
        report.end_round(1);
        assert!(!report.given_up(Point::Fourwave));
        report.failed(Point::Fourwave, 2, "the reason".into());
        assert!(report.given_up(Point::Fourwave));
        let document = serde_json::to_value(&report).unwrap();
        assert_eq!((&document["rounds"], &document["rtt"]["raw"]["p50_ns"]), (&0.into(), &2500.into()));
        assert_eq!(
            (&document["failures"][0]["point"], &document["failures"][1]["round"]),
            (&"fourwave".into(), &2.into())
        );
        assert!(report.to_string().contains("fourwave failed in round 1: the reason"));
        let said = report.verdict().unwrap_err().to_string();
        assert!(said.contains("fourwave") && said.contains("the reason (1 more failed)"), "{said}");
    }
}
