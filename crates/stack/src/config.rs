//! What a shard is made with.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use tcp::ConfigError;
use wire::MacAddr;

/// An address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length: what is on the link.
    pub prefix_len: u8,
    /// The address is the stack's alone: it answers ARP, NDP and ICMP echo for it. Otherwise the interface's own, and the
    /// kernel does.
    pub owned: bool,
}

impl LocalAddress {
    /// Whether a station on a link can have it: not loopback, multicast, broadcast, unspecified, or IPv4 in IPv6.
    #[must_use]
    pub fn is_of_a_link(&self) -> bool {
        !is_nobodys(self.ip)
    }
}

/// A shard's settings. Sizes are limits; memory is taken as it is needed.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// The interface's MAC address.
    pub mac: MacAddr,
    /// The interface's MTU, bytes of IP packet: 576 to 65,535.
    pub mtu: u16,
    /// Our addresses, 1 to 1024. Active opens leave from the one that suits the route: of equals the first. There may be none
    /// where there is no interface, only the kernel's sockets ([`Shard::set_sockets`](crate::Shard::set_sockets)): the MAC
    /// address is zero then.
    pub addresses: Vec<LocalAddress>,
    /// Routes beyond the link: prefix, its length, and the gateway (`None`: on the link).
    pub routes: Vec<crate::Route>,
    /// The tag that everything which is no reply is sent with (IEEE 802.1Q: 3 bits priority, 1 bit drop eligible, 12 bits
    /// VLAN identifier, not 4095). Replies have the tag, or none, of what they answer.
    pub vlan: Option<u16>,
    /// How it is found out whether owned addresses are somebody else's; they are used once nobody has answered
    /// ([`Shard::tentative`](crate::Shard::tentative)), and announced. `None`, the default: they are ours, or another shard
    /// asks and announces.
    pub dad: Option<crate::Dad>,
    /// TTL or hop limit of what is sent. 1 to 255 (RFC 9293 MUST-49; 64 by RFC 1700).
    pub hop_limit: u8,
    /// Ports for active opens.
    pub ports: RangeInclusive<u16>,
    /// Connections, in any state but TIME-WAIT and the SYN-RECEIVED of a passive open. 1 to 2^30.
    pub max_connections: u32,
    /// Connections that are kept in full whatever they do. Of those beyond that who has nothing to send, to read, to acknowledge
    /// or to wait for, and has had nothing for 10 ms, is put to rest: it takes a third of the memory, and 1,900 instructions to be
    /// made whole again by the next segment or call and put to rest behind it. 0 to 2^30, where 0 spares it the 10 ms; 4096 by
    /// default, which a cache of some MiB has room for.
    pub most_awake: u32,
    /// Passive opens in SYN-RECEIVED, of all listeners together. 1 to 2^24.
    pub max_half_open: u32,
    /// TIME-WAIT records. 1 to 2^30.
    pub max_time_wait: u32,
    /// Timers of the application ([`Io::start_timer`](crate::Io::start_timer)). 0 to 2^30.
    pub max_timers: u32,
    /// Messages that may wait for one shard, at each that sends to it and at itself. 1 to 2^20.
    pub max_messages: u32,
    /// Bytes of data kept for all connections together.
    pub pool_bytes: usize,
    /// Records of the flight recorder ([`recorder`](crate::recorder)), of 32 bytes each; 0: it is off. 0 to 2^24, 65,536 by default.
    pub trace_records: u32,
    /// What connections have in common.
    pub tcp: tcp::Config,
    /// Secrets, from the system's random source: the table's key, the ISN's, the ports', the SYN cookies'. Shards of one
    /// interface have the same: a flow's next incarnation, or the ACK with a cookie, may come to another of them.
    pub secrets: [[u8; 16]; 4],
    /// The shard's place among those of its interface: by default it is alone. `index` below `count`.
    pub place: crate::Place,
}

impl ShardConfig {
    /// A configuration with the defaults of the stack.
    #[must_use]
    pub fn new(mac: MacAddr, mtu: u16, addresses: Vec<LocalAddress>, secrets: [[u8; 16]; 4]) -> Self {
        Self {
            mac,
            mtu,
            addresses,
            routes: Vec::new(),
            vlan: None,
            dad: None,
            hop_limit: 64,
            ports: DEFAULT_PORTS,
            max_connections: 1 << 20,
            most_awake: 4096,
            max_half_open: 1 << 18,
            max_time_wait: 1 << 20,
            max_timers: 1 << 22,
            max_messages: 4096,
            pool_bytes: 256 << 20,
            trace_records: 1 << 16,
            tcp: tcp::Config::default(),
            secrets,
            place: crate::Place::ALONE,
        }
    }
}

impl ShardConfig {
    /// Checks every field.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let within = |field, value: u64, range: RangeInclusive<u64>, allowed| {
            range.contains(&value).then_some(()).ok_or(ConfigError { field, value, allowed })
        };
        within("mtu", self.mtu.into(), 576..=65_535, "576 to 65,535 bytes")?;
        within("hop_limit", self.hop_limit.into(), 1..=255, "1 to 255")?;
        within("max_connections", self.max_connections.into(), 1..=1 << 30, "1 to 2^30")?;
        within("most_awake", self.most_awake.into(), 0..=1 << 30, "0 to 2^30")?;
        within("max_half_open", self.max_half_open.into(), 1..=1 << 24, "1 to 2^24")?;
        within("max_time_wait", self.max_time_wait.into(), 1..=1 << 30, "1 to 2^30")?;
        within("max_timers", self.max_timers.into(), 0..=1 << 30, "0 to 2^30")?;
        within("max_messages", self.max_messages.into(), 1..=1 << 20, "1 to 2^20")?;
        within("trace_records", self.trace_records.into(), 0..=1 << 24, "0 to 2^24")?;
        within("pool_bytes", self.pool_bytes as u64, 16 << 10..=1 << 42, "16 KiB to 4 TiB")?;
        within("vlan", (self.vlan.unwrap_or(0) & 0xfff).into(), 0..=4094, "an identifier of 0 to 4094")?;
        within("place.count", self.place.count.into(), 1..=65_535, "at least 1")?;
        within("place.index", self.place.index.into(), 0..=u64::from(self.place.count) - 1, "below place.count")?;
        if let Some(dad) = self.dad {
            dad.check()?;
        }
        let least = u64::from(self.mac != MacAddr::default());
        within("addresses", self.addresses.len() as u64, least..=1024, "1 to 1024 addresses")?;
        for a in &self.addresses {
            let bits = if a.ip.is_ipv4() { 32 } else { 128 };
            within("prefix_len", a.prefix_len.into(), 0..=bits, "0 to 32 (IPv4) or 128 (IPv6)")?;
            if !a.is_of_a_link() {
                let allowed =
                    "unicast addresses of a link: not loopback, multicast, broadcast, unspecified, or IPv4 in IPv6";
                return Err(ConfigError { field: "addresses", value: a.prefix_len.into(), allowed });
            }
        }
        Ok(())
    }
}

/// An address no station on a network has. IPv4 within IPv6 is one: tables, the steering program's among them, keep IPv4 that
/// way. "This network" is, too (RFC 1122 section 3.2.1.3 (a) and (b)).
pub(crate) fn is_nobodys(ip: IpAddr) -> bool {
    let of_family = match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
    };
    of_family || ip.is_multicast() || ip.is_unspecified() || ip.is_loopback()
}

/// Above Linux's ephemeral range (32768 to 60999), so that the kernel's own connections never meet the stack's.
pub const DEFAULT_PORTS: RangeInclusive<u16> = 61_000..=65_535;
