//! Changes of an interface, its addresses and its routes, on a real veth pair.

mod support;

use std::net::IpAddr;

use support::{A, Lab, ip};
use xdp::facts::InterfaceFacts;
use xdp::links::InterfaceMirror;
use xdp::neighbours::Route;

/// Of an interface that has come to rest: its link-local address is its own a second or two behind its start (RFC 4862 section
/// 5.4), and that is a change.
fn mirror(lab: &Lab) -> InterfaceMirror {
    support::eventually("the interface is as it will be", || {
        let shown = ip(&["-n", lab.a(), "addr", "show", "dev", A]);
        shown.contains("state UP") && shown.contains("inet6 fe80") && !shown.contains("tentative")
    });
    lab.in_a(|| InterfaceMirror::open(InterfaceFacts::read(A).unwrap().ifindex).unwrap())
}

/// `ip` in the first namespace.
fn a(lab: &Lab, args: &str) {
    ip(&[&["-n", lab.a()], args.split(' ').collect::<Vec<_>>().as_slice()].concat());
}

/// Waits for the word that something has changed, and reads all of it.
fn await_change(mirror: &mut InterfaceMirror) {
    let mut changed = false;
    support::eventually("a change is said", || {
        let drained = mirror.poll_changes(&mut changed).unwrap();
        changed && drained
    });
}

fn nothing_changed(mirror: &mut InterfaceMirror) {
    let mut changed = false;
    while !mirror.poll_changes(&mut changed).unwrap() {}
    assert!(!changed);
}

fn find(mirror: &mut InterfaceMirror, prefix: &str) -> Option<Route> {
    let prefix: IpAddr = prefix.parse().unwrap();
    mirror.routes().unwrap().into_iter().find(|route| route.prefix == prefix)
}

/// The kernel takes them for other packets, or does more with these than to send them on (rtnetlink(7)).
#[test]
fn routes_that_the_kernel_would_not_take_for_our_packets_are_none() {
    let lab = Lab::new();
    for route in [
        "route add 192.0.2.0/24 via 10.78.0.2",
        "route add 192.0.2.0/24 tos 0x10 via 10.78.0.77",
        "-6 route add default via fd78::2 metric 2048",
        "-6 route add default from 2001:db8:5::/48 via fd78::55",
        "-6 route add 2001:db8:2::/48 encap seg6 mode encap segs fd78::9 dev a0",
        "route add 198.51.100.0/24 nexthop encap ip id 7 dst 10.78.0.9 via 10.78.0.7 dev a0 nexthop via 10.78.0.8 dev a0",
    ] {
        a(&lab, route);
    }
    let mut mirror = mirror(&lab);
    let mut gateway = |prefix| find(&mut mirror, prefix).map(|route| route.gateway);
    assert_eq!(gateway("192.0.2.0"), Some("10.78.0.2".parse().ok()), "not for another TOS");
    assert_eq!(gateway("::"), Some("fd78::2".parse().ok()), "not for another source");
    assert_eq!(gateway("2001:db8:2::"), None, "not into a tunnel");
    assert_eq!(gateway("198.51.100.0"), Some("10.78.0.8".parse().ok()), "not into a tunnel, of two ways");
}

