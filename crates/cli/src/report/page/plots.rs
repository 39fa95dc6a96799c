//! Which plots there are, and the tables beside them.

use std::fmt::Write;

use super::super::document::{Document, Measurement, Times};
use super::super::series::{Second, thinned};
use super::super::table::number;
use super::axis::{Axis, Kind, exact_time, percent};
use super::plot::{Hit, Line, MOST_POINTS, Plot};
use super::{Shown, escape, swatch};

/// The last of the axis: 99.999 %.
const DECADES: f64 = 5.0;
const STEPS_PER_DECADE: u32 = 20;
/// Rows of a table beside a plot.
const MOST_ROWS: usize = 60;
/// Of a second.
type Field = (&'static str, &'static str, fn(&Second) -> Option<f64>);
/// Of a measurement.
type Swept = (&'static str, &'static str, fn(&Measurement) -> Option<f64>, Kind);

pub(super) fn section(out: &mut String, id: &str, title: &str, text: &str) {
    let text = if text.is_empty() { String::new() } else { format!("<p class=\"dim\">{text}</p>\n") };
    let _ = write!(out, "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>\n{text}");
}

/// A table that says the same, folded up.
fn alternative(out: &mut String, title: &str, heads: &[String], rows: &[Vec<String>]) {
    let head: String = heads.iter().map(|head| format!("<th scope=\"col\">{}</th>", escape(head))).collect();
    let _ = write!(
        out,
        "<details><summary>{} as a table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0} as a table\">\
         <table><thead><tr>{head}</tr></thead>\n<tbody>\n",
        escape(title)
    );
    for row in rows {
        let cells: String = row[1..].iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = writeln!(out, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(&row[0]));
    }
    out.push_str("</tbody></table></div></details>\n");
}

/// Latency by percentile, as HdrHistogram's plots have it.
pub(super) fn percentiles(out: &mut String, shown: &[Shown<'_>]) {
    let lines: Vec<Line> = shown
        .iter()
        .enumerate()
        .map(|(index, one)| Line { class: 'r', index, points: curve(one.step), errors: Vec::new() })
        .filter(|line| !line.points.is_empty())
        .collect();
    if lines.is_empty() {
        return;
    }
    let values = || lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y));
    let last = lines.iter().flat_map(|line| line.points.last()).map(|(x, _)| *x).fold(1.0, f64::max);
    let x = Axis::exact(Kind::Percentile, 0.0, last.ceil().clamp(2.0, DECADES));
    section(
        out,
        "percentiles",
        "Latency by percentile",
        "To the right, each step is a tenth of what is left to 100 %. A line ends at its result's largest value, or at 99.999 %.",
    );
    out.push_str(
        "<fieldset class=\"scale\"><legend>Latency</legend>\
         <label><input type=\"radio\" name=\"scale\" id=\"scale-log\" checked=\"checked\"/>logarithmic</label>\
         <label><input type=\"radio\" name=\"scale\" id=\"scale-lin\"/>linear</label></fieldset>\n<figure>\n",
    );
    let at = |step: &Measurement, decades: f64| value_at(step, decades).map_or("–".into(), exact_time);
    let hits = (0..=100u32).map(|n| f64::from(n) / f64::from(STEPS_PER_DECADE)).take_while(|u| *u <= x.high + 1e-9);
    let hit = |u: f64| {
        let rows = shown.iter().map(|one| format!("\n{}: {}", one.name, at(one.step, u)));
        Hit { at: u, text: std::iter::once(percent(u)).chain(rows).collect() }
    };
    let description = shown.iter().map(|one| described(one)).collect::<Vec<_>>().join("; ");
    let mut plot = Plot {
        id: "percentiles-log".into(),
        title: "Latency by percentile, logarithmic".into(),
        description,
        x,
        y: Axis::log(Kind::Nanoseconds, values().collect::<Vec<_>>().into_iter()),
        x_title: "percentile".into(),
        y_title: "latency".into(),
        hits: hits.map(hit).collect(),
        ideal: None,
        tall: true,
        lines: Vec::new(),
    };
    let linear = Axis::linear(Kind::Nanoseconds, values());
    plot.lines = lines;
    let _ = writeln!(out, "<div class=\"log\">{}</div>", plot.svg());
    plot = Plot { id: "percentiles-lin".into(), title: "Latency by percentile, linear".into(), y: linear, ..plot };
    let _ = write!(out, "<div class=\"lin\">{}</div>\n</figure>\n", plot.svg());
    let heads: Vec<_> =
        std::iter::once("percentile".to_owned()).chain(shown.iter().map(|one| one.name.clone())).collect();
    let rows: Vec<_> = [0.0, 2f64.log10(), 4f64.log10(), 1.0, 20f64.log10(), 2.0, 3.0, 4.0, 5.0]
        .into_iter()
        .map(|u| std::iter::once(percent(u)).chain(shown.iter().map(|one| at(one.step, u))).collect())
        .collect();
    alternative(out, "Latency by percentile", &heads, &rows);
    out.push_str("</section>\n");
}

