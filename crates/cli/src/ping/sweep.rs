//! The same measurement for one value after the other, and what is printed of it.

use std::fmt;
use std::fs::File;

use serde::Serialize;

use super::{Config, Pace, Report, Step};
use crate::measure::Sending;
use crate::{measure, out, report};

/// What changes from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    Rate,
    Size,
}

impl Swept {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Size => "size",
        }
    }

    pub(super) fn value(self, step: &Step) -> u32 {
        match (self, step.pace) {
            (Self::Rate, Pace::Open { rate }) => rate,
            _ => step.sizes.largest(),
        }
    }
}

/// The document of `ping --sweep … --json`.
#[derive(Serialize)]
struct Document<'a> {
    command: &'a str,
    arguments: &'a str,
    stack: &'a str,
    mode: &'a str,
    target: &'a str,
    connections: usize,
    swept: &'static str,
    sweep: &'a [Report],
}

/// Prints the reports of all steps that measured anything, and says what they are not to be trusted for. `warnings` are of the
/// whole run.
pub(super) fn print(
    config: &Config,
    warnings: &[String],
    mut reports: Vec<Report>,
    page: Option<File>,
) -> anyhow::Result<()> {
    if config.swept.is_some() {
        reports = measured(reports);
    }
    measure::warn_of_all(warnings, reports.iter_mut().map(|report| &mut report.results));
    for report in &mut reports {
        let place = match (config.swept, report.intended_rate_per_s) {
            (Some(Swept::Rate), Some(rate)) => format!("at {rate} per second "),
            (Some(Swept::Size), _) => format!("with {} bytes ", report.message_bytes),
            _ => String::new(),
        };
        if report.is_unmeasured() {
            report.results.warn(format!("{place}it ended before measuring began: nothing was measured"));
        }
        if let Some(complaint) = report.under_way.complaint(report.latency_ns.max) {
            report.results.warn(format!("{place}{complaint}"));
        }
        match report.sending.as_ref().and_then(|sending| sending.complaint()) {
            Some(complaint) => report.results.warn(format!("{place}{complaint}")),
            None => report.results.complain(&place),
        }
    }
    let Some(first) = reports.first() else { return Ok(()) };
    let document = config.swept.map(|swept| Document {
        command: &first.results.command,
        arguments: &first.results.arguments,
        stack: &first.stack,
        mode: &first.mode,
        target: &first.target,
        connections: first.connections,
        swept: swept.name(),
        sweep: &reports,
    });
    let told = match (config.swept, &document) {
        (_, Some(document)) if config.json => out::json(document),
        (Some(swept), _) => {
            out::result(&Table { swept, reports: &reports }.to_string());
            Ok(())
        }
        (None, _) if config.json => out::json(first),
        (None, _) => {
            out::result(&first.to_string());
            Ok(())
        }
    };
    let name = format!("ping {}", first.target);
    let shown = match (page, document) {
        (Some(page), Some(document)) => report::write_page(page, &name, &document),
        (Some(page), None) => report::write_page(page, &name, first),
        (None, _) => Ok(()),
    };
    measure::all([told, shown])
}

/// Those that measured anything; if none did, the first says so: who asks for a document gets one.
fn measured(mut reports: Vec<Report>) -> Vec<Report> {
    if reports.iter().any(|report| report.count > 0) {
        reports.retain(|report| report.count > 0);
    } else {
        reports.truncate(1);
    }
    reports
}

type Count = fn(&Sending) -> u64;

/// How the schedule was kept, as [`Sending`] counts it.
const SENDING: [(&str, Count); 3] = [
    ("late", |sending| sending.late),
    ("held back", |sending| sending.held_back),
    ("unsent", |sending| sending.unsent),
];

/// For people: a line per value.
struct Table<'a> {
    swept: Swept,
    reports: &'a [Report],
}

