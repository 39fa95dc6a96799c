//! One application, and the same expectations of it, over the stack's own connections and over the kernel's: both ends are
//! loops, joined by a cable in memory or by loopback. The stack's time is virtual, the kernel's is its own.

mod world;

use stack::{ConnId, ConnectError, Duration, Error, Half, ListenError, ListenOptions, State, Via};
use world::{Event::*, World, both, pattern};

const MEGABYTE: usize = 1 << 20;

/// What is told, in which order, and how often; half-closes both ways.
#[test]
fn an_open_a_talk_and_a_close() {
    both(|world| {
        let (near, far) = world.open();
        assert_eq!(world.near.app().log, [Connected]);
        assert_eq!(world.far.app().log, [Accepted]);
        let (local, remote) = world.near.call(world.now, |io| io.addresses(near)).unwrap();
        assert_eq!(world.far.call(world.now, |io| io.addresses(far)), Ok((remote, local)));
        assert_eq!(world.far.call(world.now, |io| io.info(far)).unwrap().state, State::Established);
        assert_eq!(world.near.call(world.now, |io| io.send(near, b"")), Ok(0));
        assert_eq!(world.near.call(world.now, |io| io.send(near, &pattern(0, 1000))), Ok(1000));
        world.until(|world| world.far.app().got.len() == 1000);
        assert_eq!(world.near.call(world.now, |io| io.shutdown(near, Half::Write)), Ok(()));
        assert_eq!(world.near.call(world.now, |io| io.send(near, b"x")), Err(Error::BrokenPipe));
        world.until(|world| world.far.app().log.contains(&PeerClosed));
        assert_eq!(world.far.call(world.now, |io| io.info(far)).unwrap().state, State::CloseWait);
        // The other direction goes on.
        assert_eq!(world.far.call(world.now, |io| io.send(far, &pattern(0, 5000))), Ok(5000));
        world.until(|world| world.near.app().got.len() == 5000);
        assert_eq!(world.far.call(world.now, |io| io.shutdown(far, Half::Both)), Ok(()));
        world.until(|world| world.near.app().is_over() && world.far.app().is_over());
        assert_eq!(world.near.app().log, [Connected, Data, PeerClosed, Closed(None)]);
        assert_eq!(world.far.app().log, [Accepted, Data, PeerClosed, Closed(None)]);
        assert_eq!(world.near.call(world.now, |io| io.send(near, b"x")), Err(Error::NotConnected));
        assert_eq!(world.far.call(world.now, |io| io.close(far)), Err(Error::NotConnected));
        world.nothing_is_left();
        assert!(world.near.app().got == pattern(0, 5000) && world.far.app().got == pattern(0, 1000));
    });
}

/// Nobody listens there.
#[test]
fn a_refusal() {
    both(|world| {
        let nobody = world.nobody();
        world.near.call(world.now, |io| io.connect(nobody)).unwrap();
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log, [Closed(Some(Error::Refused))]);
        world.nothing_is_left();
    });
}

/// MUST-46: nor is a foreign address ours, nor can a port be listened on twice.
#[test]
fn who_cannot_be_connected_to() {
    both(|world| {
        for to in ["0.0.0.0:7", "224.0.0.1:7", "255.255.255.255:7", "10.0.0.9:0", "[::]:7", "[ff02::1]:7"] {
            let refused = world.near.call(world.now, |io| io.connect(to.parse().unwrap()));
            assert_eq!(refused, Err(ConnectError::BadAddress), "{to}");
        }
        let foreign = [198, 51, 100, 1].into();
        let to = world.to;
        let refused = world.near.call(world.now, |io| io.connect_from(foreign, to));
        assert_eq!(refused, Err(ConnectError::NotOurs));
        let taken = world.far.call(world.now, |io| io.listen(to, 16));
        assert_eq!(taken, Err(ListenError::InUse));
        world.nothing_is_left();
    });
}

/// An abort is told to the peer, and not to who asked for it.
#[test]
fn an_abort() {
    both(|world| {
        let (near, _) = world.open();
        assert_eq!(world.near.call(world.now, |io| io.abort(near)), Ok(()));
        assert_eq!(world.near.call(world.now, |io| io.info(near)).unwrap_err(), Error::NotConnected);
        world.until(|world| world.far.app().is_over());
        assert_eq!(world.far.app().log, [Accepted, Closed(Some(Error::Reset))]);
        assert_eq!(world.near.app().log, [Connected]);
        world.nothing_is_left();
    });
}

