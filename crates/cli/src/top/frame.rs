//! What two looks, one interval apart, come to.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use fourwave::control::{Count, Row};
use serde::Serialize;

use crate::args::Sort;
use crate::out;
use crate::ss::bytes;

/// Counters of a shard that are shown, as rates.
const COUNTERS: [&str; 4] = ["port_rx_frames", "port_tx_frames", "port_rx_bytes", "port_tx_bytes"];

/// Whose connection it is, and between whom.
type Key = (u32, usize, String, String);

/// What a connection has counted so far.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    sent: u64,
    received: u64,
    retransmits: u32,
    age_s: f64,
}

/// A connection in a frame.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    sent_bytes_per_s: f64,
    received_bytes_per_s: f64,
    retransmits_per_s: f64,
    #[serde(flatten)]
    row: Row,
}

/// A shard in a frame.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Shard {
    pid: u32,
    shard: usize,
    frames_in_per_s: f64,
    frames_out_per_s: f64,
    bytes_in_per_s: f64,
    bytes_out_per_s: f64,
    /// Of the connections that the filter lets through, as the next.
    retransmits_per_s: f64,
    connections: u64,
}

/// One look.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    at_unix_s: f64,
    /// Frames shown before.
    pub(super) frames: u64,
    counters: BTreeMap<(u32, usize), [u64; 4]>,
    counted: HashMap<Key, Counted>,
    retransmits: BTreeMap<(u32, usize), (u64, u64)>,
    whys: BTreeMap<String, u64>,
    lines: Vec<Line>,
    /// Processes that run and don't answer.
    silent: Vec<u32>,
}

/// What is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Frame {
    at_unix_s: f64,
    interval_s: f64,
    shards: Vec<Shard>,
    /// Connections that the filter lets through, by what keeps them from sending.
    why: BTreeMap<String, u64>,
    connections: Vec<Line>,
    /// Processes that run and don't answer: nothing is known of their connections.
    silent: Vec<u32>,
}

impl Sample {
    pub(super) fn new(at: Instant, at_unix_s: f64, frames: u64) -> Self {
        Self {
            at,
            at_unix_s,
            frames,
            counters: BTreeMap::new(),
            counted: HashMap::new(),
            retransmits: BTreeMap::new(),
            whys: BTreeMap::new(),
            lines: Vec::new(),
            silent: Vec::new(),
        }
    }

    /// Lines above the connections that are not always there.
    pub(super) fn heads(&self) -> usize {
        self.counters.len() + usize::from(!self.silent.is_empty())
    }

    pub(super) fn add_silent(&mut self, pid: u32) {
        // A process with several stacks is one.
        if self.silent.last() != Some(&pid) {
            self.silent.push(pid);
        }
    }

    /// A process's counters. Without an interface there are none of a port.
    pub(super) fn count(&mut self, pid: u32, counts: &[Count]) {
        let shards = counts.iter().map(|count| count.shards.len()).max().unwrap_or(0).max(1);
        for shard in 0..shards {
            let value = |name: &str| {
                let count = counts.iter().find(|count| count.name == name)?;
                Some(count.shards.get(shard).copied().unwrap_or(count.value))
            };
            // A second stack of the same process has shards of its own.
            let number = (shard..).find(|shard| !self.counters.contains_key(&(pid, *shard))).unwrap_or(shard);
            self.counters.insert((pid, number), COUNTERS.map(|name| value(name).unwrap_or(0)));
        }
    }

    /// A connection; it is kept if it may be one of the first `lines`.
    pub(super) fn add(&mut self, row: Row, before: Option<&Self>, sort: Sort, lines: usize) {
        let key = (row.pid, row.shard, row.local.clone(), row.remote.clone());
        let counted = Counted {
            sent: row.bytes_sent,
            received: row.bytes_received,
            retransmits: row.retransmits,
            age_s: row.age_s,
        };
        *self.whys.entry(row.why.clone().unwrap_or_else(|| "-".into())).or_default() += 1;
        let seconds = before.map_or(0.0, |before| (self.at - before.at).as_secs_f64());
        let old = before.and_then(|before| before.counted.get(&key)).filter(|old| old.age_s <= counted.age_s);
        // One that was not there then has done all that it did since.
        let old = old.copied().unwrap_or_default();
        self.counted.insert(key, counted);
        let again = counted.retransmits.saturating_sub(old.retransmits);
        let shard = self.retransmits.entry((row.pid, row.shard)).or_default();
        *shard = (shard.0 + u64::from(again), shard.1 + 1);
        if before.is_none() {
            return;
        }
        self.lines.push(Line {
            sent_bytes_per_s: rate(counted.sent, old.sent, seconds),
            received_bytes_per_s: rate(counted.received, old.received, seconds),
            retransmits_per_s: rate(again.into(), 0, seconds),
            row,
        });
        if self.lines.len() >= 1024.max(lines.saturating_mul(4)) {
            self.keep(sort, lines);
        }
    }

