//! `fourwave bench --only proxy`: `fourwave proxy` over AF_XDP beside HAProxy over the kernel's TCP.
//!
//! The proxy is alone on the first core, in fw-a. On the second, in fw-b, one process of ours is the client and the backend at
//! once (`internal::through`): the same for both proxies. They take turns, and the order turns from round to round; each
//! point has a new proxy. What a proxy adds is the time of a request through it less that to such a backend in its place.

mod report;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

pub(crate) use self::report::ProxyReport;
use super::{END_LIMIT, READY_LIMIT, jitter, strings};
use crate::internal::{self, ThroughReport};
use crate::job::Job;
use crate::lab::{self, Lab};
use crate::out::{self, Progress};
use crate::stop::{Interrupted, Stop};

/// Port of the first proxy, and behind it that of its backend. Each point has its own: a load of the next one begins with other
/// sequence numbers, and the kernel would refuse its connections while it remembers those of the one before (TIME-WAIT).
const FIRST_PORT: u16 = 7200;
/// Points until they are used again; the last ones are below the kernel's own ephemeral ports.
const PORT_PAIRS: usize = 10_000;
/// Connections at a time, but for latency.
const CONNECTIONS: u32 = 64;

/// What to measure, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) rounds: u32,
    /// Per point.
    pub(crate) seconds: Duration,
    /// Rest between points.
    pub(crate) pause: Duration,
    /// Of a request, and of a response.
    pub(crate) message_bytes: u32,
    pub(crate) json: bool,
    /// A table for people goes there.
    pub(crate) markdown: Option<PathBuf>,
}

/// Who stands between the client and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Between {
    Fourwave,
    HaProxy,
    /// Nobody: the backend is in the proxy's place.
    Nobody,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    /// Connections are kept.
    Requests,
    /// A connection for each request.
    Connects,
    /// One connection, which is kept.
    Latency,
}

const POINTS: [(Between, Test); 7] = [
    (Between::Fourwave, Test::Requests),
    (Between::HaProxy, Test::Requests),
    (Between::Fourwave, Test::Connects),
    (Between::HaProxy, Test::Connects),
    (Between::Nobody, Test::Latency),
    (Between::Fourwave, Test::Latency),
    (Between::HaProxy, Test::Latency),
];

/// Measures in the lab, which it builds if there is none, and takes down again then.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut lab = Lab::claim("bench")?;
    lab.use_or_up()?;
    let mut progress = Progress::new();
    let report = measure(config, stop, &mut progress)?;
    progress.clear();
    drop(lab);
    if let Some(path) = &config.markdown {
        std::fs::write(path, report.markdown()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if config.json {
        out::json(&report)?;
    } else {
        out::result(&report.to_string());
    }
    report.verdict()
}

fn measure(config: &Config, stop: &Stop, progress: &mut Progress) -> anyhow::Result<ProxyReport> {
    let cores = crate::affinity::cores();
    let [proxy_core, load_core, ..] = cores[..] else {
        bail!("the measurement needs two cores, one for the proxy: this process may use {}", cores.len());
    };
    let files = Files::new()?;
    let mut place = Place { config, stop, files, proxy_core, load_core, ports: (0, 0) };
    let haproxy = haproxy_version();
    let mut report = ProxyReport::new(config, haproxy.clone());
    for round in 0..config.rounds {
        for turn in 0..POINTS.len() {
            // By an odd number, so that neither proxy is always behind the other.
            let (between, test) = POINTS[(turn + 3 * round as usize) % POINTS.len()];
            if (between == Between::HaProxy && haproxy.is_none()) || report.given_up(between, test) {
                continue;
            }
            progress.now(&format!("  round {} of {}: {between}, {test} …", round + 1, config.rounds));
            place.ports = ports(round as usize * POINTS.len() + turn);
            let jitter = jitter::probe(&[proxy_core, load_core]);
            match place.point(between, test) {
                Ok(sample) => report.add(between, test, sample, jitter),
                Err(error) if error.is::<Interrupted>() => {
                    report.interrupted = true;
                    return Ok(report);
                }
                Err(error) => {
                    let reason = out::sentence(&error);
                    progress.done(&format!("  round {}: {between}, {test} failed: {reason}", round + 1));
                    report.failed(between, test, round + 1, reason);
                }
            }
            stop.sleep(config.pause);
        }
        report.end_round(round + 1);
    }
    Ok(report)
}

/// "HAProxy version 2.6.12 …", if it is installed.
fn haproxy_version() -> Option<String> {
    let output = Command::new("haproxy").arg("-v").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.split(" - ").next().unwrap_or(line).to_owned())
}

