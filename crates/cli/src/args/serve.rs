//! `fourwave serve`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::parse::{parse_drain_time, parse_idle_time, parse_socket};
use super::{KernelWait, ListenArgs, Stack, StackArgs, UsageError};
use crate::serve::{self, ExchangeConfig, HttpConfig, Service};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave serve echo --listen 10.77.0.1:7 --interface fw-a0\n  \
    fourwave serve echo --listen 10.77.0.1:7 --interface fw-a0 --idle busy --cores 0\n  \
    fourwave serve echo --listen 10.77.0.1:7 --interface fw-a0 --queues 0-3 --cores 2-5      one core for each queue\n  \
    fourwave serve echo --listen 10.77.0.9:7 --interface fw-a0 --address 10.77.0.9/24        an address of its own\n  \
    fourwave serve echo --listen 10.77.0.1:7 --syn-cookies always --time-wait 1 --keepalive 60\n  \
    fourwave serve http --listen 10.77.0.1:80 --interface fw-a0 --syn-limit 100             of each /24, or /56 of IPv6\n  \
    fourwave serve http --listen 10.77.0.1:80 --interface fw-a0 --body-bytes 1024\n  \
    fourwave serve discard --listen 127.0.0.1:9000 --stack kernel\n  \
    fourwave serve exchange --listen 10.77.0.1:5000 --request-bytes 100 --response-bytes 20000\n  \
    fourwave serve echo --listen 10.77.0.50:7 --config stack.toml\n\n\
    Says `listening on ADDR:PORT` on stderr when it is ready. Ctrl-C ends it.")]
pub(crate) struct ServeArgs {
    /// echo sends back what comes, discard throws it away, chargen sends characters (RFC 862, 863, 864); http answers every
    /// request, whatever it asks for; sockperf answers sockperf's client; exchange answers so many bytes by so many
    #[arg(value_enum)]
    service: Service,

    /// Address and port to listen on, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_socket)]
    listen: SocketAddr,

    /// How to wait with --stack kernel [default: epoll; with --idle busy: spin]
    #[arg(long, value_enum)]
    kernel_wait: Option<KernelWait>,

    /// After SIGTERM, connections may go on so long: no new ones, and the end comes when the last one has ended, or then. 0 to
    /// 86400; a second signal ends it now
    #[arg(long, value_name = "SECONDS", value_parser = parse_drain_time, default_value = "0")]
    drain_time: Duration,

    /// http: bytes of every answer's body, 0 to 1073741824 [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    body_bytes: Option<u32>,

    /// http, exchange: close each connection behind its answer
    #[arg(long)]
    close: bool,

    /// exchange: bytes of a request, 0 to 1073741824 [default: 64]. With 0 nothing is waited for: each connection is answered
    /// once and closed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    request_bytes: Option<u32>,

    /// exchange: bytes of every answer, 0 to 1073741824 [default: as many as of a request]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    response_bytes: Option<u32>,

    /// http: close a connection over which nothing came or went for so long, 0.1 to 86400 [default: 75]
    #[arg(long, value_name = "SECONDS", value_parser = parse_idle_time)]
    idle_time: Option<Duration>,

    #[command(flatten)]
    at: StackArgs,

    #[command(flatten)]
    connections: ListenArgs,
}

impl ServeArgs {
    pub(crate) fn resolve(self) -> Result<serve::Config, UsageError> {
        let at = self.at.resolve_with(self.connections)?;
        if at.stack == Stack::Raw && self.service != Service::Echo {
            let message = "--stack raw has no connections: it can only `serve echo`";
            return Err(UsageError(message.into()));
        }
        if at.stack == Stack::Fourwave && self.listen.port() == 0 {
            return Err(UsageError("port 0 can't be listened on: choose one from 1 to 65535".into()));
        }
        if at.stack == Stack::Raw && !self.drain_time.is_zero() {
            return Err(UsageError("--stack raw has no connections: --drain-time is for the others".into()));
        }
        let of_http = [
            ("--body-bytes", self.body_bytes.is_some()),
            ("--close", self.close && self.service != Service::Exchange),
            ("--idle-time", self.idle_time.is_some()),
        ];
        let of_exchange =
            [("--request-bytes", self.request_bytes.is_some()), ("--response-bytes", self.response_bytes.is_some())];
        if let Some((flag, _)) = of_exchange.iter().find(|(_, given)| *given && self.service != Service::Exchange) {
            return Err(UsageError(format!("{flag} is for `serve exchange`")));
        }
        if let Some((flag, _)) = of_http.iter().find(|(_, given)| *given && self.service != Service::Http) {
            return Err(UsageError(format!("{flag} is for `serve http`")));
        }
        let http = HttpConfig {
            body_bytes: self.body_bytes.unwrap_or(64) as usize,
            close: self.close,
            idle_time: self.idle_time.unwrap_or(Duration::from_secs(75)),
        };
        let request_bytes = self.request_bytes.unwrap_or(64);
        let exchange = ExchangeConfig {
            request_bytes: request_bytes.into(),
            response_bytes: self.response_bytes.unwrap_or(request_bytes).into(),
            close: self.close || request_bytes == 0,
        };
        let kernel_wait = self.kernel_wait.unwrap_or(at.kernel_wait());
        let Self { service, listen, drain_time, .. } = self;
        Ok(serve::Config { service, listen, kernel_wait, drain_time, http, exchange, at })
    }
}
