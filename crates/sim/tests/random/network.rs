//! What happens to frames on the way, and what somebody off the path sends.

use crate::rng::Rng;
use sim::Fate;
use stack::{Duration, Instant, MacAddr};
use std::{cell::RefCell, collections::VecDeque, net::IpAddr, ops::Range, rc::Rc};
use wire::{
    SeqNum, eth, icmpv4, icmpv6, ip, ipv4, ipv6,
    tcp::{Flags, Header, Options, SackBlocks, Segment, Timestamps},
};

/// How bad it is. Chances are percent.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    /// Larger IP packets vanish.
    pub(crate) hole: Option<usize>,
    /// The router in front of the hole says so.
    pub(crate) honest_hole: bool,
    /// How late an overtaken frame is, at most.
    pub(crate) late: Duration,
    /// When nothing arrives at all.
    pub(crate) night: Option<Range<Instant>>,
}

/// Shared by the link and the world.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Option<Weather>,
    rng: Rng,
    /// The latest TCP frames, and who sent them.
    seen: VecDeque<(usize, Vec<u8>)>,
    /// What routers have to say, and to whom.
    pub(crate) errors: Vec<(usize, Vec<u8>)>,
    /// `RANDOM_TRACE=1` shows every frame.
    trace: bool,
    /// The time of the latest event.
    pub(crate) now: Instant,
}

/// A frame for people.
fn shown(frame: &[u8]) -> String {
    match parse(frame) {
        Some((_, src, dst, h)) => {
            let (from, to) = ((src, h.src_port), (dst, h.dst_port));
            format!("{from:?} {to:?} {:?} seq {} ack {} win {} len {}", h.flags, h.seq, h.ack, h.window, frame.len())
        }
        None => format!("{} other bytes", frame.len()),
    }
}

/// A frame's IP packet is not ARP or neighbour discovery, which nothing protects but Ethernet's own check sequence.
fn is_tcp(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&6),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&6),
        _ => false,
    }
}

impl Network {
    pub(crate) fn new(weather: Weather, rng: Rng) -> Rc<RefCell<Self>> {
        let (seen, errors, now) = (VecDeque::new(), Vec::new(), Instant::ZERO);
        let trace = std::env::var_os("RANDOM_TRACE").is_some();
        let network = Self { weather: Some(weather), rng, seen, errors, trace, now };
        Rc::new(RefCell::new(network))
    }

    pub(crate) fn tamper(&mut self, from: usize, frame: &mut [u8]) -> Fate {
        let sent = self.trace.then(|| shown(frame));
        let fate = self.fate(from, frame);
        if let Some(sent) = sent {
            eprintln!("{:?} {from} {sent} {fate:?}", self.now);
        }
        fate
    }

    fn fate(&mut self, from: usize, frame: &mut [u8]) -> Fate {
        let tcp = is_tcp(frame);
        if tcp {
            self.seen.push_back((from, frame.to_vec()));
            if self.seen.len() > 16 {
                self.seen.pop_front();
            }
        }
        let Some(weather) = &self.weather else { return Fate::Pass };
        if let Some(mtu) = weather.hole.filter(|mtu| frame.len() - 14 > *mtu) {
            if weather.honest_hole {
                self.errors.push((from, too_big(frame, mtu)));
            }
            return Fate::Drop;
        }
        let rng = &mut self.rng;
        if rng.percent(weather.loss) || weather.night.as_ref().is_some_and(|night| night.contains(&self.now)) {
            return Fate::Drop;
        }
        if tcp && rng.percent(weather.corrupted) {
            let at = 14 + rng.index(frame.len() - 14);
            frame[at] ^= 1 << rng.below(8);
        }
        if rng.percent(weather.duplicates) {
            return Fate::Duplicate;
        }
        if rng.percent(weather.reordered) {
            return Fate::Delay(Duration::from_nanos(1 + rng.below(weather.late.as_nanos())));
        }
        Fate::Pass
    }

