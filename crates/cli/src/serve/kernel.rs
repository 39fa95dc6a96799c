//! The servers over the kernel's sockets, to compare with.

mod connection;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::{Context, anyhow};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use self::connection::{Connection, State};
use super::{Config, ready};
use crate::args::KernelWait;
use crate::stop::Stop;

const WAKE: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);
/// While spinning on connections, turns between two looks for a new one.
const SPINS_PER_ACCEPT: u32 = 1024;

/// Serves until the end is asked for.
pub(super) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen).map_err(|error| sentence(config, &error))?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let server = Server { config, listener, connections: HashMap::new(), next_token: 0, again: Vec::new() };
    let how = format!("kernel, {}", config.kernel_wait.name());
    match config.kernel_wait {
        KernelWait::Epoll => server.run_in_epoll(stop, || ready(address, &how)),
        KernelWait::Spin => {
            ready(address, &how);
            server.run_spinning(stop);
            Ok(())
        }
    }
}

struct Server<'a> {
    config: &'a Config,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    next_token: usize,
    /// Connections that have more to do at once.
    again: Vec<Token>,
}

impl Server<'_> {
    fn run_in_epoll(mut self, stop: &Stop, ready: impl FnOnce()) -> anyhow::Result<()> {
        let mut poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        stop.on_request(move || {
            let _ = waker.wake();
        });
        let registry = poll.registry().try_clone()?;
        registry.register(&mut self.listener, LISTENER, Interest::READABLE)?;
        ready();
        let mut events = Events::with_capacity(256);
        while !stop.requested() {
            let timeout = (!self.again.is_empty()).then_some(Duration::ZERO);
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTENER => self.accept(Some(&registry)),
                    token => self.serve(token, event.is_read_closed()),
                }
            }
            for token in std::mem::take(&mut self.again) {
                self.serve(token, false);
            }
        }
        Ok(())
    }

    fn run_spinning(mut self, stop: &Stop) {
        let mut spins = 0u32;
        let mut over = Vec::new();
        while !stop.requested() {
            if spins == 0 || self.connections.is_empty() {
                self.accept(None);
            }
            spins = (spins + 1) % SPINS_PER_ACCEPT;
            for (token, connection) in &mut self.connections {
                if connection.advance() == State::Over {
                    over.push(*token);
                }
            }
            for token in over.drain(..) {
                self.connections.remove(&token);
            }
        }
    }

    /// Takes all connections that wait; a registry makes them known to epoll.
    fn accept(&mut self, registry: Option<&Registry>) {
        loop {
            let (mut stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    return;
                }
            };
            tracing::debug!(%peer, "connection");
            let token = Token(self.next_token);
            self.next_token += 1;
            if let Err(error) = prepare(&mut stream, token, registry) {
                tracing::warn!(%peer, %error, "cannot serve a connection");
                continue;
            }
            let connection = Connection::new(stream, self.config.service);
            self.connections.insert(token, connection);
            self.serve(token, false);
        }
    }

    fn serve(&mut self, token: Token, peer_closed: bool) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if peer_closed {
            connection.peer_closed();
        }
        match connection.advance() {
            State::Waiting => {}
            State::More => self.again.push(token),
            State::Over => {
                self.connections.remove(&token);
            }
        }
    }
}

fn prepare(stream: &mut mio::net::TcpStream, token: Token, registry: Option<&Registry>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(registry) = registry {
        registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)?;
    }
    Ok(())
}

fn sentence(config: &Config, error: &io::Error) -> anyhow::Error {
    let address = config.listen;
    match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("{address} is taken: end what listens there (`ss -ltnp`) or choose another port")
        }
        ErrorKind::AddrNotAvailable => {
            anyhow!("{address} is no address of this machine or namespace: see `ip address`")
        }
        ErrorKind::PermissionDenied => {
            anyhow!("ports below 1024 need root: run it with sudo or choose another port than {}", address.port())
        }
        _ => anyhow!("cannot listen on {address}: {error}"),
    }
}
