//! Programs that tcpdump compiles choose here what they choose in tcpdump.

use pcap::bpf::{Instruction, Program};
use std::io::Write;
use std::process::{Command, Stdio};

const FILTERS: [&str; 22] = [
    "tcp",
    "tcp port 80",
    "tcp dst port 80 and src net 10.0.0.0/24",
    "not tcp",
    "ip6",
    "ip6 and tcp port 80",
    "host 10.0.0.2",
    "host fd77::2",
    "arp",
    "icmp or icmp6",
    "vlan",
    "vlan 5 and tcp port 80",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[13] = 2",
    "greater 100",
    "less 80 and tcp",
    "ether src 02:00:00:00:00:02",
    "ether broadcast",
    "ip[6:2] & 0x1fff != 0",
    "portrange 70-90",
    "ip[8] < 64",
    "tcp[((tcp[12] & 0xf0) >> 2):2] = 0x4745",
];

/// Runs tcpdump on a capture. Its stdout.
fn tcpdump(args: &[&str], capture: &[u8]) -> Vec<u8> {
    let mut command = Command::new("tcpdump");
    command.args(["-r", "-"]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("this test needs `tcpdump`: apt-get install tcpdump");
    child.stdin.take().unwrap().write_all(capture).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}");
    output.stdout
}

/// A capture of libpcap's oldest format. Seconds are the frames' numbers.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file: Vec<u8> =
        [0xa1b2_c3d4u32, 2 | 4 << 16, 0, 0, 262_144, 1].into_iter().flat_map(u32::to_le_bytes).collect();
    for (number, frame) in (0u32..).zip(frames) {
        let len = u32::try_from(frame.len()).unwrap();
        file.extend([number, 0, len, len].into_iter().flat_map(u32::to_le_bytes));
        file.extend(frame);
    }
    file
}

/// The numbers of the frames in such a capture.
fn numbers(file: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut numbers) = (24, Vec::new());
    while at < file.len() {
        numbers.push(word(at));
        at += 16 + word(at + 8);
    }
    numbers
}

fn ethernet(tag: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(tag) = tag {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn tcp(ports: [u16; 2], flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment: Vec<u8> = ports.into_iter().flat_map(u16::to_be_bytes).collect();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    segment.extend(data);
    segment
}

fn ipv4(protocol: u8, fragment: u16, ttl: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options;
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.resize(header, 1);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, u8::try_from(payload.len()).unwrap(), next, 64];
    for last in [1, 2] {
        packet.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(payload);
    packet
}

fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for ports in [[80, 40000], [40000, 80], [7, 90]] {
        for (flags, data) in [(2, &b""[..]), (0x10, b"GET / HTTP/1.1"), (0x11, &[7; 100])] {
            let segment = tcp(ports, flags, data);
            for tag in [None, Some(5), Some(0x2006)] {
                frames.push(ethernet(tag, 0x800, &ipv4(6, 0, 64, 0, &segment)));
                frames.push(ethernet(tag, 0x86dd, &ipv6(6, &segment)));
            }
            frames.push(ethernet(None, 0x800, &ipv4(6, 0, 63, 8, &segment)));
            frames.push(ethernet(None, 0x800, &ipv4(6, 0x2000, 64, 0, &segment)));
            frames.push(ethernet(None, 0x800, &ipv4(6, 0x2003, 64, 0, &segment)));
        }
    }
    frames.push(ethernet(None, 0x800, &ipv4(1, 0, 64, 0, &[8, 0, 0, 0, 0, 0, 0, 0])));
    frames.push(ethernet(None, 0x86dd, &ipv6(58, &[128, 0, 0, 0, 0, 0, 0, 0])));
    frames.push(ethernet(None, 0x800, &ipv4(17, 0, 64, 0, &[0, 80, 0, 80, 0, 8, 0, 0])));
    frames.push(ethernet(
        None,
        0x806,
        &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2],
    ));
    frames.last_mut().unwrap()[..6].fill(0xff);
    // Cut anywhere: loads from beyond the end.
    let whole = frames[0].clone();
    frames.extend((0..whole.len()).map(|len| whole[..len].to_vec()));
    frames
}

#[test]
fn a_filter_chooses_what_tcpdump_chooses() {
    let frames = frames();
    let file = capture(&frames);
    for filter in FILTERS {
        let compiled = String::from_utf8(tcpdump(&["-ddd", "--", filter], &file)).unwrap();
        let number = |word: Option<&str>| word.unwrap().parse::<u32>().unwrap();
        let instruction = |line: &str| -> Instruction {
            let mut words = line.split(' ');
            let mut next = || number(words.next());
            (next().try_into().unwrap(), next().try_into().unwrap(), next().try_into().unwrap(), next())
        };
        let program: Vec<_> = compiled.lines().skip(1).map(instruction).collect();
        let program = Program::check(&program).unwrap_or_else(|refused| panic!("{filter}: {refused}"));
        let ours: Vec<_> = (0..frames.len()).filter(|number| program.run(&frames[*number]) > 0).collect();
        assert!(!ours.is_empty(), "{filter}");
        assert_eq!(ours, numbers(&tcpdump(&["-w", "-", "--", filter], &file)), "{filter}");
    }
}
