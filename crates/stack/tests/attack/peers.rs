//! Peers that open connections, and use them to hold memory or to make work.

use crate::{
    field::{DEAF, ECHO, Field, PATIENCE, Rng, SOURCE, Strike, assert_served, nobody},
    support::{PEER, header, segment_of, tcp_frame},
};
use core::net::IpAddr;
use stack::{Cursor, Duration, ListenOptions, Why};
use wire::{
    SeqNum,
    tcp::{Flags, Header, SackBlocks},
};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A peer by hand: as many of them as there are addresses.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    ip: IpAddr,
    port: u16,
    mss: u16,
    window: u16,
    /// What it sends next, expects next, and the most that was acknowledged of what it sent.
    snd: u32,
    rcv: u32,
    una: u32,
    open: bool,
}

impl Peer {
    /// Numbers begin at 301; the window scale is 2^7, and there are no timestamps.
    pub(crate) fn many(count: usize, port: u16) -> Vec<Self> {
        let ip = |n: usize| IpAddr::from([10, 7, (n >> 8) as u8, n as u8]);
        let peer = |n| Self { ip: ip(n), port, mss: 1460, window: 512, snd: 301, rcv: 0, una: 301, open: false };
        (0..count).map(peer).collect()
    }

    fn syn(&self) -> Vec<u8> {
        let mut syn = header(Flags::SYN, (2000, self.port), 300, 0);
        syn.options.mss = Some(self.mss);
        (syn.options.window_scale, syn.options.sack_permitted) = (Some(7), true);
        tcp_frame(self.ip, IpAddr::from([10, 0, 0, 1]), syn, &[], None)
    }

    fn segment(&self, beyond: u32, data: &[u8]) -> Vec<u8> {
        self.with(beyond, data, |_| {})
    }

    fn with(&self, beyond: u32, data: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let mut segment = header(Flags::ACK, (2000, self.port), self.snd.wrapping_add(beyond), self.rcv);
        segment.window = self.window;
        change(&mut segment);
        tcp_frame(self.ip, IpAddr::from([10, 0, 0, 1]), segment, data, None)
    }

    fn hears(&mut self, to: IpAddr, segment: &Header, len: usize) -> bool {
        if to != self.ip || segment.dst_port != 2000 {
            return false;
        }
        self.una = segment.ack.value();
        if segment.flags.contains(Flags::SYN) {
            (self.rcv, self.open) = (segment.seq.value().wrapping_add(1), true);
        } else if segment.seq.value() == self.rcv && self.window > 0 {
            self.rcv = self.rcv.wrapping_add(len as u32);
        }
        true
    }
}

/// What was sent to the peers: the place of the peer, the segment, and its length.
fn heard(peers: &mut [Peer], strike: &Strike<'_>) -> Vec<(usize, Header, usize)> {
    let mut all = Vec::new();
    for frame in strike.heard {
        let Some((segment, len)) = segment_of(frame) else { continue };
        let n = usize::from(u16::from_be_bytes([frame[32], frame[33]]));
        if let Some(peer) = peers.get_mut(n)
            && peer.hears(IpAddr::from(<[u8; 4]>::try_from(&frame[30..34]).expect("four")), &segment, len)
        {
            all.push((n, segment, len));
        }
    }
    all
}

/// All open their connections.
pub(crate) fn open(field: &mut Field, peers: &mut [Peer]) {
    for peer in peers.iter() {
        field.server.on_neighbour(peer.ip, Some(PEER));
    }
    field.run(ms(20), |strike| {
        if strike.tick == 0 {
            strike.frames.extend(peers.iter().map(Peer::syn));
        }
        for (n, segment, _) in heard(peers, strike) {
            if segment.flags.contains(Flags::SYN) {
                strike.frames.push(peers[n].segment(0, &[]));
            }
        }
    });
    assert!(peers.iter().all(|p| p.open));
}

pub(crate) fn field(pool_bytes: usize) -> Field {
    let mut field = Field::new(false, ListenOptions::default(), |c| c.pool_bytes = pool_bytes);
    field.run(ms(50), nobody);
    field
}

/// Whose window is closed, by `fourwave ss`.
fn held_by_windows(field: &Field) -> usize {
    let (mut all, mut cursor) = (Vec::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        cursor = field.server.list(field.now, at, 1000, &mut all);
    }
    all.iter().filter(|c| c.why == Some(Why::PeerWindow)).count()
}

/// 200 peers that ask for all they can get, have a closed window, and answer every probe.
fn zero_windows(pool: usize) -> (Field, Vec<Peer>) {
    let (mut attacked, mut peers) = (field(pool), Peer::many(200, SOURCE));
    peers.iter_mut().for_each(|p| p.window = 0);
    open(&mut attacked, &mut peers);
    (attacked, peers)
}

fn answer(peers: &mut [Peer], strike: &mut Strike<'_>) {
    for (n, ..) in heard(peers, strike) {
        strike.frames.push(peers[n].segment(0, &[]));
    }
}

