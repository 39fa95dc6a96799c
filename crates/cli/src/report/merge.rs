//! Several results in one, as of one run: those of several machines that ran at the same time, or of one that ran again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::document::{COUNTS, Document, Measurement, Times};
use super::series::{Second, Series};
use super::{encoded, hlog};

/// Of the shortest run: with less in common, results are taken for runs one after the other.
const SAME_TIME: f64 = 0.5;
/// Of the shortest run: with less in common, it is said.
const ALL_OF_IT: f64 = 0.9;
/// Two logs of one run are not summed by chance.
const MOST_ALIKE: u64 = 100;

/// Adds them up.
pub(super) fn merge(documents: &[Document]) -> anyhow::Result<Document> {
    let Some(first) = documents.first() else { bail!("there is nothing to merge") };
    if let [one] = documents {
        return Ok(one.clone());
    }
    comparable(documents)?;
    let step = |index: usize| {
        let parts: Vec<_> = documents.iter().map(|document| (document.name.as_str(), &document.steps[index])).collect();
        sum(&parts)
    };
    let steps = (0..first.steps.len()).map(step).collect::<anyhow::Result<_>>()?;
    Ok(Document { name: format!("{} results", documents.len()), swept: first.swept.clone(), steps })
}

/// The document that is written, and that [`Document::of`] reads.
pub(super) fn json(document: &Document) -> anyhow::Result<Value> {
    let mut steps = document.steps.iter().map(written).collect::<anyhow::Result<Vec<_>>>()?;
    if !document.is_sweep() && steps.len() == 1 {
        return Ok(steps.remove(0));
    }
    let shared = |key: &str| steps[0].get(key).cloned().unwrap_or_default();
    let (command, stack, mode) = (shared("command"), shared("stack"), shared("mode"));
    Ok(json!({"command": command, "stack": stack, "mode": mode, "swept": document.swept, "sweep": steps}))
}

fn written(step: &Measurement) -> anyhow::Result<Value> {
    let mut raw = step.raw.clone();
    let histograms = [("histogram", &step.histogram), ("connect_histogram", &step.connect_histogram)];
    for (key, histogram) in histograms {
        if let Some(histogram) = histogram {
            raw.insert(key.into(), encoded::encode(histogram)?.into());
        }
    }
    for (key, times) in [("latency_ns", &step.latency), ("connect_latency_ns", &step.connect_latency)] {
        if let Some(Times { min, mean, p50, p90, p99, p999, p9999, max }) = times {
            let times = json!({"min": min, "p50": p50, "p90": p90, "p99": p99, "p999": p999, "p9999": p9999,
                "max": max, "mean": mean});
            raw.insert(key.into(), times);
        }
    }
    if let Some(started) = step.started_unix_s {
        raw.insert("started_unix_s".into(), json!(started));
    }
    raw.insert("rate_per_s".into(), raw.get("rate_per_s").cloned().unwrap_or_else(|| json!(step.rate_per_s)));
    raw.insert("seconds".into(), serde_json::to_value(step.seconds.seconds())?);
    raw.insert("warnings".into(), step.warnings.clone().into());
    Ok(raw.into())
}

/// Whether a sum of them means anything.
fn comparable(documents: &[Document]) -> anyhow::Result<()> {
    let first = &documents[0];
    let values = |document: &Document| -> Vec<_> {
        document.steps.iter().map(|step| document.swept_value(step).map(f64::to_bits)).collect()
    };
    for other in &documents[1..] {
        if (&other.swept, other.steps.len()) != (&first.swept, first.steps.len()) || values(other) != values(first) {
            let (a, b) = (&first.name, &other.name);
            bail!("{a} and {b} can't be added up: they are sweeps of different values, or only one of them is a sweep");
        }
    }
    let mut known: Option<(&str, String)> = None;
    for document in documents {
        for step in &document.steps {
            if step.histogram.is_none() && step.count > 0 {
                let name = &document.name;
                bail!("{name} has no histogram, and percentiles can't be added up: measure again, or leave it away");
            }
            let Some(command) = step.text("command") else { continue };
            match &known {
                Some((name, before)) if *before != command => {
                    let other = &document.name;
                    bail!("{name} is of `{before}` and {other} of `{command}`: their times can't be added up");
                }
                Some(_) => {}
                None => known = Some((&document.name, command)),
            }
        }
    }
    Ok(())
}

