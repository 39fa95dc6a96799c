//! Builds the impaired path and forwards on it until Ctrl-C.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use impairment::{Forwarder, Impairments, Lab, Placement};

/// Two network namespaces, NAME-a (10.79.0.1, fd79::1) and NAME-b (10.79.0.2, fd79::2), joined by a path that loses, delays,
/// reorders, doubles and corrupts frames by a seed, both ways alike. Ctrl-C removes them and prints what was done, as JSON.
#[derive(Debug, Parser)]
struct Args {
    /// Begins the names of namespaces and interfaces
    #[arg(long, default_value = "fwi")]
    name: String,
    /// Decides over every frame
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Percent of the frames that are lost
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Percent that is held up, so that others overtake it
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// For how long, in microseconds
    #[arg(long, default_value_t = 500)]
    reorder_by_us: u64,
    /// Percent that arrives twice
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Percent with one bit changed
    #[arg(long, default_value_t = 0.0)]
    corrupt: f64,
    /// Delay each way, in microseconds
    #[arg(long, default_value_t = 0)]
    delay_us: u64,
    /// Mbit/s of the bottleneck; 0: none
    #[arg(long, default_value_t = 0)]
    rate_mbit: u64,
    /// KiB that may wait for it
    #[arg(long, default_value_t = 256)]
    queue_kib: u64,
    /// The forwarder's core [default: any]
    #[arg(long)]
    core: Option<usize>,
    /// Ahead of all ordinary threads
    #[arg(long)]
    realtime: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let path = Impairments {
        rate_bit_s: args.rate_mbit * 1_000_000,
        queue_bytes: args.queue_kib * 1024,
        delay: Duration::from_micros(args.delay_us),
        loss: args.loss / 100.0,
        reorder: args.reorder / 100.0,
        reorder_by: Duration::from_micros(args.reorder_by_us),
        duplicate: args.duplicate / 100.0,
        corrupt: args.corrupt / 100.0,
    };
    let lab = Lab::build(&args.name)?;
    let at = Placement { core: args.core, realtime: args.realtime };
    let forwarder = Forwarder::start(&lab, path, path, args.seed, at)?;
    for end in [lab.a(), lab.b()] {
        eprintln!("{}: {}, {}", end.namespace, end.ipv4, end.ipv6);
    }
    eprintln!("forwarding until Ctrl-C");
    while !stop.load(Ordering::Relaxed) && forwarder.is_running() {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{}", serde_json::to_string_pretty(&forwarder.stop()?)?);
    Ok(())
}
