//! One endpoint under test, and a notation in which a case reads like a packet trace. A line is one of
//!
//! ```text
//! in  <SEQ=300><ACK=101><DATA=5><CTL=FIN,ACK> STATE    the peer's segment arrives
//! out <SEQ=101><ACK=306><CTL=ACK> STATE                the endpoint's next segment
//! connect 100 | listen 300 400 | established 300 100   ISS; one ISS per passive open; SND.NXT and RCV.NXT
//! send 10 | read 5 | shutdown | shutdown-read | shutdown-both | close | abort | nodelay | quick-ack off | lazy
//! profile latency|throughput|balanced
//! timer 200ms | wait 24h                               the next deadline is 200 ms ahead and fires; time passes
//! user-timeout 5s|never|off | soft-errors off | soft-error none | hear-soft
//! keepalive 60s 10s 3 | keepalive default | keepalive off
//! icmp 101 v4 3 1 | icmp-ignored 101 v6 1 4           an error of this type and code quotes SEQ; it is taken, or not
//! too-big 101 1360 | too-big-ignored 101 1360         a router forwards this much of the segment at SEQ; it is believed, or not
//! path 1360 60s                                       what another connection has learnt, and for how long it holds
//! send-urgent 5 | urgent 3 | urgent none              <UP=5><CTL=URG,ACK> is the pointer of a segment
//! linger 5s | linger off                               SO_LINGER
//! batch ... turn                                       what arrives between is answered together
//! hears connected|data 5|readable|eof|closed|reset|... what the application is told, in order
//! ```
//!
//! Every segment must be written down, and every line holds for each of `SHIFTS` of both number spaces. Numbers are
//! absolute before the shift; `SEQ==0` is never shifted, `EDGE` is the right edge of the endpoint's window. `WND` (raw)
//! of `in` defaults to 10,000. Options are `MSS=`, `WS=`, `SACK-OK=1`, `TSval=`, `TSecr=`, `CE=1` (the packet was marked) and `SACK=10-20,30-40`; of a SYN's
//! only those that are written are compared. An ACK with a RST is compared only where it is written. Bytes are a pattern of their sequence number, checked wherever they go.
#![allow(dead_code, unreachable_pub)]

pub mod trace;

use std::collections::VecDeque;
use tcp::{
    Answer, Config, Connection, Env, Error, Event, Half, HalfOpen, HalfOpenAnswer, IcmpError, Keepalive, Knock,
    Outcome, Pool, Profile, Reset, Settings, Start, State, TimeWait, answer_closed, answer_listen,
};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, Header, Options, SackBlocks, Segment, Timestamps},
};

/// Shifts of a number space: none, and such that the numbers of the scenarios lie around 2^32 and 2^31.
pub const SHIFTS: [u32; 6] = [0, 0u32.wrapping_sub(101), 0u32.wrapping_sub(302), 0x7fff_ff9b, 0x7fff_fed3, 0xffff_f000];

/// Time begins at 1,000 s, the timestamp clock at 0.
const OFFSET: u32 = 0u32.wrapping_sub(1_000_000);

pub fn byte(at: u32) -> u8 {
    at.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]
}

/// A segment of a script, numbers not shifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seg {
    seq: Num,
    ack: Option<Num>,
    data: u32,
    wnd: Option<u16>,
    flags: Flags,
    urgent: u16,
    mss: Option<u16>,
    ws: Option<u8>,
    sack_ok: bool,
    ts: Option<Timestamps>,
    sack: Vec<(u32, u32)>,
    ce: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Num {
    Relative(u32),
    Absolute(u32),
    Edge(u32),
}

fn num(text: &str) -> Num {
    if let Some(n) = text.strip_prefix('=') {
        Num::Absolute(n.parse().expect("a number"))
    } else if let Some(less) = text.strip_prefix("EDGE") {
        Num::Edge(less.strip_prefix('-').map_or(0, |n| n.parse().expect("a number")))
    } else {
        Num::Relative(text.parse::<i64>().map(|n| n as u32).expect("a number"))
    }
}

