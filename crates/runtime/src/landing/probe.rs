//! The proof of a plan, before the shards run: a neighbour is sent SYNs whose replies the plan foretells.

use crate::claim::{self, Nobody};
use crate::clock::Clock;
use crate::options::Options;
use stack::{Duration, Instant, Landing, LocalAddress, MacAddr, Route, Rss, Shard, ShardConfig};
use std::io;
use std::net::{IpAddr, SocketAddr};
use wire::quoted::Quoted;
use wire::tcp::{self, Flags, Segment};
use wire::{SeqNum, eth, icmpv4, icmpv6, ip, ipv4, ipv6};
use xdp::Port;
use xdp::facts::InterfaceFacts;
use xdp::neighbours::NeighbourMirror;

/// The discard service (RFC 863), which hardly anybody offers: the answer is a reset.
const DISCARD: u16 = 9;
/// Questions for each shard.
const PER_SHARD: usize = 2;
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long an answer may lie before it is read.
const LOOK: std::time::Duration = std::time::Duration::from_millis(1);
/// Frames taken in at a time from each port.
const BATCH: usize = 64;

/// Whether the interface brings replies elsewhere than `landing` has it. That nothing could be proved is none.
pub(crate) fn refutes<P: Port>(
    landing: &Landing,
    target: Option<Target>,
    ports: &mut [P],
    shards: &mut [Shard],
    clock: &Clock,
) -> bool {
    let (Some(first), Some(target), Landing::Rss(rss)) = (shards.first_mut(), target, landing) else { return false };
    let mut seed = [0; 8];
    let asked = getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string())).and_then(|()| {
        let mut probe = Probe::new(target, rss, first.config(), seed);
        probe.run(ports, first, clock, PATIENCE)
    });
    match asked {
        Ok(verdict) => told(target.peer, verdict),
        Err(error) => {
            tracing::debug!(%error, "where replies land could not be asked: the first connections will show it");
            false
        }
    }
}

/// Logs a verdict. Whether it refutes the plan.
fn told(peer: IpAddr, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Unproved => {
            tracing::debug!(%peer, "no reply says where replies land: the first connections will show it");
        }
        Verdict::Verified { replies, questions } => tracing::info!(
            %peer,
            replies,
            questions,
            "verified: replies land at the queues that the interface's RSS key and table foretell"
        ),
        Verdict::Refuted { port, planned, landed } => tracing::warn!(
            "the reply of {peer} to port {port} arrived at shard {landed}, not {planned}: flows are not spread as the \
             interface's RSS key and table say, so source ports are chosen without them"
        ),
    }
    matches!(verdict, Verdict::Refuted { .. })
}

/// Who is asked, and by which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    ours: IpAddr,
    peer: IpAddr,
    mac: MacAddr,
}

/// Somebody to ask, if there is a question: several shards, and ports for active opens.
pub(crate) fn target(options: &Options, facts: &InterfaceFacts, shards: &[Shard]) -> Option<Target> {
    let config = shards.first()?.config();
    // On a VLAN the neighbours are not those that the kernel knows of the interface.
    if shards.len() < 2 || config.ports.is_empty() || options.vlan.is_some() {
        return None;
    }
    let found = find(options, facts, &config.addresses);
    match &found {
        Ok(None) => {
            tracing::debug!("no neighbour can be asked where replies land: the first connections will show it");
        }
        Ok(Some(_)) => {}
        Err(error) => {
            tracing::debug!(%error, "where replies land can't be asked: the first connections will show it");
        }
    }
    found.ok().flatten()
}

fn find(options: &Options, facts: &InterfaceFacts, addresses: &[LocalAddress]) -> Result<Option<Target>, xdp::Error> {
    let known = NeighbourMirror::open(facts.ifindex)?.dump()?;
    let known: Vec<_> = known.iter().filter(|n| n.usable()).filter_map(|n| Some((n.ip, MacAddr(n.mac?.0)))).collect();
    Ok(match options.address {
        // Of the link of an owned address the kernel's neighbours need not be.
        Some(own) => choose(addresses, known.into_iter().filter(|(ip, _)| Some(*ip) == own.gateway), None),
        None => choose(addresses, known.into_iter(), xdp::probe::likely_peer(facts)?),
    })
}

/// The likely one, or else any to whom one of our addresses has a family in common; on its network, if there is one.
fn choose(
    addresses: &[LocalAddress],
    known: impl Iterator<Item = (IpAddr, MacAddr)>,
    likely: Option<IpAddr>,
) -> Option<Target> {
    let on_link = |a: &&LocalAddress, peer| {
        let prefix = Route::new(a.ip, a.prefix_len, None);
        prefix.matches(peer)
    };
    let usable = known.filter(|(_, mac)| !mac.is_multicast() && *mac != MacAddr::default());
    let target = |(peer, mac): (IpAddr, MacAddr)| {
        let of_family = || addresses.iter().filter(|a| a.ip.is_ipv4() == peer.is_ipv4());
        let ours = of_family().find(|a| on_link(a, peer)).or_else(|| of_family().next())?.ip;
        Some(Target { ours, peer, mac })
    };
    usable.filter_map(target).max_by_key(|target| Some(target.peer) == likely)
}

