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

/// A connection with so many bytes that have arrived and nobody has read.
fn with_unread(sockets: &mut KernelSockets, bytes: usize) -> (ConnId, TcpStream) {
    let (_, address) = listen(sockets);
    let mut peer = TcpStream::connect(address).unwrap();
    let conn = accept(sockets);
    peer.write_all(&vec![7; bytes]).unwrap();
    while rustix::io::ioctl_fionread(sockets.living(conn).unwrap().fd()).unwrap() < bytes as u64 {
        std::thread::yield_now();
    }
    (conn, peer)
}

/// What is there when reading is shut down is nobody's: it is gone without a word, and the peer's end is told as ever.
#[test]
fn a_shutdown_of_reading_throws_away_what_is_there() {
    let mut sockets = sockets();
    let (conn, peer) = with_unread(&mut sockets, 100_000);
    sockets.shutdown(NOW, conn, Half::Read).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(turn(&mut sockets), [SocketEvent::PeerClosed(conn)]);
}

/// What comes behind that resets, as with the stack (RFC 1122 section 4.2.2.13): no more is thrown away than was there, however
/// fast the peer sends, so that it does not hold the loop either.
#[test]
fn what_comes_behind_a_shutdown_of_reading_resets() {
    let mut sockets = sockets();
    let (conn, mut peer) = with_unread(&mut sockets, 100_000);
    let socket = sockets.living(conn).unwrap();
    socket.discard(99_999);
    assert_eq!(rustix::io::ioctl_fionread(socket.fd()).unwrap(), 1);
    sockets.shutdown(NOW, conn, Half::Read).unwrap();
    peer.write_all(b"late").unwrap();
    assert_eq!(turn(&mut sockets), [SocketEvent::Closed(conn, Some(Error::Reset))]);
    assert_eq!(Read::read(&mut peer, &mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// Who logs an end asks for its addresses there: a connection that we reset has those that it had.
#[test]
fn a_connection_that_was_reset_here_has_its_addresses() {
    let mut sockets = sockets();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let conn = sockets.connect(NOW, None, address).unwrap();
    assert_eq!(turn(&mut sockets), [SocketEvent::Connected(conn)]);
    let (mut peer, from) = listener.accept().unwrap();
    sockets.shutdown(NOW, conn, Half::Read).unwrap();
    peer.write_all(b"late").unwrap();
    let end = loop {
        sockets.poll(NOW);
        if let Some(event) = sockets.next_event(NOW, &mut [0; 64]) {
            break event;
        }
        std::thread::yield_now();
    };
    assert_eq!(end, SocketEvent::Closed(conn, Some(Error::Reset)));
    assert_eq!(sockets.addresses(conn), Ok((from, address)));
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

fn listed(sockets: &KernelSockets) -> Vec<ConnectionInfo> {
    let (mut rows, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        from = sockets.list(NOW, place, 2, &mut rows);
    }
    rows
}

/// Each byte once, and of our FIN nothing.
#[test]
fn a_listing_counts_the_bytes_that_went_and_came() {
    let mut sockets = sockets();
    let (conn, mut peer) = with_unread(&mut sockets, 100_000);
    assert_eq!(sockets.send(conn, &[7; 3000], Sending::Plain), Ok(3000));
    sockets.shutdown(NOW, conn, Half::Write).unwrap();
    peer.read_to_end(&mut Vec::new()).unwrap();
    let counted = |sockets: &KernelSockets| {
        let rows = listed(sockets);
        let More::Connection(info, listing) = &rows[0].more else { panic!("{rows:?}") };
        assert!(info.send_mss > 0 && listing.rto > Duration::ZERO && listing.peer_window_bytes > 0, "{rows:?}");
        (info.send_queue_bytes, listing.bytes_sent, listing.bytes_acked, listing.bytes_received)
    };
    // The peer's kernel takes its time to acknowledge.
    while counted(&sockets).0 > 0 {
        std::thread::yield_now();
    }
    assert_eq!(counted(&sockets), (0, 3000, 3000, 100_000));
    // What was read is no less than what was not.
    turn(&mut sockets);
    assert_eq!(counted(&sockets).3, 100_000);
}

/// Behind the connections, in as many pieces as it takes, with those that wait.
#[test]
fn listeners_are_listed_with_who_waits() {
    let mut sockets = sockets();
    let ours = ListenOptions { accept_queue: Some(100), ..ListenOptions::default() };
    let ids: Vec<_> = [ours.clone(), ours, ListenOptions::from(50)]
        .iter()
        .map(|options| sockets.listen((Ipv4Addr::LOCALHOST, 0).into(), options).unwrap())
        .collect();
    let address = |id: &ListenerId| sockets.listener_address(*id).unwrap();
    let addresses: Vec<_> = ids.iter().map(address).collect();
    let _peers: Vec<_> = (0..3).map(|_| TcpStream::connect(addresses[1]).unwrap()).collect();
    let waiting = |row: &ConnectionInfo| match row.more {
        More::Listener(waiting) => (waiting.accept_queue, waiting.accept_queue_limit, waiting.backlog),
        _ => panic!("{row:?}"),
    };
    let rows = listed(&sockets);
    assert_eq!(rows.iter().map(|row| row.local).collect::<Vec<_>>(), addresses);
    assert!(rows.iter().all(|row| (row.state, row.via) == (State::Listen, Via::Kernel)));
    let all: Vec<_> = rows.iter().map(waiting).collect();
    assert_eq!(all, [(0, Some(100), 100), (3, Some(100), 100), (0, None, 50)]);
    sockets.close_listener(ids[0]).unwrap();
    assert_eq!(listed(&sockets).iter().map(|row| row.local).collect::<Vec<_>>(), addresses[1..]);
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
