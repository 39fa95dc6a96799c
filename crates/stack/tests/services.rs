//! What an application has beside its connections: timers, messages, and the word that the end has come.

mod support;

use core::net::SocketAddr;
use stack::{
    App, ConnId, ConnMap, Duration, Error, Instant, Io, ListenOptions, ListenerId, Message, Place, Refusal, Shard,
    TimerId, TooManyTimers,
};
use support::*;
use wire::tcp::Flags;

/// Writes down what it is told, and when.
#[derive(Debug, Default)]
struct Diary {
    timers: Vec<(Instant, TimerId, u64)>,
    /// Started again, with this time, whenever one is told.
    again: Option<Duration>,
    messages: Vec<u32>,
    /// Posted to its own shard with the next number, whenever a message comes.
    echoes: bool,
    conns: ConnMap<()>,
    drains: usize,
    /// Accepted when the end comes.
    waiting: Option<ListenerId>,
    closed: Vec<Option<Error>>,
}

impl App for Diary {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.conns.insert(conn, ());
    }
    fn on_acceptable(&mut self, _: &mut Io<'_>, listener: ListenerId) {
        self.waiting = Some(listener);
    }
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        io.send(conn, data).expect("open")
    }
    fn on_timer(&mut self, io: &mut Io<'_>, timer: TimerId, key: u64) {
        assert!(!io.stop_timer(timer), "it is dead when it is told");
        self.timers.push((io.now(), timer, key));
        if let Some(after) = self.again {
            io.start_timer(after, key + 1).expect("its place is free");
        }
    }
    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        let number = *message.downcast().expect("a number");
        self.messages.push(number);
        if self.echoes {
            io.post(io.place().index, Box::new(number + 1)).expect("room");
        }
    }
    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.drains += 1;
        while let Some(conn) = self.waiting.and_then(|listener| io.accept(listener)) {
            self.conns.insert(conn, ());
        }
    }
    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.conns.remove(conn);
        self.closed.push(error);
    }
}

struct Bench {
    shard: Shard,
    app: Diary,
    now: Instant,
}

const TICK: Duration = Duration::from_nanos(1024);
const MS: Duration = Duration::from_millis(1);

impl Bench {
    fn new(change: impl FnOnce(&mut stack::ShardConfig)) -> Self {
        let mut shard = shard(change);
        let now = Instant::ZERO + Duration::from_secs(10);
        let mut app = Diary::default();
        shard.advance(now, &mut app);
        while shard.next_wakeup().is_some_and(|at| at <= now) {
            shard.advance(now, &mut app);
        }
        drain(&mut shard, now);
        Self { shard, app, now }
    }
    fn call<R>(&mut self, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        self.shard.call(self.now, f)
    }
    fn start(&mut self, after: Duration, key: u64) -> Result<TimerId, TooManyTimers> {
        self.call(|io| io.start_timer(after, key))
    }
    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.shard.advance(self.now, &mut self.app);
    }
    /// Sleeps as the loop does, to the time the shard gives, until `end`; how often it woke.
    fn sleep(&mut self, end: Instant) -> usize {
        for wakes in 0..1000 {
            let Some(next) = self.shard.next_wakeup().filter(|at| *at <= end) else {
                self.now = end;
                return wakes;
            };
            self.now = self.now.max(next);
            self.shard.advance(self.now, &mut self.app);
        }
        panic!("a busy loop");
    }
    fn keys(&self) -> Vec<u64> {
        self.app.timers.iter().map(|(_, _, key)| *key).collect()
    }
}

