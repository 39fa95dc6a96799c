//! An application that opens, accepts, sends, reads and ends as its dice say, and compares notes with the other side.

use sim::Rng;
use stack::{App, Bytes, ConnId, Duration, Error, Half, Instant, Io, Keepalive, ListenOptions, ListenerId};
use std::{cell::RefCell, collections::BTreeMap, collections::HashMap, net::SocketAddr, rc::Rc};

/// How an end of a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The stack said so.
    Told(Option<Error>),
    /// The application gave its handle up.
    GaveUp,
}

/// What one end has done and seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    sent: u64,
    /// A FIN is behind what was sent.
    fin: bool,
    received: u64,
    /// All was read, and behind it there was the peer's FIN.
    eof: bool,
    over: Option<Over>,
    /// It did what draws a reset, at once or for data that comes later.
    rude: bool,
}

/// The ends of a connection, by the address that opened it.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) opener: End,
    pub(crate) accepter: Option<End>,
}

/// Who opened a connection, and to whom.
pub(crate) type Flow = (SocketAddr, SocketAddr);

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) pairs: BTreeMap<Flow, Pair>,
    /// A listener may answer by cookies.
    pub(crate) cookies: bool,
}

impl Ledger {
    fn end(&mut self, who: Who) -> &mut End {
        let pair = self.pairs.get_mut(&who.flow).expect("registered");
        if who.opens { &mut pair.opener } else { pair.accepter.as_mut().expect("registered") }
    }

    /// The other end, if there ever was one.
    fn peer(&self, who: Who) -> Option<&End> {
        let pair = &self.pairs[&who.flow];
        if who.opens { pair.accepter.as_ref() } else { Some(&pair.opener) }
    }
}

/// Which end of which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Who {
    flow: Flow,
    opens: bool,
}

impl Who {
    /// The octet at a place of what this end sends.
    fn octet(self, at: u64) -> u8 {
        let key = u64::from(self.flow.0.port()) << 1 | u64::from(self.opens);
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ at.wrapping_mul(0xD6E8_FEB8_6659_FD93)).to_be_bytes()[1]
    }
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Shuts down writing behind the last octet, and waits.
    Shutdown,
    /// Closes behind the last octet, whatever the peer still sends.
    Close,
    /// Closes when both have sent everything.
    CloseLast,
    Abort,
    ShutdownRead,
    LingerZero,
    LingerTime,
    /// Never.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Greedy,
    /// So much at a time, so often.
    Slow(usize, Duration),
    /// Nothing behind so many octets.
    Stops(u64),
}

#[derive(Debug)]
struct Endpoint {
    who: Who,
    total: u64,
    piece: usize,
    ending: Ending,
    reading: Reading,
    /// What it set that may end it: a user timeout or keep-alives.
    impatient: bool,
    established: bool,
    /// When it was opened, or established.
    since: Instant,
    peer_closed: bool,
    shut: bool,
    read_shut: bool,
    lingers: bool,
    /// When that is over at the latest.
    linger_ends: Instant,
    /// It lingers for no time: its close is a reset.
    zero: bool,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Open(SocketAddr),
    Read(ConnId),
    /// An ending that has its own time.
    End(ConnId),
    /// The last thing an application does.
    Deadline(ConnId),
    Listen,
    Unlisten,
    Accept,
}

#[derive(Debug)]
pub(crate) struct Player {
    rng: Rng,
    ledger: Rc<RefCell<Ledger>>,
    live: HashMap<ConnId, Endpoint>,
    tasks: BTreeMap<(Instant, u64), Task>,
    count: u64,
    local: SocketAddr,
    options: ListenOptions,
    listener: Option<ListenerId>,
    /// No new connections from here on.
    until: Instant,
    pub(crate) told: u64,
    /// The pool is never scarce: what waits for room waits for its own. (Of a scarce one a quarter must be free first.)
    pub(crate) roomy: bool,
}

