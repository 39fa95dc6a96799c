//! What the measurements in memory share: a scripted client that says valid frames, the stacks it talks to, and the cases.
//! The same cases are timed (`benches/in_memory.rs`), counted in instructions (`examples/icount.rs`) and watched for
//! allocations (`tests/allocations.rs`).
#![allow(dead_code, unused_imports, unreachable_pub, clippy::cast_possible_truncation)]

mod bytes;
mod cases;
mod client;
mod fourwave;
mod random;
mod smoltcp;
mod table;
mod wheels;

pub use cases::{MANY, Run, cases};
pub use client::{Client, Line, Says};
pub use fourwave::Fourwave;
pub use random::shuffle;

/// What the application on the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// It takes what arrives, and closes when its peer has.
    Swallows,
    /// It answers with what arrived, and closes when its peer has.
    Echoes,
    /// It closes first, as soon as a connection is open.
    Closes,
    /// It answers with [`client::LARGE`] bytes.
    Serves,
}

/// What a stack is made with.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub server: Server,
    /// Connections there will be at once.
    pub connections: usize,
}

/// A stack with a server on [`client::PORT`].
pub trait Host {
    /// A point in time, as the stack counts it. It is told once in a turn.
    type Time: Copy + core::fmt::Debug;
    /// So many nanoseconds from the start.
    fn time(nanos: u64) -> Self::Time;
    /// Segments that it acknowledges one by one at the beginning of a connection.
    const QUICK: usize;
    fn new(setup: Setup) -> Self;
    /// A frame arrives, of the connection with this number: who has to look for news among their sockets is told where.
    fn take(&mut self, now: Self::Time, frame: &mut Vec<u8>, which: usize);
    /// These frames arrive next.
    fn look_ahead<'a>(&mut self, _: impl ExactSizeIterator<Item = &'a [u8]>) {}
    /// The rest of a turn of the loop: timers fire, and what is to be sent is shown.
    fn turn(&mut self, now: Self::Time, sent: impl FnMut(&[u8]));
}
