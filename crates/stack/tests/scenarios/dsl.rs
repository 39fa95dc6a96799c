//! One shard under test, and a notation in which a case reads like a packet trace. A line is one of
//!
//! ```text
//! in  <SEQ=300><ACK=101><DATA=5><CTL=FIN,ACK> STATE    the peer's segment arrives
//! out <SEQ=101><ACK=306><CTL=ACK> STATE                the next segment to leave
//! connect 100 | listen 300 400 | established 300 100   ISS; one ISS per passive open; SND.NXT and RCV.NXT
//! send 10 | read 5 | shutdown | shutdown-read | shutdown-both | close | abort | nodelay | lazy
//! user-timeout 5s | keepalive 60s 10s 3                the connection's own; idle, interval, probes
//! timer 200ms | wait 24h | state STATE                 the next timer fires in 200 ms; time passes
//! hears connected|data 5|readable|eof|closed|reset|... what the application is told, in order
//! unread 5 | queued 0 | no-timer | age 24h             what a listing shows; the time in its state
//! ```
//!
//! Every segment must be written down, and every line holds for both families and each pair of `SHIFTS`. Numbers are
//! absolute before the shift; `SEQ==0` is never shifted, `EDGE` is the right edge of the window last advertised. `WND` of
//! `in` defaults to 10,000. `TSval` of `in` brings the timestamps option, which echoes our latest; `TSecr` of `out` is the
//! echo awaited, without it there must be no option but on a SYN. `MSS` of `out` is IPv4's, IPv6's is 20 less. Bytes are a
//! pattern of their sequence number, checked wherever they go.
//!
//! There is no hook for the ISS: it is keyed hash plus clock (RFC 6528), so the clock is set to where the sum is right.

use crate::support::{OURS, PEER, tcp_frame, v4, v6};
use core::net::{IpAddr, SocketAddr};
use stack::{
    App, ConnId, ConnectionInfo, Cursor, Duration, Error, FlowKey, Half, Instant, Io, Keepalive, ListenerId,
    LocalAddress, Settings, Shard, ShardConfig, State, TcpConfig,
};
use std::collections::VecDeque;
use wire::{
    SeqNum, eth, ipv4, ipv6,
    tcp::{Flags, Header, Options, Segment, Timestamps},
};

/// Shifts of a number space: none, and such that the numbers of the scenarios lie around 2^32 and 2^31.
const SHIFTS: [u32; 6] = [0, 0u32.wrapping_sub(101), 0u32.wrapping_sub(302), 0x7fff_ff9b, 0x7fff_fed3, 0xffff_f000];
/// Our port, of passive and active opens alike, and the peer's.
const PORT: u16 = 61_000;
const PEER_PORT: u16 = 7;
const SECRET: [u8; 16] = [7; 16];
/// A timer is up to one tick (1.024 µs) late: waiting ends two behind the time named, so that what is due has happened.
const SLACK: Duration = Duration::from_micros(2);
/// What many waits' slack adds up to at most.
const LOOSE: Duration = Duration::from_micros(100);

fn byte(at: u32) -> u8 {
    at.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]
}