impl Player {
    pub(crate) fn new(rng: Rng, ledger: Rc<RefCell<Ledger>>, local: SocketAddr, options: ListenOptions) -> Self {
        let until = Instant::ZERO + Duration::from_secs(60);
        let (live, tasks) = (HashMap::new(), BTreeMap::new());
        Self { rng, ledger, live, tasks, count: 0, local, options, listener: None, until, told: 0, roomy: false }
    }

    /// Plans to listen, and maybe to stop and to begin again.
    pub(crate) fn listens(&mut self) {
        self.at(Instant::ZERO, Task::Listen);
        for _ in 0..self.rng.below(3) {
            let at = Instant::ZERO + self.rng.ms(40_000);
            let pause = self.rng.ms(5000);
            self.at(at, Task::Unlisten);
            self.at(at + pause, Task::Listen);
        }
        self.at(self.until + Duration::from_secs(60), Task::Unlisten);
    }

    /// Plans `n` connections.
    pub(crate) fn opens(&mut self, n: u64, to: SocketAddr) {
        for _ in 0..n {
            let at = Instant::ZERO + self.rng.ms(30_000);
            let at = if self.rng.percent(40) { Instant::ZERO + Duration::from_millis(1) } else { at };
            self.at(at, Task::Open(to));
        }
    }

    fn at(&mut self, at: Instant, task: Task) {
        self.count += 1;
        self.tasks.insert((at, self.count), task);
    }

    fn begin(&mut self, io: &mut Io<'_>, conn: ConnId, who: Who) {
        let rng = &mut self.rng;
        let endings = [
            Ending::Shutdown,
            Ending::Shutdown,
            Ending::Close,
            Ending::CloseLast,
            Ending::CloseLast,
            Ending::Abort,
            Ending::ShutdownRead,
            Ending::LingerZero,
            Ending::LingerTime,
            Ending::Wait,
        ];
        let ending = rng.pick(&endings);
        let reading = match rng.below(6) {
            0 => Reading::Slow(1 + rng.index(3000), Duration::from_millis(1) + rng.ms(300)),
            1 => Reading::Stops(rng.magnitude(50_000)),
            _ => Reading::Greedy,
        };
        let mut impatient = false;
        io.set_nodelay(conn, rng.percent(50)).expect("alive");
        if rng.percent(15) {
            impatient = true;
            let time = Duration::from_millis(500) + rng.ms(20_000);
            io.set_user_timeout(conn, Some(time)).expect("alive");
        }
        if rng.percent(25) {
            impatient = true;
            let [idle, interval] = [0; 2].map(|_| Duration::from_millis(100) + rng.ms(8000));
            let probes = rng.pick(&[0, 1, 2, 3, 9]);
            io.set_keepalive(conn, Some(Keepalive { idle, interval, probes })).expect("alive");
        }
        let total = if rng.percent(10) { 0 } else { rng.magnitude(120_000) };
        let piece = 1 + rng.index(6000);
        let (established, peer_closed, shut) = (!who.opens, false, false);
        let endpoint = Endpoint {
            who,
            total,
            piece,
            ending,
            reading,
            impatient,
            established,
            since: io.now(),
            peer_closed,
            shut,
            read_shut: false,
            lingers: false,
            linger_ends: Instant::ZERO,
            zero: false,
        };
        self.live.insert(conn, endpoint);
        let end = io.now() + self.rng.ms(10_000);
        if matches!(ending, Ending::Abort | Ending::ShutdownRead) {
            self.at(end, Task::End(conn));
        }
        let deadline = io.now() + Duration::from_secs(40) + self.rng.ms(60_000);
        self.at(deadline, Task::Deadline(conn));
    }

