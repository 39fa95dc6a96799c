//! The other end of the wire: clients that say what is due, in frames with valid checksums, and hear what they are told.

use super::{Host, Server, Setup};
use core::net::{IpAddr, Ipv4Addr};
use stack::MacAddr;
use wire::{
    SeqNum, checksum, eth, ipv4,
    tcp::{Flags, Header, Options, Timestamps},
};

pub const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
/// The server's address, on a link with all clients.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const PREFIX_LEN: u8 = 8;
pub const PORT: u16 = 80;

/// Connections of one client address.
const PORTS: usize = 60_000;
/// Where the headers of IP and TCP begin.
const IP: usize = 14;
const TCP: usize = IP + 20;
/// The payload of a full segment with timestamps, at an MTU of 1500.
pub const FULL: usize = 1448;
/// The MSS of the clients, the least that may be assumed (RFC 9293 section 3.7.1), and the payload of a segment that counts as
/// a full one for both stacks, but takes little time to sum up.
const MSS: u16 = 536;
pub const MIDDLE: usize = MSS as usize;
/// The MSS of a client that is sent much: an Ethernet's.
const MSS_OF_BULK: u16 = 1460;
/// Bytes of a request, and of its response.
pub const SMALL: usize = 64;
/// Full segments of a large response, some 64 KB, and its bytes.
pub const TRAIN: usize = 44;
pub const LARGE: usize = TRAIN * FULL;

/// The addresses that so many connections come from, and those that come and go beside them.
pub fn addresses(connections: usize) -> impl Iterator<Item = Ipv4Addr> {
    (0..connections / PORTS + 2).map(|n| Ipv4Addr::from_bits(0x0a01_0001 + n as u32))
}

/// The address and the port of the client with this number.
#[inline]
pub fn address(id: u32) -> (u32, u16) {
    (0x0a01_0001 + id / PORTS as u32, (1024 + id as usize % PORTS) as u16)
}

/// A connection, as its client sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client {
    /// Its place among the connections there are at once.
    pub which: u32,
    /// What its address and port are made of.
    pub id: u32,
    seq: u32,
    acked: u32,
    echo: u32,
}

impl Client {
    pub fn new(which: usize) -> Self {
        Self { which: which as u32, id: which as u32, seq: 7, ..Self::default() }
    }

    fn ip(self) -> u32 {
        address(self.id).0
    }

    fn port(self) -> u16 {
        address(self.id).1
    }

    /// A frame of the server's is for it.
    #[inline]
    fn is_told(self, frame: &[u8]) -> bool {
        frame[IP + 16..IP + 20] == self.ip().to_be_bytes() && frame[TCP + 2..TCP + 4] == self.port().to_be_bytes()
    }

    /// It hears a frame.
    #[inline]
    fn hear(&mut self, heard: &mut Heard, frame: &[u8]) {
        let data = usize::from(frame[TCP + 12] >> 4) * 4;
        let len = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
        let flags = Flags::from_bits(frame[TCP + 13]);
        let bytes = (len - 20 - data) as u32;
        heard.frames += 1;
        heard.bytes += bytes;
        heard.fin |= flags.contains(Flags::FIN);
        heard.reset |= flags.contains(Flags::RST);
        let syn = flags.contains(Flags::SYN);
        let number = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        if syn {
            self.acked = number(TCP + 4);
        }
        self.acked = self.acked.wrapping_add(bytes + u32::from(syn) + u32::from(flags.contains(Flags::FIN)));
        // fourwave pads before its timestamps, smoltcp behind them. A SYN's are behind what only a SYN has.
        self.echo = match frame[TCP + 20..] {
            [1, 1, 8, 10, ..] => number(TCP + 24),
            [8, 10, ..] => number(TCP + 22),
            _ => self.echo,
        };
    }
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Syn,
    Ack,
    Fin,
    /// [`SMALL`] bytes.
    Small,
    /// [`MIDDLE`] bytes.
    Middle,
    /// [`FULL`] bytes.
    Full,
}

/// A frame in which the numbers are overwritten.
#[derive(Debug, Clone)]
struct Template {
    frame: Vec<u8>,
    /// Where among its options its timestamps are.
    stamps: usize,
    /// The sequence numbers it takes.
    len: u32,
    /// The sums for the checksums of IP and TCP (RFC 1071) while all numbers are 0.
    blank: (u64, u64),
    /// What stands there but for the sequence number, and TCP's sum with it: of most frames it is what the next one says too.
    others: Others,
    sum: u64,
}