fn seg(text: &str) -> Seg {
    let mut s = Seg {
        seq: Num::Absolute(0),
        ack: None,
        data: 0,
        wnd: None,
        flags: Flags::default(),
        urgent: 0,
        mss: None,
        ws: None,
        sack_ok: false,
        ts: None,
        sack: Vec::new(),
        ce: false,
    };
    for part in text.split('<').skip(1) {
        let part = part.split_once('>').expect("a closing bracket").0;
        let (name, value) = part.split_once('=').expect("NAME=VALUE");
        match name {
            "SEQ" => s.seq = num(value),
            "ACK" => s.ack = Some(num(value)),
            "DATA" => s.data = value.parse().expect("octets"),
            "WND" => s.wnd = Some(value.parse().expect("a window")),
            "UP" => s.urgent = value.parse().expect("a pointer"),
            "MSS" => s.mss = Some(value.parse().expect("an MSS")),
            "CE" => s.ce = value == "1",
            "WS" => s.ws = Some(value.parse().expect("a shift")),
            "SACK-OK" => s.sack_ok = value == "1",
            "TSval" => s.ts.get_or_insert_default().val = value.parse().expect("a timestamp"),
            "TSecr" => s.ts.get_or_insert_default().ecr = value.parse().expect("a timestamp"),
            "SACK" => {
                let block = |b: &str| {
                    let (start, end) = b.split_once('-').expect("a block");
                    (start.parse().expect("a number"), end.parse().expect("a number"))
                };
                s.sack = value.split(',').map(block).collect();
            }
            "CTL" => {
                for flag in value.split(',').filter(|f| !f.is_empty()) {
                    s.flags |= match flag {
                        "SYN" => Flags::SYN,
                        "ACK" => Flags::ACK,
                        "FIN" => Flags::FIN,
                        "RST" => Flags::RST,
                        "URG" => Flags::URG,
                        "ECE" => Flags::ECE,
                        "CWR" => Flags::CWR,
                        other => panic!("flag {other}"),
                    };
                }
            }
            other => panic!("field {other}"),
        }
    }
    s
}

pub fn time(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let n: u64 = digits.parse().expect("a time");
    match &text[digits.len()..] {
        "us" => Duration::from_micros(n),
        "ms" => Duration::from_millis(n),
        "s" => Duration::from_secs(n),
        "min" => Duration::from_secs(60 * n),
        "h" => Duration::from_secs(3600 * n),
        unit => panic!("unit {unit}"),
    }
}

/// The defaults of the scenarios: a receive buffer of 4,096 bytes, so windows are not scaled, no delayed ACK, and buffers that
/// are as large from the start as they may be. The traces are those of a sender that does not pace.
pub fn settings() -> Settings {
    Settings {
        receive_buffer_bytes: 4096,
        receive_buffer_start_bytes: 1 << 30,
        send_buffer_bytes: 1 << 20,
        send_buffer_start_bytes: 1 << 30,
        delayed_ack: Duration::ZERO,
        hystart: false,
        pacing: false,
        ..Settings::default()
    }
}

pub struct Endpoint {
    pub now: Instant,
    pub config: Config,
    pub pool: Pool,
    pub conn: Option<Connection>,
    /// A passive open whose handshake is not complete.
    half: Option<HalfOpen>,
    /// The connection is over; what it has received in order is still to be read.
    ended: Option<Connection>,
    listening: bool,
    told: bool,
    time_wait: Option<(TimeWait, Instant)>,
    iss: VecDeque<u32>,
    pub out: VecDeque<(Header, Vec<u8>)>,
    pub heard: VecDeque<String>,
    ours: u32,
    theirs: u32,
    start: Start,
    /// The application leaves what arrives in the queue.
    lazy: bool,
    /// Nothing is sent or told until `turn`.
    batch: bool,
    next_sent: u32,
    next_read: u32,
    edge: Option<SeqNum>,
    /// Soft errors and suspicions are written down like everything else that is heard.
    soft: bool,
    line: String,
}

