//! fourwave as one side: an application that does as it is told, and answers as a socket would.
//!
//! This is the one place where the shapes differ: fourwave tells the end of a connection once, by a callback, and its handle
//! is dead then; a socket is asked, and has to remember.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use fourwave::{App, ConnId, ConnectionError, Duration, Half, Instant, Io, ListenerId, Running, Stack, io_error_kind};

use crate::program::{Answer, Verb};
use crate::side::{PATIENCE, Party, SOON, linger, within};

enum Command {
    Connect(SocketAddr, Sender<(ConnId, SocketAddr)>),
    Accept(SocketAddr, Sender<ConnId>),
    Calls(Vec<(ConnId, Verb)>, Sender<Vec<Answer>>),
}

/// What the application has heard of a connection, and done to it.
#[derive(Debug, Default)]
struct Heard {
    eof: bool,
    end: Option<Option<ConnectionError>>,
    /// Bytes that were still unread when it ended by an error.
    rest: usize,
    read_shut: bool,
    given_up: bool,
}

struct Puppet {
    commands: Receiver<Command>,
    heard: HashMap<ConnId, Heard>,
    accepted: HashMap<SocketAddr, ConnId>,
    connecting: HashMap<ConnId, Sender<(ConnId, SocketAddr)>>,
    accepting: HashMap<SocketAddr, Sender<ConnId>>,
    looked: Option<Instant>,
}

impl Puppet {
    fn call(&mut self, io: &mut Io<'_>, conn: ConnId, verb: Verb) -> Answer {
        let heard = self.heard.entry(conn).or_default();
        if heard.given_up {
            return Answer::NoHandle;
        }
        let done = |result: Result<(), ConnectionError>| result.map_or_else(failed, |()| Answer::Done);
        match verb {
            Verb::Send(n) => match (io.send(conn, &vec![0; n]), heard.end) {
                (Ok(taken), _) => Answer::Bytes(taken),
                (Err(_), Some(Some(error))) => failed(error),
                // In order: so it was we who shut down writing.
                (Err(_), Some(None)) => Answer::Failed(ErrorKind::BrokenPipe),
                (Err(error), None) => failed(error),
            },
            Verb::Recv => recv(io, conn, heard),
            Verb::ShutWrite => done(io.shutdown(conn, Half::Write)),
            Verb::ShutRead => {
                heard.read_shut = true;
                done(io.shutdown(conn, Half::Read))
            }
            Verb::ShutBoth => {
                heard.read_shut = true;
                done(io.shutdown(conn, Half::Both))
            }
            Verb::Close | Verb::Reset | Verb::Linger => {
                heard.given_up = true;
                if let Some(time) = linger(verb) {
                    let _ = io.set_linger(conn, Some(time.into()));
                }
                // A connection that is over is closed without a word, as a socket is.
                let _ = io.close(conn);
                Answer::Done
            }
            Verb::Patience => done(io.set_user_timeout(conn, Some(PATIENCE.into()))),
        }
    }

    fn obey(&mut self, io: &mut Io<'_>, command: Command) {
        match command {
            Command::Connect(to, reply) => {
                let conn = io.connect(to).unwrap();
                self.connecting.insert(conn, reply);
            }
            Command::Accept(from, reply) => match self.accepted.get(&from) {
                Some(conn) => reply.send(*conn).unwrap(),
                None => drop(self.accepting.insert(from, reply)),
            },
            Command::Calls(calls, reply) => {
                let answers = calls.into_iter().map(|(conn, verb)| self.call(io, conn, verb)).collect();
                reply.send(answers).unwrap();
            }
        }
    }
}

fn failed(error: ConnectionError) -> Answer {
    Answer::Failed(io_error_kind(error))
}

fn recv(io: &mut Io<'_>, conn: ConnId, heard: &mut Heard) -> Answer {
    let mut piece = [0; 1 << 16];
    match (io.read(conn, &mut piece).unwrap_or_else(|_| std::mem::take(&mut heard.rest)), heard.end) {
        (n @ 1.., _) => Answer::Bytes(n),
        // The end of the file stays what it is, whatever happens to the other direction.
        (0, _) if heard.eof => Answer::Eof,
        (0, Some(Some(error))) => failed(error),
        (0, Some(None)) => Answer::Eof,
        (0, None) if heard.read_shut => Answer::Eof,
        (0, None) => Answer::Nothing,
    }
}

impl App for Puppet {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let (_, remote) = io.addresses(conn).unwrap();
        match self.accepting.remove(&remote) {
            Some(reply) => reply.send(conn).unwrap(),
            None => drop(self.accepted.insert(remote, conn)),
        }
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let (local, _) = io.addresses(conn).unwrap();
        self.connecting.remove(&conn).unwrap().send((conn, local)).unwrap();
    }

    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, _: &[u8]) -> usize {
        0
    }

    fn on_readable(&mut self, _: &mut Io<'_>, _: ConnId) {}

    fn on_peer_closed(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.heard.entry(conn).or_default().eof = true;
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        let heard = self.heard.entry(conn).or_default();
        heard.end = Some(error);
        heard.rest = io.read(conn, &mut [0; 1 << 16]).unwrap_or(0);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        self.looked = Some(io.now());
        while let Ok(command) = self.commands.try_recv() {
            self.obey(io, command);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.looked.map(|at| at + Duration::from_millis(1))
    }
}

/// A stack in a namespace, and what tells it what to do.
pub(crate) struct Fourwave {
    commands: Sender<Command>,
    connections: Vec<ConnId>,
    _running: Running<Puppet>,
}

impl Fourwave {
    pub(crate) fn new(namespace: &'static str, interface: &str, listen: &[SocketAddr]) -> Self {
        let (commands, inbox) = channel();
        let puppet = Puppet {
            commands: inbox,
            heard: HashMap::new(),
            accepted: HashMap::new(),
            connecting: HashMap::new(),
            accepting: HashMap::new(),
            looked: None,
        };
        let stack = listen.iter().fold(Stack::on(interface).active_opens(), |stack, address| stack.listen(*address));
        let mut puppet = Some(puppet);
        let mut make = |_| puppet.take().expect("one queue, one shard");
        let running = within(namespace, || stack.queues([0]).start_each(&mut make)).unwrap();
        Self { commands, connections: Vec::new(), _running: running }
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> T {
        let (reply, answer) = channel();
        self.commands.send(command(reply)).unwrap();
        answer.recv_timeout(SOON).expect("the stack answers")
    }
}

impl Party for Fourwave {
    fn connect(&mut self, to: SocketAddr) -> SocketAddr {
        let (conn, local) = self.ask(|reply| Command::Connect(to, reply));
        self.connections.push(conn);
        local
    }

    fn accept(&mut self, from: SocketAddr) {
        let conn = self.ask(|reply| Command::Accept(from, reply));
        self.connections.push(conn);
    }

    fn calls(&mut self, calls: &[(usize, Verb)]) -> Vec<Answer> {
        let calls = calls.iter().map(|(number, verb)| (self.connections[*number], *verb)).collect();
        self.ask(|reply| Command::Calls(calls, reply))
    }

    fn forget(&mut self) {
        self.connections.clear();
    }
}
