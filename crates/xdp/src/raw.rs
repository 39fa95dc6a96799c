//! Bare frames over a [`Port`]: the device's own limit, below any protocol.
//!
//! The frames are IPv4/UDP of the experimental kind (RFC 3692 port 1021), to an address that the stack owns, so that the
//! steering program has no special case for them.

mod bulk;
mod window;

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::facts::MacAddr;
use crate::port::{Frame, Port};

pub use bulk::{RawSender, receive_frames};
pub use window::RawWindow;

/// Ethernet, IPv4 and UDP headers and the sequence number: the shortest frame of a [`RawPing`].
pub const MIN_FRAME_BYTES: usize = 14 + 20 + 8 + 8;
const ETHERNET_BYTES: usize = 14;
const SEQUENCE_AT: usize = 42;
/// Experimental, RFC 4727 section 6.
const PORT: u16 = 1021;
const PORTS: std::ops::Range<usize> = 34..38;
const BOTH_PORTS: [u8; 4] = {
    let [high, low] = PORT.to_be_bytes();
    [high, low, high, low]
};
const BATCH: usize = 64;
/// Loops of a spin between two looks at the clock or the flag.
const SPINS: u32 = 256;

/// Sends every frame back to whom it came from (Ethernet and IPv4 addresses swapped), spinning, until `stop` is set.
/// Returns how many.
///
/// # Errors
/// The interface went down.
pub fn echo_frames(port: &mut impl Port, stop: &AtomicBool) -> io::Result<u64> {
    let mut frames = Vec::with_capacity(BATCH);
    let mut echoed = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..SPINS {
            let received = port.receive(&mut frames, BATCH);
            if received == 0 && !port.needs_flush() {
                std::hint::spin_loop();
                continue;
            }
            for frame in frames.drain(..) {
                echoed += u64::from(echo(port, frame));
            }
            port.flush()?;
        }
    }
    Ok(echoed)
}

fn echo(port: &mut impl Port, mut frame: Frame) -> bool {
    let len = frame.len();
    let bytes = port.buffer(&mut frame);
    if len < MIN_FRAME_BYTES || bytes.len() < len || bytes[12..14] != [0x08, 0x00] {
        port.recycle(frame);
        return false;
    }
    turn_round(bytes);
    match port.transmit(frame, len) {
        Ok(()) => true,
        Err(frame) => {
            port.recycle(frame);
            false
        }
    }
}

/// Swaps the addresses of a frame of at least [`MIN_FRAME_BYTES`].
fn turn_round(bytes: &mut [u8]) {
    let (destination, rest) = bytes.split_at_mut(6);
    destination.swap_with_slice(&mut rest[..6]);
    let (source, destination) = bytes[ETHERNET_BYTES + 12..].split_at_mut(4);
    source.swap_with_slice(&mut destination[..4]);
}

/// The number of a frame that is one of ours.
fn number_of(bytes: &[u8]) -> Option<u64> {
    let ours = bytes.get(12..14) == Some(&[0x08, 0x00]) && bytes.get(PORTS) == Some(&BOTH_PORTS);
    let number = bytes.get(SEQUENCE_AT..SEQUENCE_AT + 8).filter(|_| ours)?;
    number.try_into().ok().map(u64::from_be_bytes)
}

fn put_number(bytes: &mut [u8], number: u64) {
    bytes[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&number.to_be_bytes());
}

/// Sends a frame as long as `template`, of which its first `written` bytes are written, with a number. Whether there was a
/// frame, and room for it: later there may be.
///
/// # Errors
/// `InvalidInput`: the port's frames are too short.
fn send_new(port: &mut impl Port, template: &[u8], written: usize, number: u64) -> io::Result<bool> {
    let Some(mut frame) = port.allocate() else { return Ok(false) };
    let Some(bytes) = port.buffer(&mut frame).get_mut(..template.len()) else {
        port.recycle(frame);
        return Err(io::ErrorKind::InvalidInput.into());
    };
    bytes[..written].copy_from_slice(&template[..written]);
    put_number(bytes, number);
    match port.transmit(frame, template.len()) {
        Ok(()) => Ok(true),
        Err(frame) => {
            port.recycle(frame);
            Ok(false)
        }
    }
}

/// No number of an earlier process.
fn first_number() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// Sends one frame at a time and spins until its echo is back.
#[derive(Debug)]
pub struct RawPing {
    template: Vec<u8>,
    sequence: u64,
    frames: Vec<Frame>,
    strays: u64,
}

impl RawPing {
    /// Frames of `frame_bytes` bytes (at least [`MIN_FRAME_BYTES`], without the checksum of Ethernet) from `local` to
    /// `remote`.
    #[must_use]
    pub fn new(local: (MacAddr, Ipv4Addr), remote: (MacAddr, Ipv4Addr), frame_bytes: usize) -> Self {
        Self {
            template: template(local, remote, frame_bytes.max(MIN_FRAME_BYTES)),
            sequence: 0,
            frames: Vec::with_capacity(BATCH),
            strays: 0,
        }
    }

