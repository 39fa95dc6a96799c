//! What waited in an accept queue is told in order, whatever comes between the acceptance and the next turn: the data, the end of
//! file, the end ([`Io::accept`]).

mod support;

use core::net::SocketAddr;
use stack::{App, ConnId, Duration, Half, Instant, Io, ListenOptions, ListenerId, Shard, State};
use support::*;
use wire::tcp::{Flags, Header};

const SERVICE: u16 = 7000;

/// Accepts when it is told to; for the rest it does what an application does by default.
#[derive(Debug, Default)]
struct Server {
    got: Vec<u8>,
}

impl App for Server {
    fn on_acceptable(&mut self, _: &mut Io<'_>, _: ListenerId) {}
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.got.extend(data);
        data.len()
    }
}

/// A connection with data and a FIN that waits to be accepted: the peer's next number is 313.
struct Queued {
    shard: Shard,
    app: Server,
    now: Instant,
    listener: ListenerId,
    /// Our next number.
    snd: u32,
}

impl Queued {
    fn new() -> Self {
        let mut shard = shard(|_| {});
        let options = ListenOptions { accept_queue: Some(10), ..ListenOptions::default() };
        let listener = shard.listen(SocketAddr::new(v4(1), SERVICE), options).expect("free");
        let mut bench = Self { shard, app: Server::default(), now: Instant::ZERO, listener, snd: 0 };
        let syn_ack = bench.arrive(header(Flags::SYN, (1000, SERVICE), 300, 0), &[]).remove(0);
        bench.snd = syn_ack.seq.value().wrapping_add(1);
        bench.arrive(header(Flags::ACK, (1000, SERVICE), 301, bench.snd), &[]);
        bench.request();
        bench
    }

    /// The peer's data and FIN, or both again.
    fn request(&mut self) {
        self.arrive(header(Flags::ACK | Flags::FIN, (1000, SERVICE), 301, self.snd), b"the request");
    }

    fn arrive(&mut self, header: Header, data: &[u8]) -> Vec<Header> {
        self.shard.on_frame(self.now, &tcp_frame(v4(9), v4(1), header, data, None), &mut self.app);
        self.sent()
    }

    fn sent(&mut self) -> Vec<Header> {
        drain(&mut self.shard, self.now).iter().filter_map(|f| segment_of(f)).map(|(h, _)| h).collect()
    }

    fn accept(&mut self) -> ConnId {
        let listener = self.listener;
        self.shard.call(self.now, |io| io.accept(listener)).expect("one waits")
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for turns in 0.. {
            assert!(turns < 10_000, "a busy loop");
            self.shard.advance(self.now, &mut self.app);
            self.sent();
            let Some(next) = self.shard.next_wakeup().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
        }
        self.now = end;
    }
}

/// The application accepts, and shuts down its side at once; the peer's ACK of our FIN ends the connection.
#[test]
fn what_waited_is_told_if_the_connection_ends_meanwhile() {
    for turn_between in [true, false] {
        let mut bench = Queued::new();
        let conn = bench.accept();
        bench.shard.call(bench.now, |io| io.shutdown(conn, Half::Write)).expect("open");
        assert!(bench.sent().iter().any(|h| h.flags.contains(Flags::FIN)));
        if turn_between {
            bench.shard.advance(bench.now, &mut bench.app);
        }
        bench.arrive(header(Flags::ACK, (1000, SERVICE), 313, bench.snd.wrapping_add(1)), &[]);
        bench.pass(Duration::from_secs(3600));
        assert_eq!(bench.app.got, b"the request", "{turn_between}");
        assert_eq!(bench.shard.connections(), 0, "{turn_between}");
    }
}

/// The end of file is told behind the data: an application that closes then has read all.
#[test]
fn what_waited_is_told_before_what_comes_again() {
    for again in [false, true] {
        let mut bench = Queued::new();
        bench.accept();
        if again {
            bench.request();
        }
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.app.got, b"the request", "{again}");
        assert_eq!(bench.shard.counters().in_state(State::CloseWait), 0, "{again}: it was closed then");
    }
}