/// The configuration of both proxies: one listener, one backend, no log.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn new() -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("fourwave-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// Writes both; HAProxy's names its core itself.
    fn write(&self, listen: SocketAddr, backend: SocketAddr, core: usize) -> anyhow::Result<()> {
        let fourwave = format!(
            "access-log = \"off\"\n[[listener]]\nname = \"bench\"\naddress = \"{listen}\"\npool = \"bench\"\n\
             [[pool]]\nname = \"bench\"\n[[pool.backend]]\naddress = \"{backend}\"\n"
        );
        let haproxy = format!(
            "global\n    nbthread 1\n    cpu-map 1/1 {core}\n    maxconn 2000\n\
             defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
             listen bench\n    bind {listen}\n    server backend {backend}\n"
        );
        for (name, text) in [("fourwave.toml", fourwave), ("haproxy.cfg", haproxy)] {
            let path = self.directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.directory);
    }
}

/// Of the proxy and of the backend.
fn ports(point: usize) -> (u16, u16) {
    let pair = u16::try_from(point % PORT_PAIRS).unwrap_or(0);
    (FIRST_PORT + 2 * pair, FIRST_PORT + 2 * pair + 1)
}

fn address(end: lab::End, port: u16) -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::new(end.ipv4.parse()?, port))
}

/// One point of one round.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    through: ThroughReport,
    /// Of the proxy's core, while it ran: what spins takes all.
    proxy_cpu: f64,
}

struct Place<'a> {
    config: &'a Config,
    stop: &'a Stop,
    files: Files,
    proxy_core: usize,
    load_core: usize,
    /// Of this point's proxy and backend.
    ports: (u16, u16),
}

impl Place<'_> {
    fn point(&self, between: Between, test: Test) -> anyhow::Result<Sample> {
        self.stop.check()?;
        let (target, listen) = (address(lab::A, self.ports.0)?, address(lab::B, self.ports.1)?);
        self.files.write(target, listen, self.proxy_core)?;
        let mut proxy = self.start(between)?;
        let (target, listen) = (target.to_string(), listen.to_string());
        let seconds = self.config.seconds.as_secs_f64().to_string();
        let bytes = self.config.message_bytes.to_string();
        let mut load = strings(&["internal", "through", "--target", &target, "--bytes", &bytes, "--seconds", &seconds]);
        if between != Between::Nobody {
            load.extend(strings(&["--listen", &listen]));
        }
        let connections = if test == Test::Latency { 1 } else { CONNECTIONS };
        load.extend(["--connections".to_owned(), connections.to_string()]);
        if test == Test::Connects {
            load.push("--one-each".to_owned());
        }
        load.extend(on(lab::B, self.load_core));
        let (before, began) = (proxy.cpu_s(), std::time::Instant::now());
        let load = Job::start(lab::B.namespace, &load)?;
        let document = load.output(self.stop, self.config.seconds + END_LIMIT, |_| {})?;
        let proxy_cpu = (proxy.cpu_s() - before) / began.elapsed().as_secs_f64();
        proxy.check_running()?;
        proxy.end();
        let through: ThroughReport = internal::parse(&document)?;
        if through.requests == 0 || through.errors > 0 {
            bail!("{} requests and {} errors", through.requests, through.errors);
        }
        Ok(Sample { through, proxy_cpu })
    }

    fn start(&self, between: Between) -> anyhow::Result<Job> {
        let own = |mut args: Vec<String>| -> anyhow::Result<Job> {
            args.extend(on(lab::A, self.proxy_core));
            let mut job = Job::start(lab::A.namespace, &args)?;
            job.wait_ready(self.stop, READY_LIMIT)?;
            Ok(job)
        };
        match between {
            Between::Fourwave => own(strings(&["proxy", "-c", &self.files.path("fourwave.toml")])),
            Between::Nobody => {
                let listen = address(lab::A, self.ports.0)?.to_string();
                let bytes = self.config.message_bytes.to_string();
                own(strings(&["internal", "through", "--listen", &listen, "--bytes", &bytes]))
            }
            Between::HaProxy => {
                let program = ["haproxy", "-db", "-f", &self.files.path("haproxy.cfg")];
                let mut job = Job::start_other(lab::A.namespace, &program)?;
                job.wait_listening(self.ports.0, self.stop, READY_LIMIT)?;
                Ok(job)
            }
        }
    }
}

/// The flags of a stack that spins on an end of the lab.
fn on(end: lab::End, core: usize) -> Vec<String> {
    strings(&["--interface", end.interface, "--idle", "busy", "--cores", &core.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_do_not_share_ports() {
        assert_eq!(ports(0), (7200, 7201));
        assert_eq!(ports(1), (7202, 7203));
        assert_eq!(ports(PORT_PAIRS - 1), (27_198, 27_199));
        assert_eq!(ports(PORT_PAIRS), ports(0));
    }
}
