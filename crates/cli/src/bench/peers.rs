//! The programs that others measure with, over the kernel's sockets and against ours: one thread each, on the same cores.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::http::{self, CONNECTIONS};
use super::place::{Place, READY_LIMIT};
use super::samples::Sample;
use super::task::Point;
use crate::job::Job;
use crate::lab;
use crate::measure::Latency;

/// Who measures what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    NginxByWrk,
    FourwaveByWrk,
    NginxByFourwave,
    Sockperf,
    FourwaveBySockperf,
    Iperf,
}

impl Peer {
    pub(super) const ALL: [Self; 6] = [
        Self::NginxByWrk,
        Self::FourwaveByWrk,
        Self::NginxByFourwave,
        Self::Sockperf,
        Self::FourwaveBySockperf,
        Self::Iperf,
    ];

    /// Its key in the JSON document.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::NginxByWrk => "nginx_by_wrk",
            Self::FourwaveByWrk => "fourwave_by_wrk",
            Self::NginxByFourwave => "nginx_by_fourwave",
            Self::Sockperf => "sockperf",
            Self::FourwaveBySockperf => "fourwave_by_sockperf",
            Self::Iperf => "iperf3",
        }
    }

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::NginxByWrk => "nginx, by wrk",
            Self::FourwaveByWrk => "fourwave serve http, by wrk",
            Self::NginxByFourwave => "nginx, by fourwave load http",
            Self::Sockperf => "sockperf, both ends",
            Self::FourwaveBySockperf => "fourwave serve sockperf, by sockperf",
            Self::Iperf => "iperf3, both ends",
        }
    }

    /// The key of what is measured.
    pub(super) const fn test(self) -> &'static str {
        match self {
            Self::NginxByWrk | Self::FourwaveByWrk | Self::NginxByFourwave => "rps",
            Self::Sockperf | Self::FourwaveBySockperf => "rtt",
            Self::Iperf => "bulk",
        }
    }

    /// What must be installed.
    pub(super) const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::NginxByWrk => &["nginx", "wrk"],
            Self::FourwaveByWrk => &["wrk"],
            Self::NginxByFourwave => &["nginx"],
            Self::Sockperf | Self::FourwaveBySockperf => &["sockperf"],
            Self::Iperf => &["iperf3"],
        }
    }
}

/// Measures one.
pub(super) fn point(place: &Place<'_>, peer: Peer) -> anyhow::Result<Sample> {
    match peer {
        Peer::NginxByWrk => wrk(place, &mut Nginx::start(place)?.job),
        Peer::FourwaveByWrk => wrk(place, &mut http::serve(place, Point::Fourwave)?),
        Peer::NginxByFourwave => {
            let Nginx { job, folder } = Nginx::start(place)?;
            let loaded = http::ask(place, job, Point::Fourwave, CONNECTIONS, &[])?;
            drop(folder);
            Ok(loaded)
        }
        Peer::Sockperf => {
            let (ip, port) = (lab::A.ipv4, place.port().to_string());
            let server = pinned(place.server_core, &["sockperf", "server", "--tcp", "-i", ip, "-p", &port]);
            sockperf(place, &mut listening(place, &server)?)
        }
        Peer::FourwaveBySockperf => sockperf(place, &mut place.serve(&["serve", "sockperf"], Point::Fourwave)?),
        Peer::Iperf => iperf(place),
    }
}

/// On one core.
fn pinned(core: usize, program: &[&str]) -> Vec<String> {
    let mut words = super::strings(&["taskset", "-c", &core.to_string()]);
    words.extend(super::strings(program));
    words
}

/// Starts a server of another's at the point's address.
fn listening(place: &Place<'_>, program: &[String]) -> anyhow::Result<Job> {
    let words: Vec<_> = program.iter().map(String::as_str).collect();
    let mut job = Job::start_other(lab::A.namespace, &words)?;
    job.wait_listening(place.port(), place.stop, READY_LIMIT)?;
    Ok(job)
}

/// Runs a client of another's to its end, and its server with it; what it wrote.
fn run(place: &Place<'_>, server: &mut Job, program: &[&str]) -> anyhow::Result<String> {
    let words = pinned(place.client_core, program);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let said = place.end(Job::start_other(lab::B.namespace, &words)?)?;
    server.check_running()?;
    server.end();
    Ok(said)
}

/// These programs know whole seconds only.
fn whole_seconds(place: &Place<'_>) -> String {
    place.config.seconds.as_secs_f64().ceil().to_string()
}

