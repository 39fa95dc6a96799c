//! Packet in, verdict out (`BPF_PROG_TEST_RUN`). Expectations are from docs/ARCHITECTURE.md and `bpf/steer.h`, by hand.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use support::{A, Lab};
use xdp::{AttachMode, Steering, SynLimit, XskConfig, XskPort};

const OWNED: [&str; 2] = ["10.9.0.1", "fd09::1"];
const SHARED: [&str; 2] = ["10.9.0.2", "fd09::2"];
const OTHER: [&str; 2] = ["10.9.0.3", "fd09::3"];
const LISTENER: u16 = 7;
const TCP: u8 = 6;
const UDP: u8 = 17;
const LONGEST: Duration = Duration::from_secs(1000);

/// A program that knows the addresses above, with a socket on queue 0 unless `without_socket`.
struct Bench {
    steering: Steering,
    _port: Option<XskPort>,
    _lab: Lab,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::without_socket();
        let config = XskConfig { interface: A.into(), frame_count: 256, fill_ring: 64, ..XskConfig::default() };
        let port = bench._lab.in_a(|| XskPort::open(&config, AttachMode::Generic).unwrap());
        bench.steering.register(&port).unwrap();
        bench._port = Some(port);
        bench
    }

    /// As `new`, with the program for packets in several buffers.
    fn multi_buffer() -> Self {
        Self::new().with(Steering::load_multi_buffer(None).unwrap())
    }

    /// As `new`, with a limit; a token comes in 1000 s, so that none does.
    fn limited(limit: SynLimit) -> Self {
        Self::new().with(Steering::load(Some(&SynLimit { interval: LONGEST, ..limit })).unwrap())
    }

    fn with(mut self, mut steering: Steering) -> Self {
        Self::teach(&mut steering);
        steering.register(self._port.as_ref().unwrap()).unwrap();
        self.steering = steering;
        self
    }

    /// How many of `count` frames, as `make` has them from a number, are not dropped; none has another verdict than `name`.
    #[track_caller]
    fn passed(&mut self, count: u32, name: &str, make: impl Fn(u32) -> Vec<u8>) -> u32 {
        let mut passed = 0;
        for n in 0..count {
            let verdict = self.steering.test(&make(n)).unwrap();
            assert!([name, "drop_syn_limit"].contains(&verdict.name), "{verdict:?}");
            assert_eq!(verdict.dropped, verdict.name == "drop_syn_limit");
            passed += u32::from(verdict.redirected);
        }
        passed
    }

    fn without_socket() -> Self {
        let lab = Lab::new();
        let mut steering = Steering::load(None).unwrap();
        Self::teach(&mut steering);
        Self { steering, _port: None, _lab: lab }
    }

    fn teach(steering: &mut Steering) {
        for version in 0..2 {
            steering.add_address(ip(OWNED[version]), true, None).unwrap();
            steering.add_address(ip(SHARED[version]), false, Some(50_000..=50_999)).unwrap();
            steering.add_endpoint(ip(SHARED[version]), LISTENER).unwrap();
        }
    }

    #[track_caller]
    fn expect(&mut self, frame: &[u8], name: &str) {
        let verdict = self.steering.test(frame).unwrap();
        assert_eq!(verdict.name, name, "{frame:02x?}");
        assert_eq!(verdict.redirected, name.starts_with("redirect"), "{verdict:?}");
        assert_eq!(verdict.dropped, name.starts_with("drop"), "{verdict:?}");
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Ethernet with `tags` before the protocol, which have a priority and no VLAN.
fn ethernet(tags: &[u16], protocol: u16, payload: &[u8]) -> Vec<u8> {
    ethernet_in(0, tags, protocol, payload)
}

/// The same in a VLAN.
fn ethernet_in(vlan: u8, tags: &[u16], protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0xe0, vlan]);
    }
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

fn tcp(port: u16) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