impl Endpoint {
    pub fn new(settings: Settings, ours: u32, theirs: u32) -> Self {
        let start = Start { iss: SeqNum::new(0), mss: 1460, default_peer_mss: 536, timestamp_offset: OFFSET };
        Self {
            now: Instant::ZERO + Duration::from_secs(1000),
            config: Config::new(settings).expect("valid"),
            pool: Pool::new(1 << 22),
            conn: None,
            half: None,
            ended: None,
            listening: false,
            told: false,
            time_wait: None,
            iss: VecDeque::new(),
            out: VecDeque::new(),
            heard: VecDeque::new(),
            ours,
            theirs,
            start,
            lazy: false,
            batch: false,
            next_sent: 0,
            next_read: 0,
            edge: None,
            soft: false,
            line: String::new(),
        }
    }

    fn verb<R>(&mut self, f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R) -> R {
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        f(self.conn.as_mut().unwrap_or_else(|| panic!("no connection at: {}", self.line)), &mut env)
    }

    pub fn state(&self) -> State {
        match (&self.conn, &self.time_wait) {
            (Some(conn), _) => conn.state(),
            _ if self.half.is_some() => State::SynReceived,
            (None, Some(_)) => State::TimeWait,
            _ if self.listening => State::Listen,
            _ => State::Closed,
        }
    }

    fn answer(&mut self, reset: Option<Reset>) {
        if let Some(reset) = reset {
            self.out.push_back((reset.header(0, 0), Vec::new()));
        }
    }

    fn open(&mut self, passive: Option<&Segment<'_>>) {
        let iss = self.iss.pop_front().expect("an ISS for every open");
        let start = Start { iss: SeqNum::new(iss.wrapping_add(self.ours)), ..self.start };
        let env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        match passive {
            Some(syn) => {
                let half = HalfOpen::new(&env, start, syn);
                let header = half.syn_ack(&env, OFFSET);
                self.half = Some(half);
                self.edge = None;
                self.say(header);
            }
            None => {
                self.conn = Some(Connection::connect(&env, start));
                self.edge = None;
            }
        }
        self.told = passive.is_none();
        self.next_sent = iss.wrapping_add(1);
    }

    pub fn arrive(&mut self, segment: &Segment<'_>) {
        if segment.header.flags.contains(Flags::SYN) {
            self.next_read = segment.header.seq.value().wrapping_sub(self.theirs).wrapping_add(1);
        }
        if self.conn.is_some() {
            let outcome = self.verb(|c, env| c.on_segment(env, segment));
            self.outcome(segment, outcome);
        } else if let Some(half) = self.half {
            self.arrive_half_open(half, segment);
        } else if let Some((record, _)) = self.time_wait {
            match record.on_segment(segment) {
                Answer::Ignore => {}
                answer @ (Answer::Ack | Answer::AckAndRestart) => {
                    self.out.push_back((record.ack(self.now, OFFSET, 0, 0), Vec::new()));
                    if answer == Answer::AckAndRestart {
                        self.time_wait = Some((record, self.now + self.config.time_wait));
                    }
                }
                Answer::Reopen { after } if self.listening => {
                    self.time_wait = None;
                    self.open(Some(segment));
                    let iss = SeqNum::new(self.next_sent.wrapping_add(self.ours));
                    assert!(iss.after(after), "the new ISS must lie behind the old incarnation");
                }
                Answer::Reopen { .. } => {}
            }
        } else if self.listening {
            match answer_listen(segment) {
                Knock::Open => self.open(Some(segment)),
                Knock::Refuse(reset) => self.answer(Some(reset)),
                Knock::Ignore => {}
            }
        } else {
            self.answer(answer_closed(segment));
        }
        self.settle();
    }

    /// A segment of a half-open record.
    fn say(&mut self, header: Header) {
        let shift = if header.flags.contains(Flags::SYN) { 0 } else { self.our_scale() };
        self.edge = Some(header.ack + (u32::from(header.window) << shift));
        self.out.push_back((header, Vec::new()));
    }

