//! A shard, a scripted peer's frames, and an application that counts.
#![allow(dead_code, unreachable_pub)]

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use stack::{
    App, ConnId, Error, Instant, Io, ListenOptions, ListenerId, LocalAddress, MacAddr, Shard, ShardConfig, SynCookies,
};
use wire::{
    SeqNum, arp, eth, icmpv4, ipv4, ipv6,
    ndp::{self, Packet, Solicitation},
    tcp::{Flags, Header, Options, Segment},
};

pub const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
pub const PORT: u16 = 80;

pub fn v4(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

pub fn v6(n: u16) -> IpAddr {
    IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, n])
}

pub fn shard(change: impl FnOnce(&mut ShardConfig)) -> Shard {
    let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned: true };
    let mut config = ShardConfig::new(OURS, 1500, vec![address(v4(1), 24), address(v6(1), 64)], [[7; 16]; 4]);
    config.pool_bytes = 1 << 20;
    change(&mut config);
    let mut shard = Shard::new(config, Instant::ZERO).expect("a valid configuration");
    let options = ListenOptions { syn_cookies: SynCookies::Never, ..4.into() };
    shard.listen(SocketAddr::new(v4(1), PORT), options.clone()).expect("free");
    shard.listen(SocketAddr::new(v6(1), PORT), options).expect("free");
    shard.on_neighbour(v4(9), Some(PEER));
    shard.on_neighbour(v6(9), Some(PEER));
    shard
}

#[derive(Debug, Default)]
pub struct Counting {
    pub accepted: Vec<ConnId>,
    pub bytes: usize,
    pub closed: Vec<Option<Error>>,
    pub connect: Option<SocketAddr>,
    pub conn: Option<ConnId>,
}

impl App for Counting {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.push(conn);
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.bytes += data.len();
        let _ = io.send(conn, &data[..data.len().min(10)]);
        data.len() - data.len() / 4
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.closed.push(error);
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if let Some(to) = self.connect.take() {
            self.conn = io.connect(to).ok();
        }
    }
}

pub fn header(flags: Flags, ports: (u16, u16), seq: u32, ack: u32) -> Header {
    let (seq, ack) = (SeqNum::new(seq), SeqNum::new(ack));
    let options = Options::default();
    Header { src_port: ports.0, dst_port: ports.1, seq, ack, flags, window: 5000, urgent: 0, options }
}

/// A TCP frame of the peer `n`.
pub fn tcp_frame(src: IpAddr, dst: IpAddr, header: Header, payload: &[u8], vlan: Option<u16>) -> Vec<u8> {
    let mut segment = vec![0; header.len()];
    segment.extend(payload);
    header.emit(src, dst, &mut segment);
    ip_frame(src, dst, 6, &segment, vlan)
}

pub fn ip_frame(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8], vlan: Option<u16>) -> Vec<u8> {
    let ethertype = if src.is_ipv4() { eth::ETHERTYPE_IPV4 } else { eth::ETHERTYPE_IPV6 };
    let link = eth::Header { dst: OURS, src: PEER, vlan, ethertype };
    let ip_len = if src.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN };
    let mut frame = vec![0; link.len() + ip_len];
    link.emit(&mut frame);
    frame.extend(payload);
    let out = &mut frame[link.len()..];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
            src,
            dst,
            protocol,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
        }
        .emit(payload.len(), out),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
            src,
            dst,
            next_header: protocol,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            fragment: None,
        }
        .emit(payload.len(), out),
        _ => panic!("one family"),
    }
    frame
}

pub fn arp_frame(operation: arp::Operation, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let link = eth::Header { dst: MacAddr::BROADCAST, src: PEER, vlan: None, ethertype: eth::ETHERTYPE_ARP };
    let mut frame = vec![0; link.len() + arp::Packet::LEN];
    link.emit(&mut frame);
    let packet = arp::Packet {
        operation,
        sender_mac: PEER,
        sender_ip: sender.into(),
        target_mac: MacAddr::default(),
        target_ip: target.into(),
    };
    packet.emit(&mut frame[link.len()..]);
    frame
}

pub fn echo_frame(len: usize) -> Vec<u8> {
    let mut message = vec![5; icmpv4::HEADER_LEN + len];
    icmpv4::emit_in_place(icmpv4::ECHO_REQUEST, 0, [1, 2, 3, 4], &mut message);
    ip_frame(v4(9), v4(1), 1, &message, None)
}