/// IPv4 with `options` (a multiple of 4) and the flags/offset field `fragment`.
fn ipv4(to: &str, protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let to: Ipv4Addr = to.parse().unwrap();
    let words = 5 + u8::try_from(options.len() / 4).unwrap();
    let mut packet = vec![0x40 | words, 0];
    packet.extend(u16::try_from(20 + options.len() + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 9, 0, 99]);
    packet.extend(to.octets());
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// IPv6; `headers` are (number, bytes), the first byte of each is set to the number of the next.
fn ipv6(to: &str, headers: &[(u8, Vec<u8>)], last: u8, payload: &[u8]) -> Vec<u8> {
    let to: Ipv6Addr = to.parse().unwrap();
    let mut numbers: Vec<_> = headers.iter().map(|header| header.0).chain([last]).collect();
    let mut packet = vec![0x60, 0, 0, 0];
    let bytes: usize = headers.iter().map(|header| header.1.len()).sum::<usize>() + payload.len();
    packet.extend(u16::try_from(bytes).unwrap().to_be_bytes());
    packet.extend([numbers.remove(0), 64]);
    packet.extend("fd09::99".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(to.octets());
    for (header, next) in headers.iter().zip(numbers) {
        packet.push(next);
        packet.extend(&header.1[1..]);
    }
    packet.extend(payload);
    packet
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// An option-like extension header of `units` times 8 bytes; a Routing header has no segments left.
fn extension(number: u8, units: u8) -> (u8, Vec<u8>) {
    let mut header = vec![0, units - 1];
    header.resize(usize::from(units) * 8, 1);
    header[3] = u8::from(number != ROUTING);
    (number, header)
}

fn fragment_header(offset_and_more: u16) -> (u8, Vec<u8>) {
    let [high, low] = offset_and_more.to_be_bytes();
    (FRAGMENT, vec![0, 0, high, low, 0, 0, 0, 9])
}

fn v4(to: &str, port: u16) -> Vec<u8> {
    ethernet(&[], 0x0800, &ipv4(to, TCP, &[], 0x4000, &tcp(port)))
}

fn v6(to: &str, port: u16) -> Vec<u8> {
    ethernet(&[], 0x86dd, &ipv6(to, &[], TCP, &tcp(port)))
}

fn arp(target: &str) -> Vec<u8> {
    let target: Ipv4Addr = target.parse().unwrap();
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 9, 0, 99, 0, 0, 0, 0, 0, 0];
    packet.extend(target.octets());
    ethernet(&[], 0x0806, &packet)
}

fn solicitation(target: &str, icmp_type: u8) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    let mut message = vec![icmp_type, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    let group = format!("ff02::1:ff00:{:x}", target.segments()[7]);
    ethernet(&[], 0x86dd, &ipv6(&group, &[], 58, &message))
}

#[test]
fn tcp_is_steered_by_address_and_port() {
    let mut bench = Bench::new();
    for (version, make) in [(0, v4 as fn(&str, u16) -> Vec<u8>), (1, v6)] {
        bench.expect(&make(SHARED[version], LISTENER), "redirect_endpoint");
        for (port, name) in [
            (0, "pass_other_port"),
            (6, "pass_other_port"),
            (8, "pass_other_port"),
            // The listener's port with its bytes swapped.
            (0x0700, "pass_other_port"),
            (49_999, "pass_other_port"),
            (50_000, "redirect_range"),
            (50_500, "redirect_range"),
            (50_999, "redirect_range"),
            (51_000, "pass_other_port"),
            (65_535, "pass_other_port"),
        ] {
            bench.expect(&make(SHARED[version], port), name);
        }
        bench.expect(&make(OWNED[version], 80), "redirect_owned");
        bench.expect(&make(OTHER[version], LISTENER), "pass_other_address");
    }
    // IPv4 is looked up as ::ffff:a.b.c.d, which is no way in for IPv6 to anything else.
    bench.expect(&v6("::10.9.0.2", LISTENER), "pass_other_address");
}

#[test]
fn other_protocols_are_the_kernels_on_a_shared_address() {
    let mut bench = Bench::new();
    for protocol in [1, UDP, 58, 132] {
        let (four, six) =
            (|to| ipv4(to, protocol, &[], 0, &tcp(LISTENER)), |to| ipv6(to, &[], protocol, &tcp(LISTENER)));
        bench.expect(&ethernet(&[], 0x0800, &four(SHARED[0])), "pass_not_tcp");
        bench.expect(&ethernet(&[], 0x0800, &four(OWNED[0])), "redirect_owned");
        bench.expect(&ethernet(&[], 0x86dd, &six(SHARED[1])), "pass_not_tcp");
        bench.expect(&ethernet(&[], 0x86dd, &six(OWNED[1])), "redirect_owned");
    }
    bench.expect(&ethernet(&[], 0x88cc, &[0; 46]), "pass_not_ip");
    // A length, as in IEEE 802.3 without Ethernet II.
    bench.expect(&ethernet(&[], 0x0026, &[0; 46]), "pass_not_ip");
}

/// IEEE 802.1Q section 9.6: VLAN 0 is none. As on Linux, the addresses that the kernel has on the interface are not those of a
/// VLAN on it; one of the stack's own is wherever it is asked for.
#[test]
fn a_shared_address_is_in_no_vlan() {
    let mut bench = Bench::new();
    for protocol in [TCP, ICMP, UDP] {
        for fragment in [0, 0x2000] {
            let to = |ip| ipv4(ip, protocol, &[], fragment, &tcp(LISTENER));
            bench.expect(&ethernet_in(42, &[0x8100], 0x0800, &to(SHARED[0])), "pass_other_address");
            bench.expect(&ethernet_in(42, &[0x8100], 0x0800, &to(OWNED[0])), "redirect_owned");
        }
        let to = |ip| ipv6(ip, &[], protocol, &tcp(LISTENER));
        bench.expect(&ethernet_in(42, &[0x8100], 0x86dd, &to(SHARED[1])), "pass_other_address");
        bench.expect(&ethernet_in(42, &[0x8100], 0x86dd, &to(OWNED[1])), "redirect_owned");
    }
    let error = error(3, &sent4(SHARED[0], &[], LISTENER));
    let error = ipv4(SHARED[0], ICMP, &[], 0, &error);
    bench.expect(&ethernet_in(42, &[0x8100], 0x0800, &error), "pass_other_address");
}

#[test]
fn one_8021q_tag_is_looked_behind() {
    let mut bench = Bench::new();
    let packet = ipv4(SHARED[0], TCP, &[], 0, &tcp(LISTENER));
    let packet6 = ipv6(SHARED[1], &[], TCP, &tcp(LISTENER));
    bench.expect(&ethernet(&[0x8100], 0x0800, &packet), "redirect_endpoint");
    bench.expect(&ethernet(&[0x8100], 0x86dd, &packet6), "redirect_endpoint");
    bench.expect(&ethernet(&[0x8100], 0x88cc, &packet), "pass_not_ip");
    // The stack takes one tag off, and puts an 802.1Q one on: it could not answer these, whoever's the address is.
    let owned = ipv4(OWNED[0], TCP, &[], 0, &tcp(LISTENER));
    for tags in [&[0x88a8][..], &[0x8100, 0x8100], &[0x88a8, 0x8100], &[0x8100, 0x88a8], &[0x8100, 0x8100, 0x8100]] {
        bench.expect(&ethernet(tags, 0x0800, &packet), "pass_unparsed");
        bench.expect(&ethernet(tags, 0x0800, &owned), "pass_unparsed");
        bench.expect(&ethernet(tags, 0x86dd, &packet6), "pass_unparsed");
    }
}

#[test]
fn ipv4_options_are_skipped() {
    let mut bench = Bench::new();
    for words in 1..=10_usize {
        let packet = ipv4(SHARED[0], TCP, &vec![1; words * 4], 0, &tcp(LISTENER));
        bench.expect(&ethernet(&[], 0x0800, &packet), "redirect_endpoint");
    }
    for first in [0x44, 0x40, 0x55, 0x65] {
        let mut packet = ipv4(SHARED[0], TCP, &[], 0, &tcp(LISTENER));
        packet[0] = first;
        bench.expect(&ethernet(&[], 0x0800, &packet), "pass_unparsed");
    }
    // A total length that leaves no room for a TCP header, padded by the link.
    let mut packet = ipv4(SHARED[0], TCP, &[], 0, &tcp(LISTENER));
    packet[3] = 39;
    bench.expect(&ethernet(&[], 0x0800, &packet), "pass_unparsed");
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let mut bench = Bench::new();
    let chains: [&[(u8, Vec<u8>)]; 7] = [
        &[extension(HOP_BY_HOP, 1)],
        &[extension(DESTINATION, 2)],
        &[extension(ROUTING, 3)],
        // An atomic fragment is whole (RFC 6946).
        &[fragment_header(0)],
        &[extension(HOP_BY_HOP, 1), extension(ROUTING, 3), extension(DESTINATION, 1)],
        &[extension(HOP_BY_HOP, 4), extension(DESTINATION, 8), fragment_header(0), extension(DESTINATION, 1)],
        &[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION, DESTINATION, DESTINATION].map(|n| extension(n, 1)),
    ];
    for headers in chains {
        let frame = |to, next| ethernet(&[], 0x86dd, &ipv6(to, headers, next, &tcp(LISTENER)));
        bench.expect(&frame(SHARED[1], TCP), "redirect_endpoint");
        bench.expect(&frame(SHARED[1], UDP), "pass_not_tcp");
        bench.expect(&frame(OWNED[1], TCP), "redirect_owned");
        bench.expect(&frame(OTHER[1], TCP), "pass_other_address");
    }
    let seven: Vec<_> = (0..7).map(|_| extension(DESTINATION, 1)).collect();
    bench.expect(&ethernet(&[], 0x86dd, &ipv6(SHARED[1], &seven, TCP, &tcp(LISTENER))), "pass_unparsed");
    // A header that claims to be longer than the packet, at most 2048 bytes.
    let mut packet = ipv6(SHARED[1], &[extension(DESTINATION, 1)], TCP, &tcp(LISTENER));
    packet[41] = 255;
    bench.expect(&ethernet(&[], 0x86dd, &packet), "pass_unparsed");
    // A payload length that leaves no room for a TCP header.
    let mut packet = ipv6(SHARED[1], &[extension(DESTINATION, 1)], TCP, &tcp(LISTENER));
    packet[5] = 27;
    bench.expect(&ethernet(&[], 0x86dd, &packet), "pass_unparsed");
    packet[0] = 0x40;
    bench.expect(&ethernet(&[], 0x86dd, &packet), "pass_unparsed");
}

/// With segments left it goes on to somebody who is named in it (RFC 8200 section 4.4, RFC 8754 section 4.3): it is the kernel's,
/// which forwards it or says why not.
#[test]
fn a_segment_that_only_passes_by_is_the_kernels() {
    let mut bench = Bench::new();
    let routing = |left: u8| {
        let mut header = extension(ROUTING, 5);
        header.1[3] = left;
        header
    };
    for left in [1, 2, 255] {
        for headers in
            [vec![routing(left)], vec![extension(HOP_BY_HOP, 1), routing(left)], vec![routing(0), routing(left)]]
        {
            let frame = |to| ethernet(&[], 0x86dd, &ipv6(to, &headers, TCP, &tcp(LISTENER)));
            bench.expect(&frame(SHARED[1]), "pass_unparsed");
            bench.expect(&frame(OWNED[1]), "redirect_owned");
        }
    }
}

/// The kernel puts fragments together: of a segment to the stack's port it must not get the first.
#[test]
fn a_fragment_is_the_kernels_unless_the_address_is_owned_or_the_port_is() {
    let mut bench = Bench::new();
    // More fragments; the last one; a middle one. 0x8000 is the reserved bit, no fragment.
    for (field, name) in [
        (0x2000, "drop_fragment"),
        (0xe000, "drop_fragment"),
        (0x2001, "pass_fragment"),
        (0x0001, "pass_fragment"),
        (0x3fff, "pass_fragment"),
        (0x8000, "redirect_endpoint"),
        (0x4000, "redirect_endpoint"),
    ] {
        bench.expect(&ethernet(&[], 0x0800, &ipv4(SHARED[0], TCP, &[], field, &tcp(LISTENER))), name);
        bench.expect(&ethernet(&[], 0x0800, &ipv4(OWNED[0], TCP, &[], field, &tcp(LISTENER))), "redirect_owned");
    }
    for (field, name) in [
        (0x0001, "drop_fragment"),
        (0x0007, "drop_fragment"),
        (0x0008, "pass_fragment"),
        (0x0009, "pass_fragment"),
        (0xfff9, "pass_fragment"),
        // Reserved bits.
        (0x0006, "redirect_endpoint"),
    ] {
        let frame = |to| ethernet(&[], 0x86dd, &ipv6(to, &[fragment_header(field)], TCP, &tcp(LISTENER)));
        bench.expect(&frame(SHARED[1]), name);
        bench.expect(&frame(OWNED[1]), "redirect_owned");
    }
    // The first fragment of anything else is the kernel's: to its ports, of its protocols; and of a segment it has, too.
    for (port, protocol, name) in [
        (LISTENER, TCP, "drop_fragment"),
        (50_000, TCP, "drop_fragment"),
        (49_999, TCP, "pass_fragment"),
        (0x0700, TCP, "pass_fragment"),
        (LISTENER, UDP, "pass_fragment"),
        (LISTENER, ICMP, "pass_fragment"),
        (LISTENER, ICMPV6, "pass_fragment"),
    ] {
        let first = &tcp(port)[..8];
        let shared4 = |tags: &[u16]| ethernet(tags, 0x0800, &ipv4(SHARED[0], protocol, &[1; 4], 0x2000, first));
        let headers = [extension(HOP_BY_HOP, 1), fragment_header(1), extension(DESTINATION, 2)];
        let shared6 = |tags: &[u16]| ethernet(tags, 0x86dd, &ipv6(SHARED[1], &headers, protocol, first));
        for tags in [&[][..], &[0x8100]] {
            bench.expect(&shared4(tags), name);
            bench.expect(&shared6(tags), name);
        }
        let other = ethernet(&[], 0x0800, &ipv4(OTHER[0], protocol, &[], 0x2000, first));
        bench.expect(&other, "pass_other_address");
    }
    // Without ports it is nobody's; every true fragment but the last has 8 bytes (RFC 791 section 3.2).
    bench.expect(&ethernet(&[], 0x0800, &ipv4(SHARED[0], TCP, &[], 0x2000, &tcp(LISTENER)[..7])), "pass_fragment");
    bench.expect(
        &ethernet(&[], 0x86dd, &ipv6(SHARED[1], &[fragment_header(1)], TCP, &tcp(LISTENER)[..7])),
        "pass_fragment",
    );
}

#[test]
fn arp_and_neighbour_solicitations_follow_their_target() {
    let mut bench = Bench::new();
    bench.expect(&arp(OWNED[0]), "redirect_arp");
    bench.expect(&arp(SHARED[0]), "pass_other_address");
    bench.expect(&arp(OTHER[0]), "pass_other_address");
    for (at, byte) in [(15, 6), (17, 0xdd), (18, 8), (19, 16)] {
        let mut odd = arp(OWNED[0]);
        odd[at] = byte;
        bench.expect(&odd, "pass_unparsed");
    }
    // RFC 5227 section 2.1.1: who has an owned address answers nobody's probe; his requests may be for the kernel.
    let from = |sender: &str, operation: u8, target: &str| {
        let sender: Ipv4Addr = sender.parse().unwrap();
        let mut frame = arp(target);
        frame[21] = operation;
        frame[28..32].copy_from_slice(&sender.octets());
        frame
    };
    for (sender, operation, target, name) in [
        (OWNED[0], 2, "0.0.0.0", "redirect_arp"),
        (OWNED[0], 2, OTHER[0], "redirect_arp"),
        (OWNED[0], 1, OWNED[0], "redirect_arp"),
        ("0.0.0.0", 1, OWNED[0], "redirect_arp"),
        (OWNED[0], 1, SHARED[0], "pass_other_address"),
        (SHARED[0], 2, "0.0.0.0", "pass_other_address"),
        (SHARED[0], 2, SHARED[0], "pass_other_address"),
        (OTHER[0], 2, OTHER[0], "pass_other_address"),
    ] {
        bench.expect(&from(sender, operation, target), name);
    }
    bench.expect(&solicitation(OWNED[1], 135), "redirect_ndp");
    bench.expect(&solicitation(SHARED[1], 135), "pass_other_address");
    bench.expect(&solicitation(OTHER[1], 135), "pass_other_address");
    // An advertisement has no business in that group.
    bench.expect(&solicitation(OWNED[1], 136), "pass_other_address");
    bench.expect(&ethernet(&[], 0x86dd, &ipv6("ff02::fb", &[], UDP, &[0; 20])), "pass_other_address");
}

#[test]
fn a_frame_cut_anywhere_is_the_kernels_until_it_says_whose_it_is() {
    let mut bench = Bench::new();
    let long = [extension(HOP_BY_HOP, 2), extension(DESTINATION, 1)];
    // The frame, its verdict, and how many bytes of it are needed for that.
    let cases = [
        (ethernet(&[0x8100], 0x0800, &ipv4(SHARED[0], TCP, &[1; 8], 0, &tcp(LISTENER))), "redirect_endpoint", 66),
        (ethernet(&[], 0x86dd, &ipv6(SHARED[1], &long, TCP, &tcp(LISTENER))), "redirect_endpoint", 98),
        (v4(SHARED[0], 50_000), "redirect_range", 54),
        (v4(OWNED[0], 80), "redirect_owned", 34),
        (v6(OWNED[1], 80), "redirect_owned", 54),
        (arp(OWNED[0]), "redirect_arp", 42),
        (solicitation(OWNED[1], 135), "redirect_ndp", 78),
    ];
    for (frame, name, needed) in cases {
        // BPF_PROG_TEST_RUN takes no frame shorter than an Ethernet header.
        for len in 14..=frame.len() {
            bench.expect(&frame[..len], if len < needed { "pass_unparsed" } else { name });
        }
    }
}

#[test]
fn without_a_socket_everything_is_the_kernels_and_counted_so() {
    let mut bench = Bench::without_socket();
    let ours =
        [v4(SHARED[0], LISTENER), v6(SHARED[1], 50_000), v4(OWNED[0], 1), arp(OWNED[0]), solicitation(OWNED[1], 135)];
    for frame in ours {
        bench.expect(&frame, "pass_no_socket");
    }
    bench.expect(&v4(OTHER[0], 1), "pass_other_address");
}

#[test]
fn endpoints_and_addresses_come_and_go() {
    let mut bench = Bench::new();
    let frame = v4(SHARED[0], 1234);
    bench.expect(&frame, "pass_other_port");
    bench.steering.add_endpoint(ip(SHARED[0]), 1234).unwrap();
    bench.steering.add_endpoint(ip(SHARED[0]), 1234).unwrap();
    bench.expect(&frame, "redirect_endpoint");
    assert!(bench.steering.remove_endpoint(ip(SHARED[0]), 1234).unwrap());
    assert!(!bench.steering.remove_endpoint(ip(SHARED[0]), 1234).unwrap());
    bench.expect(&frame, "pass_other_port");
    // Without a range; one of a single port; an empty one.
    for (range, name) in [
        (None, "pass_other_port"),
        (Some(1234..=1234), "redirect_range"),
        #[expect(clippy::reversed_empty_ranges, reason = "that is the case")]
        (Some(1235..=1233), "pass_other_port"),
        (Some(0..=65_535), "redirect_range"),
    ] {
        bench.steering.add_address(ip(SHARED[0]), false, range).unwrap();
        bench.expect(&frame, name);
    }
    bench.steering.add_address(ip(SHARED[0]), true, None).unwrap();
    bench.expect(&frame, "redirect_owned");
    assert!(bench.steering.remove_address(ip(SHARED[0])).unwrap());
    assert!(!bench.steering.remove_address(ip(SHARED[0])).unwrap());
    bench.expect(&frame, "pass_other_address");
    let total: u64 = bench.steering.verdicts().unwrap().iter().map(|verdict| verdict.1).sum();
    assert_eq!(total, 9);
}

#[test]
fn a_full_table_is_told_apart() {
    let mut bench = Bench::without_socket();
    let error = (0..2000_u32)
        .find_map(|number| {
            let address = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number));
            bench.steering.add_address(address, false, None).err()
        })
        .expect("a limit");
    assert_eq!(error.to_string(), "the steering program's table of addresses is full (1024 entries)");
}

