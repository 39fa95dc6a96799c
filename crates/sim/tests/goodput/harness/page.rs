//! The tables of docs/GOODPUT.md, from the committed lines.

use super::{
    cell::{Cell, FLOWS, LOSSES_PPM, RATES_GBIT, RTTS_US},
    files::Tables,
    row::Row,
    theory,
};
use std::fmt::Write;

pub const BEGIN: &str = "<!-- tables: begin, made by `make goldens` -->\n";
pub const END: &str = "<!-- tables: end -->\n";

/// The page with its tables made anew. Panics if it has no place for them.
pub fn renew(page: &str, all: &Tables) -> String {
    let (head, rest) = page.split_once(BEGIN).expect("the page says where its tables begin");
    let (_, tail) = rest.split_once(END).expect("the page says where its tables end");
    format!("{head}{BEGIN}{}{END}{tail}", tables(all))
}

fn tables(all: &Tables) -> String {
    let mut out = String::new();
    ahead(&mut out, all);
    for gbit in RATES_GBIT {
        for flows in FLOWS {
            let word = if flows == 1 { "flow" } else { "flows" };
            let _ = write!(out, "\n### {gbit} Gbit/s, {flows} {word}\n\n");
            goodput(&mut out, gbit, flows, all);
        }
    }
    out
}

/// The line of a cell, if it has been computed.
pub fn find<'r>(rows: &'r [Row], cell: &Cell) -> Option<&'r Row> {
    rows.iter().find(|row| row.cell == *cell)
}

/// A rate with three digits.
pub fn mbit(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[allow(clippy::cast_precision_loss)] // parts per million
pub fn percent(ppm: u64) -> String {
    format!("{} %", ppm as f64 / 1e4)
}

pub fn rtt(us: u64) -> String {
    if us < 1000 { format!("{us} µs") } else { format!("{} ms", us / 1000) }
}

/// How far ahead: ours by theirs, for each loss rate.
fn ahead(out: &mut String, all: &Tables) {
    out.push_str(
        "| loss | median | least | most | behind in | against small segments: median | least | most | behind in |\n",
    );
    out.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for ppm in LOSSES_PPM {
        let _ = write!(out, "| {} |", percent(ppm));
        for theirs in [&all.theirs, &all.theirs_small] {
            let mut ratios: Vec<f64> = all
                .ours
                .iter()
                .filter(|row| row.cell.loss_ppm == ppm)
                .filter_map(|row| Some(row.mbit / find(theirs, &row.cell)?.mbit.max(1e-3)))
                .collect();
            if ratios.is_empty() {
                out.push_str(" – | – | – | – |");
                continue;
            }
            ratios.sort_by(f64::total_cmp);
            let (n, behind) = (ratios.len(), ratios.iter().filter(|r| **r < 0.995).count());
            let median = f64::midpoint(ratios[(n - 1) / 2], ratios[n / 2]);
            let _ = write!(out, " **{median:.2}** | {:.2} | {:.1} | {behind} of {n} |", ratios[0], ratios[n - 1]);
        }
        out.push('\n');
    }
}

/// One table: fourwave, smoltcp and the formula; of several flows the fairness indices.
fn goodput(out: &mut String, gbit: u64, flows: u64, all: &Tables) {
    let jain = flows > 1;
    out.push_str("| loss |");
    for us in RTTS_US {
        let _ = write!(out, " {} | smoltcp | formula |{}", rtt(us), if jain { " fairness |" } else { "" });
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(RTTS_US.len() * if jain { 4 } else { 3 }));
    out.push('\n');
    for loss_ppm in LOSSES_PPM {
        let _ = write!(out, "| {} |", percent(loss_ppm));
        for rtt_us in RTTS_US {
            let cell = Cell { gbit, flows, rtt_us, loss_ppm };
            let (our, their) = (find(&all.ours, &cell), find(&all.theirs, &cell));
            let told = |row: Option<&Row>, f: fn(&Row) -> String| row.map_or("–".into(), f);
            let rates = [our, their].map(|row| told(row, |row| mbit(row.mbit)));
            let _ = write!(out, " **{}** | {} |", rates[0], rates[1]);
            let _ = write!(out, " {} |", mbit(theory::expected_mbit(&cell)));
            if jain {
                let shares = [our, their].map(|row| told(row, |row| format!("{:.2}", row.jain)));
                let _ = write!(out, " {}, {} |", shares[0], shares[1]);
            }
        }
        out.push('\n');
    }
}