/// A reset in CLOSE-WAIT is one as well, though Linux calls it EPIPE.
#[test]
fn a_reset_behind_the_peers_fin() {
    both(|world| {
        let (near, _) = world.open();
        world.near.call(world.now, |io| io.shutdown(near, Half::Write)).unwrap();
        world.until(|world| world.far.app().log.contains(&PeerClosed));
        world.near.call(world.now, |io| io.abort(near)).unwrap();
        world.until(|world| world.far.app().is_over());
        assert_eq!(world.far.app().log, [Accepted, PeerClosed, Closed(Some(Error::Reset))]);
        world.nothing_is_left();
    });
}

/// What was left unread when the reset came can still be read, in the call that tells of it.
#[test]
fn what_is_left_at_a_reset() {
    both(|world| {
        world.far.app().takes = 10;
        let (near, _) = world.open();
        world.near.call(world.now, |io| io.send(near, &pattern(0, 1000))).unwrap();
        world.until(|world| world.far.app().log.contains(&Data));
        world.near.call(world.now, |io| io.abort(near)).unwrap();
        world.until(|world| world.far.app().is_over());
        assert!(world.far.app().got[..] == pattern(0, 1000)[..10]);
        assert!(world.far.app().last == pattern(10, 990));
        world.nothing_is_left();
    });
}

/// Closing with data unread is a reset, whether it was queued, or left by the call that closed.
#[test]
fn a_close_with_data_unread() {
    both(|world| {
        world.far.app().takes = 10;
        let (near, far) = world.open();
        world.near.call(world.now, |io| io.send(near, &pattern(0, 1000))).unwrap();
        world.until(|world| world.far.app().log.contains(&Data));
        assert_eq!(world.far.call(world.now, |io| io.unread(far)), Ok(990));
        assert_eq!(world.far.call(world.now, |io| io.close(far)), Ok(()));
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log, [Connected, Closed(Some(Error::Reset))]);
        world.nothing_is_left();
    });
    both(|world| {
        (world.far.app().takes, world.far.app().closes_at_data) = (10, true);
        let (near, _) = world.open();
        world.near.call(world.now, |io| io.send(near, &pattern(0, 1000))).unwrap();
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log, [Connected, Closed(Some(Error::Reset))]);
        assert_eq!(world.far.app().log, [Accepted, Data]);
        world.nothing_is_left();
    });
    // All of it taken: in order.
    both(|world| {
        world.far.app().closes_at_data = true;
        let (near, _) = world.open();
        world.near.call(world.now, |io| io.send(near, &pattern(0, 1000))).unwrap();
        world.until(|world| world.near.app().log.contains(&PeerClosed));
        world.near.call(world.now, |io| io.close(near)).unwrap();
        assert_eq!(world.near.app().log, [Connected, PeerClosed]);
        world.nothing_is_left();
    });
}

/// Who has shut down reading resets a peer that sends.
#[test]
fn data_for_who_does_not_read() {
    both(|world| {
        let (near, far) = world.open();
        world.far.call(world.now, |io| io.shutdown(far, Half::Read)).unwrap();
        assert_eq!(world.far.call(world.now, |io| io.send(far, b"hello")), Ok(5));
        world.until(|world| world.near.app().got.len() == 5);
        world.near.call(world.now, |io| io.send(near, b"anybody?")).unwrap();
        world.until(|world| world.near.app().is_over() && world.far.app().is_over());
        assert_eq!(world.near.app().log, [Connected, Data, Closed(Some(Error::Reset))]);
        assert_eq!(world.far.app().log, [Accepted, Closed(Some(Error::Reset))]);
        world.nothing_is_left();
    });
}

/// In SYN-SENT that is the end.
#[test]
fn a_shutdown_before_it_is_open() {
    both(|world| {
        let to = world.to;
        world.near.call(world.now, |io| {
            let conn = io.connect(to).unwrap();
            assert_eq!(io.shutdown(conn, Half::Write), Ok(()));
        });
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log, [Closed(None)]);
    });
}

