//! Data both ways, halves, and how connections end.

use super::{everywhere, pattern};
use crate::net::tests::world::{Backend, World};
use crate::net::tokio::TcpStream;
use std::io::{ErrorKind, IoSlice};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};

/// One task writes and shuts down, another reads, over halves of the same stream; the server closes behind all of it.
#[test]
fn what_is_written_comes_back_behind_a_half_close() {
    everywhere(|ends| async move {
        let (client, mut server) = ends.pair().await;
        let echo = tokio::spawn(async move {
            let (mut read, mut write) = server.split();
            let n = copy(&mut read, &mut write).await.unwrap();
            server.shutdown().await.unwrap();
            n
        });
        let sent = pattern(3_000_000, 7);
        let (mut read, mut write) = client.into_split();
        let out = sent.clone();
        let writer = tokio::spawn(async move {
            write.write_all(&out).await.unwrap();
            write.shutdown().await.unwrap();
            write
        });
        let mut back = Vec::new();
        read.read_to_end(&mut back).await.unwrap();
        assert!(back == sent, "something else came back");
        assert_eq!(echo.await.unwrap(), 3_000_000);
        let mut client = read.reunite(writer.await.unwrap()).unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(client.write(b"!").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn dropping_the_half_that_writes_shuts_down_unless_it_is_forgotten() {
    everywhere(|ends| async move {
        let (client, mut server) = ends.pair().await;
        let (mut read, write) = client.into_split();
        write.forget();
        server.write_all(b"one").await.unwrap();
        read.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);

        let (other, mut server) = ends.pair().await;
        let (mut read, write) = other.into_split();
        drop(write);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        // The other direction is open.
        server.write_all(b"two").await.unwrap();
        let mut buf = [0; 3];
        read.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"two");
        let (_, write) = ends.pair().await.0.into_split();
        let error = read.reunite(write).unwrap_err();
        assert_eq!(error.to_string(), "these are halves of two streams: reunite those that one into_split() gave");
    });
}

#[test]
fn several_buffers_are_written_at_once() {
    everywhere(|ends| async move {
        let (mut client, mut server) = ends.pair().await;
        assert!(client.is_write_vectored());
        let parts = [IoSlice::new(b"head, "), IoSlice::new(b""), IoSlice::new(b"body")];
        assert_eq!(client.write_vectored(&parts).await.unwrap(), 10);
        let mut all = [0; 10];
        server.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"head, body");
    });
}

/// As `tcp_reset` of Linux: data first, then `ECONNRESET` once, then the end; writing is broken.
#[test]
fn a_reset_is_told_once() {
    everywhere(|ends| async move {
        let (mut client, mut server) = ends.pair().await;
        server.write_all(b"last").await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(client.peek(&mut buf).await.unwrap(), 4);
        server.set_zero_linger().unwrap();
        assert_eq!(server.linger().unwrap(), Some(Duration::ZERO));
        drop(server);
        // The kernel throws away what was not read when RST comes, a stack does not.
        let mut told = client.read(&mut buf).await;
        if told.as_ref().is_ok_and(|n| *n == 4) {
            told = client.read(&mut buf).await;
        }
        assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut buf).await.unwrap(), 0);
        assert_eq!(client.write(b"!").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        // Who is closed already may shut down.
        client.shutdown().await.unwrap();
    });
}

#[test]
fn an_open_that_fails_says_why() {
    everywhere(|ends| async move {
        let (listener, address) = ends.listen().await;
        drop(listener);
        loop {
            // Until the listener's shard has closed it.
            let error = match TcpStream::connect_on(&ends.client, address).await {
                Ok(mut stream) => stream.read(&mut [0]).await.unwrap_err(),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::ConnectionRefused => break,
                kind => assert_eq!(kind, ErrorKind::ConnectionReset),
            }
        }
        let nowhere: &[std::net::SocketAddr] = &[];
        let error = TcpStream::connect_on(&ends.client, nowhere).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // The first address that answers is taken.
        let (listener, other) = ends.listen().await;
        let both = [address, other];
        let (stream, accepted) = tokio::join!(TcpStream::connect_on(&ends.client, &both[..]), listener.accept());
        assert_eq!(stream.unwrap().peer_addr().unwrap(), other);
        accepted.unwrap();
    });
}

#[test]
fn options_are_those_of_the_other_sockets() {
    everywhere(|ends| async move {
        let (client, _server) = ends.pair().await;
        assert!(!client.nodelay().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        assert_eq!(client.linger().unwrap(), None);
        assert_eq!(client.ttl().unwrap(), 64);
        client.set_ttl(64).unwrap();
        assert!(client.take_error().unwrap().is_none());
        let (listener, address) = ends.listen().await;
        assert_eq!(listener.ttl().unwrap(), 64);
        let in_use = crate::net::tokio::TcpListener::bind_on(&ends.server, address).await.unwrap_err();
        assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
    });
}

/// Tasks that wait when the stack ends are told.
#[test]
fn the_end_of_the_stack_is_told() {
    let mut world = World::new(Backend::Threads);
    let ends = super::Ends { backend: world.backend, server: world.server.clone(), client: world.client.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let (reads, accepts) = runtime.block_on(async {
        let (listener, address) = ends.listen().await;
        let mut client = ends.connect(address).await;
        let server = listener.accept().await.unwrap();
        let reads = tokio::spawn(async move {
            let told = client.read(&mut [0]).await;
            drop(server);
            told
        });
        let accepts = tokio::spawn(async move { listener.accept().await.map(|_| ()) });
        (reads, accepts)
    });
    world.stacks.iter_mut().for_each(|stack| stack.end());
    let (read, accept) = runtime
        .block_on(async { tokio::time::timeout(super::LOST, async { tokio::join!(reads, accepts) }).await.unwrap() });
    // The server's stack was first, and closed in order if it had the time.
    match read.unwrap() {
        Ok(n) => assert_eq!(n, 0),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted), "{error}")
        }
    }
    assert_eq!(accept.unwrap().unwrap_err().kind(), ErrorKind::NetworkDown);
    let error = runtime.block_on(TcpStream::connect_on(&ends.client, (Ipv4Addr::new(10, 0, 0, 1), 7))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkDown);
}
