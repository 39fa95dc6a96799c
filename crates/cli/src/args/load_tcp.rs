//! `fourwave load tcp`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use fourwave::Keepalive;

use super::parse::{parse_patience, parse_pause, parse_seconds, parse_warmup};
use super::{KernelWait, Stack, StackArgs, UsageError};
use crate::load::tcp::{Bulk, Connect, Direction, Exchange, Idle, Mode, Work};
use crate::load::{CloseBy, Config, Kind};
use crate::measure::Live;
use crate::stack;

const MESSAGE_BYTES: u32 = 64;
const KEEPALIVE: Duration = Duration::from_secs(60);
const MOST_BYTES: i64 = 1 << 30;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave load tcp 10.77.0.1:7 --interface fw-b0 --connections 64                       with `serve echo`\n  \
    fourwave load tcp 10.77.0.1:5000 --request-bytes 100 --response-bytes 20000            with `serve exchange`\n  \
    fourwave load tcp 10.77.0.1:9 --mode connect --close reset --connections 100           with `serve discard`\n  \
    fourwave load tcp 10.77.0.1:9 --mode bulk --seconds 10 --json                          with `serve discard`\n  \
    fourwave load tcp 10.77.0.1:19 --mode bulk --direction down --connections 4            with `serve chargen`\n  \
    fourwave load tcp 10.77.0.1:7 --mode bulk --direction both --bytes 1000000000          with `serve echo`\n  \
    fourwave load tcp 10.77.0.1:7 --mode idle --address 10.77.0.8/24 --connections 20000 --ramp-up 5 --think-ms 1000\n  \
    fourwave load tcp 127.0.0.1:7 --stack kernel --requests 100000\n\n\
    exchange: each connection sends a request, waits for the whole response and sends the next. connect: a connection is\n\
    opened and closed, and then another. bulk: the rate is of what the server has acknowledged, and of what came. idle: the\n\
    connections are opened, kept for the time that is given, and closed in order; those that are lost meanwhile are counted by\n\
    the reason. Ctrl-C ends any of them with the report so far.")]
pub(crate) struct LoadTcpArgs {
    /// The server, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(value_name = "ADDR:PORT")]
    target: SocketAddr,

    /// What is done with the connections
    #[arg(long, value_enum, default_value = "exchange")]
    mode: Mode,

    /// Connections, 1 to 1000000 [default: 16; bulk: 1; idle: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,

    /// exchange, and idle with --think-ms: bytes of a request, 1 to 1073741824 [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_BYTES))]
    request_bytes: Option<u32>,

    /// exchange, and idle with --think-ms: bytes of a response, 1 to 1073741824 [default: the request comes back, and is
    /// compared]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_BYTES))]
    response_bytes: Option<u32>,

    /// exchange: requests under way over each connection, 1 to 1000 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pipeline: Option<u32>,

    /// exchange: a connection for each request [default: they are kept]; connect, idle: who closes [default: client]
    #[arg(long, value_enum, value_name = "WHO")]
    close: Option<CloseBy>,

    /// idle: milliseconds from one request of a connection to its next, 1 to 3600000 [default: there are none]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    think_ms: Option<u64>,

    /// idle: ask a silent server whether it is there after so many seconds, 1 to 86400, and then as often, but each 75 s at
    /// least; nine questions without an answer end a connection [default: 60]
    #[arg(long, value_name = "S", value_parser = parse_patience)]
    keepalive: Option<Duration>,

    /// idle: open the connections evenly within so many seconds, 0 to 600 [default: as fast as the server takes them]
    #[arg(long, value_name = "S", value_parser = parse_pause)]
    ramp_up: Option<Duration>,

    /// bulk: which way the bytes go [default: up]
    #[arg(long, value_enum)]
    direction: Option<Direction>,

    /// bulk: stop after so many bytes each way, over all connections; each of them then ends in order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes: Option<u64>,

    /// bulk: compare what comes with what was sent, or with --direction down with what `serve chargen` sends
    #[arg(long)]
    verify: bool,

    /// exchange, connect: stop after so many responses, or connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,

    /// Stop after so many seconds, 0.001 to 86400; idle: counted from when all connections are there [default: 5 without
    /// --requests or --bytes]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,

    /// Seconds before measuring starts, 0 to 3600 [default: 0.5; bulk with --bytes: 0]
    #[arg(long, value_name = "S", value_parser = parse_warmup)]
    warmup: Option<Duration>,

