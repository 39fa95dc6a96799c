//! What loops do for the applications on them: messages from everywhere, and an end that waits for connections.

use super::tests::{acknowledging, ask, send};
use super::*;
use crate::post::Poster;
use crossbeam::channel::{bounded, unbounded};
use stack::{ConnId, Io, ListenerId, LocalAddress, Message, Place, ShardConfig, TimerId};
use xdp::{MemoryConfig, MemoryPort};

const OURS: [u8; 4] = [10, 0, 0, 1];
const SHARDS: u16 = 3;

/// What an application has heard.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Accepted(u16),
    Message(u16, u32),
    Drain(u16),
    Closed(u16),
    Timer(u64),
}

/// Tells everything to the test, and keeps posting `to_post` until it is taken.
#[derive(Debug, Clone)]
struct Clerk {
    heard: Sender<Heard>,
    to_post: Vec<(u16, u32)>,
    /// Ends the stack when it gets this message.
    last: u32,
}

impl Clerk {
    fn tell(&self, heard: Heard) {
        self.heard.send(heard).unwrap();
    }
}

impl App for Clerk {
    fn on_accept(&mut self, io: &mut Io<'_>, _: ConnId, _: ListenerId) {
        self.tell(Heard::Accepted(io.place().index));
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        io.close(conn).unwrap();
        self.tell(Heard::Closed(io.place().index));
    }
    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        let number = *message.downcast().unwrap();
        self.tell(Heard::Message(io.place().index, number));
        if number == self.last {
            io.finish();
        }
    }
    fn on_timer(&mut self, _: &mut Io<'_>, _: TimerId, key: u64) {
        self.tell(Heard::Timer(key));
    }
    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.tell(Heard::Drain(io.place().index));
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        let mut waits = [false; SHARDS as usize];
        self.to_post.retain(|(to, number)| {
            let full = &mut waits[usize::from(*to)];
            *full = *full || io.post(*to, Box::new(*number)).is_err();
            *full
        });
    }
}

struct Stack {
    workers: Vec<Worker<MemoryPort, Clerk>>,
    cables: Vec<MemoryPort>,
    poster: Poster,
    heard: Receiver<Heard>,
    ending: Ending,
}

impl Stack {
    /// Shards whose queues take so many messages.
    fn new(shards: u16, messages: u32, drain_time: Duration, idle: Idle) -> Self {
        let clock = Clock::new();
        let (heard, hears) = unbounded();
        let clerk = Clerk { heard, to_post: Vec::new(), last: u32::MAX };
        let (mut workers, mut cables) = (Vec::new(), Vec::new());
        for index in 0..shards {
            let (near, far) = MemoryPort::pair(MemoryConfig::default());
            let own = LocalAddress { ip: OURS.into(), prefix_len: 24, owned: true };
            let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, 1]), 1500, vec![own], [[1; 16]; 4]);
            config.place = Place { index, count: shards };
            config.max_messages = messages;
            let mut shard = Shard::new(config, clock.now()).unwrap();
            shard.listen((OURS, 7).into(), 64).unwrap();
            let ((_, commands), (resolve, _)) = (bounded(1), bounded(1));
            let mut worker = Worker::new(near, shard, clerk.clone(), clock, idle, commands, resolve).unwrap();
            worker.set_drain_time(drain_time);
            workers.push(worker);
            cables.push(far);
        }
        let wakers: Vec<_> = workers.iter().map(Worker::waker).collect();
        if shards > 1 {
            let ends = Handoff::ring(wakers.clone(), 64);
            workers.iter_mut().zip(ends).for_each(|(worker, end)| worker.set_handoff(end));
        }
        let (posts, poster) = Post::offices(wakers, messages as usize);
        workers.iter_mut().zip(posts).for_each(|(worker, post)| worker.set_post(post));
        Self { workers, cables, poster, heard: hears, ending: Ending::new() }
    }

    /// Each worker turns once.
    fn turn(&mut self, now: Instant) {
        self.workers.iter_mut().for_each(|worker| _ = worker.turn(now).unwrap());
    }

    fn messages(&self) -> Vec<(u16, u32)> {
        let message = |heard| match heard {
            Heard::Message(shard, number) => (shard, number),
            other => panic!("{other:?}"),
        };
        self.heard.try_iter().map(message).collect()
    }
}

