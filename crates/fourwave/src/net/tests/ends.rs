//! How connections begin and end: the table of the module's documentation, against the kernel.

use super::world::{Backend, World, everywhere};
use crate::net::link::Link;
use crate::net::{Net, TcpStream};
use rustix::io::Errno;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// What a write says, once the end has been heard.
fn write_kind(stream: &TcpStream) -> Option<ErrorKind> {
    (&mut &*stream).write(b"x").err().map(|error| error.kind())
}

fn read_kind(stream: &TcpStream) -> Result<usize, ErrorKind> {
    (&mut &*stream).read(&mut [0; 8]).map_err(|error| error.kind())
}

/// Waits until the stream hears of an end, without asking it.
fn settle(world: &mut World, stream: &TcpStream) {
    world.until(|| if stream.peer_addr().is_err() { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }).unwrap();
}

#[test]
fn an_echo_half_closed_by_the_client_ends_in_order() {
    everywhere(|world| {
        let (client, server) = world.pair();
        assert_eq!(server.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
        world.write(&client, b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(write_kind(&client), Some(ErrorKind::BrokenPipe));
        assert_eq!(world.read_exact(&server, 5), b"hello");
        assert_eq!(world.read(&server).unwrap(), b"");
        assert_eq!(world.read(&server).unwrap(), b"", "the end stays");
        // The other direction goes on.
        world.write(&server, b"and on").unwrap();
        drop(server);
        assert_eq!(world.read_exact(&client, 6), b"and on");
        assert_eq!(world.read(&client).unwrap(), b"");
        assert_eq!(write_kind(&client), Some(ErrorKind::BrokenPipe));
        assert!(client.take_error().unwrap().is_none());
    });
}

#[test]
fn what_was_written_before_a_drop_arrives() {
    everywhere(|world| {
        let (client, server) = world.pair();
        let bytes: Vec<u8> = (0..40_000u32).map(|i| i.to_le_bytes()[0]).collect();
        world.write(&client, &bytes).unwrap();
        drop(client);
        assert!(world.read_exact(&server, bytes.len()) == bytes);
        assert_eq!(world.read(&server).unwrap(), b"");
    });
}

#[test]
fn an_open_that_is_refused_says_so_once() {
    everywhere(|world| {
        let (listener, address) = world.listen();
        drop(listener);
        assert_eq!(world.connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let mut stream = world.client.connect(address).unwrap();
        world.register(&mut stream);
        let read = world.until(|| (&mut &stream).read(&mut [0; 8]));
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!((read_kind(&stream), write_kind(&stream)), (Ok(0), Some(ErrorKind::BrokenPipe)));
        assert_eq!(stream.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(stream.shutdown(Shutdown::Write).unwrap_err().kind(), ErrorKind::NotConnected);
        let mut stream = world.client.connect(address).unwrap();
        world.register(&mut stream);
        let written = world.until(|| (&mut &stream).write(b"x"));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!((read_kind(&stream), write_kind(&stream)), (Ok(0), Some(ErrorKind::BrokenPipe)));
    });
}

/// What came before the reset can be read; then it is told once, to whoever asks first.
#[test]
fn a_reset_is_told_once() {
    everywhere(|world| {
        for first in ["read", "write", "take_error"] {
            let (client, server) = world.pair();
            world.write(&server, b"last").unwrap();
            world.until(|| client.peek(&mut [0; 4])).unwrap();
            server.set_linger(Some(Duration::ZERO)).unwrap();
            drop(server);
            settle(world, &client);
            let reset = Some(ErrorKind::ConnectionReset);
            match first {
                "read" => {
                    assert_eq!(world.read(&client).unwrap(), b"last");
                    assert_eq!(read_kind(&client), Err(ErrorKind::ConnectionReset));
                }
                "write" => assert_eq!(write_kind(&client), reset),
                _ => assert_eq!(client.take_error().unwrap().map(|error| error.kind()), reset),
            }
            assert_eq!(write_kind(&client), Some(ErrorKind::BrokenPipe), "{first}");
            if first != "read" {
                assert_eq!(world.read(&client).unwrap(), b"last");
            }
            assert_eq!(read_kind(&client), Ok(0), "{first}");
            assert!(client.take_error().unwrap().is_none());
        }
    });
}

/// RFC 1122 section 4.2.2.13: data that nobody has read is lost, and the peer is told.
#[test]
fn a_drop_with_unread_data_resets() {
    everywhere(|world| {
        let (client, server) = world.pair();
        world.write(&client, b"nobody reads this").unwrap();
        world.until(|| server.peek(&mut [0; 4])).unwrap();
        drop(server);
        settle(world, &client);
        assert_eq!(read_kind(&client), Err(ErrorKind::ConnectionReset));
    });
}

/// A server that refuses a request says so and drops the rest of it: its answer is ahead of the reset, with linger zero as well.
/// What the kernel was given has left before the call is back.
#[test]
fn what_was_written_before_a_drop_that_resets_arrives() {
    everywhere(|world| {
        for (linger, bytes) in [(None, 12), (Some(Duration::ZERO), 12), (None, 10_000)] {
            let (client, server) = world.pair();
            world.write(&client, b"more than anybody wants to read").unwrap();
            world.until(|| server.peek(&mut [0; 4])).unwrap();
            if linger.is_some() {
                world.read_exact(&server, 31);
            }
            let answer = vec![b'n'; bytes];
            world.write(&server, &answer).unwrap();
            server.set_linger(linger).unwrap();
            drop(server);
            assert!(world.read_exact(&client, bytes) == answer, "{:?} {linger:?}", world.backend);
            settle(world, &client);
            assert_eq!(read_kind(&client), Err(ErrorKind::ConnectionReset), "{:?} {linger:?}", world.backend);
        }
    });
}

/// `tcp_reset` of Linux: in CLOSE-WAIT it is a broken pipe, and reading has ended already.
#[test]
fn a_reset_behind_the_peers_fin_breaks_the_pipe() {
    everywhere(|world| {
        let (client, server) = world.pair();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(world.read(&client).unwrap(), b"");
        server.set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        settle(world, &client);
        assert_eq!(read_kind(&client), Ok(0));
        assert_eq!(client.take_error().unwrap().map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
        assert_eq!(write_kind(&client), Some(ErrorKind::BrokenPipe));
    });
}

/// RFC 1122 section 4.2.2.13: what nobody will read is answered by a reset. (Linux takes it without a word.)
#[test]
fn what_arrives_behind_a_shutdown_of_reading_resets() {
    for backend in [Backend::Threads, Backend::Driven] {
        let world = &mut World::new(backend);
        let (client, server) = world.pair();
        server.shutdown(Shutdown::Read).unwrap();
        assert_eq!(read_kind(&server), Ok(0));
        world.write(&client, b"too late").unwrap();
        settle(world, &client);
        assert_eq!(read_kind(&client), Err(ErrorKind::ConnectionReset));
        assert_eq!((read_kind(&server), write_kind(&server)), (Ok(0), Some(ErrorKind::ConnectionReset)));
        assert_eq!(write_kind(&server), Some(ErrorKind::BrokenPipe));
    }
}

/// As Linux has it, whose own sockets are among these: what had come before is still read, and then it is the end.
#[test]
fn what_was_there_at_a_shutdown_of_reading_is_read() {
    everywhere(|world| {
        let (client, server) = world.pair();
        world.write(&client, b"in time").unwrap();
        world.until(|| server.peek(&mut [0; 8])).unwrap();
        server.shutdown(Shutdown::Read).unwrap();
        assert_eq!((read_kind(&server), read_kind(&server)), (Ok(7), Ok(0)), "{:?}", world.backend);
    });
}

#[test]
fn a_stream_that_is_not_connected_yet() {
    everywhere(|world| {
        // Nobody has that address, so it stays in SYN-SENT; on the kernel's loopback there is no such time.
        if world.backend == Backend::Kernel {
            return;
        }
        let stream = world.client.connect(SocketAddr::from(([10, 0, 0, 77], 7))).unwrap();
        assert_eq!(stream.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(read_kind(&stream), Err(ErrorKind::WouldBlock));
        assert_eq!(write_kind(&stream), Some(ErrorKind::WouldBlock));
    });
}

/// `inet_shutdown` of Linux: in SYN-SENT the open is given up, whichever direction was meant. That is told as a reset, once.
#[test]
fn a_shutdown_before_the_stream_is_open_gives_it_up() {
    everywhere(|world| {
        // Nobody answers: nobody has that address, or the only place is taken.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let full = socket.local_addr().unwrap().as_socket().unwrap();
        let _first = std::net::TcpStream::connect(full).unwrap();
        let to = if world.backend == Backend::Kernel { full } else { ([10, 0, 0, 77], 7).into() };
        for (how, first) in [Shutdown::Read, Shutdown::Write, Shutdown::Both].into_iter().zip(["read", "write", "ask"])
        {
            let stream = world.client.connect(to).unwrap();
            assert_eq!(read_kind(&stream), Err(ErrorKind::WouldBlock));
            stream.shutdown(how).unwrap();
            let reset = Some(ErrorKind::ConnectionReset);
            match first {
                "read" => assert_eq!(read_kind(&stream).err(), reset),
                "write" => assert_eq!(write_kind(&stream), reset),
                _ => assert_eq!(stream.take_error().unwrap().map(|error| error.kind()), reset),
            }
            assert_eq!(read_kind(&stream), Err(ErrorKind::NotConnected), "{how:?}");
            assert_eq!(write_kind(&stream), Some(ErrorKind::BrokenPipe), "{how:?}");
            assert!(stream.take_error().unwrap().is_none());
            assert_eq!(stream.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
            assert_eq!(stream.shutdown(how).unwrap_err().kind(), ErrorKind::NotConnected);
        }
        // The stack goes on.
        let (client, server) = world.pair();
        world.write(&client, b"next").unwrap();
        assert_eq!(world.read(&server).unwrap(), b"next");
    });
}

/// MUST-46: there is no open to a broadcast address. The kernel says so at once, the stack by the stream.
#[test]
fn an_open_to_nobody_fails() {
    let mut world = World::new(Backend::Threads);
    let broadcast = world.connect(([10, 0, 0, 255], 7).into());
    assert_eq!(broadcast.unwrap_err().kind(), ErrorKind::InvalidInput);
    let elsewhere = world.connect(([192, 0, 2, 1], 7).into());
    assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::NetworkUnreachable);
    // On the link, and nobody answers for it.
    let nobody = world.connect(([10, 0, 0, 77], 7).into());
    assert_eq!(nobody.unwrap_err().kind(), ErrorKind::HostUnreachable);
}

/// Shards take turns; one that is full, or over, leaves its turn to another.
#[test]
fn an_open_goes_to_a_shard_that_has_room() {
    let links = [0, 1, 2].map(|shard| Link::new(shard, 2, 1 << 10));
    let net = Net::over(links.to_vec(), None, None, false, None);
    let to = SocketAddr::from(([10, 0, 0, 1], 7));
    let full = |opened: io::Result<TcpStream>| {
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(Errno::MFILE.raw_os_error()));
    };
    links[1].die();
    let streams: Vec<_> = (0..4).map(|_| net.connect(to).unwrap()).collect();
    full(net.connect(to));
    drop(streams);
    // The shard has let go of its own.
    while links[2].pop().is_some() {}
    let _streams: Vec<_> = (0..2).map(|_| net.connect(to).unwrap()).collect();
    full(net.connect(to));
    links.iter().for_each(|link| link.die());
    assert_eq!(net.connect(to).unwrap_err().kind(), ErrorKind::NetworkDown);
}

/// What the sockets of a stack are made with is refused by its name, on every way to have them.
#[test]
fn what_is_out_of_range_is_refused_by_its_name() {
    let stack = || crate::Stack::on("none");
    for (stack, says) in [
        (stack().listen(([10, 0, 0, 1], 7).into()), "listen is 10.0.0.1:7, allowed is nothing: that is for an App"),
        (stack().stream_ring_bytes(1023), "stream_ring_bytes is 1023, allowed is 1 KiB to 64 MiB"),
        (stack().stream_ring_bytes((64 << 20) + 1), "stream_ring_bytes is 67108865, allowed is"),
        (stack().max_streams(0), "max_streams is 0, allowed is 1 to 2^24"),
        (stack().max_streams((1 << 24) + 1), "max_streams is 16777217, allowed is"),
        (crate::Stack::kernel().max_streams(0), "max_streams is 0, allowed is"),
    ] {
        let driven = stack.clone().drive().map(|_| ()).unwrap_err().to_string();
        let error = stack.sockets().unwrap_err().to_string();
        assert!(error.starts_with(says) && driven == error, "{error} {driven}");
    }
}

#[test]
fn dropping_a_listener_resets_who_was_not_accepted_and_frees_the_port() {
    everywhere(|world| {
        let (listener, address) = world.listen();
        let again = world.server.bind(address).map(|_| ()).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AddrInUse);
        let client = world.connect(address).unwrap();
        drop(listener);
        settle(world, &client);
        assert_eq!(read_kind(&client), Err(ErrorKind::ConnectionReset));
        world.server.bind(address).map(|_| ()).unwrap();
    });
}

#[test]
fn options() {
    everywhere(|world| {
        let (client, _server) = world.pair();
        assert!(!client.nodelay().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        client.set_nodelay(false).unwrap();
        assert!(!client.nodelay().unwrap());
        assert_eq!((client.ttl().unwrap(), client.linger().unwrap()), (64, None));
        client.set_linger(Some(Duration::from_secs(3))).unwrap();
        assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(3)));
    });
}

#[test]
fn a_stack_that_ends_ends_its_streams() {
    let mut world = World::new(Backend::Threads);
    let (client, server) = world.pair();
    let (listener, _) = world.listen();
    world.write(&server, b"last words").unwrap();
    world.until(|| client.peek(&mut [0; 4])).unwrap();
    for stack in &mut world.stacks {
        stack.link.ask_to_finish();
        stack.end();
    }
    assert_eq!(world.read(&client).unwrap(), b"last words");
    // For good, unlike `take_error`.
    for _ in 0..2 {
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::NetworkDown);
    }
    assert!(listener.take_error().unwrap().is_none());
    assert_eq!(write_kind(&server), Some(ErrorKind::ConnectionAborted));
    assert_eq!((write_kind(&server), read_kind(&server)), (Some(ErrorKind::BrokenPipe), Ok(0)));
    assert_eq!(world.client.connect(([10, 0, 0, 1], 7).into()).unwrap_err().kind(), ErrorKind::NetworkDown);
}

/// The only test of this program that looks at what is installed before anybody has.
#[test]
fn without_a_stack_installed_nothing_is_chosen_silently() {
    let error = Net::installed().unwrap_err();
    assert!(error.to_string().contains("install()"), "{error}");
    assert_eq!(TcpStream::connect(([127, 0, 0, 1], 7).into()).unwrap_err().kind(), ErrorKind::NotConnected);
}

/// As close(2) takes a descriptor out of epoll: the loop hears no more of a stream that it has dropped, though the connection
/// goes on for as long as there is something to send.
#[test]
fn a_dropped_stream_is_heard_of_no_more() {
    everywhere(|world| {
        let (client, mut server) = world.pair();
        world.poll.registry().deregister(&mut server).unwrap();
        let token = world.register(&mut server);
        let piece = [7; 32 << 10];
        while (&mut &server).write(&piece).is_ok() || world.wait_for(Duration::from_millis(200)) {}
        assert_eq!(read_kind(&server), Err(ErrorKind::WouldBlock));
        drop(server);
        // The shard hears of an end before all of it is sent.
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        while world.wait_for(Duration::from_millis(200)) {
            heard.extend(world.seen());
        }
        heard.retain(|(of, ..)| *of == token);
        assert_eq!(heard, [], "{:?}", world.backend);
    });
}

/// RFC 9293 section 3.10.7.4: a reset behind the peer's FIN, and the reader has not had room for all that was before them.
#[test]
fn a_reset_behind_a_fin_that_waits_for_room_ends_as_one_behind_a_fin() {
    everywhere(|world| {
        let (client, server) = world.pair();
        let bytes = vec![7; 3 * super::world::RING];
        world.write(&client, &bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        // It is all on the way to the peer, whose ring is full.
        while world.wait_for(Duration::from_millis(300)) {}
        client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        settle(world, &server);
        assert_eq!(server.take_error().unwrap().map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
        let mut buf = vec![0; bytes.len()];
        let mut got = 0;
        while let Ok(n @ 1..) = (&mut &server).read(&mut buf) {
            got += n;
        }
        assert_eq!((got, read_kind(&server)), (bytes.len(), Ok(0)));
    });
}

/// Nobody waits for a stack that has ended: every accept says so, and a bind at once.
#[test]
fn a_listener_of_a_stack_that_has_ended() {
    let mut world = World::new(Backend::Threads);
    let (listener, _) = world.listen();
    let (mut early, _) = world.listen();
    world.poll.registry().deregister(&mut early).unwrap();
    world.stacks.iter_mut().for_each(super::world::Threaded::end);
    for _ in 0..2 {
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::NetworkDown);
    }
    assert_eq!(listener.take_error().unwrap().map(|error| error.kind()), None, "told");
    // One that is registered only now is readable.
    let token = world.register(&mut early);
    assert!(
        world.wait().iter().any(|(of, readable, _)| *of == token && *readable) || {
            world.wait().iter().any(|(of, ..)| *of == token)
        }
    );
    let link = std::sync::Arc::clone(&world.stacks[0].link);
    let keep = std::sync::Arc::new(());
    let release = crate::net::listening::Release(Box::new(|_| {}));
    let (_late, answers) = crate::net::listening::Listener::open(&[link], ([10, 0, 0, 1], 7).into(), 8, keep, release);
    assert_eq!(answers.try_recv(), Ok(Errno::NETDOWN.raw_os_error()));
}

/// A loop that fails in the program's hands fails for all that wait for it.
#[test]
fn a_driven_stack_whose_interface_goes() {
    let mut world = World::new(Backend::Driven);
    let (_client, server) = world.pair();
    let (listener, _) = world.listen();
    assert_eq!(read_kind(&server), Err(ErrorKind::WouldBlock));
    assert_eq!(world.lose_interface().raw_os_error(), Some(Errno::NODEV.raw_os_error()));
    assert_eq!(read_kind(&server), Err(ErrorKind::ConnectionAborted));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::NetworkDown);
}
