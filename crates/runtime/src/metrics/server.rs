//! Metrics over HTTP/1.1, on a kernel socket. One thread serves all clients, none of which it waits for: what a client has not
//! asked, or taken, in its time is dropped, and when there are too many the one that has had the longest time goes.

use super::{Endpoint, Monitor, PATIENCE, Text};
use crate::error::Error;
use crate::privileges::Privileges;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The listener's, and the waker's; clients have the numbers below.
const CLIENTS: Token = Token(MOST);
const STOP: Token = Token(MOST + 1);
/// Clients at a time.
const MOST: usize = 16;
/// Bytes of a request. Prometheus' own has some 300.
const REQUEST_BYTES: usize = 8192;
/// How long a client may take to ask, and again to take its answer.
const CLIENT_TIME: Duration = Duration::from_secs(5);
/// How long is waited for its end behind the answer: a socket that is closed with bytes unread resets, and the answer is lost.
const LINGER: Duration = Duration::from_secs(1);
/// How often it is read from in one go: what comes then is told again.
const MOST_READS: u32 = 16;
/// An answer that is not older is given again: the loops are asked ten times a second at most, whoever asks.
const FRESH: Duration = Duration::from_millis(100);
/// How long is waited where the system has no descriptor for another client.
const RETRY: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
/// As prometheus.io/docs/instrumenting/exposition_formats asks.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A socket that listens, not yet served.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: TcpListener,
    endpoint: Endpoint,
}

impl Listening {
    /// Before anything else is opened, so that a start that can't have it changes nothing.
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let address = endpoint.address;
        let listener = TcpListener::bind(address).map_err(|error| Error::metrics(address, error))?;
        Ok(Self { listener, endpoint: endpoint.clone() })
    }

    pub(crate) fn serve(self, monitor: Monitor, privileges: Privileges) -> Result<Server, Error> {
        let failed = || Error::system("serving metrics");
        let Self { mut listener, endpoint } = self;
        let address = listener.local_addr().map_err(failed())?;
        let poll = Poll::new().map_err(failed())?;
        poll.registry().register(&mut listener, CLIENTS, Interest::READABLE).map_err(failed())?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP).map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let teller = Teller { monitor, endpoint, last: None };
        let mut desk = Desk { poll, listener, clients: [const { None }; MOST], teller };
        let run = move || match privileges.give_up() {
            Ok(()) => desk.serve(&stopped),
            Err(error) => tracing::error!(%error, "metrics are not served"),
        };
        let thread = std::thread::Builder::new().name("fw-metrics".into()).spawn(run).map_err(failed())?;
        tracing::debug!("metrics are told at http://{address}/metrics");
        Ok(Server { address, stop, waker, thread: Some(thread) })
    }
}

/// The thread that serves; it ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What there is to tell.
struct Teller {
    monitor: Monitor,
    endpoint: Endpoint,
    /// The last answer, and when it was made.
    last: Option<(Instant, String, Vec<usize>)>,
}

impl Teller {
    /// The text, and the shards that did not answer.
    fn tell(&mut self) -> (&str, &[usize]) {
        let fresh = self.last.as_ref().is_some_and(|(at, ..)| at.elapsed() < FRESH);
        if !fresh {
            self.last = None;
        }
        let (_, text, silent) = self.last.get_or_insert_with(|| {
            let metrics = self.monitor.metrics(PATIENCE);
            let mut text = Text::new();
            metrics.write(&mut text);
            if let Some(more) = &self.endpoint.more {
                more(&mut text);
            }
            (Instant::now(), text.to_string(), metrics.silent().collect())
        });
        (text, silent)
    }

    /// The answer to a request's bytes; `None`: there are not all yet.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(request) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if request.len() < REQUEST_BYTES => return None,
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Some(response("431 Request Header Fields Too Large", "", TEXT, "too long a request\n", true));
            }
            Err(_) => return Some(response("400 Bad Request", "", TEXT, "no HTTP/1.1 request\n", true)),
        }
        let method = parsed.method.unwrap_or_default();
        let path = parsed.path.unwrap_or_default();
        let body = method != "HEAD";
        if !matches!(method, "GET" | "HEAD") {
            return Some(response("405 Method Not Allowed", "Allow: GET, HEAD\r\n", TEXT, "only GET and HEAD\n", true));
        }
        Some(match path.split('?').next().unwrap_or_default() {
            "/metrics" => response("200 OK", "", EXPOSITION, self.tell().0, body),
            "/healthz" => match self.tell().1 {
                [] => response("200 OK", "", TEXT, "ok\n", body),
                silent => {
                    let text = format!("of the shards these did not answer within a second: {silent:?}\n");
                    response("503 Service Unavailable", "", TEXT, &text, body)
                }
            },
            _ => response("404 Not Found", "", TEXT, "there are /metrics and /healthz\n", body),
        })
    }
}

