//! The mirror of the kernel's neighbours, its routes, and facts, on a real veth pair.

mod support;

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use support::{A, A_IP, B_IP, Lab, ip, run};
use xdp::facts::{InterfaceFacts, MacAddr, Offloads, Validity};
use xdp::neighbours::{Neighbour, NeighbourChange, NeighbourMirror, Reachability, routes};

fn mirror(lab: &Lab) -> NeighbourMirror {
    lab.in_a(|| NeighbourMirror::open(InterfaceFacts::read(A).unwrap().ifindex).unwrap())
}

/// The first change that `wanted` takes.
fn await_change(mirror: &mut NeighbourMirror, wanted: impl Fn(&NeighbourChange) -> bool) -> NeighbourChange {
    let mut changes = Vec::new();
    support::eventually("the change arrived", || {
        mirror.poll_changes(&mut changes).unwrap();
        changes.iter().any(&wanted)
    });
    changes.into_iter().find(wanted).unwrap()
}

#[test]
fn resolving_makes_the_kernel_ask_and_the_answer_arrives() {
    let lab = Lab::new();
    let mac = lab.mac_b();
    let mut mirror = mirror(&lab);
    for address in [IpAddr::V4(B_IP), "fd78::2".parse().unwrap()] {
        assert!(mirror.dump().unwrap().iter().all(|neighbour| neighbour.ip != address));
        // The kernel gives up after three requests in three seconds. Should these be lost while it has other things to do, as the end
        // of other tests' namespaces, it is asked again, once.
        let mut ask = || {
            mirror.resolve(address).unwrap();
            await_change(&mut mirror, |change| {
                let NeighbourChange::Updated(neighbour) = change else { return false };
                neighbour.ip == address && (neighbour.usable() || neighbour.state == Reachability::Failed)
            })
        };
        let failed = NeighbourChange::Updated(Neighbour { ip: address, mac: None, state: Reachability::Failed });
        let change = Some(ask()).filter(|change| *change != failed).unwrap_or_else(ask);
        let known = Neighbour { ip: address, mac: Some(mac), state: Reachability::Reachable };
        assert_eq!(change, NeighbourChange::Updated(known));
        assert!(mirror.dump().unwrap().contains(&known));
        // Again, while it is known.
        mirror.resolve(address).unwrap();
    }
}

#[test]
fn an_address_that_nobody_has_fails() {
    let lab = Lab::new();
    let mut mirror = mirror(&lab);
    let nobody: IpAddr = "10.78.0.77".parse().unwrap();
    run("ip", &["netns", "exec", lab.a(), "sysctl", "-qw", &format!("net.ipv4.neigh.{A}.retrans_time_ms=50")]);
    mirror.resolve(nobody).unwrap();
    let change = await_change(
        &mut mirror,
        |change| matches!(change, NeighbourChange::Updated(neighbour) if neighbour.ip == nobody && neighbour.state == Reachability::Failed),
    );
    let failed = Neighbour { ip: nobody, mac: None, state: Reachability::Failed };
    assert_eq!(change, NeighbourChange::Updated(failed));
}

#[test]
fn removal_is_seen_and_the_descriptor_wakes_up() {
    let lab = Lab::new();
    let mut mirror = mirror(&lab);
    ip(&["-n", lab.a(), "neigh", "replace", "10.78.0.9", "lladdr", "02:00:00:00:00:09", "dev", A, "nud", "permanent"]);
    let mut poll = libc::pollfd { fd: mirror.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, which outlives the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1);
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 9]));
    await_change(
        &mut mirror,
        |change| matches!(change, NeighbourChange::Updated(neighbour) if neighbour.mac == mac && neighbour.usable()),
    );
    ip(&["-n", lab.a(), "neigh", "del", "10.78.0.9", "dev", A]);
    await_change(&mut mirror, |change| *change == NeighbourChange::Removed("10.78.0.9".parse().unwrap()));
}