/// The numbers of a frame but for its sequence number: the client's, what it acknowledges, and its timestamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Others {
    id: u32,
    acked: u32,
    echo: u32,
    stamp: u32,
}

impl Template {
    fn new(says: Says, mss: u16) -> Self {
        let (flags, payload) = match says {
            Says::Syn => (Flags::SYN, 0),
            Says::Ack => (Flags::ACK, 0),
            Says::Fin => (Flags::FIN | Flags::ACK, 0),
            Says::Small => (Flags::ACK | Flags::PSH, SMALL),
            Says::Middle => (Flags::ACK, MIDDLE),
            Says::Full => (Flags::ACK, FULL),
        };
        let syn = says == Says::Syn;
        let options = Options {
            mss: syn.then_some(mss),
            window_scale: syn.then_some(7),
            sack_permitted: syn,
            timestamps: Some(Timestamps { val: 0, ecr: 0 }),
            ..Options::default()
        };
        let zero = SeqNum::new(0);
        let header =
            Header { src_port: 0, dst_port: PORT, seq: zero, ack: zero, flags, window: 60_000, urgent: 0, options };
        let mut frame = vec![0; TCP];
        eth::Header { dst: OURS, src: PEER, vlan: None, ethertype: eth::ETHERTYPE_IPV4 }.emit(&mut frame);
        let src = Ipv4Addr::UNSPECIFIED;
        ipv4::Header {
            src,
            dst: SERVER,
            protocol: 6,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
        }
        .emit(header.len() + payload, &mut frame[IP..]);
        let mut segment = vec![7; header.len() + payload];
        header.emit(IpAddr::V4(src), IpAddr::V4(SERVER), &mut segment);
        frame.extend(segment);
        // Behind MSS and SACK-Permitted in a SYN, behind two no-operations elsewhere; then kind and length.
        let stamps = if syn { 8 } else { 4 };
        // A checksum is the complement of the sum of all the rest.
        let rest = |at: usize| u64::from(!u16::from_be_bytes([frame[at], frame[at + 1]]));
        let blank = (rest(IP + 10), rest(TCP + 16));
        let len = payload as u32 + u32::from(syn || says == Says::Fin);
        let mut this = Self { frame, stamps, len, blank, others: Others::default(), sum: 0 };
        this.fill_others(0, &Client::default());
        this
    }

    /// The client's next frame of the kind.
    #[inline]
    fn fill(&mut self, stamp: u32, client: &Client) {
        let Client { id, seq, acked, echo, .. } = *client;
        if self.others != (Others { id, acked, echo, stamp }) {
            self.fill_others(stamp, client);
        }
        let Some(head) = self.frame.first_chunk_mut::<{ TCP + 20 }>() else { return };
        put(head, TCP + 4, seq.to_be_bytes());
        put(head, TCP + 16, checksum::finish(self.sum + u64::from(seq)).to_be_bytes());
    }

    /// The same, and the client has said it.
    #[inline]
    fn write(&mut self, stamp: u32, client: &mut Client) {
        self.fill(stamp, client);
        client.seq = client.seq.wrapping_add(self.len);
    }

    #[inline(never)]
    fn fill_others(&mut self, stamp: u32, client: &Client) {
        let Client { id, acked, echo, .. } = *client;
        let (ip, port) = address(id);
        let (ip_sum, tcp_sum) = self.blank;
        self.others = Others { id, acked, echo, stamp };
        self.sum = [ip, port.into(), acked, stamp, echo].into_iter().fold(tcp_sum, |sum, n| sum + u64::from(n));
        let Some((head, options)) = self.frame.split_first_chunk_mut::<{ TCP + 20 }>() else { return };
        put(head, IP + 10, checksum::finish(ip_sum + u64::from(ip)).to_be_bytes());
        put(head, IP + 12, ip.to_be_bytes());
        put(head, TCP, port.to_be_bytes());
        put(head, TCP + 8, acked.to_be_bytes());
        let stamps = u64::from(stamp) << 32 | u64::from(echo);
        put(options, self.stamps, stamps.to_be_bytes());
    }
}

#[inline]
fn put<const N: usize>(frame: &mut [u8], at: usize, bytes: [u8; N]) {
    frame[at..at + N].copy_from_slice(&bytes);
}

/// What the client was told in a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    pub frames: u32,
    pub bytes: u32,
    pub fin: bool,
    pub reset: bool,
}

/// A client's clock, in milliseconds.
#[inline]
fn stamp(now: u64) -> u32 {
    (now / 1_000_000) as u32
}

