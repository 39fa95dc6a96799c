//! Attacks over the wire, beside clients of the kernel's TCP: they get in, their bytes are right, nothing is left, and counters say
//! what it was. docs/ATTACKS.md has what each costs; in memory, where time can be
//! counted, it is asserted in `crates/stack/tests/attack`.

use std::net::IpAddr;
use std::time::Duration;

use impairment::{Flood, send_frames};
use rustix::process::Signal;

use crate::common::{self, LabTurn, json, ok};
use crate::connections::counter;
use crate::forged::{ACK, FIN, Forger, PSH, RST, Rng, SYN, Segment, TCP, UDP, error, packet};
use crate::support::{
    SOON, Server, assert_refused, assert_whole, bulk, eventually, good, lab, long_transfer, long_transfer_to, peer,
    within,
};

/// Forged frames a second. A debug build takes some 150,000 of them; with more than a receive ring takes, what is lost is lost of
/// all alike, and a client's SYN is one of hundreds of thousands: that is the ring's test, and not the stack's.
const RATE: u32 = 50_000;
/// A flood is over as soon as it has been felt and clients were served; by itself after this, on a machine with other things to do:
/// before the kernel's TCP gives up a SYN, after 67 s.
const LONGEST: Duration = Duration::from_secs(30);
/// Other frames before the first comes again.
const FRAMES: usize = 8192;
/// A connection's buffers are 1 MiB each way in these tests, so memory that is asked for once does not look like growth.
const BUFFERS: &str = "--receive-buffer 1048576 --send-buffer 1048576";
/// What a server may have more of behind an attack than before it: a client's buffers of 2 x 1 MiB and those of ten others of
/// 2 x 20 KB, 1,024 answers and 4,096 neighbours of some 100 bytes each, and as much again for the allocator.
const GROWTH_KB: u64 = 8192;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The lab, and behind fw-b the rest of the world: what answers the forged sources get is sent there, and dropped.
fn lab_with_routes() -> LabTurn {
    let lab = lab();
    for route in ["route add default via 10.77.0.2", "-6 route add default via fd77::2"] {
        let added = common::sh(&format!("ip -n fw-a {route}"));
        assert!(added.status.success(), "{route}: {}", common::stderr(&added));
    }
    lab
}

fn flood(frames: Vec<Vec<u8>>) -> Flood {
    Flood::start("fw-b", "fw-b0", frames, RATE, LONGEST).unwrap()
}

fn send(frames: &[Vec<u8>]) {
    send_frames("fw-b", "fw-b0", frames).unwrap();
}

/// How many packets the XDP program has decided so.
fn verdict(server: &Server, name: &str) -> u64 {
    let rows = json(&ok(&["ss", "--steering", "--json", "--pid", &server.pid().to_string()]));
    rows.as_array().unwrap().iter().find(|row| row["verdict"] == name).unwrap()["packets"].as_u64().unwrap()
}

/// Ten connections at once with messages of many sizes, and a mebibyte there and back; all is compared.
fn clients(address: &str) {
    good(peer("fw-b", "many", &[address, "7", "10"]));
    bulk(address, "7", "1");
}

/// How many connections [`clients`] opens.
const CLIENTS: u64 = 11;

/// Clients before, during and after; and the server's memory is as before.
fn beside_clients(server: &Server, address: &str, frames: Vec<Vec<u8>>, is_felt: impl Fn() -> bool) -> u64 {
    clients(address);
    let before = server.resident_kb();
    let flood = flood(frames);
    eventually("the attack is felt", is_felt);
    clients(address);
    let sent = flood.stop().unwrap();
    clients(address);
    let after = server.resident_kb();
    assert!(after < before + GROWTH_KB, "{before} KiB before, {after} after {sent} frames");
    sent
}

/// All that a server has, but for TIME-WAIT, is records of forged SYNs, and so many at most.
fn only_half_open(server: &Server, most: u64) -> bool {
    let mut rows = server.connections();
    rows.retain(|row| row["state"] != "TIME-WAIT");
    rows.len() as u64 <= most && rows.iter().all(|row| row["state"] == "SYN-RECEIVED")
}