/// nginx in one process, which answers with a body of as many bytes as ours.
struct Nginx {
    job: Job,
    folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Nginx {
    fn start(place: &Place<'_>) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("fourwave-nginx-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let folder = Folder(path);
        let body = "x".repeat(place.config.message_bytes as usize);
        let (at, address) = (folder.0.display().to_string(), place.address()?);
        let settings = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error;\n\
             events {{ worker_connections 2048; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {at}; proxy_temp_path {at};\n\
             fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at}; tcp_nodelay on;\n\
             server {{ listen {address} backlog=1024; location / {{ return 200 \"{body}\"; }} }} }}\n"
        );
        let file = folder.0.join("nginx.conf");
        std::fs::write(&file, settings).with_context(|| format!("cannot write {}", file.display()))?;
        let nginx = pinned(place.server_core, &["nginx", "-p", &at, "-c", &file.display().to_string()]);
        Ok(Self { job: listening(place, &nginx)?, folder })
    }
}

fn wrk(place: &Place<'_>, server: &mut Job) -> anyhow::Result<Sample> {
    let (url, seconds) = (format!("http://{}/", place.address()?), format!("{}s", whole_seconds(place)));
    read_wrk(&run(place, server, &["wrk", "-t1", "-c", CONNECTIONS, "-d", &seconds, "--latency", &url])?)
}

fn read_wrk(said: &str) -> anyhow::Result<Sample> {
    if let Some(errors) = said.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
        bail!("wrk: {}", errors.trim());
    }
    let percentile = |percent: &str| {
        let value = said.lines().find_map(|line| line.trim().strip_prefix(percent))?;
        duration(value.trim())
    };
    let per_s = said.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let (Some(p50), Some(p99), Some(per_s)) = (percentile("50%"), percentile("99%"), per_s) else {
        bail!("wrk did not say how many requests per second there were");
    };
    let latency = Latency { p50: nanoseconds(p50), p99: nanoseconds(p99), ..Latency::default() };
    Ok(Sample { latency: Some(latency), per_s: Some(per_s), count: count.unwrap_or(0), ..Sample::default() })
}

/// "312.00us", "1.20ms", "1.00s".
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * factor))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Round trips, not halves of them as it has them without `--full-rtt`.
fn sockperf(place: &Place<'_>, server: &mut Job) -> anyhow::Result<Sample> {
    let (port, bytes) = (place.port().to_string(), place.config.message_bytes.to_string());
    let seconds = whole_seconds(place);
    let ping = ["sockperf", "ping-pong", "--tcp", "--full-rtt", "-i", lab::A.ipv4, "-p", &port, "-m", &bytes];
    read_sockperf(&run(place, server, &[&ping[..], &["-t", &seconds]].concat())?)
}

fn read_sockperf(said: &str) -> anyhow::Result<Sample> {
    let percentile = |percent: &str| {
        let name = format!("percentile {percent} =");
        let value = said.lines().find_map(|line| line.split_once(&name))?.1.trim().parse::<f64>().ok()?;
        Some(nanoseconds(Duration::from_secs_f64(value * 1e-6)))
    };
    let count = said.lines().find_map(|line| line.split_once("Total ")?.1.split_once(" observations")?.0.parse().ok());
    match (percentile("50.000"), percentile("99.000"), percentile("99.900"), count) {
        (Some(p50), Some(p99), Some(p999), Some(count)) => {
            let latency = Latency { p50, p99, p999, ..Latency::default() };
            Ok(Sample { latency: Some(latency), count, ..Sample::default() })
        }
        _ => bail!("sockperf did not say how long the round trips were"),
    }
}

fn iperf(place: &Place<'_>) -> anyhow::Result<Sample> {
    let (ip, port, seconds) = (lab::A.ipv4, place.port().to_string(), whole_seconds(place));
    let server = pinned(place.server_core, &["iperf3", "-s", "-B", ip, "-p", &port]);
    let mut server = listening(place, &server)?;
    read_iperf(&run(place, &mut server, &["iperf3", "-c", ip, "-p", &port, "-t", &seconds, "-J"])?)
}

fn read_iperf(said: &str) -> anyhow::Result<Sample> {
    let document: Value = serde_json::from_str(said).context("iperf3 did not answer in JSON")?;
    let received = &document["end"]["sum_received"];
    let (Some(bits), Some(bytes)) = (received["bits_per_second"].as_f64(), received["bytes"].as_u64()) else {
        bail!("iperf3 did not say what came: {}", document["error"].as_str().unwrap_or("no reason given"));
    };
    Ok(Sample { gbit_per_s: Some(bits / 1e9), count: bytes, ..Sample::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let said = "Running 2s test @ http://10.77.0.1:7100/\n  1 threads and 64 connections\n\
            \x20 Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   423.01us  512.33us   9.12ms   98.00%\n\
            \x20   Req/Sec   151.02k     7.28k  160.00k    80.00%\n  Latency Distribution\n     50%  312.00us\n\
            \x20    75%  420.00us\n     90%  612.00us\n     99%    1.25ms\n  300401 requests in 2.00s, 60.72MB read\n\
            Requests/sec: 150123.45\nTransfer/sec:     30.36MB\n";
        let sample = read_wrk(said).unwrap();
        let latency = sample.latency.unwrap();
        assert_eq!((latency.p50, latency.p99), (312_000, 1_250_000));
        assert_eq!((sample.per_s, sample.count), (Some(150_123.45), 300_401));
        let errors = format!("{said}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(read_wrk(&errors).unwrap_err().to_string().contains("read 3"));
        assert!(read_wrk("").is_err());
    }

    #[test]
    fn sockperf_is_understood() {
        let said = "sockperf: Summary: Round trip is 14.310 usec\n\
            sockperf: Total 60231 observations; each percentile contains 602.31 observations\n\
            sockperf: ---> <MAX> observation = 1234.567\nsockperf: ---> percentile 99.999 =  999.000\n\
            sockperf: ---> percentile 99.900 =   88.250\nsockperf: ---> percentile 99.000 =   21.500\n\
            sockperf: ---> percentile 50.000 =   13.125\n";
        let sample = read_sockperf(said).unwrap();
        let latency = sample.latency.unwrap();
        assert_eq!((latency.p50, latency.p99, latency.p999, sample.count), (13_125, 21_500, 88_250, 60_231));
        assert!(read_sockperf("sockperf: ERROR").is_err());
    }

    #[test]
    fn iperf_is_understood() {
        let said = r#"{"end": {"sum_received": {"bytes": 2500000000, "bits_per_second": 10000000000.0}}}"#;
        let sample = read_iperf(said).unwrap();
        assert_eq!((sample.gbit_per_s, sample.count), (Some(10.0), 2_500_000_000));
        assert!(read_iperf(r#"{"error": "unable to connect"}"#).unwrap_err().to_string().contains("unable to connect"));
    }
}
