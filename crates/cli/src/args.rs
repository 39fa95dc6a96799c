//! The command line: what can be typed, and how it becomes checked values.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::lab::LabConfig;
use crate::{bench, demo, ping, serve};

/// A TCP/IP stack in user space, on AF_XDP.
#[derive(Debug, Parser)]
#[command(
    name = "fourwave",
    version,
    propagate_version = true,
    after_help = "Examples:\n  \
        fourwave demo                                   see it work, in namespaces of its own\n  \
        fourwave lab up                                 two namespaces joined by a veth pair, to try things in\n  \
        ip netns exec fw-a fourwave serve echo --listen 10.77.0.1:7 --interface fw-a0\n  \
        ip netns exec fw-b fourwave ping 10.77.0.1:7 --interface fw-b0\n\n\
        Exit code: 0 done, 1 failed (the reason is the last line on stderr), 2 wrong arguments."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more to stderr (-v info, -vv debug, -vvv trace); RUST_LOG wins
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// End when stdin ends: for children of this program
    #[arg(long, global = true, hide = true)]
    pub(crate) exit_with_parent: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Two network namespaces joined by a veth pair, to try things in
    Lab(LabArgs),
    /// See fourwave at work: bulk, short connections and latency next to the kernel's
    Demo(DemoArgs),
    /// Small servers: echo, discard, chargen
    Serve(ServeArgs),
    /// Request/response latency over one or more connections
    Ping(PingArgs),
    /// Everything side by side in one run: raw AF_XDP, fourwave, kernel (epoll), kernel (spinning)
    Bench(BenchArgs),
    /// Connections of a running fourwave process
    Ss(SsArgs),
    /// Parts of the demo
    #[command(hide = true)]
    Internal(InternalArgs),
}

/// Arguments that parse one by one but make no sense together: exit code 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Whose TCP does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stack {
    /// This stack, on AF_XDP
    Fourwave,
    /// The kernel's sockets
    Kernel,
    /// Bare frames over AF_XDP, no TCP: the device's own limit
    Raw,
}

impl Stack {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fourwave => "fourwave",
            Self::Kernel => "kernel",
            Self::Raw => "raw",
        }
    }
}

/// How a program over kernel sockets waits for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelWait {
    /// Sleep in epoll
    Epoll,
    /// Read again and again without sleeping
    Spin,
}

impl KernelWait {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Spin => "spin",
        }
    }
}

/// What a core of the stack does while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Idle {
    /// Spin: lowest latency, a whole core
    Busy,
    /// Spin while there is traffic, then sleep
    Adaptive,
    /// Sleep at once
    Sleep,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum XdpMode {
    /// In the driver if it can, else generic
    Auto,
    /// In the driver
    Native,
    /// In the kernel's generic path
    Generic,
}

/// Whether the NIC writes into our memory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CopyMode {
    /// Zero-copy if the driver can
    Auto,
    /// Zero-copy or nothing
    ZeroCopy,
    /// The kernel copies
    #[value(name = "copy")]
    Copied,
}

/// Where and how the stack runs; without effect with `--stack kernel`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The stack (without effect with --stack kernel)")]
pub(crate) struct StackArgs {
    /// Network interface [default: the one that has or reaches the address]
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Option<String>,

    /// An address the stack owns itself [default: share the interface's with the kernel]
    #[arg(long, value_name = "IP/PREFIX", value_parser = parse_prefix)]
    pub(crate) address: Option<Prefix>,

    /// Next hop for what is not on the link; only with --address
    #[arg(long, value_name = "IP", requires = "address")]
    pub(crate) gateway: Option<IpAddr>,

    /// Receive queues to serve, such as 0 or 0,2-3
    #[arg(long, value_name = "LIST", default_value = "0", value_parser = parse_list)]
    pub(crate) queues: NumberList,

    /// While there is nothing to do
    #[arg(long, value_enum, default_value_t = Idle::Adaptive)]
    pub(crate) idle: Idle,

    /// Where the XDP program runs
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub(crate) xdp_mode: XdpMode,

