//! Two shards hear the same frames, and their applications do the same. One follows trains, knows usual frames and looks at
//! batches beforehand, the other takes each frame the long way: they must be the same all the time.

use super::super::{App, ConnId, Error, Instant, Io, Shard};
use crate::{
    config::{LocalAddress, ShardConfig},
    flow_tag::flow_of,
    listen::{ListenOptions, ListenerId, SynCookies},
};
use core::net::{IpAddr, SocketAddr};
use proptest::prelude::*;
use std::{collections::VecDeque, format, string::String, vec, vec::Vec};
use tcp::{Config, Half, Keepalive, Profile, Settings, SoftError};
use wheel::Duration;
use wire::{
    MacAddr, SeqNum, eth, ipv4, ipv6,
    tcp::{Flags, Header, Options, Timestamps},
};

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const PORT: u16 = 80;
/// Connections: two of IPv4 with timestamps, one without them, two of IPv6, and one whose port differs from the first one's only.
const FLOWS: usize = 5;

fn of_flow(flow: usize) -> (IpAddr, SocketAddr, bool) {
    let v4 = |n| IpAddr::from([10, 0, 0, n]);
    let v6 = |n| IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, n]);
    match flow {
        0 => (v4(1), SocketAddr::new(v4(9), 1000), true),
        // The same ports: the first look takes it for the same flow.
        1 => (v4(1), SocketAddr::new(v4(8), 1000), true),
        2 => (v4(1), SocketAddr::new(v4(9), 1001), false),
        3 => (v6(1), SocketAddr::new(v6(9), 1000), true),
        _ => (v6(1), SocketAddr::new(v6(9), 1001), false),
    }
}

/// What the application does when it is called, or of itself.
#[derive(Debug, Clone, Copy)]
enum Act {
    Nothing,
    Send(usize),
    Leave(usize),
    Read(usize),
    Close,
    Abort,
    Shutdown(bool),
    Linger,
    Keepalive(bool),
    Profile(Profile),
    Connect,
}

/// How a frame differs from the next in order.
#[derive(Debug, Clone)]
struct Say {
    flow: usize,
    seq: i32,
    len: usize,
    flags: u8,
    ack: (bool, i32),
    window: u16,
    age: Option<i32>,
    /// Milliseconds since what it echoes was sent.
    echo: u32,
    tos: u8,
    /// A bit that is flipped on the way, and a frame that is cut or padded.
    flip: Option<usize>,
    longer: i32,
    ttl: u8,
    mac: u8,
    options: u8,
    /// So many behind each other.
    times: usize,
}

#[derive(Debug, Clone)]
enum Op {
    Say(Say),
    Act(usize, Act),
    Turn,
    Pass(u32),
    /// Frames come while the interface has another MAC address, or none of IP.
    Away(Say, bool),
}

fn mostly<T: Clone + core::fmt::Debug + 'static>(
    usual: T,
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![14 => Just(usual), 1 => other]
}

fn act() -> impl Strategy<Value = Act> {
    let profile = prop_oneof![Just(Profile::Balanced), Just(Profile::Latency), Just(Profile::Throughput)];
    prop_oneof![
        60 => Just(Act::Nothing),
        10 => (1usize..4000).prop_map(Act::Send),
        10 => (0usize..1500).prop_map(Act::Leave),
        10 => (0usize..5000).prop_map(Act::Read),
        1 => Just(Act::Close),
        1 => Just(Act::Abort),
        1 => any::<bool>().prop_map(Act::Shutdown),
        1 => Just(Act::Linger),
        1 => any::<bool>().prop_map(Act::Keepalive),
        1 => profile.prop_map(Act::Profile),
        1 => Just(Act::Connect),
    ]
}

