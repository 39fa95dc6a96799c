//! Results on one page of HTML, with all it needs within it. It is drawn here, not in the browser: what the browser runs is the
//! pointer's label. Well-formed as XML too, so that other programs can read it.

mod axis;
mod connections;
mod figures;
mod plot;
mod plots;

use std::fmt::Write;

use super::document::{Document, Measurement};

pub(super) use connections::picture;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Colours that the colour-blind tell apart (after Okabe and Ito), darker or lighter so that they stand out from the ground.
const LIGHT: [&str; 8] = ["#0072b2", "#c75000", "#00805e", "#b4558b", "#8a6a00", "#5b4fc7", "#1787bd", "#555c66"];
const DARK: [&str; 8] = ["#5cb8f0", "#ff8a3d", "#34d1a5", "#eb9fca", "#e6b93a", "#b1a5ff", "#8fd3ff", "#c2c8d0"];
const LIGHT_GROUND: &str = "--bg:#fff;--ink:#1a1d21;--dim:#56606b;--line:#dbe0e6;--panel:#f1f4f7;--warn:#fff4d6;--warn-line:#d39e00;--err:#c4002b;";
const DARK_GROUND: &str = "--bg:#14171b;--ink:#e8ebef;--dim:#a3adb8;--line:#333b44;--panel:#20262d;--warn:#3a2f10;--warn-line:#d39e00;--err:#ff6b81;";
/// Dashes: none, and then those of which the eye tells neighbours apart.
const DASHES: [&str; 6] = ["none", "8 4", "2 3", "10 3 2 3", "5 2", "12 3 2 3 2 3"];
/// Of a sweep as many steps are shown one by one.
const STEPS_SHOWN: usize = 3;
/// Before the others are folded up.
const WARNINGS_SHOWN: usize = 5;
/// Lines in one plot.
const MOST_SHOWN: usize = 16;

/// A result that has a line of its own in plots.
struct Shown<'a> {
    name: String,
    step: &'a Measurement,
}