/// A SYN, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    port: u16,
    /// The shard to which its reply should come.
    planned: u16,
    heard: Heard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// An ICMP error. Its own addresses are hashed, not those of the segment it is about: where it arrives says nothing.
    Error,
    /// A segment, at this shard.
    At(u16),
}

/// What the answers say of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Unproved,
    /// All replies arrived as planned.
    Verified { replies: usize, questions: usize },
    /// One did not.
    Refuted { port: u16, planned: u16, landed: u16 },
}

fn judge(questions: &[Question]) -> Verdict {
    let mut replies = 0;
    for Question { port, planned, heard } in questions.iter().copied() {
        match heard {
            Heard::At(landed) if landed != planned => return Verdict::Refuted { port, planned, landed },
            Heard::At(_) => replies += 1,
            Heard::Nothing | Heard::Error => {}
        }
    }
    if replies == 0 { Verdict::Unproved } else { Verdict::Verified { replies, questions: questions.len() } }
}

/// For each shard some of the ports by which a reply from the target should land there. They are looked for from the one that
/// has number `start` on.
fn questions(rss: &Rss, config: &ShardConfig, target: &Target, start: u16) -> Vec<Question> {
    let peer = SocketAddr::new(target.peer, DISCARD);
    let ports = config.ports.clone();
    let from = usize::from(start) % ports.clone().count().max(1);
    let mut chosen: Vec<Question> = Vec::new();
    for port in ports.clone().skip(from).chain(ports.take(from)) {
        let planned = rss.shard(peer, SocketAddr::new(target.ours, port));
        let full = chosen.iter().filter(|q| q.planned == planned).count() == PER_SHARD;
        if planned < config.place.count && !full {
            chosen.push(Question { port, planned, heard: Heard::Nothing });
        }
    }
    chosen
}

/// The questions to a neighbour.
#[derive(Debug)]
struct Probe {
    target: Target,
    mac: MacAddr,
    hop_limit: u8,
    mss: u16,
    iss: SeqNum,
    questions: Vec<Question>,
}

