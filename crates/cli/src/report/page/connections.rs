//! Idle connections over time: on the page, and as a picture of its own.

use std::fmt::Write;

use super::super::document::Document;
use super::super::moments::{Moment, thinned};
use super::super::table::number;
use super::axis::{Axis, Kind, exact_bytes, exact_time};
use super::plot::{Hit, Line, MOST_POINTS, Plot};
use super::plots::{section, to_f64};
use super::{LIGHT, LIGHT_GROUND, Shown, escape};

type Of = fn(&Moment) -> Option<f64>;
type Field = (&'static str, &'static str, Kind, Of);

/// Of the picture: a title, and what it shows by name.
type Panel = (&'static str, Kind, &'static [(&'static str, Of)]);

const OPEN: Field = ("open", "Connections open", Kind::Number, |moment| Some(to_f64(moment.open)));
const OPENED: Field = ("opened", "Opened per second", Kind::Number, |moment| Some(moment.per_s(moment.opened)));
const CLOSED: Field = ("closed", "Closed per second", Kind::Number, |moment| Some(moment.per_s(moment.closed)));
const CHURNED: Field = ("churned", "Came and went per second", Kind::Number, |moment| {
    Some(moment.per_s(moment.churned)) //
});
const HERE: Field = ("here", "Memory of the generator", Kind::Bytes, |moment| Some(to_f64(moment.resident_bytes)));
const THERE: Field = ("there", "Memory of the server", Kind::Bytes, |moment| moment.server_resident_bytes.map(to_f64));
const P50: Field = ("probe-p50", "Probe, p50", Kind::Nanoseconds, |moment| moment.p50.map(to_f64));
const P99: Field = ("probe-p99", "Probe, p99", Kind::Nanoseconds, |moment| moment.p99.map(to_f64));
const MAX: Field = ("probe-max", "Probe, max", Kind::Nanoseconds, |moment| moment.max.map(to_f64));

fn shown_as(kind: Kind, value: f64) -> String {
    match kind {
        Kind::Nanoseconds => exact_time(value),
        Kind::Bytes => exact_bytes(value),
        _ => number(value),
    }
}

/// A line, what it is called, and what it is of.
struct Course<'a> {
    name: String,
    moments: &'a [Moment],
    of: Of,
}

/// `None`: there is nothing but zeros to show.
fn plot(id: &str, title: &str, kind: Kind, courses: &[Course<'_>], errors: bool) -> Option<Plot> {
    let middle = |moment: &Moment| moment.at_s + moment.length_s / 2.0;
    let line = |(index, course): (usize, &Course<'_>)| Line {
        class: 'r',
        index,
        points: course.moments.iter().map(|moment| (middle(moment), (course.of)(moment))).collect(),
        errors: course.moments.iter().filter(|moment| errors && moment.lost > 0).map(middle).collect(),
    };
    let lines: Vec<_> = courses.iter().enumerate().map(line).collect();
    let values: Vec<_> = lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y)).collect();
    if values.iter().all(|value| *value <= 0.0) {
        return None;
    }
    let longest = courses.iter().map(|course| course.moments).max_by_key(|moments| moments.len()).unwrap_or_default();
    let hit = |moment: &Moment| {
        let at = middle(moment);
        let rows = courses.iter().map(|course| {
            let same = course.moments.iter().find(|own| own.at_s <= at && at < own.end_s());
            let value = same.and_then(course.of).map_or("–".into(), |value| shown_as(kind, value));
            format!("\n{}: {value}", course.name)
        });
        Hit { at, text: std::iter::once(format!("{:.0} s", moment.at_s)).chain(rows).collect() }
    };
    let most = |(course, line): (&Course<'_>, &Line)| {
        let most = line.points.iter().filter_map(|(_, y)| *y).fold(0.0, f64::max);
        format!("{}: up to {}", course.name, shown_as(kind, most))
    };
    let end = courses.iter().flat_map(|course| course.moments).map(Moment::end_s).fold(0.0, f64::max);
    // Times are told apart by their size, the rest is seen as it is.
    let y = match kind {
        Kind::Nanoseconds => Axis::fit(kind, values.iter().copied()),
        _ => Axis::linear(kind, values.iter().copied()),
    };
    Some(Plot {
        id: format!("connections-{id}"),
        title: format!("{title} over time"),
        description: courses.iter().zip(&lines).map(most).collect::<Vec<_>>().join("; "),
        x: Axis::exact(Kind::Seconds, 0.0, end),
        y,
        x_title: String::new(),
        y_title: title.into(),
        hits: longest.iter().map(hit).collect(),
        ideal: None,
        tall: false,
        lines,
    })
}

/// Of results that have a time line.
pub(super) fn over_time(out: &mut String, shown: &[Shown<'_>]) {
    let all: Vec<_> = shown.iter().map(|one| thinned(&one.step.moments, MOST_POINTS)).collect();
    // One point says no more than the table.
    if all.iter().all(|moments| moments.len() < 2) {
        return;
    }
    let text = "From the first SYN to the last FIN. A cross marks seconds in which connections were lost. The probe is a \
                connection of its own that asks all the time.";
    section(out, "connections", "Connections over time", text);
    for (id, title, kind, of) in [OPEN, OPENED, CLOSED, CHURNED, HERE, THERE, P50, P99, MAX] {
        let course = |(one, moments)| -> Course<'_> {
            let one: &Shown<'_> = one;
            let moments: &Vec<Moment> = moments;
            Course { name: one.name.clone(), moments, of }
        };
        let courses: Vec<_> = shown.iter().zip(&all).map(course).collect();
        if let Some(plot) = plot(id, title, kind, &courses, id == "open") {
            let _ = write!(out, "<figure>\n{}</figure>\n", plot.svg());
        }
    }
    out.push_str("</section>\n");
}

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 190.0;
const HEAD: f64 = 40.0;

/// The same of one result, as a picture of its own. `None`: it has no time line.
pub(in crate::report) fn picture(document: &Document) -> Option<String> {
    let moments = document.steps.iter().map(|step| &step.moments).find(|moments| moments.len() > 1)?;
    let moments = thinned(moments, MOST_POINTS);
    let panels: [Panel; 4] = [
        ("Connections open", Kind::Number, &[("open", OPEN.3)]),
        (
            "Per second",
            Kind::Number,
            &[("opened", OPENED.3), ("closed", CLOSED.3), ("came and went beside them", CHURNED.3)],
        ),
        ("Memory", Kind::Bytes, &[("generator", HERE.3), ("server", THERE.3)]),
        ("A request meanwhile", Kind::Nanoseconds, &[("p50", P50.3), ("p99", P99.3), ("max", MAX.3)]),
    ];
    let mut inner = String::new();
    let mut top = HEAD;
    for (number, (title, kind, fields)) in panels.iter().enumerate() {
        let known = |(_, of): &&(&str, Of)| moments.iter().filter_map(of).any(|value| value > 0.0);
        let courses: Vec<_> = fields
            .iter()
            .filter(known)
            .map(|(name, of)| Course { name: (*name).to_owned(), moments: &moments, of: *of })
            .collect();
        let Some(mut plot) = plot(&number.to_string(), title, *kind, &courses, number == 0) else { continue };
        plot.hits.clear();
        let _ = writeln!(inner, "<g transform=\"translate(0 {top})\">{}", plot.wide(WIDTH, HEIGHT));
        let mut left = 230.0;
        for (index, course) in courses.iter().enumerate().filter(|_| courses.len() > 1) {
            let _ = writeln!(
                inner,
                "<path class=\"l r{index}\" d=\"M{left} 9h26\"/><text x=\"{}\" y=\"13\">{}</text>",
                left + 32.0,
                escape(&course.name)
            );
            left += 60.0 + 7.5 * to_f64(course.name.len() as u64);
        }
        inner.push_str("</g>\n");
        top += HEIGHT + 12.0;
    }
    let colours: String = LIGHT
        .iter()
        .take(3)
        .enumerate()
        .fold(String::new(), |all, (n, colour)| all + &format!(".r{n} {{ stroke: {colour}; }} "));
    let colour = |name: &str| LIGHT_GROUND.split(';').find_map(|one| one.strip_prefix(name)).unwrap_or("#000");
    let (ink, dim, line, err) = (colour("--ink:"), colour("--dim:"), colour("--line:"), colour("--err:"));
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" font-family=\"sans-serif\">\n<title>{0}</title>\n\
         <style>text {{ fill: {ink}; font-size: 13px; }} .tick {{ fill: {dim}; font-size: 12px; }} .grid {{ stroke: {line}; fill: none; }} \
         .frame {{ stroke: {dim}; fill: none; }} .l {{ fill: none; stroke-width: 2; stroke-linejoin: round; }} \
         .m {{ fill: #fff; stroke-width: 1.5; }} {colours}.r1.l {{ stroke-dasharray: 8 4; }} .r2.l {{ stroke-dasharray: 2 3; }} \
         .error {{ stroke: {err}; }}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{top}\" fill=\"#fff\"/>\n<text x=\"2\" y=\"22\" style=\"font-size:16px\">{0}</text>\n{inner}</svg>\n",
        escape(&document.name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(seconds: u32) -> Document {
        let second = |at: u32| {
            json!({"at_s": at, "length_s": 1, "open": 1000 * at, "opened": 1000, "closed": 0, "lost": 0, "churned": 0,
                "resident_bytes": 1_000_000 * (at + 1), "probe": {"count": 9, "p50": 5000, "p99": 9000, "max": 70_000}})
        };
        let value = json!({"mode": "idle", "connects": 9, "duration_s": 1.0,
            "timeline": (0..seconds).map(second).collect::<Vec<_>>()});
        Document::of("a million <&>", value).unwrap()
    }

    #[test]
    fn a_time_line_is_on_the_page_and_a_picture() {
        let page = super::super::html(&[document(30), document(40)]);
        for id in ["open", "opened", "here", "probe-p50", "probe-max"] {
            assert!(page.contains(&format!("id=\"connections-{id}-wide-t\"")), "{id}");
        }
        // What is nothing, or not known, has no plot.
        assert!(!page.contains("connections-churned") && !page.contains("connections-there"));
        let picture = picture(&document(30)).unwrap();
        assert!(picture.contains("a million &lt;&amp;&gt;") && picture.contains(">p99</text>"), "{picture}");
        assert!(!picture.contains("var(") && !picture.contains(">server</text>"));
        assert_eq!(picture.matches("<svg").count(), picture.matches("</svg>").count());
        assert!(super::picture(&document(1)).is_none());
        assert!(!super::super::html(&[document(0)]).contains("Connections over time"));
    }
}
