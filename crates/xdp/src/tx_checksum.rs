//! Who writes the checksum of a segment that is sent: the stack, or the device.

use std::io;
use std::os::fd::BorrowedFd;

use crate::config::{CopyMode, TxChecksum, XskConfig};
use crate::error::Error;
use crate::facts::InterfaceFacts;
use crate::features::{DeviceFeatures, XdpFeatures};
use crate::offloading::Offloading;
use crate::port::{Frame, Port, PortStats, RingUse};
use crate::report::AttachMode;
use crate::rings::XskRs;
use crate::xsk::{Made, QueuePort};

/// An AF_XDP socket bound to one queue of an interface, with its memory and four rings. `Send`.
///
/// All frames are in one pool, a stack, so that the frame used last is used next. The fill ring is kept full from it, but
/// never takes the last `min(tx_ring, frame_count / 4)` frames: there is always something to answer with.
///
/// Where the interface's MTU is more than a frame holds, packets cross the rings in up to 17 of them (AF_XDP multi-buffer).
/// The port then has large frames besides, which are what [`Port::allocate`] gives, and what is received in pieces is copied
/// into.
#[derive(Debug)]
pub struct XskPort(Kind);

/// The memory must be registered for what is put in front of a frame, and xsk-rs can't.
#[derive(Debug)]
enum Kind {
    Plain(QueuePort<XskRs>),
    Offloading(QueuePort<Offloading>),
}

/// Does the same with either port.
macro_rules! either {
    ($which:expr, $port:ident => $does:expr) => {
        match $which {
            Kind::Plain($port) => $does,
            Kind::Offloading($port) => $does,
        }
    };
}

