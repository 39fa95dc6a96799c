//! The account at the end: whether everything is back, and nothing has grown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::echo::eventually;
use crate::told::Told;
use crate::watch::states;
use crate::world::{METRICS, Sample, World};

/// What there is to wait for: connections whose peer has gone for good end by themselves.
const SOON: Duration = Duration::from_secs(120);
/// Resident memory that may come on top between the first third of a process's life and the last: what the allocator keeps for
/// one more thread or burst, and never gives back. A leak of a kilobyte for each of 100,000 connections is 100 times that.
const GROWTH_KIB: u64 = 2048;
/// How long a process must live before that can be said of it, in seconds.
const ENOUGH_S: u64 = 300;

/// Reasons for which frames may be dropped here, and what they come from.
const DROPS: [(&str, &str); 31] = [
    ("tcp_checksum", "bits that the path changes"),
    ("ipv4_checksum", "bits that the path changes"),
    ("ipv4_version", "bits that the path changes"),
    ("ipv4_header_length", "bits that the path changes"),
    ("ipv4_total_length", "bits that the path changes"),
    ("ipv6_version", "bits that the path changes"),
    ("ipv6_payload_length", "bits that the path changes"),
    ("tcp_truncated", "bits that the path changes: an IPv6 payload length of 32 that became 0"),
    ("tcp_data_offset", "bits that the path changes"),
    ("icmp_truncated", "bits that the path changes, as above"),
    ("icmp_checksum", "bits that the path changes"),
    ("ndp_invalid", "bits that the path changes: the hop limit has no checksum"),
    ("arp_unsupported", "bits that the path changes: ARP has no checksum"),
    ("bad_source", "bits that the path changes: fd79:: became ff79::"),
    ("tcp_out_of_window", "doubles, and what was sent again"),
    ("tcp_old_timestamp", "doubles, and what was sent again"),
    ("tcp_ack_unacceptable", "doubles, and what was sent again"),
    ("tcp_unexpected_syn", "doubles, and what was sent again"),
    ("tcp_reset_not_exact", "resets of a client with data under way"),
    ("tcp_nobody_reads", "data for what was reset"),
    ("tcp_no_ack", "what a half-open connection hears"),
    ("listen_ignored", "resets, and what else arrives behind the end of its connection"),
    ("listen_reset", "data and acknowledgments that arrive there, or are for a process that was killed"),
    ("time_wait_ignored", "doubles, and resets"),
    ("half_open_ignored", "doubles, and resets"),
    ("icmp_quote", "errors about packets that the path has changed"),
    ("icmp_stale", "errors that the path has held up or doubled"),
    ("tcp_not_for_syn_sent", "doubles, and what was held up, for a port that is used again"),
    ("no_endpoint", "connections of a process that was killed"),
    ("not_our_address", "bits that the path changes"),
    ("device_fill_ring_empty", "a process that was stopped"),
];

/// What a process holds when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Rest {
    /// Buffers of the UMEM, wherever they are.
    frames: f64,
    fds: usize,
    threads: u64,
}

impl Rest {
    pub(crate) const fn is_told(&self) -> bool {
        self.threads > 0
    }

    /// Frames and descriptors.
    pub(crate) const fn row(&self) -> (f64, usize) {
        (self.frames, self.fds)
    }
}

/// Resident memory over the last process's time, in KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    samples: usize,
    seconds: u64,
    least: u64,
    /// The median of the first third of the samples, and of the last.
    first_third: u64,
    last_third: u64,
    most: u64,
}

/// What a process told at its end.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Account {
    pub(crate) accepted: f64,
    pub(crate) must_have_accepted: u64,
    pub(crate) may_have_accepted: u64,
    pub(crate) retransmitted: f64,
    pub(crate) timeouts: f64,
    pub(crate) drops: BTreeMap<String, f64>,
    pub(crate) resets_sent: BTreeMap<String, f64>,
    pub(crate) failed: BTreeMap<String, f64>,
    pub(crate) before: Rest,
    pub(crate) after: Rest,
    pub(crate) memory: Memory,
}

/// What a process holds now.
pub(crate) fn at_rest(world: &World) -> Result<Rest, String> {
    let told = Told::by(&world.lab.a().namespace)?;
    let rings =
        ["fill", "rx", "tx", "completion"].map(|ring| told.sum("fourwave_ring_descriptors", Some(("ring", ring))));
    let buffers = ["free", "held"].map(|state| told.sum("fourwave_frame_buffers", Some(("state", state))));
    let held = world.held().ok_or("the process is gone")?;
    let frames = rings.iter().chain(&buffers).sum();
    Ok(Rest { frames, fds: held.fds, threads: held.threads })
}