/// The page.
pub(super) fn html(documents: &[Document]) -> String {
    let shown = shown(documents);
    let title = match documents {
        [one] => one.name.clone(),
        several => format!("{} results compared", several.len()),
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{0}</title>\n<style>\n{1}</style>\n\
         </head>\n<body>\n<header><h1>{0}</h1>\n{THEMES}</header>\n<main>\n",
        escape(&title),
        style(shown.len().max(documents.len()))
    );
    warnings(&mut out, documents);
    figures::table(&mut out, documents);
    plots::sweeps(&mut out, documents);
    if shown.len() > 1 {
        keys(&mut out, &shown);
    }
    plots::percentiles(&mut out, &shown);
    plots::over_time(&mut out, &shown);
    connections::over_time(&mut out, &shown);
    figures::settings(&mut out, documents);
    let _ = write!(
        out,
        "</main>\n<footer>Made by fourwave report {}. Nothing on this page comes from elsewhere.</footer>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

const THEMES: &str = "<fieldset><legend>Theme</legend>\
<label><input type=\"radio\" name=\"theme\" id=\"theme-auto\" checked=\"checked\"/>the system's</label>\
<label><input type=\"radio\" name=\"theme\" id=\"theme-light\"/>light</label>\
<label><input type=\"radio\" name=\"theme\" id=\"theme-dark\"/>dark</label></fieldset>";

/// All results; of a sweep the first, the last, and one between.
fn shown(documents: &[Document]) -> Vec<Shown<'_>> {
    let several = documents.iter().map(|document| document.steps.len()).sum::<usize>() > MOST_SHOWN / 2;
    let mut all = Vec::new();
    for document in documents {
        let last = document.steps.len() - 1;
        let few = [0, last / 2, last];
        let wanted = |index: &usize| !several || document.steps.len() <= STEPS_SHOWN || few.contains(index);
        for index in (0..document.steps.len()).filter(wanted) {
            let step = &document.steps[index];
            all.push(Shown { name: super::table::row_name(document, step), step });
        }
    }
    all.truncate(MOST_SHOWN);
    all
}

fn style(lines: usize) -> String {
    let colours = |ground: &str, colours: &[&str]| {
        let own = colours.iter().enumerate().map(|(index, colour)| format!("--c{index}:{colour};"));
        std::iter::once(ground.to_owned()).chain(own).collect::<String>()
    };
    let mut style = STYLE.replace("@LIGHT@", &colours(LIGHT_GROUND, &LIGHT));
    style = style.replace("@DARK@", &colours(DARK_GROUND, &DARK));
    for index in 0..lines {
        let (colour, dash) = (index % LIGHT.len(), DASHES[index % DASHES.len()]);
        let _ = writeln!(
            style,
            ".r{index}, .d{index} {{ stroke: var(--c{colour}); }} .l.r{index}, .l.d{index} {{ stroke-dasharray: {dash}; }}\n\
             :root:has(#show-{index}:not(:checked)) figure .r{index} {{ display: none; }}"
        );
    }
    style + ".error { stroke: var(--err); }\n"
}

fn warnings(out: &mut String, documents: &[Document]) {
    let all: Vec<_> = documents
        .iter()
        .flat_map(|document| document.steps.iter().map(move |step| (document, step)))
        .flat_map(|(document, step)| {
            let name = super::table::row_name(document, step);
            step.warnings.iter().map(move |warning| format!("<li><b>{}</b>: {}</li>\n", escape(&name), escape(warning)))
        })
        .take(100)
        .collect();
    if !all.is_empty() {
        let (first, rest) = all.split_at(all.len().min(WARNINGS_SHOWN));
        let rest = match rest.len() {
            0 => String::new(),
            more => format!("<details><summary>and {more} more</summary><ul>\n{}</ul></details>\n", rest.concat()),
        };
        let _ = write!(
            out,
            "<section class=\"warnings\" role=\"note\" aria-labelledby=\"warnings\"><h2 id=\"warnings\">Read the figures with care</h2>\n\
             <ul>\n{}</ul>{rest}</section>\n",
            first.concat()
        );
    }
}

/// The legend, in which each line can be taken away. Plots of a whole sweep have one of their own.
fn keys(out: &mut String, shown: &[Shown<'_>]) {
    out.push_str("<div class=\"keys\"><fieldset><legend>Shown</legend>\n");
    for (index, Shown { name, .. }) in shown.iter().enumerate() {
        let _ = writeln!(
            out,
            "<label><input type=\"checkbox\" id=\"show-{index}\" checked=\"checked\"/>{}{}</label>",
            swatch('r', index),
            escape(name)
        );
    }
    out.push_str("</fieldset></div>\n");
}

/// A piece of a result's line.
fn swatch(class: char, index: usize) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 36 14\" aria-hidden=\"true\"><path class=\"l {class}{index}\" d=\"M1 7H35\"/>\
         <path class=\"m {class}{index}\" d=\"{}\"/></svg>",
        plot::mark(index, 18.0, 7.0)
    )
}