/// RFC 1122 section 4.2.2.17: each holds 64 KiB at most, and the client is served. Who takes nothing for the user timeout is
/// given up.
#[test]
fn holders_of_a_zero_window() {
    let (mut attacked, mut peers) = zero_windows(32 << 20);
    let mut quiet = field(32 << 20);
    quiet.run(ms(20), nobody);
    assert_served(attacked.run(ms(1000), |strike| answer(&mut peers, strike)), quiet.run(ms(1000), nobody));
    // 64 KiB each, and the client's.
    assert!(attacked.most_pool_bytes <= 200 * (64 << 10) + (1 << 20), "{}", attacked.most_pool_bytes);
    assert_eq!((held_by_windows(&attacked), attacked.server.connections()), (200, 201));
    attacked.assert_counts(&[("memory_refused", 0), ("tcp_no_memory", 0)]);
    attacked.user.pauses = true;
    attacked.tick = ms(10);
    attacked.run(PATIENCE + ms(5000), |strike| answer(&mut peers, strike));
    attacked.assert_counts(&[("failed_timed_out", 200)]);
    assert_eq!((attacked.server.connections(), attacked.server.usage().pool_bytes), (1, 0));
}

/// The same where they hold more than half of the pool: nothing is kept out of order any more, so that the client pays for each
/// loss on its path; but it has half of its goodput at least, and there is memory for what is in order.
#[test]
fn holders_of_most_of_the_pool() {
    let (mut attacked, mut peers) = zero_windows(16 << 20);
    let mut quiet = field(16 << 20);
    quiet.run(ms(20), nobody);
    let (under, quiet) = (attacked.run(ms(1000), |strike| answer(&mut peers, strike)), quiet.run(ms(1000), nobody));
    assert!(attacked.most_pool_bytes > 8 << 20 && attacked.most_pool_bytes < 16 << 20);
    assert!(under * 2 >= quiet, "{under} bytes under attack, {quiet} without");
    assert!(attacked.count("memory_out_of_order_refused") + attacked.count("memory_growth_held") > 0);
    attacked.assert_counts(&[("memory_refused", 0)]);
}

/// RFC 1122 section 4.2.3.4: 200 peers take a segment of what they asked for every half a second. That is progress, which no
/// timeout ends; so what they hold must be little: 64 KiB, and two congestion windows that have hardly grown.
#[test]
fn slow_readers() {
    const POOL: usize = 32 << 20;
    let (mut quiet, mut attacked, mut peers) = (field(POOL), field(POOL), Peer::many(200, SOURCE));
    peers.iter_mut().for_each(|p| p.window = 12);
    quiet.run(ms(20), nobody);
    open(&mut attacked, &mut peers);
    let mut segments = 0;
    let under = attacked.run(ms(2000), |strike| {
        segments += heard(&mut peers, strike).iter().filter(|(_, _, len)| *len > 0).count();
        if strike.tick % 10_000 == 9_999 {
            strike.frames.extend(peers.iter().map(|p| p.segment(0, &[])));
        }
    });
    assert_served(under, quiet.run(ms(2000), nobody));
    assert!(attacked.most_pool_bytes <= 200 * (64 << 10) + (1 << 20), "{}", attacked.most_pool_bytes);
    // 1,536 bytes of window: a whole segment each time, never the 76 bytes beside it, unless a probe has to be sent.
    assert!((200 * 3..200 * 20).contains(&segments), "{segments}");
    attacked.assert_counts(&[("memory_refused", 0), ("failed", 0)]);
}

/// 300 peers send all but the first byte of what fits into their windows: some 19 MB, and the pool has 8. Half of it is the
/// limit; the client's data in order is taken all the same.
#[test]
fn memory_out_of_order() {
    const POOL: usize = 8 << 20;
    let (mut quiet, mut attacked, mut peers) = (field(POOL), field(POOL), Peer::many(300, ECHO));
    quiet.run(ms(20), nobody);
    open(&mut attacked, &mut peers);
    let under = attacked.run(ms(1000), |strike| {
        heard(&mut peers, strike);
        let beyond = 1 + 1000 * (strike.tick as u32 / 300 % 64);
        strike.frames.push(peers[strike.tick % 300].segment(beyond, &[b'z'; 1000]));
    });
    assert_served(under, quiet.run(ms(1000), nobody));
    let (most, half) = (attacked.most_pool_bytes, POOL as u64 / 2);
    assert!(most >= half / 2 && most <= half + (2 << 20), "{most}");
    assert!(attacked.count("memory_out_of_order_refused") > 0);
    attacked.assert_counts(&[("memory_refused", 0), ("failed", 0)]);
}

/// A peer sends every second byte of its window, 30,000 pieces of one: 64 are kept, with no memory but the chunks they lie in;
/// and what SACK tells of them fits into every ACK.
#[test]
fn every_second_byte() {
    let (mut quiet, mut attacked, mut peers) = (field(8 << 20), field(8 << 20), Peer::many(1, ECHO));
    quiet.run(ms(20), nobody);
    open(&mut attacked, &mut peers);
    let under = attacked.run(ms(1000), |strike| {
        for (_, segment, _) in heard(&mut peers, strike) {
            assert!(segment.len() <= 60);
        }
        for n in 0..2 {
            let beyond = 1 + 2 * ((strike.tick as u32 * 2 + n) % 30_000);
            strike.frames.push(peers[0].segment(beyond, b"z"));
        }
    });
    assert_served(under, quiet.run(ms(1000), nobody));
    assert!(attacked.count("memory_pieces_refused") >= 30_000 - 64 - 256);
    assert!(attacked.most_pool_bytes <= quiet.most_pool_bytes + (256 << 10), "{}", attacked.most_pool_bytes);
}

