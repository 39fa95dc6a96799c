//! Two namespaces joined by a cable: ours, and one that is a peer and a router.

use crate::namespaces::{ip, within};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

pub(crate) const INTERFACE: &str = "fwe-a";
pub(crate) const PEER: &str = "10.79.0.2";

/// What is left of it is removed at the end.
pub(crate) struct Lab;

fn remove() {
    ip("netns del fw-err-a");
    ip("netns del fw-err-r");
}

impl Lab {
    pub(crate) fn up() -> Self {
        remove();
        for step in [
            "netns add fw-err-a",
            "netns add fw-err-r",
            "link add fwe-a netns fw-err-a numrxqueues 1 numtxqueues 1 type veth peer name fwe-r netns fw-err-r",
            "-n fw-err-a address add 10.79.0.1/24 dev fwe-a",
            "-n fw-err-r address add 10.79.0.2/24 dev fwe-r",
            "netns exec fw-err-a ethtool -K fwe-a tx off tso off gso off gro off",
            "netns exec fw-err-r ethtool -K fwe-r tx off tso off gso off gro off",
            "netns exec fw-err-r sysctl -w net.ipv4.ip_forward=1",
            "netns exec fw-err-r sysctl -w net.ipv4.icmp_ratelimit=0",
            "-n fw-err-a link set lo up",
            "-n fw-err-r link set lo up",
            "-n fw-err-a link set fwe-a up",
            "-n fw-err-r link set fwe-r up",
            // What the router answers: host unreachable, administratively prohibited, and, since it has no route, net unreachable.
            "-n fw-err-a route add default via 10.79.0.2",
            "-n fw-err-r route add unreachable 10.79.1.0/24",
            "-n fw-err-r route add prohibit 10.79.2.0/24",
        ] {
            assert!(ip(step), "ip {step}: this test needs root, iproute2, ethtool and sysctl");
        }
        Self
    }

    /// Pulls the cable; and puts it back.
    pub(crate) fn cable(&self, there: bool) {
        assert!(ip(if there { "-n fw-err-r link set fwe-r up" } else { "-n fw-err-r link set fwe-r down" }));
    }

    /// The peer falls silent, on a link that is there: its answers have nowhere to go.
    pub(crate) fn silence(&self, on: bool) {
        let what = if on { "add" } else { "del" };
        assert!(ip(&format!("-n fw-err-r route {what} blackhole 10.79.0.1/32")));
    }

    /// A port of the peer's whose SYNs are dropped, since nobody accepts, and answered by ICMP: port unreachable.
    pub(crate) fn unreachable_port(&self) -> (SocketAddr, JoinHandle<()>) {
        let (port, silent) = within("fw-err-r", || {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            listener.bind(&SocketAddr::from((PEER.parse::<Ipv4Addr>().unwrap(), 0)).into()).unwrap();
            listener.listen(0).unwrap();
            let port = listener.local_addr().unwrap().as_socket().unwrap();
            // One is let in.
            let first = TcpStream::connect(port).unwrap();
            (port, (listener, first))
        })
        .join()
        .unwrap();
        let (ready, listens) = channel();
        let router = within("fw-err-r", move || {
            let raw = |protocol| Socket::new(Domain::IPV4, Type::RAW, Some(protocol)).unwrap();
            let (mut seen, icmp) = (raw(Protocol::TCP), raw(Protocol::ICMPV4));
            ready.send(()).unwrap();
            let mut packet = [0; 2048];
            loop {
                let _ = seen.read(&mut packet).unwrap();
                // An IPv4 header without options, and a SYN for that port.
                if packet[22..24] == port.port().to_be_bytes() && packet[33] == 2 {
                    break;
                }
            }
            let mut message = [3, 3, 0, 0, 0, 0, 0, 0].to_vec();
            message.extend(&packet[..28]);
            let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let sum = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
            message[2..4].copy_from_slice(&(!sum).to_be_bytes());
            let to = SocketAddr::from(([10, 79, 0, 1], 0));
            icmp.send_to(&message, &to.into()).unwrap();
            drop(silent);
        });
        listens.recv().unwrap();
        (port, router)
    }

    pub(crate) fn peer(&self) -> TcpListener {
        within("fw-err-r", || TcpListener::bind((PEER, 0)).unwrap()).join().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove();
    }
}
