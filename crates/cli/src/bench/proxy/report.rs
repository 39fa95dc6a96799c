//! What `bench --only proxy` reports: medians over the rounds, and fourwave's by HAProxy's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::super::report::{Jitter, median_by};
use super::{Between, Config, Sample, Test};
use crate::measure::Machine;
use crate::out;

/// The document of `bench --only proxy --json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProxyReport {
    machine: Machine,
    /// Complete ones.
    rounds: u32,
    pub(super) interrupted: bool,
    seconds_per_point: f64,
    message_bytes: u32,
    jitter: Jitter,
    /// `None`: it is not installed, and was left out.
    haproxy: Option<String>,
    proxy: Figures,
    failures: Vec<Failure>,
}

/// A point of a round that could not be measured.
#[derive(Clone, Debug, Serialize)]
struct Failure {
    stack: &'static str,
    test: &'static str,
    /// From 1.
    round: u32,
    reason: String,
}

/// All samples.
#[derive(Clone, Debug, Default)]
struct Figures(BTreeMap<(Between, Test), Vec<Sample>>);

/// Of one stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Stack {
    requests_per_s: Option<f64>,
    connects_per_s: Option<f64>,
    /// Of a request through it, less that of a request to a backend in its place; medians of the rounds' differences.
    #[serde(skip_serializing_if = "Option::is_none")]
    added_latency_ns: Option<Latency>,
    /// Of a request on one connection.
    latency_ns: Option<Latency>,
    /// Of each round.
    requests_per_s_rounds: Vec<f64>,
    connects_per_s_rounds: Vec<f64>,
    latency_p50_ns_rounds: Vec<f64>,
    /// The share of a core that it took under requests and under connections; what spins takes all.
    cpu: [Option<f64>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// Fourwave's by HAProxy's.
#[derive(Clone, Copy, Debug, Serialize)]
struct Ratio {
    requests_per_s: Option<f64>,
    connects_per_s: Option<f64>,
    added_latency_p50: Option<f64>,
    added_latency_p99: Option<f64>,
}

impl Between {
    const fn key(self) -> &'static str {
        match self {
            Self::Fourwave => "fourwave",
            Self::HaProxy => "haproxy",
            Self::Nobody => "direct",
        }
    }
}

impl Test {
    const fn key(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Connects => "connects",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl ProxyReport {
    pub(super) fn new(config: &Config, haproxy: Option<String>) -> Self {
        Self {
            machine: Machine::this(),
            rounds: 0,
            interrupted: false,
            seconds_per_point: config.seconds.as_secs_f64(),
            message_bytes: config.message_bytes,
            jitter: Jitter::default(),
            haproxy,
            proxy: Figures::default(),
            failures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, between: Between, test: Test, sample: Sample, jitter: u64) {
        self.jitter.add(jitter);
        self.proxy.0.entry((between, test)).or_default().push(sample);
    }

    pub(super) fn failed(&mut self, between: Between, test: Test, round: u32, reason: String) {
        self.failures.push(Failure { stack: between.key(), test: test.key(), round, reason });
    }

    /// A point that failed twice is not tried again.
    pub(super) fn given_up(&self, between: Between, test: Test) -> bool {
        let same = |failure: &&Failure| (failure.stack, failure.test) == (between.key(), test.key());
        self.failures.iter().filter(same).count() >= 2
    }

    pub(super) fn end_round(&mut self, round: u32) {
        self.rounds += u32::from(!self.failures.iter().any(|failure| failure.round == round));
    }

    /// An error if a point could not be measured; the reasons are in the report.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let Some(Failure { stack, test, round, reason }) = self.failures.first() else { return Ok(()) };
        anyhow::bail!("cannot measure {stack}, {test}, in round {round}: {reason}")
    }

    /// For `bench/results`.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# `fourwave proxy` beside HAProxy\n\n{}.\n\n", self.heading());
        text.push_str("| | fourwave | HAProxy | fourwave is |\n|---|--:|--:|--:|\n");
        for (what, values, ratio) in self.rows() {
            let [fourwave, haproxy] = values.map(|value| value.unwrap_or_else(|| "–".to_owned()));
            text.push_str(&format!("| {what} | {fourwave} | {haproxy} | {ratio} |\n"));
        }
        if let Some(direct) = self.proxy.stack(Between::Nobody).and_then(|direct| direct.latency_ns) {
            text.push_str(&format!("\nA request without a proxy takes {}.\n", out::nanoseconds(direct.p50)));
        }
        text.push_str(&format!("\n{}\n", self.notes().join("\n")));
        text
    }

    fn heading(&self) -> String {
        let Machine { cpu, cores, kernel } = &self.machine;
        format!(
            "{} bytes there and back through one core, medians of {} round(s) of {} s; {}; {cpu}, {cores} cores, Linux {kernel}",
            self.message_bytes,
            self.rounds,
            self.seconds_per_point,
            self.haproxy.as_deref().unwrap_or("no HAProxy here: it is left out"),
        )
    }

    fn rows(&self) -> Vec<(&'static str, [Option<String>; 2], String)> {
        let stacks = [Between::Fourwave, Between::HaProxy].map(|between| self.proxy.stack(between).unwrap_or_default());
        let ratio = self.proxy.ratio();
        let row = |what, value: &dyn Fn(&Stack) -> Option<String>, ratio: Option<f64>| {
            let ratio = ratio.map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default();
            (what, [value(&stacks[0]), value(&stacks[1])], ratio)
        };
        let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.0}"));
        let time = |time: Option<f64>| time.map(out::nanoseconds);
        vec![
            row("requests/s, 64 connections", &|s| rate(s.requests_per_s), ratio.requests_per_s),
            row("connections/s, one request each", &|s| rate(s.connects_per_s), ratio.connects_per_s),
            row("added latency, p50", &|s| time(s.added_latency_ns.map(|l| l.p50)), ratio.added_latency_p50),
            row("added latency, p99", &|s| time(s.added_latency_ns.map(|l| l.p99)), ratio.added_latency_p99),
        ]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some([Some(requests), Some(connects)]) = self.proxy.stack(Between::HaProxy).map(|haproxy| haproxy.cpu) {
            notes.push(format!(
                "HAProxy took {:.0} % of its core under requests and {:.0} % under connections.",
                requests * 100.0,
                connects * 100.0
            ));
        }
        notes.extend(self.jitter.sentence());
        let failure = |f: &Failure| format!("{}, {} failed in round {}: {}", f.stack, f.test, f.round, f.reason);
        notes.extend(self.failures.iter().map(failure));
        if self.interrupted {
            notes.push("Interrupted: this is what was measured so far.".to_owned());
        }
        notes
    }
}

