//! An address of the stack's own, and the kernel beside it.

use crate::common::{self, Background, SOON, json};
use crate::support::{
    Server, assert_no_program, assert_refused, bulk, eventually, fourwave, good, kernel_echo, lab, mac, need, peer,
    refused, within,
};
use rustix::process::Signal;

fn kernel_ping(address: &str, size: &str) {
    good(within("fw-b", 20, &["ping", "-n", "-c", "3", "-i", "0.1", "-W", "3", "-s", size, address]));
}

#[test]
fn an_owned_address_answers_beside_the_kernels() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7");
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "8000");
    for size in ["0", "56", "1472"] {
        kernel_ping("10.77.0.50", size);
    }
    let neighbours = good(within("fw-b", 5, &["ip", "neigh", "show", "10.77.0.50"]));
    assert!(neighbours.contains("lladdr"), "{neighbours}");
    bulk("10.77.0.50", "7", "10");
    // A port that is not listened on is the stack's to refuse; the kernel never hears of it.
    assert_refused("10.77.0.50", "8000");

    kernel_ping("10.77.0.1", "56");
    bulk("10.77.0.1", "8000", "10");
    assert_refused("10.77.0.1", "7");
    server.assert_empty();
    server.stop();
    assert_no_program();
    bulk("10.77.0.1", "8000", "1");
}

/// Sixteen questions take more than 16 seconds (RFC 5227 section 2.1.1): whoever ends it meanwhile does not wait for them.
#[test]
fn a_start_is_interrupted_while_it_asks_for_its_address() {
    let _lab = lab();
    let args = ["serve", "echo", "--address", "10.77.0.50/24", "--listen", "10.77.0.50:7", "--dad-probes", "16"];
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Background::start(common::in_namespace("fw-a", &args));
        server.hears_ctrl_c();
        eventually("the program is attached", || {
            good(within("fw-a", 5, &["ip", "-d", "link", "show", "fw-a0"])).contains("xdp")
        });
        server.signal(signal);
        let (code, _, said) = server.end(SOON);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with("fourwave: interrupted before the stack had started"), "{said}");
        assert_no_program();
        let left = std::fs::read_dir("/run/fourwave").unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.filter(|name| name.to_string_lossy().ends_with(".sock")).count(), 0);
    }
}

#[test]
fn two_owned_addresses_speak_to_each_other() {
    let _lab = lab();
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7");
    let args = ["ping", "10.77.0.50:7", "--address", "10.77.0.60/24", "--count", "1000", "--json"];
    assert_eq!(json(&good(fourwave("fw-b", &args)))["errors"], 0);
    server.stop();
}

#[test]
fn a_shared_address_takes_only_our_port() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::echo();
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "8000");
    kernel_ping("10.77.0.1", "56");
    kernel_ping("fd77::1", "56");
    bulk("10.77.0.1", "8000", "10");
    bulk("10.77.0.1", "7", "10");
    assert_refused("10.77.0.1", "9");
    // Active opens of the kernel from our side, beside fourwave.
    let _far = kernel_echo("fw-b", "10.77.0.2", "8000");
    let args = ["ping", "10.77.0.2:8000", "--stack", "kernel", "--connections", "20", "--count", "1000", "--json"];
    assert_eq!(json(&good(fourwave("fw-a", &args)))["errors"], 0);
    server.assert_empty();
    server.stop();
}

#[test]
fn every_address_of_the_interface_with_the_unspecified_one() {
    let _lab = lab();
    let server = Server::start("echo --listen 0.0.0.0:7 --interface fw-a0");
    bulk("10.77.0.1", "7", "1");
    server.stop();
    let server = Server::start("echo --listen [::]:7 --interface fw-a0");
    bulk("fd77::1", "7", "1");
    server.stop();
    common::ok(&["lab", "down"]);
}

/// The two addresses of the kernel in fw-b, an address of the stack's beside each, and how to listen on them.
const FAMILIES: [(&str, &str, &str, &str); 2] = [
    ("10.77.0.2/24", "10.77.0.2:7", "10.77.0.50/24", "10.77.0.50:7"),
    ("fd77::2/64", "[fd77::2]:7", "fd77::50/64", "[fd77::50]:7"),
];

fn bare(address: &str) -> &str {
    address.split('/').next().unwrap()
}

/// RFC 5227 section 2.1.1, RFC 4862 section 5.4: an address of the kernel in fw-b is refused, with that station's name.
#[test]
fn an_address_that_another_station_has_is_refused() {
    let _lab = lab();
    for (taken, listen, _, _) in FAMILIES {
        let said = refused(fourwave(
            "fw-a",
            &["serve", "echo", "--address", taken, "--listen", listen, "--interface", "fw-a0"],
        ));
        let expected = format!("{} is in use by {}", bare(taken), mac("fw-b", "fw-b0"));
        assert!(said.contains(&expected), "{said:?} lacks {expected:?}");
        assert_no_program();
        // Its owner has noticed nothing.
        let shown = good(within("fw-b", 5, &["ip", "address", "show", "dev", "fw-b0"]));
        assert!(!shown.contains("dadfailed"), "{shown}");
    }
}

