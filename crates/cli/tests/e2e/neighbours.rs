//! Neighbour discovery, VLANs and ICMP errors, with the kernel as the neighbour.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use crate::common::{Background, json, ok};
use crate::support::{
    Server, assert_no_program, assert_refused, assert_whole, bulk, eventually, fourwave, good, kernel_echo, lab,
    long_transfer_to, mac, need, peer, within,
};

/// A command in the second namespace.
fn b(args: &str) -> String {
    good(within("fw-b", 20, &args.split(' ').collect::<Vec<_>>()))
}

fn ping(address: &str, size: &str) {
    b(&format!("ping -n -c 3 -i 0.1 -W 3 -s {size} {address}"));
}

/// What the process has counted.
fn counter(server: &Server, name: &str) -> u64 {
    let processes = fourwave::control::processes().unwrap();
    let process = processes.iter().find(|process| process.pid == server.pid()).unwrap();
    process.counters().unwrap().iter().filter(|count| count.name == name).map(|count| count.value).sum()
}

fn verdict(server: &Server, name: &str) -> u64 {
    let rows = json(&ok(&["ss", "--steering", "--json", "--pid", &server.pid().to_string()]));
    let row = rows.as_array().unwrap().iter().find(|row| row["verdict"] == name).cloned();
    row.unwrap()["packets"].as_u64().unwrap()
}

/// The MAC address that the kernel has found for an address.
fn found(address: &str) -> Option<String> {
    let shown = b(&format!("ip neigh show {address}"));
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "lladdr").and(words.next()).map(str::to_owned)
}

/// RFC 4861, RFC 4443 section 4.2: the kernel finds, pings and connects to an address that only the stack has.
#[test]
fn an_owned_ipv6_address_answers_beside_the_kernels() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::start("echo --address fd77::99/64 --listen [fd77::99]:7");
    let _kernel = kernel_echo("fw-a", "fd77::1", "8000");
    for size in ["0", "56", "1452"] {
        ping("fd77::99", size);
    }
    assert_eq!(found("fd77::99"), Some(mac("fw-a", "fw-a0")));
    bulk("fd77::99", "7", "10");
    assert_refused("fd77::99", "8000");
    assert!(counter(&server, "ndp_in") > 0 && verdict(&server, "redirect_ndp") > 0);
    // The kernel's own address, and what it says to all nodes, are untouched.
    ping("fd77::1", "56");
    bulk("fd77::1", "8000", "10");
    assert_refused("fd77::1", "7");
    server.assert_empty();
    server.stop();
    assert_no_program();
    bulk("fd77::1", "8000", "1");
}

/// The stack asks for its neighbour, the kernel or another stack, before it connects.
#[test]
fn an_owned_ipv6_address_connects() {
    let _lab = lab();
    let _far = kernel_echo("fw-b", "fd77::2", "8000");
    let args = ["ping", "[fd77::2]:8000", "--address", "fd77::60/64", "--count", "1000", "--json"];
    assert_eq!(json(&good(fourwave("fw-a", &args)))["errors"], 0);
    let server = Server::start("echo --address fd77::99/64 --listen [fd77::99]:7");
    let args = ["ping", "[fd77::99]:7", "--address", "fd77::60/64", "--count", "1000", "--json"];
    assert_eq!(json(&good(fourwave("fw-b", &args)))["errors"], 0);
    server.stop();
}

/// A connection from fw-b that is kept, and exchanges a byte when told to.
struct Held(Child);

