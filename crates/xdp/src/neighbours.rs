//! The kernel's neighbours and routes, mirrored by netlink: what a stack that shares the interface's address needs.
//!
//! All of it is about the network namespace of the thread that opens a mirror or asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use serde::Serialize;

use crate::error::Error;
use crate::facts::MacAddr;
use crate::netlink::{self, Requests};

/// `RTNLGRP_NEIGH` of linux/rtnetlink.h.
const NEIGHBOUR_GROUP: u32 = 3;
/// Datagrams read in one [`NeighbourMirror::poll_changes`].
const DATAGRAMS_PER_POLL: usize = 64;

/// A neighbour of an interface as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Its hardware address, if known.
    pub mac: Option<MacAddr>,
    /// How sure the kernel is of it.
    pub state: Reachability,
}

impl Neighbour {
    /// Whether frames may be sent to `mac` now: not while it is being resolved, nor after that failed.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.mac.is_some() && !matches!(self.state, Reachability::Unresolved | Reachability::Failed)
    }
}

/// How sure the kernel is of a neighbour: the states of RFC 4861 section 7.3.2, for IPv4 as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reachability {
    /// Being resolved for the first time, or not even that.
    Unresolved,
    /// It has answered lately.
    Reachable,
    /// It has not; whoever uses it makes the kernel ask.
    Stale,
    /// It was used since, and will be asked soon.
    Delay,
    /// It is being asked.
    Probe,
    /// It did not answer, or somebody wants it forgotten.
    Failed,
    /// It is never asked: configured, or there is no need.
    Static,
}

/// What happened to the kernel's neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourChange {
    /// Changes were lost: forget everything; all neighbours follow as `Updated`.
    Reset,
    /// A neighbour is new, or different.
    Updated(Neighbour),
    /// A neighbour is gone.
    Removed(IpAddr),
}

/// A mirror of the neighbours of one interface.
#[derive(Debug)]
pub struct NeighbourMirror {
    ifindex: u32,
    changes: Socket,
    requests: Requests,
}

impl NeighbourMirror {
    /// Subscribes to the neighbours of an interface. Changes from here on are not missed: dump after opening.
    ///
    /// # Errors
    /// A failed system call.
    pub fn open(ifindex: u32) -> Result<Self, Error> {
        let open = || {
            let mut changes = Socket::new(NETLINK_ROUTE)?;
            changes.bind(&SocketAddr::new(0, 0))?;
            changes.set_non_blocking(true)?;
            changes.add_membership(NEIGHBOUR_GROUP)?;
            Ok(Self { ifindex, changes, requests: Requests::open()? })
        };
        open().map_err(|source| Error::system("subscribing to the kernel's neighbours", source))
    }

    /// All the neighbours that the kernel knows on the interface.
    ///
    /// # Errors
    /// A failed system call.
    pub fn dump(&mut self) -> Result<Vec<Neighbour>, Error> {
        let answers = self
            .requests
            .dump(&RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))
            .map_err(|source| Error::system("reading the kernel's neighbours", source))?;
        let of_interface = |answer: &RouteNetlinkMessage| match answer {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == self.ifindex => neighbour(message),
            _ => None,
        };
        Ok(answers.iter().filter_map(of_interface).collect())
    }

    /// A descriptor that becomes readable when there are changes.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is `self`'s, and open as long as it lives.
        unsafe { BorrowedFd::borrow_raw(self.changes.as_raw_fd()) }
    }

    /// Appends what has changed; never blocks. True if everything was read. Reads a bounded number of messages: after false
    /// there may be more, and a descriptor that is waited for edge by edge does not say so again.
    ///
    /// # Errors
    /// A failed system call. Lost changes are not an error but a [`NeighbourChange::Reset`] and a dump.
    pub fn poll_changes(&mut self, out: &mut Vec<NeighbourChange>) -> Result<bool, Error> {
        let before = out.len();
        for _ in 0..DATAGRAMS_PER_POLL {
            match self.changes.recv_from_full() {
                Ok((bytes, _)) => out.extend(netlink::messages(&bytes).filter_map(|m| self.change(&m.payload))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    // What is still queued is older than the dump that follows.
                    out.truncate(before);
                    self.drain();
                    out.push(NeighbourChange::Reset);
                    out.extend(self.dump()?.into_iter().map(NeighbourChange::Updated));
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::system("reading changes of the kernel's neighbours", error)),
            }
        }
        Ok(false)
    }

    /// Throws away what is queued.
    fn drain(&self) {
        const LIMIT: usize = 65536;
        for _ in 0..LIMIT {
            match self.changes.recv_from_full() {
                Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => return,
                _ => {}
            }
        }
    }

    /// Asks the kernel to resolve `ip`: it makes the entry, or probes the one it has, as if it had a packet to send there.
    /// The answer comes as a change. An entry that is reachable stays as it is.
    ///
    /// # Errors
    /// A failed system call, for example an address that can't be a neighbour.
    pub fn resolve(&mut self, ip: IpAddr) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = self.ifindex;
        message.header.flags = NeighbourFlags::Use;
        message.header.kind = RouteType::Unspec;
        let (family, address) = match ip {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        message.header.family = family;
        message.attributes.push(NeighbourAttribute::Destination(address));
        self.requests
            .change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
            .map_err(|source| Error::system("asking the kernel to resolve a neighbour", source))
    }

    fn change(&self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<NeighbourChange> {
        let NetlinkPayload::InnerMessage(message) = payload else { return None };
        match message {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == self.ifindex => {
                neighbour(message).map(NeighbourChange::Updated)
            }
            RouteNetlinkMessage::DelNeighbour(message) if message.header.ifindex == self.ifindex => {
                neighbour(message).map(|neighbour| NeighbourChange::Removed(neighbour.ip))
            }
            _ => None,
        }
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok().map(MacAddr),
            _ => {}
        }
    }
    let state = match message.header.state {
        NeighbourState::Reachable => Reachability::Reachable,
        NeighbourState::Stale => Reachability::Stale,
        NeighbourState::Delay => Reachability::Delay,
        NeighbourState::Probe => Reachability::Probe,
        NeighbourState::Failed => Reachability::Failed,
        NeighbourState::Permanent | NeighbourState::Noarp => Reachability::Static,
        _ => Reachability::Unresolved,
    };
    Some(Neighbour { ip: ip?, mac, state })
}

