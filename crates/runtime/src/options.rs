//! What a stack is started with.

use crate::error::Error;
use crate::idle::Idle;
use crate::limits::Limits;
use crate::metrics::Endpoint;
use stack::{DEFAULT_PORTS, Dad, Duration, ListenOptions, Route, Settings};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xdp::{CopyMode, SynLimit, TxChecksum, XdpMode};

/// Addresses that a stack can have, and the XDP program can know.
const MOST_ADDRESSES: usize = 1024;

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

impl Address {
    /// Whether a station on a link can have it, and its gateway is another one on that link.
    ///
    /// # Errors
    /// [`Error::Option`] with what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let Self { ip: address, prefix_len: bits, gateway } = *self;
        let refused = |field, value, allowed| Err(Error::Option { field, value, allowed });
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return refused("address", format!("{address}/{bits}"), "a prefix of 0 to 32 bits (IPv4) or 128 (IPv6)");
        }
        let all = u128::from(u32::MAX.checked_shr(bits.into()).unwrap_or(0));
        let host = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) & all,
            IpAddr::V6(ip) => ip.to_bits() & u128::MAX.checked_shr(bits.into()).unwrap_or(0),
        };
        // The network's own number and its broadcast (RFC 1122 section 3.2.1.3; RFC 3021 for two stations alone).
        let network = |ip: IpAddr| ip.is_ipv4() && bits < 31 && (host(ip) == 0 || host(ip) == all);
        // IPv4 within IPv6: the steering program would take the IPv4 address away from the kernel.
        let mapped = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        let alone = |ip: IpAddr| ip.is_multicast() || ip.is_loopback() || ip.is_unspecified();
        let nobodys = |ip: IpAddr| alone(ip) || mapped(ip) || network(ip);
        if nobodys(address) {
            let allowed = "one that a station on a link can have";
            return refused("address", format!("{address}/{bits}"), allowed);
        }
        let Some(gateway) = gateway else { return Ok(()) };
        if address.is_ipv4() != gateway.is_ipv4() {
            return refused("gateway", gateway.to_string(), "one of the address's IP version");
        }
        let link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let same_network = match (address, gateway) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) <= all,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                a.to_bits() ^ b.to_bits() <= u128::MAX.checked_shr(bits.into()).unwrap_or(0)
            }
            _ => false,
        };
        if gateway == address || nobodys(gateway) || !(same_network || link_local) {
            return refused("gateway", gateway.to_string(), "another station in the address's network");
        }
        Ok(())
    }
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
    /// More addresses of the stack's own, in the network of `address` and by its gateway: up to 1023.
    pub more_addresses: Vec<IpAddr>,
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
    /// With [`KernelSockets::Only`] and [`Idle::Busy`]: while there are eight connections at most they are read from without
    /// being told by epoll that something has come, which saves a system call each time. What is urgent is told late then
    /// ([`App::on_urgent`](stack::App::on_urgent)), or not at all.
    pub unasked_reads: bool,
    /// How long the applications go on with their connections once the end was asked for.
    pub drain_time: Duration,
    /// Where the XDP program runs.
    pub xdp_mode: XdpMode,
    /// How many new connections of one source prefix the XDP program lets through; `None`: all.
    pub syn_limit: Option<SynLimit>,
    /// Zero-copy or copied.
    pub copy_mode: CopyMode,
    /// Who writes the checksums of what is sent.
    pub tx_checksum: TxChecksum,
    /// What connections have in common.
    pub tcp: Settings,
    /// What each shard may hold.
    pub limits: Limits,
    /// Where files of what happened to connections are written ([`Tracer`](crate::trace::Tracer)); `None`: where control sockets are.
    pub trace_directory: Option<PathBuf>,
    /// A loop that fails, by its application's panic or the device's failure, writes such a file.
    pub trace_faults: bool,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<Endpoint>,
    /// The stack's threads keep the capabilities of the one that starts it; if not, they give up what they don't need.
    pub keep_privileges: bool,
    /// Once this is set a start that waits, for the carrier or for whoever has the address, ends with [`Error::Interrupted`].
    pub interrupt: Option<Arc<AtomicBool>>,
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
            more_addresses: Vec::new(),
            dad: Dad::default(),
            vlan: None,
            listen: Vec::new(),
            listen_options: ListenOptions::default(),
            ports: None,
            idle: Idle::default(),
            unasked_reads: false,
            drain_time: Duration::ZERO,
            xdp_mode: XdpMode::Auto,
            syn_limit: None,
            copy_mode: CopyMode::Auto,
            tx_checksum: TxChecksum::Auto,
            tcp: Settings::default(),
            limits: Limits::default(),
            trace_directory: None,
            trace_faults: false,
            metrics: None,
            keep_privileges: false,
            interrupt: None,
        }
    }

    /// Whether somebody does not want the stack any more that is being started.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|interrupt| interrupt.load(Ordering::Relaxed))
    }

    pub(crate) fn check_interrupt(&self) -> Result<(), Error> {
        if self.is_interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The defaults, over the kernel's sockets alone.
    #[must_use]
    pub fn kernel() -> Self {
        Self { kernel_sockets: KernelSockets::Only, ..Self::new("") }
    }

    /// All addresses of the stack's own.
    pub(crate) fn owned(&self) -> impl Iterator<Item = Address> {
        let more = move |own: Address| self.more_addresses.iter().map(move |ip| Address { ip: *ip, ..own });
        self.address.into_iter().flat_map(move |own| std::iter::once(own).chain(more(own)))
    }

    /// Whether there is one at all: what follows needs it.
    pub(crate) fn check_interface(&self) -> Result<(), Error> {
        match self.kernel_sockets {
            KernelSockets::Only => {
                let (field, value, allowed) =
                    ("interface", "none".into(), "one: the kernel's sockets have no loop to drive");
                Err(Error::Option { field, value, allowed })
            }
            KernelSockets::No | KernelSockets::Beside => Ok(()),
        }
    }

    /// What was asked for and needs an interface, or must not be there with one.
    fn check_kernel(&self) -> Result<(), Error> {
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
            ("more_addresses", words(!self.more_addresses.is_empty(), format!("{:?}", self.more_addresses))),
            ("vlan", self.vlan.map(|vlan| vlan.to_string())),
            ("queues", words(!self.queues.is_empty(), format!("{:?}", self.queues))),
            ("ports", own_ports.map(|ports| format!("{ports:?}"))),
            ("xdp_mode", words(self.xdp_mode != XdpMode::Auto, format!("{:?}", self.xdp_mode))),
            ("syn_limit", self.syn_limit.map(|limit| format!("{limit:?}"))),
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

    /// Whether each is allowed, and goes with the others. What depends on the interface, or on TCP, is checked where it is used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_kernel()?;
        let refused = |field, value, allowed| Err(Error::Option { field, value, allowed });
        if let Some(twice) = first_twice(&self.cores) {
            return refused("cores", format!("{twice} twice"), "each core once: it serves one queue");
        }
        if let Some(twice) = first_twice(&self.queues) {
            return refused("queues", format!("{twice} twice"), "each queue once");
        }
        if let Some(vlan) = self.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
            return refused("vlan", vlan.to_string(), "1 to 4094, or none for untagged");
        }
        if let Some(ports) = self.ports.as_ref().filter(|ports| ports.is_empty() || *ports.start() == 0) {
            return refused("ports", format!("{ports:?}"), "1 to 65535, the lower one first");
        }
        if self.interface.is_empty() && self.kernel_sockets != KernelSockets::Only {
            return refused("interface", "empty".into(), "the name of one (`ip link`)");
        }
        self.dad.check()?;
        self.syn_limit.as_ref().map_or(Ok(()), SynLimit::check)?;
        self.check_more_addresses()?;
        match (&self.address, self.vlan) {
            (Some(own), _) => own.check(),
            (None, Some(vlan)) => {
                let allowed = "one only with an address of the stack's own: the interface's are untagged";
                refused("vlan", vlan.to_string(), allowed)
            }
            (None, None) if self.dad != Dad::default() => {
                let allowed = "that only with an address of the stack's own: of a shared one the kernel has asked";
                refused("dad", format!("{} probes", self.dad.probes), allowed)
            }
            (None, None) => Ok(()),
        }
    }
}