fn described(one: &Shown<'_>) -> String {
    let times = one.step.latency.clone().unwrap_or_default();
    let time = |ns: Option<u64>| ns.map_or("unknown".into(), |ns| exact_time(to_f64(ns)));
    let Times { p50, p99, p999, max, .. } = times;
    format!("{}: median {}, 99 % {}, 99.9 % {}, largest {}", one.name, time(p50), time(p99), time(p999), time(max))
}

#[expect(clippy::cast_precision_loss, reason = "a plot has a thousand pixels")]
pub(super) fn to_f64(value: u64) -> f64 {
    value as f64
}

/// By decades of 1/(1-q); without a histogram, the percentiles that are known.
fn curve(step: &Measurement) -> Vec<(f64, Option<f64>)> {
    let Some(histogram) = step.histogram.as_ref().filter(|histogram| !histogram.is_empty()) else {
        let Some(times) = &step.latency else { return Vec::new() };
        let Times { min, p50, p90, p99, p999, p9999, .. } = times;
        let known = [(0.0, min), (2f64.log10(), p50), (1.0, p90), (2.0, p99), (3.0, p999), (4.0, p9999)];
        return known.into_iter().filter_map(|(u, ns)| ns.map(|ns| (u, Some(to_f64(ns))))).collect();
    };
    let end = to_f64(histogram.len()).log10().min(DECADES);
    let steps = (0..=STEPS_PER_DECADE * 5).map(|n| f64::from(n) / f64::from(STEPS_PER_DECADE)).take_while(|u| *u < end);
    let point = |u: f64| (u, Some(to_f64(histogram.value_at_quantile(quantile(u)))));
    steps.chain([end]).map(point).collect()
}

fn quantile(decades: f64) -> f64 {
    1.0 - 10f64.powf(-decades)
}

/// None beyond what the count of values can tell.
fn value_at(step: &Measurement, decades: f64) -> Option<f64> {
    if let Some(histogram) = step.histogram.as_ref().filter(|histogram| !histogram.is_empty()) {
        let told = decades <= to_f64(histogram.len()).log10() + 1e-9;
        return told.then(|| to_f64(histogram.value_at_quantile(quantile(decades))));
    }
    let near = |(u, _): &&(f64, Option<f64>)| (u - decades).abs() < 1e-6;
    curve(step).iter().find(near).and_then(|(_, ns)| *ns)
}