/// Every option is taken, before the connection is open as well; and what is urgent comes with everything else.
#[test]
fn options_are_taken() {
    both(|world| {
        let to = world.to;
        let conn = world.near.call(world.now, |io| io.connect(to)).unwrap();
        let mut set = |conn| {
            world.near.call(world.now, |io| {
                io.set_nodelay(conn, true)?;
                io.set_cork(conn, true)?;
                io.set_cork(conn, false)?;
                io.set_user_timeout(conn, Some(Duration::MAX))?;
                io.set_user_timeout(conn, Some(Duration::from_secs(30)))?;
                io.set_keepalive(conn, Some(stack::Keepalive::default()))?;
                io.set_keepalive(conn, None)?;
                io.set_traffic_class(conn, 46)?;
                io.set_soft_error_reports(conn, false)?;
                io.soft_error(conn).map(|error| assert_eq!(error, None))?;
                io.urgent(conn).map(|urgent| assert_eq!(urgent, None))?;
                io.detail(conn).map(|_| ())
            })
        };
        assert_eq!(set(conn), Ok(()));
        world.until(|world| world.near.app().log.contains(&Connected));
        let via = world.via;
        assert_eq!((conn.via(), world.far.app().conns[0].via()), (via, via));
        assert_eq!(world.near.call(world.now, |io| io.send_more(conn, b"a")), Ok(1));
        assert_eq!(world.near.call(world.now, |io| io.send(conn, b"b")), Ok(1));
        assert_eq!(world.near.call(world.now, |io| io.send_urgent(conn, b"c")), Ok(1));
        world.until(|world| world.far.app().got == b"abc");
    });
}

/// MUST-30, MUST-32, MUST-33: the mark is told before the data it is about, and where it has moved; it counts from the next
/// octet for the application, and ends with the last that is urgent. What lies behind it follows.
#[test]
fn urgent_data_is_told_and_comes_in_line() {
    both(|world| {
        if !world.tells_marks {
            return;
        }
        world.far.app().takes = 0;
        let (near, far) = world.open();
        let unread = |world: &mut World, all| {
            world.until(|world| world.far.call(world.now, |io| io.unread(far)) == Ok(all));
        };
        let urgent = |world: &mut World| world.far.call(world.now, |io| io.urgent(far)).unwrap();
        world.near.call(world.now, |io| io.set_nodelay(near, true)).unwrap();
        world.near.call(world.now, |io| io.send(near, b"abc")).unwrap();
        unread(world, 3);
        assert_eq!(urgent(world), None);
        assert_eq!(world.near.call(world.now, |io| io.send_urgent(near, b"XY")), Ok(2));
        world.near.call(world.now, |io| io.send(near, b"def")).unwrap();
        unread(world, 8);
        assert_eq!(world.far.app().log, [Accepted, Data, Urgent(5)]);
        assert_eq!(urgent(world), Some(5));
        assert_eq!(world.far.call(world.now, |io| io.skip(far, 4)), Ok(()));
        assert_eq!(urgent(world), Some(1));
        assert_eq!(world.near.call(world.now, |io| io.send_urgent(near, b"Z")), Ok(1));
        unread(world, 5);
        assert_eq!(world.far.app().log, [Accepted, Data, Urgent(5), Urgent(5)]);
        assert_eq!(world.far.call(world.now, |io| io.read(far, &mut [0; 4])), Ok(4));
        assert_eq!(urgent(world), Some(1));
        assert_eq!(world.far.call(world.now, |io| io.read(far, &mut [0; 4])), Ok(1));
        assert_eq!(urgent(world), None);
        // As it comes: with nothing unread before it, and the FIN behind it.
        world.far.app().takes = usize::MAX;
        assert_eq!(world.near.call(world.now, |io| io.send_urgent(near, b"!")), Ok(1));
        world.near.call(world.now, |io| io.shutdown(near, Half::Write)).unwrap();
        world.until(|world| world.far.app().log.contains(&PeerClosed));
        assert_eq!(world.far.app().log[4..], [Urgent(1), Data, PeerClosed]);
        assert_eq!(world.far.app().got, b"!");
        assert_eq!(urgent(world), None);
        world.nothing_is_left();
    });
}