/// Every shard to every shard, itself too: twenty messages each, of which a queue takes four. Nothing is lost, and what one
/// sends to another comes in its order.
#[test]
fn messages_go_between_all_shards_in_order_and_a_full_queue_loses_none() {
    let mut stack = Stack::new(SHARDS, 4, Duration::ZERO, Idle::Adaptive);
    for (worker, from) in stack.workers.iter_mut().zip(0u32..) {
        worker.app.to_post = (0..20).flat_map(|n| (0..SHARDS).map(move |to| (to, from * 100 + n))).collect();
    }
    let mut now = stack.workers[0].worked;
    let mut all = Vec::new();
    for _ in 0..1000 {
        stack.turn(now);
        now += Duration::from_micros(1);
        all.extend(stack.messages());
    }
    for to in 0..SHARDS {
        for from in 0..u32::from(SHARDS) {
            let came = |(shard, n): &(u16, u32)| (*shard == to && n / 100 == from).then_some(n % 100);
            assert_eq!(all.iter().filter_map(came).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>(), "{from} to {to}");
        }
    }
    let sum = |counter: fn(&Counters) -> u64| stack.workers.iter().map(|w| counter(&w.counters())).sum::<u64>();
    assert_eq!((sum(|c| c.messages_out), sum(|c| c.messages_in)), (180, 180));
    assert!(sum(|c| c.messages_full) > 0, "this test did not fill a queue");
}

#[test]
fn a_thread_is_told_that_a_queue_is_full_or_nobodys() {
    let mut stack = Stack::new(2, 2, Duration::ZERO, Idle::Adaptive);
    let poster = stack.poster.clone();
    assert_eq!(poster.shards(), 2);
    let post = |shard, n: u32| poster.post(shard, Box::new(n)).map_err(|back| *back.downcast::<u32>().unwrap());
    assert_eq!([post(1, 1), post(1, 2), post(1, 3), post(2, 4)], [Ok(()), Ok(()), Err(3), Err(4)]);
    assert_eq!([0, 1].map(|shard: usize| stack.workers[shard].counters().messages_full), [0, 1]);
    let now = stack.workers[0].worked;
    stack.turn(now);
    assert_eq!(stack.messages(), [(1, 1), (1, 2)]);
    assert_eq!(post(1, 5), Ok(()));
    stack.workers.clear();
    assert_eq!([post(0, 6), post(1, 7)], [Err(6), Err(7)], "the shards have ended");
}

/// What a turn gives the application is limited.
#[test]
fn many_messages_take_several_turns() {
    let mut stack = Stack::new(1, 1000, Duration::ZERO, Idle::Adaptive);
    (0..200u32).for_each(|n| stack.poster.post(0, Box::new(n)).unwrap());
    let now = stack.workers[0].worked;
    let mut turns = Vec::new();
    while stack.workers[0].turn(now).unwrap() {
        turns.push(stack.messages().len());
    }
    assert!(turns.len() > 2 && turns.iter().all(|n| *n <= 64), "{turns:?}");
    assert_eq!(turns.iter().sum::<usize>(), 200);
}

/// The sleepers have no deadline: if nobody wakes them, this never ends. A loop that is about to sleep on a message does not.
#[test]
fn a_sleeping_loop_is_woken_by_a_message_and_does_not_sleep_on_one() {
    let mut stack = Stack::new(2, 4, Duration::ZERO, Idle::Sleep);
    let (mut target, mut other) = (stack.workers.remove(1), stack.workers.remove(0));
    let (asleep, is_asleep) = bounded(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..2 {
                assert!(target.post.as_ref().unwrap().may_sleep());
                asleep.send(()).unwrap();
                target.sleeper.sleep(target.worked, None).unwrap();
                target.post.as_ref().unwrap().awake();
                assert!(!target.post.as_ref().unwrap().may_sleep(), "there is something now");
                target.turn(target.worked).unwrap();
            }
        });
        is_asleep.recv().unwrap();
        stack.poster.post(1, Box::new(1u32)).unwrap();
        is_asleep.recv().unwrap();
        other.app.to_post = vec![(1, 2)];
        other.turn(other.worked).unwrap();
    });
    assert_eq!(stack.messages(), [(1, 1), (1, 2)]);
}

