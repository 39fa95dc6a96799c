//! The proof that frames leave and arrive: a neighbour is asked for its own hardware address, through AF_XDP sockets.
//!
//! IPv4: an ARP probe from 0.0.0.0 (RFC 5227 section 1.1), which writes nothing into anybody's ARP cache, and whose answer
//! nobody but the asker takes. IPv6: a neighbour solicitation from a link-local address made up for it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::XskConfig;
use crate::error::Error;
use crate::facts::{InterfaceFacts, MacAddr};
use crate::neighbours::{NeighbourMirror, routes};
use crate::open::{LocalAddress, open};
use crate::port::{Frame, Port};
use crate::report::Report;

/// Questions asked on each queue, once one was answered.
const ROUNDS: u32 = 10;
/// How long the answer to one is waited for, and how many may stay without before it is given up.
const PATIENCE: Duration = Duration::from_millis(500);
const UNANSWERED: u32 = 6;
/// How long a link may take to come back: some drivers restart it for a program.
const SETTLE: Duration = Duration::from_secs(5);
const BATCH: usize = 64;
/// Looks at the rings between two flushes and looks at the clock.
const LOOKS: u32 = 256;

/// What came of asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Exchange {
    /// Questions handed to the device.
    pub frames_sent: u64,
    /// Questions that the device says it has sent.
    pub frames_completed: u64,
    /// Answers received.
    pub frames_received: u64,
    /// Other frames received.
    pub strays: u64,
    /// The queues at which answers arrived, in order.
    pub answered_on: Vec<u32>,
    /// Who answered.
    pub peer_mac: Option<MacAddr>,
    /// From before the question was written until its answer was seen, nanoseconds, in the order asked.
    pub round_trips_ns: Vec<u64>,
}

impl Exchange {
    fn take(&mut self, mac: MacAddr, queue: u32) {
        self.frames_received += 1;
        self.peer_mac = Some(mac);
        if !self.answered_on.contains(&queue) {
            self.answered_on.push(queue);
        }
    }
}

/// Opens AF_XDP sockets on `queues` as [`open`] does, asks `peer` through each of them, and closes them again: nothing is
/// left attached. Without a peer the sockets are opened and nobody is asked. Ends early once `stop` says so.
///
/// # Errors
/// As [`open`]; or the device failed. A peer that doesn't answer is no error.
pub fn prove(
    config: &XskConfig,
    queues: &[u32],
    peer: Option<IpAddr>,
    stop: &dyn Fn() -> bool,
) -> Result<(Report, Option<Exchange>), Error> {
    let question = peer.map(Question::new);
    let asker = question.as_ref().map(|question| LocalAddress::owned(question.asker));
    let (_steering, mut ports, report) = open(config, queues, asker.as_slice())?;
    await_carrier(&config.interface, stop)?;
    let exchange = question.map(|question| question.ask(&mut ports, queues, report.mac, stop)).transpose();
    let exchange = exchange.map_err(|source| Error::system("sending and receiving over AF_XDP", source))?;
    Ok((report, exchange))
}

/// Waits for the carrier, if it is away: some drivers restart the link when a program is attached. Five seconds at most, or
/// until `stop` says so. Whether it is there.
///
/// # Errors
/// As [`InterfaceFacts::read`].
pub fn await_carrier(interface: &str, stop: &dyn Fn() -> bool) -> Result<bool, Error> {
    let began = Instant::now();
    loop {
        let running = InterfaceFacts::read(interface)?.running;
        if running || began.elapsed() >= SETTLE || stop() {
            return Ok(running);
        }
        std::thread::sleep(SETTLE / 100);
    }
}

/// Somebody on the link to ask: the gateway, or else a neighbour that the kernel knows.
///
/// # Errors
/// A failed system call.
pub fn likely_peer(facts: &InterfaceFacts) -> Result<Option<IpAddr>, Error> {
    if let Some(gateway) = routes(facts.ifindex)?.iter().rev().find_map(|route| route.gateway) {
        return Ok(Some(gateway));
    }
    let neighbours = NeighbourMirror::open(facts.ifindex)?.dump()?;
    let unicast = |mac: MacAddr| mac.0[0] & 1 == 0 && mac != MacAddr::default();
    Ok(neighbours.iter().find(|n| n.usable() && n.mac.is_some_and(unicast)).map(|n| n.ip))
}

/// A question to a neighbour.
#[derive(Debug, Clone, Copy)]
struct Question {
    asker: IpAddr,
    peer: IpAddr,
    /// How long an answer is waited for.
    patience: Duration,
}

impl Question {
    fn new(peer: IpAddr) -> Self {
        let asker = match peer {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => link_local(RandomState::new().build_hasher().finish()).into(),
        };
        Self { asker, peer, patience: PATIENCE }
    }

