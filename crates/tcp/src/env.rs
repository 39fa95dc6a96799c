//! What a connection is given with every call.

use crate::{config::Config, pool::Pool};
use wheel::Instant;

/// The time, and what the connections of a shard share. A connection holds none of it.
#[derive(Debug)]
pub struct Env<'a> {
    /// The time of this call; the clock is read once per turn of the loop.
    pub now: Instant,
    /// The checked configuration.
    pub config: &'a Config,
    /// Memory for what must be kept.
    pub pool: &'a mut Pool,
}

/// The same for who only looks.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The time.
    pub now: Instant,
    /// The checked configuration.
    pub config: &'a Config,
    /// Memory.
    pub pool: &'a Pool,
}

impl Env<'_> {
    /// For who only looks.
    #[must_use]
    pub const fn look(&self) -> Look<'_> {
        Look { now: self.now, config: self.config, pool: self.pool }
    }

    /// The same, made where it is needed: what is on the way to nearly every segment's end stays in registers then, of those
    /// that need no call.
    #[inline(always)]
    pub(crate) const fn again(&mut self) -> Env<'_> {
        Env { now: self.now, config: self.config, pool: self.pool }
    }
}
