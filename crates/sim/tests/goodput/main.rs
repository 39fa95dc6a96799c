//! The goodput tables: what is cheap to recompute is, and must be the same to the last digit. `make goldens` recomputes
//! everything and rewrites the tables, docs/GOODPUT.md and the plots.

mod harness;

use harness::{
    cell::{Cell, RATES_GBIT, jain},
    files::{self, Table, Tables},
    page, plot,
    row::Row,
    run::{self, Stack},
    smoltcp::Tuning,
};
use std::fs;

/// Frames a cell may take to be recomputed here; a few without loss are, though they take more.
const CHEAP: u64 = 200_000;

/// One line at most for each cell, in the order of the cells.
fn in_order(rows: &[Row]) -> bool {
    let cells: Vec<Cell> = Cell::all().into_iter().filter(|cell| page::find(rows, cell).is_some()).collect();
    rows.iter().map(|row| row.cell).eq(cells)
}

fn compare(rows: &[Row], stack: impl Fn(&Row) -> Stack) {
    let differences: Vec<String> = rows
        .iter()
        .map(|row| (row.to_string(), run::run(&row.cell, stack(row)).to_string()))
        .filter(|(committed, now)| committed != now)
        .map(|(committed, now)| format!("- {committed}\n+ {now}\n"))
        .collect();
    assert!(
        differences.is_empty(),
        "goodput has changed; if it is meant to, `make goldens`:\n{}",
        differences.concat()
    );
}

#[test]
fn goodput_is_what_is_committed() {
    let rows = Table::Fourwave.read();
    assert!(in_order(&rows), "one line for a cell, in order");
    let chosen = |row: &Row| row.all_frames <= CHEAP || (row.cell.loss_ppm == 0 && row.cell.rtt_us == 1000);
    let cheap: Vec<Row> = rows.into_iter().filter(chosen).collect();
    assert!(cheap.len() >= 16, "{} cells are too few to show anything", cheap.len());
    compare(&cheap, |_| Stack::Fourwave);
}

#[test]
fn the_world_is_the_same_for_smoltcp() {
    let tables = [Table::Smoltcp, Table::SmoltcpSmall].map(Table::read);
    assert!(tables.iter().all(|rows| in_order(rows)), "one line for a cell, in order");
    let cheap: Vec<Row> = tables.concat().into_iter().filter(|row| row.all_frames <= CHEAP / 6).collect();
    compare(&cheap, |row| {
        let tuning = Tuning::ALL.into_iter().find(|t| t.name == row.stack).expect("settings of this name");
        Stack::Smoltcp(tuning)
    });
}

/// The page and the plots are made of the tables.
#[test]
fn page_and_plots_are_of_the_tables() {
    let tables = Tables::read();
    let text = fs::read_to_string(files::page()).expect("committed");
    assert!(text == page::renew(&text, &tables), "docs/GOODPUT.md is not of these tables: `make goldens`");
    for gbit in RATES_GBIT {
        let text = fs::read_to_string(files::plot(gbit)).expect("committed");
        assert!(text == plot::svg(gbit, &tables), "a plot is not of these tables: `make goldens`");
    }
}

/// Jain, Chiu and Hawe 1984: 1 if all have the same, k / n if k of n share everything equally.
#[test]
fn fairness_index() {
    let is = |shares: &[u64], expected: f64| assert!((jain(shares) - expected).abs() < 1e-12, "{shares:?}");
    is(&[7], 1.0);
    is(&[5; 8], 1.0);
    is(&[9, 0, 0, 0, 0, 0, 0, 0], 0.125);
    is(&[3, 3, 0, 0], 0.5);
    is(&[0, 0], 0.0);
}
