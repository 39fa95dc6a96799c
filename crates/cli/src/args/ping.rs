//! `fourwave ping`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::output::OutputArgs;
use super::parse::{parse_seconds, parse_socket};
use super::workload::{RATES, Sweep, parse_sizes, parse_sweep};
use super::{KernelWait, Stack, StackArgs, UsageError};
use crate::ping::{self, Pace, Sizes, Step, Swept};

const DEFAULT_BYTES: u32 = 64;
/// Round trips that are not measured; at a rate no more than a second's.
const WARMUP: u64 = 100;
/// Messages under way on a connection of an open loop: more than it usually has, so that a stall does not close the loop.
const OPEN_PIPELINE: u32 = 65_536;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0 --idle busy --cores 1 --count 1000000 --json\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0 --address 10.77.0.8/24 --connections 16\n  \
    fourwave ping 10.77.0.1:7 --rate 20000 --connections 4 --idle busy --cores 1 --hgrm out.hgrm --hlog out.hlog\n  \
    fourwave ping 10.77.0.1:7 --sweep rate=10000..100000:10000 --seconds 2 --idle busy --report out.html\n  \
    fourwave ping 10.77.0.1:7 --connections 8 --pipeline 16 --bytes 64:0.9,1400:0.1\n  \
    fourwave ping 10.77.0.1:7 --stack raw --pipeline 64 --interface fw-b0 --cores 1          bare frames, the device's own rate\n  \
    fourwave ping 127.0.0.1:9000 --stack kernel --kernel-wait spin\n\n\
    In a closed loop, the default, each connection sends a message, waits for the whole of it to come back, compares it and\n\
    sends the next. While the server stalls it sends nothing: a stall is one sample, however long. With --rate the messages\n\
    go at constant intervals whatever comes back (open loop), and each one's time counts from when it should have been sent:\n\
    a stall is in the time of every message that was due within it. Messages that the generator itself sent late are\n\
    counted; at high rates give it a core of its own and --idle busy.\n\n\
    The far end is an echo server: `fourwave serve echo`. Ctrl-C ends it with the report so far, the files included.")]
pub(crate) struct PingArgs {
    /// The echo server, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(value_name = "ADDR:PORT", value_parser = parse_socket)]
    target: SocketAddr,

    /// How to wait with --stack kernel [default: epoll; with --idle busy: spin]
    #[arg(long, value_enum)]
    kernel_wait: Option<KernelWait>,

    /// Messages per second over all connections, at constant intervals (open loop), 1 to 10000000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(*RATES.start())..=i64::from(*RATES.end())))]
    rate: Option<u32>,

    /// Bytes per message, up to 1048576: 64, from 64 to 1024 (64-1024), or with shares (64:0.9,1400:0.1) [default: 64]
    #[arg(long, value_name = "SIZES", value_parser = parse_sizes)]
    bytes: Option<Sizes>,

    /// Which sizes are drawn from SIZES: the same for the same number
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Stop after so many measured round trips
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after so many seconds [default: 5 without --count]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,

    /// Messages under way on each connection at the most [default: 1; with --rate 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(OPEN_PIPELINE)))]
    pipeline: Option<u32>,

    /// Round trips before measuring starts [default: 100; with --rate no more than in a second]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,

    /// Milliseconds from one message of a connection to its next [default: at once]
    #[arg(long, value_name = "MS", conflicts_with_all = ["rate", "pipeline"], value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    interval_ms: Option<u64>,

    /// The same again for each value: rate=10000,20000, rate=FROM..TO:STEP, and so for size; a table at the end
    #[arg(long, value_name = "WHAT=VALUES", conflicts_with_all = ["hgrm", "hlog", "csv"], value_parser = parse_sweep)]
    sweep: Option<Sweep>,

    /// Seconds to wait for a connection or an answer
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    timeout_s: Duration,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    at: StackArgs,
}

impl PingArgs {
    pub(crate) fn resolve(self) -> Result<ping::Config, UsageError> {
        if self.target.port() == 0 {
            return Err(UsageError("port 0 can't be connected to".into()));
        }
        let (files, live) = (self.output.files()?, self.output.live());
        let (steps, not_raw) = (self.steps()?, self.not_raw());
        let at = self.at.resolve()?;
        if let Some(why) = not_raw.filter(|_| at.stack == Stack::Raw) {
            return Err(UsageError(format!("--stack raw has {why}")));
        }
        let slowest = steps.iter().filter_map(|step| step.rate()).min();
        let pipeline = self.pipeline.unwrap_or(if slowest.is_some() { OPEN_PIPELINE } else { 1 });
        let default_seconds = self.count.is_none().then_some(Duration::from_secs(5));
        Ok(ping::Config {
            target: self.target,
            kernel_wait: self.kernel_wait.unwrap_or(at.kernel_wait()),
            count: self.count,
            duration: self.seconds.or(default_seconds),
            connections: self.connections as usize,
            pipeline: pipeline as usize,
            warmup: self.warmup.unwrap_or(slowest.map_or(WARMUP, |rate| WARMUP.min(rate.into()))),
            seed: self.seed,
            steps,
            swept: self.sweep.map(|sweep| sweep.what),
            timeout: self.timeout_s,
            files,
            live,
            json: self.output.json,
            at,
        })
    }

    /// One for each value of a sweep.
    fn steps(&self) -> Result<Vec<Step>, UsageError> {
        let interval = self.interval_ms.map(Duration::from_millis);
        let pace = self.rate.map_or(Pace::Closed { interval }, |rate| Pace::Open { rate });
        let sizes = self.bytes.clone().unwrap_or(Sizes::One(DEFAULT_BYTES));
        let Some(sweep) = &self.sweep else { return Ok(vec![Step { pace, sizes }]) };
        if sweep.what == Swept::Rate && (self.rate.is_some() || interval.is_some()) {
            let message = "--sweep rate=… gives the rates itself: leave --rate and --interval-ms away";
            return Err(UsageError(message.into()));
        }
        if sweep.what == Swept::Size && self.bytes.is_some() {
            return Err(UsageError("--sweep size=… gives the sizes itself: leave --bytes away".into()));
        }
        let step = |value: &u32| match sweep.what {
            Swept::Rate => Step { pace: Pace::Open { rate: *value }, sizes: sizes.clone() },
            Swept::Size => Step { pace, sizes: Sizes::One(*value) },
        };
        Ok(sweep.values.iter().map(step).collect())
    }

    /// What bare frames can't do.
    fn not_raw(&self) -> Option<&'static str> {
        let refused = [
            (self.connections != 1, "no connections: leave --connections at 1"),
            (self.rate.is_some(), "a closed loop only: leave --rate away"),
            (self.sweep.is_some(), "one measurement only: leave --sweep away"),
            (
                self.pipeline.is_some_and(|n| n as usize > ping::MOST_FRAMES),
                "room for 1024 frames under way: give --pipeline no more",
            ),
            (!matches!(self.bytes, None | Some(Sizes::One(_))), "frames of one size only: give --bytes one number"),
        ];
        refused.iter().find(|(given, _)| *given).map(|(_, why)| *why)
    }
}
