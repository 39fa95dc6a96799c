//! What a stack is started with.

use crate::idle::Idle;
use stack::{Dad, Duration, ListenOptions, Settings};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use xdp::{CopyMode, TxChecksum, XdpMode};

/// An address the stack owns: nobody else answers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network's prefix.
    pub prefix_len: u8,
    /// Next hop for what is not on the link.
    pub gateway: Option<IpAddr>,
}

/// What a stack is started with; an interface's name is enough.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interface.
    pub interface: String,
    /// Its receive queues to serve, a shard for each; empty: all it has. None may be left out.
    pub queues: Vec<u32>,
    /// The cores to pin the workers to, one per queue; empty: wherever the kernel puts them.
    pub cores: Vec<usize>,
    /// An address of the stack's own; `None`: share the interface's with the kernel.
    pub address: Option<Address>,
    /// How it is found out whether `address` is another station's.
    pub dad: Dad,
    /// The VLAN of what is sent unasked, 1 to 4094; replies go where the question came from. `None`: untagged.
    pub vlan: Option<u16>,
    /// What to listen on.
    pub listen: Vec<SocketAddr>,
    /// What those are opened with, on each shard: a backlog is one shard's.
    pub listen_options: ListenOptions,
    /// Ports of active opens; `None`: there are none, and on a shared address all ports but those listened on stay the
    /// kernel's.
    pub ports: Option<RangeInclusive<u16>>,
    /// What to do while there is nothing to do.
    pub idle: Idle,
    /// How long the applications go on with their connections once the end was asked for.
    pub drain_time: Duration,
    /// Where the XDP program runs.
    pub xdp_mode: XdpMode,
    /// Zero-copy or copied.
    pub copy_mode: CopyMode,
    /// Who writes the checksums of what is sent.
    pub tx_checksum: TxChecksum,
    /// What connections have in common.
    pub tcp: Settings,
    /// The stack's threads keep the capabilities of the one that starts it; if not, they give up what they don't need.
    pub keep_privileges: bool,
}

impl Options {
    /// The defaults, on an interface.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            queues: Vec::new(),
            cores: Vec::new(),
            address: None,
            dad: Dad::default(),
            vlan: None,
            listen: Vec::new(),
            listen_options: ListenOptions::default(),
            ports: None,
            idle: Idle::default(),
            drain_time: Duration::ZERO,
            xdp_mode: XdpMode::Auto,
            copy_mode: CopyMode::Auto,
            tx_checksum: TxChecksum::Auto,
            tcp: Settings::default(),
            keep_privileges: false,
        }
    }
}