/// An ICMP error with `quoted` in it.
fn error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 5, 0][..], quoted].concat()
}

/// A segment from port `port` of `from`, as a router quotes it.
fn sent4(from: &str, options: &[u8], port: u16) -> Vec<u8> {
    let from: Ipv4Addr = from.parse().unwrap();
    let mut segment = tcp(40_000);
    segment[..2].copy_from_slice(&port.to_be_bytes());
    let mut packet = ipv4(OTHER[0], TCP, options, 0x4000, &segment);
    packet[12..16].copy_from_slice(&from.octets());
    packet
}

fn sent6(from: &str, headers: &[(u8, Vec<u8>)], port: u16) -> Vec<u8> {
    let from: Ipv6Addr = from.parse().unwrap();
    let mut segment = tcp(40_000);
    segment[..2].copy_from_slice(&port.to_be_bytes());
    let mut packet = ipv6(OTHER[1], headers, TCP, &segment);
    packet[8..24].copy_from_slice(&from.octets());
    packet
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// RFC 792, RFC 4443, RFC 5927 section 4.1: errors about the stack's segments are the stack's, everything else of ICMP to
/// a shared address is the kernel's.
#[test]
fn icmp_errors_follow_the_segment_they_quote() {
    let mut bench = Bench::new();
    let four =
        |tags: &[u16], to, kind, quoted: &[u8]| ethernet(tags, 0x0800, &ipv4(to, ICMP, &[], 0, &error(kind, quoted)));
    let six =
        |tags: &[u16], to, kind, quoted: &[u8]| ethernet(tags, 0x86dd, &ipv6(to, &[], ICMPV6, &error(kind, quoted)));
    for kind in 0..=255 {
        let name = if matches!(kind, 3 | 11 | 12) { "redirect_icmp" } else { "pass_not_tcp" };
        bench.expect(&four(&[], SHARED[0], kind, &sent4(SHARED[0], &[], LISTENER)), name);
        let name = if matches!(kind, 1..=4) { "redirect_icmp" } else { "pass_not_tcp" };
        bench.expect(&six(&[], SHARED[1], kind, &sent6(SHARED[1], &[], LISTENER)), name);
    }
    for (port, name) in [
        (LISTENER, "redirect_icmp"),
        // Its bytes swapped; the range of active opens, and beside it.
        (0x0700, "pass_not_tcp"),
        (0, "pass_not_tcp"),
        (49_999, "pass_not_tcp"),
        (50_000, "redirect_icmp"),
        (50_999, "redirect_icmp"),
        (51_000, "pass_not_tcp"),
    ] {
        for tags in [&[][..], &[0x8100]] {
            bench.expect(&four(tags, SHARED[0], 3, &sent4(SHARED[0], &[], port)), name);
            bench.expect(&six(tags, SHARED[1], 2, &sent6(SHARED[1], &[], port)), name);
        }
    }
    // To another address than the segment's; one that was sent to the listener's port, not from it.
    bench.expect(&four(&[], SHARED[0], 3, &sent4(OTHER[0], &[], LISTENER)), "pass_not_tcp");
    bench.expect(&four(&[], SHARED[0], 3, &sent4(OWNED[0], &[], LISTENER)), "pass_not_tcp");
    bench.expect(&four(&[], OTHER[0], 3, &sent4(SHARED[0], &[], LISTENER)), "pass_other_address");
    bench.expect(&six(&[], SHARED[1], 1, &sent6(OTHER[1], &[], LISTENER)), "pass_not_tcp");
    bench.expect(&six(&[], SHARED[1], 1, &sent6(OWNED[1], &[], LISTENER)), "pass_not_tcp");
    bench.expect(&six(&[], OTHER[1], 1, &sent6(SHARED[1], &[], LISTENER)), "pass_other_address");
    let received = ipv4(SHARED[0], TCP, &[], 0, &tcp(LISTENER));
    bench.expect(&four(&[], SHARED[0], 3, &received), "pass_not_tcp");
    // All of an owned address's is the stack's.
    for kind in [0, 3, 4, 8, 12] {
        bench.expect(&four(&[], OWNED[0], kind, &sent4(OWNED[0], &[], 1)), "redirect_owned");
    }
    for kind in [1, 2, 128, 136] {
        bench.expect(&six(&[], OWNED[1], kind, &sent6(OWNED[1], &[], 1)), "redirect_owned");
    }
    // A neighbour solicitation and an advertisement to the owned address itself.
    for kind in [135, 136] {
        bench.expect(&six(&[0x8100], OWNED[1], kind, &[0; 16]), "redirect_owned");
        bench.expect(&six(&[0x8100], SHARED[1], kind, &[0; 16]), "pass_not_tcp");
    }
}

#[test]
fn what_an_icmp_error_quotes_is_parsed_with_care() {
    let mut bench = Bench::new();
    let four = |quoted: &[u8]| ethernet(&[], 0x0800, &ipv4(SHARED[0], ICMP, &[], 0, &error(3, quoted)));
    let six = |quoted: &[u8]| ethernet(&[], 0x86dd, &ipv6(SHARED[1], &[], ICMPV6, &error(1, quoted)));
    // RFC 792 quotes 64 bits of the payload: less is nobody's. What is quoted may have options.
    for words in 0..=10_usize {
        let quoted = sent4(SHARED[0], &vec![1; words * 4], LISTENER);
        let needed = 20 + words * 4 + 8;
        for len in 0..=quoted.len() {
            let name = if len < needed { "pass_unparsed" } else { "redirect_icmp" };
            bench.expect(&four(&quoted[..len]), name);
        }
        // The same where Ethernet pads the frame: the total length is what counts.
        let mut padded = ipv4(SHARED[0], ICMP, &[], 0, &error(3, &quoted[..needed - 1]));
        padded.extend([0; 60]);
        bench.expect(&ethernet(&[], 0x0800, &padded), "pass_unparsed");
    }
    let quoted = sent6(SHARED[1], &[], LISTENER);
    for len in 0..=quoted.len() {
        bench.expect(&six(&quoted[..len]), if len < 48 { "pass_unparsed" } else { "redirect_icmp" });
    }
    let mut padded = ipv6(SHARED[1], &[], ICMPV6, &error(1, &quoted[..47]));
    padded.extend([0; 60]);
    bench.expect(&ethernet(&[], 0x86dd, &padded), "pass_unparsed");
    // Another version or header length; another protocol; the middle of a datagram, whose first bytes are no header.
    for (at, byte, name) in [
        (0, 0x65, "pass_unparsed"),
        (0, 0x44, "pass_unparsed"),
        (9, UDP, "pass_not_tcp"),
        (9, ICMP, "pass_not_tcp"),
        (7, 1, "pass_not_tcp"),
        (6, 0x10, "pass_not_tcp"),
        (6, 0x20, "redirect_icmp"),
    ] {
        let mut odd = sent4(SHARED[0], &[], LISTENER);
        odd[at] = byte;
        bench.expect(&four(&odd), name);
    }
    for (at, byte, name) in [(0, 0x45, "pass_unparsed"), (6, UDP, "pass_not_tcp"), (6, ICMPV6, "pass_not_tcp")] {
        let mut odd = sent6(SHARED[1], &[], LISTENER);
        odd[at] = byte;
        bench.expect(&six(&odd), name);
    }
    // No segment of the stack's has extension headers. The error itself may.
    for headers in [[extension(DESTINATION, 1)], [extension(HOP_BY_HOP, 1)], [fragment_header(0)]] {
        bench.expect(&six(&sent6(SHARED[1], &headers, LISTENER)), "pass_not_tcp");
        let packet = ipv6(SHARED[1], &headers, ICMPV6, &error(2, &quoted));
        bench.expect(&ethernet(&[], 0x86dd, &packet), "redirect_icmp");
    }
    let packet = ipv4(SHARED[0], ICMP, &[1; 8], 0, &error(3, &sent4(SHARED[0], &[], LISTENER)));
    bench.expect(&ethernet(&[], 0x0800, &packet), "redirect_icmp");
    // A fragment of an error is the kernel's.
    let packet = ipv4(SHARED[0], ICMP, &[], 0x2000, &error(3, &sent4(SHARED[0], &[], LISTENER)));
    bench.expect(&ethernet(&[], 0x0800, &packet), "pass_fragment");
    let packet = ipv6(SHARED[1], &[fragment_header(1)], ICMPV6, &error(2, &quoted));
    bench.expect(&ethernet(&[], 0x86dd, &packet), "pass_fragment");
}

/// RFC 4291 section 2.7.1: who asks for an owned address asks its group; other groups are the kernel's.
#[test]
fn a_solicitation_comes_to_the_group_of_its_target() {
    let mut bench = Bench::new();
    let to = |group: &str, tags: &[u16], target: &str| {
        let target: Ipv6Addr = target.parse().unwrap();
        let message = [&[135, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..]].concat();
        ethernet(tags, 0x86dd, &ipv6(group, &[], ICMPV6, &message))
    };
    bench.expect(&to("ff02::1:ff00:1", &[], OWNED[1]), "redirect_ndp");
    bench.expect(&to("ff02::1:ff00:1", &[0x8100], OWNED[1]), "redirect_ndp");
    bench.expect(&to("ff02::1:ff00:1", &[0x88a8], OWNED[1]), "pass_unparsed");
    bench.expect(&to("ff02::1:ff00:1", &[], "fd0a::1"), "pass_other_address");
    // RFC 4862 section 5.4.4: who has an owned address tells all nodes.
    let tells = |group: &str, target: &str| {
        let target: Ipv6Addr = target.parse().unwrap();
        let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0], &target.octets()[..]].concat();
        ethernet(&[], 0x86dd, &ipv6(group, &[], ICMPV6, &message))
    };
    bench.expect(&tells("ff02::1", OWNED[1]), "redirect_ndp");
    bench.expect(&tells("ff02::1", SHARED[1]), "pass_other_address");
    bench.expect(&tells("ff02::1", OTHER[1]), "pass_other_address");
    bench.expect(&tells("ff02::2", OWNED[1]), "pass_other_address");
    bench.expect(&tells("ff02::1:ff00:1", OWNED[1]), "pass_other_address");
    for group in [
        "ff02::1",
        "ff02::2",
        "ff02::1:ff00:2",
        "ff02::1:ff01:1",
        "ff02::1:ff00:101",
        "ff02::2:ff00:1",
        "ff02::1:0:0:1",
        "ff05::1:ff00:1",
        "ff02:0:0:1::1:ff00:1",
    ] {
        bench.expect(&to(group, &[], OWNED[1]), "pass_other_address");
    }
}