/// A unicast route of the main table, for packets of any TOS and source, that go as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Network address.
    pub prefix: IpAddr,
    /// Its bits; 0 is the default route.
    pub prefix_len: u8,
    /// Next hop; `None`: on the link.
    pub gateway: Option<IpAddr>,
    /// The local address that the kernel prefers for it.
    pub source: Option<IpAddr>,
    /// Bytes of IP packet that may take it, if not all that the link carries.
    pub mtu: Option<u32>,
    /// Lower wins among equal prefixes.
    pub metric: u32,
}

/// The unicast routes of the main table that lead out of an interface, longest prefix first, then lowest metric.
///
/// # Errors
/// A failed system call.
pub fn routes(ifindex: u32) -> Result<Vec<Route>, Error> {
    let read = || read_routes(&mut Requests::open()?, ifindex);
    read().map_err(|source| Error::system("reading the kernel's routes", source))
}

pub(crate) fn read_routes(requests: &mut Requests, ifindex: u32) -> io::Result<Vec<Route>> {
    let mut routes = Vec::new();
    for address_family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = address_family;
        for answer in requests.dump(&RouteNetlinkMessage::GetRoute(question))? {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                routes.extend(route(&message, ifindex));
            }
        }
    }
    routes.sort_by_key(|route: &Route| (std::cmp::Reverse(route.prefix_len), route.metric));
    Ok(routes)
}

pub(crate) fn route(message: &RouteMessage, ifindex: u32) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut table = u32::from(message.header.table);
    let (mut interface, mut hops) = (None, &[][..]);
    let prefix_len = message.header.destination_prefix_length;
    let mut route = Route { prefix: unspecified, prefix_len, gateway: None, source: None, mtu: None, metric: 0 };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => route.prefix = ip(address).unwrap_or(unspecified),
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Via(via) => route.gateway = other_family(via),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::MultiPath(next_hops) => hops = next_hops,
            _ => {}
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) || !is_for_us(&message.header) || tunnels(&message.attributes) {
        return None;
    }
    let leads = |hop: &&RouteNextHop| {
        let alive = !hop.flags.contains(RouteNextHopFlags::Dead);
        hop.interface_index == ifindex && alive && !tunnels(&hop.attributes)
    };
    if let Some(hop) = hops.iter().find(leads) {
        return Some(Route { gateway: hop_gateway(hop), ..route });
    }
    (interface == Some(ifindex)).then_some(route)
}

/// Whether the kernel would take it for any packet to its prefix, and goes on having it: not one for a TOS or a source, and not
/// what it has learnt of a path (`ip route show cache`), which ends without a word.
fn is_for_us(header: &RouteHeader) -> bool {
    let any_packet = header.tos == 0 && header.source_prefix_length == 0;
    let stays = !header.flags.intersects(RouteFlags::Dead | RouteFlags::Cloned);
    header.kind == RouteType::Unicast && any_packet && stays
}

/// Whether packets are put into others on the way (ip-route(8), `encap`): as they are they must not leave by it.
fn tunnels(attributes: &[RouteAttribute]) -> bool {
    attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::EncapType(_) | RouteAttribute::Encap(_)))
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

fn hop_gateway(hop: &RouteNextHop) -> Option<IpAddr> {
    hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(via) => other_family(via),
        _ => None,
    })
}

/// A gateway of the other family (RFC 5549): its MAC address is all that is wanted of it.
fn other_family(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
