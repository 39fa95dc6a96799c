//! Bare frames over AF_XDP, without a protocol: the device's own limit, to measure the stack against.
//!
//! The frames travel between two addresses reserved for documentation (RFC 5737), so that the kernel's own addresses, and
//! its ARP, go on working beside them.

use crate::error::Error;
use crate::idle::Idle;
use crate::options::Options;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use xdp::facts::{InterfaceFacts, MacAddr};
use xdp::neighbours::{NeighbourChange, NeighbourMirror};
use xdp::raw::{echo_frames, receive_frames};

pub use xdp::raw::{RawPing, RawSender, RawWindow};
use xdp::{LocalAddress, Report, Steering, XskConfig, XskPort};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Ethernet, IPv4 and TCP headers: a raw frame is as long as the segment that carries the same message.
const HEADERS: usize = 14 + 20 + 20;
const ETHERNET: u32 = 14;
const RESOLVE: Duration = Duration::from_secs(2);

/// An opened port for bare frames.
#[derive(Debug)]
pub struct Raw {
    // Detached when it goes, behind the port.
    port: XskPort,
    _steering: Steering,
    report: Report,
    mac: MacAddr,
}

impl Raw {
    /// Opens the interface for bare frames and pins the calling thread. `options.idle` must be [`Idle::Busy`] or unset: bare
    /// frames are only ever spun for.
    fn open(options: &Options, own: Ipv4Addr) -> Result<Self, Error> {
        debug_assert!(options.idle != Idle::Sleep, "bare frames are spun for");
        let facts = InterfaceFacts::read(&options.interface)?;
        let queues = crate::start::queues(options, &facts);
        let refused = || {
            let (interface, channels) = (facts.name.clone(), crate::start::channels(&facts));
            Error::OneQueue { interface, queues: queues.len(), channels }
        };
        if queues.len() != 1 {
            return Err(refused());
        }
        let core = crate::start::cores(options, &facts, 1)?.first().copied().flatten();
        let config = XskConfig {
            interface: options.interface.clone(),
            xdp_mode: options.xdp_mode,
            copy_mode: options.copy_mode,
            // Bare frames have none to write.
            tx_checksum: xdp::TxChecksum::Compute,
            ..options.limits.of_port()
        };
        let (steering, ports, report) = xdp::open(&config, &queues, &[LocalAddress::owned(own.into())])?;
        let port = ports.into_iter().next().ok_or_else(refused)?;
        if let Some(core) = core {
            core_affinity::set_for_current(core);
        }
        Ok(Self { port, _steering: steering, report, mac: facts.mac })
    }

    /// What was negotiated with the kernel.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// A port that answers.
    ///
    /// # Errors
    /// As [`start`](crate::start).
    pub fn server(options: &Options) -> Result<Self, Error> {
        Self::open(options, SERVER)
    }

    /// Sends every frame back until `stop` is set. Returns how many.
    ///
    /// # Errors
    /// The interface went down.
    pub fn echo(&mut self, stop: &AtomicBool) -> Result<u64, Error> {
        echo_frames(&mut self.port, stop).map_err(Error::system("echoing frames"))
    }

    /// Takes frames in until `stop` is set, for a [`RawSender`]. Returns how many.
    ///
    /// # Errors
    /// The interface went down.
    pub fn receive(&mut self, stop: &AtomicBool) -> Result<u64, Error> {
        receive_frames(&mut self.port, stop).map_err(Error::system("receiving frames"))
    }

    /// A port that asks, and where to: the station that has `target`.
    ///
    /// # Errors
    /// As [`start`](crate::start); or nobody on the link has `target`.
    pub fn client(options: &Options, target: IpAddr, message_bytes: usize) -> Result<(Self, RawPing), Error> {
        let (raw, peer, _) = Self::towards(options, target)?;
        let ping = RawPing::new((raw.mac, CLIENT), (peer, SERVER), message_bytes + HEADERS);
        Ok((raw, ping))
    }

    /// As [`Raw::client`], with so many frames under way.
    ///
    /// # Errors
    /// As [`Raw::client`].
    pub fn window(
        options: &Options,
        target: IpAddr,
        message_bytes: usize,
        frames: u32,
    ) -> Result<(Self, RawWindow), Error> {
        let (raw, peer, _) = Self::towards(options, target)?;
        let window = RawWindow::new((raw.mac, CLIENT), (peer, SERVER), message_bytes + HEADERS, frames);
        Ok((raw, window))
    }

    /// A port that sends frames as long as the interface's MTU allows, with so many under way.
    ///
    /// # Errors
    /// As [`Raw::client`].
    pub fn sender(options: &Options, target: IpAddr, frames: u32) -> Result<(Self, RawSender), Error> {
        let (raw, peer, mtu) = Self::towards(options, target)?;
        let sender = RawSender::new((raw.mac, CLIENT), (peer, SERVER), (mtu + ETHERNET) as usize, frames);
        Ok((raw, sender))
    }

    /// With the station that has `target`, and the interface's MTU.
    fn towards(options: &Options, target: IpAddr) -> Result<(Self, MacAddr, u32), Error> {
        let facts = InterfaceFacts::read(&options.interface)?;
        let peer = resolve(facts.ifindex, target)?;
        Ok((Self::open(options, CLIENT)?, peer, facts.mtu))
    }

    /// One round trip, in nanoseconds.
    ///
    /// # Errors
    /// No answer within `timeout`, or the interface went down.
    pub fn round_trip(&mut self, ping: &mut RawPing, timeout: Duration) -> io::Result<u64> {
        ping.round_trip(&mut self.port, timeout)
    }

    /// Looks for echoes, sends as many frames again, and tells `each` of the echoes: [`RawWindow::turn`].
    ///
    /// # Errors
    /// The interface went down.
    pub fn exchange(&mut self, window: &mut RawWindow, each: impl FnMut(Instant, Instant, u64)) -> io::Result<()> {
        window.turn(&mut self.port, each)
    }

    /// Sends what there is room for: [`RawSender::turn`].
    ///
    /// # Errors
    /// The interface went down.
    pub fn send(&mut self, sender: &mut RawSender) -> io::Result<()> {
        sender.turn(&mut self.port)
    }

    /// What the kernel had no room for, here: frames.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let stats = xdp::Port::stats(&self.port);
        stats.kernel_rx_dropped + stats.kernel_rx_ring_full + stats.kernel_fill_ring_empty
    }
}

/// The MAC address of an on-link address, asked from the kernel.
fn resolve(ifindex: u32, target: IpAddr) -> Result<MacAddr, Error> {
    let mut mirror = NeighbourMirror::open(ifindex)?;
    let began = Instant::now();
    let mut changes = Vec::new();
    for neighbour in mirror.dump()? {
        changes.push(NeighbourChange::Updated(neighbour));
    }
    mirror.resolve(target)?;
    loop {
        let found = changes.drain(..).find_map(|change| match change {
            NeighbourChange::Updated(n) if n.ip == target && n.usable() => n.mac,
            _ => None,
        });
        if let Some(mac) = found {
            return Ok(mac);
        }
        if began.elapsed() > RESOLVE {
            let source = io::Error::new(io::ErrorKind::HostUnreachable, "nobody on the link answers for it");
            return Err(Error::system(format!("finding {target}"))(source));
        }
        std::thread::sleep(Duration::from_millis(1));
        mirror.poll_changes(&mut changes)?;
    }
}
