//! How many connections are under way at once.

use std::collections::VecDeque;

use fourwave::{ConnId, Duration, Instant};

/// What takes longer has lost a segment, and waits for a timer: it is in nobody's queue, and no reason to hold others back.
const FRESH: Duration = Duration::from_millis(50);

/// Connections that are being opened or closed: so many of them at once as a SYN queue and a ring take without a loss. Each is
/// told of when it begins; whether it still counts is kept with it, and taken away when it is done.
#[derive(Debug)]
pub(super) struct Window {
    most: usize,
    under_way: usize,
    began: VecDeque<(Instant, ConnId)>,
}

impl Window {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, under_way: 0, began: VecDeque::new() }
    }

    pub(super) const fn has_room(&self) -> bool {
        self.under_way < self.most
    }

    /// It counts from now on.
    pub(super) fn begin(&mut self, now: Instant, conn: ConnId) {
        self.under_way += 1;
        self.began.push_back((now, conn));
    }

    /// One that counted is done; it may have been of a window before this one.
    pub(super) const fn done(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Those that take too long count no longer. `counts`: whether one still did, which it no longer does then.
    pub(super) fn age(&mut self, now: Instant, mut counts: impl FnMut(ConnId) -> bool) {
        while let Some((_, conn)) = self.began.front().copied().filter(|(began, _)| now >= *began + FRESH) {
            self.began.pop_front();
            if counts(conn) {
                self.done();
            }
        }
    }

    /// When there may be room because of that.
    pub(super) fn next(&self) -> Option<Instant> {
        self.began.front().filter(|_| !self.has_room()).map(|(began, _)| *began + FRESH)
    }
}
