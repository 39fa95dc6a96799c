//! What is told of one connection's past.

use serde::{Deserialize, Serialize};
use stack::Instant;
use stack::recorder::Record;
use stack::trace::{Trace, detail, numbers};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, nanoseconds since 1970 by the machine's clock as it is now.
    pub at_unix_ns: u64,
    /// What.
    pub event: String,
    /// Of which kind, of what has kinds.
    pub kind: Option<String>,
    /// How often, one behind the other.
    pub times: u16,
    /// Its numbers, with units. Places in the stream count from the initial sequence numbers.
    #[serde(flatten)]
    pub numbers: BTreeMap<String, u32>,
}

/// One connection, and what is still known of its past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Whose it is, or was.
    pub pid: u32,
    /// The shard it lives on.
    pub shard: usize,
    /// Our address and port; absent if what said so was overwritten.
    pub local: Option<String>,
    /// The peer's.
    pub remote: Option<String>,
    /// The state; of one that is gone, the last.
    pub state: String,
    /// It is no more than its past, and maybe a TIME-WAIT record.
    pub gone: bool,
    /// The oldest first.
    pub events: Vec<Event>,
}

/// What the machine's clock said at an instant of a shard's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    instant: Instant,
    unix: Duration,
}

impl Wall {
    /// `now` is now.
    pub(crate) fn at(now: Instant) -> Self {
        Self { instant: now, unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    fn ns(self, at: Instant) -> u64 {
        let ago = Duration::from_nanos((self.instant - at).as_nanos());
        u64::try_from(self.unix.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Traced {
    pub(crate) fn new(shard: usize, trace: &Trace, wall: Wall) -> Self {
        let (local, remote) = trace.ends.map(|(local, remote)| (local.to_string(), remote.to_string())).unzip();
        let events = trace.records.iter().map(|record| event(record, wall)).collect();
        let state = trace.state.name().into();
        Self { pid: std::process::id(), shard, local, remote, state, gone: trace.gone, events }
    }
}

fn event(record: &Record, wall: Wall) -> Event {
    Event {
        at_unix_ns: wall.ns(record.at),
        event: record.what.name().into(),
        kind: detail(record).map(Into::into),
        times: record.times,
        numbers: numbers(record).map(|(name, number)| (name.into(), number)).collect(),
    }
}

impl fmt::Display for Traced {
    /// A line for the connection, and one for each event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "?".into());
        let gone = if self.gone { ", gone" } else { "" };
        let (local, remote) = (end(&self.local), end(&self.remote));
        write!(f, "{local} {remote} {}{gone} pid:{} shard:{}", self.state, self.pid, self.shard)?;
        for event in &self.events {
            write!(f, "\n    {event}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    /// The time of day is UTC's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, us) = (self.at_unix_ns / 1_000_000_000 % 86_400, self.at_unix_ns / 1000 % 1_000_000);
        write!(f, "{:02}:{:02}:{:02}.{us:06} {}", s / 3600, s / 60 % 60, s % 60, self.event)?;
        if let Some(kind) = &self.kind {
            write!(f, " ({kind})")?;
        }
        for (name, number) in &self.numbers {
            write!(f, " {name}:{number}")?;
        }
        if self.times > 1 {
            write!(f, " times:{}", self.times)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::SeqNum;
    use stack::recorder::What;

    /// 1,000,000,000 s is 2001-09-09 01:46:40 UTC.
    #[test]
    fn an_event_is_a_line_and_a_document() {
        let at = Instant::from_nanos(5_000_000_000);
        let wall = Wall { instant: at, unix: Duration::from_secs(1_000_000_001) };
        let numbers = [1461, 1460, 14_600, 2920];
        let who = SeqNum::new(77);
        let at = Instant::from_nanos(4_000_123_456);
        let record = Record { at, who, what: What::Retransmitted, detail: 2, times: 1, numbers };
        let event = event(&record, wall);
        let line = "01:46:40.000123 retransmitted (fast) bytes:1460 cwnd_bytes:14600 in_flight_bytes:2920 seq:1461";
        assert_eq!(event.to_string(), line);
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!((&json["at_unix_ns"], &json["seq"]), (&1_000_000_000_000_123_456u64.into(), &1461.into()));
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}