/// What the kernel keeps of a path beside the routes (`ip route show cache`) ends without a word.
#[test]
fn what_the_kernel_has_learnt_of_a_path_is_no_route() {
    let lab = Lab::new();
    a(&lab, "route add 192.0.2.0/24 via 10.78.0.2");
    let mut mirror = mirror(&lab);
    // The other end is a router, and says that packets are too big (RFC 1191).
    support::run("ip", &["netns", "exec", lab.b(), "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
    ip(&["-n", lab.b(), "link", "add", "far", "mtu", "1400", "type", "veth", "peer", "name", "end"]);
    ip(&["-n", lab.b(), "link", "set", "far", "up"]);
    ip(&["-n", lab.b(), "route", "add", "192.0.2.0/24", "dev", "far"]);
    lab.in_a(|| {
        let socket = std::net::UdpSocket::bind("10.78.0.1:0").unwrap();
        socket.send_to(&[0; 1450], "192.0.2.9:9").unwrap();
    });
    support::eventually("the kernel has learnt it", || {
        ip(&["-n", lab.a(), "route", "get", "192.0.2.9"]).contains("mtu 1400")
    });
    assert_eq!(find(&mut mirror, "192.0.2.9"), None);
    assert!(find(&mut mirror, "192.0.2.0").is_some());
}

#[test]
fn routes_that_come_change_and_go_are_said() {
    let lab = Lab::new();
    a(&lab, "link add other type veth peer name peer");
    a(&lab, "addr add 10.79.0.1/24 dev other");
    a(&lab, "link set other up");
    a(&lab, "link set peer up");
    let mut mirror = mirror(&lab);
    nothing_changed(&mut mirror);
    for (prefix, family) in [("10.99.0.0", "10.78.0"), ("fd99::", "fd78:")] {
        let (bits, dot) = if prefix.contains(':') { (32, ":") } else { (16, ".") };
        a(&lab, &format!("route add {prefix}/{bits} via {family}{dot}2"));
        await_change(&mut mirror);
        assert_eq!(find(&mut mirror, prefix).unwrap().gateway, format!("{family}{dot}2").parse().ok());
        a(&lab, &format!("route replace {prefix}/{bits} via {family}{dot}3"));
        await_change(&mut mirror);
        assert_eq!(find(&mut mirror, prefix).unwrap().gateway, format!("{family}{dot}3").parse().ok());
        a(&lab, &format!("route del {prefix}/{bits}"));
        await_change(&mut mirror);
        assert_eq!(find(&mut mirror, prefix), None);
    }
    // An interface that is not looked at, until a route goes over to it.
    a(&lab, "route add 10.98.0.0/16 via 10.79.0.2");
    nothing_changed(&mut mirror);
    a(&lab, "route add 10.97.0.0/16 via 10.78.0.2");
    await_change(&mut mirror);
    a(&lab, "route replace 10.97.0.0/16 via 10.79.0.2");
    await_change(&mut mirror);
    assert_eq!(find(&mut mirror, "10.97.0.0"), None);
    // RFC 5549: a gateway of the other family.
    a(&lab, "route add 10.96.0.0/16 via inet6 fd78::2");
    await_change(&mut mirror);
    assert_eq!(find(&mut mirror, "10.96.0.0").unwrap().gateway, "fd78::2".parse().ok());
    // The kernel does not say that IPv4's go with an interface that goes down, only that it does.
    a(&lab, &format!("link set {A} down"));
    await_change(&mut mirror);
    assert_eq!(find(&mut mirror, "10.78.0.0"), None);
    a(&lab, &format!("link set {A} up"));
    await_change(&mut mirror);
    support::eventually("the link's own is back", || find(&mut mirror, "10.78.0.0").is_some());
}

#[test]
fn the_interface_is_followed_by_its_index_until_it_is_gone() {
    let lab = Lab::new();
    let mut mirror = mirror(&lab);
    let before = lab.in_a(|| InterfaceFacts::read(A).unwrap());
    let facts = mirror.facts().unwrap().unwrap();
    assert_eq!((&facts.name, facts.mac, &facts.addresses), (&before.name, before.mac, &before.addresses));
    a(&lab, &format!("link set {A} mtu 1400"));
    await_change(&mut mirror);
    assert_eq!(mirror.facts().unwrap().unwrap().mtu, 1400);
    a(&lab, &format!("addr del 10.78.0.1/24 dev {A}"));
    await_change(&mut mirror);
    let addresses = mirror.facts().unwrap().unwrap().addresses;
    assert!(addresses.iter().all(|a| a.address != IpAddr::from([10, 78, 0, 1])), "{addresses:?}");
    a(&lab, &format!("link set {A} down"));
    a(&lab, &format!("link set {A} name other"));
    await_change(&mut mirror);
    let facts = mirror.facts().unwrap().unwrap();
    assert_eq!((facts.name.as_str(), facts.up), ("other", false));
    a(&lab, "link del other");
    await_change(&mut mirror);
    assert_eq!(mirror.facts().unwrap(), None);
}

#[test]
fn lost_changes_are_a_change() {
    let lab = Lab::new();
    let mut mirror = mirror(&lab);
    // More than a socket buffer of 212,992 bytes holds, of an interface that is not looked at; nobody reads meanwhile.
    a(&lab, "link add other type veth peer name peer");
    a(&lab, "link set other up");
    a(&lab, "link set peer up");
    let mut changed = false;
    while !mirror.poll_changes(&mut changed).unwrap() {}
    let file = std::env::temp_dir().join(format!("{}-routes", lab.a()));
    let line = |n: u32| format!("route add 10.{}.{}.0/24 dev other\n", 100 + n / 250, n % 250);
    std::fs::write(&file, (0..2000).map(line).collect::<String>()).unwrap();
    a(&lab, &format!("-batch {}", file.to_str().unwrap()));
    std::fs::remove_file(&file).unwrap();
    await_change(&mut mirror);
    nothing_changed(&mut mirror);
}

/// Until everything that waits has been read the kernel drops what comes, and has said so once: what was read before is old.
#[test]
fn a_change_behind_lost_ones_is_said() {
    let lab = Lab::new();
    a(&lab, "link add other type veth peer name peer");
    a(&lab, "addr add 10.79.0.1/24 dev other");
    a(&lab, "link set other up");
    a(&lab, "link set peer up");
    let mut mirror = mirror(&lab);
    let mut changed = false;
    while !mirror.poll_changes(&mut changed).unwrap() {}
    let file = std::env::temp_dir().join(format!("{}-behind", lab.a()));
    let line = |n: u32| format!("route add 20.0.{}.{}/32 via 10.79.0.2\n", n >> 8, n & 255);
    std::fs::write(&file, (0..4000).map(line).collect::<String>()).unwrap();
    a(&lab, &format!("-batch {}", file.to_str().unwrap()));
    std::fs::remove_file(&file).unwrap();
    changed = false;
    mirror.poll_changes(&mut changed).unwrap();
    assert!(changed, "nothing was lost");
    assert_eq!(find(&mut mirror, "192.0.2.0"), None);
    a(&lab, "route add 192.0.2.0/24 via 10.78.0.2");
    await_change(&mut mirror);
    assert!(find(&mut mirror, "192.0.2.0").is_some());
}