    /// The first `lines` in their order.
    pub(super) fn keep(&mut self, sort: Sort, lines: usize) {
        self.lines.sort_by(|a, b| b.order(sort).partial_cmp(&a.order(sort)).unwrap_or(Ordering::Equal));
        self.lines.truncate(lines);
    }

    /// The frame between two samples.
    pub(super) fn since(&self, before: &Self) -> Frame {
        let seconds = (self.at - before.at).as_secs_f64();
        let shards = self.counters.iter().map(|(key, values)| {
            let old = before.counters.get(key).copied().unwrap_or(*values);
            let mut rates = [0.0; 4];
            for (each, (new, old)) in rates.iter_mut().zip(values.iter().zip(old)) {
                *each = rate(*new, old, seconds);
            }
            let (again, connections) = self.retransmits.get(key).copied().unwrap_or_default();
            Shard {
                pid: key.0,
                shard: key.1,
                frames_in_per_s: rates[0],
                frames_out_per_s: rates[1],
                bytes_in_per_s: rates[2],
                bytes_out_per_s: rates[3],
                retransmits_per_s: rate(again, 0, seconds),
                connections,
            }
        });
        Frame {
            at_unix_s: self.at_unix_s,
            interval_s: seconds,
            shards: shards.collect(),
            why: self.whys.clone(),
            connections: self.lines.clone(),
            silent: self.silent.clone(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, and below 2^53 exact")]
fn rate(new: u64, old: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 }
}

impl Line {
    fn order(&self, sort: Sort) -> f64 {
        match sort {
            Sort::Throughput => self.sent_bytes_per_s + self.received_bytes_per_s,
            Sort::Sent => self.sent_bytes_per_s,
            Sort::Received => self.received_bytes_per_s,
            Sort::Retransmits => self.retransmits_per_s,
            Sort::Rtt => self.row.rtt_us.unwrap_or(0.0),
            Sort::SendQueue => self.row.send_queue_bytes.into(),
            Sort::ReceiveQueue => self.row.receive_queue_bytes.into(),
            Sort::Age => self.row.age_s,
        }
    }
}

impl Frame {
    /// For people, a line each.
    pub(super) fn lines(&self, sort: Sort) -> Vec<String> {
        let all: u64 = self.why.values().sum();
        let why: Vec<_> = self.why.iter().map(|(why, count)| format!("{why} {count}")).collect();
        let mut lines = vec![
            format!("connections {all}: {}", if why.is_empty() { "none".into() } else { why.join(", ") }),
            format!(
                "{:<10}{:>6}{:>12}{:>12}{:>13}{:>13}{:>11}{:>13}",
                "pid", "shard", "frames in", "frames out", "in", "out", "retrans/s", "connections"
            ),
        ];
        lines.extend(self.shards.iter().map(|shard| {
            format!(
                "{:<10}{:>6}{:>10.0}/s{:>10.0}/s{:>13}{:>13}{:>11.0}{:>13}",
                shard.pid,
                shard.shard,
                shard.frames_in_per_s,
                shard.frames_out_per_s,
                per_second(shard.bytes_in_per_s),
                per_second(shard.bytes_out_per_s),
                shard.retransmits_per_s,
                shard.connections
            )
        }));
        if !self.silent.is_empty() {
            let pids: Vec<_> = self.silent.iter().map(u32::to_string).collect();
            lines.push(format!("these processes do not answer: {}", pids.join(", ")));
        }
        lines.push(String::new());
        lines.push(format!(
            "{:<13}{:<28}{:<28}{:>13}{:>13}{:>10}{:>9}{:>10}{:>10}  {:<12}  (by {sort:?})",
            "state", "local", "remote", "sent", "received", "retrans/s", "rtt", "cwnd", "send-q", "why"
        ));
        lines.extend(self.connections.iter().map(|line| {
            let row = &line.row;
            format!(
                "{:<13}{:<28}{:<28}{:>13}{:>13}{:>10.0}{:>9}{:>10}{:>10}  {:<12}",
                row.state,
                row.local,
                row.remote,
                per_second(line.sent_bytes_per_s),
                per_second(line.received_bytes_per_s),
                line.retransmits_per_s,
                row.rtt_us.map_or("-".into(), |us| out::nanoseconds(us * 1e3)),
                row.cwnd_bytes,
                row.send_queue_bytes,
                row.why.as_deref().unwrap_or("-")
            )
        }));
        lines
    }
}

fn per_second(rate: f64) -> String {
    format!("{}/s", bytes(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_answer_is_told() {
        let mut sample = Sample::new(Instant::now(), 0.0, 0);
        let lines = |sample: &Sample| sample.since(sample).lines(Sort::Throughput);
        let without = (lines(&sample).len(), sample.heads());
        [17, 17, 42].into_iter().for_each(|pid| sample.add_silent(pid));
        assert_eq!((lines(&sample).len(), sample.heads()), (without.0 + 1, without.1 + 1));
        assert!(lines(&sample).contains(&"these processes do not answer: 17, 42".to_owned()));
        let document = serde_json::to_value(sample.since(&sample)).unwrap();
        assert_eq!(document["silent"], serde_json::json!([17, 42]));
    }
}
