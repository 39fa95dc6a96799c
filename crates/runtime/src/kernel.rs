//! Who has which TCP port of an address that the stack and the kernel share.

mod ephemeral;
mod holder;

use crate::control;
use crate::error::Error;
use ephemeral::Ports;
pub(crate) use ephemeral::Reservation;
pub use holder::Holder;
use holder::{KernelSocket, TIME_WAIT};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use xdp::Capability;

/// The kernel must not give the ports listened on to somebody else: a socket is bound to each, and never listens. That also
/// finds out who is there already.
pub(crate) fn reserve(addresses: &[SocketAddr]) -> Result<Vec<Socket>, Error> {
    let failed = |address: SocketAddr, error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse if only_time_wait(address.port()) => Error::Lingering(address),
        io::ErrorKind::AddrInUse => Error::InUse { address, holder: Holder::of(address) },
        io::ErrorKind::PermissionDenied => {
            xdp::Error::privilege("reserving a port below 1024 in the kernel", &[Capability::NetBindService]).into()
        }
        _ => Error::system(format!("reserving {address} in the kernel"))(error),
    };
    addresses.iter().map(|address| bind(*address).map_err(|error| failed(*address, error))).collect()
}

/// `SO_REUSEADDR` is for what a server on the kernel's sockets left in TIME-WAIT, and for nothing else: with it a socket
/// could be bound beside connections that still live. It is taken back, or the next who sets it could bind, and listen.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && only_time_wait(address.port()) => {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.set_reuse_address(false)?;
        }
        bound => bound?,
    }
    Ok(socket)
}

/// Whether the kernel has the port in TIME-WAIT, and nowhere else.
fn only_time_wait(port: u16) -> bool {
    let mut states = holder::sockets().into_iter().filter(|s| s.local.port() == port).map(|s| s.state).peekable();
    states.peek().is_some() && states.all(|state| state == TIME_WAIT)
}

/// Takes the ports of active opens from the kernel's ephemeral ones, where it would use them as well. Whether that was
/// possible is for [`check_ports`] to find out.
pub(crate) fn take_ports(ours: Option<&RangeInclusive<u16>>) -> Option<Reservation> {
    Reservation::make(ours, Path::new(control::DIRECTORY))
        .inspect_err(|error| tracing::debug!(%error, "ports can't be reserved from the kernel's ephemeral ones"))
        .ok()
        .flatten()
}

/// Has the kernel report that somebody here listens to the solicited-node group of an owned IPv6 address (MLD, RFC 3810; RFC
/// 4862 section 5.4.2), and answer those who ask who does: a switch that snoops passes on what is asked for the address. For
/// as long as the socket is open. Where the kernel can't, IPv6 being off on the interface, the switch must be told otherwise.
pub(crate) fn join_group(ifindex: u32, ip: IpAddr) -> Option<Socket> {
    let IpAddr::V6(ip) = ip else { return None };
    let [.., a, b, c] = ip.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let joined = Socket::new(Domain::IPV6, Type::DGRAM, None)
        .and_then(|socket| socket.join_multicast_v6(&group, ifindex).map(|()| socket));
    joined.inspect_err(|error| tracing::warn!("{group} is not reported by MLD: {error}")).ok()
}

/// Refuses ports of active opens that the kernel uses for its own connections at `addresses`, or would give to them: it would
/// not hear of those any more.
pub(crate) fn check_ports(ours: &RangeInclusive<u16>, addresses: &[IpAddr]) -> Result<(), Error> {
    let (range, reserved) = ephemeral::kernels().map_err(Error::system("reading the kernel's ephemeral ports"))?;
    if let Some(range) = range
        && let Some((low, high)) = overlap(ours, &range, &reserved)
    {
        let kernel = format!("{}-{}", range.start(), range.end());
        return Err(Error::PortsOverlap { ours: format!("{low}-{high}"), kernel });
    }
    let serves = |s: &KernelSocket| addresses.iter().any(|ip| s.serves(*ip)) && s.state != TIME_WAIT;
    match holder::sockets().iter().find(|s| ours.contains(&s.local.port()) && serves(s)) {
        Some(socket) => {
            let ours = format!("{}-{}", ours.start(), ours.end());
            Err(Error::PortTaken { port: socket.local.port(), ours, holder: Holder::of_socket(socket) })
        }
        None => Ok(()),
    }
}

/// The first and last port that both would use.
fn overlap(ours: &RangeInclusive<u16>, kernel: &RangeInclusive<u16>, reserved: &Ports) -> Option<(u16, u16)> {
    let both = |port: &u16| kernel.contains(port) && !reserved.contains(*port);
    let (low, high) = (ours.clone().find(both)?, ours.clone().rev().find(both)?);
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_ports_are_its_ephemeral_ones_without_the_reserved() {
        let ours = 61_000..=65_535;
        let shared = |kernel: RangeInclusive<u16>, reserved| overlap(&ours, &kernel, &Ports::parse(reserved));
        assert_eq!(shared(32_768..=60_999, "\n"), None);
        assert_eq!(shared(1024..=65_535, "\n"), Some((61_000, 65_535)));
        assert_eq!(shared(32_768..=61_009, "8080\n"), Some((61_000, 61_009)));
        assert_eq!(shared(1024..=65_535, "8080,61000-65535\n"), None);
        assert_eq!(shared(1024..=65_535, "61000,61002-65534\n"), Some((61_001, 65_535)));
    }

    /// Loopback, on a port that nobody else has: no privilege is needed.
    #[test]
    fn time_wait_is_no_hindrance_and_a_listener_is() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        assert!(matches!(reserve(&[address]), Err(Error::InUse { .. })));
        let client = std::net::TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        assert!(matches!(reserve(&[address]), Err(Error::InUse { .. })));
        drop((listener, client));
        let mut reserved = None;
        for _ in 0..500 {
            reserved = reserve(&[address]).ok();
            if reserved.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let reserved = reserved.expect("the port, in spite of TIME-WAIT");
        assert!(only_time_wait(address.port()), "this test did not make a TIME-WAIT");
        // And it is held against those who set SO_REUSEADDR.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        other.set_reuse_address(true).unwrap();
        assert_eq!(other.bind(&address.into()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(matches!(reserve(&[address]), Err(Error::Lingering(_) | Error::InUse { .. })));
        drop(reserved);
    }
}
