//! What the shards know of each other: when each step begins, and whether it is over.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use fourwave::{Duration, Instant};

/// From the last connection to the first message: shards that slept are awake by then.
const HEAD_START: Duration = Duration::from_millis(3);
/// From the end of one step to the beginning of the next.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Course {
    /// Set by the first that is done with all, before its connections are closed: what ends then is no failure.
    pub(super) over: AtomicBool,
    connections: usize,
    /// Connections that were opened, and those that have not failed.
    opened: AtomicUsize,
    alive: AtomicUsize,
    steps: Vec<Stage>,
}

#[derive(Debug, Default)]
struct Stage {
    start: OnceLock<Instant>,
    /// A closed loop has enough.
    enough: AtomicBool,
    /// Shards that are done with it.
    done: AtomicUsize,
    total: Arc<AtomicU64>,
    began: Arc<OnceLock<Instant>>,
}

/// What follows when a shard is done with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// There is another step, or other shards are not done.
    Wait,
    /// That was all.
    Finish,
}

impl Course {
    pub(super) fn new(connections: usize, steps: usize) -> Self {
        Self {
            over: AtomicBool::new(false),
            connections,
            opened: AtomicUsize::new(0),
            alive: AtomicUsize::new(connections),
            steps: (0..steps).map(|_| Stage::default()).collect(),
        }
    }

    /// A connection is open; with the last of them everything begins.
    pub(super) fn opened(&self, now: Instant) {
        if self.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.connections {
            self.steps[0].start.get_or_init(|| now + HEAD_START);
        }
    }

    /// A connection that was open has failed. True: it was the last.
    pub(super) fn failed(&self) -> bool {
        self.alive.fetch_sub(1, Ordering::Relaxed) == 1
    }

    pub(super) fn start(&self, step: usize) -> Option<Instant> {
        self.steps[step].start.get().copied()
    }

    pub(super) fn total(&self, step: usize) -> Arc<AtomicU64> {
        Arc::clone(&self.steps[step].total)
    }

    /// When its measuring began.
    pub(super) fn began(&self, step: usize) -> &Arc<OnceLock<Instant>> {
        &self.steps[step].began
    }

    pub(super) fn has_enough(&self, step: usize) -> bool {
        self.steps[step].enough.load(Ordering::Relaxed)
    }

    /// No shard needs to send more in this step.
    pub(super) fn enough(&self, step: usize) {
        self.steps[step].enough.store(true, Ordering::Relaxed);
    }

    /// One of so many shards has nothing left to do in a step.
    pub(super) fn done(&self, step: usize, shards: u16, now: Instant) -> Then {
        if self.steps[step].done.fetch_add(1, Ordering::Relaxed) + 1 < usize::from(shards) {
            return Then::Wait;
        }
        let Some(next) = self.steps.get(step + 1) else { return Then::Finish };
        next.start.get_or_init(|| now + PAUSE);
        Then::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_when_all_connections_are_open_and_goes_on_when_all_shards_are_done() {
        let course = Course::new(3, 2);
        let now = Instant::ZERO;
        (0..2).for_each(|_| course.opened(now));
        assert_eq!(course.start(0), None);
        course.opened(now);
        assert_eq!((course.start(0), course.start(1)), (Some(now + HEAD_START), None));
        assert_eq!(course.done(0, 2, now), Then::Wait);
        assert_eq!(course.start(1), None);
        assert_eq!(course.done(0, 2, now), Then::Wait);
        assert_eq!(course.start(1), Some(now + PAUSE));
        assert_eq!([course.done(1, 2, now), course.done(1, 2, now)], [Then::Wait, Then::Finish]);
    }

    #[test]
    fn it_is_over_with_the_last_connection() {
        let course = Course::new(2, 1);
        assert_eq!([course.failed(), course.failed()], [false, true]);
    }
}