    /// Something that nobody has sent, made up by somebody who knows addresses and ports but no numbers, and to whom it goes.
    pub(crate) fn forged(&mut self) -> Option<(usize, Vec<u8>)> {
        if self.seen.is_empty() {
            return None;
        }
        let (from, frame) = self.seen[self.rng.index(self.seen.len())].clone();
        let (link, src, dst, header) = parse(&frame)?;
        if self.rng.percent(20) {
            return Some((from, self.forged_error(&frame, header)?));
        }
        let rng = &mut self.rng;
        let kinds = [
            Flags::RST,
            Flags::RST | Flags::ACK,
            Flags::SYN | Flags::ACK,
            Flags::ACK,
            Flags::ACK | Flags::PSH,
            Flags::FIN | Flags::ACK,
            Flags::ACK | Flags::URG,
            Flags::SYN,
            Flags::SYN | Flags::FIN | Flags::RST | Flags::URG,
            Flags(0),
        ];
        let mut flags = rng.pick(&kinds);
        // A SYN that crosses our own is a simultaneous open, whoever sent it: anybody can spoil an open that way.
        if header.flags.contains(Flags::SYN) && flags.contains(Flags::SYN) {
            flags = Flags::RST;
        }
        let mut sack = SackBlocks::default();
        if rng.percent(20) {
            sack.push(SeqNum::new(rng.bits()), SeqNum::new(rng.bits()));
        }
        let options = Options {
            mss: rng.percent(10).then_some(1),
            window_scale: rng.percent(10).then_some(15),
            sack_permitted: rng.percent(10),
            timestamps: rng.percent(60).then(|| Timestamps { val: rng.bits(), ecr: rng.bits() }),
            sack,
            ..Options::default()
        };
        let [.., high, low] = rng.bits().to_be_bytes();
        let forged = Header {
            seq: SeqNum::new(rng.bits()),
            ack: SeqNum::new(rng.bits()),
            flags,
            window: u16::from_be_bytes([high, low]),
            urgent: u16::from_be_bytes([low, high]),
            options,
            ..header
        };
        let payload = [0xEE; 100];
        let len = if flags.contains(Flags::PSH) { 1 + rng.index(100) } else { 0 };
        let mut segment = vec![0; forged.len()];
        segment.extend(&payload[..len]);
        forged.emit(src, dst, &mut segment);
        let frame = packet(link, src, dst, ip::PROTOCOL_TCP, &segment);
        if self.trace {
            eprintln!("{:?} forged {}", self.now, shown(&frame));
        }
        Some((1 - from, frame))
    }

    /// An ICMP error about a segment with a number that is not in flight, to who would have sent it.
    fn forged_error(&mut self, frame: &[u8], header: Header) -> Option<Vec<u8>> {
        let mut quoted = frame.to_vec();
        let at = quoted.len().min(if quoted[12] == 8 { 34 } else { 54 });
        quoted[at + 4..at + 8].copy_from_slice(&self.rng.bits().to_be_bytes());
        let _ = header;
        let ipv4 = quoted[12] == 8;
        let (kind, code) = if ipv4 {
            self.rng.pick(&[(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (12, 0), (3, 77)])
        } else {
            self.rng.pick(&[(1, 0), (1, 1), (1, 3), (1, 4), (2, 0), (3, 0), (4, 0), (1, 99)])
        };
        let rest = self.rng.pick(&[[0, 0, 0, 0], [0, 0, 2, 40], [0, 0, 5, 0], [255, 255, 255, 255]]);
        Some(error(&quoted, kind, code, rest))
    }
}

type Parsed = (eth::Header, IpAddr, IpAddr, Header);

fn parse(frame: &[u8]) -> Option<Parsed> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let (src, dst, payload): (IpAddr, IpAddr, _) = if link.ethertype == eth::ETHERTYPE_IPV4 {
        let (ip, payload) = ipv4::Header::parse(packet).ok()?;
        (ip.src.into(), ip.dst.into(), payload)
    } else {
        let (ip, payload) = ipv6::Header::parse(packet).ok()?;
        (ip.src.into(), ip.dst.into(), payload)
    };
    Some((link, src, dst, Segment::parse(payload, src, dst).ok()?.header))
}

fn packet(link: eth::Header, src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let ip_len = if src.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN };
    let mut frame = vec![0; link.len() + ip_len];
    link.emit(&mut frame);
    frame.extend(payload);
    let out = &mut frame[link.len()..];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (ttl, tos, ident, fragment_offset) = (64, 0, 0, 0);
            let (dont_fragment, more_fragments) = (true, false);
            ipv4::Header { src, dst, protocol, ttl, tos, ident, dont_fragment, more_fragments, fragment_offset }
                .emit(payload.len(), out);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (next_header, hop_limit, traffic_class, flow_label, fragment) = (protocol, 64, 0, 0, None);
            ipv6::Header { src, dst, next_header, hop_limit, traffic_class, flow_label, fragment }
                .emit(payload.len(), out);
        }
        _ => unreachable!("one family"),
    }
    frame
}

/// A router's error about a frame, back to who sent it.
fn error(quoted: &[u8], kind: u8, code: u8, rest: [u8; 4]) -> Vec<u8> {
    let (link, packet_of) = eth::Header::parse(quoted).expect("a frame");
    let back = eth::Header { dst: link.src, src: MacAddr([2, 0, 0, 0, 0, 99]), ..link };
    if link.ethertype == eth::ETHERTYPE_IPV4 {
        let src: [u8; 4] = packet_of[12..16].try_into().expect("four bytes");
        let mut message = vec![0; 8 + 28];
        icmpv4::emit(kind, code, rest, &quoted[14..42], &mut message);
        packet(back, IpAddr::from([192, 0, 2, 77]), IpAddr::from(src), ip::PROTOCOL_ICMP, &message)
    } else {
        let src: [u8; 16] = packet_of[8..24].try_into().expect("sixteen bytes");
        let router = std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 77);
        let mut message = vec![0; 8 + 48];
        icmpv6::emit(kind, code, rest, &quoted[14..62], router, src.into(), &mut message);
        packet(back, router.into(), IpAddr::from(src), ip::PROTOCOL_ICMPV6, &message)
    }
}

fn too_big(quoted: &[u8], mtu: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
    let (kind, code) = if quoted[12] == 8 { (3, 4) } else { (2, 0) };
    error(quoted, kind, code, [0, 0, high, low])
}
