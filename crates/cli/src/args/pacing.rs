//! When `load` sends, for how long, and what it writes: the same for whatever it sends.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::output::OutputArgs;
use super::parse::{AddressList, parse_addresses, parse_ports, parse_ramp, parse_seconds, parse_warmup};
use super::workload::parse_rate;
use super::{KernelWait, Stack, StackArgs, UsageError};
use crate::load::{CloseBy, Config, Pace};
use crate::measure::{Gaps, Rate};

/// How far arrivals are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Arrivals {
    /// Always as far
    Constant,
    /// As if each came from somebody who knows nothing of the others: exponentially distributed
    Poisson,
}

#[derive(Debug, Args)]
pub(super) struct PacingArgs {
    /// Connections, all the time; with --close at the most, 1 to 10000000 [default: 16; of --mode bulk 1, of --mode idle 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) connections: Option<u32>,

    /// Requests per second over all connections, sent when they are due (open loop): N, or FROM..TO for a rate that changes
    /// evenly over --seconds; 1 to 10000000
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(super) rate: Option<Rate>,

    /// How far requests of an open loop are apart [default: constant]
    #[arg(long, value_enum, value_name = "GAPS", requires = "rate")]
    arrivals: Option<Arrivals>,

    /// Of poisson arrivals: the same for the same number [default: 1]
    #[arg(long, value_name = "N", requires = "arrivals")]
    seed: Option<u64>,

    /// Milliseconds from a response to the next request over its connection, 1 to 3600000 (closed loop) [default: at once]
    #[arg(long, value_name = "MS", conflicts_with = "rate", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(super) think_ms: Option<u64>,

    /// Seconds over which connections are opened, evenly, before the warm-up, 0 to 3600
    #[arg(long, value_name = "S", value_parser = parse_ramp, default_value = "0")]
    pub(super) ramp_up: Duration,

    /// Seconds over which connections are closed, evenly, once nothing more is measured, 0 to 3600
    #[arg(long, value_name = "S", value_parser = parse_ramp, default_value = "0")]
    pub(super) ramp_down: Duration,

    /// Addresses to connect from in turn, such as 10.77.0.8,10.77.0.20-10.77.0.40, up to 1024: with --address more of the
    /// stack's own in its network, else the interface's, or the kernel's [default: one]
    #[arg(long, value_name = "LIST", value_parser = parse_addresses)]
    source: Option<AddressList>,

    /// Ports to connect from, 1 to 65535 [default: 61000-65535; with --address 1024-65535]
    #[arg(long, value_name = "FROM-TO", value_parser = parse_ports)]
    ports: Option<RangeInclusive<u16>>,

    /// Stop after so many requests that were answered, or failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) requests: Option<u64>,

    /// Stop after so many seconds [default: 5 without --requests]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub(super) seconds: Option<Duration>,

    /// Seconds before measuring starts, 0 to 3600 [default: 0.5; with --mode bulk --bytes 0]
    #[arg(long, value_name = "S", value_parser = parse_warmup)]
    pub(super) warmup: Option<Duration>,

    /// Seconds to wait for a connection or a response
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    timeout_s: Duration,

    /// How to wait with --stack kernel [default: epoll; with --idle busy: spin]
    #[arg(long, value_enum)]
    kernel_wait: Option<KernelWait>,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    #[command(flatten)]
    at: StackArgs,
}

impl PacingArgs {
    /// For a target, with so many requests under way on each connection.
    pub(super) fn resolve(
        self,
        target: SocketAddr,
        close: Option<CloseBy>,
        pipeline: usize,
    ) -> Result<Config, UsageError> {
        let (files, live) = (self.output.files()?, self.output.live());
        let at = self.at.resolve()?;
        if at.stack == Stack::Raw {
            return Err(UsageError("--stack raw has no connections: `load` is for the others".into()));
        }
        if self.ports.is_some() && at.stack == Stack::Kernel {
            let message = "--ports is for the stack's own: with --stack kernel they are net.ipv4.ip_local_port_range's";
            return Err(UsageError(message.into()));
        }
        let sources = self.source.map_or_else(Vec::new, |list| list.0);
        if let Some(other) = sources.iter().find(|ip| ip.is_ipv4() != target.is_ipv4()) {
            return Err(UsageError(format!("--source {other} can't reach {target}: they are of two IP versions")));
        }
        if close.is_some() && pipeline > 1 {
            return Err(UsageError("--pipeline is for connections that are kept: leave --close away".into()));
        }
        if self.think_ms.is_some() && pipeline > 1 {
            return Err(UsageError("with --think-ms a request waits for the one before: leave --pipeline at 1".into()));
        }
        let default_seconds = self.requests.is_none().then_some(Duration::from_secs(5));
        let duration = self.seconds.or(default_seconds);
        if matches!(self.rate, Some(Rate::Ramp { .. })) && duration.is_none() {
            return Err(UsageError("--rate FROM..TO changes over the time that is measured: give --seconds".into()));
        }
        let gaps = match self.arrivals {
            Some(Arrivals::Poisson) => Gaps::Poisson { seed: self.seed.unwrap_or(1) },
            _ if self.seed.is_some() => {
                return Err(UsageError("--seed is for --arrivals poisson: even gaps have no chance in them".into()));
            }
            _ => Gaps::Constant,
        };
        let think = self.think_ms.map(Duration::from_millis);
        Ok(Config {
            target,
            kernel_wait: self.kernel_wait.unwrap_or(at.kernel_wait()),
            close,
            connections: self.connections.unwrap_or(16) as usize,
            pace: self.rate.map_or(Pace::Closed { think }, |rate| Pace::Open { rate, gaps }),
            pipeline,
            sources,
            ports: self.ports,
            ramp_up: self.ramp_up,
            ramp_down: self.ramp_down,
            requests: self.requests,
            duration,
            warmup: self.warmup.unwrap_or(Duration::from_millis(500)),
            timeout: self.timeout_s,
            files,
            live,
            json: self.output.json,
            at,
        })
    }
}
