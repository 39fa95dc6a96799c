//! `fourwave demo`: an echo server on AF_XDP, ordinary clients, and the latency next to the kernel's.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use crate::args::Stack;
use crate::bench::{self, BenchReport, strings};
use crate::internal::{self, BulkReport, PROGRESS, ShortReport};
use crate::job::Job;
use crate::lab::{self, Lab};
use crate::out::{self, Progress};
use crate::ss;
use crate::stop::{Interrupted, Stop};

const PORT: u16 = 7;
const READY_LIMIT: Duration = Duration::from_secs(60);
const BULK_LIMIT: Duration = Duration::from_secs(120);
const SHORT_LIMIT: Duration = Duration::from_secs(120);
/// How long closed connections may take to go away: the last ACK is on its way when the client is done.
const LEFTOVER_GRACE: Duration = Duration::from_secs(10);

/// What to show, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) mib: u64,
    pub(crate) connections: u64,
    /// Whose server is shown; `kernel` tries out the demo itself.
    pub(crate) stack: Stack,
    pub(crate) json: bool,
    pub(crate) bench: bench::Config,
}

/// The document of `demo --json`.
#[derive(Clone, Debug, Serialize)]
struct Report {
    bulk: BulkReport,
    short_connections: ShortReport,
    left_over: LeftOver,
    bench: BenchReport,
}

/// What the server still has when all short connections are closed.
#[derive(Clone, Debug, Default, Serialize)]
struct LeftOver {
    connections: usize,
    time_wait: usize,
}

/// Runs the demo; the lab is gone at the end, whatever happens.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut lab = Lab::claim("demo")?;
    let mut progress = Progress::new();
    progress.now("building the lab …");
    lab.up_alone("demo")?;
    progress.done(&format!(
        "lab      {} {} {}  <-- veth -->  {} {} {}",
        lab::A.namespace,
        lab::A.interface,
        lab::A.ipv4,
        lab::B.namespace,
        lab::B.interface,
        lab::B.ipv4
    ));
    let result = show(config, stop, &mut progress);
    progress.clear();
    drop(lab);
    let report = result?;
    let interrupted = report.bench.interrupted();
    if config.json {
        out::json(&report)?;
    } else {
        out::result(&report.table(config));
    }
    if interrupted { Err(Interrupted.into()) } else { report.bench.verdict() }
}

fn show(config: &Config, stop: &Stop, progress: &mut Progress) -> anyhow::Result<Report> {
    let address = SocketAddr::new(lab::A.ipv4.parse()?, PORT).to_string();
    let mut server = start_server(config, &address, stop)?;
    progress.done(&format!("server   `fourwave serve echo --listen {address}`, {}", config.stack.name()));

    let mib = config.mib.to_string();
    let bulk = strings(&["internal", "bulk-client", &address, "--mib", &mib]);
    let bulk: BulkReport = internal::parse(&client(&bulk, "bulk", BULK_LIMIT, stop, progress)?)?;
    server.check_running()?;
    progress.done(&format!(
        "bulk     {} MiB there and back through an ordinary kernel client, every byte compared: {:.2} s, {:.2} Gbit/s each way",
        config.mib, bulk.duration_s, bulk.gbit_per_s
    ));

    let count = config.connections.to_string();
    let short = strings(&["internal", "short-connections", &address, "--count", &count]);
    let short: ShortReport = internal::parse(&client(&short, "short", SHORT_LIMIT, stop, progress)?)?;
    server.check_running()?;
    let left_over = left_over(config, server.pid(), stop)?;
    progress.done(&format!(
        "short    {} connections opened, used and closed: {:.2} s, {:.0} per second; left over: {} (and {} in TIME-WAIT)",
        short.connections, short.duration_s, short.per_s, left_over.connections, left_over.time_wait
    ));
    server.end();

    progress.done(&format!(
        "latency  {} interleaved rounds of {} s for each of {} …",
        config.bench.rounds,
        config.bench.seconds.as_secs_f64(),
        config.bench.points.len()
    ));
    let bench = bench::measure(&config.bench, stop, progress)?;
    Ok(Report { bulk, short_connections: short, left_over, bench })
}

fn start_server(config: &Config, address: &str, stop: &Stop) -> anyhow::Result<Job> {
    let mut serve = strings(&["serve", "echo", "--listen", address, "--stack", config.stack.name()]);
    if config.stack == Stack::Fourwave {
        serve.extend(strings(&["--interface", lab::A.interface]));
    }
    let mut server = Job::start(lab::A.namespace, &serve)?;
    server.wait_ready(stop, READY_LIMIT)?;
    Ok(server)
}

/// Runs a client in fw-b to its end, its progress on the live line.
fn client(
    args: &[String],
    title: &str,
    limit: Duration,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<String> {
    Job::start(lab::B.namespace, args)?.output(stop, limit, |line| {
        if let Some(done) = line.strip_prefix(PROGRESS) {
            progress.now(&format!("{title:<9}{done}"));
        }
    })
}

/// Counts what the server still has; an error if connections stay that should be gone.
fn left_over(config: &Config, server: u32, stop: &Stop) -> anyhow::Result<LeftOver> {
    if config.stack != Stack::Fourwave {
        return Ok(LeftOver::default());
    }
    let step = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    loop {
        stop.check()?;
        let entries = ss::connections(Some(server))?;
        let in_state = |state: &str| entries.iter().filter(|entry| entry.state == state).count();
        let time_wait = in_state(ss::TIME_WAIT);
        let left_over = LeftOver { connections: entries.len() - time_wait, time_wait };
        if left_over.connections == 0 {
            return Ok(left_over);
        }
        if waited >= LEFTOVER_GRACE {
            bail!(
                "{} connections are left over that were closed: this is a bug, please report it",
                left_over.connections
            );
        }
        stop.sleep(step);
        waited += step;
    }
}

impl Report {
    fn table(&self, config: &Config) -> String {
        let mut table = String::new();
        let (bulk, short) = (&self.bulk, &self.short_connections);
        // Writing to a string doesn't fail.
        let _ = writeln!(
            table,
            "\nbulk echo            {} MiB each way, {:.2} Gbit/s, every byte right",
            config.mib, bulk.gbit_per_s
        );
        let _ = writeln!(
            table,
            "short connections    {} at {:.0} per second, {} errors, {} left over",
            short.connections, short.per_s, short.errors, self.left_over.connections
        );
        let _ = write!(table, "{}", self.bench);
        table
    }
}
