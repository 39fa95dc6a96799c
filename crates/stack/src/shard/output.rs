//! What is sent: replies first, then the connections that may have something, in turn.

use super::{
    Env, FlowKey, Instant, IpAddr, MacAddr, NO_EPOCH, NO_VLAN, Refusal, Shard,
    train::{Frames, One},
};
use crate::{
    neighbour::{Ask, Asker, Hop, Lookup, Resolve},
    reply::{Body, Reply},
};
use core::net::Ipv6Addr;
use tcp::Emit;
use wire::{Usual, arp, eth, icmpv4, icmpv6, ip, ipv4, ipv6, tcp::Header};

/// Segments a connection may send before the next one's turn.
pub(super) const BURST: u32 = 32;
/// The ECN field of packets that may be marked (RFC 3168 section 5).
const ECT_0: u8 = 0b10;

/// What an IP header says besides who sends what to whom.
#[derive(Clone, Copy)]
struct Marks {
    hop_limit: u8,
    /// DSCP and ECN.
    traffic_class: u8,
    flow_label: u32,
}

/// What came of asking a connection for a segment.
enum Turn {
    Sent(usize),
    /// The last there was to send: the connection is not dirty any more, and its timer runs.
    Last(usize),
    /// Nothing (more) to send.
    Idle,
    /// Something to send, but the neighbour is not known yet: it has been put on its waiting list.
    Waiting,
}

