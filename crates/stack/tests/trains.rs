//! Frames that are taken many at once are those that are taken one by one.

mod support;

use core::net::IpAddr;
use proptest::prelude::*;
use stack::{Duration, Frames, Instant, Shard};
use support::*;
use wire::{
    SeqNum, arp, eth,
    tcp::{Flags, Header, Options, Timestamps},
};

/// What happens to a shard with some connections, of which the first number says which one.
#[derive(Debug, Clone)]
enum Op {
    Send(usize, usize),
    /// The peer acknowledges what it has heard.
    Ack(usize),
    /// A segment with data, of which the application leaves a part unread.
    Data(usize, usize),
    /// Something that is answered.
    Ping,
    Knock,
    /// The neighbour's entry has grown old, or is lost.
    Stale,
    Forget,
    Learn,
    /// So many frames leave at most.
    Take(usize),
    Pass(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..3, 1usize..100_000).prop_map(|(conn, bytes)| Op::Send(conn, bytes)),
        8 => (0usize..3).prop_map(Op::Ack),
        2 => (0usize..3, 1usize..500).prop_map(|(conn, bytes)| Op::Data(conn, bytes)),
        1 => Just(Op::Ping),
        1 => Just(Op::Knock),
        1 => Just(Op::Stale),
        1 => Just(Op::Forget),
        2 => Just(Op::Learn),
        8 => (0usize..100).prop_map(Op::Take),
        8 => Just(Op::Take(1000)),
        6 => (1u32..2000).prop_map(Op::Pass),
        1 => (1u32..3_000_000).prop_map(Op::Pass),
        1 => Just(Op::Pass(70_000_000)),
    ]
}

/// A frame, and what is left to do of its checksum.
type Sent = (Vec<u8>, Option<(u16, u16)>);

/// A place for so many frames.
struct Batch {
    buffer: Vec<u8>,
    frames: Vec<Sent>,
    most: usize,
}

impl Frames for Batch {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        (self.frames.len() < self.most).then_some(&mut self.buffer)
    }
    fn push(&mut self, len: usize, checksum_left: Option<(u16, u16)>) {
        self.frames.push((self.buffer[..len].to_vec(), checksum_left));
        // Nothing of a frame is taken for granted in the buffer of the next.
        self.buffer.fill(0xee);
    }
}

/// The end of a connection that is played.
#[derive(Debug, Clone, Copy)]
struct Peer {
    ip: IpAddr,
    port: u16,
    vlan: Option<u16>,
    seq: u32,
    heard: u32,
    stamp: Option<u32>,
}

const PEERS: usize = 3;

struct Twin {
    shard: Shard,
    app: Counting,
    trains: bool,
    now: Instant,
    peers: [Peer; PEERS],
    sent: u32,
}

impl Twin {
    fn new(trains: bool, leave: bool) -> Self {
        let mut shard = shard(|config| config.pool_bytes = 4 << 20);
        shard.leave_checksums(leave);
        let peer = |n: u8, ip, vlan, stamp| Peer { ip, port: 1000 + u16::from(n), vlan, seq: 300, heard: 0, stamp };
        let peers = [peer(0, v4(9), None, Some(5)), peer(1, v6(9), Some(7), None), peer(2, v4(8), None, None)];
        let now = Instant::ZERO + Duration::from_millis(5);
        let mut twin = Self { shard, app: Counting::default(), trains, now, peers, sent: 0 };
        meet(&mut twin.shard, now, Some(7));
        // The last one's neighbour is known by ARP, and comes into doubt.
        let hello = arp_frame(arp::Operation::Request, [10, 0, 0, 8], [10, 0, 0, 1]);
        twin.shard.on_frame(now, &hello, &mut twin.app);
        for conn in 0..PEERS {
            twin.hear(conn, Flags::SYN, &[]);
            twin.peers[conn].seq += 1;
            twin.take(10);
            twin.now += Duration::from_micros(700);
            twin.hear(conn, Flags::ACK, &[]);
        }
        assert_eq!(twin.app.accepted.len(), PEERS);
        twin
    }

    fn hear(&mut self, conn: usize, flags: Flags, payload: &[u8]) {
        let Peer { ip, port, vlan, seq, heard, stamp } = self.peers[conn];
        let syn = flags.contains(Flags::SYN);
        let ecr = u32::try_from(self.now.as_nanos() / 1_000_000).unwrap();
        let options = Options {
            mss: syn.then_some(1400),
            window_scale: syn.then_some(4),
            sack_permitted: syn,
            timestamps: stamp.map(|val| Timestamps { val, ecr }),
            ..Options::default()
        };
        let header = Header { window: 60_000, options, ..header(flags, (port, PORT), seq, heard) };
        let local = if ip.is_ipv4() { v4(1) } else { v6(1) };
        self.shard.on_frame(self.now, &tcp_frame(ip, local, header, payload, vlan), &mut self.app);
        self.peers[conn].seq += u32::try_from(payload.len()).unwrap();
    }

