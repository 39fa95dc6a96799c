//! `fourwave bench`: what is compared side by side. Here: the same ping-pong over each stack, side by side, in interleaved rounds.
//!
//! Each point is a server in fw-a on the first core and a client in fw-b on the second, both new. The stacks take turns
//! within a round and the order turns from round to round, so that whatever else the machine does hits all of them alike.

mod jitter;
pub(crate) mod proxy;
mod report;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::job::Job;
use crate::lab::{self, Lab};
use crate::out::{self, Progress};
use crate::ping;
use crate::stop::{Interrupted, Stop};

pub(crate) use self::report::BenchReport;
use self::report::Sample;

/// Port of the first server; each point of a round has its own, so that none meets another's leftovers.
const FIRST_PORT: u16 = 7100;
const WARMUP: u64 = 2000;
const READY_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(90);

/// One of the measurements.
#[derive(Clone, Debug)]
pub(crate) enum Measure {
    Rtt(Config),
    Proxy(proxy::Config),
}

/// What to measure, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) rounds: u32,
    /// Per point, 0.1 to 6 s: small virtual machines stall once all their cores were busy for longer.
    pub(crate) seconds: Duration,
    /// Rest between points, for the same reason.
    pub(crate) pause: Duration,
    pub(crate) message_bytes: u32,
    /// Without repetition, at least one.
    pub(crate) points: Vec<Point>,
    pub(crate) json: bool,
}

/// One of the things compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Point {
    /// Bare frames over AF_XDP: the floor
    Raw,
    /// TCP of fourwave on both sides
    Fourwave,
    /// TCP of the kernel on both sides, sleeping in epoll
    KernelEpoll,
    /// TCP of the kernel on both sides, reading in a busy loop
    KernelSpin,
}

impl Point {
    pub(crate) const ALL: [Self; 4] = [Self::Raw, Self::Fourwave, Self::KernelSpin, Self::KernelEpoll];

    /// Its key in the JSON document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Fourwave => "fourwave",
            Self::KernelEpoll => "kernel_epoll",
            Self::KernelSpin => "kernel_spin",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Raw => "raw AF_XDP frames",
            Self::Fourwave => "fourwave",
            Self::KernelEpoll => "kernel, epoll",
            Self::KernelSpin => "kernel, spinning",
        }
    }

    /// The flags that choose it, on an interface and a core.
    fn flags(self, interface: &str, core: usize) -> Vec<String> {
        let core = core.to_string();
        let flags = match self {
            Self::Raw => ["--stack", "raw", "--idle", "busy", "--interface", interface, "--cores", &core],
            Self::Fourwave => ["--stack", "fourwave", "--idle", "busy", "--interface", interface, "--cores", &core],
            Self::KernelEpoll => return strings(&["--stack", "kernel", "--kernel-wait", "epoll", "--cores", &core]),
            Self::KernelSpin => return strings(&["--stack", "kernel", "--kernel-wait", "spin", "--cores", &core]),
        };
        strings(&flags)
    }
}

pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// `fourwave bench`.
pub(crate) fn run_one(measure: &Measure, stop: &Stop) -> anyhow::Result<()> {
    match measure {
        Measure::Rtt(config) => run(config, stop),
        Measure::Proxy(config) => proxy::run(config, stop),
    }
}

/// `fourwave bench --only rtt`: in the lab, which it builds if there is none, and takes down again then.
fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut lab = Lab::claim("bench")?;
    lab.use_or_up()?;
    let mut progress = Progress::new();
    let report = measure(config, stop, &mut progress)?;
    progress.clear();
    drop(lab);
    if config.json {
        out::json(&report)?;
        return report.verdict();
    }
    out::result(&report.to_string());
    report.verdict()
}

/// Measures all rounds in a lab that is up. When interrupted: what was measured so far. A point that fails is tried again in
/// the next round, and given up when it fails again.
pub(crate) fn measure(config: &Config, stop: &Stop, progress: &mut Progress) -> anyhow::Result<BenchReport> {
    let cores = crate::affinity::cores();
    let [server_core, client_core, ..] = cores[..] else {
        bail!("the measurement needs two cores, one for each side: this process may use {}", cores.len());
    };
    let place = Place { config, stop, server_core, client_core };
    let mut report = BenchReport::new(config);
    for round in 0..config.rounds {
        for turn in 0..config.points.len() {
            let point = config.points[(turn + round as usize) % config.points.len()];
            if report.given_up(point) {
                continue;
            }
            progress.now(&format!(
                "  round {} of {}: {} … {}",
                round + 1,
                config.rounds,
                point.title(),
                report.so_far(point)
            ));
            let port = FIRST_PORT + u16::try_from(turn)?;
            match place.point(point, port) {
                Ok(sample) => report.add(point, sample),
                Err(error) if error.is::<Interrupted>() => {
                    report.interrupted = true;
                    return Ok(report);
                }
                Err(error) => {
                    let reason = out::sentence(&error);
                    progress.done(&format!("  round {}: {} failed: {reason}", round + 1, point.title()));
                    report.failed(point, round + 1, reason);
                }
            }
            stop.sleep(config.pause);
        }
        report.end_round(round + 1);
    }
    Ok(report)
}

struct Place<'a> {
    config: &'a Config,
    stop: &'a Stop,
    server_core: usize,
    client_core: usize,
}

impl Place<'_> {
    fn point(&self, point: Point, port: u16) -> anyhow::Result<Sample> {
        self.stop.check()?;
        let jitter = jitter::probe(&[self.server_core, self.client_core]);
        let address = SocketAddr::new(lab::A.ipv4.parse()?, port).to_string();
        let mut serve = strings(&["serve", "echo", "--listen", &address]);
        serve.extend(point.flags(lab::A.interface, self.server_core));
        let mut server = Job::start(lab::A.namespace, &serve)?;
        server.wait_ready(self.stop, READY_LIMIT)?;

        let seconds = self.config.seconds.as_secs_f64().to_string();
        let (bytes, warmup) = (self.config.message_bytes.to_string(), WARMUP.to_string());
        let mut ping = strings(&["ping", &address, "--json", "--seconds", &seconds]);
        ping.extend(strings(&["--bytes", &bytes, "--warmup", &warmup]));
        ping.extend(point.flags(lab::B.interface, self.client_core));
        let client = Job::start(lab::B.namespace, &ping)?;
        let document = client.output(self.stop, self.config.seconds + END_LIMIT, |_| {})?;
        server.check_running()?;
        server.end();

        let report: ping::Report = serde_json::from_str(&document).context("`ping` did not answer in JSON")?;
        if report.count == 0 || report.errors > 0 {
            bail!("{} round trips and {} errors: see what `fourwave ping` says", report.count, report.errors);
        }
        Ok(Sample { latency: report.latency_ns, round_trips: report.count, jitter })
    }
}
