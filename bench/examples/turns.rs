//! Cases by turns in one process, so that what the machine does meanwhile is in all of them alike: for ratios of cases that are
//! minutes apart in `make bench-memory`. Nanoseconds per operation, and each case's cost as a multiple of the first one's, by
//! means: `make bench-turns`, or
//! `cargo run --release -p fourwave-bench --example turns -- ROUNDS OPERATIONS CASE...`, where `smoltcp:CASE` is its equal.

#[path = "../in_memory/mod.rs"]
mod in_memory;

use anyhow::{Context, Result, ensure};
use in_memory::{Run, cases};
use std::time::Instant;

/// As a program may have it that holds millions of connections.
#[global_allocator]
static ALLOCATOR: fourwave::Allocator = fourwave::Allocator;

const USAGE: &str = "usage: turns ROUNDS OPERATIONS [smoltcp:]CASE...";
const SMOLTCP: &str = "smoltcp:";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    ensure!(args.len() > 2, USAGE);
    let (rounds, operations): (usize, u64) =
        (args[0].parse().context(USAGE)?, args[1].parse().context("OPERATIONS: a number")?);
    ensure!(rounds > 0 && operations > 0, "a round has an operation at least");
    let mut runs = args[2..].iter().map(|id| make(id)).collect::<Result<Vec<Run>>>()?;
    let mut times = vec![Vec::with_capacity(rounds); runs.len()];
    for _ in 0..rounds {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let began = Instant::now();
            run(operations);
            #[allow(clippy::cast_precision_loss)] // operations are below 2^52
            times.push(began.elapsed().as_secs_f64() * 1e9 / operations as f64);
        }
    }
    #[allow(clippy::cast_precision_loss)] // as above
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let first = mean(&times[0]);
    println!("{:32} {:>8} {:>8} {:>8} {:>8} {:>9}", "nanoseconds of", "mean", "median", "least", "most", "to first");
    for (id, times) in args[2..].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (mean, median) = (mean(times), times[times.len() / 2]);
        let (least, most) = (times[0], times[times.len() - 1]);
        println!("{id:32} {mean:>8.1} {median:>8.1} {least:>8.1} {most:>8.1} {:>9.2}", mean / first);
    }
    Ok(())
}

fn make(id: &str) -> Result<Run> {
    let (name, theirs) = id.strip_prefix(SMOLTCP).map_or((id, false), |name| (name, true));
    let case =
        cases().into_iter().find(|case| case.id() == name).with_context(|| format!("there is no case {name}"))?;
    if theirs {
        let (make, _) = case.theirs.with_context(|| format!("smoltcp has no {name}"))?;
        return Ok(make(case.size));
    }
    Ok((case.ours)(case.size))
}
