//! One program for each matter, run on the kernel's sockets, on stacks with threads, and on a driven one: what the kernel
//! returns is what the others have to.

mod ends;
mod readiness;
#[cfg(feature = "tokio")]
mod tasks;
mod transfer;
mod world;