/// RFC 4987: from sources that nobody has. What is left is the backlog's records, and without any none.
#[test]
fn forged_syns_beside_clients() {
    let _lab = lab_with_routes();
    let forger = Forger::new();
    for (to, listen, cookies, most) in
        [("10.77.0.1", "10.77.0.1:7", "when-full", 64), ("fd77::1", "[fd77::1]:7", "always", 0)]
    {
        let server = Server::start(&format!("echo --listen {listen} --backlog 64 --syn-cookies {cookies} {BUFFERS}"));
        let mut rng = Rng(1);
        let mut syn = || {
            let segment = Segment { ports: (rng.port(), 7), seq: rng.word(), flags: SYN, ..Segment::default() };
            let mss = Segment { options: vec![2, 4, 5, 0xb4], ..segment };
            forger.segment(rng.source(to.contains(':')), ip(to), &mss)
        };
        let frames = (0..FRAMES).map(|_| syn()).collect();
        let cookies = || counter(&server, "cookies_sent");
        beside_clients(&server, to, frames, || cookies() > 10_000);
        // All of the clients are in, in the midst of it by a cookie: what is opened otherwise is what the backlog holds, and what has
        // taken the place of what was given up.
        assert!(counter(&server, "cookies_accepted") > 0);
        let (opened, expired) = (counter(&server, "opened"), counter(&server, "half_open_expired"));
        assert!(opened <= most + 3 * CLIENTS + expired, "{opened} and {expired}");
        for name in ["listen_reset", "connections_full", "memory_refused"] {
            assert_eq!(counter(&server, name), 0, "{name}");
        }
        // Of a client whose SYN was sent again amid it two answers may be under way, of which one is not taken.
        assert!(counter(&server, "cookie_invalid") <= CLIENTS);
        eventually("only half-open ones of the flood are left", || only_half_open(&server, most));
        server.stop();
    }
}

/// RFC 9293 section 3.10.7: segments of no connection, to a port that is listened on and one that is not, of an owned address.
#[test]
fn segments_of_no_connection_beside_clients() {
    let _lab = lab();
    let forger = Forger::new();
    let server = Server::start(&format!(
        "echo --listen 10.77.0.50:7 --address 10.77.0.50/24 --gateway 10.77.0.2 --interface fw-a0 --dad-probes 0 {BUFFERS}"
    ));
    let mut rng = Rng(2);
    let kinds = [ACK, RST, FIN, FIN | ACK, RST | ACK, SYN | ACK, PSH | ACK, 0, SYN | FIN | RST | ACK];
    let mut of_kind = |n: usize| {
        let port = if n.is_multiple_of(2) { 7 } else { 9 };
        let flags = kinds[n / 2 % kinds.len()];
        let segment =
            Segment { ports: (rng.port(), port), seq: rng.word(), ack: rng.word(), flags, ..Segment::default() };
        forger.segment(rng.source(false), ip("10.77.0.50"), &Segment { data: vec![7; n % 3 * 100], ..segment })
    };
    let frames = (0..FRAMES).map(&mut of_kind).collect();
    let reasons = ["listen_reset", "listen_ignored", "no_endpoint"];
    let felt = || reasons.iter().all(|name| counter(&server, name) > 5000);
    beside_clients(&server, "10.77.0.50", frames, felt);
    // Not one of them has opened anything.
    assert_eq!((counter(&server, "opened"), counter(&server, "cookies_sent")), (3 * CLIENTS, 0));
    assert!(counter(&server, "reset_listen") > 0 && counter(&server, "reset_no_endpoint") > 0);
    server.assert_empty();
    server.stop();
}