fn say() -> impl Strategy<Value = Say> {
    let flags = prop_oneof![
        20 => Just(Flags::ACK.bits()),
        10 => Just((Flags::ACK | Flags::PSH).bits()),
        1 => Just((Flags::ACK | Flags::FIN).bits()),
        1 => Just((Flags::ACK | Flags::URG).bits()),
        1 => Just((Flags::ACK | Flags::CWR).bits()),
        1 => any::<u8>(),
    ];
    let numbers = (
        0..FLOWS,
        mostly(0, prop_oneof![-3000..3000, -2..2]),
        prop_oneof![1 => Just(0usize), 6 => 1usize..1400, 2 => 0usize..40, 6 => Just(536)],
        flags,
        (mostly(true, Just(false)), mostly(0, -3..3)),
        mostly(60_000, prop_oneof![Just(0), any::<u16>()]),
        mostly(Some(0), proptest::option::of(-3..3)),
        prop_oneof![4 => Just(0u32), 1 => 0u32..500],
    );
    let rest = (
        mostly(0, prop_oneof![Just(3), any::<u8>()]),
        mostly(None, (0usize..12_000).prop_map(Some)),
        mostly(0, -3..30),
        mostly(64, any::<u8>()),
        mostly(9, any::<u8>()),
        mostly(0, any::<u8>()),
        prop_oneof![3 => Just(1usize), 4 => 2usize..12],
    );
    (numbers, rest).prop_map(|((flow, seq, len, flags, ack, window, age, echo), rest)| {
        let (tos, flip, longer, ttl, mac, options, times) = rest;
        Say { flow, seq, len, flags, ack, window, age, echo, tos, flip, longer, ttl, mac, options, times }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => say().prop_map(Op::Say),
        8 => (0..FLOWS, act()).prop_map(|(flow, act)| Op::Act(flow, act)),
        30 => Just(Op::Turn),
        20 => (1u32..3000).prop_map(Op::Pass),
        1 => (1u32..2_000_000).prop_map(Op::Pass),
        2 => (say(), any::<bool>()).prop_map(|(say, mac)| Op::Away(say, mac)),
    ]
}

/// Does what it is told to, one act for each call, and writes down what it hears.
#[derive(Debug, Default)]
struct Actor {
    acts: Vec<Act>,
    calls: usize,
    conns: Vec<ConnId>,
    said: Vec<String>,
}

impl Actor {
    fn act(&mut self, io: &mut Io<'_>, conn: ConnId, act: Act) {
        let done = match act {
            Act::Nothing | Act::Leave(_) => return,
            Act::Send(n) => format!("{:?}", io.send(conn, &[7; 4000][..n])),
            Act::Read(n) => format!("{:?}", io.read(conn, &mut [0; 5000][..n])),
            Act::Close => format!("{:?}", io.close(conn)),
            Act::Abort => format!("{:?}", io.abort(conn)),
            Act::Shutdown(read) => format!("{:?}", io.shutdown(conn, if read { Half::Read } else { Half::Write })),
            Act::Linger => format!("{:?}", io.set_linger(conn, Some(Duration::from_secs(1)))),
            Act::Keepalive(on) => format!("{:?}", io.set_keepalive(conn, on.then(Keepalive::default))),
            Act::Profile(profile) => format!("{:?}", io.set_profile(conn, profile)),
            Act::Connect => format!("{:?}", io.connect(SocketAddr::new([10, 0, 0, 9].into(), 5000))),
        };
        self.said.push(done);
    }

    fn next(&mut self) -> Act {
        let act = self.acts.get(self.calls % self.acts.len().max(1)).copied().unwrap_or(Act::Nothing);
        self.calls += 1;
        act
    }

    fn hear(&mut self, io: &mut Io<'_>, conn: ConnId, what: String) -> Act {
        self.said.push(what);
        let act = self.next();
        self.act(io, conn, act);
        act
    }
}

impl App for Actor {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.conns.push(conn);
        self.said.push(format!("accepted {conn:?}"));
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let act = self.hear(io, conn, format!("{conn:?} has {data:?}"));
        if let Act::Leave(left) = act { data.len().saturating_sub(left) } else { data.len() }
    }
    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.hear(io, conn, format!("{conn:?} is readable"));
    }
    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.hear(io, conn, format!("{conn:?} is writable"));
    }
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.hear(io, conn, format!("{conn:?}: the peer has closed"));
    }
    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.said.push(format!("{conn:?} is closed: {error:?}"));
    }
    fn on_urgent(&mut self, io: &mut Io<'_>, conn: ConnId, octets: u32) {
        self.hear(io, conn, format!("{conn:?}: {octets} are urgent"));
    }
    fn on_soft_error(&mut self, _: &mut Io<'_>, conn: ConnId, error: SoftError) {
        self.said.push(format!("{conn:?}: {error:?}"));
    }
}

