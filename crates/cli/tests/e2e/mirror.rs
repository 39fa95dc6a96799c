//! What the kernel knows and the stack follows: neighbours, routes, MTU, names, while connections are up.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::{self, Background};
use crate::support::{Server, bulk, eventually, fourwave, good, lab, long_transfer, peer, text, within};

fn sh(script: &str) -> String {
    let output = common::sh(script);
    assert!(output.status.success(), "{script}: {}", common::stderr(&output));
    text(&output.stdout)
}

/// What the kernel of fw-a knows of a neighbour.
fn neighbour(address: &str) -> String {
    sh(&format!("ip -n fw-a neigh show {address} dev fw-a0"))
}

/// The transfer is still under way, and ends well.
fn assert_whole(server: &Server, transfer: Background) {
    assert_eq!(server.connections()[0]["state"], "ESTABLISHED", "all that happened while it was under way");
    crate::support::assert_whole(transfer);
}

/// fw-b has another network behind it, which fw-a reaches by one of fw-b's two addresses.
fn beyond() {
    sh("ip -n fw-b addr add 10.77.0.3/24 dev fw-b0 && ip -n fw-b addr add 10.88.0.1/32 dev lo");
    sh("ip -n fw-b route add 10.77.0.1/32 dev fw-b0 src 10.88.0.1");
    sh("ip -n fw-a route add 10.88.0.0/24 via 10.77.0.2");
}