impl Shard {
    /// Whether [`poll_transmit`](Self::poll_transmit) may have a frame.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.dirty.is_empty() || !self.replies.is_empty()
    }

    /// The bytes a frame buffer must have for this shard's MTU.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        eth::Header::MAX_LEN + usize::from(self.config.mtu)
    }

    /// Whether the checksums of segments with data are left to who sends the frames: see
    /// [`checksum_left`](Self::checksum_left). As it is made, a shard computes all. What has no data is computed in any
    /// case: to sum up a header is no more work than to ask for it.
    pub fn leave_checksums(&mut self, leave: bool) {
        self.leaves_checksums = leave;
    }

    /// Of the frame that [`poll_transmit`](Self::poll_transmit) wrote last: from where on the Internet checksum is to be
    /// computed, up to the frame's end, and how many bytes behind that it is to be written, if it was left. The sum of the
    /// pseudo-header stands there.
    #[must_use]
    pub fn checksum_left(&self) -> Option<(u16, u16)> {
        self.checksum_left
    }

    /// Writes the next frame to send into `frame` and returns its length, `None` when there is nothing (more) to send.
    ///
    /// `frame` must have [`frame_bytes`](Self::frame_bytes); a shorter one is refused and counted.
    pub fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        let mut one = One { frame, len: None };
        self.transmit(now, &mut one);
        one.len
    }

    /// Writes frames to send, as many as there are, or as `frames` takes: the same as [`poll_transmit`](Self::poll_transmit),
    /// called as often, would write. But what the segments of a large write have in common is done once for many of them.
    ///
    /// Buffers must have [`frame_bytes`](Self::frame_bytes); a shorter one is refused and counted, and ends it.
    #[inline]
    pub fn transmit(&mut self, now: Instant, frames: &mut impl Frames) {
        while self.has_output()
            && let Some(frame) = frames.buffer()
            && let Some(len) = self.next_frame(now, frame)
        {
            frames.push(len, self.checksum_left);
            if self.model.followers > 0 {
                self.send_followers(now, frames);
            }
        }
    }

    /// One frame; in the model is how many are like it.
    fn next_frame(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        if frame.len() < self.frame_bytes() {
            self.counters.refused(Refusal::FrameTooSmall);
            return None;
        }
        self.checksum_left = None;
        if !self.replies.is_empty()
            && let Some(reply) = self.replies.pop()
        {
            self.counters.frames_out += 1;
            return Some(self.emit_reply(reply, frame));
        }
        while let Some(slot) = self.dirty.front().copied() {
            match self.turn(now, slot, frame) {
                Turn::Sent(len) => {
                    self.sent_of_turn(1);
                    return Some(len);
                }
                Turn::Last(len) => {
                    self.counters.frames_out += 1;
                    self.counters.segments_out += 1;
                    self.burst = 0;
                    self.dirty.pop_front();
                    return Some(len);
                }
                turn => {
                    self.end_turn(now, slot, matches!(turn, Turn::Waiting));
                    // An ARP request may have been queued just now.
                    if !self.replies.is_empty() {
                        return self.next_frame(now, frame);
                    }
                }
            }
        }
        None
    }

    /// The connection at the head of the queue has sent so many segments, and may have more: it goes on, or to the end.
    pub(super) fn sent_of_turn(&mut self, segments: u32) {
        self.counters.frames_out += u64::from(segments);
        self.counters.segments_out += u64::from(segments);
        self.burst += segments;
        if self.burst >= BURST {
            self.burst = 0;
            self.dirty.rotate_left(1);
        }
    }

    /// The connection at the head of the queue leaves it, and has sent nothing.
    fn end_turn(&mut self, now: Instant, slot: u32, waiting: bool) {
        self.burst = 0;
        self.dirty.pop_front();
        if let Some(entry) = self.entry(slot) {
            entry.dirty = false;
        }
        if waiting {
            self.hold_up(now, slot);
        } else {
            self.settle(now, slot);
        }
    }

    /// One segment of a connection.
    fn turn(&mut self, now: Instant, slot: u32, frame: &mut [u8]) -> Turn {
        let epoch = self.neighbours.epoch();
        let Some(entry) = self.conns.get_mut(slot) else { return Turn::Idle };
        if entry.over {
            // Its last ACK goes where the others went; one whose neighbour was never found, or address is gone, has nothing to say.
            if entry.epoch == NO_EPOCH || self.absent.contains(&entry.key.addresses().0) {
                return Turn::Idle;
            }
        } else if entry.epoch != epoch {
            let (local, remote) = entry.key.addresses();
            let mac = self.way(slot, local, remote).and_then(|next_hop| self.resolve(now, slot, next_hop, local));
            match mac {
                Some(mac) => self.learn(slot, mac, epoch),
                None => return Turn::Waiting,
            }
        }
        let Some(entry) = self.conns.get_mut(slot) else { return Turn::Idle };
        let (src, dst) = entry.key.addresses();
        if let (IpAddr::V4(src), IpAddr::V4(dst), NO_VLAN) = (src, dst, entry.vlan) {
            // Most often it is a bare acknowledgment, and all there is.
            let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            if let Some(segment) = entry.conn.bare_ack(&env) {
                let usual = Usual { src, dst, ports: entry.key.ports(), marked: false, segment };
                let marks = (self.config.hop_limit, entry.dscp << 2);
                let len = usual.emit_bare((self.config.mac, entry.mac), marks, frame);
                debug_assert!(len.is_some(), "a frame has room for a header");
                entry.dirty = false;
                Self::arm_entry(entry, slot, &mut self.wheel);
                return len.map_or(Turn::Idle, Turn::Last);
            }
        }
        let link = eth::Header { dst: entry.mac, src: self.config.mac, vlan: entry.vlan(), ethertype: ethertype(src) };
        let at = link.len() + ip_len(src);
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let emit = &mut Emit::default();
        if !entry.conn.transmit_into(&mut env, &mut frame[at..], emit) {
            return Turn::Idle;
        }
        let &mut Emit { ref mut header, payload_len, ect } = emit;
        // The two lower bits are ECN's, and not the application's (RFC 9293 SHLD-22).
        let traffic_class = entry.dscp << 2 | if ect { ECT_0 } else { 0 };
        let marks = Marks { hop_limit: self.config.hop_limit, traffic_class, flow_label: entry.flow_label };
        (header.src_port, header.dst_port) = entry.key.ports();
        let tcp_len = header.len() + payload_len;
        link.emit(frame);
        emit_ip(src, dst, ip::PROTOCOL_TCP, marks, tcp_len, &mut frame[link.len()..]);
        let segment = &mut frame[at..at + tcp_len];
        let left = self.leaves_checksums && payload_len > 0;
        if left {
            header.emit_unfinished(src, dst, segment);
            self.checksum_left = u16::try_from(at).ok().map(|at| (at, Header::CHECKSUM_AT));
        } else {
            header.emit(src, dst, segment);
        }
        // Most often one segment is all there is: it need not be asked for another.
        if !entry.over && entry.conn.sent_all() {
            entry.dirty = false;
            Self::arm_entry(entry, slot, &mut self.wheel);
            return Turn::Last(at + tcp_len);
        }
        let followers = if self.burst + 1 < BURST { entry.conn.followers(&env, emit) } else { 0 };
        if followers > 0 {
            let common = (!left).then(|| emit.header.common_sum(src, dst, payload_len));
            self.model.of(followers, &frame[..at + tcp_len], (at, payload_len), common);
        }
        Turn::Sent(at + tcp_len)
    }

    /// What a connection has to send can't leave: its timers run all the same.
    fn hold_up(&mut self, now: Instant, slot: u32) {
        if let Some(entry) = self.conns.get_mut(slot) {
            entry.conn.held_up(&Env { now, config: &self.config.tcp, pool: &mut self.pool });
        }
        self.note_waits(now, slot);
        self.arm(slot);
    }

    fn learn(&mut self, slot: u32, mac: MacAddr, epoch: u32) {
        if let Some(entry) = self.entry(slot) {
            entry.mac = mac;
            entry.epoch = epoch;
        }
    }

    /// The MAC address of the next hop; `None` while it is not known, and the connection waits for it.
    fn resolve(&mut self, now: Instant, slot: u32, next_hop: IpAddr, local: IpAddr) -> Option<MacAddr> {
        let vlan = self.entry(slot).and_then(|e| e.vlan());
        let asker = self.owns(local).then_some(Asker { local, vlan });
        let id = self.id(slot);
        let waiter = self.entry(slot).is_some_and(|e| !core::mem::replace(&mut e.waits, true)).then_some(id);
        let lookup = self.neighbours.lookup(now, Hop::new(next_hop, vlan), waiter, asker);
        if let Some(entry) = self.entry(slot).filter(|_| !matches!(lookup, Lookup::Waiting(_))) {
            entry.waits = false;
        }
        match lookup {
            Lookup::Known(mac, question) => {
                self.ask_for(question);
                return Some(mac);
            }
            Lookup::Waiting(question) => self.ask_for(question),
            Lookup::Full => self.counters.refused(Refusal::NeighboursFull),
        }
        None
    }

    /// Asks for a neighbour, or has the kernel do it.
    pub(super) fn ask_for(&mut self, question: Option<Resolve>) {
        match question {
            None => {}
            Some(Resolve::AskKernel(ip)) => self.wanted.push_back(ip),
            Some(Resolve::Ask(ask)) => self.ask(ask),
        }
    }

    /// Asks for a neighbour's MAC address: all stations, or the one it was last known at.
    pub(super) fn ask(&mut self, ask: Ask) {
        match (ask.from.local, ask.target) {
            (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
                let request = arp::Packet {
                    operation: arp::Operation::Request,
                    sender_mac: self.config.mac,
                    sender_ip,
                    target_mac: MacAddr::default(),
                    target_ip,
                };
                let dst = ask.at.unwrap_or(MacAddr::BROADCAST);
                self.reply(Reply { dst, vlan: ask.from.vlan, body: Body::Arp(request) });
            }
            (IpAddr::V6(src), IpAddr::V6(target)) => self.solicit(ask, src, target),
            // A gateway may be of the other family (RFC 8950): the question is one of its own.
            (_, target) => {
                let owned = self.config.addresses.iter().filter(|a| a.owned).map(|a| a.ip);
                let same = |ip: &IpAddr| ip.is_ipv4() == target.is_ipv4() && self.claims.usable(*ip);
                if let Some(local) = owned.into_iter().find(same) {
                    self.ask(Ask { from: Asker { local, ..ask.from }, ..ask });
                }
            }
        }
    }

    #[inline(never)] // most frames are connections'
    fn emit_reply(&mut self, reply: Reply, frame: &mut [u8]) -> usize {
        let ethertype = match &reply.body {
            Body::Tcp { src, .. } => ethertype(*src),
            Body::Arp(_) => eth::ETHERTYPE_ARP,
            Body::Echo { src, .. } => ethertype(*src),
            Body::Ndp { .. } => eth::ETHERTYPE_IPV6,
        };
        let link = eth::Header { dst: reply.dst, src: self.config.mac, vlan: reply.vlan, ethertype };
        link.emit(frame);
        let rest = &mut frame[link.len()..];
        let plain = Marks { hop_limit: self.config.hop_limit, traffic_class: 0, flow_label: 0 };
        link.len()
            + match reply.body {
                Body::Tcp { src, dst, header } => {
                    let (local, remote) = ((src, header.src_port).into(), (dst, header.dst_port).into());
                    let flow_label = if src.is_ipv6() { self.table.label(&FlowKey::new(local, remote)) } else { 0 };
                    emit_tcp(src, dst, Marks { flow_label, ..plain }, &header, rest)
                }
                Body::Arp(packet) => {
                    packet.emit(rest);
                    arp::Packet::LEN
                }
                Body::Echo { src, dst, rest: identifier, mut data } => {
                    let len = emit_echo(src, dst, plain, identifier, &data, &self.pool, rest);
                    data.clear(&mut self.pool);
                    len
                }
                Body::Ndp { src, dst, packet } => super::ndp::emit(src, dst, &packet, rest),
            }
    }
}

