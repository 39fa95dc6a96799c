//! What happened to connections, for a client: a shard at a time.

use super::list::{Listed, Place, checked};
use super::server::put;
use crate::neighbours::Mailbox;
use crate::trace::{Traced, Wall, collect};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Traced(Box<Traced>),
    /// So many older records are not there any more.
    Overwritten(u64),
    /// The shard is done with; nothing: and so are all.
    Next(Option<Place>),
}

/// Writes what one shard knows. Whose ends are not known is let through by a filter without a condition.
pub(super) fn trace(shards: &[Mailbox], listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    let filter = checked(&listed.filter)?;
    let shard = listed.from.shard;
    let Some(mailbox) = shards.get(shard) else { return put(out, &Line::Next(None)) };
    let collected = collect(mailbox)?;
    let wall = Wall::at(collected.now);
    for trace in &collected.traces {
        let wanted = match trace.ends {
            Some((local, remote)) => filter.wants(local, remote, trace.state),
            None => filter.wants_any(trace.state),
        };
        if wanted {
            put(out, &Line::Traced(Box::new(Traced::new(shard, trace, wall))))?;
        }
    }
    put(out, &Line::Overwritten(collected.overwritten))?;
    put(out, &Line::Next((shard + 1 < shards.len()).then(|| Place { shard: shard + 1, ..Place::default() })))
}
