//! What names a connection: both addresses and both ports.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A connection's key, from our side. IPv4 addresses are kept v4-mapped (`::ffff:a.b.c.d`): 36 bytes for either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        Self::of(local.ip(), local.port(), remote.ip(), remote.port())
    }

    #[inline]
    pub(crate) const fn of(local: IpAddr, local_port: u16, remote: IpAddr, remote_port: u16) -> Self {
        Self { local: mapped(local), remote: mapped(remote), local_port, remote_port }
    }

    /// Our address and port.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.to_canonical(), self.local_port)
    }

    /// Both addresses, ours first.
    #[inline]
    pub(crate) const fn addresses(&self) -> (IpAddr, IpAddr) {
        if self.is_ipv4() {
            let ([.., a, b, c, d], [.., e, f, g, h]) = (self.local.octets(), self.remote.octets());
            (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), IpAddr::V4(Ipv4Addr::new(e, f, g, h)))
        } else {
            (IpAddr::V6(self.local), IpAddr::V6(self.remote))
        }
    }

    /// Both ports, ours first.
    #[inline]
    pub(crate) const fn ports(&self) -> (u16, u16) {
        (self.local_port, self.remote_port)
    }

    /// Whether it is a connection of IPv4.
    #[must_use]
    #[inline]
    pub const fn is_ipv4(&self) -> bool {
        self.local.to_bits() >> 32 == 0xffff
    }

    /// The peer's address and port.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.to_canonical(), self.remote_port)
    }
}

/// A key in 22 bytes, for what there are millions of: our address by its place among the shard's own
/// ([`ShardConfig::addresses`](crate::ShardConfig::addresses)), which who keeps it has at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompactKey {
    remote: Ipv6Addr,
    remote_port: u16,
    local_port: u16,
    local: u16,
}

impl CompactKey {
    /// `None` if our address is none of `ours`.
    pub(crate) fn of(key: &FlowKey, ours: &[IpAddr]) -> Option<Self> {
        let local = key.local.to_canonical();
        let place = ours.iter().position(|ip| *ip == local)?;
        let FlowKey { remote, local_port, remote_port, .. } = *key;
        Some(Self { remote, remote_port, local_port, local: u16::try_from(place).ok()? })
    }

    /// Reads a little of it, so that it is in a cache; what it read means nothing.
    #[inline]
    pub(crate) const fn touch(&self) -> u32 {
        self.remote_port as u32
    }

    #[inline]
    pub(crate) fn key(&self, ours: &[IpAddr]) -> Option<FlowKey> {
        let local = mapped(*ours.get(usize::from(self.local))?);
        Some(FlowKey { local, remote: self.remote, local_port: self.local_port, remote_port: self.remote_port })
    }
}

impl Hash for FlowKey {
    /// Addresses and ports for a keyed hash. Of IPv4 only what it has, so half the rounds; the message is then of another length
    /// than any of IPv6. Words of known size leave nothing of the hash's buffering.
    #[inline(always)] // they are words of known size only where it is
    #[allow(clippy::cast_possible_truncation)] // the low word of both halves
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let (local, remote) = (self.local.to_bits(), self.remote.to_bits());
        if self.is_ipv4() {
            hasher.write_u64((local as u64) << 32 | (remote as u64 & 0xffff_ffff));
        } else {
            for word in [local >> 64, local, remote >> 64, remote] {
                hasher.write_u64(word as u64);
            }
        }
        hasher.write_u32(u32::from(self.local_port) << 16 | u32::from(self.remote_port));
    }
}

/// As one number: byte by byte it costs a hundred instructions.
#[inline]
const fn mapped(ip: IpAddr) -> Ipv6Addr {
    Ipv6Addr::from_bits(match ip {
        IpAddr::V4(ip) => 0xffff << 32 | ip.to_bits() as u128,
        IpAddr::V6(ip) => ip.to_bits(),
    })
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
