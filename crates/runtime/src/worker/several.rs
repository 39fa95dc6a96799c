//! Several loops, and a network that never delivers to the right one. Turned by hand, in virtual time.

use super::*;
use crate::handoff::PARCELS;
use crossbeam::channel::bounded;
use stack::{ConnId, Error, Io, ListenerId, LocalAddress, Place, ShardConfig};
use std::collections::HashMap;
use std::net::SocketAddr;
use xdp::{MemoryConfig, MemoryPort};

const OURS: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 0, 2];
const STEP: Duration = Duration::from_micros(100);
/// The least retransmission timeout: what is done sooner was done without one.
const MIN_RTO: Duration = Duration::from_millis(200);

/// Opens connections, sends so many bytes on each, compares what comes back and closes first; and echoes on those of others.
#[derive(Debug, Clone, Default)]
struct Talker {
    to: Option<SocketAddr>,
    opens: usize,
    bytes: usize,
    trips: HashMap<ConnId, Trip>,
    accepted: usize,
    /// Those of its own on which everything came back.
    done: usize,
    failed: Vec<Error>,
}

#[derive(Debug, Clone, Default)]
struct Trip {
    sent: usize,
    received: usize,
}

fn byte(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

impl Talker {
    fn opens(opens: usize, to: [u8; 4], bytes: usize) -> Self {
        Self { to: Some((to, 7).into()), opens, bytes, ..Self::default() }
    }

    fn pump(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(trip) = self.trips.get_mut(&conn) else { return };
        let piece: Vec<u8> = (trip.sent..self.bytes).map(byte).collect();
        trip.sent += io.send(conn, &piece).unwrap();
    }
}

impl App for Talker {
    fn on_accept(&mut self, _: &mut Io<'_>, _: ConnId, _: ListenerId) {
        self.accepted += 1;
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.pump(io, conn);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let Some(trip) = self.trips.get_mut(&conn) else { return io.send(conn, data).unwrap_or(data.len()) };
        assert!(
            data.iter().enumerate().all(|(at, came)| *came == byte(trip.received + at)),
            "a byte came back changed"
        );
        trip.received += data.len();
        if trip.received == self.bytes {
            io.close(conn).unwrap();
            self.trips.remove(&conn);
            self.done += 1;
        }
        data.len()
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let (mut piece, ours) = ([0; 2048], self.trips.contains_key(&conn));
        while let Ok(n @ 1..) = if ours { io.read(conn, &mut piece) } else { io.peek(conn, &mut piece) } {
            let taken = self.on_data(io, conn, &piece[..n]);
            if !ours && (io.skip(conn, taken).is_err() || taken < n) {
                return;
            }
        }
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if self.trips.contains_key(&conn) {
            return self.pump(io, conn);
        }
        self.on_readable(io, conn);
        if io.unread(conn) == Ok(0) && io.info(conn).is_ok_and(|info| info.state == stack::State::CloseWait) {
            self.on_peer_closed(io, conn);
        }
    }

    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, error: Option<Error>) {
        // In order it is not told: it is closed here.
        self.failed.push(error.unwrap_or(Error::NotConnected));
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        for _ in 0..std::mem::take(&mut self.opens) {
            let conn = io.connect(self.to.unwrap()).unwrap();
            self.trips.insert(conn, Trip::default());
        }
    }
}

/// Where a frame of the peer goes: to a worker that is not the one, or to several at once.
type Deliver = fn(home: Option<usize>, count: usize) -> Vec<usize>;

/// A flow opens at a worker in turn, and never again gets a frame there.
fn wrong(home: Option<usize>, count: usize) -> Vec<usize> {
    vec![home.map_or(count, |home| home + 1 + count % 2) % 3]
}

/// Three shards of one stack, and a peer.
struct World {
    now: Instant,
    workers: Vec<Worker<MemoryPort, Talker>>,
    cables: Vec<MemoryPort>,
    peer: Shard,
    talker: Talker,
    deliver: Deliver,
    /// Where flows live, by both ports; and how many frames the peer has sent.
    homes: HashMap<[u8; 4], usize>,
    sent: usize,
    /// TCP frames that were delivered.
    delivered: u64,
    turns: Vec<usize>,
}

fn config(ip: [u8; 4], place: Place) -> ShardConfig {
    let own = LocalAddress { ip: ip.into(), prefix_len: 24, owned: true };
    let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, ip[3]]), 1500, vec![own], [[1; 16]; 4]);
    config.place = place;
    config
}

