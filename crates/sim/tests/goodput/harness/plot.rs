//! The plots: goodput against loss, a line for each round-trip time, as SVG.

use super::{
    cell::{Cell, FLOWS, LOSSES_PPM, RTTS_US},
    files::Tables,
    page::{find, percent, rtt},
    row::Row,
};
use std::fmt::Write;

/// Colours that are told apart by the colour-blind as well (Okabe and Ito).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 460.0;
/// Of a panel.
const INNER: (f64, f64) = (370.0, 310.0);
const TOP: f64 = 90.0;
/// Mbit/s at the bottom of the axis.
const LEAST: f64 = 0.1;

/// The plot for a rate: one panel for one flow, one for eight.
pub fn svg(gbit: u64, tables: &Tables) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"70\" y=\"26\" font-size=\"17\">Goodput against random loss, bottleneck of {gbit} Gbit/s</text>\n"
    );
    legend(&mut out);
    for (n, flows) in FLOWS.into_iter().enumerate() {
        let left = if n == 0 { 70.0 } else { 70.0 + INNER.0 + 80.0 };
        panel(&mut out, left, gbit, flows);
        for (rtt_us, colour) in RTTS_US.into_iter().zip(COLOURS) {
            for (rows, dashes) in [(&tables.theirs, "6 4"), (&tables.ours, "")] {
                let cells = LOSSES_PPM.map(|loss_ppm| Cell { gbit, flows, rtt_us, loss_ppm });
                line(&mut out, left, gbit, &cells, rows, (colour, dashes));
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    let mut x = 70.0;
    for (us, colour) in RTTS_US.into_iter().zip(COLOURS) {
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"50\" x2=\"{}\" y2=\"50\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            x + 26.0
        );
        let _ = writeln!(out, "<text x=\"{}\" y=\"54\">RTT {}</text>", x + 32.0, rtt(us));
        x += 130.0;
    }
    for (name, dashes) in [("fourwave", ""), ("smoltcp", "6 4")] {
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"50\" x2=\"{}\" y2=\"50\" stroke=\"#444444\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/>",
            x + 34.0
        );
        let _ = writeln!(out, "<text x=\"{}\" y=\"54\">{name}</text>", x + 40.0);
        x += 130.0;
    }
}

/// Where a loss rate lies from left to right: the rates of the table are categories.
#[allow(clippy::cast_precision_loss)] // six of them
fn across(left: f64, n: usize) -> f64 {
    left + (n as f64 + 0.5) * INNER.0 / LOSSES_PPM.len() as f64
}

/// Where a goodput lies from top to bottom, logarithmically.
#[allow(clippy::cast_precision_loss)] // 1 or 10
fn down(gbit: u64, mbit: f64) -> f64 {
    let most = (gbit as f64 * 1e3 / LEAST).log10();
    let here = (mbit.max(LEAST) / LEAST).log10();
    TOP + INNER.1 * (1.0 - here / most)
}

fn panel(out: &mut String, left: f64, gbit: u64, flows: u64) {
    let (right, bottom) = (left + INNER.0, TOP + INNER.1);
    let mut mbit = LEAST;
    #[allow(clippy::cast_precision_loss)] // 1 or 10
    while mbit <= gbit as f64 * 1001.0 {
        let y = down(gbit, mbit);
        let label = if mbit < 1000.0 {
            format!("{mbit:.0$} M", usize::from(mbit < 1.0))
        } else {
            format!("{:.0} G", mbit / 1e3)
        };
        let _ = writeln!(out, "<line x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 6.0, y + 4.0);
        mbit *= 10.0;
    }
    for (n, ppm) in LOSSES_PPM.into_iter().enumerate() {
        let x = across(left, n);
        let _ =
            writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 18.0, percent(ppm));
    }
    let _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888888\"/>",
        INNER.0, INNER.1
    );
    let middle = left + INNER.0 / 2.0;
    let word = if flows == 1 { "1 flow" } else { "8 flows, sum" };
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{word}</text>",
        TOP - 10.0
    );
    let _ = writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">loss</text>", bottom + 38.0);
    let y = TOP + INNER.1 / 2.0;
    let x = left - 48.0;
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 {x} {y})\">bit/s</text>"
    );
}

fn line(out: &mut String, left: f64, gbit: u64, cells: &[Cell], rows: &[Row], (colour, dashes): (&str, &str)) {
    let mut points = String::new();
    let mut dots = String::new();
    for (n, cell) in cells.iter().enumerate() {
        let Some(row) = find(rows, cell) else { continue };
        let (x, y) = (across(left, n), down(gbit, row.mbit));
        let _ = write!(points, "{x:.1},{y:.1} ");
        if dashes.is_empty() {
            let _ = writeln!(dots, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
        points.trim_end()
    );
    out.push_str(&dots);
}
