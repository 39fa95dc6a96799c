//! What the trait `App` promises an application that implements little of it.

mod support;

use sim::{Fate, World};
use stack::{App, ConnId, Duration, Instant, Io};
use support::{Client, host};

const PORT: &str = "10.0.0.2:7";

/// `on_data` and nothing else.
#[derive(Debug, Default)]
struct DataOnly {
    got: Vec<u8>,
}

impl App for DataOnly {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.got.extend(data);
        data.len()
    }
}

#[test]
fn on_data_alone_gets_everything_in_order_after_a_loss() {
    // 20,000 bytes are 14 segments: each in turn is lost, what follows it comes out of the queue.
    let expected: Vec<u8> = (0..20_000usize).map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]).collect();
    for lost in 0..14 {
        let mut n = 0;
        let tamper = move |from, frame: &mut Vec<u8>| {
            let data = from == 0 && frame.len() > 100;
            n += usize::from(data);
            if data && n == lost + 1 { Fate::Drop } else { Fate::Pass }
        };
        let mut b = host(2, DataOnly::default());
        b.shard.listen(PORT.parse().expect("an address"), 16).expect("free");
        let client = host(1, Client::new(PORT, 20_000));
        let mut world = World::new(client, b, Duration::from_micros(50)).with_tamper(tamper);
        world.run(Duration::from_secs(10));
        assert!(world.b.app.got == expected, "segment {lost} lost: {} bytes", world.b.app.got.len());
        // And by default it closes when the peer has.
        assert_eq!(world.a.app.closed, Some(None));
    }
}

/// README's echo: what it can't send it does not take.
#[derive(Debug)]
struct Naive;

impl App for Naive {
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        io.send(conn, data).unwrap_or(data.len())
    }
}

/// The peer closes its direction while most of what it sent waits for room in the send buffer, which begins with 64 KiB.
#[test]
fn an_echo_of_one_line_echoes_everything() {
    let mut b = host(2, Naive);
    b.shard.listen(PORT.parse().expect("an address"), 16).expect("free");
    let mut world = World::new(host(1, Client::new(PORT, 3_000_000)), b, Duration::from_millis(5));
    world.run(Duration::from_secs(20));
    assert_eq!((world.a.app.received, world.a.app.closed), (3_000_000, Some(None)));
}

/// Wants to be called every 100 ms, ten times.
#[derive(Debug, Default)]
struct Clock {
    next: Option<Instant>,
    ticks: Vec<Instant>,
}

impl App for Clock {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
    fn on_turn(&mut self, io: &mut Io<'_>) {
        if self.next.is_some_and(|at| at <= io.now()) {
            self.ticks.push(io.now());
            self.next = (self.ticks.len() < 10).then(|| io.now() + Duration::from_millis(100));
        }
    }
    fn wake_at(&self) -> Option<Instant> {
        self.next
    }
}

#[test]
fn a_sleeping_loop_wakes_for_the_application() {
    let start = Instant::ZERO + Duration::from_secs(1);
    let clock = Clock { next: Some(start), ticks: Vec::new() };
    let mut world = World::new(host(1, clock), host(2, DataOnly::default()), Duration::from_micros(50));
    world.run(Duration::from_secs(10));
    let expected: Vec<Instant> = (0..10).map(|n| start + Duration::from_millis(100 * n)).collect();
    assert_eq!(world.a.app.ticks, expected);
    assert_eq!(world.frames(), 0);
}