    fn push(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(e) = self.live.get_mut(&conn).filter(|e| !e.shut && !e.lingers) else { return };
        let mut sent = self.ledger.borrow_mut().end(e.who).sent;
        while sent < e.total {
            let n = usize::try_from(e.total - sent).unwrap_or(usize::MAX).min(e.piece);
            let piece: Vec<u8> = (sent..sent + n as u64).map(|at| e.who.octet(at)).collect();
            let took = write(&mut self.rng, io, conn, &piece);
            // An error that is not told yet.
            let Ok(took) = took else { return };
            sent += took as u64;
            self.ledger.borrow_mut().end(e.who).sent = sent;
            if took < n {
                return;
            }
        }
        match e.ending {
            Ending::Shutdown | Ending::ShutdownRead => {
                e.shut = true;
                self.ledger.borrow_mut().end(e.who).fin = true;
                io.shutdown(conn, Half::Write).expect("alive");
                // In SYN-SENT that is the end, and what was accepted late may be over.
                let error = io.send(conn, &[1]).expect_err("writing is shut down");
                assert!(matches!(error, Error::BrokenPipe | Error::NotConnected), "{error:?}");
            }
            Ending::Close => self.close(io, conn),
            Ending::LingerZero => {
                e.zero = true;
                io.set_linger(conn, Some(Duration::ZERO)).expect("alive");
                self.close(io, conn);
            }
            Ending::LingerTime => {
                e.lingers = true;
                let time = Duration::from_millis(1) + self.rng.ms(5000);
                e.linger_ends = io.now() + time;
                io.set_linger(conn, Some(time)).expect("alive");
                self.close(io, conn);
            }
            Ending::CloseLast if e.peer_closed && io.unread(conn) == Ok(0) => self.close(io, conn),
            Ending::CloseLast | Ending::Abort | Ending::Wait => {}
        }
    }

    /// Gives the handle up, whatever is queued.
    fn close(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(e) = self.live.get_mut(&conn) else { return };
        let zero = e.zero;
        let unread = io.unread(conn).expect("alive");
        {
            let mut ledger = self.ledger.borrow_mut();
            let end = ledger.end(e.who);
            end.fin |= unread == 0 && !zero;
            // What the peer sends from now on is answered by a reset.
            end.rude = true;
        }
        io.close(conn).expect("alive");
        if e.lingers && io.info(conn).is_ok() {
            // `on_closed` tells how it went.
            return;
        }
        assert_eq!(io.send(conn, &[1]), Err(Error::NotConnected), "the handle is given up");
        assert_eq!(io.close(conn), Err(Error::NotConnected));
        let who = e.who;
        self.ledger.borrow_mut().end(who).over = Some(Over::GaveUp);
        self.live.remove(&conn);
    }

    fn abort(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(e) = self.live.remove(&conn) else { return };
        {
            let mut ledger = self.ledger.borrow_mut();
            let end = ledger.end(e.who);
            (end.rude, end.over) = (true, Some(Over::GaveUp));
        }
        io.abort(conn).expect("alive");
        assert_eq!(io.unread(conn), Err(Error::NotConnected));
    }

    fn verify(&mut self, conn: ConnId, data: &[u8]) {
        let e = &self.live[&conn];
        let peer = Who { opens: !e.who.opens, ..e.who };
        let mut ledger = self.ledger.borrow_mut();
        let sent = ledger.peer(e.who).map_or(0, |p| p.sent);
        let end = ledger.end(e.who);
        for (i, octet) in data.iter().enumerate() {
            let at = end.received + i as u64;
            assert_eq!(*octet, peer.octet(at), "octet {at} of what {peer:?} sent");
        }
        end.received += data.len() as u64;
        assert!(end.received <= sent, "more than {peer:?} has sent: {} of {sent}", end.received);
        assert!(!end.eof, "nothing comes behind the end");
    }

