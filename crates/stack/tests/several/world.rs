//! A host of several shards, with the way from shard to shard that a runtime has, and a peer.
#![allow(unreachable_pub)]

use crate::support::*;
use core::net::{IpAddr, SocketAddr};
use stack::{
    App, ConnId, Counters, Duration, Error, Instant, Io, Landing, ListenerId, LocalAddress, MacAddr, Place, Placed,
    Refusal, Rss, RssFields, Shard, ShardConfig, flow_tag,
};
use std::collections::HashMap;
use wire::eth;

/// The key of Microsoft's "Verifying the RSS Hash Calculation".
pub const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

/// A table of 128 entries, in turns; with another `shift` every flow is another shard's.
pub fn spread(shards: u16, shift: u16) -> Vec<u16> {
    (0..shards).map(|n| (n + shift) % shards).cycle().take(128).collect()
}

pub fn rss(shards: u16, shift: u16) -> Rss {
    Rss::new(KEY.to_vec(), spread(shards, shift), RssFields::default()).expect("valid")
}

/// Keeps what it reads, and closes when the peer does.
#[derive(Debug, Default)]
pub struct Talker {
    pub open: Vec<ConnId>,
    pub read: HashMap<ConnId, Vec<u8>>,
    pub ends: Vec<Option<Error>>,
}

impl App for Talker {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.open.push(conn);
    }
    fn on_connected(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.open.push(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.read.entry(conn).or_default().extend(data);
        data.len()
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        self.ends.push(error);
    }
}

/// At which shard a frame arrives.
pub enum Arrival {
    At(usize),
    /// At the one behind that which has its flow.
    Wrong,
    /// A seed, not 0.
    Random(u64),
    By(Rss),
}

pub struct Host {
    pub shards: Vec<Shard>,
    pub apps: Vec<Talker>,
    pub arrival: Arrival,
    /// Which shard has which flow.
    owners: HashMap<u64, usize>,
}

/// Source and destination of a TCP frame without a VLAN tag.
fn ends(frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four"));
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen"));
    match link.ethertype {
        eth::ETHERTYPE_IPV4 if packet[9] == 6 => Some(((v4(12), port(20)).into(), (v4(16), port(22)).into())),
        eth::ETHERTYPE_IPV6 if packet[6] == 6 => Some(((v6(8), port(40)).into(), (v6(24), port(42)).into())),
        _ => None,
    }
}

/// The flow of a frame that was sent, as those that arrive name it.
fn tag_of_sent(frame: &[u8]) -> Option<u64> {
    let mut turned = frame.to_vec();
    if frame[12..14] == [8, 0] {
        turned[26..34].rotate_left(4);
        turned[34..38].rotate_left(2);
    } else if frame[12..14] == [0x86, 0xdd] {
        turned[22..54].rotate_left(16);
        turned[54..58].rotate_left(2);
    }
    flow_tag(&turned)
}

impl Host {
    pub fn set_landing(&mut self, landing: &Landing) {
        self.shards.iter_mut().for_each(|s| s.set_landing(landing.clone()));
    }

    pub fn know_the_peer(&mut self) {
        self.shards.iter_mut().for_each(|s| s.on_neighbour(v4(9), Some(PEER)));
    }

    fn place(&mut self, frame: &[u8]) -> usize {
        let count = self.shards.len();
        match &mut self.arrival {
            Arrival::At(n) => *n,
            Arrival::Wrong => {
                flow_tag(frame).and_then(|tag| self.owners.get(&tag)).map_or(0, |owner| (owner + 1) % count)
            }
            Arrival::Random(seed) => {
                // Xorshift64 (Marsaglia 2003).
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                usize::try_from(*seed >> 33).expect("31 bits") % count
            }
            Arrival::By(rss) => ends(frame).map_or(0, |(src, dst)| rss.shard(src, dst).into()),
        }
    }

