//! The reader's end of a recorder, for tests of the loop.

use super::record::{HEADER, Header};
use super::recorder;
use super::{Counts, Recorder, Request, bpf::Program};

#[derive(Debug)]
pub(crate) struct Ear(recorder::Ear);

/// A frame that was kept.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) at: u64,
    pub(crate) len: u32,
    pub(crate) lost: u32,
    pub(crate) sent: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) comment: String,
}

/// A recorder, and what has been recorded.
pub(crate) fn recorder(request: &Request, filter: Program) -> (Recorder, Ear) {
    let (recorder, ear) = Recorder::new(request, filter);
    (recorder, Ear(ear))
}

impl Ear {
    /// Takes out what is in the ring.
    pub(crate) fn records(&mut self) -> Vec<Record> {
        let all = self.0.ring.read_chunk(self.0.ring.slots()).unwrap();
        let (first, second) = all.as_slices();
        let bytes = [first, second].concat();
        all.commit_all();
        let (mut rest, mut records) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let header = Header::read(rest).expect("whole records");
            let (record, behind) = rest.split_at(header.whole());
            let (kept, comment) = record[HEADER..].split_at(header.kept as usize);
            let Header { at, len, lost, sent, .. } = header;
            let comment = String::from_utf8(comment.to_vec()).unwrap();
            records.push(Record { at, len, lost, sent, bytes: kept.to_vec(), comment });
            rest = behind;
        }
        records
    }

    /// Frames seen, matched and dropped.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let Counts { seen, matched, dropped } = self.0.shared.counts();
        (seen, matched, dropped)
    }

    /// Up to when all frames are in the ring, if it is `now`.
    pub(crate) fn settled(&self, now: u64) -> u64 {
        self.0.shared.settled(now)
    }

    pub(crate) fn close(&self) {
        self.0.shared.close();
    }

    /// The loop has let go.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.ring.is_abandoned()
    }
}
