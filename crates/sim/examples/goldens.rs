//! Recomputes the goodput tables, docs/GOODPUT.md and its plots (`make goldens`), or looks at one cell.

#[path = "../tests/goodput/harness/mod.rs"]
mod harness;

use harness::{
    cell::{Cell, RATES_GBIT, jain},
    files::{self, Table, Tables},
    fourwave, page, plot,
    row::{HEAD, Row},
    run::{self, Stack},
    smoltcp::{self, Tuning},
};
use sim::{LinkCounters, Pair};
use stack::{Duration, Instant};
use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const USAGE: &str = "goldens                                                    compute everything, write everything
goldens fourwave                                           the same without smoltcp, whose lines stay as they are
goldens draw                                               the page and the plots, from the tables
goldens cell  STACK GBIT FLOWS RTT_US LOSS_PPM             one cell
goldens trace STACK GBIT FLOWS RTT_US LOSS_PPM MS STEPS    what its flows do, step by step
STACK is fourwave, smoltcp, or one of its settings: cubic, cubic-fitted, small";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |n: &str| n.parse::<u64>().expect("a number");
    let cell =
        |a: &[&str]| Cell { gbit: number(a[0]), flows: number(a[1]), rtt_us: number(a[2]), loss_ppm: number(a[3]) };
    match args.as_slice() {
        [] => compute(&Table::ALL),
        ["fourwave"] => compute(&[Table::Fourwave]),
        ["draw"] => draw(),
        ["cell", stack, rest @ ..] if rest.len() == 4 => {
            println!("{HEAD}");
            for stack in stacks(stack) {
                println!("{}", run::run(&cell(rest), stack));
            }
        }
        ["trace", stack, rest @ ..] if rest.len() == 6 => {
            trace(stacks(stack)[0], &cell(rest), number(rest[4]), number(rest[5]));
        }
        _ => eprintln!("{USAGE}"),
    }
}

/// The stacks of a name.
fn stacks(name: &str) -> Vec<Stack> {
    if name == "fourwave" {
        return vec![Stack::Fourwave];
    }
    Tuning::ALL.into_iter().filter(|t| name == "smoltcp" || t.name == name).map(Stack::Smoltcp).collect()
}

/// Computes every cell of these tables and writes them, the page and the plots.
fn compute(tables: &[Table]) {
    let began = std::time::Instant::now();
    let cells = Cell::all();
    let jobs: Vec<(Cell, Stack)> = cells
        .iter()
        .flat_map(|cell| ["fourwave", "smoltcp"].into_iter().flat_map(stacks).map(|stack| (*cell, stack)))
        .filter(|(_, stack)| tables.contains(&Table::of(*stack)))
        .collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((cell, stack)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = std::time::Instant::now();
            let row = run::run(cell, *stack);
            eprintln!("{row} {:.1} s", started.elapsed().as_secs_f64());
            done.lock().expect("no thread has panicked").push((*stack, row));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let done = done.into_inner().expect("no thread has panicked");
    let best = |cell: &Cell, table: Table| {
        let rows = done.iter().filter(|(stack, row)| row.cell == *cell && Table::of(*stack) == table);
        let mut rows: Vec<&Row> = rows.map(|(_, row)| row).collect();
        // In an order that doesn't depend on which thread was first.
        rows.sort_by(|a, b| b.mbit.total_cmp(&a.mbit).then(a.stack.cmp(&b.stack)));
        rows[0].clone()
    };
    for table in tables {
        table.write(&cells.iter().map(|cell| best(cell, *table)).collect::<Vec<_>>());
    }
    draw();
    eprintln!("{:.0} s", began.elapsed().as_secs_f64());
}

/// Makes the page and the plots of the tables.
fn draw() {
    let tables = Tables::read();
    let text = fs::read_to_string(files::page()).expect("the page is there");
    fs::write(files::page(), page::renew(&text, &tables)).expect("the page can be written");
    for gbit in RATES_GBIT {
        fs::write(files::plot(gbit), plot::svg(gbit, &tables)).expect("the plot can be written");
    }
}

/// Prints what a cell's flows do, step by step.
fn trace(stack: Stack, cell: &Cell, millis: u64, steps: u64) {
    let step = Duration::from_millis(millis) / u32::try_from(steps).expect("few");
    let mut last = Vec::new();
    let mut report = |now: Instant, all: Vec<u64>, link: &LinkCounters| {
        last.resize(all.len(), 0);
        let got: Vec<u64> = all.iter().zip(&last).map(|(a, b)| a - b).collect();
        let (time, mbit) = ((now - Instant::ZERO).as_secs_f64(), run::rate_mbit(got.iter().sum(), step));
        let LinkCounters { frames, lost, queue_dropped, .. } = link;
        println!(
            "{time:9.4} s {mbit:9.2} Mbit/s {:.4} frames {frames} lost {lost} dropped {queue_dropped}",
            jain(&got)
        );
        last = all;
    };
    match stack {
        Stack::Fourwave => {
            let mut world = run::world(cell, Pair { a: fourwave::source(cell), b: fourwave::sink(cell) });
            for _ in 0..steps {
                world.run(step);
                let now = world.now();
                report(now, world.b.app.delivered(), world.link(run::THERE));
                for i in fourwave::infos(&mut world.a, now) {
                    print!("    cwnd {} ssthresh {:?} flight {}", i.cwnd_bytes, i.ssthresh_bytes, i.in_flight_bytes);
                    print!(" sacked {} lost {} again {}", i.sacked_bytes, i.lost_bytes, i.retransmits);
                    println!(" srtt {:?} timer {:?}", i.srtt, i.timer);
                }
            }
        }
        Stack::Smoltcp(tuning) => {
            let nodes = Pair { a: smoltcp::Host::source(cell, tuning), b: smoltcp::Host::sink(cell, tuning) };
            let mut world = run::world(cell, nodes);
            for _ in 0..steps {
                world.run(step);
                report(world.now(), world.b.delivered(), world.link(run::THERE));
            }
        }
    }
}
