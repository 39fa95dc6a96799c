//! A plot as SVG, twice: for wide and for narrow windows. Colours and dashes are classes of the page's style.

use std::fmt::Write;

use super::axis::Axis;
use super::escape;

/// Points of one line. More are of no use in so many pixels.
pub(super) const MOST_POINTS: usize = 300;
/// Columns that can be pointed at.
const MOST_HITS: usize = 120;
/// Lines of no more points show each of them.
const FEW: usize = 40;

/// One result's line.
pub(super) struct Line {
    /// Of the result: `r0`, …; of a whole sweep `d0`, …
    pub(super) class: char,
    pub(super) index: usize,
    /// A missing value is a gap.
    pub(super) points: Vec<(f64, Option<f64>)>,
    /// Where something went wrong.
    pub(super) errors: Vec<f64>,
}

/// What a column of the plot says when pointed at.
pub(super) struct Hit {
    pub(super) at: f64,
    pub(super) text: String,
}

pub(super) struct Plot {
    /// Of its ids: unique on the page.
    pub(super) id: String,
    pub(super) title: String,
    /// For those who can't see it.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) x_title: String,
    pub(super) y_title: String,
    pub(super) lines: Vec<Line>,
    /// A line that things would ideally lie on.
    pub(super) ideal: Option<[(f64, f64); 2]>,
    pub(super) hits: Vec<Hit>,
    pub(super) tall: bool,
}

struct Size {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    ticks: (u32, u32),
}

impl Plot {
    pub(super) fn svg(&self) -> String {
        let height = |tall: f64, low: f64| if self.tall { tall } else { low };
        let wide = Size { class: "wide", width: 920.0, height: height(400.0, 190.0), left: 74.0, ticks: (9, 8) };
        let narrow = Size { class: "narrow", width: 380.0, height: height(320.0, 190.0), left: 60.0, ticks: (5, 7) };
        let ticks =
            |size: Size, low: u32| Size { ticks: (size.ticks.0, if self.tall { size.ticks.1 } else { low }), ..size };
        self.drawn(&ticks(wide, 4)) + &self.drawn(&ticks(narrow, 4))
    }

    /// For wide windows alone, of a size in pixels.
    pub(super) fn wide(&self, width: f64, height: f64) -> String {
        let size = Size { class: "wide", width, height, left: 74.0, ticks: (9, 4) };
        self.drawn(&size).replacen("<svg ", &format!("<svg width=\"{width}\" height=\"{height}\" "), 1)
    }

    fn drawn(&self, size: &Size) -> String {
        let Size { class, width, height, .. } = size;
        let id = format!("{}-{class}", self.id);
        let mut out = format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n",
            escape(&self.title),
            escape(&self.description)
        );
        self.axes(&mut out, size);
        let at = |x: f64, y: f64| (self.across(size, x), self.down(size, y));
        if let Some([from, to]) = self.ideal {
            let ((x1, y1), (x2, y2)) = (at(from.0, from.1), at(to.0, to.1));
            let _ =
                writeln!(out, "<line class=\"ideal\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
        }
        for line in &self.lines {
            let place = |(x, y): &(f64, Option<f64>)| y.map(|y| at(*x, y));
            let places: Vec<_> = line.points.iter().map(place).collect();
            draw(&mut out, line, &places);
            for x in &line.errors {
                let (x, y) = (self.across(size, *x), TOP + 8.0);
                let (left, right, up, down) = (x - 3.5, x + 3.5, y - 3.5, y + 3.5);
                let _ = writeln!(
                    out,
                    "<path class=\"error {}{}\" d=\"M{left:.1} {up:.1}L{right:.1} {down:.1}M{left:.1} {down:.1}L{right:.1} {up:.1}\"/>",
                    line.class, line.index
                );
            }
        }
        if *class == "wide" {
            self.columns(&mut out, size);
        }
        out.push_str("</svg>\n");
        out
    }

    fn bottom(&self) -> f64 {
        if self.x_title.is_empty() { BOTTOM } else { BOTTOM + TITLE }
    }

    fn across(&self, size: &Size, x: f64) -> f64 {
        size.left + self.x.place(x) * (size.width - size.left - RIGHT)
    }