    fn read(&mut self, io: &mut Io<'_>, conn: ConnId, most: usize) {
        let mut buffer = vec![0; most.min(4096)];
        let mut left = most;
        while left > 0 {
            let n = left.min(buffer.len());
            let read = if self.rng.percent(30) {
                io.read_with(conn, |front| {
                    let n = n.min(front.len());
                    buffer[..n].copy_from_slice(&front[..n]);
                    (n, n)
                })
            } else {
                io.read(conn, &mut buffer[..n])
            };
            match read {
                Ok(n @ 1..) => {
                    self.verify(conn, &buffer[..n]);
                    left -= n;
                }
                _ => break,
            }
        }
        self.note_end(io, conn);
    }

    fn read_on(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(e) = self.live.get(&conn).filter(|e| !e.lingers) else { return };
        match e.reading {
            Reading::Greedy => self.read(io, conn, usize::MAX),
            Reading::Slow(_, every) => {
                let next = io.now() + every;
                self.at(next, Task::Read(conn));
            }
            Reading::Stops(_) => self.note_end(io, conn),
        }
    }

    /// The peer's FIN is told, and everything before it read.
    fn note_end(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(e) = self.live.get(&conn).filter(|e| e.peer_closed && !e.read_shut) else { return };
        if io.unread(conn) != Ok(0) {
            return;
        }
        let who = e.who;
        let mut ledger = self.ledger.borrow_mut();
        let peer = ledger.peer(who).cloned();
        let end = ledger.end(who);
        if !end.eof {
            end.eof = true;
            let peer = peer.expect("somebody sent the FIN");
            assert!(peer.fin, "a FIN that nobody sent: {who:?} {peer:?}");
            assert_eq!(end.received, peer.sent, "the end comes behind everything");
        }
        drop(ledger);
        self.push(io, conn);
    }

    /// There was no room for all it has to send; now there is, and nobody has said so.
    fn missed_room(&self, io: &mut Io<'_>, conn: ConnId, e: &Endpoint) -> bool {
        let sent = self.ledger.borrow_mut().end(e.who).sent;
        let idle = io.info(conn).is_ok_and(|info| info.send_queue_bytes == 0);
        self.roomy && !e.shut && sent < e.total && idle && io.send(conn, &[e.who.octet(sent)]) == Ok(1)
    }

    fn task(&mut self, io: &mut Io<'_>, task: Task) {
        match task {
            Task::Open(to) => {
                let conn = io.connect(to).expect("room and ports");
                let flow = io.addresses(conn).expect("alive");
                let old = self.ledger.borrow_mut().pairs.insert(flow, Pair::default());
                assert!(old.is_none(), "ports are not used again so soon");
                self.begin(io, conn, Who { flow, opens: true });
                if self.rng.percent(20) {
                    // Before ESTABLISHED.
                    self.push(io, conn);
                }
            }
            Task::Read(conn) => {
                if let Some(Endpoint { reading: Reading::Slow(most, _), lingers: false, .. }) = self.live.get(&conn) {
                    let most = *most;
                    self.read(io, conn, most);
                    if io.unread(conn).is_ok_and(|n| n > 0) {
                        self.read_on(io, conn);
                    }
                }
            }
            Task::End(conn) => match self.live.get_mut(&conn) {
                Some(Endpoint { ending: Ending::Abort, .. }) => self.abort(io, conn),
                Some(e) => {
                    e.read_shut = true;
                    self.ledger.borrow_mut().end(e.who).rude = true;
                    io.shutdown(conn, Half::Read).expect("alive");
                    assert_eq!(io.read(conn, &mut [0; 9]), Ok(0));
                }
                None => {}
            },
            Task::Deadline(conn) => match self.live.get(&conn) {
                // It hears of its end in time.
                // Room may have come late.
                Some(e) if e.lingers && io.now() <= e.linger_ends => {
                    let again = e.linger_ends + Duration::from_secs(1);
                    self.at(again, Task::Deadline(conn));
                }
                Some(e) if e.lingers => panic!("{:?} lingers for ever", e.who),
                Some(e) if e.established && self.missed_room(io, conn, e) => panic!("{:?} was not told of room", e.who),
                Some(_) if self.rng.percent(20) => self.abort(io, conn),
                Some(_) => self.close(io, conn),
                None => {}
            },
            Task::Listen => {
                if self.listener.is_none() && io.now() < self.until {
                    self.listener = Some(io.listen(self.local, self.options.clone()).expect("free"));
                    self.at(io.now(), Task::Accept);
                }
            }
            Task::Unlisten => {
                if let Some(listener) = self.listener.take() {
                    io.close_listener(listener).expect("open");
                    assert!(io.close_listener(listener).is_err());
                }
            }
            Task::Accept => {
                if let Some(listener) = self.listener.filter(|_| self.options.accept_queue.is_some()) {
                    for _ in 0..self.rng.below(3) {
                        if let Some(conn) = io.accept(listener) {
                            self.on_accept(io, conn, listener);
                        }
                    }
                    let next = io.now() + self.rng.ms(3000);
                    self.at(next, Task::Accept);
                }
            }
        }
    }
}

