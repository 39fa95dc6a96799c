//! Tasks that wait, that give up, and that wait for the same thing.

use super::{Ends, everywhere, give_up, pattern};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::task::JoinSet;

/// Every other reader gives up before there is something; nothing is lost.
#[test]
fn a_read_that_is_given_up_loses_nothing() {
    everywhere(|ends| async move {
        let (mut client, mut server) = ends.pair().await;
        let sent = pattern(400_000, 3);
        let out = sent.clone();
        let writer = tokio::spawn(async move {
            for piece in out.chunks(1000) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (mut back, mut buf) = (Vec::new(), [0; 3000]);
        loop {
            let n = match give_up(server.read(&mut buf)).await {
                Some(n) => n.unwrap(),
                None => server.read(&mut buf).await.unwrap(),
            };
            if n == 0 {
                break;
            }
            back.extend_from_slice(&buf[..n]);
        }
        writer.await.unwrap();
        assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    });
}

/// What a write that is given up has not reported is not sent.
#[test]
fn a_write_that_is_given_up_sends_what_it_said() {
    everywhere(|ends| async move {
        let (mut client, mut server) = ends.pair().await;
        let sent = pattern(2_000_000, 5);
        let out = sent.clone();
        let writer = tokio::spawn(async move {
            let mut done = 0;
            while done < out.len() {
                done += match give_up(client.write(&out[done..])).await {
                    Some(n) => n.unwrap(),
                    None => client.write(&out[done..]).await.unwrap(),
                };
            }
        });
        let mut back = Vec::new();
        server.read_to_end(&mut back).await.unwrap();
        writer.await.unwrap();
        assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    });
}

/// Many tasks accept of one listener, others give up: each connection is accepted once, and each task is woken.
#[test]
fn many_tasks_accept_of_one_listener() {
    everywhere(|ends| async move {
        let (listener, address) = ends.listen().await;
        let listener = Arc::new(listener);
        let (mut tasks, mut quitters) = (JoinSet::new(), JoinSet::new());
        for _ in 0..8 {
            let own = Arc::clone(&listener);
            tasks.spawn(async move {
                let mut accepted = 0;
                while accepted < 10 {
                    let (mut stream, _) = own.accept().await.unwrap();
                    stream.write_all(b"!").await.unwrap();
                    accepted += 1;
                }
            });
            let own = Arc::clone(&listener);
            quitters.spawn(async move { own.accept().await.map(drop) });
            assert!(give_up(listener.accept()).await.is_none());
        }
        quitters.shutdown().await;
        for _ in 0..80 {
            let mut client = ends.connect(address).await;
            assert_eq!(client.read_u8().await.unwrap(), b'!');
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    });
}

/// A reader, and tasks that wait for the same stream: one of them is aborted, all others are woken.
#[test]
fn all_who_wait_for_a_stream_are_woken() {
    everywhere(|ends| async move {
        for _ in 0..50 {
            let (mut client, server) = ends.pair().await;
            let server = Arc::new(server);
            let mut tasks = JoinSet::new();
            for _ in 0..3 {
                let own = Arc::clone(&server);
                tasks.spawn(async move { own.readable().await.unwrap() });
            }
            let own = Arc::clone(&server);
            let peeks = tokio::spawn(async move { own.peek(&mut [0; 8]).await.unwrap() });
            let own = Arc::clone(&server);
            let dropped = tokio::spawn(async move { own.readable().await });
            tokio::task::yield_now().await;
            dropped.abort();
            client.write_all(b"now").await.unwrap();
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
            assert!(peeks.await.unwrap() > 0);
            let both = server.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
            assert!(both.is_readable() && both.is_writable());
        }
    });
}

/// tokio's loop of `readable` and `try_read`, and of `writable` and `try_write`, both in one task at each end.
#[test]
fn trying_and_waiting() {
    everywhere(|ends| async move {
        let (client, server) = ends.pair().await;
        let sent = pattern(1_000_000, 9);
        let out = sent.clone();
        let echo = tokio::spawn(async move {
            let (mut pending, mut buf) = (Vec::new(), [0; 8192]);
            loop {
                let wanted =
                    if pending.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
                let ready = server.ready(wanted).await.unwrap();
                if ready.is_readable() {
                    match server.try_read(&mut buf) {
                        Ok(0) => break,
                        Ok(n) => pending.extend_from_slice(&buf[..n]),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
                if ready.is_writable() {
                    match server.try_write(&pending) {
                        Ok(n) => drop(pending.drain(..n)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            }
            assert!(pending.is_empty());
        });
        let client = Arc::new(client);
        let own = Arc::clone(&client);
        let writer = tokio::spawn(async move {
            let mut done = 0;
            while done < out.len() {
                own.writable().await.unwrap();
                match own.try_write(&out[done..]) {
                    Ok(n) => done += n,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        });
        let (mut back, mut buf) = (Vec::new(), [0; 8192]);
        while back.len() < sent.len() {
            client.readable().await.unwrap();
            match client.try_read(&mut buf) {
                Ok(n) => back.extend_from_slice(&buf[..n]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(back == sent, "something else came back");
        writer.await.unwrap();
        drop(client);
        echo.await.unwrap();
    });
}

/// As tokio's: an error is told to who asks for errors, and the end to who waits for what is urgent; data to neither.
#[test]
fn errors_and_ends_are_told_to_who_asks_for_nothing_else() {
    everywhere(|ends| async move {
        let (mut client, mut server) = ends.pair().await;
        client.write_all(b"data").await.unwrap();
        server.readable().await.unwrap();
        assert!(give_up(server.ready(Interest::PRIORITY | Interest::ERROR)).await.is_none());
        client.shutdown().await.unwrap();
        assert!(server.ready(Interest::PRIORITY).await.unwrap().is_read_closed());
        assert!(give_up(server.ready(Interest::ERROR)).await.is_none());
        // Closed both ways, and in order.
        server.read_exact(&mut [0; 4]).await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 4]).await.unwrap(), 0);
        assert!(give_up(server.ready(Interest::ERROR)).await.is_none());

        let (client, server) = ends.pair().await;
        let server = Arc::new(server);
        let own = Arc::clone(&server);
        let waits = tokio::spawn(async move { own.ready(Interest::ERROR).await.unwrap() });
        tokio::task::yield_now().await;
        client.set_zero_linger().unwrap();
        drop(client);
        assert!(waits.await.unwrap().is_error());
        // Whoever was told of it: it stays so.
        assert_eq!(server.try_read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(server.ready(Interest::ERROR).await.unwrap().is_error());
    });
}

/// A task that always finds something lets others run: tokio's budget.
#[test]
fn a_busy_task_lets_others_run() {
    everywhere(|ends| async move {
        let (mut client, server) = ends.pair().await;
        client.write_all(b"always").await.unwrap();
        server.readable().await.unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&ran);
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                tokio::task::spawn_local(async move { other.store(true, Ordering::Relaxed) });
                for _ in 0..1000 {
                    poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
                }
                assert!(ran.load(Ordering::Relaxed), "1000 times without a turn for another task");
            })
            .await;
    });
}

/// A connection that nobody waits for any more is given up, at any point of its handshake.
#[test]
fn an_open_that_is_given_up_leaves_nothing() {
    everywhere(|ends| async move {
        let (listener, address) = ends.listen().await;
        for _ in 0..20 {
            let connect = crate::net::tokio::TcpStream::connect_on(&ends.client, address);
            drop(give_up(connect).await);
        }
        exchange(&ends, &listener, address).await;
    });
}

/// Connections of which nothing comes are passed over.
async fn exchange(ends: &Ends, listener: &crate::net::tokio::TcpListener, address: std::net::SocketAddr) {
    let mut client = ends.connect(address).await;
    client.write_all(b"here").await.unwrap();
    loop {
        let (mut server, from) = listener.accept().await.unwrap();
        if from == client.local_addr().unwrap() {
            let mut buf = [0; 4];
            server.read_exact(&mut buf).await.unwrap();
            return assert_eq!(&buf, b"here");
        }
    }
}

/// Many connections at once, each with a task at either end.
#[test]
fn three_hundred_connections_at_once() {
    everywhere(|ends| async move {
        let (listener, address) = ends.listen().await;
        let server = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            for _ in 0..300 {
                let (mut stream, _) = listener.accept().await.unwrap();
                tasks.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                });
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
        });
        let mut tasks = JoinSet::new();
        for i in 0..300u32 {
            let ends = ends.clone();
            tasks.spawn(async move {
                let mut client = ends.connect(address).await;
                for round in 0..10 {
                    let asked = pattern(500, i.to_le_bytes()[0] ^ round);
                    client.write_all(&asked).await.unwrap();
                    let mut back = vec![0; asked.len()];
                    client.read_exact(&mut back).await.unwrap();
                    assert!(back == asked);
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        server.await.unwrap();
    });
}
