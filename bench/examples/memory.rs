//! Bytes of resident memory that a connection takes, by what it does: idle and established, half open, in TIME-WAIT. Each kind
//! in a process of its own, opened by frames through a whole shard:
//! `cargo run --release -p fourwave-bench --example memory -- 1000000`.

#[path = "../in_memory/mod.rs"]
mod in_memory;

use anyhow::{Context, Result, bail, ensure};
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
        "established" | "syn_received" => Server::Swallows,
        "served" => Server::Echoes,
        "time_wait" => Server::Closes,
        _ => bail!("{kind} is not one of {}", KINDS.join(", ")),
    };
    ensure!(kind != "syn_received" || connections <= 1 << 24, "at most 2^24 may be half open");
    let before = resident_bytes()?;
    let mut line = Line::<Fourwave>::new(Setup { server, connections });
    // So short that nothing is due while they are opened: all end up in the state they are asked for.
    line.step = (500_000_000 / connections as u64).clamp(1, 10_000);
    let began = Instant::now();
    for n in 0..connections {
        let mut client = Client::new(n);
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
            _ => line.open(&mut client),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let shard = &line.host.shard;
    let (open, half, waits) = (shard.connections(), shard.half_open(), shard.time_waits());
    let expected = match kind {
        "syn_received" => (0, connections, 0),
        "time_wait" => (0, 0, connections),
        _ => (connections, 0, 0),
    };
    ensure!((open, half, waits) == expected, "{open} open, {half} half open, {waits} in TIME-WAIT");
    ensure!(shard.chunks_in_use() == 0, "an idle connection holds data");
    let bytes = resident_bytes()?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss)] // shown with one digit
    let (each, rate) = (bytes as f64 / connections as f64, connections as f64 / seconds);
    println!("{connections} {kind}: {each:.1} bytes each, {bytes} in all; made at {rate:.0} /s");
    Ok(())
}

/// `VmRSS` of /proc/self/status.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1024)
}
