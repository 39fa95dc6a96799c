//! The tables of a report, for the terminal and for Markdown.

use std::fmt;

use super::overload::{Load, Overload};
use super::peers::Peer;
use super::proxy::{Proxies, ProxyRow};
use super::report::{BenchReport, nanoseconds};
use super::samples::Figures;
use super::task::{Point, Task, Test};
use crate::out;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) title: String,
    /// Of its plot, if it has one.
    pub(super) key: Option<&'static str>,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    /// Sentences below it.
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    title: String,
    cells: Vec<String>,
    /// Fourwave's by this one's.
    ratio: Option<f64>,
    aim: Option<&'static str>,
}

/// What issues ask of fourwave, beside a stack: by the ratio.
pub(super) const fn aim(test: Test, point: Point) -> Option<&'static str> {
    match (test, point) {
        (Test::Rtt, Point::Raw) => Some("≤ 1.3"),
        (Test::Rtt, Point::KernelSpin) => Some("≤ 0.55, p99.9 no higher"),
        (Test::Rtt, Point::KernelEpoll) => Some("p99.9 no higher"),
        (Test::Rps, Point::Raw) => Some("≥ 0.5"),
        (Test::Rps, Point::KernelEpoll | Point::KernelSpin) => Some("≥ 4"),
        (Test::Cps, Point::Raw) => Some("≥ 0.167"),
        (Test::Cps, Point::KernelEpoll | Point::KernelSpin) => Some("≥ 5"),
        (Test::Bulk, Point::Raw) => Some("≥ 0.7"),
        _ => None,
    }
}

/// All of what was to be measured.
pub(super) fn tables(report: &BenchReport) -> Vec<Table> {
    let mut tables: Vec<_> = Test::ALL.iter().filter_map(|test| stacks(report, *test)).collect();
    tables.extend(["rtt", "rps", "bulk"].iter().filter_map(|test| peers(report, test)));
    tables.extend(report.has_proxies().then(|| proxies(report)));
    tables.extend(Load::ALL.into_iter().filter(|_| report.has_overload()).map(|load| overload(report, load)));
    tables
}

fn stacks(report: &BenchReport, test: Test) -> Option<Table> {
    let points = report.points(test);
    let row = |point: &Point| Row {
        title: point.title().to_owned(),
        cells: cells(test, report.samples.figures(Task::Stack(test, *point)).as_ref()),
        ratio: report.samples.ratio(test, *point).filter(|_| *point != Point::Fourwave),
        aim: aim(test, *point),
    };
    (!points.is_empty()).then(|| Table {
        title: report.title(test),
        key: Some(test.key()),
        columns: columns(test),
        rows: points.iter().map(row).collect(),
        notes: Vec::new(),
    })
}

fn peers(report: &BenchReport, key: &str) -> Option<Table> {
    let peers: Vec<_> = report.peers().into_iter().filter(|peer| peer.test() == key).collect();
    let test = match key {
        "rtt" => Test::Rtt,
        "rps" => Test::Rps,
        _ => Test::Bulk,
    };
    let row = |peer: &Peer| Row {
        title: peer.title().to_owned(),
        cells: cells(test, report.samples.figures(Task::Peer(*peer)).as_ref()),
        ratio: None,
        aim: None,
    };
    (!peers.is_empty()).then(|| Table {
        title: format!("other programs: {}", report.title(test)),
        key: None,
        columns: columns(test),
        rows: peers.iter().map(row).collect(),
        notes: Vec::new(),
    })
}

fn proxies(report: &BenchReport) -> Table {
    let proxies = Proxies(&report.samples);
    let row = |(title, values, ratio): ProxyRow| Row {
        title: title.to_owned(),
        cells: values.map(|value| value.unwrap_or_else(dash)).to_vec(),
        ratio,
        aim: None,
    };
    let haproxy = report.haproxy().map(|version| format!(", beside {version}")).unwrap_or_default();
    Table {
        title: format!("proxy, through one core{haproxy}"),
        key: None,
        columns: vec!["fourwave", "HAProxy"],
        rows: proxies.rows().into_iter().map(row).collect(),
        notes: proxies.notes(),
    }
}