    /// Seconds to wait for a connection, for a response, and with bulk for anything to move, 0.001 to 86400
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
        self.check_modes()?;
        let warmup = self.warmup()?;
        let (connections, bounded) = (self.connections(), self.requests.is_some() || self.bytes.is_some());
        let (work, close) = match self.mode {
            Mode::Exchange => (Work::Exchange(self.exchange()), self.close),
            Mode::Connect => (Work::Connect(Connect), self.close.or(Some(CloseBy::Client))),
            Mode::Bulk => (Work::Bulk(self.bulk()?), None),
            Mode::Idle => (Work::Idle(self.idle()), self.close),
        };
        let at = self.at.resolve()?;
        if at.stack == Stack::Raw {
            return Err(UsageError("--stack raw has no connections: `load` is for the others".into()));
        }
        let config = Config {
            target: self.target,
            kernel_wait: self.kernel_wait.unwrap_or(at.kernel_wait()),
            close,
            connections: connections as usize,
            pipeline: self.pipeline.unwrap_or(1) as usize,
            requests: self.requests,
            duration: self.seconds.or((!bounded).then_some(Duration::from_secs(5))),
            warmup,
            timeout: self.timeout_s,
            json: self.json,
            at,
        };
        Ok((config, Kind::Tcp(work)))
    }

    /// A flag of another mode would be without effect.
    fn check_modes(&self) -> Result<(), UsageError> {
        use Mode::{Bulk, Connect, Exchange, Idle};
        let given: [(&str, bool, &[Mode]); 12] = [
            ("--request-bytes", self.request_bytes.is_some(), &[Exchange, Idle]),
            ("--response-bytes", self.response_bytes.is_some(), &[Exchange, Idle]),
            ("--pipeline", self.pipeline.is_some(), &[Exchange]),
            ("--close", self.close.is_some(), &[Exchange, Connect, Idle]),
            ("--think-ms", self.think_ms.is_some(), &[Idle]),
            ("--keepalive", self.keepalive.is_some(), &[Idle]),
            ("--ramp-up", self.ramp_up.is_some(), &[Idle]),
            ("--direction", self.direction.is_some(), &[Bulk]),
            ("--bytes", self.bytes.is_some(), &[Bulk]),
            ("--verify", self.verify, &[Bulk]),
            ("--requests", self.requests.is_some(), &[Exchange, Connect]),
            ("--warmup", self.warmup.is_some(), &[Exchange, Connect, Bulk]),
        ];
        if let Some((flag, _, modes)) = given.iter().find(|(_, given, modes)| *given && !modes.contains(&self.mode)) {
            let modes = modes.iter().map(|mode| format!("--mode {}", mode.name())).collect::<Vec<_>>().join(", ");
            return Err(UsageError(format!("{flag} is for {modes}")));
        }
        if self.close.is_some() && self.pipeline.is_some_and(|n| n > 1) {
            return Err(UsageError("--pipeline is for connections that are kept: leave --close away".into()));
        }
        let messages = self.request_bytes.is_some() || self.response_bytes.is_some();
        if self.mode == Idle && messages && self.think_ms.is_none() {
            return Err(UsageError("idle connections say nothing without --think-ms".into()));
        }
        if self.mode == Idle && self.close == Some(CloseBy::Server) {
            return Err(UsageError("idle connections are closed from here: --close is client or reset".into()));
        }
        Ok(())
    }

    fn live(&self) -> Live {
        match (self.live, std::io::stderr().is_terminal()) {
            (true, _) => Live::Lines,
            (false, true) => Live::InPlace,
            (false, false) => Live::Off,
        }
    }

    fn connections(&self) -> u32 {
        self.connections.unwrap_or(match self.mode {
            Mode::Exchange | Mode::Connect => 16,
            Mode::Bulk => 1,
            Mode::Idle => 1000,
        })
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

    fn exchange(&self) -> Exchange {
        Exchange::new(self.request_bytes.unwrap_or(MESSAGE_BYTES), self.response_bytes)
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

    fn idle(&self) -> Idle {
        let default = Keepalive::default();
        let silence = stack::duration(self.keepalive.unwrap_or(KEEPALIVE));
        Idle {
            keepalive: Keepalive { idle: silence, interval: silence.min(default.interval), ..default },
            think: self.think_ms.map(Duration::from_millis),
            exchange: self.exchange(),
            ramp_up: self.ramp_up.unwrap_or_default(),
            live: self.live(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::args::{Cli, Command};
    use crate::load::tcp::Work;
    use crate::load::{CloseBy, Kind};
    use clap::Parser;

    fn resolved(flags: &str) -> Result<(crate::load::Config, Work), String> {
        let line = format!("fourwave load tcp 10.77.0.1:7 --stack kernel {flags}");
        match Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?.command {
            Command::Load(args) => match args.resolve().map_err(|error| error.to_string())? {
                (config, Kind::Tcp(work)) => Ok((config, work)),
                (_, other) => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn modes_have_their_defaults() {
        let (config, work) = resolved("").unwrap();
        assert!(matches!(work, Work::Exchange(_)) && config.connections == 16 && config.close.is_none());
        assert_eq!(config.duration.unwrap().as_secs(), 5);
        let (config, work) = resolved("--mode connect --requests 9").unwrap();
        assert!(matches!(work, Work::Connect(_)));
        assert_eq!((config.close, config.duration, config.requests), (Some(CloseBy::Client), None, Some(9)));
        let (config, work) = resolved("--mode bulk --bytes 1000").unwrap();
        assert!(matches!(work, Work::Bulk(bulk) if bulk.bytes == Some(1000) && !bulk.verify));
        assert!(config.connections == 1 && config.warmup.is_zero() && config.duration.is_none());
        let (config, work) = resolved("--mode idle --connections 1000000 --keepalive 100").unwrap();
        assert_eq!(config.connections, 1_000_000);
        let Work::Idle(idle) = work else { panic!("{work:?}") };
        assert_eq!(idle.keepalive.interval, fourwave::Duration::from_secs(75));
    }

    #[test]
    fn flags_of_another_mode_are_refused_by_their_name() {
        for (flags, says) in [
            ("--direction up", "--direction is for --mode bulk"),
            ("--mode bulk --requests 5", "--requests is for --mode exchange, --mode connect"),
            ("--mode connect --request-bytes 5", "--request-bytes is for --mode exchange, --mode idle"),
            ("--mode idle --warmup 1", "--warmup is for"),
            ("--mode idle --request-bytes 5", "without --think-ms"),
            ("--mode idle --close server", "client or reset"),
            ("--close client --pipeline 2", "leave --close away"),
            ("--mode bulk --verify", "nothing does"),
            ("--mode bulk --bytes 3 --connections 4", "one for each"),
            ("--mode bulk --bytes 3 --warmup 1", "leave --warmup away"),
            ("--mode nothing", "exchange"),
            ("--connections 1000001", "1..=1000000"),
        ] {
            let said = resolved(flags).map(|_| ()).unwrap_err();
            assert!(said.contains(says), "{flags}: {said}");
        }
    }
}