impl fmt::Display for ProxyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading())?;
        write!(f, "  {:<34}{:>12}{:>12}    fourwave is", "", "fourwave", "HAProxy")?;
        for (what, values, ratio) in self.rows() {
            let [fourwave, haproxy] = values.map(|value| value.unwrap_or_else(|| "–".to_owned()));
            let row = format!("  {what:<34}{fourwave:>12}{haproxy:>12}    {ratio}");
            write!(f, "\n{}", row.trim_end())?;
        }
        self.notes().iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

impl Figures {
    fn stack(&self, between: Between) -> Option<Stack> {
        let samples = |test| self.0.get(&(between, test)).map(Vec::as_slice).unwrap_or_default();
        let all = |test, value: fn(&Sample) -> f64| samples(test).iter().map(value).collect::<Vec<_>>();
        let requests = all(Test::Requests, |sample| sample.through.requests_per_s);
        let connects = all(Test::Connects, |sample| sample.through.connects_per_s);
        let (p50, p99) = (all(Test::Latency, p50), all(Test::Latency, p99));
        if requests.is_empty() && connects.is_empty() && p50.is_empty() {
            return None;
        }
        let added = |own: &[f64], value: fn(&Sample) -> f64| {
            let direct = self.0.get(&(Between::Nobody, Test::Latency))?;
            median(own.iter().zip(direct).map(|(own, direct)| own - value(direct)).collect())
        };
        let added = added(&p50, self::p50).zip(added(&p99, self::p99)).map(|(p50, p99)| Latency { p50, p99 });
        Some(Stack {
            requests_per_s: median(requests.clone()),
            connects_per_s: median(connects.clone()),
            added_latency_ns: added.filter(|_| between != Between::Nobody),
            latency_ns: median(p50.clone()).zip(median(p99)).map(|(p50, p99)| Latency { p50, p99 }),
            requests_per_s_rounds: requests,
            connects_per_s_rounds: connects,
            latency_p50_ns_rounds: p50,
            cpu: [Test::Requests, Test::Connects].map(|test| median(all(test, |sample| sample.proxy_cpu))),
        })
    }

