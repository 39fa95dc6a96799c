//! Soak: mixed traffic with the kernel as the peer, impaired paths and faults for a long time; then every byte is accounted for,
//! and nothing may have grown. bench/README.md has more.
#![forbid(unsafe_code)]

mod account;
mod answers;
mod conn;
mod echo;
mod faults;
mod load;
mod pattern;
mod peers;
mod plan;
mod process;
mod report;
mod tally;
mod told;
mod watch;
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::Context;
use clap::Parser;
use impairment::Impairments;
use rustix::process::Signal;

use crate::account::{Rest, at_rest, settle};
use crate::plan::Driven;
use crate::report::{Report, WorldReport};
use crate::world::{Break, Run, World};

/// Servers, a proxy and clients of fourwave, each on a path of its own towards the kernel's TCP: mixed traffic, loss and disorder
/// on the paths, and faults by turns. At the end every connection must have ended as planned, every byte be where it should
/// be, and memory, frames and descriptors be back. Exit code 1 and a sentence for each thing that is not so.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    soak --minutes 30 --report soak.md --json soak.json\n  \
    soak --minutes 1 --seed 7\n\n\
    Ctrl-C ends the traffic, and the account is made of what there was; a second one gives up what is under way.")]
struct Args {
    /// How long there is traffic; fractions are allowed
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Decides over traffic, faults and the fates of frames, as far as threads let it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the report there, in Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes all that is known there
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The program [default: the one beside this]
    #[arg(long, value_name = "FILE")]
    fourwave: Option<PathBuf>,
    /// Only the worlds whose names begin so
    #[arg(long, value_name = "WORLD", hide = true)]
    only: Option<String>,
    /// Begins the names of namespaces and interfaces
    #[arg(long, default_value = "fws")]
    name: String,
    /// Does something wrong on purpose: then the run must fail
    #[arg(long, value_enum, value_name = "WHAT")]
    r#break: Option<Break>,
}

