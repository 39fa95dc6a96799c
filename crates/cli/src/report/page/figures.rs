//! The page's tables: figures with their ratios, and what was measured, how, and on what.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::document::{Document, Measurement};
use super::super::table::{FIGURES, Figure, counterpart, number, ratio, row_name, times};
use super::escape;

/// Columns that fit beside each other.
const FEW: usize = 4;
/// What is left out of more, each in a line.
const LEFT_OUT: [&str; 3] = ["min", "p99.99", "asked for"];
/// In one table.
const MOST_ROWS: usize = 200;

type Row<'a> = (&'a Document, &'a Measurement);

/// All figures, with how many times those of the first they are.
pub(super) fn table(out: &mut String, documents: &[Document]) {
    let rows: Vec<Row<'_>> = documents
        .iter()
        .flat_map(|document| document.steps.iter().map(move |step| (document, step)))
        .take(MOST_ROWS)
        .collect();
    let few = rows.len() <= FEW;
    let known = |figure: &&Figure| {
        (few || !LEFT_OUT.contains(&figure.title)) && rows.iter().any(|(_, step)| (figure.of)(step).is_some())
    };
    let figures: Vec<_> = FIGURES.iter().filter(known).collect();
    let cell = |figure: &Figure, (document, step): &Row<'_>| {
        let value = (figure.of)(step);
        let shown = value.map_or("–".into(), |value| escape(&(figure.show)(value)));
        let other = counterpart(documents, document, step).filter(|other| !std::ptr::eq(*other, *step));
        let ratio = other.and_then(|other| ratio(value, (figure.of)(other)));
        let ratio = ratio.map(|ratio| format!("<span class=\"ratio\">{}</span>", times(ratio))).unwrap_or_default();
        format!("<td>{shown} {ratio}</td>")
    };
    out.push_str("<section aria-labelledby=\"figures\"><h2 id=\"figures\">Figures</h2>\n");
    if let (Some(first), true) = (documents.first(), documents.len() > 1) {
        let _ = writeln!(
            out,
            "<p class=\"dim\">Beside each figure: how many times that of {} it is.</p>",
            escape(&first.name)
        );
    }
    let class = if few { "" } else { " class=\"lines\"" };
    let region = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures\">";
    let _ = write!(out, "{region}<table{class}>\n<thead><tr><th scope=\"col\"></th>");
    if few {
        let heads: String = rows.iter().map(|(document, step)| head(&row_name(document, step))).collect();
        let _ = writeln!(out, "{heads}</tr></thead>\n<tbody>");
        let what: String =
            rows.iter().map(|(_, step)| format!("<td class=\"text\">{}</td>", escape(&step.what()))).collect();
        let _ = writeln!(out, "<tr><th scope=\"row\">of</th>{what}</tr>");
        for figure in &figures {
            let cells: String = rows.iter().map(|row| cell(figure, row)).collect();
            let _ = writeln!(out, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(figure.title));
        }
    } else {
        let heads: String = figures.iter().map(|figure| head(figure.title)).collect();
        let _ = writeln!(out, "{heads}</tr></thead>\n<tbody>");
        for row in &rows {
            let cells: String = figures.iter().map(|figure| cell(figure, row)).collect();
            let _ = writeln!(out, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(&row_name(row.0, row.1)));
        }
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn head(text: &str) -> String {
    format!("<th scope=\"col\">{}</th>", escape(text))
}

/// What was measured, how, and on what, one result beside the other; what differs is marked.
pub(super) fn settings(out: &mut String, documents: &[Document]) {
    let firsts: Vec<_> = documents.iter().map(|document| (document, &document.steps[0])).collect();
    let rows: Vec<_> = firsts.iter().map(facts).collect();
    let own = ["stack", "command", "version", "tag"];
    let keys: BTreeSet<_> = rows.iter().flatten().map(|(key, _)| key.as_str()).collect();
    let order = ["measured", "machine", "clock", "started", "duration", "arguments", "version"];
    let rank = |key: &&str| order.iter().position(|known| known == key).unwrap_or(order.len());
    let mut keys: Vec<_> = keys.into_iter().filter(|key| !own.contains(key) || *key == "version").collect();
    keys.sort_by_key(|key| (rank(key), *key));
    out.push_str("<section aria-labelledby=\"settings\"><h2 id=\"settings\">Machines and settings</h2>\n");
    if documents.len() > 1 {
        out.push_str("<p class=\"dim\">What differs is marked.</p>\n");
    }
    out.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Machines and settings\"><table class=\"settings\">\n<thead><tr><th scope=\"col\"></th>");
    let heads: String = documents.iter().map(|document| head(&document.name)).collect();
    let _ = writeln!(out, "{heads}</tr></thead>\n<tbody>");
    for key in keys {
        let value =
            |row: &Vec<(String, String)>| row.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone());
        let values: Vec<_> = rows.iter().map(value).collect();
        let chance = ["clock", "started", "duration"].contains(&key);
        let differs =
            if !chance && values.windows(2).any(|pair| pair[0] != pair[1]) { " class=\"differs\"" } else { "" };
        let cells: String =
            values.iter().map(|value| format!("<td>{}</td>", escape(value.as_deref().unwrap_or("–")))).collect();
        let _ = writeln!(out, "<tr{differs}><th scope=\"row\">{}</th>{cells}</tr>", escape(&key.replace('_', " ")));
    }
    out.push_str("</tbody></table></div>\n");
    for (document, step) in firsts {
        merged(out, document, step);
    }
    out.push_str("</section>\n");
}

