//! Byte streams are equal at both ends: what an application reads is what the other one wrote, in order, at any time, and all
//! of it if the connection ends in order.

use super::FastMap;
use stack::{FlowKey, Tap};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use wire::SeqNum;

/// One direction of a connection, from who writes.
#[derive(Debug, Default)]
struct Stream {
    written: u64,
    read: u64,
    /// Written, and not read yet.
    between: VecDeque<u8>,
    writer_gone: bool,
    reader_gone: bool,
}

#[derive(Debug, Default)]
struct Ledger {
    /// By flow, from the writer's side, and the stream's initial sequence number.
    streams: FastMap<(FlowKey, u32), Stream>,
    /// Every node has a tap: what is read was written by somebody.
    whole: bool,
    octets: u64,
    connections: u64,
    violation: Option<String>,
}

/// The streams of a world. Its clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    ledger: Arc<Mutex<Ledger>>,
    /// A violation waits in the ledger.
    wrong: Arc<AtomicBool>,
}

impl Streams {
    /// A tap for a shard.
    #[must_use]
    pub fn tap(&self) -> Box<dyn Tap> {
        Box::new(self.clone())
    }

    pub(crate) fn set_whole(&self) {
        self.ledger().whole = true;
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.wrong.load(Ordering::Relaxed).then(|| self.ledger().violation.take()).flatten()
    }

    /// Octets that were read, all compared with what was written.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.ledger().octets
    }

    /// Ends of connections that came and went.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.ledger().connections
    }

    /// Streams of which one end is left.
    pub(crate) fn left(&self) -> usize {
        self.ledger().streams.values().filter(|s| s.writer_gone != s.reader_gone && s.read > 0 && s.written > 0).count()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same flow, seen from the other end.
fn reversed(flow: &FlowKey) -> FlowKey {
    FlowKey::new(flow.remote(), flow.local())
}

impl Tap for Streams {
    fn wrote(&mut self, flow: &FlowKey, iss: SeqNum, bytes: &[u8]) {
        let mut ledger = self.ledger();
        let stream = ledger.streams.entry((*flow, iss.value())).or_default();
        stream.written += bytes.len() as u64;
        if !stream.reader_gone {
            stream.between.extend(bytes);
        }
    }

    fn read(&mut self, flow: &FlowKey, irs: SeqNum, bytes: &[u8]) {
        let mut ledger = self.ledger();
        ledger.octets += bytes.len() as u64;
        let key = (reversed(flow), irs.value());
        if !ledger.whole && !ledger.streams.contains_key(&key) {
            return;
        }
        let stream = ledger.streams.entry(key).or_default();
        if stream.reader_gone {
            // A cookie was believed twice: what this one reads was read before, or never will be whole.
            return;
        }
        let at = stream.read;
        stream.read += bytes.len() as u64;
        let known = bytes.len().min(stream.between.len());
        let (front, back) = stream.between.as_slices();
        let split = known.min(front.len());
        let same = front[..split] == bytes[..split] && back[..known - split] == bytes[split..known];
        let wrong = if !same {
            let differs = stream.between.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(0);
            Some(format!("octet {} is not the one that was written", at + differs as u64))
        } else if known < bytes.len() {
            Some(format!("{} octets were read, {} written", stream.read, stream.written))
        } else {
            None
        };
        stream.between.drain(..known);
        if let Some(wrong) = wrong {
            let what = format!("the stream {} to {}: {wrong}", flow.remote(), flow.local());
            ledger.violation.get_or_insert(what);
            self.wrong.store(true, Ordering::Relaxed);
        }
    }

    fn read_all(&mut self, flow: &FlowKey, irs: SeqNum) {
        let mut ledger = self.ledger();
        let Some(stream) = ledger.streams.get(&(reversed(flow), irs.value())) else { return };
        if stream.read != stream.written && !stream.reader_gone {
            let (read, written) = (stream.read, stream.written);
            let ends = format!("{} to {}", flow.remote(), flow.local());
            let what = format!("the stream {ends} ended in order: {written} octets were written, {read} read");
            ledger.violation.get_or_insert(what);
            self.wrong.store(true, Ordering::Relaxed);
        }
    }

    fn gone(&mut self, flow: &FlowKey, iss: SeqNum, irs: SeqNum) {
        let mut ledger = self.ledger();
        ledger.connections += 1;
        let (out, back) = ((*flow, iss.value()), (reversed(flow), irs.value()));
        for (key, writes) in [(out, true), (back, false)] {
            let Some(stream) = ledger.streams.get_mut(&key) else { continue };
            if writes {
                stream.writer_gone = true;
            } else {
                stream.reader_gone = true;
                stream.between = VecDeque::new();
            }
            if stream.writer_gone && stream.reader_gone {
                ledger.streams.remove(&key);
            }
        }
    }
}