impl World {
    /// `ours` opens on each worker, `talker` on the peer.
    fn new(ours: &Talker, talker: Talker, deliver: Deliver, parcels: usize) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        let (mut workers, mut cables) = (Vec::new(), Vec::new());
        for index in 0..3 {
            let (near, far) = MemoryPort::pair(MemoryConfig::default());
            let mut shard = Shard::new(config(OURS, Place { index, count: 3 }), now).unwrap();
            shard.listen((OURS, 7).into(), 64).unwrap();
            let ((_, commands), (resolve, _)) = (bounded(1), bounded(1));
            let worker = Worker::new(near, shard, ours.clone(), clock, Idle::Adaptive, commands, resolve).unwrap();
            workers.push(worker);
            cables.push(far);
        }
        let ends = Handoff::ring(workers.iter().map(Worker::waker).collect(), parcels);
        workers.iter_mut().zip(ends).for_each(|(worker, end)| worker.set_handoff(end));
        let mut peer = Shard::new(config(PEER, Place::default()), now).unwrap();
        peer.listen((PEER, 7).into(), 64).unwrap();
        let (homes, turns) = (HashMap::new(), vec![0, 1, 2]);
        Self { now, workers, cables, peer, talker, deliver, homes, sent: 0, delivered: 0, turns }
    }

    /// What the peer has to send is delivered, each worker turns once, the peer gets their frames.
    fn step(&mut self) {
        self.talker.on_turn_of(&mut self.peer, self.now);
        self.peer.advance(self.now, &mut self.talker);
        let mut buffer = [0; 1600];
        while let Some(len) = self.peer.poll_transmit(self.now, &mut buffer) {
            self.carry(&buffer[..len]);
        }
        for at in self.turns.clone() {
            self.workers[at].turn(self.now).unwrap();
        }
        let mut frames = Vec::new();
        for (worker, cable) in self.cables.iter_mut().enumerate() {
            cable.receive(&mut frames, usize::MAX);
            for frame in frames.drain(..) {
                let bytes = cable.bytes(&frame);
                if is_tcp(bytes) {
                    let home = *self.homes.entry(flow(bytes, [36, 34])).or_insert(worker);
                    // A frame that was overtaken by the end of its flow is nobody's where it arrived.
                    assert!(home == worker || is_reset(bytes), "a flow is sent for by two shards");
                }
                self.peer.on_frame(self.now, bytes, &mut self.talker);
                cable.recycle(frame);
            }
        }
        self.now += STEP;
    }

    fn carry(&mut self, frame: &[u8]) {
        self.sent += 1;
        let home = if is_tcp(frame) { self.homes.get(&flow(frame, [34, 36])).copied() } else { None };
        for worker in (self.deliver)(home, self.sent) {
            self.delivered += u64::from(is_tcp(frame));
            let cable = &mut self.cables[worker];
            let mut out = cable.allocate().unwrap();
            cable.buffer(&mut out)[..frame.len()].copy_from_slice(frame);
            cable.transmit(out, frame.len()).unwrap();
            cable.flush().unwrap();
        }
    }

    /// Steps until everything came back on so many connections, and all are closed; how long that took.
    fn run(&mut self, connections: usize) -> Duration {
        let began = self.now;
        let over = |world: &Self| {
            let done = world.workers.iter().map(|worker| worker.app.done).sum::<usize>() + world.talker.done;
            done == connections && world.connections() == 0
        };
        while !over(self) {
            self.step();
            assert!(self.now - began < Duration::from_secs(300), "it has come to a standstill");
        }
        self.now - began
    }

    /// Both ends', and those that are half open.
    fn connections(&self) -> usize {
        let shards = self.workers.iter().map(|worker| &worker.shard).chain([&self.peer]);
        shards.map(|shard| shard.connections() + shard.half_open()).sum()
    }

    fn sum(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.iter().map(|worker| counter(worker.shard.counters())).sum()
    }

    fn handoff(&self, counter: impl Fn(&HandoffCounters) -> u64) -> u64 {
        self.workers.iter().map(|worker| counter(&worker.handoff_counters())).sum()
    }

    fn assert_in_order(&self) {
        let failed = self.workers.iter().flat_map(|worker| &worker.app.failed).chain(&self.talker.failed);
        assert_eq!(failed.collect::<Vec<_>>(), [&Error::Reset; 0]);
        assert_eq!(self.connections(), 0);
        self.workers.iter().for_each(|worker| worker.shard.invariants().unwrap());
        self.peer.invariants().unwrap();
    }
}