/// Messages to a loop that is awake make no system call; the waker of this one would end its sleep at once.
#[test]
fn a_loop_that_is_awake_is_not_woken() {
    let mut stack = Stack::new(1, 4, Duration::ZERO, Idle::Adaptive);
    stack.poster.post(0, Box::new(1u32)).unwrap();
    let worker = &mut stack.workers[0];
    let real = std::time::Instant::now();
    worker.sleeper.sleep(worker.worked, Some(worker.worked + Duration::from_millis(20))).unwrap();
    assert!(real.elapsed() >= std::time::Duration::from_millis(20), "it was woken");
}

/// There is nothing else that ends its sleep.
#[test]
fn a_sleeping_loop_is_woken_for_an_application_s_timer() {
    let mut stack = Stack::new(1, 4, Duration::ZERO, Idle::Sleep);
    let worker = &mut stack.workers[0];
    worker.next_check = worker.worked + LONG;
    let now = worker.clock.now();
    worker.shard.call(now, |io| io.start_timer(Duration::from_millis(20), 5)).unwrap();
    let mut sleeps = 0;
    loop {
        let now = worker.clock.now();
        let worked = worker.turn(now).unwrap();
        if !stack.heard.is_empty() {
            break;
        }
        worker.rest(now, worked).unwrap();
        sleeps += 1;
    }
    assert_eq!(stack.heard.recv(), Ok(Heard::Timer(5)));
    // At most once for each level of the wheel; epoll, which rounds up to a millisecond, may return early, too.
    assert!(sleeps <= 20, "it did not sleep: {sleeps}");
}

/// Runs the loops on threads of their own while `script` plays the network; how many connections were reset or failed.
fn run(mut stack: Stack, script: impl FnOnce(&mut Outside<'_>)) -> u64 {
    let workers = std::mem::take(&mut stack.workers);
    let ending = &stack.ending;
    std::thread::scope(|scope| {
        let wakers = workers.iter().map(Worker::waker).collect();
        let loops: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| worker.run(ending).unwrap())).collect();
        let mut outside = Outside { cables: &mut stack.cables, wakers, ending, heard: &stack.heard, snd: 0 };
        script(&mut outside);
        loops.into_iter().map(|one| one.join().unwrap().counters).map(|c| c.failed + c.resets_out).sum()
    })
}

/// The peer, and whoever ends the stack.
struct Outside<'a> {
    cables: &'a mut [MemoryPort],
    wakers: Vec<Arc<Waker>>,
    ending: &'a Ending,
    heard: &'a Receiver<Heard>,
    /// The shard's next sequence number.
    snd: u32,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