/// As `ip route get`; RFC 1122 section 3.3.4.3, RFC 6724.
#[test]
fn opens_leave_from_the_address_that_the_kernel_would_take() {
    let _lab = lab();
    beyond();
    for (at, last) in [("fw-a", 1), ("fw-b", 2)] {
        sh(&format!("ip -n {at} addr add 172.16.7.{last}/24 dev {at}0"));
        sh(&format!("ip -n {at} addr add 2001:db8:7::{last}/64 dev {at}0 nodad"));
    }
    sh("ip -n fw-b addr add 10.89.0.1/32 dev lo && ip -n fw-b addr add 2001:db8:99::1/128 dev lo");
    sh("ip -n fw-a addr add 10.77.0.50/24 dev fw-a0");
    sh("ip -n fw-a route add 10.89.0.0/24 via 10.77.0.2 src 10.77.0.50");
    sh("ip -n fw-a -6 route add default via fd77::2");
    let there = ["10.77.0.2", "172.16.7.2", "10.88.0.1", "10.89.0.1", "fd77::2", "2001:db8:7::2", "2001:db8:99::1"];
    for to in there {
        let route = sh(&format!("ip -n fw-a -o route get {to}"));
        let expected = route.split_once(" src ").and_then(|(_, source)| source.split(' ').next()).unwrap();
        let mut server = peer("fw-b", "whence", &[to, "8000"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(said.next().as_deref(), Some("listening"));
        let to = if to.contains(':') { format!("[{to}]:8000") } else { format!("{to}:8000") };
        let ping = good(fourwave("fw-a", &["ping", &to, "--count", "1", "--warmup", "0", "--interface", "fw-a0"]));
        assert_eq!(said.next().as_deref(), Some(expected), "to {to}: {ping}");
        server.wait().unwrap();
    }
}

/// Nobody has this MAC address.
const NOBODY: &str = "02:00:00:00:66:66";

/// A client that reads when told to, and what it says.
struct Reader(Child, BufReader<std::process::ChildStdout>);

impl Reader {
    fn connect(source: &str) -> Self {
        let mut command = peer("fw-b", "reader", &["10.77.0.1", "19", source, "20000000"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut reader = Self(child, said);
        reader.hears("connected\n");
        reader
    }

    fn ask(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn hears(&mut self, what: &str) {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        assert_eq!(line, what);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The kernel forgets the peer again and again, by itself or by order, and finds it at another MAC address.
#[test]
fn neighbours_flushed_and_moved_in_mid_transfer() {
    let _lab = lab();
    let server = Server::echo();
    let under_way = long_transfer();
    for _ in 0..10 {
        sh("ip -n fw-a neigh flush all");
        std::thread::sleep(Duration::from_millis(50));
        sh("ip -n fw-a neigh del 10.77.0.2 dev fw-a0 || true");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The stack has asked for it: the kernel knows it again, and fw-b did not say anything unasked.
    eventually("the neighbour is known", || neighbour("10.77.0.2").contains("lladdr"));
    let moved = "02:00:00:00:77:02";
    sh(&format!("ip -n fw-b link set fw-b0 address {moved}"));
    sh(&format!("ip -n fw-a neigh replace 10.77.0.2 lladdr {moved} dev fw-a0 nud reachable"));
    std::thread::sleep(Duration::from_millis(200));
    // And again, by what the kernel learns itself: a gratuitous ARP (RFC 5227 section 3, RFC 826).
    let moved = "02:00:00:00:77:03";
    sh("ip netns exec fw-a sysctl -q -w net.ipv4.conf.fw-a0.arp_accept=1");
    sh(&format!(
        "ip netns exec fw-b sysctl -q -w net.ipv4.conf.fw-b0.arp_notify=1 && ip -n fw-b link set fw-b0 address {moved}"
    ));
    eventually("the gratuitous ARP is heard", || neighbour("10.77.0.2").contains(moved));
    assert_whole(&server, under_way);
    server.assert_empty();
    server.stop();
}

/// RFC 4861 section 7.3.3: the kernel does not see what the stack sends, and would never ask a neighbour again that it has not
/// heard for a while. It is told that the neighbour is in use.
#[test]
fn a_neighbour_in_use_is_probed_by_the_kernel() {
    let _lab = lab();
    // Reachable for 1.5 to 4.5 s: longer than the delay, behind which the kernel would take its own question for a use.
    let times = "base_reachable_time_ms=3000 net.ipv4.neigh.fw-a0.delay_first_probe_time=1";
    sh(&format!("ip netns exec fw-a sysctl -q -w net.ipv4.neigh.fw-a0.{times}"));
    let server = Server::echo();
    let under_way = long_transfer();
    let log = Path::new("/run/probes");
    let watch = format!("exec ip monitor neigh dev fw-a0 > {}", log.display());
    let watch = Background::start(within("fw-a", 60, &["sh", "-c", &watch]));
    let probes = || std::fs::read_to_string(log).unwrap_or_default().matches(" PROBE").count();
    // More than once: what was learnt with the first question does not last.
    eventually("it is asked", || probes() >= 1);
    eventually("it is asked again", || probes() >= 2 && neighbour("10.77.0.2").contains("REACHABLE"));
    drop(under_way);
    server.assert_empty();
    // Nobody uses it any more: nobody asks.
    eventually("it is stale", || neighbour("10.77.0.2").contains("STALE"));
    let before = probes();
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!((probes(), neighbour("10.77.0.2").contains("STALE")), (before, true));
    drop(watch);
    std::fs::remove_file(log).unwrap();
    server.stop();
}

/// A dead neighbour holds up its own connections only, and they go on when it is back.
#[test]
fn a_dead_neighbour_starves_nobody() {
    let _lab = lab();
    sh("ip -n fw-b addr add 10.77.0.3/24 dev fw-b0");
    let server = Server::start("chargen --listen 10.77.0.1:19");
    let (mut dies, mut lives) = (Reader::connect("10.77.0.3"), Reader::connect("10.77.0.2"));
    for reader in [&mut dies, &mut lives] {
        reader.ask();
        reader.hears("read\n");
    }
    // Off the network, with the connection kept: the socket holds the address.
    sh("ip netns exec fw-b sysctl -q -w net.ipv4.conf.all.arp_ignore=8");
    sh("ip -n fw-a neigh del 10.77.0.3 dev fw-a0");
    dies.ask();
    lives.ask();
    // Answers to fw-a's questions are forbidden, so that its other neighbour must be told by hand.
    let mac = sh("ip netns exec fw-b cat /sys/class/net/fw-b0/address");
    sh(&format!("ip -n fw-a neigh replace 10.77.0.2 lladdr {} dev fw-a0 nud permanent", mac.trim()));
    lives.hears("read\n");
    eventually("the kernel has given the other up", || {
        let known = neighbour("10.77.0.3");
        known.contains("FAILED") || known.contains("INCOMPLETE")
    });
    lives.ask();
    lives.hears("read\n");
    sh("ip netns exec fw-b sysctl -q -w net.ipv4.conf.all.arp_ignore=0");
    dies.hears("read\n");
    drop((dies, lives));
    server.assert_empty();
    server.stop();
}

/// The route changes to another gateway, goes, and comes back: the connection goes on each time.
#[test]
fn a_connection_follows_its_route() {
    let _lab = lab();
    beyond();
    let server = Server::echo();
    let under_way = long_transfer();
    assert_eq!(server.connections()[0]["remote"].as_str().unwrap().split(':').next(), Some("10.88.0.1"));
    // The old way leads nowhere from now on.
    sh(&format!("ip -n fw-a neigh replace 10.77.0.2 lladdr {NOBODY} dev fw-a0 nud permanent"));
    std::thread::sleep(Duration::from_millis(100));
    sh("ip -n fw-a route replace 10.88.0.0/24 via 10.77.0.3");
    eventually("the new gateway is asked for", || neighbour("10.77.0.3").contains("lladdr"));
    std::thread::sleep(Duration::from_millis(100));
    // A route to nowhere, and a better one that is added.
    sh(&format!("ip -n fw-a neigh replace 10.77.0.3 lladdr {NOBODY} dev fw-a0 nud permanent"));
    sh("ip -n fw-a neigh del 10.77.0.2 dev fw-a0; ip -n fw-a route add 10.88.0.1/32 via 10.77.0.2");
    std::thread::sleep(Duration::from_millis(100));
    // None at all for a while.
    sh("ip -n fw-a route del 10.88.0.1/32 && ip -n fw-a route del 10.88.0.0/24");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.connections()[0]["state"], "ESTABLISHED");
    sh("ip -n fw-a route add default via 10.77.0.2");
    assert_whole(&server, under_way);
    server.assert_empty();
    server.stop();
}

/// The largest of the next packets from the server.
fn largest() -> String {
    good(peer("fw-b", "largest", &["fw-b0", "7", "300"])).trim().to_owned()
}

fn mtu(bytes: u32) {
    sh(&format!("ip -n fw-a link set fw-a0 mtu {bytes} && ip -n fw-b link set fw-b0 mtu {bytes}"));
}

/// Segments shrink with the MTU, also of connections that are up, and grow with it.
#[test]
fn the_mtu_changes_both_ways() {
    let _lab = lab();
    let server = Server::echo();
    let under_way = long_transfer();
    assert_eq!(largest(), "1500");
    mtu(1400);
    eventually("1,400 bytes", || largest() == "1400");
    bulk("10.77.0.1", "7", "10");
    mtu(1500);
    eventually("1,500 bytes again", || largest() == "1500");
    // More than when it was started, for new connections: fw-b's kernel hears an MSS of 3,000 - 40.
    mtu(3000);
    let mut held = peer("fw-b", "hold", &["10.77.0.1", "7", "1"]);
    let mut held = held.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    BufReader::new(held.stderr.take().unwrap()).read_line(&mut String::new()).unwrap();
    // Twelve bytes are the timestamps'.
    eventually("an MSS of 2,948", || sh("ip netns exec fw-b ss -tin dst 10.77.0.1").contains(" mss:2948"));
    let _ = held.kill();
    let _ = held.wait();
    bulk("10.77.0.1", "7", "10");
    drop(under_way);
    server.assert_empty();
    server.stop();
}

/// The interface is known by its index: another name, or MAC address, costs nothing.
#[test]
fn a_renamed_interface_is_the_same() {
    let _lab = lab();
    let mut server = Server::echo();
    let under_way = long_transfer();
    sh("ip -n fw-a link set fw-a0 down && ip -n fw-a link set fw-a0 name other && ip -n fw-a link set other up");
    let moved = "02:00:00:00:77:01";
    sh(&format!("ip -n fw-a link set other address {moved} && ip -n fw-b neigh flush all"));
    assert_whole(&server, under_way);
    bulk("10.77.0.1", "7", "1");
    sh("ip -n fw-a link set other down && ip -n fw-a link set other name fw-a0 && ip -n fw-a link set fw-a0 up");
    bulk("10.77.0.1", "7", "1");
    server.signal(rustix::process::Signal::INT);
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said:?}");
    for words in ["fw-a0 is called other now", "other is called fw-a0 now", moved] {
        assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:?}");
    }
}

/// As Linux: an address that is taken from the interface takes its connections' voice, not their lives.
#[test]
fn an_address_that_is_taken_away_and_given_back() {
    let _lab = lab();
    let mut server = Server::echo();
    let under_way = long_transfer();
    sh("ip -n fw-a addr del 10.77.0.1/24 dev fw-a0");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.connections()[0]["state"], "ESTABLISHED");
    sh("ip -n fw-a addr add 10.77.0.1/24 dev fw-a0");
    assert_whole(&server, under_way);
    server.signal(rustix::process::Signal::INT);
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.iter().any(|line| line.contains("10.77.0.1 is an address of fw-a0 again")), "{said:?}");
}