/// Latency, rates and errors, second by second.
pub(super) fn over_time(out: &mut String, shown: &[Shown<'_>]) {
    let series: Vec<Vec<Second>> = shown.iter().map(|one| thinned(one.step.seconds.seconds(), MOST_POINTS)).collect();
    // One point says no more than the table.
    if series.iter().all(|seconds| seconds.len() < 2) {
        return;
    }
    let each = series.iter().flatten().map(|second| second.length_s).fold(0.0, f64::max);
    let mut text = "Of each second. A cross marks seconds with errors; a gap is a second without an answer.".to_owned();
    if each > 1.5 {
        let _ = write!(text, " Up to {each:.0} seconds are one point, which has the largest of their values.");
    }
    section(out, "time", "Latency over time", &text);
    let latency: [Field; 4] = [
        ("p50", "p50", |second| second.p50.map(to_f64)),
        ("p99", "p99", |second| second.p99.map(to_f64)),
        ("p999", "p99.9", |second| second.p999.map(to_f64)),
        ("max", "max", |second| second.max.map(to_f64)),
    ];
    for field in latency {
        panel(out, shown, &series, field, Kind::Nanoseconds);
    }
    seconds_table(out, shown, &series);
    out.push_str("</section>\n");
    section(out, "rates", "Rates and errors over time", "");
    panel(out, shown, &series, ("rate", "Per second", |second| Some(second.rate_per_s())), Kind::Number);
    if series.iter().flatten().any(|second| second.errors > 0) {
        panel(out, shown, &series, ("errors", "Errors", |second| Some(to_f64(second.errors))), Kind::Number);
    } else {
        out.push_str("<p class=\"dim\">No second has an error.</p>\n");
    }
    out.push_str("</section>\n");
}

fn panel(out: &mut String, shown: &[Shown<'_>], series: &[Vec<Second>], (id, title, of): Field, kind: Kind) {
    let middle = |second: &Second| second.at_s + second.length_s / 2.0;
    let lines: Vec<_> = series
        .iter()
        .enumerate()
        .map(|(index, seconds)| Line {
            class: 'r',
            index,
            points: seconds.iter().map(|second| (middle(second), of(second))).collect(),
            errors: seconds.iter().filter(|second| second.errors > 0 && id != "errors").map(middle).collect(),
        })
        .collect();
    let values: Vec<_> = lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y)).collect();
    // What is carried in bulk has no messages to count.
    if values.iter().all(|value| *value <= 0.0) {
        return;
    }
    let show = |value: f64| if kind == Kind::Nanoseconds { exact_time(value) } else { number(value) };
    let longest = series.iter().max_by_key(|seconds| seconds.len()).map(Vec::as_slice).unwrap_or_default();
    let hit = |second: &Second| {
        let at = middle(second);
        let rows = shown.iter().zip(series).map(|(one, seconds)| {
            let same = seconds.iter().find(|own| own.at_s <= at && at < own.end_s());
            let value = same.and_then(of).map_or("–".into(), show);
            format!("\n{}: {value}", one.name)
        });
        Hit { at, text: std::iter::once(format!("{:.0} s", second.at_s)).chain(rows).collect() }
    };
    let end = series.iter().flatten().map(Second::end_s).fold(0.0, f64::max);
    let extremes = |(one, line): (&Shown<'_>, &Line)| {
        let known = || line.points.iter().filter_map(|(_, y)| *y);
        let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
        if known().next().is_none() {
            one.name.clone()
        } else {
            format!("{}: {} to {}", one.name, show(least), show(most))
        }
    };
    let description = shown.iter().zip(&lines).map(extremes).collect::<Vec<_>>().join("; ");
    let plot = Plot {
        id: format!("time-{id}"),
        title: format!("{title} over time"),
        description,
        x: Axis::exact(Kind::Seconds, 0.0, end),
        y: Axis::fit(kind, values.iter().copied()),
        x_title: String::new(),
        y_title: title.into(),
        hits: longest.iter().map(hit).collect(),
        ideal: None,
        tall: false,
        lines,
    };
    let _ = write!(out, "<figure>\n{}</figure>\n", plot.svg());
}

