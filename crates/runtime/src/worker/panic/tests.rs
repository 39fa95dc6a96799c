//! Applications that panic, on loops over cables in memory.

use super::super::tests::{ask, from_port, send};
use super::*;
use crate::error::Error;
use crate::post::Poster;
use crate::trace::Faults;
use crossbeam::channel::bounded;
use stack::{ConnId, Io, ListenerId, LocalAddress, Message, Place, ShardConfig, TimerId};
use std::thread::JoinHandle;
use xdp::{MemoryConfig, MemoryPort};

const OURS: [u8; 4] = [10, 0, 0, 1];
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A call of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Accept,
    Data,
    PeerClosed,
    Closed,
    Timer,
    Message,
    Drain,
    Turn,
    WakeAt,
}

/// Panics in one of its calls, once it has so many connections; being called behind that is another panic, which the test sees
/// instead.
#[derive(Debug)]
struct Clumsy {
    at: Option<Call>,
    connections: usize,
    accepted: Sender<()>,
    fell: bool,
}

impl Clumsy {
    fn step(&mut self, call: Call) {
        if self.connections == 0 && self.at == Some(call) {
            let again = std::mem::replace(&mut self.fell, true);
            panic!("stumbled{} at\n{call:?}", if again { " again" } else { "" });
        }
        assert!(!self.fell, "called again, at {call:?}");
    }
}

impl App for Clumsy {
    fn on_accept(&mut self, io: &mut Io<'_>, _: ConnId, _: ListenerId) {
        self.connections = self.connections.saturating_sub(1);
        self.accepted.send(()).unwrap();
        if self.connections == 0 {
            io.start_timer(Duration::from_millis(1), 0).unwrap();
        }
        self.step(Call::Accept);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.step(Call::Data);
        data.len()
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.step(Call::PeerClosed);
    }
    fn on_closed(&mut self, _: &mut Io<'_>, _: ConnId, _: Option<stack::Error>) {
        self.step(Call::Closed);
    }
    fn on_timer(&mut self, _: &mut Io<'_>, _: TimerId, _: u64) {
        self.step(Call::Timer);
    }
    fn on_message(&mut self, _: &mut Io<'_>, _: Message) {
        self.step(Call::Message);
    }
    fn on_drain(&mut self, _: &mut Io<'_>) {
        self.step(Call::Drain);
    }
    fn on_turn(&mut self, _: &mut Io<'_>) {
        self.step(Call::Turn);
    }
    fn wake_at(&self) -> Option<Instant> {
        assert!(!(self.connections == 0 && self.at == Some(Call::WakeAt)), "stumbled at\n{:?}", Call::WakeAt);
        None
    }
}

struct Stack {
    ending: Arc<Ending>,
    cables: Vec<MemoryPort>,
    wakers: Vec<Arc<Waker>>,
    poster: Poster,
    accepted: Receiver<()>,
    loops: Vec<JoinHandle<io::Result<Finished<Clumsy>>>>,
}

impl Stack {
    /// A shard for each application, running.
    fn start(apps: impl IntoIterator<Item = (Option<Call>, usize)>) -> Self {
        Self::start_with(apps, None)
    }

    fn start_with(apps: impl IntoIterator<Item = (Option<Call>, usize)>, faults: Option<Faults>) -> Self {
        let apps: Vec<_> = apps.into_iter().collect();
        let (clock, count) = (Clock::new(), u16::try_from(apps.len()).unwrap());
        let (accepts, accepted) = bounded(4);
        let (mut workers, mut cables) = (Vec::new(), Vec::new());
        for ((at, connections), index) in apps.into_iter().zip(0..) {
            let (near, far) = MemoryPort::pair(MemoryConfig::default());
            let own = LocalAddress { ip: OURS.into(), prefix_len: 24, owned: true };
            let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, 1]), 1500, vec![own], [[1; 16]; 4]);
            config.place = Place { index, count };
            let mut shard = Shard::new(config, clock.now()).unwrap();
            shard.listen((OURS, 7).into(), 64).unwrap();
            let app = Clumsy { at, connections, accepted: accepts.clone(), fell: false };
            let ((_, commands), (resolve, _)) = (bounded(1), bounded(1));
            let mut worker = Worker::new(near, shard, app, clock, Idle::Sleep, commands, resolve).unwrap();
            faults.iter().for_each(|faults| worker.set_faults(faults.clone()));
            workers.push(worker);
            cables.push(far);
        }
        let wakers: Vec<_> = workers.iter().map(Worker::waker).collect();
        if count > 1 {
            let ends = Handoff::ring(wakers.clone(), 64);
            workers.iter_mut().zip(ends).for_each(|(worker, end)| worker.set_handoff(end));
        }
        let (posts, poster) = Post::offices(wakers.clone(), 4);
        workers.iter_mut().zip(posts).for_each(|(worker, post)| worker.set_post(post));
        let ending = Arc::new(Ending::new());
        let run = |worker: Worker<MemoryPort, Clumsy>| {
            let ending = Arc::clone(&ending);
            std::thread::spawn(move || worker.run(&ending))
        };
        let loops = workers.into_iter().map(run).collect();
        Self { ending, cables, wakers, poster, accepted, loops }
    }

    fn send(&mut self, shard: usize, frame: &[u8]) {
        send(&mut self.cables[shard], frame);
        // It may have ended.
        let _ = self.wakers[shard].wake();
    }

    /// Waits for a segment to `port` with these flags; its sequence number.
    fn segment(&mut self, shard: usize, port: u8, flags: u8) -> u32 {
        let cable = &mut self.cables[shard];
        let mut found = None;
        while found.is_none() {
            let mut frames = Vec::new();
            cable.receive(&mut frames, 1);
            for frame in frames {
                let bytes = cable.bytes(&frame);
                if bytes[12..14] == [8, 0] && bytes[37] == port {
                    assert!(bytes[47] & RST == flags & RST, "flags {:#x}", bytes[47]);
                    let seq = u32::from_be_bytes(bytes[38..42].try_into().unwrap());
                    found = (bytes[47] & (FIN | SYN | RST) == flags).then_some(seq);
                }
                cable.recycle(frame);
            }
            std::thread::yield_now();
        }
        found.unwrap()
    }

    /// A connection; our next sequence number.
    fn open(&mut self, shard: usize, port: u8) -> u32 {
        ask(&mut self.cables[shard]);
        self.send(shard, &from_port(port, SYN, 100, 0, &[]));
        let next = self.segment(shard, port, SYN).wrapping_add(1);
        self.send(shard, &from_port(port, ACK, 101, next, &[]));
        self.accepted.recv().unwrap();
        next
    }
}