#[test]
fn timers_come_in_the_order_of_their_times_and_never_early() {
    let mut bench = Bench::new(|_| {});
    let began = bench.now;
    let ids: Vec<_> = [30, 10, 20].map(|ms| bench.start(Duration::from_millis(ms), ms)).into_iter().flatten().collect();
    assert_eq!(ids.len(), 3);
    bench.advance(Duration::from_millis(10) - Duration::from_nanos(1));
    assert_eq!(bench.keys(), [0; 0]);
    bench.advance(TICK);
    assert_eq!(bench.keys(), [10]);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.keys(), [10, 20, 30]);
    assert_eq!(bench.app.timers.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [ids[1], ids[2], ids[0]]);
    assert!(bench.app.timers[0].0 >= began + Duration::from_millis(10));
    bench.advance(Duration::from_secs(3600));
    assert_eq!((bench.keys().len(), bench.shard.counters().timers_fired), (3, 3), "each is told once");
}

/// A loop that sleeps until the time the shard gives tells each timer within a tick of its time, hours ahead too.
#[test]
fn a_sleeping_loop_is_woken_for_a_timer() {
    for after in [Duration::ZERO, Duration::from_micros(3), MS, Duration::from_secs(7), Duration::from_secs(36_000)] {
        let mut bench = Bench::new(|_| {});
        let due = bench.now + after;
        bench.start(after, 1).expect("room");
        let wakes = bench.sleep(due + TICK);
        let (told, ..) = bench.app.timers[0];
        assert!(told >= due && told <= due + TICK, "{after:?}: {told:?} is not {due:?}");
        // A wheel of 64 slots a level: once for each level at most, and neighbour tables have nothing to do.
        assert!(wakes <= 10, "{wakes}");
    }
}

#[test]
fn a_stopped_timer_is_not_told_and_its_place_is_anothers() {
    let mut bench = Bench::new(|_| {});
    let first = bench.start(MS, 1).expect("room");
    assert!(bench.call(|io| io.stop_timer(first)));
    assert!(!bench.call(|io| io.stop_timer(first)));
    let second = bench.start(MS * 2, 2).expect("room");
    assert_ne!(first, second);
    assert!(!bench.call(|io| io.stop_timer(first)), "the dead one's handle does not stop it");
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.keys(), [2]);
    assert!(!bench.call(|io| io.stop_timer(second)), "it was told");
}

#[test]
fn timers_have_a_limit_that_is_counted() {
    let mut bench = Bench::new(|config| config.max_timers = 2);
    let first = bench.start(MS, 1).expect("room");
    bench.start(MS, 2).expect("room");
    assert_eq!(bench.start(MS, 3), Err(TooManyTimers));
    bench.call(|io| io.stop_timer(first));
    bench.start(MS, 4).expect("room again");
    assert_eq!(bench.start(MS, 5), Err(TooManyTimers));
    assert_eq!(bench.shard.counters().timers_full, 2);
    bench.advance(MS * 2);
    assert_eq!(bench.keys(), [2, 4]);
    bench.start(MS, 6).expect("those that were told leave room");
}

/// One that starts itself again with no time at all does not keep the loop from everything else.
#[test]
fn a_timer_started_by_a_timer_is_told_in_a_later_turn() {
    let mut bench = Bench::new(|_| {});
    bench.app.again = Some(Duration::ZERO);
    // On a tick, so that it is due at once.
    bench.now = Instant::from_nanos(bench.now.as_nanos().next_multiple_of(1024));
    bench.start(Duration::ZERO, 1).expect("room");
    bench.advance(Duration::ZERO);
    assert_eq!(bench.keys(), [1]);
    assert!(bench.shard.next_wakeup().is_some_and(|at| at <= bench.now));
    bench.advance(Duration::ZERO);
    assert_eq!(bench.keys(), [1, 2]);
}

