//! Many bytes, many connections, many threads.

use super::world::{Backend, RING, World, everywhere};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

fn pattern(at: usize) -> u8 {
    let [a, b, c, ..] = at.to_le_bytes();
    a ^ b.wrapping_mul(7) ^ c.wrapping_mul(31)
}

/// One end writes until it would block, and only then the other reads: what is under way is bounded, and all arrives.
#[test]
fn a_writer_is_held_back_by_a_reader_that_does_not_read() {
    everywhere(|world| {
        let (client, server) = world.pair();
        let total = 6 << 20;
        let all: Vec<u8> = (0..total).map(pattern).collect();
        let (mut sent, mut read, mut blocked) = (0, 0, 0);
        let mut buf = vec![0; 48 << 10];
        while read < total {
            while sent < total {
                match (&mut &client).write(&all[sent..(sent + 40_000).min(total)]) {
                    Ok(n) => sent += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            blocked += usize::from(sent < total);
            let n = world.until(|| (&mut &server).read(&mut buf)).unwrap();
            assert!(buf[..n] == all[read..read + n], "behind {read}");
            read += n;
            if sent == total {
                let _ = client.shutdown(Shutdown::Write);
            }
        }
        assert_eq!(world.read(&server).unwrap(), b"");
        assert!(blocked > 1, "the writer was never held back");
    });
}

/// Nothing is read: what a writer gets rid of is the rings, and the buffers of both connections.
#[test]
fn what_is_under_way_is_bounded() {
    let mut world = World::new(Backend::Threads);
    let (client, _server) = world.pair();
    let piece = vec![7; 32 << 10];
    let mut sent = 0;
    let mut quiet = false;
    while !quiet {
        match (&mut &client).write(&piece) {
            Ok(n) => sent += n,
            Err(_) => quiet = !world.wait_for(std::time::Duration::from_millis(500)),
        }
    }
    // Linux's largest send and receive buffers (tcp_wmem, tcp_rmem): 4 MiB and 6 MiB.
    assert!((2 * RING..=2 * RING + (10 << 20)).contains(&sent), "{sent} bytes");
}

#[test]
fn a_thousand_connections_at_once() {
    everywhere(|world| {
        let (listener, address) = world.listen();
        let mut clients = Vec::new();
        let mut servers = Vec::new();
        for i in 0..1000u32 {
            let client = world.connect(address).unwrap();
            let (mut server, _) = world.until(|| listener.accept()).unwrap();
            world.register(&mut server);
            world.write(&client, &i.to_le_bytes()).unwrap();
            clients.push(client);
            servers.push(server);
        }
        for (i, (client, server)) in clients.iter().zip(&servers).enumerate().rev() {
            let asked = world.read_exact(server, 4);
            assert_eq!(asked, u32::try_from(i).unwrap().to_le_bytes());
            world.write(server, &asked).unwrap();
            assert_eq!(world.read_exact(client, 4), asked);
        }
        drop(clients);
        for server in &servers {
            assert_eq!(world.read(server).unwrap(), b"");
        }
    });
}

/// Each thread has its own streams and its own loop.
#[test]
fn threads_with_streams_of_their_own() {
    for backend in [Backend::Kernel, Backend::Threads] {
        let mut world = World::new(backend);
        let (listener, address) = world.listen();
        let clients: Vec<_> = (0..8u8)
            .map(|i| {
                let net = world.client.clone();
                std::thread::spawn(move || {
                    let mut own = World::on(backend, net);
                    for round in 0..10 {
                        let stream = own.connect(address).unwrap();
                        let bytes: Vec<u8> = (0..30_000).map(|at| pattern(at) ^ i ^ round).collect();
                        own.write(&stream, &bytes).unwrap();
                        stream.shutdown(Shutdown::Write).unwrap();
                        assert!(own.read_exact(&stream, bytes.len()) == bytes);
                        assert_eq!(own.read(&stream).unwrap(), b"");
                    }
                })
            })
            .collect();
        for _ in 0..80 {
            let (mut stream, _) = world.until(|| listener.accept()).unwrap();
            let net = world.server.clone();
            std::thread::spawn(move || {
                let mut own = World::on(backend, net);
                own.register(&mut stream);
                loop {
                    let bytes = own.read(&stream).unwrap();
                    if bytes.is_empty() {
                        return;
                    }
                    own.write(&stream, &bytes).unwrap();
                }
            });
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

/// A reader that is at work while its shard fills the ring is never left with data that nobody moves: the peer waits for an
/// answer, and sends nothing more that could help.
#[test]
fn a_reader_at_work_gets_all_of_every_request() {
    let mut world = World::new(Backend::Threads);
    let (client, server) = world.pair();
    let request = vec![7; 3 * RING + 100];
    const ROUNDS: usize = 300;
    let len = request.len();
    let answering = std::thread::spawn(move || {
        let mut buf = [0; 1500];
        for round in 0..ROUNDS {
            let (mut got, mut empty) = (0, 0u32);
            while got < len {
                match (&mut &server).read(&mut buf) {
                    Ok(n) => (got, empty) = (got + n, 0),
                    Err(_) => {
                        std::thread::yield_now();
                        empty += 1;
                        assert!(empty < 5_000_000, "round {round}: {got} of {len} bytes");
                    }
                }
            }
            (&mut &server).write_all(b"k").unwrap();
        }
    });
    for _ in 0..ROUNDS {
        world.write(&client, &request).unwrap();
        assert_eq!(world.read_exact(&client, 1), b"k");
    }
    answering.join().unwrap();
}