/// What `BPF_PROG_TEST_RUN` shows a program as one buffer: a page, less the headroom and the kernel's notes at its end.
const FIRST_BUFFER: usize = 4096 - 256 - 320;

#[test]
fn packets_in_several_buffers_are_steered_by_their_first() {
    let mut bench = Bench::multi_buffer();
    for bytes in [0, 1400, 3400, 4000, 8900, 17 * 3840] {
        let data = |port| [tcp(port), vec![7; bytes]].concat();
        let (four, six) = (|to, port| ipv4(to, TCP, &[], 0, &data(port)), |to, port| ipv6(to, &[], TCP, &data(port)));
        for (port, name) in [(LISTENER, "redirect_endpoint"), (50_500, "redirect_range"), (80, "pass_other_port")] {
            bench.expect(&ethernet(&[], 0x0800, &four(SHARED[0], port)), name);
            bench.expect(&ethernet(&[0x8100], 0x86dd, &six(SHARED[1], port)), name);
        }
        bench.expect(&ethernet(&[], 0x0800, &four(OWNED[0], 80)), "redirect_owned");
        bench.expect(&ethernet(&[], 0x0800, &four(OTHER[0], 80)), "pass_other_address");
    }
    // A header that doesn't lie in the first buffer: with 1,752 bytes of options twice, TCP begins at 3,558.
    let far = |units| [extension(DESTINATION, units), extension(DESTINATION, units)];
    let packet = |units| {
        let payload = [tcp(LISTENER), vec![7; 4000]].concat();
        ethernet(&[], 0x86dd, &ipv6(SHARED[1], &far(units), TCP, &payload))
    };
    let tcp_at = |units: u8| 14 + 40 + 2 * 8 * usize::from(units);
    assert!(tcp_at(215) + 20 <= FIRST_BUFFER && tcp_at(219) > FIRST_BUFFER);
    bench.expect(&packet(215), "redirect_endpoint");
    bench.expect(&packet(219), "pass_unparsed");
}

