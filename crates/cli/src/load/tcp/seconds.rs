//! What was carried within each second: every shard tells its part, a thread of its own adds them up and shows them.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use anyhow::anyhow;
use serde::Serialize;

use crate::measure::{Live, Second};
use crate::out::Progress;

/// One shard's part of a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// How many shards there are: as many parts make the whole.
    pub(super) shards: u16,
    /// From when measuring began.
    pub(super) at_s: f64,
    /// A second, but for the last, or behind a stall.
    pub(super) length_s: f64,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) errors: u64,
}

/// All shards together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Carried {
    at_s: f64,
    length_s: f64,
    bytes_up: u64,
    bytes_down: u64,
    gbit_per_s_up: f64,
    gbit_per_s_down: f64,
    errors: u64,
    #[serde(skip)]
    parts: u16,
}

impl Carried {
    fn add(&mut self, part: &Part) {
        if self.parts == 0 {
            self.at_s = part.at_s;
        }
        self.length_s = self.length_s.max(part.length_s);
        (self.bytes_up, self.bytes_down) = (self.bytes_up + part.up, self.bytes_down + part.down);
        (self.gbit_per_s_up, self.gbit_per_s_down) =
            (gbit_per_s(self.bytes_up, self.length_s), gbit_per_s(self.bytes_down, self.length_s));
        (self.errors, self.parts) = (self.errors + part.errors, self.parts + 1);
    }

    /// Without what was not measured.
    pub(super) fn second(&self) -> Second {
        Second { at_s: self.at_s, length_s: self.length_s, errors: self.errors, ..Second::default() }
    }

    fn line(&self) -> String {
        let errors = if self.errors > 0 { format!("  {} error(s)", self.errors) } else { String::new() };
        let (end, up, down) = (self.at_s + self.length_s, self.gbit_per_s_up, self.gbit_per_s_down);
        format!("{end:4.0} s  up {up:.3} Gbit/s  down {down:.3} Gbit/s{errors}")
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes below 2^50")]
pub(super) fn gbit_per_s(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 * 8.0 / seconds / 1e9 } else { 0.0 }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Seconds {
    sender: Sender<Part>,
    thread: JoinHandle<Vec<Carried>>,
}

impl Seconds {
    pub(super) fn start(live: Live) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let add_up = move || {
            if let Err(error) = fourwave::drop_privileges() {
                tracing::warn!("{error}");
            }
            add_up(&receiver, live)
        };
        Ok(Self { sender, thread: thread::Builder::new().name("seconds".into()).spawn(add_up)? })
    }

    /// For a shard.
    pub(super) fn sender(&self) -> Sender<Part> {
        self.sender.clone()
    }

    /// All of them in their order: the shards' senders must be gone.
    pub(super) fn finish(self) -> anyhow::Result<Vec<Carried>> {
        drop(self.sender);
        self.thread.join().map_err(|_| anyhow!("the thread that counts seconds panicked"))
    }
}

fn add_up(from: &Receiver<Part>, live: Live) -> Vec<Carried> {
    let (mut progress, show) = (Progress::new(), |progress: &mut Progress, second: &Carried| match live {
        Live::Off => {}
        Live::InPlace => progress.now(&second.line()),
        Live::Lines => progress.done(&second.line()),
    });
    let mut seconds: BTreeMap<u64, Carried> = BTreeMap::new();
    let mut shown = None;
    for part in from {
        let index = index(part.at_s);
        let second = seconds.entry(index).or_default();
        second.add(&part);
        // One that a stalled shard has no part of is not waited for.
        if second.parts >= part.shards && shown.is_none_or(|shown| index > shown) {
            show(&mut progress, second);
            shown = Some(index);
        }
    }
    seconds.into_values().collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds from 0 to some days")]
fn index(at_s: f64) -> u64 {
    at_s as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_shards_make_a_second_and_a_stalled_shard_lacks_one() {
        let (to, from) = mpsc::channel();
        let part = |at_s, length_s, up, errors| Part { shards: 2, at_s, length_s, up, down: 2 * up, errors };
        for part in [
            part(0.0, 1.0, 100, 0),
            part(0.0, 1.0, 25, 1),
            part(1.0, 1.0, 50, 0),
            // It stalled from within the second on to within the third.
            part(1.0, 1.5, 10, 0),
            part(2.0, 1.0, 70, 0),
            part(2.5, 0.5, 5, 0),
        ] {
            to.send(part).unwrap();
        }
        drop(to);
        let seconds = add_up(&from, Live::Off);
        let seen: Vec<_> = seconds.iter().map(|s| (s.at_s, s.length_s, s.bytes_up, s.bytes_down, s.errors)).collect();
        assert_eq!(seen, [(0.0, 1.0, 125, 250, 1), (1.0, 1.5, 60, 120, 0), (2.0, 1.0, 75, 150, 0)]);
        assert!((seconds[0].gbit_per_s_up - 1e-6).abs() < 1e-12 && (seconds[0].gbit_per_s_down - 2e-6).abs() < 1e-12);
    }
}
