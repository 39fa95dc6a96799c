//! `fourwave internal through`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::parse::parse_seconds;
use super::{StackArgs, UsageError};
use crate::internal::through;

#[derive(Debug, Args)]
pub(crate) struct ThroughArgs {
    /// Where the requests go: a proxy, or a backend
    #[arg(long, value_name = "ADDR:PORT")]
    target: Option<SocketAddr>,

    /// Be a backend here; without --target until the end is asked for
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Connections at a time, each with one request under way
    #[arg(long, default_value_t = 1)]
    connections: u32,

    /// A new connection for each request
    #[arg(long)]
    one_each: bool,

    /// Bytes of a request, and of a response
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1400))]
    bytes: u32,

    /// Seconds that are measured
    #[arg(long, default_value = "2", value_parser = parse_seconds)]
    seconds: Duration,

    /// Seconds before that
    #[arg(long, default_value = "0.3", value_parser = parse_seconds)]
    warmup_s: Duration,

    #[command(flatten)]
    at: StackArgs,
}

impl ThroughArgs {
    pub(crate) fn resolve(self) -> Result<through::Config, UsageError> {
        let near = self.target.or(self.listen);
        let near = near.ok_or_else(|| UsageError("--target, --listen, or both".into()))?.ip();
        Ok(through::Config {
            near,
            target: self.target,
            listen: self.listen,
            connections: self.connections,
            one_each: self.one_each,
            bytes: self.bytes as usize,
            seconds: self.seconds,
            warmup: self.warmup_s,
            at: self.at.resolve()?,
        })
    }
}
