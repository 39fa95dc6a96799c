//! `--results`: the document, a table for people, and plots, which README and docs quote.

use std::path::Path;

use anyhow::Context;

use super::overload::{Load, Overload};
use super::plot::{self, Bar};
use super::report::BenchReport;
use super::table::{self, in_short};
use super::task::{Point, Task, Test};

/// Writes all files into the folder, which is made if it is not there.
pub(super) fn write(report: &BenchReport, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut files = vec![
        ("bench.json".to_owned(), format!("{}\n", serde_json::to_string_pretty(report)?)),
        ("bench.md".to_owned(), markdown(report)),
    ];
    files.extend(plots(report).into_iter().map(|(key, svg)| (format!("{key}.svg"), svg)));
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

pub(super) fn markdown(report: &BenchReport) -> String {
    let command = report.command();
    let mut text = format!("# `fourwave bench`\n\n`{command}`: {}.\n\n", report.heading());
    text += "Fourwave's figure divided by another's is in the column \"fourwave is\": of times less is better, of rates more.\n";
    let plots = plots(report);
    for table in table::tables(report) {
        text += &format!("\n## {}\n\n", crate::out::capital(&table.title));
        if let Some((key, _)) = plots.iter().find(|(key, _)| Some(*key) == table.key) {
            text += &format!("![{}]({key}.svg)\n\n", table.title);
        }
        text += &table.markdown();
    }
    let notes = report.notes();
    if !notes.is_empty() {
        text += "\n## Notes\n\n";
        text.extend(notes.iter().map(|note| format!("- {note}\n")));
    }
    text
}

/// By their keys; of what was measured.
fn plots(report: &BenchReport) -> Vec<(&'static str, String)> {
    let mut plots: Vec<_> = Test::ALL.iter().filter_map(|test| Some((test.key(), stacks(report, *test)?))).collect();
    plots.extend(Load::ALL.iter().filter_map(|load| Some((load.plot(), overload(report, *load)?))));
    plots
}

fn stacks(report: &BenchReport, test: Test) -> Option<String> {
    let (unit, scale) = match test {
        Test::Rtt => ("µs, median", 1e-3),
        Test::Rps => ("requests/s; of raw frames, frames there and back", 1.0),
        Test::Cps => ("connections/s; of raw frames, frames there and back", 1.0),
        Test::Bulk | Test::BulkJumbo => ("Gbit/s", 1.0),
    };
    let bar = |point: Point| {
        let figures = report.samples.figures(Task::Stack(test, point))?;
        Some(Bar {
            name: point.title().to_owned(),
            median: figures.value(test)? * scale,
            rounds: figures.rounds(test).iter().map(|value| value * scale).collect(),
            label: if test == Test::Rtt { super::report::nanoseconds(figures.p50_ns?) } else { in_short(&figures) },
            ours: point == Point::Fourwave,
        })
    };
    let bars: Vec<_> = report.points(test).into_iter().filter_map(bar).collect();
    (!bars.is_empty()).then(|| plot::bars(&report.title(test), unit, &bars))
}

fn overload(report: &BenchReport, load: Load) -> Option<String> {
    let overload = Overload::of(&report.samples, load);
    let bar = |step: &super::overload::Step| Bar {
        name: format!("{:.1} × offered", step.share),
        median: step.per_s,
        rounds: step.per_s_rounds.clone(),
        label: format!("{:.0}/s", step.per_s),
        ours: true,
    };
    let bars: Vec<_> = overload.steps.iter().map(bar).collect();
    (!bars.is_empty()).then(|| plot::bars(&BenchReport::overload_title(load, &overload), "answered per s", &bars))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::report;
    use crate::bench::samples::Sample;
    use crate::bench::task::Part;

    #[test]
    fn the_page_has_figures_ratios_and_aims() {
        let mut report = report(&[Part::Rps, Part::Bulk]);
        for (point, rate) in [(Point::Raw, 1_000_000.0), (Point::Fourwave, 600_000.0), (Point::KernelEpoll, 120_000.0)]
        {
            let sample = Sample { per_s: Some(rate), gbit_per_s: Some(rate / 1e5), ..Sample::default() };
            report.add(Task::Stack(Test::Rps, point), sample.clone());
            report.add(Task::Stack(Test::Bulk, point), sample);
        }
        let page = markdown(&report);
        for line in [
            "`fourwave bench --only rps,bulk --rounds 3 --seconds 1 --pause-s 0 --bytes 64`",
            "![HTTP requests/s, 64 kept connections, body of 64 bytes](rps.svg)",
            "| raw AF_XDP frames | 1000000 | – | – | 0.60 × | ≥ 0.5 |",
            "| kernel, epoll | 120000 | – | – | 5.00 × | ≥ 4 |",
            "| kernel, spinning | not yet |  |  |  | ≥ 4 |",
            "| fourwave | 6.00 |  |  |",
            "| raw AF_XDP frames | 10.00 | 0.60 × | ≥ 0.7 |",
        ] {
            assert!(page.lines().any(|have| have.starts_with(line)), "{line}: {page}");
        }
    }

    #[test]
    fn files_are_written_into_a_folder_that_is_made() {
        let folder = std::env::temp_dir().join(format!("fourwave-bench-results-{}", std::process::id()));
        let mut report = report(&[Part::Rps]);
        let sample = Sample { per_s: Some(5.0), ..Sample::default() };
        report.add(Task::Stack(Test::Rps, Point::Fourwave), sample);
        write(&report, &folder.join("deeper")).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.join("deeper"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["bench.json", "bench.md", "rps.svg"]);
    }
}
