//! `fourwave doctor`.

use std::net::IpAddr;

use clap::Args;

use super::parse::{NumberList, Queues, parse_list, parse_queues};
use super::{CopyMode, TxChecksum, UsageError, XdpMode};
use crate::{doctor, stack};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave doctor --interface eth0\n  \
    fourwave doctor --interface eth0 --cores 2-5 --copy zero-copy\n  \
    ip netns exec fw-a fourwave doctor --interface fw-a0 --peer 10.77.0.2 --json\n\n\
    Opens AF_XDP sockets in the mode asked for, asks a neighbour for its address through them (ARP, or neighbour\n\
    solicitation), and detaches again. Where a stack runs already, or without root, it only looks.\n\n\
    Exit code: 0 the mode asked for is to be had, 1 it is not (the reason is the last line on stderr).")]
pub(crate) struct DoctorArgs {
    /// Network interface
    #[arg(long, value_name = "IF")]
    interface: String,

    /// Receive queues to serve, a shard for each: `all`, or all of them by number, such as 0-3 [default: all]
    #[arg(long, value_name = "all|LIST", value_parser = parse_queues)]
    queues: Option<Queues>,

    /// Cores the stack is to run on, one for each queue, such as 0 or 0,2-3 [default: wherever the kernel puts it]
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    cores: Option<NumberList>,

    /// Where the XDP program is to run
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    xdp_mode: XdpMode,

    /// Who is to move the bytes
    #[arg(long, value_enum, default_value_t = CopyMode::Auto)]
    copy: CopyMode,

    /// Who is to write the checksums of what is sent
    #[arg(long, value_enum, default_value_t = TxChecksum::Auto)]
    tx_checksum: TxChecksum,

    /// A neighbour on the link to ask [default: the gateway, or one that the kernel knows]
    #[arg(long, value_name = "IP")]
    peer: Option<IpAddr>,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    pub(crate) fn resolve(self) -> Result<doctor::Config, UsageError> {
        if self.peer.is_some_and(|peer| peer.is_unspecified() || peer.is_multicast()) {
            return Err(UsageError("--peer is to be the address of one neighbour".into()));
        }
        Ok(doctor::Config {
            interface: self.interface,
            queues: match self.queues {
                Some(Queues::These(queues)) => Some(queues),
                Some(Queues::All) | None => None,
            },
            cores: self.cores.map(|list| list.0).unwrap_or_default(),
            xdp_mode: stack::xdp_mode(self.xdp_mode),
            copy_mode: stack::copy_mode(self.copy),
            tx_checksum: stack::tx_checksum(self.tx_checksum),
            peer: self.peer,
            json: self.json,
        })
    }
}
