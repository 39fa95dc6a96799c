//! mio's rules of readiness.

use super::world::{Backend, World, everywhere};
use mio::event::Source;
use mio::{Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll as Task, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Long enough for what is on its way to arrive.
const WHILE: Duration = Duration::from_millis(300);

#[test]
fn an_edge_comes_again_after_would_block_and_after_a_short_read() {
    everywhere(|world| {
        let (client, server) = world.pair();
        client.set_nodelay(true).unwrap();
        let mut buf = [0; 64];
        for round in 0..200u32 {
            world.write(&client, &round.to_le_bytes()).unwrap();
            // A read of less than there was room for says as much as `WouldBlock`: no second read, straight to the wait.
            let n = world.until(|| (&mut &server).read(&mut buf)).unwrap();
            assert_eq!(buf[..n], round.to_le_bytes());
            world.write(&client, b"next").unwrap();
            while !world.wait().iter().any(|(_, readable, _)| *readable) {}
            assert_eq!(world.until(|| (&mut &server).read(&mut buf)).unwrap(), 4);
            assert_eq!((&mut &server).read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

/// Who looks at the beginning of what comes, and finds too little of it, waits for more.
#[test]
fn more_behind_a_peek_is_told() {
    everywhere(|world| {
        let (client, server) = world.pair();
        client.set_nodelay(true).unwrap();
        let mut buf = [0; 16];
        for _ in 0..200 {
            world.write(&client, b"begin").unwrap();
            assert_eq!(world.until(|| server.peek(&mut buf)).unwrap(), 5);
            world.write(&client, b"ning").unwrap();
            while server.peek(&mut buf).unwrap() < 9 {
                world.wait();
            }
            assert_eq!(world.read_exact(&server, 9), b"beginning");
        }
    });
}

/// What is ready when it is registered, or registered anew, is told; what is not is not.
#[test]
fn registering_tells_what_is_ready() {
    everywhere(|world| {
        let (client, mut server) = world.pair();
        assert_eq!((&mut &server).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let registry = world.poll.registry().try_clone().unwrap();
        while world.wait_for(WHILE) {}
        server.reregister(&registry, Token(1000), Interest::READABLE).unwrap();
        assert!(!world.wait_for(WHILE), "{:?}: nothing is readable", world.backend);
        server.reregister(&registry, Token(1001), Interest::WRITABLE).unwrap();
        let seen = world.wait();
        assert!(seen.iter().all(|(token, _, writable)| *token == Token(1001) && *writable), "{seen:?}");
        world.write(&client, b"data").unwrap();
        assert!(!world.wait_for(WHILE), "{:?}: nobody asks whether it is readable", world.backend);
        server.reregister(&registry, Token(1002), Interest::READABLE).unwrap();
        let seen = world.wait();
        assert!(seen.contains(&(Token(1002), true, false)), "{seen:?}");
        server.reregister(&registry, Token(1003), Interest::READABLE).unwrap();
        assert!(world.wait().contains(&(Token(1003), true, false)), "it is readable still");
    });
}

#[test]
fn a_source_is_registered_once() {
    everywhere(|world| {
        let (client, mut server) = world.pair();
        let registry = world.poll.registry().try_clone().unwrap();
        let twice = server.register(&registry, Token(7), Interest::READABLE).unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
        server.deregister(&registry).unwrap();
        world.write(&client, b"data").unwrap();
        while world.wait_for(WHILE) {
            assert!(world.seen().iter().all(|(token, ..)| *token != Token(3)), "it is deregistered");
        }
        assert_eq!(server.reregister(&registry, Token(7), Interest::READABLE).unwrap_err().kind(), ErrorKind::NotFound);
        // In another loop: what has come meanwhile is told at once.
        let mut other = Poll::new().unwrap();
        server.register(other.registry(), Token(8), Interest::READABLE).unwrap();
        let mut events = mio::Events::with_capacity(8);
        other.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(8)]);
    });
}

/// As mio's: who is not registered can't be registered anew.
#[test]
fn a_listener_is_registered_before_it_is_registered_anew() {
    everywhere(|world| {
        let (mut listener, _) = world.listen();
        let registry = world.poll.registry().try_clone().unwrap();
        listener.reregister(&registry, Token(7), Interest::READABLE).unwrap();
        listener.deregister(&registry).unwrap();
        let anew = listener.reregister(&registry, Token(7), Interest::READABLE);
        assert_eq!(anew.map_err(|error| error.kind()), Err(ErrorKind::NotFound), "{:?}", world.backend);
        listener.register(&registry, Token(7), Interest::READABLE).unwrap();
    });
}

#[test]
fn a_peek_takes_nothing() {
    everywhere(|world| {
        let (client, server) = world.pair();
        world.write(&client, b"twice").unwrap();
        let mut buf = [0; 16];
        for _ in 0..2 {
            assert_eq!(world.until(|| server.peek(&mut buf)).unwrap(), 5);
            assert_eq!(&buf[..5], b"twice");
        }
        assert_eq!(server.peek(&mut buf[..2]).unwrap(), 2);
        assert_eq!(world.read(&server).unwrap(), b"twice");
        assert_eq!(server.peek(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// A stream that is full is not writable, and is again when the peer has read.
#[test]
fn writable_comes_again() {
    everywhere(|world| {
        let (client, server) = world.pair();
        let piece = vec![1; 32 << 10];
        let mut sent = 0;
        loop {
            match (&mut &client).write(&piece) {
                Ok(n) => sent += n,
                // Until it stays full.
                Err(_) if world.wait_for(WHILE) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        let mut read = 0;
        while read < sent {
            read += world.read(&server).unwrap().len();
        }
        let n = world.until(|| (&mut &client).write(&piece)).unwrap();
        assert!(n > 0);
    });
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(mut poll: impl FnMut(&mut Context<'_>) -> Task<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match poll(&mut cx) {
            Task::Ready(value) => return value,
            Task::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

/// Without mio: tasks are woken, and there is no descriptor.
#[test]
fn tasks_are_woken() {
    let world = World::new(Backend::Threads);
    let (listener, address) = world.listen_bare();
    let echo = std::thread::spawn(move || {
        let (stream, _) = block_on(|cx| listener.poll_accept(cx)).unwrap();
        let mut buf = [0; 4096];
        loop {
            match block_on(|cx| stream.poll_read(cx, &mut &mut buf[..])).unwrap() {
                0 => return,
                n => {
                    let mut done = 0;
                    while done < n {
                        let rest = [std::io::IoSlice::new(&buf[done..n])];
                        done += block_on(|cx| stream.poll_write(cx, &rest)).unwrap();
                    }
                }
            }
        }
    });
    let stream = world.connect_bare(address);
    block_on(|cx| stream.poll_connected(cx)).unwrap();
    let mut buf = [0; 4096];
    for round in 0..100u32 {
        let asked = [round.to_le_bytes(); 100].concat();
        let n = block_on(|cx| stream.poll_write(cx, &[std::io::IoSlice::new(&asked)])).unwrap();
        assert_eq!(n, asked.len());
        let mut back: Vec<u8> = Vec::new();
        while back.len() < asked.len() {
            block_on(|cx| stream.poll_readable(cx));
            let n = block_on(|cx| stream.poll_read(cx, &mut &mut buf[..])).unwrap();
            back.extend(&buf[..n]);
        }
        assert_eq!(back, asked);
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(block_on(|cx| stream.poll_read(cx, &mut &mut buf[..])).unwrap(), 0);
    echo.join().unwrap();
    // Nobody listens any more.
    let refused = world.connect_bare(address);
    let error = block_on(|cx| refused.poll_connected(cx)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
