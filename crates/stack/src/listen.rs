//! Listeners and their backlogs.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// A listener of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) u16);

/// Why a listener could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenError {
    /// There is one on this address and port (`AddrInUse`).
    InUse,
    /// The address is none of ours (`AddrNotAvailable`).
    NotOurs,
    /// There are too many listeners.
    TooMany,
}

impl core::fmt::Display for ListenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::InUse => "the address and port are in use by another listener",
            Self::NotOurs => "the address is none of the stack's",
            Self::TooMany => "there are too many listeners",
        })
    }
}

impl core::error::Error for ListenError {}

#[derive(Debug)]
struct Listener {
    ip: IpAddr,
    port: u16,
    /// Connections that may be in SYN-RECEIVED at once.
    backlog: u32,
    opening: u32,
}

/// Few and rarely changed: sorted by port, found by binary search.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    by_port: Vec<(u16, ListenerId)>,
}

impl Listeners {
    pub(crate) fn add(&mut self, local: SocketAddr, backlog: u32) -> Result<ListenerId, ListenError> {
        let clash = |l: &Listener| {
            let same_family = l.ip.is_ipv4() == local.is_ipv4();
            l.port == local.port()
                && same_family
                && (l.ip == local.ip() || l.ip.is_unspecified() || local.ip().is_unspecified())
        };
        if self.all.iter().any(clash) {
            return Err(ListenError::InUse);
        }
        let id = ListenerId(u16::try_from(self.all.len()).map_err(|_| ListenError::TooMany)?);
        self.all.push(Listener { ip: local.ip(), port: local.port(), backlog, opening: 0 });
        let at = self.by_port.partition_point(|(port, _)| *port < local.port());
        self.by_port.insert(at, (local.port(), id));
        Ok(id)
    }

    pub(crate) fn find(&self, local: SocketAddr) -> Option<ListenerId> {
        let at = self.by_port.partition_point(|(port, _)| *port < local.port());
        self.by_port[at..].iter().take_while(|(port, _)| *port == local.port()).map(|(_, id)| *id).find(|id| {
            let ip = self.all[usize::from(id.0)].ip;
            ip == local.ip() || (ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4())
        })
    }

    /// A connection enters SYN-RECEIVED; false if the backlog is full.
    pub(crate) fn begin(&mut self, id: ListenerId) -> bool {
        let listener = &mut self.all[usize::from(id.0)];
        let room = listener.opening < listener.backlog;
        listener.opening += u32::from(room);
        room
    }

    /// A connection has left SYN-RECEIVED.
    pub(crate) fn end(&mut self, id: ListenerId) {
        // The listener may be gone ([`Shard::drain`](crate::Shard::drain)).
        if let Some(listener) = self.all.get_mut(usize::from(id.0)) {
            listener.opening = listener.opening.saturating_sub(1);
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|l| SocketAddr::new(l.ip, l.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> SocketAddr {
        s.parse().expect("an address")
    }

    /// MUST-41.
    #[test]
    fn a_wildcard_takes_its_family_and_excludes_others() {
        let mut listeners = Listeners::default();
        let any = listeners.add(at("0.0.0.0:80"), 1).expect("free");
        assert_eq!(listeners.find(at("10.0.0.1:80")), Some(any));
        assert_eq!(listeners.find(at("[fd77::1]:80")), None);
        assert_eq!(listeners.find(at("10.0.0.1:81")), None);
        assert_eq!(listeners.add(at("10.0.0.1:80"), 1), Err(ListenError::InUse));
        let six = listeners.add(at("[::]:80"), 1).expect("another family");
        assert_eq!(listeners.find(at("[fd77::1]:80")), Some(six));
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut listeners = Listeners::default();
        let id = listeners.add(at("10.0.0.1:80"), 1).expect("free");
        assert!(listeners.begin(id));
        assert!(!listeners.begin(id));
        listeners.end(id);
        assert!(listeners.begin(id));
    }
}