/// A segment with `flags` from an address, to a port of another.
fn segment(from: &str, to: &str, port: u16, flags: u8) -> Vec<u8> {
    let mut header = tcp(port);
    header[13] = flags;
    match (ip(from), ip(to)) {
        (IpAddr::V4(from), IpAddr::V4(_)) => {
            let mut packet = ipv4(to, TCP, &[], 0, &header);
            packet[12..16].copy_from_slice(&from.octets());
            ethernet(&[], 0x0800, &packet)
        }
        (IpAddr::V6(from), IpAddr::V6(_)) => {
            let mut packet = ipv6(to, &[], TCP, &header);
            packet[8..24].copy_from_slice(&from.octets());
            ethernet(&[], 0x86dd, &packet)
        }
        both => panic!("{both:?}"),
    }
}

const SYN: u8 = 2;
/// Any but a SYN without ACK: none begins a connection (RFC 9293 section 3.10.7.2).
const OTHER_FLAGS: [u8; 9] = [0x10, 0x12, 0x18, 0x11, 0x01, 0x04, 0x14, 0x00, 0x1a];

#[test]
fn a_prefix_has_as_many_syns_as_its_bucket_and_others_have_theirs() {
    for (to, near, of_prefix, other) in [
        (SHARED[0], "203.0.113.7", "203.0.113", "203.0.112.7"),
        (OWNED[0], "203.0.113.7", "203.0.113", "203.0.114.7"),
        (SHARED[1], "2001:db8:1:100::7", "2001:db8:1:1", "2001:db8:1:200::7"),
        (OWNED[1], "2001:db8:1:100::7", "2001:db8:1:1", "2001:db8:1:0ff::7"),
    ] {
        let name = if to == SHARED[0] || to == SHARED[1] { "redirect_endpoint" } else { "redirect_owned" };
        let mut bench = Bench::limited(SynLimit { burst: 10, ..SynLimit::per_second(1.0) });
        // 100 stations of one /24, or 100 of the networks that a /56 is divided into.
        let station = |n: u32| match ip(to) {
            IpAddr::V4(_) => format!("{of_prefix}.{}", n % 256),
            IpAddr::V6(_) => format!("{of_prefix}{:02x}::{n:x}", n % 256),
        };
        let from_all = |n| segment(&station(n), to, LISTENER, SYN);
        assert_eq!(bench.passed(100, name, from_all), 10, "{to}");
        assert_eq!(bench.passed(5, name, |_| segment(other, to, LISTENER, SYN)), 5, "{to}: another prefix");
        // What is under way goes on, and the kernel's is the kernel's.
        for flags in OTHER_FLAGS {
            bench.expect(&segment(near, to, LISTENER, flags), name);
        }
        let counted = |bench: &Bench, name| bench.steering.verdicts().unwrap().iter().find(|v| v.0 == name).unwrap().1;
        assert_eq!(counted(&bench, "drop_syn_limit"), 90);
        assert_eq!(counted(&bench, name), 10 + 5 + OTHER_FLAGS.len() as u64);
        let version = usize::from(ip(to).is_ipv6());
        bench.expect(&segment(near, SHARED[version], 80, SYN), "pass_other_port");
        bench.expect(&segment(near, OTHER[version], LISTENER, SYN), "pass_other_address");
        // All ports of the stack's have one bucket, those of active opens among them.
        bench.expect(&segment(near, SHARED[version], 50_500, SYN), "drop_syn_limit");
        bench.expect(&segment(near, OWNED[version], 80, SYN), "drop_syn_limit");
        bench.expect(&segment(near, SHARED[version], 50_500, 0x12), "redirect_range");
    }
}

