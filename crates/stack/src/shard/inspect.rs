//! What simulators ask: whether a shard is as it must be.

use super::{ConnId, FlowKey, Shard};
use crate::table::Owner;
use alloc::{format, string::String, vec::Vec};
use tcp::{Env, State};
use wheel::{Instant, Wheel};
use wire::SeqNum;

impl Shard {
    /// What must be true once [`poll_transmit`](Self::poll_transmit) has nothing more to send: of every connection
    /// ([`tcp::Connection::invariants`]), of its place in table and wheel, and of the counters.
    ///
    /// # Errors
    /// Says what should hold and does not, and of which connection.
    pub fn invariants(&self) -> Result<(), String> {
        let mut states = [0u64; State::ALL.len()];
        for slot in 0..self.conns.slots() {
            if let Some(((info, _), key)) = self.conns.resting_info(slot).zip(self.conns.key(slot)) {
                let listed = self.table.find(self.table.hash(&key), |owner| owner == Owner::Connection(slot));
                // In the tick in which it is due, or before; and only if there is something.
                let (due, called) = (info.timer.map(|(_, at)| at), self.wheel.deadline(slot));
                let is_timed = due.is_some() == called.is_some() && called <= due.map(|at| at + Wheel::TICK);
                if listed.is_none() || !is_timed {
                    return Err(format!("what rests is in table and wheel: {} {}", key.local(), key.remote()));
                }
                states[info.state as usize] += 1;
            }
            let Some(entry) = self.conns.awake(slot) else { continue };
            let conn = &entry.conn;
            let wrong = |what: &str| Err(format!("{what}: {} {} {conn:?}", entry.key.local(), entry.key.remote()));
            if let Err(what) = conn.invariants() {
                return wrong(what);
            }
            let listed = self.table.find(entry.hash, |owner| owner == Owner::Connection(slot)).is_some();
            let gone = entry.over || entry.unread_end || conn.state() == State::Closed;
            if !gone && listed == (conn.state() == State::TimeWait) {
                return wrong("a connection is in the table until it is over");
            }
            let due = conn.poll_timeout().filter(|_| !gone && !entry.dirty);
            if due.is_some_and(|due| entry.armed.is_none_or(|armed| armed > due)) {
                return wrong("the wheel calls at the first deadline or before");
            }
            if due.is_some_and(|due| entry.due.is_none_or(|at| at > due) || !self.wheel.is_armed(slot)) {
                return wrong("the wheel is told of the first deadline, or of one before");
            }
            states[entry.counted as usize] += 1;
        }
        states[State::SynReceived as usize] += self.half_opens.len() as u64;
        for state in State::ALL.iter().filter(|s| !matches!(s, State::Closed | State::TimeWait)) {
            if self.counters.in_state(*state) != states[*state as usize] {
                return Err(format!("counted in {state:?}: {}", self.counters.in_state(*state)));
            }
        }
        if !self.counters.causes_add_up() {
            return Err(format!("each reset and each failure has one cause: {:?}", self.counters));
        }
        let (arrived, accounted) = (self.counters.frames_in, self.counters.frames_accounted());
        if arrived != accounted {
            return Err(format!("{arrived} frames arrived, {accounted} are accounted for: {:?}", self.counters));
        }
        Ok(())
    }

    /// A connection's flow and both initial sequence numbers.
    pub(crate) fn identity(&self, slot: u32) -> Option<(FlowKey, (SeqNum, SeqNum))> {
        Some((self.conns.key(slot)?, self.conns.initial_numbers(slot)?))
    }

    /// Whether a connection's application gets to read what the peer sends.
    pub(crate) fn reads(&mut self, slot: u32) -> bool {
        let entry = self.conns.get_mut(slot);
        entry.is_some_and(|e| e.told && !e.dead && !e.conn.is_read_shut() && !e.conn.lingers())
    }

    /// A copy of the first `most` octets that a connection's application has not read, or of all.
    pub(crate) fn queued(&mut self, conn: ConnId, most: usize) -> Option<Vec<u8>> {
        let entry = self.conns.current(conn)?;
        let env = Env { now: Instant::ZERO, config: &self.config.tcp, pool: &mut self.pool };
        Some(entry.conn.queued(&env, most))
    }
}
