//! A result, whichever command wrote it: what is known of it, with everything checked that a file may have wrong.

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde_json::{Map, Value};

use super::encoded;
use super::moments::Moment;
use super::series::{Second, Series};

/// What adds up when results do. Of them, the second list is what went wrong, where there is no `errors`.
pub(super) const COUNTS: [&str; 23] = [
    "count",
    "errors",
    "connections",
    "requests",
    "responses",
    "responses_behind_end",
    "connects",
    "connect_errors",
    "no_port",
    "timeouts",
    "resets",
    "cut_off",
    "malformed",
    "unexpected",
    "changed",
    "bytes_sent",
    "bytes_received",
    "retransmits",
    "established",
    "lasted",
    "lost",
    "ended_in_order",
    "answering",
];
const ERRORS: [&str; 7] = ["connect_errors", "timeouts", "resets", "cut_off", "malformed", "unexpected", "changed"];
/// What is large, or a figure, and no setting.
const FIGURES: [&str; 9] = [
    "count",
    "errors",
    "duration_s",
    "started_unix_s",
    "requests",
    "responses",
    "connects",
    "bytes_sent",
    "bytes_received",
];
/// A sweep has no more steps.
const MOST_STEPS: usize = 1000;
/// Numbers beyond are no measurement: 2^53, so that sums in floating point are exact.
const MOST: f64 = 9_007_199_254_740_992.0;
/// A text of a file is no longer than this where it is shown.
const MOST_CHARS: usize = 300;
/// But for a warning: what it asks to be done is at its end.
const MOST_OF_A_WARNING: usize = 2000;

/// What one file holds, or one run.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Shown to people.
    pub(super) name: String,
    /// What changes from one measurement to the next: `rate`, `size`, …
    pub(super) swept: Option<String>,
    /// One at least; several in a sweep.
    pub(super) steps: Vec<Measurement>,
}

/// Times in nanoseconds; those that a file does not have are missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Times {
    pub(super) min: Option<u64>,
    pub(super) mean: Option<f64>,
    pub(super) p50: Option<u64>,
    pub(super) p90: Option<u64>,
    pub(super) p99: Option<u64>,
    pub(super) p999: Option<u64>,
    pub(super) p9999: Option<u64>,
    pub(super) max: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Measurement {
    /// As it was read, but for the histograms and the seconds.
    pub(super) raw: Map<String, Value>,
    pub(super) started_unix_s: Option<f64>,
    pub(super) duration_s: f64,
    /// Of what the latency is measured.
    pub(super) count: u64,
    /// None: it is not known.
    pub(super) errors: Option<u64>,
    pub(super) rate_per_s: f64,
    pub(super) intended_rate_per_s: Option<f64>,
    pub(super) connects_per_s: Option<f64>,
    pub(super) gbit_per_s: Option<f64>,
    /// None: nothing was measured.
    pub(super) latency: Option<Times>,
    pub(super) connect_latency: Option<Times>,
    pub(super) histogram: Option<Histogram<u64>>,
    pub(super) connect_histogram: Option<Histogram<u64>>,
    pub(super) seconds: Series,
    /// Of idle connections.
    pub(super) moments: Vec<Moment>,
    pub(super) warnings: Vec<String>,
}

impl Document {
    /// What a command is about to print, or has printed, with `--json`.
    pub(crate) fn of(name: &str, document: Value) -> anyhow::Result<Self> {
        let Value::Object(mut top) = document else { bail!("{name} is JSON, but no result of fourwave") };
        let swept = top.remove("swept").and_then(|value| value.as_str().map(shown));
        let Some(sweep) = top.remove("sweep") else {
            return Ok(Self { name: shown(name), swept: None, steps: vec![Measurement::of(name, top)?] });
        };
        let Value::Array(steps) = sweep else { bail!("{name}: `sweep` is no array") };
        if steps.is_empty() || steps.len() > MOST_STEPS {
            bail!("{name}: `sweep` has {} measurements, and must have 1 to {MOST_STEPS}", steps.len());
        }
        let step = |(index, value): (usize, Value)| {
            let Value::Object(own) = value else { bail!("{name}: number {} of `sweep` is no object", index + 1) };
            let mut all = top.clone();
            all.extend(own);
            Measurement::of(name, all).with_context(|| format!("{name}: number {} of `sweep`", index + 1))
        };
        let steps = steps.into_iter().enumerate().map(step).collect::<anyhow::Result<_>>()?;
        Ok(Self { name: shown(name), swept, steps })
    }

