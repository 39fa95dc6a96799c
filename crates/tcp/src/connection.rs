//! A connection: it branches, its halves compute. RFC 9293 section 3.10, event by event.

mod cork;
mod detail;
mod extras;
mod handshake;
mod inspect;
mod keepalive;
mod linger;
mod listing;
mod notes;
mod path;
mod predicted;
mod profile;
mod quick_ack;
mod rest;
mod segment;
mod silence;
mod train;
mod transmit;
mod urgent;
mod write;

use crate::{
    challenge::ChallengeLimit,
    closed::Reset,
    ecn::Echo,
    env::Env,
    error::{DropReason, Error},
    recv::{Receiver, paws::Clock},
    send::{Cut, Sender, pmtu::Sizes},
    soft::SoftError,
    state::{Input, State},
    time_wait::TimeWait,
};
use alloc::boxed::Box;
use extras::Extras;
pub use inspect::Numbers;
pub use listing::{Listing, Timers};
pub use predicted::Data;
pub use rest::Resting;
pub use train::Train;
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, Plain, SackBlocks, Segment},
};

/// What a connection is opened with.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Our initial sequence number (see [`IsnGenerator`](crate::IsnGenerator)).
    pub iss: SeqNum,
    /// The MSS we announce and at most send: path MTU less 40 (IPv4) or 60 (IPv6) bytes.
    pub mss: u16,
    /// What the peer is taken to accept if it announces none: 536 (IPv4), 1220 (IPv6) (RFC 9293 MUST-15).
    pub default_peer_mss: u16,
    /// Added to the timestamp clock (see [`IsnGenerator::timestamp_offset`](crate::IsnGenerator::timestamp_offset)).
    pub timestamp_offset: u32,
}

/// What became of a segment.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes `.0 .. .0 + .1` of the payload are in order and nothing is queued before them: give them to the application
    /// now, then [`Connection::keep`] what it leaves.
    pub deliver: Option<(usize, usize)>,
    /// Why the segment was not processed, or not fully.
    pub dropped: Option<DropReason>,
    /// Send this reset.
    pub reset: Option<Reset>,
}

/// A segment to send: its header but for the ports, and how many payload bytes were written behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emit {
    /// The header; both ports are 0.
    pub header: Header,
    /// Payload bytes, at `header.len()` of the buffer.
    pub payload_len: usize,
    /// The packet goes out ECN-capable, ECT(0) (RFC 3168 section 6.1.2).
    pub ect: bool,
}

/// What the application should hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete.
    Established,
    /// There are bytes to read in the queue ([`Connection::front`]).
    Readable,
    /// There is room in the send buffer again after `send` took less than it was given.
    Writable,
    /// The peer has closed its direction in order: behind the bytes still queued there is the end of file.
    PeerClosed,
    /// Both directions are closed in order and 2MSL must pass: keep this record in the connection's stead.
    TimeWait(TimeWait),
    /// The connection is over: in order (`None`), or by this error.
    Closed(Option<Error>),
    /// The application has closed and [lingers](Connection::set_linger): its FIN is acknowledged (`None`), or the time is
    /// over. Its handle ends here, the connection goes on without it.
    Lingered(Option<Error>),
    /// Something is wrong with the path; the connection goes on. An application may ignore it (RFC 9293 MUST-47).
    SoftError(SoftError),
    /// The peer marks data as urgent, or more of it: so many octets from the next one the application is given (RFC 9293
    /// section 3.8.5, MUST-32).
    Urgent(u32),
    /// For the stack: a router says that the path carries segments of this size and no larger, and is believed
    /// ([`Connection::set_path_mss`] is for connections to the same peer).
    PathMss(u16),
    /// For the stack: ask the next hop whether it is still there (R1 of RFC 9293 section 3.8.3, MUST-20).
    Suspect,
}

/// Which direction to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The application will not read any more.
    Read,
    /// The application will not write any more: FIN follows what is queued.
    Write,
    /// Both.
    Both,
}

