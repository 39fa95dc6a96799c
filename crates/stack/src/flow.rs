//! What names a connection: both addresses and both ports.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A connection's key, from our side. IPv4 addresses are kept v4-mapped (`::ffff:a.b.c.d`): 36 bytes for either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    local: Ipv6Addr,
    remote: Ipv6Addr,
    local_port: u16,
    remote_port: u16,
}

impl FlowKey {
    /// The key of a connection between `local` and `remote`.
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: mapped(local.ip()),
            remote: mapped(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    /// Our address and port.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.to_canonical(), self.local_port)
    }

    /// Whether it is a connection of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.local.to_ipv4_mapped().is_some()
    }

    /// The peer's address and port.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.to_canonical(), self.remote_port)
    }
}

const fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back() {
        let v4 = FlowKey::new("10.0.0.1:80".parse().expect("v4"), "10.0.0.2:9".parse().expect("v4"));
        assert_eq!(v4.local(), "10.0.0.1:80".parse().expect("v4"));
        let v6 = FlowKey::new("[fd77::1]:80".parse().expect("v6"), "[fd77::2]:9".parse().expect("v6"));
        assert_eq!(v6.remote(), "[fd77::2]:9".parse().expect("v6"));
        assert_eq!(size_of::<FlowKey>(), 36);
    }
}
