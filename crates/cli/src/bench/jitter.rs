//! Is the machine quiet? Spins for a moment and looks for the gaps in which it didn't run.

use std::thread;
use std::time::{Duration, Instant};

use crate::affinity;

const PROBE: Duration = Duration::from_millis(50);
/// Shorter gaps are interrupts and scheduling, which every stack has to live with.
const GAP: Duration = Duration::from_millis(1);

/// The largest gap above a millisecond on one of these cores, in nanoseconds; 0 if there was none.
pub(super) fn probe(cores: &[usize]) -> u64 {
    let largest = thread::scope(|scope| {
        let threads: Vec<_> = cores.iter().map(|core| scope.spawn(|| largest_gap(*core))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).max()
    });
    let largest = largest.filter(|gap| *gap > GAP).unwrap_or_default();
    u64::try_from(largest.as_nanos()).unwrap_or(u64::MAX)
}

fn largest_gap(core: usize) -> Duration {
    if let Err(error) = affinity::pin(core) {
        tracing::debug!("jitter is probed anywhere: {error:#}");
    }
    let start = Instant::now();
    let (mut last, mut largest) = (start, Duration::ZERO);
    while last.duration_since(start) < PROBE {
        let now = Instant::now();
        largest = largest.max(now.duration_since(last));
        last = now;
    }
    largest
}
