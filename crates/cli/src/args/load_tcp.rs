//! `fourwave load tcp`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use fourwave::Keepalive;

use super::UsageError;
use super::pacing::PacingArgs;
use super::parse::{parse_patience, parse_socket};
use super::stack::with_connections;
use crate::load::tcp::{Bulk, Churn, Connect, Direction, Exchange, Idle, Mode, Work};
use crate::load::{CloseBy, Config, Kind};
use crate::stack;

const MESSAGE_BYTES: u32 = 64;
const KEEPALIVE: Duration = Duration::from_secs(60);
const MOST_BYTES: i64 = 1 << 30;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave load tcp 10.77.0.1:7 --interface fw-b0 --connections 64                       with `serve echo`\n  \
    fourwave load tcp 10.77.0.1:5000 --request-bytes 100 --response-bytes 20000            with `serve exchange` and the same\n  \
    fourwave load tcp 10.77.0.1:9 --mode connect --close reset --connections 100           with `serve discard`\n  \
    fourwave load tcp 10.77.0.1:9 --mode bulk --seconds 10 --json                          with `serve discard`\n  \
    fourwave load tcp 10.77.0.1:19 --mode bulk --direction down --connections 4            with `serve chargen`\n  \
    fourwave load tcp 10.77.0.1:7 --mode bulk --direction both --bytes 1000000000          with `serve echo`\n  \
    fourwave load tcp 10.77.0.1:7 --mode idle --address 10.77.0.8/24 --connections 20000 --ramp-up 5 --think-ms 1000\n  \
    fourwave load tcp 10.77.0.1:7 --mode idle --connections 1000 --probe-ms 10 --churn 10000 --json > idle.json\n  \
    fourwave load tcp 127.0.0.1:7 --stack kernel --requests 100000\n\n\
    exchange: each connection sends a request, waits for the whole response and sends the next. connect: a connection is\n\
    opened and closed, and then another. bulk: the rate is of what the server has acknowledged, and of what came. idle: the\n\
    connections are opened, kept for the time that is given, and closed in order, with --think-ms each sends a request so\n\
    often; those that are lost are counted by the reason; with --churn others come and go beside them first, and --probe-ms\n\
    says how long a request takes meanwhile. Ctrl-C ends any of them with the report so far.")]
#[command(mut_arg("stack", with_connections))]
pub(crate) struct LoadTcpArgs {
    /// The server, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(value_name = "ADDR:PORT", value_parser = parse_socket)]
    target: SocketAddr,

    /// What is done with the connections
    #[arg(long, value_enum, default_value = "exchange")]
    mode: Mode,

    /// exchange, and idle where it asks: bytes of a request, 1 to 1073741824 [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_BYTES))]
    request_bytes: Option<u32>,

    /// exchange, and idle where it asks: bytes of a response, 1 to 1073741824 [default: the request comes back, and is
    /// compared]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_BYTES))]
    response_bytes: Option<u32>,

    /// exchange: requests under way over each connection, 1 to 1000 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pipeline: Option<u32>,

    /// exchange: a connection for each request [default: they are kept]; connect, idle: who closes [default: client]. A server
    /// does so by itself: `serve exchange --close`, for connect `serve exchange --request-bytes 0`
    #[arg(long, value_enum, value_name = "WHO")]
    close: Option<CloseBy>,

    /// idle: ask a silent server whether it is there after so many seconds, 1 to 86400, and then as often, but each 75 s at
    /// least; nine questions without an answer end a connection [default: 60]
    #[arg(long, value_name = "S", value_parser = parse_patience)]
    keepalive: Option<Duration>,

    /// idle: one connection more asks every so many milliseconds, from the first SYN to the last FIN, 1 to 60000: how long a
    /// user waits meanwhile
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    probe_ms: Option<u64>,

    /// idle: once all are there, so many connections more are opened, ask once, and are closed; the time counts behind them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    churn: Option<u64>,

    /// idle: so many of them a second, 1 to 10000000 [default: as many as the server takes]
    #[arg(long, value_name = "N", requires = "churn", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    churn_rate: Option<u32>,

    /// idle: the server's process, if it is on this machine: its memory is reported as well
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    server_pid: Option<u32>,

    /// bulk: which way the bytes go [default: up]
    #[arg(long, value_enum)]
    direction: Option<Direction>,

    /// bulk: stop after so many bytes each way, over all connections; each of them then ends in order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes: Option<u64>,

    /// bulk: compare what comes with what was sent, or with --direction down with what `serve chargen` sends
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    pacing: PacingArgs,
}

impl LoadTcpArgs {
    pub(super) fn resolve(self) -> Result<(Config, Kind), UsageError> {
        if self.target.port() == 0 {
            return Err(UsageError("port 0 can't be connected to".into()));
        }
        self.check_modes()?;
        let (work, close, connections) = match self.mode {
            Mode::Exchange => (Work::Exchange(self.exchange()), self.close, 16),
            Mode::Connect => (Work::Connect(Connect), self.close.or(Some(CloseBy::Client)), 16),
            Mode::Bulk => (Work::Bulk(self.bulk()?), None, 1),
            Mode::Idle => (Work::Idle(self.idle()), self.close, 1000),
        };
        let bytes_alone = self.bytes.is_some() && self.pacing.seconds.is_none();
        let mut pacing = self.pacing;
        pacing.connections.get_or_insert(connections);
        if self.bytes.is_some() {
            // They are counted from the first one on.
            pacing.warmup.get_or_insert(Duration::ZERO);
        }
        let mut config = pacing.resolve(self.target, close, self.pipeline.unwrap_or(1) as usize)?;
        if bytes_alone {
            config.duration = None;
        }
        Ok((config, Kind::Tcp(work)))
    }