/// What `fourwave ss` shows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The state.
    pub state: State,
    /// Bytes accepted from the application and not yet acknowledged.
    pub send_queue_bytes: u32,
    /// Bytes received in order and not yet read.
    pub receive_queue_bytes: u32,
    /// The receive buffer: what may lie unread or out of order, bytes.
    pub receive_buffer_bytes: u32,
    /// Smoothed round-trip time, if measured.
    pub srtt: Option<Duration>,
    /// Congestion window, bytes.
    pub cwnd_bytes: u32,
    /// The most data a segment of ours carries, bytes, before options.
    pub send_mss: u16,
    /// Slow-start threshold, bytes; `None` before the first sign of congestion.
    pub ssthresh_bytes: Option<u32>,
    /// Bytes believed to be in the network.
    pub in_flight_bytes: u32,
    /// Bytes the peer has reported by SACK.
    pub sacked_bytes: u32,
    /// Bytes taken for lost and not yet acknowledged.
    pub lost_bytes: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// The timer that is due first, its name and its time.
    pub timer: Option<(&'static str, Instant)>,
    /// When the connection was opened.
    pub opened: Instant,
    /// When it came into its state: in CLOSE-WAIT, when the peer's FIN did.
    pub since: Instant,
}

/// One TCP connection. See the [crate's documentation](crate) for the kinds of method.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    clock: Clock,
    /// When an orphan in FIN-WAIT-2 is given up.
    fin_wait2: Option<Instant>,
    extras: Option<Box<Extras>>,
    events: Pending,
    /// The application has given up its handle.
    orphan: bool,
    read_shut: bool,
    echo: Echo,
    state: State,
    rcv: Receiver,
    snd: Sender,
    // Of no interest to most segments, as the sender's second half.
    challenge: ChallengeLimit,
    opened: Instant,
    /// When the state was entered.
    since: Instant,
    sizes: Sizes,
    mss: u16,
    default_peer_mss: u16,
    /// RFC 9293 MUST-11: how SYN-RECEIVED was reached.
    passive: bool,
    /// Both SYNs carried a window scale.
    scaled: bool,
    want_write: write::Want,
}

/// Events that wait to be polled, in the order of `Event`.
#[derive(Debug, Default)]
struct Pending {
    established: bool,
    readable: bool,
    writable: bool,
    peer_closed: bool,
    time_wait: bool,
    closed: Option<Option<Error>>,
}

impl Pending {
    const fn any(&self) -> bool {
        let flags = self.established | self.readable | self.writable | self.peer_closed | self.time_wait;
        flags || self.closed.is_some()
    }
}

impl Connection {
    /// Active OPEN: SYN-SENT; `poll_transmit` has the SYN.
    #[must_use]
    pub fn connect(env: &Env<'_>, start: Start) -> Self {
        Self::new(env, start, State::SynSent, false)
    }

    fn new(env: &Env<'_>, start: Start, state: State, passive: bool) -> Self {
        Self {
            state,
            passive,
            orphan: false,
            read_shut: false,
            scaled: false,
            want_write: write::Want::Nothing,
            events: Pending::default(),
            mss: start.mss,
            default_peer_mss: start.default_peer_mss,
            snd: Sender::new(start.iss, start.mss, env),
            rcv: Receiver::new(start.mss),
            clock: Clock::new(start.timestamp_offset),
            echo: Echo::default(),
            challenge: ChallengeLimit::default(),
            fin_wait2: None,
            opened: env.now,
            sizes: Sizes::default(),
            extras: None,
            since: env.now,
        }
    }

    // What happened.

    /// The packet of the segment that comes next was marked on its way (CE, RFC 3168), or was not.
    pub fn congestion_experienced(&mut self, marked: bool) {
        self.echo.packet(marked);
    }

    /// A segment of this connection arrived; its checksum is verified.
    pub fn on_segment(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        if let Some(outcome) = self.if_expected(env, segment) {
            return outcome;
        }
        self.on_any_segment(env, segment)
    }

