//! What makes the calls of one side.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_tcp_user_timeout};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::program::{Answer, Verb};

/// Generous: for what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A user timeout.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What SO_LINGER is set to before a close.
pub(crate) fn linger(verb: Verb) -> Option<Duration> {
    match verb {
        Verb::Reset => Some(Duration::ZERO),
        Verb::Linger => Some(SOON),
        _ => None,
    }
}

/// Runs `f` on a thread of a namespace; sockets and threads it makes stay there.
pub(crate) fn within<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    let place = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let run = || {
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            f()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// One end of many connections, each with a number.
pub(crate) trait Party {
    /// Opens the next connection; our address.
    fn connect(&mut self, to: SocketAddr) -> SocketAddr;

    /// Takes the connection that `from` has opened as the next one.
    fn accept(&mut self, from: SocketAddr);

    /// Makes calls, one behind the other.
    fn calls(&mut self, calls: &[(usize, Verb)]) -> Vec<Answer>;

    /// All connections are over.
    fn forget(&mut self);
}

/// Sockets of the kernel.
pub(crate) struct Kernel {
    namespace: &'static str,
    listeners: Vec<TcpListener>,
    connections: Vec<Option<TcpStream>>,
}

impl Kernel {
    pub(crate) fn new(namespace: &'static str, listen: &[SocketAddr]) -> Self {
        let bind = |address: &SocketAddr| {
            let listener = TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let listeners = within(namespace, || listen.iter().map(bind).collect());
        Self { namespace, listeners, connections: Vec::new() }
    }

    fn push(&mut self, connection: TcpStream) {
        connection.set_nonblocking(true).unwrap();
        self.connections.push(Some(connection));
    }

    fn call(&mut self, number: usize, verb: Verb) -> Answer {
        let Some(connection) = &mut self.connections[number] else { return Answer::NoHandle };
        let mut piece = [0; 1 << 16];
        let result = match verb {
            Verb::Send(n) => connection.write(&piece[..n]).map(Answer::Bytes),
            Verb::Recv => connection.read(&mut piece).map(|n| if n == 0 { Answer::Eof } else { Answer::Bytes(n) }),
            Verb::ShutWrite => connection.shutdown(Shutdown::Write).map(|()| Answer::Done),
            Verb::ShutRead => connection.shutdown(Shutdown::Read).map(|()| Answer::Done),
            Verb::ShutBoth => connection.shutdown(Shutdown::Both).map(|()| Answer::Done),
            Verb::Close | Verb::Reset | Verb::Linger => {
                if let Some(time) = linger(verb) {
                    set_socket_linger(&*connection, Some(time)).unwrap();
                }
                self.connections[number] = None;
                Ok(Answer::Done)
            }
            Verb::Patience => {
                let milliseconds = u32::try_from(PATIENCE.as_millis()).unwrap();
                set_tcp_user_timeout(&*connection, milliseconds).map(|()| Answer::Done).map_err(Into::into)
            }
        };
        result.unwrap_or_else(failed)
    }
}

fn failed(error: io::Error) -> Answer {
    match error.kind() {
        ErrorKind::WouldBlock => Answer::Nothing,
        kind => Answer::Failed(kind),
    }
}

impl Party for Kernel {
    fn connect(&mut self, to: SocketAddr) -> SocketAddr {
        let connection = within(self.namespace, || TcpStream::connect_timeout(&to, SOON).unwrap());
        let address = connection.local_addr().unwrap();
        self.push(connection);
        address
    }

    fn accept(&mut self, from: SocketAddr) {
        let end = Instant::now() + SOON;
        loop {
            for listener in &self.listeners {
                if let Ok((connection, address)) = listener.accept() {
                    assert_eq!(address, from, "one connection is opened at a time");
                    return self.push(connection);
                }
            }
            assert!(Instant::now() < end, "the connection of {from} does not come");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn calls(&mut self, calls: &[(usize, Verb)]) -> Vec<Answer> {
        calls.iter().map(|(number, verb)| self.call(*number, *verb)).collect()
    }

    fn forget(&mut self) {
        self.connections.clear();
    }
}
