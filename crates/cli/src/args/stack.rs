//! Where and how the stack runs: flags of every command that starts one.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use fourwave::SynLimit;
use serde::Deserialize;

use super::file::FileArgs;
use super::limits::{TRACE_RECORDS, within};
use super::parse::{NumberList, Prefix, Queues, parse_list, parse_prefix, parse_queues, parse_socket};
use super::{LimitArgs, ListenArgs, TcpArgs, TcpConfig, UsageError};

/// Whose TCP does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// The flag of a command that needs connections: one that works without them is not offered, and is refused with the reason.
pub(super) fn with_connections(stack: clap::Arg) -> clap::Arg {
    let value = |stack: &Stack| stack.to_possible_value().map(|value| value.hide(*stack == Stack::Raw));
    let values = PossibleValuesParser::new(Stack::value_variants().iter().filter_map(value));
    stack.value_parser(values.try_map(|name| Stack::from_str(&name, false)))
}

/// How a program over kernel sockets waits for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelWait {
    /// Sleep in epoll
    Epoll,
    /// Look again and again without sleeping
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Idle {
    /// Spin: lowest latency, a whole core
    Busy,
    /// Spin while there is traffic, then sleep
    Adaptive,
    /// Sleep at once
    Sleep,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum XdpMode {
    /// In the driver if it can, else generic
    Auto,
    /// In the driver
    Native,
    /// In the kernel's generic path
    Generic,
}

/// Whether the NIC writes into our memory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CopyMode {
    /// Zero-copy if the driver can
    Auto,
    /// Zero-copy or nothing
    ZeroCopy,
    /// The kernel copies
    #[value(name = "copy")]
    #[serde(rename = "copy")]
    Copied,
}

/// Who writes the checksums of TCP segments that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TxChecksum {
    /// The device, with zero-copy and a driver that does it for AF_XDP, else the stack
    Auto,
    /// The device or nothing
    Offload,
    /// The stack
    Compute,
    /// The kernel, in place of a device: for tests
    #[value(hide = true)]
    Software,
}

/// Whose TCP, and where and how the stack runs, as far as it was typed.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "The stack (with --stack kernel only --cores, --idle, --max-connections, --profile, --metrics and --keep-privileges have an effect)"
)]
pub(crate) struct StackArgs {
    /// These flags from a TOML file, such as `interface = "eth0"`; flags win over the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Whose TCP [default: fourwave]
    #[arg(long, value_enum)]
    stack: Option<Stack>,

    /// Cores to run on, one for each queue, such as 0 or 0,2-3 [default: wherever the kernel puts it]
    #[arg(long, alias = "core", value_name = "LIST", value_parser = parse_list)]
    cores: Option<NumberList>,

    /// Network interface [default: the one that has or reaches the address]
    #[arg(long, value_name = "IF")]
    interface: Option<String>,

    /// An address the stack owns itself [default: share the interface's with the kernel]
    #[arg(long, value_name = "IP/PREFIX", value_parser = parse_prefix)]
    address: Option<Prefix>,

    /// Next hop for what is not on the link; only with --address
    #[arg(long, value_name = "IP")]
    gateway: Option<IpAddr>,

    /// Questions whether anybody has the address, 0 to 16, before it is used; only with --address [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=16))]
    dad_probes: Option<u8>,

    /// VLAN of the connections it opens; only with --address [default: untagged]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,

    /// Receive queues to serve, a shard for each: `all`, or all of them by number, such as 0-3 [default: all]
    #[arg(long, value_name = "all|LIST", value_parser = parse_queues)]
    queues: Option<Queues>,

    /// While there is nothing to do [default: adaptive]
    #[arg(long, value_enum)]
    idle: Option<Idle>,

    /// Where the XDP program runs [default: auto]
    #[arg(long, value_enum)]
    xdp_mode: Option<XdpMode>,

    /// Who moves the bytes [default: auto]
    #[arg(long, value_enum)]
    copy: Option<CopyMode>,

    /// Who writes the checksums of what is sent [default: auto]
    #[arg(long, value_enum)]
    tx_checksum: Option<TxChecksum>,

    /// Tell Prometheus how the stack is, over HTTP on a kernel socket: /metrics, and /healthz. For whoever can reach that address;
    /// not with --stack raw [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_socket)]
    metrics: Option<SocketAddr>,

    /// What happened to connections is remembered in so many records of 32 bytes for each shard, 0 to 16777216 (`fourwave ss --trace`)
    /// [default: 65536]
    #[arg(long, value_name = "N", value_parser = within::<u32>(TRACE_RECORDS))]
    trace_records: Option<u32>,

    /// Where that is written to at SIGUSR2, and when a loop fails or stands still [default: where control sockets are]
    #[arg(long, value_name = "DIR")]
    trace_directory: Option<PathBuf>,

    /// Give up no privileges once it runs; for kernels before 5.19, and to find out what one is needed for
    #[arg(long)]
    keep_privileges: bool,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    tcp: TcpArgs,
}