    fn arrive_half_open(&mut self, mut half: HalfOpen, segment: &Segment<'_>) {
        let env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        let answer = half.on_segment(&env, segment);
        self.half = Some(half);
        match answer {
            HalfOpenAnswer::Ignore(_) => {}
            HalfOpenAnswer::Ack(_) => {
                let header = half.ack(&env, OFFSET);
                self.say(header);
            }
            HalfOpenAnswer::SynAckAgain => {
                let header = half.syn_ack(&env, OFFSET);
                self.say(header);
            }
            HalfOpenAnswer::Reset(reset) => self.answer(Some(reset)),
            HalfOpenAnswer::Forget => self.half = None,
            HalfOpenAnswer::Complete => {
                self.conn = Some(Connection::from_half_open(&env, self.start, &half));
                self.half = None;
                let outcome = self.verb(|c, env| c.on_segment(env, segment));
                self.outcome(segment, outcome);
            }
        }
    }

    fn outcome(&mut self, segment: &Segment<'_>, outcome: Outcome) {
        self.answer(outcome.reset);
        let Some((at, len)) = outcome.deliver else { return };
        if self.verb(|c, _| c.take_established()) {
            self.told = true;
            self.heard.push_back("connected".into());
        }
        let data = &segment.payload[at..at + len];
        if self.lazy {
            self.verb(|c, env| c.keep(env, data));
        } else {
            self.check_read(data);
        }
        self.heard.push_back(format!("data {len}"));
    }

    fn check_read(&mut self, data: &[u8]) {
        for b in data {
            assert_eq!(*b, byte(self.next_read), "octet {} of the stream at: {}", self.next_read, self.line);
            self.next_read = self.next_read.wrapping_add(1);
        }
    }

    /// Takes what is to be sent, and tells the application what happened.
    fn settle(&mut self) {
        if self.batch {
            return;
        }
        let mut buffer = vec![0; 2000];
        while self.conn.is_some() {
            let Some(emit) = self.verb(|c, env| c.poll_transmit(env, &mut buffer)) else { break };
            let at = emit.header.len();
            let payload = buffer[at..at + emit.payload_len].to_vec();
            if emit.header.flags.contains(Flags::ACK) {
                let shift = if emit.header.flags.contains(Flags::SYN) { 0 } else { self.our_scale() };
                self.edge = Some(emit.header.ack + (u32::from(emit.header.window) << shift));
            }
            self.out.push_back((emit.header, payload));
            assert!(self.out.len() < 10_000, "endless output at: {}", self.line);
        }
        while let Some(event) = self.conn.as_mut().and_then(Connection::poll_event) {
            let word = match event {
                Event::Established => {
                    self.told = true;
                    "connected".into()
                }
                Event::Readable => "readable".into(),
                Event::Writable => "writable".into(),
                Event::PeerClosed => "eof".into(),
                Event::TimeWait(record) => {
                    self.time_wait = Some((record, self.now + self.config.time_wait));
                    continue;
                }
                Event::Closed(error) => {
                    self.ended = self.conn.take();
                    let timer = self.ended.as_ref().and_then(Connection::poll_timeout);
                    assert_eq!(timer, None, "a timer of a connection that is over at: {}", self.line);
                    error.map_or("closed".into(), word_of)
                }
                Event::Lingered(error) => error.map_or("closed".into(), word_of),
                Event::SoftError(_) | Event::Suspect | Event::PathMss(_) if !self.soft => continue,
                Event::SoftError(error) => format!("soft {error:?}"),
                Event::Suspect => "suspect".into(),
                Event::Urgent(octets) => format!("urgent {octets}"),
                Event::PathMss(mss) => format!("path {mss}"),
            };
            if self.told {
                self.heard.push_back(word);
            }
            self.told = self.told && !matches!(event, Event::Lingered(_));
        }
        if let Some(at) = self.conn.as_ref().and_then(Connection::poll_timeout) {
            assert!(at > self.now || self.config.delayed_ack == Duration::ZERO, "a busy loop at: {}", self.line);
        }
    }