/// One byte a segment, as fast as they come, to a reader that does not read: 60,000 of them lie in as many bytes, not in as many
/// chunks, and no more than one ACK leaves for each.
#[test]
fn segments_of_one_byte() {
    let (mut quiet, mut attacked, mut peers) = (field(8 << 20), field(8 << 20), Peer::many(1, DEAF));
    quiet.run(ms(20), nobody);
    open(&mut attacked, &mut peers);
    let (mut acks, mut sent) = (0, 0);
    let under = attacked.run(ms(1000), |strike| {
        acks += heard(&mut peers, strike).len();
        for _ in 0..3 {
            strike.frames.push(peers[0].segment(0, b"z"));
            peers[0].snd += 1;
            sent += 1;
        }
    });
    assert_served(under, quiet.run(ms(1000), nobody));
    assert!(acks <= sent, "{acks}");
    // The window was 64 KiB: what fits is kept, and in order.
    assert!(peers[0].una - 301 >= 50_000, "{}", peers[0].una);
    assert!(attacked.most_pool_bytes <= quiet.most_pool_bytes + (128 << 10), "{}", attacked.most_pool_bytes);
}

/// A peer that claims an MSS of 1 is sent segments of 48 bytes (as Linux), not 64 KiB in as many frames.
#[test]
fn an_mss_of_one() {
    let (mut quiet, mut attacked, mut peers) = (field(8 << 20), field(8 << 20), Peer::many(20, SOURCE));
    peers.iter_mut().for_each(|p| (p.mss, p.window) = (1, 1));
    quiet.run(ms(20), nobody);
    open(&mut attacked, &mut peers);
    let (mut frames, mut bytes) = (0, 0);
    let under = attacked.run(ms(500), |strike| {
        for (n, _, len) in heard(&mut peers, strike) {
            (frames, bytes) = (frames + 1, bytes + len);
            strike.frames.push(peers[n].segment(0, &[]));
        }
    });
    assert_served(under, quiet.run(ms(500), nobody));
    assert!(bytes > 10_000 && frames * 40 <= bytes, "{frames} frames with {bytes} bytes");
}

/// RFC 2018 section 8, RFC 6675 section 5: a peer acknowledges nothing any more, and reports other blocks with every ACK: true,
/// overlapping, empty, backward, beyond what was sent. What is sent for 60,000 of those is bounded by what is in flight; nothing
/// is freed, nothing is kept for the blocks, and nobody else notices.
#[test]
fn bombs_of_sack_blocks() {
    let (mut quiet, mut attacked, mut peers) = (field(8 << 20), field(8 << 20), Peer::many(1, SOURCE));
    peers[0].window = 4000;
    quiet.run(ms(20), nobody);
    open(&mut attacked, &mut peers);
    quiet.run(ms(100), nobody);
    // It takes what it is sent, until enough is under way.
    attacked.run(ms(100), |strike| {
        for _ in heard(&mut peers, strike) {
            strike.frames.push(peers[0].segment(0, &[]));
        }
    });
    let (mut rng, mut sent, mut beyond) = (Rng(4), 0, 0);
    let una = peers[0].rcv;
    let under = attacked.run(ms(1000), |strike| {
        for frame in strike.heard {
            let Some((segment, len)) = segment_of(frame).filter(|(h, _)| h.dst_port == 2000) else { continue };
            sent += len;
            beyond = beyond.max(segment.seq.value().wrapping_sub(una) as usize + len);
        }
        for _ in 0..3 {
            let flight = beyond.max(10_000) as u32;
            let mut blocks = SackBlocks::default();
            for _ in 0..4 {
                let (a, b) = (rng.word() % (flight + 100), rng.word() % (flight + 100));
                blocks.push(SeqNum::new(una.wrapping_add(a)), SeqNum::new(una.wrapping_add(b)));
            }
            strike.frames.push(peers[0].with(0, &[], |h| (h.ack, h.options.sack) = (SeqNum::new(una), blocks)));
        }
    });
    assert_served(under, quiet.run(ms(1000), nobody));
    // What is lost leaves again once, and once more with each timeout: after 0.2 and 0.6 s.
    assert!(beyond > 40_000 && sent <= 3 * beyond, "{sent} bytes sent, {beyond} in flight");
    assert!(attacked.count("retransmit_timeouts") <= 2, "{}", attacked.count("retransmit_timeouts"));
    assert!(attacked.most_pool_bytes <= 1 << 20, "{}", attacked.most_pool_bytes);
    assert_eq!((attacked.server.connections(), attacked.count("failed")), (2, 0));
}