    fn ratio(&self) -> Ratio {
        let stacks = self.stack(Between::Fourwave).zip(self.stack(Between::HaProxy));
        let of = |value: fn(&Stack) -> Option<f64>| {
            let (fourwave, haproxy) = stacks.as_ref()?;
            Some(value(fourwave)? / value(haproxy)?)
        };
        Ratio {
            requests_per_s: of(|stack| stack.requests_per_s),
            connects_per_s: of(|stack| stack.connects_per_s),
            added_latency_p50: of(|stack| Some(stack.added_latency_ns?.p50)),
            added_latency_p99: of(|stack| Some(stack.added_latency_ns?.p99)),
        }
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for between in [Between::Fourwave, Between::HaProxy, Between::Nobody] {
            if let Some(stack) = self.stack(between) {
                map.serialize_entry(between.key(), &stack)?;
            }
        }
        map.serialize_entry("ratio", &self.ratio())?;
        map.end()
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
fn p50(sample: &Sample) -> f64 {
    sample.through.latency_ns.p50 as f64
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
fn p99(sample: &Sample) -> f64 {
    sample.through.latency_ns.p99 as f64
}

fn median(values: Vec<f64>) -> Option<f64> {
    median_by(values, f64::total_cmp, f64::midpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::ThroughReport;
    use std::time::Duration;

    fn sample(rate: f64, latency: u64) -> Sample {
        let latency_ns =
            crate::measure::Latency { p50: latency, p99: 2 * latency, ..crate::measure::Latency::default() };
        let through = ThroughReport {
            requests: 1,
            connects: 1,
            errors: 0,
            duration_s: 1.0,
            requests_per_s: rate,
            connects_per_s: rate,
            latency_ns,
        };
        Sample { through, proxy_cpu: 0.5 }
    }

    fn report(haproxy: bool) -> ProxyReport {
        let config = Config {
            rounds: 3,
            seconds: Duration::from_secs(1),
            pause: Duration::ZERO,
            message_bytes: 64,
            json: true,
            markdown: None,
        };
        let mut report = ProxyReport::new(&config, haproxy.then(|| "HAProxy version 2.6".to_owned()));
        for noise in [0.0, 1000.0, 100.0] {
            for test in [Test::Requests, Test::Connects] {
                report.add(Between::Fourwave, test, sample(30_000.0 + noise, 0), 0);
                if haproxy {
                    report.add(Between::HaProxy, test, sample(10_000.0 + noise, 0), 0);
                }
            }
        }
        // A stall hits all of a round: the differences do not know of it.
        for stall in [0, 50_000, 0] {
            report.add(Between::Nobody, Test::Latency, sample(1.0, 5000 + stall), 0);
            report.add(Between::Fourwave, Test::Latency, sample(1.0, 11_000 + stall), 0);
            if haproxy {
                report.add(Between::HaProxy, Test::Latency, sample(1.0, 29_000 + stall), 0);
            }
        }
        report
    }

    #[test]
    fn the_document_has_its_keys() {
        let document = serde_json::to_value(report(true)).unwrap();
        let proxy = &document["proxy"];
        assert_eq!(proxy["fourwave"]["requests_per_s"], 30_100.0);
        assert_eq!(proxy["haproxy"]["connects_per_s"], 10_100.0);
        assert_eq!(proxy["fourwave"]["added_latency_ns"]["p50"], 6000.0);
        assert_eq!(proxy["haproxy"]["added_latency_ns"]["p50"], 24_000.0);
        assert_eq!(proxy["haproxy"]["added_latency_ns"]["p99"], 48_000.0);
        assert_eq!(proxy["ratio"]["added_latency_p50"], 0.25);
        assert!((proxy["ratio"]["requests_per_s"].as_f64().unwrap() - 30_100.0 / 10_100.0).abs() < 1e-9);
        assert!(proxy["direct"].get("added_latency_ns").is_none());
    }

    #[test]
    fn without_haproxy_it_is_left_out_by_name() {
        let report = report(false);
        let document = serde_json::to_value(&report).unwrap();
        assert!(document["haproxy"].is_null() && document["proxy"].get("haproxy").is_none());
        assert!(document["proxy"]["ratio"]["requests_per_s"].is_null());
        for text in [report.to_string(), report.markdown()] {
            assert!(text.contains("no HAProxy here") && text.contains("30100"), "{text}");
        }
    }

    #[test]
    fn a_failed_point_is_told_of() {
        let mut report = report(true);
        report.failed(Between::HaProxy, Test::Connects, 1, "the reason".into());
        report.end_round(1);
        assert_eq!(report.rounds, 0);
        assert!(!report.given_up(Between::HaProxy, Test::Connects));
        assert!(report.verdict().unwrap_err().to_string().contains("haproxy, connects, in round 1: the reason"));
    }
}
