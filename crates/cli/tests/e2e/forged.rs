//! Frames that nobody's stack would send, made by hand.

use std::net::IpAddr;

use crate::support::mac;

pub(crate) const TCP: u8 = 6;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const UDP: u8 = 17;
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// From fw-b0 to fw-a0.
pub(crate) struct Forger {
    ethernet: [u8; 12],
}

/// A TCP segment. Its checksum is right.
#[derive(Clone, Default)]
pub(crate) struct Segment {
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// RFC 1071, of parts of which all but the last have an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u64 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap().to_be_bytes()
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, bytes: usize) -> Vec<u8> {
    let [high, low] = length(bytes);
    [octets(from), octets(to), vec![0, 0, high, low, 0, 0, 0, protocol]].concat()
}

impl Segment {
    pub(crate) fn bytes(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let words = u8::try_from(5 + self.options.len() / 4).unwrap();
        let mut bytes = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        bytes.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
        bytes.extend([words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(&self.options);
        bytes.extend(&self.data);
        let sum = checksum(&[&pseudo_header(from, to, TCP, bytes.len()), &bytes]);
        bytes[16..18].copy_from_slice(&sum);
        bytes
    }
}

/// An IPv4 packet with the field of flags and offset, or an IPv6 one without.
pub(crate) fn packet(from: IpAddr, to: IpAddr, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length(if from.is_ipv4() { 20 + payload.len() } else { payload.len() });
    let mut header = match from {
        IpAddr::V4(_) => {
            let [flags, offset] = fragment.to_be_bytes();
            vec![0x45, 0, high, low, 0x12, 0x34, flags, offset, 64, protocol, 0, 0]
        }
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, high, low, protocol, 64],
    };
    header.extend([octets(from), octets(to)].concat());
    if from.is_ipv4() {
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum);
    }
    [&header, payload].concat()
}

/// An ICMP error of either version about a packet of `about`'s, which has the first bytes of its segment.
pub(crate) fn error(from: IpAddr, about: (IpAddr, IpAddr), kind: (u8, u8), rest: u32, segment: &Segment) -> Vec<u8> {
    let quoted = packet(about.0, about.1, TCP, 0x4000, &segment.bytes(about.0, about.1));
    let [a, b, c, d] = rest.to_be_bytes();
    let mut message = [&[kind.0, kind.1, 0, 0, a, b, c, d], &quoted[..]].concat();
    let (protocol, pseudo) = match from {
        IpAddr::V4(_) => (ICMP, Vec::new()),
        IpAddr::V6(_) => (ICMPV6, pseudo_header(from, about.0, ICMPV6, message.len())),
    };
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum);
    packet(from, about.0, protocol, 0, &message)
}

impl Forger {
    pub(crate) fn new() -> Self {
        let octets = |mac: String| -> Vec<u8> { mac.split(':').map(|x| u8::from_str_radix(x, 16).unwrap()).collect() };
        let both = [octets(mac("fw-a", "fw-a0")), octets(mac("fw-b", "fw-b0"))].concat();
        Self { ethernet: both.try_into().unwrap() }
    }

    /// A packet in a frame.
    pub(crate) fn frame(&self, packet: &[u8]) -> Vec<u8> {
        let protocol: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        [&self.ethernet, &protocol[..], packet].concat()
    }

    pub(crate) fn segment(&self, from: IpAddr, to: IpAddr, segment: &Segment) -> Vec<u8> {
        self.frame(&packet(from, to, TCP, 0x4000, &segment.bytes(from, to)))
    }
}

/// Numbers that are the same in each run (splitmix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub(crate) fn port(&mut self) -> u16 {
        1024 + (self.next() % 60_000) as u16
    }

    /// One of 2^17 stations behind fw-b (RFC 2544), or of 2^64 of a documentation prefix.
    pub(crate) fn source(&mut self, ipv6: bool) -> IpAddr {
        match ipv6 {
            false => std::net::Ipv4Addr::from_bits(0xc612_0000 | self.word() >> 15).into(),
            true => std::net::Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(self.next()) << 32 | 7).into(),
        }
    }
}