/// Waits until all is quiet, and looks. `before` is what it held before there was any traffic.
pub(crate) fn settle(world: &World, before: Option<Rest>) -> Account {
    let mut account = Account { before: before.unwrap_or_default(), ..Account::default() };
    account.memory = Memory::of(&world.samples());
    if world.pid().is_none() {
        return account;
    }
    let quiet = eventually(SOON, || states(world).is_ok_and(|states| states.is_empty()) || world.hurries());
    if !quiet {
        let left = states(world).unwrap_or_default();
        let mut by_state = BTreeMap::<_, u32>::new();
        left.into_iter().for_each(|state| *by_state.entry(state).or_default() += 1);
        world.book.deviation(format!("connections are left: {by_state:?}; {}", world.describe(&[])));
    }
    let told = match Told::by(&world.lab.a().namespace) {
        Ok(told) => told,
        Err(why) => {
            world.book.deviation(format!("http://{METRICS}/metrics at the end: {why}"));
            return account;
        }
    };
    account.read(&told);
    empty(world, &told);
    account.frames_and_descriptors(world);
    account.counts(world, &told);
    account.reasons(world);
    account.growth(world);
    account
}

/// Gauges that are zero when there is nothing to do.
fn empty(world: &World, told: &Told) {
    const TABLES: [&str; 3] = ["connections", "half_open", "time_wait"];
    let of_tables = TABLES.map(|table| ("fourwave_table_entries", Some(("table", table))));
    let others = ["fourwave_connections", "fourwave_pool_used_bytes", "fourwave_references"].map(|name| (name, None));
    let held = [("fourwave_frame_buffers", Some(("state", "held"))), ("fourwave_accept_queue_connections", None)];
    for (name, label) in of_tables.into_iter().chain(others).chain(held) {
        let value = told.sum(name, label);
        if value != 0.0 {
            let label = label.map_or_else(String::new, |(name, value)| format!("{{{name}=\"{value}\"}}"));
            world.book.deviation(format!("{name}{label} is {value} at the end, and should be 0"));
        }
    }
    if told.count("fourwave_shard_up") < 1.0 {
        world.book.deviation("a shard does not answer at the end".into());
    }
}

impl Account {
    fn read(&mut self, told: &Told) {
        self.accepted = told.count("fourwave_connections_accepted_total");
        self.retransmitted = told.count("fourwave_tcp_retransmitted_segments_total");
        self.timeouts = told.count("fourwave_tcp_retransmission_timeouts_total");
        self.drops = told.by_label("fourwave_drops_total", "reason");
        self.resets_sent = told.by_label("fourwave_resets_sent_total", "cause");
        self.failed = told.by_label("fourwave_connections_failed_total", "cause");
    }

    fn frames_and_descriptors(&mut self, world: &World) {
        // Whoever was served last may not have gone yet.
        let mut last = Err("nobody has asked".to_owned());
        eventually(Duration::from_secs(20), || {
            last = at_rest(world);
            last.as_ref().is_ok_and(|rest| *rest == self.before)
        });
        match last {
            Ok(after) => self.after = after,
            Err(why) => return world.book.deviation(format!("what is held at the end can't be told: {why}")),
        }
        let (before, after) = (self.before, self.after);
        if before != after {
            world.book.deviation(format!(
                "not all is back: frames {} before and {} after, descriptors {} and {}, threads {} and {}",
                before.frames, after.frames, before.fds, after.fds, before.threads, after.threads
            ));
        }
    }

    /// The server's numbers are the clients'.
    fn counts(&mut self, world: &World, told: &Told) {
        let (sure, perhaps) = world.opened_since_start();
        let kinds = world.book.kinds();
        let unheard = kinds.get("reset at once").map_or(0, |tally| tally.opened);
        // The proxy's own are not accepted, they are opened.
        (self.must_have_accepted, self.may_have_accepted) = (sure.saturating_sub(unheard), perhaps);
        #[expect(clippy::cast_precision_loss, reason = "connections of a run")]
        let range = self.must_have_accepted as f64..=self.may_have_accepted as f64;
        if !range.contains(&self.accepted) {
            world.book.deviation(format!("{} were accepted, of {range:?} that clients have opened", self.accepted));
        }
        let (began, over) = (
            told.count("fourwave_proxy_connections_accepted_total"),
            told.count("fourwave_proxy_connections_finished_total"),
        );
        if began != over {
            world.book.deviation(format!("the proxy has accepted {began} clients, and finished {over}"));
        }
        if world.name == "proxy" && began != self.accepted {
            world.book.deviation(format!("the proxy has {began} clients, its stack has accepted {}", self.accepted));
        }
    }

