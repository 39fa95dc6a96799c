//! Random worlds: hosts whose applications open, use and end connections in every way, over a network that loses, repeats,
//! reorders, corrupts, queues and swallows, while somebody off the path guesses. What must hold in each of them is the
//! world's own business (`sim::World`), and `player.rs`'s for what only an application can know.
//!
//! Every world is a function of its seed. `make sim SEEDS=first..last` runs others than the fixed ones, and says what there
//! was; docs/SIMULATOR.md has more.

mod crossing;
mod forger;
mod player;
mod several;
mod world;

use std::{ops::Range, time::Instant};

/// The worlds of `make test`.
const FIXED: Range<u64> = 1..2001;
const FIXED_SEVERAL: Range<u64> = 1..401;

fn seeds(fixed: Range<u64>) -> Range<u64> {
    let Ok(range) = std::env::var("SIM_SEEDS") else { return fixed };
    let parsed = range.split_once("..").and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    parsed.unwrap_or_else(|| panic!("SIM_SEEDS is {range:?}, wanted is first..last, two numbers"))
}

/// Seconds that this thread has had a core; the wall clock's where Linux doesn't say.
fn core_seconds(begun: Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|stat| stat.split(' ').next()?.parse::<u64>().ok());
    nanos.map_or_else(|| begun.elapsed().as_secs_f64(), |nanos| nanos as f64 / 1e9)
}

#[test]
fn every_world_ends_well() {
    run("worlds", seeds(FIXED), world::run);
}

/// The same with hosts of several shards, whose frames arrive at any of them.
#[test]
fn every_world_of_several_shards_ends_well() {
    run("worlds of several shards", seeds(FIXED_SEVERAL), several::run);
}

fn run(what: &str, seeds: Range<u64>, run: fn(u64) -> world::Tally) {
    let begun = Instant::now();
    let mut all = world::Tally::default();
    for seed in seeds.clone() {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(tally) => all.add(tally),
            Err(reason) => {
                eprintln!("of the {what} that of seed {seed} did not end well: make sim SEEDS={seed}..{}", seed + 1);
                std::panic::resume_unwind(reason);
            }
        }
    }
    let (seconds, core) = (begun.elapsed().as_secs_f64(), core_seconds(begun));
    println!(
        "{} {what} in {seconds:.1} s, {core:.1} s of a core: {} lifetimes of connections ({} of them accepted, {} \
         crossed), {} frames ({} impaired), {} octets compared; {:.0} lifetimes per hour of one core",
        seeds.count(),
        all.lifetimes,
        all.accepted,
        all.crossed,
        all.frames,
        all.impaired,
        all.octets,
        all.lifetimes as f64 * 3600.0 / core,
    );
}