impl Talker {
    fn on_turn_of(&mut self, shard: &mut Shard, now: Instant) {
        shard.call(now, |io| self.on_turn(io));
    }
}

/// Not ARP.
fn is_tcp(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0]
}

fn is_reset(frame: &[u8]) -> bool {
    frame[47] & 4 > 0
}

/// Two TCP ports, which are at 34 and 36: the IPv4 header has no options.
fn flow(frame: &[u8], [one, two]: [usize; 2]) -> [u8; 4] {
    [frame[one], frame[one + 1], frame[two], frame[two + 1]]
}

/// Twelve connections there and twelve back, a hundred kilobytes echoed on each, and not one frame behind the SYNs comes to
/// where its flow lives; nor does the answer to a question for a MAC address, most of the time.
#[test]
fn every_frame_arrives_at_the_wrong_shard_and_nothing_is_lost() {
    let mut world = World::new(&Talker::opens(4, PEER, 100_000), Talker::opens(12, OURS, 100_000), wrong, PARCELS);
    let took = world.run(24);
    world.assert_in_order();
    assert!(took < MIN_RTO, "{took:?}: something had to be sent again");
    for worker in &world.workers {
        assert_eq!(worker.app.accepted, 4, "each opens what arrives there");
        let stats = worker.port.stats();
        assert_eq!(stats.kernel_rx_dropped, 0);
        assert!(worker.handoff_counters().learnt > 0);
    }
    // Every frame was a stray where it arrived, and was counted as a frame once: where it was processed.
    assert_eq!(world.sum(|c| c.strays_out), world.delivered);
    assert_eq!(world.handoff(|c| c.out), world.delivered);
    // The SYNs; and an acknowledgment that a port delivers later than another one the FIN sent behind it finds nobody.
    let unclaimed = world.sum(|c| c.strays_unclaimed);
    assert!((12..=14).contains(&unclaimed), "{unclaimed}");
    assert_eq!(world.sum(|c| c.strays_in) + unclaimed, world.delivered);
    assert_eq!(world.handoff(|c| c.full), 0);
    let (straight, all) = (world.handoff(|c| c.straight), world.delivered);
    assert!(straight > all / 2, "what is learnt is used: {straight} of {all}");
}

#[test]
fn a_full_queue_is_counted_and_recovered_from() {
    let mut world = World::new(&Talker::opens(1, PEER, 300_000), Talker::opens(3, OURS, 300_000), wrong, 4);
    world.run(6);
    world.assert_in_order();
    assert!(world.handoff(|c| c.full) > 0, "this test did not fill a queue");
}

/// A SYN and its copy at two shards at once, whichever two and whoever turns first: one of them opens.
#[test]
fn a_syn_that_arrives_at_two_shards_opens_one_connection() {
    let to: [Deliver; 4] = [
        |home, _| home.map_or(vec![0, 1], |home| vec![home]),
        |home, _| home.map_or(vec![1, 2], |home| vec![home]),
        |home, _| home.map_or(vec![2, 0], |home| vec![home]),
        |home, _| home.map_or(vec![0, 1, 2], |home| vec![home]),
    ];
    for deliver in to {
        for turns in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut world = World::new(&Talker::default(), Talker::opens(1, OURS, 1000), deliver, PARCELS);
            world.turns = turns.to_vec();
            world.run(1);
            world.assert_in_order();
            assert_eq!(world.sum(|c| c.opened), 1, "{turns:?}");
            assert!(world.handoff(|c| c.contested) > 0);
        }
    }
}

/// The peer uses its only port again, with timestamps that have moved on. The shards remember where the old connection lived,
/// which knows nothing of the new one.
#[test]
fn a_remembered_flow_that_is_gone_is_asked_for_again() {
    let deliver: Deliver = |home, count| vec![home.map_or(0, |_| 1 + count % 2)];
    let mut world = World::new(&Talker::default(), Talker::opens(1, OURS, 10_000), deliver, PARCELS);
    let mut only = config(PEER, Place::default());
    only.ports = 61_000..=61_000;
    world.peer = Shard::new(only, world.now).unwrap();
    world.run(1);
    assert!(world.workers[1].handoff_counters().learnt + world.workers[2].handoff_counters().learnt == 2);
    world.now += Duration::from_secs(5);
    // Now it begins at another shard, and goes on at those that are not it.
    world.homes.clear();
    world.deliver = |home, count| vec![home.map_or(1, |_| count % 2 * 2)];
    world.talker.opens = 1;
    let took = world.run(2);
    world.assert_in_order();
    assert!(took < MIN_RTO, "{took:?}");
    assert_eq!((world.workers[0].app.accepted, world.workers[1].app.accepted), (1, 1));
}