type Part<'a> = (&'a str, &'a Measurement);

fn sum(parts: &[Part<'_>]) -> anyhow::Result<Measurement> {
    let mut warnings: Vec<_> = parts
        .iter()
        .flat_map(|(name, part)| part.warnings.iter().map(move |warning| format!("{name}: {warning}")))
        .collect();
    let time = Time::of(parts);
    warnings.extend(time.warning(parts));
    warnings.extend(twice(parts));
    let histogram = histograms(parts, |part| part.histogram.as_ref())?;
    let connected = |part: &Measurement| part.connect_latency.is_none() || part.connect_histogram.is_some();
    let connect_histogram = if parts.iter().all(|(_, part)| connected(part)) {
        histograms(parts, |part| part.connect_histogram.as_ref())?
    } else {
        warnings.push("times of connecting are left out: not every result has their histogram".into());
        None
    };
    let rate = |of: fn(&Measurement) -> f64| time.rate(parts, of);
    let optional = |of: fn(&Measurement) -> Option<f64>| {
        parts.iter().any(|(_, part)| of(part).is_some()).then(|| time.rate(parts, |part| of(part).unwrap_or_default()))
    };
    let errors = parts.iter().filter_map(|(_, part)| part.errors).reduce(u64::saturating_add);
    Ok(Measurement {
        raw: raw(parts, &time),
        started_unix_s: time.started_unix_s,
        duration_s: time.duration_s,
        count: parts.iter().fold(0, |sum, (_, part)| sum.saturating_add(part.count)),
        errors,
        rate_per_s: rate(|part| part.rate_per_s),
        // What was asked for at one time.
        intended_rate_per_s: optional(|part| part.intended_rate_per_s),
        connects_per_s: optional(|part| part.connects_per_s),
        gbit_per_s: optional(|part| part.gbit_per_s),
        latency: histogram.as_ref().and_then(Times::of),
        connect_latency: connect_histogram.as_ref().and_then(Times::of),
        histogram,
        connect_histogram,
        seconds: seconds(parts, &time),
        // Each has its own time line.
        moments: Vec::new(),
        warnings,
    })
}

fn histograms(
    parts: &[Part<'_>],
    of: fn(&Measurement) -> Option<&Histogram<u64>>,
) -> anyhow::Result<Option<Histogram<u64>>> {
    let mut sum = None;
    for (name, part) in parts {
        if let Some(histogram) = of(part) {
            hlog::add(&mut sum, histogram).with_context(|| (*name).to_owned())?;
        }
    }
    Ok(sum)
}

/// How the runs lie in time.
struct Time {
    started_unix_s: Option<f64>,
    duration_s: f64,
    /// What all have in common, of the shortest of them; none if nothing says when one ran.
    common: Option<f64>,
}

impl Time {
    fn of(parts: &[Part<'_>]) -> Self {
        let longest = parts.iter().map(|(_, part)| part.duration_s).fold(0.0, f64::max);
        let spans: Option<Vec<_>> = parts.iter().map(|(_, part)| part.span()).collect();
        let Some(spans) = spans else {
            return Self { started_unix_s: None, duration_s: longest, common: None };
        };
        let first = spans.iter().map(|(start, _)| *start).fold(f64::INFINITY, f64::min);
        let last_start = spans.iter().map(|(start, _)| *start).fold(0.0, f64::max);
        let first_end = spans.iter().map(|(_, end)| *end).fold(f64::INFINITY, f64::min);
        let shortest = parts.iter().map(|(_, part)| part.duration_s).fold(f64::INFINITY, f64::min);
        let common = if shortest > 0.0 { ((first_end - last_start) / shortest).clamp(0.0, 1.0) } else { 0.0 };
        let duration_s = if common >= SAME_TIME { longest } else { covered(spans) };
        Self { started_unix_s: Some(first), duration_s, common: Some(common) }
    }

    fn same(&self) -> bool {
        self.common.is_none_or(|common| common >= SAME_TIME)
    }

    /// Runs at the same time add up; of runs one after the other it is the mean over the time in which any ran.
    fn rate(&self, parts: &[Part<'_>], of: impl Fn(&Measurement) -> f64) -> f64 {
        if self.same() {
            return parts.iter().map(|(_, part)| of(part)).sum();
        }
        let done: f64 = parts.iter().map(|(_, part)| of(part) * part.duration_s).sum();
        if self.duration_s > 0.0 { done / self.duration_s } else { 0.0 }
    }

    fn warning(&self, parts: &[Part<'_>]) -> Option<String> {
        let Some(common) = self.common else {
            let unknown = parts.iter().find(|(_, part)| part.started_unix_s.is_none()).map_or("one", |(name, _)| name);
            return Some(format!("nothing says when {unknown} ran: rates are added as if all ran at the same time"));
        };
        let percent = common * 100.0;
        if common >= ALL_OF_IT {
            None
        } else if self.same() {
            Some(format!(
                "the runs have only {percent:.0} % of the shortest in common: their rates are added as if they had all of it"
            ))
        } else {
            Some(format!(
                "the runs were not at the same time ({percent:.0} % of the shortest is common to all): rates are means over \
                 the {:.1} s in which any ran, and no sums",
                self.duration_s
            ))
        }
    }
}

/// How long any of them ran.
fn covered(mut spans: Vec<(f64, f64)>) -> f64 {
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut until) = (0.0, f64::NEG_INFINITY);
    for (start, end) in spans {
        sum += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    sum
}

/// A result and the log of the same run: what is in both would count twice.
fn twice(parts: &[Part<'_>]) -> Option<String> {
    let alike = |a: &Measurement, b: &Measurement| {
        let some = a.histogram.as_ref().zip(b.histogram.as_ref());
        some.is_some_and(|(a, b)| a.len() > MOST_ALIKE && a == b)
    };
    parts.iter().enumerate().find_map(|(index, (name, part))| {
        let (before, _) = parts[..index].iter().find(|(_, other)| alike(part, other))?;
        Some(format!("{before} and {name} have the same times: are they of one run, which counts twice now?"))
    })
}

/// Keys as a run of all would have them: what adds up is added up, what is equal is kept, texts are listed, the rest is left out.
fn raw(parts: &[Part<'_>], time: &Time) -> Map<String, Value> {
    let keys: BTreeSet<_> = parts.iter().flat_map(|(_, part)| part.raw.keys()).collect();
    let mut all = Map::new();
    for key in keys {
        let values: Vec<_> = parts.iter().filter_map(|(_, part)| part.raw.get(key)).collect();
        let number = |part: &Measurement| part.raw.get(key).and_then(Value::as_f64).unwrap_or_default();
        let value = match key.as_str() {
            "latency_ns" | "connect_latency_ns" | "warnings" | "started_unix_s" | "merged" => continue,
            "duration_s" => json!(time.duration_s),
            "sending" | "under_way" | "drops" | "lost_by" | "failed_by" => by_key(&values),
            "per_connection" => continue,
            key if COUNTS.contains(&key) => {
                json!(values.iter().filter_map(|value| value.as_u64()).fold(0, u64::saturating_add))
            }
            key if key.contains("_per_s") => json!(time.rate(parts, number)),
            _ if values.len() == parts.len() && values.windows(2).all(|pair| pair[0] == pair[1]) => values[0].clone(),
            _ if values.iter().all(|value| value.is_string()) => {
                let texts: BTreeSet<_> = values.iter().filter_map(|value| value.as_str()).collect();
                json!(texts.into_iter().collect::<Vec<_>>().join(", "))
            }
            _ => continue,
        };
        all.insert(key.clone(), value);
    }
    let part = |(name, part): &Part<'_>| {
        json!({"name": name, "command": part.text("command"), "stack": part.text("stack"),
            "machine": part.raw.get("machine"), "started_unix_s": part.started_unix_s, "duration_s": part.duration_s,
            "count": part.count, "rate_per_s": part.rate_per_s})
    };
    all.insert("merged".into(), parts.iter().map(part).collect());
    all
}

/// Key by key, such as how schedules were kept: the worst of what is a time, the sum of what is counted.
fn by_key(values: &[&Value]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for (key, value) in values.iter().filter_map(|value| value.as_object()).flatten() {
        let (before, value) = (all.get(key).and_then(Value::as_u64), value.as_u64());
        let Some(value) = value else { continue };
        let before = before.unwrap_or_default();
        let sum = if key.ends_with("_ns") { before.max(value) } else { before.saturating_add(value) };
        all.insert(key.clone(), sum.into());
    }
    all.into()
}

/// Second by second. Of percentiles, the largest of any: none of all together exceeds it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "seconds")]
fn seconds(parts: &[Part<'_>], time: &Time) -> Series {
    let each = parts.iter().map(|(_, part)| part.seconds.each()).max().unwrap_or(1) as f64;
    let mut all: BTreeMap<u64, Second> = BTreeMap::new();
    for (_, part) in parts {
        let from = part.started_unix_s.zip(time.started_unix_s).map_or(0.0, |(own, first)| own - first);
        let mut own: BTreeMap<u64, Series> = BTreeMap::new();
        for second in part.seconds.seconds() {
            let bin = ((from + second.at_s) / each).round().max(0.0) as u64;
            own.entry(bin).or_default().push(second.clone());
        }
        for (bin, series) in own {
            let parts = super::series::thinned(series.seconds(), 1);
            for mut second in parts {
                second.at_s = bin as f64 * each;
                all.entry(bin).and_modify(|sum| *sum = sum.beside(&second)).or_insert(second);
            }
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` messages of `ns` each, within 10 s that begin at a time.
    fn document(name: &str, started: f64, ns: u64, count: u64) -> Document {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
        histogram.record_n(ns, count).unwrap();
        let second =
            |at: u32| json!({"at_s": at, "length_s": 1, "count": count / 10, "errors": 1, "p50": ns, "max": ns});
        let value = json!({
            "command": "ping", "stack": name, "connections": 2, "pipeline": 4, "count": count, "errors": 10,
            "duration_s": 10.0, "started_unix_s": started, "rate_per_s": count as f64 / 10.0,
            "intended_rate_per_s": 100, "histogram": encoded::encode(&histogram).unwrap(),
            "sending": {"late": 3, "worst_lag_ns": ns}, "seconds": (0..10).map(second).collect::<Vec<_>>(),
            "warnings": ["it was slow"], "target": "10.0.0.1:7"
        });
        Document::of(name, value).unwrap()
    }

    /// What is written of it, read again, which is what a page or a table shows of it at once.
    fn merged(documents: &[Document]) -> Measurement {
        let sum = merge(documents).unwrap();
        let read = Document::of("merged", json(&sum).unwrap()).unwrap().steps.remove(0);
        let figures = |of: &Measurement| (of.count, of.errors, of.rate_per_s, of.intended_rate_per_s, of.duration_s);
        assert_eq!(figures(&sum.steps[0]), figures(&read));
        assert_eq!(sum.steps[0].latency, read.latency);
        read
    }

    #[test]
    fn runs_at_the_same_time_add_up() {
        let all = merged(&[document("a", 1e9, 1000, 1000), document("b", 1e9 + 0.3, 2000, 3000)]);
        assert_eq!((all.count, all.errors, all.rate_per_s, all.duration_s), (4000, Some(20), 400.0, 10.0));
        let times = all.latency.as_ref().unwrap();
        assert_eq!((times.min, times.p50, times.max), (Some(1000), Some(2000), Some(2000)));
        assert_eq!(all.histogram.as_ref().unwrap().count_between(0, 1500), 1000);
        assert_eq!((all.raw["connections"].as_u64(), all.raw["pipeline"].as_u64()), (Some(4), Some(4)));
        assert_eq!((all.intended_rate_per_s, all.raw["stack"].as_str()), (Some(200.0), Some("a, b")));
        assert_eq!(all.raw["sending"], json!({"late": 6, "worst_lag_ns": 2000}));
        assert_eq!(all.warnings, ["a: it was slow", "b: it was slow"]);
        let seconds = all.seconds.seconds();
        assert_eq!((seconds.len(), seconds[0].count, seconds[0].length_s, seconds[0].p50), (10, 400, 1.0, Some(2000)));
        assert_eq!(all.raw["merged"].as_array().unwrap().len(), 2);
    }

    /// 1000 and 3000 messages within 20 s, with a pause of 90 s between them.
    #[test]
    fn runs_one_after_the_other_are_means_and_say_so() {
        let all = merged(&[document("a", 1e9, 1000, 1000), document("b", 1e9 + 100.0, 2000, 3000)]);
        assert_eq!((all.count, all.rate_per_s, all.duration_s), (4000, 200.0, 20.0));
        assert!(all.warnings.iter().any(|said| said.contains("not at the same time (0 %")), "{:?}", all.warnings);
        assert_eq!(all.seconds.seconds().len(), 20);
        let all = merged(&[document("a", 1e9, 1000, 1000), document("b", 1e9 + 3.0, 2000, 3000)]);
        assert_eq!(all.rate_per_s, 400.0);
        assert!(all.warnings.iter().any(|said| said.contains("only 70 %")), "{:?}", all.warnings);
    }

    #[test]
    fn without_times_of_day_it_is_said() {
        let (mut a, b) = (document("a", 1e9, 1000, 1000), document("b", 1e9, 2000, 3000));
        a.steps[0].started_unix_s = None;
        let all = merged(&[a, b]);
        assert!(all.warnings.iter().any(|said| said.contains("nothing says when a ran")), "{:?}", all.warnings);
        assert_eq!(all.rate_per_s, 400.0);
    }

    #[test]
    fn one_run_is_not_counted_twice_in_silence() {
        let all = merged(&[document("a", 1e9, 1000, 1000), document("b", 1e9, 1000, 1000)]);
        assert!(all.warnings.iter().any(|said| said.contains("counts twice")), "{:?}", all.warnings);
    }

    #[test]
    fn what_has_no_sum_is_refused() {
        let refusal = |documents: &[Document]| merge(documents).unwrap_err().to_string();
        let mut older = document("b", 1e9, 1, 10);
        older.steps[0].histogram = None;
        assert!(refusal(&[document("a", 1e9, 1, 10), older]).contains("b has no histogram"));
        let mut other = document("b", 1e9, 1, 10);
        other.steps[0].raw.insert("command".into(), "load http".into());
        let said = refusal(&[document("a", 1e9, 1, 10), other]);
        assert!(said.contains("a is of `ping` and b of `load http`"), "{said}");
        let mut sweep = document("b", 1e9, 1, 10);
        sweep.swept = Some("rate".into());
        assert!(refusal(&[document("a", 1e9, 1, 10), sweep]).contains("only one of them is a sweep"));
        assert!(refusal(&[]).contains("nothing"));
    }
}
