//! All points in interleaved rounds.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use impairment::{End, Lab};
use serde::Serialize;

use crate::end::{Idle, Tcp};
use crate::point::{Outcome, Point, measure};
use crate::table;

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct RunArgs {
    /// Percent of the frames lost, each way
    #[arg(long, value_delimiter = ',', default_value = "0,0.01,0.1,1,3,10")]
    pub(crate) losses: Vec<f64>,
    /// Round-trip times of the empty path, in microseconds
    #[arg(long, value_delimiter = ',', default_value = "50,1000,20000")]
    pub(crate) rtts_us: Vec<u64>,
    /// Mbit/s of the bottleneck; its queue holds what is under way on the empty path, or 64 KiB if that is more
    #[arg(long, default_value_t = 100)]
    pub(crate) rate_mbit: u64,
    /// What is measured, from the connection's opening on
    #[arg(long, default_value_t = 4000)]
    pub(crate) milliseconds: u64,
    /// Medians are of so many
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How fourwave waits. It shares a core with the forwarder, and real-time threads that leave a core no rest are stopped
    /// by the kernel for 5 % of the time.
    #[arg(long, value_enum, default_value_t = Idle::Sleep)]
    pub(crate) idle: Idle,
    #[arg(long, default_value_t = 0)]
    pub(crate) sender_core: usize,
    /// Of the receiver and the forwarder
    #[arg(long, default_value_t = 1)]
    pub(crate) receiver_core: usize,
    /// Begins the names of namespaces and interfaces
    #[arg(long, default_value = "fwg")]
    pub(crate) name: String,
    /// Writes all outcomes there
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes the table there too
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

impl RunArgs {
    pub(crate) fn idle_name(&self) -> &'static str {
        match self.idle {
            Idle::Adaptive => "adaptive",
            Idle::Sleep => "sleep",
        }
    }

    /// Another port for every connection: nothing of the last one is in its way.
    pub(crate) fn port(&self, round: u32, point: Point) -> u32 {
        let at = |list: usize, found: Option<usize>| u32::try_from(found.unwrap_or(0).min(list)).unwrap_or(0);
        let loss = at(self.losses.len(), self.losses.iter().position(|loss| *loss == point.loss_percent));
        let rtt = at(self.rtts_us.len(), self.rtts_us.iter().position(|rtt| *rtt == point.rtt_us));
        20_000 + (((round * 8 + rtt) * 16 + loss) * 4 + point.ends()) % 10_000
    }
}

impl Point {
    /// Which of [`ENDS`] it has.
    fn ends(&self) -> u32 {
        u32::from(self.sender == Tcp::Fourwave) + 2 * u32::from(self.receiver == Tcp::Fourwave)
    }
}

/// Sender and receiver.
pub(crate) const ENDS: [(Tcp, Tcp); 4] = [
    (Tcp::Kernel, Tcp::Kernel),
    (Tcp::Fourwave, Tcp::Kernel),
    (Tcp::Kernel, Tcp::Fourwave),
    (Tcp::Fourwave, Tcp::Fourwave),
];

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) args: RunArgs,
    pub(crate) outcomes: Vec<Outcome>,
}

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut results = Results {
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        machine: machine(),
        load_before: load(),
        load_after: String::new(),
        args: args.clone(),
        outcomes: Vec::new(),
    };
    let lab = Lab::build(&args.name)?;
    for end in [lab.a(), lab.b()] {
        tune(end)?;
    }
    let outcome = rounds(args, &lab, &stop, &mut results.outcomes);
    drop(lab);
    results.load_after = load();
    // What was measured is told though something failed.
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_string_pretty(&results)? + "\n")?;
    }
    let table = table::markdown(&results);
    if let Some(path) = &args.markdown {
        fs::write(path, &table)?;
    }
    println!("{table}");
    outcome
}

fn rounds(args: &RunArgs, lab: &Lab, stop: &AtomicBool, outcomes: &mut Vec<Outcome>) -> anyhow::Result<()> {
    for round in 0..args.rounds {
        for &rtt_us in &args.rtts_us {
            for &loss_percent in &args.losses {
                for turn in 0..ENDS.len() {
                    // Another one first in each round.
                    let (sender, receiver) = ENDS[(turn + round as usize) % ENDS.len()];
                    let point = Point { rtt_us, loss_percent, sender, receiver };
                    let outcome = measure(args, lab, point, round, stop)?;
                    eprintln!(
                        "round {round}, RTT {rtt_us} us, loss {loss_percent} %: {} -> {}: {:.1} Mbit/s, {} sent again, \
                         late {:.0} us (p99), {} dropped by the forwarder",
                        sender.name(),
                        receiver.name(),
                        outcome.mbit_s,
                        outcome.retransmits,
                        outcome.forwarder.lateness.p99_us,
                        outcome.forwarder.own_drops,
                    );
                    outcomes.push(outcome);
                    if stop.load(Ordering::Relaxed) {
                        anyhow::bail!("interrupted");
                    }
                }
            }
        }
    }
    Ok(())
}

impl Tcp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Fourwave => "fourwave",
        }
    }
}

/// The kernel's side: buffers as large as fourwave's (half of them is what the kernel spends on itself), and nothing
/// remembered from one connection to the next.
fn tune(end: &End) -> anyhow::Result<()> {
    for setting in [
        "net.ipv4.tcp_no_metrics_save=1",
        "net.ipv4.tcp_rmem=4096 131072 8388608",
        "net.ipv4.tcp_wmem=4096 16384 8388608",
    ] {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &end.namespace, "sysctl", "-qw", setting]);
        let status = command.status().context("cannot run `ip`")?;
        anyhow::ensure!(status.success(), "cannot set {setting}");
    }
    Ok(())
}

fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores of {}, Linux {}", model.trim_start_matches([':', '\t', ' ']), kernel.trim())
}

/// Load averages, as the kernel has them.
fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}
