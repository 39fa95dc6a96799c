//! Captures in the pcapng format (draft-ietf-opsawg-pcapng): a section, Ethernet interfaces, and packets with times in
//! nanoseconds, directions and comments; what was lost, at the end.

use std::io::{self, Write};

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_COMMENT: u16 = 1;
const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const IF_FILTER: u16 = 11;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_USRDELIV: u16 = 8;

/// A filter's text follows, as libpcap understands it.
const FILTER_STRING: u8 = 0;

/// What a capture says of itself. What is empty is not said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Section<'a> {
    /// The machine.
    pub hardware: &'a str,
    /// The operating system.
    pub os: &'a str,
    /// The program that writes it.
    pub application: &'a str,
    /// For people.
    pub comment: &'a str,
}

/// Where packets are from. What is empty is not said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub description: &'a str,
    /// The filter that chose the packets, as libpcap understands it.
    pub filter: &'a str,
    /// Bytes kept of a packet at most; 0: all.
    pub snaplen: u32,
}

/// One frame of a capture.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The interface, by its place in the list.
    pub interface: u32,
    /// Nanoseconds since the beginning: that of 1970, or of a simulated world.
    pub at_nanos: u64,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// How long it was, bytes.
    pub len: u32,
    /// It left from the interface; otherwise it came in.
    pub outbound: bool,
    /// Packets of this interface that were lost between the one before and this one.
    pub lost: u64,
    /// For people; may be empty.
    pub comment: &'a str,
}

/// What an interface saw in the time of a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The interface, by its place in the list.
    pub interface: u32,
    /// When the capture began and when these were read, nanoseconds.
    pub from_nanos: u64,
    /// See `from_nanos`.
    pub to_nanos: u64,
    /// Packets that came by, both ways.
    pub seen: u64,
    /// Of those, the ones that the filter chose.
    pub matched: u64,
    /// Of those, the ones that there was no room for.
    pub dropped: u64,
}

