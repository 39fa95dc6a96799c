//! `fourwave lab` and `demo`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse::{Loss, parse_loss};
use super::{Stack, UsageError};
use crate::lab::LabConfig;
use crate::{bench, demo};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave lab up\n  \
    fourwave lab up --queues 2 --mtu 3000\n  \
    fourwave lab up --loss 1%\n  \
    ip netns exec fw-b ping 10.77.0.1\n  \
    fourwave lab down\n\n\
    fw-a has fw-a0 (10.77.0.1/24, fd77::1/64), fw-b has fw-b0 (10.77.0.2/24, fd77::2/64). Transmit checksums, TSO, GSO\n\
    and GRO are off on both ends: a veth pair never finishes them, and AF_XDP would see the unfinished frames.\n\
    `up` twice is fine, and repairs a lab that a crash left half-built; with other parameters it is built anew.\n\
    `status` ends with 0 if the lab is as it should be, and with 1 if there is none or it is incomplete.")]
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
    /// Say whether the lab is there and as it should be; by the exit status too: 1 if it is not
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

    /// Bytes per packet; above 3818 each is in several AF_XDP buffers, which takes Linux 6.6
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub(crate) mtu: u32,

    /// Frames that are lost, by chance, as many each way, 0% to 50%: a namespace between the ends, fw-m, drops them
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = parse_loss)]
    pub(crate) loss: Loss,
}

impl LabUpArgs {
    pub(crate) fn resolve(&self) -> LabConfig {
        LabConfig { queues: self.queues, mtu: self.mtu, loss_ppm: self.loss.0 }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sudo fourwave demo\n  \
    sudo fourwave demo --mib 64 --rounds 3\n\n\
    Runs in network namespaces of its own (`fourwave lab`), which it takes down at the end, also after Ctrl-C. So\n\
    where a lab is up already it does not start: `fourwave lab down` first.")]
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
                parts: vec![bench::Part::Rtt],
                rounds: self.rounds,
                seconds: Duration::from_secs(1),
                pause: Duration::ZERO,
                message_bytes: 64,
                points,
                results: None,
                json: false,
            },
        })
    }
}
