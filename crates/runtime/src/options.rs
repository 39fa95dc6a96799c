//! What a stack is started with.

use crate::error::Error;
use crate::idle::Idle;
use stack::{DEFAULT_PORTS, Dad, Duration, ListenOptions, Settings};
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

/// Whether a stack has the kernel's sockets ([`stack::Via::Kernel`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KernelSockets {
    /// Connections are the stack's own.
    #[default]
    No,
    /// Beside its own: who says nothing else connects and listens by the stack.
    Beside,
    /// Nothing else: there is no interface, and no privilege is needed.
    Only,
}

/// What a stack is started with; an interface's name is enough.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interface; empty for [`KernelSockets::Only`].
    pub interface: String,
    /// Whether the shards have the kernel's sockets as well.
    pub kernel_sockets: KernelSockets,
    /// How many shards; for [`KernelSockets::Only`], since an interface has one for each queue. `None`: one for each of `cores`.
    pub shards: Option<u16>,
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
            kernel_sockets: KernelSockets::No,
            shards: None,
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

    /// The defaults, over the kernel's sockets alone.
    #[must_use]
    pub fn kernel() -> Self {
        Self { kernel_sockets: KernelSockets::Only, ..Self::new("") }
    }

    /// What was asked for and needs an interface, or must not be there with one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |field, value: String, allowed| Err(Error::Option { field, value, allowed });
        if self.kernel_sockets != KernelSockets::Only {
            return match self.shards {
                Some(shards) => refuse("shards", shards.to_string(), "one for each queue of the interface"),
                None => Ok(()),
            };
        }
        const NONE: &str = "nothing: the kernel's sockets have no interface of the stack's";
        let own_ports = self.ports.as_ref().filter(|ports| **ports != DEFAULT_PORTS);
        let words = |given: bool, text: String| given.then_some(text);
        let given = [
            ("address", self.address.map(|own| own.ip.to_string())),
            ("vlan", self.vlan.map(|vlan| vlan.to_string())),
            ("queues", words(!self.queues.is_empty(), format!("{:?}", self.queues))),
            ("ports", own_ports.map(|ports| format!("{ports:?}"))),
            ("xdp_mode", words(self.xdp_mode != XdpMode::Auto, format!("{:?}", self.xdp_mode))),
            ("copy_mode", words(self.copy_mode != CopyMode::Auto, format!("{:?}", self.copy_mode))),
            ("tx_checksum", words(self.tx_checksum != TxChecksum::Auto, format!("{:?}", self.tx_checksum))),
        ];
        for (field, value) in given {
            if let Some(value) = value {
                return refuse(field, value, NONE);
            }
        }
        match (self.shards, self.cores.len()) {
            (Some(0), _) => refuse("shards", "0".into(), "1 to 65,535"),
            (Some(shards), cores) if cores > 0 && usize::from(shards) != cores => {
                refuse("cores", format!("{:?}", self.cores), "one for each shard, or none")
            }
            _ => Ok(()),
        }
    }
}