fn main() -> ExitCode {
    match soak(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A whole run; whether it was clean.
fn soak(args: &Args) -> anyhow::Result<bool> {
    anyhow::ensure!(args.minutes > 0.0 && args.minutes < 1e5, "--minutes is from 0 to 100000");
    anyhow::ensure!(rustix::process::geteuid().is_root(), "this needs root, for network namespaces and XDP programs");
    let fourwave = match &args.fourwave {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("fourwave"),
    };
    let fourwave = fs::canonicalize(&fourwave).with_context(|| format!("there is no {}", fourwave.display()))?;
    let run = Arc::new(Run::new(fourwave, args.r#break));
    heed_signals(&run)?;
    let folder = std::env::temp_dir().join(format!("fourwave-soak-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let done = build_and_run(args, &run, &folder);
    let _ = fs::remove_dir_all(&folder);
    let report = done?;
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    let text = report.markdown();
    if let Some(path) = &args.report {
        fs::write(path, &text)?;
    }
    println!("{text}");
    for sentence in &report.deviations {
        eprintln!("soak: {sentence}");
    }
    eprintln!("soak: {}", report.verdict());
    Ok(report.clean)
}

/// Ctrl-C and the like, as often as they come.
fn heed_signals(run: &Arc<Run>) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let run = Arc::clone(run);
    thread::spawn(move || signals.forever().for_each(|_| run.stop()));
    Ok(())
}

fn build_and_run(args: &Args, run: &Arc<Run>, folder: &Path) -> anyhow::Result<Report> {
    let mut driven = plan::build(run, &args.name, folder, args.seed)?;
    if let Some(name) = &args.only {
        driven.retain(|driven| driven.world.name.starts_with(name));
    }
    let worlds: Vec<_> = driven.iter().map(|driven| Arc::clone(&driven.world)).collect();
    let before: Vec<_> = worlds.iter().map(|world| world.pid().and_then(|_| at_rest(world).ok())).collect();
    eprintln!("soak: {} worlds, {} minutes, seed {}", worlds.len(), args.minutes, args.seed);
    let begin = Instant::now();
    traffic(args, run, &driven, &worlds);
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("soak: traffic has ended, the account is made");
    let mut deviations = Vec::new();
    let worlds: Vec<_> = worlds.iter().zip(before).map(|(world, rest)| close(world, rest, &mut deviations)).collect();
    let servers_cpu_s = driven.iter().map(|driven| driven.world.cpu_s()).sum();
    drop(driven);
    if run.hurries() {
        deviations.push("it was interrupted, and what was under way was given up".into());
    }
    Ok(Report {
        clean: deviations.is_empty(),
        deviations,
        machine: machine(),
        version: version(run),
        seed: args.seed,
        seconds,
        servers_cpu_s,
        others_cpu_s: own_cpu_s(),
        worlds,
        events: run.events(),
    })
}

/// All of it, until the time is over or somebody ends it.
fn traffic(args: &Args, run: &Arc<Run>, driven: &[Driven], worlds: &[Arc<World>]) {
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let (begin, drivers) = (Instant::now(), drive(driven, args.seed));
    let every = (time / 60).clamp(Duration::from_millis(500), Duration::from_secs(5));
    thread::scope(|scope| {
        scope.spawn(|| watch::sample(run, worlds, every));
        scope.spawn(|| watch::look(run, worlds, Duration::from_secs(1)));
        scope.spawn(|| faults::run(run, worlds, time.as_secs().max(1), args.seed));
        let mut told = 0;
        while !run.stops() && begin.elapsed() < time {
            run.pause(Duration::from_millis(200));
            let minutes = begin.elapsed().as_secs() / 60;
            if minutes > told {
                told = minutes;
                progress(minutes, worlds);
            }
            if run.breaks == Some(Break::Kill) && begin.elapsed() > time / 2 {
                worlds[0].signal(Signal::KILL);
            }
        }
        if !run.stops() {
            run.stop();
        }
    });
    // What is under way ends on a path that does it no harm.
    let clean = Impairments::default();
    worlds.iter().for_each(|world| world.impair(clean, clean));
    for driver in drivers {
        let _ = driver.join();
    }
}

fn drive(driven: &[Driven], seed: u64) -> Vec<thread::JoinHandle<()>> {
    let next = AtomicUsize::new(1);
    driven.iter().map(|driven| driven.drive(seed ^ (next.fetch_add(1, Ordering::Relaxed) as u64) << 32)).collect()
}

fn progress(minutes: u64, worlds: &[Arc<World>]) {
    let tallies = || worlds.iter().flat_map(|world| world.book.kinds().into_values());
    let attempts: u64 = tallies().map(|tally| tally.attempts).sum();
    let deviations: usize = worlds.iter().map(|world| world.book.deviations().len()).sum();
    eprintln!("soak: minute {minutes}: {attempts} connections, {deviations} deviations");
}

/// The account of one world, and its end.
fn close(world: &Arc<World>, before: Option<Rest>, deviations: &mut Vec<String>) -> WorldReport {
    let account = settle(world, before);
    let pid = world.pid();
    world.end();
    let path = world.end_path();
    if let Some(pid) = pid {
        let socket = format!("/run/fourwave/{pid}.sock");
        if Path::new(&socket).exists() {
            world.book.deviation(format!("{socket} is left"));
        }
        let (namespace, interface) = (&world.lab.a().namespace, &world.lab.a().interface);
        let shown = Command::new("ip").args(["-n", namespace, "-d", "link", "show", interface]).output();
        if shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("xdp")) {
            world.book.deviation(format!("an XDP program is left on {interface}"));
        }
    }
    let kinds = world.book.kinds();
    let echoes = world.name.starts_with("echo") || world.name == "proxy";
    for (kind, tally) in &kinds {
        if !tally.adds_up() {
            world.book.deviation(format!("{kind}: the ends of its connections do not add up: {tally:?}"));
        }
        if echoes && tally.whole_sent != tally.whole_received {
            let (sent, received) = (tally.whole_sent, tally.whole_received);
            world.book.deviation(format!("{kind}: {sent} bytes were sent, and {received} came back"));
        }
    }
    let all = world.book.deviations().into_iter().chain(world.tools.deviations());
    deviations.extend(all.map(|sentence| format!("{}: {sentence}", world.name)));
    WorldReport {
        name: world.name,
        command: world.args.as_ref().map_or_else(|| "load".into(), |args| args.join(" ")),
        starts: world.starts(),
        kinds,
        tools: world.tools.kinds(),
        account,
        path,
        samples: world.samples(),
    }
}

fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, Linux {}", kernel.trim())
}

fn version(run: &Run) -> String {
    let output = Command::new(&run.fourwave).arg("--version").output();
    output.map_or_else(|_| "?".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Of this process and of the children it has waited for: those are the servers, too.
fn own_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').skip(11);
    fields.take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
