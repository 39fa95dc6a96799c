//! The kernel's sockets without a loop: what a turn is, and what is left behind the last one.

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use xdp::sockets::octets_before_mark;

const NOW: Instant = Instant::ZERO;

fn sockets() -> KernelSockets {
    KernelSockets::new(Config { several: false, queue_bytes: 1 << 20, most: 1000 }).unwrap()
}

fn listen(sockets: &mut KernelSockets) -> (ListenerId, SocketAddr) {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = sockets.listen(any, &ListenOptions::from(512)).unwrap();
    (listener, sockets.listener_address(listener).unwrap())
}

/// Polls until there is something to tell, and tells of one turn.
fn turn(sockets: &mut KernelSockets) -> Vec<SocketEvent> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        sockets.poll(NOW);
        let mut told = Vec::new();
        while let Some(event) = sockets.next_event(NOW, &mut buffer) {
            match event {
                SocketEvent::Data(conn, _) => sockets.delivered(conn, &[]),
                SocketEvent::Closed(conn, _) => sockets.ended(conn),
                _ => {}
            }
            told.push(event);
        }
        if !told.is_empty() {
            return told;
        }
        std::thread::yield_now();
    }
}

fn accept(sockets: &mut KernelSockets) -> ConnId {
    loop {
        for event in turn(sockets) {
            if let SocketEvent::Accepted(conn, _) = event {
                return conn;
            }
        }
    }
}

/// A loop without connections and listeners does not poll: it must not be kept awake by those that were.
#[test]
fn what_is_dead_keeps_nobody_awake() {
    let mut sockets = sockets();
    let (listener, address) = listen(&mut sockets);
    let _peer = TcpStream::connect(address).unwrap();
    let conn = accept(&mut sockets);
    sockets.close_listener(listener).unwrap();
    sockets.shutdown(NOW, conn, Half::Write).unwrap();
    assert_eq!(sockets.next_wakeup(), Some(Instant::ZERO));
    sockets.abort(conn).unwrap();
    assert!(sockets.is_empty());
    assert_eq!(sockets.next_wakeup(), None);
}

/// However many have something to tell, the interface of the same loop is looked at in between.
#[test]
fn a_turn_is_bounded() {
    let mut sockets = sockets();
    let (_, address) = listen(&mut sockets);
    let mut peers: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut accepted = 0;
    while accepted < peers.len() {
        accepted += turn(&mut sockets).len();
    }
    peers.iter_mut().for_each(|peer| peer.write_all(b"hello").unwrap());
    let (mut told, mut heard) = (0, BTreeSet::new());
    while heard.len() < peers.len() {
        let events = turn(&mut sockets);
        told += 1;
        assert!(events.len() <= BATCH, "{} in one turn", events.len());
        heard.extend(events.into_iter().map(|event| match event {
            SocketEvent::Data(conn, 5) => conn.index(),
            other => panic!("{other:?}"),
        }));
    }
    assert!(told >= peers.len().div_ceil(BATCH));
}

/// A peer that sends faster than is thrown away does not hold the loop: what comes later resets it.
#[test]
fn a_shutdown_of_reading_throws_away_what_is_there() {
    let mut sockets = sockets();
    let (_, address) = listen(&mut sockets);
    let peer = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        let piece = vec![0; 1 << 20];
        (0..1024).find_map(|_| peer.write_all(&piece).err())
    });
    let conn = accept(&mut sockets);
    sockets.shutdown(NOW, conn, Half::Read).unwrap();
    let mut log = Vec::new();
    while !log.contains(&SocketEvent::Closed(conn, Some(Error::Reset))) {
        log.extend(turn(&mut sockets));
        assert!(!log.contains(&SocketEvent::PeerClosed(conn)), "it was all taken");
    }
    assert!(peer.join().unwrap().is_some());
}

/// An application that accepts until there is nobody does not do so for ever: it is told again in the next turn.
#[test]
fn who_accepts_has_turns() {
    let mut sockets = sockets();
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let options = ListenOptions { accept_queue: Some(512), ..ListenOptions::default() };
    let listener = sockets.listen(any, &options).unwrap();
    let address = sockets.listener_address(listener).unwrap();
    let peers: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < peers.len() {
        assert_eq!(turn(&mut sockets), [SocketEvent::Acceptable(listener)]);
        batches.push(std::iter::from_fn(|| sockets.accept(NOW, listener)).count());
    }
    assert_eq!(batches, [64, 64, 64, 8]);
    // Behind that it is as before: told once for who comes next.
    let _one_more = TcpStream::connect(address).unwrap();
    assert_eq!(turn(&mut sockets), [SocketEvent::Acceptable(listener)]);
    assert!(sockets.accept(NOW, listener).is_some() && sockets.accept(NOW, listener).is_none());
}

/// MSG_OOB marks the last of its octets (RFC 6093 section 3.1: the pointer is behind it); a read ends before the mark.
#[test]
fn the_mark_is_found_before_it_is_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    sockopt::set_socket_oobinline(&server, true).unwrap();
    let mark = |server: &TcpStream| octets_before_mark(server.as_fd()).unwrap();
    let arrived = |server: &TcpStream, all: u64| {
        while rustix::io::ioctl_fionread(server).unwrap() < all {
            std::thread::yield_now();
        }
    };
    assert_eq!(mark(&server), None);
    client.write_all(b"abc").unwrap();
    arrived(&server, 3);
    assert_eq!(mark(&server), None);
    net::send(&client, b"XY", net::SendFlags::OOB).unwrap();
    client.write_all(b"def").unwrap();
    arrived(&server, 8);
    assert_eq!(mark(&server), Some(4));
    let mut all = [0; 8];
    server.read_exact(&mut all[..1]).unwrap();
    assert_eq!(mark(&server), Some(3));
    assert_eq!(server.read(&mut all[1..]).unwrap(), 3);
    assert_eq!(mark(&server), Some(0));
    assert_eq!(server.read(&mut all[4..]).unwrap(), 4);
    assert_eq!((&all, mark(&server)), (b"abcXYdef", None));
    assert!(octets_before_mark(listener.as_fd()).is_err());
}
