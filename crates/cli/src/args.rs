//! The command line: what can be typed, and how it becomes checked values.

mod bench;
mod doctor;
mod file;
mod lab;
mod limits;
mod load;
mod load_tcp;
mod output;
mod pacing;
mod parse;
mod pcap;
mod ping;
mod proxy;
mod raw;
mod report;
mod serve;
mod ss;
mod stack;
mod syn_limit;
mod tcp;
#[cfg(test)]
mod tests;
mod through;
mod urls;
mod workload;

use std::fmt;
use std::net::SocketAddr;

use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use bench::BenchArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use lab::{DemoArgs, LabArgs, LabCommand};
pub(crate) use limits::LimitArgs;
pub(crate) use load::LoadArgs;
pub(crate) use parse::{NumberList, Prefix, Queues};
pub(crate) use pcap::PcapArgs;
pub(crate) use ping::PingArgs;
pub(crate) use proxy::{ProxyArgs, read as read_proxy};
pub(crate) use raw::RawArgs;
pub(crate) use report::ReportArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use ss::{Sort, Ss, SsAction, SsArgs, Top, TopArgs};
pub(crate) use stack::{CopyMode, Idle, KernelWait, Stack, StackArgs, StackConfig, TxChecksum, XdpMode};
pub(crate) use syn_limit::SynLimitArgs;
pub(crate) use tcp::{Congestion, Ecn, ListenArgs, Profile, SynCookies, TcpArgs, TcpConfig};
pub(crate) use through::ThroughArgs;

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
    /// Small servers: echo, discard, chargen, http, and one for sockperf's client
    Serve(ServeArgs),
    /// Request/response latency over one or more connections
    Ping(PingArgs),
    /// Load for servers: requests and connections per second, and their latency
    Load(LoadArgs),
    /// Results compared, on a page or in a terminal, or added up
    Report(ReportArgs),
    /// The TCP proxy
    Proxy(ProxyArgs),
    /// Everything side by side in one run: raw AF_XDP, fourwave, kernel (epoll), kernel (spinning)
    Bench(BenchArgs),
    /// Connections of a running fourwave process: why they don't send, what changes, and their end
    Ss(Box<SsArgs>),
    /// What a running fourwave process does, live: its shards, and the connections that do most
    Top(TopArgs),
    /// What a running fourwave process receives and sends, as pcapng
    Pcap(PcapArgs),
    /// What an interface, its driver and this kernel offer, what the stack would use, and what to change
    Doctor(DoctorArgs),
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
    /// Requests through a proxy, from one process that is client and backend
    Through(Box<ThroughArgs>),
    /// Bare frames: there and back, or one way, with many under way
    Raw(Box<RawArgs>),
}