/// What the peer of a flow goes by where there is no connection (any more).
#[derive(Debug, Clone, Copy)]
struct Known {
    rcv_nxt: SeqNum,
    snd_una: SeqNum,
    snd_max: SeqNum,
    recent: Option<u32>,
}

struct Twin {
    shard: Shard,
    app: Actor,
    follows: bool,
    followed: usize,
    taken: usize,
    /// The last frames, which are taken for those that come next: of those that come others were looked at, and long before.
    last: VecDeque<Vec<u8>>,
}

impl Twin {
    fn new(acts: &[Act], (most_awake, pool_bytes): (u32, usize), follows: bool) -> Self {
        let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned: false };
        let ours = vec![address(of_flow(0).0, 24), address(of_flow(3).0, 64)];
        let mut config = ShardConfig::new(OURS, 1500, ours, [[7; 16]; 4]);
        config.pool_bytes = pool_bytes;
        // A window that is soon full.
        let settings = Settings { receive_buffer_bytes: 8192, receive_buffer_start_bytes: 8192, ..Settings::default() };
        config.tcp = Config::new(settings).expect("valid settings");
        // The others rest when they can.
        config.most_awake = most_awake;
        let mut shard = Shard::new(config, Instant::ZERO).expect("a valid configuration");
        for flow in [0, 3] {
            let options = ListenOptions { syn_cookies: SynCookies::Never, ..16.into() };
            shard.listen(SocketAddr::new(of_flow(flow).0, PORT), options).expect("free");
        }
        for flow in 0..FLOWS {
            shard.on_neighbour(of_flow(flow).1.ip(), Some(PEER));
        }
        Self {
            shard,
            app: Actor { acts: acts.to_vec(), ..Actor::default() },
            follows,
            followed: 0,
            taken: 0,
            last: VecDeque::new(),
        }
    }

    fn take(&mut self, now: Instant, frame: &[u8]) {
        if !self.follows {
            self.shard.on_any_frame(now, frame, &mut self.app);
            return;
        }
        if self.taken.is_multiple_of(4) {
            self.shard.look_ahead(self.last.iter().map(Vec::as_slice));
        }
        self.taken += 1;
        self.last.push_front(frame.to_vec());
        self.last.truncate(8);
        if let Some(flow) = flow_of(frame) {
            assert_eq!(super::super::ahead::hint(frame), Some(flow));
        }
        let before = self.shard.follower.followed;
        self.shard.on_frame(now, frame, &mut self.app);
        self.followed += self.shard.follower.followed - before;
    }

    fn turn(&mut self, now: Instant) {
        self.shard.advance(now, &mut self.app);
        let mut buffer = vec![0; self.shard.frame_bytes()];
        while let Some(len) = self.shard.poll_transmit(now, &mut buffer) {
            self.app.said.push(format!("sent {:?}", &buffer[..len]));
        }
    }

    fn conn(&self, flow: usize) -> Option<ConnId> {
        let (ours, peer, _) = of_flow(flow);
        let key = crate::flow::FlowKey::new(SocketAddr::new(ours, PORT), peer);
        (0..self.shard.conns.slots())
            .find(|slot| self.shard.conns.key(*slot) == Some(key))
            .map(|slot| self.shard.id(slot))
    }

    fn known(&mut self, flow: usize) -> Option<Known> {
        let slot = self.conn(flow)?.slot;
        let numbers = self.shard.entry(slot)?.conn.numbers();
        let (rcv_nxt, snd_una, snd_max) = (numbers.rcv_nxt, numbers.snd_una, numbers.snd_max);
        Some(Known { rcv_nxt, snd_una, snd_max, recent: numbers.ts_recent })
    }

    /// All there is to see.
    fn state(&mut self) -> Vec<String> {
        let mut said = core::mem::take(&mut self.app.said);
        let shard = &self.shard;
        said.push(format!("{:?} {:?} {:?}", shard.counters, shard.next_wakeup(), shard.dirty));
        said.push(format!("{:?}", shard.conns));
        said
    }
}

