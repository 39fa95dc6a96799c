//! The end of a loop whose application panics: what a kernel does for a process that dies.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl<P: Port, A: App> Worker<P, A> {
    /// Does `what`; if that panics every connection is reset to its peer, and the panic is returned. The application may be in
    /// the midst of something and is not called any more, nor is the loop to be turned.
    pub(crate) fn catch<R>(&mut self, what: impl FnOnce(&mut Self) -> R) -> std::thread::Result<R> {
        catch_unwind(AssertUnwindSafe(|| what(self))).inspect_err(|_| {
            // A device that fails now, or a stack in whose own midst it was, sends no resets: there is the first panic to tell of.
            let _ = catch_unwind(AssertUnwindSafe(|| self.reset_all()));
        })
    }
}

#[cfg(test)]
mod tests;
