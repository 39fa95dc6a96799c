//! What the stack's threads may still do once it runs.
//!
//! Opening the interface takes privileges; what is open needs none any more. Capabilities are a thread's own, so each
//! thread gives up its own as the first thing it does. Threads share their memory: this guards against what a thread is
//! brought to do, not against code of somebody else's in the process.

use crate::error::Error;
use crate::options::Options;
use std::io;
use xdp::Capability;
use xdp::privileges::keep_only;

/// What threads may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// Everything.
    all: bool,
    /// On a shared address: the kernel resolves a neighbour (`NTF_USE`) only for those who may change its table.
    mirror: &'static [Capability],
}

impl Privileges {
    pub(crate) fn of(options: &Options) -> Self {
        let mirror: &[_] = if options.address.is_none() { &[Capability::NetAdmin] } else { &[] };
        Self { all: options.keep_privileges, mirror }
    }

    /// To be called before anything else by a thread that uses what is open: it needs none.
    pub(crate) fn give_up(self) -> io::Result<()> {
        self.keep_only(&[])
    }

    /// The same for the thread that mirrors what the kernel knows.
    pub(crate) fn give_up_but_mirrors(self) -> io::Result<()> {
        self.keep_only(self.mirror)
    }

    fn keep_only(self, kept: &[Capability]) -> io::Result<()> {
        if self.all { Ok(()) } else { keep_only(kept).map_err(io::Error::other) }
    }
}

/// Gives up every privilege of the calling thread, for good; root keeps its files and no more. For programs whose other
/// threads need none once their stacks are started, to be called by each: a stack sees only to its own. Threads made later
/// are like their maker.
///
/// # Errors
/// A system call filter forbids it.
pub fn drop_privileges() -> Result<(), Error> {
    Ok(keep_only(&[])?)
}