fn frame(say: &Say, header: Header, payload: &[u8]) -> Vec<u8> {
    let (ours, peer, _) = of_flow(say.flow);
    let mut segment = vec![0; header.len()];
    segment.extend(payload);
    header.emit(peer.ip(), ours, &mut segment);
    let ethertype = if ours.is_ipv4() { eth::ETHERTYPE_IPV4 } else { eth::ETHERTYPE_IPV6 };
    let link = eth::Header { dst: OURS, src: MacAddr([2, 0, 0, 0, 0, say.mac]), vlan: None, ethertype };
    let ip_len = if ours.is_ipv4() { ipv4::Header::LEN } else { ipv6::Header::LEN };
    let mut frame = vec![0; link.len() + ip_len];
    link.emit(&mut frame);
    let out = &mut frame[link.len()..];
    match (peer.ip(), ours) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
            src,
            dst,
            protocol: 6,
            ttl: say.ttl,
            tos: say.tos,
            ident: 7,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
        }
        .emit(segment.len(), out),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
            src,
            dst,
            next_header: 6,
            hop_limit: say.ttl,
            traffic_class: say.tos,
            flow_label: 0,
            fragment: None,
        }
        .emit(segment.len(), out),
        _ => unreachable!("one family"),
    }
    frame.extend(segment);
    if let Some(bit) = say.flip {
        let bit = bit % (frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
    }
    let len = frame.len().saturating_add_signed(say.longer as isize);
    frame.resize(len, 0);
    frame
}

/// Our timestamp clock adds an offset, which the peer learns from what it is sent.
fn echo(twin: &mut Twin, flow: usize, now: Instant, ago: u32) -> u32 {
    let Some(slot) = twin.conn(flow).map(|conn| conn.slot) else { return 0 };
    let Some(key) = twin.shard.conns.key(slot) else { return 0 };
    let offset = twin.shard.isn.timestamp_offset(&key);
    let ms = u32::try_from(now.as_nanos() / 1_000_000).expect("a short test");
    offset.wrapping_add(ms).wrapping_sub(ago)
}

/// The frame that is said, the nth of some.
fn next_frame(one: &mut Twin, other: &mut Twin, known: &mut Known, now: Instant, say: &Say, nth: usize) -> Vec<u8> {
    let flow = say.flow;
    // Who is asked for wakes.
    let _ = other.known(flow);
    *known = one.known(flow).unwrap_or(*known);
    let Known { rcv_nxt, snd_una, snd_max, recent } = *known;
    let val = say.age.map(|age| recent.unwrap_or(1000).wrapping_add_signed(age));
    let ecr = echo(one, flow, now, say.echo);
    // What is odd about it is odd about the middle one.
    let odd = nth == say.times / 2;
    let (usual, all) = (Flags::ACK, snd_max.since(snd_una));
    let options = Options {
        timestamps: val.filter(|_| of_flow(flow).2).map(|val| Timestamps { val, ecr }),
        sack_permitted: odd && say.options == 1,
        mss: (odd && say.options == 2).then_some(1460),
        ..Options::default()
    };
    let ack = snd_una + if say.ack.0 { all } else { 0 };
    let header = Header {
        src_port: of_flow(flow).1.port(),
        dst_port: PORT,
        seq: SeqNum::new(rcv_nxt.value().wrapping_add_signed(if odd { say.seq } else { 0 })),
        ack: SeqNum::new(ack.value().wrapping_add_signed(if odd { say.ack.1 } else { 0 })),
        flags: if odd { Flags::from_bits(say.flags) } else { usual },
        window: if odd { say.window } else { 60_000 },
        urgent: 3,
        options,
    };
    let plain = Say { flip: None, longer: 0, mac: 9, ttl: 64, ..say.clone() };
    let bytes: Vec<u8> = (0..say.len).map(|n| (n + nth).to_le_bytes()[0]).collect();
    frame(if odd { say } else { &plain }, header, &bytes)
}