    /// Whether it is of several measurements.
    pub(super) fn is_sweep(&self) -> bool {
        self.swept.is_some() || self.steps.len() > 1
    }

    /// What was set to different values in a sweep, of this one.
    pub(super) fn swept_value(&self, step: &Measurement) -> Option<f64> {
        let key = match self.swept.as_deref()? {
            "rate" => "intended_rate_per_s",
            "size" => "message_bytes",
            other => other,
        };
        step.raw.get(key).and_then(Value::as_f64)
    }
}

impl Measurement {
    pub(super) fn of(name: &str, mut raw: Map<String, Value>) -> anyhow::Result<Self> {
        let (histogram, connect_histogram) = (raw.remove("histogram"), raw.remove("connect_histogram"));
        // The seconds of what is carried in bulk: of no use but beside each other, and large.
        raw.remove("throughput");
        let (seconds, timeline) = (raw.remove("seconds"), raw.remove("timeline"));
        let warnings = raw.get("warnings");
        let read = Fields { name, map: &raw };
        let known = ["count", "responses", "connects"].iter().any(|key| raw.contains_key(*key));
        if !known || !raw.contains_key("duration_s") {
            let what = if raw.contains_key("rounds") { "of `fourwave bench`" } else { "JSON" };
            bail!(
                "{name} is {what}, but no result of `fourwave ping` or `fourwave load`: it has no count and no duration"
            );
        }
        let histogram = histogram_of(name, "histogram", histogram)?;
        let connect_histogram = histogram_of(name, "connect_histogram", connect_histogram)?;
        let latency = read.times("latency_ns")?.or_else(|| histogram.as_ref().and_then(Times::of));
        let connect_latency =
            read.times("connect_latency_ns")?.or_else(|| connect_histogram.as_ref().and_then(Times::of));
        let errors = match read.count("errors")? {
            Some(errors) => Some(errors),
            None => read.sum(&ERRORS)?,
        };
        let first = |keys: &[&str]| -> anyhow::Result<Option<f64>> {
            let all = keys.iter().map(|key| read.number(key)).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(all.into_iter().flatten().next())
        };
        // Who only holds connections asks for nothing else.
        let opens = raw.get("mode").and_then(Value::as_str) == Some("idle");
        let counted = match opens {
            true => [read.count("connects")?, None],
            false => [read.count("count")?, read.count("responses")?],
        };
        let rates: &[&str] = if opens { &["connects_per_s"] } else { &["rate_per_s", "requests_per_s"] };
        Ok(Self {
            started_unix_s: read.number("started_unix_s")?,
            duration_s: read.number("duration_s")?.unwrap_or_default(),
            count: counted.into_iter().flatten().next().unwrap_or_default(),
            errors,
            rate_per_s: first(rates)?.unwrap_or_default(),
            intended_rate_per_s: read.number("intended_rate_per_s")?,
            connects_per_s: read.number("connects_per_s")?,
            gbit_per_s: read.number("gbit_per_s")?,
            latency,
            connect_latency,
            histogram,
            connect_histogram,
            seconds: seconds_of(name, seconds)?,
            moments: moments_of(name, timeline)?,
            warnings: warnings_of(name, warnings)?,
            raw,
        })
    }

