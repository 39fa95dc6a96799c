//! Ending connections that are not the caller's own: an operator's, from outside of the application.

use super::{App, Cursor, Env, Instant, Shard, list::Wanted};
use crate::{causes::ResetCause, table::Owner};
use tcp::{Half, State};

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By a reset, and at once: the application is told that it was [`Error::Aborted`](crate::Error::Aborted), records are forgotten (as Linux's
    /// `SOCK_DESTROY` does, which `ss -K` asks for).
    Reset,
    /// In order: a FIN follows what is queued. The application goes on reading, and can't write any more. What is not open yet, was
    /// not accepted yet, or is closed already, stays as it is.
    Close,
}

impl Shard {
    /// Ends those that are wanted of up to `max` slots' connections, then of those in SYN-RECEIVED, then of TIME-WAIT records. How
    /// many those were, and where to go on; `None` when all were seen. Connections over the kernel's sockets are the kernel's.
    pub fn end_if(
        &mut self,
        now: Instant,
        cursor: Cursor,
        max: u32,
        wanted: Wanted<'_>,
        how: End,
        app: &mut impl App,
    ) -> (u32, Option<Cursor>) {
        let piece = |from: u32, slots: u32| (from < slots).then(|| from..from.saturating_add(max).min(slots));
        if let Some(slots) = piece(cursor.connection, self.conns.slots()) {
            let next = Cursor { connection: slots.end, ..cursor };
            return (slots.map(|slot| u32::from(self.end_one(now, slot, wanted, how, app))).sum(), Some(next));
        }
        if how == End::Close {
            return (0, None);
        }
        if let Some(slots) = piece(cursor.half_open, self.half_opens.slots()) {
            let next = Cursor { half_open: slots.end, ..cursor };
            return (slots.map(|slot| u32::from(self.end_half_open(now, slot, wanted))).sum(), Some(next));
        }
        let Some(slots) = piece(cursor.time_wait, self.time_waits.slots()) else { return (0, None) };
        let next = Cursor { time_wait: slots.end, ..cursor };
        (slots.map(|slot| u32::from(self.end_time_wait(slot, wanted))).sum(), Some(next))
    }

    fn end_one(&mut self, now: Instant, slot: u32, wanted: Wanted<'_>, how: End, app: &mut impl App) -> bool {
        let Some((key, state)) = self.listed(slot) else { return false };
        if !wanted(key.local(), key.remote(), state) {
            return false;
        }
        if how == End::Close && !matches!(state, State::Established | State::CloseWait) {
            return false;
        }
        let Some(entry) = self.conns.get_mut(slot) else { return false };
        if how == End::Close && entry.queued {
            // What happens to it waits until it is accepted, its TIME-WAIT, too.
            return false;
        }
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        if how == End::Close {
            entry.conn.shutdown(&mut env, Half::Write);
        } else {
            if let Some(reset) = entry.conn.abort(&mut env) {
                self.reset_to(now, slot, reset, ResetCause::Operator);
            }
            self.dispatch(now, slot, app);
        }
        self.mark(slot);
        true
    }

    fn end_half_open(&mut self, now: Instant, slot: u32, wanted: Wanted<'_>) -> bool {
        let Some(key) = self.half_opens.get(slot).map(|record| record.key) else { return false };
        let ends = wanted(key.local(), key.remote(), State::SynReceived);
        if ends {
            let hash = self.table.hash(&key);
            self.forget(now, slot, hash);
        }
        ends
    }

    fn end_time_wait(&mut self, slot: u32, wanted: Wanted<'_>) -> bool {
        let Some(key) = self.time_waits.get(slot).map(|record| record.key) else { return false };
        let ends = wanted(key.local(), key.remote(), State::TimeWait) && self.time_waits.remove(slot).is_some();
        if ends {
            let hash = self.table.hash(&key);
            self.take_from_table(&key, hash, Owner::TimeWait(slot));
        }
        ends
    }
}