    /// One round trip in nanoseconds, from before the frame is allocated until its echo is seen.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, `OutOfMemory` if the port has no frame or no room, or the interface went down.
    pub fn round_trip(&mut self, port: &mut impl Port, timeout: Duration) -> io::Result<u64> {
        self.sequence += 1;
        let sequence = self.sequence.to_be_bytes();
        let start = Instant::now();
        let mut frame = port.allocate().ok_or(io::ErrorKind::OutOfMemory)?;
        let len = self.template.len();
        let Some(bytes) = port.buffer(&mut frame).get_mut(..len) else {
            port.recycle(frame);
            return Err(io::ErrorKind::InvalidInput.into());
        };
        bytes.copy_from_slice(&self.template);
        bytes[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&sequence);
        if let Err(frame) = port.transmit(frame, len) {
            port.recycle(frame);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        port.flush()?;
        loop {
            for _ in 0..SPINS {
                if self.look(port, &sequence) {
                    return Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
            }
            port.flush()?;
            if start.elapsed() > timeout {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Frames received that were no echo awaited.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Whether the awaited echo has arrived.
    fn look(&mut self, port: &mut impl Port, sequence: &[u8; 8]) -> bool {
        if port.receive(&mut self.frames, BATCH) == 0 {
            std::hint::spin_loop();
            return false;
        }
        let mut found = false;
        for frame in self.frames.drain(..) {
            let ours = port.bytes(&frame).get(SEQUENCE_AT..SEQUENCE_AT + 8) == Some(sequence);
            found |= ours;
            self.strays += u64::from(!ours);
            port.recycle(frame);
        }
        found
    }
}

fn template(local: (MacAddr, Ipv4Addr), remote: (MacAddr, Ipv4Addr), frame_bytes: usize) -> Vec<u8> {
    let ip_bytes = u16::try_from(frame_bytes - ETHERNET_BYTES).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(frame_bytes);
    frame.extend(remote.0.0);
    frame.extend(local.0.0);
    frame.extend([0x08, 0x00, 0x45, 0x00]);
    frame.extend(ip_bytes.to_be_bytes());
    // Identification 0, don't fragment, 64 hops, UDP, checksum to come.
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(local.1.octets());
    frame.extend(remote.1.octets());
    let sum =
        frame[ETHERNET_BYTES..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    frame[ETHERNET_BYTES + 10..ETHERNET_BYTES + 12].copy_from_slice(&checksum.to_be_bytes());
    // UDP without a checksum.
    frame.extend(PORT.to_be_bytes());
    frame.extend(PORT.to_be_bytes());
    frame.extend((ip_bytes - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(frame_bytes, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryConfig, MemoryPort};

    pub(super) const LOCAL: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
    pub(super) const REMOTE: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_ping_comes_back_over_memory() {
        let (mut near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let echo = scope.spawn(|| echo_frames(&mut far, &stop).unwrap());
            let mut ping = RawPing::new(LOCAL, REMOTE, 100);
            for _ in 0..100 {
                ping.round_trip(&mut near, Duration::from_secs(5)).unwrap();
            }
            assert_eq!(ping.strays(), 0);
            stop.store(true, Ordering::Relaxed);
            assert_eq!(echo.join().unwrap(), 100);
        });
        assert_eq!((near.stats().frames_out, far.stats().frames_out), (0, 0));
    }

    #[test]
    fn no_answer_is_an_error_in_time() {
        let (mut near, _far) = MemoryPort::pair(MemoryConfig::default());
        let error = RawPing::new(LOCAL, REMOTE, 0).round_trip(&mut near, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = RawPing::new(LOCAL, REMOTE, 4000).round_trip(&mut near, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_frame_is_a_valid_udp_packet() {
        let frame = template(LOCAL, REMOTE, 101);
        assert_eq!((frame.len(), &frame[..6], &frame[26..34]), (101, &REMOTE.0.0[..], &[10, 0, 0, 1, 10, 0, 0, 2][..]));
        let sum: u32 = frame[14..34].chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(u16::from_be_bytes([frame[16], frame[17]]), 87);
        assert_eq!(u16::from_be_bytes([frame[38], frame[39]]), 67);
    }

    /// What a port can't take goes back to its pool, or that would run dry.
    #[test]
    fn a_new_frame_is_written_as_far_as_asked_and_none_is_lost() {
        let (mut near, mut far) = MemoryPort::pair(MemoryConfig::default());
        let mut template = template(LOCAL, REMOTE, 100);
        template[MIN_FRAME_BYTES..].fill(9);
        // Until the transmit ring is full.
        while send_new(&mut near, &template, MIN_FRAME_BYTES, 7).unwrap() {}
        assert_eq!(near.stats().frames_out, 0);
        near.flush().unwrap();
        let mut frames = Vec::new();
        far.receive(&mut frames, 1);
        template[SEQUENCE_AT..].fill(0);
        template[MIN_FRAME_BYTES - 1] = 7;
        assert_eq!(far.bytes(&frames[0]), template);
        frames.drain(..).for_each(|frame| far.recycle(frame));
        template.resize(4000, 0);
        assert_eq!(send_new(&mut far, &template, 4000, 7).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(far.stats().frames_out, 0);
    }
}