    fn on_any_segment(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) -> Outcome {
        let before = self.state;
        let outcome = match before {
            State::Closed | State::Listen | State::TimeWait => Outcome::default(),
            State::SynSent => self.in_syn_sent(env, segment),
            _ => self.in_later_states(env, segment),
        };
        if let Some(reason) = outcome.dropped {
            self.note_dropped(env, segment, reason);
        }
        self.heard(env.now, &outcome);
        self.stepped_from(before, env);
        outcome
    }

    /// [`poll_timeout`](Self::poll_timeout)'s time has come. Returns the reset to send to a peer that has answered no
    /// keep-alive: if it is there after all it learns that the connection is not.
    #[must_use]
    pub fn on_timeout(&mut self, env: &mut Env<'_>) -> Option<Reset> {
        self.rcv.on_timeout(env.now);
        self.on_linger_timeout(env.now);
        if self.fin_wait2.is_some_and(|at| at <= env.now) {
            self.finish(env, None);
            return None;
        }
        let (r2, timeouts, probes) = (self.r2(env), self.snd.timeouts(), self.snd.window_probes());
        let over = self.user_deadline().is_some_and(|at| at <= env.now);
        if over || !self.snd.on_timeout(env, r2) {
            self.finish(env, Some(self.silence()));
            return None;
        }
        self.on_retransmission(env, timeouts);
        if self.is_dead_weight(env) {
            env.pool.count(|c| c.orphans_ended += 1);
            let reset = self.reset_of_ours(env);
            self.finish(env, Some(Error::TimedOut));
            return Some(reset);
        }
        if self.snd.window_probes() > probes {
            self.snd.note_window_probe(env);
        }
        self.on_keepalive_timeout(env)
    }

    /// The pool is used up, and it has data of an application that has gone to a peer that does not take it in time: as Linux's
    /// `tcp_out_of_resources`.
    fn is_dead_weight(&self, env: &Env<'_>) -> bool {
        let slow = self.snd.timeouts() > 1 || self.snd.window_probes() > 1;
        self.orphan
            && !self.lingers()
            && slow
            && self.snd.unacknowledged() > 0
            && !env.pool.has_room(env.pool.least_share() as usize)
    }

    // What the application wants.

    /// The first bytes to read, as many as lie together; empty when there are none.
    #[must_use]
    pub fn front<'p>(&self, env: &'p Env<'_>) -> &'p [u8] {
        self.rcv.front(env.pool)
    }

    /// The application has read the first `n` bytes of the queue.
    pub fn consume(&mut self, env: &mut Env<'_>, n: u32) {
        let shut = n > 0 && self.rcv.is_shut_at(self.rcv.rcv_nxt());
        self.rcv.consume(env, n, self.state.may_receive());
        if shut && self.state.may_receive() {
            self.note_window_opened(env);
        }
    }

    /// Queues what the application left of bytes that were delivered in place.
    pub fn keep(&mut self, env: &mut Env<'_>, rest: &[u8]) {
        if !self.read_shut {
            let before = self.rcv.rcv_nxt();
            self.rcv.keep(env.pool, rest, !self.state.may_receive());
            if self.rcv.rcv_nxt() != before {
                let at = self.rcv.rcv_nxt();
                self.note_no_memory(env, at, before.since(at) as usize);
            }
            if self.state.may_receive() && self.rcv.is_shut_at(before) {
                self.note_window_closed(env);
            }
        }
    }

    /// Shuts down a direction, or both, and keeps the connection.
    ///
    /// After reading is shut down, data of the peer is answered by a reset.
    pub fn shutdown(&mut self, env: &mut Env<'_>, half: Half) {
        self.note_shutdown(env, half);
        if half != Half::Write {
            self.read_shut = true;
            let unread = self.rcv.unread();
            self.rcv.consume(env, unread, self.state.may_receive());
        }
        if half != Half::Read {
            self.close_write(env);
        }
    }

