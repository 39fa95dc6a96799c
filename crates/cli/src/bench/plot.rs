//! Plots of a report: a bar for each median, a dot for each round.

use std::fmt::Write;

/// Colours that are told apart by the colour-blind as well (Okabe and Ito).
const BAR: &str = "#0072b2";
const OTHERS: &str = "#9aa7b1";
const DOT: &str = "#222222";
const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 52.0;
const PITCH: f64 = 40.0;
const THICKNESS: f64 = 22.0;
/// Below the bars: the axis.
const BOTTOM: f64 = 46.0;

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) median: f64,
    pub(super) rounds: Vec<f64>,
    /// At its end.
    pub(super) label: String,
    /// It is the one that the others are beside.
    pub(super) ours: bool,
}

/// A plot of bars from 0 on, as SVG. The axis reaches a bit beyond the longest bar; a round far beyond all is at its end.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + PITCH * count(bars.len()) + BOTTOM;
    let most = bars.iter().map(|bar| bar.median).fold(0.0, f64::max);
    let spread = bars.iter().flat_map(|bar| &bar.rounds).copied().fold(most, f64::max).min(1.5 * most);
    let (step, decimals) = step(spread.max(f64::MIN_POSITIVE));
    let end = (spread / step).ceil() * step;
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (value / end).clamp(0.0, 1.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\">{title}</text>\n"
    );
    let bottom = TOP + PITCH * count(bars.len());
    let ticks = (end / step).round();
    let mut tick = 0.0;
    while tick <= ticks {
        let (at, value) = (x(tick * step), tick * step);
        let _ = writeln!(out, "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>");
        let label = grouped(value, decimals);
        let y = bottom + 16.0;
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\" font-size=\"11\">{label}</text>");
        tick += 1.0;
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let y = bottom + 36.0;
    let _ = writeln!(out, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{unit}; dots are rounds</text>");
    for (n, bar) in bars.iter().enumerate() {
        let y = TOP + PITCH * count(n) + (PITCH - THICKNESS) / 2.0;
        let (centre, width) = (y + THICKNESS / 2.0, x(bar.median) - LEFT);
        let colour = if bar.ours { BAR } else { OTHERS };
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{THICKNESS}\" fill=\"{colour}\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            centre + 4.5,
            bar.name
        );
        let furthest = bar.rounds.iter().copied().fold(bar.median, f64::max);
        for round in &bar.rounds {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{centre}\" r=\"3\" fill=\"{DOT}\" fill-opacity=\"0.55\"/>",
                x(*round)
            );
        }
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{}\">{}</text>", x(furthest) + 8.0, centre + 4.5, bar.label);
    }
    out.push_str("</svg>\n");
    out
}

#[expect(clippy::cast_precision_loss, reason = "a few bars")]
fn count(n: usize) -> f64 {
    n as f64
}

/// Between two ticks, so that there are 4 to 8 of them: 1, 2 or 5 times a power of ten. And the decimals it takes.
fn step(most: f64) -> (f64, usize) {
    let power = 10f64.powf((most / 4.0).log10().floor());
    let factor = [5.0, 2.0, 1.0].into_iter().find(|factor| most / (factor * power) >= 4.0).unwrap_or(1.0);
    let step = factor * power;
    let decimals = (0..6).find(|n| (step * 10f64.powi(*n)).fract().abs() < 1e-6).unwrap_or(6);
    (step, usize::try_from(decimals).unwrap_or(0))
}

/// "1,200,000".
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    rest.map_or(out.clone(), |rest| format!("{out}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        for (most, wanted) in [(9.0, 2.0), (8.0, 2.0), (3.3, 0.5), (1_250_000.0, 200_000.0), (41.0, 10.0)] {
            let (step, _) = step(most);
            assert!((step - wanted).abs() < 1e-9 * wanted, "{most}: {step}");
            assert!((4.0..=10.0).contains(&(most / step)), "{most}: {step}");
        }
        assert_eq!(step(3.3).1, 1);
        assert_eq!((grouped(1_200_000.0, 0), grouped(0.5, 1)), ("1,200,000".to_owned(), "0.5".to_owned()));
    }

    #[test]
    fn the_longest_bar_is_as_much_longer_as_it_is_more() {
        let bar = |name: &str, median| Bar {
            name: name.into(),
            median,
            rounds: vec![median],
            label: String::new(),
            ours: false,
        };
        let svg = bars("a", "per s", &[bar("one", 10.0), bar("two", 40.0)]);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect x="))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[1] / widths[0] - 4.0).abs() < 0.01, "{widths:?}");
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
