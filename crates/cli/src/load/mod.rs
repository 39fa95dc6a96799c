//! `fourwave load`: load for servers, over this stack or over the kernel's sockets.

mod client;
mod engine;
pub(crate) mod http;
mod pace;
mod protocol;
mod report;
mod tally;
pub(crate) mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use crate::args::{KernelWait, StackConfig};

use crate::measure::{self, Files, Live, Observer, Run};
use crate::out;
use crate::report::write_page;
use crate::stop::Stop;
use http::Http;
pub(crate) use pace::Pace;
use protocol::Protocol;
use report::Report;

/// Who closes a connection that is there for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CloseBy {
    /// The client, once the response is there: TIME-WAIT is here
    Client,
    /// The server, which is asked to (Connection: close): TIME-WAIT is there
    Server,
    /// The client, by a reset: no TIME-WAIT anywhere
    Reset,
}

/// When and over what to ask, checked; what is asked is [`Kind`].
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) target: SocketAddr,
    pub(crate) kernel_wait: KernelWait,
    /// A connection for each request; otherwise they are kept.
    pub(crate) close: Option<CloseBy>,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// Requests under way over each connection at the most.
    pub(crate) pipeline: usize,
    /// Over which connections are opened before the warm-up, and closed behind the end; evenly.
    pub(crate) ramp_up: Duration,
    pub(crate) ramp_down: Duration,
    /// Ends after so many responses, or after the duration, whichever comes first. One of them is given.
    pub(crate) requests: Option<u64>,
    pub(crate) duration: Option<Duration>,
    /// Time before measuring starts.
    pub(crate) warmup: Duration,
    /// For a connection, and for a response.
    pub(crate) timeout: Duration,
    pub(crate) files: Files,
    pub(crate) live: Live,
    pub(crate) json: bool,
    pub(crate) at: StackConfig,
}

/// What to load a server with.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Http(Http),
    Tcp(tcp::Work),
}

/// Loads, and prints the report; also after Ctrl-C, and also if it came to nothing on the way.
pub(crate) fn run((config, kind): &(Config, Kind), stop: &Stop) -> anyhow::Result<()> {
    match kind {
        Kind::Http(http) => ask(config, http, ("load http", "http"), stop),
        Kind::Tcp(tcp::Work::Bulk(bulk)) => tcp::bulk(config, *bulk, stop),
    }
}

/// Loads by the engine. `names`: of the command, and of the server to start where none is.
fn ask<P: Protocol>(
    config: &Config,
    protocol: &P,
    (command, server): (&'static str, &'static str),
    stop: &Stop,
) -> anyhow::Result<()> {
    let hgrm = measure::create("--hgrm", config.files.hgrm.as_deref())?;
    let page = measure::create("--report", config.files.report.as_deref())?;
    let title = format!("fourwave {command} {}: responses in ns", config.target);
    // In a closed loop time stamps are the stack's, which it has anyway.
    let run = if matches!(config.pace, Pace::Open { .. }) { Run::begin_by_tsc(command) } else { Run::begin(command) };
    let observer = Observer::start(&run, title, vec![String::new()], &config.files, config.live)?;
    let (tally, result) = engine::run(config, protocol, server, (&run, &observer), stop)?;
    let (seconds, written) = observer.finish();
    if let Err(error) = &result
        && tally.is_empty()
    {
        tracing::debug!("nothing was measured: {error:#}");
        return result;
    }
    let distribution = hgrm
        .map_or(Ok(()), |mut file| measure::write_hgrm(&mut file, &tally.latency).context("--hgrm: can't be written"));
    let mut results = run.results(&tally.latency, seconds.into_iter().next().unwrap_or_default());
    results.connect_histogram = Some(measure::encoded(&tally.connect_latency));
    let mut report = Report::of(config, &tally, results);
    report.warn(&tally, run.complaints());
    if config.json {
        out::json(&report)?;
    } else {
        out::result(&report.to_string());
    }
    let page = page.map_or(Ok(()), |to| write_page(to, &format!("{command} {}", config.target), &report));
    result.and(distribution).and(written).and(page)
}