    fn our_scale(&self) -> u8 {
        0
    }

    fn deadline(&self) -> Option<Instant> {
        let conn = self.conn.as_ref().and_then(Connection::poll_timeout);
        let half = self.half.map(|half| half.deadline(&self.config));
        [conn, half, self.time_wait.map(|(_, at)| at)].into_iter().flatten().min()
    }

    fn fire(&mut self, at: Instant) {
        self.now = self.now.max(at);
        if self.conn.as_ref().and_then(Connection::poll_timeout).is_some_and(|at| at <= self.now) {
            let reset = self.verb(|c, env| c.on_timeout(env));
            self.answer(reset);
        }
        if let Some(mut half) = self.half.filter(|half| half.deadline(&self.config) <= self.now) {
            let env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
            self.half = half.on_timeout(&env).then_some(half);
            self.out.extend(self.half.map(|half| (half.syn_ack(&env, OFFSET), Vec::new())));
        }
        if self.time_wait.is_some_and(|(_, at)| at <= self.now) {
            self.time_wait = None;
        }
        self.settle();
    }

    fn value(&self, n: Num, shift: u32) -> u32 {
        match n {
            Num::Relative(n) => n.wrapping_add(shift),
            Num::Absolute(n) => n,
            Num::Edge(less) => self.edge.expect("a window was advertised").value().wrapping_sub(less),
        }
    }

    fn incoming(&mut self, s: &Seg) {
        let seq = self.value(s.seq, self.theirs);
        let first = seq.wrapping_sub(self.theirs).wrapping_add(u32::from(s.flags.contains(Flags::SYN)));
        let payload: Vec<u8> = (0..s.data).map(|i| byte(first.wrapping_add(i))).collect();
        let header = Header {
            src_port: 0,
            dst_port: 0,
            seq: SeqNum::new(seq),
            ack: SeqNum::new(s.ack.map_or(0, |ack| self.value(ack, self.ours))),
            flags: s.flags,
            window: s.wnd.unwrap_or(10_000),
            urgent: s.urgent,
            options: Options {
                mss: s.mss,
                window_scale: s.ws,
                sack_permitted: s.sack_ok,
                timestamps: s.ts,
                sack: blocks(&s.sack, self.ours),
                ..Options::default()
            },
        };
        if let Some(conn) = &mut self.conn {
            conn.congestion_experienced(s.ce);
        }
        self.arrive(&Segment { header, payload: &payload });
    }

    fn outgoing(&mut self, s: &Seg) {
        let Some((header, payload)) = self.out.pop_front() else { panic!("silent, expected: {}", self.line) };
        let line = &self.line;
        let shown = format!("{header:?} +{} shifts {} {} at: {line}", payload.len(), self.ours, self.theirs);
        // A12: whether a reset acknowledges is of no consequence.
        let unsaid = if s.flags == Flags::RST { Flags::PSH | Flags::ACK } else { Flags::PSH };
        assert_eq!(header.flags.without(unsaid), s.flags, "CTL of {shown}");
        assert_eq!(header.seq.value(), self.value(s.seq, self.ours), "SEQ of {shown}");
        assert_eq!(s.ack.is_some(), s.flags.contains(Flags::ACK), "ACK is written if and only if the flag is: {line}");
        if let Some(ack) = s.ack {
            assert_eq!(header.ack.value(), self.value(ack, self.theirs), "ACK of {shown}");
        }
        assert_eq!(payload.len(), s.data as usize, "DATA of {shown}");
        assert_eq!(header.urgent, s.urgent, "UP of {shown}");
        let first = header.seq.value().wrapping_sub(self.ours);
        assert!(payload.iter().enumerate().all(|(i, b)| *b == byte(first.wrapping_add(i as u32))), "octets of {shown}");
        if let Some(wnd) = s.wnd {
            assert_eq!(header.window, wnd, "WND of {shown}");
        }
        if !s.flags.contains(Flags::SYN) || s.ts.is_some() {
            assert_eq!(header.options.timestamps, s.ts, "timestamps of {shown}");
        }
        assert_eq!(header.options.sack, blocks(&s.sack, self.theirs), "SACK of {shown}");
        assert!(!s.sack_ok || header.options.sack_permitted, "SACK permitted of {shown}");
        if s.flags.contains(Flags::SYN) && (s.mss.is_some() || s.ws.is_some()) {
            assert_eq!((header.options.mss, header.options.window_scale), (s.mss, s.ws), "options of {shown}");
        }
    }