/// In one of the ways there are.
fn write(rng: &mut Rng, io: &mut Io<'_>, conn: ConnId, piece: &[u8]) -> Result<usize, Error> {
    match rng.below(100) {
        0..3 => io.send_urgent(conn, piece),
        3..10 => io.send_more(conn, piece),
        10..25 => {
            let (one, rest) = piece.split_at(rng.index(piece.len()));
            io.send_vectored(conn, &[one, &[], rest])
        }
        25..55 => {
            let mut bytes = Bytes::from(piece.to_vec());
            let took = io.send_bytes(conn, &mut bytes)?;
            assert_eq!(bytes, piece[took..], "what is taken is taken from the front");
            Ok(took)
        }
        _ => io.send(conn, piece),
    }
}

impl App for Player {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.told += 1;
        let (local, remote) = io.addresses(conn).expect("alive");
        let flow = (remote, local);
        {
            let mut ledger = self.ledger.borrow_mut();
            let pair = ledger.pairs.get_mut(&flow).expect("somebody has opened it");
            if pair.accepter.is_some() {
                // A cookie is believed twice if the last ACK of the handshake comes again when the connection is over.
                assert!(pair.accepter.as_ref().is_some_and(|e| e.over.is_some()), "two connections of one address");
                drop(ledger);
                io.abort(conn).expect("alive");
                return;
            }
            pair.accepter = Some(End::default());
        }
        self.begin(io, conn, Who { flow, opens: false });
        self.push(io, conn);
    }

    fn on_acceptable(&mut self, io: &mut Io<'_>, listener: ListenerId) {
        // Now and then at once, and else when it is time for it.
        if self.rng.percent(30)
            && let Some(conn) = io.accept(listener)
        {
            self.on_accept(io, conn, listener);
        }
    }

    fn on_connected(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.told += 1;
        let e = self.live.get_mut(&conn).expect("a handle that is held");
        assert!(!e.established, "told twice");
        (e.established, e.since) = (true, io.now());
        self.push(io, conn);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.told += 1;
        assert!(!data.is_empty());
        let e = self.live.get(&conn).expect("a handle that is held");
        assert!(e.established && !e.read_shut && !e.lingers, "{e:?}");
        let received = self.ledger.borrow_mut().end(e.who).received;
        let take = match e.reading {
            Reading::Greedy => data.len(),
            Reading::Slow(most, _) => data.len().min(most),
            Reading::Stops(at) => data.len().min(usize::try_from(at.saturating_sub(received)).unwrap_or(0)),
        };
        self.verify(conn, &data[..take]);
        if take < data.len() {
            self.read_on(io, conn);
        }
        take
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.told += 1;
        assert!(self.live.contains_key(&conn), "a handle that is held");
        self.read_on(io, conn);
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.told += 1;
        assert!(self.live.contains_key(&conn), "a handle that is held");
        self.push(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.told += 1;
        let e = self.live.get_mut(&conn).expect("a handle that is held");
        assert!(!e.peer_closed && !e.lingers, "told twice, or to who lingers");
        e.peer_closed = true;
        self.note_end(io, conn);
        self.push(io, conn);
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        self.told += 1;
        let e = self.live.remove(&conn).expect("a handle that is held");
        if error.is_some() && !e.lingers {
            let mut rest = vec![0; 100_000];
            if let Ok(n @ 1..) = io.read(conn, &mut rest) {
                self.live.insert(conn, e);
                self.verify(conn, &rest[..n]);
                let e = self.live.remove(&conn).expect("just put there");
                self.judge(io.now(), &e, error);
                return;
            }
        }
        self.judge(io.now(), &e, error);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        while let Some(first) = self.tasks.first_entry().filter(|first| first.key().0 <= io.now()) {
            let task = first.remove();
            self.task(io, task);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.tasks.keys().next().map(|(at, _)| *at)
    }
}

impl Player {
    /// Whether an end that is told is one that there was reason for.
    fn judge(&self, now: Instant, e: &Endpoint, error: Option<Error>) {
        let mut ledger = self.ledger.borrow_mut();
        let (peer, cookies) = (ledger.peer(e.who).cloned(), ledger.cookies);
        let end = ledger.end(e.who);
        end.over = Some(Over::Told(error));
        let opening = e.who.opens && !e.established;
        match error {
            None if e.lingers || (opening && e.shut) => {}
            None => {
                let peer = peer.expect("both have closed");
                assert!(peer.fin && end.fin, "in order means both have closed: {:?}", e.who);
                assert!(e.read_shut || end.received == peer.sent, "{:?} has everything", e.who);
            }
            Some(Error::Refused | Error::HostUnreachable) => {
                assert!(opening, "{error:?} of what was open: {:?}", e.who)
            }
            // Who is accepted but late may hear of the end of what it had: anything before is the peer's word.
            Some(Error::Reset) => {
                let alive = peer.as_ref().is_some_and(|p| p.over.is_none() && !p.rude);
                // Data that overtakes the segment which completes a handshake by cookie finds a listener.
                let young = e.who.opens && cookies && now < e.since + Duration::from_secs(5);
                // Nor is who still reads, but has both FINs and a short TIME-WAIT behind it: the last ACK was lost again and again.
                let both = end.fin && peer.as_ref().is_some_and(|p| p.fin);
                let alive = alive && !young && !both;
                assert!(
                    !alive || end.rude,
                    "{:?} was reset though the peer is there and has done nothing: {peer:?}",
                    e.who
                );
            }
            Some(Error::TimedOut) => {
                assert!(opening || e.impatient || e.lingers, "{:?} gave up though time was enough", e.who);
            }
            // What came with the end of the handshake found nobody to read it.
            Some(Error::Aborted) => assert!(e.lingers, "{:?} aborted by nobody", e.who),
            other => panic!("{:?} ended by {other:?}", e.who),
        }
    }

    /// Every end that was held has come to its end.
    pub(crate) fn assert_over(&self) {
        assert!(self.live.is_empty(), "{:?}", self.live);
    }
}

/// What must hold of a connection when all is over.
pub(crate) fn agree(ledger: &Ledger) {
    for (flow, Pair { opener: a, accepter }) in &ledger.pairs {
        assert!(a.over.is_some(), "{flow:?} never ended");
        let Some(b) = accepter else { continue };
        assert!(b.over.is_some(), "the peer of {flow:?} never ended");
        for (one, other) in [(a, b), (b, a)] {
            if one.over == Some(Over::Told(None)) && !one.rude && !other.rude {
                assert_eq!(other.received, one.sent, "{flow:?}: acknowledged is delivered: {one:?} {other:?}");
            }
        }
    }
}
