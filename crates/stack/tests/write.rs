//! The verbs that give bytes in several parts or by reference, and the one that reads in place, in frames and callbacks.

mod support;

use stack::{App, Bytes, ConnId, Duration, Error, Instant, Io, ListenerId, Shard};
use support::*;
use wire::tcp::{Flags, Header};

/// Leaves everything unread.
#[derive(Debug, Default)]
struct Keeper {
    accepted: Vec<ConnId>,
    writable: Vec<ConnId>,
}

impl App for Keeper {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.push(conn);
        io.set_nodelay(conn, true).expect("open");
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, _: &[u8]) -> usize {
        0
    }
    fn on_writable(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.writable.push(conn);
    }
}

struct Bench {
    shard: Shard,
    app: Keeper,
    now: Instant,
}

impl Bench {
    fn new(pool_bytes: usize) -> Self {
        let shard = shard(|config| config.pool_bytes = pool_bytes);
        Self { shard, app: Keeper::default(), now: Instant::ZERO + Duration::from_secs(10) }
    }
    /// What is sent, without its link and IP headers and those of TCP, which have no options.
    fn sent(&mut self) -> Vec<(Header, Vec<u8>)> {
        let frames = drain(&mut self.shard, self.now);
        frames.iter().filter_map(|f| segment_of(f).map(|(header, len)| (header, f[f.len() - len..].to_vec()))).collect()
    }
    fn arrive(&mut self, header: Header, payload: &[u8]) -> Vec<(Header, Vec<u8>)> {
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut self.app);
        self.sent()
    }
    /// A peer's connection from `port`, RCV.NXT = 301: its handle and SND.NXT.
    fn open(&mut self, port: u16) -> (ConnId, u32) {
        let mut syn = header(Flags::SYN, (port, PORT), 300, 0);
        syn.options.mss = Some(1460);
        let snd = self.arrive(syn, &[])[0].0.seq.value().wrapping_add(1);
        self.arrive(header(Flags::ACK, (port, PORT), 301, snd), &[]);
        (*self.app.accepted.last().expect("accepted"), snd)
    }
    fn call<R>(&mut self, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        self.shard.call(self.now, f)
    }
    fn advance(&mut self) {
        self.now += Duration::from_millis(1);
        self.shard.advance(self.now, &mut self.app);
    }
}

const PORTS: (u16, u16) = (1000, PORT);

/// With Nagle's algorithm off each `send` is a segment of its own; so is this, and PSH ends it.
#[test]
fn all_parts_are_one_write() {
    let mut bench = Bench::new(1 << 20);
    let (conn, _) = bench.open(1000);
    assert_eq!(bench.call(|io| io.send_vectored(conn, &[b"GET ", b"", b"/ ", b"HTTP/1.1"])), Ok(14));
    let sent = bench.sent();
    assert_eq!((sent.len(), &sent[0].1[..]), (1, &b"GET / HTTP/1.1"[..]));
    assert!(sent[0].0.flags.contains(Flags::PSH));
    assert_eq!(bench.call(|io| io.send_vectored(conn, &[])), Ok(0));
    bench.call(|io| io.close(conn)).expect("open");
    assert_eq!(bench.call(|io| io.send_vectored(conn, &[b"x"])), Err(Error::NotConnected));
    assert_eq!(bench.call(|io| io.send_bytes(conn, &mut Bytes::from_static(b"x"))), Err(Error::NotConnected));
}