    fn read(&mut self, mut n: usize) {
        let (Some(mut conn), ended) =
            (if self.conn.is_some() { self.conn.take() } else { self.ended.take() }, self.conn.is_none())
        else {
            panic!("nothing to read from at: {}", self.line)
        };
        let live = !matches!(conn.state(), State::Closed);
        let mut all = Vec::new();
        while n > 0 {
            let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
            let front = conn.front(&env).to_vec();
            assert!(!front.is_empty(), "{n} octets fewer than expected at: {}", self.line);
            let take = front.len().min(n);
            conn.consume(&mut env, take as u32);
            all.extend(&front[..take]);
            n -= take;
        }
        let _ = ended;
        if live {
            self.conn = Some(conn)
        } else {
            self.ended = Some(conn)
        }
        self.check_read(&all);
        self.settle();
    }

    fn send(&mut self, n: u32, more: bool) {
        let bytes: Vec<u8> = (0..n).map(|i| byte(self.next_sent.wrapping_add(i))).collect();
        let send =
            |c: &mut Connection, env: &mut Env<'_>| if more { c.send_more(env, &bytes) } else { c.send(env, &bytes) };
        match if self.conn.is_some() { self.verb(send) } else { Err(Error::NotConnected) } {
            Ok(taken) => self.next_sent = self.next_sent.wrapping_add(taken as u32),
            Err(error) => self.heard.push_back(word_of(error)),
        }
        self.settle();
    }

    fn call(&mut self, words: &[&str]) {
        let n = |i: usize| words[i].parse::<i64>().expect("a number") as u32;
        match words[0] {
            "connect" => {
                self.iss.push_back(n(1));
                self.open(None);
            }
            "listen" => {
                self.listening = true;
                self.iss.extend((1..words.len()).map(n));
            }
            "send" | "send-more" => self.send(n(1), words[0] == "send-more"),
            "cork" => self.verb(|c, _| c.set_cork(words[1] == "on")),
            "read" => self.read(n(1) as usize),
            "lazy" => self.lazy = true,
            "eager" => self.lazy = false,
            "batch" => self.batch = true,
            "turn" => self.batch = false,
            "nodelay" => self.verb(|c, _| c.set_nodelay(true)),
            "profile" => {
                let profile = match words[1] {
                    "latency" => Profile::Latency,
                    "throughput" => Profile::Throughput,
                    "balanced" => Profile::Balanced,
                    other => panic!("profile {other}"),
                };
                self.verb(|c, env| c.set_profile(env, profile));
            }
            "quick-ack" => self.verb(|c, env| c.set_quick_ack(env, words[1] == "on")),
            "shutdown" => self.verb(|c, env| c.shutdown(env, Half::Write)),
            "shutdown-read" => self.verb(|c, env| c.shutdown(env, Half::Read)),
            "shutdown-both" => self.verb(|c, env| c.shutdown(env, Half::Both)),
            "close" | "abort" => {
                let reset = self.verb(|c, env| if words[0] == "close" { c.close(env) } else { c.abort(env) });
                self.told = self.told && self.verb(|c, _| c.lingers());
                self.answer(reset);
            }
            _ => self.set(words),
        }
        self.settle();
    }