/// The same frame with another tag, or none.
pub fn tagged(frame: &[u8], vlan: Option<u16>) -> Vec<u8> {
    let (header, rest) = eth::Header::parse(frame).expect("Ethernet");
    let header = eth::Header { vlan, ..header };
    let mut tagged = vec![0; header.len()];
    header.emit(&mut tagged);
    tagged.extend(rest);
    tagged
}

/// The shard gets to know the peers 9 of a VLAN: each has asked for us.
pub fn meet(shard: &mut Shard, now: Instant, vlan: Option<u16>) {
    let mut app = Counting::default();
    shard.on_frame(now, &tagged(&arp_frame(arp::Operation::Request, [10, 0, 0, 9], [10, 0, 0, 1]), vlan), &mut app);
    let (IpAddr::V6(src), IpAddr::V6(target)) = (v6(9), v6(1)) else { return };
    let asks = Packet::Solicitation(Solicitation { target, source_mac: Some(PEER) });
    let group = ndp::solicited_node(target);
    shard.on_frame(now, &ndp_frame(ndp::group_mac(group), PEER, (src, group), asks, vlan), &mut app);
    drain(shard, now);
}

/// Everything the shard has to send.
pub fn drain(shard: &mut Shard, now: Instant) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = vec![0; shard.frame_bytes()];
    while let Some(len) = shard.poll_transmit(now, &mut buffer) {
        all.push(buffer[..len].to_vec());
        assert!(all.len() < 100_000, "endless output");
    }
    all
}

/// The TCP header of an IPv4 frame without a VLAN tag, and its payload's length.
pub fn segment_of(frame: &[u8]) -> Option<(Header, usize)> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    if link.ethertype != eth::ETHERTYPE_IPV4 {
        return None;
    }
    let (ip, payload) = ipv4::Header::parse(packet).ok()?;
    let segment = (ip.protocol == 6).then(|| Segment::parse(payload, ip.src.into(), ip.dst.into()).ok()).flatten()?;
    Some((segment.header, segment.payload.len()))
}

/// Opens a connection from `src`:`port` and returns our ISS.
pub fn open(shard: &mut Shard, app: &mut Counting, now: Instant, port: u16, irs: u32) -> u32 {
    let syn = tcp_frame(v4(9), v4(1), header(Flags::SYN, (port, PORT), irs, 0), &[], None);
    shard.on_frame(now, &syn, app);
    let syn_acks = drain(shard, now);
    let mut segments = syn_acks.iter().filter_map(|f| segment_of(f));
    let iss = segments.find(|(h, _)| h.flags.contains(Flags::SYN)).expect("a SYN-ACK").0.seq.value();
    let ack = header(Flags::ACK, (port, PORT), irs.wrapping_add(1), iss.wrapping_add(1));
    shard.on_frame(now, &tcp_frame(v4(9), v4(1), ack, &[], None), app);
    drain(shard, now);
    iss
}

/// Lets time pass to `end`, sending into the void.
pub fn pass(shard: &mut Shard, app: &mut Counting, now: &mut Instant, end: Instant) -> usize {
    let mut frames = 0;
    for turns in 0.. {
        assert!(turns < 100_000, "a busy loop");
        shard.call(*now, |io| app.on_turn(io));
        frames += drain(shard, *now).len();
        let Some(next) = shard.next_wakeup().filter(|at| *at <= end) else { break };
        *now = (*now).max(next);
        shard.advance(*now, app);
    }
    *now = end;
    frames
}

/// A frame with a message of neighbour discovery, as RFC 4861 wants it.
pub fn ndp_frame(
    to: MacAddr,
    from: MacAddr,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    packet: Packet,
    vlan: Option<u16>,
) -> Vec<u8> {
    let link = eth::Header { dst: to, src: from, vlan, ethertype: eth::ETHERTYPE_IPV6 };
    let mut message = [0; Packet::MAX_LEN];
    let len = packet.emit(src, dst, &mut message);
    let mut frame = vec![0; link.len() + 40];
    link.emit(&mut frame);
    let header =
        ipv6::Header { src, dst, next_header: 58, hop_limit: 255, traffic_class: 0, flow_label: 0, fragment: None };
    header.emit(len, &mut frame[link.len()..]);
    frame.extend(&message[..len]);
    frame
}
