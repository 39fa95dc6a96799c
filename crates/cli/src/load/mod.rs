//! `fourwave load`: load for servers, over this stack or over the kernel's sockets.

mod client;
mod engine;
pub(crate) mod http;
mod pace;
mod protocol;
mod report;
mod tally;
pub(crate) mod tcp;

use std::fmt::Display;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use fourwave::{ConnId, ConnectError, Io, Stack};
use serde::Serialize;

use crate::args::{KernelWait, LimitArgs, StackConfig};

use crate::measure::{self, Files, Live, Observer, Run};
use crate::report::write_page;
use crate::stop::Stop;
use crate::{out, stack};
use http::Http;
pub(crate) use pace::Pace;
use protocol::Protocol;
use report::Report;
use tcp::{COMMAND as TCP, Work};

/// More connections need more room than a stack has by default.
const MANY: usize = 1 << 16;
/// For the data of each, sent and received.
const POOL_BYTES: usize = 4096;

/// Who closes a connection that is there for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CloseBy {
    /// The client, once the response is there: TIME-WAIT is here
    Client,
    /// The server, once its response is there: TIME-WAIT is there
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
    /// Addresses to connect from, in turn; none: the stack's first. And the ports.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) ports: Option<RangeInclusive<u16>>,
    /// Over which connections are opened before the warm-up, and closed behind the end; evenly.
    pub(crate) ramp_up: Duration,
    pub(crate) ramp_down: Duration,
    /// Ends after so many requests that were answered or failed, or after the duration, whichever comes first. One of them is
    /// given.
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
    Tcp(Work),
}

/// Loads, and prints the report; also after Ctrl-C, and also if it came to nothing on the way.
pub(crate) fn run((config, kind): &(Config, Kind), stop: &Stop) -> anyhow::Result<()> {
    match kind {
        Kind::Http(http) => ask(config, http, ("load http", "http"), stop),
        Kind::Tcp(Work::Exchange(exchange)) => ask(config, exchange, (TCP, exchange.server()), stop),
        Kind::Tcp(Work::Connect(connect)) => ask(config, connect, (TCP, connect.server(config.close)), stop),
        Kind::Tcp(Work::Bulk(bulk)) => tcp::bulk(config, *bulk, stop),
        Kind::Tcp(Work::Idle(idle)) => tcp::idle(config, idle, stop),
    }
}

/// Begins a connection from the next address that has a port for it, of those that there are to be. `source` counts how often
/// one was taken.
fn connect(config: &Config, source: &mut usize, io: &mut Io<'_>) -> Result<ConnId, ConnectError> {
    let Config { target, sources, .. } = config;
    if sources.is_empty() {
        return io.connect(*target);
    }
    for _ in 0..2 * sources.len() {
        let (turn, count) = (*source, sources.len());
        *source += 1;
        // Ports are taken in turn as well: each round of addresses begins one later, so that any of them meets any port.
        match io.connect_from(sources[(turn + turn / count) % count], *target) {
            Err(ConnectError::NoPort) => {}
            begun => return begun,
        }
    }
    Err(ConnectError::NoPort)
}

/// The stack that the connections are opened on.
fn builder(config: &Config) -> anyhow::Result<Stack> {
    // Those that end have not left when others take their places; a shard may have all.
    let room = u32::try_from(config.connections + config.connections / 4).ok().filter(|_| config.connections > MANY);
    let limits = room.map_or(config.at.limits, |room| limits(config.at.limits, config.connections, room));
    let stack = stack::of_choice(&StackConfig { limits, ..config.at.clone() }, config.target.ip(), config.kernel_wait)?;
    let stack =
        room.into_iter().fold(stack, |stack, room| stack.max_timers(room.max(limits.max_connections.unwrap_or(0))));
    // On an address of the stack's own nobody else has any port.
    let stack = match (&config.ports, config.at.address) {
        (Some(ports), _) => stack.ports(ports.clone()),
        (None, Some(_)) => stack.ports(1024..=u16::MAX),
        (None, None) => stack.active_opens(),
    };
    Ok(match config.at.address {
        Some(own) => stack.more_addresses(config.sources.iter().copied().filter(|ip| *ip != own.address)),
        None => stack,
    })
}

/// What was asked for, else what so many connections need where there is `room` for so many.
fn limits(asked: LimitArgs, connections: usize, room: u32) -> LimitArgs {
    let pool_bytes = connections.saturating_mul(POOL_BYTES) as u64;
    asked.or(LimitArgs { max_connections: Some(room), pool_bytes: Some(pool_bytes), ..LimitArgs::default() })
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
    let mut run =
        if matches!(config.pace, Pace::Open { .. }) { Run::begin_by_tsc(command) } else { Run::begin(command) };
    let observer = Observer::start(&run, title, vec![String::new()], &config.files, config.live)?;
    let (tally, result) = engine::run(config, protocol, server, (&mut run, &observer), stop)?;
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
    report.warn(&tally, config.close, run.complaints());
    let told = tell(config, command, page, &report);
    let good = if stop.requested() { Ok(()) } else { tally.verdict(config.target) };
    measure::all([result, distribution, written, told, good])
}

/// Prints a report, and writes its page if there is to be one: into a file that was opened before it all began.
fn tell<R: Display + Serialize>(config: &Config, command: &str, page: Option<File>, report: &R) -> anyhow::Result<()> {
    let told = if config.json {
        out::json(report)
    } else {
        out::result(&report.to_string());
        Ok(())
    };
    let shown = page.map_or(Ok(()), |to| write_page(to, &format!("{command} {}", config.target), report));
    measure::all([told, shown])
}

#[cfg(test)]
mod tests {
    use super::{LimitArgs, limits};

    /// Flags win over what is made of the number of connections.
    #[test]
    fn many_connections_have_room_unless_told_otherwise() {
        let derived =
            LimitArgs { max_connections: Some(125_000), pool_bytes: Some(409_600_000), ..LimitArgs::default() };
        assert_eq!(limits(LimitArgs::default(), 100_000, 125_000), derived);
        let asked = LimitArgs { max_connections: Some(5000), frames: Some(256), ..LimitArgs::default() };
        assert_eq!(limits(asked, 100_000, 125_000), LimitArgs { pool_bytes: Some(409_600_000), ..asked });
    }
}
