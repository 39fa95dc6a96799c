//! Sockets of a stack on one end of a veth pair, and the kernel's on the other. Needs root, iproute2, ethtool and python3.

mod lab;

use fourwave::net::{Net, TcpStream};
use fourwave::{App, ConnId, Io, Stack};
use lab::{Example, KERNELS, Lab, OURS, ip, within};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Without an event for so long, one was lost.
const LOST: Duration = Duration::from_secs(20);

/// One stream and the loop that waits for it.
struct Waiting {
    poll: Poll,
    events: Events,
    stream: TcpStream,
}

impl Waiting {
    fn connect(net: &Net, to: SocketAddr) -> io::Result<Self> {
        let mut stream = net.connect(to)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        let mut waiting = Self { poll, events: Events::with_capacity(8), stream };
        waiting.until(|stream| match stream.take_error()? {
            Some(error) => Err(error),
            None if stream.peer_addr().is_err() => Err(ErrorKind::WouldBlock.into()),
            None => Ok(()),
        })?;
        Ok(waiting)
    }

    fn until<T>(&mut self, mut attempt: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.poll.poll(&mut self.events, Some(LOST))?;
                    assert!(!self.events.is_empty(), "no event came");
                }
                result => return result,
            }
        }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; 64 << 10];
        let n = self.until(|mut stream| stream.read(&mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }
}

