//! Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::{self, Display, Write};

/// What can be done with a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by upper bounds.
    Histogram,
}

impl Kind {
    /// As the format calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its samples differ in their labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name; a counter's ends with `_total`.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The names of its labels, as in `shard, reason`; empty: it has none.
    pub labels: &'static str,
    /// One sentence, without its full stop.
    pub help: &'static str,
}

/// Metrics to be written: samples of a family stand together, in whatever order they come.
#[derive(Debug, Default)]
pub struct Text {
    families: Vec<(Family, String)>,
}

impl Text {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { families: Vec::new() }
    }

    /// A sample of a counter or a gauge.
    pub fn sample(&mut self, family: &Family, labels: &[(&str, &str)], value: impl Display) {
        put(self.samples(family), family.name, "", labels, None, &value);
    }

    /// A histogram: how many values were at most each bound, which grow, of how many in all, and their sum.
    pub fn histogram(
        &mut self,
        family: &Family,
        labels: &[(&str, &str)],
        at_most: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let out = self.samples(family);
        for (bound, count) in at_most {
            put(out, family.name, "_bucket", labels, Some(&bound), &count);
        }
        put(out, family.name, "_bucket", labels, Some(&"+Inf"), &count);
        put(out, family.name, "_sum", labels, None, &sum);
        put(out, family.name, "_count", labels, None, &count);
    }

    fn samples(&mut self, family: &Family) -> &mut String {
        let at = self.families.iter().position(|(known, _)| known.name == family.name);
        let at = at.unwrap_or_else(|| {
            self.families.push((*family, String::new()));
            self.families.len() - 1
        });
        &mut self.families[at].1
    }
}

fn put(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    bound: Option<&dyn Display>,
    value: &dyn Display,
) {
    // Nothing that is written to a string fails.
    let _ = write!(out, "{name}{suffix}");
    let mut before = '{';
    for (label, value) in labels {
        let _ = write!(out, "{before}{label}=\"{}\"", Escaped(value));
        before = ',';
    }
    if let Some(bound) = bound {
        let _ = write!(out, "{before}le=\"{bound}\"");
        before = ',';
    }
    let _ = writeln!(out, "{} {value}", if before == ',' { "}" } else { "" });
}

/// The value of a label: whatever it is, it stays one.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.families.iter().try_for_each(|(family, samples)| {
            let Family { name, kind, help, .. } = family;
            write!(f, "# HELP {name} {help}.\n# TYPE {name} {}\n{samples}", kind.name())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DROPS: Family =
        Family { name: "drops_total", kind: Kind::Counter, labels: "shard, reason", help: "Frames dropped" };
    const TIMES: Family =
        Family { name: "turn_seconds", kind: Kind::Histogram, labels: "", help: "How long turns took" };

    #[test]
    fn samples_of_a_family_stand_together_behind_what_they_are() {
        let mut text = Text::new();
        text.sample(&DROPS, &[("shard", "0"), ("reason", "full")], 3);
        text.histogram(&TIMES, &[], [(0.5, 1), (1.0, 2)].into_iter(), 4, 7.5);
        text.sample(&DROPS, &[("shard", "1"), ("reason", "full")], u64::MAX);
        let expected = "# HELP drops_total Frames dropped.\n# TYPE drops_total counter\n\
            drops_total{shard=\"0\",reason=\"full\"} 3\n\
            drops_total{shard=\"1\",reason=\"full\"} 18446744073709551615\n\
            # HELP turn_seconds How long turns took.\n# TYPE turn_seconds histogram\n\
            turn_seconds_bucket{le=\"0.5\"} 1\nturn_seconds_bucket{le=\"1\"} 2\nturn_seconds_bucket{le=\"+Inf\"} 4\n\
            turn_seconds_sum 7.5\nturn_seconds_count 4\n";
        assert_eq!(text.to_string(), expected);
    }

    #[test]
    fn a_labels_value_ends_where_it_ends() {
        let mut text = Text::new();
        text.sample(&DROPS, &[("reason", "a\"} 1\nb\\")], 0);
        assert!(text.to_string().ends_with("\ndrops_total{reason=\"a\\\"} 1\\nb\\\\\"} 0\n"), "{text}");
    }
}