/// A segment of a script, numbers not shifted.
#[derive(Debug, Clone, Default)]
struct Seg {
    seq: Num,
    ack: Option<Num>,
    data: u32,
    wnd: Option<u16>,
    flags: Flags,
    mss: Option<u16>,
    /// TSval of `in`, TSecr of `out`.
    stamp: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Num {
    Relative(u32),
    Absolute(u32),
    Edge(u32),
}

impl Default for Num {
    fn default() -> Self {
        Self::Absolute(0)
    }
}

fn number<T: core::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn num(text: &str) -> Num {
    if let Some(n) = text.strip_prefix('=') {
        Num::Absolute(number(n))
    } else if let Some(less) = text.strip_prefix("EDGE") {
        Num::Edge(less.strip_prefix('-').map_or(0, number))
    } else {
        Num::Relative(number::<i64>(text) as u32)
    }
}

fn seg(text: &str) -> Seg {
    let mut s = Seg::default();
    for part in text.split('<').skip(1) {
        let part = part.split_once('>').expect("a closing bracket").0;
        let (name, value) = part.split_once('=').expect("NAME=VALUE");
        match name {
            "SEQ" => s.seq = num(value),
            "ACK" => s.ack = Some(num(value)),
            "DATA" => s.data = number(value),
            "WND" => s.wnd = Some(number(value)),
            "MSS" => s.mss = Some(number(value)),
            "TSval" | "TSecr" => s.stamp = Some(number(value)),
            "CTL" => {
                for flag in value.split(',').filter(|f| !f.is_empty()) {
                    s.flags |= match flag {
                        "SYN" => Flags::SYN,
                        "ACK" => Flags::ACK,
                        "FIN" => Flags::FIN,
                        "RST" => Flags::RST,
                        other => panic!("flag {other}"),
                    };
                }
            }
            other => panic!("field {other}"),
        }
    }
    s
}

fn time(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let n: u64 = number(digits);
    match &text[digits.len()..] {
        "us" => Duration::from_micros(n),
        "ms" => Duration::from_millis(n),
        "s" => Duration::from_secs(n),
        "min" => Duration::from_secs(60 * n),
        "h" => Duration::from_secs(3600 * n),
        unit => panic!("unit {unit}"),
    }
}

fn word_of(error: Error) -> String {
    match error {
        Error::Reset => "reset",
        Error::Refused => "refused",
        Error::TimedOut => "timed-out",
        Error::Aborted => "aborted",
        Error::BrokenPipe => "broken-pipe",
        Error::NotConnected => "not-connected",
        other => panic!("{other}"),
    }
    .into()
}

/// The application: it notes what it hears, and reads at once unless it is lazy.
#[derive(Default)]
struct Ear {
    conn: Option<ConnId>,
    heard: VecDeque<String>,
    lazy: bool,
    next_read: u32,
    /// What was left to read when the connection ended.
    left: VecDeque<u8>,
    trace: String,
}

impl Ear {
    fn opened(&mut self, conn: ConnId) {
        self.conn = Some(conn);
        self.heard.push_back("connected".into());
    }

    fn check(&mut self, data: &[u8]) {
        for b in data {
            assert_eq!(*b, byte(self.next_read), "octet {} of the stream at: {}", self.next_read, self.trace);
            self.next_read = self.next_read.wrapping_add(1);
        }
    }
}

impl App for Ear {
    fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.opened(conn);
    }
    fn on_connected(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.opened(conn);
    }
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.heard.push_back(format!("data {}", data.len()));
        if self.lazy {
            return 0;
        }
        self.check(data);
        data.len()
    }
    fn on_readable(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.heard.push_back("readable".into());
    }
    fn on_writable(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.heard.push_back("writable".into());
    }
    fn on_peer_closed(&mut self, _: &mut Io<'_>, _: ConnId) {
        self.heard.push_back("eof".into());
    }
    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        let mut piece = [0; 2048];
        while let Ok(n @ 1..) = io.read(conn, &mut piece) {
            self.left.extend(&piece[..n]);
        }
        self.heard.push_back(error.map_or("closed".into(), word_of));
    }
}

struct Dut {
    shard: Shard,
    ear: Ear,
    now: Instant,
    local: SocketAddr,
    remote: SocketAddr,
    /// No connection has been opened yet: the clock may be set at will.
    fresh: bool,
    listening: bool,
    listener: Option<ListenerId>,
    iss: VecDeque<u32>,
    out: VecDeque<(Header, Vec<u8>)>,
    ours: u32,
    theirs: u32,
    next_sent: u32,
    edge: Option<SeqNum>,
    /// Our latest TSval.
    stamp: u32,
}