/// The port of the client of a transfer that is under way.
fn port_of_the_client(server: &Server) -> u16 {
    let rows = server.connections();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["remote"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

/// RFC 5961: resets, SYNs, data, FINs and ACKs of all sequence numbers, to a connection whose addresses and ports are known. The chance that
/// one of 100,000 resets has the one number that ends it is below 3 in 100,000.
#[test]
fn blind_sweeps_through_a_transfer() {
    let _lab = lab();
    let forger = Forger::new();
    for (near, far) in [("10.77.0.2", "10.77.0.1"), ("fd77::2", "fd77::1")] {
        let listen = if near.contains(':') { "[fd77::1]:7" } else { "10.77.0.1:7" };
        let server = Server::start(&format!("echo --listen {listen}"));
        let transfer = long_transfer_to(far);
        let port = port_of_the_client(&server);
        let mut rng = Rng(3);
        let mut forged = |n: usize| {
            // Numbers in steps of 32 KiB, so that there are some of each kind within the window.
            let seq = u32::try_from(n).unwrap() << 15 | rng.word() >> 17;
            let flags = [RST, SYN, PSH | ACK, FIN | ACK, RST | ACK, ACK][n % 6];
            let data = vec![0x55; if flags == PSH | ACK { 100 } else { 0 }];
            // With a timestamp a SYN comes as far as to be one, half the time (RFC 7323 section 5.3); data that has one, and an ACK
            // that may be, would be taken sooner or later.
            let stamp = [&[1, 1, 8, 10], &rng.word().to_be_bytes()[..], &[0; 4]].concat();
            let options = if flags == SYN { stamp } else { Vec::new() };
            let segment = Segment { ports: (port, 7), seq, ack: rng.word(), flags, data, options };
            forger.segment(ip(near), ip(far), &segment)
        };
        // All 2^32 of them: a connection whose numbers begin where none is forged need not come out of there.
        let frames = (0..1 << 17).map(&mut forged).collect();
        // As long as it takes: nobody waits for a SYN to get through.
        let flood = Flood::start("fw-b", "fw-b0", frames, RATE, SOON).unwrap();
        let reasons = ["tcp_reset_not_exact", "tcp_unexpected_syn", "tcp_no_timestamp", "tcp_old_timestamp"];
        for name in reasons {
            eventually(name, || counter(&server, name) > 0);
        }
        eventually("the sweep is whole", || flood.sent() > 1 << 17);
        flood.stop().unwrap();
        assert_eq!(server.connections()[0]["state"], "ESTABLISHED");
        assert_whole(transfer);
        server.assert_empty();
        assert_eq!(counter(&server, "opened"), 1);
        server.stop();
    }
}

/// Which counter grows by how many frames of what a shard can't read, and its bytes are as right as ever. Each frame is accounted for
/// once.
#[test]
fn malformed_frames_have_their_names() {
    let _lab = lab();
    let forger = Forger::new();
    let server = Server::start(
        "echo --listen 10.77.0.50:7 --address 10.77.0.50/24 --gateway 10.77.0.2 --interface fw-a0 --dad-probes 0",
    );
    let mut transfer = long_transfer_to("10.77.0.50");
    let port = port_of_the_client(&server);
    // Each of them is sent once. The client stands still meanwhile, for what it sends while the server is not on a core is more
    // than a receive ring takes.
    transfer.signal_children(Signal::STOP);
    eventually("nothing comes", || counter(&server, "segments_in") == counter(&server, "segments_in"));
    let (near, own) = (ip("10.77.0.2"), ip("10.77.0.50"));
    let segment =
        Segment { ports: (port, 7), seq: 1, ack: 1, flags: PSH | ACK, data: vec![1; 16], options: vec![1; 8] };
    let whole = forger.segment(near, own, &segment);
    let header_sum = |frame: &mut Vec<u8>| {
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = crate::forged::checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum);
    };
    let ip_byte = |at: usize, byte: u8| {
        let mut frame = whole.clone();
        frame[14 + at] = byte;
        header_sum(&mut frame);
        frame
    };
    let tcp_byte = |at: usize, byte: u8| {
        let mut bytes = segment.bytes(near, own);
        bytes[at] = byte;
        bytes[16..18].copy_from_slice(&[0, 0]);
        let pseudo = [&whole[26..34], &[0, TCP], &u16::try_from(bytes.len()).unwrap().to_be_bytes()].concat();
        let sum = crate::forged::checksum(&[&pseudo, &bytes]);
        bytes[16..18].copy_from_slice(&sum);
        forger.frame(&packet(near, own, TCP, 0x4000, &bytes))
    };
    let flipped = |at: usize| {
        let mut frame = whole.clone();
        frame[at] ^= 0x10;
        frame
    };
    let cases: [(&str, Vec<Vec<u8>>); 10] = [
        // One bit, anywhere in the segment.
        ("tcp_checksum", (34..whole.len()).map(&flipped).collect()),
        ("ipv4_checksum", [15, 18, 19, 22, 24, 25, 26].map(&flipped).to_vec()),
        // Cut off, where the IP header says that there is more.
        ("ipv4_total_length", (35..whole.len()).map(|len| whole[..len].to_vec()).collect()),
        ("ipv4_total_length", vec![ip_byte(3, 19), ip_byte(2, 0x40)]),
        // Shorter than its header, or than 20 bytes; longer than the segment.
        ("tcp_data_offset", [0, 1, 2, 3, 4, 12, 15].map(|words| tcp_byte(12, words << 4)).to_vec()),
        ("tcp_truncated", [1, 8, 19].map(|len| forger.frame(&packet(near, own, TCP, 0x4000, &vec![0; len]))).to_vec()),
        ("protocol", [2, 17, 47, 132].map(|protocol| ip_byte(9, protocol)).to_vec()),
        ("fragment", vec![ip_byte(6, 0x20), ip_byte(7, 1)]),
        (
            "bad_source",
            ["224.0.0.1", "255.255.255.255", "10.77.0.50"].map(|from| forger.segment(ip(from), own, &segment)).to_vec(),
        ),
        ("tcp_option", vec![tcp_byte(20, 8), tcp_byte(21, 253)]),
    ];
    for (name, frames) in cases {
        let before = counter(&server, name);
        send(&frames);
        let expected = before + frames.len() as u64;
        eventually(&format!("{name}: {before} + {}", frames.len()), || counter(&server, name) >= expected);
        assert_eq!(counter(&server, name), expected, "{name}");
    }
    transfer.signal_children(Signal::CONT);
    assert_whole(transfer);
    clients("10.77.0.50");
    server.assert_empty();
    server.stop();
}

/// Any bytes at all, with our MAC address: as many as there is time for, beside clients.
#[test]
fn garbage_beside_clients() {
    let _lab = lab();
    let forger = Forger::new();
    let server = Server::start(&format!(
        "echo --listen 10.77.0.50:7 --address 10.77.0.50/24 --gateway 10.77.0.2 --interface fw-a0 --dad-probes 0 {BUFFERS}"
    ));
    let mut rng = Rng(4);
    let own = ip("10.77.0.50");
    let mut damaged = |n: usize| {
        let flags = [SYN, ACK, PSH | ACK, RST, FIN | ACK][n % 5];
        let options = (0..n % 11 * 4).map(|_| rng.byte()).collect();
        let data = vec![9; n % 700];
        let segment = Segment { ports: (rng.port(), 7), seq: rng.word(), ack: rng.word(), flags, options, data };
        let mut frame = forger.segment(rng.source(false), own, &segment);
        // A third is whole but for its options, a third has some bytes changed, a third is cut off.
        match n % 3 {
            0 => {}
            1 => {
                for _ in 0..1 + n % 4 {
                    let at = 12 + rng.word() as usize % (frame.len() - 12);
                    frame[at] = rng.byte();
                }
            }
            _ => frame.truncate(14 + rng.word() as usize % (frame.len() - 14)),
        }
        // A SYN that is whole is one: those are another test's.
        if n.is_multiple_of(3) && flags == SYN {
            frame[50] ^= 1;
        }
        frame
    };
    let frames = (0..FRAMES).map(&mut damaged).collect();
    let felt =
        || ["tcp_checksum", "ipv4_checksum", "ipv4_total_length"].iter().all(|name| counter(&server, name) > 1000);
    beside_clients(&server, "10.77.0.50", frames, felt);
    assert_eq!(counter(&server, "memory_refused"), 0);
    // Of those whose bytes were changed a SYN may have come by the one it had: one in 256 of some 500.
    eventually("at most half-open ones are left", || only_half_open(&server, 64));
    server.stop();
}

/// RFC 5927: errors about segments that are not in flight are nothing; a shared address has its own through the XDP program.
#[test]
fn forged_errors_fragments_and_datagrams_beside_a_transfer() {
    let _lab = lab();
    let forger = Forger::new();
    for (near, far) in [("10.77.0.2", "10.77.0.1"), ("fd77::2", "fd77::1")] {
        let (near, far, ipv6) = (ip(near), ip(far), near.contains(':'));
        let listen = if ipv6 { "[fd77::1]:7" } else { "10.77.0.1:7" };
        let server = Server::start(&format!("echo --listen {listen}"));
        let transfer = long_transfer_to(&far.to_string());
        let port = port_of_the_client(&server);
        let mut rng = Rng(5);
        // Unreachable of every code, too big with every MTU, time exceeded, parameter problem.
        let kinds: [(u8, u8); 8] = match ipv6 {
            false => [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)],
            true => [(1, 0), (1, 1), (1, 3), (1, 4), (2, 0), (2, 0), (3, 0), (4, 1)],
        };
        let first = |bytes: Vec<u8>| match ipv6 {
            false => packet(near, far, TCP, 0x2000, &bytes),
            true => packet(near, far, 44, 0, &[&[TCP, 0, 0, 1, 0, 0, 0, 9], &bytes[..]].concat()),
        };
        let mut forged = |n: usize| {
            let sent = Segment { ports: (7, port), seq: rng.word(), ack: rng.word(), flags: ACK, ..Segment::default() };
            let answered = Segment { ports: (port, 7), data: vec![5; 32], ..sent.clone() };
            let packet = match n % 4 {
                0 | 1 => error(near, (far, near), kinds[n / 4 % 8], rng.word() % 1500, &sent),
                2 => first(answered.bytes(near, far)),
                _ => packet(near, far, UDP, 0, &[&[0x9c, 0x40, 0, 7, 0, 16, 0, 0], &[1; 8][..]].concat()),
            };
            forger.frame(&packet)
        };
        let frames = (0..FRAMES).map(&mut forged).collect();
        let flood = flood(frames);
        eventually("stale errors", || counter(&server, "icmp_stale") > 5000);
        eventually("fragments of the stack's port", || verdict(&server, "drop_fragment") > 5000);
        // The kernel's to refuse.
        eventually("datagrams", || verdict(&server, "pass_not_tcp") > 5000);
        flood.stop().unwrap();
        let row = &server.connections()[0];
        assert_eq!(row["state"], "ESTABLISHED");
        assert_whole(transfer);
        server.assert_empty();
        server.stop();
    }
}