const fn ethertype(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { eth::ETHERTYPE_IPV4 } else { eth::ETHERTYPE_IPV6 }
}

const fn ip_len(ip: IpAddr) -> usize {
    if ip.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN }
}

/// A segment without payload; returns the packet's length.
fn emit_tcp(src: IpAddr, dst: IpAddr, marks: Marks, header: &Header, out: &mut [u8]) -> usize {
    let (at, len) = (ip_len(src), header.len());
    emit_ip(src, dst, ip::PROTOCOL_TCP, marks, len, out);
    header.emit(src, dst, &mut out[at..at + len]);
    at + len
}

/// Writes the IP header before `payload_len` bytes.
#[inline(always)] // every segment's
fn emit_ip(src: IpAddr, dst: IpAddr, protocol: u8, marks: Marks, payload_len: usize, out: &mut [u8]) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = ipv4::Header {
                src,
                dst,
                protocol,
                ttl: marks.hop_limit,
                tos: marks.traffic_class,
                // An atomic datagram: the identification means nothing (RFC 6864 section 4.1).
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
            };
            header.emit(payload_len, out);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => emit_ipv6(src, dst, protocol, marks, payload_len, out),
        _ => debug_assert!(false, "a flow has one family"),
    }
}

#[inline(never)] // so that the other family's is short
fn emit_ipv6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, marks: Marks, payload_len: usize, out: &mut [u8]) {
    let Marks { hop_limit, traffic_class, flow_label } = marks;
    let header = ipv6::Header { src, dst, next_header, hop_limit, traffic_class, flow_label, fragment: None };
    header.emit(payload_len, out);
}

fn emit_echo(
    src: IpAddr,
    dst: IpAddr,
    marks: Marks,
    rest: [u8; 4],
    data: &tcp::ByteQueue,
    pool: &tcp::Pool,
    out: &mut [u8],
) -> usize {
    // Both families' headers have 8 bytes.
    let (at, len) = (ip_len(src), icmpv4::HEADER_LEN + data.len() as usize);
    let protocol = if src.is_ipv4() { ip::PROTOCOL_ICMP } else { ip::PROTOCOL_ICMPV6 };
    emit_ip(src, dst, protocol, marks, len, out);
    let message = &mut out[at..at + len];
    data.copy_at(pool, &mut tcp::Cursor::default(), 0, &mut message[icmpv4::HEADER_LEN..]);
    match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => icmpv6::emit_in_place(icmpv6::ECHO_REPLY, 0, rest, src, dst, message),
        _ => icmpv4::emit_in_place(icmpv4::ECHO_REPLY, 0, rest, message),
    }
    at + len
}