impl Dut {
    fn new(settings: Settings, six: bool, ours: u32, theirs: u32) -> Self {
        let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned: true };
        let (local, remote) = if six { (v6(1), v6(9)) } else { (v4(1), v4(9)) };
        let mut config = ShardConfig::new(OURS, 1500, vec![address(local, if six { 64 } else { 24 })], [SECRET; 4]);
        config.pool_bytes = 1 << 20;
        config.ports = PORT..=PORT;
        config.tcp = TcpConfig::new(settings).expect("valid");
        let now = Instant::ZERO + Duration::from_secs(1000);
        let mut shard = Shard::new(config, now).expect("valid");
        shard.on_neighbour(remote, Some(PEER));
        Self {
            shard,
            ear: Ear::default(),
            now,
            local: SocketAddr::new(local, PORT),
            remote: SocketAddr::new(remote, PEER_PORT),
            fresh: true,
            listening: false,
            listener: None,
            iss: VecDeque::new(),
            out: VecDeque::new(),
            ours,
            theirs,
            next_sent: 0,
            edge: None,
            stamp: 0,
        }
    }

    fn info(&self) -> Option<ConnectionInfo> {
        let mut all = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.shard.list(self.now, from, 1000, &mut all);
        }
        assert!(all.len() <= 1, "one connection, not two at: {}", self.ear.trace);
        all.pop()
    }

    fn state(&self) -> State {
        let none = if self.listening { State::Listen } else { State::Closed };
        let state = self.info().map_or(none, |info| info.state);
        for other in State::ALL {
            let there = other == state && !matches!(other, State::Listen | State::Closed | State::TimeWait);
            let counted = self.shard.counters().in_state(other);
            assert_eq!(counted, u64::from(there), "counted in {other:?} at: {}", self.ear.trace);
        }
        state
    }

    /// Sets the clock to where the next open will have the next ISS of the script.
    fn dial(&mut self) {
        let iss = *self.iss.front().expect("an ISS for every open");
        let offset = tcp::IsnGenerator::new(SECRET).isn(Instant::ZERO, &FlowKey::new(self.local, self.remote));
        let ticks = SeqNum::new(iss.wrapping_add(self.ours)).since(offset);
        let now = (self.now.as_nanos() / 4000) as u32;
        let ahead = Duration::from_micros(u64::from(ticks.wrapping_sub(now)) * 4);
        assert!(self.fresh || ahead < Duration::from_millis(25), "ISS {iss} lies behind at: {}", self.ear.trace);
        self.pass(ahead);
        self.fresh = false;
    }

    fn opened(&mut self) {
        let iss = self.iss.pop_front().expect("an ISS for every open");
        self.next_sent = iss.wrapping_add(1);
        self.edge = None;
    }

    fn arrive(&mut self, header: Header, payload: &[u8]) {
        let syn = header.flags.contains(Flags::SYN);
        if syn {
            self.ear.next_read = header.seq.value().wrapping_sub(self.theirs).wrapping_add(1);
        }
        let before = self.state();
        let may_open = syn && self.listening && matches!(before, State::Listen | State::TimeWait);
        if may_open && !header.flags.contains(Flags::ACK) {
            self.dial();
        }
        let frame = tcp_frame(self.remote.ip(), self.local.ip(), header, payload, None);
        self.shard.on_frame(self.now, &frame, &mut self.ear);
        if may_open && self.state() == State::SynReceived {
            self.opened();
        }
        self.drain();
    }

    /// Takes what there is to send, as far as the wire: every frame is parsed, its checksums verified.
    fn drain(&mut self) {
        let mut frame = vec![0; self.shard.frame_bytes()];
        while let Some(len) = self.shard.poll_transmit(self.now, &mut frame) {
            let (link, packet) = eth::Header::parse(&frame[..len]).expect("a frame");
            assert_eq!((link.dst, link.src, link.vlan), (PEER, OURS, None));
            let bytes = match link.ethertype {
                eth::ETHERTYPE_IPV4 => {
                    let (ip, bytes) = ipv4::Header::parse(packet).expect("IPv4");
                    assert_eq!((IpAddr::from(ip.src), IpAddr::from(ip.dst)), (self.local.ip(), self.remote.ip()));
                    assert_eq!((ip.protocol, ip.ttl, ip.is_fragment()), (6, 64, false));
                    bytes
                }
                eth::ETHERTYPE_IPV6 => {
                    let (ip, bytes) = ipv6::Header::parse(packet).expect("IPv6");
                    assert_eq!((IpAddr::from(ip.src), IpAddr::from(ip.dst)), (self.local.ip(), self.remote.ip()));
                    assert_eq!((ip.next_header, ip.hop_limit, ip.is_fragment()), (6, 64, false));
                    bytes
                }
                other => panic!("ethertype {other:#x} at: {}", self.ear.trace),
            };
            let Segment { header, payload } = Segment::parse(bytes, self.local.ip(), self.remote.ip()).expect("TCP");
            assert_eq!((header.src_port, header.dst_port), (PORT, PEER_PORT));
            if header.flags.contains(Flags::ACK) && !header.flags.contains(Flags::RST) {
                self.edge = Some(header.ack + u32::from(header.window));
            }
            self.out.push_back((header, payload.to_vec()));
            assert!(self.out.len() < 1000, "a storm at: {}", self.ear.trace);
        }
    }

    /// Time passes; what falls due is done at its time.
    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        for turns in 0.. {
            assert!(turns < 100_000, "a busy loop at: {}", self.ear.trace);
            let Some(at) = self.shard.next_wakeup().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.shard.advance(self.now, &mut self.ear);
            self.drain();
        }
        self.now = end;
    }

    fn timer(&mut self, expected: Duration) {
        let timer = self.info().and_then(|info| info.timer);
        let Some((_, left)) = timer else { panic!("no timer at: {}", self.ear.trace) };
        assert!(left <= expected + LOOSE && left + LOOSE >= expected, "{left:?} at: {}", self.ear.trace);
        let heard = self.ear.heard.len();
        self.pass(Duration::from_nanos(left.as_nanos().saturating_sub(1)));
        assert!(self.out.is_empty() && self.ear.heard.len() == heard, "too early at: {}", self.ear.trace);
        self.pass(SLACK);
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
            src_port: PEER_PORT,
            dst_port: PORT,
            seq: SeqNum::new(seq),
            ack: SeqNum::new(s.ack.map_or(0, |ack| self.value(ack, self.ours))),
            flags: s.flags,
            window: s.wnd.unwrap_or(10_000),
            urgent: 0,
            options: Options {
                mss: s.mss,
                timestamps: s.stamp.map(|val| Timestamps { val, ecr: self.stamp }),
                ..Options::default()
            },
        };
        self.arrive(header, &payload);
    }

    fn outgoing(&mut self, s: &Seg) {
        let line = &self.ear.trace;
        let Some((header, payload)) = self.out.pop_front() else { panic!("silent, expected: {line}") };
        let shown = format!("{header:?} +{} at: {line}", payload.len());
        assert_eq!(header.flags.without(Flags::PSH), s.flags, "CTL of {shown}");
        assert_eq!(header.seq.value(), self.value(s.seq, self.ours), "SEQ of {shown}");
        assert_eq!(s.ack.is_some(), s.flags.contains(Flags::ACK), "ACK is written if and only if the flag is: {line}");
        if let Some(ack) = s.ack {
            assert_eq!(header.ack.value(), self.value(ack, self.theirs), "ACK of {shown}");
        }
        assert_eq!(payload.len(), s.data as usize, "DATA of {shown}");
        let first = header.seq.value().wrapping_sub(self.ours);
        assert!(payload.iter().enumerate().all(|(i, b)| *b == byte(first.wrapping_add(i as u32))), "octets of {shown}");
        if let Some(wnd) = s.wnd {
            assert_eq!(header.window, wnd, "WND of {shown}");
        }
        if let Some(mss) = s.mss {
            let mss = if self.local.is_ipv4() { mss } else { mss - 20 };
            assert_eq!(header.options.mss, Some(mss), "MSS of {shown}");
        }
        if header.flags != Flags::SYN {
            assert_eq!(header.options.timestamps.map(|t| t.ecr), s.stamp, "timestamps of {shown}");
        }
        self.stamp = header.options.timestamps.map_or(self.stamp, |t| t.val);
    }

    fn conn(&self) -> ConnId {
        self.ear.conn.unwrap_or_else(|| panic!("no connection at: {}", self.ear.trace))
    }

    /// A verb of the application; one that is refused is heard as its error.
    fn io<R>(&mut self, verb: impl FnOnce(&mut Io<'_>, ConnId) -> Result<R, Error>) -> Option<R> {
        let conn = self.conn();
        let result = self.shard.call(self.now, |io| verb(io, conn));
        self.drain();
        result.map_err(|error| self.ear.heard.push_back(word_of(error))).ok()
    }

    fn read(&mut self, n: usize) {
        let mut bytes = vec![0; n];
        if self.ear.left.is_empty() {
            assert_eq!(self.io(|io, conn| io.read(conn, &mut bytes)), Some(n), "at: {}", self.ear.trace);
        } else {
            bytes = self.ear.left.drain(..n).collect();
        }
        self.ear.check(&bytes);
    }

    fn send(&mut self, n: u32) {
        let bytes: Vec<u8> = (0..n).map(|i| byte(self.next_sent.wrapping_add(i))).collect();
        if let Some(taken) = self.io(|io, conn| io.send(conn, &bytes)) {
            self.next_sent = self.next_sent.wrapping_add(taken as u32);
        }
    }

    fn call(&mut self, words: &[&str]) {
        let n = |i: usize| number::<i64>(words[i]) as u32;
        match words[0] {
            "connect" => {
                self.iss.push_back(n(1));
                self.dial();
                let remote = self.remote;
                self.ear.conn = Some(self.shard.call(self.now, |io| io.connect(remote)).expect("room for it"));
                self.opened();
                self.drain();
            }
            "listen" => {
                self.iss.extend((1..words.len()).map(n));
                self.listening = true;
                if self.listener.is_none() {
                    self.listener = Some(self.shard.listen(self.local, 4).expect("free"));
                }
            }
            "unlisten" => {
                self.listening = false;
                if let Some(listener) = self.listener.take() {
                    self.shard.call(self.now, |io| io.close_listener(listener)).expect("it is open");
                }
            }
            "send" => self.send(n(1)),
            "read" => self.read(n(1) as usize),
            "lazy" => self.ear.lazy = true,
            "user-timeout" => drop(self.io(|io, conn| io.set_user_timeout(conn, Some(time(words[1]))))),
            "keepalive" => {
                let settings = Keepalive { idle: time(words[1]), interval: time(words[2]), probes: number(words[3]) };
                let _ = self.io(|io, conn| io.set_keepalive(conn, Some(settings)));
            }
            "nodelay" => drop(self.io(|io, conn| io.set_nodelay(conn, true))),
            "shutdown" => drop(self.io(|io, conn| io.shutdown(conn, Half::Write))),
            "shutdown-read" => drop(self.io(|io, conn| io.shutdown(conn, Half::Read))),
            "shutdown-both" => drop(self.io(|io, conn| io.shutdown(conn, Half::Both))),
            "close" => drop(self.io(|io, conn| io.close(conn))),
            "abort" => drop(self.io(|io, conn| io.abort(conn))),
            other => panic!("verb {other}"),
        }
    }

    fn established(&mut self, words: &[&str], active: bool) {
        let n = |i: usize| number::<i64>(words[i]);
        let (iss, irs, snd, rcv) = (n(1) - 1, n(2) - 1, n(1), n(2));
        let stamp = words.get(3).copied().unwrap_or("");
        let echo = stamp.replace("TSval", "TSecr");
        let script = if active {
            format!(
                "connect {iss}\nout <SEQ={iss}><CTL=SYN>\nin <SEQ={irs}><ACK={snd}><CTL=SYN,ACK><MSS=1460>{stamp}\n\
                 out <SEQ={snd}><ACK={rcv}><CTL=ACK>{echo}\nhears connected"
            )
        } else {
            format!(
                "listen {iss}\nin <SEQ={irs}><CTL=SYN><MSS=1460>{stamp}\nout <SEQ={iss}><ACK={rcv}><CTL=SYN,ACK>{echo}\n\
                 in <SEQ={rcv}><ACK={snd}><CTL=ACK>{stamp}\nhears connected\nunlisten"
            )
        };
        self.script(&script, active);
    }

    fn check(&mut self, words: &[&str]) {
        let line = &self.ear.trace;
        match words[0] {
            "hears" => {
                let heard = self.ear.heard.pop_front().unwrap_or_else(|| "nothing".into());
                assert_eq!(heard, words[1..].join(" "), "at: {line}");
            }
            "unread" => {
                let queued = self.info().map_or(0, |info| info.receive_queue_bytes as usize);
                assert_eq!(queued + self.ear.left.len(), number(words[1]), "at: {line}");
            }
            "queued" => {
                let queued = self.info().map_or(0, |info| info.send_queue_bytes);
                assert_eq!(queued, number(words[1]), "at: {line}");
            }
            "age" => {
                let age = self.info().expect("a connection").state_age;
                let expected = time(words[1]);
                assert!(age >= expected && age <= expected + LOOSE, "{age:?} in its state at: {line}");
            }
            "no-timer" => assert_eq!(self.info().and_then(|info| info.timer), None, "at: {line}"),
            "state" => {}
            other => panic!("line {other}"),
        }
    }

    fn script(&mut self, script: &str, active: bool) {
        for line in script.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
            let (ours, theirs) = (self.ours, self.theirs);
            let open = if active { "actively" } else { "passively" };
            self.ear.trace = format!("{line}   [{}, shifts {ours:#x} {theirs:#x}, opened {open}]", self.local);
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[0] != "out" {
                let out = self.out.front().map(|(header, data)| (header, data.len()));
                assert!(out.is_none(), "not silent: {out:?} before: {}", self.ear.trace);
            }
            match words[0] {
                "established" => self.established(&words, active),
                "in" => self.incoming(&seg(line)),
                "out" => self.outgoing(&seg(line)),
                "timer" => self.timer(time(words[1])),
                "wait" => self.pass(time(words[1]) + SLACK),
                "hears" | "unread" | "queued" | "age" | "no-timer" | "state" => self.check(&words),
                _ => self.call(&words),
            }
            let expected = match words[0] {
                "in" | "out" => line.rsplit('>').next().unwrap_or("").trim(),
                "state" => words[1],
                _ => "",
            };
            if !expected.is_empty() {
                assert_eq!(self.state().name(), expected, "state at: {}", self.ear.trace);
            }
        }
    }

    /// The end of a case: nothing unsaid, every frame accounted for, and no memory held.
    fn end(mut self) {
        let out = self.out.front().map(|(header, data)| (header, data.len()));
        assert!(out.is_none(), "not silent at the end: {out:?} behind: {}", self.ear.trace);
        assert!(self.ear.heard.is_empty(), "unexpected: {:?} behind: {}", self.ear.heard, self.ear.trace);
        let counters = self.shard.counters();
        assert_eq!(counters.frames_in, counters.frames_accounted(), "every frame is counted once");
        self.shard.abort_all(self.now);
        self.drain();
        assert_eq!((self.shard.connections(), self.shard.chunks_in_use()), (0, 0), "memory left behind");
    }
}

/// The defaults of the scenarios: a receive buffer of 4,096 bytes, so windows are not scaled, and no delayed ACK.
fn settings() -> Settings {
    Settings { receive_buffer_bytes: 4096, delayed_ack: Duration::ZERO, ..Settings::default() }
}

fn run(change: &impl Fn(&mut Settings), script: &str, active: bool) {
    for six in [false, true] {
        for ours in SHIFTS {
            for theirs in SHIFTS {
                let mut settings = settings();
                change(&mut settings);
                let mut dut = Dut::new(settings, six, ours, theirs);
                dut.script(script, active);
                dut.end();
            }
        }
    }
}

/// Runs a case over both families and with every pair of shifts; where it says `established`, opened passively and
/// actively.
pub(crate) fn case(script: &str) {
    run(&|_| {}, script, false);
    if script.contains("established ") {
        run(&|_| {}, script, true);
    }
}
