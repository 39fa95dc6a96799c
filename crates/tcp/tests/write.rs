//! The ways to give bytes to a connection: one slice, several, or a reference. On the wire they are the same.
#![allow(clippy::cast_possible_truncation)]

use bytes::Bytes;
use proptest::prelude::*;
use std::{iter, sync::Arc};
use tcp::{Config, Connection, Emit, Env, Error, Event, Half, HalfOpen, Pool, Settings, Start};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, SackBlocks},
};

/// An endpoint of a passive open, ISS = 0 and IRS = 1000, to a peer whose segments are written by hand.
struct End {
    now: Instant,
    config: Config,
    pool: Pool,
    conn: Connection,
}

type Sent = Vec<(Emit, Vec<u8>)>;

impl End {
    fn new(settings: Settings, pool: usize) -> Self {
        let (config, mut pool) = (Config::new(settings).expect("valid"), Pool::new(pool));
        let now = Instant::ZERO + Duration::from_secs(5);
        let env = Env { now, config: &config, pool: &mut pool };
        let start = Start { iss: SeqNum::new(0), mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
        let mut syn = tcp::testing::segment(Flags::SYN, 1000, 0, &[]);
        syn.header.options.mss = Some(1460);
        syn.header.options.window_scale = Some(7);
        syn.header.options.sack_permitted = true;
        let conn = Connection::from_half_open(&env, start, &HalfOpen::new(&env, start, &syn));
        let mut end = Self { now, config, pool, conn };
        end.acknowledge(1, 0xffff, &[]);
        end
    }

    fn verb<R>(&mut self, f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R) -> R {
        f(&mut self.conn, &mut Env { now: self.now, config: &self.config, pool: &mut self.pool })
    }

    /// The peer acknowledges, and advertises a window of so many 128 octets.
    fn acknowledge(&mut self, ack: u32, window: u16, sack: &[(u32, u32)]) {
        let mut segment = tcp::testing::segment(Flags::ACK, 1001, ack, &[]);
        segment.header.window = window;
        let mut blocks = SackBlocks::default();
        for (from, to) in sack {
            blocks.push(SeqNum::new(*from), SeqNum::new(*to));
        }
        segment.header.options.sack = blocks;
        let outcome = self.verb(|c, env| c.on_segment(env, &segment));
        assert_eq!(outcome.reset, None);
    }

    fn sent(&mut self) -> Sent {
        let mut buffer = vec![0; 2000];
        let segments = iter::from_fn(|| {
            let emit = self.verb(|c, env| c.poll_transmit(env, &mut buffer))?;
            let from = emit.header.len();
            Some((emit, buffer[from..from + emit.payload_len].to_vec()))
        });
        segments.collect()
    }

    fn heard(&mut self) -> Vec<Event> {
        iter::from_fn(|| self.verb(|c, _| c.poll_event())).collect()
    }

    fn fire(&mut self) {
        if let Some(at) = self.conn.poll_timeout() {
            self.now = self.now.max(at);
            let reset = self.verb(Connection::on_timeout);
            assert_eq!(reset, None);
        }
    }

    fn held(&self) -> (u32, u32) {
        (self.pool.chunks_in_use(), self.pool.references())
    }
}

/// Bytes of the application's, and whether anybody refers to them.
#[derive(Clone)]
struct Owned(Arc<Vec<u8>>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Owned {
    fn new(len: usize) -> Self {
        Self(Arc::new((0..len).map(|i| (i % 251) as u8).collect()))
    }
    fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// So many bytes, in one of the ways.
    Write(usize, u8),
    /// The peer acknowledges so much of what is outstanding, in 256ths, and advertises a window.
    Ack(u8, u16),
    /// A duplicate, with a block of what is outstanding, in 256ths.
    Dup(u8, u8),
    Timer,
    Later(u64),
    /// The path takes segments of this size.
    Path(u16),
    Cork(bool),
    Nodelay(bool),
    Shut,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![2 => 0usize..1100, 2 => 1000usize..6000, 1 => 0usize..60_000];
    let window = prop_oneof![4 => Just(0xffffu16), 2 => 0u16..3, 2 => 0u16..200];
    prop_oneof![
        8 => (len, 0u8..8).prop_map(|(n, how)| Op::Write(n, how)),
        6 => (any::<u8>(), window).prop_map(|(part, window)| Op::Ack(part, window)),
        3 => any::<(u8, u8)>().prop_map(|(from, len)| Op::Dup(from, len)),
        3 => Just(Op::Timer),
        2 => (0u64..5000).prop_map(Op::Later),
        1 => (500u16..1400).prop_map(Op::Path),
        1 => any::<bool>().prop_map(Op::Cork),
        1 => any::<bool>().prop_map(Op::Nodelay),
        1 => Just(Op::Shut),
    ]
}

/// Writes `bytes` in one of the ways: 0 and 1 are `send` and `send_more`, and of these each twin makes the same.
fn write(end: &mut End, bytes: &[u8], how: u8) -> Result<usize, Error> {
    match how {
        0 => end.verb(|c, env| c.send(env, bytes)),
        1 => end.verb(|c, env| c.send_more(env, bytes)),
        2 | 3 => {
            let cut = bytes.len() / usize::from(how);
            let parts = [&bytes[..cut], &[], &bytes[cut..cut + cut / 3], &bytes[cut + cut / 3..]];
            end.verb(|c, env| c.send_vectored(env, &parts))
        }
        _ => {
            let mut given = Bytes::from(bytes.to_vec());
            let taken = end.verb(|c, env| c.send_bytes(env, &mut given));
            assert_eq!(given, &bytes[*taken.as_ref().unwrap_or(&0)..], "what is taken is taken from the front");
            taken
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two connections to one peer: the same is written, to one by `send` alone. Every segment, event and timer is the same,
    /// whatever is lost, sent again, cut smaller or held back.
    #[test]
    fn on_the_wire_all_ways_are_the_same(
        ops in proptest::collection::vec(op(), 1..80),
        limit in prop_oneof![Just(16_384u32), Just(100_000), Just(1 << 20)],
    ) {
        let settings = Settings { send_buffer_bytes: limit, ..Settings::default() };
        let [mut one, mut two] = [0; 2].map(|_| End::new(settings.clone(), 64 << 20));
        let (mut una, mut nxt, mut written) = (1u32, 1u32, 0usize);
        for op in ops {
            match op {
                Op::Write(n, how) => {
                    let bytes: Vec<u8> = (written..written + n).map(|i| ((i * 31) >> 3) as u8).collect();
                    let taken = write(&mut one, &bytes, how);
                    prop_assert_eq!(taken, write(&mut two, &bytes, how.min(1) & u8::from(how < 2)));
                    written += taken.unwrap_or(0);
                }
                Op::Ack(part, window) => {
                    una += (u64::from(nxt - una) * u64::from(part) / 255) as u32;
                    one.acknowledge(una, window, &[]);
                    two.acknowledge(una, window, &[]);
                }
                Op::Dup(from, len) => {
                    let [from, len] = [from, len].map(|n| (u64::from(nxt - una) * u64::from(n) / 255) as u32);
                    let block = (una + from, (una + from + len).min(nxt));
                    let blocks = if block.0 > una && block.1 > block.0 { &[block][..] } else { &[] };
                    one.acknowledge(una, 0xffff, blocks);
                    two.acknowledge(una, 0xffff, blocks);
                }
                Op::Timer => {
                    one.fire();
                    two.fire();
                }
                Op::Later(us) => {
                    one.now += Duration::from_micros(us);
                    two.now = one.now;
                }
                Op::Path(mss) => {
                    let until = one.now + Duration::from_secs(100);
                    one.verb(|c, _| c.set_path_mss(mss, until));
                    two.verb(|c, _| c.set_path_mss(mss, until));
                }
                Op::Cork(on) => {
                    one.verb(|c, _| c.set_cork(on));
                    two.verb(|c, _| c.set_cork(on));
                }
                Op::Nodelay(on) => {
                    one.verb(|c, _| c.set_nodelay(on));
                    two.verb(|c, _| c.set_nodelay(on));
                }
                Op::Shut => {
                    one.verb(|c, env| c.shutdown(env, Half::Write));
                    two.verb(|c, env| c.shutdown(env, Half::Write));
                }
            }
            let sent = one.sent();
            prop_assert_eq!(&sent, &two.sent());
            for (emit, payload) in &sent {
                let at = emit.header.seq.value() - 1;
                for (i, byte) in payload.iter().enumerate() {
                    prop_assert_eq!(*byte, (((at as usize + i) * 31) >> 3) as u8, "the stream");
                }
                let end = emit.header.seq.value() + payload.len() as u32 + u32::from(emit.header.flags.contains(Flags::FIN));
                nxt = nxt.max(end);
            }
            prop_assert_eq!(one.heard(), two.heard());
            prop_assert_eq!(one.conn.poll_timeout(), two.conn.poll_timeout());
        }
        one.verb(Connection::release);
        prop_assert_eq!(one.held(), (0, 0));
    }
}

fn open() -> End {
    End::new(Settings { send_buffer_start_bytes: 1 << 20, ..Settings::default() }, 1 << 20)
}

/// Nothing is copied but into the frame, and the reference is dropped with the acknowledgment of its last octet.
#[test]
fn a_reference_is_held_until_it_is_acknowledged() {
    let (mut end, owned) = (open(), Owned::new(10_000));
    let mut bytes = owned.bytes();
    assert_eq!(end.verb(|c, env| c.send_bytes(env, &mut bytes)), Ok(10_000));
    assert!(bytes.is_empty());
    drop(bytes);
    assert_eq!((end.held(), owned.is_held()), ((0, 1), true));
    let payload: Vec<u8> = end.sent().into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!(payload, *owned.0);
    end.acknowledge(5000, 0xffff, &[]);
    end.acknowledge(10_000, 0xffff, &[]);
    assert_eq!((end.held(), owned.is_held()), ((0, 1), true));
    end.acknowledge(10_001, 0xffff, &[]);
    assert_eq!((end.held(), owned.is_held()), ((0, 0), false));
}

/// Whatever ends a connection.
type Over = dyn Fn(&mut End);

#[test]
fn the_end_drops_the_references() {
    let reset = |end: &mut End| {
        let segment = tcp::testing::segment(Flags::RST, 1001, 0, &[]);
        assert_eq!(end.verb(|c, env| c.on_segment(env, &segment)).dropped, None);
    };
    let timeouts = |end: &mut End| {
        for _ in 0..40 {
            end.fire();
            end.sent();
        }
    };
    let ends: [(&str, &Over); 6] = [
        ("abort", &|end| assert!(end.verb(Connection::abort).is_some())),
        ("a linger time of zero", &|end| {
            end.verb(|c, _| c.set_linger(Some(Duration::ZERO)));
            assert!(end.verb(Connection::close).is_some());
        }),
        ("a reset", &reset),
        ("R2", &timeouts),
        ("the path", &|end| end.verb(|c, env| c.fail(env, Error::HostUnreachable))),
        ("the pool", &|end| end.pool = Pool::new(1 << 20)),
    ];
    for (name, over) in ends {
        let (mut end, owned) = (open(), Owned::new(10_000));
        end.verb(|c, env| c.send(env, &[1; 100])).expect("open");
        end.verb(|c, env| c.send_bytes(env, &mut owned.bytes())).expect("open");
        end.sent();
        assert_eq!((end.held(), owned.is_held()), ((1, 1), true), "{name}");
        over(&mut end);
        assert_eq!((end.held(), owned.is_held()), ((0, 0), false), "{name}");
    }
    // A close in order sends it all first.
    let (mut end, owned) = (open(), Owned::new(10_000));
    end.verb(|c, env| c.send_bytes(env, &mut owned.bytes())).expect("open");
    assert_eq!(end.verb(Connection::close), None);
    end.sent();
    assert!(owned.is_held());
    end.acknowledge(10_001, 0xffff, &[]);
    assert!(!owned.is_held());
}

/// A reference that is refused is left as it was.
#[test]
fn who_has_shut_down_keeps_what_is_refused() {
    let (mut end, owned) = (open(), Owned::new(10_000));
    end.verb(|c, env| c.shutdown(env, Half::Write));
    let mut bytes = owned.bytes();
    assert_eq!(end.verb(|c, env| c.send_bytes(env, &mut bytes)), Err(Error::BrokenPipe));
    assert_eq!((bytes.len(), end.held()), (10_000, (0, 0)));
}

/// The send buffer is the limit of what is given by reference, and what is beyond stays with who gave it; the pool is not asked.
#[test]
fn references_count_against_the_send_buffer_alone() {
    let settings = Settings { send_buffer_bytes: 100_000, send_buffer_start_bytes: 100_000, ..Settings::default() };
    let mut end = End::new(settings, 2 * tcp::CHUNK_BYTES);
    let mut other = tcp::ByteQueue::default();
    other.push(&mut end.pool, &[0; 2 * tcp::CHUNK_BYTES]);
    assert_eq!(end.verb(|c, env| c.send(env, &[1; 2000])), Ok(0));
    let owned = Owned::new(150_000);
    let mut bytes = owned.bytes();
    assert_eq!(end.verb(|c, env| c.send_bytes(env, &mut bytes)), Ok(100_000));
    assert_eq!(bytes, &owned.0[100_000..]);
    assert_eq!(end.verb(|c, env| c.send_bytes(env, &mut bytes)), Ok(0));
    assert_eq!((end.held(), bytes.len()), ((2, 1), 50_000));
    // Two thirds are still queued when room is told of (the pool is as full as it was).
    let mut acked = 1;
    while !end.heard().contains(&Event::Writable) {
        let sent = end.sent();
        let (last, payload) = sent.last().expect("the window is open");
        acked = last.header.seq.value() + payload.len() as u32;
        end.acknowledge(acked, 0xffff, &[]);
    }
    assert!((33_000..70_000).contains(&acked), "{acked}");
    other.clear(&mut end.pool);
}

/// Little is copied: two chunks of a pool cost more than one.
#[test]
fn few_bytes_are_copied() {
    for (len, held) in [(1, (1, 0)), (1023, (1, 0)), (1024, (0, 1))] {
        let (mut end, owned) = (open(), Owned::new(len));
        assert_eq!(end.verb(|c, env| c.send_bytes(env, &mut owned.bytes())), Ok(len));
        assert_eq!((end.held(), owned.is_held()), (held, held.1 > 0), "{len}");
        let payload: Vec<u8> = end.sent().into_iter().flat_map(|(_, payload)| payload).collect();
        assert_eq!(payload, *owned.0);
    }
}