    fn take(&mut self, most: usize) -> Vec<Sent> {
        let buffer = vec![0xee; self.shard.frame_bytes()];
        let mut batch = Batch { buffer, frames: Vec::new(), most };
        if self.trains {
            self.shard.transmit(self.now, &mut batch);
        } else {
            while let Some(buffer) = batch.buffer()
                && let Some(len) = self.shard.poll_transmit(self.now, buffer)
            {
                batch.push(len, self.shard.checksum_left());
            }
        }
        for (frame, _) in &batch.frames {
            self.told(frame);
        }
        batch.frames
    }

    /// A peer hears a frame.
    fn told(&mut self, frame: &[u8]) {
        let (link, packet) = eth::Header::parse(frame).unwrap();
        let (is_tcp, segment) = match link.ethertype {
            eth::ETHERTYPE_IPV4 => (packet[9] == 6, &packet[20..]),
            eth::ETHERTYPE_IPV6 => (packet[6] == 6, &packet[40..]),
            _ => (false, packet),
        };
        let port = u16::from_be_bytes([segment[2], segment[3]]);
        let Some(peer) = self.peers.iter_mut().find(|peer| is_tcp && peer.port == port) else { return };
        let seq = u32::from_be_bytes(segment[4..8].try_into().unwrap());
        let len = u32::try_from(segment.len() - usize::from(segment[12] >> 4) * 4).unwrap();
        let end = seq.wrapping_add(len).wrapping_add(u32::from(segment[13] & 2) >> 1);
        if peer.heard == 0 || SeqNum::new(peer.heard).before(SeqNum::new(end)) {
            peer.heard = end;
        }
    }

    /// What leaves, for comparing.
    fn apply(&mut self, op: &Op) -> Vec<Sent> {
        let mut frames = Vec::new();
        match *op {
            Op::Send(conn, bytes) => {
                let (id, sent) = (self.app.accepted[conn], &mut self.sent);
                // No two places look the same.
                let data: Vec<u8> = (0..bytes).map(|n| u8::try_from((*sent as usize + n) % 251).unwrap()).collect();
                *sent += 1;
                let _ = self.shard.call(self.now, |io| io.send(id, &data));
            }
            Op::Ack(conn) => self.hear(conn, Flags::ACK, &[]),
            Op::Data(conn, bytes) => self.hear(conn, Flags::ACK, &[7; 500][..bytes]),
            Op::Ping => drop(self.shard.on_frame(self.now, &echo_frame(40), &mut self.app)),
            Op::Knock => {
                let knock = tcp_frame(v4(9), v4(1), header(Flags::ACK, (9, 99), 3, 5), &[], None);
                self.shard.on_frame(self.now, &knock, &mut self.app);
            }
            Op::Stale => self.shard.on_stale_neighbour(self.now, v4(9)),
            Op::Forget => self.shard.on_forgotten_neighbour(v4(9)),
            Op::Learn => self.shard.on_neighbour(v4(9), Some(PEER)),
            Op::Take(most) => frames = self.take(most),
            Op::Pass(micros) => {
                self.now += Duration::from_micros(micros.into());
                self.shard.advance(self.now, &mut self.app);
            }
        }
        frames
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever comes between, and wherever there is no more room: the same frames, and the same shard.
    #[test]
    fn many_at_once_are_the_same(ops in proptest::collection::vec(op(), 1..100), leave: bool) {
        let (mut trains, mut single) = (Twin::new(true, leave), Twin::new(false, leave));
        for op in ops {
            prop_assert_eq!(trains.apply(&op), single.apply(&op), "{:?}", op);
            prop_assert_eq!(trains.shard.counters(), single.shard.counters(), "{:?}", op);
        }
        prop_assert!(format!("{:?}", trains.shard) == format!("{:?}", single.shard), "the shards differ");
    }
}

/// The first segment behind a long rest has its neighbour asked for, and that question goes before the second.
#[test]
fn a_question_goes_before_what_follows() {
    for trains in [true, false] {
        let mut twin = Twin::new(trains, false);
        twin.apply(&Op::Pass(70_000_000));
        twin.apply(&Op::Send(2, 10_000));
        let frames = twin.apply(&Op::Take(100));
        let types: Vec<u16> = frames.iter().map(|(f, _)| eth::Header::parse(f).unwrap().0.ethertype).collect();
        assert_eq!(types[..4], [eth::ETHERTYPE_IPV4, eth::ETHERTYPE_ARP, eth::ETHERTYPE_IPV4, eth::ETHERTYPE_IPV4]);
    }
}
