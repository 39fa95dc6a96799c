//! The peer's interface, captured by a packet socket, and read without fourwave's own parser.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketType, recv, socket};

use crate::program::Side;
use crate::side::within;

const ETH_P_ALL: u16 = 3;

/// What a segment is for. Pure ACKs are left out: when they come is a matter of delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syn,
    SynAck,
    /// Bytes, of as many segments as there were.
    Data(usize),
    Fin,
    Rst,
}

/// A connection: P's port and D's.
pub(crate) type Ports = (u16, u16);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ports: Ports,
    pub(crate) side: Side,
    pub(crate) kind: Kind,
}

/// A TCP segment as it was on the wire.
#[derive(Clone, Copy, Debug)]
struct Segment {
    source: IpAddr,
    ports: (u16, u16),
    seq: u32,
    flags: u8,
    len: usize,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    /// How far each side of a connection has sent, to know what comes again.
    ends: HashMap<(Ports, Side), u32>,
    last: Option<Instant>,
    wrong: Vec<String>,
}

/// A running capture.
pub(crate) struct Capture {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// All TCP of a namespace; `under_test` is D.
    pub(crate) fn start(namespace: &str, under_test: IpAddr) -> Self {
        let open = || {
            let all = Protocol::from_raw(u32::from(ETH_P_ALL.to_be()).try_into().unwrap());
            socket(AddressFamily::PACKET, SocketType::RAW, Some(all)).unwrap()
        };
        let packets = within(namespace, open);
        set_socket_recv_buffer_size_force(&packets, 64 << 20).unwrap();
        set_socket_timeout(&packets, Timeout::Recv, Some(Duration::from_millis(20))).unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, stopped) = (Arc::clone(&log), Arc::clone(&stop));
        let thread = std::thread::spawn(move || read(&packets, &theirs, &stopped, under_test));
        Self { log, stop, thread: Some(thread) }
    }

    /// Waits until nothing has come for so long.
    pub(crate) fn settle(&self, silence: Duration) {
        let began = Instant::now();
        loop {
            let last = self.log.lock().unwrap().last.map_or(began, |last| last.max(began));
            match silence.checked_sub(last.elapsed()) {
                Some(rest) if !rest.is_zero() => std::thread::sleep(rest),
                _ => return,
            }
        }
    }

    /// What was seen since the last call, in order.
    pub(crate) fn take(&self) -> Vec<Seen> {
        let mut log = self.log.lock().unwrap();
        assert!(log.wrong.is_empty(), "wrong packets: {:#?}", log.wrong);
        std::mem::take(&mut log.seen)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn read(packets: &OwnedFd, log: &Mutex<Log>, stop: &AtomicBool, under_test: IpAddr) {
    let mut frame = [0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let Ok((_, len)) = recv(packets, &mut frame[..], RecvFlags::empty()) else { continue };
        let parsed = parse(&frame[..len]);
        let mut log = log.lock().unwrap();
        match parsed {
            Ok(None) => {}
            Ok(Some(segment)) => log.add(&segment, under_test),
            Err(what) => log.wrong.push(format!("{what}: {:02x?}", &frame[..len.min(128)])),
        }
    }
}

impl Log {
    fn add(&mut self, segment: &Segment, under_test: IpAddr) {
        self.last = Some(Instant::now());
        let (from, to) = segment.ports;
        let (side, ports) = if under_test == segment.source { (Side::D, (to, from)) } else { (Side::P, (from, to)) };
        let has = |flag| segment.flags & flag != 0;
        let mut note = |kind| self.seen.push(Seen { ports, side, kind });
        if has(RST) {
            return note(Kind::Rst);
        }
        let length = u32::try_from(segment.len).unwrap() + u32::from(has(SYN)) + u32::from(has(FIN));
        if length == 0 {
            return;
        }
        let end = segment.seq.wrapping_add(length);
        let known = *self.ends.entry((ports, side)).or_insert(segment.seq);
        if has(SYN) {
            self.ends.insert((ports, side), end);
            return note(if has(ACK) { Kind::SynAck } else { Kind::Syn });
        }
        // All of it came before: a stalled machine makes either side send again what is only late.
        let new = end.wrapping_sub(known);
        if new == 0 || new > u32::MAX / 2 {
            return;
        }
        self.ends.insert((ports, side), end);
        let bytes = (new as usize).min(segment.len) - usize::from(has(FIN) && (new as usize) <= segment.len);
        if bytes > 0 {
            note(Kind::Data(bytes));
        }
        if has(FIN) {
            note(Kind::Fin);
        }
    }
}

/// `None`: not TCP. An error names what is wrong with it.
fn parse(frame: &[u8]) -> Result<Option<Segment>, &'static str> {
    let short = "it is cut off";
    let word = |at: usize| frame.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or(short);
    let (pseudo, source, tcp) = match word(12)? {
        0x0800 => {
            let header = frame.get(14..14 + usize::from(frame.get(14).ok_or(short)? & 15) * 4).ok_or(short)?;
            let total = usize::from(word(16)?);
            if header.len() < 20 || total < header.len() || frame.len() < 14 + total {
                return Err("the lengths of IPv4 don't fit");
            }
            if header[9] != 6 {
                return Ok(None);
            }
            if sum(header) != 0xffff {
                return Err("wrong checksum of IPv4");
            }
            let source = Ipv4Addr::from(<[u8; 4]>::try_from(&header[12..16]).unwrap());
            (&header[12..20], IpAddr::V4(source), &frame[14 + header.len()..14 + total])
        }
        0x86dd => {
            let header = frame.get(14..54).ok_or(short)?;
            let end = 54 + usize::from(word(18)?);
            if frame.len() < end {
                return Err("the length of IPv6 doesn't fit");
            }
            if header[6] != 6 {
                return Ok(None);
            }
            let source = Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).unwrap());
            (&header[8..40], IpAddr::V6(source), &frame[54..end])
        }
        _ => return Ok(None),
    };
    let length = u16::try_from(tcp.len()).unwrap();
    let sums = [sum(pseudo), sum(&[0, 6]), length, sum(tcp)];
    if sums.into_iter().fold(0, add) != 0xffff {
        return Err("wrong checksum of TCP");
    }
    let offset = usize::from(tcp.get(12).ok_or(short)? >> 4) * 4;
    if offset < 20 || offset > tcp.len() {
        return Err("wrong data offset");
    }
    let field = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let seq = u32::from(field(4)) << 16 | u32::from(field(6));
    let (ports, len) = ((field(0), field(2)), tcp.len() - offset);
    Ok(Some(Segment { source, ports, seq, flags: tcp[13], len }))
}

fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// The one's complement sum of RFC 1071, without the complement.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
    bytes.chunks(2).map(word).fold(0, add)
}