#[test]
fn a_prefix_is_as_long_as_it_is_told() {
    // The bits of a prefix, and two sources that differ in the first bit behind it, and in the last of it.
    for (bits, one, same, other) in [
        (32, "10.0.0.1", "10.0.0.1", "10.0.0.0"),
        (24, "10.0.0.1", "10.0.0.128", "10.0.1.1"),
        (13, "10.8.0.1", "10.12.0.1", "10.0.0.1"),
        (1, "10.0.0.1", "74.0.0.1", "138.0.0.1"),
    ] {
        let mut bench = Bench::limited(SynLimit { burst: 1, prefix_v4: bits, ..SynLimit::per_second(1.0) });
        bench.expect(&segment(one, SHARED[0], LISTENER, SYN), "redirect_endpoint");
        bench.expect(&segment(same, SHARED[0], LISTENER, SYN), "drop_syn_limit");
        bench.expect(&segment(other, SHARED[0], LISTENER, SYN), "redirect_endpoint");
    }
    for (bits, one, same, other) in [
        (128, "fd00::1", "fd00::1", "fd00::0"),
        (64, "fd00::1", "fd00::8000:0:0:1", "fd00:0:0:1::1"),
        (61, "fd00::1", "fd00:0:0:4::1", "fd00:0:0:8::1"),
        (56, "fd00::1", "fd00:0:0:80::1", "fd00:0:0:100::1"),
        (10, "fd00::1", "fd20::1", "fd40::1"),
    ] {
        let mut bench = Bench::limited(SynLimit { burst: 1, prefix_v6: bits, ..SynLimit::per_second(1.0) });
        bench.expect(&segment(one, SHARED[1], LISTENER, SYN), "redirect_endpoint");
        bench.expect(&segment(same, SHARED[1], LISTENER, SYN), "drop_syn_limit");
        bench.expect(&segment(other, SHARED[1], LISTENER, SYN), "redirect_endpoint");
    }
    // With none there is one bucket for each version; ::ffff:10.0.0.1 is no IPv4 station.
    let all = SynLimit { burst: 1, prefix_v4: 0, prefix_v6: 0, ..SynLimit::per_second(1.0) };
    let mut bench = Bench::limited(all);
    bench.expect(&segment("10.0.0.1", SHARED[0], LISTENER, SYN), "redirect_endpoint");
    bench.expect(&segment("203.0.113.9", SHARED[0], LISTENER, SYN), "drop_syn_limit");
    bench.expect(&segment("fd00::1", SHARED[1], LISTENER, SYN), "redirect_endpoint");
    bench.expect(&segment("2001:db8::1", SHARED[1], LISTENER, SYN), "drop_syn_limit");
    let mut bench = Bench::limited(SynLimit { prefix_v4: 32, prefix_v6: 128, ..all });
    bench.expect(&segment("10.0.0.1", SHARED[0], LISTENER, SYN), "redirect_endpoint");
    bench.expect(&segment("::ffff:10.0.0.1", SHARED[1], LISTENER, SYN), "redirect_endpoint");
    bench.expect(&segment("a00:1::", SHARED[1], LISTENER, SYN), "redirect_endpoint");
}