/// Ten megabytes each way, readers that take a little now and then: no octet is lost, senders are refused and told when there is
/// room, and not more lies unread than may.
#[test]
fn slow_readers_hold_up_fast_senders() {
    both(|world| {
        let (near, far) = world.open();
        let all = pattern(0, 10 * MEGABYTE);
        for (side, conn) in [(&mut world.near, near), (&mut world.far, far)] {
            (side.app().takes, side.app().sends) = (0, Some((conn, all.clone())));
            side.call(world.now, |io| io.set_nodelay(conn, true)).unwrap();
        }
        world.pump();
        world.until(|world| [&mut world.near, &mut world.far].into_iter().all(|side| side.app().refused > 0));
        let most = world.most_unread();
        for round in 0.. {
            assert!(round < 100_000, "it has come to a standstill");
            world.step();
            for (side, conn) in [(&mut world.near, near), (&mut world.far, far)] {
                let mut piece = vec![0; 100_000 + 1000 * (round % 7)];
                let unread = side.call(world.now, |io| io.unread(conn)).unwrap();
                assert!(unread <= most, "{unread} of {most} bytes");
                let n = side.call(world.now, |io| io.read(conn, &mut piece)).unwrap();
                side.app().got.extend_from_slice(&piece[..n]);
            }
            if [&mut world.near, &mut world.far].into_iter().all(|side| side.app().got.len() == all.len()) {
                break;
            }
        }
        assert!(world.near.app().got == all && world.far.app().got == all);
        assert!(world.near.app().log.contains(&Writable) && world.far.app().log.contains(&Writable));
    });
}

/// An application that waits for the rest of a message is told of it.
#[test]
fn what_comes_behind_unread_data_is_told() {
    both(|world| {
        world.far.app().takes = 0;
        let (near, far) = world.open();
        for part in 0..5 {
            world.near.call(world.now, |io| io.send(near, &pattern(part * 10, 10))).unwrap();
            world.until(|world| world.far.call(world.now, |io| io.unread(far)) == Ok(10 * (part + 1)));
        }
        world.near.call(world.now, |io| io.shutdown(near, Half::Write)).unwrap();
        world.until(|world| world.far.app().log.contains(&PeerClosed));
        assert_eq!(world.far.app().log, [Accepted, Data, PeerClosed]);
        world.far.call(world.now, |io| io.shutdown(far, Half::Write)).unwrap();
        // An end in order is told when everything is read.
        world.until(|world| world.near.app().is_over());
        (0..100).for_each(|_| world.step());
        assert!(!world.far.app().is_over());
        let mut piece = [0; 100];
        assert_eq!(world.far.call(world.now, |io| io.read(far, &mut piece)), Ok(50));
        assert!(piece[..50] == pattern(0, 50));
        world.until(|world| world.far.app().is_over());
        assert_eq!(world.far.app().log, [Accepted, Data, PeerClosed, Closed(None)]);
        world.nothing_is_left();
    });
}

/// `SO_LINGER`: acknowledged; not acknowledged in time; zero.
#[test]
fn a_close_with_a_limit() {
    both(|world| {
        let (near, far) = world.open();
        world.near.call(world.now, |io| io.set_linger(near, Some(Duration::from_secs(10)))).unwrap();
        world.near.call(world.now, |io| io.close(near)).unwrap();
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log, [Connected, Closed(None)]);
        world.far.call(world.now, |io| io.close(far)).unwrap();
        world.nothing_is_left();
    });
    both(|world| {
        world.far.app().takes = 0;
        let (near, far) = world.open();
        // The FIN is behind more than there is room for.
        world.near.app().sends = Some((near, pattern(0, 20 * MEGABYTE)));
        world.pump();
        world.until(|world| world.near.app().refused > 0);
        (0..100).for_each(|_| world.step());
        world.near.app().sends = None;
        world.near.call(world.now, |io| io.set_linger(near, Some(Duration::from_millis(50)))).unwrap();
        world.near.call(world.now, |io| io.close(near)).unwrap();
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log.last(), Some(&Closed(Some(Error::TimedOut))));
        world.far.call(world.now, |io| io.abort(far)).unwrap();
        world.nothing_is_left();
    });
    both(|world| {
        let (near, _) = world.open();
        world.near.call(world.now, |io| io.set_linger(near, Some(Duration::ZERO))).unwrap();
        world.near.call(world.now, |io| io.close(near)).unwrap();
        world.until(|world| world.far.app().is_over());
        assert_eq!(world.far.app().log, [Accepted, Closed(Some(Error::Reset))]);
        world.nothing_is_left();
    });
    // A peer that sends to who lingers, and so throws away what comes, is reset.
    both(|world| {
        world.far.app().takes = 0;
        let (near, far) = world.open();
        world.near.app().sends = Some((near, pattern(0, 20 * MEGABYTE)));
        world.pump();
        world.until(|world| world.near.app().refused > 0);
        world.near.app().sends = None;
        world.near.call(world.now, |io| io.set_linger(near, Some(Duration::from_secs(100)))).unwrap();
        world.near.call(world.now, |io| io.close(near)).unwrap();
        world.far.call(world.now, |io| io.send(far, b"wait")).unwrap();
        world.until(|world| world.near.app().is_over() && world.far.app().is_over());
        assert_eq!(world.far.app().log.last(), Some(&Closed(Some(Error::Reset))));
        assert!(matches!(world.near.app().log.last(), Some(Closed(Some(_)))), "{:?}", world.near.app().log);
        world.nothing_is_left();
    });
}