impl Options {
    /// Whether they are the stack's to have, as its address is.
    fn check_more_addresses(&self) -> Result<(), Error> {
        let refused =
            |ip: &IpAddr, allowed| Err(Error::Option { field: "more_addresses", value: ip.to_string(), allowed });
        let Some(first) = self.more_addresses.first() else { return Ok(()) };
        let Some(own) = self.address else { return refused(first, "some only beside an address of the stack's own") };
        let all: Vec<_> = self.owned().map(|own| own.ip).collect();
        if let Some(twice) = first_twice(&all) {
            return refused(twice, "each address once");
        }
        if all.len() > MOST_ADDRESSES {
            return refused(&all[MOST_ADDRESSES], "1024 addresses in all");
        }
        let network = Route::new(own.ip, own.prefix_len, None);
        if let Some(other) = self.more_addresses.iter().find(|ip| !network.matches(**ip)) {
            return refused(other, "addresses in the network of the stack's own");
        }
        self.owned().skip(1).try_for_each(|own| own.check())
    }
}

fn first_twice<T: Ord>(all: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    all.iter().find(|one| !seen.insert(*one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::Duration;

    /// The field that is refused, if one is.
    fn refused(change: impl FnOnce(&mut Options)) -> Option<&'static str> {
        let mut options = Options::new("eth0");
        change(&mut options);
        match options.check() {
            Ok(()) => None,
            Err(Error::Option { field, .. }) => Some(field),
            Err(Error::Config(error)) => Some(error.field),
            Err(error) => panic!("{error}"),
        }
    }

    fn own(ip: &str, prefix_len: u8, gateway: Option<&str>) -> Option<Address> {
        Some(Address { ip: ip.parse().unwrap(), prefix_len, gateway: gateway.map(|ip| ip.parse().unwrap()) })
    }

    #[test]
    fn a_limit_on_syns_is_checked_and_needs_an_interface() {
        let limit = SynLimit::per_second(10.0);
        assert_eq!(refused(|o| o.syn_limit = Some(limit)), None);
        let wrong = Options { syn_limit: Some(SynLimit { burst: 0, ..limit }), ..Options::new("eth0") };
        let said = wrong.check().unwrap_err().to_string();
        assert!(said.contains("syn_limit.burst") && said.contains("1 to 1000000"), "{said}");
        let kernel = Options { syn_limit: Some(limit), ..Options::kernel() };
        let said = kernel.check().unwrap_err().to_string();
        assert!(said.contains("syn_limit") && said.contains("no interface"), "{said}");
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_its_name() {
        let ok = || own("10.0.0.8", 24, Some("10.0.0.1"));
        assert_eq!(refused(|_| {}), None);
        assert_eq!(refused(|o| (o.address, o.vlan, o.dad) = (ok(), Some(4094), Dad::RFC_5227)), None);
        assert_eq!(refused(|o| o.vlan = Some(5)), Some("vlan"));
        for vlan in [0, 4095] {
            assert_eq!(refused(|o| (o.address, o.vlan) = (ok(), Some(vlan))), Some("vlan"));
        }
        assert_eq!(refused(|o| o.dad = Dad::RFC_5227), Some("dad"));
        assert_eq!(refused(|o| o.cores = vec![0, 1, 0]), Some("cores"));
        assert_eq!(refused(|o| o.queues = vec![1, 1]), Some("queues"));
        assert_eq!(refused(|o| o.interface.clear()), Some("interface"));
        assert_eq!(refused(|o| o.ports = Some(1..=65_535)), None);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        for ports in [0..=7, 8..=7] {
            assert_eq!(refused(|o| o.ports = Some(ports)), Some("ports"));
        }
        let with = |dad| refused(move |o| (o.address, o.dad) = (ok(), dad));
        let seconds = Duration::from_secs;
        assert_eq!(with(Dad { probes: 17, ..Dad::default() }), Some("dad.probes"));
        assert_eq!(with(Dad { probe_min: seconds(61), ..Dad::default() }), Some("dad.probe_min"));
        assert_eq!(
            with(Dad { probe_min: seconds(3), probe_max: seconds(2), ..Dad::default() }),
            Some("dad.probe_max"),
            "less than the least"
        );
    }

    /// RFC 1122 section 3.2.1.3, RFC 3021.
    #[test]
    fn an_address_is_a_stations_and_its_gateway_another_ones() {
        for (ip, bits, gateway, expected) in [
            ("10.0.0.8", 24, None, None),
            ("10.0.0.8", 33, None, Some("address")),
            ("10.0.0.0", 24, None, Some("address")),
            ("10.0.0.255", 24, None, Some("address")),
            ("10.0.0.0", 31, Some("10.0.0.1"), None),
            ("10.0.0.8", 32, None, None),
            ("224.0.0.1", 24, None, Some("address")),
            ("127.0.0.1", 8, None, Some("address")),
            ("::", 64, None, Some("address")),
            ("::ffff:10.0.0.8", 120, None, Some("address")),
            ("fd77::8", 64, Some("fe80::1"), None),
            ("fd77::8", 64, Some("fd78::1"), Some("gateway")),
            ("fd77::8", 0, Some("fd78::1"), None),
            ("10.0.0.8", 0, Some("192.0.2.1"), None),
            ("10.0.0.8", 24, Some("fd77::1"), Some("gateway")),
            ("10.0.0.8", 24, Some("10.0.0.8"), Some("gateway")),
            ("10.0.0.8", 24, Some("10.0.1.1"), Some("gateway")),
            ("10.0.0.8", 24, Some("10.0.0.255"), Some("gateway")),
        ] {
            let address = own(ip, bits, gateway);
            assert_eq!(refused(|o| o.address = address), expected, "{ip}/{bits} {gateway:?}");
        }
    }

    #[test]
    fn more_addresses_are_in_the_network_of_the_first_and_each_is_there_once() {
        let with = |more: &[&str]| {
            let more = more.iter().map(|ip| ip.parse().unwrap()).collect();
            refused(|o| (o.address, o.more_addresses) = (own("10.0.0.8", 24, Some("10.0.0.1")), more))
        };
        assert_eq!(with(&["10.0.0.9", "10.0.0.254"]), None);
        for wrong in ["10.0.1.9", "10.0.0.8", "fd77::1"] {
            assert_eq!(with(&[wrong]), Some("more_addresses"), "{wrong}");
        }
        assert_eq!(with(&["10.0.0.9", "10.0.0.9"]), Some("more_addresses"));
        // Nobody's, and the gateway's.
        assert_eq!((with(&["10.0.0.255"]), with(&["10.0.0.1"])), (Some("address"), Some("gateway")));
        assert_eq!(refused(|o| o.more_addresses = vec!["10.0.0.9".parse().unwrap()]), Some("more_addresses"));
        let many = |count: u32| {
            let more = (1..count).map(|at| IpAddr::from((0x0a00_0000 + at).to_be_bytes())).collect();
            refused(|o| (o.address, o.more_addresses) = (own("10.0.200.200", 8, None), more))
        };
        assert_eq!((many(1024), many(1025)), (None, Some("more_addresses")));
    }

    #[test]
    fn a_refusal_is_one_sentence_with_the_value_and_what_is_allowed() {
        let mut options = Options::new("eth0");
        options.vlan = Some(4095);
        let said = options.check().unwrap_err().to_string();
        assert_eq!(said, "vlan is 4095, allowed is 1 to 4094, or none for untagged");
        (options.vlan, options.address) = (None, own("10.0.0.8", 24, None));
        options.dad.probe_wait = Duration::from_secs(61);
        assert_eq!(options.check().unwrap_err().to_string(), "dad.probe_wait is 61000, allowed is 0 to 60000 ms");
    }
}
