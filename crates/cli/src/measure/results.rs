//! What every result document has besides its command's own figures: enough to read it later, to compare it with others and to add
//! it up with them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fourwave::control::Count;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::clock::{Clock, ClockReport, Watch};
use super::drops::{self, Drops};
use super::machine::Machine;
use super::seconds::{Second, Seconds};
use super::turning::Generator;

/// To be flattened into the document of a measurement; of a sweep, into that of each value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// `ping`, `load http`, `load tcp`.
    pub(crate) command: String,
    /// The command line.
    pub(crate) arguments: String,
    pub(crate) version: String,
    /// When measuring began, in seconds since 1970.
    pub(crate) started_unix_s: f64,
    pub(crate) machine: Machine,
    pub(crate) clock: ClockReport,
    /// `latency_ns` as base64 of HdrHistogram's V2 format, deflated: as in a line of `--hlog`.
    pub(crate) histogram: String,
    /// `connect_latency_ns` alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connect_histogram: Option<String>,
    pub(crate) seconds: Vec<Second>,
    /// What was lost on this side, by its reason, from the command's start to its end: of all values of a sweep.
    #[serde(default)]
    pub(crate) drops: Drops,
    #[serde(default)]
    pub(crate) generator: Generator,
    /// What was said on stderr as `fourwave: warning: …`.
    pub(crate) warnings: Vec<String>,
    /// What is still to be said of the generator.
    #[serde(skip)]
    complaint: Option<String>,
}

/// A command that measures, from its beginning on.
#[derive(Debug)]
pub(crate) struct Run {
    command: &'static str,
    started: SystemTime,
    watch: Watch,
    drops: Drops,
    kernels_drops: Drops,
}

impl Run {
    /// `command` as it is typed, such as `load http`. Its time stamps are the stack's ([`Io::now`](fourwave::Io::now)), or of
    /// the kernel's `CLOCK_MONOTONIC`, as those are.
    pub(crate) fn begin(command: &'static str) -> Self {
        Self::begin_with(command, Watch::new(Clock::monotonic(), None))
    }

    /// Its time stamps are by the processor's counter ([`Run::clock`]), if that can be trusted.
    pub(crate) fn begin_by_tsc(command: &'static str) -> Self {
        let (clock, why) = match Clock::tsc() {
            Ok(clock) => (clock, None),
            Err(why) => {
                tracing::info!("time stamps are not by the processor's counter: {why}");
                (Clock::monotonic(), Some(why))
            }
        };
        Self::begin_with(command, Watch::new(clock, why))
    }

    fn begin_with(command: &'static str, watch: Watch) -> Self {
        let (started, kernels_drops) = (SystemTime::now(), drops::kernels_now());
        Self { command, started, watch, drops: Drops::new(), kernels_drops }
    }

    /// What the time stamps are to be made with.
    pub(crate) fn clock(&self) -> Clock {
        self.watch.clock()
    }

    /// For who looks at the clock now and then.
    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The stack has ended: what it lost, from what its shards counted ([`fourwave::totals`]), or the kernel in its place.
    pub(crate) fn stack_ended(&mut self, over_kernel: bool, counts: &[Count]) {
        self.drops = match over_kernel {
            true => drops::since(&self.kernels_drops, drops::kernels_now()),
            false => drops::of_stack(counts),
        };
    }

    /// Why no result of this run is to be trusted, a sentence each: the clock, and what was dropped.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.watch.look();
        self.watch.complaint().into_iter().chain(drops::complaint(&self.drops)).collect()
    }

    /// What is known of a measurement at its end. `seconds` are what the observer has of it. Warnings are added by
    /// [`Results::complain`], [`Results::warn`] and [`warn_of_all`].
    pub(crate) fn results(&self, histogram: &Histogram<u64>, seconds: Seconds) -> Results {
        self.watch.look();
        let complaint = seconds.complaint();
        let started = seconds.started.or_else(|| self.started.duration_since(UNIX_EPOCH).ok());
        Results {
            command: self.command.to_owned(),
            arguments: arguments(std::env::args().skip(1)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_s: started.unwrap_or_default().as_secs_f64(),
            machine: Machine::this(),
            clock: self.watch.report(),
            histogram: encoded(histogram),
            connect_histogram: None,
            drops: self.drops.clone(),
            generator: seconds.lost,
            seconds: seconds.into_entries(),
            warnings: Vec::new(),
            complaint,
        }
    }
}