    /// Only for reasons that there are here.
    fn reasons(&self, world: &World) {
        for (reason, count) in &self.drops {
            if !DROPS.iter().any(|(expected, _)| expected == reason) {
                world
                    .book
                    .deviation(format!("{count} frames were dropped by `{reason}`, which nothing here accounts for"));
            }
        }
        for (cause, count) in &self.failed {
            if !matches!(&cause[..], "reset" | "aborted" | "refused") {
                world.book.deviation(format!("{count} connections of the process failed by `{cause}`"));
            }
        }
    }

    fn growth(&self, world: &World) {
        if let Some(grown) = self.memory.grown() {
            let Memory { first_third, last_third, .. } = self.memory;
            world.book.deviation(format!(
                "memory has grown by {grown} KiB, from {first_third} to {last_third}: {GROWTH_KIB} are allowed"
            ));
        }
    }
}

impl Memory {
    /// Of the samples those of the last process, less those of its first tenth, in which buffers are touched for the first time.
    fn of(samples: &[Sample]) -> Self {
        let last = samples.last().map_or(0, |sample| sample.starts);
        let of_last: Vec<_> = samples.iter().filter(|sample| sample.starts == last).collect();
        let kib: Vec<_> = of_last.iter().skip(of_last.len() / 10).map(|sample| sample.held.resident_kib).collect();
        let third = (kib.len() / 3).max(1);
        let times = of_last.first().zip(of_last.last());
        Self {
            samples: kib.len(),
            seconds: times
                .map_or(Duration::ZERO, |(first, last)| Duration::from_secs_f64(last.at_s - first.at_s))
                .as_secs(),
            least: kib.iter().copied().min().unwrap_or(0),
            first_third: median(kib.iter().take(third).copied()),
            last_third: median(kib.iter().rev().take(third).copied()),
            most: kib.iter().copied().max().unwrap_or(0),
        }
    }

    /// By how much more than it may.
    fn grown(&self) -> Option<u64> {
        let grown = self.last_third.saturating_sub(self.first_third);
        (self.seconds >= ENOUGH_S && grown > GROWTH_KIB).then_some(grown)
    }

    pub(crate) fn row(&self) -> String {
        let Self { samples, seconds, least, first_third, last_third, most } = self;
        format!("{samples} | {seconds} | {least} | {first_third} | {last_third} | {most}")
    }
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Held;

    fn samples(kib: impl Iterator<Item = u64>, starts: u64) -> Vec<Sample> {
        let held = |resident_kib| Held { resident_kib, ..Held::default() };
        (0..).zip(kib).map(|(n, kib)| Sample { at_s: f64::from(n) * 5.0, starts, held: held(kib) }).collect()
    }

    #[test]
    fn what_grows_all_the_time_is_seen_and_what_has_reached_its_size_is_not() {
        let steady = Memory::of(&samples((0..100).map(|n| 40_000 + n % 7), 0));
        assert_eq!(steady.grown(), None);
        // Buffers of the beginning, which are kept.
        let start = Memory::of(&samples((0..100).map(|n| 40_000 + (n * 1000).min(8000)), 0));
        assert_eq!(start.grown(), None, "{start:?}");
        // 60 KiB with each sample.
        let leak = Memory::of(&samples((0..100).map(|n| 40_000 + n * 60), 0));
        assert!(leak.grown().is_some_and(|grown| (3500..4500).contains(&grown)), "{leak:?}");
    }

    #[test]
    fn only_the_last_process_counts_and_only_if_it_has_lived() {
        let mut all = samples([90_000; 50].into_iter(), 0);
        all.extend(samples((0..8).map(|n| 40_000 + n * 1000), 1));
        let memory = Memory::of(&all);
        assert_eq!((memory.samples, memory.least, memory.most), (8, 40_000, 47_000));
        assert_eq!(memory.grown(), None);
    }
}