fn response(status: &str, more: &str, kind: &str, body: &str, with_body: bool) -> Vec<u8> {
    let length = body.len();
    let body = if with_body { body } else { "" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}");
    format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
}

enum Stage {
    /// What has come of its request.
    Asks(Vec<u8>),
    /// Its answer, and how much of that it has.
    Takes(Vec<u8>, usize),
    /// It has all of it.
    Ends,
}

struct Client {
    stream: TcpStream,
    stage: Stage,
    until: Instant,
}

impl Client {
    /// Does what can be done without waiting; false: it is over.
    fn go_on(&mut self, teller: &mut Teller) -> io::Result<bool> {
        let mut reads = 0;
        loop {
            match &mut self.stage {
                Stage::Asks(request) => {
                    let mut piece = [0; 2048];
                    match self.stream.read(&mut piece)? {
                        0 => return Ok(false),
                        n => request.extend_from_slice(&piece[..n]),
                    }
                    if let Some(answer) = teller.answer(request) {
                        self.stage = Stage::Takes(answer, 0);
                        self.until = Instant::now() + CLIENT_TIME;
                    }
                }
                Stage::Takes(answer, taken) => {
                    match self.stream.write(&answer[*taken..])? {
                        0 => return Ok(false),
                        n => *taken += n,
                    }
                    if *taken == answer.len() {
                        self.stream.shutdown(Shutdown::Write)?;
                        self.stage = Stage::Ends;
                        self.until = Instant::now() + LINGER;
                    }
                }
                Stage::Ends => {
                    // One that goes on sending is read from no longer than others are.
                    let over = Instant::now() >= self.until;
                    if over || self.stream.read(&mut [0; 2048])? == 0 {
                        return Ok(false);
                    }
                    reads += 1;
                    if reads > MOST_READS {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

struct Desk {
    poll: Poll,
    listener: TcpListener,
    clients: [Option<Client>; MOST],
    teller: Teller,
}

impl Desk {
    fn serve(&mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(MOST + 2);
        // When to look again though nothing is told.
        let mut again: Option<Duration> = None;
        while !stop.load(Ordering::Relaxed) {
            let next = self.clients.iter().flatten().map(|client| client.until).min();
            let timeout = next.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
            let timeout = [timeout, again].into_iter().flatten().min();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!(%error, "metrics are served no longer");
                return;
            }
            for event in &events {
                if event.token().0 < MOST {
                    self.go_on(event.token().0);
                }
            }
            let now = Instant::now();
            for client in &mut self.clients {
                if client.as_ref().is_some_and(|client| client.until <= now) {
                    *client = None;
                }
            }
            again = self.accept();
        }
    }

    /// Takes in who waits; when to look again, if anybody may be left.
    fn accept(&mut self) -> Option<Duration> {
        // Between the others, whoever knocks faster.
        for _ in 0..MOST {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error)
                    if error.kind() == ErrorKind::Interrupted || error.kind() == ErrorKind::ConnectionAborted =>
                {
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "metrics");
                    return Some(RETRY);
                }
            };
            let free = self.clients.iter().position(Option::is_none);
            let at = free.or_else(|| {
                let oldest = self.clients.iter().enumerate().min_by_key(|(_, c)| c.as_ref().map(|c| c.until));
                oldest.map(|(at, _)| at)
            })?;
            let mut client = Client { stream, stage: Stage::Asks(Vec::new()), until: Instant::now() + CLIENT_TIME };
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut client.stream, Token(at), both).is_ok() {
                self.clients[at] = Some(client);
                self.go_on(at);
            }
        }
        Some(Duration::ZERO)
    }

    fn go_on(&mut self, at: usize) {
        let Some(client) = &mut self.clients[at] else { return };
        match client.go_on(&mut self.teller) {
            Ok(true) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.go_on(at),
            Ok(false) | Err(_) => self.clients[at] = None,
        }
    }
}

#[cfg(test)]
mod tests;