#[test]
fn a_reference_goes_from_its_place_into_the_frame() {
    let mut bench = Bench::new(1 << 20);
    let (conn, snd) = bench.open(1000);
    let page = Bytes::from((0..4000).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    bench.call(|io| io.send_more(conn, b"HTTP/1.1 200 OK\r\n\r\n")).expect("open");
    let mut body = page.clone();
    assert_eq!(bench.call(|io| io.send_bytes(conn, &mut body)), Ok(4000));
    assert!(body.is_empty());
    assert_eq!((bench.shard.chunks_in_use(), bench.shard.references()), (1, 1));
    let sent: Vec<u8> = bench.sent().into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!((&sent[..19], &sent[19..]), (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &page[..]));
    assert!(!page.is_unique());
    bench.arrive(header(Flags::ACK, PORTS, 301, snd.wrapping_add(4019)), &[]);
    assert_eq!((bench.shard.chunks_in_use(), bench.shard.references(), page.is_unique()), (0, 0, true));
}

/// A connection that is never heard of again, and a shard that ends with its connections.
#[test]
fn nothing_is_referred_to_behind_the_end() {
    let page = Bytes::from(vec![7; 10_000]);
    let mut bench = Bench::new(1 << 20);
    let (conn, _) = bench.open(1000);
    bench.call(|io| io.send_bytes(conn, &mut page.clone())).expect("open");
    bench.call(|io| io.close(conn)).expect("open");
    for _ in 0..1000 {
        bench.sent();
        let Some(next) = bench.shard.next_wakeup() else { break };
        bench.now = bench.now.max(next);
        bench.shard.advance(bench.now, &mut bench.app);
    }
    assert_eq!((bench.shard.connections(), bench.shard.references(), page.is_unique()), (0, 0, true));
    let (conn, _) = bench.open(1001);
    bench.call(|io| io.send_bytes(conn, &mut page.clone())).expect("open");
    assert!(!page.is_unique());
    drop(bench);
    assert!(page.is_unique());
}

/// The pool has nothing left: what is given by reference needs none of it, what is copied waits for room and hears of it.
#[test]
fn a_scarce_pool_holds_up_copies_alone() {
    let mut bench = Bench::new(16 << 10);
    let (conn, _) = bench.open(1000);
    let greedy = [1001, 1002, 1003, 1004].map(|port| bench.open(port).0);
    for greedy in greedy {
        while bench.call(|io| io.send(greedy, &[1; 2048])) != Ok(0) {}
    }
    assert_eq!(bench.shard.chunks_in_use(), 8);
    let page = Bytes::from(vec![7; 10_000]);
    assert_eq!(bench.call(|io| io.send_bytes(conn, &mut page.clone())), Ok(10_000));
    assert_eq!(bench.call(|io| io.send_bytes(conn, &mut page.slice(..1000))), Ok(0));
    assert_eq!(bench.call(|io| io.send_vectored(conn, &[b"x", b"y"])), Ok(0));
    bench.advance();
    assert_eq!(bench.app.writable, []);
    for greedy in greedy {
        bench.call(|io| io.abort(greedy)).expect("open");
    }
    bench.advance();
    assert_eq!(bench.app.writable.iter().filter(|c| **c == conn).count(), 1);
    // What is held by reference doesn't count.
    assert_eq!(bench.call(|io| io.send_vectored(conn, &[b"x", b"y"])), Ok(2));
}

#[test]
fn reading_in_place() {
    let mut bench = Bench::new(1 << 20);
    let (conn, snd) = bench.open(1000);
    assert_eq!(bench.call(|io| io.read_with(conn, |data| (9, data.len()))), Ok(0));
    bench.arrive(header(Flags::ACK, PORTS, 301, snd), b"hello, ");
    bench.arrive(header(Flags::ACK, PORTS, 308, snd), b"world");
    assert_eq!(bench.call(|io| io.read_with(conn, |data| (0, data.to_vec()))), Ok(b"hello, world".to_vec()));
    assert_eq!(bench.call(|io| io.read_with(conn, |data| (7, data[..5].to_vec()))), Ok(b"hello".to_vec()));
    assert_eq!(bench.call(|io| io.unread(conn)), Ok(5));
    // No more than there is.
    assert_eq!(bench.call(|io| io.read_with(conn, |data| (usize::MAX, data.to_vec()))), Ok(b"world".to_vec()));
    assert_eq!(bench.call(|io| io.unread(conn)), Ok(0));
    bench.call(|io| io.close(conn)).expect("open");
    assert_eq!(bench.call(|io| io.read_with(conn, |_| -> (usize, ()) { unreachable!() })), Err(Error::NotConnected));
}