    /// What few connections have.
    fn set(&mut self, words: &[&str]) {
        let n = |i: usize| words[i].parse::<i64>().expect("a number") as u32;
        match words[0] {
            "linger" => self.verb(|c, _| c.set_linger((words[1] != "off").then(|| time(words[1])))),
            "user-timeout" => {
                let limit = match words[1] {
                    "off" => None,
                    "never" => Some(Duration::MAX),
                    limit => Some(time(limit)),
                };
                self.verb(|c, _| c.set_user_timeout(limit));
            }
            "keepalive" => {
                let settings = (words[1] != "off").then(|| match words[1] {
                    "default" => Keepalive::default(),
                    idle => Keepalive { idle: time(idle), interval: time(words[2]), probes: n(3) as u8 },
                });
                self.verb(|c, env| c.set_keepalive(env, settings));
            }
            "icmp" | "icmp-ignored" => {
                let seq = SeqNum::new(n(1).wrapping_add(self.ours));
                let (kind, code) = (n(3) as u8, n(4) as u8);
                let error = if words[2] == "v4" { IcmpError::v4(kind, code) } else { IcmpError::v6(kind, code) };
                let taken = self.verb(|c, env| c.on_icmp(env, seq, error.expect("an error")));
                assert_eq!(taken, words[0] == "icmp", "at: {}", self.line);
            }
            "too-big" | "too-big-ignored" => {
                let seq = SeqNum::new(n(1).wrapping_add(self.ours));
                let mss = n(2) as u16;
                let taken = self.verb(|c, env| c.on_too_big(env, seq, mss));
                assert_eq!(taken, words[0] == "too-big", "at: {}", self.line);
            }
            "path" => {
                let (mss, until) = (n(1) as u16, self.now + time(words[2]));
                self.verb(|c, _| c.set_path_mss(mss, until));
            }
            "send-urgent" => {
                let bytes: Vec<u8> = (0..n(1)).map(|i| byte(self.next_sent.wrapping_add(i))).collect();
                let taken = self.verb(|c, env| c.send_urgent(env, &bytes)).expect("open");
                self.next_sent = self.next_sent.wrapping_add(taken as u32);
            }
            "urgent" => {
                let ahead = self.verb(|c, _| c.urgent_unread()).map_or("none".into(), |n| n.to_string());
                assert_eq!(ahead, words[1], "at: {}", self.line);
            }
            "hear-soft" => self.soft = true,
            "soft-errors" => self.verb(|c, _| c.set_soft_error_reports(words[1] == "on")),
            "soft-error" => {
                let shown = self.verb(|c, _| c.soft_error()).map_or("none".into(), |e| format!("{e:?}"));
                assert_eq!(shown, words[1..].join(" "), "at: {}", self.line);
            }
            other => panic!("verb {other}"),
        }
    }

    fn established(&mut self, words: &[&str], active: bool) {
        let n = |i: usize| words[i].parse::<i64>().expect("a number") as u32;
        let (iss, irs) = (n(1).wrapping_sub(1), n(2).wrapping_sub(1));
        let (snd, rcv) = (n(1) as i32, n(2) as i32);
        let extra = words.get(3).copied().unwrap_or("");
        let (iss, irs) = (iss as i32, irs as i32);
        let script = if active {
            format!(
                "connect {iss}\nout <SEQ={iss}><CTL=SYN>\nin <SEQ={irs}><ACK={snd}><CTL=SYN,ACK><MSS=1460>{extra}\n\
                 out <SEQ={snd}><ACK={rcv}><CTL=ACK>\nhears connected"
            )
        } else {
            format!(
                "listen {iss}\nin <SEQ={irs}><CTL=SYN><MSS=1460>{extra}\nout <SEQ={iss}><ACK={rcv}><CTL=SYN,ACK>\n\
                 in <SEQ={rcv}><ACK={snd}><CTL=ACK>{extra}\nhears connected\nunlisten"
            )
        };
        self.script(&script, active);
    }

