//! The loop over a device that misbehaves.

use super::*;
use crossbeam::channel::bounded;
use stack::{LocalAddress, ShardConfig};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use xdp::{MemoryConfig, MemoryPort};

const OURS: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 0, 2];

struct Nothing;
impl App for Nothing {
    fn on_data(&mut self, _: &mut stack::Io<'_>, _: stack::ConnId, data: &[u8]) -> usize {
        data.len()
    }
}

#[derive(Debug, Default)]
struct Link {
    down: AtomicBool,
    gone: AtomicBool,
    /// Times the device was asked to send.
    flushes: AtomicUsize,
    /// Frames longer than this are refused; 0: none.
    longest: AtomicUsize,
}

/// A port in memory whose link can be cut.
struct Device(MemoryPort, Arc<Link>);

impl Port for Device {
    fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        self.0.receive(out, max)
    }
    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.0.bytes(frame)
    }
    fn buffer<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.0.buffer(frame)
    }
    fn allocate(&mut self) -> Option<Frame> {
        self.0.allocate()
    }
    fn recycle(&mut self, frame: Frame) {
        self.0.recycle(frame);
    }
    fn transmit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        if len > self.frame_bytes() { Err(frame) } else { self.0.transmit(frame, len) }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.1.flushes.fetch_add(1, Ordering::Relaxed);
        if self.needs_flush() {
            self.check()?;
        }
        self.0.flush()
    }
    fn needs_flush(&self) -> bool {
        self.0.needs_flush()
    }
    fn check(&self) -> io::Result<()> {
        match (self.1.gone.load(Ordering::Relaxed), self.1.down.load(Ordering::Relaxed)) {
            (true, _) => Err(io::Error::from_raw_os_error(6)),
            (_, true) => Err(io::ErrorKind::NetworkDown.into()),
            _ => Ok(()),
        }
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn frame_bytes(&self) -> usize {
        let longest = self.1.longest.load(Ordering::Relaxed);
        if longest > 0 { longest } else { self.0.frame_bytes() }
    }
    fn stats(&self) -> PortStats {
        self.0.stats()
    }
}

/// A worker that owns an address, its link, the other end of it, and when it began.
fn worker() -> (Worker<Device, Nothing>, Arc<Link>, MemoryPort, Instant) {
    worker_at(true)
}

/// The same, or of an address that it shares with the kernel.
fn worker_at(owned: bool) -> (Worker<Device, Nothing>, Arc<Link>, MemoryPort, Instant) {
    let (near, far) = MemoryPort::pair(MemoryConfig::default());
    let link = Arc::new(Link::default());
    let own = LocalAddress { ip: OURS.into(), prefix_len: 24, owned };
    let config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, 1]), 1500, vec![own], [[1; 16]; 4]);
    let clock = Clock::new();
    let shard = Shard::new(config, clock.now()).unwrap();
    let device = Device(near, Arc::clone(&link));
    let ((_, commands), (resolve, _)) = (bounded(1), bounded(1));
    let worker = Worker::new(device, shard, Nothing, clock, Idle::Adaptive, commands, resolve).unwrap();
    let began = worker.worked;
    (worker, link, far, began)
}

/// Asks who has our address (RFC 826): there is one frame to answer with.
pub(super) fn ask(far: &mut MemoryPort) {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame.extend(PEER);
    frame.extend([0; 6]);
    frame.extend(OURS);
    let mut out = far.allocate().unwrap();
    far.buffer(&mut out)[..frame.len()].copy_from_slice(&frame);
    far.transmit(out, frame.len()).unwrap();
    far.flush().unwrap();
}

fn answers(far: &mut MemoryPort) -> usize {
    let mut frames = Vec::new();
    let count = far.receive(&mut frames, 64);
    frames.into_iter().for_each(|frame| far.recycle(frame));
    count
}