    /// A text of the file.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.raw.get(key)?.as_str().map(shown)
    }

    /// What it is of, for people: `ping fourwave`, `load http kernel (epoll)`.
    pub(super) fn what(&self) -> String {
        let wait = self.text("kernel_wait").map(|wait| format!("({wait})"));
        let parts = [self.text("command"), self.text("stack"), wait];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "interval log".to_owned() } else { parts.join(" ") }
    }

    /// What is counted.
    pub(super) fn unit(&self) -> &'static str {
        match (self.text("mode").as_deref(), self.raw.contains_key("responses")) {
            (Some("idle"), _) => "connections",
            (_, true) => "responses",
            _ => "messages",
        }
    }

    /// All that is neither large nor a figure nor said elsewhere, for people.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let setting = |(key, value): (&String, &Value)| {
            let figure = FIGURES.contains(&key.as_str()) || (key.contains("_per_s") && !key.starts_with("intended"));
            let value = match value {
                Value::String(text) => shown(text),
                Value::Number(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                _ => return None,
            };
            (!figure && !ERRORS.contains(&key.as_str()) && key != "no_port").then(|| (shown(key), value))
        };
        self.raw.iter().filter_map(setting).collect()
    }

    /// The machine it ran on.
    pub(super) fn machine(&self) -> Option<String> {
        let machine = self.raw.get("machine")?;
        let text = |key: &str| machine.get(key).and_then(Value::as_str).map(shown);
        let cores = machine.get("cores").and_then(Value::as_u64).map(|cores| format!("{cores} cores"));
        let kernel = text("kernel").map(|kernel| format!("Linux {kernel}"));
        let parts: Vec<_> = [text("cpu"), cores, kernel].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Which clock it was timed by.
    pub(super) fn clock(&self) -> Option<String> {
        let clock = self.raw.get("clock")?;
        let number = |key: &str| clock.get(key).and_then(Value::as_f64);
        let hz = number("tsc_hz").filter(|hz| *hz > 0.0).map(|hz| format!("{:.3} GHz", hz / 1e9));
        let drift = number("drift_ppm").map(|ppm| format!("drift {ppm:.2} ppm"));
        let stable = clock.get("stable").and_then(Value::as_bool);
        let stable = stable.map(|stable| if stable { "stable" } else { "not stable" }.to_owned());
        let source = clock.get("source").and_then(Value::as_str).map(shown);
        let parts: Vec<_> = [source, hz, drift, stable].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// From when to when, if that is known.
    pub(super) fn span(&self) -> Option<(f64, f64)> {
        self.started_unix_s.map(|start| (start, start + self.duration_s))
    }
}

impl Times {
    /// None of nothing.
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| Some(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            min: Some(histogram.min()),
            mean: Some(histogram.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: Some(histogram.max()),
        })
    }
}

/// A text of a file as it may be shown: one line, not too long.
pub(super) fn shown(text: &str) -> String {
    cut(text, MOST_CHARS)
}

fn cut(text: &str, most: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

/// Numbers by their keys.
struct Fields<'a> {
    name: &'a str,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// From 0; none if there is none, or `null`.
    fn number(&self, key: &str) -> anyhow::Result<Option<f64>> {
        let value = match self.map.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let number = value.as_f64().filter(|number| (0.0..=MOST).contains(number));
        let Some(number) = number else {
            bail!("{}: `{key}` is {}, and must be a number from 0 to 2^53", self.name, shown(&value.to_string()));
        };
        Ok(Some(number))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^53")]
    fn count(&self, key: &str) -> anyhow::Result<Option<u64>> {
        Ok(self.number(key)?.map(|number| number as u64))
    }

    /// Of those there are.
    fn sum(&self, keys: &[&str]) -> anyhow::Result<Option<u64>> {
        let all = keys.iter().map(|key| self.count(key)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(all.into_iter().flatten().reduce(u64::saturating_add))
    }

    /// None if nothing was measured.
    fn times(&self, key: &str) -> anyhow::Result<Option<Times>> {
        let map = match self.map.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(_) => bail!("{}: `{key}` is no object", self.name),
        };
        let read = Fields { name: self.name, map };
        let times = Times {
            min: read.count("min")?,
            mean: read.number("mean")?,
            p50: read.count("p50")?,
            p90: read.count("p90")?,
            p99: read.count("p99")?,
            p999: read.count("p999")?,
            p9999: read.count("p9999")?,
            max: read.count("max")?,
        };
        Ok(Some(times).filter(|times| times.max.is_some_and(|max| max > 0)))
    }
}

fn histogram_of(name: &str, key: &str, value: Option<Value>) -> anyhow::Result<Option<Histogram<u64>>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            encoded::decode(&text).map(Some).map_err(|reason| anyhow::anyhow!("{name}: `{key}` {reason}"))
        }
        Some(_) => bail!("{name}: `{key}` is no text"),
    }
}

