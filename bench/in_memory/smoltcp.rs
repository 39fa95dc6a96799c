//! smoltcp's equal. It is driven as is best for it: one frame at a time, the application looks at the one socket that the
//! frame was for (which it would have to find), and the sockets are polled once for what is to be sent.

use super::{
    Host, Server, Setup,
    client::{LARGE, OURS, PEER, PORT, PREFIX_LEN, SERVER, SMALL, addresses},
};
use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    phy::{self, Device, DeviceCapabilities, Medium},
    socket::tcp::{CongestionControl, Socket, SocketBuffer, State},
    time::Instant,
    wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpCidr},
};

pub struct Smoltcp {
    device: Memory,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    server: Server,
    large: Vec<u8>,
}

/// One frame to be received, and as many as are sent in a turn. Nothing is copied.
#[derive(Default)]
struct Memory {
    received: Option<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    used: usize,
}

struct Rx<'a>(&'a [u8]);
struct Tx<'a>(&'a mut Vec<Vec<u8>>, &'a mut usize);

impl phy::RxToken for Rx<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        if *self.1 == self.0.len() {
            self.0.push(Vec::new());
        }
        let frame = &mut self.0[*self.1];
        *self.1 += 1;
        frame.resize(len, 0);
        f(frame)
    }
}

impl Device for Memory {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        Some((Rx(self.received.as_deref()?), Tx(&mut self.sent, &mut self.used)))
    }
    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent, &mut self.used))
    }
    /// Checksums are checked and computed, as by the shard.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl Smoltcp {
    fn receive(&mut self, now: Instant, frame: &mut Vec<u8>) {
        self.device.received = Some(core::mem::take(frame));
        self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets);
        *frame = self.device.received.take().unwrap_or_default();
    }

    /// It believes its neighbours by ARP.
    fn introduce(&mut self, setup: Setup) {
        for ip in addresses(setup.connections + 1) {
            let link = EthernetRepr {
                src_addr: EthernetAddress(PEER.0),
                dst_addr: EthernetAddress(OURS.0),
                ethertype: EthernetProtocol::Arp,
            };
            let arp = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: EthernetAddress(PEER.0),
                source_protocol_addr: ip,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: SERVER,
            };
            let mut bytes = vec![0; link.buffer_len() + arp.buffer_len()];
            let mut frame = EthernetFrame::new_unchecked(&mut bytes);
            link.emit(&mut frame);
            arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
            self.receive(Instant::ZERO, &mut bytes);
            self.device.used = 0;
        }
    }
}

impl Host for Smoltcp {
    type Time = Instant;
    const QUICK: usize = 0;

    /// It counts microseconds.
    #[inline]
    fn time(nanos: u64) -> Instant {
        Instant::from_micros((nanos / 1000) as i64)
    }

    fn new(setup: Setup) -> Self {
        let mut device = Memory::default();
        let mut config = Config::new(EthernetAddress(OURS.0).into());
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|list| list.push(IpCidr::new(SERVER.into(), PREFIX_LEN)).expect("room for one"));
        let mut sockets = SocketSet::new(Vec::new());
        let send_bytes = if setup.server == Server::Serves { LARGE } else { 2048 };
        let handles = (0..setup.connections)
            .map(|_| {
                let mut socket = Socket::new(SocketBuffer::new(vec![0; 8192]), SocketBuffer::new(vec![0; send_bytes]));
                socket.set_nagle_enabled(false);
                socket.set_tsval_generator(Some(|| 1));
                socket.set_congestion_control(CongestionControl::Cubic);
                socket.listen(PORT).expect("a free port");
                sockets.add(socket)
            })
            .collect();
        let mut this = Self { device, interface, sockets, handles, server: setup.server, large: vec![7; LARGE] };
        this.introduce(setup);
        this
    }

    #[inline]
    fn take(&mut self, now: Instant, frame: &mut Vec<u8>, which: usize) {
        self.receive(now, frame);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[which]);
        if matches!(self.server, Server::Echoes | Server::Serves) {
            let mut request = [0; SMALL];
            if let Ok(n @ 1..) = socket.recv_slice(&mut request) {
                let _ = socket.send_slice(if self.server == Server::Serves { &self.large } else { &request[..n] });
            }
        } else {
            while let Ok(1..) = socket.recv(|data| (data.len(), data.len())) {}
        }
        match socket.state() {
            State::CloseWait => socket.close(),
            State::Closed => socket.listen(PORT).expect("it is closed"),
            _ => {}
        }
    }

    #[inline]
    fn turn(&mut self, now: Instant, mut sent: impl FnMut(&[u8])) {
        while self.interface.poll_egress(now, &mut self.device, &mut self.sockets) != PollResult::None {}
        self.device.sent[..self.device.used].iter().for_each(|frame| sent(frame));
        self.device.used = 0;
    }
}
