//! What the proxies gave: medians over the rounds, and fourwave's by HAProxy's.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::super::samples::{Sample, Samples, median};
use super::super::task::Task;
use super::{Between, Test};
use crate::out;

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
    pub(in crate::bench) const fn key(self) -> &'static str {
        match self {
            Self::Fourwave => "fourwave",
            Self::HaProxy => "haproxy",
            Self::Nobody => "direct",
        }
    }
}

impl Test {
    /// As a failure names it.
    pub(in crate::bench) const fn key(self) -> &'static str {
        match self {
            Self::Requests => "proxy requests",
            Self::Connects => "proxy connects",
            Self::Latency => "proxy latency",
        }
    }
}

/// What, fourwave's, HAProxy's, and their ratio.
pub(in crate::bench) type ProxyRow = (&'static str, [Option<String>; 2], Option<f64>);

/// The figures of all, of a run's samples.
pub(in crate::bench) struct Proxies<'a>(pub(in crate::bench) &'a Samples);

impl Proxies<'_> {
    pub(in crate::bench) fn rows(&self) -> Vec<ProxyRow> {
        let stacks = [Between::Fourwave, Between::HaProxy].map(|between| self.stack(between).unwrap_or_default());
        let ratio = self.ratio();
        let row = |what, value: &dyn Fn(&Stack) -> Option<String>, ratio: Option<f64>| {
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

    /// What else is to be said, for people.
    pub(in crate::bench) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(direct) = self.stack(Between::Nobody).and_then(|direct| direct.latency_ns) {
            notes.push(format!("a request without a proxy takes {}", out::nanoseconds(direct.p50)));
        }
        if let Some([Some(requests), Some(connects)]) = self.stack(Between::HaProxy).map(|haproxy| haproxy.cpu) {
            notes.push(format!(
                "HAProxy took {:.0} % of its core under requests and {:.0} % under connections",
                requests * 100.0,
                connects * 100.0
            ));
        }
        notes
    }

    fn samples(&self, between: Between, test: Test) -> &[Sample] {
        self.0.of(Task::Proxy(between, test))
    }

    fn stack(&self, between: Between) -> Option<Stack> {
        let rates = |test| self.samples(between, test).iter().filter_map(|sample| sample.per_s).collect::<Vec<_>>();
        let cpu = |test| self.samples(between, test).iter().filter_map(|sample| sample.cpu).collect();
        let (requests, connects) = (rates(Test::Requests), rates(Test::Connects));
        let own = self.samples(between, Test::Latency);
        let (p50s, p99s) = (times(own, p50), times(own, p99));
        if requests.is_empty() && connects.is_empty() && p50s.is_empty() {
            return None;
        }
        let added = |own: &[f64], value: fn(&crate::measure::Latency) -> u64| {
            let direct = times(self.samples(Between::Nobody, Test::Latency), value);
            median(own.iter().zip(direct).map(|(own, direct)| own - direct).collect())
        };
        let added = added(&p50s, p50).zip(added(&p99s, p99)).map(|(p50, p99)| Latency { p50, p99 });
        Some(Stack {
            requests_per_s: median(requests.clone()),
            connects_per_s: median(connects.clone()),
            added_latency_ns: added.filter(|_| between != Between::Nobody),
            latency_ns: median(p50s.clone()).zip(median(p99s)).map(|(p50, p99)| Latency { p50, p99 }),
            requests_per_s_rounds: requests,
            connects_per_s_rounds: connects,
            latency_p50_ns_rounds: p50s,
            cpu: [Test::Requests, Test::Connects].map(|test| median(cpu(test))),
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

impl Serialize for Proxies<'_> {
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

fn p50(latency: &crate::measure::Latency) -> u64 {
    latency.p50
}

fn p99(latency: &crate::measure::Latency) -> u64 {
    latency.p99
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
fn times(samples: &[Sample], value: fn(&crate::measure::Latency) -> u64) -> Vec<f64> {
    samples.iter().filter_map(|sample| sample.latency.as_ref()).map(|latency| value(latency) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(samples: &mut Samples, between: Between, test: Test, rate: f64, p50: u64) {
        let latency = crate::measure::Latency { p50, p99: 2 * p50, ..crate::measure::Latency::default() };
        let per_s = (test != Test::Latency).then_some(rate);
        let sample = Sample { latency: Some(latency), per_s, cpu: Some(0.5), ..Sample::default() };
        samples.add(Task::Proxy(between, test), sample);
    }

    fn samples(haproxy: bool) -> Samples {
        let mut samples = Samples::default();
        for noise in [0.0, 1000.0, 100.0] {
            for test in [Test::Requests, Test::Connects] {
                add(&mut samples, Between::Fourwave, test, 30_000.0 + noise, 0);
                if haproxy {
                    add(&mut samples, Between::HaProxy, test, 10_000.0 + noise, 0);
                }
            }
        }
        // A stall hits all of a round: the differences do not know of it.
        for stall in [0, 50_000, 0] {
            add(&mut samples, Between::Nobody, Test::Latency, 1.0, 5000 + stall);
            add(&mut samples, Between::Fourwave, Test::Latency, 1.0, 11_000 + stall);
            if haproxy {
                add(&mut samples, Between::HaProxy, Test::Latency, 1.0, 29_000 + stall);
            }
        }
        samples
    }

    #[test]
    fn the_document_has_its_keys() {
        let proxy = serde_json::to_value(Proxies(&samples(true))).unwrap();
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
    fn without_haproxy_there_is_nothing_to_compare_with() {
        let samples = samples(false);
        let proxy = serde_json::to_value(Proxies(&samples)).unwrap();
        assert!(proxy.get("haproxy").is_none() && proxy["ratio"]["requests_per_s"].is_null());
        let (_, values, ratio) = &Proxies(&samples).rows()[0];
        assert_eq!((values, ratio), (&[Some("30100".to_owned()), None], &None));
    }
}