#[test]
fn a_link_that_is_down_is_tried_at_intervals_and_what_is_queued_goes_when_it_is_up() {
    let (mut worker, link, mut far, began) = worker();
    link.down.store(true, Ordering::Relaxed);
    ask(&mut far);
    assert!(worker.turn(began).unwrap());
    let flushes = || link.flushes.load(Ordering::Relaxed);
    let first = flushes();
    for ms in 1..100 {
        worker.turn(began + Duration::from_millis(ms)).unwrap();
    }
    assert_eq!(flushes(), first, "a device that is down was asked again and again");
    // A loop with something to send does not spin meanwhile: it sleeps until the next try.
    let real = std::time::Instant::now();
    worker.rest(began + Duration::from_millis(60), false).unwrap();
    assert!(real.elapsed() >= std::time::Duration::from_millis(30), "{:?}", real.elapsed());
    worker.turn(began + Duration::from_millis(100)).unwrap();
    assert_eq!(answers(&mut far), 0);
    link.down.store(false, Ordering::Relaxed);
    worker.turn(began + Duration::from_millis(199)).unwrap();
    assert_eq!(answers(&mut far), 0);
    worker.turn(began + Duration::from_millis(200)).unwrap();
    assert_eq!(answers(&mut far), 1);
    ask(&mut far);
    worker.turn(began + Duration::from_millis(201)).unwrap();
    assert_eq!(
        answers(&mut far),
        2,
        "the answer, and an announcement: switches forget who is behind a link that is down"
    );
}

#[test]
fn a_loop_that_has_nothing_to_send_hears_within_a_second_that_its_device_is_gone() {
    let (mut worker, link, _far, began) = worker();
    link.gone.store(true, Ordering::Relaxed);
    worker.turn(began + Duration::from_millis(999)).unwrap();
    assert_eq!(worker.turn(began + Duration::from_secs(1)).unwrap_err().raw_os_error(), Some(6));
}

/// Somebody who lists without a pause: the loop serves a piece, and turns before it serves the next; and it does not sleep on one.
#[test]
fn a_loop_turns_between_two_pieces_of_a_listing() {
    let (mut worker, _link, _far, began) = worker();
    let (commands, asked) = bounded(8);
    worker.commands = asked;
    let answers: Vec<_> = (0..3)
        .map(|_| {
            let (piece, answered) = crate::control::piece_of_all();
            commands.send(Command::List(piece)).unwrap();
            answered
        })
        .collect();
    let done = || answers.iter().filter(|answered| answered()).count();
    for served in 1..=3 {
        worker.serve_commands(began);
        assert_eq!(done(), served);
    }
    let (piece, answered) = crate::control::piece_of_all();
    commands.send(Command::List(piece)).unwrap();
    commands.send(Command::Neighbour(IpAddr::from(PEER), Some(MacAddr([2; 6])))).unwrap();
    worker.next_check = began + Duration::from_secs(1000);
    // Nobody would wake it: it comes back because it has seen that there is more.
    worker.rest(began + Duration::from_millis(1), false).unwrap();
    assert!(answered() && worker.commands.len() == 1);
}

/// The other has nothing to do and no reason to end: without the failure this test would not end either.
#[test]
fn the_failure_of_one_loop_is_the_end_of_all() {
    let ((mut one, link, ..), (mut other, ..)) = (worker(), worker());
    let mut ends = Handoff::ring(vec![one.waker(), other.waker()], 8).into_iter();
    one.set_handoff(ends.next().unwrap());
    other.set_handoff(ends.next().unwrap());
    let ending = Ending::new();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| other.run(&ending).map(|_| ()));
        link.gone.store(true, Ordering::Relaxed);
        assert_eq!(one.run(&ending).map(|_| ()).unwrap_err().raw_os_error(), Some(6));
        other.join().unwrap().unwrap();
    });
}

#[test]
fn the_end_does_not_wait_for_a_link_that_is_down() {
    let (mut worker, link, mut far, began) = worker();
    link.down.store(true, Ordering::Relaxed);
    ask(&mut far);
    worker.turn(began).unwrap();
    worker.drain().unwrap();
}

#[test]
fn a_frame_that_is_refused_for_good_is_not_held() {
    let (mut worker, link, mut far, began) = worker();
    link.longest.store(10, Ordering::Relaxed);
    ask(&mut far);
    worker.turn(began).unwrap();
    assert!(worker.held.is_none());
    assert_eq!(worker.port.stats().frames_out, 0);
    link.longest.store(0, Ordering::Relaxed);
    ask(&mut far);
    worker.turn(began).unwrap();
    assert_eq!(answers(&mut far), 1);
}