/// RFC 5227 section 2.3, RFC 4861 section 7.2.6: who remembers another station learns better, without having been asked.
/// RFC 4862 section 5.4: the kernel in fw-b can't have the address any more.
#[test]
fn an_address_is_announced() {
    let _lab = lab();
    let b = |args: &str| good(within("fw-b", 20, &args.split(' ').collect::<Vec<_>>()));
    for (_, _, own, listen) in FAMILIES {
        b(&format!("ip neigh replace {} lladdr 02:00:00:00:77:99 dev fw-b0 nud stale", bare(own)));
        let server = Server::start(&format!("echo --address {own} --listen {listen} --interface fw-a0"));
        let here = mac("fw-a", "fw-a0");
        eventually("the neighbour is corrected", || b(&format!("ip neigh show {}", bare(own))).contains(&here));
        server.stop();
    }
    let server = Server::start("echo --address fd77::50/64 --listen [fd77::50]:7");
    // RFC 4862 section 5.4.2, RFC 3810: the kernel reports the group, and answers queries, while the stack runs.
    let group = "ff0200000000000000000001ff000050";
    let reported = || good(within("fw-a", 5, &["cat", "/proc/net/igmp6"])).contains(group);
    assert!(reported());
    b("sysctl -q -w net.ipv6.conf.fw-b0.accept_dad=1 net.ipv6.conf.all.accept_dad=1");
    b("ip address add fd77::50/64 dev fw-b0");
    eventually("the kernel is told", || b("ip address show dev fw-b0").contains("dadfailed"));
    server.stop();
    assert!(!reported());
}

/// RFC 5227 section 2.3, RFC 4861 section 7.2.6: the cable may lead to another switch when it is plugged in again. The far end of
/// a veth that goes down takes the carrier, and not more: nothing else says so.
#[test]
fn an_address_is_announced_when_the_carrier_is_back() {
    let _lab = lab();
    let b = |args: &str| good(within("fw-b", 20, &args.split(' ').collect::<Vec<_>>()));
    b("sysctl -q -w net.ipv4.conf.fw-b0.arp_accept=1");
    let mut server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7 --interface fw-a0");
    let known = || b("ip neigh show 10.77.0.50").contains("lladdr");
    eventually("it is announced at the start", known);
    b("ip link set fw-b0 down");
    server.says("fw-a0 has no carrier");
    assert!(!known());
    b("ip link set fw-b0 up");
    // fw-b has not asked: nobody there wants anything of it.
    eventually("it is announced again", known);
    bulk("10.77.0.50", "7", "1");
    server.signal(Signal::INT);
    assert_eq!(server.end().0, Some(0));
}

/// RFC 5227 section 2.4 (c): a claim is answered by one announcement, logged once, and the address stays ours.
#[test]
fn an_address_is_defended() {
    let _lab = lab();
    for (_, _, own, listen) in FAMILIES {
        let mut server =
            Server::start(&format!("echo --dad-probes 0 --address {own} --listen {listen} --interface fw-a0"));
        bulk(bare(own), "7", "1");
        assert_eq!(good(peer("fw-b", "claim", &["fw-b0", bare(own), "5"])), "1\n", "announcements for 5 claims");
        server.says(&format!("02:00:00:00:77:66 claims {}", bare(own)));
        bulk(bare(own), "7", "1");
        server.signal(Signal::INT);
        assert_eq!(server.end().0, Some(0));
    }
}

/// The kernel must not put a segment of the stack's together: it would reset the connection. It goes on with everything else.
#[test]
fn fragments_on_a_shared_address() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let here = mac("fw-a", "fw-a0");
    for (near, far, listen) in [("10.77.0.2", "10.77.0.1", "10.77.0.1:7"), ("fd77::2", "fd77::1", "[fd77::1]:7")] {
        let server = Server::start(&format!("echo --listen {listen}"));
        let segment = |port: &str| good(peer("fw-b", "fragments", &["fw-b0", &here, near, far, port]));
        assert_eq!(segment("8000"), "reset\n", "of the kernel's port: it puts fragments together");
        assert_eq!(segment("7"), "quiet\n", "of the stack's port");
        let rows = json(&common::ok(&["ss", "--steering", "--json", "--pid", &server.pid().to_string()]));
        let row = rows.as_array().unwrap().iter().find(|row| row["verdict"] == "drop_fragment").unwrap();
        assert_eq!(row["packets"], 1);
        kernel_ping(far, "4000");
        bulk(far, "7", "1");
        server.stop();
    }
}

/// IEEE 802.1Q: the answer has the tag of the question, a priority without a VLAN among them. A shared address is the
/// interface's, and so in no VLAN; what has two tags, or one of a
/// provider's (802.1ad), is the kernel's, which has no interface for it.
#[test]
fn the_answer_has_the_tag_of_the_question() {
    let _lab = lab();
    let here = mac("fw-a", "fw-a0");
    for (address, options) in [("10.77.0.50", " --address 10.77.0.50/24"), ("10.77.0.1", "")] {
        let server = Server::start(&format!("echo --listen {address}:7 --interface fw-a0{options}"));
        let in_vlan = |tag| if options.is_empty() { "nothing" } else { tag };
        let cases: [(&[&str], &str); 6] = [
            (&[], "untagged"),
            (&["8100:0005"], in_vlan("0005")),
            (&["8100:6005"], in_vlan("6005")),
            (&["8100:6000"], "6000"),
            (&["8100:0005", "8100:0005"], "nothing"),
            (&["88a8:0005"], "nothing"),
        ];
        for (tags, answer) in cases {
            let args = [&["fw-b0", &here, "10.77.0.2", address, "7"], tags].concat();
            assert_eq!(good(peer("fw-b", "tags", &args)).trim(), answer, "{address} {tags:?}");
        }
        server.stop();
    }
}
