//! `fourwave load tcp`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::parse::{parse_seconds, parse_warmup};
use super::{KernelWait, Stack, StackArgs, UsageError};
use crate::load::tcp::{Bulk, Direction, Mode, Work};
use crate::load::{Config, Kind, Pace};
use crate::measure::{Files, Live};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave load tcp 10.77.0.1:9 --mode bulk --interface fw-b0                      against `serve discard`\n  \
    fourwave load tcp 10.77.0.1:19 --mode bulk --direction down --connections 4      against `serve chargen`\n  \
    fourwave load tcp 10.77.0.1:7 --mode bulk --direction both --bytes 1000000000    against `serve echo`\n  \
    fourwave load tcp 127.0.0.1:9 --mode bulk --stack kernel --seconds 10 --json\n\n\
    What is reported is what the server has acknowledged, and what came. Ctrl-C ends it with the report so far.")]
pub(crate) struct LoadTcpArgs {
    /// The server, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(value_name = "ADDR:PORT")]
    target: SocketAddr,

    /// What is done with the connections
    #[arg(long, value_enum, default_value = "bulk")]
    mode: Mode,

    /// Connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,

    /// bulk: which way the bytes go [default: up]
    #[arg(long, value_enum)]
    direction: Option<Direction>,

    /// bulk: stop after so many bytes each way, over all connections; each of them then ends in order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes: Option<u64>,

    /// bulk: compare what comes with what was sent, or with --direction down with what `serve chargen` sends
    #[arg(long)]
    verify: bool,

    /// Stop after so many seconds, 0.001 to 86400 [default: 5 without --bytes]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,

    /// Seconds before measuring starts, 0 to 3600 [default: 0.5; 0 with --bytes]
    #[arg(long, value_name = "S", value_parser = parse_warmup)]
    warmup: Option<Duration>,

    /// Seconds to wait for a connection, and for anything to move over it, 0.001 to 86400
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    timeout_s: Duration,

    /// How to wait with --stack kernel [default: epoll; with --idle busy: spin]
    #[arg(long, value_enum)]
    kernel_wait: Option<KernelWait>,

    /// A line every second on stderr; without it, one that is rewritten, and only on a terminal
    #[arg(long)]
    live: bool,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: StackArgs,
}

impl LoadTcpArgs {
    pub(super) fn resolve(self) -> Result<(Config, Kind), UsageError> {
        if self.target.port() == 0 {
            return Err(UsageError("port 0 can't be connected to".into()));
        }
        let (connections, warmup, duration) = (self.connections(), self.warmup()?, self.duration());
        let work = match self.mode {
            Mode::Bulk => Work::Bulk(self.bulk()?),
        };
        let live = self.live();
        let at = self.at.resolve()?;
        if at.stack == Stack::Raw {
            return Err(UsageError("--stack raw has no connections: `load` is for the others".into()));
        }
        let config = Config {
            target: self.target,
            kernel_wait: self.kernel_wait.unwrap_or(at.kernel_wait()),
            close: None,
            connections: connections as usize,
            pace: Pace::Closed { think: None },
            pipeline: 1,
            sources: Vec::new(),
            ports: None,
            ramp_up: Duration::ZERO,
            ramp_down: Duration::ZERO,
            requests: None,
            duration,
            warmup,
            timeout: self.timeout_s,
            files: Files::default(),
            live,
            json: self.json,
            at,
        };
        Ok((config, Kind::Tcp(work)))
    }

    fn live(&self) -> Live {
        match (self.live, std::io::stderr().is_terminal()) {
            (true, _) => Live::Lines,
            (false, true) => Live::InPlace,
            (false, false) => Live::Off,
        }
    }

    fn connections(&self) -> u32 {
        self.connections.unwrap_or(1)
    }

    /// Bytes that are counted are counted from the first one on.
    fn warmup(&self) -> Result<Duration, UsageError> {
        match (self.warmup, self.bytes) {
            (Some(warmup), Some(_)) if !warmup.is_zero() => {
                Err(UsageError("--bytes counts from the first byte on: leave --warmup away".into()))
            }
            (_, Some(_)) => Ok(Duration::ZERO),
            (warmup, None) => Ok(warmup.unwrap_or(Duration::from_millis(500))),
        }
    }

    fn duration(&self) -> Option<Duration> {
        self.seconds.or(self.bytes.is_none().then_some(Duration::from_secs(5)))
    }

    fn bulk(&self) -> Result<Bulk, UsageError> {
        let direction = self.direction.unwrap_or(Direction::Up);
        if self.verify && direction == Direction::Up {
            return Err(UsageError("--verify compares what comes: with --direction up nothing does".into()));
        }
        if self.bytes.is_some_and(|bytes| bytes < self.connections().into()) {
            return Err(UsageError("--bytes is for all connections together: give one for each at least".into()));
        }
        Ok(Bulk { direction, bytes: self.bytes, verify: self.verify, live: self.live() })
    }
}