    /// The application gives up the connection: closed in order, or by the reset returned if it has left data unread
    /// (RFC 9293 section 3.6.1, RFC 2525 section 2.17). No further event is of interest to it, unless it
    /// [lingers](Self::set_linger).
    #[must_use]
    pub fn close(&mut self, env: &mut Env<'_>) -> Option<Reset> {
        if self.rcv.unread() > 0 && !matches!(self.state, State::Closed | State::TimeWait) {
            return self.abort_unread(env);
        }
        if self.close_resets() {
            return self.abort(env);
        }
        if self.lingers() {
            self.stop_linger();
            return None;
        }
        self.note_close(env);
        self.orphan = true;
        self.close_write(env);
        self.watch_fin_wait2(env);
        self.linger(env);
        None
    }

    fn close_write(&mut self, env: &mut Env<'_>) {
        if self.state == State::SynSent {
            return self.finish(env, None);
        }
        let before = self.state;
        if before.may_send() {
            self.snd.close();
            self.step_if_closed();
        }
        self.stepped_from(before, env);
    }

    /// RFC 9293 section 3.10.4: a CLOSE in SYN-RECEIVED takes effect in ESTABLISHED.
    fn step_if_closed(&mut self) {
        if self.snd.is_closed() && self.state != State::SynReceived {
            self.step(Input::Close);
        }
    }

    /// RFC 9293 section 3.10.5: the connection is over at once. Returns the reset to send, if the state asks for one.
    #[must_use]
    pub fn abort(&mut self, env: &mut Env<'_>) -> Option<Reset> {
        if self.state == State::TimeWait || (self.state == State::Closed && self.events.closed.is_none()) {
            // Its end was told already; or what is left is a record that no ABORT ends.
            return None;
        }
        let told = self.resets();
        let reset = self.abort_unread(env);
        reset.filter(|_| told)
    }

    /// The application leaves data that it was given: that is told in every state (RFC 9293 section 3.6.1), but in TIME-WAIT, where
    /// the peer has its acknowledgment.
    #[must_use]
    pub fn abort_unread(&mut self, env: &mut Env<'_>) -> Option<Reset> {
        if matches!(self.state, State::TimeWait) {
            return None;
        }
        self.note_abort(env);
        let reset = self.reset_of_ours(env);
        self.finish(env, Some(Error::Aborted));
        Some(reset)
    }

    /// A12: `<SEQ=SND.NXT><CTL=RST>`, and the acknowledgment that every stack of the field sends along.
    fn reset_of_ours(&mut self, env: &Env<'_>) -> Reset {
        let ack = self.rcv.rcv_nxt();
        Reset { seq: self.snd.acceptable_seq(), ack: Some(ack), timestamps: self.clock.stamp(env.now, ack) }
    }