fn overload(report: &BenchReport, load: Load) -> Table {
    let overload = Overload::of(&report.samples, load);
    let rate = |rate: f64| format!("{rate:.0}");
    let time = |ns: Option<u64>| ns.map_or_else(dash, nanoseconds);
    let rows = overload.steps.iter().map(|step| Row {
        title: format!("{:.1} × the most", step.share),
        cells: vec![rate(step.offered_per_s), rate(step.per_s), time(step.p50_ns), time(step.p99_ns)],
        ratio: None,
        aim: (step.share > 1.0).then_some("the rate holds"),
    });
    let rows = rows.collect();
    Table {
        title: BenchReport::overload_title(load, &overload),
        key: Some(load.plot()),
        columns: vec!["offered per s", "answered per s", "p50", "p99"],
        rows,
        notes: Vec::new(),
    }
}

fn columns(test: Test) -> Vec<&'static str> {
    match test {
        Test::Rtt => vec!["p50", "p99", "p99.9"],
        Test::Rps | Test::Cps => vec!["per s", "p50", "p99"],
        Test::Bulk | Test::BulkJumbo => vec!["Gbit/s"],
    }
}

fn cells(test: Test, figures: Option<&Figures>) -> Vec<String> {
    let Some(figures) = figures else { return vec!["not yet".to_owned()] };
    // A program that doesn't tell has none.
    let time = |ns: Option<u64>| ns.filter(|ns| *ns > 0).map_or_else(dash, nanoseconds);
    let number = |number: Option<f64>, decimals| number.map_or_else(dash, |number| format!("{number:.decimals$}"));
    match test {
        Test::Rtt => [figures.p50_ns, figures.p99_ns, figures.p999_ns].map(time).to_vec(),
        Test::Rps | Test::Cps => vec![number(figures.per_s, 0), time(figures.p50_ns), time(figures.p99_ns)],
        Test::Bulk | Test::BulkJumbo => vec![number(figures.gbit_per_s, 2)],
    }
}

fn dash() -> String {
    "–".to_owned()
}

/// The figure that is compared.
pub(super) fn in_short(figures: &Figures) -> String {
    match (figures.gbit_per_s, figures.per_s, figures.p50_ns) {
        (Some(gbit), ..) => format!("{gbit:.2} Gbit/s"),
        (None, Some(rate), _) => format!("{rate:.0}/s"),
        (None, None, ns) => nanoseconds(ns.unwrap_or(0)),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = self.rows.iter().any(|row| row.ratio.is_some());
        write!(f, "{}\n  {:<37}", self.title, "")?;
        self.columns.iter().try_for_each(|name| write!(f, "{name:>15}"))?;
        f.write_str(if compared { "    fourwave is" } else { "" })?;
        for Row { title, cells, ratio, .. } in &self.rows {
            write!(f, "\n  {title:<37}")?;
            cells.iter().try_for_each(|cell| write!(f, "{cell:>15}"))?;
            if let Some(ratio) = ratio {
                write!(f, "    {ratio:.2} × that")?;
            }
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

impl Table {
    /// With the ratios and aims of those that have some.
    pub(super) fn markdown(&self) -> String {
        let compared = self.rows.iter().any(|row| row.ratio.is_some());
        let aims = self.rows.iter().any(|row| row.aim.is_some());
        let mut columns = vec![""];
        columns.extend(&self.columns);
        columns.extend(compared.then_some("fourwave is"));
        columns.extend(aims.then_some("aim"));
        let mut text = format!("| {} |\n|---|{}\n", columns.join(" | "), "--:|".repeat(columns.len() - 1));
        for row in &self.rows {
            let mut cells = vec![row.title.clone()];
            cells.extend(row.cells.iter().cloned());
            cells.resize(1 + self.columns.len(), String::new());
            if compared {
                cells.push(row.ratio.map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default());
            }
            if aims {
                cells.push(row.aim.unwrap_or_default().to_owned());
            }
            text += &format!("| {} |\n", cells.join(" | "));
        }
        for note in &self.notes {
            text += &format!("\n{}.\n", out::capital(note));
        }
        text
    }
}