#[test]
fn a_message_to_itself_comes_in_the_next_turn() {
    let mut bench = Bench::new(|config| config.max_messages = 3);
    bench.app.echoes = true;
    bench.call(|io| [10u32, 20].map(|n| io.post(0, Box::new(n)).expect("room")));
    assert_eq!(bench.app.messages, []);
    assert_eq!(bench.shard.next_wakeup(), Some(Instant::ZERO), "a loop does not sleep on them");
    bench.advance(Duration::ZERO);
    assert_eq!(bench.app.messages, [10, 20]);
    bench.app.echoes = false;
    bench.advance(Duration::ZERO);
    assert_eq!(bench.app.messages, [10, 20, 11, 21]);
    assert_ne!(bench.shard.next_wakeup(), Some(Instant::ZERO));
    bench.call(|io| [1u32, 2, 3].map(|n| io.post(0, Box::new(n)).expect("room")));
    let back = bench.call(|io| io.post(0, Box::new(4u32))).expect_err("full");
    assert_eq!(back.downcast_ref(), Some(&4u32));
    bench.call(|io| io.post(1, Box::new(5u32))).expect_err("there is no such shard");
    let counters = bench.shard.counters();
    assert_eq!((counters.messages_out, counters.messages_in, counters.messages_full), (7, 4, 2));
}

#[test]
fn messages_to_others_wait_until_they_are_taken() {
    let mut bench = Bench::new(|config| config.place = Place { index: 1, count: 3 });
    assert_eq!(bench.call(|io| io.place()), Place { index: 1, count: 3 });
    for (to, n) in [(2, 1u32), (0, 2), (2, 3)] {
        bench.call(|io| io.post(to, Box::new(n)).expect("room"));
    }
    bench.advance(Duration::ZERO);
    assert_eq!((&bench.app.messages[..], bench.shard.has_messages()), (&[][..], true));
    let mut sent = Vec::new();
    bench.shard.forward_messages(|to, message| {
        sent.push((to, *message.downcast::<u32>().expect("a number")));
        Ok(())
    });
    assert_eq!((&sent[..], bench.shard.has_messages()), (&[(0, 2), (2, 1), (2, 3)][..], false));
}

/// The application is told once, before its listeners are closed; what is open lives on and may still talk.
#[test]
fn a_drain_refuses_the_new_and_leaves_the_old() {
    let mut bench = Bench::new(|_| {});
    let queued = SocketAddr::new(v4(1), 81);
    let options = ListenOptions { accept_queue: Some(4), ..4.into() };
    bench.shard.listen(queued, options).expect("free");
    let arrive = |bench: &mut Bench, header, payload: &[u8]| {
        bench.shard.on_frame(bench.now, &tcp_frame(v4(9), v4(1), header, payload, None), &mut bench.app);
        drain(&mut bench.shard, bench.now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect::<Vec<_>>()
    };
    let mut snd = 0;
    for port in [PORT, 81] {
        let syn_ack = arrive(&mut bench, header(Flags::SYN, (1000, port), 300, 0), &[]);
        snd = syn_ack[0].seq.value().wrapping_add(1);
        arrive(&mut bench, header(Flags::ACK, (1000, port), 301, snd), &[]);
    }
    assert_eq!((bench.app.conns.len(), bench.shard.connections()), (1, 2));
    let (now, app) = (bench.now, &mut bench.app);
    bench.shard.begin_drain(now, app);
    assert_eq!((bench.app.drains, bench.app.conns.len(), bench.shard.connections()), (1, 2, 2));
    // RFC 9293 section 3.10.7.1: there is nobody, which draws a reset.
    let answer = arrive(&mut bench, header(Flags::SYN, (1001, PORT), 300, 0), &[]);
    assert!(answer[0].flags.contains(Flags::RST));
    assert_eq!(bench.shard.counters().refusals(Refusal::NoEndpoint), 1);
    let answer = arrive(&mut bench, header(Flags::ACK, (1000, 81), 301, snd), &[7; 10]);
    assert!(!answer[0].flags.contains(Flags::RST));
    assert_eq!(answer[0].ack.value(), 311);
    bench.shard.drain(bench.now);
    assert_eq!(drain(&mut bench.shard, bench.now).len(), 2, "a FIN each");
    assert_eq!(bench.app.closed, []);
}
