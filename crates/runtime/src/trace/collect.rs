//! Reading the records of a shard, a piece at a time.

use crate::control::ask;
use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::{Sender, bounded};
use stack::recorder::{Bookmark, Record};
use stack::trace::{Named, Trace, traces};
use stack::{Instant, SeqNum, Shard};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// Records of one answer of a loop: 32 KiB that are copied.
const PIECE_RECORDS: usize = 1024;
/// Slots that are looked at for one.
const PIECE_SLOTS: u32 = 256;

/// A piece of what a shard knows of its connections' past, on its way to a loop.
#[derive(Debug, Clone)]
pub struct TracePiece(Question);

#[derive(Debug, Clone)]
enum Question {
    Records { from: Bookmark, records: Vec<Record>, answer: Sender<Records> },
    Names { from: u32, wanted: Arc<HashSet<u32>>, named: Vec<Named>, answer: Sender<Names> },
}

#[derive(Debug)]
struct Records {
    records: Vec<Record>,
    next: Option<Bookmark>,
    overwritten: u64,
    now: Instant,
}

#[derive(Debug)]
struct Names {
    named: Vec<Named>,
    next: Option<u32>,
}

impl TracePiece {
    /// In the loop.
    pub(crate) fn serve(self, now: Instant, shard: &Shard) {
        match self.0 {
            Question::Records { from, mut records, answer } => {
                let next = shard.records(from, PIECE_RECORDS, &mut records);
                let overwritten = shard.records_overwritten();
                let _ = answer.try_send(Records { records, next, overwritten, now });
            }
            Question::Names { from, wanted, mut named, answer } => {
                let next = shard.name(from, PIECE_SLOTS, &|who: SeqNum| wanted.contains(&who.value()), &mut named);
                let _ = answer.try_send(Names { named, next });
            }
        }
    }
}

/// All that a shard has recorded.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) traces: Vec<Trace>,
    /// Records that were overwritten since the start.
    pub(crate) overwritten: u64,
    /// The shard's time when it was read.
    pub(crate) now: Instant,
}

impl Collected {
    /// Of a shard that is at hand, whatever that takes.
    pub(crate) fn of(shard: &Shard, now: Instant) -> Self {
        let (mut records, mut named) = (Vec::new(), Vec::new());
        let mut from = Some(Bookmark::default());
        while let Some(place) = from {
            from = shard.records(place, usize::MAX, &mut records);
        }
        let wanted = names(&records);
        let _ = shard.name(0, u32::MAX, &|who| wanted.contains(&who.value()), &mut named);
        Self { traces: traces(&records, &named), overwritten: shard.records_overwritten(), now }
    }
}

fn names(records: &[Record]) -> HashSet<u32> {
    records.iter().map(|record| record.who.value()).collect()
}

/// Of a shard whose loop runs: it goes on with its work between the pieces.
pub(crate) fn collect(mailbox: &Mailbox) -> io::Result<Collected> {
    let (mut all, mut named) = (Vec::new(), Vec::new());
    let (mut from, mut spare) = (Some(Bookmark::default()), Vec::new());
    let (mut overwritten, mut now) = (0, Instant::ZERO);
    while let Some(place) = from {
        spare.reserve(PIECE_RECORDS);
        let (answer, answered) = bounded(1);
        let question = Question::Records { from: place, records: std::mem::take(&mut spare), answer };
        let piece: Records = ask(mailbox, Command::Trace(TracePiece(question)), &answered)?;
        all.extend_from_slice(&piece.records);
        (from, overwritten, now) = (piece.next, piece.overwritten, piece.now);
        spare = piece.records;
        spare.clear();
    }
    let wanted = Arc::new(names(&all));
    let mut from = (!wanted.is_empty()).then_some(0);
    while let Some(slot) = from {
        let (answer, answered) = bounded(1);
        let room = Vec::with_capacity(PIECE_SLOTS as usize);
        let question = Question::Names { from: slot, wanted: Arc::clone(&wanted), named: room, answer };
        let piece: Names = ask(mailbox, Command::Trace(TracePiece(question)), &answered)?;
        named.extend_from_slice(&piece.named);
        from = piece.next;
    }
    Ok(Collected { traces: traces(&all, &named), overwritten, now })
}