/// `ip -batch`: a line for each number.
fn batch(lab: &Lab, numbers: std::ops::Range<u32>, line: impl Fn(u32) -> String) {
    let file = std::env::temp_dir().join(format!("fwx-{}-{}-neighbours", std::process::id(), lab.a()));
    std::fs::write(&file, numbers.map(|number| line(number) + "\n").collect::<String>()).unwrap();
    ip(&["-n", lab.a(), "-batch", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_left_unread_is_said_even_if_it_is_of_other_interfaces() {
    let lab = Lab::new();
    ip(&["-n", lab.a(), "link", "add", "other", "type", "veth", "peer", "name", "peer"]);
    ip(&["-n", lab.a(), "link", "set", "other", "up"]);
    let mut mirror = mirror(&lab);
    let line = |number| format!("neigh replace 10.79.0.{number} lladdr 02:00:00:00:00:01 dev other nud permanent");
    batch(&lab, 1..151, line);
    let mut changes = Vec::new();
    assert!(!mirror.poll_changes(&mut changes).unwrap(), "150 changes were read at once");
    support::eventually("all is read", || mirror.poll_changes(&mut changes).unwrap());
    assert_eq!(changes, []);
}

#[test]
fn lost_changes_end_in_a_reset_and_a_dump() {
    let lab = Lab::new();
    let mut mirror = mirror(&lab);
    // More than a socket buffer of 212,992 bytes holds, at more than 700 bytes a message; nobody reads meanwhile.
    let line = |number: u32| {
        let address = format!("10.78.{}.{}", 1 + number / 250, 1 + number % 250);
        format!("neigh replace {address} lladdr 02:00:00:00:00:01 dev {A} nud permanent")
    };
    batch(&lab, 0..1000, line);
    let mut changes = Vec::new();
    support::eventually("a reset", || {
        mirror.poll_changes(&mut changes).unwrap();
        changes.contains(&NeighbourChange::Reset)
    });
    let reset = changes.iter().rposition(|change| *change == NeighbourChange::Reset).unwrap();
    let after =
        changes[reset..].iter().filter(|change| matches!(change, NeighbourChange::Updated(n) if n.usable())).count();
    assert!(after >= 1000, "{after}");
    // And it goes on.
    ip(&["-n", lab.a(), "neigh", "del", "10.78.1.1", "dev", A]);
    await_change(&mut mirror, |change| *change == NeighbourChange::Removed("10.78.1.1".parse().unwrap()));
}

#[test]
fn routes_of_the_main_table_longest_prefix_first() {
    let lab = Lab::new();
    for route in ["default via 10.78.0.2 metric 50", "10.99.0.0/16 via 10.78.0.254 mtu 1300", "fd99::/32 via fd78::2"] {
        ip(&[&["-n", lab.a(), "route", "add"], route.split(' ').collect::<Vec<_>>().as_slice()].concat());
    }
    let routes = lab.in_a(|| routes(InterfaceFacts::read(A).unwrap().ifindex).unwrap());
    assert!(routes.is_sorted_by(|one, two| one.prefix_len >= two.prefix_len), "{routes:?}");
    let find = |prefix: &str, len: u8| {
        let prefix: IpAddr = prefix.parse().unwrap();
        routes.iter().find(|route| route.prefix == prefix && route.prefix_len == len).copied()
    };
    let on_link = find("10.78.0.0", 24).unwrap();
    assert_eq!((on_link.gateway, on_link.source), (None, Some(A_IP.into())));
    let default = find("0.0.0.0", 0).unwrap();
    assert_eq!((default.gateway, default.metric), (Some(B_IP.into()), 50));
    let network = find("10.99.0.0", 16).unwrap();
    assert_eq!((network.gateway, network.mtu, default.mtu), ("10.78.0.254".parse().ok(), Some(1300), None));
    assert_eq!(find("fd99::", 32).unwrap().gateway, Some("fd78::2".parse().unwrap()));
    assert!(find("fd78::", 64).is_some());
    // The local table is no one's business.
    assert!(find("10.78.0.1", 32).is_none());
}

#[test]
fn facts_are_those_that_ip_and_ethtool_show() {
    let lab = Lab::new();
    let facts = lab.in_a(|| InterfaceFacts::read(A).unwrap());
    assert_eq!((facts.name.as_str(), facts.mtu, facts.up, facts.running), (A, 1500, true, true));
    assert_eq!((facts.driver.as_str(), facts.rx_queues, facts.xdp_program), ("veth", 1, None));
    assert!(ip(&["-n", lab.a(), "link", "show", A]).contains(&facts.mac.to_string()));
    let addresses: Vec<_> = facts.addresses.iter().map(|a| (a.address.to_string(), a.prefix_len)).collect();
    for expected in [("10.78.0.1", 24), ("fd78::1", 64)] {
        assert!(addresses.contains(&(expected.0.into(), expected.1)), "{addresses:?}");
    }
    let offloads = || lab.in_a(|| Offloads::read(A).unwrap());
    assert!(offloads().tx_checksum && offloads().tso && offloads().gso);
    assert!(facts.offload_warning(&offloads()).unwrap().contains("ethtool -K"));
    run("ip", &["netns", "exec", lab.a(), "ethtool", "-K", A, "tx", "off", "tso", "off", "gso", "off"]);
    // What a veth receives is another's: it has nothing to verify, and `ethtool -k` says that it does.
    let mut expected = Offloads::default();
    expected.rx_checksum = true;
    assert_eq!(offloads(), expected);
    assert_eq!(facts.offload_warning(&offloads()), None);
    ip(&["-n", lab.a(), "link", "set", A, "down"]);
    let facts = lab.in_a(|| InterfaceFacts::read(A).unwrap());
    assert!(!facts.up && !facts.running);
}

/// RFC 4862 section 5.4 and 5.5.4.
#[test]
fn an_address_that_may_not_be_spoken_from_says_so() {
    let lab = Lab::new();
    for address in ["10.78.0.5/24 dev a0", "fd78::2/64 dev a0", "fd78::6/64 dev a0 nodad preferred_lft 0"] {
        ip(&[&["-n", lab.a(), "addr", "add"], address.split(' ').collect::<Vec<_>>().as_slice()].concat());
    }
    let validity = |address: &str| {
        let facts = lab.in_a(|| InterfaceFacts::read(A).unwrap());
        facts.addresses.iter().find(|a| a.address.to_string() == address).map(|a| a.validity)
    };
    assert_eq!(validity("fd78::2"), Some(Validity::Tentative));
    assert_eq!(validity("10.78.0.5"), Some(Validity::Preferred));
    assert_eq!(validity("fd78::1"), Some(Validity::Preferred));
    assert_eq!(validity("fd78::6"), Some(Validity::Deprecated));
    // The other end has it.
    support::eventually("it is found out", || validity("fd78::2") == Some(Validity::Duplicate));
}

#[test]
fn queues_are_counted() {
    let lab = Lab::new();
    let a = lab.a();
    ip(&["-n", a, "link", "add", "m0", "numrxqueues", "4", "numtxqueues", "4", "type", "veth", "peer", "name", "m1"]);
    assert_eq!(lab.in_a(|| InterfaceFacts::read("m0").unwrap().rx_queues), 4);
}