/// Connections wait to be accepted, with what they have sent; who is not when the listener closes is reset.
#[test]
fn an_accept_queue() {
    both(|world| {
        let options = ListenOptions { accept_queue: Some(16), ..16.into() };
        let wanted = world.free_address();
        let listener = world.far.call(world.now, |io| io.listen(wanted, options)).unwrap();
        let to = world.far.call(world.now, |io| io.listener_address(listener)).unwrap();
        assert_eq!((listener.via(), to.ip()), (world.via, wanted.ip()));
        world.far.app().leaves_waiting = true;
        let conns: Vec<ConnId> = (0..3).map(|_| world.near.call(world.now, |io| io.connect(to)).unwrap()).collect();
        world.until(|world| world.near.app().log == [Connected; 3]);
        for conn in conns {
            world.near.call(world.now, |io| io.send(conn, b"first words")).unwrap();
        }
        world.until(|world| world.far.app().log == [Acceptable]);
        let first = world.far.call(world.now, |io| io.accept(listener)).unwrap();
        world.until(|world| world.far.app().got.len() == 11);
        assert_eq!(world.far.app().conns, []);
        assert_eq!(world.far.call(world.now, |io| io.close_listener(listener)), Ok(()));
        assert_eq!(world.far.call(world.now, |io| io.close_listener(listener)), Err(ListenError::Closed));
        assert_eq!(world.far.call(world.now, |io| io.accept(listener)), None);
        assert_eq!(world.far.call(world.now, |io| io.listener_address(listener)), Err(ListenError::Closed));
        let reset = Closed(Some(Error::Reset));
        world.until(|world| world.near.app().log.iter().filter(|event| **event == reset).count() == 2);
        world.far.call(world.now, |io| io.abort(first)).unwrap();
        world.until(|world| world.near.app().log.iter().filter(|event| **event == reset).count() == 3);
        world.nothing_is_left();
    });
}

#[test]
fn many_connections() {
    both(|world| {
        const MANY: usize = 150;
        (world.far.app().echoes, world.near.app().closes_after) = (true, Some(5000));
        world.near.app().greets = pattern(0, 5000);
        let to = world.to;
        for _ in 0..MANY {
            world.near.call(world.now, |io| io.connect(to)).unwrap();
        }
        world.until(|world| world.near.app().got.len() == MANY * 5000);
        world.until(|world| world.far.app().log.iter().filter(|event| **event == PeerClosed).count() == MANY);
        world.nothing_is_left();
        let failed = |event: &&world::Event| matches!(event, Closed(Some(_)));
        assert_eq!(world.near.app().log.iter().chain(&world.far.app().log.clone()).filter(failed).count(), 0);
    });
}

/// The end of a loop: everybody is told in order, listeners refuse.
#[test]
fn the_end_of_a_loop() {
    both(|world| {
        let (_, far) = world.open();
        world.far.call(world.now, |io| io.send(far, &pattern(0, 1000))).unwrap();
        world.far.drain(world.now);
        world.until(|world| world.near.app().log.contains(&PeerClosed));
        assert!(world.near.app().got == pattern(0, 1000));
        let to = world.to;
        world.near.call(world.now, |io| io.connect(to)).unwrap();
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log.last(), Some(&Closed(Some(Error::Refused))));
        let near = world.near.app().conns[0];
        world.near.call(world.now, |io| io.close(near)).unwrap();
        world.nothing_is_left();
    });
}