/// RFC9293-3.10.5-a: what an ABORT sends (`<SEQ=SND.NXT><CTL=RST>`) goes out on every connection, wherever the application is
/// when it panics; it is not called any more, and what it said is kept.
#[test]
fn a_panic_in_any_call_resets_every_connection() {
    use Call::*;
    for call in [Accept, Data, PeerClosed, Closed, Timer, Message, Drain, Turn, WakeAt] {
        let mut stack = Stack::start([(Some(call), 2)]);
        let idle = stack.open(0, 9);
        let busy = stack.open(0, 10);
        match call {
            Data => stack.send(0, &from_port(10, ACK, 101, busy, b"x")),
            PeerClosed => stack.send(0, &from_port(10, FIN | ACK, 101, busy, &[])),
            Closed => stack.send(0, &from_port(10, RST, 101, 0, &[])),
            Message => stack.poster.post(0, Box::new(())).unwrap(),
            Drain => {
                stack.ending.ask();
                stack.wakers[0].wake().unwrap();
            }
            Accept | Timer | Turn | WakeAt => {}
        }
        assert_eq!(stack.segment(0, 9, RST), idle, "{call:?}");
        if call != Closed {
            assert_eq!(stack.segment(0, 10, RST), busy, "{call:?}");
        }
        let panic = stack.loops.remove(0).join().unwrap_err();
        let said = Error::panicked(3, &*panic).to_string();
        assert!(said.starts_with("shard 3 panicked"), "{said}");
        assert!(said.contains(&format!("(stumbled at {call:?})")), "{said}");
    }
}

/// The other shard ends as it does when a loop fails: it closes its connection in order.
#[test]
fn the_other_shards_end_in_order() {
    let mut stack = Stack::start([(Some(Call::Message), 0), (None, 1)]);
    let next = stack.open(1, 9);
    stack.poster.post(0, Box::new(())).unwrap();
    assert_eq!(stack.segment(1, 9, FIN), next);
    stack.send(1, &from_port(9, FIN | ACK, 101, next.wrapping_add(1), &[]));
    let ended: Vec<_> = stack.loops.drain(..).map(JoinHandle::join).collect();
    assert!(ended[0].is_err());
    assert_eq!(ended[1].as_ref().unwrap().as_ref().unwrap().counters.resets_out, 0);
}

/// What happened is in a file, up to the panic and not what came of it; whoever panics.
#[test]
fn a_panic_leaves_a_file_of_what_happened() {
    let directory = std::env::temp_dir().join(format!("fourwave-panic-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let faults = Faults { directory: Some(directory.clone()) };
    let mut stack = Stack::start_with([(Some(Call::Data), 1)], Some(faults));
    let next = stack.open(0, 9);
    stack.send(0, &from_port(9, ACK, 101, next, b"x"));
    stack.segment(0, 9, RST);
    stack.loops.remove(0).join().unwrap_err();
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().flatten().map(|file| file.path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    assert!(file.to_str().unwrap().ends_with("-panic.trace"), "{file:?}");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("\nshard 0: 1 connections, 0 older records are overwritten\n10.0.0.1:7 "), "{text}");
    assert!(text.contains(" state (ESTABLISHED)\n") && !text.contains("reset-sent"), "{text}");
    std::fs::remove_dir_all(&directory).unwrap();
}