impl XskPort {
    /// Opens a port on `config.queue` of `config.interface`, as seen from the calling thread's network namespace. `mode` is
    /// where the program runs: generic mode rules out zero-copy.
    ///
    /// # Errors
    /// A configuration that isn't valid, an interface that is missing or down, a queue that is out of range or taken,
    /// missing privilege, no memory, and zero-copy or checksum offload asked for and not to be had.
    pub fn open(config: &XskConfig, mode: AttachMode) -> Result<Self, Error> {
        config.validate()?;
        let facts = InterfaceFacts::read(&config.interface)?;
        let features = if matches!(config.tx_checksum, TxChecksum::Auto | TxChecksum::Offload) {
            XdpFeatures::read(&facts)?.unwrap_or_default()
        } else {
            XdpFeatures::default()
        };
        let reason = match against(config, &facts, mode, features.tx_checksum) {
            Some(reason) => reason,
            None => match QueuePort::open(config, &facts, mode) {
                Ok(mut port) => {
                    decide(config, &facts, features, port.made_mut())?;
                    return Ok(Self(Kind::Offloading(port)));
                }
                // The flag of the registration isn't known.
                Err(Error::Memory { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                    let reason = "this kernel registers no memory for it (Linux 6.11 does)".to_owned();
                    if config.tx_checksum != TxChecksum::Auto {
                        return Err(refusal(&facts, reason));
                    }
                    reason
                }
                Err(error) => return Err(error),
            },
        };
        let mut port = QueuePort::open(config, &facts, mode)?;
        port.made_mut().tx_checksum_reason = reason;
        Ok(Self(Kind::Plain(port)))
    }

    /// The queue it is bound to.
    #[must_use]
    pub fn queue(&self) -> u32 {
        either!(&self.0, port => port.queue())
    }

    pub(crate) fn made(&self) -> &Made {
        either!(&self.0, port => port.made())
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        either!(&self.0, port => port.socket())
    }
}

/// Why not even to try, if so.
fn against(config: &XskConfig, facts: &InterfaceFacts, mode: AttachMode, offered: bool) -> Option<String> {
    match config.tx_checksum {
        TxChecksum::Compute => Some("as configured".to_owned()),
        TxChecksum::Auto if config.copy_mode == CopyMode::Copy || mode == AttachMode::Generic => {
            Some("frames are copied".to_owned())
        }
        TxChecksum::Auto if !offered => Some(not_offered(facts)),
        _ => None,
    }
}

fn not_offered(facts: &InterfaceFacts) -> String {
    format!("driver {} doesn't offer it for AF_XDP", facts.driver)
}

/// Whether the device does it, now that it is known whether frames are copied.
///
/// A frame that is copied goes through the kernel's own send path, as an skb whose checksum is to be completed
/// (`CHECKSUM_PARTIAL`): by the device, if it does so for the kernel's frames, and if not by the kernel
/// (`validate_xmit_skb`), which is no offload.
fn decide(config: &XskConfig, facts: &InterfaceFacts, features: XdpFeatures, made: &mut Made) -> Result<(), Error> {
    let found = if config.tx_checksum == TxChecksum::Software {
        Ok("the kernel, for a test".to_owned())
    } else if made.zero_copy && features.tx_checksum {
        Ok(format!("driver {} offers it for AF_XDP", facts.driver))
    } else if made.zero_copy {
        Err(not_offered(facts))
    } else if config.tx_checksum == TxChecksum::Auto {
        Err("frames are copied".to_owned())
    } else if facts.driver == "veth" {
        Err("a veth hands frames to its peer as they are".to_owned())
    } else if DeviceFeatures::read(facts)?.is_some_and(|features| features.tx_checksum()) {
        Ok("the device does it for the kernel's frames, and copied ones are such".to_owned())
    } else {
        Err("the device has no transmit checksum, or it is off (`ethtool -k`)".to_owned())
    };
    made.tx_checksum = found.is_ok();
    match found {
        Err(reason) if config.tx_checksum == TxChecksum::Offload => Err(refusal(facts, reason)),
        Ok(reason) | Err(reason) => {
            made.tx_checksum_reason = reason;
            Ok(())
        }
    }
}

fn refusal(facts: &InterfaceFacts, reason: String) -> Error {
    Error::TxChecksumUnsupported { interface: facts.name.clone(), driver: facts.driver.clone(), reason }
}

impl Port for XskPort {
    fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        either!(&mut self.0, port => port.receive(out, max))
    }

    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        either!(&self.0, port => port.bytes(frame))
    }

    fn buffer<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        either!(&mut self.0, port => port.buffer(frame))
    }

    fn allocate(&mut self) -> Option<Frame> {
        either!(&mut self.0, port => port.allocate())
    }

    fn recycle(&mut self, frame: Frame) {
        either!(&mut self.0, port => port.recycle(frame));
    }

    fn transmit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        either!(&mut self.0, port => port.transmit(frame, len))
    }

    fn flush(&mut self) -> io::Result<()> {
        either!(&mut self.0, port => port.flush())
    }

    fn needs_flush(&self) -> bool {
        either!(&self.0, port => port.needs_flush())
    }

    fn look_away(&mut self) {
        either!(&mut self.0, port => port.look_away());
    }

    fn check(&self) -> io::Result<()> {
        either!(&self.0, port => port.check())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket())
    }

    fn frame_bytes(&self) -> usize {
        either!(&self.0, port => port.frame_bytes())
    }

    fn writes_checksums(&self) -> bool {
        self.made().tx_checksum
    }

    fn rings(&mut self) -> Option<RingUse> {
        either!(&mut self.0, port => port.rings())
    }

    fn stats(&self) -> PortStats {
        either!(&self.0, port => port.stats())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(zero_copy: bool) -> Made {
        Made { zero_copy, ..Made::default() }
    }

    /// `lo` has `tx-checksum-ip-generic` (linux/drivers/net/loopback.c), and no driver's name.
    #[test]
    fn it_is_used_only_where_the_device_does_it() {
        let facts = InterfaceFacts::read("lo").unwrap();
        let veth = InterfaceFacts { driver: "veth".into(), ..facts.clone() };
        let config = |tx_checksum| XskConfig { interface: "lo".into(), tx_checksum, ..XskConfig::default() };
        let offered = |tx_checksum| XdpFeatures { tx_checksum, ..XdpFeatures::default() };
        let ask = |wish, facts, by_driver, zero_copy| {
            let mut made = made(zero_copy);
            decide(&config(wish), facts, offered(by_driver), &mut made).map(|()| made.tx_checksum)
        };
        assert!(ask(TxChecksum::Auto, &facts, true, true).unwrap());
        assert!(!ask(TxChecksum::Auto, &facts, true, false).unwrap());
        assert!(!ask(TxChecksum::Auto, &facts, false, true).unwrap());
        assert!(ask(TxChecksum::Offload, &facts, true, true).unwrap());
        assert!(ask(TxChecksum::Offload, &facts, false, false).unwrap());
        assert!(ask(TxChecksum::Software, &veth, false, false).unwrap());
        for (facts, zero_copy) in [(&facts, true), (&veth, false)] {
            let text = ask(TxChecksum::Offload, facts, false, zero_copy).unwrap_err().to_string();
            assert!(text.contains("lo") && text.contains("--tx-checksum auto"), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_is_not_tried() {
        let facts = InterfaceFacts::read("lo").unwrap();
        let against = |tx_checksum, copy_mode, mode, offered| {
            against(&XskConfig { tx_checksum, copy_mode, ..XskConfig::default() }, &facts, mode, offered)
        };
        let (native, generic) = (AttachMode::Native, AttachMode::Generic);
        assert_eq!(against(TxChecksum::Auto, CopyMode::Auto, native, true), None);
        for (copy, mode, offered) in
            [(CopyMode::Copy, native, true), (CopyMode::Auto, generic, true), (CopyMode::Auto, native, false)]
        {
            assert!(against(TxChecksum::Auto, copy, mode, offered).is_some());
            assert!(against(TxChecksum::Compute, copy, mode, offered).is_some());
            assert!(against(TxChecksum::Offload, copy, mode, offered).is_none());
        }
    }
}