    /// The states in which an ABORT is told to the peer. CLOSING and LAST-ACK begin, for this, when the FIN is sent: the RFC's
    /// CLOSE waits in CLOSE-WAIT for that (3.10.4), and the peer would wait for the FIN for ever (as Linux's `tcp_need_reset`).
    fn resets(&self) -> bool {
        use State::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived};
        matches!(self.state, SynReceived | Established | FinWait1 | FinWait2 | CloseWait)
            || (matches!(self.state, Closing | LastAck) && self.snd.fin_unsent())
    }

    /// The connection is over by a fault outside of it: the path says that the peer can't be reached.
    pub fn fail(&mut self, env: &mut Env<'_>, error: Error) {
        self.finish(env, Some(error));
    }

    // What is to be done.

    /// When to call [`on_timeout`](Self::on_timeout), unless something else happens before.
    #[inline]
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut first = Instant::MAX;
        self.timers(|_, at| first = first.min(at));
        (first != Instant::MAX).then_some(first)
    }

    /// All timers that run. Asked for with every segment: not collected, nor named where nobody wants the names.
    #[inline]
    fn timers(&self, mut each: impl FnMut(&'static str, Instant)) {
        self.snd.timers(&mut each);
        let mut each = |name, at: Option<Instant>| at.into_iter().for_each(|at| each(name, at));
        each("delayed-ack", self.rcv.deadline());
        each("fin-wait-2", self.fin_wait2);
        if self.extras.is_some() {
            each("linger", self.linger_until());
            each("user-timeout", self.user_deadline());
            each("keepalive", self.keepalive_deadline());
        }
    }

    /// The next thing the application, or the stack, should hear. Call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        let e = &mut self.events;
        let take = |flag: &mut bool| core::mem::take(flag);
        if take(&mut e.established) {
            Some(Event::Established)
        } else if take(&mut e.readable) {
            Some(Event::Readable)
        } else if take(&mut e.writable) {
            Some(Event::Writable)
        } else if take(&mut e.peer_closed) {
            Some(Event::PeerClosed)
        } else if take(&mut e.time_wait) {
            Some(Event::TimeWait(TimeWait {
                snd_nxt: self.snd.ack_seq(),
                rcv_nxt: self.rcv.rcv_nxt(),
                timestamps: self.clock.recent(),
            }))
        } else if let Some(event) = self.extras.as_mut().and_then(|x| x.poll_event()) {
            Some(event)
        } else {
            e.closed.take().map(Event::Closed)
        }
    }

    /// Takes [`Event::Established`] before its turn: it must be told before data that came with it.
    pub fn take_established(&mut self) -> bool {
        core::mem::take(&mut self.events.established)
    }

    // What is so.

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Bytes received in order and not yet read.
    #[must_use]
    pub const fn unread(&self) -> u32 {
        self.rcv.unread()
    }

    /// Whether the connection was opened by the peer.
    #[must_use]
    pub const fn is_passive(&self) -> bool {
        self.passive
    }

    /// Everything `fourwave ss` shows.
    #[must_use]
    pub fn info(&self) -> Info {
        let (in_flight_bytes, sacked_bytes, lost_bytes) = self.snd.flight_bytes();
        Info {
            state: self.state,
            send_queue_bytes: self.snd.unacknowledged(),
            receive_queue_bytes: self.rcv.unread(),
            receive_buffer_bytes: self.rcv.buffer(),
            srtt: self.snd.srtt(),
            cwnd_bytes: self.snd.cwnd(),
            send_mss: self.snd.mss(),
            ssthresh_bytes: self.snd.ssthresh(),
            in_flight_bytes,
            sacked_bytes,
            lost_bytes,
            retransmits: self.snd.retransmits(),
            timer: self.timer(),
            opened: self.opened,
            since: self.since,
        }
    }

    /// Gives all memory back to the pool. Call before dropping the connection.
    pub fn release(&mut self, env: &mut Env<'_>) {
        self.snd.clear(env);
        self.rcv.clear(env.pool);
    }

    fn step(&mut self, input: Input) {
        if let Some(next) = self.state.next(input) {
            self.state = next;
        }
    }

    fn stepped_from(&mut self, before: State, env: &mut Env<'_>) {
        if self.state != before {
            self.since = env.now;
            self.note_state(env);
        }
    }

    /// The connection is over, in order or by an error. Data already received in order stays readable.
    fn finish(&mut self, env: &mut Env<'_>, error: Option<Error>) {
        self.note_end(env, error);
        self.state = State::Closed;
        self.snd.clear(env);
        self.rcv.stop(env.pool);
        self.fin_wait2 = None;
        self.stop_linger();
        self.events.time_wait = false;
        self.events.closed = Some(error);
    }

    fn watch_fin_wait2(&mut self, env: &Env<'_>) {
        if self.orphan && self.state == State::FinWait2 && self.fin_wait2.is_none() {
            self.fin_wait2 = Some(env.now + env.config.fin_wait2_orphan);
        }
    }
}