    /// A frame arrives at one shard, and goes on from there until somebody knows its flow. Returns who dealt with it.
    pub fn deliver(&mut self, now: Instant, frame: &[u8]) -> usize {
        let count = self.shards.len();
        let at = self.place(frame);
        let others = (1..count).map(|n| (at + n) % count);
        let by = match self.shards[at].on_frame(now, frame, &mut self.apps[at]) {
            Placed::Here | Placed::Refused => at,
            Placed::Everybodys => {
                for n in others {
                    assert_eq!(self.shards[n].on_handed(now, frame, &mut self.apps[n]), Placed::Here);
                }
                return at;
            }
            Placed::Elsewhere => {
                let (shards, apps) = (&mut self.shards, &mut self.apps);
                let claims = |n: &usize| shards[*n].on_handed(now, frame, &mut apps[*n]) != Placed::Elsewhere;
                others.into_iter().find(claims).unwrap_or_else(|| {
                    self.shards[at].on_unclaimed(now, frame, &mut self.apps[at]);
                    at
                })
            }
        };
        if let Some(tag) = flow_tag(frame) {
            self.owners.insert(tag, by);
        }
        by
    }

    /// What all shards have to send.
    pub fn take_output(&mut self, now: Instant) -> Vec<(usize, Vec<u8>)> {
        let mut all = Vec::new();
        for (n, shard) in self.shards.iter_mut().enumerate() {
            for frame in drain(shard, now) {
                if let Some(tag) = tag_of_sent(&frame) {
                    self.owners.insert(tag, n);
                }
                all.push((n, frame));
            }
        }
        all
    }

    pub fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.shards.iter().map(|s| of(s.counters())).sum()
    }

    pub fn refusals(&self, reason: Refusal) -> u64 {
        self.sum(|c| c.refusals(reason))
    }

    pub fn connections(&self) -> usize {
        self.shards.iter().map(Shard::connections).sum()
    }

    pub fn ends(&self) -> Vec<Option<Error>> {
        self.apps.iter().flat_map(|a| a.ends.iter().copied()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|s| (s.connections(), s.half_open(), s.time_waits(), s.chunks_in_use()) == (0, 0, 0, 0))
    }

    /// Nothing is lost between shards, and every frame is accounted for.
    pub fn check(&self) {
        for shard in &self.shards {
            shard.invariants().expect("invariants");
            assert_eq!(shard.counters().frames_accounted(), shard.counters().frames_in);
        }
        assert_eq!(self.sum(|c| c.strays_out), self.sum(|c| c.strays_in + c.strays_unclaimed));
    }
}

pub struct Peer {
    pub shard: Shard,
    pub app: Talker,
}

/// One connection, by both ends: the host's shard and handle, the peer's handle.
pub struct Connected {
    at: usize,
    host: ConnId,
    peer: ConnId,
}

pub struct World {
    pub now: Instant,
    pub host: Host,
    pub peer: Peer,
}

pub fn config(v4: IpAddr, v6: IpAddr, mac: MacAddr) -> ShardConfig {
    let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned: true };
    let mut config = ShardConfig::new(mac, 1500, vec![address(v4, 24), address(v6, 64)], [[7; 16]; 4]);
    config.pool_bytes = 1 << 20;
    config
}

impl World {
    pub fn new(count: u16, arrival: Arrival, change: impl Fn(&mut ShardConfig)) -> Self {
        let make = |index| {
            let mut config = config(v4(1), v6(1), OURS);
            config.place = Place { index, count };
            change(&mut config);
            let mut shard = Shard::new(config, Instant::ZERO).expect("valid");
            for ip in [v4(1), v6(1)] {
                shard.listen(SocketAddr::new(ip, PORT), 64).expect("free");
            }
            shard
        };
        let mut peer = Shard::new(config(v4(9), v6(9), PEER), Instant::ZERO).expect("valid");
        for ip in [v4(9), v6(9)] {
            peer.listen(SocketAddr::new(ip, 90), 64).expect("free");
        }
        let shards: Vec<_> = (0..count).map(make).collect();
        let apps = shards.iter().map(|_| Talker::default()).collect();
        let host = Host { shards, apps, arrival, owners: HashMap::new() };
        Self { now: Instant::ZERO, host, peer: Peer { shard: peer, app: Talker::default() } }
    }