/// A server of the kernel's in fw-net-b: accepts one connection after another, each for the next of `serve`.
fn kernel_server(port: u16, serve: Vec<fn(std::net::TcpStream)>) -> JoinHandle<()> {
    let (ready, listens) = std::sync::mpsc::channel();
    let server = within("fw-net-b", move || {
        let listener = std::net::TcpListener::bind((KERNELS, port)).unwrap();
        ready.send(()).unwrap();
        for serve in serve {
            serve(listener.accept().unwrap().0);
        }
    });
    listens.recv().unwrap();
    server
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// design: what a call returns when a connection ends, with the kernel as the peer.
#[test]
fn a_client_of_the_stack_and_a_server_of_the_kernel() {
    let _lab = Lab::up();
    let server = kernel_server(
        7,
        vec![
            // Echoes until the end, then closes.
            |mut stream| {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            },
            // Says something, and resets when it is asked to.
            |mut stream| {
                stream.write_all(b"last").unwrap();
                stream.read_exact(&mut [0]).unwrap();
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            },
            // Is reset by an unread drop at the other end.
            |mut stream| {
                stream.write_all(b"nobody reads this").unwrap();
                assert_eq!(kind(stream.read(&mut [0])), ErrorKind::ConnectionReset);
            },
        ],
    );
    let client = within("fw-net-a", || {
        let net = Stack::on("fwn-a").sockets().unwrap();
        let to = format!("{KERNELS}:7").parse().unwrap();
        let mut echoed = Waiting::connect(&net, to).unwrap();
        let sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
        let mut done = 0;
        while done < sent.len() {
            done += echoed.until(|mut stream| stream.write(&sent[done..])).unwrap();
        }
        echoed.stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        while back.len() < sent.len() {
            back.extend(echoed.read().unwrap());
        }
        assert!(back == sent);
        assert_eq!(echoed.read().unwrap(), b"");

        let mut reset = Waiting::connect(&net, to).unwrap();
        reset.until(|mut stream| stream.write(b"!")).unwrap();
        assert_eq!(reset.read().unwrap(), b"last");
        assert_eq!(kind(reset.read()), ErrorKind::ConnectionReset);
        assert_eq!(reset.read().unwrap(), b"");
        assert_eq!(kind(reset.until(|mut stream| stream.write(b"!"))), ErrorKind::BrokenPipe);

        let mut unread = Waiting::connect(&net, to).unwrap();
        unread.until(|stream| stream.peek(&mut [0; 4])).unwrap();
        drop(unread);
        let refused = format!("{KERNELS}:9").parse().unwrap();
        assert_eq!(Waiting::connect(&net, refused).err().map(|e| e.kind()), Some(ErrorKind::ConnectionRefused));
        net
    });
    let net = client.join().unwrap();
    server.join().unwrap();
    net.finish().unwrap();
}

/// On an address that is shared with the kernel: a port that was listened on is the stack's until that ends, for the
/// connections that outlive their listener.
#[test]
fn a_listener_takes_its_port_from_the_kernel_until_the_stack_ends() {
    let _lab = Lab::up();
    let test = within("fw-net-a", || {
        let net = Stack::on("fwn-a").sockets().unwrap();
        let listener = net.bind(format!("{OURS}:0").parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(kind(std::net::TcpListener::bind(address)), ErrorKind::AddrInUse);
        let connect = move || std::net::TcpStream::connect(address).and_then(|stream| stream.peer_addr());
        assert_eq!(within("fw-net-b", connect).join().unwrap().unwrap(), address);
        // A drop does not wait for the shard: who connects meanwhile is reset.
        drop(listener);
        let end = Instant::now() + LOST;
        let gone = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::NotConnected);
        let refused = loop {
            match within("fw-net-b", connect).join().unwrap() {
                // Before its connect returns, or behind that.
                Err(error) if !gone(error.kind()) => break error.kind(),
                _ => assert!(Instant::now() < end, "it still listens"),
            }
        };
        assert_eq!(refused, ErrorKind::ConnectionRefused);
        assert_eq!(kind(std::net::TcpListener::bind(address)), ErrorKind::AddrInUse);
        let again = net.bind(address).unwrap();
        assert_eq!(within("fw-net-b", connect).join().unwrap().unwrap(), address);
        let theirs = std::net::TcpListener::bind((OURS, 0)).unwrap();
        assert_eq!(kind(net.bind(theirs.local_addr().unwrap())), ErrorKind::AddrInUse);
        assert_eq!(kind(net.bind(format!("{KERNELS}:7").parse().unwrap())), ErrorKind::AddrNotAvailable);
        drop(again);
        net.finish().unwrap();
        drop(net);
        let theirs = std::net::TcpListener::bind(address).unwrap();
        assert_eq!(within("fw-net-b", connect).join().unwrap().unwrap(), address);
        drop(theirs);
    });
    test.join().unwrap();
}

/// mio's program, on the kernel's sockets and on the stack's.
#[test]
fn the_mio_example_greets_and_prints() {
    let _lab = Lab::up();
    assert!(ip("-n fw-net-a link set lo up"));
    for (on, namespace) in [("kernel", "fw-net-a"), ("fwn-a", "fw-net-b")] {
        let mut server = Example::start("mio_server", &[on, &format!("{OURS}:9000")]);
        let client = within(namespace, || {
            let mut stream = std::net::TcpStream::connect((OURS, 9000)).unwrap();
            let mut greeting = [0; 13];
            stream.read_exact(&mut greeting).unwrap();
            stream.write_all(b"how do you do\n").unwrap();
            greeting
        });
        assert_eq!(&client.join().unwrap(), b"Hello world!\n");
        assert!(server.line().starts_with("Accepted connection from: 10.78.0."));
        assert_eq!(server.line(), "Received data: how do you do\n");
        assert_eq!(server.line(), "Connection closed\n");
    }
}

/// Level 1, on the kernel's sockets and on the stack's: more than any buffer holds comes back, then the end.
#[test]
fn the_level_1_echo_gives_everything_back() {
    let _lab = Lab::up();
    assert!(ip("-n fw-net-a link set lo up"));
    for (on, namespace) in [("kernel", "fw-net-a"), ("fwn-a", "fw-net-b")] {
        let _server = Example::start("level1_echo", &[on, &format!("{OURS}:7")]);
        let echoed = within(namespace, || {
            let stream = std::net::TcpStream::connect((OURS, 7)).unwrap();
            let sent: Vec<u8> = (0..8_000_000u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
            let (mut writer, out) = (stream.try_clone().unwrap(), sent.clone());
            let writer = std::thread::spawn(move || {
                writer.write_all(&out).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            (&stream).read_to_end(&mut back).unwrap();
            writer.join().unwrap();
            back == sent
        });
        assert!(echoed.join().unwrap(), "something else came back from {on}");
    }
}

/// RFC 9112 section 9.3.2: requests in one go are answered in their order; and a head in pieces is one.
#[test]
fn the_level_1_http_server_answers_requests() {
    let _lab = Lab::up();
    assert!(ip("-n fw-net-a link set lo up"));
    for (on, namespace) in [("kernel", "fw-net-a"), ("fwn-a", "fw-net-b")] {
        let _server = Example::start("level1_http", &[on, &format!("{OURS}:8080")]);
        let answers = within(namespace, || {
            let mut stream = std::net::TcpStream::connect((OURS, 8080)).unwrap();
            stream.set_nodelay(true).unwrap();
            let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut all: String = (0..2000).map(|i| request(&format!("/{i}"))).collect();
            all += &format!("GET /last HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(8000));
            for piece in all.as_bytes().chunks(1777) {
                stream.write_all(piece).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answers = String::new();
            stream.read_to_string(&mut answers).unwrap();
            answers
        });
        let answers = answers.join().unwrap();
        let paths: Vec<_> = answers.lines().filter_map(|line| line.strip_prefix("you asked for ")).collect();
        let wanted: Vec<_> = (0..2000).map(|i| format!("/{i}")).chain(["/last".into()]).collect();
        assert_eq!(paths, wanted, "{on}");
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nyou asked for /0\n"));
    }
}

/// A listener is one for all shards, opens take turns among them.
#[test]
fn two_shards_with_one_listener() {
    let _lab = Lab::with_queues(2);
    let server = kernel_server(7, vec![|mut stream| stream.write_all(b"from the kernel").unwrap(); 16]);
    let test = within("fw-net-a", || {
        let net = Stack::on("fwn-a").sockets().unwrap();
        let mut listener = net.bind(format!("{OURS}:8").parse().unwrap()).unwrap();
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        poll.registry().register(&mut listener, Token(0), Interest::READABLE).unwrap();
        let clients: Vec<_> = (0..40)
            .map(|_| within("fw-net-b", || std::net::TcpStream::connect((OURS, 8)).unwrap().read(&mut [0; 8]).unwrap()))
            .collect();
        for _ in 0..40 {
            loop {
                match listener.accept() {
                    Ok((mut stream, _)) => break assert_eq!(stream.write(b"hello").unwrap(), 5),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                poll.poll(&mut events, Some(LOST)).unwrap();
                assert!(!events.is_empty(), "no event came");
            }
        }
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 5));
        for _ in 0..16 {
            let mut client = Waiting::connect(&net, format!("{KERNELS}:7").parse().unwrap()).unwrap();
            assert_eq!(client.read().unwrap(), b"from the kernel");
            assert_eq!(client.read().unwrap(), b"");
        }
        net.finish().unwrap();
    });
    test.join().unwrap();
    server.join().unwrap();
}

#[test]
fn the_driven_example_echoes_in_the_programs_own_loop() {
    let _lab = Lab::up();
    let _server = Example::start("driven_echo", &["fwn-a", &format!("{OURS}:7")]);
    let clients: Vec<_> = (0..4u8)
        .map(|i| {
            within("fw-net-b", move || {
                let stream = std::net::TcpStream::connect((OURS, 7)).unwrap();
                let sent: Vec<u8> = (0..2_000_000u32).map(|at| (at % 253).to_le_bytes()[0] ^ i).collect();
                let (mut writer, out) = (stream.try_clone().unwrap(), sent.clone());
                let writer = std::thread::spawn(move || {
                    writer.write_all(&out).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                (&stream).read_to_end(&mut back).unwrap();
                writer.join().unwrap();
                back == sent
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap()), "something else came back");
}

/// Falls over what comes.
#[derive(Clone, Debug)]
struct Clumsy;

impl App for Clumsy {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, _: &[u8]) -> usize {
        panic!("what is that?");
    }
}

/// The peers hear of it at once, as they do when a process of the kernel's sockets dies; from then on the kernel answers, which
/// has no listener there. So it is before anybody has looked after the stack, and behind it the port is free.
#[test]
fn a_panic_of_an_application_resets_its_peers_and_gives_the_port_back() {
    let _lab = Lab::up();
    let (to, peers) = (SocketAddr::from(([10, 78, 0, 1], 7)), std::sync::mpsc::channel());
    let (ready, listens) = std::sync::mpsc::channel();
    let server = within("fw-net-a", move || {
        let running = Stack::on("fwn-a").listen(to).start(Clumsy).unwrap();
        ready.send(()).unwrap();
        peers.1.recv_timeout(LOST).unwrap();
        let error = running.join().unwrap_err().to_string();
        assert!(error.starts_with("shard 0 panicked") && error.contains("what is that?"), "{error}");
        drop(std::net::TcpListener::bind(to).unwrap());
    });
    listens.recv().unwrap();
    let client = within("fw-net-b", move || {
        let mut streams = [(); 2].map(|()| std::net::TcpStream::connect(to).unwrap());
        streams[1].write_all(b"x").unwrap();
        for stream in &mut streams {
            stream.set_read_timeout(Some(LOST)).unwrap();
            assert_eq!(kind(stream.read(&mut [0])), ErrorKind::ConnectionReset);
        }
        assert_eq!(kind(std::net::TcpStream::connect_timeout(&to, LOST)), ErrorKind::ConnectionRefused);
        peers.0.send(()).unwrap();
    });
    client.join().unwrap();
    server.join().unwrap();
}