/// Who waits for the outcome of a close does so in the end of a loop as well: for as long as that has time, and is told then that it
/// is over, as at the end of the linger time.
#[test]
fn a_close_with_a_limit_at_the_end_of_a_loop() {
    both(|world| {
        world.far.app().takes = 0;
        let (near, far) = world.open();
        world.near.app().sends = Some((near, pattern(0, 20 * MEGABYTE)));
        world.pump();
        world.until(|world| world.near.app().refused > 0);
        (0..100).for_each(|_| world.step());
        world.near.app().sends = None;
        world.near.call(world.now, |io| io.set_linger(near, Some(Duration::from_secs(1000)))).unwrap();
        world.near.call(world.now, |io| io.close(near)).unwrap();
        world.near.drain(world.now);
        (0..100).for_each(|_| world.step());
        assert!(!world.near.app().is_over() && world.near.shard().connections() == 1);
        let now = world.now;
        world.near.end_all(now);
        assert_eq!(world.near.app().log.last(), Some(&Closed(Some(Error::TimedOut))));
        (0..100).for_each(|_| world.step());
        assert_eq!(world.near.app().log.iter().filter(|event| matches!(event, Closed(_))).count(), 1);
        let _ = world.far.call(world.now, |io| io.abort(far));
        world.nothing_is_left();
    });
    // The outcome comes in time.
    both(|world| {
        let (near, far) = world.open();
        world.near.call(world.now, |io| io.set_linger(near, Some(Duration::from_secs(1000)))).unwrap();
        world.near.drain(world.now);
        world.until(|world| world.near.app().is_over());
        assert_eq!(world.near.app().log, [Connected, Closed(None)]);
        let now = world.now;
        world.near.end_all(now);
        assert_eq!(world.near.app().log, [Connected, Closed(None)]);
        world.far.call(world.now, |io| io.close(far)).unwrap();
        world.nothing_is_left();
    });
}

/// `fourwave ss` lists them, with what they are.
#[test]
fn a_listing() {
    both(|world| {
        world.far.app().takes = 0;
        let (near, far) = world.open();
        world.near.call(world.now, |io| io.send(near, &[7; 100])).unwrap();
        world.until(|world| world.far.call(world.now, |io| io.unread(far)) == Ok(100));
        let (local, remote) = world.far.call(world.now, |io| io.addresses(far)).unwrap();
        let rows = world.far.list(world.now);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].local, rows[0].remote, rows[0].state), (local, remote, State::Established));
        assert_eq!((rows[0].receive_queue_bytes, rows[0].send_queue_bytes), (100, 0));
    });
}

/// The limit of connections: who waits is counted, and gets in when another has gone.
#[test]
fn a_limit_of_the_kernels_connections() {
    let mut world = World::kernel_with_at_most(2);
    let to = world.to;
    world.far.app().echoes = true;
    for _ in 0..2 {
        world.near.call(world.now, |io| io.connect(to)).unwrap();
    }
    assert_eq!(world.near.call(world.now, |io| io.connect(to)), Err(ConnectError::TooMany));
    world.until(|world| world.far.app().conns.len() == 2 && world.near.app().log == [Connected; 2]);
    // One that is none of ours, since ours are limited as well.
    let third = std::net::TcpStream::connect(to).unwrap();
    world.until(|world| world.far.sockets().accept_failed > 0);
    assert_eq!(world.far.app().conns.len(), 2);
    let first = world.near.app().conns[0];
    world.near.call(world.now, |io| io.close(first)).unwrap();
    world.until(|world| world.far.app().log.contains(&PeerClosed));
    world.until(|world| world.far.app().conns.len() == 3);
    assert_eq!(world.near.sockets().connect_refused, 1);
    drop(third);
}

/// What a shard without the kernel's sockets says of them.
#[test]
fn without_the_kernels_sockets() {
    let mut world = World::stack();
    let to = world.to;
    let connected = world.near.call(world.now, |io| io.connect_via(Via::Kernel, None, to));
    assert_eq!(connected, Err(ConnectError::NoSockets));
    let listening = world.near.call(world.now, |io| io.listen_via(Via::Kernel, to, 1));
    assert_eq!(listening, Err(ListenError::NoSockets));
    let made_up = ConnId::kernel(0, 0);
    assert_eq!(world.near.call(world.now, |io| io.send(made_up, b"x")), Err(Error::NotConnected));
    assert_eq!(world.near.call(world.now, |io| io.unread(made_up)), Err(Error::NotConnected));
}

/// Data goes through a relay from the stack's connection to the kernel's and back, 3 MB each way, and the half-closes behind it.
#[test]
fn a_relay_between_both() {
    world::relay(pattern(0, 3 * MEGABYTE));
}