#[test]
fn tokens_come_back_with_time_and_no_more_than_the_bucket_holds() {
    let from = "203.0.113.7";
    let syn = segment(from, SHARED[0], LISTENER, SYN);
    // A token each 20 ms: when some have passed there is one, however late this looks; and never more than the bucket holds.
    let interval = Duration::from_millis(20);
    let limit = SynLimit { interval, burst: 3, ..SynLimit::per_second(1.0) };
    let mut bench = Bench::new().with(Steering::load(Some(&limit)).unwrap());
    for _ in 0..3 {
        let began = std::time::Instant::now();
        let passed = bench.passed(50, "redirect_endpoint", |_| syn.clone());
        let came = u32::try_from(began.elapsed().as_nanos() / interval.as_nanos()).unwrap();
        assert!((3..=3 + came + 1).contains(&passed), "{passed} passed, {came} tokens came meanwhile");
        // Long enough for the bucket to be full again; and five times as long fills no more.
        std::thread::sleep(interval * 15);
    }
}

/// What the stack would take for a SYN must not get past the limit in another form; what it would not take is its to count.
#[test]
fn a_syn_in_another_form_is_a_syn() {
    let limit = SynLimit { burst: 1, ..SynLimit::per_second(1.0) };
    let mut header = tcp(LISTENER);
    header[13] = SYN;
    let four = |to, options: &[u8], fragment| ipv4(to, TCP, options, fragment, &header);
    let six = |to, headers: &[(u8, Vec<u8>)]| ethernet(&[], 0x86dd, &ipv6(to, headers, TCP, &header));
    let mut bench = Bench::limited(limit);
    bench.expect(&ethernet(&[], 0x0800, &four(OWNED[0], &[], 0)), "redirect_owned");
    for to in [OWNED[0], SHARED[0]] {
        bench.expect(&ethernet(&[0x8100], 0x0800, &four(to, &[], 0)), "drop_syn_limit");
        bench.expect(&ethernet(&[], 0x0800, &four(to, &[1; 40], 0x4000)), "drop_syn_limit");
    }
    bench.expect(&ethernet_in(42, &[0x8100], 0x0800, &four(OWNED[0], &[], 0)), "drop_syn_limit");
    // With whatever else but ACK.
    for flags in [0x02, 0x03, 0x06, 0x0a, 0x22, 0xc2] {
        bench.expect(&segment("10.9.0.99", OWNED[0], LISTENER, flags), "drop_syn_limit");
    }
    // No SYNs: fragments, other protocols, what is cut off.
    bench.expect(&ethernet(&[], 0x0800, &four(OWNED[0], &[], 0x2000)), "redirect_owned");
    bench.expect(&ethernet(&[], 0x0800, &four(SHARED[0], &[], 0x2000)), "drop_fragment");
    bench.expect(&ethernet(&[], 0x0800, &ipv4(OWNED[0], UDP, &[], 0, &header)), "redirect_owned");
    let whole = ethernet(&[], 0x0800, &four(OWNED[0], &[], 0));
    bench.expect(&whole[..whole.len() - 1], "redirect_owned");
    bench.expect(&arp(OWNED[0]), "redirect_arp");

    bench.expect(&six(OWNED[1], &[extension(HOP_BY_HOP, 1)]), "redirect_owned");
    for to in [OWNED[1], SHARED[1]] {
        bench.expect(&six(to, &[]), "drop_syn_limit");
        bench.expect(&six(to, &[extension(HOP_BY_HOP, 1), extension(DESTINATION, 2)]), "drop_syn_limit");
        bench.expect(&six(to, &[fragment_header(0)]), "drop_syn_limit");
    }
    // Behind more headers than are walked nobody sees that it is none.
    let seven: Vec<_> = (0..7).map(|_| extension(DESTINATION, 1)).collect();
    bench.expect(&six(OWNED[1], &seven), "drop_syn_limit");
    bench.expect(&six(SHARED[1], &seven), "pass_unparsed");
    bench.expect(&six(OWNED[1], &[fragment_header(1)]), "redirect_owned");
    bench.expect(&six(OWNED[1], &[fragment_header(8)]), "redirect_owned");
    bench.expect(&six(SHARED[1], &[fragment_header(1)]), "drop_fragment");
    bench.expect(&ethernet(&[], 0x86dd, &ipv6(OWNED[1], &[], UDP, &header)), "redirect_owned");
    bench.expect(&solicitation(OWNED[1], 135), "redirect_ndp");
}