pub(super) fn send(far: &mut MemoryPort, frame: &[u8]) {
    let mut out = far.allocate().unwrap();
    far.buffer(&mut out)[..frame.len()].copy_from_slice(frame);
    far.transmit(out, frame.len()).unwrap();
    far.flush().unwrap();
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()).to_be_bytes()
}

/// A segment from the peer's port 9 to our port 7.
fn segment(flags: u8, seq: u32) -> Vec<u8> {
    acknowledging(flags, seq, 0)
}

/// The same, of an acknowledgment.
pub(super) fn acknowledging(flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    from_port(9, flags, seq, ack, &[])
}

/// The same, from a port of choice and with data.
pub(super) fn from_port(port: u8, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let ack = ack.to_be_bytes();
    let header = [&[0, port, 0, 7][..], &seq.to_be_bytes(), &ack, &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat();
    let mut tcp = [&header, data].concat();
    let len = u8::try_from(tcp.len()).unwrap();
    let pseudo = [&PEER[..], &OURS, &[0, 6, 0, len], &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo));
    let mut ip = [&[0x45, 0, 0, 20 + len, 0, 0, 0x40, 0, 64, 6, 0, 0][..], &PEER, &OURS].concat();
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &ip, &tcp].concat()
}

/// The machine stops the loop for longer than a retransmission timeout. What ended the handshake came meanwhile, behind more
/// frames than one turn takes in: the timer is not to fire before it is read.
#[test]
fn timers_wait_for_what_came_while_the_loop_was_stopped() {
    let (mut worker, _, mut far, began) = worker();
    worker.shard.listen((OURS, 7).into(), 16).unwrap();
    ask(&mut far);
    send(&mut far, &segment(2, 100));
    worker.turn(began).unwrap();
    assert_eq!((answers(&mut far), worker.shard.counters().opened), (2, 1));
    for _ in 0..100 {
        ask(&mut far);
    }
    send(&mut far, &segment(4, 101));
    for ms in 3000..3002 {
        worker.turn(began + Duration::from_millis(ms)).unwrap();
    }
    assert_eq!((worker.shard.counters().arp_in, worker.shard.counters().syn_acks_again), (101, 0));
    worker.turn(began + Duration::from_millis(9000)).unwrap();
    assert_eq!(worker.shard.counters().syn_acks_again, 0, "it is over");
}

/// RFC 5961 section 3.2: a reset that is in the window, and not where the peer is, is answered by an ACK, once; what comes back to
/// that has its number (RFC 9293 section 3.10.7.1), so that the peer takes it.
#[test]
fn a_reset_at_the_end_that_is_challenged_is_said_again() {
    for owned in [true, false] {
        let (mut worker, _, mut far, began) = worker_at(owned);
        worker.shard.on_neighbour(PEER.into(), Some(MacAddr([2, 0, 0, 0, 0, 2])));
        worker.shard.listen((OURS, 7).into(), 16).unwrap();
        let mut numbers = |worker: &mut Worker<Device, Nothing>, frame: &[u8]| {
            send(&mut far, frame);
            worker.turn(began).unwrap();
            sent(&mut far)
        };
        let (_, iss) = *numbers(&mut worker, &segment(2, 100)).last().unwrap();
        numbers(&mut worker, &acknowledging(16, 101, iss + 1));
        assert_eq!(worker.shard.connections(), 1);
        // As `drain` does it, when its time is over.
        let resets = worker.shard.counters().resets_out;
        worker.end_all(began);
        worker.send_rest().unwrap();
        assert_eq!(sent(&mut far), [(0x14, iss + 1)]);
        send(&mut far, &acknowledging(16, 101, iss + 1000));
        worker.say_farewell(resets).unwrap();
        assert_eq!(sent(&mut far), [(4, iss + 1000)], "owned: {owned}");
    }
}

/// Flags and sequence numbers of the segments that have come.
fn sent(far: &mut MemoryPort) -> Vec<(u8, u32)> {
    let mut frames = Vec::new();
    far.receive(&mut frames, 64);
    let read = |bytes: &[u8]| (bytes[47], u32::from_be_bytes(bytes[38..42].try_into().unwrap()));
    let tcp = frames.iter().map(|frame| far.bytes(frame)).filter(|bytes| bytes[12..14] == [8, 0]);
    let all = tcp.map(read).collect();
    frames.into_iter().for_each(|frame| far.recycle(frame));
    all
}
