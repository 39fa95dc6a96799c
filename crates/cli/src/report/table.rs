//! Results beside each other, in a terminal.

use std::fmt;

use super::document::{Document, Measurement};
use crate::out;

/// A cell: wide enough for `123.45 Gbit/s`.
const CELL: usize = 11;
const MOST_NAME: usize = 28;

/// What is compared: a figure of a measurement.
pub(super) struct Figure {
    pub(super) title: &'static str,
    pub(super) of: fn(&Measurement) -> Option<f64>,
    pub(super) show: fn(f64) -> String,
}

macro_rules! time {
    ($title:literal, $field:ident) => {
        Figure { title: $title, of: |step| step.latency.as_ref()?.$field.map(|ns| ns as f64), show: out::nanoseconds }
    };
}

/// In the order of the table. Nanoseconds below 2^53 are exact.
#[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
pub(super) const FIGURES: [Figure; 12] = [
    Figure { title: "per second", of: |step| Some(step.rate_per_s), show: number },
    Figure { title: "asked for", of: |step| step.intended_rate_per_s, show: number },
    time!("min", min),
    time!("p50", p50),
    time!("p90", p90),
    time!("p99", p99),
    time!("p99.9", p999),
    time!("p99.99", p9999),
    time!("max", max),
    Figure {
        title: "connects/s",
        of: |step| step.connects_per_s.filter(|rate| *rate > 0.0 && step.unit() != "connections"),
        show: number,
    },
    Figure {
        title: "Gbit/s",
        of: |step| step.gbit_per_s.filter(|rate| *rate > 0.0),
        show: |gbit| format!("{gbit:.3}"),
    },
    Figure { title: "errors", of: |step| step.errors.map(|errors| errors as f64), show: number },
];

/// What a terminal is wide enough for.
const IN_TERMINAL: [&str; 8] = ["per second", "p50", "p99", "p99.9", "max", "connects/s", "Gbit/s", "errors"];

/// A number for people, in groups of three.
pub(super) fn number(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) && plain.as_bytes()[index - 1] != b'-' {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many times that of another it is; none of nothing.
pub(super) fn ratio(value: Option<f64>, other: Option<f64>) -> Option<f64> {
    value.zip(other).filter(|(_, other)| *other > 0.0).map(|(value, other)| value / other)
}

pub(super) fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 1e-4 && ratio > 0.0 => format!("{ratio:.1e} ×"),
        ratio if ratio < 0.01 && ratio > 0.0 => format!("{ratio:.4} ×"),
        ratio if ratio < 10.0 => format!("{ratio:.2} ×"),
        ratio if ratio < 1e4 => format!("{ratio:.0} ×"),
        ratio => format!("{ratio:.1e} ×"),
    }
}

/// What a row is called.
pub(super) fn row_name(document: &Document, step: &Measurement) -> String {
    match (&document.swept, document.swept_value(step)) {
        (Some(swept), Some(value)) => format!("{}, {swept} {}", document.name, number(value)),
        _ => document.name.clone(),
    }
}

/// The measurement of the first result that another's is compared with: the one of the same value, if it is a sweep.
pub(super) fn counterpart<'a>(
    documents: &'a [Document],
    document: &Document,
    step: &Measurement,
) -> Option<&'a Measurement> {
    let first = documents.first()?;
    let value = document.swept_value(step).map(f64::to_bits);
    if first.is_sweep() != document.is_sweep() || first.swept != document.swept {
        return None;
    }
    first.steps.iter().find(|other| first.swept_value(other).map(f64::to_bits) == value)
}

/// For people.
pub(super) struct Table<'a>(pub(super) &'a [Document]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(documents) = self;
        let steps = || documents.iter().flat_map(|document| document.steps.iter().map(move |step| (document, step)));
        let wanted = |figure: &&Figure| {
            let always = ["per second", "p50", "p99", "p99.9", "max", "errors"].contains(&figure.title);
            IN_TERMINAL.contains(&figure.title) && (always || steps().any(|(_, step)| (figure.of)(step).is_some()))
        };
        let figures: Vec<_> = FIGURES.iter().filter(wanted).collect();
        let to_first =
            format!("  to {}", documents.first().filter(|_| documents.len() > 1).map_or("", |first| &first.name));
        let names = steps().map(|(document, step)| row_name(document, step)).chain([to_first.clone()]);
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(12, MOST_NAME);
        write!(f, "{:<width$}", "")?;
        for figure in &figures {
            write!(f, "{:>CELL$}", figure.title)?;
        }
        for (index, document) in documents.iter().enumerate() {
            for step in &document.steps {
                write!(f, "\n{:<width$}", cut(&row_name(document, step), width))?;
                for figure in &figures {
                    write!(f, "{:>CELL$}", (figure.of)(step).map_or("-".into(), figure.show))?;
                }
                let Some(other) = counterpart(documents, document, step).filter(|_| index > 0) else { continue };
                write!(f, "\n{:<width$}", cut(&to_first, width))?;
                for figure in &figures {
                    let ratio = ratio((figure.of)(step), (figure.of)(other));
                    write!(f, "{:>CELL$}", ratio.map_or_else(String::new, times))?;
                }
            }
        }
        for (document, step) in steps() {
            for warning in &step.warnings {
                write!(f, "\n{}: warning: {warning}", row_name(document, step))?;
            }
        }
        Ok(())
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(name: &str, rate: u32, p50: u64) -> Document {
        let latency = json!({"p50": p50, "p99": 2 * p50, "p999": 3 * p50, "max": 4 * p50});
        let value = json!({"count": 10, "errors": 0, "duration_s": 1, "rate_per_s": rate, "latency_ns": latency,
            "warnings": ["the clock is not stable"]});
        Document::of(name, value).unwrap()
    }

    #[test]
    fn rows_and_ratios_stand_below_their_titles() {
        let text = Table(&[document("a", 1000, 5000), document("b", 250_000, 1000)]).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert_eq!(lines[0], "             per second        p50        p99      p99.9        max     errors");
        assert_eq!(lines[1], "a                 1,000    5.00 µs    10.0 µs    15.0 µs    20.0 µs          0");
        assert_eq!(lines[2], "b               250,000    1.00 µs    2.00 µs    3.00 µs    4.00 µs          0");
        assert_eq!(lines[3].trim_end(), "  to a            250 ×     0.20 ×     0.20 ×     0.20 ×     0.20 ×");
        assert_eq!(lines[4], "a: warning: the clock is not stable");
    }

    #[test]
    fn numbers_are_in_groups() {
        let shown = [0.0, 999.4, 1000.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        let ratios = [0.5, 123.4, 1e9, 0.0, 0.0033, 1e-9].map(times);
        assert_eq!(ratios, ["0.50 ×", "123 ×", "1.0e9 ×", "0.00 ×", "0.0033 ×", "1.0e-9 ×"]);
        assert_eq!((ratio(Some(1.0), Some(0.0)), ratio(None, Some(1.0))), (None, None));
    }
}
