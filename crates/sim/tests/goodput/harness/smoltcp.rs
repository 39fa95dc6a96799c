//! The same flows over smoltcp.

use super::{
    cell::Cell,
    fourwave::{PORT, address},
};
use sim::Node;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, Checksum, Device, DeviceCapabilities, Medium},
    socket::tcp::{CongestionControl, Socket, SocketBuffer},
    time::Instant as SmolInstant,
    wire::{EthernetAddress, IpCidr},
};
use stack::{Duration, Instant, MacAddr};
use std::collections::VecDeque;

/// smoltcp counts microseconds.
fn micros(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_nanos() / 1000).expect("less than 292,000 years"))
}

/// The device: at most one frame to be received, and those to be sent.
#[derive(Default)]
struct Memory {
    received: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>, &'a mut Vec<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.1.pop().unwrap_or_default();
        frame.resize(len, 0);
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Memory {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.received.take()?), Tx(&mut self.sent, &mut self.spare)))
    }
    fn transmit(&mut self, _: SmolInstant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent, &mut self.spare))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        // An Ethernet device's MTU counts the Ethernet header here.
        capabilities.max_transmission_unit = 1514;
        // The link corrupts nothing: time is saved.
        (capabilities.checksum.ipv4, capabilities.checksum.tcp) = (Checksum::None, Checksum::None);
        capabilities
    }
}

/// The settings that are tried for each cell; the best of a kind is taken. (Reno, tried for 31 of them, was the best in
/// three.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    pub name: &'static str,
    /// Buffers of just what the path and its queue hold, shared among the flows: slow start can't overrun the queue.
    fitted: bool,
    /// Without Nagle's algorithm: what is left of the window is filled with small segments.
    pub small: bool,
}

impl Tuning {
    pub const ALL: [Self; 3] = [
        Self { name: "cubic", fitted: false, small: false },
        Self { name: "cubic-fitted", fitted: true, small: false },
        Self { name: "small", fitted: true, small: true },
    ];
}

/// A host: the sender if it has times to start at, else the receiver.
pub struct Host {
    device: Memory,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    starts: Vec<Instant>,
    started: usize,
    delivered: Vec<u64>,
    wake_at: Option<Instant>,
    mac: MacAddr,
}

impl Host {
    fn new(n: u8, cell: &Cell, tuning: Tuning, starts: Vec<Instant>) -> Self {
        let mut device = Memory::default();
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 0, n]).into());
        config.random_seed = cell.seed() ^ u64::from(n);
        let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
        interface.update_ip_addrs(|list| list.push(IpCidr::new(address(n).into(), 24)).expect("room for one"));
        let mut sockets = SocketSet::new(Vec::new());
        let bytes = if tuning.fitted { cell.fitted_bytes() } else { cell.buffer_bytes() } as usize;
        let (rx, tx) = if starts.is_empty() { (bytes, 4096) } else { (4096, bytes) };
        let handles = (0..cell.flows)
            .map(|_| {
                let mut socket = Socket::new(SocketBuffer::new(vec![0; rx]), SocketBuffer::new(vec![0; tx]));
                socket.set_nagle_enabled(!tuning.small);
                socket.set_ack_delay(None);
                socket.set_congestion_control(CongestionControl::Cubic);
                if starts.is_empty() {
                    socket.listen(PORT).expect("a free port");
                }
                sockets.add(socket)
            })
            .collect();
        let delivered = (0..cell.flows).map(|_| 0).collect();
        Self {
            device,
            interface,
            sockets,
            handles,
            starts,
            started: 0,
            delivered,
            wake_at: Some(Instant::ZERO),
            mac: MacAddr([2, 0, 0, 0, 0, n]),
        }
    }

    pub fn source(cell: &Cell, tuning: Tuning) -> Self {
        Self::new(1, cell, tuning, cell.starts())
    }

    pub fn sink(cell: &Cell, tuning: Tuning) -> Self {
        Self::new(2, cell, tuning, Vec::new())
    }

    /// Bytes each flow has delivered.
    pub fn delivered(&self) -> Vec<u64> {
        self.delivered.clone()
    }

    fn start(&mut self, now: Instant) {
        while self.starts.get(self.started).is_some_and(|at| *at <= now) {
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[self.started]);
            let port = 49_152 + u16::try_from(self.started).expect("few");
            socket.connect(self.interface.context(), (address(2), PORT), port).expect("it is closed");
            self.started += 1;
        }
    }

    fn serve(&mut self) {
        let sends = !self.starts.is_empty();
        for (n, handle) in self.handles.iter().enumerate() {
            let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
            if sends {
                while socket.can_send() && socket.send(|room| (room.len(), room.len())).is_ok_and(|n| n > 0) {}
            } else {
                while let Ok(got @ 1..) = socket.recv(|data| (data.len(), data.len())) {
                    self.delivered[n] += got as u64;
                }
            }
        }
    }
}

impl Node for Host {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn frame_bytes(&self) -> usize {
        1514
    }

    fn on_frame(&mut self, now: Instant, frame: &[u8]) {
        let mut copy = self.device.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        self.device.received = Some(copy);
        self.interface.poll_ingress_single(micros(now), &mut self.device, &mut self.sockets);
    }

    fn advance(&mut self, now: Instant) {
        self.start(now);
        // What has arrived is read, and what was acknowledged is filled up, before anything is sent.
        self.serve();
        self.interface.poll(micros(now), &mut self.device, &mut self.sockets);
        let poll = self.interface.poll_at(micros(now), &self.sockets);
        // "Now" behind a poll that has done everything is no time to wake up at.
        let soonest = now + Duration::from_micros(10);
        let poll =
            poll.map(|at| Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0) * 1000).max(soonest));
        self.wake_at = [poll, self.starts.get(self.started).copied()].into_iter().flatten().min();
    }

    fn poll_transmit(&mut self, _: Instant, frame: &mut [u8]) -> Option<usize> {
        let sent = self.device.sent.pop_front()?;
        let len = sent.len();
        frame[..len].copy_from_slice(&sent);
        self.device.spare.push(sent);
        Some(len)
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.wake_at
    }

    /// It computes no checksums here, and is not on trial.
    fn is_judged(&self) -> bool {
        false
    }
}