/// By name, for people.
fn facts((document, step): &Row<'_>) -> Vec<(String, String)> {
    let mut all = step.settings();
    let swept = match document.swept.as_deref() {
        Some("rate") => "intended_rate_per_s",
        Some("size") => "message_bytes",
        Some(other) => other,
        None => "",
    };
    all.retain(|(key, _)| key != swept);
    let steps = document.swept.as_ref().map(|swept| format!(", a sweep of {} by {swept}", document.steps.len()));
    let mut add = |key: &str, value: Option<String>| all.extend(value.map(|value| (key.to_owned(), value)));
    add("measured", Some(step.what() + &steps.unwrap_or_default()));
    add("machine", step.machine());
    add("clock", step.clock());
    add("started", step.started_unix_s.and_then(date));
    add("duration", Some(format!("{:.2} s", step.duration_s)));
    if let Some(Value::Object(sending)) = step.raw.get("sending") {
        let count = |key: &str| sending.get(key).and_then(Value::as_u64);
        let parts = ["late", "held_back", "unsent", "unanswered"].into_iter();
        let parts: Vec<_> =
            parts.filter_map(|key| Some(format!("{} {}", number(exact(count(key)?)), key.replace('_', " ")))).collect();
        add("schedule", Some(parts.join(", ")));
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn exact(count: u64) -> f64 {
    count as f64
}

/// In UTC, if it is a date of this age.
fn date(unix_s: f64) -> Option<String> {
    let since = Duration::try_from_secs_f64(unix_s).ok().filter(|since| since.as_secs() < 253_402_300_800)?;
    Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH.checked_add(since)?))
}

/// What a sum was made of.
fn merged(out: &mut String, document: &Document, step: &Measurement) {
    let Some(Value::Array(parts)) = step.raw.get("merged") else { return };
    let _ = write!(
        out,
        "<h3>{}: the sum of {} results</h3>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results added up\"><table>\n\
         <thead><tr>{}</tr></thead>\n<tbody>\n",
        escape(&document.name),
        parts.len(),
        ["result", "stack", "started", "duration", "count", "per second"].map(head).concat()
    );
    for part in parts.iter().take(MOST_ROWS) {
        let text = |key: &str| part.get(key).and_then(Value::as_str).map_or("–".into(), super::super::document::shown);
        let value = |key: &str| part.get(key).and_then(Value::as_f64).filter(|value| value.is_finite());
        let figure = |key: &str| value(key).map_or("–".into(), number);
        let started = value("started_unix_s").and_then(date).unwrap_or("–".into());
        let length = value("duration_s").map_or("–".into(), |s| format!("{s:.2} s"));
        let cells = [text("stack"), started, length, figure("count"), figure("rate_per_s")];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = writeln!(out, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(&text("name")));
    }
    out.push_str("</tbody></table></div>\n");
}
