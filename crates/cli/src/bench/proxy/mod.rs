//! `fourwave bench --only proxy`: `fourwave proxy` over AF_XDP beside HAProxy over the kernel's TCP.
//!
//! The proxy is alone on the first core, in fw-a. On the second, in fw-b, one process of ours is the client and the backend at
//! once (`internal::through`): the same for both proxies. They take turns, and the order turns from round to round; each
//! point has a new proxy. What a proxy adds is the time of a request through it less that to such a backend in its place.

mod report;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};

pub(super) use self::report::{Proxies, ProxyRow};
use super::place::{Place, READY_LIMIT, on};
use super::samples::Sample;
use super::strings;
use super::task::Task;
use crate::internal::ThroughReport;
use crate::job::Job;
use crate::lab;

/// Connections at a time, but for latency.
const CONNECTIONS: u32 = 64;

/// Who stands between the client and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) enum Between {
    Fourwave,
    HaProxy,
    /// Nobody: the backend is in the proxy's place.
    Nobody,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) enum Test {
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

/// What takes turns; HAProxy only where it is installed.
pub(super) fn tasks(haproxy: bool) -> Vec<Task> {
    let points = POINTS.iter().filter(|(between, _)| haproxy || *between != Between::HaProxy);
    points.map(|(between, test)| Task::Proxy(*between, *test)).collect()
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

/// The load, through a proxy or to a backend in its place.
pub(super) fn point(place: &Place<'_>, between: Between, test: Test) -> anyhow::Result<Sample> {
    let target = place.address()?;
    let listen = SocketAddr::new(lab::B.ipv4.parse()?, place.port() + 1);
    let files = Files::new()?;
    files.write(target, listen, place.server_core)?;
    let mut proxy = start(place, &files, between)?;
    let (target, listen) = (target.to_string(), listen.to_string());
    let bytes = place.config.message_bytes.to_string();
    let seconds = place.config.seconds.as_secs_f64().to_string();
    let mut load = strings(&["internal", "through", "--target", &target, "--bytes", &bytes, "--seconds", &seconds]);
    if between != Between::Nobody {
        load.extend(strings(&["--listen", &listen]));
    }
    let connections = if test == Test::Latency { 1 } else { CONNECTIONS };
    load.extend(["--connections".to_owned(), connections.to_string()]);
    if test == Test::Connects {
        load.push("--one-each".to_owned());
    }
    load.extend(on(lab::B, place.client_core));
    let (before, began) = (proxy.cpu_s(), Instant::now());
    let document = place.end(Job::start(lab::B.namespace, &load)?)?;
    let cpu = (proxy.cpu_s() - before) / began.elapsed().as_secs_f64();
    proxy.check_running()?;
    proxy.end();
    let through: ThroughReport = crate::internal::parse(&document)?;
    if through.requests == 0 || through.errors > 0 {
        bail!("{} requests and {} errors", through.requests, through.errors);
    }
    Ok(Sample {
        per_s: match test {
            Test::Requests => Some(through.requests_per_s),
            Test::Connects => Some(through.connects_per_s),
            Test::Latency => None,
        },
        latency: Some(through.latency_ns),
        count: through.requests,
        cpu: Some(cpu),
        ..Sample::default()
    })
}

fn start(place: &Place<'_>, files: &Files, between: Between) -> anyhow::Result<Job> {
    let own = |mut args: Vec<String>| -> anyhow::Result<Job> {
        args.extend(on(lab::A, place.server_core));
        let mut job = Job::start(lab::A.namespace, &args)?;
        job.wait_ready(place.stop, READY_LIMIT)?;
        Ok(job)
    };
    match between {
        Between::Fourwave => own(strings(&["proxy", "-c", &files.path("fourwave.toml")])),
        Between::Nobody => {
            let (listen, bytes) = (place.address()?.to_string(), place.config.message_bytes.to_string());
            own(strings(&["internal", "through", "--listen", &listen, "--bytes", &bytes]))
        }
        Between::HaProxy => {
            let program = ["haproxy", "-db", "-f", &files.path("haproxy.cfg")];
            let mut job = Job::start_other(lab::A.namespace, &program)?;
            job.wait_listening(place.port(), place.stop, READY_LIMIT)?;
            Ok(job)
        }
    }
}