    fn ask<P: Port>(
        &self,
        ports: &mut [P],
        queues: &[u32],
        mac: MacAddr,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Exchange> {
        let bytes = self.bytes(mac);
        let mut exchange = Exchange::default();
        let mut unanswered = 0;
        for _ in 0..ROUNDS {
            for sender in 0..ports.len() {
                if stop() || unanswered >= UNANSWERED {
                    break;
                }
                let began = Instant::now();
                send(&mut ports[sender], &bytes)?;
                exchange.frames_sent += 1;
                match self.await_answer(ports, queues, began, &mut exchange)? {
                    true => unanswered = 0,
                    false => unanswered += 1,
                }
            }
        }
        exchange.answered_on.sort_unstable();
        exchange.frames_completed = ports.iter().map(|port| port.stats().tx_completed).sum();
        Ok(exchange)
    }

    fn await_answer<P: Port>(
        &self,
        ports: &mut [P],
        queues: &[u32],
        began: Instant,
        exchange: &mut Exchange,
    ) -> io::Result<bool> {
        let mut frames: Vec<Frame> = Vec::with_capacity(BATCH);
        loop {
            let mut found = false;
            for _ in 0..LOOKS {
                for (port, queue) in ports.iter_mut().zip(queues) {
                    port.receive(&mut frames, BATCH);
                    for frame in frames.drain(..) {
                        if let Some(mac) = self.answer(port.bytes(&frame)) {
                            found = true;
                            exchange.take(mac, *queue);
                        } else {
                            exchange.strays += 1;
                        }
                        port.recycle(frame);
                    }
                }
                if found {
                    break;
                }
                std::hint::spin_loop();
            }
            let elapsed = began.elapsed();
            ports.iter_mut().try_for_each(Port::flush)?;
            if found {
                exchange.round_trips_ns.push(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
            }
            if found || elapsed > self.patience {
                return Ok(found);
            }
        }
    }

    /// The frame that asks.
    fn bytes(&self, mac: MacAddr) -> Vec<u8> {
        match (self.asker, self.peer) {
            (IpAddr::V6(asker), IpAddr::V6(peer)) => solicitation(mac, asker, peer),
            (_, peer) => arp_probe(mac, peer),
        }
    }

    /// Whose answer a frame is, if it is one.
    fn answer(&self, frame: &[u8]) -> Option<MacAddr> {
        let mac = match (self.asker, self.peer) {
            (IpAddr::V4(asker), IpAddr::V4(peer)) => {
                let reply = frame.get(12..22)? == [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
                let between = frame.get(28..32)? == peer.octets() && frame.get(38..42)? == asker.octets();
                (reply && between).then(|| frame.get(22..28))
            }
            (IpAddr::V6(asker), IpAddr::V6(peer)) => {
                let advertisement =
                    frame.get(12..14)? == [0x86, 0xdd] && *frame.get(20)? == 58 && *frame.get(54)? == 136;
                let between = frame.get(38..54)? == asker.octets() && frame.get(62..78)? == peer.octets();
                (advertisement && between).then(|| frame.get(6..12))
            }
            _ => None,
        };
        mac??.try_into().ok().map(MacAddr)
    }
}

fn send<P: Port>(port: &mut P, bytes: &[u8]) -> io::Result<()> {
    let mut frame = port.allocate().ok_or(io::ErrorKind::OutOfMemory)?;
    port.buffer(&mut frame)[..bytes.len()].copy_from_slice(bytes);
    if let Err(frame) = port.transmit(frame, bytes.len()) {
        port.recycle(frame);
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    port.flush()
}

/// fe80::/64 and an interface identifier that says it is local (RFC 4291 section 2.5.1).
fn link_local(random: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(random & !(1 << 57)))
}

/// RFC 826, with the sender's address zero (RFC 5227); padded to the least an Ethernet frame carries.
fn arp_probe(mac: MacAddr, peer: IpAddr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], mac, [8, 6]);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend([0; 4 + 6]);
    if let IpAddr::V4(peer) = peer {
        frame.extend(peer.octets());
    }
    frame.resize(60, 0);
    frame
}

/// RFC 4861 section 4.3, with the source link-layer address option; to the solicited-node group of `peer`.
fn solicitation(mac: MacAddr, asker: Ipv6Addr, peer: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = peer.octets();
    let group = Ipv6Addr::from_bits(0xff02 << 112 | 1 << 32 | 0xff00_0000 | peer.to_bits() & 0x00ff_ffff);
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(peer.octets());
    message.extend([1, 1]);
    message.extend(mac.0);
    let length = [0, 32];
    let pseudo =
        [&asker.octets()[..], &group.octets()[..], &[0, 0], &length[..], &[0, 0, 0, 58], &message[..]].concat();
    let checksum = checksum(&pseudo);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = ethernet([0x33, 0x33, 0xff, a, b, c], mac, [0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length);
    frame.extend([58, 255]);
    frame.extend(asker.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

fn ethernet(destination: [u8; 6], source: MacAddr, protocol: [u8; 2]) -> Vec<u8> {
    [&destination[..], &source.0[..], &protocol[..]].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryConfig, MemoryPort};
    use std::sync::atomic::{AtomicBool, Ordering};

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// Answers whatever arrives, from whoever is asked.
    fn answer_all(port: &mut MemoryPort, make: &dyn Fn(&[u8]) -> Vec<u8>, stop: &AtomicBool) {
        let mut frames = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            port.receive(&mut frames, 8);
            for frame in frames.drain(..) {
                let answer = make(port.bytes(&frame));
                port.recycle(frame);
                send(port, &answer).unwrap();
            }
            port.flush().unwrap();
        }
    }

    fn arp_reply(question: &[u8]) -> Vec<u8> {
        let mut reply = question.to_vec();
        reply[..6].copy_from_slice(&OURS.0);
        reply[6..12].copy_from_slice(&THEIRS.0);
        reply[21] = 2;
        reply[22..28].copy_from_slice(&THEIRS.0);
        reply[28..32].copy_from_slice(&question[38..42]);
        reply[32..38].copy_from_slice(&OURS.0);
        reply[38..42].fill(0);
        reply
    }

    fn ask(peer: &str, make: impl Fn(&[u8]) -> Vec<u8> + Sync) -> Exchange {
        let (near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| answer_all(&mut far, &make, &done));
            // A busy machine may take its time.
            let patience = Duration::from_secs(60);
            let question = Question { patience, ..Question::new(peer.parse().unwrap()) };
            let exchange = question.ask(&mut [near], &[3], OURS, &|| false).unwrap();
            done.store(true, Ordering::Relaxed);
            exchange
        })
    }

