//! Kinds of traffic with an echo server, or with a proxy before one: whatever is sent comes back.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sim::Rng;

use crate::conn::{Conn, Failure, Went};
use crate::process::output;
use crate::world::{Break, World, lock};

/// A thread that does one kind of thing again and again.
pub(crate) struct Lane {
    pub(crate) kind: &'static str,
    pub(crate) round: fn(&mut Client),
    /// Between two rounds, at least and at most.
    pub(crate) pause_ms: (u64, u64),
}

/// Of an echo server. The last one is for servers alone: of a proxy's two connections it would end one.
pub(crate) const LANES: [Lane; 9] = [
    Lane { kind: "bulk", round: bulk, pause_ms: (500, 2500) },
    Lane { kind: "requests", round: requests, pause_ms: (50, 300) },
    Lane { kind: "short", round: short, pause_ms: (20, 150) },
    Lane { kind: "abort", round: abort, pause_ms: (200, 1000) },
    Lane { kind: "reset at once", round: reset_at_once, pause_ms: (300, 1500) },
    Lane { kind: "slow reader", round: slow_reader, pause_ms: (200, 1000) },
    Lane { kind: "idle", round: idle, pause_ms: (100, 500) },
    Lane { kind: "many at once", round: many, pause_ms: (4000, 8000) },
    Lane { kind: "ended by ss -K", round: operator, pause_ms: (4000, 9000) },
];

/// What a lane works with.
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) kind: &'static str,
    pub(crate) rng: Rng,
}

impl Client {
    pub(crate) fn open(&mut self) -> Option<Conn> {
        self.open_with(None)
    }

    pub(crate) fn open_with(&mut self, receive_buffer: Option<usize>) -> Option<Conn> {
        let seed = self.rng.bits64();
        Conn::open(&self.world, self.kind, self.world.to, seed, receive_buffer)
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.rng.below(most - least + 1)
    }

    pub(crate) fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }
}

impl Lane {
    /// Rounds until the end.
    pub(crate) fn run(&self, world: &Arc<World>, seed: u64) {
        let mut client = Client { world: Arc::clone(world), kind: self.kind, rng: Rng::new(seed) };
        while !world.run.stops() {
            (self.round)(&mut client);
            let pause = client.ms(self.pause_ms.0, self.pause_ms.1);
            world.run.pause(pause);
        }
    }
}

/// Up to two mebibytes there and back at the same time.
fn bulk(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let bytes = client.between(64 << 10, 2 << 20);
    conn.finish_by(|conn| both_ways(conn, bytes, |conn| conn.expect(bytes)));
}

/// Some requests one by one, each with its answer.
fn requests(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let sizes: Vec<_> = (0..client.between(1, 30)).map(|_| client.between(1, 3000)).collect();
    conn.finish_by(|conn| {
        for bytes in sizes {
            conn.send(bytes)?;
            conn.expect(bytes)?;
        }
        closed(conn)
    });
}

/// One message, or none; at times our FIN is behind it at once.
fn short(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let (bytes, early) = (client.between(0, 100), client.rng.percent(50));
    conn.finish_by(|conn| {
        conn.send(bytes)?;
        if early {
            conn.half_close()?;
        }
        conn.expect(bytes)?;
        if early { conn.expect_end().map(|()| Went::Whole) } else { closed(conn) }
    });
}

/// A reset with data under way in both directions.
fn abort(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let (bytes, read) = (client.between(1, 100_000), client.between(0, 3));
    conn.finish_by(|conn| {
        conn.send(1)?;
        conn.expect(1)?;
        conn.send(bytes)?;
        conn.expect(bytes * read / 4)?;
        conn.linger_not().map(|()| Went::Reset)
    });
}

/// The handshake's last ACK, and a reset: the server may never have heard of it.
fn reset_at_once(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    conn.finish_by(|conn| conn.linger_not().map(|()| Went::Reset));
}

/// Sends all, but reads nothing for a while and then little by little: windows close at both ends.
fn slow_reader(client: &mut Client) {
    let Some(conn) = client.open_with(Some(8 << 10)) else { return };
    let (bytes, wait) = (client.between(256 << 10, 1 << 20), client.ms(500, 3000));
    conn.finish_by(|conn| {
        both_ways(conn, bytes, |conn| {
            thread::sleep(wait);
            let mut left = bytes;
            while left > 0 {
                let piece = left.min(16 << 10);
                conn.expect(piece)?;
                left -= piece;
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
    });
}

/// A dozen that say a word, are silent for a while, and say another one.
fn idle(client: &mut Client) {
    let open: Vec<_> = (0..12).filter_map(|_| client.open()).collect();
    let said: Vec<_> = open.iter().map(|conn| conn.send(40).and_then(|()| conn.expect(40))).collect();
    let silence = client.ms(3000, 20_000);
    client.world.run.pause(silence);
    for (conn, said) in open.into_iter().zip(said) {
        let leaks = client.world.run.breaks == Some(Break::Leak);
        conn.finish_by(|conn| {
            said?;
            conn.send(7)?;
            conn.expect(7)?;
            if leaks { conn.leak() } else { closed(conn) }
        });
    }
}

/// Forty, opened one behind the other, and all at work before the first ends.
fn many(client: &mut Client) {
    let open: Vec<_> = (0..40).filter_map(|_| client.open()).collect();
    let sent: Vec<_> = open.iter().map(|conn| conn.send(2000)).collect();
    for (conn, sent) in open.into_iter().zip(sent) {
        conn.finish_by(|conn| {
            sent?;
            conn.expect(2000)?;
            closed(conn)
        });
    }
}

/// An operator resets it.
fn operator(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let world = Arc::clone(&client.world);
    conn.finish_by(|conn| {
        conn.send(100)?;
        conn.expect(100)?;
        let pid = world.pid().ok_or_else(|| Failure::Broken("there is no process".into()))?.to_string();
        let port = format!(":{}", conn.port());
        let args = ["ss", "-K", "--pid", &pid, "dport", "=", &port];
        let limit = Duration::from_secs(60);
        output(&world.run.fourwave, &world.lab.a().namespace, &args, limit).map_err(Failure::Broken)?;
        conn.expect_reset().map(|()| Went::Reset)
    });
}

/// Our FIN, and then the other one.
pub(crate) fn closed(conn: &Conn) -> Result<Went, Failure> {
    conn.half_close()?;
    conn.expect_end()?;
    Ok(Went::Whole)
}

/// Sends all and closes, while `read` reads what comes back; then the end.
fn both_ways(conn: &Conn, bytes: u64, read: impl FnOnce(&Conn) -> Result<(), Failure>) -> Result<Went, Failure> {
    thread::scope(|scope| {
        let writer = scope.spawn(|| conn.send(bytes).and_then(|()| conn.half_close()));
        let came = read(conn).and_then(|()| conn.expect_end());
        if came.is_err() {
            // The writer would wait for room that will not be there.
            conn.shut();
        }
        let sent = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        came.and(sent).map(|()| Went::Whole)
    })
}

/// Connections that are held though they were said to be closed.
static LEAKED: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

impl Conn {
    /// Finishes it by what this does with it.
    pub(crate) fn finish_by(self, work: impl FnOnce(&Self) -> Result<Went, Failure>) {
        let went = work(&self);
        self.finish(went);
    }

    fn leak(&self) -> Result<Went, Failure> {
        let kept = self.stream.try_clone().map_err(|error| Failure::Broken(error.to_string()))?;
        lock(&LEAKED).push(kept);
        Ok(Went::Whole)
    }

    fn shut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Waits until `done` says so, or the time is over.
pub(crate) fn eventually(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(200));
    }
    true
}
