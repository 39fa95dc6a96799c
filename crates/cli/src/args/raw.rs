//! `fourwave internal raw`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::parse::parse_seconds;
use super::{StackArgs, UsageError};
use crate::internal::raw::{self, Role};

#[derive(Debug, Args)]
pub(crate) struct RawArgs {
    /// Send frames there: to a `serve echo --stack raw`; with --one-way to a --listen
    #[arg(long, value_name = "ADDR:PORT", required_unless_present = "listen", conflicts_with = "listen")]
    target: Option<SocketAddr>,

    /// Take frames in that come one way, until the end is asked for
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Full frames, as the MTU allows, that are not sent back
    #[arg(long)]
    one_way: bool,

    /// Frames under way, 1 to 1024
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    window: u32,

    /// Bytes of a message that a TCP segment of this length would carry; without --one-way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1400))]
    bytes: u32,

    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_seconds)]
    seconds: Duration,

    /// Seconds before that
    #[arg(long, value_name = "S", default_value = "0.3", value_parser = parse_seconds)]
    warmup_s: Duration,

    #[command(flatten)]
    at: StackArgs,
}

impl RawArgs {
    pub(crate) fn resolve(self) -> Result<raw::Config, UsageError> {
        let role = match (self.target, self.listen) {
            (Some(target), _) if self.one_way => Role::Send(target),
            (Some(target), _) => Role::Ask(target),
            (None, Some(listen)) => Role::Receive(listen),
            (None, None) => return Err(UsageError("--target or --listen".into())),
        };
        Ok(raw::Config {
            role,
            window: self.window,
            bytes: self.bytes as usize,
            seconds: self.seconds,
            warmup: self.warmup_s,
            at: self.at.resolve()?,
        })
    }
}