fn seconds_of(name: &str, value: Option<Value>) -> anyhow::Result<Series> {
    let rows = match value {
        None | Some(Value::Null) => return Ok(Series::default()),
        Some(Value::Array(rows)) => rows,
        Some(_) => bail!("{name}: `seconds` is no array"),
    };
    let mut series = Series::default();
    for row in rows {
        let Value::Object(map) = &row else { bail!("{name}: `seconds` has something that is no object") };
        let read = Fields { name, map };
        let count = read.count("count")?.unwrap_or_default();
        let time = |key: &str| Ok::<_, anyhow::Error>(read.count(key)?.filter(|_| count > 0));
        series.push(Second {
            at_s: read.number("at_s")?.unwrap_or_default(),
            length_s: read.number("length_s")?.unwrap_or(1.0),
            count,
            errors: read.count("errors")?.unwrap_or_default(),
            p50: time("p50")?,
            p90: time("p90")?,
            p99: time("p99")?,
            p999: time("p999")?,
            max: time("max")?,
        });
    }
    series.finish();
    Ok(series)
}

fn moments_of(name: &str, value: Option<Value>) -> anyhow::Result<Vec<Moment>> {
    let rows = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(rows)) => rows,
        Some(_) => bail!("{name}: `timeline` is no array"),
    };
    let moment = |row: &Value| {
        let Value::Object(map) = row else { bail!("{name}: `timeline` has something that is no object") };
        let read = Fields { name, map };
        let count = |key: &str| Ok::<_, anyhow::Error>(read.count(key)?.unwrap_or_default());
        let nothing = Map::new();
        let probe = Fields { name, map: map.get("probe").and_then(Value::as_object).unwrap_or(&nothing) };
        let answers = probe.count("count")?.unwrap_or_default();
        let time = |key: &str| Ok::<_, anyhow::Error>(probe.count(key)?.filter(|_| answers > 0));
        Ok(Moment {
            at_s: read.number("at_s")?.unwrap_or_default(),
            length_s: read.number("length_s")?.unwrap_or(1.0),
            open: count("open")?,
            opened: count("opened")?,
            closed: count("closed")?,
            lost: count("lost")?,
            churned: count("churned")?,
            resident_bytes: count("resident_bytes")?,
            server_resident_bytes: read.count("server_resident_bytes")?,
            p50: time("p50")?,
            p99: time("p99")?,
            max: time("max")?,
        })
    };
    rows.iter().map(moment).collect()
}