impl Outside<'_> {
    fn send(&mut self, shard: usize, frame: &[u8]) {
        send(&mut self.cables[shard], frame);
        self.wakers[shard].wake().unwrap();
    }

    /// Waits for a segment with these flags; what was acknowledged, and SND.NXT behind it.
    fn await_segment(&mut self, shard: usize, flags: u8) -> u32 {
        let mut frames = Vec::new();
        loop {
            self.cables[shard].receive(&mut frames, 64);
            for frame in frames.drain(..) {
                let bytes = self.cables[shard].bytes(&frame).to_vec();
                self.cables[shard].recycle(frame);
                if bytes[12..14] == [8, 0] && bytes[47] & 0x17 == flags {
                    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
                    self.snd = number(38).wrapping_add(u32::from(flags & (SYN | FIN) > 0));
                    return number(42);
                }
            }
            std::thread::yield_now();
        }
    }

    /// A connection at a shard: the peer's next sequence number is 101.
    fn open(&mut self, shard: u16) {
        let at = usize::from(shard);
        ask(&mut self.cables[at]);
        self.send(at, &acknowledging(SYN, 100, 0));
        self.await_segment(at, SYN | ACK);
        self.send(at, &acknowledging(ACK, 101, self.snd));
        assert_eq!(self.heard.recv(), Ok(Heard::Accepted(shard)));
    }

    fn stop(&self) {
        self.ending.ask();
        self.wakers.iter().for_each(|waker| waker.wake().unwrap());
    }

    /// Every shard has heard that the end has come.
    fn await_drains(&self) {
        let mut drains: Vec<_> = self.wakers.iter().map(|_| self.heard.recv().unwrap()).collect();
        drains.sort_by_key(|heard| format!("{heard:?}"));
        assert_eq!(drains, (0..).map(Heard::Drain).take(self.wakers.len()).collect::<Vec<_>>());
    }

    /// The peer closes, and so does the application.
    fn close_by_peer(&mut self, shard: u16) {
        let at = usize::from(shard);
        self.send(at, &acknowledging(FIN | ACK, 101, self.snd));
        assert_eq!(self.heard.recv(), Ok(Heard::Closed(shard)));
        self.await_segment(at, FIN | ACK);
        self.send(at, &acknowledging(ACK, 102, self.snd));
    }

    /// The stack closes, and so does the peer.
    fn close_by_stack(&mut self, shard: usize) {
        self.await_segment(shard, FIN | ACK);
        self.send(shard, &acknowledging(FIN | ACK, 101, self.snd));
    }
}

const LONG: Duration = Duration::from_secs(1_000_000);

/// One shard has a connection, the others none: all of them wait for it, and what arrives at those that have none still gets
/// to where it belongs. Nothing else ends this test.
#[test]
fn the_end_waits_for_a_connection_at_any_shard() {
    let resets = run(Stack::new(SHARDS, 4, LONG, Idle::Adaptive), |outside| {
        outside.open(1);
        outside.stop();
        outside.await_drains();
        // An old segment at a shard that has no connection, and the answer of the one that has it (RFC 9293 section 3.10.7.4).
        let keepalive = acknowledging(ACK, 100, outside.snd);
        outside.send(0, &keepalive);
        assert_eq!(outside.await_segment(1, ACK), 101);
        outside.close_by_peer(1);
    });
    assert_eq!(resets, 0);
}

#[test]
fn what_is_left_when_the_drain_time_is_over_is_closed_in_order() {
    for time in [Duration::ZERO, Duration::from_millis(5)] {
        let resets = run(Stack::new(2, 4, time, Idle::Sleep), |outside| {
            outside.open(0);
            outside.stop();
            outside.await_drains();
            outside.close_by_stack(0);
        });
        assert_eq!(resets, 0);
    }
}

#[test]
fn asking_twice_cuts_the_drain_time_short() {
    let resets = run(Stack::new(2, 4, LONG, Idle::Adaptive), |outside| {
        outside.open(0);
        outside.stop();
        outside.await_drains();
        outside.stop();
        outside.close_by_stack(0);
    });
    assert_eq!(resets, 0);
}

/// The application of one shard asks; the program asks once more, which is its first time and cuts nothing short.
#[test]
fn the_end_that_an_application_asks_for_drains_all_shards() {
    let mut stack = Stack::new(2, 4, LONG, Idle::Sleep);
    stack.workers[1].app.last = 9;
    let poster = stack.poster.clone();
    let resets = run(stack, |outside| {
        outside.open(0);
        poster.post(1, Box::new(9u32)).unwrap();
        assert_eq!(outside.heard.recv(), Ok(Heard::Message(1, 9)));
        outside.await_drains();
        outside.stop();
        outside.close_by_peer(0);
    });
    assert_eq!(resets, 0);
}