/// Without a socket a SYN is the kernel's, which nothing is taken from. The program for several buffers has the limit as well.
#[test]
fn what_passes_to_the_kernel_is_not_limited() {
    let limit = SynLimit { burst: 1, interval: LONGEST, ..SynLimit::per_second(1.0) };
    let syn = segment("203.0.113.7", SHARED[0], LISTENER, SYN);
    let mut bench = Bench::without_socket();
    let mut steering = Steering::load(Some(&limit)).unwrap();
    Bench::teach(&mut steering);
    bench.steering = steering;
    for _ in 0..5 {
        bench.expect(&syn, "pass_no_socket");
    }
    let mut bench = Bench::new().with(Steering::load_multi_buffer(Some(&limit)).unwrap());
    assert_eq!(bench.passed(5, "redirect_endpoint", |_| syn.clone()), 1);
    let refused = Steering::load(Some(&SynLimit { burst: 0, ..limit })).unwrap_err();
    assert!(refused.to_string().contains("syn_limit.burst"), "{refused}");
}

/// The verifier knows the limit as a constant: without one it takes out what reads the clock and the table.
#[test]
fn without_a_limit_there_is_no_code_for_it() {
    let bytes = |limit: Option<SynLimit>| {
        let mut steering = Steering::load(limit.as_ref()).unwrap();
        let id = steering.program_id().unwrap();
        let mut all = aya::programs::loaded_programs().filter_map(Result::ok);
        all.find(|program| program.id() == id).unwrap().size_translated().unwrap()
    };
    let (without, with) = (bytes(None), bytes(Some(SynLimit::per_second(1.0))));
    // Four places decide on a limit, with 20 instructions of eight bytes at the least.
    assert!(with >= without + 4 * 20 * 8, "{without} bytes, with a limit {with}");
}