    /// A flag of another mode would be without effect.
    fn check_modes(&self) -> Result<(), UsageError> {
        use Mode::{Bulk, Connect, Exchange, Idle};
        let PacingArgs { rate, think_ms, ramp_up, ramp_down, requests, warmup, output, .. } = &self.pacing;
        let asks: &[Mode] = &[Exchange, Connect];
        let given = [
            ("--request-bytes", self.request_bytes.is_some(), &[Exchange, Idle][..]),
            ("--response-bytes", self.response_bytes.is_some(), &[Exchange, Idle]),
            ("--pipeline", self.pipeline.is_some(), &[Exchange]),
            ("--close", self.close.is_some(), &[Exchange, Connect, Idle]),
            ("--keepalive", self.keepalive.is_some(), &[Idle]),
            ("--probe-ms", self.probe_ms.is_some(), &[Idle]),
            ("--churn", self.churn.is_some(), &[Idle]),
            ("--server-pid", self.server_pid.is_some(), &[Idle]),
            ("--direction", self.direction.is_some(), &[Bulk]),
            ("--bytes", self.bytes.is_some(), &[Bulk]),
            ("--verify", self.verify, &[Bulk]),
            ("--rate", rate.is_some(), asks),
            ("--think-ms", think_ms.is_some(), &[Exchange, Connect, Idle]),
            ("--ramp-up", !ramp_up.is_zero(), &[Exchange, Connect, Idle]),
            ("--ramp-down", !ramp_down.is_zero(), &[Exchange, Connect, Idle]),
            ("--requests", requests.is_some(), asks),
            ("--warmup", warmup.is_some(), &[Exchange, Connect, Bulk]),
            ("--hgrm", output.hgrm.is_some(), asks),
            ("--hlog", output.hlog.is_some(), asks),
            ("--csv", output.csv.is_some(), asks),
        ];
        if let Some((flag, _, modes)) = given.iter().find(|(_, given, modes)| *given && !modes.contains(&self.mode)) {
            let modes = modes.iter().map(|mode| format!("--mode {}", mode.name())).collect::<Vec<_>>().join(", ");
            return Err(UsageError(format!("{flag} is for {modes}")));
        }
        let messages = self.request_bytes.is_some() || self.response_bytes.is_some();
        let says = think_ms.is_some() || self.probe_ms.is_some() || self.churn.is_some();
        if self.mode == Idle && messages && !says {
            return Err(UsageError("idle connections say nothing without --think-ms, --probe-ms or --churn".into()));
        }
        if self.mode == Idle && self.close == Some(CloseBy::Server) {
            return Err(UsageError("idle connections are closed from here: --close is client or reset".into()));
        }
        Ok(())
    }

    fn exchange(&self) -> Exchange {
        Exchange::new(self.request_bytes.unwrap_or(MESSAGE_BYTES), self.response_bytes)
    }

    fn bulk(&self) -> Result<Bulk, UsageError> {
        let direction = self.direction.unwrap_or(Direction::Up);
        if self.verify && direction == Direction::Up {
            return Err(UsageError("--verify compares what comes: with --direction up nothing does".into()));
        }
        if self.bytes.is_some() && self.pacing.warmup.is_some_and(|warmup| !warmup.is_zero()) {
            return Err(UsageError("--bytes counts from the first byte on: leave --warmup away".into()));
        }
        if self.bytes.is_some_and(|bytes| bytes < self.pacing.connections.unwrap_or(1).into()) {
            return Err(UsageError("--bytes is for all connections together: give one for each at least".into()));
        }
        Ok(Bulk { direction, bytes: self.bytes, verify: self.verify })
    }

    fn idle(&self) -> Idle {
        let default = Keepalive::default();
        let silence = stack::duration(self.keepalive.unwrap_or(KEEPALIVE));
        Idle {
            keepalive: Keepalive { idle: silence, interval: silence.min(default.interval), ..default },
            exchange: self.exchange(),
            probe: self.probe_ms.map(Duration::from_millis),
            churn: self.churn.map(|connections| Churn { connections, rate: self.churn_rate }),
            server_pid: self.server_pid,
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
        let stack = if flags.contains("--stack") { "" } else { "--stack kernel" };
        let line = format!("fourwave load tcp 10.77.0.1:7 {stack} {flags}");
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
            ("--mode connect --probe-ms 5", "--probe-ms is for --mode idle"),
            ("--churn 5", "--churn is for --mode idle"),
            ("--mode idle --churn-rate 5", "--churn"),
            ("--server-pid 5", "--server-pid is for --mode idle"),
            ("--mode idle --close server", "client or reset"),
            ("--close client --pipeline 2", "leave --close away"),
            ("--mode bulk --verify", "nothing does"),
            ("--mode bulk --bytes 3 --connections 4", "one for each"),
            ("--mode bulk --bytes 3 --warmup 1", "leave --warmup away"),
            ("--mode nothing", "exchange"),
            ("--stack raw", "--stack raw has no connections"),
            ("--connections 10000001", "1..=10000000"),
        ] {
            let said = resolved(flags).map(|_| ()).unwrap_err();
            assert!(said.contains(says), "{flags}: {said}");
        }
    }
}