fn run(ops: &[Op], acts: &[Act], limits: (u32, usize)) -> Result<usize, TestCaseError> {
    let (mut one, mut other) = (Twin::new(acts, limits, true), Twin::new(acts, limits, false));
    let start =
        Known { rcv_nxt: SeqNum::new(300), snd_una: SeqNum::new(0), snd_max: SeqNum::new(0), recent: Some(1000) };
    let mut known = [start; FLOWS];
    let mut now = Instant::ZERO + Duration::from_secs(10);
    let mut both = |now, op: &Op| -> Result<usize, TestCaseError> {
        if let Op::Say(Say { flow, .. }) | Op::Away(Say { flow, .. }, _) = op {
            for twin in [&mut one, &mut other] {
                open(twin, now, *flow);
            }
        }
        if let Op::Away(_, mac) = op {
            for twin in [&mut one, &mut other] {
                if *mac { twin.shard.set_mac(now, PEER) } else { twin.shard.set_present(&[]) }
            }
        }
        let times = if let Op::Say(say) = op { say.times } else { 1 };
        for nth in 0..times {
            match op {
                Op::Say(say) | Op::Away(say, _) => {
                    let frame = next_frame(&mut one, &mut other, &mut known[say.flow], now, say, nth);
                    one.take(now, &frame);
                    other.take(now, &frame);
                }
                Op::Act(flow, act) => {
                    for twin in [&mut one, &mut other] {
                        let Some(conn) = twin.conn(*flow) else { continue };
                        let app = &mut twin.app;
                        twin.shard.call(now, |io| app.act(io, conn, *act));
                    }
                }
                Op::Turn | Op::Pass(_) => {
                    one.turn(now);
                    other.turn(now);
                }
            }
        }
        if let Op::Away(..) = op {
            for twin in [&mut one, &mut other] {
                twin.shard.set_mac(now, OURS);
                twin.shard.set_present(&[of_flow(0).0, of_flow(3).0]);
            }
        }
        prop_assert_eq!(one.state(), other.state());
        prop_assert_eq!(other.followed, 0);
        Ok(one.followed)
    };
    let mut followed = 0;
    for op in ops {
        if let Op::Pass(micros) = op {
            now += Duration::from_micros((*micros).into());
        }
        followed = both(now, op)?;
    }
    Ok(followed)
}

/// All connections in full, and memory for all they can hold.
const PLENTY: (u32, usize) = (100, 1 << 18);

/// Ten segments in order, with nothing unusual about them.
fn usual(flow: usize) -> Say {
    Say {
        flow,
        seq: 0,
        len: 536,
        flags: Flags::ACK.bits(),
        ack: (true, 0),
        window: 60_000,
        age: Some(1),
        echo: 0,
        tos: 0,
        flip: None,
        longer: 0,
        ttl: 64,
        mac: 9,
        options: 0,
        times: 10,
    }
}

/// A connection is opened, unless there is one.
fn open(twin: &mut Twin, now: Instant, flow: usize) {
    if twin.conn(flow).is_some() {
        return;
    }
    let say = Say { len: 0, times: 1, ..usual(flow) };
    let (ours, peer, stamped) = of_flow(flow);
    let timestamps = stamped.then_some(Timestamps { val: 1000, ecr: 0 });
    let options =
        Options { mss: Some(1460), window_scale: Some(2), sack_permitted: true, timestamps, ..Options::default() };
    let header = Header {
        src_port: peer.port(),
        dst_port: PORT,
        seq: SeqNum::new(u32::MAX - 9000),
        ack: SeqNum::new(0),
        flags: Flags::SYN,
        window: 60_000,
        urgent: 0,
        options,
    };
    twin.take(now, &frame(&say, header, &[]));
    let mut buffer = vec![0; twin.shard.frame_bytes()];
    while let Some(len) = twin.shard.poll_transmit(now, &mut buffer) {
        let at = if ours.is_ipv4() { 34 } else { 54 };
        let Ok(segment) = wire::tcp::Segment::parse(&buffer[at..len], ours, peer.ip()) else { continue };
        if !segment.header.flags.contains(Flags::SYN) {
            continue;
        }
        let options = Options {
            timestamps: segment.header.options.timestamps.map(|t| Timestamps { val: 1000, ecr: t.val }),
            ..Options::default()
        };
        let (seq, ack) = (header.seq + 1, segment.header.seq + 1);
        let header = Header { seq, ack, flags: Flags::ACK, options, ..header };
        twin.take(now, &frame(&say, header, &[]));
        break;
    }
}

