//! The last frames of a world, for whom wants to see what went wrong.

use pcap::pcapng::{Interface, Packet, Section, Writer};
use stack::Instant;
use std::{fmt, fs::File, io, io::BufWriter, path::Path};

/// Frames that are kept, and bytes of each.
const FRAMES: usize = 16_384;
const BYTES: usize = 192;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    None,
    Altered,
    Tamper(&'static str),
    Link(u32, &'static str),
    Injected,
    Corrupted,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Altered => f.write_str("altered by the tamper node"),
            Self::Tamper(what) => write!(f, "{what} by the tamper node"),
            Self::Link(link, what) => write!(f, "{what} on link {link}"),
            Self::Injected => f.write_str("no node has sent it"),
            Self::Corrupted => f.write_str("corrupted"),
        }
    }
}

#[derive(Debug)]
struct Record {
    at: Instant,
    node: u32,
    outbound: bool,
    note: Note,
    len: u32,
    bytes: Vec<u8>,
}

/// A ring of frames. All of them, and all of each, if `SIM_CAPTURE` is set.
#[derive(Debug)]
pub(crate) struct Capture {
    records: Vec<Record>,
    /// Frames seen so far: the number of the next.
    count: usize,
    limit: usize,
    snap: usize,
}

impl Capture {
    pub(crate) fn new() -> Self {
        let whole = std::env::var_os("SIM_CAPTURE").is_some();
        let (limit, snap) = if whole { (usize::MAX, usize::MAX) } else { (FRAMES, BYTES) };
        Self { records: Vec::new(), count: 0, limit, snap }
    }

    /// Keeps a frame, and returns its number.
    pub(crate) fn add(&mut self, at: Instant, node: usize, outbound: bool, frame: &[u8], note: Note) -> usize {
        let bytes = &frame[..frame.len().min(self.snap)];
        let (node, len) = (u32::try_from(node).unwrap_or(0), u32::try_from(frame.len()).unwrap_or(0));
        if self.records.len() < self.limit {
            self.records.push(Record { at, node, outbound, note, len, bytes: bytes.to_vec() });
        } else {
            let record = &mut self.records[self.count % self.limit];
            (record.at, record.node, record.outbound, record.note, record.len) = (at, node, outbound, note, len);
            record.bytes.clear();
            record.bytes.extend_from_slice(bytes);
        }
        self.count += 1;
        self.count - 1
    }

    /// What has become of a frame, if it is still kept.
    pub(crate) fn note(&mut self, number: usize, note: Note) {
        if number < self.count && self.count - number <= self.records.len() {
            let at = number % self.limit;
            self.records[at].note = note;
        }
    }

    /// Writes what is kept to a file.
    pub(crate) fn write(&self, path: &Path, comment: &str, interfaces: &[String]) -> io::Result<()> {
        let section = Section { application: "fourwave-sim", comment, ..Section::default() };
        let interfaces: Vec<_> = interfaces.iter().map(|name| Interface { name, ..Interface::default() }).collect();
        let mut writer = Writer::new(BufWriter::new(File::create(path)?), &section, &interfaces)?;
        let first = if self.records.len() < self.limit { 0 } else { self.count % self.limit };
        for record in self.records[first..].iter().chain(&self.records[..first]) {
            writer.packet(Packet {
                interface: record.node,
                at_nanos: record.at.as_nanos(),
                bytes: &record.bytes,
                len: record.len,
                outbound: record.outbound,
                lost: 0,
                comment: &record.note.to_string(),
            })?;
        }
        writer.finish()
    }
}