impl Results {
    /// Says what the generator itself has made of this result, if it is worth a word. `place` tells it from others of a sweep, such
    /// as `at 100 per second `.
    pub(crate) fn complain(&mut self, place: &str) {
        if let Some(complaint) = self.complaint.take() {
            self.warn(format!("{place}{complaint}"));
        }
    }

    /// Says it on stderr, and keeps it.
    pub(crate) fn warn(&mut self, sentence: String) {
        crate::say!("fourwave: warning: {sentence}");
        self.warnings.push(sentence);
    }
}

/// Says on stderr what is wrong with all results of a run, once, and keeps it in each.
pub(crate) fn warn_of_all<'a>(warnings: &[String], results: impl Iterator<Item = &'a mut Results>) {
    warnings.iter().for_each(|sentence| crate::say!("fourwave: warning: {sentence}"));
    results.for_each(|results| results.warnings.extend_from_slice(warnings));
}

/// A histogram as text.
pub(crate) fn encoded(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // Into memory, of counts that are 64 bits wide as the format's: there is nothing that can fail.
    let _ = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    STANDARD.encode(bytes)
}

/// As a shell takes it, without what only concerns a parent process.
fn arguments(typed: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/[]+@%".contains(c);
    let quoted = |word: String| match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let typed = typed.filter(|word| word != "--exit-with-parent").map(quoted);
    std::iter::once("fourwave".to_owned()).chain(typed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use std::time::Duration;

    fn decoded(text: &str) -> Histogram<u64> {
        let bytes = STANDARD.decode(text).unwrap();
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_histogram_is_the_same_when_it_is_read_back() {
        let mut histogram = crate::measure::histogram();
        for ns in [1, 2047, 5_000_000, 3_600_000_000_000] {
            histogram.record_n(ns, ns % 7 + 1).unwrap();
        }
        assert_eq!(decoded(&encoded(&histogram)), histogram);
        // HdrHistogram's V2 cookie, 0x1c849304 for the deflated form, is where a line of a log begins: "HISTFAAA".
        assert!(encoded(&histogram).starts_with("HISTF"), "{}", encoded(&histogram));
    }

    #[test]
    fn the_command_line_can_be_typed_again() {
        let line = |words: &[&str]| arguments(words.iter().map(|word| (*word).to_owned()));
        let words = ["--exit-with-parent", "ping", "[fd77::1]:7", "--bytes", "64:0.9,1400:0.1"];
        assert_eq!(line(&words), "fourwave ping [fd77::1]:7 --bytes 64:0.9,1400:0.1");
        assert_eq!(line(&["--hgrm", "it's a file", ""]), r"fourwave --hgrm 'it'\''s a file' ''");
    }

    #[test]
    fn the_document_has_its_keys() {
        let mut seconds = Seconds::default();
        let histogram = crate::measure::histogram();
        seconds.add(&Second::of(0.0, Duration::from_secs(1), &histogram, 0));
        seconds.began(UNIX_EPOCH + Duration::from_millis(1_500));
        let results = Run::begin("ping").results(&histogram, seconds);
        let document = serde_json::to_value(&results).unwrap();
        assert_eq!((&document["command"], &document["started_unix_s"]), (&"ping".into(), &1.5.into()));
        for key in ["arguments", "version", "histogram"] {
            assert!(document[key].is_string(), "{key}");
        }
        for key in ["cpu", "cores", "kernel"] {
            assert!(!document["machine"][key].is_null(), "{key}");
        }
        for key in ["source", "tsc_hz", "drift_ppm", "stable"] {
            assert!(document["clock"].get(key).is_some(), "{key}");
        }
        for key in ["at_s", "length_s", "count", "errors", "p50", "p90", "p99", "p999", "max"] {
            assert!(document["seconds"][0][key].is_number(), "{key}");
        }
        assert_eq!(document["warnings"], serde_json::json!([]));
        let back: Results = serde_json::from_value(document).unwrap();
        assert_eq!(decoded(&back.histogram), histogram);
    }
}