proptest! {
    /// Whatever comes, in whatever order, and whatever the application does about it.
    #[test]
    fn who_follows_a_train_is_where_the_long_way_leads(
        ops in proptest::collection::vec(op(), 1..150),
        acts in proptest::collection::vec(act(), 1..60),
        most_awake in prop_oneof![Just(0u32), Just(100)],
        // One that the connections can fill.
        pool_bytes in prop_oneof![3 => Just(PLENTY.1), 1 => Just(1 << 14)],
    ) {
        run(&ops, &acts, (most_awake, pool_bytes))?;
    }
}

/// Segments in order behind one another, with and without data of ours in between: but for the first two they all go the short
/// way, and go on doing so behind a turn.
#[test]
fn what_is_usual_is_followed() {
    for flow in 0..FLOWS {
        let usual = usual(flow);
        let turn = [Op::Turn, Op::Pass(1000)];
        let ops: Vec<Op> = (0..3)
            .flat_map(|_| [Op::Say(usual.clone())].into_iter().chain(turn.clone()))
            .chain([Op::Act(flow, Act::Send(100)), Op::Turn, Op::Say(usual.clone()), Op::Turn])
            .collect();
        // Of IPv6 a handshake's frames are long enough to be seen as the first two, with timestamps.
        let learnt = [2, 2, 2, 0, 1][flow];
        assert_eq!(run(&ops, &[Act::Nothing], PLENTY).expect("the same"), 40 - learnt, "flow {flow}");
        // What is corrupt goes the long way, and the train is there yet.
        let corrupt = Say { flip: Some(700), times: 1, ..usual.clone() };
        let one = Say { times: 1, ..usual.clone() };
        let ops: Vec<Op> = [usual.clone(), corrupt, one.clone(), one].map(Op::Say).into();
        assert_eq!(run(&ops, &[Act::Nothing], PLENTY).expect("the same"), 12 - learnt, "flow {flow}");
    }
}

/// However many frames of a batch are one connection's, the next one's is found where it was looked at.
#[test]
fn who_comes_behind_a_train_was_looked_at() {
    let now = Instant::ZERO + Duration::from_secs(10);
    let mut twins = [false, false, true].map(|follows| Twin::new(&[Act::Nothing], PLENTY, follows));
    let flows = [2, 0, 4];
    for twin in &mut twins {
        flows.iter().for_each(|flow| open(twin, now, *flow));
    }
    let [one, other, twin] = &mut twins;
    let mut frames = Vec::new();
    for flow in flows {
        // As many as its window takes.
        let say = Say { times: 12, ..usual(flow) };
        let mut known = one.known(flow).expect("it is open");
        for nth in 0..say.times {
            frames.push(next_frame(one, other, &mut known, now, &say, nth));
            one.take(now, &frames[frames.len() - 1]);
        }
    }
    let received = |twin: &Twin| twin.app.said.iter().filter(|said| said.contains("has")).count();
    let before = received(twin);
    twin.shard.look_ahead(frames.iter().map(Vec::as_slice));
    assert_eq!(twin.shard.ahead.left(), flows.len(), "one for each train");
    for frame in &frames {
        twin.shard.on_frame(now, frame, &mut twin.app);
    }
    assert_eq!((received(twin) - before, twin.shard.ahead.left()), (frames.len(), 0));
}

/// Somebody else's SYN, or a connection that comes, does not end a train; a connection that goes does, as it may change places.
#[test]
fn a_train_goes_on_when_others_come() {
    let one = Say { times: 1, ..usual(0) };
    let learnt = [Op::Say(usual(0)), Op::Turn];
    // Opened, but for nothing that is said.
    let silent = Say { times: 0, ..usual(2) };
    let comes: Vec<Op> = learnt.iter().cloned().chain([Op::Say(silent.clone()), Op::Say(one.clone())]).collect();
    assert_eq!(run(&comes, &[Act::Nothing], PLENTY).expect("the same"), 8 + 1);
    let goes = [Op::Say(silent), Op::Say(usual(0)), Op::Act(2, Act::Abort), Op::Turn, Op::Say(one)];
    assert_eq!(run(&goes, &[Act::Nothing], PLENTY).expect("the same"), 8);
}