/// What a prefix may send at once.
const BURST: u64 = 20 * CLIENTS;

/// A prefix that sends too many SYNs has as many as its limit, and the stack is not shown the others; one in another gets in as if
/// there were none.
#[test]
fn a_flood_of_one_prefix_ends_at_its_limit() {
    let _lab = lab_with_routes();
    let forger = Forger::new();
    for (to, listen, from) in [("10.77.0.1", "10.77.0.1:7", "198.18.7"), ("fd77::1", "[fd77::1]:7", "2001:db8:1:7")] {
        // A token in 1000 s: none comes while the test runs. The clients' prefix has enough for them, should a SYN be sent again.
        let limit = format!("--syn-limit 0.001 --syn-limit-burst {BURST}");
        let server = Server::start(&format!("echo --listen {listen} --backlog 4096 {limit} {BUFFERS}"));
        let mut rng = Rng(6);
        let mut syn = |n: usize| {
            // All of the /24, or many networks of the /56.
            let source =
                if to.contains(':') { format!("{from}{:02x}::{n:x}", n % 256) } else { format!("{from}.{}", n % 256) };
            let segment = Segment { ports: (rng.port(), 7), seq: rng.word(), flags: SYN, ..Segment::default() };
            forger.segment(ip(&source), ip(to), &segment)
        };
        let frames = (0..FRAMES).map(&mut syn).collect();
        beside_clients(&server, to, frames, || verdict(&server, "drop_syn_limit") > 10_000);
        // Clients' and the flood's: each prefix its burst. Segments other than SYNs are not limited, so the clients were served.
        assert_eq!(counter(&server, "opened"), BURST + 3 * CLIENTS);
        assert_eq!((counter(&server, "cookies_sent"), counter(&server, "listen_ignored")), (0, 0));
        // Once the clients' prefix has none left they don't get in either.
        let near = ip(if to.contains(':') { "fd77::2" } else { "10.77.0.2" });
        let syn = |n: u64| Segment { ports: (u16::try_from(2000 + n).unwrap(), 7), flags: SYN, ..Segment::default() };
        let frames: Vec<_> = (0..BURST).map(|n| forger.segment(near, ip(to), &syn(n))).collect();
        let dropped = verdict(&server, "drop_syn_limit");
        send(&frames);
        eventually("they have used theirs up", || verdict(&server, "drop_syn_limit") >= dropped + 3 * CLIENTS);
        let open = format!("import socket; socket.create_connection(({to:?}, 7), timeout=2)");
        let refused = within("fw-b", 60, &["python3", "-c", &open]).output().unwrap();
        assert!(common::stderr(&refused).contains("timed out"), "{}", common::stderr(&refused));
        // The kernel's ports are no business of the limit.
        for _ in 0..10 {
            assert_refused(to, "9");
        }
        eventually("only half-open ones of the flood are left", || only_half_open(&server, BURST));
        server.stop();
    }
}

/// Who is connected keeps what he has, whatever his prefix sends.
#[test]
fn a_limit_does_not_touch_what_is_open() {
    let _lab = lab();
    let forger = Forger::new();
    let server = Server::start("echo --listen 10.77.0.1:7 --syn-limit 0.001 --syn-limit-prefix-v4 16");
    let transfer = long_transfer();
    let port = port_of_the_client(&server);
    let mut rng = Rng(7);
    let mut syn = |n: usize| {
        let ports = if n.is_multiple_of(2) { (port, 7) } else { (rng.port(), 7) };
        let segment = Segment { ports, seq: rng.word(), flags: SYN, ..Segment::default() };
        forger.segment(ip("10.77.0.2"), ip("10.77.0.1"), &segment)
    };
    let flood = flood((0..FRAMES).map(&mut syn).collect());
    eventually("SYNs are dropped", || verdict(&server, "drop_syn_limit") > 50_000);
    flood.stop().unwrap();
    assert_whole(transfer);
    assert_eq!((counter(&server, "opened"), counter(&server, "tcp_unexpected_syn")), (1, 0));
    server.assert_empty();
    server.stop();
}