impl Probe {
    /// `seed`: random bytes, for the ports and the ISS.
    fn new(target: Target, rss: &Rss, config: &ShardConfig, seed: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, ..] = seed;
        let headers = if target.peer.is_ipv4() { 40 } else { 60 };
        Self {
            target,
            mac: config.mac,
            hop_limit: config.hop_limit,
            mss: config.mtu.saturating_sub(headers),
            iss: SeqNum::new(u32::from_be_bytes([a, b, c, d])),
            questions: questions(rss, config, &target, u16::from_be_bytes([e, f])),
        }
    }

    /// Asks, and waits until all has been answered, or `patience` is over.
    fn run<P: Port>(
        &mut self,
        ports: &mut [P],
        shard: &mut Shard,
        clock: &Clock,
        patience: Duration,
    ) -> io::Result<Verdict> {
        self.ask(ports)?;
        let until = clock.now() + patience;
        loop {
            let now = clock.now();
            let quiet = self.hear(ports, shard, now)? == 0;
            if now >= until || self.questions.iter().all(|q| q.heard != Heard::Nothing) {
                return Ok(judge(&self.questions));
            }
            if quiet {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Each question goes out by the queue of the shard that is to get its reply, as its connections would: some interfaces
    /// (Intel's ATR) bring replies to where a flow was sent from.
    fn ask<P: Port>(&self, ports: &mut [P]) -> io::Result<()> {
        for question in &self.questions {
            if let Some(port) = ports.get_mut(usize::from(question.planned)) {
                let options = tcp::Options { mss: Some(self.mss), ..tcp::Options::default() };
                put(port, &self.frame(question.port, self.iss, Flags::SYN, options))?;
            }
        }
        ports.iter_mut().try_for_each(Port::flush)
    }

    /// Takes in what has arrived; how many frames. What is of no flow goes to `shard`: the neighbour may have to ask for our
    /// address first. Segments of others are dropped, for no application is there yet; their peers send them again.
    fn hear<P: Port>(&mut self, ports: &mut [P], shard: &mut Shard, now: Instant) -> io::Result<usize> {
        let mut received = Vec::with_capacity(BATCH);
        let mut frames = 0;
        for (index, port) in (0..).zip(&mut *ports) {
            frames += port.receive(&mut received, BATCH);
            for frame in received.drain(..) {
                let bytes = port.bytes(&frame);
                let answer = self.answer(bytes);
                if answer.is_none() && stack::flow_tag(bytes).is_none() {
                    shard.on_frame(now, bytes, &mut Nobody);
                }
                port.recycle(frame);
                if let Some(Answer { question, reply }) = answer {
                    let segment = Heard::At(index);
                    self.questions[question].heard = if reply == Reply::Error { Heard::Error } else { segment };
                    if let Reply::Accepted { next } = reply {
                        let local = self.questions[question].port;
                        put(port, &self.frame(local, next, Flags::RST, tcp::Options::default()))?;
                    }
                }
            }
        }
        if let Some(port) = ports.first_mut() {
            claim::send(port, shard, now)?;
        }
        ports.iter_mut().try_for_each(Port::flush)?;
        Ok(frames)
    }

    fn frame(&self, src_port: u16, seq: SeqNum, flags: Flags, options: tcp::Options) -> Vec<u8> {
        let Target { ours, peer, mac } = self.target;
        let (ack, window) = (SeqNum::default(), u16::MAX);
        let header = tcp::Header { src_port, dst_port: DISCARD, seq, ack, flags, window, urgent: 0, options };
        let ethertype = if peer.is_ipv4() { eth::ETHERTYPE_IPV4 } else { eth::ETHERTYPE_IPV6 };
        let link = eth::Header { dst: mac, src: self.mac, vlan: None, ethertype };
        let ip_len = if peer.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN };
        let mut frame = vec![0; link.len() + ip_len + header.len()];
        let (head, rest) = frame.split_at_mut(link.len());
        let (packet, segment) = rest.split_at_mut(ip_len);
        link.emit(head);
        match (ours, peer) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
                src,
                dst,
                protocol: ip::PROTOCOL_TCP,
                ttl: self.hop_limit,
                tos: 0,
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
            }
            .emit(segment.len(), packet),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
                src,
                dst,
                next_header: ip::PROTOCOL_TCP,
                hop_limit: self.hop_limit,
                traffic_class: 0,
                flow_label: 0,
                fragment: None,
            }
            .emit(segment.len(), packet),
            // Both are of one family.
            _ => {}
        }
        header.emit(ours, peer, segment);
        frame
    }

    /// What a frame answers, if it is the target's answer or an ICMP error.
    fn answer(&self, frame: &[u8]) -> Option<Answer> {
        let (link, packet) = eth::Header::parse(frame).ok()?;
        match link.ethertype {
            eth::ETHERTYPE_IPV4 => {
                let (header, payload) = ipv4::Header::parse(packet).ok()?;
                match header.protocol {
                    _ if header.is_fragment() => None,
                    ip::PROTOCOL_TCP => self.segment(header.src.into(), header.dst.into(), payload),
                    ip::PROTOCOL_ICMP => self.error(&Quoted::parse_v4(icmpv4::Message::parse(payload).ok()?.body)?),
                    _ => None,
                }
            }
            eth::ETHERTYPE_IPV6 => {
                let (header, payload) = ipv6::Header::parse(packet).ok()?;
                match header.next_header {
                    _ if header.is_fragment() => None,
                    ip::PROTOCOL_TCP => self.segment(header.src.into(), header.dst.into(), payload),
                    ip::PROTOCOL_ICMPV6 => {
                        let message = icmpv6::Message::parse(payload, header.src, header.dst).ok()?;
                        self.error(&Quoted::parse_v6(message.body)?)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// RFC 9293 section 3.10.7.3: in SYN-SENT a segment counts if it acknowledges the SYN, a reset among them.
    fn segment(&self, src: IpAddr, dst: IpAddr, bytes: &[u8]) -> Option<Answer> {
        let header = Segment::parse(bytes, src, dst).ok()?.header;
        let acknowledges = header.flags.contains(Flags::ACK) && header.ack == self.iss + 1;
        if !acknowledges || header.src_port != DISCARD {
            return None;
        }
        let question = self.question(dst, src, header.dst_port)?;
        let reset = header.flags.contains(Flags::RST);
        let reply = if reset { Reply::Reset } else { Reply::Accepted { next: header.ack } };
        (reset || header.flags.contains(Flags::SYN)).then_some(Answer { question, reply })
    }

    fn error(&self, quoted: &Quoted) -> Option<Answer> {
        let genuine = quoted.dst_port == DISCARD && quoted.seq == self.iss;
        let question = self.question(quoted.src, quoted.dst, quoted.src_port).filter(|_| genuine)?;
        Some(Answer { question, reply: Reply::Error })
    }

    fn question(&self, ours: IpAddr, peer: IpAddr, port: u16) -> Option<usize> {
        let between = (ours, peer) == (self.target.ours, self.target.peer);
        self.questions.iter().position(|q| between && q.port == port)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    question: usize,
    reply: Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Reset,
    /// Somebody offers the service: the connection is reset by a segment with this number.
    Accepted {
        next: SeqNum,
    },
    Error,
}

/// Queues a frame.
fn put<P: Port>(port: &mut P, bytes: &[u8]) -> io::Result<()> {
    let mut frame = port.allocate().ok_or_else(|| io::Error::other("no frame is free"))?;
    let room = port.buffer(&mut frame).get_mut(..bytes.len()).map(|room| room.copy_from_slice(bytes));
    let sent = if room.is_some() { port.transmit(frame, bytes.len()) } else { Err(frame) };
    sent.map_err(|frame| {
        port.recycle(frame);
        io::Error::other("the device takes no frame")
    })
}

#[cfg(test)]
mod tests;