    /// Frames go to and fro until there are none.
    fn exchange(&mut self) {
        for _ in 0..1000 {
            let ours = self.host.take_output(self.now);
            let theirs = drain(&mut self.peer.shard, self.now);
            if ours.is_empty() && theirs.is_empty() {
                return;
            }
            for (_, frame) in ours {
                assert_eq!(self.peer.shard.on_frame(self.now, &frame, &mut self.peer.app), Placed::Here);
            }
            for frame in theirs {
                self.host.deliver(self.now, &frame);
            }
        }
        panic!("endless talk");
    }

    fn tick(&mut self, time: Duration) {
        self.exchange();
        self.now += time;
        for (shard, app) in self.host.shards.iter_mut().zip(&mut self.host.apps) {
            shard.advance(self.now, app);
        }
        self.peer.shard.advance(self.now, &mut self.peer.app);
        self.exchange();
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick(Duration::from_millis(5));
        }
    }

    /// The same for a long time, in large steps.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick(Duration::from_secs(1));
        }
    }

    /// The host's end of a connection, by the peer's.
    fn find(&mut self, peer: ConnId) -> Connected {
        let now = self.now;
        let (local, remote) = self.peer.shard.call(now, |io| io.addresses(peer)).expect("it lives");
        for (at, app) in self.host.apps.iter().enumerate() {
            for conn in &app.open {
                if self.host.shards[at].call(now, |io| io.addresses(*conn)) == Ok((remote, local)) {
                    return Connected { at, host: *conn, peer };
                }
            }
        }
        panic!("no end of {local} {remote}");
    }

    pub fn open_from_peer(&mut self, is_v6: bool) -> Connected {
        let to = SocketAddr::new(if is_v6 { v6(1) } else { v4(1) }, PORT);
        let conn = self.peer.shard.call(self.now, |io| io.connect(to)).expect("a port");
        self.run(Duration::from_millis(10));
        self.find(conn)
    }

    pub fn open_from_host(&mut self, at: usize, is_v6: bool) -> Connected {
        let to = SocketAddr::new(if is_v6 { v6(9) } else { v4(9) }, 90);
        let conn = self.host.shards[at].call(self.now, |io| io.connect(to)).expect("a port");
        self.run(Duration::from_millis(10));
        let pair = self.find(*self.peer.app.open.last().expect("accepted"));
        assert_eq!((pair.at, pair.host), (at, conn), "an active open stays where it is made");
        pair
    }

    pub fn send_from_host(&mut self, pair: &Connected, data: &[u8]) {
        assert_eq!(self.host.shards[pair.at].call(self.now, |io| io.send(pair.host, data)), Ok(data.len()));
    }

    pub fn send_from_peer(&mut self, pair: &Connected, data: &[u8]) {
        assert_eq!(self.peer.shard.call(self.now, |io| io.send(pair.peer, data)), Ok(data.len()));
    }

    /// What the host has read, and the peer.
    pub fn read_of(&self, pair: &Connected) -> (&[u8], &[u8]) {
        (&self.host.apps[pair.at].read[&pair.host], &self.peer.app.read[&pair.peer])
    }

    pub fn close_at_host(&mut self, pair: &Connected) {
        self.host.shards[pair.at].call(self.now, |io| io.close(pair.host)).expect("open");
    }

    pub fn close_at_peer(&mut self, pair: &Connected) {
        self.peer.shard.call(self.now, |io| io.close(pair.peer)).expect("open");
    }

    pub fn abort_at_host(&mut self, pair: &Connected) {
        self.host.shards[pair.at].call(self.now, |io| io.abort(pair.host)).expect("open");
    }

    pub fn abort_at_peer(&mut self, pair: &Connected) {
        self.peer.shard.call(self.now, |io| io.abort(pair.peer)).expect("open");
    }

    pub fn close_all_at_host(&mut self) {
        for (shard, app) in self.host.shards.iter_mut().zip(&self.host.apps) {
            for conn in &app.open {
                shard.call(self.now, |io| io.close(*conn)).expect("open");
            }
        }
    }
}