/// What a file says is text.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Of XML they are no part.
            c if c.is_control() && c != '\n' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hdrhistogram::Histogram;
    use serde_json::json;

    use super::super::encoded;
    use super::*;

    /// Of so many seconds, with errors in one of them and a name that would be a program.
    fn document(name: &str, seconds: u32) -> Document {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
        (1..5000u64).for_each(|n| histogram.record(n * n).unwrap());
        let second = |at: u32| {
            json!({"at_s": at, "length_s": 1, "count": 9, "errors": u32::from(at == 3), "p50": 5000 + at, "p90": 6000,
                "p99": 70_000, "p999": 80_000, "max": 1_000_000 + at})
        };
        let value = json!({
            "command": "ping", "stack": "fourwave", "target": "<script>alert(1)</script>", "count": 4999, "errors": 1,
            "duration_s": seconds, "rate_per_s": 9.0, "histogram": encoded::encode(&histogram).unwrap(),
            "seconds": (0..seconds).map(second).collect::<Vec<_>>(), "warnings": ["a & b < c \"d\" 'e'"],
            "machine": {"cpu": "<b>CPU</b>", "cores": 2, "kernel": "6.1"}, "started_unix_s": 1.7e9,
            "clock": {"source": "tsc", "tsc_hz": 3e9, "drift_ppm": 0.1, "stable": true},
        });
        Document::of(name, value).unwrap()
    }

    fn sweep(name: &str) -> Document {
        let step = |rate: u32| {
            let ns = rate * 3;
            json!({"count": 10, "errors": rate / 4000, "duration_s": 2, "rate_per_s": rate, "intended_rate_per_s": rate,
                "latency_ns": {"p50": ns, "p99": ns * 2, "p999": ns * 3, "max": ns * 9}})
        };
        let value = json!({"swept": "rate", "sweep": [step(1000), step(2000), step(3000), step(4000), step(5000)]});
        Document::of(name, value).unwrap()
    }

    /// The names of all elements, if each is closed in its turn, and all values of an attribute.
    fn parsed(page: &str, attribute: &str) -> (Vec<String>, Vec<String>) {
        let page = page.strip_prefix("<!DOCTYPE html>").unwrap();
        let (mut open, mut names, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for tag in page.split('<').skip(1) {
            let (inside, text) = tag.split_once('>').unwrap_or_else(|| panic!("{tag} does not end"));
            assert!(
                open.last().is_some_and(|name| name == "style" || name == "script") || !text.contains('>'),
                "{tag}"
            );
            if let Some(name) = inside.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "closed by <{tag}");
                continue;
            }
            assert_eq!(inside.matches('"').count() % 2, 0, "{inside}");
            let name = inside.split([' ', '/']).next().unwrap().to_owned();
            if let Some((_, value)) = inside.split_once(&format!(" {attribute}=\"")) {
                values.push(value.split('"').next().unwrap().to_owned());
            }
            if !inside.ends_with('/') {
                open.push(name.clone());
            }
            names.push(name);
        }
        assert!(open.is_empty(), "{open:?} are left open");
        (names, values)
    }

    fn pages() -> Vec<String> {
        let named = "<script>alert(\"x\")</script> & 'co'";
        let bare = Document::of("bare", json!({"count": 0, "duration_s": 0})).unwrap();
        let all = [
            vec![document("a", 10)],
            vec![document(named, 10), document("b", 700), bare.clone()],
            vec![sweep("a"), sweep("b"), document("c", 1)],
            (0..16).map(|n| document(&n.to_string(), 2)).collect(),
            vec![bare],
            vec![sweep(named)],
        ];
        all.iter().map(|documents| html(documents)).collect()
    }

    #[test]
    fn pages_are_well_formed_and_ids_unique() {
        for page in pages() {
            let (names, ids) = parsed(&page, "id");
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
            assert_eq!(names.iter().filter(|name| *name == "script").count(), 1, "only our own");
            let svgs = names.iter().filter(|name| *name == "svg").count();
            let (_, labels) = parsed(&page, "aria-labelledby");
            for id in labels.iter().flat_map(|label| label.split(' ')) {
                assert!(ids.iter().any(|own| own == id), "{id} is not on the page of {svgs} plots");
            }
        }
    }

    #[test]
    fn what_a_file_says_is_text() {
        let page = html(&[document("<img src=x>", 3)]);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("&lt;img src=x&gt;") && !page.contains("<img") && !page.contains("<b>CPU"));
        assert!(page.contains("a &amp; b &lt; c &quot;d&quot; &#39;e&#39;"));
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for page in pages() {
            let page = page.replace("http://www.w3.org/1999/xhtml", "");
            for word in ["http", "//fonts", "url(", "@import", "src=", "href="] {
                assert!(!page.contains(word), "{word}");
            }
        }
    }

    /// A million seconds, of sixteen results: as large as what can be seen of them.
    #[test]
    fn a_long_run_is_no_larger_than_its_plots() {
        let mut long = document("a", 4000);
        for at in 0..1_000_000u32 {
            let times = Some(u64::from(at) + 1);
            long.steps[0].seconds.push(super::super::series::Second {
                at_s: f64::from(at),
                length_s: 1.0,
                count: 1,
                errors: 1,
                p50: times,
                max: times,
                ..Default::default()
            });
        }
        let one = html(std::slice::from_ref(&long));
        assert!(one.len() < 500_000, "{}", one.len());
        let all = html(&vec![long; 16]);
        assert!(all.len() < 6_000_000, "{}", all.len());
    }

    #[test]
    fn each_plot_is_there_when_there_is_something_to_show() {
        let page = html(&[document("a", 10), document("b", 10)]);
        for id in [
            "percentiles-log-wide",
            "percentiles-lin-narrow",
            "time-p50-wide",
            "time-max-narrow",
            "time-rate-wide",
            "time-errors-wide",
        ] {
            assert!(page.contains(&format!("id=\"{id}-t\"")), "{id}");
        }
        assert!(!page.contains("sweep-0"));
        let page = html(&[sweep("a")]);
        assert!(page.contains("sweep-0-p99-wide") && page.contains("class=\"ideal\"") && !page.contains("time-p50"));
        let page = html(&[Document::of("bare", json!({"count": 0, "duration_s": 0})).unwrap()]);
        assert!(!page.contains("<figure>") && page.contains("Machines and settings"));
    }
}
