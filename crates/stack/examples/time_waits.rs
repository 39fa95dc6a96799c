//! Fills a shard with connections in TIME-WAIT, each opened and closed by frames, and says what they cost:
//! `cargo run --release -p fourwave-stack --example time_waits -- 10000000`.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use core::net::{IpAddr, SocketAddr};
use stack::{App, ConnId, Duration, Instant, Io, ListenerId, LocalAddress, Route, Shard, ShardConfig};
use support::{OURS, PEER, PORT, header, segment_of, tcp_frame, v4};
use wire::tcp::Flags;

/// Closes first, so that TIME-WAIT is on this side.
struct Closer;

impl App for Closer {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let _ = io.close(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn one(shard: &mut Shard, now: Instant, peer: SocketAddr, buffer: &mut [u8]) {
    let mut send = |shard: &mut Shard, flags, seq, ack| {
        let frame = tcp_frame(peer.ip(), v4(1), header(flags, (peer.port(), PORT), seq, ack), &[], None);
        shard.on_frame(now, &frame, &mut Closer);
        let mut last = None;
        while let Some(len) = shard.poll_transmit(now, buffer) {
            last = segment_of(&buffer[..len]);
        }
        last.map(|(header, _)| header)
    };
    let iss = send(shard, Flags::SYN, 7, 0).expect("a SYN-ACK").seq.value();
    let fin = send(shard, Flags::ACK, 8, iss.wrapping_add(1)).expect("a FIN");
    assert!(fin.flags.contains(Flags::FIN));
    send(shard, Flags::FIN | Flags::ACK, 8, iss.wrapping_add(2));
}

fn main() {
    let count: u32 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number of connections"));
    let address = LocalAddress { ip: v4(1), prefix_len: 24, owned: false };
    let mut config = ShardConfig::new(OURS, 1500, vec![address], [[7; 16]; 4]);
    config.routes = vec![Route::new(IpAddr::from([0, 0, 0, 0]), 0, Some(v4(9)))];
    config.max_time_wait = count;
    let mut shard = Shard::new(config, Instant::ZERO).expect("a valid configuration");
    shard.listen(SocketAddr::new(v4(1), PORT), 4).expect("free");
    shard.on_neighbour(v4(9), Some(PEER));
    let mut buffer = vec![0; shard.frame_bytes()];
    let before = resident_bytes();
    let began = std::time::Instant::now();
    for n in 0..count {
        let [a, b, c, d] = (n / 50_000).to_be_bytes();
        let peer = SocketAddr::new(IpAddr::from([20 + a, b, c, d]), 1024 + (n % 50_000) as u16);
        one(&mut shard, Instant::ZERO, peer, &mut buffer);
    }
    let took = began.elapsed();
    assert_eq!((shard.time_waits(), shard.connections()), (count as usize, 0));
    let bytes = (resident_bytes() - before) as f64 / f64::from(count);
    println!(
        "{count} in TIME-WAIT: {bytes:.1} bytes each, opened and closed at {:.0} /s",
        f64::from(count) / took.as_secs_f64()
    );
    // Their 2MSL end.
    let began = std::time::Instant::now();
    let mut turns = 0;
    while shard.time_waits() > 0 {
        shard.advance(Instant::ZERO + Duration::from_secs(61), &mut Closer);
        turns += 1;
    }
    let took = began.elapsed();
    println!(
        "all of them expired in {:.2} s, {:.0} µs a turn",
        took.as_secs_f64(),
        took.as_micros() as f64 / f64::from(turns)
    );
}
