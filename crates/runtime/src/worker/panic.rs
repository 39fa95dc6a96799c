//! The end of a loop whose application panics: what a kernel does for a process that dies.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl<P: Port, A: App> Worker<P, A> {
    /// Does `what`; if that panics every connection is reset to its peer, and the panic is returned. The application may be in
    /// the midst of something and is not called any more, nor is the loop to be turned.
    pub(crate) fn catch<R>(&mut self, what: impl FnOnce(&mut Self) -> R) -> std::thread::Result<R> {
        catch_unwind(AssertUnwindSafe(|| what(self))).inspect_err(|_| {
            // It is of what went before, not of the resets; and what was in the midst of something may panic once more.
            let _ = catch_unwind(AssertUnwindSafe(|| self.write_trace("panic")));
            // A device that fails now, or a stack in whose own midst it was, sends no resets: there is the first panic to tell of.
            let _ = catch_unwind(AssertUnwindSafe(|| self.reset_all()));
        })
    }
}

impl<P: Port, A: App> Worker<P, A> {
    /// Writes what happened to its connections to a file, if it is to.
    #[cold]
    pub(super) fn write_trace(&self, reason: &str) {
        if let Some(faults) = &self.faults {
            faults.write(reason, &self.shard, self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests;
