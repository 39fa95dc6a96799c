//! What a listing costs the loop: connections that rest (but for the last ones), listed a piece at a time, all of them or one.
//!
//! `cargo run --release -p fourwave-stack --example listing -- [CONNECTIONS]`

use core::net::{IpAddr, SocketAddr};
use stack::{App, ConnId, Cursor, Instant, Io, ListenOptions, LocalAddress, MacAddr, Shard, ShardConfig, SynCookies};
use std::time::{Duration, Instant as Clock};
use tcp::State;
use wire::{
    SeqNum, eth, ipv4,
    tcp::{Flags, Header, Options, Segment},
};

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const LOCAL: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

struct Nothing;
impl App for Nothing {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
}

fn frame(from: SocketAddr, flags: Flags, seq: u32, ack: u32) -> Vec<u8> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (from.ip(), LOCAL) else { return Vec::new() };
    let (seq, ack) = (SeqNum::new(seq), SeqNum::new(ack));
    let header = Header {
        src_port: from.port(),
        dst_port: 80,
        seq,
        ack,
        flags,
        window: 5000,
        urgent: 0,
        options: Options::default(),
    };
    let link = eth::Header { dst: OURS, src: PEER, vlan: None, ethertype: eth::ETHERTYPE_IPV4 };
    let mut frame = vec![0; link.len() + ipv4::Header::LEN + header.len()];
    link.emit(&mut frame);
    header.emit(from.ip(), LOCAL, &mut frame[link.len() + ipv4::Header::LEN..]);
    let ip = ipv4::Header {
        src,
        dst,
        protocol: 6,
        ttl: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
    };
    ip.emit(header.len(), &mut frame[link.len()..]);
    frame
}

fn main() {
    let many: u32 = std::env::args().nth(1).map_or(100_000, |n| n.parse().expect("a number"));
    let own = LocalAddress { ip: LOCAL, prefix_len: 8, owned: true };
    let mut config = ShardConfig::new(OURS, 1500, vec![own], [[7; 16]; 4]);
    config.max_connections = many.max(1);
    let mut now = Instant::ZERO;
    let mut shard = Shard::new(config, now).expect("a valid configuration");
    let options = ListenOptions { syn_cookies: SynCookies::Never, ..4.into() };
    shard.listen((LOCAL, 80).into(), options).expect("free");
    let mut out = vec![0; shard.frame_bytes()];
    let peer = |n: u32| {
        SocketAddr::new(IpAddr::from(0x0a01_0000u32.wrapping_add(n / 50_000).to_be_bytes()), 1000 + (n % 50_000) as u16)
    };
    for n in 0..many {
        let from = peer(n);
        if n % 50_000 == 0 {
            shard.on_neighbour(from.ip(), Some(PEER));
        }
        shard.on_frame(now, &frame(from, Flags::SYN, 300, 0), &mut Nothing);
        let mut iss = 0;
        while let Some(len) = shard.poll_transmit(now, &mut out) {
            let segment = &out[34..len];
            let parsed = Segment::parse(segment, LOCAL, from.ip()).expect("a SYN-ACK");
            iss = parsed.header.seq.value();
        }
        shard.on_frame(now, &frame(from, Flags::ACK, 301, iss.wrapping_add(1)), &mut Nothing);
        now += stack::Duration::from_micros(5);
        shard.advance(now, &mut Nothing);
        while shard.poll_transmit(now, &mut out).is_some() {}
    }
    let wanted = peer(many / 2);
    for (name, one) in [("all", false), ("one", true)] {
        let filter = |_: SocketAddr, remote: SocketAddr, _: State| !one || remote == wanted;
        let (mut rows, mut times, mut listed, mut cursor) =
            (Vec::with_capacity(256), Vec::new(), 0, Some(Cursor::default()));
        while let Some(at) = cursor {
            rows.clear();
            let began = Clock::now();
            cursor = shard.list_if(now, at, 256, &filter, &mut rows);
            times.push(began.elapsed());
            listed += rows.len();
        }
        times.sort_unstable();
        let (pieces, sum): (_, Duration) = (times.len(), times.iter().sum());
        let at = |part: usize| times[(pieces - 1) * part / 1000];
        println!(
            "{name}: {listed} of {} connections in {pieces} pieces, {sum:?}; a piece p50 {:?}, p99.9 {:?}, most {:?}",
            shard.connections(),
            at(500),
            at(999),
            at(1000)
        );
    }
}
