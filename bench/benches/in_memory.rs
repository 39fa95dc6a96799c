//! The core in memory, beside smoltcp's equal where it has one: `make bench-memory`.
//!
//! `FOURWAVE_BENCH_MOST=10000000` measures ten million connections and timers too, with some 8 GiB of memory.
#![allow(missing_docs, unreachable_pub)] // criterion's macros

#[path = "../in_memory/mod.rs"]
mod in_memory;

use criterion::{Bencher, Criterion, SamplingMode, criterion_group, criterion_main};
use in_memory::{MANY, Run};
use std::time::{Duration, Instant};

/// As a program may have it that holds millions of connections.
#[global_allocator]
static ALLOCATOR: fourwave::Allocator = fourwave::Allocator;

/// The most connections or timers that are measured if nothing else is said.
const MOST: usize = 1_000_000;

fn time(bencher: &mut Bencher<'_>, run: &mut Run) {
    bencher.iter_custom(|times| {
        let began = Instant::now();
        run(times);
        began.elapsed()
    });
}

fn all(criterion: &mut Criterion) {
    let most = std::env::var("FOURWAVE_BENCH_MOST").map_or(MOST, |most| most.parse().expect("a number"));
    for case in in_memory::cases().iter().filter(|case| case.size <= most) {
        let mut group = criterion.benchmark_group(case.id());
        if case.size >= MANY {
            // Every connection has five turns and more: so long it takes until its timers have expired once.
            let time = Duration::from_secs(1) + Duration::from_micros(2) * u32::try_from(case.size).unwrap_or(u32::MAX);
            group.measurement_time(time).sampling_mode(SamplingMode::Flat);
        }
        // What a case needs is made when it is its turn, and is gone before the next one.
        let mut run = None;
        group.bench_function("fourwave", |b| time(b, run.get_or_insert_with(|| (case.ours)(case.size))));
        drop(run);
        if let Some((theirs, _)) = case.theirs {
            let mut run = None;
            group.bench_function("smoltcp", |b| time(b, run.get_or_insert_with(|| theirs(case.size))));
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = all
}
criterion_main!(benches);