impl Held {
    fn open(address: &str) -> Self {
        let mut command = peer("fw-b", "hold", &[address, "7", "1"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with("holding\n"), "{line}");
        Self(child)
    }

    fn exchange(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "echoed\n");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// RFC 826, RFC 4861 section 7.2.3: connections outlive a neighbour that forgets us, and one that has another MAC address.
#[test]
fn a_neighbour_that_forgets_or_moves_keeps_its_connections() {
    let _lab = lab();
    for address in ["10.77.0.50", "fd77::99"] {
        let bits = if address.contains(':') { "64" } else { "24" };
        let listen = if address.contains(':') { format!("[{address}]:7") } else { format!("{address}:7") };
        let server = Server::start(&format!("echo --address {address}/{bits} --listen {listen}"));
        let mut held = Held::open(address);
        held.exchange();
        b("ip neigh flush dev fw-b0");
        b("ip -6 neigh flush dev fw-b0");
        held.exchange();
        let far = mac("fw-b", "fw-b0");
        b("ip link set dev fw-b0 address 02:00:00:00:77:02");
        held.exchange();
        assert_eq!(found(address), Some(mac("fw-a", "fw-a0")));
        // Back to the one it had, with data under way.
        let transfer = long_transfer_to(address);
        b(&format!("ip link set dev fw-b0 address {far}"));
        b("ip neigh flush dev fw-b0");
        assert_whole(transfer);
        held.exchange();
        drop(held);
        server.assert_empty();
        server.stop();
    }
}

/// RFC 5227 section 3, RFC 4861 section 7.2.6: a neighbour that tells everybody of its new network card is heard, though what
/// it tells everybody is the kernel's.
#[test]
fn a_neighbour_that_tells_everybody_of_its_move_is_heard() {
    let _lab = lab();
    for setting in ["net.ipv4.conf.fw-b0.arp_notify", "net.ipv6.conf.fw-b0.ndisc_notify"] {
        b(&format!("sysctl -q -w {setting}=1"));
    }
    for (address, listen, station) in
        [("10.77.0.50/24", "10.77.0.50:7", "02:00:00:00:77:02"), ("fd77::99/64", "[fd77::99]:7", "02:00:00:00:77:03")]
    {
        let server = Server::start(&format!("echo --address {address} --listen {listen}"));
        let mut held = Held::open(address.split('/').next().unwrap());
        held.exchange();
        let before = counter(&server, "overheard");
        b(&format!("ip link set dev fw-b0 address {station}"));
        eventually("the stack hears of it", || counter(&server, "overheard") > before);
        held.exchange();
        drop(held);
        server.stop();
    }
}

/// `v5` in fw-b, with addresses, which is VLAN 5 of fw-b0: a veth pair with a script at its other end, since not every kernel
/// has 802.1Q interfaces.
fn vlan5() -> Background {
    b("ip link add v5 type veth peer name v5x");
    b("ethtool -K v5 tx off tso off gso off gro off");
    b("ip addr add 10.79.0.2/24 dev v5");
    b("ip addr add fd79::2/64 dev v5 nodad");
    b("ip link set v5 up");
    b("ip link set v5x up");
    Background::server(peer("fw-b", "vlan", &["fw-b0", "v5x", "5"]))
}

/// IEEE 802.1Q: an owned address in a VLAN, for both families; the untagged network is another.
#[test]
fn an_owned_address_in_a_vlan() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let _vlan = vlan5();
    for (own, there, near) in [("10.79.0.99", "10.79.0.99", "10.79.0.2"), ("fd79::99", "[fd79::99]", "[fd79::2]")] {
        let bits = if own.contains(':') { "64" } else { "24" };
        let server = Server::start(&format!("echo --address {own}/{bits} --listen {there}:7 --interface fw-a0"));
        ping(own, "56");
        ping(own, if own.contains(':') { "1452" } else { "1472" });
        assert_eq!(found(own), Some(mac("fw-a", "fw-a0")));
        bulk(own, "7", "10");
        assert_refused(own, "8000");
        server.assert_empty();
        server.stop();
        // And the other way: what the stack begins has the tag it was given.
        let _far = kernel_echo("fw-b", near.trim_matches(['[', ']']), "8000");
        let target = format!("{near}:8000");
        let address = format!("{own}/{bits}");
        let args = [
            "ping",
            &target,
            "--address",
            &address,
            "--vlan",
            "5",
            "--interface",
            "fw-a0",
            "--count",
            "1000",
            "--json",
        ];
        assert_eq!(json(&good(fourwave("fw-a", &args)))["errors"], 0);
    }
}

/// MUST-54, RFC 792, RFC 4443 section 3.1: what a router says of our segments reaches the stack on a shared address, and what it says
/// of the kernel's reaches the kernel.
#[test]
fn errors_about_our_segments_come_to_us() {
    need("ping", "iputils-ping");
    let _lab = lab();
    // fw-b is a router to networks that it can't reach.
    for (setting, value) in [("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")] {
        b(&format!("sysctl -q -w {setting}={value}"));
    }
    b("ip route add unreachable 10.99.0.0/16");
    b("ip -6 route add unreachable fd99::/64");
    good(within("fw-a", 5, &["ip", "route", "add", "10.99.0.0/16", "via", "10.77.0.2"]));
    good(within("fw-a", 5, &["ip", "-6", "route", "add", "fd99::/64", "via", "fd77::2"]));
    for (far, own, listen) in [("10.99.0.1", "10.77.0.1", "10.77.0.1:7"), ("fd99::1", "fd77::1", "[fd77::1]:7")] {
        let server = Server::start(&format!("echo --listen {listen}"));
        good(peer("fw-b", "stray_syn", &[far, own, "7"]));
        eventually("an error about the SYN-ACK comes", || verdict(&server, "redirect_icmp") > 0);
        eventually("the stack hears of it", || counter(&server, "icmp_in") > 0);
        // Errors about what the kernel sends are the kernel's: its ping fails at once.
        let before = verdict(&server, "redirect_icmp");
        let output = within("fw-a", 10, &["ping", "-n", "-c", "1", "-W", "5", far]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("nreachable"), "{output:?}");
        assert!(verdict(&server, "redirect_icmp") <= before + 6, "at most those of SYN-ACKs sent again");
        server.stop();
    }
}