/// A capture that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    body: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes what comes before the packets.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(out: W, section: &Section<'_>, interfaces: &[Interface<'_>]) -> io::Result<Self> {
        let mut writer = Self { out, body: Vec::new(), written: 0 };
        writer.section(section)?;
        for interface in interfaces {
            writer.interface(interface)?;
        }
        Ok(writer)
    }

    fn section(&mut self, section: &Section<'_>) -> io::Result<()> {
        let body = &mut self.body;
        body.extend(0x1A2B_3C4Du32.to_le_bytes());
        body.extend([1, 0, 0, 0]);
        // Of no length that is known now.
        body.extend(u64::MAX.to_le_bytes());
        text(body, OPT_COMMENT, section.comment);
        text(body, SHB_HARDWARE, section.hardware);
        text(body, SHB_OS, section.os);
        text(body, SHB_USERAPPL, section.application);
        self.block(SECTION)
    }

    fn interface(&mut self, interface: &Interface<'_>) -> io::Result<()> {
        let body = &mut self.body;
        body.extend(LINKTYPE_ETHERNET.to_le_bytes());
        body.extend([0; 2]);
        body.extend(interface.snaplen.to_le_bytes());
        text(body, IF_NAME, interface.name);
        text(body, IF_DESCRIPTION, interface.description);
        option(body, IF_TSRESOL, &[9]);
        if !interface.filter.is_empty() {
            option(body, IF_FILTER, &[&[FILTER_STRING], interface.filter.as_bytes()].concat());
        }
        self.block(INTERFACE)
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// Those of writing.
    pub fn packet(&mut self, packet: Packet<'_>) -> io::Result<()> {
        let body = &mut self.body;
        let captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        body.extend(packet.interface.to_le_bytes());
        time(body, packet.at_nanos);
        body.extend(captured.to_le_bytes());
        body.extend(packet.len.max(captured).to_le_bytes());
        body.extend(packet.bytes);
        pad(body);
        text(body, OPT_COMMENT, packet.comment);
        option(body, EPB_FLAGS, &(if packet.outbound { 2u32 } else { 1 }).to_le_bytes());
        if packet.lost > 0 {
            option(body, EPB_DROPCOUNT, &packet.lost.to_le_bytes());
        }
        self.block(ENHANCED_PACKET)
    }

    /// Writes what an interface saw: behind its packets.
    ///
    /// # Errors
    /// Those of writing.
    pub fn statistics(&mut self, statistics: &Statistics) -> io::Result<()> {
        let body = &mut self.body;
        body.extend(statistics.interface.to_le_bytes());
        time(body, statistics.to_nanos);
        for (code, nanos) in [(ISB_STARTTIME, statistics.from_nanos), (ISB_ENDTIME, statistics.to_nanos)] {
            let mut value = Vec::with_capacity(8);
            time(&mut value, nanos);
            option(body, code, &value);
        }
        for (code, count) in [
            (ISB_IFRECV, statistics.seen),
            (ISB_IFDROP, statistics.dropped),
            (ISB_FILTERACCEPT, statistics.matched),
            (ISB_USRDELIV, statistics.matched.saturating_sub(statistics.dropped)),
        ] {
            option(body, code, &count.to_le_bytes());
        }
        self.block(STATISTICS)
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Hands on what was written.
    ///
    /// # Errors
    /// Those of writing.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Everything is written.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what was prepared as a block of a kind. Each has its options at its end, if it has any.
    fn block(&mut self, kind: u32) -> io::Result<()> {
        self.body.extend([0; 4]);
        let len = u32::try_from(self.body.len() + 12).unwrap_or(u32::MAX);
        for part in [&kind.to_le_bytes(), &len.to_le_bytes(), &self.body[..], &len.to_le_bytes()] {
            self.out.write_all(part)?;
        }
        self.written += u64::from(len);
        self.body.clear();
        Ok(())
    }
}

/// The upper half comes first.
fn time(body: &mut Vec<u8>, nanos: u64) {
    let [a, b, c, d, e, f, g, h] = nanos.to_le_bytes();
    body.extend([e, f, g, h, a, b, c, d]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn text(body: &mut Vec<u8>, code: u16, value: &str) {
    if !value.is_empty() {
        option(body, code, value.as_bytes());
    }
}

/// An option's value is cut at 64 KiB.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend(&value[..len.into()]);
    pad(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of the draft, sections 4.1 to 4.3 and 4.6, word by word.
    #[test]
    fn blocks_are_as_the_draft_draws_them() {
        let section = Section { os: "Linux", ..Section::default() };
        let interface = Interface { name: "eth0", filter: "tcp", snaplen: 96, ..Interface::default() };
        let mut writer = Writer::new(Vec::new(), &section, &[interface]).unwrap();
        let packet = Packet {
            interface: 0,
            at_nanos: 0x0102_0304_0506_0708,
            bytes: b"12345",
            len: 77,
            outbound: true,
            lost: 0,
            comment: "",
        };
        writer.packet(packet).unwrap();
        let statistics = Statistics { interface: 0, from_nanos: 1, to_nanos: 1 << 32, seen: 9, matched: 8, dropped: 3 };
        writer.statistics(&statistics).unwrap();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let tail = |code: u32, len: u32| code | len << 16;
        let expected = [
            words(&[0x0A0D_0D0A, 44, 0x1A2B_3C4D, 1, u32::MAX, u32::MAX, tail(3, 5)]),
            b"Linux\0\0\0".to_vec(),
            words(&[0, 44]),
            words(&[1, 48, 1, 96, tail(2, 4)]),
            b"eth0".to_vec(),
            words(&[tail(9, 1), 9, tail(11, 4)]),
            b"\0tcp".to_vec(),
            words(&[0, 48]),
            words(&[6, 52, 0, 0x0102_0304, 0x0506_0708, 5, 77]),
            b"12345\0\0\0".to_vec(),
            words(&[tail(2, 4), 2, 0, 52]),
            words(&[5, 100, 0, 1, 0, tail(2, 8), 0, 1, tail(3, 8), 1, 0]),
            words(&[tail(4, 8), 9, 0, tail(5, 8), 3, 0, tail(6, 8), 8, 0, tail(8, 8), 5, 0]),
            words(&[0, 100]),
        ];
        assert_eq!(writer.written(), 44 + 48 + 52 + 100);
        assert_eq!(writer.out, expected.concat());
    }

    #[test]
    fn losses_and_comments_are_options() {
        let mut writer = Writer::new(Vec::new(), &Section::default(), &[]).unwrap();
        let begins = writer.out.len();
        let packet =
            Packet { interface: 1, at_nanos: 0, bytes: b"1234", len: 4, outbound: false, lost: 7, comment: "why" };
        writer.packet(packet).unwrap();
        let options = [&[1, 0, 3, 0][..], b"why\0", &[2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]];
        assert_eq!(writer.out[begins + 32..writer.out.len() - 8], options.concat());
    }
}
