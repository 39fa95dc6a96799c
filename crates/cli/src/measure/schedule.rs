//! When the messages of an open loop are to be sent: at constant intervals over all connections, which take turns.

use std::time::Duration;

const NS_PER_S: u128 = 1_000_000_000;

/// Of the whole run, over all shards. Messages are numbered from 0 in the order they are due; the first is due at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate: u32,
    connections: u64,
    warmup: u64,
    messages: u64,
}

impl Schedule {
    /// `rate` messages per second over so many connections: first the warm-up, then as many as there are to measure, or as are
    /// due within the duration, whichever are fewer. One of them is given.
    pub(crate) fn new(rate: u32, connections: usize, warmup: u64, count: Option<u64>, time: Option<Duration>) -> Self {
        let within = |time: Duration| {
            let messages = (time.as_nanos() * u128::from(rate)).div_ceil(NS_PER_S);
            u64::try_from(messages).unwrap_or(u64::MAX)
        };
        let measured = count.into_iter().chain(time.map(within)).min().unwrap_or(0);
        let connections = u64::try_from(connections).unwrap_or(u64::MAX).max(1);
        Self { rate: rate.max(1), connections, warmup, messages: warmup.saturating_add(measured) }
    }

    /// When a message is due, from the start on. Counted from there, so that no rounding adds up.
    pub(crate) fn due(&self, message: u64) -> Duration {
        let ns = u128::from(message) * NS_PER_S / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// The message that is a connection's `turn`th, from 0.
    pub(crate) fn message(&self, connection: u64, turn: u64) -> u64 {
        turn * self.connections + connection
    }

    pub(crate) fn is_measured(&self, message: u64) -> bool {
        message >= self.warmup
    }

    /// When measuring begins, and when the last interval is over.
    pub(crate) fn measures_from(&self) -> Duration {
        self.due(self.warmup)
    }

    pub(crate) fn end(&self) -> Duration {
        self.due(self.messages)
    }
}

/// The turns of one shard's connections. Connections are dealt out to the shards in turn, so that each shard's messages are as
/// evenly spaced as all are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    pub(crate) schedule: Schedule,
    shard: u64,
    shards: u64,
    /// Of this shard.
    connections: u64,
    turn: u64,
    connection: u64,
    /// What [`Turns::next`] gives: it is asked in every turn of the loop.
    next: Option<(usize, Duration)>,
}

impl Turns {
    pub(crate) fn new(schedule: Schedule, shard: u16, shards: u16, connections: usize) -> Self {
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        let (shard, shards) = (shard.into(), shards.into());
        let mut turns = Self { schedule, shard, shards, connections, turn: 0, connection: 0, next: None };
        turns.next = turns.find();
        turns
    }

    /// A connection of this shard as all shards count it.
    pub(crate) fn of_all(&self, connection: usize) -> u64 {
        connection as u64 * self.shards + self.shard
    }

    /// The shard's next message: which of its connections it goes on, and when it is due. `None`: the schedule is over.
    pub(crate) fn next(&self) -> Option<(usize, Duration)> {
        self.next
    }

    fn find(&self) -> Option<(usize, Duration)> {
        let message = self.schedule.message(self.connection * self.shards + self.shard, self.turn);
        let there = self.connections > 0 && message < self.schedule.messages;
        let connection = usize::try_from(self.connection).ok().filter(|_| there)?;
        Some((connection, self.schedule.due(message)))
    }

    pub(crate) fn advance(&mut self) {
        self.connection += 1;
        if self.connection >= self.connections {
            (self.connection, self.turn) = (0, self.turn + 1);
        }
        self.next = self.find();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn all(mut turns: Turns) -> Vec<(u64, Duration)> {
        let mut found = Vec::new();
        while let Some((connection, due)) = turns.next() {
            found.push((turns.of_all(connection), due));
            turns.advance();
        }
        found
    }

    #[test]
    fn intervals_are_constant_and_rounding_does_not_add_up() {
        let schedule = Schedule::new(3, 1, 0, None, Some(SECOND));
        assert_eq!([0, 1, 2, 3].map(|k| schedule.due(k).as_nanos()), [0, 333_333_333, 666_666_666, 1_000_000_000]);
        // A day at the highest rate ends to the nanosecond where it should.
        let schedule = Schedule::new(10_000_000, 1, 0, None, Some(86_400 * SECOND));
        assert_eq!((schedule.messages, schedule.end()), (864_000_000_000, 86_400 * SECOND));
    }

    #[test]
    fn as_many_are_measured_as_are_due_in_the_time_or_were_asked_for() {
        let messages = |count, time| Schedule::new(20_000, 7, 100, count, time).messages;
        assert_eq!(messages(None, Some(5 * SECOND)), 100 + 100_000);
        assert_eq!(messages(Some(42), Some(5 * SECOND)), 142);
        assert_eq!(messages(Some(42), None), 142);
        // 1.5 ms at 1000 per second: those due at 0 and at 1 ms.
        assert_eq!(Schedule::new(1000, 1, 0, None, Some(Duration::from_micros(1500))).messages, 2);
        let schedule = Schedule::new(20_000, 7, 100, None, Some(SECOND));
        assert_eq!((schedule.is_measured(99), schedule.is_measured(100)), (false, true));
        assert_eq!(schedule.measures_from(), Duration::from_millis(5));
    }

    #[test]
    fn connections_take_turns() {
        let schedule = Schedule::new(1000, 3, 0, Some(7), None);
        let found = all(Turns::new(schedule, 0, 1, 3));
        let expected: Vec<_> = (0..7).map(|k| (k % 3, Duration::from_millis(k))).collect();
        assert_eq!(found, expected);
        assert_eq!([schedule.message(1, 0), schedule.message(1, 2)], [1, 7]);
    }

    #[test]
    fn shards_share_one_schedule() {
        // 5 connections over 3 shards: two, two and one.
        let schedule = Schedule::new(1000, 5, 0, Some(23), None);
        let shards = [(0, 2), (1, 2), (2, 1)].map(|(shard, own)| all(Turns::new(schedule, shard, 3, own)));
        let mut together = shards.concat();
        together.sort_by_key(|(_, due)| *due);
        assert_eq!(together, all(Turns::new(schedule, 0, 1, 5)));
        assert!(all(Turns::new(schedule, 5, 6, 0)).is_empty(), "a shard without connections");
    }
}