    fn down(&self, size: &Size, y: f64) -> f64 {
        TOP + (1.0 - self.y.place(y)) * (size.height - TOP - self.bottom())
    }

    fn axes(&self, out: &mut String, size: &Size) {
        let (left, right, bottom) = (size.left, size.width - RIGHT, size.height - self.bottom());
        for tick in self.y.ticks(size.ticks.1) {
            let (y, label) = (self.down(size, tick), escape(&self.y.label(tick)));
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>\
                 <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                y + 4.0
            );
        }
        let mut taken = f64::NEG_INFINITY;
        for tick in self.x.ticks(size.ticks.0) {
            let (x, label) = (self.across(size, tick), escape(&self.x.label(tick)));
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            // About seven units a letter.
            let half = 3.6 * label.chars().count() as f64;
            let middle = x.min(size.width - half - 1.0);
            if middle - half < taken + 6.0 {
                continue;
            }
            taken = middle + half;
            let y = bottom + 16.0;
            let _ =
                writeln!(out, "<text class=\"tick\" x=\"{middle:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
        }
        let _ = writeln!(out, "<path class=\"frame\" d=\"M{left} {TOP}V{bottom}H{right}\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><text x=\"2\" y=\"13\">{}</text>",
            size.height - 4.0,
            escape(&self.x_title),
            escape(&self.y_title)
        );
    }

    /// Each column can be pointed at.
    fn columns(&self, out: &mut String, size: &Size) {
        let every = self.hits.len().div_ceil(MOST_HITS).max(1);
        let hits: Vec<_> = self.hits.iter().step_by(every).collect();
        let places: Vec<_> = hits.iter().map(|hit| self.across(size, hit.at)).collect();
        let (first, last) = (size.left, size.width - RIGHT);
        for (index, hit) in hits.iter().enumerate() {
            let between = |a: usize, b: usize| f64::midpoint(places[a], places[b]);
            let from = if index == 0 { first } else { between(index - 1, index) };
            let to = if index + 1 == hits.len() { last } else { between(index, index + 1) };
            let (width, height) = ((to - from).max(0.0), size.height - TOP - self.bottom());
            let _ = writeln!(
                out,
                "<rect class=\"hit\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>{}</title></rect>",
                escape(&hit.text)
            );
        }
    }
}

const TOP: f64 = 24.0;
const RIGHT: f64 = 14.0;
/// For the labels of the axis, and for its title.
const BOTTOM: f64 = 22.0;
const TITLE: f64 = 18.0;

/// The line, broken where there is nothing, and its marks: all of them if they are few, else the last.
fn draw(out: &mut String, line: &Line, places: &[Option<(f64, f64)>]) {
    let Line { class, index, .. } = line;
    let mut path = String::new();
    let mut pen = false;
    for place in places {
        match place {
            Some((x, y)) => {
                let _ = write!(path, "{}{x:.1} {y:.1}", if pen { 'L' } else { 'M' });
                pen = true;
            }
            None => pen = false,
        }
    }
    if path.is_empty() {
        return;
    }
    let _ = writeln!(out, "<path class=\"l {class}{index}\" d=\"{path}\"/>");
    let known: Vec<_> = places.iter().flatten().collect();
    let from = if known.len() <= FEW { 0 } else { known.len() - 1 };
    for (x, y) in &known[from..] {
        let _ = writeln!(out, "<path class=\"m {class}{index}\" d=\"{}\"/>", mark(*index, *x, *y));
    }
}

/// A shape for each result, so that colour is not needed.
pub(super) fn mark(index: usize, x: f64, y: f64) -> String {
    match index % 5 {
        0 => format!("M{:.1} {y:.1}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z", x - 3.5),
        1 => format!("M{:.1} {:.1}h6v6h-6Z", x - 3.0, y - 3.0),
        2 => format!("M{x:.1} {:.1}l4 7h-8Z", y - 4.5),
        3 => format!("M{x:.1} {:.1}l4 4.5l-4 4.5l-4 -4.5Z", y - 4.5),
        _ => format!("M{x:.1} {:.1}l-4 -7h8Z", y + 4.5),
    }
}