    /// Who moves the bytes
    #[arg(long, value_enum, default_value_t = CopyMode::Auto)]
    pub(crate) copy: CopyMode,
}

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) bits: u8,
}

/// Numbers given as `0,2-3`: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberList(pub(crate) Vec<usize>);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave lab up\n  \
    fourwave lab up --queues 2 --mtu 3000\n  \
    ip netns exec fw-b ping 10.77.0.1\n  \
    fourwave lab down\n\n\
    fw-a has fw-a0 (10.77.0.1/24, fd77::1/64), fw-b has fw-b0 (10.77.0.2/24, fd77::2/64). Transmit checksums, TSO, GSO\n\
    and GRO are off on both ends: a veth pair never finishes them, and AF_XDP would see the unfinished frames.\n\
    `up` twice is fine, and repairs a lab that a crash left half-built; with other parameters it is built anew.")]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Build the lab, or repair it
    Up(LabUpArgs),
    /// Take the lab down
    Down,
    /// Say whether the lab is there and as it should be
    Status {
        /// One JSON document on stdout
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LabUpArgs {
    /// Queues of each end of the veth pair
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) queues: u32,

    /// Bytes per packet; native XDP on veth takes about 3500 at most
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub(crate) mtu: u32,
}

impl LabUpArgs {
    pub(crate) fn resolve(&self) -> LabConfig {
        LabConfig { queues: self.queues, mtu: self.mtu }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sudo fourwave demo\n  \
    sudo fourwave demo --mib 64 --rounds 3\n\n\
    Runs in network namespaces of its own (`fourwave lab`), which it takes down at the end, also after Ctrl-C.")]
pub(crate) struct DemoArgs {
    /// Bulk data each way
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536))]
    mib: u64,

    /// Short connections
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=25_000))]
    connections: u64,

    /// Interleaved rounds of the latency measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Whose server is shown
    #[arg(long, value_enum, default_value_t = Stack::Fourwave, hide = true)]
    stack: Stack,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl DemoArgs {
    pub(crate) fn resolve(&self) -> Result<demo::Config, UsageError> {
        let points = match self.stack {
            Stack::Fourwave => bench::Point::ALL.to_vec(),
            Stack::Kernel => vec![bench::Point::KernelSpin, bench::Point::KernelEpoll],
            Stack::Raw => return Err(UsageError("the demo needs a TCP: not --stack raw".into())),
        };
        Ok(demo::Config {
            mib: self.mib,
            connections: self.connections,
            stack: self.stack,
            json: self.json,
            bench: bench::Config {
                rounds: self.rounds,
                seconds: Duration::from_secs(1),
                pause: Duration::ZERO,
                message_bytes: 64,
                points,
                json: false,
            },
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave serve echo --listen 10.77.0.1:7 --interface fw-a0\n  \
    fourwave serve echo --listen 10.77.0.1:7 --interface fw-a0 --idle busy --cores 0\n  \
    fourwave serve discard --listen 127.0.0.1:9000 --stack kernel\n\n\
    Says `listening on ADDR:PORT` on stderr when it is ready. Ctrl-C ends it.")]
pub(crate) struct ServeArgs {
    /// echo sends back what comes, discard throws it away, chargen sends characters (RFC 862, 863, 864)
    #[arg(value_enum)]
    service: serve::Service,

    /// Address and port to listen on, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,

    /// Whose TCP
    #[arg(long, value_enum, default_value_t = Stack::Fourwave)]
    stack: Stack,

    /// How to wait with --stack kernel
    #[arg(long, value_enum, default_value_t = KernelWait::Epoll)]
    kernel_wait: KernelWait,

    /// Cores to run on, such as 0 or 0,2-3 [default: wherever the kernel puts it]
    #[arg(long, alias = "core", value_name = "LIST", value_parser = parse_list)]
    cores: Option<NumberList>,

    #[command(flatten)]
    at: StackArgs,
}

impl ServeArgs {
    pub(crate) fn resolve(self) -> Result<serve::Config, UsageError> {
        if self.stack == Stack::Raw && self.service != serve::Service::Echo {
            let message = "--stack raw has no connections: it can only `serve echo`";
            return Err(UsageError(message.into()));
        }
        Ok(serve::Config {
            service: self.service,
            listen: self.listen,
            stack: self.stack,
            kernel_wait: self.kernel_wait,
            cores: self.cores.map(|list| list.0).unwrap_or_default(),
            at: self.at,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0\n  \
    fourwave ping 10.77.0.1:7 --interface fw-b0 --idle busy --cores 1 --count 1000000 --json\n  \
    fourwave ping 127.0.0.1:9000 --stack kernel --kernel-wait spin\n\n\
    Each connection sends a message, waits for the whole of it to come back, compares it and sends the next (closed\n\
    loop). The far end is an echo server: `fourwave serve echo`. Ctrl-C ends it with the report so far.")]
pub(crate) struct PingArgs {
    /// The echo server, such as 10.77.0.1:7 or [fd77::1]:7
    #[arg(value_name = "ADDR:PORT")]
    target: SocketAddr,

    /// Whose TCP
    #[arg(long, value_enum, default_value_t = Stack::Fourwave)]
    stack: Stack,

    /// How to wait with --stack kernel
    #[arg(long, value_enum, default_value_t = KernelWait::Epoll)]
    kernel_wait: KernelWait,

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

    /// Cores to run on, such as 1 [default: wherever the kernel puts it]
    #[arg(long, alias = "core", value_name = "LIST", value_parser = parse_list)]
    cores: Option<NumberList>,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: StackArgs,
}

impl PingArgs {
    pub(crate) fn resolve(self) -> Result<ping::Config, UsageError> {
        if self.target.port() == 0 {
            return Err(UsageError("port 0 can't be connected to".into()));
        }
        if self.stack == Stack::Raw && self.connections != 1 {
            let message = "--stack raw has no connections: leave --connections at 1";
            return Err(UsageError(message.into()));
        }
        let default_seconds = self.count.is_none().then_some(Duration::from_secs(5));
        Ok(ping::Config {
            target: self.target,
            stack: self.stack,
            kernel_wait: self.kernel_wait,
            message_bytes: self.bytes as usize,
            count: self.count,
            duration: self.seconds.or(default_seconds),
            connections: self.connections as usize,
            warmup: self.warmup,
            interval: self.interval_ms.map(Duration::from_millis),
            timeout: self.timeout_s,
            cores: self.cores.map(|list| list.0).unwrap_or_default(),
            json: self.json,
            at: self.at,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sudo fourwave bench --only rtt\n  \
    sudo fourwave bench --only rtt --rounds 7 --seconds 2 --json > rtt.json\n\n\
    Servers run in fw-a on the first core, clients in fw-b on the second; the stacks take turns, and the order turns\n\
    from round to round. Figures are medians over the rounds. Ctrl-C ends it with what was measured so far.\n\
    Virtual machines with few cores may stall for milliseconds once all cores were busy for 5 to 10 s: keep --seconds\n\
    short, or let them rest with --pause-s. Stalls seen before a point are reported as jitter.")]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(long, value_enum, default_value_t = Measurement::Rtt)]
    only: Measurement,

    /// Interleaved rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Seconds per point, up to 6
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_point_seconds)]
    seconds: Duration,

    /// Seconds of rest between points
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_pause)]
    pause_s: Duration,

    /// Bytes per message
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1400))]
    bytes: u32,

    /// Which to compare [default: all]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    points: Vec<bench::Point>,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What `bench` can measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// Round-trip times of a ping-pong
    Rtt,
}

impl BenchArgs {
    pub(crate) fn resolve(self) -> Result<bench::Config, UsageError> {
        let Measurement::Rtt = self.only;
        let mut points = Vec::new();
        for point in self.points {
            if points.contains(&point) {
                return Err(UsageError(format!("--points has {} twice", point.name())));
            }
            points.push(point);
        }
        if points.is_empty() {
            points = bench::Point::ALL.to_vec();
        }
        Ok(bench::Config {
            rounds: self.rounds,
            seconds: self.seconds,
            pause: self.pause_s,
            message_bytes: self.bytes,
            points,
            json: self.json,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave ss\n  \
    fourwave ss --json\n  \
    fourwave ss --pid 4242 --steering\n\n\
    Reads a running fourwave process. TIME-WAIT records are listed as well.")]
pub(crate) struct SsArgs {
    /// Which process [default: all of this machine]
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// The XDP program's counters, per verdict, instead of connections
    #[arg(long)]
    pub(crate) steering: bool,

    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InternalArgs {
    #[command(subcommand)]
    pub(crate) command: InternalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InternalCommand {
    /// Send pseudo-random bytes to an echo server and compare what comes back
    BulkClient {
        /// The echo server
        target: SocketAddr,
        /// How much
        #[arg(long, default_value_t = 256)]
        mib: u64,
    },
    /// Open, exchange 64 bytes, close, again and again
    ShortConnections {
        /// The echo server
        target: SocketAddr,
        /// How many
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        /// How many at a time
        #[arg(long, default_value_t = 16)]
        concurrency: u64,
    },
}

fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let (address, bits) = text.split_once('/').ok_or("give it with its prefix, such as 10.77.0.1/24")?;
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is no IP address"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| *bits <= longest);
    let bits = bits.ok_or(format!("the prefix length goes from 0 to {longest}"))?;
    Ok(Prefix { address, bits })
}

fn parse_list(text: &str) -> Result<NumberList, String> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        for number in parse_range(part)? {
            if numbers.contains(&number) {
                return Err(format!("{number} is there twice"));
            }
            numbers.push(number);
        }
    }
    Ok(NumberList(numbers))
}

fn parse_range(text: &str) -> Result<RangeInclusive<usize>, String> {
    const HIGHEST: usize = 4095;
    let number = |text: &str| {
        let number = text.parse().ok().filter(|number| *number <= HIGHEST);
        number.ok_or(format!("`{text}` is no number from 0 to {HIGHEST}"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("`{text}` goes backwards"));
    }
    Ok(first..=last)
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.001, 86_400.0)
}

/// Longer points meet the stalls of small virtual machines, see `bench --help`.
fn parse_point_seconds(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.1, 6.0)
}

fn parse_pause(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.0, 600.0)
}

fn seconds_within(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (least..=most).contains(seconds));
    let seconds = seconds.ok_or(format!("seconds go from {least} to {most} here"))?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn ping(line: &str) -> Result<ping::Config, UsageError> {
        match parse(line).unwrap().command {
            Command::Ping(args) => args.resolve(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_public_command_explains_itself_with_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }

    #[test]
    fn ping_runs_five_seconds_unless_counted() {
        let config = ping("fourwave ping 10.77.0.1:7").unwrap();
        assert_eq!(config.stack, Stack::Fourwave);
        assert_eq!(config.duration, Some(Duration::from_secs(5)));
        let config = ping("fourwave ping 10.77.0.1:7 --count 10 --stack kernel").unwrap();
        assert_eq!((config.count, config.duration), (Some(10), None));
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        assert!(ping("fourwave ping 10.77.0.1:7 --stack raw --connections 2").is_err());
        assert!(ping("fourwave ping 10.77.0.1:0").is_err());
        assert!(parse("fourwave ping 10.77.0.1:7 --gateway 10.77.0.9").is_err());
    }

    #[test]
    fn typos_are_usage_errors() {
        let error = parse("fourwave ping 10.77.0.1:7 --cuont 5").unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn lists() {
        assert_eq!(parse_list("0,2-4").unwrap().0, [0, 2, 3, 4]);
        for wrong in ["", "a", "3-1", "1,1", "1-", "0,0-3", "9999999999"] {
            assert!(parse_list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes() {
        let prefix = parse_prefix("fd77::1/64").unwrap();
        assert_eq!((prefix.address.is_ipv6(), prefix.bits), (true, 64));
        for wrong in ["10.0.0.1", "10.0.0.1/33", "10.0.0/8", "fd77::1/129"] {
            assert!(parse_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("0.5").unwrap(), Duration::from_millis(500));
        for wrong in ["NaN", "-1", "inf", "0", "x"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
        assert!(parse_point_seconds("7").is_err());
    }
}