/// A shard that has been told of another MAC address before the others drops what it is handed, and that is no claim: the flow
/// is not remembered to be there, and goes on when all know the address.
#[test]
fn a_frame_that_is_refused_teaches_nothing() {
    let deliver: Deliver = |home, _| vec![home.map_or(2, |_| 0)];
    let mut world = World::new(&Talker::default(), Talker::opens(1, OURS, 10_000), deliver, PARCELS);
    while world.workers[2].app.accepted == 0 {
        world.step();
    }
    // Frames that arrive at the first shard are offered to the second before the third.
    let place = Place { index: 1, count: 3 };
    let other = ShardConfig { mac: MacAddr([2, 0, 0, 0, 0, 99]), ..config(OURS, place) };
    world.workers[1].shard = Shard::new(other, world.now).unwrap();
    let settle = |world: &mut World| (0..20).for_each(|_| world.step());
    settle(&mut world);
    world.workers[0].handoff.as_mut().unwrap().forget_all();
    let (began, seen) = (world.now, world.workers[1].shard.counters().frames_in);
    while world.workers[1].shard.counters().frames_in == seen {
        world.step();
        assert!(world.now - began < Duration::from_secs(5), "nothing is handed to it");
    }
    settle(&mut world);
    let handed = world.workers[1].shard.counters().strays_in;
    assert_eq!((handed, world.workers[0].handoff_counters().learnt), (0, 0));
    world.workers[1].shard = Shard::new(config(OURS, place), world.now).unwrap();
    world.run(1);
    world.assert_in_order();
}

/// The sleeper has no deadline: if nobody wakes it, this never ends.
#[test]
fn a_sleeping_shard_is_woken_by_a_parcel_and_does_not_sleep_on_one() {
    let mut world = World::new(&Talker::default(), Talker::opens(1, OURS, 10), |_, _| vec![0], PARCELS);
    let mut target = world.workers.remove(1);
    std::thread::scope(|scope| {
        let (asleep, is_asleep) = bounded(1);
        scope.spawn(move || {
            let handoff = target.handoff.as_ref().unwrap();
            assert!(handoff.may_sleep());
            asleep.send(()).unwrap();
            target.sleeper.sleep(target.worked, None).unwrap();
            handoff.awake();
            // There is something now.
            assert!(!handoff.may_sleep());
            target.turn(target.worked).unwrap();
            assert_eq!(target.shard.counters().copies_in, 1, "the peer asked who has our address");
        });
        is_asleep.recv().unwrap();
        world.turns = vec![0];
        world.step();
    });
}

/// A SYN is answered by a cookie where it arrives, and everything behind it comes to another shard, which has sent none. The
/// cookie is as good there (its secret is the same), and nobody else knows the connection.
#[test]
fn a_cookie_is_believed_at_another_shard() {
    let mut talker = Talker::opens(1, OURS, 10_000);
    talker.to = Some((OURS, 8).into());
    // The first two frames are the question for a MAC address and the SYN.
    let mut world = World::new(&Talker::default(), talker, |_, count| vec![usize::from(count > 2)], PARCELS);
    for worker in &mut world.workers {
        let options = stack::ListenOptions { syn_cookies: stack::SynCookies::Always, ..64.into() };
        worker.shard.listen((OURS, 8).into(), options).unwrap();
    }
    let began = world.now;
    while world.talker.done == 0 {
        world.homes.clear();
        world.step();
        assert!(world.now - began < Duration::from_secs(5), "it has come to a standstill: {:?}", world.talker.failed);
    }
    let counters = |at: usize| world.workers[at].shard.counters();
    assert_eq!((counters(0).cookies_sent, counters(1).cookies_sent, counters(1).cookies_accepted), (1, 0, 1));
    assert_eq!(world.talker.failed, []);
}