/// A stack, and the clients' side of the wire.
#[derive(Debug)]
pub struct Line<H: Host> {
    pub host: H,
    /// Nanoseconds, and how many of them a turn takes; as the stack counts time, and as the clients' timestamps do.
    now: u64,
    pub step: u64,
    time: H::Time,
    stamp: u32,
    templates: [Template; 6],
    /// The frames of a batch, all of one kind.
    batch: Vec<Template>,
}

impl<H: Host> Line<H> {
    pub fn new(setup: Setup) -> Self {
        let all = [Says::Syn, Says::Ack, Says::Fin, Says::Small, Says::Middle, Says::Full];
        let mss = if setup.server == Server::Serves { MSS_OF_BULK } else { MSS };
        let templates = all.map(|says| Template::new(says, mss));
        let (now, host) = (1_000_000_000, H::new(setup));
        Self { host, now, step: 10_000, time: H::time(now), stamp: stamp(now), templates, batch: Vec::new() }
    }

    /// A turn is over.
    #[inline]
    fn pass(&mut self) {
        self.now += self.step;
        (self.time, self.stamp) = (H::time(self.now), stamp(self.now));
    }

    /// A frame goes in.
    #[inline]
    pub fn say(&mut self, client: &mut Client, says: Says) {
        let template = &mut self.templates[says as usize];
        template.write(self.stamp, client);
        self.host.take(self.time, &mut template.frame, client.which as usize);
    }

    /// A frame of each goes in, a batch that is there at once. Always of the same kind.
    #[inline]
    pub fn say_each(&mut self, clients: &mut [Client], says: Says) {
        self.make_batch(says, clients.len());
        clients.iter_mut().zip(&mut self.batch).for_each(|(client, template)| template.write(self.stamp, client));
        self.take_batch(clients.iter().map(|client| client.which));
    }

    /// So many frames of one client go in, a batch that is there at once. Always of the same kind.
    #[inline]
    pub fn say_train(&mut self, client: &mut Client, says: Says, frames: usize) {
        self.make_batch(says, frames);
        self.batch[..frames].iter_mut().for_each(|template| template.write(self.stamp, client));
        self.take_batch(core::iter::repeat_n(client.which, frames));
    }

    fn make_batch(&mut self, says: Says, frames: usize) {
        while self.batch.len() < frames {
            self.batch.push(self.templates[says as usize].clone());
        }
    }

    /// The batch arrives: of each frame, whose it is.
    #[inline]
    fn take_batch(&mut self, whose: impl ExactSizeIterator<Item = u32>) {
        let batch = &mut self.batch[..whose.len()];
        self.host.look_ahead(batch.iter().map(|template| &*template.frame));
        for (template, which) in batch.iter_mut().zip(whose) {
            self.host.take(self.time, &mut template.frame, which as usize);
        }
    }

    /// What the stack has to say to that comes out.
    #[inline]
    pub fn hear(&mut self, client: &mut Client) -> Heard {
        let mut heard = Heard::default();
        self.host.turn(self.time, |frame| client.hear(&mut heard, frame));
        self.pass();
        heard
    }

    /// What it has to say to several: most often in the order they are in.
    #[inline]
    pub fn hear_each(&mut self, clients: &mut [Client]) -> Heard {
        let (mut heard, mut at) = (Heard::default(), 0);
        self.host.turn(self.time, |frame| {
            while !clients[at].is_told(frame) {
                at = if at + 1 == clients.len() { 0 } else { at + 1 };
            }
            clients[at].hear(&mut heard, frame);
        });
        self.pass();
        heard
    }

    /// A connection is opened.
    pub fn open(&mut self, client: &mut Client) {
        self.say(client, Says::Syn);
        let heard = self.hear(client);
        assert_eq!(heard, Heard { frames: 1, ..Heard::default() }, "a SYN-ACK");
        self.say(client, Says::Ack);
        self.hear(client);
    }

    /// The client closes, and the server does so then.
    pub fn close(&mut self, client: &mut Client) {
        self.say(client, Says::Fin);
        assert!(self.hear(client).fin, "the server's FIN");
        self.say(client, Says::Ack);
        assert_eq!(self.hear(client), Heard::default());
    }

    /// The server has closed: its FIN is acknowledged, and answered.
    pub fn close_after(&mut self, client: &mut Client) {
        self.say(client, Says::Fin);
        let heard = self.hear(client);
        assert_eq!(heard, Heard { frames: 1, ..Heard::default() }, "an ACK");
    }
}
