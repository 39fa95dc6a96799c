//! `fourwave bench`: everything side by side in one run, in interleaved rounds.
//!
//! Each point is a server in fw-a on the first core and a client in fw-b on the second, both new. The stacks take turns
//! within a round and the order turns from round to round, so that whatever else the machine does hits all of them alike.

mod bulk;
mod http;
mod installed;
mod jitter;
mod overload;
mod peers;
mod place;
mod plot;
mod proxy;
mod report;
mod results;
mod rtt;
mod samples;
mod table;
mod task;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;

use self::installed::Installed;
use self::place::Place;
pub(crate) use self::report::BenchReport;
use self::samples::Sample;
pub(crate) use self::task::{Part, Point};
use self::task::{Task, Test};
use crate::lab::{self, Lab};
use crate::out::{self, Progress};
use crate::stop::{Interrupted, Stop};

/// What to measure, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Without repetition, at least one; and so the points.
    pub(crate) parts: Vec<Part>,
    pub(crate) rounds: u32,
    /// Per point, 0.1 to 6 s: small virtual machines stall once all their cores were busy for longer.
    pub(crate) seconds: Duration,
    /// Rest between points, for the same reason.
    pub(crate) pause: Duration,
    pub(crate) message_bytes: u32,
    pub(crate) points: Vec<Point>,
    /// Documents, tables and plots go there.
    pub(crate) results: Option<PathBuf>,
    pub(crate) json: bool,
}

pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// `fourwave bench`: in the lab, which it builds if there is none, and takes down again then.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut lab = Lab::claim("bench")?;
    lab.use_or_up()?;
    let mut progress = Progress::new();
    let report = measure(config, stop, &mut progress)?;
    progress.clear();
    drop(lab);
    if config.json {
        out::json(&report)?;
    } else {
        out::result(&report.to_string());
    }
    if let Some(folder) = &config.results {
        results::write(&report, folder)?;
    }
    report.verdict()
}

/// Measures all rounds in a lab that is up. When interrupted: what was measured so far. A point that fails is tried again in
/// the next round, and given up when it fails again.
pub(crate) fn measure(config: &Config, stop: &Stop, progress: &mut Progress) -> anyhow::Result<BenchReport> {
    let cores = crate::affinity::cores();
    let [server_core, client_core, ..] = cores[..] else {
        bail!("the measurement needs two cores, one for each side: this process may use {}", cores.len());
    };
    let mtu = lab::Mtu::now()?;
    let mut place = Place::new(config, stop, mtu, server_core, client_core)?;
    let installed = Installed::look(config);
    let groups = task::groups(config, &installed);
    let mut report = BenchReport::new(config, &groups, installed);
    for round in 0..config.rounds {
        for group in &groups {
            for task in task::in_turn(group, round as usize) {
                if report.given_up(task) {
                    continue;
                }
                progress.now(&format!(
                    "  round {} of {}: {} … {}",
                    round + 1,
                    config.rounds,
                    task.title(),
                    report.so_far(task)
                ));
                match one(&mut place, task, &mut report) {
                    Ok(sample) => report.add(task, sample),
                    Err(error) if error.is::<Interrupted>() => {
                        report.interrupted = true;
                        return Ok(report);
                    }
                    Err(error) => {
                        let reason = out::sentence(&error);
                        progress.done(&format!("  round {}: {} failed: {reason}", round + 1, task.title()));
                        report.failed(task, round + 1, reason);
                    }
                }
                stop.sleep(config.pause);
            }
        }
        report.end_round(round + 1);
        progress.done(&format!("  round {} of {} is over{}", round + 1, config.rounds, report.headline()));
    }
    Ok(report)
}

/// Measures a point.
fn one(place: &mut Place<'_>, task: Task, report: &mut BenchReport) -> anyhow::Result<Sample> {
    place.stop.check()?;
    report.jitter(jitter::probe(&[place.server_core, place.client_core]));
    place.next(task.mtu())?;
    match task {
        Task::Stack(Test::Rtt, point) => rtt::point(place, point),
        Task::Stack(Test::Rps | Test::Cps, Point::Raw) => http::frames(place),
        Task::Stack(Test::Rps, point) => http::requests(place, point),
        Task::Stack(Test::Cps, point) => http::connections(place, point),
        Task::Stack(Test::Bulk | Test::BulkJumbo, Point::Raw) => bulk::frames(place),
        Task::Stack(Test::Bulk | Test::BulkJumbo, point) => bulk::stream(place, point),
        Task::Peer(peer) => peers::point(place, peer),
        Task::Proxy(between, test) => proxy::point(place, between, test),
        Task::Overload(load, offer) => overload::point(place, load, offer, &report.samples),
    }
}