fn warnings_of(name: &str, value: Option<&Value>) -> anyhow::Result<Vec<String>> {
    let sentences = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(sentences)) => sentences,
        Some(_) => bail!("{name}: `warnings` is no array"),
    };
    Ok(sentences.iter().filter_map(Value::as_str).take(100).map(|text| cut(text, MOST_OF_A_WARNING)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(document: Value) -> String {
        crate::out::sentence(&Document::of("a.json", document).unwrap_err())
    }

    /// The keys that /ping and load/ had before they wrote histograms.
    #[test]
    fn an_older_result_has_its_percentiles() {
        let latency = json!({"min": 1, "p50": 5, "p90": 6, "p99": 9, "p999": 9, "p9999": 9, "max": 12, "mean": 5.5});
        let document = json!({
            "stack": "fourwave", "mode": "closed", "connections": 1, "message_bytes": 64, "count": 100, "errors": 2,
            "duration_s": 2.0, "latency_ns": latency, "rate_per_s": 50.0, "something_new": {"a": [1, 2]}
        });
        let document = Document::of("a.json", document).unwrap();
        let step = &document.steps[0];
        assert_eq!((step.count, step.errors, step.rate_per_s, step.unit()), (100, Some(2), 50.0, "messages"));
        assert_eq!(step.latency.as_ref().unwrap().p99, Some(9));
        assert!(step.histogram.is_none() && step.seconds.seconds().is_empty() && !document.is_sweep());
        let load = json!({
            "stack": "kernel", "kernel_wait": "epoll", "responses": 7, "connects": 3, "timeouts": 1, "resets": 2,
            "duration_s": 1.0, "requests_per_s": 7.0, "connects_per_s": 3.0, "latency_ns": {"max": 0}
        });
        let document = Document::of("b.json", load).unwrap();
        let step = &document.steps[0];
        assert_eq!((step.count, step.errors, step.rate_per_s, step.unit()), (7, Some(3), 7.0, "responses"));
        assert_eq!((step.latency.as_ref(), step.what().as_str()), (None, "kernel (epoll)"));
    }

    /// Not the rate of anything else, no division by nothing, and no time of 0 ns.
    #[test]
    fn nothing_answered_is_a_rate_of_nothing() {
        let nothing = json!({"p50": 0, "p99": 0, "max": 0, "mean": 0.0});
        for (count, rate) in [("count", "rate_per_s"), ("responses", "requests_per_s")] {
            for (duration, connects) in [(0.0, 0.0), (5.0, 12.5)] {
                let document = json!({"duration_s": duration, count: 0, rate: 0.0, "connects": 60, "timeouts": 7,
                    "connects_per_s": connects, "latency_ns": nothing,
                    "seconds": [{"at_s": 0, "length_s": 0, "count": 0, "errors": 7, "p50": 0, "max": 0}]});
                let document = Document::of("a.json", document).unwrap();
                let step = &document.steps[0];
                assert_eq!((step.count, step.rate_per_s, step.errors), (0, 0.0, Some(7)), "{count}");
                assert_eq!((step.connects_per_s, &step.latency, &step.histogram), (Some(connects), &None, &None));
                let second = &step.seconds.seconds()[0];
                assert_eq!((second.rate_per_s(), second.p50, second.max), (0.0, None, None));
            }
        }
        // Without its rate it is not made up of anything either.
        let document = Document::of("a.json", json!({"duration_s": 2.0, "responses": 0, "connects": 9})).unwrap();
        assert_eq!((document.steps[0].count, document.steps[0].rate_per_s), (0, 0.0));
    }

    #[test]
    fn a_sweep_is_measurements_and_what_they_share() {
        let step = |rate: u32| json!({"count": 1, "duration_s": 1, "intended_rate_per_s": rate});
        let sweep = json!({"swept": "rate", "stack": "kernel", "sweep": [step(5), step(10)]});
        let document = Document::of("a.json", sweep).unwrap();
        let values: Vec<_> = document.steps.iter().filter_map(|step| document.swept_value(step)).collect();
        assert_eq!(values, [5.0, 10.0]);
        assert!(document.steps.iter().all(|step| step.text("stack").as_deref() == Some("kernel")));
        assert!(refusal(json!({"sweep": []})).contains("1 to 1000"));
        assert!(refusal(json!({"sweep": [3]})).contains("number 1 of `sweep` is no object"));
    }

    #[test]
    fn a_warning_is_read_to_its_end() {
        let sentence = "it was slow ".repeat(100);
        let document =
            json!({"count": 1, "duration_s": 1, "warnings": [sentence, "a\nb".repeat(5000)], "stack": sentence});
        let document = Document::of("a.json", document).unwrap();
        let step = &document.steps[0];
        assert_eq!((step.warnings[0].as_str(), step.warnings[1].chars().count()), (sentence.as_str(), 2001));
        assert!(step.warnings[1].starts_with("a ba b") && step.text("stack").unwrap().chars().count() == 301);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |key: &str, value: Value| {
            let mut document = json!({"count": 1, "duration_s": 1.0});
            document[key] = value;
            refusal(document)
        };
        assert!(with("count", json!(-3)).contains("a.json: `count` is -3"));
        assert!(with("duration_s", json!(1e300)).contains("`duration_s` is 1e+300, and must be a number from 0"));
        assert!(with("rate_per_s", json!("many")).contains("`rate_per_s` is \"many\""));
        assert!(with("started_unix_s", json!([])).contains("`started_unix_s`"));
        assert!(with("latency_ns", json!(3)).contains("`latency_ns` is no object"));
        assert!(with("latency_ns", json!({"p50": -1})).contains("`p50` is -1"));
        assert!(with("histogram", json!("HISTFAAAAB")).contains("`histogram` is cut off"));
        assert!(with("histogram", json!({})).contains("`histogram` is no text"));
        assert!(with("seconds", json!({"at_s": 1})).contains("`seconds` is no array"));
        assert!(with("seconds", json!([1])).contains("`seconds` has something"));
        assert!(with("seconds", json!([{"at_s": -1}])).contains("`at_s` is -1"));
        assert!(with("timeline", json!(3)).contains("`timeline` is no array"));
        assert!(with("timeline", json!([{"open": -1}])).contains("`open` is -1"));
        assert!(with("warnings", json!("loud")).contains("`warnings` is no array"));
        assert!(refusal(json!([1, 2])).contains("a.json is JSON, but no result of fourwave"));
        assert!(refusal(json!({"hello": 1})).contains("no result of `fourwave ping` or `fourwave load`"));
        assert!(refusal(json!({"rounds": 1, "rtt": {}})).contains("of `fourwave bench`"));
    }
}
