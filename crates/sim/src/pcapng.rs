//! Captures in the pcapng format (draft-ietf-opsawg-pcapng): a section, one Ethernet interface per node, and packets with
//! times in nanoseconds, directions and comments.

use std::io::{self, Write};

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// One frame of a capture.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The interface, by its place in the list.
    pub interface: u32,
    /// Nanoseconds since the beginning.
    pub at_nanos: u64,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// How long it was, bytes.
    pub len: u32,
    /// It left from the interface; otherwise it came in.
    pub outbound: bool,
    /// For people; may be empty.
    pub comment: &'a str,
}

/// A capture that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes what comes before the packets.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(mut out: W, comment: &str, interfaces: &[String]) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(0x1A2B_3C4Du32.to_le_bytes());
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, OPT_COMMENT, comment.as_bytes());
        option(&mut body, SHB_USERAPPL, b"fourwave-sim");
        end(&mut body);
        block(&mut out, SECTION, &body)?;
        for name in interfaces {
            let mut body = Vec::new();
            body.extend(LINKTYPE_ETHERNET.to_le_bytes());
            body.extend([0; 6]);
            option(&mut body, IF_NAME, name.as_bytes());
            option(&mut body, IF_TSRESOL, &[9]);
            end(&mut body);
            block(&mut out, INTERFACE, &body)?;
        }
        Ok(Self { out })
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// Those of writing.
    pub fn packet(&mut self, packet: Packet<'_>) -> io::Result<()> {
        let mut body = Vec::with_capacity(packet.bytes.len() + 64);
        let [low, high] = [packet.at_nanos & 0xffff_ffff, packet.at_nanos >> 32];
        let captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        body.extend(packet.interface.to_le_bytes());
        for word in [high, low] {
            body.extend(&word.to_le_bytes()[..4]);
        }
        body.extend(captured.to_le_bytes());
        body.extend(packet.len.max(captured).to_le_bytes());
        body.extend(packet.bytes);
        pad(&mut body);
        if !packet.comment.is_empty() {
            option(&mut body, OPT_COMMENT, packet.comment.as_bytes());
        }
        option(&mut body, EPB_FLAGS, &(if packet.outbound { 2u32 } else { 1 }).to_le_bytes());
        end(&mut body);
        block(&mut self.out, ENHANCED_PACKET, &body)
    }

    /// Everything is written.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// An option's value is cut at 64 KiB.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend(&value[..len.into()]);
    pad(body);
}

fn end(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&len)?;
    out.write_all(body)?;
    out.write_all(&len)
}
