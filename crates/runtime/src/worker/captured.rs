//! What is captured of a loop.

use super::tests::{acknowledging, ask, from_port, send};
use super::*;
use crate::capture::testing::{Ear, recorder};
use crate::capture::{Request, bpf::Program};
use crossbeam::channel::bounded;
use stack::{ConnId, Io, LocalAddress, ShardConfig};
use xdp::{MemoryConfig, MemoryPort};

const OURS: [u8; 4] = [10, 0, 0, 1];

struct Sink;
impl App for Sink {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
}

struct Bench {
    worker: Worker<MemoryPort, Sink>,
    far: MemoryPort,
    commands: Sender<Command>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let (near, far) = MemoryPort::pair(MemoryConfig::default());
        let own = LocalAddress { ip: OURS.into(), prefix_len: 24, owned: true };
        let config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, 1]), 1500, vec![own], [[1; 16]; 4]);
        let clock = Clock::new();
        let mut shard = Shard::new(config, clock.now()).unwrap();
        shard.listen((OURS, 7).into(), 16).unwrap();
        let ((commands, inbox), (resolve, _)) = (bounded(8), bounded(1));
        let worker = Worker::new(near, shard, Sink, clock, Idle::Adaptive, inbox, resolve).unwrap();
        let now = worker.worked;
        Self { worker, far, commands, now }
    }

    /// Begins to capture.
    fn capture(&mut self, filter: Program, snaplen: u32, comments: bool, buffer_bytes: u32) -> Ear {
        let request = Request { filter: Vec::new(), snaplen, comments, buffer_bytes };
        let (recorder, ear) = recorder(&request, filter);
        let (give, given) = bounded(1);
        give.send(recorder).unwrap();
        self.commands.send(Command::Capture(given)).unwrap();
        self.worker.serve_commands(self.now);
        assert!(give.is_empty());
        ear
    }

    fn turn(&mut self) {
        self.now += Duration::from_micros(10);
        self.worker.turn(self.now).unwrap();
        let mut frames = Vec::new();
        self.far.receive(&mut frames, 64);
        frames.into_iter().for_each(|frame| self.far.recycle(frame));
    }
}