fn seconds_table(out: &mut String, shown: &[Shown<'_>], series: &[Vec<Second>]) {
    let heads = ["result and second", "count", "p50", "p99", "p99.9", "max", "errors"].map(str::to_owned);
    let most = (MOST_ROWS / series.len().max(1)).max(10);
    let mut rows = Vec::new();
    for (one, seconds) in shown.iter().zip(series) {
        for second in thinned(seconds, most) {
            let time = |ns: Option<u64>| ns.map_or("–".into(), |ns| exact_time(to_f64(ns)));
            rows.push(vec![
                format!("{}, {:.0} s to {:.0} s", one.name, second.at_s, second.end_s()),
                number(to_f64(second.count)),
                time(second.p50),
                time(second.p99),
                time(second.p999),
                time(second.max),
                number(to_f64(second.errors)),
            ]);
        }
    }
    alternative(out, "Latency over time", &heads, &rows);
}

/// What a sweep is for: latency against load, and what came of what was asked for.
pub(super) fn sweeps(out: &mut String, documents: &[Document]) {
    let mut names: Vec<_> = documents.iter().filter_map(|document| document.swept.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    for (number, swept) in names.into_iter().enumerate() {
        let own = |document: &&Document| document.swept.as_deref() == Some(swept);
        sweep(out, number, swept, &documents.iter().filter(own).collect::<Vec<_>>());
    }
}

fn sweep(out: &mut String, number_of: usize, swept: &str, documents: &[&Document]) {
    let (title, x_title) = match swept {
        "rate" => ("Latency against load".to_owned(), "offered per second".to_owned()),
        "size" => ("Latency against size".to_owned(), "bytes".to_owned()),
        other => (format!("Latency against {}", escape(other)), other.replace('_', " ")),
    };
    section(out, &format!("sweep-{number_of}"), &title, "");
    out.push_str("<p class=\"fixed\">");
    for (index, document) in documents.iter().enumerate() {
        let _ = write!(out, "<span>{} {}</span> ", swatch('d', index), escape(&document.name));
    }
    out.push_str("</p>\n");
    let fields: [Swept; 4] = [
        ("p50", "p50", |step| step.latency.as_ref()?.p50.map(to_f64), Kind::Nanoseconds),
        ("p99", "p99", |step| step.latency.as_ref()?.p99.map(to_f64), Kind::Nanoseconds),
        ("p999", "p99.9", |step| step.latency.as_ref()?.p999.map(to_f64), Kind::Nanoseconds),
        ("rate", "Achieved per second", |step| Some(step.rate_per_s), Kind::Number),
    ];
    for (id, title, of, kind) in fields {
        let line = |(index, document): (usize, &&Document)| {
            let mut points: Vec<_> =
                document.steps.iter().filter_map(|step| Some((document.swept_value(step)?, of(step)))).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let failed = document.steps.iter().filter(|step| step.errors.unwrap_or(0) > 0);
            let errors = failed.filter_map(|step| document.swept_value(step)).collect();
            Line { class: 'd', index, points, errors }
        };
        let lines: Vec<_> = documents.iter().enumerate().map(line).collect();
        let xs: Vec<_> = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x)).collect();
        let ys: Vec<_> = lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y)).collect();
        if ys.is_empty() {
            continue;
        }
        let mut places = xs.clone();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let show = |value: f64| if kind == Kind::Nanoseconds { exact_time(value) } else { number(value) };
        let hit = |x: &f64| {
            let rows = documents.iter().zip(&lines).map(|(document, line)| {
                let value = line.points.iter().find(|(own, _)| own == x).and_then(|(_, y)| *y);
                format!("\n{}: {}", document.name, value.map_or("–".into(), show))
            });
            Hit { at: *x, text: std::iter::once(number(*x)).chain(rows).collect() }
        };
        let (x, y) = (Axis::fit(Kind::Number, xs.iter().copied()), Axis::fit(kind, ys.iter().copied()));
        let both = x.high.min(y.high);
        let from = x.low.max(y.low);
        let ideal = (id == "rate" && swept == "rate").then_some([(from, from), (both, both)]);
        let plot = Plot {
            id: format!("sweep-{number_of}-{id}"),
            title: format!("{title} against {x_title}"),
            description: described_sweep(documents, &lines, show),
            hits: places.iter().map(hit).collect(),
            x_title: x_title.clone(),
            y_title: title.into(),
            tall: false,
            ideal,
            lines,
            x,
            y,
        };
        let _ = write!(out, "<figure>\n{}</figure>\n", plot.svg());
    }
    out.push_str("<p class=\"dim\">The table of figures above has all values. A cross marks a measurement with errors.</p></section>\n");
}

fn described_sweep(documents: &[&Document], lines: &[Line], show: impl Fn(f64) -> String) -> String {
    let one = |(document, line): (&&Document, &Line)| {
        let known: Vec<_> = line.points.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
        let end = |point: Option<&(f64, f64)>| {
            point.map_or(String::new(), |(x, y)| format!("{} at {}", show(*y), number(*x)))
        };
        format!("{}: {}, {}", document.name, end(known.first()), end(known.last()))
    };
    documents.iter().zip(lines).map(one).collect::<Vec<_>>().join("; ")
}