impl fmt::Display for Table<'_> {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three figures")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.reports.first() {
            writeln!(f, "{}", first.title(Some(self.swept)))?;
        }
        let sendings: Vec<_> = self.reports.iter().filter_map(|report| report.sending.as_ref()).collect();
        // Of a closed loop there is no schedule; and what is zero throughout is left away.
        let kept: Vec<_> = SENDING
            .iter()
            .filter(|(title, of)| sendings.iter().any(|sending| *title == "late" || of(sending) > 0))
            .collect();
        let titles = [self.swept.name(), "per second", "p50", "p90", "p99", "p99.9", "max"];
        for title in titles.into_iter().chain(kept.iter().map(|(title, _)| *title)).chain(["errors"]) {
            write!(f, "{title:>11}")?;
        }
        for report in self.reports {
            let value = match (self.swept, report.intended_rate_per_s) {
                (Swept::Rate, Some(rate)) => u64::from(rate),
                _ => report.message_bytes as u64,
            };
            write!(f, "\n{value:>11}{:>11.0}", report.rate_per_s)?;
            let latency = &report.latency_ns;
            for ns in [latency.p50, latency.p90, latency.p99, latency.p999, latency.max] {
                write!(f, "{:>11}", out::nanoseconds(ns as f64))?;
            }
            for (_, of) in &kept {
                write!(f, "{:>11}", report.sending.as_ref().map_or(0, of))?;
            }
            write!(f, "{:>11}", report.errors)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    /// The titles of a table of so many reports as there are values, and its last row.
    fn table(sweep: &str, sendings: Vec<Option<Sending>>) -> (Vec<String>, Vec<String>) {
        let command = Cli::try_parse_from(["fourwave", "ping", "10.77.0.1:7", "--sweep", sweep]).unwrap().command;
        let Command::Ping(args) = command else { panic!("{command:?}") };
        let config = args.resolve().unwrap();
        let report = |(step, sending)| Report { sending, ..Report::empty(&config, step) };
        let reports: Vec<_> = config.steps.iter().zip(sendings).map(report).collect();
        let text = Table { swept: config.swept.unwrap(), reports: &reports }.to_string();
        let words = |line: &str| line.split("  ").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
        (words(text.lines().nth(1).unwrap()), words(text.lines().last().unwrap()))
    }

    /// Interrupted before anything came back, a sweep has a document as any measurement has.
    #[test]
    fn what_measured_nothing_is_left_out_unless_nothing_else_is_there() {
        let config =
            match Cli::try_parse_from(["fourwave", "ping", "10.77.0.1:7", "--sweep", "size=1,2,3"]).unwrap().command {
                Command::Ping(args) => args.resolve().unwrap(),
                other => panic!("{other:?}"),
            };
        let sizes = |counts: [u64; 3]| {
            let report = |(step, count)| Report { count, ..Report::empty(&config, step) };
            let reports = config.steps.iter().zip(counts).map(report).collect();
            measured(reports).iter().map(|report| report.message_bytes).collect::<Vec<_>>()
        };
        assert_eq!((sizes([5, 0, 7]), sizes([0, 0, 0])), (vec![1, 3], vec![1]));
    }

    #[test]
    fn late_held_back_and_unsent_are_told_apart_where_there_are_any() {
        let sending = |late, held_back, unsent| Some(Sending { late, held_back, unsent, ..Sending::default() });
        let ends = |words: &[String], end: &str| assert!(words.join("|").ends_with(end), "{words:?}");
        let (titles, row) = table("rate=1,2", vec![sending(0, 0, 0), sending(3, 40, 500)]);
        ends(&titles, "|max|late|held back|unsent|errors");
        ends(&row, "|3|40|500|0");
        let (titles, row) = table("rate=1,2", vec![sending(0, 0, 9), sending(1, 0, 0)]);
        ends(&titles, "|max|late|unsent|errors");
        ends(&row, "|1|0|0");
        ends(&table("size=1,2", vec![None, None]).0, "|max|errors");
    }
}
