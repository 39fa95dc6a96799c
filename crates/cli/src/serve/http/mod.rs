//! A server of HTTP/1.1: every request is answered with the same body, whatever its method and its target.

mod answer;
mod request;

use fourwave::{App, Bytes, ConnId, ConnMap, ConnectionError, Duration, Half, Instant, Io, ListenerId, TimerId};

use crate::stack::{self, Accepted};
use answer::{Answer, Answers};
use request::{Reader, Refusal, Request, SeenHead, Step};

/// How long a connection is read from behind its last answer, so that what the client still sends does not reset what was
/// answered (RFC 9112 section 9.6); nginx's default.
const LINGER: Duration = Duration::from_secs(5);

/// How to serve, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpConfig {
    pub(crate) body_bytes: usize,
    /// Every answer is the last over its connection.
    pub(crate) close: bool,
    /// A connection over which nothing comes or goes for so long is closed.
    pub(crate) idle_time: std::time::Duration,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// What is being sent is the last.
    Ends,
    /// All is sent; what comes is thrown away until the client has closed, too.
    Lingers,
}

#[derive(Debug)]
struct Client {
    reader: Reader,
    /// What did not fit into the send buffer.
    unsent: Option<Answer>,
    stage: Stage,
    /// When something last came, or there was room for more.
    heard: Instant,
    timer: Option<TimerId>,
}

#[derive(Debug)]
pub(super) struct Http {
    accepted: Accepted,
    close: bool,
    idle_time: Duration,
    answers: Answers,
    seen: SeenHead,
    clients: ConnMap<Client>,
    drains: bool,
}

impl Clone for Http {
    /// For another shard, with connections of its own.
    fn clone(&self) -> Self {
        Self {
            accepted: self.accepted,
            answers: self.answers.clone(),
            seen: SeenHead::new(),
            clients: ConnMap::new(),
            ..*self
        }
    }
}

impl Http {
    pub(super) fn new(accepted: Accepted, config: HttpConfig) -> Self {
        let idle_time = stack::duration(config.idle_time);
        let answers = Answers::new(config.body_bytes);
        Self {
            accepted,
            close: config.close,
            idle_time,
            answers,
            seen: SeenHead::new(),
            clients: ConnMap::new(),
            drains: false,
        }
    }

    fn answer(&mut self, io: &mut Io<'_>, conn: ConnId, request: Request) {
        let ends = self.close || self.drains || !request.keeps;
        let answer = self.answers.to(io.now(), request, ends);
        self.send(io, conn, answer, ends);
    }

    fn refuse(&mut self, io: &mut Io<'_>, conn: ConnId, refusal: Refusal) {
        let answer = self.answers.refusal(io.now(), refusal);
        self.send(io, conn, answer, true);
    }

    /// Sends as much as there is room for, and keeps the rest.
    fn send(&mut self, io: &mut Io<'_>, conn: ConnId, answer: Answer, ends: bool) {
        let rest = push(io, conn, answer);
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.unsent = rest;
        if ends {
            client.stage = Stage::Ends;
        }
    }

    /// Behind the last answer: ours is over, and the client is heard to the end of its own.
    fn end(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.stage = Stage::Lingers;
        if let Some(timer) = client.timer.take() {
            io.stop_timer(timer);
        }
        client.timer = io.start_timer(LINGER, conn.to_bits()).ok();
        let _ = io.shutdown(conn, Half::Write);
    }

    fn leave(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.forget(io, conn);
        let _ = io.close(conn);
    }

    fn forget(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(timer) = self.clients.remove(conn).and_then(|client| client.timer) {
            io.stop_timer(timer);
        }
    }
}

/// Sends as much as there is room for; the rest.
fn push(io: &mut Io<'_>, conn: ConnId, mut answer: Answer) -> Option<Answer> {
    let sent = match answer.body.is_empty() {
        true => io.send(conn, &answer.head),
        false => io.send_more(conn, &answer.head),
    };
    // Who is gone takes all.
    let sent = sent.unwrap_or(answer.head.len());
    if sent < answer.head.len() {
        answer.head = answer.head.slice(sent..);
        return Some(answer);
    }
    answer.head = Bytes::new();
    if !answer.body.is_empty() && io.send_bytes(conn, &mut answer.body).is_err() {
        return None;
    }
    (!answer.body.is_empty()).then_some(answer)
}

impl App for Http {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let _ = io.set_nodelay(conn, true);
        self.accepted.set(io, conn);
        let timer = io.start_timer(self.idle_time, conn.to_bits()).ok();
        let client = Client { reader: Reader::default(), unsent: None, stage: Stage::Open, heard: io.now(), timer };
        self.clients.insert(conn, client);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(client) = self.clients.get_mut(conn) {
            client.heard = io.now();
            match client.stage {
                Stage::Lingers => return data.len(),
                Stage::Ends if client.unsent.is_none() => {
                    self.end(io, conn);
                    continue;
                }
                // Who does not read the answers is not asked for more: what is not taken closes the window.
                _ if client.unsent.is_some() || taken == data.len() => return taken,
                _ => {}
            }
            let (read, step) = client.reader.read(&data[taken..], &mut self.seen);
            taken += read;
            match step {
                Step::More => {}
                Step::Expects => {
                    let go_on = Answer { head: Bytes::from_static(Answers::CONTINUE), body: Bytes::new() };
                    self.send(io, conn, go_on, false);
                }
                Step::Whole(request) => self.answer(io, conn, request),
                Step::Refused(refusal) => self.refuse(io, conn, refusal),
            }
        }
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.heard = io.now();
        if let Some(answer) = client.unsent.take() {
            client.unsent = push(io, conn, answer);
        }
        if client.unsent.is_some() {
            return;
        }
        if client.stage == Stage::Ends {
            return self.end(io, conn);
        }
        self.on_readable(io, conn);
        if io.info(conn).is_ok_and(|info| info.state == fourwave::State::CloseWait) {
            self.on_peer_closed(io, conn);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        // What it asked before is answered first: `on_writable` comes back here.
        if client.unsent.is_none() && io.unread(conn) == Ok(0) {
            self.leave(io, conn);
        }
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, _: Option<ConnectionError>) {
        self.forget(io, conn);
    }

    fn on_timer(&mut self, io: &mut Io<'_>, _: TimerId, key: u64) {
        let conn = ConnId::from_bits(key);
        let Some(client) = self.clients.get_mut(conn) else { return };
        let due = client.heard + self.idle_time;
        if client.stage == Stage::Lingers {
            // What is still on its way goes on without us.
            client.timer = None;
            self.leave(io, conn);
        } else if io.now() >= due {
            client.timer = None;
            self.leave(io, conn);
        } else {
            client.timer = io.start_timer(due.saturating_since(io.now()), key).ok();
        }
    }

    /// Those between two requests are closed; the others are told with their answers.
    fn on_drain(&mut self, io: &mut Io<'_>) {
        self.drains = true;
        let idle = |client: &Client| client.stage == Stage::Open && client.unsent.is_none() && client.reader.is_idle();
        let idle: Vec<ConnId> = self.clients.iter().filter(|(_, client)| idle(client)).map(|(conn, _)| conn).collect();
        for conn in idle {
            if io.unread(conn) == Ok(0) {
                self.leave(io, conn);
            }
        }
    }
}