/// Whose TCP, and where and how the stack runs; checked.
#[derive(Clone, Debug)]
pub(crate) struct StackConfig {
    pub(crate) stack: Stack,
    /// Where to run; empty: anywhere.
    pub(crate) cores: Vec<usize>,
    pub(crate) interface: Option<String>,
    pub(crate) address: Option<Prefix>,
    /// Only with an address.
    pub(crate) gateway: Option<IpAddr>,
    /// Questions before an address is used, 0 to 16; `None`: the default.
    pub(crate) dad_probes: Option<u8>,
    /// Only with an address; 1 to 4094.
    pub(crate) vlan: Option<u16>,
    pub(crate) queues: Queues,
    pub(crate) idle: Idle,
    pub(crate) xdp_mode: XdpMode,
    pub(crate) copy: CopyMode,
    pub(crate) tx_checksum: TxChecksum,
    /// Not with bare frames.
    pub(crate) metrics: Option<SocketAddr>,
    /// 0 to 2^24; `None`: the default.
    pub(crate) trace_records: Option<u32>,
    /// `None`: where control sockets are.
    pub(crate) trace_directory: Option<PathBuf>,
    pub(crate) keep_privileges: bool,
    /// What was typed, or is in the file.
    pub(crate) limits: LimitArgs,
    /// Only over this stack.
    pub(crate) syn_limit: Option<SynLimit>,
    pub(crate) tcp: TcpConfig,
}

impl StackConfig {
    /// How a program that compares ways of waiting waits on the kernel's sockets, if it is not told.
    pub(crate) fn kernel_wait(&self) -> KernelWait {
        if self.idle == Idle::Busy { KernelWait::Spin } else { KernelWait::Epoll }
    }
}

impl StackArgs {
    /// What was typed, else what the file says, else the defaults.
    pub(super) fn resolve(self) -> Result<StackConfig, UsageError> {
        self.resolve_over(None, &toml::Table::new(), |error| error)
    }

    /// As [`StackArgs::resolve`], for a command that listens.
    pub(super) fn resolve_with(self, listen: ListenArgs) -> Result<StackConfig, UsageError> {
        self.resolve_over(Some(listen), &toml::Table::new(), |error| error)
    }

    /// As [`StackArgs::resolve_with`], with a table that has the keys of `--config FILE`, for what that would say. `listen` is
    /// none of a command that does not listen. `named` says in an error where the table is.
    pub(super) fn resolve_over(
        self,
        listen: Option<ListenArgs>,
        table: &toml::Table,
        named: impl Fn(UsageError) -> UsageError,
    ) -> Result<StackConfig, UsageError> {
        let file = match self.config.as_deref() {
            Some(path) => FileArgs::read(path)?,
            None => FileArgs::of(table).map_err(named)?,
        };
        let listens = listen.is_some();
        let listen = listen.unwrap_or_default().or(file.listen());
        let tcp = TcpConfig::resolve(self.tcp.or(file.tcp()), listen);
        let limits = self.limits.or(file.limits());
        let (address, gateway) = (self.address.or(file.address), self.gateway.or(file.gateway));
        let vlan = self.vlan.or(file.vlan);
        let dad_probes = self.dad_probes.or(file.dad_probes);
        if dad_probes.is_some_and(|n| address.is_none() || n > 16) {
            let message =
                "--dad-probes needs --address, and a number from 0 to 16: of a shared address the kernel has asked";
            return Err(UsageError(message.into()));
        }
        if vlan.is_some_and(|id| address.is_none() || !(1..=4094).contains(&id)) {
            let message =
                "--vlan needs --address, and an identifier of 1 to 4094: the interface's own addresses are untagged";
            return Err(UsageError(message.into()));
        }
        check_own(address, gateway)?;
        let stack = self.stack.or(file.stack).unwrap_or(Stack::Fourwave);
        let metrics = self.metrics.or(file.metrics);
        if stack == Stack::Raw && metrics.is_some() {
            return Err(UsageError(
                "--stack raw has no connections and counts nothing: --metrics is for the others".into(),
            ));
        }
        let trace_records = self.trace_records.or(file.trace_records);
        let syn_limit = if listens { listen.syn_limit.resolve(stack)? } else { None };
        Ok(StackConfig {
            stack,
            cores: self.cores.or(file.cores).map(|list| list.0).unwrap_or_default(),
            interface: self.interface.or(file.interface),
            address,
            gateway,
            dad_probes,
            vlan,
            queues: self.queues.or(file.queues).unwrap_or_default(),
            idle: self.idle.or(file.idle).unwrap_or(Idle::Adaptive),
            xdp_mode: self.xdp_mode.or(file.xdp_mode).unwrap_or(XdpMode::Auto),
            copy: self.copy.or(file.copy).unwrap_or(CopyMode::Auto),
            tx_checksum: self.tx_checksum.or(file.tx_checksum).unwrap_or(TxChecksum::Auto),
            metrics,
            trace_records,
            trace_directory: self.trace_directory.or(file.trace_directory),
            keep_privileges: self.keep_privileges || file.keep_privileges,
            limits,
            syn_limit,
            tcp,
        })
    }
}

/// An address of the stack's own must be one that a station on a link can have, and its gateway another one on that link.
fn check_own(own: Option<Prefix>, gateway: Option<IpAddr>) -> Result<(), UsageError> {
    let Some(own) = own else {
        let message = "--gateway needs --address: on a shared address the kernel's routes are used";
        return if gateway.is_some() { Err(UsageError(message.into())) } else { Ok(()) };
    };
    let own = fourwave::Address { ip: own.address, prefix_len: own.bits, gateway };
    own.check().map_err(|error| UsageError(format!("--{error}")))
}
