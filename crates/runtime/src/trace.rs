//! What happened to connections: read from the shards' [recorders](stack::recorder), for who asks, and written to a file when there is
//! reason to.
//!
//! A loop is asked for a piece at a time, as for a listing. One that stands still is not read by anybody else, and a file says so; one
//! that ends by a panic or a device's failure writes its own.

mod collect;
mod file;
mod row;

pub(crate) use collect::{TracePiece, collect};
pub(crate) use file::{Faults, check};
pub(crate) use row::Wall;
pub use row::{Event, Traced};

use crate::neighbours::Mailbox;
use std::io;
use std::path::PathBuf;

/// Writes what happened to the connections of a stack into files, from any thread. It may outlive the stack: then no shard answers.
#[derive(Debug, Clone)]
pub struct Tracer {
    pub(crate) shards: Vec<Mailbox>,
    pub(crate) directory: Option<PathBuf>,
}

impl Tracer {
    /// Writes a file, which only its owner may read, into the directory that the stack was started with, or that of the control
    /// sockets. Its name has the process, the time and `reason`, which is a word. It is 32 MiB at most, and of the files there are so
    /// written the latest 16 are kept. Shards that don't answer within two seconds are named in it.
    ///
    /// # Errors
    /// The directory can't be had or written to.
    pub fn write(&self, reason: &str) -> io::Result<PathBuf> {
        let shards = self.shards.iter().enumerate().map(|(index, mailbox)| (index, collect(mailbox)));
        file::write(self.directory.as_deref(), reason, shards)
    }
}
