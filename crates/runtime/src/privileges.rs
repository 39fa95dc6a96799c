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

/// The loops and the control socket need none: maps and sockets are open.
pub(crate) const NONE: &[Capability] = &[];
/// The kernel resolves a neighbour (`NTF_USE`) only for those who may change its table.
pub(crate) const MIRROR: &[Capability] = &[Capability::NetAdmin];

/// Whether threads give up what they don't need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privileges {
    GivenUp,
    Kept,
}

impl Privileges {
    pub(crate) const fn of(options: &Options) -> Self {
        if options.keep_privileges { Self::Kept } else { Self::GivenUp }
    }

    /// To be called by a thread before anything else.
    pub(crate) fn reduce_to(self, kept: &[Capability]) -> io::Result<()> {
        match self {
            Self::Kept => Ok(()),
            Self::GivenUp => keep_only(kept).map_err(io::Error::other),
        }
    }
}

/// Gives up every privilege of the calling thread, for good; root keeps its files and no more. For programs whose other
/// threads need none once their stacks are started, to be called by each: a stack sees only to its own. Threads made later
/// are like their maker.
///
/// # Errors
/// A system call filter forbids it.
pub fn drop_privileges() -> Result<(), Error> {
    Ok(keep_only(NONE)?)
}