    pub fn script(&mut self, script: &str, active: bool) {
        for line in script.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
            self.line = format!("{line}   [shifts {:#x} {:#x}, {active}]", self.ours, self.theirs);
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[0] != "out" {
                let out = self.out.front().map(|(header, data)| (header, data.len()));
                assert!(out.is_none(), "not silent: {out:?} before: {}", self.line);
            }
            match words[0] {
                "established" => self.established(&words, active),
                "unlisten" => self.listening = false,
                "in" => self.incoming(&seg(line)),
                "out" => self.outgoing(&seg(line)),
                "hears" => {
                    let heard = self.heard.pop_front().unwrap_or_else(|| "nothing".into());
                    assert_eq!(heard, words[1..].join(" "), "at: {}", self.line);
                }
                "unread" => {
                    let n = self.conn.as_ref().or(self.ended.as_ref()).map_or(0, Connection::unread);
                    assert_eq!(n.to_string(), words[1], "at: {}", self.line);
                }
                "queued" => {
                    let n = self.conn.as_ref().map_or(0, |c| c.info().send_queue_bytes);
                    assert_eq!(n.to_string(), words[1], "at: {}", self.line);
                }
                "no-timer" => assert_eq!(self.deadline(), None, "at: {}", self.line),
                "timer" => {
                    let at = self.deadline().unwrap_or_else(|| panic!("no timer at: {}", self.line));
                    assert_eq!(at - self.now, time(words[1]), "at: {}", self.line);
                    self.fire(at);
                }
                "wait" => {
                    let end = self.now + time(words[1]);
                    while let Some(at) = self.deadline().filter(|at| *at <= end) {
                        self.fire(at);
                        assert!(self.out.len() < 1000, "a storm at: {}", self.line);
                    }
                    self.now = end;
                }
                "state" => {}
                _ => self.call(&words),
            }
            let tail = line.rsplit('>').next().unwrap_or("").trim();
            let expected = match words[0] {
                "in" | "out" => tail,
                "state" => words[1],
                _ => "",
            };
            if !expected.is_empty() {
                assert_eq!(self.state().name(), expected, "state at: {}", self.line);
            }
        }
    }

    /// The end of a case: nothing unsaid, and no memory held.
    pub fn end(&mut self) {
        let out = self.out.front().map(|(header, data)| (header, data.len()));
        assert!(out.is_none(), "not silent at the end: {out:?}, shifts {} {}", self.ours, self.theirs);
        assert!(self.heard.is_empty(), "unexpected at the end: {:?}", self.heard);
        let mut env = Env { now: self.now, config: &self.config, pool: &mut self.pool };
        for conn in self.conn.iter_mut().chain(self.ended.iter_mut()) {
            conn.release(&mut env);
        }
        assert_eq!(self.pool.chunks_in_use(), 0, "memory left behind");
    }
}

fn blocks(all: &[(u32, u32)], shift: u32) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for (start, end) in all {
        assert!(blocks.push(SeqNum::new(start.wrapping_add(shift)), SeqNum::new(end.wrapping_add(shift))));
    }
    blocks
}

fn word_of(error: Error) -> String {
    match error {
        Error::Reset => "reset",
        Error::Refused => "refused",
        Error::TimedOut => "timed-out",
        Error::HostUnreachable => "unreachable",
        Error::NetworkUnreachable => "net-unreachable",
        Error::Aborted => "aborted",
        Error::BrokenPipe => "broken-pipe",
        Error::NotConnected => "not-connected",
    }
    .into()
}

/// Runs a case with every pair of shifts; where it says `established`, opened actively and passively.
pub fn case_with(change: impl Fn(&mut Settings), script: &str) {
    for ours in SHIFTS {
        for theirs in SHIFTS {
            for active in [false, true] {
                if active && !script.contains("established ") {
                    continue;
                }
                let mut settings = settings();
                change(&mut settings);
                let mut endpoint = Endpoint::new(settings, ours, theirs);
                endpoint.script(script, active);
                endpoint.end();
            }
        }
    }
}

pub fn case(script: &str) {
    case_with(|_| {}, script);
}
