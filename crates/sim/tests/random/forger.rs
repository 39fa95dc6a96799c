//! Somebody off the path, who sees what is sent where and guesses the rest.

use sim::{Rng, forge};
use std::collections::VecDeque;
use wire::{
    SeqNum, ip,
    tcp::{Flags, Header, Options, SackBlocks, Segment, Timestamps},
};

/// Makes up segments and ICMP errors from what was sent lately: addresses and ports are right, numbers are not.
#[derive(Debug)]
pub(crate) struct Forger {
    rng: Rng,
    /// The latest TCP frames, and who sent them to whom.
    seen: VecDeque<(usize, Vec<u8>)>,
}

impl Forger {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng, seen: VecDeque::new() }
    }

    /// A node has sent a frame.
    pub(crate) fn sees(&mut self, from: usize, frame: &[u8]) {
        // One in four is enough, and none of ARP and neighbour discovery.
        if !self.rng.percent(25) || forge::parse(frame).is_none() {
            return;
        }
        if self.seen.len() == 16
            && let Some((_, mut old)) = self.seen.pop_front()
        {
            old.clear();
            old.extend_from_slice(frame);
            return self.seen.push_back((from, old));
        }
        self.seen.push_back((from, frame.to_vec()));
    }

    /// Something that nobody has sent, and its destination: a MAC address says which node that is.
    pub(crate) fn forged(&mut self) -> Option<(Aim, Vec<u8>)> {
        if self.seen.is_empty() {
            return None;
        }
        let (from, frame) = self.seen[self.rng.index(self.seen.len())].clone();
        let (link, src, dst, Segment { header, .. }) = forge::parse(&frame)?;
        if self.rng.percent(20) {
            return Some((Aim::Node(from), self.forged_error(&frame)?));
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
        let frame = forge::packet(link, src, dst, ip::PROTOCOL_TCP, &segment)?;
        Some((Aim::Station(link.dst), frame))
    }

    /// An ICMP error about a segment with a number that is not in flight, to who would have sent it.
    fn forged_error(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut quoted = frame.to_vec();
        let at = quoted.len().min(if quoted[12] == 8 { 34 } else { 54 });
        quoted[at + 4..at + 8].copy_from_slice(&self.rng.bits().to_be_bytes());
        let ipv4 = quoted[12] == 8;
        let (kind, code) = if ipv4 {
            self.rng.pick(&[(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (12, 0), (3, 77)])
        } else {
            self.rng.pick(&[(1, 0), (1, 1), (1, 3), (1, 4), (2, 0), (3, 0), (4, 0), (1, 99)])
        };
        let rest = self.rng.pick(&[[0, 0, 0, 0], [0, 0, 2, 40], [0, 0, 5, 0], [255, 255, 255, 255]]);
        forge::error(&quoted, kind, code, rest)
    }
}

/// Whom a forged frame is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    Node(usize),
    Station(wire::MacAddr),
}
