//! Two namespaces joined by a cable: ours, and one that is a peer and a router.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

pub(crate) const INTERFACE: &str = "fwe-a";
pub(crate) const PEER: &str = "10.79.0.2";

/// What is left of it is removed at the end.
pub(crate) struct Lab;

fn ip(args: &str) -> bool {
    let quiet = Command::new("ip").args(args.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.expect("this test needs iproute2").success()
}

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

    pub(crate) fn peer(&self) -> TcpListener {
        within("fw-err-r", || TcpListener::bind((PEER, 0)).unwrap()).join().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove();
    }
}

/// Runs `f` on a thread in a namespace.
pub(crate) fn within<T: Send + 'static>(namespace: &str, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        f()
    })
}