    #[test]
    fn each_probe_has_its_answer() {
        let exchange = ask("10.0.0.2", arp_reply);
        assert_eq!((exchange.frames_sent, exchange.frames_received, exchange.strays), (10, 10, 0));
        assert_eq!((exchange.peer_mac, exchange.answered_on), (Some(THEIRS), vec![3]));
        assert_eq!(exchange.round_trips_ns.len(), 10);
    }

    /// The answer to somebody else's question, or of somebody else, proves nothing.
    #[test]
    fn a_stray_is_no_answer() {
        let question = Question::new([10, 0, 0, 2].into());
        let right = arp_reply(&question.bytes(OURS));
        assert_eq!(question.answer(&right), Some(THEIRS));
        // A request, of 10.0.0.9, to 10.0.0.2, in another protocol.
        for at in [21, 31, 41, 13] {
            let mut wrong = right.clone();
            wrong[at] ^= 3;
            assert_eq!(question.answer(&wrong), None, "{at}");
        }
        for end in 0..42 {
            assert_eq!(question.answer(&right[..end]), None, "{end}");
        }
    }

    #[test]
    fn silence_ends() {
        let (near, _far) = MemoryPort::pair(MemoryConfig::default());
        let question = Question { patience: Duration::from_millis(1), ..Question::new([10, 0, 0, 2].into()) };
        let exchange = question.ask(&mut [near], &[0], OURS, &|| false).unwrap();
        assert_eq!((exchange.frames_sent, exchange.frames_received, exchange.peer_mac), (6, 0, None));
    }

    /// RFC 4861 section 4.4: type 136, and the target asked for.
    #[test]
    fn an_advertisement_answers_a_solicitation() {
        let exchange = ask("fd77::2", |question| {
            let mut reply = question.to_vec();
            reply[..6].copy_from_slice(&OURS.0);
            reply[6..12].copy_from_slice(&THEIRS.0);
            reply[38..54].copy_from_slice(&question[22..38]);
            reply[54] = 136;
            reply
        });
        assert_eq!((exchange.frames_sent, exchange.frames_received), (10, 10));
        assert_eq!(exchange.peer_mac, Some(THEIRS));
    }

    #[test]
    fn frames_are_as_the_rfcs_have_them() {
        let probe = arp_probe(OURS, [10, 0, 0, 2].into());
        assert_eq!((probe.len(), &probe[28..32], &probe[38..42]), (60, &[0; 4][..], &[10, 0, 0, 2][..]));
        let (asker, peer) = (link_local(u64::MAX), "fd77::12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(asker.to_string(), "fe80::fdff:ffff:ffff:ffff");
        let frame = solicitation(OURS, asker, peer);
        assert_eq!((frame.len(), &frame[..6]), (86, &[0x33, 0x33, 0xff, 0x12, 0x34, 0x56][..]));
        assert_eq!(frame[38..54], "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap().octets());
        // Over the whole with its checksum in place, the sum is all ones (RFC 1071).
        let pseudo = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
