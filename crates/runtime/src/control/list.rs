//! Listings and ends, a piece at a time. A loop is asked for one piece, and goes on with its work; then for the next. A client
//! gets a page, which has an end whatever it asks for, and asks for the next: who is slow to read holds up nobody, not even the
//! thread that serves it.

use super::filter::{Checked, Filter};
use super::row::Row;
use crate::neighbours::Mailbox;
use crate::worker::Command;
use crossbeam::channel::{Sender, bounded};
use serde::{Deserialize, Serialize};
use stack::{App, ConnectionInfo, Cursor, End, Instant, Shard};
use std::io::{self, Write};
use std::sync::Arc;

/// Connections of one answer of a loop, so that it is held up for microseconds only.
pub(crate) const PIECE_SLOTS: u32 = 256;
/// Rows of a page, but for those of its last piece; and pieces, whatever they have.
const PAGE_ROWS: usize = 8192;
const PAGE_PIECES: usize = 4096;

/// Where a listing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    pub(super) shard: usize,
    pub(super) at: [u32; 6],
}

/// What is asked for: those that the filter lets through, from a place on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Which.
    pub filter: Filter,
    /// From where on.
    pub from: Place,
}

/// How connections are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By a reset; the application is told that its connection was aborted.
    Kill,
    /// In order: a FIN follows what is queued.
    Close,
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Row(Box<Row>),
    /// So many were ended.
    Ended(u64),
    /// The page is over; nothing: and so is the listing.
    Next(Option<Place>),
}

/// A piece of a listing, on its way to a loop.
#[derive(Debug, Clone)]
pub struct ListPiece {
    filter: Arc<Checked>,
    cursor: Cursor,
    /// Filled by the loop, which so allocates nothing.
    rows: Vec<ConnectionInfo>,
    answer: Sender<ListAnswer>,
}

#[derive(Debug, Default)]
struct ListAnswer {
    rows: Vec<ConnectionInfo>,
    /// The device takes nothing.
    blocked: bool,
    next: Option<Cursor>,
}

impl ListPiece {
    /// In the loop. `blocked`: the device takes nothing.
    pub(crate) fn serve(mut self, now: Instant, shard: &Shard, blocked: bool) {
        let wanted = |local, remote, state| self.filter.wants(local, remote, state);
        let next = shard.list_if(now, self.cursor, PIECE_SLOTS, &wanted, &mut self.rows);
        let _ = self.answer.try_send(ListAnswer { rows: self.rows, blocked, next });
    }
}

/// A piece of an end, on its way to a loop.
#[derive(Debug, Clone)]
pub struct EndPiece {
    filter: Arc<Checked>,
    cursor: Cursor,
    how: How,
    answer: Sender<(u32, Option<Cursor>)>,
}

impl EndPiece {
    /// In the loop.
    pub(crate) fn serve(self, now: Instant, shard: &mut Shard, app: &mut impl App) {
        let how = match self.how {
            How::Kill => End::Reset,
            How::Close => End::Close,
        };
        let wanted = |local, remote, state| self.filter.wants(local, remote, state);
        let _ = self.answer.try_send(shard.end_if(now, self.cursor, PIECE_SLOTS, &wanted, how, app));
    }
}

/// A piece of everything, and whether it is answered.
#[cfg(test)]
pub(crate) fn piece_of_all() -> (ListPiece, impl Fn() -> bool) {
    let (answer, answered) = bounded(1);
    let filter = checked(&Filter::all()).unwrap_or_else(|error| panic!("{error}"));
    let piece = ListPiece { filter, cursor: Cursor::default(), rows: Vec::new(), answer };
    (piece, move || !answered.is_empty())
}

pub(super) fn checked(filter: &Filter) -> io::Result<Arc<Checked>> {
    filter.check().map(Arc::new).ok_or_else(|| io::Error::other("the filter is none"))
}

/// Asks for one piece of each place, until `each` has had enough; where to go on.
fn pieces(
    shards: &[Mailbox],
    mut from: Place,
    mut each: impl FnMut(usize, &Mailbox, Cursor) -> io::Result<(bool, Option<Cursor>)>,
) -> io::Result<Option<Place>> {
    for _ in 0..PAGE_PIECES {
        let Some(mailbox) = shards.get(from.shard) else { return Ok(None) };
        let (enough, next) = each(from.shard, mailbox, Cursor::from_numbers(from.at))?;
        from = match next {
            Some(cursor) => Place { at: cursor.to_numbers(), ..from },
            None => Place { shard: from.shard + 1, ..Place::default() },
        };
        if enough {
            break;
        }
    }
    Ok((from.shard < shards.len()).then_some(from))
}

/// Writes a page of a listing.
pub(super) fn list(shards: &[Mailbox], listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    let filter = checked(&listed.filter)?;
    let (mut spare, mut written) = (Vec::new(), 0);
    let next = pieces(shards, listed.from, |shard, mailbox, cursor| {
        spare.clear();
        spare.reserve(PIECE_SLOTS as usize);
        let (answer, answered) = bounded(1);
        let piece = ListPiece { filter: Arc::clone(&filter), cursor, rows: std::mem::take(&mut spare), answer };
        let ListAnswer { rows, blocked, next } = super::server::ask(mailbox, Command::List(piece), &answered)?;
        for info in &rows {
            super::server::put(out, &Line::Row(Box::new(Row::new(shard, info, blocked))))?;
        }
        written += rows.len();
        spare = rows;
        Ok((written >= PAGE_ROWS, next))
    })?;
    super::server::put(out, &Line::Next(next))
}

/// Ends connections, and writes how many; a page as well.
pub(super) fn end(shards: &[Mailbox], listed: &Listed, how: How, out: &mut impl Write) -> io::Result<()> {
    let filter = checked(&listed.filter)?;
    let mut ended = 0u64;
    let next = pieces(shards, listed.from, |_, mailbox, cursor| {
        let (answer, answered) = bounded(1);
        let piece = EndPiece { filter: Arc::clone(&filter), cursor, how, answer };
        let (some, next) = super::server::ask(mailbox, Command::End(piece), &answered)?;
        ended += u64::from(some);
        Ok((false, next))
    });
    super::server::put(out, &Line::Ended(ended))?;
    super::server::put(out, &Line::Next(next?))
}
