//! Random worlds: two hosts whose applications open, use and end connections in every way, over a network that loses,
//! repeats, reorders, corrupts and swallows, while somebody off the path guesses. What must hold in each of them is in
//! `player.rs` (streams and ends) and here (nothing is left, nothing spins).
//!
//! Every world is a function of its seed. `RANDOM_SEEDS=first..last` runs others than the fixed ones.

mod network;
mod player;
mod rng;
mod world;

/// The worlds of `make test`.
const FIXED: core::ops::Range<u64> = 1..61;

fn seeds() -> core::ops::Range<u64> {
    let Ok(range) = std::env::var("RANDOM_SEEDS") else { return FIXED };
    let (first, last) = range.split_once("..").expect("RANDOM_SEEDS=first..last");
    first.parse().expect("a number")..last.parse().expect("a number")
}

#[test]
fn every_world_ends_well() {
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| world::run(seed));
        if let Err(reason) = run {
            eprintln!("the world of seed {seed} did not end well: RANDOM_SEEDS={seed}..{}", seed + 1);
            std::panic::resume_unwind(reason);
        }
    }
}