/// A question and its answer: as they came and went, cut, each later than the one before, both counted.
#[test]
fn frames_are_captured_both_ways() {
    let mut bench = Bench::new();
    let mut ear = bench.capture(Program::all(), 30, false, 1 << 16);
    let before = bench.worker.clock.now().as_nanos();
    ask(&mut bench.far);
    bench.turn();
    let records = ear.records();
    assert_eq!(records.len(), 2);
    let [question, answer] = &records[..] else { panic!() };
    assert_eq!((question.sent, question.len, question.bytes.len()), (false, 42, 30));
    assert_eq!((answer.sent, answer.len, answer.bytes.len()), (true, 42, 30));
    assert_eq!(question.bytes[..12], [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2]].concat());
    assert_eq!(answer.bytes[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    // The time of the loops, to which nothing is added here.
    assert!(before <= question.at && question.at <= answer.at && answer.at <= bench.worker.clock.now().as_nanos());
    assert_eq!(ear.counts(), (2, 2, 0));
}

/// Of what a filter does not choose nothing is kept, and it is not counted as lost.
#[test]
fn a_filter_chooses() {
    let mut bench = Bench::new();
    // Ethernet frames of IPv4: the ARP is not one.
    let filter = [(0x28, 0, 0, 12), (0x15, 0, 1, 0x800), (6, 0, 0, 20), (6, 0, 0, 0)];
    let mut ear = bench.capture(Program::check(&filter).unwrap(), 262_144, false, 1 << 16);
    ask(&mut bench.far);
    send(&mut bench.far, &acknowledging(2, 100, 0));
    bench.turn();
    let records = ear.records();
    assert_eq!(
        records.iter().map(|record| (record.sent, record.bytes.len())).collect::<Vec<_>>(),
        [(false, 20), (true, 20)]
    );
    assert_eq!(ear.counts(), (4, 2, 0));
}

/// A ring of two frames: what finds it full is dropped and counted, the loop answers all the same, and the next one that is kept
/// says how many are missing.
#[test]
fn a_full_ring_is_a_counted_drop() {
    let mut bench = Bench::new();
    let room = 24 + 42;
    let mut ear = bench.capture(Program::all(), 262_144, false, 2 * room);
    for _ in 0..5 {
        ask(&mut bench.far);
        bench.turn();
    }
    assert_eq!(bench.worker.shard.counters().arp_in, 5);
    assert_eq!(bench.worker.port.stats().tx_frames, 5);
    assert_eq!(ear.counts(), (10, 10, 8));
    assert_eq!(ear.records().iter().map(|record| record.lost).collect::<Vec<_>>(), [0, 0]);
    ask(&mut bench.far);
    bench.turn();
    // The ring is gone round: the record lies at its end and its beginning.
    let records = ear.records();
    assert_eq!(records.iter().map(|record| (record.lost, record.bytes.len())).collect::<Vec<_>>(), [(8, 42), (0, 42)]);
    assert_eq!(records[0].bytes[..6], [0xff; 6]);
}

/// The states by RFC 9293 section 3.5, as each frame finds and leaves its connection.
#[test]
fn comments_tell_the_connection_s_state() {
    let mut bench = Bench::new();
    ask(&mut bench.far);
    bench.turn();
    let mut ear = bench.capture(Program::all(), 262_144, true, 1 << 16);
    send(&mut bench.far, &acknowledging(2, 100, 0));
    bench.turn();
    let records = ear.records();
    let iss = u32::from_be_bytes(records[1].bytes[38..42].try_into().unwrap());
    let comments = |ear: &mut Ear| ear.records().into_iter().map(|record| record.comment).collect::<Vec<_>>();
    assert_eq!(records.into_iter().map(|record| record.comment).collect::<Vec<_>>(), ["SYN-RECEIVED", "SYN-RECEIVED"]);
    send(&mut bench.far, &acknowledging(16, 101, iss.wrapping_add(1)));
    bench.turn();
    let said = comments(&mut ear);
    assert!(said[0].starts_with("from SYN-RECEIVED to ESTABLISHED, cwnd "), "{said:?}");
    assert!(said[0].contains(", ssthresh none, ") && said[0].contains(", in flight 0, send queue 0, "), "{said:?}");
    send(&mut bench.far, &from_port(9, 17, 101, iss.wrapping_add(1), b"bye"));
    bench.turn();
    let said = comments(&mut ear);
    assert!(said[0].starts_with("from ESTABLISHED to LAST-ACK, "), "{said:?}");
    assert!(said[1].starts_with("LAST-ACK, "), "the application closes at once: {said:?}");
    send(&mut bench.far, &acknowledging(4, 105, 0));
    bench.turn();
    assert_eq!(comments(&mut ear), ["from LAST-ACK to CLOSED"]);
    // A segment of nobody, and its answer.
    send(&mut bench.far, &acknowledging(16, 105, 1));
    bench.turn();
    assert_eq!(comments(&mut ear), ["", ""]);
}

/// A frame is in the ring behind its connection's work, and one that leaves with `--tcb` behind the turn: until then nothing is
/// settled that is newer, or it would be late in the file.
#[test]
fn what_is_settled_is_in_the_ring() {
    let mut bench = Bench::new();
    let ear = bench.capture(Program::all(), 100, true, 1000);
    let now = bench.worker.clock.now().as_nanos();
    assert_eq!(ear.settled(now), now);
    let Worker { captures, shard, clock, .. } = &mut bench.worker;
    let captures = captures.as_mut().unwrap();
    captures.arrives(shard, &[0; 60]);
    let later = clock.now().as_nanos();
    assert!(ear.settled(later) <= now);
    captures.received(shard, &[0; 60], false);
    captures.sends(&[0; 60], None);
    let later = clock.now().as_nanos();
    assert!(ear.settled(later) <= now, "its answer is not there yet");
    captures.sent(shard);
    assert_eq!((ear.settled(later), ear.counts()), (later, (2, 2, 0)));
}

/// Who has enough says so, or is just gone: the loop lets go by itself.
#[test]
fn a_capture_that_nobody_reads_ends() {
    let mut bench = Bench::new();
    let (one, other) =
        (bench.capture(Program::all(), 100, false, 1000), bench.capture(Program::all(), 100, true, 1000));
    bench.worker.serve_commands(bench.now);
    assert!(bench.worker.captures.is_some() && !one.is_abandoned());
    one.close();
    bench.worker.serve_commands(bench.now);
    assert!(bench.worker.captures.is_some() && one.is_abandoned() && !other.is_abandoned());
    drop(other);
    ask(&mut bench.far);
    bench.turn();
    bench.worker.serve_commands(bench.now);
    assert!(bench.worker.captures.is_none());
}

/// As many as there may be; one more ends at once.
#[test]
fn captures_of_a_loop_are_limited() {
    let mut bench = Bench::new();
    let mut ears: Vec<_> = (0..5).map(|_| bench.capture(Program::all(), 100, false, 1000)).collect();
    assert_eq!(ears.iter().map(Ear::is_abandoned).collect::<Vec<_>>(), [false, false, false, false, true]);
    ask(&mut bench.far);
    bench.turn();
    assert!(ears.iter_mut().take(4).all(|ear| ear.records().len() == 2));
}
