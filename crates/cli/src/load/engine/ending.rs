//! How a run ends, and when the loop is to be awake.

use std::sync::atomic::Ordering;

use fourwave::{ConnId, Instant, Io};

use super::{Load, MEET, OVERSLEEP};
use crate::load::pace::{CATCH_UP, Evenly};
use crate::load::protocol::Protocol;
use crate::load::tally::Tally;
use crate::measure::UnderWay;

/// Connections that are closed evenly.
#[derive(Debug)]
pub(super) struct WindingDown {
    left: Vec<ConnId>,
    evenly: Evenly,
}

impl<P: Protocol> Load<P> {
    pub(super) fn fail(&mut self, io: &mut Io<'_>, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.end(io);
        io.finish();
    }

    /// Nothing more is measured; what is open is closed, in time.
    pub(super) fn finish(&mut self, io: &mut Io<'_>) {
        if self.done {
            return;
        }
        self.end(io);
        let in_time = !self.config.ramp_down.is_zero();
        let left: Vec<_> = self.clients.iter().map(|(conn, _)| conn).filter(|_| in_time).collect();
        let evenly = Evenly::new(left.len(), self.config.ramp_down, io.now());
        self.winding_down = Some(WindingDown { left, evenly });
    }

    /// Closes connections that are to be closed by now; the last shard without any ends it all.
    pub(super) fn wind_down(&mut self, io: &mut Io<'_>) {
        let Some(down) = &mut self.winding_down else { return };
        for _ in 0..down.evenly.due(io.now()) {
            let _ = down.left.pop().map(|conn| io.close(conn));
        }
        if down.evenly.next().is_some() {
            return;
        }
        self.winding_down = None;
        if self.shared.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            io.finish();
        }
    }

    /// The time of a closed loop is over. What is under way is waited for, as an open loop does: else a server that stalls to
    /// the end would be in no time.
    pub(super) fn ask_no_more(&mut self, now: Instant) {
        if self.left.is_none() {
            self.tally.end_of_time(now);
            self.left = Some(self.waiting().map(|(count, _)| count as u64).sum());
        }
    }

    /// Requests under way over each connection, and when the oldest was to go. One that is to have a connection of its own
    /// is under way from its SYN on.
    fn waiting(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        let alone = self.config.close.is_some();
        self.clients.iter().filter_map(move |(_, client)| match client.under_way.front() {
            Some(oldest) => Some((client.under_way.len(), oldest.intended)),
            None => (alone && !client.connected).then_some((1, client.intended)),
        })
    }

    /// What came until now was all.
    pub(super) fn end(&mut self, io: &Io<'_>) {
        if self.done {
            return;
        }
        let now = self.now(io);
        self.done = true;
        let mut under_way = UnderWay::default();
        self.waiting().for_each(|(count, intended)| under_way.wait(count, intended, now));
        self.tally.under_way = under_way;
        let over = self.open.as_ref().and_then(|open| {
            let ends = open.ends().filter(|ends| *ends <= now)?;
            Some(open.last_answer.map_or(ends, |last| last.max(ends)))
        });
        self.tally.ended.get_or_insert(over.unwrap_or(now));
        if let Some(open) = &mut self.open {
            self.tally.sending.unsent += open.give_up(self.tally.began, now);
        }
        if let Some(mut tap) = self.tap.take() {
            tap.end(now);
        }
    }

    /// What was sent and has no answer has none. Of an open loop only what was due behind the warm-up counts.
    pub(super) fn settle_sending(&mut self) {
        if self.open.is_some() {
            let Tally { sending, requests, responses, .. } = &mut self.tally;
            (*requests, sending.unanswered) = (sending.sent, sending.sent.saturating_sub(*responses));
        }
    }

    /// Ends a loop whose schedule or time is over: once all of it is answered, or given up.
    pub(super) fn settle(&mut self, io: &mut Io<'_>) {
        // A shard without a connection has nothing to wait for.
        if self.config.connections == 0 {
            return self.finish(io);
        }
        if self.left == Some(0) {
            return self.finish(io);
        }
        let now = self.now(io);
        let Some(open) = &mut self.open else { return };
        let Some(ends) = open.ends().filter(|ends| now >= *ends) else { return };
        if now >= ends + CATCH_UP {
            self.tally.sending.unsent += open.give_up(self.tally.began, now);
        }
        if open.next().is_none() && open.outstanding == 0 {
            self.finish(io);
        }
    }

    /// When something is to be done even if nothing comes.
    pub(super) fn next_wake(&mut self, io: &Io<'_>) -> Option<Instant> {
        if self.done {
            return self.winding_down.as_ref().and_then(|down| down.evenly.next());
        }
        let now = io.now();
        let measured = self.next_measured();
        let measured = measured.map(|at| now + (at - self.now(io)));
        if self.left.is_some() {
            return measured;
        }
        let wanted = self.open.as_ref().is_none_or(|open| self.config.close.is_none() || open.lags());
        let retry = (self.missing > 0 && wanted).then_some(self.retry_at);
        let thought = self.thinking.front().map(|(until, _)| *until);
        let late = self.first.filter(|_| self.shared.start.get().is_none());
        let late = late.map(|first| {
            // Whoever waits for its own connections is woken by them.
            let others = self.shared.connections > self.config.connections;
            let late = first + self.config.ramp_up.into() + self.timeout;
            if others { late.min(now + MEET) } else { late }
        });
        let ramp = self.ramp.and_then(|ramp| ramp.next());
        [measured, retry, thought, late, ramp].into_iter().flatten().min()
    }

    /// The same of what goes by the clock that measures.
    fn next_measured(&mut self) -> Option<Instant> {
        let start = *self.shared.start.get()?;
        let from = start + self.config.warmup.into();
        let begins = self.tally.began.is_none().then_some(from);
        let second = self.tap.as_mut().and_then(|tap| tap.ends());
        let (due, ends) = match &self.open {
            None => (None, self.config.duration.filter(|_| self.left.is_none()).map(|time| from + time.into())),
            Some(open) => {
                let ends = open.ends();
                let caught_up = ends.map(|ends| ends + CATCH_UP).filter(|_| open.lags());
                // One that is held back is begun when something happens.
                let due = open.next().filter(|_| !open.lags()).map(|due| due - OVERSLEEP);
                (due, ends.filter(|_| open.next().is_none()).or(caught_up))
            }
        };
        [begins, second, due, ends].into_iter().flatten().min()
    }
}
