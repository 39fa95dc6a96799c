//! `fourwave ping`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::parse::parse_seconds;
use super::{KernelWait, Stack, StackArgs, UsageError};
use crate::ping;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0 --idle busy --cores 1 --count 1000000 --json\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0 --address 10.77.0.8/24 --connections 16\n  \
    fourwave ping 127.0.0.1:9000 --stack kernel --kernel-wait spin\n\n\
    Each connection sends a message, waits for the whole of it to come back, compares it and sends the next (closed\n\
    loop). The far end is an echo server: `fourwave serve echo`. Ctrl-C ends it with the report so far.")]
pub(crate) struct PingArgs {
    /// The echo server, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(value_name = "ADDR:PORT")]
    target: SocketAddr,

    /// How to wait with --stack kernel [default: epoll; with --idle busy: spin]
    #[arg(long, value_enum)]
    kernel_wait: Option<KernelWait>,

    /// Bytes per message
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    bytes: u32,

    /// Stop after so many measured round trips
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after so many seconds [default: 5 without --count]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,

    /// Connections, each with one message under way
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,

    /// Round trips before measuring starts
    #[arg(long, value_name = "N", default_value_t = 100)]
    warmup: u64,

    /// Milliseconds from one message of a connection to its next [default: at once]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    interval_ms: Option<u64>,

    /// Seconds to wait for a connection or an answer
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    timeout_s: Duration,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: StackArgs,
}

impl PingArgs {
    pub(crate) fn resolve(self) -> Result<ping::Config, UsageError> {
        let at = self.at.resolve()?;
        if self.target.port() == 0 {
            return Err(UsageError("port 0 can't be connected to".into()));
        }
        if at.stack == Stack::Raw && self.connections != 1 {
            let message = "--stack raw has no connections: leave --connections at 1";
            return Err(UsageError(message.into()));
        }
        let default_seconds = self.count.is_none().then_some(Duration::from_secs(5));
        Ok(ping::Config {
            target: self.target,
            kernel_wait: self.kernel_wait.unwrap_or(at.kernel_wait()),
            message_bytes: self.bytes as usize,
            count: self.count,
            duration: self.seconds.or(default_seconds),
            connections: self.connections as usize,
            warmup: self.warmup,
            interval: self.interval_ms.map(Duration::from_millis),
            timeout: self.timeout_s,
            json: self.json,
            at,
        })
    }
}
