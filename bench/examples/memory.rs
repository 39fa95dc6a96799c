//! Bytes of resident memory that a connection takes, by what it does: idle and established, half open, in TIME-WAIT. Each kind
//! in a process of its own, opened by frames through a whole shard:
//! `cargo run --release -p fourwave-bench --example memory -- 1000000`.
//!
//! Of `established` one connection more, which was there first, asks for something again and again meanwhile. How long that takes
//! is printed, and how long the opening of a connection does: the longest is how long the shard stands still when its tables
//! grow.

#[path = "../in_memory/mod.rs"]
mod in_memory;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use in_memory::{Client, Fourwave, Line, Says, Server, Setup};
use std::{process::Command, time::Instant};

const KINDS: [&str; 4] = ["established", "served", "syn_received", "time_wait"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let count = |text: &str| text.parse::<usize>().ok().filter(|n| *n > 0).context("a number of connections");
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [connections, kind] => one(count(connections)?, kind),
        [connections] => {
            println!("tcp::Connection: {} bytes", size_of::<tcp::Connection>());
            for kind in KINDS {
                let status = Command::new(std::env::current_exe()?).args([connections, kind]).status()?;
                ensure!(status.success(), "{kind} failed");
            }
            Ok(())
        }
        _ => bail!("usage: memory CONNECTIONS [{}]", KINDS.join("|")),
    }
}

fn one(connections: usize, kind: &str) -> Result<()> {
    let server = match kind {
        "syn_received" => Server::Swallows,
        "established" | "served" => Server::Echoes,
        "time_wait" => Server::Closes,
        _ => bail!("{kind} is not one of {}", KINDS.join(", ")),
    };
    ensure!(kind != "syn_received" || connections <= 1 << 24, "at most 2^24 may be half open");
    let before = resident_bytes()?;
    let mut line = Line::<Fourwave>::new(Setup { server, connections: connections + 1 });
    line.step = match kind {
        // Two turns each: half a million are opened in a second, about as fast as it is done.
        "established" | "served" => 1000,
        // So short that nothing is due while they are opened: all end up in the state they are asked for.
        _ => (500_000_000 / connections as u64).clamp(1, 10_000),
    };
    let mut probe = (kind == "established").then(|| Probe::open(&mut line));
    let began = Instant::now();
    for n in 1..=connections {
        let mut client = Client::new(n);
        if let Some(probe) = probe.as_mut().filter(|_| n % EVERY == 0) {
            probe.ask(&mut line);
        }
        match kind {
            "syn_received" => {
                line.say(&mut client, Says::Syn);
                ensure!(line.hear(&mut client).frames == 1, "a SYN-ACK");
            }
            "time_wait" => {
                line.open(&mut client);
                line.close_after(&mut client);
            }
            "served" => {
                line.open(&mut client);
                line.say(&mut client, Says::Small);
                line.hear(&mut client);
                line.say(&mut client, Says::Ack);
                line.hear(&mut client);
            }
            _ => {
                let from = Instant::now();
                line.open(&mut client);
                probe.iter_mut().for_each(|probe| probe.opening.saturating_record(nanoseconds(from)));
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let shard = &line.host.shard;
    let (open, half, waits) = (shard.connections(), shard.half_open(), shard.time_waits());
    let expected = match kind {
        "syn_received" => (0, connections, 0),
        "time_wait" => (0, 0, connections),
        _ => (connections + usize::from(probe.is_some()), 0, 0),
    };
    ensure!((open, half, waits) == expected, "{open} open, {half} half open, {waits} in TIME-WAIT");
    ensure!(shard.chunks_in_use() == 0, "an idle connection holds data");
    let bytes = resident_bytes()?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss)] // shown with one digit
    let (each, rate) = (bytes as f64 / connections as f64, connections as f64 / seconds);
    println!("{connections} {kind}: {each:.1} bytes each, {bytes} in all; made at {rate:.0} /s");
    for (what, times) in
        probe.iter().flat_map(|probe| [("connections opened", &probe.opening), ("requests meanwhile", &probe.asking)])
    {
        let at = |quantile| times.value_at_quantile(quantile);
        let (p50, p99, p999, max) = (at(0.5), at(0.99), at(0.999), times.max());
        println!("  {} {what}: p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns, max {max} ns", times.len());
    }
    Ok(())
}

/// Connections that are opened between two requests of the probe.
const EVERY: usize = 1000;

/// A connection that asks while others are opened.
struct Probe {
    client: Client,
    asking: Histogram<u64>,
    opening: Histogram<u64>,
}

impl Probe {
    fn open(line: &mut Line<Fourwave>) -> Self {
        let mut client = Client::new(0);
        line.open(&mut client);
        // The bounds are fixed: this can't fail.
        let times = || Histogram::new_with_max(60_000_000_000, 3).expect("valid bounds");
        Self { client, asking: times(), opening: times() }
    }

    fn ask(&mut self, line: &mut Line<Fourwave>) {
        let from = Instant::now();
        line.say(&mut self.client, Says::Small);
        let heard = line.hear(&mut self.client);
        self.asking.saturating_record(nanoseconds(from));
        assert!(heard.bytes > 0, "an answer");
        line.say(&mut self.client, Says::Ack);
        line.hear(&mut self.client);
    }
}

fn nanoseconds(from: Instant) -> u64 {
    u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// `VmRSS` of /proc/self/status.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1024)
}
